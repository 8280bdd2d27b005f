"""The transport with its limits: every request, look-ups included, leaves through here.

All of a client's tasks share its slots (as many as connections), its rate and its pause.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from chat2pay_async import _eventloop as clock
from chat2pay_async._api.responses import date_of, may_be_the_services
from chat2pay_async._config import Headers, Timeout, __version__
from chat2pay_async._send.limits import Limiter, RateLimiter, Slots, pause_after
from chat2pay_async._tracebacks import hiding_frames
from chat2pay_async._transport.base import SendGuard, Transport, WireResponse
from chat2pay_async.errors import ConfigurationError, SentRequest
from chat2pay_async.events import log_failure

__all__ = ["LimitedTransport"]

_THROTTLED = 429


def wall_clock() -> datetime:
    """Return this machine's time, in UTC."""
    return datetime.now(UTC)


class LimitedTransport:
    """A client's transport, with what must be waited for before it may be used."""

    def __init__(
        self, transport: Transport, slots: Slots, limiter: RateLimiter | Limiter, key: str
    ) -> None:
        self._transport = transport
        self._slots = slots
        self._limiter = limiter
        self._closed = False
        common = {
            "Authorization": key,
            "Accept": "application/json",
            "User-Agent": f"chat2pay-async/{__version__}",
        }
        self._headers = Headers(common)
        self._body_headers = Headers(common | {"Content-Type": "application/json"})
        self._look_up_headers = Headers(common | {"Cache-Control": "no-cache"})
        self._dated: tuple[WireResponse, float] | None = None
        """The latest response of the service's that had a `Date`, and when it came."""

    def check_open(self) -> None:
        """Refuse to be used once closed.

        Raises:
            ConfigurationError: It is closed.
        """
        if self._closed:
            raise ConfigurationError(
                "this client is closed: make calls inside its `async with`, or before `aclose()`"
            )

    def slot(self, *, priority: bool = False) -> AbstractAsyncContextManager[None]:
        """Return a slot to enter before anything is written out; look-ups have priority."""
        return self._slots.first() if priority else self._slots

    def wait_for_rate(self, *, priority: bool = False) -> Awaitable[None]:
        """Wait, in a slot, for the pause to end and for the rate to allow a request.

        Raises:
            ConfigurationError: It was closed in the meantime.
        """
        self.check_open()
        if priority and isinstance(self._limiter, RateLimiter):
            return self._limiter.acquire(priority=True)
        return self._limiter.acquire()

    async def exchange(
        self,
        request: SentRequest,
        limits: Timeout,
        guard: SendGuard | None = None,
        *,
        is_look_up: bool = False,
    ) -> WireResponse:
        """Send a request once; see `Transport.exchange`.

        Args:
            request: The request.
            limits: Its timeouts.
            guard: What lets it leave, or not.
            is_look_up: No cache on the way may answer it.
        """
        self.check_open()  # again: the wait for the rate may have been long
        headers = self._headers if request.body is None else self._body_headers
        if is_look_up:
            headers = self._look_up_headers
        with hiding_frames():
            return await self._transport.exchange(request, headers, limits, guard or SendGuard())

    def note(self, response: WireResponse) -> None:
        """Note what a response says of the service's time, and of the rate that it allows."""
        now = clock.now()
        if isinstance(self._limiter, RateLimiter) and response.status_code != _THROTTLED:
            self._limiter.accepted(now)
        if "date" in response.headers and may_be_the_services(response):
            self._dated = response, now

    def service_time(self) -> datetime | None:
        """Return the time on the service's clock; None where no response has said it."""
        if self._dated is None:
            return None
        response, then = self._dated
        date = date_of(response.headers)
        return None if date is None else date + timedelta(seconds=clock.now() - then)

    def now(self) -> datetime:
        """Return this machine's time: it is shown, and decides nothing."""
        return wall_clock()

    @property
    def interval(self) -> float:
        """Seconds between two requests at the full rate; 0 where that is not known."""
        return self._limiter.interval if isinstance(self._limiter, RateLimiter) else 0.0

    def throttled(self, retry_after: float | None, ago: float) -> float:
        """Pause all tasks after a 429, for the seconds that are returned.

        Args:
            retry_after: The seconds that it asks to wait; None: it does not say.
            ago: Seconds since its request was sent.
        """
        if isinstance(self._limiter, RateLimiter):
            self._limiter.throttled(retry_after, ago)
        else:
            try:
                self._limiter.throttled(retry_after)
            except Exception as error:  # noqa: BLE001 - the user's: it decides nothing
                log_failure("a limiter's `throttled` failed", error)
        return pause_after(retry_after)

    async def aclose(self) -> None:
        """Close the connections; later calls are refused.

        Raises:
            ConfigurationError: They belong to another event loop.
        """
        if not self._closed:
            self._slots.check_loop()
        self._closed = True
        await self._transport.aclose()
