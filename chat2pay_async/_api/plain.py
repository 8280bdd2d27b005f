"""What a value looks like that has no fault for certain: a short look at each field of a request.

Nearly every request is plain through and through, and then nothing else has to be asked of it.
These looks know fewer forms than `Faults`, and no other rules: in what is plain it finds nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from chat2pay_async._api.validation import INT32_MAX, YEARS

__all__ = ["is_plain_amount", "is_plain_data", "is_plain_moment", "is_plain_text"]

_ZERO: Final = Decimal(0)
_UNCOMMON: Final = Decimal(10**15)


def is_plain_text(value: Any, longest: int = 255) -> bool:
    """Whether it is a short str of printable characters; no surrogate is one."""
    return type(value) is str and len(value) <= longest and value.isprintable()


def is_plain_moment(value: Any) -> bool:
    """Whether it is a datetime in UTC."""
    return type(value) is datetime and value.tzinfo is UTC and value.year in YEARS


def is_plain_amount(value: Any, unit: Decimal) -> bool:
    """Whether it is above 0, of a common size, and written with the decimals of its currency."""
    return type(value) is Decimal and value.same_quantum(unit) and _ZERO < value < _UNCOMMON


def is_plain_data(value: object, levels: int = 8) -> bool:
    """Whether it is JSON of a few levels, as `snapshot` copies it, in printable texts."""
    if type(value) is dict:
        for key, inner in value.items():
            if type(key) is not str or not key.isascii():
                return False
            if not levels or not is_plain_data(inner, levels - 1):
                return False
        return True
    if type(value) is list:
        return levels > 0 and all(is_plain_data(inner, levels - 1) for inner in value)
    if type(value) is str:
        return value.isprintable()
    return value is None or type(value) is bool or (type(value) is int and abs(value) <= INT32_MAX)
