"""The aiohttp transport, over connections in memory to what a test gives as its transport.

aiohttp writes a request's bytes and reads an answer's; what stands at the other end is asked once
the request has been read. Both ends are called directly, so that no time passes in between, and
`wait_all_tasks_blocked` sees all there is to see.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import attrs
import httpx
from chat2pay_async._transport.aiohttp import AiohttpTransport
from scripted import ScriptedTransport

from chat2pay_async._config import HeaderFields, Timeout
from chat2pay_async._transport.base import ExchangeError, SendGuard, Transport, WireResponse
from chat2pay_async.errors import Proof, SentRequest

__all__ = ["BridgedTransport"]

# Written anew for the bytes that are sent; the body has been decoded.
FRAMING = {"connection", "content-encoding", "content-length", "transfer-encoding"}


@attrs.define(eq=False)
class Exchange:
    """One exchange, as both ends of a connection have to know it."""

    request: SentRequest
    limits: Timeout
    guard: SendGuard
    ended: BaseException | None = None
    """What the far end raised that no socket can carry."""


_exchange: ContextVar[Exchange] = ContextVar("exchange")


class BridgedTransport(AiohttpTransport):
    """The transport under test, to a far end of the test's own."""

    def __init__(self, far: Transport, base_url: str) -> None:
        super().__init__(base_url, proxy=None)
        self._far = far

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Exchange, and let out what the far end raised past the connection."""
        exchange = Exchange(request, limits, guard)
        _exchange.set(exchange)
        try:
            return await super().exchange(request, headers, limits, guard)
        except ExchangeError:
            if exchange.ended is not None:
                raise exchange.ended from exchange.ended.__cause__
            raise

    def _open(self) -> Any:
        self._connector = Connector(self._far, urlsplit(self._base_url).path.rstrip("/"))
        return super()._open()

    async def aclose(self) -> None:
        """Close both ends."""
        await super().aclose()
        await self._far.aclose()

    def abandon(self) -> None:
        """Let go of what a test left open, whose event loop is gone."""
        if self._route is not None:
            self._route.session.detach()
            self._connector._conns.clear()


class Connector(aiohttp.BaseConnector):
    """Connects to the far end, unless that is about to refuse."""

    def __init__(self, far: Transport, prefix: str) -> None:
        super().__init__(limit=0)
        self._far = far
        self._prefix = prefix

    async def connect(self, req: Any, *rest: Any) -> Any:
        """Connect, or use a connection that was kept."""
        exchange = _exchange.get()
        if refuses(self._far, exchange.request):
            with as_refusal(req):
                await self._far.exchange(exchange.request, {}, exchange.limits, exchange.guard)
        taken = await super().connect(req, *rest)
        assert isinstance(taken.transport, Pipe)
        taken.transport.exchange = exchange
        return taken

    async def _create_connection(self, *_rest: Any) -> Any:
        handler = self._factory()
        handler.connection_made(Pipe(handler, self._far, self._prefix))
        return handler


def refuses(far: Transport, request: SentRequest) -> bool:
    """Whether a script says that this request will not be sent."""
    if not isinstance(far, ScriptedTransport):
        return False
    acts = far.look_ups if far.look_ups and request.method == "GET" else far.script
    act = acts[0] if acts else None
    return isinstance(act, ExchangeError) and act.proof is Proof.NOT_SENT


@contextmanager
def as_refusal(req: Any) -> Iterator[None]:
    """Turn what a transport raised into what aiohttp raises while it connects."""
    try:
        yield
    except ExchangeError as error:
        if error.timed_out:
            raise aiohttp.ConnectionTimeoutError("nobody answers") from error
        refused = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        raise aiohttp.ClientConnectorError(req.connection_key, refused) from error


# Nothing ever comes out of it: the transport looks there for what a kept connection has to say.
_QUIET, _OTHER_END = socket.socketpair()


class Pipe(asyncio.Transport):
    """A connection: the end that aiohttp writes to, and the far end, which answers."""

    def __init__(self, handler: Any, far: Transport, prefix: str) -> None:
        super().__init__({"socket": _QUIET})
        self.exchange: Exchange | None = None
        self._handler = handler
        self._far = far
        self._prefix = prefix
        self._seen = b""
        self._closing = False
        self._answering: asyncio.Task[None] | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Take what aiohttp sends; a whole request is answered."""
        self._seen += bytes(data)
        head, found, body = self._seen.partition(b"\r\n\r\n")
        if not found:
            return
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = httpx.Headers([field_of(field) for field in fields])
        if len(body) < int(headers.get("content-length", "0")):
            return
        self._seen = b""
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
                self._handler.data_received(written(answer))

    def _break(self, *, silent: bool) -> None:
        """Be reset; or say nothing, for as long as aiohttp waits, but without waiting."""
        if self._closing:
            return
        if silent:
            self._handler._on_read_timeout()
        else:
            self._closing = True
            self._handler.connection_lost(ConnectionResetError(errno.ECONNRESET, "reset"))

    def close(self) -> None:
        """Hang up; whoever is answering stops."""
        if self._closing:
            return
        self._closing = True
        if self._answering is not None:
            self._answering.cancel()
        asyncio.get_running_loop().call_soon(self._handler.connection_lost, None)

    def abort(self) -> None:
        """Hang up."""
        self.close()

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._closing

    def pause_reading(self) -> None:
        """Go on: the answer has come as a whole."""

    def resume_reading(self) -> None:
        """Go on."""


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
