"""A process that measures one peer, on a CPU of its own; `bench.py` starts and commands it.

    python benchmarks/worker.py steady NAME URL     rounds, as told by lines of JSON on stdin
    python benchmarks/worker.py pending NAME URL    many calls awaited at once
    python benchmarks/worker.py waiting             as many tasks that only wait
    python benchmarks/worker.py holding             the same, each with a request of its own
    python benchmarks/worker.py construct NAME URL  clients made, and their first calls

What was measured is a line of JSON on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from peers import LIMIT, PEERS, Call, Target
from server import pin

WARM_UP = 300
PROCESS = Path("/proc/self")


@attrs.define
class Clock:
    """Wall clock and CPU time, from when it is made."""

    wall: float = attrs.field(factory=time.perf_counter)
    cpu: float = attrs.field(factory=time.process_time)

    def read(self) -> dict[str, float]:
        """Seconds since then."""
        return {"wall": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}


@attrs.define
class Tally:
    """Counts of how calls ended."""

    done: int = 0
    failed: int = 0
    errors: Counter[str] = attrs.field(factory=Counter[str])

    async def count(self, call: Call) -> None:
        """Make a call."""
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            self.failed += 1
            self.errors[type(error).__name__] += 1
        self.done += 1

    def read(self) -> dict[str, Any]:
        """As plain values."""
        return {"done": self.done, "failed": self.failed, "errors": dict(self.errors)}


async def keep_busy(call: Call, concurrency: int, calls: int, seconds: float) -> dict[str, Any]:
    """So many callers, each making its next call when it has its answer."""
    tally, left = Tally(), calls
    gc.collect()
    clock = Clock()
    ends = clock.wall + seconds

    async def caller() -> None:
        nonlocal left
        while left > 0 and time.perf_counter() < ends:
            left -= 1
            await tally.count(call)

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return clock.read() | tally.read()


def say(**values: Any) -> None:
    """Tell the parent."""
    print(json.dumps(values), flush=True)


async def steady(name: str, target: Target) -> None:
    """Carry out rounds until there are no more."""
    async with PEERS[name].make(target) as call:
        await call()
        say(ready=name)
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(**await keep_busy(call, **json.loads(line)))


async def pending(name: str, target: Target, size: int) -> None:
    """Await many calls at once."""
    async with PEERS[name].make(target) as call:
        await keep_busy(call, concurrency=LIMIT, calls=WARM_UP, seconds=60.0)
        tally = Tally()
        gc.collect()
        before, clock = new_peak(), Clock()
        await asyncio.gather(*(tally.count(call) for _ in range(size)))
        say(**clock.read(), **tally.read(), kib=peak() - before)


async def waiting(size: int, make: Callable[[], object] | None) -> None:
    """Measure what tasks cost that only wait: the caller's own share of `pending`."""
    event, tally = asyncio.Event(), Tally()

    async def call() -> None:
        _held = make() if make is not None else None
        await event.wait()

    gc.collect()
    before, clock = new_peak(), Clock()
    tasks = [asyncio.create_task(tally.count(call)) for _ in range(size)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    await asyncio.gather(*tasks)
    say(**clock.read(), **tally.read(), kib=peak() - before)


def peak() -> int:
    """The most memory that this process ever held, in KiB.

    `ru_maxrss` will not do on Linux: it begins with the parent's.
    """
    if PROCESS.exists():
        lines = (PROCESS / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def new_peak() -> int:
    """Return what it holds now, from which `peak` begins anew."""
    if PROCESS.exists():
        (PROCESS / "clear_refs").write_text("5")
    return peak()


async def construct(name: str, target: Target, times: int) -> None:
    """Make clients, and a first call with each; the imports are done before."""
    made, called = [], []
    for _ in range(times + 1):
        started = time.perf_counter()
        async with PEERS[name].make(target) as call:
            made.append(time.perf_counter() - started)
            await call()
            called.append(time.perf_counter() - started)
    say(made=statistics.median(made[1:]), called=statistics.median(called[1:]))


async def work(given: argparse.Namespace) -> None:
    """Do what is asked for."""
    target = Target(given.url, given.http2)
    match given.task:
        case "steady":
            await steady(given.name, target)
        case "pending":
            await pending(given.name, target, given.size)
        case "construct":
            await construct(given.name, target, given.size)
        case "waiting":
            await waiting(given.size, None)
        case _:
            await waiting(given.size, importlib.import_module("sdks").our_order)


def run(given: argparse.Namespace) -> None:
    """Do it on the asked-for event loop; a peer that can't take part says why."""
    factory = importlib.import_module("uvloop").new_event_loop if given.uvloop else None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work(given))
    except Exception as error:  # noqa: BLE001 - the others are still measured
        say(skipped=f"{type(error).__name__}: {error}".partition("\n")[0])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=("steady", "pending", "waiting", "holding", "construct"))
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--cpu", type=int)
    given = parser.parse_args()
    pin(given.cpu)
    importlib.import_module("sdks")  # enters the others into the list
    with contextlib.suppress(KeyboardInterrupt):
        run(given)
    os._exit(0)  # the threads of pyreqwest do not survive the end of an interpreter


if __name__ == "__main__":
    main()
