"""The view that a run has of the journal, where something goes wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from scripted import CREATED, LINK, Bench, bench, forever, lost
from shop import Shop, inline_writers, opened, shop

from chat2pay_async import AsyncChat2Pay, JournalError, bulk
from chat2pay_async._bulk import item as item_module
from chat2pay_async._bulk.outcomes import State
from chat2pay_async._bulk.store import RunStore
from chat2pay_async._journal.sqlite_store import SQLiteStore

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "payments.db"


@pytest.fixture
def inline() -> Iterator[None]:
    """Let journals do their work at once: threads know nothing of virtual time."""
    with inline_writers():
        yield


@pytest.fixture
def one(path: Path) -> Iterator[Shop]:
    with shop(bench(CREATED), path) as made:
        yield made


def held(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (count,) = db.execute("SELECT count(*) FROM item WHERE token IS NOT NULL").fetchone()
    return int(count)


async def fail(*_: object, **__: object) -> Any:
    raise JournalError("the disk is full")


async def looked_up(one: Shop, *requests: Any) -> list[Any]:
    items = [one.items.new(request) for request in requests]
    for item in items:
        one.items.register(item)
    return await one.items.look_up(items)


async def test_claims_are_given_back_where_look_alikes_can_not_be_read(
    one: Shop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunStore, "_find_lookalikes", fail)
    with pytest.raises(JournalError):
        await looked_up(one, LINK, attrs.evolve(LINK, order_number="A-2"))
    assert held(path) == 0


async def test_rows_that_were_taken_over_are_given_back_where_they_can_not_be_noted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop(bench(lost()), path, total=0.5) as one:
        await one.finish()
    with shop(bench(CREATED), path) as one:
        monkeypatch.setattr(one.store._commits, "run", fail)
        with pytest.raises(JournalError):
            await anext(one.store.left_open())
        assert held(path) == 0, "not only when the journal is closed"


async def test_one_row_at_a_time_is_taken_over(path: Path) -> None:
    orders = [LINK, attrs.evolve(LINK, order_number="B-2")]
    with shop(bench(lost(), lost(), look_ups=[forever]), path, total=0.5) as one:
        for order in orders:
            assert (await one.finish(order)).state is State.UNKNOWN
    with shop(bench(CREATED), path) as one:
        rows = one.store.left_open()
        await anext(rows)
        assert held(path) == 1, "nobody works on the other one yet"
        await anext(rows)
        assert held(path) == 2
        await rows.aclose()


async def test_keys_that_can_not_be_indexed_are_claimed_by_nobody_also_once_there_is_room(
    one: Shop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Any:
        raise JournalError("make room")

    with monkeypatch.context() as disk:
        disk.setattr(one.store._keys, "add", full)
        with pytest.raises(JournalError, match="make room"):
            await looked_up(one, LINK)
    # Some of the keys may be in the index, and were not looked up.
    with pytest.raises(JournalError, match="make room"):
        await looked_up(one, LINK)
    assert held(path) == 0


async def test_a_run_without_a_journal_has_nothing_that_is_gone() -> None:
    with shop(bench()) as one:
        assert [row async for row in one.store.gone()] == []


async def test_a_row_that_can_not_be_read_fails_alone(path: Path) -> None:
    with shop(bench(CREATED), path) as one:
        await one.finish()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE item SET content = x'00'")
    with shop(bench(CREATED), path) as one:
        damaged, sound = await looked_up(one, LINK, attrs.evolve(LINK, order_number="B-2"))
        assert isinstance(damaged, Exception)
        assert sound is False


async def test_a_row_that_did_not_move_is_sent(path: Path) -> None:
    with shop(bench(CREATED), path, choices={"moved": {"another mark": "A-0"}}) as one:
        (is_finished,) = await looked_up(one, LINK)
        assert not is_finished


async def test_an_item_whose_claim_was_lost_begins_as_a_newcomer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, calls = SQLiteStore.record_intent, list[str]()

    async def taken(journal: SQLiteStore, token: str, intent: Any) -> bool:
        calls.append(token)
        if len(calls) == 1:
            await journal.release(token)
            return False
        return await really(journal, token, intent)

    monkeypatch.setattr(SQLiteStore, "record_intent", taken)
    made: Bench = bench(CREATED)
    with shop(made, path) as one:
        assert (await one.finish()).state is State.APPLIED
    assert (len(calls), len(made.engine.sent)) == (2, 1)


async def test_a_key_that_is_held_again_is_waited_for_again(
    one: Shop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[str] = []
    with opened(path) as other:
        claim = one.items.new(LINK).claim
        assert claim is not None
        token = (await other.claim(attrs.evolve(claim, run=None))).token
        assert token is not None

        async def released(*_: object) -> None:
            waits.append("waited")
            if len(waits) == 2:
                await other.release(token)

        monkeypatch.setattr(item_module, "released", released)
        assert (await one.finish()).state is State.APPLIED
    assert len(waits) == 2


@pytest.mark.usefixtures("inline")
async def test_a_dry_run_knows_which_of_two_look_alikes_the_journal_has(tmp_path: Path) -> None:
    request = attrs.evolve(LINK, order_number="A-1")
    same = attrs.evolve(LINK, order_number="a1")
    with shop(bench(CREATED), tmp_path / "payments.db") as one:
        await one.finish(request)
    client = AsyncChat2Pay(
        "secret-key", base_url="https://s.test", journal=tmp_path / "payments.db"
    )
    async with client:
        run = bulk.create_payment_links(client, [same, request], dry_run=True, run="spring")
        async with run:
            refused = [outcome.key async for outcome in run if outcome.state is State.REJECTED]
        assert run.forecast is not None
        assert (run.forecast.lookalikes, run.forecast.final) == (1, 1)
    assert refused == ["a1"]


@pytest.mark.usefixtures("inline")
async def test_a_row_that_is_gone_and_has_no_successor_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "payments.db"
    with shop(bench(CREATED), path) as one:
        await one.finish()
    other = attrs.evolve(LINK, order_number="B-1", total_amount="1.00")
    async with AsyncChat2Pay("secret-key", base_url="https://s.test", journal=path) as client:
        run = bulk.create_payment_links(client, [other], dry_run=True, run="spring")
        async with run:
            assert [outcome async for outcome in run] == []
        assert run.forecast is not None
        assert (run.forecast.gone, run.forecast.moved) == (1, {})


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("shown", [0, 1])
async def test_a_row_that_is_gone_and_comes_under_another_name_is_a_look_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    path = tmp_path / "payments.db"
    with shop(bench(CREATED), path) as one:
        await one.finish()
    monkeypatch.setattr(bulk.Forecast, "SHOWN", shown)
    renamed = attrs.evolve(LINK, order_number="B-1")
    async with AsyncChat2Pay("secret-key", base_url="https://s.test", journal=path) as client:
        run = bulk.create_payment_links(client, [renamed], dry_run=True, run="spring")
        async with run:
            assert [outcome async for outcome in run] == []
        assert run.forecast is not None
        assert (run.forecast.gone, run.forecast.lookalikes) == (1, 1)
        assert len(run.forecast.lookalike_keys) == shown
