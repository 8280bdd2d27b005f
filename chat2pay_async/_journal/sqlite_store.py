"""Journal on SQLite: for the processes of one machine, on a local disk.

Beside the file there are, while it is in use, SQLite's own (`-wal`, `-shm`), a folder with the
locks of the sessions (`-sessions`), and always the number of its commits (`-counter`), by which a
journal is noticed that was cut or replaced by an older one. Only a complete older set of all can't
be.

Its rows hold each request as it was sent, with its phone number, and each response. With
`keep="results"` a finished call's request is replaced by digests, which compare it: then the file
has what the service answered, references, amounts and times, and of few possible values, as phone
numbers are, a digest hides none from those who have the file.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import attrs

from chat2pay_async._journal.opening import Note, Opened, Release, Terms, begin
from chat2pay_async._journal.opening import copy as copy_to
from chat2pay_async._journal.schema import guarded
from chat2pay_async._journal.store import (
    Account,
    Claim,
    Claimed,
    End,
    Intent,
    Response,
    Row,
    RowState,
    RunRecord,
)
from chat2pay_async._journal.writer import Entry, Writer
from chat2pay_async.errors import JournalError

__all__ = ["Checked", "SQLiteStore"]

T = TypeVar("T")

_writers: Final[weakref.WeakSet[Writer]] = weakref.WeakSet()
_inherited: Final[list[Writer]] = []
"""Those of a parent process, with its connections."""


@attrs.frozen
class Checked:
    """State of a journal, by `SQLiteStore.check`."""

    is_sound: bool
    """True if SQLite finds no damage."""
    is_lossy: bool
    """True if commits are known to be missing, and that was accepted."""
    rows: int
    open_rows: int
    """Rows that somebody works on, or that may have had an effect nobody knows of yet."""
    sessions: int
    """Processes, or clients of them, that use it now, this check included."""


class SQLiteStore:
    """A journal in an SQLite file; see `_journal.store.Store` for what each method does."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep: Literal["all", "results"] = "all",
        new_key: bool = False,
        accept_loss: bool = False,
    ) -> None:
        """Name a journal; `open` opens it, or makes it.

        Args:
            path: The file.
            keep: `"results"` replaces a finished row's request by its digests.
            new_key: Take the journal of another API key: the account's key was changed.
            accept_loss: Take a journal whose latest commits are missing, or begin a new one in the
                place of one that is lost. Then everything is looked up before it is sent.
        """
        self.path = Path(path).absolute()
        self.account: Account | None = None
        self.is_lossy = False
        self._terms = Terms(keeps_requests=keep == "all", new_key=new_key, accept_loss=accept_loss)
        self._writer: Writer | None = None
        self._process = 0
        self._stop: Callable[[], object] = _nothing
        self._is_ready = False

    # Opening and closing --------------------------------------------------------------------------

    async def open(self, account: Account) -> None:
        """Open it, or make it, and begin a session."""
        if self._writer is None or self._process != os.getpid():
            self._start(account)
        elif account != self.account:
            raise JournalError(f"the journal {self.path} is open for another account")
        elif self._is_ready:
            return
        writer = self._writer
        try:
            await self._ask(_nothing, is_alone=True)
        except BaseException:
            if self._writer is writer:
                self._writer = None
                self._stop()
            raise
        if self._writer is not writer:  # another task that opened it was cancelled
            await self.open(account)

    def _start(self, account: Account) -> None:
        """Start a thread that opens the journal before it does anything else."""
        self.account, self._is_ready = account, False
        opened: list[Opened] = []
        errors: list[Exception] = []

        def start(_: object) -> None:
            try:
                with guarded(self.path):
                    opened.append(begin(self.path, account, self._terms))
                self.is_lossy = opened[0].database.note("lossy") == "yes"
                self._is_ready = True
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                errors.append(error)

        def work_off(batch: Sequence[Entry[Any]]) -> None:
            if opened:
                opened[0].work_off(batch)
            elif not errors:
                batch[0].work(None)  # this opens it
            else:
                for entry in batch:
                    entry.error = errors[0]

        writer = Writer(work_off, lambda: _close(opened))
        self._writer, self._process = writer, os.getpid()
        _writers.add(writer)
        # An interpreter that ends, or a store that is dropped, ends the thread and the session.
        self._stop = weakref.finalize(self, _stop_in, self._process, writer)
        writer.post(start, is_alone=True)

    async def aclose(self) -> None:
        """End the session: what it still holds becomes free for others. Also when cancelled."""
        writer, self._writer = self._writer, None
        if writer is None or self._process != os.getpid():
            return
        entry = writer.submit(lambda opened: opened.close(), is_alone=True)
        try:
            with suppress(JournalError):  # it could not be opened
                await writer.wait(entry)
        finally:
            self._stop()

    # Claims ---------------------------------------------------------------------------------------

    async def claim(self, claim: Claim) -> Claimed:
        """Claim a key; the claim is durable when this returns."""
        return (await self.claim_all([claim]))[0]

    async def claim_all(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim many, in one commit."""
        writer = self._running()
        entry = writer.submit(lambda opened: opened.database.claim_all(claims))
        return await self._held(writer, entry)

    async def _held(self, writer: Writer, entry: Entry[list[Claimed]]) -> list[Claimed]:
        """Wait for claims; cancelled, they are given back, whenever they were made."""
        try:
            return await writer.wait(entry)
        except BaseException:
            writer.post(Release(lambda: _tokens(entry.result or [])))
            raise

    async def release(self, token: str) -> None:
        """Give a claim back: the row is as it was before it, or gone where it was new."""
        await self._ask(Release(lambda: [token]))

    async def take_over(
        self, limit: int, *, after: int = 0, run: str | None = None, operation: str | None = None
    ) -> list[Claimed]:
        """Claim open rows that nobody alive works on, in the order of their ids."""
        writer = self._running()
        entry = writer.submit(
            lambda opened: opened.database.take_over(limit, after, run, operation)
        )
        return await self._held(writer, entry)

    # Notes ----------------------------------------------------------------------------------------

    async def record_intent(self, token: str, intent: Intent) -> bool:
        """Write durably that a POST is about to leave; False: the claim is not mine any more."""
        return await self._ask(Note(Opened.record_intents, token, intent))

    def record_response(self, token: str, response: Response) -> None:
        """Write a response, together with what is written next."""
        self._running().post_later(lambda opened: opened.database.record_response(token, response))

    async def record_end(self, token: str, end: End) -> bool:
        """Write durably how a call ended, and give the claim back, also when cancelled."""
        return await self._ask(Note(Opened.record_ends, token, end))

    async def end_open(self, row: Row, end: End) -> bool:
        """Write how a row that nobody holds was settled elsewhere."""
        return await self._ask(lambda opened: opened.database.end_open(row, end))

    # Questions ------------------------------------------------------------------------------------

    async def find(self, operation: str, key: str) -> Claimed | None:
        """Read a row, and what a claim with `takes_rejected` would be answered."""
        return await self._ask(lambda opened: opened.database.find(operation, key))

    async def find_all(self, operation: str, keys: Sequence[str]) -> dict[str, Row]:
        """Read the rows of many keys."""
        return await self._ask(lambda opened: opened.database.find_all(operation, keys))

    async def lookalikes(self, operation: str, folded: Sequence[str]) -> dict[str, list[str]]:
        """Read the keys whose folded form is one of these."""
        return await self._ask(lambda opened: opened.database.lookalikes(operation, folded))

    async def rows_of_identity(self, operation: str, identity: str) -> list[Row]:
        """Read the rows of one order or payment link, under whatever key."""
        return await self._ask(lambda opened: opened.database.rows_of_identity(operation, identity))

    async def rows(
        self,
        *,
        run: str | None = None,
        operation: str | None = None,
        states: frozenset[RowState] | None = None,
        after: int = 0,
        limit: int = 500,
    ) -> list[tuple[Row, int | None]]:
        """Read a page of rows in the order of their ids, each with its line in the run's source."""
        return await self._ask(
            lambda opened: opened.database.rows(run, operation, states, after, limit)
        )

    async def unseen(self, run: str, *, after: int = 0, limit: int = 500) -> list[Row]:
        """Read a page of the run's rows that are gone from its source."""
        return await self._ask(lambda opened: opened.database.unseen(run, after, limit))

    # Runs -----------------------------------------------------------------------------------------

    async def open_run(
        self, name: str, operation: str, settings: Mapping[str, str]
    ) -> RunRecord | None:
        """Begin or resume a run; return what the journal had of it before."""
        return await self._ask(lambda opened: opened.database.open_run(name, operation, settings))

    async def runs(self) -> list[RunRecord]:
        """List the runs, the latest first."""
        return await self._ask(lambda opened: opened.database.runs())

    # Care -----------------------------------------------------------------------------------------

    async def backup(self, destination: str | os.PathLike[str]) -> None:
        """Copy it to a new file, also while it is in use.

        Raises:
            JournalError: The file exists, or can't be written.
        """
        target = Path(destination).absolute()  # noqa: ASYNC240 - asks for the folder only

        def copy(opened: Opened) -> None:
            with guarded(target):
                copy_to(opened.database.db, target)

        await self._ask(copy, is_alone=True)

    async def check(self) -> Checked:
        """Look for damage, and count what is open."""

        def look(opened: Opened) -> Checked:
            database, db = opened.database, opened.database.db
            alive = map(opened.sessions.is_alive, opened.sessions.names())
            return Checked(
                is_sound=db.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",),
                is_lossy=database.note("lossy") == "yes",
                rows=db.execute("SELECT count(*) FROM item").fetchone()[0],
                open_rows=database.open_count(),
                sessions=sum(alive),
            )

        return await self._ask(look, is_alone=True)

    async def clear_loss(self) -> None:
        """Trust the journal again, though commits were missing: somebody has seen to them."""
        await self._ask(lambda opened: opened.database.set_note("lossy", "no"))
        self.is_lossy = False

    async def prune(self, older_than: timedelta) -> int:
        """Delete what ended longer ago than this; open rows stay. Return how many rows went."""
        before = time.time() - older_than.total_seconds()
        return await self._ask(lambda opened: opened.database.prune(before))

    # ----------------------------------------------------------------------------------------------

    def _running(self) -> Writer:
        if self._writer is not None and self.account is not None and self._process != os.getpid():
            self._start(self.account)  # a forked child has a session of its own
        if self._writer is None:
            raise JournalError(f"the journal {self.path} is not open")
        return self._writer

    async def _ask(self, work: Callable[[Opened], T], *, is_alone: bool = False) -> T:
        writer = self._running()
        return await writer.wait(writer.submit(work, is_alone=is_alone))


def _nothing(_: object = None) -> None:
    """Do nothing, in its turn."""


def _tokens(claims: Sequence[Claimed]) -> list[str]:
    return [claimed.token for claimed in claims if claimed.token is not None]


def _close(opened: list[Opened]) -> None:
    if opened and opened[0].session.is_open:
        opened[0].close()


def _stop_in(process: int, writer: Writer) -> None:
    if os.getpid() == process:
        writer.stop()


def _leave_to_the_parent() -> None:
    """Keep a child's copies of the connections: to close one could damage the journal."""
    _inherited.extend(_writers)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_leave_to_the_parent)
