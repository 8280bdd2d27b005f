"""A run's journal: every POST is written down, to the disk itself, before it leaves.

Each item has a row, found by its key. The row holds the exact bytes of the POST, when it left, and,
later, what came of it. A row whose POST left and whose end is not written is *in doubt*: that is
what a crash leaves behind, and what the next run looks up before it does anything else.

What many items write at the same time is committed together (`_journal/group_commit.py`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs

from chat2pay_async._journal.base import PriorAttempts
from chat2pay_async._journal.key_index import marks
from chat2pay_async._journal.sqlite_file import (
    Binding,
    close_file,
    guarded,
    open_file,
    open_to_read,
)
from chat2pay_async.errors import JournalError, SentRequest

__all__ = ["Answered", "Departed", "Ended", "Journal", "Row"]

SENT: Final = "sent"
"""The state of a row whose POST left, and whose end is not written."""
OPEN: Final = frozenset({SENT, "unknown"})
"""The states of rows that are looked up before anything else."""
_PAGE: Final = 100


@attrs.frozen
class Row:
    """An item, as the journal has it."""

    key: str
    state: str
    """`sent`, or a `State`'s value."""
    target: str
    body: bytes | None
    request_id: str | None
    first_at: float
    """When this very request left for the first time, in seconds since 1970."""
    last_at: float
    posts: int
    """How many POSTs left for it."""
    response: bytes | None
    """The service's answer, as it came."""
    result: bytes | None
    """What look-ups made of it, where there was no answer."""
    detail: bytes | None
    """`_stored.write_detail`'s."""

    @property
    def sent(self) -> SentRequest:
        """The exact request."""
        return SentRequest("POST", self.target, self.body)

    def prior_attempts(self, alive_at: float) -> PriorAttempts:
        """What a new process has to know of it.

        Args:
            alive_at: The last time that the old one was certainly at work.
        """
        return PriorAttempts(
            sent=self.sent,
            request_id=self.request_id,
            first_at=_moment(self.first_at),
            last_at=_moment(self.last_at),
            alive_at=_moment(max(self.last_at, alive_at)),
            unresolved=self.state in OPEN,
        )


_COLUMNS: Final = ", ".join(field.name for field in attrs.fields(Row))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# What is written ----------------------------------------------------------------------------------


@attrs.frozen
class Departed:
    """A POST is about to leave."""

    key: str
    sent: SentRequest
    request_id: str | None
    first_at: datetime
    at: datetime
    again: bool = False
    """Whether another one left for the item before."""


@attrs.frozen
class Answered:
    """A POST was answered, and that was not the last word on its item."""

    key: str
    at: datetime
    status: int
    body: bytes


@attrs.frozen
class Ended:
    """An item came to its end."""

    key: str
    state: str
    response: bytes | None
    result: bytes | None
    detail: bytes


class Journal:
    """Where a run writes down what it sends: an SQLite file on a local disk.

    Pass its path, or one of these, as `journal=`. It belongs to one operation, base URL and API
    key, and to one run at a time. It holds what was sent, so it holds personal data.
    """

    def __init__(self, path: str | Path, *, notes: Mapping[str, str] | None = None) -> None:
        """Name a journal; the run opens it, or makes it.

        Args:
            path: Where it is.
            notes: Texts of your own to keep in it when it is made, such as where the items are.
        """
        self.path = Path(path)
        self._new_notes = {f"user {name}": value for name, value in (notes or {}).items()}
        self._db: sqlite3.Connection | None = None
        self.notes: dict[str, str] = {}
        """Once it is open: what it belongs to, who writes it, and (as `user …`) your own."""

    # Every method from here on blocks: it is called in a thread, one at a time.

    def open(self, binding: Binding) -> None:
        """Open it for a run, or make it, and lock it.

        Raises:
            JournalError: It can't be used, or not for this run.
        """
        if self._db is not None:
            raise JournalError(f"the journal {self.path} is in use by another run of this program")
        self._db, self.notes = open_file(self.path, binding, self._new_notes)

    def open_to_read(self) -> None:
        """Open it for nothing but a look.

        Raises:
            JournalError: There is none, it is damaged, or a run uses it.
        """
        self._db, self.notes = open_to_read(self.path)

    def close(self) -> None:
        """Close and unlock it."""
        if self._db is not None:
            db, self._db = self._db, None
            with guarded(self.path):
                close_file(db, self.path)

    @property
    def alive_at(self) -> float:
        """The last time that an earlier run was certainly at work, in seconds since 1970."""
        return float(self.notes.get("alive_at", 0.0))

    def write(self, notes: Sequence[Departed | Answered | Ended]) -> None:
        """Write all of this down, in one commit: it is on the disk when this returns.

        Raises:
            JournalError: It is not, and nothing of it.
        """
        db = self._opened()
        with guarded(self.path):
            db.execute("BEGIN IMMEDIATE")
            try:
                _depart(db, [note for note in notes if isinstance(note, Departed)])
                _answer(db, [note for note in notes if isinstance(note, Answered)])
                _end(db, [note for note in notes if isinstance(note, Ended)])
                db.execute(_ALIVE, (f"{time.time():f}",))
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has ended the transaction already
                    db.execute("ROLLBACK")
                raise

    def rows(self, keys: Sequence[str]) -> dict[str, Row]:
        """The rows that there are of these keys."""
        query = f"SELECT {_COLUMNS} FROM item WHERE key IN ({', '.join('?' * len(keys))})"  # noqa: S608 - placeholders
        with guarded(self.path):
            return {row[0]: Row(*row) for row in self._opened().execute(query, keys)}

    def all_keys(self) -> Iterator[str]:
        """The keys of all rows."""
        with guarded(self.path):
            for (key,) in self._opened().execute("SELECT key FROM item"):
                yield key

    def page(self, after: int, *, open_only: bool) -> list[tuple[int, Row]]:
        """The next rows after a row's number, in the order in which they came, with their numbers.

        Args:
            after: 0 for the first page.
            open_only: Only rows that are in doubt.
        """
        where = "state IN ('sent', 'unknown') AND" if open_only else ""
        query = f"SELECT id, {_COLUMNS} FROM item WHERE {where} id > ? ORDER BY id LIMIT {_PAGE}"  # noqa: S608 - constants
        with guarded(self.path):
            return [(number, Row(*row)) for number, *row in self._opened().execute(query, (after,))]

    def _opened(self) -> sqlite3.Connection:
        assert self._db is not None  # noqa: S101 - whoever uses it has opened it
        return self._db


_ALIVE: Final = "INSERT OR REPLACE INTO note VALUES ('alive_at', ?)"
_AT_ONCE: Final = 100
"""Rows in one statement: each statement gives the interpreter's lock away, and waits for it."""

_DEPART: Final = """
INSERT INTO item (key, state, target, body, request_id, first_at, last_at, posts) VALUES {marks}
ON CONFLICT (key) DO UPDATE SET state = excluded.state, target = excluded.target,
    body = excluded.body, request_id = excluded.request_id, first_at = excluded.first_at,
    last_at = excluded.last_at, posts = item.posts + 1, response = NULL, result = NULL,
    detail = NULL
"""
_KEEP: Final = """
INSERT INTO history (key, at, what, status, body)
    WITH before AS (SELECT * FROM item WHERE key IN ({keys}))
    SELECT key, last_at, 'POST ' || target, NULL, body FROM before
    UNION ALL SELECT key, last_at, 'answer', NULL, response FROM before WHERE response IS NOT NULL
"""
_END: Final = """
WITH ended (key, state, response, result, detail) AS (VALUES {marks})
UPDATE item SET state = ended.state, response = coalesce(ended.response, item.response),
    result = ended.result, detail = ended.detail FROM ended WHERE item.key = ended.key
"""
_HISTORY: Final = "INSERT INTO history (key, at, what, status, body) VALUES {marks}"


def _execute(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        values = [value for row in part for value in row]
        db.execute(statement.format(marks=marks(len(part), len(part[0]))), values)


def _depart(db: sqlite3.Connection, notes: Sequence[Departed]) -> None:
    # A row holds the last POST of its item: what it takes the place of moves to the history.
    before = [note.key for note in notes if note.again]
    for start in range(0, len(before), _AT_ONCE):
        part = before[start : start + _AT_ONCE]
        db.execute(_KEEP.format(keys=", ".join("?" * len(part))), part)
    rows = [
        (
            *(note.key, SENT, note.sent.target, note.sent.body, note.request_id),
            *(note.first_at.timestamp(), note.at.timestamp(), 1),
        )
        for note in notes
    ]
    _execute(db, _DEPART, rows)


def _answer(db: sqlite3.Connection, notes: Sequence[Answered]) -> None:
    rows = [(n.key, n.at.timestamp(), "answer", n.status, n.body) for n in notes]
    _execute(db, _HISTORY, rows)


def _end(db: sqlite3.Connection, notes: Sequence[Ended]) -> None:
    rows = [(n.key, n.state, n.response, n.result, n.detail) for n in notes]
    _execute(db, _END, rows)
