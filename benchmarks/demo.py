"""The demo: a campaign from a CSV file, on a sandbox with faults.

    python benchmarks/demo.py [campaign.csv]

`chat2pay links create` creates the links, and is killed (SIGKILL) in the middle; `chat2pay resume`
does the rest. Simulated customers pay most of them, `chat2pay captures` captures what they
authorized, and the summary is compared with the sandbox's own ledger. The exit code is 1 if the two
disagree, if there are fewer links than rows, or if no fault occurred. The campaign and the journal
stay in a folder of their own, for `chat2pay report`.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import anyio
import attrs
import httpx
from rich import box
from rich.console import Console
from rich.table import Table

SEED = 1
SETTLE = 4.0
"""Seconds: longer than anything in the faults below takes."""
FAULTS = {
    "seed": SEED,
    "faults": [
        *({"kind": kind, "rate": 0.01} for kind in ("drop_before", "drop_after", "truncated")),
        *({"kind": kind, "rate": 0.01} for kind in ("reset_before", "reset_after", "html")),
        *({"kind": kind, "rate": 0.01} for kind in ("error_500_after", "error_502_before")),
        *({"kind": kind, "rate": 0.01} for kind in ("error_503_before", "error_503_after")),
        {"kind": "apply_late", "rate": 0.01, "seconds": [0.1, 1.0], "form": "reset"},
        {"kind": "throttle", "rate": 0.002},
        {"kind": "lag", "rate": 0.1, "seconds": [0.1, 1.0]},
    ],
}
# What customers do with a link, and how many of 100.
CUSTOMERS = {"pay": 86, "decline": 6, "review": 3, "expire": 3, "click": 2}
DECLINED_CAPTURES = 0.02
PARTIAL_CAPTURES = 0.10
RETURNED = {0, 3}
"""Exit codes of a job that is done; 3 says that the gateway declined some of it."""
TRIES = 5

Money = dict[str, Decimal]
Row = dict[str, str]
ToCapture = tuple[str, str, str]
"""A payment's reference, the amount, and the currency."""

progress = Console(stderr=True, highlight=False)


@attrs.frozen
class Sandbox:
    """The address of the sandbox's process, the API key that it accepts, and the journal."""

    url: str
    api_key: str
    journal: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands that use it."""
        own = {"CHAT2PAY_BASE_URL": self.url, "CHAT2PAY_API_KEY": self.api_key}
        return dict(os.environ) | own | {"CHAT2PAY_JOURNAL": str(self.journal)}


@contextmanager
def sandbox_process(folder: Path) -> Iterator[Sandbox]:
    """Start `chat2pay sandbox`, and stop it in the end; the journal is in a folder."""
    command = chat2pay("sandbox", "--api-key", "demo-key", "--faults", json.dumps(FAULTS))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            words = process.stdout.readline().split()
            url = next(word for word in words if word.startswith("http://"))
            yield Sandbox(url, "demo-key", folder / "payments.db")
        finally:
            process.terminate()


def chat2pay(*arguments: str) -> list[str]:
    """Return a command line of the SDK."""
    return [sys.executable, "-m", "chat2pay_async", *arguments]


def read_ledger(sandbox: Sandbox) -> Mapping[str, Any]:
    """Read what took place in the sandbox."""
    response = httpx.get(f"{sandbox.url}/sandbox/ledger?effects=1").raise_for_status()
    ledger: Mapping[str, Any] = response.json(parse_float=Decimal, parse_int=Decimal)
    return ledger


# The job ------------------------------------------------------------------------------------------


def run_and_kill(sandbox: Sandbox, command: Sequence[str], links: int) -> bool:
    """Run a command, and kill it once there are so many links; return True if it was killed."""
    with subprocess.Popen(command, env=sandbox.environment) as process:  # noqa: S603
        while process.poll() is None:
            if read_ledger(sandbox)["counts"].get("link_created", 0) >= links:
                process.kill()
                return True
            time.sleep(0.05)
    return False


def run_to_the_end(sandbox: Sandbox, command: Sequence[str], run: str) -> None:
    """Run a command; resume its run while items have failed or are unknown."""
    for _try in range(TRIES):
        done = subprocess.run(command, env=sandbox.environment, check=False)  # noqa: S603
        summary = totals(sandbox, run)
        if done.returncode in RETURNED and not summary["failed"]["items"]:
            return
        command = resume(run)
    sys.exit("the job did not end")


def resume(run: str) -> list[str]:
    """Return the command line that resumes a run."""
    return chat2pay("resume", run, "--settle", str(SETTLE))


def totals(sandbox: Sandbox, run: str) -> Mapping[str, Any]:
    """Return the totals of a run."""
    report = output(sandbox, "report", run, "--json")
    found: Mapping[str, Any] = json.loads(report)["totals"]
    return found


def output(sandbox: Sandbox, *arguments: str) -> str:
    """Return the output of a command."""
    command = chat2pay(*arguments)
    done = subprocess.run(  # noqa: S603
        command, env=sandbox.environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def rows_of(sandbox: Sandbox, run: str) -> list[Row]:
    """Return the items of a run."""
    return list(csv.DictReader(output(sandbox, "report", run, "--csv", "-").splitlines()))


def leave_the_bar() -> None:
    """Continue below what a killed process has drawn, and show the cursor that it had hidden."""
    if progress.is_terminal:
        progress.show_cursor()
        progress.line()


def make_links(sandbox: Sandbox, campaign: Path, rows: int) -> list[Row]:
    """Send the campaign, kill it, and resume it."""
    command, run = chat2pay("links", "create", str(campaign), "--settle", str(SETTLE)), "campaign"
    if run_and_kill(sandbox, command, rows // 2):
        unknown = totals(sandbox, run)["unknown"]["items"]
        leave_the_bar()
        progress.print(f"[bold]kill -9[/]: {unknown} links may have been created or not. Resuming:")
        command = resume(run)
    run_to_the_end(sandbox, command, run)
    return [row for row in rows_of(sandbox, run) if row["state"] == "applied"]


def write_captures(source: Path, captures: Sequence[ToCapture]) -> None:
    """Write the file of captures; its currencies tell how many decimals an amount may have."""
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("payment_link_ref", "amount", "currency"), *captures])


def make_captures(sandbox: Sandbox, folder: Path, captures: Sequence[ToCapture]) -> list[Row]:
    """Capture what was authorized: the whole, where no amount is given."""
    source = folder / "captures.csv"
    write_captures(source, captures)
    command = chat2pay("captures", str(source), "--settle", str(SETTLE))
    run_to_the_end(sandbox, command, "captures")
    return rows_of(sandbox, "captures")


# The customers ------------------------------------------------------------------------------------


def chance_of(order_number: str) -> random.Random:
    """Return random numbers of an order, the same in every run."""
    return random.Random(f"{SEED}:{order_number}")  # noqa: S311 - who pays is no secret


async def let_customers_act(
    sandbox: Sandbox, links: Sequence[Row], authorized: frozenset[str]
) -> tuple[Counter[str], list[ToCapture]]:
    """Let most customers pay; return what they did, and what is to be captured."""
    done: Counter[str] = Counter()
    captures: list[ToCapture] = []
    queue = iter(links)
    async with httpx.AsyncClient(base_url=f"{sandbox.url}/sandbox/") as customers:

        async def act(link: Row) -> None:
            ref, chance = link["payment_link_ref"], chance_of(link["order_number"])
            verb = chance.choices(list(CUSTOMERS), list(CUSTOMERS.values()))[0]
            (await customers.post(f"links/{ref}/{verb}")).raise_for_status()
            done[verb] += 1
            if verb == "pay" and link["order_number"] in authorized:
                total = Decimal(link["asked_amount"])
                partial = chance.random() < PARTIAL_CAPTURES
                amount = f"{(total / 2).quantize(total)}" if partial else ""
                captures.append((ref, amount, link["currency"]))
                if chance.random() < DECLINED_CAPTURES:
                    (await customers.post(f"links/{ref}/decline-capture")).raise_for_status()

        async def worker() -> None:
            for link in queue:
                await act(link)

        async with anyio.create_task_group() as workers:
            for _ in range(16):
                workers.start_soon(worker)
    return done, captures


# The sums -----------------------------------------------------------------------------------------


@attrs.frozen
class Sums:
    """The sums on the client's side."""

    links: Counter[str]
    """By currency, like all of these."""
    value: Money
    captured: Money
    done: Counter[str]


def add_up(links: Sequence[Row], captures: Sequence[Row], acted: Counter[str]) -> Sums:
    """Sum up the reports."""
    currencies = {link["payment_link_ref"]: link["currency"] for link in links}
    value: Money = defaultdict(Decimal)
    captured: Money = defaultdict(Decimal)
    done = Counter(acted)
    for link in links:
        value[link["currency"]] += Decimal(link["asked_amount"])
    for capture in captures:
        if capture["state"] == "applied":
            done["captured"] += 1
            captured[currencies[capture["payment_link_ref"]]] += Decimal(capture["answered_amount"])
        else:
            done["capture declined"] += capture["state"] == "rejected"
    return Sums(Counter(link["currency"] for link in links), value, captured, done)


def money_of(ledger: Mapping[str, Any], kind: str) -> Money:
    """Return the sums of a kind of effect, by currency."""
    found = ledger["totals"].get(kind, {})
    return {currency: Decimal(total) for currency, total in found.items() if Decimal(total)}


def declined_for_good(ledger: Mapping[str, Any]) -> int:
    """Count links whose capture was declined and never accepted.

    A capture whose declined response was lost may be retried, and be accepted.
    """
    links: dict[str, set[str]] = {"capture_declined": set(), "captured": set()}
    for effect in ledger["effects"]:
        links.get(effect["kind"], set()).add(effect["paymentLinkRef"])
    return len(links["capture_declined"] - links["captured"])


def faults_in(ledger: Mapping[str, Any]) -> int:
    """Count the faults that occurred."""
    return sum(int(count) for kinds in ledger["faults"].values() for count in kinds.values())


def disagreements(sums: Sums, ledger: Mapping[str, Any], rows: int) -> Iterator[str]:
    """Compare the sums with the ledger, and describe the differences."""
    counts, links = ledger["counts"], sums.links.total()
    if links != rows:
        yield f"{rows} rows, but {links} links"
    if not faults_in(ledger):
        yield "no request met a fault"
    twice = {kind: keys for kind, keys in ledger["twice"].items() if keys}
    for name, mine, theirs in (
        ("links created", links, counts.get("link_created", 0)),
        ("payments", sums.done["pay"], counts.get("paid", 0)),
        ("captures", sums.done["captured"], counts.get("captured", 0)),
        ("declined captures", sums.done["capture declined"], declined_for_good(ledger)),
        ("value of links", dict(sums.value), money_of(ledger, "link_created")),
        ("value of captures", dict(sums.captured), money_of(ledger, "captured")),
        ("twice", {}, twice),
    ):
        if mine != theirs:
            yield f"{name}: {mine} here, {theirs} in the ledger"


def table(sums: Sums, ledger: Mapping[str, Any], seconds: float) -> Table:
    """Show the sums beside those of the ledger."""
    drawn = Table(
        title=f"{sums.links.total()} links in {seconds:.1f} s",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("currency", "links", "value", "paid", "captured", "in ledger"):
        side: Literal["left", "right"] = "left" if heading == "currency" else "right"
        drawn.add_column(heading, justify=side, no_wrap=True)
    paid, captured = money_of(ledger, "paid"), money_of(ledger, "captured")
    for currency, value in sorted(sums.value.items()):
        amounts = (value, paid.get(currency), sums.captured.get(currency), captured.get(currency))
        cells = ("-" if amount is None else f"{amount:,f}" for amount in amounts)
        drawn.add_row(currency, str(sums.links[currency]), *cells)
    return drawn


DEEDS = {
    "pay": "paid",
    "decline": "were declined",
    "review": "are under review",
    "expire": "let it expire",
    "click": "only looked at it",
}
"""Deeds of customers, in words."""


def in_words(sums: Sums, ledger: Mapping[str, Any]) -> Iterator[str]:
    """Describe what happened, line by line."""
    customers = (f"{sums.done[deed]} {words}" for deed, words in DEEDS.items() if sums.done[deed])
    yield f"Customers: {', '.join(customers)}."
    accepted, declined = sums.done["captured"], sums.done["capture declined"]
    yield f"Captures: {accepted} accepted, {declined} declined by the gateway."
    yield (
        f"On the way: {faults_in(ledger)} requests or their responses were lost, broken, late or "
        "throttled, and one process was killed with kill -9."
    )


def main() -> int:
    """Run the demo.

    Returns:
        The exit code.
    """
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("campaign.csv")
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="chat2pay-demo-"))
    with sandbox_process(folder) as sandbox:
        campaign = folder / "campaign.csv"
        campaign.write_bytes(source.read_bytes())
        rows = list(csv.DictReader(source.read_text("utf-8-sig").splitlines()))
        authorized = frozenset(
            row["order_number"] for row in rows if row["transaction_type"] == "authorization"
        )
        links = make_links(sandbox, campaign, len(rows))
        acted, to_capture = anyio.run(let_customers_act, sandbox, links, authorized)
        captures = make_captures(sandbox, folder, to_capture)
        ledger = read_ledger(sandbox)
    sums = add_up(links, captures, acted)
    console = Console()
    console.print(table(sums, ledger, time.perf_counter() - started))
    for line in in_words(sums, ledger):
        console.print(line)
    faults = list(disagreements(sums, ledger, len(rows)))
    for fault in faults:
        console.print(f"[red]DISAGREES[/red] {fault}")
    console.print(f"The campaign and its journal are in {folder}", soft_wrap=True)
    if not faults:
        console.print("Every sum agrees with the sandbox's ledger; nothing happened twice.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
