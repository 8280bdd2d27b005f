"""The network on asyncio and uvloop: what httpcore writes goes straight to a transport.

httpcore's own way there is anyio's streams, which cost a call more than all else that is done for
it here. On trio they remain.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final, cast

import httpcore
from aiohappyeyeballs import start_connection

from chat2pay_async._transport.connection import SHOWS_ALL

__all__ = ["is_readable", "network_for"]

HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until a host's next address is tried beside the ones before (RFC 8305)."""

MOST_HELD: Final = 256 * 1024
"""Bytes that may have come in without being read; then the other side has to wait."""

PIECE: Final = 64 * 1024
"""Bytes that are handed on at once: TLS takes whatever it is given before it says that it is full.
"""


def network_for(loop: object) -> httpcore.AsyncNetworkBackend:
    """Choose what makes the connections on an event loop."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return AsyncioNetwork(loop)
    return cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())


def is_readable(idle: Any) -> bool:
    """Find out whether a socket has anything to read, its end included, unknown to the loop yet."""
    if idle is None or idle.fileno() < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return False
    look = select.poll()
    look.register(idle, select.POLLIN)
    return bool(look.poll(0))


class AsyncioNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 - nobody here asks for one
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of a host's addresses that answers."""
        try:
            async with asyncio.timeout(timeout):
                return await self._connected(host, port, socket_options or ())
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, RuntimeError, UnicodeError) as error:
            # The last is for names that can't be one; uvloop raises the one before for some errors.
            raise httpcore.ConnectError(str(error)) from error

    async def _connected(
        self, host: str, port: int, options: Iterable[httpcore.SOCKET_OPTION]
    ) -> Stream:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
        for level, name, value in cast("Iterable[tuple[int, int, int | bytes]]", options):
            connected.setsockopt(level, name, value)
        protocol = StreamProtocol(self._loop)
        try:
            await self._loop.create_connection(lambda: protocol, sock=connected)
        except BaseException:
            with contextlib.suppress(OSError):  # from uvloops that closed it behind its back
                connected.close()
            raise
        return Stream(self._loop, protocol, connected)


class StreamProtocol(asyncio.Protocol):
    """The protocol of a connection: it keeps what came in, and wakes who waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: Any = None
        self.received = bytearray()
        self.at_end = False
        """True once nothing more will come in."""
        self.lost: Exception | None = None
        """The error that ended it, if one did."""
        self.is_full = False
        """True while writing has to wait."""
        self.reader = Event(loop)
        self.writer = Event(loop)
        self._is_halted = False

    def take(self, most: int) -> bytes:
        """Take some of what came in."""
        data = bytes(self.received[:most])
        del self.received[:most]
        if self._is_halted and len(self.received) <= MOST_HELD:
            self._is_halted = False
            self.transport.resume_reading()
        return data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if len(self.received) > MOST_HELD and not self._is_halted:
            self._is_halted = True
            self.transport.pause_reading()
        self.reader.set()

    def eof_received(self) -> None:
        self.at_end = True
        self.reader.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.at_end, self.lost = True, exc
        self.reader.set()
        self.writer.set()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self.writer.set()


class Event:
    """An event that one task waits for, with a time limit."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[bool] | None = None

    async def wait(self, seconds: float | None) -> bool:
        """Wait until it is set; False if it was not in time."""
        self._future = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._give_up)
        try:
            return await self._future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()

    def set(self) -> None:
        """Wake who waits."""
        if self._future is not None and not self._future.done():
            self._future.set_result(True)

    def _give_up(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(False)


class Stream(httpcore.AsyncNetworkStream):
    """One connection, or a layer of TLS upon one: read by one task at a time, and written by one.

    With HTTP/2 these may be two.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: StreamProtocol,
        connected: socket.socket | None = None,
    ) -> None:
        self._loop = loop
        self._protocol = protocol
        self._socket = connected
        """The socket itself: uvloop's stand-in for it takes no options."""
        self._closed = False
        self._upon: Stream | None = None
        """The layer upon it: from then on, what comes in is received there."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        """Return what came in, once there is something; nothing at the end."""
        protocol = self._protocol
        while not protocol.received:
            if protocol.at_end:
                if protocol.lost is not None or self._closed:
                    raise httpcore.ReadError(_said(protocol.lost)) from protocol.lost
                return b""
            if not await protocol.reader.wait(timeout):
                raise httpcore.ReadTimeout
        return protocol.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the same
        """Hand it to the transport, which may have to wait for the other side."""
        protocol = self._protocol
        self._check_open()
        for start in range(0, len(buffer), PIECE):
            protocol.transport.write(buffer[start : start + PIECE])
            while protocol.is_full:
                if not await protocol.writer.wait(timeout):
                    raise httpcore.WriteTimeout
                self._check_open()

    def _check_open(self) -> None:
        if self._protocol.transport.is_closing():
            raise httpcore.WriteError(_said(self._protocol.lost)) from self._protocol.lost

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Put a layer of TLS upon it."""
        if self._protocol.received:
            raise httpcore.ConnectError("it spoke before it was asked to")
        if self._protocol.at_end:  # the loops would wait for an answer all the same
            raise httpcore.ConnectError(_said(None))
        inner = StreamProtocol(self._loop)
        try:
            async with asyncio.timeout(timeout):
                inner.transport = await self._loop.start_tls(
                    self._protocol.transport, inner, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:  # TLS's own errors are such
            raise httpcore.ConnectError(str(error)) from error
        if inner.transport is None or inner.transport.is_closing():  # closed by another task
            raise httpcore.ConnectError(_said(None))
        self._upon = Stream(self._loop, inner)
        return self._upon

    async def aclose(self) -> None:
        """Close the socket at once; what was not yet sent never will be."""
        self.abort()
        await asyncio.sleep(0)  # by then the transport has closed it

    def abort(self) -> None:
        """Close it without a turn of the loop."""
        self._closed = True
        if (
            self._upon is not None
        ):  # whose reader could not tell it from the other side's close_notify
            self._upon.abort()
        self._protocol.transport.abort()

    def get_extra_info(self, info: str) -> Any:
        """Answer what httpcore asks about it."""
        if info == "socket" and self._socket is not None:
            return self._socket
        if self._upon is not None:
            return self._upon.get_extra_info(info)
        transport = self._protocol.transport
        if info == SHOWS_ALL:
            return True
        if info != "is_readable":
            return transport.get_extra_info(_NAMES.get(info, info))
        return (
            self._protocol.at_end
            or bool(self._protocol.received)
            or is_readable(transport.get_extra_info("socket"))
        )


_NAMES: Final = {"client_addr": "sockname", "server_addr": "peername"}


def _said(error: Exception | None) -> str:
    return "the connection was closed" if error is None else str(error)
