"""One attempt at a call: from a place on the line to what it proved, and what may follow."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors, events
from chat2pay_async._api.operations import Safety
from chat2pay_async._api.responses import Answer, read_answer
from chat2pay_async._config import ApiKey
from chat2pay_async._send.call import Call, Step
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.reconciliation import FRESH, Verdict, settles_all
from chat2pay_async._send.retry import Quota, delay_before_next, may_go_again
from chat2pay_async._send.settle import Reconciler
from chat2pay_async._transport.base import ExchangeError, SendGuard, WireResponse
from chat2pay_async.errors import Attempt, Chat2PayError, Proof

__all__ = ["Attempts"]

Q = TypeVar("Q")
R = TypeVar("R")


class Attempts:
    """Makes a client's attempts, and keeps account of how many may be repeated."""

    def __init__(
        self, line: LimitedTransport, hooks: events.Hooks, reconciler: Reconciler, key: ApiKey
    ) -> None:
        self._transport = line
        self._hooks = hooks
        self._reconciler = reconciler
        self._key = key
        self.quota = Quota()

    async def make(self, call: Call[Q, R]) -> Step[R]:
        """Make one, when a connection and the pace allow it."""
        async with self._transport.slot():
            await self._transport.wait_for_rate()
            sent, guard = call.write_out(), SendGuard()
            if call.lost_at is not None and call.operation.safety is Safety.ONCE:
                # A verdict goes stale: once an attempt was lost, each POST directly follows a
                # look-up that says that there is nothing.
                settlement = await self._reconciler.look_up(call, placed=True)
                if settlement.verdict is not Verdict.ABSENT:
                    return self._reconciler.ended(call, settlement, None)
                call.doubt = not settlement.waited
                guard.latest = clock.now() + FRESH
            at = self._transport.now()
            if call.log is not None and call.operation.safety is Safety.ONCE:
                await call.log.record_intent(sent, call.request_id, call.first_at(at), at)
            began = clock.now()
            response: WireResponse | None = None
            reason: str | None = None
            try:
                response = await self._transport.exchange(sent, call.options.timeout, guard)
                answer = read_answer(call.operation, call.request, response, self._key)
            except ExchangeError as failure:
                answer, reason = _no_answer(call, failure), failure.reason
            except Chat2PayError:
                raise
            except BaseException as stopped:
                proof = Proof.UNKNOWN if guard.may_have_been_sent else Proof.NOT_SENT
                self._record(call, at, began, proof, error=type(stopped).__name__)
                if call.doubt and proof is Proof.UNKNOWN:
                    call.last_error = None  # an earlier attempt's is not the reason
                raise
        call.last_error = answer.error
        if answer.error is None:
            # What an early *absent* let go again, and was declined, leaves the one before it open.
            call.doubt = call.doubt and not settles_all(answer.result)
        self._record(call, at, began, answer.proof, response=response, error=reason)
        delay = self.delay_after(call, answer) if answer.error is not None else None
        return Step(answer, response, delay)

    def _record(  # noqa: PLR0913 - what there is to say of an attempt
        self,
        call: Call[Any, Any],
        at: datetime,
        began: float,
        proof: Proof,
        *,
        response: WireResponse | None = None,
        error: str | None = None,
    ) -> None:
        now = clock.now()
        status = None if response is None else response.status_code
        attempt = Attempt(at, now - began, proof, status, error)
        call.record(attempt, now)
        if call.log is not None:
            call.log.record_attempt(attempt, response)
        if call.listening:
            event = events.AttemptFinished(
                call.call_id, call.operation.name, len(call.attempts), attempt
            )
            self._hooks.emit(event)

    def delay_after(
        self, call: Call[Any, Any], answer: Answer[Any], *, absent: bool = False
    ) -> float | None:
        """Seconds until the next attempt; None where there is to be none.

        Args:
            call: The call.
            answer: What its last attempt came to.
            absent: Whether a look-up showed that this was not applied.
        """
        if answer.proof is Proof.THROTTLED:
            seconds = self._transport.throttled(answer.asked)
            self._hooks.emit(events.Paused(call.call_id, call.operation.name, seconds))
        if not absent and not may_go_again(call.operation.safety, answer.proof):
            return None
        made = call.attempts[call.earlier :]
        delay = delay_before_next(call.options.retry, made, answer.asked, call.throttled_for)
        if delay is None:
            return None
        cost = self.quota.spend(answer.proof)
        call.spent += cost
        return delay if cost else None


def _no_answer(call: Call[Any, R], failure: ExchangeError) -> Answer[R]:
    kind = errors.RequestTimeoutError if failure.timed_out else errors.ConnectionFailedError
    error = kind(f"{call.operation.name}: no answer ({failure.reason})")
    error.__cause__ = failure.__cause__
    return Answer(failure.proof, error=error)
