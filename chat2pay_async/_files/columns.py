"""What the columns of a table stand for: each line's cells become the fields of a request.

A table with a header is laid out once (`Header`), and every line then goes the same way. In JSON
lines each line names its own columns (`Keys`).
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import attrs

from chat2pay_async._api.requests import LineItem
from chat2pay_async._files.cells import CellError, Convert, converters, plain_text, read_json, shown
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "ITEMS",
    "ITEM_FIELDS",
    "ITEM_REQUIRED",
    "Header",
    "Keys",
    "Kind",
    "Layout",
    "Problems",
    "layout",
]

Q_co = TypeVar("Q_co", covariant=True)
Problems: TypeAlias = dict[str, str]
"""Path of a field, such as `order_line_items.0.name` → what is wrong with it."""

DATA = "additional_data"
ITEMS = "order_line_items"
ITEM_FIELDS = converters(LineItem)
_ITEM_COLUMN = re.compile(rf"{ITEMS}\.(0|[1-9][0-9]{{0,3}})\.({'|'.join(ITEM_FIELDS)})")
_LIKE_AN_ITEM = re.compile(rf"{ITEMS}\W*([0-9]{{1,4}})\W.*")
_HOW_ALIKE = 0.75


def required_of(model: type[Any]) -> tuple[str, ...]:
    """The fields of a request that have no default."""
    return tuple(one.name for one in attrs.fields(model) if one.default is attrs.NOTHING)


ITEM_REQUIRED = required_of(LineItem)


def _fields(kind: Kind[Any]) -> Mapping[str, Convert]:
    return converters(kind.model)


def _required(kind: Kind[Any]) -> tuple[str, ...]:
    return required_of(kind.model)


@attrs.frozen
class Kind(Generic[Q_co]):
    """What the rows of a table are."""

    name: str
    """In the plural, such as `payment links`."""
    model: type[Q_co]
    """The request that a row becomes."""
    never_blank: tuple[str, ...] = ()
    """Optional columns that Excel must fill in every row, if it has them: a blank would mean *all*,
    and an error in a formula reads as a blank."""
    fields: Mapping[str, Convert] = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_fields, takes_self=True)
    )
    """Field → how its cells are read."""
    required: tuple[str, ...] = attrs.field(
        init=False, default=attrs.Factory(_required, takes_self=True)
    )
    """The columns that must be there, and filled in every row."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, those within `additional_data` and `order_line_items` apart."""
        return tuple(self.fields)


class Layout(Protocol):
    """Where the fields of a request stand in a file."""

    def fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """What a line says of each field, not yet converted; line items by their index."""
        ...

    def column(self, path: str, cells: Mapping[str, Any]) -> tuple[str, str]:
        """The column in which a field was written, and the way from there to it."""
        ...


def layout(
    path: Path, kind: Kind[Any], columns: tuple[str, ...] | None, ignored: Collection[str]
) -> Layout:
    """Find out what each column stands for.

    Raises:
        ConfigurationError: A column of the header is unknown, missing, or there twice.
    """
    if columns is None:
        return Keys(kind, frozenset(ignored))
    places = {name: _place(kind, name) for name in columns if name and name not in ignored}
    problems = [
        *_unknown_columns(kind, places),
        *_doubled(name for name in columns if name in places),
        *_missing(kind, places),
        *_conflicts(places),
    ]
    if problems:
        raise ConfigurationError(f"{path}: " + "; ".join(problems))
    return Header({name: place for name, place in places.items() if place is not None})


# A header ----------------------------------------------------------------------------------------


@attrs.frozen
class Place:
    """Where in a request the cells of a column go."""

    field: str
    path: tuple[str | int, ...] = ()
    """The way within the field, for `additional_data.a.b` and `order_line_items.0.name`."""


def _place(kind: Kind[Any], name: str) -> Place | None:
    if name == "from" or name in kind.columns:
        field = _field(name)
        return Place(field) if field in kind.columns else None
    field, _, inner = name.partition(".")
    if field not in kind.columns:
        return None
    if field == DATA and all(inner.split(".")):
        return Place(field, tuple(inner.split(".")))
    item = _ITEM_COLUMN.fullmatch(name)
    return Place(field, (int(item[1]), item[2])) if item else None


def _field(name: str) -> str:
    return "from_" if name == "from" else name


def _unknown_columns(kind: Kind[Any], places: Mapping[str, Place | None]) -> Iterator[str]:
    unknown = [name for name, place in places.items() if place is None]
    for name in unknown:
        yield f"column {shown(name)} is unknown{_suggestion(kind, name)}"
    if unknown:
        yield f"the columns of {kind.name} are {', '.join(kind.columns)}"
        yield "rename what is meant to be one of them, and say --ignore NAME for each of the others"


def _suggestion(kind: Kind[Any], name: str) -> str:
    item = _LIKE_AN_ITEM.fullmatch(name) if ITEMS in kind.columns else None
    allowed = kind.columns
    if item:
        allowed = tuple(f"{ITEMS}.{int(item[1])}.{field}" for field in ITEM_FIELDS)
    by_letters = {_letters(one): one for one in allowed}
    alike = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=_HOW_ALIKE)
    return f" (did you mean {by_letters[alike[0]]}?)" if alike else ""


def _letters(name: str) -> str:
    """`ordernumber` of `Order Number`, `orderNumber` and `order_number`."""
    return re.sub(r"[^a-z0-9.]", "", name.lower())


def _doubled(names: Iterator[str]) -> Iterator[str]:
    for name, times in Counter(map(_field, names)).items():
        if times > 1:
            yield f"column {shown(name)} is there {times} times"


def _missing(kind: Kind[Any], places: Mapping[str, Place | None]) -> Iterator[str]:
    missing = [name for name in kind.required if name not in places]
    if missing:
        yield f"{kind.name} need the columns {', '.join(missing)}, named in the first line"


def _conflicts(places: Mapping[str, Place | None]) -> Iterator[str]:
    """`additional_data.a` is a text, and can't have `additional_data.a.b` inside."""
    inner = {place.path for place in places.values() if place is not None and place.path}
    for path in sorted(inner, key=str):
        if any(path[:length] in inner for length in range(1, len(path))):
            whole = shown(".".join([DATA, *map(str, path)]))
            yield f"column {whole} is within another column, which is a text"


@attrs.frozen
class Header:
    """The columns of a table with a header."""

    places: Mapping[str, Place]

    def fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """See `Layout`."""
        plain: dict[str, Any] = {}
        inner: dict[str, dict[Any, Any]] = {}
        for column, cell in cells.items():
            place = self.places.get(column)
            if place is None:
                continue
            if place.path:
                _put(inner, place, column, cell, problems)
            elif place.field in _WITH_AN_INSIDE:
                _put_json(plain, place.field, cell, problems)
            else:
                plain[place.field] = cell
        for field, value in inner.items():
            if field in cells:
                plain.pop(field, None)
                problems[field] = "is given as JSON and in columns of its own; use one of the two"
            else:
                plain[field] = value
        return plain

    def column(self, path: str, cells: Mapping[str, Any]) -> tuple[str, str]:
        """See `Layout`."""
        field = re.split(r"[.\[]", path, maxsplit=1)[0]
        if path not in cells and field in cells:  # JSON within a cell
            return field, path.removeprefix(field).removeprefix(".")
        return _as_written(path, cells), ""


def _put(
    inner: dict[str, dict[Any, Any]], place: Place, column: str, cell: Any, problems: Problems
) -> None:
    node = inner.setdefault(place.field, {})
    for key in place.path[:-1]:
        node = node.setdefault(key, {})
    try:
        node[place.path[-1]] = plain_text(cell) if place.field == DATA else cell
    except CellError as error:
        problems[column] = str(error)


def _put_json(plain: dict[str, Any], field: str, cell: Any, problems: Problems) -> None:
    try:
        value = read_json(cell) if isinstance(cell, str) else cell
        plain[field] = _by_index(value) if field == ITEMS else value
    except CellError as error:
        hint = "; a text needs quotation marks" if field == DATA else ""
        problems[field] = f"{error}{hint}"


def _by_index(items: Any) -> dict[int, Any]:
    if isinstance(items, list):
        return dict(enumerate(items))
    raise CellError("must be a list of line items")


_WITH_AN_INSIDE = frozenset({DATA, ITEMS})


def _as_written(path: str, cells: Mapping[str, Any]) -> str:
    return "from" if path == "from_" and path not in cells else path


# JSON lines --------------------------------------------------------------------------------------


@attrs.frozen
class Keys:
    """The keys of JSON objects."""

    kind: Kind[Any]
    ignored: frozenset[str]

    def fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """See `Layout`."""
        found: dict[str, Any] = {}
        for name, value in cells.items():
            field = _field(name)
            if name in self.ignored:
                continue
            if field not in self.kind.columns:
                problems[name] = f"is unknown{_suggestion(self.kind, name)}: rename or --ignore it"
            elif field in found:
                problems[name] = "is there twice, as from and as from_"
            else:
                found[field] = value
        if ITEMS in found:
            try:
                found[ITEMS] = _by_index(found[ITEMS])
            except CellError as error:
                problems[ITEMS] = str(error)
                del found[ITEMS]
        return found

    def column(self, path: str, cells: Mapping[str, Any]) -> tuple[str, str]:
        """See `Layout`."""
        return _as_written(path, cells), ""
