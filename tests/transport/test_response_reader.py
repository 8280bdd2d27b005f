"""The reading of responses, by the bytes alone: odd ones, cut ones, mutilated ones."""

# ruff: noqa: FBT001 - what hypothesis gives
from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from odd_responses import CHUNKED, CREATED, OK, PLAIN, RESPONSES, TOKENS, TWO, Odd
from readings import REFUSED, cut, read, read_by_httpcore

from chat2pay_async._transport.decoding import LONGEST_RESPONSE
from chat2pay_async._transport.response_reader import ResponseReader

LONG = 5000
SHORT_ONES = {name: odd for name, odd in RESPONSES.items() if len(odd.data) <= LONG}
each = pytest.mark.parametrize("odd", RESPONSES.values(), ids=RESPONSES)


# Reading ------------------------------------------------------------------------------------------


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


OTHERWISE = {"to CONNECT"}
"""A tunnel, for httpcore."""


@pytest.mark.parametrize("name", [name for name in SHORT_ONES if name not in OTHERWISE])
@pytest.mark.parametrize("size", [1, 5, LONG])
def test_httpcore_reads_the_same(name: str, size: int) -> None:
    odd = RESPONSES[name]
    pieces = cut(odd.data, range(0, len(odd.data), size))
    ours = read(pieces, ended=odd.ended, method=odd.method)
    assert read_by_httpcore(pieces, ended=odd.ended, method=odd.method) == ours


# Whatever comes -----------------------------------------------------------------------------------

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
    assert read_by_httpcore(pieces, ended=ended, method=method) == ours


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
