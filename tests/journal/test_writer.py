"""Writer: what waits together is one batch, in order, and every task that waits is told."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest

from chat2pay_async._journal.writer import MOST, Entry, Writer

pytestmark = pytest.mark.anyio


class Work:
    """Does batches, of which the first waits until it may."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go_on = threading.Event()
        self.ended = threading.Event()

    def do(self, batch: Sequence[Entry[Any]]) -> None:
        assert self.go_on.wait(10)
        self.batches.append([entry.work(None) for entry in batch])
        for entry, result in zip(batch, self.batches[-1], strict=True):
            entry.result = result
            if isinstance(result, Exception):
                entry.error = result


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def writer(work: Work) -> Iterator[Writer]:
    made = Writer(work.do, work.ended.set)
    yield made
    work.go_on.set()
    made.stop()
    assert work.ended.is_set()


async def test_what_waits_together_is_done_together_and_in_order(
    work: Work, writer: Writer
) -> None:
    writer.submit(lambda _: "first", is_alone=True)
    writer.post(lambda _: 1)
    writer.post_later(lambda _: 2)
    entry = writer.submit(lambda _: 3)
    writer.post(lambda _: "alone", is_alone=True)
    last = writer.submit(lambda _: 4)
    work.go_on.set()
    assert await writer.wait(entry) == 3
    assert await writer.wait(last) == 4
    assert work.batches == [["first"], [1, 2, 3], ["alone"], [4]]


async def test_a_batch_is_bounded(work: Work, writer: Writer) -> None:
    writer.post(lambda _: None, is_alone=True)
    entries = [writer.submit(lambda _: 0) for _ in range(MOST + 1)]
    work.go_on.set()
    assert await writer.wait(entries[-1]) == 0
    assert [len(batch) for batch in work.batches] == [1, MOST, 1]


async def test_an_error_is_raised_where_it_is_waited_for(work: Work, writer: Writer) -> None:
    work.go_on.set()
    good, bad = writer.submit(lambda _: 1), writer.submit(lambda _: ValueError("bad"))
    assert await writer.wait(good) == 1
    with pytest.raises(ValueError, match="bad"):
        await writer.wait(bad)


async def test_what_was_handed_over_with_a_post_is_done_once(work: Work, writer: Writer) -> None:
    work.go_on.set()
    entry = writer.submit(lambda _: 1)
    writer.post(lambda _: 2)
    assert await writer.wait(entry) == 1
    assert await writer.wait(writer.submit(lambda _: 3)) == 3
    assert sorted(itertools.chain(*work.batches)) == [1, 2, 3]


async def test_what_was_submitted_before_the_end_is_done(work: Work) -> None:
    writer = Writer(work.do, work.ended.set)
    writer.post(lambda _: 1)
    writer.post_later(lambda _: 2)
    work.go_on.set()
    await anyio.to_thread.run_sync(writer.stop)
    assert [*itertools.chain(*work.batches)][:2] == [1, 2]
    assert work.ended.is_set()


async def test_a_writer_may_be_stopped_from_its_own_thread(work: Work) -> None:
    writer = Writer(work.do, work.ended.set)
    writer.post(lambda _: writer.stop())
    work.go_on.set()
    assert await anyio.to_thread.run_sync(work.ended.wait, 10)


async def test_what_tasks_submit_at_the_same_time_is_one_batch(work: Work, writer: Writer) -> None:
    work.go_on.set()

    async def one(number: int) -> None:
        assert await writer.wait(writer.submit(lambda _: number)) == number

    async with anyio.create_task_group() as group:
        for number in range(9):
            group.start_soon(one, number)
    (batch,) = work.batches
    assert sorted(batch) == [*range(9)]


def test_what_a_task_submits_a_round_later_is_in_the_same_batch(work: Work, writer: Writer) -> None:
    work.go_on.set()

    async def one(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)
        assert await writer.wait(writer.submit(lambda _: number)) == number

    async def all_of_them() -> None:
        await asyncio.gather(one(0), one(1))

    asyncio.run(all_of_them())
    assert work.batches == [[0, 1]]


def test_a_loop_that_ended_before_it_handed_over_does_not_keep_the_next_one_waiting(
    work: Work, writer: Writer
) -> None:
    work.go_on.set()

    async def leave() -> None:
        writer.submit(lambda _: 1)

    async def stay() -> int:
        return await writer.wait(writer.submit(lambda _: 2))

    async def race(loop: asyncio.AbstractEventLoop) -> None:
        loop.stop()  # before what was only scheduled
        await leave()

    loop = asyncio.new_event_loop()
    loop.create_task(race(loop))  # noqa: RUF006 - it ends in the first round
    loop.run_forever()
    loop.close()
    assert asyncio.run(asyncio.wait_for(stay(), 10)) == 2
    assert [*itertools.chain(*work.batches)] == [1, 2]


def test_a_loop_that_has_ended_stops_nobody(work: Work) -> None:
    made: list[Writer] = []

    async def leave() -> None:
        writer = Writer(work.do, work.ended.set)
        writer.submit(lambda _: 1)
        made.append(writer)

    for backend in ("asyncio", "trio"):
        anyio.run(leave, backend=backend)
    work.go_on.set()
    for writer in made:
        writer.stop()
    assert [*itertools.chain(*work.batches)].count(1) == 2
