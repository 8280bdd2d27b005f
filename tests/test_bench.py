"""What the benchmarks make of their measurements: `benchmarks/targets.py`, and what it is told in.

No measurement is made here, and no limit is set on any.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture(scope="module")
def rooms() -> Iterator[dict[str, Any]]:
    """The modules of the benchmarks, which are no package."""
    names = ("results", "targets", "report", "chart")
    before = set(sys.modules)
    sys.path.append(BENCHMARKS)
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(BENCHMARKS)
        # Their names are anybody's.
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(BENCHMARKS):
                del sys.modules[name]


def rounds(rooms: dict[str, Any], us: float, connections: int = 1, count: int = 3) -> list[Any]:
    made = rooms["results"].Round
    seconds = us * 1000 / 1e6
    return [made(1000, 0, seconds, seconds, connections, connections, 1e-5)] * count


def ideal(rooms: dict[str, Any]) -> Any:
    """Figures with which every target is just met."""
    targets = rooms["targets"]
    figures = rooms["results"].Figures(notes={})
    level = targets.EVERY
    ours = {1: 100.0, 10: 100.0, 100: 100.0, 1000: 100.0}
    stock = {1: 110.0, 10: 130.0, 100: 300.0, 1000: 300.0}
    costs = {
        targets.OURS: ours,
        "httpx": stock,
        "httpx 100/100": dict.fromkeys(level, 2000.0),
        targets.FAST: dict.fromkeys(level, 100.0),
        "aiohttp": dict.fromkeys(level, 95.0),
        "stripe (aiohttp)": dict.fromkeys(level, 250.0),
        "openai (aiohttp)": dict.fromkeys(level, 400.0),
    }
    figures.steady = {
        name: {one: rounds(rooms, us, min(one, 100)) for one, us in by_level.items()}
        for name, by_level in costs.items()
    }
    alone = targets.OWN_PAIRS[targets.OURS]
    figures.own = {targets.OURS: {1: rounds(rooms, 100.0)}, alone: {1: rounds(rooms, 75.5)}}
    for mine, others in targets.IMPORTED.items():
        figures.imports |= {mine: [0.115, 0.23], others: [0.1, 0.2]}
    for name in targets.OWN_PAIRS:
        figures.pending[name] = {
            500: [pending(500, 100.0, 0)],
            50_000: [pending(50_000, 119.0, 2.5)],
        }
    figures.pending[targets.REQUEST] = {50_000: [pending(50_000, 1.0, 0.6)]}
    return figures


def pending(size: int, us: float, kib: float, *, cpu: float = 100.0) -> dict[str, Any]:
    return {"wall": us * size / 1e6, "cpu": cpu * size / 1e6, "kib": kib * size, "failed": 0}


def missed(rooms: dict[str, Any], figures: Any) -> list[str]:
    return [one.what for one in rooms["targets"].every_target(figures) if not one.met]


def test_figures_just_good_enough_meet_every_target(rooms: dict[str, Any]) -> None:
    assert missed(rooms, ideal(rooms)) == []
    assert len(rooms["targets"].every_target(ideal(rooms))) == 25


@pytest.mark.parametrize(
    ("peer", "level", "us", "count"),
    [
        ("httpx", 1, 109.0, 1),
        ("httpx", 10, 129.0, 1),
        ("httpx", 100, 299.0, 1),
        ("httpx 100/100", 100, 1999.0, 1),
        ("aiohttp", 1000, 94.0, 1),
        ("stripe (aiohttp)", 1, 249.0, 1),
        ("openai (aiohttp)", 10, 399.0, 1),
        ("chat2pay_async", 1, 101.0, 1),
        ("chat2pay_async (aiohttp)", 100, 101.0, 3),
    ],
)
def test_a_speed_short_of_its_target_is_told(
    rooms: dict[str, Any], peer: str, level: int, us: float, count: int
) -> None:
    figures = ideal(rooms)
    figures.steady[peer][level] = rounds(rooms, us, min(level, 100))
    found = missed(rooms, figures)
    assert len(found) == count
    assert all(f"C = {level}" in one.replace(" 000", "000") for one in found)


def test_a_connection_too_many_is_told(rooms: dict[str, Any]) -> None:
    for level, opened in ((1, 2), (100, 101), (1000, 101)):
        figures = ideal(rooms)
        figures.steady["chat2pay_async"][level] = rounds(rooms, 100.0, opened)
        assert missed(rooms, figures) == ["chat2pay_async: connections"]


def test_what_the_sdk_itself_costs_is_told(rooms: dict[str, Any]) -> None:
    figures = ideal(rooms)
    figures.own["chat2pay_async"][10] = rounds(rooms, 101.0)
    figures.own["chat2pay_async engine alone"][10] = rounds(rooms, 75.0)
    assert missed(rooms, figures) == ["chat2pay_async: CPU µs a call on top of its engine's"]


def test_a_slow_import_is_told(rooms: dict[str, Any]) -> None:
    figures = ideal(rooms)
    figures.imports["chat2pay_async"] = [0.116, 0.24]
    assert missed(rooms, figures) == ["import of chat2pay_async, by its dependencies alone"]


@pytest.mark.parametrize(
    ("us", "cpu", "kib", "what"),
    [
        (121.0, 100.0, 2.5, "by one of 500"),
        (100.0, 121.0, 2.5, "by one of 500"),
        (100.0, 100.0, 2.6, "KB a call of 50 000 pending"),
    ],
)
def test_many_pending_that_cost_too_much_are_told(
    rooms: dict[str, Any], us: float, cpu: float, kib: float, what: str
) -> None:
    figures = ideal(rooms)
    figures.pending["chat2pay_async"][50_000] = [pending(50_000, us, kib, cpu=cpu)]
    (found,) = missed(rooms, figures)
    assert what in found


@pytest.mark.parametrize("told", [[None], [{"wall": 5.0, "cpu": 5.0, "kib": 0, "failed": 1}]])
def test_pending_calls_that_fail_or_never_end_meet_nothing(
    rooms: dict[str, Any], told: list[Any]
) -> None:
    figures = ideal(rooms)
    figures.pending["chat2pay_async"][50_000] = told
    assert any("by one of 500" in one for one in missed(rooms, figures))


def test_what_was_not_measured_is_no_target_met(rooms: dict[str, Any]) -> None:
    targets = rooms["targets"]
    nothing = rooms["results"].Figures(notes={})
    assert len(missed(rooms, nothing)) == 25
    assert list(targets.target_table(targets.every_target(nothing))) == []

    figures = ideal(rooms)
    del figures.steady["stripe (aiohttp)"]
    told = "\n".join(targets.target_table(targets.every_target(figures)))
    assert told.count("not measured |") == 4
    assert "21 of 25 met, 4 not measured." in told


def test_the_page_shows_what_was_measured_and_its_chart(rooms: dict[str, Any]) -> None:
    figures = ideal(rooms)
    figures.notes = dict.fromkeys(figures.steady, "a peer")
    page = rooms["report"].report(figures, 5, 3000, "RESULTS.svg")
    for part in ("25 of 25 met.", "(RESULTS.svg)", "once warm", "own cost", "Imports", "at once"):
        assert part in page
    assert "over TLS" not in page


def test_the_chart_has_a_dot_for_everybody_in_order(rooms: dict[str, Any]) -> None:
    drawn = ET.fromstring(rooms["report"].chart(ideal(rooms).steady))  # noqa: S314 - our own
    dots = [float(dot.attrib["cx"]) for dot in drawn.iter() if dot.tag.endswith("circle")]
    assert len(dots) == 7
    assert dots == sorted(dots)
    assert dots[-1] < rooms["chart"].WIDTH


def test_the_scale_of_the_chart_embraces_its_values(rooms: dict[str, Any]) -> None:
    for least, most in ((1.0, 1.0), (99.0, 101.0), (0.3, 40_000.0), (100.0, 1000.0)):
        scale = rooms["chart"].ticks(least, most)
        assert scale[0] < least
        assert scale[-1] >= most
