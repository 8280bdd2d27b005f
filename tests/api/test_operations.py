"""The eight operations: the exact bytes that leave, and what proves that they worked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._api import requests
from chat2pay_async._api.codec import STAMP, encode, structure, takes_stamp
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
    mint,
    prepare,
)
from chat2pay_async.errors import RequestValidationError

CONTRACT = Path(__file__).parent.parent / "data" / "chat2pay-v2.openapi.json"
MOMENT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

LINK = requests.LinkReference(payment_link_ref="ref-1")
AnyOperation = Operation[Any, Any]


def order(order_number: str = "A-1001", total_amount: str = "100.00") -> Any:
    return requests.PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number=order_number,
        currency="ZAR",
        total_amount=total_amount,
        timestamp=MOMENT,
    )


def capture(amount: Any = None) -> requests.Capture:
    return requests.Capture(payment_link_ref="ref-1", amount=amount)


def receipt(payment_link_ref: str = "ref-1") -> requests.ReceiptRequest:
    return requests.ReceiptRequest(
        payment_link_ref=payment_link_ref, receipt_link="https://shop.example/r/1", timestamp=MOMENT
    )


def integration(status: str = "DELETED") -> Any:
    return requests.IntegrationRequest(application_uuid="app-1", status=status)


@attrs.frozen
class Row:
    """One call and its bytes."""

    operation: AnyOperation
    request: Any
    method: str
    target: str
    body: bytes | None
    safety: Safety
    identity: str

    @property
    def name(self) -> str:
        return f"{self.operation.name} {self.target.partition('?')[2]}".strip()


ORDER_BODY = (
    b'{"channel":"sms","to":"27831234567","orderNumber":"A-1001","currency":"ZAR",'
    b'"totalAmount":100.00,"timestamp":"2026-05-04T03:02:01.000Z"}'
)
RECEIPT_BODY = (
    b'{"paymentLinkRef":"ref-1","receiptLink":"https://shop.example/r/1",'
    b'"timestamp":"2026-05-04T03:02:01.000Z"}'
)
INTEGRATION_BODY = b'{"applicationUuid":"app-1","status":"DELETED"}'
STATUS = "/api/v2/chat-2-pay/transaction-status"
EVERY_REFERENCE = requests.TransactionQuery(
    receipt_link_ref="rcpt-1", payment_link_ref="ref-1", order_number="A-1001"
)

TABLE = [
    Row(
        operation=CREATE_PAYMENT_LINK,
        request=order(),
        method="POST",
        target="/api/v2/chat-2-pay",
        body=ORDER_BODY,
        safety=Safety.ONCE,
        identity="A-1001",
    ),
    Row(
        operation=CANCEL_PAYMENT_LINK,
        request=LINK,
        method="POST",
        target="/api/v2/cancel/ref-1",
        body=None,
        safety=Safety.ONCE,
        identity="ref-1",
    ),
    Row(
        operation=CAPTURE_PAYMENT,
        request=capture(),
        method="POST",
        target="/api/v2/payment/ref-1/capture",
        body=None,
        safety=Safety.ONCE,
        identity="ref-1",
    ),
    Row(
        operation=CAPTURE_PAYMENT,
        request=capture("100.00"),
        method="POST",
        target="/api/v2/payment/ref-1/capture?amount=100.00",
        body=None,
        safety=Safety.ONCE,
        identity="ref-1",
    ),
    Row(
        operation=REVERSE_PAYMENT,
        request=LINK,
        method="POST",
        target="/api/v2/payment/ref-1/reverse",
        body=None,
        safety=Safety.ONCE,
        identity="ref-1",
    ),
    Row(
        operation=CREATE_RECEIPT,
        request=receipt(),
        method="POST",
        target="/api/v2/order-receipt",
        body=RECEIPT_BODY,
        safety=Safety.ONCE,
        identity="ref-1",
    ),
    Row(
        operation=GET_TRANSACTION,
        request=requests.TransactionQuery(order_number="A-1001"),
        method="GET",
        target=f"{STATUS}?orderNumber=A-1001",
        body=None,
        safety=Safety.READ,
        identity="A-1001",
    ),
    Row(
        operation=GET_TRANSACTION,
        request=requests.TransactionQuery(payment_link_ref="ref-1"),
        method="GET",
        target=f"{STATUS}?paymentLinkRef=ref-1",
        body=None,
        safety=Safety.READ,
        identity="ref-1",
    ),
    Row(
        operation=GET_TRANSACTION,
        request=requests.TransactionQuery(receipt_link_ref="rcpt-1"),
        method="GET",
        target=f"{STATUS}?receiptLinkRef=rcpt-1",
        body=None,
        safety=Safety.READ,
        identity="rcpt-1",
    ),
    Row(
        operation=GET_TRANSACTION,
        request=EVERY_REFERENCE,
        method="GET",
        target=f"{STATUS}?orderNumber=A-1001&paymentLinkRef=ref-1&receiptLinkRef=rcpt-1",
        body=None,
        safety=Safety.READ,
        identity="A-1001",
    ),
    Row(
        operation=GET_CONFIGURATION,
        request=requests.ConfigurationQuery(),
        method="GET",
        target="/api/v2/config",
        body=None,
        safety=Safety.READ,
        identity="",
    ),
    Row(
        operation=UPDATE_INTEGRATION,
        request=integration(),
        method="PUT",
        target="/api/v2/integration",
        body=INTEGRATION_BODY,
        safety=Safety.REPEATABLE,
        identity="app-1",
    ),
]
EACH_ROW = pytest.mark.parametrize("row", TABLE)


@EACH_ROW
def test_an_operation_is_sent_like_this(row: Row) -> None:
    sent = prepare(row.operation, row.request)
    assert (sent.method, sent.target, sent.body) == (row.method, row.target, row.body)


@EACH_ROW
def test_an_operation_is_as_safe_as_its_method(row: Row) -> None:
    assert row.operation.safety is row.safety
    assert row.operation.has_body is (row.body is not None)


@EACH_ROW
def test_an_operation_is_looked_up_by_this(row: Row) -> None:
    assert isinstance(row.request, row.operation.request)
    assert row.operation.identity(row.request) == row.identity


@EACH_ROW
def test_every_attempt_of_a_call_is_byte_for_byte_the_same(row: Row) -> None:
    assert prepare(row.operation, row.request) == prepare(row.operation, row.request)


def test_the_table_has_every_operation_and_every_operation_is_the_contracts() -> None:
    assert {id(row.operation) for row in TABLE} == {id(operation) for operation in OPERATIONS}
    paths: Mapping[str, Mapping[str, Any]] = json.loads(CONTRACT.read_text("utf-8"))["paths"]
    in_contract = {
        (there["operationId"], method.upper(), path.replace("paymentLinkRef", "payment_link_ref"))
        for path, methods in paths.items()
        for method, there in methods.items()
    }
    assert {(one.contract_id, one.method, one.path) for one in OPERATIONS} == in_contract
    assert len(OPERATIONS) == 8


def test_names_are_those_of_the_clients_methods() -> None:
    assert [operation.name for operation in OPERATIONS] == [
        "create_payment_link",
        "cancel_payment_link",
        "capture_payment",
        "reverse_payment",
        "create_receipt",
        "get_transaction",
        "get_configuration",
        "update_integration",
    ]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_whatever_moves_money_or_sends_a_message_is_sent_once(operation: AnyOperation) -> None:
    assert (operation.safety is Safety.ONCE) == (operation.method == "POST")


REFERENCES = [
    ("ref-1", "ref-1"),
    ("no/such?x", "no%2Fsuch%3Fx"),
    ("ü", "%C3%BC"),
    ("%2F", "%252F"),
    ("a b", "a%20b"),
    ("a+b&c=d#e", "a%2Bb%26c%3Dd%23e"),
    ("../../config", "..%2F..%2Fconfig"),
    ("...", "..."),
    ("{payment_link_ref}", "%7Bpayment_link_ref%7D"),
    ("\U0001f4b8", "%F0%9F%92%B8"),
    ("a.b_c~d-e", "a.b_c~d-e"),
]


@pytest.mark.parametrize(("reference", "quoted"), REFERENCES)
def test_a_reference_is_one_quoted_segment_of_the_path(reference: str, quoted: str) -> None:
    link = requests.LinkReference(payment_link_ref=reference)
    captured = requests.Capture(payment_link_ref=reference, amount=Decimal("1.50"))
    assert [
        prepare(CANCEL_PAYMENT_LINK, link).target,
        prepare(REVERSE_PAYMENT, link).target,
        prepare(CAPTURE_PAYMENT, captured).target,
    ] == [
        f"/api/v2/cancel/{quoted}",
        f"/api/v2/payment/{quoted}/reverse",
        f"/api/v2/payment/{quoted}/capture?amount=1.50",
    ]


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)
    .map(str.strip)
    .filter(lambda text: text not in {"", ".", ".."})
)
def test_no_reference_reaches_another_endpoint(reference: str) -> None:
    target = prepare(CANCEL_PAYMENT_LINK, requests.LinkReference(payment_link_ref=reference)).target
    parts = urlsplit(target)
    assert target.isascii()
    assert (parts.query, parts.fragment) == ("", "")
    *above, last = parts.path.split("/")
    assert above == ["", "api", "v2", "cancel"]
    assert unquote(last) == reference


@pytest.mark.parametrize(
    ("order_number", "quoted"),
    [
        ("A&B", "A%26B"),
        ("A+B", "A%2BB"),
        ("A B", "A%20B"),
        ("A=B", "A%3DB"),
        ("A#B", "A%23B"),
        ("A/B?C", "A%2FB%3FC"),
        ("50%", "50%25"),
        ("ü", "%C3%BC"),
        ("A&paymentLinkRef=x", "A%26paymentLinkRef%3Dx"),
    ],
)
def test_an_order_number_is_one_quoted_value_of_the_query(order_number: str, quoted: str) -> None:
    sent = prepare(GET_TRANSACTION, requests.TransactionQuery(order_number=order_number))
    assert sent.target == f"/api/v2/chat-2-pay/transaction-status?orderNumber={quoted}"
    assert parse_qsl(urlsplit(sent.target).query) == [("orderNumber", order_number)]


AMOUNTS = [
    ("100.00", "100.00"),
    ("100", "100"),
    ("0.10", "0.10"),
    (100, "100"),
    (Decimal("1E+2"), "100"),
    (Decimal("1E+20"), "1" + "0" * 20),
    ("+7.50", "7.50"),
    ("199.90", "199.90"),
    ("123456789012345678.90", "123456789012345678.90"),
]


@pytest.mark.parametrize(("amount", "written"), AMOUNTS)
def test_an_amount_is_written_to_the_digit_and_without_exponent(amount: Any, written: str) -> None:
    sent = prepare(CAPTURE_PAYMENT, capture(amount))
    assert sent.target == f"/api/v2/payment/ref-1/capture?amount={written}"


@pytest.mark.parametrize("amount", ["100.00", "0.10", "199.90", "100", "123456789012345678.90"])
def test_an_amount_in_a_body_is_an_exact_number(amount: str) -> None:
    body = prepare(CREATE_PAYMENT_LINK, order(total_amount=amount)).body or b""
    assert f'"totalAmount":{amount},'.encode() in body
    assert msgspec.json.Decoder(float_hook=Decimal).decode(body)["totalAmount"] == Decimal(amount)


def test_text_travels_as_it_is_in_a_body() -> None:
    sent = prepare(CREATE_PAYMENT_LINK, order(order_number='A & "B" + ü %2F'))
    assert json.loads(sent.body or b"")["orderNumber"] == 'A & "B" + ü %2F'
    assert sent.target == "/api/v2/chat-2-pay"
    sent = prepare(CREATE_RECEIPT, receipt("no/such?x"))
    assert json.loads(sent.body or b"")["paymentLinkRef"] == "no/such?x"
    assert sent.target == "/api/v2/order-receipt"


@pytest.mark.parametrize("status", ["activated", "Deactivated", "DELETED"])
def test_an_integrations_status_is_written_as_the_contract_has_it(status: str) -> None:
    body = prepare(UPDATE_INTEGRATION, integration(status)).body or b""
    assert json.loads(body) == {"applicationUuid": "app-1", "status": status.upper()}


ANY_LINK = requests.TransactionQuery(payment_link_ref="ref-1")
BY_ORDER = requests.TransactionQuery(order_number="A-1001")
BY_RECEIPT = requests.TransactionQuery(receipt_link_ref="rcpt-1")
HISTORY: dict[str, Any] = {"transactionStatuses": [{"transactionStatusName": "PAYMENT_LINK_SENT"}]}

PROOFS: list[tuple[AnyOperation, Any, dict[str, Any]]] = [
    (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": "ref-9"}),
    (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": 9}),
    (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": "ref-9", "orderNumber": "A-1001"}),
    (
        CREATE_PAYMENT_LINK,
        order(),
        {"paymentLinkRef": "ref-9", "transactionStatus": "PAYMENT_LINK_SENT_FAILED"},
    ),
    (
        CANCEL_PAYMENT_LINK,
        LINK,
        {"paymentLinkRef": "ref-1", "transactionStatus": "PAYMENT_LINK_CANCELLED"},
    ),
    (
        CANCEL_PAYMENT_LINK,
        LINK,
        {"paymentLinkRef": "ref-1", "transactionStatus": "Payment Link Cancelled"},
    ),
    (CAPTURE_PAYMENT, capture(), {"transactionType": "Capture"}),
    (CAPTURE_PAYMENT, capture(), {"transactionType": "CAPTURE", "totalAmount": 5}),
    (CAPTURE_PAYMENT, capture(), {"paymentGatewayDecision": "ACCEPT"}),
    (CAPTURE_PAYMENT, capture(), {"paymentGatewayDecision": "DECLINE"}),
    (CAPTURE_PAYMENT, capture("9.90"), {"paymentGatewayDecision": "ACCEPT"}),
    (CAPTURE_PAYMENT, capture("9.90"), {"transactionType": "Capture", "totalAmount": "9.9"}),
    (CAPTURE_PAYMENT, capture("9.90"), {"transactionType": "Capture", "totalAmount": "9.90004"}),
    (CAPTURE_PAYMENT, capture(), {"transactionType": "Capture", "paymentLinkRef": "ref-1"}),
    (REVERSE_PAYMENT, LINK, {"transactionType": "Void"}),
    (REVERSE_PAYMENT, LINK, {"paymentGatewayDecision": "ACCEPT"}),
    (CREATE_RECEIPT, receipt(), {"receiptLinkRef": "rcpt-1"}),
    (CREATE_RECEIPT, receipt(), {"receiptLinkRef": "rcpt-1", "orderNumber": "A-1001"}),
    (GET_TRANSACTION, BY_ORDER, {"orderNumber": "A-1001"}),
    (GET_TRANSACTION, BY_ORDER, {"orderNumber": "A-1001", "paymentLinkRef": "ref-9"} | HISTORY),
    (GET_TRANSACTION, ANY_LINK, {"orderNumber": "A-9", "paymentLinkRef": "ref-1"}),
    (GET_TRANSACTION, ANY_LINK, {"paymentLinkRef": "ref-1", "transactionStatus": "x"} | HISTORY),
    (GET_TRANSACTION, EVERY_REFERENCE, {"orderNumber": "A-1001"}),
    # A link may have a later receipt than the one that is asked for beside it.
    (GET_TRANSACTION, EVERY_REFERENCE, {"orderNumber": "A-1001", "receiptLinkRef": "rcpt-2"}),
    (GET_TRANSACTION, BY_RECEIPT, {"paymentLinkRef": "ref-9", "receiptLinkRef": "rcpt-1"}),
    (GET_TRANSACTION, BY_RECEIPT, {"orderNumber": "A-9", "receiptLinkRef": "rcpt-1"}),
    (GET_CONFIGURATION, requests.ConfigurationQuery(), {"integrators": []}),
    (GET_CONFIGURATION, requests.ConfigurationQuery(), {"integrators": "unreadable"}),
    (GET_CONFIGURATION, requests.ConfigurationQuery(), {"smsChannelEnabled": False}),
    (GET_CONFIGURATION, requests.ConfigurationQuery(), {"environment": "Sandbox"}),
    (UPDATE_INTEGRATION, integration(), {"updateTime": "2026-05-04T03:02:01Z"}),
    (UPDATE_INTEGRATION, integration(), {"updateTime": "soon"}),
]
ERROR = {"message": "Request failed", "errors": ["no"], "status": 400, "timestamp": "2026-05-04"}
KINDS: tuple[Any, ...] = ("Authorization", "Sale", "something new", "", 7, {})
"""Of other steps than a capture or a reversal."""
NO_PROOFS: list[tuple[AnyOperation, Any, dict[str, Any]]] = [
    (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": None}),
    *(
        (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": blank})
        for blank in ("", " ", "0", 0, "0000-0000", "-")
    ),
    (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": {}}),
    (CREATE_PAYMENT_LINK, order(), {"transactionStatus": "PAYMENT_LINK_SENT"}),
    (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": "ref-9", "orderNumber": "A-1002"}),
    (CREATE_PAYMENT_LINK, order(), {"paymentLinkRef": "ref-9", "orderNumber": {}} | HISTORY),
    (CANCEL_PAYMENT_LINK, LINK, {"paymentLinkRef": "ref-1"}),
    (CANCEL_PAYMENT_LINK, LINK, {"transactionStatus": "PAYMENT_LINK_CANCELLED"}),
    (
        CANCEL_PAYMENT_LINK,
        LINK,
        {"paymentLinkRef": "ref-2", "transactionStatus": "PAYMENT_LINK_CANCELLED"},
    ),
    (
        CANCEL_PAYMENT_LINK,
        LINK,
        {"paymentLinkRef": "ref-1", "transactionStatus": "PAYMENT_LINK_CLICKED"},
    ),
    (CAPTURE_PAYMENT, capture(), {"transactionType": "", "paymentGatewayDecision": ""}),
    (CAPTURE_PAYMENT, capture(), {"totalAmount": 100.0, "paymentStatus": "SUCCESS"}),
    *(
        (CAPTURE_PAYMENT, capture(), {"transactionType": kind, "paymentGatewayDecision": "ACCEPT"})
        for kind in KINDS
    ),
    *(
        (CAPTURE_PAYMENT, capture("9.90"), {"transactionType": "Capture", "totalAmount": amount})
        for amount in (999, "9.91", "9.90005", "9.89995", 0)
    ),
    # An amount that can't be read may be any.
    *(
        (CAPTURE_PAYMENT, capture("9.90"), {"transactionType": "Capture", "totalAmount": amount})
        for amount in ("9,90", "R9.90", "", True, {"value": 9}, [9])
    ),
    (CAPTURE_PAYMENT, capture("9.90"), {"paymentGatewayDecision": "ACCEPT", "totalAmount": 99}),
    (CAPTURE_PAYMENT, capture(), {"transactionType": "Capture", "paymentLinkRef": "ref-2"}),
    (CAPTURE_PAYMENT, capture(), {"transactionType": "Capture", "paymentStatuses": []} | HISTORY),
    (REVERSE_PAYMENT, LINK, {"transactionType": None, "paymentGatewayDecision": 5.5}),
    *(
        (REVERSE_PAYMENT, LINK, {"transactionType": kind, "paymentGatewayDecision": "ACCEPT"})
        for kind in KINDS
    ),
    (CAPTURE_PAYMENT, capture(), {"transactionType": "Void"}),
    (REVERSE_PAYMENT, LINK, {"transactionType": "Capture"}),
    (REVERSE_PAYMENT, LINK, {"transactionType": "Void", "paymentLinkRef": "ref-2"}),
    (REVERSE_PAYMENT, LINK, {"transactionType": "Void", "paymentStatuses": [{}]}),
    (CREATE_RECEIPT, receipt(), {"orderNumber": "A-1001"}),
    *((CREATE_RECEIPT, receipt(), {"receiptLinkRef": blank}) for blank in ("", " ", "0", "-")),
    (CREATE_RECEIPT, receipt(), {"receiptLinkRef": "rcpt-1", "paymentLinkRef": "ref-2"}),
    (CREATE_RECEIPT, receipt(), {"receiptLinkRef": "rcpt-1", "paymentLinkRef": "ref-1"} | HISTORY),
    (GET_TRANSACTION, BY_ORDER, HISTORY),
    (GET_TRANSACTION, BY_ORDER, {"orderNumber": "A-1002"} | HISTORY),
    (GET_TRANSACTION, BY_ORDER, {"paymentLinkRef": "ref-1"} | HISTORY),
    (GET_TRANSACTION, ANY_LINK, {"orderNumber": "A-1001"} | HISTORY),
    (GET_TRANSACTION, ANY_LINK, {"paymentLinkRef": "ref-2"} | HISTORY),
    (GET_TRANSACTION, EVERY_REFERENCE, {"orderNumber": "A-1001", "paymentLinkRef": "ref-2"}),
    (GET_TRANSACTION, EVERY_REFERENCE, {"orderNumber": "A-9", "paymentLinkRef": "ref-1"}),
    (GET_TRANSACTION, BY_RECEIPT, {"receiptLinkRef": "rcpt-1"}),
    (GET_TRANSACTION, BY_RECEIPT, {"orderNumber": "A-9", "paymentLinkRef": "ref-9"} | HISTORY),
    (GET_TRANSACTION, BY_RECEIPT, {"orderNumber": "A-9", "receiptLinkRef": "rcpt-2"}),
    (GET_CONFIGURATION, requests.ConfigurationQuery(), {"integrators": None, "apiKey": None}),
    # An update's response, and a transaction:
    (GET_CONFIGURATION, requests.ConfigurationQuery(), {"updateTime": "2026-05-04T03:02:01Z"}),
    (
        GET_CONFIGURATION,
        requests.ConfigurationQuery(),
        {"environment": "Sandbox", "orderNumber": "A-1001", "paymentLinkRef": "ref-1"},
    ),
    (UPDATE_INTEGRATION, integration(), {"updateTime": None}),
    (UPDATE_INTEGRATION, integration(), {"updateTime": ""} | ERROR),
    *((row.operation, row.request, fields) for row in TABLE for fields in ({}, ERROR)),
]


@pytest.mark.parametrize(("operation", "request_", "fields"), PROOFS)
def test_this_response_proves_that_the_operation_was_applied(
    operation: AnyOperation, request_: Any, fields: dict[str, Any]
) -> None:
    assert operation.is_proven_by(request_, structure(operation.result, fields), fields) is True


@pytest.mark.parametrize(("operation", "request_", "fields"), NO_PROOFS)
def test_this_response_proves_nothing(
    operation: AnyOperation, request_: Any, fields: dict[str, Any]
) -> None:
    assert operation.is_proven_by(request_, structure(operation.result, fields), fields) is False


def test_every_operation_can_have_its_proof_and_can_lack_it() -> None:
    every = {one.name for one in OPERATIONS}
    assert {operation.name for operation, _, _ in PROOFS} == every
    assert {operation.name for operation, _, _ in NO_PROOFS} == every


TRANSACTION: dict[str, Any] = {
    "orderNumber": "A-1001",
    "paymentLinkRef": "ref-1",
    "paymentStatuses": [{"transactionType": "Capture", "paymentGatewayDecision": "ACCEPT"}],
    "paymentStatus": "SUCCESS",
    "totalAmount": 9.9,
    "receiptLinkRef": "rcpt-1",
    "transactionType": "Sale",
    "environment": "Sandbox",
} | HISTORY
GATEWAY = {"totalAmount": 9.9, "paymentGatewayDecision": "ACCEPT", "paymentStatus": "SUCCESS"}
TYPICAL: dict[AnyOperation, dict[str, Any]] = {
    CREATE_PAYMENT_LINK: {"paymentLinkRef": "ref-1", "transactionStatus": "PAYMENT_LINK_SENT"},
    CANCEL_PAYMENT_LINK: {
        "paymentLinkRef": "ref-1",
        "transactionStatus": "PAYMENT_LINK_CANCELLED",
        "additionalData": "{}",
    },
    CAPTURE_PAYMENT: {"transactionType": "Capture"} | GATEWAY,
    REVERSE_PAYMENT: {"transactionType": "Void"} | GATEWAY,
    CREATE_RECEIPT: {
        "receiptLinkRef": "rcpt-1",
        "orderNumber": "A-1001",
        "transactionStatus": "RECEIPT_LINK_SENT",
    },
    GET_TRANSACTION: TRANSACTION,
    GET_CONFIGURATION: {"updateTime": "2026-05-04T03:02:01Z", "integrators": [], "apiKey": "k"},
    UPDATE_INTEGRATION: {"updateTime": "2026-05-04T03:02:01Z"},
}
"""A response of each operation, all about one link."""


@EACH_ROW
@pytest.mark.parametrize("other", OPERATIONS, ids=lambda operation: operation.name)
def test_no_other_operations_response_is_a_proof(row: Row, other: AnyOperation) -> None:
    body = TYPICAL[other]
    if row.target.endswith("amount=100.00"):
        body = body | {"totalAmount": 100}
    is_proof = row.operation.is_proven_by(row.request, structure(row.operation.result, body), body)
    # A cancellation's reference is known to be no new link's (`References`).
    in_the_form_of_a_link = row.operation is CREATE_PAYMENT_LINK and other is CANCEL_PAYMENT_LINK
    assert is_proof is (other is row.operation or in_the_form_of_a_link)


VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text() | st.just([]) | st.just({})
)


@given(
    row=st.sampled_from([row for row in TABLE if row.operation.method == "POST"]),
    other=st.sampled_from(["ref-2", "A-1002", "REF-1", "a-1001", 7]),
    more=st.dictionaries(st.sampled_from(sorted(TRANSACTION)), VALUES),
)
def test_no_response_that_names_another_link_or_order_is_a_proof(
    row: Row, other: Any, more: dict[str, Any]
) -> None:
    name = "orderNumber" if row.operation is CREATE_PAYMENT_LINK else "paymentLinkRef"
    body = TYPICAL[row.operation] | more | {name: other}
    result = structure(row.operation.result, body)
    assert not row.operation.is_proven_by(row.request, result, body)


# The minted id ------------------------------------------------------------------------------------

MINTED = "0123456789abcdef0123456789abcdef"
EACH_DATA = pytest.mark.parametrize(
    ("data", "stamped"),
    [
        (None, {"sdkRequestId": MINTED}),
        ({}, {"sdkRequestId": MINTED}),
        ({"a": 1, "b": [None, {"c": "ü"}]}, {"a": 1, "b": [None, {"c": "ü"}]}),
        ({"inner": {"sdkRequestId": "mine"}}, {"inner": {"sdkRequestId": "mine"}}),
        ({"sdkrequestid": "mine"}, {"sdkrequestid": "mine"}),
    ],
)
EACH_OTHER_DATA = pytest.mark.parametrize(
    "data", ["text", "", 5, 0, 1.5, True, False, [], [{}], {"sdkRequestId": "mine", "a": 1}]
)


def order_with(data: Any) -> Any:
    return attrs.evolve(order(), additional_data=data)


def data_sent(body: bytes | None) -> Any:
    return json.loads(body or b"")["additionalData"]


def test_the_id_stands_under_this_key() -> None:
    assert STAMP == "sdkRequestId"


@EACH_DATA
def test_an_id_is_minted_where_it_has_a_place(data: Any, stamped: dict[str, Any]) -> None:
    request = order_with(data)
    minted = mint(CREATE_PAYMENT_LINK, request)
    assert minted is not None
    assert len(minted) == 32
    body = prepare(CREATE_PAYMENT_LINK, request, minted).body
    assert data_sent(body) == {**stamped, "sdkRequestId": minted}


@EACH_OTHER_DATA
def test_no_id_is_minted_where_the_user_has_something_else(data: Any) -> None:
    request = order_with(data)
    assert not takes_stamp(request)
    assert mint(CREATE_PAYMENT_LINK, request) is None
    assert data_sent(prepare(CREATE_PAYMENT_LINK, request).body) == data


def test_every_minted_id_is_another() -> None:
    request = order()
    assert len({mint(CREATE_PAYMENT_LINK, request) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("row", [row for row in TABLE if row.operation is not CREATE_PAYMENT_LINK])
def test_only_a_new_link_has_a_minted_id(row: Row) -> None:
    assert mint(row.operation, row.request) is None


def test_the_id_is_all_that_is_added() -> None:
    body = prepare(CREATE_PAYMENT_LINK, order(), MINTED).body
    added = b',"additionalData":{"sdkRequestId":"' + MINTED.encode() + b'"}}'
    assert body == ORDER_BODY[:-1] + added


def test_other_data_comes_before_the_id_and_keeps_its_digits() -> None:
    request = order_with({"z": Decimal("1.10"), "a": 2})
    body = encode(request, MINTED)
    expected = b'"additionalData":{"z":1.10,"a":2,"sdkRequestId":"' + MINTED.encode() + b'"}'
    assert expected in body


@EACH_DATA
def test_the_request_itself_stays_as_it_was(data: Any, stamped: dict[str, Any]) -> None:
    request = order_with(data)
    before = encode(request)
    assert data_sent(encode(request, MINTED)) == stamped | {"sdkRequestId": MINTED}
    assert encode(request) == before
    assert request.additional_data == data
    assert request == order_with(data)


def test_an_operation_builds_its_request_and_signs_the_faults_with_its_name() -> None:
    assert CAPTURE_PAYMENT.of(payment_link_ref="ref-1", amount="1.00") == capture("1.00")
    with pytest.raises(RequestValidationError) as caught:
        CAPTURE_PAYMENT.of(payment_link_ref="", amount="1.00")
    assert caught.value.operation == "capture_payment"


def test_an_operation_takes_only_requests_of_its_class() -> None:
    CAPTURE_PAYMENT.check(capture())
    with pytest.raises(TypeError, match="capture_payment takes a Capture, not LinkReference"):
        CAPTURE_PAYMENT.check(LINK)
