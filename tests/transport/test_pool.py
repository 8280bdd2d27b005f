from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib.util
import itertools
import random
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import attrs
import churn
import httpcore
import httpx
import pytest
import respx
from anyio.from_thread import start_blocking_portal
from names import Resolver, at, patient
from sockets import GET, PATIENT

from chat2pay_async import ConfigurationError, Proof
from chat2pay_async import _eventloop as clock
from chat2pay_async._transport.base import SendGuard
from chat2pay_async._transport.fast import FastTransport
from chat2pay_async._transport.httpx import classify
from chat2pay_async._transport.pool import KEEPALIVE_EXPIRY, Pool, PooledTransport, _end_of

pytestmark = pytest.mark.anyio

HANG = 30.0
"""No test takes so long; it fails instead of hanging."""

CERTIFICATES = churn.Certificates.issue()
SERVER = churn.slow_server(random.Random(0), 0.0)  # noqa: S311 - a load
BODY = churn.BODY


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    """The tests' own sockets are all that counts, and no proxy is in the way."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        yield


@attrs.define
class Bench:
    """A client over the pool, what it opened, and where its server is."""

    client: httpx.AsyncClient
    transport: PooledTransport
    spy: churn.Spy
    url: str

    async def call(self, **extensions: Any) -> httpx.Response:
        with anyio.fail_after(HANG):
            return await self.client.post(self.url, content=b'{"a":1}', extensions=extensions)

    async def failure(self, **extensions: Any) -> Exception:
        """Return what a call fails with, and whether the transport would take it for unsent."""
        request = self.client.build_request(
            "POST", self.url, content=b'{"a":1}', extensions=extensions
        )
        with anyio.fail_after(HANG), pytest.raises(httpx.RequestError) as caught:
            await self.client.send(request)
        assert caught.value.request is request
        return caught.value

    async def calls(self, number: int) -> None:
        good = await churn.succeed(self.client, self.url, number)
        assert good == number


@contextlib.asynccontextmanager
async def bench_at(
    url: str,
    *,
    timeout: Any = 5.0,  # noqa: ASYNC109 - the client's
    slots: int = 100,
    **arguments: Any,
) -> AsyncIterator[Bench]:
    settings: dict[str, Any] = {"ssl_context": CERTIFICATES.client, "trust_env": False}
    transport = PooledTransport(url, **(settings | arguments))
    in_front = churn.Slotted(transport, slots)
    with churn.Spy(transport) as spy:
        async with httpx.AsyncClient(transport=in_front, timeout=timeout) as client:
            yield Bench(client, transport, spy, url)
    assert spy.open == 0


@contextlib.asynccontextmanager
async def bench(way: str = "plain", serve: Any = SERVER, **arguments: Any) -> AsyncIterator[Bench]:
    async with churn.served(way, CERTIFICATES, serve) as (url, proxy):
        settings = {} if proxy is None else {"proxy": proxy}
        async with bench_at(url, **(settings | arguments)) as made:
            yield made


def pool_of(made: Bench) -> Pool:
    return made.spy.pool


async def until(so: Callable[[], bool]) -> None:
    """Poll: what the other side of a socket does, no event tells of."""
    with anyio.fail_after(HANG):
        while not so():  # noqa: ASYNC110
            await anyio.sleep(0.001)


class Noting(SendGuard, kw_only=True):
    """A guard that notes when it lets a request leave."""

    log: list[str]
    act: Callable[[], object] = lambda: None

    def __call__(self) -> None:
        self.log.append("written")
        self.act()


def proof_of(error: Exception) -> Proof:
    assert isinstance(error, httpx.RequestError)
    return classify(error, error.request).proof


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


ways = pytest.mark.parametrize("way", churn.WAYS)


# Handing out --------------------------------------------------------------------------------------


@ways
async def test_a_connection_is_used_again(way: str) -> None:
    async with bench(way) as made:
        for _ in range(3):
            assert (await made.call()).content == BODY
        assert (made.spy.connected, made.spy.open) == (1, 1)


@ways
async def test_there_are_no_more_connections_than_requests_at_a_time(way: str) -> None:
    async with bench(way, slots=3) as made:
        await made.calls(30)
        assert (made.spy.connected, made.spy.most_open) == (3, 3)


class Gatekeeper:
    """A server that holds answers back until it is told to let them go."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.open = anyio.Event()

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        held = b""
        while True:
            head, held = await churn.read_head(stream, held)
            self.seen.append(head.split()[1])
            await self.open.wait()
            await stream.send(churn.ANSWER + BODY)

    async def has_seen(self, number: int) -> None:
        with anyio.fail_after(HANG):
            await until(lambda: len(self.seen) >= number)


async def test_the_connection_that_was_used_last_is_used_first() -> None:
    may_answer = {path: anyio.Event() for path in (b"/0", b"/1", b"/2")}
    connections = itertools.count()
    took: list[int] = []
    """The number of the connection of each request."""
    answers: list[httpx.Response] = []

    async def serve(stream: anyio.abc.ByteStream) -> None:
        held, number = b"", next(connections)
        while True:
            head, held = await churn.read_head(stream, held)
            await may_answer[head.split()[1]].wait()
            took.append(number)
            await stream.send(churn.ANSWER + BODY)

    async with bench(serve=serve) as made:

        async def call(path: str) -> None:
            answers.append(await made.client.get(made.url + path))

        async with anyio.create_task_group() as tg:
            for path in "012":
                tg.start_soon(call, path)
            for number, gate in enumerate(may_answer.values()):
                gate.set()
                with anyio.fail_after(HANG):
                    await until(lambda number=number: len(answers) > number)  # type: ignore[misc]
        await call("0")
        assert made.spy.connected == 3
    assert took[3] == took[2]


async def test_a_request_to_another_origin_is_not_sent() -> None:
    async with bench() as made:
        made.url = "http://elsewhere.test/"
        error = await made.failure()
        assert (type(error), proof_of(error)) == (httpx.UnsupportedProtocol, Proof.NOT_SENT)
        assert made.spy.connected == 0


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://faß.test", "xn--fa-hia.test", 443),
        ("http://[::1]:8080/c2p", "::1", 8080),
        ("http://a.test", "a.test", 80),
    ],
)
def test_a_host_is_asked_for_by_the_name_that_its_url_stands_for(
    url: str, host: str, port: int
) -> None:
    pool = Pool(httpx.URL(url))
    assert (pool._host, pool._port) == (host, port)


def test_a_proxy_that_cant_be_used_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a proxy's URL"):
        PooledTransport("https://a.test", proxy="ftp://p")


async def test_http2_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"chat2pay-async\[http2\]"):
        PooledTransport("https://a.test", http2=True)


# Keeping ------------------------------------------------------------------------------------------


@ways
async def test_a_connection_that_was_idle_for_too_long_is_closed_and_not_used(way: str) -> None:
    async with bench(way, keepalive_expiry=0) as made:
        await made.call()
        assert made.spy.open == 0
        await made.call()
        assert made.spy.connected == 2


async def test_one_that_expires_while_nothing_happens_is_not_used() -> None:
    async with bench(keepalive_expiry=0.02) as made:
        await made.call()
        assert made.spy.open == 1
        await anyio.sleep(0.03)
        await made.call()
        assert (made.spy.connected, made.spy.most_open) == (2, 1)


async def test_connections_that_are_made_at_a_time_share_a_look_up(
    monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str
) -> None:
    async with bench() as made:
        port = httpx.URL(made.url).port or 0
        resolver = Resolver([at(port)], patient(0.05))
        resolver.put_in_place(monkeypatch)
        for http2 in (False, True):  # that is: by httpcore
            async with bench_at(f"http://host.test:{port}/", http2=http2) as named:
                await named.calls(20)
                assert named.spy.connected == 20, anyio_backend_name
    assert resolver.look_ups == 2


async def test_a_name_that_led_nowhere_is_looked_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as made:
        port = httpx.URL(made.url).port or 0
        resolver = Resolver([at(int(closed_port().rpartition(":")[2]))])
        resolver.put_in_place(monkeypatch)
        async with bench_at(f"http://host.test:{port}/") as named:
            assert type(await named.failure()) is httpx.ConnectError
            resolver.found = [at(port)]
            await named.call()
    assert resolver.look_ups == 2


async def test_a_proxys_name_is_what_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = Refuser()
    async with churn.listening(refusing.serve) as port:
        resolver = Resolver([at(port)])
        resolver.put_in_place(monkeypatch)
        proxy = f"http://proxy.test:{port}"
        async with bench_at("https://service.test/", proxy=proxy) as made:
            assert type(await made.failure()) is httpx.ProxyError
    assert (resolver.look_ups, len(refusing.heads)) == (1, 1)


@pytest.mark.parametrize(
    ("proxy", "port"),
    [("http://p", 80), ("https://p", 443), ("socks5://p", 1080), ("http://p:3", 3)],
)
def test_a_proxy_has_the_port_of_its_kind_unless_its_url_names_one(proxy: str, port: int) -> None:
    url = httpx.URL(proxy)
    as_httpcore = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/")
    assert _end_of(as_httpcore) == ("p", port)


def test_a_connection_is_given_up_before_the_usual_servers_close_it() -> None:
    uvicorn_and_node = 5.0
    assert 0 < KEEPALIVE_EXPIRY < uvicorn_and_node


class OneAnswer:
    """A server that answers once on each connection, and hangs up without a word."""

    def __init__(self, head: bytes = churn.ANSWER) -> None:
        self._head = head

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        await churn.read_head(stream)
        await stream.send(self._head + BODY)
        await stream.aclose()


@ways
async def test_a_connection_that_the_server_closed_is_noticed_before_it_is_used(way: str) -> None:
    server = OneAnswer()
    async with bench(way, server.serve) as made:
        for number in range(1, 4):
            await made.call()
            with anyio.fail_after(HANG):
                while not all([await one.is_over() for one in pool_of(made)._open]):
                    await anyio.lowlevel.checkpoint()
            assert made.spy.connected == number
        assert made.spy.most_open == 1


@ways
async def test_what_came_in_beside_an_answer_is_not_taken_for_the_next_one(way: str) -> None:
    surplus = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nstale"

    async def chatty(stream: anyio.abc.ByteStream) -> None:
        held = b""
        while True:
            _, held = await churn.read_head(stream, held)
            await stream.send(churn.ANSWER + BODY + surplus)  # all in one packet

    async with bench(way, chatty) as made:
        answers = [await made.call() for _ in range(3)]
        assert [(one.status_code, one.content) for one in answers] == [(200, BODY)] * 3
        assert (made.spy.connected, made.spy.open) == (3, 0)


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="its kernel sends each piece at once")
@ways
async def test_nor_is_what_came_in_a_record_of_its_own_beside_an_answer(way: str) -> None:
    """A layer of TLS may have read it already, where no look at the socket shows it."""
    surplus = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nstale"

    async def chatty(stream: anyio.abc.ByteStream) -> None:
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        held = b""
        while True:
            _, held = await churn.read_head(stream, held)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            await stream.send(churn.ANSWER + BODY)
            await stream.send(surplus)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)  # both in one packet

    async with bench(way, chatty) as made:
        answers = [await made.call() for _ in range(3)]
        assert [(one.status_code, one.content) for one in answers] == [(200, BODY)] * 3
        assert made.spy.connected == 3
        assert made.spy.most_open == 1


async def test_a_connection_that_the_server_says_it_will_close_is_closed() -> None:
    server = OneAnswer(churn.ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    async with bench(serve=server.serve) as made:
        await made.call()
        assert made.spy.open == 0


@ways
async def test_closing_closes_everything_and_may_be_repeated(way: str) -> None:
    gate = Gatekeeper()
    gate.open.set()
    async with bench(way, gate.serve) as made:
        await made.calls(3)
        gate.open = anyio.Event()
        async with anyio.create_task_group() as tg:
            tg.start_soon(made.failure)
            await gate.has_seen(4)
            assert made.spy.open == 3
            await made.transport.aclose()
            assert made.spy.open == 0
            await made.transport.aclose()
        error = await made.failure()
        assert type(error) is httpx.ConnectError
        gate.open.set()


async def test_closing_that_is_cancelled_closes_everything_all_the_same(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio has no such way to cancel")
    gate = Gatekeeper()
    gate.open.set()
    async with bench("plain", gate.serve) as made:
        gate.open = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(made.call)
            await gate.has_seen(3)
            gate.open.set()
        assert made.spy.open == 3
        closing = asyncio.create_task(made.transport.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert made.spy.open == 0


async def test_a_client_that_is_left_closes_the_connections() -> None:
    async with bench() as made:
        async with httpx.AsyncClient(transport=made.transport) as client:
            assert (await client.get(made.url)).content == BODY
            assert made.spy.open == 1
        assert made.spy.open == 0


async def test_what_is_read_to_its_end_after_closing_is_not_kept() -> None:
    async with bench() as made:
        await made.call(
            first_byte=Noting(log=[], act=lambda: setattr(pool_of(made), "_closed", True))
        )
        assert made.spy.open == 0


async def test_what_is_closed_while_it_is_looked_at_is_not_used() -> None:
    async with bench() as made:
        await made.call()
        (connection,) = pool_of(made)._idle

        async def is_over() -> bool:
            await made.transport.aclose()
            return False

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection, "is_over", is_over)
            error = await made.failure()
        assert (type(error), made.spy.connected) == (httpx.ConnectError, 1)


async def test_what_is_connected_when_all_has_been_closed_is_closed_too() -> None:
    async with bench() as made:
        connect = pool_of(made)._connect

        async def slowly(*arguments: Any) -> Any:
            connection = await connect(*arguments)
            await made.transport.aclose()
            return connection

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool_of(made), "_connect", slowly)
            patch.setattr(made.spy, "connect_tcp", slowly_by_httpcore(made))
            error = await made.failure()
        assert (type(error), proof_of(error)) == (httpx.ConnectError, Proof.NOT_SENT)
        assert (made.spy.connected, made.spy.open) == (1, 0)


def slowly_by_httpcore(made: Bench) -> Callable[..., Awaitable[Any]]:
    connect = made.spy.connect_tcp

    async def slowly(*arguments: Any) -> Any:
        stream = await connect(*arguments)
        await made.transport.aclose()
        return stream

    return slowly


# What was sent, and what was not ------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nobody_there_is_not_sent(scheme: str) -> None:
    async with bench_at(f"{scheme}://{closed_port()}/") as made:
        error = await made.failure()
    assert type(error) is httpx.ConnectError


async def garble(stream: anyio.abc.ByteStream) -> None:
    await stream.receive()
    await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def keep_silent(stream: anyio.abc.ByteStream) -> None:
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            await stream.receive()


async def hang_up(stream: anyio.abc.ByteStream) -> None:
    await stream.receive()


async def refuse(stream: anyio.abc.ByteStream) -> None:
    await churn.read_head(stream)
    await stream.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


async def half_answer(stream: anyio.abc.ByteStream) -> None:
    await churn.read_head(stream)
    await stream.send(churn.ANSWER + b'{"o')


SILENT = {keep_silent: httpx.Timeout(HANG, connect=0.05, read=0.05)}
"""Only who waits for what never comes waits for a short time: a machine can be slow."""


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (garble, httpx.ConnectError),
        (hang_up, httpx.ConnectError),
        (keep_silent, httpx.ConnectTimeout),
    ],
)
async def test_a_tls_handshake_that_fails_is_not_sent(serve: Any, kind: type[Exception]) -> None:
    calls: list[str] = []
    async with (
        churn.listening(serve) as port,
        bench_at(f"https://127.0.0.1:{port}/", timeout=SILENT.get(serve, HANG)) as made,
    ):
        error = await made.failure(first_byte=Noting(log=calls))
        assert made.spy.open == 0
    assert (type(error), proof_of(error), calls) == (kind, Proof.NOT_SENT, [])


async def test_a_server_that_is_not_trusted_gets_nothing() -> None:
    async with bench("TLS", ssl_context=ssl.create_default_context()) as made:
        error = await made.failure()
        assert made.spy.open == 0
    assert type(error) is httpx.ConnectError


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (refuse, httpx.ProxyError),
        (hang_up, httpx.ConnectError),
        (keep_silent, httpx.ConnectTimeout),
    ],
)
async def test_a_proxy_that_fails_is_not_sent(serve: Any, kind: type[Exception]) -> None:
    calls: list[str] = []
    async with churn.listening(serve) as port:
        proxy = f"http://127.0.0.1:{port}"
        async with bench_at(
            "https://127.0.0.1:1/", timeout=SILENT.get(serve, HANG), proxy=proxy
        ) as made:
            error = await made.failure(first_byte=Noting(log=calls))
            assert made.spy.open == 0
    assert (type(error), proof_of(error), calls) == (kind, Proof.NOT_SENT, [])


@ways
async def test_a_request_that_cant_be_written_is_not_sent(way: str) -> None:
    async with bench(way, slots=1) as made:
        request = made.client.build_request("GET", made.url, headers={"X-Bad": "a\nb"})
        with pytest.raises(httpx.ConnectError, match="header value"):
            await made.client.send(request)
        await made.call()


@ways
@pytest.mark.parametrize(
    ("serve", "kinds"),
    [
        (hang_up, (httpx.RemoteProtocolError, httpx.ReadError)),
        (keep_silent, (httpx.ReadTimeout,)),
        (half_answer, (httpx.RemoteProtocolError, httpx.ReadError)),
    ],
)
async def test_what_ends_after_the_first_byte_may_have_arrived(
    way: str, serve: Any, kinds: tuple[type[Exception], ...]
) -> None:
    calls: list[str] = []
    limits = httpx.Timeout(HANG, read=0.2 if serve is keep_silent else HANG)
    async with bench(way, serve, timeout=limits) as made:
        error = await made.failure(first_byte=Noting(log=calls))
        assert made.spy.open == 0
    assert isinstance(error, kinds)
    assert (proof_of(error), calls) == (Proof.UNKNOWN, ["written"])


@ways
async def test_the_first_byte_is_told_of_right_before_it_leaves(way: str) -> None:
    log: list[str] = []

    async def serve(stream: anyio.abc.ByteStream) -> None:
        await churn.read_head(stream)
        log.append("arrived")
        await stream.send(churn.ANSWER + BODY)
        await churn.read_head(stream)
        log.append("arrived")
        await stream.send(churn.ANSWER + BODY)

    async with bench(way, serve) as made:
        for _ in range(2):
            await made.call(first_byte=Noting(log=log))
        await_one = ["written", "arrived"]
        assert (log, made.spy.connected) == (await_one * 2, 1)


@ways
async def test_what_is_raised_when_told_of_the_first_byte_keeps_it_from_leaving(way: str) -> None:
    class Refusing(SendGuard):
        def __call__(self) -> None:
            raise ValueError("no")

    async with bench(way, slots=1) as made:
        with pytest.raises(ValueError, match="no"):
            await made.call(first_byte=Refusing())
        await made.call()


# TLS and HTTP/2 -----------------------------------------------------------------------------------


async def test_the_context_for_tls_is_made_once_and_only_where_there_is_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_with: list[Any] = []

    def make(**arguments: Any) -> ssl.SSLContext:
        made_with.append(arguments)
        context: ssl.SSLContext = CERTIFICATES.client
        return context

    monkeypatch.setattr(httpx, "create_ssl_context", make)
    async with bench(ssl_context=None) as made:
        await made.calls(3)
    assert made_with == []
    async with bench("TLS", ssl_context=None) as made:
        await made.calls(3)
    assert made_with == [{"trust_env": False}]


async def test_certificates_that_cant_be_read_are_said_so_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    async with bench("TLS", ssl_context=None, trust_env=True) as made:
        error = await made.failure()
    assert type(error) is httpx.ConnectError
    assert "SSL_CERT_FILE" in str(error)


async def serve_http2(stream: anyio.abc.ByteStream) -> None:
    config = pytest.importorskip("h2.config").H2Configuration(client_side=False)
    connection = pytest.importorskip("h2.connection").H2Connection(config)
    connection.initiate_connection()
    await stream.send(connection.data_to_send())
    while True:
        for event in connection.receive_data(await stream.receive()):
            if type(event).__name__ == "StreamEnded":
                await anyio.sleep(0.01)
                connection.send_headers(event.stream_id, [(":status", "200")])
                connection.send_data(event.stream_id, BODY, end_stream=True)
        await stream.send(connection.data_to_send())


async def test_http2_is_spoken_one_request_on_a_connection() -> None:
    pytest.importorskip("h2")
    certificates = churn.Certificates.issue()
    certificates.server.set_alpn_protocols(["h2", "http/1.1"])
    noted: list[str] = []
    async with (
        churn.served("TLS", certificates, serve_http2) as (url, _),
        bench_at(url, http2=True, ssl_context=certificates.client) as made,
    ):
        for _ in range(2):
            answer = await made.call(first_byte=Noting(log=noted))
            assert (answer.http_version, answer.content) == ("HTTP/2", BODY)
        assert (made.spy.connected, noted) == (1, ["written"] * 2)
        await made.calls(3)
        assert (made.spy.connected, made.spy.open) == (3, 3)


async def test_the_fast_transport_speaks_http2_too() -> None:
    pytest.importorskip("h2")
    certificates = churn.Certificates.issue()
    certificates.server.set_alpn_protocols(["h2"])
    async with churn.served("TLS", certificates, serve_http2) as (url, _):
        transport = FastTransport(url, http2=True)
        transport._pool._ssl_context = certificates.client
        for _ in range(2):
            guard = SendGuard()
            with anyio.fail_after(HANG):
                response = await transport.exchange(GET, {}, PATIENT, guard)
            assert (response.status_code, response.body) == (200, BODY)
            assert guard.last_byte is not None
        await transport.aclose()


NO_ERROR, ENHANCE_YOUR_CALM = 0, 11
EVERY_STREAM = 2**31 - 1


def goaway(last_stream: int, code: int = NO_ERROR, words: bytes = b"") -> bytes:
    """A GOAWAY frame, as bytes: h2 could not go on after one of its own."""
    head = (8 + len(words)).to_bytes(3, "big") + b"\x07\x00\x00\x00\x00\x00"
    return head + last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + words


@attrs.define
class EndingServer:
    """An HTTP/2 server that says after some responses that it ends."""

    goes_away: Callable[[int], list[bytes]]
    """Bytes that it sends, for a request's stream, before its response; in pieces."""
    responds: bool = True
    requests: int = 0

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        config = pytest.importorskip("h2.config").H2Configuration(client_side=False)
        connection = pytest.importorskip("h2.connection").H2Connection(config)
        connection.initiate_connection()
        while True:
            for event in connection.receive_data(await stream.receive()):
                if type(event).__name__ == "StreamEnded":
                    self.requests += 1
                    for piece in self.goes_away(event.stream_id):
                        await stream.send(connection.data_to_send() + piece)
                        await anyio.sleep(0.005)  # it is to come in pieces
                    if not self.responds:
                        return
                    connection.send_headers(event.stream_id, [(":status", "200")])
                    connection.send_data(event.stream_id, BODY, end_stream=True)
            await stream.send(connection.data_to_send())


@contextlib.asynccontextmanager
async def bench_of(server: EndingServer) -> AsyncIterator[Bench]:
    certificates = churn.Certificates.issue()
    certificates.server.set_alpn_protocols(["h2"])
    async with (
        churn.served("TLS", certificates, server.serve) as (url, _),
        bench_at(url, http2=True, ssl_context=certificates.client) as made,
    ):
        yield made


@pytest.mark.parametrize("stream", [None, EVERY_STREAM], ids=["ours", "every"])
async def test_a_server_that_ends_in_good_order_costs_no_request(stream: int | None) -> None:
    server = EndingServer(lambda ours: [goaway(stream or ours, words=b"bye")] if ours == 3 else [])
    async with bench_of(server) as made:
        for _ in range(6):
            assert (await made.call()).content == BODY
        assert (server.requests, made.spy.connected, made.spy.open) == (6, 3, 0)


@pytest.mark.parametrize("cut", [1, 8, 9, 12, 16, 19])
async def test_a_goaway_may_come_in_pieces(cut: int) -> None:
    whole = goaway(1, words=b"bye")
    server = EndingServer(lambda _: [whole[:cut], whole[cut:]])
    async with bench_of(server) as made:
        for _ in range(2):
            assert (await made.call()).content == BODY
        assert made.spy.connected == 2


@pytest.mark.parametrize(
    ("says", "responds"),
    [
        pytest.param(goaway(1), False, id="and closes without a response"),
        pytest.param(goaway(0), True, id="before this request"),
        pytest.param(goaway(1, ENHANCE_YOUR_CALM), True, id="for an error"),
        pytest.param(goaway(1)[:2] + b"\x04" + goaway(1)[3:13], True, id="in too short a frame"),
    ],
)
async def test_any_other_goaway_leaves_the_outcome_unknown(says: bytes, responds: bool) -> None:  # noqa: FBT001
    server = EndingServer(lambda _: [says], responds=responds)
    async with bench_of(server) as made:
        error = await made.failure()
        assert proof_of(error) is Proof.UNKNOWN
        assert (server.requests, made.spy.connected, made.spy.open) == (1, 1, 0)


async def test_where_http2_is_offered_and_not_taken_its_frames_are_not_looked_for() -> None:
    async with bench("TLS", http2=True) as made:
        for _ in range(2):
            assert (await made.call()).http_version == "HTTP/1.1"
        assert made.spy.connected == 1


# What nobody closes -------------------------------------------------------------------------------


def sockets_of(transport: PooledTransport) -> list[Any]:
    """The sockets of a transport; a spy's look at them would keep it."""
    pool: Pool = transport._pool.pool  # type: ignore[attr-defined]
    return [getattr(one, "_raw", None) or one._socket for one in pool._open]


def test_a_connection_that_expires_within_a_rounding_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = PooledTransport("http://s.test", trust_env=False).pool
    waits = list[float]()
    monkeypatch.setattr(clock, "now", lambda: 12.0 - 1e-15)
    monkeypatch.setattr(clock, "later", lambda seconds, _work: waits.append(seconds))
    pool._idle.append(SimpleNamespace(idle_since=12.0 - pool._expiry))  # type: ignore[arg-type]
    pool._drop_expired()
    assert waits == [pytest.approx(0.01)]


@ways
async def test_a_connection_that_expires_is_closed_though_nobody_calls_any_more(way: str) -> None:
    async with bench(way, keepalive_expiry=0.05) as made:
        await made.calls(3)
        pool = pool_of(made)
        if pool._idle:  # the timer has to be set anew for one that is younger
            pool._idle[-1].idle_since += 0.05
        with anyio.fail_after(HANG):
            await until(lambda: made.spy.open == 0)
        assert (pool._open, list(pool._idle)) == (set(), [])


async def test_a_connection_that_the_server_closed_does_not_stay_half_closed() -> None:
    async with bench(serve=OneAnswer().serve, keepalive_expiry=0.05) as made:
        await made.call()
        with anyio.fail_after(HANG):
            await until(lambda: made.spy.open == 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_no_socket_is_left_where_warnings_are_errors() -> None:
    async with churn.listening(SERVER) as port:
        url = f"http://127.0.0.1:{port}/"
        held = [PooledTransport(url, trust_env=False)]
        await churn.succeed(httpx.AsyncClient(transport=held[0]), url, 1)
        (connected,) = sockets_of(held[0])
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            held.clear()
            gc.collect()
        with anyio.fail_after(HANG):
            await until(lambda: connected.fileno() == -1)


@ways
async def test_a_transport_that_is_dropped_warns_and_leaves_no_socket(way: str) -> None:
    async with churn.served(way, CERTIFICATES, SERVER) as (url, proxy):
        transport = PooledTransport(url, ssl_context=CERTIFICATES.client, proxy=proxy)
        client = httpx.AsyncClient(transport=transport)
        await churn.succeed(client, url, 3)
        sockets = sockets_of(transport)
        assert [one.fileno() > 0 for one in sockets] == [True] * 3
        held = [client]
        del transport, client

        def drop() -> None:
            held.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match=r"unclosed connections to 127\.0\.0\.1: use `asy"):
            drop()
        with anyio.fail_after(HANG):
            await until(lambda: [one.fileno() for one in sockets] == [-1] * 3)


@pytest.mark.parametrize("how", ["closed", "never used"])
async def test_a_transport_that_has_no_connections_is_dropped_in_silence(
    how: str, recwarn: pytest.WarningsRecorder
) -> None:
    async with churn.listening(SERVER) as port:
        url = f"http://127.0.0.1:{port}/"
        client = httpx.AsyncClient(transport=PooledTransport(url, trust_env=False))
        if how == "closed":
            await churn.succeed(client, url, 1)
            await client.aclose()
        del client
        gc.collect()
    assert [one for one in recwarn if one.category is ResourceWarning] == []


def test_a_transport_that_could_not_be_made_is_dropped_in_silence(
    recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError):
        PooledTransport("https://a.test", http2=True)
    gc.collect()
    assert list(recwarn) == []


# Another event loop -------------------------------------------------------------------------------

BACKENDS: dict[str, Any] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


@contextlib.contextmanager
def served_by_a_thread() -> Iterator[str]:
    """A server that outlives the loops of a test."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(churn.listening(SERVER)) as port,
    ):
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncio's and uvloop's own
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_connected_on_a_loop_that_ended_is_not_used_on_the_next(backend: str) -> None:
    with served_by_a_thread() as url:
        transport = PooledTransport(url, trust_env=False)

        async def call() -> None:
            client = httpx.AsyncClient(transport=transport)
            assert await churn.succeed(client, url, 2) == 2

        with churn.Spy(transport) as spy:
            for loops in (1, 2):
                anyio.run(call, **BACKENDS[backend])
                assert (spy.connected, len(spy.pool._open)) == (2 * loops, 2)
            anyio.run(transport.aclose, **BACKENDS[backend])
            gc.collect()
            assert spy.open == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncio's own
def test_what_was_looked_up_by_another_loops_clock_is_looked_up_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served_by_a_thread() as url:
        port = httpx.URL(url).port or 0
        named, resolver = f"http://host.test:{port}/", Resolver([at(port)])
        transport = PooledTransport(named, trust_env=False)

        async def call() -> None:
            resolver.put_in_place(monkeypatch)
            client = httpx.AsyncClient(transport=transport)
            assert await churn.succeed(client, named, 1) == 1

        for looked_up, backend in enumerate(("trio", "asyncio", "trio"), 1):
            anyio.run(call, **BACKENDS[backend])
            assert resolver.look_ups == looked_up
        anyio.run(transport.aclose, **BACKENDS["asyncio"])
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncio's own
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_transport_whose_loop_ended_is_dropped_without_its_sockets(backend: str) -> None:
    async def use(url: str) -> list[Any]:
        transport = PooledTransport(url, trust_env=False)
        assert await churn.succeed(httpx.AsyncClient(transport=transport), url, 2) == 2
        kept.append(transport)
        return sockets_of(transport)

    kept = list[PooledTransport]()
    with served_by_a_thread() as url:
        sockets = anyio.run(use, url, **BACKENDS[backend])
        kept.clear()
        gc.collect()
        assert [one.fileno() for one in sockets] == [-1, -1]


async def test_a_transport_that_is_in_use_on_another_loop_refuses_and_nothing_was_sent() -> None:
    keeper = Gatekeeper()

    async def call_elsewhere(made: Bench) -> Exception:
        client = httpx.AsyncClient(transport=made.transport)
        with pytest.raises(httpx.RequestError) as caught:
            await client.post(made.url)
        return caught.value

    async with bench(serve=keeper.serve) as made:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.call)
            await keeper.has_seen(1)
            error = await anyio.to_thread.run_sync(anyio.run, call_elsewhere, made)
            keeper.open.set()
        assert proof_of(error) is Proof.NOT_SENT
        assert "another event loop" in str(error)
        assert (len(keeper.seen), made.spy.open) == (1, 1)


# Proxies ------------------------------------------------------------------------------------------


class Forwarder:
    """A proxy for plain requests: it answers them itself, and remembers them."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        held = b""
        while True:
            head, held = await churn.read_head(stream, held)
            self.heads.append(head)
            await stream.send(churn.ANSWER + BODY)


class Refuser:
    """A proxy that connects to nobody, and remembers who was asked for."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        head, _ = await churn.read_head(stream, b"")
        self.heads.append(head)
        await stream.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("tls", [None, CERTIFICATES.server], ids=["http", "https"])
async def test_plain_requests_are_handed_to_a_proxy(
    tls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: CERTIFICATES.client)
    proxy = Forwarder()
    noted: list[str] = []
    async with churn.listening(proxy.serve, tls) as port:
        address = f"http{'' if tls is None else 's'}://me:secret@127.0.0.1:{port}"
        async with bench_at("http://service.test/path", proxy=address) as made:
            for _ in range(2):
                request = made.client.build_request(
                    "GET", made.url, extensions={"first_byte": Noting(log=noted)}
                )
                assert (await made.client.send(request)).content == BODY
            assert made.spy.connected == 1
    assert noted == ["written"] * 2
    assert [head.splitlines()[0] for head in proxy.heads] == [
        b"GET http://service.test/path HTTP/1.1"
    ] * 2
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in proxy.heads[0]


async def test_a_proxy_that_speaks_tls_tunnels_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: CERTIFICATES.client)
    noted: list[str] = []
    async with (
        churn.listening(SERVER, CERTIFICATES.server) as port,
        churn.listening(churn.tunnel, CERTIFICATES.server) as proxy,
        bench_at(f"https://127.0.0.1:{port}/", proxy=f"https://127.0.0.1:{proxy}") as made,
    ):
        for _ in range(2):
            await made.call(first_byte=Noting(log=noted))
        assert (made.spy.connected, noted) == (1, ["written"] * 2)


async def test_the_environment_is_asked_for_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Refuser()
    async with churn.listening(proxy.serve) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with bench_at("https://service.test/", trust_env=True) as made:
            assert type(await made.failure()) is httpx.ProxyError
        (head,) = proxy.heads
        assert head.startswith(b"CONNECT service.test:443 ")
        async with bench_at(f"https://{closed_port()}/", trust_env=True) as made:
            assert type(await made.failure()) is httpx.ConnectError
        assert len(proxy.heads) == 1
        async with bench_at(f"http://{closed_port()}/", trust_env=False) as made:
            assert type(await made.failure()) is httpx.ConnectError


async def serve_socks(stream: anyio.abc.ByteStream) -> None:
    await stream.receive()
    await stream.send(b"\x05\x00")
    await stream.receive()
    await stream.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    await Forwarder().serve(stream)


async def test_a_socks_proxys_handshake_is_not_the_request() -> None:
    pytest.importorskip("socksio")
    noted: list[str] = []
    extensions = {"first_byte": Noting(log=noted)}
    async with churn.listening(serve_socks) as port:
        proxy = f"socks5://127.0.0.1:{port}"
        async with bench_at("http://service.test/", proxy=proxy) as made:
            for _ in range(2):
                answer = await made.client.get(made.url, extensions=extensions)
                assert answer.content == BODY
            assert (made.spy.connected, noted) == (1, ["written"] * 2)
        transport = FastTransport("http://service.test/", proxy=proxy)
        assert (await transport.exchange(GET, {}, PATIENT, SendGuard())).body == BODY
        await transport.aclose()
    async with churn.listening(keep_silent) as port:
        proxy = f"socks5://127.0.0.1:{port}"
        async with bench_at(
            "http://service.test/", proxy=proxy, timeout=SILENT[keep_silent]
        ) as made:
            assert type(await made.failure()) is httpx.ConnectTimeout


# Bodies -------------------------------------------------------------------------------------------


@ways
async def test_a_response_is_whole_when_it_is_handed_out(way: str) -> None:
    async with bench(way, slots=1) as made:
        async with made.client.stream("GET", made.url) as answer:
            assert (made.spy.open, len(pool_of(made)._idle)) == (1, 1)
            await made.call()
            assert await answer.aread() == BODY
        assert made.spy.connected == 1
    gc.collect()


class Pieces:
    """A body that arrives in pieces, and from a generator."""

    def __init__(self, end: Callable[[], Awaitable[object]]) -> None:
        self._end = end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"a"'
        await self._end()
        yield b":1}"


@ways
async def test_a_body_in_pieces_is_read_before_anything_is_sent(way: str) -> None:
    async def fail() -> None:
        raise ValueError("no more")

    async with bench(way, slots=1) as made:
        with pytest.raises(ValueError, match="no more"):
            await made.client.post(made.url, content=Pieces(fail))
        with anyio.move_on_after(0.01):
            await made.client.post(made.url, content=Pieces(anyio.sleep_forever))
        assert made.spy.connected == 0
        body = Pieces(anyio.lowlevel.checkpoint)
        answer = await made.client.post(made.url, content=body, headers={"Content-Length": "7"})
        assert answer.content == BODY
    gc.collect()


@ways
@pytest.mark.parametrize("said", [{}, {"Content-Length": "99"}, {"Content-Length": "2"}])
async def test_a_request_says_how_long_its_body_is_though_it_came_in_pieces(
    way: str, said: dict[str, str]
) -> None:
    heads: list[bytes] = []

    async def serve(stream: anyio.abc.ByteStream) -> None:
        held = b""
        while True:
            head, held = await churn.read_head(stream, held)
            heads.append(head.lower())
            while len(held) < 7:
                held += await stream.receive()
            assert held[:7] == b'{"a":1}'
            held = held[7:]
            await stream.send(churn.ANSWER + BODY)

    async with bench(way, serve, slots=1) as made:
        for _ in range(2):
            body = Pieces(anyio.lowlevel.checkpoint)
            answer = await made.client.post(made.url, content=body, headers=said)
            assert answer.content == BODY
        assert made.spy.connected == 1
    framing = [
        [line for line in head.split(b"\r\n") if line.startswith((b"content-", b"transfer-"))]
        for head in heads
    ]
    assert framing == [[b"content-length: 7"]] * 2


async def read_no_further(stream: anyio.abc.ByteStream) -> None:
    await churn.read_head(stream)
    await anyio.sleep_forever()


@ways
async def test_a_request_that_is_cancelled_while_it_is_written_leaves_nothing_behind(
    way: str,
) -> None:
    async with bench(way, read_no_further, slots=1) as made:
        noted = anyio.Event()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tg:
                tg.start_soon(
                    functools.partial(
                        made.client.post,
                        made.url,
                        content=bytes(20_000_000),
                        extensions={"first_byte": Noting(log=[], act=noted.set)},
                    )
                )
                with anyio.fail_after(HANG):
                    await noted.wait()
                await anyio.sleep(0.1)
                scope.cancel()
        assert made.spy.open == 0
    gc.collect()


# Mocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", [None, "http://proxy.test:8080"])
async def test_what_respx_answers_never_becomes_an_idle_connection(proxy: str | None) -> None:
    async with bench_at("https://service.test/", slots=2, proxy=proxy) as made:
        with respx.mock:
            route = respx.post("https://service.test/").respond(201, json={"ok": True})
            for _ in range(10):
                assert (await made.call()).status_code == 201
                assert not pool_of(made)._open
            async with made.client.stream("POST", made.url):
                pass
        assert route.call_count == 11
        assert route.calls[0].request.content == b'{"a":1}'
        assert made.spy.connected == 0
        assert not pool_of(made)._open


async def test_a_mock_sees_what_is_sent_after_a_connection_was_made() -> None:
    async with bench() as made:
        await made.call()
        assert pool_of(made)._idle
        with respx.mock:
            route = respx.post(made.url).respond(201, json={"mocked": True})
            assert (await made.call()).json() == {"mocked": True}
        assert (route.call_count, made.spy.connected) == (1, 1)


async def test_what_respx_raises_stays_what_it_is() -> None:
    async with bench_at("https://service.test/") as made:
        with respx.mock:
            respx.post("https://service.test/").mock(side_effect=httpx.ReadTimeout)
            assert proof_of(await made.failure()) is Proof.UNKNOWN
            respx.post("https://service.test/").mock(side_effect=httpx.ConnectError)
            assert proof_of(await made.failure()) is Proof.NOT_SENT
            with pytest.raises(AssertionError, match="not mocked"):
                await made.client.get("https://service.test/other")


async def test_respx_may_let_a_request_pass() -> None:
    async with bench() as made:
        with respx.mock:
            respx.post(made.url).pass_through()
            for _ in range(2):
                assert (await made.call()).content == BODY
        assert made.spy.connected == 1


# Cancellation -------------------------------------------------------------------------------------


class CancelledAt:
    """A coroutine in which something happens when it waits for the given time."""

    def __init__(self, work: Coroutine[Any, Any, Any], step: int, act: Callable[[], Any]) -> None:
        self._work = work
        self._step = step
        self._act = act
        self.acted = False

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        resume: Callable[[], Any] = functools.partial(next, steps)
        for count in itertools.count(1):
            try:
                item = resume()
            except StopIteration as end:
                return end.value
            if count == self._step:
                self.acted = True
                self._act()
            try:
                sent = yield item
            except BaseException as error:  # noqa: BLE001 - it goes on inside
                resume = functools.partial(steps.throw, error)
            else:
                resume = functools.partial(steps.send, sent)
        return None


async def cancelled_by_scope(work: Coroutine[Any, Any, Any], step: int) -> bool:
    with anyio.CancelScope() as scope:
        call = CancelledAt(work, step, scope.cancel)
        await call
    return call.acted


async def cancelled_by_asyncio(work: Coroutine[Any, Any, Any], step: int) -> bool:
    task: asyncio.Task[Any]

    def cancel() -> None:
        task.cancel()

    call = CancelledAt(work, step, lambda: asyncio.get_running_loop().call_soon(cancel))

    async def run() -> None:
        await call

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled():
        await task
    return call.acted


@ways
@pytest.mark.parametrize("used_before", [0, 1])
@pytest.mark.parametrize("cancelled", [cancelled_by_scope, cancelled_by_asyncio])
async def test_a_call_cancelled_at_any_of_its_awaits_leaves_nothing_behind(
    way: str,
    used_before: int,
    cancelled: Callable[..., Awaitable[bool]],
    anyio_backend_name: str,
) -> None:
    if cancelled is cancelled_by_asyncio and anyio_backend_name == "trio":
        pytest.skip("trio has no such way to cancel")
    async with churn.served(way, CERTIFICATES, SERVER) as (url, proxy):
        for step in itertools.count(1):
            settings = {} if proxy is None else {"proxy": proxy}
            async with bench_at(url, slots=1, **settings) as made:
                for _ in range(used_before):
                    await made.call()
                acted = await cancelled(made.call(), step)
                assert made.spy.open == len(pool_of(made)._open) == len(pool_of(made)._idle)
                await made.call()
                assert made.spy.most_open == 1
            if not acted:
                break
    if way != "proxy" and anyio_backend_name == "asyncio":
        fewest = (4, 2)  # a connection of our own, to an address that is not looked up
    else:  # httpcore2 takes its locks without a turn of the loop
        fewest = (6, 3) if httpx.__name__ == "httpx2" else (8, 5)
    assert step > fewest[used_before]


async def hold_handshakes(stream: anyio.abc.ByteStream) -> None:
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            await stream.receive()


@pytest.mark.parametrize("through_proxy", ["", "http://127.0.0.1"])
async def test_handshakes_that_are_cancelled_leave_no_sockets_for_the_collector(
    through_proxy: str,
) -> None:
    gc.disable()
    try:
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(churn.listening(hold_handshakes))
            proxy = await stack.enter_async_context(churn.listening(churn.tunnel))
            settings: dict[str, Any] = (
                {"proxy": f"{through_proxy}:{proxy}"} if through_proxy else {}
            )
            async with bench_at(f"https://127.0.0.1:{port}/", **settings) as made:
                async with anyio.create_task_group() as tg:
                    for _ in range(20):
                        tg.start_soon(made.call)
                    with anyio.fail_after(HANG):
                        await until(lambda: made.spy.connected == 20)
                    await anyio.sleep(0.02)
                    tg.cancel_scope.cancel()
                assert (made.spy.connected, made.spy.open) == (20, 0)
    finally:
        gc.enable()


@ways
async def test_churn_costs_no_connection(way: str) -> None:
    server = churn.slow_server(random.Random(1), churn.LONGEST_ANSWER)  # noqa: S311 - a load
    async with bench(way, server, slots=10, timeout=HANG) as made:
        await churn.churn(made.client, made.url, seconds=0.5, patience=churn.PATIENCE[way], seed=1)
        await made.calls(200)
        assert made.spy.most_open == 10
        assert made.spy.open <= 10


async def test_thousands_of_calls_at_once_all_succeed() -> None:
    async with bench(slots=100, timeout=httpx.Timeout(HANG, pool=None)) as made:
        await made.calls(2000)
        assert made.spy.most_open == 100
