"""Results, outcomes and errors are told apart by `match`, on their attributes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from chat2pay_async import (
    ApiError,
    Attempt,
    Fault,
    GatewayResult,
    NotFoundError,
    OutcomeUnknownError,
    PaymentLink,
    Pending,
    Proof,
    RequestValidationError,
    Resolution,
    SentRequest,
    Transaction,
    TransactionStatus,
    Verdict,
    bulk,
)


def told(value: object) -> str:  # noqa: C901, PLR0911 - one return for each pattern
    """Tell results and errors apart as a program does."""
    match value:
        case PaymentLink(delivered=False):
            return "nobody has the link"
        case PaymentLink(payment_link_ref=ref, recovered=True):
            return f"read back: {ref}"
        case GatewayResult(succeeded=True, total_amount=Decimal() as amount):
            return f"captured {amount}"
        case GatewayResult(succeeded=False):
            return "declined"
        case Transaction(order_number=str(order), is_paid=None):
            return f"{order}: not known"
        case OutcomeUnknownError(pending=Pending(operation=operation)):
            return f"unknown: {operation}"
        case ApiError(status_code=404 | 410):
            return "gone"
        case RequestValidationError(faults=(Fault(field=field), *_)):
            return f"wrong: {field}"
        case Resolution(verdict=Verdict.APPLIED, result=PaymentLink(payment_link_ref=ref)):
            return f"resolved: {ref}"
        case bulk.Outcome(state=bulk.State.APPLIED, key=key):
            return f"done: {key}"
        case _:
            return "else"


ATTEMPT = Attempt(datetime(2026, 3, 1, tzinfo=UTC), 0.1, Proof.UNKNOWN)
PENDING = Pending(
    operation="create_payment_link",
    identity="A-1",
    request=SentRequest("POST", "/api/v2/chat-2-pay", b"{}"),
    base_url="https://s.test",
    key_fingerprint="0123456789abcdef",
    request_id=None,
    first_attempt=ATTEMPT,
    last_attempt=ATTEMPT,
)
OUTCOME: bulk.Outcome[None, None] = bulk.Outcome("A-1", None, bulk.State.APPLIED)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            PaymentLink(transaction_status=TransactionStatus.PAYMENT_LINK_SENT_FAILED),
            "nobody has the link",
        ),
        (PaymentLink(payment_link_ref="r", recovered=True), "read back: r"),
        (PaymentLink(payment_link_ref="r"), "else"),
        (
            GatewayResult(payment_gateway_decision="ACCEPT", total_amount=Decimal("1.50")),
            "captured 1.50",
        ),
        (GatewayResult(payment_gateway_decision="DECLINE"), "declined"),
        (GatewayResult(), "else"),
        (Transaction(order_number="A-1"), "A-1: not known"),
        (OutcomeUnknownError("?", pending=PENDING), "unknown: create_payment_link"),
        (NotFoundError("no", status_code=404), "gone"),
        (RequestValidationError("x", (Fault("to", "is required"),)), "wrong: to"),
        (Resolution(Verdict.APPLIED, PaymentLink(payment_link_ref="r")), "resolved: r"),
        (OUTCOME, "done: A-1"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_results_and_errors_are_told_apart_by_their_attributes(value: Any, expected: str) -> None:
    assert told(value) == expected
