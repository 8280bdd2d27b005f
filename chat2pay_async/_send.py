"""The one path of every request.

A call passes the gate, is written out once, goes out, and its answer is judged. What the attempt
proved decides what follows (`_retry.py`): a result, an error, or another attempt after a delay.

- Reads and integration updates go again after anything but a refusal.
- A POST goes again only if it was certainly not applied. If its outcome is unknown, the call ends
  in `OutcomeUnknownError`: a second POST could take the money twice.
- `timeout.total` ends the call wherever it is. Whoever cancels a POST that may have left is told
  by the event `OutcomeUnknown`.

The first attempt costs nothing of tenacity, which takes over when there is something to repeat.
"""

from __future__ import annotations

import itertools
import secrets
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import anyio
import attrs
import tenacity

from chat2pay_async import errors, events
from chat2pay_async._answers import Answer, RawResponse, WireResponse, read_answer
from chat2pay_async._config import ApiKey, Headers, RetryPolicy, Timeout, __version__
from chat2pay_async._engines import Engine, ExchangeError
from chat2pay_async._limits import Gate
from chat2pay_async._operations import Operation, Safety, prepare
from chat2pay_async._retry import delay_before_next, may_go_again
from chat2pay_async.errors import Attempt, Chat2PayError, Pending, Proof, SentRequest

__all__ = ["Options", "Sender"]

Q = TypeVar("Q")
R = TypeVar("R")

_call_numbers = itertools.count(1)
_process = secrets.token_hex(4)


@attrs.frozen
class Options:
    """What a view may change."""

    timeout: Timeout = Timeout()
    retry: RetryPolicy = RetryPolicy()


@attrs.frozen
class _Step(Generic[R]):
    """One attempt and what follows from it."""

    answer: Answer[R]
    response: WireResponse | None
    delay: float | None
    """Seconds until the next attempt; None if this one was the last."""


@attrs.define(eq=False)
class _Call(Generic[Q, R]):
    """A call under way: what is fixed when it starts, and what happened to it so far."""

    operation: Operation[Q, R]
    request: Q
    options: Options
    started: float
    call_id: str = ""
    sent: SentRequest | None = None
    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    throttled_for: float = 0.0
    last_error: Chat2PayError | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether it may have been applied without our knowing."""
        return self.operation.safety is Safety.ONCE and any(
            attempt.proof is Proof.UNKNOWN for attempt in self.attempts
        )


class Sender:
    """Sends every request of a client and of its views."""

    def __init__(
        self, engine: Engine, gate: Gate, hooks: events.Hooks, key: ApiKey, base_url: str
    ) -> None:
        self._engine = engine
        self._gate = gate
        self._hooks = hooks
        self._key = key
        self._base_url = base_url
        self._closed = False
        self._headers = Headers(
            {
                "Authorization": key.reveal(),
                "Accept": "application/json",
                "User-Agent": f"chat2pay-async/{__version__}",
            }
        )
        self._body_headers = Headers(self._headers | {"Content-Type": "application/json"})

    async def send(
        self, operation: Operation[Q, R], request: Q, options: Options
    ) -> RawResponse[R]:
        """Make a call: one or more attempts, one result.

        Raises:
            Chat2PayError: Any of the tree, as the last attempt proved.
        """
        if self._closed:
            raise errors.ConfigurationError(
                "this client is closed: make calls inside its `async with`, or before `aclose()`"
            )
        call = _Call(operation, request, options, anyio.current_time())
        listening = bool(self._hooks)
        if listening:
            call.call_id = f"{_process}-{next(_call_numbers)}"
            self._hooks.emit(events.CallStarted(call.call_id, operation.name))
        try:
            result = await self._within_deadline(call)
        except BaseException as error:
            self._tell_failure(call, error, listening=listening)
            raise
        if listening:
            self._tell_end(call, None, recovered=result.recovered)
        return result

    async def aclose(self) -> None:
        """Close the connections; later calls are refused."""
        self._closed = True
        await self._engine.aclose()

    async def _within_deadline(self, call: _Call[Q, R]) -> RawResponse[R]:
        total = call.options.timeout.total
        if total is None:
            return await self._run(call)
        with anyio.move_on_after(total):
            return await self._run(call)
        if call.in_doubt:
            raise self._outcome_unknown(call)
        error = errors.RequestTimeoutError(
            f"{call.operation.name}: no answer within {total} s, and nothing is in doubt"
        )
        error.__cause__ = call.last_error
        raise _about(error, call)

    async def _run(self, call: _Call[Q, R]) -> RawResponse[R]:
        step = await self._attempt(call)
        if step.delay is not None:
            step = await self._again(call, step)
        if step.response is not None and step.answer.result is not None:
            return RawResponse(
                parsed=step.answer.result,
                status_code=step.response.status_code,
                headers=step.response.headers,
                body=step.response.body,
                attempts=tuple(call.attempts),
                elapsed=anyio.current_time() - call.started,
            )
        if call.in_doubt:
            raise self._outcome_unknown(call)
        assert step.answer.error is not None  # noqa: S101 - an answer is a result or an error
        raise _about(step.answer.error, call)

    async def _again(self, call: _Call[Q, R], first: _Step[R]) -> _Step[R]:
        """Let tenacity repeat a call, beginning with the attempt that was made already."""
        made: list[_Step[R]] = [first]

        async def attempt() -> _Step[R]:
            return made.pop() if made else await self._attempt(call)

        def tell(state: tenacity.RetryCallState) -> None:
            number, delay = len(call.attempts), state.upcoming_sleep
            proof = call.attempts[-1].proof
            if proof is Proof.THROTTLED:
                call.throttled_for += delay
            event = events.RetryScheduled(call.call_id, call.operation.name, number, delay, proof)
            self._hooks.emit(event)

        def pause(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None  # noqa: S101 - it waits for the next after one
            delay: float = state.outcome.result().delay
            return delay

        def goes_again(step: _Step[R]) -> bool:
            return step.delay is not None

        retrying = tenacity.AsyncRetrying(
            sleep=anyio.sleep,
            retry=tenacity.retry_if_result(goes_again),
            wait=pause,
            before_sleep=tell,
        )
        return await retrying(attempt)

    async def _attempt(self, call: _Call[Q, R]) -> _Step[R]:
        async with self._gate:
            if call.sent is None:
                call.sent = prepare(call.operation, call.request)
            headers = self._headers if call.sent.body is None else self._body_headers
            at, began = datetime.now(UTC), anyio.current_time()
            response: WireResponse | None = None
            try:
                response = await self._engine.exchange(call.sent, headers, call.options.timeout)
            except ExchangeError as failure:
                answer: Answer[R] = _no_answer(call, failure)
                reason: str | None = failure.reason
            except Chat2PayError:
                raise
            except BaseException as stopped:
                elapsed = anyio.current_time() - began
                name = type(stopped).__name__
                self._record(call, Attempt(at, elapsed, Proof.UNKNOWN, None, name))
                raise
            else:
                answer = read_answer(call.operation, call.request, response)
                reason = None
            elapsed = anyio.current_time() - began
        status = None if response is None else response.status_code
        call.last_error = answer.error
        self._record(call, Attempt(at, elapsed, answer.proof, status, reason))
        return _Step(answer, response, _next_delay(call, answer))

    def _record(self, call: _Call[Any, Any], attempt: Attempt) -> None:
        call.attempts.append(attempt)
        if call.call_id:
            number = len(call.attempts)
            name = call.operation.name
            self._hooks.emit(events.AttemptFinished(call.call_id, name, number, attempt))

    def _outcome_unknown(self, call: _Call[Any, Any]) -> errors.OutcomeUnknownError:
        error = errors.OutcomeUnknownError(
            f"{call.operation.name}: it may have been applied; do not send it again before "
            "looking it up (see .pending)",
            pending=self._pending(call),
        )
        error.__cause__ = call.last_error
        return _about(error, call)

    def _pending(self, call: _Call[Any, Any]) -> Pending:
        assert call.sent is not None  # noqa: S101 - only what was sent can be in doubt
        return Pending(
            operation=call.operation.name,
            identity=call.operation.identity(call.request),
            request=call.sent,
            base_url=self._base_url,
            key_fingerprint=self._key.fingerprint,
            request_id=None,
            first_attempt=call.attempts[0],
            last_attempt=call.attempts[-1],
        )

    def _tell_failure(
        self, call: _Call[Any, Any], error: BaseException, *, listening: bool
    ) -> None:
        if call.in_doubt:
            unknown = events.OutcomeUnknown(call.call_id, call.operation.name, self._pending(call))
            self._hooks.emit(unknown)
        if listening:
            self._tell_end(call, type(error).__name__, recovered=False)

    def _tell_end(self, call: _Call[Any, Any], error: str | None, *, recovered: bool) -> None:
        self._hooks.emit(
            events.CallFinished(
                call.call_id,
                call.operation.name,
                anyio.current_time() - call.started,
                tuple(call.attempts),
                error,
                recovered,
            )
        )


E = TypeVar("E", bound=Chat2PayError)


def _about(error: E, call: _Call[Any, Any]) -> E:
    error.operation = call.operation.name
    error.attempts = tuple(call.attempts)
    return error


def _no_answer(call: _Call[Any, R], failure: ExchangeError) -> Answer[R]:
    kind = errors.RequestTimeoutError if failure.timed_out else errors.ConnectionFailedError
    error = kind(f"{call.operation.name}: no answer ({failure.reason})")
    error.__cause__ = failure.__cause__
    return Answer(failure.proof, error=error)


def _next_delay(call: _Call[Any, Any], answer: Answer[Any]) -> float | None:
    if not may_go_again(call.operation.safety, answer.proof):
        return None
    return delay_before_next(call.options.retry, call.attempts, answer.asked, call.throttled_for)
