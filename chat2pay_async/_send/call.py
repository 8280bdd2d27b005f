"""A call under way: what is fixed when it starts, and what has happened to it so far."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Container
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import attrs

from chat2pay_async._api.operations import Operation, Safety, mint, prepare
from chat2pay_async._api.responses import Answer
from chat2pay_async._config import RetryPolicy, Timeout
from chat2pay_async._journal.base import PriorAttempts
from chat2pay_async._send.case import Case, case_of
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import (
    Attempt,
    Chat2PayError,
    ConnectionFailedError,
    Pending,
    Proof,
    SentRequest,
)

__all__ = ["Call", "CallLog", "Options", "Step", "about", "ended_at"]

Q = TypeVar("Q")
R = TypeVar("R")

# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_UNKNOWN = Proof.UNKNOWN
_numbers = itertools.count(1)
_process = secrets.token_hex(4)


@attrs.frozen
class Options:
    """What a view may change."""

    timeout: Timeout = Timeout()
    retry: RetryPolicy = RetryPolicy()


class CallLog(Protocol):
    """Writes down what a call sends, and what comes of it: a row of a journal."""

    async def record_intent(
        self, sent: SentRequest, request_id: str | None, first_at: datetime, at: datetime
    ) -> None:
        """A POST is about to leave: it is durable when this returns.

        Args:
            sent: The exact request.
            request_id: The minted id that it carries.
            first_at: When this very request left for the first time.
            at: The time.
        """
        ...

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None:
        """A POST that left came to its end."""
        ...

    def record_pending(self, pending: Pending) -> None:
        """The call ends, or was cancelled, while it may have been applied."""
        ...


class Step(NamedTuple, Generic[R]):
    """One attempt and what follows from it."""

    answer: Answer[R]
    response: WireResponse | None
    """The answer itself; a look-up's, where that settled it."""
    delay: float | None = None
    """Seconds until the next attempt; None if this one was the last."""
    settled: bool = False
    """Whether look-ups had the last word on it."""


@attrs.define(eq=False)
class Call(Generic[Q, R]):
    """A call under way."""

    operation: Operation[Q, R]
    request: Q
    options: Options
    started: float
    """On the event loop's clock, as all times here."""
    listening: bool = False
    """Whether anybody is told of a call that goes well."""
    log: CallLog | None = None
    known_id: str = ""
    """Its `call_id`, once that was asked for."""
    sent: SentRequest | None = None
    request_id: str | None = None
    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    earlier: int = 0
    """How many of them an earlier process made."""
    lost_at: float | None = None
    """When the last attempt of unknown outcome ended; None while there was none."""
    doubt: bool = False
    """Whether it may have been applied without our knowing."""
    throttled_for: float = 0.0
    spent: int = 0
    """Tokens of the client's quota."""
    last_error: Chat2PayError | None = None

    @property
    def call_id(self) -> str:
        """The same in every event of a call, and of the calls made on its behalf."""
        self.known_id = self.known_id or Call.next_id()
        return self.known_id

    @staticmethod
    def next_id() -> str:
        """An id that no other call has."""
        return f"{_process}-{next(_numbers)}"

    def resume(self, prior: PriorAttempts, now: float, time: datetime) -> None:
        """Go on with what an earlier process sent.

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
            self.lost_at, self.doubt = now - max(0.0, ago), True
            self.last_error = ConnectionFailedError(
                f"{self.operation.name}: the process that sent it ended before it had an answer"
            )

    def write_out(self) -> SentRequest:
        """The exact request, which is made once: every attempt sends these bytes."""
        if self.sent is None:
            if self.options.retry.stamp:
                self.request_id = mint(self.operation, self.request)
            self.sent = prepare(self.operation, self.request, self.request_id)
        return self.sent

    def record(self, attempt: Attempt, now: float) -> None:
        """Note an attempt that just ended."""
        self.attempts.append(attempt)
        if attempt.proof is _UNKNOWN and self.operation.safety is not Safety.READ:
            self.lost_at = now
            self.doubt = self.operation.safety is Safety.ONCE

    @property
    def arrived(self) -> int:
        """How many attempts the service has answered, or may have got."""
        return sum(one.proof in {Proof.APPLIED, Proof.UNKNOWN} for one in self.attempts)

    def first_at(self, at: datetime) -> datetime:
        """When it left for the first time; now (`at`), if it did not yet."""
        return self.attempts[0].started_at if self.attempts else at

    def case(self, known: Container[str]) -> Case:
        """What to look for."""
        return case_of(
            self.operation.name,
            self.operation.identity(self.request),
            self.write_out(),
            self.request_id,
            self.attempts[0].started_at,
            known,
        )

    def pending(self, base_url: str, key_fingerprint: str) -> Pending:
        """What is needed to settle it later."""
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
    """When an attempt ended, on this machine's clock."""
    return attempt.started_at + timedelta(seconds=attempt.elapsed)


E = TypeVar("E", bound=Chat2PayError)


def about(error: E, call: Call[Any, Any]) -> E:
    """Let an error say what it is about."""
    error.operation = call.operation.name
    error.attempts = tuple(call.attempts)
    return error
