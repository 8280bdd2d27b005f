"""When to look, and when what was seen settles it: every order of events, and the plain ones."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NamedTuple

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    GatewayResult,
    NotFoundError,
    OutcomeUnknownError,
    Proof,
    RateLimit,
    RateLimitedError,
    ReceiptNotSentError,
    RequestTimeoutError,
    ServerError,
    TransactionStatus,
    events,
)
from chat2pay_async._api import operations, requests
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.reconciliation import (
    FRESH,
    Finding,
    Resolution,
    Verdict,
    look_up,
)
from chat2pay_async._transport.base import WireResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

WINDOWED = ("create_payment_link", "reverse_payment", "create_receipt")
REFUSED_TWICE = ("capture_payment", "cancel_payment_link")
OURS, ABSENT, OTHER, NOTHING = Shows.OURS, Shows.ABSENT, Shows.OTHER, Shows.NOTHING

each_operation = pytest.mark.parametrize("operation", WINDOWED + REFUSED_TWICE)
each_windowed = pytest.mark.parametrize("operation", WINDOWED)
each_refused_twice = pytest.mark.parametrize("operation", REFUSED_TWICE)


class Seen(NamedTuple):
    """When a look-up started, and what it showed."""

    started: float
    evidence: Evidence


@attrs.frozen
class Story:
    """How a series of look-ups went."""

    asked: list[float]
    """The times that were asked for."""
    seen: list[Seen]
    settled: Finding

    @property
    def verdict(self) -> Verdict:
        return self.settled.verdict


def play(  # noqa: PLR0913 - whatever can be different
    operation: str,
    events: Iterable[tuple[Shows, float, float]],
    *,
    settle: float = 10,
    lost_at: float = 0,
    now: float = 0,
    patient: bool = False,
    several: bool = False,
    result: Any = None,
) -> Story:
    """Drive look-ups: what each shows, how late it starts, and how long it takes."""
    look_ups = look_up(operation, lost_at, settle, now, patient=patient, several=several)
    look, clock = next(look_ups), now
    asked: list[float] = []
    seen: list[Seen] = []
    for shows, late, takes in itertools.chain(events, itertools.repeat((NOTHING, 0.0, 0.0))):
        asked.append(look)
        started = max(clock, look) + late
        clock = started + takes
        seen.append(Seen(started, Evidence(shows, result=result or len(seen))))
        try:
            look = look_ups.send(seen[-1])
        except StopIteration as end:
            return Story(asked, seen, end.value)
    raise AssertionError


def always(shows: Shows) -> Iterable[tuple[Shows, float, float]]:
    return itertools.repeat((shows, 0.0, 0.0))


def saw(*shows: Shows) -> list[tuple[Shows, float, float]]:
    return [(one, 0.0, 0.0) for one in shows]


# The plain cases, to the second -------------------------------------------------------------------

TO_THE_END = [0, 0.25, 0.75, 1.75, 3.75, 6.25, 8.75, 10]
STRETCHED = [12.5, 15, 17.5, 20, 22.5, 25, 27.5, 30]


@each_windowed
def test_absent_is_asked_for_at_once_with_back_off_and_believed_at_the_windows_end(
    operation: str,
) -> None:
    story = play(operation, always(ABSENT))
    assert story.asked == TO_THE_END
    assert story.settled == Finding(Verdict.ABSENT, story.seen[-1].evidence, waited=True)


@each_refused_twice
def test_an_operation_that_the_service_refuses_twice_is_absent_at_the_first_look_up(
    operation: str,
) -> None:
    story = play(operation, always(ABSENT))
    assert story.asked == [0]
    assert story.settled == Finding(Verdict.ABSENT, story.seen[-1].evidence, waited=False)


@each_refused_twice
def test_the_window_is_waited_out_where_absent_is_the_last_word(operation: str) -> None:
    story = play(operation, always(ABSENT), patient=True)
    assert story.asked == TO_THE_END
    assert story.settled == Finding(Verdict.ABSENT, story.seen[-1].evidence, waited=True)


@each_operation
def test_look_ups_that_do_not_count_stretch_the_window_to_three_times_its_length(
    operation: str,
) -> None:
    story = play(operation, always(NOTHING))
    assert story.asked == TO_THE_END + STRETCHED
    assert story.verdict is Verdict.UNDETERMINED


@each_windowed
def test_in_the_stretched_window_the_first_look_up_that_counts_settles(operation: str) -> None:
    story = play(operation, saw(*[NOTHING] * 9, ABSENT))
    assert story.asked == [*TO_THE_END, 12.5, 15]
    assert story.verdict is Verdict.ABSENT


@each_operation
def test_an_effect_that_may_be_anothers_is_looked_up_three_times_at_the_windows_end(
    operation: str,
) -> None:
    story = play(operation, always(OTHER))
    assert story.asked == [*TO_THE_END, 10.25, 10.75]
    assert story.settled == Finding(Verdict.UNDETERMINED, story.seen[-1].evidence)


@each_windowed
@pytest.mark.parametrize(("third", "verdict"), [(ABSENT, Verdict.ABSENT), (OURS, Verdict.APPLIED)])
def test_the_third_look_may_find_otherwise(operation: str, third: Shows, verdict: Verdict) -> None:
    story = play(operation, saw(*[NOTHING] * 7, OTHER, OTHER, third))
    assert (story.asked[-1], story.verdict) == (10.75, verdict)


@each_operation
def test_a_look_that_fails_between_them_takes_the_others_back(operation: str) -> None:
    story = play(operation, saw(*[NOTHING] * 7, OTHER, OTHER, NOTHING, *[OTHER] * 3))
    assert story.verdict is Verdict.UNDETERMINED
    assert story.asked[7:] == [10, 10.25, 10.75, 11.75, 12, 12.5]


@each_windowed
def test_look_ups_before_the_windows_end_settle_nothing(operation: str) -> None:
    story = play(operation, saw(OTHER, ABSENT, OTHER, OTHER, ABSENT, OTHER, NOTHING, ABSENT))
    assert (story.asked, story.verdict) == (TO_THE_END, Verdict.ABSENT)


@each_operation
@pytest.mark.parametrize("before", [[], [NOTHING], [OTHER], [NOTHING] * 12, [OTHER, NOTHING] * 3])
def test_our_own_effect_settles_at_once(operation: str, before: list[Shows]) -> None:
    story = play(operation, saw(*before, OURS))
    assert len(story.seen) == len(before) + 1
    assert story.settled == Finding(Verdict.APPLIED, story.seen[-1].evidence)


DECLINED = GatewayResult(payment_gateway_decision="DECLINE")


def test_where_several_captures_may_arrive_a_decline_counts_at_the_windows_end() -> None:
    assert play("capture_payment", always(OURS), result=DECLINED).asked == [0]
    story = play("capture_payment", always(OURS), result=DECLINED, several=True)
    assert story.asked == TO_THE_END
    assert story.settled == Finding(Verdict.APPLIED, story.seen[-1].evidence)
    accepted = GatewayResult(payment_gateway_decision="ACCEPT")
    assert play("capture_payment", always(OURS), result=accepted, several=True).asked == [0]


@each_windowed
def test_where_each_was_waited_for_a_decline_counts_at_once(operation: str) -> None:
    assert play(operation, always(OURS), result=DECLINED, several=True).asked == [0]


def test_a_decline_that_is_not_seen_again_at_the_windows_end_settles_nothing() -> None:
    story = play("capture_payment", saw(OURS), result=DECLINED, several=True)
    assert story.verdict is Verdict.UNDETERMINED


def test_a_short_window_has_a_look_at_each_end() -> None:
    assert play("create_payment_link", always(ABSENT), settle=0.2).asked == [0, 0.2]
    assert play("create_payment_link", always(ABSENT), settle=0.25).asked == [0, 0.25]


@each_operation
@pytest.mark.parametrize("shows", Shows)
def test_without_a_window_one_look_settles(operation: str, shows: Shows) -> None:
    story = play(operation, always(shows), settle=0, lost_at=5, now=5)
    assert story.asked == [5]
    ends = {OURS: Verdict.APPLIED, ABSENT: Verdict.ABSENT}
    assert story.verdict is ends.get(shows, Verdict.UNDETERMINED)


def test_a_slow_look_up_is_judged_by_when_it_started() -> None:
    slow = [(ABSENT, 0.0, 30.0), (ABSENT, 0.0, 0.0)]
    story = play("create_payment_link", slow)
    assert [one.started for one in story.seen] == [0, 30]
    assert story.verdict is Verdict.ABSENT
    assert story.settled.evidence.result == 1


def test_a_look_just_short_of_the_windows_end_is_too_early_and_one_on_it_is_not() -> None:
    early = play("create_payment_link", [(ABSENT, 9.75, 0.0)])
    assert (early.verdict, early.asked[:2]) == (Verdict.UNDETERMINED, [0, 10])
    assert play("create_payment_link", [(ABSENT, 10.0, 0.0)]).verdict is Verdict.ABSENT


@each_operation
def test_long_after_the_window_the_first_absent_settles(operation: str) -> None:
    for patient in (False, True):
        story = play(operation, always(ABSENT), lost_at=-3600, now=0, patient=patient)
        assert (story.asked, story.verdict) == ([0], Verdict.ABSENT)
        assert story.settled.waited


@each_operation
def test_long_after_the_window_look_ups_that_fail_get_two_more_windows(operation: str) -> None:
    story = play(operation, always(NOTHING), lost_at=-3600, now=0)
    assert story.asked == [0, 0.25, 0.75, 1.75, 3.75, 6.25, 8.75, 11.25, 13.75, 16.25, 18.75, 20]
    assert story.verdict is Verdict.UNDETERMINED


def test_a_loss_in_the_future_is_taken_for_now() -> None:
    for ahead in (0, 5, 3600):
        assert play("create_payment_link", always(ABSENT), lost_at=ahead).asked == TO_THE_END


def test_the_rest_of_a_window_is_waited_for() -> None:
    story = play("create_payment_link", always(ABSENT), lost_at=-8)
    assert (story.asked, story.verdict) == ([0, 0.25, 0.75, 1.75, 2], Verdict.ABSENT)


def test_a_look_up_before_its_time_does_not_turn_time_back() -> None:
    look_ups = look_up("create_payment_link", 0, 10, 0)
    asked = [next(look_ups)]
    asked += [look_ups.send((at, Evidence(NOTHING))) for at in (0, 3, 0, 0, 2)]
    assert asked == [0, 0.25, 3.5, 3.5, 3.5, 4.5]


# Laws ---------------------------------------------------------------------------------------------


def quarters(least: float, most: float) -> st.SearchStrategy[float]:
    """Seconds that floats add up exactly."""
    return st.integers(int(least * 4), int(most * 4)).map(lambda number: number / 4)


SECONDS = quarters(0, 90) | st.just(0.0)
EVENTS = st.lists(st.tuples(st.sampled_from(Shows), SECONDS, SECONDS), max_size=30)
NOT_OURS = st.lists(st.sampled_from([ABSENT, OTHER, NOTHING]), max_size=30)
CLOCKS = quarters(-1e6, 1e9)
OPERATIONS = st.sampled_from(WINDOWED + REFUSED_TWICE)
PLAYS: Callable[..., Any] = given(
    operation=OPERATIONS,
    events=EVENTS,
    settle=quarters(0, 60),
    now=CLOCKS,
    ago=quarters(-100, 1000),
    patient=st.booleans(),
)


@PLAYS
def test_the_laws_hold_for_every_order_of_events(  # noqa: PLR0913, PLR0917 - hypothesis draws all of it
    operation: str,
    events: list[tuple[Shows, float, float]],
    settle: float,
    now: float,
    ago: float,
    patient: bool,  # noqa: FBT001 - drawn
) -> None:
    lost_at = now - ago
    story = play(operation, events, settle=settle, lost_at=lost_at, now=now, patient=patient)
    opened = min(lost_at, now)
    last = story.seen[-1]
    shown = [one.evidence.shows for one in story.seen]

    # The first look is made at once, and time does not run backwards.
    assert story.asked[0] == now
    assert story.asked == sorted(story.asked)

    # No look that starts in time skips the window's end.
    closes = opened + settle
    following = zip(story.seen, story.asked[1:], strict=False)
    assert all(at <= closes for one, at in following if one.started < closes)

    # Ours ends it at once, and nothing else says that it was applied.
    assert OURS not in shown[:-1]
    assert (story.verdict is Verdict.APPLIED) is (shown[-1] is OURS)
    assert story.settled.evidence is last.evidence

    # Absent is explicit, and late enough or refused twice.
    if story.verdict is Verdict.ABSENT:
        assert shown[-1] is ABSENT
        late = last.started >= closes
        assert late or (operation in REFUSED_TWICE and not patient)
        assert story.settled.waited is late

    # Undetermined needs three looks at another's effect, or all of the time.
    latest = max(opened, now - settle) + 3 * settle
    if story.verdict is Verdict.UNDETERMINED:
        assert last.started >= latest or shown[-3:] == [OTHER] * 3
        assert last.started >= closes

    # It ends with the first look that starts when all the time has passed.
    assert all(one.started < latest for one in story.seen[:-1])
    assert latest <= max(now + 2 * settle, opened + 3 * settle)


@given(operation=OPERATIONS, shows=NOT_OURS, settle=quarters(0.25, 60), now=CLOCKS)
def test_one_look_is_asked_for_at_the_windows_end_exactly(
    operation: str, shows: list[Shows], settle: float, now: float
) -> None:
    story = play(operation, saw(*shows), settle=settle, lost_at=now, now=now, patient=True)
    assert story.asked.count(now + settle) == 1


@given(
    operation=OPERATIONS,
    settle=quarters(0, 60),
    now=CLOCKS,
    ago=quarters(61, 1e5),
    failing=st.integers(0, 5),
)
def test_once_the_window_has_passed_the_first_look_that_counts_settles(
    operation: str, settle: float, now: float, ago: float, failing: int
) -> None:
    shows = [NOTHING] * failing + [ABSENT]
    story = play(operation, saw(*shows), settle=settle, lost_at=now - ago, now=now)
    if len(story.seen) == len(shows):
        assert story.verdict is Verdict.ABSENT
    else:
        assert story.seen[-1].started >= now + 2 * settle


def test_an_absent_verdict_is_fresh_for_a_second() -> None:
    assert FRESH == 1


def test_a_resolution_has_no_result_unless_it_was_applied() -> None:
    assert Resolution(Verdict.ABSENT).result is None


# As a call sees it --------------------------------------------------------------------------------


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


async def test_a_declined_capture_ends_as_its_response_would_have() -> None:
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


async def test_after_an_absent_verdict_a_post_is_retried_directly_after_a_fresh_look_up() -> None:
    made = bench(lost(), CREATED, look_ups=[NOWHERE])
    raw = await create(made)
    assert raw.parsed.payment_link_ref == "ref-1"
    assert not raw.recovered
    assert [attempt.proof for attempt in raw.attempts] == [Proof.UNKNOWN, Proof.APPLIED]
    assert made.engine.times[1] == made.engine.looked[-1]
    assert len({sent.body for sent in made.engine.sent}) == 1


async def test_a_capture_is_retried_before_the_windows_end() -> None:
    accepted = answer(200, b'{"paymentGatewayDecision": "ACCEPT"}')
    made = bench(lost(), accepted, look_ups=[shown()])
    started = anyio.current_time()
    await capture(made)
    assert made.engine.times[1] - started == pytest.approx(0.5)
    assert anyio.current_time() - started == pytest.approx(0.5)


async def test_a_capture_that_is_not_sent_is_looked_up_once_before_each_attempt() -> None:
    accepted = answer(200, b'{"paymentGatewayDecision": "ACCEPT"}')
    made = bench(lost(), not_sent(), accepted, look_ups=[shown()])
    started = anyio.current_time()
    await capture(made)
    assert [at - started for at in made.engine.times] == pytest.approx([0, 0.5, 1.5])
    assert [at - started for at in made.engine.looked] == pytest.approx([0, 0.5, 1.5])


@pytest.mark.parametrize("seen", [answer(500), answer(200), lost()], ids=["500", "empty", "lost"])
async def test_a_fresh_look_up_that_never_counts_keeps_the_repeated_post_from_being_sent(
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


async def test_anothers_transaction_in_the_fresh_look_up_keeps_the_post_from_being_sent() -> None:
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
async def test_a_failed_capture_is_reported_only_when_its_first_attempt_can_no_longer_arrive(
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


async def test_a_declined_capture_is_returned_only_when_an_earlier_one_can_no_longer_arrive() -> (
    None
):
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


async def test_a_capture_with_an_unknown_decision_leaves_the_one_before_it_unresolved() -> None:
    odd = answer(200, b'{"paymentGatewayDecision": "DO_NOT_HONOR"}')
    made = bench(lost(), odd, look_ups=[shown(), shown(), captured("DO_NOT_HONOR"), captured()])
    raw = await capture(made)
    assert (raw.recovered, raw.parsed.succeeded) == (True, True)

    made = bench(lost(), odd, look_ups=[shown(), shown(), captured("DO_NOT_HONOR")])
    with pytest.raises(OutcomeUnknownError):
        await capture(made)
    assert len(made.engine.sent) == 2


async def test_a_declined_capture_whose_earlier_attempt_can_not_be_looked_up_is_unresolved() -> (
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


async def test_a_deadline_after_an_early_absent_of_a_capture_leaves_it_unresolved() -> None:
    made = bench(lost(), look_ups=[shown()])
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=0.2))
    assert len(made.heard_of(events.OutcomeUnknown)) == 1


async def test_a_capture_that_the_quota_keeps_from_a_retry_is_looked_up_to_the_windows_end() -> (
    None
):
    made = bench(lost(), look_ups=[*[shown()] * 3, captured()])
    while made.sender._quota.spend(Proof.UNKNOWN):
        pass
    assert (await capture(made)).recovered
    assert len(made.engine.sent) == 1


async def test_a_post_that_would_be_sent_a_second_after_its_look_up_is_looked_up_again() -> None:
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
async def test_any_error_in_mid_recovery_leaves_the_call_unresolved(error: Exception) -> None:
    made = bench(lost(), look_ups=[NOWHERE, error])
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    assert caught.value.__cause__ is error
    assert len(made.heard_of(events.OutcomeUnknown)) == 1


async def test_an_error_while_nothing_is_unresolved_is_raised_as_it_is() -> None:
    error = ConfigurationError("the http_client is closed")
    with pytest.raises(ConfigurationError) as caught:
        await create(bench(error))
    assert caught.value is error


async def test_an_effect_in_the_fresh_look_up_keeps_the_repeated_post_from_being_sent() -> None:
    made = bench(lost(), look_ups=[*[NOWHERE] * 8])
    made.engine.look_ups.append(later(made))
    raw = await create(made)
    assert raw.recovered
    assert len(made.engine.sent) == 1


async def test_a_fresh_look_up_that_fails_is_repeated_until_it_counts() -> None:
    made = bench(lost(), CREATED, look_ups=[*[NOWHERE] * 8, answer(500), answer(429), NOWHERE])
    raw = await create(made)
    assert not raw.recovered
    assert len(made.engine.sent) == 2
    assert made.engine.times[1] == made.engine.looked[-1]
    assert len(made.engine.looked) == 11


async def test_every_later_post_of_the_call_is_preceded_by_a_look_up() -> None:
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


async def test_without_resend_when_absent_nothing_is_sent_again() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    with pytest.raises(OutcomeUnknownError):
        await create(made, resend_when_absent=False)
    assert len(made.engine.sent) == 1


async def test_a_resend_that_the_quota_refuses_ends_as_the_attempt_did() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    while made.sender._quota.spend(Proof.UNKNOWN):
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
async def test_a_look_up_has_priority_over_all_calls_that_wait(
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


async def test_anothers_transaction_under_the_order_number_leaves_the_call_unresolved() -> None:
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


async def test_a_deadline_in_mid_recovery_leaves_the_call_unresolved() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=4))
    assert anyio.current_time() - started == pytest.approx(4)


async def test_a_deadline_after_an_absent_verdict_leaves_nothing_unresolved() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    with pytest.raises(RequestTimeoutError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=10.2))
    assert not made.heard_of(events.OutcomeUnknown)


async def test_cancelling_a_recovery_is_prompt_and_emits_the_unknown_outcome() -> None:
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
async def test_an_update_that_did_not_take_place_is_retried(asked: str, now_is: str | None) -> None:
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


async def test_a_pending_capture_is_absent_only_when_it_can_no_longer_arrive() -> None:
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


async def test_a_pending_call_may_be_absent_or_stay_undetermined() -> None:
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


async def test_a_call_that_is_throttled_out_raises_that_even_after_an_absent_verdict() -> None:
    made = bench(lost(), answer(429, retry_after="61"), look_ups=[NOWHERE])
    with pytest.raises(RateLimitedError):
        await create(made)
    assert not made.heard_of(events.OutcomeUnknown)
