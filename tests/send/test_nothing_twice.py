"""The promise as laws: hypothesis draws what the service does to each request of a call.

Within the stated assumption (applied and shown within `settle`), whatever the order of events:
nothing is applied twice, nobody is told "failed" while there is or will be an effect, nobody is
told "succeeded" without one, and no result is another's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from unittest import mock

import anyio
import attrs
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from scripted import LINK, answer, lost, not_sent, options
from virtual_time import VirtualLoop

from chat2pay_async import Chat2PayError, OutcomeUnknownError, SentRequest, Timeout, Verdict
from chat2pay_async._api import operations, requests
from chat2pay_async._config import ApiKey
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import RateLimiter, Slots
from chat2pay_async._send.sender import Sender
from chat2pay_async._transport.base import SendGuard, WireResponse
from chat2pay_async.events import Hooks

SETTLE = 10.0
START = datetime(2026, 1, 1, tzinfo=UTC)

# What happens to a POST: (what the caller sees, seconds until it is applied; None: never).
POST_ACTS = st.one_of(
    st.just(("ok", 0.0)),
    st.tuples(st.sampled_from(["lost", "500", "empty"]), st.sampled_from([None, 0.0])),
    st.tuples(st.sampled_from(["lost", "500"]), st.floats(0.1, 0.5 * SETTLE)),
    st.sampled_from([("throttled", None), ("not sent", None)]),
)
# Captures only: the gateway declines, and that is seen or not.
DECLINES = st.one_of(
    st.just(("declined", 0.0)), st.tuples(st.just("lost declined"), st.floats(0.0, 0.5 * SETTLE))
)
# What happens to a look-up: shown as it was so many seconds ago, or not shown at all.
LOOK_ACTS = st.one_of(
    st.just(0.0),
    st.floats(0.0, 0.4 * SETTLE),
    st.sampled_from(["500", "empty", "null", "html", "401", "429", "lost", "misrouted", "foreign"]),
)


def time_at(seconds: float) -> datetime:
    """What a clock on the wall shows at this time of the loop's."""
    return START + timedelta(seconds=seconds)


def present() -> datetime:
    """What it shows now."""
    return time_at(anyio.current_time())


@attrs.define
class Service:
    """A service that applies, loses and delays as it is told, and knows what is true."""

    capture: bool
    posts: list[tuple[str, float | None]]
    looks: list[Any]
    clock_offset: float
    accepted: list[tuple[float, str, str | None]] = attrs.field(factory=list)
    """When each is applied, its reference, and the stamp that came with it."""
    declined: list[float] = attrs.field(factory=list)
    """When each capture is declined."""
    log: list[tuple[float, str]] = attrs.field(factory=list)

    @property
    def effects(self) -> list[tuple[float, str, str | None]]:
        """What takes place: of several captures the earliest, since the service refuses others."""
        return sorted(self.accepted)[:1] if self.capture else self.accepted

    async def exchange(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        del headers, limits, guard
        await anyio.lowlevel.checkpoint()
        if request.method == "GET":
            return self.look(self.looks.pop(0) if self.looks else 0.0)
        return self.post(request, *(self.posts.pop(0) if self.posts else ("ok", 0.0)))

    async def aclose(self) -> None: ...

    def post(self, request: SentRequest, seen: str, delay: float | None) -> WireResponse:
        now = anyio.current_time()
        self.log.append((now, f"POST {seen}"))
        data = json.loads(request.body or b"{}").get("additionalData", {})
        reference = "ref-1" if self.capture else f"ref-{len(self.effects) + 1}"
        refused = self.capture and any(at <= now for at, _, _ in self.effects)
        if delay is not None and not refused:
            if "declined" in seen:
                self.declined.append(now + delay)
            else:
                self.accepted.append((now + delay, reference, data.get("sdkRequestId")))
        match seen:
            case "lost" | "lost declined":
                raise lost()
            case "not sent":
                raise not_sent()
            case "throttled":
                return answer(429)
            case "500":
                return answer(500)
            case "empty":
                return answer(201)
        if refused:
            return answer(400, b'{"errors": ["already captured"]}')
        body = {"paymentLinkRef": reference}
        decision = "DECLINE" if seen == "declined" else "ACCEPT"
        return answer(201, json.dumps(self.entry(now, decision) if self.capture else body).encode())

    @property
    def refusals(self) -> list[float]:
        """When the gateway declined: what arrives after a capture is refused by the service."""
        first = min((at for at, _, _ in self.accepted), default=math.inf)
        return [at for at in self.declined if at <= first]

    def entry(self, at: float, decision: str) -> dict[str, Any]:
        return {
            "transactionType": "CAPTURE",
            "totalAmount": 100,
            "paymentGatewayDecision": decision,
            "paymentGatewayResponseTimestamp": self.stamp(at),
        }

    def stamp(self, at: float) -> str:
        return time_at(at + self.clock_offset).isoformat()

    def look(self, act: Any) -> WireResponse:
        response = self.shown(act)
        form = "absent" if self.says_absent(response) else "other"
        self.log.append((anyio.current_time(), f"GET {form}"))
        return response

    def says_absent(self, response: WireResponse) -> bool:
        return b"no such transaction with order number A-1" in response.body or (
            self.capture and response.body.endswith(b'"paymentStatuses": []}')
        )

    def shown(self, act: Any) -> WireResponse:
        if isinstance(act, str):
            return self.unhelpful(act)
        seen = [one for one in self.effects if one[0] <= anyio.current_time() - act]
        if self.capture:
            declined = [at for at in self.refusals if at <= anyio.current_time() - act]
            return self.authorization(
                [self.entry(at, "DECLINE") for at in declined]
                + [self.entry(at, "ACCEPT") for at, _, _ in seen]
            )
        if not seen:
            said = "There is no such transaction with order number A-1"
            return answer(404, json.dumps({"errors": [said]}).encode())
        at, reference, stamp = seen[-1]
        return self.transaction(reference, at, stamp)

    def unhelpful(self, act: str) -> WireResponse:
        match act:
            case "lost":
                raise lost()
            case "500" | "401" | "429":
                return answer(int(act))
            case "empty" | "null" | "html":
                return answer(200, {"empty": b"{}", "null": b"null", "html": b"<html>"}[act])
            case "misrouted":
                return answer(404, b'{"status": 404, "error": "Not Found"}')
        return self.transaction("ref-other", anyio.current_time(), "another's")

    def dated(self, body: dict[str, Any]) -> WireResponse:
        now = present() + timedelta(seconds=self.clock_offset)
        return answer(200, json.dumps(body).encode(), date=format_datetime(now, usegmt=True))

    def transaction(self, reference: str, at: float, stamp: str | None) -> WireResponse:
        return self.dated(
            {
                "orderNumber": "A-1",
                "paymentLinkRef": reference,
                "additionalData": json.dumps({"sdkRequestId": stamp}),
                "transactionStatuses": [
                    {"transactionStatusName": "PAYMENT_LINK_SENT", "created": self.stamp(at)}
                ],
            }
        )

    def authorization(self, entries: list[dict[str, Any]]) -> WireResponse:
        body = {"paymentLinkRef": "ref-1", "currency": "ZAR", "transactionStatuses": [{}]}
        return self.dated(body | {"paymentStatuses": entries})


CAPTURE = requests.Capture(payment_link_ref="ref-1", amount=100)


async def run_call(service: Service, *, resend: bool) -> tuple[str, Any]:
    key = ApiKey("k")
    sender = Sender(
        LimitedTransport(service, Slots(4), RateLimiter(), "k"), Hooks([]), key, "https://s.test"
    )
    chosen = options(settle=SETTLE, resend_when_absent=resend)
    operation: Any = (
        operations.CAPTURE_PAYMENT if service.capture else operations.CREATE_PAYMENT_LINK
    )
    request: Any = CAPTURE if service.capture else LINK
    try:
        outcome, detail = "success", (await sender.send(operation, request, chosen)).parsed
    except OutcomeUnknownError as error:
        outcome, detail = "unknown", error.pending
    except Chat2PayError as error:
        outcome, detail = "failed", error
    # Everything late arrives.
    await anyio.sleep(SETTLE)
    service.looks.clear()
    if outcome == "unknown":
        detail = await sender.resolve(detail, chosen)
    return outcome, detail


def absent_before(log: list[tuple[float, str]], index: int) -> bool:
    """Whether the last thing before a POST was a look-up, at most a second old, that said so."""
    at = log[index][0]
    return log[index - 1][1] == "GET absent" and at - log[index - 1][0] <= 1.0


@pytest.mark.parametrize("capture", [False, True], ids=["create", "capture"])
@given(
    posts=st.lists(st.one_of(POST_ACTS, DECLINES), max_size=6),
    looks=st.lists(LOOK_ACTS, max_size=30),
    clock_offset=st.sampled_from([0.0, -3600.0, 3600.0]),
    resend=st.booleans(),
)
@settings(max_examples=max(400, 10 * settings().max_examples))
def test_nothing_twice_and_nothing_lost(
    capture: bool,  # noqa: FBT001 - a parameter of the test
    posts: list[tuple[str, float | None]],
    looks: list[Any],
    clock_offset: float,
    resend: bool,  # noqa: FBT001 - the same
) -> None:
    if not capture:
        posts = [("lost" if "declined" in seen else seen, delay) for seen, delay in posts]
    service = Service(capture, posts, looks, clock_offset)
    with mock.patch("chat2pay_async._send.limited_transport.wall_clock", present):
        outcome, detail = anyio.run(
            lambda: run_call(service, resend=resend), backend_options={"loop_factory": VirtualLoop}
        )
    event(f"{outcome}, {len(service.effects)} effects")
    assert len(service.effects) <= 1, service.log
    if outcome == "success":
        declined = capture and detail.succeeded is False
        assert len(service.effects) == (0 if declined else 1), service.log
        assert service.refusals or not declined
        if not capture:
            assert detail.payment_link_ref == service.effects[0][1]
    if outcome == "failed":
        assert service.effects == [], (service.log, detail)
    if outcome == "unknown":
        told = service.effects or service.refusals
        assert detail.verdict is (Verdict.APPLIED if told else Verdict.ABSENT), service.log
        if capture and told:
            assert detail.result.succeeded is bool(service.effects), service.log
    unknown = False
    for index, (_, what) in enumerate(service.log):
        if what.startswith("POST") and unknown:
            assert absent_before(service.log, index), service.log
        unknown = unknown or what in {
            "POST lost",
            "POST lost declined",
            "POST 500",
            "POST empty",
        }
