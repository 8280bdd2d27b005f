"""Servers that answer slowly, a proxy, sockets that are counted, and calls that are cancelled.

20 tasks make calls over 10 slots, each with a time limit at random, so that calls are
cancelled while they wait, connect, shake hands, write and read. Then many calls are made, and all
should succeed. Plain, over TLS, and over TLS through a proxy's CONNECT.
"""

from __future__ import annotations

import contextlib
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Self, cast
from unittest import mock

import anyio
import anyio.abc
import attrs
import httpcore
import httpx
import trustme
from aiohappyeyeballs import start_connection
from anyio.streams.tls import TLSListener

from chat2pay_async._transport import http1
from chat2pay_async._transport.pool import PooledTransport, _Face

TASKS = 20
CONNECTIONS = 10
LEAST = 40
LONGEST_ANSWER = 0.01
# The longest time limit in each way: about half of all calls should end in time.
PATIENCE = {"plain": 0.08, "TLS": 0.1, "proxy": 0.15}

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n"
BODY = b'{"ok":true}'
WAYS = tuple(PATIENCE)

Serve = Callable[[anyio.abc.ByteStream], Awaitable[None]]


class Listener(TLSListener):
    """Says nothing of handshakes that were broken off."""

    @staticmethod
    async def handle_handshake_error(
        exc: BaseException,  # noqa: ARG004 - anyio's signature
        stream: anyio.abc.AnyByteStream,
    ) -> None:
        """Close the connection."""
        await anyio.aclose_forcefully(stream)


# A server and a proxy on loopback -----------------------------------------------------------------


@contextlib.asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections on a port that the system picks."""

    async def quietly(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, OSError):
                await serve(stream)

    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024)
    port = tcp.extra(anyio.abc.SocketAttribute.local_port)
    listener: anyio.abc.Listener[Any] = tcp
    if tls is not None:
        listener = Listener(tcp, tls, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, quietly)
        yield port
        tasks.cancel_scope.cancel()


async def read_head(stream: anyio.abc.ByteStream, held: bytes = b"") -> tuple[bytes, bytes]:
    """A request's head, and what was read after it."""
    while b"\r\n\r\n" not in held:
        held += await stream.receive()
    head, _, rest = held.partition(b"\r\n\r\n")
    return head, rest


def slow_server(chance: random.Random, longest: float) -> Serve:
    """A server that answers each request after a while, in two pieces."""

    async def serve(stream: anyio.abc.ByteStream) -> None:
        held = b""
        while True:
            head, held = await read_head(stream, held)
            length = 0
            for line in head.lower().splitlines():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            while len(held) < length:
                held += await stream.receive()
            held = held[length:]
            await anyio.sleep(chance.uniform(0, longest / 2))
            await stream.send(ANSWER)
            await anyio.sleep(chance.uniform(0, longest / 2))
            await stream.send(BODY)

    return serve


async def tunnel(stream: anyio.abc.ByteStream) -> None:
    """A proxy that knows CONNECT."""
    head, _ = await read_head(stream)
    host, _, port = head.split()[1].partition(b":")
    if not head.startswith(b"CONNECT "):
        await stream.send(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        return
    async with (
        await anyio.connect_tcp(host.decode(), int(port)) as there,
        anyio.create_task_group() as tasks,
    ):
        with contextlib.suppress(anyio.BrokenResourceError):  # its client has reset it
            await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def carry(source: anyio.abc.ByteStream, target: anyio.abc.ByteStream) -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, OSError):
                while True:
                    await target.send(await source.receive())
            tasks.cancel_scope.cancel()

        tasks.start_soon(carry, stream, there)
        await carry(there, stream)


# Counting sockets ---------------------------------------------------------------------------------


class Spy(httpcore.AsyncNetworkBackend):
    """Counts the sockets that are open of a pool: our own connections' and httpcore's.

    A context manager: sockets are counted, and the network is another one, within its block alone.
    """

    def __init__(self, transport: PooledTransport) -> None:
        """Begin with none."""
        self.most_open = 0
        self.connected = 0
        self.pool = cast("_Face", transport._pool).pool
        self._network = self.pool._network
        self._sockets: list[Any] = []
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Stand in for both ways to connect."""
        self._patches.enter_context(mock.patch.object(http1, "start_connection", self._connected))
        self._patches.enter_context(mock.patch.object(self.pool, "_network", self))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave everything as it was."""
        self._patches.close()

    @property
    def open(self) -> int:
        """The number of its sockets that are open."""
        self._sockets = [one for one in self._sockets if one.fileno() != -1]
        return len(self._sockets)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, and remember the socket."""
        stream: httpcore.AsyncNetworkStream = await self._network.connect_tcp(
            host, port, timeout, local_address, socket_options
        )
        self.count(stream.get_extra_info("socket"))
        return stream

    async def _connected(self, *arguments: Any, **named: Any) -> Any:
        connected = await start_connection(*arguments, **named)
        self.count(connected)
        return connected

    def count(self, connected: Any) -> None:
        """Remember a socket."""
        self._sockets.append(connected)
        self.connected += 1
        self.most_open = max(self.most_open, self.open)


# Churn --------------------------------------------------------------------------------------------


class Slotted(httpx.AsyncBaseTransport):
    """A transport with slots in front, as a client's has."""

    def __init__(self, transport: httpx.AsyncBaseTransport, slots: int) -> None:
        """Give it so many."""
        self._transport = transport
        self._slots = anyio.Semaphore(slots)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it when there is a slot."""
        async with self._slots:
            return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close it."""
        await self._transport.aclose()


@attrs.frozen
class Certificates:
    """An authority made up for the occasion."""

    server: ssl.SSLContext
    client: ssl.SSLContext

    @classmethod
    def issue(cls) -> Certificates:
        """Make a certificate for 127.0.0.1, and a client that trusts it."""
        authority = trustme.CA()
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return cls(server, client)


@contextlib.asynccontextmanager
async def served(way: str, certificates: Certificates, serve: Serve) -> AsyncIterator[Any]:
    """A server, reached in one of the `WAYS`: its URL, and its proxy's or None."""
    tls = None if way == "plain" else certificates.server
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(serve, tls))
        url = f"http{'' if tls is None else 's'}://127.0.0.1:{port}/"
        proxy = None
        if way == "proxy":
            proxy = f"http://127.0.0.1:{await stack.enter_async_context(listening(tunnel))}"
        yield url, proxy


async def churn(
    client: httpx.AsyncClient, url: str, *, seconds: float, patience: float, seed: int
) -> Counter[str]:
    """Make calls with time limits at random, until `LEAST` a second have ended in either way."""
    counts: Counter[str] = Counter()
    begun = anyio.current_time()

    async def caller(chance: random.Random) -> None:
        # On a busy machine patience grows with the time that it takes.
        while (share := (anyio.current_time() - begun) / seconds) < 1 or min(
            counts["answered"], counts["cancelled"]
        ) < LEAST * seconds:
            limit = chance.uniform(0, patience * max(1.0, share))
            with anyio.move_on_after(limit) as scope:
                (await client.post(url, content=b'{"a":1}')).raise_for_status()
                counts["answered"] += 1
            if scope.cancelled_caught:
                counts["cancelled"] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(TASKS):
            tasks.start_soon(caller, random.Random(seed * TASKS + number))  # noqa: S311 - a load
    return counts


async def succeed(client: httpx.AsyncClient, url: str, calls: int) -> int:
    """Make calls all at once; says how many succeeded."""
    good = 0

    async def one() -> None:
        nonlocal good
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.post(url, content=b'{"a":1}')
            good += answer.content == BODY

    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(one)
    return good
