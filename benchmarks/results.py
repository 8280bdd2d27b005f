"""What was measured, and its telling as Markdown."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs

PACKAGES = (
    "chat2pay-async",
    "aiohttp",
    "anyio",
    "attrs",
    "cattrs",
    "h2",
    "httpcore",
    "httptools",
    "httpx",
    "httpx-aiohttp",
    "httpx2",
    "msgspec",
    "niquests",
    "openai",
    "pydantic",
    "pyreqwest",
    "stripe",
    "tenacity",
    "uvloop",
)
BASES = ("httpx", "aiohttp")
"""What the others are compared with."""
CHARTED = 100
"""The concurrency that is drawn."""
BAR = 60
FULL_BAR = 1_000.0
"""µs at which a bar is cut off."""
NONE = "-"
MILLION, THOUSAND = 1e6, 1e3


@attrs.frozen
class Round:
    """One measurement of one peer."""

    calls: int
    failed: int
    wall: float
    cpu: float
    connections: int
    server_cpu: float
    """Seconds a call, the server's."""

    @property
    def good(self) -> int:
        """Calls that succeeded; 1 where none did, to divide by."""
        return max(1, self.calls - self.failed)

    @property
    def cpu_each(self) -> float:
        """µs of CPU a call that succeeded."""
        return self.cpu / self.good * MILLION

    @property
    def rate(self) -> float:
        """Calls that succeeded, a second."""
        return (self.calls - self.failed) / self.wall


Steadies: TypeAlias = dict[str, dict[int, list[Round]]]
"""peer → concurrency → rounds."""
Pending: TypeAlias = dict[str, dict[int, list[dict[str, Any] | None]]]
"""peer → number of calls → what `worker.py` said; None where it took too long."""
Imports: TypeAlias = dict[str, list[float]]
Construction: TypeAlias = dict[str, dict[str, tuple[float, float]]]
"""peer → plain or TLS → seconds until made, and until the first answer."""


@attrs.define
class Figures:
    """All of it, or as much as there is."""

    notes: Mapping[str, str]
    steady: Steadies = attrs.field(factory=dict)
    slow: Steadies = attrs.field(factory=dict)
    tls: Steadies = attrs.field(factory=dict)
    http2: Steadies = attrs.field(factory=dict)
    pending: Pending = attrs.field(factory=dict)
    imports: Imports = attrs.field(factory=dict)
    construction: Construction = attrs.field(factory=dict)


# Numbers and tables -------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    return f"{value:,.0f}".replace(",", " ") if value >= CHARTED else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns but the first are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """Of the rounds."""
    return statistics.median(value(one) for one in rounds)


def levels(found: Steadies) -> list[int]:
    """The concurrencies that were measured."""
    return sorted({level for rounds in found.values() for level in rounds})


def by_level(found: Steadies, tell: Callable[[str, int, list[Round]], str]) -> str:
    """A table with a column for each concurrency."""
    columns = levels(found)
    rows = [
        [name, *(tell(name, one, rounds[one]) if one in rounds else NONE for one in columns)]
        for name, rounds in found.items()
    ]
    return table(["", *(f"C = {number(one)}" for one in columns)], rows)


def cpu_table(found: Steadies) -> str:
    """CPU time a call."""
    return by_level(found, lambda _name, _level, rounds: number(median(rounds, _cpu_each)))


def rate_table(found: Steadies) -> str:
    """Calls a second."""
    return by_level(found, lambda _name, _level, rounds: number(median(rounds, _rate)))


def ratio_table(found: Steadies, base: str) -> str:
    """CPU time as a multiple of another peer's, side by side within each round."""

    def tell(_name: str, level: int, rounds: list[Round]) -> str:
        others = found[base].get(level, ())
        ratios = [
            mine.cpu_each / other.cpu_each for mine, other in zip(rounds, others, strict=False)
        ]
        return f"{statistics.median(ratios):.2f}" if ratios else NONE

    return by_level(found, tell)


def connection_table(found: Steadies) -> str:
    """New connections, and calls that failed."""

    def tell(_name: str, _level: int, rounds: list[Round]) -> str:
        calls, failed = sum(one.calls for one in rounds), sum(one.failed for one in rounds)
        opened = sum(one.connections for one in rounds) / calls * THOUSAND
        lost = f", {failed / calls:.1%} failed" if failed else ""
        return f"{opened:.0f}{lost}"

    return by_level(found, tell)


def chart(found: Steadies) -> str:
    """Bars: CPU time a call."""
    known = levels(found)
    level = CHARTED if CHARTED in known else known[-1]
    each = {name: median(one[level], _cpu_each) for name, one in found.items() if level in one}
    width = max(map(len, each))
    lines = [
        f"{name:{width}} {'█' * max(1, round(min(us, FULL_BAR) / FULL_BAR * BAR))}"
        f"{'…' * (us > FULL_BAR)} {number(us)}"
        for name, us in sorted(each.items(), key=lambda item: item[1])
    ]
    return f"CPU µs a call at C = {level}:\n\n```text\n" + "\n".join(lines) + "\n```\n"


def _cpu_each(one: Round) -> float:
    return one.cpu_each


def _rate(one: Round) -> float:
    return one.rate


# Sections -----------------------------------------------------------------------------------------


def steady_section(figures: Figures) -> Iterator[str]:
    """With a steady number of callers."""
    found = figures.steady
    yield "## So many callers, each making its next call when it has its answer\n"
    yield chart(found)
    yield "CPU µs a call:\n"
    yield cpu_table(found)
    yield "Calls a second:\n"
    yield rate_table(found)
    for base in BASES:
        if base in found:
            yield f"CPU time as a multiple of bare {base}'s:\n"
            yield ratio_table(found, base)
    yield "New connections for every 1 000 calls:\n"
    yield connection_table(found)
    server = statistics.median(
        one.server_cpu for levels in found.values() for rounds in levels.values() for one in rounds
    )
    yield f"The server spent {number(server * MILLION)} µs of its own CPU on a call.\n"
    yield "Who is who:\n"
    yield "\n".join(f"- {name}: {figures.notes[name]}" for name in found) + "\n"


def variant_section(title: str, found: Steadies) -> Iterator[str]:
    """The same over TLS, over HTTP/2, or slowly."""
    yield f"## {title}\n"
    yield "CPU µs a call:\n"
    yield cpu_table(found)
    yield "New connections for every 1 000 calls:\n"
    yield connection_table(found)


def pending_section(found: Pending) -> Iterator[str]:
    """Everything awaited at once."""
    sizes = sorted({size for one in found.values() for size in one})
    yield "## So many calls awaited at once\n"
    yield (
        "Wall-clock µs a call that succeeded; KiB are the most memory that a pending call took,"
        " less what a task takes that only waits.\n"
    )
    rows = []
    for name, by_size in found.items():
        cells = [_pending_cells(by_size.get(size, []), size) for size in sizes]
        rows.append([name, *(cell for pair in cells for cell in pair)])
    head = [title for size in sizes for title in (f"{number(size)}: µs", "KiB")]
    yield table(["", *head], rows)


def _pending_cells(told: list[dict[str, Any] | None], size: int) -> tuple[str, str]:
    if None in told or not told:  # those that took too long are not asked for more
        return "too long", NONE
    every = [one for one in told if one is not None]
    failed = statistics.median(one["failed"] for one in every)
    kib = f"{max(0.0, statistics.median(one['kib'] for one in every) / size):.1f}"
    if failed == size:
        return "all failed", kib
    each = statistics.median(one["wall"] / max(1, size - one["failed"]) for one in every)
    lost = f", {failed / size:.0%} failed" if failed else ""
    return f"{number(each * MILLION)}{lost}", kib


def imports_section(found: Imports) -> Iterator[str]:
    """Before anything else."""
    yield "## Imports\n"
    yield "ms in a fresh interpreter, bytecode cached:\n"
    rows = [
        [name, number(statistics.median(seconds) * THOUSAND)] for name, seconds in found.items()
    ]
    yield table(["", "ms"], rows)


def construction_section(found: Construction) -> Iterator[str]:
    """Before the first call."""
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one))
    yield "## A client, and its first call\n"
    yield "ms until a client is made, and until its first call is answered:\n"
    rows = [
        [
            name,
            *(number(part * THOUSAND) for kind in kinds for part in one.get(kind, (0.0, 0.0))),
        ]
        for name, one in found.items()
    ]
    yield table(["", *(f"{kind}: {what}" for kind in kinds for what in ("made", "answered"))], rows)


# The whole ----------------------------------------------------------------------------------------


def machine() -> Iterator[str]:
    """Where and with what."""
    cpu, memory = platform.processor(), ""
    if (known := Path("/proc/cpuinfo")).exists():
        models = (line for line in known.read_text().splitlines() if "model name" in line)
        cpu = next(models, cpu).rpartition(":")[2].strip()
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f", {size / 2**30:.0f} GiB of memory"
    yield f"- {cpu}, {os.cpu_count()} cores{memory}, {platform.system()} {platform.release()}"
    yield f"- {platform.python_implementation()} {platform.python_version()}"
    yield "- " + ", ".join(_versions())
    yield f"- {datetime.now(UTC):%Y-%m-%d}\n"


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def parts(figures: Figures, rounds: int, calls: int) -> Iterator[str]:
    """What the page says."""
    yield "# Results\n"
    yield (
        "Written by `nox -s bench` (`benchmarks/bench.py`): the same exchange for everyone on"
        " loopback, some 500 bytes of JSON up and 400 down, exact decimals, parsed. Client and"
        f" server each have a CPU of their own. Medians of {rounds} rounds of up to {calls} calls,"
        " the peers taking turns; ratios are taken within each round.\n"
    )
    yield "\n".join(machine())
    if figures.steady:
        yield from steady_section(figures)
    if figures.slow:
        yield from variant_section("The same with a server that takes 50 ms", figures.slow)
    if figures.tls:
        yield from variant_section("The same over TLS", figures.tls)
    if figures.http2:
        yield from variant_section("The same over HTTP/2 (and TLS)", figures.http2)
    if figures.pending:
        yield from pending_section(figures.pending)
    if figures.imports:
        yield from imports_section(figures.imports)
    if figures.construction:
        yield from construction_section(figures.construction)


def report(figures: Figures, rounds: int, calls: int) -> str:
    """The page."""
    return "\n".join(parts(figures, rounds, calls))
