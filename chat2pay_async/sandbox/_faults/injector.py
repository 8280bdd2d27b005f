"""The core of the faults: which befalls a request, and whether the request is applied."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from random import Random, SystemRandom
from typing import Final

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._faults.foreign import foreign_link
from chat2pay_async.sandbox._faults.lottery import Drawn, Lottery, decide
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
    Scene,
    json_reply,
    spoil,
    unknown,
)
from chat2pay_async.sandbox._service.service import OPERATIONS, Answer, Call, Service

_LOOK_UP: Final = "get_transaction"
_NO_PLAN: Final = FaultPlan()
_NOT_FOUND: Final = 404
_NOTHING: Final = timedelta()

Script = Iterable[FaultKind | InjectedFault | None]


@dataclass(slots=True)
class _Storm:
    """Requests that get a 429, one after another."""

    drawn: Drawn
    until: datetime
    left: int

    def hits(self, operation: str, now: datetime) -> bool:
        return self.left > 0 and now < self.until and operation in self.drawn.where


class Chaos:
    """A service that things go wrong with. It does not lock: its owner does.

    Every `now` here is the sandbox's own clock; the service's may be ahead of it.
    """

    def __init__(self, service: Service, seed: int | None) -> None:
        self._service = service
        self._seed = seed
        self._late: list[tuple[datetime, int, Call]] = []
        self._numbers = count()
        self._actor = CUSTOMER
        service.lag = self._lag
        self.start(None)

    @property
    def offset(self) -> timedelta:
        """How far the service's clock is ahead."""
        return self._service.book.offset

    @property
    def last_due(self) -> datetime | None:
        """When the last request that is applied late will be."""
        return max(self._late)[0] if self._late else None

    def start(self, plan: FaultPlan | None) -> None:
        """Follow a plan from its start, or none; what is under way stays under way."""
        self.plan = plan
        self._switches = plan or _NO_PLAN
        seed = self._seed if self._switches.seed is None else self._switches.seed
        if seed is None:
            seed = SystemRandom().getrandbits(64)
        # Two, so that a change which a customer makes does not alter what befalls requests.
        self._random = Random(f"requests {seed}")  # noqa: S311 - faults that a seed can repeat
        self._lag_random = Random(f"lags {seed}")  # noqa: S311 - the same
        faults = self._switches.faults
        self._lottery = Lottery(fault for fault in faults if fault.kind != "lag")
        self._lags = Lottery(fault for fault in faults if fault.kind == "lag")
        self._storm: _Storm | None = None
        self._script: defaultdict[str, deque[InjectedFault | None]] = defaultdict(deque)
        self._lag_script: defaultdict[str, deque[InjectedFault]] = defaultdict(deque)
        self._service.book.offset = timedelta(seconds=self._switches.clock_offset)

    def script(self, operation: str, faults: Script) -> None:
        """Say what befalls the next requests of an operation."""
        if operation not in (*OPERATIONS, CUSTOMER):
            raise SandboxError(f"{operation!r} is not an operation")
        every = [InjectedFault(each) if isinstance(each, str) else each for each in faults]
        for fault in every:
            if fault is not None and operation not in fault.where:
                raise SandboxError(f"{fault.kind} does not happen to {operation}")
        lags = (fault for fault in every if fault is not None and fault.kind == "lag")
        self._lag_script[operation].extend(lags)
        others = (fault for fault in every if fault is None or fault.kind != "lag")
        self._script[operation].extend(others)

    def catch_up(self, now: datetime) -> int:
        """Apply what was due until now, each at its own time; return how many that were."""
        waiting = len(self._late)
        while self._late and self._late[0][0] <= now:
            due, _, call = heappop(self._late)
            self.apply(call, due)
        return waiting - len(self._late)

    def apply(self, call: Call, now: datetime) -> Answer:
        """Do what a call asks for, with no fault but that look-ups may lag."""
        self._actor = call.operation
        try:
            return self._service.answer(call, now + self.offset)
        finally:
            self._actor = CUSTOMER

    def exchange(self, call: Call, now: datetime) -> Delivery:
        """Answer a call, as well as the faults allow."""
        drawn = self._next(call, now)
        at = now + self.offset
        if drawn is None:
            delivery = Delivery(self._ask(call, now), at)
        else:
            self._service.log.faults[call.operation, drawn.kind] += 1
            delivery = spoil(drawn, Scene(call.path, at, self._enact(drawn, call, now)))
        if delivery.reply is not None:
            self._service.log.requests[call.operation, delivery.reply.status] += 1
        return replace(delivery, at=None) if self._switches.no_date_header else delivery

    def _next(self, call: Call, now: datetime) -> Drawn | None:
        if script := self._script.get(call.operation):
            fault = script.popleft()
            drawn = None if fault is None else decide(fault, self._random)
        elif self._storm and self._storm.hits(call.operation, now):
            self._storm.left -= 1
            return self._storm.drawn
        else:
            drawn = self._lottery.draw(self._random, call.operation)
        if drawn is None or (drawn.kind == "foreign" and not self._looks_up_order(call)):
            return None
        if drawn.kind == "storm":
            self._storm = _Storm(drawn, now + timedelta(seconds=drawn.seconds), drawn.requests)
        return drawn

    def _looks_up_order(self, call: Call) -> bool:
        return bool(call.query.get("orderNumber")) and self._service.knows(call.key)

    def _enact(self, drawn: Drawn, call: Call, now: datetime) -> Reply | None:
        if drawn.kind == "foreign":
            link = foreign_link(call.query["orderNumber"], now + self.offset, drawn.form)
            return self._look_up_reply(call, self._service.status(link))
        when = TRAITS[drawn.kind].when
        if when is When.LATER:
            due = now + timedelta(seconds=drawn.seconds)
            heappush(self._late, (due, next(self._numbers), call))
        return self._ask(call, now) if when is When.AT_ONCE else None

    def _ask(self, call: Call, now: datetime) -> Reply:
        answer = self.apply(call, now)
        return (
            self._look_up_reply(call, answer) if call.operation == _LOOK_UP else json_reply(answer)
        )

    def _look_up_reply(self, call: Call, answer: Answer) -> Reply:
        if answer.status == _NOT_FOUND:
            return unknown(self._switches.unknown_order, answer, call.path)
        if self._switches.echo_additional_data:
            return json_reply(answer)
        body = {name: value for name, value in answer.body.items() if name != "additionalData"}
        return json_reply(Answer(answer.status, body))

    def _lag(self) -> timedelta:
        # Asked by the service, at each change, whoever makes it.
        script = self._lag_script.get(self._actor)
        if script:
            drawn: Drawn | None = decide(script.popleft(), self._lag_random)
        else:
            drawn = self._lags.draw(self._lag_random, self._actor)
        if drawn is None:
            return _NOTHING
        self._service.log.faults[self._actor, drawn.kind] += 1
        return timedelta(seconds=drawn.seconds)
