"""Requests that the sandbox refuses, and its error messages."""

from __future__ import annotations

import pytest
from sandbox_http import STATUS, HttpWorld, order, read, receipt

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]


@pytest.fixture
def world() -> HttpWorld:
    return HttpWorld()


# Requests that break the contract


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"channel": ""}, "channel is required"),
        ({"to": ""}, "to is required"),
        ({"orderNumber": ""}, "orderNumber is required"),
        ({"timestamp": "null"}, "timestamp is required"),
        ({"currency": ""}, "currency is required"),
        ({"totalAmount": ""}, "totalAmount is required"),
        ({"orderNumber": '" "'}, "orderNumber must not be blank"),
        ({"orderNumber": f'"{"x" * 33}"'}, "orderNumber must have at most 32 characters"),
        ({"orderNumber": "17"}, "orderNumber must be a string"),
        ({"channel": '"pigeon"'}, "channel must be one of none, sms, whatsapp"),
        ({"channel": "1"}, "channel must be one of none, sms, whatsapp"),
        ({"transactionType": '"void"'}, "transactionType must be one of authorization, sale"),
        ({"transactionType": '"Capture"'}, "transactionType must be one of authorization, sale"),
        ({"currency": '"ZARR"'}, "currency must match [A-Za-z]{3}"),
        ({"currency": '"XYZ"'}, "currency XYZ is not supported"),
        ({"totalAmount": "0"}, "totalAmount must be greater than 0"),
        ({"totalAmount": "-1"}, "totalAmount must be greater than 0"),
        ({"totalAmount": "true"}, "totalAmount must be a number"),
        ({"totalAmount": '"a lot"'}, "totalAmount must be a number"),
        ({"totalAmount": "1e99"}, "totalAmount must be a number"),
        ({"totalAmount": f"1.{'1' * 40}"}, "totalAmount must be a number"),
        ({"taxAmount": "-0.01"}, "taxAmount must be greater than or equal to 0"),
        ({"subTotalAmount": "0"}, "subTotalAmount must be greater than 0"),
        (
            {"subTotalAmount": "199.89", "taxAmount": "0.02"},
            "Total amount is not equal to the sum of tax and subtotal",
        ),
        ({"timestamp": '"yesterday"'}, "timestamp must be a date and time with an offset"),
        ({"timestamp": '"2026-03-01T12:00:00"'}, "timestamp must be a date and time with an"),
        ({"timestamp": '"2026-13-01T12:00:00Z"'}, "timestamp must be a date and time with an"),
        ({"returnPaymentLink": '"yes"'}, "returnPaymentLink must be true or false"),
        ({"reconciliationId": f'"{"x" * 61}"'}, "reconciliationId must have at most 60"),
        ({"additionalData": "[1]"}, "additionalData must be a JSON object"),
        # So deep that Python reads it from any depth of the stack, and writes it from none.
        ({"additionalData": '{"a":' * 700 + "1" + "}" * 700}, "is nested too deeply"),
        ({"orderLineItems": "{}"}, "orderLineItems must be a list"),
        ({"orderLineItems": "[7]"}, "orderLineItems[0] must be an object"),
        ({"orderLineItems": '[{"name":"a"}]'}, "orderLineItems[0].unitPrice is required"),
        (
            {"orderLineItems": '[{"name":"a","unitPrice":1},{"unitPrice":0}]'},
            "orderLineItems[1].unitPrice must be greater than 0",
        ),
        (
            {"orderLineItems": '[{"name":"a","unitPrice":1,"quantity":0}]'},
            "orderLineItems[0].quantity must be a whole number of at least 1",
        ),
    ],
)
async def test_a_create_request_that_breaks_a_rule_is_refused(
    world: HttpWorld, changes: dict[str, str], fault: str
) -> None:
    response = await world.ask("POST", "/api/v2/chat-2-pay", order(**changes))
    body = read(response)
    assert (response.status_code, body["message"]) == (400, "Request failed")
    assert [error for error in body["errors"] if fault in error]
    assert not world.sandbox.ledger.effects


async def test_all_errors_are_returned_at_once(world: HttpWorld) -> None:
    body = order(to="", currency='"?"', totalAmount="0", orderLineItems='[{"name":""}]')
    response = await world.ask("POST", "/api/v2/chat-2-pay", body)
    assert sorted(read(response)["errors"]) == [
        "currency must match [A-Za-z]{3}",
        "orderLineItems[0].name must not be blank",
        "orderLineItems[0].unitPrice is required",
        "to is required",
        "totalAmount must be greater than 0",
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"[]", b'{"a":NaN}', b"\xff", b"\xef\xbb\xbf{}", b"[" * 200_000, b"1" * 5000],
)
async def test_body_that_is_not_a_json_object_is_refused(world: HttpWorld, body: bytes) -> None:
    response = await world.ask("POST", "/api/v2/chat-2-pay", body)
    assert (response.status_code, read(response)["message"]) == (400, "Request failed")


async def test_a_receipt_request_that_breaks_rules_is_refused(world: HttpWorld) -> None:
    response = await world.ask("POST", "/api/v2/order-receipt", '{"timestamp":"x"}')
    assert read(response)["errors"] == [
        "paymentLinkRef is required",
        "receiptLink is required",
        "timestamp must be a date and time with an offset (RFC 3339)",
    ]
    response = await world.ask("POST", "/api/v2/order-receipt", receipt("nobody's"))
    assert response.status_code == 404
    assert read(response)["errors"] == [
        "There is no such transaction with transaction reference nobody's"
    ]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("{}", "applicationUuid is required"),
        ('{"applicationUuid":"a","status":"PAUSED"}', "status must be one of ACTIVATED, DEACT"),
        ("[]", "The request body must be a JSON object"),
    ],
)
async def test_an_integration_update_that_breaks_rules_is_refused(
    world: HttpWorld, body: str, fault: str
) -> None:
    response = await world.ask("PUT", "/api/v2/integration", body)
    assert response.status_code == 400
    assert read(response)["errors"][0].startswith(fault)


# What a stage does not allow

SETTERS = {
    "open": (),
    "clicked": ("click",),
    "expired": ("expire",),
    "in review": ("review",),
    "declined": ("decline",),
    "paid": ("pay",),
}
CAPTURE, REVERSE, CANCEL = "payment/{}/capture", "payment/{}/reverse", "cancel/{}"


@pytest.mark.parametrize(
    ("kind", "stage", "path", "error"),
    [
        ("sale", "clicked", CANCEL, "Payment link is already clicked and cannot be cancelled"),
        ("sale", "expired", CANCEL, "Payment link has expired"),
        ("sale", "in review", CANCEL, "Payment link is already used"),
        ("sale", "declined", CANCEL, "Payment link is already used"),
        ("sale", "paid", CANCEL, "Payment link is already used"),
        ("sale", "paid", CAPTURE, "Only an authorization can be captured, this is a sale"),
        ("authorization", "open", CAPTURE, "Payment has not been made"),
        ("authorization", "clicked", CAPTURE, "Payment has not been made"),
        ("authorization", "expired", CAPTURE, "Payment link has expired"),
        ("authorization", "in review", CAPTURE, "Payment is in review"),
        ("authorization", "declined", CAPTURE, "Payment was declined"),
        ("sale", "paid", REVERSE, "Payment is already settled and cannot be reversed"),
        ("authorization", "open", REVERSE, "Payment has not been made"),
        ("authorization", "expired", REVERSE, "Payment link has expired"),
        ("authorization", "in review", REVERSE, "Payment is in review"),
        ("authorization", "declined", REVERSE, "Payment was declined"),
    ],
)
async def test_operation_that_a_stage_does_not_allow_is_refused(
    world: HttpWorld, kind: str, stage: str, path: str, error: str
) -> None:
    ref = await world.create(transactionType=f'"{kind}"')
    for setter in SETTERS[stage]:
        getattr(world.sandbox, setter)(ref)
    effects = world.sandbox.ledger.effects
    response = await world.ask("POST", f"/api/v2/{path.format(ref)}")
    assert response.status_code == 400
    assert read(response) == {"message": "Request failed", "errors": [error]}
    assert world.sandbox.ledger.effects == effects


@pytest.mark.parametrize(
    ("before", "path", "error"),
    [
        (CANCEL, CANCEL, "Payment link is already cancelled"),
        (CANCEL, CAPTURE, "Payment link is already cancelled"),
        (CANCEL, REVERSE, "Payment link is already cancelled"),
        (REVERSE, CAPTURE, "Payment is already reversed"),
    ],
)
async def test_operation_that_an_earlier_one_rules_out_is_refused(
    world: HttpWorld, before: str, path: str, error: str
) -> None:
    ref = await world.create(transactionType='"authorization"')
    if before != CANCEL:
        world.sandbox.pay(ref)
    assert (await world.ask("POST", f"/api/v2/{before.format(ref)}")).status_code == 200
    response = await world.ask("POST", f"/api/v2/{path.format(ref)}")
    assert (response.status_code, read(response)["errors"]) == (400, [error])


async def test_a_receipt_needs_a_payment_that_succeeded(world: HttpWorld) -> None:
    ref = await world.create()
    response = await world.ask("POST", "/api/v2/order-receipt", receipt(ref))
    assert read(response)["errors"] == ["Payment has not been made"]


@pytest.mark.parametrize("path", [CANCEL, CAPTURE, REVERSE])
@pytest.mark.parametrize(
    ("quoted", "ref"),
    [("nobody", "nobody"), ("no%2Fsuch%3Fx", "no/such?x"), ("a%2F..%2Fconfig", "a/../config")],
)
async def test_unknown_reference_is_named_unquoted(
    world: HttpWorld, path: str, quoted: str, ref: str
) -> None:
    response = await world.ask("POST", f"/api/v2/{path.format(quoted)}")
    assert response.status_code == 404
    assert read(response) == {
        "status": "NOT_FOUND",
        "message": f"URL /api/v2/{path.format(quoted)}",
        "errors": [f"There is no such transaction with transaction reference {ref}"],
    }


# The door


@pytest.mark.parametrize("key", ["", "wrong", "Bearer sandbox-key", "sandbox-key-2", "schlüssel"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v2/chat-2-pay"),
        ("GET", STATUS),
        ("POST", "/api/v2/cancel/x"),
        ("POST", "/api/v2/payment/x/capture"),
        ("POST", "/api/v2/payment/x/reverse"),
        ("POST", "/api/v2/order-receipt"),
        ("GET", "/api/v2/config"),
        ("PUT", "/api/v2/integration"),
    ],
)
async def test_nothing_works_without_the_key(
    world: HttpWorld, key: str, method: str, path: str
) -> None:
    response = await world.ask(method, path, order(), key)
    assert response.status_code == 401
    assert read(response) == {
        "timestamp": "2026-03-01T12:00:00.000+0000",
        "status": 401,
        "error": "Unauthorized",
        "path": path,
    }
    assert not world.sandbox.ledger.effects
    assert world.sandbox.ledger.answered(status=401) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/api/v2/chat-2-pay", 405, "Method Not Allowed"),
        ("POST", "/api/v2/config", 405, "Method Not Allowed"),
        ("GET", "/api/v3/config", 404, "Not Found"),
        ("POST", "/api/v2/cancel/", 404, "Not Found"),
        ("POST", "/api/v2/cancel/a/b", 404, "Not Found"),
        ("GET", "/api/v2/config/", 404, "Not Found"),
    ],
)
async def test_unknown_path_has_an_error_of_another_shape(
    world: HttpWorld, method: str, path: str, status: int, error: str
) -> None:
    response = await world.ask(method, path)
    assert response.status_code == status
    assert read(response) == {
        "timestamp": "2026-03-01T12:00:00.000+0000",
        "status": status,
        "error": error,
        "path": path,
    }
