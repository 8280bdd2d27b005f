"""Servers on real sockets that do as they are told, and requests to send to them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.abc

from chat2pay_async import SentRequest, Timeout

GET = SentRequest("GET", "/api/v2/config")
POST = SentRequest("POST", "/api/v2/chat-2-pay", b'{"a":1}')

QUICK = Timeout(connect=0.2, read=0.2, write=0.2)
PATIENT = Timeout(connect=60.0, read=60.0, write=60.0)
"""For whatever ends by itself: a machine, or its resolver, can be slow."""

Serve = Callable[[anyio.abc.SocketStream], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """A server on loopback that treats each connection as it is told."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


def nobody_listening() -> str:
    """A URL where nothing is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def read_request(stream: anyio.abc.SocketStream) -> None:
    """Read on until `POST` is there."""
    seen = b""
    while b'{"a":1}' not in seen:
        seen += await stream.receive()


async def silent(stream: anyio.abc.SocketStream) -> None:
    """Say nothing, whatever comes."""
    async with stream:
        await anyio.sleep_forever()


async def reset(stream: anyio.abc.SocketStream) -> None:
    """Close with a reset, not in good order; the other end may have done so before."""
    raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    if raw.fileno() != -1:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await stream.aclose()
