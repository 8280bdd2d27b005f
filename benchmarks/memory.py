"""Memory that a run needs: as much for a million items as for ten thousand, or not.

    python benchmarks/memory.py [--items 10000 1000000] [--kinds plain journal dry] [--folder .]

The items come from a generator, and keys that occur twice are looked for. Each measurement is a
process of its own, which says how large it ever was; the service is replaced by an object that
answers at once. The last column is the difference from the smallest number of items.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import attrs
from payload import of_a_new_link
from rich.console import Console
from rich.table import Table

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, SentRequest, Timeout, bulk
from chat2pay_async._client import inner
from chat2pay_async._config import HeaderFields
from chat2pay_async._transport.base import SendGuard, WireResponse

ITEMS = (10_000, 1_000_000)
KINDS = {"plain": "no journal", "journal": "with a journal", "dry": "dry run"}
CREATED = WireResponse(
    201,
    {"content-type": "application/json"},
    b'{"paymentLinkRef":"0b6f1c9e-5a52-4a8e-8d39-6f3b6f0d7c11",'
    b'"paymentLink":"https://pay.example/0b6f1c9e"}',
)
_UNIT = 1 if sys.platform == "darwin" else 1024
"""The unit that `ru_maxrss` counts in."""


class CannedTransport:
    """Answers everything at once."""

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Answer."""
        del request, headers, limits
        guard.may_have_been_sent = True
        return WireResponse(201, CREATED.headers, of_a_new_link(CREATED.body))

    async def aclose(self) -> None:
        """There is nothing to close."""


def client(journal: Path | None) -> AsyncChat2Pay:
    """A client whose requests go nowhere."""
    made = AsyncChat2Pay("a-key", base_url="http://127.0.0.1:9", journal=journal)
    sender = inner(made)[0].sender
    sender._transport._transport = CannedTransport()  # noqa: SLF001 - what is measured lies above it
    return made


def orders(count: int) -> Iterator[PaymentLinkRequest]:
    """So many orders, made one by one."""
    for number in range(count):
        yield PaymentLinkRequest(
            channel="sms",
            to=f"2783{number:07}",
            order_number=f"SPRING-{number:08}",
            currency="ZAR",
            total_amount="199.90",
        )


async def run(kind: str, count: int, folder: str) -> None:
    """Run a campaign to its end."""
    options: bulk.RunOptions = {"dry_run": kind == "dry"}
    journal = Path(folder, "memory.db") if kind == "journal" else None
    async with (
        client(journal) as calls,
        bulk.create_payment_links(calls, orders(count), **options) as all_,
    ):
        async for outcome in all_:
            assert outcome.state is bulk.State.APPLIED, outcome  # noqa: S101 - it measures nothing
    done = all_.summary.applied if all_.forecast is None else all_.forecast.to_send
    assert done == count, done  # noqa: S101 - the same


@attrs.frozen
class Measured:
    """One process's figures."""

    peak: float
    """MiB."""
    rate: float
    """Items a second."""


def measure(kind: str, count: int, folder: Path) -> Measured:
    """Run a campaign in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, __file__, "--child", kind, str(count), place]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return Measured(*map(float, done.stdout.split()))


def measure_here(kind: str, count: int, folder: str) -> None:
    """Be that process: print the figures."""
    started = time.perf_counter()
    anyio.run(run, kind, count, folder)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 2**20
    print(peak, count / seconds)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, nargs="+", default=list(ITEMS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    chosen = parser.parse_args()
    table = Table("run", "items", "items/s", "peak MiB", "difference MiB")
    for kind in chosen.kinds:
        first: float | None = None
        for count in sorted(chosen.items):
            found = measure(kind, count, chosen.folder)
            first = found.peak if first is None else first
            more = f"{found.peak - first:+.1f}"
            table.add_row(
                KINDS[kind], f"{count:,}", f"{found.rate:,.0f}", f"{found.peak:.1f}", more
            )
            print(f"{kind} {count}: {found}", file=sys.stderr, flush=True)
    Console(width=100).print(table)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--child", kind, count, folder]:
            measure_here(kind, int(count), folder)
        case _:
            main()
