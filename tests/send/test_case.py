"""A case is read from the exact bytes that were sent, which is all that another process has."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from chat2pay_async import PaymentLinkRequest
from chat2pay_async._api import operations, requests
from chat2pay_async._send.case import Case, case_of

FIRST = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
STAMP = "0123456789abcdef0123456789abcdef"
BY_OPERATION: dict[str, Any] = {
    "cancel_payment_link": requests.LinkReference(payment_link_ref="ref-1"),
    "capture_payment": requests.Capture(payment_link_ref="ref-1"),
    "reverse_payment": requests.LinkReference(payment_link_ref="ref-1"),
    "create_receipt": requests.ReceiptRequest(
        payment_link_ref="ref-1", receipt_link="https://r.example"
    ),
}
LINK = PaymentLinkRequest(
    channel="sms",
    to="27831234567",
    order_number="A-1",
    currency="ZAR",
    total_amount="199.90",
    reconciliation_id="rec-1",
)


def case(operation: str, request: Any, stamp: str | None = None) -> Case:
    (row,) = [one for one in operations.OPERATIONS if one.name == operation]
    sent = operations.prepare(row, request, stamp)
    return case_of(operation, row.identity(request), sent, stamp, FIRST)


def test_a_case_needs_nothing_but_the_exact_request() -> None:
    made = case("create_payment_link", LINK, STAMP)
    assert made.sent["additionalData"] == {"sdkRequestId": STAMP}
    assert made.sent["totalAmount"] == Decimal("199.90")
    assert made.sent["reconciliationId"] == "rec-1"
    assert (made.identity, made.request_id, made.amount) == ("A-1", STAMP, None)


@pytest.mark.parametrize("amount", ["0.01", "199.90", "1234567890123456789012345678"])
def test_a_captures_amount_is_read_from_its_target_to_the_digit(amount: str) -> None:
    made = case("capture_payment", requests.Capture(payment_link_ref="ref-1", amount=amount))
    assert made.amount == Decimal(amount)
    assert case("capture_payment", BY_OPERATION["capture_payment"]).amount is None


def test_no_reference_can_pass_for_an_amount() -> None:
    assert case("capture_payment", requests.Capture("x?amount=5")).amount is None


def test_a_link_is_looked_up_by_its_order_number_and_all_else_by_its_reference() -> None:
    by_order = requests.TransactionQuery(order_number="A-1")
    assert case("create_payment_link", LINK).query == by_order
    by_reference = requests.TransactionQuery(payment_link_ref="ref-1")
    for operation, request in BY_OPERATION.items():
        assert case(operation, request).query == by_reference
