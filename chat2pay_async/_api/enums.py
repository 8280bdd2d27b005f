"""The enums of the contract, members named as it names them.

They are open: an answer's value that is unknown to this version comes through as the plain string
that it was. In requests a member, or its name in any case, will do.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "Channel",
    "IntegrationStatus",
    "IntegratorType",
    "PaymentStatus",
    "TransactionStatus",
    "TransactionType",
]


class Channel(StrEnum):
    """How the link reaches the customer."""

    SMS = "sms"
    WHATSAPP = "whatsapp"
    NONE = "none"
    """No message is sent: the caller delivers the link."""


class TransactionType(StrEnum):
    """What a payment, or an entry of its history, is."""

    AUTHORIZATION = "Authorization"
    SALE = "Sale"
    VOID = "Void"
    CAPTURE = "Capture"


class TransactionStatus(StrEnum):
    """Where a link or a receipt stands."""

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
    """Where a payment stands."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    REVIEW = "REVIEW"
    REVERSED = "REVERSED"
    VOIDED = "VOIDED"


class IntegrationStatus(StrEnum):
    """Where an integration stands, and what `update_integration` can make of it."""

    ACTIVATED = "ACTIVATED"
    DEACTIVATED = "DEACTIVATED"
    DELETED = "DELETED"


class IntegratorType(StrEnum):
    """What kind of program an integration is."""

    OMS = "OMS"
    CLICKATELL_PRODUCT = "CLICKATELL_PRODUCT"
    APPLICATION = "APPLICATION"
