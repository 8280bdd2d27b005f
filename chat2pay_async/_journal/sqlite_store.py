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
import secrets
import sqlite3
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import attrs

from chat2pay_async._journal.database import Database
from chat2pay_async._journal.schema import connect, guarded, make_file, sync_folder
from chat2pay_async._journal.sessions import Session, Sessions
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

_inherited: Final[list[object]] = []
"""Connections of a parent process: to close one in the child could damage the journal."""


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


@attrs.define(eq=False)
class _Opened:
    """Everything that the thread has open."""

    path: Path
    database: Database
    sessions: Sessions
    session: Session
    failed: list[str] = attrs.field(factory=list)
    """Tokens whose release or end could not be written: nobody works on them."""

    def work_off(self, batch: Sequence[Entry[Any]]) -> None:
        """Do a batch in one commit; where that fails, all of it has failed."""
        if batch[0].is_alone:
            _do(batch[0], self)
            return
        try:
            with guarded(self.path):
                commit = self._transact(batch)
                self.session.note(commit)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            # Nothing of the batch is written, whatever was wrong with one of it.
            for entry in batch:
                entry.result, entry.error = None, error
                if entry.token is not None:
                    self.failed.append(entry.token)

    def _transact(self, batch: Sequence[Entry[Any]]) -> int:
        db = self.database.db
        db.execute("BEGIN IMMEDIATE")
        try:
            released = len(self.failed)
            for token in self.failed:
                self.database.release(token)
            for entry in batch:
                _do(entry, self)
            commit = self.database.count_commit()
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        del self.failed[:released]  # what came meanwhile stays
        return commit

    def close(self, _: object = None) -> None:
        """End the session, and leave a file that is complete without its log."""
        db = self.database.db
        with suppress(sqlite3.Error, OSError):
            db.execute("BEGIN IMMEDIATE")
            self.database.release_all()
            commit = self.database.count_commit()
            db.execute("COMMIT")
            self.session.note(commit)
            self.fold()
        with suppress(sqlite3.Error):
            db.close()
        with suppress(OSError):
            self.session.close()

    def fold(self) -> None:
        """Let the number of commits outlive the sessions, and remove what dead ones left."""
        db = self.database.db
        db.execute("BEGIN IMMEDIATE")  # so that no two do it at a time
        try:
            self.sessions.raise_base(self.database.commits)
            self.sessions.clean()
        finally:
            db.execute("ROLLBACK")


def _do(entry: Entry[Any], opened: _Opened) -> None:
    try:
        entry.result = entry.work(opened)
    except JournalError as error:
        entry.error = error  # it changed nothing, and the others of its batch can go on


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
        self._keep = keep
        self._new_key = new_key
        self._accept_loss = accept_loss
        self._writer: Writer | None = None
        self._process = 0
        self._stop: Callable[[], object] | None = None

    # Opening and closing --------------------------------------------------------------------------

    async def open(self, account: Account) -> None:
        """Open it, or make it, and begin a session."""
        if self._writer is not None and self._process == os.getpid():
            if account != self.account:
                raise JournalError(f"the journal {self.path} is open for another account")
            return
        if self._writer is not None:
            _inherited.append(self._writer)
        self.account = account
        opened: list[_Opened] = []

        def begin(_: object) -> None:
            with guarded(self.path):
                opened.append(self._begin(account))

        writer = Writer(lambda batch: _work_off(batch, opened), lambda _: _close(opened))
        self._writer, self._process = writer, os.getpid()
        # An interpreter that ends, or a store that is dropped, ends the thread and the session.
        self._stop = weakref.finalize(self, _stop_in, self._process, writer)
        try:
            await writer.wait(writer.submit(begin, is_alone=True))
        except BaseException:
            self._writer = None
            self._stop()
            raise
        self.is_lossy = opened[0].database.note("lossy") == "yes"

    def _begin(self, account: Account) -> _Opened:
        sessions = Sessions(self.path)
        if not self.path.exists():
            self._make(account, sessions)
        db = connect(self.path)
        try:
            session = sessions.begin()
        except BaseException:
            db.close()
            raise
        opened = _Opened(self.path, Database(db, sessions, session.id, None), sessions, session)
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                self._check_commits(opened)
                self._check_account(opened.database, sessions, account)
                commit = opened.database.count_commit()
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            session.note(commit)
            opened.fold()
        except BaseException:
            db.close()
            session.close()
            raise
        salt = opened.database.note("salt") if self._keep == "results" else None
        opened.database = Database(db, sessions, session.id, salt)
        return opened

    def _make(self, account: Account, sessions: Sessions) -> None:
        was_used = sessions.has_base or sessions.names()
        if self.path.exists():
            return  # another process has just made it
        if was_used and not self._accept_loss:
            raise JournalError(
                f"the journal {self.path} is missing, but files beside it show that there was one. "
                "Restore it. If it is lost, pass accept_loss=True (--accept-loss): then everything "
                "is looked up before it is sent"
            )
        make_file(
            self.path,
            attrs.asdict(account)
            | {"salt": secrets.token_hex(16), "lossy": "yes" if self._accept_loss else "no"},
        )
        if not sessions.has_base:
            sessions.raise_base(0)
            sync_folder(self.path.parent)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            noted = sessions.noted()
            db.execute("UPDATE counter SET commits = max(commits, ?)", (noted + 1,))

    def _check_commits(self, opened: _Opened) -> None:
        """Check that no commit is missing that anybody was told to be durable."""
        database, sessions = opened.database, opened.sessions
        noted, is_backup = sessions.noted(), database.note("backup") == "yes"
        # One that was never opened has nothing to lose: its maker died, or is about to begin.
        has_base = sessions.has_base or database.commits == 1
        is_complete = has_base and not is_backup and noted <= database.commits
        if is_complete:
            return
        if not self._accept_loss:
            why = (
                "is a backup, which lacks what came after it"
                if is_backup
                else "lacks its latest commits: the file beside it that ends in -wal, or -counter, "
                "is missing, cut or older"
            )
            raise JournalError(
                f"the journal {self.path} {why}. Restore the files as they were. If they are lost, "
                "pass accept_loss=True (--accept-loss): then everything is looked up before it is "
                "sent"
            )
        database.set_note("lossy", "yes")
        database.set_note("backup", "no")
        database.db.execute("UPDATE counter SET commits = max(commits, ?)", (noted + 1,))
        sessions.raise_base(0)

    def _check_account(self, database: Database, sessions: Sessions, account: Account) -> None:
        base_url, fingerprint = database.note("base_url"), database.note("key_fingerprint")
        if (base_url, fingerprint) == (account.base_url, account.key_fingerprint):
            return
        is_used = database.has_sent() or sum(map(sessions.is_alive, sessions.names())) > 1
        if is_used and base_url != account.base_url:
            raise JournalError(
                f"the journal {self.path} belongs to {base_url}, not to {account.base_url}. Use "
                "another journal for another base URL"
            )
        if is_used and not self._new_key:
            raise JournalError(
                f"the journal {self.path} was used with another API key. If this is another "
                "account, use another journal; if the account's key was changed, pass new_key=True "
                "(--new-key)"
            )
        database.set_note("base_url", account.base_url)
        database.set_note("key_fingerprint", account.key_fingerprint)

    async def aclose(self) -> None:
        """End the session: what it still holds becomes free for others. Also when cancelled."""
        writer, self._writer = self._writer, None
        if writer is None or self._process != os.getpid():
            return
        entry = writer.submit(lambda opened: opened.close(), is_alone=True)
        try:
            await writer.wait(entry)
        finally:
            if self._stop is not None:
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
        except JournalError:
            raise
        except BaseException:
            writer.post(lambda opened: _release(opened, entry.result or []))
            raise

    async def release(self, token: str) -> None:
        """Give a claim back: the row is as it was before it, or gone where it was new."""
        await self._end(token, lambda opened: opened.database.release(token))

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
        return await self._ask(lambda opened: opened.database.record_intent(token, intent))

    def record_response(self, token: str, response: Response) -> None:
        """Write a response, together with what is written next."""
        self._running().post_later(lambda opened: opened.database.record_response(token, response))

    async def record_end(self, token: str, end: End) -> bool:
        """Write durably how a call ended, and give the claim back, also when cancelled."""
        return await self._end(token, lambda opened: opened.database.record_end(token, end))

    async def _end(self, token: str, work: Callable[[_Opened], T]) -> T:
        writer = self._running()
        # Nobody works on it any more, whether that can be written or the task is cancelled.
        return await writer.wait(writer.submit(work, token=token))

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

    async def lookalikes(self, operation: str, folded: Sequence[str]) -> dict[str, list[Row]]:
        """Read the rows whose folded key is one of these."""
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

        def copy(opened: _Opened) -> None:
            with guarded(target):
                _copy(opened.database.db, target)

        await self._ask(copy, is_alone=True)

    async def check(self) -> Checked:
        """Look for damage, and count what is open."""

        def look(opened: _Opened) -> Checked:
            with guarded(self.path):
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
        if self._writer is None or self._process != os.getpid():
            raise JournalError(f"the journal {self.path} is not open")
        return self._writer

    async def _ask(self, work: Callable[[_Opened], T], *, is_alone: bool = False) -> T:
        writer = self._running()
        return await writer.wait(writer.submit(work, is_alone=is_alone))


def _release(opened: _Opened, claims: Sequence[Claimed]) -> None:
    for claimed in claims:
        if claimed.token is not None:
            opened.failed.append(claimed.token)  # for the next commit, if this one fails
            opened.database.release(claimed.token)


def _work_off(batch: Sequence[Entry[Any]], opened: list[_Opened]) -> None:
    if opened:
        opened[0].work_off(batch)
        return
    for entry in batch:
        try:
            entry.result = entry.work(None)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            entry.error = error


def _close(opened: list[_Opened]) -> None:
    if opened and opened[0].session.is_open:
        opened[0].close()


def _stop_in(process: int, writer: Writer) -> None:
    if os.getpid() == process:
        writer.stop()


def _copy(db: sqlite3.Connection, target: Path) -> None:
    """Copy a journal: completely, or not at all."""
    if target.exists():
        raise JournalError(f"{target} exists already. Name a new file for the backup")
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as copied:
            new.chmod(0o600)
            db.backup(copied)
            copied.execute("INSERT OR REPLACE INTO note VALUES ('backup', 'yes')")
            copied.execute(
                "INSERT OR REPLACE INTO note VALUES ('backup_at', ?)",
                (datetime.now(UTC).isoformat(),),
            )
            copied.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            copied.execute("PRAGMA journal_mode = DELETE")
        os.link(new, target)
        sync_folder(target.parent)
    finally:
        new.unlink(missing_ok=True)
