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
  (`_send/reconciliation.py`); after *absent* it may be retried, directly preceded by another
  look-up that says so.
- `timeout.total` ends the call wherever it is. Where a POST that may have been applied is
  cancelled, the event `OutcomeUnknown` says so.

Without `timeout.total` a call takes at most, for each attempt: its timeouts and a delay of
`retry.maximum` (or of the `Retry-After` that was asked for, up to a minute); once an outcome was
unknown, five times `retry.settle` and the last look-up's timeouts; and five minutes on throttles in
all. Waiting for a slot or for the rate of `rate_limit` comes on top.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import tenacity

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors, events
from chat2pay_async._api.operations import Operation, Safety
from chat2pay_async._api.responses import ParsedResponse, RawResponse, read_response
from chat2pay_async._config import ApiKey
from chat2pay_async._journal.base import PriorAttempts
from chat2pay_async._send.call import Call, CallLog, Options, Outcome, about
from chat2pay_async._send.follow_up import read_back
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.reconciliation import FRESH, Reconciler, Resolution, Verdict
from chat2pay_async._send.retry import Quota, delay_before_next, may_be_retried
from chat2pay_async._transport.base import ExchangeError, SendGuard, WireResponse
from chat2pay_async.errors import Attempt, Chat2PayError, Pending, Proof

__all__ = ["Sender"]

Q = TypeVar("Q")
R = TypeVar("R")

# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_ONCE = Safety.ONCE


class Sender:
    """The sender of all requests of a client and of its views."""

    def __init__(
        self, transport: LimitedTransport, hooks: events.Hooks, key: ApiKey, base_url: str
    ) -> None:
        self._transport = transport
        self._key = key
        self._reconciler = Reconciler(transport, hooks, key, base_url)
        self._quota = Quota()
        url = urlsplit(base_url)
        self._host = f"{url.hostname}:{url.port or (443 if url.scheme == 'https' else 80)}"
        self.hooks = hooks
        self.base_url, self.key_fingerprint = base_url, key.fingerprint
        self.interval = transport.interval

    async def send(
        self,
        operation: Operation[Q, R],
        request: Q,
        options: Options,
        log: CallLog | None = None,
        prior: PriorAttempts | None = None,
    ) -> RawResponse[R]:
        """Make a call: one or more attempts, one result.

        Args:
            operation: The operation to call.
            request: Its request.
            options: The settings of the client, or of a view.
            log: Where its POSTs are written down before they leave.
            prior: What an earlier process sent of it.

        Raises:
            Chat2PayError: Any of the tree, as the last attempt proved.
        """
        self._transport.check_open()
        has_hooks = bool(self.hooks)
        call = Call(operation, request, options, clock.now(), has_hooks, log)
        if prior is not None:
            call.resume(prior, call.started, self._transport.now())
        if has_hooks:
            self.hooks.emit(events.CallStarted(call.call_id, operation.name))
        try:
            if options.timeout.total is None:
                result = await self._run(call)
            else:
                result = await self._within_deadline(call, options.timeout.total)
        except BaseException as error:
            reported = self._report_failure(call, error)
            if reported is error:
                raise
            raise reported from error
        if has_hooks:
            self._emit_finished(call, None, recovered=result.recovered)
        return result

    async def resolve(self, pending: Pending, options: Options) -> Resolution:
        """Look up what became of a pending call; see `Reconciler.resolve`."""
        self._transport.check_open()
        return await self._reconciler.resolve(pending, options)

    async def aclose(self) -> None:
        """Close the connections; later calls are refused."""
        await self._transport.aclose()

    async def _within_deadline(self, call: Call[Q, R], total: float) -> RawResponse[R]:
        with anyio.move_on_after(total):
            return await self._run(call)
        certainty = ""
        if call.operation.safety is _ONCE:
            certainty = ", and it may have been" if call.unresolved else ", and nothing was"
            certainty += " applied"
        text = f"{call.operation.name}: no result within {total} s{certainty}"
        error = about(errors.RequestTimeoutError(text), call)
        if call.unresolved:
            raise self._reconciler.outcome_unknown(call) from call.last_error or error
        raise error from call.last_error

    # The path ------------------------------------------------------------------------------------

    async def _run(self, call: Call[Q, R]) -> RawResponse[R]:
        outcome = await (self._round(call) if call.lost_at is None else self._resume(call))
        if outcome.delay is not None:
            outcome = await self._repeat(call, outcome)
        if call.unresolved:
            raise self._reconciler.outcome_unknown(call)
        if outcome.parsed.error is not None:
            raise about(outcome.parsed.error, call)
        assert outcome.response is not None  # noqa: S101 - a result was read from a response
        assert outcome.parsed.result is not None  # noqa: S101 - it is a result, or an error
        self._quota.refund(call.spent)
        if call.operation.safety is _ONCE:
            self._reconciler.known.add(outcome.parsed.result)
        return RawResponse(
            parsed=outcome.parsed.result,
            status_code=outcome.response.status_code,
            headers=outcome.response.headers,
            body=outcome.response.body,
            attempts=tuple(call.attempts),
            elapsed=clock.now() - call.started,
            recovered=outcome.looked_up,
        )

    async def _resume(self, call: Call[Q, R]) -> Outcome[R]:
        """Begin a call that an earlier process sent: the same path, begun at the look-up."""
        if not call.options.retry.resend_when_absent:
            lost: Outcome[R] = Outcome(ParsedResponse(Proof.UNKNOWN, error=call.last_error), None)
            return await self._reconcile(call, lost)
        finding = await self._reconciler.look_up(call)
        if finding.verdict is not Verdict.ABSENT:
            return self._reconciler.outcome_after(call, finding)
        return await self._round(call)

    async def _repeat(self, call: Call[Q, R], first: Outcome[R]) -> Outcome[R]:
        """Let tenacity repeat a call, beginning with the round that was made already.

        It costs 13 to 24 µs, so a call whose first attempt settles it goes without.
        """
        made = [first]

        async def next_round() -> Outcome[R]:
            return made.pop() if made else await self._round(call)

        def delay(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None  # noqa: S101 - it waits for the next after one
            outcome: Outcome[R] = state.outcome.result()
            return outcome.delay or 0.0

        def emit(state: tenacity.RetryCallState) -> None:
            proof, seconds = call.attempts[-1].proof, state.upcoming_sleep
            if proof is Proof.THROTTLED:
                call.throttled_for += seconds
            number, name = len(call.attempts), call.operation.name
            self.hooks.emit(events.RetryScheduled(call.call_id, name, number, seconds, proof))

        retrying = tenacity.AsyncRetrying(
            sleep=anyio.sleep,
            retry=tenacity.retry_if_result(lambda outcome: outcome.delay is not None),
            wait=delay,
            before_sleep=emit,
        )
        return await retrying(next_round)

    async def _round(self, call: Call[Q, R]) -> Outcome[R]:
        """Make one attempt, and find out what became of it where that is unknown."""
        outcome = await self._attempt(call)
        if call.lost_at is None or outcome.looked_up:
            return outcome
        if call.operation.safety is Safety.REPEATABLE:
            return await read_back(self._run, call, outcome)
        if not call.unresolved or outcome.delay is not None:
            return outcome  # before it is retried, another look-up comes
        return await self._reconcile(call, outcome)

    async def _reconcile(self, call: Call[Q, R], outcome: Outcome[R]) -> Outcome[R]:
        """Look up what became of a call that may have been applied.

        A capture may be retried on an early *absent*; that it failed is said only on a late one.
        """
        is_repeatable = (
            outcome.parsed.proof is Proof.UNKNOWN and call.options.retry.resend_when_absent
        )
        finding = await self._reconciler.look_up(call, patient=not is_repeatable)
        if is_repeatable and finding.verdict is Verdict.ABSENT:
            delay = self._delay_after(call, outcome.parsed, absent=True)
            if delay is not None:
                return outcome._replace(delay=delay)
            if not finding.waited:
                finding = await self._reconciler.look_up(call, patient=True)
        if finding.verdict is Verdict.ABSENT and not call.unresolved:
            return outcome  # it certainly failed, as the attempt did
        return self._reconciler.outcome_after(call, finding)

    async def _attempt(self, call: Call[Q, R]) -> Outcome[R]:
        """Make one attempt: slot → rate → fresh look-up → journal → exchange."""
        async with self._transport.slot():
            await self._transport.wait_for_rate()
            sent, guard = call.write_out(), SendGuard()
            if call.lost_at is not None and call.operation.safety is _ONCE:
                # A verdict goes stale: once an attempt was lost, each POST directly follows a
                # look-up that says that there is nothing.
                finding = await self._reconciler.look_up(call, has_slot=True)
                if finding.verdict is not Verdict.ABSENT:
                    return self._reconciler.outcome_after(call, finding)
                guard.latest = clock.now() + FRESH
            at = self._transport.now()
            if call.log is not None and call.operation.safety is _ONCE:
                await call.log.record_intent(sent, call.request_id, call.first_at(at), at)
            began = clock.now()
            response: WireResponse | None = None
            reason: str | None = None
            try:
                response = await self._transport.exchange(sent, call.options.timeout, guard)
                parsed = read_response(call.operation, call.request, response, self._key)
            except ExchangeError as failure:
                parsed, reason = self._no_response(call, failure), failure.reason
            except Chat2PayError:
                raise
            except BaseException as stopped:
                proof = Proof.UNKNOWN if guard.may_have_been_sent else Proof.NOT_SENT
                ended, name = clock.now(), type(stopped).__name__
                self._record(call, Attempt(at, ended - began, proof, error=name), ended)
                raise
        ended, status = clock.now(), None if response is None else response.status_code
        attempt = Attempt(at, ended - began, parsed.proof, status, reason)
        self._record(call, attempt, ended, parsed, response)
        delay = None if parsed.error is None else self._delay_after(call, parsed)
        return Outcome(parsed, response, delay)

    def _record(
        self,
        call: Call[Any, R],
        attempt: Attempt,
        ended: float,
        parsed: ParsedResponse[R] | None = None,
        response: WireResponse | None = None,
    ) -> None:
        call.record(attempt, ended, parsed)
        if call.log is not None:
            call.log.record_attempt(attempt, response)
        if call.has_hooks:
            number, name = len(call.attempts), call.operation.name
            self.hooks.emit(events.AttemptFinished(call.call_id, name, number, attempt))

    def _no_response(self, call: Call[Any, R], failure: ExchangeError) -> ParsedResponse[R]:
        words = _words_of(failure.__cause__) if failure.proof is Proof.NOT_SENT else ""
        text = (
            f"could not connect to {self._host}: {words}"
            if words
            else f"no response from {self._host} ({failure.reason})"
        )
        kind = errors.RequestTimeoutError if failure.timed_out else errors.ConnectionFailedError
        error = kind(f"{call.operation.name}: {text}")
        error.__cause__ = failure.__cause__
        return ParsedResponse(failure.proof, error=error)

    def _delay_after(
        self, call: Call[Any, Any], parsed: ParsedResponse[Any], *, absent: bool = False
    ) -> float | None:
        """Return the seconds until the next attempt; None where there is to be none.

        Args:
            call: The call.
            parsed: Its last attempt's.
            absent: A look-up showed that this was not applied.
        """
        if parsed.proof is Proof.THROTTLED:
            seconds = self._transport.throttled(parsed.retry_after)
            self.hooks.emit(events.Paused(call.call_id, call.operation.name, seconds))
        if not absent and not may_be_retried(call.operation.safety, parsed.proof):
            return None
        made = call.attempts[call.earlier :]
        delay = delay_before_next(call.options.retry, made, parsed.retry_after, call.throttled_for)
        if delay is None:
            return None
        cost = self._quota.spend(parsed.proof)
        call.spent += cost
        return delay if cost else None

    # Reports -------------------------------------------------------------------------------------

    def emit_paused(self, operation: str, seconds: float) -> None:
        """Emit that a run waits for so many seconds, longer than a call does."""
        self.hooks.emit(events.Paused("", operation, seconds))

    def _report_failure(self, call: Call[Any, Any], error: BaseException) -> BaseException:
        """Return what the caller gets: whatever breaks an unresolved call, it is unresolved."""
        reported = error
        if isinstance(error, Chat2PayError) and error.operation is None:
            about(error, call)
        if call.unresolved:
            says_so = isinstance(error, errors.OutcomeUnknownError)
            if isinstance(error, Exception) and not says_so:
                reported = self._reconciler.outcome_unknown(call)
            pending = self._reconciler.pending(call)
            self.hooks.emit(events.OutcomeUnknown(call.call_id, call.operation.name, pending))
            if call.log is not None:
                call.log.record_pending(pending)
        if call.has_hooks:
            self._emit_finished(call, type(reported).__name__, recovered=False)
        return reported

    def _emit_finished(self, call: Call[Any, Any], error: str | None, *, recovered: bool) -> None:
        elapsed, attempts = clock.now() - call.started, tuple(call.attempts)
        name = call.operation.name
        self.hooks.emit(
            events.CallFinished(call.call_id, name, elapsed, attempts, error, recovered)
        )


def _words_of(error: BaseException | None) -> str:
    """Return why a connection failed, in the system's own words: they name no key and no person."""
    words = ""
    while error is not None:  # the innermost error says it best
        if isinstance(error, ssl.SSLError):
            reason: str | None = getattr(error, "reason", None)
            words = getattr(error, "verify_message", None) or (reason or words).replace("_", " ")
        elif isinstance(error, socket.gaierror):
            words = error.strerror or words
        elif isinstance(error, OSError) and error.errno is not None and error.errno > 0:
            words = os.strerror(error.errno)
        error = error.__cause__ or error.__context__
    return words.lower()
