"""Store of a run: its keys, and what it writes of its items, with and without a journal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import pytest
import uvloop

from chat2pay_async import models
from chat2pay_async._bulk import store as module
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.serialization import read_detail
from chat2pay_async._bulk.store import ItemLog, Registered, RunStore
from chat2pay_async._journal.base import Intent, Response, Result, Row
from chat2pay_async._journal.key_index import BloomFilter, KeyIndex
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Attempt, JournalError, Pending, Proof, SentRequest

pytestmark = pytest.mark.anyio

BINDING = Binding("create_payment_link", "https://api.example", "f00d")
NOON = datetime(2021, 4, 27, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=5)
SENT = SentRequest("POST", "/api/v2/chat-2-pay", bytes(range(256)))
UNANSWERED = Attempt(NOON, 0.5, Proof.UNKNOWN, error="ReadTimeout")
ANSWERED = Attempt(NOON, 0.5, Proof.UNKNOWN, 503)
PENDING = Pending(
    "create_payment_link", "A-1", SENT, "https://s.test", "f00d", "id-1", UNANSWERED, UNANSWERED
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "spring.db")


@asynccontextmanager
async def opened(journal: Journal | None) -> AsyncIterator[RunStore]:
    """Open and serve a store, as a run does."""
    store = RunStore(journal)
    await store.open(BINDING)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.serve)
        try:
            yield store
        finally:
            tasks.cancel_scope.cancel()
    await store.close()


async def registered_in(store: RunStore, key: str, recipient: str | None = None) -> Registered:
    """Register a key as a run does."""
    if store.register(key, recipient):
        await store.index()
        return Registered(repeated=False)
    (registered,) = await store.look_up([(key, recipient)])
    return registered


def earlier(journal: Journal, **states: str) -> None:
    """Make a journal as an earlier run leaves it: rows of these keys in these states."""
    journal.open(BINDING)
    journal.write([intent(key) for key in states])
    ends = {key: state for key, state in states.items() if state != "sent"}
    journal.write(
        [Result(key, state, None, None, b'{"attempts":[]}') for key, state in ends.items()]
    )
    journal.close()


def intent(key: str) -> Intent:
    return Intent(key, pending(NOON))


def pending(at: datetime) -> Pending:
    return attrs.evolve(PENDING, last_attempt=attrs.evolve(UNANSWERED, started_at=at))


def row_of(journal: Journal, key: str = "A-1") -> Row | None:
    return journal.rows([key]).get(key)


def history(journal: Journal) -> list[tuple[Any, ...]]:
    query = "SELECT key, at, what, status, body FROM history ORDER BY id"
    return list(journal._opened().execute(query))


async def leave(log: ItemLog, at: datetime = NOON, *, sent: SentRequest = SENT) -> None:
    await log.record_intent(attrs.evolve(pending(at), request=sent))


def sent_before(log: ItemLog) -> Pending | None:
    return log.sent_before


def outcome(state: State = State.APPLIED, **fields: Any) -> Outcome[Any, Any]:
    return Outcome("A-1", None, state, **fields)


def answer(status: int = 201, body: bytes = b'{"paymentLinkRef": "ref-1"}') -> WireResponse:
    return WireResponse(status, {}, body)


# Keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("journalled", [False, True])
async def test_a_repeated_key_is_reported(
    journal: Journal,
    journalled: bool,  # noqa: FBT001 - a column
) -> None:
    async with opened(journal if journalled else None) as store:
        reported = [
            (await registered_in(store, key)).repeated
            for key in ("A-1", "A-2", "A-1", "a-1", "A-1")
        ]
    assert reported == [False, False, True, False, True]


async def test_keys_registered_at_once_are_repeated_in_order() -> None:
    async with opened(None) as store:
        registered: dict[int, Registered] = {}

        async def register(number: int) -> None:
            registered[number] = await registered_in(store, f"A-{number % 100}")

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(register, number)
    for key in range(100):
        reported = sorted(registered[number].repeated for number in (key, key + 100, key + 200))
        assert reported == [False, True, True]


async def test_a_key_may_be_repeated_within_a_look_up(journal: Journal) -> None:
    earlier(journal, one="applied", two="applied")
    async with opened(journal) as store:
        assert not any(store.register(key) for key in ("one", "two"))
        known = await store.look_up([("one", None), ("two", None), ("one", None)])
    assert [one.repeated for one in known] == [False, False, True]
    assert [one.row.key for one in known if one.row is not None] == ["one", "two", "one"]


async def test_look_ups_of_one_batch_have_each_their_own_answers(journal: Journal) -> None:
    earlier(journal, one="applied", two="applied", three="applied")
    store = RunStore(journal)
    await store.open(BINDING)
    answers: dict[int, list[str | None]] = {}

    async def look_up(number: int, *keys: str) -> None:
        known = await store.look_up([(key, None) for key in keys])
        answers[number] = [None if one.row is None else one.row.key for one in known]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look_up, 1, "one", "new")
        tasks.start_soon(leave, ItemLog(store, "A-0", again=False))
        tasks.start_soon(look_up, 2, "two")
        tasks.start_soon(look_up, 3, "three", "one")
        await anyio.wait_all_tasks_blocked()
        await store._commits.flush()
    await store.close()
    assert answers == {1: ["one", None], 2: ["two"], 3: ["three", "one"]}


async def test_a_repeated_recipient_is_reported_where_it_is_asked_for() -> None:
    async with opened(None) as store:
        reported = [
            await registered_in(store, "A-1", "27831234567"),
            await registered_in(store, "A-2"),
            await registered_in(store, "A-3", "27831234567"),
            await registered_in(store, "A-4", "27830000000"),
            await registered_in(store, "27831234567", "A-1"),
        ]
    assert [one.recipient_repeated for one in reported] == [False, False, True, False, False]
    assert not any(one.repeated for one in reported)


async def test_recipients_registered_at_once_are_told_apart() -> None:
    async with opened(None) as store:
        registered: dict[int, Registered] = {}

        async def register(number: int) -> None:
            registered[number] = await registered_in(
                store, f"A-{number}", f"to {number}" if number % 3 else None
            )

        for _round in range(2):
            async with anyio.create_task_group() as tasks:
                for number in range(90):
                    tasks.start_soon(register, number)
            reported = {number: one.recipient_repeated for number, one in registered.items()}
            assert reported == {number: bool(_round and number % 3) for number in range(90)}


async def test_registering_a_new_key_waits_for_nothing(journal: Journal) -> None:
    store = RunStore(journal)
    await store.open(BINDING)
    for number in range(10):
        # Nobody serves: to wait would be for ever.
        assert await registered_in(store, f"A-{number}", f"to {number}") == Registered(
            repeated=False
        )
    await store.close()


async def test_the_new_keys_that_wait_in_memory_are_bounded() -> None:
    waiting: list[int] = []
    async with opened(None) as store:
        for number in range(1200):
            assert not (await registered_in(store, f"A-{number}")).repeated
            waiting.append(len(store._unindexed))
        assert max(waiting) == module._UNINDEXED - 1
        assert waiting.count(0) == 2
        assert (await registered_in(store, "A-1199")).repeated


async def test_a_filter_that_recognizes_nothing_only_costs_time(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier(journal, old="applied")
    monkeypatch.setattr(BloomFilter, "add", lambda _self, _text: False)
    async with opened(journal) as store:
        reported = [
            await registered_in(store, key, "27831234567") for key in ("old", "A-1", "A-2", "A-1")
        ]
    assert [one.repeated for one in reported] == [False, False, False, True]
    assert [one.recipient_repeated for one in reported] == [False, True, True, True]
    assert [one.row is not None for one in reported] == [True, False, False, False]


async def test_a_key_is_repeated_though_its_first_registration_was_not_awaited(
    journal: Journal,
) -> None:
    async with opened(journal) as store:
        reported: list[tuple[int, bool]] = []

        async def register(number: int) -> None:
            reported.append((number, (await registered_in(store, "A-1")).repeated))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(register, 1)
            tasks.start_soon(register, 2)
            tasks.start_soon(leave, ItemLog(store, "A-0", again=False))
        assert sorted(repeated for _, repeated in reported) == [False, True]


async def test_a_store_without_a_journal_has_no_rows() -> None:
    async with opened(None) as store:
        assert await registered_in(store, "A-1") == Registered(repeated=False)
        assert [row async for row in store.unresolved_rows()] == []


async def test_register_returns_the_row_of_the_journal(journal: Journal) -> None:
    earlier(journal, final="applied", open="sent")
    async with opened(journal) as store:
        final, unknown = await registered_in(store, "final"), await registered_in(store, "open")
        assert (final.repeated, final.resumed) == (False, False)
        assert final.row is not None
        assert (final.row.state, final.row.body) == ("applied", SENT.body)
        assert unknown.row is not None
        assert unknown.row.state == "sent"
        assert (await registered_in(store, "new")).row is None


# Rows of an earlier run ---------------------------------------------------------------------------


async def test_unresolved_rows_are_resumed_without_their_source(
    journal: Journal,
) -> None:
    earlier(journal, one="sent", two="unknown", three="applied", four="failed", five="rejected")
    async with opened(journal) as store:
        assert [row.key async for row in store.unresolved_rows()] == ["one", "two"]
        reported = {
            key: await registered_in(store, key) for key in ("one", "two", "three", "four", "five")
        }
    assert {key for key, one in reported.items() if one.resumed} == {"one", "two"}
    assert not any(one.repeated for one in reported.values())


async def test_any_number_of_rows_is_resumed_in_order(journal: Journal) -> None:
    keys = [f"A-{number}" for number in range(250)]
    earlier(journal, **dict.fromkeys(keys, "sent"))
    async with opened(journal) as store:
        assert [row.key async for row in store.unresolved_rows()] == keys
        assert (await registered_in(store, "A-0")).resumed
        assert (await registered_in(store, "A-249")).resumed


async def test_a_row_is_resumed_once_though_it_is_unresolved_again(
    journal: Journal,
) -> None:
    keys = [f"A-{number}" for number in range(150)]
    earlier(journal, **dict.fromkeys(keys, "sent"))
    taken: list[str] = []
    async with opened(journal) as store:
        async with aclosing(store.unresolved_rows()) as rows:
            async for row in rows:
                taken.append(row.key)
                await leave(ItemLog(store, row.key, again=True))
        assert taken == keys


async def test_a_row_reconciled_in_this_run_still_counts_as_resumed(journal: Journal) -> None:
    earlier(journal, **{"A-1": "sent"})
    async with opened(journal) as store:
        assert [row.key async for row in store.unresolved_rows()] == ["A-1"]
        await store.record_outcome(outcome(), None)
        registered = await registered_in(store, "A-1")
        assert registered.resumed
        assert registered.row is not None
        assert registered.row.state == "applied"


# Entries ------------------------------------------------------------------------------------------


async def test_an_intent_is_in_the_journal_when_it_is_recorded(journal: Journal) -> None:
    async with opened(journal) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        row = row_of(journal)
        assert row is not None
        assert not journal._opened().in_transaction
        assert (row.state, row.sent, row.request_id) == ("sent", SENT, "id-1")
        assert (row.first_at, row.last_at, row.posts) == (NOON.timestamp(), NOON.timestamp(), 1)


async def test_record_intent_waits_for_the_disk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, write = threading.Event(), threading.Event(), journal.write

    def slow(notes: Sequence[Any]) -> None:
        begun.set()
        assert go_on.wait(30)
        write(notes)

    monkeypatch.setattr(journal, "write", slow)
    left: list[str] = []

    async def send(log: ItemLog) -> None:
        await leave(log)
        left.append("A-1")

    async with opened(journal) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(send, ItemLog(store, "A-1", again=False))
        assert await anyio.to_thread.run_sync(begun.wait, 30)
        await anyio.wait_all_tasks_blocked()
        assert left == []
        go_on.set()
    assert left == ["A-1"]


async def test_record_outcome_waits_for_the_disk(journal: Journal) -> None:
    async with opened(journal) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        log.record_attempt(ANSWERED, answer())
        assert log.response == answer()
        ended = outcome(result=models.PaymentLink(payment_link_ref="ref-1"), attempts=(ANSWERED,))
        await store.record_outcome(ended, log.response)
        row = row_of(journal)
        assert row is not None
        assert (row.state, row.response, row.result) == ("applied", answer().body, None)
        assert read_detail(row.detail or b"").attempts == (ANSWERED,)
        assert history(journal) == []


async def test_an_outcome_is_written_though_its_task_was_cancelled(
    journal: Journal,
) -> None:
    earlier(journal, **{"A-1": "sent"})
    store = RunStore(journal)
    await store.open(BINDING)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.record_outcome, outcome(), None)  # it waits: the store is not served
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await store.close()
    journal.open_to_read()
    row = row_of(journal)
    journal.close()
    assert row is not None
    assert row.state == "applied"


async def test_a_recovered_result_is_written(journal: Journal) -> None:
    async with opened(journal) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        log.record_attempt(UNANSWERED, None)
        assert log.response is None
        link = models.PaymentLink(payment_link_ref="ref-1", recovered=True)
        await store.record_outcome(outcome(result=link), log.response)
        row = row_of(journal)
        assert row is not None
        assert (row.response, row.result) == (None, b'{"paymentLinkRef":"ref-1"}')
        assert read_detail(row.detail or b"").recovered


async def test_an_unknown_item_keeps_its_response(journal: Journal) -> None:
    async with opened(journal) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        log.record_attempt(ANSWERED, answer(503, b"<html>"))
        log.record_pending(PENDING)
        assert log.pending is PENDING
        await store.record_outcome(outcome(State.UNKNOWN), log.response)
        row = row_of(journal)
        assert row is not None
        assert (row.state, row.response) == ("unknown", b"<html>")


async def test_flush_writes_the_response_of_a_stopped_item(journal: Journal) -> None:
    async with opened(journal) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        log.flush()
        log.record_attempt(ANSWERED, answer(503, b"<html>"))
        log.flush()
        await store._commits.flush()
        assert history(journal) == [("A-1", NOON.timestamp(), "response", 503, b"<html>")]


async def test_every_repeated_post_is_counted_and_every_response_is_written(
    journal: Journal,
) -> None:
    async with opened(journal) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        log.record_attempt(ANSWERED, answer(429, b"slower"))
        await leave(log, LATER)
        assert log.response is None
        log.record_attempt(UNANSWERED, None)
        await leave(log, LATER)
        log.record_attempt(ANSWERED, answer())
        await store.record_outcome(outcome(), log.response)
        row = row_of(journal)
        assert row is not None
        assert (row.posts, row.last_at, row.response) == (3, LATER.timestamp(), answer().body)
        assert sorted(history(journal), key=lambda entry: entry[2]) == [
            ("A-1", NOON.timestamp(), "POST /api/v2/chat-2-pay", None, SENT.body),
            ("A-1", LATER.timestamp(), "POST /api/v2/chat-2-pay", None, SENT.body),
            ("A-1", NOON.timestamp(), "response", 429, b"slower"),
        ]


async def test_a_response_is_written_though_the_next_attempt_was_not_sent(journal: Journal) -> None:
    async with opened(journal) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        log.record_attempt(ANSWERED, answer(425, b"early"))
        log.record_attempt(attrs.evolve(UNANSWERED, proof=Proof.NOT_SENT), None)
        await leave(log, LATER)
        log.record_attempt(ANSWERED, answer())
        await store.record_outcome(outcome(), log.response)
        assert ("A-1", NOON.timestamp(), "response", 425, b"early") in history(journal)


async def test_a_post_of_a_resumed_item_is_a_repetition(journal: Journal) -> None:
    earlier(journal, **{"A-1": "failed"})
    async with opened(journal) as store:
        await leave(ItemLog(store, "A-1", again=True), LATER)
        row = row_of(journal)
        assert row is not None
        assert (row.state, row.posts) == ("sent", 2)
        assert [what for _, _, what, _, _ in history(journal)] == ["POST /api/v2/chat-2-pay"]


async def test_sent_before_has_the_latest_intent(journal: Journal) -> None:
    for of_run in (journal, None):
        async with opened(of_run) as store:
            log = ItemLog(store, "A-1", again=False)
            assert sent_before(log) is None
            await leave(log)
            await leave(log, LATER)
            assert sent_before(log) == pending(LATER)


async def test_a_log_counts_the_attempts_that_reached_somebody_and_failed() -> None:
    async with opened(None) as store:
        log = ItemLog(store, "A-1", again=False)
        log.record_attempt(UNANSWERED, None)
        log.record_attempt(attrs.evolve(UNANSWERED, proof=Proof.NOT_SENT), None)
        log.record_attempt(ANSWERED, answer(503))
        log.record_attempt(attrs.evolve(ANSWERED, proof=Proof.NOT_SENT), answer(425))
        log.record_attempt(attrs.evolve(ANSWERED, proof=Proof.THROTTLED), answer(429))
        assert log.failed == 3


async def test_a_store_without_a_journal_writes_nothing() -> None:
    async with opened(None) as store:
        log = ItemLog(store, "A-1", again=False)
        await leave(log)
        log.record_attempt(ANSWERED, answer())
        await leave(log)
        await store.record_outcome(outcome(), log.response)
        assert len(store._commits._next.entries) == 0


# Failures -----------------------------------------------------------------------------------------


async def test_record_intent_raises_where_the_journal_can_not_be_written(
    journal: Journal,
) -> None:
    async with opened(journal) as store:
        await leave(ItemLog(store, "A-0", again=False))
        db = journal._opened()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        large = SentRequest("POST", "/x", b"x" * 100_000)
        log = ItemLog(store, "A-1", again=False)
        with pytest.raises(JournalError, match="the disk is full"):
            await leave(log, sent=large)
        assert sent_before(log) is None
        assert row_of(journal) is None


async def test_keys_are_indexed_though_the_journal_can_not_be_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_notes: object) -> None:
        raise JournalError("the disk is full")

    async with opened(journal) as store:
        with monkeypatch.context() as patch:
            patch.setattr(journal, "write", fail)
            assert not (await registered_in(store, "A-1", "27831234567")).repeated
            with pytest.raises(JournalError, match="the disk is full"):
                await leave(ItemLog(store, "A-1", again=False))
        registered = await registered_in(store, "A-1", "27831234567")
        assert (registered.repeated, registered.recipient_repeated) == (True, True)


@pytest.mark.parametrize("error", [JournalError("make room"), ValueError("no text")])
async def test_no_registration_is_answered_once_keys_are_missing_in_the_index(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_self: object, texts: Sequence[str]) -> None:
        if texts:
            raise error

    async with opened(journal) as store:
        with monkeypatch.context() as patch:
            patch.setattr(KeyIndex, "put", fail)
            await registered_in(store, "A-1")
            with pytest.raises(type(error), match=str(error)):  # at once: the run is to end
                await leave(ItemLog(store, "A-1", again=False))
        with pytest.raises(type(error), match=str(error)):
            await registered_in(store, "A-1")
        # What is to be written down does not depend on them.
        await leave(ItemLog(store, "A-2", again=False))
        row = row_of(journal, "A-2")
        assert row is not None


async def test_an_outcome_that_can_not_be_written_leaves_the_row_unresolved(
    journal: Journal,
) -> None:
    async with opened(journal) as store:
        await leave(ItemLog(store, "A-1", again=False))
        db = journal._opened()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalError, match="the disk is full"):
            await store.record_outcome(outcome(), answer(body=b"x" * 100_000))
        row = row_of(journal)
        assert row is not None
        assert row.state == "sent"


async def test_a_store_whose_journal_is_refused_can_be_closed(
    journal: Journal,
) -> None:
    earlier(journal, a="sent")
    store = RunStore(journal)
    with pytest.raises(JournalError, match="belongs to another run"):
        await store.open(Binding("capture_payment", "https://api.example", "f00d"))
    await store.close()


# Closing ------------------------------------------------------------------------------------------


async def test_close_writes_what_is_left_in_a_cancelled_task(
    journal: Journal,
) -> None:
    store = RunStore(journal)
    await store.open(BINDING)
    store.record_response(Response("A-1", NOON, 429, b"slower"))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.close()
    journal.open_to_read()
    assert history(journal) == [("A-1", NOON.timestamp(), "response", 429, b"slower")]
    journal.close()


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_store_writes_all_and_is_closed_though_asyncio_cancels_close(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, loop: Any
) -> None:
    begun, go_on, write = threading.Event(), threading.Event(), journal.write

    def slow(notes: Sequence[Any]) -> None:
        begun.set()
        assert go_on.wait(30)
        write(notes)

    monkeypatch.setattr(journal, "write", slow)

    async def main() -> None:
        store = RunStore(journal)
        await store.open(BINDING)
        store.record_response(Response("A-1", NOON, 429, b"slower"))
        closing = asyncio.create_task(store.close())
        assert await anyio.to_thread.run_sync(begun.wait, 30)
        closing.cancel()
        await anyio.wait_all_tasks_blocked()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await closing

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert journal._db is None
    journal.open_to_read()
    assert history(journal) == [("A-1", NOON.timestamp(), "response", 429, b"slower")]
    journal.close()


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_store_writes_all_and_is_closed_whenever_asyncio_cancels_close(
    tmp_path: Path, loop: Any
) -> None:
    async def main(journal: Journal, steps: int) -> bool:
        store = RunStore(journal)
        await store.open(BINDING)
        store.record_response(Response("A-1", NOON, 429, b"slower"))
        closing = asyncio.create_task(store.close())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        return closing.cancelled()

    cancelled = 0
    for steps in range(1, 9):
        journal = Journal(tmp_path / f"{steps}.db")
        with asyncio.Runner(loop_factory=loop) as runner:
            cancelled += runner.run(main(journal, steps))
        assert journal._db is None, steps
        journal.open_to_read()
        assert history(journal) == [("A-1", NOON.timestamp(), "response", 429, b"slower")], steps
        journal.close()
    assert cancelled >= 2, "before the thread has the work, and after it"


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_store_is_closed_though_asyncio_cancels_open(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, loop: Any
) -> None:
    begun, go_on, open_ = threading.Event(), threading.Event(), journal.open

    def slow(binding: Binding) -> None:
        begun.set()
        assert go_on.wait(30)
        open_(binding)

    monkeypatch.setattr(journal, "open", slow)

    async def main() -> None:
        store = RunStore(journal)
        opening = asyncio.create_task(store.open(BINDING))
        assert await anyio.to_thread.run_sync(begun.wait, 30)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        closing = asyncio.create_task(store.close())
        await anyio.wait_all_tasks_blocked()
        go_on.set()
        await closing

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert journal._db is None


async def test_a_closed_store_unlocks_its_journal(journal: Journal) -> None:
    for _times in range(2):
        async with opened(journal) as store:
            await registered_in(store, "A-1")
        assert journal._db is None
