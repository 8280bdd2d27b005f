"""Standard output takes every text; if it takes nothing any more, that is one error."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from chat2pay_async._cli.stdout import Output, OutputError, set_up, writing

TEXT = "é \N{ROCKET} "


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, *, for_programs: bool) -> bytes:
    """Print a text in an environment of an encoding, and return the bytes."""
    bytes_out = io.BytesIO()
    stdout = io.TextIOWrapper(bytes_out, encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    Output(for_programs=for_programs).out(TEXT)
    monkeypatch.undo()
    stdout.detach()
    return bytes_out.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_programs_get_utf_8_in_every_environment(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    assert printed(monkeypatch, encoding, for_programs=True) == f"{TEXT}\n".encode()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"\\xe9 \\U0001f680 "),
        ("cp1252", b"\xe9 \\U0001f680 "),
        ("utf-8", TEXT.encode()),
    ],
)
def test_terminal_shows_unknown_characters_as_escapes(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: bytes
) -> None:
    assert printed(monkeypatch, encoding, for_programs=False).splitlines() == [shown]


def test_replaced_output_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    set_up(for_programs=True)
    Output(for_programs=True).out(TEXT)
    assert own.getvalue() == f"{TEXT}\n"


def test_output_has_the_width_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    assert Output(for_programs=False).width == 60


class Broken(io.StringIO):
    """An output that can't be written, on a real file."""

    def __init__(self, error: OSError, descriptor: int) -> None:
        super().__init__()
        self._error = error
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def write(self, _text: str) -> int:
        raise self._error


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenPipeError(), ""),
        (FULL, "standard output can't be written: No space left on device"),
        (OSError("odd"), "standard output can't be written: odd"),
    ],
)
def test_failed_write_is_an_error_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, said: str
) -> None:
    with (tmp_path / "stdout").open("w") as file:
        monkeypatch.setattr(sys, "stdout", Broken(error, file.fileno()))
        output = Output(for_programs=True)
        with pytest.raises(OutputError) as raised:
            output.out("lost")
        assert str(raised.value) == said
        output.out("lost as well")
        file.write("this, too: at the end of the process nothing is tried again")
    assert (tmp_path / "stdout").read_text() == ""


def test_failed_write_is_an_error_without_a_real_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(OutputError, match="No space left"), writing():
        raise FULL
