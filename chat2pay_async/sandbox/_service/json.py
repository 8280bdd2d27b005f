"""Exact JSON: no amount passes through a float, when read or written."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from json.encoder import encode_basestring
from typing import NoReturn, cast


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant).decode


def loads(text: bytes) -> object:
    """Read UTF-8 JSON; a number with a fraction or an exponent becomes a `Decimal`, digits kept.

    Raises:
        ValueError: It is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        value: object = _decode(text.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def dumps(value: object) -> str:
    """Write compact JSON; a `Decimal` becomes a number with just the digits that it has.

    Raises:
        ValueError: It is nested too deeply.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _encode(value: object) -> str:
    # The standard encoder has no way to write a Decimal as a number.
    match value:
        case str():
            return encode_basestring(value)
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case int() | Decimal():
            return str(value)
        case Mapping():
            members = cast("Mapping[str, object]", value).items()
            pairs = (f"{encode_basestring(name)}:{_encode(item)}" for name, item in members)
            return f"{{{','.join(pairs)}}}"
        case Sequence():
            return f"[{','.join(map(_encode, cast('Sequence[object]', value)))}]"
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form here")
