"""Retries: after what an attempt came to, whether there is another, and when. No I/O.

tenacity's wait and stop strategies are the back-off and the count. The quota and the pace of a
whole client are beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from chat2pay_async._api.responses import Outcome
from chat2pay_async._config import RetryPolicy
from chat2pay_async._send.limits import LONGEST_PAUSE
from chat2pay_async.errors import Attempt, Proof

__all__ = ["Quota", "back_off", "delay_before_next"]

LONGEST_THROTTLE: Final = 300.0
"""Seconds that one call spends on throttles, where no deadline says otherwise."""
THROTTLE_STEP: Final = 0.1
"""Seconds: after its n-th throttle a call waits for n of these, or longer."""
_RETRIED: Final = frozenset({Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN})
"""The proofs after which a call is retried: a POST only after look-ups said *absent*."""


def back_off(policy: RetryPolicy, failures: int) -> float:
    """Return capped exponential back-off with full jitter, in seconds, after so many failures."""
    # Only a call that fails pays for the import. tenacity's randomness is that of `random`, which
    # a forked process starts anew.
    import tenacity  # noqa: PLC0415 - see above

    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = failures
    wait = tenacity.wait_random_exponential(multiplier=policy.initial, max=policy.maximum)
    return wait(state)


def delay_before_next(
    policy: RetryPolicy,
    attempts: Sequence[Attempt],
    outcome: Outcome[Any],
    throttled_for: float,
) -> float | None:
    """Return the seconds to wait before the next attempt of a call; None: there is none.

    Args:
        policy: The client's.
        attempts: Those made by this process.
        outcome: The last one's.
        throttled_for: Seconds that the call has spent on throttles so far.
    """
    asked = outcome.retry_after or 0.0
    if outcome.proof not in _RETRIED or outcome.is_final or asked > LONGEST_PAUSE:
        return None
    throttles = sum(attempt.proof is Proof.THROTTLED for attempt in attempts)
    if outcome.proof is Proof.THROTTLED:
        # `Retry-After: 0`, again and again, must not spin: throttles use up no attempt.
        delay = max(asked, back_off(policy, throttles), throttles * THROTTLE_STEP)
        return None if throttled_for + delay > LONGEST_THROTTLE else delay
    failures = max(1, len(attempts) - throttles)
    if len(attempts) - throttles >= policy.max_attempts:
        return None
    return max(asked, back_off(policy, failures))


class Quota:
    """A client's retry quota: when everything fails, repeating it all makes it worse.

    A bucket of 500 tokens. A retry costs 14; one after a throttle nothing, since the pause protects
    the service. What a call spent is given back unless it ends by its last attempt's failure, and a
    success that spent nothing gives one token.
    """

    SIZE: Final = 500
    COST: Final = 14

    def __init__(self) -> None:
        self._tokens = self.SIZE

    def spend(self) -> int:
        """Pay for a retry; 0 where that can't be paid."""
        if self._tokens < self.COST:
            return 0
        self._tokens -= self.COST
        return self.COST

    def refund(self, tokens: int) -> None:
        """Give tokens back."""
        self._tokens = min(self.SIZE, self._tokens + tokens)
