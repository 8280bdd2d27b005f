"""Rows of a journal's table, read into values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from chat2pay_async._journal.store import Claim, Holder, Row, RowState

__all__ = [
    "CHUNK",
    "COLUMNS",
    "NOTHING_BEFORE",
    "STATE",
    "TOKEN",
    "by_operation",
    "chunks",
    "moment",
    "read_row",
]

_ROW: Final = (
    *("id", "operation", "key", "content", "state", "identity", "run", "at", "ended_at"),
    *("target", "body", "request_id", "first_at", "last_at", "service_at"),
    *("settle", "read_timeout", "resend_when_absent", "posts", "response", "result", "detail"),
)
COLUMNS: Final = ", ".join(f"item.{name}" for name in (*_ROW, "token", "session"))
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
    made = dict(zip(_ROW, values, strict=False))
    ended_at = made.pop("ended_at")
    return Row(
        state=RowState(made.pop("state")),
        claimed_by=Holder(made.pop("run"), moment(made.pop("at"))),
        ended_at=None if ended_at is None else moment(ended_at),
        resend_when_absent=bool(made.pop("resend_when_absent")),
        **made,
    )


def by_operation(claims: Sequence[Claim]) -> dict[str, list[str]]:
    """Gather the keys of claims by their operation."""
    keys: dict[str, list[str]] = {}
    for claim in claims:
        keys.setdefault(claim.operation, []).append(claim.key)
    return keys


def chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Divide values into what one statement takes."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def moment(seconds: float) -> datetime:
    """Read a time, in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
