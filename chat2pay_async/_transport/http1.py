"""A connection of our own: HTTP/1.1 on asyncio and uvloop, one request at a time.

What an exception proves follows from one fact: whether `transport.write` was called. Before that,
it is a `ConnectError` or a `ConnectTimeout`; after it, the request may have arrived.

A request is handed over as a whole. Its response has to be complete in `read` seconds from its
last byte on, whatever comes in meanwhile. What comes in while nothing is asked for closes the
connection.
"""

from __future__ import annotations

import asyncio
import math
import re
import select
import socket
import ssl
from typing import Any, Final

import anyio.lowlevel
import httpcore
from aiohappyeyeballs import start_connection

from chat2pay_async._transport.base import (
    HAPPY_EYEBALLS_DELAY,
    RESET_ON_CLOSE,
    Limits,
    Names,
    Outgoing,
    SendGuard,
    reset_on_close,
)
from chat2pay_async._transport.response_reader import Received, ResponseReader

__all__ = ["Http1Connection", "connect", "is_readable"]

_WRITABLE: Final = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n"
)
"""The head of a request."""


async def connect(
    host: str,
    port: int,
    ssl_context: ssl.SSLContext | None,
    limit: float,
    names: Names | None = None,
) -> Http1Connection:
    """Connect to the first of a host's addresses that answers, TLS included.

    Args:
        host: The host.
        port: Its port.
        ssl_context: For TLS; None: none.
        limit: The most seconds that it may take.
        names: The host's addresses, where they are shared.

    Raises:
        httpcore.ConnectError: There is no connection.
        httpcore.ConnectTimeout: There is none in time.
    """
    loop, names = asyncio.get_running_loop(), names or Names(host, port)
    try:
        async with asyncio.timeout(None if limit == math.inf else limit):
            found = await names.addresses()
            try:
                connected = await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
            except BaseException:
                names.forget()
                raise
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            connection = Http1Connection(loop, connected)
            name = None if ssl_context is None else host
            if ssl_context is not None:  # it may be used for HTTP/2, too
                ssl_context.set_alpn_protocols(["http/1.1"])
            try:
                await loop.create_connection(
                    lambda: connection, sock=connected, ssl=ssl_context, server_hostname=name
                )
                connection.check_protocol()
            except BaseException:
                await connection.close()
                raise
            return connection
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(str(error)) from error
    except (OSError, RuntimeError, UnicodeError) as error:
        # TLS's errors are the system's; the last is for names that can't be one; uvloop raises the
        # one before for some errors.
        raise httpcore.ConnectError(str(error)) from error


class Http1Connection(asyncio.Protocol):
    """A connection, and the one exchange that is in progress on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connected: socket.socket) -> None:
        self.idle_since = 0.0
        """The end of its last request, on the event loop's clock."""
        self._loop = loop
        self._socket = connected
        """uvloop's stand-in for it takes no options."""
        self._transport: Any = None
        self._is_over = False
        """True once nothing can be asked on it any more."""
        self._is_full = False
        """True while the system takes no more."""
        self._reader: ResponseReader | None = None
        self._response: asyncio.Future[Received] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_byte: float | None = None
        self._read_limit = math.inf

    def check_protocol(self) -> None:
        """Refuse a connection for HTTP/2.

        Raises:
            OSError: Its TLS agreed on it: another client offered it with the same context, in the
                moment before the handshake.
        """
        tls = self._transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            raise OSError("the server speaks HTTP/2, which was not asked for")

    async def exchange(self, request: Outgoing, limits: Limits, guard: SendGuard) -> Received:
        """Write a request, and read its response.

        Raises:
            httpcore.ConnectError: It was not written: the connection has ended, or it can't be.
            httpcore.NetworkError: It may have arrived, as with the next two.
            httpcore.ProtocolError: What came is no response of HTTP/1.1.
            httpcore.TimeoutException: It was not taken, or not answered, in time.
            ExchangeError: The guard kept it back, or the response is too long.
        """
        if self._is_over or self._transport.is_closing():
            raise httpcore.ConnectError("the connection was closed")
        written = _written(request)
        guard()
        self._reader, self._last_byte = ResponseReader(request.method), None
        self._read_limit = limits.read
        self._response = self._loop.create_future()
        guard.may_have_been_sent = True
        self._transport.write(written)
        if self._is_full:
            self._limit(limits.write, httpcore.WriteTimeout)
        else:
            self._note_written()
        try:
            return await self._response
        finally:
            guard.last_byte = self._last_byte
            self._response = self._reader = None
            if self._timer is not None:
                self._timer.cancel()

    def _note_written(self) -> None:
        self._last_byte = self._loop.time()
        self._limit(self._read_limit, httpcore.ReadTimeout)

    def _limit(self, seconds: float, error: type[Exception]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds < math.inf:
            self._timer = self._loop.call_later(seconds, self._fail, error)

    def _fail(self, error: type[Exception] | Exception) -> None:
        self._is_over = True
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)

    # What the event loop says ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which is to say at once when it holds anything back."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        """Read what came in."""
        reader, response = self._reader, self._response
        if reader is None or response is None or response.done():
            self._is_over = True  # nobody asked for it
            return
        try:
            received = reader.feed(data)
        except Exception as error:  # noqa: BLE001 - whatever a parser stumbles over
            self._fail(error)
            return
        if received is not None:
            self._is_over = self._is_over or received.is_last or self._is_full
            response.set_result(received)

    def eof_received(self) -> None:
        """Note the end: for some responses it is theirs."""
        if not self._is_over:
            self.data_received(b"")
        self._is_over = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is closed."""
        if exc is None:  # all that uvloop says of an end that TLS did not announce
            self.eof_received()
            return
        error = httpcore.ReadError(str(exc))
        error.__cause__ = exc
        self._fail(error)

    def pause_writing(self) -> None:
        """Note that the system takes no more for now."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Note that the system has taken all of it."""
        self._is_full = False
        if self._response is not None and not self._response.done():
            self._note_written()

    # Its end --------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Close the idle socket, from any thread, also where its loop is closed."""
        reset_on_close(self._socket, reset=False)
        try:
            self._loop.call_soon_threadsafe(self._transport.abort)
        except RuntimeError:  # the loop is closed
            self._socket.close()

    @property
    def is_reusable(self) -> bool:
        """True where it is ready for another request."""
        return not self._is_over and not self._transport.is_closing()

    async def is_over(self) -> bool:
        """Find out whether the other side has closed it, or said what nobody asked for.

        The loop may not have had the time to notice. An idle socket has nothing else to read.
        """
        return not self.is_reusable or is_readable(self._socket)

    async def close(self, *, in_good_order: bool = False) -> None:
        """Close the socket at once: what was not sent never will be.

        Args:
            in_good_order: It is idle: nothing on it has to be kept from being delivered.
        """
        if in_good_order:
            reset_on_close(self._socket, reset=False)
        if self._transport is not None:
            self._transport.abort()
        else:  # it was still being connected
            self._socket.close()
        self._fail(httpcore.ReadError("the connection was closed"))
        await anyio.lowlevel.cancel_shielded_checkpoint()  # by then the loop has closed it


def _written(request: Outgoing) -> bytes:
    """Write a request in HTTP/1.1.

    Raises:
        httpcore.ConnectError: It has characters that would make another request of it.
    """
    lines = b"".join([b"%b: %b\r\n" % field for field in request.fields])
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, request.target, lines)
    if _WRITABLE.fullmatch(head) is None or head.count(b"\n") != len(request.fields) + 2:
        raise httpcore.ConnectError("illegal method, target, header name or header value")
    return head + request.body


def is_readable(connected: Any) -> bool:
    """Find out whether a socket has something to read, its end included."""
    number = connected.fileno()
    if number < 0:  # it is closed
        return True
    if not hasattr(select, "poll"):  # Windows has none, and no limit for the numbers of its sockets
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
