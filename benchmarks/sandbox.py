"""The speed and the size of the sandbox: creates a second, its start, and a million transactions.

    python benchmarks/sandbox.py [--seconds 5] [--rows 1000000] [--state]

Links are created over loopback by 32 connections, each of which sends its next request when it has
its answer: of the sandbox in a process of its own, and of a Starlette application that reads the
same body and answers as long a JSON, on the same server. The second figure is what the first can be
at best. `--state` keeps the sandbox's state in a file meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from payload import ANSWER, API_KEY, PATH

from chat2pay_async.sandbox import Sandbox
from chat2pay_async.sandbox._service.service import ApiRequest

CONNECTIONS = 32
BARE = f"""
import json
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

ANSWER = json.loads({ANSWER!r})

async def create(request):
    await request.json()
    return JSONResponse(ANSWER, 201)

app = Starlette(routes=[Route({PATH!r}, create, methods=["POST"])])
config = uvicorn.Config(app, port=0, access_log=False, log_config=None)
server = uvicorn.Server(config)
socket = config.bind_socket()
socket.listen(2048)
print("bare application on", f"http://127.0.0.1:{{socket.getsockname()[1]}}", flush=True)
server.run(sockets=[socket])
"""


def body(number: int) -> bytes:
    """Return a create request."""
    order = {
        "channel": "sms",
        "to": "27831234567",
        "orderNumber": f"A-{number}",
        "currency": "ZAR",
        "totalAmount": 199.9,
        "timestamp": "2026-03-01T12:00:00Z",
        "reconciliationId": f"R-{number}",
    }
    return json.dumps(order).encode()


@contextmanager
def served(command: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """Run a server; give its port, its process, and the seconds that it took to start."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        took = time.perf_counter() - began
        assert found is not None, "the server did not say where it is"  # noqa: S101 - a benchmark
        try:
            yield int(found[1]), process.pid, took
        finally:
            process.send_signal(signal.SIGTERM)


def cpu(process: int) -> float:
    """Return the seconds of CPU that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(port: int, process: int, seconds: float) -> tuple[float, float]:
    """Return the creates in a second, and those in a second of the server's CPU."""
    before = cpu(process)
    rate = asyncio.run(created(port, seconds))
    return rate, rate * seconds / (cpu(process) - before)


async def created(port: int, seconds: float) -> float:
    """Create links for so many seconds; return how many there were in each."""
    end, counts = time.perf_counter() + seconds, [0] * CONNECTIONS

    async def connection(index: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            content = body(counts[index] * CONNECTIONS + index)
            head = (
                f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {API_KEY}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            writer.write(head.encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 201 "), answer  # noqa: S101 - a benchmark
            length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            counts[index] += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*map(connection, range(CONNECTIONS)))
    return sum(counts) / seconds


def held(rows: int) -> int:
    """Hold so many transactions in this process; return the bytes that they take."""
    sandbox, before = Sandbox(API_KEY), _resident()
    for number in range(rows):
        sandbox.exchange(ApiRequest("create_payment_link", API_KEY, PATH, body=body(number)))
    return _resident() - before


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--state", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "chat2pay_async.sandbox", "--api-key", API_KEY]
        if options.state:
            command += ["--state", str(Path(folder) / "state.db")]
        with served(command) as (port, process, start):
            ours = measured(port, process, options.seconds)
    with served([sys.executable, "-c", BARE]) as (port, process, _):
        bare = measured(port, process, options.seconds)
    print(f"start: {start:.2f} s")
    for what, mine, its in zip(("a second", "a second of CPU"), ours, bare, strict=True):
        print(f"creates {what}: {mine:,.0f}; the bare application: {its:,.0f} ({mine / its:.0%})")
    if options.rows:
        size = held(options.rows)
        print(f"{options.rows:,} transactions: {size / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
