r"""The rows of a file as checked requests: CSV, JSON lines or workbooks.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "captures.csv")
    ...     _ = path.write_text("payment_link_ref,amount\n8a1f,100.00\n8a20,1e\n")
    ...     for row in read_rows(path, CAPTURES):
    ...         print(row.request or row.faults[0])
    Capture(payment_link_ref='8a1f', amount=Decimal('100.00'))
    line 3, amount: is not a number; write it with digits and a point, such as "199.90"

A column has the name of the request's attribute: `order_number`, `total_amount`, and `from_` or
`from`. Nested fields are written in separate columns, or in one column as JSON:

- `additional_data.customer`, `additional_data.a.b`, whose cells are text; or `additional_data`
  with JSON such as `{"customer": "Thandi", "table": 7}`;
- `order_line_items.0.name`, `order_line_items.0.unit_price`, then `order_line_items.1.name` and so
  on; or `order_line_items` with JSON such as `[{"name": "Mug", "unit_price": "9.90"}]`.

In JSON lines such fields are simply nested. A line item with blank cells only is absent.

Nothing is rounded, guessed or left out: an unknown column is an error unless it is to be ignored,
and a row is a request only if it has no fault. All faults of a row are reported at once, each with
line and column, and none of them repeats the content of a cell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from chat2pay_async._api.requests import (
    Capture,
    LineItem,
    LinkReference,
    PaymentLinkRequest,
    ReceiptRequest,
    TransactionQuery,
)
from chat2pay_async._files.cells import CellError, shown
from chat2pay_async._files.columns import ITEM, ITEMS, Kind, Layout, Problems, layout
from chat2pay_async._files.readers import open_sheet
from chat2pay_async._files.sheet import Line
from chat2pay_async._tracebacks import hiding_frames
from chat2pay_async._workbooks.formats import contradictions
from chat2pay_async.errors import RequestValidationError

__all__ = ["CAPTURES", "LINKS", "QUERIES", "RECEIPTS", "REFERENCES", "Row", "RowFault", "read_rows"]

Q = TypeVar("Q")

# In the place of what could not be read, so that the rest of a request is checked as well. It is
# never sent: a row that needs it has a fault.
_UNREADABLE = "?"
_ITEM_OF_A_REQUEST = re.compile(rf"{ITEMS}\[([0-9]+)\]")

LINKS: Kind[PaymentLinkRequest] = Kind("payment links", PaymentLinkRequest)
"""Payment links to create."""
CAPTURES: Kind[Capture] = Kind("captures", Capture)
"""Payments to capture, as a whole where `amount` is blank."""
REFERENCES: Kind[LinkReference] = Kind("references", LinkReference)
"""Payments to reverse, or links to cancel."""
RECEIPTS: Kind[ReceiptRequest] = Kind("receipts", ReceiptRequest)
"""Receipts to send."""
QUERIES: Kind[TransactionQuery] = Kind("queries", TransactionQuery)
"""Transactions to look up."""


@attrs.frozen
class RowFault:
    """A fault of a row."""

    line: int
    """Counted from 1; the first line of a row whose cells have line breaks."""
    column: str
    """Its name in the file; empty for a fault of the whole row."""
    problem: str
    """The problem, and what to write instead."""

    def __str__(self) -> str:
        place = f"line {self.line}, {self.column}" if self.column else f"line {self.line}"
        return f"{place}: {self.problem}"


@attrs.frozen
class Row(Generic[Q]):
    """A row that is not blank: a request, or faults."""

    line: int
    request: Q | None
    """None where there are faults."""
    faults: tuple[RowFault, ...] = ()


def read_rows(
    path: Path,
    kind: Kind[Q],
    ignore: Collection[str] = (),
    *,
    sheet: str | None = None,
    include_hidden: bool = False,
) -> Generator[Row[Q], None, None]:
    """Read a file row by row. It is open from the first row to the last.

    Args:
        path: A file that ends in .csv, .tsv, .jsonl, .ndjson, .xlsx, .xlsm, .xls or .ods.
        kind: The kind of its rows, such as `LINKS`.
        ignore: Columns that are not part of a request.
        sheet: The sheet of a workbook. Default: the only visible one that has rows.
        include_hidden: Whether hidden rows and columns of a workbook are read like others.

    Raises:
        ConfigurationError: The file as a whole can't be used: it can't be opened, it is empty or
            not UTF-8, a column is unknown, missing or occurs twice, a quotation mark is not
            closed.
    """
    with (
        hiding_frames(),
        open_sheet(path, sheet=sheet, include_hidden=include_hidden, ignore=ignore) as opened,
    ):
        found = layout(path, kind, opened.columns, ignore)
        for line in opened.lines:
            yield _row(kind, found, line, in_workbook=bool(opened.name))


def _row(kind: Kind[Q], found: Layout, line: Line, *, in_workbook: bool) -> Row[Q]:
    if line.problem:
        return Row(line.number, None, (RowFault(line.number, "", line.problem),))
    problems: Problems = {}
    fields = found.fields(line.cells, problems)
    if in_workbook:
        problems |= contradictions(fields)
    request = _request(kind, fields, problems)
    if not problems:
        return Row(line.number, request)
    faults: list[RowFault] = []
    for path, problem in problems.items():
        column, inside = found.column(path, line.cells)
        text = f"{inside}: {problem}" if inside else problem
        faults.append(RowFault(line.number, shown(column), text))
    return Row(line.number, None, tuple(faults))


# From fields to a request ------------------------------------------------------------------------


def _request(kind: Kind[Q], fields: dict[str, Any], problems: Problems) -> Q | None:
    """Build a request, and collect its problems: the first one of each field."""
    arguments = _arguments(kind, fields, "", problems)
    items = sorted(arguments[ITEMS].items()) if ITEMS in arguments else ()
    if items:
        arguments[ITEMS] = [_item(f"{ITEMS}.{index}", item, problems) for index, item in items]
    try:
        return kind.model(**arguments)
    except RequestValidationError as error:
        for fault in error.faults:  # of the second item of a request, which may be number 7 here
            path = _ITEM_OF_A_REQUEST.sub(
                lambda found: f"{ITEMS}.{items[int(found[1])][0]}", fault.field
            )
            problems.setdefault(path, fault.problem)
        return None


def _item(path: str, item: Any, problems: Problems) -> Any:
    if not isinstance(item, dict):
        problems[path] = "must be an object"
        return _UNREADABLE
    given = {name: value for name, value in item.items() if value is not None}
    for name in given.keys() - ITEM.fields.keys():
        problems[f"{path}.{name}"] = f"is unknown; a line item has {', '.join(ITEM.fields)}"
        del given[name]
    return LineItem(**_arguments(ITEM, given, f"{path}.", problems))


def _arguments(
    kind: Kind[Any], given: Mapping[str, Any], prefix: str, problems: Problems
) -> dict[str, Any]:
    convert, arguments = kind.fields, dict[str, Any]()
    for name, value in given.items():
        try:
            arguments[name] = convert[name](value)
        except CellError as error:
            problems[prefix + name] = str(error)
            arguments[name] = _UNREADABLE
    for name in kind.required:
        if name not in given:
            problems[prefix + name] = "is required"
            arguments[name] = _UNREADABLE
    return arguments
