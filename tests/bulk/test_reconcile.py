"""Rows that a journal has as applied, held against what the service shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async import AsyncChat2Pay, ConnectionFailedError, bulk, models
from chat2pay_async._api import operations
from chat2pay_async._api.operations import prepare
from chat2pay_async._api.requests import (
    Capture,
    LinkReference,
    PaymentLinkRequest,
    ReceiptRequest,
)
from chat2pay_async._bulk import reconcile as module
from chat2pay_async._journal.store import Holder, Row, RowState
from chat2pay_async._send.stored import end_of

REF = "8a1f0000-0000-4000-8000-000000000000"
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LINK = PaymentLinkRequest(
    channel="sms", to="27831234567", order_number="A-1", currency="ZAR", total_amount="199.90"
)


def row(operation: operations.Operation[Any, Any], request: Any, result: Any = None) -> Row:
    """Make a row as a journal has it."""
    sent = prepare(operation, request)
    end = end_of(RowState.APPLIED, result)
    return Row(
        id=1,
        operation=operation.name,
        key=operation.identity(request),
        content=b"{}",
        state=RowState.APPLIED,
        identity=operation.identity(request),
        claimed_by=Holder("spring", NOW),
        target=sent.target,
        body=sent.body,
        result=end.result,
        detail=end.detail,
    )


def entry(kind: str, amount: str = "199.90") -> Any:
    return models.PaymentStatusEntry(
        transaction_type=models.TransactionType[kind],
        payment_gateway_decision="ACCEPT",
        total_amount=Decimal(amount),
    )


def found(*entries: Any, **fields: Any) -> models.Transaction:
    given: dict[str, Any] = {"payment_link_ref": REF, "order_number": "A-1", "currency": "ZAR"}
    return models.Transaction(**(given | {"payment_statuses": entries} | fields))


def step(name: str) -> Any:
    return models.TransactionStatusEntry(transaction_status_name=name)


CAPTURE = row(operations.CAPTURE_PAYMENT, Capture(REF, "10.00"))
WHOLE = row(operations.CAPTURE_PAYMENT, Capture(REF))
REVERSE = row(operations.REVERSE_PAYMENT, LinkReference(payment_link_ref=REF))
CANCEL = row(operations.CANCEL_PAYMENT_LINK, LinkReference(payment_link_ref=REF))
CREATE = row(
    operations.CREATE_PAYMENT_LINK, LINK, models.PaymentLink(payment_link_ref=REF, recovered=True)
)
RECEIPT = row(
    operations.CREATE_RECEIPT, ReceiptRequest(payment_link_ref=REF, receipt_link="https://r.test")
)
PROBLEMS: list[tuple[Row, models.Transaction, str | None]] = [
    (CAPTURE, found(entry("AUTHORIZATION"), entry("CAPTURE", "10.00")), None),
    (WHOLE, found(entry("AUTHORIZATION"), entry("CAPTURE", "10.00")), None),
    (CAPTURE, found(entry("CAPTURE", "11.00")), "the service has captured another amount"),
    (CAPTURE, found(entry("CAPTURE"), entry("CAPTURE")), "the service shows 2 captures"),
    (CAPTURE, found(entry("AUTHORIZATION")), "the service does not show it as captured"),
    (CAPTURE, found(payment_status=models.PaymentStatus.REVERSED), None),
    (CAPTURE, found(transaction_type=models.TransactionType.CAPTURE), None),
    (REVERSE, found(entry("AUTHORIZATION"), entry("VOID")), None),
    (REVERSE, found(payment_status=models.PaymentStatus.VOIDED), None),
    (REVERSE, found(entry("AUTHORIZATION")), "the service does not show it as reversed"),
    (CANCEL, found(transaction_statuses=(step("PAYMENT_LINK_CANCELLED"),)), None),
    (RECEIPT, found(), None),
    (CANCEL, found(), "the service does not show it as cancelled"),
    (CREATE, found(total_amount=Decimal("199.9"), channel_name="sms"), None),
    (CREATE, found(total_amount=Decimal("1.00")), "the service has another total_amount"),
]


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Any]:
    settings: dict[str, Any] = {"base_url": "http://127.0.0.1:9", "journal": tmp_path / "a.db"}
    async with AsyncChat2Pay("a-key", **settings) as client, bulk.reconcile(client) as held:
        yield held


@pytest.mark.anyio
@pytest.mark.one_loop
@pytest.mark.parametrize(("one", "shown", "problem"), PROBLEMS)
async def test_what_disagrees_is_said(
    held: Any, one: Row, shown: models.Transaction, problem: str | None
) -> None:
    assert held._problem(one, shown) == problem


@pytest.mark.anyio
@pytest.mark.one_loop
async def test_one_reference_of_two_rows_is_said(held: Any) -> None:
    assert held._problem(CREATE, found()) is None
    said = held._problem(CREATE, found())
    assert said == f"another row of the journal has its reference {REF}, too"


@pytest.mark.anyio
@pytest.mark.one_loop
async def test_a_look_up_that_failed_is_a_problem(held: Any) -> None:
    failed: Any = bulk.Outcome("A-1", None, bulk.State.FAILED, None, ConnectionFailedError("no"))
    one = held._judge(CREATE, 2, failed)
    assert (one.status, one.problem, one.by) == ("unknown", "its look-up failed: no", "spring")


@pytest.mark.anyio
@pytest.mark.one_loop
async def test_the_state_of_a_payment_is_what_its_record_proves(held: Any) -> None:
    authorization = {"transaction_type": models.TransactionType.AUTHORIZATION}
    success = models.PaymentStatus.SUCCESS
    shown = {
        "authorized": found(entry("AUTHORIZATION"), payment_status=success, **authorization),
        "captured": found(entry("AUTHORIZATION"), entry("CAPTURE"), payment_status=success),
        "paid": found(entry("SALE"), payment_status=success),
        "unknown": found(payment_status=success),
    }
    for word, payment in shown.items():
        applied: Any = bulk.Outcome("A-1", None, bulk.State.APPLIED, payment)
        assert held._judge(CREATE, 2, applied).status == word


def test_a_row_is_looked_up_by_its_reference_and_else_by_its_order() -> None:
    assert module._query_of(CREATE).payment_link_ref == REF
    assert module._query_of(CAPTURE).payment_link_ref == REF
    unknown = row(operations.CREATE_PAYMENT_LINK, LINK)
    assert module._query_of(unknown).order_number == "A-1"
