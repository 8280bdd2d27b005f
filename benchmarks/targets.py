"""What the figures should be, and whether they are.

What was not measured is told too: a target that is left out would look as if it were met.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

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

EVERY = (1, 10, 100, 1_000)
SPEEDS: tuple[tuple[str, str, float, tuple[int, ...]], ...] = (
    (OURS, "httpx", 1.1, (1,)),
    (OURS, "httpx", 1.3, (10,)),
    (OURS, "httpx", 3.0, (100,)),
    (OURS, "httpx 100/100", 20.0, (100,)),
    (FAST, "aiohttp", 0.95, EVERY),
    (FAST, "stripe (aiohttp)", 2.5, EVERY),
    (FAST, "openai (aiohttp)", 4.0, EVERY),
)
"""Who is how many times as fast as whom, and at which concurrencies."""
OWN_COST = 25.0
"""µs."""
IMPORT_RATIO = 1.15
PENDING_RATIO = 1.2
MANY = 50_000
PENDING_KB = 2.0

IMPORTED = {OURS: "its dependencies alone", f"{OURS}, bare": "its dependencies alone, bare"}
"""An import, and what it is measured by."""
REQUEST = "a task that only holds a request"
"""Among the pending: what is the caller's own of a call."""
UNMEASURED = "not measured"


@attrs.frozen
class Target:
    """One of them."""

    what: str
    wanted: str
    found: str = UNMEASURED
    met: bool = False

    @property
    def row(self) -> list[str]:
        """In the table."""
        met = "met" if self.met else "**not met**"
        return [self.what, self.wanted, self.found, "" if self.found == UNMEASURED else met]


def speeds(found: Steadies) -> Iterator[Target]:
    """By calls a second; how CPU time compares is told along with it."""
    for mine, other, wanted, at in SPEEDS:
        for level in at:
            what = f"{mine}: calls a second by {other}'s, at C = {number(level)}"
            rate = compared(found, mine, other, level, as_fast)
            cost = compared(found, other, mine, level, as_costly)
            if rate is None or cost is None:
                yield Target(what, f"≥ {wanted:g}")
            else:
                told = f"{rate:.2f} (by CPU {cost:.2f})"
                yield Target(what, f"≥ {wanted:g}", told, rate >= wanted)


def connections(found: Steadies) -> Iterator[Target]:
    """As the server counted them, those of the warm-up included."""
    for mine in OWN_PAIRS:
        what, wanted = f"{mine}: connections", f"one a slot, {LIMIT} at most"
        by_level = found.get(mine, {})
        opened = {level: max(one.opened for one in by_level[level]) for level in by_level}
        # Where none was opened at all, nothing was seen.
        if not any(opened.values()):
            yield Target(what, wanted)
            continue
        told = ", ".join(f"{count} at C = {number(one)}" for one, count in opened.items())
        met = all(count <= min(one, LIMIT) for one, count in opened.items())
        yield Target(what, wanted, told, met)


def own_cost(found: Steadies) -> Target:
    """What the SDK takes on top of its engine."""
    what, wanted = f"{OURS}: CPU µs a call on top of its engine's", f"≤ {OWN_COST:g}"
    each = {one: compared(found, OURS, OWN_PAIRS[OURS], one, on_top) for one in levels(found)}
    known = {one: more for one, more in each.items() if more is not None}
    if not known:
        return Target(what, wanted)
    told = ", ".join(f"{number(more)} at C = {number(one)}" for one, more in known.items())
    return Target(what, wanted, told, max(known.values()) <= OWN_COST)


def imports(figures: Figures) -> Iterator[Target]:
    """The package by its dependencies."""
    for mine, others in IMPORTED.items():
        what, wanted = f"import of {mine}, by {others}", f"≤ {IMPORT_RATIO:g}"
        ours, theirs = (figures.imports.get(name, []) for name in (mine, others))
        if not ours or not theirs:
            yield Target(what, wanted)
            continue
        ratio = statistics.median(one / two for one, two in zip(ours, theirs, strict=True))
        told = f"{ratio:.2f} (of the least {min(ours) / min(theirs):.2f})"
        yield Target(what, wanted, told, ratio <= IMPORT_RATIO)


def pending(figures: Figures) -> Iterator[Target]:
    """Many calls by few, and the memory of each."""
    for mine in OWN_PAIRS:
        yield many_by_few(figures, mine)
        yield memory(figures, mine)


def many_by_few(figures: Figures, mine: str) -> Target:
    """Whether a call becomes dearer where there are many."""
    by_size = figures.pending.get(mine, {})
    small, large = min(by_size, default=0), max(by_size, default=MANY)
    what = f"{mine}: a call of {number(large)} pending, by one of {number(small or 500)}"
    wanted = f"≤ {PENDING_RATIO:g}"
    if small in {0, large}:
        return Target(what, wanted)
    if None in by_size[large] or None in by_size[small]:
        return Target(what, wanted, "too long")
    few, few_cpu, _, _ = pending_medians(by_size[small], small)
    many, many_cpu, _, failed = pending_medians(by_size[large], large)
    ratio, by_cpu = many / few, many_cpu / few_cpu
    told = f"{ratio:.2f} (by CPU {by_cpu:.2f})" + f", {failed:.1%} failed" * (failed > 0)
    # By the worse of the two: whatever else runs beside the few makes them look dear.
    return Target(what, wanted, told, max(ratio, by_cpu) <= PENDING_RATIO and not failed)


def memory(figures: Figures, mine: str) -> Target:
    """What a pending call holds beside its caller's task, and the request that this one made."""
    by_size, holding = figures.pending.get(mine, {}), figures.pending.get(REQUEST, {})
    large = max(by_size, default=MANY)
    what = f"{mine}: KB a call of {number(large)} pending, on top of its caller's task"
    wanted = f"≤ {PENDING_KB:g}"
    told, held = by_size.get(large, []), holding.get(large, [])
    if not told or not held or None in held:
        return Target(what, wanted)
    if None in told:
        return Target(what, wanted, "too long")
    whole, request = (list(pending_medians(one, large))[2] * 1.024 for one in (told, held))
    own = whole - request
    return Target(
        what, wanted, f"{own:.1f} (and {request:.1f} the caller's request)", own <= PENDING_KB
    )


def every_target(figures: Figures) -> list[Target]:
    """All of them."""
    return [
        *speeds(figures.steady),
        *connections(figures.steady),
        own_cost(figures.own),
        *imports(figures),
        *pending(figures),
    ]


def target_table(targets: Iterable[Target]) -> Iterator[str]:
    """All of them, unless nothing is known of any."""
    rows = list(targets)
    if any(one.found != UNMEASURED for one in rows):
        yield "## Targets\n"
        yield table(["", "wanted", "found", ""], (one.row for one in rows))
        met, unmeasured = (
            sum(one.met for one in rows),
            sum(one.found == UNMEASURED for one in rows),
        )
        left = f", {unmeasured} {UNMEASURED}" if unmeasured else ""
        yield f"{met} of {len(rows)} met{left}.\n"
