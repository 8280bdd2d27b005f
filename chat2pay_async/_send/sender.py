"""The one path of every request.

A call gets a connection's turn, is written out once, goes out, and its answer is judged. What the
attempt proved decides what follows (`_send/retry.py`): a result, an error, another attempt after a
delay, or look-ups.

- Reads go again after anything but a refusal. So do integration updates, whose effect is read back
  from the configuration first.
- A POST goes again if it was certainly not applied. If its outcome is unknown, it is looked up
  (`_send/reconciliation.py`): applied, its result is read back; absent, it may go again, directly
  preceded by another look-up that says so; anything else is an `OutcomeUnknownError`.
- `timeout.total` ends the call wherever it is. Whoever cancels a POST that may have been applied
  is told by the event `OutcomeUnknown`.

Without `timeout.total` a call takes at most, for each attempt: its timeouts and a delay of
`retry.maximum` (or of the `Retry-After` that was asked for, up to a minute); once an outcome was
unknown, five times `retry.settle` and the last look-up's timeouts; and five minutes on throttles in
all. Waiting for a connection or for the pace of `rate_limit` comes on top.

The first attempt costs nothing of tenacity, which takes over when there is something to repeat.
"""

from __future__ import annotations

from typing import Any, TypeVar

import anyio
import tenacity

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors, events
from chat2pay_async._api.operations import Operation, Safety
from chat2pay_async._api.responses import Answer, RawResponse
from chat2pay_async._config import ApiKey
from chat2pay_async._journal.base import PriorAttempts
from chat2pay_async._send.attempt import Attempts
from chat2pay_async._send.call import Call, CallLog, Options, Step, about
from chat2pay_async._send.follow_up import read_back
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.reconciliation import Resolution, Verdict
from chat2pay_async._send.settle import Reconciler
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Chat2PayError, Pending, Proof

__all__ = ["Sender"]

Q = TypeVar("Q")
R = TypeVar("R")

# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_ONCE = Safety.ONCE


class Sender:
    """Sends every request of a client and of its views."""

    def __init__(
        self, line: LimitedTransport, hooks: events.Hooks, key: ApiKey, base_url: str
    ) -> None:
        self._transport = line
        self.hooks = hooks
        self.base_url, self.key_fingerprint = base_url, key.fingerprint
        self.interval = line.interval
        self._reconciler = Reconciler(line, hooks, key, base_url)
        self._attempts = Attempts(line, hooks, self._reconciler, key)

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
            operation: Which.
            request: With what.
            options: The settings of the client, or of a view.
            log: Where its POSTs are written down before they leave.
            prior: What an earlier process sent of it.

        Raises:
            Chat2PayError: Any of the tree, as the last attempt proved.
        """
        self._transport.check_open()
        listening = bool(self.hooks)
        call = Call(operation, request, options, clock.now(), listening, log)
        if prior is not None:
            call.resume(prior, call.started, self._transport.now())
        if listening:
            self.hooks.emit(events.CallStarted(call.call_id, operation.name))
        try:
            if options.timeout.total is None:
                result = await self._run(call)
            else:
                result = await self._within_deadline(call, options.timeout.total)
        except BaseException as error:
            told = self._told_of_doubt(call, error)
            self._tell_failure(call, told, listening=listening)
            if told is error:
                raise
            raise told from error
        if listening:
            self._tell_end(call, None, recovered=result.recovered)
        return result

    async def resolve(self, pending: Pending, options: Options) -> Resolution:
        """Look up what became of a pending call; see `Reconciler.resolve`."""
        self._transport.check_open()
        return await self._reconciler.resolve(pending, options)

    async def aclose(self) -> None:
        """Close the connections; later calls are refused."""
        await self._transport.aclose()

    # One call ------------------------------------------------------------------------------------

    async def _within_deadline(self, call: Call[Q, R], total: float) -> RawResponse[R]:
        with anyio.move_on_after(total):
            return await self._run(call)
        if call.doubt and call.last_error is not None:
            raise self._reconciler.outcome_unknown(call)
        certainty = "and it may have been applied" if call.doubt else "and nothing is in doubt"
        error = about(
            errors.RequestTimeoutError(
                f"{call.operation.name}: no answer within {total} s, {certainty}"
            ),
            call,
        )
        if call.doubt:
            raise self._reconciler.outcome_unknown(call) from error
        raise error from call.last_error

    def _told_of_doubt(self, call: Call[Any, Any], error: BaseException) -> BaseException:
        """Whatever breaks while a call is in doubt, the caller is told of the doubt."""
        if isinstance(error, Chat2PayError) and error.operation is None:
            about(error, call)
        if not call.doubt or not isinstance(error, Exception):
            return error
        is_told = isinstance(error, errors.OutcomeUnknownError)
        return error if is_told else self._reconciler.outcome_unknown(call)

    async def _run(self, call: Call[Q, R]) -> RawResponse[R]:
        if call.lost_at is not None:
            step = await self._resume(call)
        else:
            step = await self._attempts.make(call)
            if step.answer.error is not None:
                step = await self._clarified(call, step)
        if step.delay is not None:
            step = await self._again(call, step)
        if call.doubt:
            raise self._reconciler.outcome_unknown(call)
        if step.answer.error is not None:
            raise about(step.answer.error, call)
        assert step.response is not None  # noqa: S101 - a result was read from an answer
        assert step.answer.result is not None  # noqa: S101 - it is a result, or an error
        self._attempts.quota.refund(call.spent)
        if call.operation.safety is _ONCE:
            self._reconciler.known.add(step.answer.result)
        return RawResponse(
            parsed=step.answer.result,
            status_code=step.response.status_code,
            headers=step.response.headers,
            body=step.response.body,
            attempts=tuple(call.attempts),
            elapsed=clock.now() - call.started,
            recovered=step.settled,
        )

    async def _again(self, call: Call[Q, R], first: Step[R]) -> Step[R]:
        """Let tenacity repeat a call, beginning with the round that was made already."""
        made: list[Step[R]] = [first]

        async def next_round() -> Step[R]:
            return made.pop() if made else await self._round(call)

        def tell(state: tenacity.RetryCallState) -> None:
            proof = call.attempts[-1].proof
            if proof is Proof.THROTTLED:
                call.throttled_for += state.upcoming_sleep
            event = events.RetryScheduled(
                call.call_id, call.operation.name, len(call.attempts), state.upcoming_sleep, proof
            )
            self.hooks.emit(event)

        def pause(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None  # noqa: S101 - it waits for the next after one
            delay: float = state.outcome.result().delay
            return delay

        def goes_again(step: Step[R]) -> bool:
            return step.delay is not None

        retrying = tenacity.AsyncRetrying(
            sleep=anyio.sleep,
            retry=tenacity.retry_if_result(goes_again),
            wait=pause,
            before_sleep=tell,
        )
        return await retrying(next_round)

    async def _round(self, call: Call[Q, R]) -> Step[R]:
        """One attempt, and what look-ups make of it."""
        return await self._clarified(call, await self._attempts.make(call))

    async def _clarified(self, call: Call[Q, R], step: Step[R]) -> Step[R]:
        """What look-ups make of an attempt, if its outcome is unknown."""
        if call.lost_at is None or step.settled:
            return step
        if call.operation.safety is Safety.REPEATABLE:
            return await read_back(self._run, call, step)
        if step.answer.proof is Proof.REJECTED and _may_tell_of_ourselves(step.response):
            call.doubt = True
        if not call.doubt or step.delay is not None:
            return step  # if it goes again, another look-up comes first
        return await self._settle(call, step)

    async def _resume(self, call: Call[Q, R]) -> Step[R]:
        """The first round of a call that an earlier process sent: look-ups come first."""
        lost: Step[R] = Step(Answer(Proof.UNKNOWN, error=call.last_error), None)
        if not call.options.retry.resend_when_absent:
            return await self._settle(call, lost)
        settlement = await self._reconciler.look_up(call)
        if settlement.verdict is not Verdict.ABSENT:
            return self._reconciler.ended(call, settlement, lost)
        call.doubt = not settlement.waited
        return await self._round(call)

    # Unknown outcomes ----------------------------------------------------------------------------

    async def _settle(self, call: Call[Q, R], step: Step[R]) -> Step[R]:
        """Look up what became of a call that may have been applied, and that ends unless it did.

        A capture may be sent again on an early *absent*; that it failed is said only on a late one.
        """
        repeatable = step.answer.proof is Proof.UNKNOWN and call.options.retry.resend_when_absent
        settlement = await self._reconciler.look_up(call, patient=not repeatable)
        if repeatable and settlement.verdict is Verdict.ABSENT:
            delay = self._attempts.delay_after(call, step.answer, absent=True)
            if delay is not None:
                call.doubt = not settlement.waited
                return step._replace(delay=delay)
            if not settlement.waited:
                settlement = await self._reconciler.look_up(call, patient=True)
        return self._reconciler.ended(call, settlement, step)

    # What is told --------------------------------------------------------------------------------

    def emit_paused(self, operation: str, seconds: float) -> None:
        """A run waits for so many seconds, longer than a call does."""
        self.hooks.emit(events.Paused("", operation, seconds))

    def _tell_failure(self, call: Call[Any, Any], error: BaseException, *, listening: bool) -> None:
        if call.doubt:
            pending = self._reconciler.pending(call)
            self.hooks.emit(events.OutcomeUnknown(call.call_id, call.operation.name, pending))
            if call.log is not None:
                call.log.record_pending(pending)
        if listening:
            self._tell_end(call, type(error).__name__, recovered=False)

    def _tell_end(self, call: Call[Any, Any], error: str | None, *, recovered: bool) -> None:
        self.hooks.emit(
            events.CallFinished(
                call.call_id,
                call.operation.name,
                clock.now() - call.started,
                tuple(call.attempts),
                error,
                recovered,
            )
        )


def _may_tell_of_ourselves(response: WireResponse | None) -> bool:
    """Whether a refusal of a repeated POST may be about our own first one (already captured, …)."""
    return response is not None and response.status_code in {400, 404, 409}
