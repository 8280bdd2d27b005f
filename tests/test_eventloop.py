from __future__ import annotations

import asyncio

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
