"""Store of a run: the keys that it has met, and its part of the client's journal, if there is one.

It is the same for runs with and without a journal, so that a run need not care. The keys that the
source had before are found in a temporary file, by one thread, in batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import anyio
import attrs

from chat2pay_async._journal.group_commit import GroupCommit
from chat2pay_async._journal.key_index import BloomFilter, KeyIndex
from chat2pay_async._journal.store import (
    OPEN,
    Account,
    Answer,
    Claim,
    Claimed,
    Row,
    RowState,
    Store,
)
from chat2pay_async._send.call import ClaimLog
from chat2pay_async.errors import Pending

__all__ = ["PAGE", "Asked", "MemoryLog", "Name", "Registered", "RunStore"]


@attrs.frozen
class Name:
    """Name of a run in a journal, and what its caller keeps with it."""

    run: str
    operation: str
    settings: Mapping[str, str]


class Asked(NamedTuple):
    """Question: is this key new?"""

    key: str
    folded: str
    """The key as look-alikes share it; blank: it can have none."""
    recipient: str | None = None
    """Set where repeated recipients are asked about."""
    mark: str | None = None
    """The digest of recipient and amount, likewise."""
    claim: Claim | None = None
    """None without a journal."""


@attrs.define
class Registered:
    """Answer to a registration."""

    repeated: bool
    """True if the source had the key before."""
    resumed: bool = False
    """True if this run settles, or has settled, the row that an earlier process left."""
    lookalike: str | None = None
    """A key that was there before this one, which is new, and looks like it."""
    recipient_repeated: bool = False
    """True if another item has the same recipient."""
    claimed: Claimed | None = None
    """The journal's answer; None without a journal."""


@attrs.frozen(eq=False)
class _Registrations:
    asked: Sequence[Asked] = attrs.field(repr=False)


_KEY, _RESUMED, _RECIPIENT, _ALIKE = "key:", "resumed:", "recipient:", "alike:"
_MARK, _OPENED = "mark:", "opened:"
"""Prefixes that keep several sets apart in one index."""
PAGE: Final = 500
"""The most keys that are looked up at once: in one statement SQLite takes at least 999."""
_UNINDEXED: Final = 500
"""New texts that may be in memory before an item waits until they are indexed."""

_INDEX: Final = None
"""Does nothing but what each batch does: it has new texts indexed."""

_Task = _Registrations | None


def _listed(prefix: str, shared: str, key: str) -> str:
    """Write a key under a text that several may share, so that they can be found by it."""
    return f"{prefix}{shared}\0{key}"


class RunStore:
    """Keeps the keys of a run in a temporary file, and claims them in the journal."""

    def __init__(
        self,
        journal: Store | None,
        name: Name | None = None,
        *,
        claims: bool = True,
        finds_lookalikes: bool = True,
    ) -> None:
        """Make a store.

        Args:
            journal: The client's.
            name: The run in it; None without one.
            claims: Claim what is asked about; else the journal is only read.
            finds_lookalikes: Look for keys that look like a new one.
        """
        self.journal = journal
        self.name = name
        self._claims = claims
        self._finds_lookalikes = finds_lookalikes
        self._resumes = False
        """True once rows that were left open were claimed."""
        self._filter = BloomFilter()
        self._index: KeyIndex | None = None
        self._unindexed: deque[str] = deque()
        """Texts that are certainly new: no task waits for an answer about them."""
        self._index_error: Exception | None = None
        """Set once keys are missing in the index."""
        self._commits: GroupCommit[_Task, list[Registered] | None] = GroupCommit(self._work)

    async def open(self, account: Account) -> None:
        """Open the index and the journal, and begin or resume the run in it.

        Raises:
            JournalError: The journal can't be used, or not for this run.
        """
        if self.journal is not None:
            await self.journal.open(account)
            if self.name is not None and self._claims:
                name = self.name
                await self.journal.open_run(name.run, name.operation, name.settings)
        await self._commits.run(self._open)

    def _open(self) -> None:
        self._index = KeyIndex()

    async def serve(self) -> None:
        """Work in the thread until cancelled."""
        await self._commits.serve()

    async def close(self) -> None:
        """Delete the index; also in a task that was cancelled."""
        with anyio.CancelScope(shield=True):
            await self._commits.run(self._close, always=True)

    def _close(self) -> None:
        if self._index is not None:
            self._index.close()

    # Keys -----------------------------------------------------------------------------------------

    def register(self, asked: Asked) -> bool:
        """Register a key of the source if it is certainly new; if not, it has to be looked up.

        Returns:
            True if the key, all that looks like it, and the recipient are certainly new.
        """
        if self.journal is not None:
            return False
        texts = [_KEY + asked.key]
        is_new = self._filter.add(texts[0])
        if asked.folded and self._finds_lookalikes:
            is_new = self._filter.add(_ALIKE + asked.folded) and is_new
            texts.append(_listed(_ALIKE, asked.folded, asked.key))
        if asked.recipient:
            is_new = self._filter.add(_RECIPIENT + asked.recipient) and is_new
            texts.append(_RECIPIENT + asked.recipient)
        if is_new:
            self._unindexed.extend(texts)
        return is_new

    async def index(self) -> None:
        """Have the new keys indexed, once many wait for it in memory.

        Raises:
            JournalError: They can't be indexed, so their items could be sent twice.
        """
        if len(self._unindexed) >= _UNINDEXED:
            await self._commits.submit(_INDEX)

    async def look_up(self, asked: Sequence[Asked]) -> list[Registered]:
        """Register keys that may not be new, in their order, and claim those that are not repeated.

        Raises:
            JournalError: They can't be indexed, so their items could be sent twice; or not claimed.
        """
        registered = await self._commits.submit(_Registrations(asked))
        assert registered is not None  # noqa: S101 - the result of registrations
        if self.journal is None:
            return registered
        first = [i for i, one in enumerate(registered) if not one.repeated]
        claims = [asked[i].claim for i in first]
        claimed = await self._answers([claim for claim in claims if claim is not None])
        for i, answer in zip(first, claimed, strict=True):
            registered[i].claimed = answer
        try:
            await self._find_lookalikes(asked, registered)
        except BaseException:
            await self.release(_tokens(registered))
            raise
        return registered

    async def _answers(self, claims: Sequence[Claim]) -> list[Claimed]:
        if not claims or self.journal is None:
            return []
        if self._claims:
            return await self.journal.claim_all(claims)
        return await self.read(claims)

    async def read(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Say what claims would be answered, as far as rows alone tell; claim nothing.

        Raises:
            JournalError: The rows can't be read.
        """
        rows: dict[str, Row] = {}
        if self.journal is not None and claims:
            keys = [claim.key for claim in claims]
            rows = await self.journal.find_all(claims[0].operation, keys)
        return [_answer(rows.get(claim.key), claim) for claim in claims]

    async def _find_lookalikes(self, asked: Sequence[Asked], registered: list[Registered]) -> None:
        """Find keys of the journal that new ones look like; those of this page have an order."""
        if self.journal is None or not self._finds_lookalikes:
            return
        new = {
            one.key: i
            for i, (one, known) in enumerate(zip(asked, registered, strict=True))
            if one.folded and known.claimed is not None and known.claimed.row is None
        }
        if not new:
            return
        operation = next(one.claim.operation for one in asked if one.claim is not None)
        folded = list(dict.fromkeys(asked[i].folded for i in new.values()))
        alike = await self.journal.lookalikes(operation, folded)
        for key, i in new.items():
            others = [
                other
                for other in alike.get(asked[i].folded, ())
                if other != key and new.get(other, -1) < i
            ]
            if others:  # what this run alone has of a journal that is only read is in its index
                registered[i].lookalike = others[0]
        for one, known in zip(asked, registered, strict=True):
            if one.key not in new:
                known.lookalike = None

    # Claims ---------------------------------------------------------------------------------------

    async def claim(self, claim: Claim) -> Claimed:
        """Claim one key.

        Raises:
            JournalError: It can't be claimed.
        """
        assert self.journal is not None  # noqa: S101 - only its items have claims
        return await self.journal.claim(claim)

    async def release(self, tokens: Iterable[str]) -> None:
        """Give claims back, also in a task that was cancelled."""
        if self.journal is not None:
            with anyio.CancelScope(shield=True):
                for token in tokens:
                    await self.journal.release(token)

    async def left_open(self) -> AsyncGenerator[Claimed]:
        """Claim, and yield, the run's rows that dead processes left open."""
        after = 0
        if self.journal is None or self.name is None:
            return
        # Nothing of it may be held, and not be worked on: it would look as if it were.
        while page := await self._take_over(after):
            for claimed in page:
                assert claimed.row is not None  # noqa: S101 - an open row
                after = claimed.row.id
                yield claimed

    async def _take_over(self, after: int) -> list[Claimed]:
        assert self.journal is not None  # noqa: S101 - asked above
        assert self.name is not None  # noqa: S101 - likewise
        if not self._claims:
            rows = await self.journal.rows(run=self.name.run, states=OPEN, after=after, limit=PAGE)
            return [Claimed(Answer.OPEN, row) for row, _line in rows]
        page = await self.journal.take_over(1, after=after, run=self.name.run)
        keys = [claimed.row.key for claimed in page if claimed.row is not None]
        self._resumes = self._resumes or bool(keys)
        try:
            await self._commits.run(self._keys.put, [_RESUMED + key for key in keys])
        except BaseException:
            await self.release(claimed.token for claimed in page if claimed.token is not None)
            raise
        return page

    async def note_opened(self, key: str) -> None:
        """Note that a row was open, and is known by now to have had no effect."""
        await self._commits.run(self._keys.put, [_OPENED + key])

    async def gone(self) -> AsyncGenerator[tuple[Row, bool]]:
        """Yield the run's rows that its source has no more.

        Each comes with whether this run found it open, and settled it as without effect.
        """
        after = 0
        while page := await self._gone_page(after):
            after = page[-1].id
            keys = [row.key for row in page]
            known = await self._commits.run(self._known, keys)
            for row in page:
                if _KEY + row.key not in known:
                    yield row, _OPENED + row.key in known

    async def _gone_page(self, after: int) -> list[Row]:
        if self.journal is None or self.name is None:
            return []
        if self._claims:
            return await self.journal.unseen(self.name.run, after=after, limit=PAGE)
        rows = await self.journal.rows(run=self.name.run, after=after, limit=PAGE)
        return [row for row, _line in rows]

    def _known(self, keys: Sequence[str]) -> set[str]:
        self._put_unindexed()
        return self._keys.has([_KEY + key for key in keys]) | self._keys.has(
            [_OPENED + key for key in keys]
        )

    async def key_of_mark(self, mark: str) -> str | None:
        """Return the first key of the source with this recipient and amount."""
        return await self._commits.run(self._keys.first, _listed(_MARK, mark, ""))

    @property
    def _keys(self) -> KeyIndex:
        assert self._index is not None  # noqa: S101 - a store is opened before it is used
        return self._index

    # In the thread --------------------------------------------------------------------------------

    def _work(self, tasks: Sequence[_Task]) -> list[list[Registered] | None]:
        asked: list[Asked] = []
        for task in tasks:
            if task is not None:
                asked += task.asked
        answers = iter(self._register(asked))
        return [None if task is None else list(islice(answers, len(task.asked))) for task in tasks]

    def _register(self, asked: Sequence[Asked]) -> list[Registered]:
        if self._index_error is not None:
            raise self._index_error.with_traceback(None)
        try:
            self._put_unindexed()
            return self._look_up(asked) if asked else []
        except Exception as error:
            self._index_error = error
            raise

    def _put_unindexed(self) -> None:
        # Certainly new texts are like none before them, so they may go first.
        self._keys.put([self._unindexed.popleft() for _ in range(len(self._unindexed))])

    def _look_up(self, asked: Sequence[Asked]) -> list[Registered]:
        keys = [one.key for one in asked]
        repeated = self._keys.add([_KEY + key for key in keys])
        resumed = self._keys.has([_RESUMED + key for key in keys]) if self._resumes else set[str]()
        recipients = self._keys.add([_RECIPIENT + one.recipient for one in asked if one.recipient])
        self._keys.put([_listed(_MARK, one.mark, one.key) for one in asked if one.mark])
        known = iter(recipients)
        return [
            Registered(
                is_repeated,
                _RESUMED + one.key in resumed,
                None if is_repeated else self._alike(one),
                next(known) if one.recipient else False,
            )
            for one, is_repeated in zip(asked, repeated, strict=True)
        ]

    def _alike(self, asked: Asked) -> str | None:
        """Return a key of the source that looks like this one, which is listed from now."""
        # What a run claims is in the journal, which has the keys of all.
        if not (asked.folded and self._finds_lookalikes) or (self.journal and self._claims):
            return None
        other = self._keys.first(_listed(_ALIKE, asked.folded, ""))
        self._keys.put([_listed(_ALIKE, asked.folded, asked.key)])
        return other


def _tokens(registered: Iterable[Registered]) -> list[str]:
    claims = [one.claimed for one in registered if one.claimed is not None]
    return [claimed.token for claimed in claims if claimed.token is not None]


def _answer(row: Row | None, claim: Claim) -> Claimed:
    """Say what a claim would be answered, as far as a row alone tells."""
    if row is None or row.state in {RowState.CLAIMED, RowState.FAILED}:
        return Claimed(Answer.NEW, row)
    if row.state in OPEN:
        return Claimed(Answer.OPEN, row)
    is_taken = row.state is RowState.REJECTED and claim.takes_rejected
    return Claimed(Answer.NEW if is_taken else Answer.ENDED, row)


class MemoryLog(ClaimLog):
    """Log of a call without a journal."""

    def __init__(self) -> None:
        self._unwritten = None
        self.key = self.token = ""
        self.is_settled = False
        self.is_lost = False
        self.response = None
        self.pending = None
        self.sent = None
        self.failed = 0

    async def record_intent(self, pending: Pending) -> None:
        """Keep what leaves."""
        self.response = None
        self.sent = pending

    async def others(self, pending: Pending) -> list[tuple[str, object]]:
        """Return nothing: no other call is known."""
        del pending
        return []
