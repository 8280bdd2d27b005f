"""The eight operations of the sandbox, in JSON written by hand."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sandbox_http import STATUS, HttpWorld, order, read, receipt

from chat2pay_async.sandbox import Sandbox
from chat2pay_async.sandbox._service import json as _json

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]


class World(HttpWorld):
    """The same, with the steps that the tests of operations repeat."""

    async def authorize(self, **changes: str) -> str:
        ref = await self.create(**{"transactionType": '"authorization"', **changes})
        self.sandbox.pay(ref)
        return ref

    async def status(self, ref: str) -> Any:
        return read(await self.ask("GET", f"{STATUS}?paymentLinkRef={ref}"))

    async def steps(self, ref: str) -> list[str]:
        entries = (await self.status(ref))["transactionStatuses"]
        return [entry["transactionStatusName"] for entry in entries]

    async def decisions(self, ref: str) -> list[tuple[str, str, Decimal]]:
        return [
            (
                entry["transactionType"].partition("(")[0].removeprefix("TransactionType."),
                entry["paymentGatewayDecision"],
                entry["totalAmount"],
            )
            for entry in (await self.status(ref))["paymentStatuses"]
        ]


@pytest.fixture
def world() -> World:
    return World()


# Create


async def test_a_link_is_made_and_sent(world: World) -> None:
    response = await world.ask("POST", "/api/v2/chat-2-pay", order())
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert read(response) == {
        "paymentLinkRef": world.sandbox.ref_of("A-1"),
        "transactionStatus": "PAYMENT_LINK_SENT",
        "transactionStatusId": 2,
        "timestamp": "2026-03-01T12:00:00.000+0000",
        "paymentLinkTTL": 5,
        "paymentPageTTL": 15,
    }
    assert world.sandbox.ledger.counts == {"link_created": 1, "message_sent": 1}
    assert world.sandbox.ledger.total("link_created", "ZAR") == Decimal("199.90")


async def test_payment_url_is_returned_only_on_request(world: World) -> None:
    response = await world.ask("POST", "/api/v2/chat-2-pay", order(returnPaymentLink="true"))
    body = read(response)
    assert body["paymentLink"] == f"https://sandbox.invalid/pay/{body['paymentLinkRef']}"
    response = await world.ask("GET", f"{STATUS}?orderNumber=A-1")
    assert "/pay/" not in response.text


@pytest.mark.parametrize("channel", ["none", "NONE"])
async def test_channel_none_sends_nothing(world: World, channel: str) -> None:
    response = await world.ask("POST", "/api/v2/chat-2-pay", order(channel=f'"{channel}"'))
    assert read(response)["transactionStatus"] == "PAYMENT_LINK_REQUEST_RECEIVED"
    assert world.sandbox.ledger.counts == {"link_created": 1}


async def test_a_repeated_order_number_makes_a_second_link(world: World) -> None:
    first, second = await world.create(), await world.create()
    assert first != second
    assert world.sandbox.ledger.twice("link_created") == ("A-1",)
    assert read(await world.ask("GET", f"{STATUS}?orderNumber=A-1"))["paymentLinkRef"] == second
    assert (await world.status(first))["paymentLinkRef"] == first


@pytest.mark.parametrize("blocked", ["A-1", "27831234567"])
async def test_link_is_made_even_if_its_message_fails(world: World, blocked: str) -> None:
    world.sandbox.fail_delivery(blocked)
    response = await world.ask("POST", "/api/v2/chat-2-pay", order())
    body = read(response)
    assert response.status_code == 201
    assert body["transactionStatus"] == "PAYMENT_LINK_SENT_FAILED"
    assert body["error"] == {"code": 106, "description": "Invalid destination address"}
    assert world.sandbox.ledger.counts == {"link_created": 1, "message_failed": 1}
    world.sandbox.pay(body["paymentLinkRef"])


@pytest.mark.parametrize(
    "changes",
    [
        {"totalAmount": '"199.90"'},
        {"timestamp": '"2026-03-01T12:00:00.123456789+02:00"'},
        {"timestamp": '"2026-03-01T12:00:00+0000"'},
        {"channel": '"WhatsApp"', "transactionType": '"SALE"'},
        {"currency": '"zar"'},
        {"unheardOf": "[1, 2]"},
        {"from": "null", "additionalData": "null", "orderLineItems": "null"},
        {"subTotalAmount": "173.83", "taxAmount": "26.07"},
        {"taxAmount": "0"},
    ],
)
async def test_request_forms_that_the_service_accepts_are_accepted(
    world: World, changes: dict[str, str]
) -> None:
    await world.create(**changes)


# Status


async def test_status_response_has_all_fields_of_the_request(world: World) -> None:
    ref = await world.create(
        channel='"whatsapp"',
        totalAmount="115.50",
        subTotalAmount="100.50",
        taxAmount="15.00",
        additionalData='{"table":7,"tip":1.10,"who":"Zoë"}',
        reconciliationId='"R-1"',
        merchantDescriptor='"Shop"',
        paymentReviewAutoReversal="true",
        orderLineItems='[{"name":"Tea","unitPrice":100.50,"quantity":1,"code":"T","sku":""}]',
    )
    response = await world.ask("GET", f"{STATUS}?paymentLinkRef={ref}")
    assert '"totalAmount":115.50,' in response.text
    body = read(response)
    entries = body.pop("transactionStatuses")
    assert [entry["transactionStatusId"] for entry in entries] == [1, 2]
    assert entries[1] == {
        "transactionStatusId": 2,
        "transactionStatusName": "PAYMENT_LINK_SENT",
        "created": "2026-03-01T12:00:00.000+0000",
        "httpResponseCode": 200,
        "responseCode": "0",
        "responseCodeDescription": "OK",
    }
    assert body.pop("integrator")["name"] == "Sandbox API"
    assert body == {
        "orderNumber": "A-1",
        "paymentLinkRef": ref,
        "paymentStatuses": [],
        "paymentStatus": "PENDING",
        "paymentStatusId": "3",
        "totalAmount": Decimal("115.50"),
        "channelName": "WHATSAPP",
        "currency": "ZAR",
        "taxAmount": Decimal("15.00"),
        "subTotalAmount": Decimal("100.50"),
        "additionalData": '{"table":7,"tip":1.10,"who":"Zoë"}',
        "paymentReviewAutoReversal": True,
        "transactionType": "TransactionType.SALE(name=Sale, id=2)",
        "environment": "sandbox",
        "reconciliationId": "R-1",
        "merchantDescriptor": "Shop",
        "orderLineItems": [
            {"code": "T", "name": "Tea", "quantity": 1, "unitPrice": Decimal("100.50")}
        ],
    }


async def test_the_integrator_that_made_the_link_is_shown(world: World) -> None:
    integrators = read(await world.ask("GET", "/api/v2/config"))["integrators"]
    ref = await world.create(applicationId=f'"{integrators[1]["applicationId"]}"')
    assert (await world.status(ref))["integrator"] == {
        "applicationId": integrators[1]["applicationId"],
        "name": integrators[1]["name"],
    }
    other = await world.create(applicationId='"unheard of"')
    assert "integrator" not in await world.status(other)


@pytest.mark.parametrize("text", ["100", "100.0", "199.90", "0.001", "123456789012345678901.23"])
async def test_an_amount_keeps_its_digits(world: World, text: str) -> None:
    await world.create(totalAmount=text)
    response = await world.ask("GET", f"{STATUS}?orderNumber=A-1")
    assert f'"totalAmount":{text},' in response.text


async def test_additional_data_keeps_every_kind_of_value(world: World) -> None:
    text = '{"a":null,"b":[true,false,1,-0.10,1E+2,""],"c":{"d":{}}}'
    ref = await world.create(additionalData=text)
    assert (await world.status(ref))["additionalData"] == text


def test_a_float_has_no_exact_form() -> None:
    with pytest.raises(TypeError, match="float has no JSON form here"):
        _json.dumps({"a": 1.5})


async def test_half_a_character_is_replaced_as_java_does(world: World) -> None:
    ref = await world.create(merchantDescriptor='"\\ud83d"')
    assert (await world.status(ref))["merchantDescriptor"] == "?"


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("", 400, "One of orderNumber, paymentLinkRef, receiptLinkRef is required"),
        ("orderNumber=", 400, "One of orderNumber, paymentLinkRef, receiptLinkRef is required"),
        ("orderNumber=B", 404, "There is no such transaction with order number B"),
        ("paymentLinkRef=B", 404, "There is no such transaction with transaction reference B"),
        ("receiptLinkRef=B", 404, "There is no such transaction with receipt reference B"),
        ("paymentLinkRef={ref}&orderNumber=B", 404, "with order number B"),
        ("paymentLinkRef={ref}&receiptLinkRef=B", 404, "with receipt reference B"),
    ],
)
async def test_look_up_without_a_transaction_is_refused(
    world: World, query: str, status: int, error: str
) -> None:
    ref = await world.create()
    response = await world.ask("GET", f"{STATUS}?{query.format(ref=ref)}")
    body = read(response)
    assert response.status_code == status
    assert [each for each in body["errors"] if error in each]
    if status == 404:
        assert (body["status"], body["message"]) == ("NOT_FOUND", f"URL {STATUS}")


async def test_several_names_of_one_transaction_find_it(world: World) -> None:
    first = await world.create()
    await world.create()
    response = await world.ask("GET", f"{STATUS}?paymentLinkRef={first}&orderNumber=A-1")
    assert read(response)["paymentLinkRef"] == first


# Cancel


async def test_cancellation_response_has_its_status_in_words(world: World) -> None:
    ref = await world.create(additionalData='{"a": 1}')
    response = await world.ask("POST", f"/api/v2/cancel/{ref}")
    assert response.status_code == 200
    assert read(response) == {
        "paymentLinkRef": ref,
        "transactionStatus": "Payment Link Cancelled",
        "transactionStatusId": "18",
        "additionalData": '{"a":1}',
        "timestamp": "2026-03-01T12:00:00.000+0000",
    }
    assert (await world.steps(ref))[-1] == "PAYMENT_LINK_CANCELLED"
    assert world.sandbox.ledger.count("link_cancelled", payment_link_ref=ref) == 1


# Capture and reverse


async def test_capture_takes_the_whole_authorization_by_default(world: World) -> None:
    ref = await world.authorize()
    response = await world.ask("POST", f"/api/v2/payment/{ref}/capture")
    assert response.status_code == 200
    body = read(response)
    assert body == {
        "transactionType": "TransactionType.CAPTURE(name=Capture, id=4)",
        "totalAmount": Decimal("199.90"),
        "paymentGatewayDecision": "ACCEPT",
        "paymentGatewayReqReferenceNumber": body["paymentGatewayReqReferenceNumber"],
        "paymentGatewayResponseTimestamp": "2026-03-01T12:00:00.000+0000",
        "paymentGatewayResponseCode": 100,
        "paymentGatewayAuthReconciliationReferenceNumber": body[
            "paymentGatewayAuthReconciliationReferenceNumber"
        ],
        "cardType": "VISA",
        "maskedCardNumber": "411111******1111",
        "cardExpiryDate": "12-2031",
        "paymentStatus": "SUCCESS",
        "paymentStatusId": "1",
    }
    status = await world.status(ref)
    assert status["paymentStatus"] == "SUCCESS"
    entry = {name: value for name, value in body.items() if not name.startswith("paymentStatus")}
    assert status["paymentStatuses"][-1] == entry


async def test_partial_capture_is_allowed_only_once(world: World) -> None:
    ref = await world.authorize()
    response = await world.ask("POST", f"/api/v2/payment/{ref}/capture?amount=100.00")
    assert '"totalAmount":100.00,' in response.text
    again = await world.ask("POST", f"/api/v2/payment/{ref}/capture?amount=50.00")
    assert read(again)["errors"] == ["Payment is already captured"]
    assert world.sandbox.ledger.total("captured", "ZAR") == Decimal("100.00")


@pytest.mark.parametrize("amount", ["0", "-1", "199.91", "a+lot", "", "NaN", "1e999"])
async def test_an_amount_that_cannot_be_captured_is_refused(world: World, amount: str) -> None:
    ref = await world.authorize()
    response = await world.ask("POST", f"/api/v2/payment/{ref}/capture?amount={amount}")
    assert response.status_code == 400
    assert not world.sandbox.ledger.count("captured")


async def test_declined_capture_is_a_200_and_may_be_retried(world: World) -> None:
    ref = await world.authorize()
    before = await world.status(ref)
    world.sandbox.decline_capture(ref)
    world.now += timedelta(minutes=1)
    response = await world.ask("POST", f"/api/v2/payment/{ref}/capture")
    body = read(response)
    assert response.status_code == 200
    assert body["paymentGatewayDecision"] == "DECLINE"
    assert body["paymentGatewayErrorDecision"] == "PROCESSOR_DECLINED"
    assert body["paymentGatewayResponseCode"] == 203
    assert body["paymentStatus"] == "FAILED"
    after = await world.status(ref)
    assert after["paymentStatus"] == "SUCCESS"
    assert after["paymentStatusTimestamp"] == before["paymentStatusTimestamp"]
    assert (await world.decisions(ref))[1:] == [("CAPTURE", "DECLINE", Decimal("199.90"))]
    assert world.sandbox.ledger.count("captured") == 0
    assert world.sandbox.ledger.count("capture_declined") == 1
    await world.ask("POST", f"/api/v2/payment/{ref}/capture")
    assert world.sandbox.ledger.count("captured") == 1


async def test_an_authorization_is_reversed(world: World) -> None:
    ref = await world.authorize()
    world.now += timedelta(hours=1)
    response = await world.ask("POST", f"/api/v2/payment/{ref}/reverse")
    body = read(response)
    assert response.status_code == 200
    assert body["transactionType"] == "TransactionType.VOID(name=Void, id=3)"
    assert body["paymentStatus"] == "REVERSED"
    status = await world.status(ref)
    assert status["paymentStatus"] == "REVERSED"
    assert status["paymentStatusTimestamp"] == "2026-03-01T13:00:00.000+0000"
    assert status["paymentStatusConversionTime"] == "2026-03-01T12:00:00.000+0000"
    assert (await world.decisions(ref))[-1] == ("VOID", "ACCEPT", Decimal("199.90"))


async def test_reversing_a_captured_payment_twice_voids_two_things(world: World) -> None:
    ref = await world.authorize()
    await world.ask("POST", f"/api/v2/payment/{ref}/capture?amount=100.00")
    first = read(await world.ask("POST", f"/api/v2/payment/{ref}/reverse"))
    assert (first["totalAmount"], first["paymentStatus"]) == (Decimal("100.00"), "SUCCESS")
    capture = await world.ask("POST", f"/api/v2/payment/{ref}/capture")
    assert "already captured" in capture.text
    second = read(await world.ask("POST", f"/api/v2/payment/{ref}/reverse"))
    assert (second["totalAmount"], second["paymentStatus"]) == (Decimal("199.90"), "REVERSED")
    third = await world.ask("POST", f"/api/v2/payment/{ref}/reverse")
    assert read(third)["errors"] == ["Payment is already reversed"]
    assert world.sandbox.ledger.twice("reversed") == (ref,)
    assert await world.decisions(ref) == [
        ("AUTHORIZATION", "ACCEPT", Decimal("199.90")),
        ("CAPTURE", "ACCEPT", Decimal("100.00")),
        ("VOID", "ACCEPT", Decimal("100.00")),
        ("VOID", "ACCEPT", Decimal("199.90")),
    ]


async def test_a_declined_reverse_changes_nothing(world: World) -> None:
    ref = await world.authorize()
    world.sandbox.decline_reverse(ref)
    response = await world.ask("POST", f"/api/v2/payment/{ref}/reverse")
    assert read(response)["paymentGatewayDecision"] == "DECLINE"
    assert world.sandbox.ledger.count("reversed") == 0
    assert world.sandbox.ledger.count("reverse_declined") == 1
    await world.ask("POST", f"/api/v2/payment/{ref}/capture")
    assert world.sandbox.ledger.count("captured") == 1


# Receipts


async def test_each_receipt_has_a_reference_of_its_own(world: World) -> None:
    ref = await world.authorize()
    responses = [await world.ask("POST", "/api/v2/order-receipt", receipt(ref)) for _ in range(2)]
    first, second = map(read, responses)
    assert [response.status_code for response in responses] == [201, 201]
    assert first == {
        "receiptLinkRef": first["receiptLinkRef"],
        "orderNumber": "A-1",
        "timestamp": "2026-03-01T12:00:00.000+0000",
        "transactionStatus": "RECEIPT_LINK_SENT",
        "transactionStatusId": 7,
    }
    for each in (first, second):
        found = read(await world.ask("GET", f"{STATUS}?receiptLinkRef={each['receiptLinkRef']}"))
        assert found["paymentLinkRef"] == ref
    assert (await world.status(ref))["receiptLinkRef"] == second["receiptLinkRef"]
    assert world.sandbox.ledger.count("receipt_created") == 2


async def test_a_receipt_on_channel_none_is_only_received(world: World) -> None:
    ref = await world.authorize(channel='"none"')
    response = await world.ask("POST", "/api/v2/order-receipt", receipt(ref))
    assert read(response)["transactionStatus"] == "RECEIPT_LINK_REQUEST_RECEIVED"
    assert world.sandbox.ledger.count("receipt_sent") == 0


async def test_a_receipt_that_is_not_sent_is_a_400_with_the_receipt(world: World) -> None:
    ref = await world.authorize()
    world.sandbox.fail_receipt(ref)
    response = await world.ask("POST", "/api/v2/order-receipt", receipt(ref))
    body = read(response)
    assert response.status_code == 400
    assert body["transactionStatus"] == "RECEIPT_LINK_SENT_FAILED"
    assert body["error"]["code"] == 106
    assert body["receiptLinkRef"] == (await world.status(ref))["receiptLinkRef"]
    assert (await world.steps(ref))[-2:] == [
        "RECEIPT_LINK_REQUEST_RECEIVED",
        "RECEIPT_LINK_SENT_FAILED",
    ]
    assert world.sandbox.ledger.count("receipt_failed") == 1
    assert (await world.ask("POST", "/api/v2/order-receipt", receipt(ref))).status_code == 201


# The account


async def test_configuration_has_the_settings_of_the_account(world: World) -> None:
    body = read(await world.ask("GET", "/api/v2/config"))
    assert body["apiKey"] == "sandbox-key"
    assert body["smsChannelEnabled"] is body["whatsappChannelEnabled"] is True
    assert body["environment"] == "sandbox"
    assert body["updateTime"] == "2026-03-01T12:00:00.000+0000"
    assert body["cardNetworks"] == ["VISA", "MASTERCARD"]
    assert body["supportedCurrencies"][0] == {
        "id": 1,
        "iso": "ZAR",
        "name": "South African Rand",
        "symbol": "R",
        "isDefault": True,
    }
    assert [each["type"] for each in body["integrators"]] == [
        "APPLICATION",
        "OMS",
        "CLICKATELL_PRODUCT",
    ]


async def test_currencies_may_be_chosen(world: World) -> None:
    world.sandbox = Sandbox(currencies=("XTS", "EUR"))
    world._transport = httpx.ASGITransport(app=world.sandbox.app)
    body = read(await world.ask("GET", "/api/v2/config"))
    assert [(each["iso"], each["name"]) for each in body["supportedCurrencies"]] == [
        ("XTS", "XTS"),
        ("EUR", "Euro"),
    ]
    await world.create(currency='"XTS"')


async def test_an_integration_is_switched_off_and_then_removed(world: World) -> None:
    uuid = read(await world.ask("GET", "/api/v2/config"))["integrators"][0]["applicationId"]
    ref = await world.create()
    world.now += timedelta(hours=1)
    body = '{{"applicationUuid":"{}","status":"{}"}}'
    response = await world.ask("PUT", "/api/v2/integration", body.format(uuid, "DEACTIVATED"))
    assert response.status_code == 200
    assert read(response) == {"updateTime": "2026-03-01T13:00:00.000+0000"}
    configuration = read(await world.ask("GET", "/api/v2/config"))
    assert configuration["integrators"][0]["status"] == "DEACTIVATED"
    assert configuration["updateTime"] == "2026-03-01T13:00:00.000+0000"
    await world.ask("PUT", "/api/v2/integration", body.format(uuid, "DELETED"))
    left = read(await world.ask("GET", "/api/v2/config"))["integrators"]
    assert uuid not in [each["applicationId"] for each in left]
    assert "integrator" not in await world.status(ref)
    gone = await world.ask("PUT", "/api/v2/integration", body.format(uuid, "ACTIVATED"))
    assert (gone.status_code, read(gone)["status"]) == (404, "NOT_FOUND")
    assert world.sandbox.ledger.count("integration_updated") == 2


async def test_every_response_is_dated_by_the_clock_of_the_sandbox(world: World) -> None:
    for path in ("/api/v2/config", "/nowhere", "/sandbox/ledger"):
        response = await world.ask("GET", path)
        assert response.headers.get_list("date") == ["Sun, 01 Mar 2026 12:00:00 GMT"]
