"""Plain values that the journal hands to those who send."""

from __future__ import annotations

from datetime import datetime

import attrs

from chat2pay_async.errors import Attempt, Proof, SentRequest

__all__ = ["PriorAttempts"]


@attrs.frozen
class PriorAttempts:
    """What an earlier process sent of a call: this one sends the same, to the byte."""

    sent: SentRequest
    request_id: str | None
    first_at: datetime
    last_at: datetime
    """When its last attempt left."""
    alive_at: datetime
    """The last time that the process was certainly at work: it gave up no earlier."""
    unresolved: bool
    """Whether it may have been applied; it is looked up before anything else."""
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
