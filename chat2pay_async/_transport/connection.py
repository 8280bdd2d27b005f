"""The network of one connection: its socket is closed whatever happens, its first byte noticed.

httpcore opens a connection's socket, wraps it in TLS and writes to it through what is here.
Whatever ends before the first byte of a request was written has not been sent.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

import anyio
import httpcore
import httpx

from chat2pay_async import _eventloop as clock

__all__ = ["CLOSE_LIMIT", "KINDS", "SHOWS_ALL", "Wire", "raise_as_httpx"]

CLOSE_LIMIT: Final = 1.0
"""Seconds that closing may take. A socket is closed at once; this is for what it can't foresee."""

_FIRST_PRINTABLE: Final = 0x21
SHOWS_ALL: Final = "is_readable_shows_all"
"""Asks a stream whether `is_readable` tells of what a layer of TLS has taken in, too."""


class Wire(httpcore.AsyncNetworkBackend):
    """Opens one socket, once, and knows what becomes of it.

    Attributes:
        opened: Whether a connection was ever tried; a mock of httpcore's classes tries none.
        written: Whether a byte of the present request was, perhaps, written.
    """

    def __init__(
        self, network: httpcore.AsyncNetworkBackend, *, layer: int, socks: bool = False
    ) -> None:
        """Make a wire.

        Args:
            network: What really connects.
            layer: In how many layers of TLS a request is wrapped. What is written with fewer is
                handshakes of TLS, and a proxy's CONNECT.
            socks: Whether a SOCKS handshake comes first, perhaps on the request's own layer.
        """
        self.opened = False
        self.written = False
        self._network = network
        self._layer = layer
        self._socks = socks
        self._first_byte: Callable[[], object] | None = None
        self._connected_by: float | None = None
        """When the first request must have left; what comes before it is all connecting."""
        self._socket: httpcore.AsyncNetworkStream | None = None
        self._top: httpcore.AsyncNetworkStream | None = None
        """The topmost layer of TLS, if there is one."""
        self._closed = False

    def expect(self, first_byte: Callable[[], object] | None) -> None:
        """A request comes: call `first_byte` right before its first byte is written."""
        self.written = False
        self._first_byte = first_byte

    @property
    def is_stale(self) -> bool:
        """Whether the other side has closed it; a socket that is idle has nothing else to read."""
        return self._socket is None or bool(self._socket.get_extra_info("is_readable"))

    async def is_over(self) -> bool:
        """Whether the other side has closed it, or said what nobody asked for.

        anyio's layer of TLS keeps what it has already taken in to itself, so it is read from.
        """
        if self.is_stale or self._top is None or self._top.get_extra_info(SHOWS_ALL):
            return self.is_stale
        try:
            await self._top.read(1, 0)
        except httpcore.ReadTimeout:
            return False
        except httpcore.NetworkError:
            return True
        return True

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
        self._connected_by = None if timeout is None else clock.now() + timeout
        self._socket = await self._network.connect_tcp(
            host, port, timeout, local_address, socket_options
        )
        if self._closed:
            await self.close()
            raise httpcore.ConnectError("closed while it was being connected")
        return _Stream(self, self._socket, 0)

    def note(self, layer: int, data: bytes) -> None:
        """`data` is about to be written in so many layers of TLS."""
        if self.written or layer != self._layer:
            return
        if self._socks and data[0] < _FIRST_PRINTABLE:
            return  # SOCKS messages begin with a version number, requests with a method's letter
        self.written = True
        self._connected_by = None
        if self._first_byte is not None:
            self._first_byte()

    def put_on_top(self, layer: httpcore.AsyncNetworkStream) -> None:
        """A layer of TLS was put upon it."""
        self._top = layer

    def limit(self, timeout: float | None) -> float | None:
        """How long a read, a write or a handshake may take.

        httpcore gives each of them the whole time to connect, or to read, and none at all to the
        handshake of SOCKS.
        """
        if self._connected_by is None:
            return timeout
        left = max(0.0, self._connected_by - clock.now())
        return left if timeout is None else min(timeout, left)

    async def close(self) -> None:
        """Close the socket, also in a task that has been cancelled.

        No TLS layer takes part: its farewell could wait for ever for a peer that does not read.
        """
        self._closed = True
        closing, self._socket = self._socket, None
        if closing is not None:
            with (
                anyio.move_on_after(CLOSE_LIMIT, shield=True),
                contextlib.suppress(Exception),
            ):
                await closing.aclose()


class _Stream(httpcore.AsyncNetworkStream):
    """What httpcore reads from and writes to: the socket itself, or a layer of TLS upon it."""

    def __init__(self, wire: Wire, stream: httpcore.AsyncNetworkStream, layer: int) -> None:
        self._wire = wire
        self._stream = stream
        self._layer = layer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, self._wire.limit(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if buffer:
            self._wire.note(self._layer, buffer)
            await self._stream.write(buffer, self._wire.limit(timeout))

    async def aclose(self) -> None:
        await self._wire.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        try:
            timeout = self._wire.limit(timeout)
            inner = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            # httpcore does this for exceptions, but not for a cancellation.
            await self._wire.close()
            raise
        self._wire.put_on_top(inner)
        return _Stream(self._wire, inner, self._layer + 1)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


# Errors -------------------------------------------------------------------------------------------

KINDS: Final[dict[type[Exception], type[httpx.TransportError]]] = {
    # An HTTP/2 server that shuts down says that it will not look at this request. Its word is not
    # taken for it: something in between may have said so.
    httpcore.ConnectionNotAvailable: httpx.RemoteProtocolError,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ProtocolError: httpx.ProtocolError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.WriteError: httpx.WriteError,
    httpcore.WriteTimeout: httpx.WriteTimeout,
}
"""What each exception of httpcore's is in httpx, once the request may have left."""


def raise_as_httpx(error: Exception, wire: Wire) -> NoReturn:
    """Raise what an exception out of an exchange on this wire is to httpx.

    Before the first byte it is one of those that mean that nothing was sent. A wire that was never
    opened belongs to a mock, which may raise whatever it is told to.

    Raises:
        Exception: `error` itself, if httpx knows no such thing.
    """
    kind = next((KINDS[base] for base in type(error).__mro__ if base in KINDS), None)
    if wire.opened and not wire.written:
        kind = _before_the_first_byte(kind)
    if kind is None:
        raise error
    raise kind(str(error)) from error


def _before_the_first_byte(kind: type[httpx.TransportError] | None) -> type[httpx.TransportError]:
    if kind is httpx.ProxyError:
        return httpx.ProxyError
    if kind is not None and issubclass(kind, httpx.TimeoutException):
        return httpx.ConnectTimeout
    return httpx.ConnectError
