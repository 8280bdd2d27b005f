"""The columns of a file, and the fields of requests that they hold.

A header is read once (`Header`), and every line is then read alike. In JSON lines each line names
its own columns (`Keys`).
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs

from chat2pay_async._api.requests import LineItem
from chat2pay_async._files.cells import CellError, Convert, converters, plain_text, read_json, shown
from chat2pay_async.errors import ConfigurationError

__all__ = ["ITEM", "ITEMS", "Header", "Keys", "Kind", "Layout", "Problems", "layout"]

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


DATA: Final = "additional_data"
ITEMS: Final = "order_line_items"
ITEM: Final = Kind("line items", LineItem)
_ITEM_COLUMN = re.compile(rf"{ITEMS}\.(0|[1-9][0-9]{{0,3}})\.({'|'.join(ITEM.fields)})")
_LIKE_AN_ITEM = re.compile(rf"{ITEMS}\W*([0-9]{{1,4}})\W.*")
_SIMILARITY = 0.75


def layout(
    path: Path, kind: Kind[Any], columns: tuple[str, ...] | None, ignored: Collection[str]
) -> Layout:
    """Find the field of each column.

    Args:
        path: The file, for messages.
        kind: The kind of its rows.
        columns: Its header; None for JSON lines.
        ignored: Columns that are not part of a request.

    Raises:
        ConfigurationError: A column of the header is unknown, missing, or occurs twice.
    """
    if columns is None:
        return Keys(kind, frozenset(ignored))
    places = {name: _place(kind, name) for name in columns if name and name not in ignored}
    counts = Counter(_field(name) for name in columns if name in places)
    problems = [
        *_unknown_columns(kind, [name for name, place in places.items() if place is None]),
        *(f"column {shown(name)} occurs {n} times" for name, n in counts.items() if n > 1),
    ]
    if missing := [name for name in kind.required if name not in places]:
        problems.append(
            f"required columns are missing: {', '.join(missing)} (the first line must name the "
            f"columns of {kind.name})"
        )
    paths = {place.path for place in places.values() if place is not None and place.path}
    for inner in sorted(paths, key=str):  # `additional_data.a` is text, with no `.b` inside
        if any(inner[:length] in paths for length in range(1, len(inner))):
            name = shown(".".join([DATA, *map(str, inner)]))
            problems.append(f"column {name} is inside another column, which holds text")
    if problems:
        raise ConfigurationError(f"{path}: " + "; ".join(problems))
    return Header({name: place for name, place in places.items() if place is not None})


# A header ----------------------------------------------------------------------------------------


@attrs.frozen
class Place:
    """The place in a request that takes the cells of a column."""

    field: str
    path: tuple[str | int, ...] = ()
    """The path within the field, for `additional_data.a.b` and `order_line_items.0.name`."""


def _place(kind: Kind[Any], name: str) -> Place | None:
    if _field(name) in kind.fields:
        return Place(_field(name))
    field, _, inner = name.partition(".")
    if field not in kind.fields:
        return None
    if field == DATA and all(inner.split(".")):
        return Place(field, tuple(inner.split(".")))
    item = _ITEM_COLUMN.fullmatch(name)
    return Place(field, (int(item[1]), item[2])) if item else None


def _field(name: str) -> str:
    return "from_" if name == "from" else name


def _unknown_columns(kind: Kind[Any], names: list[str]) -> Iterator[str]:
    for name in names:
        yield f"column {shown(name)} is unknown{_suggestion(kind, name)}"
    if names:
        yield f"the columns of {kind.name} are {', '.join(kind.fields)}"
        yield "rename each unknown column, or pass --ignore NAME to leave it out"


def _suggestion(kind: Kind[Any], name: str) -> str:
    item = _LIKE_AN_ITEM.fullmatch(name) if ITEMS in kind.fields else None
    known = [f"{ITEMS}.{int(item[1])}.{field}" for field in ITEM.fields] if item else kind.fields
    by_letters = {_letters(one): one for one in known}
    similar = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=_SIMILARITY)
    return f" (did you mean {by_letters[similar[0]]}?)" if similar else ""


def _letters(name: str) -> str:
    """Return `ordernumber` for `Order Number`, `orderNumber` and `order_number`."""
    return re.sub(r"[^a-z0-9.]", "", name.lower())


@attrs.frozen
class Header:
    """The columns of a table with a header."""

    places: Mapping[str, Place]

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """The field of each column; empty where a column holds JSON, or a part of a field."""
        places = self.places.values()
        if any(place.path or place.field in (DATA, ITEMS) for place in places):
            return {}
        return {column: place.field for column, place in self.places.items()}

    def fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """Collect the fields of a line, not yet converted; line items by their index."""
        names = self._names
        if names:
            return {names[column]: cell for column, cell in cells.items() if column in names}
        plain: dict[str, Any] = {}
        nested: dict[str, dict[Any, Any]] = {}
        for column, cell in cells.items():
            place = self.places.get(column)
            if place is None:
                continue
            try:
                if place.path:
                    node = nested.setdefault(place.field, {})
                    for key in place.path[:-1]:
                        node = node.setdefault(key, {})
                    node[place.path[-1]] = plain_text(cell) if place.field == DATA else cell
                elif place.field in (DATA, ITEMS):
                    value = read_json(plain_text(cell))
                    plain[place.field] = _by_index(value) if place.field == ITEMS else value
                else:
                    plain[place.field] = cell
            except CellError as error:
                hint = "; text needs quotation marks" if column == DATA else ""
                problems[column] = f"{error}{hint}"
        for field, value in nested.items():
            if field in cells:
                plain.pop(field, None)
                problems[field] = "is given both as JSON and in separate columns; use one of them"
            else:
                plain[field] = value
        return plain

    def column(self, path: str, cells: Mapping[str, Any]) -> tuple[str, str]:
        """Return the column that holds a field, and the path from there to the field."""
        field = re.split(r"[.\[]", path, maxsplit=1)[0]
        if path not in cells and field in cells:  # JSON within a cell
            return field, path.removeprefix(field).removeprefix(".")
        return _as_written(path, cells), ""


def _by_index(items: Any) -> dict[int, Any]:
    if isinstance(items, list):
        return dict(enumerate(items))
    raise CellError("must be a list of line items")


def _as_written(path: str, cells: Mapping[str, Any]) -> str:
    return "from" if path == "from_" and path not in cells else path


# JSON lines --------------------------------------------------------------------------------------


@attrs.frozen
class Keys:
    """The keys of JSON objects."""

    kind: Kind[Any]
    ignored: frozenset[str]

    def fields(self, cells: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """Collect the fields of a line, as `Header.fields` does."""
        found: dict[str, Any] = {}
        for name, value in cells.items():
            field = _field(name)
            if name in self.ignored:
                continue
            if field not in self.kind.fields:
                hint = _suggestion(self.kind, name)
                problems[name] = f"is unknown{hint}: rename it, or pass --ignore NAME"
            elif field in found:
                problems[name] = "is given twice, as from and as from_"
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
        """Return the key that holds a field."""
        return _as_written(path, cells), ""


Layout: TypeAlias = Header | Keys
