"""Outcomes: their states, and the properties of one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from scripted import LINK

from chat2pay_async import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    Chat2PayError,
    ConflictError,
    ConnectionFailedError,
    GatewayResult,
    JournalError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentLink,
    PermissionDeniedError,
    Proof,
    RateLimitedError,
    Receipt,
    ReceiptNotSentError,
    RequestTimeoutError,
    RequestValidationError,
    ResponseDecodeError,
    ServerError,
    TransactionStatus,
    errors,
)
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._send import stored
from chat2pay_async.errors import Attempt, Pending, SentRequest
from chat2pay_async.models import Cancellation
from chat2pay_async.models import Transaction as FoundTransaction


def state_after(result: Any) -> State:
    return State(stored.state_after(result).value)


def state_of(error: Any) -> State:
    return State(stored.state_of(error).value)


MOMENT = datetime(2026, 5, 4, tzinfo=UTC)
SENT = TransactionStatus.PAYMENT_LINK_SENT
NOT_SENT = TransactionStatus.PAYMENT_LINK_SENT_FAILED


def attempt(proof: Proof) -> Attempt:
    return Attempt(MOMENT, 0.1, proof)


PENDING = Pending(
    operation="create_payment_link",
    identity="A-1",
    request=SentRequest("POST", "/api/v2/chat-2-pay", b"{}"),
    base_url="https://s.test",
    key_fingerprint="0123456789abcdef",
    request_id=None,
    first_attempt=attempt(Proof.UNKNOWN),
    last_attempt=attempt(Proof.UNKNOWN),
)


def outcome(state: State = State.APPLIED, result: Any = None, **fields: Any) -> Outcome[Any, Any]:
    return Outcome("A-1", "ref-1", state, result, **fields)


def refused(kind: type[ApiError], status: int, *proofs: Proof) -> ApiError:
    error = kind("no", status_code=status)
    error.attempts = tuple(map(attempt, proofs))
    return error


# States -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "state"),
    [("ACCEPT", State.APPLIED), ("DECLINE", State.REJECTED), ("REVIEW", State.UNKNOWN)],
)
def test_a_gateways_decision_gives_the_state(decision: str, state: State) -> None:
    assert state_after(GatewayResult(payment_gateway_decision=decision)) is state


@pytest.mark.parametrize(
    "result",
    [
        PaymentLink(payment_link_ref="r", transaction_status=NOT_SENT),
        Cancellation(payment_link_ref="r"),
        Receipt(receipt_link_ref="r"),
        FoundTransaction(order_number="A-1"),
    ],
)
def test_any_other_result_is_applied(result: Any) -> None:
    assert state_after(result) is State.APPLIED


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (refused(BadRequestError, 400, Proof.REJECTED), State.REJECTED),
        (refused(NotFoundError, 404, Proof.NOT_SENT, Proof.REJECTED), State.REJECTED),
        (refused(ConflictError, 409, Proof.REJECTED), State.REJECTED),
        (refused(ApiError, 422, Proof.REJECTED), State.REJECTED),
        (refused(AuthenticationError, 401, Proof.REJECTED), State.FAILED),
        (refused(PermissionDeniedError, 403, Proof.REJECTED), State.FAILED),
        (refused(ApiError, 408, Proof.UNKNOWN), State.FAILED),
        (refused(ApiError, 425, Proof.NOT_SENT), State.FAILED),
        (refused(RateLimitedError, 429, Proof.THROTTLED), State.FAILED),
        (refused(ServerError, 503, Proof.UNKNOWN), State.FAILED),
        (refused(BadRequestError, 400), State.FAILED),
        (refused(ReceiptNotSentError, 400, Proof.APPLIED), State.APPLIED),
        (RequestValidationError("create", ()), State.REJECTED),
        (ConnectionFailedError("no"), State.FAILED),
        (RequestTimeoutError("no"), State.FAILED),
        (ResponseDecodeError("no", status_code=200, body=b""), State.FAILED),
        (OutcomeUnknownError("?", pending=PENDING), State.UNKNOWN),
        (Chat2PayError("no"), State.FAILED),
    ],
    ids=lambda value: getattr(value, "status_code", None) and str(value.status_code),
)
def test_an_error_gives_the_state(error: Chat2PayError, state: State) -> None:
    assert state_of(error) is state


def test_an_error_that_is_no_rejection_is_never_final() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    plain = [
        kind("no")
        for kind in kinds
        if issubclass(kind, Chat2PayError)
        and not issubclass(
            kind,
            (
                ApiError,
                errors.IdempotencyConflictError,
                RequestValidationError,
                ResponseDecodeError,
                OutcomeUnknownError,
            ),
        )
    ]
    assert JournalError in map(type, plain)
    assert {state_of(error) for error in plain} == {State.FAILED}


# Properties of an outcome -------------------------------------------------------------------------


def test_an_outcome_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        outcome().state = State.FAILED  # type: ignore[misc]


def test_an_outcome_is_recovered_if_its_result_is() -> None:
    assert outcome(result=PaymentLink(recovered=True)).recovered
    assert not outcome(result=PaymentLink()).recovered
    assert not outcome(State.FAILED).recovered


@pytest.mark.parametrize(
    ("given", "delivered"),
    [
        (outcome(result=PaymentLink(transaction_status=SENT)), True),
        (outcome(result=PaymentLink(transaction_status=NOT_SENT)), False),
        (outcome(result=PaymentLink()), None),
        (outcome(result=Cancellation()), None),
        (outcome(State.FAILED, error=ConnectionFailedError("no")), None),
        (outcome(result=Receipt(), error=refused(ReceiptNotSentError, 400)), False),
        (outcome(result=Receipt()), None),
    ],
)
def test_an_outcome_knows_whether_its_message_was_delivered(
    given: Outcome[Any, Any],
    delivered: bool | None,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert given.delivered is delivered


def test_only_a_gateways_decision_is_declined() -> None:
    assert outcome(State.REJECTED, GatewayResult(payment_gateway_decision="DECLINE")).declined
    assert not outcome(State.UNKNOWN, GatewayResult(payment_gateway_decision="REVIEW")).declined
    assert not outcome(State.APPLIED, GatewayResult(payment_gateway_decision="ACCEPT")).declined
    assert not outcome(State.REJECTED, error=BadRequestError("no", status_code=400)).declined


@pytest.mark.parametrize(
    ("asked", "result", "without_url"),
    [
        (True, PaymentLink(recovered=True), True),
        (True, PaymentLink(recovered=True, payment_link="https://pay.test/1"), False),
        (True, PaymentLink(), False),
        (False, PaymentLink(recovered=True), False),
        (None, PaymentLink(recovered=True), False),
        (True, None, False),
    ],
)
def test_an_outcome_knows_whether_its_url_was_lost(
    asked: bool | None,  # noqa: FBT001 - a column
    result: PaymentLink | None,
    without_url: bool,  # noqa: FBT001 - a column
) -> None:
    request = attrs.evolve(LINK, return_payment_link=asked)
    assert Outcome("A-1", request, State.APPLIED, result).without_url is without_url


def test_only_a_link_can_be_without_its_url() -> None:
    result = GatewayResult(payment_gateway_decision="ACCEPT", recovered=True)
    assert not Outcome("ref-1", "a capture", State.APPLIED, result).without_url
