"""Bytes that nobody asked for: not one may be read as the beginning of the next response.

A POST whose response is another's, or junk, has an unknown outcome at best; at worst it is reported
refused, and sent again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.abc
import attrs
import churn
import pytest
from sockets import PATIENT, POST

from chat2pay_async._transport import httpcore as connections
from chat2pay_async._transport.base import SendGuard
from chat2pay_async._transport.factory import transport_for
from chat2pay_async._transport.fast import FastTransport
from chat2pay_async._transport.pool import Pool

pytestmark = pytest.mark.anyio

CERTIFICATES = churn.Certificates.issue()
HEAD = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n"
PIECES = (
    b"\r\n",
    b"\n",
    b"H",
    b"HTTP/1.1 42",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    HEAD % 5 + b"stale",
    HEAD % 9,
)
ONE_READ = 64 * 1024
"""Bytes that httpcore, and anyio's TLS, take at a time of what anyio took from the socket."""
SIZES = {"with it": 1, "far behind it": ONE_READ - len(HEAD % ONE_READ), "while idle": 1}
WAYS = ("plain", "TLS", "forwarded", "tunnelled", "SOCKS")


@attrs.define
class Server:
    """Answers each request with its number, and says something that nobody asked for, once."""

    piece: bytes
    size: int
    at_once: bool
    connections: int = 0
    requests: int = 0
    may_speak: anyio.Event = attrs.field(factory=anyio.Event)

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        self.connections += 1
        while True:
            _, held = await churn.read_head(stream)
            while len(held) < len(POST.body or b""):
                held += await stream.receive()
            self.requests += 1
            unasked = self.piece if self.requests == 1 else b""
            await stream.send(self.answer(self.requests) + unasked * self.at_once)
            if unasked and not self.at_once:
                await self.may_speak.wait()
                await stream.send(unasked)

    def answer(self, number: int) -> bytes:
        return HEAD % self.size + b"%d" % number * self.size


async def socks(stream: anyio.abc.ByteStream) -> None:
    """A SOCKS proxy to ports of this machine."""
    await stream.receive()
    await stream.send(b"\x05\x00")
    asked = await stream.receive()
    await stream.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
    port = int.from_bytes(asked[-2:], "big")
    async with (
        await anyio.connect_tcp("127.0.0.1", port) as there,
        anyio.create_task_group() as tasks,
    ):

        async def carry(source: anyio.abc.ByteStream, target: anyio.abc.ByteStream) -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await target.send(await source.receive())
            tasks.cancel_scope.cancel()

        tasks.start_soon(carry, stream, there)
        await carry(there, stream)


@contextlib.asynccontextmanager
async def served(way: str, serve: churn.Serve) -> AsyncIterator[tuple[str, str | None]]:
    tls = CERTIFICATES.server if way in {"TLS", "tunnelled"} else None
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(churn.listening(serve, tls))
        url, proxy = f"{'http' if tls is None else 'https'}://localhost:{port}", None
        if way == "forwarded":
            url, proxy = "http://origin.test", f"http://127.0.0.1:{port}"
        elif way in {"tunnelled", "SOCKS"}:
            between = churn.tunnel if way == "tunnelled" else socks
            port = await stack.enter_async_context(churn.listening(between))
            proxy = f"{'http' if way == 'tunnelled' else 'socks5'}://127.0.0.1:{port}"
        yield url, proxy


@contextlib.asynccontextmanager
async def transport_to(
    url: str, kind: str, proxy: str | None = None
) -> AsyncIterator[tuple[Callable[[], Any], Pool]]:
    """Yield what posts once, and the pool of connections under it."""
    transport: Any = transport_for(url, transport="fast" if kind == "fast" else None, proxy=proxy)
    pool = (
        transport._pool
        if isinstance(transport, FastTransport)
        else transport._client._transport._pool.pool
    )
    pool._ssl_context = CERTIFICATES.client

    async def post() -> bytes:
        with anyio.fail_after(30):
            return bytes((await transport.exchange(POST, {}, PATIENT, SendGuard())).body)

    try:
        yield post, pool
    finally:
        await transport.aclose()


async def noticed(pool: Pool) -> None:
    """Wait until every connection knows that it is of no more use."""
    with anyio.fail_after(30):
        for connection in pool._open:
            while not await connection.is_over():  # noqa: ASYNC110 - no event tells of it
                await anyio.sleep(0.001)


@pytest.mark.parametrize("kind", ["default", "fast"])
@pytest.mark.parametrize("when", SIZES)
@pytest.mark.parametrize("way", WAYS)
async def test_a_byte_since_the_end_of_a_response_closes_its_connection(
    way: str, when: str, kind: str
) -> None:
    for piece in PIECES:
        server = Server(piece, SIZES[when], at_once=when != "while idle")
        async with (
            served(way, server.serve) as (url, proxy),
            transport_to(url, kind, proxy) as (post, pool),
        ):
            bodies = [await post()]
            server.may_speak.set()
            await noticed(pool)  # what stands between may be slow to deliver it
            bodies.append(await post())
        assert bodies == [b"1" * server.size, b"2" * server.size], piece
        assert server.connections == 2, piece


async def test_half_a_record_that_anyio_holds_closes_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other half is where no look at the socket, nor at what TLS has decrypted, finds it."""
    server = Server(HEAD % 9_000 + b"s" * 9_000, 60_000, at_once=True)
    sent = anyio.Event()

    async def serve(stream: anyio.abc.ByteStream) -> None:
        class Apart(anyio.abc.ByteStream):
            """Sends what was not asked for in records of its own."""

            async def send(self, item: bytes) -> None:
                size = len(server.answer(1))
                await stream.send(item[:size])
                if item[size:]:
                    await stream.send(item[size:])
                sent.set()

            async def receive(self, max_bytes: int = ONE_READ) -> bytes:
                return await stream.receive(max_bytes)

            async def send_eof(self) -> None: ...

            async def aclose(self) -> None: ...

        await server.serve(Apart())

    write = connections._Stream.write

    async def write_and_wait(stream: Any, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        await write(stream, buffer, timeout)
        if buffer == POST.body:
            await sent.wait()

    monkeypatch.setattr(connections._Stream, "write", write_and_wait)
    async with served("TLS", serve) as (url, _), transport_to(url, "fast") as (post, pool):
        pool._by_httpcore = True
        assert [await post(), await post()] == [b"1" * server.size, b"2" * server.size]
    assert server.connections == 2
