"""Deliveries that are repeated have one key, and those that are shuffled an order."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posted import CONFIGURATION, PAYMENT, TRANSACTION, payment, posted, transaction

from chat2pay_async import PaymentStatus, Transaction
from chat2pay_async._api.codec import structure
from chat2pay_async.callbacks import (
    Callback,
    PaymentStatusCallback,
    parse,
    progress,
)

# Repeated -----------------------------------------------------------------------------------------


def key(body: bytes | str) -> str:
    return parse(body).deduplication_key


@given(st.permutations(list(PAYMENT)), st.sampled_from([None, 2]))
def test_each_delivery_of_a_callback_has_the_same_key(names: list[str], indent: int | None) -> None:
    again = json.dumps({name: PAYMENT[name] for name in names}, indent=indent)
    assert key(again) == key(posted(PAYMENT))


def test_an_amount_is_the_same_however_many_zeros_it_has() -> None:
    more = posted(PAYMENT).replace(b"199.9", b"199.90")
    assert more != posted(PAYMENT)
    assert key(more) == key(posted(PAYMENT))


@pytest.mark.parametrize(
    "change",
    [
        {"paymentStatus": "FAILED"},
        {"paymentLinkRef": "ref-2"},
        {"totalAmount": 199.91},
        {"to": "27831234568"},
        {"deliveredAs": "something new"},
        {"paymentGatewayReqReferenceNumber": "step-2"},
    ],
)
def test_another_callback_has_another_key(change: dict[str, Any]) -> None:
    assert key(payment(**change)) != key(posted(PAYMENT))


def test_the_key_of_the_account_counts() -> None:
    assert key(posted({**CONFIGURATION, "apiKey": "older-key"})) != key(posted(CONFIGURATION))


def test_whoever_posts_a_key_of_his_own_has_none() -> None:
    callback = parse(payment(deduplicationKey="mine"))
    assert len(callback.deduplication_key) == 32
    assert callback.extra == {"deduplicationKey": "mine"}


def test_a_key_depends_on_what_was_posted_and_not_on_what_this_version_reads_of_it() -> None:
    assert key('{"orderNumber": "A-1"}') == "2582f0421d3dd668f30ea321f6afbf7d"


# Shuffled -----------------------------------------------------------------------------------------


def gateway(kind: str, decision: str) -> dict[str, Any]:
    return {"transactionType": kind, "paymentGatewayDecision": decision}


def record(*statuses: str, paid: str = "PENDING", entries: Any = ()) -> bytes:
    histories = {"paymentStatus": paid, "paymentStatuses": list(entries)}
    return transaction(*statuses, transactionType="authorization", **histories)


MADE, SENT, CLICKED = "PAYMENT_LINK_REQUEST_RECEIVED", "PAYMENT_LINK_SENT", "PAYMENT_LINK_CLICKED"
AUTHORIZED = gateway("Authorization", "ACCEPT")
LIFE = (
    record(MADE),
    record(MADE, SENT),
    record(MADE, SENT, "PAYMENT_LINK_DELIVERED"),
    record(MADE, SENT, "PAYMENT_LINK_DELIVERED", CLICKED),
    record(MADE, SENT, CLICKED, paid="REVIEW"),
    payment(paymentStatus="FAILED"),
    payment(paymentStatus="SUCCESS", transactionType="Authorization"),
    record(MADE, SENT, CLICKED, paid="SUCCESS", entries=[AUTHORIZED]),
    payment(paymentStatus="FAILED", transactionType="Capture"),
    payment(paymentStatus="SUCCESS", transactionType="Capture"),
    record(MADE, SENT, CLICKED, paid="FAILED", entries=[AUTHORIZED, gateway("Capture", "ACCEPT")]),
    payment(paymentStatus="VOIDED"),
)


def test_a_link_goes_on_through_its_life() -> None:
    marks = [progress(parse(body)) for body in LIFE]
    assert marks == sorted(set(marks))


@given(st.permutations(LIFE * 2))
def test_whatever_the_order_of_deliveries_the_last_state_is_the_last(bodies: list[bytes]) -> None:
    kept, mark = b"", -1
    for body in bodies:
        if progress(parse(body)) > mark:
            kept, mark = body, progress(parse(body))
    assert kept == LIFE[-1]


@pytest.mark.parametrize("status", ["PAYMENT_URL_EXPIRED", "Payment Link Cancelled"])
def test_a_payment_counts_for_more_than_a_link_that_ended(status: str) -> None:
    ended = parse(record(MADE, SENT, status))
    assert progress(parse(record(MADE, SENT, CLICKED))) < progress(ended)
    assert progress(ended) < progress(parse(payment(paymentStatus="FAILED")))


@pytest.mark.parametrize("statuses", list(itertools.permutations(["SUCCESS", "FAILED", "PENDING"])))
def test_a_decline_before_a_success_does_not_undo_it(statuses: tuple[str, ...]) -> None:
    found = [parse(payment(paymentStatus=status)) for status in statuses]
    latest = max(found, key=progress)
    assert isinstance(latest, PaymentStatusCallback)
    assert latest.payment_status is PaymentStatus.SUCCESS


def test_a_confirmed_transaction_has_its_place_too() -> None:
    fields = json.loads(LIFE[7])
    assert progress(structure(Transaction, fields)) == progress(parse(LIFE[7]))


def test_a_status_without_its_history_counts_as_well() -> None:
    flat = posted({"orderNumber": "A-1", "transactionStatus": CLICKED})
    assert progress(parse(record(MADE, SENT))) < progress(parse(flat))


def test_a_payment_that_the_gateway_has_not_decided_is_no_new_link() -> None:
    pending = record(MADE, entries=[gateway("Sale", "PENDING")])
    assert progress(parse(record(MADE, SENT, CLICKED))) < progress(parse(pending))
    assert progress(parse(record(MADE))) < progress(parse(payment(paymentStatus="PENDING")))


@pytest.mark.parametrize(
    "callback",
    [
        parse(posted(CONFIGURATION)),
        parse("{}"),
        parse(posted({**TRANSACTION, "transactionStatuses": [], "transactionStatus": "NEW"})),
        parse(payment(paymentStatus="NEW")),
    ],
)
def test_what_tells_nothing_of_a_link_comes_first(callback: Callback) -> None:
    assert progress(callback) == 0
