"""The store of all transactions, and the three ways to find one."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from chat2pay_async.sandbox._errors import UnknownReferenceError
from chat2pay_async.sandbox._service.lagging_index import LaggingIndex
from chat2pay_async.sandbox._service.records import Transaction


class TransactionStore:
    """Every transaction by its reference; an order number leads to its latest one.

    Attributes:
        offset: The time by which the service's clock, on which all its times are, is ahead.
    """

    def __init__(self) -> None:
        self.offset = timedelta()
        self._index = LaggingIndex()
        self._earlier: dict[str, str] = {}
        self._links: dict[str, Transaction] = {}
        self._by_order: dict[str, str] = {}
        self._by_receipt: dict[str, str] = {}

    def __iter__(self) -> Iterator[Transaction]:
        return iter(self._links.values())

    def put(self, link: Transaction, at: datetime, lag: timedelta) -> None:
        """Keep a transaction, new or changed; look-ups find it after the lag."""
        before = self._links.get(link.ref)
        if before is None:
            order_number = link.order.order_number
            if earlier := self._by_order.get(order_number):
                self._earlier[link.ref] = earlier
            self._by_order[order_number] = link.ref
        now = at - self.offset
        self._index.hide(link.ref, before, at, from_=now, until=now + lag)
        self._links[link.ref] = link
        if link.receipts:
            self._by_receipt[link.receipts[-1]] = link.ref

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
        if ref:
            found = self._shown(ref, at)
        elif receipt_ref:
            found = self._shown(self._by_receipt.get(receipt_ref, ""), at)
        else:
            found = self._latest_shown(order_number or "", at)
        link, as_of = found
        if link is None and ref:
            raise _unknown("transaction reference", ref)
        if receipt_ref and (link is None or receipt_ref not in link.receipts):
            raise _unknown("receipt reference", receipt_ref)
        if link is None or (order_number and order_number != link.order.order_number):
            raise _unknown("order number", order_number or "")
        return link, as_of

    def _shown(self, ref: str, at: datetime) -> tuple[Transaction | None, datetime]:
        link = self._links.get(ref)
        return (None, at) if link is None else self._index.shown(link, at, at - self.offset)

    def _latest_shown(self, order_number: str, at: datetime) -> tuple[Transaction | None, datetime]:
        ref = self._by_order.get(order_number, "")
        found = self._shown(ref, at)
        while found[0] is None and (ref := self._earlier.get(ref, "")):
            found = self._shown(ref, at)
        return found


def _unknown(what: str, name: str) -> UnknownReferenceError:
    return UnknownReferenceError(f"There is no such transaction with {what} {name}")
