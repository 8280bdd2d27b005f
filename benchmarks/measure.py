"""Measurements, section by section, with a process for each peer and one for the server."""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
from processes import Options, Server, Steady, once, seconds_of_import
from results import (
    ALONE,
    FAST,
    IMPORTED,
    OURS,
    REQUEST,
    Construction,
    Imports,
    Pending,
    Round,
    Steadies,
)

WARM_UP, WARM_UP_SECONDS = 200, 0.4
BUDGET = 12.0
"""Seconds after which a peer has had enough rounds at a concurrency."""
PATIENCE = 60.0
"""Seconds after which a measurement is given up."""
PENDING, QUICK_PENDING = (500, 50_000), (500, 2_000)
PENDING_ROUNDS = {OURS: (5, 3), FAST: (5, 3), "aiohttp": (5, 3)}
"""Of few calls, and of many; of everybody else one is enough to see."""
PENDING_PATIENCE = {OURS: 150.0, FAST: 150.0}
OTHERS_PATIENCE = 45.0
PENDING_PEERS = (
    *(OURS, FAST, "aiohttp", "pyreqwest", "httpx-aiohttp", "stripe (aiohttp)"),
    *("openai (aiohttp)", "httpx", "httpx2"),
)

NEEDED = "import anyio, attrs, cattrs, httpcore, httpx, msgspec, tenacity"
"""Imports that the package depends on, whichever extras are installed."""
IMPORTS = {
    OURS: "import chat2pay_async",
    IMPORTED[OURS]: NEEDED,
    f"{OURS}, bare": "import chat2pay_async",
    IMPORTED[f"{OURS}, bare"]: NEEDED,
    "httpx": "import httpx",
    "httpx2": "import httpx2",
    "aiohttp": "import aiohttp",
    "pyreqwest": "import pyreqwest.client",
    "niquests": "import niquests",
    "stripe": "import stripe",
    "openai": "import openai",
}
IMPORT_ROUNDS = 15
CONSTRUCTIONS = 15

STARTED = time.monotonic()


@attrs.frozen
class Plan:
    """The plan of what is measured, and how thoroughly."""

    peers: tuple[str, ...]
    concurrencies: tuple[int, ...]
    rounds: int
    fixed: bool
    """True if so many rounds are asked for; else every section has its own number."""
    calls: int
    seconds: float
    options: Options
    quick: bool

    def some(self, names: Iterable[str]) -> list[str]:
        """Those of the asked-for peers that are among `names`."""
        return [name for name in names if name in self.peers]

    def less(self, concurrencies: Sequence[int], rounds: int, **changes: Any) -> Plan:
        """A plan for a section that needs no more than this."""
        return attrs.evolve(
            self,
            concurrencies=tuple(one for one in self.concurrencies if one in concurrencies),
            rounds=self.rounds if self.fixed else rounds,
            **changes,
        )


# With a steady number of callers ------------------------------------------------------------------


@contextlib.contextmanager
def started(plan: Plan, server: Server, names: Iterable[str]) -> Iterator[dict[str, Steady]]:
    """A process for each peer; those that can't take part say why."""
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in names:
            worker = stack.enter_context(Steady(name, server.url, plan.options))
            if worker.skipped is None:
                workers[name] = worker
            else:
                print(f"  {name}: left out, {worker.skipped}")
        yield workers


def measure(plan: Plan, worker: Steady, server: Server, concurrency: int) -> Round | None:
    """One round of one peer; None if it took too long."""
    level = {"concurrency": concurrency}
    cold = server.stats()
    warm = worker.run(
        PATIENCE,
        **level,
        calls=max(WARM_UP, concurrency),
        seconds=min(plan.seconds, WARM_UP_SECONDS),
    )
    if warm is None:
        return None
    before = server.stats()
    calls = max(plan.calls, concurrency)
    told = worker.run(PATIENCE, **level, calls=calls, seconds=plan.seconds)
    after = server.stats()
    if told is None:
        return None
    posts = max(1, after["posts"] - before["posts"])
    return Round(
        calls=told["done"],
        failed=told["failed"],
        wall=told["wall"],
        cpu=told["cpu"],
        connections=int(after["connections"] - before["connections"]),
        opened=int(after["connections"] - cold["connections"]),
        server_cpu=(after["cpu"] - before["cpu"]) / posts,
    )


def steady(plan: Plan, server: Server, names: Sequence[str]) -> Steadies:
    """Every peer at every concurrency, in turns."""
    found: Steadies = {}
    with started(plan, server, names) as workers:
        for concurrency in plan.concurrencies:
            left = dict.fromkeys(workers, BUDGET)
            for _ in range(plan.rounds):
                turns = [name for name in workers if left[name] > 0]
                random.shuffle(turns)
                for name in turns:
                    begun = time.monotonic()
                    result = measure(plan, workers[name], server, concurrency)
                    left[name] -= time.monotonic() - begun
                    if result is None:
                        print(f"  {name}: gave no answer in {PATIENCE} s")
                        workers.pop(name).kill()
                    else:
                        found.setdefault(name, {}).setdefault(concurrency, []).append(result)
            print(f"  C = {concurrency}: {time.monotonic() - STARTED:.0f} s", flush=True)
    return {name: found[name] for name in names if name in found}


# Everything at once, and before the first call ----------------------------------------------------


def pending(plan: Plan, server: Server) -> Pending:
    """Hundreds, and tens of thousands, of calls awaited at once."""
    found: Pending = {}
    for place, size in enumerate(QUICK_PENDING if plan.quick else PENDING):
        bare = alone("waiting", plan, size, 0)["kib"]
        found.setdefault(REQUEST, {})[size] = [alone("holding", plan, size, bare)]
        for turn in range(1 if plan.quick else max(PENDING_ROUNDS[OURS])):
            for name in plan.some(PENDING_PEERS):
                if turn < PENDING_ROUNDS.get(name, (1, 1))[place]:
                    told = await_at_once(plan, server, name, size, bare)
                    found.setdefault(name, {}).setdefault(size, []).append(told)
    return found


def alone(task: str, plan: Plan, size: int, bare: int) -> dict[str, Any]:
    """Measure what tasks cost without any calls.

    Raises:
        RuntimeError: It could not be measured; then the memory of calls can't be either.
    """
    told = once([task, f"--size={size}"], plan.options, PATIENCE)
    if told is None or "kib" not in told:
        raise RuntimeError(f"{task}: {told or 'too long'}")
    return told | {"kib": told["kib"] - bare}


def await_at_once(
    plan: Plan, server: Server, name: str, size: int, bare: int
) -> dict[str, Any] | None:
    """Measure what one peer makes of it; None if it took too long, or broke."""
    patience = PENDING_PATIENCE.get(name, OTHERS_PATIENCE)
    told = once(["pending", name, server.url, f"--size={size}"], plan.options, patience)
    print(f"  {size} calls: {name}: {told or 'too long'}", flush=True)
    if told is None or "skipped" in told:
        return None
    return told | {"kib": told["kib"] - bare}


def imports(plan: Plan) -> Imports:
    """Seconds that imports take in fresh interpreters."""
    found: Imports = {}
    with tempfile.TemporaryDirectory() as cache:
        # One more, the first, fills the cache.
        for turn in range(-1, 3 if plan.quick else IMPORT_ROUNDS):
            for label, code in IMPORTS.items():
                seconds = seconds_of_import(code, cache, bare=label.endswith("bare"))
                if seconds is not None and turn >= 0:
                    found.setdefault(label, []).append(seconds)
    return found


def construction(plan: Plan, servers: dict[str, Server]) -> Construction:
    """Seconds that a client takes to be made, and until its first answer."""
    found: Construction = {}
    for name in (one for one in plan.peers if not one.endswith(ALONE)):
        for kind, server in servers.items():
            size = f"--size={3 if plan.quick else CONSTRUCTIONS}"
            command = ["construct", name, server.url, size]
            told = once(command, server.trusting(plan.options), PATIENCE)
            if told is not None and "skipped" not in told:
                found.setdefault(name, {})[kind] = (told["made"], told["called"])
    return found
