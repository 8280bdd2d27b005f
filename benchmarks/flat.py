"""Speed and size of a campaign: the same at its end as at its beginning, or not.

    python benchmarks/flat.py [--rows 1000000] [--slices 50] [--keys random] [--output FOLDER]

So many links from a generator, through a journal, over the fast transport, to a server on loopback
that does nothing but answer. For each slice of the rows: how many were done a second, what CPU time
each took, and the most memory that the process held meanwhile. The table is printed, and written
with a picture: `flat.json` and `flat.svg`.

It also counts what was done, on the server and in the journal: every row once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import attrs
from curves import Curve, picture
from processes import Server
from results import MILLION, number, table

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, bulk

KEYS: dict[str, Callable[[int], str]] = {
    "sequential": lambda row: f"SPRING-{row:08}",
    "random": lambda row: uuid.uuid5(uuid.NAMESPACE_OID, str(row)).hex,
}
"""Ways to make order numbers: where they come in no order, the journal's index has it harder."""
MIB = 2**20
_UNIT = 1 if sys.platform == "darwin" else 1024
"""The unit that `ru_maxrss` counts in."""


@attrs.frozen
class Plan:
    """The plan of what to run."""

    rows: int
    slices: int
    concurrency: int
    keys: str
    journal: Path


@attrs.frozen
class Slice:
    """A stretch of the campaign."""

    done: int
    """Rows that were done at its end, from the campaign's first."""
    rate: float
    """Rows a second."""
    cpu: float
    """µs of CPU time a row, this process's."""
    peak: float
    """MiB that the process held at most."""
    journal: float
    """MiB that the journal's files have at its end."""


# Memory -------------------------------------------------------------------------------------------


def peak() -> float:
    """MiB: the most since `forget_peak`, where the system can forget it, or since the start."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        kib = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
        if kib is not None:
            return int(kib) * 1024 / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / MIB


def forget_peak() -> None:
    """Let the peak be what is held now (Linux)."""
    forget = Path("/proc/self/clear_refs")
    if os.access(forget, os.W_OK):
        forget.write_text("5", encoding="ascii")


# The campaign -------------------------------------------------------------------------------------


def orders(plan: Plan) -> Iterator[PaymentLinkRequest]:
    """The orders, made one by one."""
    key = KEYS[plan.keys]
    for row in range(plan.rows):
        yield PaymentLinkRequest(
            channel="sms",
            to=f"2783{row:07}",
            order_number=key(row),
            currency="ZAR",
            total_amount="199.90",
            return_payment_link=True,
        )


class Recorder:
    """Notes each slice as it ends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ends = [plan.rows * (number + 1) // plan.slices for number in range(plan.slices)]
        self._done = 0
        self.slices: list[Slice] = []
        self._begin()

    def _begin(self) -> None:
        forget_peak()
        self._first = self._done
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def done(self) -> None:
        """One more row is done."""
        self._done += 1
        if self._done != self._ends[len(self.slices)]:
            return
        count = self._done - self._first
        self.slices.append(
            Slice(
                done=self._done,
                rate=count / (time.perf_counter() - self._wall),
                cpu=(time.process_time() - self._cpu) / count * MILLION,
                peak=peak(),
                journal=self._journal_size(),
            )
        )
        print(self.slices[-1], file=sys.stderr, flush=True)
        self._begin()

    def _journal_size(self) -> float:
        path = self._plan.journal
        files = (path, path.with_name(f"{path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists()) / MIB


async def campaign(plan: Plan, url: str) -> list[Slice]:
    """Run it to its end."""
    recorder = Recorder(plan)
    async with (
        AsyncChat2Pay("a-key", base_url=url, transport="fast", journal=plan.journal) as client,
        bulk.create_payment_links(client, orders(plan), concurrency=plan.concurrency) as run,
    ):
        async for outcome in run:
            assert outcome.state is bulk.State.APPLIED, outcome  # noqa: S101 - it measures nothing
            recorder.done()
    return recorder.slices


def counted(path: Path) -> dict[str, int]:
    """Count what a journal holds: rows, those that are applied, and POSTs that left."""
    query = "SELECT count(*), sum(state = 'applied'), sum(posts) FROM item"
    with closing(sqlite3.connect(path)) as db:
        rows, applied, posts = db.execute(query).fetchone()
    return {"rows": rows, "applied": applied, "posts": posts}


def measure(plan: Plan) -> dict[str, Any]:
    """Run a campaign, and count what it did."""
    with Server() as server:
        options = {"use_uvloop": True}  # the server needs it too
        slices = anyio.run(campaign, plan, server.url, backend_options=options)
        served = server.stats()
    return {
        "rows": plan.rows,
        "concurrency": plan.concurrency,
        "keys": plan.keys,
        "served": {"posts": int(served["posts"]), "connections": int(served["connections"])},
        "journal": counted(plan.journal),
        "slices": [attrs.asdict(one) for one in slices],
    }


# What is told -------------------------------------------------------------------------------------


def ends(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the first and of the last fifth."""
    fifth = max(1, len(values) // 5)
    return statistics.median(values[:fifth]), statistics.median(values[-fifth:])


COLUMNS = {
    "rate": "rows a second",
    "cpu": "µs of CPU a row",
    "peak": "peak MiB",
    "journal": "MiB of journal",
}


def told(found: dict[str, Any]) -> str:
    """The slices as a table, and how the last ones compare with the first ones."""
    slices = found["slices"]
    rows = [
        [number(float(one["done"])), *(number(one[name]) for name in COLUMNS)] for one in slices
    ]
    lines = [table(["rows done", *COLUMNS.values()], rows)]
    for name in ("rate", "cpu", "peak"):
        first, last = ends([one[name] for one in slices])
        lines.append(
            f"{COLUMNS[name]}: {number(first)} in the first fifth, {number(last)} in the last "
            f"(x {last / first:.2f})"
        )
    lines.append(f"on the server: {found['served']}; in the journal: {found['journal']}")
    return "\n".join(lines)


def drawn(found: dict[str, Any]) -> str:
    """The slices as a picture."""
    slices = found["slices"]
    curves = [
        Curve(COLUMNS[name], [one[name] for one in slices]) for name in ("rate", "cpu", "peak")
    ]
    title = (
        f"{number(float(found['rows']))} links through a journal, {found['concurrency']} at a time"
    )
    return picture(title, [float(one["done"]) for one in slices], curves, "rows")


def main() -> None:
    """Measure, print a table, and write it with a picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--slices", type=int, default=50)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--keys", choices=list(KEYS), default="sequential")
    parser.add_argument("--journal", type=Path, help="kept there; else it goes away")
    parser.add_argument("--output", type=Path, default=Path(), help="the folder for the results")
    given = parser.parse_args()
    slices = min(given.slices, given.rows)
    with tempfile.TemporaryDirectory() as folder:
        journal = given.journal or Path(folder, "flat.db")
        found = measure(Plan(given.rows, slices, given.concurrency, given.keys, journal))
    print(told(found))
    (given.output / "flat.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (given.output / "flat.svg").write_text(drawn(found), encoding="utf-8")


if __name__ == "__main__":
    main()
