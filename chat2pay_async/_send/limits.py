"""The limits that all calls of a client share: rate, pause after a 429, concurrency.

Both queues are first come first served, but look-ups have priority: the verdict on a call that may
have been applied must not wait behind a campaign.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import is_number
from chat2pay_async._values import Value
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "LONGEST_PAUSE",
    "Limiter",
    "Pace",
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


@attrs.frozen(eq=False, repr=False)
class RateLimit(Value):
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
        self.interval: float = 0.0 if limit is None else limit.per / limit.requests
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


class Slots:
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


# The pace that a service allows, without I/O or a clock -------------------------------------------


class Pace:
    """The rate at which a service lets requests through, as far as its 429s have shown it.

    A throttle lowers it to 0.7 of what it was, and to what was accepted lately. Then it follows a
    cubic curve, as TCP CUBIC and the adaptive mode of AWS's SDKs do: in three seconds up to a
    plateau, which lies a little below the rate that was accepted; along it for some seconds; and
    beyond it, faster and faster, since the service may allow more by now. Where it is not known
    what is allowed, the rate doubles twice a second until the next throttle shows it. Throttles
    that come by chance, or several in a row, leave a rate at which calls can still be looked up.

    All of it is counted in requests a second. It knows no clock.
    """

    SLOWER: Final = 0.7
    LOWEST_SHARE: Final = 0.05
    LOWEST_RATE: Final = 0.1
    PLATEAU: Final = 0.95
    """Of the rate that was accepted: to go along just below it pays, since a throttle costs more
    than a second."""
    TO_PLATEAU: Final = 3.0
    """Seconds."""
    BEYOND: Final = 8.0
    """Seconds that it takes from the plateau to 1.3 times as much."""
    GROWTH: Final = 0.05
    """A low rate rises beyond the plateau by this, times the cube of the seconds."""
    DOUBLING: Final = 0.5
    """Seconds."""
    STEP: Final = 1.1
    """The most by which the rate grows from one request to the next, while it doubles: slow
    responses, or too few requests, would come too late to show that it is too fast."""
    SEARCH_FROM: Final = 1.0
    """The lowest rate at which it begins to double."""
    BUSY: Final = 0.25
    """Of the rate: where less than this was accepted, the client sent less than it might have."""
    FEWEST: Final = 10
    """The number of accepted requests that are looked at, even if that was long ago."""

    def __init__(self, ceiling: float = math.inf) -> None:
        self._ceiling = ceiling
        share = self.LOWEST_SHARE * ceiling if ceiling < math.inf else 0.0
        self._lowest = min(ceiling, max(share, self.LOWEST_RATE))
        self._start = self._plateau = ceiling
        self._latest = math.inf
        self._accepted: deque[float] = deque()

    @property
    def is_unlimited(self) -> bool:
        """True where there is no ceiling, and never was a throttle."""
        return self._start == math.inf

    def after(self, seconds: float) -> float:
        """Return the rate so many seconds after the latest pause."""
        if self._plateau == math.inf:
            doubled = self._start * 2 ** min(seconds / self.DOUBLING, 64.0)
            return min(doubled, self._latest * self.STEP)
        rate, low = self._start, self.SLOWER * self._plateau
        if rate < low:
            climb = self.DOUBLING * math.log2(low / rate)
            if seconds < climb:
                return float(rate * 2 ** (seconds / self.DOUBLING))
            rate, seconds = low, seconds - climb
        if seconds < self.TO_PLATEAU:
            return self._plateau - (self._plateau - rate) * (1 - seconds / self.TO_PLATEAU) ** 3
        beyond = (seconds - self.TO_PLATEAU) ** 3
        risen = max((1 - self.SLOWER) * self._plateau / self.BEYOND**3, self.GROWTH) * beyond
        return min(self._ceiling, self._plateau + risen)

    def use(self, seconds: float) -> float:
        """Return the rate, for a request that leaves so many seconds after the latest pause."""
        self._latest = self.after(seconds)
        return self._latest

    def note_accepted(self, now: float) -> None:
        """Note a response that is no 429."""
        self._accepted.append(now)
        self._forget(now)

    def _forget(self, now: float) -> None:
        while len(self._accepted) > self.FEWEST and self._accepted[0] < now - 1:
            self._accepted.popleft()

    def _accepted_rate(self, now: float, least: float = 1.0) -> float:
        """Return how much was accepted a second, in the latest second, or in `least` seconds."""
        self._forget(now)
        count = len(self._accepted)
        span = max(least, now - self._accepted[0]) if count else 0.0
        return count / span if span else 0.0

    def lower(self, now: float, seconds: float) -> None:
        """Go slower after a throttle, so many seconds after the latest pause."""
        rate, accepted = self.after(seconds), self._accepted_rate(now)
        was_busy = self._accepted_rate(now, min(1.0, seconds)) >= self.BUSY * rate
        self._accepted.clear()
        is_known = self._plateau < math.inf
        fallen = self.SLOWER * rate if rate < math.inf else accepted
        if accepted and rate < math.inf and (was_busy or not is_known):
            # Where the pause ended less than a second ago, what was accepted shows little.
            kept = min(rate, self.SLOWER * self._plateau) if is_known and seconds < 1 else 0.0
            self._plateau = max(self.PLATEAU * min(rate, accepted), kept)
            fallen = min(fallen, self._plateau)
        elif self._ceiling == math.inf and (accepted or not is_known):
            self._plateau = math.inf
            fallen = max(min(fallen, accepted or fallen), self.SEARCH_FROM)
        else:
            # Where nothing at all is accepted, that says nothing about the rate.
            self._plateau = min(self._plateau, rate) if accepted else self._plateau
            fallen = min(fallen, self.SLOWER * self._plateau)
            fallen = max(fallen, self.LOWEST_SHARE * self._plateau)
        self._start = max(fallen, self._lowest)
        self._plateau = max(self._plateau, self._start)
        self._latest = self._start / self.STEP
