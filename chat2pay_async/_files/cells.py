"""Cells, converted to the values that a request takes.

| A field that takes | may be written |
|---|---|
| text | as it stands, or as a whole number; leading zeros stay |
| a phone number | international, as people write it; with a country, local too |
| an amount | with digits and a point, as text or a number; every digit counts |
| true or false | `true`, `false`, `yes`, `no`, `1` or `0`, in any case |
| a whole number | with digits |
| a timestamp | in ISO 8601 with its offset, such as `2021-04-27T17:35:58+02:00` |

Blanks and invisible characters around a value are left out. A text that a program wrote for
nothing (`None`, `nan`, `#N/A`) is refused in names, in identities and in what customers see; in
identities, what a spreadsheet made of a number too (`1001.0`, `1.23457E+15`).

The request checks the rest, such as whether an amount is too large. No problem that is reported
here repeats the content of a cell: it could be a phone number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeAlias, get_args, get_type_hints

import attrs

from chat2pay_async._api.enums import TransactionType
from chat2pay_async._api.redaction import redact
from chat2pay_async._phones import international, phone_digits, phone_problem
from chat2pay_async._texts import invisible_in, stripped
from chat2pay_async._workbooks.formats import Odd

__all__ = [
    "CellError",
    "Convert",
    "amount",
    "converters",
    "decimal_mark",
    "phone",
    "plain_text",
    "read_json",
    "shown",
]

Convert: TypeAlias = Callable[[Any], Any]

_FLAGS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "1"), True),
    **dict.fromkeys(("false", "no", "0"), False),
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_POINT = re.compile(r"[+-]?[0-9]*\.[0-9]*")

# Most identities and phone numbers: none of the patterns below is like that.
_SURE = re.compile(r"[A-Za-z]*[0-9][A-Za-z0-9]*|[A-Za-z][A-Za-z-]*[0-9][A-Za-z0-9-]*")
# What pandas, SQL, R, SAS, JavaScript, Ruby and Go write for nothing; MySQL writes \N, and a pivot
# table (blank). JavaScript writes [object Object] for what is no text.
_NOTHING = re.compile(
    r"[<(\[]?(?:(?i:none|null|nan|nil|undefined|n/a|blank|empty)|NaT|NA)[>)\]]?"
    r"|(?i:-nan|[+-]?inf(?:inity)?|[+-]?1\.#[A-Z]+)|\\N|[-\u2010-\u2015\u2212.?_]+"
    r"|\[object \w+\]"
)
# A place in a template that nothing was put into.
_UNFILLED = re.compile(r".*(?:\{\{.*\}\}|\$\{.*\}|<<.*>>|\u00ab.*\u00bb|%[A-Z_]{2,}%).*", re.DOTALL)
# What Excel makes of an order number such as MAR1 or 3-1.
_A_DATE = re.compile(
    r"[0-9]{1,2}-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?:-[0-9]{2,4})?"
)
# Excel's, LibreOffice's and Google's errors in any language, and columns that are too narrow.
_ERROR = re.compile(
    r"#(?:[\u00a1\u00bf]?[^\W\d_][\w/]*[!?]|N/?[ABDE]|NV|I/T|\u041d/\u0414|YOK|HI\u00c1NYZIK|GETTING_DATA|#+)|Err:\d{3}"
)
_FORMULA = re.compile(r"=.*|'[=+@\d-].*", re.DOTALL)
_QUOTED = re.compile(r"'.*|\".*\"", re.DOTALL)
_FRACTION = re.compile(r"[+-]?[0-9]+[.,]0*")
_EXPONENT = re.compile(r"[+-]?(?:[0-9]+[.,][0-9]+[eE][+-]?|[0-9]+[eE][+-])[0-9]+")
_NOTHING_IS = "is what a program writes for nothing: leave the cell blank, or write the value"
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
        name: _BY_NAME.get(name) or _CONVERTERS.get(_essence(hints[name]), lambda value: value)
        for name in attrs.fields_dict(model)
        if name != "extra"
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
        return stripped(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Odd):
        if value.text_problem:
            raise CellError(value.text_problem)
        return str(value.value)
    raise CellError(f"must be text, not {_named(value)}: write it as text")


def plain_text(value: Any) -> str:
    """Return text for `additional_data`, which nothing else checks.

    A person may be named Null, so only the errors of spreadsheets are refused.
    """
    text = _text(value)
    if "\0" in text:
        raise CellError("contains NUL characters; remove them")
    if _ERROR.fullmatch(text):
        raise CellError("is an error of a spreadsheet: correct it, or leave the cell blank")
    return text


def _meant(value: Any) -> str:
    """Return text that was meant: no error, no formula, and no word for nothing."""
    if isinstance(value, str):
        if value.isalpha():
            return _meant_word(value)
        if _SURE.fullmatch(value):
            return value
    return _meant_text(value)


@lru_cache(maxsize=256)  # words, such as currencies and channels, are the same in many rows
def _meant_word(word: str) -> str:
    return _meant_text(word)


def _meant_text(value: Any) -> str:
    text = plain_text(value)
    if _NOTHING.fullmatch(text):
        raise CellError(_NOTHING_IS)
    if _UNFILLED.fullmatch(text):
        raise CellError("has a placeholder that a program did not fill in: write the value")
    if _FORMULA.fullmatch(text):
        raise CellError("is a formula, or marked as text for a spreadsheet: write its value alone")
    if _EXPONENT.fullmatch(text):
        raise CellError("is a spreadsheet's picture of a number, which lost its digits: write them")
    return text


def _identity(value: Any) -> str:
    """Return a name that is looked up again: it must be the one that was meant, to the letter."""
    text = _meant(value)
    if _SURE.fullmatch(text):
        return text
    if _A_DATE.fullmatch(text):
        raise CellError("is a spreadsheet's picture of a date: write the value as text")
    if _QUOTED.fullmatch(text):
        raise CellError("is in quotation marks, or begins with one: write the value alone")
    if _FRACTION.fullmatch(text):
        raise CellError(
            "is a number with an empty fraction, such as 1001.0: write it as text, 1001"
        )
    if hidden := invisible_in(text):
        raise CellError(f"has a character that nobody sees ({hidden}): remove it")
    return text


def _channel(value: Any) -> str:
    # A program's None reads as the channel none, over which nothing is sent.
    text = _text(value)
    if text == "None":
        raise CellError(f"{_NOTHING_IS}; the channel over which nothing is sent is none")
    return text if text.lower() == "none" else _meant(text)


def phone(value: Any, country: str | None = None) -> str | int:
    """Return a phone number for a request.

    Args:
        value: The cell.
        country: The ISO 3166 code of local numbers. Default: every number is international.

    Raises:
        CellError: It is none, or could be read in two ways.
        ConfigurationError: There is a country, but it is none, or the extra `phone` is missing.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        value = _meant(value)
    try:
        if country is not None:
            return international(value, country)
    except ValueError as error:
        raise CellError(str(error)) from None
    digits: str | int = phone_digits(value)
    if problem := phone_problem(digits):
        raise CellError(problem)
    return digits


def amount(value: Any, decimal: str = ".") -> Any:
    """Return an amount for a request, which judges it.

    Args:
        value: The cell.
        decimal: The decimal mark of the file: a point, or a comma.

    Raises:
        CellError: It is no number, or is not written with the decimal mark of the file.
    """
    if isinstance(value, str):
        text = stripped(value)
        if decimal == "." or _WHOLE.fullmatch(text):
            return text
        if _COMMA.fullmatch(text):
            return text.replace(",", ".")
        raise CellError(
            "is not a number with a decimal comma, as this file has: write it as 199,90"
        )
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return value
    if isinstance(value, Odd):
        return _number(value)
    raise CellError(f"must be a number, not {_named(value)}: write it as 199.90")


def decimal_mark(value: Any) -> str | None:
    """Return the decimal mark of an amount that is text; None: it has none, or is no number.

    A file whose amounts all have commas can be read by `amount(value, decimal=",")`.
    """
    text = stripped(value) if isinstance(value, str) else ""
    if _COMMA.fullmatch(text):
        return ","
    return "." if _POINT.fullmatch(text) else None


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


_IDENTITIES: Final = (
    *("order_number", "payment_link_ref", "receipt_link_ref", "reconciliation_id"),
    *("application_id", "application_uuid", "payment_gateway_settings_id"),
)
_BY_NAME: Mapping[str, Convert] = {
    **dict.fromkeys(_IDENTITIES, _identity),
    "channel": _channel,
    "to": phone,
}
_CONVERTERS: Mapping[Any, Convert] = {
    str: _meant,
    TransactionType: _meant,
    Decimal: amount,
    bool: _flag,
    int: _whole,
    datetime: _moment,
}
