"""The references that a client's calls received: a copy of an old response proves nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from chat2pay_async._api import models, operations
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import is_reference, receipt_key
from chat2pay_async.errors import Pending, SentRequest

__all__ = [
    "Owner",
    "References",
    "owner_by",
    "owner_in",
    "owner_of",
    "reference_in",
    "references_over",
]

Owner: TypeAlias = tuple[str, ...]
"""The call that received a reference, the same for each of its attempts, in any process: its
operation and identity, and its idempotency key where that is another than the identity."""

_CREATE: Final = operations.CREATE_PAYMENT_LINK.name
_CANCEL: Final = operations.CANCEL_PAYMENT_LINK.name
_GATEWAY: Final = {operations.CAPTURE_PAYMENT.name, operations.REVERSE_PAYMENT.name}
_REFERENCES: Final = {
    _CREATE: "payment_link_ref",
    operations.CREATE_RECEIPT.name: "receipt_link_ref",
    **dict.fromkeys(_GATEWAY, "payment_gateway_req_reference_number"),
    # The only field of an update's response. Two updates of one moment are read back.
    operations.UPDATE_INTEGRATION.name: "update_time",
}


def owner_of(operation: str, identity: str, request: SentRequest, key: str | None = None) -> Owner:
    """Return the call that a response is for; a link has many receipts, each with its own URL."""
    if key is None and operation == operations.CREATE_RECEIPT.name:
        body = decode_object(request.body or b"{}") or {}
        key = receipt_key(identity, f"{body.get('receiptLink')}")
    return owner_by(operation, identity, key)


def owner_by(operation: str, identity: str, key: str | None) -> Owner:
    """Return the call with an idempotency key; None: the identity is its key."""
    return (operation, identity) if key in {None, identity} else (operation, identity, f"{key}")


def owner_in(pending: Pending) -> Owner:
    """Return the call that a pending is of."""
    request, key = pending.request, pending.idempotency_key
    return owner_of(pending.operation, pending.identity, request, key)


def reference_in(operation: str, result: Any) -> str | None:
    """Return the reference in a result that no other call can have received; None: it has none."""
    reference: object = getattr(result, _REFERENCES.get(operation, ""), None)
    return str(reference) if is_reference(reference) else None


class References:
    """The latest references of a client, each with the call that received it."""

    SIZE: Final = 10_000

    def __init__(self) -> None:
        self._owners: OrderedDict[str, Owner] = OrderedDict()

    def add(self, reference: str | None, owner: Owner) -> None:
        """Keep a reference; the first call that received it stays its owner."""
        if is_reference(reference):
            self._keep(f"{reference}", owner)

    def _keep(self, reference: str, owner: Owner) -> None:
        self._owners.setdefault(reference, owner)
        if len(self._owners) > self.SIZE:
            self._owners.popitem(last=False)

    def claim(self, owner: Owner, request: object, result: object) -> bool:
        """Keep the reference in a result: from now on it is no other call's.

        Args:
            owner: The call that received it.
            request: Its request.
            result: Its result.

        Returns:
            False for a copy: another call received this reference. A receipt's copy may have one
            that this client never saw; its order number then tells, where both sides have one.
        """
        if isinstance(result, models.Transaction):
            if result.order_number is not None:  # it is the link of whoever made this order
                self.add(result.payment_link_ref, (_CREATE, result.order_number))
        elif isinstance(result, models.Cancellation):  # of a link that may have its owner
            self.add(result.payment_link_ref, owner)
        else:
            reference = reference_in(owner[0], result)
            if reference is not None and self._owners.get(reference, owner) != owner:
                # A type says which step of a payment it is, as it does in a transaction.
                is_typed = getattr(result, "transaction_type", None) is not None
                if self.is_of_another(reference, owner, is_read_back=is_typed):
                    return False
            if self._names_another_order(request, result):
                return False
            if reference is not None:
                self._keep(reference, owner)
        return True

    def _names_another_order(self, request: object, result: object) -> bool:
        link: str | None = getattr(request, "payment_link_ref", None)
        if not link:
            return False
        order: str | None = getattr(result, "order_number", None)
        operation, identity = self._owners.get(link, ("", ""))[:2]
        return operation == _CREATE and order not in {None, "", identity}

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


_SHARED: Final[MutableMapping[object, References]] = WeakKeyDictionary()


def references_over(connections: object) -> References:
    """Return the references of all clients that share connections.

    A copy of a response to one of them may come as the response to another.

    Args:
        connections: A user's client or transport of httpx's. Anything that is no object to share,
            such as None, has references of its own.
    """
    try:
        return _SHARED.setdefault(connections, References())
    except TypeError:  # it can't be a key
        return References()
