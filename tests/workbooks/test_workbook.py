"""The one sheet that is read, and what is refused since nobody sees it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from spreadsheets import write_ods, write_sheet, write_xlsx, write_zip

from chat2pay_async._workbooks.workbook import open_workbook
from chat2pay_async.errors import ConfigurationError

TEXT = '<c t="str"><v>a</v></c>'
DATA = Path(__file__).parent.parent / "data"


def written(path: Path, fill: Callable[[Any], object], *names: str) -> Path:
    book = openpyxl.Workbook()
    book.active.title, *others = names or ["May"]
    for name in others:
        book.create_sheet(name)
    fill(book)
    book.save(path)
    return path


def sheet_of(path: Path, **options: Any) -> str:
    with open_workbook(path, **options) as table:
        return table.name


def rows_of(path: Path, **options: Any) -> list[int]:
    with open_workbook(path, **options) as table:
        return [number for number, _ in table.rows]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        rows_of(path, **options)
    return str(caught.value).removeprefix(str(path))


# The sheet ---------------------------------------------------------------------------------------


def filled(*names: str, hidden: tuple[str, ...] = ()) -> Callable[[Any], None]:
    """Write a header into these sheets."""

    def fill(book: Any) -> None:
        for name in names:
            book[name].append(["a"])
        for place, name in enumerate(hidden):
            book[name].sheet_state = ("hidden", "veryHidden")[place % 2]
        book.active = next(n for n, one in enumerate(book.worksheets) if one.title not in hidden)

    return fill


def test_only_sheet_with_rows_is_read_and_named(tmp_path: Path) -> None:
    path = written(tmp_path / "t.xlsx", filled("May"), "Notes", "May", "Sheet3")
    assert sheet_of(path) == "May"


def test_hidden_sheet_behind_the_visible_one_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "t.xlsx", filled("May", "Lists", hidden=("Lists",)), "May", "Lists")
    assert sheet_of(path) == "May"


@pytest.mark.parametrize("state", [("Old",), ("May", "Old")])
def test_hidden_sheet_with_rows_is_never_read_nor_passed_over(
    tmp_path: Path, state: tuple[str, ...]
) -> None:
    path = written(tmp_path / "t.xlsx", filled("Old", "May", hidden=state), "Old", "May", "Empty")
    message = refusal(path)
    assert message.startswith(": it is not clear which sheet is meant: pass --sheet NAME")
    assert "'Old' (hidden)" in message
    assert sheet_of(path, sheet="Old") == "Old"
    assert sheet_of(path, sheet="May") == "May"


def test_one_of_several_sheets_with_rows_must_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path / "t.xlsx", filled("May", "June"), "May", "Empty", "June")
    assert refusal(path) == (
        ": it is not clear which sheet is meant: pass --sheet NAME; those with rows are "
        "'May', 'June'"
    )
    assert sheet_of(path, sheet="June") == "June"


def test_first_sheet_of_a_report_is_read_without_asking(tmp_path: Path) -> None:
    def fill(book: Any) -> None:
        for name in ("report", "summary"):
            book[name].append(["a"])

    assert sheet_of(written(tmp_path / "t.xlsx", fill, "report", "summary")) == "report"


def test_sheet_that_does_not_exist_is_refused_with_the_names(tmp_path: Path) -> None:
    path = written(tmp_path / "t.xlsx", filled("May", "Old", hidden=("Old",)), "May", "Old")
    assert refusal(path, sheet="may") == ": has no sheet 'may'; it has 'May', 'Old' (hidden)"


def test_chart_is_no_sheet(tmp_path: Path) -> None:
    book = xlsxwriter.Workbook(str(tmp_path / "t.xlsx"))
    sheet = book.add_worksheet("May")
    sheet.write_column(0, 0, ["a", 1, 2])
    chart = book.add_chart({"type": "line"})
    chart.add_series({"values": "=May!$A$2:$A$3"})
    book.add_chartsheet("Chart").set_chart(chart)
    book.close()
    assert sheet_of(tmp_path / "t.xlsx") == "May"
    assert "it has 'May'" in refusal(tmp_path / "t.xlsx", sheet="Chart")


@pytest.mark.parametrize("sheet", [None, "May"])
def test_sheet_without_rows_is_empty(tmp_path: Path, sheet: str | None) -> None:
    path = written(tmp_path / "t.xlsx", lambda _: None)
    assert refusal(path, sheet=sheet) == ": is empty; its first line must name the columns"


# Hidden and merged -------------------------------------------------------------------------------


def sheet(*, hide: Callable[[Any], object], rows: int = 9) -> Callable[[Any], None]:
    def fill(book: Any) -> None:
        for number in range(1, rows + 1):
            book["May"].append([f"{column}{number}" for column in "abc"])
        hide(book["May"])

    return fill


def hide_rows(one: Any) -> None:
    for number in (3, 4, 7, 8, 12):  # there is no row 12
        one.row_dimensions[number].hidden = True


def test_hidden_rows_are_refused_with_their_number(tmp_path: Path) -> None:
    path = written(tmp_path / "t.xlsx", sheet(hide=hide_rows))
    assert refusal(path) == (
        ", sheet 'May': has 4 hidden rows with content (by a filter, by hand or in a group), "
        "first 3, 4, 7: show or delete them, or pass --include-hidden"
    )
    assert rows_of(path, include_hidden=True) == list(range(2, 10))


def test_row_in_a_closed_group_is_hidden(tmp_path: Path) -> None:
    def close(one: Any) -> None:
        one.row_dimensions.group(2, 3, hidden=True)

    assert "has 2 hidden rows" in refusal(written(tmp_path / "t.xlsx", sheet(hide=close)))


@pytest.mark.parametrize("height", ["ht='0'", 'ht="0"', 'ht="0.0" customHeight="1"'])
def test_row_without_height_is_hidden(tmp_path: Path, height: str) -> None:
    rows = f'<row r="1">{TEXT}</row><row r="2" {height}>{TEXT}</row>'
    path = write_sheet(tmp_path / "t.xlsx", f"<sheetData>{rows}</sheetData>")
    assert "has 1 hidden row with content" in refusal(path)


@pytest.mark.parametrize("hidden", ["hidden='1'", "width='0'", 'width="0" customWidth="1"'])
def test_hidden_column_with_content_is_refused_unless_it_is_ignored(
    tmp_path: Path, hidden: str
) -> None:
    path = write_sheet(
        tmp_path / "t.xlsx",
        f'<cols><col min="1" max="1"/><col min="2" max="16384" {hidden}/></cols><sheetData><row>'
        f'{TEXT}<c t="str"><v>b</v></c></row><row>{TEXT}{TEXT}</row></sheetData>',
    )
    assert refusal(path) == (
        ", sheet 'Campaign': has 1 hidden column with content, first B: show or delete them, "
        "pass --ignore NAME, or pass --include-hidden"
    )
    for options in ({"include_hidden": True}, {"ignore": ["b"]}):
        assert rows_of(path, **options) == [2]


def test_hidden_column_without_content_is_read(tmp_path: Path) -> None:
    def fill(book: Any) -> None:
        book["May"].append(["a", "b", None])
        book["May"].append([1, None, 3])
        book["May"].column_dimensions["B"].hidden = True
        book["May"].column_dimensions["C"].hidden = True

    path = written(tmp_path / "t.xlsx", fill)
    with open_workbook(path) as table:
        assert list(table.rows) == [(2, {"a": 1, "": 3})]  # which is a problem of the row


@pytest.mark.parametrize("area", ["A2:A4", "B2:C2", "A1:A2", "B3:Z3", "B8:C30"])
def test_merged_cells_over_data_are_refused(tmp_path: Path, area: str) -> None:
    path = written(tmp_path / "t.xlsx", sheet(hide=lambda one: one.merge_cells(area)))
    for include_hidden in (False, True):
        assert refusal(path, include_hidden=include_hidden) == (
            ", sheet 'May': has 1 merged cell over several rows or columns of data, first "
            f"{area}: unmerge them and fill in every cell"
        )


@pytest.mark.parametrize("area", ["A11:C12", "E2:F9", "C5:F5", "A9:A30"])
def test_merged_cells_beside_data_are_no_matter(tmp_path: Path, area: str) -> None:
    path = written(tmp_path / "t.xlsx", sheet(hide=lambda one: one.merge_cells(area)))
    assert len(rows_of(path)) == 8


def test_merged_cells_over_an_ignored_column_are_no_matter(tmp_path: Path) -> None:
    path = written(tmp_path / "t.xlsx", sheet(hide=lambda one: one.merge_cells("B2:B9")))
    assert len(rows_of(path, ignore=["b1"])) == 8


def test_hiding_is_found_wherever_in_the_file_it_is_said(tmp_path: Path) -> None:
    rows = "".join(f'<row r="{n}"><c t="str"><v>x{n}</v></c></row>' for n in range(1, 60_000))
    last = '<row r="60000" hidden="true"><c><v>1</v></c></row>'
    path = write_sheet(tmp_path / "t.xlsx", f"<sheetData>{rows}{last}</sheetData>")
    assert "first 60000" in refusal(path)


def test_hiding_is_found_in_any_encoding(tmp_path: Path) -> None:
    rows = f'<row r="1">{TEXT}</row><row r="2" hidden="1">{TEXT}</row>'
    sheet_data = f"<sheetData>{rows}</sheetData>"
    xml = f'<?xml version="1.0" encoding="utf-16"?><worksheet>{sheet_data}</worksheet>'
    parts = write_sheet(tmp_path / "t.xlsx", "")
    with zipfile.ZipFile(parts) as book:
        files = {name: book.read(name) for name in book.namelist()}
    files["xl/worksheets/sheet1.xml"] = xml.encode("utf-16")
    assert "has 1 hidden row" in refusal(write_zip(tmp_path / "t.xlsx", files))


def test_single_cell_may_be_called_merged(tmp_path: Path) -> None:
    inner = (
        '<sheetData><row r="1"><c t="str"><v>a</v></c></row><row r="2"><c><v>1</v></c></row>'
        '</sheetData><mergeCells><mergeCell ref="A2"/><mergeCell ref="Sheet!B2"/></mergeCells>'
    )
    assert rows_of(write_sheet(tmp_path / "t.xlsx", inner)) == [2]


# The header --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ('<c t="e"><v>#N/A</v></c>', "is an error, such as #N/A"),
        ('<c s="1"><v>44313</v></c>', "must be text, not a date or a time: write it as text"),
    ],
)
def test_column_can_not_be_named_by_an_error_or_a_date(
    tmp_path: Path, cell: str, problem: str
) -> None:
    inner = f'<sheetData><row r="3"><c t="str"><v>a</v></c><c r="AB3"/>{cell}</row></sheetData>'
    message = refusal(write_sheet(tmp_path / "t.xlsx", inner))
    assert message.startswith(f", sheet 'Campaign', row 3, column AC: {problem}")


# The kind of the file ----------------------------------------------------------------------------


def test_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xls", [["a"], [1]])
    assert rows_of(path) == [2]
    table = '<table:table table:name="T"><table:table-row><table:table-cell>'
    end = "</table:table-cell></table:table-row></table:table>"
    assert rows_of(write_ods(tmp_path / "t.xlsx", f"{table}<text:p>a</text:p>{end}")) == []
    old = tmp_path / "old.xlsx"
    old.write_bytes((DATA / "sheets.xls").read_bytes())
    assert rows_of(old, sheet="Plain") == [2, 3, 5, 6]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<html><table>", "is no workbook but a web page or XML with the ending of one"),
        ("\ufeff<?xml version='1.0'?>".encode(), "is no workbook but a web page or XML"),
        (b"\r\n<table>", "is no workbook but a web page or XML"),
        (b"a\tb\n1\t2\n", "is no workbook, whatever its name says: if it is text"),
        (b"", "is no workbook"),
        (b"PK\x03\x04", "is damaged or incomplete"),
        (b"\x09\x08\x10\x00", "can't be read as a workbook: save it again as .xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "can't be read as a workbook"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "is protected by a password: save it without one",
        ),
    ],
)
@pytest.mark.parametrize("ending", [".xls", ".xlsx", ".ods"])
def test_file_of_another_kind_is_told_as_what_it_is(
    tmp_path: Path, content: bytes, problem: str, ending: str
) -> None:
    path = tmp_path / f"t{ending}"
    path.write_bytes(content)
    assert refusal(path).startswith(f": {problem}")


def test_binary_workbook_is_to_be_saved_as_another(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "t.xlsb", {"[Content_Types].xml": "", "xl/workbook.bin": b"\x83"})
    assert refusal(path) == ": is a binary workbook (.xlsb): save it as .xlsx"


def test_zip_file_of_anything_is_no_workbook(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "t.xlsx", {"a.csv": "a,b"})
    assert refusal(path) == ": is a zip file but no workbook: save it as .xlsx or .ods"


# Of LibreOffice ----------------------------------------------------------------------------------


def problems(found: Any) -> tuple[str, str]:
    """The first words of what is wrong with a cell, as a text and as an amount."""
    return tuple(
        " ".join(problem.partition(":")[0].split()[:9])
        for problem in (found.text_problem, found.amount_problem)
    )  # type: ignore[return-value]


@pytest.mark.parametrize("ending", ["xlsx", "ods", "xls"])
def test_workbook_of_libreoffice_is_read(ending: str) -> None:
    with open_workbook(DATA / f"calc.{ending}") as table:
        cells: dict[str, Any] = {row["case"]: row.get("value") for _, row in table.rows}
    unstored = ("is a formula without a stored result",) * 2
    if ending == "xls":  # there LibreOffice stores 0 for a text
        assert problems(cells["text"]) == problems(cells["zero"]) == unstored
    else:
        assert cells["text"] == "A1"
        assert problems(cells["zero"]) == ("is 0, which a formula gives for an empty", "")
    assert cells["blank"] is None
    assert cells["number"] == Decimal("199.9")
    assert problems(cells["error"]) == ("is an error, such as #N/A",) * 2
    if ending == "ods":  # without a format, LibreOffice stores TRUE as 1, and shows TRUE
        otherwise = ("is a formula whose result is shown otherwise than",) * 2
        assert problems(cells["true"]) == otherwise
    else:
        assert cells["true"] is True
    if ending == "xls":  # has no conditional number formats
        assert cells["conditional"] == 1001
    else:
        shown = "is a number that is shown with leading zeros"
        assert problems(cells["conditional"]) == (shown, "")
    assert (cells["currency"].value, cells["currency"].symbol) == (5, "$")
    assert cells["padded"] == 123
    assert problems(cells["parted"])[0] == "is a number that is shown with other characters"
