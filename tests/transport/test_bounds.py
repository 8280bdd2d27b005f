"""Bounds of what a response may take, and of what a request that is given up leaves behind."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import attrs
import httpcore
import httpx
import pytest
from sockets import GET, PATIENT, POST, QUICK, listening

from chat2pay_async import Proof, SentRequest, Timeout, http_client_for
from chat2pay_async._transport.base import ExchangeError, SendGuard, Transport
from chat2pay_async._transport.decoding import LONGEST_RESPONSE, decoded
from chat2pay_async._transport.factory import transport_for

pytestmark = pytest.mark.anyio

CANCEL = SentRequest("POST", "/api/v2/cancel/1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
OURS = ["default", "fast", "http_client_for"]
THEIRS = ["http_client", "transport", "wrapped"]


class Wrapped(httpx.AsyncBaseTransport):
    """A transport of the user's, of which nothing is known."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {"timeout": request.extensions["timeout"]}
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextlib.asynccontextmanager
async def transport_of(kind: str, url: str) -> AsyncIterator[Transport]:
    async with contextlib.AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if kind == "fast":
            settings["transport"] = "fast"
        elif kind == "transport":
            settings["transport"] = httpx.AsyncHTTPTransport(trust_env=False)
        elif kind == "wrapped":
            settings["transport"] = Wrapped()
        elif kind != "default":
            client = (
                http_client_for(url)
                if kind == "http_client_for"
                else httpx.AsyncClient(trust_env=False)
            )
            settings["http_client"] = await stack.enter_async_context(client)
        made = transport_for(url, **settings)
        stack.push_async_callback(made.aclose)
        yield made


async def whole_request(stream: anyio.abc.ByteStream) -> bytes:
    seen = b""
    while b"\r\n\r\n" not in seen or (b'{"' in seen) is not (b"Length: 7" in seen.title()):
        seen += await stream.receive()
    return seen


Reply = Callable[[anyio.abc.ByteStream], Awaitable[None]]


@attrs.define
class Server:
    """Reads requests, replies as it is told, and writes down how its connections end."""

    reply: Reply
    requests: list[bytes] = attrs.field(factory=list)
    heard: anyio.Event = attrs.field(factory=anyio.Event)
    """Set once a request has come; a test that waits for another one puts a new one in place."""
    connections: int = 0
    ends: list[str] = attrs.field(factory=list)
    ended: anyio.Event = attrs.field(factory=anyio.Event)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        try:
            async with stream:
                while True:
                    self.requests.append(await whole_request(stream))
                    self.heard.set()
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._reply, stream)
        except anyio.EndOfStream:
            self.ends.append("in good order")
        except anyio.BrokenResourceError:
            self.ends.append("reset")
        self.ended.set()

    async def _reply(self, stream: anyio.abc.ByteStream) -> None:
        with contextlib.suppress(anyio.BrokenResourceError):
            await self.reply(stream)


async def cancel_once_heard(server: Server, transport: Transport, guard: SendGuard) -> None:
    """Send a request, and cancel it when the server has read all of it."""
    server.heard = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.exchange, POST, {}, PATIENT, guard)
        with anyio.fail_after(30):
            await server.heard.wait()
        tasks.cancel_scope.cancel()


async def answered(stream: anyio.abc.ByteStream) -> None:
    await stream.send(OK)


async def silent(_stream: anyio.abc.ByteStream) -> None:
    """Say nothing."""


def trickling(head: bytes, piece: bytes) -> Reply:
    async def reply(stream: anyio.abc.ByteStream) -> None:
        await stream.send(head)
        while True:
            await anyio.sleep(0.02)
            await stream.send(piece)

    return reply


def sending(head: bytes, body: bytes) -> Reply:
    async def reply(stream: anyio.abc.ByteStream) -> None:
        await stream.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return reply


async def flooding(stream: anyio.abc.ByteStream) -> None:
    """Send a body without an end, as fast as it is taken."""
    await stream.send(CREATED + b"Content-Length: 99999999999\r\n\r\n")
    while True:
        await stream.send(bytes(1_000_000))


async def flooding_in_chunks(stream: anyio.abc.ByteStream) -> None:
    """The same, of a length that nobody has said."""
    await stream.send(CREATED + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await stream.send(b"f4240\r\n" + bytes(1_000_000) + b"\r\n")


async def chunked(stream: anyio.abc.ByteStream) -> None:
    """Send one byte too many."""
    head = CREATED + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (LONGEST_RESPONSE + 1)
    await stream.send(head + bytes(LONGEST_RESPONSE + 1) + b"\r\n0\r\n\r\n")


CREATED = b"HTTP/1.1 201 Created\r\n"
BOMB = gzip.compress(gzip.compress(bytes(500_000_000)))
ENDLESS = {
    "body": (CREATED + b"Content-Length: 99999\r\n\r\n", b"x"),
    "chunks": (CREATED + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "head": (CREATED, b"X: x\r\n"),
    "interim": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.parametrize("kind", [*OURS, *THEIRS])
@pytest.mark.parametrize("what", ENDLESS)
async def test_a_response_that_trickles_is_complete_in_the_time_to_read_or_unknown(
    what: str, kind: str
) -> None:
    # Where nothing tells when the last byte left, the time to write counts as well.
    limits = attrs.evolve(QUICK, connect=0.5, write=0.1 if kind == "wrapped" else 60.0)
    async with (
        listening(Server(trickling(*ENDLESS[what])).serve) as url,
        transport_of(kind, url) as transport,
    ):
        guard = SendGuard()
        with anyio.fail_after(5), pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, limits, guard)
    assert (caught.value.proof, caught.value.timed_out) == (Proof.UNKNOWN, True)
    assert guard.may_have_been_sent
    assert (guard.last_byte is None) is (kind == "wrapped"), "where something tells, it is known"


# trio complains of httpcore's generators, which nobody can close who stops reading in the middle.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [*OURS, *THEIRS])
@pytest.mark.parametrize(
    "reply",
    [
        sending(CREATED + b"Content-Encoding: gzip, gzip\r\n", BOMB),
        sending(CREATED, bytes(LONGEST_RESPONSE + 1)),
        flooding,
        chunked,
        flooding_in_chunks,
    ],
    ids=["inflated", "plain", "endless", "chunked", "endless chunks"],
)
async def test_a_response_that_is_too_long_is_unknown(reply: Reply, kind: str) -> None:
    async with listening(Server(reply).serve) as url, transport_of(kind, url) as transport:
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, attrs.evolve(PATIENT, read=20.0), SendGuard())
    assert caught.value.proof is Proof.UNKNOWN
    assert not caught.value.timed_out, "it is not read until its time is up"


def test_a_body_is_not_inflated_beyond_its_bound() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ExchangeError, match="ResponseTooLong"):
            decoded("gzip, gzip", BOMB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * LONGEST_RESPONSE


def test_a_body_is_decoded_as_it_says() -> None:
    members = gzip.compress(b"a") + gzip.compress(b"b")
    assert decoded("X-GZIP", members) == b"ab"
    assert decoded("identity", b"a") == decoded("", b"a") == decoded("unheard-of", b"a") == b"a"
    with pytest.raises(ExchangeError, match="DecodingError"):
        decoded("gzip", members[:-3])
    with pytest.raises(ExchangeError, match="DecodingError"):
        decoded("gzip", b"\x1f\x8bjunk")


@pytest.mark.parametrize("kind", OURS)
async def test_a_connection_whose_request_was_given_up_is_reset(kind: str) -> None:
    server = Server(silent)
    async with listening(server.serve) as url, transport_of(kind, url) as transport:
        with pytest.raises(ExchangeError):
            await transport.exchange(POST, {}, Timeout(read=0.1), SendGuard())
        with anyio.fail_after(5):
            await server.ended.wait()
    assert server.ends == ["reset"]


@pytest.mark.parametrize("kind", OURS)
async def test_a_connection_whose_request_was_cancelled_is_reset_though_it_was_used_before(
    kind: str,
) -> None:
    server = Server(answered)
    async with listening(server.serve) as url, transport_of(kind, url) as transport:
        await transport.exchange(POST, {}, PATIENT, SendGuard())
        server.reply = silent
        await cancel_once_heard(server, transport, SendGuard())
        with anyio.fail_after(5):
            await server.ended.wait()
    assert (server.connections, server.ends) == (1, ["reset"])


@pytest.mark.parametrize("kind", OURS)
async def test_a_connection_that_is_idle_is_closed_in_good_order(kind: str) -> None:
    server = Server(answered)
    async with listening(server.serve) as url:
        async with transport_of(kind, url) as transport:
            await transport.exchange(POST, {}, PATIENT, SendGuard())
        with anyio.fail_after(5):
            await server.ended.wait()
    assert server.ends == ["in good order"]


@pytest.mark.parametrize("kind", [*OURS, *THEIRS])
async def test_a_request_that_is_too_late_leaves_its_connection_for_the_next(kind: str) -> None:
    server = Server(answered)
    async with listening(server.serve) as url, transport_of(kind, url) as transport:
        await transport.exchange(POST, {}, PATIENT, SendGuard())
        guard = SendGuard(latest=anyio.current_time() - 1)
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, PATIENT, guard)
        await transport.exchange(GET, {}, PATIENT, SendGuard())
    assert (caught.value.proof, guard.was_too_late) == (Proof.NOT_SENT, True)
    assert not guard.may_have_been_sent
    assert (server.connections, len(server.requests)) == (1, 2)


class NeverConnects(httpcore.AsyncNetworkBackend):
    """A network where nobody answers."""

    async def connect_tcp(self, *_args: Any, **_settings: Any) -> httpcore.AsyncNetworkStream:
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("how", ["transport", "http_client"])
async def test_a_request_that_is_cancelled_while_a_users_client_connects_was_not_sent(
    how: str,
) -> None:
    carries = httpx.AsyncHTTPTransport(trust_env=False)
    carries._pool._network_backend = NeverConnects()
    async with httpx.AsyncClient(transport=carries) as client:
        given: dict[str, Any] = {"transport": {"transport": carries}}.get(
            how, {"http_client": client}
        )
        guard = SendGuard()
        with anyio.move_on_after(0.05):
            await transport_for("http://a.test", **given).exchange(POST, {}, PATIENT, guard)
    assert not guard.may_have_been_sent


async def test_a_request_that_is_cancelled_while_a_users_pool_is_full_was_not_sent() -> None:
    limits = httpx.Limits(max_connections=1)
    carries = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
    carries._pool._network_backend = NeverConnects()
    transport, guard = transport_for("http://a.test", transport=carries), SendGuard()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.exchange, POST, {}, PATIENT, SendGuard())
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.05):
            await transport.exchange(POST, {}, PATIENT, guard)
        tasks.cancel_scope.cancel()
    await transport.aclose()
    assert not guard.may_have_been_sent


@pytest.mark.parametrize("how", ["transport", "http_client"])
async def test_what_a_proxy_is_asked_for_is_no_part_of_a_request(how: str) -> None:
    async def proxy(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive())
            await stream.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    asked: list[bytes] = []
    async with listening(proxy) as url, contextlib.AsyncExitStack() as stack:
        given: Any
        if how == "transport":
            given = httpx.AsyncHTTPTransport(proxy=url, trust_env=False)
        else:
            client = httpx.AsyncClient(proxy=url, trust_env=False)
            given = await stack.enter_async_context(client)
        transport = transport_for("https://service.invalid", **{how: given})
        stack.push_async_callback(transport.aclose)
        guard = SendGuard()
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, PATIENT, guard)
    assert asked[0].startswith(b"CONNECT service.invalid:443 ")
    assert (caught.value.proof, guard.may_have_been_sent) == (Proof.NOT_SENT, False)


@pytest.mark.parametrize("kind", [*OURS, *THEIRS])
async def test_a_request_that_is_cancelled_after_its_first_byte_may_have_arrived(kind: str) -> None:
    server = Server(silent)
    async with listening(server.serve) as url, transport_of(kind, url) as transport:
        guard = SendGuard()
        await cancel_once_heard(server, transport, guard)
    assert guard.may_have_been_sent


@pytest.mark.parametrize("kind", [*OURS, *THEIRS])
async def test_a_post_without_a_body_says_so(kind: str) -> None:
    server = Server(answered)
    async with listening(server.serve) as url, transport_of(kind, url) as transport:
        await transport.exchange(CANCEL, {}, PATIENT, SendGuard())
    assert b"content-length: 0\r\n" in server.requests[0].lower()


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("late", [0.0, 0.001, 0.005, 0.02])
async def test_a_copy_of_a_response_closes_its_connection_before_it_is_used_again(
    late: float, kind: str
) -> None:
    async def twice(stream: anyio.abc.ByteStream) -> None:
        await stream.send(OK)
        await anyio.sleep(late)
        await stream.send(OK.replace(b"{}", b"[]"))
        copied.set()

    server = Server(twice)
    copied = anyio.Event()
    async with listening(server.serve) as url, transport_of(kind, url) as transport:
        await transport.exchange(POST, {}, PATIENT, SendGuard())
        await copied.wait()
        server.reply = answered
        response = await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert (server.connections, response.body) == (2, b"{}")


REFUSED = OK.replace(b"200 OK", b"400 Bad Request")
THROTTLED = OK.replace(b"200 OK", b"429 Too Many Requests")


@pytest.mark.parametrize("kind", [*OURS, *THEIRS])
@pytest.mark.parametrize(
    "refusal",
    [
        REFUSED,
        THROTTLED,
        THROTTLED.replace(b"2\r\n\r\n{}", b"0\r\n\r\n"),
        b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.0 400 X\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["400", "429", "empty", "chunked", "HTTP/1.0"],
)
async def test_a_copy_of_a_refusal_is_no_response_to_the_next_request(
    refusal: bytes, kind: str
) -> None:
    """It may come when the next request has been written: its connection takes none."""

    async def refused(stream: anyio.abc.ByteStream) -> None:
        await stream.send(refusal)

    server = Server(refused)
    async with listening(server.serve) as url, transport_of(kind, url) as transport:
        assert (await transport.exchange(POST, {}, PATIENT, SendGuard())).status_code >= 400
        with anyio.fail_after(5):
            await server.ended.wait()
        server.reply = answered
        response = await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert (server.connections, response.status_code) == (2, 200)


async def test_the_connection_of_a_refusal_leaves_a_users_pool_before_another_can_have_it() -> None:
    async def refused(stream: anyio.abc.ByteStream) -> None:
        await stream.send(REFUSED)

    only_one = httpx.Limits(max_connections=1)
    carries = httpx.AsyncHTTPTransport(limits=only_one, trust_env=False)
    server, statuses = Server(refused), list[int]()

    async def post() -> None:
        response = await transport.exchange(POST, {}, PATIENT, SendGuard())
        statuses.append(response.status_code)

    async with listening(server.serve) as url:
        transport = transport_for(url, transport=carries)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(post)
        held = getattr(carries._pool, "connections")  # noqa: B009 - its type is not known
        await transport.aclose()
    assert (statuses, server.connections, held) == ([400] * 20, 20, [])


async def test_a_connection_whose_response_is_no_refusal_is_kept_by_a_users_pool() -> None:
    server = Server(answered)
    async with listening(server.serve) as url, transport_of("http_client", url) as transport:
        for _ in range(3):
            await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert server.connections == 1


async def test_a_connection_that_a_hook_gave_back_is_left_to_whoever_has_it_now() -> None:
    async def read(response: httpx.Response) -> None:
        await response.aread()

    async def refused(stream: anyio.abc.ByteStream) -> None:
        await stream.send(REFUSED)

    server = Server(refused)
    async with (
        listening(server.serve) as url,
        httpx.AsyncClient(event_hooks={"response": [read]}, trust_env=False) as client,
    ):
        transport = transport_for(url, http_client=client)
        for _ in range(2):
            await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert server.connections == 1
