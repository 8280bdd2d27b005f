"""Readings of the same bytes: by our own reader, by a connection of httpcore's, and by aiohttp."""

# ruff: noqa: ARG002, ASYNC109 - httpcore's signatures
from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import attrs
import httpcore
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser

from chat2pay_async._transport.base import ExchangeError, Limits, Outgoing, SendGuard
from chat2pay_async._transport.httpcore import HttpcoreConnection
from chat2pay_async._transport.response_reader import Received, ResponseReader

__all__ = ["REFUSED", "WAITING", "Result", "cut", "read", "read_by_aiohttp", "read_by_httpcore"]


@attrs.frozen
class Result:
    """The result of reading some bytes."""

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


def read_by_httpcore(
    pieces: Sequence[bytes],
    *,
    ended: bool,
    method: bytes = b"POST",
    run: Callable[[Coroutine[Any, Any, Result]], Result] = asyncio.run,
) -> Result:
    """Read the same over a connection of httpcore's."""

    async def exchange() -> Result:
        stream = Stream(pieces, ended=ended)
        connection = HttpcoreConnection(Network(stream), httpcore.Origin(b"http", b"host", 80))
        request = Outgoing(method, b"/", ((b"Host", b"host"),), b"")
        try:
            received = await connection.exchange(request, Limits(), SendGuard())
        except httpcore.ReadTimeout:
            return WAITING
        except (httpcore.RemoteProtocolError, ExchangeError):
            return REFUSED
        is_last = not connection.is_reusable or bool(stream.coming)
        await connection.close()
        return result_of(received, is_last=is_last)

    return run(exchange())


LENIENT = 1 << 20
"""Limits of aiohttp's parser, which are not what is compared."""
SWITCHED = 101


def read_by_aiohttp(
    data: bytes, *, ended: bool, method: bytes, loop: asyncio.AbstractEventLoop
) -> Result:
    """Read the same with aiohttp's parser: a status and a body; it tells of no last response."""
    parser = HttpResponseParser(
        BaseProtocol(loop),
        loop,
        LENIENT,
        max_line_size=LENIENT,
        max_headers=LENIENT,
        max_field_size=LENIENT,
        response_with_body=method != b"HEAD",
        read_until_eof=True,
        auto_decompress=False,
    )
    try:
        messages, _, _ = parser.feed_data(data)
        if ended:
            parser.feed_eof()
    except HttpProcessingError:
        return REFUSED
    for message, payload in messages:
        if message.code >= 200 or message.code == SWITCHED:
            if payload.exception() is not None:
                return REFUSED
            if not payload.is_eof():
                return WAITING
            body = payload.read_nowait()
            return Result("response", message.code, body=body)
    return REFUSED if ended else WAITING
