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
    """What makes the connections on an event loop."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return AsyncioNetwork(loop)
    return cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())


def is_readable(idle: Any) -> bool:
    """Whether a socket has something to read, its end included, that the loop may not know yet."""
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
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - the same
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of a host's addresses that answers."""
        try:
            async with asyncio.timeout(timeout):
                return await self._connected(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, RuntimeError, UnicodeError) as error:
            # The last is for names that can't be one; uvloop raises the one before for some errors.
            raise httpcore.ConnectError(str(error)) from error

    async def _connected(self, host: str, port: int) -> Stream:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
        ends = Ends(self._loop)
        try:
            await self._loop.create_connection(lambda: ends, sock=connected)
        except BaseException:
            with contextlib.suppress(OSError):  # from uvloops that closed it behind its back
                connected.close()
            raise
        return Stream(self._loop, ends)


class Ends(asyncio.Protocol):
    """Where a transport's callbacks end: what came in, and who waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: Any = None
        self.held = bytearray()
        self.at_end = False
        """Whether nothing more will come in."""
        self.lost: Exception | None = None
        """What ended it, if it did not end in peace."""
        self.is_full = False
        """Whether what is written has to wait."""
        self.reader = Waiter(loop)
        self.writer = Waiter(loop)
        self._is_halted = False

    def take(self, most: int) -> bytes:
        """Some of what came in."""
        data = bytes(self.held[:most])
        del self.held[:most]
        if self._is_halted and len(self.held) <= MOST_HELD:
            self._is_halted = False
            self.transport.resume_reading()
        return data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.held += data
        if len(self.held) > MOST_HELD and not self._is_halted:
            self._is_halted = True
            self.transport.pause_reading()
        self.reader.wake()

    def eof_received(self) -> None:
        self.at_end = True
        self.reader.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.at_end, self.lost = True, exc
        self.reader.wake()
        self.writer.wake()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self.writer.wake()


class Waiter:
    """Lets one task wait for a callback."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[bool] | None = None

    async def wait(self, seconds: float | None) -> bool:
        """Wait for the next callback; False if there was none in time."""
        self._future = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._give_up)
        try:
            return await self._future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """There was one."""
        if self._future is not None and not self._future.done():
            self._future.set_result(True)

    def _give_up(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(False)


class Stream(httpcore.AsyncNetworkStream):
    """One connection, or a layer of TLS upon one: read by one task at a time, and written by one.

    With HTTP/2 these may be two.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ends: Ends) -> None:
        self._loop = loop
        self._ends = ends
        self._closed = False
        self._upon: Stream | None = None
        """The layer upon it: from then on, what comes in is held there."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        """What came in, once there is something; nothing at the end."""
        ends = self._ends
        while not ends.held:
            if ends.at_end:
                if ends.lost is not None or self._closed:
                    raise httpcore.ReadError(_said(ends.lost)) from ends.lost
                return b""
            if not await ends.reader.wait(timeout):
                raise httpcore.ReadTimeout
        return ends.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the same
        """Hand it to the transport, which may have to wait for the other side."""
        ends = self._ends
        self._check_open()
        for start in range(0, len(buffer), PIECE):
            ends.transport.write(buffer[start : start + PIECE])
            while ends.is_full:
                if not await ends.writer.wait(timeout):
                    raise httpcore.WriteTimeout
                self._check_open()

    def _check_open(self) -> None:
        if self._ends.transport.is_closing():
            raise httpcore.WriteError(_said(self._ends.lost)) from self._ends.lost

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Put a layer of TLS upon it."""
        if self._ends.held:
            raise httpcore.ConnectError("it spoke before it was asked to")
        if self._ends.at_end:  # the loops would wait for an answer all the same
            raise httpcore.ConnectError(_said(None))
        inner = Ends(self._loop)
        try:
            async with asyncio.timeout(timeout):
                inner.transport = await self._loop.start_tls(
                    self._ends.transport, inner, ssl_context, server_hostname=server_hostname
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
        if self._upon is not None:  # whose reader could not tell it from the other side's farewell
            self._upon.abort()
        self._ends.transport.abort()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about it."""
        if self._upon is not None:
            return self._upon.get_extra_info(info)
        transport = self._ends.transport
        if info == SHOWS_ALL:
            return True
        if info != "is_readable":
            return transport.get_extra_info(_NAMES.get(info, info))
        return (
            self._ends.at_end
            or bool(self._ends.held)
            or is_readable(transport.get_extra_info("socket"))
        )


_NAMES: Final = {"client_addr": "sockname", "server_addr": "peername"}


def _said(error: Exception | None) -> str:
    return "the connection was closed" if error is None else str(error)
