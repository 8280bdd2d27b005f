"""Retries: after what an attempt came to, whether there is another, and when. No I/O of its own.

tenacity's wait and stop strategies are the back-off and the count. The quota and the pace of a
whole client are beyond it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final

from chat2pay_async._api import models, requests
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.responses import Outcome, is_cached
from chat2pay_async._config import RetryPolicy
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.limits import LONGEST_PAUSE
from chat2pay_async._send.reconciliation import Finding, Verdict
from chat2pay_async.errors import Attempt, Chat2PayError, Proof

__all__ = ["Quota", "back_off", "delay_before_next", "read_back"]

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


# Before an update is repeated ---------------------------------------------------------------------


async def read_back(
    configuration: Awaitable[Outcome[models.Configuration]], request: object
) -> Finding:
    """Read an integration's status back: applied, or (also where that can't be told) not yet.

    An update may be repeated, so nothing is lost by making it again.
    """
    assert isinstance(request, requests.IntegrationRequest)  # noqa: S101 - the only PUT
    try:
        outcome = await configuration
    except Chat2PayError:
        return Finding(Verdict.ABSENT, Evidence(Shows.NOTHING))
    found, response = outcome.result, outcome.response
    assert response is not None  # noqa: S101 - it was read from one
    data = decode_object(response.body) or {}
    # A configuration without its list is none: `{}` must not pass for a deletion.
    is_readable = isinstance(data.get("integrators"), list) and not is_cached(response.headers)
    if not is_readable or not _holds(found, request):
        return Finding(Verdict.ABSENT, Evidence(Shows.ABSENT))
    result = models.IntegrationUpdate(update_time=found.update_time, recovered=True)
    return Finding(Verdict.APPLIED, Evidence(Shows.OURS, result), response)


def _holds(configuration: models.Configuration, request: requests.IntegrationRequest) -> bool:
    """Tell whether a configuration shows what an update asked for."""
    wanted = request.application_uuid.casefold()  # a UUID is the same in either case
    found = [
        one for one in configuration.integrators if (one.application_id or "").casefold() == wanted
    ]
    if found:
        return all(one.status is request.status for one in found)
    # One whose id could not be read may be this one.
    are_all_known = "integrators" not in configuration.extra and all(
        one.application_id for one in configuration.integrators
    )
    return are_all_known and request.status is models.IntegrationStatus.DELETED
