"""Items of a run over a scripted transport, a real journal, and virtual time."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
from scripted import LINK, Bench, options

from chat2pay_async._api import operations
from chat2pay_async._bulk.item import Items
from chat2pay_async._bulk.known import Choices
from chat2pay_async._bulk.outcomes import request_of_row
from chat2pay_async._bulk.store import Name, RunStore
from chat2pay_async._config import ApiKey
from chat2pay_async._journal import sqlite_store
from chat2pay_async._journal.database import Database
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import OPEN, Account, Row
from chat2pay_async._send.idempotency import KeyedCalls

__all__ = [
    "ACCOUNT",
    "Inline",
    "InlineWriter",
    "Shop",
    "at_once",
    "copy_journal",
    "rows_in",
    "shop",
]

CREATE = operations.CREATE_PAYMENT_LINK
ACCOUNT = Account("https://s.test", ApiKey("secret-key").fingerprint)


class Inline:
    """Group commit without a thread: threads know nothing of virtual time."""

    def __init__(self, work: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self._work = work

    async def submit(self, item: Any, *, keep: bool = False) -> Any:
        del keep
        await anyio.lowlevel.checkpoint()
        return self._work([item])[-1]

    async def run(self, function: Callable[..., Any], *args: Any, always: bool = False) -> Any:
        del always
        await anyio.lowlevel.checkpoint()
        return function(*args)

    async def serve(self) -> None:
        await anyio.sleep_forever()


@attrs.define(eq=False)
class _Entry:
    work: Callable[[Any], Any]
    is_alone: bool = False
    result: Any = None
    error: BaseException | None = None


class InlineWriter:
    """A journal's writer without a thread."""

    def __init__(
        self, work_off: Callable[[Sequence[Any]], None], end: Callable[[], object]
    ) -> None:
        self._work_off = work_off
        self._end = end
        self._later: list[_Entry] = []
        self.has_loop = False

    def submit(self, work: Callable[[Any], Any], *, is_alone: bool = False) -> _Entry:
        entry = _Entry(work, is_alone)
        later, self._later = self._later, []
        for batch in ([entry],) if is_alone or not later else (later, [entry]):
            self._work_off(batch)
        return entry

    def post(self, work: Callable[[Any], Any], *, is_alone: bool = False) -> None:
        self.submit(work, is_alone=is_alone)

    def post_later(self, work: Callable[[Any], Any]) -> None:
        self._later.append(_Entry(work))

    async def wait(self, entry: _Entry) -> Any:
        if self.has_loop:
            await anyio.lowlevel.checkpoint()
        if entry.error is not None:
            raise entry.error.with_traceback(None)
        return entry.result

    def stop(self) -> None:
        self._end()


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError


@contextmanager
def inline_writers() -> Iterator[None]:
    place: Any = sqlite_store
    given: Any = place.Writer
    place.Writer = InlineWriter
    try:
        yield
    finally:
        place.Writer = given


@contextmanager
def opened(path: Path, **settings: Any) -> Iterator[SQLiteStore]:
    """Open a journal whose work is done at once, in the task that asks for it."""
    with inline_writers():
        journal = SQLiteStore(path, **settings)
        at_once(journal.open(ACCOUNT))
    writer: Any = journal._writer
    writer.has_loop = True
    try:
        yield journal
    finally:
        writer.has_loop = False
        at_once(journal.aclose())


@attrs.define
class Shop:
    """Items of a run, with their store and journal."""

    made: Bench
    items: Items[Any, Any]
    store: RunStore
    journal: SQLiteStore | None
    path: Path | None = None

    async def finish(self, request: Any = LINK, key: str | None = None) -> Any:
        """Bring an item of the source to its outcome."""
        item = self.items.new(request, key)
        if not self.items.register(item):
            (is_finished,) = await self.items.look_up([item])
            if is_finished:
                return item.outcome
        await self.items.finish(item)
        return item.outcome

    async def resume_row(self) -> Any:
        """Bring the request of the one open row to its outcome: the source has it still."""
        assert self.path is not None
        (row,) = (row for row in rows_in(self.path) if row.state in OPEN)
        request = request_of_row(row)
        if hasattr(request, "timestamp"):  # it was the default, which is no content
            request = attrs.evolve(request, timestamp=request.timestamp.replace(fold=1))
        return await self.finish(request)

    async def settle_rows(self) -> list[Any]:
        """Settle the rows that dead processes left open."""
        outcomes: list[Any] = []
        async for claimed in self.store.left_open():
            item = self.items.resume(claimed)
            await self.items.finish(item)
            outcomes.append(item.outcome)
        return outcomes


@contextmanager
def shop(  # noqa: PLR0913 - whatever can be different
    made: Bench,
    path: Path | None = None,
    operation: operations.Operation[Any, Any] = CREATE,
    *,
    run: str = "spring",
    give_up_after: float = 0.0,
    choices: Mapping[str, Any] | None = None,
    accept_loss: bool = False,
    **retry: Any,
) -> Iterator[Shop]:
    """Open the items of a run. By default it waits for no outage."""
    chosen = Choices(give_up_after=give_up_after, **(choices or {}))
    with opened(path, accept_loss=accept_loss) if path is not None else _none() as journal:
        calls = KeyedCalls(made.sender, journal, object())
        name = None if journal is None else Name(run, operation.name, {})
        store = RunStore(journal, name, finds_lookalikes=not chosen.allow_lookalikes)
        inline: Any = Inline(store._work)
        store._commits = inline
        store._open()
        if journal is not None:
            writer: Any = journal._writer
            writer.has_loop = False
            at_once(journal.open_run(run, operation.name, {}))
            writer.has_loop = True
        items = Items(operation, calls, options(**retry), store, chosen, concurrency=4)
        try:
            yield Shop(made, items, store, journal, path)
        finally:
            store._close()


@contextmanager
def _none() -> Iterator[None]:
    yield None


def rows_in(path: Path) -> list[Row]:
    """Read a journal's rows, whoever has it open."""
    with closing(sqlite3.connect(path)) as db:
        reader: Any = Database
        return [row for row, _line in reader(db, None, "", None).rows(None, None, None, 0, 500)]


def copy_journal(path: Path, left: Path) -> None:
    """Copy a journal as the death of its process right now would leave it."""
    for one in path.parent.glob(f"{path.name}*"):
        there = left.with_name(left.name + one.name.removeprefix(path.name))
        (shutil.copytree if one.is_dir() else shutil.copy)(one, there)
