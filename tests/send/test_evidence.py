"""Evidence: what one status response shows about a call whose own response was lost."""

from __future__ import annotations

import json
import pickle
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, Inexact, localcontext
from email.utils import format_datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async import models
from chat2pay_async._api import operations, requests
from chat2pay_async._api.responses import form_of
from chat2pay_async._send.evidence import Evidence, Shows, Since, query_for, read_evidence
from chat2pay_async._send.references import Owner, References
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Attempt, Pending, Proof

OURS, DECLINED, ABSENT = Shows.OURS, Shows.DECLINED, Shows.ABSENT
OTHER, NOTHING, FOREIGN = Shows.OTHER, Shows.NOTHING, Shows.FOREIGN

FIRST = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
"""The time at which the first attempt began, on this machine's clock."""
LOOKED = FIRST + timedelta(seconds=10)
STAMP = "5d41402abc4b2a76b9719d911017c592"
REF = "ref-1"

LINK: Mapping[str, Any] = {
    "channel": models.Channel.SMS,
    "to": "27831234567",
    "order_number": "A-1",
    "currency": "ZAR",
    "total_amount": Decimal("199.90"),
}
LINK_OPERATIONS = ("capture_payment", "reverse_payment", "cancel_payment_link", "create_receipt")
POSTS = ("create_payment_link", *LINK_OPERATIONS)

each_post = pytest.mark.parametrize("operation", POSTS)
each_link_operation = pytest.mark.parametrize("operation", LINK_OPERATIONS)


@attrs.frozen
class Case:
    """A call that is looked for, and the references that calls of its client received."""

    pending: Pending
    known: References


ANOTHER_CALL = ("create_payment_link", "A-9")


def case(
    operation: str = "create_payment_link",
    *,
    stamp: str | None = None,
    known: Collection[str] | Mapping[str, Owner] = (),
    amount: str | None = None,
    **fields: Any,
) -> Case:
    """Make a call by the exact request that it sent."""
    request: Any = requests.LinkReference(payment_link_ref=REF)
    match operation:
        case "create_payment_link":
            request = requests.PaymentLinkRequest(**{**LINK, **fields})
        case "capture_payment":
            request = requests.Capture(payment_link_ref=REF, amount=amount, currency="XXX")
        case "create_receipt":
            request = requests.ReceiptRequest(payment_link_ref=REF, receipt_link="https://r.test")
    row: Any = next(one for one in operations.OPERATIONS if one.name == operation)
    references = References()
    owners = known if isinstance(known, Mapping) else dict.fromkeys(known, ANOTHER_CALL)
    for reference, owner in owners.items():
        references.add(reference, owner)
    return Case(pending_of(row, request, stamp), references)


def pending_of(row: Any, request: Any, stamp: str | None = None) -> Pending:
    attempt = Attempt(FIRST, 0.5, Proof.UNKNOWN)
    return Pending(
        operation=row.name,
        identity=row.identity(request),
        request=operations.prepare(row, request, stamp),
        base_url="https://chat2pay.example",
        key_fingerprint="0123456789abcdef",
        request_id=stamp,
        first_attempt=attempt,
        last_attempt=attempt,
    )


IN_PROCESS = Since(FIRST, ago=10.0)
"""This process made the first attempt, ten seconds before the look-up."""


def judge(  # noqa: PLR0913 - what a response can be
    of: Case,
    body: Any,
    *,
    status: int = 200,
    skew: float = 0,
    dated: bool = True,
    headers: Mapping[str, str] | None = None,
    since: Since = IN_PROCESS,
) -> Evidence:
    """Judge a response of a service whose clock is ahead by `skew` seconds."""
    told = dict(headers or {})
    if dated:
        told["date"] = format_datetime(LOOKED + timedelta(seconds=skew), usegmt=True)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = WireResponse(status, told, content)
    return read_evidence(of.pending, answer, since, of.known)


def shows(of: Case, body: Any, **answer: Any) -> Shows:
    return judge(of, body, **answer).shows


def at(seconds: float) -> str:
    """A time so long after the first attempt, as the service writes it."""
    moment = FIRST + timedelta(seconds=seconds)
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}+0000"


def step(name: Any = "PAYMENT_LINK_SENT", seconds: float = 1, number: int = 2) -> dict[str, Any]:
    return {
        "transactionStatusName": name,
        "created": at(seconds),
        "transactionStatusId": number,
    }


def entry(
    kind: Any = "TransactionType.CAPTURE(name=Capture, id=4)",
    decision: Any = "ACCEPT",
    seconds: float = 1,
    **fields: Any,
) -> dict[str, Any]:
    told = {
        "transactionType": kind,
        "totalAmount": 199.9,
        "paymentGatewayDecision": decision,
        "paymentGatewayReqReferenceNumber": "gw-1",
        "paymentGatewayResponseTimestamp": at(seconds),
    }
    return {name: value for name, value in (told | fields).items() if value is not None}


AUTHORIZED = entry("Authorization", seconds=-3600, paymentGatewayReqReferenceNumber="gw-0")


def shown(**fields: Any) -> dict[str, Any]:
    """A status answer about `A-1`, which is `ref-1`; a field that is None is left out."""
    told = {
        "orderNumber": "A-1",
        "paymentLinkRef": REF,
        "transactionStatuses": [step("PAYMENT_LINK_REQUEST_RECEIVED", 0, 1), step()],
        "paymentStatuses": [],
        "paymentStatus": "PENDING",
        "totalAmount": 199.9,
        "channelName": "ChannelType.SMS(name=SMS, id=1)",
        "currency": "ZAR",
        "transactionType": "TransactionType.SALE(name=Sale, id=2)",
    }
    return {name: value for name, value in (told | fields).items() if value is not None}


def paid(*entries: Any, **fields: Any) -> dict[str, Any]:
    """An authorization of an hour ago, and what became of it."""
    told = {"paymentStatus": "SUCCESS", "paymentStatuses": [AUTHORIZED, *entries]}
    return shown(**(told | fields))


# What counts for nothing --------------------------------------------------------------------------

NO_ANSWERS = [b"", b" ", b"null", b"{}", b"[]", b"[{}]", b'"x"', b"1", b"<html>", b'{"a', b"\xff\0"]


@each_post
@pytest.mark.parametrize("body", NO_ANSWERS, ids=repr)
def test_a_response_that_is_no_transaction_counts_for_nothing(operation: str, body: bytes) -> None:
    for status in (200, 201, 204):
        assert shows(case(operation), body, status=status) is NOTHING
    for status in (401, 403, 404):
        assert shows(case(operation), body, status=status) is FOREIGN


NO_SUCH_A1 = "There is no such transaction with order number A-1"
GONE = {"status": "NOT_FOUND", "message": "URL /api/v2/chat-2-pay", "errors": [NO_SUCH_A1]}


@each_post
@pytest.mark.parametrize("status", [100, 301, 302, 400, 408, 409, 429, 500, 502, 503, 504])
def test_only_a_success_and_a_404_are_read(operation: str, status: int) -> None:
    for body in (shown(), paid(), GONE):
        assert shows(case(operation), body, status=status) is NOTHING


FORMS = [
    (b"<html>blocked</html>", FOREIGN),
    (b"", FOREIGN),
    ({"message": "Forbidden"}, FOREIGN),
    ({"message": "no", "errors": "no list"}, FOREIGN),
    ({"status": "ERROR"}, FOREIGN),
    (shown(), FOREIGN),
    ({"errors": ["The key is not valid"]}, NOTHING),
]


@each_post
@pytest.mark.parametrize(("body", "seen"), FORMS, ids=repr)
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_in_a_form_that_is_not_the_services_is_foreign(
    operation: str, status: int, body: Any, seen: Shows
) -> None:
    assert shows(case(operation), body, status=status) is seen
    named = {"timestamp": at(0), "status": status, "path": "/api"}
    assert shows(case(operation), named, status=status) is NOTHING


@each_post
@pytest.mark.parametrize("age", ["1", " 60 ", "007", "soon", "0, 5", "5, 0", "-1"])
def test_a_response_from_a_cache_counts_for_nothing(operation: str, age: str) -> None:
    headers = {"age": age}
    for body in (shown(additionalData=ECHO), paid(entry()), paid()):
        assert shows(case(operation, stamp=_stamp(operation)), body, headers=headers) is NOTHING
    assert shows(case(operation), GONE, status=404, headers=headers) is NOTHING


def _stamp(operation: str) -> str | None:
    return STAMP if operation == "create_payment_link" else None


@pytest.mark.parametrize("age", ["0", " 0 ", "00", "", "0, 0", "0,0, 00"])
def test_an_age_of_zero_is_no_cache(age: str) -> None:
    assert shows(case(), GONE, status=404, headers={"age": age}) is ABSENT


@pytest.mark.parametrize("status", [200, 201, 299])
def test_every_success_is_read(status: int) -> None:
    assert shows(case(), shown(), status=status) is OURS


@each_post
def test_an_absence_in_words_needs_a_404(operation: str) -> None:
    assert shows(case(operation), GONE) is NOTHING


@pytest.mark.parametrize("number", ["A-10", "AA-1", "a-1", "", None, {}])
def test_another_orders_transaction_counts_for_nothing(number: Any) -> None:
    assert shows(case(stamp=STAMP), shown(orderNumber=number, additionalData=ECHO)) is NOTHING


@pytest.mark.parametrize("ref", ["", " ", "0", "000-000", None, [], {}])
def test_a_link_without_a_reference_is_none(ref: Any) -> None:
    assert shows(case(), shown(paymentLinkRef=ref)) is NOTHING


@each_link_operation
@pytest.mark.parametrize("ref", ["ref-10", "rref-1", "REF-1", "", None, {}])
def test_another_links_transaction_counts_for_nothing(operation: str, ref: Any) -> None:
    for body in (shown(paymentLinkRef=ref), paid(entry(), paymentLinkRef=ref)):
        assert shows(case(operation), body) is NOTHING


@each_post
@pytest.mark.parametrize(
    "body",
    [
        {"paymentLinkRef": REF, "transactionStatus": "PAYMENT_LINK_SENT"},
        {"paymentLinkRef": REF, "transactionStatus": "PAYMENT_LINK_CANCELLED"},
        {"receiptLinkRef": "rec-1", "orderNumber": "A-1", "transactionStatus": "RECEIPT_LINK_SENT"},
        {"transactionType": "Capture", "paymentGatewayDecision": "ACCEPT", "totalAmount": 199.9},
        {"updateTime": at(1), "integrators": []},
        {"message": "Request failed", "errors": [REF, "A-1"]},
    ],
    ids=repr,
)
def test_a_copy_of_another_requests_response_counts_for_nothing(operation: str, body: Any) -> None:
    assert shows(case(operation), body) is NOTHING


# A 404 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        NO_SUCH_A1,
        "There is no such transaction with transaction reference A-1",
        "There is no such transaction with orderNumber A-1",
        "there is no such transaction with reference A-1",
        "No such transaction with order number: A-1",
        " There is no such transaction with order number 'A-1'. ",
        'There is no such transaction with order number "A-1"',
    ],
)
@pytest.mark.parametrize("status", ["NOT_FOUND", "404 NOT_FOUND", None])
def test_a_404_that_names_our_order_number_is_an_absence(text: str, status: str | None) -> None:
    body = GONE | {"status": status, "errors": ["Something else", text]}
    assert judge(case(), body, status=404) == Evidence(ABSENT)


@pytest.mark.parametrize(
    "text",
    [
        "There is no such transaction with order number AA-1",
        "There is no such transaction with order number A-10",
        "There is no such transaction with order number A A-1",
        "There is no such transaction with order number B/A-1",
        "There is no such transaction with order number a-1",
        "There is no such transaction with order number A-1 of shop 2",
        "There is no such transaction with order number A-1.",
        "There is no such transaction with order number 'A-1",
        "There is no such transaction with order number",
        "There is no such transaction",
        "There is no such path A-1",
        "A-1",
        "",
        None,
        [NO_SUCH_A1],
        {"message": NO_SUCH_A1},
    ],
)
def test_a_404_that_does_not_name_exactly_our_order_number_counts_for_nothing(text: Any) -> None:
    assert shows(case(), GONE | {"errors": [text]}, status=404) is NOTHING


@pytest.mark.parametrize("number", [".*", "A.1", "(", "A-1'", "A 1", "1"])
def test_an_order_number_is_no_pattern(number: str) -> None:
    of = case(order_number=number)
    assert shows(of, GONE, status=404) is NOTHING
    own = GONE | {"errors": [f"There is no such transaction with order number {number}"]}
    assert shows(of, own, status=404) is ABSENT


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>404: no such transaction with order number A-1</body></html>",
        {"timestamp": at(0), "status": 404, "error": "Not Found", "path": "/api/v2/A-1"},
        {"message": NO_SUCH_A1},
        {"message": "Request failed", "errors": NO_SUCH_A1},
        {"errors": {"0": NO_SUCH_A1}},
        {"errors": None},
        [GONE],
        shown(),
        GONE | {"paymentLinkRef": REF},
        GONE | {"receiptLinkRef": "rec-1"},
        GONE | {"transactionStatuses": [step()]},
        GONE | {"paymentStatuses": [entry()]},
    ],
    ids=[
        *("html", "spring", "message", "text", "object", "null", "list", "transaction"),
        *("link", "receipt", "steps", "payments"),
    ],
)
def test_a_404_of_another_form_is_no_absence(body: Any) -> None:
    assert shows(case(), body, status=404) in {NOTHING, FOREIGN}


@each_link_operation
@pytest.mark.parametrize("what", ["transaction reference", "order number", "reference"])
def test_for_an_existing_link_a_404_is_never_an_absence(operation: str, what: str) -> None:
    gone = {"errors": [f"There is no such transaction with {what} {REF}"]}
    assert shows(case(operation), gone, status=404) is NOTHING


# create: the stamp --------------------------------------------------------------------------------

ECHO = json.dumps({"sdkRequestId": STAMP})
ANOTHERS: dict[str, Any] = {
    "totalAmount": 1,
    "currency": "USD",
    "channelName": "none",
    "transactionType": "Authorization",
    "transactionStatuses": [step(seconds=-86400)],
}


@pytest.mark.parametrize(
    "echo", [ECHO, {"sdkRequestId": STAMP}, {"basket": [1.5], "sdkRequestId": STAMP}, f" {ECHO} "]
)
def test_an_equal_stamp_is_ours_and_nothing_else_is_asked(echo: Any) -> None:
    of = case(stamp=STAMP, reconciliation_id="rec-1", known={REF})
    for dated in (True, False):
        found = judge(of, shown(additionalData=echo, **ANOTHERS), dated=dated)
        assert found.shows is OURS


@pytest.mark.parametrize("other", ["another", STAMP[:-1], STAMP.upper(), "", 0, 5, [STAMP], {}])
def test_a_different_stamp_is_anothers_whatever_else_agrees(other: Any) -> None:
    for echo in ({"sdkRequestId": other}, json.dumps({"sdkRequestId": other})):
        assert shows(case(stamp=STAMP), shown(additionalData=echo)) is OTHER


NO_ECHOES: list[Any] = [
    None,
    "",
    "{}",
    {},
    "not JSON",
    "null",
    [],
    [ECHO],
    5,
    "[" * 9999,
    '{"sdkRequestId"',
]
NO_ECHOES += [{"sdkRequestId": None}, json.dumps({"other": STAMP}), json.dumps(ECHO)]


@pytest.mark.parametrize("echo", NO_ECHOES, ids=lambda echo: repr(echo)[:20])
def test_where_no_stamp_is_echoed_everything_must_agree(echo: Any) -> None:
    assert shows(case(stamp=STAMP), shown(additionalData=echo)) is OURS
    assert shows(case(stamp=STAMP), shown(additionalData=echo, totalAmount=200)) is OTHER


def test_a_stamp_where_we_sent_none_is_anothers() -> None:
    assert shows(case(), shown(additionalData=ECHO)) is OTHER
    assert shows(case(additional_data={"basket": 7}), shown(additionalData=ECHO)) is OTHER
    assert shows(case(additional_data=["basket"]), shown(additionalData=ECHO)) is OTHER


def test_a_stamp_of_the_callers_own_must_come_back_and_is_no_proof() -> None:
    of = case(additional_data={"sdkRequestId": "mine"})
    assert shows(of, shown(additionalData={"sdkRequestId": "mine"})) is OURS
    assert shows(of, shown(additionalData={"sdkRequestId": "mine"}, **ANOTHERS)) is OTHER
    assert shows(of, shown(additionalData=ECHO)) is OTHER


# create: without a stamp --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"totalAmount": 199.91},
        {"totalAmount": 199.904},
        {"totalAmount": None},
        {"totalAmount": "much"},
        {"currency": "USD"},
        {"currency": None},
        {"channelName": "whatsapp"},
        {"channelName": None},
        {"channelName": "pigeon"},
        {"transactionType": "Authorization"},
        {"transactionType": None},
        {"transactionType": 7},
        {"reconciliationId": "rec-2"},
        {"reconciliationId": None},
        {"reconciliationId": ["rec-1"]},
    ],
    ids=repr,
)
def test_each_field_must_agree(fields: dict[str, Any]) -> None:
    of = case(transaction_type="SALE", reconciliation_id="rec-1")
    agreeing = {"reconciliationId": "rec-1"}
    assert shows(of, shown(**agreeing)) is OURS
    assert shows(of, shown(**(agreeing | fields))) is OTHER


@pytest.mark.parametrize(
    "fields",
    [
        {"totalAmount": "199.90"},
        {"totalAmount": "199.9000"},
        {"channelName": "sms"},
        {"channelName": "SMS"},
        {"transactionType": "SALE"},
        {"transactionType": "Sale"},
    ],
    ids=repr,
)
def test_every_form_of_a_field_agrees(fields: dict[str, Any]) -> None:
    assert shows(case(transaction_type="SALE"), shown(**fields)) is OURS


def test_a_field_that_was_not_sent_need_not_agree() -> None:
    body = shown(reconciliationId="rec-9", transactionType="Authorization")
    assert shows(case(), body) is OURS


def test_a_reference_that_another_call_returned_is_never_ours() -> None:
    body = shown(reconciliationId="rec-1")
    assert shows(case(reconciliation_id="rec-1", known={REF}), body) is OTHER
    assert shows(case(reconciliation_id="rec-1", known={"ref-2"}), body) is OURS


ENDS = ["PAYMENT_LINK_CANCELLED", "Payment Link Cancelled", "PAYMENT_URL_EXPIRED"]


@pytest.mark.parametrize("end", ENDS)
def test_a_link_that_ended_before_the_first_attempt_is_never_ours(end: str) -> None:
    undated = {"transactionStatusName": end}
    for before in (step(end, -60), undated, undated | {"created": "once"}):
        assert shows(case(), shown(transactionStatuses=[step(), before])) is OTHER
    assert shows(case(), shown(transactionStatuses=[step(), step(end, 5)])) is OURS


@pytest.mark.parametrize(
    "steps",
    [
        None,
        [],
        {},
        [None],
        [step(seconds=-60)],
        [step("PAYMENT_LINK_REQUEST_RECEIVED", -60), step()],
        [step(), step("PAYMENT_LINK_REQUEST_RECEIVED", -60)],
        [{"transactionStatusName": "PAYMENT_LINK_REQUEST_RECEIVED"}, step()],
        [step() | {"created": "yesterday"}],
        [step(), step() | {"created": None}],
    ],
    ids=repr,
)
def test_a_link_that_is_older_or_does_not_say_when_is_not_ours(steps: Any) -> None:
    assert shows(case(), shown(transactionStatuses=steps)) is OTHER


def test_a_recovered_link_has_what_a_status_response_shows() -> None:
    found = judge(case(), shown(extra="x"))
    assert found.result == models.PaymentLink(
        payment_link_ref=REF,
        transaction_status=models.TransactionStatus.PAYMENT_LINK_SENT,
        transaction_status_id=2,
        timestamp=FIRST,
        recovered=True,
    )


def test_fields_that_a_recovered_link_lacks_are_none() -> None:
    body = {"orderNumber": "A-1", "paymentLinkRef": REF, "additionalData": ECHO}
    found = judge(case(stamp=STAMP), body)
    assert found.result == models.PaymentLink(payment_link_ref=REF, recovered=True)
    undated = shown(additionalData=ECHO, transactionStatuses=[{"transactionStatusName": "NEW"}])
    assert judge(case(stamp=STAMP), undated).result.timestamp is None


@pytest.mark.parametrize("moment", ["2026-05-04T14:00:01", "2026-05-04 12:00:01.000"])
def test_a_step_without_an_offset_does_not_say_that_a_link_is_new(moment: str) -> None:
    steps = [step("PAYMENT_LINK_REQUEST_RECEIVED", 0, 1), step() | {"created": moment}]
    assert shows(case(), shown(transactionStatuses=steps)) is OTHER
    # Where the stamp is echoed, no clock is asked.
    echoed = shown(transactionStatuses=steps, additionalData=ECHO)
    assert shows(case(stamp=STAMP), echoed) is OURS


@pytest.mark.parametrize(
    "fields",
    [
        {"paymentStatus": None},
        {"paymentStatus": "SUCCESS"},
        {"paymentStatus": "BRAND_NEW"},
        {"paymentStatus": ["SUC\ufffdESS"]},
        {"transactionStatuses": [step("Payment Link Clicked"), step()]},
        {"transactionStatuses": [step("Payment Link Opened"), step()]},
    ],
    ids=repr,
)
def test_a_link_that_its_customer_has_used_already_is_ours(fields: dict[str, Any]) -> None:
    assert shows(case(), shown(**fields)) is OURS


# Clocks -------------------------------------------------------------------------------------------

SKEWS = [-3600, -60, 0, 60, 3600]


@pytest.mark.parametrize("skew", SKEWS)
def test_times_are_compared_on_the_services_clock_less_two_seconds(skew: float) -> None:
    for seconds, seen in ((-1.999, OURS), (-2, OURS), (-2.001, OTHER), (9, OURS)):
        body = shown(transactionStatuses=[step(seconds=skew + seconds)])
        assert shows(case(), body, skew=skew) is seen


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        " ",
        "soon",
        "Mon, 04 May 99999999999999999999 12:00:00 GMT",
        "Mon, 04 May 2026 12:00:00 +99999999999999999999",
        "Mon, 04 May 2026 99:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
    ],
)
def test_without_a_usable_date_five_minutes_are_allowed(date: str | None) -> None:
    headers = {} if date is None else {"date": date}
    for seconds, seen in ((-300, OURS), (-300.001, OTHER), (300, OURS)):
        body = shown(transactionStatuses=[step(seconds=seconds)])
        assert shows(case(), body, dated=False, headers=headers) is seen
    new = paid(entry(seconds=-300 - 900))
    assert shows(case("capture_payment"), new, dated=False, headers=headers) is OURS
    old = paid(entry(seconds=-300 - 900 - 0.001))
    assert shows(case("capture_payment"), old, dated=False, headers=headers) is OTHER


OFFSET = timedelta(hours=2)
"""The time by which the service's clock is ahead in these."""


def test_a_first_attempt_is_placed_by_the_time_since_it_and_by_no_wall_clock() -> None:
    for wrong in (FIRST - timedelta(days=9), FIRST + timedelta(days=9)):
        since = Since(wrong, ago=10.0)
        for seconds, seen in ((-2, OURS), (-2.001, OTHER)):
            body = shown(transactionStatuses=[step(seconds=seconds)])
            assert shows(case(), body, since=since) is seen
    earlier = Since(FIRST, ago=3600.0)
    for seconds, seen in ((-3592, OURS), (-3592.001, OTHER)):
        assert (
            shows(case(), shown(transactionStatuses=[step(seconds=seconds)]), since=earlier) is seen
        )


@pytest.mark.parametrize("dated", [True, False])
def test_another_processs_attempt_is_placed_by_the_services_time_as_it_knew_it(
    *, dated: bool
) -> None:
    for wrong in (FIRST - timedelta(days=9), FIRST + timedelta(days=9)):
        since = Since(wrong, service_time=FIRST + OFFSET)
        for seconds, seen in ((7198, OURS), (7197.999, OTHER), (0, OTHER)):
            body = shown(transactionStatuses=[step(seconds=seconds)])
            assert shows(case(), body, since=since, dated=dated, skew=86400) is seen


def test_a_look_up_without_a_date_falls_back_on_the_services_time_before_the_wall_clock() -> None:
    since = Since(FIRST - timedelta(days=9), ago=10.0, service_time=FIRST + OFFSET)
    for seconds, seen in ((7198, OURS), (7197.999, OTHER)):
        body = shown(transactionStatuses=[step(seconds=seconds)])
        assert shows(case(), body, since=since, dated=False) is seen


def test_another_processs_attempt_without_any_date_is_allowed_five_minutes() -> None:
    for seconds, seen in ((-300, OURS), (-300.001, OTHER)):
        body = shown(transactionStatuses=[step(seconds=seconds)])
        assert shows(case(), body, since=Since(FIRST), skew=3600) is seen


def test_a_date_without_a_zone_is_utc() -> None:
    headers = {"date": "Mon, 04 May 2026 12:00:10 -0000"}
    assert shows(case(), shown(), dated=False, headers=headers) is OURS
    old = shown(transactionStatuses=[step(seconds=-3)])
    assert shows(case(), old, dated=False, headers=headers) is OTHER


def test_a_clock_at_the_end_of_time_makes_everything_old() -> None:
    headers = {"date": "Fri, 31 Dec 9998 23:59:59 GMT"}
    assert shows(case(), shown(), dated=False, headers=headers) is OTHER


@each_post
@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("seconds", [-1e9, -86400, -3700, -60, 3700, 86400, 1e9])
def test_a_time_that_disagrees_never_makes_an_absence(
    operation: str, skew: float, seconds: float
) -> None:
    steps = [step("PAYMENT_LINK_CANCELLED", seconds), step("RECEIPT_LINK_SENT", seconds)]
    for decision in ("ACCEPT", "DECLINE", "REVIEW"):
        both = [entry("Capture", decision, seconds), entry("Void", decision, seconds)]
        status = {"paymentStatus": "REVERSED", "paymentStatusTimestamp": at(seconds)}
        body = paid(*both, transactionStatuses=steps, **status)
        for dated in (True, False):
            seen = shows(case(operation), body, skew=skew, dated=dated)
            assert seen in {OURS, DECLINED, OTHER}


# capture ------------------------------------------------------------------------------------------


def capture(amount: str | None = "199.90", known: Collection[str] = ()) -> Case:
    return case("capture_payment", amount=amount, known=known)


def test_a_successful_capture_is_ours() -> None:
    found = judge(capture(), paid(entry(paymentGatewayResponseCode=100, cardType="VISA")))
    assert found.shows is OURS
    assert found.result == models.GatewayResult(
        transaction_type=models.TransactionType.CAPTURE,
        total_amount=Decimal("199.9"),
        payment_gateway_decision="ACCEPT",
        payment_gateway_req_reference_number="gw-1",
        payment_gateway_response_timestamp=FIRST + timedelta(seconds=1),
        payment_gateway_response_code=100,
        card_type="VISA",
        payment_status=models.PaymentStatus.SUCCESS,
        recovered=True,
    )
    assert found.result.succeeded is True


@pytest.mark.parametrize(
    ("entries", "statuses"),
    [
        ([AUTHORIZED], [None, "SUCCESS"]),
        ([AUTHORIZED, AUTHORIZED], [None, "SUCCESS"]),
        ([entry("Authorization", "REVIEW")], ["PENDING", "REVIEW"]),
        ([entry("Authorization", "DECLINE")], ["FAILED"]),
        ([AUTHORIZED, entry("Void")], ["SUCCESS", "REVERSED", "VOIDED"]),
        ([AUTHORIZED, entry("Void", "DECLINE")], ["SUCCESS", "FAILED"]),
    ],
)
def test_an_authorization_without_any_capture_entry_is_an_absence(
    entries: list[Any], statuses: list[Any]
) -> None:
    for status in statuses:
        found = judge(capture(), shown(paymentStatuses=entries, paymentStatus=status))
        assert found == Evidence(ABSENT)


UNREAD: list[Any] = [7, {}]
CONTRADICTIONS: list[dict[str, Any]] = [
    *({"transactionType": kind} for kind in ["CAPTURE", "VOID", "Refund", *UNREAD]),
    *({"paymentStatus": status} for status in ["PENDING", "FAILED", "REVIEW", "UNKNOWN"]),
    *({"paymentStatus": status} for status in ["REVERSED", "VOIDED", "CAPTURED", *UNREAD]),
]


@pytest.mark.parametrize("fields", CONTRADICTIONS, ids=repr)
def test_a_record_that_says_more_than_its_entries_is_no_absence(fields: dict[str, Any]) -> None:
    for operation in ("capture_payment", "reverse_payment"):
        assert shows(case(operation), paid()) is ABSENT
        assert shows(case(operation), paid(**fields)) is OTHER


@pytest.mark.parametrize("entries", [None, [], [entry("Sale")], [entry("Void")]], ids=repr)
def test_a_history_without_an_authorization_is_no_absence_of_a_capture(entries: Any) -> None:
    assert shows(capture(), shown(paymentStatuses=entries)) is OTHER
    null = shown() | {"paymentStatuses": entries}
    assert shows(capture(), null) is OTHER


@pytest.mark.parametrize(
    ("currency", "asked", "found", "seen"),
    [
        ("ZAR", "199.90", "199.9049", OURS),
        ("ZAR", "199.90", "199.8951", OURS),
        ("ZAR", "199.90", "199.905", OTHER),
        ("ZAR", "199.90", "199.895", OTHER),
        ("ZAR", "199.90", "199.91", OTHER),
        ("zar", "199.90", "199.9049", OURS),
        ("JPY", "200", "200.49", OURS),
        ("JPY", "200", "200.5", OTHER),
        ("JPY", "200", "199.51", OURS),
        ("JPY", "200", "201", OTHER),
        ("BHD", "1.500", "1.5004", OURS),
        ("BHD", "1.500", "1.5005", OTHER),
        ("BHD", "1.500", "1.504", OTHER),
        ("CLF", "1.5000", "1.50004", OURS),
        ("CLF", "1.5000", "1.50005", OTHER),
        ("XYZ", "199.90", "199.9049", OURS),
        (None, "199.90", "199.90004", OURS),
        (None, "199.90", "199.90005", OTHER),
        (None, "199.90", "199.9", OURS),
    ],
)
def test_a_captures_amount_is_equal_within_half_a_minor_unit(
    currency: str | None, asked: str, found: str, seen: Shows
) -> None:
    for told in (found, float(found)):
        body = paid(entry(totalAmount=told), currency=currency)
        assert shows(capture(asked), body) is seen


def test_amounts_are_compared_in_no_ones_decimal_context() -> None:
    big = "12345678901234567890123456.78"
    with localcontext() as context:
        context.prec = 3
        context.traps[Inexact] = True
        assert shows(capture(big), paid(entry(totalAmount=big))) is OURS
        assert shows(capture(big), paid(entry(totalAmount=big[:-1] + "9"))) is OTHER
        assert shows(capture("199.90"), paid(entry(totalAmount="1999.0001"))) is OTHER


@pytest.mark.parametrize("amount", [None, "much", {}])
def test_a_success_that_does_not_say_how_much_is_not_ours(amount: Any) -> None:
    assert shows(capture(), paid(entry(totalAmount=amount))) is OTHER


def test_a_capture_of_everything_is_of_the_authorizations_amount() -> None:
    assert shows(capture(None), paid(entry())) is OURS
    assert shows(capture(None), paid(entry(totalAmount="199.9049"))) is OURS
    for amount in (50, "199.905", 200, None, "much"):
        assert shows(capture(None), paid(entry(totalAmount=amount))) is OTHER


@pytest.mark.parametrize(
    "authorized",
    [
        [],
        [AUTHORIZED | {"totalAmount": None}],
        [AUTHORIZED, AUTHORIZED | {"totalAmount": 50}],
        [AUTHORIZED | {"paymentGatewayDecision": "DECLINE"}],
    ],
    ids=["none", "without amount", "two", "declined"],
)
def test_where_the_authorized_amount_is_not_clear_no_capture_is_the_whole(
    authorized: list[Any],
) -> None:
    assert shows(capture(None), shown(paymentStatuses=[*authorized, entry()])) is OTHER


def test_a_declined_authorization_beside_the_accepted_one_does_not_blur_its_amount() -> None:
    declined = entry("Authorization", "DECLINE", -7200, totalAmount=500)
    assert shows(capture(None), paid(declined, entry())) is OURS


def test_two_captures_that_fit_are_not_told_apart() -> None:
    second = entry(seconds=2, paymentGatewayReqReferenceNumber="gw-2")
    assert shows(capture(), paid(entry(), second)) is OTHER
    assert shows(capture(), paid(entry(), second | {"totalAmount": 50})) is OURS
    assert shows(capture(), paid(entry(), entry(seconds=-3600))) is OURS


@pytest.mark.parametrize("skew", SKEWS)
def test_gateways_have_fifteen_minutes(skew: float) -> None:
    for seconds, seen in ((-902, OURS), (-902.001, OTHER), (900, OURS), (-3600, OTHER)):
        assert shows(capture(), paid(entry(seconds=skew + seconds)), skew=skew) is seen
        assert (
            shows(case("reverse_payment"), paid(entry("Void", seconds=skew + seconds)), skew=skew)
            is seen
        )


@pytest.mark.parametrize(
    "moment", ["2026-05-04T12:00:00Z", "2026-05-04T14:00:00+02:00", "2026-05-04T12:00:00+0000"]
)
def test_a_gateways_time_may_be_cut_to_seconds(moment: str) -> None:
    for decision, seen in (("ACCEPT", OURS), ("DECLINE", DECLINED)):
        cut = entry("Capture", decision, paymentGatewayResponseTimestamp=moment)
        assert shows(capture(), paid(cut)) is seen


@pytest.mark.parametrize("moment", [1777896000000, "1777896000000"])
def test_a_time_in_milliseconds_is_in_no_zone(moment: Any) -> None:
    declined = entry(decision="DECLINE", paymentGatewayResponseTimestamp=moment)
    assert shows(capture(), paid(declined)) is DECLINED


@pytest.mark.parametrize("moment", ["2026-05-04T12:00:01", "2026-05-04T12:00:01.000", "2026-05-04"])
def test_a_gateways_time_without_an_offset_counts_only_for_a_success(moment: str) -> None:
    when: dict[str, Any] = {"paymentGatewayResponseTimestamp": moment}
    for operation, kind in (("capture_payment", "Capture"), ("reverse_payment", "Void")):
        assert shows(case(operation), paid(entry(kind, "DECLINE", **when))) is OTHER
        seen = OTHER if moment == "2026-05-04" else OURS  # twelve hours before
        assert shows(case(operation), paid(entry(kind, **when))) is seen


@pytest.mark.parametrize("moment", [None, "then", {}])
@pytest.mark.parametrize("decision", ["ACCEPT", "DECLINE"])
def test_an_entry_that_does_not_say_when_is_not_ours(moment: Any, decision: str) -> None:
    undated = entry("Capture", decision, paymentGatewayResponseTimestamp=moment)
    assert shows(capture(), paid(undated)) is OTHER


@pytest.mark.parametrize("kind", ["Capture", "Void"])
def test_a_decline_since_the_first_attempt_is_no_success_and_no_absence(kind: str) -> None:
    of = capture() if kind == "Capture" else case("reverse_payment")
    found = judge(of, paid(entry(kind, "DECLINE")))
    assert found.shows is DECLINED
    assert found.result.transaction_type is models.TransactionType[kind.upper()]
    assert (found.result.succeeded, found.result.recovered) == (False, True)


@pytest.mark.parametrize("seconds", [-2.001, -60, -600])
def test_an_older_refusal_is_not_ours_and_no_absence(seconds: float) -> None:
    assert shows(capture(), paid(entry("Capture", "DECLINE", seconds))) is OTHER
    assert shows(case("reverse_payment"), paid(entry("Void", "DECLINE", seconds))) is OTHER


def test_a_refusal_of_another_amount_is_not_ours() -> None:
    assert shows(capture(), paid(entry(decision="DECLINE", totalAmount=50))) is OTHER
    assert shows(capture(), paid(entry(decision="DECLINE", totalAmount=None))) is DECLINED
    assert shows(capture(None), paid(entry(decision="DECLINE", totalAmount=50))) is OTHER
    unpaid = shown(paymentStatuses=[entry(decision="DECLINE", totalAmount=50)])
    assert shows(capture(None), unpaid) is DECLINED


@pytest.mark.parametrize("amount", ["199,90", "R199.90", {"value": 199}])
def test_a_refusal_of_an_amount_that_cannot_be_read_is_not_ours(amount: Any) -> None:
    assert shows(capture(), paid(entry(decision="DECLINE", totalAmount=None))) is DECLINED
    assert shows(capture(), paid(entry(decision="DECLINE", totalAmount=amount))) is OTHER


def test_the_success_counts_and_not_the_refusals_around_it() -> None:
    declined = entry(decision="DECLINE", paymentGatewayReqReferenceNumber="gw-2")
    for entries in ([declined, entry()], [entry(), declined], [declined, entry(), declined]):
        found = judge(capture(), paid(*entries))
        assert (found.shows, found.result.succeeded) == (OURS, True)


def test_a_refusal_beside_what_may_have_been_accepted_proves_nothing() -> None:
    declined = entry(decision="DECLINE", seconds=5)
    for beside in (
        entry(seconds=-3600),
        entry(totalAmount=50),
        entry(decision="REVIEW"),
        entry(decision=None),
        entry(kind="Captured", totalAmount=199.9),
        entry(kind=None),
    ):
        for entries in ([declined, beside], [beside, declined]):
            assert shows(capture(), paid(*entries)) is OTHER


@pytest.mark.parametrize("decision", ["REVIEW", "PENDING", "NEW WORD", None, 7])
def test_a_pending_entry_is_neither_ours_nor_an_absence(decision: Any) -> None:
    assert shows(capture(), paid(entry(decision=decision))) is OTHER
    assert shows(case("reverse_payment"), paid(entry("Void", decision))) is OTHER


def test_the_latest_of_several_refusals_is_the_result() -> None:
    first = entry(decision="DECLINE", paymentGatewayReqReferenceNumber="gw-2")
    last = entry(decision="REJECT", seconds=3, paymentGatewayReqReferenceNumber="gw-3")
    result = judge(capture(), paid(first, last)).result
    assert result.payment_gateway_req_reference_number == "gw-3"


@pytest.mark.parametrize("decision", ["ACCEPT", "DECLINE"])
def test_a_gateway_response_that_another_call_returned_is_not_ours(decision: str) -> None:
    for operation, kind in (("capture_payment", "Capture"), ("reverse_payment", "Void")):
        body, seen = paid(entry(kind, decision)), OURS if decision == "ACCEPT" else DECLINED
        assert shows(case(operation, known={"gw-1"}), body) is OTHER
        assert shows(case(operation, known={"gw-2"}), body) is seen
        other_payment = {"gw-1": ("capture_payment", "ref-2")}
        assert shows(case(operation, known=other_payment), body) is OTHER


def test_a_call_recognises_its_own_reference() -> None:
    own = {"gw-1": ("capture_payment", REF)}
    assert shows(case("capture_payment", known=own), paid(entry())) is OURS
    # A gateway may number a payment, and not each step of it: here the entry's type says which.
    assert shows(case("reverse_payment", known=own), paid(entry("Void"))) is OURS
    assert shows(case(known={REF: ("create_payment_link", "A-1")}), shown()) is OURS
    of_link = shown(receiptLinkRef="rec-1", transactionStatuses=[step("RECEIPT_LINK_SENT")])
    receipt = {"rec-1": ("create_receipt", REF, f'["{REF}", "https://r.test"]')}
    assert shows(case("create_receipt", known=receipt), of_link) is OURS


def test_a_link_whose_reference_was_used_to_cancel_it_may_still_be_ours() -> None:
    assert shows(case(known={REF: ("cancel_payment_link", REF)}), shown()) is OURS


UNREADABLE = [entry("Captured"), entry("Refund"), entry(7), entry(None), entry({}), {}]


@pytest.mark.parametrize("one", UNREADABLE, ids=repr)
def test_an_entry_of_a_kind_that_is_not_known_may_be_any(one: Any) -> None:
    for operation in ("capture_payment", "reverse_payment"):
        assert shows(case(operation), paid(one)) is OTHER


@pytest.mark.parametrize("entries", [{}, "none", 7, [None], [AUTHORIZED, "x"]], ids=repr)
def test_a_list_that_cannot_be_read_may_hold_anything(entries: Any) -> None:
    for operation in ("capture_payment", "reverse_payment"):
        assert shows(case(operation), shown(paymentStatuses=entries)) is OTHER


# reverse ------------------------------------------------------------------------------------------

REVERSE = case("reverse_payment")


def test_a_void_entry_is_ours() -> None:
    found = judge(REVERSE, paid(entry("Void")))
    assert found.shows is OURS
    assert found.result.transaction_type is models.TransactionType.VOID
    assert found.result.succeeded is True


def test_two_voids_are_not_told_apart() -> None:
    second = entry("Void", seconds=2, paymentGatewayReqReferenceNumber="gw-2")
    assert shows(REVERSE, paid(entry("Void"), second)) is OTHER
    assert shows(REVERSE, paid(entry("Void"), entry("Void", seconds=-3600))) is OURS


CAPTURED = entry(seconds=-1800)


@pytest.mark.parametrize(
    ("authorized", "captured", "voided", "seen"),
    [
        (100, 40, 40, OURS),
        (100, 40, 60, OTHER),  # what the capture left of the authorization
        (100, 40, 100, OTHER),
        (100, 50, 50, OTHER),  # the capture, or as much of the authorization
        (100, 100, 100, OTHER),
        (100, 40, None, OTHER),
        (None, 40, 40, OTHER),
        (100, None, 40, OTHER),
    ],
)
def test_where_a_payment_was_captured_the_amount_has_to_say_what_was_undone(
    authorized: Any, captured: Any, voided: Any, seen: Shows
) -> None:
    history = [
        AUTHORIZED | {"totalAmount": authorized},
        CAPTURED | {"totalAmount": captured},
        entry("Void", totalAmount=voided),
    ]
    assert shows(REVERSE, shown(paymentStatuses=history)) is seen


def test_where_two_captures_have_one_amount_the_rest_of_the_authorization_may_have_it_too() -> None:
    part = CAPTURED | {"totalAmount": 30}
    history = [AUTHORIZED | {"totalAmount": 90}, part, part, entry("Void", totalAmount=30)]
    assert shows(REVERSE, shown(paymentStatuses=history)) is OTHER
    del history[1]
    assert shows(REVERSE, shown(paymentStatuses=history)) is OURS
    history.insert(0, history[0])
    assert shows(REVERSE, shown(paymentStatuses=history)) is OTHER


def test_a_record_of_a_capture_whose_entry_is_missing_counts_as_captured() -> None:
    assert shows(REVERSE, paid(entry("Void"), transactionType="CAPTURE")) is OTHER
    assert shows(REVERSE, paid(entry("Void"), transactionType="VOID")) is OURS


@pytest.mark.parametrize("decision", ["REVIEW", None, "NEW WORD"])
def test_what_may_have_been_captured_counts_as_captured(decision: Any) -> None:
    pending = CAPTURED | {"paymentGatewayDecision": decision}
    assert shows(REVERSE, paid(pending, entry("Void"))) is OTHER
    declined = CAPTURED | {"paymentGatewayDecision": "DECLINE"}
    assert shows(REVERSE, paid(declined, entry("Void"))) is OURS


def test_a_status_of_a_captured_payment_does_not_say_what_was_undone() -> None:
    undone = {"paymentStatus": "REVERSED", "paymentStatusTimestamp": at(3)}
    assert shows(REVERSE, paid(**undone)) is OURS
    assert shows(REVERSE, paid(CAPTURED, **undone)) is OTHER


def test_a_status_that_an_older_void_explains_is_not_ours() -> None:
    undone = {"paymentStatus": "VOIDED", "paymentStatusTimestamp": at(3)}
    for void in (entry("Void", seconds=-3600), entry("Void", paymentGatewayResponseTimestamp=None)):
        assert shows(REVERSE, paid(void, **undone)) is OTHER


@pytest.mark.parametrize("status", ["REVERSED", "VOIDED", "Reversed"])
def test_a_reversed_status_with_its_time_is_ours(status: str) -> None:
    for seconds, seen in ((-2, OURS), (5, OURS), (-2.001, OTHER), (-3600, OTHER)):
        body = paid(paymentStatus=status, paymentStatusTimestamp=at(seconds), paymentStatusId="6")
        assert shows(REVERSE, body) is seen
    now = paid(paymentStatus=status, paymentStatusTimestamp=at(0), paymentStatusId="6")
    assert judge(REVERSE, now).result.succeeded is True
    assert judge(REVERSE, now).result == models.GatewayResult(
        transaction_type=models.TransactionType.VOID,
        payment_status=models.PaymentStatus[status.upper()],
        payment_status_id="6",
        recovered=True,
    )


@pytest.mark.parametrize("moment", [None, "then", {}, "2026-05-04T14:00:01", "2026-05-04 12:00:01"])
def test_a_reversed_status_without_its_time_and_zone_is_neither(moment: Any) -> None:
    for entries in ([], [entry("Void", "DECLINE")]):
        body = paid(*entries, paymentStatus="REVERSED", paymentStatusTimestamp=moment)
        assert shows(REVERSE, body) is OTHER


def test_a_payment_declined_and_then_reversed_is_reversed() -> None:
    declined = entry("Void", "DECLINE")
    new = paid(declined, paymentStatus="REVERSED", paymentStatusTimestamp=at(3))
    assert judge(REVERSE, new).result.payment_gateway_decision is None
    old = paid(declined, paymentStatus="REVERSED", paymentStatusTimestamp=at(-60))
    assert shows(REVERSE, old) is OTHER


@pytest.mark.parametrize("status", [None, "SUCCESS"])
def test_an_authorization_that_nothing_happened_to_is_an_absence(status: str | None) -> None:
    assert judge(REVERSE, paid(paymentStatus=status)) == Evidence(ABSENT)
    assert judge(REVERSE, paid(AUTHORIZED, paymentStatus=status)) == Evidence(ABSENT)


@pytest.mark.parametrize("decision", ["ACCEPT", "DECLINE", "REVIEW"])
@pytest.mark.parametrize("kind", ["Capture", "Sale"])
def test_a_captured_payment_is_never_an_absence(kind: str, decision: str) -> None:
    assert shows(REVERSE, paid(entry(kind, decision))) is OTHER
    assert shows(REVERSE, shown(paymentStatuses=[entry(kind, decision)])) is OTHER


@pytest.mark.parametrize("entries", [None, []])
def test_a_link_that_was_not_paid_is_no_absence(entries: Any) -> None:
    assert shows(REVERSE, shown(paymentStatuses=entries)) is OTHER


@pytest.mark.parametrize("status", ["AUTH_REVERSED", "REFUNDED", 7, {}, []])
def test_a_payment_status_that_is_not_known_may_be_a_reversal(status: Any) -> None:
    for entries in ([], [entry("Void", "DECLINE")]):
        assert shows(REVERSE, paid(*entries, paymentStatus=status)) is OTHER
    assert shows(REVERSE, paid(entry("Void"), paymentStatus=status)) is OURS


# cancel -------------------------------------------------------------------------------------------

CANCEL = case("cancel_payment_link")


@pytest.mark.parametrize("name", ["PAYMENT_LINK_CANCELLED", "Payment Link Cancelled"])
@pytest.mark.parametrize("seconds", [-3600, 1])
def test_a_link_that_is_shown_cancelled_is_cancelled(name: str, seconds: float) -> None:
    steps = [step(), step(name, seconds, 18), step("PAYMENT_STATUS_RECEIVED")]
    found = judge(CANCEL, shown(transactionStatuses=steps, additionalData="{}"))
    assert found.shows is OURS
    assert found.result == models.Cancellation(
        payment_link_ref=REF,
        transaction_status=models.TransactionStatus.PAYMENT_LINK_CANCELLED,
        transaction_status_id=18,
        additional_data="{}",
        timestamp=FIRST + timedelta(seconds=seconds),
        recovered=True,
    )


@pytest.mark.parametrize(
    "name", ["PAYMENT_LINK_SENT", "PAYMENT_URL_EXPIRED", "Payment Link Clicked"]
)
def test_a_link_that_is_not_shown_cancelled_is_an_absence(name: str) -> None:
    assert judge(CANCEL, shown(transactionStatuses=[step(name)])) == Evidence(ABSENT)


HISTORIES: list[Any] = [
    None,
    [],
    {},
    "none",
    [None],
    [{}],
    [step(None)],
    [step(7.5)],
    [step(), step("LINK_CANCELED")],
    [step("Cancelled")],
]


@pytest.mark.parametrize("operation", ["cancel_payment_link", "create_receipt"])
@pytest.mark.parametrize("steps", HISTORIES, ids=repr)
def test_a_history_that_cannot_be_read_shows_no_absence(operation: str, steps: Any) -> None:
    assert shows(case(operation), shown(transactionStatuses=steps)) is NOTHING


# receipt ------------------------------------------------------------------------------------------

RECEIPT = case("create_receipt")


@pytest.mark.parametrize(
    "name",
    [
        "RECEIPT_LINK_REQUEST_RECEIVED",
        "RECEIPT_LINK_SENT",
        "RECEIPT_LINK_SENT_FAILED",
        "RECEIPT_LINK_REQUEST_FAILED",
    ],
)
def test_a_receipt_entry_since_our_first_attempt_is_ours(name: str) -> None:
    steps = [step(), step(name, 3, 6), step("PAYMENT_STATUS_RECEIVED", 4)]
    found = judge(RECEIPT, shown(transactionStatuses=steps, receiptLinkRef="rec-1"))
    assert found.shows is OURS
    assert found.result == models.Receipt(
        receipt_link_ref="rec-1",
        order_number="A-1",
        timestamp=FIRST + timedelta(seconds=3),
        transaction_status=name,
        transaction_status_id=6,
        recovered=True,
    )


def test_the_latest_entry_says_how_a_receipt_fared_wherever_it_stands() -> None:
    asked, failed = step("RECEIPT_LINK_REQUEST_RECEIVED", 2), step("RECEIPT_LINK_SENT_FAILED", 3)
    old = step("RECEIPT_LINK_SENT", -60)
    for steps in ([asked, failed], [failed, asked], [old, asked, failed], [failed, asked, old]):
        result = judge(RECEIPT, shown(transactionStatuses=steps, receiptLinkRef="rec-1")).result
        assert result.transaction_status is models.TransactionStatus.RECEIPT_LINK_SENT_FAILED
    together = [asked, failed | {"created": asked["created"]}]
    result = judge(RECEIPT, shown(transactionStatuses=together, receiptLinkRef="rec-1")).result
    assert result.transaction_status is models.TransactionStatus.RECEIPT_LINK_SENT_FAILED


@pytest.mark.parametrize("skew", SKEWS)
def test_a_receipt_of_before_is_neither_ours_nor_an_absence(skew: float) -> None:
    for seconds, seen in ((-2, OURS), (-2.001, OTHER), (-3600, OTHER)):
        steps = [step(), step("RECEIPT_LINK_SENT", skew + seconds)]
        body = shown(transactionStatuses=steps, receiptLinkRef="rec-1")
        assert shows(RECEIPT, body, skew=skew) is seen


@pytest.mark.parametrize("created", [None, "then", {}, "2026-05-04T12:00:01", "2026-05-04T15:00"])
def test_a_receipt_that_does_not_say_when_and_in_what_zone_is_neither(created: Any) -> None:
    steps = [step("RECEIPT_LINK_SENT") | {"created": created}]
    assert shows(RECEIPT, shown(transactionStatuses=steps, receiptLinkRef="rec-1")) is OTHER


@pytest.mark.parametrize("name", ["RECEIPT_LINK_DELIVERED", "RECEIPT_LINK_DELIVERY_FAILED"])
def test_a_delivery_report_may_be_an_earlier_receipts(name: str) -> None:
    steps = [step("RECEIPT_LINK_SENT", -60), step(name, 3)]
    assert shows(RECEIPT, shown(transactionStatuses=steps, receiptLinkRef="rec-1")) is OTHER
    alone = shown(transactionStatuses=[step(name, 3)], receiptLinkRef="rec-1")
    assert shows(RECEIPT, alone) is OTHER


def test_a_receipt_without_a_reference_of_its_own_is_not_ours() -> None:
    body = shown(transactionStatuses=[step("RECEIPT_LINK_SENT")])
    assert shows(RECEIPT, body) is OTHER
    for blank in ("", " ", "0", "000-000"):
        assert shows(RECEIPT, body | {"receiptLinkRef": blank}) is OTHER
    # Another receipt for the same link, which this client made at the same time:
    concurrent = {"rec-1": ("create_receipt", f"{REF} https://other.example")}
    of = case("create_receipt", known=concurrent)
    assert shows(of, body | {"receiptLinkRef": "rec-1"}) is OTHER
    assert shows(of, body | {"receiptLinkRef": "rec-2"}) is OURS


@pytest.mark.parametrize(
    "name", ["RECEIPT_BRAND_NEW", "Receipt Brand New", " receipt_x ", "RECEIPT"]
)
def test_a_receipts_step_that_is_not_known_proves_nothing(name: str) -> None:
    for seconds in (-60, 1):
        body = shown(transactionStatuses=[step(name, seconds)], receiptLinkRef="rec-1")
        assert shows(RECEIPT, body) is OTHER


def test_a_receipts_step_counts_in_words_too() -> None:
    for seconds, seen in ((-60, OTHER), (1, OURS)):
        steps = [step("Receipt Link Sent", seconds)]
        assert shows(RECEIPT, shown(transactionStatuses=steps, receiptLinkRef="rec-1")) is seen


def test_no_receipt_entry_at_all_is_an_absence() -> None:
    assert judge(RECEIPT, shown()) == Evidence(ABSENT)
    assert judge(RECEIPT, shown(receiptLinkRef="")) == Evidence(ABSENT)


@pytest.mark.parametrize("reference", ["rec-1", 7, {"ref": "rec-1"}])
def test_a_receipts_reference_without_its_steps_is_no_absence(reference: Any) -> None:
    body = shown(receiptLinkRef=reference)
    assert shows(RECEIPT, body) is OTHER
    # This client made that one: its steps are missing yet, and so may ours be.
    known = {"rec-1": ("create_receipt", f"{REF} https://other.example")}
    assert shows(case("create_receipt", known=known), body) is OTHER


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ("cancel_payment_link", "PAYMENT_LINK_CANCELLED"),
        ("cancel_payment_link", "Payment Link Cancelled"),
        ("create_receipt", "RECEIPT_LINK_SENT"),
        ("create_receipt", "Receipt Link Delivered"),
    ],
)
def test_a_status_on_the_record_itself_that_its_steps_lack_is_no_absence(
    operation: str, status: str
) -> None:
    assert shows(case(operation), shown(transactionStatus=status)) is OTHER
    assert shows(case(operation), shown(transactionStatus="PAYMENT_LINK_SENT")) is ABSENT
    for unknown in ["SOMETHING_NEW", *UNREAD]:
        assert shows(case(operation), shown(transactionStatus=unknown)) is NOTHING


# No answer whatsoever breaks it -------------------------------------------------------------------

NAMES = st.sampled_from(
    [field for field in shown() | entry() | step()]  # noqa: C416 - a list of names
    + ["additionalData", "errors", "sdkRequestId", "paymentStatusTimestamp", "receiptLinkRef"]
)
TEXTS = st.sampled_from(
    [
        *("A-1", REF, "ZAR", "sms", "1e999999", "-1", NO_SUCH_A1, ECHO, "REVERSED"),
        *("CAPTURE", "Void", "Authorization", "ACCEPT", "DECLINE"),
        *("RECEIPT_LINK_SENT", "PAYMENT_LINK_CANCELLED"),
        *(at(1), "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | TEXTS
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=6)
    ),
    max_leaves=12,
)
ENTRIES = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(entry(), LEAVES)), max_size=3)
STEPS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(step(), LEAVES)), max_size=3)
BODIES = st.builds(
    lambda told, some: shown(**(some | told)),
    st.dictionaries(NAMES, JSON, max_size=5),
    st.fixed_dictionaries(
        {}, optional={"paymentStatuses": ENTRIES | JSON, "transactionStatuses": STEPS | JSON}
    ),
)
DATES = st.text() | st.builds(
    "Mon, {:02} May {} {:02}:00:00 {}".format,
    st.integers(0, 40),
    st.integers(0, 10**25),
    st.integers(0, 30),
    st.sampled_from(["GMT", "-0000", "+9999", "-9999", "+99999999999999999999", "X"]),
)


@given(
    operation=st.sampled_from(POSTS),
    status=st.sampled_from([200, 404]) | st.integers(100, 599),
    body=BODIES | JSON | st.binary(),
    date=DATES,
    stamp=st.sampled_from([None, STAMP]),
)
def test_no_response_breaks_the_reader(
    operation: str, status: int, body: Any, date: str, stamp: str | None
) -> None:
    of = case(operation, stamp=stamp if operation == "create_payment_link" else None, amount="5")
    found = judge(of, body, status=status, dated=False, headers={"date": date})
    assert (found.shows not in {OURS, DECLINED}) or found.result.recovered is True
    assert found.shows not in {ABSENT, NOTHING, FOREIGN} or found.result is None
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert form_of(WireResponse(status, {}, content)).startswith(str(status))


@given(body=BODIES)
def test_an_entry_that_may_be_a_capture_or_void_is_never_an_absence(body: dict[str, Any]) -> None:
    entries = body.get("paymentStatuses", [])
    kinds = [one.get("transactionType") for one in entries] if _are_objects(entries) else ["?"]
    if shows(capture(), body) is ABSENT:
        assert {"CAPTURE", None, "?"}.isdisjoint(kinds)
        assert "Authorization" in kinds
    if shows(REVERSE, body) is ABSENT:
        assert kinds
        assert set(kinds) == {"Authorization"}


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def test_evidence_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        judge(case(), shown()).shows = OURS  # type: ignore[misc]


def test_a_pending_call_that_was_pickled_is_judged_alike() -> None:
    of = case(stamp=STAMP)
    again = pickle.loads(pickle.dumps(of.pending))  # noqa: S301 - our own
    assert shows(Case(again, of.known), shown(additionalData=ECHO, **ANOTHERS)) is OURS


# The exact request, which is all that a pending call keeps ----------------------------------------


@pytest.mark.parametrize("amount", ["0.01", "199.90", "1234567890123456789012345678"])
def test_a_captures_amount_is_read_from_its_target_to_the_digit(amount: str) -> None:
    assert shows(capture(amount), paid(entry(totalAmount=amount))) is OURS
    digit = "2" if amount[-1] == "1" else "1"
    other = paid(entry(totalAmount=amount[:-1] + digit))
    assert shows(capture(amount), other) is OTHER


def test_no_reference_can_pass_for_an_amount() -> None:
    ref = "x?amount=5"
    pending = pending_of(operations.CAPTURE_PAYMENT, requests.Capture(ref))
    assert shows(Case(pending, References()), paid(entry(), paymentLinkRef=ref)) is OURS


def test_a_link_is_looked_up_by_its_order_number_and_all_else_by_its_reference() -> None:
    by_order = requests.TransactionQuery(order_number="A-1")
    assert query_for("create_payment_link", "A-1") == by_order
    by_reference = requests.TransactionQuery(payment_link_ref=REF)
    for operation in LINK_OPERATIONS:
        assert query_for(operation, REF) == by_reference
