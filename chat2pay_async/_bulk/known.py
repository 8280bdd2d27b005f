"""Items that are known: what the source and the journal had of their keys before.

What of a run's items is sent is decided here; how, in `_bulk/item.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import anyio
import attrs

from chat2pay_async import errors
from chat2pay_async._api.operations import Operation, key_of
from chat2pay_async._api.requests import ReceiptRequest
from chat2pay_async._api.responses import Outcome as CallOutcome
from chat2pay_async._bulk.outcomes import (
    CALL,
    STATES,
    Outcome,
    State,
    outcome_of,
    request_of_row,
)
from chat2pay_async._bulk.store import Asked, Registered, RunStore
from chat2pay_async._bulk.summary import mark_of
from chat2pay_async._journal.content import differences
from chat2pay_async._journal.store import Answer, Claim, Claimed, Row, RowState
from chat2pay_async._send.call import Call, ClaimLog
from chat2pay_async._send.flights import Flight, as_replayed
from chat2pay_async._send.idempotency import checked_key
from chat2pay_async._send.stored import Prior, claim_of, conflict, prior_of, state_after, state_of
from chat2pay_async._texts import alike_number
from chat2pay_async.errors import Chat2PayError, Fault, Pending, RequestValidationError

__all__ = ["GIVE_UP_AFTER", "Choices", "Item", "KnownItems"]

Q = TypeVar("Q")
R = TypeVar("R")

GIVE_UP_AFTER: Final = 600.0
"""Seconds of an outage after which a run stops itself."""


@attrs.frozen
class Choices:
    """Choices of a run's caller about what is sent."""

    check_existing: bool = False
    retry_rejected: bool = False
    allow_lookalikes: bool = False
    moved: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """Recipient and amount of rows that are gone from the source, as a digest; with their keys."""
    give_up_after: float = GIVE_UP_AFTER


@attrs.define(eq=False)
class Item(Generic[Q, R]):
    """Item in progress."""

    key: str
    """The name of its outcome."""
    request: Q
    claim: Claim | None = None
    """None without a journal."""
    asked: Asked | None = None
    """None for a row that the run has from an earlier process."""
    claimed: Claimed | None = None
    """The journal's answer to its claim."""
    is_resumed: bool = False
    """True if the run settles, or has settled, the row of its key for itself."""
    is_existing: bool = False
    """True if it was found where nothing was sent for it."""
    is_finished: bool = False
    """True if what others did is all that there is to say of it."""
    prior: Prior | None = None
    """The request of another call of this process with its key, which may have had an effect."""
    flight: Flight | None = None
    """Set where it is sent without a journal."""
    made: CallOutcome[R] | None = None
    """Its effect, once it has one."""
    log: ClaimLog | None = None
    call: Call[Q, R] | None = None
    scope: anyio.CancelScope | None = None
    """Set while it may be stopped."""
    outcome: Outcome[Q, R] | None = None
    """Set as soon as it is known; it may still have to be written."""
    unsent_since: float | None = None
    """The beginning of its first call that could not be sent; None after one that could."""

    @property
    def row(self) -> Row | None:
        """The journal's row, as it was before the claim."""
        return None if self.claimed is None else self.claimed.row

    @property
    def is_held(self) -> bool:
        """True if somebody else works on its key."""
        return self.claimed is not None and self.claimed.answer is Answer.HELD

    @property
    def journal_key(self) -> str:
        """Its key in the journal."""
        assert self.claim is not None  # noqa: S101 - it has one there
        return self.claim.key

    def take_token(self) -> str | None:
        """Return the token of its claim, which is given back from now."""
        claimed = self.claimed
        if claimed is None or claimed.token is None:
            return None
        self.claimed = Claimed(claimed.answer, claimed.row)
        return claimed.token


class KnownItems(Generic[Q, R]):
    """Decides which of a run's items are sent."""

    def __init__(self, operation: Operation[Q, R], store: RunStore, choices: Choices) -> None:
        self._operation = operation
        self._store = store
        self._choices = choices

    def new(self, request: Q, own_key: str | None = None, line: int | None = None) -> Item[Q, R]:
        """Make an item of a request from the source.

        Raises:
            RequestValidationError: Its own key can't be one.
        """
        operation = self._operation
        own_key = checked_key(operation.name, own_key)
        key = own_key or key_of(operation, request)
        # Two receipts of one link may have URLs that look alike.
        has_alike = own_key is not None or not isinstance(request, ReceiptRequest)
        claim, folded = None, ""
        if self._store.journal is not None:
            name = self._store.name
            run = None if name is None else name.run
            retried = self._choices.retry_rejected
            claim = claim_of(operation, request, key, run, line, takes_rejected=retried)
        if has_alike:
            folded = alike_number(key) if claim is None else claim.folded
        shown = own_key or operation.identity(request) or key
        return Item(shown, request, claim, self._asked(key, folded, request, claim))

    def _asked(self, key: str, folded: str, _request: Q, claim: Claim | None) -> Asked:
        return Asked(key, folded, claim=claim)  # recipients are a dry run's affair

    def resume(self, claimed: Claimed) -> Item[Q, R]:
        """Make an item of a row that an earlier process left open."""
        row = claimed.row
        assert row is not None  # noqa: S101 - it is open
        request: Any = request_of_row(row)
        claim = Claim(row.operation, row.key, row.identity, row.content)
        shown = row.identity if row.operation == "create_receipt" else row.key
        return Item(shown, request, claim, claimed=claimed)

    def register(self, item: Item[Q, R]) -> bool:
        """Register an item if it is certainly new; if not, it has to be looked up."""
        assert item.asked is not None  # noqa: S101 - it is the source's
        return self._store.register(item.asked)

    async def look_up(self, items: Sequence[Item[Q, R]]) -> list[bool | Exception]:
        """Register items that may not be new, and tell which of them are finished by that.

        Returns:
            For each, whether it is finished (without an outcome if this run has settled the row of
            its key); or why its row can't be read.

        Raises:
            JournalError: Their keys can't be indexed, or claimed.
        """
        known = await self._store.look_up([item.asked for item in items if item.asked is not None])
        for item, registered in zip(items, known, strict=True):
            item.claimed, item.is_resumed = registered.claimed, registered.resumed
        finished: list[bool | Exception] = []
        for item, registered in zip(items, known, strict=True):
            try:
                finished.append(self._is_finished(item, registered))
            except Exception as error:  # noqa: BLE001 - it is this row's alone
                finished.append(error)
        idle = [item for item, is_finished in zip(items, finished, strict=True) if is_finished]
        await self.release(idle)
        return finished

    async def find_rows(self, items: Iterable[Item[Q, R]]) -> None:
        """Find the journal's rows of items that are given up before they were looked up.

        Those that are finished are not to pass for unsent.

        Raises:
            JournalError: They can't be read.
        """
        idle = [item for item in items if item.claimed is None and item.claim is not None]
        claims = [item.claim for item in idle if item.claim is not None]
        for item, claimed in zip(idle, await self._store.read(claims), strict=True):
            item.claimed = claimed

    async def release(self, items: Sequence[Item[Q, R]]) -> None:
        """Give the claims of items back, also in a task that was cancelled."""
        tokens = [item.take_token() for item in items]
        await self._store.release([token for token in tokens if token is not None])

    def _is_finished(self, item: Item[Q, R], registered: Registered) -> bool:
        """Finish an item for which nothing is sent, if it is one."""
        if registered.repeated:
            problem = "occurs twice in this run, and is sent once"
            item.outcome = self._refused(item, problem)
        elif (other := self._lookalike(item, registered)) is not None:
            item.outcome = self._refused(item, other)
        else:
            return self._is_known(item)
        return True

    def _lookalike(self, item: Item[Q, R], registered: Registered) -> str | None:
        """Say what a new key looks like."""
        if self._choices.allow_lookalikes:
            return None
        if registered.lookalike is not None:
            return _LOOKS_LIKE.format(item.key, registered.lookalike)
        moved = self._choices.moved
        if moved and item.claimed is not None and item.claimed.row is None:
            mark = mark_of(item.request)
            if mark is not None and mark in moved:
                return _MOVED.format(item.key, moved[mark])
        return None

    def _is_known(self, item: Item[Q, R]) -> bool:
        """Finish an item by what the journal has of its key, if that is enough."""
        claimed, claim = item.claimed, item.claim
        if claimed is None or claim is None or claimed.row is None:
            return False
        row, answer = claimed.row, claimed.answer
        if answer is Answer.NEW:
            return False
        changed = differences(row.content, claim.content)
        if answer is Answer.OPEN:
            # What this run could not settle before has its outcome.
            return item.is_resumed
        if answer is Answer.HELD:
            if changed and not item.is_resumed:
                item.outcome = self._conflict(item, changed)
            return item.outcome is not None
        if changed and row.state is RowState.REJECTED:
            return False  # what moved nothing may be corrected
        if changed:
            item.outcome = self._conflict(item, changed)
        elif not item.is_resumed:
            item.outcome = outcome_of(row, item.request, State.SKIPPED, item.key)
        return True

    def stopped(self, item: Item[Q, R]) -> Outcome[Q, R]:
        """Return the outcome of an item that was stopped on its way."""
        name, log = self._operation.name, item.log
        if item.outcome is not None:
            return item.outcome
        if log is None:
            self._is_known(item)
            known: Outcome[Q, R] | None = item.outcome
            if known is not None:
                return known
        pending = self._pending_of(item)
        if pending is None:
            late = errors.RequestTimeoutError(f"{name}: the run was stopped before it was sent")
            late.operation = name
            late.attempts = () if item.call is None else tuple(item.call.attempts)
            return self._failed(item, late)
        unknown = errors.OutcomeUnknownError(
            f"{name}: the run was stopped while it was in progress; it may have been applied",
            pending=pending,
        )
        ends = pending.first_attempt, pending.last_attempt
        unknown.operation, unknown.attempts = name, tuple(dict.fromkeys(ends))
        return self._failed(item, unknown)

    def _pending_of(self, item: Item[Q, R]) -> Pending | None:
        """Return what settles an item that ended here; None where nothing may have been applied."""
        log, prior = item.log, item.prior or self._prior_of(item)
        if prior is not None and prior.is_unresolved and (log is None or log.sent is None):
            return prior.pending  # it was not looked up to the end
        return None if log is None else log.pending

    def _shared(self, item: Item[Q, R], flight: Flight) -> Outcome[Q, R]:
        """Return the outcome of an item that another call of this process has finished."""
        assert flight.outcome is not None  # noqa: S101 - asked before
        made, attempts = as_replayed(flight.outcome), tuple(flight.call.attempts)
        if state_after(made.result) is RowState.UNKNOWN:  # the gateway has not decided it
            return Outcome(item.key, item.request, State.UNKNOWN, made.result, None, attempts)
        at = attempts[0].started_at if attempts else None
        return Outcome(
            *(item.key, item.request, State.SKIPPED, made.result, made.error, attempts, CALL, at)
        )

    def _refused(self, item: Item[Q, R], problem: str) -> Outcome[Q, R]:
        names = [name for name in _KEYS if getattr(item.request, name, None) == item.key]
        fault = Fault(names[0] if names else "idempotency_key", problem)
        return self._rejected(item, RequestValidationError(self._operation.name, (fault,)))

    def _conflict(self, item: Item[Q, R], changed: tuple[str, ...]) -> Outcome[Q, R]:
        return self._rejected(item, conflict(self._operation.name, item.key, changed))

    def _rejected(self, item: Item[Q, R], error: Chat2PayError) -> Outcome[Q, R]:
        error.operation = self._operation.name
        return Outcome(item.key, item.request, State.REJECTED, error=error)

    def _prior_of(self, item: Item[Q, R]) -> Prior | None:
        journal = self._store.journal
        if item.row is None or journal is None or journal.account is None:
            return None
        return prior_of(item.row, journal.account)

    def _failed(self, item: Item[Q, R], error: Chat2PayError) -> Outcome[Q, R]:
        result: Any = error.receipt if isinstance(error, errors.ReceiptNotSentError) else None
        state = STATES[state_of(error)]
        return Outcome(item.key, item.request, state, result, error, error.attempts)


_KEYS = ("order_number", "payment_link_ref", "receipt_link_ref")
"""The fields that identify a request within its run."""
_LOOKS_LIKE = (
    "{!r} is new, and looks like {!r}, which is known: if both are meant, allow look-alikes; else "
    "write it as before"
)
_MOVED = (
    "{!r} is new, and has the recipient and the amount of {!r}, which is gone from the source: if "
    "both are meant, allow look-alikes; else write it as before"
)
