"""Tables of a report, written as CSV or as a workbook that spreadsheets open safely.

A CSV file can't say that a cell is text: a spreadsheet that opens it shows the order number 000123
as 123, and cuts numbers of more than 15 digits. It can only be imported with the column set to
text; a workbook (`write_xlsx`, extra `excel`) has no such fault.

What a spreadsheet could take for a formula is guarded in CSV by an apostrophe in front of it, as
OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection). `without_guards` takes it
away again when a report is read.
"""

from __future__ import annotations

import csv
import importlib
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final, TextIO, TypeAlias

import attrs

from chat2pay_async._api.validation import decimals_of, written
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "REPORT_COLUMNS",
    "REPORT_SHEET",
    "SUMMARY_SHEET",
    "Cell",
    "Table",
    "guarded",
    "ignored_columns",
    "is_report",
    "unguarded",
    "without_guards",
    "write_csv",
    "write_xlsx",
]

Cell: TypeAlias = str | bool | int | Decimal | datetime | None

REPORT_COLUMNS: Final = frozenset(
    {
        *("row", "operation", "state", "order_number", "payment_link_ref", "idempotency_key"),
        *("reconciliation_id", "channel", "transaction_type", "currency", "asked_amount", "amount"),
        *("answered_amount", "receipt_link_ref", "link_status", "decision", "gateway_code"),
        *("gateway_reference", "gateway_reconciliation_reference", "payment_status", "recovered"),
        *("replayed", "delivered", "attempts", "by", "at_utc", "problem", "to", "payment_link"),
        *("is_authorized", "is_captured", "is_paid", "is_reversed", "is_declined", "is_expired"),
        *("is_cancelled", "is_open", "order_amount", "authorized_amount", "captured_amount"),
        *("paid_amount", "created_at_utc"),
    }
)
"""Every column that a report may have."""
_MARKS: Final = frozenset({"state", "at_utc"})
"""Columns of every report, and of no request."""

REPORT_SHEET: Final = "report"
SUMMARY_SHEET: Final = "summary"

# Full-width signs begin a formula, too, where Excel is set to Chinese, Japanese or Korean.
_LIKE_A_FORMULA = re.compile(r"['\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@attrs.frozen
class Table:
    """A table: its rows are read once, while it is written."""

    columns: tuple[str, ...]
    rows: Iterable[Sequence[Cell]]

    @property
    def currency_of(self) -> Callable[[Sequence[Cell]], str]:
        """A function that finds the currency of a row's amounts; empty if there is none."""
        if "currency" not in self.columns:
            return lambda _row: ""
        place = self.columns.index("currency")
        return lambda row: str(row[place] or "")


def is_report(columns: Collection[str]) -> bool:
    """Tell whether a file with these columns is a report."""
    return _MARKS.issubset(columns)


def ignored_columns(columns: Collection[str], fields: Collection[str]) -> frozenset[str]:
    """Return the columns that are to be ignored where a report is read as a file of requests.

    Args:
        columns: The columns of the file. Where it is no report, nothing is to be ignored: a column
            that a person made may mean something.
        fields: The fields of a request.
    """
    return REPORT_COLUMNS.difference(fields) if is_report(columns) else frozenset()


# CSV ---------------------------------------------------------------------------------------------


def write_csv(file: TextIO, table: Table, *, delimiter: str = ",", bom: bool = True) -> None:
    """Write a table as CSV.

    Args:
        file: Open with `newline=""`, in UTF-8.
        table: Its texts are guarded, negative numbers are not.
        delimiter: Between two cells.
        bom: Whether to begin with the mark by which Excel recognises UTF-8.
    """
    if bom:
        file.write("\ufeff")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(table.columns)
    currency_of = table.currency_of
    for row in table.rows:
        currency = currency_of(row)
        writer.writerow([guarded(_written(cell, currency)) for cell in row])


def guarded(text: str) -> str:
    """Put an apostrophe in front of what a spreadsheet could take for a formula."""
    return f"'{text}" if _is_like_a_formula(text) else text


def unguarded(text: str) -> str:
    """Take the apostrophe of `guarded` away, and no other."""
    return text[1:] if text[:1] == "'" and _is_like_a_formula(text[1:]) else text


def _is_like_a_formula(text: str) -> bool:
    return bool(_LIKE_A_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def without_guards(lines: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Take the guards from the cells of a CSV file, if its header is a report's.

    Args:
        lines: Numbers of lines, and their cells.
    """
    header: list[str] | None = None
    guards = False
    for number, cells in lines:
        if header is None and any(map(str.strip, cells)):
            header = [cell.strip() for cell in cells]
            guards = is_report(header)
        yield number, [unguarded(cell) for cell in cells] if guards else cells


def _written(cell: Cell, currency: str = "") -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case Decimal():
            return written(cell, currency)
        case datetime():
            return cell.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        case _:
            # Half of a character can't be written in UTF-8.
            return str(cell).encode(errors="replace").decode()


# Workbooks ---------------------------------------------------------------------------------------

# https://support.microsoft.com/office/excel-specifications-and-limits
_MOST_ROWS: Final = 1_048_576
_MOST_CHARACTERS: Final = 32_767
_EXCEL_DIGITS: Final = 15
_FIRST_YEAR: Final = 1900
_CUT: Final = " … (cut)"
_WIDE: Final = {
    "problem": 60,
    **dict.fromkeys(("payment_link", "payment_link_ref", "receipt_link_ref"), 40),
    **dict.fromkeys(("link_status", "gateway_reconciliation_reference"), 36),
    "gateway_reference": 28,
    **dict.fromkeys(("operation", "order_number", "by", "at_utc", "created_at_utc"), 22),
}
"""Widths of columns, in characters: a date that has no room is shown as ###."""


def write_xlsx(
    file: BinaryIO, report: Table, summary: Table, *, most_rows: int = _MOST_ROWS
) -> None:
    """Write a workbook with the sheets `report` and `summary`; memory does not grow with it.

    Texts are text cells, amounts numbers with the decimals of the row's `currency`, times dates in
    UTC. An amount of more than 15 digits is a text, since a cell would lose digits; a spreadsheet
    does not add it up.

    Args:
        file: Is written to once all rows are there.
        report: Its rows. Those that have no room on a sheet go on in `report 2`.
        summary: Its rows are read after those of the report, so that they can sum them up.
        most_rows: The most rows of a sheet, the header included.

    Raises:
        ConfigurationError: The extra `excel` is not installed.
    """
    library = _xlsxwriter()
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    # Of its own, since the library writes what it has even where a row raises.
    with tempfile.TemporaryFile() as whole:
        with library.Workbook(whole, options) as book:
            formats = _Formats(book)
            _write_sheets(book, formats, REPORT_SHEET, report, most_rows)
            _write_sheets(book, formats, SUMMARY_SHEET, summary, most_rows)
        whole.seek(0)
        shutil.copyfileobj(whole, file)


def _xlsxwriter() -> Any:
    try:
        return importlib.import_module("xlsxwriter")
    except ModuleNotFoundError:
        raise ConfigurationError(
            'to write Excel files: pip install "chat2pay-async[excel]" (or write CSV)'
        ) from None


class _Formats:
    """The formats of a workbook's cells."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._amounts: dict[int, Any] = {}
        self.header = book.add_format({"bold": True, "num_format": "@"})
        self.text = book.add_format({"num_format": "@"})
        self.moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})

    def amount(self, decimals: int) -> Any:
        if decimals not in self._amounts:
            shown = "#,##0" + ("." + "0" * decimals if decimals else "")
            self._amounts[decimals] = self._book.add_format({"num_format": shown})
        return self._amounts[decimals]


def _write_sheets(book: Any, formats: _Formats, name: str, table: Table, most_rows: int) -> None:
    """Write a table on as many sheets as it needs."""
    sheet, number, sheets = _new_sheet(book, formats, name, table.columns), 0, 1
    currency_of = table.currency_of
    for row in table.rows:
        if number + 1 == most_rows:
            sheets += 1
            sheet, number = _new_sheet(book, formats, f"{name} {sheets}", table.columns), 0
        number += 1
        currency = currency_of(row)
        for place, cell in enumerate(row):
            _write_cell(sheet, (number, place), cell, currency, formats)
    if sheets == 1 and number:
        sheet.autofilter(0, 0, number, len(table.columns) - 1)


def _new_sheet(book: Any, formats: _Formats, name: str, columns: tuple[str, ...]) -> Any:
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 0)
    sheet.repeat_rows(0)
    sheet.set_landscape()
    for place, column in enumerate(columns):
        sheet.set_column(place, place, _WIDE.get(column, max(len(column) + 5, 12)))
        sheet.write_string(0, place, column, formats.header)
    return sheet


def _write_cell(
    sheet: Any, place: tuple[int, int], cell: Cell, currency: str, formats: _Formats
) -> None:
    match cell:
        case None:
            return
        case Decimal() if _fits_a_number(cell):
            sheet.write_number(*place, float(cell), formats.amount(decimals_of(cell, currency)))
        case datetime() if cell.year >= _FIRST_YEAR:
            moment = cell.astimezone(UTC).replace(tzinfo=None)
            sheet.write_datetime(*place, moment, formats.moment)
        case int() if not isinstance(cell, bool) and abs(cell) < 10**_EXCEL_DIGITS:
            sheet.write_number(*place, cell)
        case _:
            text = _written(cell, currency)
            if len(text) > _MOST_CHARACTERS:
                text = text[: _MOST_CHARACTERS - len(_CUT)] + _CUT
            sheet.write_string(*place, text, formats.text)


def _fits_a_number(amount: Decimal) -> bool:
    """Tell whether a spreadsheet's number has all digits of an amount."""
    if not amount.is_finite() or abs(amount.adjusted()) > _EXCEL_DIGITS:
        return False
    digits = f"{amount:f}".lstrip("-").replace(".", "").strip("0")
    return len(digits) <= _EXCEL_DIGITS
