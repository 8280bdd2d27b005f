"""The references that a client's calls received: a copy of an old response proves nothing."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, TypeAlias

from chat2pay_async._api import operations
from chat2pay_async._api.json import decode_object
from chat2pay_async.errors import SentRequest

__all__ = ["Owner", "References", "owner_of", "reference_in"]

Owner: TypeAlias = tuple[str, str]
"""The call that received a reference: the same for each of its attempts, in any process."""

_REFERENCES: Final = {
    operations.CREATE_PAYMENT_LINK.name: "payment_link_ref",
    operations.CREATE_RECEIPT.name: "receipt_link_ref",
    operations.CAPTURE_PAYMENT.name: "payment_gateway_req_reference_number",
    operations.REVERSE_PAYMENT.name: "payment_gateway_req_reference_number",
}
_GATEWAY: Final = {operations.CAPTURE_PAYMENT.name, operations.REVERSE_PAYMENT.name}


def owner_of(operation: str, identity: str, request: SentRequest) -> Owner:
    """Return the call that a response is for.

    A link has many receipts, each with a URL of its own. A gateway may number a payment, and not
    each step of it.
    """
    if operation == operations.CREATE_RECEIPT.name:
        body = decode_object(request.body or b"{}") or {}
        return operation, f"{identity} {body.get('receiptLink')}"
    return "gateway" if operation in _GATEWAY else operation, identity


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

    def owner(self, reference: str | None) -> Owner | None:
        """Return the call that received a reference, as far as it is known."""
        return None if reference is None else self._owners.get(reference)

    def is_of_another(self, reference: str | None, owner: Owner) -> bool:
        """Tell whether another call received this reference."""
        return reference is not None and self._owners.get(reference, owner) != owner
