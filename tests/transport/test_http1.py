"""The network on asyncio and uvloop, over real sockets whose other ends do as they are told."""

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

from chat2pay_async._eventloop import current_loop
from chat2pay_async._transport import asyncio_network
from chat2pay_async._transport.asyncio_network import (
    MOST_HELD,
    AsyncioNetwork,
    Event,
    Stream,
    StreamProtocol,
    is_readable,
    network_for,
)
from chat2pay_async._transport.connection import Connection

on_loops = pytest.mark.anyio

HANG = 30.0
"""No step takes so long; it fails instead of hanging."""

SHORT = 0.05
ONE_READ = 256 * 1024
"""The most that a transport takes from its socket at once."""

DATA = random.Random(0).randbytes(24_000_000)  # noqa: S311 - a load
"""More than the system holds for two sockets, and none of it like the rest."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each async test where it has this network: pytest asks a module before conftest."""
    if "anyio_backend" in metafunc.fixturenames:
        metafunc.parametrize("anyio_backend", ("asyncio", "uvloop"), indirect=True)
        metafunc.fixturenames = [name for name in metafunc.fixturenames if name != "anyio_backend"]


def open_sockets() -> int:
    """How many sockets the process has."""
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


def protocol_of(stream: Stream) -> StreamProtocol:
    """What the network alone knows of a connection."""
    return stream._protocol  # pyright: ignore[reportPrivateUsage]


def waits(event: Event) -> bool:
    return event._future is not None  # pyright: ignore[reportPrivateUsage]


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

    def finish(self) -> None:
        """Say that nothing more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, *[0] * 7]))
        self.socket.close()


def network() -> AsyncioNetwork:
    made = network_for(current_loop())
    assert isinstance(made, AsyncioNetwork)
    return made


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
        yield There(there)


@contextlib.asynccontextmanager
async def connected() -> AsyncGenerator[tuple[Stream, There]]:
    """Both ends of a connection."""
    with listener() as (listening, port):
        stream = await network().connect_tcp("127.0.0.1", port, HANG)
        assert isinstance(stream, Stream)
        try:
            with accepted(listening) as there:
                yield stream, there
        finally:
            await stream.aclose()


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


# Which network ------------------------------------------------------------------------------------


async def its_network() -> httpcore.AsyncNetworkBackend:
    return network_for(current_loop())


@pytest.mark.parametrize("uvloop", [False, True])
def test_asyncio_and_uvloop_have_this_network(uvloop: bool) -> None:  # noqa: FBT001 - a parameter
    options = {"use_uvloop": uvloop}
    made = anyio.run(its_network, backend="asyncio", backend_options=options)
    assert isinstance(made, AsyncioNetwork)


def test_trio_has_httpcores_own() -> None:
    assert isinstance(anyio.run(its_network, backend="trio"), httpcore.AnyIOBackend)


# Connecting ---------------------------------------------------------------------------------------


@on_loops
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_it_connects_to_an_address_and_to_a_name(host: str) -> None:
    with listener() as (listening, port):
        stream = await network().connect_tcp(host, port, HANG)
        with accepted(listening) as there:
            assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
            assert stream.get_extra_info("client_addr") == there.socket.getpeername()
            await stream.aclose()


@on_loops
async def test_small_packets_leave_at_once() -> None:
    async with connected() as (stream, _):
        ours = stream.get_extra_info("socket")
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_loops
async def test_a_port_where_nobody_listens_is_an_error() -> None:
    await fails(httpcore.ConnectError, network().connect_tcp("127.0.0.1", closed_port(), HANG))


@on_loops
@pytest.mark.parametrize("name", ["no-such-host.invalid", "two..dots", "x" * 64 + ".invalid"])
async def test_a_name_that_does_not_resolve_is_an_error(name: str) -> None:
    await fails(httpcore.ConnectError, network().connect_tcp(name, 80, HANG))


@on_loops
async def test_who_does_not_answer_is_a_timeout() -> None:
    with unanswered_port() as port:
        before = open_sockets()
        await fails(httpcore.ConnectTimeout, network().connect_tcp("127.0.0.1", port, SHORT))
        assert open_sockets() == before


@on_loops
async def test_a_resolver_that_does_not_answer_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_arguments: Any, **_named: Any) -> Any:
        await anyio.sleep_forever()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    await fails(httpcore.ConnectTimeout, network().connect_tcp("slow.test", 80, SHORT))


@on_loops
async def test_the_next_address_is_tried_if_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with listener() as (_, port):
        resolve_to(monkeypatch, closed_port(), port)
        stream = await network().connect_tcp("two.test", 80, HANG)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        await stream.aclose()


@on_loops
async def test_the_next_address_is_tried_if_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asyncio_network, "HAPPY_EYEBALLS_DELAY", SHORT)
    with unanswered_port() as silent, listener() as (_, port):
        resolve_to(monkeypatch, silent, port)
        before = open_sockets()
        stream = await network().connect_tcp("two.test", 80, HANG)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        await stream.aclose()
        assert open_sockets() == before


@on_loops
async def test_it_is_an_error_if_all_addresses_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, closed_port(), closed_port())
    before = open_sockets()
    await fails(httpcore.ConnectError, network().connect_tcp("two.test", 80, HANG))
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
        await fails(httpcore.ConnectError, network().connect_tcp("127.0.0.1", port, HANG))
        assert open_sockets() == before


@on_loops
@pytest.mark.parametrize("addresses", [1, 2])
async def test_whenever_it_is_cancelled_no_socket_stays_open(
    addresses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener() as (_, port):
        resolve_to(monkeypatch, *[port] * addresses)
        before = open_sockets()

        async def is_too_late(turns: int) -> bool:
            connecting = asyncio.ensure_future(network().connect_tcp("slow.test", 80, HANG))
            for _ in range(turns):
                await asyncio.sleep(0)
            if connecting.cancel():
                await asyncio.wait([connecting])
                assert connecting.cancelled()
            else:
                await connecting.result().aclose()
            await until(lambda: open_sockets() == before)
            return not connecting.cancelled()

        turns = 0
        while not await is_too_late(turns):
            turns += 1
        assert turns > 2


@on_loops
async def test_cancelled_while_nobody_answers_no_socket_stays_open() -> None:
    with unanswered_port() as port:
        before = open_sockets()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(network().connect_tcp, "127.0.0.1", port)
            await until(lambda: open_sockets() == before + 1)
            tasks.cancel_scope.cancel()
        await until(lambda: open_sockets() == before)


# Reading ------------------------------------------------------------------------------------------


@on_loops
async def test_what_the_other_side_says_is_read() -> None:
    async with connected() as (stream, there):
        for data in (b"one", b"two"):
            there.say(data)
            assert await stream.read(99, HANG) == data


@on_loops
async def test_what_is_more_than_was_asked_for_is_kept() -> None:
    async with connected() as (stream, there):
        there.say(b"abcdefg")
        assert [await stream.read(3, HANG) for _ in range(3)] == [b"abc", b"def", b"g"]


@on_loops
async def test_who_reads_first_waits_for_as_long_as_it_takes() -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        tasks.start_soon(reads, stream, b"data", None)
        await until(lambda: waits(protocol_of(stream).reader))
        there.say(b"data")


async def reads(stream: httpcore.AsyncNetworkStream, data: bytes, timeout: float | None) -> None:  # noqa: ASYNC109 - httpcore's name
    """Read until all of it has come, and nothing else."""
    seen = bytearray()
    while len(seen) < len(data):
        piece = await stream.read(64 * 1024, timeout)
        assert piece
        seen += piece
    assert_same(seen, data)


def assert_same(seen: bytes | bytearray, data: bytes) -> None:
    is_same = seen == data  # what pytest would say of megabytes takes it minutes
    assert is_same


@on_loops
async def test_a_read_that_takes_too_long_is_a_timeout_and_loses_nothing() -> None:
    async with connected() as (stream, there):
        await fails(httpcore.ReadTimeout, stream.read(9, SHORT))
        there.say(b"data")
        assert await stream.read(9, HANG) == b"data"


@on_loops
async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    async with connected() as (stream, there):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.read, 9)
            await until(lambda: waits(protocol_of(stream).reader))
            there.say(b"data")
            tasks.cancel_scope.cancel()
        assert await stream.read(9, HANG) == b"data"


@on_loops
async def test_the_first_of_what_happens_and_of_running_out_of_time_counts() -> None:
    loop = asyncio.get_running_loop()
    event = Event(loop)
    loop.call_soon(event.set)
    assert await event.wait(0)
    loop.call_soon(lambda: loop.call_soon(event.set))
    assert not await event.wait(0)


@on_loops
async def test_only_what_happens_during_a_wait_ends_it() -> None:
    loop = asyncio.get_running_loop()
    event = Event(loop)
    event.set()
    assert not await event.wait(0)
    loop.call_soon(event.set)
    assert await event.wait(SHORT)
    loop.call_later(2 * SHORT, event.set)  # when the time of the wait before has run out
    assert await event.wait(HANG)


@on_loops
async def test_after_the_other_sides_last_word_there_is_nothing_to_read() -> None:
    async with connected() as (stream, there):
        there.say(b"last")
        there.finish()
        assert [await stream.read(9, HANG) for _ in range(3)] == [b"last", b"", b""]


@on_loops
async def test_a_reset_is_an_error() -> None:
    async with connected() as (stream, there):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, httpcore.ReadError, stream.read(9, HANG))
            await until(lambda: waits(protocol_of(stream).reader))
            there.reset()
        await fails(httpcore.ReadError, stream.read(9, HANG))


@on_loops
async def test_what_came_before_a_reset_is_read_first() -> None:
    async with connected() as (stream, there):
        there.say(b"data")
        assert await stream.read(1, HANG) == b"d"
        there.reset()
        await until(lambda: protocol_of(stream).at_end)
        assert await stream.read(9, HANG) == b"ata"
        await fails(httpcore.ReadError, stream.read(9, HANG))


@on_loops
async def test_who_reads_while_it_is_closed_gets_an_error() -> None:
    async with connected() as (stream, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, httpcore.ReadError, stream.read(9, HANG))
            await until(lambda: waits(protocol_of(stream).reader))
            await stream.aclose()
        await fails(httpcore.ReadError, stream.read(9, HANG))


# More than is read --------------------------------------------------------------------------------


async def says_until_it_has_to_wait(there: There, data: bytes) -> int:
    """How much it got rid of until the system took nothing for some turns of the loop."""
    said = idle = 0
    while idle < 20:
        taken = there.say(data[said:])
        said += taken
        idle = 0 if taken else idle + 1
        await asyncio.sleep(0)
    return said


@on_loops
async def test_who_says_more_than_is_read_has_to_wait_and_goes_on_later() -> None:
    async with connected() as (stream, there):
        said = await says_until_it_has_to_wait(there, DATA)
        assert MOST_HELD < len(protocol_of(stream).received) <= MOST_HELD + ONE_READ
        assert said < len(DATA)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reads, stream, DATA, HANG)
            while said < len(DATA):
                said += there.say(DATA[said:])
                await asyncio.sleep(0)


@on_loops
async def test_who_had_to_wait_once_has_to_wait_again() -> None:
    async with connected() as (stream, there):
        for _ in range(2):
            said = await says_until_it_has_to_wait(there, DATA)
            assert MOST_HELD < len(protocol_of(stream).received) <= MOST_HELD + ONE_READ
            await reads(stream, DATA[:said], HANG)


@on_loops
async def test_no_more_is_held_if_little_is_read_at_a_time() -> None:
    async with connected() as (stream, there):
        await says_until_it_has_to_wait(there, DATA)
        for number in range(50):
            assert await stream.read(1, HANG) == DATA[number : number + 1]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(protocol_of(stream).received) <= MOST_HELD + ONE_READ


@on_loops
async def test_what_is_held_is_read_after_the_end_too() -> None:
    async with connected() as (stream, there):
        said = there.say(DATA[: 3 * MOST_HELD])
        there.finish()
        await until(lambda: len(protocol_of(stream).received) > MOST_HELD)
        await reads(stream, DATA[:said], HANG)
        assert await stream.read(9, HANG) == b""


@on_loops
async def test_closed_while_the_other_side_waits_it_gives_what_it_holds_and_no_more() -> None:
    async with connected() as (stream, there):
        await says_until_it_has_to_wait(there, DATA)
        await stream.aclose()
        await reads(stream, DATA[: len(protocol_of(stream).received)], HANG)
        await fails(httpcore.ReadError, stream.read(9, HANG))


# Writing ------------------------------------------------------------------------------------------


@on_loops
async def test_what_is_written_arrives() -> None:
    async with connected() as (stream, there):
        for data in (b"one", b"two"):
            await stream.write(data, HANG)
            assert await there.hear(3) == data


@on_loops
@pytest.mark.parametrize("limit", [None, HANG])
async def test_more_than_the_other_side_reads_waits_and_goes_on_later(limit: float | None) -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        written = anyio.Event()

        async def write() -> None:
            await stream.write(DATA, limit)
            written.set()

        tasks.start_soon(write)
        await until(lambda: waits(protocol_of(stream).writer))
        assert not written.is_set()
        assert_same(await there.hear(len(DATA)), DATA)
        await written.wait()


@on_loops
async def test_more_than_the_other_side_reads_in_time_is_a_timeout() -> None:
    async with connected() as (stream, _):
        await fails(httpcore.WriteTimeout, stream.write(DATA, SHORT))


@on_loops
async def test_nothing_is_written_after_a_reset() -> None:
    async with connected() as (stream, there):
        there.reset()
        await until(lambda: protocol_of(stream).at_end)
        await fails(httpcore.WriteError, stream.write(b"data", HANG))


@on_loops
async def test_nothing_is_written_after_it_was_closed() -> None:
    async with connected() as (stream, _):
        await stream.aclose()
        await fails(httpcore.WriteError, stream.write(b"data", HANG))


@on_loops
@pytest.mark.parametrize("by", ["reset", "aclose"])
async def test_who_waits_for_writing_when_it_ends_gets_an_error(by: str) -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        tasks.start_soon(fails, httpcore.WriteError, stream.write(DATA, HANG))
        await until(lambda: waits(protocol_of(stream).writer))
        if by == "reset":
            there.reset()
        else:
            await stream.aclose()


@on_loops
async def test_reading_and_writing_at_once_do_not_disturb_each_other() -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        tasks.start_soon(stream.write, DATA, HANG)
        await until(lambda: waits(protocol_of(stream).writer))
        await fails(httpcore.ReadTimeout, stream.read(9, SHORT))
        tasks.start_soon(reads, stream, b"data", HANG)
        await until(lambda: waits(protocol_of(stream).reader))
        there.say(b"da")
        await until(lambda: not protocol_of(stream).received and waits(protocol_of(stream).reader))
        assert_same(await there.hear(len(DATA)), DATA)
        there.say(b"ta")


@on_loops
async def test_the_last_word_is_heard_by_who_still_has_much_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected() as (stream, there):
        await fails(httpcore.WriteTimeout, stream.write(DATA, SHORT))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hears_the_end, stream)
            await until(lambda: waits(protocol_of(stream).reader))
            there.finish()
        assert stream.get_extra_info("socket").fileno() >= 0
        monkeypatch.delattr(select, "poll")
        assert stream.get_extra_info("is_readable")


async def hears_the_end(stream: httpcore.AsyncNetworkStream) -> None:
    assert await stream.read(9, HANG) == b""


@on_loops
async def test_a_write_that_takes_too_long_leaves_reading_alone() -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        tasks.start_soon(reads, stream, b"data", HANG)
        await until(lambda: waits(protocol_of(stream).reader))
        await fails(httpcore.WriteTimeout, stream.write(DATA, SHORT))
        there.say(b"data")


# TLS ----------------------------------------------------------------------------------------------

AUTHORITY: Any = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(SERVER)


def trusting(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


OURS = trusting(AUTHORITY)


async def encrypt(there: anyio.abc.ByteStream) -> TLSStream:
    return await TLSStream.wrap(
        there, server_side=True, ssl_context=SERVER, standard_compatible=False
    )


@attrs.frozen
class Encrypted:
    """Both ends of a connection, in layers of TLS: the topmost, and our lowest."""

    stream: Stream
    socket: Stream
    there: TLSStream


@contextlib.asynccontextmanager
async def encrypted(layers: int = 1) -> AsyncGenerator[Encrypted]:
    async with connected() as (stream, there):
        ours: httpcore.AsyncNetworkStream = stream
        other: anyio.abc.ByteStream = await anyio.abc.SocketStream.from_socket(there.socket)

        async def answer() -> None:
            nonlocal other
            other = await encrypt(other)

        with anyio.fail_after(HANG):
            for _ in range(layers):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(answer)
                    ours = await ours.start_tls(OURS, "localhost", HANG)
        assert isinstance(ours, Stream)
        assert isinstance(other, TLSStream)
        try:
            yield Encrypted(ours, stream, other)
        finally:
            await anyio.aclose_forcefully(other)


in_layers = pytest.mark.parametrize("layers", [1, 2], ids=["TLS", "TLS in TLS"])


@on_loops
@in_layers
async def test_what_goes_through_tls_arrives_on_both_sides(layers: int) -> None:
    async with encrypted(layers) as made:
        await made.stream.write(b"question", HANG)
        assert await made.there.receive() == b"question"
        await made.there.send(b"answer")
        assert await made.stream.read(99, HANG) == b"answer"


@on_loops
@in_layers
async def test_tls_tells_its_object_and_the_sockets_addresses(layers: int) -> None:
    async with encrypted(layers) as made:
        assert made.stream.get_extra_info("ssl_object").version() == "TLSv1.3"
        for name in ("client_addr", "server_addr"):
            address = made.stream.get_extra_info(name)
            assert address == made.socket.get_extra_info(name)
            assert address[0] == "127.0.0.1"
        assert made.stream.get_extra_info("socket").fileno() >= 0


@on_loops
@in_layers
async def test_much_goes_through_tls_in_both_directions_at_once(layers: int) -> None:
    async with encrypted(layers) as made, anyio.create_task_group() as tasks:
        tasks.start_soon(made.stream.write, DATA, HANG)
        tasks.start_soon(made.there.send, DATA)
        tasks.start_soon(reads, made.stream, DATA, HANG)
        heard = bytearray()
        while len(heard) < len(DATA):
            heard += await made.there.receive()
        assert_same(heard, DATA)


@on_loops
async def test_who_says_more_through_tls_than_is_read_has_to_wait() -> None:
    async with encrypted() as made, anyio.create_task_group() as tasks:
        said = 0

        async def say() -> None:
            nonlocal said
            while True:
                await made.there.send(DATA[:ONE_READ])
                said += 1

        tasks.start_soon(say)
        await until(lambda: len(protocol_of(made.stream).received) > MOST_HELD)
        for _ in range(200):
            await asyncio.sleep(0)
        before = said
        for number in range(50):
            assert await made.stream.read(1, HANG) == DATA[number : number + 1]
            await asyncio.sleep(0)
            assert len(protocol_of(made.stream).received) <= MOST_HELD + 2 * ONE_READ
        assert said == before
        tasks.cancel_scope.cancel()


@on_loops
@in_layers
@pytest.mark.parametrize("politely", [True, False])
async def test_after_the_last_word_through_tls_there_is_nothing_to_read(
    layers: int,
    politely: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with encrypted(layers) as made:
        await made.there.send(b"last")
        if politely:
            await made.there.unwrap()
        await anyio.aclose_forcefully(made.there)
        assert [await made.stream.read(9, HANG) for _ in range(3)] == [b"last", b"", b""]


@on_loops
@in_layers
async def test_who_reads_through_tls_while_its_socket_is_closed_gets_an_error(layers: int) -> None:
    async with encrypted(layers) as made:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, httpcore.ReadError, made.stream.read(9, HANG))
            await until(lambda: waits(protocol_of(made.stream).reader))
            await made.socket.aclose()
        await fails(httpcore.ReadError, made.stream.read(9, HANG))
        await fails(httpcore.WriteError, made.stream.write(b"data", HANG))


@on_loops
@in_layers
async def test_more_than_is_read_through_tls_in_time_is_a_timeout(layers: int) -> None:
    async with encrypted(layers) as made:
        await fails(httpcore.WriteTimeout, made.stream.write(DATA, SHORT))


@on_loops
@in_layers
async def test_who_waits_for_writing_through_tls_when_it_is_closed_gets_an_error(
    layers: int,
) -> None:
    async with encrypted(layers) as made, anyio.create_task_group() as tasks:
        tasks.start_soon(fails, httpcore.WriteError, made.stream.write(DATA, HANG))
        await until(lambda: waits(protocol_of(made.stream).writer))
        await made.socket.aclose()


@on_loops
async def test_a_certificate_of_an_authority_that_is_not_trusted_is_an_error() -> None:
    async with connected() as (stream, there):
        other = await anyio.abc.SocketStream.from_socket(there.socket)
        async with other, anyio.create_task_group() as tasks:

            async def be_refused() -> None:
                with contextlib.suppress(ssl.SSLError, anyio.EndOfStream):
                    await encrypt(other)

            tasks.start_soon(be_refused)
            stranger = trusting(trustme.CA())
            await fails(httpcore.ConnectError, stream.start_tls(stranger, "localhost", HANG))


@on_loops
async def test_a_certificate_for_another_name_is_an_error() -> None:
    async with connected() as (stream, there):
        other = await anyio.abc.SocketStream.from_socket(there.socket)
        async with other, anyio.create_task_group() as tasks:

            async def be_refused() -> None:
                with contextlib.suppress(ssl.SSLError, anyio.EndOfStream):
                    await encrypt(other)

            tasks.start_soon(be_refused)
            await fails(httpcore.ConnectError, stream.start_tls(OURS, "other.test", HANG))


@on_loops
async def test_who_does_not_answer_a_handshake_is_a_timeout() -> None:
    async with connected() as (stream, _):
        await fails(httpcore.ConnectTimeout, stream.start_tls(OURS, "localhost", SHORT))


@on_loops
@pytest.mark.parametrize("end", [There.finish, There.reset])
async def test_who_hangs_up_during_a_handshake_is_an_error(end: Callable[[There], None]) -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        tasks.start_soon(fails, httpcore.ConnectError, stream.start_tls(OURS, "localhost", HANG))
        assert await there.hear(1) == b"\x16"
        end(there)


@on_loops
@pytest.mark.parametrize("end", [There.finish, There.reset])
async def test_who_has_hung_up_before_a_handshake_is_an_error(end: Callable[[There], None]) -> None:
    async with connected() as (stream, there):
        end(there)
        await until(lambda: protocol_of(stream).at_end)
        await fails(httpcore.ConnectError, stream.start_tls(OURS, "localhost", HANG))


@on_loops
async def test_who_speaks_before_it_is_asked_to_is_an_error() -> None:
    async with connected() as (stream, there):
        there.say(b"220 mail.test ESMTP\r\n")
        await until(lambda: bool(protocol_of(stream).received))
        await fails(httpcore.ConnectError, stream.start_tls(OURS, "localhost", HANG))


@on_loops
async def test_who_speaks_another_protocol_is_an_error() -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        tasks.start_soon(fails, httpcore.ConnectError, stream.start_tls(OURS, "localhost", HANG))
        assert await there.hear(1) == b"\x16"
        there.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@on_loops
async def test_closed_during_a_handshake_is_an_error() -> None:
    async with connected() as (stream, there), anyio.create_task_group() as tasks:
        tasks.start_soon(fails, httpcore.ConnectError, stream.start_tls(OURS, "localhost", HANG))
        assert await there.hear(1) == b"\x16"
        await stream.aclose()


@on_loops
async def test_a_handshake_that_is_cancelled_leaves_a_socket_that_can_be_closed() -> None:
    async with connected() as (stream, there):
        before = open_sockets()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.start_tls, OURS, "localhost", HANG)
            assert await there.hear(1) == b"\x16"
            tasks.cancel_scope.cancel()
        await stream.aclose()
        assert open_sockets() == before - 1


# What is to be read of an idle one ----------------------------------------------------------------


@on_loops
async def test_it_is_readable_once_something_came_whether_or_not_the_loop_knows() -> None:
    async with connected() as (stream, there):
        seen = [stream.get_extra_info("is_readable")]
        there.say(b"data")
        seen.append(stream.get_extra_info("is_readable"))
        await until(lambda: bool(protocol_of(stream).received))
        seen.append(stream.get_extra_info("is_readable"))
        await stream.read(9, HANG)
        seen.append(stream.get_extra_info("is_readable"))
        assert seen == [False, True, True, False]


@on_loops
@pytest.mark.parametrize("end", [There.finish, There.reset])
async def test_it_is_readable_at_its_end_whether_or_not_the_loop_knows(
    end: Callable[[There], None],
) -> None:
    async with connected() as (stream, there):
        end(there)
        assert stream.get_extra_info("is_readable")
        await until(lambda: protocol_of(stream).at_end)
        assert stream.get_extra_info("is_readable")


@on_loops
async def test_it_is_readable_when_it_is_closed() -> None:
    async with connected() as (stream, _):
        await stream.aclose()
        assert stream.get_extra_info("is_readable")


@on_loops
@in_layers
async def test_what_came_in_through_tls_is_to_be_read_from_the_socket_too(layers: int) -> None:
    async with encrypted(layers) as made:

        async def turns() -> list[bool]:
            for _ in range(20):  # what TLS says to itself after its handshake
                await asyncio.sleep(0)
            return [one.get_extra_info("is_readable") for one in (made.stream, made.socket)]

        assert await turns() == [False, False]
        await made.there.send(b"unasked")
        await until(lambda: bool(protocol_of(made.stream).received))
        assert await turns() == [True, True]
        await made.stream.read(99, HANG)
        assert await turns() == [False, False]
        await anyio.aclose_forcefully(made.there)
        await until(lambda: protocol_of(made.stream).at_end)
        assert await turns() == [True, True]


@on_loops
async def test_a_connection_over_tls_is_stale_once_the_server_speaks_unasked() -> None:
    with listener() as (listening, port):
        origin = httpcore.Origin(b"https", b"127.0.0.1", port)
        connection = Connection(network(), origin)
        stream = await connection.connect_tcp("127.0.0.1", port, HANG)
        with accepted(listening) as there:
            other = await anyio.abc.SocketStream.from_socket(there.socket)
            sent = anyio.Event()

            async def speak() -> None:
                await (await encrypt(other)).send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                sent.set()

            async with other, anyio.create_task_group() as tasks:
                tasks.start_soon(speak)
                await stream.start_tls(OURS, "localhost", HANG)
                await sent.wait()
                await until(lambda: connection.is_stale)
                await connection.close()


def test_what_is_no_socket_or_a_closed_one_is_readable() -> None:
    with socket.socket() as closed:
        pass
    assert is_readable(None)
    assert is_readable(closed)


def test_without_poll_only_a_closed_socket_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    ours, there = socket.socketpair()
    with ours, there:
        there.send(b"data")
        assert not is_readable(ours)
    assert is_readable(ours)


# Closing ------------------------------------------------------------------------------------------


@on_loops
@in_layers
async def test_it_is_closed_at_once_and_may_be_closed_twice(layers: int) -> None:
    async with encrypted(layers) as made:
        before = open_sockets()
        ours = made.stream.get_extra_info("socket")
        await made.stream.aclose()
        assert (ours.fileno(), open_sockets()) == (-1, before - 1)
        await made.stream.aclose()
        await made.socket.aclose()


@on_loops
async def test_it_is_closed_at_once_whatever_was_not_sent() -> None:
    async with connected() as (stream, _):
        before = open_sockets()
        ours = stream.get_extra_info("socket")
        await fails(httpcore.WriteTimeout, stream.write(DATA, SHORT))
        await stream.aclose()
        assert (ours.fileno(), open_sockets()) == (-1, before - 1)


@on_loops
async def test_it_is_closed_in_a_task_that_has_been_cancelled() -> None:
    async with connected() as (stream, _):
        before = open_sockets()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()
        await until(lambda: open_sockets() == before - 1)


@on_loops
async def test_it_is_closed_by_a_task_that_is_cancelled_in_the_middle() -> None:
    async with connected() as (stream, _):
        before = open_sockets()
        closing = asyncio.ensure_future(stream.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert open_sockets() == before - 1
