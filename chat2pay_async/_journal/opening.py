"""Opened journal: what the writer's thread has open, its transactions, and how it is opened.

Opening checks that nothing is missing that anybody was told to be durable, and whose journal it is.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from chat2pay_async._journal.database import Database
from chat2pay_async._journal.schema import USED, connect, guarded, make_file, sync_folder
from chat2pay_async._journal.sessions import Session, Sessions
from chat2pay_async._journal.store import Account
from chat2pay_async._journal.writer import Entry
from chat2pay_async.errors import JournalError

__all__ = ["Note", "Opened", "Release", "Terms", "begin", "copy"]


@attrs.frozen
class Terms:
    """On what terms a journal is opened; see `SQLiteStore`."""

    keeps_requests: bool
    new_key: bool
    accept_loss: bool


@attrs.define(eq=False)
class Opened:
    """Everything that the thread has open."""

    path: Path
    database: Database
    sessions: Sessions
    session: Session
    failed: list[str] = attrs.field(factory=list)
    """Tokens that could not be given back: nobody works on them."""

    def work_off(self, batch: Sequence[Entry[Any]]) -> None:
        """Do a batch in one commit; where that fails, all of it has failed."""
        if batch[0].is_alone:
            _do_alone(batch[0], self)
            return
        try:
            with guarded(self.path):
                self._transact(batch)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            if not isinstance(error, JournalError) and len(batch) > 1:
                for entry in batch:  # the others go on without the one that can't be done
                    self.work_off([entry])
                return
            for entry in batch:
                # Of what was not begun, too: the transaction may have failed before it.
                self.failed += _given_back(entry.work)
                entry.error = error

    def _transact(self, batch: Sequence[Entry[Any]]) -> None:
        db = self.database.db
        db.execute("BEGIN IMMEDIATE")
        try:
            changes = db.total_changes
            for entries in _groups(batch):
                _do(entries, self)
            for token in self.failed:
                self.database.release(token)
            if db.total_changes == changes:  # questions need no commit
                db.execute("ROLLBACK")
                self.failed.clear()
                return
            commit = self.database.count_commit()
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        self.failed.clear()
        self.session.note(commit)

    def record_intents(self, notes: Sequence[tuple[str, Any]]) -> list[bool]:
        """Write which POSTs are about to leave."""
        return self.database.record_intents(notes)

    def record_ends(self, notes: Sequence[tuple[str, Any]]) -> list[bool]:
        """Write how calls ended."""
        return self.database.record_ends(notes)

    def close(self) -> None:
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
        db.execute("BEGIN IMMEDIATE")  # so that no two do it at a time, and none begins meanwhile
        try:
            self.sessions.raise_base(self.database.commits)
            self.sessions.clean()
        finally:
            db.execute("ROLLBACK")


_Write = Callable[[Opened, Sequence[tuple[str, Any]]], list[bool]]


class Note:
    """Work on one claim that is done together with the like of it."""

    __slots__ = ("note", "token", "write")

    def __init__(
        self,
        write: Callable[[Opened, Sequence[tuple[str, Any]]], list[bool]],
        token: str,
        note: Any,
    ) -> None:
        self.write = write
        self.token = token
        self.note = note

    def __call__(self, opened: Opened) -> bool:
        """Do it alone."""
        return self.write(opened, [(self.token, self.note)])[0]


class Release:
    """Work that gives claims back."""

    __slots__ = ("tokens",)

    def __init__(self, tokens: Callable[[], Sequence[str]]) -> None:
        self.tokens = tokens

    def __call__(self, opened: Opened) -> None:
        """Give them back."""
        for token in self.tokens():
            opened.database.release(token)


def _given_back(work: object) -> Sequence[str]:
    """Return the tokens that a work gives back."""
    if isinstance(work, Release):
        return work.tokens()
    return [work.token] if isinstance(work, Note) and work.write is Opened.record_ends else []


def _groups(batch: Sequence[Entry[Any]]) -> Iterator[Sequence[Entry[Any]]]:
    """Gather the notes that one statement writes; what concerns one claim stays in its order."""
    groups: dict[_Write, list[Entry[Any]]] = {}
    tokens: set[str] = set()
    for entry in batch:
        note = entry.work
        if not isinstance(note, Note) or note.token in tokens:
            yield from groups.values()
            groups, tokens = {}, set()
        if isinstance(note, Note):
            groups.setdefault(note.write, []).append(entry)
            tokens.add(note.token)
        else:
            yield [entry]
    yield from groups.values()


def _do(entries: Sequence[Entry[Any]], opened: Opened) -> None:
    for entry in entries:
        entry.error = None
    try:
        for entry, result in zip(entries, _results(entries, opened), strict=True):
            entry.result = result
    except JournalError as error:
        for entry in entries:
            entry.error = error  # they changed nothing, and the others of their batch can go on


def _results(entries: Sequence[Entry[Any]], opened: Opened) -> list[Any]:
    if len(entries) == 1:
        return [entries[0].work(opened)]
    notes = [entry.work for entry in entries if isinstance(entry.work, Note)]
    return notes[0].write(opened, [(note.token, note.note) for note in notes])


def _do_alone(entry: Entry[Any], opened: Opened) -> None:
    try:
        with guarded(opened.path):
            entry.result = entry.work(opened)
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        entry.error = error


def begin(path: Path, account: Account, terms: Terms) -> Opened:
    """Open a journal, or make it, and begin a session.

    Raises:
        JournalError: It can't be used, or only on other terms.
        OSError: The same.
        sqlite3.Error: The same.
    """
    sessions = Sessions(path)
    if not path.exists():
        _make(path, account, sessions, terms)
    db = connect(path)
    session: Session | None = None
    try:
        db.execute("BEGIN IMMEDIATE")
        # Within the transaction: nobody takes the new file for a dead session's.
        session = sessions.begin()
        database = Database(db, sessions, session.id, None)
        _check_commits(path, database, sessions, terms)
        _check_account(path, database, sessions, account, terms)
        salt = None if terms.keeps_requests else database.note("salt")
        commit = database.count_commit()
        db.execute("COMMIT")
        session.note(commit)
        opened = Opened(path, Database(db, sessions, session.id, salt), sessions, session)
        opened.fold()
    except BaseException:
        db.close()
        if session is not None:
            session.close()
        raise
    return opened


def _make(path: Path, account: Account, sessions: Sessions, terms: Terms) -> None:
    if sessions.noted() and not terms.accept_loss:
        raise JournalError(
            f"the journal {path} is missing, but files beside it show that there was one. "
            "Restore it. If it is lost, pass accept_loss=True (--accept-loss): then everything "
            "is looked up before it is sent"
        )
    sessions.begin_base()  # first: a journal that has none has lost it
    make_file(
        path,
        attrs.asdict(account)
        | {"salt": secrets.token_hex(16), "lossy": "yes" if terms.accept_loss else "no"},
        replaces_log=terms.accept_loss,
    )


def _check_commits(path: Path, database: Database, sessions: Sessions, terms: Terms) -> None:
    """Check that no commit is missing that anybody was told to be durable."""
    noted, is_backup = sessions.noted(), database.note("backup") == "yes"
    if sessions.has_base and not is_backup and noted <= database.commits:
        return
    if not terms.accept_loss:
        why = (
            "is a backup, which lacks what came after it"
            if is_backup
            else "lacks its latest commits: the file beside it that ends in -wal, or -counter, "
            "is missing, cut or older"
        )
        raise JournalError(
            f"the journal {path} {why}. Restore the files as they were. If they are lost, "
            "pass accept_loss=True (--accept-loss): then everything is looked up before it is "
            "sent"
        )
    database.set_note("lossy", "yes")
    database.set_note("backup", "no")
    database.db.execute("UPDATE counter SET commits = max(commits, ?)", (noted + 1,))
    sessions.begin_base()


def _check_account(
    path: Path, database: Database, sessions: Sessions, account: Account, terms: Terms
) -> None:
    base_url, fingerprint = database.note("base_url"), database.note("key_fingerprint")
    if (base_url, fingerprint) == (account.base_url, account.key_fingerprint):
        return
    has_sent = database.db.execute(USED).fetchone()
    is_used = has_sent is not None or sum(map(sessions.is_alive, sessions.names())) > 1
    if is_used and base_url != account.base_url:
        raise JournalError(
            f"the journal {path} belongs to {base_url}, not to {account.base_url}. Use "
            "another journal for another base URL"
        )
    if is_used and not terms.new_key:
        raise JournalError(
            f"the journal {path} was used with another API key. If this is another "
            "account, use another journal; if the account's key was changed, pass new_key=True "
            "(--new-key)"
        )
    database.set_note("base_url", account.base_url)
    database.set_note("key_fingerprint", account.key_fingerprint)


def copy(db: sqlite3.Connection, target: Path) -> None:
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
            copied.execute("PRAGMA journal_mode = DELETE")  # so that it is one file
        os.link(new, target)
        sync_folder(target.parent)
    finally:
        new.unlink(missing_ok=True)
