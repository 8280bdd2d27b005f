"""The promise as laws: hypothesis draws what the service does to each request of a call.

Within the stated assumption (applied and shown within the window), whatever the order of events:
nothing is applied twice, nobody is told "failed" while there is or will be an effect, nobody is
told "succeeded" without one, and no result is another's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from unittest import mock

import anyio
import attrs
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from scripted import LINK, REFERENCE, WINDOW, answer, lost, not_sent, options
from virtual_time import VirtualLoop

from chat2pay_async import Chat2PayError, OutcomeUnknownError, SentRequest, Timeout, Verdict
from chat2pay_async._api import operations, requests
from chat2pay_async._config import ApiKey
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import RateLimiter, Slots
from chat2pay_async._send.sender import Sender
from chat2pay_async._transport.base import SendGuard, WireResponse
from chat2pay_async.events import Hooks

START = datetime(2026, 1, 1, tzinfo=UTC)
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

CAPTURE = requests.Capture(payment_link_ref="ref-1", amount=100)
RECEIPT = requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link="https://r.example")
CALLS: Final[dict[str, tuple[Any, Any]]] = {
    "create": (operations.CREATE_PAYMENT_LINK, LINK),
    "capture": (operations.CAPTURE_PAYMENT, CAPTURE),
    "reverse": (operations.REVERSE_PAYMENT, REFERENCE),
    "cancel": (operations.CANCEL_PAYMENT_LINK, REFERENCE),
    "receipt": (operations.CREATE_RECEIPT, RECEIPT),
}
GATEWAY: Final = {"capture": "CAPTURE", "reverse": "VOID"}
REFUSED_TWICE: Final = {"capture", "reverse", "cancel"}
UNKNOWN: Final = {"lost", "lost declined", "500", "empty", "403 page", "408"}


def time_at(seconds: float) -> datetime:
    """What a clock on the wall shows at this time of the loop's."""
    return START + timedelta(seconds=seconds)


@attrs.define
class Service:
    """A service that applies, loses and delays as it is told, and knows what is true."""

    kind: str
    posts: list[tuple[str, float | None]]
    looks: list[Any]
    clock_offset: float
    effects: list[tuple[float, str, str | None]] = attrs.field(factory=list)
    """When each takes place, its reference, and the stamp that came with it."""
    declined: list[float] = attrs.field(factory=list)
    log: list[tuple[float, str]] = attrs.field(factory=list)

    async def exchange(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        del headers, limits
        await anyio.lowlevel.checkpoint()
        guard()
        guard.last_byte = anyio.current_time()
        if request.method == "GET":
            return self.look(self.looks.pop(0) if self.looks else 0.0)
        return self.post(request, *(self.posts.pop(0) if self.posts else ("ok", 0.0)))

    async def aclose(self) -> None: ...

    def post(self, request: SentRequest, seen: str, delay: float | None) -> WireResponse:
        now = anyio.current_time()
        self.log.append((now, f"POST {seen}"))
        data = json.loads(request.body or b"{}").get("additionalData", {})
        reference = f"new-{len(self.effects) + 1}"
        is_refused = self.kind in REFUSED_TWICE and any(at <= now for at, _, _ in self.effects)
        if delay is not None and not is_refused:
            if "declined" in seen:
                self.declined.append(now + delay)
            else:
                self.effects.append((now + delay, reference, data.get("sdkRequestId")))
        match seen:
            case "lost" | "lost declined":
                raise lost()
            case "not sent":
                raise not_sent()
            case "throttled":
                return answer(429)
            case "500" | "408":
                return answer(int(seen))
            case "403 page":
                return answer(403, b"<html>", content_type="text/html")
            case "empty":
                return answer(201)
        if is_refused or seen == "refused":
            return answer(400, b'{"errors": ["already done, or not allowed"]}')
        return answer(201, json.dumps(self.success(reference, now, seen)).encode())

    def success(self, reference: str, now: float, seen: str) -> dict[str, Any]:
        if self.kind in GATEWAY:
            return self.entry(now, "DECLINE" if seen == "declined" else "ACCEPT")
        if self.kind == "cancel":
            return {"paymentLinkRef": "ref-1", "transactionStatus": "PAYMENT_LINK_CANCELLED"}
        return {"receiptLinkRef" if self.kind == "receipt" else "paymentLinkRef": reference}

    def entry(self, at: float, decision: str) -> dict[str, Any]:
        return {
            "transactionType": GATEWAY[self.kind],
            "totalAmount": 100,
            "paymentGatewayDecision": decision,
            "paymentGatewayResponseTimestamp": self.stamp(at),
        }

    def stamp(self, at: float) -> str:
        return time_at(at + self.clock_offset).isoformat()

    def look(self, act: Any) -> WireResponse:
        form, response = self.shown(act)
        self.log.append((anyio.current_time(), f"GET {form}"))
        return response

    def shown(self, act: Any) -> tuple[str, WireResponse]:
        if act == "cached":  # from before everything
            return "cached", attrs.evolve(self.history([], []), headers={"age": "60"})
        if isinstance(act, str):
            return act, self.unhelpful(act)
        until = anyio.current_time() - act
        seen = [one for one in self.effects if one[0] <= until]
        declined = [at for at in self.declined if at <= until]
        return "something" if seen or declined else "absent", self.history(seen, declined)

    def unhelpful(self, act: str) -> WireResponse:
        match act:
            case "lost":
                raise lost()
            case "500" | "401" | "429":
                return answer(int(act))
            case "403":
                return answer(403, b"<html>")
            case "empty" | "null" | "html":
                return answer(200, {"empty": b"{}", "null": b"null", "html": b"<html>"}[act])
            case "misrouted":
                return answer(404, b'{"status": 404, "error": "Not Found"}')
        stamp = json.dumps({"sdkRequestId": "another's"})
        return self.dated(paymentLinkRef="ref-other", orderNumber="A-1", additionalData=stamp)

    def history(
        self, seen: list[tuple[float, str, str | None]], declined: list[float]
    ) -> WireResponse:
        if self.kind == "create":
            if not seen:
                said = "There is no such transaction with order number A-1"
                return answer(404, json.dumps({"errors": [said]}).encode())
            at, reference, stamp = seen[-1]
            return self.dated(
                orderNumber="A-1",
                paymentLinkRef=reference,
                additionalData=json.dumps({"sdkRequestId": stamp}),
                transactionStatuses=[self.step("PAYMENT_LINK_SENT", at)],
            )
        steps = [self.step("PAYMENT_LINK_SENT", -100)]
        if self.kind == "cancel":
            steps += [self.step("PAYMENT_LINK_CANCELLED", at) for at, _, _ in seen]
        if self.kind == "receipt":
            steps += [self.step("RECEIPT_LINK_SENT", at) for at, _, _ in seen]
        entries = [{"transactionType": "AUTHORIZATION", "totalAmount": 100}]
        if self.kind in GATEWAY:
            entries += [self.entry(at, "DECLINE") for at in declined]
            entries += [self.entry(at, "ACCEPT") for at, _, _ in seen]
        return self.dated(
            paymentLinkRef="ref-1",
            currency="ZAR",
            transactionStatuses=steps,
            paymentStatuses=entries,
            receiptLinkRef=seen[-1][1] if seen and self.kind == "receipt" else None,
        )

    def step(self, name: str, at: float) -> dict[str, Any]:
        return {"transactionStatusName": name, "created": self.stamp(at)}

    def dated(self, **body: Any) -> WireResponse:
        now = time_at(anyio.current_time() + self.clock_offset)
        return answer(200, json.dumps(body).encode(), date=format_datetime(now, usegmt=True))


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
@settings(deadline=None, max_examples=200)
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
