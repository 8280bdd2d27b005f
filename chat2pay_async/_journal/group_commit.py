"""Work in a thread, done for many tasks at once.

A commit to a disk takes milliseconds, whether it holds one order or a hundred. So what tasks ask
for while the thread is busy is done together when it is next free: a group commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import anyio
import anyio.to_thread
import attrs

__all__ = ["Batches"]

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


@attrs.define(eq=False)
class _Entry(Generic[In, Out]):
    item: In
    result: Out | None = None


@attrs.define(eq=False)
class _Batch(Generic[In, Out]):
    entries: list[_Entry[In, Out]] = attrs.field(factory=list[_Entry[In, Out]])
    over: anyio.Event = attrs.field(factory=anyio.Event)
    """One for all who wait: to wake each by an event of its own costs as much as to write a row."""
    error: Exception | None = attrs.field(factory=lambda: RuntimeError("it was interrupted"))


class Batches(Generic[In, Out]):
    """Collects what tasks ask for, and has it done by one thread at a time, in order."""

    def __init__(self, work: Callable[[Sequence[In]], Sequence[Out]]) -> None:
        """Take on a work.

        Args:
            work: Does a batch, in a thread, and returns a result for each item. What it raises
                fails the whole batch.
        """
        self._work = work
        self._next: _Batch[In, Out] = _Batch()
        self._news = anyio.Event()
        self._limiter = anyio.CapacityLimiter(1)
        # asyncio's own cancellation does not wait for a thread, shield or not.
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many items were asked for and are not being done yet."""
        return len(self._next.entries)

    async def serve(self) -> None:
        """Do batches until it is cancelled; the one at hand is done to its end."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await self.finish()

    async def finish(self) -> None:
        """Do what was asked for so far, also in a task that has been cancelled."""
        if not self.waiting:
            return
        batch, self._next = self._next, _Batch()
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._do, batch, limiter=self._limiter)
        finally:
            batch.over.set()

    async def alone(self, work: Callable[[Any], T], argument: Any) -> T:
        """Have something else done in the thread, between two batches."""

        def locked() -> T:
            with self._lock:
                return work(argument)

        return await anyio.to_thread.run_sync(locked, limiter=self._limiter)

    def add(self, item: In) -> None:
        """Have an item done with what comes after it; nobody waits for it."""
        self._append(item)

    async def do(self, item: In, *, keep: bool = False) -> Out | None:
        """Have an item done, and wait until it is.

        A task that is cancelled in the meantime takes its item back, unless it is being done, or
        is to be done in any case (`keep`).

        Raises:
            Exception: What the work raised for its batch.
        """
        batch, entry = self._next, self._append(item)
        self._news.set()
        try:
            await batch.over.wait()
        except BaseException:
            if batch is self._next and not keep:
                batch.entries.remove(entry)
            raise
        if batch.error is not None:
            raise batch.error.with_traceback(None)
        return entry.result

    def _append(self, item: In) -> _Entry[In, Out]:
        entry: _Entry[In, Out] = _Entry(item)
        self._next.entries.append(entry)
        return entry

    def _do(self, batch: _Batch[In, Out]) -> None:
        try:
            with self._lock:
                results = self._work([entry.item for entry in batch.entries])
        except Exception as error:  # noqa: BLE001 - it is for those who wait to see
            batch.error = error
        else:
            for entry, result in zip(batch.entries, results, strict=True):
                entry.result = result
            batch.error = None
