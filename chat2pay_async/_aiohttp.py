"""The fast engine: exchanges over an `aiohttp.ClientSession` of our own, on asyncio and uvloop.

It needs the extra `aiohttp`. What an exception proves follows from one fact: whether the request
was handed to a connection before. That is noticed in `aiohttp.ClientRequest.send`, which writes the
first byte; whatever ends before it has not been sent. A kept connection that the other side has
closed is noticed there too, and the request takes another one.

aiohttp would repeat a GET or PUT by itself if its connection was lost, without saying so. It is
kept from it: a DELETED that was applied and repeated would be told as "no such integration".
It has no timeout for writing: `Timeout.read` is the limit there, for the whole request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

import aiohttp
import httpx
from yarl import URL

from chat2pay_async import _clock as clock
from chat2pay_async._answers import WireResponse
from chat2pay_async._config import Headers, Timeout
from chat2pay_async._exchange import Departure, ExchangeError, StaleVerdictError
from chat2pay_async._network import is_readable
from chat2pay_async._pool import KEEPALIVE_EXPIRY
from chat2pay_async._proxies import Proxies
from chat2pay_async.errors import ConfigurationError, Proof, SentRequest

__all__ = ["AiohttpEngine"]


class _Sending:
    """One exchange, as its request meets a connection."""

    __slots__ = ("departure", "left")

    def __init__(self, departure: Departure) -> None:
        self.departure = departure
        self.left = False


_sending: ContextVar[_Sending] = ContextVar("chat2pay_async_sending")


class _ClosedError(Exception):
    """A kept connection was closed by the other side; nothing was written to it."""


class _Request(aiohttp.ClientRequest):
    """A request that tells when it leaves."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Write it."""
        sending = _sending.get()
        if sending.left or conn.transport is None:  # aiohttp repeats it; a new one is lost already
            raise aiohttp.ServerDisconnectedError
        line = conn.protocol
        # Only one that was kept: on a new one, TLS's own messages may still be coming in, and a
        # server that closes each at once would have us connect for ever.
        if hasattr(line, _KEPT) and _is_closed(conn.transport):
            raise _ClosedError
        sending.departure()
        sending.left = True
        setattr(line, _KEPT, True)
        return await super().send(conn)


_KEPT: Final = "chat2pay_kept"
"""Marks a connection that has carried a request."""


def _is_closed(transport: Any) -> bool:
    """Whether the other side has closed it, which the loop may not have had the time to notice."""
    # A socket that is idle has nothing else to read.
    return is_readable(transport.get_extra_info("socket"))


@lru_cache(maxsize=256)
def _timeout_of(limits: Timeout) -> aiohttp.ClientTimeout:
    # No total: the gate bounds how many requests there are, and the deadline how long they take.
    # `connect` is over all of it: `sock_connect` is no limit for names and for a proxy's CONNECT.
    return aiohttp.ClientTimeout(total=None, connect=limits.connect, sock_read=limits.read)


class AiohttpEngine:
    """Exchanges over aiohttp."""

    def __init__(
        self,
        base_url: str,
        *,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        connector: Any = None,
    ) -> None:
        """Make an engine; nothing is connected yet.

        Args:
            base_url: Where everything goes.
            proxy: What all of it goes through; what the environment names, unless given.
            connector: Makes the connections; for tests.

        Raises:
            ConfigurationError: The proxy can't be used.
        """
        self._base_url = base_url
        self._proxy = _proxy_for(base_url, proxy)
        # aiohttp tells them to a proxy that it has CONNECT to https, and to no other.
        plain = not base_url.startswith("https:")
        self._told: dict[str, str] = (plain and self._proxy.get("proxy_headers")) or {}
        self._connector = connector
        self._session: aiohttp.ClientSession | None = None

    async def exchange(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
        limits: Timeout,
        departure: Departure,
    ) -> WireResponse:
        """Send a request once and read its answer; redirects are not followed."""
        session = self._session or self._open()
        if self._told:
            headers = Headers({**headers, **self._told})
        sending = _Sending(departure)
        _sending.set(sending)
        try:
            while True:
                try:
                    return await self._once(session, request, headers, _timeout_of(limits))
                except _ClosedError:
                    continue  # each time with one connection less
        except StaleVerdictError as error:
            raise ExchangeError("StaleVerdict", proof=Proof.NOT_SENT, timed_out=False) from error
        except aiohttp.ClientResponseError as error:
            # It shows the request's headers, the key among them: only its own cause is told.
            raise classify(error, left=sending.left) from error.__cause__
        except Exception as error:  # aiohttp's, the system's, and what its parsers stumble over
            raise classify(error, left=sending.left) from error
        except BaseException:
            departure.possible = sending.left
            raise

    async def _once(
        self,
        session: aiohttp.ClientSession,
        request: SentRequest,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
    ) -> WireResponse:
        async with session.request(
            request.method,
            _url(self._base_url + request.target),
            data=request.body,
            headers=headers,
            timeout=limits,
            allow_redirects=False,
            **self._proxy,
        ) as answer:
            body = await answer.read()
            return WireResponse(answer.status, _lower(answer.raw_headers), body)

    def _open(self) -> aiohttp.ClientSession:
        if not isinstance(clock.current_loop(), asyncio.AbstractEventLoop):
            raise ConfigurationError(
                'transport="aiohttp" works on asyncio and uvloop; leave it out on trio'
            )
        connector = self._connector or aiohttp.TCPConnector(
            limit=0,  # the gate in front of it is the limit
            keepalive_timeout=KEEPALIVE_EXPIRY,
            ssl=_tls() if self._base_url.startswith("https:") else True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            skip_auto_headers=("User-Agent", "Content-Type"),
        )
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def classify(error: BaseException, *, left: bool) -> ExchangeError:
    """Say what an exception out of an exchange proves: nothing, once the request left."""
    return ExchangeError(
        type(error).__name__,
        proof=Proof.UNKNOWN if left else Proof.NOT_SENT,
        timed_out=isinstance(error, asyncio.TimeoutError),
    )


def _tls() -> Any:
    # The same authorities as for the other engine, the environment's included.
    return httpx.create_ssl_context()


@lru_cache(maxsize=256)
def _url(text: str) -> URL:
    return URL(text, encoded=True)  # it is percent-encoded already


def _lower(headers: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _proxy_for(base_url: str, proxy: str | httpx.URL | httpx.Proxy | None) -> dict[str, Any]:
    """The proxy to go through, as aiohttp's arguments."""
    found = Proxies(proxy, trust_env=True).proxy_for(httpx.URL(base_url))
    if found is None:
        return {}
    url = found.url
    scheme, host = url.scheme.decode(), url.host.decode()
    if scheme.startswith("socks"):
        raise ConfigurationError('transport="aiohttp" knows no SOCKS proxies: leave it out')
    address = URL.build(scheme=scheme, host=host, port=url.port)
    told = {name.decode(): value.decode() for name, value in found.headers}
    return {"proxy": address, "proxy_headers": told or None}
