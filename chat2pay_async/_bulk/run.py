"""One run: items in, calls made concurrently, outcomes out as they come.

A run holds at most `concurrency` items at a time, from the moment that one is taken from the source
until its outcome has been taken from the run. That bounds its memory, and makes the source wait for
whoever takes the outcomes. Nothing is taken from the source before the first outcome is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup

from chat2pay_async import _eventloop as clock
from chat2pay_async._bulk.item import Item, Items
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.source import read
from chat2pay_async._bulk.store import Book
from chat2pay_async._bulk.summary import Forecast, Guard, Summary, Tally
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async._send.call import Call
from chat2pay_async.errors import (
    AuthenticationError,
    ConfigurationError,
    JournalError,
    RequestValidationError,
)
from chat2pay_async.events import Hooks, ItemFinished

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Run", "Setup"]

Q = TypeVar("Q")
R = TypeVar("R")


@attrs.frozen
class Setup(Generic[Q]):
    """What a run is to do, and how."""

    source: Iterable[Any] | AsyncIterable[Any]
    read: Callable[[Any], Q]
    """Makes a request of what the source gives."""
    binding: Binding
    concurrency: int = 64
    drain: float = 30.0
    stop_at_failure_rate: float | None = None


class Run(Generic[Q, R]):
    """A run: an async context manager, and inside it an iterator over the outcomes.

        async with bulk.create_payment_links(client, requests) as run:
            async for outcome in run:
                ...
        print(run.summary)

    Attributes:
        undelivered: Once the block was left: the outcomes that nobody took. They have happened.
    """

    _group: TaskGroup
    _reading: anyio.CancelScope
    _slots: anyio.Semaphore
    _news: anyio.Event

    def __init__(self, setup: Setup[Q], book: Book, items: Items[Q, R], hooks: Hooks) -> None:
        """See the functions of `chat2pay_async.bulk`, which make runs."""
        self._setup = setup
        self._book = book
        self._items = items
        self._hooks = hooks
        self._id = Call.next_id()
        self._tally = Tally()
        self._guard = Guard(setup.stop_at_failure_rate)
        self._ready: deque[Outcome[Q, R]] = deque()
        self._failure: Exception | None = None
        self._under_way = 0
        """Items that have no outcome yet, and one for the source while it is read."""
        self._begun: set[Item[Q, R]] = set()
        self._started: float | None = None
        self._ended: float | None = None
        self._is_open = self._is_reading = False
        self.undelivered: list[Outcome[Q, R]] = []

    @property
    def summary(self) -> Summary:
        """The run in numbers, so far."""
        if self._started is None:
            return self._tally.summary(0.0)
        now = clock.now() if self._ended is None else self._ended
        return self._tally.summary(now - self._started)

    @property
    def forecast(self) -> Forecast | None:
        """What would be sent, as far as the source was read; None where this is no dry run."""
        return self._items.forecast

    @property
    def stopped_by(self) -> Exception | None:
        """The error that has stopped the run; the iterator raises it after the last outcome."""
        return self._failure

    def stop(self) -> None:
        """Take nothing more from the source; the iterator ends with what is under way."""
        if self._is_open:
            self._reading.cancel()

    # The iterator --------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Outcome[Q, R]]:
        return self

    async def __anext__(self) -> Outcome[Q, R]:
        if not self._is_open:
            raise ConfigurationError("a run is read inside its `async with` block")
        if not self._is_reading:
            self._is_reading = True
            self._begin(self._read)
        while not self._ready:
            if not self._under_way:
                self._raise_failure()
                raise StopAsyncIteration
            if self._news.is_set():
                self._news = anyio.Event()
            await self._news.wait()
        self._slots.release()
        return self._ready.popleft()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # The block -----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._started is not None:
            raise ConfigurationError("a run is made for one `async with`: make another one")
        self._started = clock.now()
        self._group = anyio.create_task_group()
        self._reading = anyio.CancelScope()
        self._slots = anyio.Semaphore(self._setup.concurrency, fast_acquire=True)
        self._news = anyio.Event()
        try:
            await self._book.open(self._setup.binding)
        except BaseException as error:
            await self._close(error)
            raise
        await self._group.__aenter__()
        self._group.start_soon(self._book.serve)
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._is_open = False
        cut = error
        try:
            # A cancellation, or Ctrl-C, must not have to wait.
            if error is None or isinstance(error, Exception):
                await self._drain()
        except BaseException as stopped:
            cut = stopped
            raise
        finally:
            await self._end(cut)
        if error is None:
            self._raise_failure()
        elif self._failure is not None:
            error.add_note(f"The run had stopped by itself before: {self._failure}")

    async def _drain(self) -> None:
        """Let what is under way come to its end, for a while."""
        with anyio.move_on_after(self._setup.drain):
            while self._under_way:
                if self._news.is_set():
                    self._news = anyio.Event()
                await self._news.wait()

    async def _end(self, error: BaseException | None) -> None:
        """Stop everything, and write down what is left to be written."""
        self._group.cancel_scope.cancel()
        try:
            # Without an exception, so that it raises no group of any; but a cancellation from
            # outside may show here.
            await self._group.__aexit__(None, None, None)
        finally:
            self._ended = clock.now()
            for item in tuple(self._begun):  # cancelled before they took their first step
                self._leave(item)
            self.undelivered.extend(self._ready)
            self._ready.clear()
            await self._close(error)

    async def _close(self, error: BaseException | None) -> None:
        try:
            await self._book.close()
        except JournalError as failure:
            if error is None:
                raise
            error.add_note(f"Its journal could not be closed: {failure}")

    # Its tasks -----------------------------------------------------------------------------------

    def _begin(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        self._under_way += 1
        self._group.start_soon(self._watched, work, *args)

    async def _watched(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await work(*args)
        except Exception as error:  # noqa: BLE001 - raised where the outcomes are read
            self._fail(error)
        finally:
            self._under_way -= 1
            self._news.set()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._reading.cancel()

    async def _read(self) -> None:
        """Begin items as there is room for them: first those in doubt, then the source's."""
        with self._reading:
            await self._room()
            async with aclosing(self._book.open_rows()) as rows:
                async for row in rows:
                    self._begin_item(self._items.in_doubt(row))
                    await self._room()
            async with aclosing(read(self._setup.source)) as things:
                async for thing in things:
                    self._take(thing)
                    await self._room()

    async def _room(self) -> None:
        """Wait until one more item may be under way."""
        await self._slots.acquire()
        # A slot that is free is given to a task that was cancelled, too: nothing more may begin.
        await anyio.lowlevel.checkpoint_if_cancelled()

    def _take(self, thing: Any) -> None:
        try:
            item = self._items.new(self._setup.read(thing))
        except RequestValidationError as error:
            refused: Any = Outcome(str(thing), thing, State.REJECTED, error=error)
            self._deliver(refused)
        else:
            self._begin_item(item)

    def _begin_item(self, item: Item[Q, R]) -> None:
        self._begun.add(item)
        self._begin(self._finish, item)

    async def _finish(self, item: Item[Q, R]) -> None:
        try:
            await self._items.finish(item)
        except BaseException:
            self._leave(item)
            raise
        self._begun.discard(item)
        if item.outcome is None:
            self._slots.release()
        else:
            self._deliver(item.outcome)

    def _leave(self, item: Item[Q, R]) -> None:
        """Let an item be that was stopped on its way."""
        self._begun.discard(item)
        outcome = self._items.stopped(item)
        self._tell(outcome)
        self.undelivered.append(outcome)

    def _tell(self, outcome: Outcome[Q, R]) -> None:
        self._tally.add(outcome)
        self._hooks.emit(
            ItemFinished(
                self._id,
                self._setup.binding.operation,
                outcome.key,
                outcome.state.value,
                outcome.recovered,
            )
        )

    def _deliver(self, outcome: Outcome[Q, R]) -> None:
        self._tell(outcome)
        self._ready.append(outcome)
        too_many = self._guard.notice(outcome.state)
        if isinstance(outcome.error, AuthenticationError):
            self._fail(outcome.error)
        elif too_many is not None:
            self._fail(too_many)
        self._news.set()
