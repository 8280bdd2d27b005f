"""An answer's body as a JSON object: numbers exact, and none lost over one odd value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

import msgspec

__all__ = ["DAMAGED", "decode_object"]

DAMAGED: Final = "\ufffd"
"""What stands where a text in an answer could not be read."""
_BOM = b"\xef\xbb\xbf"


def _read_number(text: str) -> Decimal | str:
    """A number; its text, where its exponent is beyond what a Decimal can hold."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return text


def _read_whole(text: str) -> int | str:
    """A whole number; its text, where it has more digits than Python converts."""
    try:
        return int(text)
    except ValueError:
        return text


def _sound_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose values may have suffered, but none of its names.

    A damaged name is a field that is missed, and what is missed might be taken for absent.
    """
    data = {name: _carried(value) for name, value in pairs}
    if any(DAMAGED in name or not name.isprintable() for name in data):
        raise ValueError(DAMAGED)
    return data


def _carried(value: Any) -> Any:
    """A value that UTF-8 can carry: without lone surrogates, halves of a character cut in two."""
    if isinstance(value, list):
        return [_carried(one) for one in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


# msgspec's errors are ValueErrors, as those of UTF-8 are.
_NO_JSON = (ValueError, ArithmeticError, RecursionError)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def _decode_patiently(body: bytes) -> Any:
    """What strict JSON refuses over one odd value: NaN, a raw tab, half a character."""
    return json.loads(
        body.decode(errors="replace"),
        strict=False,
        parse_float=_read_number,
        parse_int=_read_whole,
        parse_constant=str,
        object_pairs_hook=_sound_object,
    )


def decode_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in an answer's body; None where there is none, whatever else is there."""
    body = body.removeprefix(_BOM)
    try:
        value = _decode(body)
    except _NO_JSON:
        try:
            value = _decode_patiently(body)
        except _NO_JSON:
            return None
    return value if isinstance(value, dict) else None
