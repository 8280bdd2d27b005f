"""Journal on SQLite: what each method of a store promises, in one process and among several."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import ACCOUNT, LINK, PHONE, abandon, claim, in_thread, intent, opened, state_of

from chat2pay_async._journal.opening import Note, Opened
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Account, Answer, End, Response, RowState
from chat2pay_async._journal.writer import Entry
from chat2pay_async.errors import JournalError

pytestmark = pytest.mark.anyio

APPLIED = End(RowState.APPLIED, b"{}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "payments.db"


async def sent(store: SQLiteStore, key: str = "A-1", end: End | None = APPLIED) -> str:
    """Claim and send a key; end it."""
    token = (await store.claim(claim(key))).token
    assert token is not None
    assert await store.record_intent(token, intent(key))
    if end is not None:
        assert await store.record_end(token, end)
    return token


async def history(store: SQLiteStore) -> list[tuple[str, bytes]]:
    query = "SELECT what, body FROM history ORDER BY id"
    found: list[tuple[str, bytes]] = await in_thread(
        store, lambda opened: opened.database.db.execute(query).fetchall()
    )
    return found


# Claims -------------------------------------------------------------------------------------------


async def test_a_key_that_is_new_is_claimed_and_held_from_all_others(path: Path) -> None:
    async with opened(path) as one, opened(path) as two:
        claimed = await one.claim(claim())
        assert (claimed.answer, claimed.row) == (Answer.NEW, None)
        for store in (one, two):
            held = await store.claim(claim())
            assert (held.answer, held.token) == (Answer.HELD, None)
            assert held.row.state is RowState.CLAIMED
            found = await store.find(LINK, "A-1")
            assert found.answer is Answer.HELD
        assert await two.find(LINK, "A-2") is None


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (RowState.APPLIED, Answer.ENDED),
        (RowState.REJECTED, Answer.NEW),
        (RowState.FAILED, Answer.NEW),
        (RowState.UNKNOWN, Answer.OPEN),
    ],
)
async def test_a_key_that_has_ended_is_answered_by_its_state(
    path: Path, state: RowState, answer: Answer
) -> None:
    async with opened(path) as one, opened(path) as two:
        await sent(one, end=End(state, b"said", b"result", b"detail"))
        found = await two.find(LINK, "A-1")
        assert found.answer is answer
        claimed = await two.claim(claim(content=b'{"to":"other"}', identity="I", run=None))
        assert claimed.answer is answer
        assert claimed.row == found.row
        assert claimed.row.state is state
        assert (claimed.row.response, claimed.row.result) == (b"said", b"result")
        assert (claimed.token is None) is (answer is Answer.ENDED)
        now = (await one.find(LINK, "A-1")).row
        assert now.content == (b'{"to":"other"}' if answer is Answer.NEW else found.row.content)
        if claimed.token is not None:
            await two.release(claimed.token)
        assert await one.find(LINK, "A-1") == found


async def test_a_rejected_key_is_only_shown_where_that_is_asked(path: Path) -> None:
    async with opened(path) as one:
        await sent(one, end=End(RowState.REJECTED))
        shown = await one.claim(claim(takes_rejected=False))
        assert (shown.answer, shown.token) == (Answer.ENDED, None)
        again = SQLiteStore(path)
        await again.open(ACCOUNT)
        assert (await again.claim(claim())).answer is Answer.NEW
        await abandon(again)
        shown = await one.claim(claim(takes_rejected=False))
        assert (shown.answer, shown.row.state) == (Answer.ENDED, RowState.REJECTED)


async def test_what_a_dead_session_sent_is_open_and_what_it_only_claimed_is_new(
    path: Path,
) -> None:
    dead = SQLiteStore(path)
    await dead.open(ACCOUNT)
    await sent(dead, "sent", end=None)
    await dead.claim(claim("claimed"))
    await abandon(dead)
    async with opened(path) as one:
        first = await one.claim(claim("sent", content=b'{"to":"other"}'))
        assert first.answer is Answer.OPEN
        assert first.row.state is RowState.SENT
        assert PHONE.encode() in first.row.content
        second = await one.claim(claim("claimed"))
        assert (second.answer, second.row) == (Answer.NEW, None)
        await one.release(first.token)
        assert (await one.claim(claim("sent"))).answer is Answer.OPEN


async def test_a_taken_claim_writes_nothing_any_more(path: Path) -> None:
    frozen = SQLiteStore(path)
    await frozen.open(ACCOUNT)
    token = await sent(frozen, end=None)
    await in_thread(frozen, lambda opened: opened.session.drop())
    async with opened(path) as one:
        taken = await one.claim(claim())
        assert taken.answer is Answer.OPEN
        assert not await frozen.record_intent(token, intent())
        assert not await frozen.record_end(token, APPLIED)
        await frozen.release(token)
        assert await state_of(one) is RowState.SENT
        assert await one.record_end(taken.token, APPLIED)
    await frozen.aclose()


async def test_many_claims_are_answered_in_order_each_key_once(path: Path) -> None:
    async with opened(path) as one:
        await sent(one, "B")
        answers = await one.claim_all([claim("A"), claim("B"), claim("A")])
        assert [claimed.answer for claimed in answers] == [Answer.NEW, Answer.ENDED, Answer.HELD]
        many = await one.claim_all([claim(f"C-{number}") for number in range(900)])
        assert len({claimed.token for claimed in many}) == 900
        assert len(await one.find_all(LINK, [f"C-{number}" for number in range(901)])) == 900


async def test_a_released_row_is_as_it_was(path: Path) -> None:
    async with opened(path) as one:
        new = await one.claim(claim())
        await one.release(new.token)
        assert await one.find(LINK, "A-1") is None
        await one.open_run("spring", LINK, {})
        await sent(one, end=End(RowState.REJECTED))
        before = await one.find(LINK, "A-1")
        changed = await one.claim(claim(content=b"{}", identity="other", run="spring"))
        during = (await one.find(LINK, "A-1")).row
        assert (during.identity, during.claimed_by.run) == ("other", "spring")
        await one.release(changed.token)
        await one.release(changed.token)
        assert await one.find(LINK, "A-1") == before


# Notes --------------------------------------------------------------------------------------------


async def test_an_intent_has_the_exact_request(path: Path) -> None:
    async with opened(path) as one:
        token = await sent(one, end=None)
        row = (await one.find(LINK, "A-1")).row
        assert row.sent == intent().pending.request
        assert row.pending(ACCOUNT).first_attempt == intent().pending.first_attempt
        assert row.pending(ACCOUNT).request_id == "id-0"
        assert (row.posts, row.state) == (1, RowState.SENT)
        assert await one.record_intent(token, intent(posts=1, content=b'{"to":"new"}'))
        row = (await one.find(LINK, "A-1")).row
        assert (row.posts, row.content, row.request_id) == (2, b'{"to":"new"}', "id-1")


async def test_earlier_requests_and_responses_are_kept(path: Path) -> None:
    async with opened(path) as one:
        token = await sent(one, end=None)
        one.record_response(token, Response(intent().pending.first_attempt.started_at, 429, b"r1"))
        assert await one.record_intent(token, intent(posts=1))
        await one.record_end(token, End(RowState.REJECTED, b"r2"))
        token = (await one.claim(claim())).token
        assert await one.record_intent(token, intent(posts=2))
        assert [what for what, _ in await history(one)] == [
            "response",
            "request",
            "request",
            "response",
        ]
        assert [body for what, body in await history(one) if what == "response"] == [b"r1", b"r2"]


async def test_an_end_keeps_the_response_that_is_known(path: Path) -> None:
    async with opened(path) as one:
        await sent(one, end=End(RowState.UNKNOWN, b"known"))
        row = (await one.find(LINK, "A-1")).row
        assert await one.end_open(row, End(RowState.APPLIED, result=b"looked up"))
        row = (await one.find(LINK, "A-1")).row
        assert (row.response, row.result, row.ended_at is None) == (b"known", b"looked up", False)


async def test_only_the_very_post_that_is_open_is_settled_from_outside(path: Path) -> None:
    async with opened(path) as one:
        await sent(one, end=End(RowState.UNKNOWN))
        old = (await one.find(LINK, "A-1")).row
        token = (await one.claim(claim())).token
        assert not await one.end_open(old, APPLIED)
        await one.record_intent(token, intent(posts=1))
        await one.record_end(token, End(RowState.UNKNOWN))
        assert not await one.end_open(old, APPLIED)
        now = (await one.find(LINK, "A-1")).row
        assert await one.end_open(now, APPLIED)
        assert not await one.end_open(now, APPLIED)
        await one.prune(timedelta(seconds=-1))
        assert not await one.end_open(now, APPLIED)


# Cancellation -------------------------------------------------------------------------------------


async def cancelled(call: Callable[[], Coroutine[Any, Any, Any]], *, natively: bool) -> None:
    """Cancel a call while it waits."""
    if natively:
        task = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


@pytest.fixture(params=[False, True], ids=["scope", "task.cancel"])
def natively(request: pytest.FixtureRequest, anyio_backend_name: str) -> bool:
    if request.param and anyio_backend_name != "asyncio":
        pytest.skip("trio has no other cancellation")
    return bool(request.param)


async def test_a_cancelled_claim_is_given_back(path: Path, natively: bool) -> None:  # noqa: FBT001 - a parameter
    async with opened(path) as one:
        await sent(one, "open", end=End(RowState.UNKNOWN))
        await sent(one, "applied")
        await cancelled(lambda: one.claim(claim()), natively=natively)
        await cancelled(lambda: one.claim_all([claim("open"), claim("applied")]), natively=natively)
        await cancelled(lambda: one.take_over(5), natively=natively)
        assert await one.find(LINK, "A-1") is None
        assert (await one.claim(claim("open"))).answer is Answer.OPEN


async def test_a_cancelled_end_is_written(path: Path, natively: bool) -> None:  # noqa: FBT001 - a parameter
    async with opened(path) as one:
        token = await sent(one, end=None)
        await cancelled(lambda: one.record_end(token, APPLIED), natively=natively)
        assert await state_of(one) is RowState.APPLIED
        token = (await one.claim(claim("B"))).token
        await cancelled(lambda: one.release(token), natively=natively)
        assert await one.find(LINK, "B") is None


async def test_a_cancelled_close_is_complete(path: Path, natively: bool) -> None:  # noqa: FBT001 - a parameter
    one = SQLiteStore(path)
    await one.open(ACCOUNT)
    await one.claim(claim())
    await cancelled(one.aclose, natively=natively)
    assert not path.with_name("payments.db-wal").exists()
    assert not list(path.with_name("payments.db-sessions").iterdir())
    async with opened(path) as two:
        assert await two.find(LINK, "A-1") is None


async def test_a_cancelled_opening_leaves_nothing_open(path: Path, natively: bool) -> None:  # noqa: FBT001 - a parameter
    one = SQLiteStore(path)
    await cancelled(lambda: one.open(ACCOUNT), natively=natively)
    with pytest.raises(JournalError, match="is not open"):
        await one.claim(claim())
    await one.open(ACCOUNT)
    await one.aclose()
    await one.aclose()


async def test_another_task_that_opens_meanwhile_is_not_disturbed(path: Path) -> None:
    one = SQLiteStore(path)
    async with anyio.create_task_group() as others, anyio.create_task_group() as group:
        group.start_soon(one.open, ACCOUNT)
        await anyio.lowlevel.checkpoint()
        others.start_soon(one.open, ACCOUNT)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert (await one.claim(claim())).answer is Answer.NEW
    with pytest.raises(JournalError, match="open for another account"):
        await one.open(Account("https://api.example", "other"))
    await one.open(ACCOUNT)
    await one.aclose()


# What is open, runs, pages ------------------------------------------------------------------------


async def test_open_rows_of_the_dead_are_taken_over_in_order(path: Path) -> None:
    dead = SQLiteStore(path)
    await dead.open(ACCOUNT)
    await dead.open_run("spring", LINK, {})
    for key in ("A", "B", "C"):
        token = (await dead.claim(claim(key, run="spring" if key == "C" else None))).token
        assert token is not None
        await dead.record_intent(token, intent(key))
    await dead.claim(claim("claimed"))
    await abandon(dead)
    async with opened(path) as one, opened(path) as two:
        assert [taken.row.key for taken in await one.take_over(1)] == ["A"]
        assert [taken.row.key for taken in await two.take_over(9, run="spring")] == ["C"]
        assert await two.take_over(9, operation="capture_payment") == []
        assert await two.take_over(9, after=2) == []
        (last,) = await two.take_over(9)
        assert last.row.key == "B"
        assert last.answer is Answer.OPEN
        assert await two.record_end(last.token, APPLIED)
        assert await one.find(LINK, "claimed") is None


async def test_a_run_has_its_keys_whoever_sent_them(path: Path) -> None:
    async with opened(path) as one:
        with pytest.raises(JournalError, match="was not opened"):
            await one.claim_all([claim("X"), claim("A", run="spring")])
        assert await one.find(LINK, "X") is None
        assert await one.open_run("spring", LINK, {"source": "a.csv"}) is None
        await sent(one, "A")
        answers = await one.claim_all(
            [claim("A", run="spring", line=1), claim("B", run="spring", line=2)]
        )
        assert [claimed.answer for claimed in answers] == [Answer.ENDED, Answer.NEW]
        assert await one.unseen("spring") == []
        await one.record_intent(answers[1].token, intent("B"))
        await one.record_end(answers[1].token, End(RowState.FAILED))
        record = await one.open_run("spring", LINK, {})
        assert record.settings == {"source": "a.csv"}
        assert record.counts == {RowState.APPLIED: 1, RowState.FAILED: 1}
        await one.claim(claim("A", run="spring", line=7))
        assert [row.key for row in await one.unseen("spring")] == ["B"]
        assert [(row.key, line) for row, line in await one.rows(run="spring")] == [
            ("A", 7),
            ("B", 2),
        ]
        with pytest.raises(JournalError, match="is one of create_payment_link"):
            await one.open_run("spring", "capture_payment", {})
        await one.open_run("summer", LINK, {})
        assert [run.name for run in await one.runs()] == ["summer", "spring"]
        assert await one.unseen("unknown") == []


async def test_rows_come_in_pages(path: Path) -> None:
    async with opened(path) as one:
        for key in ("A", "B", "C"):
            await sent(one, key, APPLIED if key != "B" else End(RowState.UNKNOWN))
        first = await one.rows(limit=2)
        assert [(row.key, line) for row, line in first] == [("A", None), ("B", None)]
        assert [row.key for row, _ in await one.rows(after=first[-1][0].id)] == ["C"]
        asked = frozenset({RowState.UNKNOWN})
        assert [row.key for row, _ in await one.rows(operation=LINK, states=asked)] == ["B"]
        assert await one.rows(operation="capture_payment") == []


async def test_a_page_of_a_run_is_read_without_sorting_all_its_rows(path: Path) -> None:
    async with opened(path) as one:
        await one.open_run("spring", "create_payment_link", {})
        asked: list[str] = []
        await in_thread(one, lambda found: found.database.db.set_trace_callback(asked.append))
        await one.rows(run="spring")
        await one.rows(states=frozenset({RowState.APPLIED}))
        await one.unseen("spring")
        await in_thread(one, lambda found: found.database.db.set_trace_callback(None))
        pages = [query for query in asked if "LIMIT" in query]
        plans = [
            await in_thread(
                one,
                lambda found, query=query: found.database.db.execute(
                    f"EXPLAIN QUERY PLAN {query}"
                ).fetchall(),
            )
            for query in pages
        ]
    assert len(plans) == 3
    assert not [step for plan in plans for step in plan if "TEMP B-TREE" in step[-1]]


async def test_lookalikes_and_rows_of_an_identity_are_found(path: Path) -> None:
    async with opened(path) as one:
        await one.claim_all(
            [claim("001", folded="1"), claim("1", folded="1"), claim("K", identity="001")]
        )
        found = await one.lookalikes(LINK, ["1", "1", "x"])
        assert {alike: sorted(keys) for alike, keys in found.items()} == {"1": ["001", "1"]}
        assert {row.key for row in await one.rows_of_identity(LINK, "001")} == {"001", "K"}


async def test_of_notes_that_are_written_together_those_of_lost_claims_alone_are_not(
    path: Path,
) -> None:
    async with opened(path) as one:
        tokens = [(await one.claim(claim(key))).token for key in "ABC"]
        taken = "UPDATE item SET token = '2-another' WHERE key = 'B'"
        await in_thread(one, lambda opened: opened.database.db.execute(taken))
        for write, note in ((Opened.record_intents, intent()), (Opened.record_ends, APPLIED)):
            notes = [Note(write, token, note) for token in tokens]
            assert await together(one, notes) == [True, False, True]
        assert [await state_of(one, key) for key in "ABC"] == [
            *(RowState.APPLIED, RowState.CLAIMED, RowState.APPLIED)
        ]


async def test_notes_on_one_claim_are_written_in_their_order(path: Path) -> None:
    async with opened(path) as one:
        first, second = [(await one.claim(claim(key))).token for key in "AB"]
        notes = [
            Note(Opened.record_intents, first, intent("A")),
            Note(Opened.record_ends, first, APPLIED),
            Note(Opened.record_intents, first, intent("A", posts=1)),
            Note(Opened.record_intents, second, intent("B")),
        ]
        assert await together(one, notes) == [True, True, False, True]
        assert await state_of(one, "A") is RowState.APPLIED
        assert await state_of(one, "B") is RowState.SENT


async def together(store: Any, notes: list[Note]) -> list[Any]:
    """Write notes in one batch."""
    entries = [Entry[Any](note, is_alone=False, is_awaited=False) for note in notes]
    await in_thread(store, lambda opened: opened.work_off(entries))
    assert not any(entry.error for entry in entries)
    return [entry.result for entry in entries]


# Care ---------------------------------------------------------------------------------------------


async def test_finished_requests_leave_no_phone_number_in_the_file(path: Path) -> None:
    async with opened(path, keep="results") as one:
        token = await sent(one, end=None)
        await one.record_intent(token, intent(posts=1))
        assert PHONE.encode() in (await one.find(LINK, "A-1")).row.body
        await one.record_end(token, APPLIED)
        row = (await one.find(LINK, "A-1")).row
        assert (row.sent, row.posts) == (None, 2)
        await sent(one, "open", End(RowState.UNKNOWN))
        row = (await one.find(LINK, "open")).row
        assert row.sent is not None
        await one.end_open(row, End(RowState.REJECTED))
    for file in path.parent.rglob("payments*"):
        assert file.is_dir() or PHONE.encode() not in file.read_bytes(), file


async def test_what_ended_long_ago_is_pruned(path: Path) -> None:
    async with opened(path) as one:
        await one.open_run("spring", LINK, {})
        token = (await one.claim(claim(run="spring"))).token
        await one.record_intent(token, intent())
        await one.record_intent(token, intent(posts=1))
        await one.record_end(token, APPLIED)
        await sent(one, "open", End(RowState.UNKNOWN))
        assert await one.prune(timedelta(days=400)) == 0
        assert await one.prune(timedelta(seconds=-1)) == 1
        assert (await one.runs(), await history(one)) == ([], [])
        checked = await one.check()
        assert (checked.is_sound, checked.rows, checked.open_rows) == (True, 1, 1)
        assert (checked.sessions, checked.is_lossy) == (1, False)


async def test_a_backup_is_whole_and_used_only_where_loss_is_accepted(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    async with opened(path) as one:
        await sent(one)
        await one.claim(claim("held"))
        await one.backup(copy)
        assert copy.stat().st_mode & 0o777 == 0o600
        with pytest.raises(JournalError, match="exists already"):
            await one.backup(copy)
        with pytest.raises(JournalError, match="can't be"):
            await one.backup(tmp_path / "none" / "copy.db")
    with pytest.raises(JournalError, match="is a backup"):
        await SQLiteStore(copy).open(ACCOUNT)
    async with opened(copy, accept_loss=True) as two:
        assert two.is_lossy
        assert (await two.claim(claim())).answer is Answer.ENDED
        assert (await two.claim(claim("held"))).answer is Answer.NEW
    async with opened(copy) as two:
        assert two.is_lossy
        await two.clear_loss()
        assert not two.is_lossy
    async with opened(copy) as two:
        assert not two.is_lossy


# Faults -------------------------------------------------------------------------------------------


async def test_what_could_not_be_given_back_is_once_the_disk_has_room(path: Path) -> None:
    async with opened(path) as one, opened(path) as two:
        await sent(one, "rejected", End(RowState.REJECTED))
        token = await sent(one, end=None)
        held = (await one.claim(claim("held"))).token

        async def limit(pages: int) -> None:
            await in_thread(
                one,
                lambda opened: opened.database.db.execute(f"PRAGMA max_page_count = {pages}"),
            )

        await limit(1)  # that is: what it has now
        big = b"x" * 100_000
        calls: tuple[Callable[[], Coroutine[Any, Any, Any]], ...] = (
            partial(one.record_end, token, End(RowState.APPLIED, big)),
            partial(one.claim_all, [claim("rejected"), claim("B", content=big)]),
        )
        for call in calls:
            with pytest.raises(JournalError, match="disk is full"):
                await call()
        assert (await two.claim(claim("held"))).answer is Answer.HELD
        await limit(1_000_000)
        await one.release(held)
        assert (await two.claim(claim())).answer is Answer.OPEN
        assert (await two.claim(claim("rejected"))).answer is Answer.NEW
        assert await two.find(LINK, "B") is None


@pytest.mark.parametrize("ends", [True, False])
async def test_what_could_not_be_given_back_is_once_the_file_is_not_locked(
    path: Path, *, ends: bool
) -> None:
    """A transaction that can't begin does nothing of what it has to: that is kept all the same."""
    async with opened(path) as one, opened(path) as two:
        token = await sent(one, end=None)
        hurried = "PRAGMA busy_timeout = 1"
        await in_thread(one, lambda opened: opened.database.db.execute(hurried))
        with closing(sqlite3.connect(path, isolation_level=None)) as frozen:
            frozen.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="was locked by another process"):
                await (one.record_end(token, APPLIED) if ends else one.release(token))
        assert (await two.find(LINK, "A-1")).answer is Answer.HELD
        assert await one.find(LINK, "B") is None  # whatever comes next
        assert (await two.find(LINK, "A-1")).answer is Answer.OPEN


async def test_what_is_given_back_in_a_batch_that_fails_before_it_is_free_later(
    path: Path,
) -> None:
    async with opened(path) as one, opened(path) as two:
        token = await sent(one, end=None)
        full = "PRAGMA max_page_count = 1"  # that is: what it has now
        await in_thread(one, lambda opened: opened.database.db.execute(full))
        big = claim("B", content=b"x" * 100_000)
        works: list[Any] = [
            lambda opened: opened.database.claim_all([big]),
            Note(Opened.record_ends, token, APPLIED),
        ]
        entries = [Entry[Any](work, is_alone=False, is_awaited=False) for work in works]
        await in_thread(one, lambda opened: opened.work_off(entries))
        assert all(isinstance(entry.error, JournalError) for entry in entries)
        free = "PRAGMA max_page_count = 1000000"
        await in_thread(one, lambda opened: opened.database.db.execute(free))
        assert await one.find(LINK, "B") is None
        assert (await two.find(LINK, "A-1")).answer is Answer.OPEN


async def test_a_value_that_cannot_be_written_fails_alone(path: Path) -> None:
    async with opened(path) as one:
        outcomes: dict[str, object] = {}

        async def ask(key: str) -> None:
            try:
                outcomes[key] = (await one.claim(claim(key))).answer
            except UnicodeEncodeError as error:
                outcomes[key] = type(error)

        async with anyio.create_task_group() as group:
            for key in ("A", "\ud800", "B"):
                group.start_soon(ask, key)
        assert outcomes == {"A": Answer.NEW, "\ud800": UnicodeEncodeError, "B": Answer.NEW}
        with pytest.raises(ZeroDivisionError):
            await in_thread(one, lambda _: 1 / 0)


async def test_a_commit_that_could_not_be_noted_holds_no_claim(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as one:
        session = await in_thread(one, lambda opened: opened.session)

        def refuse(_: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(session, "note", refuse)
        with pytest.raises(JournalError, match="Input/output error"):
            await one.claim(claim())
        monkeypatch.undo()
        assert (await one.claim(claim("B"))).answer is Answer.NEW
        assert await one.find(LINK, "A-1") is None


# Ends ---------------------------------------------------------------------------------------------


def journal_threads() -> int:
    return sum(thread.name == "chat2pay-journal" for thread in threading.enumerate())


async def test_no_thread_outlives_a_store_that_is_closed_or_dropped(path: Path) -> None:
    before = journal_threads()
    async with opened(path) as one:
        await one.claim(claim())
        assert journal_threads() == before + 1
    assert journal_threads() == before
    one = SQLiteStore(path)
    await one.open(ACCOUNT)
    await one.claim(claim())
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    assert journal_threads() == before
    async with opened(path) as two:
        assert await two.find(LINK, "A-1") is None


async def test_an_opening_that_fails_is_told_to_all_and_can_be_tried_again(path: Path) -> None:
    path.write_bytes(b"")  # noqa: ASYNC240 - at once
    one = SQLiteStore(path)
    with pytest.raises(JournalError, match="is empty"):
        await one.open(ACCOUNT)
    errors: list[str] = []

    async def attempt() -> None:
        try:
            await one.open(ACCOUNT)
        except JournalError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as group:
        group.start_soon(attempt)
        group.start_soon(attempt)
    assert len(errors) == 2
    one._start(ACCOUNT)
    with pytest.raises(JournalError, match="is empty"):
        await one.claim(claim())
    await one.aclose()
    path.unlink()  # noqa: ASYNC240 - at once
    await one.open(ACCOUNT)
    await one.aclose()


async def test_an_opening_that_fails_oddly_does_not_hang(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Opened:
        raise MemoryError

    monkeypatch.setattr("chat2pay_async._journal.sqlite_store.begin", fail)
    with pytest.raises(MemoryError):
        await SQLiteStore(path).open(ACCOUNT)


# Law ----------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "intent", "end", "release", "die"]),
        st.integers(0, 1),
        st.sampled_from("AB"),
        st.sampled_from([RowState.APPLIED, RowState.REJECTED, RowState.UNKNOWN]),
    ),
    max_size=30,
)


class Model:
    """Answers that two stores must give: each key's state, and who holds it."""

    def __init__(self) -> None:
        self.state: dict[str, RowState] = {}
        self.held: dict[str, tuple[int, RowState | None]] = {}

    def answer(self, key: str) -> Answer:
        if key in self.held:
            return Answer.HELD
        state = self.state.get(key)
        if state in {RowState.SENT, RowState.UNKNOWN}:
            return Answer.OPEN
        return Answer.ENDED if state is RowState.APPLIED else Answer.NEW

    def free(self, key: str) -> None:
        _store, before = self.held.pop(key)
        if self.state[key] is RowState.CLAIMED:
            del self.state[key]
            if before is not None:
                self.state[key] = before


@given(steps=STEPS)
def test_claims_are_answered_as_by_a_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str, RowState]]
) -> None:
    anyio.run(follow, tmp_path_factory.mktemp("law") / "payments.db", steps)


async def follow(  # noqa: C901, PLR0912 - one branch a step
    path: Path, steps: list[tuple[str, int, str, RowState]]
) -> None:
    model, tokens = Model(), dict[tuple[int, str], str]()
    stores = [SQLiteStore(path), SQLiteStore(path)]
    for store in stores:
        await store.open(ACCOUNT)
    for step, who, key, state in steps:
        token, is_mine = tokens.get((who, key), "none"), model.held.get(key, (-1,))[0] == who
        if step == "claim":
            claimed = await stores[who].claim(claim(key))
            assert claimed.answer is model.answer(key)
            if claimed.token is not None:
                tokens[who, key] = claimed.token
                before = model.state.get(key)
                model.held[key] = who, before
                if claimed.answer is Answer.NEW:
                    model.state[key] = RowState.CLAIMED
        elif step == "intent":
            assert await stores[who].record_intent(token, intent(key)) is is_mine
            if is_mine:
                model.state[key] = RowState.SENT
        elif step == "end":
            assert await stores[who].record_end(token, End(state)) is is_mine
            if is_mine:
                del model.held[key]
                model.state[key] = state
        elif step == "release":
            await stores[who].release(token)
            if is_mine:
                model.free(key)
        else:
            await abandon(stores[who])
            stores[who] = SQLiteStore(path)
            await stores[who].open(ACCOUNT)
            for one in [one for one, held in model.held.items() if held[0] == who]:
                model.free(one)
        answer = await stores[1 - who].find(LINK, key)
        assert (Answer.NEW if answer is None else answer.answer) is model.answer(key)
    for store in stores:
        await store.aclose()
