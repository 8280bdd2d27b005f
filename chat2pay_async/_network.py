"""The network on asyncio and uvloop: what httpcore writes goes straight to a transport.

httpcore's own way there is anyio's streams, which cost a call more than all else that is done for
it here. On trio they remain.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final, cast

import httpcore
from aiohappyeyeballs import start_connection

__all__ = ["is_readable", "network_for"]

HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until a host's next address is tried beside the ones before (RFC 8305)."""

MOST_HELD: Final = 256 * 1024
"""Bytes that may have come in without being read; then the other side has to wait."""


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
        except (OSError, RuntimeError) as error:  # uvloop raises the latter for some of them
            raise httpcore.ConnectError(str(error)) from error

    async def _connected(self, host: str, port: int) -> Stream:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
        ends = Ends(self._loop)
        try:
            await self._loop.create_connection(lambda: ends, sock=connected)
        except BaseException:
            if ends.transport is None:
                connected.close()
            else:
                ends.transport.abort()
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
        self._is_halted = False
        self._loop = loop
        self._waiter: asyncio.Future[bool] | None = None

    def take(self, most: int) -> bytes:
        """Some of what came in."""
        data = bytes(self.held[:most])
        del self.held[:most]
        if self._is_halted:
            self._is_halted = False
            self.transport.resume_reading()
        return data

    async def wait(self, seconds: float | None) -> bool:
        """Wait for the next callback; False if there was none in time."""
        waiter = self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, _settle, waiter, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _tell(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter, True)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.held += data
        if len(self.held) > MOST_HELD and not self._is_halted:
            self._is_halted = True
            self.transport.pause_reading()
        self._tell()

    def eof_received(self) -> None:
        self.at_end = True
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        self.at_end, self.lost = True, error
        self._tell()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._tell()


def _settle(waiter: asyncio.Future[bool], told: bool) -> None:  # noqa: FBT001 - a callback's
    if not waiter.done():
        waiter.set_result(told)


class Stream(httpcore.AsyncNetworkStream):
    """One connection, or a layer of TLS upon one: read and written by one task at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ends: Ends) -> None:
        self._loop = loop
        self._ends = ends
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """What came in, once there is something; nothing at the end."""
        ends = self._ends
        while not ends.held:
            if ends.at_end:
                if ends.lost is not None or self._closed:
                    raise httpcore.ReadError(_said(ends.lost)) from ends.lost
                return b""
            if not await ends.wait(timeout):
                raise httpcore.ReadTimeout
        return ends.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Hand it to the transport, which may have to wait for the other side."""
        ends = self._ends
        if ends.transport.is_closing():
            raise httpcore.WriteError(_said(ends.lost)) from ends.lost
        ends.transport.write(buffer)
        while ends.is_full:
            if ends.transport.is_closing():
                raise httpcore.WriteError(_said(ends.lost)) from ends.lost
            if not await ends.wait(timeout):
                raise httpcore.WriteTimeout

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Put a layer of TLS upon it."""
        if self._ends.held:
            raise httpcore.ConnectError("it spoke before it was asked to")
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
        return Stream(self._loop, inner)

    async def aclose(self) -> None:
        """Close the socket at once; what was not yet sent never will be."""
        self._closed = True
        self._ends.transport.abort()
        await asyncio.sleep(0)  # by then the transport has closed it

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about it."""
        transport = self._ends.transport
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
