"""The transport that a client's settings ask for."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import httpx

from chat2pay_async import _config
from chat2pay_async._tracebacks import hiding_arguments
from chat2pay_async._transport.fast import FastTransport
from chat2pay_async._transport.httpx import HttpxTransport, library_of, own_client
from chat2pay_async._transport.pool import PooledTransport
from chat2pay_async._transport.proxy import proxy_of, shown
from chat2pay_async.errors import ConfigurationError

__all__ = ["http_client_for", "library_of_types", "transport_for"]


class _Types:
    """A library's types; a class without values for each, where it is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # somebody looks at all that a module has
            raise AttributeError(name)
        try:
            return getattr(importlib.import_module(self._name), name)
        except ImportError:
            return type(name, (), {"__module__": self._name})


def library_of_types(name: str) -> Any:
    """Return what stands for a library in annotations, and imports it when they are evaluated."""
    return _Types(name)


if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library_of_types("httpx2")


def transport_for(  # noqa: PLR0913 - what a client's settings say about its connections
    base_url: str,
    *,
    transport: (
        httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport | Literal["fast"] | None
    ) = None,
    http_client: httpx.AsyncClient | httpx2.AsyncClient | None = None,
    proxy: str | httpx.URL | httpx.Proxy | None = None,
    ssl_context: ssl.SSLContext | None = None,
    http2: bool = False,
    reserved: frozenset[str] = frozenset(),
) -> HttpxTransport | FastTransport:
    """Make the transport that a client's settings ask for.

    Args:
        base_url: The base URL of all requests.
        transport: A transport of the user's, or the fast one.
        http_client: A client of the user's.
        proxy: What our own connections go through.
        ssl_context: What our own connections do TLS with.
        http2: Whether our own connections offer HTTP/2.
        reserved: The query parameters that the API has a meaning for: never the http_client's own.

    Raises:
        ConfigurationError: The settings contradict each other, or name no httpx object.
    """
    if transport is not None and http_client is not None:
        raise ConfigurationError("pass http_client or transport, not both")
    if transport == "fast":
        _check_tls(ssl_context)
        return FastTransport(base_url, proxy=proxy, http2=http2, ssl_context=ssl_context)
    has_settings = proxy is not None or http2 or ssl_context is not None
    if (transport is not None or http_client is not None) and has_settings:
        raise ConfigurationError(
            "proxy, ssl_context and http2 are about this client's own connections: set them on the "
            "http_client or transport that you pass"
        )
    _check_tls(ssl_context)
    if http_client is not None:
        library = library_of(http_client)
        if not isinstance(http_client, library.AsyncClient):
            raise ConfigurationError("http_client must be an httpx.AsyncClient")
        _check_proxy(http_client, library.URL(base_url))
        return HttpxTransport(http_client, library, base_url, owned=False, reserved=reserved)
    carries: Any = transport
    if carries is None:
        carries = PooledTransport(base_url, proxy=proxy, http2=http2, ssl_context=ssl_context)
    library = library_of(carries)
    if not isinstance(carries, library.AsyncBaseTransport):
        raise ConfigurationError(
            'transport must be "fast" or an httpx.AsyncBaseTransport, such as '
            f"httpx.AsyncHTTPTransport, not {type(transport).__name__}"
        )
    client = own_client(library, carries)
    _check_proxy(client, library.URL(base_url))
    return HttpxTransport(
        client,
        library,
        base_url,
        owned=True,
        bounds_itself=isinstance(carries, PooledTransport),
    )


def _check_proxy(client: Any, url: Any) -> None:
    """Refuse a client of the user's that shows the key to a proxy.

    Raises:
        ConfigurationError: It would send plain http to another machine.
    """
    proxy = proxy_of(client, url)
    if proxy is None or url.scheme != "http" or _config.is_loopback(proxy.host.decode("ascii")):
        return
    raise ConfigurationError(
        "plain http is for servers on this machine, but what you pass would send it, and the API "
        f"key with it, to the proxy {shown(proxy)}: make it with trust_env=False, or without that "
        "proxy"
    )


def _check_tls(given: object) -> None:
    """Refuse what TLS with a server can't be done with.

    Raises:
        ConfigurationError: It is that.
    """
    if given is None:
        return
    if not isinstance(given, ssl.SSLContext):
        raise ConfigurationError(
            f"ssl_context must be an ssl.SSLContext, not {type(given).__name__}: "
            "ssl.create_default_context(cafile=…), and .load_cert_chain(…) for a certificate of "
            "your own"
        )
    if given.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ConfigurationError(
            "this ssl_context is a server's: make a client's, ssl.create_default_context()"
        )


@hiding_arguments
def http_client_for(
    base_url: str | None = None,
    *,
    proxy: str | httpx.URL | httpx.Proxy | None = None,
    ssl_context: ssl.SSLContext | None = None,
    http2: bool = False,
    allow_http_hosts: Iterable[str] = (),
    **settings: Any,
) -> httpx.AsyncClient:
    """Make an `httpx.AsyncClient` over the connections that a client has by itself.

    For `AsyncChat2Pay(http_client=…)` with hooks, auth or headers of your own. A connection whose
    request was given up is reset, so that nothing of it can be delivered later; httpx's own are
    not. Close it yourself, after the `AsyncChat2Pay`.

    Its `auth` must send the credentials at once. A POST or PUT leaves once in an attempt: a flow
    that answers a challenge (401) by sending it again ends the attempt as unknown, which is looked
    up, since whoever stands between may have challenged what the service had done. A flow that
    keeps what it learnt, as `httpx.DigestAuth`, may learn it from a read (`get_configuration`).

    Args:
        base_url: The base URL of all requests. Default: CHAT2PAY_BASE_URL, else production.
        proxy: The proxy of all requests. Default: the environment's.
        ssl_context: The TLS settings; see `AsyncChat2Pay`.
        http2: Offer HTTP/2 to the server.
        allow_http_hosts: See `AsyncChat2Pay`.
        **settings: What else `httpx.AsyncClient` takes: `event_hooks`, `auth`, `headers`, ….

    Raises:
        ConfigurationError: A setting can't be used.
    """
    _check_tls(ssl_context)
    if ignored := sorted({"verify", "cert", "http1", "limits"} & settings.keys()):
        raise ConfigurationError(
            f"{ignored[0]} is of httpx's own connections, which this client does not use: pass "
            "ssl_context for authorities and client certificates"
        )
    url = _config.base_url_of(base_url, allow_http_hosts)
    carries = PooledTransport(url, proxy=proxy, http2=http2, ssl_context=ssl_context)
    return httpx.AsyncClient(transport=carries, trust_env=False, **settings)
