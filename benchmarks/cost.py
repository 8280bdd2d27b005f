"""Cost of the SDK itself, in instructions: the same on a noisy machine as on a quiet one.

    python benchmarks/cost.py            # counts, and compares with cost.json
    python benchmarks/cost.py --update   # counts, and writes cost.json

Callgrind (Debian: valgrind) counts the user-space instructions of a process that does something a
number of times, and of one that does it more often; what is between the two, divided, is the cost
of one. Sockets take no part: a transport in memory answers. 4 200 instructions are about 1 µs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

BUDGET: Final = Path(__file__).with_name("cost.json")
_IS_OPTIMIZED: Final = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
INTERPRETER: Final = (
    f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}, "
    f"{'optimized' if _IS_OPTIMIZED else 'not optimized'}"
)
"""Each has a budget of its own: another build takes other instructions."""
ALLOWED: Final = 1.03
"""The multiple of its budget that something may cost."""
FEW, MANY = 100, 600
SCENARIOS: Final = ("call", "bulk row", "resumed row", "csv row")
IMPORT: Final = "import"
KEY: Final = "an-api-key"


# What is counted ----------------------------------------------------------------------------------


def requests(count: int) -> Iterator[Any]:
    """Build so many requests for a payment link."""
    from chat2pay_async import PaymentLinkRequest  # noqa: PLC0415 - its import is counted apart

    for number in range(count):
        yield PaymentLinkRequest(
            channel="sms",
            to="27831234567",
            order_number=f"A-{number:06}",
            currency="ZAR",
            total_amount="199.90",
        )


class Memory:
    """A transport that answers each request at once, as the service does."""

    def __init__(self) -> None:
        from chat2pay_async._transport.base import WireResponse  # noqa: PLC0415 - the same

        self.count = 0
        self.response = WireResponse

    async def exchange(self, *_: Any) -> Any:
        """Answer that a link was made."""
        self.count += 1
        body = (
            b'{"paymentLinkRef":"5a1c7f3e-0b2d-4c6e-9f18-%012d","transactionStatus":'
            b'"PAYMENT_LINK_SENT","transactionStatusId":2,"timestamp":"2026-04-27T17:35:58.000+0000"'
            b',"paymentLinkTTL":5,"paymentPageTTL":15}' % self.count
        )
        headers = {
            "date": "Mon, 27 Apr 2026 17:35:58 GMT",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        return self.response(201, headers, body)

    async def aclose(self) -> None:
        """Do nothing."""


def client(journal: Path | None = None) -> Any:
    """Make a client over a transport in memory."""
    from chat2pay_async import AsyncChat2Pay  # noqa: PLC0415 - the same

    made: Any = AsyncChat2Pay(KEY, journal=journal)
    # Below all that is ours: whatever can be passed goes through httpx.
    made._calls.sender._transport._transport = Memory()  # noqa: SLF001 - the reason above
    return made


async def calls(count: int, _folder: Path) -> None:
    """Make payment links, one after the other."""
    async with client() as made:
        for request in requests(count):
            await made.create_payment_link(request)


async def rows(count: int, folder: Path) -> None:
    """Make payment links in a run with a journal."""
    from chat2pay_async import bulk  # noqa: PLC0415 - the same

    async with client(folder / "journal") as made:
        source = requests(count)
        async with bulk.create_payment_links(made, source, run="cost") as run:
            async for _ in run:
                pass
    if run.summary.total != count:
        raise RuntimeError(run.summary)


async def rows_again(count: int, folder: Path) -> None:
    """Do so twice: the second run finds all of it done."""
    await rows(count, folder)  # what the first time costs is taken off
    await rows(count, folder)


async def csv_rows(count: int, folder: Path) -> None:
    """Read requests from a CSV file."""
    from chat2pay_async._files.rows import LINKS, read_rows  # noqa: PLC0415 - the same

    path = folder / "rows.csv"
    lines = [f"A-{number:06},sms,27831234567,ZAR,199.90" for number in range(count)]
    path.write_text("\n".join(["order_number,channel,to,currency,total_amount", *lines, ""]))
    if sum(row.request is not None for row in read_rows(path, LINKS)) != count:
        raise RuntimeError("a row was not read")


async def nothing(_count: int, _folder: Path) -> None:
    """Import what the usual program imports; the package imports names when they are used."""
    from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest  # noqa: F401, PLC0415 - counted


WORK: Final[dict[str, Callable[[int, Path], Awaitable[None]]]] = {
    "call": calls,
    "bulk row": rows,
    "resumed row": rows_again,
    "csv row": csv_rows,
    IMPORT: nothing,
}


# Counting -----------------------------------------------------------------------------------------


def counted(*words: str) -> int:
    """Count the instructions of a Python process."""
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    done = subprocess.run(  # noqa: S603 - our own words
        [*command, *words], capture_output=True, text=True, env=environment, check=False
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(done.stderr)
    return int(found[1])


def cost_of(name: str) -> int:
    """Return the instructions that one of something takes."""
    program = str(Path(__file__))
    if name == IMPORT:
        return counted(program, "do", name, "0") - counted("-c", "import asyncio, json, argparse")
    few, many = (counted(program, "do", name, str(count)) for count in (FEW, MANY))
    return (many - few) // (MANY - FEW)


def warm_up() -> None:
    """Do each thing once: bytecode is compiled and kept, and so is counted nowhere."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for name in WORK:
        command = [sys.executable, str(Path(__file__)), "do", name, "1"]
        subprocess.run(command, env=environment, check=True)  # noqa: S603 - our own words


def costs() -> dict[str, int]:
    """Count everything."""
    warm_up()
    found = {name: cost_of(name) for name in (*SCENARIOS, IMPORT)}
    found["resumed row"] -= found["bulk row"]
    return found


def main() -> int:
    """Count, and compare with the budget.

    Returns:
        1 where something costs more than it may.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write cost.json")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        parser.error("it needs valgrind (Debian: apt-get install valgrind)")
    budgets = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    if INTERPRETER not in budgets and not options.update:
        parser.error(f"there is no budget for {INTERPRETER}: pass --update")
    found = costs()
    budget = budgets.get(INTERPRETER, found)
    print(INTERPRETER)
    print(f"{'':14}{'now':>14}{'budget':>14}{'ratio':>8}")
    for name, count in found.items():
        allowed = budget[name]
        print(f"{name:14}{count:14,}{allowed:14,}{count / allowed:8.3f}")
    if options.update:
        BUDGET.write_text(json.dumps(budgets | {INTERPRETER: found}, indent=2) + "\n")
        return 0
    over = [name for name, count in found.items() if count > ALLOWED * budget[name]]
    if over:
        print(f"over budget: {', '.join(over)}")
    return int(bool(over))


if __name__ == "__main__":
    if sys.argv[1:2] == ["do"]:
        with tempfile.TemporaryDirectory() as made:
            asyncio.run(WORK[sys.argv[2]](int(sys.argv[3]), Path(made)))  # type: ignore[arg-type]
    else:
        sys.exit(main())
