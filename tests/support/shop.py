"""Items of a run over a scripted transport, a real journal, and virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
from scripted import LINK, Bench, options

from chat2pay_async import JournalError
from chat2pay_async._api import operations
from chat2pay_async._bulk.item import Items
from chat2pay_async._bulk.store import RunStore
from chat2pay_async._config import ApiKey
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._journal.sqlite_file import Binding

__all__ = ["Inline", "Shop", "shop"]

CREATE = operations.CREATE_PAYMENT_LINK


class Inline:
    """Group commit without a thread: threads know nothing of virtual time."""

    def __init__(self, work: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self._work = work
        self._left: list[Any] = []

    @property
    def waiting(self) -> int:
        return len(self._left)

    def add(self, item: Any) -> None:
        self._left.append(item)

    async def submit(self, item: Any, *, keep: bool = False) -> Any:
        del keep
        await anyio.lowlevel.checkpoint()
        batch, self._left = [*self._left, item], []
        return self._work(batch)[-1]

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return function(*args)

    def flush_now(self) -> None:
        with suppress(JournalError):
            self._work(self._left)


@attrs.define
class Shop:
    """Items of a run, with their store and journal."""

    made: Bench
    items: Items[Any, Any]
    store: RunStore
    journal: Journal | None

    async def finish(self, request: Any = LINK) -> Any:
        item = self.items.new(request)
        if not self.items.register(item):
            (registered,) = await self.items.look_up([item])
            if self.items.finish_known(item, registered):
                return item.outcome
        await self.items.finish(item)
        return item.outcome

    async def resume_row(self) -> Any:
        """Bring the one unresolved row to its outcome."""
        ((_number, row),) = self.store._unresolved_page(0)
        item = self.items.resume(row)
        await self.items.finish(item)
        return item.outcome


@contextmanager
def shop(
    made: Bench,
    path: Path | None = None,
    operation: operations.Operation[Any, Any] = CREATE,
    *,
    check_existing: bool = False,
    give_up_after: float = 0.0,
    **retry: Any,
) -> Iterator[Shop]:
    """Open the items of a run. By default it waits for no outage."""
    journal = None if path is None else Journal(path)
    store = RunStore(journal)
    inline: Any = Inline(store._work)
    store._commits = inline
    store._open(Binding(operation.name, "https://s.test", ApiKey("secret-key").fingerprint))
    items = Items(
        operation,
        made.sender,
        options(**retry),
        store,
        concurrency=4,
        check_existing=check_existing,
        give_up_after=give_up_after,
    )
    try:
        yield Shop(made, items, store, journal)
    finally:
        inline.flush_now()
        store._close()
