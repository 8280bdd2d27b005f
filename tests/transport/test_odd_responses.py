"""One reading of the same bytes: by every transport, on every loop, or none by all of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.abc
import httpx
import httpx2
import pytest
from odd_responses import ENCODED, RESPONSES, Odd
from sockets import PATIENT, listening

from chat2pay_async import Proof, SentRequest, http_client_for
from chat2pay_async._transport.base import ExchangeError, SendGuard, Transport, WireResponse
from chat2pay_async._transport.decoding import LONGEST_FRAMING, decoded
from chat2pay_async._transport.factory import transport_for
from chat2pay_async._transport.response_reader import ResponseReader, named

pytestmark = pytest.mark.anyio

OURS = ("default", "fast", "default by a proxy", "fast by a proxy", "http_client_for")
THEIRS = ("http_client", "httpx2", "transport")
UNBOUNDED = {
    name for name, odd in RESPONSES.items() if odd.body is None and len(odd.data) > LONGEST_FRAMING
}
"""Responses unbounded beside a body where connections are not our own; their time is bounded."""
UNREADABLE = set() if httpx is httpx2 else {"a location that is no URL"}
"""Refused by httpx, but not httpx2: it makes a request of it, be it followed or not."""
EXCEPT = {"http_client_for": UNREADABLE, "http_client": UNBOUNDED | UNREADABLE} | dict.fromkeys(
    ("httpx2", "transport"), UNBOUNDED
)
TABLE = {name: odd for name, odd in (RESPONSES | ENCODED).items() if odd.method != b"CONNECT"}


@contextlib.asynccontextmanager
async def transport_of(kind: str, url: str) -> AsyncIterator[Transport]:
    settings: dict[str, Any] = {}
    if kind.endswith("proxy"):
        settings["proxy"], url = url, "http://origin.test"
    if kind.startswith("fast"):
        settings["transport"] = "fast"
    elif kind == "transport":
        settings["transport"] = httpx.AsyncHTTPTransport(trust_env=False)
    clients: dict[str, Any] = {
        "http_client": lambda: httpx.AsyncClient(trust_env=False),
        "httpx2": lambda: httpx2.AsyncClient(trust_env=False),
        "http_client_for": lambda: http_client_for(url),
    }
    async with contextlib.AsyncExitStack() as stack:
        if kind in clients:
            settings["http_client"] = await stack.enter_async_context(clients[kind]())
        transport = transport_for(url, **settings)
        stack.push_async_callback(transport.aclose)
        yield transport


async def read_by(kind: str, odd: Odd) -> WireResponse | str:
    """Return what a transport reads of a response, or what its failure proves."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                await stream.receive()
                await stream.send(odd.data)
                if odd.ended:
                    await stream.send_eof()
                while True:
                    await stream.receive()

    request = SentRequest(odd.method.decode(), "/x", b"{}" if odd.method == b"POST" else None)
    async with listening(serve) as url, transport_of(kind, url) as transport:
        try:
            with anyio.fail_after(30):
                return await transport.exchange(request, {}, PATIENT, SendGuard())
        except ExchangeError as error:
            return f"refused, {error.proof.name}, {error.timed_out}"


def expected_of(odd: Odd) -> WireResponse | str:
    """Return what the reader of our own connections makes of it."""
    if odd.body is None:
        return f"refused, {Proof.UNKNOWN.name}, False"
    reader = ResponseReader(odd.method)
    received = reader.feed(odd.data) or reader.feed(b"")
    assert received is not None
    headers = named(received.fields)
    body = decoded(headers.get("content-encoding", ""), received.body)
    assert (received.status, body) == (odd.status, odd.body)
    return WireResponse(received.status, headers, body)


# trio complains of httpcore's generators, which nobody can close who stops reading in the middle.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [*OURS, *THEIRS])
async def test_an_odd_response_is_read_the_same_by_every_transport(kind: str) -> None:
    expected = {name: expected_of(odd) for name, odd in TABLE.items()}
    read = {name: await read_by(kind, odd) for name, odd in TABLE.items()}
    assert {name for name in TABLE if read[name] != expected[name]} == EXCEPT.get(kind, set())
