"""Outcomes of the items of a run. Plain values and decisions.

Every item of a run ends in one of five states:

| State | Meaning | The next run with the same journal |
|---|---|---|
| `APPLIED` | it took effect | skips it |
| `REJECTED` | the service, the gateway, or a check before it was sent refused it | skips it |
| `FAILED` | nothing was applied: no connection, too many throttles, a wrong key | sends it |
| `UNKNOWN` | it may have been applied | looks it up first |
| `SKIPPED` | an earlier run had finished it; its result is that run's | skips it |
"""

from __future__ import annotations

import enum
from typing import Generic, TypeVar

import attrs

from chat2pay_async import errors
from chat2pay_async._api import models
from chat2pay_async.errors import Attempt, Chat2PayError, Proof

__all__ = ["Outcome", "State", "state_after", "state_of"]

Q = TypeVar("Q")
R = TypeVar("R")


class State(enum.StrEnum):
    """End of an item of a run."""

    APPLIED = "applied"
    """It took effect."""
    REJECTED = "rejected"
    """The service, the gateway, or a check before it was sent refused it."""
    FAILED = "failed"
    """Nothing was applied; a later run sends it."""
    UNKNOWN = "unknown"
    """It may have been applied; a later run looks it up first."""
    SKIPPED = "skipped"
    """An earlier run had finished it."""


@attrs.frozen
class Outcome(Generic[Q, R]):
    """Outcome of one item."""

    key: str
    """The order number, or payment link reference."""
    request: Q
    """The request, as it was sent."""
    state: State
    result: R | None = None
    """The result of the call; of a skipped item, the result in the earlier run."""
    error: Chat2PayError | None = None
    """The error of the call."""
    attempts: tuple[Attempt, ...] = ()
    """Every attempt at the call, in order."""

    @property
    def recovered(self) -> bool:
        """True if the result was read back after a response was lost."""
        return bool(getattr(self.result, "recovered", False))

    @property
    def delivered(self) -> bool | None:
        """True if the message to the customer was sent: a link's, or a receipt's.

        False: the item took effect, but its message was not sent. None: no message was asked for,
        or it is not known.
        """
        if isinstance(self.error, errors.ReceiptNotSentError):
            return False
        return self.result.delivered if isinstance(self.result, models.PaymentLink) else None

    @property
    def without_url(self) -> bool:
        """True if the payment URL was asked for, and went with a lost response."""
        asked = getattr(self.request, "return_payment_link", False)
        return self.recovered and bool(asked) and getattr(self.result, "payment_link", "") is None

    @property
    def declined(self) -> bool:
        """True if the gateway declined it."""
        return isinstance(self.result, models.GatewayResult) and self.result.succeeded is False


def state_after(result: object) -> State:
    """Return the state after a call that returned: a gateway's response may be no success."""
    if isinstance(result, models.GatewayResult) and result.succeeded is not True:
        return State.UNKNOWN if result.succeeded is None else State.REJECTED
    return State.APPLIED


_NOT_FINAL = frozenset({401, 403})


def state_of(error: Chat2PayError) -> State:
    """Return the state after a call that raised."""
    if isinstance(error, errors.OutcomeUnknownError):
        return State.UNKNOWN
    if isinstance(error, errors.ReceiptNotSentError):
        return State.APPLIED  # the receipt exists without its message
    if isinstance(error, errors.RequestValidationError):
        return State.REJECTED
    if isinstance(error, errors.ApiError) and error.status_code not in _NOT_FINAL:
        # 408, 425, 429 and 5xx prove something else.
        refused = bool(error.attempts) and error.attempts[-1].proof is Proof.REJECTED
        return State.REJECTED if refused else State.FAILED
    return State.FAILED
