"""What a call costs: this SDK, HTTP clients and other SDKs, making the same exchange on loopback.

    python benchmarks/bench.py [--quick] [--peers NAME …] [--concurrency N …] [--output FILE]
        [--steady --own --slow --tls --http2 --uvloop --pending --imports --construction]

Without arguments everything is measured, in some 25 minutes, and written to `RESULTS.md`; otherwise
the results are printed. Each peer has a process of its own on one CPU, the server has the other.
The peers take turns, round by round; what is shown are medians, and medians of the ratios within
each round. CPU time is the whole process's, the threads of native clients included.

See `payload.py` for the exchange, `peers.py` and `sdks.py` for who takes part, and `targets.py` for
what the figures should be.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import sdks  # noqa: F401 - it enters the second part of the peers into the list
import trustme
from peers import PEERS
from processes import Options, Server, Steady, once, seconds_of_import
from report import report
from results import Construction, Figures, Imports, Pending, Round, Steadies
from targets import ALONE, FAST, IMPORTED, OURS, OWN_PAIRS, REQUEST

CONCURRENCIES = (1, 10, 100, 1_000)
FEWER = (1, 10, 100)
"""For TLS, HTTP/2, uvloop and what the SDK itself costs."""
SLOW = (100, 1_000)
ROUNDS, OWN_ROUNDS, FEWER_ROUNDS = 5, 9, 3
CALLS = 3_000
SECONDS = 1.5
"""A round ends with so many calls, or after so long."""
WARM_UP, WARM_UP_SECONDS = 200, 0.4
BUDGET = 12.0
"""Seconds after which a peer has had enough rounds at a concurrency."""
QUICK = (2, 100, 0.15)
"""Rounds, calls and seconds of a quick run."""
PATIENCE = 60.0
"""Seconds after which a measurement is given up."""
DELAY = 0.05
"""Seconds until a slow server's answer: only then are so many calls on the wire as there are."""

PENDING, QUICK_PENDING = (500, 50_000), (500, 2_000)
PENDING_ROUNDS = {OURS: (5, 3), FAST: (5, 3), "aiohttp": (5, 3)}
"""Of few calls, and of many; of everybody else one is enough to see."""
PENDING_PATIENCE = {OURS: 150.0, FAST: 150.0}
OTHERS_PATIENCE = 45.0
PENDING_PEERS = (
    *(OURS, FAST, "aiohttp", "pyreqwest", "httpx-aiohttp", "stripe (aiohttp)"),
    *("openai (aiohttp)", "httpx", "httpx2"),
)

DEPENDENCIES = "anyio.abc, anyio.lowlevel, attrs, cattrs.gen, httpcore, httpx, msgspec, tenacity"
# anyio loads what it is made of when it is asked for it.
NEEDED = f"import {DEPENDENCIES}; anyio.Event"
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

ON_UVLOOP = ("raw protocol", "aiohttp", "httpx", "httpx-aiohttp", "stripe (aiohttp)", OURS, FAST)
OWN = tuple(name for pair in OWN_PAIRS.items() for name in pair)
RESULTS = Path(__file__).with_name("RESULTS.md")
STARTED = time.monotonic()
SECTIONS = (
    *("steady", "own", "slow", "tls", "http2", "uvloop", "pending", "imports", "construction"),
)


@attrs.frozen
class Plan:
    """What is measured, and how thoroughly."""

    peers: tuple[str, ...]
    concurrencies: tuple[int, ...]
    rounds: int
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
            rounds=min(rounds, self.rounds) if self.quick else rounds,
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
    worker.run(
        PATIENCE,
        **level,
        calls=max(WARM_UP, concurrency),
        seconds=min(plan.seconds, WARM_UP_SECONDS),
    )
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
        waiting = once(["waiting", f"--size={size}"], plan.options, PATIENCE) or {}
        holding = once(["holding", f"--size={size}"], plan.options, PATIENCE) or {}
        bare = waiting["kib"]
        found.setdefault(REQUEST, {})[size] = [holding | {"kib": holding["kib"] - bare}]
        for turn in range(1 if plan.quick else max(PENDING_ROUNDS[OURS])):
            for name in plan.some(PENDING_PEERS):
                if turn < PENDING_ROUNDS.get(name, (1, 1))[place]:
                    told = await_at_once(plan, server, name, size, bare)
                    found.setdefault(name, {}).setdefault(size, []).append(told)
    return found


def await_at_once(
    plan: Plan, server: Server, name: str, size: int, bare: int
) -> dict[str, Any] | None:
    """What one peer makes of it; None if it took too long, or broke."""
    patience = PENDING_PATIENCE.get(name, OTHERS_PATIENCE)
    told = once(["pending", name, server.url, f"--size={size}"], plan.options, patience)
    print(f"  {size} calls: {name}: {told or 'too long'}", flush=True)
    if told is None or "skipped" in told:
        return None
    return told | {"kib": told["kib"] - bare}


def imports(rounds: int) -> Imports:
    """Seconds that imports take in fresh interpreters."""
    found: Imports = {}
    for _ in range(rounds):
        for label, code in IMPORTS.items():
            seconds = seconds_of_import(code, bare=label.endswith("bare"))
            if seconds is not None:
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


# The program --------------------------------------------------------------------------------------


@contextlib.contextmanager
def certificates() -> Iterator[tuple[Path, Path]]:
    """An authority made up for the occasion, and the server's certificate and key."""
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        trusted, chain = Path(folder, "authority.pem"), Path(folder, "server.pem")
        authority.cert_pem.write_to_path(str(trusted))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(chain))
        yield trusted, chain


@attrs.frozen
class Servers:
    """All that are measured against."""

    plain: Server
    slow: Server
    tls: Server
    http2: Server

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[Servers]:
        """For as long as they are needed."""
        with certificates() as (trusted, chain), contextlib.ExitStack() as stack:
            yield cls(
                stack.enter_context(Server()),
                stack.enter_context(Server(delay=DELAY)),
                stack.enter_context(Server(chain, trusted)),
                stack.enter_context(Server(chain, trusted, http2=True)),
            )


def steadily(plan: Plan, servers: Servers, section: str) -> Steadies:
    """A section with a steady number of callers."""
    public = [name for name in plan.peers if not name.endswith(ALONE)]
    tls = servers.tls.trusting(plan.options)
    match section:
        case "steady":
            return steady(plan, servers.plain, public)
        case "own":
            return steady(plan.less(FEWER, OWN_ROUNDS), servers.plain, plan.some(OWN))
        case "slow":
            return steady(plan.less(SLOW, FEWER_ROUNDS), servers.slow, public)
        case "tls":
            return steady(plan.less(FEWER, FEWER_ROUNDS, options=tls), servers.tls, public)
        case "uvloop":
            options = attrs.evolve(plan.options, uvloop=True)
            less = plan.less(FEWER, FEWER_ROUNDS, options=options)
            return steady(less, servers.plain, plan.some(ON_UVLOOP))
        case _:
            less = plan.less(FEWER, FEWER_ROUNDS, options=attrs.evolve(tls, http2=True))
            return steady(less, servers.http2, [name for name in public if PEERS[name].http2])


def everything(plan: Plan, sections: Sequence[str]) -> Iterator[Figures]:
    """Measure section by section, and say after each what is known so far."""
    figures = Figures(notes={name: PEERS[name].note for name in plan.peers})
    with Servers.started() as servers:
        for section in sections:
            print(f"{section}: {time.monotonic() - STARTED:.0f} s", flush=True)
            match section:
                case "pending":
                    figures.pending = pending(plan, servers.plain)
                case "imports":
                    figures.imports = imports(3 if plan.quick else IMPORT_ROUNDS)
                case "construction":
                    both = {"plain": servers.plain, "TLS": servers.tls}
                    figures.construction = construction(plan, both)
                case _:
                    setattr(figures, section, steadily(plan, servers, section))
            yield figures


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for section in SECTIONS:
        parser.add_argument(f"--{section}", action="store_true", help="only this, and others named")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME")
    parser.add_argument("--concurrency", nargs="+", type=int, default=CONCURRENCIES, metavar="N")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works")
    parser.add_argument("--output", type=Path, help="where the results are written, as Markdown")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measure, and write the results down."""
    given = read_arguments(arguments)
    rounds, calls, seconds = QUICK if given.quick else (ROUNDS, CALLS, SECONDS)
    plan = Plan(
        peers=tuple(given.peers),
        concurrencies=tuple(given.concurrency),
        rounds=given.rounds or rounds,
        calls=given.calls or calls,
        seconds=seconds,
        options=Options(),
        quick=given.quick,
    )
    sections = [one for one in SECTIONS if getattr(given, one)] or SECTIONS
    output = given.output or (None if arguments else RESULTS)
    text = ""
    for figures in everything(plan, sections):
        text = report(figures, plan.rounds, plan.calls)
        if output is not None:
            output.write_text(text, encoding="utf-8")
    if output is None:
        print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
