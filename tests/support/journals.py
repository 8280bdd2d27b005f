"""Journals for the tests: claims and intents that need no service, and stores that die."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chat2pay_async._journal.opening import Opened
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Account, Claim, Intent, RowState
from chat2pay_async.errors import Attempt, Pending, Proof, SentRequest

ACCOUNT = Account("https://api.example", "f00d")
LINK = "create_payment_link"
BEGIN = datetime(2026, 5, 1, 12, tzinfo=UTC)
PHONE = "27840001234"


def claim(key: str = "A-1", **others: Any) -> Claim:
    """Ask for a key."""
    values = {"identity": key, "content": b'{"to":"%s"}' % PHONE.encode(), "folded": key.lower()}
    return Claim(LINK, key, **(values | others))


def intent(key: str = "A-1", *, posts: int = 0, content: bytes | None = None) -> Intent:
    """Say that the key's POST leaves, after so many."""
    at = Attempt(BEGIN + timedelta(seconds=posts), 0.0, Proof.UNKNOWN, error="Interrupted")
    body = b'{"to":"%s","n":%d}' % (PHONE.encode(), posts)
    request = SentRequest("POST", "/pay", body)
    pending = Pending(LINK, key, request, ACCOUNT.base_url, "f00d", f"id-{posts}", at, at)
    return Intent(pending, content)


@asynccontextmanager
async def opened(path: Path, account: Account = ACCOUNT, **options: Any) -> AsyncIterator[Any]:
    """Use a journal."""
    store = SQLiteStore(path, **options)
    await store.open(account)
    try:
        yield store
    finally:
        await store.aclose()


async def in_thread(store: SQLiteStore, work: Any) -> Any:
    """Do something with what the store's thread has open."""
    return await store._ask(work, is_alone=True)


async def abandon(store: SQLiteStore) -> None:
    """Let a store end as a killed process does: its lock falls, and nothing is given back."""

    def die(opened: Opened) -> None:
        opened.session.drop()
        opened.database.db.close()

    await in_thread(store, die)
    await store.aclose()


async def state_of(store: SQLiteStore, key: str = "A-1") -> RowState | None:
    """Read the state of a key's row."""
    found = await store.find(LINK, key)
    return None if found is None or found.row is None else found.row.state
