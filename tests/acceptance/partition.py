"""A partition of the network in the middle of a POST, in a namespace of its own.

    unshare -rn --fork --pid --kill-child python partition.py TRANSPORT [kill]

A connection is kept; the network drops all that goes to the service; a POST is written to that
connection, and is given up when its time to read is over, or its process is killed (`kill`) and
started again. Then the network heals: the order is looked up, is explicitly absent, and is sent
again. Prints the states that the run reported, and how often the order arrived: twice where the
kernel still delivered what was given up.

It imports nothing of the tests, so that it runs on other versions of the package as well.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import anyio

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, RetryPolicy, Timeout, bulk

HEALED_FOR = 8.0
"""Seconds that the kernel has to deliver what it kept: it tries after 3.0 s, 6.2 s and so on."""
PARTITION = 3.0
PATIENCE = 30.0
"""Seconds until the partition must have swallowed the request, on a busy machine."""


class Service:
    """Answers every request, and counts the orders that arrive."""

    def __init__(self) -> None:
        self.orders: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            taken, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(taken,), daemon=True).start()

    def _serve(self, taken: socket.socket) -> None:
        seen = b""
        while data := _received(taken):
            seen += data
            head, ended, body = seen.partition(b"\r\n\r\n")
            if not ended or (head.startswith(b"POST") and not body.endswith(b"}")):
                continue
            seen = b""
            if head.startswith(b"POST"):
                self.orders.append(body)
                reply = b'{"paymentLinkRef":"ref-%d"}' % len(self.orders)
                line = b"HTTP/1.1 201 Created"
            elif b"status" in head:
                line = b"HTTP/1.1 404 Not Found" if not self.orders else b"HTTP/1.1 200 OK"
                reply = (
                    b'{"orderNumber":"A-1","paymentLinkRef":"ref-1"}'
                    if self.orders
                    else b'{"status":"NOT_FOUND","errors":['
                    b'"There is no such transaction with order number A-1"]}'
                )
            else:
                line, reply = b"HTTP/1.1 200 OK", b'{"integrators":[]}'
            size = b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(reply)
            taken.sendall(line + size + reply)


def _received(taken: socket.socket) -> bytes:
    try:
        return taken.recv(65536)
    except OSError:
        return b""


def run(*words: str) -> None:
    """Run a program, which has to succeed."""
    subprocess.run(words, check=True)  # noqa: S603 - nothing of it comes from outside


def set_up() -> None:
    """Bring up the namespace's loopback, and a chain for the rules."""
    run("ip", "link", "set", "lo", "up")
    run("nft", "add table inet p")
    run("nft", "add chain inet p i { type filter hook input priority 0; }")


def split(port: int) -> None:
    """Drop all that goes to the service, and count what is no bare acknowledgement."""
    run("nft", f"add rule inet p i tcp dport {port} ip length > 200 counter drop")
    run("nft", f"add rule inet p i tcp dport {port} drop")


def dropped() -> int:
    """Return the number of requests, or parts of one, that the partition has swallowed."""
    words = ("nft", "list", "chain", "inet", "p", "i")
    shown = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - the same
    return sum(map(int, re.findall(r"packets (\d+)", shown.stdout)))


def heal() -> None:
    """Let everything through again."""
    run("nft", "flush chain inet p i")


async def send(url: str, transport: str, journal: str, *, at_once: bool) -> None:
    """Keep a connection, wait until the network is split, and send an order: a run of one item."""
    client = AsyncChat2Pay(
        "key",
        base_url=url,
        transport="fast" if transport == "fast" else None,
        journal=journal,
        timeout=Timeout(connect=1, read=1, write=1, total=None),
        retry=RetryPolicy(settle=PARTITION),
    )
    request = PaymentLinkRequest(
        channel="sms", to="27000000001", order_number="A-1", currency="ZAR", total_amount="10.00"
    )
    async with client:
        if not at_once:
            await client.get_configuration()
            print("ready", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
        async with bulk.create_payment_links(client, [request], run="partition") as run:
            async for outcome in run:
                print(outcome.state.name, flush=True)


def started(url: str, transport: str, journal: str, *how: str) -> subprocess.Popen[str]:
    """Start a process that sends the order."""
    words = [sys.executable, __file__, "send", url, transport, journal, *how]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - the same


def play(transport: str, *, kill: bool) -> str:
    """Play it; return what was reported, and how often the order arrived."""
    set_up()
    service = Service()
    url = f"http://127.0.0.1:{service.port}"
    with tempfile.TemporaryDirectory() as folder:
        journal = f"{folder}/journal"
        sender = started(url, transport, journal)
        assert sender.stdin is not None
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
        split(service.port)
        sender.stdin.write("\n")
        sender.stdin.flush()
        end = time.monotonic() + PATIENCE
        while not dropped():
            assert time.monotonic() < end, "the partition swallowed no request"
        if kill:
            os.kill(sender.pid, signal.SIGKILL)
            sender.communicate()
            sender = started(url, transport, journal, "at-once")
        # Kernels send again on clocks of their own: what waits for them has to wait for real.
        time.sleep(PARTITION)
        assert not service.orders, "it did not arrive before the network healed"
        heal()
        reported, _ = sender.communicate()
        time.sleep(HEALED_FOR)
    return f"{' '.join(reported.split())} {len(service.orders)}"


def main() -> None:
    """Play it, or send the order for who plays it."""
    if sys.argv[1] == "send":
        transport = sys.argv[3]
        backend = "trio" if transport == "trio" else "asyncio"
        options = {"use_uvloop": True} if transport == "uvloop" else {}
        at_once = "at-once" in sys.argv
        work = functools.partial(send, sys.argv[2], transport, sys.argv[4], at_once=at_once)
        anyio.run(work, backend=backend, backend_options=options)
    else:
        print(play(sys.argv[1], kill="kill" in sys.argv[2:]))


if __name__ == "__main__":
    main()
