"""A sender over a transport that responds as a script says: what the tests of `_send` use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import anyio
import attrs

from chat2pay_async import Event, Hook, Proof, RateLimit, RetryPolicy, SentRequest, Timeout, events
from chat2pay_async._api import requests
from chat2pay_async._api.headers import AskForKey, KeySource
from chat2pay_async._config import ApiKey, HeaderFields, Headers
from chat2pay_async._send.call import Options
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import Limiter, RateLimiter, Slots
from chat2pay_async._send.sender import Sender
from chat2pay_async._transport.base import ExchangeError, SendGuard, WireResponse

Act: TypeAlias = "WireResponse | Exception | Connecting | Callable[[], Awaitable[WireResponse]]"


@attrs.frozen
class Connecting:
    """A connection that takes so many seconds to make, and then what the request comes to."""

    seconds: float
    then: Act


LINK = requests.PaymentLinkRequest(
    channel="sms",
    to="27831234567",
    order_number="A-1",
    currency="ZAR",
    total_amount="199.90",
)
BY_ORDER = requests.TransactionQuery(order_number="A-1")
REFERENCE = requests.LinkReference(payment_link_ref="ref-1")
INTEGRATION = requests.IntegrationRequest(application_uuid="u-1", status="ACTIVATED")


def answer(status: int, body: bytes = b"{}", **headers: str) -> WireResponse:
    return WireResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, body)


WINDOW = 40.0
"""Seconds from a response that was lost at once until *absent* counts: `Timeout.read` and
`RetryPolicy.settle`, by their defaults."""
CREATED = answer(201, b'{"paymentLinkRef": "ref-1"}')
THROTTLED = answer(429, retry_after="2")


def fields_of(headers: HeaderFields) -> dict[str, str]:
    """Unwrap the headers of a request."""
    return {name.decode(): value.decode() for name, value in Headers.of(headers).raw}


def not_sent(*, timed_out: bool = False) -> ExchangeError:
    error = ExchangeError("ConnectError", proof=Proof.NOT_SENT, timed_out=timed_out)
    error.__cause__ = OSError("refused")
    return error


def lost(*, timed_out: bool = True) -> ExchangeError:
    error = ExchangeError("ReadTimeout", proof=Proof.UNKNOWN, timed_out=timed_out)
    error.__cause__ = OSError("reset")
    return error


@attrs.define
class ScriptedTransport:
    """Answers as it is told, one act an exchange, and remembers what was sent and when."""

    script: list[Act]
    look_ups: list[Act] = attrs.field(factory=list)
    """Acts that answer the look-ups of a call that is none; the last one again and again."""
    looked: list[float] = attrs.field(factory=list)
    sent: list[SentRequest] = attrs.field(factory=list)
    headers: list[Mapping[str, str]] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    guards: list[SendGuard] = attrs.field(factory=list[SendGuard])
    """One for each exchange, called right before the first byte, as our own pool does."""
    closed: bool = False

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        del limits
        self.guards.append(guard)
        guard.may_have_been_sent = False
        is_look_up = bool(self.look_ups) and request.method == "GET"
        if is_look_up:
            act = self.look_ups.pop(0) if len(self.look_ups) > 1 else self.look_ups[0]
        else:
            act = self.script.pop(0)
        if isinstance(act, Connecting):
            await anyio.sleep(act.seconds)
            act = act.then
        guard()
        guard.may_have_been_sent = True
        guard.last_byte = anyio.current_time()
        if is_look_up:
            self.looked.append(anyio.current_time())
        else:
            self.sent.append(request)
            self.headers.append(fields_of(headers))
            self.times.append(anyio.current_time())
        return await self._perform(act)

    async def _perform(self, act: Act) -> WireResponse:
        if isinstance(act, Exception):
            raise act
        assert not isinstance(act, Connecting)
        return act if isinstance(act, WireResponse) else await act()

    async def aclose(self) -> None:
        self.closed = True


@attrs.define
class Bench:
    """A sender over a scripted transport, with a hook that keeps every event."""

    engine: ScriptedTransport
    sender: Sender
    heard: list[Event]

    def heard_of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.heard if type(event) is kind]


def bench(  # noqa: PLR0913 - whatever can be different
    *script: Act,
    look_ups: Sequence[Act] = (),
    size: int = 10,
    limit: RateLimit | None = None,
    has_hooks: bool = True,
    hooks: Sequence[Hook] = (),
    slots: Slots | None = None,
    limiter: Limiter | None = None,
    ask: AskForKey | None = None,
) -> Bench:
    engine, heard = ScriptedTransport(list(script), list(look_ups)), list[Event]()
    everybody = events.Hooks([*hooks, heard.append] if has_hooks else [])
    key = ApiKey("secret-key") if ask is None else KeySource(ask)
    slots, limiter = slots or Slots(size), limiter or RateLimiter(limit)
    given = key if isinstance(key, KeySource) else key.reveal()
    limited = LimitedTransport(engine, slots, limiter, given)
    return Bench(engine, Sender(limited, everybody, key, "https://s.test"), heard)


def options(total: float | None = None, **retry: Any) -> Options:
    return Options(Timeout(total=total), RetryPolicy(**retry))


async def forever() -> WireResponse:
    await anyio.sleep_forever()
    raise AssertionError
