"""A web framework that works in threads may tell of callbacks, too."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest
from posted import payment

from chat2pay_async import ConfigurationError
from chat2pay_async.callbacks import CallbackWaiter, parse


@pytest.mark.anyio
async def test_a_callback_from_another_thread_wakes_the_payment() -> None:
    waiter, woken = CallbackWaiter(rate=0.001), list[str]()
    await waiter.pause("ref-0", 0)  # the next turn is in a quarter of an hour

    async def wait() -> None:
        await waiter.pause("ref-1", 0)
        woken.append("ref-1")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(waiter.notify, parse(payment()))
    assert woken == ["ref-1"]


def test_a_waiter_of_another_event_loop_says_so() -> None:
    waiter = CallbackWaiter(rate=100)
    anyio.run(waiter.pause, "ref-1", 0)
    with pytest.raises(ConfigurationError, match="another event loop"):
        anyio.run(waiter.pause, "ref-1", 0)
