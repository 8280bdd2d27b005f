"""Dry run: everything that a run does except sending."""

from __future__ import annotations

from typing import Any, TypeVar

from chat2pay_async._bulk.item import Item, Items
from chat2pay_async._bulk.outcomes import State
from chat2pay_async._bulk.store import Registered
from chat2pay_async._bulk.summary import Forecast, Totals

__all__ = ["DryRun"]

Q = TypeVar("Q")
R = TypeVar("R")


class DryRun(Items[Q, R]):
    """Brings items to the point where they would be sent, and counts them."""

    _resumed: int = 0
    _refused: int = 0
    _final: int = 0

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._to_send = Totals()
        self._same_recipient = 0
        self._same_recipient_keys: list[str] = []

    @property
    def forecast(self) -> Forecast:
        """The forecast from the items so far."""
        each = max(self._sender.interval, Forecast.CALL_SECONDS / self._concurrency)
        return Forecast(
            to_send=self._to_send.items,
            to_look_up=self._resumed,
            final=self._final,
            refused=self._refused,
            same_recipient=self._same_recipient,
            same_recipient_keys=tuple(self._same_recipient_keys),
            amounts=dict(self._to_send.amounts),
            seconds=(self._to_send.items + self._resumed) * each,
        )

    def register(self, item: Item[Q, R]) -> bool:
        """Register an item and its recipient if both are certainly new."""
        return self._store.register(item.key, self._recipient_of(item))

    def _recipient_of(self, item: Item[Q, R]) -> str | None:
        recipient: str | None = getattr(item.request, "to", None)
        return recipient

    async def finish_at_once(self, item: Item[Q, R]) -> bool:
        """Count an item that is certainly new; nearly all are, and none of these has an outcome."""
        self._to_send.add_request(item.request)
        await self._store.index()
        return True

    def finish_known(self, item: Item[Q, R], registered: Registered) -> bool:
        """Count an item, and set its outcome if it would not be sent."""
        if not super().finish_known(item, registered):
            self._to_send.add_request(item.request)
            if registered.recipient_repeated:
                self._same_recipient += 1
                if self._same_recipient <= Forecast.SHOWN:
                    self._same_recipient_keys.append(item.key)
        elif item.outcome is not None and item.outcome.state is State.REJECTED:
            self._refused += 1
        elif item.outcome is not None:
            self._final += 1
        return True

    async def finish(self, item: Item[Q, R]) -> None:  # noqa: ARG002 - counted, not sent
        """Count an item that an earlier run left unresolved."""
        self._resumed += 1
