"""The callbacks: frozen values, which claim something that nobody has confirmed yet.

None of them is a `Transaction` or a `Configuration`, though they have their fields: whoever knows
the URL can post one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

import attrs

from chat2pay_async._api.enums import PaymentStatus, TransactionStatus, TransactionType
from chat2pay_async._api.models import (
    Channel,
    ConfigurationRecord,
    Currency,
    GatewayAnswer,
    Identifier,
    Integrator,
    LineItem,
    PaymentStatusEntry,
    Transaction,
    TransactionRecord,
    TransactionStatusEntry,
)
from chat2pay_async._api.requests import extra_fields, masked
from chat2pay_async._values import Plain

__all__ = [
    "ENDED",
    "Callback",
    "ConfigurationCallback",
    "PaymentStatusCallback",
    "TransactionStatusCallback",
    "UnknownCallback",
    "progress",
    "stage_of",
    "statuses_of",
]


_TYPES: Final = (
    *(datetime, Decimal, Channel, Currency, Integrator, LineItem),
    *(PaymentStatusEntry, TransactionStatusEntry),
)
"""Of inherited fields: `typing.get_type_hints` looks their names up here, in the class's module."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TransactionStatusCallback(TransactionRecord):
    """A link was made, cancelled or clicked, has expired, or its payment's status changed.

    It has the fields of a `Transaction`.
    """

    transaction_status: TransactionStatus | str | None = None
    """The link's new status, where it stands beside the history, or instead of it."""
    transaction_status_id: Identifier | None = None
    deduplication_key: str = ""
    """The same for each delivery of this callback; `parse` makes it of all that was posted."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PaymentStatusCallback(GatewayAnswer):
    """A payment has a new status: it was paid, declined, captured or reversed.

    `repr` masks the numbers of both phones, and the fields of the card.
    """

    order_number: str | None = None
    payment_link_ref: str | None = None
    from_: str | None = attrs.field(default=None, repr=masked)
    """The number that sent the link."""
    to: str | None = attrs.field(default=None, repr=masked)
    """The customer's number, in international digits, such as 27831234567."""
    payment_status: PaymentStatus | str | None = None
    """The payment's new status."""
    payment_status_id: Identifier | None = None
    currency: str | None = None
    deduplication_key: str = ""
    """The same for each delivery of this callback; `parse` makes it of all that was posted."""
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConfigurationCallback(ConfigurationRecord):
    """The account was changed: an API key, a currency or a channel was added or removed."""

    deduplication_key: str = ""
    """The same for each delivery of this callback; `parse` makes it of all that was posted."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UnknownCallback(Plain):
    """A callback of a kind that this version does not know; all of it is in `extra`."""

    order_number: str | None = None
    payment_link_ref: str | None = None
    deduplication_key: str = ""
    """The same for each delivery of this callback; `parse` makes it of all that was posted."""
    extra: dict[str, Any] = extra_fields()


Callback: TypeAlias = (
    TransactionStatusCallback | PaymentStatusCallback | ConfigurationCallback | UnknownCallback
)
"""Any of them."""


# Order --------------------------------------------------------------------------------------------

_Type = TransactionType
_LINK: Final[Mapping[object, int]] = {
    TransactionStatus.PAYMENT_LINK_REQUEST_RECEIVED: 10,
    TransactionStatus.PAYMENT_LINK_REQUEST_FAILED: 20,
    TransactionStatus.PAYMENT_LINK_SENT: 20,
    TransactionStatus.PAYMENT_LINK_SENT_FAILED: 20,
    TransactionStatus.PAYMENT_LINK_DELIVERED: 30,
    TransactionStatus.PAYMENT_LINK_DELIVERY_FAILED: 30,
    TransactionStatus.PAYMENT_LINK_CLICKED: 40,
    TransactionStatus.PAYMENT_STATUS_RECEIVED: 50,
    TransactionStatus.PAYMENT_URL_EXPIRED: 60,
    TransactionStatus.PAYMENT_LINK_CANCELLED: 60,
}
"""Status of a link → stage. A receipt, and a notification, change nothing of the payment."""
_STEP: Final[Mapping[tuple[object, bool | None], int]] = {
    (_Type.AUTHORIZATION, None): 50,
    (_Type.SALE, None): 50,
    (_Type.AUTHORIZATION, False): 70,
    (_Type.SALE, False): 70,
    (_Type.AUTHORIZATION, True): 80,
    (_Type.CAPTURE, False): 82,
    (_Type.VOID, False): 82,
    (_Type.SALE, True): 85,
    (_Type.CAPTURE, True): 85,
    (_Type.VOID, True): 90,
}
"""Type of a gateway's step, and whether it was accepted → stage."""
_WAITING, _FAILED, _PAID, _UNDONE = 50, 70, 80, 90
_UNDECIDED: Final = {PaymentStatus.PENDING, PaymentStatus.UNKNOWN}
"""Statuses of a link that is new, too, in whose record they say nothing."""
ENDED: Final = 60
"""The first stage of a link that is paid, declined, expired or cancelled."""
_STEPS: Final = 10_000


def progress(record: Callback | Transaction) -> int:
    """Return how far a link had come: of two deliveries, that with more is the later one.

    Deliveries are repeated and shuffled. A shop that keeps this number with an order, and ignores
    whatever does not have a greater one, is not told "link created" after "paid". It asks no clock:
    a link is made, sent, delivered and clicked; it expires or is cancelled; its payment is
    declined, authorized, captured and reversed. A payment counts for more than a link that expired,
    and a success for more than a decline. Within a stage, the longer history is the later one.

    Returns:
        The number; 0 for what tells nothing of a link.
    """
    histories: tuple[tuple[Any, ...], ...] = ()
    if isinstance(record, TransactionRecord):
        histories = (record.transaction_statuses, record.payment_statuses)
    return stage_of(record) * _STEPS + min(sum(map(len, histories)), _STEPS - 1)


def stage_of(record: Callback | Transaction) -> int:
    """Return the stage that a link had come to, at least."""
    if not isinstance(record, (TransactionRecord, PaymentStatusCallback)):
        return 0
    stages = [_stage_of_payment(record.payment_status, record.transaction_type)]
    if isinstance(record, TransactionRecord) and record.payment_status in _UNDECIDED:
        stages = [0]
    stages += (_LINK.get(status, 0) for status in statuses_of(record))
    if isinstance(record, TransactionRecord):
        stages += (_LINK.get(one.transaction_status_name, 0) for one in record.transaction_statuses)
        entries = ((one.transaction_type, one.succeeded) for one in record.payment_statuses)
        stages += (_STEP.get(entry, 0) for entry in entries)
    return max(stages)


def _stage_of_payment(status: object, kind: object) -> int:
    match status:
        case PaymentStatus.SUCCESS:
            return _STEP.get((kind, True), _PAID)
        case PaymentStatus.FAILED:
            return _STEP.get((kind, False), _FAILED)
        case PaymentStatus.REVERSED | PaymentStatus.VOIDED:
            return _UNDONE
        case PaymentStatus.PENDING | PaymentStatus.REVIEW | PaymentStatus.UNKNOWN:
            return _WAITING
        case _:
            return 0


def statuses_of(record: Callback | Transaction) -> tuple[str, ...]:
    """Return the statuses that a callback tells: the link's latest, and the payment's."""
    statuses: tuple[str | None, ...] = ()
    if isinstance(record, TransactionStatusCallback):
        steps = record.transaction_statuses
        latest = steps[-1].transaction_status_name if steps else None
        statuses = (record.transaction_status or latest, record.payment_status)
    elif isinstance(record, PaymentStatusCallback):
        statuses = (record.payment_status,)
    return tuple(status for status in statuses if status is not None)
