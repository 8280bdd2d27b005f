"""One exchange: bytes out, status, headers and bytes back. What breaks is classified here.

Our own connections are driven directly (`DirectTransport`), a client or transport of the user's
through its library (`HttpxTransport`): httpx, and httpx2 just the same. Classes come from the
library that the given object's class comes from, since an `httpx2.AsyncClient` refuses an
`httpx.Request`, and its errors are no `httpx.HTTPError`. The third transport has a
module of its own, `_transport/aiohttp.py`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import httpcore
import httpx

from chat2pay_async._config import Timeout
from chat2pay_async._transport.base import ExchangeError, SendGuard, Transport, WireResponse
from chat2pay_async._transport.pool import Download, Once, PoolTransport, origin_of
from chat2pay_async.errors import ConfigurationError, Proof, SentRequest

__all__ = [
    "DirectTransport",
    "ExchangeError",
    "HttpxTransport",
    "SendGuard",
    "Transport",
    "transport_for",
]


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


def classify(error: Exception, request: object) -> ExchangeError:
    """Say what an exception out of an exchange proves.

    The nearest class with a row counts, if the exception is about this very request. One from
    another request (made by a user's hook or auth), or one with no row at all, may have been
    raised after ours was sent.
    """
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ROWS), "")
    not_sent = name in NOT_SENT_ERRORS and _request_of(error) is request
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
        f"{type(thing).__name__} is no client and no transport of httpx (or httpx2)"
    )


class HttpxTransport:
    """Exchanges over an `AsyncClient`: our own, or the user's, which is never closed by us."""

    def __init__(
        self,
        client: Any,
        library: Any,
        base_url: str,
        *,
        owned: bool,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self._client = client
        self._library = library
        self._base_url = base_url
        self._owned = owned
        self._reserved = reserved

    async def exchange(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Send a request once and read its answer; redirects are not followed."""
        if self._client.is_closed:
            raise ConfigurationError("the http_client of this client is closed")
        # `pool=None`: the gate bounds how many requests there are, and the deadline how long they
        # wait. A pool timeout would fail calls that only had to wait.
        timeout = self._library.Timeout(
            connect=limits.connect, read=limits.read, write=limits.write, pool=None
        )
        # The client builds it, so that its own headers, cookies and parameters take part.
        built = self._client.build_request(
            request.method,
            self._base_url + request.target,
            content=request.body,
            headers=headers,
            timeout=timeout,
            extensions={"first_byte": guard},
        )
        built.url = _with_query_of(request, built.url, self._reserved)
        try:
            answer = await self._client.send(built, follow_redirects=False)
        except self._library.HTTPStatusError as error:
            if error.request is not built:  # a hook's own request: its status says nothing of ours
                raise classify(error, built) from error
            # A user's hook called `raise_for_status`. The answer came; its body was not read.
            answer = error.response
            return WireResponse(answer.status_code, _lower(answer.headers), b"")
        except ExchangeError:  # the guard's own: it is too late
            raise
        except Exception as error:
            raise classify(error, built) from error
        except BaseException:
            guard.may_have_been_sent = not built.extensions.get("not_sent")
            raise
        return WireResponse(answer.status_code, _lower(answer.headers), answer.content)

    async def aclose(self) -> None:
        """Close the client, unless it is the user's."""
        if self._owned:
            await self._client.aclose()


class DirectTransport:
    """Exchanges over our own connections, with no object of httpx on the way: they cost as much.

    Nothing of the user's is lost by it. Whoever has hooks, auth or cookies of their own passes an
    `http_client`.
    """

    def __init__(self, transport: PoolTransport, base_url: str) -> None:
        self._transport = transport
        self._url = httpx.URL(base_url)
        self._key = origin_of(self._url)
        self._host = self._url.netloc
        self._path = self._url.raw_path.rstrip(b"/")

    async def exchange(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Send a request once and read its answer; redirects are not followed."""
        extensions = _extensions(limits, guard)
        try:
            return await self._carried_out(self._written(request, headers, extensions), extensions)
        except ExchangeError:  # the guard's own: it is too late
            raise
        except Exception as error:
            raise classify(error, None) from error
        except BaseException:
            guard.may_have_been_sent = not extensions["not_sent"]
            raise

    async def _carried_out(
        self, sent: httpcore.Request, extensions: dict[str, Any]
    ) -> WireResponse:
        pool = self._transport
        place = await pool.take(self._key, None)
        try:
            link = await pool.link(place, self._key, self._url)
            extensions["not_sent"] = False
            answer = await link.send(sent)
        except BaseException:
            await pool.give_back(place, clean=False)
            raise
        download = Download(answer, link.wire, functools.partial(pool.give_back, place))
        pieces = [piece async for piece in download]
        await download.aclose()
        found = {
            name.decode("ascii").lower(): value.decode("latin-1") for name, value in answer.headers
        }
        whole = b"".join(pieces)
        if "content-encoding" in found:  # although none was asked for
            whole = httpx.Response(answer.status, headers=answer.headers, content=whole).content
        return WireResponse(answer.status, found, whole)

    def _written(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
        extensions: dict[str, Any],
    ) -> httpcore.Request:
        body = request.body
        fields = [
            (b"Host", self._host),
            (b"Accept-Encoding", b"identity"),
            *((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()),
        ]
        if body is not None:
            fields.append((b"Content-Length", b"%d" % len(body)))
        url = self._url
        target = self._path + request.target.encode("ascii")
        return httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target),
            headers=fields,
            content=Once(body or b""),
            extensions=extensions,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def _extensions(limits: Timeout, guard: SendGuard) -> dict[str, Any]:
    """What a request to our own connections carries beside itself; see `_transport/pool.py`."""
    timeout = {"connect": limits.connect, "read": limits.read, "write": limits.write, "pool": None}
    return {"timeout": timeout, "first_byte": guard, "not_sent": True}


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


def transport_for(  # noqa: PLR0913 - what a client's settings say about its connections
    base_url: str,
    *,
    max_connections: int,
    transport: httpx.AsyncBaseTransport | Literal["aiohttp"] | None = None,
    http_client: httpx.AsyncClient | None = None,
    proxy: str | httpx.URL | httpx.Proxy | None = None,
    http2: bool = False,
    reserved: frozenset[str] = frozenset(),
) -> Transport:
    """The transport that a client's settings ask for.

    `reserved` are the query parameters that the API has a meaning for: never a user's client's own.

    Raises:
        ConfigurationError: The settings contradict each other, or name no httpx object.
    """
    if transport is not None and http_client is not None:
        raise ConfigurationError("pass http_client or transport, not both")
    if transport == "aiohttp":
        return _fast_transport(base_url, proxy, http2=http2)
    if (transport is not None or http_client is not None) and (proxy is not None or http2):
        raise ConfigurationError(
            "proxy and http2 are about this client's own connections: set them on the "
            "http_client or transport that you pass"
        )
    if http_client is not None:
        library = library_of(http_client)
        if not isinstance(http_client, library.AsyncClient):
            raise ConfigurationError("http_client must be an httpx.AsyncClient")
        return HttpxTransport(http_client, library, base_url, owned=False, reserved=reserved)
    if transport is None:
        own = PoolTransport(max_connections=max_connections, proxy=proxy, http2=http2)
        return DirectTransport(own, base_url)
    library = library_of(transport)
    if not isinstance(transport, library.AsyncBaseTransport):
        raise ConfigurationError(
            'transport must be "aiohttp" or an httpx.AsyncBaseTransport, such as '
            f"httpx.AsyncHTTPTransport, not {type(transport).__name__}"
        )
    client = library.AsyncClient(transport=transport)
    return HttpxTransport(client, library, base_url, owned=True)


def _fast_transport(
    base_url: str, proxy: str | httpx.URL | httpx.Proxy | None, *, http2: bool
) -> Transport:
    if http2:
        raise ConfigurationError('transport="aiohttp" has no HTTP/2: leave one of the two out')
    try:
        from chat2pay_async._transport.aiohttp import AiohttpTransport  # noqa: PLC0415 - it needs the extra
    except ImportError as error:
        raise ConfigurationError(
            'transport="aiohttp" needs its extra: pip install "chat2pay-async[aiohttp]"'
        ) from error
    return AiohttpTransport(base_url, proxy=proxy)
