"""Tables of a report open safely in spreadsheets, and read back as they were written."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from chat2pay_async._files.rows import CAPTURES, LINKS
from chat2pay_async._files.tables import (
    Cell,
    Table,
    guarded,
    ignored_columns,
    is_report,
    unguarded,
    without_guards,
    write_csv,
    write_xlsx,
)
from chat2pay_async.errors import ConfigurationError

AT = datetime(2026, 12, 1, 3, 0, 5, 250_000, tzinfo=timezone(timedelta(hours=2)))
NOTHING = Table(("state",), ())


def as_csv(table: Table, **options: Any) -> str:
    file = io.StringIO(newline="")
    write_csv(file, table, **options)
    return file.getvalue()


def one_column(*cells: Cell, column: str = "order_number") -> Table:
    return Table((column,), [(cell,) for cell in cells])


def book_of(report: Table, summary: Table = NOTHING, **options: Any) -> Any:
    file = io.BytesIO()
    write_xlsx(file, report, summary, **options)
    return load_workbook(io.BytesIO(file.getvalue()))


def cell_of(value: Cell, currency: str = "ZAR") -> Any:
    return book_of(Table(("currency", "x"), [(currency, value)]))["report"]["B2"]


# CSV ---------------------------------------------------------------------------------------------


def test_csv_begins_with_the_mark_by_which_excel_knows_utf_8() -> None:
    assert as_csv(one_column("é")) == "\ufefforder_number\r\né\r\n"
    assert as_csv(one_column("a"), bom=False, delimiter=";").startswith("order_number")


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+27831234567", "-1+1", "@SUM(A1)", "\t=1", "\rx", "\nx", "  =1", "-", "-1e5"),
        *(
            "\uff1d1",
            "\uff0b1",
            "\uff0d1",
            "\uff20a",
            "'=1",
            "''@a",
            "-5-",
            "\xa0=1",
            "=cmd|' /C calc'!A0",
        ),
    ],
)
def test_what_could_be_a_formula_is_guarded_and_reads_back(text: str) -> None:
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize(
    "text", ["", "000123", "-12.50", "-5", "A-1", "'001", "1=1", "O'Neil", "'"]
)
def test_other_texts_and_negative_numbers_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text
    assert unguarded(text) == text


@given(st.text(st.sampled_from("='+-@\t\r\n 1a.\uff1d"), max_size=6) | st.text(max_size=9))
def test_a_guard_can_be_taken_away_whatever_the_text(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert guarded(text).lstrip()[:1] not in set("=+@\uff1d\uff0b\uff0d\uff20")
    assert guarded(text)[:1] not in set("\t\r\n")


def test_cells_are_written_without_rounding_and_in_utc() -> None:
    columns = tuple("abcdefg")
    cells = (None, True, False, 7, Decimal("1E+3"), AT, "half \ud83d")
    row = as_csv(Table(columns, [cells])).splitlines()[1]
    assert row == ",yes,no,7,1000,2026-12-01T01:00:05.250Z,half ?"


def lines_of(text: str) -> Iterator[tuple[int, list[str]]]:
    return iter(list(enumerate(csv.reader(io.StringIO(text, newline="")), 1)))


def test_guards_are_taken_from_a_report_only() -> None:
    report = [(1, [" "]), (2, ["state", " at_utc ", "order_number"]), (3, ["a", "", "'=1"])]
    assert list(without_guards(report)) == [*report[:2], (3, ["a", "", "=1"])]
    campaign = [(1, ["order_number"]), (2, ["'=1"])]
    assert list(without_guards(campaign)) == campaign


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=4))
def test_any_text_in_a_report_reads_back(texts: list[str]) -> None:
    columns = ("state", "at_utc", "order_number")
    text = as_csv(Table(columns, [("a", "b", one) for one in texts]), bom=False)
    assert [cells[2] for _, cells in without_guards(lines_of(text))][1:] == texts


# Reports as files of requests --------------------------------------------------------------------


def test_columns_of_a_report_are_ignored_except_for_the_fields_of_a_request() -> None:
    columns = ("state", "at_utc", "currency", "payment_link_ref", "mine")
    assert is_report(columns)
    assert {"state", "at_utc"} <= ignored_columns(columns, CAPTURES.fields)
    assert not {"payment_link_ref", "amount", "mine"} & ignored_columns(columns, CAPTURES.fields)
    assert "currency" not in ignored_columns(columns, LINKS.fields)


def test_nothing_is_ignored_in_a_file_that_is_no_report() -> None:
    columns = ("payment_link_ref", "asked_amount", "state")
    assert ignored_columns(columns, CAPTURES.fields) == frozenset()


# Workbooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["000123", "=1+1", "1234567890123456", "https://a.example", "-5"])
def test_a_text_is_a_text_cell_whatever_it_looks_like(text: str) -> None:
    cell = cell_of(text)
    assert (cell.value, cell.data_type, cell.number_format) == (text, "s", "@")
    assert cell.hyperlink is None


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("199.9", "ZAR", "#,##0.00"),
        ("-5", "ZAR", "#,##0.00"),
        ("100", "JPY", "#,##0"),
        ("100.00", "JPY", "#,##0"),
        ("1.5", "JPY", "#,##0.0"),
        ("1.5", "TND", "#,##0.000"),
        ("9999999999999.99", "ZAR", "#,##0.00"),
        ("1.25", "", "#,##0.00"),
        ("0", "ZAR", "#,##0.00"),
    ],
)
def test_an_amount_is_a_number_with_the_decimals_of_its_currency(
    amount: str, currency: str, shown: str
) -> None:
    cell = cell_of(Decimal(amount), currency)
    assert cell.data_type == "n"
    assert Decimal(str(cell.value)) == Decimal(amount)
    assert cell.number_format == shown


@pytest.mark.parametrize(
    "amount",
    ["12345678901234.56", "1.000000000000000000000000000001", "1E-20", "NaN", f"1{'0' * 40}"],
)
def test_an_amount_that_a_cell_can_not_hold_is_a_text_with_every_digit(amount: str) -> None:
    cell = cell_of(Decimal(amount))
    assert cell.data_type == "s"
    assert cell.value.startswith(f"{Decimal(amount):f}")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2))
def test_no_amount_loses_a_digit(amount: Decimal) -> None:
    assert Decimal(str(cell_of(amount).value)) == amount


def test_a_time_is_a_date_in_utc() -> None:
    cell = cell_of(AT)
    assert cell.is_date
    assert cell.value.replace(tzinfo=UTC) == AT
    assert cell.number_format == "yyyy-mm-dd hh:mm:ss"


def test_a_time_before_the_first_of_excel_is_a_text() -> None:
    assert cell_of(datetime(1, 1, 2, tzinfo=UTC)).value == "0001-01-02T00:00:00.000Z"


def test_counts_are_numbers_flags_are_words_and_nothing_is_nothing() -> None:
    assert cell_of(7).value == 7
    assert cell_of(10**15).value == "1000000000000000"
    assert [cell_of(flag).value for flag in (True, False)] == ["yes", "no"]
    assert cell_of(None).value is None


def test_a_text_that_is_too_long_for_a_cell_is_cut_and_says_so() -> None:
    value = cell_of("x" * 40_000).value
    assert len(value) == 32_767
    assert value.endswith("x … (cut)")
    assert cell_of("x" * 32_767).value == "x" * 32_767


def test_the_header_is_bold_frozen_and_wide_enough() -> None:
    sheet = book_of(Table(("gateway_reconciliation_reference", "problem"), ()))["report"]
    assert sheet["A1"].font.bold
    assert sheet.freeze_panes == "A2"
    assert sheet.column_dimensions["A"].width > len("gateway_reconciliation_reference")
    assert sheet.column_dimensions["B"].width > 50
    assert sheet.auto_filter.ref is None


def test_a_date_has_the_room_that_it_needs() -> None:
    rows = [(AT, "applied", "create_payment_link")] * 2
    sheet = book_of(Table(("at_utc", "state", "operation"), rows))["report"]
    assert sheet.column_dimensions["A"].width > len("2026-12-01 00:00:00")
    assert sheet.column_dimensions["C"].width > len("create_payment_link")
    assert sheet.auto_filter.ref == "A1:C3"
    assert sheet.page_setup.orientation == "landscape"
    assert sheet.print_title_rows == "$1:$1"


def test_the_summary_is_read_after_the_report() -> None:
    passed: list[str] = []

    def rows() -> Iterator[Sequence[Cell]]:
        for state in ("applied", "failed"):
            passed.append(state)
            yield (state,)

    def summed_up() -> Iterator[Sequence[Cell]]:
        yield (len(passed),)

    book = book_of(Table(("state",), rows()), Table(("items",), summed_up()))
    assert book.sheetnames == ["report", "summary"]
    assert book["summary"]["A2"].value == 2


def test_rows_without_room_on_a_sheet_go_on_on_the_next() -> None:
    book = book_of(one_column("1", "2", "3", "4", "5"), most_rows=3)
    assert book.sheetnames == ["report", "report 2", "report 3", "summary"]
    values = [[cell.value for cell in sheet["A"]] for sheet in book.worksheets[:3]]
    header = "order_number"
    assert values == [[header, "1", "2"], [header, "3", "4"], [header, "5"]]


def test_nothing_is_written_where_a_row_can_not_be_made() -> None:
    def broken() -> Iterator[Sequence[Cell]]:
        yield ("applied",)
        raise ValueError("a row")

    file = io.BytesIO()
    with pytest.raises(ValueError, match="a row"):
        write_xlsx(file, Table(("state",), broken()), NOTHING)
    assert file.getvalue() == b""


def test_a_workbook_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(ConfigurationError, match=r'pip install "chat2pay-async\[excel\]"'):
        write_xlsx(io.BytesIO(), NOTHING, NOTHING)


def test_amounts_are_written_with_the_decimals_of_their_rows_currency() -> None:
    rows = [("ZAR", Decimal("101.1"), 7), ("JPY", Decimal("5.0"), 7), (None, Decimal("2.50"), 7)]
    file = io.StringIO(newline="")
    write_csv(file, Table(("currency", "amount", "items"), rows), bom=False)
    assert file.getvalue().split()[1:] == ["ZAR,101.10,7", "JPY,5,7", ",2.50,7"]
