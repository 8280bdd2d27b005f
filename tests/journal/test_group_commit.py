"""What is asked for while the thread is busy is done together: once, in order, for whom it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest
import uvloop

from chat2pay_async._journal.group_commit import Batches

pytestmark = pytest.mark.anyio

LONG = 10.0
"""Seconds after which whoever waits for nothing gives up: only a failing test lasts so."""


class Worker:
    """Makes texts of numbers, once it is let go on, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.inside = 0
        self.most = 0
        self._begun = threading.Semaphore(0)
        self._go_on = threading.Semaphore(0)

    def work(self, numbers: Sequence[int]) -> list[str]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.threads.add(threading.get_ident())
        self.batches.append(list(numbers))
        self._begun.release()
        try:
            assert self._go_on.acquire(timeout=LONG)
            if any(number < 0 for number in numbers):
                raise ValueError(f"a negative number in {numbers}")
            return [f"#{number}" for number in numbers]
        finally:
            self.inside -= 1

    async def begun(self) -> None:
        """Wait until a batch is at hand."""
        assert await anyio.to_thread.run_sync(self._begun.acquire, True, LONG)  # noqa: FBT003 - `blocking`

    def let_go(self, batches: int = 1) -> None:
        """Let so many batches come to their end."""
        self._go_on.release(batches)


class Asker:
    """A task that asks for one number."""

    def __init__(self, batches: Batches[int, str], number: int) -> None:
        self.batches = batches
        self.number = number
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()
        self.result: str | None = None
        self.error: Exception | None = None

    async def ask(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        with self.scope:
            try:
                self.result = await self.batches.do(self.number)
            except ValueError as error:
                self.error = error
        self.over.set()


class Bench:
    """Batches that are served, and tasks that ask for them."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.worker = Worker()
        self.batches: Batches[int, str] = Batches(self.worker.work)
        self.serving = anyio.CancelScope()
        self.tasks = tasks

    async def serve(self) -> None:
        with self.serving:
            await self.batches.serve()

    async def ask(self, *numbers: int) -> list[Asker]:
        """Ask for each, one after another; nothing is answered yet."""
        askers = [Asker(self.batches, number) for number in numbers]
        for asker in askers:
            await self.tasks.start(asker.ask)
        await anyio.wait_all_tasks_blocked()
        return askers


@asynccontextmanager
async def bench(*, serving: bool = True) -> AsyncIterator[Bench]:
    with anyio.fail_after(LONG):
        async with anyio.create_task_group() as tasks:
            made = Bench(tasks)
            if serving:
                tasks.start_soon(made.serve)
            try:
                yield made
            finally:
                made.worker.let_go(100)
                tasks.cancel_scope.cancel()


async def results(askers: Sequence[Asker]) -> list[str | None]:
    for asker in askers:
        await asker.over.wait()
    return [asker.result for asker in askers]


async def test_an_item_is_done_in_another_thread() -> None:
    async with bench() as made:
        made.worker.let_go()
        assert await made.batches.do(1) == "#1"
        assert threading.get_ident() not in made.worker.threads


async def test_what_is_asked_for_while_the_thread_is_busy_is_done_together_and_in_order() -> None:
    async with bench() as made:
        first = await made.ask(0)
        await made.worker.begun()
        others = await made.ask(3, 1, 2)
        made.worker.let_go(2)
        assert await results([*first, *others]) == ["#0", "#3", "#1", "#2"]
        assert made.worker.batches == [[0], [3, 1, 2]]


async def test_what_is_asked_for_afterwards_is_another_batch() -> None:
    async with bench() as made:
        made.worker.let_go(3)
        assert [await made.batches.do(number) for number in (1, 2, 3)] == ["#1", "#2", "#3"]
        assert made.worker.batches == [[1], [2], [3]]


async def test_a_hundred_askers_get_what_is_theirs_in_two_batches() -> None:
    async with bench() as made:
        first = await made.ask(100)
        await made.worker.begun()
        others = await made.ask(*range(100))
        made.worker.let_go(2)
        assert await results(others) == [f"#{number}" for number in range(100)]
        assert await results(first) == ["#100"]
        assert len(made.worker.batches) == 2


async def test_what_nobody_waits_for_is_done_with_what_comes_after_it() -> None:
    async with bench() as made:
        made.batches.add(1)
        made.batches.add(2)
        await anyio.wait_all_tasks_blocked()
        assert made.worker.batches == []
        made.worker.let_go()
        assert await made.batches.do(3) == "#3"
        assert made.worker.batches == [[1, 2, 3]]


async def test_what_is_not_being_done_yet_is_counted() -> None:
    async with bench() as made:
        assert made.batches.waiting == 0
        await made.ask(1)
        await made.worker.begun()
        assert made.batches.waiting == 0
        made.batches.add(2)
        (asker,) = await made.ask(3)
        assert made.batches.waiting == 2
        asker.scope.cancel()
        await asker.over.wait()
        assert made.batches.waiting == 1


async def test_an_error_fails_its_batch_and_no_other() -> None:
    async with bench() as made:
        before = await made.ask(0)
        await made.worker.begun()
        made.batches.add(5)
        failing = await made.ask(1, -2, 3)
        made.worker.let_go()
        await made.worker.begun()
        after = await made.ask(4)
        made.worker.let_go(2)
        assert await results(before) == ["#0"]
        assert await results(failing) == [None] * 3
        assert {str(asker.error) for asker in failing} == {"a negative number in [5, 1, -2, 3]"}
        assert await results(after) == ["#4"]
        assert made.worker.batches == [[0], [5, 1, -2, 3], [4]]


# Cancelling ---------------------------------------------------------------------------------------


async def test_whoever_is_cancelled_in_the_queue_takes_their_item_back() -> None:
    async with bench() as made:
        first = await made.ask(0)
        await made.worker.begun()
        others = await made.ask(1, 2, 3)
        others[1].scope.cancel()
        await others[1].over.wait()
        made.worker.let_go(2)
        assert await results([*first, *others]) == ["#0", "#1", None, "#3"]
        assert made.worker.batches == [[0], [1, 3]]


async def test_of_two_equal_items_each_asker_takes_back_their_own() -> None:
    async with bench(serving=False) as made:
        one, two, three = await made.ask(1, 2, 1)
        three.scope.cancel()
        await three.over.wait()
        made.worker.let_go()
        await made.batches.finish()
        assert made.worker.batches == [[1, 2]]
        assert await results([one, two]) == ["#1", "#2"]


async def test_what_is_being_done_is_done_though_nobody_waits_any_more() -> None:
    async with bench() as made:
        (first,) = await made.ask(0)
        await made.worker.begun()
        first.scope.cancel()
        await first.over.wait()  # promptly: the thread is still at it
        assert made.worker.inside == 1
        made.worker.let_go(2)
        assert await made.batches.do(1) == "#1"
        assert made.worker.batches == [[0], [1]]


async def test_a_batch_at_hand_is_done_to_its_end_when_serving_is_cancelled() -> None:
    async with bench() as made:
        at_hand = await made.ask(1)
        await made.worker.begun()
        more = await made.ask(2, 3)
        made.serving.cancel()
        await anyio.wait_all_tasks_blocked()
        made.worker.let_go(2)
        assert await results(at_hand) == ["#1"]
        await anyio.wait_all_tasks_blocked()
        assert made.worker.batches == [[1]]  # nobody serves any more
        await made.batches.finish()
        assert await results(more) == ["#2", "#3"]


async def test_what_was_asked_for_is_finished_in_a_task_that_was_cancelled() -> None:
    async with bench(serving=False) as made:
        askers = await made.ask(1, 2)
        made.batches.add(3)
        made.worker.let_go()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await made.batches.finish()
        assert await results(askers) == ["#1", "#2"]
        assert made.worker.batches == [[1, 2, 3]]


async def test_finishing_waits_for_the_batch_at_hand_so_that_two_are_never_done_at_once() -> None:
    async with bench() as made:
        first = await made.ask(0)
        await made.worker.begun()
        made.batches.add(1)
        made.tasks.start_soon(made.batches.finish)
        await anyio.wait_all_tasks_blocked()
        assert made.worker.batches == [[0]]
        made.worker.let_go(2)
        await made.worker.begun()
        assert await results(first) == ["#0"]
        assert made.worker.batches == [[0], [1]]
        assert made.worker.most == 1


async def test_where_nothing_was_asked_for_there_is_nothing_to_finish() -> None:
    async with bench(serving=False) as made:
        await made.batches.finish()
        assert made.worker.batches == []


async def test_something_else_is_done_alone_between_two_batches() -> None:
    async with bench() as made:
        inside: list[int] = []
        await made.ask(1)
        await made.worker.begun()
        over = anyio.Event()

        async def alone() -> None:
            await made.batches.alone(inside.append, made.worker.inside)
            over.set()

        made.tasks.start_soon(alone)
        await anyio.wait_all_tasks_blocked()
        assert inside == []
        made.worker.let_go()
        await over.wait()
        assert (inside, made.worker.inside) == ([1], 0)
        assert await made.batches.alone(lambda number: number + 1, 1) == 2


async def test_where_all_have_taken_their_items_back_nothing_is_done() -> None:
    async with bench() as made:
        await made.ask(0)
        await made.worker.begun()
        others = await made.ask(1, 2)
        for asker in others:
            asker.scope.cancel()
            await asker.over.wait()
        made.worker.let_go(2)
        await anyio.wait_all_tasks_blocked()
        assert await made.batches.do(3) == "#3"
        assert made.worker.batches == [[0], [3]]


async def test_what_is_to_be_done_in_any_case_is_not_taken_back() -> None:
    async with bench() as made:
        await made.ask(1)
        await made.worker.begun()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def keep() -> None:
                    await made.batches.do(2, keep=True)

                tasks.start_soon(keep)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        made.worker.let_go(3)
        assert await made.batches.do(3) == "#3"
        assert [number for batch in made.worker.batches for number in batch] == [1, 2, 3]


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_whoever_waits_is_told_of_an_interruption_and_the_thread_is_waited_for(loop: Any) -> None:
    worker, told = Worker(), list[str]()

    async def ask(batches: Batches[int, str]) -> None:
        try:
            await batches.do(1)
        except RuntimeError as error:
            told.append(str(error))

    async def main() -> None:
        batches: Batches[int, str] = Batches(worker.work)
        asking = asyncio.create_task(ask(batches))
        serving = asyncio.create_task(batches.serve())
        await worker.begun()
        serving.cancel()  # asyncio's own way, which heeds no shield
        await asking
        after = asyncio.create_task(batches.alone(str, worker.inside))
        await anyio.wait_all_tasks_blocked()
        assert not after.done()
        worker.let_go()
        assert (await after, worker.inside) == ("1", 0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert told == ["it was interrupted"]
