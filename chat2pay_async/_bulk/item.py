"""Items of a run, each from its request to its outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors, events
from chat2pay_async._api.operations import Operation, Safety, check_unchanged, request_of
from chat2pay_async._api.responses import foreign_text, is_refusal
from chat2pay_async._bulk.outage import Outage, was_not_sent
from chat2pay_async._bulk.outcomes import Outcome, State, state_after, state_of
from chat2pay_async._bulk.serialization import outcome_of, read_detail
from chat2pay_async._bulk.store import ItemLog, Registered, RunStore
from chat2pay_async._bulk.summary import Forecast
from chat2pay_async._journal.base import UNRESOLVED, Row
from chat2pay_async._send.call import Call, Options
from chat2pay_async._send.evidence import Shows
from chat2pay_async._send.limits import LONGEST_PAUSE
from chat2pay_async._send.reconciliation import Finding, Verdict
from chat2pay_async._send.retry import back_off
from chat2pay_async._send.sender import Sender
from chat2pay_async.errors import (
    Attempt,
    Chat2PayError,
    Fault,
    Pending,
    Proof,
    RequestValidationError,
)

__all__ = ["GIVE_UP_AFTER", "Item", "Items"]

Q = TypeVar("Q")
R = TypeVar("R")

GIVE_UP_AFTER: Final = 600.0
"""Seconds of an outage after which a run stops itself."""


@attrs.define(eq=False)
class Item(Generic[Q, R]):
    """Item in progress."""

    key: str
    request: Q
    row: Row | None = None
    """The row of a journal that it is resumed from."""
    earlier: Row | None = None
    """The row that an earlier run left, where the item is the source's: it is not resumed."""
    log: ItemLog | None = None
    outcome: Outcome[Q, R] | None = None
    """Set as soon as it is known; it may still have to be written."""
    unsent_since: float | None = None
    """The beginning of its first call that could not be sent; None after one that could."""


class _Prior(NamedTuple):
    """The earlier run's part of an item."""

    pending: Pending
    is_unresolved: bool
    """True if it may have been applied; then it is looked up before anything else."""
    was_applied: bool = False
    """True if it was answered, and only its result is open."""


class Items(Generic[Q, R]):
    """Brings the items of one run to their outcomes."""

    def __init__(  # noqa: PLR0913 - the parts of a run
        self,
        operation: Operation[Q, R],
        sender: Sender,
        options: Options,
        store: RunStore,
        *,
        concurrency: int,
        check_existing: bool = False,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        self._operation = operation
        self._sender = sender
        self._options = options
        self._store = store
        self._concurrency = concurrency
        self._check_existing = check_existing
        self._give_up_after = give_up_after
        self._outage = Outage(give_up_after, self._report_outage)
        self._foreign: errors.RunStoppedError | None = None
        self._paused_until = -math.inf
        self._window_ends: float | None = None

    @property
    def forecast(self) -> Forecast | None:
        """The forecast of a dry run; None in any other run."""
        return None

    def new(self, request: Q) -> Item[Q, R]:
        """Make an item of a request from the source."""
        return Item(self._operation.identity(request), request)

    def resume(self, row: Row) -> Item[Q, R]:
        """Make an item of a row that an earlier run left unresolved."""
        return Item(row.key, request_of(self._operation, row.sent, row.request_id), row)

    def register(self, item: Item[Q, R]) -> bool:
        """Register an item if it is certainly new; if not, it has to be looked up."""
        return self._store.register(item.key)

    async def look_up(self, items: Sequence[Item[Q, R]]) -> list[Registered]:
        """Register items that may not be new, and return what is known of each.

        Raises:
            JournalError: Their keys can't be indexed.
        """
        return await self._store.look_up([(item.key, self._recipient_of(item)) for item in items])

    def _recipient_of(self, _item: Item[Q, R]) -> str | None:
        return None  # repeated recipients are a dry run's affair

    def finish_known(self, item: Item[Q, R], registered: Registered) -> bool:
        """Finish an item that was looked up and for which nothing is sent, if it is one.

        It has no outcome if this run resumes, or has resumed, its key.
        """
        item.earlier, item.outcome = registered.row, self._known(item, registered)
        return item.outcome is not None or registered.resumed

    async def finish_at_once(self, _item: Item[Q, R]) -> bool:
        """Finish a new item for which nothing is sent, if it is one; it has no outcome."""
        return False

    async def finish(self, item: Item[Q, R]) -> None:
        """Send an item, and bring it to its outcome.

        Raises:
            JournalError: The outcome can't be written.
        """
        await self._store.index()
        row = item.row or item.earlier
        prior = None if row is None else self._prior_of(row)
        if item.row is None and row is not None and prior is not None and not prior.is_unresolved:
            # Nothing was applied: the same is sent again, or what the source has now.
            prior = None if self._change(item, row) else prior
        item.log = log = ItemLog(self._store, item.key, again=row is not None)
        item.outcome = await self._send(item, log, prior)
        if log.sent_before is not None or (prior is not None and prior.is_unresolved):
            await self._store.record_outcome(item.outcome, log.response)

    def stop(self) -> None:
        """Note that the run is stopped: what waits for the end of an outage is not sent."""
        self._outage.stop()

    def reason_to_stop(self, outcome: Outcome[Q, R]) -> Exception | None:
        """Return the error for which the run stops itself, if there is one."""
        error = outcome.error
        if isinstance(error, errors.AuthenticationError):
            return error
        if isinstance(error, errors.OutcomeUnknownError) and error.is_foreign:
            return errors.RunStoppedError(str(error))
        return self._foreign or self._outage.reason

    async def find_rows(self, items: Iterable[Item[Q, R]]) -> None:
        """Find the journal's rows of items that are given up before anything was done for them.

        Raises:
            JournalError: They can't be read.
        """
        idle = [item for item in items if item.row is None and item.log is None]
        rows = await self._store.rows([item.key for item in idle])
        for item in idle:
            item.earlier = rows.get(item.key)

    def stopped(self, item: Item[Q, R]) -> Outcome[Q, R]:
        """Return the outcome of an item that was stopped on its way."""
        name, log, row = self._operation.name, item.log, item.row
        if log is not None:
            log.flush()
        if item.outcome is not None:
            return item.outcome
        if log is None and item.earlier is not None:
            known = self._known(item, Registered(repeated=False, row=item.earlier))
            if known is not None:
                return known
            row = item.earlier if self._prior_of(item.earlier).is_unresolved else None
        pending = None if log is None else log.pending
        if row is not None and (log is None or (pending is None and not log.sent_before)):
            pending = self._prior_of(row).pending  # it was not looked up yet
        if pending is None:
            late = errors.RequestTimeoutError(f"{name}: the run was stopped before it was sent")
            late.operation = name
            return self._failed(item, late)
        unknown = errors.OutcomeUnknownError(
            f"{name}: the run was stopped while it was in progress; it may have been applied",
            pending=pending,
        )
        ends = pending.first_attempt, pending.last_attempt
        unknown.operation, unknown.attempts = name, tuple(dict.fromkeys(ends))
        return self._failed(item, unknown)

    def _prior_of(self, row: Row) -> _Prior:
        # All of them are of this very request: to write its intent drops what was there before.
        seen, sender = read_detail(row.detail).attempts, self._sender
        pending = row.pending(self._operation.name, sender.base_url, sender.key_fingerprint, seen)
        proofs = {attempt.proof for attempt in seen}
        # An attempt that was explicitly absent may have arrived since.
        is_unresolved = row.state in UNRESOLVED or Proof.UNKNOWN in proofs
        return _Prior(pending, is_unresolved, Proof.APPLIED in proofs)

    # Before anything is sent ----------------------------------------------------------------------

    def _known(self, item: Item[Q, R], registered: Registered) -> Outcome[Q, R] | None:
        """Return the outcome of an item that is not sent; None if it is sent, or was resumed."""
        if registered.repeated:
            problem = "occurs twice in this run, and is sent once"
            names = [name for name in _KEYS if getattr(item.request, name, None) == item.key]
            error = RequestValidationError(self._operation.name, (Fault(names[0], problem),))
            return self._rejected(item, error)
        row = registered.row
        if row is None or (row.state == State.FAILED and not self._prior_of(row).is_unresolved):
            return None
        change = self._change(item, row)
        if change is not None:
            return self._rejected(item, change)
        if registered.resumed or row.state not in _FINAL:
            return None
        return outcome_of(self._operation, item.request, row, State.SKIPPED)

    def _change(self, item: Item[Q, R], row: Row) -> RequestValidationError | None:
        """Compare an item with what was sent for it; None if they are equal."""
        try:
            check_unchanged(self._operation, item.request, row.sent, row.request_id)
        except RequestValidationError as error:
            return error
        return None

    def _rejected(self, item: Item[Q, R], error: RequestValidationError) -> Outcome[Q, R]:
        error.operation = self._operation.name
        return Outcome(item.key, item.request, State.REJECTED, error=error)

    # Sending --------------------------------------------------------------------------------------

    async def _send(self, item: Item[Q, R], log: ItemLog, prior: _Prior | None) -> Outcome[Q, R]:
        """Send an item, and wait where that is no use now: for a throttle, or for an outage."""
        failure: Chat2PayError | None = None
        while True:
            if self._paused_until > clock.now():
                await anyio.sleep(self._paused_until - clock.now())
            async with self._outage.waited_out() as is_try:
                if self._outage.has_given_up:
                    return self.stopped(item) if failure is None else self._failed(item, failure)
                began = clock.now()
                try:
                    outcome = await self._send_once(item, log, prior, is_try=is_try)
                except (errors.ConfigurationError, errors.JournalError):
                    raise  # they stop the run: the client is closed, or the journal is full
                except Chat2PayError as error:
                    failure, delay = error, self._delay_after(error, item, log, began)
                else:
                    self._outage.note_response()
                    return outcome
            if delay is None:
                return self._failed(item, failure)
            if log.sent_before is not None:
                # A lost attempt was absent, but verdicts go stale: it is looked up once more.
                was_lost = any(one.proof is Proof.UNKNOWN for one in failure.attempts)
                prior = _Prior(log.sent_before, was_lost)
            await anyio.sleep(delay)

    def _delay_after(
        self, error: Chat2PayError, item: Item[Q, R], log: ItemLog, began: float
    ) -> float | None:
        """Return the seconds until an item is sent once more; None: it is not."""
        if was_not_sent(error):
            if item.unsent_since is None:
                item.unsent_since = began
            self._outage.note_failure(error, began)
            return 0.0 if clock.now() - item.unsent_since < self._give_up_after else None
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
        is_retried = self._is_retried_after(error) and log.failed < policy.max_attempts
        return back_off(policy, log.failed) if is_retried else None

    def _is_retried_after(self, error: Chat2PayError) -> bool:
        """Tell whether a call's last attempt failed as one does that is followed by another."""
        if isinstance(error, errors.OutcomeUnknownError) or not error.attempts:
            return False
        last = error.attempts[-1]
        is_final = self._operation.safety is Safety.ONCE and is_refusal(last.status_code)
        return last.proof is Proof.NOT_SENT or (last.proof is Proof.UNKNOWN and not is_final)

    def _report_outage(self, lasted: float, delay: float | None, reason: str) -> None:
        name = self._operation.name
        self._sender.hooks.emit(events.Unreachable("", name, lasted, delay, reason))

    async def _send_once(
        self, item: Item[Q, R], log: ItemLog, prior: _Prior | None, *, is_try: bool
    ) -> Outcome[Q, R]:
        if self._check_existing and prior is None:
            outcome = await self._existing(item)
            if outcome is not None:
                return outcome
        options = self._options
        if prior is not None and prior.was_applied:
            # It was answered, and only its result is open: it is never sent again.
            retry = attrs.evolve(options.retry, resend_when_absent=False)
            options = attrs.evolve(options, retry=retry)
        if is_try:
            retry = attrs.evolve(options.retry, max_attempts=1)
            options = attrs.evolve(options, retry=retry)
        call = Call(self._operation, item.request, options, clock.now(), log)
        made = await self._sender.make(
            call,
            None if prior is None else prior.pending,
            unresolved=prior is not None and prior.is_unresolved,
        )
        state, attempts = state_after(made.result), tuple(call.attempts)
        return Outcome(item.key, item.request, state, made.result, None, attempts)

    def _failed(self, item: Item[Q, R], error: Chat2PayError) -> Outcome[Q, R]:
        result: Any = error.receipt if isinstance(error, errors.ReceiptNotSentError) else None
        return Outcome(item.key, item.request, state_of(error), result, error, error.attempts)

    async def _existing(self, item: Item[Q, R]) -> Outcome[Q, R] | None:
        """Look an order up before it is sent for the first time; None if it does not exist."""
        options = self._options
        if self._window_ends is None:  # a run before this one may have left something on its way
            self._window_ends = clock.now() + options.timeout.read + options.retry.settle
        finding = await self._sender.look_for(
            self._operation, item.request, options, self._window_ends
        )
        if finding.verdict is Verdict.ABSENT:
            return None
        if finding.verdict is Verdict.UNDETERMINED:
            raise self._unclear(finding)
        link: Any = finding.evidence.result
        return Outcome(item.key, item.request, State.SKIPPED, link)

    def _unclear(self, finding: Finding) -> Chat2PayError:
        """Return the error of an item that was not sent, since its order may exist."""
        name, response = self._operation.name, finding.response
        text = f"{name}: its look-up does not say whether the order exists, so it was not sent"
        if response is None:
            now = Attempt(datetime.now(UTC), 0.0, Proof.NOT_SENT)
            return errors.ConnectionFailedError(text, operation=name, attempts=(now,))
        if finding.evidence.shows is Shows.FOREIGN:
            host = urlsplit(self._sender.base_url).netloc
            text = foreign_text(host, response.status_code, response.headers)
            self._foreign = errors.RunStoppedError(f"{name}: {text}")
        elif response.status_code == _UNAUTHORIZED:
            text = f"{name}: the look-up was refused: check the API key (CHAT2PAY_API_KEY)"
            return errors.AuthenticationError(text, status_code=_UNAUTHORIZED)
        return Chat2PayError(text, operation=name)


_FINAL = frozenset({State.APPLIED, State.REJECTED})
"""States of rows that are skipped."""
_UNAUTHORIZED = 401
_KEYS = ("order_number", "payment_link_ref", "receipt_link_ref")
"""The fields that identify a request within its run."""
