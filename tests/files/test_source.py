"""A private copy of a file, standard input, and what is no file."""

from __future__ import annotations

import gzip
import io
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from chat2pay_async._files import source
from chat2pay_async._files.readers import open_sheet
from chat2pay_async._files.source import pin
from chat2pay_async.errors import ConfigurationError


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        pin(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_copy_stays_as_it_was_when_the_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"old" * 1_000_000)
    with pin(path) as pinned:
        path.write_bytes(b"new")
        assert pinned.open().read() == b"old" * 1_000_000
        assert str(pinned) == str(path)


def test_readings_of_a_copy_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(bytes(range(256)) * 8)
    with pin(path) as pinned, pinned.open() as one, pinned.open() as other:
        assert one.read(3) == b"\x00\x01\x02"
        assert other.read(2) == b"\x00\x01"
        assert one.seek(-1, os.SEEK_END) == 2047
        assert (one.read(), other.read(2)) == (b"\xff", b"\x02\x03")
        assert one.seek(2) == 2
        assert one.seek(1, os.SEEK_CUR) == 3
        assert one.tell() == 3


@pytest.mark.parametrize("way", ["written", "appended", "replaced", "deleted", "same size"])
def test_change_of_the_file_is_noticed(tmp_path: Path, way: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    os.utime(path, ns=(1, 1))
    with pin(path) as pinned:
        assert pinned.change() == ""
        if way == "appended":
            with path.open("a") as file:
                file.write("2\n")
        elif way == "replaced":
            other = tmp_path / "other"
            other.write_text("a\n1\n")
            os.utime(other, ns=(1, 1))
            other.replace(path)
        elif way == "deleted":
            path.unlink()
        else:
            path.write_text("a\n2\n" if way == "same size" else "b\n22\n")
        assert pinned.change().startswith(f"{path} was changed or replaced after it was checked.")


def test_change_while_the_file_is_copied_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    really_copy = source._copied

    def copy(*arguments: object) -> object:
        copied = really_copy(*arguments)  # type: ignore[arg-type]
        path.write_text("a\n1\n2\n")
        return copied

    monkeypatch.setattr(source, "_copied", copy)
    assert refusal(path).startswith("was changed while it was read: wait until the program")


def test_copy_that_can_not_be_read_any_more_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")

    def fail(*_arguments: object) -> int:
        raise OSError(5, "Input/output error")

    with pin(path) as pinned:
        monkeypatch.setattr(source._Reading, "readinto", fail)
        with pytest.raises(ConfigurationError, match="can't be read: Input/output error"):
            open_sheet(pinned).__enter__()


# What is no file ----------------------------------------------------------------------------------


def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    assert refusal(tmp_path / "t.csv").startswith("is a pipe, not a file: save its content in a ")


def test_open_pipe_is_refused_by_its_descriptor() -> None:
    reading, writing = os.pipe()
    try:
        assert refusal(Path(f"/dev/fd/{reading}")).startswith("is a pipe, not a file: ")
    finally:
        os.close(reading)
        os.close(writing)


def test_socket_and_device_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "t.csv"))
        assert refusal(tmp_path / "t.csv").startswith("is a device or a socket, not a file: ")
    assert refusal(Path("/dev/zero")).startswith("is a device or a socket, not a file: ")


def test_folder_and_missing_file_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder: pass one file"
    assert refusal(tmp_path / "t.csv") == "can't be read: No such file or directory"


# Compressed files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ending"), [("a.csv.gz", ".csv"), ("A.JSONL.GZ", ".jsonl")])
def test_gzip_is_unpacked(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"1\n"))
    with pin(path) as pinned:
        assert pinned.open().read() == b"a\n1\n"
        assert pinned.ending == ending
        assert pinned.change() == ""


@pytest.mark.parametrize("cut", [1, 4, 12, 30])
def test_gzip_that_is_cut_off_is_refused_as_a_whole(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(os.urandom(1000))[:-cut])
    assert refusal(path) == "is damaged or cut off, and can't be unpacked: get a new copy of it"


@pytest.mark.parametrize(
    "content", [b"a\n1\n", gzip.compress(b"a\n") + b"garbage"], ids=["none", "a part"]
)
def test_damaged_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(content)
    assert refusal(path).startswith("is damaged or cut off")


def test_gzip_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(bytes(2**22)))
    monkeypatch.setattr(source, "MOST_BYTES", 2**21)
    assert refusal(path).startswith("has more than 0.00195312 GiB")


@pytest.mark.parametrize("name", ["a.zip", "a.csv.zip", "a.csv.bz2", "a.csv.xz", "a.csv.ZST"])
def test_other_compressions_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name).startswith("is compressed: unpack it")


# Standard input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
@pytest.mark.parametrize(
    ("content", "ending"),
    [(b"a\n1\n", ".csv"), (b'\xef\xbb\xbf \n{"a": 1}\n', ".jsonl"), (b"", ".csv")],
)
def test_standard_input_is_copied(
    monkeypatch: pytest.MonkeyPatch, path: str, content: bytes, ending: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pin(Path(path)) as pinned:
        assert pinned.open().read() == content
        assert pinned.open().read() == content
        assert (pinned.ending, pinned.change()) == (ending, "")


@pytest.mark.parametrize("stdin", [None, SimpleNamespace(isatty=lambda: True)])
def test_standard_input_must_be_redirected(monkeypatch: pytest.MonkeyPatch, stdin: object) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert refusal(Path("-")).startswith("standard input is not redirected: ")
