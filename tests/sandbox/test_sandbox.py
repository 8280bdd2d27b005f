"""Playing the customer and the gateway in the sandbox, by code and over HTTP, and the ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from chat2pay_async.sandbox import (
    EFFECT_KINDS,
    Effect,
    Sandbox,
    SandboxError,
    UnknownReferenceError,
)
from chat2pay_async.sandbox._service.ledger import Log
from chat2pay_async.sandbox._service.service import OPERATIONS, ApiRequest

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class World:
    """A sandbox whose operations are called directly, and its clock."""

    def __init__(self) -> None:
        self.now = START
        self.sandbox = Sandbox(clock=lambda: self.now)

    def call(self, operation: str, ref: str = "", body: str = "", **query: str) -> tuple[int, Any]:
        key = self.sandbox.api_key
        call = ApiRequest(operation, key, "/", ref=ref, query=query, body=body.encode())
        delivery = self.sandbox.exchange(call)
        assert delivery.at == self.now
        assert delivery.reply is not None
        return delivery.reply.status, json.loads(delivery.reply.content, parse_float=Decimal)

    def create(self, number: str = "A-1", kind: str = "sale", extra: str = "") -> str:
        body = (
            '{"channel":"sms","to":"27831234567","currency":"ZAR","totalAmount":199.90,'
            f'"timestamp":"2026-03-01T12:00:00Z","orderNumber":"{number}",'
            f'"transactionType":"{kind}"{extra}}}'
        )
        status, response = self.call("create_payment_link", body=body)
        assert status == 201
        return str(response["paymentLinkRef"])

    def status(self, ref: str) -> Any:
        status, response = self.call("get_transaction", paymentLinkRef=ref)
        assert status == 200
        return response

    def steps(self, ref: str) -> list[str]:
        return [entry["transactionStatusName"] for entry in self.status(ref)["transactionStatuses"]]


@pytest.fixture
def world() -> World:
    return World()


# The customer


def test_a_customer_pays_a_sale(world: World) -> None:
    ref = world.create()
    world.sandbox.click(ref)
    world.sandbox.click(ref)
    world.sandbox.pay(ref)
    assert world.steps(ref)[2:] == ["PAYMENT_LINK_CLICKED", "PAYMENT_STATUS_RECEIVED"]
    status = world.status(ref)
    assert status["paymentStatus"] == "SUCCESS"
    assert [each["transactionType"] for each in status["paymentStatuses"]] == [
        "TransactionType.SALE(name=Sale, id=2)"
    ]
    assert world.sandbox.ledger.count("link_clicked") == 1
    assert world.sandbox.ledger.total("paid", "ZAR") == Decimal("199.90")


def test_a_customer_is_declined(world: World) -> None:
    ref = world.create()
    world.sandbox.decline(ref)
    status = world.status(ref)
    assert status["paymentStatus"] == "FAILED"
    assert status["paymentStatuses"][0]["paymentGatewayErrorDecision"] == "PROCESSOR_DECLINED"
    assert world.sandbox.ledger.count("paid") == 0
    with pytest.raises(SandboxError, match="already declined"):
        world.sandbox.pay(ref)


@pytest.mark.parametrize(("verdict", "payment"), [("pay", "SUCCESS"), ("decline", "FAILED")])
def test_review_ends_with_a_payment_or_a_decline(world: World, verdict: str, payment: str) -> None:
    ref = world.create()
    world.sandbox.review(ref)
    status = world.status(ref)
    assert status["paymentStatus"] == "REVIEW"
    assert status["paymentStatuses"][0]["paymentGatewayDecision"] == "REVIEW"
    getattr(world.sandbox, verdict)(ref)
    assert world.status(ref)["paymentStatus"] == payment


def test_review_is_reversed_automatically_on_request(world: World) -> None:
    ref = world.create(extra=',"paymentReviewAutoReversal":true')
    world.sandbox.review(ref)
    status = world.status(ref)
    assert status["paymentStatus"] == "REVERSED"
    assert [each["paymentGatewayDecision"] for each in status["paymentStatuses"]] == [
        "REVIEW",
        "ACCEPT",
    ]
    assert world.sandbox.ledger.total("reversed", "ZAR") == Decimal("199.90")


@pytest.mark.parametrize("play", ["click", "pay", "decline", "review", "expire"])
def test_nobody_can_use_a_cancelled_link(world: World, play: str) -> None:
    ref = world.create()
    world.call("cancel_payment_link", ref)
    before = world.status(ref)
    with pytest.raises(SandboxError, match="already cancelled"):
        getattr(world.sandbox, play)(ref)
    assert world.status(ref) == before


@pytest.mark.parametrize(
    "play",
    [
        "click",
        "pay",
        "decline",
        "review",
        "expire",
        "decline_capture",
        "decline_reverse",
        "fail_receipt",
    ],
)
def test_action_on_an_unknown_link_is_refused(world: World, play: str) -> None:
    with pytest.raises(UnknownReferenceError, match="transaction reference nobody"):
        getattr(world.sandbox, play)("nobody")


@pytest.mark.parametrize("play", ["pay", "decline", "review", "click", "expire"])
def test_a_link_is_used_once(world: World, play: str) -> None:
    ref = world.create()
    world.sandbox.pay(ref)
    with pytest.raises(SandboxError, match="already"):
        getattr(world.sandbox, play)(ref)
    assert not world.sandbox.ledger.twice("paid")


def test_an_order_leads_to_its_latest_link(world: World) -> None:
    world.create()
    second = world.create()
    assert world.sandbox.ref_of("A-1") == second
    with pytest.raises(UnknownReferenceError, match="order number B"):
        world.sandbox.ref_of("B")


def test_a_seed_makes_references_repeatable() -> None:
    worlds = World(), World()
    for world in worlds:
        world.sandbox = Sandbox(clock=lambda: START, seed=7)
    first, second = (world.create() for world in worlds)
    assert first == second


def test_the_key_is_not_in_the_repr() -> None:
    assert repr(Sandbox("secret")) == "Sandbox(url='https://sandbox.invalid')"


def test_default_clock_is_the_current_time() -> None:
    before = datetime.now(UTC)
    assert before <= Sandbox().now() <= datetime.now(UTC)


# Expiry


def test_a_link_that_nobody_opens_expires(world: World) -> None:
    ref = world.create()
    world.now += timedelta(minutes=5) - timedelta(milliseconds=1)
    assert world.steps(ref)[-1] == "PAYMENT_LINK_SENT"
    world.now += timedelta(minutes=60)
    last = world.status(ref)["transactionStatuses"][-1]
    assert last["transactionStatusName"] == "PAYMENT_URL_EXPIRED"
    assert last["created"] == "2026-03-01T12:05:00.000+0000"
    with pytest.raises(SandboxError, match="expired"):
        world.sandbox.pay(ref)
    status, body = world.call("cancel_payment_link", ref)
    assert (status, body["errors"]) == (400, ["Payment link has expired"])


def test_an_opened_page_lives_on_and_expires_later(world: World) -> None:
    ref = world.create()
    world.now += timedelta(minutes=4)
    world.sandbox.click(ref)
    world.now += timedelta(minutes=14)
    assert world.steps(ref)[-1] == "PAYMENT_LINK_CLICKED"
    world.now += timedelta(minutes=1)
    last = world.status(ref)["transactionStatuses"][-1]
    assert last["transactionStatusName"] == "PAYMENT_URL_EXPIRED"
    assert last["created"] == "2026-03-01T12:19:00.000+0000"


def test_a_paid_link_does_not_expire(world: World) -> None:
    ref = world.create()
    world.sandbox.pay(ref)
    world.now += timedelta(days=1)
    assert world.steps(ref)[-1] == "PAYMENT_STATUS_RECEIVED"


def test_a_link_expires_only_once(world: World) -> None:
    ref = world.create()
    world.sandbox.expire(ref)
    with pytest.raises(SandboxError, match="already expired"):
        world.sandbox.expire(ref)


def test_lifetimes_may_be_chosen(world: World) -> None:
    world.sandbox = Sandbox(
        clock=lambda: world.now, link_ttl=timedelta(minutes=60), page_ttl=timedelta(minutes=90)
    )
    ref = world.create()
    world.now += timedelta(minutes=59)
    world.sandbox.click(ref)
    world.now += timedelta(minutes=89)
    world.sandbox.pay(ref)


# The ledger


def test_a_ledger_is_a_snapshot(world: World) -> None:
    before = world.sandbox.ledger
    first = world.create("A-1", "authorization")
    world.sandbox.pay(first)
    between = world.sandbox.ledger
    world.call("capture_payment", first, amount="0.10")
    world.create("A-2")
    world.create("A-2")
    after = world.sandbox.ledger
    assert [len(each) for each in (before, between, after)] == [0, 4, 9]
    assert (before.counts, before.totals, before.effects) == ({}, {}, ())
    assert before.total("paid", "ZAR") == between.total("captured", "ZAR") == 0
    assert between.count("captured") == 0
    assert between.count("link_created", order_number="A-2") == 0
    assert between.totals == {"link_created": {"ZAR": Decimal("199.90")}} | {
        "paid": {"ZAR": Decimal("199.90")}
    }
    assert after.total("captured", "ZAR") == Decimal("0.10")
    assert after.total("link_created", "ZAR") == Decimal("599.70")
    assert after.twice("link_created") == after.twice("message_sent") == ("A-2",)
    assert after.twice("captured") == between.twice("link_created") == ()
    assert repr(between) == "Ledger(link_created=1, link_clicked=1, message_sent=1, paid=1)"


def test_effects_are_counted_by_order_and_by_link(world: World) -> None:
    first, second = world.create(), world.create()
    ledger = world.sandbox.ledger
    assert ledger.count("link_created", order_number="A-1") == 2
    assert ledger.count("link_created", payment_link_ref=first) == 1
    assert ledger.count("link_created", order_number="A-1", payment_link_ref=second) == 1
    assert ledger.count("link_created", order_number="B", payment_link_ref=second) == 0
    assert ledger.count("link_created", order_number="B") == 0
    assert ledger.count("link_created", payment_link_ref="B") == 0
    assert ledger.effects[0] == Effect(
        "link_created", "A-1", first, Decimal("199.90"), "ZAR", START
    )


def test_a_misspelt_kind_is_an_error_and_not_a_zero(world: World) -> None:
    ledger: Any = world.sandbox.ledger
    for question in (ledger.count, ledger.twice, lambda kind: ledger.total(kind, "ZAR")):
        with pytest.raises(ValueError, match="'capture' is not a kind of effect"):
            question("capture")


def test_requests_are_counted_by_operation_and_status(world: World) -> None:
    ref = world.create()
    world.call("capture_payment", ref)
    world.call("capture_payment", "nobody")
    ledger = world.sandbox.ledger
    assert ledger.requests == {
        ("create_payment_link", 201): 1,
        ("capture_payment", 400): 1,
        ("capture_payment", 404): 1,
    }
    assert ledger.answered() == 3
    assert ledger.answered("capture_payment") == 2
    assert ledger.answered("capture_payment", 404) == ledger.answered(status=201) == 1


def test_sums_are_exact_over_many_digits() -> None:
    log = Log()
    amounts = Decimal("1" + "0" * 30), Decimal("0.000000000000000000001")
    for amount in amounts:
        log.append(Effect("paid", "A", "R", amount, "ZAR", START))
    total = "1000000000000000000000000000000.000000000000000000001"
    assert str(log.snapshot().total("paid", "ZAR")) == total


def test_there_are_eight_operations() -> None:
    assert len(OPERATIONS) == 8
    assert len(set(EFFECT_KINDS)) == len(EFFECT_KINDS)


# Over HTTP


async def send(
    world: World, method: str, path: str, client: tuple[str, int] = ("127.0.0.1", 1)
) -> tuple[int, Any]:
    transport = httpx.ASGITransport(app=world.sandbox.app, client=client)
    request = httpx.Request(method, f"http://localhost/sandbox/{path}")
    response = await transport.handle_async_request(request)
    body = json.loads(await response.aread(), parse_float=Decimal)
    return response.status_code, body


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("play", "stage"),
    [
        ("click", "CLICKED"),
        ("pay", "AUTHORIZED"),
        ("decline", "DECLINED"),
        ("review", "IN_REVIEW"),
        ("expire", "EXPIRED"),
    ],
)
async def test_actions_of_the_customer_work_over_http(world: World, play: str, stage: str) -> None:
    ref = world.create(kind="authorization")
    assert await send(world, "POST", f"links/{ref}/{play}") == (200, {"message": "Done"})
    assert await send(world, "GET", "links") == (
        200,
        {
            "links": [
                {
                    "paymentLinkRef": ref,
                    "orderNumber": "A-1",
                    "stage": stage,
                    "totalAmount": Decimal("199.90"),
                    "currency": "ZAR",
                    "paymentStatus": world.status(ref)["paymentStatus"],
                    "transactionStatus": world.steps(ref)[-1],
                }
            ]
        },
    )


@pytest.mark.anyio
async def test_actions_of_the_gateway_work_over_http(world: World) -> None:
    assert (await send(world, "POST", "orders/A%2F1/fail-delivery"))[0] == 200
    ref = world.create("A/1", "authorization")
    world.sandbox.pay(ref)
    for play in ("decline-capture", "decline-reverse", "fail-receipt"):
        assert (await send(world, "POST", f"links/{ref}/{play}"))[0] == 200
    world.call("capture_payment", ref)
    world.call("reverse_payment", ref)
    body = f'{{"paymentLinkRef":"{ref}","receiptLink":"x","timestamp":"2026-03-01T12:00:00Z"}}'
    assert world.call("create_receipt", body=body)[0] == 400
    counts = world.sandbox.ledger.counts
    for kind in ("message_failed", "capture_declined", "reverse_declined", "receipt_failed"):
        assert counts[kind] == 1


@pytest.mark.anyio
async def test_impossible_action_is_a_404_or_a_409(world: World) -> None:
    ref = world.create()
    world.sandbox.pay(ref)
    assert await send(world, "POST", f"links/{ref}/pay") == (
        409,
        {"message": "Payment is already made"},
    )
    assert await send(world, "POST", "links/no%2Fbody/pay") == (
        404,
        {"message": "There is no such transaction with transaction reference no/body"},
    )
    assert (await send(world, "POST", f"links/{ref}/steal"))[0] == 404
    assert (await send(world, "GET", f"links/{ref}/pay"))[0] == 405


@pytest.mark.anyio
async def test_the_ledger_is_read_over_http(world: World) -> None:
    first, _ = world.create(), world.create()
    status, body = await send(world, "GET", "ledger")
    assert (status, body) == (
        200,
        {
            "counts": {"link_created": 2, "message_sent": 2},
            "totals": {"link_created": {"ZAR": Decimal("399.80")}},
            "twice": {"link_created": ["A-1"], "message_sent": ["A-1"]},
            "requests": {"create_payment_link": {"201": 2}},
            "faults": {},
        },
    )
    _, body = await send(world, "GET", "ledger?effects=1")
    assert len(body["effects"]) == 4
    assert body["effects"][0] == {
        "kind": "link_created",
        "orderNumber": "A-1",
        "paymentLinkRef": first,
        "amount": Decimal("199.90"),
        "currency": "ZAR",
        "at": "2026-03-01T12:00:00.000+0000",
    }
    assert "effects" not in (await send(world, "GET", "ledger?effects=0"))[1]


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["ledger", "links"])
async def test_the_controls_are_for_the_same_machine_only(world: World, path: str) -> None:
    assert (await send(world, "GET", path, ("192.0.2.1", 1)))[0] == 403
    assert (await send(world, "GET", path, ("::1", 1)))[0] == 200
