"""Outcomes of the items of a run. Plain values and decisions.

Every item of a run ends in one of five states:

| State | What it means | On the next run with the same journal |
|---|---|---|
| `APPLIED` | it took effect | is skipped |
| `REJECTED` | it was refused: by the service, by the gateway, or before it was sent | is skipped |
| `FAILED` | nothing was applied: not reached, throttled out, a wrong key | goes again |
| `UNKNOWN` | it may have been applied | is looked up first |
| `SKIPPED` | it was final before this run; its result is the one of then | is skipped |
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
    """How an item of a run ended."""

    APPLIED = "applied"
    """It took effect."""
    REJECTED = "rejected"
    """It was refused: by the service, by the gateway, or before it was sent."""
    FAILED = "failed"
    """Nothing was applied; a later run tries again."""
    UNKNOWN = "unknown"
    """It may have been applied; a later run looks it up first."""
    SKIPPED = "skipped"
    """It was final before this run."""


@attrs.frozen
class Outcome(Generic[Q, R]):
    """What became of one item."""

    key: str
    """Its order number, or payment link reference."""
    request: Q
    """What was asked for, as it was sent."""
    state: State
    result: R | None = None
    """What the call returned; of a skipped item, what it returned then."""
    error: Chat2PayError | None = None
    """What the call raised."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def recovered(self) -> bool:
        """Whether the result was read back after an answer was lost."""
        return bool(getattr(self.result, "recovered", False))

    @property
    def delivered(self) -> bool | None:
        """Whether the message to the customer went out: a link's, or a receipt's.

        False: it took effect, but nobody was told. None: no message was asked for, or it is not
        known.
        """
        if isinstance(self.error, errors.ReceiptNotSentError):
            return False
        return self.result.delivered if isinstance(self.result, models.PaymentLink) else None

    @property
    def declined(self) -> bool:
        """Whether the gateway declined it."""
        return isinstance(self.result, models.GatewayResult) and self.result.succeeded is False


def state_after(result: object) -> State:
    """The state of an item whose call returned: a gateway's answer is not yet a success."""
    if isinstance(result, models.GatewayResult) and result.succeeded is not True:
        return State.UNKNOWN if result.succeeded is None else State.REJECTED
    return State.APPLIED


_NOT_FINAL = frozenset({401, 403})


def state_of(error: Chat2PayError) -> State:
    """The state of an item whose call raised."""
    if isinstance(error, errors.OutcomeUnknownError):
        return State.UNKNOWN
    if isinstance(error, errors.ReceiptNotSentError):
        return State.APPLIED  # the receipt exists; only its message was not sent
    if isinstance(error, errors.RequestValidationError):
        return State.REJECTED
    if isinstance(error, errors.ApiError) and error.status_code not in _NOT_FINAL:
        # 408, 425, 429 and 5xx prove something else.
        refused = bool(error.attempts) and error.attempts[-1].proof is Proof.REJECTED
        return State.REJECTED if refused else State.FAILED
    return State.FAILED
