"""The page that the benchmarks make of their measurements.

No measurement is made here, and no limit is set on any.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture(scope="module")
def rooms() -> Iterator[dict[str, Any]]:
    """The modules of the benchmarks, which are no package."""
    names = ("results", "report")
    before = set(sys.modules)
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        # Their names are anybody's.
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(BENCHMARKS):
                del sys.modules[name]


def rounds(rooms: dict[str, Any], us: float, connections: int = 1, count: int = 3) -> list[Any]:
    made = rooms["results"].Round
    seconds = us * 1000 / 1e6
    return [made(1000, 0, seconds, seconds, connections, connections, 1e-5)] * count


def figures(rooms: dict[str, Any]) -> Any:
    """Figures whose ratios are easily seen."""
    results = rooms["results"]
    found = results.Figures(notes={})
    costs = {results.OURS: 100.0, "httpx": 300.0, results.FAST: 100.0, "aiohttp": 95.0}
    found.steady = {
        name: {level: rounds(rooms, us, min(level, 100)) for level in (1, 100)}
        for name, us in costs.items()
    }
    alone = results.OWN_PAIRS[results.OURS]
    found.own = {results.OURS: {1: rounds(rooms, 100.0)}, alone: {1: rounds(rooms, 75.5)}}
    found.imports = {name: [0.1, 0.3] for name in results.IMPORTED}
    found.pending = {
        results.OURS: {500: [pending(500, 100.0, 0)], 50_000: [pending(50_000, 119.0, 2.5)]}
    }
    found.notes = dict.fromkeys(found.steady, "a peer")
    return found


def pending(size: int, us: float, kib: float) -> dict[str, Any]:
    return {"wall": us * size / 1e6, "cpu": us * size / 1e6, "kib": kib * size, "failed": 0}


def row(page: str, title: str, name: str) -> str:
    """A row of the first table below a title."""
    below = page[page.index(title) :]
    return next(line for line in below.splitlines() if line.startswith(f"| {name} |"))


def test_the_page_shows_what_was_measured(rooms: dict[str, Any]) -> None:
    page = rooms["report"].report(figures(rooms), 5, 3000)
    assert row(page, "CPU µs a call:", "httpx") == "| httpx | 300 | 300 |"
    rates = row(page, "Calls a second as a multiple of bare httpx's", "chat2pay_async")
    assert rates == "| chat2pay_async | 3.00 | 3.00 |"
    assert row(page, "The difference, within each round", "chat2pay_async").endswith("| 24.5 |")
    assert row(page, "## So many calls awaited at once", "chat2pay_async").endswith("| 2.5 |")
    assert row(page, "## Imports", "chat2pay_async") == "| chat2pay_async | 200 | 100 |"
    assert "over TLS" not in page


def test_the_chart_shows_medians_of_ratios_and_their_range(rooms: dict[str, Any]) -> None:
    found = figures(rooms)
    ours, theirs = found.steady["chat2pay_async"], found.steady["httpx"]
    ours[100] = [one for us in (100.0, 50.0, 200.0) for one in rounds(rooms, us, count=1)]
    assert len(ours[100]) == len(theirs[100]) == 3
    chart = rooms["report"].chart(found.steady)
    assert ">3 x</text>" in chart, "300 by 100, between 300 by 200 and 300 by 50"
    (line,) = re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)"', chart)[1:2]
    least, most = (float(end) - float(re.findall(r'<rect x="(\d+)"', chart)[0]) for end in line)
    assert most / least == pytest.approx(4, rel=0.01)
    assert "100 at a time" in chart


@pytest.mark.parametrize(
    ("reported", "shown"),
    [(None, "too long"), ({"wall": 5.0, "cpu": 5.0, "kib": 0, "failed": 50_000}, "all failed")],
)
def test_pending_calls_that_fail_or_never_end_have_no_figure(
    rooms: dict[str, Any], reported: dict[str, Any] | None, shown: str
) -> None:
    found = figures(rooms)
    found.pending["chat2pay_async"][50_000] = [reported]
    page = rooms["report"].report(found, 5, 3000)
    assert shown in row(page, "## So many calls awaited at once", "chat2pay_async")
