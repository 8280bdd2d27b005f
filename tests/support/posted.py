"""Callbacks as the service posts them, written by hand."""

from __future__ import annotations

import json
from typing import Any, get_args

from chat2pay_async.callbacks import Callback, parse, progress
from chat2pay_async.errors import CallbackError

__all__ = [
    "CONFIGURATION",
    "CUSTOMER",
    "PAYMENT",
    "TRANSACTION",
    "payment",
    "posted",
    "transaction",
]

CUSTOMER = "27831234567"
PAYMENT = {
    "orderNumber": "A-1",
    "paymentLinkRef": "ref-1",
    "from": "27110000000",
    "to": CUSTOMER,
    "paymentStatus": "SUCCESS",
    "paymentStatusId": 1,
    "currency": "ZAR",
    "totalAmount": 199.90,
    "paymentGatewayDecision": "ACCEPT",
    "paymentGatewayResponseCode": 100,
    "maskedCardNumber": "411111xxxxxx1111",
}
TRANSACTION = {
    "orderNumber": "A-1",
    "paymentLinkRef": "ref-1",
    "transactionStatuses": [
        {"transactionStatusName": "PAYMENT_LINK_SENT", "created": "2026-03-01T12:00:00.000+0000"}
    ],
    "channelName": "ChannelType.SMS(name=SMS, id=1)",
    "currency": "ZAR",
    "totalAmount": "199.90",
    "transactionType": "TransactionType.SALE(name=Sale, id=2)",
}
CONFIGURATION = {
    "updateTime": "2026-03-01T12:00:00.000+0000",
    "apiKey": "new-key",
    "smsChannelEnabled": True,
    "supportedCurrencies": [{"id": 1, "iso": "ZAR"}],
}


def posted(fields: dict[str, Any]) -> bytes:
    """Write a body."""
    return json.dumps(fields).encode()


def payment(**changes: Any) -> bytes:
    """Write a payment's new status; None leaves a field out."""
    fields = {**PAYMENT, **changes}
    return posted({name: value for name, value in fields.items() if value is not None})


def transaction(*statuses: str, **changes: Any) -> bytes:
    """Write a link's new status, which has been through these."""
    steps = [{"transactionStatusName": status} for status in statuses]
    return posted({**TRANSACTION, "transactionStatuses": steps, **changes})


def is_usable(body: bytes | str) -> bool:
    """Tell whether it is a callback, with which everything can be done.

    Raises:
        AssertionError: It is one, and something can't be done with it.
    """
    try:
        callback = parse(body)
    except CallbackError:
        return False
    assert type(callback) in get_args(Callback)
    assert len(callback.deduplication_key) == 32
    assert callback.deduplication_key == parse(body).deduplication_key
    assert progress(callback) >= 0
    assert hash(callback) == hash(parse(body))
    assert repr(callback)
    assert json.loads(callback.to_json()).keys() == callback.to_dict().keys()
    return True
