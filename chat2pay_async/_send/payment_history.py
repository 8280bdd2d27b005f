"""A payment's history in a transaction's record: what its entries say, and what they leave open."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from chat2pay_async._api import models
from chat2pay_async._api.validation import exact_sum, minor_units

__all__ = [
    "accounts_for_itself",
    "amount_of",
    "entries_of",
    "is_readable",
    "is_same_amount",
    "may_be_captured",
    "undoes_the_capture",
]

_STATUS = models.PaymentStatus
_Type = models.TransactionType


def entries_of(found: models.Transaction, kind: models.TransactionType) -> list[Any]:
    return [entry for entry in found.payment_statuses if entry.transaction_type == kind]


def is_readable(found: models.Transaction) -> bool:
    """Tell whether no entry could be one of a kind that was not recognised."""
    return "paymentStatuses" not in found.extra and all(
        isinstance(entry.transaction_type, _Type) for entry in found.payment_statuses
    )


def is_same_amount(found: models.Transaction, one: Decimal, other: Decimal) -> bool:
    """Compare two amounts to within half a minor unit of the link's currency."""
    decimals = minor_units(found.currency or "CLF")  # where it is not given, no unit is finer
    half = Decimal((0, (5,), -decimals - 1))
    return exact_sum(one, other.copy_negate()).copy_abs() < half


def amount_of(found: models.Transaction, kind: models.TransactionType) -> Decimal | None:
    """The one amount that entries of a kind, declined ones apart, have; None: none, or several."""
    amounts = {one.total_amount for one in _undeclined(found, kind)}
    return amounts.pop() if len(amounts) == 1 else None


def _undeclined(found: models.Transaction, kind: models.TransactionType) -> list[Any]:
    return [one for one in entries_of(found, kind) if one.succeeded is not False]


# What the entries of a history leave behind in the record's own payment status.
_LEFT_BY: Final[Mapping[tuple[Any, bool | None], frozenset[Any]]] = {
    (_Type.AUTHORIZATION, False): frozenset({_STATUS.FAILED}),
    (_Type.AUTHORIZATION, None): frozenset({_STATUS.PENDING, _STATUS.REVIEW}),
    (_Type.VOID, True): frozenset({_STATUS.REVERSED, _STATUS.VOIDED}),
    (_Type.VOID, False): frozenset({_STATUS.FAILED}),
}


def accounts_for_itself(found: models.Transaction) -> bool:
    """Tell whether the entries of a history account for the record's own type and status.

    A record that says more than its entries contradicts them: an entry may be missing yet.
    """
    types: set[Any] = {None, _Type.AUTHORIZATION, _Type.SALE}
    statuses: set[Any] = {None, _STATUS.SUCCESS}
    for entry in found.payment_statuses:
        types.add(entry.transaction_type)
        statuses |= _LEFT_BY.get((entry.transaction_type, entry.succeeded), frozenset())
    return (
        is_readable(found)
        and found.extra.keys().isdisjoint(("transactionType", "paymentStatus"))
        and found.transaction_type in types
        and found.payment_status in statuses
    )


def may_be_captured(found: models.Transaction) -> bool:
    is_captured = found.transaction_type == _Type.CAPTURE or _undeclined(found, _Type.CAPTURE)
    return bool(is_captured) or not is_readable(found)


def undoes_the_capture(found: models.Transaction, void: models.PaymentStatusEntry) -> bool:
    """Tell by its amount that a void undid the capture, and not (the rest of) the authorization."""
    authorized = amount_of(found, _Type.AUTHORIZATION)
    captured = amount_of(found, _Type.CAPTURE)
    if authorized is None or captured is None or void.total_amount is None:
        return False
    if any(len(_undeclined(found, kind)) > 1 for kind in (_Type.AUTHORIZATION, _Type.CAPTURE)):
        return False  # equal amounts of several: the rest is not known, nor which was undone
    rest = exact_sum(authorized, captured.copy_negate())
    others = (authorized, rest)
    return is_same_amount(found, void.total_amount, captured) and not any(
        is_same_amount(found, void.total_amount, other) for other in others
    )
