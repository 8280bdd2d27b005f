"""The index that status look-ups read, which may lag behind the store."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from itertools import count

from chat2pay_async.sandbox._service.records import Transaction


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A change that is not shown yet, and the record shown for it: None for a new transaction."""

    number: int
    before: Transaction | None
    at: datetime


class LaggingIndex:
    """The changes that look-ups do not show yet; it forgets a change once it is shown."""

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
            before: The transaction before the change.
            at: The time of the change, on the service's clock.
            from_: The same on the sandbox's own clock.
            until: The time from which it is shown, on that clock.
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
        """Return a transaction as look-ups show it, and the time as of which they show it."""
        while self._due and self._due[0][0] <= now:
            _, number, ref = heappop(self._due)
            still = [each for each in self._hidden.pop(ref, ()) if each.number > number]
            if still:
                self._hidden[ref] = still
        if hidden := self._hidden.get(link.ref):
            return hidden[0].before, hidden[0].at
        return link, at
