"""The exchange that everybody makes: a payment link is asked for, and made.

About 500 bytes of JSON go up, with exact decimals, and 350 come down, as the contract has them. An
HTTP client's answers are parsed by the standard library. Its orders are written by msgspec: the
standard library would write a `Decimal` as a float, if at all.
"""

from __future__ import annotations

import functools
import itertools
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

PATH = "/api/v2/chat-2-pay"
API_KEY = "a-key"
HEADERS = {
    "Authorization": API_KEY,
    "Accept": "application/json",
    "Content-Type": "application/json",
}
CREATED = 201

TOTAL, SUB_TOTAL, TAX = Decimal("199.90"), Decimal("173.83"), Decimal("26.07")

ANSWER = (
    b'{"paymentLinkRef":"0b6f1c9e-5a52-4a8e-8d39-6f3b6f0d7c11",'
    b'"transactionStatus":"PAYMENT_LINK_SENT","transactionStatusId":2,'
    b'"timestamp":"2026-04-27T17:35:58.000+0000","error":null,'
    b'"paymentLink":"https://chat2pay.example/pay/0b6f1c9e-5a52-4a8e-8d39-6f3b6f0d7c11'
    b'?channel=sms&lang=en&signature=3f1d7a5c9e2b4f60",'
    b'"paymentLinkTTL":5,"paymentPageTTL":15}'
)
WITH_MORE = ANSWER.removesuffix(b"}") + b',"totalAmount":199.90}'
"""The same with a field that the contract does not have."""

REFERENCE = b"0b6f1c9e-5a52-4a8e-8d39-6f3b6f0d7c11"
TTL = 15

numbers, links = itertools.count(1), itertools.count(1)
encode = msgspec.json.Encoder(decimal_format="number").encode
decode = functools.partial(json.loads, parse_float=Decimal)


def of_a_new_link(answer: bytes) -> bytes:
    """An answer with a reference of its own: one that came before would be a copy."""
    return answer.replace(REFERENCE, b"%08x" % next(links) + REFERENCE[8:])


class BadAnswerError(Exception):
    """An answer that is not the one the server gives."""


def order(total: object = TOTAL, sub_total: object = SUB_TOTAL, tax: object = TAX) -> Any:
    """An order like any other, under a number of its own."""
    return {
        "channel": "sms",
        "to": "27831234567",
        "orderNumber": f"SPRING-{next(numbers):08}",
        "currency": "ZAR",
        "totalAmount": total,
        "taxAmount": tax,
        "subTotalAmount": sub_total,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "returnPaymentLink": True,
        "transactionType": "Sale",
        "reconciliationId": "5f0c8a1e-77b2-4c39-9d54-0e6b1f2a3c4d",
        "orderLineItems": [
            {"name": "Running shoes", "unitPrice": sub_total, "quantity": 1, "sku": "RS-42"}
        ],
        "additionalData": {
            "campaign": "spring",
            "requestId": "9a7b330aa0c5d2e14f68b1c7d9e0f2a3",
        },
    }


def read(status: int, body: bytes) -> Any:
    """An answer, parsed.

    Raises:
        BadAnswerError: It is not the server's.
    """
    answer = decode(body)
    if status != CREATED or answer["paymentPageTTL"] != TTL:
        raise BadAnswerError(status)
    return answer
