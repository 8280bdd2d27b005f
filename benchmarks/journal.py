"""Cost of a journal: orders written down a second, and a campaign with one and without.

    python benchmarks/journal.py [--folder .] [--orders 20000] [--links 4000] [--rounds 5]

First without any HTTP: how many calls can be written down durably, 50 at a time, in one process and
in four that share the journal, and how long a call waits until its POST may leave. Then a campaign
against a server that does nothing but answer, in a process of its own: with a journal and without,
taking turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import anyio
from payload import of_a_new_link
from rich.console import Console
from rich.table import Table

from chat2pay_async import AsyncChat2Pay, Attempt, PaymentLinkRequest, Pending, Proof, bulk
from chat2pay_async._api.operations import CREATE_PAYMENT_LINK, prepare
from chat2pay_async._bulk.outcomes import State
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Account, Claim, End, Intent, RowState

CONCURRENCY: Final = 50
PROCESSES: Final = 4
ACCOUNT: Final = Account("http://127.0.0.1", "a-fingerprint")
CREATED: Final = (
    b'{"paymentLinkRef":"0b6f1c9e-5a52-4a8e-8d39-6f3b6f0d7c11",'
    b'"paymentLink":"https://pay.example/0b6f1c9e"}'
)
ANSWER: Final = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(CREATED)).encode()
    + b"\r\n\r\n"
    + CREATED
)


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


# Without HTTP -------------------------------------------------------------------------------------


def pending_of(request: PaymentLinkRequest) -> Pending:
    """The call that an order's POST begins."""
    attempt = Attempt(datetime.now(UTC), 0.0, Proof.UNKNOWN, error="Interrupted")
    return Pending(
        operation=CREATE_PAYMENT_LINK.name,
        identity=request.order_number,
        request=prepare(CREATE_PAYMENT_LINK, request),
        base_url=ACCOUNT.base_url,
        key_fingerprint=ACCOUNT.key_fingerprint,
        request_id=None,
        first_attempt=attempt,
        last_attempt=attempt,
    )


def claim_of(pending: Pending, key: str) -> Claim:
    """The claim that comes before it."""
    return Claim(pending.operation, key, key, pending.request.body or b"", folded=key.lower())


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteStore]:
    """A store."""
    store = SQLiteStore(path)
    await store.open(ACCOUNT)
    try:
        yield store
    finally:
        await store.aclose()


async def cycles(path: Path, count: int, prefix: str, waits: list[float] | None = None) -> float:
    """Claims, intents and ends a second, `CONCURRENCY` at a time."""
    began, ended = await timed(path, count, prefix, waits)
    return count / (ended - began)


async def timed(
    path: Path, count: int, prefix: str, waits: list[float] | None = None
) -> tuple[float, float]:
    """Time when so many cycles began, and when they ended, on a clock that processes share."""
    sent = [(f"{prefix}-{number}", pending_of(one)) for number, one in enumerate(orders(count))]
    queue = iter(sent)
    async with opened(path) as store:

        async def worker() -> None:
            for key, pending in queue:
                began = time.perf_counter()
                token = (await store.claim(claim_of(pending, key))).token
                assert token is not None  # noqa: S101 - it measures nothing
                await store.record_intent(token, Intent(pending))
                if waits is not None:
                    waits.append(time.perf_counter() - began)
                await store.record_end(token, End(RowState.APPLIED, CREATED))

        started = time.perf_counter()
        async with anyio.create_task_group() as workers:
            for _ in range(CONCURRENCY):
                workers.start_soon(worker)
        return started, time.perf_counter()


async def latency(path: Path, count: int) -> list[float]:
    """Seconds that a lone call waits for its claim and its intent."""
    waits: list[float] = []
    async with opened(path) as store:
        for number, one in enumerate(orders(count)):
            pending, began = pending_of(one), time.perf_counter()
            token = (await store.claim(claim_of(pending, str(number)))).token
            assert token is not None  # noqa: S101 - it measures nothing
            await store.record_intent(token, Intent(pending))
            waits.append(time.perf_counter() - began)
            await store.record_end(token, End(RowState.APPLIED, CREATED))
    return waits


def by_processes(path: Path, count: int) -> float:
    """Cycles a second of `PROCESSES` that use one journal."""
    command = [sys.executable, __file__, "cycles", str(path), str(count // PROCESSES)]
    started = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very file
        for number in range(PROCESSES)
    ]
    times: list[list[float]] = [
        [float(word) for word in process.communicate()[0].split()] for process in started
    ]
    return count / (max(end for _, end in times) - min(begin for begin, _ in times))


def show_written(console: Console, place: Path, count: int, rounds: int) -> None:
    """Measure what is written down, and print two tables."""
    waits: list[float] = []
    ways: dict[str, Callable[[Path], float]] = {
        "claim, intent and end": lambda path: anyio.run(cycles, path, count, "A", waits),
        f"the same, in {PROCESSES} processes": lambda path: by_processes(path, count),
    }
    table = Table("written down durably", "a second", "from", "to")
    for name, way in ways.items():
        rates: list[float] = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=place) as folder:
                rates.append(way(Path(folder, "journal.db")))
        table.add_row(name, *(f"{rate:,.0f}" for rate in spread(rates)))
    console.print(table)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        alone = anyio.run(latency, Path(folder, "journal.db"), min(count, 2_000))
    table = Table("until the POST may leave", "median ms", "99th percentile")
    for name, seconds in {"one call at a time": alone, f"{CONCURRENCY} at a time": waits}.items():
        parts = statistics.quantiles(seconds, n=100)
        table.add_row(name, f"{parts[49] * 1000:.2f}", f"{parts[98] * 1000:.2f}")
    console.print(table)


def spread(rates: Sequence[float]) -> tuple[float, float, float]:
    """The median, the least and the most."""
    return statistics.median(rates), min(rates), max(rates)


# A campaign ---------------------------------------------------------------------------------------


class Server(asyncio.Protocol):
    """Answers each request as soon as it has come whole, and knows of HTTP only where it ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no kind of it
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        held = self._held + data
        while (end := self._end(held)) is not None:
            held = held[end:]
            self._transport.write(of_a_new_link(ANSWER))
        self._held = held

    @staticmethod
    def _end(held: bytes) -> int | None:
        """Find where a request ends; None while it does not."""
        head = held.find(b"\r\n\r\n")
        if head < 0:
            return None
        place = held[:head].lower().find(b"content-length:")
        length = int(held[place + 15 : head].split(b"\r\n", 1)[0]) if place >= 0 else 0
        end = head + 4 + length
        return end if len(held) >= end else None


async def serve() -> None:
    """Serve until killed, after printing the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def serve_fast() -> None:
    """Serve, on the fastest loop that there is."""
    try:
        import uvloop  # noqa: PLC0415 - where it is installed
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The server's URL."""
    with subprocess.Popen(  # noqa: S603 - this very file
        [sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def campaign(url: str, count: int, journal: Path | None) -> tuple[float, float]:
    """Links a second, and milliseconds of this process's own work for each."""
    options: bulk.RunOptions = {"concurrency": CONCURRENCY}
    async with AsyncChat2Pay("a-key", base_url=url, journal=journal) as client:
        began, worked = time.perf_counter(), time.process_time()
        async with bulk.create_payment_links(client, orders(count), **options) as run:
            async for outcome in run:
                assert outcome.state is State.APPLIED, outcome  # noqa: S101 - it measures nothing
        worked, seconds = time.process_time() - worked, time.perf_counter() - began
        return count / seconds, worked / count * 1000


def show_campaigns(console: Console, place: Path, count: int, rounds: int) -> None:
    """Measure campaigns with a journal and without, in turns, and print a table."""
    found: dict[str, list[tuple[float, float]]] = {"without a journal": [], "with a journal": []}
    with served() as url:
        anyio.run(campaign, url, count // 10, None)
        for _ in range(rounds):
            for name, measured in found.items():
                with tempfile.TemporaryDirectory(dir=place) as folder:
                    path = Path(folder, "journal.db") if name == "with a journal" else None
                    measured.append(anyio.run(campaign, url, count, path))
    title = f"{count:,} links, {CONCURRENCY} at a time"
    table = Table(title, "a second", "from", "to", "ms of work each", "from", "to")
    for name, measured in found.items():
        rates, works = zip(*measured, strict=True)
        shown = [f"{rate:,.0f}" for rate in spread(rates)]
        table.add_row(name, *shown, *(f"{work:.2f}" for work in spread(works)))
    console.print(table)
    (plain, plain_work), (kept, kept_work) = (
        [statistics.median(column) for column in zip(*measured, strict=True)]
        for measured in found.values()
    )
    console.print(
        f"with a journal: {kept / plain:.2f} of the throughput without; by the work alone, which "
        f"a busy machine changes less, {plain_work / kept_work:.2f}"
    )


def file_system(folder: Path) -> str:
    """The kind of the file system that a folder is on, where the system tells."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "a file system that can't be told"
    lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    above = [(len(line[1]), line[2]) for line in lines if folder.is_relative_to(line[1])]
    return max(above)[1]


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--links", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    console = Console(width=100)
    folder = chosen.folder.resolve()
    console.print(f"{folder} is on {file_system(folder)}")
    show_written(console, folder, chosen.orders, chosen.rounds)
    show_campaigns(console, folder, chosen.links, chosen.rounds)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve_fast()
    elif sys.argv[1:2] == ["cycles"]:
        print(*anyio.run(timed, Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
    else:
        main()
