"""JSON objects from the bodies of responses, with exact numbers.

`decode_object` is strict, for look-ups that decide whether something is sent again: a damaged name
or word could be mistaken for an absence. `decode_response` is lenient, for the results of calls:
one odd value, such as half a character at a cut, must not turn a success into an unknown outcome.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["decode_any", "decode_object", "decode_response"]

_BOM = b"\xef\xbb\xbf"
_DAMAGED = "\ufffd"
# msgspec's errors are ValueErrors, as those of UTF-8 are.
_NO_JSON = (ValueError, ArithmeticError, RecursionError)


def _read_number(text: str) -> Decimal | str:
    """Read a number; return its text if its exponent is beyond what a Decimal can hold."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return text


_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_decode_any_number = msgspec.json.Decoder(float_hook=_read_number).decode


def decode_object(body: bytes) -> dict[str, Any] | None:
    """Read the JSON object in a body; None if there is anything else."""
    value = decode_any(body)
    return value if isinstance(value, dict) else None


def decode_any(body: bytes) -> Any:
    """Read the JSON in a body; None if there is none."""
    body = body.removeprefix(_BOM)
    try:
        try:
            return _decode(body)
        except ArithmeticError:
            return _decode_any_number(body)
    except _NO_JSON:
        return None


# Odd values --------------------------------------------------------------------------------------


def decode_response(body: bytes) -> dict[str, Any] | None:
    """Read as `decode_object` does, but let an odd value cost nothing but itself.

    It becomes a list of its text, which no field takes for a value, so that it lands in `extra`.
    """
    data = decode_object(body)
    if data is not None:
        return data
    try:
        value = json.loads(
            body.removeprefix(_BOM).decode(errors="replace"),
            strict=False,
            parse_float=_read_number,
            parse_int=_read_whole,
            parse_constant=_odd,
            object_pairs_hook=_read_pairs,
        )
    except _NO_JSON:
        return None
    return value if isinstance(value, dict) else None


def _odd(text: str) -> list[str]:
    return [text]


def _read_whole(text: str) -> int | list[str]:
    try:
        return int(text)
    except ValueError:  # it has more digits than Python converts
        return _odd(text)


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = {name: _marked(value) for name, value in pairs}
    # A damaged name is a field that is missed, and what is missed might be taken for absent.
    if any(_DAMAGED in name or not name.isprintable() for name in data):
        raise ValueError(_DAMAGED)
    return data


def _marked(value: Any) -> Any:
    if isinstance(value, list):
        return [_marked(one) for one in value]
    if not isinstance(value, str):
        return value
    # A lone surrogate is half of a character that was cut in two.
    text = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _odd(text) if _DAMAGED in text else text
