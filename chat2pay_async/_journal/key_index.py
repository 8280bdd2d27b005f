"""Index of the keys that a run has met, in bounded memory: it lives in a temporary file.

Most keys are new, and a Bloom filter recognizes nearly all of those without the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from chat2pay_async.errors import JournalError

__all__ = ["BloomFilter", "KeyIndex", "marks"]

_CHUNK: Final = 500
"""Values in one statement; SQLite takes at least 999."""


def marks(count: int, columns: int = 1) -> str:
    """Write rows of placeholders: `(?, ?), (?, ?)`."""
    row = "(" + ", ".join("?" * columns) + ")"
    return ", ".join([row] * count)


_MASK: Final = (1 << 24) - 1
"""Of one of the three indices in a hash of 64 bits; their ends overlap."""


class BloomFilter:
    """Recognizes texts that are certainly new, in 2 MiB.

    With a million texts it fails to recognize one new text in two hundred, with ten million every
    second one.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_MASK + 1 >> 3)

    def add(self, text: str) -> bool:
        """Add a text, and return whether it is certainly new."""
        # Without a loop: a campaign adds millions.
        bits, number = self._bits, hash(text)
        first, second, third = number & _MASK, number >> 20 & _MASK, number >> 40 & _MASK
        a, b, c = 1 << (first & 7), 1 << (second & 7), 1 << (third & 7)
        if bits[first >> 3] & a and bits[second >> 3] & b and bits[third >> 3] & c:
            return False
        bits[first >> 3] |= a
        bits[second >> 3] |= b
        bits[third >> 3] |= c
        return True


class KeyIndex:
    """A set of texts in a temporary file, which is deleted with it."""

    def __init__(self) -> None:
        # An empty name is a file of SQLite's own: it is deleted at once, spilled to when the cache
        # is full, and never synced. https://www.sqlite.org/inmemorydb.html#temp_db
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE known (text TEXT PRIMARY KEY) WITHOUT ROWID")

    def has(self, texts: Sequence[str]) -> set[str]:
        """Return those of the texts that are in the index."""
        known: set[str] = set()
        for chunk in _chunks(texts):
            query = f"SELECT text FROM known WHERE text IN (VALUES {marks(len(chunk))})"  # noqa: S608 - placeholders
            known.update(text for (text,) in self._db.execute(query, chunk))
        return known

    def add(self, texts: Sequence[str]) -> list[bool]:
        """Add texts in order, and return of each whether it was there before.

        Raises:
            JournalError: The disk with the temporary file is full.
        """
        known = self.has(texts)
        self.put(texts)
        found: list[bool] = []
        for text in texts:
            found.append(text in known)
            known.add(text)
        return found

    def put(self, texts: Sequence[str]) -> None:
        """Add texts, whether they were there before or not.

        Raises:
            JournalError: The disk with the temporary file is full.
        """
        try:
            for chunk in _chunks(texts):
                insert = f"INSERT OR IGNORE INTO known VALUES {marks(len(chunk))}"  # noqa: S608 - the same
                self._db.execute(insert, chunk)
        except sqlite3.Error as error:
            raise JournalError(
                f"a temporary file for the run's keys can't be written ({error}). Free disk space, "
                "or set SQLITE_TMPDIR to another folder"
            ) from error

    def first(self, prefix: str) -> str | None:
        """Return what follows a prefix in the first text that begins with it."""
        query = "SELECT text FROM known WHERE text > ? ORDER BY text LIMIT 1"
        found: tuple[str] | None = self._db.execute(query, (prefix,)).fetchone()
        if found is None or not found[0].startswith(prefix):
            return None
        return found[0].removeprefix(prefix)

    def close(self) -> None:
        """Delete the file."""
        self._db.close()


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
