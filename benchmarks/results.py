"""Measurements, and the tables that they are told in."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

OURS, FAST = "chat2pay_async", "chat2pay_async (fast)"
ALONE = " transport alone"
OWN_PAIRS = {OURS: OURS + ALONE, FAST: FAST + ALONE}
"""The SDK with a transport, and the transport without the SDK."""
IMPORTED = {OURS: "its dependencies alone", f"{OURS}, bare": "its dependencies alone, bare"}
"""An import, and what it is compared with."""
REQUEST = "a task that only holds a request"
"""Among the pending: the caller's own part of a call."""
LARGE = 100
"""Numbers from here on are shown whole."""
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
    """New ones."""
    opened: int
    """The same, with those of the warm-up."""
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
        return self.good / self.wall


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
    own: Steadies = attrs.field(factory=dict)
    more: Steadies = attrs.field(factory=dict)
    slow: Steadies = attrs.field(factory=dict)
    tls: Steadies = attrs.field(factory=dict)
    http2: Steadies = attrs.field(factory=dict)
    uvloop: Steadies = attrs.field(factory=dict)
    pending: Pending = attrs.field(factory=dict)
    imports: Imports = attrs.field(factory=dict)
    construction: Construction = attrs.field(factory=dict)


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= LARGE else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns but the first are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """Of the rounds."""
    return statistics.median(value(one) for one in rounds)


def compared(
    found: Steadies, mine: str, other: str, level: int, compare: Callable[[Round, Round], float]
) -> float | None:
    """Compare two peers, side by side within each round; None if one was not measured."""
    each = each_compared(found, mine, other, level, compare)
    return statistics.median(each) if each else None


def each_compared(
    found: Steadies, mine: str, other: str, level: int, compare: Callable[[Round, Round], float]
) -> list[float]:
    """Compare two peers in each round, side by side."""
    ours, theirs = (found.get(name, {}).get(level, ()) for name in (mine, other))
    return [compare(one, two) for one, two in zip(ours, theirs, strict=False)]


def as_fast(mine: Round, other: Round) -> float:
    """Calls a second, as a multiple."""
    return mine.rate / other.rate


def as_costly(mine: Round, other: Round) -> float:
    """CPU time a call, as a multiple."""
    return mine.cpu_each / other.cpu_each


def on_top(mine: Round, other: Round) -> float:
    """CPU time a call, in µs more."""
    return mine.cpu_each - other.cpu_each


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


def ratio_table(
    found: Steadies, base: str, compare: Callable[[Round, Round], float] = as_costly
) -> str:
    """Compare everybody with one peer."""

    def tell(name: str, level: int, _rounds: list[Round]) -> str:
        ratio = compared(found, name, base, level, compare)
        return NONE if ratio is None else f"{ratio:.2f}"

    return by_level(found, tell)


def connection_table(found: Steadies) -> str:
    """New connections, and calls that failed."""

    def tell(_name: str, _level: int, rounds: list[Round]) -> str:
        calls, failed = sum(one.calls for one in rounds), sum(one.failed for one in rounds)
        opened = sum(one.connections for one in rounds) / calls * THOUSAND
        lost = f", {failed / calls:.1%} failed" if failed else ""
        return f"{opened:.0f}{lost}"

    return by_level(found, tell)


def _cpu_each(one: Round) -> float:
    return one.cpu_each


def _rate(one: Round) -> float:
    return one.rate


def pending_medians(told: Sequence[dict[str, Any] | None], size: int) -> Iterator[float]:
    """Of calls awaited at once: µs, µs of CPU, KiB, each a call, and the share that failed."""
    every = [one for one in told if one is not None]
    for key in ("wall", "cpu"):
        each = [one[key] / max(1, size - one["failed"]) * MILLION for one in every]
        yield statistics.median(each)
    yield statistics.median(one["kib"] for one in every) / size
    yield statistics.median(one["failed"] for one in every) / size
