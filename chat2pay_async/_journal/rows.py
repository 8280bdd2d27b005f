"""Rows and runs of a journal's tables, read into values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from chat2pay_async._journal.store import Claim, Holder, Row, RowState, RunRecord, moment

__all__ = [
    "CHUNK",
    "COLUMNS",
    "NOTHING_BEFORE",
    "STATE",
    "STATES",
    "TOKEN",
    "by_operation",
    "chunks",
    "read_row",
    "read_runs",
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
