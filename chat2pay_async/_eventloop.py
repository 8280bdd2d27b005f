"""The event loop's clock, the loop itself, deadlines, timers and events, at next to no cost.

anyio finds out anew each time which library runs, which takes 4 µs. asyncio knows its own loop in
0.05 µs, and where it knows of none, the loop is trio's. An event of anyio's takes 1 KB on asyncio,
which a million calls that wait can't afford; a future takes a fifth of it.
"""

from __future__ import annotations

import asyncio

# Documented, in spite of its name: it is what `asyncio.get_running_loop` asks, without the raise.
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

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


async def within(seconds: float, awaitable: Awaitable[T], since: float | None = None) -> T:
    """Await something, and cancel it when so many seconds have passed.

    Args:
        seconds: The most that it may take.
        awaitable: What is awaited.
        since: The time from which they count, in this task's present step. Default: now.

    Raises:
        DeadlinePassed: They have.
    """
    began, loop = now() if since is None else since, _get_running_loop()
    if loop is None:
        with anyio.move_on_after(began + seconds - now()):
            return await awaitable
        raise DeadlinePassed
    deadlines = _deadlines_of(loop, seconds)
    scope = deadlines.add(loop, began + seconds)
    try:
        return await awaitable
    except asyncio.CancelledError:
        if not scope.has_passed or scope.task.cancelling() - 1 > scope.cancelling:
            raise  # it is cancelled from outside, perhaps as well
    finally:
        deadlines.remove(scope)
    raise DeadlinePassed


class _Scope:
    """A task of asyncio's that awaits something until a deadline."""

    __slots__ = ("cancelling", "deadline", "has_passed", "task")

    def __init__(self, task: asyncio.Task[Any], deadline: float) -> None:
        self.task = task
        self.cancelling = task.cancelling()
        self.deadline = deadline
        self.has_passed = False


class _Deadlines:
    """The deadlines in a loop that are equally far away, and so pass in the order of their making.

    One timer does for all of them. A timer for each call, as `asyncio.timeout` makes it, takes
    8 µs, and longer where a loop has many.
    """

    def __init__(self, owner: dict[float, _Deadlines], seconds: float) -> None:
        self._owner = owner
        self._seconds = seconds
        self._scopes: OrderedDict[_Scope, None] = OrderedDict()
        self._due: float | None = None
        """The time at which the timer ends; None: it does not run."""

    def add(self, loop: asyncio.AbstractEventLoop, deadline: float) -> _Scope:
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - nothing else awaits
        scope = _Scope(task, deadline)
        self._scopes[scope] = None
        if self._due is None:
            self._set_timer(loop, deadline)
        return scope

    def remove(self, scope: _Scope) -> None:
        if scope.has_passed:
            scope.task.uncancel()
        else:
            del self._scopes[scope]

    def _set_timer(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._due = due
        loop.call_at(due, self._cancel_late, loop, due)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        at = max(due, loop.time())  # a loop may be early by what its clock does not resolve
        self._due = None
        while self._scopes:
            scope = next(iter(self._scopes))
            if scope.deadline > at:
                self._set_timer(loop, scope.deadline)
                return
            del self._scopes[scope]
            scope.has_passed = True
            scope.task.cancel()
        del self._owner[self._seconds]


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Deadlines]]
_of_loops = WeakKeyDictionary()


def _deadlines_of(loop: asyncio.AbstractEventLoop, seconds: float) -> _Deadlines:
    """Return the deadlines in a loop that are so many seconds away from their beginnings."""
    in_loop = _of_loops.get(loop)
    if in_loop is None:
        in_loop = _of_loops[loop] = {}
    found = in_loop.get(seconds)
    if found is None:
        found = in_loop[seconds] = _Deadlines(in_loop, seconds)
    return found


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
