"""What a call costs: this SDK, HTTP clients and other SDKs, making the same exchange on loopback.

    python benchmarks/bench.py [--quick] [--peers NAME …] [--concurrency N …] [--output FILE]
        [--steady --slow --tls --http2 --pending --imports --construction]

Each peer has a process of its own on one CPU, the server has the other. The peers take turns, round
by round; what is shown are medians, and medians of the ratios within each round. CPU time is the
whole process's, the threads of native clients included.

See `payload.py` for the exchange, `peers.py` and `sdks.py` for who takes part.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import sdks  # noqa: F401 - it enters the second part of the peers into the list
import trustme
from peers import PEERS
from processes import Options, Server, Steady, once, seconds_of_import
from results import Construction, Figures, Imports, Pending, Round, Steadies, report

CONCURRENCIES = (1, 10, 100, 1_000)
TLS_CONCURRENCIES = (1, 10, 100)
ROUNDS = 7
CALLS = 3_000
WARM_UP = 200
SECONDS = 4.0
"""A round ends with so many calls, or after so long."""
QUICK = (2, 200, 0.5)
"""Rounds, calls and seconds of a quick run."""
PATIENCE = 60.0
"""Seconds after which a measurement is given up."""

PENDING = (500, 50_000)
PENDING_ROUNDS = 3
PENDING_PATIENCE = 150.0
PENDING_PEERS = (
    "pyreqwest",
    "aiohttp",
    "httpx",
    "httpx2",
    "httpx-aiohttp",
    "stripe (aiohttp)",
    "openai (aiohttp)",
    "chat2pay_async",
    "chat2pay_async (aiohttp)",
)

IMPORTS = {
    "chat2pay_async": "chat2pay_async",
    "its dependencies alone": "anyio, attrs, cattrs.gen, httpcore, httpx, msgspec, tenacity",
    "httpx": "httpx",
    "httpx2": "httpx2",
    "aiohttp": "aiohttp",
    "pyreqwest": "pyreqwest.client",
    "niquests": "niquests",
    "stripe": "stripe",
    "openai": "openai",
}
IMPORT_ROUNDS = 15
CONSTRUCTIONS = 30

DELAY = 0.05
"""Seconds until a slow server's answer: only then are so many calls on the wire as there are."""

SECTIONS = ("steady", "slow", "tls", "http2", "pending", "imports", "construction")


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
    warm_up = max(WARM_UP, 3 * concurrency)
    worker.run(PATIENCE, **level, calls=warm_up, seconds=plan.seconds / 2)
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
        server_cpu=(after["cpu"] - before["cpu"]) / posts,
    )


def steady(plan: Plan, server: Server, names: Sequence[str]) -> Steadies:
    """Every peer at every concurrency, in turns."""
    found: Steadies = {}
    with started(plan, server, names) as workers:
        for concurrency in plan.concurrencies:
            for number in range(plan.rounds):
                turns = list(workers)
                random.shuffle(turns)
                for name in turns:
                    result = measure(plan, workers[name], server, concurrency)
                    if result is None:
                        print(f"  {name}: gave no answer in {PATIENCE} s")
                        workers.pop(name).kill()
                    else:
                        found.setdefault(name, {}).setdefault(concurrency, []).append(result)
                print(f"  C = {concurrency}: round {number + 1} of {plan.rounds}", flush=True)
    return {name: found[name] for name in names if name in found}


# Everything at once, and before the first call ----------------------------------------------------


def pending(plan: Plan, server: Server) -> Pending:
    """Hundreds, and tens of thousands, of calls awaited at once."""
    sizes = (500, 5_000) if plan.quick else PENDING
    found: Pending = {}
    names = plan.some(PENDING_PEERS)
    for size in sizes:
        bare = once(["waiting", f"--size={size}"], plan.options, PENDING_PATIENCE) or {}
        for _ in range(1 if plan.quick else PENDING_ROUNDS):
            for name in list(names):
                command = ["pending", name, server.url, f"--size={size}"]
                told = once(command, plan.options, PENDING_PATIENCE)
                print(f"  {size} calls: {name}: {told}", flush=True)
                if told is None or "skipped" in told:
                    names.remove(name)  # what took too long would take longer with more calls
                if told is None or "skipped" not in told:
                    found.setdefault(name, {}).setdefault(size, []).append(told)
                if told is not None and "kib" in told:
                    told["kib"] -= bare["kib"]
    return found


def imports(rounds: int) -> Imports:
    """Seconds that imports take in fresh interpreters."""
    found: Imports = {}
    for _ in range(rounds):
        for label, names in IMPORTS.items():
            seconds = seconds_of_import(names)
            if seconds is not None:
                found.setdefault(label, []).append(seconds)
    return found


def construction(plan: Plan, servers: dict[str, Server]) -> Construction:
    """Seconds that a client takes to be made, and until its first answer."""
    found: Construction = {}
    for name in plan.peers:
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


def everything(plan: Plan, sections: Sequence[str]) -> Iterator[Figures]:
    """Measure section by section, and say after each what is known so far."""
    figures = Figures(notes={name: PEERS[name].note for name in plan.peers})
    tls_levels = tuple(one for one in plan.concurrencies if one in TLS_CONCURRENCIES)
    with certificates() as (trusted, chain), contextlib.ExitStack() as stack:
        server = stack.enter_context(Server())
        slow = stack.enter_context(Server(delay=DELAY))
        secure = stack.enter_context(Server(chain, trusted))
        second = stack.enter_context(Server(chain, trusted, http2=True))
        secured = attrs.evolve(
            plan, options=secure.trusting(plan.options), concurrencies=tls_levels
        )
        http2 = attrs.evolve(secured, options=attrs.evolve(secured.options, http2=True))
        for section in sections:
            print(section, flush=True)
            match section:
                case "steady":
                    figures.steady = steady(plan, server, plan.peers)
                case "slow":
                    figures.slow = steady(plan, slow, plan.peers)
                case "tls":
                    figures.tls = steady(secured, secure, plan.peers)
                case "http2":
                    able = [name for name in plan.peers if PEERS[name].http2]
                    figures.http2 = steady(http2, second, able)
                case "pending":
                    figures.pending = pending(plan, server)
                case "imports":
                    figures.imports = imports(3 if plan.quick else IMPORT_ROUNDS)
                case _:
                    figures.construction = construction(plan, {"plain": server, "TLS": secure})
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
    parser.add_argument("--uvloop", action="store_true", help="clients on uvloop")
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
        options=Options(uvloop=given.uvloop),
        quick=given.quick,
    )
    sections = [one for one in SECTIONS if getattr(given, one)] or SECTIONS
    text = ""
    for figures in everything(plan, sections):
        text = report(figures, plan.rounds, plan.calls)
        if given.output is not None:
            given.output.write_text(text, encoding="utf-8")
    if given.output is None:
        print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
