"""What follows when the answer to a POST is lost, seen from the call that made it."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import attrs
import pytest
from scripted import (
    CREATED,
    INTEGRATION,
    LINK,
    REFERENCE,
    Act,
    Bench,
    answer,
    bench,
    forever,
    lost,
    not_sent,
    options,
)

from chat2pay_async import (
    AuthenticationError,
    BadRequestError,
    Chat2PayError,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    OutcomeUnknownError,
    Proof,
    RateLimit,
    RateLimitedError,
    ReceiptNotSentError,
    RequestTimeoutError,
    ServerError,
    TransactionStatus,
    Verdict,
    events,
)
from chat2pay_async._api import operations, requests
from chat2pay_async._send.reconciliation import FRESH
from chat2pay_async._transport.base import WireResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

CAPTURE = requests.Capture(payment_link_ref="ref-1", amount="100.00")
RECEIPT = requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link="https://r.example")
NOWHERE = answer(
    404,
    b'{"status": "NOT_FOUND", "message": "URL /x",'
    b' "errors": ["There is no such transaction with order number A-1"]}',
)


@pytest.fixture(autouse=True)
def full_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the jitter out: the back-off is always its ceiling."""
    monkeypatch.setattr("chat2pay_async._send.retry._jitter.uniform", lambda _low, high: high)


def now(ahead: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()


def shown(made: Bench | None = None, **fields: Any) -> WireResponse:
    """A status answer about `A-1`, which is `ref-1`; with the stamp that was sent, if any was."""
    body: dict[str, Any] = {
        "orderNumber": "A-1",
        "paymentLinkRef": "ref-1",
        "transactionStatuses": [
            {
                "transactionStatusName": "PAYMENT_LINK_SENT",
                "created": now(),
                "transactionStatusId": 2,
            }
        ],
    }
    if made is not None:
        sent = json.loads(made.engine.sent[-1].body or b"{}")
        body["additionalData"] = json.dumps(sent["additionalData"])
    date = format_datetime(datetime.now(UTC), usegmt=True)
    return answer(200, json.dumps(body | fields).encode(), date=date)


def captured(decision: str = "ACCEPT", amount: str = "100.00", **entry: Any) -> WireResponse:
    told = {
        "transactionType": "CAPTURE",
        "totalAmount": amount,
        "paymentGatewayDecision": decision,
        "paymentGatewayResponseTimestamp": now(),
        "paymentGatewayReqReferenceNumber": "gw-1",
    }
    return shown(currency="ZAR", paymentStatuses=[told | entry])


async def create(made: Bench, **retry: Any) -> Any:
    return await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(**retry))


async def capture(made: Bench, **retry: Any) -> Any:
    return await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(**retry))


def later(made: Bench, **fields: Any) -> Act:
    """The stamped status answer, made when it is asked for: the stamp is known only then."""

    async def answering() -> WireResponse:
        return shown(made, **fields)

    return answering


# Applied -----------------------------------------------------------------------------------------


async def test_a_lost_create_is_read_back_by_its_stamp() -> None:
    made = bench(lost(), look_ups=[NOWHERE, NOWHERE])
    made.engine.look_ups.append(later(made))
    raw = await create(made)
    assert raw.recovered
    assert raw.parsed.recovered
    assert raw.parsed.payment_link_ref == "ref-1"
    assert raw.parsed.payment_link is None
    assert raw.parsed.transaction_status is TransactionStatus.PAYMENT_LINK_SENT
    assert raw.status_code == 200
    assert b"PAYMENT_LINK_SENT" in raw.body
    assert [attempt.proof for attempt in raw.attempts] == [Proof.UNKNOWN]
    assert len(made.engine.sent) == 1
    assert not made.heard_of(events.OutcomeUnknown)
    assert [event.shows for event in made.heard_of(events.LookedUp)] == [
        "explicitly no such effect",
        "explicitly no such effect",
        "the effect, and it is ours",
    ]


async def test_the_look_ups_begin_at_once_and_back_off_to_the_windows_end() -> None:
    made = bench(lost(), CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    await create(made)
    looks = [at - started for at in made.engine.looked]
    assert looks == pytest.approx([0, 0.25, 0.75, 1.75, 3.75, 6.25, 8.75, 10, 10.5])
    assert made.engine.times[1] - started == pytest.approx(10.5)


async def test_a_lost_capture_is_read_back_with_the_gateways_answer() -> None:
    raw = await capture(bench(lost(), look_ups=[captured()]))
    assert raw.recovered
    assert raw.parsed.succeeded is True
    assert raw.parsed.payment_gateway_req_reference_number == "gw-1"


async def test_a_capture_that_was_declined_ends_as_its_answer_would_have() -> None:
    raw = await capture(bench(lost(), look_ups=[captured("DECLINE")]))
    assert raw.recovered
    assert raw.parsed.succeeded is False


async def test_a_lost_cancellation_is_read_back() -> None:
    gone = shown(transactionStatuses=[{"transactionStatusName": "Payment Link Cancelled"}])
    made = bench(lost(), look_ups=[gone])
    raw = await made.sender.send(operations.CANCEL_PAYMENT_LINK, REFERENCE, options())
    assert raw.parsed.recovered
    assert raw.parsed.transaction_status is TransactionStatus.PAYMENT_LINK_CANCELLED


@pytest.mark.parametrize("status", ["RECEIPT_LINK_SENT_FAILED", "RECEIPT_LINK_REQUEST_FAILED"])
async def test_a_lost_receipt_whose_message_failed_is_an_error_that_carries_it(status: str) -> None:
    entry = {"transactionStatusName": status, "created": now(1)}
    made = bench(lost(), look_ups=[shown(receiptLinkRef="rec-1", transactionStatuses=[entry])])
    with pytest.raises(ReceiptNotSentError) as caught:
        await made.sender.send(operations.CREATE_RECEIPT, RECEIPT, options())
    assert caught.value.receipt.receipt_link_ref == "rec-1"
    assert caught.value.receipt.recovered
    assert not made.heard_of(events.OutcomeUnknown)


async def test_a_lost_receipt_that_was_sent_is_read_back() -> None:
    entry = {"transactionStatusName": "RECEIPT_LINK_SENT", "created": now(1)}
    made = bench(lost(), look_ups=[shown(receiptLinkRef="rec-1", transactionStatuses=[entry])])
    raw = await made.sender.send(operations.CREATE_RECEIPT, RECEIPT, options())
    assert (raw.parsed.receipt_link_ref, raw.parsed.recovered) == ("rec-1", True)


async def test_a_lost_reversal_is_read_back() -> None:
    void = {
        "transactionType": "VOID",
        "paymentGatewayDecision": "ACCEPT",
        "paymentGatewayResponseTimestamp": now(),
    }
    made = bench(lost(), look_ups=[shown(paymentStatuses=[void], paymentStatus="REVERSED")])
    raw = await made.sender.send(operations.REVERSE_PAYMENT, REFERENCE, options())
    assert raw.parsed.succeeded is True
    assert raw.parsed.recovered


# Absent ------------------------------------------------------------------------------------------


async def test_after_an_absent_a_post_goes_again_directly_preceded_by_a_fresh_look() -> None:
    made = bench(lost(), CREATED, look_ups=[NOWHERE])
    raw = await create(made)
    assert raw.parsed.payment_link_ref == "ref-1"
    assert not raw.recovered
    assert [attempt.proof for attempt in raw.attempts] == [Proof.UNKNOWN, Proof.APPLIED]
    assert made.engine.times[1] == made.engine.looked[-1]
    assert len({sent.body for sent in made.engine.sent}) == 1


async def test_a_capture_need_not_wait_the_window_out() -> None:
    accepted = answer(200, b'{"paymentGatewayDecision": "ACCEPT"}')
    made = bench(lost(), accepted, look_ups=[shown()])
    started = anyio.current_time()
    await capture(made)
    assert made.engine.times[1] - started == pytest.approx(0.5)
    assert anyio.current_time() - started == pytest.approx(0.5)


async def test_a_capture_that_is_not_sent_in_between_is_looked_up_once_before_each_attempt() -> (
    None
):
    accepted = answer(200, b'{"paymentGatewayDecision": "ACCEPT"}')
    made = bench(lost(), not_sent(), accepted, look_ups=[shown()])
    started = anyio.current_time()
    await capture(made)
    assert [at - started for at in made.engine.times] == pytest.approx([0, 0.5, 1.5])
    assert [at - started for at in made.engine.looked] == pytest.approx([0, 0.5, 1.5])


@pytest.mark.parametrize("seen", [answer(500), answer(200), lost()], ids=["500", "empty", "lost"])
async def test_a_look_just_before_the_repeated_post_that_never_counts_keeps_it_from_leaving(
    seen: Act,
) -> None:
    made = bench(lost(), look_ups=[*[NOWHERE] * 8, seen])
    with pytest.raises(OutcomeUnknownError):
        await create(made)
    assert len(made.engine.sent) == 1
    assert len(made.engine.looked) > 12

    made = bench(lost(), look_ups=[shown(), seen])
    with pytest.raises(OutcomeUnknownError):
        await capture(made)
    assert len(made.engine.sent) == 1


async def test_anothers_transaction_just_before_the_repeated_post_keeps_it_from_leaving() -> None:
    foreign = shown(additionalData='{"sdkRequestId": "another"}')
    made = bench(lost(), look_ups=[*[NOWHERE] * 8, foreign])
    with pytest.raises(OutcomeUnknownError):
        await create(made)
    assert len(made.engine.sent) == 1


@pytest.mark.parametrize(
    "repeats",
    [
        [not_sent()] * 3,
        [answer(401)],
        [answer(403)],
        [answer(429, retry_after="100")],
        [answer(400, b'{"errors": ["not allowed"]}')],
    ],
    ids=["not sent", "401", "403", "429", "400"],
)
async def test_that_a_capture_failed_is_said_only_when_its_first_attempt_can_no_longer_land(
    repeats: list[Act],
) -> None:
    made = bench(lost(), *repeats, look_ups=[shown()])
    started = anyio.current_time()
    with pytest.raises(Chat2PayError) as caught:
        await capture(made)
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(made.engine.sent) == 1 + len(repeats)
    assert anyio.current_time() - started >= 10

    made = bench(lost(), *repeats, look_ups=[*[shown()] * (1 + len(repeats)), captured()])
    raw = await capture(made)
    assert (raw.recovered, raw.parsed.succeeded) == (True, True)


async def test_a_capture_is_declined_only_when_an_earlier_one_can_no_longer_land() -> None:
    declined = answer(200, b'{"paymentGatewayDecision": "DECLINE"}')
    shows = [shown(), shown(), *[captured("DECLINE")] * 3]
    made = bench(lost(), declined, look_ups=[*shows, captured()])
    raw = await capture(made)
    assert (raw.recovered, raw.parsed.succeeded) == (True, True)
    assert len(made.engine.sent) == 2

    made = bench(lost(), declined, look_ups=[*shows])
    started = anyio.current_time()
    raw = await capture(made)
    assert (raw.recovered, raw.parsed.succeeded) == (True, False)
    assert anyio.current_time() - started == pytest.approx(10)

    made = bench(lost(), declined, look_ups=[shown()])  # an entry of it never shows
    raw = await capture(made)
    assert (raw.recovered, raw.parsed.succeeded) == (False, False)

    made = bench(lost(), lost(), look_ups=[*shows, captured()])  # whose it is can't be told
    raw = await capture(made)
    assert (raw.recovered, raw.parsed.succeeded) == (True, True)


async def test_a_capture_in_words_that_are_unknown_leaves_the_one_before_it_open() -> None:
    odd = answer(200, b'{"paymentGatewayDecision": "DO_NOT_HONOR"}')
    made = bench(lost(), odd, look_ups=[shown(), shown(), captured("DO_NOT_HONOR"), captured()])
    raw = await capture(made)
    assert (raw.recovered, raw.parsed.succeeded) == (True, True)

    made = bench(lost(), odd, look_ups=[shown(), shown(), captured("DO_NOT_HONOR")])
    with pytest.raises(OutcomeUnknownError):
        await capture(made)
    assert len(made.engine.sent) == 2


async def test_a_declined_capture_whose_earlier_attempt_can_not_be_looked_up_stays_in_doubt() -> (
    None
):
    declined = answer(200, b'{"paymentGatewayDecision": "DECLINE"}')
    made = bench(lost(), declined, look_ups=[shown(), shown(), captured("DECLINE"), answer(500)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await capture(made)
    assert len(made.engine.sent) == 2
    made.engine.look_ups = [captured("DECLINE")]
    resolution = await made.sender.resolve(caught.value.pending, options())
    assert resolution.result.succeeded is False


async def test_a_pending_capture_that_was_sent_twice_is_not_resolved_by_one_early_decline() -> None:
    made = bench(lost(), lost(), look_ups=[shown()])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=0.6))
    assert len(made.engine.sent) == 2
    made.engine.look_ups = [captured("DECLINE"), captured()]
    resolution = await made.sender.resolve(caught.value.pending, options())
    assert (resolution.verdict, resolution.result.succeeded) == (Verdict.APPLIED, True)


async def test_a_deadline_after_an_early_absent_of_a_capture_leaves_it_in_doubt() -> None:
    made = bench(lost(), look_ups=[shown()])
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=0.2))
    assert len(made.heard_of(events.OutcomeUnknown)) == 1


async def test_a_capture_that_the_quota_keeps_from_going_again_is_looked_up_to_the_end() -> None:
    made = bench(lost(), look_ups=[*[shown()] * 3, captured()])
    while made.sender._attempts.quota.spend(Proof.UNKNOWN):
        pass
    assert (await capture(made)).recovered
    assert len(made.engine.sent) == 1


async def test_a_post_that_would_leave_a_second_after_its_look_is_looked_up_again() -> None:
    async def leaving_late() -> WireResponse:
        await anyio.sleep(1.1)
        made.engine.guards[-1]()
        raise AssertionError

    made = bench(lost(), leaving_late, CREATED, look_ups=[NOWHERE])
    raw = await create(made)
    assert [attempt.error for attempt in raw.attempts[1:]] == ["StaleVerdict", None]
    assert made.engine.times[2] == made.engine.looked[-1]
    latest = [one.latest for one in made.engine.guards if one.latest is not None]
    assert latest == [at + FRESH for at in made.engine.times[1:]]


class BrokenError(Exception):
    """A limiter of the user's has a fault."""


@pytest.mark.parametrize("error", [ConfigurationError("the http_client is closed"), BrokenError()])
async def test_whatever_breaks_in_mid_recovery_leaves_it_in_doubt(error: Exception) -> None:
    made = bench(lost(), look_ups=[NOWHERE, error])
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    assert caught.value.__cause__ is error
    assert len(made.heard_of(events.OutcomeUnknown)) == 1


async def test_what_breaks_while_nothing_is_in_doubt_comes_out_as_it_is() -> None:
    error = ConfigurationError("the http_client is closed")
    with pytest.raises(ConfigurationError) as caught:
        await create(bench(error))
    assert caught.value is error


async def test_an_effect_that_shows_just_before_the_repeated_post_keeps_it_from_leaving() -> None:
    made = bench(lost(), look_ups=[*[NOWHERE] * 8])
    made.engine.look_ups.append(later(made))
    raw = await create(made)
    assert raw.recovered
    assert len(made.engine.sent) == 1


async def test_a_look_just_before_the_repeated_post_that_fails_is_made_again_until_it_counts() -> (
    None
):
    made = bench(lost(), CREATED, look_ups=[*[NOWHERE] * 8, answer(500), answer(429), NOWHERE])
    raw = await create(made)
    assert not raw.recovered
    assert len(made.engine.sent) == 2
    assert made.engine.times[1] == made.engine.looked[-1]
    assert len(made.engine.looked) == 11


async def test_every_later_post_of_the_call_is_preceded_by_a_look() -> None:
    script: list[Act] = [lost(), not_sent(), answer(429, retry_after="1"), CREATED]
    made = bench(*script, look_ups=[NOWHERE])
    raw = await create(made)
    assert len(raw.attempts) == 4
    assert set(made.engine.times[1:]) <= set(made.engine.looked)


async def test_an_effect_of_the_first_attempt_that_shows_after_the_second_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zero = datetime.now(UTC) - timedelta(seconds=anyio.current_time())

    def virtual() -> datetime:
        return zero + timedelta(seconds=anyio.current_time())

    async def answering() -> WireResponse:
        steps = [{"transactionStatusName": "PAYMENT_LINK_SENT", "created": began}]
        if len(made.engine.sent) == 2:
            steps.append({"transactionStatusName": "RECEIPT_LINK_SENT", "created": began})
        undated = shown(transactionStatuses=steps).body
        return answer(200, undated)

    monkeypatch.setattr("chat2pay_async._send.limited_transport.wall_clock", virtual)
    began = virtual().isoformat()
    made = bench(lost(), lost(), look_ups=[answering])
    # Longer than what clocks are allowed to differ by, so that the second attempt's time is not
    # enough.
    raw = await made.sender.send(operations.CREATE_RECEIPT, RECEIPT, options(settle=400))
    assert raw.parsed.recovered
    assert len(made.engine.sent) == 2


async def test_a_second_loss_opens_a_new_window() -> None:
    made = bench(lost(), lost(), CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    await create(made)
    first, second = 10 + 0.5, 10 + 0.5 + 10 + 1
    times = [at - started for at in made.engine.times]
    assert times == pytest.approx([0, first, second])


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (lost(), RequestTimeoutError),
        (lost(timed_out=False), ConnectionFailedError),
        (answer(503), ServerError),
    ],
    ids=str,
)
async def test_a_call_that_is_absent_after_its_last_attempt_ends_as_that_attempt_did(
    failure: Any, error: type[Exception]
) -> None:
    made = bench(*[failure] * 4, look_ups=[NOWHERE])
    with pytest.raises(error) as caught:
        await create(made)
    assert type(caught.value) is error
    assert len(made.engine.sent) == 4
    assert not made.heard_of(events.OutcomeUnknown)


async def test_those_who_cannot_assume_that_absent_is_final_have_nothing_sent_again() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    with pytest.raises(OutcomeUnknownError):
        await create(made, resend_when_absent=False)
    assert len(made.engine.sent) == 1


async def test_a_resend_that_the_quota_refuses_ends_as_the_attempt_did() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    while made.sender._attempts.quota.spend(Proof.UNKNOWN):
        pass
    with pytest.raises(RequestTimeoutError):
        await create(made)
    assert len(made.engine.sent) == 1


async def test_the_quota_runs_out_and_fills_again_with_success() -> None:
    made = bench(*[not_sent()] * 71, *[CREATED] * 20, not_sent(), CREATED)
    for attempts in [2] * 35 + [1]:
        with pytest.raises(ConnectionFailedError) as caught:
            await create(made, max_attempts=2)
        assert len(caught.value.attempts) == attempts
    for attempts in [1] * 20 + [2]:
        assert len((await create(made, max_attempts=2)).attempts) == attempts


# Ahead of everything else -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "limit", "others", "seconds"),
    [(10, None, 12, 50.0), (100, RateLimit(1), 12, 0.0)],
    ids=["at the connections", "at the pace"],
)
async def test_a_look_up_overtakes_all_calls_that_wait(
    size: int, limit: RateLimit | None, others: int, seconds: float
) -> None:
    async def busy() -> WireResponse:
        await anyio.sleep(seconds)
        return CREATED

    async def lose() -> WireResponse:
        for _ in range(others):
            tasks.start_soon(create, made)
        await anyio.sleep(0.1)
        raise lost()

    made = bench(lose, *[busy] * others, look_ups=[answer(500)], size=size, limit=limit)
    made.engine.look_ups[0] = shown()
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: create(made, stamp=False))
        await anyio.sleep(1.5)
        assert made.engine.looked[0] - started == pytest.approx(0.1 if limit is None else 1.0)
        assert len(made.engine.sent) == (10 if limit is None else 1)
        tasks.cancel_scope.cancel()


# Refusals that may be about ourselves ------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"), [(400, BadRequestError), (404, NotFoundError), (409, ConflictError)]
)
async def test_a_refusal_of_the_repeated_post_is_looked_up_before_it_is_raised(
    status: int, error: type[Exception]
) -> None:
    refusal = answer(status, b'{"errors": ["already captured"]}')
    ours = bench(lost(), refusal, look_ups=[shown(), shown(), captured()])
    assert (await capture(ours)).parsed.succeeded is True

    nobodys = bench(lost(), refusal, look_ups=[shown()])
    with pytest.raises(error):
        await capture(nobodys)

    others = bench(lost(), refusal, look_ups=[shown(), shown(), captured(amount="50.00")])
    with pytest.raises(OutcomeUnknownError):
        await capture(others)


@pytest.mark.parametrize("status", [400, 404, 409])
async def test_a_refusal_after_an_absent_that_was_waited_for_is_looked_up_too(status: int) -> None:
    made = bench(lost(), answer(status), look_ups=[NOWHERE] * 9)
    made.engine.look_ups.append(later(made))
    raw = await create(made)
    assert raw.recovered
    assert len(made.engine.sent) == 2


async def test_a_refusal_of_the_key_on_the_repeated_post_is_raised_as_it_is() -> None:
    made = bench(lost(), answer(401), look_ups=[NOWHERE])
    with pytest.raises(AuthenticationError):
        await create(made)


# Undetermined ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seen",
    [
        answer(200),
        answer(404),
        answer(401),
        answer(403),
        answer(429),
        answer(502),
        lost(),
        answer(200, b"null"),
        answer(200, b"<html>"),
        answer(400, b"{}"),
    ],
    ids=str,
)
async def test_look_ups_that_do_not_count_stretch_the_window_and_then_give_up(seen: Act) -> None:
    made = bench(lost(), look_ups=[seen])
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError):
        await create(made)
    assert len(made.engine.sent) == 1
    assert anyio.current_time() - started >= 30 - 1e-6
    forms = {event.form for event in made.heard_of(events.LookedUp)}
    assert len(forms) == 1


async def test_anothers_transaction_under_the_order_number_leaves_it_in_doubt() -> None:
    foreign = shown(additionalData='{"sdkRequestId": "another"}')
    made = bench(lost(), look_ups=[foreign])
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    assert anyio.current_time() - started == pytest.approx(10.75)  # it is looked at three times
    assert caught.value.pending.request_id is not None


async def test_a_captured_payment_is_never_reversed_again_on_a_guess() -> None:
    made = bench(lost(), look_ups=[captured()])
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.REVERSE_PAYMENT, REFERENCE, options())
    assert len(made.engine.sent) == 1


async def test_a_deadline_in_mid_recovery_leaves_it_in_doubt() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=4))
    assert anyio.current_time() - started == pytest.approx(4)


async def test_a_deadline_after_an_absent_leaves_nothing_in_doubt() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    with pytest.raises(RequestTimeoutError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=10.2))
    assert not made.heard_of(events.OutcomeUnknown)


async def test_cancelling_a_recovery_is_prompt_and_the_hooks_are_told() -> None:
    made = bench(lost(), look_ups=[forever])
    with anyio.move_on_after(3) as scope:
        await create(made)
    assert scope.cancelled_caught
    (told,) = made.heard_of(events.OutcomeUnknown)
    assert told.pending.identity == "A-1"


# Recovered links ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["none", "sms"])
@pytest.mark.parametrize("steps", [(), ("PAYMENT_LINK_CLICKED",), ("PAYMENT_URL_EXPIRED",)])
async def test_a_recovered_link_comes_back_without_its_url_and_nothing_else_is_sent(
    channel: str, steps: tuple[str, ...]
) -> None:
    history = [
        {"transactionStatusName": name, "created": now()} for name in ("PAYMENT_LINK_SENT", *steps)
    ]
    made = bench(lost(), look_ups=[answer(500)])
    made.engine.look_ups[0] = later(made, transactionStatuses=history)
    request = attrs.evolve(LINK, channel=channel, return_payment_link=True)
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, request, options())
    assert (raw.recovered, raw.parsed.recovered) == (True, True)
    assert (raw.parsed.payment_link_ref, raw.parsed.payment_link) == ("ref-1", None)
    assert len(made.engine.sent) == 1


# Integration updates -----------------------------------------------------------------------------


def configured(status: str | None) -> WireResponse:
    entry = [] if status is None else [{"applicationId": "u-1", "status": status}]
    return answer(200, json.dumps({"integrators": entry}).encode())


async def update(made: Bench, status: str = "ACTIVATED") -> Any:
    request = attrs.evolve(INTEGRATION, status=status)
    return await made.sender.send(operations.UPDATE_INTEGRATION, request, options())


@pytest.mark.parametrize(("asked", "now_is"), [("ACTIVATED", "ACTIVATED"), ("DELETED", None)])
async def test_an_update_that_took_place_is_read_back_from_the_configuration(
    asked: str, now_is: str | None
) -> None:
    raw = await update(bench(lost(), look_ups=[configured(now_is)]), asked)
    assert raw.recovered
    assert raw.parsed.recovered


@pytest.mark.parametrize(("asked", "now_is"), [("ACTIVATED", None), ("DELETED", "ACTIVATED")])
async def test_an_update_that_did_not_take_place_goes_again(asked: str, now_is: str | None) -> None:
    made = bench(lost(), answer(200), look_ups=[configured(now_is)])
    raw = await update(made, asked)
    assert not raw.recovered
    assert len(made.engine.sent) == 2


async def test_a_refusal_of_a_repeated_update_is_judged_by_the_configuration_too() -> None:
    made = bench(lost(), answer(404), look_ups=[configured("ACTIVATED"), configured(None)])
    assert (await update(made, "DELETED")).recovered

    made = bench(lost(), answer(404), look_ups=[configured("ACTIVATED")])
    with pytest.raises(NotFoundError):
        await update(made, "DELETED")


async def test_a_first_refusal_of_an_update_is_raised_at_once() -> None:
    made = bench(answer(404), look_ups=[configured(None)])
    with pytest.raises(NotFoundError):
        await update(made, "DELETED")
    assert made.engine.looked == []


# Settling later ----------------------------------------------------------------------------------


async def in_doubt(made: Bench) -> Any:
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    return pickle.loads(pickle.dumps(caught.value.pending))  # noqa: S301 - our own


async def test_a_pending_call_is_settled_later_by_another_client() -> None:
    first = bench(lost(), look_ups=[answer(500)])
    pending = await in_doubt(first)
    second = bench(look_ups=[later(first)])
    resolution = await second.sender.resolve(pending, options())
    assert resolution.verdict is Verdict.APPLIED
    assert resolution.result.payment_link_ref == "ref-1"
    assert second.engine.sent == []


async def test_a_pending_call_is_not_settled_by_what_another_call_returned() -> None:
    made = bench(lost(), look_ups=[answer(500)])
    unstamped = {"stamp": False}
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made, **unstamped)
    fields: dict[str, Any] = {"currency": "ZAR", "channelName": "sms", "totalAmount": 199.90}
    made.engine.look_ups = [shown(**fields)]
    resolution = await made.sender.resolve(caught.value.pending, options())
    assert resolution.verdict is Verdict.APPLIED
    made.engine.script = [CREATED]
    await create(made, **unstamped)
    resolution = await made.sender.resolve(caught.value.pending, options())
    assert resolution.verdict is Verdict.UNDETERMINED


async def test_that_a_pending_capture_failed_is_said_only_when_it_can_no_longer_land() -> None:
    made = bench(lost(), look_ups=[shown()])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=0.2))
    made.engine.look_ups = [shown(), captured()]
    resolution = await made.sender.resolve(caught.value.pending, options())
    assert resolution.verdict is Verdict.APPLIED


async def test_only_the_latest_references_are_remembered() -> None:
    made = bench(*[WireResponse(201, {}, b'{"paymentLinkRef": "%d"}' % n) for n in range(10_001)])
    for _ in range(10_001):
        await create(made)
    known = made.sender._reconciler.known
    assert ("0" in known, "1" in known, "10000" in known) == (False, True, True)


async def test_a_pending_call_may_turn_out_to_be_absent_or_stay_in_doubt() -> None:
    pending = await in_doubt(bench(lost(), look_ups=[answer(500)]))
    absent = await bench(look_ups=[NOWHERE]).sender.resolve(pending, options())
    assert (absent.verdict, absent.result) == (Verdict.ABSENT, None)
    open_ = await bench(look_ups=[answer(500)]).sender.resolve(pending, options())
    assert open_.verdict is Verdict.UNDETERMINED
    cut = await bench(look_ups=[forever]).sender.resolve(pending, options(total=2))
    assert cut.verdict is Verdict.UNDETERMINED


async def test_a_call_whose_window_has_passed_is_settled_by_the_first_look() -> None:
    pending = await in_doubt(bench(lost(), look_ups=[answer(500)]))
    old = attrs.evolve(
        pending,
        last_attempt=attrs.evolve(
            pending.last_attempt, started_at=datetime.now(UTC) - timedelta(hours=1)
        ),
    )
    made = bench(look_ups=[NOWHERE])
    assert (await made.sender.resolve(old, options())).verdict is Verdict.ABSENT
    assert len(made.engine.looked) == 1


async def test_another_base_url_or_key_is_refused() -> None:
    pending = await in_doubt(bench(lost(), look_ups=[answer(500)]))
    for change in ({"base_url": "https://other.test"}, {"key_fingerprint": "00"}):
        made = bench(look_ups=[NOWHERE])
        with pytest.raises(ConfigurationError, match="another base URL or API key"):
            await made.sender.resolve(attrs.evolve(pending, **change), options())
        assert made.engine.looked == []


# Throttles while looking -------------------------------------------------------------------------


async def test_a_throttled_look_up_pauses_the_client() -> None:
    made = bench(lost(), look_ups=[answer(429, retry_after="5"), NOWHERE])
    made.engine.look_ups[1] = later(made)
    started = anyio.current_time()
    await create(made)
    assert made.engine.looked[1] - started == pytest.approx(5)


async def test_a_throttle_pauses_the_clients_other_calls() -> None:
    made = bench(answer(429, retry_after="30"), CREATED, CREATED)

    async def another() -> None:
        await anyio.sleep(1)
        await create(made)

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(another)
        await create(made)
    assert [at - started for at in made.engine.times] == pytest.approx([0, 30, 30])


async def test_a_call_that_is_throttled_out_says_so_even_after_an_absent() -> None:
    made = bench(lost(), answer(429, retry_after="61"), look_ups=[NOWHERE])
    with pytest.raises(RateLimitedError):
        await create(made)
    assert not made.heard_of(events.OutcomeUnknown)
