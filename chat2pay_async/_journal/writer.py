"""Writer: one thread does the work of many tasks, and what waits together is one commit.

A commit to a disk takes milliseconds, whether it holds one call or a hundred. So what tasks submit
while the thread is busy is done together when it is next free. The thread belongs to no task: a
single call has no scope that could hold one. It ends when it is told to, or with its owner.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from chat2pay_async import _eventloop as clock
from chat2pay_async._tracebacks import hiding_frames

__all__ = ["Entry", "Writer"]

T = TypeVar("T")

Work = Callable[[Any], T]
"""Takes what the thread works on, such as a database."""

MOST: Final = 1_000
"""The most entries of a batch."""


class Entry(Generic[T]):
    """One thing that is to be done, and what came of it."""

    __slots__ = ("done", "error", "is_alone", "loop", "result", "work")

    def __init__(self, work: Work[T], *, is_alone: bool, is_awaited: bool) -> None:
        self.work = work
        self.is_alone = is_alone
        """True if no other may be done in its batch."""
        self.result: T | None = None
        self.error: BaseException | None = None
        self.done = clock.Event() if is_awaited else None
        self.loop = clock.current_loop() if is_awaited else None


class Writer:
    """A thread, and the queue of what it has to do."""

    def __init__(
        self, work_off: Callable[[Sequence[Entry[Any]]], None], end: Callable[[], None]
    ) -> None:
        """Start the thread.

        Args:
            work_off: Does a batch, and sets each entry's result or error; it does not raise.
            end: Is called in the thread when it ends.
        """
        self._work_off = work_off
        self._end = end
        self._queue: queue.SimpleQueue[Entry[Any] | None] = queue.SimpleQueue()
        self._later: list[Entry[Any]] = []
        self._ahead: Entry[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="chat2pay-journal", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T], *, is_alone: bool = False) -> Entry[T]:
        """Have something done that the running task waits for: `wait` for it."""
        entry = Entry(work, is_alone=is_alone, is_awaited=True)
        self._put(entry)
        return entry

    def post(self, work: Work[Any], *, is_alone: bool = False) -> None:
        """Have something done that nobody waits for."""
        self._put(Entry(work, is_alone=is_alone, is_awaited=False))

    def post_later(self, work: Work[Any]) -> None:
        """Have something done together with what comes next."""
        self._later.append(Entry(work, is_alone=False, is_awaited=False))

    def _put(self, entry: Entry[Any] | None) -> None:
        later, self._later = self._later, []
        for one in later:
            self._queue.put(one)
        self._queue.put(entry)

    @staticmethod
    async def wait(entry: Entry[T]) -> T:
        """Wait until an entry is done; cancelled, it is done all the same."""
        assert entry.done is not None  # noqa: S101 - it was submitted
        await entry.done.wait()
        if entry.error is not None:
            raise entry.error.with_traceback(None)
        return cast("T", entry.result)

    def stop(self) -> None:
        """Let the thread end, after what it has to do, and wait for it."""
        self._put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # In the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        with hiding_frames():
            while self._work_off_next():
                pass
            self._end()

    def _work_off_next(self) -> bool:
        """Do the next batch; False: it was the last."""
        batch, ends = self._next_batch()
        if batch:
            self._work_off(batch)
            _wake(batch)
        return not ends

    def _next_batch(self) -> tuple[list[Entry[Any]], bool]:
        batch: list[Entry[Any]] = []
        entry = self._ahead or self._queue.get()
        self._ahead = None
        while entry is not None:
            if entry.is_alone and batch:
                self._ahead = entry
                return batch, False
            batch.append(entry)
            if entry.is_alone or len(batch) == MOST:
                return batch, False
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True


def _wake(batch: Sequence[Entry[Any]]) -> None:
    """Wake the tasks that wait, each loop once."""
    by_loop: dict[object, list[clock.Event]] = {}
    for entry in batch:
        if entry.done is not None:
            by_loop.setdefault(entry.loop, []).append(entry.done)
    for loop, events in by_loop.items():
        clock.wake_of(loop)(partial(_set, events))


def _set(events: Sequence[clock.Event]) -> None:
    for event in events:
        event.set()
