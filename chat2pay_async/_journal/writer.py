"""Writer: one thread does the work of many tasks, and what waits together is one commit.

A commit to a disk takes milliseconds, whether it holds one call or a hundred. So what tasks submit
while the thread is busy is done together when it is next free. The thread belongs to no task: a
single call has no scope that could hold one. It ends when it is told to, or with its owner.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
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
        self._queue: queue.SimpleQueue[list[Entry[Any] | None]] = queue.SimpleQueue()
        self._gathered: list[Entry[Any] | None] = []
        """Entries that the thread does not have yet."""
        self._counting: object = None
        """The loop that counts them; a loop may end before it hands them over."""
        self._counted = 0
        self._gathers = threading.RLock()
        """Held by who adds to what is gathered, or hands it over: loops of several threads may."""
        self._ahead: deque[Entry[Any] | None] = deque()
        """Entries that the thread has, and has not done."""
        self._thread = threading.Thread(target=self._run, name="chat2pay-journal", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T], *, is_alone: bool = False) -> Entry[T]:
        """Have something done that the running task waits for: `wait` for it."""
        entry = Entry(work, is_alone=is_alone, is_awaited=True)
        with self._gathers:
            self._gathered.append(entry)
            if self._counting is not entry.loop:
                self._counting, self._counted = entry.loop, len(self._gathered)
                clock.soon(self._hand_over_all)
        return entry

    def post(self, work: Work[Any], *, is_alone: bool = False) -> None:
        """Have something done that nobody waits for."""
        self.post_later(work, is_alone=is_alone)
        self._hand_over()

    def post_later(self, work: Work[Any], *, is_alone: bool = False) -> None:
        """Have something done together with what comes next."""
        with self._gathers:
            self._gathered.append(Entry(work, is_alone=is_alone, is_awaited=False))

    def _hand_over_all(self) -> None:
        """Hand over what tasks submit, once no more of them are about to.

        A commit for the first of them alone would take as long as one for all.
        """
        with self._gathers:
            count = len(self._gathered)
            if self._counted < count < MOST:
                self._counted = count
                clock.soon(self._hand_over_all)
            else:
                self._counting = None
                self._hand_over()

    def _hand_over(self) -> None:
        with self._gathers:
            gathered, self._gathered = self._gathered, []
            if gathered:
                self._queue.put(gathered)

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
        with self._gathers:
            self._gathered.append(None)
            self._hand_over()
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
        ahead = self._ahead
        if not ahead:
            ahead += self._queue.get()
        while not self._queue.empty():
            ahead += self._queue.get()
        while ahead and len(batch) < MOST:
            entry = ahead[0]
            if entry is None:
                return batch, True
            if entry.is_alone and batch:
                break
            batch.append(entry)
            ahead.popleft()
            if entry.is_alone:
                break
        return batch, False


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
