"""Plain values of a journal: its entries, its rows, and what a new process learns from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import attrs

from chat2pay_async.errors import Attempt, Pending, Proof, SentRequest

__all__ = ["SENT", "UNRESOLVED", "Entry", "Intent", "Response", "Result", "Row"]

SENT: Final = "sent"
"""State of a row whose POST left and whose result is not written."""
UNRESOLVED: Final = frozenset({SENT, "unknown"})
"""States of rows that are looked up before anything is sent."""


@attrs.frozen
class Row:
    """Item of a run, as the journal has it."""

    key: str
    state: str
    """`sent`, or a `State`'s value."""
    target: str
    body: bytes | None = attrs.field(repr=False)
    request_id: str | None
    first_at: float
    """The time at which this very request first left, in seconds since 1970."""
    last_at: float
    service_at: float | None
    """The same on the service's clock; None where that was not known."""
    settle: float
    """The process's `RetryPolicy.settle`; the next two likewise."""
    read_timeout: float
    resend_when_absent: int
    posts: int
    """The number of POSTs that left for the item."""
    response: bytes | None = attrs.field(repr=False)
    """The body of the service's response, unchanged."""
    result: bytes | None = attrs.field(repr=False)
    """The result of look-ups, where no response had one."""
    detail: bytes | None = attrs.field(repr=False)
    """Attempts and error, as `_bulk.serialization` writes them."""

    @property
    def sent(self) -> SentRequest:
        """The exact request."""
        return SentRequest("POST", self.target, self.body)

    def pending(
        self,
        operation: str,
        base_url: str,
        key_fingerprint: str,
        seen: tuple[Attempt, ...] = (),
    ) -> Pending:
        """Return the call as the item's process left it.

        Args:
            operation: The journal's; the next two likewise.
            base_url: The base URL.
            key_fingerprint: The API key's fingerprint.
            seen: The attempts at this very request whose end was seen.
        """
        times = self.first_at, self.last_at
        attempts = seen or tuple(
            Attempt(datetime.fromtimestamp(at, UTC), 0.0, Proof.UNKNOWN, error="Interrupted")
            for at in times
        )
        service_at = self.service_at
        return Pending(
            operation=operation,
            identity=self.key,
            request=self.sent,
            base_url=base_url,
            key_fingerprint=key_fingerprint,
            request_id=self.request_id,
            first_attempt=attempts[0],
            last_attempt=attempts[-1],
            service_time=None if service_at is None else datetime.fromtimestamp(service_at, UTC),
            settle=self.settle,
            read_timeout=self.read_timeout,
            resend_when_absent=bool(self.resend_when_absent),
        )


@attrs.frozen
class Intent:
    """Entry: a POST is about to leave."""

    key: str
    pending: Pending
    """The call, if its end is never written."""
    again: bool = False
    """True if another POST left for the item before."""


@attrs.frozen
class Response:
    """Entry: a POST was answered, and its item goes on."""

    key: str
    at: datetime
    status: int
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class Result:
    """Entry: an item has its outcome."""

    key: str
    state: str
    response: bytes | None = attrs.field(repr=False)
    result: bytes | None = attrs.field(repr=False)
    detail: bytes = attrs.field(repr=False)


Entry = Intent | Response | Result
