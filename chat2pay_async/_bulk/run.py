"""Run: items in, concurrent calls, outcomes out as they come.

A run holds at most `concurrency` items at a time: an item counts from the moment that it is taken
from the source until its outcome is taken from the run. That bounds the memory, and makes the
source wait for the reader. Nothing is taken from the source before the first outcome is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup

from chat2pay_async import _eventloop as clock
from chat2pay_async._bulk.item import Item, Items
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.source import Keyed, read
from chat2pay_async._bulk.store import PAGE, RunStore
from chat2pay_async._bulk.summary import Forecast, Guard, Summary, Tally
from chat2pay_async._journal.store import Account
from chat2pay_async._send.call import next_id
from chat2pay_async._tracebacks import hide_frames, hiding_arguments
from chat2pay_async.errors import ConfigurationError, JournalError, RequestValidationError
from chat2pay_async.events import Hooks, ItemFinished

__all__ = ["Run", "Setup"]

Q = TypeVar("Q")
R = TypeVar("R")

MOST_WAITING: Final = 1_000
"""The most items that wait for somebody else beside those that hold a slot."""


@attrs.frozen
class Setup(Generic[Q]):
    """Settings of a run, checked."""

    source: Iterable[Any] | AsyncIterable[Any]
    read: Callable[[Any], Q]
    """Makes a request of a thing from the source."""
    operation: str
    account: Account
    concurrency: int = 64
    drain: float = 30.0
    stop_at_failure_rate: float | None = None
    ask_fingerprint: Callable[[], Awaitable[str]] | None = None
    """The function that asks for the key, and returns the fingerprint for the account."""


class _Worker(Generic[Q, R]):
    """Task of a run that finishes items, and the item that it has; None: it looks items up."""

    def __init__(self, item: Item[Q, R] | None) -> None:
        self.item = item

    def rest(self) -> None:
        self._given = clock.Event()

    def take(self, item: Item[Q, R] | None) -> None:
        self.item = item
        self._given.set()

    def wait(self) -> Awaitable[None]:
        return self._given.wait()


class Run(Generic[Q, R]):
    """A run: an async context manager, and inside it an iterator over the outcomes.

        async with bulk.create_payment_links(client, requests) as run:
            async for outcome in run:
                ...
        print(run.summary)

    Attributes:
        undelivered: The outcomes that were not taken, once the block was left. They are final.

    Raises:
        ConfigurationError: The run is read outside its block, or has had one.
        JournalError: Its journal can't be used, or can't be written any more.
        RunStoppedError, AuthenticationError: It stopped itself; see `chat2pay_async.bulk`.
        Exception: Whatever the source of its items raises.
    """

    _group: TaskGroup
    _reading: anyio.CancelScope

    def __init__(self, setup: Setup[Q], store: RunStore, items: Items[Q, R], hooks: Hooks) -> None:
        """Make a run; programs use the functions of `chat2pay_async.bulk`."""
        self._setup = setup
        self._store = store
        self._items = items
        self._hooks = hooks
        self._id = next_id()
        self._tally = Tally()
        self._guard = Guard(setup.stop_at_failure_rate)
        self._ready: deque[Outcome[Q, R]] = deque()
        self._failure: Exception | None = None
        self._in_progress = 0
        """The number of busy workers, and one for the source while it is read."""
        self._items_begun: set[Item[Q, R]] = set()
        self._to_look_up: list[Item[Q, R]] = []
        """Those of them that may be known; they wait for the look-up of others to end."""
        self._is_looking_up = False
        self._waiting = 0
        """The number of items that wait for somebody else, and hold no slot meanwhile."""
        self._to_release: list[Item[Q, R]] = []
        """Items that were given up; their claims are given back before the block is left."""
        self._idle: list[_Worker[Q, R]] = []
        self._held = 0
        """The number of items that were taken from the source, and not from the run."""
        self._wanting: deque[clock.Event] = deque()
        """Of those that wait for a slot: the source, and items that another worked on."""
        self._watchers: list[clock.Event] = []
        """Of those that wait until an outcome is ready, or something in progress has ended."""
        self._started: float | None = None
        self._ended: float | None = None
        self._is_open = self._is_reading = False
        self.undelivered: list[Outcome[Q, R]] = []

    @property
    def summary(self) -> Summary:
        """The numbers of the run so far."""
        if self._started is None:
            return self._tally.summary(0.0)
        now = clock.now() if self._ended is None else self._ended
        return self._tally.summary(now - self._started)

    @property
    def name(self) -> str | None:
        """The run's name in the client's journal; None without a journal."""
        return None if self._store.name is None else self._store.name.run

    @property
    def forecast(self) -> Forecast | None:
        """The forecast, as far as the source was read; None if this is not a dry run."""
        return self._items.forecast

    @property
    def stopped_by(self) -> Exception | None:
        """The error that has stopped the run; the iterator raises it after the last outcome."""
        return self._failure

    def stop(self) -> None:
        """Send nothing more that is not on the wire yet.

        What is on the wire comes to its end, and then the iterator ends. Items that were taken from
        the source and not sent are `FAILED`.
        """
        if self._is_open:
            self._reading.cancel()
            self._items.stop()

    # The iterator ---------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Outcome[Q, R]]:
        return self

    async def __anext__(self) -> Outcome[Q, R]:
        if not self._is_open:
            raise ConfigurationError("a run is read inside its `async with` block")
        if not self._is_reading:
            self._is_reading = True
            self._in_progress += 1
            self._group.start_soon(self._read)
        while not self._ready:
            if not self._in_progress:
                self._raise_failure()
                raise StopAsyncIteration
            await self._change()
        self._release()
        return self._ready.popleft()

    async def _change(self) -> None:
        changed = clock.Event()
        self._watchers.append(changed)
        await changed.wait()

    def _note_change(self) -> None:
        while self._watchers:
            self._watchers.pop().set()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # The block ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._started is not None:
            raise ConfigurationError("a run serves one `async with` block: make another run")
        self._started = clock.now()
        self._group = anyio.create_task_group()
        self._reading = anyio.CancelScope()
        try:
            account, ask = self._setup.account, self._setup.ask_fingerprint
            if ask is not None:
                account = attrs.evolve(account, key_fingerprint=await ask())
            await self._store.open(account)
        except BaseException as error:
            await self._close(error)
            raise
        await self._group.__aenter__()
        self._group.start_soon(self._store.serve)
        self._is_open = True
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.stop()
        self._is_open = False
        leaving = error
        try:
            # A cancellation, or Ctrl-C, must not have to wait.
            if error is None or isinstance(error, Exception):
                with anyio.move_on_after(self._setup.drain):
                    while self._in_progress:
                        await self._change()
        except BaseException as cancelled:
            leaving = cancelled
            raise
        finally:
            await self._end(leaving)
        if error is None:
            self._raise_failure()
        elif self._failure is not None:
            error.add_note(f"The run had stopped by itself before: {self._failure}")

    async def _end(self, error: BaseException | None) -> None:
        """Cancel the tasks, and close the journal."""
        self._group.cancel_scope.cancel()
        try:
            # Without an exception, so that it raises no group; a cancellation may come out here.
            await self._group.__aexit__(None, None, None)
        finally:
            self._ended = clock.now()
            try:
                await self._leave_begun()
            finally:  # a hook may end the program
                self.undelivered.extend(self._ready)
                self._ready.clear()
                await self._close(error)

    async def _close(self, error: BaseException | None) -> None:
        try:
            await self._store.close()
        except JournalError as failure:
            if error is None:
                raise
            error.add_note(f"Its keys could not be closed: {failure}")

    # The tasks ------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        hide_frames(error)
        if self._failure is None:
            self._failure = error
        self._reading.cancel()
        self._items.stop()

    async def _read(self) -> None:
        try:
            await self._begin_items()
        except Exception as error:  # noqa: BLE001 - raised where the outcomes are read
            self._fail(error)
        finally:
            self._end_one()

    def _end_one(self) -> None:
        self._in_progress -= 1
        self._note_change()

    @hiding_arguments
    async def _begin_items(self) -> None:
        """Begin items as slots become free: first those to resume, then those of the source."""
        with self._reading:
            await self._slot()
            async with aclosing(self._store.left_open()) as rows:
                async for claimed in rows:
                    self._begin_item(self._items.resume(claimed))
                    await self._slot()
            async with aclosing(read(self._setup.source)) as things:
                async for thing in things:
                    item = self._new_item(thing)
                    if item is None:
                        pass
                    elif not self._items.register(item):
                        self._begin_look_up(item)
                    elif await self._items.finish_at_once(item):
                        self._release()
                    else:
                        self._begin_item(item)
                    await self._slot()
            self._release()
            await self._count_gone()

    def _new_item(self, thing: Any) -> Item[Q, R] | None:
        """Make an item of a thing from the source; None where it is invalid, and is reported."""
        keyed: Keyed[Any] = thing if isinstance(thing, Keyed) else Keyed(thing)
        given: Any = keyed.request
        try:
            request = self._setup.read(given)
            return self._items.new(request, keyed.idempotency_key, keyed.line)
        except RequestValidationError as error:
            hide_frames(error)
            key = given if isinstance(given, str) else f"<{type(given).__name__}>"
            rejected: Any = Outcome(key, given, State.REJECTED, error=error)
            self._deliver(rejected)
            return None

    async def _count_gone(self) -> None:
        """Count the run's rows that the source has no more, once all others have their end.

        Those that were open when the run began, and had no effect, have their outcome only now: the
        source might have sent them.
        """
        if self._store.name is None:
            return
        while self._in_progress > 1:  # what is settled may turn out to be gone
            await self._change()
        async with aclosing(self._store.gone()) as rows:
            async for row, was_open in rows:
                self._tally.gone += 1
                await self._items.gone(row)
                if was_open:
                    await self._slot()
                    self._deliver(self._items.outcome_of_gone(row))

    async def _slot(self) -> None:
        """Wait for a slot, and hold it."""
        while self._held >= self._setup.concurrency:
            freed = clock.Event()
            self._wanting.append(freed)
            try:
                await freed.wait()
                # A cancelled task gets a free slot, too, but it must begin nothing more.
                await anyio.lowlevel.checkpoint_if_cancelled()
            except BaseException:
                if freed in self._wanting:
                    self._wanting.remove(freed)
                else:
                    self._offer_slot()
                raise
        if self._reading.cancel_called:
            await anyio.lowlevel.checkpoint_if_cancelled()
        self._held += 1

    def _release(self) -> None:
        self._held -= 1
        self._offer_slot()

    def _offer_slot(self) -> None:
        if self._wanting:
            self._wanting.popleft().set()

    def _begin_item(self, item: Item[Q, R]) -> None:
        self._items_begun.add(item)
        self._employ(item)

    def _begin_look_up(self, item: Item[Q, R]) -> None:
        """Look an item up together with those that come until the look-up begins."""
        self._items_begun.add(item)
        self._to_look_up.append(item)
        if not self._is_looking_up:
            self._is_looking_up = True
            self._employ(None)

    def _employ(self, item: Item[Q, R] | None) -> None:
        self._in_progress += 1
        if self._idle:
            self._idle.pop().take(item)
        else:  # there are never more workers than slots, and one that looks items up
            self._group.start_soon(self._work, _Worker(item))

    async def _work(self, worker: _Worker[Q, R]) -> None:
        """Finish items, one after the other, until cancelled: a task for each costs too much."""
        while True:
            try:
                await (self._look_up() if worker.item is None else self._finish(worker.item))
            except Exception as error:  # noqa: BLE001 - raised where the outcomes are read
                self._fail(error)
            finally:
                self._end_one()
            worker.rest()
            self._idle.append(worker)
            await worker.wait()

    async def _look_up(self) -> None:
        """Look items up, page by page: a commit, and a worker, for each would cost too much."""
        while page := self._to_look_up[:PAGE]:
            del self._to_look_up[:PAGE]
            try:
                finished = await self._items.look_up(page)
            except Exception:
                self._leave(*page, *self._to_look_up)
                raise
            for item, is_finished in zip(page, finished, strict=True):
                if isinstance(is_finished, Exception):
                    self._leave(item)
                    self._fail(is_finished)
                elif is_finished:
                    self._complete(item)
                else:
                    self._employ(item)
        self._is_looking_up = False

    async def _finish(self, item: Item[Q, R]) -> None:
        try:
            if item.is_held and self._waiting < MOST_WAITING:
                await self._wait(item)
            await self._items.finish(item)
        except BaseException:
            self._leave(item)
            raise
        self._complete(item)

    async def _wait(self, item: Item[Q, R]) -> None:
        """Let others go on while somebody else works on an item's key."""
        has_slot = False

        async def slot() -> None:
            nonlocal has_slot
            if not has_slot:
                await self._slot()
                has_slot = True

        self._waiting += 1
        self._release()
        try:
            await self._items.wait(item, slot)
        finally:
            self._held += not has_slot  # it was stopped: its outcome holds one
            self._waiting -= 1

    def _complete(self, item: Item[Q, R]) -> None:
        self._items_begun.discard(item)
        if item.outcome is None:
            self._release()
        else:
            self._deliver(item.outcome)

    async def _leave_begun(self) -> None:
        """Give up the items that were cancelled before their first step, or before their look-up.

        Their claims, too: the journal stays open, and whatever is held looks as if it were sent.
        """
        try:
            with anyio.CancelScope(shield=True), suppress(JournalError):
                await self._items.find_rows(self._items_begun)
        finally:
            self._leave(*self._items_begun)
            with suppress(JournalError):
                await self._items.release(self._to_release)

    def _leave(self, *items: Item[Q, R]) -> None:
        """Give up items that were stopped on their way."""
        self._items_begun.difference_update(items)
        self._to_release.extend(items)
        outcomes = [self._items.stopped(item) for item in items]
        self.undelivered.extend(outcomes)
        for outcome in outcomes:
            self._tally.add(outcome)
        for outcome in outcomes:
            self._emit(outcome)

    def _emit(self, outcome: Outcome[Q, R]) -> None:
        if not self._hooks:
            return
        operation, state = self._setup.operation, outcome.state.value
        finished = ItemFinished(self._id, operation, outcome.key, state, outcome.recovered)
        self._hooks.emit(finished)

    def _deliver(self, outcome: Outcome[Q, R]) -> None:
        self._tally.add(outcome)
        self._ready.append(outcome)
        too_many = self._guard.notice(outcome.state)
        reason = self._items.reason_to_stop(outcome) or too_many
        if reason is not None:
            self._fail(reason)
        self._note_change()
        self._emit(outcome)
