r"""The rows of a file, as checked requests: for campaigns that come as CSV, JSON lines or Excel.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "captures.csv")
    ...     _ = path.write_text("payment_link_ref,amount\n8a1f,100.00\n8a20,1e\n")
    ...     for row in read_rows(path, CAPTURES):
    ...         print(row.request or row.faults[0])
    Capture(payment_link_ref='8a1f', amount=Decimal('100.00'))
    line 3, amount: is not a number; write it with digits and a point, such as "199.90"

A column is named as the request's attribute: `order_number`, `total_amount`, and `from_` or `from`.
What has an inside is written in columns of its own, or in one column as JSON:

- `additional_data.customer`, `additional_data.a.b`, whose cells are texts; or `additional_data`
  with JSON such as `{"customer": "Thandi", "table": 7}`;
- `order_line_items.0.name`, `order_line_items.0.unit_price`, then `order_line_items.1.name` and so
  on; or `order_line_items` with JSON such as `[{"name": "Mug", "unit_price": "9.90"}]`.

In JSON lines such fields are simply nested. A line item whose cells are all blank is absent.

Nothing is rounded, guessed or left out: a column that is unknown is an error unless it is to be
ignored, and a row is a request only if nothing at all is wrong with it. All its faults come at
once, each with line and column, and none of them repeats what stands in a cell.
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
from chat2pay_async._files.cells import CellError, Convert, shown
from chat2pay_async._files.columns import (
    ITEM_FIELDS,
    ITEM_REQUIRED,
    ITEMS,
    Kind,
    Layout,
    Problems,
    layout,
)
from chat2pay_async._files.readers import Line, Sheet, open_sheet
from chat2pay_async.errors import RequestValidationError

__all__ = [
    "CAPTURES",
    "LINKS",
    "QUERIES",
    "RECEIPTS",
    "REFERENCES",
    "Kind",
    "Row",
    "RowFault",
    "read_rows",
]

Q = TypeVar("Q")

# Stands for what could not be read, so that everything else of a request is checked as well. It
# never leaves: a row that needed it has a fault.
_UNREADABLE = "?"
_ITEM_OF_A_REQUEST = re.compile(rf"{ITEMS}\[([0-9]+)\]")
_MAY_HIDE_AN_ERROR = (
    "is blank, or a formula without a result, which Excel files don't tell apart: fill it in "
    "every row, or leave the column out"
)

LINKS: Kind[PaymentLinkRequest] = Kind("payment links", PaymentLinkRequest)
"""Payment links to make."""
CAPTURES: Kind[Capture] = Kind("captures", Capture, never_blank=("amount",))
"""Payments to capture; the whole of one, where `amount` is blank."""
REFERENCES: Kind[LinkReference] = Kind("references", LinkReference)
"""Payments to reverse, or links to cancel."""
RECEIPTS: Kind[ReceiptRequest] = Kind("receipts", ReceiptRequest)
"""Receipts to send."""
QUERIES: Kind[TransactionQuery] = Kind("queries", TransactionQuery)
"""Transactions to look up."""


@attrs.frozen
class RowFault:
    """One thing that is wrong with a row."""

    line: int
    """Counted from 1; where the row begins, if a cell of it has line breaks."""
    column: str
    """As it stands in the file; empty if this is about the whole row."""
    problem: str
    """What is wrong, and what to write instead."""

    def __str__(self) -> str:
        place = f"line {self.line}, {self.column}" if self.column else f"line {self.line}"
        return f"{place}: {self.problem}"


@attrs.frozen
class Row(Generic[Q]):
    """A row that is not blank: a request, or what is wrong with it."""

    line: int
    request: Q | None
    """None where there are faults."""
    faults: tuple[RowFault, ...] = ()


def read_rows(
    path: Path, kind: Kind[Q], ignore: Collection[str] = ()
) -> Generator[Row[Q], None, None]:
    """Read a file row by row: it is opened when the first row is asked for, closed after the last.

    Args:
        path: A file that ends in .csv, .tsv, .jsonl, .ndjson, .xlsx, .xls, .xlsb or .ods.
        kind: What its rows are, such as `LINKS`.
        ignore: Columns that may be there and say nothing to the service.

    Raises:
        ConfigurationError: Something is wrong with the file as a whole: it can't be opened, it is
            empty or not UTF-8, a column is unknown, missing or there twice, a quotation mark is
            not closed.
    """
    with open_sheet(path) as sheet:
        plan = layout(path, kind, sheet.columns, ignore)
        filled = _must_be_filled(kind, sheet)
        for line in sheet.lines:
            yield _row(kind, plan, filled, line)


def _must_be_filled(kind: Kind[Any], sheet: Sheet) -> tuple[str, ...]:
    if not sheet.hides_errors:
        return ()
    return tuple(name for name in kind.never_blank if name in (sheet.columns or ()))


def _row(kind: Kind[Q], plan: Layout, filled: tuple[str, ...], line: Line) -> Row[Q]:
    if line.problem:
        return Row(line.number, None, (RowFault(line.number, "", line.problem),))
    problems = {name: _MAY_HIDE_AN_ERROR for name in filled if name not in line.cells}
    request = _request(kind, plan.fields(line.cells, problems), problems)
    if not problems:
        return Row(line.number, request)
    faults = [_fault(plan, line, path, problem) for path, problem in problems.items()]
    return Row(line.number, None, tuple(faults))


def _fault(plan: Layout, line: Line, path: str, problem: str) -> RowFault:
    column, inside = plan.column(path, line.cells)
    return RowFault(line.number, shown(column), f"{inside}: {problem}" if inside else problem)


# From fields to a request ------------------------------------------------------------------------


def _request(kind: Kind[Q], fields: dict[str, Any], problems: Problems) -> Q | None:
    """Everything that is wrong is noted; where something already was, that is said alone."""
    arguments = _arguments(kind.fields, kind.required, fields, "", problems)
    items = sorted(arguments.get(ITEMS, {}).items())
    if items:
        arguments[ITEMS] = [_item(f"{ITEMS}.{index}", item, problems) for index, item in items]
    try:
        return kind.model(**arguments)
    except RequestValidationError as error:
        for fault in error.faults:
            problems.setdefault(_path(fault.field, [index for index, _ in items]), fault.problem)
        return None


def _path(field: str, indexes: list[int]) -> str:
    """`order_line_items.2.name`, where the second item of the request was that of the index 2."""
    return _ITEM_OF_A_REQUEST.sub(lambda found: f"{ITEMS}.{indexes[int(found[1])]}", field)


def _item(path: str, item: Any, problems: Problems) -> Any:
    if not isinstance(item, dict):
        problems[path] = "must be an object"
        return _UNREADABLE
    given = {name: value for name, value in item.items() if value is not None}
    for name in given.keys() - ITEM_FIELDS.keys():
        problems[f"{path}.{name}"] = f"is unknown; a line item has {', '.join(ITEM_FIELDS)}"
        del given[name]
    return LineItem(**_arguments(ITEM_FIELDS, ITEM_REQUIRED, given, f"{path}.", problems))


def _arguments(
    read: Mapping[str, Convert],
    required: tuple[str, ...],
    given: Mapping[str, Any],
    prefix: str,
    problems: Problems,
) -> dict[str, Any]:
    arguments: dict[str, Any] = dict.fromkeys(required, _UNREADABLE)
    for name, value in given.items():
        try:
            arguments[name] = read[name](value)
        except CellError as error:
            problems[prefix + name] = str(error)
            arguments[name] = _UNREADABLE
    for name in required:
        if name not in given:
            problems[prefix + name] = "is required"
    return arguments
