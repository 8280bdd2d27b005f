r"""The rows of a file as checked requests: CSV, JSON lines or workbooks.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "captures.csv")
    ...     _ = path.write_text("payment_link_ref,amount\n8a1f,100.00\n8a20,1e\n")
    ...     for row in read_rows(path, CAPTURES):
    ...         print(row.request or row.faults[0])
    Capture(payment_link_ref='8a1f', amount=Decimal('100.00'), currency=None)
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
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

from chat2pay_async._api.enums import Channel
from chat2pay_async._api.requests import (
    Capture,
    LineItem,
    LinkReference,
    PaymentLinkRequest,
    ReceiptRequest,
    TransactionQuery,
)
from chat2pay_async._api.validation import identity_problem
from chat2pay_async._files.cells import CellError, decimal_mark, phone, shown
from chat2pay_async._files.columns import (
    ITEM,
    ITEMS,
    KEY,
    Header,
    Kind,
    Layout,
    Problems,
    Reading,
    layout,
)
from chat2pay_async._files.readers import open_sheet
from chat2pay_async._files.sheet import Line, Sheet
from chat2pay_async._files.source import Source, pin
from chat2pay_async._files.tables import ignored_columns
from chat2pay_async._tracebacks import hiding_frames
from chat2pay_async._workbooks.formats import contradictions
from chat2pay_async.errors import ConfigurationError, RequestValidationError

__all__ = ["CAPTURES", "LINKS", "QUERIES", "RECEIPTS", "REFERENCES", "Row", "RowFault", "read_rows"]

Q = TypeVar("Q")

# In the place of what could not be read, so that the rest of a request is checked as well. It is
# never sent: a row that needs it has a fault.
_UNREADABLE = "?"
_ITEM_OF_A_REQUEST = re.compile(rf"{ITEMS}\[([0-9]+)\]")


def _undeliverable(request: PaymentLinkRequest) -> Problems:
    """Refuse a link that goes to nobody: neither the service nor the caller could deliver it."""
    if request.channel is Channel.NONE and not request.return_payment_link:
        return {
            "return_payment_link": "must be true where channel is none: otherwise nobody gets the "
            "link"
        }
    return {}


LINKS: Kind[PaymentLinkRequest] = Kind(
    "payment links", PaymentLinkRequest, identity=("order_number",), check=_undeliverable
)
"""Payment links to create."""
CAPTURES: Kind[Capture] = Kind("captures", Capture, identity=("payment_link_ref",))
"""Payments to capture, as a whole where `amount` is blank."""
REFERENCES: Kind[LinkReference] = Kind("references", LinkReference, identity=("payment_link_ref",))
"""Payments to reverse, or links to cancel."""
RECEIPTS: Kind[ReceiptRequest] = Kind(
    "receipts", ReceiptRequest, identity=("payment_link_ref", "receipt_link")
)
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
    other: int = 0
    """The line that this row contradicts; 0 if there is none."""

    def __str__(self) -> str:
        place = f"line {self.line}, {self.column}" if self.column else f"line {self.line}"
        contradicted = f" (line {self.other})" if self.other else ""
        return f"{place}: {self.problem}{contradicted}"


@attrs.frozen
class Row(Generic[Q]):
    """A row: a request, or faults. A blank one has neither."""

    line: int
    request: Q | None
    """None where there are faults."""
    faults: tuple[RowFault, ...] = ()
    idempotency_key: str | None = None
    """The value of that column, which is no part of the request."""
    content: int = attrs.field(default=0, eq=False, repr=False)
    """A hash of the cells."""

    @property
    def is_blank(self) -> bool:
        """True if it has neither a request nor faults."""
        return self.request is None and not self.faults


def read_rows(
    path: Path | Source,
    kind: Kind[Q],
    reading: Reading | None = None,
    *,
    with_blank: bool = False,
    on_open: Callable[[Sheet], object] = lambda _sheet: None,
) -> Generator[Row[Q], None, None]:
    """Read a file row by row. A copy of it is open from the first row to the last.

    Args:
        path: A file that ends in .csv, .tsv, .txt, .jsonl, .ndjson, .xlsx, .xlsm, .xls or .ods,
            perhaps compressed (.csv.gz); `-` for standard input; or a copy that was made before.
        kind: The kind of its rows, such as `LINKS`.
        reading: Choices, such as columns that are to be ignored.
        with_blank: Whether blank rows are given, too, so that every row is counted.
        on_open: Called with the sheet before its first row.

    Raises:
        ConfigurationError: The file as a whole can't be used: it can't be opened, it is empty, cut
            off or not UTF-8, a column is unknown, missing or occurs twice, a quotation mark is not
            closed.
    """
    reading = Reading() if reading is None else reading
    with hiding_frames(), ExitStack() as stack:
        source = path if isinstance(path, Source) else stack.enter_context(pin(path))
        sheet = stack.enter_context(
            open_sheet(
                source,
                sheet=reading.sheet,
                include_hidden=reading.include_hidden,
                ignore=reading.ignore,
                last_line_is_complete=reading.last_line_is_complete,
            )
        )
        on_open(sheet)
        of_reports = ignored_columns(sheet.columns or (), kind.fields)
        ignore = (*reading.ignore, *of_reports)
        had_no_effect = _without_effect(kind) if of_reports else _never
        found = layout(source, kind, sheet.columns, attrs.evolve(reading, ignore=ignore))
        commas = _Commas.of(found, sheet.delimiter) or _Split.of(found, sheet)
        reader = _Rows(kind, found, commas, reading.country, in_workbook=bool(sheet.name))
        is_empty = True
        last = sheet.columns[-1] if sheet.columns and sheet.delimiter else ""
        may_be_blank = bool(last) and isinstance(found, Header) and not found.is_required(last)
        for line in sheet.lines:
            if line.is_blank or had_no_effect(line):
                if with_blank:
                    yield Row(line.number, None)
                continue
            is_empty = False
            if line.surplus and may_be_blank and not line.problem:
                # An unquoted comma in a cell would have moved the others by one.
                line = attrs.evolve(line, problem=_SURPLUS)  # noqa: PLW2901 - the same line
            yield reader.row(line)
        if is_empty:
            raise ConfigurationError(f"{source}: has a header, and no rows")


def _without_effect(kind: Kind[Any]) -> Callable[[Line], bool]:
    """Return a function that finds the rows of a report that name nothing, as nothing was made."""
    names = kind.required or _IDENTITIES

    def find(line: Line) -> bool:
        return line.cells.get("state") in _NO_EFFECT and not any(map(line.cells.get, names))

    return find


def _never(_line: Line) -> bool:
    return False


_NO_EFFECT: Final = frozenset({"bad", "rejected", "failed"})
_IDENTITIES: Final = ("order_number", "payment_link_ref", "receipt_link_ref")
_SURPLUS = (
    "has more cells than the header, so that an unquoted comma may have moved them: write a value "
    "with commas in quotation marks, and no comma after the last column"
)


@attrs.frozen
class _Rows(Generic[Q]):
    """The rows of one reading."""

    kind: Kind[Q]
    layout: Layout
    commas: _Commas | _Split | None
    country: str | None
    in_workbook: bool

    def row(self, line: Line) -> Row[Q]:
        if line.problem:
            return Row(line.number, None, (RowFault(line.number, "", line.problem),))
        cells, problems, others = line.cells, Problems(), dict[str, int]()
        if self.commas is not None:
            cells = self.commas.with_points(line.number, cells, problems, others)
        fields = self.layout.fields(cells, problems)
        key = self._key(fields.pop(KEY), problems) if KEY in fields else None
        if self.country is not None and "to" in fields:
            try:
                fields["to"] = phone(fields["to"], self.country)
            except CellError as error:
                problems["to"] = str(error)
        if self.in_workbook:
            problems |= contradictions(fields)
        request = _request(self.kind, fields, problems)
        if request is not None and not problems and self.kind.check is not None:
            problems |= self.kind.check(request)
        if not problems:
            return Row(
                line.number, request, (), key, _hash(line.cells) if self.kind.identity else 0
            )
        faults: list[RowFault] = []
        for path, problem in problems.items():
            column, inside = self.layout.column(path, line.cells)
            text = f"{inside}: {problem}" if inside else problem
            faults.append(RowFault(line.number, shown(column), text, others.get(path, 0)))
        return Row(line.number, None, tuple(faults), key)

    def _key(self, value: Any, problems: Problems) -> str | None:
        key = None
        try:
            key = self.kind.fields[self.kind.identity[0]](value)
        except CellError as error:
            problems[KEY] = str(error)
        else:
            if problem := identity_problem(key):
                problems[KEY] = problem
        return key


def _hash(cells: Mapping[str, Any]) -> int:
    try:
        return hash(frozenset(cells.items()))
    except TypeError:  # JSON lines may be nested
        return hash(repr(sorted(cells.items())))


# Decimal commas ----------------------------------------------------------------------------------

_LIKE_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")


@attrs.define
class _Commas:
    """The decimal mark of a table whose cells are not separated by commas: a comma or a point.

    All of its amounts have the same one. 1,234 does not show which it is.
    """

    amounts: Mapping[str, str]
    """Column → path."""
    first: dict[str, int] = attrs.field(factory=dict[str, int])
    """Decimal mark → the first line that shows it."""

    @classmethod
    def of(cls, found: Layout, delimiter: str) -> _Commas | None:
        return cls(found.amounts) if delimiter not in ("", ",") and found.amounts else None

    def with_points(
        self, line: int, cells: dict[str, Any], problems: Problems, others: dict[str, int]
    ) -> dict[str, Any]:
        """Write the amounts of a line with decimal points."""
        changed: dict[str, str] = {}
        for column, path in self.amounts.items():
            cell = cells.get(column, "")
            mark = decimal_mark(cell)
            if mark is None:
                continue
            other = "." if mark == "," else ","
            if other in self.first:
                problems[path] = (
                    f"has a decimal {_MARKS[mark]}, and another row has a decimal "
                    f"{_MARKS[other]}: write all amounts alike"
                )
                others[path] = self.first[other]
            elif mark not in self.first and _LIKE_THOUSANDS.fullmatch(cell):
                problems[path] = (
                    "may be thousands or a fraction, since nothing before it shows whether the "
                    f"file has decimal commas: write it without the {_MARKS[mark]}, or with "
                    "another number of decimals"
                )
            else:
                self.first.setdefault(mark, line)
                if mark == ",":
                    changed[column] = cell.replace(",", ".")
        return {**cells, **changed} if changed else cells


_MARKS = {",": "comma", ".": "point"}
_WHOLE_AMOUNT = re.compile(r"[0-9]+")
_LIKE_THE_REST = re.compile(r"[0-9]{1,3}")
_LIKE_ITS_THOUSANDS = re.compile(r"[0-9]{3}\.[0-9]+")


@attrs.define
class _Split:
    """The amounts of a table whose cells are separated by commas, and the columns after them.

    Without quotation marks, 199,90 is two cells. Where a row leaves off the commas of its last
    columns, nothing but the cell after its amount shows that: 90 in a column of texts.
    """

    columns: Mapping[str, tuple[str, str]]
    """Column → path, and the next column."""
    has_point: bool = False
    """True if an amount so far has a decimal point."""

    @classmethod
    def of(cls, found: Layout, sheet: Sheet) -> _Split | None:
        if sheet.delimiter != "," or not isinstance(found, Header):
            return None
        quantities = (c for c, place in found.places.items() if place.path.endswith(".quantity"))
        numbers = {*found.amounts, *quantities}
        columns = {
            column: (found.amounts[column], following)
            for column, following in pairwise(sheet.columns or ())
            if column in found.amounts and following not in numbers
        }
        return cls(columns) if columns else None

    def with_points(
        self, _line: int, cells: dict[str, Any], problems: Problems, _others: dict[str, int]
    ) -> dict[str, Any]:
        """Refuse a line whose amount may be two cells."""
        for column, (path, following) in self.columns.items():
            cell, rest = cells.get(column, ""), cells.get(following, "")
            if not _WHOLE_AMOUNT.fullmatch(cell):
                self.has_point |= "." in cell
            elif _LIKE_ITS_THOUSANDS.fullmatch(rest) or (
                not self.has_point and _LIKE_THE_REST.fullmatch(rest)
            ):
                problems[path] = _TWO_CELLS.format(shown(following))
        return cells


_TWO_CELLS = (
    "may be cut in two at a comma, with its rest in the column {}: write the amount with a point "
    "and its decimals, such as 199.00"
)


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
            problems.setdefault(prefix + name, str(error))
            arguments[name] = _UNREADABLE
    for name in kind.required:
        if name not in given:
            problems.setdefault(prefix + name, "is required")
            arguments[name] = _UNREADABLE
    return arguments
