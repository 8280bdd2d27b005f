"""The store of all transactions, and look-ups in it, which may lag behind."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from chat2pay_async.sandbox._errors import UnknownReferenceError
from chat2pay_async.sandbox._service.records import Transaction


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A change that is not shown yet, and the record shown for it: None for a new transaction."""

    number: int
    before: Transaction | None
    at: datetime


class TransactionStore:
    """Every transaction by its reference; an order number leads to its latest one.

    Attributes:
        offset: The time by which the service's clock, on which all its times are, is ahead.
    """

    def __init__(self) -> None:
        self.offset = timedelta()
        self._hidden: defaultdict[str, list[_Hidden]] = defaultdict(list)
        self._due: list[tuple[datetime, int, str]] = []
        self._numbers = count()
        self._earlier: dict[str, str] = {}
        self._links: dict[str, Transaction] = {}
        self._by_order: dict[str, str] = {}
        self._by_receipt: dict[str, str] = {}

    def __iter__(self) -> Iterator[Transaction]:
        return iter(self._links.values())

    def put(self, link: Transaction, at: datetime, lag: timedelta) -> None:
        """Keep a transaction, new or changed; look-ups find it after the lag.

        A change that they show shows all those before it too.
        """
        before = self._links.get(link.ref)
        if before is None:
            order_number = link.order.order_number
            if earlier := self._by_order.get(order_number):
                self._earlier[link.ref] = earlier
            self._by_order[order_number] = link.ref
        if lag:
            number = next(self._numbers)
            self._hidden[link.ref].append(_Hidden(number, before, at))
            heappush(self._due, (at - self.offset + lag, number, link.ref))
        else:
            self._hidden.pop(link.ref, None)
        self._links[link.ref] = link
        if link.receipts:
            self._by_receipt[link.receipts[-1]] = link.ref

    def find_current(self, ref: str) -> Transaction | None:
        """Return the transaction of a payment link, if there is one."""
        return self._links.get(ref)

    def knows(self, name: str) -> bool:
        """Return True for the reference of a link, or the order number of one."""
        return name in self._links or name in self._by_order

    def get(self, ref: str) -> Transaction:
        """Return the transaction of a payment link.

        Raises:
            UnknownReferenceError: There is none.
        """
        link = self._links.get(ref)
        if link is None:
            raise _unknown("transaction reference", ref)
        return link

    def latest(self, order_number: str) -> Transaction:
        """Return the latest transaction of an order.

        Raises:
            UnknownReferenceError: There is none.
        """
        ref = self._by_order.get(order_number)
        if ref is None:
            raise _unknown("order number", order_number)
        return self._links[ref]

    def find(
        self, order_number: str | None, ref: str | None, receipt_ref: str | None, at: datetime
    ) -> tuple[Transaction, datetime]:
        """Return the one transaction that all the given names belong to; at least one is given.

        Returns:
            The transaction, as look-ups show it, and the time as of which they do.

        Raises:
            UnknownReferenceError: There is none, or none that they show.
        """
        if ref or receipt_ref:
            link, as_of = self._shown(ref or self._by_receipt.get(receipt_ref or "", ""), at)
        else:
            link, as_of = self._latest_shown(order_number or "", at)
        if link is None and ref:
            raise _unknown("transaction reference", ref)
        if receipt_ref and (link is None or receipt_ref not in link.receipts):
            raise _unknown("receipt reference", receipt_ref)
        if link is None or (order_number and order_number != link.order.order_number):
            raise _unknown("order number", order_number or "")
        return link, as_of

    def _shown(self, ref: str, at: datetime) -> tuple[Transaction | None, datetime]:
        while self._due and self._due[0][0] <= at - self.offset:
            _, number, due = heappop(self._due)
            still = [each for each in self._hidden.pop(due, ()) if each.number > number]
            if still:
                self._hidden[due] = still
        if hidden := self._hidden.get(ref):
            return hidden[0].before, hidden[0].at
        return self._links.get(ref), at

    def _latest_shown(self, order_number: str, at: datetime) -> tuple[Transaction | None, datetime]:
        ref = self._by_order.get(order_number, "")
        found = self._shown(ref, at)
        while found[0] is None and (ref := self._earlier.get(ref, "")):
            found = self._shown(ref, at)
        return found


def _unknown(what: str, name: str) -> UnknownReferenceError:
    return UnknownReferenceError(f"There is no such transaction with {what} {name}")
