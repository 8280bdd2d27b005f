"""What the figures should be, and whether they are."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import attrs
from peers import LIMIT
from results import (
    Figures,
    Steadies,
    as_costly,
    as_fast,
    compared,
    levels,
    number,
    on_top,
    pending_medians,
    table,
)

OURS, FAST = "chat2pay_async", "chat2pay_async (aiohttp)"
ALONE = " engine alone"
OWN_PAIRS = {OURS: OURS + ALONE, FAST: FAST + ALONE}
"""The SDK with an engine, and the engine without the SDK."""

SPEEDS: tuple[tuple[str, str, float, tuple[int, ...]], ...] = (
    (OURS, "httpx", 1.1, (1,)),
    (OURS, "httpx", 1.3, (10,)),
    (OURS, "httpx", 3.0, (100,)),
    (OURS, "httpx 100/100", 20.0, (100,)),
    (FAST, "aiohttp", 0.95, ()),
    (FAST, "stripe (aiohttp)", 2.5, ()),
    (FAST, "openai (aiohttp)", 4.0, ()),
)
"""Who is how many times as fast as whom, and at which concurrencies (none: at each)."""
OWN_COST = 25.0
"""µs."""
IMPORT_RATIO = 1.15
PENDING_RATIO = 1.2
PENDING_KIB = 2.0

IMPORTED = {OURS: "its dependencies alone", f"{OURS}, bare": "its dependencies alone, bare"}
"""An import, and what it is measured by."""
REQUEST = "a task that only holds a request"
"""Among the pending: what is the caller's own of a call."""


@attrs.frozen
class Target:
    """One of them."""

    what: str
    wanted: str
    found: str
    holds: bool

    @property
    def row(self) -> list[str]:
        """In the table."""
        return [self.what, self.wanted, self.found, "yes" if self.holds else "**no**"]


def speeds(found: Steadies) -> Iterator[Target]:
    """By calls a second; how CPU time compares is told along with it."""
    for mine, other, wanted, chosen in SPEEDS:
        at = chosen or levels(found)
        rates = [compared(found, mine, other, one, as_fast) for one in at]
        costs = [compared(found, other, mine, one, as_costly) for one in at]
        known = [one for one in rates if one is not None]
        if len(known) == len(at):
            told = ", ".join(f"{one:.2f}" for one in known)
            cpu = ", ".join(f"{one:.2f}" for one in costs if one is not None)
            where = ", ".join(map(number, at))
            what = f"{mine}: calls a second by {other}'s, at C = {where}"
            yield Target(what, f"≥ {wanted:g}", f"{told} (by CPU {cpu})", min(known) >= wanted)


def connections(found: Steadies) -> Iterator[Target]:
    """As the server counted them, those of the warm-up included."""
    for mine in OWN_PAIRS:
        by_level = found.get(mine, {})
        if by_level:
            opened = {level: max(one.opened for one in by_level[level]) for level in by_level}
            told = ", ".join(f"{count} at C = {number(one)}" for one, count in opened.items())
            holds = all(count <= min(one, LIMIT) for one, count in opened.items())
            yield Target(f"{mine}: connections", f"1 a slot, of {LIMIT}", told, holds)


def own_cost(found: Steadies) -> Iterator[Target]:
    """What the SDK takes on top of its engine."""
    for mine, alone in OWN_PAIRS.items():
        each = {one: compared(found, mine, alone, one, on_top) for one in levels(found)}
        known = {one: more for one, more in each.items() if more is not None}
        if known:
            told = ", ".join(f"{number(more)} at C = {number(one)}" for one, more in known.items())
            holds = max(known.values()) <= OWN_COST
            yield Target(f"{mine}: own CPU µs a call", f"≤ {OWN_COST:g}", told, holds)


def imports(figures: Figures) -> Iterator[Target]:
    """The package by its dependencies."""
    for mine, others in IMPORTED.items():
        ours, theirs = (figures.imports.get(name, []) for name in (mine, others))
        if ours:
            ratio = statistics.median(one / two for one, two in zip(ours, theirs, strict=True))
            told = f"{ratio:.2f} (of the least {min(ours) / min(theirs):.2f})"
            what = f"import of {mine}, by {others}"
            yield Target(what, f"≤ {IMPORT_RATIO:g}", told, ratio <= IMPORT_RATIO)


def pending(figures: Figures) -> Iterator[Target]:
    """Many calls by few, and the memory of each."""
    request = figures.pending.get(REQUEST, {})
    for mine in OWN_PAIRS:
        by_size = figures.pending.get(mine, {})
        small, large = min(by_size, default=0), max(by_size, default=0)
        if small == large or None in by_size[large]:
            continue
        few = list(pending_medians(by_size[small], small))
        wall, cpu, kib, failed = pending_medians(by_size[large], large)
        ratio = wall / few[0]
        what = f"{mine}: a call of {number(large)} by one of {number(small)} pending"
        told = f"{ratio:.2f} (by CPU {cpu / few[1]:.2f})" + f", {failed:.1%} failed" * (failed > 0)
        holds = ratio <= PENDING_RATIO and not failed
        yield Target(what, f"≤ {PENDING_RATIO:g}", told, holds)
        held = list(pending_medians(request[large], large))[2]
        what = f"{mine}: KiB a call of {number(large)} pending, on top of the caller's task"
        told = f"{kib - held:.1f} (and {held:.1f} the caller's request)"
        yield Target(what, f"≤ {PENDING_KIB:g}", told, kib - held <= PENDING_KIB)


def target_table(figures: Figures) -> Iterator[str]:
    """All that can be told by what was measured."""
    every = [
        *speeds(figures.steady),
        *connections(figures.steady),
        *own_cost(figures.own),
        *imports(figures),
        *pending(figures),
    ]
    if every:
        yield "## Targets\n"
        yield table(["", "wanted", "found", "holds"], (one.row for one in every))
