"""One call: what was asked for, what was sent, and what is known of its effect."""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Iterable
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import attrs
import msgspec

from chat2pay_async import _eventloop as clock
from chat2pay_async._api.endpoint import ENDPOINT
from chat2pay_async._api.operations import Operation, Safety, mint, prepare
from chat2pay_async._api.responses import Outcome, RawResponse, foreign_text
from chat2pay_async._config import ApiKey, RetryPolicy, Timeout, server_of
from chat2pay_async._journal.store import Claim, Intent, Response, Store
from chat2pay_async._send.stored import results_of
from chat2pay_async._transport.base import SendGuard, WireResponse
from chat2pay_async.errors import (
    ApiError,
    Attempt,
    Chat2PayError,
    ConnectionFailedError,
    OutcomeUnknownError,
    Pending,
    Proof,
    SentRequest,
)
from chat2pay_async.events import CallFinished, Target

__all__ = [
    "MAY_BE_APPLIED",
    "Call",
    "CallLog",
    "ClaimLog",
    "ClaimLostError",
    "Options",
    "about",
    "call_finished",
    "next_id",
    "outcome_unknown",
    "raw_response",
    "reason_in",
    "target_of",
]

MAY_BE_APPLIED: Final = ", and it may have been applied"

Q = TypeVar("Q")
R = TypeVar("R")

# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_APPLIED, _REJECTED, _UNKNOWN = Proof.APPLIED, Proof.REJECTED, Proof.UNKNOWN
_READ, _ONCE = Safety.READ, Safety.ONCE


def next_id() -> str:
    """Return an id that no other call has.

    No state is kept for it: a fork would share it, and so would two copies of a process that was
    stored after its imports (AWS SnapStart, checkpoints of containers).
    """
    return secrets.token_hex(8)


@attrs.frozen
class Options:
    """The settings that a view may change."""

    timeout: Timeout = Timeout()
    retry: RetryPolicy = RetryPolicy()


class CallLog(Protocol):
    """A row of a journal: it keeps what a call sends, and what comes of it."""

    def record_intent(self, pending: Pending) -> Awaitable[None]:
        """Write down a POST that is about to leave; it is durable when this returns.

        Args:
            pending: The call as it has to be settled if its end is never written.
        """
        ...

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None:
        """Note how an attempt ended."""
        ...

    def record_pending(self, pending: Pending) -> None:
        """Note that the call ends, or was cancelled, while it may have been applied."""
        ...

    def others(self, pending: Pending) -> Awaitable[Iterable[tuple[str, Any]]]:
        """Return keys of other calls for the same identity, each with its result.

        Their effects are not this call's. It is asked before the call is looked up.
        """
        ...


class ClaimLostError(Exception):
    """The claim is another's by now: nothing was sent, and nothing may be."""


class ClaimLog(CallLog):
    """Log of a call that holds a claim: its POSTs and their responses."""

    def __init__(self, store: Store, claim: Claim, token: str) -> None:
        self._store = store
        self._content = claim.content
        self._run = claim.run
        self._unwritten: tuple[Attempt, WireResponse] | None = None
        self.key: str = claim.key
        self.token = token
        self.is_settled = False
        """True once the row's end was written, or its claim given back."""
        self.is_lost: bool = False
        """True once the claim was found to be another's."""
        self.response: WireResponse | None = None
        """The last response to a POST."""
        self.pending: Pending | None = None
        """Set where the call ends unresolved."""
        self.sent: Pending | None = None
        """The call as far as it left; None: nothing did."""
        self.failed: int = 0
        """The number of attempts that the service, or what is between, did not carry out."""

    async def record_intent(self, pending: Pending) -> None:
        """Write durably that a POST is about to leave.

        Raises:
            ClaimLostError: The claim is another's.
            JournalError: It can't be written, so the POST must not leave.
        """
        if self._unwritten is not None:  # no end will have it
            attempt, response = self._unwritten
            at, status, body = attempt.started_at, response.status_code, response.body
            self._store.record_response(self.token, Response(at, status, body))
            self._unwritten = None
        self.response = None
        if not await self._store.record_intent(
            self.token, Intent(pending, self._content, self._run)
        ):
            self.is_lost = True
            raise ClaimLostError
        self.sent = pending

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None:
        """Keep the response to a POST: it is written with the end, or before the next POST."""
        self.response = response
        if response is not None:
            self._unwritten = attempt, response
        was_early = attempt.proof is Proof.NOT_SENT and response is not None
        self.failed += was_early or attempt.proof is Proof.UNKNOWN

    def record_pending(self, pending: Pending) -> None:
        """Keep what is needed to look the call up: it ends while it may have been applied."""
        self.pending = pending

    async def others(self, pending: Pending) -> list[tuple[str, Any]]:
        """Read what the journal has of other keys for the same identity.

        Raises:
            JournalError: They can't be read.
        """
        rows = await self._store.rows_of_identity(pending.operation, pending.identity)
        return results_of(rows, besides=self.key)


class Call(msgspec.Struct, Generic[Q, R], eq=False):
    """A call in progress.

    What is known of its effect (`may_have_been_applied`, `was_unknown`, `window_ends`) is written
    by `record`, after an attempt, and by `conclude`, after look-ups, and by nothing else.
    """

    operation: Operation[Q, R]
    request: Q
    options: Options
    started: float
    """On the event loop's clock, as all times here."""
    log: CallLog | None = None
    idempotency_key: str | None = None
    """The key that its caller gave it; None: the operation's own."""
    known_id: str = ""
    """Its `call_id`, once that was asked for."""
    is_look_up: bool = False
    """True for a nested call that reads an effect back: no cache may answer it."""
    key: ApiKey | None = None
    """The latest attempt's, where it is asked for; None: the client's."""
    sent: SentRequest | None = None
    request_id: str | None = None
    attempts: list[Attempt] = []
    earlier: int = 0
    """The number of attempts that another process made."""
    earlier_read: float = 0.0
    """Their `Timeout.read`."""
    may_have_been_applied: bool = False
    was_unknown: bool = False
    """True once the outcome of any attempt was: from then on each POST follows a look-up."""
    window_ends: float = -math.inf
    """The time from which a look-up that shows no effect counts."""
    sent_at: float | None = None
    """The beginning of the first attempt of unknown outcome; None: in another process, or never."""
    service_time: datetime | None = None
    """The same on the service's clock, as far as it was known then."""
    is_foreign: bool = False
    """True where its last response was a refusal by somebody who is not the service."""
    throttled_for: float = 0.0
    spent: int = 0
    """Tokens of the client's quota."""
    waited: float = 0.0
    """Seconds that its latest attempt waited for a slot and for the rate."""
    journaled: float | None = None
    """Seconds that the journal took for its latest intent."""
    last_error: Chat2PayError | None = None
    guard: SendGuard | None = None
    """Lets the request of the attempt in progress leave; None: there is none."""
    is_stopped: bool = False

    @property
    def call_id(self) -> str:
        """The same in every event of a call, nested calls included; no other call has it."""
        self.known_id = self.known_id or next_id()
        return self.known_id

    @property
    def deadline(self) -> float:
        """The time by which it has to end."""
        if self.is_stopped:
            return -math.inf
        total = self.options.timeout.total
        return math.inf if total is None else self.started + total

    def stop(self) -> bool:
        """Let nothing leave any more; return whether something has, whose end is not known yet."""
        self.is_stopped = True
        if self.guard is None:
            return self.may_have_been_applied
        self.guard.latest = -math.inf
        return self.guard.may_have_been_sent or self.may_have_been_applied

    @property
    def is_unresolved(self) -> bool:
        """True where the caller has to be told that the outcome is unknown."""
        return self.may_have_been_applied and self.operation.safety is _ONCE

    @property
    def _read(self) -> float:
        """The longest `Timeout.read` of its attempts: a server may work on them for as long."""
        return max(self.options.timeout.read, self.earlier_read)

    def write_out(self) -> SentRequest:
        """Return the exact request, made once: every attempt sends these bytes."""
        if self.sent is None:
            if self.options.retry.stamp:
                self.request_id = mint(self.operation, self.request)
            self.sent = prepare(self.operation, self.request, self.request_id)
        return self.sent

    def resume(
        self, prior: Pending, *, unresolved: bool, now: float | None = None
    ) -> Outcome[R] | None:
        """Continue what an earlier call sent, with the same bytes.

        Args:
            prior: What it sent.
            unresolved: It may have been applied. The window of what it sent starts now: what the
                other process knew of time is not asked.
            now: The time: it may have waited for long until it took the other one over. Default:
                its start.

        Returns:
            The outcome of its attempts; None where they were certainly not applied.
        """
        self.sent, self.request_id = prior.request, prior.request_id
        self.idempotency_key = prior.idempotency_key
        if not unresolved:
            return None
        # The more cautious of what both assume.
        own = self.options.retry
        retry = attrs.evolve(
            own,
            settle=max(own.settle, prior.settle),
            resend_when_absent=own.resend_when_absent and prior.resend_when_absent,
        )
        self.options = attrs.evolve(self.options, retry=retry)
        self.earlier_read = prior.read_timeout
        error = ConnectionFailedError(
            f"{self.operation.name}: whoever sent it ended before its result was known"
        )
        outcome: Outcome[R] = Outcome(_UNKNOWN, error=error)
        now = self.started if now is None else now
        for attempt in dict.fromkeys((prior.first_attempt, prior.last_attempt)):
            self.record(attempt, outcome, began=None, last_byte=now, now=now)
        self.earlier, self.service_time = len(self.attempts), prior.service_time
        return outcome

    def begin_after(self, absent: Pending) -> None:
        """Begin where another request was sent with the key before, and has had no effect so far.

        It may come all the same: each POST follows a look-up of its own.
        """
        self.was_unknown = True
        self.attempts = list(dict.fromkeys((absent.first_attempt, absent.last_attempt)))
        self.earlier, self.service_time = len(self.attempts), absent.service_time

    def begin_anew(self) -> None:
        """Forget what was sent with its key: it is another's by now."""
        self.log = self.sent = self.request_id = self.sent_at = self.service_time = None
        self.attempts, self.earlier, self.earlier_read = [], 0, 0.0
        self.may_have_been_applied = self.was_unknown = self.is_foreign = False
        self.window_ends, self.last_error = -math.inf, None

    def record(
        self,
        attempt: Attempt,
        outcome: Outcome[R],
        *,
        began: float | None,
        last_byte: float,
        now: float,
    ) -> None:
        """Note an attempt that just ended.

        Args:
            attempt: What the caller is shown of it.
            outcome: What it came to.
            began: When it began; None: in another process.
            last_byte: When its last byte left, at the latest.
            now: The time.
        """
        self.attempts.append(attempt)
        self.is_foreign = outcome.is_foreign
        if self.operation.safety is _READ:
            # An attempt that was cut off has none.
            self.last_error = outcome.error or self.last_error
            return
        self.last_error = outcome.error
        settle = self.options.retry.settle
        if outcome.proof is _UNKNOWN:
            if not self.was_unknown:
                self.sent_at = began
            self.was_unknown = self.may_have_been_applied = True
            # A server may go on after we gave up: until the request would have timed out by itself.
            self.window_ends = max(self.window_ends, max(now, last_byte + self._read) + settle)
        elif outcome.proof is _REJECTED and self.was_unknown:
            # It may be about an earlier attempt of ours: it is captured already, cancelled already.
            self.may_have_been_applied = True
            self.window_ends = max(self.window_ends, now + settle)
        elif outcome.proof is _APPLIED:
            # Until its caller has the result: a hook may end the task before.
            self.sent_at = self.sent_at if self.was_unknown else began
            self.may_have_been_applied = True
            self.window_ends = max(self.window_ends, now + settle)

    def conclude(self, *, may_have_been_applied: bool) -> None:
        """Note how look-ups ended, or that the caller has the result."""
        self.may_have_been_applied = may_have_been_applied

    def pending(
        self, base_url: str, key_fingerprint: str, intent: Attempt | None = None
    ) -> Pending:
        """Return what is needed to settle it later.

        Args:
            base_url: The client's.
            key_fingerprint: Likewise, where each attempt has the same key.
            intent: The attempt that is about to be made, if there is one.
        """
        made = self.attempts if intent is None else [*self.attempts, intent]
        # What was certainly not sent is no part of what has to be settled.
        sent = [attempt for attempt in made if attempt.proof is _UNKNOWN] or made
        retry = self.options.retry
        # Whatever look-ups show then: it is not absent.
        was_answered = any(attempt.proof is _APPLIED for attempt in made)
        return Pending(
            operation=self.operation.name,
            identity=self.operation.identity(self.request),
            request=self.write_out(),
            base_url=base_url,
            key_fingerprint=key_fingerprint if self.key is None else self.key.fingerprint,
            request_id=self.request_id,
            first_attempt=sent[0],
            last_attempt=sent[-1],
            service_time=self.service_time,
            settle=retry.settle,
            read_timeout=self._read,
            resend_when_absent=retry.resend_when_absent and not was_answered,
            idempotency_key=self.idempotency_key,
        )


def target_of(operation: Operation[Any, Any], base_url: str) -> Target:
    """Return an operation's endpoint, as events name it: without what a caller put in a path."""
    host, port = server_of(base_url)
    is_named = operation.name != ENDPOINT
    template = urlsplit(base_url).path + operation.path if is_named else ""
    return Target(operation.method, template, host, port)


def call_finished(
    call: Call[Any, Any], error: BaseException | None, *, recovered: bool
) -> CallFinished:
    """Return the event of a call that comes to its end now; a call that fails recovers nothing."""
    name, elapsed, attempts = call.operation.name, clock.now() - call.started, tuple(call.attempts)
    kind = None if error is None else type(error).__name__
    return CallFinished(call.call_id, name, elapsed, attempts, kind, recovered and error is None)


E = TypeVar("E", bound=Chat2PayError)


def about(error: E, call: Call[Any, Any]) -> E:
    """Return an error, which now says what it is about."""
    error.operation = call.operation.name
    error.attempts = tuple(call.attempts)
    return error


def reason_in(error: Exception | None, operation: str) -> str:
    """Put into words why an outcome is unknown; what is not ours is only named."""
    if not isinstance(error, Chat2PayError):
        return "no usable response" if error is None else type(error).__name__
    return str(error).removeprefix(f"{operation}: ").removesuffix(MAY_BE_APPLIED)


def outcome_unknown(
    call: Call[Any, Any],
    pending: Pending,
    *,
    is_foreign: bool = False,
    ended_by: Exception | None = None,
) -> OutcomeUnknownError:
    """Return the error of a call that may have been applied.

    Args:
        call: The call.
        pending: The same, to be settled later.
        is_foreign: Its look-up was refused by somebody who is not the service.
        ended_by: What ended it, where its attempts do not tell.
    """
    cause = call.last_error
    is_foreign = is_foreign and call.is_foreign
    if is_foreign and isinstance(cause, ApiError):
        host = urlsplit(pending.base_url).netloc
        why = foreign_text(host, cause.status_code, cause.headers)
    else:
        why = reason_in(cause or ended_by, call.operation.name)
    error = OutcomeUnknownError(
        f"{call.operation.name}: {why}; it may have been applied; {call.operation.advice}",
        pending=pending,
    )
    error.is_foreign = is_foreign
    error.__cause__ = cause
    return about(error, call)


def raw_response(call: Call[Any, R], outcome: Outcome[R]) -> RawResponse[R]:
    """Return all of a call's exchange."""
    assert outcome.response is not None  # noqa: S101 - a result was read from a response
    return RawResponse(
        parsed=outcome.result,
        status_code=outcome.response.status_code,
        headers=outcome.response.headers,
        body=outcome.response.body,
        attempts=tuple(call.attempts),
        elapsed=clock.now() - call.started,
        recovered=outcome.recovered,
        replayed=outcome.replayed,
    )
