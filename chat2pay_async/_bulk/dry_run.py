"""Dry run: everything that a run does except sending."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

from chat2pay_async._bulk.item import Item, Items
from chat2pay_async._bulk.outcomes import State, request_of_row
from chat2pay_async._bulk.store import Asked, Registered
from chat2pay_async._bulk.summary import Forecast, Totals, mark_of
from chat2pay_async._journal.store import Answer, Claim, Row, RowState
from chat2pay_async._phones import country_prefix
from chat2pay_async.errors import IdempotencyConflictError

__all__ = ["DryRun"]

Q = TypeVar("Q")
R = TypeVar("R")


class DryRun(Items[Q, R]):
    """Brings items to the point where they would be sent, and counts them."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._counts: Counter[str] = Counter()
        self._to_send = Totals()
        self._same_recipient_keys: list[str] = []
        self._lookalike_keys: list[tuple[str, str]] = []
        self._lookalikes = set[int]()
        """Hashes of their keys: one may look like a known order, and like one that is gone."""
        self._countries: Counter[str] = Counter()
        self._channels: Counter[str] = Counter()
        self._moved: dict[str, str] = {}

    @property
    def forecast(self) -> Forecast:
        """The forecast from the items so far."""
        each = max(self._sender.interval, Forecast.CALL_SECONDS / self._concurrency)
        counts = self._counts
        return Forecast(
            to_send=self._to_send.items,
            to_look_up=counts["to_look_up"],
            final=counts["final"],
            refused=counts["refused"],
            new=counts["new"],
            changed=counts["changed"],
            rejected=counts["rejected"],
            repeated=counts["repeated"],
            lookalikes=counts["lookalikes"],
            lookalike_keys=tuple(self._lookalike_keys),
            gone=counts["gone"],
            moved=dict(self._moved),
            recipients=counts["recipients"],
            same_recipient=counts["same_recipient"],
            same_recipient_keys=tuple(self._same_recipient_keys),
            countries=dict(self._countries),
            channels=dict(self._channels),
            amounts=dict(self._to_send.amounts),
            seconds=(self._to_send.items + counts["to_look_up"]) * each,
        )

    def _asked(self, key: str, folded: str, request: Q, claim: Claim | None) -> Asked:
        recipient: str | None = getattr(request, "to", None)
        mark = None if self._store.name is None else mark_of(request)
        return Asked(key, folded, recipient, mark, claim)

    async def finish_at_once(self, item: Item[Q, R]) -> bool:
        """Count an item that is certainly new; nearly all are, and none of these has an outcome."""
        self._count_to_send(item, is_recipient_new=True)
        await self._store.index()
        return True

    def _is_finished(self, item: Item[Q, R], registered: Registered) -> bool:
        """Count an item, and set its outcome if it would not be sent."""
        is_finished, counts = super()._is_finished(item, registered), self._counts
        other = registered.lookalike
        if other is not None and not registered.repeated:
            self._note_lookalike(item.key, other)
        row = item.row
        if not is_finished:
            if item.claimed is not None and item.claimed.answer is Answer.OPEN:
                counts["to_look_up"] += 1
            else:
                self._count_to_send(item, is_recipient_new=not registered.recipient_repeated)
        elif item.outcome is not None and item.outcome.state is State.REJECTED:
            counts["refused"] += 1
            counts["repeated"] += registered.repeated
            counts["changed"] += isinstance(item.outcome.error, IdempotencyConflictError)
        else:
            counts["final"] += 1
            counts["rejected"] += row is not None and row.state is RowState.REJECTED
        return True

    def _count_to_send(self, item: Item[Q, R], *, is_recipient_new: bool) -> None:
        counts, request = self._counts, item.request
        self._to_send.add(request)
        counts["new"] += item.row is None
        recipient: str | None = getattr(request, "to", None)
        if recipient is None:
            return
        self._countries[country_prefix(recipient) or ""] += 1
        self._channels[str(getattr(request, "channel", ""))] += 1
        if is_recipient_new:
            counts["recipients"] += 1
            return
        counts["same_recipient"] += 1
        if counts["same_recipient"] <= Forecast.SHOWN:
            self._same_recipient_keys.append(item.key)

    async def finish(self, item: Item[Q, R]) -> None:
        """Count nothing: an open row is counted where the source has it, or as gone."""

    async def gone(self, row: Row) -> None:
        """Count a row of the run that its source has no more."""
        self._counts["gone"] += 1
        mark = mark_of(request_of_row(row))
        other = None if mark is None else await self._store.key_of_mark(mark)
        if mark is not None and other is not None:
            self._moved[mark] = row.key
            self._note_lookalike(other, row.key)

    def _note_lookalike(self, key: str, other: str) -> None:
        """Count a new item that looks like another one, once."""
        if hash(key) in self._lookalikes:
            return
        self._lookalikes.add(hash(key))
        self._counts["lookalikes"] += 1
        if len(self._lookalike_keys) < Forecast.SHOWN:
            self._lookalike_keys.append((key, other))
