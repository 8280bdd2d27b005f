"""A service and its network in one seeded world, with a clock that is not the clients'.

The model was written from the contract and the rules, and knows nothing of the client. A request is
applied at most `read + settle` seconds after its last byte, and is shown by then: that is the
stated assumption. A world that breaks it applies requests later, or twice.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import anyio.abc
import attrs

from chat2pay_async import Proof, SentRequest, Timeout
from chat2pay_async._transport.base import ExchangeError, SendGuard, WireResponse

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
COPY: Final = 0.02
"""Seconds within which a copy of a response comes: later, an idle connection has noticed it."""
TOTAL: Final = 100
FRESH: Final = 1.0
"""Seconds between a look-up and the POST that it allows."""
DECIDED: Final = {"capture": "CAPTURE", "reverse": "VOID"}
FOREIGN: Final = (400, 401, 403, 404, 408, 409, 413, 421, 423, 424, 444, 460, 499)
BROKEN: Final = (500, 502, 503, 504)


@attrs.frozen
class Clock:
    """A clock on a wall: it is set wrong, runs wrong, and is set anew in between."""

    offset: float
    drift: float
    steps: tuple[tuple[float, float], ...] = ()
    """Times at which it is set, and seconds by which it jumps."""

    def now(self) -> datetime:
        return self.at(anyio.current_time())

    def at(self, seconds: float) -> datetime:
        steps = sum(jump for moment, jump in self.steps if moment <= seconds)
        return START + timedelta(seconds=seconds * (1 + self.drift) + self.offset + steps)


@attrs.define(eq=False)
class Sender:
    """The call on whose behalf a request leaves, and what the network saw of it."""

    job: int
    window: float
    """Seconds that a request may be on its way."""
    may_repeat: bool = True
    was_unknown: bool = False
    posted_at: float = -math.inf
    looked_at: float = -math.inf
    """The time at which the last look-up was answered."""
    is_answered: bool = False
    """The last POST was, by the service itself."""
    broken: list[str] = attrs.field(factory=list[str])

    def posts(self, now: float) -> None:
        """Note that a POST leaves: after an unknown one, only with a fresh look-up."""
        if self.was_unknown and not self.may_repeat:
            self.broken.append(f"job {self.job} is sent again, and must not be")
        if self.was_unknown and now - self.looked_at > FRESH + 1e-6:
            self.broken.append(f"job {self.job} is sent again on a stale verdict")
        self.posted_at = now

    def failed(self) -> None:
        """Note that its caller is told that nothing was applied."""
        if self.was_unknown and self.is_answered and self.looked_at < self.posted_at:
            self.broken.append(f"job {self.job} is refused, and was not looked up")


sender: ContextVar[Sender] = ContextVar("sender")


@attrs.frozen
class Effect:
    """A change that took place, or a gateway's decline; nothing of either is ever undone."""

    job: int
    kind: str
    link: str
    """The link's reference: of a new link, its own."""
    at: float
    shown: float
    accepted: bool = True
    reference: str = ""
    amount: int = 0
    fields: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """Fields that were sent for a new link."""


@attrs.define
class Service:
    """Links and what became of them. Who asks about an effect sees it from `shown` on."""

    rng: random.Random
    clock: Clock
    gateway: Clock
    has_date: bool
    echoes: bool
    """It repeats the additional data of a link."""
    declines: float
    effects: list[Effect] = attrs.field(factory=list[Effect])
    posts: list[tuple[float, int]] = attrs.field(factory=list[tuple[float, int]])
    """Every POST that arrived, and whose it is."""

    async def decline_for_others(self, links: list[tuple[str, str]]) -> None:
        """Let others ask for captures and reversals, which the gateway declines."""
        for kind, link in links:
            await anyio.sleep(self.rng.uniform(0, 20))
            now = anyio.current_time()
            self.effects.append(Effect(-1, kind, link, now, now, accepted=False, amount=TOTAL))

    def of(self, link: str, kind: str, until: float = math.inf) -> list[Effect]:
        return [
            one
            for one in self.effects
            if one.link == link and one.kind == kind and one.accepted and one.shown <= until
        ]

    def post(self, request: SentRequest, job: int, shown: float) -> WireResponse:
        """Apply a request now, and show it at a time."""
        now = anyio.current_time()
        self.posts.append((now, job))
        path = urlsplit(request.target)
        parts = path.path.split("/")
        body = json.loads(request.body or b"{}")
        if parts[-1] == "chat-2-pay":
            return self._made(job, "create", "", body, shown)
        if parts[-1] == "order-receipt":
            return self._made(job, "receipt", body["paymentLinkRef"], body, shown)
        if parts[-2] == "cancel":
            return self._cancelled(job, unquote(parts[-1]), shown)
        asked = parse_qs(path.query).get("amount")
        amount = None if asked is None else int(float(asked[0]))
        return self._decided(job, parts[-1], unquote(parts[-2]), amount, shown)

    def _made(
        self, job: int, kind: str, link: str, body: dict[str, Any], shown: float
    ) -> WireResponse:
        reference = f"{kind}-{len(self.effects)}"
        link = link or reference
        now = anyio.current_time()
        self.effects.append(Effect(job, kind, link, now, shown, reference=reference, fields=body))
        name = "paymentLinkRef" if kind == "create" else "receiptLinkRef"
        return self.response(201, {name: reference})

    def _cancelled(self, job: int, link: str, shown: float) -> WireResponse:
        if self.of(link, "cancel"):
            return self.refusal("Payment link is already cancelled")
        self.effects.append(Effect(job, "cancel", link, anyio.current_time(), shown))
        status = {"paymentLinkRef": link, "transactionStatus": "PAYMENT_LINK_CANCELLED"}
        return self.response(200, status)

    def _decided(
        self, job: int, kind: str, link: str, amount: int | None, shown: float
    ) -> WireResponse:
        captured, voided = self.of(link, "capture"), self.of(link, "reverse")
        if len(voided) > len(captured) or (kind == "capture" and (captured or voided)):
            return self.refusal("Payment is already captured, or reversed")
        if kind == "reverse" and len(captured) > len(voided):
            amount = captured[0].amount
        accepted = self.rng.random() >= self.declines
        effect = Effect(
            job,
            kind,
            link,
            anyio.current_time(),
            shown,
            accepted,
            f"{kind}-{len(self.effects)}",
            TOTAL if amount is None else amount,
        )
        self.effects.append(effect)
        return self.response(200, self._entry(effect))

    def _entry(self, effect: Effect) -> dict[str, Any]:
        return {
            "transactionType": DECIDED[effect.kind],
            "totalAmount": effect.amount,
            "paymentGatewayDecision": "ACCEPT" if effect.accepted else "DECLINE",
            "paymentGatewayReqReferenceNumber": effect.reference,
            "paymentGatewayResponseTimestamp": self.gateway.at(effect.at).isoformat(),
        }

    def get(self, request: SentRequest, age: float) -> WireResponse:
        """Show a link as it was so many seconds ago; a cache's copy says so."""
        asked = {k: v[0] for k, v in parse_qs(urlsplit(request.target).query).items()}
        until = anyio.current_time() - age
        order, link = asked.get("orderNumber"), asked.get("paymentLinkRef", "")
        made = [one for one in self.effects if one.kind == "create" and one.shown <= until]
        made = [one for one in made if order in {None, one.fields["orderNumber"]}]
        if order is None:
            shown = self._history(link, until)
        elif not made:
            text = f"There is no such transaction with order number {order}"
            return self.response(404, {"status": "NOT_FOUND", "errors": [text]}, age)
        else:
            shown = self._new_link(made[-1])
        return self.response(200, shown, age)

    def _new_link(self, made: Effect) -> dict[str, Any]:
        sent = made.fields
        echo = json.dumps(sent.get("additionalData", {})) if self.echoes else None
        return {
            "paymentLinkRef": made.reference,
            "orderNumber": sent["orderNumber"],
            "currency": sent["currency"],
            "totalAmount": sent["totalAmount"],
            "channelName": sent["channel"],
            "transactionType": sent.get("transactionType"),
            "additionalData": echo,
            "transactionStatuses": [self._step("PAYMENT_LINK_SENT", made.at)],
        }

    def _history(self, link: str, until: float) -> dict[str, Any]:
        seen = [one for one in self.effects if one.link == link and one.shown <= until]
        steps = [self._step("PAYMENT_LINK_SENT", -200)]
        names = {"cancel": "PAYMENT_LINK_CANCELLED", "receipt": "RECEIPT_LINK_SENT"}
        steps += [self._step(names[one.kind], one.at) for one in seen if one.kind in names]
        receipts = [one.reference for one in seen if one.kind == "receipt"]
        paid = {"transactionType": "AUTHORIZATION", "totalAmount": TOTAL}
        return {
            "paymentLinkRef": link,
            "currency": "ZAR",
            "transactionStatuses": steps,
            "paymentStatuses": [paid, *(self._entry(one) for one in seen if one.kind in DECIDED)],
            "receiptLinkRef": receipts[-1] if receipts else None,
        }

    def _step(self, name: str, at: float) -> dict[str, Any]:
        return {"transactionStatusName": name, "created": self.clock.at(at).isoformat()}

    def refusal(self, text: str) -> WireResponse:
        return self.response(400, {"errors": [text]})

    def response(self, status: int, body: dict[str, Any], age: float = 0) -> WireResponse:
        headers = {"age": f"{age:.0f}"} if age else {}
        if self.has_date:
            headers["date"] = format_datetime(self.clock.now(), usegmt=True)
        return WireResponse(status, headers, json.dumps(body).encode())


@attrs.define
class Connection:
    """A kept connection, on which a proxy may repeat the last response."""

    last: WireResponse
    at: float


@attrs.define
class Network:
    """The way of one process to the service; what left goes on without the process."""

    proxy: ClassVar = ""
    rng: random.Random
    service: Service
    group: anyio.abc.TaskGroup
    """The world's: what is on its way outlives who sent it."""
    faults: float
    """The share of requests that something happens to."""
    keeps_assumption: bool = True
    idle: list[Connection] = attrs.field(factory=list[Connection])
    trace: list[str] = attrs.field(factory=list[str])
    fates: Counter[str] = attrs.field(factory=Counter[str])
    """Times that each fate came true: one that is drawn may be cut short, or find no connection."""

    async def exchange(
        self, request: SentRequest, headers: object, limits: Timeout, guard: SendGuard
    ) -> WireResponse:
        del headers
        guard.may_have_been_sent = False
        connection = self.idle.pop() if self.idle else None
        if connection is None:
            await self._connect(limits)
        guard()
        guard.may_have_been_sent = True
        if request.method == "POST":
            sender.get().posts(anyio.current_time())
        written = self.rng.choice([0.0, 0.0, 0.3])
        await anyio.sleep(written)  # who is cut off here has sent a part, which is never applied
        guard.last_byte = anyio.current_time()
        is_fresh = connection is not None and guard.last_byte - connection.at <= COPY
        fate = self._fate(request, is_fresh=is_fresh)
        self.trace.append(f"{guard.last_byte:.6f} {request.method} {request.target} {fate}")
        if request.method == "POST":
            self._note(sender.get(), fate)
        response = await self._carry(request, limits, fate, connection)
        if request.method == "GET" and fate in {"well", "slow"}:
            sender.get().looked_at = anyio.current_time()
        if response.status_code < 300 and fate == "well":
            self.idle.append(Connection(response, anyio.current_time()))
        return response

    async def aclose(self) -> None:
        self.idle.clear()

    @staticmethod
    def _note(who: Sender, fate: str) -> None:
        who.is_answered = fate in {"well", "refused"}
        who.was_unknown |= fate not in {"well", "refused", "throttled", "early"}

    async def _connect(self, limits: Timeout) -> None:
        if self.rng.random() < 0.3 * self.faults:
            await anyio.sleep(self.rng.choice([0.0, limits.connect]))
            self.fates["not connected"] += 1
            raise ExchangeError("ConnectError", proof=Proof.NOT_SENT, timed_out=False)
        await anyio.sleep(self.rng.choice([0.0, 0.01, 0.5, 3.0]))

    def _fate(self, request: SentRequest, *, is_fresh: bool) -> str:
        if self.rng.random() >= self.faults:
            return "well"
        if is_fresh and self.rng.random() < 0.5:
            return "copy"  # few connections are: what is rare would hardly be tried
        fates = ["lost", "reset", "no answer", "foreign", "broken", "throttled", "copy", "empty"]
        if request.method == "GET":
            return self.rng.choice([*fates, "cached", "slow", "misrouted"])
        return self.rng.choice([*fates, "early", "refused", "late", "late", "late"])

    async def _carry(
        self, request: SentRequest, limits: Timeout, fate: str, connection: Connection | None
    ) -> WireResponse:
        """Bring a request to the service, or not, and something back."""
        began = anyio.current_time()
        match fate:
            case "throttled" | "early" | "refused":  # whoever says so has not applied it
                await anyio.sleep(0.05)
                self.fates[fate] += 1
                status = {"throttled": 429, "early": 425, "refused": 401}[fate]
                return self.service.response(status, {"errors": ["not now"]})
            case "lost":
                await anyio.sleep(limits.read)
                self.fates[fate] += 1
                raise ExchangeError("ReadTimeout", proof=Proof.UNKNOWN, timed_out=True)
        if request.method == "GET":
            await anyio.sleep(self.rng.uniform(0, 0.2))
            response = self.service.get(request, 60.0 if fate == "cached" else 0.0)
        else:
            response = await self._apply(request, limits, fate)
        if fate == "slow":
            await anyio.sleep(self.rng.uniform(0, 0.9 * limits.read))
        if fate in {"well", "cached", "slow"}:
            await anyio.sleep(self.rng.uniform(0, 0.2))
            self.fates[fate] += 1
            return response
        return await self._spoil(limits, fate, connection, began)

    async def _apply(self, request: SentRequest, limits: Timeout, fate: str) -> WireResponse:
        """Let the service apply a POST now, or at any time until the assumption's last."""
        who, now = sender.get(), anyio.current_time()
        latest = now + who.window * (1 if self.keeps_assumption else 4)
        shown = self.rng.uniform(now, latest)
        soon = 0.0 if self.rng.random() < 0.5 else self.rng.uniform(0, 0.3)
        if fate == "late" or (fate != "well" and self.rng.random() < 0.3):
            delay = self.rng.uniform(0, latest - anyio.current_time())
            shown = self.rng.choice(
                [latest, self.rng.uniform(anyio.current_time() + delay, latest)]
            )
        else:
            delay = min(soon, latest - anyio.current_time())
            shown = max(shown, anyio.current_time() + delay) if fate != "well" else 0.0
        times = 1 if self.keeps_assumption or self.rng.random() < 0.7 else 2
        kinds = {"late": delay > limits.read, "too late": delay > who.window}
        arrived = _Arrival([kind for kind, is_so in kinds.items() if is_so])
        for _ in range(times):
            self.group.start_soon(self._arrive, request, who.job, delay, shown, arrived)
        if fate == "well":
            await arrived.event.wait()
            assert arrived.response is not None
            return arrived.response
        return WireResponse(200, {}, b"")  # it is not seen

    async def _arrive(
        self, request: SentRequest, job: int, delay: float, shown: float, arrived: _Arrival
    ) -> None:
        await anyio.sleep(delay)
        again = ["twice"] if arrived.event.is_set() else []
        self.fates.update([*arrived.kinds, *again])
        arrived.response = self.service.post(request, job, max(shown, anyio.current_time()))
        arrived.event.set()

    async def _spoil(
        self, limits: Timeout, fate: str, connection: Connection | None, began: float
    ) -> WireResponse:
        """Return what comes instead of the service's response."""
        rest = limits.read - (anyio.current_time() - began)
        if fate in {"late", "no answer"} and self.rng.random() < 0.5:
            await anyio.sleep(rest)
            self.fates["no answer"] += 1
            raise ExchangeError("ReadTimeout", proof=Proof.UNKNOWN, timed_out=True)
        if fate == "copy" and connection is not None and began - connection.at <= COPY:
            self.fates[fate] += 1
            return connection.last
        await anyio.sleep(self.rng.choice([0.0, self.rng.uniform(0, rest)]))
        self.fates[fate if fate in {"foreign", "misrouted", "broken", "empty"} else "reset"] += 1
        match fate:
            case "foreign":
                form = self.rng.choice([b"<html>", b"", b'{"message": "no"}'])
                kind = {"content-type": "text/html"}
                return WireResponse(self.rng.choice(FOREIGN), kind, form)
            case "misrouted":  # a gateway that lost its way
                return self.service.response(404, {"status": 404, "error": "Not Found"})
            case "broken":
                return WireResponse(self.rng.choice(BROKEN), {}, b"")
            case "empty":
                return WireResponse(201, {}, self.rng.choice([b"", b"{}", b"null", b"<html>"]))
        raise ExchangeError("ReadError", proof=Proof.UNKNOWN, timed_out=False)


@attrs.define
class _Arrival:
    kinds: list[str]
    """Ways in which it is late: after its caller gave it up, or after what is assumed."""
    response: WireResponse | None = None
    event: anyio.Event = attrs.field(factory=anyio.Event)
