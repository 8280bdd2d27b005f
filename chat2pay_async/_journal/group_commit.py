"""Group commit: one thread does the work of many tasks, in batches.

A commit to a disk takes milliseconds, whether it holds one order or a hundred. So the items that
tasks submit while the thread is busy are done together when it is next free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async._tracebacks import hiding_frames

__all__ = ["GroupCommit"]

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@attrs.define(eq=False)
class _Entry(Generic[In, Out]):
    item: In
    done: clock.Event | None = None
    """Set when its batch is done; None where nobody waits."""
    result: Out | None = None


@attrs.define(eq=False)
class _Batch(Generic[In, Out]):
    entries: list[_Entry[In, Out]] = attrs.field(factory=list[_Entry[In, Out]])
    is_awaited: bool = False
    """True once a task waits for it: then it begins as soon as the thread is free."""
    has_begun: bool = False
    error: Exception | None = attrs.field(factory=lambda: RuntimeError("it was interrupted"))


class GroupCommit(Generic[In, Out]):
    """Collects items, and has one thread at a time work them off in order."""

    def __init__(self, work: Callable[[Sequence[In]], Sequence[Out]]) -> None:
        """Set the work.

        Args:
            work: Works off a batch, in a thread, and returns a result for each item. Its exception
                fails the whole batch.
        """
        self._work = work
        self._next: _Batch[In, Out] = _Batch()
        self._called: clock.Event | None = None
        """Set to begin a batch, where `serve` waits for one."""
        self._limiter = anyio.CapacityLimiter(1)
        # asyncio's own cancellation does not wait for a thread, shield or not.
        self._lock = threading.Lock()

    async def serve(self) -> None:
        """Work off batches until cancelled; a batch that has begun is completed."""
        while True:
            if self._next.is_awaited:
                await clock.checkpoint()
            else:
                self._called = clock.Event()
                await self._called.wait()
            await self.flush()

    async def flush(self) -> None:
        """Work off all items so far, also in a task that has been cancelled."""
        batch, self._next = self._next, _Batch()
        if not batch.entries:
            return
        try:
            with anyio.CancelScope(shield=True):
                await self.run(self._work_off, batch, always=True)
        finally:
            for entry in batch.entries:
                if entry.done is not None:
                    entry.done.set()

    async def run(self, function: Callable[[*Ts], T], *args: *Ts, always: bool = False) -> T:
        """Call a function in the thread, between two batches.

        Args:
            function: The function.
            *args: Its arguments.
            always: Call it even if the task is cancelled before the thread has it. It may then be
                called twice.
        """
        has_begun = False

        def locked() -> T:
            nonlocal has_begun
            has_begun = True
            with self._lock, hiding_frames():
                return function(*args)

        try:
            return await anyio.to_thread.run_sync(locked, limiter=self._limiter)
        except BaseException:
            # asyncio's own cancellation may come first, shield or not, and must not be replaced.
            if always and not has_begun:
                with suppress(Exception):
                    locked()
            raise

    def add(self, item: In) -> None:
        """Add an item to the next batch, without waiting for it."""
        self._next.entries.append(_Entry(item))

    async def submit(self, item: In, *, keep: bool = False) -> Out | None:
        """Add an item to the next batch, and wait for its result.

        Args:
            item: A task that is cancelled before the batch begins takes its item back.
            keep: Do the item even then.

        Raises:
            Exception: The exception that the work raised for the batch.
        """
        batch, done = self._next, clock.Event()
        entry: _Entry[In, Out] = _Entry(item, done)  # `_Entry[In, Out](…)` takes thrice as long
        batch.entries.append(entry)
        batch.is_awaited = True
        if self._called is not None:
            self._called.set()
            self._called = None
        try:
            await done.wait()
        except BaseException:
            if batch is self._next and not keep:
                batch.entries.remove(entry)
            raise
        if batch.error is not None:
            raise batch.error.with_traceback(None)
        return entry.result

    def _work_off(self, batch: _Batch[In, Out]) -> None:
        if batch.has_begun:
            return
        batch.has_begun = True
        try:
            with hiding_frames():
                results = self._work([entry.item for entry in batch.entries])
        except Exception as error:  # noqa: BLE001 - raised in the tasks that wait
            batch.error = error
        else:
            for entry, result in zip(batch.entries, results, strict=True):
                entry.result = result
            batch.error = None
