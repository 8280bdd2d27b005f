"""Readers of files in all their forms."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from spreadsheets import write_xlsx

from chat2pay_async._files.readers import open_sheet
from chat2pay_async._files.sheet import Line
from chat2pay_async._files.source import pin
from chat2pay_async.errors import ConfigurationError


def written(folder: Path, content: str | bytes, ending: str = ".csv") -> Path:
    path = folder / f"t{ending}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(path: Path) -> list[Line]:
    with pin(path) as source, open_sheet(source) as sheet:
        return [line for line in sheet.lines if not line.is_blank]


def columns(path: Path) -> tuple[str, ...] | None:
    with pin(path) as source, open_sheet(source) as sheet:
        return sheet.columns


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        lines(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


# CSV ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["", "\ufeff", "\n \n", "++\n", "\ufeff\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_file_is_read_as_other_programs_write_it(
    tmp_path: Path, start: str, separator: str, end: str
) -> None:
    rows = [f' a {separator}"b"', f'1{separator}"2,5;\t."', "", f"{separator} ", f"3{separator}"]
    path = written(tmp_path, start.replace("+", separator) + end.join(rows) + end)
    first = 2 + start.count("\n")
    assert columns(path) == ("a", "b")
    assert lines(path) == [
        Line(first, {"a": "1", "b": "2,5;\t."}),
        Line(first + 3, {"a": "3"}),
    ]


def test_tsv_file_is_separated_by_tabs_only(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\tc\n1,2\t3\n", ".TSV")
    assert lines(path) == [Line(2, {"a,b": "1,2", "c": "3"})]


def test_row_has_the_number_of_its_first_line(tmp_path: Path) -> None:
    path = written(tmp_path, '"a\nb",c\n"1\r\n\n2",3\n\n4,"5\n"\n6,7\n')
    assert lines(path) == [
        Line(3, {"a\nb": "1\r\n\n2", "c": "3"}),
        Line(7, {"a\nb": "4", "c": "5"}),
        Line(9, {"a\nb": "6", "c": "7"}),
    ]


def test_row_may_leave_its_last_commas_off_and_must_not_have_more_values_than_the_header(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "a,b\n1\n1,\n1,2,3\n1,2,\n,,,\n,,3\n")
    longer = "has 3 cells; the header has 2: put values with separators in quotation marks"
    assert lines(path) == [
        Line(2, {"a": "1"}),
        Line(3, {"a": "1"}),
        Line(4, {"a": "1", "b": "2"}, longer),
        Line(5, {"a": "1", "b": "2"}, surplus=1),
        Line(7, {}, longer),
    ]


def test_column_without_a_name_must_be_blank(tmp_path: Path) -> None:
    path = written(tmp_path, "a,,\n1,,\n2, ,x\n")
    assert lines(path) == [
        Line(2, {"a": "1"}),
        Line(3, {"a": "2", "": "x"}, "has a value in a column without a name"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n\n1,"2\n3,4\n',
        'a,b\n\n"1"x,2\n',
        "a,b\n\n" + "x" * 200_000 + "\n",
        'a,b\n\n1,"2' + "\n" * 200_000,
    ],
    ids=["open", "undoubled", "long", "open for long"],
)
def test_broken_quoting_is_an_error_with_the_first_line_of_the_row(
    tmp_path: Path, content: str
) -> None:
    assert refusal(written(tmp_path, content)).startswith(", line 3: is not valid CSV (")


# JSON lines --------------------------------------------------------------------------------------


def test_json_line_must_be_an_object(tmp_path: Path) -> None:
    content = '\ufeff{"a": 1, "b": null}\n\n \r\n{}\n[1]\n"\u2028"\n{"a": \n{"a": [{"b": 2}]}'
    path = written(tmp_path, content, ".jsonl")
    assert columns(path) is None
    assert lines(path) == [
        Line(1, {"a": 1}),
        Line(4, {}),
        Line(5, {}, "must be a JSON object, in braces"),
        Line(6, {}, "must be a JSON object, in braces"),
        Line(7, {}, "is not valid JSON: expecting value at character 6"),
        Line(8, {"a": [{"b": 2}]}),
    ]


# Workbooks ---------------------------------------------------------------------------------------


def test_workbook_is_read_with_the_name_of_its_sheet_and_its_row_numbers(tmp_path: Path) -> None:
    rows: list[list[Any]] = [[], ["a", " b ", None], [1.0, "x"], [], [" ", 0.5, "odd"]]
    path = write_xlsx(tmp_path / "t.XLSX", rows)
    with pin(path) as source, open_sheet(source) as sheet:
        assert (sheet.name, sheet.columns) == ("Campaign", ("a", "b"))
        assert list(sheet.lines) == [
            Line(3, {"a": 1, "b": "x"}),
            Line(5, {"b": Decimal("0.5"), "": "odd"}, "has a value in a column without a name"),
        ]


def test_header_of_a_workbook_may_have_numbers(tmp_path: Path) -> None:
    assert columns(write_xlsx(tmp_path / "t.xlsm", [[2021, "a"], [1, 2]])) == ("2021", "a")


def test_broken_workbook_is_an_error(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], *[[f"x{n}"] for n in range(99_999)]])
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(1000) + whole[middle + 1000 :])
    assert refusal(path).startswith(": is damaged or incomplete")


def test_sheet_can_be_chosen_in_a_workbook_only(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    with pin(path) as source, open_sheet(source, sheet="Campaign") as sheet:
        assert list(sheet.lines) == [Line(2, {"a": "x"})]
    text = written(tmp_path, "a\n1\n")
    with (
        pin(text) as source,
        pytest.raises(ConfigurationError) as caught,
        open_sheet(source, sheet="Campaign"),
    ):
        pass
    assert str(caught.value) == f"{text}: has no sheets: leave --sheet out"


# Files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx"])
def test_missing_file_and_folder_are_errors(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    assert refusal(path) == ": can't be read: No such file or directory"
    path.mkdir()
    assert refusal(path) == ": is a folder: pass one file"


@pytest.mark.parametrize("ending", ["", ".doc", ".json", ".csv.old"])
def test_unknown_kind_of_file_is_an_error(tmp_path: Path, ending: str) -> None:
    assert refusal(written(tmp_path, "a\n1\n", ending)) == (
        ": unknown kind of file; the name must end in "
        ".csv, .jsonl, .ndjson, .ods, .tsv, .txt, .xls, .xlsb, .xlsm or .xlsx"
    )


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n", " ,, \n,\n"])
def test_empty_table_is_an_error(tmp_path: Path, content: str) -> None:
    assert refusal(written(tmp_path, content)) == (
        ": is empty; its first line must name the columns"
    )


def test_empty_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    assert "is empty" in refusal(written(tmp_path, "\n \n", ".jsonl"))
    assert "is empty" in refusal(write_xlsx(tmp_path / "t.xlsx", []))


def test_header_alone_has_no_lines(tmp_path: Path) -> None:
    assert lines(written(tmp_path, "a,b\n")) == []
    assert lines(write_xlsx(tmp_path / "t.xlsx", [["a", "b"]])) == []


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@pytest.mark.parametrize("before", [0, 1, 50_000])
def test_file_that_is_not_utf_8_is_an_error_with_the_line(
    tmp_path: Path, ending: str, before: int
) -> None:
    line = b'{"a": 1}\n'
    path = written(tmp_path, line * before + "Café\n".encode("cp1252") + line, ending)
    assert refusal(path).startswith(f", line {before + 1}: is not UTF-8; save the file as UTF-8")
