"""Retries: after what an attempt proved, if a call may be retried, and when. No I/O.

Two tables decide everything: `proof_of` (`_api/responses.py`, with the transports' table of
exceptions) says what an attempt proves, and `may_be_retried` what that allows. A POST is retried
only if it was certainly not applied.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from chat2pay_async._api.operations import Safety
from chat2pay_async._config import RetryPolicy
from chat2pay_async._send.limits import LONGEST_PAUSE
from chat2pay_async.errors import Attempt, Proof

__all__ = ["Quota", "back_off", "delay_before_next", "may_be_retried"]

LONGEST_THROTTLE: Final = 300.0
"""Seconds that one call spends on throttles, where no deadline says otherwise."""
THROTTLE_STEP: Final = 0.1
"""Seconds: after its n-th throttle a call waits for n of these, or longer."""

_MAY_BE_RETRIED: dict[Safety, frozenset[Proof]] = {
    Safety.READ: frozenset({Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN}),
    Safety.REPEATABLE: frozenset({Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN}),
    Safety.ONCE: frozenset({Proof.NOT_SENT, Proof.THROTTLED}),
}


def may_be_retried(safety: Safety, proof: Proof) -> bool:
    """Tell whether an operation may be sent again after an attempt that proved this."""
    return proof in _MAY_BE_RETRIED[safety]


_jitter = random.Random()  # noqa: S311 - it spreads load, it keeps no secret


def back_off(policy: RetryPolicy, failures: int) -> float:
    """Return capped exponential back-off with full jitter, in seconds, after so many failures."""
    # 2 ** 63 is past any maximum, and a float can still hold it.
    ceiling = min(policy.maximum, policy.initial * 2.0 ** min(failures - 1, 63))
    return _jitter.uniform(0.0, ceiling)


def delay_before_next(
    policy: RetryPolicy,
    attempts: Sequence[Attempt],
    asked: float | None,
    throttled_for: float,
) -> float | None:
    """Return the seconds to wait before a call that may be retried is; None: give up.

    Args:
        policy: The client's.
        attempts: Those made, the failed one last.
        asked: The seconds that its response asked to wait.
        throttled_for: Seconds that the call has spent on throttles so far.
    """
    throttles = sum(attempt.proof is Proof.THROTTLED for attempt in attempts)
    throttled = attempts[-1].proof is Proof.THROTTLED
    failures = throttles if throttled else len(attempts) - throttles
    delay = max(asked or 0.0, back_off(policy, failures))
    if throttled:
        # `Retry-After: 0`, again and again, must not spin: throttles use up no attempt.
        delay = max(delay, throttles * THROTTLE_STEP)
        give_up = throttled_for + delay > LONGEST_THROTTLE
    else:
        give_up = failures >= policy.max_attempts
    return None if give_up or (asked or 0.0) > LONGEST_PAUSE else delay


class Quota:
    """A client's retry quota: when everything fails, repeating it all makes it worse.

    A bucket of 500 tokens. A retry costs 14, one after a throttle 5. A success gives back what its
    call spent, or one token where it spent nothing.
    """

    SIZE: Final = 500
    COST: Final = 14
    THROTTLE_COST: Final = 5

    def __init__(self) -> None:
        self._tokens = self.SIZE

    def spend(self, proof: Proof) -> int:
        """Pay for a retry after an attempt that proved this; 0 where that can't be paid."""
        cost = self.THROTTLE_COST if proof is Proof.THROTTLED else self.COST
        if cost > self._tokens:
            return 0
        self._tokens -= cost
        return cost

    def refund(self, spent: int) -> None:
        """Give a call that succeeded back what it spent."""
        self._tokens = min(self.SIZE, self._tokens + (spent or 1))
