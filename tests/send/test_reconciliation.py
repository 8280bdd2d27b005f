"""Times to look, and when what was seen settles it: every order of events, and the plain ones."""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, cast

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
    WINDOW,
    Act,
    Bench,
    answer,
    bench,
    forever,
    lost,
    options,
)

from chat2pay_async import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    OutcomeUnknownError,
    Pending,
    PermissionDeniedError,
    Proof,
    RateLimit,
    RateLimitedError,
    ReceiptNotSentError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Timeout,
    TransactionStatus,
    events,
)
from chat2pay_async._api import operations, requests
from chat2pay_async._send.call import Options
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.flights import SIGHTINGS, Memory, Sightings
from chat2pay_async._send.reconciliation import (
    FRESH,
    Finding,
    LookUps,
    Resolution,
    Seen,
    Verdict,
    look_for,
    look_up,
)
from chat2pay_async._send.references import References
from chat2pay_async._transport.base import WireResponse

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.virtual_time,
    pytest.mark.usefixtures("full_back_off"),
]

OURS, ABSENT, OTHER, NOTHING = Shows.OURS, Shows.ABSENT, Shows.OTHER, Shows.NOTHING
DECLINED, FOREIGN = Shows.DECLINED, Shows.FOREIGN


@attrs.frozen
class Story:
    """The course of a series of look-ups."""

    asked: list[float]
    """The times that were asked for."""
    seen: list[Seen]
    settled: Finding

    @property
    def verdict(self) -> Verdict:
        return self.settled.verdict


def play(
    events: Iterable[tuple[Shows, float, float]],
    *,
    window_ends: float = 10,
    settle: float = 10,
    now: float = 0,
    is_foreign: bool = False,
) -> Story:
    """Drive look-ups: what each shows, how late it starts, and how long it takes."""
    return drive(look_up(window_ends, settle, now, is_foreign=is_foreign), events, now)


def drive(look_ups: LookUps, events: Iterable[tuple[Shows, float, float]], now: float) -> Story:
    look, clock = next(look_ups), now
    asked: list[float] = []
    seen: list[Seen] = []
    for shows, late, takes in itertools.chain(events, itertools.repeat((NOTHING, 0.0, 0.0))):
        asked.append(look)
        started = max(clock, look) + late
        clock = started + takes
        seen.append(Seen(started, Evidence(shows, result=len(seen))))
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
STRETCHED = [12.5, 15, 17.5, 20, 22.5, 25, 27.5, 30, 32.5, 35, 37.5, 40]


def test_absent_is_asked_for_at_once_with_back_off_and_believed_at_the_windows_end() -> None:
    story = play(always(ABSENT))
    assert story.asked == TO_THE_END
    assert story.settled == Finding(Verdict.ABSENT, story.seen[-1].evidence)


def test_a_decline_is_believed_at_the_windows_end_only() -> None:
    story = play(always(DECLINED))
    assert story.asked == TO_THE_END
    assert story.settled == Finding(Verdict.APPLIED, story.seen[-1].evidence)


def test_look_ups_that_do_not_count_stretch_the_window_by_three_times_settle() -> None:
    story = play(always(NOTHING))
    assert story.asked == TO_THE_END + STRETCHED
    assert story.verdict is Verdict.UNDETERMINED


def test_a_long_window_is_stretched_by_three_times_settle_and_not_by_its_length() -> None:
    story = play(always(NOTHING), window_ends=40)
    assert story.asked[-1] == 40 + 30


@pytest.mark.parametrize(
    ("shows", "verdict"),
    [(ABSENT, Verdict.ABSENT), (OURS, Verdict.APPLIED), (DECLINED, Verdict.APPLIED)],
)
def test_in_the_stretched_window_the_first_look_up_that_counts_settles(
    shows: Shows, verdict: Verdict
) -> None:
    story = play(saw(*[NOTHING] * 9, shows))
    assert story.asked == [*TO_THE_END, 12.5, 15]
    assert story.verdict is verdict


def test_an_effect_that_may_be_anothers_is_looked_up_three_times_at_the_windows_end() -> None:
    story = play(always(OTHER))
    assert story.asked == [*TO_THE_END, 10.25, 10.75]
    assert story.settled == Finding(Verdict.UNDETERMINED, story.seen[-1].evidence)


def test_the_third_look_may_find_it_ours() -> None:
    story = play(saw(*[NOTHING] * 7, OTHER, OTHER, OURS))
    assert (story.asked[-1], story.verdict) == (10.75, Verdict.APPLIED)


@pytest.mark.parametrize("effect", [OTHER, DECLINED])
@pytest.mark.parametrize("before", range(5))
def test_what_may_be_the_effect_seen_three_times_in_a_row_is_never_absent(
    effect: Shows, before: int
) -> None:
    story = play(itertools.chain(saw(*[NOTHING] * before, *[effect] * 3), always(ABSENT)))
    assert story.asked == [*TO_THE_END, 10.25, 10.5]
    assert story.verdict is Verdict.UNDETERMINED


@pytest.mark.parametrize("effect", [OTHER, DECLINED])
@pytest.mark.parametrize("times", [1, 2])
def test_what_may_be_the_effect_seen_once_or_twice_takes_two_absences_in_a_row(
    effect: Shows, times: int
) -> None:
    story = play(itertools.chain(saw(*[effect] * times), always(ABSENT)))
    assert story.asked == [*TO_THE_END, 10.25]
    assert story.verdict is Verdict.ABSENT


def test_an_effect_between_two_absences_takes_the_first_back() -> None:
    shown = saw(OTHER, *[NOTHING] * 6, ABSENT, OTHER, ABSENT, ABSENT)
    story = play(shown)
    assert story.verdict is Verdict.ABSENT
    assert len(story.asked) == 11


def test_what_an_earlier_series_of_look_ups_saw_counts_too() -> None:
    seen = Sightings()
    drive(look_up(10, 10, 0, seen=seen), saw(*[OTHER] * 3, *[NOTHING] * 20), 0)
    assert seen.longest == 3
    story = drive(look_up(10, 10, 0, seen=seen), always(ABSENT), 0)
    assert story.verdict is Verdict.UNDETERMINED
    story = drive(look_up(10, 10, 0, seen=seen), saw(ABSENT, OURS), 0)
    assert story.verdict is Verdict.APPLIED


def test_a_look_that_fails_between_them_takes_the_others_back() -> None:
    story = play(saw(*[NOTHING] * 7, OTHER, OTHER, NOTHING, *[OTHER] * 3))
    assert story.verdict is Verdict.UNDETERMINED
    assert story.asked[7:] == [10, 10.25, 10.75, 11.75, 12, 12.5]


def test_look_ups_before_the_windows_end_settle_nothing() -> None:
    story = play(saw(ABSENT, FOREIGN, NOTHING, ABSENT, ABSENT, NOTHING, NOTHING, ABSENT))
    assert (story.asked, story.verdict) == (TO_THE_END, Verdict.ABSENT)


@pytest.mark.parametrize("before", [[], [NOTHING], [OTHER], [NOTHING] * 12, [OTHER, NOTHING] * 3])
def test_our_own_effect_settles_at_once(before: list[Shows]) -> None:
    story = play(saw(*before, OURS))
    assert len(story.seen) == len(before) + 1
    assert story.settled == Finding(Verdict.APPLIED, story.seen[-1].evidence)


def test_a_foreign_refusal_of_the_call_and_of_its_look_up_ends_it_at_once() -> None:
    story = play(saw(NOTHING, FOREIGN), is_foreign=True)
    assert story.asked == [0, 0.25]
    assert story.verdict is Verdict.UNDETERMINED


def test_a_foreign_refusal_of_the_look_up_alone_does_not_count() -> None:
    story = play(saw(*[FOREIGN] * 7, ABSENT))
    assert (story.asked, story.verdict) == (TO_THE_END, Verdict.ABSENT)
    assert play(always(FOREIGN)).asked == TO_THE_END + STRETCHED


def test_a_short_window_has_a_look_at_each_end() -> None:
    assert play(always(ABSENT), window_ends=0.2).asked == [0, 0.2]
    assert play(always(ABSENT), window_ends=0.25).asked == [0, 0.25]


@pytest.mark.parametrize("shows", Shows)
def test_without_a_window_one_look_settles(shows: Shows) -> None:
    story = play(always(shows), settle=0, window_ends=5, now=5)
    assert story.asked == [5]
    ends = {OURS: Verdict.APPLIED, DECLINED: Verdict.APPLIED, ABSENT: Verdict.ABSENT}
    assert story.verdict is ends.get(shows, Verdict.UNDETERMINED)


def test_a_slow_look_up_is_judged_by_when_it_started() -> None:
    slow = [(ABSENT, 0.0, 30.0), (ABSENT, 0.0, 0.0)]
    story = play(slow)
    assert [one.started for one in story.seen] == [0, 30]
    assert story.verdict is Verdict.ABSENT
    assert story.settled.evidence.result == 1


def test_a_look_just_short_of_the_windows_end_is_too_early_and_one_on_it_is_not() -> None:
    early = play([(ABSENT, 9.75, 0.0)])
    assert (early.verdict, early.asked[:2]) == (Verdict.UNDETERMINED, [0, 10])
    assert play([(ABSENT, 10.0, 0.0)]).verdict is Verdict.ABSENT


def test_long_after_the_window_the_first_absent_settles() -> None:
    story = play(always(ABSENT), window_ends=-3600)
    assert (story.asked, story.verdict) == ([0], Verdict.ABSENT)


def test_long_after_the_window_look_ups_that_fail_get_as_long() -> None:
    story = play(always(NOTHING), window_ends=-3600)
    assert story.asked[-1] == 30
    assert story.verdict is Verdict.UNDETERMINED


def test_a_look_up_before_its_time_does_not_turn_time_back() -> None:
    look_ups = look_up(10, 10, 0)
    asked = [next(look_ups)]
    asked += [look_ups.send(Seen(at, Evidence(NOTHING))) for at in (0, 3, 0, 0, 2)]
    assert asked == [0, 0.25, 3.5, 3.5, 3.5, 4.5]


# A link that anybody may have made ----------------------------------------------------------------


def play_for(events: Iterable[tuple[Shows, float, float]], window_ends: float = 10) -> Story:
    return drive(look_for(window_ends, 10, 0), events, 0)


@pytest.mark.parametrize("shows", [OURS, OTHER])
def test_a_link_that_is_there_is_found_at_once_whose_ever_it_is(shows: Shows) -> None:
    story = play_for(saw(shows))
    assert (story.asked, story.verdict) == ([0], Verdict.APPLIED)


def test_a_link_that_is_absent_is_looked_for_once_more_at_the_windows_end() -> None:
    story = play_for(always(ABSENT))
    assert (story.asked, story.verdict) == ([0, 10], Verdict.ABSENT)
    story = play_for(saw(ABSENT, OTHER))
    assert (story.asked, story.verdict) == ([0, 10], Verdict.APPLIED)


def test_a_link_is_absent_at_once_where_the_window_has_passed() -> None:
    story = play_for(always(ABSENT), window_ends=-5)
    assert (story.asked, story.verdict) == ([0], Verdict.ABSENT)


def test_look_ups_for_a_link_that_fail_stretch_the_window_by_three_times_settle() -> None:
    story = play_for(always(NOTHING))
    assert (story.asked[-1], story.verdict) == (40, Verdict.UNDETERMINED)


# Laws ---------------------------------------------------------------------------------------------


def quarters(least: float, most: float) -> st.SearchStrategy[float]:
    """Seconds that floats add up exactly."""
    return st.integers(int(least * 4), int(most * 4)).map(lambda number: number / 4)


SECONDS = quarters(0, 90) | st.just(0.0)
EVENTS = st.lists(st.tuples(st.sampled_from(Shows), SECONDS, SECONDS), max_size=30)
NOT_OURS = st.lists(st.sampled_from([ABSENT, OTHER, NOTHING, FOREIGN]), max_size=30)
CLOCKS = quarters(-1e6, 1e9)
EFFECTS = frozenset({OTHER, DECLINED})
"""Sights that may be of the call's effect."""


def longest_run(wanted: Collection[Shows], shown: list[Shows]) -> int:
    """Count the most of them in a row; look-ups that do not count are left out."""
    counted = (one in wanted for one in shown if one in {*wanted, ABSENT})
    return max((len([*run]) for key, run in itertools.groupby(counted) if key), default=0)


def last_of(wanted: Collection[Shows], shown: list[Shows]) -> int:
    return max(number for number, one in enumerate(shown) if one in wanted)


@given(
    events=EVENTS,
    settle=quarters(0, 60),
    now=CLOCKS,
    ahead=quarters(-1000, 100),
    is_foreign=st.booleans(),
)
def test_the_laws_hold_for_every_order_of_events(
    *,
    events: list[tuple[Shows, float, float]],
    settle: float,
    now: float,
    ahead: float,
    is_foreign: bool,
) -> None:
    closes = now + ahead
    story = play(events, window_ends=closes, settle=settle, now=now, is_foreign=is_foreign)
    last = story.seen[-1]
    shown = [one.evidence.shows for one in story.seen]

    # The first look is made at once, and time does not run backwards.
    assert story.asked[0] == now
    assert story.asked == sorted(story.asked)

    # No look that starts in time skips the window's end.
    following = zip(story.seen, story.asked[1:], strict=False)
    assert all(at <= closes for one, at in following if one.started < closes)

    # Ours ends it at once. Nothing else says that it was applied, but a decline that came late.
    assert OURS not in shown[:-1]
    says_applied = shown[-1] is OURS or (shown[-1] is DECLINED and last.started >= closes)
    assert (story.verdict is Verdict.APPLIED) is says_applied
    assert story.settled.evidence is last.evidence

    # Absent is explicit, and late enough. What may be the effect, seen three times in a row, is
    # never absent; seen less often, it takes two absences since that are late enough.
    if story.verdict is Verdict.ABSENT:
        assert shown[-1] is ABSENT
        assert last.started >= closes
        assert longest_run(EFFECTS, shown) < SIGHTINGS
        late = [one.started >= closes and one.evidence.shows is ABSENT for one in story.seen]
        assert EFFECTS.isdisjoint(shown) or sum(late[last_of(EFFECTS, shown) :]) >= 2

    # Undetermined needs three looks at another's effect, all of the time, or nobody to ask.
    latest = max(closes, now) + 3 * settle
    if story.verdict is Verdict.UNDETERMINED:
        hopeless = is_foreign and shown[-1] is FOREIGN
        contradict = EFFECTS.intersection(shown) and {OTHER, ABSENT}.issuperset(shown[-3:])
        assert last.started >= latest or contradict or hopeless
        assert hopeless or last.started >= closes

    # It ends with the first look that starts when all the time has passed.
    assert all(one.started < latest for one in story.seen[:-1])


@given(events=EVENTS, settle=quarters(0, 60), now=CLOCKS, ahead=quarters(-1000, 100))
def test_the_laws_of_looking_for_a_link_hold_for_every_order_of_events(
    events: list[tuple[Shows, float, float]], settle: float, now: float, ahead: float
) -> None:
    closes = now + ahead
    story = drive(look_for(closes, settle, now), events, now)
    last, shows = story.seen[-1], story.seen[-1].evidence.shows
    assert story.asked[0] == now
    assert story.asked == sorted(story.asked)
    assert (story.verdict is Verdict.APPLIED) is (shows in {OURS, OTHER})
    assert (story.verdict is Verdict.ABSENT) is (shows is ABSENT and last.started >= closes)
    latest = max(closes, now) + 3 * settle
    assert story.verdict is not Verdict.UNDETERMINED or last.started >= latest
    assert all(one.started < latest for one in story.seen[:-1])


@given(shows=NOT_OURS, settle=quarters(0.25, 60), now=CLOCKS)
def test_one_look_is_asked_for_at_the_windows_end_exactly(
    shows: list[Shows], settle: float, now: float
) -> None:
    story = play(saw(*shows), settle=settle, window_ends=now + settle, now=now)
    assert story.asked.count(now + settle) == 1


@given(settle=quarters(0, 60), now=CLOCKS, ago=quarters(61, 1e5), failing=st.integers(0, 5))
def test_once_the_window_has_passed_the_first_look_that_counts_settles(
    settle: float, now: float, ago: float, failing: int
) -> None:
    shows = [NOTHING] * failing + [ABSENT]
    story = play(saw(*shows), settle=settle, window_ends=now - ago, now=now)
    if len(story.seen) == len(shows):
        assert story.verdict is Verdict.ABSENT
    else:
        assert story.seen[-1].started >= now + 3 * settle


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
    return shown(currency="ZAR", paymentStatuses=[AUTHORIZATION, told | entry])


AUTHORIZATION = {
    "transactionType": "AUTHORIZATION",
    "totalAmount": "100.00",
    "paymentGatewayDecision": "ACCEPT",
}


def authorized() -> WireResponse:
    """The history of a link that was paid, and neither captured nor reversed."""
    return shown(currency="ZAR", paymentStatuses=[AUTHORIZATION])


ACCEPTED = answer(200, b'{"paymentGatewayDecision": "ACCEPT"}')
BLOCKED = answer(403, b"<html>Access denied</html>", content_type="text/html")
LOOKS = [0, 0.25, 0.75, 1.75, 3.75, *[6.25 + 2.5 * n for n in range(14)], WINDOW]
"""Times at which a call is looked up whose response was lost at once, until *absent* counts."""


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
    assert looks == pytest.approx([*LOOKS, WINDOW + 0.5])
    assert made.engine.times[1] - started == pytest.approx(WINDOW + 0.5)


async def test_a_lost_capture_is_read_back_with_the_gateways_answer() -> None:
    raw = await capture(bench(lost(), look_ups=[captured()]))
    assert raw.recovered
    assert raw.parsed.succeeded is True
    assert raw.parsed.payment_gateway_req_reference_number == "gw-1"


async def test_a_declined_capture_ends_as_its_response_would_have_at_the_windows_end() -> None:
    started = anyio.current_time()
    raw = await capture(bench(lost(), look_ups=[captured("DECLINE")]))
    assert (raw.recovered, raw.parsed.succeeded) == (True, False)
    assert anyio.current_time() - started == pytest.approx(WINDOW)


async def test_a_capture_that_is_accepted_after_anothers_decline_was_seen_is_accepted() -> None:
    raw = await capture(bench(lost(), look_ups=[captured("DECLINE"), captured()]))
    assert (raw.recovered, raw.parsed.succeeded) == (True, True)


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


POSTS: dict[str, tuple[Any, Any, WireResponse, WireResponse]] = {
    "create": (operations.CREATE_PAYMENT_LINK, LINK, NOWHERE, CREATED),
    "capture": (operations.CAPTURE_PAYMENT, CAPTURE, authorized(), ACCEPTED),
    "reverse": (operations.REVERSE_PAYMENT, REFERENCE, authorized(), ACCEPTED),
    "cancel": (
        operations.CANCEL_PAYMENT_LINK,
        REFERENCE,
        shown(),
        answer(200, b'{"paymentLinkRef": "ref-1", "transactionStatus": "PAYMENT_LINK_CANCELLED"}'),
    ),
    "receipt": (
        operations.CREATE_RECEIPT,
        RECEIPT,
        shown(),
        answer(201, b'{"receiptLinkRef": "rec-1"}'),
    ),
}
"""Each with its request, what shows that it is absent, and its success."""
each_post = pytest.mark.parametrize("post", POSTS.values(), ids=POSTS)


@each_post
@pytest.mark.parametrize("failure", [lost(), answer(500), BLOCKED], ids=["lost", "500", "blocked"])
async def test_no_operation_is_absent_before_its_windows_end(post: Any, failure: Act) -> None:
    operation, request, absent, success = post
    made = bench(failure, success, look_ups=[absent])
    started = anyio.current_time()
    if failure is BLOCKED:
        with pytest.raises(PermissionDeniedError):
            await made.sender.send(operation, request, options())
        assert anyio.current_time() - started == pytest.approx(WINDOW)
        return
    await made.sender.send(operation, request, options())
    assert [at - started for at in made.engine.times] == pytest.approx([0, WINDOW + 0.5])


@each_post
async def test_the_window_starts_when_the_read_would_have_timed_out(post: Any) -> None:
    operation, request, absent, success = post

    async def slow() -> WireResponse:
        await anyio.sleep(20)
        return answer(502)

    made = bench(slow, success, look_ups=[absent])
    started = anyio.current_time()
    await made.sender.send(operation, request, options())
    # 20 s after its last byte it was given up, and 10 s later its read would have timed out.
    assert made.engine.times[1] - started == pytest.approx(30 + 10 + 0.5)


@each_post
async def test_a_look_up_that_ends_after_the_windows_end_counts_by_its_start(post: Any) -> None:
    operation, request, absent, success = post

    async def slow() -> WireResponse:
        await anyio.sleep(60)
        return cast("WireResponse", absent)

    made = bench(lost(), success, look_ups=[slow, absent])
    started = anyio.current_time()
    await made.sender.send(operation, request, options())
    # The first began in the window; then one that counts, and one right before the next attempt.
    assert [at - started for at in made.engine.looked] == pytest.approx([0, 60, 60.5])


async def test_a_first_attempt_is_placed_by_the_time_to_a_look_ups_start() -> None:
    """A response may be as old as its request: then a slow one would make older links ours."""
    began, first = anyio.current_time(), datetime(2026, 5, 4, 12, tzinfo=UTC)
    step = {"transactionStatusName": "PAYMENT_LINK_SENT", "transactionStatusId": 2}

    async def slow() -> WireResponse:
        told = first + timedelta(seconds=anyio.current_time() - began)
        await anyio.sleep(10)
        created = (first - timedelta(seconds=5)).isoformat()
        seen = shown(
            currency="ZAR",
            channelName="sms",
            totalAmount=199.90,
            transactionStatuses=[step | {"created": created}],
        )
        return answer(200, seen.body, date=format_datetime(told, usegmt=True))

    made = bench(lost(), look_ups=[slow])
    with pytest.raises(OutcomeUnknownError):
        await create(made, stamp=False)


async def test_a_post_that_outlasts_its_read_timeout_has_a_window_from_its_end() -> None:
    async def dripping() -> WireResponse:
        await anyio.sleep(100)
        raise lost()

    made = bench(dripping, CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    await create(made)
    assert made.engine.times[1] - started == pytest.approx(100 + 10 + 0.5)


@pytest.mark.parametrize("hours", [-24, 24])
async def test_a_wall_clock_that_is_put_forward_or_back_changes_no_window(
    hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wall_clock() -> datetime:
        moved = timedelta(hours=hours) if anyio.current_time() - started > 5 else timedelta()
        return datetime.now(UTC) + moved

    monkeypatch.setattr("chat2pay_async._send.limited_transport.wall_clock", wall_clock)
    made = bench(lost(), CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    await create(made)
    assert made.engine.times[1] - started == pytest.approx(WINDOW + 0.5)


async def test_a_pending_call_carries_the_services_time_of_its_attempt_once_that_is_known() -> None:
    date = "Thu, 01 Jan 2026 00:00:30 GMT"

    async def dated() -> WireResponse:
        await anyio.sleep(5)
        return answer(502, date=date)

    made = bench(dated, look_ups=[lost()])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=9))
    assert caught.value.pending.service_time == parsedate_to_datetime(date) - timedelta(seconds=5)


async def test_a_look_up_says_the_services_time_as_well() -> None:
    date = "Thu, 01 Jan 2026 00:00:30 GMT"
    made = bench(lost(), look_ups=[answer(502, date=date)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=9))
    sent_at, looked_at = made.engine.times[0], made.engine.looked[-1]
    assert looked_at - sent_at == pytest.approx(8.75)
    expected = parsedate_to_datetime(date) - timedelta(seconds=8.75)
    assert caught.value.pending.service_time == expected


async def test_a_pending_call_carries_no_service_time_where_no_response_says_it() -> None:
    made = bench(answer(502), look_ups=[lost()])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=9))
    assert caught.value.pending.service_time is None


@pytest.mark.parametrize("seen", [answer(500), answer(200), lost()], ids=["500", "empty", "lost"])
async def test_a_fresh_look_up_that_never_counts_keeps_the_repeated_post_from_being_sent(
    seen: Act,
) -> None:
    made = bench(lost(), look_ups=[*[NOWHERE] * len(LOOKS), seen])
    with pytest.raises(OutcomeUnknownError):
        await create(made)
    assert len(made.engine.sent) == 1
    assert made.engine.looked[-1] - made.engine.looked[len(LOOKS)] == pytest.approx(30)


async def test_anothers_transaction_in_the_fresh_look_up_keeps_the_post_from_being_sent() -> None:
    another = shown(additionalData='{"sdkRequestId": "another"}')
    made = bench(lost(), look_ups=[*[NOWHERE] * len(LOOKS), another])
    with pytest.raises(OutcomeUnknownError):
        await create(made)
    assert len(made.engine.sent) == 1


@pytest.mark.parametrize("shows", ["other", "ours", "declined"])
async def test_a_deadline_after_the_fresh_look_up_saw_an_effect_tells_that_it_is_unknown(
    shows: str,
) -> None:
    """The *absent* of the look-ups before it is no proof any more."""
    absent = authorized() if shows == "declined" else NOWHERE
    made = bench(lost(), look_ups=[absent] * len(LOOKS))
    stopped = KeyboardInterrupt()

    def stop(event: Any) -> None:
        if isinstance(event, events.LookedUp) and "explicitly" not in event.shows:
            raise stopped

    if shows == "other":
        another = shown(additionalData='{"sdkRequestId": "another"}')
        made.engine.look_ups += [another, forever]
    elif shows == "ours":
        made.engine.look_ups.append(later(made))
    else:
        made.engine.look_ups += [captured(decision="REJECT"), forever]
    if shows != "other":
        made.sender.hooks = events.Hooks([made.heard.append, stop])
        made.sender._reconciler._hooks = made.sender.hooks
    call = capture if shows == "declined" else create
    with anyio.move_on_after(WINDOW + 20), contextlib.suppress(KeyboardInterrupt):
        await call(made)
    assert len(made.engine.sent) == 1
    assert len(made.engine.looked) > len(LOOKS), "the fresh look-up was made"
    (told,) = made.heard_of(events.OutcomeUnknown)
    assert made.sender.unsettled == (told.pending,)


async def test_a_deadline_before_the_fresh_look_up_is_answered_leaves_it_absent() -> None:
    made = bench(lost(), look_ups=[*[NOWHERE] * len(LOOKS), forever])
    with anyio.move_on_after(WINDOW + 20) as scope:
        await create(made)
    assert scope.cancelled_caught
    assert len(made.engine.looked) > len(LOOKS)
    assert made.sender.unsettled == ()


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
    made = bench(lost(), look_ups=[*[NOWHERE] * len(LOOKS)])
    made.engine.look_ups.append(later(made))
    raw = await create(made)
    assert raw.recovered
    assert len(made.engine.sent) == 1


async def test_a_fresh_look_up_that_fails_is_repeated_until_it_counts() -> None:
    failing = [answer(500), answer(429)]
    made = bench(lost(), CREATED, look_ups=[*[NOWHERE] * len(LOOKS), *failing, NOWHERE])
    raw = await create(made)
    assert not raw.recovered
    assert len(made.engine.sent) == 2
    assert made.engine.times[1] == made.engine.looked[-1]
    assert len(made.engine.looked) == len(LOOKS) + 3


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
            return answer(200, shown(receiptLinkRef="rec-1", transactionStatuses=steps).body)
        return answer(200, shown(transactionStatuses=steps).body)

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
    first, second = WINDOW + 0.5, WINDOW + 0.5 + WINDOW + 1
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


@each_post
async def test_without_resend_when_absent_nothing_is_sent_again(post: Any) -> None:
    operation, request, absent, success = post
    made = bench(lost(), success, look_ups=[absent])
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operation, request, options(resend_when_absent=False))
    assert len(made.engine.sent) == 1


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
    ("status", "error"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (422, ApiError),
    ],
)
async def test_a_refusal_of_the_repeated_post_is_looked_up_before_it_is_raised(
    status: int, error: type[Exception]
) -> None:
    refusal = answer(status, b'{"errors": ["whatever its words"]}')
    absent = [authorized()] * (len(LOOKS) + 1)
    ours = bench(lost(), refusal, look_ups=[*absent, authorized(), captured()])
    assert (await capture(ours)).parsed.succeeded is True

    nobodys = bench(lost(), refusal, look_ups=absent)
    with pytest.raises(error) as caught:
        await capture(nobodys)
    assert type(caught.value) is error
    # An earlier attempt may be what it is about: it has had its window, and gets `settle` more.
    assert nobodys.engine.looked[-1] - nobodys.engine.times[1] == pytest.approx(10)

    others = bench(lost(), refusal, look_ups=[*absent, captured(amount="50.00")])
    with pytest.raises(OutcomeUnknownError):
        await capture(others)


async def test_a_first_refusal_in_the_services_own_form_is_raised_at_once() -> None:
    made = bench(answer(400, b'{"errors": ["already captured"]}'), look_ups=[authorized()])
    with pytest.raises(BadRequestError):
        await capture(made)
    assert made.engine.looked == []


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (answer(400, b'{"message": "bad request"}'), BadRequestError),
        (answer(404, b"<html>"), NotFoundError),
        (answer(413), ApiError),
    ],
    ids=["message", "page", "413"],
)
async def test_a_refusal_in_another_form_is_looked_up_and_raised_after_absent_not_retried(
    refusal: WireResponse, error: type[Exception]
) -> None:
    made = bench(refusal, CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with pytest.raises(error) as caught:
        await create(made)
    assert type(caught.value) is error
    assert len(made.engine.sent) == 1
    assert anyio.current_time() - started == pytest.approx(WINDOW)
    assert not made.heard_of(events.OutcomeUnknown)

    made = bench(refusal, look_ups=[answer(500)])
    made.engine.look_ups[0] = later(made)
    assert (await create(made)).recovered, "it was said after the service had acted"


@pytest.mark.parametrize("status", [408, 409, 423, 424, 444, 460, 499])
async def test_what_somebody_in_between_says_is_looked_up_and_retried_after_absent(
    status: int,
) -> None:
    made = bench(answer(status, b'{"errors": ["timeout"]}'), CREATED, look_ups=[NOWHERE])
    raw = await create(made)
    assert [one.proof for one in raw.attempts] == [Proof.UNKNOWN, Proof.APPLIED]
    assert made.engine.times[1] - made.engine.times[0] > WINDOW


# Somebody else who answers -----------------------------------------------------------------------


async def test_foreign_refusals_of_a_call_and_its_look_up_end_it_at_once() -> None:
    made = bench(BLOCKED, look_ups=[BLOCKED])
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    assert anyio.current_time() == started
    error = caught.value
    assert error.is_foreign
    assert isinstance(error.__cause__, PermissionDeniedError)
    assert "what answers at s.test does not look like Chat 2 Pay (403, text/html)" in str(error)
    assert "check the base URL" in str(error)


async def test_a_foreign_refusal_without_a_content_type_says_so() -> None:
    made = bench(answer(404, b""), look_ups=[BLOCKED])
    with pytest.raises(OutcomeUnknownError, match=r"\(404, no content type\)"):
        await create(made)


@pytest.mark.parametrize("look_up_", [answer(500), lost()], ids=["500", "lost"])
async def test_a_foreign_refusal_of_the_call_alone_does_not_end_look_ups(look_up_: Act) -> None:
    made = bench(BLOCKED, look_ups=[look_up_])
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    assert anyio.current_time() - started == pytest.approx(WINDOW + 30)
    assert not caught.value.is_foreign


async def test_a_foreign_refusal_of_look_ups_alone_does_not_end_them() -> None:
    made = bench(lost(), CREATED, look_ups=[BLOCKED] * 5 + [NOWHERE])
    assert not (await create(made)).recovered


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
    assert anyio.current_time() - started >= WINDOW + 30 - 1e-6
    forms = {event.form for event in made.heard_of(events.LookedUp)}
    assert len(forms) == 1


async def test_anothers_transaction_under_the_order_number_leaves_the_call_unresolved() -> None:
    foreign = shown(additionalData='{"sdkRequestId": "another"}')
    made = bench(lost(), look_ups=[foreign])
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    # It is looked at three times.
    assert anyio.current_time() - started == pytest.approx(WINDOW + 0.75)
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
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=WINDOW + 0.2))
    assert not made.heard_of(events.OutcomeUnknown)


async def test_cancelling_a_recovery_is_prompt_and_emits_the_unknown_outcome() -> None:
    made = bench(lost(), look_ups=[forever])
    with anyio.move_on_after(3) as scope:
        await create(made)
    assert scope.cancelled_caught
    (told,) = made.heard_of(events.OutcomeUnknown)
    assert told.pending.identity == "A-1"
    assert made.sender.unsettled == (told.pending,)


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
    return answer(200, json.dumps({"environment": "TEST", "integrators": entry}).encode())


UPDATED = answer(200, b'{"updateTime": "2026-01-01T00:00:00Z"}')
UNKNOWN_APPLICATION = answer(404, b'{"status": 404, "errors": ["no such application"]}')


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
    made = bench(lost(), UPDATED, look_ups=[configured(now_is)])
    raw = await update(made, asked)
    assert not raw.recovered
    assert len(made.engine.sent) == 2


async def test_a_refusal_of_a_repeated_update_is_judged_by_the_configuration_too() -> None:
    made = bench(
        lost(),
        UNKNOWN_APPLICATION,
        look_ups=[configured("ACTIVATED"), configured(None)],
    )
    assert (await update(made, "DELETED")).recovered

    made = bench(lost(), UNKNOWN_APPLICATION, look_ups=[configured("ACTIVATED")])
    with pytest.raises(NotFoundError):
        await update(made, "DELETED")


async def test_a_first_refusal_of_an_update_is_raised_at_once() -> None:
    made = bench(UNKNOWN_APPLICATION, look_ups=[configured(None)])
    with pytest.raises(NotFoundError):
        await update(made, "DELETED")
    assert made.engine.looked == []


# Settling later ----------------------------------------------------------------------------------


async def pending_of(made: Bench, **retry: Any) -> Pending:
    """Make a call that ends with its outcome unknown."""
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made, **retry)
    return caught.value.pending


@pytest.mark.parametrize(
    "carried",
    [
        lambda one: pickle.loads(pickle.dumps(one)),  # noqa: S301 - our own
        lambda one: Pending.from_json(one.to_json()),
    ],
    ids=["pickle", "JSON"],
)
async def test_a_pending_call_is_settled_later_by_another_client(
    carried: Callable[[Pending], Pending],
) -> None:
    first = bench(lost(), look_ups=[answer(500)])
    pending = carried(await pending_of(first))
    second = bench(look_ups=[later(first)])
    resolution = await second.sender.resolve(pending, options())
    assert resolution.verdict is Verdict.APPLIED
    assert resolution.result.payment_link_ref == "ref-1"
    assert second.engine.sent == []


async def test_a_pending_call_is_not_settled_by_what_another_call_returned() -> None:
    made = bench(lost(), look_ups=[answer(500)])
    pending = await pending_of(made, stamp=False)
    fields: dict[str, Any] = {"currency": "ZAR", "channelName": "sms", "totalAmount": 199.90}
    resolution = await bench(look_ups=[shown(**fields)]).sender.resolve(pending, options())
    assert resolution.verdict is Verdict.APPLIED
    made.engine.look_ups = [shown(**fields)]
    other = attrs.evolve(LINK, order_number="A-2")
    made.engine.script = [CREATED]
    await made.sender.send(operations.CREATE_PAYMENT_LINK, other, options())
    resolution = await made.sender.resolve(pending, options())
    assert resolution.verdict is Verdict.UNDETERMINED


async def absent_after(made: Bench, pending: Pending, **retry: Any) -> float:
    """Resolve a call that is absent, and say how many seconds it took."""
    started = anyio.current_time()
    read = retry.pop("read", 30.0)
    settings = Options(Timeout(read=read), RetryPolicy(**retry))
    resolution = await made.sender.resolve(pending, settings)
    assert resolution == Resolution(Verdict.ABSENT)
    return anyio.current_time() - started


async def test_in_the_process_that_sent_it_a_calls_window_has_begun_already() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=15))
    pending = Pending.from_json(caught.value.pending.to_json())
    assert await absent_after(made, pending) == pytest.approx(WINDOW - 15)
    assert await absent_after(made, pending) == 0


@pytest.mark.parametrize("hours", [-1000, 0, 1000])
async def test_the_window_of_another_process_starts_when_this_one_first_hears_of_it(
    hours: int,
) -> None:
    pending = await pending_of(bench(lost(), look_ups=[answer(500)]))
    written = pending.last_attempt.started_at + timedelta(hours=hours)
    old = attrs.evolve(pending, last_attempt=attrs.evolve(pending.last_attempt, started_at=written))
    made = bench(look_ups=[NOWHERE])
    await anyio.sleep(3600)
    cut = await made.sender.resolve(old, options(total=15))
    assert cut.verdict is Verdict.UNDETERMINED
    assert await absent_after(made, old) == pytest.approx(WINDOW - 15)


@pytest.mark.parametrize(
    ("own", "theirs", "window"),
    [
        ({}, {"settle": 20.0}, 30 + 20),
        ({"settle": 20.0}, {}, 30 + 20),
        ({"read": 50.0}, {}, 50 + 10),
        ({}, {"read_timeout": 50.0}, 50 + 10),
        ({"settle": 1.0, "read": 1.0}, {}, 30 + 10),
    ],
)
async def test_the_longer_of_two_windows_counts_in_another_process(
    own: dict[str, Any], theirs: dict[str, Any], window: float
) -> None:
    pending = attrs.evolve(await pending_of(bench(lost(), look_ups=[answer(500)])), **theirs)
    assert await absent_after(bench(look_ups=[NOWHERE]), pending, **own) == pytest.approx(window)


async def test_a_longer_window_counts_in_the_process_that_sent_it_too() -> None:
    made = bench(lost(), look_ups=[NOWHERE])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=15))
    seconds = await absent_after(made, caught.value.pending, settle=25.0)
    assert seconds == pytest.approx(WINDOW - 15 + 15)


@pytest.mark.parametrize(("own", "theirs"), [(True, False), (False, True), (False, False)])
async def test_absent_is_undetermined_where_either_side_cannot_assume_it(
    *, own: bool, theirs: bool
) -> None:
    pending = await pending_of(bench(lost(), look_ups=[answer(500)]), resend_when_absent=theirs)
    made = bench(look_ups=[NOWHERE])
    resolution = await made.sender.resolve(pending, options(resend_when_absent=own))
    assert resolution == Resolution(Verdict.UNDETERMINED)


async def test_a_pending_capture_is_declined_only_when_it_can_no_longer_arrive() -> None:
    made = bench(lost(), look_ups=[authorized()])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(total=0.2))
    made.engine.look_ups = [captured("DECLINE"), captured()]
    resolution = await made.sender.resolve(caught.value.pending, options())
    assert (resolution.verdict, resolution.result.succeeded) == (Verdict.APPLIED, True)


async def test_an_absence_after_what_may_be_the_effect_resends_and_settles_nothing() -> None:
    pending_entry = captured("REVIEW")
    made = bench(lost(), look_ups=[*[pending_entry] * 3, authorized()])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options())
    assert len(made.engine.looked) == len(LOOKS) + 2
    pending = Pending.from_json(caught.value.pending.to_json())
    assert await made.sender.resolve(pending, options()) == Resolution(Verdict.UNDETERMINED)
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options(), prior=pending)
    # Nothing of it is known elsewhere; and a later call begins anew.
    elsewhere = bench(look_ups=[authorized()])
    assert await elsewhere.sender.resolve(pending, options()) == Resolution(Verdict.ABSENT)
    made.engine.script = [lost(), ACCEPTED]
    assert not (await made.sender.send(operations.CAPTURE_PAYMENT, CAPTURE, options())).recovered


async def test_only_the_latest_references_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(References, "SIZE", 3)
    made = bench(*[answer(201, b'{"paymentLinkRef": "ref-%d"}' % number) for number in range(4)])
    for number in range(4):
        request = attrs.evolve(LINK, order_number=f"A-{number}")
        await made.sender.send(operations.CREATE_PAYMENT_LINK, request, options())
    known = made.sender._reconciler.known
    nobody = ("create_payment_link", "B-1")
    owned = [known.is_of_another(f"ref-{number}", nobody) for number in range(4)]
    assert owned == [False, True, True, True]


async def test_only_the_latest_windows_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "SIZE", 2)
    made = bench(*[lost()] * 3, look_ups=[answer(500)])
    first, second, third = [await pending_of(made) for _ in range(3)]
    made.engine.look_ups = [NOWHERE]
    assert await absent_after(made, third) == 0
    assert await absent_after(made, second) == 0
    assert await absent_after(made, first) == pytest.approx(WINDOW)


async def test_a_pending_call_may_stay_undetermined() -> None:
    pending = await pending_of(bench(lost(), look_ups=[answer(500)]))
    open_ = await bench(look_ups=[answer(500)]).sender.resolve(pending, options())
    assert open_ == Resolution(Verdict.UNDETERMINED)
    cut = await bench(look_ups=[forever]).sender.resolve(pending, options(total=2))
    assert cut == Resolution(Verdict.UNDETERMINED)


async def test_a_call_of_another_base_url_is_refused() -> None:
    pending = await pending_of(bench(lost(), look_ups=[answer(500)]))
    made = bench(look_ups=[NOWHERE])
    elsewhere = attrs.evolve(pending, base_url="https://other.test")
    for another_key in (False, True):
        with pytest.raises(ConfigurationError, match=r"made at https://other\.test"):
            await made.sender.resolve(elsewhere, options(), another_key=another_key)
    assert made.engine.looked == []


async def test_a_call_of_another_key_is_refused_unless_the_caller_says_that_it_was_changed() -> (
    None
):
    pending = await pending_of(bench(lost(), look_ups=[answer(500)]))
    made = bench(look_ups=[NOWHERE])
    rotated = attrs.evolve(pending, key_fingerprint="00")
    with pytest.raises(ConfigurationError, match="another_key=True"):
        await made.sender.resolve(rotated, options())
    assert made.engine.looked == []
    resolution = await made.sender.resolve(rotated, options(), another_key=True)
    assert resolution.verdict is Verdict.ABSENT


async def test_a_link_of_anybody_is_looked_for_under_an_order_number() -> None:
    made = bench(look_ups=[shown()])
    finding = await made.sender.look_for(
        operations.CREATE_PAYMENT_LINK, LINK, options(), anyio.current_time() + 5
    )
    assert finding.verdict is Verdict.APPLIED
    assert finding.evidence.result.payment_link_ref == "ref-1"
    made = bench(look_ups=[NOWHERE])
    started = anyio.current_time()
    finding = await made.sender.look_for(
        operations.CREATE_PAYMENT_LINK, LINK, options(), started + 5
    )
    assert finding.verdict is Verdict.ABSENT
    assert anyio.current_time() - started == pytest.approx(5)


async def test_look_ups_ask_caches_not_to_answer() -> None:
    made = bench(lost(), look_ups=[])
    made.engine.script += [NOWHERE]
    with anyio.move_on_after(0.1):
        await create(made)
    assert made.engine.headers[1]["Cache-Control"] == "no-cache"
    assert "Cache-Control" not in made.engine.headers[0]


async def test_the_read_back_of_an_update_asks_caches_not_to_answer() -> None:
    made = bench(lost(), configured("ACTIVATED"))
    assert (await update(made)).recovered
    assert made.engine.headers[1]["Cache-Control"] == "no-cache"
    assert "Cache-Control" not in made.engine.headers[0]


# Throttles while looking -------------------------------------------------------------------------


async def test_a_throttled_look_up_pauses_the_client() -> None:
    made = bench(lost(), look_ups=[answer(429, retry_after="5"), NOWHERE])
    made.engine.look_ups[1] = later(made)
    started = anyio.current_time()
    await create(made)
    assert made.engine.looked[1] - started == pytest.approx(5)


async def test_a_throttle_pauses_the_clients_other_calls() -> None:
    others = answer(201, b'{"paymentLinkRef": "ref-2"}')
    made = bench(answer(429, retry_after="30"), CREATED, others)

    async def another() -> None:
        await anyio.sleep(1)
        await create(made)

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(another)
        await create(made)
    throttled, first, second = (at - started for at in made.engine.times)
    assert throttled == 0
    assert min(first, second) == pytest.approx(30)


async def test_a_call_that_is_throttled_out_raises_that_even_after_an_absent_verdict() -> None:
    made = bench(lost(), answer(429, retry_after="61"), look_ups=[NOWHERE])
    with pytest.raises(RateLimitedError):
        await create(made)
    assert not made.heard_of(events.OutcomeUnknown)
