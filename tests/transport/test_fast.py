"""The fast transport, by the same specification as the default one, on every event loop."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import importlib.util
import itertools
import os
import select
import socket
import ssl
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import attrs
import h11
import httpcore
import httpx
import pytest
import trio
import trustme
from anyio.streams.tls import TLSListener, TLSStream
from sockets import (
    GET,
    PATIENT,
    POST,
    QUICK,
    listening,
    nobody_listening,
    read_request,
    reset,
    silent,
)

import chat2pay_async
from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    ConfigurationError,
    IntegrationStatus,
    OutcomeUnknownError,
    PaymentLinkRequest,
    Proof,
    RetryPolicy,
    SentRequest,
    Timeout,
    Verdict,
    bulk,
)
from chat2pay_async import _eventloop as clock
from chat2pay_async._transport import http1
from chat2pay_async._transport.base import ExchangeError, SendGuard
from chat2pay_async._transport.factory import transport_for
from chat2pay_async._transport.fast import FastTransport, classify
from chat2pay_async._transport.http1 import Http1Connection
from chat2pay_async._transport.httpcore import _Stream
from chat2pay_async._transport.response_reader import ResponseReader
from chat2pay_async.sandbox import (
    POSTS,
    FaultKind,
    FaultPlan,
    InjectedFault,
    Sandbox,
    serve_sandbox,
)

on_loops = pytest.mark.anyio

PUT = SentRequest("PUT", "/api/v2/integration", b'{"a":1}')
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
KEY = "k-5f3c9b7e21-very-secret"
PHONE = "27831234567"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextlib.asynccontextmanager
async def engine_on(url: str, **settings: Any) -> AsyncIterator[FastTransport]:
    transport = FastTransport(url, **settings)
    try:
        yield transport
    finally:
        await transport.aclose()


@attrs.define
class Server:
    """Answers every request alike, writes all down, and counts its connections."""

    answer: bytes = OK
    requests: list[bytes] = attrs.field(factory=list)
    sockets: list[socket.socket] = attrs.field(factory=list)
    connections: int = 0
    open: int = 0

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        self.open += 1
        self.connections += 1
        with contextlib.suppress(AttributeError):  # of uvloop's socket, where it was reset already
            self.sockets.append(stream.extra(anyio.abc.SocketAttribute.raw_socket))
        try:
            async with stream:
                with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while True:
                        self.requests.append(await whole_request(stream))
                        await self.reply(stream)
        finally:
            self.open -= 1

    async def reply(self, stream: anyio.abc.ByteStream) -> None:
        await stream.send(self.answer)


class Mute(Server):
    """Reads requests and never answers."""

    async def reply(self, stream: anyio.abc.ByteStream) -> None:
        """Say nothing."""


async def whole_request(stream: anyio.abc.ByteStream) -> bytes:
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += await stream.receive()
    head, _, body = seen.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += await stream.receive()
    return head + b"\r\n\r\n" + body


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not holds():
            await anyio.lowlevel.checkpoint()


def headers_of(request: bytes) -> list[tuple[str, str]]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return [(name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)]


async def failure(
    url: str, limits: Timeout = PATIENT, request: SentRequest = POST, **settings: Any
) -> ExchangeError:
    with anyio.fail_after(30):
        async with engine_on(url, **settings) as transport:
            with pytest.raises(ExchangeError) as caught:
                await transport.exchange(request, {}, limits, SendGuard())
    return caught.value


def verdict(error: ExchangeError) -> tuple[Proof, bool]:
    return error.proof, error.timed_out


# What an exception proves ------------------------------------------------------------------------

EXPORTED: list[type[Exception]] = [
    value
    for name in httpcore.__all__
    if isinstance(value := getattr(httpcore, name), type) and issubclass(value, Exception)
]
OTHERS: list[type[Exception]] = [
    OSError,
    TimeoutError,
    ConnectionResetError,
    ssl.SSLError,
    ValueError,
    RuntimeError,
    AssertionError,
    AttributeError,
    h11.RemoteProtocolError,
]
each_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.__name__) for kind in (*EXPORTED, *OTHERS)]
)


def made(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)


def is_slow(kind: type[Exception]) -> bool:
    return issubclass(kind, TimeoutError | httpcore.TimeoutException)


def test_the_table_has_the_librarys_exceptions() -> None:
    assert len(EXPORTED) == 15
    assert httpcore.ConnectError in EXPORTED


@each_kind
def test_what_an_exception_proves_depends_only_on_whether_the_request_left(
    kind: type[Exception],
) -> None:
    before, after = classify(made(kind), sent=False), classify(made(kind), sent=True)
    assert (before.proof, after.proof) == (Proof.NOT_SENT, Proof.UNKNOWN)
    assert before.reason == after.reason == kind.__name__
    assert before.timed_out is after.timed_out is is_slow(kind)
    assert is_slow(kind) is ("Timeout" in kind.__name__)


@on_loops
@each_kind
@pytest.mark.parametrize("left", [False, True], ids=["before", "after"])
async def test_no_exception_gets_out_unclassified(
    kind: type[Exception],
    left: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_arguments: Any, **_named: Any) -> Any:
        raise made(kind)

    def fail_at_once(*_arguments: Any) -> Any:
        raise made(kind)

    if left:
        monkeypatch.setattr(ResponseReader, "feed", fail_at_once)
        monkeypatch.setattr(_Stream, "read", fail)
    else:
        monkeypatch.setattr(http1, "start_connection", fail)
        monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", fail)
    async with listening(Server().serve) as url:
        error = await failure(url)
    assert verdict(error) == (Proof.UNKNOWN if left else Proof.NOT_SENT, is_slow(kind))


# Before the request left -------------------------------------------------------------------------


@on_loops
async def test_nobody_listening_is_not_sent() -> None:
    error = await failure(nobody_listening())
    assert verdict(error) == (Proof.NOT_SENT, False)
    assert error.reason == "ConnectError"
    assert isinstance(error.__cause__, httpcore.ConnectError)
    assert error.words == "connection refused"


@on_loops
async def test_a_name_that_does_not_resolve_is_not_sent() -> None:
    assert verdict(await failure("http://no-such-host.invalid")) == (Proof.NOT_SENT, False)


@on_loops
async def test_a_name_that_the_resolver_says_nothing_about_is_a_timeout_and_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_arguments: Any, **_named: Any) -> Any:
        await anyio.sleep_forever()

    loop = clock.current_loop()
    names = loop if isinstance(loop, asyncio.AbstractEventLoop) else trio.socket
    monkeypatch.setattr(names, "getaddrinfo", never)
    error = await failure("http://slow.test", QUICK)
    assert verdict(error) == (Proof.NOT_SENT, True)


@on_loops
async def test_a_tls_handshake_that_fails_is_not_sent() -> None:
    async def plain(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(plain) as url:
        error = await failure(url.replace("http", "https"))
    assert verdict(error) == (Proof.NOT_SENT, False)


@on_loops
async def test_a_tls_handshake_that_hangs_is_a_timeout_and_not_sent() -> None:
    async with listening(silent) as url:
        error = await failure(url.replace("http", "https"), QUICK)
    assert verdict(error) == (Proof.NOT_SENT, True)


@on_loops
async def test_a_proxy_that_refuses_to_connect_is_not_sent() -> None:
    proxy = Server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    async with listening(proxy.serve) as url:
        error = await failure("https://service.invalid", proxy=url)
    assert verdict(error) == (Proof.NOT_SENT, False)
    assert proxy.requests[0].startswith(b"CONNECT service.invalid:443 HTTP/1.1\r\n")


@on_loops
async def test_a_proxy_that_says_nothing_to_connect_is_a_timeout_and_not_sent() -> None:
    proxy = Mute()
    async with listening(proxy.serve) as url:
        error = await failure("https://service.invalid", QUICK, proxy=url)
        await until(lambda: proxy.open == 0)
    assert verdict(error) == (Proof.NOT_SENT, True)
    assert proxy.connections == 1


@on_loops
async def test_a_proxy_that_hangs_up_or_babbles_at_connect_is_not_sent() -> None:
    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()

    for serve in (hang_up, Server(b"220 mail.test ESMTP\r\n\r\n").serve):
        async with listening(serve) as url:
            error = await failure("https://service.invalid", proxy=url)
        assert verdict(error) == (Proof.NOT_SENT, False)


# After the request left --------------------------------------------------------------------------


CREATED = b"HTTP/1.1 201 Created\r\n"
BREAKS = {
    "hang-up": b"",
    "reset": None,
    "cut body": CREATED + b'Content-Length: 99\r\n\r\n{"pay',
    "cut head": CREATED + b"Content-Le",
    "cut chunk": CREATED + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{",
    "garbled chunk": CREATED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "another protocol": b"220 mail.test ESMTP\r\n\r\n",
    "binary": b"\x16\x03\x01\x00\xff\xfe" * 9,
    "two lengths": CREATED + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "endless header": CREATED + b"X: " + b"x" * 999_999 + b"\r\n\r\n",
    "broken gzip": CREATED + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\njunk",
}


def breaking(how: str) -> Callable[[anyio.abc.SocketStream], Awaitable[None]]:
    """Read a request, answer as `BREAKS` says, and hang up."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        answer = BREAKS[how]
        async with stream:
            await whole_request(stream)
            if answer is None:
                await reset(stream)
            elif answer:
                await stream.send(answer)

    return serve


@on_loops
@pytest.mark.parametrize("how", BREAKS)
async def test_what_breaks_after_the_request_leaves_the_outcome_unknown(how: str) -> None:
    async with listening(breaking(how)) as url:
        error = await failure(url)
    assert verdict(error) == (Proof.UNKNOWN, False)


@on_loops
async def test_silence_after_the_request_is_a_timeout_with_unknown_outcome() -> None:
    server = Mute()
    async with listening(server.serve) as url:
        error = await failure(url, QUICK)
        await until(lambda: server.open == 0)
    assert verdict(error) == (Proof.UNKNOWN, True)


@on_loops
async def test_silence_in_the_middle_of_an_answer_is_a_timeout_with_unknown_outcome() -> None:
    async def half(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)
            await stream.send(CREATED + b'Content-Length: 99\r\n\r\n{"pay')
            await anyio.sleep_forever()

    async with listening(half) as url:
        error = await failure(url, QUICK)
    assert verdict(error) == (Proof.UNKNOWN, True)


@on_loops
async def test_silence_after_an_interim_answer_is_a_timeout_with_unknown_outcome() -> None:
    async def promising(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)
            await stream.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await anyio.sleep_forever()

    async with listening(promising) as url:
        error = await failure(url, QUICK)
    assert verdict(error) == (Proof.UNKNOWN, True)


@on_loops
async def test_what_was_not_yet_sent_when_a_call_gave_up_never_is() -> None:
    def all_that_comes(listener: socket.socket) -> int:
        received = 0
        taken, _ = listener.accept()
        with taken, contextlib.suppress(ConnectionResetError):
            taken.settimeout(30)
            while piece := taken.recv(1 << 20):
                received += len(piece)
        return received

    large = SentRequest("POST", "/api/v2/chat-2-pay", b"x" * 20_000_000)
    # No server of an event loop's: it would read on by itself.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with engine_on(f"http://127.0.0.1:{listener.getsockname()[1]}") as transport:
            with pytest.raises(ExchangeError) as caught:
                await transport.exchange(large, {}, QUICK, SendGuard())
            received = await anyio.to_thread.run_sync(all_that_comes, listener)
    assert verdict(caught.value) == (Proof.UNKNOWN, True)
    assert received < 20_000_000


@on_loops
async def test_a_server_that_stops_reading_is_a_timeout_with_unknown_outcome() -> None:
    large = SentRequest("POST", "/api/v2/chat-2-pay", b"x" * 20_000_000)
    # No server of an event loop's, as above.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        error = await failure(url, QUICK, large)
    assert verdict(error) == (Proof.UNKNOWN, True)
    assert error.reason == "WriteTimeout"


@on_loops
@pytest.mark.parametrize("request_", [GET, PUT, POST], ids=lambda sent: sent.method)
async def test_nothing_is_sent_again_behind_our_back(request_: SentRequest) -> None:
    class Dropping(Server):
        async def reply(self, stream: anyio.abc.ByteStream) -> None:
            if len(self.requests) == 1:
                await super().reply(stream)
            else:
                await stream.aclose()
                raise anyio.EndOfStream

    server = Dropping()
    async with listening(server.serve) as url, engine_on(url) as transport:
        await transport.exchange(GET, {}, PATIENT, SendGuard())
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(request_, {}, PATIENT, SendGuard())
    assert verdict(caught.value) == (Proof.UNKNOWN, False)
    assert len(server.requests) == 2


@on_loops
async def test_a_server_that_closes_each_connection_at_once_is_not_connected_to_for_ever() -> None:
    connections = itertools.count()

    async def slam(stream: anyio.abc.SocketStream) -> None:
        next(connections)
        await reset(stream)

    async with listening(slam) as url:
        await failure(url)
    assert next(connections) == 1


# What is sent, and what comes back ---------------------------------------------------------------


@on_loops
@pytest.mark.parametrize(
    "target",
    [
        "/api/v2/cancel/no%2Fsuch%3Fx",
        "/api/v2/cancel/%2E%2E%2Fconfig",
        "/api/v2/cancel/%7Eme%2b%C3%A9",
        "/p?orderNumber=A%2F1%20%2B%26&a=%26",
        "/p?a=1+2&b=",
    ],
)
async def test_a_quoted_target_reaches_the_server_as_it_is(target: str) -> None:
    server = Server()
    async with listening(server.serve) as url, engine_on(f"{url}/c2p") as transport:
        await transport.exchange(SentRequest("GET", target), {}, PATIENT, SendGuard())
    assert server.requests[0].startswith(f"GET /c2p{target} HTTP/1.1\r\n".encode())


@on_loops
async def test_the_body_and_each_header_arrive_once_and_as_they_are() -> None:
    server = Server()
    body = '{"name":"Zoë", "a" : 1.50}\r\n\x00'.encode()
    sent = SentRequest("POST", "/p", body)
    headers = {
        "Authorization": KEY,
        "Accept": "application/json",
        "User-Agent": "chat2pay-async/x",
        "Content-Type": "application/json",
    }
    async with listening(server.serve) as url, engine_on(url) as transport:
        await transport.exchange(sent, headers, PATIENT, SendGuard())
    assert server.requests[0].partition(b"\r\n\r\n")[2] == body
    seen = headers_of(server.requests[0])
    assert len(seen) == len(dict(seen))
    assert {name.lower(): value for name, value in headers.items()}.items() <= dict(seen).items()
    assert dict(seen)["content-length"] == str(len(body))
    assert dict(seen)["host"] == url.removeprefix("http://")
    ours = {name.lower() for name in headers}
    assert set(dict(seen)) - ours == {"host", "content-length", "accept-encoding"}


@on_loops
async def test_a_post_without_a_body_claims_no_type_for_it() -> None:
    server = Server()
    async with listening(server.serve) as url, engine_on(url) as transport:
        await transport.exchange(SentRequest("POST", "/p"), {}, PATIENT, SendGuard())
    seen = dict(headers_of(server.requests[0]))
    assert seen["content-length"] == "0"
    assert not {"content-type", "user-agent", "transfer-encoding"} & set(seen)


@on_loops
async def test_the_answer_comes_as_it_is_with_names_in_lower_case() -> None:
    told = (
        b"HTTP/1.1 201 Created\r\nX-Trace: 1\r\nRETRY-AFTER: 7\r\nX-Two: a\r\nx-two: b\r\n"
        b"X-Odd: caf\xe9 \xff\r\nContent-Length: 2\r\n\r\n\xff\x00"
    )
    async with listening(Server(told).serve) as url, engine_on(url) as transport:
        answer = await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert (answer.status_code, answer.body) == (201, b"\xff\x00")
    assert answer.headers == {
        "x-trace": "1",
        "retry-after": "7",
        "x-two": "a, b",
        "x-odd": "café ÿ",
        "content-length": "2",
    }
    assert str(answer.headers).encode()  # no lone surrogates


@on_loops
async def test_a_long_header_costs_an_answer_nothing() -> None:
    policy = b"x" * 60_000
    told = b"HTTP/1.1 201 Created\r\nX-Policy: " + policy + b"\r\nContent-Length: 2\r\n\r\n{}"
    async with listening(Server(told).serve) as url, engine_on(url) as transport:
        answer = await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert (answer.status_code, answer.body) == (201, b"{}")
    assert answer.headers["x-policy"] == policy.decode()


@on_loops
@pytest.mark.parametrize(
    "told",
    [
        b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(gzip.compress(b'{"a": 1}')), gzip.compress(b'{"a": 1}')),
        b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n5\r\n": 1}\r\n0\r\n\r\n',
    ],
    ids=["gzip", "chunked"],
)
async def test_an_answer_is_unpacked(told: bytes) -> None:
    server = Server(b"HTTP/1.1 200 OK\r\n" + told)
    async with listening(server.serve) as url, engine_on(url) as transport:
        answer = await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert answer.body == b'{"a": 1}'


@on_loops
async def test_what_a_server_says_before_its_answer_is_not_the_answer() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    server = Server(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + OK)
    async with listening(server.serve) as url, engine_on(url) as transport:
        answers = [await transport.exchange(POST, {}, PATIENT, SendGuard()) for _ in range(2)]
    assert [(one.status_code, one.body) for one in answers] == [(200, b"{}")] * 2
    assert (server.connections, len(server.requests)) == (1, 2)


@on_loops
async def test_redirects_are_not_followed_and_cookies_not_sent_back() -> None:
    elsewhere = Server()
    async with listening(elsewhere.serve) as other:
        server = Server(
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %b/\r\nSet-Cookie: sticky=node-7\r\n"
            b"Set-Cookie: b=2\r\nContent-Length: 0\r\n\r\n" % other.encode()
        )
        async with listening(server.serve) as url, engine_on(url) as transport:
            for _ in range(2):
                assert (await transport.exchange(POST, {}, PATIENT, SendGuard())).status_code == 307
    assert elsewhere.requests == []
    assert len(server.requests) == 2
    assert server.connections == 1
    assert b"cookie" not in server.requests[1].lower()


# When it leaves ----------------------------------------------------------------------------------


@on_loops
async def test_a_request_that_would_leave_too_late_is_kept_back() -> None:
    server = Server()
    async with listening(server.serve) as url, engine_on(url) as transport:
        for _ in range(2):  # on a new connection and on a kept one
            late = SendGuard(latest=anyio.current_time() - 1)
            with pytest.raises(ExchangeError) as caught:
                await transport.exchange(POST, {}, PATIENT, late)
            assert (caught.value.proof, caught.value.reason) == (Proof.NOT_SENT, "TooLate")
            await transport.exchange(GET, {}, PATIENT, SendGuard(latest=anyio.current_time() + 60))
        await transport.aclose()
        await until(lambda: server.open == 0)
    assert [sent[:3] for sent in server.requests] == [b"GET", b"GET"]


@on_loops
async def test_a_request_that_is_cancelled_before_its_first_byte_certainly_never_left() -> None:
    guard = SendGuard()
    server = Mute()
    async with listening(server.serve) as url, engine_on(url.replace("http", "https")) as transport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.exchange, POST, {}, PATIENT, guard)
            await until(lambda: server.open == 1)
            tasks.cancel_scope.cancel()
        await until(lambda: server.open == 0)
    assert not guard.may_have_been_sent


@on_loops
async def test_a_request_that_is_cancelled_before_it_began_certainly_never_left() -> None:
    guard = SendGuard()
    server = Server()
    async with listening(server.serve) as url, engine_on(url) as transport:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await transport.exchange(POST, {}, PATIENT, guard)
    assert not guard.may_have_been_sent
    assert server.requests == []


@on_loops
async def test_a_request_that_is_cancelled_after_its_first_byte_may_have_arrived() -> None:
    guard = SendGuard()
    server = Mute()
    async with listening(server.serve) as url, engine_on(url) as transport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.exchange, POST, {}, PATIENT, guard)
            await until(lambda: len(server.requests) == 1)
            tasks.cancel_scope.cancel()
        await until(lambda: server.open == 0)
    assert guard.may_have_been_sent


@on_loops
async def test_a_request_that_is_cancelled_while_its_answer_comes_may_have_arrived() -> None:
    answered = anyio.Event()

    async def half(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)
            await stream.send(CREATED + b'Content-Length: 99\r\n\r\n{"pay')
            answered.set()
            await anyio.sleep_forever()

    guard = SendGuard()
    async with (
        listening(half) as url,
        engine_on(url) as transport,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(transport.exchange, POST, {}, PATIENT, guard)
        await answered.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert guard.may_have_been_sent


@on_loops
async def test_calls_that_are_cancelled_at_any_moment_leave_nothing_behind() -> None:
    server = Server()
    impossible = 0
    async with listening(server.serve) as url, engine_on(url) as transport:
        for steps in range(40):
            guards = [SendGuard() for _ in range(4)]
            async with anyio.create_task_group() as tasks:
                for guard in guards:
                    tasks.start_soon(transport.exchange, POST, {}, PATIENT, guard)
                for _ in range(steps % 20):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            impossible += sum(not guard.may_have_been_sent for guard in guards)
            answer = await transport.exchange(GET, {}, PATIENT, SendGuard())
            assert answer.status_code == 200
        await until(lambda: server.open == len(transport._pool._idle))
        posts = [sent for sent in server.requests if sent.startswith(b"POST")]
        # What certainly never left is not there.
        assert len(posts) <= 160 - impossible
        assert impossible > 0
        assert posts
        await transport.aclose()
        await until(lambda: server.open == 0)


# Kept connections --------------------------------------------------------------------------------


def end(kept: socket.socket) -> None:
    """Close a connection on the server's side, in no time: the loop can't notice."""
    with socket.socket(fileno=os.dup(kept.fileno())) as same:  # uvloop's own has no `shutdown`
        same.shutdown(socket.SHUT_RDWR)


@on_loops
async def test_a_kept_connection_is_used_again() -> None:
    server = Server()
    async with listening(server.serve) as url, engine_on(url) as transport:
        for sent in (POST, GET, PUT, POST):
            await transport.exchange(sent, {}, PATIENT, SendGuard())
    assert server.connections == 1


@on_loops
async def test_a_kept_connection_that_ended_long_ago_costs_nothing() -> None:
    server = Server()
    async with listening(server.serve) as url, engine_on(url) as transport:
        await transport.exchange(POST, {}, PATIENT, SendGuard())
        end(server.sockets[0])
        await until(lambda: server.open == 0)
        await anyio.wait_all_tasks_blocked()
        answer = await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert answer.status_code == 200
    assert (server.connections, len(server.requests)) == (2, 2)


@on_loops
async def test_kept_connections_that_ended_just_now_cost_nothing_either() -> None:
    server = Server()
    left = []

    class Counted(SendGuard):
        def __call__(self) -> None:
            left.append(self)

    async with listening(server.serve) as url, engine_on(url) as transport:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(transport.exchange, POST, {}, PATIENT, SendGuard())
        assert server.connections == 3
        for kept in server.sockets:
            end(kept)
        answer = await transport.exchange(POST, {}, PATIENT, Counted())
        assert answer.status_code == 200
    assert (server.connections, len(server.requests), len(left)) == (4, 4, 1)


SURPLUS = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nstale"


@attrs.define
class Chatty(Server):
    """Says more than it was asked for, once its first answer has been read."""

    heard: anyio.Event = attrs.field(factory=anyio.Event)

    async def reply(self, stream: anyio.abc.ByteStream) -> None:
        await stream.send(self.answer)
        if len(self.requests) == 1:
            await self.heard.wait()
            await stream.send(SURPLUS)


@on_loops
async def test_what_nobody_asked_for_is_not_taken_for_the_next_answer() -> None:
    server = Chatty()
    async with listening(server.serve) as url, engine_on(url) as transport:
        await transport.exchange(POST, {}, PATIENT, SendGuard())
        server.heard.set()
        (kept,) = transport._pool._idle
        while not await kept.is_over():
            await anyio.lowlevel.checkpoint()
        answers = [await transport.exchange(POST, {}, PATIENT, SendGuard()) for _ in range(2)]
    assert [(one.status_code, one.body) for one in answers] == [(200, b"{}")] * 2
    assert (server.connections, len(server.requests)) == (2, 3)


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


@contextlib.asynccontextmanager
async def listening_over_tls(
    authority: trustme.CA, serve: Callable[[TLSStream], Awaitable[None]]
) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    listener = TLSListener(plain, context, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        port = plain.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, serve)
        yield f"https://localhost:{port}"
        tasks.cancel_scope.cancel()


@on_loops
async def test_the_environments_authorities_are_trusted(authority: trustme.CA) -> None:
    server = Server()
    async with listening_over_tls(authority, server.serve) as url, engine_on(url) as transport:
        for _ in range(3):
            answer = await transport.exchange(POST, {}, PATIENT, SendGuard())
            assert answer.status_code == 200
        assert server.connections == 1
        end(server.sockets[0])
        await transport.exchange(POST, {}, PATIENT, SendGuard())
        assert (server.connections, len(server.requests)) == (2, 4)


@on_loops
async def test_what_tls_sends_after_its_handshake_does_not_make_a_connection_look_closed(
    authority: trustme.CA,
) -> None:
    async def slow(*arguments: Any) -> Http1Connection:
        """Have the session tickets come in before the request is written."""
        connection = await http1.connect(*arguments)
        waiting = select.poll()
        waiting.register(connection._socket, select.POLLIN)
        waiting.poll(100)  # on uvloop they are in by now
        return connection

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            """On a thread: the loop has no time between the handshake and the request."""
            with context.wrap_socket(listener.accept()[0], server_side=True) as stream:
                seen = b""
                while b'{"a":1}' not in seen:  # what is left unread would reset the connection
                    seen += stream.recv(65_536)
                stream.sendall(OK)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        async with engine_on(url) as transport:
            transport._pool._connect = slow
            answer = await transport.exchange(POST, {}, Timeout(connect=10, read=10), SendGuard())
        await anyio.to_thread.run_sync(thread.join)
    assert answer.status_code == 200


@on_loops
async def test_an_authority_that_nobody_knows_is_not_sent(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    async with listening_over_tls(authority, Server().serve) as url:
        error = await failure(url)
    assert (error.proof, error.reason) == (Proof.NOT_SENT, "ConnectError")


# Proxies -----------------------------------------------------------------------------------------


@on_loops
async def test_it_goes_through_the_proxy_that_is_given() -> None:
    proxy = Server()
    async with (
        listening(proxy.serve) as url,
        engine_on(
            "http://service.invalid/c2p", proxy=httpx.Proxy(url, headers={"X-Team": "payments"})
        ) as transport,
    ):
        answer = await transport.exchange(
            SentRequest("GET", "/a%2Fb?x=%26"), {"Authorization": KEY}, PATIENT, SendGuard()
        )
    assert answer.status_code == 200
    first = b"GET http://service.invalid/c2p/a%2Fb?x=%26 HTTP/1.1\r\n"
    assert proxy.requests[0].startswith(first)
    seen = dict(headers_of(proxy.requests[0]))
    assert (seen["host"], seen["x-team"]) == ("service.invalid", "payments")
    assert seen["authorization"] == KEY
    assert "proxy-authorization" not in seen


@on_loops
@pytest.mark.parametrize("given", ["http://me:s%40cret@{}", httpx.Proxy], ids=["url", "object"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxys_user_and_password_are_told_to_it_and_to_nobody_else(
    given: Any, scheme: str
) -> None:
    proxy = Server(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    async with listening(proxy.serve) as url:
        address = url.removeprefix("http://")
        chosen = (
            given.format(address)
            if isinstance(given, str)
            else given(f"http://{address}", auth=("me", "s@cret"))
        )
        async with engine_on(f"{scheme}://service.invalid", proxy=chosen) as transport:
            with contextlib.suppress(ExchangeError):
                await transport.exchange(GET, {"Authorization": KEY}, PATIENT, SendGuard())
    seen = dict(headers_of(proxy.requests[0]))
    basic = base64.b64encode(b"me:s@cret").decode()
    assert seen["proxy-authorization"] == f"Basic {basic}"
    assert (seen.get("authorization") == KEY) is (scheme == "http")  # nothing in CONNECT


@on_loops
async def test_a_proxy_is_asked_for_a_tunnel_and_the_rest_is_for_the_service(
    authority: trustme.CA,
) -> None:
    asked: list[bytes] = []

    async def proxy(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            asked.append(await whole_request(stream))
            host, port = asked[-1].split()[1].decode().split(":")
            async with await anyio.connect_tcp(host, int(port)) as onward:
                await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(pump, stream, onward)
                    await pump(onward, stream)
                    tasks.cancel_scope.cancel()

    async def pump(one: anyio.abc.ByteStream, other: anyio.abc.ByteStream) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for piece in one:
                await other.send(piece)

    server = Server()
    async with (
        listening_over_tls(authority, server.serve) as url,
        listening(proxy) as through,
        engine_on(url, proxy=through.replace("//", "//me:secret@")) as transport,
    ):
        for _ in range(2):
            await transport.exchange(POST, {"Authorization": KEY}, PATIENT, SendGuard())
    assert len(asked) == 1
    assert asked[0].startswith(b"CONNECT localhost:")
    assert KEY.encode() not in asked[0]
    assert "proxy-authorization" in dict(headers_of(asked[0]))
    assert [sent.split()[1] for sent in server.requests] == [b"/api/v2/chat-2-pay"] * 2
    assert b"proxy-authorization" not in server.requests[0].lower()


@on_loops
async def test_the_environments_proxy_is_used_but_for_what_is_exempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = Server(answer=b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    url = f"https{nobody_listening()[4:]}"
    async with listening(proxy.serve) as through:
        monkeypatch.setenv("HTTPS_PROXY", through)
        for exempt, reason in (("192.0.2.0/24", "ProxyError"), ("127.0.0.0/8", "ConnectError")):
            monkeypatch.setenv("NO_PROXY", exempt)
            async with engine_on(url) as transport:
                with pytest.raises(ExchangeError, match=reason):
                    await transport.exchange(GET, {}, PATIENT, SendGuard())
    assert len(proxy.requests) == 1


def test_a_header_for_the_proxy_that_it_cant_carry_is_refused_without_showing_it() -> None:
    proxy = httpx.Proxy("http://p.test", headers={"X-Token": "secret\r\nX-More: 1"})
    with pytest.raises(ConfigurationError, match="a header for the proxy") as caught:
        FastTransport("https://a.test", proxy=proxy)
    assert "secret" not in str(caught.value)


@on_loops
async def test_a_proxys_password_is_in_no_variable_that_a_traceback_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")
    async with engine_on("https://a.test", proxy="http://me:hunter2@p.test") as transport:
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(GET, {}, PATIENT, SendGuard())
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(told.format())
    assert "_context" in shown
    assert "hunter2" not in shown
    assert base64.b64encode(b"me:hunter2").decode() not in shown


# Setting up and closing --------------------------------------------------------------------------


def test_a_client_is_made_over_it_by_its_name() -> None:
    transport = transport_for("https://a.test", transport="fast")
    assert isinstance(transport, FastTransport)


def test_it_and_a_client_of_the_users_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        AsyncChat2Pay(KEY, transport="fast", http_client=httpx.AsyncClient())


def test_http2_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"chat2pay-async\[http2\]"):
        AsyncChat2Pay(KEY, transport="fast", http2=True)


@on_loops
async def test_it_is_closed_unused_and_twice() -> None:
    server = Server()
    async with listening(server.serve) as url:
        unused = FastTransport(url)
        await unused.aclose()
        transport = FastTransport(url)
        await transport.exchange(GET, {}, PATIENT, SendGuard())
        await transport.aclose()
        await transport.aclose()
        await until(lambda: server.open == 0)


@on_loops
async def test_what_is_under_way_when_it_is_closed_is_unknown_and_what_comes_later_not_sent() -> (
    None
):
    server = Mute()
    verdicts: list[Proof] = []

    async def call(transport: FastTransport) -> None:
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, PATIENT, SendGuard())
        verdicts.append(caught.value.proof)

    async with listening(server.serve) as url, engine_on(url) as transport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, transport)
            await until(lambda: len(server.requests) == 1)
            await transport.aclose()
        await call(transport)
    assert verdicts == [Proof.UNKNOWN, Proof.NOT_SENT]


@on_loops
async def test_a_wait_for_the_rest_of_a_response_ends_when_the_client_is_closed() -> None:
    begun = anyio.Event()

    async def half(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)
            await stream.send(CREATED + b'Content-Length: 99\r\n\r\n{"pay')
            begun.set()
            await anyio.sleep_forever()

    proofs: list[Proof] = []

    async def call(transport: FastTransport) -> None:
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, PATIENT, SendGuard())
        proofs.append(caught.value.proof)

    async with listening(half) as url, engine_on(url) as transport:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, transport)
                await begun.wait()
                await anyio.wait_all_tasks_blocked()
                await transport.aclose()
    assert proofs == [Proof.UNKNOWN]


# End to end --------------------------------------------------------------------------------------


def request_for(order_number: str, **fields: Any) -> PaymentLinkRequest:
    given = {
        "channel": "sms",
        "to": PHONE,
        "order_number": order_number,
        "currency": "ZAR",
        "total_amount": "199.90",
        "transaction_type": "authorization",
    }
    return PaymentLinkRequest(**(given | fields))


def client_of(sandbox: Sandbox, *, settle: float = 0.3, **settings: Any) -> AsyncChat2Pay:
    return AsyncChat2Pay(
        sandbox.api_key,
        base_url=sandbox.url,
        transport="fast",
        retry=RetryPolicy(settle=settle, initial=0.01, maximum=0.1),
        **{"timeout": Timeout(read=1.0)} | settings,  # a lost response is looked up for that long
    )


async def paid(client: AsyncChat2Pay, sandbox: Sandbox, order: str) -> str:
    ref = (await client.create_payment_link(request_for(order))).payment_link_ref or ""
    sandbox.pay(ref)
    return ref


@on_loops
async def test_the_eight_operations() -> None:
    async with serve_sandbox() as sandbox, client_of(sandbox) as client:
        link = await client.create_payment_link(request_for("A-1", return_payment_link=True))
        assert (link.payment_link or "").startswith("http")
        assert (await client.cancel_payment_link(link.payment_link_ref or "")).payment_link_ref
        ref = await paid(client, sandbox, "A/2 é")
        assert (await client.capture_payment(ref, "100.00")).succeeded
        assert (await client.create_receipt(ref, "https://shop.test/r/1")).receipt_link_ref
        assert (await client.reverse_payment(ref)).succeeded
        transaction = await client.get_transaction(order_number="A/2 é")
        assert transaction.payment_link_ref == ref
        configuration = await client.get_configuration()
        application = configuration.integrators[0].application_id or ""
        updated = await client.update_integration(application, IntegrationStatus.DEACTIVATED)
        assert not updated.recovered
        ledger = sandbox.ledger
    counted = [ledger.count(kind) for kind in ("link_created", "link_cancelled", "captured")]
    assert counted == [2, 1, 1]


LOST: list[FaultKind] = ["drop_after", "reset_after", "truncated", "html"]
NEVER_APPLIED: list[FaultKind] = ["drop_before", "reset_before"]


async def meet(kind: FaultKind) -> None:
    """Lose the answers to a create and to a capture."""
    async with serve_sandbox() as sandbox, client_of(sandbox) as client:
        sandbox.next_faults("create_payment_link", [kind])
        link = await client.create_payment_link(request_for(kind))
        assert link.recovered is (kind in LOST), kind
        sandbox.pay(link.payment_link_ref or "")
        sandbox.next_faults("capture_payment", [kind])
        capture = await client.capture_payment(link.payment_link_ref or "")
        assert capture.succeeded, kind
        assert capture.recovered is (kind in LOST), kind
    ledger = sandbox.ledger
    assert ledger.count("link_created") == ledger.count("captured") == 1
    assert sum(ledger.faults.values()) == 2


@on_loops
async def test_answers_that_are_lost_are_found_again() -> None:
    async with anyio.create_task_group() as at_once:
        for kind in (*LOST, *NEVER_APPLIED):
            at_once.start_soon(meet, kind)


@on_loops
async def test_an_integration_that_was_deleted_unheard_is_not_said_to_be_missing() -> None:
    async with serve_sandbox() as sandbox, client_of(sandbox) as client:
        application = (await client.get_configuration()).integrators[0].application_id or ""
        sandbox.next_faults("update_integration", ["drop_after"])
        deleted = await client.update_integration(application, IntegrationStatus.DELETED)
    assert deleted.recovered


@on_loops
async def test_a_campaign_in_which_everything_breaks_makes_each_link_once() -> None:
    kinds = (*LOST, *NEVER_APPLIED)
    plan = FaultPlan(tuple(InjectedFault(kind, 0.06, operations=POSTS) for kind in kinds), seed=11)
    orders = [f"A-{number}" for number in range(300)]
    told: dict[str, str | None] = {}
    async with (
        serve_sandbox(Sandbox(faults=plan)) as sandbox,
        client_of(sandbox) as client,
    ):
        requests = [request_for(order) for order in orders]
        async with bulk.create_payment_links(client, requests, concurrency=32) as run:
            async for outcome in run:
                if outcome.state is bulk.State.UNKNOWN:
                    assert isinstance(outcome.error, OutcomeUnknownError)
                    resolution = await client.resolve(outcome.error.pending)
                    made = resolution.verdict is Verdict.APPLIED
                else:
                    made = outcome.state is bulk.State.APPLIED
                told[outcome.key] = sandbox.ref_of(outcome.key) if made else None
                if outcome.result is not None:
                    assert outcome.result.payment_link_ref == told[outcome.key]
        ledger = sandbox.ledger
    effects = {order: ledger.count("link_created", order_number=order) for order in orders}
    assert not ledger.twice("link_created")
    assert max(effects.values()) == 1
    assert {order: int(ref is not None) for order, ref in told.items()} == effects
    fired = {kind for (_operation, kind), count in ledger.faults.items() if count}
    assert fired == set(kinds)
    assert sum(ledger.faults.values()) >= 60
    assert run.summary.recovered >= 20
    assert sum(effects.values()) >= 280


# Secrets -----------------------------------------------------------------------------------------

PACKAGE = str(Path(chat2pay_async.__file__).parent)


def told_by(error: BaseException | None) -> Iterator[str]:
    """All that an error and its causes show, with the local variables of our own frames."""
    while error is not None:
        yield f"{error!r} {error}"
        for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
            if frame.filename.startswith(PACKAGE):
                yield repr(frame.locals)
        error = error.__cause__


@on_loops
@pytest.mark.parametrize("how", BREAKS)
async def test_no_error_shows_the_key_or_a_number(how: str) -> None:
    async with (
        listening(breaking(how)) as url,
        AsyncChat2Pay(
            KEY,
            base_url=url,
            transport="fast",
            retry=RetryPolicy(max_attempts=1, settle=0),
            timeout=Timeout(read=0.5),
        ) as client,
    ):
        with pytest.raises(Chat2PayError) as caught:
            await client.create_payment_link(request_for("A-1"))
        shown = [*told_by(caught.value), repr(client), repr(vars(client))]
    assert len(shown) > 4
    assert [secret for secret in (KEY, PHONE) for text in shown if secret in text] == []


@on_loops
async def test_a_proxy_that_refuses_does_not_have_its_password_shown() -> None:
    proxy = Server(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    async with listening(proxy.serve) as url:
        error = await failure("https://service.invalid", proxy=url.replace("//", "//me:secret@"))
    basic = base64.b64encode(b"me:secret").decode()
    text = "\n".join(told_by(error))
    assert error.reason == "ProxyError"
    assert "secret" not in text
    assert basic not in text
