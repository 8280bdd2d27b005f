"""The other side of the benchmarks: a server on loopback that is never the bottleneck.

    python benchmarks/server.py [--tls chain-and-key.pem] [--http2] [--delay SECONDS] [--more]
        [--cpu 1]

It prints its port and serves until it is killed. Every POST is answered with the same created link,
over HTTP/1.1 (keep-alive, pipelining) or, over TLS, HTTP/2. `GET /stats` says how many connections
carried a POST, how many POSTs there were, and what CPU time they took.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import ssl
import time
from typing import Any

import attrs
from payload import ANSWER, WITH_MORE, of_a_new_link

# Loaded by name, so that types can be checked without them.
httptools: Any = importlib.import_module("httptools")
uvloop: Any = importlib.import_module("uvloop")

BACKLOG = 4096


def plain(body: bytes, status: bytes) -> bytes:
    """An answer of HTTP/1.1."""
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


@attrs.define
class Service:
    """Counts of what was served, and how long that takes."""

    connections: int = 0
    posts: int = 0
    delay: float = 0.0
    """Seconds, over HTTP/1.1."""
    created: bytes = attrs.field(default=plain(ANSWER, b"201 Created"), repr=False)
    """The answer over HTTP/1.1, with another link's reference."""

    def told(self) -> bytes:
        """As JSON."""
        counts = {"connections": self.connections, "posts": self.posts}
        return json.dumps(counts | {"cpu": time.process_time()}).encode()


SERVICE = Service()


class Http1(asyncio.Protocol):
    """One connection of HTTP/1.1."""

    def connection_made(self, transport: Any) -> None:
        """Begin; uvloop's transports derive from none of asyncio's."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._answers: list[bytes] = []
        self._posts = 0

    def data_received(self, data: bytes) -> None:
        """Answer every request that is now complete, in one write."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()
            return
        if self._answers:
            self._transport.write(b"".join(self._answers))
            self._answers.clear()

    def on_message_complete(self) -> None:
        """Answer a request."""
        if self._parser.get_method() != b"POST":
            self._answers.append(plain(SERVICE.told(), b"200 OK"))
            return
        SERVICE.connections += not self._posts
        SERVICE.posts += 1
        self._posts += 1
        if SERVICE.delay:
            asyncio.get_running_loop().call_later(SERVICE.delay, self._answer_late)
        else:
            self._answers.append(of_a_new_link(SERVICE.created))

    def _answer_late(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(of_a_new_link(SERVICE.created))


# HTTP/2: frames are told apart, and nothing in them is looked at ----------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM = ACK = 1
END_HEADERS = 4
FRAME_HEAD = 9
PREFIX = 0xF
LARGE_WINDOW = 2**30
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def literal(name: int, value: bytes) -> bytes:
    """A header field with a name of HPACK's static table; it enters no other table."""
    first = bytes((name,)) if name < PREFIX else bytes((PREFIX, name - PREFIX))
    return first + bytes((len(value),)) + value


SETTING = MAX_CONCURRENT_STREAMS.to_bytes(2, "big") + (100).to_bytes(4, "big")
SETTING += INITIAL_WINDOW_SIZE.to_bytes(2, "big") + LARGE_WINDOW.to_bytes(4, "big")
GREETING = frame(SETTINGS, 0, 0, SETTING)
GREETING += frame(WINDOW_UPDATE, 0, 0, LARGE_WINDOW.to_bytes(4, "big"))
FIELDS = literal(8, b"201") + literal(28, b"%d" % len(ANSWER)) + literal(31, b"application/json")


class Http2(asyncio.Protocol):
    """One connection of HTTP/2.

    Clients give it a larger window than answers can fill before they enlarge it.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin; a client that did not ask for HTTP/2 gets HTTP/1.1."""
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            other = Http1()
            transport.set_protocol(other)
            other.connection_made(transport)
            return
        SERVICE.connections += 1
        self._transport = transport
        self._held = b""
        self._received = 0
        transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        """Answer every frame that is now complete."""
        held = self._held + data
        answers = []
        if held.startswith(PREFACE[: len(held)]):
            held = held.removeprefix(PREFACE)
        while len(held) >= FRAME_HEAD:
            end = FRAME_HEAD + int.from_bytes(held[:3], "big")
            if len(held) < end:
                break
            stream = int.from_bytes(held[5:FRAME_HEAD], "big")
            answers.append(self._answer(held[3], held[4], stream, held[FRAME_HEAD:end]))
            held = held[end:]
        self._held = held
        self._transport.write(b"".join(answers))

    def _answer(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if kind in {SETTINGS, PING}:
            return b"" if flags & ACK else frame(kind, ACK, 0, payload if kind == PING else b"")
        if kind not in {DATA, HEADERS} or not flags & END_STREAM:
            return b""
        SERVICE.posts += 1
        head = frame(HEADERS, END_HEADERS, stream, FIELDS)
        body = of_a_new_link(ANSWER)
        return head + frame(DATA, END_STREAM, stream, body) + self._enlarged(payload)

    def _enlarged(self, payload: bytes) -> bytes:
        """The connection's window, kept large."""
        self._received += len(payload)
        if self._received < LARGE_WINDOW // 2:
            return b""
        grown, self._received = self._received, 0
        return frame(WINDOW_UPDATE, 0, 0, grown.to_bytes(4, "big"))


async def serve(tls: str | None, *, http2: bool) -> None:
    """Serve until killed, after printing the port."""
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)
        context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        Http2 if http2 else Http1, "127.0.0.1", 0, backlog=BACKLOG, ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def pin(cpu: int | None) -> None:
    """Stay on one CPU, where the system has such a thing."""
    if cpu is not None and hasattr(os, "sched_setaffinity") and cpu < (os.cpu_count() or 1):
        os.sched_setaffinity(0, {cpu})


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tls", help="a file with a certificate and its key")
    parser.add_argument("--http2", action="store_true", help="offer HTTP/2 (over TLS)")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until each answer")
    parser.add_argument("--more", action="store_true", help="answer with an unknown field, too")
    parser.add_argument("--cpu", type=int, help="the CPU to stay on")
    given = parser.parse_args()
    pin(given.cpu)
    SERVICE.delay = given.delay
    if given.more:
        SERVICE.created = plain(WITH_MORE, b"201 Created")
    uvloop.run(serve(given.tls, http2=given.http2))


if __name__ == "__main__":
    main()
