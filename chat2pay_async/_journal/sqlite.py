"""Journal of a run: every POST is on the disk before it leaves.

Each item has a row, found by its key. The row holds the exact bytes of the POST, when it left and,
later, its result. A row whose POST left and whose result is missing is *unresolved*: a crash leaves
such rows behind, and the next run looks them up before it does anything else.

What many items write at the same time is committed together (`_journal/group_commit.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from chat2pay_async._journal.base import SENT, Entry, Intent, Response, Result, Row
from chat2pay_async._journal.key_index import marks
from chat2pay_async._journal.sqlite_file import (
    Binding,
    close_file,
    guarded,
    open_file,
    open_to_read,
)
from chat2pay_async.errors import JournalError, Pending

__all__ = ["Journal"]

_COLUMNS: Final = ", ".join(field.name for field in attrs.fields(Row))
_PAGE: Final = 100


class Journal:
    """Journal of a run: an SQLite file on a local disk.

    Pass its path, or one of these, as `journal=`. It belongs to one operation, base URL and API
    key, and to one run at a time. It holds requests, so it holds personal data.
    """

    def __init__(self, path: str | Path, *, notes: Mapping[str, str] | None = None) -> None:
        """Name a journal; the run opens it, or makes it.

        Args:
            path: The file.
            notes: Texts of your own to keep in it when it is made, such as the items' source.
        """
        self.path = Path(path)
        self._new_notes = {f"user {name}": value for name, value in (notes or {}).items()}
        self._db: sqlite3.Connection | None = None
        self.notes: dict[str, str] = {}
        """Once it is open: its owner, its writer, and your own texts (as `user …`)."""

    # The methods from here on block: they are called in a thread, one at a time.

    def open(self, binding: Binding) -> None:
        """Open and lock it for a run, and make it if there is none.

        Raises:
            JournalError: The journal can't be used, or not for this run.
        """
        if self._db is not None:
            raise JournalError(
                f"the journal {self.path} is in use by another run of this program: wait for its "
                "end"
            )
        self._db, self.notes = open_file(self.path, binding, self._new_notes)

    def open_to_read(self) -> None:
        """Open it for reading.

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

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries in one commit: they are on the disk when this returns.

        Raises:
            JournalError: None of them is written.
        """
        db = self._opened()
        with guarded(self.path):
            db.execute("BEGIN IMMEDIATE")
            try:
                _write(db, entries)
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has ended the transaction already
                    db.execute("ROLLBACK")
                raise

    def rows(self, keys: Sequence[str]) -> dict[str, Row]:
        """Read the rows that have these keys."""
        query = f"SELECT {_COLUMNS} FROM item WHERE key IN ({', '.join('?' * len(keys))})"  # noqa: S608 - placeholders
        with guarded(self.path):
            return {row[0]: Row(*row) for row in self._opened().execute(query, keys)}

    def all_keys(self) -> Iterator[str]:
        """Read the keys of all rows."""
        with guarded(self.path):
            for (key,) in self._opened().execute("SELECT key FROM item"):
                yield key

    def page(self, after: int, *, unresolved_only: bool) -> list[tuple[int, Row]]:
        """Read the next rows after a row's number, in their order, with their numbers.

        Args:
            after: 0 for the first page.
            unresolved_only: Leave the other rows out.
        """
        where = "state IN ('sent', 'unknown') AND" if unresolved_only else ""
        query = f"SELECT id, {_COLUMNS} FROM item WHERE {where} id > ? ORDER BY id LIMIT {_PAGE}"  # noqa: S608 - constants
        with guarded(self.path):
            return [(number, Row(*row)) for number, *row in self._opened().execute(query, (after,))]

    def _opened(self) -> sqlite3.Connection:
        assert self._db is not None  # noqa: S101 - it is opened before it is used
        return self._db


_CHUNK: Final = 100
"""Rows in one statement: each statement gives the interpreter's lock away, and waits for it."""

_ARCHIVE: Final = """
INSERT INTO history (key, at, what, status, body)
    WITH before AS (SELECT * FROM item WHERE key IN (VALUES {marks}))
    SELECT key, last_at, 'POST ' || target, NULL, body FROM before
    UNION ALL SELECT key, last_at, 'response', NULL, response FROM before
        WHERE response IS NOT NULL
"""
_INTENT: Final = """
INSERT INTO item (key, state, target, body, request_id, first_at, last_at, service_at, settle,
    read_timeout, resend_when_absent, posts) VALUES {marks}
ON CONFLICT (key) DO UPDATE SET state = excluded.state, target = excluded.target,
    body = excluded.body, request_id = excluded.request_id, first_at = excluded.first_at,
    last_at = excluded.last_at, service_at = excluded.service_at, settle = excluded.settle,
    read_timeout = excluded.read_timeout, resend_when_absent = excluded.resend_when_absent,
    posts = item.posts + 1, response = NULL, result = NULL, detail = NULL
"""
_RESPONSE: Final = "INSERT INTO history (key, at, what, status, body) VALUES {marks}"
_RESULT: Final = """
WITH ended (key, state, response, result, detail) AS (VALUES {marks})
UPDATE item SET state = ended.state, response = coalesce(ended.response, item.response),
    result = ended.result, detail = ended.detail FROM ended WHERE item.key = ended.key
"""


def _write(db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    intents: list[Intent] = []
    responses: list[Response] = []
    results: list[Result] = []
    lists: dict[type[Entry], list[Any]]
    lists = {Intent: intents, Response: responses, Result: results}
    for entry in entries:
        lists[type(entry)].append(entry)
    # A row holds the latest POST of its item; the one that it replaces moves to the history.
    _execute(db, _ARCHIVE, [(one.key,) for one in intents if one.again])
    _execute(db, _INTENT, [_values(one.key, one.pending) for one in intents])
    _execute(
        db,
        _RESPONSE,
        [(one.key, one.at.timestamp(), "response", one.status, one.body) for one in responses],
    )
    _execute(db, _RESULT, [(r.key, r.state, r.response, r.result, r.detail) for r in results])


def _values(key: str, pending: Pending) -> tuple[Any, ...]:
    first, last = pending.first_attempt.started_at, pending.last_attempt.started_at
    service = pending.service_time
    return (
        *(key, SENT, pending.request.target, pending.request.body, pending.request_id),
        *(first.timestamp(), last.timestamp(), None if service is None else service.timestamp()),
        *(pending.settle, pending.read_timeout, pending.resend_when_absent, 1),
    )


def _execute(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        values = [value for row in chunk for value in row]
        db.execute(statement.format(marks=marks(len(chunk), len(chunk[0]))), values)
