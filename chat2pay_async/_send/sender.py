"""The one path of every request.

    attempt ─► applied ─────────────────────────────────────────────► result
            ─► rejected ────────────────────────────────────────────► error
            ─► not sent, throttled ─► back off ─► attempt
            ─► unknown ─► look up ─► applied ───────────────────────► result (recovered)
                                  ─► absent ─► back off ─► attempt     (out of attempts: its error)
                                  ─► undetermined ──────────────────► OutcomeUnknownError

- Reads are retried after anything but a refusal. So are integration updates, whose effect is read
  back from the configuration first.
- A POST is retried if it was certainly not applied. If its outcome is unknown, it is looked up
  (`_send/reconciliation.py`). After *absent* it may be retried, directly preceded by another
  look-up that says so.
- A failure that stays until somebody changes something (a certificate or a name that is not
  accepted, a proxy that wants a password) is not retried.
- `timeout.total` ends the call wherever it is. Where a POST that may have been applied is
  cancelled, the event `OutcomeUnknown` says so, and `client.unsettled` keeps it.

Without `timeout.total` a call takes at most, for each attempt: its timeouts, a delay of
`retry.maximum` (or of the `Retry-After` that was asked for, up to a minute), and once its outcome
was unknown, `timeout.read`, four times `retry.settle` and a look-up's timeouts; and five minutes on
throttles in all. Waiting for a slot or for the rate of `rate_limit` comes on top.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import anyio

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors, events
from chat2pay_async._api.endpoint import ENDPOINT
from chat2pay_async._api.headers import KeySource
from chat2pay_async._api.operations import GET_CONFIGURATION, Operation, Safety
from chat2pay_async._api.requests import ConfigurationQuery
from chat2pay_async._api.responses import (
    Outcome,
    RawResponse,
    failed_outcome,
    read_response,
    recovered_outcome,
    unproven_outcome,
)
from chat2pay_async._config import ApiKey, server_of
from chat2pay_async._send.call import (
    MAY_BE_APPLIED,
    Call,
    CallLog,
    Options,
    about,
    call_finished,
    outcome_unknown,
    raw_response,
    target_of,
)
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.limited_transport import KeyUnavailableError, LimitedTransport
from chat2pay_async._send.reconciliation import FRESH, Finding, Reconciler, Resolution, Verdict
from chat2pay_async._send.references import References
from chat2pay_async._send.retry import Quota, delay_before_next, read_back
from chat2pay_async._transport.base import ExchangeError, Lease, SendGuard, WireResponse
from chat2pay_async.errors import Attempt, Chat2PayError, Pending, Proof

__all__ = ["Sender"]

Q = TypeVar("Q")
R = TypeVar("R")

# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_APPLIED, _NOT_SENT = Proof.APPLIED, Proof.NOT_SENT
_THROTTLED, _UNKNOWN = Proof.THROTTLED, Proof.UNKNOWN
_ONCE = Safety.ONCE
TRIES: Final = 5
"""The most times that one attempt tries to send before what allows it is too old."""


class Sender:
    """The sender of all requests of a client and of its views."""

    MOST_UNSETTLED: Final = 1_000

    def __init__(
        self,
        transport: LimitedTransport,
        hooks: events.Hooks,
        key: ApiKey | KeySource,
        base_url: str,
        known: References | None = None,
    ) -> None:
        self._transport = transport
        self._key = key if isinstance(key, ApiKey) else None
        self._reconciler = Reconciler(transport, hooks, key, base_url, known)
        self._quota = Quota()
        self._unsettled: OrderedDict[Pending, None] = OrderedDict()
        self.hooks = hooks
        self.base_url = base_url
        self._key_fingerprint = key.fingerprint
        self.asks_for_keys: bool = isinstance(key, KeySource)
        host, port = server_of(base_url)
        self._host = f"{host}:{port}"
        self.interval: float = transport.interval

    async def send(
        self,
        operation: Operation[Q, R],
        request: Q,
        options: Options,
        log: CallLog | None = None,
        prior: Pending | None = None,
    ) -> RawResponse[R]:
        """Make a call as `make` does, and return all of it."""
        call = Call(operation, request, options, clock.now(), log)
        return raw_response(call, await self.make(call, prior))

    async def make(
        self, call: Call[Q, R], prior: Pending | None = None, *, unresolved: bool = True
    ) -> Outcome[R]:
        """Make a call: one or more attempts, one result.

        Args:
            call: The call, which starts now.
            prior: What an earlier process sent of it.
            unresolved: That may have been applied.

        Raises:
            Chat2PayError: Any of the tree, as the last attempt proved.
        """
        self._transport.check_open()
        left = None
        if prior is not None:
            left = call.resume(prior, unresolved=unresolved, now=clock.now())
        scope = None
        try:
            if self.hooks:
                scope = self.hooks.around(events.CallStarted(call.call_id, call.operation.name))
                scope.begin()
            outcome = await self._within_deadline(call, left)
            if scope is not None:
                scope.finish(call_finished(call, outcome.error, recovered=outcome.recovered))
            if outcome.error is not None:  # of a receipt without its message; no hook kept it back
                call.conclude(may_have_been_applied=False)  # the error has the result
                scope = None
                raise about(outcome.error, call)  # noqa: TRY301 - it is reported as all others are
        except BaseException as error:
            reported = self._report_failure(call, error, scope)
            if reported is error:
                raise
            raise reported from error
        finally:
            if scope is not None:
                scope.end()
        self._quota.refund(call.spent or 1)
        return outcome

    async def _within_deadline(self, call: Call[Q, R], outcome: Outcome[R] | None) -> Outcome[R]:
        total = call.options.timeout.total
        if total is None:
            return await self._run(call, outcome)
        try:
            # From the call's start: a hook may have taken some of it.
            return await clock.within(total, self._run(call, outcome), since=call.started)
        except clock.DeadlinePassed:
            certainty = ""
            if call.operation.safety is _ONCE:
                certainty = MAY_BE_APPLIED if call.is_unresolved else ", and nothing was applied"
            text = f"{call.operation.name}: no result within {total} s{certainty}"
            raise errors.RequestTimeoutError(text) from call.last_error

    # The path ------------------------------------------------------------------------------------

    async def _run(self, call: Call[Q, R], outcome: Outcome[R] | None = None) -> Outcome[R]:
        """Make attempts, look unknown ones up, and retry what was certainly not applied.

        Args:
            call: The call.
            outcome: What an earlier process left of it: then it begins at the look-up.
        """
        while True:
            outcome = outcome or await self._attempt(call)
            if outcome.proof is _APPLIED:
                return outcome
            delay = self._delay(call, outcome)  # None: no attempts or quota left, or never again
            if call.may_have_been_applied:
                finding = await self._look_up(call)
                if finding.verdict is not Verdict.ABSENT:
                    return self._outcome_after(call, finding)
            if delay is None or call.is_stopped:
                assert outcome.error is not None  # noqa: S101 - what was not applied has a reason
                raise about(outcome.error, call)
            await self._back_off(call, outcome, delay)
            outcome = None

    async def _attempt(self, call: Call[Q, R]) -> Outcome[R]:
        """Make one attempt: slot → rate → journal → fresh look-up, if one is due → exchange."""
        call.waited = 0.0
        if not self._transport.take_slot():
            asked = clock.now()
            await self._transport.wait_for_slot()
            call.waited = clock.now() - asked
        try:
            if self.asks_for_keys and (no_key := await self._ask_key(call)):
                return no_key
            if not self._transport.is_rate_free:
                asked = clock.now()
                await self._transport.wait_for_rate()
                call.waited += clock.now() - asked
            if call.operation.safety is _ONCE:
                # A transport may write before it awaits: then a cancellation would come too late.
                await clock.checkpoint()
                await self._record_intent(call)
                if call.was_unknown:
                    return await self._repeat(call)
            exchange = self._watched if self.hooks else self._exchange
            outcome = await exchange(call, SendGuard(call.deadline), is_last=True)
            assert outcome is not None  # noqa: S101 - it is the last try
            return outcome
        finally:
            self._transport.release_slot()

    async def _repeat(self, call: Call[Q, R]) -> Outcome[R]:
        """Send a POST again, each time after a look-up by the connection that it leaves by."""
        tries = 0
        async with Lease() as lease:
            while True:
                # A verdict goes stale: it lets one POST follow, and at once.
                finding = await self._reconciler.look_up(call, lease)
                if finding.verdict is not Verdict.ABSENT:
                    return self._outcome_after(call, finding)
                latest, tries = min(call.deadline, finding.answered + FRESH), tries + 1
                outcome = await self._watched(
                    call, SendGuard(latest, lease=lease), is_last=tries == TRIES
                )
                if outcome is not None:
                    return outcome

    async def _ask_key(self, call: Call[Any, R]) -> Outcome[R] | None:
        """Ask for an attempt's key; return what the attempt came to where there is none."""
        began, at = clock.now(), self._transport.now()
        try:
            call.key = await self._transport.ask_key(call.options.timeout.read)
        except KeyUnavailableError as failure:
            why = f"the api_key callable {failure.why}"
            error = errors.TransportError(f"{call.operation.name}: not sent: {why}")
            error.__cause__ = failure.__cause__
            outcome: Outcome[R] = Outcome(_NOT_SENT, error=error, reason=failure.reason)
            self._record(call, outcome, SendGuard(), began, at)
            return outcome
        return None

    async def _watched(
        self, call: Call[Q, R], guard: SendGuard, *, is_last: bool
    ) -> Outcome[R] | None:
        """Do as `_exchange` does, within what hooks have around it."""
        number, name = len(call.attempts) + 1, call.operation.name
        target, waited = target_of(call.operation, self.base_url), call.waited
        started = events.AttemptStarted(call.call_id, name, number, target, waited, call.journaled)
        with self.hooks.around(started):
            return await self._exchange(call, guard, is_last=is_last)

    async def _exchange(
        self, call: Call[Q, R], guard: SendGuard, *, is_last: bool
    ) -> Outcome[R] | None:
        """Send a request once; None where it was too late to send it, and another try may do."""
        began, at = clock.now(), self._transport.now()
        call.guard = guard
        try:
            response = await self._transport.exchange(
                call.write_out(),
                call.options.timeout,
                guard,
                is_look_up=call.is_look_up,
                key=call.key,
            )
            self._transport.note(response)
            outcome = self._judge(call, response)
        except ExchangeError as failure:
            if guard.was_too_late and failure.proof is _NOT_SENT and not is_last:
                return None
            outcome = failed_outcome(call.operation, failure, self._host)
        except Chat2PayError:  # the client was closed meanwhile: nothing was sent
            raise
        except BaseException as stopped:
            proof = _UNKNOWN if guard.may_have_been_sent else _NOT_SENT
            self._record(call, Outcome(proof, reason=type(stopped).__name__), guard, began, at)
            raise
        self._record(call, outcome, guard, began, at)
        return outcome

    def _judge(self, call: Call[Q, R], response: WireResponse) -> Outcome[R]:
        """Read a response; a copy of the one that another call received proves nothing."""
        key = call.key or self._key
        outcome = read_response(call.operation, call.request, response, key, self._host)
        is_applied = outcome.proof is _APPLIED
        if is_applied and not self._reconciler.claim(call, outcome.result):
            return unproven_outcome(call.operation, response, "the reference of another call")
        return outcome

    async def _look_up(self, call: Call[Any, Any]) -> Finding:
        """Find out whether a call was applied."""
        if not call.operation.has_look_up:
            return Finding(Verdict.UNDETERMINED, Evidence(Shows.NOTHING))
        if call.operation.safety is _ONCE:
            return await self._reconciler.look_up(call)
        query = Call(GET_CONFIGURATION, ConfigurationQuery(), call.options, clock.now())
        query.known_id = call.call_id  # a nested call: its events belong to this one
        query.is_look_up = True
        try:
            finding = await read_back(self._run(query), call.request)
        finally:
            self._quota.refund(query.spent)  # look-ups cost none
        call.conclude(may_have_been_applied=False)
        return finding

    def _outcome_after(self, call: Call[Any, R], finding: Finding) -> Outcome[R]:
        """Return the outcome of a call that look-ups showed to be applied.

        Raises:
            OutcomeUnknownError: They can't tell.
        """
        if finding.verdict is Verdict.UNDETERMINED:
            is_foreign = finding.evidence.shows is Shows.FOREIGN
            raise outcome_unknown(call, self._reconciler.pending(call), is_foreign=is_foreign)
        assert finding.response is not None  # noqa: S101 - the evidence was read from it
        return recovered_outcome(call.operation, finding.evidence.result, finding.response)

    # Between two attempts ------------------------------------------------------------------------

    def _delay(self, call: Call[Any, Any], outcome: Outcome[Any]) -> float | None:
        """Return the seconds until the next attempt; None where there is to be none."""
        if outcome.proof is _THROTTLED:
            ago = call.attempts[-1].elapsed
            seconds = self._transport.throttled(outcome.retry_after, ago)
            self.hooks.emit(events.Paused(call.call_id, call.operation.name, seconds))
        made = call.attempts[call.earlier :]
        # A deadline, where there is one, ends the wait for a service that throttles.
        throttled_for = call.throttled_for if call.deadline == math.inf else 0.0
        delay = delay_before_next(call.options.retry, made, outcome, throttled_for)
        # The first attempt of a resumed call is no retry.
        if delay is None or outcome.proof is _THROTTLED or not made:
            return delay
        cost = self._quota.spend()
        call.spent += cost
        return delay if cost else None

    async def _back_off(self, call: Call[Any, Any], outcome: Outcome[Any], delay: float) -> None:
        if outcome.proof is _THROTTLED:
            call.throttled_for += delay
        name, number = call.operation.name, len(call.attempts)
        self.hooks.emit(events.RetryScheduled(call.call_id, name, number, delay, outcome.proof))
        await anyio.sleep(delay)

    # What is written down, and reported ----------------------------------------------------------

    async def _record_intent(self, call: Call[Any, Any]) -> None:
        if not call.was_unknown:
            call.service_time = self._transport.service_time()
        if call.log is not None:
            began, at = clock.now(), self._transport.now()
            intent = Attempt(at, 0.0, _UNKNOWN, error="Interrupted")
            await call.log.record_intent(call.pending(self.base_url, self.key_fingerprint, intent))
            call.journaled = clock.now() - began

    def _record(
        self,
        call: Call[Any, R],
        outcome: Outcome[R],
        guard: SendGuard,
        began: float,
        at: datetime,
    ) -> None:
        """Note an attempt that ended: in the call, then in the journal, then for the hooks."""
        call.guard = None
        now, response = clock.now(), outcome.response
        status = None if response is None else response.status_code
        attempt = Attempt(at, now - began, outcome.proof, status, outcome.reason)
        last_byte = now if guard.last_byte is None else guard.last_byte
        call.record(attempt, outcome, began=began, last_byte=last_byte, now=now)
        if call.log is not None:
            call.log.record_attempt(attempt, response)
        if self.hooks:
            number, name = len(call.attempts), call.operation.name
            target = target_of(call.operation, self.base_url)
            self.hooks.emit(events.AttemptFinished(call.call_id, name, number, attempt, target))

    @property
    def key_fingerprint(self) -> str:
        """The fingerprint of the key: of the latest, where it is asked for."""
        source = self._transport.key_source
        return self._key_fingerprint if source is None else source.fingerprint

    def asking(self, options: Options) -> Callable[[], Awaitable[str]] | None:
        """Return what finds the fingerprint of the key that an attempt would have now.

        It raises a `TransportError` where the user's callable fails. None: it is always the same.
        """

        async def ask() -> str:
            try:
                await self._transport.ask_key(options.timeout.read)
            except KeyUnavailableError as failure:
                text = f"nothing was sent: the api_key callable {failure.why}"
                raise errors.TransportError(text) from failure.__cause__
            return self.key_fingerprint

        return ask if self.asks_for_keys else None

    def emit_paused(self, operation: str, seconds: float) -> None:
        """Emit that a run waits for so many seconds, longer than a call does."""
        self.hooks.emit(events.Paused("", operation, seconds))

    def _report_failure(
        self, call: Call[Any, Any], error: BaseException, scope: events.Scope | None
    ) -> BaseException:
        """Return what the caller gets: whatever breaks an unresolved call, it is unresolved."""
        reported, pending = error, None
        if isinstance(error, Chat2PayError) and error.operation is None:
            about(error, call)
        if error is not call.last_error:
            self._quota.refund(call.spent)
        if call.is_unresolved:
            pending = self._reconciler.pending(call)
            if call.log is not None:
                call.log.record_pending(pending)
            else:
                self._keep_unsettled(pending)
            if isinstance(error, Exception) and not isinstance(error, errors.OutcomeUnknownError):
                reported = outcome_unknown(call, pending, ended_by=error)
            self.hooks.emit(events.OutcomeUnknown(call.call_id, call.operation.name, pending))
        if scope is not None:
            scope.finish(call_finished(call, reported, recovered=False))
        if pending is not None and isinstance(reported, Exception):
            self._unsettled.pop(pending, None)  # no hook kept its caller from being told
        return reported

    # Calls that are pending ----------------------------------------------------------------------

    async def resolve(
        self, pending: Pending, options: Options, *, another_key: bool = False
    ) -> Resolution:
        """Look up what became of a pending call; see `Reconciler.resolve`."""
        self._transport.check_open()
        if getattr(pending, "operation", "") == ENDPOINT:
            return Resolution(Verdict.UNDETERMINED)
        return await self._reconciler.resolve(pending, options, another_key=another_key)

    def judge(
        self, pending: Pending, response: WireResponse, started: float, options: Options
    ) -> Resolution:
        """Return what one look-up comes to, which was made already; see `Reconciler.judge`."""
        return self._reconciler.judge(pending, response, started, options)

    def check_open(self) -> None:
        """Refuse a call on a client that is closed, or works on another loop.

        Raises:
            ConfigurationError: It is, or does.
        """
        self._transport.check_open()

    def pending(self, call: Call[Any, Any]) -> Pending:
        """Return what is needed to settle a call that is under way, or that another is to make."""
        now = Attempt(self._transport.now(), 0.0, _UNKNOWN, error="Interrupted")
        intent = None if call.attempts else now
        return call.pending(self.base_url, self.key_fingerprint, intent)

    def note_others(self, pending: Pending, others: Iterable[tuple[str, Any]]) -> None:
        """Keep references of other calls; see `Reconciler.note_others`."""
        self._reconciler.note_others(pending, others)

    async def look_for(
        self, operation: Operation[Q, Any], request: Q, options: Options, window_ends: float
    ) -> Finding:
        """Look for a link that anybody may have made; see `Reconciler.look_for`."""
        return await self._reconciler.look_for(operation, request, options, window_ends)

    @property
    def unsettled(self) -> tuple[Pending, ...]:
        """The calls that were cancelled while they may have been applied, the latest last."""
        return tuple(self._unsettled)

    def forget_settled(self, resolutions: Mapping[Pending, Resolution]) -> None:
        """Take what was settled out of `unsettled`, when its resolution reaches the caller."""
        for pending, resolution in resolutions.items():
            if resolution.verdict is not Verdict.UNDETERMINED:
                self._unsettled.pop(pending, None)

    def _keep_unsettled(self, pending: Pending) -> None:
        self._unsettled[pending] = None
        while len(self._unsettled) > self.MOST_UNSETTLED:
            self._unsettled.popitem(last=False)

    async def aclose(self) -> None:
        """Close the connections; later calls are refused."""
        await self._transport.aclose()
