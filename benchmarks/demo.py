"""The main job, seen whole: a campaign from a CSV file on a sandbox in a process of its own.

    python benchmarks/demo.py [campaign.csv]

Links are created concurrently over real sockets, simulated customers pay most of them, what they
authorized is captured concurrently, and the summary is held against the sandbox's own ledger. It
exits with 1 if the two disagree, or if fewer links than rows were made.
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import anyio
import attrs
import httpx
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    PaymentLink,
    PaymentLinkRequest,
    RequestValidationError,
    TransactionType,
)

CONCURRENCY = 64
SEED = 1
# What customers do with a link, and how many of 100.
CUSTOMERS = {"pay": 86, "decline": 6, "review": 3, "expire": 3, "click": 2}
DECLINED_CAPTURES = 0.02
PARTIAL_CAPTURES = 0.10

T = TypeVar("T")
Money = dict[str, Decimal]


@attrs.frozen
class Sandbox:
    """Where the sandbox's process listens, and the key that it wants."""

    url: str
    api_key: str


@contextmanager
def sandbox_process() -> Iterator[Sandbox]:
    """Start `python -m chat2pay_async.sandbox`, and stop it in the end."""
    command = [sys.executable, "-m", "chat2pay_async.sandbox", "--api-key", "demo-key"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            words = process.stdout.readline().split()
            url = next(word for word in words if word.startswith("http://"))
            yield Sandbox(url, "demo-key")
        finally:
            process.terminate()


def read_requests(path: Path) -> list[PaymentLinkRequest]:
    """Read a campaign; every bad row is reported with its line, and nothing is sent."""
    requests, bad = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for row in reader:
            given: dict[str, Any] = {name: value for name, value in row.items() if value}
            customer = given.pop("additional_data.customer", None)
            if customer:
                given["additional_data"] = {"customer": customer}
            try:
                requests.append(PaymentLinkRequest(**given))
            except (RequestValidationError, TypeError) as error:
                bad.append(f"line {reader.line_num}: {error}")
    if bad:
        sys.exit("nothing was sent:\n" + "\n".join(bad))
    return requests


async def concurrently(
    items: Iterable[T], work: Callable[[T], Awaitable[object]], progress: Progress, title: str
) -> None:
    """Do the work for every item, `CONCURRENCY` at a time."""
    todo = list(items)
    task = progress.add_task(title, total=len(todo))
    queue = iter(todo)

    async def worker() -> None:
        for item in queue:
            await work(item)
            progress.advance(task)

    async with anyio.create_task_group() as workers:
        for _ in range(CONCURRENCY):
            workers.start_soon(worker)


@attrs.define
class Run:
    """What this side saw happen."""

    created: dict[str, tuple[PaymentLinkRequest, PaymentLink]] = attrs.field(factory=dict)
    done: Counter[str] = attrs.field(factory=Counter)
    captured: Money = attrs.field(factory=lambda: defaultdict(Decimal))
    failed: Counter[str] = attrs.field(factory=Counter)

    def sums(self) -> Money:
        """What the links are worth, by currency."""
        sums: Money = defaultdict(Decimal)
        for request, _link in self.created.values():
            sums[request.currency] += request.total_amount
        return sums


def chance_of(request: PaymentLinkRequest) -> random.Random:
    """Each order's own luck, so that it has the same in every run."""
    return random.Random(f"{SEED}:{request.order_number}")  # noqa: S311 - who pays is no secret


async def campaign(sandbox: Sandbox, requests: list[PaymentLinkRequest], bars: Progress) -> Run:
    """Create, let customers pay, capture."""
    run = Run()
    async with (
        AsyncChat2Pay(sandbox.api_key, base_url=sandbox.url) as client,
        httpx.AsyncClient(base_url=f"{sandbox.url}/sandbox/") as customers,
    ):

        async def create(request: PaymentLinkRequest) -> None:
            try:
                link = await client.create_payment_link(request)
            except Chat2PayError as error:
                run.failed[type(error).__name__] += 1
            else:
                run.created[link.payment_link_ref or ""] = (request, link)

        async def act(ref: str) -> None:
            chance = chance_of(run.created[ref][0])
            verb = chance.choices(list(CUSTOMERS), list(CUSTOMERS.values()))[0]
            (await customers.post(f"links/{ref}/{verb}")).raise_for_status()
            run.done[verb] += 1
            authorized = run.created[ref][0].transaction_type is TransactionType.AUTHORIZATION
            if verb == "pay" and authorized:
                to_capture.append(ref)
                if chance.random() < DECLINED_CAPTURES:
                    (await customers.post(f"links/{ref}/decline-capture")).raise_for_status()

        async def capture(ref: str) -> None:
            request, _link = run.created[ref]
            total = request.total_amount
            partial = chance_of(request).random() < PARTIAL_CAPTURES
            amount = (total * Decimal("0.5")).quantize(total) if partial else None
            result = await client.capture_payment(ref, amount)
            run.done["captured" if result.succeeded else "capture declined"] += 1
            if result.succeeded:
                run.captured[request.currency] += result.total_amount or Decimal(0)

        to_capture: list[str] = []
        await concurrently(requests, create, bars, "links created")
        await concurrently(list(run.created), act, bars, "customers acted")
        await concurrently(to_capture, capture, bars, "captures")
    return run


def read_ledger(sandbox: Sandbox) -> Mapping[str, Any]:
    """What the sandbox says took place."""
    answer = httpx.get(f"{sandbox.url}/sandbox/ledger").raise_for_status()
    ledger: Mapping[str, Any] = answer.json(parse_float=Decimal, parse_int=Decimal)
    return ledger


def money_of(ledger: Mapping[str, Any], kind: str) -> Money:
    """A kind's sums by currency."""
    totals = ledger["totals"].get(kind, {})
    return {currency: Decimal(total) for currency, total in totals.items() if Decimal(total)}


def disagreements(run: Run, ledger: Mapping[str, Any], rows: int) -> Iterator[str]:
    """Where what was seen here and what took place there differ."""
    counts = ledger["counts"]
    if len(run.created) != rows:
        yield f"{rows} rows, but {len(run.created)} links: {dict(run.failed)}"
    for name, mine, theirs in (
        ("links created", len(run.created), counts.get("link_created", 0)),
        ("payments", run.done["pay"], counts.get("paid", 0)),
        ("captures", run.done["captured"], counts.get("captured", 0)),
        ("declined captures", run.done["capture declined"], counts.get("capture_declined", 0)),
        ("value of links", run.sums(), money_of(ledger, "link_created")),
        ("value of captures", dict(run.captured), money_of(ledger, "captured")),
        ("twice", {}, {kind: keys for kind, keys in ledger["twice"].items() if keys}),
    ):
        if mine != theirs:
            yield f"{name}: {mine} here, {theirs} in the ledger"


def summary(run: Run, ledger: Mapping[str, Any], seconds: float) -> Table:
    """The table of sums, with the ledger's beside ours."""
    table = Table(
        title=f"{len(run.created)} links in {seconds:.1f} s",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("currency", "links", "value", "paid", "captured", "in ledger"):
        table.add_column(heading, justify="left" if heading == "currency" else "right")
    links = Counter(request.currency for request, _link in run.created.values())
    paid, captured = money_of(ledger, "paid"), money_of(ledger, "captured")
    for currency, value in sorted(run.sums().items()):
        amounts = (value, paid.get(currency), run.captured.get(currency), captured.get(currency))
        cells = ("-" if amount is None else f"{amount:,f}" for amount in amounts)
        table.add_row(currency, str(links[currency]), *cells)
    return table


def main() -> int:
    """Run the demo.

    Returns:
        The exit code.
    """
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("campaign.csv")
    requests = read_requests(path)
    started = time.perf_counter()
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn())
    with sandbox_process() as sandbox:
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
            run = anyio.run(campaign, sandbox, requests, bars)
        ledger = read_ledger(sandbox)
    console = Console()
    console.print(summary(run, ledger, time.perf_counter() - started))
    console.print(", ".join(f"{what}: {count}" for what, count in sorted(run.done.items())))
    faults = list(disagreements(run, ledger, len(requests)))
    for fault in faults:
        console.print(f"[red]DISAGREES[/red] {fault}")
    if not faults:
        console.print("Every sum agrees with the sandbox's ledger; nothing happened twice.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
