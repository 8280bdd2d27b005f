"""Cost of a call: this SDK, HTTP clients and other SDKs, making the same exchange on loopback.

    python benchmarks/bench.py [--quick] [--peers NAME …] [--concurrency N …] [--output FILE]
        [--steady --own --more --slow --tls --http2 --uvloop --pending --imports --construction]

Without arguments everything is measured, in some 40 minutes, and written to `RESULTS.md`, with a
chart beside it (`calls.svg`); otherwise
the results are printed, or written to FILE. With `PYTHONPATH` another checkout of the SDK is
measured. Each peer has a process of its own on one CPU, the server another.
The peers take turns, round by round; what is shown are medians, and medians of the ratios within
each round. CPU time is the whole process's, the threads of native clients included.

See `payload.py` for the exchange, `peers.py` and `sdks.py` for who takes part.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import sdks  # noqa: F401 - it enters the second part of the peers into the list
import trustme
from measure import STARTED, Plan, construction, imports, pending, steady
from peers import PEERS
from processes import Options, Server
from report import chart, report
from results import ALONE, FAST, OURS, OWN_PAIRS, Figures, Steadies

import chat2pay_async

CONCURRENCIES = (1, 10, 100, 1_000)
FEWER = (1, 10, 100)
"""For TLS, HTTP/2, uvloop and what the SDK itself costs."""
SLOW = (100, 1_000)
ROUNDS, OWN_ROUNDS, FEWER_ROUNDS = 5, 9, 3
CALLS = 3_000
SECONDS = 1.5
"""A round ends with so many calls, or after so long."""
QUICK = (2, 100, 0.15)
"""Rounds, calls and seconds of a quick run."""
DELAY = 0.05
"""Seconds until a slow server's answer: only then are so many calls on the wire as there are."""

ON_UVLOOP = ("raw protocol", "aiohttp", "httpx", "httpx-aiohttp", "stripe (aiohttp)", OURS, FAST)
WITH_MORE = ("aiohttp", "httpx", OURS, FAST)
OWN = tuple(name for pair in OWN_PAIRS.items() for name in pair)
CHART = "calls.svg"
RESULTS = Path(__file__).with_name("RESULTS.md")
SECTIONS = (
    *("steady", "own", "more", "slow", "tls", "http2", "uvloop", "pending", "imports"),
    "construction",
)


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
    more: Server
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
                stack.enter_context(Server(more=True)),
                stack.enter_context(Server(delay=DELAY)),
                stack.enter_context(Server(chain, trusted)),
                stack.enter_context(Server(chain, trusted, http2=True)),
            )


def steadily(plan: Plan, servers: Servers, section: str) -> Steadies:
    """A section with a steady number of callers."""
    public = [name for name in plan.peers if not name.endswith(ALONE)]
    less, tls = plan.less(FEWER, FEWER_ROUNDS), servers.tls.trusting(plan.options)
    match section:
        case "steady":
            where, names = servers.plain, public
            less = plan
        case "own":
            where, names = servers.plain, plan.some(OWN)
            less = plan.less(FEWER, OWN_ROUNDS)
        case "more":
            where, names = servers.more, plan.some(WITH_MORE)
        case "slow":
            where, names = servers.slow, public
            less = plan.less(SLOW, FEWER_ROUNDS)
        case "tls":
            where, names = servers.tls, public
            less = attrs.evolve(less, options=tls)
        case "uvloop":
            where, names = servers.plain, plan.some(ON_UVLOOP)
            less = attrs.evolve(less, options=attrs.evolve(plan.options, uvloop=True))
        case _:
            where, names = servers.http2, [name for name in public if PEERS[name].http2]
            less = attrs.evolve(less, options=attrs.evolve(tls, http2=True))
    return steady(less, where, names)


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
                    figures.imports = imports(plan)
                case "construction":
                    both = {"plain": servers.plain, "TLS": servers.tls}
                    figures.construction = construction(plan, both)
                case _:
                    setattr(figures, section, steadily(plan, servers, section))
            yield figures


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read what the command line asks for."""
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
        fixed=given.quick or given.rounds is not None,
        calls=given.calls or calls,
        seconds=seconds,
        options=Options(),
        quick=given.quick,
    )
    sections = [one for one in SECTIONS if getattr(given, one)] or SECTIONS
    output = given.output or (None if arguments else RESULTS)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    print(f"measuring {Path(chat2pay_async.__file__).parent}", flush=True)
    text = ""
    for figures in everything(plan, sections):
        text = report(figures, plan.rounds, plan.calls)
        if output is not None:
            output.write_text(text, encoding="utf-8")
            if figures.steady:
                output.with_name(CHART).write_text(chart(figures.steady), encoding="utf-8")
    print(f"{time.monotonic() - STARTED:.0f} s")
    if output is None:
        print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
