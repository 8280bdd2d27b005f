"""Campaigns and jobs that are killed again and again, judged by the sandbox's own ledger.

The sandbox is a process of its own in which much goes wrong; the run is another one, and is killed
(`kill -9`) at random moments, until it has come to its end; then it is run once more. What took
place is held against what was to take place, by the ledger:

- twice: what took place more than once;
- lost: what did not take place;
- pending: rows that a kill left unresolved, counted in a copy of the journal before each resume:
  never more than the run's concurrency. In the end there are none.

Besides: rows that were changed or removed between two runs, a service that was down, two processes
with the same rows at the same time, and a disk that was full.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import anyio
import attrs
import httpx

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    JournalError,
    PaymentLinkRequest,
    RetryPolicy,
    Timeout,
    bulk,
)

KEY: Final = "kill-key"
RUN: Final = "kill"
CONCURRENCY: Final = 50
SETTLE: Final = 2.5
"""Above what `LATE` and `LAG` come to, with a good deal for a busy machine."""
GIVE_UP_AFTER: Final = 5.0
"""Seconds of a service that can't be reached."""
READ_TIMEOUT: Final = 1.0
LATE: Final = (0.1, 0.5)
LAG: Final = (0.1, 0.5)
CHANNELS: Final = (*["sms", "whatsapp"] * 10, "none")
MOST_RUNS: Final = 60
"""Runs that may be needed to do everything; more would be a fault of their own."""
FULL: Final = 150_000
"""Bytes that a journal, or what is beside it, has on a small disk: enough for the first orders."""
JOURNAL_ERROR: Final = 3
"""The exit code of a run that could not use its journal."""

POSTS: Final = ("create_payment_link", "capture_payment")
LOOK_UP: Final = "get_transaction"
ANYWHERE: Final = (
    *("drop_before", "drop_after", "reset_before", "reset_after", "silence_after"),
    *("error_500_before", "error_500_after", "error_502_before", "error_502_after"),
    *("error_503_before", "error_503_after", "truncated", "html", "garbage"),
    *("hollow_200_before", "hollow_201_after", "redirect_302_before", "redirect_307_after"),
)
ON_POSTS: Final = ("apply_late", "answer_late", "silence_before")
PAUSING: Final = ("throttle", "storm")
"""Faults that make all of a client's tasks wait: a quarter as often as the others."""
KINDS: Final = frozenset({*ANYWHERE, *ON_POSTS, *PAUSING, "not_found", "lag"})


def plan(seed: int) -> dict[str, Any]:
    """Plan what goes wrong: about a quarter of all requests."""
    rate = 0.012
    own: dict[str, dict[str, Any]] = {
        "apply_late": {"seconds": LATE},
        "answer_late": {"seconds": (0.3, 1.6)},
        "storm": {"seconds": (0.1, 0.3), "requests": (2, 4)},
    }
    every = {"operations": [*POSTS, LOOK_UP], "rate": rate}
    pausing = every | {"rate": rate / 4, "retry_after": (0, 1)}
    faults = [
        *({"kind": kind} | every for kind in ANYWHERE),
        *({"kind": kind} | every | {"operations": POSTS} | own.get(kind, {}) for kind in ON_POSTS),
        *({"kind": kind} | pausing | own.get(kind, {}) for kind in PAUSING),
        {"kind": "not_found", "rate": rate, "operations": [LOOK_UP]},
        {"kind": "lag", "rate": 0.1, "seconds": LAG, "operations": POSTS},
    ]
    return {"seed": seed, "faults": faults}


# The sandbox's process ----------------------------------------------------------------------------


@attrs.frozen
class Service:
    """The sandbox in its process, and what can be asked of it."""

    url: str
    client: httpx.Client

    def ledger(self) -> Ledger:
        """Read what took place."""
        body = self.client.get("ledger?effects=1").raise_for_status()
        return Ledger(body.json(parse_float=Decimal))

    def set_faults(self, faults: Mapping[str, Any] | None) -> None:
        """Let things go wrong by a plan, or not at all."""
        if faults is None:
            self.client.delete("faults").raise_for_status()
        else:
            self.client.put("faults", json=faults).raise_for_status()

    def next_faults(self, operation: str, faults: Sequence[str]) -> None:
        """Say what befalls the next requests of an operation."""
        script = {"operation": operation, "faults": faults}
        self.client.post("faults/next", json=script).raise_for_status()

    def calm(self) -> None:
        """Nothing goes wrong any more, and what was late has arrived."""
        self.set_faults(None)
        self.client.post("apply-late").raise_for_status()
        assert self.client.post("apply-late").json() == {"applied": 0}


@attrs.frozen
class Ledger:
    """The sandbox's ledger, as it tells it over HTTP."""

    body: Mapping[str, Any]

    def effects(self, kind: str, name: str) -> dict[str, list[Mapping[str, Any]]]:
        """All effects of a kind, by their `orderNumber` or `paymentLinkRef`."""
        found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for effect in self.body["effects"]:
            if effect["kind"] == kind:
                found[effect[name]].append(effect)
        return found

    def times(self, operation: str) -> Counter[str]:
        """Count each key's effects."""
        kind, name = EFFECTS[operation]
        return Counter({key: len(every) for key, every in self.effects(kind, name).items()})

    def met(self, operation: str) -> tuple[Any, Any]:
        """All that an operation's requests met, answers and faults: unchanged if none was sent."""
        return self.body["requests"].get(operation), self.body["faults"].get(operation)

    @property
    def faults(self) -> Counter[str]:
        """The number of times that each fault happened."""
        faults: Counter[str] = Counter()
        for by_kind in self.body["faults"].values():
            faults.update({kind: int(count) for kind, count in by_kind.items()})
        return faults


EFFECTS: Final = {
    "create_payment_link": ("link_created", "orderNumber"),
    "capture_payment": ("captured", "paymentLinkRef"),
}


@contextmanager
def served(
    faults: Mapping[str, Any] | None = None, seed: int = 1, port: int = 0
) -> Iterator[Service]:
    """Start `python -m chat2pay_async.sandbox`, and stop it in the end."""
    command = [sys.executable, "-m", "chat2pay_async.sandbox", "--api-key", KEY]
    command += ["--seed", str(seed), "--port", str(port)]
    command += ["--faults", json.dumps(faults)] if faults is not None else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            url = next(word for word in words if word.startswith("http://"))
            with httpx.Client(base_url=f"{url}/sandbox/", timeout=60) as client:
                yield Service(url, client)
        finally:
            process.terminate()


# The run's process --------------------------------------------------------------------------------


@attrs.frozen
class Job:
    """The task of a child: it gets this as JSON, in a file."""

    operation: str
    url: str
    journal: str
    count: int = 0
    """Orders, for links."""
    refs: tuple[str, ...] = ()
    """Links to capture, by their references."""
    edited: Mapping[str, str] = attrs.field(factory=dict)
    """Orders whose amount is another one now."""
    removed: tuple[str, ...] = ()
    """Orders that the source has no more."""
    concurrency: int = CONCURRENCY
    read_timeout: float = READ_TIMEOUT
    file_limit: int | None = None
    """Bytes that no file of it may grow beyond: what it meets is a full disk."""


def order(number: int) -> str:
    """An order's number."""
    return f"kill-{number:06}"


def amount(number: int) -> str:
    """An order's amount."""
    return f"{100 + number % 400}.{number % 100:02}"


def requests(job: Job) -> Iterator[PaymentLinkRequest]:
    """The source of a campaign."""
    for number in range(job.count):
        name = order(number)
        if name in job.removed:
            continue
        yield PaymentLinkRequest(
            channel=CHANNELS[number % len(CHANNELS)],
            to=f"2783{number:07}",
            order_number=name,
            currency="ZAR",
            total_amount=job.edited.get(name, amount(number)),
            transaction_type="authorization",
            return_payment_link=True,
        )


def run_of(job: Job, client: AsyncChat2Pay) -> bulk.Run[Any, Any]:
    """The run that a job is about."""
    options: bulk.RunOptions = {
        "run": RUN,
        "concurrency": job.concurrency,
        "give_up_after": GIVE_UP_AFTER,
    }
    if job.operation == "create_payment_link":
        return bulk.create_payment_links(client, requests(job), **options)
    return bulk.capture_payments(client, map(bulk.Capture, job.refs), **options)


async def work(job: Job) -> None:
    """Run it, and print a line for each outcome."""
    client = AsyncChat2Pay(
        KEY,
        base_url=job.url,
        journal=job.journal,
        timeout=Timeout(read=job.read_timeout),
        retry=RetryPolicy(settle=SETTLE, initial=0.2, maximum=1.0),
    )
    async with client, run_of(job, client) as run:
        print("ready", flush=True)
        async for outcome in run:
            wrong = " ".join(str(outcome.error or "").split())
            print(f"{outcome.state.value} {outcome.key} {wrong}", flush=True)


def child(job: Job) -> int:
    """Be the run's process.

    Returns:
        The exit code.
    """
    if job.file_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_limit, job.file_limit))
    try:
        anyio.run(work, job)
    except JournalError as error:
        print(f"JournalError: {error}", file=sys.stderr)
        return JOURNAL_ERROR
    except Chat2PayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


# A run, seen from outside -------------------------------------------------------------------------


@attrs.frozen
class Moment:
    """Moment when a run is killed: after so many outcomes that are no skipped ones, or seconds."""

    outcomes: int = 0
    seconds: float = 0.0


def moments(seed: int, kills: int, count: int) -> Iterator[Moment]:
    """Random moments, so that about so many kills happen before a campaign is through.

    Every other one falls into a run's first seconds, where it looks up what is pending.
    """
    chance = random.Random(seed)  # noqa: S311 - moments that a seed can repeat
    for number in range(kills):
        if number % 2:
            yield Moment(seconds=chance.uniform(0.0, 1.5))
        else:
            yield Moment(outcomes=chance.randint(1, max(2, 2 * count // (kills + 1))))


@attrs.define
class Reported:
    """The output of a run until it ended."""

    code: int = 0
    lines: list[tuple[str, str, str]] = attrs.field(factory=list)
    """State, key, and what went wrong."""
    errors: str = ""

    @property
    def killed(self) -> bool:
        """True if it was killed."""
        return self.code == -signal.SIGKILL

    @property
    def states(self) -> Counter[str]:
        """The number of outcomes of each state."""
        return Counter(state for state, _key, _error in self.lines)

    def keys(self, *states: str) -> set[str]:
        """The keys of the outcomes with these states."""
        return {key for state, key, _error in self.lines if state in states}


@contextmanager
def started(job: Job) -> Iterator[subprocess.Popen[str]]:
    """Start a run's process."""
    reported = Path(f"{job.journal}.{job.concurrency}.job")
    reported.write_text(json.dumps(attrs.asdict(job)), encoding="utf-8")
    command = [sys.executable, __file__, str(reported)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.kill()


def follow(process: subprocess.Popen[str], moment: Moment | None = None) -> Reported:
    """Read what a run says until it ends, and kill it when the moment has come."""
    assert process.stdout is not None
    assert process.stderr is not None
    reported, fresh = Reported(), 0
    timer = threading.Timer(0.0 if moment is None else moment.seconds, process.kill)
    for line in process.stdout:
        if line == "ready\n":
            if moment is not None and not moment.outcomes:
                timer.start()
            continue
        state, key, error = line.rstrip("\n").split(" ", 2)
        reported.lines.append((state, key, error))
        fresh += state != "skipped"
        if moment is not None and fresh == moment.outcomes:
            process.kill()
    reported.errors = process.stderr.read()
    reported.code = process.wait()
    timer.cancel()
    return reported


def run(job: Job, moment: Moment | None = None) -> Reported:
    """Make a run in a process of its own."""
    with started(job) as process:
        return follow(process, moment)


def rows(journal: str) -> dict[str, str]:
    """Every row's state, from a copy of a journal: opening it would already tidy it up."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.db")
        shutil.copyfile(journal, copy)
        log = Path(f"{journal}-wal")
        if log.exists():
            shutil.copyfile(log, f"{copy}-wal")
        with closing(sqlite3.connect(copy)) as db:
            return dict(db.execute("SELECT key, state FROM item WHERE state <> 'claimed'"))


# Reports ------------------------------------------------------------------------------------------


@attrs.define
class Report:
    """A scenario's figures, and what was broken."""

    scenario: str
    orders: int
    runs: int = 0
    kills: int = 0
    pending: list[int] = attrs.field(factory=list)
    """Before each resume."""
    faults: Counter[str] = attrs.field(factory=Counter)
    twice: int = 0
    lost: int = 0
    seconds: float = 0.0
    broken: list[str] = attrs.field(factory=list)

    def run(self, job: Job, moment: Moment | None = None) -> Reported:
        """Make a run, and count it."""
        reported = run(job, moment)
        self.runs += 1
        self.kills += reported.killed
        return reported

    def count_pending(self, job: Job) -> int:
        """Count the rows that the last run left unresolved."""
        self.pending.append(Counter(rows(job.journal).values())["sent"])
        return self.pending[-1]

    def check(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it is what is checked
        """Note what is broken unless something holds."""
        if not holds:
            self.broken.append(otherwise)

    def judge(self, ledger: Ledger, job: Job, keys: Sequence[str], left: set[str]) -> None:
        """Hold what took place against what was to: each key once."""
        times = ledger.times(job.operation)
        self.faults = ledger.faults
        self.twice = sum(count > 1 for count in times.values())
        self.lost = sum(times[key] < 1 for key in keys)
        self.check(not self.twice, f"{self.twice} twice")
        self.check(not self.lost, f"{self.lost} lost")
        self.check(not left, f"never done: {sorted(left)}")
        strange = set(times) - set(keys)
        self.check(not strange, f"never asked for: {sorted(strange)[:5]}")


def finish(job: Job, report: Report, killing: Iterator[Moment]) -> None:
    """Run a job, kill it, and run it again until it has come to its end."""
    for _ in range(MOST_RUNS):
        if Path(job.journal).exists():
            report.count_pending(job)
        reported = report.run(job, next(killing, None))
        report.check(
            reported.killed or not reported.code, f"exit {reported.code}: {reported.errors}"
        )
        unwritten = reported.keys("applied") - applied(job.journal)
        report.check(not unwritten, f"reported, and not written down: {sorted(unwritten)[:5]}")
        if not reported.killed and not reported.keys("unknown", "failed"):
            break
    else:
        report.broken.append(f"not done in {MOST_RUNS} runs")
    most = max(report.pending, default=0)
    report.check(most <= job.concurrency, f"{most} rows pending")


def applied(journal: str) -> set[str]:
    """The keys that a journal has as applied."""
    if not Path(journal).exists():
        return set()
    return {key for key, state in rows(journal).items() if state == "applied"}


def check_once_more(job: Job, report: Report, service: Service) -> None:
    """See that one more run sends nothing, and skips everything."""
    before = service.ledger().met(job.operation)
    reported = report.run(job)
    after = service.ledger().met(job.operation)
    report.check(before == after, f"one more run sent something: {before}, then {after}")
    left = reported.keys("applied", "rejected", "failed", "unknown")
    report.check(not left, f"one more run did not skip {sorted(left)[:5]}")


# Scenarios ----------------------------------------------------------------------------------------

Scenario = Callable[[int, int, int, Path], Report]
"""Takes how many orders, a seed, how many kills, and a folder to work in."""


def links(orders: int, seed: int, kills: int, folder: Path) -> Report:
    """A campaign that is killed."""
    with served(plan(seed), seed) as service:
        job = Job("create_payment_link", service.url, str(folder / "links.db"), orders)
        return killed("links", job, service, [*map(order, range(orders))], (seed, kills))


def captures(orders: int, seed: int, kills: int, folder: Path) -> Report:
    """A job of captures that is killed; its links are made and paid before anything goes wrong."""
    with served(seed=seed) as service:
        refs = anyio.run(paid, service, orders)
        service.set_faults(plan(seed))
        job = Job("capture_payment", service.url, str(folder / "captures.db"), refs=refs)
        return killed("captures", job, service, refs, (seed, kills))


def killed(
    name: str, job: Job, service: Service, keys: Sequence[str], how: tuple[int, int]
) -> Report:
    """Kill a job so many times, by a seed; let it come to its end, and judge it."""
    report = Report(name, len(keys))
    seed, kills = how
    finish(job, report, moments(seed, kills, len(keys)))
    check_once_more(job, report, service)
    service.calm()
    report.judge(service.ledger(), job, keys, set())
    return report


async def paid(service: Service, count: int) -> tuple[str, ...]:
    """Make so many links, and pay them."""
    refs: list[str] = []
    source = requests(Job("create_payment_link", service.url, "", count))
    async with (
        AsyncChat2Pay(KEY, base_url=service.url) as client,
        httpx.AsyncClient(base_url=f"{service.url}/sandbox/", timeout=60) as customers,
        bulk.create_payment_links(client, source) as run,
    ):
        async for outcome in run:
            assert outcome.result is not None, outcome.error
            refs.append(outcome.result.payment_link_ref or "")
            (await customers.post(f"links/{refs[-1]}/pay")).raise_for_status()
    return tuple(refs)


def half_done(job: Job, service: Service, report: Report) -> list[str]:
    """Kill a campaign when three of its POSTs have no response, and all others have one.

    Returns:
        The pending orders: two were applied, in silence, and one was not.
    """
    service.next_faults(job.operation, ["silence_after", "silence_after", "silence_before"])
    # Long enough for all the others; whoever settles these three has to wait as long.
    reported = report.run(attrs.evolve(job, read_timeout=30.0), Moment(outcomes=job.count - 3))
    report.count_pending(job)
    left = sorted(key for key, state in rows(job.journal).items() if state == "sent")
    report.check(reported.killed and len(left) == 3, f"{len(left)} pending")
    return left


def edited(orders: int, seed: int, _kills: int, folder: Path) -> Report:
    """Rows that were changed: refused where they took effect, and sent where they did not."""
    report = Report("row edited", orders)
    with served(seed=seed) as service:
        job = Job("create_payment_link", service.url, str(folder / "edited.db"), orders)
        left = half_done(job, service, report)
        (absent,) = (key for key in left if not service.ledger().times(job.operation)[key])
        done = next(key for key in map(order, range(orders)) if key not in left)
        changed = {*left, done} - {absent}
        reported = report.run(attrs.evolve(job, edited=dict.fromkeys([*changed, absent], "1.00")))
        refused = {key: error for state, key, error in reported.lines if state == "rejected"}
        report.check(set(refused) == changed, f"refused: {sorted(refused)}")
        named = all("total_amount" in error for error in refused.values())
        report.check(named, f"refused without a reason: {refused}")
        corrected = attrs.evolve(job, edited={absent: "1.00"})
        check_once_more(corrected, report, service)
        ledger = service.ledger()
        report.judge(ledger, job, [*map(order, range(orders))], reported.keys("unknown", "failed"))
        made = ledger.effects("link_created", "orderNumber")
        amounts = {order(number): amount(number) for number in range(orders)} | {absent: "1.00"}
        wrong = [
            name
            for name, one in amounts.items()
            if Decimal(made[name][0]["amount"]) != Decimal(one)
        ]
        report.check(not wrong, f"the changed row took effect: {wrong[:5]}")
    return report


def removed(orders: int, seed: int, _kills: int, folder: Path) -> Report:
    """Rows that were removed while they were pending: settled all the same, and not sent again."""
    report = Report("row removed", orders)
    with served(seed=seed) as service:
        job = Job("create_payment_link", service.url, str(folder / "removed.db"), orders)
        gone = half_done(job, service, report)
        (absent,) = (key for key in gone if not service.ledger().times(job.operation)[key])
        reported = report.run(attrs.evolve(job, removed=tuple(gone)))
        resolved = reported.keys("applied")
        report.check(resolved == {*gone} - {absent}, f"resolved {sorted(resolved)} of {gone}")
        report.check(reported.keys("failed") == {absent}, f"without effect: {reported.states}")
        check_once_more(attrs.evolve(job, removed=tuple(gone)), report, service)
        keys = [key for key in map(order, range(orders)) if key != absent]
        report.judge(service.ledger(), job, keys, reported.keys("unknown"))
    return report


def down(orders: int, seed: int, _kills: int, folder: Path) -> Report:
    """A service that can't be reached: the run gives up, nothing is final, the next does it."""
    report = Report("service down", orders)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    job = Job("create_payment_link", url, str(folder / "down.db"), orders)
    reported = report.run(job)
    is_said = reported.code == 1 and "give_up_after=5" in reported.errors
    report.check(is_said, f"down: exit {reported.code}, {reported.errors}")
    report.check(reported.states == {"failed": CONCURRENCY}, f"down: {reported.states}")
    report.count_pending(job)
    with served(seed=seed, port=port) as service:
        reported = report.run(job)
        report.check(reported.states == {"applied": orders}, f"up again: {reported.states}")
        check_once_more(job, report, service)
        report.judge(service.ledger(), job, [*map(order, range(orders))], set())
    return report


def together(orders: int, seed: int, _kills: int, folder: Path) -> Report:
    """Two processes with the same rows at the same time: each row is sent by one of them."""
    report = Report("two processes", orders)
    with served(plan(seed), seed) as service:
        job = Job("create_payment_link", service.url, str(folder / "together.db"), orders)
        with (
            started(job) as first,
            started(attrs.evolve(job, concurrency=CONCURRENCY - 1)) as other,
        ):
            reports = [follow(first), follow(other)]
        report.runs += 2
        for reported in reports:
            report.check(not reported.code, f"exit {reported.code}: {reported.errors}")
            report.check(len(reported.lines) == orders, f"{len(reported.lines)} outcomes")
        # What failed in one of them had no effect, and what is unknown is settled: the other may.
        done = [reported.keys("applied") for reported in reports]
        report.check(bool(done[0] and done[1]), "one of them sent nothing")
        report.check(not done[0] & done[1], f"done by both: {sorted(done[0] & done[1])[:5]}")
        finish(job, report, iter(()))
        check_once_more(job, report, service)
        service.calm()
        report.judge(service.ledger(), job, [*map(order, range(orders))], set())
    return report


def full(orders: int, seed: int, _kills: int, folder: Path) -> Report:
    """A disk that is full in the middle: the run ends and says so; with room, it goes on."""
    report = Report("disk full", orders)
    with served(plan(seed), seed) as service:
        job = Job("create_payment_link", service.url, str(folder / "full.db"), orders)
        reported = report.run(attrs.evolve(job, file_limit=FULL, concurrency=10))
        report.check(reported.code == JOURNAL_ERROR, f"exit {reported.code}: {reported.errors}")
        done = reported.states["applied"]
        report.check(0 < done < orders, f"{done} of {orders} before the disk was full")
        finish(job, report, iter(()))
        check_once_more(job, report, service)
        service.calm()
        report.judge(service.ledger(), job, [*map(order, range(orders))], set())
    return report


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "links": links,
    "captures": captures,
    "edited": edited,
    "removed": removed,
    "down": down,
    "together": together,
    "full": full,
}


def play(name: str, orders: int, seed: int, kills: int) -> Report:
    """Play a scenario in a folder of its own."""
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = SCENARIOS[name](orders, seed, kills, Path(folder))
    report.seconds = time.monotonic() - started_at
    return report


def unseen(report: Report) -> set[str]:
    """The kinds of faults that never happened."""
    return set(KINDS) - set(report.faults)


if __name__ == "__main__":
    # The run's process, as `started` starts it.
    sys.exit(child(Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
