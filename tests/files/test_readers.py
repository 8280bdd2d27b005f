"""The lines of a file, whatever wrote it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from spreadsheets import write_xlsx

from chat2pay_async._files.readers import Line, open_sheet
from chat2pay_async.errors import ConfigurationError


def written(folder: Path, content: str | bytes, ending: str = ".csv") -> Path:
    path = folder / f"t{ending}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(path: Path) -> list[Line]:
    with open_sheet(path) as sheet:
        return list(sheet.lines)


def columns(path: Path) -> tuple[str, ...] | None:
    with open_sheet(path) as sheet:
        return sheet.columns


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        lines(path)
    told = str(caught.value)
    assert told.startswith(str(path))
    return told.removeprefix(str(path))


# CSV ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["", "\ufeff", "\n \n", "++\n", "\ufeff\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_csv_file_is_read_as_other_programs_write_it(
    tmp_path: Path, start: str, separator: str, end: str
) -> None:
    rows = [f' a {separator}"b"', f'1{separator}"2,5;\t"', "", f"{separator} ", f"3{separator}"]
    path = written(tmp_path, start.replace("+", separator) + end.join(rows) + end)
    first = 2 + start.count("\n")
    assert columns(path) == ("a", "b")
    assert lines(path) == [
        Line(first, {"a": "1", "b": "2,5;\t"}),
        Line(first + 3, {"a": "3"}),
    ]


def test_a_tsv_file_is_separated_by_tabs_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\tc\n1,2\t3\n", ".TSV")
    assert lines(path) == [Line(2, {"a,b": "1,2", "c": "3"})]


def test_a_row_has_the_line_on_which_it_begins(tmp_path: Path) -> None:
    path = written(tmp_path, '"a\nb",c\n"1\r\n\n2",3\n\n4,"5\n"\n6,7\n')
    assert lines(path) == [
        Line(3, {"a\nb": "1\r\n\n2", "c": "3"}),
        Line(7, {"a\nb": "4", "c": "5\n"}),
        Line(9, {"a\nb": "6", "c": "7"}),
    ]


def test_a_row_has_as_many_cells_as_the_header_or_is_blank(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1\n1,\n1,2,3\n1,2,\n,,,\n,,3\n")
    longer = "has 3 cells; the header has 2"
    assert lines(path) == [
        Line(2, {"a": "1"}, "has 1 cells; the header has 2"),
        Line(3, {"a": "1"}),
        Line(4, {"a": "1", "b": "2"}, longer),
        Line(5, {"a": "1", "b": "2"}, longer),
        Line(7, {}, longer),
    ]


def test_a_column_without_a_name_must_be_blank(tmp_path: Path) -> None:
    path = written(tmp_path, "a,,\n1,,\n2, ,x\n")
    assert lines(path) == [
        Line(2, {"a": "1"}),
        Line(3, {"a": "2", "": "x"}, "has a cell in a column that has no name"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n\n1,"2\n3,4\n',
        'a,b\n\n"1"x,2\n',
        "a,b\n\n" + "x" * 200_000,
        'a,b\n\n1,"2' + "\n" * 200_000,
    ],
    ids=["open", "undoubled", "long", "open for long"],
)
def test_broken_quoting_is_an_error_with_the_line_where_the_row_begins(
    tmp_path: Path, content: str
) -> None:
    assert refusal(written(tmp_path, content)).startswith(", line 3: is no CSV (")


# JSON lines --------------------------------------------------------------------------------------


def test_a_json_line_is_an_object(tmp_path: Path) -> None:
    content = '\ufeff{"a": 1, "b": null}\n\n \r\n{}\n[1]\n"\u2028"\n{"a": \n{"a": [{"b": 2}]}'
    path = written(tmp_path, content, ".jsonl")
    assert columns(path) is None
    assert lines(path) == [
        Line(1, {"a": 1}),
        Line(4, {}),
        Line(5, {}, "must be a JSON object, in braces"),
        Line(6, {}, "must be a JSON object, in braces"),
        Line(7, {}, "is no JSON: expecting value at character 6"),
        Line(8, {"a": [{"b": 2}]}),
    ]


# Excel -------------------------------------------------------------------------------------------


def test_a_sheet_of_excel_is_read_with_its_row_numbers(tmp_path: Path) -> None:
    rows: list[list[Any]] = [[], ["a", " b ", None], [1.0, "x"], [], [" ", 0.5]]
    path = write_xlsx(tmp_path / "t.xlsx", rows)
    assert columns(path) == ("a", "b")
    assert [(line.number, line.cells) for line in lines(path)] == [
        (3, {"a": 1, "b": "x"}),
        (5, {"b": pytest.approx(0.5)}),
    ]
    with open_sheet(path) as sheet:
        assert sheet.hides_errors


def test_a_sheet_may_name_its_columns_by_numbers(tmp_path: Path) -> None:
    assert columns(write_xlsx(tmp_path / "t.xlsx", [[2021, "a"], [1, 2]])) == ("2021", "a")


@pytest.mark.parametrize("ending", [".xlsx", ".xls", ".xlsb", ".ods"])
def test_what_is_no_sheet_of_excel_is_an_error(tmp_path: Path, ending: str) -> None:
    told = refusal(written(tmp_path, "a,b\n1,2\n", ending))
    assert told.startswith(": can't be read as a sheet of Excel: ")


def test_without_the_extra_excel_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    told = refusal(write_xlsx(tmp_path / "t.xlsx", [["a"]]))
    assert 'pip install "chat2pay-async[excel]"' in told


def test_the_extra_is_not_needed_for_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert lines(written(tmp_path, "a\n1\n")) == [Line(2, {"a": "1"})]


# Files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx"])
def test_a_file_that_is_not_there_or_none_is_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    assert refusal(path) == ": can't be read: No such file or directory"
    path.mkdir()
    assert refusal(path) == ": can't be read: Is a directory"


@pytest.mark.parametrize("ending", ["", ".txt", ".json", ".csv.gz"])
def test_no_other_ending_is_known(tmp_path: Path, ending: str) -> None:
    assert refusal(written(tmp_path, "a\n1\n", ending)) == (
        ": the ending must be one of .csv, .jsonl, .ndjson, .ods, .tsv, .xls, .xlsb, .xlsx"
    )


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n", " ,, \n,\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    assert refusal(written(tmp_path, content)) == (
        ": is empty; its first line must name the columns"
    )


def test_empty_files_of_other_kinds_are_errors_too(tmp_path: Path) -> None:
    assert "is empty" in refusal(written(tmp_path, "\n \n", ".jsonl"))
    assert "is empty" in refusal(write_xlsx(tmp_path / "t.xlsx", []))


def test_a_header_alone_has_no_lines(tmp_path: Path) -> None:
    assert lines(written(tmp_path, "a,b\n")) == []
    assert lines(write_xlsx(tmp_path / "t.xlsx", [["a", "b"]])) == []


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@pytest.mark.parametrize("before", [0, 1, 50_000])
def test_a_file_that_is_not_utf_8_is_an_error_with_its_line(
    tmp_path: Path, ending: str, before: int
) -> None:
    line = b'{"a": 1}\n'
    path = written(tmp_path, line * before + "Café\n".encode("cp1252") + line, ending)
    assert refusal(path).startswith(f", line {before + 1}: is not UTF-8; save the file as UTF-8")
