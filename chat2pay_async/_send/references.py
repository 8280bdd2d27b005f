"""The references that a client's calls received: a copy of an old response proves nothing."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from chat2pay_async._api import models, operations
from chat2pay_async._api.operations import is_reference

__all__ = ["Owner", "References", "reference_in"]


class Owner(NamedTuple):
    """The call that received a reference."""

    operation: str
    identity: str
    call: str | None = None
    """The same for each attempt of a call, and for whoever resolves or resumes it; None: it may be
    any call of this operation and identity."""


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


def reference_in(operation: str, result: Any) -> str | None:
    """Return the reference in a result that no other call can have received; None: it has none."""
    reference: object = getattr(result, _REFERENCES.get(operation, ""), None)
    return None if reference is None else str(reference)


class References:
    """The latest references of a client, each with the call that received it."""

    SIZE: Final = 10_000

    def __init__(self) -> None:
        self._owners: OrderedDict[str, Owner] = OrderedDict()

    def add(self, reference: str | None, owner: Owner) -> None:
        """Keep a reference; the first call that received it stays its owner."""
        if reference is not None and is_reference(reference):
            kept = self._owners.setdefault(reference, owner)
            if kept == owner._replace(call=None):  # now it is known which one of its calls
                self._owners[reference] = owner
        if len(self._owners) > self.SIZE:
            self._owners.popitem(last=False)

    def claim(self, owner: Owner, request: object, result: object, body: bytes) -> bool:
        """Keep the reference in a result: from now on it is no other call's.

        Args:
            owner: The call that received it.
            request: Its request.
            result: Its result.
            body: The response's, as received.

        Returns:
            False for a copy: another call received this reference. A receipt's copy may have one
            that this client never saw; its order number then tells, where both sides have one.
        """
        if isinstance(result, models.Transaction):
            if result.order_number is not None:  # it is the link of whoever made this order
                self.add(result.payment_link_ref, Owner(_CREATE, result.order_number))
        elif isinstance(result, models.Cancellation):  # of a link that may have its owner
            self.add(result.payment_link_ref, owner)
        elif isinstance(result, models.GatewayResult):
            return self._claim_decision(owner, result, body)
        else:
            reference = reference_in(owner.operation, result)
            is_copy = self.is_of_another(reference, owner)
            if is_copy or self._names_another_order(request, result):
                return False
            self.add(reference, owner)
        return True

    def _claim_decision(self, owner: Owner, result: models.GatewayResult, body: bytes) -> bool:
        """Keep a gateway's decision: it may lack a reference, but a copy has the same bytes.

        A gateway may number a payment, and not each decision on it: for another call on the same
        payment, the reference alone makes no copy. Two honest responses are equal where they carry
        neither a time nor a reference: then the second one is looked up.
        """
        digest = f"blake2b {blake2b(body, digest_size=16).hexdigest()}"
        reference = reference_in(owner.operation, result)
        # A type says which step of a payment it is, as it does in a transaction.
        is_typed = result.transaction_type is not None
        of_payment = owner._replace(call=None)
        if self.is_of_another(digest, owner) or self.is_of_another(
            reference, of_payment, is_read_back=is_typed
        ):
            return False
        self.add(digest, owner)
        self.add(reference, owner)
        return True

    def _names_another_order(self, request: object, result: object) -> bool:
        link: str | None = getattr(request, "payment_link_ref", None)
        order: str | None = getattr(result, "order_number", None)
        maker = self._owners.get(link or "", Owner("", ""))
        return maker.operation == _CREATE and order not in {None, "", maker.identity}

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
        if found[:2] == owner[:2]:  # what an earlier call received is older than this one
            return None not in {found.call, owner.call} and found.call != owner.call
        if not is_read_back:
            return True
        is_sibling = {found.operation, owner.operation} == _GATEWAY
        is_sibling = is_sibling and found.identity == owner.identity
        return not is_sibling and found.operation != _CANCEL
