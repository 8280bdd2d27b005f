"""The limits that all calls of a client share: rate, pause after a 429, concurrency.

Both queues are first come first served, but look-ups have priority: the verdict on a call that may
have been applied must not wait behind a campaign.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import is_number
from chat2pay_async._send.pace import Pace
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "LONGEST_PAUSE",
    "Limiter",
    "RateLimit",
    "RateLimiter",
    "Slots",
    "limiter_of",
    "pause_after",
]

LONGEST_PAUSE: Final = 60.0
"""Seconds; a longer `Retry-After` is the caller's to wait for."""

_SHORTEST_PAUSE: Final = 1.0
"""Seconds; a `Retry-After` of 0, or a date that has passed, would turn the pause off."""


def pause_after(retry_after: float | None) -> float:
    """Return for how long a client pauses after a 429 that asked for so many seconds, if any."""
    return min(max(retry_after or 0.0, _SHORTEST_PAUSE), LONGEST_PAUSE)


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    whole = attribute.name == "burst"
    if not is_number(value) or value <= 0 or (whole and not isinstance(value, int)):
        raise ConfigurationError(
            f"{type(instance).__name__}({attribute.name}=…) must be "
            + ("an int, 1 or more" if whole else "a number greater than 0")
        )


@attrs.frozen
class RateLimit:
    """At most `requests` in `per` seconds, evenly spaced, after up to `burst` at once.

    Raises:
        ConfigurationError: A value is not greater than 0, or `burst` is no int.
    """

    requests: float = attrs.field(validator=_positive)
    """The number of requests, look-ups included; a fraction is possible."""
    per: float = attrs.field(default=1.0, validator=_positive)
    """Seconds."""
    burst: int = attrs.field(default=1, validator=_positive)
    """The most requests that may leave at once, after a time without any."""


class Limiter(Protocol):
    """Decides when a request may leave; `rate_limit=` takes one of your own."""

    async def acquire(self) -> None:
        """Wait until a request may leave; called before each, look-ups included."""
        ...

    def throttled(self, retry_after: float | None) -> None:
        """Note a 429 that asks to wait this many seconds (None: it did not say)."""
        ...


def limiter_of(given: object) -> RateLimiter | Limiter:
    """Return the limiter that a client's `rate_limit` means.

    Raises:
        ConfigurationError: It can't limit anything.
    """
    if given is None or isinstance(given, RateLimit):
        return RateLimiter(given)
    if all(callable(getattr(given, name, None)) for name in ("acquire", "throttled")):
        return cast("Limiter", given)
    raise ConfigurationError(
        f"rate_limit must be a RateLimit(…), a Limiter or None, not {type(given).__name__}: "
        "RateLimit(20) is 20 requests a second"
    )


class _Waiter:
    """A call that waits in a queue, with the event that wakes it; it may be woken several times."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = clock.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        try:
            await self._event.wait()
        finally:
            self._event = clock.Event()


_Queue: TypeAlias = "OrderedDict[_Waiter, None]"


class RateLimiter:
    """The client's own limiter: GCRA, and a pause that all its tasks share after a 429.

    A 429 lowers the rate to 0.7 of what it was, but not below 5 % of the setting or one request in
    10 seconds. It rises again by itself. Where no rate is set, the first 429 begins to teach one.
    """

    def __init__(self, limit: RateLimit | None = None) -> None:
        self.interval = 0.0 if limit is None else limit.per / limit.requests
        """Seconds between two requests at the full rate; 0 where there is no limit."""
        self._tolerance = 0.0 if limit is None else (limit.burst - 1) * self.interval
        self._pace = Pace(1 / self.interval if self.interval else math.inf)
        self._next = -math.inf
        self._paused_until = -math.inf
        self._first: _Queue = OrderedDict()
        self._others: _Queue = OrderedDict()

    @property
    def free(self) -> bool:
        """True where there is nothing to wait for, now or later."""
        return self._pace.is_unlimited

    async def acquire(self, *, priority: bool = False) -> None:
        """Wait until a request may leave, with `priority` over all that have none."""
        if self.free:
            return
        now = clock.now()
        if self._others or self._first or now < self._ready_at():
            await self._wait_in(self._first if priority else self._others)
            now = clock.now()
        self._next = max(self._next, now) + 1 / self._pace.use(self._since_pause(now))

    def accepted(self, now: float) -> None:
        """Note a response that is no 429."""
        # What was on the wire when a pause began says nothing about the rate after it.
        if now >= self._paused_until:
            self._pace.note_accepted(now)

    def throttled(self, retry_after: float | None, ago: float = 0.0) -> None:
        """Pause every task of the client, and go slower.

        Args:
            retry_after: The seconds that the 429 asks to wait; None: it does not say.
            ago: Seconds since its request was sent. All that were on the wire when the rate was
                lowered are one storm, which lowers it once.
        """
        now = clock.now()
        # Nothing is sent in a pause, so what was sent before it ended was sent before it began.
        if now - ago > self._paused_until - _SHORTEST_PAUSE / 2:
            self._pace.lower(now, self._since_pause(now))
        self._paused_until = max(self._paused_until, now + pause_after(retry_after))

    def _since_pause(self, now: float) -> float:
        return max(0.0, now - self._paused_until)

    def _ready_at(self) -> float:
        return max(self._next - self._tolerance, self._paused_until)

    def _next_waiter(self) -> _Waiter | None:
        return next(iter(self._first or self._others), None)

    async def _wait_in(self, queue: _Queue) -> None:
        """Wait to be first, and then for the time; only the first sleeps by the clock."""
        waiter, displaced = _Waiter(), self._next_waiter()
        queue[waiter] = None
        if displaced is not None and self._next_waiter() is waiter:
            displaced.wake()
        try:
            while True:
                if self._next_waiter() is not waiter:
                    await waiter.wait()
                    continue
                delay = self._ready_at() - clock.now()
                if delay <= 0:
                    return
                with anyio.move_on_after(delay):
                    await waiter.wait()
        finally:
            del queue[waiter]
            following = self._next_waiter()
            if following is not None:
                following.wake()


class Slots(AbstractAsyncContextManager[None]):
    """As many slots as there are connections: `async with slots`.

    A tenth is for look-ups only; at least one, where there are two or more.

    Waiting here costs a call next to nothing. In httpx a call that waits for a connection costs
    11 KB, every pool event walks all that wait, and one cancelled there can leak a connection.
    """

    def __init__(self, size: int) -> None:
        given: object = size
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise ConfigurationError("max_connections must be an int, 1 or more")
        self._free = size
        self._reserved = max(size // 10, min(1, size - 1))
        self._first: OrderedDict[clock.Event, None] = OrderedDict()
        self._others: OrderedDict[clock.Event, None] = OrderedDict()
        # Known on first use: a client may be made outside a running loop.
        self._loop: object = None

    def take(self, *, priority: bool = False) -> bool:
        """Take a slot where one is free, and nobody waits for it; tell whether it was."""
        loop = clock.current_loop()
        if self._loop != loop:
            self.check_loop()
            self._loop = loop
        reserved = 0 if priority else self._reserved
        if self._free > reserved and not self._first and (priority or not self._others):
            self._free -= 1
            return True
        return False

    async def acquire(self, *, priority: bool = False) -> None:
        """Wait for a slot, with `priority` over all that have none."""
        if self.take(priority=priority):
            return
        queue, admitted = self._first if priority else self._others, clock.Event()
        queue[admitted] = None
        try:
            await admitted.wait()
        except BaseException:
            if admitted in queue:
                del queue[admitted]
            else:  # it was admitted in the same moment
                self.release()
            raise

    def release(self) -> None:
        """Free a slot, for whoever is first."""
        self._free += 1
        for queue, reserved in ((self._first, 0), (self._others, self._reserved)):
            while queue and self._free > reserved:
                self._free -= 1
                queue.popitem(last=False)[0].set()

    def check_loop(self) -> None:
        """Refuse any event loop but the one that slots were used on.

        Raises:
            ConfigurationError: It is another one.
        """
        if self._loop not in {None, clock.current_loop()}:
            raise ConfigurationError(
                "this client already works on another event loop, and its connections belong to "
                "that one: make one client for each loop (each asyncio.run, each thread)"
            )

    # Not a method that calls it: each call that waits here would keep a frame more.
    __aenter__ = acquire

    async def __aexit__(self, *_: object) -> None:
        self.release()

    @asynccontextmanager
    async def first(self) -> AsyncGenerator[None]:
        """Hold a slot, as a look-up does: with priority over all that is none."""
        await self.acquire(priority=True)
        try:
            yield
        finally:
            self.release()
