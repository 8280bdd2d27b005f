"""All transactions, and the three ways to find one."""

from collections.abc import Iterator

from chat2pay_async.sandbox._errors import UnknownReferenceError
from chat2pay_async.sandbox._records import Transaction


class Book:
    """Every transaction by its reference; an order number leads to its latest one."""

    def __init__(self) -> None:
        self._links: dict[str, Transaction] = {}
        self._by_order: dict[str, str] = {}
        self._by_receipt: dict[str, str] = {}

    def __iter__(self) -> Iterator[Transaction]:
        return iter(self._links.values())

    def put(self, link: Transaction) -> None:
        """Keep a transaction, new or changed."""
        if link.ref not in self._links:
            self._by_order[link.order.order_number] = link.ref
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
        self, order_number: str | None, ref: str | None, receipt_ref: str | None
    ) -> Transaction:
        """Return the one transaction that all the given names belong to; at least one is given.

        Raises:
            UnknownReferenceError: There is none.
        """
        if ref:
            link = self.get(ref)
        elif receipt_ref:
            link = self._of_receipt(receipt_ref)
        else:
            link = self.latest(order_number or "")
        if receipt_ref and receipt_ref not in link.receipts:
            raise _unknown("receipt reference", receipt_ref)
        if order_number and order_number != link.order.order_number:
            raise _unknown("order number", order_number)
        return link

    def _of_receipt(self, receipt_ref: str) -> Transaction:
        ref = self._by_receipt.get(receipt_ref)
        if ref is None:
            raise _unknown("receipt reference", receipt_ref)
        return self._links[ref]


def _unknown(what: str, name: str) -> UnknownReferenceError:
    return UnknownReferenceError(f"There is no such transaction with {what} {name}")
