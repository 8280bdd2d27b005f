"""A connection that is held between a look-up and the POST that follows it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import attrs
import pytest
from sockets import GET, PATIENT, POST, listening

from chat2pay_async import http_client_for
from chat2pay_async._transport.base import Lease, SendGuard, Transport
from chat2pay_async._transport.factory import transport_for

pytestmark = pytest.mark.anyio

ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
THROTTLED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


@attrs.define
class Server:
    """Answers each request by its method, and numbers its connections."""

    absent: bytes = ABSENT
    connections: int = 0
    seen: list[tuple[bytes, int]] = attrs.field(factory=list)
    """Methods, and the connections that they came by."""
    ended: int = 0

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        number = self.connections
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                while True:
                    head = await stream.receive()
                    method = head.partition(b" ")[0]
                    while method == b"POST" and not head.endswith(POST.body or b""):
                        head += await stream.receive()
                    self.seen.append((method, number))
                    await stream.send(self.absent if method == b"GET" else CREATED)
        self.ended += 1


@contextlib.asynccontextmanager
async def connected(kind: str, server: Server) -> AsyncIterator[Transport]:
    async with listening(server.serve) as url, contextlib.AsyncExitStack() as stack:
        if kind == "http_client_for":
            client = await stack.enter_async_context(http_client_for(url))
            yield transport_for(url, http_client=client)
        else:
            transport = transport_for(url)
            stack.push_async_callback(transport.aclose)
            yield transport


async def look_up(transport: Transport, lease: Lease) -> None:
    await transport.exchange(GET, {}, PATIENT, SendGuard(lease=lease, is_held=True))


kinds = pytest.mark.parametrize("kind", ["default", "http_client_for"])


@kinds
async def test_a_post_leaves_by_the_connection_of_its_look_up(kind: str) -> None:
    server = Server()
    async with connected(kind, server) as transport:
        async with Lease() as lease:
            await look_up(transport, lease)
            await transport.exchange(POST, {}, PATIENT, SendGuard())  # another call's
            await transport.exchange(POST, {}, PATIENT, SendGuard(lease=lease))
        await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert server.seen[:3] == [(b"GET", 1), (b"POST", 2), (b"POST", 1)]
    assert server.seen[3][1] in {1, 2}, "then it is anybody's again"


@kinds
async def test_a_connection_that_was_held_for_nothing_is_closed(kind: str) -> None:
    server = Server()
    async with connected(kind, server) as transport:
        async with Lease() as lease:
            await look_up(transport, lease)
        with anyio.fail_after(5):
            while not server.ended:  # noqa: ASYNC110 - what a server sees, no event tells of
                await anyio.sleep(0.001)
        await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert server.seen == [(b"GET", 1), (b"POST", 2)]


@kinds
async def test_the_next_look_up_has_a_connection_of_its_own(kind: str) -> None:
    """It would take a late copy of the last one's answer for its own."""
    server = Server()
    async with connected(kind, server) as transport, Lease() as lease:
        await look_up(transport, lease)
        await look_up(transport, lease)
        await transport.exchange(POST, {}, PATIENT, SendGuard(lease=lease))
    assert server.seen == [(b"GET", 1), (b"GET", 2), (b"POST", 2)]


@kinds
async def test_a_connection_that_was_throttled_is_held_for_nobody(kind: str) -> None:
    server = Server(absent=THROTTLED)
    async with connected(kind, server) as transport, Lease() as lease:
        await look_up(transport, lease)
        await transport.exchange(POST, {}, PATIENT, SendGuard(lease=lease))
    assert server.seen == [(b"GET", 1), (b"POST", 2)], "a copy of a 429 would be believed"


async def test_a_transport_that_is_closed_closes_what_is_held() -> None:
    server = Server()
    async with connected("default", server) as transport, Lease() as lease:
        await look_up(transport, lease)
        await transport.aclose()
        with anyio.fail_after(5):
            while not server.ended:  # noqa: ASYNC110 - what a server sees, no event tells of
                await anyio.sleep(0.001)
