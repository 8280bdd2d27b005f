"""The records of a payment link: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Final, Literal

Environment = Literal["sandbox", "production"]
"""The kinds of configurations."""


class Channel(Enum):
    """The way by which a link reaches the customer; the values are the contract's ids."""

    NONE = 0
    SMS = 1
    WHATSAPP = 2


class TransactionType(Enum):
    """The thing done with the money; the values are the contract's ids."""

    AUTHORIZATION = 1
    SALE = 2
    VOID = 3
    CAPTURE = 4


class LinkStatus(Enum):
    """Steps of a link's life, in the contract's order, which gives them their ids."""

    PAYMENT_LINK_REQUEST_RECEIVED = auto()
    PAYMENT_LINK_SENT = auto()
    PAYMENT_LINK_DELIVERED = auto()
    PAYMENT_STATUS_RECEIVED = auto()
    PAYMENT_STATUS_NOTIFICATION_SENT = auto()
    RECEIPT_LINK_REQUEST_RECEIVED = auto()
    RECEIPT_LINK_SENT = auto()
    PAYMENT_LINK_REQUEST_FAILED = auto()
    PAYMENT_LINK_SENT_FAILED = auto()
    PAYMENT_URL_EXPIRED = auto()
    PAYMENT_LINK_DELIVERY_FAILED = auto()
    PAYMENT_STATUS_NOTIFICATION_DELIVERY_SUCCESSFUL = auto()
    PAYMENT_STATUS_NOTIFICATION_DELIVERY_FAILED = auto()
    RECEIPT_LINK_REQUEST_FAILED = auto()
    RECEIPT_LINK_SENT_FAILED = auto()
    RECEIPT_LINK_DELIVERED = auto()
    RECEIPT_LINK_DELIVERY_FAILED = auto()
    PAYMENT_LINK_CANCELLED = auto()
    PAYMENT_LINK_CLICKED = auto()


class PaymentStatus(Enum):
    """States of a payment, in the contract's order, which gives them their ids."""

    SUCCESS = auto()
    FAILED = auto()
    PENDING = auto()
    UNKNOWN = auto()
    REVIEW = auto()
    REVERSED = auto()
    VOIDED = auto()


class Decision(Enum):
    """The payment gateway's verdicts, with its response codes."""

    ACCEPT = 100
    DECLINE = 203
    REVIEW = 480


class Stage(Enum):
    """Stages of a transaction; every rule about what may follow is a table over these."""

    OPEN = auto()
    CLICKED = auto()
    CANCELLED = auto()
    EXPIRED = auto()
    IN_REVIEW = auto()
    DECLINED = auto()
    SOLD = auto()
    AUTHORIZED = auto()
    CAPTURED = auto()
    CAPTURE_VOIDED = auto()
    REVERSED = auto()


PAID: Final = (Stage.SOLD, Stage.AUTHORIZED, Stage.CAPTURED, Stage.CAPTURE_VOIDED)


class Cue(Enum):
    """Things that the gateway or the network will refuse the next time."""

    DECLINE_CAPTURE = auto()
    DECLINE_REVERSE = auto()
    FAIL_RECEIPT = auto()


@dataclass(frozen=True, slots=True)
class Order:
    """A create request that keeps the contract's rules.

    Attributes:
        additional_data: The caller's object as JSON text, the form in which it is given back.
        line_items: As they came, in their wire form.
    """

    channel: Channel
    to: str
    order_number: str
    currency: str
    total: Decimal
    tax: Decimal | None = None
    sub_total: Decimal | None = None
    transaction_type: TransactionType = TransactionType.SALE
    return_payment_link: bool = False
    review_auto_reversal: bool = False
    application_id: str | None = None
    additional_data: str | None = None
    reconciliation_id: str | None = None
    merchant_descriptor: str | None = None
    line_items: tuple[Mapping[str, object], ...] | None = None


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """A step of the link's life."""

    status: LinkStatus
    at: datetime


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    """A response of the payment gateway."""

    transaction_type: TransactionType
    decision: Decision
    amount: Decimal
    at: datetime
    reference: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A payment link and its history.

    Attributes:
        deadline: When the link, or the page once it is opened, expires.
        payment_at: When the payment's status last changed.
        settles_at: When a capture is settled, after which it can't be reversed.
    """

    ref: str
    order: Order
    stage: Stage
    deadline: datetime
    steps: tuple[StatusEntry, ...]
    gateway_entries: tuple[GatewayEntry, ...] = ()
    payment_at: datetime | None = None
    receipts: tuple[str, ...] = ()
    cues: frozenset[Cue] = frozenset()
    settles_at: datetime | None = None

    @property
    def captured_amount(self) -> Decimal:
        """The amount of the one successful capture."""
        return next(
            entry.amount
            for entry in self.gateway_entries
            if entry.transaction_type is TransactionType.CAPTURE
            and entry.decision is Decision.ACCEPT
        )


@dataclass(frozen=True, slots=True)
class Integrator:
    """A system that works with the account."""

    application_id: str
    name: str
    type: str
    status: str = "ACTIVATED"


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency that the account takes."""

    id: int
    iso: str
    name: str
    symbol: str
