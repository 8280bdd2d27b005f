"""Thousands of calls against a sandbox in which everything goes wrong, judged by its own ledger.

    python benchmarks/chaos.py [--operations 10000] [--seeds 1 2] [--plans A B C D E]

Each plan runs in virtual time, on asyncio and on trio. More than 30 % of the requests meet a fault,
look-ups included, and every kind of fault befalls at least 1 % of them (counted by the sandbox).
What the client said is then held against what took place, after everything late has arrived:

- wrong: a success without an effect, or with somebody else's; or a call left in doubt that a later
  `resolve()`, on a new client and after pickling, settled wrongly;
- lost: an effect that the caller was told had failed;
- twice: an effect that took place more than once;
- unsettled: calls left in doubt that such a `resolve()` left in doubt again;
- replaced: the same, where a recovered link had been cancelled and made anew (channel `none`). The
  order number then shows the cancelled link, and nothing says that there is no later one.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import pickle
import random
import selectors
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import httpx
import trio.testing

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    OutcomeUnknownError,
    PaymentLinkRequest,
    Pending,
    ReceiptNotSentError,
    Resolution,
    RetryPolicy,
    Timeout,
    Verdict,
    _line,
)
from chat2pay_async.sandbox import FAULT_KINDS, POSTS, Fault, FaultPlan, Sandbox

CONCURRENCY = 400
CHANNELS = (*["sms", "whatsapp"] * 10, "none")
SETTLE = 10.0
READ_TIMEOUT = 3.0
HASTE = 30.0
BASE = datetime(2026, 1, 1, tzinfo=UTC)
SHARE = 0.0135
"""Of the requests, for each kind of fault; what befalls only some operations has more there."""


# Virtual time ------------------------------------------------------------------------------------


class JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: where the loop would sleep until a timer, time jumps to that timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Report what is ready; if nothing is, let `timeout` seconds have passed."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(
            None if timeout is None else 0
        )
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._jumping.now


def virtually(loop: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Run on a loop, asyncio or trio, whose time jumps instead of passing."""
    if loop == "trio":
        clock = trio.testing.MockClock(autojump_threshold=0)
        return anyio.run(work, backend="trio", backend_options={"clock": clock})
    return anyio.run(work, backend_options={"loop_factory": VirtualLoop})


class VirtualClock:
    """The wall clock of a virtual loop; the client's and the sandbox's alike."""

    def __init__(self) -> None:
        self._zero = anyio.current_time()

    def __call__(self) -> datetime:
        """The time, in UTC."""
        return BASE + timedelta(seconds=anyio.current_time() - self._zero)

    @contextmanager
    def for_clients(self) -> Iterator[None]:
        """Let every client tell its time by this clock."""
        real, _line.wall_clock = _line.wall_clock, self
        try:
            yield
        finally:
            _line.wall_clock = real


class PatientTransport(httpx.AsyncBaseTransport):
    """`httpx.ASGITransport`, with the read timeout that it ignores."""

    def __init__(self, sandbox: Sandbox, counter: Callable[[], object] = int) -> None:
        self._inner = httpx.ASGITransport(app=sandbox.app)
        self._counter = counter

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in time, or not at all."""
        self._counter()
        with anyio.move_on_after(request.extensions["timeout"]["read"]):
            return await self._inner.handle_async_request(request)
        raise httpx.ReadTimeout("", request=request)


# Plans -------------------------------------------------------------------------------------------


def everything(longest: float, seed: int, **switches: Any) -> FaultPlan:
    """Every kind of fault; delays and lags up to `longest` seconds, half of it each."""
    times = {"apply_late": (0.1, longest / 2), "lag": (0.1, longest / 2)}
    shares = {"storm": SHARE / 3, "foreign": 7 * SHARE, "lag": 6 * SHARE}
    only = {"lag": POSTS}
    faults = tuple(
        Fault(
            kind,
            shares.get(kind, SHARE),
            seconds=times.get(kind),
            operations=only.get(kind, ()),
            requests=(2, 6),
        )
        for kind in FAULT_KINDS
    )
    return FaultPlan(faults, seed=seed, **switches)


@attrs.frozen
class Plan:
    """What goes wrong, and what the client assumes."""

    name: str
    longest: float
    retry: RetryPolicy
    switches: dict[str, Any] = attrs.field(factory=dict)
    haste: float = 0.0
    """The share of calls that are cancelled, and the share that have a deadline, up to HASTE."""


_FORMS = ("empty", "null", "bad_request", "foreign_404", "html")
PLANS = {
    "A": Plan("A", 0.9 * SETTLE, RetryPolicy(settle=SETTLE)),
    "B": Plan("B", 5 * SETTLE, RetryPolicy(settle=SETTLE, resend_when_absent=False)),
    "C": Plan("C", 5 * SETTLE, RetryPolicy(settle=SETTLE)),
    "E": Plan("E", 0.9 * SETTLE, RetryPolicy(settle=SETTLE), haste=0.5),
    **{
        f"D {form}": Plan(
            f"D {form}", 0.9 * SETTLE, RetryPolicy(settle=SETTLE), {"unknown_order": form}
        )
        for form in _FORMS
    },
}


# One run -----------------------------------------------------------------------------------------


@attrs.define
class Tally:
    """What became of the calls of one operation."""

    calls: int = 0
    applied: int = 0
    recovered: int = 0
    failed: int = 0
    undetermined: int = 0
    cancelled: int = 0
    twice: int = 0
    lost: int = 0
    wrong: int = 0
    unsettled: int = 0
    replaced: int = 0


@attrs.frozen
class Said:
    """What a caller was told."""

    key: str
    outcome: str
    """`applied`, `declined`, `failed`, `unknown` or `cancelled`."""
    reference: str | None = None
    recovered: bool = False
    pending: bytes | None = None


EFFECTS = {
    "create_payment_link": "link_created",
    "cancel_payment_link": "link_cancelled",
    "capture_payment": "captured",
    "reverse_payment": "reversed",
    "create_receipt": "receipt_created",
}


@attrs.define
class Report:
    """A run's figures."""

    plan: str
    loop: str
    seed: int
    tallies: dict[str, Tally] = attrs.field(factory=lambda: {name: Tally() for name in EFFECTS})
    faults: Counter[str] = attrs.field(factory=Counter)
    requests: int = 0
    seconds: float = 0.0

    def total(self, what: str) -> int:
        """A figure summed up over the operations."""
        return sum(getattr(tally, what) for tally in self.tallies.values())

    @property
    def faulty(self) -> float:
        """The share of the requests that met a fault."""
        return (self.faults.total() - self.faults["lag"]) / self.requests


@attrs.define
class Chaos:
    """A sandbox in which everything goes wrong, and a client that has to live with it."""

    plan: Plan
    seed: int
    sandbox: Sandbox
    random: random.Random
    said: dict[str, list[Said]] = attrs.field(factory=lambda: {name: [] for name in EFFECTS})
    heard: dict[str, Pending] = attrs.field(factory=dict)
    """Pendings told by the event, by identity."""
    requests: int = 0

    def client(self, retry: RetryPolicy, hooks: Iterable[Any] = ()) -> AsyncChat2Pay:
        """A new client."""
        return AsyncChat2Pay(
            self.sandbox.api_key,
            base_url="http://localhost",
            transport=PatientTransport(self.sandbox, self.count),
            timeout=Timeout(read=READ_TIMEOUT),
            retry=retry,
            max_connections=CONCURRENCY,
            hooks=hooks,
        )

    def count(self) -> None:
        """Count a request, once things go wrong."""
        self.requests += self.sandbox.faults is not None

    def hear(self, event: Any) -> None:
        """The hook: remember who is in doubt."""
        if type(event).__name__ == "OutcomeUnknown":
            self.heard[event.pending.identity] = event.pending

    async def prepare(self, operations: int) -> dict[str, list[str]]:
        """Links that are paid, or not, for the operations that need one; nothing goes wrong yet."""
        refs: dict[str, list[str]] = {name: [] for name in EFFECTS}
        async with self.client(RetryPolicy()) as client:

            async def link(name: str, number: int) -> None:
                made = await client.create_payment_link(self.request(f"{name[:3]}-{number}"))
                ref = made.payment_link_ref or ""
                if name != "cancel_payment_link":
                    self.sandbox.pay(ref)
                if name == "capture_payment" and number % 50 == 0:
                    self.sandbox.decline_capture(ref)
                refs[name].append(ref)

            names = [name for name in EFFECTS if name != "create_payment_link"]
            await spread([(link, (name, n)) for name in names for n in range(operations)])
        return refs

    def request(self, order: str, channel: str = "sms") -> PaymentLinkRequest:
        """An order."""
        return PaymentLinkRequest(
            channel=channel,
            to="27000000001",
            order_number=order,
            currency="ZAR",
            total_amount="199.90",
            transaction_type="authorization",
            return_payment_link=True,
        )

    def haste(self) -> float | None:
        """How long a call may take; None: as long as it needs."""
        hasty = self.random.random() < self.plan.haste
        return self.random.uniform(0, HASTE) if hasty else None

    def hurried(self, client: AsyncChat2Pay) -> AsyncChat2Pay:
        """A view with a deadline, perhaps."""
        total = self.haste()
        return client.with_options(timeout=Timeout(read=READ_TIMEOUT, total=total))

    async def call(self, name: str, key: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Make one call, and note what its caller is told."""
        said = Said(key, "cancelled")
        patience = self.haste()
        with anyio.move_on_after(patience):
            try:
                result = await work()
            except OutcomeUnknownError as error:
                said = Said(key, "unknown", pending=pickle.dumps(error.pending))
            except ReceiptNotSentError as error:
                said = Said(key, "applied", error.receipt.receipt_link_ref)
            except Chat2PayError:
                said = Said(key, "failed")
            else:
                fine = getattr(result, "succeeded", True) is not False
                reference = getattr(result, "payment_link_ref", None)
                outcome = "applied" if fine else "declined"
                said = Said(key, outcome, reference, recovered=result.recovered)
        if said.outcome == "cancelled" and key in self.heard:
            said = Said(key, "unknown", pending=pickle.dumps(self.heard[key]))
        self.said[name].append(said)

    async def calls(self, client: AsyncChat2Pay, operations: int) -> None:
        """All of them, in random order."""
        refs = await self.prepare(operations)
        self.sandbox.set_faults(everything(self.plan.longest, self.seed, **self.plan.switches))
        jobs: list[Any] = []
        for number in range(operations):
            order = self.request(f"new-{number}", CHANNELS[number % len(CHANNELS)])
            jobs += [
                (
                    "create_payment_link",
                    order.order_number,
                    self.hurried(client).create_payment_link,
                    (order,),
                ),
                *(
                    (
                        name,
                        refs[name][number],
                        getattr(self.hurried(client), name),
                        (refs[name][number],),
                    )
                    for name in ("cancel_payment_link", "capture_payment", "reverse_payment")
                ),
            ]
            ref = refs["create_receipt"][number]
            args = (ref, "https://r.example")
            jobs.append(("create_receipt", ref, self.hurried(client).create_receipt, args))
        self.random.shuffle(jobs)
        await spread(
            [
                (self.call, (name, key, lambda method=method, args=args: method(*args)))
                for name, key, method, args in jobs
            ]
        )


async def spread(work: Sequence[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]]) -> None:
    """Do it all, `CONCURRENCY` at a time."""
    queue = iter(work)

    async def worker() -> None:
        for do, args in queue:
            await do(*args)

    async with anyio.create_task_group() as tasks:
        for _ in range(CONCURRENCY):
            tasks.start_soon(worker)


async def run(plan: Plan, loop: str, seed: int, operations: int) -> Report:
    """Run a plan, and judge it by the ledger."""
    clock = VirtualClock()
    report = Report(plan.name, loop, seed)
    day = timedelta(days=1)
    sandbox = Sandbox(clock=clock, seed=seed, link_ttl=day, page_ttl=day)
    chance = random.Random(seed)  # noqa: S311 - faults that a seed can repeat
    chaos = Chaos(plan, seed, sandbox, chance)
    with clock.for_clients():
        client = chaos.client(plan.retry, [chaos.hear])
        async with client:
            started = time.perf_counter()
            await chaos.calls(client, operations)
            report.seconds = time.perf_counter() - started
        ledger = sandbox.ledger
        for (_operation, kind), count in ledger.faults.items():
            report.faults[kind] += count
        report.requests = chaos.requests
        sandbox.set_faults(None)
        sandbox.apply_late()
        await anyio.sleep(plan.longest + 5 * SETTLE)
        await judge(chaos, report)
    return report


async def judge(chaos: Chaos, report: Report) -> None:
    """Hold what callers were told against what took place."""
    ledger = chaos.sandbox.ledger
    async with chaos.client(chaos.plan.retry) as client:
        work = []
        for name, every in chaos.said.items():
            tally = report.tallies[name]
            for said in every:
                effects = effects_of(ledger, name, said.key)
                note(tally, said, effects)
                if said.pending is not None:
                    work.append(
                        (check_settled, (client, tally, said, Truth.of(ledger, name, said.key)))
                    )
        await spread(work)
    known = references_of(ledger)
    for said in chaos.said["create_payment_link"]:
        if said.outcome == "applied" and said.reference not in known[said.key]:
            report.tallies["create_payment_link"].wrong += 1


@attrs.frozen
class Truth:
    """What the ledger knows of one key that bears on settling a call in doubt."""

    effects: int
    """How often it took place, a link that was made anew included."""
    declined: bool
    """Whether a gateway refused a capture."""
    replaced: bool
    """Whether a link was cancelled to be made anew."""

    @classmethod
    def of(cls, ledger: Any, name: str, key: str) -> Truth:
        """Read the ledger."""
        creating = name == "create_payment_link"
        return cls(
            effects_of(ledger, name, key) or ledger.count("link_created", order_number=key),
            bool(ledger.count("capture_declined", payment_link_ref=key)),
            creating and bool(ledger.count("link_cancelled", order_number=key)),
        )

    def is_told_by(self, resolution: Resolution) -> bool:
        """Whether a verdict is true; one that leaves it open always is."""
        if resolution.verdict is Verdict.APPLIED:
            refused = getattr(resolution.result, "succeeded", None) is False
            return self.declined if refused else self.effects > 0
        return resolution.verdict is Verdict.UNDETERMINED or not (self.effects or self.declined)


def references_of(ledger: Any) -> dict[str, set[str]]:
    """Every order's links."""
    known: dict[str, set[str]] = {}
    for effect in ledger.effects:
        if effect.kind == "link_created":
            known.setdefault(effect.order_number, set()).add(effect.payment_link_ref)
    return known


def effects_of(ledger: Any, name: str, key: str) -> int:
    """How often an effect took place; a link that was cancelled to be made anew does not count."""
    if name != "create_payment_link":
        return int(ledger.count(EFFECTS[name], payment_link_ref=key))
    made = ledger.count("link_created", order_number=key)
    return int(made - ledger.count("link_cancelled", order_number=key))


def note(tally: Tally, said: Said, effects: int) -> None:
    """Count a call."""
    tally.calls += 1
    tally.applied += said.outcome == "applied"
    tally.recovered += said.recovered
    tally.failed += said.outcome in {"failed", "declined"}
    tally.undetermined += said.outcome == "unknown"
    tally.cancelled += said.outcome == "cancelled"
    tally.twice += effects > 1
    tally.wrong += said.outcome == "applied" and effects == 0
    tally.lost += said.outcome in {"failed", "declined", "cancelled"} and effects > 0


async def check_settled(client: AsyncChat2Pay, tally: Tally, said: Said, truth: Truth) -> None:
    """Settle a call that was left in doubt, as another process would."""
    resolution = await client.resolve(pickle.loads(said.pending or b""))  # noqa: S301 - our own
    if resolution.verdict is Verdict.UNDETERMINED:
        tally.replaced += truth.replaced
        tally.unsettled += not truth.replaced
    tally.wrong += not truth.is_told_by(resolution)


# The table ---------------------------------------------------------------------------------------

COLUMNS = [field.name for field in attrs.fields(Tally)]


def table(report: Report) -> str:
    """A report as text."""
    lines = [
        (
            f"plan {report.plan}, seed {report.seed}, {report.loop}: {report.requests} requests, "
            f"{report.faulty:.1%} faulty, {report.seconds:.0f} s"
        ),
        f"{'':20}" + "".join(f"{column:>13}" for column in COLUMNS),
    ]
    lines += [
        f"{name:20}" + "".join(f"{getattr(tally, column):13}" for column in COLUMNS)
        for name, tally in report.tallies.items()
    ]
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(report.faults.items()))
    return "\n".join([*lines, f"faults: {faults}"])


def main() -> int:
    """Run the plans asked for.

    Returns:
        1 if the promise was broken, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--plans", nargs="+", default=["A", "B", "C", "D", "E"])
    parser.add_argument("--loops", nargs="+", default=["asyncio", "trio"])
    chosen = parser.parse_args()
    plans = [plan for name, plan in PLANS.items() if name.partition(" ")[0] in chosen.plans]
    broken = 0
    for plan in plans:
        for seed in chosen.seeds:
            for loop in chosen.loops:
                work = functools.partial(run, plan, loop, seed, chosen.operations)
                report = virtually(loop, work)
                print(table(report), end="\n\n", flush=True)
                if plan.name != "C":
                    broken += sum(map(report.total, ("wrong", "lost", "twice", "unsettled")))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
