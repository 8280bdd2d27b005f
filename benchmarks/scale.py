"""What a call costs when many are awaited at once: our transport, and the one httpx comes with.

    python benchmarks/scale.py

The server is a process of its own. Each line is the median of `ROUNDS`, the transports taking
turns, each in a process of its own, which is killed after `LIMIT` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import anyio
import httpx
from rich.console import Console
from rich.table import Table

from chat2pay_async._transport.pool import PoolTransport

SIZES = (500, 2_000, 20_000)
CONNECTIONS = 100
ROUNDS = 3
LIMIT = 60.0

ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
)


class Server(asyncio.Protocol):
    """Answers each request at once; a request of these benchmarks arrives in one or two pieces."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when the body has come."""
        if data.endswith(b'{"a":1}') and isinstance(self._transport, asyncio.Transport):
            self._transport.write(ANSWER)


async def serve() -> None:
    """Serve until killed, after printing the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The server's URL."""
    with subprocess.Popen(  # noqa: S603 - this very file
        [sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        process.kill()


def ours() -> httpx.AsyncBaseTransport:
    """The transport of this package."""
    return PoolTransport(max_connections=CONNECTIONS, trust_env=False)


def stock() -> httpx.AsyncBaseTransport:
    """The transport that comes with httpx."""
    return httpx.AsyncHTTPTransport(
        trust_env=False, limits=httpx.Limits(max_connections=CONNECTIONS)
    )


MAKERS = {"stock": stock, "ours": ours}


async def measure(
    url: str, make: Callable[[], httpx.AsyncBaseTransport], size: int
) -> tuple[float, int]:
    """Await so many calls at once: seconds, and how many succeeded."""
    good = 0
    limits = httpx.Timeout(30.0, pool=None)
    async with httpx.AsyncClient(transport=make(), timeout=limits) as client:

        async def one() -> None:
            nonlocal good
            answer = await client.post(url, content=b'{"a":1}')
            good += answer.status_code == httpx.codes.OK

        start = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(size):
                tasks.start_soon(one)
        return time.perf_counter() - start, good


def in_a_process(url: str, name: str, size: int, loop: str) -> tuple[float, int]:
    """`measure`, in a process of its own, which is killed when the time is up."""
    command = [sys.executable, __file__, "measure", url, name, str(size), loop]
    try:
        done = subprocess.run(  # noqa: S603 - this very file
            command, stdout=subprocess.PIPE, text=True, timeout=LIMIT, check=True
        )
    except subprocess.TimeoutExpired:
        return LIMIT, 0
    seconds, good = done.stdout.split()
    return float(seconds), int(good)


def main() -> None:
    """Measure, and print a table."""
    table = Table("loop", "calls", "pool", "succeeded", "seconds", "ms a call")
    with served() as url:
        for loop in ("asyncio", "trio"):
            tired: set[str] = set()  # what took too long would take longer with more calls
            for size in SIZES:
                rounds: dict[str, list[tuple[float, int]]] = {name: [] for name in MAKERS}
                for _ in range(ROUNDS):
                    for name, before in rounds.items():
                        if name in tired:
                            before.append((LIMIT, 0))
                            continue
                        before.append(in_a_process(url, name, size, loop))
                        if not before[-1][1]:
                            tired.add(name)
                for name, measured in rounds.items():
                    seconds = statistics.median(one for one, _ in measured)
                    good = min(one for _, one in measured)
                    each = f"{seconds / good * 1000:.2f}" if good else "-"
                    taken = f"{seconds:.2f}" if good else f"more than {LIMIT:.0f}"
                    table.add_row(loop, str(size), name, str(good), taken, each)
    Console(width=100).print(table)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["measure", url, name, size, loop]:
            print(*anyio.run(measure, url, MAKERS[name], int(size), backend=loop))
        case _:
            main()
