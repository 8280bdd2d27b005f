"""The references that a client's calls received: a copy of an old response proves nothing."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, TypeAlias

from chat2pay_async._api import models, operations
from chat2pay_async._api.json import decode_object
from chat2pay_async.errors import SentRequest

__all__ = ["Owner", "References", "owner_of", "reference_in"]

Owner: TypeAlias = tuple[str, str]
"""The call that received a reference: the same for each of its attempts, in any process."""

_CREATE: Final = operations.CREATE_PAYMENT_LINK.name
_CANCEL: Final = operations.CANCEL_PAYMENT_LINK.name
_GATEWAY: Final = {operations.CAPTURE_PAYMENT.name, operations.REVERSE_PAYMENT.name}
_REFERENCES: Final = {
    _CREATE: "payment_link_ref",
    operations.CREATE_RECEIPT.name: "receipt_link_ref",
    **dict.fromkeys(_GATEWAY, "payment_gateway_req_reference_number"),
}


def owner_of(operation: str, identity: str, request: SentRequest) -> Owner:
    """Return the call that a response is for; a link has many receipts, each with its own URL."""
    if operation == operations.CREATE_RECEIPT.name:
        body = decode_object(request.body or b"{}") or {}
        return operation, f"{identity} {body.get('receiptLink')}"
    return operation, identity


def reference_in(operation: str, result: Any) -> str | None:
    """Return the reference in a result that no other call can have received; None: it has none."""
    reference: str | None = getattr(result, _REFERENCES.get(operation, ""), None)
    return reference


class References:
    """The latest references of a client, each with the call that received it."""

    SIZE: Final = 10_000

    def __init__(self) -> None:
        self._owners: OrderedDict[str, Owner] = OrderedDict()

    def add(self, reference: str | None, owner: Owner) -> None:
        """Keep a reference; the first call that received it stays its owner."""
        if reference is not None:
            self._owners.setdefault(reference, owner)
        if len(self._owners) > self.SIZE:
            self._owners.popitem(last=False)

    def add_transaction(self, found: models.Transaction) -> None:
        """Keep the reference of a link that was read: it is that of whoever made its order."""
        if found.order_number is not None:
            self.add(found.payment_link_ref, (_CREATE, found.order_number))

    def order_of(self, payment_link_ref: str | None) -> str | None:
        """Return the order number of a link, as far as it is known."""
        operation, identity = self._owners.get(payment_link_ref or "", ("", ""))
        return identity if operation == _CREATE else None

    def is_of_another(
        self, reference: str | None, owner: Owner, *, is_read_back: bool = False
    ) -> bool:
        """Tell whether another call received this reference.

        Args:
            reference: What a response carries.
            owner: The call that it is for.
            is_read_back: It stands in a transaction, where each entry says what it is. A gateway
                may number a payment, and not each step of it; and that a link was cancelled by its
                reference does not say whose it is.
        """
        found = self._owners.get(reference or "", owner)
        if found == owner or not is_read_back:
            return found != owner
        is_sibling = {found[0], owner[0]} == _GATEWAY and found[1] == owner[1]
        return not is_sibling and found[0] != _CANCEL
