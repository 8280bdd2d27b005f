"""Reconciling: what the journal has as applied, held against the status endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import attrs

from chat2pay_async import errors
from chat2pay_async._api import models, operations
from chat2pay_async._api.requests import TransactionQuery
from chat2pay_async._bulk.factory import get_transactions
from chat2pay_async._bulk.outcomes import CALL, Outcome, State, request_of_row
from chat2pay_async._bulk.records import state_word
from chat2pay_async._bulk.source import Keyed
from chat2pay_async._client import AsyncChat2Pay, inner
from chat2pay_async._journal.key_index import KeyIndex
from chat2pay_async._journal.store import Row, RowState, Store
from chat2pay_async._send.payment_history import entries_of, is_same_amount
from chat2pay_async._send.references import reference_in
from chat2pay_async._send.stored import changed_in, result_of
from chat2pay_async.errors import ConfigurationError

__all__ = ["Reconciled", "Reconciliation", "reconcile"]

_Type = models.TransactionType
_CREATE, _CAPTURE = operations.CREATE_PAYMENT_LINK.name, operations.CAPTURE_PAYMENT.name
_REVERSE, _CANCEL = operations.REVERSE_PAYMENT.name, operations.CANCEL_PAYMENT_LINK.name
_UNDONE = frozenset({models.PaymentStatus.REVERSED, models.PaymentStatus.VOIDED})
_CANCELLED = models.TransactionStatus.PAYMENT_LINK_CANCELLED
_APPLIED: Final = frozenset({RowState.APPLIED})
_PAGE: Final = 500


@attrs.frozen
class Reconciled:
    """One row of the journal, held against the status endpoint."""

    operation: str
    key: str = attrs.field(repr=False)
    """Its idempotency key."""
    line: int | None
    """The row of its run's source."""
    by: str
    """The run that made it; `"call"`: a single call did."""
    at: datetime
    """The time of that."""
    status: str
    """`open`, `in review`, `authorized`, `captured`, `paid` (by a sale), `reversed`, `declined`,
    `expired` or `cancelled`; `missing`: there is no such link; `unknown`: the look-up failed, or
    shows too little."""
    problem: str | None
    """A disagreement, in words; None: there is none."""
    transaction: models.Transaction | None = attrs.field(default=None, repr=False)
    """All that the service shows of it."""


class Reconciliation:
    """A reconciliation: an async context manager, and inside it an iterator over `Reconciled`.

        async with bulk.reconcile(client, run="spring") as reconciliation:
            problems = [one async for one in reconciliation if one.problem]
        print(reconciliation.counts)

    Raises:
        ConfigurationError: The client has no journal, or this is read outside its block.
        JournalError: The journal can't be read.
        RunStoppedError, AuthenticationError: It stopped itself, as a run does.
    """

    def __init__(
        self,
        client: AsyncChat2Pay,
        store: Store,
        run: str | None,
        operation: str | None,
        concurrency: int,
    ) -> None:
        """Make one; programs use `bulk.reconcile`."""
        self._calls, self._options = inner(client)
        self._store = store
        self._run = run
        self._operation = operation
        self._rows: dict[str, tuple[Row, int | None]] = {}
        """Those that are looked up now."""
        self._references: KeyIndex | None = None
        self._counts: Counter[str] = Counter()
        self._look_ups = get_transactions(client, self._queries(), concurrency=concurrency)

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of rows of each `status` so far, and of `problems`."""
        return dict(self._counts)

    def stop(self) -> None:
        """Look up nothing more."""
        self._look_ups.stop()

    async def __aenter__(self) -> Self:
        await self._calls.opened()
        await self._look_ups.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._look_ups.__aexit__(kind, error, trace)
        finally:
            if self._references is not None:
                self._references.close()

    def __aiter__(self) -> AsyncIterator[Reconciled]:
        return self

    async def __anext__(self) -> Reconciled:
        outcome = await anext(self._look_ups)
        row, line = self._rows.pop(outcome.key)
        found = self._judge(row, line, outcome)
        self._counts[found.status] += 1
        self._counts["problems"] += found.problem is not None
        return found

    async def _queries(self) -> AsyncGenerator[Keyed[TransactionQuery | str]]:
        after = 0
        while page := await self._store.rows(
            run=self._run, operation=self._operation, states=_APPLIED, after=after, limit=_PAGE
        ):
            for row, line in page:
                after, number = row.id, str(row.id)
                self._rows[number] = row, line
                yield Keyed(_query_of(row), number)

    def _judge(
        self, row: Row, line: int | None, outcome: Outcome[TransactionQuery, models.Transaction]
    ) -> Reconciled:
        found = outcome.result
        if outcome.state is State.APPLIED and found is not None:
            status, problem = state_word(found), self._problem(row, found)
        elif isinstance(outcome.error, errors.NotFoundError):
            status, problem = "missing", "the service does not know it"
        else:
            status, problem = "unknown", f"its look-up failed: {outcome.error}"
        by, at = row.claimed_by.run or CALL, row.ended_at or row.claimed_by.at
        return Reconciled(row.operation, row.key, line, by, at, status, problem, found)

    def _problem(self, row: Row, found: models.Transaction) -> str | None:
        """Say what disagrees between a row and what the service shows."""
        result, _error, _attempts = result_of(row)
        reference = reference_in(row.operation, result)
        if row.operation in {_CREATE, operations.CREATE_RECEIPT.name} and reference is not None:
            if self._references is None:
                self._references = KeyIndex()
            (is_known,) = self._references.add([f"{row.operation} {reference}"])
            if is_known:
                return f"another row of the journal has its reference {reference}, too"
        if row.operation == _CREATE:
            changed = changed_in(request_of_row(row), found, None) or ()
            return f"the service has another {', '.join(changed)}" if changed else None
        if row.operation == _CAPTURE:
            return _capture_problem(row, found)
        if row.operation == _REVERSE:
            is_undone = found.payment_status in _UNDONE or _accepted(found, _Type.VOID)
            return None if is_undone else "the service does not show it as reversed"
        if row.operation == _CANCEL:
            names = {one.transaction_status_name for one in found.transaction_statuses}
            return None if _CANCELLED in names else "the service does not show it as cancelled"
        return None


def reconcile(
    client: AsyncChat2Pay,
    *,
    run: str | None = None,
    operation: str | None = None,
    concurrency: int = 16,
) -> Reconciliation:
    """Hold what a client's journal has as applied against the status endpoint.

    Each row is looked up: is it still there, with the same amount and currency, captured or
    reversed, and is nothing there twice?

    Args:
        client: Has the journal, and makes the look-ups.
        run: Only the rows of this run.
        operation: Only rows of this operation, such as `create_payment_link`.
        concurrency: The number of look-ups at a time.

    Raises:
        ConfigurationError: The client has no journal.
    """
    store = inner(client)[0].store
    if store is None:
        raise ConfigurationError(
            "reconcile holds a journal against the service: make the client with journal="
        )
    return Reconciliation(client, store, run, operation, concurrency)


def _query_of(row: Row) -> TransactionQuery:
    """Return the query for a row's link: by its reference, as an order may have several links."""
    if row.operation != _CREATE:
        return TransactionQuery(payment_link_ref=row.identity)
    result, _error, _attempts = result_of(row)
    reference: str | None = getattr(result, "payment_link_ref", None)
    if reference:
        return TransactionQuery(payment_link_ref=reference)
    return TransactionQuery(order_number=row.identity)


def _accepted(found: models.Transaction, kind: models.TransactionType) -> list[Any]:
    return [one for one in entries_of(found, kind) if one.succeeded]


def _capture_problem(row: Row, found: models.Transaction) -> str | None:
    captures = _accepted(found, _Type.CAPTURE)
    if len(captures) > 1:
        return f"the service shows {len(captures)} captures"
    if not captures:
        shows = found.transaction_type == _Type.CAPTURE or found.payment_status in _UNDONE
        return None if shows else "the service does not show it as captured"
    asked = getattr(request_of_row(row), "amount", None)
    shown = captures[0].total_amount
    if asked is None or shown is None or is_same_amount(found, asked, shown):
        return None
    return "the service has captured another amount"
