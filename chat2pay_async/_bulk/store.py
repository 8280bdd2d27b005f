"""What a run knows of its items' keys: those it has met, and those that a journal tells of.

The same for runs with and without a journal, so that a run need not care. All of it happens in one
thread, in batches; see `_journal/group_commit.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import anyio
import attrs

from chat2pay_async._bulk.outcomes import Outcome
from chat2pay_async._bulk.serialization import write_detail, write_result
from chat2pay_async._journal.base import PriorAttempts
from chat2pay_async._journal.group_commit import Batches
from chat2pay_async._journal.key_index import Seen, Sieve
from chat2pay_async._journal.sqlite import Answered, Departed, Ended, Journal, Row
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async._send.call import CallLog
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Attempt, Pending, SentRequest

__all__ = ["Book", "Claimed", "ItemLog"]


@attrs.frozen(eq=False)
class Claim:
    """The source has an item with this key."""

    key: str
    recipient: str | None = None
    """Whom it goes to, where that is asked about."""
    is_new: bool = False
    """Whether both are certainly new: then nobody waits for an answer."""


@attrs.frozen
class Claimed:
    """The answer to a `Claim`."""

    repeated: bool
    """Whether the source had the key before."""
    taken_up: bool = False
    """Whether this run settles, or has settled, what an earlier one left in doubt."""
    row: Row | None = None
    """What the journal has of it."""
    recipient_repeated: bool = False
    """Whether another item goes to the same recipient."""


_NEW: Final = Claimed(repeated=False)
_UNWRITTEN: Final = 500
"""New keys that may wait in memory for being remembered."""

_Task = Claim | Departed | Answered | Ended


class Book:
    """Keeps a run's keys, in a temporary file, and its journal, if it has one."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._sieve = Sieve()
        self._seen: Seen | None = None
        self._forgot: Exception | None = None
        """Why keys are missing among those that were seen."""
        self._has_opened = False
        self._batches: Batches[_Task, Claimed | None] = Batches(self._work)

    @property
    def has_journal(self) -> bool:
        """Whether what happens is written down."""
        return self._journal is not None

    @property
    def alive_at(self) -> float:
        """The last time that an earlier run was certainly at work, in seconds since 1970."""
        return 0.0 if self._journal is None else self._journal.alive_at

    async def open(self, binding: Binding) -> None:
        """Open it all, and lock it.

        Raises:
            JournalError: The journal can't be used, or not for this run.
        """
        await self._batches.alone(self._open, binding)

    def _open(self, binding: Binding) -> None:
        if self._journal is not None:
            self._journal.open(binding)
            self._has_opened = True
            for key in self._journal.all_keys():
                self._sieve.add(_OWN + key)
        self._seen = Seen()

    async def serve(self) -> None:
        """Do what is asked for, until this is cancelled."""
        await self._batches.serve()

    async def close(self) -> None:
        """Write what is left to be written, and let go; also in a task that was cancelled."""
        with anyio.CancelScope(shield=True):
            try:
                await self._batches.finish()
            finally:  # asyncio's own cancellation heeds no shield, and the journal stays locked
                await self._batches.alone(lambda _nothing: self._close(), None)

    def _close(self) -> None:
        if self._seen is not None:
            self._seen.close()
        if self._has_opened and self._journal is not None:
            self._journal.close()

    async def claim(self, key: str, recipient: str | None = None) -> Claimed:
        """Tell that the source has an item with this key, and hear what is known of it.

        Raises:
            JournalError: What was met can't be remembered, so the same could be sent twice.
        """
        is_new = self._sieve.add(_OWN + key)
        if recipient:
            is_new = self._sieve.add(_RECIPIENT + recipient) and is_new
        if is_new and self._batches.waiting < _UNWRITTEN:
            self._batches.add(Claim(key, recipient, is_new=True))
            return _NEW
        claimed = await self._batches.do(Claim(key, recipient))
        assert isinstance(claimed, Claimed)  # noqa: S101 - that is what a claim is answered
        return claimed

    async def open_rows(self) -> AsyncGenerator[Row]:
        """What an earlier run left in doubt; from here on it counts as taken up."""
        after = 0
        while page := await self._batches.alone(self._open_page, after):
            for number, row in page:
                after = number
                yield row

    def _open_page(self, after: int) -> list[tuple[int, Row]]:
        if self._journal is None:
            return []
        page = self._journal.page(after, open_only=True)
        self._keys.add([_TAKEN_UP + row.key for _number, row in page])
        return page

    def log(self, key: str, *, resumed: bool) -> ItemLog:
        """An item's log."""
        return ItemLog(self, key, again=resumed)

    async def depart(self, note: Departed) -> None:
        """Write down, durably, that a POST leaves.

        Raises:
            JournalError: It can't be written, so it must not leave.
        """
        if self._journal is not None:
            await self._write(note)

    def answer(self, note: Answered) -> None:
        """Write down an answer, with what is next to be written."""
        if self._journal is not None:
            self._batches.add(note)

    async def end(self, outcome: Outcome[Any, Any], response: WireResponse | None) -> None:
        """Write down, durably, how an item ended.

        Raises:
            JournalError: It can't be written; the item stays in doubt.
        """
        if self._journal is None:
            return
        result = None
        if outcome.recovered and outcome.result is not None:
            result = write_result(outcome.result)
        body = None if response is None else response.body
        state = outcome.state.value
        await self._write(Ended(outcome.key, state, body, result, write_detail(outcome)))

    async def _write(self, note: Departed | Ended) -> None:
        # An outcome is written even if nobody is left to wait for it.
        await self._batches.do(note, keep=isinstance(note, Ended))

    @property
    def _keys(self) -> Seen:
        assert self._seen is not None  # noqa: S101 - a book is opened before it is used
        return self._seen

    # In the thread -------------------------------------------------------------------------------

    def _work(self, tasks: Sequence[_Task]) -> list[Claimed | None]:
        claims = [task for task in tasks if isinstance(task, Claim)]
        notes = [task for task in tasks if not isinstance(task, Claim)]
        try:
            if notes and self._journal is not None:
                self._journal.write(notes)
        finally:  # a key that is not remembered could be sent twice
            answers = self._claim(claims) if claims else {}
        return [answers.get(task) if isinstance(task, Claim) else None for task in tasks]

    def _claim(self, claims: Sequence[Claim]) -> dict[Claim, Claimed]:
        if self._forgot is not None:
            raise self._forgot.with_traceback(None)
        asking = [claim for claim in claims if not claim.is_new]
        try:
            # Those that are new are like none before them, so they may go first.
            self._keys.put([text for claim in claims if claim.is_new for text in _texts(claim)])
            return dict(zip(asking, self._answers(asking), strict=True)) if asking else {}
        except Exception as error:
            self._forgot = error
            raise

    def _answers(self, claims: Sequence[Claim]) -> list[Claimed]:
        keys = [claim.key for claim in claims]
        repeated = self._keys.add([_OWN + key for key in keys])
        rows: dict[str, Row] = {}
        taken_up: set[str] = set()
        if self._journal is not None:
            rows = self._journal.rows(keys)
            taken_up = self._keys.has([_TAKEN_UP + key for key in rows])
        recipients = [_RECIPIENT + claim.recipient for claim in claims if claim.recipient]
        known = iter(self._keys.add(recipients) if recipients else [])
        return [
            Claimed(
                again,
                _TAKEN_UP + claim.key in taken_up,
                rows.get(claim.key),
                next(known) if claim.recipient else False,
            )
            for claim, again in zip(claims, repeated, strict=True)
        ]


def _texts(claim: Claim) -> Iterator[str]:
    yield _OWN + claim.key
    if claim.recipient:
        yield _RECIPIENT + claim.recipient


_OWN, _TAKEN_UP, _RECIPIENT = "own:", "taken up:", "recipient:"


class ItemLog(CallLog):
    """What one item sends, and what it is answered, on the way into the journal."""

    def __init__(self, book: Book, key: str, *, again: bool) -> None:
        self._book = book
        self._key = key
        self._again = again
        self._unwritten: Answered | None = None
        self._departed: Departed | None = None
        self.response: WireResponse | None = None
        """The last answer to a POST."""
        self.pending: Pending | None = None
        """Set where the call ends in doubt."""

    async def record_intent(
        self, sent: SentRequest, request_id: str | None, first_at: datetime, at: datetime
    ) -> None:
        """A POST is about to leave: it is durable when this returns."""
        if self._unwritten is not None:
            self._book.answer(self._unwritten)
        self._unwritten, self.response = None, None
        note = Departed(self._key, sent, request_id, first_at, at, self._again)
        await self._book.depart(note)
        self._again, self._departed = True, note

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None:
        """A POST that left came to its end."""
        self.response = response
        if response is not None:
            body, status = response.body, response.status_code
            self._unwritten = Answered(self._key, attempt.started_at, status, body)

    def stopped(self) -> None:
        """The call was cancelled: what it was answered last is still to be written."""
        if self._unwritten is not None:
            self._book.answer(self._unwritten)

    def record_pending(self, pending: Pending) -> None:
        """The call ends, or was cancelled, while it may have been applied."""
        self.pending = pending

    @property
    def sent_before(self) -> PriorAttempts | None:
        """What left so far, for a call that sends the same again."""
        left = self._departed
        if left is None:
            return None
        return PriorAttempts(
            left.sent, left.request_id, left.first_at, left.at, left.at, unresolved=False
        )
