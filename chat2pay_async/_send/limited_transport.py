"""The transport with its limits: every request, look-ups included, leaves through here.

All of a client's tasks share its slots (as many as connections), its rate and its pause.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from chat2pay_async import _eventloop as clock
from chat2pay_async._api.headers import KeySource, RequestHeaders, added_headers
from chat2pay_async._api.responses import date_of, may_be_the_services
from chat2pay_async._config import ApiKey, Timeout
from chat2pay_async._send.limits import Limiter, RateLimiter, Slots, pause_after
from chat2pay_async._tracebacks import hide_frames, hiding_frames
from chat2pay_async._transport.base import ExchangeError, SendGuard, Transport, WireResponse
from chat2pay_async.errors import ConfigurationError, Proof, SentRequest
from chat2pay_async.events import log_failure

__all__ = ["KeyUnavailableError", "LimitedTransport"]

_THROTTLED = 429


def wall_clock() -> datetime:
    """Return this machine's time, in UTC."""
    return datetime.now(UTC)


class KeyUnavailableError(ExchangeError):
    """A request that was not sent, since the user's callable returned no key in time."""

    def __init__(self, why: str) -> None:
        super().__init__("ApiKeyUnavailable", proof=Proof.NOT_SENT, timed_out=False)
        self.why = why


class LimitedTransport:
    """A client's transport, with what must be waited for before it may be used."""

    def __init__(
        self,
        transport: Transport,
        slots: Slots,
        limiter: RateLimiter | Limiter,
        key: str | KeySource,
        added: Mapping[str, str] | None = None,
    ) -> None:
        self.key_source: KeySource | None = key if isinstance(key, KeySource) else None
        """The source that is asked for the key before each attempt; None: it is always the same."""
        self._key = ApiKey("" if isinstance(key, KeySource) else key)
        self._added = added_headers(None, None) if added is None else added
        self._headers = RequestHeaders.of(self._key, self._added)
        """Those of the latest key."""
        self._transport = transport
        self._slots = slots
        self._limiter = limiter
        self._closed = False
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

    def take_slot(self) -> bool:
        """Take the slot of an attempt, where one is free and nobody waits for it."""
        return self._slots.take()

    def wait_for_slot(self) -> Awaitable[None]:
        """Wait for the slot of an attempt, and take it."""
        return self._slots.acquire()

    def release_slot(self) -> None:
        """Free the slot of an attempt."""
        self._slots.release()

    @property
    def is_rate_free(self) -> bool:
        """True where there is no rate, and no pause, to wait for; never once it is closed."""
        limiter = self._limiter  # `wait_for_rate` raises where it is closed
        return not self._closed and isinstance(limiter, RateLimiter) and limiter.free

    def wait_for_rate(self, *, priority: bool = False) -> Awaitable[None]:
        """Wait, in a slot, for the pause to end and for the rate to allow a request.

        Raises:
            ConfigurationError: It was closed in the meantime.
        """
        self.check_open()
        if priority and isinstance(self._limiter, RateLimiter):
            return self._limiter.acquire(priority=True)
        return self._limiter.acquire()

    async def ask_key(self, seconds: float) -> ApiKey | None:
        """Ask for the key of an attempt; None: it is always the same.

        Args:
            seconds: The most that it may take.

        Raises:
            KeyUnavailableError: The user's callable failed.
            ConfigurationError: It returned no key.
        """
        if self.key_source is None:
            return None
        try:
            with hiding_frames():
                return await clock.within(seconds, self.key_source.ask())
        except ConfigurationError:
            raise
        except clock.DeadlinePassed as error:
            raise KeyUnavailableError(f"took longer than {seconds:g} s") from error
        except Exception as error:
            raise KeyUnavailableError(f"raised {type(error).__name__}") from error

    async def key_or_failure(self, seconds: float) -> ApiKey | KeyUnavailableError | None:
        """Ask for a key as `ask_key` does, and return a failure: `exchange` raises it."""
        try:
            return await self.ask_key(seconds)
        except KeyUnavailableError as failure:
            return failure

    async def has_had_key(self, fingerprint: str, seconds: float) -> bool:
        """Tell whether a key with this fingerprint is the client's, or was one that it asked for.

        Args:
            fingerprint: The key's.
            seconds: The most that asking for the present key may take.
        """
        if self.key_source is None:
            return fingerprint == self._key.fingerprint
        with contextlib.suppress(KeyUnavailableError):  # a new process has none before it asks
            await self.ask_key(seconds)
        return self.key_source.has_returned(fingerprint)

    async def exchange(
        self,
        request: SentRequest,
        limits: Timeout,
        guard: SendGuard | None = None,
        *,
        is_look_up: bool = False,
        key: ApiKey | KeyUnavailableError | None = None,
    ) -> WireResponse:
        """Send a request once; see `Transport.exchange`.

        Args:
            request: The request.
            limits: Its timeouts.
            guard: What lets it leave, or not.
            is_look_up: No cache on the way may answer it.
            key: What was asked for the attempt, or why there is none.
        """
        self.check_open()  # again: the wait for the rate may have been long
        if isinstance(key, KeyUnavailableError):
            raise key
        if key is not None and key.reveal() != self._key.reveal():
            self._key, self._headers = key, RequestHeaders.of(key, self._added)
        headers = self._headers.plain if request.body is None else self._headers.with_body
        if is_look_up:
            headers = self._headers.look_up
        outer = sys.exception()
        try:  # as `hiding_frames` does, in a fifth of the time
            return await self._transport.exchange(request, headers, limits, guard or SendGuard())
        except BaseException as error:
            hide_frames(error, outer)
            raise

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
        return None if date is None else date + timedelta(0, clock.now() - then)

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
