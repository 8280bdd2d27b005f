"""Content of a request as values that are compared, in a form that can be stored.

A content is a JSON object: field → its value, written in one way for all that are equal. Instead of
a value there may be its digest, where the journal keeps no requests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

__all__ = ["differences", "digested", "one_form", "write_content"]

_encoder: Final = msgspec.json.Encoder(order="sorted")
_to_json: Final = json.JSONEncoder().encode
_DIGEST: Final = "#"
"""The field that has the salt of a content whose values are digests."""


def one_form(value: Any) -> str:
    """Write a JSON value so that equal ones are the same text, and a number is no truth value."""
    if value is None or isinstance(value, (str, bool)):
        return _to_json(value)
    match value:
        case list():
            return "[" + ",".join(map(one_form, value)) + "]"
        case dict():
            inner = sorted((_to_json(key), one_form(one)) for key, one in value.items())
            return "{" + ",".join(f"{key}:{one}" for key, one in inner) + "}"
        case _:
            number, _, power = str(Decimal(value)).upper().partition("E")
            whole, _, fraction = number.partition(".")
            digits = (whole + fraction).lstrip("-0")
            kept = digits.rstrip("0")
            exponent = int(power or 0) - len(fraction) + len(digits) - len(kept) if kept else 0
            return f"{'-' * (kept != '' and whole[0] == '-')}{kept or 0}e{exponent}"


def write_content(values: Mapping[str, str]) -> bytes:
    """Write the fields of a request, each value in its one form."""
    return _encoder.encode(values)


def digested(content: bytes, salt: str) -> bytes:
    """Replace each value by its digest; one that has digests already is returned as it is."""
    values = _read(content)
    if _DIGEST in values:
        return content
    return write_content(_digests(values, salt) | {_DIGEST: salt})


def differences(stored: bytes, given: bytes) -> tuple[str, ...]:
    """Return the names of the fields in which two contents differ, in order.

    Args:
        stored: The first, whole or with digests.
        given: The other one, whole.
    """
    if stored == given:
        return ()
    before, after = _read(stored), _read(given)
    salt = before.pop(_DIGEST, None)
    if salt is not None:
        after = _digests(after, salt)
    names = before.keys() | after.keys()
    return tuple(sorted(name for name in names if before.get(name) != after.get(name)))


def _read(content: bytes) -> dict[str, str]:
    return msgspec.json.decode(content, type=dict[str, str])


def _digests(values: Mapping[str, str], salt: str) -> dict[str, str]:
    # Of few possible values, such as phone numbers, a digest hides none from who has the file.
    return {
        name: hashlib.blake2b(
            value.encode(errors="surrogatepass"), key=salt.encode()[:64], digest_size=16
        ).hexdigest()
        for name, value in values.items()
    }
