"""The fast transport: exchanges over our own connections, without an httpx object on the way."""

from __future__ import annotations

import ssl
import sys

import httpcore
import httpx

from chat2pay_async._config import HeaderFields, Headers, Timeout
from chat2pay_async._transport.base import (
    BODILESS,
    ExchangeError,
    Limits,
    Outgoing,
    SendGuard,
    WireResponse,
)
from chat2pay_async._transport.decoding import decoded
from chat2pay_async._transport.mocks import patched_places, refuse_mocks
from chat2pay_async._transport.pool import Pool
from chat2pay_async._transport.proxy import proxy_for
from chat2pay_async._transport.response_reader import named
from chat2pay_async.errors import Proof, SentRequest

__all__ = ["FastTransport"]


class FastTransport:
    """Exchanges over a pool of our own."""

    def __init__(
        self,
        base_url: str,
        *,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        http2: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Make a transport; nothing is connected yet.

        Args:
            base_url: The base URL of all requests.
            proxy: What all of them go through. Default: what the environment names.
            http2: Whether HTTP/2 is offered to the server.
            ssl_context: For TLS. Default: one as httpx makes it, made when it is first needed.

        Raises:
            ConfigurationError: A setting can't be used.
        """
        url = httpx.URL(base_url)
        self._pool = Pool(
            url, proxy=proxy_for(base_url, proxy), http2=http2, ssl_context=ssl_context
        )
        self._front = url.raw_path.rstrip(b"/")
        self._common = ((b"Host", url.netloc), (b"Accept-Encoding", b"identity"))
        self._harmless: tuple[object, ...] = ()
        """The functions that stood last in the places that mocks patch."""

    @property
    def proxy(self) -> str:
        """Host and port of the proxy that requests go through; empty where there is none."""
        return self._pool.proxy

    async def exchange(
        self, request: SentRequest, headers: HeaderFields, limits: Timeout, guard: SendGuard
    ) -> WireResponse:
        """Send a request once and read its response; redirects are not followed."""
        outer = sys.exception()
        if (places := patched_places()) != self._harmless:
            refuse_mocks(places)
            self._harmless = places
        body = request.body or b""
        fields = self._common + Headers.of(headers).raw
        if body or request.method not in BODILESS:
            fields = (*fields, (b"Content-Length", b"%d" % len(body)))
        target = self._front + request.target.encode("ascii")
        outgoing = Outgoing(request.method.encode("ascii"), target, fields, body)
        within = Limits(limits.connect, limits.read, limits.write)
        try:
            received = await self._pool.exchange(outgoing, within, guard)
        except ExchangeError:  # it is too late to send it, or too much to read
            raise
        except Exception as error:
            failure = classify(error, sent=guard.may_have_been_sent)
            failure.proxy, failure.outer = self._pool.proxy, outer
            raise failure from error
        headers_ = named(received.fields)
        body = decoded(headers_.get("content-encoding", ""), received.body)
        return WireResponse(received.status, headers_, body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


def classify(error: Exception, *, sent: bool) -> ExchangeError:
    """Say what an exception out of the pool proves: nothing, once the request may have left."""
    return ExchangeError(
        type(error).__name__,
        proof=Proof.UNKNOWN if sent else Proof.NOT_SENT,
        timed_out=isinstance(error, TimeoutError | httpcore.TimeoutException),
    )
