# ruff: noqa: ASYNC109 - httpcore's signatures
from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel
import httpcore
import pytest
from names import Resolver, at

from chat2pay_async._transport import httpcore as under_test
from chat2pay_async._transport.base import (
    RESET_ON_CLOSE,
    ExchangeError,
    Limits,
    Names,
    Outgoing,
    SendGuard,
)
from chat2pay_async._transport.httpcore import HttpcoreConnection

pytestmark = pytest.mark.anyio

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Stream(httpcore.AsyncNetworkStream):
    """A socket that writes down what happens to it."""

    def __init__(self, *, fails_to_close: bool = False, hangs: bool = False) -> None:
        self.log: list[Any] = []
        self.readable = False
        self.closed = 0
        self._fails_to_close = fails_to_close
        self._hangs = hangs

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.log.append(("read", max_bytes, timeout))
        return b"data"

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.log.append((buffer, timeout))

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed += 1
        if self._fails_to_close:
            raise OSError("it is gone already")

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if self._hangs:
            await anyio.sleep_forever()
        self.log.append(("tls", server_hostname, timeout))
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            return TLS.wrap_bio(incoming, outgoing, server_hostname="host")
        return self.readable if info == "is_readable" else info


class Network(httpcore.AsyncNetworkBackend):
    def __init__(self, stream: Stream | None = None) -> None:
        self.stream = stream or Stream()
        self.connecting = anyio.Event()
        self.may_connect = anyio.Event()
        self.may_connect.set()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connecting.set()
        await self.may_connect.wait()
        self.stream.log.append((host, port, timeout, local_address, socket_options))
        return self.stream


PROXY = {"http": None, "https": None, "https by https": "https", "http by socks5": "socks5"}


def connection_over(network: Network, way: str = "http") -> HttpcoreConnection:
    scheme, through = way.partition(" ")[0].encode(), PROXY[way]
    proxy = httpcore.Proxy(f"{through}://proxy.test:1") if through else None
    origin = httpcore.Origin(scheme, b"host", 1)
    return HttpcoreConnection(network, origin, ssl_context=TLS, proxy=proxy)


@pytest.mark.parametrize(("scheme", "watched"), [(b"https", True), (b"http", False)])
def test_only_tls_can_agree_on_http2(scheme: bytes, watched: bool) -> None:  # noqa: FBT001 - as ids
    origin = httpcore.Origin(scheme, b"host", 1)
    connection = HttpcoreConnection(httpcore.AnyIOBackend(), origin, ssl_context=TLS, http2=True)
    assert (connection._frames is not None) is watched


class Noting(SendGuard, kw_only=True):
    """A guard that notes when it lets a request leave."""

    log: list[Any]

    def __call__(self) -> None:
        self.log.append("first byte")


def noting(connection: HttpcoreConnection) -> list[str]:
    """Return what is noted of the first byte."""
    noted: list[str] = []
    connection._guard = Noting(log=noted)
    return noted


async def test_everything_is_passed_on() -> None:
    network = Network()
    connection = connection_over(network)
    before = connection.opened
    outer = await connection.connect_tcp("host", 1, 2.0, "here", [])
    assert (before, connection.opened) == (False, True)
    await outer.write(b"abc", 3.0)
    assert await outer.read(9, 4.0) == b"data"
    await (await outer.start_tls(TLS, "name", 5.0)).write(b"def", 6.0)
    assert outer.get_extra_info("socket") == "socket"
    assert network.stream.log == [
        ("host", 1, 2.0, "here", [(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)]),
        (b"abc", 3.0),
        ("read", 9, 4.0),
        ("tls", "name", 5.0),
        (b"def", 6.0),
    ]


async def test_the_first_byte_is_noted_right_before_it_is_written_once_for_each_request() -> None:
    network = Network()
    connection = connection_over(network)
    connection._guard = Noting(log=network.stream.log)
    outer = await connection.connect_tcp("host", 1)
    network.stream.log.clear()
    written = []
    for data in (b"", b"a", b"b"):
        await outer.write(data)
        written.append(connection.written)
    connection.written, connection._guard = False, None
    written.append(connection.written)
    await outer.write(b"c")
    written.append(connection.written)
    assert written == [False, True, True, False, True]
    assert network.stream.log == ["first byte", (b"a", None), (b"b", None), (b"c", None)]


async def test_what_is_written_below_the_requests_layer_of_tls_is_no_part_of_it() -> None:
    connection = connection_over(Network(), "https by https")
    noted = noting(connection)
    outer = await connection.connect_tcp("proxy", 1)
    tls = await outer.start_tls(TLS)
    await tls.write(b"CONNECT host:443 HTTP/1.1\r\n\r\n")
    inner = await tls.start_tls(TLS)
    assert noted == []
    await inner.write(b"POST / HTTP/1.1\r\n\r\n")
    assert noted == ["first byte"]


async def test_a_socks_handshake_is_no_part_of_the_request_even_on_its_layer() -> None:
    connection = connection_over(Network(), "http by socks5")
    noted = noting(connection)
    outer = await connection.connect_tcp("proxy", 1)
    await outer.write(b"\x05\x01\x00")
    await outer.write(b"\x01\x04user\x04word")
    await outer.write(b"\x05\x01\x00\x03\x04host\x00\x50")
    assert noted == []
    await outer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert noted == ["first byte"]


async def test_a_handshake_without_a_limit_gets_that_of_connecting() -> None:
    network = Network()
    connection = connection_over(network, "http by socks5")
    outer = await connection.connect_tcp("proxy", 1, 7.0)
    await outer.write(b"\x05\x01\x00")
    await outer.read(1)
    await outer.write(b"GET")
    await outer.read(1)
    await outer.read(1, 3.0)
    *handshake, request, answer, rest = [entry[-1] for entry in network.stream.log[1:]]
    assert handshake == [pytest.approx(7, abs=3), pytest.approx(7, abs=3)]
    assert (request, answer, rest) == (None, None, 3.0)


@pytest.mark.virtual_time
async def test_all_that_comes_before_the_request_shares_the_time_to_connect() -> None:
    network = Network()
    connection = connection_over(network, "https")
    outer = await connection.connect_tcp("proxy", 1, 7.0)
    await anyio.sleep(2)
    await outer.read(1, 30.0)
    await anyio.sleep(3)
    tls = await outer.start_tls(TLS, "name", 30.0)
    await anyio.sleep(9)
    with pytest.raises(httpcore.ReadTimeout):  # also where its bytes have come in already
        await outer.read(1)
    await tls.write(b"GET", 4.0)
    await tls.read(1, 30.0)
    assert [entry[-1] for entry in network.stream.log[1:]] == pytest.approx([5, 2, 4, 30])


class Withholding(Stream):
    """A layer that has taken something in already; None: nothing, and it waits."""

    def __init__(self, held: bytes | Exception | None) -> None:
        super().__init__()
        self._held = held

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await super().read(max_bytes, timeout)
        if isinstance(self._held, Exception):
            raise self._held
        held, self._held = self._held, None
        if held is None:
            await anyio.sleep_forever()
        return held or b""


@pytest.mark.parametrize(
    ("held", "is_over"),
    [
        (None, False),
        (httpcore.ReadError(), True),
        (ssl.SSLError("no record"), True),
        (b"H", True),
        (b"", True),
    ],
)
@pytest.mark.parametrize("way", ["http", "https"])
async def test_what_its_layers_hold_is_read_for(
    way: str, held: bytes | Exception | None, *, is_over: bool
) -> None:
    stream = Withholding(held)
    connection = connection_over(Network(stream), way)
    outer = await connection.connect_tcp("host", 1)
    if way == "https":
        await outer.start_tls(TLS)
    assert ("read", 1, None) not in stream.log
    with anyio.fail_after(30):
        assert await connection.is_over() is is_over
        assert await connection.is_over() is is_over, "what was read is not forgotten"
    assert ("read", 1, None) in stream.log


async def test_who_is_cancelled_while_it_is_read_for_is_cancelled() -> None:
    connection = connection_over(Network(Withholding(None)))
    await connection.connect_tcp("host", 1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await connection.is_over()
    assert scope.cancelled_caught


async def test_what_its_socket_shows_is_not_read_for() -> None:
    network = Network()
    connection = connection_over(network)
    assert await connection.is_over() is False, "it was never opened"
    await (await connection.connect_tcp("host", 1)).start_tls(TLS)
    network.stream.readable = True
    assert await connection.is_over() is True
    assert ("read", 1, None) not in network.stream.log


async def test_a_connection_opens_one_socket_only() -> None:
    connection = connection_over(Network())
    await connection.connect_tcp("host", 1)
    with pytest.raises(httpcore.RemoteProtocolError):
        await connection.connect_tcp("host", 1)


async def test_it_is_stale_once_there_is_something_to_read_or_no_socket() -> None:
    network = Network()
    connection = connection_over(network)
    stale = [connection.is_stale]
    await connection.connect_tcp("host", 1)
    stale.append(connection.is_stale)
    network.stream.readable = True
    stale.append(connection.is_stale)
    network.stream.readable = False
    await connection.close()
    stale.append(connection.is_stale)
    assert stale == [True, False, True, True]


async def test_it_is_closed_once_by_whichever_layer_says_so() -> None:
    network = Network()
    connection = connection_over(network)
    outer = await connection.connect_tcp("host", 1)
    inner = await outer.start_tls(TLS)
    await inner.aclose()
    await outer.aclose()
    await connection.close()
    assert network.stream.closed == 1


async def test_one_that_was_never_connected_or_is_closed_has_nothing_to_abandon() -> None:
    network = Network()
    connection = connection_over(network)
    connection.abandon()
    await connection.connect_tcp("host", 1)
    await connection.close()
    connection.abandon()
    assert network.stream.closed == 1


async def test_it_is_closed_in_a_task_that_has_been_cancelled() -> None:
    network = Network(Stream(fails_to_close=True))
    connection = connection_over(network)
    await connection.connect_tcp("host", 1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await connection.close()
    assert network.stream.closed == 1


@pytest.mark.virtual_time
async def test_closing_does_not_take_for_ever() -> None:
    class Stuck(Stream):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    connection = connection_over(Network(Stuck()))
    await connection.connect_tcp("host", 1)
    start = anyio.current_time()
    await connection.close()
    assert anyio.current_time() - start == pytest.approx(1.0)


async def test_a_handshake_that_is_cancelled_closes_the_socket() -> None:
    network = Network(Stream(hangs=True))
    connection = connection_over(network)
    outer = await connection.connect_tcp("host", 1)
    with anyio.move_on_after(0):
        await outer.start_tls(TLS)
    assert network.stream.closed == 1


async def test_a_connection_that_is_closed_while_it_connects_does_not_stay_open() -> None:
    network = Network()
    network.may_connect = anyio.Event()
    connection = connection_over(network)

    async def close_in_the_middle() -> None:
        await network.connecting.wait()
        await connection.close()
        network.may_connect.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close_in_the_middle)
        with pytest.raises(httpcore.ConnectError):
            await connection.connect_tcp("host", 1)
    assert network.stream.closed == 1


# Names --------------------------------------------------------------------------------------------


class Ports(httpcore.AsyncNetworkBackend):
    """A network where each address does as its port says."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, int]] = []
        self.made: list[Stream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.tried.append((host, port))
        assert (socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE) in (socket_options or ())
        if port == REFUSES:
            raise httpcore.ConnectError(host)
        if port == SILENT:
            await anyio.sleep_forever()
        if port == DEAF:  # to a cancellation
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
        self.made.append(Stream())
        return self.made[-1]


REFUSES, SILENT, DEAF, ANSWERS = 1, 2, 3, 4


async def connected_by_name(
    found: list[Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[HttpcoreConnection, Ports, Resolver]:
    resolver, network = Resolver(found), Ports()
    resolver.put_in_place(monkeypatch)
    names = Names("host.test", 1)
    origin = httpcore.Origin(b"http", b"host.test", 1)
    connection = HttpcoreConnection(network, origin, names=names)
    try:
        await connection.connect_tcp("host.test", 1)
    except httpcore.ConnectError:
        assert names._good_until < 0, "what does not answer is looked up anew"
    return connection, network, resolver


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("first", "waits"), [(REFUSES, 0.0), (SILENT, 0.25), (ANSWERS, 0.0)], ids=str
)
async def test_a_hosts_next_address_is_tried_where_one_refuses_or_says_nothing(
    first: int, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = anyio.current_time()
    found = [at(first, "::1"), at(REFUSES, "::2"), at(ANSWERS)]
    _, network, resolver = await connected_by_name(found, monkeypatch)
    tried = [("::1", first), ("127.0.0.1", ANSWERS)]
    assert network.tried == tried[: 1 + (first != ANSWERS)]
    assert (len(network.made), resolver.look_ups) == (1, 1)
    assert anyio.current_time() - began == pytest.approx(waits, abs=0.01)


@pytest.mark.virtual_time
async def test_of_two_addresses_that_answer_at_a_time_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [at(DEAF), at(DEAF)]
    connection, network, _ = await connected_by_name(found, monkeypatch)
    assert sorted(one.closed for one in network.made) == [0, 1]
    await connection.close()
    assert [one.closed for one in network.made] == [1, 1]


async def test_where_no_address_answers_the_first_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [at(REFUSES, "::1"), at(REFUSES)]
    connection, network, _ = await connected_by_name(found, monkeypatch)
    assert (len(network.tried), network.made, connection.is_stale) == (2, [], True)


@pytest.mark.virtual_time
async def test_a_look_up_that_takes_too_long_is_a_timeout_and_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Resolver([], anyio.sleep_forever).put_in_place(monkeypatch)
    origin = httpcore.Origin(b"http", b"host.test", 1)
    connection = HttpcoreConnection(Ports(), origin, names=Names("host.test", 1))
    guard, began = SendGuard(), anyio.current_time()
    with pytest.raises(httpcore.ConnectTimeout):
        await connection.exchange(Outgoing(b"GET", b"/", (), b""), Limits(connect=5.0), guard)
    assert anyio.current_time() - began == pytest.approx(5.0)
    assert not guard.may_have_been_sent


# Exchanges ----------------------------------------------------------------------------------------

EXCEPTIONS = [
    value
    for name in sorted(httpcore.__all__)
    if isinstance(value := getattr(httpcore, name), type) and issubclass(value, Exception)
]
kinds = pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)


class Failing:
    """A connection of httpcore's that fails."""

    def __init__(
        self, error: BaseException, connection: HttpcoreConnection, *, written: bool
    ) -> None:
        self._error, self._connection, self._written = error, connection, written

    async def handle_async_request(self, _request: httpcore.Request) -> httpcore.Response:
        self._connection.written = self._written
        await anyio.lowlevel.checkpoint()
        raise self._error


REQUEST = Outgoing(b"POST", b"/", ((b"Host", b"host"), (b"Content-Length", b"2")), b"{}")


async def raised(
    error: BaseException, *, opened: bool = True, written: bool = True
) -> tuple[BaseException, bool]:
    """Return what comes out of an exchange, and whether it says that the request was not sent."""
    connection = connection_over(Network())
    connection.opened = opened
    failing: Any = Failing(error, connection, written=written)
    connection._http = failing
    guard = SendGuard()
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - it is what is asked for
        await connection.exchange(REQUEST, Limits(), guard)
    assert caught.value is error or caught.value.__cause__ is error
    assert str(caught.value) == str(error)
    return caught.value, not guard.may_have_been_sent


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that has patched httpcore."""
    monkeypatch.setattr(under_test, "is_mocked", lambda: True)


def test_httpcore_has_as_many_exceptions_as_are_known() -> None:
    assert len(EXCEPTIONS) == 15


@kinds
async def test_once_the_request_may_have_left_an_exception_stays_what_it_is(kind: Any) -> None:
    error, not_sent = await raised(kind("why"))
    gone = kind is httpcore.ConnectionNotAvailable  # httpcore's own pool never lets it out
    assert type(error) is (httpcore.RemoteProtocolError if gone else kind)
    assert not not_sent


@kinds
async def test_before_the_first_byte_an_exception_says_that_nothing_was_sent(kind: Any) -> None:
    error, not_sent = await raised(kind("why"), written=False)
    if kind is httpcore.ProxyError:
        assert type(error) is httpcore.ProxyError
    elif issubclass(kind, httpcore.TimeoutException):
        assert type(error) is httpcore.ConnectTimeout
    else:
        assert type(error) is httpcore.ConnectError
    assert not_sent


@pytest.mark.usefixtures("mocked")
async def test_an_exception_from_elsewhere_stays_itself_unless_nothing_was_sent() -> None:
    why = ValueError("why")
    assert await raised(why) == (why, False)
    assert await raised(why, opened=False, written=False) == (why, False)
    error, not_sent = await raised(why, written=False)
    assert (type(error), not_sent) == (httpcore.ConnectError, True)


async def test_a_cancellation_stays_what_it_is_and_says_whether_anything_was_sent() -> None:
    class Stopped(BaseException):
        """Neither library's own: one of them has no constructor."""

    assert await raised(stopped := Stopped()) == (stopped, False)
    assert await raised(stopped, written=False) == (stopped, True)


@pytest.mark.usefixtures("mocked")
async def test_what_a_mock_raises_stays_what_it_is() -> None:
    error, not_sent = await raised(httpcore.ReadTimeout("why"), opened=False, written=False)
    assert (type(error), not_sent) == (httpcore.ReadTimeout, False)


async def test_what_ends_before_it_is_connected_was_not_sent() -> None:
    error, not_sent = await raised(TimeoutError("why"), opened=False, written=False)
    assert (type(error), not_sent) == (httpcore.ConnectTimeout, True)


class Answering(Stream):
    """A server that answers as it is told."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._answer = answer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await super().read(max_bytes, timeout)
        return self._answer

    def get_extra_info(self, info: str) -> Any:
        return self.readable if info == "is_readable" else None


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TWO_FRAMINGS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)


async def test_a_request_that_would_leave_too_late_is_kept_back_before_anything_is_done() -> None:
    connection = connection_over(Network(Answering(OK)))
    await connection.exchange(REQUEST, Limits(), SendGuard())
    late = SendGuard(latest=anyio.current_time() - 1)
    with pytest.raises(ExchangeError):
        await connection.exchange(REQUEST, Limits(), late)
    assert (late.was_too_late, late.may_have_been_sent) == (True, False)
    assert connection.is_reusable


async def test_a_request_that_is_too_late_only_now_was_not_sent() -> None:
    class Slow(Noting):
        def __call__(self) -> None:
            self.latest = -1.0
            SendGuard.__call__(self)

    late = Slow(log=[])
    connection = connection_over(Network(Answering(OK)))
    with pytest.raises(ExchangeError):
        await connection.exchange(REQUEST, Limits(), late)
    assert (late.was_too_late, late.may_have_been_sent) == (True, False)
    assert not connection.is_reusable


async def test_a_response_that_says_in_two_ways_how_long_it_is_is_refused() -> None:
    connection = connection_over(Network(Answering(TWO_FRAMINGS)))
    guard = SendGuard()
    with pytest.raises(httpcore.RemoteProtocolError, match="has a length, and"):
        await connection.exchange(REQUEST, Limits(), guard)
    assert guard.may_have_been_sent
    await connection.close()
