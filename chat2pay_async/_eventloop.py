"""The event loop's clock, the loop itself, deadlines, timers and events, at next to no cost.

anyio finds out anew each time which library runs, which takes 4 µs. asyncio knows its own loop in
0.05 µs, and where it knows of none, the loop is trio's. An event of anyio's takes 1 KB on asyncio,
which a million calls that wait can't afford; a future takes a fifth of it.
"""

from __future__ import annotations

import asyncio
import math

# Documented, in spite of its name: it is what `asyncio.get_running_loop` asks, without the raise.
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

__all__ = [
    "DeadlinePassed",
    "Event",
    "Wake",
    "checkpoint",
    "current_loop",
    "later",
    "now",
    "soon",
    "wake_of",
    "wake_of_this_loop",
    "within",
]

T = TypeVar("T")

Wake = Callable[[Callable[[], object]], None]
"""Has a function called in a loop's thread; nothing where the loop has ended."""


def now() -> float:
    """Return the time on the event loop's clock, by which everything waits, in seconds."""
    loop = _get_running_loop()
    return anyio.current_time() if loop is None else loop.time()


def current_loop() -> object:
    """Return the running loop: equal to itself, and to no other."""
    return _get_running_loop() or anyio.lowlevel.current_token()


def wake_of_this_loop() -> Wake:
    """Return what other threads may use to have a function called in the running loop's."""
    return wake_of(current_loop())


def wake_of(loop: Any) -> Wake:
    """Return what other threads may use to have a function called in a loop's: `current_loop`'s."""
    is_asyncio = isinstance(loop, asyncio.AbstractEventLoop)
    schedule = loop.call_soon_threadsafe if is_asyncio else loop.native_token.run_sync_soon

    def wake(work: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and so have its tasks
            schedule(work)

    return wake


def soon(work: Callable[[], object]) -> None:
    """Call a function after what the running loop has to do already, unless it ends before."""
    loop = _get_running_loop()
    if loop is None:
        wake_of_this_loop()(work)
    else:
        loop.call_soon(work)


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


async def within(seconds: float, awaitable: Awaitable[T], *, since: float | None = None) -> T:
    """Await something, and cancel it when so many seconds have passed.

    Args:
        seconds: The seconds.
        awaitable: What is awaited.
        since: The time from which they count. Default: now.

    Raises:
        DeadlinePassed: They have.
    """
    when = (now() if since is None else since) + seconds
    loop = _get_running_loop()
    if loop is None:
        with anyio.move_on_after(when - now()):
            return await awaitable
        raise DeadlinePassed
    task: Any = asyncio.current_task(loop)
    deadline, earlier = _Deadline(task, when), task.cancelling()
    waiting = _Deadlines.of(loop, seconds)
    waiting.add(loop, deadline)
    try:
        return await awaitable
    except asyncio.CancelledError:
        # As `asyncio.timeout` has it: another's cancellation, which came meanwhile, goes first.
        if deadline.has_passed and task.cancelling() - 1 <= earlier:
            raise DeadlinePassed from None
        raise
    finally:
        waiting.remove(deadline)
        if deadline.has_passed:
            task.uncancel()


class _Deadline:
    """The time by which a task is cancelled."""

    __slots__ = ("has_passed", "task", "when")

    def __init__(self, task: asyncio.Task[Any], when: float) -> None:
        self.task = task
        self.when = when
        self.has_passed = False


class _Deadlines:
    """Deadlines of one loop and one length, which mostly come in their order: one timer for all.

    `asyncio.timeout` takes a timer of its own for each. It would cost every call 2 µs, and those
    that wait 0.5 KB.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[_Deadline, None] = {}
        self._latest = -math.inf
        self._is_set = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, seconds: float) -> _Deadlines:
        """Return a loop's, for this length."""
        lengths = _deadlines.get(loop)
        if lengths is None:
            lengths = _deadlines[loop] = {}
        found = lengths.get(seconds)
        if found is None:
            found = lengths[seconds] = cls(seconds)
        return found

    def add(self, loop: asyncio.AbstractEventLoop, deadline: _Deadline) -> None:
        """Cancel a deadline's task when it has passed, unless it is removed before."""
        self._waiting[deadline] = None
        # No timer is kept: it holds the loop, which would then never go.
        if deadline.when < self._latest:
            loop.call_at(deadline.when, self._pass, deadline)
            return
        self._latest = deadline.when
        if not self._is_set:
            self._is_set = True
            loop.call_at(deadline.when, self._pass_all, loop, deadline.when)

    def remove(self, deadline: _Deadline) -> None:
        """Forget a deadline."""
        self._waiting.pop(deadline, None)

    def _pass(self, deadline: _Deadline) -> None:
        if deadline in self._waiting:
            self.remove(deadline)
            deadline.has_passed = True
            deadline.task.cancel()

    def _pass_all(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        # The loop's clock may be early by its resolution.
        latest = max(when, loop.time())
        while self._waiting:
            first = next(iter(self._waiting))
            if first.when > latest:
                loop.call_at(first.when, self._pass_all, loop, first.when)
                return
            self._pass(first)
        del _deadlines[loop][self._seconds]


_deadlines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Deadlines]]
_deadlines = WeakKeyDictionary()


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
