"""The fast transport, over connections in memory to what a test gives as its transport.

A connection of our own writes a request's bytes and reads a response's; what stands at the other
end is asked once the request has been read. Both ends are called directly, so that no time passes
in between, and `wait_all_tasks_blocked` sees all there is to see.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpcore
from scripted import ScriptedTransport

from chat2pay_async._config import HeaderFields, Timeout
from chat2pay_async._transport.base import (
    ExchangeError,
    Limits,
    SendGuard,
    Transport,
    WireResponse,
)
from chat2pay_async._transport.fast import FastTransport
from chat2pay_async._transport.http1 import Http1Connection
from chat2pay_async.errors import Proof, SentRequest

__all__ = ["BridgedTransport"]

# Written anew for the bytes that are sent; the body has been decoded.
FRAMING = {"connection", "content-encoding", "content-length", "transfer-encoding"}


class FarGuard(SendGuard, kw_only=True):
    """A guard for the far end, which may take longer than the connection to send a request."""

    guard: SendGuard

    def __call__(self) -> None:
        """Ask the guard itself."""
        self.guard()


@attrs.define(eq=False)
class Exchange:
    """One exchange, as both ends of a connection have to know it."""

    request: SentRequest
    limits: Timeout
    guard: FarGuard
    ended: BaseException | None = None
    """The exception of the far end that no socket can carry."""


_exchange: ContextVar[Exchange] = ContextVar("exchange")


class BridgedTransport(FastTransport):
    """The transport under test, to a far end of the test's own."""

    def __init__(self, far: Transport, base_url: str) -> None:
        super().__init__(base_url, proxy=None)
        self._far = far
        self._prefix = urlsplit(base_url).path.rstrip("/")
        self._pool._connect = self._connected
        pool: Any = self._pool
        pool._ready, self._take = self._ready, pool._ready

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Exchange, and let out what the far end raised past the connection."""
        far_guard = FarGuard(guard=guard)
        exchange = Exchange(request, limits, far_guard)
        _exchange.set(exchange)
        try:
            return await super().exchange(request, headers, limits, guard)
        except ExchangeError:
            if exchange.ended is not None:
                raise exchange.ended from exchange.ended.__cause__
            raise
        finally:
            guard.last_byte = far_guard.last_byte or guard.last_byte

    async def _ready(self, limits: Limits, held: Any) -> Any:
        """Take a connection, unless the far end is about to refuse."""
        exchange = _exchange.get()
        if refuses(self._far, exchange.request):
            with as_refusal(exchange.guard.guard):
                await self._far.exchange(exchange.request, {}, exchange.limits, exchange.guard)
        taken: Any = await self._take(limits, held)
        taken._transport.exchange = exchange
        return taken

    async def _connected(
        self, _host: str, _port: int, _tls: ssl.SSLContext | None, _limit: float
    ) -> Http1Connection:
        connection = Http1Connection(asyncio.get_running_loop(), _QUIET)
        connection.connection_made(Pipe(connection, self._far, self._prefix))
        return connection

    async def aclose(self) -> None:
        """Close both ends."""
        await super().aclose()
        await self._far.aclose()

    def abandon(self) -> None:
        """Let go of what a test left open, whose event loop is gone."""
        self._pool._idle.clear()
        self._pool._open.clear()


def refuses(far: Transport, request: SentRequest) -> bool:
    """Tell whether a script says that this request will not be sent."""
    if not isinstance(far, ScriptedTransport):
        return False
    acts = far.look_ups if far.look_ups and request.method == "GET" else far.script
    act = acts[0] if acts else None
    return isinstance(act, ExchangeError) and act.proof is Proof.NOT_SENT


@contextmanager
def as_refusal(guard: SendGuard) -> Iterator[None]:
    """Turn what a transport raised into what is raised while a connection is made."""
    try:
        yield
    except ExchangeError as error:
        guard.may_have_been_sent = False
        if error.timed_out:
            raise httpcore.ConnectTimeout("nobody answers") from error
        raise httpcore.ConnectError("refused") from error


# Nothing ever comes out of it: a connection looks there for what a server says unasked.
_QUIET, _OTHER_END = socket.socketpair()


class Pipe(asyncio.Transport):
    """A connection: the end that is written to, and the far end, which answers."""

    def __init__(self, connection: Http1Connection, far: Transport, prefix: str) -> None:
        super().__init__()
        self.exchange: Exchange | None = None
        self._connection = connection
        self._far = far
        self._prefix = prefix
        self._closing = False
        self._answering: asyncio.Task[None] | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Take a request, which comes as a whole, and have it answered."""
        head, found, body = bytes(data).partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = dict(field_of(field) for field in fields)
        assert found
        assert len(body) == int(headers.pop("Content-Length", "0"))
        method, target, _version = line.split(" ")
        request = SentRequest(method, target.removeprefix(self._prefix), body or None)
        self._answering = asyncio.get_running_loop().create_task(self._answer(request, headers))

    async def _answer(self, request: SentRequest, headers: Mapping[str, str]) -> None:
        exchange = self.exchange
        assert exchange is not None
        try:
            assert request == exchange.request
            answer = await self._far.exchange(request, headers, exchange.limits, exchange.guard)
        except ExchangeError as error:
            if error.proof is Proof.NOT_SENT:
                exchange.ended = error
            self._break(silent=error.timed_out)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised again where it belongs
            exchange.ended = error
            self._break(silent=False)
        else:
            if not self._closing:
                self._connection.data_received(written(answer))

    def _break(self, *, silent: bool) -> None:
        """Be reset; or say nothing, for as long as the connection waits, but without waiting."""
        if self._closing:
            return
        if silent:
            self._connection._fail(httpcore.ReadTimeout)
        else:
            self._closing = True
            self._connection.connection_lost(ConnectionResetError(errno.ECONNRESET, "reset"))

    def abort(self) -> None:
        """Hang up; whoever is answering stops."""
        if self._closing:
            return
        self._closing = True
        if self._answering is not None:
            self._answering.cancel()
        asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    def is_closing(self) -> bool:
        """True once it is over."""
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Go on: nothing is ever held back."""


def field_of(line: str) -> tuple[str, str]:
    """A header out of its line."""
    name, _, value = line.partition(":")
    return name, value.strip()


def written(answer: WireResponse) -> bytes:
    """An answer in HTTP/1.1."""
    fields = {name: text for name, text in answer.headers.items() if name.lower() not in FRAMING}
    fields["content-length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status_code} OK", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
