"""A service that applies, loses and delays requests as it is told, and knows what is true."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import anyio
import attrs
import msgspec
from scripted import LINK, REFERENCE, answer, lost, not_sent

from chat2pay_async import SentRequest, Timeout
from chat2pay_async._api import operations, requests
from chat2pay_async._config import HeaderFields
from chat2pay_async._transport.base import SendGuard, WireResponse

START: Final = datetime(2026, 1, 1, tzinfo=UTC)

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


def time_at(seconds: float) -> datetime:
    """Return what a clock on the wall shows at this time of the loop's."""
    return START + timedelta(seconds=seconds)


@attrs.define
class Service:
    """A service that applies, loses and delays as it is told, and knows what is true."""

    kind: str
    posts: list[tuple[str, float | None]]
    looks: list[Any]
    clock_offset: float
    effects: list[tuple[float, str, str | None]] = attrs.field(factory=list)
    """The time at which each takes place, its reference, and the stamp that came with it."""
    declined: list[float] = attrs.field(factory=list)
    log: list[tuple[float, str]] = attrs.field(factory=list)

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        del headers, limits
        guard.may_have_been_sent = False
        await anyio.lowlevel.checkpoint()  # it connects
        guard()
        guard.may_have_been_sent = True
        guard.last_byte = anyio.current_time()
        await anyio.lowlevel.checkpoint()  # the request is on its way
        if request.method == "GET":
            response = self.look(self.looks.pop(0) if self.looks else 0.0)
        else:
            response = self.post(request, *(self.posts.pop(0) if self.posts else ("ok", 0.0)))
        await anyio.lowlevel.checkpoint()  # the response is
        return response

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
            return "cached", msgspec.structs.replace(self.history([], []), headers={"age": "60"})
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
