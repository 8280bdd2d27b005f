"""References: the call that received one, and what a copy of it proves for another."""

from __future__ import annotations

import gc
import json
import weakref
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import attrs
import httpx
import pytest
import scripted
from hypothesis import given
from hypothesis import strategies as st
from scripted import answer, bench, lost, options

from chat2pay_async import AsyncChat2Pay, OutcomeUnknownError, RetryPolicy, Timeout, models
from chat2pay_async._api import requests
from chat2pay_async._api.operations import CANCEL_PAYMENT_LINK, CREATE_PAYMENT_LINK, CREATE_RECEIPT
from chat2pay_async._send.references import (
    Owner,
    References,
    owner_of,
    reference_in,
    references_over,
)
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import SentRequest

CREATE: Owner = ("create_payment_link", "A-1")
CAPTURE: Owner = ("capture_payment", "ref-1")
REVERSE: Owner = ("reverse_payment", "ref-1")
CANCEL: Owner = ("cancel_payment_link", "ref-1")
OWNERS: list[Owner] = [CREATE, CAPTURE, REVERSE, CANCEL, ("create_receipt", "ref-1 https://r.test")]

each_owner = pytest.mark.parametrize("owner", OWNERS)
both_ways = pytest.mark.parametrize("is_read_back", [True, False])


def known(**owners: Owner) -> References:
    references = References()
    for reference, owner in owners.items():
        references.add(reference, owner)
    return references


@each_owner
@both_ways
def test_a_reference_that_nobody_received_is_no_copy(owner: Owner, *, is_read_back: bool) -> None:
    for reference in ("gw-1", "", None):
        assert not References().is_of_another(reference, owner, is_read_back=is_read_back)


@each_owner
@both_ways
def test_a_call_recognises_its_own(owner: Owner, *, is_read_back: bool) -> None:
    assert not known(x=owner).is_of_another("x", owner, is_read_back=is_read_back)


@each_owner
@both_ways
def test_a_reference_of_another_identity_is_a_copy(owner: Owner, *, is_read_back: bool) -> None:
    another = owner[0], f"{owner[1]}0"
    expected = not (is_read_back and owner == CANCEL)
    assert known(x=another).is_of_another("x", owner, is_read_back=is_read_back) is expected


@pytest.mark.parametrize("owner", [CREATE, CAPTURE, REVERSE])
def test_a_reference_of_another_operation_is_a_copy(owner: Owner) -> None:
    for another in OWNERS:
        if another != owner:
            assert known(x=another).is_of_another("x", owner)


def test_a_gateway_may_number_a_payment_and_not_each_step_of_it() -> None:
    assert not known(x=CAPTURE).is_of_another("x", REVERSE, is_read_back=True)
    assert not known(x=REVERSE).is_of_another("x", CAPTURE, is_read_back=True)
    other_payment = ("capture_payment", "ref-2")
    assert known(x=other_payment).is_of_another("x", REVERSE, is_read_back=True)


def test_a_cancelled_link_is_no_new_one_but_may_be_the_one_that_is_looked_for() -> None:
    references = known(x=CANCEL)
    assert references.is_of_another("x", CREATE)
    assert not references.is_of_another("x", CREATE, is_read_back=True)


def test_the_first_call_that_received_a_reference_stays_its_owner() -> None:
    references = known(x=CREATE)
    references.add("x", ("create_payment_link", "A-2"))
    references.add(None, CREATE)
    assert not references.is_of_another("x", CREATE)
    assert references.is_of_another("x", ("create_payment_link", "A-2"))


def test_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(References, "SIZE", 2)
    references = known(a=CREATE, b=CREATE, c=CREATE)
    assert [references.is_of_another(one, CAPTURE) for one in "abc"] == [False, True, True]


# Claims -------------------------------------------------------------------------------------------

LINK = requests.LinkReference(payment_link_ref="ref-1")
RECEIPT = requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link="https://r.test")
RECEIPT_OWNER: Owner = ("create_receipt", "ref-1 https://r.test")
READ: Owner = ("get_transaction", "A-9")


def link(ref: str = "ref-1") -> models.PaymentLink:
    return models.PaymentLink(payment_link_ref=ref)


def gateway(kind: models.TransactionType | None = None) -> models.GatewayResult:
    return models.GatewayResult(transaction_type=kind, payment_gateway_req_reference_number="gw-1")


def test_a_copy_of_another_orders_response_is_refused() -> None:
    references = References()
    assert references.claim(CREATE, None, link())
    assert references.claim(CREATE, None, link())
    assert not references.claim(("create_payment_link", "A-2"), None, link())
    assert references.claim(("create_payment_link", "A-2"), None, link("ref-2"))


def test_a_cancellations_reference_is_no_new_links() -> None:
    references = References()
    cancelled = models.Cancellation(payment_link_ref="ref-1")
    assert references.claim(CANCEL, LINK, cancelled)
    assert not references.claim(CREATE, None, link())


def test_a_link_that_this_client_made_can_be_cancelled() -> None:
    references = References()
    assert references.claim(CREATE, None, link())
    assert references.claim(CANCEL, LINK, models.Cancellation(payment_link_ref="ref-1"))
    assert references.claim(CREATE, None, link())


def test_a_link_that_was_read_belongs_to_whoever_made_its_order() -> None:
    references = References()
    found = models.Transaction(order_number="A-1", payment_link_ref="ref-1")
    assert references.claim(READ, None, found)
    assert not references.claim(("create_payment_link", "A-2"), None, link())
    assert references.claim(CREATE, None, link())
    assert references.claim(READ, None, models.Transaction(payment_link_ref="ref-2"))
    assert references.claim(CREATE, None, link("ref-2"))


def test_a_captures_decision_is_none_on_its_reversal() -> None:
    references = References()
    assert references.claim(CAPTURE, LINK, gateway())
    assert not references.claim(REVERSE, LINK, gateway())
    assert references.claim(REVERSE, LINK, gateway(models.TransactionType.VOID))
    other_payment = ("reverse_payment", "ref-2")
    assert not references.claim(other_payment, LINK, gateway(models.TransactionType.VOID))


def test_a_receipt_of_another_order_is_a_copy_though_its_reference_is_new() -> None:
    references = known(**{"ref-1": CREATE})
    for order in ("A-1", None, ""):
        result = models.Receipt(receipt_link_ref="rec-1", order_number=order)
        assert references.claim(RECEIPT_OWNER, RECEIPT, result)
    result = models.Receipt(receipt_link_ref="rec-2", order_number="A-2")
    assert not references.claim(RECEIPT_OWNER, RECEIPT, result)
    # It was not kept for the call that it is no response to.
    assert not references.is_of_another("rec-2", ("create_receipt", "ref-2 https://r.test"))


def test_an_order_that_is_not_known_is_not_compared() -> None:
    result = models.Receipt(receipt_link_ref="rec-1", order_number="A-2")
    for references in (References(), known(**{"ref-1": CANCEL})):
        assert references.claim(RECEIPT_OWNER, RECEIPT, result)


def test_two_receipts_for_one_link_are_two_calls() -> None:
    references = References()
    result = models.Receipt(receipt_link_ref="rec-1")
    assert references.claim(RECEIPT_OWNER, RECEIPT, result)
    assert not references.claim(("create_receipt", "ref-1 https://other.test"), RECEIPT, result)


def test_a_result_without_a_reference_is_nobodys() -> None:
    references = References()
    for result in (models.Configuration(), models.IntegrationUpdate(), models.GatewayResult()):
        assert references.claim(("capture_payment", "ref-1"), LINK, result)
        assert references.claim(("update_integration", "u-1"), None, result)


@given(st.lists(st.tuples(st.sampled_from(["ref-1", "ref-2"]), st.sampled_from("ABC")), max_size=9))
def test_no_reference_is_ever_given_to_two_orders(answers: list[tuple[str, str]]) -> None:
    references, given_to = References(), set[tuple[str, str]]()
    for ref, order in answers:
        if references.claim(("create_payment_link", order), None, link(ref)):
            given_to.add((ref, order))
    assert len({ref for ref, _ in given_to}) == len(given_to)


# Owners -------------------------------------------------------------------------------------------


def test_a_receipt_is_one_of_many_for_its_link() -> None:
    def owner(body: bytes | None) -> Owner:
        return owner_of("create_receipt", "ref-1", SentRequest("POST", "/r", body))

    one, other = b'{"receiptLink":"https://r.test/1"}', b'{"receiptLink":"https://r.test/2"}'
    assert owner(one) == owner(one) == ("create_receipt", "ref-1", '["ref-1", "https://r.test/1"]')
    assert owner(one) != owner(other)
    assert owner(None) == owner(b"{}") == owner(b"[]")


@pytest.mark.parametrize("operation", ["create_payment_link", "capture_payment"])
def test_every_other_call_is_its_operation_and_identity(operation: str) -> None:
    sent = SentRequest("POST", "/x", b'{"receiptLink":"https://r.test/1"}')
    assert owner_of(operation, "ref-1", sent) == (operation, "ref-1")


def test_each_result_has_its_reference() -> None:
    gateway = models.GatewayResult(payment_gateway_req_reference_number="gw-1")
    assert reference_in("create_payment_link", models.PaymentLink(payment_link_ref="r")) == "r"
    assert reference_in("create_receipt", models.Receipt(receipt_link_ref="rec")) == "rec"
    assert reference_in("capture_payment", gateway) == "gw-1"
    assert reference_in("reverse_payment", gateway) == "gw-1"
    assert reference_in("cancel_payment_link", models.Cancellation(payment_link_ref="r")) is None
    assert reference_in("get_configuration", models.Configuration()) is None
    assert reference_in("create_receipt", None) is None


# Calls that share a client ------------------------------------------------------------------------


def shown_receipt(seconds: float) -> WireResponse:
    """Show a link with one receipt, as of so many seconds after the beginning."""
    moment = BEGAN + timedelta(seconds=seconds)
    step = {
        "transactionStatusName": "RECEIPT_LINK_SENT",
        "created": (BEGAN + timedelta(seconds=1)).isoformat(),
    }
    body = {
        "orderNumber": "A-1",
        "paymentLinkRef": "ref-1",
        "receiptLinkRef": "rec-1",
        "transactionStatuses": [step],
    }
    date = format_datetime(moment, usegmt=True)
    return answer(200, json.dumps(body).encode(), date=date)


BEGAN = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_one_receipt_is_given_to_one_of_two_calls_that_look_for_it_at_once() -> None:
    async def show() -> WireResponse:
        await anyio.sleep(0.5)  # both calls are looking before either is answered
        return shown_receipt(anyio.current_time() - began)

    began = anyio.current_time()
    made = bench(lost(), lost())
    made.engine.look_ups = [show]
    ends: list[object] = []

    async def send(url: str) -> None:
        request = requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link=url)
        try:
            ends.append((await made.sender.send(CREATE_RECEIPT, request, options())).parsed)
        except OutcomeUnknownError as error:
            ends.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, "https://r.test/1")
        tasks.start_soon(send, "https://r.test/2")
    assert sorted(type(end).__name__ for end in ends) == ["OutcomeUnknownError", "Receipt"]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_copy_of_a_cancellation_is_no_new_link() -> None:
    cancelled = b'{"paymentLinkRef": "ref-1", "transactionStatus": "PAYMENT_LINK_CANCELLED"}'
    made = bench(answer(200, cancelled), answer(200, cancelled))
    made.engine.look_ups = [answer(502)]
    await made.sender.send(CANCEL_PAYMENT_LINK, LINK, options())
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(CREATE_PAYMENT_LINK, scripted.LINK, options())


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_reference_that_resolve_gave_out_is_no_other_calls() -> None:
    began = anyio.current_time()
    made = bench(lost(), answer(201, b'{"receiptLinkRef": "rec-1"}'))
    made.engine.look_ups = [answer(502)]
    first = requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link="https://r.test/1")
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(CREATE_RECEIPT, first, options())
    made.engine.look_ups = [lambda: _at_once(shown_receipt(anyio.current_time() - began))]
    resolution = await made.sender.resolve(caught.value.pending, options())
    assert resolution.result.receipt_link_ref == "rec-1"
    second = attrs.evolve(first, receipt_link="https://r.test/2")
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(CREATE_RECEIPT, second, options())


async def _at_once(response: WireResponse) -> WireResponse:
    return response


async def _same_reference(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(201, json={"paymentLinkRef": "ref-1"})


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["http_client", "transport"])
async def test_a_reference_that_one_client_received_is_no_other_clients_over_the_same_connections(
    given: str,
) -> None:
    """A copy of a response comes over a connection, whoever had asked."""
    shared: Any = httpx.MockTransport(_same_reference)
    if given == "http_client":
        shared = httpx.AsyncClient(transport=shared)
    once = RetryPolicy(resend_when_absent=False, settle=0.001)
    settings = {"base_url": "http://localhost", given: shared, "retry": once}
    one = AsyncChat2Pay("key", **settings)
    another = AsyncChat2Pay("key", **settings, timeout=Timeout(read=0.001))
    assert (await one.create_payment_link(scripted.LINK)).payment_link_ref == "ref-1"
    with pytest.raises(OutcomeUnknownError):
        await another.create_payment_link(attrs.evolve(scripted.LINK, order_number="B-1"))
    assert (await another.create_payment_link(scripted.LINK)).payment_link_ref == "ref-1"
    await shared.aclose()


def test_references_are_shared_by_whoever_shares_connections_and_end_with_them() -> None:
    class Shared: ...

    one, another = Shared(), Shared()
    assert references_over(one) is references_over(one)
    assert references_over(one) is not references_over(another)
    gone = weakref.ref(references_over(one))
    del one
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("connections", [None, "aiohttp", {}])
def test_what_is_no_object_to_share_has_references_of_its_own(connections: object) -> None:
    assert references_over(connections) is not references_over(connections)


@pytest.mark.parametrize("blank", ["", " ", "-", "0", "000-000", None])
def test_blanks_and_zeros_are_no_reference(blank: str | None) -> None:
    references = References()
    references.add(blank, CAPTURE)
    another: Owner = ("capture_payment", "ref-2")
    assert not references.is_of_another(blank, another)
    result = models.GatewayResult(payment_gateway_req_reference_number=blank)
    assert reference_in("capture_payment", result) is None
    assert references.claim(CAPTURE, requests.Capture("ref-1"), result)
    assert references.claim(another, requests.Capture("ref-2"), result)
