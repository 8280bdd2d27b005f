from __future__ import annotations

import asyncio
import gc
import weakref

import anyio
import anyio.lowlevel
import pytest
import sniffio

from chat2pay_async import _eventloop as clock


@pytest.mark.anyio
async def test_the_clock_is_the_one_that_sleeping_uses() -> None:
    before = anyio.current_time()
    assert before <= clock.now() <= anyio.current_time()


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_the_clock_passes_as_sleeping_lets_it_pass() -> None:
    began = clock.now()
    await anyio.sleep(600)
    assert clock.now() - began == pytest.approx(600)


@pytest.mark.anyio
async def test_a_loop_is_itself() -> None:
    assert clock.current_loop() == clock.current_loop()


def test_two_loops_are_not_the_same() -> None:
    async def loop() -> object:
        return clock.current_loop()

    loops = [anyio.run(loop, backend=backend) for backend in ("asyncio", "trio", "asyncio")]
    assert all(one != other for one in loops for other in loops if one is not other)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_function_is_called_later_and_nobody_waits_for_it() -> None:
    called_at, began = list[float](), clock.now()
    clock.later(4.0, lambda: called_at.append(clock.now() - began))
    await anyio.sleep(3.9)
    assert called_at == []
    await anyio.sleep(0.2)
    assert called_at == [pytest.approx(4.0)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_to_be_called_later_keeps_no_loop_from_ending(backend: str) -> None:
    called = list[None]()

    async def end() -> None:
        clock.later(3600, lambda: called.append(None))

    anyio.run(end, backend=backend)
    assert called == []


# The bell ----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_task_that_waits_is_woken_when_the_event_is_set() -> None:
    bell, heard = clock.Event(), anyio.Event()

    async def wait() -> None:
        await bell.wait()
        heard.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not heard.is_set()
        bell.set()
        bell.set()
    assert heard.is_set()


@pytest.mark.anyio
async def test_a_set_event_is_not_waited_for() -> None:
    bell = clock.Event()
    bell.set()
    with anyio.fail_after(10):
        await bell.wait()


@pytest.mark.anyio
async def test_setting_an_event_whose_task_was_cancelled_does_nothing() -> None:
    bell = clock.Event()

    async def wait() -> None:
        await bell.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    bell.set()


# Deadlines and checkpoints ------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_what_ends_in_time_is_returned_and_what_does_not_is_cancelled() -> None:
    async def nap(seconds: float) -> float:
        await anyio.sleep(seconds)
        return seconds

    assert await clock.within(3, nap(2)) == 2
    began = clock.now()
    with pytest.raises(clock.DeadlinePassed):
        await clock.within(3, nap(5))
    assert clock.now() - began == pytest.approx(3)


@pytest.mark.anyio
async def test_an_error_of_what_has_a_deadline_is_raised_as_it_is() -> None:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await clock.within(60, fail())


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_cancellation_from_outside_is_no_deadline() -> None:
    with anyio.move_on_after(2) as scope:
        await clock.within(3, anyio.sleep_forever())
    assert scope.cancelled_caught
    with anyio.move_on_after(3) as scope, pytest.raises(clock.DeadlinePassed):
        await clock.within(2, anyio.sleep_forever())
    assert not scope.cancelled_caught


@pytest.mark.anyio
async def test_a_checkpoint_delivers_a_cancellation_and_a_deadline_of_no_time() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.checkpoint()
    assert scope.cancelled_caught
    with anyio.move_on_after(0) as scope:
        await clock.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.anyio
@pytest.mark.one_loop
async def test_a_checkpoint_delivers_asyncios_own_timeout_of_no_time() -> None:
    if sniffio.current_async_library() == "trio":
        pytest.skip("asyncio's own timeouts are for asyncio")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await clock.checkpoint()


@pytest.mark.anyio
async def test_an_event_works_whatever_class_somebody_puts_in_the_place_of_futures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = clock.Event()
    monkeypatch.setattr(asyncio, "Future", asyncio.futures._PyFuture)  # type: ignore[attr-defined]  # as nest_asyncio does
    for event in (before, clock.Event()):
        event.set()
        with anyio.fail_after(5):
            await event.wait()


# Deadlines ---------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_what_ends_in_time_gives_its_value() -> None:
    async def work() -> int:
        await anyio.sleep(9)
        return 7

    assert await clock.within(10, work()) == 7
    await anyio.sleep(20)  # its deadline passes, and nobody is cancelled


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_each_deadline_passes_at_its_time_whatever_order_they_come_in() -> None:
    ended, began = dict[float, float](), clock.now()

    async def wait(since: float, seconds: float) -> None:
        with pytest.raises(clock.DeadlinePassed):
            await clock.within(seconds, anyio.sleep_forever(), since=began + since)
        ended[since + seconds] = clock.now() - began

    async with anyio.create_task_group() as tasks:
        for since in (0.0, 2.0, 1.0, 2.0, 5.0, -1.0):
            tasks.start_soon(wait, since, 10.0)
        tasks.start_soon(wait, 0.0, 3.0)
        await anyio.wait_all_tasks_blocked()
    assert ended == {at: pytest.approx(at) for at in (9.0, 10.0, 11.0, 12.0, 15.0, 3.0)}


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_deadline_that_is_over_by_the_time_it_comes_passes_at_once() -> None:
    began = clock.now()
    await anyio.sleep(5)
    with pytest.raises(clock.DeadlinePassed):
        await clock.within(3, anyio.sleep_forever(), since=began)
    assert clock.now() - began == pytest.approx(5)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_deadlines_are_kept_while_others_end_before() -> None:
    ended = list[str]()

    async def wait(name: str) -> None:
        with pytest.raises(clock.DeadlinePassed):
            await clock.within(10, anyio.sleep_forever())
        ended.append(name)

    async with anyio.create_task_group() as tasks:
        await clock.within(10, anyio.sleep(1))
        tasks.start_soon(wait, "first")
        await anyio.sleep(6)
        tasks.start_soon(wait, "second")
        await anyio.sleep(5)
        assert ended == ["first"]
    assert ended == ["first", "second"]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_error_of_what_is_awaited_comes_out_as_it_is() -> None:
    async def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await clock.within(10, fail())


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_scope_that_is_cancelled_ends_what_is_awaited_without_a_deadline() -> None:
    with anyio.move_on_after(3) as scope:
        await clock.within(10, anyio.sleep_forever())
    assert scope.cancelled_caught
    await anyio.sleep(20)


@pytest.mark.parametrize("inner", [1.0, 3.0])
def test_of_two_deadlines_the_one_that_passes_first_ends_it(inner: float) -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0.02):
                await clock.within(inner / 100, asyncio.sleep(3600))
        except TimeoutError:
            return "outer"
        except clock.DeadlinePassed:
            return "inner"
        raise AssertionError

    assert asyncio.run(work()) == ("inner" if inner < 2 else "outer")


def test_a_cancellation_that_comes_with_the_deadline_goes_first() -> None:
    async def work() -> None:
        await clock.within(0.01, asyncio.sleep(3600))

    def cancel(task: asyncio.Task[None]) -> None:
        at = task.get_loop().time() + 0.005  # both are due in the next pass of the loop
        while task.get_loop().time() < at:
            pass
        task.cancel()

    async def main() -> None:
        task = asyncio.create_task(work())
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        loop.call_at(loop.time() + 0.009, cancel, task)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    asyncio.run(main())


def test_what_swallows_a_cancellation_ends_as_it_likes_and_the_task_goes_on() -> None:
    async def swallow() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "swallowed"
        raise AssertionError

    async def work() -> tuple[str, int]:
        result = await clock.within(0.01, swallow())
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return result, task.cancelling()

    assert asyncio.run(work()) == ("swallowed", 0)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_deadline_out_of_order_that_is_kept_cancels_nobody() -> None:
    began = clock.now()

    async def wait(since: float, seconds: float) -> None:
        await clock.within(10, anyio.sleep(seconds), since=began + since)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, 1.0, 2.0)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait, 0.0, 2.0)
    await anyio.sleep(20)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_lengths_of_the_past_are_forgotten() -> None:
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("trio has deadlines of its own")
    for seconds in range(10, 20):
        await clock.within(seconds, anyio.lowlevel.checkpoint())
    await anyio.sleep(60)
    # Loops of other tests may not be collected yet.
    assert not clock._deadlines[asyncio.get_running_loop()]


def test_a_loop_that_had_deadlines_goes_with_its_last_user() -> None:
    async def work() -> weakref.ref[object]:
        await clock.within(3600, asyncio.sleep(0))
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(work())
    gc.collect()
    assert loop() is None
