from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from chat2pay_async import _clock as clock


@pytest.mark.anyio
async def test_the_time_is_that_of_what_waits() -> None:
    before = anyio.current_time()
    assert before <= clock.now() <= anyio.current_time()


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_it_passes_as_what_waits_lets_it_pass() -> None:
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
