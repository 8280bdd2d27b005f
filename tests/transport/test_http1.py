"""Our own connection, over real sockets whose other ends do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import socket
import ssl
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import attrs
import httpcore
import pytest
import trustme
from anyio.streams.tls import TLSStream

from chat2pay_async._transport import http1
from chat2pay_async._transport.base import (
    RESET_ON_CLOSE,
    ExchangeError,
    Limits,
    Outgoing,
    SendGuard,
)
from chat2pay_async._transport.http1 import Http1Connection, connect, is_readable
from chat2pay_async._transport.response_reader import Received

on_loops = pytest.mark.anyio

HANG = 30.0
"""No step takes so long; it fails instead of hanging."""

SHORT = 0.05
ONE_READ = 256 * 1024
"""The most that a transport takes from its socket at once."""

DATA = random.Random(0).randbytes(24_000_000)  # noqa: S311 - a load
"""More than the system holds for two sockets, and none of it like the rest."""

PATIENT = Limits(HANG, HANG, HANG)
QUICK = Limits(SHORT, SHORT, SHORT)
HOST = (b"Host", b"localhost")
POST = Outgoing(b"POST", b"/p", (HOST, (b"Content-Length", b"7")), b'{"a":1}')
WRITTEN = b'POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n{"a":1}'
LARGE = Outgoing(b"POST", b"/p", (HOST, (b"Content-Length", b"%d" % len(DATA))), DATA)
HEAD_OF_LARGE = b"POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 24000000\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
UNASKED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each async test where it has this connection: pytest asks a module before conftest."""
    if "anyio_backend" in metafunc.fixturenames:
        metafunc.parametrize("anyio_backend", ("asyncio", "uvloop"), indirect=True)
        metafunc.fixturenames = [name for name in metafunc.fixturenames if name != "anyio_backend"]


def open_sockets() -> int:
    """Count the sockets that the process has."""
    number = 0
    for link in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # the directory's own is closed by now
            number += stat.S_ISSOCK(os.fstat(int(link.name)).st_mode)
    return number


@pytest.fixture(autouse=True)
def no_socket_is_left() -> Generator[None]:
    before = open_sockets()
    yield
    assert open_sockets() == before


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(HANG):
        while not holds():
            await anyio.lowlevel.checkpoint()


# Both ends ----------------------------------------------------------------------------------------


@attrs.frozen
class There:
    """The other end: a plain socket, that waits for nobody unless it is told to."""

    socket: socket.socket

    def say(self, data: bytes) -> int:
        """Send as much of it as the system takes."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += self.socket.send(data[sent : sent + ONE_READ])
        return sent

    async def hear(self, size: int) -> bytes:
        """Wait for so many bytes."""
        heard = bytearray()
        with anyio.fail_after(HANG):
            while len(heard) < size:
                piece = await asyncio.get_running_loop().sock_recv(
                    self.socket, min(ONE_READ, size - len(heard))
                )
                assert piece
                heard += piece
        return bytes(heard)

    async def hear_the_end(self) -> str:
        """Wait for whatever ends it."""
        with anyio.fail_after(HANG):
            try:
                while await asyncio.get_running_loop().sock_recv(self.socket, ONE_READ):
                    pass
            except ConnectionResetError:
                return "reset"
        return "in good order"

    def finish(self) -> None:
        """Say that nothing more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, *[0] * 7]))
        self.socket.close()


ends = pytest.mark.parametrize("end", [There.finish, There.reset])


@contextlib.contextmanager
def listener() -> Generator[tuple[socket.socket, int]]:
    """A socket to connect to, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening, listening.getsockname()[1]


@contextlib.contextmanager
def accepted(listening: socket.socket) -> Generator[There]:
    there, _ = listening.accept()
    with there:
        there.settimeout(0)
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield There(there)


@contextlib.asynccontextmanager
async def connected() -> AsyncGenerator[tuple[Http1Connection, There]]:
    """Both ends of a connection."""
    with listener() as (listening, port):
        connection = await connect("127.0.0.1", port, None, HANG)
        try:
            with accepted(listening) as there:
                yield connection, there
        finally:
            await connection.close()


def closed_port() -> int:
    with listener() as (_, port):
        return port


@contextlib.contextmanager
def unanswered_port() -> Generator[int]:
    """A port whose queue is full: who connects waits."""
    with contextlib.ExitStack() as stack:
        queue = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(queue.getsockname())
        yield queue.getsockname()[1]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Let names in `.test` stand for these ports of this machine."""
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def found(host: str, *arguments: Any, **named: Any) -> Any:
        if not host.endswith(".test"):  # uvloop looks up each address once more
            return await resolve(host, *arguments, **named)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))
            for port in ports
        ]

    monkeypatch.setattr(loop, "getaddrinfo", found)


async def fails(kind: type[Exception], work: Awaitable[object]) -> None:
    with anyio.fail_after(HANG), pytest.raises(kind) as caught:
        await work
    assert type(caught.value) is kind


# Connecting ---------------------------------------------------------------------------------------


@on_loops
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_it_connects_to_an_address_and_to_a_name(host: str) -> None:
    with listener() as (listening, port):
        connection = await connect(host, port, None, HANG)
        with accepted(listening) as there:
            assert connection._socket.getpeername() == ("127.0.0.1", port)
            assert connection._socket.getsockname() == there.socket.getpeername()
            await connection.close()


@on_loops
async def test_its_socket_sends_small_packets_at_once_and_is_reset_when_it_is_closed() -> None:
    async with connected() as (connection, _):
        ours = connection._socket
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == RESET_ON_CLOSE


@on_loops
async def test_a_port_where_nobody_listens_is_an_error() -> None:
    await fails(httpcore.ConnectError, connect("127.0.0.1", closed_port(), None, HANG))


@on_loops
@pytest.mark.parametrize("name", ["no-such-host.invalid", "two..dots", "x" * 64 + ".invalid"])
async def test_a_name_that_does_not_resolve_is_an_error(name: str) -> None:
    await fails(httpcore.ConnectError, connect(name, 80, None, HANG))


@on_loops
async def test_a_host_that_does_not_answer_is_a_timeout() -> None:
    with unanswered_port() as port:
        before = open_sockets()
        await fails(httpcore.ConnectTimeout, connect("127.0.0.1", port, None, SHORT))
        assert open_sockets() == before


@on_loops
async def test_a_resolver_that_does_not_answer_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_arguments: Any, **_named: Any) -> Any:
        await anyio.sleep_forever()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    await fails(httpcore.ConnectTimeout, connect("slow.test", 80, None, SHORT))


@on_loops
async def test_the_next_address_is_tried_if_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with listener() as (_, port):
        resolve_to(monkeypatch, closed_port(), port)
        connection = await connect("two.test", 80, None, HANG)
        assert connection._socket.getpeername() == ("127.0.0.1", port)
        await connection.close()


@on_loops
async def test_the_next_address_is_tried_if_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1, "HAPPY_EYEBALLS_DELAY", SHORT)
    with unanswered_port() as silent, listener() as (_, port):
        resolve_to(monkeypatch, silent, port)
        before = open_sockets()
        connection = await connect("two.test", 80, None, HANG)
        assert connection._socket.getpeername() == ("127.0.0.1", port)
        await connection.close()
        assert open_sockets() == before


@on_loops
async def test_it_is_an_error_if_all_addresses_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, closed_port(), closed_port())
    before = open_sockets()
    await fails(httpcore.ConnectError, connect("two.test", 80, None, HANG))
    assert open_sockets() == before


@on_loops
@pytest.mark.parametrize("kind", [OSError, RuntimeError])
async def test_a_socket_that_the_loop_does_not_take_is_closed(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_arguments: Any, **_named: Any) -> Any:
        raise kind("too many")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
    with listener() as (_, port):
        before = open_sockets()
        await fails(httpcore.ConnectError, connect("127.0.0.1", port, None, HANG))
        assert open_sockets() == before


@on_loops
@pytest.mark.parametrize("addresses", [1, 2])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_whenever_it_is_cancelled_no_socket_stays_open(
    addresses: int,
    tls: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = OURS if tls else None

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
                await (await encrypt(stream) if tls else stream).receive()

    listening = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listening, anyio.create_task_group() as tasks:
        tasks.start_soon(listening.serve, serve)
        port = listening.extra(anyio.abc.SocketAttribute.local_port)
        resolve_to(monkeypatch, *[port] * addresses)
        before = open_sockets()

        async def is_too_late(turns: int) -> bool:
            connecting = asyncio.ensure_future(connect("localhost.test", 80, context, HANG))
            for _ in range(turns):
                await asyncio.sleep(0)
            if connecting.cancel():
                await asyncio.wait([connecting])
                assert connecting.cancelled()
            else:
                await connecting.result().close()
            await until(lambda: open_sockets() == before)
            return not connecting.cancelled()

        turns = 0
        while not await is_too_late(turns):
            turns += 1
        assert turns > 2
        tasks.cancel_scope.cancel()


@on_loops
async def test_cancelled_while_nobody_answers_no_socket_stays_open() -> None:
    with unanswered_port() as port:
        before = open_sockets()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect, "127.0.0.1", port, None, HANG)
            await until(lambda: open_sockets() == before + 1)
            tasks.cancel_scope.cancel()
        await until(lambda: open_sockets() == before)


# Exchanges ----------------------------------------------------------------------------------------


async def responds(there: There, response: bytes, request: bytes = WRITTEN) -> None:
    """Hear a request, and respond."""
    assert await there.hear(len(request)) == request
    there.say(response)


@on_loops
async def test_a_request_arrives_as_it_is_and_its_response_is_read() -> None:
    async with connected() as (connection, there):
        for _ in range(3):
            guard = SendGuard()
            before = asyncio.get_running_loop().time()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(responds, there, OK)
                received = await connection.exchange(POST, PATIENT, guard)
            assert (received.status, received.body, received.is_last) == (200, b"{}", False)
            assert guard.may_have_been_sent
            assert guard.last_byte is not None
            assert before <= guard.last_byte <= asyncio.get_running_loop().time()
            assert connection.is_reusable
            assert not await connection.is_over()


@on_loops
async def test_a_response_may_come_in_pieces() -> None:
    async with connected() as (connection, there), anyio.create_task_group() as tasks:

        async def drip() -> None:
            for number in range(len(OK)):
                there.say(OK[number : number + 1])
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        tasks.start_soon(drip)
        received = await connection.exchange(POST, PATIENT, SendGuard())
        assert (received.status, received.body) == (200, b"{}")


@on_loops
async def test_a_response_that_its_end_completes_is_the_last() -> None:
    async with connected() as (connection, there):
        there_ends = There.finish
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(responds, there, b"HTTP/1.1 200 OK\r\n\r\nall")
            tasks.start_soon(until_heard, connection, there, there_ends)
            received = await connection.exchange(POST, PATIENT, SendGuard())
        assert (received.body, received.is_last) == (b"all", True)
        assert not connection.is_reusable


async def until_heard(
    connection: Http1Connection, there: There, act: Callable[[There], None]
) -> None:
    """Do something once the connection has taken in what was said."""
    reader = connection._reader
    while reader is None or not reader._fed:
        await asyncio.sleep(0)
        reader = connection._reader
    act(there)


@on_loops
@ends
@pytest.mark.parametrize("said", [b"", OK[:9], OK[:-1]])
async def test_a_response_that_is_cut_off_is_an_error(
    said: bytes, end: Callable[[There], None]
) -> None:
    async with connected() as (connection, there):

        async def cut() -> None:
            await responds(there, said)
            end(there)

        guard = SendGuard()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            with pytest.raises((httpcore.ReadError, httpcore.RemoteProtocolError)):
                await connection.exchange(POST, PATIENT, guard)
        assert guard.may_have_been_sent
        assert not connection.is_reusable


@on_loops
async def test_a_reset_says_what_the_system_says() -> None:
    async with connected() as (connection, there):

        async def cut() -> None:
            await there.hear(len(WRITTEN))
            there.reset()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            with pytest.raises(httpcore.ReadError) as caught:
                await connection.exchange(POST, PATIENT, SendGuard())
        assert isinstance(caught.value.__cause__, ConnectionResetError)


@on_loops
async def test_what_is_no_response_is_an_error() -> None:
    async with connected() as (connection, there), anyio.create_task_group() as tasks:
        tasks.start_soon(responds, there, b"220 mail.test ESMTP\r\n\r\n")
        await fails(httpcore.RemoteProtocolError, connection.exchange(POST, PATIENT, SendGuard()))
        assert not connection.is_reusable


@on_loops
async def test_a_response_that_is_too_long_is_refused_and_no_more_of_it_is_kept() -> None:
    async with connected() as (connection, there), anyio.create_task_group() as tasks:
        tasks.start_soon(responds, there, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        with pytest.raises(ExchangeError, match="ResponseTooLong"):
            await connection.exchange(POST, PATIENT, SendGuard())
        there.say(DATA)
        await asyncio.sleep(0)
        assert not connection.is_reusable


@on_loops
async def test_a_response_that_does_not_come_in_time_is_a_timeout() -> None:
    async with connected() as (connection, there):
        there.say(b"")
        await fails(httpcore.ReadTimeout, connection.exchange(POST, QUICK, SendGuard()))
        assert not connection.is_reusable


@on_loops
async def test_a_response_may_take_as_long_as_it_takes_where_there_is_no_limit() -> None:
    async with connected() as (connection, there), anyio.create_task_group() as tasks:
        tasks.start_soon(responds, there, OK)
        assert (await connection.exchange(POST, Limits(), SendGuard())).status == 200
        assert connection._timer is None


@on_loops
async def test_a_guard_that_keeps_a_request_back_leaves_the_connection_as_it_is() -> None:
    async with connected() as (connection, there):
        late = SendGuard(latest=-1.0)
        with pytest.raises(ExchangeError, match="TooLate"):
            await connection.exchange(POST, PATIENT, late)
        assert (late.may_have_been_sent, late.last_byte) == (False, None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(responds, there, OK)
            assert (await connection.exchange(POST, PATIENT, SendGuard())).status == 200


UNWRITABLE = {
    "method": POST._replace(method=b"GET / HTTP/1.1\r\nX:"),
    "empty method": POST._replace(method=b""),
    "target": POST._replace(target=b"/ HTTP/1.1\r\nX: y"),
    "space in a target": POST._replace(target=b"/a b"),
    "name": POST._replace(fields=(HOST, (b"X\r\nY", b"secret"))),
    "space in a name": POST._replace(fields=(HOST, (b"X Y", b"secret"))),
    "value": POST._replace(fields=(HOST, (b"X", b"secret\nY: 1"))),
    "value with another field": POST._replace(fields=(HOST, (b"X", b"secret\r\nY: 1"))),
    "value with the end": POST._replace(fields=(HOST, (b"X", b"secret\r\n\r\nGET"))),
    "nul": POST._replace(fields=(HOST, (b"X", b"secret\x00"))),
}


@on_loops
@pytest.mark.parametrize("request_", UNWRITABLE.values(), ids=UNWRITABLE)
async def test_a_request_that_would_be_another_on_the_wire_is_not_sent(request_: Outgoing) -> None:
    async with connected() as (connection, there):
        guard = SendGuard(latest=-1.0, may_have_been_sent=False)
        with pytest.raises(httpcore.ConnectError, match="header value") as caught:
            await connection.exchange(request_, PATIENT, guard)
        assert "secret" not in str(caught.value)
        assert not guard.may_have_been_sent
        await connection.close(in_good_order=True)
        assert await asyncio.get_running_loop().sock_recv(there.socket, 9) == b""


@on_loops
async def test_any_other_value_is_written_as_it_is() -> None:
    value = bytes(byte for byte in range(32, 256) if byte != 127) + b"\t"
    fields = (HOST, (b"X-!#$%&'*+-.^_`|~9", value), (b"X-Empty", b""))
    async with connected() as (connection, there), anyio.create_task_group() as tasks:
        written = b"GET / HTTP/1.1\r\n"
        written += b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"
        tasks.start_soon(responds, there, OK, written)
        await connection.exchange(Outgoing(b"GET", b"/", fields, b""), PATIENT, SendGuard())


@on_loops
async def test_an_exchange_that_is_cancelled_may_have_been_sent_and_its_response_is_nobodys() -> (
    None
):
    async with connected() as (connection, there):
        guard = SendGuard()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.exchange, POST, PATIENT, guard)
            await there.hear(len(WRITTEN))
            tasks.cancel_scope.cancel()
        assert guard.may_have_been_sent
        assert guard.last_byte is not None
        there.say(OK)
        assert await connection.is_over()
        await until(lambda: not connection.is_reusable)


@on_loops
async def test_a_response_that_comes_while_its_exchange_is_cancelled_hurts_nobody() -> None:
    async with connected() as (connection, there):
        exchange = asyncio.ensure_future(connection.exchange(POST, PATIENT, SendGuard()))
        await there.hear(len(WRITTEN))
        exchange.cancel()
        connection.data_received(OK)
        await asyncio.wait([exchange])
        assert exchange.cancelled()
        assert not connection.is_reusable


# What comes in unasked ----------------------------------------------------------------------------


@on_loops
async def test_nothing_is_asked_of_a_server_that_speaks_first() -> None:
    async with connected() as (connection, there):
        there.say(UNASKED)
        await until(lambda: not connection.is_reusable)
        guard = SendGuard(may_have_been_sent=False)
        await fails(httpcore.ConnectError, connection.exchange(POST, PATIENT, guard))
        assert not guard.may_have_been_sent


@on_loops
@ends
async def test_nothing_is_asked_of_a_server_that_has_hung_up(
    end: Callable[[There], None],
) -> None:
    async with connected() as (connection, there):
        end(there)
        await until(lambda: not connection.is_reusable)
        await fails(httpcore.ConnectError, connection.exchange(POST, PATIENT, SendGuard()))


@on_loops
async def test_it_is_over_once_something_came_whether_or_not_the_loop_knows() -> None:
    async with connected() as (connection, there):
        seen = [await connection.is_over()]
        there.say(b"H")
        seen += [connection.is_reusable, await connection.is_over()]
        await until(lambda: not connection.is_reusable)
        seen.append(await connection.is_over())
        assert seen == [False, True, True, True]


@on_loops
@ends
async def test_it_is_over_at_its_end_whether_or_not_the_loop_knows(
    end: Callable[[There], None],
) -> None:
    async with connected() as (connection, there):
        end(there)
        assert await connection.is_over()
        await until(lambda: not connection.is_reusable)
        assert await connection.is_over()


@on_loops
async def test_what_follows_a_response_makes_it_the_last() -> None:
    async with connected() as (connection, there):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(responds, there, OK + UNASKED)
            received = await connection.exchange(POST, PATIENT, SendGuard())
        assert (received.body, received.is_last) == (b"{}", True)
        assert not connection.is_reusable


@on_loops
async def test_it_is_over_when_it_is_closed() -> None:
    async with connected() as (connection, _):
        await connection.close()
        assert await connection.is_over()
        await fails(httpcore.ConnectError, connection.exchange(POST, PATIENT, SendGuard()))


@pytest.mark.parametrize("has_poll", [True, False])
def test_a_socket_is_readable_once_something_came_or_it_is_closed(
    has_poll: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not has_poll:  # as on Windows
        monkeypatch.delattr(select, "poll")
    ours, there = socket.socketpair()
    with ours, there:
        assert not is_readable(ours)
        there.send(b"data")
        assert is_readable(ours)
        assert ours.recv(9) == b"data"
        there.close()
        assert is_readable(ours)
    assert is_readable(ours)


# More than is read --------------------------------------------------------------------------------


@on_loops
async def test_a_large_request_waits_for_the_other_side_and_its_time_to_read_begins_then() -> None:
    async with connected() as (connection, there), anyio.create_task_group() as tasks:
        guard = SendGuard()
        received: list[Received] = []

        async def exchange() -> None:
            received.append(await connection.exchange(LARGE, PATIENT, guard))

        tasks.start_soon(exchange)
        await until(lambda: connection._is_full)
        assert connection._last_byte is None
        heard = await there.hear(len(HEAD_OF_LARGE) + len(DATA))
        is_same = heard.endswith(DATA)  # what pytest would say of megabytes takes it minutes
        assert is_same
        await until(lambda: connection._last_byte is not None)
        there.say(OK)
        await until(lambda: bool(received))
        assert connection.is_reusable


@on_loops
async def test_more_than_the_other_side_reads_in_time_is_a_timeout() -> None:
    async with connected() as (connection, _):
        guard = SendGuard()
        await fails(httpcore.WriteTimeout, connection.exchange(LARGE, QUICK, guard))
        assert (guard.may_have_been_sent, guard.last_byte) == (True, None)
        assert not connection.is_reusable


@on_loops
async def test_a_response_before_all_of_its_request_was_written_is_read_and_is_the_last() -> None:
    async with connected() as (connection, there):
        guard = SendGuard()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_full, connection, lambda: there.say(OK))
            received = await connection.exchange(LARGE, PATIENT, guard)
        assert (received.status, guard.last_byte) == (200, None)
        assert not connection.is_reusable
        await connection.close()
        assert await there.hear_the_end() == "reset"


async def until_full(connection: Http1Connection, act: Callable[[], object]) -> None:
    await until(lambda: connection._is_full)
    act()


@on_loops
@ends
async def test_a_wait_for_the_other_side_ends_with_it(
    end: Callable[[There], None],
) -> None:
    async with connected() as (connection, there), anyio.create_task_group() as tasks:
        tasks.start_soon(until_full, connection, lambda: end(there))
        with pytest.raises((httpcore.ReadError, httpcore.RemoteProtocolError)):
            await connection.exchange(LARGE, PATIENT, SendGuard())


@on_loops
async def test_what_is_written_at_last_after_a_cancellation_is_noted_nowhere() -> None:
    async with connected() as (connection, there):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.exchange, LARGE, PATIENT, SendGuard())
            await until(lambda: connection._is_full)
            tasks.cancel_scope.cancel()
        await there.hear(len(DATA))
        await until(lambda: not connection._is_full)
        assert connection._last_byte is None


# TLS ----------------------------------------------------------------------------------------------

AUTHORITY: Any = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("localhost.test", "127.0.0.1").configure_cert(SERVER)


def trusting(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


OURS = trusting(AUTHORITY)


async def encrypt(there: anyio.abc.ByteStream) -> TLSStream:
    return await TLSStream.wrap(
        there, server_side=True, ssl_context=SERVER, standard_compatible=False
    )


@contextlib.asynccontextmanager
async def connecting(
    context: ssl.SSLContext = OURS, host: str = "127.0.0.1", limit: float = HANG
) -> AsyncGenerator[tuple[asyncio.Future[Http1Connection], There]]:
    """A connection whose handshake is still to be answered."""
    with listener() as (listening, port):
        made = asyncio.ensure_future(connect(host, port, context, limit))
        await until(lambda: is_readable(listening))
        with accepted(listening) as there:
            yield made, there


@contextlib.asynccontextmanager
async def encrypted() -> AsyncGenerator[tuple[Http1Connection, TLSStream]]:
    """Both ends of a connection in TLS."""
    async with connecting() as (made, there):
        stream = await encrypt(await anyio.abc.SocketStream.from_socket(there.socket))
        connection = await made
        try:
            yield connection, stream
        finally:
            await connection.close()
            await anyio.aclose_forcefully(stream)


async def responds_by_tls(stream: TLSStream, response: bytes) -> None:
    heard = b""
    while len(heard) < len(WRITTEN):
        heard += await stream.receive()
    assert heard == WRITTEN
    await stream.send(response)


@on_loops
async def test_requests_and_responses_go_through_tls() -> None:
    async with encrypted() as (connection, stream):
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(responds_by_tls, stream, OK)
                received = await connection.exchange(POST, PATIENT, SendGuard())
            assert (received.status, received.body) == (200, b"{}")
            assert connection.is_reusable


@on_loops
async def test_a_large_request_goes_through_tls() -> None:
    async with encrypted() as (connection, stream), anyio.create_task_group() as tasks:
        tasks.start_soon(connection.exchange, LARGE, PATIENT, SendGuard())
        heard = bytearray()
        while not heard.endswith(DATA[-99:]):
            heard += await stream.receive()
        is_same = heard.endswith(DATA)
        assert is_same
        await stream.send(OK)


@on_loops
async def test_more_than_is_read_through_tls_in_time_is_a_timeout() -> None:
    async with encrypted() as (connection, _):
        with pytest.raises((httpcore.WriteTimeout, httpcore.ReadTimeout)):
            await connection.exchange(LARGE, QUICK, SendGuard())


@on_loops
@pytest.mark.parametrize("politely", [True, False])
async def test_the_end_completes_a_response_through_tls(
    politely: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with encrypted() as (connection, stream):

        async def end() -> None:
            await responds_by_tls(stream, b"HTTP/1.1 200 OK\r\n\r\nall")
            if politely:
                await stream.unwrap()
            await anyio.aclose_forcefully(stream)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            received = await connection.exchange(POST, PATIENT, SendGuard())
        assert (received.body, received.is_last) == (b"all", True)


@on_loops
async def test_a_connection_over_tls_is_over_once_the_server_speaks_unasked() -> None:
    async with encrypted() as (connection, stream):
        for _ in range(20):  # what TLS says to itself after its handshake
            await asyncio.sleep(0)
        assert not await connection.is_over()
        await stream.send(UNASKED)
        assert await connection.is_over()
        await until(lambda: not connection.is_reusable)


@on_loops
async def test_closed_during_an_exchange_through_tls_is_an_error() -> None:
    async with encrypted() as (connection, stream), anyio.create_task_group() as tasks:

        async def close() -> None:
            await stream.receive()
            await connection.close()

        tasks.start_soon(close)
        await fails(httpcore.ReadError, connection.exchange(POST, PATIENT, SendGuard()))


@on_loops
@pytest.mark.parametrize(
    ("context", "host"),
    [(trusting(trustme.CA()), "127.0.0.1"), (OURS, "other.test")],
    ids=["another authority", "another name"],
)
async def test_a_certificate_that_is_not_the_hosts_is_an_error(
    context: ssl.SSLContext, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener() as (listening, port):
        resolve_to(monkeypatch, port)
        made = asyncio.ensure_future(connect(host, port, context, HANG))
        await until(lambda: is_readable(listening))
        with accepted(listening) as there:
            other = await anyio.abc.SocketStream.from_socket(there.socket)
            async with other:
                with contextlib.suppress(
                    ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError
                ):
                    await encrypt(other)
                    await other.receive()
                await fails(httpcore.ConnectError, made)


@on_loops
async def test_a_handshake_without_an_answer_is_a_timeout() -> None:
    # Long enough for the handshake to begin on a machine that is busy.
    async with connecting(limit=10 * SHORT) as (made, _):
        before = open_sockets()
        await fails(httpcore.ConnectTimeout, made)
        assert open_sockets() == before - 1


@on_loops
@ends
async def test_a_handshake_that_is_cut_off_is_an_error(end: Callable[[There], None]) -> None:
    async with connecting() as (made, there):
        assert await there.hear(1) == b"\x16"
        end(there)
        await fails(httpcore.ConnectError, made)


@on_loops
@pytest.mark.parametrize("first", [True, False])
async def test_another_protocol_than_tls_is_an_error(
    first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with connecting() as (made, there):
        if not first:
            assert await there.hear(1) == b"\x16"
        there.say(b"220 mail.test ESMTP\r\n")
        await fails(httpcore.ConnectError, made)


@on_loops
async def test_a_handshake_that_is_cancelled_leaves_no_socket() -> None:
    async with connecting() as (made, there):
        before = open_sockets()
        assert await there.hear(1) == b"\x16"
        made.cancel()
        await asyncio.wait([made])
        assert open_sockets() == before - 1


# Closing ------------------------------------------------------------------------------------------


@on_loops
@pytest.mark.parametrize("in_good_order", [True, False])
async def test_it_is_closed_at_once_and_may_be_closed_twice(
    in_good_order: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with connected() as (connection, there):
        before = open_sockets()
        await connection.close(in_good_order=in_good_order)
        assert (connection._socket.fileno(), open_sockets()) == (-1, before - 1)
        await connection.close(in_good_order=in_good_order)
        end = await there.hear_the_end()
        assert end == ("in good order" if in_good_order else "reset")


@on_loops
async def test_it_is_closed_at_once_whatever_was_not_sent() -> None:
    async with connected() as (connection, there):
        before = open_sockets()
        await fails(httpcore.WriteTimeout, connection.exchange(LARGE, QUICK, SendGuard()))
        await connection.close()
        assert (connection._socket.fileno(), open_sockets()) == (-1, before - 1)
        assert await there.hear_the_end() == "reset"


@on_loops
async def test_it_is_closed_in_a_task_that_has_been_cancelled() -> None:
    async with connected() as (connection, _):
        before = open_sockets()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await connection.close()
        assert open_sockets() == before - 1


@on_loops
async def test_it_is_closed_by_a_task_that_is_cancelled_in_the_middle() -> None:
    async with connected() as (connection, _):
        before = open_sockets()
        closing = asyncio.ensure_future(connection.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert open_sockets() == before - 1


@on_loops
async def test_a_wait_for_a_response_ends_when_the_connection_is_closed() -> None:
    async with connected() as (connection, there), anyio.create_task_group() as tasks:

        async def close() -> None:
            await there.hear(len(WRITTEN))
            await connection.close()

        tasks.start_soon(close)
        await fails(httpcore.ReadError, connection.exchange(POST, PATIENT, SendGuard()))
