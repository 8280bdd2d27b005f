"""Exchanges over an `AsyncClient`: our own or the user's, of httpx or of httpx2.

Classes come from the library that the client comes from, since an `httpx2.AsyncClient` refuses an
`httpx.Request`, and its errors are no `httpx.HTTPError`.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import socket
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, cast

import anyio

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import HeaderFields, Headers, Timeout, check_reach
from chat2pay_async._transport.base import (
    BODILESS,
    LAST_WORDS,
    ExchangeError,
    SendGuard,
    WireResponse,
    repeated,
)
from chat2pay_async._transport.decoding import LONGEST_RESPONSE, decoded, unreadable
from chat2pay_async._transport.log_lines import contain_log_lines, contained_log_lines
from chat2pay_async._transport.pool import Pool, PooledTransport
from chat2pay_async._transport.proxy import proxy_of, shown
from chat2pay_async._transport.response_reader import refuse_by_head
from chat2pay_async.errors import ConfigurationError, Proof, SentRequest

__all__ = ["HttpxTransport", "library_of", "own_client"]


NOT_SENT_ERRORS: Final = frozenset(
    {
        "ConnectError",  # name resolution and the TLS handshake included
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",  # the proxy refused to connect
        "UnsupportedProtocol",
    }
)
"""The library's exceptions that prove that no byte of the request left."""

UNKNOWN_ERRORS: Final = frozenset(
    {
        "CloseError",
        "CookieConflict",
        "DecodingError",
        "HTTPError",
        "HTTPStatusError",
        "InvalidURL",
        "LocalProtocolError",
        "NetworkError",
        "ProtocolError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",  # the same reset is a ReadError on asyncio and this one on trio
        "RequestError",
        "RequestNotRead",
        "ResponseNotRead",
        "SSEError",
        "StreamClosed",
        "StreamConsumed",
        "StreamError",
        "TimeoutException",
        "TooManyRedirects",
        "TransportError",
        "WriteError",
        "WriteTimeout",
    }
)
"""The library's other exceptions: the request may have arrived."""

TIMEOUT_ERRORS: Final = frozenset(
    {"ConnectTimeout", "PoolTimeout", "ReadTimeout", "TimeoutException", "WriteTimeout"}
)

_ROWS = NOT_SENT_ERRORS | UNKNOWN_ERRORS


def classify(error: Exception, request: object, *, may_have_left: bool = False) -> ExchangeError:
    """Say what an exception out of an exchange proves.

    The nearest class with a row counts, if the exception is about this very request. One from
    another request (made by a user's hook or auth), or one with no row at all, may have been
    raised after ours was sent.

    Args:
        error: The exception.
        request: Our request.
        may_have_left: It may have been written before the exception. httpx says of whatever comes
            out of a transport that it is about our request, so its class does not tell.
    """
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ROWS), "")
    not_sent = name in NOT_SENT_ERRORS and not may_have_left and _request_of(error) is request
    return ExchangeError(
        type(error).__name__,
        proof=Proof.NOT_SENT if not_sent else Proof.UNKNOWN,
        timed_out=name in TIMEOUT_ERRORS,
    )


def _request_of(error: Any) -> object:
    try:
        return error.request
    except RuntimeError:  # the libraries' way to say that none was set
        return None


def library_of(thing: object) -> Any:
    """Httpx or httpx2: the module that an object's class, or one of its bases, comes from.

    Raises:
        ConfigurationError: It comes from neither.
    """
    for kind in type(thing).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in {"httpx", "httpx2"}:
            return importlib.import_module(root)
    raise ConfigurationError(
        f"{type(thing).__name__} is no client and no transport of httpx (or httpx2): pass "
        "an httpx.AsyncClient as http_client, or an httpx.AsyncBaseTransport as transport"
    )


class HttpxTransport:
    """Exchanges over an `AsyncClient`: our own, or the user's, which is never closed by us."""

    def __init__(  # noqa: PLR0913 - what is known of the client, each a keyword
        self,
        client: Any,
        library: Any,
        base_url: str,
        *,
        owned: bool,
        bounds_itself: bool = False,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        """Make a transport of a client.

        Args:
            client: The client.
            library: The library that it comes from.
            base_url: The base URL of all requests.
            owned: It is our own, and is closed with this transport.
            bounds_itself: Its transport calls the guard, and bounds its responses.
            reserved: The query parameters that the API has a meaning for.
        """
        self._client = client
        self._library = library
        self._base_url = base_url
        self._owned = owned
        self._bounds_itself = bounds_itself
        self._reserved = reserved
        self._telling: set[type] = {library.AsyncHTTPTransport, PooledTransport}
        """The transports that tell of every request when they write it."""
        self._host: bytes = library.URL(base_url).netloc
        self._url_of = lru_cache(maxsize=64)(library.URL)
        contain_log_lines()

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Send a request once and read its response; redirects are not followed."""
        outer = sys.exception()
        if self._client.is_closed:
            raise ConfigurationError(
                "the http_client of this client is closed: keep it open until this client is closed"
            )
        extensions = {"timeout": _timeouts(limits), "first_byte": guard}
        build = self._own_request if self._owned else self._their_request
        built = build(request, headers, extensions)
        if clock.now() > guard.latest:
            guard()  # not every transport asks it, and so a kept connection stays as it is
        exchange = self._exchange if self._bounds_itself else self._bounded_exchange
        try:
            with contained_log_lines():
                response = await exchange(built, limits, guard)
        except self._library.HTTPStatusError as error:
            if error.request is not built:  # a hook's own request: its status says nothing of ours
                raise classify(error, built) from error
            # A user's hook called `raise_for_status`. The response came; its body was not read.
            response = error.response
            return WireResponse(response.status_code, _lower(response.headers), b"")
        except ExchangeError:  # it is too late to send it, or too much to read
            raise
        except Exception as error:
            failure = classify(error, built, may_have_left=self._may_have_left(built, guard))
            failure.proxy, failure.outer = self._proxy(built.url), outer
            raise failure from error
        finally:
            guard.last_byte = built.extensions.get("last_byte") or guard.last_byte
        return response

    @property
    def proxy(self) -> str:
        """Host and port of the proxy that requests go through; empty where none can be seen."""
        return self._proxy(self._library.URL(self._base_url))

    def _proxy(self, url: Any) -> str:
        pool = getattr(self._client._transport, "pool", None)  # noqa: SLF001 - not public
        if isinstance(pool, Pool):
            return pool.proxy
        proxy = proxy_of(self._client, url)
        return "" if proxy is None else shown(proxy)

    async def _exchange(self, built: Any, _limits: Timeout, _guard: SendGuard) -> WireResponse:
        """Send a request over our own connections, which see to its bounds."""
        response = await self._client.send(built, follow_redirects=False, stream=True)
        return await _read(response, longest=math.inf)

    async def _bounded_exchange(
        self, built: Any, limits: Timeout, guard: SendGuard
    ) -> WireResponse:
        """Send a request over what is the user's, and bound how long its response may take.

        httpcore tells what it does, and when; other transports may not. Until it does, a client may
        be waiting for a connection of its pool, for as long as that takes.
        """
        tells_all = self._tells_all()
        with anyio.CancelScope() as scope:
            if self._owned and not tells_all:
                scope.deadline = clock.now() + limits.connect + limits.write + limits.read
            watch = _Watch(built.method, limits, guard, scope, lambda: self._check_reach(built))
            built.extensions["trace"] = watch
            guard.may_have_been_sent = guard.has_other_ways = not tells_all
            try:
                response = await self._client.send(built, follow_redirects=False, stream=True)
            except Exception as error:
                if watch.was_repeated:
                    raise repeated() from error
                raise
            if scope.deadline == math.inf:  # nothing told when it was sent
                scope.deadline = clock.now() + limits.read
            return await _read(response, longest=LONGEST_RESPONSE)
        proof = Proof.UNKNOWN if guard.may_have_been_sent else Proof.NOT_SENT
        raise ExchangeError("ReadTimeout", proof=proof, timed_out=True)

    def _check_reach(self, built: Any) -> None:
        try:
            check_reach(built.url.host)
        except ConfigurationError as refused:
            raise self._library.ConnectError(str(refused), request=built) from refused

    def _may_have_left(self, built: Any, guard: SendGuard) -> bool:
        """Tell whether a request may have been written before an exception that denies it.

        A transport that says that it could not connect is believed, unless it was seen to write; or
        somebody watches httpcore in our place, and nothing is seen.
        """
        if guard.was_written or not guard.may_have_been_sent:
            return guard.was_written
        return not (self._bounds_itself or isinstance(built.extensions.get("trace"), _Watch))

    def _tells_all(self) -> bool:
        """Tell whether all that a client can send of a request is told: it has not left until then.

        Its auth, a hook, or a subclass, may send it in ways of its own.
        """
        client = self._client
        is_plain = client.auth is None and not any(client.event_hooks.values())
        if not is_plain or not (self._owned or type(client) is self._library.AsyncClient):
            return False
        carriers = (client._transport, *client._mounts.values())  # noqa: SLF001 - not public
        return {type(one) for one in carriers if one is not None} <= self._telling

    def _own_request(
        self, request: SentRequest, headers: HeaderFields, extensions: dict[str, Any]
    ) -> Any:
        # A third of what `build_request` takes: most requests go to one URL, under one key.
        body = request.body or b""
        fields = [
            (b"Host", self._host),
            (b"Accept-Encoding", b"identity"),
            *Headers.of(headers).raw,
        ]
        if body or request.method not in BODILESS:
            fields.append((b"Content-Length", b"%d" % len(body)))
        built = self._library.Request(
            request.method,
            self._url_of(self._base_url + request.target),
            headers=fields,
            stream=self._library.ByteStream(body),
            extensions=extensions,
        )
        built.read()  # for tools that look at its content
        return built

    def _their_request(
        self, request: SentRequest, headers: HeaderFields, extensions: dict[str, Any]
    ) -> Any:
        # The client builds it, so that its own headers, cookies and parameters take part.
        built = self._client.build_request(
            request.method,
            self._base_url + request.target,
            content=request.body,
            headers=list(Headers.of(headers).raw),
            extensions=extensions,
        )
        built.url = _with_query_of(request, built.url, self._reserved)
        return built

    async def aclose(self) -> None:
        """Close the client, unless it is the user's."""
        if self._owned:
            with contained_log_lines():
                await self._client.aclose()


class _Watch:
    """Watches what httpcore tells of a request, and when, as its extension `trace`."""

    def __init__(
        self,
        method: str,
        limits: Timeout,
        guard: SendGuard,
        scope: anyio.CancelScope,
        check_reach: Callable[[], None],
    ) -> None:
        self.was_repeated = False
        self._check_reach = check_reach
        self._written = False
        self._method = method
        self._limits = limits
        self._guard = guard
        self._scope = scope

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        guard, limits = self._guard, self._limits
        if isinstance(info.get("exception"), Exception):
            guard.fail()
        elif not self._written and name.endswith("receive_response_headers.complete"):
            guard.fail()  # a proxy's response to CONNECT, which may refuse; nothing tells
        elif getattr(info.get("request"), "method", b"") == b"CONNECT":
            return  # it is still only being connected
        elif ".connect_" in name:
            guard.begin()
            self._check_reach()
        elif name.endswith("send_request_headers.started"):
            if self._written and self._method not in BODILESS:
                self.was_repeated = True
                raise repeated()
            self._check_reach()
            guard()
            self._written = True
            self._scope.deadline = clock.now() + limits.write + limits.read
        elif name.endswith("send_request_body.complete"):
            guard.last_byte = clock.now()
            self._scope.deadline = guard.last_byte + limits.read


async def _read(response: Any, longest: float) -> WireResponse:
    """Read a response, within bounds."""
    try:
        if longest < math.inf and "network_stream" in response.extensions:  # it is no mock's
            method = response.request.method.encode("ascii")
            refuse_by_head(method, response.status_code, response.headers.raw)
        body = await _body_of(response, longest)
        if response.status_code in LAST_WORDS and not response.is_closed:
            _end_connection(response)
    finally:
        await response.aclose()
    return WireResponse(response.status_code, _lower(response.headers), body)


def _end_connection(response: Any) -> None:
    """End the connection of a response: see `LAST_WORDS`.

    Its pool closes a connection that is at its end when it takes it back. One that were closed
    already would be none of its states: on trio it stumbles over it. HTTP/2 tells responses apart,
    and what another transport works on is not known.
    """
    stream = response.extensions.get("network_stream")
    if stream is None or response.http_version == "HTTP/2":
        return
    with contextlib.suppress(Exception):  # it is closed already, or has no socket
        found = stream.get_extra_info("socket")
        # uvloop's stand-in for a socket can't be shut down, so this is another name of its own.
        with socket.fromfd(found.fileno(), found.family, found.type) as connected:
            connected.shutdown(socket.SHUT_RD)


async def _body_of(response: Any, longest: float) -> bytes:
    """Read a response's body, within bounds."""
    if response.is_stream_consumed or hasattr(response, "_content"):  # a hook has read it
        return cast("bytes", response.content)
    pieces, size = list[bytes](), 0
    async for piece in response.stream:  # `aiter_raw` would give its connection back
        pieces.append(piece)
        size += len(piece)
        if size > longest:
            raise unreadable("ResponseTooLong")
    return decoded(response.headers.get("content-encoding", ""), b"".join(pieces))


def own_client(library: Any, transport: Any) -> Any:
    """Make a client of our own over a transport.

    It reads nothing of the environment: the transport sees to proxies, and the key is the only
    credential.
    """

    class Cookies(library.Cookies):  # type: ignore[misc] # of either library
        """No cookies. Looking for them takes a quarter of the time that `send` does."""

        def extract_cookies(self, response: Any) -> None:
            """Keep none."""

    class Client(library.AsyncClient):  # type: ignore[misc] # of either library
        cookies = property(lambda _client: none, lambda _client, _cookies: None)

        def _build_redirect_request(self, _request: Any, _response: Any) -> None:
            """Build none: it is not followed, and a `Location` that is no URL would be an error."""

    none = Cookies()
    return Client(transport=transport, trust_env=False)


@lru_cache(maxsize=256)
def _timeouts(limits: Timeout) -> dict[str, float | None]:
    # `pool`: the gate bounds how many requests there are, and the deadline how long they wait. A
    # pool timeout would fail calls that only had to wait.
    return {"connect": limits.connect, "read": limits.read, "write": limits.write, "pool": None}


def _with_query_of(request: SentRequest, url: Any, reserved: frozenset[str]) -> Any:
    """Put a request's query back: httpx drops it where the client has parameters of its own.

    Without `amount` a capture takes all there is, and with another's it takes that. So what the API
    has a meaning for is ours alone; the client's other parameters follow.
    """
    ours = request.target.partition("?")[2]
    built = url.query.decode("ascii")
    if built == ours:
        return url
    theirs = [part for part in built.split("&") if part.partition("=")[0] not in reserved]
    query = "&".join(filter(None, [ours, *theirs]))
    return url.copy_with(query=query.encode("ascii") or None)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
