"""Dry run: everything that a run does except sending."""

from __future__ import annotations

from typing import TypeVar

import attrs

from chat2pay_async._bulk.item import Item, Items
from chat2pay_async._bulk.outcomes import State
from chat2pay_async._bulk.summary import Forecast, add_amount

__all__ = ["DryRun"]

Q = TypeVar("Q")
R = TypeVar("R")


class DryRun(Items[Q, R]):
    """Brings items to the point where they would be sent, and counts them."""

    _forecast: Forecast = Forecast()

    @property
    def forecast(self) -> Forecast:
        """The forecast from the items so far."""
        found = self._forecast
        each = max(self._sender.interval, Forecast.CALL_SECONDS / self._concurrency)
        return attrs.evolve(found, seconds=(found.to_send + found.to_look_up) * each)

    async def finish(self, item: Item[Q, R]) -> None:
        """Count an item, and set its outcome if it would not be sent."""
        if item.row is not None:
            self._count("to_look_up")
            return
        registered = await self._store.register(item.key, getattr(item.request, "to", None))
        item.outcome = self.known(item, registered)
        if item.outcome is not None:
            self._count("refused" if item.outcome.state is State.REJECTED else "final")
        elif not registered.resumed:
            self._count("to_send")
            now, repeated = self._forecast, registered.recipient_repeated
            keys, amounts = now.same_recipient_keys, dict(now.amounts)
            add_amount(amounts, item.request)
            self._forecast = attrs.evolve(
                now,
                same_recipient=now.same_recipient + repeated,
                same_recipient_keys=(*keys, *[item.key] * repeated)[: Forecast.SHOWN],
                amounts=amounts,
            )

    def _count(self, name: str) -> None:
        now = self._forecast
        self._forecast = attrs.evolve(now, **{name: getattr(now, name) + 1})
