"""The waiter that callbacks wake."""

from __future__ import annotations

from chat2pay_async._callbacks.models import (
    ENDED,
    Callback,
    ConfigurationCallback,
    UnknownCallback,
    stage_of,
)
from chat2pay_async._polling import Waiter

__all__ = ["CallbackWaiter"]


class CallbackWaiter(Waiter):
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

    def __init__(self, *, rate: float = 5.0) -> None:
        """Set the pace.

        Args:
            rate: Look-ups a second, of all payments together, those that callbacks ask for apart.
                They count against the client's own `rate_limit`, too.

        Raises:
            ConfigurationError: It is no number above 0.
        """
        super().__init__(rate)

    def notify(self, callback: Callback) -> None:
        """Have the payment looked up that a callback is about, if it may have come to its end."""
        if isinstance(callback, ConfigurationCallback) or callback.payment_link_ref is None:
            return
        if isinstance(callback, UnknownCallback) or stage_of(callback) >= ENDED:
            self.wake(callback.payment_link_ref)
