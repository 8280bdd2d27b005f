"""How much, how fast, and when not at all: pace, pause, concurrency.

Both queues here are first come first served, but look-ups go ahead of everything else: the verdict
on a call that may have been applied must not wait behind a campaign.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async.errors import ConfigurationError

__all__ = ["LONGEST_PAUSE", "Gate", "Limiter", "Pace", "RateLimit", "pace_of", "pause_after"]

LONGEST_PAUSE: Final = 60.0
"""Seconds; a longer `Retry-After` is the caller's to wait for."""

_UNASKED_PAUSE: Final = 1.0
_SLOWER: Final = 0.7
_LOWEST_SHARE: Final = 0.05
_LOWEST_RATE: Final = 0.1
_RECOVERY: Final = 0.05


def pause_after(retry_after: float | None) -> float:
    """Seconds that a client pauses after a 429 that asked for so many (None: it did not say)."""
    return _UNASKED_PAUSE if retry_after is None else min(retry_after, LONGEST_PAUSE)


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    whole = attribute.name == "burst"
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        raise ConfigurationError(
            f"{type(instance).__name__}({attribute.name}=…) must be "
            + ("an int, 1 or more" if whole else "a number greater than 0")
        )


@attrs.frozen
class RateLimit:
    """At most `requests` in `per` seconds, evenly spaced, after up to `burst` at once."""

    requests: float = attrs.field(validator=_positive)
    per: float = attrs.field(default=1.0, validator=_positive)
    """Seconds."""
    burst: int = attrs.field(default=1, validator=_positive)


class Limiter(Protocol):
    """Decides when a request may leave; `rate_limit=` takes one of your own."""

    async def acquire(self) -> None:
        """Wait for a request's turn; called before each, look-ups included."""
        ...

    def throttled(self, retry_after: float | None) -> None:
        """The service said 429, and to wait this many seconds (None: it did not say)."""
        ...


def pace_of(given: object) -> Pace | Limiter:
    """What a client's `rate_limit` means.

    Raises:
        ConfigurationError: Nothing that can limit.
    """
    if given is None or isinstance(given, RateLimit):
        return Pace(given)
    if all(callable(getattr(given, name, None)) for name in ("acquire", "throttled")):
        return cast("Limiter", given)
    raise ConfigurationError(
        f"rate_limit must be a RateLimit(…), a Limiter or None, not {type(given).__name__}: "
        "RateLimit(20) is 20 requests a second"
    )


class _Ticket:
    """A place in a queue, and the bell that wakes who waits there."""

    __slots__ = ("bell",)

    def __init__(self) -> None:
        self.bell = clock.Bell()

    async def wait(self) -> None:
        try:
            await self.bell.wait()
        finally:
            self.bell = clock.Bell()


_Queue: TypeAlias = "OrderedDict[_Ticket, None]"


class Pace:
    """The client's own limiter: GCRA, and a pause that all its tasks share after a 429.

    A 429 lowers the rate to 0.7 of what it was, but not below 5 % of the setting or one request in
    10 seconds. It rises again by 5 % of the setting a second.
    """

    def __init__(self, limit: RateLimit | None = None) -> None:
        self.interval = 0.0 if limit is None else limit.per / limit.requests
        """Seconds between two requests at the full rate; 0 where there is no limit."""
        self._tolerance = 0.0 if limit is None else (limit.burst - 1) * self.interval
        self._lowest = min(1.0, max(_LOWEST_SHARE, _LOWEST_RATE * self.interval))
        self._share, self._lowered_at = 1.0, 0.0
        self._next = -math.inf
        self._paused_until = -math.inf
        self._ahead: _Queue = OrderedDict()
        self._queue: _Queue = OrderedDict()

    @property
    def free(self) -> bool:
        """Whether there is nothing to wait for, now or later."""
        return not self.interval and self._paused_until == -math.inf

    async def acquire(self, *, ahead: bool = False) -> None:
        """Wait for a request's turn; `ahead` of all that are not."""
        if self.free:
            return
        now = clock.now()
        if self._queue or self._ahead or now < self._ready_at():
            await self._wait_in(self._ahead if ahead else self._queue)
            now = clock.now()
        self._next = max(self._next, now) + self.interval / self._share_at(now)

    def throttled(self, retry_after: float | None) -> None:
        """Pause every task of the client, and go slower."""
        now = clock.now()
        self._paused_until = max(self._paused_until, now + pause_after(retry_after))
        self._share = max(self._lowest, self._share_at(now) * _SLOWER)
        self._lowered_at = now

    def _share_at(self, now: float) -> float:
        """The rate, as a share of the setting."""
        if self._share == 1.0:
            return 1.0
        risen = self._share + _RECOVERY * (now - self._lowered_at)
        return min(1.0, risen)

    def _ready_at(self) -> float:
        return max(self._next - self._tolerance, self._paused_until)

    def _head(self) -> _Ticket | None:
        return next(iter(self._ahead or self._queue), None)

    async def _wait_in(self, queue: _Queue) -> None:
        """Wait to be first, and then for the time; only the first sleeps by the clock."""
        ticket, displaced = _Ticket(), self._head()
        queue[ticket] = None
        if displaced is not None and self._head() is ticket:
            displaced.bell.ring()
        try:
            while True:
                if self._head() is not ticket:
                    await ticket.wait()
                    continue
                delay = self._ready_at() - clock.now()
                if delay <= 0:
                    return
                with anyio.move_on_after(delay):
                    await ticket.wait()
        finally:
            del queue[ticket]
            following = self._head()
            if following is not None:
                following.bell.ring()


class Gate(AbstractAsyncContextManager[None]):
    """As many requests at a time as there are connections; a tenth of them is for look-ups only.

    Waiting here costs a call next to nothing. In httpx a call that waits for a connection costs
    11 KB, every pool event walks all that wait, and one cancelled there can leak a connection.
    """

    def __init__(self, size: int) -> None:
        given: object = size
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise ConfigurationError("max_connections must be an int, 1 or more")
        self._free = size
        self._reserved = size // 10
        self._ahead: _Queue = OrderedDict()
        self._queue: _Queue = OrderedDict()
        # Known on first use: a client may be made outside a running loop.
        self._loop: object = None
        self.ahead = _Ahead(self)
        """The same gate, for a look-up: `async with gate.ahead`."""

    async def acquire(self, *, ahead: bool = False) -> None:
        """Wait for a connection's turn."""
        self._check_loop()
        reserved = 0 if ahead else self._reserved
        if self._free > reserved and not self._ahead and (ahead or not self._queue):
            self._free -= 1
            return
        queue, ticket = self._ahead if ahead else self._queue, _Ticket()
        queue[ticket] = None
        try:
            await ticket.bell.wait()
        except BaseException:
            if ticket in queue:
                del queue[ticket]
            else:  # it was let through in the same moment
                self.release()
            raise

    def release(self) -> None:
        """Give the place back, to whoever is first."""
        self._free += 1
        if self._ahead or self._queue:
            self._let_in()

    def _let_in(self) -> None:
        while self._ahead and self._free > 0:
            self._let_through(self._ahead)
        while self._queue and self._free > self._reserved:
            self._let_through(self._queue)

    def _let_through(self, queue: _Queue) -> None:
        self._free -= 1
        ticket, _ = queue.popitem(last=False)
        ticket.bell.ring()

    def _check_loop(self) -> None:
        loop = clock.current_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop != loop:
            raise ConfigurationError(
                "this client already works on another event loop, and its connections belong to "
                "that one: make one client for each loop (each asyncio.run, each thread)"
            )

    # Not a method that calls it: each call that waits here would keep a frame more.
    __aenter__ = acquire

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class _Ahead(AbstractAsyncContextManager[None]):
    """A gate's other door."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def __aenter__(self) -> None:
        await self._gate.acquire(ahead=True)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gate.release()
