"""One connection: its socket is closed whatever happens, and its first byte is noticed.

httpcore opens the socket, wraps it in TLS and writes to it through what is here. Whatever ends
before the first byte of a request was written has not been sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import anyio
import anyio.lowlevel
import httpcore

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import check_reach
from chat2pay_async._transport.base import (
    HAPPY_EYEBALLS_DELAY,
    RESET_ON_CLOSE,
    AddressInfo,
    Limits,
    Names,
    Outgoing,
    SendGuard,
    in_turns,
    reset_on_close,
)
from chat2pay_async._transport.decoding import LONGEST_FRAMING, LONGEST_RESPONSE
from chat2pay_async._transport.response_reader import (
    Frames,
    Received,
    refuse_by_head,
    refuse_framing,
)

__all__ = ["CLOSE_LIMIT", "HttpcoreConnection", "extensions_of", "is_mocked"]

CLOSE_LIMIT: Final = 1.0
"""Seconds that closing may take. A socket is closed at once; this is for what it can't foresee."""

STEPS_OF_A_READ: Final = 6
"""Passes of the event loop in which a read returns what was taken in before.

One begins it; each piece that anyio keeps, 64 KiB or the end of what came, takes one more, and a
record of TLS is in two pieces at most. A timeout of 0 would end it before the first one.
"""

_USUAL_PORTS: Final = {b"http": 80, b"https": 443}
_FIRST_PRINTABLE: Final = 0x21


def is_mocked() -> bool:
    """Find out whether something is to see what httpcore sends; most mocks patch it there."""
    return _sending() != _UNPATCHED


def _sending() -> tuple[object, ...]:
    return (
        httpcore.AsyncHTTPConnection.handle_async_request,
        httpcore.AsyncConnectionPool.handle_async_request,
    )


_UNPATCHED: Final = _sending()


class HttpcoreConnection(httpcore.AsyncNetworkBackend):
    """A connection of httpcore's, and the network that it works on: one socket, opened once.

    Attributes:
        opened: Whether a connection was ever tried; a mock of httpcore's classes tries none.
        written: Whether a byte of the present request was, perhaps, written.
        idle_since: When its last request ended, on the event loop's clock.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    """asyncio's, where it was connected on it."""
    _raw: Any = None
    """The socket itself."""
    _closing: asyncio.Task[None] | None = None
    _guard: SendGuard | None = None
    _connected_by: float | None = None
    """The time by which the first request must have left; what comes before it is connecting."""

    def __init__(  # noqa: PLR0913 - what a connection is made of, most of it by name
        self,
        network: httpcore.AsyncNetworkBackend,
        origin: httpcore.Origin,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: httpcore.Proxy | None = None,
        http2: bool = False,
        names: Names | None = None,
    ) -> None:
        """Make a connection; nothing is connected yet.

        Args:
            network: What really connects.
            origin: Where it leads.
            ssl_context: For TLS with the origin.
            proxy: What it goes through.
            http2: Whether HTTP/2 is offered.
            names: The addresses of the host that it connects to. Default: the network finds them.
        """
        self.opened = self.written = False
        self.idle_since = 0.0
        self._network = network
        self._names = names
        through = b"" if proxy is None else proxy.url.scheme
        # A request is wrapped in so many layers of TLS. What is written with fewer is handshakes
        # of TLS, and a proxy's CONNECT.
        self._layer = (origin.scheme == b"https") + (through == b"https")
        # A SOCKS handshake comes first, perhaps on the request's own layer.
        self._socks = through.startswith(b"socks")
        self._origin = origin
        self._received = 0
        """Bytes of the present response."""
        self._read_limit = math.inf
        self._read_by = math.inf
        """The time by which the present response must be complete."""
        self._last_byte: float | None = None
        """The time at which the last byte of the present request was written."""
        self._socket: httpcore.AsyncNetworkStream | None = None
        self._top: httpcore.AsyncNetworkStream | None = None
        """The topmost layer of TLS, if there is one."""
        self._frames = Frames() if http2 and origin.scheme == b"https" else None
        """Watches what comes in; None where that is not HTTP/2."""
        self._closed = False
        self._has_spoken = False
        """True once something came that nobody had asked for; it was read, and is gone."""
        self._http: httpcore.AsyncHTTPConnection | httpcore.AsyncConnectionPool
        if proxy is None:
            self._http = httpcore.AsyncHTTPConnection(
                origin, ssl_context=ssl_context, http2=http2, network_backend=self
            )
        else:
            # Its connections through proxies are not public; a pool of one is.
            self._http = httpcore.AsyncConnectionPool(
                ssl_context=ssl_context,
                proxy=proxy,
                max_connections=1,
                http2=http2,
                network_backend=self,
            )

    async def exchange(self, request: Outgoing, limits: Limits, guard: SendGuard) -> Received:
        """Send a request and read the whole response.

        Raises:
            httpcore.ConnectError: It certainly was not sent, as with the next two.
            httpcore.ConnectTimeout: There was no connection in time.
            httpcore.ProxyError: The proxy refused.
            ExchangeError: The guard kept it back, or the response is too long.
        """
        if clock.now() > guard.latest:
            guard()  # before httpcore begins with it, and so a kept connection stays as it is
        self.written = False
        self._received, self._read_by, self._last_byte = 0, math.inf, None
        self._guard = guard
        self._read_limit = limits.read
        if self._frames is not None:
            self._frames.requests += 1
        try:
            response = await self._http.handle_async_request(self._built(request, limits))
            if self.opened:
                refuse_by_head(request.method, response.status, response.headers)
            body = await response.aread()
            await response.aclose()
            refuse_framing(self._received - len(body))
        except BaseException as error:
            # A mock opens no connection, and may raise whatever it is told to.
            not_sent = not self.written and (self.opened or not is_mocked())
            guard.may_have_been_sent = True
            if not_sent or guard.was_too_late:
                guard.begin()
            if not_sent and isinstance(error, Exception) and not guard.was_too_late:
                raise _before_the_first_byte(error) from error
            if isinstance(error, httpcore.ConnectionNotAvailable):
                # An HTTP/2 server that shuts down says that it will not look at this request. Its
                # word is not taken for it: something in between may have said so.
                raise httpcore.RemoteProtocolError(str(error)) from error
            raise
        finally:
            guard.last_byte = self._last_byte
        guard.may_have_been_sent = True
        version = extensions_of(response).get("http_version", b"HTTP/1.1")
        return Received(response.status, list(response.headers), body, False, version)  # noqa: FBT003 - not its last

    def _built(self, request: Outgoing, limits: Limits) -> httpcore.Request:
        scheme, port = self._origin.scheme, self._origin.port
        return httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=scheme,
                host=self._origin.host,
                port=None if _USUAL_PORTS.get(scheme) == port else port,  # a proxy is told it
                target=request.target,
            ),
            headers=list(request.fields),
            content=_Body(request.body),
            extensions={
                "timeout": {
                    name: None if seconds == math.inf else seconds
                    for name, seconds in limits._asdict().items()
                }
            },
        )

    @property
    def is_reusable(self) -> bool:
        """True where it is ready for another request; one that a mock answered never is."""
        held = self._http
        if self._frames is not None and self._frames.are_ending:
            return False
        if isinstance(held, httpcore.AsyncConnectionPool):
            return any(_is_ready(one) for one in held.connections)
        return _is_ready(held)

    @property
    def is_stale(self) -> bool:
        """True where the other side has closed it: an idle socket has nothing else to read."""
        return self._socket is None or bool(self._socket.get_extra_info("is_readable"))

    async def is_over(self) -> bool:
        """Find out whether the other side has closed it, or said what nobody asked for.

        A layer of TLS, and anyio on asyncio, may have taken in more than was read from them.
        """
        stream = self._top or self._socket
        if not self.opened or stream is None or self.is_stale or self._has_spoken:
            return self.opened

        async def listen() -> None:
            with contextlib.suppress(Exception):  # whatever is wrong with it, it is of no more use
                await stream.read(1)
            self._has_spoken = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            for _ in range(STEPS_OF_A_READ):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        return self._has_spoken

    def abandon(self) -> None:
        """Close the idle socket, from any thread; a closed loop of asyncio's does so by itself."""
        held, loop = self._socket, self._loop
        if held is None:
            return
        if loop is None:
            self._closed, self._socket = True, None
            reset_on_close(self._raw, reset=False)
            self._raw.close()
            return

        def close() -> None:
            self._closing = loop.create_task(self.close(in_good_order=True))

        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(close)

    async def close(self, *, in_good_order: bool = False) -> None:
        """Close the socket, also in a task that has been cancelled.

        No TLS layer takes part: its close_notify could wait for ever for a peer that does not read.

        Args:
            in_good_order: It is idle: nothing on it has to be kept from being delivered.
        """
        self._closed = True
        closing, self._socket = self._socket, None
        if closing is not None:
            if in_good_order:
                reset_on_close(closing.get_extra_info("socket"), reset=False)
            with (
                anyio.move_on_after(CLOSE_LIMIT, shield=True),
                contextlib.suppress(Exception),
            ):
                await closing.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open the socket."""
        if self.opened:
            # httpcore's pool connects again, and sends again, when HTTP/2 is being shut down.
            raise httpcore.RemoteProtocolError("the connection has ended")
        self.opened = True
        check_reach(self._origin.host.decode("ascii"))
        self._connected_by = None if timeout is None else clock.now() + timeout
        loop = clock.current_loop()
        self._loop = loop if isinstance(loop, asyncio.AbstractEventLoop) else None
        options = [*(socket_options or ()), (socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)]
        if self._names is None:
            self._socket = await self._network.connect_tcp(
                host, port, timeout, local_address, options
            )
        else:
            self._socket = await self._connect_by_name(self._names, options)
        self._raw = self._socket.get_extra_info("socket")
        if self._closed:
            await self.close()
            raise httpcore.ConnectError("closed while it was being connected")
        return _Stream(self, self._socket, 0)

    async def _connect_by_name(
        self, names: Names, options: list[httpcore.SOCKET_OPTION]
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of a host's addresses that answers (RFC 8305)."""
        failures: list[Exception] = []

        async def connect(address: AddressInfo, ended: anyio.Event) -> None:
            host, port = address[4][:2]
            try:
                made = await self._network.connect_tcp(host, port, self.limit(None), None, options)
            except Exception as error:  # noqa: BLE001 - one of them is raised if none connects
                failures.append(error)
                ended.set()
                return
            if self._socket is None:
                self._socket = made
                tasks.cancel_scope.cancel()
            else:  # another one did at the same moment
                with anyio.move_on_after(CLOSE_LIMIT, shield=True):
                    await made.aclose()

        with anyio.fail_after(self.limit(None)):
            found = await names.addresses()
        async with anyio.create_task_group() as tasks:
            for address in in_turns(found):
                tasks.start_soon(connect, address, ended := anyio.Event())
                with anyio.move_on_after(HAPPY_EYEBALLS_DELAY):
                    await ended.wait()
        if self._socket is None:
            names.forget()
            raise failures[0]
        return self._socket

    def note(self, layer: int, data: bytes) -> None:
        """Note that `data` is about to be written in so many layers of TLS."""
        if self.written or layer != self._layer:
            return
        if self._socks and data[0] < _FIRST_PRINTABLE:
            return  # SOCKS messages begin with a version number, requests with a method's letter
        check_reach(self._origin.host.decode("ascii"))  # it may be kept from when all were reached
        self.written = True
        self._connected_by = None
        if self._guard is not None:
            self._guard()

    def note_written(self) -> None:
        """Note that the present request, or a part of it, was written: its response has so long."""
        if self.written and not self._received:
            self._last_byte = clock.now()
            self._read_by = self._last_byte + self._read_limit

    def take_in(self, layer: int, data: bytes) -> bytes:
        """Note what came in of the response, and return what httpcore is to see of it."""
        if not self.written or layer != self._layer:
            return data
        self._received += len(data)
        if self._received > LONGEST_RESPONSE + LONGEST_FRAMING:
            raise httpcore.RemoteProtocolError("the response is too long")
        return data if self._frames is None else self._frames.pass_on(data)

    def put_on_top(self, layer: httpcore.AsyncNetworkStream, number: int) -> None:
        """Note that a layer of TLS was put upon it, with so many of them below and with it."""
        self._top = layer
        if number == self._layer:
            is_http2 = layer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            if is_http2 and self._frames is None:  # another client set the context's protocols
                raise httpcore.ConnectError("the server speaks HTTP/2, which was not asked for")
            self._frames = self._frames if is_http2 else None

    def limit(self, timeout: float | None) -> float | None:
        """Limit how long a read, a write or a handshake may take.

        httpcore gives each of them the whole time to connect, or to read, and none at all to the
        handshake of SOCKS.
        """
        ends = self._read_by if self._connected_by is None else self._connected_by
        if ends == math.inf:
            return timeout
        left = max(0.0, ends - clock.now())
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.AsyncNetworkStream):
    """The socket itself, or a layer of TLS upon it, as httpcore reads from it and writes to it."""

    def __init__(
        self, connection: HttpcoreConnection, stream: httpcore.AsyncNetworkStream, layer: int
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._layer = layer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        while True:
            limit = self._connection.limit(timeout)
            if limit == 0.0:  # a peer that never stops would be read from without end
                raise httpcore.ReadTimeout
            data = await self._stream.read(max_bytes, limit)
            seen = self._connection.take_in(self._layer, data)
            if seen or not data:  # nothing at all would be the end
                return seen

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if buffer:
            self._connection.note(self._layer, buffer)
            await self._stream.write(buffer, self._connection.limit(timeout))
            self._connection.note_written()

    async def aclose(self) -> None:
        await self._connection.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        try:
            timeout = self._connection.limit(timeout)
            inner = await self._stream.start_tls(ssl_context, server_hostname, timeout)
            self._connection.put_on_top(inner, self._layer + 1)
        except BaseException:
            # httpcore does this for exceptions, but not for a cancellation.
            await self._connection.close()
            raise
        return _Stream(self._connection, inner, self._layer + 1)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Body:
    """A request's body, without a generator: trio complains of those that were not ended."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._given = False

    def __aiter__(self) -> _Body:
        return _Body(self._body)

    async def __anext__(self) -> bytes:
        if self._given:
            raise StopAsyncIteration
        self._given = True
        return self._body


def extensions_of(message: Any) -> MutableMapping[str, Any]:
    """Return a request's or a response's extensions, which httpcore leaves without a type."""
    extensions: MutableMapping[str, Any] = message.extensions
    return extensions


def _before_the_first_byte(error: Exception) -> Exception:
    """Say of an exception of any kind that nothing was sent."""
    if isinstance(error, httpcore.ProxyError):
        return httpcore.ProxyError(str(error))
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return httpcore.ConnectTimeout(str(error))
    return httpcore.ConnectError(str(error))


def _is_ready(connection: httpcore.AsyncConnectionInterface) -> bool:
    """Find out whether it waits for a request, and took in its last response and nothing else."""
    if not (connection.is_idle() and connection.is_available()):
        return False
    # What came in beside the response would be taken for the next one. What a parser holds is
    # known to none but itself, in a connection that may be within others; HTTP/2 tells responses
    # apart.
    inner: object = connection
    while (deeper := getattr(inner, "_connection", None)) is not None:
        inner = deeper
    parser = getattr(inner, "_h11_state", None)
    return parser is None or parser.trailing_data == (b"", False)
