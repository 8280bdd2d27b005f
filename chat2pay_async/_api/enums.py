"""The enums of the contract, members named as it names them.

They are open: in a response, a value unknown to this version stays a plain string. A request takes
a member, or its name in any case.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias

__all__ = [
    "Channel",
    "ChannelName",
    "IntegrationStatus",
    "IntegrationStatusName",
    "IntegratorType",
    "PaymentStatus",
    "TransactionStatus",
    "TransactionType",
    "TransactionTypeName",
]


class Channel(StrEnum):
    """The way by which a link reaches the customer."""

    SMS = "sms"
    WHATSAPP = "whatsapp"
    NONE = "none"
    """No message is sent: the caller delivers the link."""


class TransactionType(StrEnum):
    """The type of a payment, or of an entry in its history."""

    AUTHORIZATION = "Authorization"
    """The amount is held on the card, to be captured later."""
    SALE = "Sale"
    """The amount is authorized and taken at once."""
    VOID = "Void"
    """A reversal; in responses only."""
    CAPTURE = "Capture"
    """In responses only."""


class TransactionStatus(StrEnum):
    """The state of a link or of a receipt."""

    PAYMENT_LINK_REQUEST_RECEIVED = "PAYMENT_LINK_REQUEST_RECEIVED"
    PAYMENT_LINK_SENT = "PAYMENT_LINK_SENT"
    PAYMENT_LINK_DELIVERED = "PAYMENT_LINK_DELIVERED"
    PAYMENT_STATUS_RECEIVED = "PAYMENT_STATUS_RECEIVED"
    PAYMENT_STATUS_NOTIFICATION_SENT = "PAYMENT_STATUS_NOTIFICATION_SENT"
    RECEIPT_LINK_REQUEST_RECEIVED = "RECEIPT_LINK_REQUEST_RECEIVED"
    RECEIPT_LINK_SENT = "RECEIPT_LINK_SENT"
    PAYMENT_LINK_REQUEST_FAILED = "PAYMENT_LINK_REQUEST_FAILED"
    PAYMENT_LINK_SENT_FAILED = "PAYMENT_LINK_SENT_FAILED"
    PAYMENT_URL_EXPIRED = "PAYMENT_URL_EXPIRED"
    PAYMENT_LINK_DELIVERY_FAILED = "PAYMENT_LINK_DELIVERY_FAILED"
    PAYMENT_STATUS_NOTIFICATION_DELIVERY_SUCCESSFUL = (
        "PAYMENT_STATUS_NOTIFICATION_DELIVERY_SUCCESSFUL"
    )
    PAYMENT_STATUS_NOTIFICATION_DELIVERY_FAILED = "PAYMENT_STATUS_NOTIFICATION_DELIVERY_FAILED"
    RECEIPT_LINK_REQUEST_FAILED = "RECEIPT_LINK_REQUEST_FAILED"
    RECEIPT_LINK_SENT_FAILED = "RECEIPT_LINK_SENT_FAILED"
    RECEIPT_LINK_DELIVERED = "RECEIPT_LINK_DELIVERED"
    RECEIPT_LINK_DELIVERY_FAILED = "RECEIPT_LINK_DELIVERY_FAILED"
    PAYMENT_LINK_CANCELLED = "PAYMENT_LINK_CANCELLED"
    PAYMENT_LINK_CLICKED = "PAYMENT_LINK_CLICKED"


class PaymentStatus(StrEnum):
    """The state of a payment.

    `wait_for_payment` ends at SUCCESS, FAILED, REVERSED and VOIDED.
    """

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    REVIEW = "REVIEW"
    """The gateway holds it; see `PaymentLinkRequest.payment_review_auto_reversal`."""
    REVERSED = "REVERSED"
    VOIDED = "VOIDED"


class IntegrationStatus(StrEnum):
    """The state of an integration, which `update_integration` can set."""

    ACTIVATED = "ACTIVATED"
    DEACTIVATED = "DEACTIVATED"
    DELETED = "DELETED"


class IntegratorType(StrEnum):
    """The kind of program that an integration is."""

    OMS = "OMS"
    """An order management system."""
    CLICKATELL_PRODUCT = "CLICKATELL_PRODUCT"
    APPLICATION = "APPLICATION"


# The names as literals, so that type checkers find a misspelt one. A text that is only known at run
# time is made a member: `Channel(text)`.

ChannelName: TypeAlias = Literal["sms", "whatsapp", "none", "SMS", "WHATSAPP", "NONE"]
TransactionTypeName: TypeAlias = Literal[
    "authorization", "sale", "Authorization", "Sale", "AUTHORIZATION", "SALE"
]
IntegrationStatusName: TypeAlias = Literal[
    "activated", "deactivated", "deleted", "ACTIVATED", "DEACTIVATED", "DELETED"
]
