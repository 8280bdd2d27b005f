"""Ends of calls as a journal has them, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest

from chat2pay_async import PaymentLinkRequest, errors, models
from chat2pay_async._api.operations import CREATE_PAYMENT_LINK, content_of
from chat2pay_async._journal.store import Account, Holder, Row, RowState
from chat2pay_async._send.stored import (
    changed_in,
    end_of,
    prior_of,
    read_detail,
    result_of,
    state_of,
)
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Attempt, Proof

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LOST = Attempt(NOW, 1.5, Proof.UNKNOWN, None, "ReadTimeout")
ROW = Row(
    id=1,
    operation="create_payment_link",
    key="A-1",
    content=b"{}",
    state=RowState.APPLIED,
    identity="A-1",
    claimed_by=Holder(None, NOW),
    target="/api/v2/chat-2-pay",
    body=b"{}",
)


def stored(result: object = None, error: Any = None, body: bytes | None = None) -> Row:
    response = None if body is None else WireResponse(201, {}, body)
    end = end_of(RowState.APPLIED, result, error, (LOST,), response)
    return attrs.evolve(ROW, response=end.response, result=end.result, detail=end.detail)


def test_a_response_is_read_again_as_it_came() -> None:
    result, error, attempts = result_of(stored(body=b'{"paymentLinkRef": "ref-1", "new": 1}'))
    assert (result.payment_link_ref, result.extra, result.replayed) == ("ref-1", {"new": 1}, True)
    assert (error, attempts) == (None, (LOST,))


def test_a_result_that_was_read_back_is_written_as_a_response() -> None:
    link = models.PaymentLink(payment_link_ref="ref-1", timestamp=NOW, recovered=True)
    again = result_of(stored(link))[0]
    assert again == attrs.evolve(link, replayed=True)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", None])
def test_a_body_without_an_object_is_no_result(body: bytes | None) -> None:
    assert result_of(stored(body=body))[0] is None


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError("no", status_code=400, errors=("a", "b"), reason_code="R-1"),
        errors.OutcomeUnknownError("who knows"),
        errors.ConnectionFailedError("refused"),
    ],
)
def test_an_error_is_rebuilt(error: errors.Chat2PayError) -> None:
    again = result_of(stored(error=error))[1]
    assert again is not None
    assert (str(again), again.operation, again.attempts) == (
        str(error),
        "create_payment_link",
        (LOST,),
    )
    assert getattr(again, "errors", None) == getattr(error, "errors", None)


def test_a_row_without_an_end_has_no_detail() -> None:
    assert read_detail(None).attempts == ()


def test_what_is_not_kept_can_not_be_sent_again() -> None:
    account = Account("https://s.test", "f00d")
    assert prior_of(ROW, account) is not None
    assert prior_of(attrs.evolve(ROW, body=None), account) is None
    assert prior_of(attrs.evolve(ROW, target=None), account) is None


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (errors.OutcomeUnknownError("?"), RowState.UNKNOWN),
        (errors.ReceiptNotSentError("?"), RowState.APPLIED),
        (errors.IdempotencyConflictError("?"), RowState.REJECTED),
        (errors.RequestValidationError("?"), RowState.REJECTED),
        (errors.AuthenticationError("?"), RowState.FAILED),
        (errors.BadRequestError("?"), RowState.FAILED),
        (errors.ConnectionFailedError("?"), RowState.FAILED),
    ],
)
def test_an_error_tells_the_state(error: errors.Chat2PayError, state: RowState) -> None:
    assert state_of(error) is state


def link(**fields: Any) -> PaymentLinkRequest:
    given = {
        "channel": "sms",
        "to": "27831234567",
        "order_number": "A-1",
        "currency": "ZAR",
        "total_amount": "199.90",
    }
    return PaymentLinkRequest(**(given | fields))


SAME = [
    ({"total_amount": "199.9"}, {"total_amount": Decimal("199.90")}),
    ({"additional_data": {"a": [1, {"b": 2.0}]}}, {"additional_data": {"a": [1.0, {"b": 2}]}}),
    ({"additional_data": {"a": 0, "b": 1}}, {"additional_data": {"b": 1, "a": -0.0}}),
    ({"channel": "SMS"}, {"channel": models.Channel.SMS}),
]
OTHER = [
    ({"additional_data": {"a": True}}, {"additional_data": {"a": 1}}, {"additional_data"}),
    ({"additional_data": {"a": "1"}}, {"additional_data": {"a": 1}}, {"additional_data"}),
    ({"additional_data": {"a": [1, 2]}}, {"additional_data": {"a": [2, 1]}}, {"additional_data"}),
    ({"from_": "1234567"}, {}, {"from_"}),
    ({"total_amount": "1.00"}, {"total_amount": "10.00"}, {"total_amount"}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_values_that_are_equal_are_the_same_content(one: Any, other: Any) -> None:
    first, second = (content_of(CREATE_PAYMENT_LINK, link(**each)) for each in (one, other))
    assert first == second


@pytest.mark.parametrize(("one", "other", "names"), OTHER)
def test_values_that_differ_are_another_content(one: Any, other: Any, names: set[str]) -> None:
    first, second = (content_of(CREATE_PAYMENT_LINK, link(**each)) for each in (one, other))
    differing = {name for name in first | second if first.get(name) != second.get(name)}
    assert differing == names


def test_what_a_line_item_does_not_send_is_no_content() -> None:
    item = models.LineItem(name="Mug", unit_price="9.90", extra={"new": 1})
    plain = attrs.evolve(item, extra={})
    contents = [
        content_of(CREATE_PAYMENT_LINK, link(order_line_items=[one])) for one in (item, plain)
    ]
    assert contents[0] == contents[1]


def test_a_link_is_compared_with_all_that_its_look_up_shows() -> None:
    body = b'{"paymentLinkRef": "ref-1", "totalAmount": 5.00, "currency": "ZAR"}'
    shown, made = WireResponse(200, {}, body), models.PaymentLink(payment_link_ref="ref-1")
    assert changed_in(link(), made, shown) == ("total_amount",)
    assert changed_in(link(total_amount="5"), made, shown) == ()
    assert changed_in(link(), made, WireResponse(200, {}, b"[]")) == ()
    assert changed_in(link(), None, shown) is None
