"""Plain values of a journal: its entries, its rows, and what a new process learns from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import attrs

from chat2pay_async.errors import Attempt, Proof, SentRequest

__all__ = ["SENT", "UNRESOLVED", "Entry", "Intent", "PriorAttempts", "Response", "Result", "Row"]

SENT: Final = "sent"
"""State of a row whose POST left and whose result is not written."""
UNRESOLVED: Final = frozenset({SENT, "unknown"})
"""States of rows that are looked up before anything is sent."""


@attrs.frozen
class PriorAttempts:
    """Request that an earlier process sent for a call: this one sends the same, to the byte."""

    sent: SentRequest
    request_id: str | None
    first_at: datetime
    last_at: datetime
    """When its last attempt left."""
    alive_at: datetime
    """The last time that the process was certainly at work: it gave up no earlier."""
    unresolved: bool
    """True if it may have been applied; then it is looked up before anything else."""
    seen: tuple[Attempt, ...] = ()
    """The attempts whose end was seen, if it died after that."""

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts that are known."""
        if self.seen:
            return list(self.seen)
        first = Attempt(self.first_at, 0.0, Proof.UNKNOWN, error="Interrupted")
        elapsed = max(0.0, (self.alive_at - self.last_at).total_seconds())
        last = Attempt(self.last_at, elapsed, Proof.UNKNOWN, error="Interrupted")
        return [last] if self.first_at == self.last_at else [first, last]


@attrs.frozen
class Row:
    """Item of a run, as the journal has it."""

    key: str
    state: str
    """`sent`, or a `State`'s value."""
    target: str
    body: bytes | None
    request_id: str | None
    first_at: float
    """When this very request left for the first time, in seconds since 1970."""
    last_at: float
    posts: int
    """The number of POSTs that left for the item."""
    response: bytes | None
    """The body of the service's response, unchanged."""
    result: bytes | None
    """The result of look-ups, where no response had one."""
    detail: bytes | None
    """Attempts and error, as `_bulk.serialization` writes them."""

    @property
    def sent(self) -> SentRequest:
        """The exact request."""
        return SentRequest("POST", self.target, self.body)

    def prior_attempts(self, alive_at: float, seen: tuple[Attempt, ...] = ()) -> PriorAttempts:
        """Return what a new process has to know of the item.

        Args:
            alive_at: The last time that the old process was certainly at work.
            seen: The attempts at this very request whose end was seen.
        """
        # An attempt that was explicitly absent may have arrived since.
        was_lost = any(attempt.proof is Proof.UNKNOWN for attempt in seen)
        return PriorAttempts(
            sent=self.sent,
            request_id=self.request_id,
            first_at=datetime.fromtimestamp(self.first_at, UTC),
            last_at=datetime.fromtimestamp(self.last_at, UTC),
            alive_at=datetime.fromtimestamp(max(self.last_at, alive_at), UTC),
            unresolved=was_lost or self.state in UNRESOLVED,
            seen=seen,
        )


@attrs.frozen
class Intent:
    """Entry: a POST is about to leave."""

    key: str
    sent: SentRequest
    request_id: str | None
    first_at: datetime
    at: datetime
    again: bool = False
    """True if another POST left for the item before."""


@attrs.frozen
class Response:
    """Entry: a POST was answered, and its item goes on."""

    key: str
    at: datetime
    status: int
    body: bytes


@attrs.frozen
class Result:
    """Entry: an item has its outcome."""

    key: str
    state: str
    response: bytes | None
    result: bytes | None
    detail: bytes


Entry = Intent | Response | Result
