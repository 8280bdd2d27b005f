"""The sandbox's names against those of the published contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async.sandbox import Sandbox
from chat2pay_async.sandbox._service.records import LinkStatus, PaymentStatus, TransactionType
from chat2pay_async.sandbox._service.serialization import leaked
from chat2pay_async.sandbox._service.service import ApiRequest

CONTRACT = Path(__file__).parent.parent / "data" / "chat2pay-v2.openapi.json"
SCHEMAS: dict[str, Any] = json.loads(CONTRACT.read_text(encoding="utf-8"))["components"]["schemas"]


def enum(schema: str, field: str) -> list[str]:
    names: list[str] = SCHEMAS[schema]["properties"][field]["enum"]
    return names


def strangers(schema: str, body: Any) -> set[str]:
    """Return the names of fields in a response, inner ones too, that its schema does not have."""
    fields = SCHEMAS[schema]["properties"]
    found = {name for name in body if name not in fields}
    for name in body.keys() & fields.keys():
        inner = fields[name].get("items", fields[name]).get("$ref", "").rpartition("/")[2]
        values = body[name] if "items" in fields[name] else [body[name]]
        if inner:
            found.update(*(strangers(inner, value) for value in values))
    return found


def test_enum_names_are_those_of_the_contract_in_its_order() -> None:
    response = "PayByLinkTransactionLogResponse"
    assert [each.name for each in LinkStatus] == enum(response, "transactionStatus")
    response = "TransactionStatusEndpointResponse"
    assert [each.name for each in PaymentStatus] == enum(response, "paymentStatus")
    assert [leaked(each) for each in TransactionType] == enum(response, "transactionType")


@pytest.mark.parametrize("failing", [False, True])
def test_responses_have_only_fields_of_the_contract(failing: bool) -> None:  # noqa: FBT001
    sandbox = Sandbox()

    def ask(operation: str, ref: str = "", body: str = "", **query: str) -> Any:
        key = sandbox.api_key
        request = ApiRequest(operation, key, "/", ref, query, body.encode())
        reply = sandbox.exchange(request).reply
        assert reply is not None
        return json.loads(reply.content)

    def create() -> Any:
        return ask(
            "create_payment_link",
            body='{"channel":"sms","to":"27831234567","orderNumber":"A","currency":"ZAR",'
            '"totalAmount":2,"timestamp":"2026-03-01T12:00:00Z","returnPaymentLink":true,'
            '"transactionType":"authorization","orderLineItems":[{"name":"a","unitPrice":2}]}',
        )

    if failing:
        sandbox.fail_delivery("A")
    created = create()
    ref = created["paymentLinkRef"]
    sandbox.pay(ref)
    if failing:
        sandbox.decline_capture(ref)
        sandbox.fail_receipt(ref)
    receipt = f'{{"paymentLinkRef":"{ref}","receiptLink":"x","timestamp":"2026-03-01T12:00:00Z"}}'
    configuration = ask("get_configuration")
    uuid = configuration["integrators"][0]["applicationId"]
    update = f'{{"applicationUuid":"{uuid}","status":"ACTIVATED"}}'
    gateway = "PaymentGatewayOperationResultResponse"
    responses = [
        ("PayByLinkTransactionLogResponse", created),
        ("PaymentCancellationResponse", ask("cancel_payment_link", create()["paymentLinkRef"])),
        ("PaymentReceiptResponse", ask("create_receipt", body=receipt)),
        (gateway, ask("capture_payment", ref)),
        (gateway, ask("reverse_payment", ref)),
        ("TransactionStatusEndpointResponse", ask("get_transaction", paymentLinkRef=ref)),
        ("EntityUpdatedResponse", ask("update_integration", body=update)),
        ("BadRequestErrorResponse", ask("create_payment_link")),
        ("NotFoundErrorResponse", ask("reverse_payment", "nobody")),
    ]
    for schema, body in responses:
        assert (schema, strangers(schema, body)) == (schema, set())
    # Seen in the service's responses, though not in its contract.
    assert strangers("DetailedWidgetConfigResponse", configuration) == {"cardNetworks"}
