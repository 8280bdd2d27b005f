"""Cells, converted to the values that a request takes.

| A field that takes | may be written |
|---|---|
| text | as it stands, or as a whole number; leading zeros stay |
| an amount | with digits and a point, as text or a number; every digit counts |
| true or false | `true`, `false`, `yes`, `no`, `1` or `0`, in any case |
| a whole number | with digits |
| a timestamp | in ISO 8601 with its offset, such as `2021-04-27T17:35:58+02:00` |

The request checks the rest, such as whether an amount is too large. No problem that is reported
here repeats the content of a cell: it could be a phone number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, get_args, get_type_hints

import attrs

from chat2pay_async._api.enums import Channel, TransactionType
from chat2pay_async._api.redaction import redact
from chat2pay_async._workbooks.formats import Odd

__all__ = ["CellError", "Convert", "converters", "plain_text", "read_json", "shown"]

Convert: TypeAlias = Callable[[Any], Any]

_FLAGS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "1"), True),
    **dict.fromkeys(("false", "no", "0"), False),
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_LONGEST_NAME = 60
_A_MOMENT = "such as 2021-04-27T17:35:58+02:00"


class CellError(Exception):
    """A cell can't be read; the message says what to write instead."""


def shown(name: str) -> str:
    """Return a column's name as messages show it, without what could be a phone number."""
    # A file may lack its header: then a number stands where a name was expected.
    printable = redact(name).encode(errors="backslashreplace").decode()
    return printable if len(printable) <= _LONGEST_NAME else printable[:_LONGEST_NAME] + "…"


def converters(model: type[Any]) -> Mapping[str, Convert]:
    """Return a converter for each field of a request, by the field's type."""
    hints = get_type_hints(model)
    return {
        field.name: _CONVERTERS.get(_essence(hints[field.name]), lambda value: value)
        for field in attrs.fields(model)
        if field.name != "extra"
    }


def _essence(hint: Any) -> Any:
    """Return `Decimal` for `Decimal | None`."""
    options = [one for one in get_args(hint) if one is not type(None)]
    return options[0] if len(options) == 1 else hint


# JSON --------------------------------------------------------------------------------------------


def read_json(text: str) -> Any:
    """Read JSON without loss: every digit is kept, and no key hides another.

    Raises:
        CellError: The text is not valid JSON, or more than JSON.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        problem = error.msg[:1].lower() + error.msg[1:].removesuffix(" at")
        raise CellError(f"is not valid JSON: {problem} at character {error.pos + 1}") from None
    except (ValueError, ArithmeticError):
        raise CellError("contains a number that is too long") from None
    except RecursionError:
        raise CellError("is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CellError(f"has the key {shown(twice)} twice")
    return found


def _no_number(name: str) -> Any:
    raise CellError(f"contains {name}, which is not valid in JSON")


_DECODER = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_unique
)


# One cell ----------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Odd):
        if value.text_problem:
            raise CellError(value.text_problem)
        return str(value.value)
    raise CellError(f"must be text, not {_named(value)}: write it as text")


def plain_text(value: Any) -> str:
    """Return text for `additional_data`, which nothing else checks."""
    text = _text(value)
    if "\0" in text:
        raise CellError("contains NUL characters; remove them")
    return text


def _amount(value: Any) -> Any:
    if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
        return value
    if isinstance(value, Odd):
        return _number(value)
    raise CellError(f"must be a number, not {_named(value)}: write it as 199.90")


def _number(cell: Odd) -> int | Decimal:
    if cell.amount_problem:
        raise CellError(cell.amount_problem)
    return cell.value


def _flag(value: Any) -> bool:
    if isinstance(value, Odd):
        value = _text(value)
    if isinstance(value, (str, int)):  # a bool is an int, and True is written "True"
        known = _FLAGS.get(str(value).strip().lower())
        if known is not None:
            return known
    raise CellError("must be true or false (or yes, no, 1, 0)")


def _whole(value: Any) -> int:
    if isinstance(value, Odd):
        value = _number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    raise CellError("must be a whole number")


def _moment(value: Any) -> datetime:
    if isinstance(value, Odd):
        value = _text(value)
    if isinstance(value, (date, time, timedelta)):
        raise CellError(f"is an Excel date, which has no UTC offset: write it as text, {_A_MOMENT}")
    try:
        moment = datetime.fromisoformat(value.strip().upper())
    except (AttributeError, ValueError):
        raise CellError(f"must be a timestamp in ISO 8601, {_A_MOMENT}") from None
    if moment.tzinfo is None:
        raise CellError(f"has no UTC offset: add one, {_A_MOMENT}")
    return moment


def _named(value: Any) -> str:
    """Name the type of a value, without its content."""
    match value:
        case bool():
            return "true or false"
        case Decimal():
            return "a number with decimals or too many digits"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a date or a time"


_CONVERTERS: Mapping[Any, Convert] = {
    str: _text,
    Channel: _text,
    TransactionType: _text,
    Decimal: _amount,
    bool: _flag,
    int: _whole,
    datetime: _moment,
}
