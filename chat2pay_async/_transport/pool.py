"""Our own connections under `httpx.AsyncClient`: handed out in constant time, and never lost.

httpcore makes, encrypts, writes and parses each connection (`httpcore.AsyncHTTPConnection`). The
pool decides who gets which, in place of httpcore's own, which loses connections when tasks are
cancelled, walks all that wait at every step, and leaves sockets open whose handshake was cancelled.

- httpx's own transport stands in front of the pool: it turns httpcore's exceptions into httpx's,
  and is what tools patch (`httpx.AsyncHTTPTransport.handle_async_request`).
- All requests go to one origin. Nothing here bounds their number: `_send.limits.Gate` does.
- A connection serves one request at a time, HTTP/2 included. It is used again only if the whole
  response was read; otherwise its socket is closed, also in a task that has been cancelled.
- An exception before the first byte of the request was written is a `ConnectError`, a
  `ConnectTimeout` or a `ProxyError`, whatever it was before. `extensions["first_byte"]` of a
  request is called right before that byte; `extensions["not_sent"]` says, after an exception or a
  cancellation, whether it certainly never left.
"""

from __future__ import annotations

import functools
import importlib.util
import ssl
from collections import deque
from collections.abc import AsyncIterable
from typing import Final, Self, cast

import httpcore
import httpx

from chat2pay_async import _eventloop as clock
from chat2pay_async._tracebacks import hiding_frames
from chat2pay_async._transport.asyncio_network import network_for
from chat2pay_async._transport.base import LAST_WORDS, SendGuard
from chat2pay_async._transport.connection import Connection, extensions_of
from chat2pay_async._transport.proxy import proxy_for
from chat2pay_async.errors import ConfigurationError

__all__ = ["KEEPALIVE_EXPIRY", "PooledTransport"]

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
        network_backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """Make a transport; nothing is connected yet.

        Args:
            base_url: Names the origin that all requests go to.
            keepalive_expiry: Seconds after which an idle connection is not used again.
            http2: Whether HTTP/2 is offered to the server.
            ssl_context: For TLS. Default: one as httpx makes it, made when it is first needed.
            proxy: What all requests go through.
            trust_env: Whether the environment names proxies (unless `proxy` does) and
                certificates.
            network_backend: What makes the connections.

        Raises:
            ConfigurationError: A setting can't be used.
        """
        if http2 and importlib.util.find_spec("h2") is None:
            raise ConfigurationError(
                'HTTP/2 needs one more package: pip install "chat2pay-async[http2]"'
            )
        pool = Pool(
            httpx.URL(base_url),
            keepalive_expiry=keepalive_expiry,
            http2=http2,
            ssl_context=ssl_context,
            proxy=proxy_for(base_url, proxy, trust_env=trust_env),
            trust_env=trust_env,
            network=network_backend,
        )
        # Not through httpx's own `__init__`: it makes a pool of httpcore's, and reads all the
        # certificate authorities, which takes 20 ms. It uses nothing else of it than this.
        self._pool = cast("httpcore.AsyncConnectionPool", pool)

    # httpx's own would enter and leave a pool of httpcore's.
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()


class Pool:
    """The connections to one origin: what httpx's transport sends requests to."""

    def __init__(  # noqa: PLR0913 - what a transport is asked for, each a keyword
        self,
        origin: httpx.URL,
        *,
        keepalive_expiry: float,
        http2: bool,
        ssl_context: ssl.SSLContext | None,
        proxy: httpcore.Proxy | None,
        trust_env: bool,
        network: httpcore.AsyncNetworkBackend | None,
    ) -> None:
        self._origin = httpcore.URL(
            scheme=origin.raw_scheme, host=origin.raw_host, port=origin.port, target=b"/"
        ).origin
        self._expiry = keepalive_expiry
        self._http2 = http2
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._trust_env = trust_env
        self._network = network
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        """The one that was used last stands last."""
        self._closed = False

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request and read the whole response."""
        extensions = extensions_of(request)
        extensions["not_sent"] = True
        if request.url.origin != self._origin:
            raise httpcore.UnsupportedProtocol("this transport's requests all go to its base URL")
        # A body in pieces is read first, and httpx's own is a generator: see `Once`.
        pieces = cast("AsyncIterable[bytes]", request.stream)
        request.stream = Once(b"".join([piece async for piece in pieces]))
        guard = extensions.get("first_byte")
        lease, is_held = (
            (guard.lease, guard.is_held) if isinstance(guard, SendGuard) else (None, False)
        )
        connection = None if lease is None else lease.take()
        connection = connection or (self._idle.pop() if self._idle else self._connect())
        try:
            if connection.opened and (
                self._has_expired(connection) or await connection.is_over() or self._closed
            ):
                await self._close(connection, in_good_order=True)
                connection = self._connect()
            extensions["not_sent"] = False
            with hiding_frames():  # here: tracers on httpx show what it raises before we see it
                response = await connection.exchange(request)
        except BaseException:
            await self._close(connection)
            raise
        # A copy of "there is no such order" does no harm as the response to the POST that follows
        # its look-up, which is looked up whatever refuses it. A copy of a 429 would be believed.
        says_absent = is_held and response.status == _NOT_FOUND
        is_last = response.status in LAST_WORDS and not says_absent
        if self._closed or is_last or not connection.is_reusable:
            await self._close(connection)
        elif lease is not None and is_held:
            connection.idle_since = clock.now()
            lease.hold(connection, functools.partial(self._close, connection))
        else:
            connection.idle_since = clock.now()
            self._idle.append(connection)
        while self._idle and self._has_expired(self._idle[0]):
            await self._close(self._idle.popleft(), in_good_order=True)
        return response

    async def aclose(self) -> None:
        """Close every connection, those in use included."""
        self._closed = True
        idle = set(self._idle)
        self._idle.clear()
        for connection in tuple(self._open):
            await self._close(connection, in_good_order=connection in idle)

    def _has_expired(self, connection: Connection) -> bool:
        return clock.now() - connection.idle_since >= self._expiry

    async def _close(self, connection: Connection, *, in_good_order: bool = False) -> None:
        self._open.discard(connection)
        await connection.close(in_good_order=in_good_order)

    def _connect(self) -> Connection:
        if self._closed:
            raise httpcore.ConnectError("the transport is closed")
        # Known only now: a transport may be made outside a running loop.
        self._network = self._network or network_for(clock.current_loop())
        context = None
        if self._origin.scheme == b"https":
            # Reading all the authorities takes 20 ms, so it is done once, and only where needed.
            self._ssl_context = context = self._ssl_context or self._new_context()
        if self._proxy and self._proxy.url.scheme == b"https" and not self._proxy.ssl_context:
            # Not the other one: httpcore sets each connection's protocols on the context itself.
            self._proxy.ssl_context = self._new_context()
        connection = Connection(
            self._network, self._origin, ssl_context=context, proxy=self._proxy, http2=self._http2
        )
        self._open.add(connection)
        return connection

    def _new_context(self) -> ssl.SSLContext:
        try:
            return httpx.create_ssl_context(trust_env=self._trust_env)
        except OSError as error:
            raise httpcore.ConnectError(
                f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR name can't be read: {error}"
            ) from error


class Once:
    """A body. An object: trio complains of a generator that is collected before its end."""

    def __init__(self, piece: bytes) -> None:
        self._piece: bytes | None = piece

    def __aiter__(self) -> Once:
        return self

    async def __anext__(self) -> bytes:
        if self._piece is None:
            raise StopAsyncIteration
        piece, self._piece = self._piece, None
        return piece
