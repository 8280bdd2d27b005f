"""Store of a run: the keys that it has met, and its journal, if it has one.

It is the same for runs with and without a journal, so that a run need not care. All of its work is
done in one thread, in batches; see `_journal/group_commit.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import anyio
import attrs

from chat2pay_async._bulk.outcomes import Outcome
from chat2pay_async._bulk.serialization import write_detail, write_result
from chat2pay_async._journal.base import Entry, Intent, Response, Result, Row
from chat2pay_async._journal.group_commit import GroupCommit
from chat2pay_async._journal.key_index import BloomFilter, KeyIndex
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async._send.call import CallLog
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Attempt, Pending, Proof

__all__ = ["PAGE", "ItemLog", "Registered", "RunStore"]


_Asked = tuple[str, str | None]
"""A key, and its recipient, where repeated recipients are asked about."""


@attrs.frozen(eq=False)
class _Registrations:
    asked: Sequence[_Asked] = attrs.field(repr=False)


class Registered(NamedTuple):
    """Answer to a registration."""

    repeated: bool
    """True if the source had the key before."""
    resumed: bool = False
    """True if this run reconciles, or has reconciled, the row that an earlier one left."""
    row: Row | None = None
    """The journal's row of the key."""
    recipient_repeated: bool = False
    """True if another item has the same recipient."""


_KEY, _RESUMED, _RECIPIENT = "key:", "resumed:", "recipient:"
"""Prefixes that keep three sets apart in one index."""
PAGE: Final = 500
"""The most keys that are looked up at once: in one statement SQLite takes at least 999."""
_UNINDEXED: Final = 500
"""New texts that may be in memory before an item waits until they are indexed."""

_INDEX: Final = None
"""Does nothing but what each batch does: it has new texts indexed."""

_Task = _Registrations | Entry | None


class RunStore:
    """Keeps the keys of a run in a temporary file, and what it sends in its journal."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._filter = BloomFilter()
        self._index: KeyIndex | None = None
        self._unindexed: deque[str] = deque()
        """Texts that are certainly new: no task waits for an answer about them."""
        self._index_error: Exception | None = None
        """Set once keys are missing in the index."""
        self._has_opened = False
        self._commits: GroupCommit[_Task, list[Registered] | None] = GroupCommit(self._work)

    async def open(self, binding: Binding) -> None:
        """Open the index, and open and lock the journal.

        Raises:
            JournalError: The journal can't be used, or not for this run.
        """
        await self._commits.run(self._open, binding)

    def _open(self, binding: Binding) -> None:
        if self._journal is not None:
            self._journal.open(binding)
            self._has_opened = True
            for key in self._journal.all_keys():
                self._filter.add(_KEY + key)
        self._index = KeyIndex()

    async def serve(self) -> None:
        """Work in the thread until cancelled."""
        await self._commits.serve()

    async def close(self) -> None:
        """Write what is left, and close; also in a task that was cancelled."""
        with anyio.CancelScope(shield=True):
            try:
                await self._commits.flush()
            finally:  # asyncio's own cancellation ignores shields, and the journal stays locked
                await self._commits.run(self._close, always=True)

    def _close(self) -> None:
        if self._index is not None:
            self._index.close()
        if self._has_opened and self._journal is not None:
            self._journal.close()

    def register(self, key: str, recipient: str | None = None) -> bool:
        """Register a key of the source if it is certainly new; if not, it has to be looked up.

        Args:
            key: The key of an item.
            recipient: Its recipient, where repeated recipients are asked about.

        Returns:
            True if the key, and the recipient, are certainly new.
        """
        text = _KEY + key
        is_new = self._filter.add(text)
        if recipient:
            is_new = self._filter.add(_RECIPIENT + recipient) and is_new
        if is_new:
            self._unindexed.append(text)
            if recipient:
                self._unindexed.append(_RECIPIENT + recipient)
        return is_new

    async def index(self) -> None:
        """Have the new keys indexed, once many wait for it in memory.

        Raises:
            JournalError: They can't be indexed, so their items could be sent twice.
        """
        if len(self._unindexed) >= _UNINDEXED:
            await self._commits.submit(_INDEX)

    async def look_up(self, asked: Sequence[_Asked]) -> list[Registered]:
        """Register keys that may not be new, in their order, and return what is known of them.

        Raises:
            JournalError: They can't be indexed, so their items could be sent twice.
        """
        registered = await self._commits.submit(_Registrations(asked))
        assert registered is not None  # noqa: S101 - the result of registrations
        return registered

    async def rows(self, keys: Sequence[str]) -> dict[str, Row]:
        """Read the journal's rows of these keys, without registering them.

        Raises:
            JournalError: They can't be read.
        """
        rows: dict[str, Row] = {}
        if self._journal is not None:
            for start in range(0, len(keys), PAGE):
                rows |= await self._commits.run(self._journal.rows, keys[start : start + PAGE])
        return rows

    async def unresolved_rows(self) -> AsyncGenerator[Row]:
        """Yield the rows that an earlier run left unresolved; they count as resumed from now."""
        after = 0
        while page := await self._commits.run(self._unresolved_page, after):
            for number, row in page:
                after = number
                yield row

    def _unresolved_page(self, after: int) -> list[tuple[int, Row]]:
        if self._journal is None:
            return []
        page = self._journal.page(after, unresolved_only=True)
        self._keys.put([_RESUMED + row.key for _number, row in page])
        return page

    async def record_intent(self, intent: Intent) -> None:
        """Write durably that a POST is about to leave.

        Raises:
            JournalError: It can't be written, so the POST must not leave.
        """
        if self._journal is not None:
            await self._commits.submit(intent)

    def record_response(self, response: Response) -> None:
        """Write a response, together with what is written next."""
        if self._journal is not None:
            self._commits.add(response)

    async def record_outcome(
        self, outcome: Outcome[Any, Any], response: WireResponse | None
    ) -> None:
        """Write the outcome of an item durably, also if the task is cancelled.

        Raises:
            JournalError: It can't be written; the item stays unresolved.
        """
        if self._journal is None:
            return
        result = write_result(outcome.result) if outcome.recovered else None
        body = None if response is None else response.body
        state, detail = str(outcome.state), write_detail(outcome)
        await self._commits.submit(Result(outcome.key, state, body, result, detail), keep=True)

    @property
    def _keys(self) -> KeyIndex:
        assert self._index is not None  # noqa: S101 - a store is opened before it is used
        return self._index

    # In the thread --------------------------------------------------------------------------------

    def _work(self, tasks: Sequence[_Task]) -> list[list[Registered] | None]:
        asked: list[_Asked] = []
        entries: list[Entry] = []
        for task in tasks:
            if isinstance(task, _Registrations):
                asked += task.asked
            elif task is not None:  # `_INDEX`
                entries.append(task)
        try:
            if entries and self._journal is not None:
                self._journal.write(entries)
        finally:  # a key that is not indexed could be sent twice
            answers = iter(self._register(asked))
        if not asked:
            return [None] * len(tasks)
        return [
            list(islice(answers, len(task.asked))) if isinstance(task, _Registrations) else None
            for task in tasks
        ]

    def _register(self, asked: Sequence[_Asked]) -> list[Registered]:
        if not (asked or self._unindexed):
            return []
        if self._index_error is not None:
            raise self._index_error.with_traceback(None)
        try:
            # Certainly new texts are like none before them, so they may go first.
            self._keys.put([self._unindexed.popleft() for _ in range(len(self._unindexed))])
            return self._look_up(asked) if asked else []
        except Exception as error:
            self._index_error = error
            raise

    def _look_up(self, asked: Sequence[_Asked]) -> list[Registered]:
        keys = [key for key, _recipient in asked]
        repeated = self._keys.add([_KEY + key for key in keys])
        rows = {} if self._journal is None else self._journal.rows(keys)
        resumed = self._keys.has([_RESUMED + key for key in rows])
        recipients = self._keys.add(
            [_RECIPIENT + recipient for _key, recipient in asked if recipient]
        )
        known = iter(recipients)
        return [
            Registered(
                is_repeated,
                _RESUMED + key in resumed,
                rows.get(key),
                next(known) if recipient else False,
            )
            for (key, recipient), is_repeated in zip(asked, repeated, strict=True)
        ]


class ItemLog(CallLog):
    """Log of one item: its POSTs and their responses, on the way into the journal."""

    def __init__(self, store: RunStore, key: str, *, again: bool) -> None:
        self._store = store
        self._key = key
        self._again = again
        self._unwritten: tuple[Attempt, WireResponse] | None = None
        self.response: WireResponse | None = None
        """The last response to a POST."""
        self.pending: Pending | None = None
        """Set where the call ends unresolved."""
        self.sent_before: Pending | None = None
        """The request that left so far, for a call that sends the same again."""
        self.failed = 0
        """The number of attempts that the service, or what is between, did not carry out."""

    async def record_intent(self, pending: Pending) -> None:
        """Write durably that a POST is about to leave."""
        self.flush()
        self.response = None
        await self._store.record_intent(Intent(self._key, pending, self._again))
        self._again, self.sent_before = True, pending

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None:
        """Keep the response to a POST: it is written with the outcome, or before the next POST."""
        self.response = response
        if response is not None:
            self._unwritten = attempt, response
        was_early = attempt.proof is Proof.NOT_SENT and response is not None
        self.failed += was_early or attempt.proof is Proof.UNKNOWN

    def record_pending(self, pending: Pending) -> None:
        """Keep what is needed to look the call up: it ends while it may have been applied."""
        self.pending = pending

    def flush(self) -> None:
        """Write the latest response, since no outcome will hold it."""
        if self._unwritten is not None:
            attempt, response = self._unwritten
            at, status, body = attempt.started_at, response.status_code, response.body
            self._store.record_response(Response(self._key, at, status, body))
            self._unwritten = None
