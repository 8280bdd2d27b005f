"""Responses: status, headers and bytes in; a result or an error out, with what it proves."""

from __future__ import annotations

import json
import ssl
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
    Outcome,
    RawResponse,
    date_of,
    failed_outcome,
    form_of,
    is_own_refusal,
    may_be_the_services,
    read_response,
    recovered_outcome,
    retry_after,
    unproven_outcome,
)
from chat2pay_async._config import ApiKey
from chat2pay_async._transport.base import ExchangeError, WireResponse
from chat2pay_async.errors import Proof

PHONE = "27831234567"
SENT_AT = {"date": "Mon, 04 May 2026 03:02:01 GMT"}
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
) -> Outcome[Any]:
    """Read a response; a body that is not bytes is written as JSON."""
    response = wire(status, body, headers)
    return read_response(operation, REQUESTS[operation.name], response)


def wire(status: int, body: Any, headers: Mapping[str, str] | None = None) -> WireResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WireResponse(status, dict(headers or {}), content)


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


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 425, 429, 500, 503])
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
    hint = "; check the API key (CHAT2PAY_API_KEY)" if status == 401 else ""
    assert str(error) == f"capture_payment: {status}: Request failed; first; second{hint}"


POSTS = [operation for operation in OPERATIONS if operation.safety is Safety.ONCE]
EACH_POST = pytest.mark.parametrize("operation", POSTS, ids=lambda one: one.name)

OWN = {"message": "Request failed", "errors": ["It was refused"]}
FOREIGN: list[Any] = [
    b"",
    b"Not allowed",
    HTML,
    b"null",
    b"[]",
    b'{"errors": ["cut o',
    [OWN],
    {},
    {"message": "Forbidden"},
    {"message": "no", "errors": "no list"},
    {"errors": None, "error": "Forbidden", "reason": "blocked", "reasonCode": 7},
    {"status": "ERROR"},
    {"status": 200},
    {"status": True},
    {"status": None},
    {"status": ["400"]},
    {"status": 4.0},
]
BETWEEN = [408, 409, 423, 424, 444, 460, 499]
REFUSED = sorted({*range(400, 500)} - {*BETWEEN, 425, 429})


def named(status: int) -> dict[str, Any]:
    return {"timestamp": "2026-05-04T03:02:01.000+0000", "status": status, "path": "/api"}


@EACH_OPERATION
@pytest.mark.parametrize("body", FOREIGN, ids=repr)
def test_no_status_is_a_rejection_in_a_form_that_is_not_the_services(
    operation: AnyOperation, body: Any
) -> None:
    proofs = {status: respond(operation, status, body).proof for status in NO_SUCCESSES}
    certain = {425: Proof.NOT_SENT, 429: Proof.THROTTLED}
    assert proofs == {status: certain.get(status, Proof.UNKNOWN) for status in NO_SUCCESSES}


@EACH_OPERATION
def test_a_4xx_in_the_services_own_form_is_a_rejection(operation: AnyOperation) -> None:
    for status in NO_SUCCESSES:
        expected = {425: Proof.NOT_SENT, 429: Proof.THROTTLED}.get(status, Proof.UNKNOWN)
        if status in REFUSED:
            expected = Proof.REJECTED
        for body in (OWN, named(status), {"status": str(status)}):
            assert respond(operation, status, body).proof is expected


@pytest.mark.parametrize("status", BETWEEN)
def test_a_status_of_whoever_stands_between_is_no_rejection_in_any_form(status: int) -> None:
    for body in (OWN, named(status), HTML, b""):
        outcome = respond(CAPTURE_PAYMENT, status, body)
        assert (outcome.proof, outcome.is_final) == (Proof.UNKNOWN, False)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (400, "BAD_REQUEST"),
        (400, "Bad Request"),
        (401, 401),
        (401, "401"),
        (401, "UNAUTHORIZED"),
        (401, " 401 unauthorized "),
        (404, "NOT_FOUND"),
        (404, "404 NOT_FOUND"),
        (413, "REQUEST_ENTITY_TOO_LARGE"),
        (422, "UNPROCESSABLE_ENTITY"),
    ],
)
def test_a_status_in_the_body_names_the_http_status(code: int, told: object) -> None:
    assert is_own_refusal(code, {"status": told})
    for other in (400, 401, 403, 404, 407, 413, 422):
        assert is_own_refusal(other, {"status": told}) is (other == code)


@pytest.mark.parametrize(
    "told", ["", " ", "404 ", "404 BAD_REQUEST", "NOT FOUND!", "404.0", "4040"]
)
def test_a_status_in_the_body_that_names_another_is_anybodys(told: str) -> None:
    assert is_own_refusal(404, {"status": told}) is (told == "404 ")


NO_REFUSAL_STATUSES = sorted({*range(100, 600)} - {*range(400, 500)} | set(BETWEEN))


@given(status=st.sampled_from(NO_REFUSAL_STATUSES), reasons=st.lists(st.text()))
def test_only_a_4xx_is_a_refusal(status: int, reasons: list[str]) -> None:
    assert not is_own_refusal(status, {"errors": reasons, "status": status})


APPLIED_AFTER_ALL: list[tuple[AnyOperation, dict[str, Any]]] = [
    (CREATE_PAYMENT_LINK, {"paymentLinkRef": "ref-9"}),
    (CREATE_PAYMENT_LINK, {"paymentLinkRef": 9}),
    (CANCEL_PAYMENT_LINK, {"transactionStatus": "PAYMENT_LINK_CANCELLED"}),
    (CAPTURE_PAYMENT, {"transactionType": "Capture"}),
    (CAPTURE_PAYMENT, {"paymentGatewayDecision": "ACCEPT"}),
    (REVERSE_PAYMENT, {"transactionType": "Void"}),
    (REVERSE_PAYMENT, {"paymentGatewayDecision": "ACCEPT"}),
    (UPDATE_INTEGRATION, {"updateTime": "2026-05-04T03:02:01Z"}),
]


@pytest.mark.parametrize(("operation", "field"), APPLIED_AFTER_ALL)
def test_a_refusal_with_the_field_of_a_success_may_have_been_applied(
    operation: AnyOperation, field: dict[str, Any]
) -> None:
    for status in (400, 401, 404, 422):
        assert respond(operation, status, OWN | field).proof is Proof.UNKNOWN
        assert respond(operation, status, named(status) | field).proof is Proof.UNKNOWN
        null = dict.fromkeys(field)
        assert respond(operation, status, OWN | null).proof is Proof.REJECTED


# The end of a call whose refusal was unknown for its form alone -----------------------------------


@EACH_OPERATION
@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 411, 413, 421, 451])
def test_a_foreign_refusal_of_a_post_is_final_if_it_was_not_applied(
    operation: AnyOperation, status: int
) -> None:
    for body in (HTML, b"", {"message": "no"}):
        assert respond(operation, status, body).is_final is (operation in POSTS)
    assert not respond(operation, status, OWN).is_final


@pytest.mark.parametrize("status", [302, 408, 425, 429, 499, 500, 503])
def test_every_other_failure_is_retried(status: int) -> None:
    assert not respond(CAPTURE_PAYMENT, status, HTML).is_final
    assert not respond(CAPTURE_PAYMENT, 200, HTML).is_final


@EACH_POST
def test_a_block_page_is_foreign(operation: AnyOperation) -> None:
    foreign = {status for status in NO_SUCCESSES if respond(operation, status, HTML).is_foreign}
    assert foreign == {401, 403, 404}
    assert not any(respond(operation, status, OWN).is_foreign for status in NO_SUCCESSES)
    assert not respond(operation, 200, HTML).is_foreign
    assert not Outcome[Any](Proof.UNKNOWN, is_final=True).is_foreign


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
    assert str(error) == (
        "get_configuration: 401: Unauthorized; check the API key (CHAT2PAY_API_KEY)"
    )


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
    hint = "; check the API key (CHAT2PAY_API_KEY)" if status == 401 else ""
    assert str(error) == f"update_integration: {status}: no reason given{hint}"


UNSENT = {
    "receiptLinkRef": "rcpt-1",
    "orderNumber": "A-1001",
    "timestamp": "2026-05-04T03:02:01.000+0000",
    "transactionStatus": "RECEIPT_LINK_SENT_FAILED",
    "transactionStatusId": 15,
    "error": {"code": 105, "description": "Invalid destination"},
}


def test_a_receipt_that_was_made_but_not_sent_is_an_error_with_the_receipt() -> None:
    judged = respond(CREATE_RECEIPT, 400, UNSENT | OWN)
    assert judged.proof is Proof.APPLIED
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
    assert judged.proof is Proof.APPLIED
    assert judged.result == judged.error.receipt
    assert judged.error.status_code == 400
    assert str(judged.error) == (
        "create_receipt: 400: the receipt was created, but its message was not sent "
        "(Invalid destination)"
    )
    bare = respond(CREATE_RECEIPT, 400, UNSENT | {"error": None}).error
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


def test_an_unsent_receipt_of_another_link_proves_nothing() -> None:
    judged = respond(CREATE_RECEIPT, 400, UNSENT | OWN | {"paymentLinkRef": "ref-2"})
    assert (judged.proof, judged.result) == (Proof.UNKNOWN, None)
    assert type(judged.error) is errors.BadRequestError


@pytest.mark.parametrize("status", [401, 404, 409, 422, 500])
def test_only_a_400_tells_of_an_unsent_receipt(status: int) -> None:
    assert not isinstance(refusal(CREATE_RECEIPT, status, UNSENT), errors.ReceiptNotSentError)


@EACH_OPERATION
def test_only_a_receipt_is_an_unsent_receipt(operation: AnyOperation) -> None:
    error = respond(operation, 400, UNSENT).error
    assert isinstance(error, errors.ReceiptNotSentError) is (operation is CREATE_RECEIPT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        HTML,
        b"null",
        b"[]",
        b'[""]',
        b'""',
        b"17",
        b'{"message": "cut o',
        b'{"mess\xffage": "x"}',
        b"\x00\x01\x02",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_error_needs_no_readable_body(body: bytes) -> None:
    for status in (400, 429, 502):
        error = refusal(CAPTURE_PAYMENT, status, body)
        assert str(error) == (
            f"capture_payment: {status}: what answers at the base URL does not look like Chat 2 "
            f"Pay ({status}, no content type): check the base URL, and what stands in between"
        )
        assert (error.message, error.errors, error.reason_code) == (None, (), None)
        assert error.body == body


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"no such key: sk-1234 of 27831234567", "text/plain; charset=utf-8"),
        (b"<e><message>no such key: sk-1234 of 27831234567</message></e>", "application/xml"),
        (b'"no such key: sk-1234 of 27831234567"', "application/json"),
        (b'[{"message": "no such key: sk-1234 of 27831234567"}]', "application/json"),
    ],
)
def test_a_refusal_that_is_no_json_object_states_its_reason_and_proves_nothing(
    body: bytes, media_type: str
) -> None:
    response = WireResponse(400, {"content-type": media_type}, body)
    request = REQUESTS[CAPTURE_PAYMENT.name]
    outcome = read_response(CAPTURE_PAYMENT, request, response, ApiKey("sk-1234"))
    assert outcome.proof is Proof.UNKNOWN
    assert isinstance(outcome.error, errors.BadRequestError)
    assert outcome.error.message == "no such key: *** of ***"
    assert str(outcome.error).startswith(
        "capture_payment: 400: no such key: *** of ***; what answers at the base URL does not look"
    )


@pytest.mark.parametrize(
    "body",
    [
        {"errors": {"to": "is blocked"}},
        {"detail": "is blocked"},
        {"error": {"message": "is blocked"}},
        {"violations": [{"message": "is blocked"}]},
    ],
)
def test_a_reason_in_a_form_that_is_not_the_services_proves_nothing(body: Any) -> None:
    outcome = respond(CAPTURE_PAYMENT, 400, body)
    assert outcome.proof is Proof.UNKNOWN
    assert "is blocked" in str(outcome.error)


def test_a_long_reason_is_cut_after_its_secrets_are_masked() -> None:
    error = refusal(CAPTURE_PAYMENT, 400, {"message": "x" * 295 + " 27831234567 blocked"})
    assert error.message == "x" * 295 + " *** …"


def test_an_error_without_a_reason_says_so() -> None:
    error = refusal(CAPTURE_PAYMENT, 400, b'{"amount": 1e999999999999999999999}')
    assert str(error) == "capture_payment: 400: no reason given"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://login.example/sso?token=s3cret", "login.example"),
        ("https://me:s3cret@Login.example:8443/#s3cret", "login.example"),
        ("//login.example/s3cret", "login.example"),
        ("https://27831234567.example/", "***.example"),
        ("/sign-in?next=s3cret", "another path"),
        ("https://[s3cret", "another path"),
        ("https://s3cret!/", "another path"),
        ("", "another path"),
    ],
)
def test_a_redirect_names_the_host_that_it_leads_to_and_nothing_else(
    location: str, target: str
) -> None:
    headers = {"location": location, "content-type": "text/html; charset=utf-8"}
    for status, body in ((302, HTML), (307, b""), (308, {"message": "moved"})):
        error = refusal(CAPTURE_PAYMENT, status, body, headers)
        said = "moved; " if isinstance(body, dict) else ""
        assert str(error) == (
            f"capture_payment: {status}: {said}what answers at the base URL does not look like "
            f"Chat 2 Pay ({status}, text/html): it redirects to {target}; check the base URL, and "
            "what stands in between"
        )


def test_a_proxys_407_says_what_it_wants() -> None:
    error = refusal(CAPTURE_PAYMENT, 407, HTML, {"content-type": "text/html"})
    assert "(407, text/html): it is a proxy that wants a user name and a password" in str(error)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("text/html; charset=utf-8", "text/html"),
        (" application/problem+json", "application/problem+json"),
        ("", "no content type"),
        ("s3cret", "no content type"),
    ],
)
def test_a_foreign_response_is_described_by_its_media_type(given: str, shown: str) -> None:
    for status in (200, 403):
        error = respond(CAPTURE_PAYMENT, status, HTML, {"content-type": given}).error
        assert shown in str(error)
        assert "s3cret" not in str(error)


def test_a_foreign_response_names_the_host_that_sent_it() -> None:
    request = REQUESTS[CAPTURE_PAYMENT.name]
    for status in (200, 302, 403, 502):
        response = WireResponse(status, {}, HTML)
        error = read_response(CAPTURE_PAYMENT, request, response, host="pay.example:443").error
        assert "pay.example:443" in str(error)


def test_a_byte_order_mark_is_skipped() -> None:
    assert refusal(CAPTURE_PAYMENT, 400, b'\xef\xbb\xbf{"message": "no"}').message == "no"


@pytest.mark.parametrize(
    ("body", "message", "reasons", "code"),
    [
        ({"message": 5, "errors": 6, "reasonCode": 7}, None, (), 7),
        ({"message": None, "errors": None, "reasonCode": None}, None, (), None),
        ({"message": {"a": 1}, "errors": {"a": None}, "reasonCode": {"a": "b"}}, None, (), None),
        ({"message": [], "errors": [], "reasonCode": []}, None, (), None),
        ({"message": ["first", "second"]}, "first", ("second",), None),
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
NAMES = st.sampled_from(
    ["message", "error", "errors", "reason", "reasonCode", "receiptLinkRef", "status"]
)


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
    assert (judged.result is not None) == (judged.proof is Proof.APPLIED)
    is_unsent = isinstance(judged.error, errors.ReceiptNotSentError)
    assert is_unsent or (judged.result is None) != (judged.error is None)
    if judged.proof is Proof.REJECTED:
        assert 400 <= status <= 499
        assert status not in BETWEEN
        assert isinstance(body, dict)
        assert isinstance(body.get("errors"), list) or body.get("status") is not None


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
    assert respond(operation, status, body) == Outcome(
        Proof.APPLIED, result, response=wire(status, body)
    )


def test_the_proofs_cover_every_operation() -> None:
    assert {id(row[0]) for row in PROOFS} == {id(operation) for operation in OPERATIONS}


@EACH_OPERATION
@pytest.mark.parametrize(
    "body", [b"", HTML, b"null", b"[]", b"[{}]", b'"x"', b"1", b"true", b'{"paymentLinkRef": "r']
)
def test_a_2xx_that_is_no_json_object_proves_nothing(operation: AnyOperation, body: bytes) -> None:
    judged = respond(operation, 200, body)
    assert (judged.proof, judged.result, judged.is_final) == (Proof.UNKNOWN, None, False)
    assert judged.response == wire(200, body)
    assert isinstance(judged.error, errors.ResponseDecodeError)
    assert (judged.error.status_code, judged.error.body) == (200, body)
    assert str(judged.error) == (
        f"{operation.name}: the response 200 carries no JSON object "
        "(no content type, from the base URL)"
    )


@EACH_OPERATION
@pytest.mark.parametrize("body", [{}, OWN, named(401), {"message": "OK"}], ids=repr)
def test_an_error_in_a_2xx_proves_nothing(operation: AnyOperation, body: Any) -> None:
    judged = respond(operation, 201, body)
    assert (judged.proof, judged.result) == (Proof.UNKNOWN, None)
    assert isinstance(judged.error, errors.ResponseDecodeError)
    assert str(judged.error) == (
        f"{operation.name}: the response 201 carries no proof that it was applied"
    )


@EACH_OPERATION
def test_a_2xx_about_something_else_is_unproven_in_its_own_words(operation: AnyOperation) -> None:
    response = wire(201, {"paymentLinkRef": "ref-9"})
    outcome = unproven_outcome(operation, response, "the reference of another call")
    assert (outcome.proof, outcome.result, outcome.response) == (Proof.UNKNOWN, None, response)
    assert str(outcome.error) == (
        f"{operation.name}: the response 201 carries the reference of another call"
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


@EACH_OPERATION
def test_a_caches_copy_proves_no_request(operation: AnyOperation) -> None:
    body = next(body for row, body, _ in PROOFS if row is operation)
    # Each of two proxies may add its own.
    ages = {"0": False, "0, 0": False, "1": True, "soon": True, "0, 1": True, "1, 0": True}
    for age, is_copy in ages.items():
        expected = Proof.UNKNOWN if is_copy and operation.method != "GET" else Proof.APPLIED
        assert respond(operation, 200, body, {"age": age}).proof is expected


# An exchange without a response -------------------------------------------------------------------


@pytest.mark.parametrize("proof", [Proof.NOT_SENT, Proof.UNKNOWN])
@pytest.mark.parametrize("timed_out", [True, False])
def test_an_exchange_that_failed_proves_what_its_transport_says(
    proof: Proof, *, timed_out: bool
) -> None:
    failure = ExchangeError("ReadError", proof=proof, timed_out=timed_out)
    failure.__cause__ = OSError(104, "reset")
    outcome = failed_outcome(CAPTURE_PAYMENT, failure, "shop.example:443")
    assert (outcome.proof, outcome.reason, outcome.response) == (proof, "ReadError", None)
    kind = errors.RequestTimeoutError if timed_out else errors.ConnectionFailedError
    assert type(outcome.error) is kind
    assert outcome.error.__cause__ is failure.__cause__
    assert str(outcome.error) == (
        "capture_payment: could not connect to shop.example:443: connection reset by peer"
        if proof is Proof.NOT_SENT
        else "capture_payment: no response from shop.example:443: connection reset by peer"
    )


def test_a_failure_without_words_is_named() -> None:
    failure = ExchangeError("TooLate", proof=Proof.NOT_SENT, timed_out=False)
    outcome = failed_outcome(CAPTURE_PAYMENT, failure, "shop.example:443")
    assert str(outcome.error) == "capture_payment: no response from shop.example:443 (TooLate)"


PERMANENT = ssl.SSLCertVerificationError(1, "expired")


@pytest.mark.parametrize("proof", [Proof.NOT_SENT, Proof.UNKNOWN])
def test_only_a_failure_that_stays_is_final(proof: Proof) -> None:
    for cause in (PERMANENT, OSError(111, "refused"), None):
        failure = ExchangeError("ConnectError", proof=proof, timed_out=False)
        failure.__cause__ = cause
        outcome = failed_outcome(CAPTURE_PAYMENT, failure, "shop.example:443")
        assert (outcome.proof, outcome.is_final) == (proof, cause is PERMANENT)


def test_a_failure_names_the_proxy_on_the_way() -> None:
    failure = ExchangeError("ConnectError", proof=Proof.NOT_SENT, timed_out=False)
    failure.__cause__, failure.proxy = OSError(111, "refused"), "p.test:3128"
    assert str(failed_outcome(CAPTURE_PAYMENT, failure, "shop.example:443").error) == (
        "capture_payment: could not connect to shop.example:443 through the proxy p.test:3128: "
        "connection refused"
    )


def test_a_setting_that_can_not_be_used_is_the_error_itself_while_nothing_was_sent() -> None:
    setting = errors.ConfigurationError("SSL_CERT_FILE='/nowhere' can't be used")
    for proof in (Proof.NOT_SENT, Proof.UNKNOWN):
        failure = ExchangeError("ConnectError", proof=proof, timed_out=False)
        failure.__cause__ = setting
        outcome = failed_outcome(CAPTURE_PAYMENT, failure, "shop.example:443")
        assert (outcome.proof, outcome.is_final) == (proof, True)
        assert (outcome.error is setting) is (proof is Proof.NOT_SENT)


# What look-ups showed -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RECEIPT_LINK_REQUEST_FAILED", "RECEIPT_LINK_SENT_FAILED"])
def test_a_recovered_receipt_whose_message_was_not_sent_is_an_error(name: str) -> None:
    receipt = models.Receipt(
        receipt_link_ref="rcpt-1", transaction_status=models.TransactionStatus[name], recovered=True
    )
    response = wire(200, {"receiptLinkRef": "rcpt-1"}, {"date": "now"})
    outcome = recovered_outcome(CREATE_RECEIPT, receipt, response)
    assert (outcome.proof, outcome.result, outcome.recovered) == (Proof.APPLIED, receipt, True)
    assert isinstance(outcome.error, errors.ReceiptNotSentError)
    assert outcome.error.receipt == receipt
    assert outcome.error.body == response.body
    assert str(outcome.error) == (
        "create_receipt: the receipt was created, but its message was not sent"
    )


def test_every_other_recovered_result_is_a_success() -> None:
    sent = models.Receipt(
        receipt_link_ref="rcpt-1", transaction_status=models.TransactionStatus.RECEIPT_LINK_SENT
    )
    link = models.PaymentLink(
        payment_link_ref="ref-1",
        transaction_status=models.TransactionStatus.RECEIPT_LINK_SENT_FAILED,
    )
    results: list[tuple[AnyOperation, Any]] = [(CREATE_RECEIPT, sent), (CREATE_PAYMENT_LINK, link)]
    for operation, result in results:
        response = wire(200, {})
        assert recovered_outcome(operation, result, response) == Outcome(
            Proof.APPLIED, result, None, response, recovered=True
        )


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
    assert retry_after({"retry-after": text} | SENT_AT) == seconds


def test_a_date_is_compared_with_the_responses_own_and_with_no_clock_of_ours() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for headers in ({}, {"date": "soon"}, {"date": ""}):
        assert retry_after({"retry-after": soon} | headers) is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Mon, 04 May 2026 03:02:01 GMT", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)),
        ("Mon, 04 May 2026 05:02:01 +0200", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)),
        ("Mon, 04 May 2026 03:02:01", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)),
        ("Fri, 31 Dec 9998 23:59:59 GMT", datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)),
        # Nothing can be added to it, or it is beyond the calendar in UTC.
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_response_says_the_time_by_its_senders_clock(text: str, moment: datetime | None) -> None:
    assert date_of({"date": text}) == moment
    assert date_of({}) is None


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
        "9" * 400,
    ],
)
def test_a_malformed_header_asks_for_nothing(text: str) -> None:
    assert retry_after({"retry-after": text} | SENT_AT) is None
    assert retry_after({"retry-after-ms": text} | SENT_AT) is None


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"{}", True),
        (200, b'\xef\xbb\xbf\r\n {"a": 1}', True),
        (502, b'{"message": "down"}', True),
        (404, b'{"status": "NOT_FOUND"}', True),
        (400, b'{"errors": []}', True),
        (404, b'{"message": "no route"}', False),
        (429, b"", False),
        (200, b"<html>", False),
        (200, b"[]", False),
        (504, b"", False),
    ],
)
def test_a_response_that_may_be_the_services_is_an_object_or_a_refusal_in_its_form(
    status: int, body: bytes, *, expected: bool
) -> None:
    assert may_be_the_services(WireResponse(status, {}, body)) is expected
    assert may_be_the_services(WireResponse(status, {"age": "0"}, body)) is expected
    assert not may_be_the_services(WireResponse(status, {"age": "7"}, body))


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
    assert retry_after({"retry-after-ms": "Mon, 04 May 2026 03:02:31 GMT"} | SENT_AT) is None


@given(st.text())
def test_no_header_whatsoever_breaks_a_call(text: str) -> None:
    for header in ("retry-after", "retry-after-ms"):
        asked = retry_after({header: text} | SENT_AT)
        assert asked is None or asked >= 0


@given(st.from_regex(r"\w{3}, [0-9]{1,25} \w{3} [0-9]{1,25} [0-9:]{1,25} [+-][0-9]{1,25}"))
def test_no_date_whatsoever_breaks_a_call(text: str) -> None:
    asked = retry_after({"retry-after": text} | SENT_AT)
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
    assert str(error).startswith("capture_payment: 401: no such key: ***; *** is blocked; check ")
    assert "sk-1234" not in repr(error)


def test_redaction_covers_fields_other_than_message() -> None:
    for field in ("message", "error", "reason"):
        assert refusal(CAPTURE_PAYMENT, 400, {field: f"to {PHONE}"}).message == "to ***"


@pytest.mark.parametrize("parsed", [{"to": PHONE}, [PHONE], PHONE], ids=repr)
def test_a_raw_response_shows_no_values_of_json_without_a_model(parsed: Any) -> None:
    raw = RawResponse(
        parsed=parsed, status_code=200, headers={}, body=b"", attempts=(), elapsed=0.25
    )
    assert PHONE not in repr(raw)


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
    [(WireResponse(200, {}, b""), "body"), (Outcome[Any](Proof.REJECTED), "proof")],
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
