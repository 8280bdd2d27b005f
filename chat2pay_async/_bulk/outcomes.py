"""Outcomes of the items of a run. Plain values and decisions.

Every item of a run ends in one of five states:

| State | Meaning | The next run with the same journal |
|---|---|---|
| `APPLIED` | it took effect | skips it |
| `REJECTED` | the service, the gateway, or a check before it was sent refused it | skips it ¹ |
| `FAILED` | nothing was applied: no connection, too many throttles, a wrong key | sends it |
| `UNKNOWN` | it may have been applied | looks it up first |
| `SKIPPED` | another run, or a call, had finished it; the result is that one's | skips it |

¹ Unless it is another one now, or `retry_rejected=True` says so.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import attrs

from chat2pay_async import errors
from chat2pay_async._api import models
from chat2pay_async._api.operations import request_of
from chat2pay_async._journal.store import Row, RowState
from chat2pay_async._send.stored import operation_of, result_of
from chat2pay_async.errors import Attempt, Chat2PayError

__all__ = ["CALL", "ROW_STATES", "STATES", "Outcome", "State", "outcome_of", "request_of_row"]

CALL: Final = "call"
"""The `by` of what a single call has finished."""

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
    """Another run, or a single call, had finished it."""


STATES: Final[dict[RowState, State]] = {
    RowState(state.value): state for state in State if state is not State.SKIPPED
}
"""Ends of the items whose rows have these states; nobody knows the end of the others."""
ROW_STATES: Final[dict[State, RowState]] = {state: row for row, state in STATES.items()}


@attrs.frozen
class Outcome(Generic[Q, R]):
    """Outcome of one item."""

    key: str
    """The order number, the payment link reference, or the item's own key."""
    request: Q
    """The request, as it was sent."""
    state: State
    result: R | None = None
    """The result of the call; of a skipped item, the result in the earlier run."""
    error: Chat2PayError | None = None
    """The error of the call."""
    attempts: tuple[Attempt, ...] = ()
    """Every attempt at the call, in order."""
    by: str | None = None
    """Of a skipped item, the name of the run that finished it.

    `"call"`: a single call did, or a run of this process that has no journal.
    """
    at: datetime | None = None
    """Of a skipped item, when that was."""

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


def outcome_of(
    row: Row, request: Any, state: State | None = None, key: str | None = None
) -> Outcome[Any, Any]:
    """Read the outcome of a journal's row; unknown if it has none.

    Args:
        row: The row.
        request: The request, or None where it is not kept.
        state: Takes the place of the row's own.
        key: Likewise.
    """
    result, error, attempts = result_of(row)
    if state is None:
        state = STATES.get(row.state, State.UNKNOWN)
    by, at = row.claimed_by.run or CALL, row.claimed_by.at
    return Outcome(key or row.key, request, state, result, error, attempts, by, at)


def request_of_row(row: Row) -> Any:
    """Rebuild the request of a row; None where it is not kept."""
    operation = operation_of(row.operation)
    sent = row.sent
    if sent is None or (operation.has_body and sent.body is None):
        return None
    return request_of(operation, sent, row.request_id)
