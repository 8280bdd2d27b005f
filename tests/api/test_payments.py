"""The state of a payment is read from its history; what can't be known is None."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async import AsyncChat2Pay
from chat2pay_async.models import (
    PaymentLinkRequest,
    PaymentStatus,
    PaymentStatusEntry,
    Transaction,
    TransactionStatus,
    TransactionStatusEntry,
    TransactionType,
)
from chat2pay_async.sandbox import Sandbox

AUTH, SALE = TransactionType.AUTHORIZATION, TransactionType.SALE
CAPTURE, VOID = TransactionType.CAPTURE, TransactionType.VOID
FLAGS = ("authorized", "captured", "paid", "reversed", "declined", "expired", "cancelled", "open")
SENT = TransactionStatus.PAYMENT_LINK_SENT


def entry(kind: TransactionType | str, amount: str = "100", decision: str = "ACCEPT") -> Any:
    return PaymentStatusEntry(
        transaction_type=kind, total_amount=Decimal(amount), payment_gateway_decision=decision
    )


def record(
    status: PaymentStatus | str | None,
    *entries: Any,
    steps: tuple[TransactionStatus | None, ...] = (SENT,),
    **fields: Any,
) -> Transaction:
    names = tuple(TransactionStatusEntry(transaction_status_name=one) for one in steps)
    return Transaction(
        payment_status=status, payment_statuses=entries, transaction_statuses=names, **fields
    )


def true_of(found: Transaction) -> set[str]:
    return {name for name in FLAGS if getattr(found, f"is_{name}") is True}


def amounts_of(found: Transaction) -> list[Decimal | None]:
    return [found.authorized_amount, found.captured_amount, found.paid_amount]


def unknown_of(found: Transaction) -> set[str]:
    return {name for name in FLAGS if getattr(found, f"is_{name}") is None}


async def after(
    kind: TransactionType,
    act: Callable[[Sandbox, AsyncChat2Pay, str], Any],
    *,
    auto_reversal: bool = False,
) -> Transaction:
    """The record of a link in the sandbox, after an act."""
    sandbox = Sandbox()
    transport = httpx.ASGITransport(app=sandbox.app)
    async with AsyncChat2Pay(api_key=sandbox.api_key, transport=transport) as client:
        link = await client.create_payment_link(
            PaymentLinkRequest(
                channel="sms",
                to="27831234567",
                order_number="A-1",
                currency="ZAR",
                total_amount="100.00",
                transaction_type=kind,
                payment_review_auto_reversal=auto_reversal,
            )
        )
        result = act(sandbox, client, link.payment_link_ref)
        if result is not None:
            await result
        return await client.get_transaction(payment_link_ref=link.payment_link_ref)


async def captured(sandbox: Sandbox, client: AsyncChat2Pay, ref: str) -> None:
    sandbox.pay(ref)
    await client.capture_payment(ref, amount="40.00")


async def declined_capture(sandbox: Sandbox, client: AsyncChat2Pay, ref: str) -> None:
    sandbox.pay(ref)
    sandbox.decline_capture(ref)
    await client.capture_payment(ref)


async def reversed_(sandbox: Sandbox, client: AsyncChat2Pay, ref: str) -> None:
    sandbox.pay(ref)
    await client.reverse_payment(ref)


async def undone_capture(sandbox: Sandbox, client: AsyncChat2Pay, ref: str) -> None:
    await captured(sandbox, client, ref)
    await client.reverse_payment(ref)


@pytest.mark.anyio
@pytest.mark.one_loop
@pytest.mark.parametrize(
    ("kind", "act", "states", "amounts"),
    [
        (AUTH, lambda *_: None, {"open"}, (0, 0, 0)),
        (AUTH, lambda sandbox, _, ref: sandbox.pay(ref), {"authorized"}, (100, 0, 0)),
        (SALE, lambda sandbox, _, ref: sandbox.pay(ref), {"paid"}, (0, 0, 100)),
        (SALE, lambda sandbox, _, ref: sandbox.decline(ref), {"declined"}, (0, 0, 0)),
        (SALE, lambda sandbox, _, ref: sandbox.review(ref), set(), (0, 0, 0)),
        (SALE, lambda sandbox, _, ref: sandbox.expire(ref), {"expired"}, (0, 0, 0)),
        (AUTH, lambda _, client, ref: client.cancel_payment_link(ref), {"cancelled"}, (0, 0, 0)),
        (AUTH, captured, {"captured", "paid"}, (100, 40, 40)),
        (AUTH, declined_capture, {"authorized"}, (100, 0, 0)),
        (AUTH, reversed_, {"reversed"}, (100, 0, 0)),
        (AUTH, undone_capture, {"reversed"}, (100, 0, 0)),
    ],
)
async def test_every_stage_of_a_payment_is_told_apart(
    kind: TransactionType, act: Any, states: set[str], amounts: tuple[int, ...]
) -> None:
    found = await after(kind, act)
    assert true_of(found) == states
    assert unknown_of(found) == set()
    assert amounts_of(found) == list(amounts)


@pytest.mark.anyio
@pytest.mark.one_loop
async def test_a_payment_that_was_reversed_in_review_is_reversed() -> None:
    found = await after(SALE, lambda sandbox, _, ref: sandbox.review(ref), auto_reversal=True)
    assert true_of(found) == {"reversed"}
    assert found.paid_amount == 0


@pytest.mark.parametrize(
    "found",
    [
        Transaction(),
        record(PaymentStatus.UNKNOWN),
        record("SOMETHING_NEW", entry(SALE)),
        record(PaymentStatus.PENDING, entry(SALE)),
        record(PaymentStatus.FAILED, entry(SALE)),
        record(PaymentStatus.SUCCESS, entry(SALE, decision="DECLINE")),
        record(PaymentStatus.SUCCESS, entry("Something new")),
        record(PaymentStatus.SUCCESS, entry(SALE), extra={"paymentStatuses": [7]}),
        record(PaymentStatus.SUCCESS),
    ],
)
def test_nothing_is_claimed_where_the_record_contradicts_itself_or_is_unreadable(
    found: Transaction,
) -> None:
    assert true_of(found) == set()
    assert {"paid", "captured", "authorized"} <= unknown_of(found)
    assert (found.authorized_amount, found.captured_amount, found.paid_amount) == (None,) * 3


def test_a_success_without_a_history_is_read_by_its_type() -> None:
    assert true_of(record(PaymentStatus.SUCCESS, transaction_type=SALE)) == {"paid"}
    assert true_of(record(PaymentStatus.SUCCESS, transaction_type=CAPTURE)) == {"captured", "paid"}
    authorized = record(PaymentStatus.SUCCESS, transaction_type=AUTH)
    assert authorized.is_authorized is None  # it may have been captured since
    assert authorized.authorized_amount is None
    assert record(PaymentStatus.SUCCESS, transaction_type=VOID).is_reversed is True


def test_a_failed_payment_without_a_history_is_declined() -> None:
    assert true_of(record(PaymentStatus.FAILED)) == {"declined"}


def test_the_link_of_a_declined_try_may_be_open_or_not() -> None:
    found = record(PaymentStatus.PENDING, entry(SALE, decision="DECLINE"))
    assert (found.is_declined, found.is_open, found.is_paid) == (None, None, False)


def test_a_capture_in_review_leaves_open_whether_it_took_place() -> None:
    found = record(PaymentStatus.SUCCESS, entry(AUTH), entry(CAPTURE, decision="REVIEW"))
    assert unknown_of(found) == {"authorized", "captured", "paid"}
    assert found.captured_amount is None
    assert found.authorized_amount == 100


@pytest.mark.parametrize(
    ("authorized", "capture", "void"),
    [("100", "100", "100"), ("100", "50", "50"), ("100", "40", "60"), ("100", "40", "100")],
)
def test_a_void_whose_amount_fits_the_authorization_too_leaves_open_what_it_undid(
    authorized: str, capture: str, void: str
) -> None:
    entries = entry(AUTH, authorized), entry(CAPTURE, capture), entry(VOID, void)
    found = record(PaymentStatus.SUCCESS, *entries)
    assert true_of(found) == {"reversed"}
    assert {"captured", "paid"} <= unknown_of(found)


def test_a_status_of_reversed_undoes_a_capture_as_well() -> None:
    found = record(PaymentStatus.REVERSED, entry(AUTH), entry(CAPTURE), entry(VOID))
    assert found.is_captured is False
    assert found.captured_amount == 0


def test_several_captures_have_no_one_amount() -> None:
    found = record(PaymentStatus.SUCCESS, entry(AUTH), entry(CAPTURE, "40"), entry(CAPTURE, "60"))
    assert found.is_captured is True
    assert found.captured_amount is None


@pytest.mark.parametrize(
    "found",
    [
        record(PaymentStatus.PENDING, steps=()),
        record(PaymentStatus.PENDING, steps=(None,)),
        record(PaymentStatus.PENDING, extra={"transactionStatuses": [7]}),
    ],
)
def test_a_link_without_a_readable_history_may_be_open_or_not(found: Transaction) -> None:
    assert unknown_of(found) == {"expired", "cancelled", "open"}


def test_a_link_that_expired_after_it_was_paid_is_paid() -> None:
    steps = (SENT, TransactionStatus.PAYMENT_URL_EXPIRED)
    assert true_of(record(PaymentStatus.SUCCESS, entry(SALE), steps=steps)) == {"paid"}


entries_of_any_kind = st.builds(
    entry,
    st.sampled_from([*TransactionType, "Something new"]),
    st.sampled_from(["40", "60", "100"]),
    st.sampled_from(["ACCEPT", "DECLINE", "REVIEW"]),
)


@given(
    st.sampled_from([*PaymentStatus, None, "NEW"]),
    st.lists(entries_of_any_kind, max_size=4),
    st.lists(st.sampled_from([*TransactionStatus, None]), max_size=3),
    st.sampled_from([*TransactionType, None, "NEW"]),
)
def test_no_record_is_said_to_be_two_things_that_exclude_each_other(
    status: Any, entries: list[Any], steps: list[Any], kind: Any
) -> None:
    found = record(status, *entries, steps=tuple(steps), transaction_type=kind)
    true = true_of(found)
    money = {"authorized", "paid", "reversed"} & true
    gone = {"declined", "expired", "cancelled"} & true
    assert not (money and gone)
    assert not ("open" in true and len(true) > 1)
    assert not {"authorized", "captured"} <= true
    assert "paid" in true or "captured" not in true
    for name, amount in (("captured", found.captured_amount), ("paid", found.paid_amount)):
        if amount is not None:
            assert (amount > 0) == (getattr(found, f"is_{name}") is True)
    if "reversed" not in true and "paid" in true:
        accepted = [one.transaction_type for one in entries if one.succeeded is True]
        assert {SALE, CAPTURE} & {*accepted, kind}
