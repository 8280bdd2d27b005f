"""Requests that are applied after their client gave up, and look-ups that lag behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from chat2pay_async.sandbox import (
    FaultPlan,
    InjectedFault,
    Sandbox,
    SandboxError,
    UnknownReferenceError,
)
from chat2pay_async.sandbox._faults.replies import Delivery
from chat2pay_async.sandbox._service.service import ApiRequest

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class World:
    """A sandbox whose operations are called directly, and its clock."""

    def __init__(self) -> None:
        self.now = START
        self.sandbox = Sandbox(clock=lambda: self.now, seed=1)

    def call(
        self,
        operation: str,
        ref: str = "",
        body: str = "",
        fault: InjectedFault | None = None,
        **query: str,
    ) -> Delivery:
        if fault is not None:
            self.sandbox.next_faults(operation, [fault])
        key = self.sandbox.api_key
        call = ApiRequest(operation, key, "/", ref=ref, query=query, body=body.encode())
        return self.sandbox.exchange(call)

    def create(self, number: str = "A-1", fault: InjectedFault | None = None) -> Delivery:
        body = (
            '{"channel":"sms","to":"27831234567","currency":"ZAR","totalAmount":199.90,'
            f'"timestamp":"2026-03-01T12:00:00Z","orderNumber":"{number}",'
            '"transactionType":"authorization"}'
        )
        return self.call("create_payment_link", body=body, fault=fault)

    def authorize(self) -> str:
        self.create()
        ref = self.sandbox.ref_of("A-1")
        self.sandbox.pay(ref)
        return ref

    def receipt(self, ref: str, fault: InjectedFault | None = None) -> Delivery:
        body = (
            f'{{"paymentLinkRef":"{ref}","receiptLink":"https://shop.example",'
            '"timestamp":"2026-03-01T12:00:00Z"}'
        )
        return self.call("create_receipt", body=body, fault=fault)

    def look_up(self, **query: str) -> tuple[int, Any]:
        key = self.sandbox.api_key
        reply = self.sandbox.exchange(ApiRequest("get_transaction", key, "/", query=query)).reply
        assert reply is not None
        return reply.status, json.loads(reply.content)

    def status(self, ref: str) -> Any:
        status, body = self.look_up(paymentLinkRef=ref)
        assert status == 200
        return body

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def count(self, kind: Any) -> int:
        return self.sandbox.ledger.count(kind)


@pytest.fixture
def world() -> World:
    return World()


def late(seconds: float, form: str = "drop") -> InjectedFault:
    return InjectedFault("apply_late", form=form, seconds=(seconds, seconds))


def lag(seconds: float) -> InjectedFault:
    return InjectedFault("lag", seconds=(seconds, seconds))


# Applied late


@pytest.mark.parametrize(
    ("form", "status", "end", "delay"),
    [
        ("drop", None, "drop", 0),
        ("reset", None, "reset", 0),
        ("silence", None, "drop", 300),
        ("502", 502, "whole", 0),
        ("504", 504, "whole", 0),
    ],
)
def test_a_request_is_applied_after_its_client_gave_up(
    world: World, form: str, status: int | None, end: str, delay: float
) -> None:
    delivery = world.create(fault=late(5, form))
    assert (delivery.reply and delivery.reply.status) == status
    assert (delivery.end, delivery.delay) == (end, delay)
    world.wait(4.9)
    assert world.count("link_created") == 0
    world.wait(0.1)
    ledger = world.sandbox.ledger
    assert ledger.count("link_created") == 1
    assert ledger.effects[0].at == START + timedelta(seconds=5)
    assert ledger.faults == {("create_payment_link", "apply_late"): 1}
    assert ledger.answered() == (status is not None)


def test_late_request_is_applied_at_its_due_time_however_late_it_is_looked_up(world: World) -> None:
    world.create(fault=late(5))
    world.wait(60)
    assert world.look_up(orderNumber="A-1")[1]["transactionStatuses"][0]["created"] == (
        "2026-03-01T12:00:05.000+0000"
    )


def test_late_requests_are_applied_in_the_order_of_their_times(world: World) -> None:
    world.create("A-2", late(7))
    world.create("A-1", late(5))
    world.create("A-3", late(7))
    world.wait(60)
    orders = [e.order_number for e in world.sandbox.ledger.effects if e.kind == "link_created"]
    assert orders == ["A-1", "A-2", "A-3"]


READERS: list[Callable[[World], object]] = [
    lambda world: world.sandbox.ledger.effects,
    lambda world: world.sandbox.links(),
    lambda world: world.sandbox.ref_of("A-1"),
    lambda world: world.sandbox.now(),
    lambda world: world.look_up(orderNumber="A-1"),
    lambda world: world.sandbox.set_faults(None),
    lambda world: world.sandbox.fail_delivery("A-1"),
]


@pytest.mark.parametrize("read", READERS)
def test_every_reader_and_writer_finds_a_due_request_applied(
    world: World, read: Callable[[World], object]
) -> None:
    world.create(fault=late(5))
    world.wait(5)
    read(world)
    # With the clock set back, nothing further becomes due.
    world.wait(-5)
    assert world.sandbox.ledger.count("message_sent") == 1


def test_late_capture_of_a_captured_payment_has_no_effect(world: World) -> None:
    ref = world.authorize()
    world.call("capture_payment", ref, fault=late(5))
    world.call("capture_payment", ref)
    world.wait(5)
    assert world.count("captured") == 1
    assert len(world.status(ref)["paymentStatuses"]) == 2


def test_customer_cannot_pay_after_a_late_cancellation(world: World) -> None:
    world.create()
    ref = world.sandbox.ref_of("A-1")
    world.call("cancel_payment_link", ref, fault=late(5))
    world.wait(5)
    with pytest.raises(SandboxError, match="already cancelled"):
        world.sandbox.pay(ref)
    assert world.count("link_cancelled") == 1


def test_a_late_request_with_a_wrong_key_has_no_effect(world: World) -> None:
    world.sandbox.next_faults("capture_payment", [late(1)])
    world.sandbox.exchange(ApiRequest("capture_payment", "wrong", "/", ref=world.authorize()))
    world.wait(1)
    assert world.count("captured") == 0


def test_apply_late_applies_every_late_request(world: World) -> None:
    assert world.sandbox.apply_late() == 0
    for order, seconds in (("A-1", 5), ("A-2", 50), ("A-3", 20)):
        world.create(order, late(seconds))
    world.wait(5)
    assert world.sandbox.apply_late() == 2
    assert world.count("link_created") == 3
    # Time does not go back from there, and goes on when the clock has come that far.
    assert world.sandbox.now() == START + timedelta(seconds=50)
    world.wait(46)
    assert world.sandbox.now() == START + timedelta(seconds=51)
    assert world.sandbox.apply_late() == 0


def test_late_requests_outlive_their_plan(world: World) -> None:
    world.sandbox.faults = FaultPlan((late(5),), clock_offset=100)
    world.create()
    world.sandbox.faults = None
    world.wait(5)
    assert world.sandbox.ledger.effects[0].at == START + timedelta(seconds=5)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_late_request_is_applied_on_virtual_time() -> None:
    origin = anyio.current_time()
    sandbox = Sandbox(clock=lambda: START + timedelta(seconds=anyio.current_time() - origin))
    sandbox.next_faults("create_payment_link", [late(20, "silence")])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=sandbox.app), base_url="http://localhost"
    ) as client:
        with anyio.move_on_after(10):
            await client.post(
                "/api/v2/chat-2-pay",
                headers={"Authorization": sandbox.api_key},
                content=(
                    '{"channel":"none","to":"1","currency":"ZAR","totalAmount":1,'
                    '"timestamp":"2026-03-01T12:00:00Z","orderNumber":"A-1"}'
                ),
            )
    assert sandbox.ledger.count("link_created") == 0
    await anyio.sleep(10)
    assert sandbox.ledger.count("link_created") == 1


# Look-ups that lag


def test_new_transaction_is_not_found_during_its_lag(world: World) -> None:
    world.create(fault=lag(5))
    ref = world.sandbox.ref_of("A-1")
    for query, name in (({"orderNumber": "A-1"}, "A-1"), ({"paymentLinkRef": ref}, ref)):
        status, body = world.look_up(**query)
        assert status == 404
        assert body["errors"][0].startswith("There is no such transaction")
        assert name in body["errors"][0]
    world.wait(5)
    assert world.look_up(orderNumber="A-1")[1]["paymentLinkRef"] == ref
    assert world.sandbox.ledger.faults == {("create_payment_link", "lag"): 1}


def test_order_leads_to_its_earlier_transaction_during_a_lag(world: World) -> None:
    world.create()
    first = world.sandbox.ref_of("A-1")
    world.create(fault=lag(9))
    world.create(fault=lag(5))
    third = world.sandbox.ref_of("A-1")
    assert world.look_up(orderNumber="A-1")[1]["paymentLinkRef"] == first
    world.wait(5)
    assert world.look_up(orderNumber="A-1")[1]["paymentLinkRef"] == third


def test_every_field_stays_as_before_during_a_lag(world: World) -> None:
    ref = world.authorize()
    before = world.status(ref)
    world.call("capture_payment", ref, fault=lag(5))
    assert world.status(ref) == before
    world.wait(5)
    after = world.status(ref)
    assert [e["transactionType"][:23] for e in after["paymentStatuses"]][1:] == [
        "TransactionType.CAPTURE"
    ]
    world.call("reverse_payment", ref, fault=lag(5))
    assert world.status(ref) == after
    world.wait(5)
    assert len(world.status(ref)["paymentStatuses"]) == 3


def test_receipt_is_not_shown_during_its_lag(world: World) -> None:
    ref = world.authorize()
    world.receipt(ref)
    first = world.status(ref)["receiptLinkRef"]
    world.receipt(ref, lag(5))
    assert world.status(ref)["receiptLinkRef"] == first
    world.wait(5)
    second = world.status(ref)["receiptLinkRef"]
    assert world.look_up(receiptLinkRef=second)[0] == 200
    world.receipt(ref, lag(5))
    world.wait(5)
    third = world.status(ref)["receiptLinkRef"]
    assert len({first, second, third}) == 3


def test_receipt_reference_is_not_found_during_its_lag(world: World) -> None:
    ref = world.authorize()
    delivery = world.receipt(ref, lag(5))
    assert delivery.reply is not None
    receipt_ref = delivery.reply.content.decode().split('"')[3]
    status, body = world.look_up(receiptLinkRef=receipt_ref)
    assert (status, body["errors"][0]) == (
        404,
        f"There is no such transaction with receipt reference {receipt_ref}",
    )
    world.wait(5)
    assert world.look_up(receiptLinkRef=receipt_ref)[0] == 200


def test_cancellation_is_not_shown_during_its_lag(world: World) -> None:
    world.create()
    ref = world.sandbox.ref_of("A-1")
    world.call("cancel_payment_link", ref, fault=lag(5))
    assert len(world.status(ref)["transactionStatuses"]) == 2
    # What is true is another matter: only look-ups lag.
    with pytest.raises(SandboxError, match="already cancelled"):
        world.sandbox.click(ref)
    delivery = world.call("cancel_payment_link", ref)
    assert delivery.reply is not None
    assert delivery.reply.status == 400
    world.wait(5)
    assert len(world.status(ref)["transactionStatuses"]) == 3


def test_actions_of_the_customer_may_lag(world: World) -> None:
    world.create()
    ref = world.sandbox.ref_of("A-1")
    world.sandbox.next_faults("customer", [lag(5)])
    world.sandbox.pay(ref)
    assert world.status(ref)["paymentStatus"] == "PENDING"
    world.wait(5)
    assert world.status(ref)["paymentStatus"] == "SUCCESS"
    assert world.sandbox.ledger.faults == {("customer", "lag"): 1}


def test_changes_show_one_after_the_other(world: World) -> None:
    ref = world.authorize()
    world.call("capture_payment", ref, fault=lag(5))
    world.wait(1)
    world.call("reverse_payment", ref, fault=lag(9))
    assert len(world.status(ref)["paymentStatuses"]) == 1
    world.wait(4)
    assert len(world.status(ref)["paymentStatuses"]) == 2
    world.wait(5)
    assert len(world.status(ref)["paymentStatuses"]) == 3


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_change_that_shows_shows_those_before_it_too(world: World, seconds: float) -> None:
    ref = world.authorize()
    world.call("capture_payment", ref, fault=lag(5))
    world.call("reverse_payment", ref, fault=lag(seconds))
    world.wait(1)
    assert len(world.status(ref)["paymentStatuses"]) == 3
    world.wait(10)
    assert len(world.status(ref)["paymentStatuses"]) == 3


def test_a_link_that_was_paid_in_time_does_not_show_as_expired(world: World) -> None:
    world.create()
    ref = world.sandbox.ref_of("A-1")
    world.wait(299)
    world.sandbox.next_faults("customer", [lag(5)])
    world.sandbox.pay(ref)
    world.wait(2)
    names = [e["transactionStatusName"] for e in world.status(ref)["transactionStatuses"]]
    assert names == ["PAYMENT_LINK_REQUEST_RECEIVED", "PAYMENT_LINK_SENT"]


def test_a_lag_goes_with_another_fault_of_the_same_request(world: World) -> None:
    world.sandbox.next_faults("create_payment_link", ["lag", "drop_after"])
    assert world.create().end == "drop"
    assert world.look_up(orderNumber="A-1")[0] == 404
    assert world.sandbox.ledger.faulted("create_payment_link") == 2


def test_a_refused_request_changes_nothing_that_could_lag(world: World) -> None:
    world.sandbox.faults = FaultPlan((InjectedFault("lag"),))
    world.call("cancel_payment_link", "nobody")
    assert not world.sandbox.ledger.faults


def test_a_lag_is_from_the_time_when_a_late_request_was_applied(world: World) -> None:
    world.sandbox.next_faults("create_payment_link", [late(5), lag(5)])
    world.create()
    world.wait(9)
    assert world.count("link_created") == 1
    assert world.look_up(orderNumber="A-1")[0] == 404
    world.wait(1)
    assert world.look_up(orderNumber="A-1")[0] == 200


def test_a_lag_ends_in_time_whatever_becomes_of_the_services_clock(world: World) -> None:
    world.sandbox.faults = FaultPlan((lag(5),), clock_offset=1000)
    world.create()
    world.sandbox.faults = FaultPlan(clock_offset=-1000)
    assert world.look_up(orderNumber="A-1")[0] == 404
    world.wait(5)
    assert world.look_up(orderNumber="A-1")[0] == 200


def test_the_store_forgets_how_to_hide_changes_that_are_shown(world: World) -> None:
    world.sandbox.faults = FaultPlan((lag(5),))
    for number in range(10):
        world.create(f"A-{number}")
    store = world.sandbox._service.store
    assert len(store._hidden) == len(store._due) == 10
    world.wait(5)
    world.look_up(orderNumber="A-1")
    assert not store._hidden
    assert not store._due


def test_unknown_receipt_and_order_are_not_found(world: World) -> None:
    assert world.look_up(receiptLinkRef="x")[1]["errors"] == [
        "There is no such transaction with receipt reference x"
    ]
    with pytest.raises(UnknownReferenceError):
        world.sandbox.ref_of("A-1")
