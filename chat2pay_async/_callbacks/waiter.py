"""The waiter that callbacks wake."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async._callbacks.models import (
    ENDED,
    Callback,
    ConfigurationCallback,
    UnknownCallback,
    stage_of,
)
from chat2pay_async._config import is_number
from chat2pay_async.errors import ConfigurationError

__all__ = ["CallbackWaiter"]


@attrs.define(eq=False)
class _Turn:
    """A pause that ends when its turn comes."""

    event: clock.Event
    is_over: bool = False


class CallbackWaiter:
    """Lets `client.wait_for_payment` go by callbacks, for any number of payments at a time.

        waiter = CallbackWaiter()
        router = Router(waiter=waiter)      # or `waiter.notify(callback)`
        transaction = await client.wait_for_payment(ref, waiter=waiter)

    A payment whose callback tells its end is looked up at once; what the look-up does not show is
    not believed. All the others share one poller, in case a callback is lost: it makes `rate`
    look-ups a second, always of the payment that is due for longest. Waiting for 10 000 payments
    makes no more requests than that.

    It is for one event loop. `notify` may be called from any thread.
    """

    # Who waits has no timer: one timer gives turns, so many a second, to whoever has been due for
    # longest. A payment that is woken goes at once, and then every few seconds for a while: a
    # callback may be ahead of what look-ups show.

    SOON: Final = 2.0
    """The most seconds between two look-ups of a payment that was woken."""
    SOON_FOR: Final = 10.0
    """Seconds for which it needs no turn."""
    MOST_WOKEN: Final = 10_000
    """The latest that were woken, whether anybody waits for them yet or not."""

    def __init__(self, *, rate: float = 5.0) -> None:
        """Set the pace.

        Args:
            rate: Look-ups a second, of all payments together, those that callbacks ask for apart.
                They count against the client's own `rate_limit`, too.

        Raises:
            ConfigurationError: It is no number above 0.
        """
        if not (is_number(rate) and rate > 0):
            raise ConfigurationError("rate must be look-ups a second, more than 0")
        self._gap = 1 / rate
        self._due: list[tuple[float, int, _Turn]] = []
        """A heap; a turn that is over is passed when it comes up."""
        self._numbers = count()
        self._waiting: dict[str, list[_Turn]] = {}
        self._woken: OrderedDict[str, float | None] = OrderedDict()
        """Until when each goes without a turn; None: it is counted from its next pause on."""
        self._next_turn = -math.inf
        self._timer = math.inf
        """The time that the timer is set for."""
        self._loop: object = None
        self._call: clock.Wake | None = None

    def notify(self, callback: Callback) -> None:
        """Have the payment looked up that a callback is about, if it may have come to its end."""
        if isinstance(callback, ConfigurationCallback) or callback.payment_link_ref is None:
            return
        if isinstance(callback, UnknownCallback) or stage_of(callback) >= ENDED:
            self.wake(callback.payment_link_ref)

    def wake(self, name: str) -> None:
        """Let a payment be looked at now; from any thread."""
        if self._call is None:  # nobody waits yet
            self._ring(name)
        else:
            self._call(partial(self._ring, name))

    def _ring(self, name: str) -> None:
        self._woken[name] = None
        self._woken.move_to_end(name)
        if len(self._woken) > self.MOST_WOKEN:
            self._woken.popitem(last=False)
        for turn in self._waiting.get(name, ()):
            turn.event.set()

    async def pause(self, name: str, seconds: float) -> None:
        """Wait for so many seconds, and then for a turn; or until the payment is woken.

        Raises:
            ConfigurationError: Others wait on another event loop.
        """
        now = clock.now()
        if self._call is None:
            self._loop, self._call = clock.current_loop(), clock.wake_of_this_loop()
        elif self._loop != clock.current_loop():
            raise ConfigurationError(
                "this waiter already works on another event loop: make one for each loop"
            )
        if name in self._woken:
            until = self._woken[name] or now + self.SOON_FOR
            if now < until:
                self._woken[name] = until
                return await anyio.sleep(min(seconds, self.SOON))
            del self._woken[name]
        turn = _Turn(clock.Event())
        waiting = self._waiting.setdefault(name, [])
        waiting.append(turn)
        heappush(self._due, (now + seconds, next(self._numbers), turn))
        self._set_timer()
        try:
            await turn.event.wait()
        finally:
            turn.is_over = True
            waiting.remove(turn)
            if not waiting:
                del self._waiting[name]
        return None

    def _set_timer(self) -> None:
        """Set the timer for the first turn, unless it is set for that, or for an earlier time."""
        while self._due and self._due[0][2].is_over:
            heappop(self._due)
        if self._due:
            at = max(self._due[0][0], self._next_turn)
            if at < self._timer:
                self._timer = at
                clock.later(max(0.0, at - clock.now()), partial(self._give_turn, at))

    def _give_turn(self, at: float) -> None:
        if at != self._timer:  # an earlier one was set after this
            return
        self._timer = math.inf
        due, _, turn = self._due[0]
        if due <= at and not turn.is_over:
            heappop(self._due)[2].event.set()
            self._next_turn = max(at, clock.now()) + self._gap
        self._set_timer()
