"""Items of a run, each from its request to its outcome."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors, events
from chat2pay_async._api.operations import Operation, Safety, key_of
from chat2pay_async._api.responses import Outcome as CallOutcome
from chat2pay_async._api.responses import foreign_text, recovered_outcome
from chat2pay_async._bulk.known import GIVE_UP_AFTER, Choices, Item, KnownItems
from chat2pay_async._bulk.outage import Outage, is_retried_after, was_not_sent
from chat2pay_async._bulk.outcomes import (
    ROW_STATES,
    STATES,
    Outcome,
    State,
    outcome_of,
    request_of_row,
)
from chat2pay_async._bulk.store import MemoryLog, RunStore
from chat2pay_async._bulk.summary import Forecast
from chat2pay_async._journal.content import differences
from chat2pay_async._journal.store import OPEN, Answer, Claimed, Row, RowState
from chat2pay_async._send.call import Call, ClaimLog, ClaimLostError, Options
from chat2pay_async._send.evidence import Shows
from chat2pay_async._send.flights import Flight
from chat2pay_async._send.idempotency import KeyedCalls, released
from chat2pay_async._send.limits import LONGEST_PAUSE
from chat2pay_async._send.reconciliation import Finding, Resolution, Verdict
from chat2pay_async._send.retry import back_off
from chat2pay_async._send.stored import (
    Prior,
    changed_in,
    content_in,
    end_of,
    state_after,
)
from chat2pay_async.errors import (
    Attempt,
    Chat2PayError,
    Pending,
    Proof,
)

__all__ = ["GIVE_UP_AFTER", "Choices", "Item", "Items"]

Q = TypeVar("Q")
R = TypeVar("R")


class Items(KnownItems[Q, R]):
    """Brings the items of one run to their outcomes."""

    def __init__(  # noqa: PLR0913 - the parts of a run
        self,
        operation: Operation[Q, R],
        calls: KeyedCalls,
        options: Options,
        store: RunStore,
        choices: Choices,
        *,
        concurrency: int,
    ) -> None:
        super().__init__(operation, store, choices)
        self._sender = calls.sender
        self._flights = calls.flights
        self._options = options
        self._concurrency = concurrency
        self._outage = Outage(choices.give_up_after, self._report_outage)
        self._foreign: errors.RunStoppedError | None = None
        self._paused_until = -math.inf
        self._window_ends: float | None = None
        self._in_progress: set[Item[Q, R]] = set()
        self._is_stopped = False

    @property
    def forecast(self) -> Forecast | None:
        """The forecast of a dry run; None in any other run."""
        return None

    async def finish_at_once(self, _item: Item[Q, R]) -> bool:
        """Finish a new item for which nothing is sent, if it is one; it has no outcome."""
        return False

    async def gone(self, _row: Row) -> None:
        """Note a row of the run that its source has no more."""

    def outcome_of_gone(self, row: Row) -> Outcome[Q, R]:
        """Return the outcome of a row that was open, had no effect, and is gone from the source."""
        return outcome_of(row, request_of_row(row))

    # Stopping -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Send nothing more: what is on the wire comes to its end, and all else is given up."""
        self._is_stopped = True
        self._outage.stop()
        for item in self._in_progress:
            is_out = item.call is not None and item.call.stop()
            if item.scope is not None and not is_out:
                item.scope.cancel()

    def reason_to_stop(self, outcome: Outcome[Q, R]) -> Exception | None:
        """Return the error for which the run stops itself, if there is one."""
        error = outcome.error
        if isinstance(error, errors.AuthenticationError):
            return error
        if isinstance(error, errors.OutcomeUnknownError) and error.is_foreign:
            return errors.RunStoppedError(str(error))
        return self._foreign or self._outage.reason

    # Sending --------------------------------------------------------------------------------------

    async def finish(self, item: Item[Q, R]) -> None:
        """Send an item, and bring it to its outcome, which is durable then.

        Raises:
            JournalError: The outcome can't be written.
        """
        await self._store.index()
        self._in_progress.add(item)
        try:
            if item.asked is None:
                await self._settle_row(item)
                return
            while not await self._finish_once(item):
                item.log = item.call = None  # as a newcomer: its claim was another's
        finally:
            self._in_progress.discard(item)

    async def wait(
        self, item: Item[Q, R], slot: Callable[[], Awaitable[None]] = clock.checkpoint
    ) -> None:
        """Wait until whoever works on an item's key has ended; then for a slot, and claim it."""
        self._in_progress.add(item)
        try:
            await self._stoppable(item, lambda: self._claim(item, slot))
        finally:
            self._in_progress.discard(item)
        item.is_finished = item.is_finished or item.outcome is not None

    async def _claim(self, item: Item[Q, R], slot: Callable[[], Awaitable[None]]) -> None:
        journal, claim = self._store.journal, item.claim
        assert journal is not None and claim is not None  # noqa: S101, PT018 - only its items have claims
        if item.claimed is not None and item.claimed.answer is Answer.ENDED:
            # It was rejected, and is another one now.
            claim = item.claim = attrs.evolve(claim, takes_rejected=True)
        while True:
            if item.is_held:
                await released(journal, claim.operation, claim.key)
                await slot()
            item.claimed = await self._store.claim(claim)
            item.is_finished = self._is_known(item)
            if item.is_finished or not item.is_held:
                return

    async def _finish_once(self, item: Item[Q, R]) -> bool:
        """Bring an item to its outcome; False where its claim was found to be another's."""
        while not item.is_finished and item.claimed is not None and item.claimed.token is None:
            await self.wait(item)
        if item.is_finished:
            await self.release([item])
            return True
        prior = self._prior_of(item)
        item.log = log = self._log_of(item)
        try:
            work = self._send_or_settle if self._store.journal is not None else self._share
            await self._stoppable(item, lambda: work(item, log, prior))
        except ClaimLostError:
            log.is_lost = True
        if log.is_lost and log.pending is None:
            item.claimed = Claimed(Answer.HELD, item.row)
            return False
        await self._write_end(item, log, prior)
        return True

    def _log_of(self, item: Item[Q, R]) -> ClaimLog:
        journal, claimed = self._store.journal, item.claimed
        if journal is None or claimed is None or item.claim is None or claimed.token is None:
            return MemoryLog()
        return ClaimLog(journal, item.claim, claimed.token)

    async def _stoppable(self, item: Item[Q, R], work: Callable[[], Any]) -> None:
        """Do something until it is done, or the run is stopped and nothing of it has left."""
        if self._is_stopped:
            item.outcome = self.stopped(item)
            return
        with anyio.CancelScope() as item.scope:
            await work()
        stopped = item.scope.cancelled_caught
        item.scope = None
        if stopped and item.is_held and item.claim is not None:
            # Whoever holds it may have sent it since.
            (item.claimed,) = await self._store.read([item.claim])
        if stopped:
            item.outcome = self.stopped(item)

    async def _write_end(self, item: Item[Q, R], log: ClaimLog, prior: Prior | None) -> None:
        """Write how an item ended, or give its claim back where nothing was sent."""
        journal, outcome = self._store.journal, item.outcome
        assert outcome is not None  # noqa: S101 - it was set
        token = item.take_token()
        if token is None or journal is None or log.is_settled:
            return
        was_open = prior is not None and prior.is_unresolved
        is_news = log.sent is not None or item.is_existing
        if self._is_stopped and not is_news and not was_open:
            # It was stopped while its intent was written, perhaps: then nothing left all the same.
            found = await journal.find(self._operation.name, item.journal_key)
            is_news = found is not None and found.row is not None and found.row.state in OPEN
        if not is_news and not was_open:
            await journal.release(token)
            return
        state = RowState.APPLIED if item.is_existing else ROW_STATES[outcome.state]
        response = None if outcome.recovered else log.response
        told = outcome.result, outcome.error, outcome.attempts, response
        await journal.record_end(token, end_of(state, *told, is_found=item.is_existing))

    # What is known of earlier requests ------------------------------------------------------------

    async def _settle_row(self, item: Item[Q, R]) -> None:
        """Look up a row that an earlier process left open; it is not sent again.

        Where it had no effect, the source's item of that key is sent; if there is none, the row is
        reported at the end.
        """
        prior = self._prior_of(item)
        item.log = log = self._log_of(item)
        assert prior is not None  # noqa: S101 - open rows are kept whole
        await self._stoppable(item, lambda: self._settle(item, log, prior))
        await self._write_end(item, log, prior)
        if item.outcome is not None and item.outcome.state is State.FAILED:
            await self._store.note_opened(item.journal_key)
            item.outcome = None

    async def _settle(self, item: Item[Q, R], log: ClaimLog, prior: Prior) -> Verdict:
        """Find out what became of an earlier request; the item has its outcome then."""
        pending, name = prior.pending, self._operation.name
        self._sender.note_others(pending, await log.others(pending))
        resolution: Resolution = await self._sender.resolve(
            pending, self._options, another_key=True
        )
        verdict = resolution.verdict
        attempts = tuple(dict.fromkeys((pending.first_attempt, pending.last_attempt)))
        if verdict is Verdict.APPLIED:
            state = STATES[state_after(resolution.result)]
            item.outcome = Outcome(item.key, item.request, state, resolution.result, None, attempts)
        elif verdict is Verdict.ABSENT:
            absent = errors.RequestTimeoutError(
                f"{name}: the process that sent it ended, and it had no effect; it was not sent "
                "again, since the source does not have it any more"
            )
            absent.operation, absent.attempts = name, attempts
            item.outcome = self._failed(item, absent)
        else:
            unknown = errors.OutcomeUnknownError(
                f"{name}: an earlier request with its key may have been applied", pending=pending
            )
            unknown.operation, unknown.attempts = name, attempts
            item.outcome = self._failed(item, unknown)
            verdict = Verdict.UNDETERMINED
        return verdict

    async def _send_or_settle(self, item: Item[Q, R], log: ClaimLog, prior: Prior | None) -> None:
        """Do with an item what its row asks for."""
        row, claim = item.row, item.claim
        changed: tuple[str, ...] = ()
        if row is not None and claim is not None:
            changed = differences(row.content, claim.content)
        is_anew = bool(changed) or (row is not None and row.state is RowState.REJECTED)
        if prior is not None and prior.is_unresolved and (is_anew or item.is_resumed):
            verdict = await self._settle(item, log, prior)
            if verdict is Verdict.APPLIED and changed:
                await self._write_settled(item, log)
                item.outcome = self._conflict(item, changed)
            if verdict is not Verdict.ABSENT:
                return
            item.outcome = None
            before = prior.pending
            prior = None if changed else Prior(before, is_unresolved=False)
            item.outcome = await self._send(item, log, prior, before)
            return
        if is_anew:
            prior = None
        item.outcome = await self._send(item, log, prior)

    async def _write_settled(self, item: Item[Q, R], log: ClaimLog) -> None:
        """Write what an earlier request came to, which had another content than the item."""
        journal, token, found = self._store.journal, item.take_token(), item.outcome
        assert journal is not None  # noqa: S101 - it has the row
        assert token is not None  # noqa: S101 - which this run holds
        assert found is not None  # noqa: S101 - its end is what is written
        told = found.result, None, found.attempts
        await journal.record_end(token, end_of(ROW_STATES[found.state], *told))
        log.is_settled = True

    async def _share(self, item: Item[Q, R], log: ClaimLog, _prior: Prior | None) -> None:
        """Send an item without a journal, unless this process sends the like: then wait for it."""
        name, key = self._operation.name, "" if item.asked is None else item.asked.key
        if self._operation.safety is not Safety.ONCE or not key:
            item.outcome = await self._send(item, log, None)
            return
        while True:
            call = self._call(item, log, None, is_try=False)
            flight, is_first = self._flights.join(name, key, call)
            if is_first:
                break
            changed = differences(content_in(flight.call), content_in(call))
            if changed:
                item.outcome = self._conflict(item, changed)
                return
            await self._wait_for(item, flight)
            if flight.outcome is not None:
                item.outcome = self._shared(item, flight)
                return
        if flight.before is not None:
            item.prior = Prior(self._sender.pending(flight.before), is_unresolved=True)
        if item.prior is not None:  # whoever waits is told the bytes that are sent
            sent = item.prior.pending
            call.sent, call.request_id = sent.request, sent.request_id
        item.flight = flight
        try:
            item.outcome = await self._send(item, log, item.prior)
        finally:
            pending, last = self._pending_of(item), flight.call
            if pending is None and last.was_unknown:  # it was absent, and may arrive still
                pending = self._sender.pending(last)
            self._flights.leave(name, key, item.made, pending)

    async def _wait_for(self, item: Item[Q, R], flight: Flight) -> None:
        """Wait for another call's end; the item's own is open where that is broken off."""
        try:
            await flight.ended()
        except BaseException:
            item.prior = Prior(self._sender.pending(flight.call), is_unresolved=True)
            raise
        if flight.pending is not None:
            item.prior = Prior(flight.pending, is_unresolved=True)

    # The request itself ---------------------------------------------------------------------------

    async def _send(
        self,
        item: Item[Q, R],
        log: ClaimLog,
        prior: Prior | None,
        absent: Pending | None = None,
    ) -> Outcome[Q, R]:
        """Send an item; wait where that is no use now: for a throttle, or for an outage.

        Args:
            item: The item.
            log: Its log.
            prior: What was sent for it before, if the same is sent again.
            absent: What was sent with its key before, and has had no effect so far.
        """
        failure: Chat2PayError | None = None
        while True:
            if self._paused_until > clock.now():
                await anyio.sleep(self._paused_until - clock.now())
            async with self._outage.waited_out() as is_try:
                if self._outage.has_given_up or self._is_stopped:
                    return self.stopped(item) if failure is None else self._failed(item, failure)
                began = clock.now()
                call = self._call(item, log, absent, is_try=is_try)
                try:
                    outcome = await self._send_once(item, call, prior)
                except (errors.ConfigurationError, errors.JournalError):
                    raise  # they stop the run: the client is closed, or the journal is full
                except Chat2PayError as error:
                    if isinstance(error, errors.ReceiptNotSentError):  # it exists
                        item.made = CallOutcome(Proof.APPLIED, error.receipt, error)
                    failure, delay = error, self._delay_after(error, item, log, began)
                else:
                    self._outage.note_response()
                    return outcome
                finally:
                    item.call = None
            if delay is None or self._is_stopped:
                return self._failed(item, failure)
            if log.sent is not None:
                # A lost attempt was absent, but verdicts go stale: it is looked up once more.
                was_lost = any(one.proof is Proof.UNKNOWN for one in failure.attempts)
                prior = Prior(log.sent, was_lost)
            await anyio.sleep(delay)

    def _call(
        self, item: Item[Q, R], log: ClaimLog, absent: Pending | None, *, is_try: bool
    ) -> Call[Q, R]:
        options = self._options
        if is_try:
            retry = attrs.evolve(options.retry, max_attempts=1)
            options = attrs.evolve(options, retry=retry)
        call = item.call = Call(self._operation, item.request, options, clock.now(), log)
        if item.flight is not None:
            # Whoever waits for it may have been told these bytes.
            call.sent, call.request_id = item.flight.call.sent, item.flight.call.request_id
            item.flight.call = call
        asked = item.asked
        if asked is not None and asked.key != key_of(self._operation, item.request):
            call.idempotency_key = asked.key
        if absent is not None:
            call.begin_after(absent)
        return call

    def _delay_after(
        self, error: Chat2PayError, item: Item[Q, R], log: ClaimLog, began: float
    ) -> float | None:
        """Return the seconds until an item is sent once more; None: it is not."""
        if was_not_sent(error):
            if item.unsent_since is None:
                item.unsent_since = began
            self._outage.note_failure(error, began)
            return 0.0 if clock.now() - item.unsent_since < self._choices.give_up_after else None
        item.unsent_since = None
        if error.attempts and error.attempts[-1].status_code is not None:
            self._outage.note_response()
        if isinstance(error, errors.RateLimitedError):
            asked = error.retry_after or 0.0
            if asked <= LONGEST_PAUSE:
                return None
            self._paused_until = max(self._paused_until, clock.now() + asked)
            self._sender.emit_paused(self._operation.name, asked)
            return 0.0
        # The client's quota may have refused a retry: it delays the items of a run, and fails none.
        policy = self._options.retry
        is_retried = log.failed < policy.max_attempts and is_retried_after(error, self._operation)
        return back_off(policy, log.failed) if is_retried else None

    def _report_outage(self, lasted: float, delay: float | None, reason: str) -> None:
        name = self._operation.name
        self._sender.hooks.emit(events.Unreachable("", name, lasted, delay, reason))

    async def _send_once(
        self, item: Item[Q, R], call: Call[Q, R], prior: Prior | None
    ) -> Outcome[Q, R]:
        journal = self._store.journal
        is_lossy = journal is not None and journal.is_lossy
        is_first = prior is None and self._choices.check_existing
        # What a lossy journal says of a row may be older than what was sent for it.
        is_unsure = is_lossy and (item.log is None or item.log.sent is None)
        is_lost = prior is not None and prior.is_unresolved
        if (is_first or is_unsure) and not is_lost and not call.was_unknown:
            outcome = await self._existing(item)
            if outcome is not None:
                return outcome
        made = await self._sender.make(
            call,
            None if prior is None else prior.pending,
            unresolved=prior is not None and prior.is_unresolved,
        )
        item.made = made
        state, attempts = STATES[state_after(made.result)], tuple(call.attempts)
        return Outcome(item.key, item.request, state, made.result, None, attempts)

    async def _existing(self, item: Item[Q, R]) -> Outcome[Q, R] | None:
        """Look an item up before it is sent for the first time; None if it has no effect yet."""
        options, operation = self._options, self._operation
        if self._window_ends is None:  # a run before this one may have left something on its way
            self._window_ends = clock.now() + options.timeout.read + options.retry.settle
        finding = await self._sender.look_for(operation, item.request, options, self._window_ends)
        if finding.verdict is Verdict.ABSENT:
            return None
        found: Any = finding.evidence.result
        changed = changed_in(item.request, found, finding.response)
        if finding.verdict is Verdict.UNDETERMINED or changed is None:
            raise self._unclear(finding)
        if changed:
            return self._conflict(item, changed)
        item.is_existing = True
        assert finding.response is not None  # noqa: S101 - it shows the effect
        item.made = recovered_outcome(operation, found, finding.response)
        recovered = attrs.evolve(found, recovered=True)
        return Outcome(item.key, item.request, State.SKIPPED, recovered)

    def _unclear(self, finding: Finding) -> Chat2PayError:
        """Return the error of an item that was not sent, since it may have its effect already."""
        name, response = self._operation.name, finding.response
        text = f"{name}: its look-up does not say whether the order exists, so it was not sent"
        if response is None:
            now = Attempt(datetime.now(UTC), 0.0, Proof.NOT_SENT)
            return errors.ConnectionFailedError(text, operation=name, attempts=(now,))
        if finding.evidence.shows is Shows.FOREIGN:
            host = urlsplit(self._sender.base_url).netloc
            text = foreign_text(host, response.status_code, response.headers)
            self._foreign = errors.RunStoppedError(f"{name}: {text}")
        elif response.status_code == HTTPStatus.UNAUTHORIZED:
            text = f"{name}: the look-up was refused: check the API key (CHAT2PAY_API_KEY)"
            return errors.AuthenticationError(text, status_code=response.status_code)
        return Chat2PayError(text, operation=name)
