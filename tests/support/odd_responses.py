"""Responses that are odd, and what is read of each: by every reader, over every transport."""

from __future__ import annotations

import gzip
import zlib
from typing import NamedTuple

from chat2pay_async._transport.decoding import LONGEST_FRAMING

__all__ = ["CHUNKED", "CREATED", "ENCODED", "OK", "PLAIN", "RESPONSES", "TOKENS", "TWO", "Odd"]

OK = b"HTTP/1.1 200 OK\r\n"
CREATED = b"HTTP/1.1 201 Created\r\n"
TWO = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b'3\r\n{"a\r\n5\r\n": 1}\r\n0\r\n\r\n'
PLAIN = OK + b"Content-Type: application/json\r\n" + TWO + b"\r\n{}"


class Odd(NamedTuple):
    """A response that is read somehow."""

    data: bytes
    """Bytes that come; with `ended`, the connection ends after them."""
    body: bytes | None = b"{}"
    """Bytes that are read; None where it is refused."""
    is_last: bool = False
    status: int = 200
    ended: bool = False
    method: bytes = b"POST"


HEADERS = b"".join(b"a%d: %d\r\n" % (number, number) for number in range(300))
RESPONSES = {
    # Framed by a length.
    "plain": Odd(PLAIN),
    "no body": Odd(OK + b"Content-Length: 0\r\n\r\n", b""),
    "length with zeros": Odd(OK + b"Content-Length: 002\r\n\r\n{}"),
    "length without a space": Odd(OK + b"Content-Length:2\r\n\r\n{}"),
    "length in tabs": Odd(OK + b"Content-Length:\t2 \t\r\n\r\n{}"),
    "two equal lengths": Odd(OK + TWO + TWO + b"\r\n{}"),
    "a list of equal lengths": Odd(OK + b"Content-Length: 2, 2\r\n\r\n{}"),
    "two lengths": Odd(OK + TWO + b"content-length: 3\r\n\r\n{} ", None),
    "a list of lengths": Odd(OK + b"Content-Length: 2, 3\r\n\r\n{} ", None),
    "a negative length": Odd(OK + b"Content-Length: -2\r\n\r\n{}", None),
    "a length with a sign": Odd(OK + b"Content-Length: +2\r\n\r\n{}", None),
    "a length in hex": Odd(OK + b"Content-Length: 0x2\r\n\r\n{}", None),
    "a length with an underscore": Odd(OK + b"Content-Length: 1_0\r\n\r\n0123456789", None),
    "an empty length": Odd(OK + b"Content-Length: \r\n\r\n{}", None),
    "a length that is too long": Odd(OK + b"Content-Length: 99999999\r\n\r\n{}", None),
    "a length that is far too long": Odd(OK + b"Content-Length: 12345678901234\r\n\r\n{}", None),
    "a length of many digits": Odd(OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}", None),
    "cut off": Odd(OK + b"Content-Length: 3\r\n\r\n{}", None, ended=True),
    # In chunks.
    "chunks": Odd(OK + CHUNKED + b"\r\n" + CHUNKS, b'{"a": 1}'),
    "chunks in capitals": Odd(
        OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789"
    ),
    "chunk extensions": Odd(OK + CHUNKED + b'\r\n2;a=b;c="d"\r\n{}\r\n0;e\r\n\r\n'),
    "trailers": Odd(OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
    "a length in the trailers": Odd(
        OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"
    ),
    "a length and chunks": Odd(OK + b"Content-Length: 12\r\n" + CHUNKED + b"\r\n" + CHUNKS, None),
    "chunks and a length": Odd(OK + CHUNKED + TWO + b"\r\n" + CHUNKS, None),
    "another encoding": Odd(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS, None),
    "chunked twice": Odd(OK + CHUNKED + CHUNKED + b"\r\n" + CHUNKS, None),
    "identity": Odd(OK + b"Transfer-Encoding: identity\r\n\r\n{}", None, ended=True),
    "a chunk without a size": Odd(OK + CHUNKED + b"\r\n\r\n{}\r\n0\r\n\r\n", None),
    "a chunk of no number": Odd(OK + CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n", None),
    "a chunk of a negative size": Odd(OK + CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n", None),
    "a chunk that is longer": Odd(OK + CHUNKED + b"\r\n2\r\n{}}\r\n0\r\n\r\n", None),
    "a chunk that is cut off": Odd(OK + CHUNKED + b"\r\nff\r\n{}", None, ended=True),
    "no last chunk": Odd(OK + CHUNKED + b"\r\n2\r\n{}\r\n", None, ended=True),
    # By the end of the connection.
    "up to the end": Odd(OK + b"\r\n{}", is_last=True, ended=True),
    "up to the end, nothing": Odd(OK + b"\r\n", b"", is_last=True, ended=True),
    "HTTP/1.0": Odd(b"HTTP/1.0 200 OK\r\n" + TWO + b"\r\n{}", is_last=True),
    "HTTP/1.0 up to the end": Odd(b"HTTP/1.0 200 OK\r\n\r\n{}", is_last=True, ended=True),
    "HTTP/1.0 that goes on": Odd(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + TWO + b"\r\n{}", is_last=True
    ),
    "said to be the last": Odd(OK + b"Connection: close\r\n" + TWO + b"\r\n{}", is_last=True),
    "said to be the last, in a list": Odd(
        OK + b"Connection: x, Close\r\n" + TWO + b"\r\n{}", is_last=True
    ),
    "said to go on": Odd(OK + b"Connection: keep-alive\r\n" + TWO + b"\r\n{}"),
    "ended after it": Odd(PLAIN, is_last=True, ended=True),
    "another one after it": Odd(PLAIN + PLAIN, is_last=True),
    "a line break after it": Odd(PLAIN + b"\r\n", is_last=True),
    "a byte after chunks": Odd(OK + CHUNKED + b"\r\n" + CHUNKS + b"0", b'{"a": 1}', is_last=True),
    # Without a body.
    "204": Odd(b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", b"", status=204),
    "204 with a length": Odd(
        b"HTTP/1.1 204 No Content\r\n" + TWO + b"\r\n{}", b"", is_last=True, status=204
    ),
    "304 with a length": Odd(b"HTTP/1.1 304 Not Modified\r\n" + TWO + b"\r\n", b"", status=304),
    "to HEAD": Odd(OK + TWO + b"\r\n", b"", method=b"HEAD"),
    "to HEAD, with a body": Odd(OK + TWO + b"\r\n{}", b"", is_last=True, method=b"HEAD"),
    "to HEAD, of any length": Odd(OK + b"Content-Length: 99999999\r\n\r\n", b"", method=b"HEAD"),
    "to HEAD, with two framings": Odd(OK + TWO + CHUNKED + b"\r\n", None, method=b"HEAD"),
    "to CONNECT": Odd(OK + TWO + b"\r\n{}", None, method=b"CONNECT"),
    "to CONNECT, refused": Odd(
        OK.replace(b"200", b"403") + TWO + b"\r\n{}", status=403, method=b"CONNECT"
    ),
    # Before it.
    "100": Odd(b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN),
    "several before it": Odd(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 199 Whatever\r\nContent-Length: 5\r\n\r\n" + CREATED + TWO + b"\r\n{}",
        status=201,
    ),
    "101": Odd(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + PLAIN, None),
    "only 100": Odd(b"HTTP/1.1 100 Continue\r\n\r\n", None, ended=True),
    "nothing": Odd(b"", None, ended=True),
    "blank lines before it": Odd(b"\r\n\r\n" + PLAIN, None),
    "a line feed before it": Odd(b"\n" + PLAIN, None),
    # Its head.
    "a status of its own": Odd(b"HTTP/1.1 299 \r\n" + TWO + b"\r\n{}", status=299),
    "no reason": Odd(b"HTTP/1.1 200\r\n" + TWO + b"\r\n{}"),
    "an empty reason": Odd(b"HTTP/1.1 200 \r\n" + TWO + b"\r\n{}"),
    "a reason in other letters": Odd(b"HTTP/1.1 200 caf\xe9\r\n" + TWO + b"\r\n{}"),
    "a value in other letters": Odd(OK + b"X: caf\xe9 \xff\r\n" + TWO + b"\r\n{}"),
    "an empty value": Odd(OK + b"X:\r\nY: \r\n" + TWO + b"\r\n{}"),
    "a value with spaces": Odd(OK + b"X:  a  b  \r\n" + TWO + b"\r\n{}"),
    "a folded value": Odd(OK + b"X: a\r\n b\r\n" + TWO + b"\r\n{}"),
    "a folded length": Odd(OK + b"Content-Length:\r\n 2\r\n\r\n{}"),
    "an odd name": Odd(OK + b"X_!#$%: a\r\n" + TWO + b"\r\n{}"),
    "a space before the colon": Odd(OK + b"Content-Length : 2\r\n\r\n{}", None),
    "no name": Odd(OK + b": a\r\n" + TWO + b"\r\n{}", None),
    "no colon": Odd(OK + b"what\r\n" + TWO + b"\r\n{}", None),
    "a nul in a value": Odd(OK + b"X: a\x00b\r\n" + TWO + b"\r\n{}", None),
    "a carriage return in a value": Odd(
        OK + b"X: a\rContent-Length: 9\r\n" + TWO + b"\r\n{}", None
    ),
    "line feeds alone": Odd(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"),
    "one line feed alone": Odd(OK + b"X: a\n" + TWO + b"\r\n{}"),
    "the end by a line feed": Odd(OK + TWO + b"\n{}"),
    "300 headers": Odd(OK + HEADERS + TWO + b"\r\n{}"),
    "an endless head": Odd(OK + b"X: " + b"x" * LONGEST_FRAMING + b"\r\n" + TWO + b"\r\n{}", None),
    "endless chunk extensions": Odd(
        OK + CHUNKED + b"\r\n2;" + b"x" * LONGEST_FRAMING + b"\r\n{}\r\n0\r\n\r\n", None
    ),
    "endless trailers": Odd(
        OK + CHUNKED + b"\r\n0\r\n" + b"X: y\r\n" * (LONGEST_FRAMING // 6 + 1) + b"\r\n", None
    ),
    "endless ones before it": Odd(
        b"HTTP/1.1 102 Processing\r\n\r\n" * (LONGEST_FRAMING // 27 + 1) + PLAIN, None
    ),
    "fields of one name": Odd(OK + b"Date: a\r\nX: 1\r\ndate: b\r\n" + TWO + b"\r\n{}"),
    "a value in UTF-8": Odd(OK + "X: é €\r\n".encode() + TWO + b"\r\n{}"),
    "values in two encodings": Odd(OK + b"X: \xc3\xa9\r\nY: \xe9\r\n" + TWO + b"\r\n{}"),
    "a location that is no URL": Odd(
        b"HTTP/1.1 308 Moved\r\nLocation: http://[::\r\n" + TWO + b"\r\n{}", status=308
    ),
    "a version of its own": Odd(b"HTTP/1.2 200 OK\r\n" + TWO + b"\r\n{}"),
    "HTTP/1.0 in chunks": Odd(
        b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n", is_last=True
    ),
    "a status beyond all": Odd(b"HTTP/1.1 999 X\r\n" + TWO + b"\r\n{}", status=999),
    "205 with a body": Odd(b"HTTP/1.1 205 X\r\n" + TWO + b"\r\n{}", status=205),
    "half of a long head": Odd(
        OK + b"X: " + b"x" * (LONGEST_FRAMING // 2) + b"\r\n" + TWO + b"\r\n{}"
    ),
    # Others.
    "another protocol": Odd(b"220 mail.test ESMTP\r\n\r\n", None),
    "TLS": Odd(b"\x16\x03\x01\x00\xff\xfe" * 9, None),
    "HTTP/2": Odd(b"HTTP/2 200\r\n\r\n", None),
    "a status of two digits": Odd(b"HTTP/1.1 20 OK\r\n" + TWO + b"\r\n{}", None),
    "a status below all": Odd(b"HTTP/1.1 099 OK\r\n" + TWO + b"\r\n{}", None),
    "HTTP/0.9": Odd(b"{}", None, ended=True),
}
TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b";x=y",
        b"0",
        b"2",
        b"\x00",
        b"\x7f",
        b"\xff",
    ),
    *(TWO, CHUNKED, b"Connection: close\r\n", b"HTTP/1.0", b"HTTP/1.1 200 OK\r\n", b"0\r\n\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length", b"Transfer-Encoding", b"chunked", PLAIN),
]
"""Bytes that responses are made of, and broken by."""


def encoded(names: bytes, body: bytes, read: bytes | None = b"{}") -> Odd:
    """A body under these lines of `Content-Encoding`, and what is read of it."""
    lines = b"".join(b"Content-Encoding: %b\r\n" % line for line in names.split(b";"))
    return Odd(OK + lines + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), read)


PACKED = gzip.compress(b"{}")
ENCODED = {
    "gzip": encoded(b"gzip", PACKED),
    "gzip in capitals": encoded(b"GZIP", PACKED),
    "x-gzip": encoded(b"x-gzip", PACKED),
    "gzip, gzip": encoded(b"gzip, gzip", gzip.compress(PACKED)),
    "gzip on two lines": encoded(b"gzip;gzip", gzip.compress(PACKED)),
    "gzip, then identity on a line of its own": encoded(b"gzip;identity", PACKED),
    "two members": encoded(b"gzip", gzip.compress(b"{") + gzip.compress(b"}")),
    "an empty member": encoded(b"gzip", PACKED + gzip.compress(b"")),
    "junk after a member": encoded(b"gzip", PACKED + b"xx", None),
    "gzip that is cut off": encoded(b"gzip", PACKED[:-3], None),
    "no gzip": encoded(b"gzip", b"{}", None),
    "gzip of nothing": encoded(b"gzip", b"", b""),
    "deflate": encoded(b"deflate", zlib.compress(b"{}")),
    "deflate without a header": encoded(b"deflate", zlib.compress(b"{}")[2:-4]),
    "an encoding that nobody knows": encoded(b"br", b"{}"),
    "an empty encoding": encoded(b"", b"{}"),
    "gzip in chunks": Odd(
        OK
        + b"Content-Encoding: gzip\r\n"
        + CHUNKED
        + b"\r\n%x\r\n" % len(PACKED)
        + PACKED
        + b"\r\n0\r\n\r\n"
    ),
}
"""Bodies that nobody asked to be encoded."""
