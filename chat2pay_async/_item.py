"""One item of a run, from what the source gave to its outcome."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import anyio
import attrs

from chat2pay_async import _clock as clock
from chat2pay_async import _requests, errors, models
from chat2pay_async._answers import WireResponse
from chat2pay_async._book import Book, Claimed, ItemLog
from chat2pay_async._call import Options, Past, ended_at
from chat2pay_async._evidence import Shows, case_of, link_shown, read_evidence
from chat2pay_async._journal import Row
from chat2pay_async._limits import LONGEST_PAUSE
from chat2pay_async._operations import GET_TRANSACTION, Operation, prepare
from chat2pay_async._outcomes import Forecast, Outcome, State, state_after, state_of
from chat2pay_async._rebuild import check_unchanged, request_of
from chat2pay_async._send import Sender
from chat2pay_async._stored import outcome_of, read_detail
from chat2pay_async.errors import (
    Chat2PayError,
    Fault,
    Pending,
    Proof,
    RequestValidationError,
)

__all__ = ["Item", "Items"]

Q = TypeVar("Q")
R = TypeVar("R")


@attrs.define(eq=False)
class Item(Generic[Q, R]):
    """An item under way."""

    key: str
    request: Q
    row: Row | None = None
    """What a journal has of it, where it is taken up from there."""
    log: ItemLog | None = None
    outcome: Outcome[Q, R] | None = None
    """Set as soon as it is known; it may still have to be written down."""


class Items(Generic[Q, R]):
    """Brings the items of one run to their outcomes."""

    def __init__(  # noqa: PLR0913 - what a run is made of
        self,
        operation: Operation[Q, R],
        sender: Sender,
        options: Options,
        book: Book,
        *,
        concurrency: int,
        check_existing: bool = False,
    ) -> None:
        self._operation = operation
        self._sender = sender
        self._options = options
        self._book = book
        self._concurrency = concurrency
        self._check_existing = check_existing
        self._paused_until = -math.inf

    @property
    def forecast(self) -> Forecast | None:
        """What a dry run says; None where this is none."""
        return None

    def new(self, request: Q) -> Item[Q, R]:
        """An item that the source has."""
        return Item(self._operation.identity(request), request)

    def in_doubt(self, row: Row) -> Item[Q, R]:
        """An item that an earlier run did not see the end of."""
        return Item(row.key, request_of(self._operation, row.sent, row.request_id), row)

    async def finish(self, item: Item[Q, R]) -> None:
        """Bring an item to its outcome; none, if this run told another for its key already.

        Raises:
            JournalError: The outcome can't be written down.
        """
        past: Past | None = None
        if item.row is not None:
            past = item.row.past(self._gave_up_at(item.row))
        else:
            claimed = await self._book.claim(item.key)
            item.outcome = self.known(item, claimed)
            if item.outcome is not None or claimed.taken_up:
                return
            past = self._past(item, claimed.row)
        item.log = self._book.log(item.key, resumed=past is not None)
        item.outcome = await self._sent(item, item.log, past)
        await self._book.end(item.outcome, item.log.response)

    def stopped(self, item: Item[Q, R]) -> Outcome[Q, R]:
        """What became of an item that was stopped on its way."""
        name, log = self._operation.name, item.log
        if log is not None:
            log.stopped()
        if item.outcome is not None:
            return item.outcome
        pending = None if log is None else log.pending
        if item.row is not None and (log is None or (pending is None and not log.sent_before)):
            pending = self._pending_of(item.row)  # nobody has looked it up yet
        if pending is None:
            late = errors.RequestTimeoutError(f"{name}: the run was stopped before it was sent")
            late.operation = name
            return self._failed(item, late)
        doubt = errors.OutcomeUnknownError(
            f"{name}: the run was stopped while it was under way; it may have been applied",
            pending=pending,
        )
        doubt.operation, doubt.attempts = name, (pending.last_attempt,)
        return self._failed(item, doubt)

    def _gave_up_at(self, row: Row) -> float:
        """When its last attempt ended; that of a run that died, at its last sign of life."""
        known = () if row.detail is None else read_detail(row.detail).attempts
        return ended_at(known[-1]).timestamp() if known else self._book.alive_at

    def _pending_of(self, row: Row) -> Pending:
        attempts = row.past(self._gave_up_at(row)).attempts
        return Pending(
            operation=self._operation.name,
            identity=row.key,
            request=row.sent,
            base_url=self._sender.base_url,
            key_fingerprint=self._sender.key_fingerprint,
            request_id=row.request_id,
            first_attempt=attempts[0],
            last_attempt=attempts[-1],
        )

    # What is known before anything is sent -------------------------------------------------------

    def known(self, item: Item[Q, R], claimed: Claimed) -> Outcome[Q, R] | None:
        """The outcome of an item that is not sent; None where it is, or where one was told."""
        if claimed.repeated:
            problem = "occurs twice in this run, and was sent once"
            names = [name for name in _KEYS if getattr(item.request, name, None) == item.key]
            fault = Fault(names[0], problem)
            return self._refused(item, RequestValidationError(self._operation.name, (fault,)))
        row = claimed.row
        if row is None or row.state == State.FAILED:
            return None
        try:
            check_unchanged(self._operation, item.request, row.sent, row.request_id)
        except RequestValidationError as error:
            return self._refused(item, error)
        final = row.state in {State.APPLIED, State.REJECTED} and not claimed.taken_up
        if not final:
            return None
        return attrs.evolve(outcome_of(self._operation, item.request, row), state=State.SKIPPED)

    def _refused(self, item: Item[Q, R], error: RequestValidationError) -> Outcome[Q, R]:
        error.operation = self._operation.name
        return Outcome(item.key, item.request, State.REJECTED, error=error)

    def _past(self, item: Item[Q, R], row: Row | None) -> Past | None:
        """What to send of an item that failed before: the same bytes, unless its source changed."""
        if row is None:
            return None
        try:
            check_unchanged(self._operation, item.request, row.sent, row.request_id)
        except RequestValidationError:
            return None
        return row.past(self._book.alive_at)

    # Sending -------------------------------------------------------------------------------------

    async def _sent(self, item: Item[Q, R], log: ItemLog, past: Past | None) -> Outcome[Q, R]:
        """Send an item, and wait out what is longer than a call waits."""
        while True:
            await anyio.sleep(max(0.0, self._paused_until - clock.now()))
            try:
                return await self._once(item, log, past)
            except errors.RateLimitedError as error:
                asked = error.retry_after or 0.0
                if asked <= LONGEST_PAUSE:
                    return self._failed(item, error)
                self._paused_until = max(self._paused_until, clock.now() + asked)
                self._sender.tell_pause(self._operation.name, asked)
                past = log.sent_before
                if past is not None and any(one.proof is Proof.UNKNOWN for one in error.attempts):
                    # It was absent, but a verdict goes stale: look again before it is sent.
                    past = attrs.evolve(past, in_doubt=True)
            except (errors.ConfigurationError, errors.JournalError):
                raise  # no item's own: the client is closed, or the journal can't be written
            except Chat2PayError as error:
                return self._failed(item, error)

    async def _once(self, item: Item[Q, R], log: ItemLog, past: Past | None) -> Outcome[Q, R]:
        if self._check_existing and past is None:
            outcome = await self._existing(item)
            if outcome is not None:
                return outcome
        raw = await self._sender.send(self._operation, item.request, self._options, log, past)
        state = state_after(raw.parsed)
        return Outcome(item.key, item.request, state, raw.parsed, None, raw.attempts)

    def _failed(self, item: Item[Q, R], error: Chat2PayError) -> Outcome[Q, R]:
        result: Any = error.receipt if isinstance(error, errors.ReceiptNotSentError) else None
        state = state_of(error)
        return Outcome(item.key, item.request, state, result, error, error.attempts)

    async def _existing(self, item: Item[Q, R]) -> Outcome[Q, R] | None:
        """Look an order up before it is sent for the first time; None where there is none."""
        found: models.Transaction | None = None
        query = _requests.TransactionQuery(order_number=item.key)
        try:
            raw = await self._sender.send(GET_TRANSACTION, query, self._options)
        except errors.ApiError as error:
            if state_of(error) is not State.REJECTED:
                raise
            answer = WireResponse(error.status_code, error.headers, error.body)
        else:
            answer, found = WireResponse(raw.status_code, raw.headers, raw.body), raw.parsed
        now = datetime.now(UTC)
        sent = prepare(self._operation, item.request)
        shows = read_evidence(case_of(self._operation.name, item.key, sent, None, now), answer, now)
        if shows.shows is Shows.ABSENT:
            return None
        if found is None or shows.shows is Shows.NOTHING:
            unclear = Chat2PayError(
                f"{self._operation.name}: whether the order exists already can't be told from what "
                f"its look-up was answered ({answer.status_code}), so it was not sent",
                operation=self._operation.name,
            )
            return self._failed(item, unclear)
        link: Any = link_shown(found)
        return Outcome(item.key, item.request, State.SKIPPED, link)


_KEYS = ("order_number", "payment_link_ref", "receipt_link_ref")
"""The fields that tell a request from all others of its run."""
