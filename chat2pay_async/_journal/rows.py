"""Rows and runs of a journal's tables, read into values; and many of them in one statement."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from chat2pay_async._journal.key_index import marks
from chat2pay_async._journal.store import Claim, Holder, Intent, Row, RowState, RunRecord, moment

__all__ = [
    "CHUNK",
    "COLUMNS",
    "NOTHING_BEFORE",
    "STATE",
    "STATES",
    "TOKEN",
    "Questions",
    "by_operation",
    "chunks",
    "item_of",
    "many",
    "read_row",
    "read_runs",
    "values_of_intent",
]

_ROW: Final = (
    *("id", "operation", "key", "content", "state", "identity", "run", "at", "ended_at"),
    *("target", "body", "request_id", "first_at", "last_at", "service_at"),
    *("settle", "read_timeout", "resend_when_absent", "posts", "response", "result", "detail"),
)
COLUMNS: Final = ", ".join(f"item.{name}" for name in (*_ROW, "token", "session"))
_SENT: Final = _ROW.index("target")
STATES: Final = {state.value: state for state in RowState}
STATE: Final = _ROW.index("state")
TOKEN: Final = len(_ROW)
"""Place of the token among the columns; the session comes next."""
NOTHING_BEFORE: Final = (
    "before = NULL, content_before = NULL, identity_before = NULL, run_before = NULL, "
    "at_before = NULL"
)
CHUNK: Final = 400
"""Keys in one statement; SQLite takes at least 999 values."""
_ROWS: Final = 64
"""Rows in one statement, which has at most 15 values of each."""


def read_row(values: tuple[Any, ...]) -> Row:
    """Read a row from the values of `COLUMNS`."""
    # By their places: a run that is resumed reads a million of them.
    number, operation, key, content, state, identity, run, at, ended_at = values[:_SENT]
    *sent, resends, posts, response, result, detail = values[_SENT:TOKEN]
    made_by, ended = Holder(run, moment(at)), None if ended_at is None else moment(ended_at)
    row: list[Any] = [number, operation, key, content, STATES[state], identity, made_by, ended]
    row += [*sent, bool(resends), posts, response, result, detail]
    return Row(*row)


def read_runs(db: sqlite3.Connection, name: str | None) -> list[RunRecord]:
    """Read the runs, the latest first.

    Args:
        db: The journal's database.
        name: Only this one; None: all of them.
    """
    where, values = ("", ()) if name is None else (" WHERE name = ?", (name,))
    found = db.execute(
        f"SELECT id, name, operation, begun_at, last_at, settings FROM run{where} "  # noqa: S608 - above
        "ORDER BY last_at DESC, id DESC",
        values,
    ).fetchall()
    return [
        RunRecord(
            name=name,
            operation=operation,
            begun_at=moment(begun_at),
            last_at=moment(last_at),
            settings=msgspec.json.decode(settings),
            counts=_counts(db, number),
        )
        for number, name, operation, begun_at, last_at, settings in found
    ]


def _counts(db: sqlite3.Connection, run: int) -> dict[RowState, int]:
    found = db.execute(
        "SELECT item.state, count(*) FROM run_item JOIN item ON item.id = run_item.item "
        "WHERE run_item.run = ? GROUP BY item.state",
        (run,),
    )
    return {STATES[state]: count for state, count in found}


def by_operation(claims: Sequence[Claim]) -> dict[str, list[str]]:
    """Gather the keys of claims by their operation."""
    keys: dict[str, list[str]] = {}
    for claim in claims:
        keys.setdefault(claim.operation, []).append(claim.key)
    return keys


def chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Divide values into what one statement takes."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def many(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any]]]:
    """Divide rows into what one statement takes: the placeholders of each, and their values.

    A statement for each row would drop Python's lock each time, and fight for it with the event
    loop. Rows of nothing fill each part up to a power of two, so that few statements are prepared.
    """
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        width, count = len(part[0]), 1 << (len(part) - 1).bit_length()
        values = [*chain.from_iterable(part), *[None] * (width * (count - len(part)))]
        yield marks(count, width), values


def item_of(token: str) -> int:
    """Return the id of a token's row, which it begins with: so no index has the tokens.

    0, which no row has, where it is none of this store's tokens.
    """
    item = token.partition("-")[0]
    return int(item) if item.isdecimal() else 0


def values_of_intent(token: str, intent: Intent) -> tuple[Any, ...]:
    """Return the values of a POST that is about to leave, as its row has them."""
    pending = intent.pending
    first, last = pending.first_attempt.started_at, pending.last_attempt.started_at
    service = pending.service_time
    return (
        *(item_of(token), token, intent.content, pending.identity, intent.run, time.time()),
        *(pending.request.target, pending.request.body, pending.request_id),
        *(first.timestamp(), last.timestamp(), None if service is None else service.timestamp()),
        *(pending.settle, pending.read_timeout, pending.resend_when_absent),
    )


class Questions:
    """Questions to a journal, for which nobody need hold a claim."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def find_all(self, operation: str, keys: Sequence[str]) -> dict[str, Row]:
        """Read the rows of many keys."""
        return {values[2]: read_row(values) for values in self.all_values_of(operation, keys)}

    def lookalikes(self, operation: str, folded: Sequence[str]) -> dict[str, list[str]]:
        """Read the keys whose folded form is one of these."""
        found: dict[str, list[str]] = {}
        for chunk in chunks(list(dict.fromkeys(folded))):
            # A key that is its own folded form is not in the index of the others.
            for column in ("folded", "key"):
                of_others = " AND folded <> key" if column == "folded" else " AND folded = key"
                query = (
                    "SELECT folded, key FROM item WHERE operation = ? "  # noqa: S608 - placeholders
                    f"AND {column} IN (VALUES {marks(len(chunk))}){of_others}"
                )
                for own, key in self.db.execute(query, (operation, *chunk)):
                    found.setdefault(own, []).append(key)
        return found

    def rows_of_identity(self, operation: str, identity: str) -> list[Row]:
        """Read the rows of one order or payment link, under whatever key."""
        query = (
            f"SELECT {COLUMNS} FROM item WHERE operation = ? AND identity = ? "  # noqa: S608 - columns
            f"AND identity <> key UNION ALL SELECT {COLUMNS} FROM item WHERE operation = ? "
            "AND key = ? AND identity = key"
        )
        found = self.db.execute(query, (operation, identity, operation, identity))
        return [read_row(values) for values in found]

    def rows(
        self,
        run: str | None,
        operation: str | None,
        states: frozenset[RowState] | None,
        after: int,
        limit: int,
    ) -> list[tuple[Row, int | None]]:
        """Read a page of rows, each with its line in the run's source."""
        # By the column that the index begins with: else SQLite sorts all rows for each page.
        number = "item.id" if run is None else "run_item.item"
        where, values = [f"{number} > ?"], list[Any]([after])
        if operation is not None:
            where.append("item.operation = ?")
            values.append(operation)
        if states is not None:
            where.append(f"item.state IN ({', '.join('?' * len(states))})")
            values += states
        if run is None:
            source, line = "item", "NULL"
        else:
            source, line = "run_item JOIN item ON item.id = run_item.item", "run_item.line"
            where.append("run_item.run = (SELECT id FROM run WHERE name = ?)")
            values.append(run)
        query = (
            f"SELECT {COLUMNS}, {line} FROM {source} WHERE {' AND '.join(where)} "  # noqa: S608 - texts of this function
            f"ORDER BY {number} LIMIT ?"
        )
        found = self.db.execute(query, (*values, limit))
        return [(read_row(values), values[-1]) for values in found]

    def values_of(self, operation: str, key: str) -> tuple[Any, ...] | None:
        """Read the values of a row."""
        query = f"SELECT {COLUMNS} FROM item WHERE operation = ? AND key = ?"  # noqa: S608 - columns
        found: tuple[Any, ...] | None = self.db.execute(query, (operation, key)).fetchone()
        return found

    def all_values_of(self, operation: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Read the values of many rows."""
        for chunk in chunks(keys):
            query = (
                f"SELECT {COLUMNS} FROM item WHERE operation = ? "  # noqa: S608 - columns, placeholders
                f"AND key IN (VALUES {marks(len(chunk))})"
            )
            yield from self.db.execute(query, (operation, *chunk))
