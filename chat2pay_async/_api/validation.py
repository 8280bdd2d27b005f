"""What a value of a request must look like before it may leave: plain functions, no I/O.

A converter (`amount`, `member`, `phone_digits`) brings a value to its one form and leaves what it
can't read as it is; a check then reports it, together with every other fault of the request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, UTC, datetime
from decimal import Context, Decimal
from enum import StrEnum
from functools import lru_cache, reduce
from typing import Any, TypeVar

from chat2pay_async._api.redaction import redact
from chat2pay_async.errors import Fault, RequestValidationError

__all__ = [
    "INT32_MAX",
    "YEARS",
    "Faults",
    "adds_up",
    "amount",
    "exact_sum",
    "exponent_of",
    "is_phone",
    "member",
    "phone_digits",
    "snapshot",
    "unit_of",
]

MAX_DIGITS = 30
MAX_DEPTH = 64
MAX_BITS = 4096
INT32_MAX = 2**31 - 1

# ISO 4217, list one: the currencies whose minor unit is not a hundredth.
_MINOR_UNITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# `ChannelType.SMS(name=SMS, id=1)`: the contract's enums are leaked Java strings.
_LEAKED = re.compile(r"[A-Za-z_]+\.([A-Za-z_]+)\(.*\)")

# Sums of 30-digit amounts, whatever the caller's own decimal context rounds to.
_EXACT = Context(prec=4 * MAX_DIGITS)

_ZERO, _UNIT, _HUNDREDTH = Decimal(0), Decimal(1), Decimal("0.01")
_CODE_LENGTH = 3
_PHONE_LENGTHS = range(7, 16)
YEARS = range(2, MAXYEAR)  # beyond them, a time in UTC might not be a date any more
_LEAVES = frozenset({str, int, float, bool, Decimal, type(None)})

E = TypeVar("E", bound=StrEnum)


def minor_units(currency: str) -> int:
    """How many decimals an amount of this currency has."""
    return _MINOR_UNITS.get(currency.upper(), 2)


def exact_sum(*amounts: Decimal) -> Decimal:
    """Add without rounding."""
    return reduce(_EXACT.add, amounts, _ZERO)


def exponent_of(value: Decimal) -> int | None:
    """The power of ten that the last digit stands for; None where the value is not finite."""
    # Nearly every amount has one of these, and `as_tuple` takes six times as long to say so.
    if value.same_quantum(_HUNDREDTH):
        return -2
    if value.same_quantum(_UNIT):
        return 0
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else None


def amount(value: Decimal | int | str | None) -> Any:
    """Bring an amount to its one form: a Decimal without exponent and without negative zero.

    Raises:
        TypeError: A float (it has lost the exact amount already) or no number at all.
    """
    if value is None or (type(value) is Decimal and value and value.same_quantum(_HUNDREDTH)):
        return value  # it has that form, as nearly all have
    if isinstance(value, str):
        return _plain(Decimal(value)) if _NUMBER.fullmatch(value) else value
    given: object = value
    if isinstance(given, (Decimal, int)) and not isinstance(given, bool):
        return _plain(Decimal(given))
    raise TypeError(
        f"an amount must be a Decimal, an int or a str, not {type(value).__name__}: "
        'pass Decimal("199.90") or "199.90"'
    )


def _plain(value: Decimal) -> Decimal:
    """Write the exponent out, where the result is of a sane size; the check refuses the rest."""
    if not value:
        value = value.copy_abs()
    exponent = exponent_of(value)
    if exponent is not None and 0 < exponent <= MAX_DIGITS:
        return Decimal(f"{value:f}")
    return value


def member(kind: type[E], value: str | None) -> Any:
    """The enum's member that a text names in whatever form; the value itself where none does."""
    if type(value) is not str and (not isinstance(value, str) or isinstance(value, kind)):
        return value
    found = _named(kind, str.__str__(value))
    return value if found is None else found


@lru_cache(maxsize=1024)
def _named(kind: type[E], text: str) -> E | None:
    leaked = _LEAKED.fullmatch(text.strip())
    name = leaked[1] if leaked else re.sub(r"[^A-Za-z0-9]+", "_", text.strip())
    return kind.__members__.get(name.upper())


def phone_digits(value: str) -> Any:
    """International digits: the service writes 27831234567, so E.164's plus sign is dropped."""
    given: object = value
    return given.removeprefix("+") if isinstance(given, str) else given


def snapshot(value: Any) -> Any:
    """Copy JSON-like containers, so that a request can't change after it was checked."""
    if value is None:
        return None
    if type(value) is dict and _LEAVES.issuperset(map(type, value.values())):
        return value.copy()
    try:
        return _copy(value, 0)
    except RecursionError:  # a circle, perhaps; the check refuses it
        return value


def _copy(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise RecursionError
    if type(value) in _LEAVES:  # to ask whether it is a Mapping takes far longer
        return value
    if type(value) is dict or isinstance(value, Mapping):
        return {key: _copy(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(inner, depth + 1) for inner in value]
    return value


def is_phone(value: Any) -> bool:
    """Whether it is a phone number in international digits."""
    return (
        isinstance(value, str)
        and len(value) in _PHONE_LENGTHS
        and value.isascii()
        and value.isdecimal()
    )


@lru_cache(maxsize=256)
def unit_of(currency: str) -> Decimal | None:
    """The smallest amount of a currency; None where that is no ISO 4217 code."""
    if len(currency) == _CODE_LENGTH and currency.isascii() and currency.isalpha():
        return Decimal((0, (1,), -minor_units(currency)))
    return None


def adds_up(total: Decimal, sub_total: Decimal, tax: Decimal) -> bool:
    """Whether a total is the sum of its parts, to the digit."""
    return _EXACT.add(sub_total, tax) == total


class Faults:
    """Collects what is wrong with one request."""

    __slots__ = ("_found", "_prefix")

    def __init__(self, prefix: str = "", found: list[Fault] | None = None) -> None:
        self._prefix = prefix
        self._found: list[Fault] = [] if found is None else found

    def below(self, prefix: str) -> Faults:
        """The same collection, for the fields of a part of the request."""
        return Faults(f"{self._prefix}{prefix}.", self._found)

    def add(self, field: str, problem: str) -> None:
        """Note a fault. `problem` never repeats a value: it could be a phone number."""
        self._found.append(Fault(self._prefix + field, problem))

    def raise_if_any(self, subject: str) -> None:
        """Raise everything found at once.

        Raises:
            RequestValidationError: At least one fault was found.
        """
        if self._found:
            raise RequestValidationError(subject, tuple(self._found))

    def text(
        self, field: str, value: Any, *, required: bool = False, longest: int | None = None
    ) -> None:
        """A string that can travel: present where it must be, not too long, printable."""
        if value is None:
            if required:
                self.add(field, "is required")
        elif not isinstance(value, str):
            self.add(field, f"must be a str, not {type(value).__name__}")
        elif required and not value.strip():
            self.add(field, "must not be blank")
        elif longest is not None and len(value) > longest:
            self.add(field, f"has {len(value)} characters; at most {longest} are allowed")
        elif value.isprintable():
            return  # neither of the following is
        elif _CONTROL.search(value):
            self.add(field, "has control characters; take them out")
        elif not _encodable(value):
            self.add(field, "has lone surrogates, which UTF-8 can't carry; take them out")

    def name(self, field: str, value: Any, *, longest: int, required: bool = False) -> None:
        """A text that may be empty, even where it must be given (the contract's minimum is 0)."""
        self.text(field, value, required=required and value is None, longest=longest)

    def reference(self, field: str, value: Any) -> None:
        """A reference that stands as one segment in a path."""
        self.text(field, value, required=True)
        if value in (".", ".."):  # no set: what is no reference may be unhashable
            self.add(field, "is no reference")

    def phone(self, field: str, value: Any) -> None:
        """A phone number in international digits."""
        if not is_phone(value):
            self.add(
                field,
                "must be 7 to 15 digits, country code first, without blanks or dashes",
            )

    def flag(self, field: str, value: Any) -> None:
        """A bool, or nothing."""
        if value is not None and not isinstance(value, bool):
            self.add(field, f"must be a bool, not {type(value).__name__}")

    def count(self, field: str, value: Any) -> None:
        """A positive 32-bit integer, or nothing."""
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(field, f"must be an int, not {type(value).__name__}")
        elif not 1 <= value <= INT32_MAX:
            self.add(field, f"must be from 1 to {INT32_MAX}")

    def moment(self, field: str, value: Any) -> None:
        """An aware datetime."""
        if not isinstance(value, datetime):
            self.add(field, f"must be a datetime, not {type(value).__name__}")
        elif value.tzinfo is not UTC and value.utcoffset() is None:
            self.add(field, "must be an aware datetime, such as datetime.now(UTC)")
        elif value.year not in YEARS:
            self.add(field, "is out of range")

    def currency(self, field: str, value: Any) -> str | None:
        """An ISO 4217 code; returned where it is one."""
        if isinstance(value, str) and unit_of(value) is not None:
            return value
        self.add(field, "must be a three-letter ISO 4217 code, such as ZAR")
        return None

    def choice(self, field: str, value: Any, allowed: Sequence[StrEnum]) -> None:
        """One of a few members, or nothing."""
        if value is not None and value not in allowed:
            self.add(field, "must be one of " + ", ".join(repr(str(one)) for one in allowed))

    def money(
        self,
        field: str,
        value: Any,
        *,
        currency: str | None = None,
        required: bool = False,
        zero: bool = False,
    ) -> Decimal | None:
        """An amount within the limits; returned where it is one."""
        if value is None:
            if required:
                self.add(field, "is required")
            return None
        if not isinstance(value, Decimal):
            self.add(field, 'is no number; write it with digits and a point, such as "199.90"')
            return None
        exponent = exponent_of(value)
        if exponent is None:
            self.add(field, "must be a finite number")
        elif exponent > 0 or max(value.adjusted(), 0) - exponent >= MAX_DIGITS:
            self.add(field, f"has more than {MAX_DIGITS} digits")
        elif value < _ZERO or not (value or zero):
            self.add(field, "must not be negative" if zero else "must be greater than 0")
        elif currency is not None and -exponent > minor_units(currency):
            self.add(
                field, f"has {-exponent} decimals; {currency} has {minor_units(currency)}: round it"
            )
        else:
            return value
        return None

    def json(self, field: str, value: Any) -> None:
        """Anything that JSON can say without loss."""
        try:
            self._json(field, value, 0)
        except RecursionError:  # once is enough: in a circle there would be no end of it
            self.add(field, f"is nested more than {MAX_DEPTH} levels deep")

    def _json(self, field: str, value: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise RecursionError
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if not isinstance(key, str) or not _encodable(key):
                    self.add(field, "has a key that is no str, or that UTF-8 can't carry")
                self._json(f"{field}.{_shown(key)}", inner, depth + 1)
        elif isinstance(value, (list, tuple)):
            for index, inner in enumerate(value):
                self._json(f"{field}[{index}]", inner, depth + 1)
        else:
            self._json_scalar(field, value)

    def _json_scalar(self, field: str, value: Any) -> None:
        if isinstance(value, str):
            if not _encodable(value):
                self.add(field, "has lone surrogates, which UTF-8 can't carry; take them out")
        elif isinstance(value, (float, Decimal)):
            if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
                self.add(field, "must be a finite number")
        elif isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                self.add(field, f"is an int of more than {MAX_BITS} bits; pass it as a str")
        elif value is not None:
            self.add(field, f"can't be written as JSON: {type(value).__name__}")


def _shown(key: object) -> str:
    """A key as a fault's path shows it."""
    shown = redact(str(key))[:40]
    return shown.encode(errors="backslashreplace").decode()


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
