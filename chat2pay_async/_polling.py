"""Polling for payments, patient with failures that pass."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

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


class Waiter(Protocol):
    """Paces the look-ups of all the payments that are waited for with it."""

    async def pause(self, name: str, seconds: float) -> None:
        """Wait for so many seconds, or until the payment is to be looked at."""


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
