"""A call in progress: what is fixed when it starts, and what has happened to it so far."""

from __future__ import annotations

import itertools
import secrets
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import attrs

from chat2pay_async._api.operations import Operation, Safety, mint, prepare
from chat2pay_async._api.responses import ParsedResponse
from chat2pay_async._config import RetryPolicy, Timeout
from chat2pay_async._journal.base import PriorAttempts
from chat2pay_async._send.evidence import is_final
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import (
    Attempt,
    Chat2PayError,
    ConnectionFailedError,
    Pending,
    Proof,
    SentRequest,
)

__all__ = ["Call", "CallLog", "Options", "Outcome", "about", "ended_at"]

Q = TypeVar("Q")
R = TypeVar("R")

# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_UNKNOWN = Proof.UNKNOWN
_ONCE = Safety.ONCE
_numbers = itertools.count(1)
_MAY_BE_ABOUT_OURS = frozenset({400, 404, 409})
"""Refusals of a repeated POST that may be about our own first one (it is captured already, …)."""
_process = secrets.token_hex(4)


@attrs.frozen
class Options:
    """The settings that a view may change."""

    timeout: Timeout = Timeout()
    retry: RetryPolicy = RetryPolicy()


class CallLog(Protocol):
    """A row of a journal: it keeps what a call sends, and what comes of it."""

    async def record_intent(
        self, sent: SentRequest, request_id: str | None, first_at: datetime, at: datetime
    ) -> None:
        """Write down a POST that is about to leave; it is durable when this returns.

        Args:
            sent: The exact request.
            request_id: The minted id that it carries.
            first_at: When this very request left for the first time.
            at: The time.
        """
        ...

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None:
        """Note how an attempt ended."""
        ...

    def record_pending(self, pending: Pending) -> None:
        """Note that the call ends, or was cancelled, while it may have been applied."""
        ...


class Outcome(NamedTuple, Generic[R]):
    """An attempt's end, and what follows from it."""

    parsed: ParsedResponse[R]
    response: WireResponse | None
    """The response itself; a look-up's, where that settled it."""
    delay: float | None = None
    """Seconds until the next attempt; None if this one was the last."""
    looked_up: bool = False
    """True where look-ups had the last word."""


@attrs.define(eq=False)
class Call(Generic[Q, R]):
    """A call in progress. Only `resume`, `record` and `conclude` write what it knows of itself."""

    operation: Operation[Q, R]
    request: Q
    options: Options
    started: float
    """On the event loop's clock, as all times here."""
    has_hooks: bool = False
    """True where somebody hears of a call that goes well."""
    log: CallLog | None = None
    known_id: str = ""
    """Its `call_id`, once that was asked for."""
    sent: SentRequest | None = None
    request_id: str | None = None
    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    earlier: int = 0
    """The number of them that an earlier process made."""
    lost_at: float | None = None
    """The time at which the last attempt of unknown outcome ended; None while there was none."""
    unresolved: bool = False
    """True while it may have been applied without our knowing."""
    throttled_for: float = 0.0
    spent: int = 0
    """Tokens of the client's quota."""
    last_error: Chat2PayError | None = None

    @property
    def call_id(self) -> str:
        """The same in every event of a call, nested calls included; no other call has it."""
        self.known_id = self.known_id or Call.next_id()
        return self.known_id

    @staticmethod
    def next_id() -> str:
        """Return an id that no other call has."""
        return f"{_process}-{next(_numbers)}"

    def resume(self, prior: PriorAttempts, now: float, time: datetime) -> None:
        """Continue what an earlier process sent.

        Args:
            prior: What is known of it.
            now: The time on the event loop's clock.
            time: The same, on this machine's.
        """
        self.sent, self.request_id = prior.sent, prior.request_id
        if prior.unresolved:
            self.attempts = prior.attempts
            self.earlier = len(self.attempts)
            ago = (time - ended_at(self.attempts[-1])).total_seconds()
            self.lost_at, self.unresolved = now - max(0.0, ago), True
            self.last_error = ConnectionFailedError(
                f"{self.operation.name}: the process that sent it ended before it had a response"
            )

    def write_out(self) -> SentRequest:
        """Return the exact request, made once: every attempt sends these bytes."""
        if self.sent is None:
            if self.options.retry.stamp:
                self.request_id = mint(self.operation, self.request)
            self.sent = prepare(self.operation, self.request, self.request_id)
        return self.sent

    def record(self, attempt: Attempt, now: float, parsed: ParsedResponse[R] | None = None) -> None:
        """Note an attempt that just ended, with its response; without one, it was stopped."""
        self.attempts.append(attempt)
        if parsed is not None:
            self.last_error = parsed.error
        proof, is_once = attempt.proof, self.operation.safety is _ONCE
        if proof is _UNKNOWN and self.operation.safety is not Safety.READ:
            self.lost_at, self.unresolved = now, is_once
            if is_once and parsed is None:
                self.last_error = None  # an earlier attempt's is not the reason
        elif self.unresolved and parsed is not None and parsed.error is None:
            # Two may have arrived: that this one was declined says nothing about the one before.
            self.unresolved = not is_final(parsed.result)
        elif is_once and self.lost_at is not None and proof is Proof.REJECTED:
            self.unresolved = self.unresolved or attempt.status_code in _MAY_BE_ABOUT_OURS

    def conclude(self, *, applied: bool, final: bool) -> None:
        """Note how look-ups ended.

        Args:
            applied: The effect was shown.
            final: There is no effect, and none is to come.
        """
        self.unresolved = not (applied or (final and self.options.retry.resend_when_absent))

    @property
    def arrived(self) -> int:
        """The number of attempts that the service has answered, or may have got."""
        return sum(one.proof in {Proof.APPLIED, Proof.UNKNOWN} for one in self.attempts)

    def first_at(self, at: datetime) -> datetime:
        """Return when it left for the first time; now (`at`), if it did not yet."""
        return self.attempts[0].started_at if self.attempts else at

    def pending(self, base_url: str, key_fingerprint: str) -> Pending:
        """Return what is needed to settle it later."""
        return Pending(
            operation=self.operation.name,
            identity=self.operation.identity(self.request),
            request=self.write_out(),
            base_url=base_url,
            key_fingerprint=key_fingerprint,
            request_id=self.request_id,
            first_attempt=self.attempts[0],
            last_attempt=self.attempts[-1],
        )


def ended_at(attempt: Attempt) -> datetime:
    """Return when an attempt ended, on this machine's clock."""
    return attempt.started_at + timedelta(seconds=attempt.elapsed)


E = TypeVar("E", bound=Chat2PayError)


def about(error: E, call: Call[Any, Any]) -> E:
    """Return an error, which now says what it is about."""
    error.operation = call.operation.name
    error.attempts = tuple(call.attempts)
    return error
