"""The state of a payment, decided by its record: its own status, its type and its history.

The record's status is SUCCESS for an authorization, a capture and a sale alike, and a declined
capture may leave FAILED behind, so the gateway's entries decide. Where they are unreadable, or
contradict the status, nothing is claimed: every answer is then None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from chat2pay_async._api.enums import PaymentStatus, TransactionStatus, TransactionType
from chat2pay_async._api.validation import exact_sum
from chat2pay_async._values import Value

if TYPE_CHECKING:
    from chat2pay_async._api.models import PaymentStatusEntry, Transaction

__all__ = ["PaymentState", "state_of_payment"]

_UNDONE = frozenset({PaymentStatus.REVERSED, PaymentStatus.VOIDED})
_WAITING = frozenset({PaymentStatus.PENDING, PaymentStatus.REVIEW})
_FIRST = (TransactionType.AUTHORIZATION, TransactionType.SALE)
_ZERO = Decimal(0)
_BY_TYPE: Mapping[object, Mapping[object, bool]] = {
    TransactionType.SALE: {kind: kind == TransactionType.SALE for kind in TransactionType},
    TransactionType.AUTHORIZATION: {
        TransactionType.AUTHORIZATION: True,
        TransactionType.SALE: False,
    },
    TransactionType.CAPTURE: {
        TransactionType.AUTHORIZATION: True,
        TransactionType.CAPTURE: True,
        TransactionType.SALE: False,
        TransactionType.VOID: False,
    },
    TransactionType.VOID: {TransactionType.VOID: True},
}
"""Type of a record that succeeded, but shows no history → the steps that took place, or did not."""


@attrs.frozen(eq=False, repr=False, kw_only=True)
class PaymentState(Value):
    """State of a payment; None where the record can't tell."""

    authorized: bool | None
    captured: bool | None
    paid: bool | None
    reversed: bool | None
    declined: bool | None
    expired: bool | None
    cancelled: bool | None
    open: bool | None
    authorized_amount: Decimal | None
    captured_amount: Decimal | None
    paid_amount: Decimal | None


def state_of_payment(record: Transaction) -> PaymentState:
    """Decide the state of a payment."""
    steps = _Steps(record)
    authorization, sale = steps.took_place(_FIRST[0]), steps.took_place(_FIRST[1])
    capture, void = (
        steps.took_place(TransactionType.CAPTURE),
        steps.took_place(TransactionType.VOID),
    )
    accepted = _any(authorization, sale, capture, void)
    is_kept = _not(steps.undoes_what_was_taken(void))
    captured = _all(capture, is_kept)
    sold = _all(sale, is_kept)
    expired, cancelled = (
        _all(_has_step(record, name), _not(accepted))
        for name in (
            TransactionStatus.PAYMENT_URL_EXPIRED,
            TransactionStatus.PAYMENT_LINK_CANCELLED,
        )
    )
    declined = _all(steps.declined(), _not(accepted))
    in_review = record.payment_status == PaymentStatus.REVIEW
    captured_amount = steps.amount(TransactionType.CAPTURE, captured)
    sold_amount = steps.amount(TransactionType.SALE, sold)
    both = (captured_amount, sold_amount)
    known = [amount for amount in both if amount is not None]
    return PaymentState(
        authorized=_all(authorization, _not(capture), _not(void)),
        captured=captured,
        paid=_any(captured, sold),
        reversed=void,
        declined=declined,
        expired=expired,
        cancelled=cancelled,
        open=_not(_any(accepted, declined, expired, cancelled, in_review)),
        authorized_amount=steps.amount(TransactionType.AUTHORIZATION, authorization),
        captured_amount=captured_amount,
        paid_amount=exact_sum(*known) if len(known) == len(both) else None,
    )


# Three values ------------------------------------------------------------------------------------


def _any(*values: bool | None) -> bool | None:
    if True in values:
        return True
    return None if None in values else False


def _all(*values: bool | None) -> bool | None:
    return _not(_any(*map(_not, values)))


def _not(value: bool | None) -> bool | None:  # noqa: FBT001 - it is the operand
    return None if value is None else not value


# The history -------------------------------------------------------------------------------------


def _has_step(record: Transaction, name: TransactionStatus) -> bool | None:
    """Tell whether the link's own history has a step; None where the history can't be read."""
    names = [step.transaction_status_name for step in record.transaction_statuses]
    if name in names:
        return True
    is_readable = names and None not in names and "transactionStatuses" not in record.extra
    return False if is_readable else None


class _Steps:
    """The gateway's entries in a record."""

    def __init__(self, record: Transaction) -> None:
        self._record = record
        self._entries = record.payment_statuses
        self._is_certain = self._is_readable() and self._accounts_for_the_status()

    def of(self, *kinds: TransactionType) -> list[PaymentStatusEntry]:
        return [entry for entry in self._entries if entry.transaction_type in kinds]

    def took_place(self, kind: TransactionType) -> bool | None:
        """Tell whether the gateway accepted a step of a kind."""
        record = self._record
        if kind == TransactionType.VOID and record.payment_status in _UNDONE:
            return True
        if not self._is_certain:
            return None
        if not self._entries and record.payment_status == PaymentStatus.SUCCESS:
            shown: Mapping[object, bool] = _BY_TYPE.get(record.transaction_type, {})
            return shown.get(kind)
        verdicts = [entry.succeeded for entry in self.of(kind)]
        if kind in _FIRST and record.payment_status in _WAITING:
            # What is not decided has taken nothing yet; the status says that it is not.
            verdicts = [verdict is True for verdict in verdicts]
        return _any(*verdicts)

    def undoes_what_was_taken(self, void: bool | None) -> bool | None:  # noqa: FBT001 - a verdict
        """Tell whether a void undid the money that was taken, and not the rest of a hold."""
        if not void or self._record.payment_status in _UNDONE:
            return void
        captures = _amounts(self.of(TransactionType.CAPTURE))
        holds = _amounts(self.of(TransactionType.AUTHORIZATION))
        voids = _amounts(self.of(TransactionType.VOID))
        if not captures:
            return True
        if len(captures) == len(holds) == len(voids) == 1 and None not in captures + holds + voids:
            (captured,), (held,), (voided,) = captures, holds, voids
            rest = exact_sum(held or _ZERO, (captured or _ZERO).copy_negate())
            if voided == captured and voided not in {held, rest}:
                return True
        return None

    def declined(self) -> bool | None:
        """Tell whether the gateway declined the payment itself."""
        if self._record.payment_status == PaymentStatus.FAILED:
            return True
        tried = [entry.succeeded for entry in self.of(*_FIRST)]
        return None if not self._is_certain or (tried and tried[-1] is False) else False

    def amount(self, kind: TransactionType, took_place: bool | None) -> Decimal | None:  # noqa: FBT001 - a verdict
        """Return the amount of what took place: 0 for nothing, None where it can't be known."""
        if took_place is False:
            return _ZERO
        amounts = _amounts(self.of(kind))
        return amounts[0] if took_place and len(amounts) == 1 else None

    def _is_readable(self) -> bool:
        unread = {"paymentStatuses", "paymentStatus", "transactionType"} & self._record.extra.keys()
        types = (entry.transaction_type for entry in self._entries)
        return not unread and all(isinstance(kind, TransactionType) for kind in types)

    def _accounts_for_the_status(self) -> bool:
        """Tell whether the entries can have left the record's status behind."""
        verdicts = {entry.succeeded for entry in self._entries}
        took = any(entry.succeeded is True for entry in self._entries)
        match self._record.payment_status:
            case PaymentStatus.SUCCESS:
                return took or not self._entries
            case PaymentStatus.FAILED:
                return False in verdicts or not self._entries
            case PaymentStatus.PENDING | PaymentStatus.REVIEW:
                return not took
            case PaymentStatus.REVERSED | PaymentStatus.VOIDED:
                return True
            case None:
                return bool(self._entries)
            case _:
                return False


def _amounts(entries: Iterable[PaymentStatusEntry]) -> list[Decimal | None]:
    """List the amounts of the accepted entries."""
    return [entry.total_amount for entry in entries if entry.succeeded is True]
