"""The page that says what was measured: where and with what, then section by section."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import sysconfig
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curves import Bar, bar_chart
from results import (
    FAST,
    NONE,
    OURS,
    OWN_PAIRS,
    THOUSAND,
    Construction,
    Figures,
    Imports,
    Pending,
    Steadies,
    as_fast,
    by_level,
    compared,
    connection_table,
    cpu_table,
    each_compared,
    number,
    on_top,
    pending_medians,
    rate_table,
    ratio_table,
    table,
)

import chat2pay_async

PACKAGES = (
    *("aiohttp", "anyio", "attrs", "cattrs", "h2", "httpcore", "httptools"),
    *("httpx", "httpx-aiohttp", "httpx2", "msgspec", "niquests", "openai", "pydantic"),
    *("pyreqwest", "stripe", "tenacity", "uvloop"),
)
BASES = ("httpx", "aiohttp")
"""Peers that the others are compared with."""
MILLION = 1e6


def steady_section(figures: Figures) -> Iterator[str]:
    """With a steady number of callers."""
    found = figures.steady
    yield "## So many callers, each making its next call when it has its answer\n"
    yield "CPU µs a call:\n"
    yield cpu_table(found)
    yield "Calls a second:\n"
    yield rate_table(found)
    for base in BASES:
        if base in found:
            yield f"CPU time as a multiple of bare {base}'s:\n"
            yield ratio_table(found, base)
            yield f"Calls a second as a multiple of bare {base}'s:\n"
            yield ratio_table(found, base, as_fast)
    yield "New connections for every 1 000 calls, once warm:\n"
    yield connection_table(found)
    server = statistics.median(
        one.server_cpu for levels in found.values() for rounds in levels.values() for one in rounds
    )
    yield f"The server spent {number(server * MILLION)} µs of its own CPU on a call.\n"
    yield "Who is who:\n"
    yield "\n".join(f"- {name}: {figures.notes[name]}" for name in found) + "\n"


def own_section(found: Steadies) -> Iterator[str]:
    """Tell what the SDK itself costs."""
    yield "## The SDK's own cost\n"
    yield (
        "CPU µs a call. A transport alone carries the same prepared bytes again and again, and only"
        " parses the response; the SDK on top of it checks a request, writes it, and makes values"
        " of the response.\n"
    )
    yield cpu_table(found)

    def tell(name: str, level: int, _rounds: object) -> str:
        more = compared(found, name, OWN_PAIRS[name], level, on_top)
        return NONE if more is None else number(more)

    yield "The difference, within each round:\n"
    yield by_level({name: one for name, one in found.items() if name in OWN_PAIRS}, tell)


def variant_section(title: str, found: Steadies) -> Iterator[str]:
    """The same over TLS, over HTTP/2, or slowly."""
    yield f"## {title}\n"
    yield "CPU µs a call:\n"
    yield cpu_table(found)
    yield "Calls a second:\n"
    yield rate_table(found)
    yield "New connections for every 1 000 calls, once warm:\n"
    yield connection_table(found)


def pending_section(found: Pending) -> Iterator[str]:
    """Everything awaited at once."""
    sizes = sorted({size for one in found.values() for size in one})
    yield "## So many calls awaited at once\n"
    yield (
        "µs (and of CPU) a call that succeeded; KiB are the most memory that a pending call took,"
        " less what a task takes that only waits.\n"
    )
    rows = []
    for name, by_size in found.items():
        cells = [_pending_cells(by_size.get(size, []), size) for size in sizes]
        rows.append([name, *(cell for three in cells for cell in three)])
    head = [title for size in sizes for title in (f"{number(size)}: µs", "CPU", "KiB")]
    yield table(["", *head], rows)


def _pending_cells(told: list[dict[str, Any] | None], size: int) -> tuple[str, str, str]:
    if None in told or not told:  # those that took too long are not asked for more
        return "too long", NONE, NONE
    wall, cpu, kib, failed = pending_medians(told, size)
    memory = f"{max(0.0, kib):.1f}"
    if failed == 1:
        return "all failed", NONE, memory
    lost = f", {failed:.1%} failed" if failed else ""
    return f"{number(wall)}{lost}", number(cpu), memory


def imports_section(found: Imports) -> Iterator[str]:
    """Before anything else."""
    yield "## Imports\n"
    yield (
        "ms in a fresh interpreter that has asyncio already, bytecode cached. httpx and httpcore"
        " import rich, click and trio where they are installed: “bare” is without them.\n"
    )
    rows = [
        [name, number(statistics.median(one) * THOUSAND), number(min(one) * THOUSAND)]
        for name, one in found.items()
    ]
    yield table(["", "median", "least"], rows)


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


def machine() -> Iterator[str]:
    """Tell where it was measured, and with what."""
    cpu, memory = platform.processor(), ""
    if (known := Path("/proc/cpuinfo")).exists():
        models = (line for line in known.read_text().splitlines() if "model name" in line)
        cpu = next(models, cpu).rpartition(":")[2].strip()
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f", {size / 2**30:.0f} GiB of memory"
    version = ".".join(platform.release().split(".")[:2])  # without its build
    yield f"- {cpu}, {os.cpu_count()} cores{memory}, {platform.system()} {version}"
    built = sysconfig.get_config_var("CONFIG_ARGS") or ""
    how = "with" if "--enable-optimizations" in built else "without"
    yield (
        f"- {platform.python_implementation()} {platform.python_version()}, built {how} the"
        " compiler's profile-guided optimizations"
    )
    yield "- " + ", ".join(_versions())
    yield f"- {datetime.now(UTC):%Y-%m-%d}\n"


def _versions() -> Iterator[str]:
    yield f"chat2pay_async {chat2pay_async.__version__}"  # what is imported, not what is installed
    for name in PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def parts(figures: Figures, rounds: int, calls: int) -> Iterator[str]:
    """Yield what the page says."""
    yield "# Results\n"
    yield (
        "Written by `nox -s bench` (`benchmarks/bench.py`): the same exchange for everyone on"
        " loopback, some 500 bytes of JSON up, exact decimals in them, and 350 down. Client and"
        f" server each have a CPU of their own. Medians of up to {rounds} rounds of up to {calls}"
        " calls (fewer of who is slow), the peers taking turns; ratios are taken within each"
        " round.\n"
    )
    yield "\n".join(machine())
    if figures.steady:
        yield from steady_section(figures)
    if figures.own:
        yield from own_section(figures.own)
    for title, found in (
        ("The same with a field in the answer that the contract does not have", figures.more),
        ("The same with a server that takes 50 ms", figures.slow),
        ("The same over TLS", figures.tls),
        ("The same over HTTP/2 (and TLS)", figures.http2),
        ("The same on uvloop", figures.uvloop),
    ):
        if found:
            yield from variant_section(title, found)
    if figures.pending:
        yield from pending_section(figures.pending)
    if figures.imports:
        yield from imports_section(figures.imports)
    if figures.construction:
        yield from construction_section(figures.construction)


CHARTED = (
    *("httpx", "httpx2", "openai (aiohttp)", "stripe (aiohttp)", OURS, "aiohttp", FAST),
    *("pyreqwest", "raw protocol"),
)
"""Peers of the chart, from above."""
LEVEL, BASE = 100, "httpx"


def chart(found: Steadies) -> str:
    """Draw how many calls a second the peers make, as multiples of bare httpx."""
    bars = [
        Bar(name, each, is_ours=name in {OURS, FAST})
        for name in CHARTED
        if (each := each_compared(found, name, BASE, LEVEL, as_fast))
    ]
    title = f"Calls a second as a multiple of bare {BASE}'s, {LEVEL} at a time"
    note = "Median of rounds in which the peers take turns; the line is from the least to the most."
    return bar_chart(title, note, bars)


def report(figures: Figures, rounds: int, calls: int) -> str:
    """Write the page."""
    return "\n".join(parts(figures, rounds, calls))
