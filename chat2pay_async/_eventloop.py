"""The event loop's clock, the loop itself, and a bell to wait for, at next to no cost.

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

__all__ = ["Bell", "current_loop", "now"]


def now() -> float:
    """The time on the event loop's clock, in seconds; what waits, waits by this clock."""
    loop = _get_running_loop()
    return anyio.current_time() if loop is None else loop.time()


def current_loop() -> object:
    """The loop that runs: equal to itself, and to no other."""
    return _get_running_loop() or anyio.lowlevel.current_token()


class Bell:
    """Wakes the one task that waits for it, or has it not wait at all if it rang before."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        loop = _get_running_loop()
        self._rung: asyncio.Future[None] | anyio.Event = (
            anyio.Event() if loop is None else loop.create_future()
        )

    def ring(self) -> None:
        """Wake who waits; where nobody does any more, it does nothing."""
        if not isinstance(self._rung, asyncio.Future):
            self._rung.set()
        elif not self._rung.done():
            self._rung.set_result(None)

    def wait(self) -> Awaitable[None]:
        """Wait until it rings; once, even if the wait is cancelled."""
        return self._rung if isinstance(self._rung, asyncio.Future) else self._rung.wait()
