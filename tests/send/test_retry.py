"""Retries: what is retried, when, and for how long a client can pay for it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._api.responses import Outcome
from chat2pay_async._config import RetryPolicy
from chat2pay_async._send.retry import Quota, back_off, delay_before_next
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
    is_final: bool = False,
) -> float | None:
    outcome: Outcome[object] = Outcome(proofs[-1], retry_after=asked, is_final=is_final)
    return delay_before_next(policy, attempts(*proofs), outcome, throttled_for)


# What is retried ----------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", Proof)
def test_nothing_is_retried_that_was_applied_or_rejected(proof: Proof) -> None:
    assert (delay(proof) is None) is (proof in {Proof.APPLIED, Proof.REJECTED})


def test_a_refusal_in_a_form_that_is_not_the_services_own_is_not_retried() -> None:
    assert delay(Proof.UNKNOWN, is_final=True) is None


def test_an_absurd_number_of_seconds_is_more_than_any_call_waits() -> None:
    assert delay(Proof.THROTTLED, asked=float("9" * 400)) is None


# Back-off -----------------------------------------------------------------------------------------

SECONDS = st.floats(0, 1e6, allow_nan=False)


@given(
    initial=SECONDS,
    maximum=SECONDS,
    failures=st.integers(1, 5000),
)
def test_back_off_stays_between_zero_and_the_doubled_first_delay(
    initial: float, maximum: float, failures: int
) -> None:
    policy = RetryPolicy(initial=initial, maximum=maximum)
    ceiling = min(maximum, initial * 2 ** min(failures - 1, 60)) if failures <= 60 else maximum
    assert 0 <= back_off(policy, failures) <= ceiling


@pytest.mark.parametrize("failures", [64, 1023, 1024, 5000])
def test_any_number_of_failures_can_be_counted(failures: int) -> None:
    assert 0 <= back_off(RetryPolicy(initial=1e-3, maximum=8.0), failures) <= 8.0
    assert 0 <= back_off(RetryPolicy(initial=1e300, maximum=8.0), failures) <= 8.0


@pytest.mark.parametrize(
    ("failures", "ceiling"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (100, 8.0)],
)
def test_the_jitter_is_full(failures: int, ceiling: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", random.Random(1).uniform)  # noqa: S311 - no secret
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
        outcome: Outcome[object] = Outcome(Proof.THROTTLED, retry_after=asked)
        pause = delay_before_next(policy, made, outcome, sum(delays))
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


def retries(quota: Quota) -> int:
    """Spend what is left, and count the retries that it was enough for."""
    paid = 0
    while quota.spend():
        paid += 1
    return paid


def test_a_retry_costs_14_tokens_of_500() -> None:
    quota = Quota()
    assert [quota.spend() for _ in range(100)] == [14] * 35 + [0] * 65
    quota.refund(4)  # 500 = 35 · 14 + 10
    assert quota.spend() == 14, "a retry that was refused cost nothing"


def test_the_quota_is_never_more_than_full() -> None:
    quota = Quota()
    quota.spend()
    quota.refund(28)
    assert retries(quota) == 35


@given(st.lists(st.none() | st.integers(0, 200)))
def test_the_quota_keeps_its_account(steps: list[int | None]) -> None:
    quota, left = Quota(), 500
    for refunded in steps:
        if refunded is None:
            cost = 14 if left >= 14 else 0
            assert quota.spend() == cost
            left -= cost
        else:
            quota.refund(refunded)
            left = min(500, left + refunded)
    assert retries(quota) == left // 14
