"""Equality, hash and repr of frozen attrs classes: one implementation for all of them.

attrs compiles three functions for each class, which took a tenth of the package's import.
"""

from __future__ import annotations

from functools import cache
from reprlib import recursive_repr
from typing import Any

import attrs

__all__ = ["Value"]


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
