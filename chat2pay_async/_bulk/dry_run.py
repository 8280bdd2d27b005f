"""A dry run: everything that a run does but sending."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from chat2pay_async._bulk.item import Item, Items
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.summary import Forecast, add_amount

__all__ = ["Rehearsal"]

Q = TypeVar("Q")
R = TypeVar("R")


class Rehearsal(Items[Q, R]):
    """Brings items to the point where they would be sent."""

    _forecast: Forecast = Forecast()

    @property
    def forecast(self) -> Forecast:
        """What was counted so far."""
        found = self._forecast
        each = max(self._sender.interval, Forecast.CALL_SECONDS / self._concurrency)
        return attrs.evolve(found, seconds=(found.to_send + found.to_look_up) * each)

    async def finish(self, item: Item[Q, R]) -> None:
        """See what would become of an item: its outcome, if it would not be sent."""
        now = self._forecast
        if item.row is not None:
            self._forecast = attrs.evolve(now, to_look_up=now.to_look_up + 1)
            return
        claimed = await self._book.claim(item.key, getattr(item.request, "to", None))
        item.outcome = self.known(item, claimed)
        if item.outcome is not None:
            self._count_known(item.outcome)
        elif not claimed.taken_up:
            self._count(item, same_recipient=claimed.recipient_repeated)

    def _count_known(self, outcome: Outcome[Any, Any]) -> None:
        now = self._forecast
        if outcome.state is State.REJECTED:
            self._forecast = attrs.evolve(now, refused=now.refused + 1)
        else:
            self._forecast = attrs.evolve(now, final=now.final + 1)

    def _count(self, item: Item[Any, Any], *, same_recipient: bool) -> None:
        now = self._forecast
        shown = now.same_recipient_keys
        if same_recipient and len(shown) < Forecast.SHOWN:
            shown = (*shown, item.key)
        amounts = dict(now.amounts)
        add_amount(amounts, item.request)
        self._forecast = attrs.evolve(
            now,
            to_send=now.to_send + 1,
            same_recipient=now.same_recipient + same_recipient,
            same_recipient_keys=shown,
            amounts=amounts,
        )
