"""The fault injector: it draws the fault of a request, and applies the request or not."""

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from random import Random, SystemRandom
from typing import Final
from urllib.parse import urlencode

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._faults.foreign import foreign_link
from chat2pay_async.sandbox._faults.lottery import Drawn, Lottery
from chat2pay_async.sandbox._faults.plan import (
    CUSTOMER,
    TRAITS,
    FaultKind,
    FaultPlan,
    InjectedFault,
    When,
)
from chat2pay_async.sandbox._faults.replies import (
    Delivery,
    Reply,
    http_date,
    json_reply,
    page,
    spoil,
    unknown,
)
from chat2pay_async.sandbox._service.service import OPERATIONS, ApiRequest, ApiResponse, Service

_LOOK_UP: Final = "get_transaction"
_NO_PLAN: Final = FaultPlan()
_NOT_FOUND: Final = 404
_LENGTH_REQUIRED: Final = 411
_CACHED: Final = 1_000
"""Look-ups whose responses are kept."""

Script = Iterable[FaultKind | InjectedFault | None]


@dataclass(slots=True)
class _Storm:
    """Requests that get a 429, one after another."""

    drawn: Drawn
    until: datetime
    left: int

    def hits(self, operation: str, now: datetime) -> bool:
        return self.left > 0 and now < self.until and operation in self.drawn.where


class FaultInjector:
    """A service in which things go wrong. It does not lock: its owner does.

    Every `now` here is the sandbox's own clock; the service's may be ahead of it.
    """

    def __init__(self, service: Service, seed: int | None) -> None:
        self._service = service
        self._seed = seed
        self._late: list[tuple[datetime, int, ApiRequest]] = []
        self._numbers = count()
        self._actor = CUSTOMER
        self._cached: OrderedDict[str, tuple[Reply, datetime]] = OrderedDict()
        service.lag = self._lag
        self.start(None)

    @property
    def offset(self) -> timedelta:
        """The time by which the service's clock is ahead."""
        return self._service.store.offset

    @property
    def last_due(self) -> datetime | None:
        """The time at which the last of the late requests will be applied."""
        return max(self._late)[0] if self._late else None

    def start(self, plan: FaultPlan | None) -> None:
        """Follow a plan from its start, or none; late requests and lags in progress go on."""
        self.plan = plan
        self._switches = plan or _NO_PLAN
        seed = self._seed if self._switches.seed is None else self._switches.seed
        if seed is None:
            seed = SystemRandom().getrandbits(64)
        # Two generators, so that an action of a customer does not alter the faults of requests.
        requests = Random(f"requests {seed}")  # noqa: S311 - faults that a seed can repeat
        lags = Random(f"lags {seed}")  # noqa: S311 - the same
        faults = self._switches.faults
        self._lottery = Lottery((fault for fault in faults if fault.kind != "lag"), requests)
        self._lags = Lottery((fault for fault in faults if fault.kind == "lag"), lags)
        self._storm: _Storm | None = None
        self._service.store.offset = timedelta(seconds=self._switches.clock_offset)

    def script(self, operation: str, faults: Script) -> None:
        """Set the faults of the next requests of an operation."""
        if operation not in (*OPERATIONS, CUSTOMER):
            raise SandboxError(f"{operation!r} is not an operation")
        every = [InjectedFault(each) if isinstance(each, str) else each for each in faults]
        for fault in every:
            if fault is not None and operation not in fault.where:
                raise SandboxError(f"{fault.kind} does not happen to {operation}")
        for fault in every:
            is_lag = fault is not None and fault.kind == "lag"
            (self._lags if is_lag else self._lottery).scripts[operation].append(fault)

    def catch_up(self, now: datetime) -> int:
        """Apply the late requests due until now, each at its own time; return their number."""
        waiting = len(self._late)
        while self._late and self._late[0][0] <= now:
            due, _, request = heappop(self._late)
            self._apply(request, due)
        return waiting - len(self._late)

    def exchange(self, request: ApiRequest, now: datetime) -> Delivery:
        """Answer a request, with its fault if it has one."""
        log, at = self._service.log, now + self.offset
        is_read = request.operation in {_LOOK_UP, "get_configuration"}
        if self._switches.length_required and not is_read and not request.has_length:
            log.requests[request.operation, _LENGTH_REQUIRED] += 1
            return Delivery(page(_LENGTH_REQUIRED), at)
        drawn = self._next(request, now)
        reply = self._enact(drawn, request, now)
        delivery = Delivery(reply, at)
        if drawn is not None:
            log.faults[request.operation, drawn.kind] += 1
            delivery = spoil(drawn, request, at, reply)
        if delivery.reply is not None:
            self._cache(request, delivery.reply, at)
            log.requests[request.operation, delivery.reply.status] += 1
        return replace(delivery, at=None) if self._switches.no_date_header else delivery

    def _apply(self, request: ApiRequest, now: datetime) -> ApiResponse:
        self._actor = request.operation
        try:
            return self._service.respond(request, now + self.offset)
        finally:
            self._actor = CUSTOMER

    def _next(self, request: ApiRequest, now: datetime) -> Drawn | None:
        is_scripted = bool(self._lottery.scripts.get(request.operation))
        if self._storm and not is_scripted and self._storm.hits(request.operation, now):
            self._storm.left -= 1
            return self._storm.drawn
        drawn = self._lottery.draw(request.operation)
        if drawn is None or not self._can_happen(drawn, request):
            return None
        if drawn.kind == "storm":
            self._storm = _Storm(drawn, now + timedelta(seconds=drawn.seconds), drawn.requests)
        return drawn

    def _can_happen(self, drawn: Drawn, request: ApiRequest) -> bool:
        match drawn.kind:
            case "foreign":
                return bool(request.query.get("orderNumber")) and self._service.knows(request.key)
            case "cached":
                return _place(request) in self._cached and self._service.knows(request.key)
            case "wrong_amount_before" | "wrong_amount_after":
                return "amount" in request.query
            case _:
                return True

    def _cache(self, request: ApiRequest, reply: Reply, at: datetime) -> None:
        """Keep what the service itself said to a look-up, as a cache on the way would."""
        if request.operation == _LOOK_UP and "age" not in reply.headers:
            self._cached[_place(request)] = reply, at
            if len(self._cached) > _CACHED:
                self._cached.popitem(last=False)

    def _enact(self, drawn: Drawn | None, request: ApiRequest, now: datetime) -> Reply | None:
        when = When.AT_ONCE if drawn is None else TRAITS[drawn.kind].when
        if drawn is not None and drawn.kind == "foreign":
            link = foreign_link(request.query["orderNumber"], now + self.offset, drawn.form)
            response = self._service.status(link)
        elif drawn is not None and drawn.kind == "cached":
            reply, then = self._cached[_place(request)]
            age = max(1, round((now + self.offset - then).total_seconds()))
            headers = {**reply.headers, "age": str(age), "date": http_date(then)}
            return replace(reply, headers=headers)
        elif when is When.AT_ONCE:
            response = self._apply(request, now)
        else:
            if drawn is not None and when is When.LATER:
                if drawn.kind == "foreign_decline":
                    with suppress(UnknownReferenceError):
                        self._service.decline_for_another(request, now + self.offset)
                due = now + timedelta(seconds=drawn.seconds)
                heappush(self._late, (due, next(self._numbers), request))
            return None
        body = response.body
        if request.operation == _LOOK_UP:
            if response.status == _NOT_FOUND:
                return unknown(self._switches.unknown_order, response, request.path)
            if not self._switches.echo_additional_data:
                body = {name: value for name, value in body.items() if name != "additionalData"}
        return json_reply(response.status, body)

    def _lag(self) -> timedelta:
        # The service asks at each change, whoever makes it.
        drawn = self._lags.draw(self._actor)
        if drawn is None:
            return timedelta()
        self._service.log.faults[self._actor, drawn.kind] += 1
        return timedelta(seconds=drawn.seconds)


def _place(request: ApiRequest) -> str:
    """Return what a cache knows a look-up by."""
    return urlencode(sorted(request.query.items()))
