"""The rules for the values of a request, each once: a function that gives a problem, or None.

A converter (`amount`, `member`) brings a value to its one form and leaves what it
can't read as it is. A rule then names the problem, and never repeats the value, which could be a
phone number. `refuse` raises the problems of a whole request at once.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import MAXYEAR, UTC, datetime
from decimal import Context, Decimal
from enum import StrEnum
from functools import lru_cache, reduce
from typing import Any, Final, TypeVar

from chat2pay_async._api.redaction import redact
from chat2pay_async.errors import Fault, RequestValidationError

__all__ = [
    "MAX_DIGITS",
    "NO_CURRENCY",
    "amount",
    "amount_rule",
    "capture_problem",
    "choice_problem",
    "count_problem",
    "currency_problem",
    "decimals_of",
    "exact_sum",
    "exponent_of",
    "faults_of",
    "flag_problem",
    "identity_problem",
    "json_faults",
    "member",
    "minor_units",
    "moment_problem",
    "reference_problem",
    "refuse",
    "snapshot",
    "text_problem",
    "written",
]

MAX_DIGITS = 30
MAX_DEPTH = 64
MAX_BITS = 4096
INT32_MAX = 2**31 - 1
_MISSING = "is required"
_ODD_KEY = "has a key that is not a str, or that UTF-8 can't carry"
_SURROGATES = "has lone surrogates, which UTF-8 can't carry; take them out"

_USUAL, _USUAL_CURRENCY = 2, "USD"
NO_CURRENCY: Final = "XXX"
"""The code of ISO 4217 for what has none."""
# ISO 4217, list one: the currencies whose minor unit is not a hundredth.
_MINOR_UNITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")  # 1.23E+03 has lost its digits
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# `ChannelType.SMS(name=SMS, id=1)`: the contract's enums are leaked Java strings.
_LEAKED = re.compile(r"[A-Za-z_]+\.([A-Za-z_]+)\(.*\)")

# Sums of 30-digit amounts, whatever the caller's own decimal context rounds to.
_EXACT = Context(prec=4 * MAX_DIGITS)

_ZERO, _UNIT, _HUNDREDTH, _LARGE = Decimal(0), Decimal(1), Decimal("0.01"), Decimal(10**15)
_CODE_LENGTH = 3
_GROUP = 3
"""Digits after a point that may be thousands: 1.000."""
_YEARS = range(2, MAXYEAR)  # beyond them, a time in UTC might not be a date any more
_LEAVES = frozenset({str, int, float, bool, Decimal, type(None)})

E = TypeVar("E", bound=StrEnum)


def minor_units(currency: str) -> int:
    """Return the number of decimals of a currency."""
    return _MINOR_UNITS.get(currency.upper(), _USUAL)


def written(amount: Decimal, currency: str | None, grouping: str = "") -> str:
    """Write an amount with the decimals of its currency, and with every further digit that it has.

    Args:
        amount: The amount.
        currency: Its currency. None or empty: it is written with the digits that it has.
        grouping: The sign between thousands: a comma, or none.
    """
    decimals = f".{decimals_of(amount, currency)}" if currency else ""
    return format(amount, f"{grouping}{decimals}f")


def decimals_of(amount: Decimal, currency: str) -> int:
    """Return the number of decimals of an amount: its currency's, or its own if they are more."""
    own = len(f"{amount:f}".partition(".")[2].rstrip("0"))
    return max(own, minor_units(currency) if currency else 0)


def exact_sum(*amounts: Decimal) -> Decimal:
    """Add without rounding."""
    return reduce(_EXACT.add, amounts) if amounts else _ZERO


def exponent_of(value: Decimal) -> int | None:
    """Return the power of ten of the last digit; None if the value is not finite."""
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
        TypeError: It is a float (which has lost the exact amount) or not a number.
    """
    given: Any = value
    if given is None:
        return None
    if isinstance(given, str):
        if not _NUMBER.fullmatch(given):
            return given
        given = Decimal(given)
    if type(given) is Decimal and given and given.same_quantum(_HUNDREDTH):
        return given  # it has that form, as nearly all have
    if isinstance(given, bool) or not isinstance(given, (Decimal, int)):
        raise TypeError(
            f"an amount must be a Decimal, an int or a str, not {type(given).__name__}: "
            'pass Decimal("199.90") or "199.90"'
        )
    number = Decimal(given)
    if not number:
        number = number.copy_abs()
    exponent = exponent_of(number)
    if exponent is not None and 0 < exponent <= MAX_DIGITS:  # a rule refuses greater ones
        return Decimal(f"{number:f}")
    return number


def member(kind: type[E], value: str | None) -> Any:
    """Return the enum's member that a text names in any form; else the value itself."""
    if type(value) is not str and (not isinstance(value, str) or isinstance(value, kind)):
        return value
    found = _named(kind, str.__str__(value))
    return value if found is None else found


@lru_cache(maxsize=1024)
def _named(kind: type[E], text: str) -> E | None:
    leaked = _LEAKED.fullmatch(text.strip())
    name = leaked[1] if leaked else re.sub(r"[^A-Za-z0-9]+", "_", text.strip())
    return kind.__members__.get(name.upper())


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


def refuse(subject: str, problems: Mapping[str, str | None]) -> None:
    """Raise the problems of a request all at once, if there are any.

    Raises:
        RequestValidationError: A field has a problem.
    """
    if faults := faults_of(problems.items()):
        raise RequestValidationError(subject, tuple(faults))


def faults_of(problems: Iterable[tuple[str, str | None]], path: str = "") -> list[Fault]:
    """List the problems that there are, each with its field below a path."""
    return [Fault(path + field, problem) for field, problem in problems if problem]


def text_problem(value: Any, longest: int = sys.maxsize) -> str | None:
    """Demand a text that can be sent."""
    if not isinstance(value, str):
        return _MISSING if value is None else f"must be a str, not {type(value).__name__}"
    if len(value) > longest:
        return f"has {len(value)} characters; at most {longest} are allowed"
    if value.isprintable():  # no control character and no surrogate is
        return None
    if _CONTROL.search(value):
        return "has control characters; take them out"
    return None if _encodable(value) else _SURROGATES


def identity_problem(value: Any, longest: int = sys.maxsize) -> str | None:
    """Demand a text that is not blank, nor has blanks around it.

    The service may trim it: then no response would name what was asked for.
    """
    if isinstance(value, str) and not value.strip():
        return "must not be blank"
    problem = text_problem(value, longest)
    if problem is None and value != value.strip():
        return "must not begin or end with a blank; take it off"
    return problem


def reference_problem(value: Any) -> str | None:
    """Demand a reference that can stand as one segment in a path."""
    if value in (".", ".."):  # not a set: another value may be unhashable
        return "is not a reference: pass a link's payment_link_ref"
    return identity_problem(value)


def flag_problem(value: Any) -> str | None:
    """Demand a bool."""
    return None if isinstance(value, bool) else f"must be a bool, not {type(value).__name__}"


def count_problem(value: Any) -> str | None:
    """Demand a positive 32-bit integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be an int, not {type(value).__name__}"
    return None if 1 <= value <= INT32_MAX else f"must be from 1 to {INT32_MAX}"


def moment_problem(value: Any) -> str | None:
    """Demand an aware datetime."""
    if not isinstance(value, datetime):
        return f"must be a datetime, not {type(value).__name__}"
    if value.tzinfo is not UTC and value.utcoffset() is None:
        return "must be an aware datetime, such as datetime.now(UTC)"
    return None if value.year in _YEARS else "is out of range"


def currency_problem(value: Any) -> str | None:
    """Demand an ISO 4217 code."""
    if (
        isinstance(value, str)
        and len(value) == _CODE_LENGTH
        and value.isascii()
        and value.isalpha()
    ):
        return None
    return "must be a three-letter ISO 4217 code, such as ZAR"


def choice_problem(value: Any, allowed: Sequence[StrEnum]) -> str | None:
    """Demand one of a few members."""
    if value in allowed:
        return None
    return "must be one of " + ", ".join(repr(str(one)) for one in allowed)


@lru_cache(maxsize=256)
def amount_rule(currency: str | None, *, zero: bool = False) -> Callable[[Any], str | None]:
    """Make the rule that demands an amount within the limits.

    Args:
        currency: The currency whose decimals they may have. None: any decimals.
        zero: Whether they may be 0.
    """
    decimals = MAX_DIGITS if currency is None else minor_units(currency)
    unit = _HUNDREDTH if currency is None else Decimal((0, (1,), -decimals))

    def problem_of(value: Any) -> str | None:  # noqa: PLR0911 - each limit is one return
        if not isinstance(value, Decimal):
            wrong = 'is not a number; write it with digits and a point, such as "199.90"'
            return _MISSING if value is None else wrong
        # Nearly every amount: with all decimals of its currency, and far from too many digits.
        if value.same_quantum(unit) and _ZERO < value < _LARGE:
            return None
        exponent = exponent_of(value)
        if exponent is None:
            return "must be a finite number"
        if exponent > 0 or max(value.adjusted(), 0) - exponent >= MAX_DIGITS:
            return f"has more than {MAX_DIGITS} digits"
        if value < _ZERO or not (value or zero):
            return "must not be negative" if zero else "must be greater than 0"
        if -exponent <= decimals or _is_exact(value, -exponent, decimals):
            return None
        return f"has {-exponent} decimals; {currency} has {decimals}: round it"

    return problem_of


def _is_exact(value: Decimal, given: int, decimals: int) -> bool:
    """Tell whether decimals beyond those of a currency say nothing: JPY 100.00 is 100."""
    shortest = exponent_of(value.normalize(_EXACT)) or 0
    return given != _GROUP and -shortest <= decimals


def capture_problem(value: Any, currency: str | None) -> str | None:
    """Demand the amount of a capture, whose currency need not be known.

    Args:
        value: The amount.
        currency: Its currency; `XXX`, the code for no currency, allows any decimals. None: it may
            have the decimals that nearly every currency has.
    """
    problem = amount_rule(None if currency == NO_CURRENCY else currency)(value)
    if problem is not None or currency is not None:
        return problem
    if amount_rule(_USUAL_CURRENCY)(value) is None:
        return None
    return "has more than 2 decimals, or may be thousands: pass its currency, too"


def json_faults(field: str, value: Any) -> list[Fault]:
    """List what JSON can't say without loss, each fault with the path to it."""
    faults: list[Fault] = []
    try:
        _add_json_faults(faults, value, (field,))
    except RecursionError:  # reported once: in a circle there would be no end of it
        faults.append(Fault(field, f"is nested more than {MAX_DEPTH} levels deep"))
    return faults


def _add_json_faults(faults: list[Fault], value: Any, path: tuple[str | int, ...]) -> None:
    kind = type(value)
    if value is None or kind is bool or (kind is str and value.isascii()):
        return
    if len(path) > MAX_DEPTH and isinstance(value, (list, tuple, Mapping)) and value:
        raise RecursionError
    if isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _add_json_faults(faults, inner, (*path, index))
    elif kind is dict or isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not (key.isascii() or _encodable(key)):
                faults.append(Fault(_shown(path), _ODD_KEY))
            _add_json_faults(faults, inner, (*path, key if isinstance(key, str) else str(key)))
    elif problem := _scalar_problem(value):
        faults.append(Fault(_shown(path), problem))


def _scalar_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return None if _encodable(value) else _SURROGATES
    if isinstance(value, (float, Decimal)):
        finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
        return None if finite else "must be a finite number"
    if isinstance(value, int):
        fits = value.bit_length() <= MAX_BITS
        return None if fits else f"is an int of more than {MAX_BITS} bits; pass it as a str"
    return f"can't be written as JSON: {type(value).__name__}"


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: tuple[str | int, ...]) -> str:
    """Write a path out; a key may be the caller's own, and a phone number."""
    field = str(path[0])
    for step in path[1:]:
        if isinstance(step, int):
            field += f"[{step}]"
        else:
            field += "." + redact(step)[:40].encode(errors="backslashreplace").decode()
    return field
