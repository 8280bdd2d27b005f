"""The columns of a file, and the fields of requests that they hold.

A header is read once (`Header`), and every line is then read alike. In JSON lines each line names
its own columns (`Keys`). Case, blanks, hyphens, underscores and invisible characters in a name make
no difference: `Order Number` is `order_number`.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Generic, TypeAlias, TypeVar, get_args, get_type_hints

import attrs

from chat2pay_async._api.requests import LineItem
from chat2pay_async._files.cells import CellError, Convert, converters, plain_text, read_json, shown
from chat2pay_async._texts import invisible_in, stripped, with_plain_hyphens, without_marks
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "ITEM",
    "ITEMS",
    "KEY",
    "Header",
    "Keys",
    "Kind",
    "Layout",
    "Problems",
    "Reading",
    "layout",
]

Q_co = TypeVar("Q_co", covariant=True)
Problems: TypeAlias = dict[str, str]
"""Path of a field, such as `order_line_items.0.name` → the problem with it."""


@attrs.frozen
class Kind(Generic[Q_co]):
    """One kind of rows."""

    name: str
    """In the plural, such as `payment links`."""
    model: type[Q_co]
    """The request that a row becomes."""
    identity: tuple[str, ...] = ()
    """The columns that tell the rows apart; empty if rows may say the same."""
    check: Callable[[Any], Problems] | None = None
    """Finds problems of a request that matter in a file alone."""

    @cached_property
    def fields(self) -> Mapping[str, Convert]:
        """The converter of each field. Fields are columns, too."""
        return converters(self.model)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The columns that must be there, and filled in every row."""
        model: Any = self.model
        fields = attrs.fields(model)
        return tuple(one.name for one in fields if one.default is attrs.NOTHING)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that a file may have, apart from nested ones."""
        return (*self.fields, KEY) if self.identity else tuple(self.fields)

    @cached_property
    def amounts(self) -> frozenset[str]:
        """The fields that are amounts."""
        hints = get_type_hints(self.model)
        return frozenset(
            name for name in self.fields if Decimal in (hints[name], *get_args(hints[name]))
        )

    @cached_property
    def folded(self) -> Mapping[str, str]:
        """Folded name → column."""
        return {_folded(name): name for name in self.columns}


@attrs.frozen
class Reading:
    """The choices of a reading: a plain value, so that it can be kept with a run."""

    ignore: Collection[str] = ()
    """Columns that are not part of a request."""
    mapping: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Column of the file → column of the request, such as `{"Amount due": "total_amount"}`."""
    constants: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Column → its value in every row, such as `{"channel": "sms"}`."""
    sheet: str | None = None
    """The sheet of a workbook. Default: the only one with rows."""
    include_hidden: bool = False
    """Read hidden rows and columns of a workbook, too."""
    country: str | None = None
    """The country of phone numbers without a country code, such as `ZA`."""
    last_line_is_complete: bool = False
    """Take a text table whose last line lacks its line end."""
    allow_alike: bool = False
    """Allow order numbers that differ in nothing but case, blanks, hyphens, zeros at their begin
    or invisible characters."""


DATA: Final = "additional_data"
ITEMS: Final = "order_line_items"
ITEM: Final = Kind("line items", LineItem)
KEY: Final = "idempotency_key"
_ITEM_COLUMN = re.compile(rf"{ITEMS}\.(0|[1-9][0-9]{{0,3}})\.({'|'.join(ITEM.fields)})")
_LIKE_AN_ITEM = re.compile(rf"{ITEMS}\W*([0-9]{{1,4}})\W.*")
_SIMILARITY = 0.75
_MOST_UNKNOWN: Final = 20
_SEPARATORS: Final = ",;|^~:"
_NEVER_CONSTANT: Final = (KEY, "order_number", "payment_link_ref")
# What shops call these columns. They are hints in a message: nothing is taken for another by them.
_SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "total_amount": (
        *("amount", "total", "price", "value", "sum", "grandtotal", "ordertotal", "amountdue"),
        *("balance", "totaldue", "balancedue", "invoiceamount", "invoicetotal", "orderamount"),
    ),
    "amount": ("totalamount", "total", "captureamount", "amounttocapture", "sum", "value"),
    "to": (
        *("phone", "mobile", "cell", "cellphone", "phonenumber", "mobilenumber", "cellnumber"),
        *("msisdn", "telephone", "tel", "recipient", "contactnumber", "whatsapp", "customerphone"),
        *("mobilephone", "contact", "phoneno", "mobileno", "cellno", "whatsappnumber"),
    ),
    "order_number": (
        *("order", "invoice", "orderno", "orderid", "invoiceno", "invoicenumber", "invoiceid"),
        *("ordernr", "ordercode", "orderref", "orderreference", "invoicenr"),
    ),
    "payment_link_ref": ("ref", "reference", "link", "linkref", "paymentref", "paymentlink"),
    "currency": ("ccy", "cur", "currencycode", "curr"),
    "channel": ("medium", "via", "sendby", "deliverymethod", "method"),
    "receipt_link": ("receipt", "receipturl", "url"),
    "tax_amount": ("vat", "tax", "vatamount", "taxes"),
    "sub_total_amount": ("subtotal", "net", "netamount", "exclvat"),
    "timestamp": ("date", "time", "datetime", "createdat", "created"),
}


def layout(
    file: object, kind: Kind[Any], columns: tuple[str, ...] | None, reading: Reading
) -> Layout:
    """Find the field of each column.

    Args:
        file: The file, for messages.
        kind: The kind of its rows.
        columns: Its header; None for JSON lines.
        reading: Names that are to be ignored, or mean another column, and constants.

    Raises:
        ConfigurationError: A column of the header is unknown, missing, or occurs twice; or the
            choices do not fit the file.
    """
    names = _Names.of(file, kind, reading)
    if columns is None:
        return Keys(kind, names, reading.constants)
    places = {name: names.place(name) for name in columns if name and not names.is_ignored(name)}
    found = {name: place for name, place in places.items() if place is not None}
    problems = [
        *_unknown_columns(kind, [name for name, place in places.items() if place is None]),
        *_repeated_columns(columns, found),
        *names.unused(columns),
    ]
    for name, place in names.constants.items():
        if place in found.values():
            problems.append(f"column {shown(name)} is in the file, and is set for all rows as well")
        found[name] = place
    paths = {place.path for place in found.values()}
    if missing := [name for name in kind.required if name not in paths]:
        problems.append(
            f"required columns are missing: {', '.join(missing)} (the first line must name the "
            f"columns of {kind.name})"
        )
    problems += _nested_in_text(found.values())
    if problems:
        raise ConfigurationError(f"{file}: " + "; ".join(problems))
    return Header(kind, found, reading.constants)


def _repeated_columns(columns: tuple[str, ...], found: Mapping[str, Place]) -> Iterator[str]:
    by_place: dict[str, list[str]] = {}
    for name in columns:
        if name in found:
            by_place.setdefault(found[name].path, []).append(name)
    for path, names in by_place.items():
        if len(names) > 1:
            different = sorted(set(names) - {path, _unescaped(path)}, key=names.index)
            hint = f" ({', '.join(map(shown, names))})" if different else ""
            yield f"column {shown(path)} occurs {len(names)} times{hint}"


def _nested_in_text(places: Iterable[Place]) -> Iterator[str]:
    """Find columns such as `additional_data.a.b` where `additional_data.a` is text."""
    inner = {place.inner for place in places if place.inner}
    for one in sorted(inner, key=str):
        if any(one[:length] in inner for length in range(1, len(one))):
            name = shown(".".join([DATA, *map(str, one)]))
            yield f"column {name} is inside another column, which holds text"


# Names --------------------------------------------------------------------------------------------


@attrs.frozen
class Place:
    """The place in a request that takes the cells of a column."""

    field: str
    inner: tuple[str | int, ...] = ()
    """The path within the field, for `additional_data.a.b` and `order_line_items.0.name`."""

    @cached_property
    def path(self) -> str:
        """The path of the field, as problems name it."""
        return ".".join(map(str, (self.field, *self.inner)))


def _folded(name: str) -> str:
    """Return `ordernumber` for `Order Number`, `order-number` and `order_number`."""
    plain = name
    if not name.isascii():
        plain = with_plain_hyphens(without_marks(unicodedata.normalize("NFKC", name)))
    return re.sub(r"[\s_-]", "", plain).casefold()


def _place(kind: Kind[Any], name: str) -> Place | None:
    head, dot, inner = name.partition(".")
    field = kind.folded.get(_folded(head))
    if field is None or not dot:
        return None if field is None else Place(field)
    if field == DATA:
        keys = tuple(inner.split("."))
        return Place(field, keys) if all(keys) and not invisible_in(inner) else None
    index, _, last = inner.partition(".")
    of_item = ITEM.folded.get(_folded(last), "")
    item = _ITEM_COLUMN.fullmatch(f"{field}.{index.strip()}.{of_item}")
    return Place(field, (int(item[1]), item[2])) if item else None


@attrs.frozen
class _Names:
    """The meaning of the names in a file."""

    kind: Kind[Any]
    ignored: frozenset[str]
    mapped: Mapping[str, Place]
    """Folded name → its place."""
    written: Mapping[str, str]
    """Folded name → the name in the mapping."""
    constants: Mapping[str, Place]

    @classmethod
    def of(cls, file: object, kind: Kind[Any], reading: Reading) -> _Names:
        mapped: dict[str, Place] = {}
        for name, column in reading.mapping.items():
            place = _place(kind, column)
            if place is None:
                raise ConfigurationError(
                    f"{file}: {shown(name)} can't be mapped to {shown(column)}: {kind.name} have "
                    f"no such column; they have {', '.join(kind.columns)}"
                )
            mapped[_folded(name)] = place
        constants: dict[str, Place] = {}
        for name in reading.constants:
            place = _place(kind, name)
            if place is None or place.field in _NEVER_CONSTANT:
                raise ConfigurationError(
                    f"{file}: {shown(name)} can't be set for all rows: "
                    + (
                        f"{kind.name} have no such column; they have {', '.join(kind.columns)}"
                        if place is None
                        else "each row needs its own"
                    )
                )
            constants[name] = place
        written = {_folded(name): name for name in reading.mapping}
        return cls(kind, frozenset(map(_folded, reading.ignore)), mapped, written, constants)

    def is_ignored(self, name: str) -> bool:
        return _folded(name) in self.ignored

    def place(self, name: str) -> Place | None:
        return self.mapped.get(_folded(name)) or _place(self.kind, name)

    def unused(self, columns: tuple[str, ...]) -> Iterator[str]:
        there = set(map(_folded, columns))
        for folded, name in self.written.items():
            if folded not in there:
                yield f"column {shown(name)}, which is mapped, is not in the file"


def _unknown_columns(kind: Kind[Any], names: list[str]) -> Iterator[str]:
    for name in names[:_MOST_UNKNOWN]:
        yield f"column {shown(name)} is unknown{_suggestion(kind, name)}"
    if len(names) > _MOST_UNKNOWN:
        yield f"and {len(names) - _MOST_UNKNOWN:,} more"
    if names:
        yield f"the columns of {kind.name} are {', '.join(kind.columns)}"
        yield (
            'rename each unknown column, or pass --map "NAME=column" to say what it is, or '
            "--ignore NAME to leave it out"
        )


def _suggestion(kind: Kind[Any], name: str) -> str:
    if character := invisible_in(name):
        return f" (it contains {character}, which nobody sees: take it out)"
    for sign in _SEPARATORS:
        if sum(_place(kind, part) is not None for part in name.split(sign)) > 1:
            return f" (several names in one: if {sign} stands between them, begin with sep={sign})"
    item = _LIKE_AN_ITEM.fullmatch(name) if ITEMS in kind.fields else None
    known = [f"{ITEMS}.{int(item[1])}.{field}" for field in ITEM.fields] if item else kind.columns
    letters = _letters(name)
    for column in known:
        if letters in _SYNONYMS.get(column, ()):
            return f" (did you mean {column}?)"
    by_letters = {_letters(one): one for one in known}
    similar = difflib.get_close_matches(letters, by_letters, n=1, cutoff=_SIMILARITY)
    return f" (did you mean {by_letters[similar[0]]}?)" if similar else ""


def _letters(name: str) -> str:
    """Return `ordernumber` for `Order Number:` and `#orderNumber`."""
    return re.sub(r"[^a-z0-9.]", "", name.lower())


# A header ----------------------------------------------------------------------------------------


@attrs.frozen
class Header:
    """The columns of a table with a header."""

    kind: Kind[Any]
    places: Mapping[str, Place]
    """Column of the file, or constant → its place."""
    constants: Mapping[str, str]

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """The field of each column; empty where a column holds JSON, or a part of a field."""
        places = self.places.values()
        if any(place.inner or place.field in (DATA, ITEMS) for place in places):
            return {}
        return {column: place.field for column, place in self.places.items()}

    @cached_property
    def _columns(self) -> Mapping[str, str]:
        """The column of each path."""
        return {place.path: column for column, place in self.places.items()}

    @cached_property
    def amounts(self) -> Mapping[str, str]:
        """The columns that hold amounts, and their paths."""
        return {
            column: place.path
            for column, place in self.places.items()
            if (place.inner and place.field == ITEMS and place.inner[-1] in ITEM.amounts)
            or (not place.inner and place.field in self.kind.amounts)
        }

    def is_required(self, column: str) -> bool:
        """Return True if a column has a value in every row."""
        place = self.places.get(column)
        return place is not None and place.path in self.kind.required

    def fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """Collect the fields of a line, not yet converted; line items by their index."""
        names = self._names
        if self.constants:
            cells = {**cells, **self.constants}
        if names:
            return {names[column]: cell for column, cell in cells.items() if column in names}
        return self._nested_fields(cells, problems)

    def _nested_fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        nested: dict[str, dict[Any, Any]] = {}
        for column, cell in cells.items():
            place = self.places.get(column)
            if place is None:
                continue
            try:
                if place.inner:
                    node = nested.setdefault(place.field, {})
                    for key in place.inner[:-1]:
                        node = node.setdefault(key, {})
                    node[place.inner[-1]] = plain_text(cell) if place.field == DATA else cell
                elif place.field in (DATA, ITEMS):
                    value = read_json(plain_text(cell))
                    plain[place.field] = _by_index(value) if place.field == ITEMS else value
                else:
                    plain[place.field] = cell
            except CellError as error:
                hint = "" if place.inner or place.field == ITEMS else "; text needs quotation marks"
                problems[place.path] = f"{error}{hint}"
        for field, value in nested.items():
            if field in plain or field in problems:
                plain.pop(field, None)
                problems[field] = "is given both as JSON and in separate columns; use one of them"
            else:
                plain[field] = value
        return plain

    def column(self, path: str, cells: Mapping[str, Any]) -> tuple[str, str]:
        """Return the column that holds a field, and the path from there to the field."""
        column = self._columns.get(path)
        if column is not None and column in cells:
            return column, ""
        field = re.split(r"[.\[]", path, maxsplit=1)[0]
        outer = self._columns.get(field)
        if outer in cells and outer is not None:  # JSON within a cell
            return outer, path.removeprefix(field).removeprefix(".")
        return column or _unescaped(path), ""


def _by_index(items: Any) -> dict[int, Any]:
    if isinstance(items, list):
        return dict(enumerate(items))
    raise CellError("must be a list of line items")


def _unescaped(path: str) -> str:
    return "from" if path == "from_" else path


# JSON lines --------------------------------------------------------------------------------------


@attrs.frozen
class Keys:
    """The keys of JSON objects."""

    kind: Kind[Any]
    names: _Names
    constants: Mapping[str, str]
    known: dict[str, Place | None] = attrs.field(factory=dict[str, Place | None])
    """The places of the names so far."""
    amounts: Mapping[str, str] = attrs.field(factory=dict[str, str], init=False)

    def fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """Collect the fields of a line, as `Header.fields` does."""
        found: dict[str, Any] = {}
        written: dict[str, str] = {}
        for name, value in (*cells.items(), *self.constants.items()):
            if self.names.is_ignored(name):
                continue
            place = self._place(name)
            if place is None:
                hint = _suggestion(self.kind, name)
                problems[name] = f"is unknown{hint}: rename it, or pass --map or --ignore NAME"
            elif place.field in found:
                first = shown(written[place.field])
                problems[name] = (
                    f"is given twice, as {first} and as {shown(name)}"
                    if name in cells
                    else "is in the line, and is set for all rows as well"
                )
            else:
                is_text = isinstance(value, str) and place.field != DATA
                found[place.field] = stripped(value) if is_text else value
                written[place.field] = name
        if ITEMS in found:
            try:
                found[ITEMS] = _by_index(found[ITEMS])
            except CellError as error:
                problems[ITEMS] = str(error)
                del found[ITEMS]
        return found

    def _place(self, name: str) -> Place | None:
        if name not in self.known:
            place = self.names.place(name)
            if len(self.known) > _MOST_NAMES:
                self.known.clear()
            self.known[name] = None if place is None or place.inner else place
        return self.known[name]

    def column(self, path: str, cells: Mapping[str, Any]) -> tuple[str, str]:
        """Return the key that holds a field."""
        field, rest = re.match(r"([^.\[]*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
        if path in cells:
            return path, ""
        for name in cells:
            place = self._place(name)
            if place is not None and place.field == field:
                return name + rest, ""
        return _unescaped(path), ""


Layout: TypeAlias = Header | Keys
_MOST_NAMES: Final = 1000
