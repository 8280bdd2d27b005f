"""The decoding of a body, within bounds: nobody asked for an encoding, so it may be an attack."""

from __future__ import annotations

import zlib
from typing import Final

from chat2pay_async._transport.base import ExchangeError
from chat2pay_async.errors import Proof

__all__ = ["LONGEST_FRAMING", "LONGEST_RESPONSE", "decoded", "unreadable"]

LONGEST_RESPONSE: Final = 10 * 1024 * 1024
"""Bytes of a response's body, after decoding; no response of the service comes near."""
LONGEST_FRAMING: Final = 100 * 1024
"""Bytes of a response beside its body: heads, and what says how its body is framed.

As much as httpcore takes of a head, so that a response is read the same by every transport.
"""
_ANY_HEADER, _NO_HEADER = 47, -15  # zlib's `wbits`
_GZIP: Final = b"\x1f\x8b"


def decoded(encoding: str, body: bytes) -> bytes:
    """Decode a body, which nobody asked to be encoded, and not beyond `LONGEST_RESPONSE`.

    Raises:
        ExchangeError: It is too long, or can't be decoded.
    """
    for name in reversed([name.strip().lower() for name in encoding.split(",")]):
        if name in {"gzip", "x-gzip", "deflate"}:  # others are left as they are, as httpx does
            body = _inflated(body)
    if len(body) > LONGEST_RESPONSE:
        raise unreadable("ResponseTooLong")
    return body


def _inflated(body: bytes) -> bytes:
    pieces, size = list[bytes](), 0
    try:
        while body:  # a gzip file may have several members
            # zlib's own header, or gzip's; or (as some servers have it) neither.
            has_header = body[:2] == _GZIP or body[0] & 15 == zlib.DEFLATED
            inflater = zlib.decompressobj(_ANY_HEADER if has_header else _NO_HEADER)
            pieces.append(inflater.decompress(body, LONGEST_RESPONSE - size + 1))
            size += len(pieces[-1])
            if size > LONGEST_RESPONSE:
                raise unreadable("ResponseTooLong")
            if not inflater.eof:
                raise unreadable("DecodingError")
            body = inflater.unused_data
    except zlib.error as error:
        raise unreadable("DecodingError") from error
    return b"".join(pieces)


def unreadable(reason: str) -> ExchangeError:
    """Return the failure of a response that came and can't be read: it proves nothing."""
    return ExchangeError(reason, proof=Proof.UNKNOWN, timed_out=False)
