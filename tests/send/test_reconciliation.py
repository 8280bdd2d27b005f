"""When to look, and when what was seen settles it: every order of events, and the plain ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async import GatewayResult
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.reconciliation import (
    FRESH,
    Finding,
    Look,
    Resolution,
    Seen,
    Verdict,
    look_up,
)

WINDOWED = ("create_payment_link", "reverse_payment", "create_receipt")
REFUSED_TWICE = ("capture_payment", "cancel_payment_link")
OURS, ABSENT, OTHER, NOTHING = Shows.OURS, Shows.ABSENT, Shows.OTHER, Shows.NOTHING

each_operation = pytest.mark.parametrize("operation", WINDOWED + REFUSED_TWICE)
each_windowed = pytest.mark.parametrize("operation", WINDOWED)
each_refused_twice = pytest.mark.parametrize("operation", REFUSED_TWICE)


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
        assert isinstance(look, Look)
        asked.append(look.at)
        started = max(clock, look.at) + late
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
def test_what_the_service_refuses_twice_is_absent_at_the_first_word(operation: str) -> None:
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
def test_in_the_stretched_window_the_first_answer_that_counts_settles(operation: str) -> None:
    story = play(operation, saw(*[NOTHING] * 9, ABSENT))
    assert story.asked == [*TO_THE_END, 12.5, 15]
    assert story.verdict is Verdict.ABSENT


@each_operation
def test_what_may_be_anothers_is_looked_at_three_times_at_the_windows_end(operation: str) -> None:
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
def test_what_was_seen_before_the_windows_end_settles_nothing(operation: str) -> None:
    story = play(operation, saw(OTHER, ABSENT, OTHER, OTHER, ABSENT, OTHER, NOTHING, ABSENT))
    assert (story.asked, story.verdict) == (TO_THE_END, Verdict.ABSENT)


@each_operation
@pytest.mark.parametrize("before", [[], [NOTHING], [OTHER], [NOTHING] * 12, [OTHER, NOTHING] * 3])
def test_ours_ends_it_at_once(operation: str, before: list[Shows]) -> None:
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


def test_a_loss_that_lies_in_the_future_was_now() -> None:
    for ahead in (0, 5, 3600):
        assert play("create_payment_link", always(ABSENT), lost_at=ahead).asked == TO_THE_END


def test_what_is_left_of_a_window_is_waited_for() -> None:
    story = play("create_payment_link", always(ABSENT), lost_at=-8)
    assert (story.asked, story.verdict) == ([0, 0.25, 0.75, 1.75, 2], Verdict.ABSENT)


def test_whoever_looks_before_the_time_is_not_sent_back_in_time() -> None:
    look_ups = look_up("create_payment_link", 0, 10, 0)
    asked = [next(look_ups).at]
    asked += [look_ups.send(Seen(at, Evidence(NOTHING))).at for at in (0, 3, 0, 0, 2)]
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
def test_whatever_happens_the_laws_hold(  # noqa: PLR0913, PLR0917 - hypothesis draws all of it
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


def test_an_absent_stays_fresh_for_a_second() -> None:
    assert FRESH == 1


def test_a_resolution_has_no_result_unless_it_was_applied() -> None:
    assert Resolution(Verdict.ABSENT).result is None
