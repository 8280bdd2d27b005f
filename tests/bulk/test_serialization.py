"""Serialization: results, errors and attempts are read as they were written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chat2pay_async import errors, models
from chat2pay_async._api import operations
from chat2pay_async._api.codec import structure, wire_name
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import Operation
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.serialization import (
    Detail,
    outcome_of,
    read_detail,
    read_result,
    write_detail,
    write_result,
)
from chat2pay_async._journal.base import Row
from chat2pay_async.errors import Attempt, Chat2PayError, Proof

unhurried = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOON = datetime(2021, 4, 27, 12, tzinfo=UTC)
CREATE = operations.CREATE_PAYMENT_LINK
ANSWERS: list[type[Any]] = [
    kind
    for kind in (getattr(models, name) for name in models.__all__)
    if attrs.has(kind) and "extra" in attrs.fields_dict(kind)
]
ATTEMPTS = (
    Attempt(NOON, 0.25, Proof.NOT_SENT, error="ConnectError"),
    Attempt(NOON + timedelta(microseconds=1), 1e-05, Proof.THROTTLED, 429),
    Attempt(NOON + timedelta(seconds=9), 10.0, Proof.UNKNOWN, None, "ReadTimeout"),
)


def about(kind: type[Any]) -> Operation[Any, Any]:
    """Return the operation that has this result."""
    return attrs.evolve(CREATE, result=kind)


# Results ------------------------------------------------------------------------------------------

names = sorted({wire_name(field.name) for kind in ANSWERS for field in attrs.fields(kind)})
keys = st.sampled_from(names) | st.text(max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.text(st.characters(codec="utf-8"), max_size=12)
    | st.sampled_from(["Sale", "SUCCESS", "sms", " true ", "1.50", "1E+2", "soon", "A-1"])
    | st.sampled_from(["PAYMENT_LINK_SENT", "Payment Link Cancelled", "https://pay.example/8a1f"])
    | st.sampled_from(["TransactionType.SALE(name=Sale, id=1)", "2021-04-27T17:35:58.123+02:00"])
    | st.sampled_from([1619544958000, Decimal("1E-7"), Decimal("2E+20")])
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=5)
        | st.lists(st.dictionaries(keys, inner, max_size=4), max_size=2)
    ),
    max_leaves=6,
)


as_json = msgspec.json.Encoder(decimal_format="number")


def answers(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Generate bodies that resemble such a response."""
    own = [wire_name(field.name) for field in attrs.fields(kind)]
    return st.dictionaries(st.sampled_from(own) | keys, json_values, max_size=10)


@pytest.mark.parametrize("kind", ANSWERS)
@unhurried
@given(data=st.data())
def test_a_result_survives_writing_whatever_the_response(
    kind: type[Any], data: st.DataObject
) -> None:
    body = as_json.encode(data.draw(answers(kind)))
    reported = decode_object(body)
    assert reported is not None
    result = structure(kind, reported)
    written = write_result(result)
    again = read_result(about(kind), written, recovered=False)
    assert again == result
    assert type(again) is kind
    assert write_result(again) == written  # to the digit: `==` takes 1.50 for 1.5
    assert read_result(about(kind), body, recovered=False) == result


@pytest.mark.parametrize(
    "operation",
    [one for one in operations.OPERATIONS if one.method != "GET"],
    ids=lambda one: str(one.name),
)
def test_a_result_keeps_recovered(
    operation: Operation[Any, Any],
) -> None:
    result = operation.result(recovered=True, extra={"a": Decimal("1.50")})
    written = write_result(result)
    assert written == b'{"a":1.50}'
    assert read_result(operation, written, recovered=True) == result
    assert read_result(operation, written, recovered=False).recovered is False


def test_a_result_keeps_its_url_its_digits_and_its_extra() -> None:
    body = (
        b'{"paymentLinkRef":"8a1f","paymentLink":"https://pay.example/8a1f","paymentLinkTTL":"15",'
        b'"transactionStatus":"Payment Link Sent","timestamp":"2021-04-27T12:00:00.000+0000",'
        b'"error":{"code":"oops","description":"x"},"transactionStatusId":2,"brandNew":[1.50]}'
    )
    link = read_result(
        CREATE, write_result(read_result(CREATE, body, recovered=False)), recovered=True
    )
    assert link == models.PaymentLink(
        payment_link_ref="8a1f",
        payment_link="https://pay.example/8a1f",
        payment_link_ttl=15,
        transaction_status=models.TransactionStatus.PAYMENT_LINK_SENT,
        transaction_status_id=2,
        timestamp=NOON,
        error=models.ThirdPartyError(description="x", extra={"code": "oops"}),
        recovered=True,
        extra={"brandNew": [Decimal("1.50")]},
    )
    assert str(link.extra["brandNew"][0]) == "1.50"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"\xff"])
def test_a_response_that_is_not_an_object_has_no_result(body: bytes) -> None:
    assert read_result(CREATE, body, recovered=False) is None
    assert read_result(CREATE, body, recovered=True) is None


# Attempts and errors ------------------------------------------------------------------------------


def outcome(**fields: Any) -> Outcome[Any, Any]:
    return Outcome("A-1", None, **{"state": State.REJECTED} | fields)


def returned(**fields: Any) -> Detail:
    return read_detail(write_detail(outcome(**fields)))


moments = st.datetimes(timezones=st.just(UTC))


@unhurried
@given(
    st.lists(
        st.builds(
            Attempt,
            started_at=moments,
            elapsed=st.floats(0, 1e6),
            proof=st.sampled_from(Proof),
            status_code=st.none() | st.integers(100, 599),
            error=st.none() | st.text(st.characters(codec="utf-8"), max_size=10),
        ),
        max_size=4,
    ).map(tuple)
)
@example(ATTEMPTS)
def test_attempts_survive_writing(attempts: tuple[Attempt, ...]) -> None:
    assert returned(attempts=attempts) == Detail(attempts)


def test_recovered_survives_writing() -> None:
    assert returned(state=State.APPLIED, result=models.PaymentLink(recovered=True)).recovered
    assert not returned(state=State.APPLIED, result=models.PaymentLink()).recovered
    assert not returned(state=State.APPLIED).recovered


API_ERRORS: list[type[errors.ApiError]] = [
    kind
    for kind in (getattr(errors, name) for name in errors.__all__)
    if isinstance(kind, type) and issubclass(kind, errors.ApiError)
]
WORDS_ONLY: list[type[Chat2PayError]] = [
    errors.Chat2PayError,
    errors.ConfigurationError,
    errors.TransportError,
    errors.ConnectionFailedError,
    errors.RequestTimeoutError,
    errors.JournalError,
    errors.RunStoppedError,
]
PENDING = errors.Pending(
    operation="create_payment_link",
    identity="A-1",
    request=errors.SentRequest("POST", "/api/v2/chat-2-pay", b"{}"),
    base_url="https://api.example",
    key_fingerprint="f00d",
    request_id="id-1",
    first_attempt=ATTEMPTS[0],
    last_attempt=ATTEMPTS[2],
)
NEED_MORE: list[Chat2PayError] = [
    errors.RequestValidationError("PaymentLinkRequest", (errors.Fault("to", "is required"),)),
    errors.ResponseDecodeError("no JSON", status_code=200, body=b"<html>"),
    errors.OutcomeUnknownError("it may have been applied", pending=PENDING),
]


def test_every_error_class_is_covered() -> None:
    kinds = {getattr(errors, name) for name in errors.__all__}
    every = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Chat2PayError)}
    assert every == {*API_ERRORS, *WORDS_ONLY, *map(type, NEED_MORE)}


@pytest.mark.parametrize("kind", API_ERRORS)
@pytest.mark.parametrize("reason", [None, 7, "R-7"])
def test_an_api_error_keeps_its_fields(
    kind: type[errors.ApiError], reason: str | int | None
) -> None:
    error = kind(
        "create_payment_link: 400: no",
        status_code=400,
        message="no",
        errors=("to: wrong", "ä"),
        reason_code=reason,
        headers={"date": "today"},
        body=b"\xff",
    )
    back = returned(error=error, attempts=ATTEMPTS).error
    assert type(back) is kind
    assert isinstance(back, errors.ApiError)
    assert str(back) == str(error)
    assert (back.status_code, back.message, back.errors) == (400, "no", ("to: wrong", "ä"))
    assert back.reason_code == reason
    assert back.attempts == ATTEMPTS


@pytest.mark.parametrize("kind", WORDS_ONLY)
def test_an_error_made_of_its_text_keeps_its_class(kind: type[Chat2PayError]) -> None:
    back = returned(error=kind("what a day"), attempts=ATTEMPTS).error
    assert type(back) is kind
    assert str(back) == "what a day"
    assert back.attempts == ATTEMPTS


@pytest.mark.parametrize("error", NEED_MORE, ids=lambda error: type(error).__name__)
def test_an_error_made_of_more_than_its_text_becomes_a_plain_one(
    error: Chat2PayError,
) -> None:
    back = returned(error=error).error
    assert type(back) is Chat2PayError
    assert str(back) == str(error)


def test_an_error_of_an_unknown_class_becomes_a_plain_one() -> None:
    class NewError(Chat2PayError):
        pass

    back = returned(error=NewError("what a day")).error
    assert type(back) is Chat2PayError
    assert str(back) == "what a day"


def test_headers_and_bodies_of_errors_are_not_written() -> None:
    error = errors.NotFoundError("no", status_code=404, headers={"set-cookie": "x"}, body=b"27831")
    written = write_detail(outcome(error=error))
    assert b"cookie" not in written
    assert b"27831" not in written


# Rows ---------------------------------------------------------------------------------------------


def row(state: str, **fields: Any) -> Row:
    given: dict[str, Any] = {"response": None, "result": None, "detail": None} | fields
    return Row("A-1", state, "/x", b"{}", "id-1", 0.0, 0.0, None, 10.0, 30.0, 1, 1, **given)


ANSWER = b'{"paymentLinkRef": "8a1f", "paymentLink": "https://pay.example/8a1f"}'
LINK = models.PaymentLink(payment_link_ref="8a1f", payment_link="https://pay.example/8a1f")


def test_the_outcome_of_a_row_has_its_result_with_the_url() -> None:
    then = outcome(state=State.APPLIED, result=LINK, attempts=ATTEMPTS)
    kept = row("applied", response=ANSWER, detail=write_detail(then))
    reported = outcome_of(CREATE, "the request", kept)
    assert reported == Outcome("A-1", "the request", State.APPLIED, LINK, None, ATTEMPTS)


def test_the_outcome_of_a_row_prefers_a_recovered_result_to_the_response() -> None:
    result = attrs.evolve(LINK, recovered=True)
    then = outcome(state=State.APPLIED, result=result)
    kept = row(
        "applied", response=b"<html>", result=write_result(result), detail=write_detail(then)
    )
    assert outcome_of(CREATE, None, kept).result == result


def test_the_outcome_of_a_rejected_row_has_an_error_and_no_result() -> None:
    error = errors.BadRequestError("no", status_code=400)
    kept = row("rejected", response=ANSWER, detail=write_detail(outcome(error=error)))
    reported = outcome_of(CREATE, None, kept)
    assert (reported.state, reported.result) == (State.REJECTED, None)
    assert type(reported.error) is errors.BadRequestError
    assert reported.error.operation == "create_payment_link"


def test_a_receipt_that_was_not_sent_keeps_the_receipt() -> None:
    error = errors.ReceiptNotSentError("no", status_code=400)
    then = outcome(state=State.APPLIED, error=error)
    kept = row("applied", response=b'{"receiptLinkRef": "r-1"}', detail=write_detail(then))
    reported = outcome_of(operations.CREATE_RECEIPT, None, kept)
    assert isinstance(reported.error, errors.ReceiptNotSentError)
    assert reported.result == reported.error.receipt == models.Receipt(receipt_link_ref="r-1")
    assert reported.delivered is False


def test_the_outcome_of_a_sent_row_is_unknown() -> None:
    assert outcome_of(CREATE, None, row("sent")) == Outcome("A-1", None, State.UNKNOWN)


@pytest.mark.parametrize("state", [state for state in State if state is not State.SKIPPED])
def test_the_outcome_of_a_row_has_its_state(state: State) -> None:
    kept = row(state.value, detail=write_detail(outcome(state=state)))
    assert outcome_of(CREATE, None, kept).state is state
