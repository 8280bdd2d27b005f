"""Writes that fail: every waiter is told, and nothing stays claimed by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chat2pay_async._journal.sessions import Sessions
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Account, Answer, Claim, End, Intent, RowState
from chat2pay_async.errors import Attempt, JournalError, Pending, Proof, SentRequest

pytestmark = pytest.mark.anyio

OPERATION = "create_payment_link"
END = End(RowState.APPLIED, response=b"x" * 100_000)


def claim_of(key: str) -> Claim:
    return Claim(OPERATION, key, key, b"{}")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path / "j.db")
    await store.open(Account("https://api.example", "f00d"))
    try:
        yield store
    finally:
        await store.aclose()


async def sent(store: SQLiteStore) -> str:
    """Return the claim of a row whose POST left."""
    token = (await store.claim(claim_of("A-1"))).token
    assert token is not None
    attempt = Attempt(datetime.now(UTC), 0.0, Proof.UNKNOWN, error="Interrupted")
    pending = Pending(
        operation=OPERATION,
        identity="A-1",
        request=SentRequest("POST", "/p", b"{}"),
        base_url="https://api.example",
        key_fingerprint="f00d",
        request_id=None,
        first_attempt=attempt,
        last_attempt=attempt,
    )
    assert await store.record_intent(token, Intent(pending))
    return token


async def limit_pages(store: SQLiteStore, pages: int) -> None:
    await store._ask(
        lambda opened: opened.database.db.execute(f"PRAGMA max_page_count = {pages}").fetchone(),
        is_alone=True,
    )


async def answer_once_there_is_room(store: SQLiteStore) -> Answer:
    await limit_pages(store, 1_000_000)
    assert (await store.claim(claim_of("A-2"))).answer is Answer.NEW
    found = await store.find(OPERATION, "A-1")
    assert found is not None
    return found.answer


@pytest.mark.one_loop
async def test_claim_is_given_back_once_there_is_room_if_its_end_found_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        token = await sent(store)
        await limit_pages(store, 1)
        with pytest.raises(JournalError, match="the disk is full"):
            await store.record_end(token, END)
        assert await answer_once_there_is_room(store) is Answer.OPEN


@pytest.mark.one_loop
async def test_claim_is_given_back_if_its_end_found_no_room_and_its_task_was_cancelled(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has no other cancellation")
    async with opened(tmp_path) as store:
        token = await sent(store)
        await limit_pages(store, 1)
        task = asyncio.ensure_future(store.record_end(token, END))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await answer_once_there_is_room(store) is Answer.OPEN


@pytest.mark.one_loop
async def test_store_goes_on_after_a_claim_that_no_database_can_hold(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(UnicodeEncodeError):
            await store.claim(claim_of("\ud800"))
        assert (await store.claim(claim_of("A-1"))).answer is Answer.NEW


@pytest.mark.one_loop
async def test_journal_whose_maker_died_before_it_was_opened_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "raise_base", die)
        with pytest.raises(JournalError):
            await SQLiteStore(tmp_path / "j.db").open(Account("https://api.example", "f00d"))
    assert (tmp_path / "j.db").exists()
    async with opened(tmp_path) as store:
        assert not store.is_lossy
