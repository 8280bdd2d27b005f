"""Which keys a run has met already, in bounded memory: a temporary file knows them.

Most keys are new, and a sieve tells that of nearly all of them without the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from chat2pay_async.errors import JournalError

__all__ = ["Seen", "Sieve", "marks"]

_AT_ONCE: Final = 500
"""Values in one statement; SQLite takes at least 999."""


def marks(count: int, columns: int = 1) -> str:
    """So many rows of placeholders: `(?, ?), (?, ?)`."""
    row = "(" + ", ".join("?" * columns) + ")"
    return ", ".join([row] * count)


class Sieve:
    """Tells which texts are certainly new, in 2 MiB: a Bloom filter.

    With a million texts it is wrong about one new text in two hundred, with ten million about
    every second.
    """

    _BITS: Final = 24
    _SHIFTS: Final = (0, 20, 40)
    """Where in a hash of 64 bits the three places begin; their ends overlap."""

    def __init__(self) -> None:
        self._bits = bytearray(1 << self._BITS - 3)

    def add(self, text: str) -> bool:
        """Add a text; says whether it is certainly new."""
        bits, number, mask = self._bits, hash(text), (1 << self._BITS) - 1
        new = False
        for shift in self._SHIFTS:
            place = number >> shift & mask
            bit = 1 << (place & 7)
            if not bits[place >> 3] & bit:
                bits[place >> 3] |= bit
                new = True
        return new


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
        self.put(texts)
        answers: list[bool] = []
        for text in texts:
            answers.append(text in known)
            known.add(text)
        return answers

    def put(self, texts: Sequence[str]) -> None:
        """Add texts, whether they were there before or not.

        Raises:
            JournalError: The disk with the temporary file is full.
        """
        try:
            for part in _parts(texts):
                insert = f"INSERT OR IGNORE INTO seen VALUES {marks(len(part))}"  # noqa: S608 - the same
                self._db.execute(insert, part)
        except sqlite3.Error as error:
            raise JournalError(
                f"a temporary file for the run's keys can't be written ({error}): make room, or "
                "let SQLITE_TMPDIR name another folder"
            ) from error

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))
