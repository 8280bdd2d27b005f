"""The index that status look-ups read, which may lag behind what is true."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from itertools import count

from chat2pay_async.sandbox._service.records import Transaction


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A change that is not shown yet, and what is shown for it: None for a new transaction."""

    number: int
    before: Transaction | None
    at: datetime


class Index:
    """What look-ups do not show yet; it remembers a change only as long as it is hidden."""

    def __init__(self) -> None:
        self._hidden: defaultdict[str, list[_Hidden]] = defaultdict(list)
        self._due: list[tuple[datetime, int, str]] = []
        self._numbers = count()

    def hide(
        self,
        ref: str,
        before: Transaction | None,
        at: datetime,
        *,
        from_: datetime,
        until: datetime,
    ) -> None:
        """Hide a change for a time; a change that is shown shows all those before it too.

        Args:
            ref: The transaction's reference.
            before: What it was before.
            at: When it changed, on the service's clock.
            from_: The same on the sandbox's own clock.
            until: When it shows, on that clock.
        """
        if until <= from_:
            self._hidden.pop(ref, None)
            return
        number = next(self._numbers)
        self._hidden[ref].append(_Hidden(number, before, at))
        heappush(self._due, (until, number, ref))

    def shown(
        self, link: Transaction, at: datetime, now: datetime
    ) -> tuple[Transaction | None, datetime]:
        """Return what look-ups show of a transaction, and the time as of which they show it."""
        self._uncover(now)
        if hidden := self._hidden.get(link.ref):
            return hidden[0].before, hidden[0].at
        return link, at

    def _uncover(self, now: datetime) -> None:
        while self._due and self._due[0][0] <= now:
            _, number, ref = heappop(self._due)
            still = [each for each in self._hidden.pop(ref, ()) if each.number > number]
            if still:
                self._hidden[ref] = still
