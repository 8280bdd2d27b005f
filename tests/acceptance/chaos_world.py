"""Virtual time, and the sandbox as clients come to it in there: in process, or over sockets.

Over sockets it is served on loopback by the loop that the clients run on, as `serve_sandbox` serves
it, and time jumps by `virtual_time.py`'s rule. Were a response on its way all the same, there would
be one lost response more, and nothing to judge differently.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest import mock

import anyio
import attrs
import httpx
import trio.testing
from virtual_time import VirtualLoop

from chat2pay_async._send import limited_transport
from chat2pay_async._transport.fast import FastTransport
from chat2pay_async.sandbox import Sandbox
from chat2pay_async.sandbox._server import server as _server

CONCURRENCY = 400
ENGINES = ("httpx", "fast", "default")
KEEP_ALIVE = 5
STEPS, STEP = 0.01, 86_400
"""Chance that a client's clock is set to another time when it is asked, and by how many seconds."""
BASE = datetime(2026, 1, 1, tzinfo=UTC)


# Virtual time ------------------------------------------------------------------------------------


def virtually(loop: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Run on a loop, asyncio or trio, whose time jumps instead of passing."""
    if loop == "trio":
        clock = trio.testing.MockClock(autojump_threshold=0)
        return anyio.run(work, backend="trio", backend_options={"clock": clock})
    return anyio.run(work, backend_options={"loop_factory": VirtualLoop})


class VirtualClock:
    """The wall clock of a virtual loop; the client's and the sandbox's alike."""

    def __init__(self) -> None:
        self._zero = anyio.current_time()
        self._ahead = timedelta()
        self.steps = 0
        """Number of times that the clients' clock was set to another time."""

    def __call__(self) -> datetime:
        """The time, in UTC."""
        return BASE + timedelta(seconds=anyio.current_time() - self._zero)

    @contextmanager
    def for_clients(self, chance: random.Random | None = None) -> Iterator[None]:
        """Let every client tell its time by this clock; by chance, it is set to another time."""

        def wall_clock() -> datetime:
            if chance is not None and chance.random() < STEPS:
                self.steps += 1
                self._ahead = timedelta(seconds=chance.uniform(-STEP, STEP))
            return self() + self._ahead

        with mock.patch.object(limited_transport, "wall_clock", wall_clock):
            yield


async def spread(work: Sequence[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]]) -> None:
    """Do it all, `CONCURRENCY` at a time."""
    queue = iter(work)

    async def worker() -> None:
        for do, args in queue:
            await do(*args)

    async with anyio.create_task_group() as tasks:
        for _ in range(CONCURRENCY):
            tasks.start_soon(worker)


# The ways in -------------------------------------------------------------------------------------


@attrs.define
class Access:
    """The way of clients to a sandbox, and the number of requests to it that may meet a fault."""

    engine: str
    """One of `ENGINES`: httpx in process, or one of the client's own two over sockets."""
    sandbox: Sandbox
    base_url: str = "http://localhost"
    requests: int = 0
    connections: int = 0
    """Accepted; none where there are no sockets."""
    by_fast: int = 0
    """Exchanges that the fast transport carried out."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """The sandbox's application, and a counter in front of it."""
        self.requests += self.sandbox.faults is not None
        await self.sandbox.app(scope, receive, send)

    @property
    def transport(self) -> Any:
        """The value that a client needs as its `transport`."""
        if self.engine == "httpx":
            return PatientTransport(self.app)
        return "fast" if self.engine == "fast" else None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Let clients in, for as long as the block lasts."""
        if self.engine == "httpx":
            yield
        elif self.engine == "default":
            async with self._served():
                yield
        else:
            with mock.patch.object(FastTransport, "exchange", self._counting()):
                async with self._served():
                    yield

    def _counting(self) -> Callable[..., Awaitable[Any]]:
        exchange = FastTransport.exchange

        async def counted(*arguments: Any) -> Any:
            self.by_fast += 1
            return await exchange(*arguments)

        return counted

    @asynccontextmanager
    async def _served(self) -> AsyncIterator[None]:
        server = _server.make_server(self.sandbox.app, KEEP_ALIVE)
        config = server.config
        config.app, config.interface = self.app, "asgi3"
        config.load()
        protocol = config.http_protocol_class

        def accepted(**options: Any) -> Any:
            self.connections += 1
            return protocol(**options)

        config.http_protocol_class = cast("type[asyncio.Protocol]", accepted)
        server.lifespan = config.lifespan_class(config)
        # Not `serve`: it looks ten times a second whether it has to stop, and keeps the signals.
        with _listener() as listener:
            self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            await server.startup([listener])
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await server.shutdown([listener])


def _listener() -> socket.socket:
    # Only where the protocol is named does asyncio send each piece at once. The second piece of an
    # response would else wait 40 ms for the first to be acknowledged; virtual time waits for less.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


class PatientTransport(httpx.AsyncBaseTransport):
    """`httpx.ASGITransport`, with the read timeout that it ignores."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app=app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in time, or not at all."""
        with anyio.move_on_after(request.extensions["timeout"]["read"]):
            return await self._inner.handle_async_request(request)
        raise httpx.ReadTimeout("", request=request)
