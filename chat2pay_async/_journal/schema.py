"""File of a journal: its tables, how it is made and opened, and its errors in plain words.

With a write-ahead log and `synchronous = FULL`, SQLite keeps what was committed through a crash of
the process and of the machine.
"""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from chat2pay_async._journal.store import Account
from chat2pay_async.errors import JournalError

__all__ = [
    "USED",
    "check_local",
    "connect",
    "guarded",
    "make_file",
    "read_account",
    "read_run_settings",
    "sync_folder",
]

_APPLICATION: Final = 0x43325041
"""`C2PA`: tells a journal from any other SQLite file."""
_VERSION: Final = 3
_BUSY: Final = 30.0
"""Seconds that a process waits for another one's commit."""

_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
PRAGMA journal_mode = WAL;
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counter (commits INTEGER NOT NULL);
INSERT INTO counter VALUES (1);
CREATE TABLE item (
    id INTEGER PRIMARY KEY,
    operation TEXT NOT NULL,
    key TEXT NOT NULL,
    folded TEXT NOT NULL,
    identity TEXT NOT NULL,
    content BLOB NOT NULL,
    state TEXT NOT NULL,
    run TEXT,
    at REAL NOT NULL,
    ended_at REAL,
    token TEXT,
    session TEXT,
    before TEXT,
    content_before BLOB,
    identity_before TEXT,
    run_before TEXT,
    at_before REAL,
    target TEXT,
    body BLOB,
    request_id TEXT,
    first_at REAL NOT NULL DEFAULT 0,
    last_at REAL NOT NULL DEFAULT 0,
    service_at REAL,
    settle REAL NOT NULL DEFAULT 10,
    read_timeout REAL NOT NULL DEFAULT 30,
    resend_when_absent INTEGER NOT NULL DEFAULT 1,
    posts INTEGER NOT NULL DEFAULT 0,
    response BLOB,
    result BLOB,
    detail BLOB,
    UNIQUE (operation, key)
);
CREATE INDEX item_open ON item (id) WHERE token IS NOT NULL OR state IN ('sent', 'unknown');
CREATE INDEX item_folded ON item (operation, folded) WHERE folded <> key;
CREATE INDEX item_named ON item (operation, identity) WHERE identity <> key;
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL,
    at REAL NOT NULL,
    what TEXT NOT NULL,
    target TEXT,
    status INTEGER,
    body BLOB
);
CREATE INDEX history_item ON history (item);
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    operation TEXT NOT NULL,
    begun_at REAL NOT NULL,
    last_at REAL NOT NULL,
    opening INTEGER NOT NULL,
    settings TEXT NOT NULL
);
CREATE TABLE run_item (
    run INTEGER NOT NULL,
    item INTEGER NOT NULL,
    line INTEGER,
    opening INTEGER NOT NULL,
    PRIMARY KEY (run, item)
) WITHOUT ROWID;
"""  # noqa: S608 - the two numbers above

USED: Final = "SELECT 1 FROM item WHERE posts > 0 AND state <> 'failed' LIMIT 1"
"""Finds a row if the journal has any that may have had an effect."""

_PRIMARY: Final = 0xFF
"""Mask of an extended error code for its primary one."""
_EXPLANATIONS: Final = {
    sqlite3.SQLITE_FULL: "can't grow: the disk is full. Free disk space, and run the same again",
    sqlite3.SQLITE_READONLY: "can't be written. Make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "can't be opened. Check that its folder exists and is writable",
    sqlite3.SQLITE_NOTADB: "is not a journal. Name another file",
    sqlite3.SQLITE_BUSY: (
        f"was locked by another process for {_BUSY:g} s, in the middle of a commit. See whether "
        "one that uses it is frozen, and let it go on or end it"
    ),
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
        raise JournalError(f"the journal {path} {explanation(error)}") from error
    except OSError as error:
        raise JournalError(f"the journal {path} can't be used: {error.strerror}") from error


def explanation(error: sqlite3.Error) -> str:
    """Put an error of SQLite into plain words."""
    code = getattr(error, "sqlite_errorcode", 0)
    known = _EXPLANATIONS.get(code) or _EXPLANATIONS.get(code & _PRIMARY)
    return known or f"can't be used: {error}"


def make_file(path: Path, notes: Mapping[str, str], *, replaces_log: bool = False) -> None:
    """Make a journal in a temporary folder, and link it to its path when it is complete.

    Args:
        path: The file.
        notes: The journal's first notes.
        replaces_log: A log that a lost journal left is put aside.
    """
    check_local(path)
    folder, name = path.absolute().parent, path.name
    left = path.with_name(f"{name}-wal")
    if left.exists() and replaces_log:
        left.replace(path.with_name(f"{name}-lost"))
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
        # Unlike a rename, a link never replaces a journal that was made in the meantime.
        with suppress(FileExistsError):
            os.link(new, path)
    sync_folder(folder)


def read_account(path: Path) -> tuple[Account, bool]:
    """Read whose journal a file is, and whether it was used, without a session.

    Raises:
        JournalError: It is none, or can't be read.
    """
    if not path.exists():
        raise JournalError(f"there is no journal {path}")
    with guarded(path), closing(sqlite3.connect(path, timeout=_BUSY)) as db:
        _check_identity(db, path)
        notes = dict(db.execute("SELECT name, value FROM note"))
        is_used = db.execute(USED).fetchone() is not None
        return Account(notes["base_url"], notes["key_fingerprint"]), is_used


def read_run_settings(path: Path, name: str) -> dict[str, str]:
    """Read the settings that a journal has of a run, without a session; none if it has no such run.

    Raises:
        JournalError: It can't be read.
    """
    if not path.exists() or not path.stat().st_size:
        return {}
    check_local(path)
    with guarded(path), closing(sqlite3.connect(path, timeout=_BUSY)) as db:
        _check_identity(db, path)
        found = db.execute("SELECT settings FROM run WHERE name = ?", (name,)).fetchone()
    return {} if found is None else msgspec.json.decode(found[0], type=dict[str, str])


def sync_folder(folder: Path) -> None:
    """Make a folder's entries as durable as its files."""
    with suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal that is there, and check that it is one and undamaged.

    Raises:
        JournalError: It is none, or damaged, or of another version.
    """
    check_local(path)
    if not path.stat().st_size:
        raise JournalError(
            f"the journal {path} is empty, so it was truncated. Restore it from a backup; delete "
            "it only if nothing was ever sent with it"
        )
    db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        _check_identity(db, path)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")  # what is deleted, or digested, is not in the file
        _check_complete(db, path)
        db.execute("PRAGMA journal_mode = WAL")  # a backup has none
    except BaseException:
        db.close()
        raise
    return db


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


def _check_complete(db: sqlite3.Connection, path: Path) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    is_sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    # SQLite reads zeros where the last pages were cut off and the log does not have them.
    log = path.with_name(f"{path.name}-wal")
    in_log = log.stat().st_size if log.exists() else 0
    if not is_sound or path.stat().st_size + in_log < pages * size:
        raise JournalError(f"the journal {path} {_EXPLANATIONS[sqlite3.SQLITE_CORRUPT]}")


# Local disks: a network file system neither locks nor syncs reliably -----------------------------

_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.cephfs", "fuse.glusterfs", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"smb2", "smb3", "smbfs", "a share"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")


def check_local(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a path on a network, as far as the system tells (Linux, and shares of Windows).

    Raises:
        JournalError: The path is on a network file system.
    """
    folder = path.resolve().parent
    kind = "a share" if str(folder).startswith("\\\\") else _file_system(folder, mounts)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise JournalError(
            f"the journal {path} would be on a network file system ({kind}), whose locks and syncs "
            "are not reliable. Put it on a local disk"
        )


def _file_system(folder: Path, mounts: Path) -> str:
    """Find the kind of a folder's file system; empty where it is not known."""
    if not mounts.exists():
        return ""
    best, kind = "", ""
    # Only blanks and line feeds separate: a name may have any other character.
    for line in filter(None, mounts.read_text("utf-8", "surrogateescape").split("\n")):
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split(" ")[4])
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.partition(" ")[0]
    return kind
