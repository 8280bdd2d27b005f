"""Group commit: items submitted while the thread is busy are done together, once and in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest
import uvloop

from chat2pay_async._journal.group_commit import GroupCommit

pytestmark = pytest.mark.anyio

LONG = 10.0
"""Seconds until a waiter gives up: only a failing test lasts so long."""


class Worker:
    """Makes texts of numbers, once it is released, and remembers its batches."""

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
        """Wait until a batch has begun."""
        assert await anyio.to_thread.run_sync(self._begun.acquire, True, LONG)  # noqa: FBT003 - `blocking`

    def release(self, batches: int = 1) -> None:
        """Let so many batches end."""
        self._go_on.release(batches)


class Submitter:
    """A task that submits one number."""

    def __init__(self, commits: GroupCommit[int, str], number: int) -> None:
        self.commits = commits
        self.number = number
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.result: str | None = None
        self.error: Exception | None = None

    async def submit(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        with self.scope:
            try:
                self.result = await self.commits.submit(self.number)
            except ValueError as error:
                self.error = error
        self.done.set()


class Bench:
    """A group commit that is served, and tasks that submit to it."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.worker = Worker()
        self.commits: GroupCommit[int, str] = GroupCommit(self.worker.work)
        self.serving = anyio.CancelScope()
        self.tasks = tasks

    async def serve(self) -> None:
        with self.serving:
            await self.commits.serve()

    async def submit(self, *numbers: int) -> list[Submitter]:
        """Submit each, one after another; none has its result yet."""
        submitters = [Submitter(self.commits, number) for number in numbers]
        for submitter in submitters:
            await self.tasks.start(submitter.submit)
        await anyio.wait_all_tasks_blocked()
        return submitters


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
                made.worker.release(100)
                tasks.cancel_scope.cancel()


async def results(submitters: Sequence[Submitter]) -> list[str | None]:
    for submitter in submitters:
        await submitter.done.wait()
    return [submitter.result for submitter in submitters]


async def test_items_are_done_in_another_thread() -> None:
    async with bench() as made:
        made.worker.release()
        assert await made.commits.submit(1) == "#1"
        assert threading.get_ident() not in made.worker.threads


async def test_items_submitted_while_the_thread_is_busy_are_done_together_in_order() -> None:
    async with bench() as made:
        first = await made.submit(0)
        await made.worker.begun()
        others = await made.submit(3, 1, 2)
        made.worker.release(2)
        assert await results([*first, *others]) == ["#0", "#3", "#1", "#2"]
        assert made.worker.batches == [[0], [3, 1, 2]]


async def test_items_submitted_later_form_another_batch() -> None:
    async with bench() as made:
        made.worker.release(3)
        assert [await made.commits.submit(number) for number in (1, 2, 3)] == ["#1", "#2", "#3"]
        assert made.worker.batches == [[1], [2], [3]]


async def test_a_hundred_submitters_get_their_own_results_in_two_batches() -> None:
    async with bench() as made:
        first = await made.submit(100)
        await made.worker.begun()
        others = await made.submit(*range(100))
        made.worker.release(2)
        assert await results(others) == [f"#{number}" for number in range(100)]
        assert await results(first) == ["#100"]
        assert len(made.worker.batches) == 2


async def test_added_items_are_done_with_the_next_submitted_one() -> None:
    async with bench() as made:
        made.commits.add(1)
        made.commits.add(2)
        await anyio.wait_all_tasks_blocked()
        assert made.worker.batches == []
        made.worker.release()
        assert await made.commits.submit(3) == "#3"
        assert made.worker.batches == [[1, 2, 3]]


async def test_waiting_items_are_counted_until_their_batch_begins() -> None:
    async with bench() as made:
        assert len(made.commits._next.entries) == 0
        await made.submit(1)
        await made.worker.begun()
        assert len(made.commits._next.entries) == 0
        made.commits.add(2)
        (submitter,) = await made.submit(3)
        assert len(made.commits._next.entries) == 2
        submitter.scope.cancel()
        await submitter.done.wait()
        assert len(made.commits._next.entries) == 1


async def test_an_error_fails_only_its_own_batch() -> None:
    async with bench() as made:
        before = await made.submit(0)
        await made.worker.begun()
        made.commits.add(5)
        failing = await made.submit(1, -2, 3)
        made.worker.release()
        await made.worker.begun()
        after = await made.submit(4)
        made.worker.release(2)
        assert await results(before) == ["#0"]
        assert await results(failing) == [None] * 3
        assert {str(submitter.error) for submitter in failing} == {
            "a negative number in [5, 1, -2, 3]"
        }
        assert await results(after) == ["#4"]
        assert made.worker.batches == [[0], [5, 1, -2, 3], [4]]


# Cancelling ---------------------------------------------------------------------------------------


async def test_a_cancelled_submitter_takes_its_waiting_item_back() -> None:
    async with bench() as made:
        first = await made.submit(0)
        await made.worker.begun()
        others = await made.submit(1, 2, 3)
        others[1].scope.cancel()
        await others[1].done.wait()
        made.worker.release(2)
        assert await results([*first, *others]) == ["#0", "#1", None, "#3"]
        assert made.worker.batches == [[0], [1, 3]]


async def test_a_cancelled_submitter_takes_back_its_own_of_two_equal_items() -> None:
    async with bench(serving=False) as made:
        one, two, three = await made.submit(1, 2, 1)
        three.scope.cancel()
        await three.done.wait()
        made.worker.release()
        await made.commits.flush()
        assert made.worker.batches == [[1, 2]]
        assert await results([one, two]) == ["#1", "#2"]


async def test_a_begun_item_is_completed_though_its_submitter_was_cancelled() -> None:
    async with bench() as made:
        (first,) = await made.submit(0)
        await made.worker.begun()
        first.scope.cancel()
        await first.done.wait()  # at once: the thread still works
        assert made.worker.inside == 1
        made.worker.release(2)
        assert await made.commits.submit(1) == "#1"
        assert made.worker.batches == [[0], [1]]


async def test_a_begun_batch_is_completed_when_serving_is_cancelled() -> None:
    async with bench() as made:
        at_hand = await made.submit(1)
        await made.worker.begun()
        more = await made.submit(2, 3)
        made.serving.cancel()
        await anyio.wait_all_tasks_blocked()
        made.worker.release(2)
        assert await results(at_hand) == ["#1"]
        await anyio.wait_all_tasks_blocked()
        assert made.worker.batches == [[1]]  # no longer served
        await made.commits.flush()
        assert await results(more) == ["#2", "#3"]


async def test_flush_works_in_a_cancelled_task() -> None:
    async with bench(serving=False) as made:
        submitters = await made.submit(1, 2)
        made.commits.add(3)
        made.worker.release()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await made.commits.flush()
        assert await results(submitters) == ["#1", "#2"]
        assert made.worker.batches == [[1, 2, 3]]


async def test_flush_waits_for_the_begun_batch_so_that_two_never_overlap() -> None:
    async with bench() as made:
        first = await made.submit(0)
        await made.worker.begun()
        made.commits.add(1)
        made.tasks.start_soon(made.commits.flush)
        await anyio.wait_all_tasks_blocked()
        assert made.worker.batches == [[0]]
        made.worker.release(2)
        await made.worker.begun()
        assert await results(first) == ["#0"]
        assert made.worker.batches == [[0], [1]]
        assert made.worker.most == 1


async def test_flush_without_items_does_nothing() -> None:
    async with bench(serving=False) as made:
        await made.commits.flush()
        assert made.worker.batches == []


async def test_a_function_runs_between_two_batches() -> None:
    async with bench() as made:
        inside: list[int] = []
        await made.submit(1)
        await made.worker.begun()
        done = anyio.Event()

        async def between() -> None:
            await made.commits.run(inside.append, made.worker.inside)
            done.set()

        made.tasks.start_soon(between)
        await anyio.wait_all_tasks_blocked()
        assert inside == []
        made.worker.release()
        await done.wait()
        assert (inside, made.worker.inside) == ([1], 0)
        assert await made.commits.run(lambda number: number + 1, 1) == 2


async def test_a_batch_whose_items_were_all_taken_back_is_not_done() -> None:
    async with bench() as made:
        await made.submit(0)
        await made.worker.begun()
        others = await made.submit(1, 2)
        for submitter in others:
            submitter.scope.cancel()
            await submitter.done.wait()
        made.worker.release(2)
        await anyio.wait_all_tasks_blocked()
        assert await made.commits.submit(3) == "#3"
        assert made.worker.batches == [[0], [3]]


async def test_a_kept_item_is_not_taken_back() -> None:
    async with bench() as made:
        await made.submit(1)
        await made.worker.begun()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def keep() -> None:
                    await made.commits.submit(2, keep=True)

                tasks.start_soon(keep)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        made.worker.release(3)
        assert await made.commits.submit(3) == "#3"
        assert [number for batch in made.worker.batches for number in batch] == [1, 2, 3]


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_an_interruption_is_raised_to_waiters_and_the_thread_is_waited_for(loop: Any) -> None:
    worker, reported = Worker(), list[str]()

    async def submit(commits: GroupCommit[int, str]) -> None:
        try:
            await commits.submit(1)
        except RuntimeError as error:
            reported.append(str(error))

    async def main() -> None:
        commits: GroupCommit[int, str] = GroupCommit(worker.work)
        submitting = asyncio.create_task(submit(commits))
        serving = asyncio.create_task(commits.serve())
        await worker.begun()
        serving.cancel()  # asyncio's own cancellation ignores shields
        await submitting
        after = asyncio.create_task(commits.run(str, worker.inside))
        await anyio.wait_all_tasks_blocked()
        assert not after.done()
        worker.release()
        assert (await after, worker.inside) == ("1", 0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert reported == ["it was interrupted"]


async def test_a_batch_is_done_once_though_its_thread_begins_after_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = list[Callable[[], object]]()

    async def queued(function: Callable[..., object], *args: object, **_options: object) -> None:
        late.append(partial(function, *args))
        raise asyncio.CancelledError

    worker = Worker()
    commits: GroupCommit[int, str] = GroupCommit(worker.work)
    commits.add(1)
    monkeypatch.setattr(anyio.to_thread, "run_sync", queued)
    worker.release(2)
    with pytest.raises(asyncio.CancelledError):
        await commits.flush()
    assert worker.batches == [[1]]
    (begin,) = late
    begin()
    assert worker.batches == [[1]]


async def test_an_error_of_what_is_done_in_spite_of_a_cancellation_does_not_replace_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def cancelled(*_args: object, **_options: object) -> None:
        raise asyncio.CancelledError

    commits: GroupCommit[int, str] = GroupCommit(Worker().work)
    monkeypatch.setattr(anyio.to_thread, "run_sync", cancelled)
    failed = list[int]()

    def fail() -> None:
        failed.append(1)
        raise ValueError

    with pytest.raises(asyncio.CancelledError):
        await commits.run(fail, always=True)
    with pytest.raises(asyncio.CancelledError):
        await commits.run(fail)
    assert failed == [1]
