"""Which keys a run has met already, in bounded memory: a temporary file knows them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from chat2pay_async.errors import JournalError

__all__ = ["Seen", "marks"]

_AT_ONCE: Final = 500
"""Values in one statement; SQLite takes at least 999."""


def marks(count: int, columns: int = 1) -> str:
    """So many rows of placeholders: `(?, ?), (?, ?)`."""
    row = "(" + ", ".join("?" * columns) + ")"
    return ", ".join([row] * count)


class Seen:
    """A set of texts that lives in a temporary file, which goes away with it."""

    def __init__(self) -> None:
        # An empty name is a file of SQLite's own: it is deleted at once, spilled to when the cache
        # is full, and never synced. https://www.sqlite.org/inmemorydb.html#temp_db
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE seen (text TEXT PRIMARY KEY) WITHOUT ROWID")

    def has(self, texts: Sequence[str]) -> set[str]:
        """Those of the texts that are there."""
        known: set[str] = set()
        for part in _parts(texts):
            query = f"SELECT text FROM seen WHERE text IN ({', '.join('?' * len(part))})"  # noqa: S608 - placeholders
            known.update(text for (text,) in self._db.execute(query, part))
        return known

    def add(self, texts: Sequence[str]) -> list[bool]:
        """Add texts in order; says of each whether it was there before.

        Raises:
            JournalError: The disk with the temporary file is full.
        """
        known = self.has(texts)
        try:
            for part in _parts(texts):
                insert = f"INSERT OR IGNORE INTO seen VALUES {marks(len(part))}"  # noqa: S608 - the same
                self._db.execute(insert, part)
        except sqlite3.Error as error:
            raise JournalError(
                f"a temporary file for the run's keys can't be written ({error}): make room, or "
                "let SQLITE_TMPDIR name another folder"
            ) from error
        answers: list[bool] = []
        for text in texts:
            answers.append(text in known)
            known.add(text)
        return answers

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))
