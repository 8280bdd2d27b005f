"""References: the call that received one, and what a copy of it proves for another."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import attrs
import pytest
import scripted
from hypothesis import given
from hypothesis import strategies as st
from scripted import answer, bench, lost, options

from chat2pay_async import OutcomeUnknownError, Pending, Verdict, models
from chat2pay_async._api import requests
from chat2pay_async._api.operations import (
    CANCEL_PAYMENT_LINK,
    CAPTURE_PAYMENT,
    CREATE_PAYMENT_LINK,
    CREATE_RECEIPT,
)
from chat2pay_async._send.references import Owner, References, reference_in
from chat2pay_async._transport.base import WireResponse

CREATE = Owner("create_payment_link", "A-1")
CAPTURE = Owner("capture_payment", "ref-1")
REVERSE = Owner("reverse_payment", "ref-1")
CANCEL = Owner("cancel_payment_link", "ref-1")
RECEIPT_OWNER = Owner("create_receipt", "ref-1")
OWNERS = [CREATE, CAPTURE, REVERSE, CANCEL, RECEIPT_OWNER]

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
    another = Owner(owner.operation, f"{owner.identity}0")
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
    other_payment = Owner("capture_payment", "ref-2")
    assert known(x=other_payment).is_of_another("x", REVERSE, is_read_back=True)


def test_a_cancelled_link_is_no_new_one_but_may_be_the_one_that_is_looked_for() -> None:
    references = known(x=CANCEL)
    assert references.is_of_another("x", CREATE)
    assert not references.is_of_another("x", CREATE, is_read_back=True)


def test_the_first_call_that_received_a_reference_stays_its_owner() -> None:
    references = known(x=CREATE)
    references.add("x", Owner("create_payment_link", "A-2"))
    references.add(None, CREATE)
    assert not references.is_of_another("x", CREATE)
    assert references.is_of_another("x", Owner("create_payment_link", "A-2"))


def test_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(References, "SIZE", 2)
    references = known(a=CREATE, b=CREATE, c=CREATE)
    assert [references.is_of_another(one, CAPTURE) for one in "abc"] == [False, True, True]


# Claims -------------------------------------------------------------------------------------------

LINK = requests.LinkReference(payment_link_ref="ref-1")
RECEIPT = requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link="https://r.test")
READ = Owner("get_transaction", "A-9")


MOMENT = datetime(2026, 5, 4, tzinfo=UTC)
bodies = (f"{number}".encode() for number in itertools.count())


def claims(
    references: References, owner: Owner, request: object, result: object, body: bytes | None = None
) -> bool:
    """Claim what a response has; by default no other response has the same bytes."""
    return references.claim(owner, request, result, next(bodies) if body is None else body)


def link(ref: str = "ref-1") -> models.PaymentLink:
    return models.PaymentLink(payment_link_ref=ref)


def gateway(kind: models.TransactionType | None = None) -> models.GatewayResult:
    return models.GatewayResult(transaction_type=kind, payment_gateway_req_reference_number="gw-1")


def test_a_copy_of_another_orders_response_is_refused() -> None:
    references = References()
    assert claims(references, CREATE, None, link())
    assert claims(references, CREATE, None, link())
    assert not claims(references, Owner("create_payment_link", "A-2"), None, link())
    assert claims(references, Owner("create_payment_link", "A-2"), None, link("ref-2"))


def test_a_cancellations_reference_is_no_new_links() -> None:
    references = References()
    cancelled = models.Cancellation(payment_link_ref="ref-1")
    assert claims(references, CANCEL, LINK, cancelled)
    assert not claims(references, CREATE, None, link())


def test_a_link_that_this_client_made_can_be_cancelled() -> None:
    references = References()
    assert claims(references, CREATE, None, link())
    assert claims(references, CANCEL, LINK, models.Cancellation(payment_link_ref="ref-1"))
    assert claims(references, CREATE, None, link())


def test_a_link_that_was_read_belongs_to_whoever_made_its_order() -> None:
    references = References()
    found = models.Transaction(order_number="A-1", payment_link_ref="ref-1")
    assert claims(references, READ, None, found)
    assert not claims(references, Owner("create_payment_link", "A-2"), None, link())
    assert claims(references, CREATE, None, link())
    assert claims(references, READ, None, models.Transaction(payment_link_ref="ref-2"))
    assert claims(references, CREATE, None, link("ref-2"))


def test_a_captures_decision_is_none_on_its_reversal() -> None:
    references = References()
    assert claims(references, CAPTURE, LINK, gateway())
    assert not claims(references, REVERSE, LINK, gateway())
    assert claims(references, REVERSE, LINK, gateway(models.TransactionType.VOID))
    other_payment = Owner("reverse_payment", "ref-2")
    assert not claims(references, other_payment, LINK, gateway(models.TransactionType.VOID))


def test_a_receipt_of_another_order_is_a_copy_though_its_reference_is_new() -> None:
    references = known(**{"ref-1": CREATE})
    for order in ("A-1", None, ""):
        result = models.Receipt(receipt_link_ref="rec-1", order_number=order)
        assert claims(references, RECEIPT_OWNER, RECEIPT, result)
    result = models.Receipt(receipt_link_ref="rec-2", order_number="A-2")
    assert not claims(references, RECEIPT_OWNER, RECEIPT, result)
    # It was not kept for the call that it is no response to.
    assert not references.is_of_another("rec-2", Owner("create_receipt", "ref-2 https://r.test"))


def test_an_order_that_is_not_known_is_not_compared() -> None:
    result = models.Receipt(receipt_link_ref="rec-1", order_number="A-2")
    for references in (References(), known(**{"ref-1": CANCEL})):
        assert claims(references, RECEIPT_OWNER, RECEIPT, result)


@pytest.mark.parametrize(
    ("owner", "result"),
    [
        (CREATE, models.PaymentLink(payment_link_ref="ref-1")),
        (RECEIPT_OWNER, models.Receipt(receipt_link_ref="rec-1")),
        (Owner("update_integration", "u-1"), models.IntegrationUpdate(update_time=MOMENT)),
    ],
)
def test_what_a_call_received_is_a_copy_for_a_later_call_of_the_same_kind(
    owner: Owner, result: object
) -> None:
    references = References()
    one, other = owner._replace(call="1"), owner._replace(call="2")
    assert claims(references, one, None, result)
    assert claims(references, one, None, result)
    assert not claims(references, other, None, result)
    reference = reference_in(owner.operation, result)
    for is_read_back in (True, False):
        assert references.is_of_another(reference, other, is_read_back=is_read_back)
        assert not references.is_of_another(reference, one, is_read_back=is_read_back)
        assert not references.is_of_another(reference, owner, is_read_back=is_read_back)


def test_a_link_that_was_only_read_may_be_any_calls_until_one_of_them_receives_it() -> None:
    references = References()
    found = models.Transaction(order_number="A-1", payment_link_ref="ref-1")
    assert claims(references, READ, None, found)
    assert claims(references, CREATE._replace(call="1"), None, link())
    assert not claims(references, CREATE._replace(call="2"), None, link())
    assert claims(references, READ, None, found)
    assert not claims(references, CREATE._replace(call="2"), None, link())


BLANKS = ["", " ", "0", "0000", "000-000", "-", "\u3000", "."]
"""Constants that stand for no reference."""


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("kind", [None, models.TransactionType.CAPTURE])
def test_blanks_and_zeros_are_no_ones_reference(
    blank: str, kind: models.TransactionType | None
) -> None:
    references = References()
    result = attrs.evolve(gateway(kind), payment_gateway_req_reference_number=blank)
    for number in range(3):
        assert claims(references, Owner("capture_payment", f"ref-{number}"), LINK, result)
    assert not references.is_of_another(blank, CAPTURE, is_read_back=True)


each_reference = pytest.mark.parametrize("reference", [None, "", "gw-1"])


@each_reference
def test_the_same_bytes_are_no_other_calls_decision(reference: str | None) -> None:
    references, body = References(), b'{"paymentGatewayDecision": "DECLINE"}'
    result = models.GatewayResult(payment_gateway_req_reference_number=reference)
    one = CAPTURE._replace(call="1")
    assert claims(references, one, LINK, result, body)
    assert claims(references, one, LINK, result, body)
    for another in (CAPTURE._replace(call="2"), REVERSE, Owner("capture_payment", "ref-2")):
        assert not claims(references, another, LINK, result, body)


def test_a_gateway_that_numbers_payments_may_decide_on_one_twice() -> None:
    references, capture = References(), models.TransactionType.CAPTURE
    one, other = CAPTURE._replace(call="1"), CAPTURE._replace(call="2")
    assert claims(references, one, LINK, gateway(capture), b"declined")
    assert claims(references, other, LINK, gateway(capture), b"accepted")
    # In a history nothing tells the first decision from the second.
    assert references.is_of_another("gw-1", other, is_read_back=True)


def test_two_receipts_for_one_link_are_two_calls() -> None:
    references = References()
    result = models.Receipt(receipt_link_ref="rec-1")
    assert claims(references, RECEIPT_OWNER._replace(call="1"), RECEIPT, result)
    assert not claims(references, RECEIPT_OWNER._replace(call="2"), RECEIPT, result)


def test_a_result_without_a_reference_is_nobodys() -> None:
    references = References()
    for result in (models.Configuration(), models.IntegrationUpdate(), models.GatewayResult()):
        assert claims(references, Owner("capture_payment", "ref-1"), LINK, result)
        assert claims(references, Owner("update_integration", "u-1"), None, result)


@given(st.lists(st.tuples(st.sampled_from(["ref-1", "ref-2"]), st.sampled_from("ABC")), max_size=9))
def test_no_reference_is_ever_given_to_two_orders(answers: list[tuple[str, str]]) -> None:
    references, given_to = References(), set[tuple[str, str]]()
    for ref, order in answers:
        if claims(references, Owner("create_payment_link", order), None, link(ref)):
            given_to.add((ref, order))
    assert len({ref for ref, _ in given_to}) == len(given_to)


# References ---------------------------------------------------------------------------------------


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


def shown_capture(reference: str | None = None) -> WireResponse:
    """Show a link whose one capture was accepted just now."""
    moment = datetime.now(UTC)
    capture = {
        "transactionType": "CAPTURE",
        "totalAmount": 100,
        "paymentGatewayDecision": "ACCEPT",
        "paymentGatewayReqReferenceNumber": reference,
        "paymentGatewayResponseTimestamp": moment.isoformat(),
    }
    authorization = {"transactionType": "AUTHORIZATION", "totalAmount": 100}
    body = {"paymentLinkRef": "ref-1", "paymentStatuses": [authorization, capture]}
    return answer(200, json.dumps(body).encode(), date=format_datetime(moment, usegmt=True))


WHOLE = requests.Capture("ref-1")
DECLINE = b'{"transactionType": "CAPTURE", "paymentGatewayDecision": "DECLINE"}'


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_late_copy_of_another_links_decision_is_looked_up() -> None:
    made = bench(answer(200, DECLINE), answer(200, DECLINE), look_ups=[shown_capture()])
    first = await made.sender.send(CAPTURE_PAYMENT, requests.Capture("ref-0"), options())
    second = await made.sender.send(CAPTURE_PAYMENT, WHOLE, options())
    assert (first.parsed.succeeded, first.recovered) == (False, False)
    assert (second.parsed.succeeded, second.recovered) == (True, True)


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("reference", [None, "gw-1"])
async def test_a_late_copy_of_the_same_links_decision_is_looked_up(reference: str | None) -> None:
    decline = json.dumps({**json.loads(DECLINE), "paymentGatewayReqReferenceNumber": reference})
    copies = [answer(200, decline.encode())] * 2
    made = bench(*copies, look_ups=[shown_capture("gw-2")])
    ends = [(await made.sender.send(CAPTURE_PAYMENT, WHOLE, options())) for _ in copies]
    assert [end.parsed.succeeded for end in ends] == [False, True]
    assert ends[1].parsed.payment_gateway_req_reference_number == "gw-2"


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_empty_reference_makes_no_other_decision_a_copy() -> None:
    def decision(number: int) -> WireResponse:
        body = {"paymentGatewayReqReferenceNumber": "", "totalAmount": number}
        return answer(200, json.dumps({**json.loads(DECLINE), **body}).encode())

    made = bench(*map(decision, range(3)))
    for number in range(3):
        request = requests.Capture(f"ref-{number}")
        assert not (await made.sender.send(CAPTURE_PAYMENT, request, options())).recovered


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_what_an_ended_call_received_is_not_the_effect_of_the_next_one() -> None:
    async def show() -> WireResponse:
        return shown_receipt(anyio.current_time() - began)

    began = anyio.current_time()
    receipt = answer(201, b'{"receiptLinkRef": "rec-1"}')
    made = bench(receipt, lost(), receipt, look_ups=[show])
    await made.sender.send(CREATE_RECEIPT, RECEIPT, options())
    for _ in range(2):  # a response that is lost, and a copy
        with pytest.raises(OutcomeUnknownError):
            await made.sender.send(CREATE_RECEIPT, RECEIPT, options())


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_whoever_resolves_or_resumes_a_call_recognises_what_it_received() -> None:
    made = bench(lost(), look_ups=[answer(502)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(CAPTURE_PAYMENT, WHOLE, options())
    made.engine.look_ups = [shown_capture("gw-1")]
    pending = caught.value.pending
    for one in (pending, Pending.from_json(pending.to_json())):
        assert (await made.sender.resolve(one, options())).verdict is Verdict.APPLIED
    resumed = await made.sender.send(CAPTURE_PAYMENT, WHOLE, options(), prior=pending)
    assert resumed.recovered
    # Another call is none of that one's.
    made.engine.script = [lost()]
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(CAPTURE_PAYMENT, WHOLE, options())


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_resumed_call_that_is_sent_again_receives_for_the_one_that_it_resumes() -> None:
    gone = b'{"errors": ["There is no such transaction with order number A-1"]}'
    made = bench(lost(), scripted.CREATED, look_ups=[answer(502)])
    unstamped = options(stamp=False)
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(CREATE_PAYMENT_LINK, scripted.LINK, unstamped)
    pending = caught.value.pending
    made.engine.look_ups = [answer(404, gone)]
    await made.sender.send(CREATE_PAYMENT_LINK, scripted.LINK, unstamped, prior=pending)
    made.engine.look_ups = [shown_link()]
    assert (await made.sender.resolve(pending, unstamped)).verdict is Verdict.APPLIED


def shown_link() -> WireResponse:
    """Show the link that `scripted.LINK` asks for, made just now; no stamp is echoed."""
    moment = datetime.now(UTC)
    body = {
        "orderNumber": "A-1",
        "paymentLinkRef": "ref-1",
        "currency": "ZAR",
        "totalAmount": 199.9,
        "channelName": "sms",
        "transactionStatuses": [{"created": moment.isoformat()}],
    }
    date = format_datetime(moment, usegmt=True)
    return answer(200, json.dumps(body).encode(), date=date)
