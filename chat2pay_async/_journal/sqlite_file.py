"""A journal's file: made whole or not at all, locked by one writer, and refused when in doubt.

SQLite, since it keeps its word: with a write-ahead log and `synchronous = FULL` what was committed
is there after a crash of the process, and of the machine. What SQLite can't promise is refused:
a file system across a network, whose locks and syncs may be lies.
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

__all__ = ["Binding", "close_file", "guarded", "open_file", "open_to_read"]

_APPLICATION: Final = 0x43325041
"""`C2PA`: tells a journal from any other SQLite file."""
_VERSION: Final = 1

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
    """What a journal belongs to: no other run may use it."""

    operation: str
    base_url: str
    key_fingerprint: str

    def check(self, notes: Mapping[str, str], path: Path) -> None:
        """See that a journal's notes name the same.

        Raises:
            JournalError: They do not.
        """
        mine = attrs.asdict(self)
        others = [name for name, value in mine.items() if notes.get(name) != value]
        if not others:
            return
        what = ", ".join(
            f"{name.replace('_', ' ')} {notes.get(name)!r} instead of {mine[name]!r}"
            for name in others
        )
        raise JournalError(
            f"the journal {path} belongs to another run ({what}): use it with what it was made "
            "with, or give this run a journal of its own"
        )


@contextmanager
def guarded(path: Path) -> Generator[None]:
    """Say in plain words what SQLite, or the system below it, can't do with a journal.

    Raises:
        JournalError: Something went wrong; its cause says what.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"the journal {path} {_explained(error)}") from error
    except OSError as error:
        raise JournalError(f"the journal {path} can't be used: {error.strerror}") from error


_PRIMARY: Final = 0xFF
"""The bits of an error code that are the same for all of its kind."""
_EXPLANATIONS: Final = {
    sqlite3.SQLITE_FULL: "can't grow: the disk is full; make room, and run the same again",
    sqlite3.SQLITE_READONLY: "can't be written: make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: see that its folder is there and may be written",
    sqlite3.SQLITE_NOTADB: "is no journal: name another file",
    sqlite3.SQLITE_CORRUPT: (
        "is damaged: bring it back from a backup, with the file beside it that ends in -wal. Do "
        "not start anew without it: what it knows to be sent would be sent again"
    ),
    sqlite3.SQLITE_IOERR_LOCK: "can't be locked: make it writable, and keep it on a local disk",
    sqlite3.SQLITE_IOERR: "can't be written: the disk, or a limit on file sizes, refused",
}


def _explained(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0)
    words = _EXPLANATIONS.get(code) or _EXPLANATIONS.get(code & _PRIMARY)
    return words or f"can't be used: {error}"


_CLOSED: Final = "INSERT OR REPLACE INTO note VALUES ('closed', 'yes')"


def close_file(db: sqlite3.Connection, path: Path) -> None:
    """Close a journal, and note that it is whole without the file beside it."""
    try:
        db.execute(_CLOSED)
    except sqlite3.Error:
        db.close()
        with suppress(OSError):
            _log_of(path).touch()  # so that the next opening does not miss it
        raise
    db.close()


def open_file(
    path: Path, binding: Binding, notes: Mapping[str, str]
) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open a journal for its one writer; make it, if there is none yet.

    Args:
        path: Where it is.
        binding: What it belongs to.
        notes: What is written into a new one besides.

    Returns:
        The file, and its notes, which tell what it belongs to and when it was written last.

    Raises:
        JournalError: It can't be used, or not for this run.
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
    """Open a journal to look into it; see `open_file`.

    Raises:
        JournalError: There is none, it is damaged, or it is in use.
    """
    with guarded(path):
        if not path.exists():
            raise JournalError(f"there is no journal {path}")
        db = _connect(path)  # it has read the notes already
        return db, _notes_of(db)


def _make(path: Path, notes: Mapping[str, str]) -> None:
    """Make a journal beside its place, and put it there when it is whole."""
    folder, name = path.absolute().parent, path.name
    left = _log_of(path)
    if left.exists():  # SQLite would take it for the new file's
        raise JournalError(
            f"the journal {path} is gone, but a part of it is left, {left.name}: bring the journal "
            "back from where it went; delete the part only if nothing was ever sent with it"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as made:
        new = Path(made, name)
        with closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.executescript(_SCHEMA)
            db.executemany("INSERT INTO note VALUES (?, ?)", notes.items())
        new.chmod(0o600)  # it will hold personal data; what SQLite puts beside it is as private
        try:
            # Unlike a renaming, this never replaces a journal that came to be in the meantime.
            os.link(new, path)
        except FileExistsError:
            return
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Let the folder's entry be as durable as the file."""
    with suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _log_of(path: Path) -> Path:
    """SQLite's write-ahead log: what was committed last is there, and not in the file itself."""
    return path.with_name(f"{path.name}-wal")


def _connect(path: Path) -> sqlite3.Connection:
    if not path.stat().st_size:
        raise JournalError(
            f"the journal {path} is empty: a journal never is, so it was cut short. Bring it back "
            "from a backup; delete it only if nothing was ever sent with it"
        )
    had_log = _log_of(path.resolve()).exists()
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _take(db, path)
        _check_whole(db, path, had_log=had_log)
    except BaseException:
        db.close()
        raise
    return db


def _take(db: sqlite3.Connection, path: Path) -> None:
    """Lock a journal, and see that it is whole."""
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        _check_identity(db, path)
        db.execute("BEGIN IMMEDIATE")  # takes the lock, which is kept
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
            raise
        message = f"the journal {path} is in use{_owner(path)}: wait for it to end, or stop it"
        raise JournalError(message) from error
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",) or _is_short(db, path):
        raise JournalError(f"the journal {path} {_EXPLANATIONS[sqlite3.SQLITE_CORRUPT]}")


def _is_short(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file was cut within its last page, which SQLite takes for one that ends in 0s."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a crash may have left that page in the log
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return bool(path.stat().st_size < pages * size)


def _check_whole(db: sqlite3.Connection, path: Path, *, had_log: bool) -> None:
    """See that what was committed last is there; from here on it is in the file itself."""
    if not had_log and _notes_of(db).get("closed") == "no":
        raise JournalError(
            f"the journal {path} was not closed, and the file {path.name}-wal that belongs to it "
            "is missing: bring it back. Without it, what was sent last would be sent again"
        )
    db.execute(_CLOSED)


def _check_identity(db: sqlite3.Connection, path: Path) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise JournalError(f"{path} is no journal of this package: name another file")
    if version != _VERSION:
        raise JournalError(
            f"the journal {path} is of version {version}, and this package knows {_VERSION}: use "
            "the version of chat2pay-async that made it"
        )


def _notes_of(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT name, value FROM note"))


def _sign(db: sqlite3.Connection) -> None:
    """Say who writes, where somebody who finds the journal locked can read it."""
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
    """Who has the lock, read past it: only the file's first, settled pages are needed."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            notes = _notes_of(db)
    except sqlite3.Error:
        return ""
    return f" by process {notes['pid']} on {notes['host']}" if "pid" in notes else ""
