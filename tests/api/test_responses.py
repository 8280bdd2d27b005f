"""Status, headers and bytes in; a result or an error out, with what it proves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async import errors, models
from chat2pay_async._api import requests
from chat2pay_async._api.operations import (
    CANCEL_PAYMENT_LINK,
    CAPTURE_PAYMENT,
    CREATE_PAYMENT_LINK,
    CREATE_RECEIPT,
    GET_CONFIGURATION,
    GET_TRANSACTION,
    OPERATIONS,
    REVERSE_PAYMENT,
    UPDATE_INTEGRATION,
    Operation,
    Safety,
)
from chat2pay_async._api.responses import (
    ParsedResponse,
    RawResponse,
    form_of,
    proof_of,
    read_response,
    retry_after,
)
from chat2pay_async._config import ApiKey
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Proof

PHONE = "27831234567"
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
CARD = "4111 1111 1111 1111"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"

LINK = requests.LinkReference(payment_link_ref="ref-1")
REQUESTS: Mapping[str, Any] = {
    "create_payment_link": requests.PaymentLinkRequest(
        channel=models.Channel.SMS,
        to=PHONE,
        order_number="A-1001",
        currency="ZAR",
        total_amount=Decimal("199.90"),
    ),
    "cancel_payment_link": LINK,
    "capture_payment": requests.Capture(payment_link_ref="ref-1"),
    "reverse_payment": LINK,
    "create_receipt": requests.ReceiptRequest(
        payment_link_ref="ref-1", receipt_link="https://shop.example/r/1"
    ),
    "get_transaction": requests.TransactionQuery(order_number="A-1001"),
    "get_configuration": requests.ConfigurationQuery(),
    "update_integration": requests.IntegrationRequest(
        application_uuid="app-1", status=models.IntegrationStatus.DELETED
    ),
}
EACH_OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)

AnyOperation = Operation[Any, Any]


def respond(
    operation: AnyOperation, status: int, body: Any = b"", headers: Mapping[str, str] | None = None
) -> ParsedResponse[Any]:
    """Read a response; a body that is not bytes is written as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = WireResponse(status, dict(headers or {}), content)
    return read_response(operation, REQUESTS[operation.name], response)


def refusal(
    operation: AnyOperation, status: int, body: Any = b"", headers: Mapping[str, str] | None = None
) -> Any:
    """The error of a response that has no result."""
    judged = respond(operation, status, body, headers)
    assert judged.result is None
    assert isinstance(judged.error, errors.ApiError)
    return judged.error


# Every status -------------------------------------------------------------------------------------

CLASSES = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    429: errors.RateLimitedError,
}
NO_SUCCESSES = [*range(100, 200), *range(300, 600)]


@EACH_OPERATION
def test_every_other_status_is_an_error_of_its_class(operation: AnyOperation) -> None:
    kinds = {status: type(respond(operation, status).error) for status in NO_SUCCESSES}
    assert kinds == {
        status: CLASSES.get(status, errors.ServerError if 500 <= status <= 599 else errors.ApiError)
        for status in NO_SUCCESSES
    }


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 409, 422, 425, 429, 500, 503])
def test_an_error_has_every_part_of_the_response(status: int) -> None:
    body = json.dumps(
        {
            "timestamp": "2026-05-04T03:02:01.000+0000",
            "status": status,
            "reason": "Because",
            "reasonCode": "R-7",
            "message": "Request failed",
            "errors": ["first", "second"],
            "path": "/api/v2/payment/ref-1/capture",
        }
    ).encode()
    error = refusal(CAPTURE_PAYMENT, status, body, {"date": "now", "x-request-id": "1"})
    assert error.status_code == status
    assert error.message == "Request failed"
    assert error.errors == ("first", "second")
    assert error.reason_code == "R-7"
    assert error.headers == {"date": "now", "x-request-id": "1"}
    assert error.body == body
    assert str(error) == f"capture_payment: {status}: Request failed; first; second"


@pytest.mark.parametrize(
    ("status", "proof"),
    [
        (302, Proof.UNKNOWN),
        (400, Proof.REJECTED),
        (401, Proof.REJECTED),
        (404, Proof.REJECTED),
        (408, Proof.UNKNOWN),
        (425, Proof.NOT_SENT),
        (429, Proof.THROTTLED),
        (500, Proof.UNKNOWN),
        (503, Proof.UNKNOWN),
    ],
)
def test_no_body_changes_what_a_status_proves(status: int, proof: Proof) -> None:
    for body in (b"", HTML, {"paymentLinkRef": "ref-9"}, {"transactionType": "Capture"}):
        assert respond(CREATE_PAYMENT_LINK, status, body).proof is proof
        assert respond(CAPTURE_PAYMENT, status, body).proof is proof


# The bodies that the service was seen to send -----------------------------------------------------


def test_a_400_lists_its_reasons() -> None:
    error = refusal(
        CREATE_PAYMENT_LINK,
        400,
        {
            "message": "Request failed",
            "errors": ["Total amount is not equal to the sum of tax and subtotal"],
        },
    )
    assert type(error) is errors.BadRequestError
    assert error.errors == ("Total amount is not equal to the sum of tax and subtotal",)
    assert str(error) == (
        "create_payment_link: 400: Request failed; "
        "Total amount is not equal to the sum of tax and subtotal"
    )


def test_a_401_without_message_says_unauthorized() -> None:
    error = refusal(
        GET_CONFIGURATION,
        401,
        {
            "timestamp": "2026-05-04T03:02:01.000+0000",
            "status": 401,
            "error": "Unauthorized",
            "path": "/api/v2/config",
        },
    )
    assert type(error) is errors.AuthenticationError
    assert (error.message, error.errors) == ("Unauthorized", ())
    assert str(error) == "get_configuration: 401: Unauthorized"


@pytest.mark.parametrize("status", ["NOT_FOUND", "404 NOT_FOUND"])
def test_a_404_names_the_reference_that_was_asked_for(status: str) -> None:
    error = refusal(
        CANCEL_PAYMENT_LINK,
        404,
        {
            "status": status,
            "message": "URL /api/v2/cancel/ref-1",
            "errors": ["There is no such transaction with transaction reference ref-1"],
        },
    )
    assert type(error) is errors.NotFoundError
    assert error.status_code == 404
    assert error.message == "URL /api/v2/cancel/ref-1"
    assert error.errors == ("There is no such transaction with transaction reference ref-1",)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, errors.AuthenticationError), (404, errors.NotFoundError)]
)
def test_an_integration_that_is_refused_in_the_form_of_a_success_is_still_refused(
    status: int, kind: type[errors.ApiError]
) -> None:
    error = refusal(UPDATE_INTEGRATION, status, {"updateTime": "2026-05-04T03:02:01Z"})
    assert type(error) is kind
    assert str(error) == f"update_integration: {status}: no reason given"


UNSENT = {
    "receiptLinkRef": "rcpt-1",
    "orderNumber": "A-1001",
    "timestamp": "2026-05-04T03:02:01.000+0000",
    "transactionStatus": "RECEIPT_LINK_SENT_FAILED",
    "transactionStatusId": 15,
    "error": {"code": 105, "description": "Invalid destination"},
}


def test_a_receipt_that_was_made_but_not_sent_is_an_error_with_the_receipt() -> None:
    judged = respond(CREATE_RECEIPT, 400, UNSENT)
    assert isinstance(judged.error, errors.ReceiptNotSentError)
    assert judged.error.receipt == models.Receipt(
        receipt_link_ref="rcpt-1",
        order_number="A-1001",
        timestamp=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        transaction_status=models.TransactionStatus.RECEIPT_LINK_SENT_FAILED,
        transaction_status_id=15,
        error=models.ThirdPartyError(code=105, description="Invalid destination"),
    )
    assert judged.proof is Proof.REJECTED
    assert judged.error.status_code == 400
    assert str(judged.error) == (
        "create_receipt: 400: the receipt was created, but its message was not sent "
        "(Invalid destination)"
    )
    bare = refusal(CREATE_RECEIPT, 400, UNSENT | {"error": None})
    assert str(bare).endswith("its message was not sent")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"receiptLinkRef": None},
        {"receiptLinkRef": ""},
        {"receiptLinkRef": {}},
        {"message": "Request failed", "errors": ["receiptLink is no URL"]},
        HTML,
        b"",
    ],
)
def test_a_receipt_that_was_not_created_is_an_ordinary_400(body: Any) -> None:
    assert type(refusal(CREATE_RECEIPT, 400, body)) is errors.BadRequestError


@pytest.mark.parametrize("status", [401, 404, 409, 422, 500])
def test_only_a_400_tells_of_an_unsent_receipt(status: int) -> None:
    assert not isinstance(refusal(CREATE_RECEIPT, status, UNSENT), errors.ReceiptNotSentError)


@EACH_OPERATION
def test_only_a_receipt_is_an_unsent_receipt(operation: AnyOperation) -> None:
    error = refusal(operation, 400, UNSENT)
    assert isinstance(error, errors.ReceiptNotSentError) is (operation is CREATE_RECEIPT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        HTML,
        b"null",
        b"[]",
        b'[{"message": "in a list"}]',
        b'"text"',
        b"17",
        b'{"message": "cut o',
        b'{"mess\xffage": "x"}',
        b"\x00\x01\x02",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"amount": 1e999999999999999999999}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_error_needs_no_readable_body(body: bytes) -> None:
    for status in (400, 429, 502):
        error = refusal(CAPTURE_PAYMENT, status, body)
        assert str(error) == f"capture_payment: {status}: no reason given"
        assert (error.message, error.errors, error.reason_code) == (None, (), None)
        assert error.body == body


def test_a_byte_order_mark_is_skipped() -> None:
    assert refusal(CAPTURE_PAYMENT, 400, b'\xef\xbb\xbf{"message": "no"}').message == "no"


@pytest.mark.parametrize(
    ("body", "message", "reasons", "code"),
    [
        ({"message": 5, "errors": 6, "reasonCode": 7}, None, (), 7),
        ({"message": None, "errors": None, "reasonCode": None}, None, (), None),
        ({"message": {"a": "b"}, "errors": {"a": "b"}, "reasonCode": {"a": "b"}}, None, (), None),
        ({"message": [], "errors": [], "reasonCode": []}, None, (), None),
        ({"message": ["first", "second"]}, "first", (), None),
        ({"message": "", "error": "Bad Request"}, "Bad Request", (), None),
        ({"message": " ", "error": [], "reason": "Because"}, "Because", (), None),
        ({"errors": "a single one"}, None, ("a single one",), None),
        ({"errors": ["one", 2, None, {"three": 3}, "", " ", "four"]}, None, ("one", "four"), None),
        ({"reasonCode": "R-7"}, None, (), "R-7"),
        ({"reasonCode": 1.5}, None, (), None),
    ],
)
def test_fields_of_odd_types_cost_nothing_but_themselves(
    body: dict[str, Any], message: str | None, reasons: tuple[str, ...], code: str | int | None
) -> None:
    error = refusal(CAPTURE_PAYMENT, 400, body)
    assert (error.message, error.errors, error.reason_code) == (message, reasons, code)


def test_a_repeated_message_is_shown_once() -> None:
    error = refusal(CAPTURE_PAYMENT, 400, {"message": "no", "errors": ["no", "never", "no"]})
    assert str(error) == "capture_payment: 400: no; never"
    assert error.errors == ("no", "never", "no")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
NAMES = st.sampled_from(["message", "error", "errors", "reason", "reasonCode", "receiptLinkRef"])


@given(
    operation=st.sampled_from(OPERATIONS),
    status=st.integers(100, 599),
    body=st.binary() | st.dictionaries(NAMES, JSON) | JSON,
    asked=st.text(),
)
def test_every_response_whatsoever_is_a_result_or_an_error(
    operation: AnyOperation, status: int, body: Any, asked: str
) -> None:
    judged = respond(operation, status, body, {"retry-after": asked})
    assert (judged.result is None) != (judged.error is None)
    assert (judged.result is not None) == (judged.proof is Proof.APPLIED)


# A 2xx --------------------------------------------------------------------------------------------

PROOFS: list[tuple[AnyOperation, dict[str, Any], Any]] = [
    (
        CREATE_PAYMENT_LINK,
        {"paymentLinkRef": "ref-9", "transactionStatus": "PAYMENT_LINK_SENT_FAILED"},
        models.PaymentLink(
            payment_link_ref="ref-9",
            transaction_status=models.TransactionStatus.PAYMENT_LINK_SENT_FAILED,
        ),
    ),
    (
        CANCEL_PAYMENT_LINK,
        {"paymentLinkRef": "ref-1", "transactionStatus": "Payment Link Cancelled"},
        models.Cancellation(
            payment_link_ref="ref-1",
            transaction_status=models.TransactionStatus.PAYMENT_LINK_CANCELLED,
        ),
    ),
    (
        CAPTURE_PAYMENT,
        {"transactionType": "Capture", "totalAmount": 199.9},
        models.GatewayResult(
            transaction_type=models.TransactionType.CAPTURE, total_amount=Decimal("199.9")
        ),
    ),
    (
        REVERSE_PAYMENT,
        {"paymentGatewayDecision": "DECLINE"},
        models.GatewayResult(payment_gateway_decision="DECLINE"),
    ),
    (CREATE_RECEIPT, {"receiptLinkRef": "rcpt-1"}, models.Receipt(receipt_link_ref="rcpt-1")),
    (GET_TRANSACTION, {"orderNumber": "A-1001"}, models.Transaction(order_number="A-1001")),
    (GET_CONFIGURATION, {"environment": "Sandbox"}, models.Configuration(environment="Sandbox")),
    (
        UPDATE_INTEGRATION,
        {"updateTime": "2026-05-04T03:02:01Z"},
        models.IntegrationUpdate(update_time=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)),
    ),
]


@pytest.mark.parametrize(("operation", "body", "result"), PROOFS, ids=[p[0].name for p in PROOFS])
@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_with_its_proof_is_a_success(
    operation: AnyOperation, body: dict[str, Any], result: Any, status: int
) -> None:
    assert respond(operation, status, body) == ParsedResponse(Proof.APPLIED, result=result)


def test_the_proofs_cover_every_operation() -> None:
    assert {id(row[0]) for row in PROOFS} == {id(operation) for operation in OPERATIONS}


@EACH_OPERATION
@pytest.mark.parametrize(
    "body", [b"", HTML, b"null", b"[]", b"[{}]", b'"x"', b"1", b"true", b'{"paymentLinkRef": "r']
)
def test_a_2xx_that_is_no_json_object_proves_nothing(operation: AnyOperation, body: bytes) -> None:
    judged = respond(operation, 200, body)
    assert (judged.proof, judged.result) == (Proof.UNKNOWN, None)
    assert isinstance(judged.error, errors.ResponseDecodeError)
    assert (judged.error.status_code, judged.error.body) == (200, body)
    assert str(judged.error) == f"{operation.name}: the response 200 carries no JSON object"


@EACH_OPERATION
def test_an_empty_object_proves_a_read_or_an_update_but_no_post(operation: AnyOperation) -> None:
    judged = respond(operation, 201, {})
    if operation.safety is not Safety.ONCE:
        assert judged == ParsedResponse(Proof.APPLIED, result=operation.result())
        return
    assert (judged.proof, judged.result) == (Proof.UNKNOWN, None)
    assert isinstance(judged.error, errors.ResponseDecodeError)
    assert str(judged.error) == (
        f"{operation.name}: the response 201 carries no proof that it was applied"
    )


def test_another_links_cancellation_proves_nothing() -> None:
    body = {"paymentLinkRef": "ref-2", "transactionStatus": "PAYMENT_LINK_CANCELLED"}
    assert respond(CANCEL_PAYMENT_LINK, 200, body).proof is Proof.UNKNOWN


def test_a_field_that_cannot_be_read_costs_no_success() -> None:
    judged = respond(
        CREATE_PAYMENT_LINK, 201, {"paymentLinkRef": "ref-9", "timestamp": "soon", "new": 1}
    )
    assert judged.proof is Proof.APPLIED
    assert judged.result == models.PaymentLink(
        payment_link_ref="ref-9", timestamp=None, extra={"timestamp": "soon", "new": 1}
    )


# A wait that a response asks for ------------------------------------------------------------------


def test_a_429_says_how_long_to_wait() -> None:
    judged = respond(CAPTURE_PAYMENT, 429, HTML, {"retry-after": "7"})
    assert isinstance(judged.error, errors.RateLimitedError)
    assert judged.error.retry_after == judged.retry_after == 7.0


@pytest.mark.parametrize("headers", [{}, {"retry-after": "soon"}])
def test_a_429_may_leave_it_open(headers: dict[str, str]) -> None:
    judged = respond(CAPTURE_PAYMENT, 429, b"", headers)
    assert isinstance(judged.error, errors.RateLimitedError)
    assert judged.error.retry_after is None
    assert judged.retry_after is None


def test_a_503_asks_too_and_still_proves_nothing() -> None:
    judged = respond(CAPTURE_PAYMENT, 503, HTML, {"retry-after": "30"})
    assert (judged.proof, judged.retry_after) == (Proof.UNKNOWN, 30.0)


# The proof in a response --------------------------------------------------------------------------

SUCCESSES = set(range(200, 300))
REFUSALS = set(range(400, 500)) - {408, 425, 429}


def expected_proof(status: int, *, applied: bool) -> str:
    if status in SUCCESSES:
        return "applied" if applied else "unknown"
    if status in REFUSALS:
        return "rejected"
    return {425: "not sent", 429: "throttled"}.get(status, "unknown")


@pytest.mark.parametrize("applied", [True, False])
def test_every_status_proves_the_same_as_the_table(*, applied: bool) -> None:
    proofs = {status: str(proof_of(status, applied=applied)) for status in range(100, 600)}
    assert proofs == {status: expected_proof(status, applied=applied) for status in proofs}


@pytest.mark.parametrize(
    ("status", "proof"),
    [
        (100, Proof.UNKNOWN),
        (199, Proof.UNKNOWN),
        (300, Proof.UNKNOWN),
        (302, Proof.UNKNOWN),
        (307, Proof.UNKNOWN),
        (399, Proof.UNKNOWN),
        (400, Proof.REJECTED),
        (401, Proof.REJECTED),
        (403, Proof.REJECTED),
        (404, Proof.REJECTED),
        (407, Proof.REJECTED),
        (408, Proof.UNKNOWN),
        (409, Proof.REJECTED),
        (425, Proof.NOT_SENT),
        (429, Proof.THROTTLED),
        (499, Proof.REJECTED),
        (500, Proof.UNKNOWN),
        (502, Proof.UNKNOWN),
        (503, Proof.UNKNOWN),
        (504, Proof.UNKNOWN),
        (599, Proof.UNKNOWN),
        (999, Proof.UNKNOWN),
        (0, Proof.UNKNOWN),
    ],
)
def test_a_status_that_is_no_success_proves_the_same_whatever_its_body_says(
    status: int, proof: Proof
) -> None:
    assert proof_of(status, applied=False) is proof_of(status, applied=True) is proof


# Retry-After -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("120", 120.0),
        ("1.5", 1.5),
        ("0.25", 0.25),
        ("007", 7.0),
        ("  7 ", 7.0),
        ("3.", 3.0),
        ("86400", 86400.0),
    ],
)
def test_retry_after_is_read_in_seconds(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Mon, 04 May 2026 03:02:31 GMT", 30.0),
        ("Mon, 04 May 2026 05:02:31 +0200", 30.0),
        ("Mon, 04 May 2026 03:02:01 GMT", 0.0),
        ("Mon, 04 May 2026 03:02:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Mon, 04 May 2026 03:03:01", 60.0),
        ("Mon, 04 May 2026 03:03:01 -0000", 60.0),
        ("4 May 2026 04:02:01 GMT", 3600.0),
    ],
)
def test_retry_after_is_read_as_a_date(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


def test_a_date_is_compared_with_this_machines_clock() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    asked = retry_after({"retry-after": format_datetime(soon, usegmt=True)})
    assert asked is not None
    assert 3500 < asked <= 3600


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "+5",
        "nan",
        "inf",
        "Infinity",
        "1e3",
        "0x10",
        "1_000",
        "1,5",
        ".5",
        ".",
        "1.2.3",
        "1.-2",
        "5s",
        "soon",
        "٣",
        "²",
        "１",  # noqa: RUF001 - a digit of full width, which is what is tried here
        "Wed, 32 Oct 2026 07:28:00 GMT",
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
        "Wed, 21 Oct 2026 07:28:00 +99999999999999999999",
        "Wed, 21 Oct 2026 99999999999999999999:28:00 GMT",
        "2026-05-04T03:02:01Z",
        "\x00",
        "(",
    ],
)
def test_a_malformed_header_asks_for_nothing(text: str) -> None:
    assert retry_after({"retry-after": text}, NOW) is None
    assert retry_after({"retry-after-ms": text}, NOW) is None


def test_a_response_without_the_header_asks_for_nothing() -> None:
    assert retry_after({}) is None
    assert retry_after({"date": "Mon, 04 May 2026 03:02:31 GMT"}) is None


def test_milliseconds_win_over_seconds() -> None:
    assert retry_after({"retry-after-ms": "1500", "retry-after": "60"}) == 1.5
    assert retry_after({"retry-after-ms": "0", "retry-after": "60"}) == 0.0
    assert retry_after({"retry-after-ms": "2.5"}) == 0.0025


def test_malformed_milliseconds_give_way_to_seconds() -> None:
    assert retry_after({"retry-after-ms": "soon", "retry-after": "60"}) == 60.0


def test_milliseconds_are_never_a_date() -> None:
    assert retry_after({"retry-after-ms": "Mon, 04 May 2026 03:02:31 GMT"}, NOW) is None


@given(st.text())
def test_no_header_whatsoever_breaks_a_call(text: str) -> None:
    for header in ("retry-after", "retry-after-ms"):
        asked = retry_after({header: text}, NOW)
        assert asked is None or asked >= 0


@given(st.from_regex(r"\w{3}, [0-9]{1,25} \w{3} [0-9]{1,25} [0-9:]{1,25} [+-][0-9]{1,25}"))
def test_no_date_whatsoever_breaks_a_call(text: str) -> None:
    asked = retry_after({"retry-after": text}, NOW)
    assert asked is None or asked >= 0


# Secrets in errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", [PHONE, f"+{PHONE}", "083 123 4567", CARD, CARD.replace(" ", "-")]
)
def test_phone_and_card_numbers_are_masked(secret: str) -> None:
    error = refusal(
        CAPTURE_PAYMENT,
        400,
        {"message": f"No message to {secret}", "errors": [f"{secret} is blocked", f"({secret})"]},
    )
    assert error.message == "No message to ***"
    assert error.errors == ("*** is blocked", "(***)")
    assert str(error) == "capture_payment: 400: No message to ***; *** is blocked; (***)"
    for shown in (repr(error), str(error.args)):
        assert secret not in shown
    assert secret.encode() in error.body


def test_the_calls_own_reference_stays() -> None:
    error = refusal(CANCEL_PAYMENT_LINK, 404, {"errors": [f"ref-1 of {PHONE} not found"]})
    assert error.errors == ("ref-1 of *** not found",)


def test_a_key_that_the_service_repeats_is_shown_in_no_error() -> None:
    body = b'{"message": "no such key: sk-1234", "errors": ["sk-1234 is blocked"]}'
    response = WireResponse(401, {}, body)
    request = REQUESTS[CAPTURE_PAYMENT.name]
    error = read_response(CAPTURE_PAYMENT, request, response, ApiKey("sk-1234")).error
    assert str(error) == "capture_payment: 401: no such key: ***; *** is blocked"
    assert "sk-1234" not in repr(error)


def test_redaction_covers_fields_other_than_message() -> None:
    for field in ("message", "error", "reason"):
        assert refusal(CAPTURE_PAYMENT, 400, {field: f"to {PHONE}"}).message == "to ***"


def test_a_raw_response_shows_neither_headers_nor_body() -> None:
    raw = RawResponse(
        parsed=models.PaymentLink(payment_link_ref="ref-9"),
        status_code=201,
        headers={"set-cookie": "secret-cookie"},
        body=b'{"paymentLink": "https://pay.example/secret"}',
        attempts=(),
        elapsed=0.25,
    )
    assert "secret" not in repr(raw)
    assert "status_code=201" in repr(raw)
    assert "ref-9" in repr(raw)
    assert raw.recovered is False


def test_a_wire_response_shows_neither_headers_nor_body() -> None:
    response = WireResponse(201, {"set-cookie": "secret-cookie"}, b"secret")
    assert repr(response) == "WireResponse(status_code=201)"


@pytest.mark.parametrize(
    ("value", "field"),
    [(WireResponse(200, {}, b""), "body"), (ParsedResponse[Any](Proof.REJECTED), "proof")],
)
def test_responses_are_frozen(value: object, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, None)


# Forms of responses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "form"),
    [
        (404, b"<html>27831234567</html>", "404 no JSON object"),
        (200, b"", "200 no JSON object"),
        (200, b"{}", "200 {}"),
        (
            404,
            b'{"errors": ["a", "b", 1], "message": "27831234567", "status": null}',
            "404 {errors: [str, int], message: str, status: NoneType}",
        ),
        (
            200,
            b'{"a": {"b": [{"c": 1.5}, {"c": true}]}}',
            "200 {a: {b: [{c: Decimal}, {c: bool}]}}",
        ),
        (200, b'{"27831234567": 1, "4111 1111 1111 1111": 2}', "200 {***: int, ***: int}"),
    ],
)
def test_a_form_shows_no_values(status: int, body: bytes, form: str) -> None:
    assert form_of(WireResponse(status, {}, body)) == form


@pytest.mark.parametrize("depth", [9, 100, 500, 900, 100_000])
def test_a_form_ends_where_it_gets_too_deep(depth: int) -> None:
    for opening, closing in ((b'{"a":', b"}"), (b'{"a":[', b"]}")):
        body = opening * depth + b"1" + closing * depth
        form = form_of(WireResponse(200, {}, body))
        assert form == "200 no JSON object" or form.count("…") == 1
        assert len(form) < 60
