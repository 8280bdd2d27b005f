"""Equality, hash, repr and plain form of frozen attrs classes: one implementation for all.

attrs compiles three functions for each class, which took a tenth of the package's import.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from reprlib import recursive_repr
from typing import Any, Final

import attrs
import msgspec

__all__ = ["CREDENTIAL", "Plain", "Value"]

CREDENTIAL: Final = "chat2pay_async.credential"
"""Metadata of a field that is a credential, and so no part of a value's plain form."""


class Value:
    """The base of frozen attrs classes that attrs makes with `eq=False, repr=False`.

    They are equal, hashable and shown by their fields all the same, as attrs' own methods would
    have it. A subclass that is an attrs class, too, has attrs' methods if it asks for them.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        kind: Any = type(self)
        if other.__class__ is not self.__class__:
            return NotImplemented
        # No comparison of tuples: they take NaN for equal to itself.
        return all(getattr(self, name) == getattr(other, name) for name in _compared(kind))

    def __hash__(self) -> int:
        kind: Any = type(self)
        return hash((kind, *[getattr(self, name) for name in _hashed(kind)]))

    @recursive_repr()
    def __repr__(self) -> str:
        kind: Any = type(self)
        shown = ", ".join(f"{name}={show(getattr(self, name))}" for name, show in _shown(kind))
        return f"{kind.__qualname__.rpartition('>.')[2]}({shown})"


@cache
def _compared(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind) if field.eq)


@cache
def _hashed(kind: Any) -> tuple[str, ...]:
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)
    return tuple(one.name for one in fields if (one.eq if one.hash is None else one.hash))


@cache
def _shown(kind: Any) -> tuple[tuple[str, Any], ...]:
    shown = ((field.name, field.repr) for field in attrs.fields(kind) if field.repr)
    return tuple((name, repr if show is True else show) for name, show in shown)


# Plain values ------------------------------------------------------------------------------------


class Plain(Value):
    """The base of values that can be written as a dict and as JSON: requests and responses."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return every field by its attribute's name, as plain values that may be changed.

        Amounts stay `Decimal`s and timestamps `datetime`s; values within values are dicts, tuples
        are lists, enums their texts. Personal data is part of it, and so are card fields and URLs,
        which `repr` masks: do not log it. A configuration's API key is left out.
        """
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_json(self) -> str:
        """Return `to_dict` as JSON: amounts are exact numbers, timestamps RFC 3339 in UTC."""
        return _encoder.encode(_jsonable(self.to_dict())).decode()


_encoder = msgspec.json.Encoder(decimal_format="number")


def _plain(value: Any) -> Any:
    match value:
        case Value():
            kind: Any = type(value)
            return {name: _plain(getattr(value, name)) for name in _told(kind)}
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case StrEnum():
            return value.value
        case _:
            return value


@cache
def _told(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind) if CREDENTIAL not in field.metadata)


def _jsonable(value: Any) -> Any:
    """Convert what JSON does not have, and classes derived from what it has (numpy's, pandas')."""
    match value:
        case dict():
            return {str(key): _jsonable(inner) for key, inner in value.items()}
        case list():
            return [_jsonable(inner) for inner in value]
        case datetime() | str():
            return _text(value)
        case Decimal():
            return Decimal(value) if value.is_finite() else str(value)
        case float():
            return float(value)
        case _:
            return value


def _text(value: datetime | str) -> str:
    if isinstance(value, str):
        # Half of a character, which no text of UTF-8 can hold, becomes a question mark.
        return str.__str__(value).encode(errors="replace").decode()
    try:
        return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
    except OverflowError:  # the first or last hours of the calendar
        return value.isoformat()
