"""The event loop's clock, the loop itself, and an event to wait for, at next to no cost.

anyio finds out anew each time which library runs, which takes 4 µs. asyncio knows its own loop in
0.05 µs, and where it knows of none, the loop is trio's. An event of anyio's takes 1 KB on asyncio,
which a million calls that wait can't afford; a future takes a fifth of it.
"""

from __future__ import annotations

import asyncio

# Documented, in spite of its name: it is what `asyncio.get_running_loop` asks, without the raise.
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from collections.abc import Awaitable

import anyio

__all__ = ["Event", "current_loop", "now"]


def now() -> float:
    """Return the time on the event loop's clock, by which everything waits, in seconds."""
    loop = _get_running_loop()
    return anyio.current_time() if loop is None else loop.time()


def current_loop() -> object:
    """Return the running loop: equal to itself, and to no other."""
    return _get_running_loop() or anyio.lowlevel.current_token()


class Event:
    """Wakes the one task that waits for it; where it was set before, nobody waits at all."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        loop = _get_running_loop()
        self._state: asyncio.Future[None] | anyio.Event = (
            anyio.Event() if loop is None else loop.create_future()
        )

    def set(self) -> None:
        """Wake the task that waits; where none does any more, do nothing."""
        if not isinstance(self._state, asyncio.Future):
            self._state.set()
        elif not self._state.done():
            self._state.set_result(None)

    def wait(self) -> Awaitable[None]:
        """Wait until it is set; once only, even if the wait is cancelled."""
        return self._state if isinstance(self._state, asyncio.Future) else self._state.wait()
