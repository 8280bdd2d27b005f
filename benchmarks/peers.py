"""Measured peers, first part: HTTP clients, each with the JSON of `payload.py`.

A peer is a context manager that makes a client and yields a coroutine function: one call of it is
one exchange, encoded from Python values and parsed, with exact decimals both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import attrs
from payload import HEADERS, PATH, encode, order, read

LIMIT = 100
"""Connections, where a peer can be told how many."""

Call: TypeAlias = Callable[[], Awaitable[object]]


@attrs.frozen
class Target:
    """The server, and how to speak to it."""

    url: str
    """Without a path."""
    http2: bool = False

    @property
    def endpoint(self) -> str:
        """The URL at which links are made."""
        return self.url + PATH


Make: TypeAlias = Callable[[Target], AbstractAsyncContextManager[Call]]


@attrs.frozen
class Peer:
    """One line of the tables."""

    make: Make
    note: str
    http2: bool


PEERS: dict[str, Peer] = {}


def peer(
    name: str, note: str, *, http2: bool = False
) -> Callable[[Callable[[Target], AsyncIterator[Call]]], Make]:
    """Enter a peer into the list."""

    def enter(function: Callable[[Target], AsyncIterator[Call]]) -> Make:
        make = contextlib.asynccontextmanager(function)
        PEERS[name] = Peer(make, note, http2)
        return make

    return enter


def load(name: str) -> Any:
    """A package, imported only for who needs it; types are checked without it."""
    return importlib.import_module(name)


# The limit of Python ------------------------------------------------------------------------------


class Raw(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        """Begin."""
        self._held = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: Any) -> None:
        """Remember where to write."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is complete."""
        held = self._held = self._held + data
        head, blank, body = held.partition(b"\r\n\r\n")
        length = int(head.rpartition(b"Content-Length: ")[2]) if blank else len(body) + 1
        if len(body) >= length and self._answer is not None:
            self._held = b""
            self._answer.set_result((int(held[9:12]), body))

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and wait for its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


@peer("raw protocol", "asyncio.Protocol, nothing else: the limit of Python")
async def raw(target: Target) -> AsyncIterator[Call]:
    """No client at all."""
    address = urlsplit(target.url)
    tls = address.scheme == "https" or None
    head = f"POST {PATH} HTTP/1.1\r\nHost: {address.netloc}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    start = head.encode() + b"Content-Length: %d\r\n\r\n"
    idle: list[Raw] = []
    everyone: list[Raw] = []
    places = asyncio.Semaphore(LIMIT)
    loop = asyncio.get_running_loop()

    async def connect() -> Raw:
        host, port = address.hostname or "", address.port or 0
        _, made = await loop.create_connection(Raw, host, port, ssl=tls)
        everyone.append(made)
        return made

    async def call() -> object:
        body = encode(order())
        async with places:
            connection = idle.pop() if idle else await connect()
            status, answer = await connection.exchange(start % len(body) + body)
            idle.append(connection)
        return read(status, answer)

    yield call
    for one in everyone:
        one.transport.close()


# Clients ------------------------------------------------------------------------------------------


@peer("pyreqwest", "reqwest, in Rust", http2=True)
async def pyreqwest(target: Target) -> AsyncIterator[Call]:
    """Its defaults; HTTP/2 where it is asked for.

    As a transport of the SDK (0.15.1) it held in chaos, but not beside it: what it was given leaves
    even if the call is cancelled (614 of 615), bytes that come unasked on a kept connection are
    taken for the next answer (71 of 200), connections stay open, and with all that is needed to
    make up for its cancellations a call takes 1.6 times the CPU of one over aiohttp. Not shipped.
    """
    library = load("pyreqwest.client")
    async with library.ClientBuilder().http2(target.http2).build() as client:

        async def call() -> object:
            request = client.post(target.endpoint).headers(HEADERS).body_bytes(encode(order()))
            answer = await request.build().send()
            return read(answer.status, bytes(await answer.bytes()))

        yield call


@peer("aiohttp", "stock")
async def aiohttp(target: Target) -> AsyncIterator[Call]:
    """Its defaults: 100 connections."""
    async with load("aiohttp").ClientSession() as session:

        async def call() -> object:
            data = encode(order())
            async with session.post(target.endpoint, data=data, headers=HEADERS) as answer:
                return read(answer.status, await answer.read())

        yield call


@peer("niquests", "stock", http2=True)
async def niquests(target: Target) -> AsyncIterator[Call]:
    """Its defaults, less HTTP/2 and HTTP/3 where they are not asked for."""
    library = load("niquests")
    made = library.AsyncSession(disable_http2=not target.http2, disable_http3=True)
    async with made as session:

        async def call() -> object:
            answer = await session.post(target.endpoint, data=encode(order()), headers=HEADERS)
            return read(answer.status_code, answer.content)

        yield call


async def _httpx_like(client: Any, target: Target) -> AsyncIterator[Call]:
    async with client:

        async def call() -> object:
            content = encode(order())
            answer = await client.post(target.endpoint, content=content, headers=HEADERS)
            return read(answer.status_code, answer.content)

        yield call


@peer("httpx", "stock: 100 connections, 20 of them kept", http2=True)
async def httpx(target: Target) -> AsyncIterator[Call]:
    """Its defaults."""
    async for call in _httpx_like(load("httpx").AsyncClient(http2=target.http2), target):
        yield call


@peer("httpx 100/100", "100 connections, all kept", http2=True)
async def httpx_roomy(target: Target) -> AsyncIterator[Call]:
    """All of its connections kept."""
    library = load("httpx")
    limits = library.Limits(max_connections=LIMIT, max_keepalive_connections=LIMIT)
    client = library.AsyncClient(http2=target.http2, limits=limits)
    async for call in _httpx_like(client, target):
        yield call


@peer("httpx2", "stock", http2=True)
async def httpx2(target: Target) -> AsyncIterator[Call]:
    """Its defaults."""
    async for call in _httpx_like(load("httpx2").AsyncClient(http2=target.http2), target):
        yield call


@peer("httpx-aiohttp", "httpx over aiohttp's connections, stock")
async def httpx_aiohttp(target: Target) -> AsyncIterator[Call]:
    """Its defaults."""
    async for call in _httpx_like(load("httpx_aiohttp").HttpxAiohttpClient(), target):
        yield call
