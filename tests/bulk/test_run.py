"""Run, over scripted items and a scripted store."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from typing import Any, cast

import anyio
import anyio.lowlevel
import attrs
import pytest
import uvloop

from chat2pay_async import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    Event,
    JournalError,
    RequestValidationError,
    RunStoppedError,
)
from chat2pay_async._bulk.known import Item
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.run import Run, Setup
from chat2pay_async._bulk.summary import Forecast, Summary
from chat2pay_async._journal.store import Account, Answer, Claimed
from chat2pay_async.errors import Fault
from chat2pay_async.events import Hooks, ItemFinished

pytestmark = pytest.mark.anyio

BINDING = Account("https://s.test", "0123456789abcdef")
NOT_REACHED = ConnectionFailedError("no")


async def run_tasks() -> None:
    """Let every task run as far as it can: none waits for a thread or for a network."""
    for _ in range(100):
        await anyio.lowlevel.checkpoint()


class CrashError(BaseException):
    """Exception that no program survives."""


class MistakeError(Exception):
    """Exception of a caller's own code."""


@attrs.define(eq=False)
class Store:
    """Store that has only unresolved rows."""

    rows: list[str] = attrs.field(factory=list[str])
    gone_rows: list[tuple[str, bool]] = attrs.field(factory=list[tuple[str, bool]])
    name: Any = None
    story: list[str] = attrs.field(factory=list[str])
    refusal: BaseException | None = None
    late_refusal: BaseException | None = None

    async def open(self, binding: Account) -> None:
        assert binding is BINDING
        self.story.append("opened")
        await anyio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal

    async def serve(self) -> None:
        await anyio.sleep_forever()

    async def left_open(self) -> AsyncGenerator[str]:
        for row in self.rows:
            await anyio.lowlevel.checkpoint()
            yield row

    async def gone(self) -> AsyncGenerator[tuple[str, bool]]:
        for row in self.gone_rows:
            await anyio.lowlevel.checkpoint()
            yield row

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
        self.story.append("closed")
        if self.late_refusal is not None:
            raise self.late_refusal


Act = Callable[[Item[Any, Any]], Awaitable[None]]


async def answer_at_once(_items: Sequence[Item[Any, Any]]) -> None:
    await anyio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Items:
    """Scripted items; a stopped one is unknown."""

    act: Act
    begun: list[str] = attrs.field(factory=list[str])
    forecast: Forecast | None = None
    has_stopped: bool = False
    known: dict[str, Callable[[Item[Any, Any]], bool]] = attrs.field(factory=dict)
    """Those that are to be looked up, and what ends each then, or does not."""
    answer: Callable[[Sequence[Item[Any, Any]]], Awaitable[None]] = answer_at_once
    pages: list[list[str]] = attrs.field(factory=list[list[str]])
    found: list[str] = attrs.field(factory=list[str])

    released: list[str] = attrs.field(factory=list[str])
    held: dict[str, anyio.Event] = attrs.field(factory=dict)
    """Those that somebody else works on, and what is set when he has ended."""

    def new(
        self, request: Any, own_key: str | None = None, line: int | None = None
    ) -> Item[Any, Any]:
        del line
        item = Item[Any, Any](own_key or str(request), request)
        if item.key in self.held:
            item.claimed = Claimed(Answer.HELD, None)
        return item

    async def gone(self, row: str) -> None:
        self.found.append(row)

    def outcome_of_gone(self, row: str) -> Outcome[Any, Any]:
        return Outcome(row, row, State.FAILED)

    async def release(self, items: Sequence[Item[Any, Any]]) -> None:
        self.released += keys(items)

    async def wait(self, item: Item[Any, Any], slot: Callable[[], Awaitable[None]]) -> None:
        await self.held[item.key].wait()
        for _ in range(2):  # somebody else may be quicker, and is waited for once more
            await slot()

    def resume(self, row: str) -> Item[Any, Any]:
        return Item(row, row)

    def register(self, item: Item[Any, Any]) -> bool:
        return item.key not in self.known

    async def look_up(self, items: Sequence[Item[Any, Any]]) -> list[bool | Exception]:
        self.pages.append(keys(items))
        await self.answer(items)
        finished: list[bool | Exception] = []
        for item in items:
            try:
                finished.append(self.known[item.key](item))
            except MistakeError as error:
                finished.append(error)
        return finished

    async def find_rows(self, items: Iterable[Item[Any, Any]]) -> None:
        self.found += keys([*items])

    async def finish_at_once(self, _item: Item[Any, Any]) -> bool:
        return False

    async def finish(self, item: Item[Any, Any]) -> None:
        self.begun.append(item.key)
        await self.act(item)

    def stop(self) -> None:
        self.has_stopped = True

    def reason_to_stop(self, outcome: Outcome[Any, Any]) -> Exception | None:
        return outcome.error if isinstance(outcome.error, AuthenticationError) else None

    def stopped(self, item: Item[Any, Any]) -> Outcome[Any, Any]:
        return item.outcome or ended(item, State.UNKNOWN)


def ended(
    item: Item[Any, Any], state: State = State.APPLIED, error: Any = None
) -> Outcome[Any, Any]:
    return Outcome(item.key, item.request, state, error=error)


async def at_once(item: Item[Any, Any]) -> None:
    await anyio.lowlevel.checkpoint()
    item.outcome = ended(item)


async def never(_item: Item[Any, Any]) -> None:
    await anyio.sleep_forever()


def failing(error: BaseException) -> Act:
    async def act(_item: Item[Any, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    return act


class Gates:
    """Items that wait to be released."""

    def __init__(self, *names: object) -> None:
        self.gates = {str(name): anyio.Event() for name in names}

    async def act(self, item: Item[Any, Any]) -> None:
        await self.gates[item.key].wait()
        item.outcome = ended(item)

    async def let(self, *names: object) -> None:
        for name in names:
            self.gates[str(name)].set()
        await run_tasks()


class Pulled:
    """Endless source that counts the items taken from it."""

    def __init__(self, most: int = 10**9) -> None:
        self.count = 0
        self.most = most

    def __iter__(self) -> Iterator[int]:
        while self.count < self.most:
            self.count += 1
            yield self.count


@attrs.define
class Bench:
    run: Run[Any, Any]
    items: Items
    store: Store
    received: list[Any]


def bench(
    source: Any,
    act: Act = at_once,
    *,
    rows: list[str] | None = None,
    read: Callable[[Any], Any] = lambda thing: thing,
    **setup: Any,
) -> Bench:
    items, store, received = Items(act), Store(rows or []), list[Event]()
    made = Setup(
        source=source, read=read, operation="create_payment_link", account=BINDING, **setup
    )
    stand_in: Any = store
    run = Run[Any, Any](made, stand_in, cast("Any", items), Hooks([received.append]))
    return Bench(run, items, store, received)


def keys(outcomes: Sequence[Outcome[Any, Any] | Item[Any, Any]]) -> list[str]:
    return [outcome.key for outcome in outcomes]


Body = Callable[[Run[Any, Any]], Coroutine[Any, Any, None]]


async def within(run: Run[Any, Any], body: Body) -> None:
    """Do something inside the block of a run."""
    async with run:
        await body(run)


def reading(reported: list[Outcome[Any, Any]]) -> Body:
    """Read a run to its end, and keep its outcomes until then."""

    async def body(run: Run[Any, Any]) -> None:
        async for outcome in run:
            reported.append(outcome)  # noqa: PERF401 - a comprehension would lose it to an error

    return body


# Reading the source -------------------------------------------------------------------------------


async def test_nothing_is_taken_before_the_first_outcome_is_asked_for() -> None:
    source = Pulled()
    async with bench(source).run:
        await run_tasks()
        assert source.count == 0


async def test_a_run_has_at_most_a_task_for_each_slot() -> None:
    tasks = set[int]()

    async def act(item: Item[Any, Any]) -> None:
        tasks.add(anyio.get_current_task().id)
        await at_once(item)

    async with bench(Pulled(50), act, concurrency=3).run as run:
        assert len([outcome async for outcome in run]) == 50
    assert len(tasks) == 3


async def test_an_item_whose_idle_worker_is_cancelled_is_undelivered() -> None:
    scope = anyio.CancelScope()

    def source() -> Iterator[str]:
        yield "1"
        scope.cancel()
        yield "2"

    made = bench(source(), concurrency=1)
    with scope:
        async with made.run as run:
            assert keys([outcome async for outcome in run]) == ["1"]
    assert keys(run.undelivered) == ["2"]


async def test_a_source_that_stops_its_run_is_asked_for_nothing_more() -> None:
    pulled: list[str] = []

    def source() -> Iterator[str]:
        for key in ("1", "2", "3"):
            pulled.append(key)
            if key == "2":
                made.run.stop()
            yield key

    made = bench(source(), concurrency=8)
    async with made.run as run:
        # In any order: trio's is drawn.
        assert sorted(keys([outcome async for outcome in run])) == ["1", "2"]
    assert pulled == ["1", "2"]


@pytest.mark.parametrize("concurrency", [1, 3, 64])
async def test_a_slow_reader_stops_the_source(concurrency: int) -> None:
    source = Pulled()
    async with bench(source, concurrency=concurrency).run as run:
        for taken in range(1, 8):
            await anext(run)
            await run_tasks()
            assert source.count == taken + concurrency


@pytest.mark.parametrize("concurrency", [1, 3, 64])
async def test_slow_items_stop_the_source(concurrency: int) -> None:
    source, gates = Pulled(), Gates(*range(1, 200))
    made = bench(source, gates.act, concurrency=concurrency)
    async with made.run as run, anyio.create_task_group() as tasks:
        tasks.start_soon(anext, run)
        await run_tasks()
        assert source.count == len(made.items.begun) == concurrency
        await gates.let(1)
        assert source.count == concurrency + 1
        run.stop()
        await gates.let(*range(2, 200))


async def test_an_item_without_an_outcome_frees_its_slot_at_once() -> None:
    async def quiet(item: Item[Any, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        if item.request % 10 == 0:
            item.outcome = ended(item)

    async with bench(Pulled(30), quiet, concurrency=2).run as run:
        assert keys([outcome async for outcome in run]) == ["10", "20", "30"]


async def test_items_that_somebody_else_works_on_hold_no_slot_until_it_is_their_turn() -> None:
    gates = Gates(1, 2, 3, 4, 5)
    made = bench(Pulled(5), gates.act, concurrency=2)
    made.items.held = {"1": anyio.Event(), "2": anyio.Event()}
    reported: list[Outcome[Any, Any]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(within, made.run, reading(reported))
        await run_tasks()
        for ended_elsewhere in made.items.held.values():
            ended_elsewhere.set()
        await run_tasks()
        assert sorted(made.items.begun) == ["3", "4"], "both slots are held"
        await gates.let(3)
        assert len(made.items.begun) == 3
        await gates.let(4)
        assert len(made.items.begun) == 4
        await gates.let(1, 2, 5)
    assert sorted(made.items.begun) == sorted(keys(reported)) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("is_freed", [True, False])
async def test_a_slot_goes_to_the_next_where_who_waited_for_it_is_cancelled(
    *, is_freed: bool
) -> None:
    made, got = bench([], concurrency=1), list[str]()

    async def wait(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await made.run._slot()
            got.append(name)

    async with made.run as run, anyio.create_task_group() as tasks:
        await run._slot()
        first = anyio.CancelScope()
        for name, scope in [("first", first), ("second", anyio.CancelScope())]:
            tasks.start_soon(wait, name, scope)
            await run_tasks()
        if is_freed:
            run._release()
        first.cancel()
        await run_tasks()
        if not is_freed:
            assert got == []
            run._release()
    assert got == ["second"]


async def test_unresolved_rows_come_before_the_source() -> None:
    source = Pulled(2)
    made = bench(source, rows=["a", "b"], concurrency=1)
    async with made.run as run:
        assert (await anext(run)).key == "a"
        await run_tasks()
        assert source.count == 0
        assert keys([outcome async for outcome in run]) == ["b", "1", "2"]
    assert made.items.begun == ["a", "b", "1", "2"]


async def test_a_waiting_source_holds_no_outcome_back() -> None:
    more = anyio.Event()

    async def source() -> AsyncGenerator[int]:
        yield 1
        await more.wait()
        yield 2

    async with aclosing(source()) as given, bench(given).run as run:
        assert (await anext(run)).key == "1"
        more.set()
        assert keys([outcome async for outcome in run]) == ["2"]


# Looking items up --------------------------------------------------------------------------------


def skipped(item: Item[Any, Any]) -> bool:
    item.outcome = ended(item, State.SKIPPED)
    return True


def resumed(_item: Item[Any, Any]) -> bool:
    return True


def to_send(_item: Item[Any, Any]) -> bool:
    return False


def known(*names: object, end: Callable[[Item[Any, Any]], bool] = skipped) -> dict[str, Any]:
    return {str(name): end for name in names}


class HeldLookUps:
    """Look-ups that end one by one."""

    def __init__(self, items: Items) -> None:
        self.gates: list[anyio.Event] = []
        items.answer = self.answer

    async def answer(self, _items: Sequence[Item[Any, Any]]) -> None:
        self.gates.append(anyio.Event())
        await self.gates[-1].wait()

    async def release(self) -> None:
        self.gates.pop(0).set()
        await run_tasks()


async def test_items_are_looked_up_together_and_finished_in_order_without_being_begun() -> None:
    made = bench(range(100), concurrency=100)
    made.items.known = known(*range(100))
    async with made.run as run:
        reported = keys([outcome async for outcome in run])
    assert reported == [str(number) for number in range(100)]
    assert made.items.pages == [reported]
    assert made.items.begun == []
    assert run.summary.skipped == 100


@pytest.mark.parametrize("concurrency", [1, 3, 64])
async def test_a_slow_reader_stops_a_source_whose_items_are_looked_up(concurrency: int) -> None:
    source = Pulled()
    made = bench(source, concurrency=concurrency)
    made.items.known = known(*range(1, 100))
    async with made.run as run:
        for taken in range(1, 8):
            await anext(run)
            await run_tasks()
            assert source.count == taken + concurrency


async def test_a_look_up_in_progress_stops_the_source_at_the_slots() -> None:
    source = Pulled(10)
    made = bench(source, concurrency=3)
    made.items.known = known(*range(1, 11))
    look_ups = HeldLookUps(made.items)
    async with made.run as run, anyio.create_task_group() as tasks:
        tasks.start_soon(anext, run)
        await run_tasks()
        assert source.count == 3
        await look_ups.release()
        assert source.count == 4
        run.stop()
        await look_ups.release()
    assert made.items.pages == [["1", "2", "3"], ["4"]]


async def test_a_look_up_has_a_limited_number_of_items() -> None:
    made = bench(range(1200), concurrency=2000)
    made.items.known = known(*range(1200))
    async with made.run as run:
        assert len([outcome async for outcome in run]) == 1200
    assert [len(page) for page in made.items.pages] == [500, 500, 200]


async def test_items_that_come_during_a_look_up_wait_for_the_next() -> None:
    more = anyio.Event()

    async def source() -> AsyncGenerator[int]:
        yield 1
        await more.wait()
        yield 2
        yield 3

    async with aclosing(source()) as given:
        made = bench(given)
        made.items.known = known(1, 2, 3)
        look_ups, reported = HeldLookUps(made.items), list[Outcome[Any, Any]]()
        async with made.run as run, anyio.create_task_group() as tasks:
            tasks.start_soon(reading(reported), run)
            await run_tasks()
            more.set()
            await run_tasks()
            assert made.items.pages == [["1"]]
            await look_ups.release()
            assert keys(reported) == ["1"]
            await look_ups.release()
    assert made.items.pages == [["1"], ["2", "3"]]
    assert keys(reported) == ["1", "2", "3"]


async def test_a_waiting_source_holds_no_look_up_back() -> None:
    more = anyio.Event()

    async def source() -> AsyncGenerator[int]:
        yield 1
        await more.wait()
        yield 2

    async with aclosing(source()) as given:
        made = bench(given)
        made.items.known = known(1, 2)
        async with made.run as run:
            assert (await anext(run)).key == "1"
            more.set()
            assert keys([outcome async for outcome in run]) == ["2"]


async def test_items_that_are_final_and_new_and_to_be_sent_may_be_mixed() -> None:
    made = bench(range(1, 10))
    made.items.known = known(1, 4, 7) | known(2, 5, 8, end=to_send) | known(9, end=resumed)
    async with made.run as run:
        states = {outcome.key: outcome.state async for outcome in run}
    assert {key for key, state in states.items() if state is State.SKIPPED} == {"1", "4", "7"}
    assert {key for key, state in states.items() if state is State.APPLIED} == set("23568")
    assert sorted(made.items.begun) == ["2", "3", "5", "6", "8"]
    assert len(made.items.pages) == 1


async def test_a_looked_up_item_without_an_outcome_frees_its_slot_at_once() -> None:
    made = bench(range(30), concurrency=2)
    made.items.known = known(*range(29), end=resumed)
    async with made.run as run:
        assert keys([outcome async for outcome in run]) == ["29"]


async def test_stop_during_a_look_up_delivers_what_was_taken_and_takes_nothing_more() -> None:
    source = Pulled()
    made = bench(source, concurrency=3)
    made.items.known = known(1, 2) | known(3, end=to_send)
    look_ups, reported = HeldLookUps(made.items), list[Outcome[Any, Any]]()
    async with made.run as run, anyio.create_task_group() as tasks:
        tasks.start_soon(reading(reported), run)
        await run_tasks()
        run.stop()
        await look_ups.release()
    assert {one.key: one.state for one in reported} == {
        "1": State.SKIPPED,
        "2": State.SKIPPED,
        "3": State.APPLIED,
    }
    assert source.count == 3
    assert run.undelivered == []


async def test_leaving_waits_for_a_look_up() -> None:
    made = bench([1, 2])
    made.items.known = known(1, 2)
    look_ups = HeldLookUps(made.items)
    async with anyio.create_task_group() as tasks, made.run as run:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_later, scope)
            await anext(run)
        tasks.start_soon(look_ups.release)
    assert {one.key: one.state for one in run.undelivered} == {
        "1": State.SKIPPED,
        "2": State.SKIPPED,
    }


async def test_items_whose_look_up_is_cancelled_are_undelivered() -> None:
    more = anyio.Event()

    async def source() -> AsyncGenerator[int]:
        yield 1
        yield 2
        await more.wait()
        yield 3

    async with aclosing(source()) as given:
        made = bench(given)
        made.items.known = known(1, 2, 3)
        HeldLookUps(made.items)
        with anyio.CancelScope() as scope:
            async with made.run as run, anyio.create_task_group() as tasks:
                tasks.start_soon(anext, run)
                await run_tasks()
                more.set()  # the third waits for the look-up of the others to end
                await run_tasks()
                scope.cancel()
    assert made.items.pages == [["1", "2"]]
    assert sorted(made.items.found) == ["1", "2", "3"]
    assert {one.key: one.state for one in run.undelivered} == dict.fromkeys("123", State.UNKNOWN)
    assert run.summary.unknown == 3
    assert made.store.story == ["opened", "closed"]


async def test_an_error_of_the_source_is_raised_after_the_items_that_are_looked_up() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise MistakeError("row 3")

    reported: list[Outcome[Any, Any]] = []
    made = bench(source())
    made.items.known = known(1) | known(2, end=to_send)
    with pytest.raises(MistakeError, match="row 3"):
        await within(made.run, reading(reported))
    assert keys(reported) == ["1", "2"]
    assert made.run.undelivered == []


async def test_a_look_up_that_fails_stops_the_run_and_leaves_its_items() -> None:
    more = anyio.Event()

    async def fail(_items: Sequence[Item[Any, Any]]) -> None:
        more.set()
        await run_tasks()
        raise JournalError("the disk is full")

    async def source() -> AsyncGenerator[int]:
        yield 1
        yield 2
        yield 3
        await more.wait()
        yield 4
        await anyio.sleep_forever()

    async def body(run: Run[Any, Any]) -> None:
        assert (await anext(run)).key == "3"  # it was new
        with pytest.raises(JournalError, match="the disk is full"):
            await anext(run)
        assert run.summary.unknown == 3

    async with aclosing(source()) as given:
        made = bench(given)
        made.items.known, made.items.answer = known(1, 2, 4), fail
        await within(made.run, body)
    assert keys(made.run.undelivered) == ["1", "2", "4"]
    assert made.items.pages == [["1", "2"]]


async def test_an_item_whose_row_can_not_be_read_stops_the_run_and_not_the_others() -> None:
    def unreadable(_item: Item[Any, Any]) -> bool:
        raise MistakeError("no JSON")

    source = Pulled()
    made = bench(source, concurrency=3)
    made.items.known = known(1, 3) | known(2, end=unreadable)
    reported: list[Outcome[Any, Any]] = []

    async def body(run: Run[Any, Any]) -> None:
        with pytest.raises(MistakeError, match="no JSON"):
            await reading(reported)(run)
        assert run.summary.unknown == 1

    await within(made.run, body)
    assert keys(reported) == ["1", "3"]
    assert keys(made.run.undelivered) == ["2"]
    assert source.count == 3


# Outcomes -----------------------------------------------------------------------------------------


async def test_every_item_has_one_outcome() -> None:
    async with bench(range(100), concurrency=7).run as run:
        reported = keys([outcome async for outcome in run])
    assert sorted(reported, key=int) == [str(number) for number in range(100)]
    assert run.undelivered == []


async def test_an_empty_run_ends_at_once() -> None:
    async with bench([]).run as run:
        assert [outcome async for outcome in run] == []
        assert [outcome async for outcome in run] == []
    assert run.summary.total == 0


async def test_outcomes_come_as_they_finish() -> None:
    gates = Gates(1, 2, 3)
    async with bench([1, 2, 3], gates.act).run as run, anyio.create_task_group() as tasks:
        reported: list[str] = []

        async def reader() -> None:
            reported.extend([outcome.key async for outcome in run])

        tasks.start_soon(reader)
        for name in (2, 3, 1):
            await run_tasks()
            await gates.let(name)
    assert reported == ["2", "3", "1"]


async def test_several_readers_share_the_outcomes_and_all_end() -> None:
    reported: Counter[str] = Counter()
    all_read = anyio.Event()

    async def reader() -> None:
        async for outcome in made.run:
            reported[outcome.key] += 1
            if len(reported) == 4:
                all_read.set()
            await all_read.wait()

    made = bench(range(60), concurrency=5)
    async with made.run, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(reader)
    assert reported == Counter(map(str, range(60)))


async def test_a_cancelled_reader_loses_no_outcome() -> None:
    gates = Gates(1, 2)
    async with bench([1, 2], gates.act).run as run:
        for _ in range(3):
            with anyio.move_on_after(0):
                await anext(run)
        await gates.let(1, 2)
        assert sorted(keys([outcome async for outcome in run])) == ["1", "2"]


async def test_an_invalid_item_is_rejected_and_the_run_goes_on() -> None:
    def read(thing: str) -> str:
        if not thing:
            raise RequestValidationError("LinkReference", (Fault("it", "must not be blank"),))
        return thing

    async with bench(["a", "", "b"], read=read).run as run:
        outcomes = {outcome.key: outcome async for outcome in run}
    assert {key: one.state for key, one in outcomes.items()} == {
        "a": State.APPLIED,
        "": State.REJECTED,
        "b": State.APPLIED,
    }
    assert isinstance(outcomes[""].error, RequestValidationError)
    assert run.summary.rejected == 1


async def test_hooks_receive_every_item() -> None:
    made = bench(["a", "b"], concurrency=1)
    async with made.run as run:
        assert [outcome async for outcome in run]
    (run_id,) = {event.call_id for event in made.received}
    assert made.received == [
        ItemFinished(run_id, "create_payment_link", key, "applied", recovered=False)
        for key in ("a", "b")
    ]
    other = bench(["a"])
    async with other.run as run:
        await anext(run)
    assert other.received[0].call_id != run_id


async def test_a_run_has_the_forecast_of_its_items() -> None:
    made = bench([])
    assert made.run.forecast is None
    made.items.forecast = Forecast(to_send=3)
    assert made.run.forecast == Forecast(to_send=3)


@pytest.mark.virtual_time
async def test_a_summary_has_the_time_so_far_and_in_all() -> None:
    async def slow(item: Item[Any, Any]) -> None:
        await anyio.sleep(2)
        item.outcome = ended(item)

    made = bench([1, 2], slow, concurrency=1)
    assert made.run.summary == Summary()
    async with made.run as run:
        await anext(run)
        assert run.summary.applied == 1
        assert run.summary.elapsed == pytest.approx(2)
        await anext(run)
        await anyio.sleep(1)
    await anyio.sleep(60)
    assert run.summary.applied == 2
    assert run.summary.elapsed == pytest.approx(5)


# Leaving early ------------------------------------------------------------------------------------


async def test_leaving_early_stops_the_source_and_finishes_items_in_progress() -> None:
    source, gates = Pulled(), Gates(*range(1, 10))
    made = bench(source, gates.act, concurrency=4)
    async with anyio.create_task_group() as tasks, made.run as run:
        tasks.start_soon(gates.let, 2)
        assert (await anext(run)).key == "2"
        await run_tasks()
        tasks.start_soon(gates.let, *range(1, 10))
    assert source.count == 5
    assert sorted(keys(run.undelivered)) == ["1", "3", "4", "5"]
    assert {outcome.state for outcome in run.undelivered} == {State.APPLIED}
    assert run.summary.applied == 5
    assert made.store.story == ["opened", "closed"]


async def test_ready_outcomes_that_were_not_taken_are_undelivered_once() -> None:
    made = bench(range(5))
    async with made.run as run:
        first = await anext(run)
        await run_tasks()
    reported = keys([first, *run.undelivered])
    assert sorted(reported) == ["0", "1", "2", "3", "4"]
    assert run.summary.total == 5


@pytest.mark.virtual_time
async def test_leaving_waits_for_items_in_progress_no_longer_than_drain() -> None:
    async def act(item: Item[Any, Any]) -> None:
        await anyio.sleep(item.request)
        item.outcome = ended(item)

    async with bench([1, 30, 32], act).run as run:
        await anext(run)
        left = anyio.current_time()
    assert anyio.current_time() - left == pytest.approx(30)
    assert {one.key: one.state for one in run.undelivered} == {
        "30": State.APPLIED,
        "32": State.UNKNOWN,
    }
    assert run.summary.unknown == 1


@pytest.mark.virtual_time
async def test_leaving_waits_no_longer_than_it_must() -> None:
    async def act(item: Item[Any, Any]) -> None:
        await anyio.sleep(item.request)
        item.outcome = ended(item)

    async with bench([1, 2], act).run as run:
        await anext(run)
        left = anyio.current_time()
    assert anyio.current_time() - left == pytest.approx(1)
    assert keys(run.undelivered) == ["2"]


async def test_leaving_waits_for_items_that_a_cancelled_reader_began() -> None:
    gates = Gates(1, 2)
    async with anyio.create_task_group() as tasks, bench([1, 2], gates.act).run as run:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_later, scope)
            await anext(run)
        tasks.start_soon(gates.let, 1, 2)
    assert sorted(keys(run.undelivered)) == ["1", "2"]
    assert {outcome.state for outcome in run.undelivered} == {State.APPLIED}


async def cancel_later(scope: anyio.CancelScope) -> None:
    await run_tasks()
    scope.cancel()


@pytest.mark.virtual_time
async def test_leaving_waits_for_nothing_without_drain() -> None:
    gates = Gates(1, 2, 3)
    async with bench([1, 2, 3], gates.act, drain=0.0).run as run:
        gates.gates["1"].set()
        await anext(run)
        left = anyio.current_time()
    assert anyio.current_time() == left
    assert sorted(keys(run.undelivered)) == ["2", "3"]
    assert {outcome.state for outcome in run.undelivered} == {State.UNKNOWN}


async def test_a_waiting_source_is_closed_when_the_block_is_left() -> None:
    cleaned_up: list[bool] = []

    class Waiting:
        async def __aiter__(self) -> AsyncGenerator[int]:
            yield 1
            try:
                await anyio.sleep_forever()
            finally:
                cleaned_up.append(True)

    async with bench(Waiting()).run as run:
        await anext(run)
        await run_tasks()
    assert cleaned_up == [True]
    assert run.undelivered == []


async def test_an_exception_of_the_block_is_raised_unchanged_after_the_drain() -> None:
    mistake, gates = MistakeError("mine"), Gates(1, 2)
    made = bench([1, 2], gates.act)

    async def body(run: Run[Any, Any]) -> None:
        tasks.start_soon(gates.let, 1)
        await anext(run)
        tasks.start_soon(gates.let, 2)
        raise mistake

    async with anyio.create_task_group() as tasks:
        with pytest.raises(MistakeError) as caught:
            await within(made.run, body)
    assert caught.value is mistake
    assert not hasattr(mistake, "__notes__")
    assert {one.key: one.state for one in made.run.undelivered} == {"2": State.APPLIED}
    assert made.store.story == ["opened", "closed"]


# Stopping -----------------------------------------------------------------------------------------


async def test_stop_ends_the_source_and_the_loop_goes_on_with_items_in_progress() -> None:
    source = Pulled()
    reported: list[str] = []
    taken = 0
    async with bench(source, concurrency=3).run as run:
        async for outcome in run:
            reported.append(outcome.key)
            if len(reported) == 2:
                run.stop()
                taken = source.count
    assert len(reported) == source.count == taken
    assert run.undelivered == []


async def test_no_item_begins_after_one_that_stops_the_run() -> None:
    async def act(item: Item[Any, Any]) -> None:
        if item.request == 3:
            made.run.stop()
            taken.append(source.count)
        item.outcome = ended(item)

    source, taken = Pulled(), list[int]()
    made = bench(source, act, concurrency=64)
    async with made.run as run:
        assert len([outcome async for outcome in run]) == source.count
    assert taken == [source.count]


async def test_stop_may_come_from_another_task() -> None:
    source, gates = Pulled(), Gates(1, 2)
    reported: list[Outcome[Any, Any]] = []
    made = bench(source, gates.act, concurrency=2)
    async with made.run as run, anyio.create_task_group() as tasks:
        tasks.start_soon(reading(reported), run)
        await run_tasks()
        run.stop()
        await gates.let(1, 2)
    assert sorted(keys(reported)) == ["1", "2"]
    assert source.count == 2


async def test_a_run_that_is_stopped_or_left_lets_its_items_wait_for_no_outage() -> None:
    stopped, left, ended_itself = bench([1, 2]), bench([1, 2]), bench([1, 2], failing(NOT_REACHED))
    async with stopped.run as run:
        run.stop()
        assert stopped.items.has_stopped
    async with left.run as run:
        await anext(run)
    assert left.items.has_stopped

    async def watch(run: Run[Any, Any]) -> None:
        with pytest.raises(ConnectionFailedError):
            await anext(run)
        assert ended_itself.items.has_stopped

    await within(ended_itself.run, watch)


async def test_a_run_stopped_before_it_is_read_takes_nothing() -> None:
    source = Pulled()
    async with bench(source).run as run:
        run.stop()
        assert [outcome async for outcome in run] == []
    assert source.count == 0


async def test_stop_does_nothing_outside_the_block() -> None:
    run = bench([1]).run
    run.stop()
    async with run:
        assert keys([outcome async for outcome in run]) == ["1"]
    run.stop()


# Errors that stop a run ---------------------------------------------------------------------------


async def test_an_error_of_the_source_is_raised_unchanged_after_all_outcomes() -> None:
    broken, gates = MistakeError("row 3"), Gates(1, 2)

    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise broken

    reported: list[Outcome[Any, Any]] = []
    made = bench(source(), gates.act)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gates.let, 2, 1)
        with pytest.raises(MistakeError) as caught:
            await within(made.run, reading(reported))
    assert caught.value is broken
    assert not hasattr(broken, "__notes__")
    assert sorted(keys(reported)) == ["1", "2"]
    assert made.run.undelivered == []
    assert made.store.story == ["opened", "closed"]


async def test_an_error_that_stops_a_run_is_raised_by_the_iterator() -> None:
    broken = MistakeError("row 1")
    async with bench([1], failing(broken)).run as run:
        with pytest.raises(MistakeError) as caught:
            await anext(run)
    assert caught.value is broken


async def test_an_error_that_stops_a_run_is_raised_once() -> None:
    made = bench([1], failing(MistakeError("once")))
    async with made.run as run:
        with pytest.raises(MistakeError):
            await anext(run)
        assert [outcome async for outcome in run] == []


async def test_an_error_that_stops_a_run_is_raised_to_one_of_several_readers() -> None:
    received: list[str] = []

    async def reader(run: Run[Any, Any]) -> None:
        try:
            async for _ in run:
                pass
        except MistakeError:
            received.append("mistake")
        else:
            received.append("end")

    made = bench([1], failing(MistakeError("once")))
    async with made.run as run, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(reader, run)
    assert sorted(received) == ["end", "end", "mistake"]


async def test_the_first_error_that_stops_a_run_is_raised() -> None:
    gates = Gates(1, 2)
    errors = {"1": MistakeError("late"), "2": MistakeError("early")}

    async def act(item: Item[Any, Any]) -> None:
        await gates.gates[item.key].wait()
        raise errors[item.key]

    async def let() -> None:
        await run_tasks()
        await gates.let(2)
        await gates.let(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let)
        with pytest.raises(MistakeError, match="early"):
            await within(bench([1, 2], act).run, reading([]))


async def test_an_error_that_stops_a_left_run_is_raised_by_its_block() -> None:
    gates = Gates(1, 2)
    journal = JournalError("full")

    async def act(item: Item[Any, Any]) -> None:
        await gates.act(item)
        if item.key == "2":
            raise journal

    async def body(run: Run[Any, Any]) -> None:
        tasks.start_soon(gates.let, 1)
        await anext(run)
        tasks.start_soon(gates.let, 2)

    made = bench([1, 2], act)
    async with anyio.create_task_group() as tasks:
        with pytest.raises(JournalError) as caught:
            await within(made.run, body)
    assert caught.value is journal
    assert {one.key: one.state for one in made.run.undelivered} == {"2": State.APPLIED}


async def test_an_exception_of_the_block_notes_that_the_run_had_stopped_itself() -> None:
    made = bench([1, 2], failing(JournalError("the disk is full")))

    async def body(run: Run[Any, Any]) -> None:
        with anyio.move_on_after(0):
            await anext(run)
        await run_tasks()
        raise MistakeError("mine")

    with pytest.raises(MistakeError) as caught:
        await within(made.run, body)
    assert caught.value.__notes__ == ["The run had stopped by itself before: the disk is full"]


async def test_an_item_of_the_wrong_type_stops_the_run() -> None:
    source = Pulled()

    def read(thing: int) -> int:
        if thing == 2:
            raise TypeError("this run takes items of str, not of int")
        return thing

    made = bench(source, read=read)
    reported: list[Outcome[Any, Any]] = []
    with pytest.raises(TypeError, match="not of int"):
        await within(made.run, reading(reported))
    assert keys(reported) == ["1"]
    assert source.count == 2


async def test_a_source_that_is_not_iterable_stops_the_run() -> None:
    with pytest.raises(ConfigurationError, match="not from int"):
        await within(bench(3).run, reading([]))


async def test_a_wrong_key_stops_the_run() -> None:
    source, gates = Pulled(), Gates(1, 2, 3)
    denied = AuthenticationError("no", status_code=401)

    async def act(item: Item[Any, Any]) -> None:
        await gates.act(item)
        if item.key == "2":
            item.outcome = ended(item, State.FAILED, denied)

    async def let() -> None:
        await run_tasks()
        await gates.let(2)
        await gates.let(1, 3)

    reported: list[Outcome[Any, Any]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let)
        with pytest.raises(AuthenticationError) as caught:
            await within(bench(source, act, concurrency=3).run, reading(reported))
    assert caught.value is denied
    assert (keys(reported)[0], sorted(keys(reported))) == ("2", ["1", "2", "3"])
    assert source.count == 3


async def test_stopped_by_is_known_before_the_run_has_ended() -> None:
    gates, denied = Gates(1, 2), AuthenticationError("no", status_code=401)

    async def act(item: Item[Any, Any]) -> None:
        await gates.act(item)
        item.outcome = ended(item, State.FAILED, denied) if item.key == "1" else item.outcome

    async def watch(run: Run[Any, Any]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, run)
            await run_tasks()
            before = run.stopped_by
            await gates.let(1)
            assert (before, run.stopped_by) == (None, denied)
            await gates.let(2)

    with pytest.raises(AuthenticationError):
        await within(bench([1, 2], act, concurrency=2).run, watch)


@pytest.mark.parametrize(("rate", "most"), [(0.0, 1), (0.2, 5), (0.5, 11)])
async def test_too_large_a_share_of_failures_stops_the_run(rate: float, most: int) -> None:
    async def act(item: Item[Any, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        item.outcome = ended(item, State.FAILED, NOT_REACHED)

    source = Pulled()
    reported: list[Outcome[Any, Any]] = []
    made = bench(source, act, concurrency=1, stop_at_failure_rate=rate)
    with pytest.raises(RunStoppedError, match=f"{most} of the latest {most} items"):
        await within(made.run, reading(reported))
    assert len(reported) == source.count == most


async def test_failures_stop_nothing_without_a_rate() -> None:
    async def act(item: Item[Any, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        item.outcome = ended(item, State.FAILED, NOT_REACHED)

    async with bench(range(600), act).run as run:
        assert len([outcome async for outcome in run]) == 600


# Cancellation -------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("waiting", [True, False])
async def test_a_cancelled_run_does_not_wait(*, waiting: bool) -> None:
    gates = Gates(1, 2, 3)
    gates.gates["1"].set()
    made = bench([1, 2, 3], gates.act)
    with anyio.move_on_after(5) as scope:
        async with made.run as run:
            await anext(run)
            if waiting:
                await anext(run)
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - scope.deadline == pytest.approx(0)
    assert sorted(keys(run.undelivered)) == ["2", "3"]
    assert {outcome.state for outcome in run.undelivered} == {State.UNKNOWN}
    assert made.store.story == ["opened", "closed"]
    assert run.summary.unknown == 2


@pytest.mark.virtual_time
async def test_a_cancelled_drain_ends_at_once() -> None:
    gates = Gates(1, 2)
    gates.gates["1"].set()
    made = bench([1, 2], gates.act)
    with anyio.move_on_after(5) as scope:
        async with made.run as run:
            await anext(run)
    assert scope.cancelled_caught
    assert keys(run.undelivered) == ["2"]
    assert made.store.story == ["opened", "closed"]


async def test_a_run_cancelled_while_it_opens_is_closed() -> None:
    made = bench([1])
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with made.run:
            pytest.fail("it was cancelled")
    assert made.store.story == ["opened", "closed"]


LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


def native(loop: Any, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_survives_the_cancellation_of_an_asyncio_task(loop: Any) -> None:
    made = bench(range(3), never)

    async def main() -> None:
        task = asyncio.create_task(within(made.run, reading([])))
        await run_tasks()
        assert made.items.begun == ["0", "1", "2"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    native(loop, main)
    assert sorted(keys(made.run.undelivered)) == ["0", "1", "2"]
    assert made.store.story == ["opened", "closed"]


SHUTDOWN = """
import asyncio, httpx
from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, bulk

async def silent(request):
    await asyncio.sleep(3600)

async def campaign(begun):
    def source():
        for number in range(64):
            if number == 5:
                begun.set()
            yield PaymentLinkRequest(
                channel="sms", to="27831234567", order_number=f"A-{number}", currency="ZAR",
                total_amount="1.00")

    transport = httpx.MockTransport(silent)
    async with AsyncChat2Pay("k", base_url="http://localhost", transport=transport) as client:
        run = bulk.create_payment_links(client, source())
        try:
            async with run:
                async for _ in run:
                    pass
        finally:
            print(len(run.undelivered))

async def main():
    begun = asyncio.Event()
    task = asyncio.create_task(campaign(begun))
    await begun.wait()

asyncio.run(main())
"""


def test_a_run_ends_with_a_loop_that_shuts_down() -> None:
    # In a process of its own: asyncio warns of the tasks that it cancels before their first step.
    command = [sys.executable, "-c", SHUTDOWN]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert 5 <= int(done.stdout) <= 64


@pytest.mark.parametrize("loop", LOOPS)
def test_an_item_cancelled_before_its_first_step_is_undelivered(loop: Any) -> None:
    begun = asyncio.Event()

    async def source() -> AsyncGenerator[int]:
        for number in range(20):
            if number == 5:
                begun.set()
            await anyio.lowlevel.checkpoint()
            yield number

    made = bench(source(), never, concurrency=20)
    left: list[asyncio.Task[None]] = []

    async def main() -> None:
        left.append(asyncio.create_task(within(made.run, reading([]))))
        await begun.wait()

    with warnings.catch_warnings():
        # asyncio warns of tasks that are cancelled before their first step.
        warnings.simplefilter("ignore", RuntimeWarning)
        native(loop, main)
        gc.collect()
    assert left[0].cancelled()
    reported = sorted(keys(made.run.undelivered), key=int)
    assert 5 <= len(made.items.begun) < len(reported) < 20
    assert reported[: len(made.items.begun)] == made.items.begun
    assert made.store.story == ["opened", "closed"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_ends_with_a_timeout_of_asyncio(loop: Any) -> None:
    made = bench(range(3), never)

    async def limited() -> None:
        async with asyncio.timeout(None) as limit, made.run as run:
            await run_tasks()
            asyncio.get_running_loop().call_soon(limit.reschedule, 0)
            await anext(run)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await limited()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # nothing is left behind that would cancel this

    native(loop, main)
    assert made.store.story == ["opened", "closed"]


@pytest.mark.parametrize("loop", LOOPS)
def test_asyncios_own_cancellation_ends_the_drain(loop: Any) -> None:
    async def act(item: Item[Any, Any]) -> None:
        await (at_once if item.key == "1" else never)(item)

    made = bench([1, 2], act)

    async def body(run: Run[Any, Any]) -> None:
        await anext(run)

    async def main() -> None:
        task = asyncio.create_task(within(made.run, body))
        await run_tasks()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    native(loop, main)
    assert keys(made.run.undelivered) == ["2"]
    assert made.store.story == ["opened", "closed"]


async def test_a_fatal_exception_leaves_the_store_closed() -> None:
    made = bench([1, 2], failing(CrashError()))
    with pytest.raises(BaseExceptionGroup) as caught:
        await within(made.run, reading([]))
    assert caught.group_contains(CrashError)
    assert made.store.story == ["opened", "closed"]
    assert sorted(keys(made.run.undelivered)) == ["1", "2"]


# Opening and closing ------------------------------------------------------------------------------


async def test_a_run_serves_one_block() -> None:
    made = bench([1])
    async with made.run:
        with pytest.raises(ConfigurationError, match="make another run"):
            await made.run.__aenter__()
    with pytest.raises(ConfigurationError, match="make another run"):
        async with made.run:
            pytest.fail("it was used before")
    assert made.store.story == ["opened", "closed"]


async def test_a_run_is_read_inside_its_block() -> None:
    made = bench([1])
    with pytest.raises(ConfigurationError, match="inside its `async with` block"):
        await anext(made.run)
    async with made.run:
        pass
    with pytest.raises(ConfigurationError, match="inside its `async with` block"):
        await anext(made.run)
    assert made.items.begun == []


async def test_an_error_of_closing_the_store_is_raised() -> None:
    made = bench([1])
    made.store.late_refusal = JournalError("the disk is full")
    with pytest.raises(JournalError) as caught:
        async with made.run as run:
            assert keys([outcome async for outcome in run]) == ["1"]
    assert caught.value is made.store.late_refusal


async def test_an_exception_of_the_block_is_not_replaced_by_an_error_of_closing() -> None:
    made = bench([1])
    made.store.late_refusal = JournalError("the disk is full")
    mistake = MistakeError("mine")
    with pytest.raises(MistakeError) as caught:
        async with made.run:
            raise mistake
    assert caught.value is mistake
    assert mistake.__notes__ == ["Its keys could not be closed: the disk is full"]


async def test_a_cancellation_is_not_replaced_by_an_error_of_closing() -> None:
    made = bench(range(3), never)
    made.store.late_refusal = JournalError("the disk is full")
    with anyio.CancelScope() as scope:
        async with made.run as run:
            scope.cancel()
            await anext(run)
    assert scope.cancelled_caught
    assert made.store.story == ["opened", "closed"]


async def test_a_cancellation_while_opening_is_not_replaced_by_an_error_of_closing() -> None:
    made = bench(range(3), never)
    made.store.late_refusal = JournalError("the disk is full")
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with made.run:
            pytest.fail("it was cancelled")
    assert scope.cancelled_caught
    assert made.store.story == ["opened", "closed"]


async def test_a_store_that_can_not_be_opened_is_closed_and_its_error_raised() -> None:
    made = bench([1])
    made.store.refusal = JournalError("in use")
    with pytest.raises(JournalError) as caught:
        async with made.run:
            pytest.fail("it was not opened")
    assert caught.value is made.store.refusal
    assert made.store.story == ["opened", "closed"]
