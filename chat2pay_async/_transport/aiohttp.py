"""The fast transport: exchanges over an `aiohttp.ClientSession` of our own, on asyncio and uvloop.

It needs the extra `aiohttp`. The session makes and keeps the connections and parses what comes in.
Its `request` is not used: it would take as long as all else here together, for what no exchange of
ours has (cookies, redirects, bodies that have to be asked for), and it would repeat a GET or PUT
whose connection was lost without saying so: a DELETED that was applied and repeated would fail
with "no such integration".

What an exception proves follows from one fact: whether the request was handed to a connection
before. A kept connection that the other side has closed is noticed before that, and the request
takes another one. There is no timeout for writing: a request is handed over as a whole, and
`Timeout.read` limits how long anything may take from then on.
"""

from __future__ import annotations

import asyncio
import socket
from functools import lru_cache
from typing import Any, Final, cast
from weakref import WeakValueDictionary

import aiohttp
import attrs
import httpx
from aiohttp.connector import Connection
from yarl import URL

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import HeaderFields, Headers, Timeout
from chat2pay_async._transport.asyncio_network import is_readable
from chat2pay_async._transport.base import (
    LAST_WORDS,
    ExchangeError,
    SendGuard,
    WireResponse,
    reset_on_close,
)
from chat2pay_async._transport.decoding import LONGEST_RESPONSE, decoded, unreadable
from chat2pay_async._transport.mocks import patched_places, refuse_mocks
from chat2pay_async._transport.pool import KEEPALIVE_EXPIRY
from chat2pay_async._transport.proxy import proxy_for
from chat2pay_async.errors import ConfigurationError, Proof, SentRequest

__all__ = ["AiohttpTransport"]


@attrs.frozen
class _Route:
    """The way of all of a transport's requests."""

    session: aiohttp.ClientSession
    template: aiohttp.ClientRequest
    """Never sent: it says where connections lead, and through what."""
    front: str
    """The part before a request's target."""
    fields: Headers
    """The headers of every request, for the peer that is connected to."""


_KEPT: Final = "chat2pay_kept"
"""Marks a connection that has carried a request."""

LONGEST_LINE: Final = 100_000
"""Bytes of a header: about what the other transport takes. aiohttp's own limit is 8 190."""

_INTERIM: Final = frozenset(range(100, 200)) - {101}
"""Statuses of answers that are followed by another one."""


@lru_cache(maxsize=256)
def _timeout_of(limits: Timeout) -> aiohttp.ClientTimeout:
    # No total: the gate bounds how many requests there are, and the deadline how long they take.
    # `connect` is over all of it: `sock_connect` is no limit for names and for a proxy's CONNECT.
    return aiohttp.ClientTimeout(total=None, connect=limits.connect, sock_read=limits.read)


class AiohttpTransport:
    """Exchanges over aiohttp."""

    def __init__(
        self,
        base_url: str,
        *,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        connector: Any = None,
    ) -> None:
        """Make a transport; nothing is connected yet.

        Args:
            base_url: Where everything goes.
            proxy: What all of it goes through; what the environment names, unless given.
            connector: Makes the connections; for tests.

        Raises:
            ConfigurationError: The proxy can't be used.
        """
        self._base_url = base_url
        self._proxy, self._proxy_headers = _proxy_for(base_url, proxy)
        self._connector = connector
        self._route: _Route | None = None
        self._taken: set[Connection] = set()
        self._sockets: WeakValueDictionary[int, socket.socket] = WeakValueDictionary()
        """By their numbers; a number is another's once its socket is closed."""
        self._harmless: tuple[object, ...] = ()
        """What stood last in the places that mocks patch."""

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Send a request once and read its answer; redirects are not followed."""
        left = False
        try:
            if (places := patched_places()) != self._harmless:
                refuse_mocks(places)
                self._harmless = places
            route = self._route or self._open()
            written = _encoded(route, request, headers)
            taken = await _connection(route, _timeout_of(limits))
            self._taken.add(taken)
            try:
                self._let_leave(taken, guard)
                left = True
                answer = await _exchange_on(taken, written, limits, guard)
                if answer.status_code not in LAST_WORDS:
                    self._release(taken)
            finally:
                self._taken.discard(taken)
                _abort(taken)
        except (ConfigurationError, ExchangeError):
            raise
        except aiohttp.ClientResponseError as error:
            # A proxy's: it shows the request's headers. Only its own cause is shown.
            raise classify(error, left=left) from error.__cause__
        except Exception as error:  # aiohttp's, the system's, and what its parsers stumble over
            raise classify(error, left=left) from error
        except BaseException:
            guard.may_have_been_sent = left
            raise
        return answer

    def _let_leave(self, taken: Connection, guard: SendGuard) -> None:
        """Ask the guard; a connection whose request it keeps back was not used."""
        try:
            guard()
        except ExchangeError:
            self._release(taken)
            raise
        self._reset_on_close(taken, reset=True)

    def _release(self, taken: Connection) -> None:
        """Keep a connection for another request; while it is idle, it is closed in good order."""
        self._reset_on_close(taken, reset=False)
        taken.release()

    def _reset_on_close(self, taken: Connection, *, reset: bool) -> None:
        transport = taken.transport
        known = None if transport is None else transport.get_extra_info("socket")
        # uvloop's stand-in for a socket takes no options, so it is the socket itself that is asked.
        connected = None if known is None else self._sockets.get(known.fileno())
        if connected is not None:
            reset_on_close(connected, reset=reset)

    def _socket(self, address: Any) -> socket.socket:
        """Make a socket, whose closing resets it from the beginning."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family=family, type=kind, proto=protocol)
        reset_on_close(made, reset=True)
        self._sockets[made.fileno()] = made
        return made

    def _open(self) -> _Route:
        loop = clock.current_loop()
        if not isinstance(loop, asyncio.AbstractEventLoop):
            raise ConfigurationError(
                'transport="aiohttp" works on asyncio and uvloop; leave it out on trio'
            )
        url = URL(self._base_url, encoded=True)  # it is percent-encoded already
        plain = url.scheme == "http"
        connector = self._connector or aiohttp.TCPConnector(
            limit=0,  # the gate in front of it is the limit
            keepalive_timeout=KEEPALIVE_EXPIRY,
            ssl=True if plain else _tls(),  # may fail: it stands before what the proxy must know
            socket_factory=self._socket,
        )
        fields = {"Host": url.host_port_subcomponent or "", "Accept-Encoding": "identity"}
        proxy: dict[str, Any] = self._proxy
        proxy_headers = self._proxy_headers
        if proxy_headers:
            # aiohttp adds the host with the first tunnel; but connections are kept by it all.
            proxy = proxy | {"proxy_headers": {**proxy_headers, "Host": fields["Host"]}}
        template = aiohttp.ClientRequest("GET", url, loop=loop, **proxy)
        session = aiohttp.ClientSession(connector=connector)
        # A proxy that is asked for a tunnel gets them from aiohttp, and the service does not.
        fields |= proxy_headers if plain else {}
        front = self._base_url if plain and proxy else url.raw_path.rstrip("/")
        self._route = _Route(session, template, front, Headers(fields))
        return self._route

    async def aclose(self) -> None:
        """Close the connections; who waits for an answer hears that there is none."""
        if self._route is None:
            return
        # The session would let go of them without a word to those who wait for an answer.
        open_ones = [taken for taken in self._taken if taken.transport is not None]
        ends = [taken.protocol.closed for taken in open_ones if taken.protocol is not None]
        for transport in [taken.transport for taken in open_ones if taken.transport is not None]:
            transport.abort()
        try:
            await asyncio.gather(*filter(None, ends), return_exceptions=True)
        finally:
            await self._route.session.close()


async def _connection(route: _Route, limits: aiohttp.ClientTimeout) -> Connection:
    """Take a connection that is open as far as the system knows."""
    while True:
        if route.session.connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        taken = await route.session.connector.connect(route.template, [], limits)
        if not hasattr(taken.protocol, _KEPT):
            # It is not looked at: TLS's own messages may still be coming in, and a server that
            # closes each at once would have us connect for ever.
            if taken.transport is None:
                taken.close()
                raise aiohttp.ServerDisconnectedError
            setattr(taken.protocol, _KEPT, True)
            return taken
        if not _is_stale(taken):
            return taken
        taken.close()


def _is_stale(kept: Connection) -> bool:
    """Find out whether the other side has closed it, or said something that nobody asked for.

    The loop may not have had the time to notice the one, and the next request would be answered by
    the other.
    """
    line, transport = kept.protocol, kept.transport
    if line is None or transport is None or line.should_close:
        return True
    # A socket that is idle has nothing else to read than its end.
    return is_readable(transport.get_extra_info("socket"))


def _abort(taken: Connection) -> None:
    """Close it at once, unless it was released: what was not yet sent never will be."""
    if taken.transport is not None:
        taken.transport.abort()
    taken.close()


class _Encoded(bytes):
    """A request, as it goes over the wire; `repr` does not show it, since the key is in it."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def _encoded(route: _Route, request: SentRequest, headers: HeaderFields) -> _Encoded:
    # None of it can hold a line break: `_config` sees to the key, `prepare` to the target, and
    # `_proxy_for` to a proxy's headers.
    body = request.body or b""
    head = f"{request.method} {route.front}{request.target} HTTP/1.1\r\n{route.fields.lines}"
    lines = Headers.of(headers).lines
    size = f"Content-Length: {len(body)}\r\n" if body or request.method != "GET" else ""
    return _Encoded(f"{head}{lines}{size}\r\n".encode() + body)


async def _exchange_on(
    taken: Connection, written: _Encoded, limits: Timeout, guard: SendGuard
) -> WireResponse:
    """Write a request and read its response, all of it in the time to read."""
    line, transport = taken.protocol, taken.transport
    assert line is not None and transport is not None  # noqa: S101, PT018 - it is open
    line.set_response_params(
        auto_decompress=False,
        read_until_eof=True,
        read_timeout=limits.read,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )
    transport.write(written)
    guard.last_byte = clock.now()
    async with asyncio.timeout(limits.read):
        message, content = await line.read()
        while message.code in _INTERIM:
            message, content = await line.read()
        body = await _body_of(content)
    headers = _lower(message.raw_headers)
    return WireResponse(message.code, headers, decoded(headers.get("content-encoding", ""), body))


async def _body_of(content: Any) -> bytes:
    """Read a body, within bounds."""
    if content.is_eof():  # most often it came with the head, and then this takes a tenth
        return cast("bytes", content.read_nowait())
    pieces, size = list[bytes](), 0
    while piece := await content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > LONGEST_RESPONSE:
            raise unreadable("ResponseTooLong")
    return b"".join(pieces)


def classify(error: BaseException, *, left: bool) -> ExchangeError:
    """Say what an exception out of an exchange proves: nothing, once the request left."""
    return ExchangeError(
        type(error).__name__,
        proof=Proof.UNKNOWN if left else Proof.NOT_SENT,
        timed_out=isinstance(error, asyncio.TimeoutError),
    )


def _tls() -> Any:
    # The same authorities as for the other transport, the environment's included.
    return httpx.create_ssl_context()


def _lower(headers: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _proxy_for(
    base_url: str, proxy: str | httpx.URL | httpx.Proxy | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Find the proxy to go through, as aiohttp's arguments, and its headers."""
    found = proxy_for(base_url, proxy)
    if found is None:
        return {}, {}
    url = found.url
    scheme, host = url.scheme.decode(), url.host.decode()
    if scheme.startswith("socks"):
        raise ConfigurationError('transport="aiohttp" knows no SOCKS proxies: leave it out')
    if found.ssl_context is not None:
        raise ConfigurationError(
            'transport="aiohttp" knows no ssl_context of a proxy: name its authority in '
            "SSL_CERT_FILE, or leave the transport out"
        )
    proxy_headers = {name.decode(): value.decode() for name, value in found.headers}
    if not all(text.isprintable() for text in (*proxy_headers, *proxy_headers.values())):
        raise ConfigurationError("a header for the proxy has characters that it can't carry")
    return {"proxy": URL.build(scheme=scheme, host=host, port=url.port)}, proxy_headers
