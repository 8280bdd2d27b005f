"""A simulation: processes with clients, a service, the network and the clocks, all from one seed.

Each process makes calls. Some are cancelled, some have deadlines, processes are killed and started
again, and what is unknown is resolved by this process, its successor or another. In the end
everything has arrived, nothing goes wrong any more, and `broken` tells which promise was not kept.

It is a scheduler of its own, not hypothesis' stateful machine: what matters is the order of timers
in concurrent tasks, which virtual time gives, and not that of rules which a machine calls one after
the other. A seed is all that a failure needs, and a thousand worlds take seconds.
"""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final
from unittest import mock

import anyio
import attrs
import trio.testing
from simulated_service import START, TOTAL, Clock, Effect, Network, Sender, Service, sender
from virtual_time import VirtualLoop

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    OutcomeUnknownError,
    Pending,
    Resolution,
    RetryPolicy,
    Timeout,
    Verdict,
)
from chat2pay_async._api import operations, requests
from chat2pay_async._api.codec import STAMP
from chat2pay_async._client import inner
from chat2pay_async._send.limits import Slots
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Attempt

__all__ = ["LOOPS", "Report", "failures", "run"]

CALM: Final = 600.0
"""The time from which nothing goes wrong any more, and all that was sent has arrived."""
HANG: Final = 20_000.0
UNDATED: Final = 200.0
"""Seconds by which the clock of a process may be wrong where it is asked: 300 are allowed for."""
SETTLED: Final = 8
"""Times that an outcome is settled before it counts as never settled: a deadline may cut one."""
OPERATIONS: Final[dict[str, Any]] = {
    "create": operations.CREATE_PAYMENT_LINK,
    "capture": operations.CAPTURE_PAYMENT,
    "reverse": operations.REVERSE_PAYMENT,
    "cancel": operations.CANCEL_PAYMENT_LINK,
    "receipt": operations.CREATE_RECEIPT,
}
DECIDED: Final = {"capture", "reverse"}
FATES: Final = {
    "not connected": 2.0, "reset": 1.8, "cancelled": 1.8, "declined": 0.9, "foreign": 0.65,
    "throttled": 0.65, "empty": 0.55, "broken": 0.55, "lost": 0.5, "cached": 0.4,
    "no answer": 0.38, "misrouted": 0.38, "slow": 0.37, "killed": 0.32, "late": 0.3,
    "copy": 0.22, "refused": 0.17, "early": 0.16,
}  # fmt: skip
"""Times that a fate comes true in a world: about two thirds of what was counted in 200 worlds."""
BEYOND: Final = {"twice": 1.6, "too late": 0.9}
"""The same of what breaks the assumption."""
machine: ContextVar[Clock] = ContextVar("machine")


def wall_clock() -> datetime:
    """Return the time on the clock of the machine that asks."""
    return machine.get().now()


@attrs.define(eq=False)
class Job:
    """Something to be done once, however often it is tried."""

    number: int
    kind: str
    about: str
    """The order number, or the link's reference."""
    request: Any
    has_journal: bool
    cancel_after: float
    told: str = "nothing"
    """Or in_progress, done, failed, unknown, absent (so `resolve` said), lost (with its process)"""
    result: Any = None
    pending: str | None = None
    """The pending call, as the journal, or the application, kept it."""
    began: float = math.inf
    was_moved: bool = False
    """Another process went on with it, or resolved it."""
    is_contested: bool = False
    """Another job is about the same."""
    was_undated: bool = False
    """True if what was kept of it has no time of the service: its process's clock was asked."""

    def end(self, told: str, pending: Pending | None = None, result: Any = None) -> None:
        self.told, self.result, self.pending = told, result, None
        if pending is not None:
            self.keep(pending)

    def keep(self, pending: Pending) -> None:
        self.pending = pending.to_json()
        self.was_undated |= pending.service_time is None


@attrs.define
class Log:
    """A journal's row, which outlives its process; whoever is dead writes nothing more."""

    process: Process
    job: Job

    async def record_intent(self, pending: Pending) -> None:
        rng = self.process.world.rng
        await anyio.sleep(rng.choice([0.0, 0.01, 1.5]))
        self.job.keep(pending)
        await anyio.sleep(rng.choice([0.0, 0.01]))

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None: ...

    async def others(self, _pending: Pending) -> list[tuple[str, Any]]:
        return []

    def record_pending(self, pending: Pending) -> None:
        if not self.process.is_dead:
            self.job.keep(pending)


@attrs.define(eq=False)
class Process:
    """A process on its machine, with one client; it may be killed and started again."""

    world: World
    clock: Clock
    network: Network
    tasks: list[list[Job]]
    """The jobs of each of its tasks, which does one after the other."""
    killed_at: float
    is_dead: bool = False
    timeout: Timeout = attrs.field(init=False)
    retry: RetryPolicy = attrs.field(init=False)
    size: int = attrs.field(init=False)
    slots: Slots = attrs.field(init=False)
    client: AsyncChat2Pay = attrs.field(init=False)

    def start(self) -> None:
        rng, self.size = self.world.rng, self.world.rng.choice([1, 2, 10])
        self.network.idle.clear()
        self.timeout = Timeout(read=rng.choice([5.0, 30.0]), total=rng.choice([None, 20.0, 90.0]))
        self.retry = RetryPolicy(
            settle=rng.choice([2.0, 10.0]),
            resend_when_absent=rng.random() < 0.9,
            stamp=rng.random() < 0.9,
        )
        self.slots = Slots(self.size)
        with (
            mock.patch("chat2pay_async._client.transport_for", return_value=self.network),
            mock.patch("chat2pay_async._client.Slots", return_value=self.slots),
        ):
            self.client = AsyncChat2Pay(
                "key",
                base_url="https://s.test",
                timeout=self.timeout,
                retry=self.retry,
                max_connections=self.size,
            )
        self.is_dead = False

    async def live(self) -> None:
        machine.set(self.clock)
        sender.set(Sender(-1, 0.0))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(self._die, scope)
                await self._work()
                group.cancel_scope.cancel()
        if self.is_dead:
            await anyio.sleep(self.world.rng.choice([0.0, 0.0, 1.0, 60.0]))
            self.start()
            await self._take_up()
            await self._work()
        await anyio.sleep(max(0.0, CALM - anyio.current_time()))
        self.network.faults = 0.0
        for time in range(SETTLED):
            for job in self._jobs():
                await self._settle(job, is_plain=time >= SETTLED // 2)

    def _jobs(self) -> list[Job]:
        return [job for jobs in self.tasks for job in jobs]

    async def _die(self, scope: anyio.CancelScope) -> None:
        await anyio.sleep(self.killed_at)
        self.network.fates["killed"] += 1
        self.is_dead = True  # what its tasks still write while they are dropped is not written
        scope.cancel()

    async def _take_up(self) -> None:
        """Learn from the journal what the process before left, and settle it at once."""
        for job in self._jobs():
            if job.told == "in_progress":
                known = "unknown" if job.pending else "nothing"
                job.was_moved = True
                job.told = known if job.has_journal else "lost"
        async with anyio.create_task_group() as group:
            for job in self._jobs():
                group.start_soon(self._settle, job)

    async def _work(self) -> None:
        async with anyio.create_task_group() as group:
            for jobs in self.tasks:
                group.start_soon(self._do_all, jobs)

    async def _do_all(self, jobs: list[Job]) -> None:
        rng = self.world.rng
        for job in jobs:
            await anyio.sleep(rng.choice([0.0, 0.0, rng.uniform(0, 20)]))
            if job.told == "nothing":
                await self._call(job, None)
            if rng.random() < 0.5:
                await self._settle(job)
            if job.told in {"failed", "absent"} and rng.random() < 0.5:
                await self._call(job, None)

    async def _call(self, job: Job, prior: Pending | None) -> None:
        """Make a call, or go on with one of the journal's."""
        window = 0.999 * (self.timeout.read + self.retry.settle)
        who = Sender(job.number, window, self.retry.resend_when_absent, broken=self.world.broken)
        if prior is not None:
            who.was_unknown = True
            who.may_repeat &= prior.resend_when_absent
        sender.set(who)
        job.told, job.began = "in_progress", min(job.began, anyio.current_time())
        with anyio.move_on_after(job.cancel_after) as scope:
            await self._send(job, prior)
        if self.is_dead:
            return
        self.world.note(job)
        if not scope.cancelled_caught:
            return
        self.network.fates["cancelled"] += 1
        if job.has_journal:
            job.told = "unknown" if job.pending else "failed"
        else:
            kept = [one for one in self.client.unsettled if self._is_of(job, one)]
            job.end("unknown" if kept else "failed", kept[-1] if kept else None)

    def _is_of(self, job: Job, pending: Pending) -> bool:
        operation = OPERATIONS[job.kind]
        return (pending.operation, pending.identity) == (operation.name, job.about)

    async def _send(self, job: Job, prior: Pending | None) -> None:
        calls, options = inner(self.client)
        log = Log(self, job) if job.has_journal else None
        try:
            operation = OPERATIONS[job.kind]
            raw = await calls.sender.send(operation, job.request, options, log, prior)
        except OutcomeUnknownError as error:
            job.end("unknown", error.pending)
        except Chat2PayError:
            sender.get().failed()
            job.end("failed")
        else:
            job.end("done", result=raw.parsed)

    async def _settle(self, job: Job, *, is_plain: bool = False) -> None:
        """Settle an unknown outcome: go on with it, or resolve it, here or in another process."""
        if job.told != "unknown":
            return
        assert job.pending is not None
        rng, pending = self.world.rng, Pending.from_json(job.pending)
        if job.has_journal and not is_plain and rng.random() < 0.5:
            await self._call(job, pending)
            return
        if pending in self.client.unsettled and rng.random() < 0.5:
            resolution = (await self.client.resolve_all())[pending]
        else:
            other = self if is_plain else rng.choice([self, *self.world.processes])
            job.was_moved |= other is not self
            machine.set(other.clock)
            resolution = await other.client.resolve(pending)
            machine.set(self.clock)
        self._note_resolution(job, pending, resolution)

    def _note_resolution(self, job: Job, pending: Pending, resolution: Resolution) -> None:
        match resolution.verdict:
            case Verdict.APPLIED:
                job.end("done", result=resolution.result)
            case Verdict.ABSENT:
                job.end("absent")
            case _:
                job.end("unknown", pending)
        self.world.note(job)


@attrs.define(eq=False)
class World:
    """All that a seed makes."""

    rng: random.Random
    keeps_assumption: bool
    service: Service = attrs.field(init=False)
    processes: list[Process] = attrs.field(factory=list[Process])
    jobs: list[Job] = attrs.field(factory=list[Job])
    trace: list[str] = attrs.field(factory=list[str])
    broken: list[str] = attrs.field(factory=list[str])

    def note(self, job: Job) -> None:
        self.trace.append(f"{anyio.current_time():.6f} job {job.number} {job.kind}: {job.told}")

    async def live(self) -> None:
        with anyio.move_on_after(HANG) as scope:
            async with anyio.create_task_group() as on_their_way:
                self._make(on_their_way)
                async with anyio.create_task_group() as group:
                    for process in self.processes:
                        group.start_soon(process.live)
                    links = [(job.kind, job.about) for job in self.jobs if job.kind in DECIDED]
                    if self.rng.random() < 0.5:
                        group.start_soon(self.service.decline_for_others, links)
                for process in self.processes:
                    await self._close(process)
        if scope.cancelled_caught:
            self.broken.append("something hangs")
        for job in self.jobs:
            self._judge(job)

    async def _close(self, process: Process) -> None:
        with anyio.move_on_after(1) as scope:
            for _ in range(process.size):
                await process.slots.acquire(priority=True)
        if scope.cancelled_caught:
            self.broken.append("a slot is lost")
        await process.client.aclose()

    # What the seed makes --------------------------------------------------------------------------

    def _make(self, on_their_way: anyio.abc.TaskGroup) -> None:
        rng = self.rng
        clock = self._clock()
        gateway = attrs.evolve(clock, offset=clock.offset + rng.choice([0.0, 0.0, -600.0, 600.0]))
        self.service = Service(
            rng,
            clock,
            gateway,
            has_date=rng.random() < 0.9,
            echoes=rng.random() < 0.8,
            declines=rng.choice([0.0, 0.2]),
        )
        for _ in range(rng.choice([1, 2, 2, 3])):
            faults = rng.choice([0.1, 0.4, 0.8])
            network = Network(rng, self.service, on_their_way, faults, self.keeps_assumption)
            network.trace = self.trace
            process = Process(
                self,
                self._clock(),
                network,
                [self._some_jobs() for _ in range(rng.choice([1, 2, 3]))],
                rng.choice([math.inf, rng.uniform(0, 60)]),
            )
            self.processes.append(process)
            process.start()
        about = Counter(self._subject(job) for job in self.jobs)
        for job in self.jobs:
            job.is_contested = about[self._subject(job)] > 1

    def _clock(self) -> Clock:
        """Make a clock: a wrong one, with wrong steps, in half of all cases."""
        rng = self.rng
        steps = [(rng.uniform(0, 100), rng.choice([-3600.0, 60.0, 86_400.0]))]
        if rng.random() < 0.5:
            return Clock(rng.uniform(-20, 20), rng.uniform(-1e-4, 1e-4))
        return Clock(
            rng.choice([-86_400.0, -300.0, 300.0, 3600.0]),
            rng.uniform(-1e-4, 1e-4),
            tuple(steps) if rng.random() < 0.5 else (),
        )

    def _some_jobs(self) -> list[Job]:
        return [self._job() for _ in range(self.rng.choice([1, 2, 4]))]

    def _job(self) -> Job:
        """Make a job; a quarter of them is about what another job may be about, too."""
        rng, number = self.rng, len(self.jobs)
        kind = rng.choice(["create", "create", *OPERATIONS])
        is_shared = kind != "receipt" and rng.random() < 0.25
        about = f"L-{rng.randrange(3)}" if is_shared else f"L-own-{number}"
        cancel_after = rng.choice([math.inf, math.inf, rng.uniform(0, 3), rng.uniform(0, 40)])
        request = self._request(kind, about)
        job = Job(number, kind, about, request, rng.random() < 0.5, cancel_after)
        self.jobs.append(job)
        return job

    def _request(self, kind: str, about: str) -> Any:
        if kind == "create":
            return requests.PaymentLinkRequest(
                channel="sms", to="27831234567", order_number=about, currency="ZAR",
                total_amount=TOTAL, timestamp=START,
            )  # fmt: skip
        if kind == "capture":
            amount = self.rng.choice([None, 30, 60])
            return requests.Capture(payment_link_ref=about, amount=amount)
        if kind == "receipt":
            url = "https://r.example"
            return requests.ReceiptRequest(
                payment_link_ref=about, receipt_link=url, timestamp=START
            )
        return requests.LinkReference(payment_link_ref=about)

    @staticmethod
    def _subject(job: Job) -> tuple[str, str]:
        return "pay" if job.kind in DECIDED else job.kind, job.about

    # What must hold -------------------------------------------------------------------------------

    def _judge(self, job: Job) -> None:
        own = [one for one in self.service.effects if one.job == job.number]
        accepted = [one for one in own if one.accepted]
        told = f"job {job.number} ({job.kind} {job.about}): told {job.told}, {job.result}, {own}"
        if job.told == "done" and not self._is_true(job, accepted):
            self.broken.append(f"wrong: {told}")
        if not self.keeps_assumption:
            return
        if len(accepted) > 1:
            self.broken.append(f"twice: {told}")
        if job.told in {"failed", "absent"} and accepted:
            self.broken.append(f"lost: {told}")
        if job.told in {"nothing", "in_progress"}:
            self.broken.append(f"never ended: {told}")
        if job.told == "unknown" and self._can_be_known(job, own):
            self.broken.append(f"never settled: {told}")

    def _is_true(self, job: Job, accepted: list[Effect]) -> bool:
        """Tell whether what a job was told to have done is there: its own, or one just like it."""
        result = job.result
        if job.kind in DECIDED and result.succeeded is False:
            return not (accepted and self.keeps_assumption) and self._is_declined(job)
        if job.kind in {"create", "receipt"}:
            name = "payment_link_ref" if job.kind == "create" else "receipt_link_ref"
            # The rules say that links of one order can't be told apart without a stamp, and that a
            # reference belongs to an order: a copy may tell two calls for one order the same link.
            links = self._links_of(job)
            alike = [one for one in links if job.is_contested or not self._shows_stamp(one)]
            like = accepted + (alike if job.kind == "create" else [])
            return any(getattr(result, name) == one.reference for one in like)
        wanted = getattr(job.request, "amount", None) or TOTAL
        return bool(accepted) or (
            job.is_contested
            and any(
                job.kind != "capture" or one.amount == wanted
                for one in self.service.of(job.about, job.kind)
            )
        )

    def _is_declined(self, job: Job) -> bool:
        """Tell whether the gateway declined it, or another's while it may have been in progress."""
        clock, gateway = self.service.clock, self.service.gateway
        is_exact = self.service.has_date and clock == gateway and not clock.steps
        is_exact = is_exact and not job.was_moved and not job.was_undated
        since = job.began - 2.5 if is_exact else -math.inf
        return any(
            not one.accepted and (one.link, one.kind) == (job.about, job.kind) and one.at >= since
            for one in self.service.effects
        )

    def _links_of(self, job: Job) -> list[Effect]:
        return [one for one in self.service.effects if one.fields.get("orderNumber") == job.about]

    def _shows_stamp(self, link: Effect) -> bool:
        return self.service.echoes and STAMP in link.fields.get("additionalData", {})

    def _can_be_known(self, job: Job, own: list[Effect]) -> bool:
        """Tell whether look-ups can settle a job: no other is about the same, and no clock lies."""
        declined = [one for one in self.service.effects if not one.accepted]
        if job.is_contested or job.about in {one.link for one in declined}:
            return False
        cautious = all(process.retry.resend_when_absent for process in self.processes)
        stamped = all(process.retry.stamp for process in self.processes)
        right = all(abs(process.clock.offset) <= 20 for process in self.processes)
        right = right and abs(self.service.clock.offset) <= 20
        # Who was started again has other settings than the call had.
        stamped = stamped and not job.was_moved
        pending = Pending.from_json(job.pending or "")
        if own and pending.service_time is None:  # the clock that it was sent by is asked
            sent = (pending.first_attempt.started_at - START).total_seconds()
            right = right and abs(sent - own[0].at) < UNDATED
        cautious = cautious and not job.was_moved and pending.resend_when_absent
        known = right or job.kind == "cancel"
        stamped = stamped and all(map(self._shows_stamp, own))
        known = known or (job.kind == "create" and stamped and self.service.echoes)
        return known and (bool(own) or cautious)


@attrs.frozen
class Report:
    """The end of a world: what was broken in it, and how it went."""

    broken: list[str]
    trace: list[str]
    ends: Counter[str]
    fates: Counter[str]
    """Times that each thing that goes wrong came true; see `Network`."""


LOOPS: Final = ("asyncio", "trio")


def run(seed: int, loop: str, *, keeps_assumption: bool = True) -> Report:
    """Let the world of a seed live on one loop's virtual time."""
    rng = random.Random(seed)  # noqa: S311 - a seed is to repeat it
    options: dict[str, Any] = {"loop_factory": VirtualLoop}
    if loop == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    world = World(rng, keeps_assumption)
    state = random.getstate()
    random.seed(seed)  # tenacity's
    with (
        mock.patch("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", new=True),
        mock.patch("trio._core._run._r", random.Random(seed)),  # noqa: S311 - likewise
        mock.patch("chat2pay_async._send.limited_transport.wall_clock", wall_clock),
        mock.patch.object(logging.getLogger("chat2pay_async.calls"), "disabled", new=True),
    ):
        anyio.run(world.live, backend=loop, backend_options=options)
    random.setstate(state)
    ends = Counter(f"{job.kind} {job.told}" for job in world.jobs)
    fates = sum((process.network.fates for process in world.processes), Counter[str]())
    fates["declined"] = sum(not one.accepted for one in world.service.effects)
    return Report(world.broken, world.trace, ends, fates)


def too_rare(fates: Counter[str], worlds: int, *, keeps_assumption: bool) -> list[str]:
    """Name the fates that came true too rarely for so many worlds to mean much."""
    expected = {one: rate * worlds for one, rate in (FATES | BEYOND).items()}
    least = {one: max(1.0, count - 3 * math.sqrt(count)) for one, count in expected.items()}
    if keeps_assumption:
        least |= dict.fromkeys(BEYOND, 0.0)
        assert not fates.keys() & BEYOND.keys(), "the world broke the assumption"
    return [f"{one}: {fates[one]} times" for one, count in least.items() if fates[one] < count]


def failures(seeds: range, loop: str, *, keeps_assumption: bool = True) -> list[str]:
    """Run the worlds of some seeds; say of each that broke a promise how to see it again.

    What went wrong too rarely to be tried is a failure as well.
    """
    found: list[str] = []
    fates = Counter[str]()
    for seed in seeds:
        report = run(seed, loop, keeps_assumption=keeps_assumption)
        fates += report.fates
        again = f"simulation.run({seed}, {loop!r}, keeps_assumption={keeps_assumption})"
        found += [f"{again}: {promise}" for promise in report.broken]
    return found + too_rare(fates, len(seeds), keeps_assumption=keeps_assumption)
