"""Text files as other programs write them, and what only looks like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat2pay_async._files.readers import open_sheet
from chat2pay_async._files.sheet import Line
from chat2pay_async._files.source import pin
from chat2pay_async._files.text import disguise
from chat2pay_async.errors import ConfigurationError


def written(folder: Path, content: str | bytes, ending: str = ".csv") -> Path:
    path = folder / f"t{ending}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, *, last_line_is_complete: bool = False) -> list[Line]:
    with (
        pin(path) as source,
        open_sheet(source, last_line_is_complete=last_line_is_complete) as sheet,
    ):
        return list(sheet.lines)


def cells(path: Path) -> list[dict[str, Any]]:
    return [line.cells for line in read(path)]


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


# Delimiters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", "\ufeffsep=;", '"sep=;"', "sep=;;;"])
@pytest.mark.parametrize("ending", [".csv", ".txt", ".tsv"])
def test_first_line_may_name_the_separator(tmp_path: Path, first: str, ending: str) -> None:
    path = written(tmp_path, f"{first}\r\na,b;c\r\n1;2\r\n", ending)
    assert read(path) == [Line(3, {"a,b": "1", "c": "2"})]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", [".csv", ".txt"])
def test_separator_is_the_one_of_the_header(tmp_path: Path, separator: str, ending: str) -> None:
    path = written(tmp_path, f"a{separator}b\n1{separator}x y:z\n", ending)
    assert cells(path) == [{"a": "1", "b": "x y:z"}]


def test_header_with_two_separators_is_refused(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "a,b;c\n1,2;3\n"))
    assert message.startswith(": its header has commas and semicolons, so that its columns")


def test_quoted_name_has_no_separator(tmp_path: Path) -> None:
    path = written(tmp_path, '"a, b\nc";d\n1;2\n')
    assert cells(path) == [{"a, b\nc": "1", "d": "2"}]


def test_quotation_that_never_ends_is_refused_whatever_its_separator(tmp_path: Path) -> None:
    assert "is not valid CSV" in refusal(written(tmp_path, '"a' + "\n" * 500))


# The last line ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("bom", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark"])
def test_last_line_without_its_end_is_refused_unless_it_is_said_to_be_complete(
    tmp_path: Path, ending: str, bom: str
) -> None:
    text = "a\n199.90\n19"
    mark = b"\xfe\xff" if "mark" in bom else b""
    path = written(tmp_path, mark + text.encode(bom.partition(" ")[0]), ending)
    message = refusal(path)
    assert message.startswith(": the last line has no line end, so the file may be cut off")
    assert "--last-line-is-complete" in message
    assert [line.cells for line in read(path, last_line_is_complete=True)] == [
        {"a": "199.90"},
        {"a": "19"},
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n  ", "\n \ufeff"])
def test_blanks_after_the_last_line_end_are_no_line(tmp_path: Path, end: str) -> None:
    assert cells(written(tmp_path, f"a\n1{end}"))[0] == {"a": "1"}


def test_json_line_is_complete_with_its_brace(tmp_path: Path) -> None:
    assert cells(written(tmp_path, '{"a": 1}\n{"a": 2}', ".jsonl")) == [{"a": 1}, {"a": 2}]
    assert read(written(tmp_path, '{"a": 1}\n{"a": 2', ".jsonl"))[1].problem != ""


# Encodings ----------------------------------------------------------------------------------------


def test_utf_16_with_its_mark_is_read(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        content = "\ufeffa\tb\r\nCafé\t2\r\n".encode(encoding)
        assert cells(written(tmp_path, content, ".txt")) == [{"a": "Café", "b": "2"}]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused_by_its_name(tmp_path: Path, encoding: str) -> None:
    message = refusal(written(tmp_path, "a,b\r\n1,2\r\n".encode(encoding)))
    assert message.startswith(": seems to be UTF-16 without a byte order mark; save the file as ")


def test_utf_16_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = b"\xff\xfe" + "a\r\n1\r\n".encode("utf-16-le") + b"\x00\xd8\n\x00"
    assert refusal(written(tmp_path, content)).startswith(": is not valid UTF-16, or is cut off")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_that_is_not_utf_8_is_named_whatever_ends_the_lines(
    tmp_path: Path, end: bytes
) -> None:
    path = written(tmp_path, end.join([b"a", b"1", b"2", b"Caf\xe9", b""]))
    assert refusal(path).startswith(", line 4: is not UTF-8; save the file as UTF-8 (in Excel: ")


def test_two_byte_order_marks_are_left_out(tmp_path: Path) -> None:
    assert cells(written(tmp_path, "\ufeff\ufeffa,\ufeffb\n1,2\n")) == [{"a": "1", "b": "2"}]


# What only looks like a text file -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"PK\x03\x04\x14", "is a workbook or a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1", "is an old Excel workbook"),
        (b"\x1f\x8b\x08", "is compressed"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\xff\xfe\0\0a\0\0\0", "is UTF-32"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>", "is a web page or XML"),
        (b"<html><table>", "is a web page or XML"),
        (b"<?xml version='1.0'?>", "is a web page or XML"),
    ],
)
def test_file_of_another_kind_is_refused_by_its_content(
    tmp_path: Path, head: bytes, said: str
) -> None:
    assert refusal(written(tmp_path, head + b"\n")).startswith(f": {said}")


def test_text_is_no_other_kind() -> None:
    assert disguise(b"a,b\n1,<b>2</b>\n") == ""


# Size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_line_that_never_ends_is_refused(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, 'a\n"' + "x" * 2**20 + '"\n', ending)
    assert refusal(path).startswith(", line 2: has more than a million characters")
