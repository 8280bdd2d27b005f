"""File of a journal: made completely or not at all, locked by one writer, checked when opened.

With a write-ahead log and `synchronous = FULL`, SQLite keeps what was committed through a crash of
the process and of the machine. It can't promise that on a network file system, whose locks and
syncs are not reliable, so such a path is refused.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from chat2pay_async._journal.local_disk import check_local
from chat2pay_async.errors import JournalError

__all__ = ["Binding", "check_local", "close_file", "guarded", "open_file", "open_to_read"]

_APPLICATION: Final = 0x43325041
"""`C2PA`: tells a journal from any other SQLite file."""
_VERSION: Final = 2

_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
PRAGMA journal_mode = WAL;
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE item (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    target TEXT NOT NULL,
    body BLOB,
    request_id TEXT,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    service_at REAL,
    settle REAL NOT NULL,
    read_timeout REAL NOT NULL,
    resend_when_absent INTEGER NOT NULL,
    posts INTEGER NOT NULL,
    response BLOB,
    result BLOB,
    detail BLOB
);
CREATE INDEX item_open ON item (id) WHERE state IN ('sent', 'unknown');
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    at REAL NOT NULL,
    what TEXT NOT NULL,
    status INTEGER,
    body BLOB
);
"""


@attrs.frozen
class Binding:
    """Owner of a journal: no other run may use it."""

    operation: str
    base_url: str
    key_fingerprint: str

    def check(self, notes: Mapping[str, str], path: Path) -> None:
        """Compare it with a journal's notes.

        Raises:
            JournalError: The journal belongs to another run.
        """
        differences = [
            f"{name.replace('_', ' ')} {notes.get(name)!r} instead of {value!r}"
            for name, value in attrs.asdict(self).items()
            if notes.get(name) != value
        ]
        if not differences:
            return
        raise JournalError(
            f"the journal {path} belongs to another run ({', '.join(differences)}). Use the "
            "settings that it was made with, or another journal for this run"
        )


_PRIMARY: Final = 0xFF
"""Mask of an extended error code for its primary one."""
_EXPLANATIONS: Final = {
    sqlite3.SQLITE_FULL: "can't grow: the disk is full. Free disk space, and run the same again",
    sqlite3.SQLITE_READONLY: "can't be written. Make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "can't be opened. Check that its folder exists and is writable",
    sqlite3.SQLITE_NOTADB: "is not a journal. Name another file",
    sqlite3.SQLITE_CORRUPT: (
        "is damaged. Restore it from a backup, with the file beside it that ends in -wal. Do not "
        "start again without it: requests that were sent already would be sent again"
    ),
    sqlite3.SQLITE_IOERR_LOCK: "can't be locked. Make it writable, and keep it on a local disk",
    sqlite3.SQLITE_IOERR: "can't be written: the disk, or a limit on file sizes, refused. "
    "Check both, then run the same again",
}


@contextmanager
def guarded(path: Path) -> Generator[None]:
    """Turn errors of SQLite and of the system into errors in plain words.

    Raises:
        JournalError: An operation on the journal failed.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        explanation = _EXPLANATIONS.get(code) or _EXPLANATIONS.get(code & _PRIMARY)
        explanation = explanation or f"can't be used: {error}"
        raise JournalError(f"the journal {path} {explanation}") from error
    except OSError as error:
        raise JournalError(f"the journal {path} can't be used: {error.strerror}") from error


_CLOSED: Final = "INSERT OR REPLACE INTO note VALUES ('closed', 'yes')"


def close_file(db: sqlite3.Connection, path: Path) -> None:
    """Close a journal, and note that it is complete without its log."""
    try:
        db.execute(_CLOSED)
    except sqlite3.Error:
        db.close()
        with suppress(OSError):
            _log_of(path).touch()  # the next opening would report it as missing
        raise
    db.close()


def open_file(
    path: Path, binding: Binding, notes: Mapping[str, str]
) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open a journal for its one writer, and make it if there is none.

    Args:
        path: The file.
        binding: Its owner.
        notes: Further texts for a new journal.

    Returns:
        The open file, and its notes as they were found.

    Raises:
        JournalError: The journal can't be used, or not for this run.
    """
    with guarded(path):
        check_local(path)
        if not path.exists():
            _make(path, attrs.asdict(binding) | dict(notes))
        db = _connect(path)
        try:
            found = _notes_of(db)
            binding.check(found, path)
            _sign(db)
        except BaseException:
            db.close()
            raise
    return db, found


def open_to_read(path: Path) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open a journal for reading; see `open_file`.

    Raises:
        JournalError: There is none, or it is damaged or in use.
    """
    with guarded(path):
        if not path.exists():
            raise JournalError(
                f"there is no journal {path}: check the path (usually FILE.links.journal, beside "
                "the source)"
            )
        db = _connect(path)
        return db, _notes_of(db)


def _make(path: Path, notes: Mapping[str, str]) -> None:
    """Make a journal in a temporary folder, and link it to its path when it is complete."""
    folder, name = path.absolute().parent, path.name
    left = _log_of(path)
    if left.exists():  # SQLite would take it for the new file's
        raise JournalError(
            f"the journal {path} is missing, but a part of it is left, {left.name}. Restore the "
            "journal; delete that part only if nothing was ever sent with it"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as made:
        new = Path(made, name)
        with closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.executescript(_SCHEMA)
            db.executemany("INSERT INTO note VALUES (?, ?)", notes.items())
        new.chmod(0o600)  # for personal data; SQLite gives its log the same mode
        try:
            # Unlike a rename, a link never replaces a journal that was made in the meantime.
            os.link(new, path)
        except FileExistsError:
            return
        with suppress(PermissionError):  # Windows opens no folders
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # makes the folder's entry as durable as the file
            finally:
                os.close(descriptor)


def _log_of(path: Path) -> Path:
    """Name the write-ahead log, which has the latest commits."""
    return path.with_name(f"{path.name}-wal")


def _connect(path: Path) -> sqlite3.Connection:
    if not path.stat().st_size:
        raise JournalError(
            f"the journal {path} is empty, so it was truncated. Restore it from a backup; delete "
            "it only if nothing was ever sent with it"
        )
    had_log = _log_of(path.resolve()).exists()
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _lock(db, path)
        _check_complete(db, path, had_log=had_log)
    except BaseException:
        db.close()
        raise
    return db


def _lock(db: sqlite3.Connection, path: Path) -> None:
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        _check_identity(db, path)
        db.execute("BEGIN IMMEDIATE")  # takes the lock, and keeps it
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
            raise
        message = (
            f"the journal {path} is in use{_owner(path)}. Wait for that run to end, or stop it"
        )
        raise JournalError(message) from error


def _check_complete(db: sqlite3.Connection, path: Path, *, had_log: bool) -> None:
    """Check that the file is undamaged and has the latest commits."""
    is_sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    if is_sound:
        # SQLite reads zeros where the last page was truncated. A crash may have left it in the log.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        is_sound = path.stat().st_size >= pages * size
    if not is_sound:
        raise JournalError(f"the journal {path} {_EXPLANATIONS[sqlite3.SQLITE_CORRUPT]}")
    if not had_log and _notes_of(db).get("closed") == "no":
        raise JournalError(
            f"the journal {path} was not closed, and its file {path.name}-wal is missing. Restore "
            "that file: without it, the latest requests would be sent again"
        )
    db.execute(_CLOSED)


def _check_identity(db: sqlite3.Connection, path: Path) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise JournalError(f"{path} is not a journal of this package. Name another file")
    if version != _VERSION:
        raise JournalError(
            f"the journal {path} has version {version}, and this package knows {_VERSION}. Use the "
            "version of chat2pay-async that made it"
        )


def _notes_of(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT name, value FROM note"))


def _sign(db: sqlite3.Connection) -> None:
    """Note the process that writes, for others that find the journal locked."""
    owner = {
        "closed": "no",
        "host": socket.gethostname(),
        "opened_at": f"{time.time():f}",
        "pid": str(os.getpid()),
    }
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT OR REPLACE INTO note VALUES (?, ?)", owner.items())
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _owner(path: Path) -> str:
    """Name the process that has the lock; its notes are in the file's first pages."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            notes = _notes_of(db)
    except sqlite3.Error:
        return ""
    return f" by process {notes['pid']} on {notes['host']}" if "pid" in notes else ""
