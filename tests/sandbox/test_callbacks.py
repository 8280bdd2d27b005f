"""The callbacks of the sandbox: which are made, when each is due, and what becomes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chat2pay_async import callbacks as reading
from chat2pay_async.sandbox import CALLBACK_KINDS, Callbacks, Sandbox, SandboxCallback, SandboxError
from chat2pay_async.sandbox._service.service import ApiRequest

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHOP, OTHER = "http://shop.example/hook", "https://other.example/hook"


def second(number: float) -> datetime:
    return START + timedelta(seconds=number)


def made(at: float = 0, name: str = "A-1") -> SandboxCallback:
    return SandboxCallback("payment_status", name, "r-1", b"{}", second(at))


# The queue


@pytest.mark.parametrize("url", ["", "shop.example", "ftp://shop.example", "http://", "/hook"])
def test_a_url_that_nothing_can_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(SandboxError, match="is not a URL that callbacks can be posted to"):
        Callbacks().send_to(url)


def test_an_unknown_kind_is_refused() -> None:
    callbacks: Any = Callbacks()
    with pytest.raises(SandboxError, match="'paid' is not a kind of callback; there are trans"):
        callbacks.send_to(SHOP, "paid")
    assert callbacks.urls == {}


def test_each_kind_may_have_urls_of_its_own() -> None:
    callbacks = Callbacks()
    callbacks.send_to(SHOP)
    callbacks.send_to(OTHER, "payment_status")
    callbacks.send_to(SHOP, "payment_status")
    assert callbacks.urls == {
        "transaction_status": (SHOP,),
        "payment_status": (OTHER, SHOP),
        "configuration": (SHOP,),
    }
    callbacks.add(made())
    assert [posting.url for posting in callbacks.take(START)] == [OTHER, SHOP]


def test_callbacks_are_due_at_their_time_and_in_order() -> None:
    callbacks = Callbacks()
    callbacks.send_to(SHOP)
    for at, name in ((2, "C"), (0, "A"), (0, "B")):
        callbacks.add(made(at, name))
    assert [posting.callback.order_number for posting in callbacks.take(second(1))] == ["A", "B"]
    assert callbacks.pending == 3
    assert [posting.callback.order_number for posting in callbacks.take(second(2))] == ["C"]
    assert callbacks.take(second(99)) == []


def test_what_is_not_answered_with_200_is_delivered_again_ever_later() -> None:
    callbacks, now, delays = Callbacks(), 0.0, []
    callbacks.send_to(SHOP)
    callbacks.add(made())
    for attempt in range(1, 13):
        (posting,) = callbacks.take(second(now))
        assert posting.attempt == attempt
        status, error = (None, "ConnectError") if attempt % 2 else (202, "")
        callbacks.ended(posting, status, error, second(now))
        assert callbacks.take(second(now + 0.999)) == []
        delay = next(d for d in range(1, 400) if callbacks._waiting[0][0] <= second(now + d))
        delays.append(delay)
        now += delay
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    (posting,) = callbacks.take(second(now))
    callbacks.ended(posting, 200, "", second(now))
    assert callbacks.pending == 0
    deliveries = callbacks.deliveries
    assert [each.status for each in deliveries] == [None, 202] * 6 + [200]
    assert [each.error for each in deliveries[:2]] == ["ConnectError", ""]
    assert deliveries[-1].at == second(now)
    assert (deliveries[-1].url, deliveries[-1].callback) == (SHOP, made())


def test_copies_are_delivered_each_by_itself() -> None:
    callbacks = Callbacks()
    callbacks.send_to(SHOP)
    callbacks.copies = 3
    callbacks.add(made())
    postings = callbacks.take(START)
    assert len(postings) == callbacks.pending == 3
    for posting in postings:
        callbacks.ended(posting, 200, "", START)
    assert (callbacks.pending, len(callbacks.made), len(callbacks.deliveries)) == (0, 1, 3)


def test_shuffled_callbacks_come_out_of_order_as_a_seed_says() -> None:
    orders = []
    for seed in (1, 1, 2):
        callbacks = Callbacks(seed)
        callbacks.send_to(SHOP)
        callbacks.shuffle = 5.0
        for number in range(9):
            callbacks.add(made(number / 10, str(number)))
        orders.append("".join(str(p.callback.order_number) for p in callbacks.take(second(6))))
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list("012345678") != list(orders[0])


def test_stopped_callbacks_are_forgotten() -> None:
    callbacks = Callbacks()
    callbacks.send_to(SHOP)
    callbacks.add(made())
    (posting,) = callbacks.take(START)
    callbacks.add(made(1))
    callbacks.stop()
    callbacks.ended(posting, 500, "", START)
    assert (callbacks.urls, callbacks.pending, callbacks.take(second(99))) == ({}, 0, [])


def test_what_was_taken_and_not_posted_is_still_to_come() -> None:
    callbacks = Callbacks()
    callbacks.send_to(SHOP)
    callbacks.add(made())
    taken = callbacks.take(START)
    callbacks.returned(taken, second(1))
    assert callbacks.pending == 1
    assert callbacks.take(second(1)) == taken


def test_waiting_ends_with_the_last_delivery_or_with_an_error() -> None:
    callbacks = Callbacks()
    callbacks.wait(0)
    callbacks.send_to(SHOP)
    callbacks.add(made())
    with pytest.raises(TimeoutError, match="1 callbacks were not delivered in 0 s"):
        callbacks.wait(0)
    (posting,) = callbacks.take(START)
    ends = threading.Timer(0.02, lambda: callbacks.ended(posting, 200, "", START))
    ends.start()
    callbacks.wait()
    assert len(callbacks.deliveries) == 1
    ends.join()


def test_the_repr_of_a_callback_shows_nobody() -> None:
    assert "27831234567" not in repr(
        SandboxCallback("configuration", None, None, b"27831234567", START)
    )


# Which are made


class World:
    """A sandbox with a shop that nothing is posted to, since it is not served."""

    def __init__(self, **settings: Any) -> None:
        self.now = START
        self.sandbox = Sandbox(clock=lambda: self.now, seed=1, **settings)
        self.sandbox.callbacks.send_to(SHOP)

    def call(self, operation: str, ref: str = "", body: str = "", **query: str) -> int:
        request = ApiRequest(operation, self.sandbox.api_key, "/", ref, query, body.encode())
        reply = self.sandbox.exchange(request).reply
        assert reply is not None
        return reply.status

    def create(self, kind: str = "sale", more: str = "") -> str:
        body = (
            '{"channel":"sms","to":"+27831234567","currency":"ZAR","totalAmount":199.90,'
            f'"timestamp":"2026-03-01T12:00:00Z","orderNumber":"A-1","transactionType":"{kind}"'
            f"{more}}}"
        )
        assert self.call("create_payment_link", body=body) == 201
        return self.sandbox.ref_of("A-1")

    def told(self) -> list[str]:
        """Return the callbacks since the last look: the kind of each, and what it says."""
        found = [self.text(callback) for callback in self.sandbox.callbacks.made]
        seen, self._seen = getattr(self, "_seen", 0), len(found)
        return found[seen:]

    @staticmethod
    def text(callback: SandboxCallback) -> str:
        body = json.loads(callback.body)
        match callback.kind:
            case "transaction_status":
                last = body["transactionStatuses"][-1]["transactionStatusName"]
                return f"link {last} {body['paymentStatus']}"
            case "payment_status":
                kind = body["transactionType"].partition("(")[0].partition(".")[2]
                return f"payment {kind} {body['paymentGatewayDecision']} {body['paymentStatus']}"
            case _:
                return "configuration"


PAID = "link PAYMENT_STATUS_RECEIVED"


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (Sandbox.click, ["link PAYMENT_LINK_CLICKED PENDING"]),
        (Sandbox.pay, [f"{PAID} SUCCESS", "payment AUTHORIZATION ACCEPT SUCCESS"]),
        (Sandbox.decline, [f"{PAID} FAILED", "payment AUTHORIZATION DECLINE FAILED"]),
        (Sandbox.review, [f"{PAID} REVIEW", "payment AUTHORIZATION REVIEW REVIEW"]),
        (Sandbox.cancel, ["link PAYMENT_LINK_CANCELLED PENDING"]),
        (Sandbox.expire, ["link PAYMENT_URL_EXPIRED PENDING"]),
        (Sandbox.fail_receipt, []),
    ],
)
def test_each_step_of_a_link_is_told(act: Callable[[Sandbox, str], None], told: list[str]) -> None:
    world = World()
    ref = world.create("authorization")
    assert world.told() == ["link PAYMENT_LINK_SENT PENDING"]
    act(world.sandbox, ref)
    assert world.told() == told
    assert {(c.order_number, c.payment_link_ref) for c in world.sandbox.callbacks.made} == {
        ("A-1", ref)
    }


def test_captures_and_reversals_are_told_and_declined_ones_are_not() -> None:
    world = World()
    ref = world.create("authorization")
    world.sandbox.pay(ref)
    world.told()
    world.sandbox.decline_capture(ref)
    world.sandbox.decline_reverse(ref)
    assert world.call("capture_payment", ref) == 200
    assert world.call("reverse_payment", ref) == 200
    assert world.told() == []
    assert world.call("capture_payment", ref) == 200
    assert world.told() == [f"{PAID} SUCCESS", "payment CAPTURE ACCEPT SUCCESS"]
    assert world.call("reverse_payment", ref) == 200
    assert world.call("reverse_payment", ref) == 200
    assert world.told()[-1] == "payment VOID ACCEPT REVERSED"
    body = f'{{"paymentLinkRef":"{ref}","receiptLink":"x","timestamp":"2026-03-01T12:00:00Z"}}'
    assert world.call("create_receipt", body=body) == 400
    assert world.told() == []


def test_an_automatic_reversal_is_told_after_its_review() -> None:
    world = World()
    world.sandbox.review(world.create(more=',"paymentReviewAutoReversal":true'))
    assert world.told()[1:] == [
        f"{PAID} REVERSED",
        "payment SALE REVIEW REVIEW",
        "payment VOID ACCEPT REVERSED",
    ]


def test_a_link_that_expires_by_the_clock_is_told_once() -> None:
    world = World()
    world.sandbox.fail_receipt(world.create())
    world.sandbox.click(world.create())
    world.sandbox.pay(world.create())
    world.told()
    world.sandbox.advance(299)
    assert world.told() == []
    world.now += timedelta(seconds=1)
    assert world.sandbox.links()
    assert world.told() == ["link PAYMENT_URL_EXPIRED PENDING"]
    world.sandbox.advance(600)
    assert world.told() == ["link PAYMENT_URL_EXPIRED PENDING"]
    world.sandbox.advance(86_400)
    assert world.told() == []


def test_a_change_of_the_configuration_is_told() -> None:
    world = World()
    world.sandbox.change_currencies("USD", "XTS")
    (callback,) = world.sandbox.callbacks.made
    assert (callback.kind, callback.order_number, callback.payment_link_ref) == (
        "configuration",
        None,
        None,
    )
    body = json.loads(callback.body)
    assert [each["iso"] for each in body["supportedCurrencies"]] == ["USD", "XTS"]
    application = body["integrators"][0]["applicationId"]
    update = f'{{"applicationUuid":"{application}","status":"DEACTIVATED"}}'
    assert world.call("update_integration", body=update) == 200
    assert world.told() == ["configuration", "configuration"]


def test_the_client_reads_every_kind() -> None:
    world = World()
    world.sandbox.pay(world.create())
    world.sandbox.change_currencies("USD")
    read = {c.kind: reading.parse(c.body) for c in world.sandbox.callbacks.made}
    assert {kind: type(value).__name__ for kind, value in read.items()} == {
        "transaction_status": "TransactionStatusCallback",
        "payment_status": "PaymentStatusCallback",
        "configuration": "ConfigurationCallback",
    }
    assert set(read) == set(CALLBACK_KINDS)
    payment: Any = read["payment_status"]
    assert (payment.to, payment.order_number, payment.currency) == ("27831234567", "A-1", "ZAR")
    assert payment.total_amount == reading.parse(world.sandbox.callbacks.made[2].body).total_amount  # type: ignore[union-attr]
    assert all(value.extra == {} for value in read.values() if value is not read["configuration"])


def test_nothing_is_made_for_a_kind_that_goes_nowhere() -> None:
    world = World()
    world.sandbox.callbacks.stop()
    world.sandbox.callbacks.send_to(SHOP, "payment_status")
    world.sandbox.pay(world.create())
    world.sandbox.change_currencies("USD")
    assert [callback.kind for callback in world.sandbox.callbacks.made] == ["payment_status"]


def test_callbacks_are_written_in_the_forms_that_were_chosen() -> None:
    world = World()
    world.sandbox.wire_forms = type(world.sandbox.wire_forms)(numbers="strings")
    world.create()
    assert json.loads(world.sandbox.callbacks.made[0].body)["totalAmount"] == "199.90"
