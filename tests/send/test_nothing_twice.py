"""The promise as laws: hypothesis draws what the service does to each request of a call.

Within the stated assumption (applied and shown within the window), whatever the order of events:
nothing is applied twice, nobody is told "failed" while there is or will be an effect, nobody is
told "succeeded" without one, and no result is another's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from unittest import mock

import anyio
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from moody_service import CALLS, GATEWAY, Service, time_at
from scripted import WINDOW, options
from virtual_time import VirtualLoop

from chat2pay_async import Chat2PayError, OutcomeUnknownError, Verdict
from chat2pay_async._config import ApiKey
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import RateLimiter, Slots
from chat2pay_async._send.sender import Sender
from chat2pay_async.events import Hooks

LATEST = 0.8 * WINDOW
"""Seconds until a request is applied, at most; it is shown a tenth of the window later."""

# What happens to a POST: (what the caller sees, seconds until it is applied; None: never).
POST_ACTS = st.one_of(
    st.just(("ok", 0.0)),
    st.tuples(
        st.sampled_from(["lost", "500", "empty", "403 page", "408"]), st.sampled_from([None, 0.0])
    ),
    st.tuples(st.sampled_from(["lost", "500", "403 page"]), st.floats(0.1, LATEST)),
    st.sampled_from([("throttled", None), ("not sent", None), ("refused", None)]),
)
# Captures and reversals only: the gateway declines, and that is seen or not.
DECLINES = st.one_of(
    st.just(("declined", 0.0)), st.tuples(st.just("lost declined"), st.floats(0.0, LATEST))
)
# What happens to a look-up: shown as it was so many seconds ago, or not shown at all.
LOOK_ACTS = st.one_of(
    st.just(0.0),
    st.floats(0.0, 0.1 * WINDOW),
    st.sampled_from(["500", "empty", "null", "html", "401", "403", "429", "lost"]),
    st.sampled_from(["misrouted", "foreign", "cached"]),
)

UNKNOWN: Final = {"lost", "lost declined", "500", "empty", "403 page", "408"}


async def run_call(service: Service, *, resend: bool) -> tuple[str, Any]:
    key = ApiKey("k")
    sender = Sender(
        LimitedTransport(service, Slots(4), RateLimiter(), "k"), Hooks([]), key, "https://s.test"
    )
    chosen = options(resend_when_absent=resend)
    operation, request = CALLS[service.kind]
    try:
        outcome, detail = "success", (await sender.send(operation, request, chosen)).parsed
    except OutcomeUnknownError as error:
        outcome, detail = "unknown", error.pending
    except Chat2PayError as error:
        outcome, detail = "failed", error
    # Everything late arrives.
    await anyio.sleep(WINDOW)
    service.looks.clear()
    if outcome == "unknown":
        detail = await sender.resolve(detail, chosen)
    return outcome, detail


def follows_absent(log: list[tuple[float, str]], index: int) -> bool:
    """Tell whether a POST directly follows a look-up that said so, a second ago at most."""
    at = log[index][0]
    return log[index - 1][1] == "GET absent" and at - log[index - 1][0] <= 1.0


def check_what_was_told(service: Service, outcome: str, detail: Any, *, resend: bool) -> None:
    if outcome == "success":
        is_declined = service.kind in GATEWAY and detail.succeeded is False
        assert len(service.effects) == (0 if is_declined else 1), service.log
        assert service.declined or not is_declined
        if service.kind == "create":
            assert detail.payment_link_ref == service.effects[0][1]
        if service.kind == "receipt":
            assert detail.receipt_link_ref == service.effects[0][1]
    if outcome == "failed":
        assert service.effects == [], (service.log, detail)
    if outcome == "unknown":
        told = bool(service.effects or service.declined)
        absent = Verdict.ABSENT if resend else Verdict.UNDETERMINED
        assert detail.verdict is (Verdict.APPLIED if told else absent), service.log
        if service.kind in GATEWAY and told:
            assert detail.result.succeeded is bool(service.effects), service.log


@pytest.mark.parametrize("kind", CALLS)
@given(
    posts=st.lists(st.one_of(POST_ACTS, DECLINES), max_size=6),
    looks=st.lists(LOOK_ACTS, max_size=30),
    clock_offset=st.sampled_from([0.0, -3600.0, 3600.0]),
    wall_step=st.sampled_from([0.0, -86400.0, 86400.0]),
    resend=st.booleans(),
)
@settings(max_examples=max(200, 5 * settings().max_examples))
def test_nothing_twice_and_nothing_lost(  # noqa: PLR0913 - hypothesis draws all of it
    *,
    kind: str,
    posts: list[tuple[str, float | None]],
    looks: list[Any],
    clock_offset: float,
    wall_step: float,
    resend: bool,
) -> None:
    if kind not in GATEWAY:
        posts = [("lost" if "declined" in seen else seen, delay) for seen, delay in posts]
    service = Service(kind, posts, looks, clock_offset)

    def wall_clock() -> datetime:
        """A clock that somebody sets in mid-call."""
        now = anyio.current_time()
        return time_at(now + (wall_step if now > 5 else 0))

    with mock.patch("chat2pay_async._send.limited_transport.wall_clock", wall_clock):
        outcome, detail = anyio.run(
            lambda: run_call(service, resend=resend), backend_options={"loop_factory": VirtualLoop}
        )
    event(f"{outcome}, {len(service.effects)} effects")
    assert len(service.effects) <= 1, service.log
    check_what_was_told(service, outcome, detail, resend=resend)
    was_unknown = False
    for index, (_, what) in enumerate(service.log):
        if what.startswith("POST") and was_unknown:
            assert resend
            assert follows_absent(service.log, index), service.log
        was_unknown = was_unknown or what.removeprefix("POST ") in UNKNOWN
