"""The pool of connections to one origin: handed out in constant time, and never lost.

On asyncio and uvloop they are our own (`http1`). Through a proxy, with HTTP/2, on trio, and where a
mock has patched httpcore, they are httpcore's (`httpcore`). httpcore's own pool is not used: it
loses connections when tasks are cancelled, walks all that wait at every step, and leaves sockets
open whose handshake was cancelled.

- httpx's own transport stands in front of the pool: it turns httpcore's exceptions into httpx's,
  and is what tools patch (`httpx.AsyncHTTPTransport.handle_async_request`).
- All requests go to one origin. Nothing here bounds their number: `_send.limits.Slots` does.
- A connection serves one request at a time, HTTP/2 included. It is used again only if the whole
  response was read; otherwise its socket is closed, also in a task that has been cancelled.
- An exception before the first byte of the request was written is a `ConnectError`, a
  `ConnectTimeout` or a `ProxyError`, whatever it was before. `extensions["first_byte"]` of a
  request is the guard that is called right before that byte, and says after an exception or a
  cancellation whether it certainly never left; `extensions["last_byte"]` is when the last of it
  did.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import math
import os
import ssl
import warnings
import weakref
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Final, Self, TypeAlias, cast

import httpcore
import httpx

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import check_reach
from chat2pay_async._tracebacks import hiding_frames
from chat2pay_async._transport import http1
from chat2pay_async._transport.base import (
    BODILESS,
    LAST_WORDS,
    ExchangeError,
    Lease,
    Limits,
    Names,
    Outgoing,
    SendGuard,
    repeated,
)
from chat2pay_async._transport.http1 import Http1Connection
from chat2pay_async._transport.httpcore import HttpcoreConnection, extensions_of, is_mocked
from chat2pay_async._transport.proxy import proxy_for, shown
from chat2pay_async._transport.response_reader import Received
from chat2pay_async.errors import ConfigurationError, Proof

__all__ = ["KEEPALIVE_EXPIRY", "Pool", "PooledTransport"]

Connection: TypeAlias = Http1Connection | HttpcoreConnection
Connect: TypeAlias = Callable[[str, int, ssl.SSLContext | None, float], Awaitable[Http1Connection]]

_FRAMING: Final = (b"content-length", b"transfer-encoding")

KEEPALIVE_EXPIRY: Final = 4.0
"""Seconds after which an idle connection is not used again.

Uvicorn and Node.js close idle connections after 5 s. A POST that crosses such a closing on its
way has an unknown outcome, so the client must be the first to give up.
"""


_NOT_FOUND: Final = 404


class PooledTransport(httpx.AsyncHTTPTransport):
    """A transport for an `httpx.AsyncClient` that keeps connections, on asyncio and trio."""

    def __init__(  # noqa: PLR0913 - the knobs of httpx's own transport, each a keyword
        self,
        base_url: str,
        *,
        keepalive_expiry: float = KEEPALIVE_EXPIRY,
        http2: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        trust_env: bool = True,
    ) -> None:
        """Make a transport; nothing is connected yet.

        Args:
            base_url: Names the origin that all requests go to.
            keepalive_expiry: Seconds after which an idle connection is not used again.
            http2: Whether HTTP/2 is offered to the server.
            ssl_context: For TLS. Default: one as httpx makes it, made when it is first needed.
            proxy: The proxy of all requests.
            trust_env: Whether the environment names proxies (unless `proxy` does) and
                certificates.

        Raises:
            ConfigurationError: A setting can't be used.
        """
        pool = Pool(
            httpx.URL(base_url),
            keepalive_expiry=keepalive_expiry,
            http2=http2,
            ssl_context=ssl_context,
            proxy=proxy_for(base_url, proxy, trust_env=trust_env),
            trust_env=trust_env,
        )
        # Not through httpx's own `__init__`: it makes a pool of httpcore's, and reads all the
        # certificate authorities, which takes 20 ms. It uses nothing else of it than this.
        self._pool = cast("httpcore.AsyncConnectionPool", _Face(pool))
        self.pool = pool

    # httpx's own would enter and leave a pool of httpcore's.
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()


_LATER: Final = 0.01
"""Seconds after which a connection that has expired is dropped."""


class Pool:
    """The connections to one origin, handed out in constant time and never lost."""

    def __init__(  # noqa: PLR0913 - what a transport is asked for, each a keyword
        self,
        origin: httpx.URL,
        *,
        keepalive_expiry: float = KEEPALIVE_EXPIRY,
        http2: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        proxy: httpcore.Proxy | None = None,
        trust_env: bool = True,
    ) -> None:
        """Make a pool; nothing is connected yet.

        Args:
            origin: The origin of all requests.
            keepalive_expiry: Seconds after which an idle connection is not used again.
            http2: Whether HTTP/2 is offered to the server.
            ssl_context: For TLS. Default: one as httpx makes it, made when it is first needed.
            proxy: The proxy of all requests.
            trust_env: Whether the environment names certificates.

        Raises:
            ConfigurationError: HTTP/2 needs a package that is not there.
        """
        if http2 and importlib.util.find_spec("h2") is None:
            raise ConfigurationError(
                'HTTP/2 needs one more package: pip install "chat2pay-async[http2]"'
            )
        self._origin = httpcore.URL(
            scheme=origin.raw_scheme, host=origin.raw_host, port=origin.port, target=b"/"
        ).origin
        self._host = origin.raw_host.decode("ascii")  # asyncio has older rules for other letters
        self._port = origin.port or (443 if origin.scheme == "https" else 80)
        self._expiry = keepalive_expiry
        self._http2 = http2
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._trust_env = trust_env
        through = None if proxy is None else proxy.url
        self._names = Names(*(self._host, self._port) if through is None else _end_of(through))
        """The addresses of what connections are made to."""
        self._network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        """The backend that makes httpcore's connections."""
        self._connect: Connect = functools.partial(http1.connect, names=self._names)
        """Makes our own."""
        self._by_httpcore = http2 or proxy is not None
        """True where our own connections don't work."""
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        """The one that was used last stands last."""
        self._is_watched = False
        """True while a timer is set for those that expire."""
        self._loop: object = None
        """The loop that `bind` found last."""
        self._closed = False

    @property
    def proxy(self) -> str:
        """Host and port of the proxy that all requests go through; empty where there is none."""
        return "" if self._proxy is None else shown(self._proxy.url)

    def __del__(self) -> None:
        if getattr(self, "_open", None):
            self._abandon_all()  # first: a filter may make an exception of the warning
            text = f"unclosed connections to {self._host}: use `async with`, or await `aclose()`"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def _abandon_all(self) -> None:
        for connection in self._open:
            connection.abandon()
        self._open.clear()
        self._idle.clear()

    def bind(self) -> None:
        """Leave what was connected on another event loop, which has ended, to itself.

        Raises:
            httpcore.ConnectError: It is in use there.
        """
        loop = clock.current_loop()
        if self._loop == loop:
            return
        if len(self._open) > len(self._idle):
            raise httpcore.ConnectError(
                "these connections are in use on another event loop: make one http_client for each"
            )
        self._abandon_all()
        self._names.forget()  # each loop has a clock of its own
        self._loop, self._is_watched = loop, False

    def leads_to(self, url: httpcore.URL) -> bool:
        """Tell whether a URL is of this pool's origin."""
        return url.origin == self._origin

    async def exchange(self, request: Outgoing, limits: Limits, guard: SendGuard) -> Received:
        """Send a request and read the whole response.

        Raises:
            httpcore.ConnectError: It certainly was not sent, as with the next two.
            httpcore.ConnectTimeout: There was no connection in time.
            httpcore.ProxyError: The proxy refused.
            ExchangeError: The guard kept it back, or the response is too long.
        """
        guard.begin()
        if not is_mocked():  # a connection of httpcore's sees to it where a mock lets it through
            self._check_reach()
        lease = guard.lease
        held = None if lease is None else lease.take()
        if held is not None and guard.is_held:
            # It is held for a POST. The next look-up would take a copy of the last one's 404 for
            # an answer of its own.
            await self._close(held, in_good_order=True)
            held = None
        connection = await self._ready(limits, held)
        try:
            received = await connection.exchange(request, limits, guard)
        except ExchangeError as error:
            if error.proof is Proof.NOT_SENT and connection.is_reusable and not self._closed:
                self._keep(connection, lease)  # it was not used
            else:
                await self._close(connection)
            raise
        except BaseException:
            await self._close(connection)
            raise
        # A copy of "there is no such order" does no harm as the response to the POST that follows
        # its look-up, which is looked up whatever refuses it. A copy of a 429 would be believed.
        says_absent = guard.is_held and received.status == _NOT_FOUND
        is_last = received.is_last or (received.status in LAST_WORDS and not says_absent)
        if self._closed or is_last or not connection.is_reusable:
            await self._close(connection)
        else:
            self._keep(connection, lease if guard.is_held else None)
        while self._idle and self._has_expired(self._idle[0]):
            await self._close(self._idle.popleft(), in_good_order=True)
        return received

    def _keep(self, connection: Connection, lease: Lease | None) -> None:
        """Keep a connection: for whoever comes next, or for the next request with a lease."""
        connection.idle_since = clock.now()
        if lease is not None:
            lease.hold(connection, functools.partial(self._close, connection))
            return
        self._idle.append(connection)
        if not self._is_watched:
            self._watch()

    def _watch(self) -> None:
        """Set a timer for the first that expires: nobody may use the pool for hours."""
        self._is_watched = True
        drop = weakref.WeakMethod(self._drop_expired)  # so that the timer does not keep the pool
        # A little later: what is rounded must not find it alive, and wait for no time at all.
        seconds = max(0.0, self._idle[0].idle_since + self._expiry - clock.now()) + _LATER
        clock.later(seconds, lambda: (method := drop()) and method())

    def _drop_expired(self) -> None:
        self._is_watched = False
        while self._idle and self._has_expired(self._idle[0]):
            connection = self._idle.popleft()
            self._open.discard(connection)
            connection.abandon()
        if self._idle:
            self._watch()

    async def _ready(self, limits: Limits, held: Connection | None) -> Connection:
        """Take the connection that is held, or the one that was used last; or make one."""
        connection = held or (self._idle.pop() if self._idle else None)
        if connection is not None:
            try:
                is_over = self._has_expired(connection) or await connection.is_over()
            except BaseException:
                await self._close(connection)
                raise
            is_seen_by_mocks = isinstance(connection, HttpcoreConnection) or not is_mocked()
            if not is_over and is_seen_by_mocks and not self._closed:
                return connection
            await self._close(connection, in_good_order=True)
        self._check_open()
        if (
            self._by_httpcore
            or not isinstance(clock.current_loop(), asyncio.AbstractEventLoop)
            or is_mocked()
        ):
            made: Connection = self._connection_of_httpcore()
        else:
            made = await self._connect(self._host, self._port, self._context(), limits.connect)
        if self._closed:
            await made.close()
        self._check_open()
        self._open.add(made)
        return made

    def _check_reach(self) -> None:
        try:
            check_reach(self._host)
        except ConfigurationError as refused:
            raise httpcore.ConnectError(str(refused)) from refused

    def _check_open(self) -> None:
        if self._closed:
            raise httpcore.ConnectError("the transport is closed")

    async def aclose(self) -> None:
        """Close every connection, those in use included."""
        self._closed = True
        if self._loop not in {None, clock.current_loop()}:
            self._abandon_all()
        idle = set(self._idle)
        self._idle.clear()
        stopped: BaseException | None = None
        for connection in tuple(self._open):
            try:
                await self._close(connection, in_good_order=connection in idle)
            except BaseException as error:  # noqa: BLE001 - raised when all the others are closed
                stopped = stopped or error
        if stopped is not None:
            raise stopped

    def _has_expired(self, connection: Connection) -> bool:
        return clock.now() - connection.idle_since >= self._expiry

    async def _close(self, connection: Connection, *, in_good_order: bool = False) -> None:
        self._open.discard(connection)
        await connection.close(in_good_order=in_good_order)

    def _connection_of_httpcore(self) -> HttpcoreConnection:
        if self._proxy and self._proxy.url.scheme == b"https" and not self._proxy.ssl_context:
            # Not the other one: httpcore sets each connection's protocols on the context itself.
            self._proxy.ssl_context = self._new_context()
        return HttpcoreConnection(
            self._network,
            self._origin,
            ssl_context=self._context(),
            proxy=self._proxy,
            http2=self._http2,
            names=self._names,
        )

    def _context(self) -> ssl.SSLContext | None:
        if self._origin.scheme != b"https":
            return None
        # Reading all the authorities takes 20 ms, so it is done once, and only where needed.
        self._ssl_context = self._ssl_context or self._new_context()
        return self._ssl_context

    def _new_context(self) -> ssl.SSLContext:
        try:
            return httpx.create_ssl_context(trust_env=self._trust_env)
        except OSError as error:
            name = "SSL_CERT_FILE" if error.filename is None else "SSLKEYLOGFILE"
            why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            refused = ConfigurationError(
                f"{name}={os.environ.get(name)!r} can't be used: {why}; correct or unset it"
            )
            raise httpcore.ConnectError(str(refused)) from refused


_PORTS: Final = {b"http": 80, b"https": 443}
_SOCKS_PORT: Final = 1080


def _end_of(proxy: httpcore.URL) -> tuple[str, int]:
    """Return the host and the port of a proxy."""
    return proxy.host.decode("ascii"), proxy.port or _PORTS.get(proxy.scheme, _SOCKS_PORT)


class _Face:
    """A pool as httpx's transport sees one."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request and read the whole response."""
        self.pool.bind()
        extensions = extensions_of(request)
        if not self.pool.leads_to(request.url):
            raise httpcore.UnsupportedProtocol("this transport's requests all go to its base URL")
        pieces = cast("AsyncIterable[bytes]", request.stream)
        body = b"".join([piece async for piece in pieces])
        fields = _framed(request.headers, len(body))
        outgoing = Outgoing(request.method, request.url.target, fields, body)
        seconds = extensions.get("timeout", {})
        limits = Limits(*[_limit(seconds.get(name)) for name in ("connect", "read", "write")])
        guard = extensions.get("first_byte") or SendGuard()
        if guard.was_written and request.method.decode("ascii") not in BODILESS:
            raise repeated()
        try:
            with hiding_frames():  # here: tracers on httpx show what it raises before we see it
                received = await self.pool.exchange(outgoing, limits, guard)
        except Exception:
            guard.fail()
            raise
        finally:
            extensions["last_byte"] = guard.last_byte
        return httpcore.Response(
            received.status,
            headers=received.fields,
            content=received.body,
            extensions={"http_version": received.http_version},
        )

    async def aclose(self) -> None:
        """Close the pool."""
        await self.pool.aclose()


def _framed(fields: Iterable[tuple[bytes, bytes]], size: int) -> tuple[tuple[bytes, bytes], ...]:
    """Say how long a request's body is: it goes out as a whole, even where it came in pieces."""
    rest = [field for field in fields if field[0].lower() not in _FRAMING]
    if size or len(rest) < len(list(fields)):
        rest.append((b"Content-Length", b"%d" % size))
    return tuple(rest)


def _limit(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
