"""What an attempt proves, what may go again, and when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._api.operations import Safety
from chat2pay_async._config import RetryPolicy
from chat2pay_async._send import retry as _retry
from chat2pay_async._send.retry import Quota, back_off, delay_before_next, may_be_retried
from chat2pay_async.errors import Attempt, Proof

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
AT_ONCE = RetryPolicy(initial=0.0, maximum=0.0)
"""Without a delay of its own, so that a test sees all others."""


def attempts(*proofs: Proof) -> list[Attempt]:
    return [Attempt(NOW, 0.1, proof) for proof in proofs]


def delay(
    *proofs: Proof,
    policy: RetryPolicy = AT_ONCE,
    asked: float | None = None,
    throttled_for: float = 0.0,
) -> float | None:
    return delay_before_next(policy, attempts(*proofs), asked, throttled_for)


# What may go again --------------------------------------------------------------------------------

MAY_GO_AGAIN = {
    (Safety.READ, Proof.NOT_SENT): True,
    (Safety.READ, Proof.THROTTLED): True,
    (Safety.READ, Proof.REJECTED): False,
    (Safety.READ, Proof.APPLIED): False,
    (Safety.READ, Proof.UNKNOWN): True,
    (Safety.REPEATABLE, Proof.NOT_SENT): True,
    (Safety.REPEATABLE, Proof.THROTTLED): True,
    (Safety.REPEATABLE, Proof.REJECTED): False,
    (Safety.REPEATABLE, Proof.APPLIED): False,
    (Safety.REPEATABLE, Proof.UNKNOWN): True,
    (Safety.ONCE, Proof.NOT_SENT): True,
    (Safety.ONCE, Proof.THROTTLED): True,
    (Safety.ONCE, Proof.REJECTED): False,
    (Safety.ONCE, Proof.APPLIED): False,
    (Safety.ONCE, Proof.UNKNOWN): False,
}


def test_proofs_that_allow_a_retry_are_exactly_these() -> None:
    real = {(safety, proof): may_be_retried(safety, proof) for safety in Safety for proof in Proof}
    assert real == MAY_GO_AGAIN


def test_an_absurd_number_of_seconds_is_more_than_any_call_waits() -> None:
    assert delay(Proof.THROTTLED, asked=float("9" * 400)) is None


# Back-off -----------------------------------------------------------------------------------------

SECONDS = st.floats(0, 1e6, allow_nan=False)


@given(
    initial=SECONDS,
    maximum=SECONDS,
    failures=st.one_of(st.integers(1, 70), st.integers(1, 10**12)),
)
def test_back_off_stays_between_zero_and_the_doubled_first_delay(
    initial: float, maximum: float, failures: int
) -> None:
    policy = RetryPolicy(initial=initial, maximum=maximum)
    ceiling = min(maximum, initial * 2 ** min(failures - 1, 60)) if failures <= 60 else maximum
    assert 0 <= back_off(policy, failures) <= ceiling


@pytest.mark.parametrize("failures", [64, 1023, 1024, 5000, 10**9, 10**400])
def test_any_number_of_failures_can_be_counted(failures: int) -> None:
    assert 0 <= back_off(RetryPolicy(initial=1e-3, maximum=8.0), failures) <= 8.0
    assert 0 <= back_off(RetryPolicy(initial=1e300, maximum=8.0), failures) <= 8.0


@pytest.mark.parametrize(
    ("failures", "ceiling"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (100, 8.0)],
)
def test_the_jitter_is_full(failures: int, ceiling: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_jitter", random.Random(1))  # noqa: S311 - no secret
    delays = [back_off(RetryPolicy(), failures) for _ in range(2000)]
    assert 0 <= min(delays) < 0.01 * ceiling
    assert 0.99 * ceiling < max(delays) <= ceiling
    assert 0.45 * ceiling < sum(delays) / len(delays) < 0.55 * ceiling


def test_calls_are_not_retried_in_step() -> None:
    assert len({back_off(RetryPolicy(), 3) for _ in range(100)}) > 90


# The delay before the next attempt ----------------------------------------------------------------


@pytest.mark.parametrize("proof", [Proof.NOT_SENT, Proof.UNKNOWN])
@pytest.mark.parametrize("most", [1, 2, 4, 10])
def test_a_call_makes_as_many_attempts_as_its_policy_says(proof: Proof, most: int) -> None:
    policy = RetryPolicy(max_attempts=most, initial=0.0)
    goes_on = [delay(*[proof] * made, policy=policy) is not None for made in range(1, most + 2)]
    assert goes_on == [True] * (most - 1) + [False, False]


def test_throttles_use_up_no_attempt() -> None:
    policy = RetryPolicy(max_attempts=2, initial=0.0)
    throttled, failed = Proof.THROTTLED, Proof.NOT_SENT
    assert delay(*[throttled] * 50, policy=policy) is not None
    assert delay(*[throttled] * 50, failed, policy=policy) is not None
    assert delay(failed, *[throttled] * 50, policy=policy) is not None
    assert delay(failed, *[throttled] * 50, failed, policy=policy) is None


def test_failures_do_not_lengthen_the_delay_after_a_throttle() -> None:
    policy = RetryPolicy(max_attempts=20, initial=0.001, maximum=50.0)
    many = [Proof.NOT_SENT] * 16
    assert all(0.1 <= (delay(*many, Proof.THROTTLED, policy=policy) or 0) < 0.11 for _ in range(50))


@pytest.mark.parametrize("proof", [Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN])
def test_the_delay_that_a_response_asks_for_is_a_minimum(proof: Proof) -> None:
    assert delay(proof, asked=7.0) == 7.0
    long = RetryPolicy(initial=50.0, maximum=50.0)
    delays = [delay(proof, asked=7.0, policy=long) for _ in range(200)]
    assert min(one for one in delays if one is not None) >= 7.0
    assert max(one for one in delays if one is not None) > 40.0


@pytest.mark.parametrize("proof", [Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN])
def test_a_call_waits_a_minute_but_no_longer(proof: Proof) -> None:
    assert delay(proof, asked=60.0) == 60.0
    assert delay(proof, asked=60.001) is None


@pytest.mark.parametrize("proof", [Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN])
def test_a_policy_of_long_delays_is_followed(proof: Proof) -> None:
    patient = RetryPolicy(initial=120.0, maximum=120.0)
    delays = [delay(proof, policy=patient) for _ in range(200)]
    assert None not in delays
    assert max(one or 0 for one in delays) > 60.0


@pytest.mark.parametrize(
    ("throttled_for", "asked", "waits"),
    [
        (0.0, 60.0, 60.0),
        (240.0, 60.0, 60.0),
        (240.001, 60.0, None),
        (299.0, 1.0, 1.0),
        (300.0, 0.0, None),
        (301.0, None, None),
    ],
)
def test_a_call_spends_five_minutes_on_throttles(
    throttled_for: float, asked: float | None, waits: float | None
) -> None:
    assert delay(Proof.THROTTLED, asked=asked, throttled_for=throttled_for) == waits


def test_time_spent_on_throttles_ends_no_other_retry() -> None:
    assert delay(Proof.THROTTLED, Proof.NOT_SENT, throttled_for=300.0) == 0.0


def storm(policy: RetryPolicy, asked: float | None) -> Sequence[float]:
    """The delays of a call that is throttled until it gives up."""
    made: list[Attempt] = []
    delays: list[float] = []
    while True:
        made += attempts(Proof.THROTTLED)
        pause = delay_before_next(policy, made, asked, sum(delays))
        if pause is None:
            return delays
        delays.append(pause)
        assert len(delays) < 1000, "it spins"


@pytest.mark.parametrize("policy", [RetryPolicy(), AT_ONCE, RetryPolicy(initial=0.0)])
@pytest.mark.parametrize("asked", [None, 0.0, 0.001])
def test_throttles_that_ask_for_no_pause_do_not_spin(
    policy: RetryPolicy, asked: float | None
) -> None:
    delays = storm(policy, asked)
    assert min(delays) >= 0.1
    assert 290 < sum(delays) <= 300
    assert len(delays) < 100


def test_a_throttle_that_asks_for_a_minute_is_waited_for_five_times() -> None:
    assert storm(RetryPolicy(), 60.0) == [60.0] * 5


@given(
    proofs=st.lists(
        st.sampled_from([Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN]), min_size=1, max_size=100
    ),
    asked=st.none() | st.floats(0, 1000),
    throttled_for=st.floats(0, 400),
)
def test_a_delay_is_never_shorter_than_asked_nor_longer_than_a_minute(
    proofs: list[Proof], asked: float | None, throttled_for: float
) -> None:
    pause = delay(*proofs, policy=RetryPolicy(), asked=asked, throttled_for=throttled_for)
    assert pause is None or max(0.0, asked or 0.0) <= pause <= 60.0


# The quota ----------------------------------------------------------------------------------------


def tokens(quota: Quota) -> int:
    """How many tokens are left, counted by spending them to within a throttle's cost."""
    left = 0
    while cost := quota.spend(Proof.THROTTLED):
        left += cost
    return left


@pytest.mark.parametrize(
    ("proof", "cost"), [(Proof.NOT_SENT, 14), (Proof.UNKNOWN, 14), (Proof.THROTTLED, 5)]
)
def test_a_retry_costs_this_much_until_the_quota_is_spent(proof: Proof, cost: int) -> None:
    quota = Quota()
    spent = [quota.spend(proof) for _ in range(200)]
    paid = 500 // cost
    assert spent == [cost] * paid + [0] * (200 - paid)


def test_a_retry_that_cannot_be_paid_costs_nothing() -> None:
    quota = Quota()
    while quota.spend(Proof.NOT_SENT):
        pass  # 500 = 35 · 14 + 10
    assert quota.spend(Proof.NOT_SENT) == 0
    assert tokens(quota) == 10


def test_a_retry_may_take_the_last_token() -> None:
    quota = Quota()
    for _ in range(100):
        assert quota.spend(Proof.THROTTLED) == 5
    assert quota.spend(Proof.THROTTLED) == 0
    quota.refund(14)
    assert quota.spend(Proof.UNKNOWN) == 14
    assert quota.spend(Proof.THROTTLED) == 0


@pytest.mark.parametrize(("spent", "back"), [(0, 1), (5, 5), (14, 14), (33, 33)])
def test_a_success_gives_back_what_its_call_spent_or_one(spent: int, back: int) -> None:
    quota = Quota()
    assert tokens(quota) == 500
    for _ in range(5):
        quota.refund(spent)
    assert tokens(quota) == 5 * back // 5 * 5


def test_the_quota_is_never_more_than_full() -> None:
    quota = Quota()
    quota.refund(0)
    quota.refund(400)
    quota.spend(Proof.NOT_SENT)
    quota.refund(28)
    assert tokens(quota) == 500


@given(
    st.lists(
        st.sampled_from([Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN]) | st.integers(0, 200)
    )
)
def test_the_quota_keeps_its_account(steps: list[Proof | int]) -> None:
    quota, left = Quota(), 500
    for step in steps:
        if isinstance(step, int):
            quota.refund(step)
            left = min(500, left + max(step, 1))
        else:
            cost = 5 if step is Proof.THROTTLED else 14
            assert quota.spend(step) == (cost if cost <= left else 0)
            left -= cost if cost <= left else 0
    assert tokens(quota) == left // 5 * 5
