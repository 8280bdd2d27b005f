"""The event loop's clock, the loop itself, deadlines, timers and events, at next to no cost.

anyio finds out anew each time which library runs, which takes 4 µs. asyncio knows its own loop in
0.05 µs, and where it knows of none, the loop is trio's. An event of anyio's takes 1 KB on asyncio,
which a million calls that wait can't afford; a future takes a fifth of it.
"""

from __future__ import annotations

import asyncio

# Documented, in spite of its name: it is what `asyncio.get_running_loop` asks, without the raise.
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.lowlevel

__all__ = ["DeadlinePassed", "Event", "checkpoint", "current_loop", "later", "now", "within"]

T = TypeVar("T")


def now() -> float:
    """Return the time on the event loop's clock, by which everything waits, in seconds."""
    loop = _get_running_loop()
    return anyio.current_time() if loop is None else loop.time()


def current_loop() -> object:
    """Return the running loop: equal to itself, and to no other."""
    return _get_running_loop() or anyio.lowlevel.current_token()


async def checkpoint() -> None:
    """Let a cancellation, or a deadline that has passed, arrive; let other tasks run."""
    if _get_running_loop() is None:
        await anyio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


def later(seconds: float, work: Callable[[], object]) -> None:
    """Call a function after so many seconds, unless the loop has ended by then."""
    loop = _get_running_loop()
    if loop is not None:
        loop.call_later(seconds, work)
        return
    # anyio has only tasks that somebody waits for.
    import trio  # noqa: PLC0415 - it need not be installed

    async def wait() -> None:
        await trio.sleep(seconds)
        work()

    trio.lowlevel.spawn_system_task(wait)


class DeadlinePassed(Exception):  # noqa: N818 - it is no fault, and the send path's own alone
    """The time is over: what was awaited did not end in it, and was cancelled."""


async def within(seconds: float, awaitable: Awaitable[T]) -> T:
    """Await something, and cancel it when so many seconds have passed.

    Raises:
        DeadlinePassed: They have.
    """
    if _get_running_loop() is None:
        with anyio.move_on_after(seconds):
            return await awaitable
        raise DeadlinePassed
    # A scope of anyio's takes 8 µs, and every call has a deadline.
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await awaitable
    except TimeoutError:
        if not scope.expired():
            raise  # it is what was awaited that raises it
    raise DeadlinePassed


class Event:
    """Wakes the one task that waits for it; where it was set before, nobody waits at all."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        loop = _get_running_loop()
        self._state: asyncio.Future[None] | anyio.Event = (
            anyio.Event() if loop is None else loop.create_future()
        )

    # Not by `asyncio.Future`: nest_asyncio puts another class there.

    def set(self) -> None:
        """Wake the task that waits; where none does any more, do nothing."""
        if isinstance(self._state, anyio.Event):
            self._state.set()
        elif not self._state.done():
            self._state.set_result(None)

    def wait(self) -> Awaitable[None]:
        """Wait until it is set; once only, even if the wait is cancelled."""
        return self._state.wait() if isinstance(self._state, anyio.Event) else self._state
