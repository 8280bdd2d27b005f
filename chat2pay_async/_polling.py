"""Polling for payments: patient with failures that pass, and paced where many are waited for."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors
from chat2pay_async._api import models
from chat2pay_async._config import is_number
from chat2pay_async.errors import Chat2PayError

__all__ = ["Waiter", "payment_has_ended", "wait_for_payment"]

_PAYMENT_ENDED = frozenset(
    {
        models.PaymentStatus.SUCCESS,
        models.PaymentStatus.FAILED,
        models.PaymentStatus.REVERSED,
        models.PaymentStatus.VOIDED,
    }
)
# A response about another link is none: the next may be about this one.
_PASSING = (
    errors.TransportError,
    errors.ServerError,
    errors.RateLimitedError,
    errors.ResponseDecodeError,
)
MOST_FAILURES = 10
"""Looks in a row that may fail."""
_SLOWER = 1.5


def payment_has_ended(transaction: models.Transaction) -> bool:
    """Tell whether nothing more will come of a link: it is paid, declined, undone or gone."""
    return transaction.payment_status in _PAYMENT_ENDED or models.link_ended(transaction)


async def wait_for_payment(  # noqa: PLR0913 - how it polls is five settings
    look: Callable[[], Awaitable[models.Transaction]],
    *,
    settle: float,
    timeout: float | None,  # noqa: ASYNC109 - how long to poll is this function's matter
    initial: float,
    maximum: float,
    pause: Callable[[float], Awaitable[None]] | None = None,
) -> models.Transaction:
    """Look until a payment has ended; see `AsyncChat2Pay.wait_for_payment`.

    A new link may not be shown for `settle` seconds, so that a 404 says nothing until then. Each
    look, also the first, follows a pause; that is told how long to be. Default: it only sleeps.
    """
    given = (initial, maximum, *(() if timeout is None else (timeout,)))
    if not all(is_number(one) and one > 0 for one in given):
        raise errors.ConfigurationError(
            "wait_for_payment: initial, maximum and timeout must be seconds, more than 0 (timeout: "
            "or None, which waits for as long as it takes)"
        )
    until_shown = clock.now() + settle
    failures, seconds = 0, 0.0
    last_error: Chat2PayError | None = None
    with anyio.move_on_after(timeout):
        while True:
            await (anyio.sleep if pause is None else pause)(seconds)
            try:
                transaction = await look()
            except (*_PASSING, errors.NotFoundError) as error:
                is_passing = isinstance(error, _PASSING)
                failures += is_passing
                if failures == MOST_FAILURES or (not is_passing and clock.now() >= until_shown):
                    raise
                last_error = error
            else:
                if payment_has_ended(transaction):
                    return transaction
                failures, until_shown, last_error = 0, -math.inf, None
            seconds = min(initial, maximum)
            initial *= _SLOWER
    if isinstance(last_error, errors.NotFoundError):
        raise last_error
    raise errors.RequestTimeoutError(
        f"wait_for_payment: the payment did not come to its end within {timeout} s",
        operation="wait_for_payment",
    ) from last_error


@attrs.define(eq=False)
class _Turn:
    """A pause that ends when its turn comes."""

    event: clock.Event
    is_over: bool = False


class Waiter:
    """Paces the look-ups of all the payments that are waited for with it; see `CallbackWaiter`.

    Who waits has no timer: one timer gives turns, so many a second, to whoever has been due for
    longest. A payment that is woken goes at once, and then every few seconds for a while: a
    callback may be ahead of what look-ups show.
    """

    SOON: Final = 2.0
    """The most seconds between two look-ups of a payment that was woken."""
    SOON_FOR: Final = 10.0
    """Seconds for which it needs no turn."""
    MOST_WOKEN: Final = 10_000
    """The latest that were woken, whether anybody waits for them yet or not."""

    def __init__(self, rate: float) -> None:
        if not (is_number(rate) and rate > 0):
            raise errors.ConfigurationError("rate must be look-ups a second, more than 0")
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
            raise errors.ConfigurationError(
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
