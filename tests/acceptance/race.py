"""Processes that race for the same keys, and are killed, frozen and thawed: single calls.

The sandbox is a process of its own in which much goes wrong. Some processes make the same calls, in
another order each, with one journal. They are killed (`kill -9`) and replaced, frozen (SIGSTOP) and
thawed (SIGCONT), each time after so many calls. In the end a new client recovers what dead ones
left, and the ledger is held against what callers were told:

- twice: what took place more than once;
- lost: what was told to be done, and did not take place; or what took place, and is not in the
  journal as applied;
- contradicting: two results of one key that differ;
- open: rows that `recover()` did not settle.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import attrs
import kill
from kill import KEY, LOOK_UP, SETTLE, Service

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    Journal,
    OutcomeUnknownError,
    PaymentLinkRequest,
    RetryPolicy,
    Timeout,
)

EFFECTS: Final = {
    "create_payment_link": ("link_created", "orderNumber"),
    "cancel_payment_link": ("link_cancelled", "paymentLinkRef"),
    "capture_payment": ("captured", "paymentLinkRef"),
    "reverse_payment": ("reversed", "paymentLinkRef"),
    "create_receipt": ("receipt_created", "paymentLinkRef"),
}
WORKERS: Final = 4
CONCURRENCY: Final = 10
"""Calls of a worker at a time."""
STILL: Final = 1.0
"""Seconds without a call that has ended, after which the next event comes all the same."""
BETWEEN, FROZEN = (1, 40), (1, 90)
"""Calls that end between two events, and while a process is frozen: the least and the most."""
RECEIPT: Final = "https://shop.example/receipts/1"

Key = tuple[str, str]
"""An operation, and the order number or reference."""


# One process --------------------------------------------------------------------------------------


@attrs.frozen
class Job:
    """The task of a worker: it gets this as JSON, in a file."""

    url: str
    journal: str
    keys: tuple[Key, ...]
    seed: int
    ticks: int
    """The descriptor of the pipe that gets a byte for each call that has ended."""


def client_of(url: str, journal: str) -> AsyncChat2Pay:
    """Make a client as the workers have it."""
    return AsyncChat2Pay(
        KEY,
        base_url=url,
        journal=Journal(journal),
        timeout=Timeout(read=1.0),
        retry=RetryPolicy(settle=SETTLE, initial=0.2, maximum=1.0),
    )


async def make(client: AsyncChat2Pay, operation: str, name: str) -> str:
    """Make a call; return what it says that can't differ between two callers."""
    match operation:
        case "create_payment_link":
            return (await client.create_payment_link(request_of(name))).payment_link_ref or ""
        case "cancel_payment_link":
            return f"{(await client.cancel_payment_link(name)).transaction_status}"
        case "capture_payment":
            return f"{(await client.capture_payment(name)).succeeded}"
        case "reverse_payment":
            return f"{(await client.reverse_payment(name)).succeeded}"
        case _:
            return f"{(await client.create_receipt(name, RECEIPT)).receipt_link_ref}"


def request_of(name: str) -> PaymentLinkRequest:
    """Return an order's request."""
    return PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number=name,
        currency="ZAR",
        total_amount="199.90",
        transaction_type="authorization",
    )


async def work(job: Job) -> None:
    """Make the calls in an order of its own, and print a line for each that has ended."""
    keys = list(job.keys)
    random.Random(job.seed).shuffle(keys)  # noqa: S311 - an order that a seed can repeat
    queue = iter(keys)

    async def one_after_the_other(client: AsyncChat2Pay) -> None:
        for operation, name in queue:
            try:
                told = "done " + await make(client, operation, name)
            except OutcomeUnknownError:
                told = "unknown"
            except Chat2PayError as error:
                told = "failed " + " ".join(str(error).split())
            print(f"{operation} {name} {told}", flush=True)
            os.write(job.ticks, b".")

    async with client_of(job.url, job.journal) as client, anyio.create_task_group() as tasks:
        for _ in range(CONCURRENCY):
            tasks.start_soon(one_after_the_other, client)


class Worker:
    """A process that makes calls; its lines go to a file, which a kill leaves whole."""

    def __init__(self, job: Job, folder: Path, number: int) -> None:
        task, self._lines = folder / f"{number}.job", folder / f"{number}.out"
        task.write_text(json.dumps(attrs.asdict(job)), encoding="utf-8")
        self._errors = folder / f"{number}.err"
        with self._lines.open("wb") as lines, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(  # noqa: S603 - this very file
                [sys.executable, __file__, str(task)],
                stdout=lines,
                stderr=errors,
                pass_fds=[job.ticks],
            )

    @property
    def has_ended(self) -> bool:
        """True once it has made all its calls, or was killed."""
        return self.process.poll() is not None

    def told(self) -> Iterator[tuple[Key, str]]:
        """Read what its callers were told."""
        for line in self._lines.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                operation, name, told = line.rstrip("\n").split(" ", 2)
                yield (operation, name), told

    def errors(self) -> str:
        """Read what it said beside."""
        return self._errors.read_text("utf-8")


# The race -----------------------------------------------------------------------------------------


@attrs.define
class Report:
    """A race's figures."""

    keys: int
    calls: int = 0
    kills: int = 0
    freezes: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    recovered: str = ""
    """The value of `recover()`, as text."""
    twice: list[str] = attrs.field(factory=list)
    lost: list[str] = attrs.field(factory=list)
    contradicting: list[str] = attrs.field(factory=list)
    open: list[str] = attrs.field(factory=list)
    not_applied: int = 0
    """Keys without an effect, of which everybody says so."""
    seconds: float = 0.0
    errors: list[str] = attrs.field(factory=list)
    """Errors of workers that ended other than they should."""


def wait_for_calls(ticking: int, count: int) -> None:
    """Wait until so many calls have ended, or none has for a while."""
    while count > 0:
        if not select.select([ticking], [], [], STILL)[0]:
            return
        count -= len(os.read(ticking, count))


def race(keys: Sequence[Key], service: Service, folder: Path, seed: int, kills: int) -> Report:
    """Let processes make the calls, and disturb them until so many were killed."""
    chance = random.Random(seed)  # noqa: S311 - events that a seed can repeat
    report, workers = Report(len(keys)), list[Worker]()
    ticking, ticks = os.pipe()
    journal = str(folder / "race.db")

    def begin() -> Worker:
        job = Job(service.url, journal, tuple(keys), seed + len(workers), ticks)
        workers.append(Worker(job, folder, len(workers)))
        return workers[-1]

    with ExitStack() as stack:
        stack.callback(os.close, ticking)
        stack.callback(os.close, ticks)
        stack.callback(stop, workers)
        racing = [begin() for _ in range(WORKERS)]
        while not all(worker.has_ended for worker in racing):
            wait_for_calls(ticking, chance.randint(*BETWEEN))
            disturbed = chance.choice(racing)
            if disturbed.has_ended:
                continue
            if report.kills < kills and chance.random() < 0.5:
                disturbed.process.kill()
                disturbed.process.wait()
                report.kills += 1
                racing[racing.index(disturbed)] = begin()
            else:
                disturbed.process.send_signal(signal.SIGSTOP)
                wait_for_calls(ticking, chance.randint(*FROZEN))
                disturbed.process.send_signal(signal.SIGCONT)
                report.freezes += 1
        report.errors = [
            worker.errors() for worker in workers if worker.process.returncode not in {0, -9}
        ]
    service.calm()
    report.faults = service.ledger().faults
    judge(report, keys, workers, service, journal)
    return report


def stop(workers: Sequence[Worker]) -> None:
    """End what still runs."""
    for worker in workers:
        with suppress(ProcessLookupError):
            worker.process.kill()
        worker.process.wait()


# The verdict --------------------------------------------------------------------------------------


def judge(
    report: Report, keys: Sequence[Key], workers: Sequence[Worker], service: Service, journal: str
) -> None:
    """Hold what callers were told, and what the journal has, against the ledger."""
    told: defaultdict[Key, set[str]] = defaultdict(set)
    for worker in workers:
        for key, line in worker.told():
            report.calls += 1
            told[key].add(line)
    report.recovered, states = anyio.run(recover, service.url, journal)
    compare(report, keys, told, states, effects_of(service))


def effects_of(service: Service) -> Mapping[Key, int]:
    """Count the effects of each key."""
    ledger = service.ledger()
    return {
        (operation, name): len(every)
        for operation, (kind, by) in EFFECTS.items()
        for name, every in ledger.effects(kind, by).items()
    }


def compare(
    report: Report,
    keys: Sequence[Key],
    told: Mapping[Key, set[str]],
    states: Mapping[Key, str],
    effects: Mapping[Key, int],
) -> None:
    """Note what is twice, lost, contradicting or open."""
    for key in keys:
        name, count, state = " ".join(key), effects.get(key, 0), states.get(key, "missing")
        results = {line for line in told.get(key, ()) if line.startswith("done ")}
        if count > 1:
            report.twice.append(f"{name}: {count} times")
        is_told = bool(results) or state == "applied"
        if is_told != bool(count) or (count and state != "applied"):
            report.lost.append(f"{name}: {count} effects, {state}, told {sorted(results)}")
        if len(results) > 1:
            report.contradicting.append(f"{name}: {sorted(results)}")
        if state in {"sent", "unknown", "claimed"}:
            report.open.append(f"{name}: {state}")
        report.not_applied += not count


async def recover(url: str, journal: str) -> tuple[str, Mapping[Key, str]]:
    """Recover what dead processes left; return what that says, and each row's state."""
    async with client_of(url, journal) as client:
        recovered = await client.recover()
    return str(recovered), states_in(journal)


def states_in(journal: str) -> Mapping[Key, str]:
    """Read the state of each row; receipts are known by their link's reference."""
    with closing(sqlite3.connect(journal)) as db:
        rows = db.execute("SELECT operation, identity, state FROM item").fetchall()
    return {(operation, identity): state for operation, identity, state in rows}


# Setting up ---------------------------------------------------------------------------------------


async def prepare(service: Service, each: int) -> tuple[Key, ...]:
    """Make so many keys of each operation: links that are there, or paid, where it needs them."""
    others = [name for name in EFFECTS if name != "create_payment_link"]
    keys: list[Key] = [("create_payment_link", f"race-{number:05}") for number in range(each)]
    limiter = anyio.CapacityLimiter(20)
    async with AsyncChat2Pay(KEY, base_url=service.url) as client:

        async def link(operation: str, number: int) -> None:
            async with limiter:
                made = await client.create_payment_link(request_of(f"{operation}-{number:05}"))
                ref = made.payment_link_ref or ""
                if operation != "cancel_payment_link":
                    await anyio.to_thread.run_sync(pay, service, ref)
                keys.append((operation, ref))

        async with anyio.create_task_group() as tasks:
            for operation in others:
                for number in range(each):
                    tasks.start_soon(link, operation, number)
    return tuple(keys)


def pay(service: Service, ref: str) -> None:
    """Be the customer who pays."""
    service.client.post(f"links/{ref}/pay").raise_for_status()


def plan(seed: int) -> dict[str, Any]:
    """Plan what goes wrong, for all five operations."""
    faults = kill.plan(seed)
    every = {"create_payment_link", "capture_payment"}
    for fault in faults["faults"]:
        if every <= set(fault["operations"]):
            looks_up = [LOOK_UP] if LOOK_UP in fault["operations"] else []
            fault["operations"] = [*EFFECTS, *looks_up]
    return faults


def play(each: int, seed: int, kills: int) -> Report:
    """Play a race with so many keys of each operation."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, kill.served(seed=seed) as service:
        keys = anyio.run(prepare, service, each)
        service.set_faults(plan(seed))
        report = race(keys, service, Path(folder), seed, kills)
    report.seconds = time.monotonic() - began
    return report


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    given["keys"] = tuple(map(tuple, given["keys"]))
    anyio.run(work, Job(**given))
