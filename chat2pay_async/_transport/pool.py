"""The connections: handed out in constant time, and never lost.

httpcore makes, encrypts, writes and parses each connection (`httpcore.AsyncHTTPConnection`). This
decides who gets which, in place of httpcore's own pool, which loses connections when tasks are
cancelled, walks all that wait at every step, and leaves sockets open whose handshake was cancelled.

- A connection serves one request at a time, HTTP/2 included. It is used again only if the answer
  was read to its end; otherwise its socket is closed, also in a task that has been cancelled.
- An exception before the first byte of the request was written is a `ConnectError`, a
  `ConnectTimeout` or a `ProxyError`, whatever it was in httpcore. `extensions["first_byte"]` of a
  request is called right before that byte; `extensions["not_sent"]` says, after an exception or a
  cancellation, whether it certainly never left.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import ssl
from collections.abc import AsyncIterable, Awaitable, MutableMapping
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio
import attrs
import httpcore
import httpx

from chat2pay_async import _eventloop as clock
from chat2pay_async._transport.asyncio_network import network_for
from chat2pay_async._transport.connection import CLOSE_LIMIT, Wire, raise_as_httpx
from chat2pay_async._transport.places import Place, Places
from chat2pay_async._transport.proxy import Proxies
from chat2pay_async.errors import ConfigurationError

__all__ = ["Download", "Key", "Once", "PoolTransport", "origin_of"]

KEEPALIVE_EXPIRY: Final = 4.0
"""Seconds after which an idle connection is not used again.

Uvicorn and Node.js close idle connections after 5 s. A POST that crosses such a closing on its
way has an unknown outcome, so the client must be the first to give up.
"""

PORTS: Final = {b"http": 80, b"https": 443}

Key: TypeAlias = tuple[bytes, bytes, int]


class PoolTransport(httpx.AsyncBaseTransport):
    """A transport for an `httpx.AsyncClient` that keeps connections, on asyncio and trio."""

    def __init__(  # noqa: PLR0913 - the knobs of httpx's own transport, each a keyword
        self,
        *,
        max_connections: int = 100,
        max_keepalive_connections: int | None = None,
        keepalive_expiry: float = KEEPALIVE_EXPIRY,
        http2: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        trust_env: bool = True,
        network_backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """Make a transport; nothing is connected yet.

        Args:
            max_connections: The most connections at any time; more requests than that wait, as
                long as their `pool` timeout allows.
            max_keepalive_connections: The most idle connections; None: as many as there are.
            keepalive_expiry: Seconds after which an idle connection is not used again.
            http2: Whether HTTP/2 is offered to servers.
            ssl_context: For TLS; one as httpx makes it is made when it is first needed.
            proxy: What all requests go through.
            trust_env: Whether the environment names proxies (unless `proxy` does) and
                certificates.
            network_backend: What makes the connections.

        Raises:
            ConfigurationError: A setting can't be used.
        """
        if max_connections < 1:
            raise ConfigurationError("max_connections must be 1 or more")
        if http2 and importlib.util.find_spec("h2") is None:
            raise ConfigurationError(
                'HTTP/2 needs one more package: pip install "chat2pay-async[http2]"'
            )
        self._places: Places[Link] = Places(
            max_connections,
            max_idle=(
                max_connections if max_keepalive_connections is None else max_keepalive_connections
            ),
            expiry=keepalive_expiry,
        )
        self._proxies = Proxies(proxy, trust_env=trust_env)
        self._network = network_backend
        self._http2 = http2
        self._trust_env = trust_env
        self._ssl_context = ssl_context
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body is still to be read, and the answer to be closed."""
        key = origin_of(request.url)
        # A body in pieces is read first: what httpx wraps around it is a generator, too.
        body = Once(await request.aread())
        extensions = _extensions(request)
        extensions["not_sent"] = True
        place = await self.take(key, extensions.get("timeout", {}).get("pool"))
        try:
            link = await self.link(place, key, request.url)
            extensions["not_sent"] = False
            answer = await link.send(_for_httpcore(request, body))
            give_back = functools.partial(self.give_back, place)
            return httpx.Response(
                answer.status,
                headers=answer.headers,
                stream=Download(answer, link.wire, give_back),
                extensions=_extensions(answer),
            )
        except BaseException:
            await self.give_back(place, clean=False)
            raise

    async def aclose(self) -> None:
        """Close every connection, those in use included."""
        self._closed = True
        for place in self._places.everyone():
            if place.link is not None:
                await place.link.wire.close()

    async def take(self, key: Key, seconds: float | None) -> Place[Link]:
        """Hold a place, after waiting for it if need be."""
        place = self._places.take(key)
        if place is not None:
            return place
        waiter = self._places.queue()
        try:
            with anyio.move_on_after(seconds):
                await waiter.bell.wait()
        except BaseException:
            self._places.leave(waiter, clock.now())
            raise
        if waiter.place is None:
            self._places.leave(waiter, clock.now())
            raise httpx.PoolTimeout(f"no connection became free within {seconds} s")
        return waiter.place

    async def link(self, place: Place[Link], key: Key, url: httpx.URL) -> Link:
        """The connection in a place, or a new one instead of what is of no use."""
        link = place.link
        if link is not None and (
            place.key != key
            or self._places.has_expired(place, clock.now())
            or await link.wire.is_over()
        ):
            place.link = None
            await link.wire.close()
        if self._closed:
            raise httpx.ConnectError("the transport is closed")
        if place.link is None:
            place.link, place.key = self._new_link(key, url), key
        return place.link

    def _new_link(self, key: Key, url: httpx.URL) -> Link:
        proxy = self._proxies.proxy_for(url)
        scheme, host, port = key
        through = b"" if proxy is None else proxy.url.scheme
        # Known only now: a transport may be made outside a running loop.
        self._network = self._network or network_for(clock.current_loop())
        wire = Wire(
            self._network,
            layer=(scheme == b"https") + (through == b"https"),
            socks=through.startswith(b"socks"),
        )
        context = self._tls() if scheme == b"https" else None
        if proxy is None:
            return Link(
                wire,
                httpcore.AsyncHTTPConnection(
                    httpcore.Origin(scheme, host, port),
                    ssl_context=context,
                    http2=self._http2,
                    network_backend=wire,
                ),
            )
        if through == b"https" and proxy.ssl_context is None:
            # Not the other one: httpcore sets each connection's protocols on the context itself.
            proxy.ssl_context = self._new_context()
        return Link(
            wire,
            httpcore.AsyncConnectionPool(
                ssl_context=context,
                proxy=proxy,
                max_connections=1,
                http2=self._http2,
                network_backend=wire,
            ),
        )

    def _tls(self) -> ssl.SSLContext:
        # Reading all the authorities takes 20 ms, so it is done once, and only where needed.
        if self._ssl_context is None:
            self._ssl_context = self._new_context()
        return self._ssl_context

    def _new_context(self) -> ssl.SSLContext:
        try:
            return httpx.create_ssl_context(trust_env=self._trust_env)
        except OSError as error:
            raise httpx.ConnectError(
                f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR name can't be read: {error}"
            ) from error

    async def give_back(self, place: Place[Link], *, clean: bool) -> None:
        """Let go of a place, and of the connection in it unless it can be used again."""
        link = place.link
        if clean and not self._closed and link is not None and link.is_reusable:
            self._places.release(place, clock.now())
        else:
            await self._hang_up(place)
        while (old := self._places.overdue(clock.now())) is not None:
            await self._hang_up(old)

    async def _hang_up(self, place: Place[Link]) -> None:
        link, place.link = place.link, None
        try:
            if link is not None:
                await link.wire.close()
        finally:
            self._places.release(place, clock.now())


@attrs.define(eq=False)
class Link:
    """A connection of httpcore's, and its network."""

    wire: Wire
    connection: httpcore.AsyncHTTPConnection | httpcore.AsyncConnectionPool

    async def send(self, request: httpcore.Request) -> httpcore.Response:
        extensions = _extensions(request)
        self.wire.expect(extensions.get("first_byte"))
        try:
            return await self.connection.handle_async_request(request)
        except BaseException as error:
            # A wire that was never opened belongs to a mock, and proves nothing.
            extensions["not_sent"] = self.wire.opened and not self.wire.written
            if isinstance(error, Exception):
                raise_as_httpx(error, self.wire)
            raise

    @property
    def is_reusable(self) -> bool:
        """Whether it is ready for another request; one that a mock answered never is."""
        held = (
            self.connection.connections
            if isinstance(self.connection, httpcore.AsyncConnectionPool)
            else [self.connection]
        )
        return any(one.is_idle() and one.is_available() and not _has_more(one) for one in held)


def _has_more(connection: object) -> bool:
    """Whether more came in than the answer: it would be taken for the next request's."""
    # A connection of httpcore's may be within another. What its parser holds is known to none
    # but itself, and HTTP/2 tells answers apart.
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    parser = getattr(connection, "_h11_state", None)
    return parser is not None and parser.trailing_data[0] != b""


# What goes to httpcore, and what comes back -------------------------------------------------------


def origin_of(url: httpx.URL) -> Key:
    scheme = url.raw_scheme
    if scheme not in PORTS:
        raise httpx.UnsupportedProtocol(f"a request to {url.scheme!r}: it must be http or https")
    return scheme, url.raw_host, url.port or PORTS[scheme]


def _extensions(request: Any) -> MutableMapping[str, Any]:
    extensions: MutableMapping[str, Any] = request.extensions
    return extensions


def _for_httpcore(request: httpx.Request, body: Once) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        request.method,
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=body,
        extensions=_extensions(request),
    )


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


class _GiveBack(Protocol):
    def __call__(self, *, clean: bool) -> Awaitable[None]: ...


class Download(httpx.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, answer: httpcore.Response, wire: Wire, give_back: _GiveBack) -> None:
        self._answer = answer
        self._pieces = aiter(cast("AsyncIterable[bytes]", answer.stream))
        self._wire = wire
        self._give_back = give_back
        self._complete = False
        self._closed = False

    def __aiter__(self) -> Download:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            self._complete = True
            raise
        except BaseException as error:
            await self.aclose()
            if isinstance(error, Exception):
                raise_as_httpx(error, self._wire)
            raise

    async def aclose(self) -> None:
        """Give the connection back."""
        if self._closed:
            return
        self._closed = True
        clean = False
        try:
            with anyio.move_on_after(CLOSE_LIMIT, shield=True), contextlib.suppress(Exception):
                if self._complete:
                    await self._answer.aclose()
                    clean = True
                else:
                    await self._break_off()
        finally:
            await self._give_back(clean=clean)

    async def _break_off(self) -> None:
        # httpcore's generators run into the closed socket, and so to their ends. If they were
        # closed instead, the inner one would be left to the collector, and trio would complain.
        await self._wire.close()
        async for _ in self._pieces:
            await anyio.lowlevel.checkpoint()
