"""The reading of responses, by the bytes alone: odd ones, cut ones, mutilated ones."""

# ruff: noqa: ARG002, ASYNC109, FBT001 - httpcore's signatures, and what hypothesis gives
from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import attrs
import httpcore
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat2pay_async._transport.base import ExchangeError, Limits, Outgoing, SendGuard
from chat2pay_async._transport.decoding import LONGEST_FRAMING, LONGEST_RESPONSE
from chat2pay_async._transport.httpcore import HttpcoreConnection
from chat2pay_async._transport.response_reader import Received, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CREATED = b"HTTP/1.1 201 Created\r\n"
TWO = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b'3\r\n{"a\r\n5\r\n": 1}\r\n0\r\n\r\n'
PLAIN = OK + b"Content-Type: application/json\r\n" + TWO + b"\r\n{}"


class Odd(NamedTuple):
    """A response that is read somehow."""

    data: bytes
    """What comes; with `ended`, the connection ends after it."""
    body: bytes | None = b"{}"
    """What is read; None where it is refused."""
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
    # Others.
    "another protocol": Odd(b"220 mail.test ESMTP\r\n\r\n", None),
    "TLS": Odd(b"\x16\x03\x01\x00\xff\xfe" * 9, None),
    "HTTP/2": Odd(b"HTTP/2 200\r\n\r\n", None),
    "a status of two digits": Odd(b"HTTP/1.1 20 OK\r\n" + TWO + b"\r\n{}", None),
    "a status below all": Odd(b"HTTP/1.1 099 OK\r\n" + TWO + b"\r\n{}", None),
    "HTTP/0.9": Odd(b"{}", None, ended=True),
}
LONG = 5000
SHORT_ONES = {name: odd for name, odd in RESPONSES.items() if len(odd.data) <= LONG}
each = pytest.mark.parametrize("odd", RESPONSES.values(), ids=RESPONSES)


# Reading ------------------------------------------------------------------------------------------


@attrs.frozen
class Result:
    """What was read of some bytes."""

    kind: str
    """A response, waiting for more, or refused."""
    status: int = 0
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    is_last: bool = False


WAITING, REFUSED = Result("waiting"), Result("refused")


def read(pieces: Iterable[bytes], *, ended: bool, method: bytes = b"POST") -> Result:
    """Read a response that comes in pieces; whatever comes after it makes it the last."""
    reader = ResponseReader(method)
    coming = [*pieces, *([b""] if ended else [])]
    while coming:
        try:
            received = reader.feed(coming.pop(0))
        except (httpcore.RemoteProtocolError, ExchangeError):
            return REFUSED
        if received is not None:
            return result_of(received, is_last=received.is_last or bool(coming))
    return WAITING


def result_of(received: Received, *, is_last: bool) -> Result:
    fields = tuple((name.lower(), value) for name, value in received.fields)
    return Result("response", received.status, fields, received.body, is_last)


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut bytes into pieces, of which none is empty."""
    places = sorted({0, len(data), *(place for place in cuts if 0 < place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@each
def test_an_odd_response_is_read_as_it_should_be(odd: Odd) -> None:
    result = read(cut(odd.data, ()), ended=odd.ended, method=odd.method)
    if odd.body is None:
        assert result == REFUSED
    else:
        assert (result.kind, result.body) == ("response", odd.body)
        assert (result.status, result.is_last) == (odd.status, odd.is_last)


def test_the_fields_come_as_they_are() -> None:
    reader = ResponseReader(b"GET")
    received = reader.feed(CREATED + b"X-Two: a\r\nx-two: b  c\r\n" + TWO + b"\r\n{}")
    assert received is not None
    assert received.fields == [(b"X-Two", b"a"), (b"x-two", b"b  c"), (b"Content-Length", b"2")]
    odd = ResponseReader(b"GET").feed(
        b"HTTP/1.1 100 \r\nX: 1\r\n\r\n" + CREATED + b"Y: 2\r\n" + TWO + b"\r\n{}"
    )
    assert odd is not None
    assert odd.fields == [(b"Y", b"2"), (b"Content-Length", b"2")]


@each
def test_a_response_is_read_the_same_wherever_it_is_cut_in_two(odd: Odd) -> None:
    whole = read(cut(odd.data, ()), ended=odd.ended, method=odd.method)
    size = len(odd.data)
    step = 1 if size <= LONG else size // 50
    for place in range(1, size, step):
        pieces = cut(odd.data, [place])
        assert read(pieces, ended=odd.ended, method=odd.method) == whole, place


@pytest.mark.parametrize("odd", SHORT_ONES.values(), ids=SHORT_ONES)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_response_is_read_the_same_in_small_pieces(odd: Odd, size: int) -> None:
    whole = read(cut(odd.data, ()), ended=odd.ended, method=odd.method)
    pieces = cut(odd.data, range(0, len(odd.data), size))
    assert read(pieces, ended=odd.ended, method=odd.method) == whole


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + CHUNKED + b"\r\na00001\r\n"])
def test_a_body_that_is_too_long_is_refused_in_whatever_pieces_it_comes(head: bytes) -> None:
    body = bytes(LONGEST_RESPONSE + 1)
    for size in (len(body), 1 << 18):
        assert read([head, *cut(body, range(0, len(body), size))], ended=True) == REFUSED


def test_a_body_of_the_greatest_length_is_read() -> None:
    body = bytes(LONGEST_RESPONSE)
    for head, rest in (
        (OK + b"Content-Length: %d\r\n\r\n" % len(body), b""),
        (OK + CHUNKED + b"\r\n%x\r\n" % len(body), b"\r\n0\r\n\r\n"),
    ):
        assert len(
            read([head, *cut(body, range(0, len(body), 1 << 18)), rest or b"x"], ended=False).body
        ) == len(body)


# The same by httpcore -----------------------------------------------------------------------------


class Stream(httpcore.AsyncNetworkStream):
    """A connection on which these pieces come, and then nothing, or the end."""

    def __init__(self, pieces: Sequence[bytes], *, ended: bool) -> None:
        self.coming = [*pieces, *([b""] if ended else [])]

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.coming:
            raise httpcore.ReadTimeout
        piece = self.coming.pop(0)
        if len(piece) > max_bytes:
            self.coming.insert(0, piece[max_bytes:])
        return piece[:max_bytes]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take it."""

    async def aclose(self) -> None:
        """Nothing is to be closed."""

    def get_extra_info(self, info: str) -> Any:
        return {"is_readable": bool(self.coming)}.get(info)


class Network(httpcore.AsyncNetworkBackend):
    """A network of one connection."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    async def connect_tcp(self, *_args: Any, **_named: Any) -> httpcore.AsyncNetworkStream:
        return self.stream


def read_by_httpcore(pieces: Sequence[bytes], *, ended: bool, method: bytes = b"POST") -> Result:
    """Read the same over a connection of httpcore's."""

    async def exchange() -> Result:
        stream = Stream(pieces, ended=ended)
        connection = HttpcoreConnection(Network(stream), httpcore.Origin(b"http", b"host", 80))
        request = Outgoing(method, b"/", ((b"Host", b"host"),), b"")
        try:
            received = await connection.exchange(request, Limits(), SendGuard())
        except httpcore.ReadTimeout:
            return WAITING
        except httpcore.RemoteProtocolError:
            return REFUSED
        is_last = not connection.is_reusable or bool(stream.coming)
        await connection.close()
        return result_of(received, is_last=is_last)

    return asyncio.run(exchange())


OTHERWISE = {"a length that is too long", "a length that is far too long", "to CONNECT"}
"""Refused by us as soon as it is said, by httpcore when it has come; or a tunnel, for httpcore."""


@pytest.mark.parametrize("name", [name for name in SHORT_ONES if name not in OTHERWISE])
@pytest.mark.parametrize("size", [1, 5, LONG])
def test_httpcore_reads_the_same(name: str, size: int) -> None:
    odd = RESPONSES[name]
    pieces = cut(odd.data, range(0, len(odd.data), size))
    ours = read(pieces, ended=odd.ended, method=odd.method)
    assert read_by_httpcore(pieces, ended=odd.ended, method=odd.method) == ours


# Whatever comes -----------------------------------------------------------------------------------

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
MUTABLE = [odd.data for odd in RESPONSES.values() if len(odd.data) <= 500]


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """A response of the table in which something was replaced, left out, inserted or repeated."""
    data = draw(st.sampled_from(MUTABLE))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        new = draw(st.sampled_from(TOKENS) | st.binary(max_size=4) | st.just(data[start:end] * 2))
        data = data[:start] + new + data[end:]
    return data


anything = mutilated() | st.binary(max_size=200) | st.binary(max_size=60).map(OK.__add__)
cuts = st.lists(st.integers(1, 400), max_size=6)
methods = st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"CONNECT"])


@given(anything, cuts, st.booleans(), methods)
@example(b"", [], True, b"GET")  # noqa: FBT003 - the connection ends
def test_whatever_comes_is_a_response_or_awaited_or_refused_in_whatever_pieces(
    data: bytes,
    places: list[int],
    ended: bool,
    method: bytes,
) -> None:
    whole = read(cut(data, ()), ended=ended, method=method)
    assert read(cut(data, places), ended=ended, method=method) == whole


@given(anything, cuts, st.booleans(), st.sampled_from([b"GET", b"POST", b"HEAD"]))
def test_whatever_comes_is_read_as_httpcore_reads_it(
    data: bytes,
    places: list[int],
    ended: bool,
    method: bytes,
) -> None:
    pieces = cut(data, places)
    ours = read(pieces, ended=ended, method=method)
    theirs = read_by_httpcore(pieces, ended=ended, method=method)
    if ours == REFUSED and b"ength" in data.lower() and theirs != REFUSED:
        assert theirs == WAITING, "it is said to be too long, and has not come yet"
    else:
        assert ours == theirs


@given(anything, st.binary(min_size=1, max_size=20) | st.just(PLAIN), methods)
def test_a_connection_is_not_used_again_where_anything_is_left_over(
    data: bytes, surplus: bytes, method: bytes
) -> None:
    if read(cut(data, ()), ended=False, method=method).kind == "response":
        assert read([data + surplus], ended=False, method=method).is_last
        assert read([data, surplus], ended=False, method=method).is_last


@given(anything, cuts, methods)
def test_a_connection_is_not_used_again_where_the_framing_contradicts_itself(
    data: bytes, places: list[int], method: bytes
) -> None:
    result = read(cut(data, places), ended=False, method=method)
    lengths = {value for name, value in result.fields if name == b"content-length"}
    encodings = [value for name, value in result.fields if name == b"transfer-encoding"]
    if result.kind == "response":
        assert result.status >= 200
        assert not (lengths and encodings)
        assert len(lengths) <= 1
        assert encodings in ([], [b"chunked"])
        is_bodiless = method in {b"HEAD", b"CONNECT"} or result.status in {204, 304}
        if not (result.is_last or encodings or is_bodiless):
            assert {b"%d" % len(result.body)} == {b"%d" % int(length) for length in lengths}
