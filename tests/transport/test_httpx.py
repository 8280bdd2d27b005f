from __future__ import annotations

import contextlib
import itertools
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, cast

import anyio
import anyio.abc
import attrs
import httpx
import httpx2
import pytest
import respx
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

from chat2pay_async import ConfigurationError, Proof, SentRequest, Timeout, http_client_for
from chat2pay_async._transport.base import ExchangeError, SendGuard, Transport
from chat2pay_async._transport.factory import transport_for
from chat2pay_async._transport.httpx import (
    NOT_SENT_ERRORS,
    TIMEOUT_ERRORS,
    UNKNOWN_ERRORS,
    HttpxTransport,
    classify,
    library_of,
)
from chat2pay_async._transport.pool import PooledTransport

pytestmark = pytest.mark.anyio

LIBRARIES = [httpx, httpx2]


def exceptions_of(library: Any) -> list[type[Exception]]:
    return [
        value
        for name in library.__all__
        if isinstance(value := getattr(library, name), type) and issubclass(value, Exception)
    ]


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_exception_of_the_library_stands_in_exactly_one_row(library: Any) -> None:
    names = {kind.__name__ for kind in exceptions_of(library)}
    assert len(names) > 20
    assert names - (NOT_SENT_ERRORS | UNKNOWN_ERRORS) == set()
    assert set() == NOT_SENT_ERRORS & UNKNOWN_ERRORS


def test_no_row_is_about_an_exception_that_does_not_exist() -> None:
    names = {kind.__name__ for library in LIBRARIES for kind in exceptions_of(library)}
    assert names >= NOT_SENT_ERRORS | UNKNOWN_ERRORS | TIMEOUT_ERRORS


NOT_SENT = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
}
OURS = httpx.Request("POST", "https://service.test/")


def about(kind: type[Exception], request: httpx.Request = OURS) -> Exception:
    """An exception of the library as it comes out of a request."""
    error = kind.__new__(kind)
    if issubclass(kind, httpx.RequestError):
        error.request = request  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.__name__) for kind in exceptions_of(httpx)]
)
def test_only_what_precedes_the_first_byte_proves_that_nothing_was_sent(
    kind: type[Exception],
) -> None:
    verdict = classify(about(kind), OURS)
    assert verdict.proof is (Proof.NOT_SENT if kind.__name__ in NOT_SENT else Proof.UNKNOWN)
    assert verdict.timed_out is ("Timeout" in kind.__name__)
    assert verdict.reason == kind.__name__


def test_a_subclass_is_classified_as_the_nearest_class_that_has_a_row() -> None:
    class Refused(httpx.ConnectError): ...

    assert classify(about(Refused), OURS).proof is Proof.NOT_SENT
    assert classify(about(Refused), OURS).reason == "Refused"


@pytest.mark.parametrize("name", sorted(NOT_SENT))
def test_an_exception_about_another_request_proves_nothing_about_ours(name: str) -> None:
    other = httpx.Request("POST", "https://log.test/")
    assert classify(about(getattr(httpx, name), other), OURS).proof is Proof.UNKNOWN
    unset: Exception = getattr(httpx, name)("no request set")
    assert classify(unset, OURS).proof is Proof.UNKNOWN


@pytest.mark.parametrize("name", sorted(NOT_SENT))
def test_an_exception_after_the_request_may_have_left_proves_nothing(name: str) -> None:
    error = about(getattr(httpx, name))
    assert classify(error, OURS, may_have_left=True).proof is Proof.UNKNOWN


@pytest.mark.parametrize("error", [RuntimeError(), OSError(), ValueError()])
def test_an_exception_from_elsewhere_may_have_been_raised_after_the_request_was_sent(
    error: Exception,
) -> None:
    assert classify(error, OURS).proof is Proof.UNKNOWN
    assert not classify(error, OURS).timed_out


def test_the_library_is_the_one_that_the_object_comes_from() -> None:
    class Mine(httpx2.MockTransport): ...

    assert library_of(Mine(lambda _request: httpx2.Response(200))) is httpx2
    assert library_of(httpx.AsyncClient()) is httpx
    with pytest.raises(ConfigurationError, match="str is no client and no transport"):
        library_of("http://…")


def transport_over(client: Any, *, base_url: str = "https://service.test") -> HttpxTransport:
    reserved = frozenset({"amount", "orderNumber"})
    return HttpxTransport(client, library_of(client), base_url, owned=False, reserved=reserved)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_an_exchange_sends_the_bytes_and_brings_the_bytes_back(library: Any) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        return library.Response(201, headers={"X-Trace": "1"}, content=b"\xff\x00")

    async with library.AsyncClient(transport=library.MockTransport(answer)) as client:
        response = await transport_over(client).exchange(
            POST, {"Authorization": "key"}, QUICK, SendGuard()
        )
    assert (response.status_code, response.body) == (201, b"\xff\x00")
    assert response.headers["x-trace"] == "1"
    (request,) = seen
    assert str(request.url) == "https://service.test/api/v2/chat-2-pay"
    assert (request.method, request.content) == ("POST", b'{"a":1}')
    assert request.headers["authorization"] == "key"
    assert request.extensions["timeout"] == {
        "connect": 0.2,
        "read": 0.2,
        "write": 0.2,
        "pool": None,
    }


@pytest.mark.parametrize("library", LIBRARIES)
async def test_an_error_of_either_library_is_classified_with_its_cause(library: Any) -> None:
    def refuse(request: Any) -> Any:
        raise library.ConnectError("secret words", request=request)

    async with library.AsyncClient(transport=library.MockTransport(refuse)) as client:
        with pytest.raises(ExchangeError) as caught:
            await transport_over(client).exchange(GET, {}, QUICK, SendGuard())
    assert caught.value.proof is Proof.NOT_SENT
    assert isinstance(caught.value.__cause__, library.ConnectError)
    assert "secret words" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    ["/api/v2/cancel/no%2Fsuch%3Fx", "/api/v2/cancel/%2E%2E%2Fconfig", "/p?amount=100.00&a=%26"],
)
async def test_a_quoted_target_reaches_the_connection_as_it_is(target: str) -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await transport_over(client).exchange(SentRequest("GET", target), {}, QUICK, SendGuard())
    assert seen == [target.encode()]


async def test_a_base_url_with_a_path_keeps_it() -> None:
    with respx.mock:
        route = respx.get("https://gateway.test/c2p/api/v2/config").respond(200)
        async with httpx.AsyncClient() as client:
            transport = transport_over(client, base_url="https://gateway.test/c2p")
            await transport.exchange(GET, {}, QUICK, SendGuard())
    assert route.call_count == 1


async def test_redirects_are_not_followed_even_by_a_client_that_would() -> None:
    with respx.mock:
        respx.post("https://service.test/api/v2/chat-2-pay").respond(
            307, headers={"Location": "https://elsewhere.test/"}
        )
        elsewhere = respx.post("https://elsewhere.test/").respond(201)
        async with httpx.AsyncClient(follow_redirects=True) as client:
            response = await transport_over(client).exchange(POST, {}, QUICK, SendGuard())
    assert response.status_code == 307
    assert elsewhere.call_count == 0


async def test_the_users_hooks_auth_headers_cookies_and_parameters_act() -> None:
    asked, answered = [], []

    async def on_request(request: httpx.Request) -> None:
        asked.append((request.method, request.content))

    async def on_response(response: httpx.Response) -> None:
        answered.append(response.status_code)

    class Signed(httpx.Auth):
        requires_request_body = True

        def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
            request.headers["X-Signature"] = str(len(request.content))
            yield request

    with respx.mock:
        route = respx.post("https://service.test/api/v2/chat-2-pay").respond(201)
        async with httpx.AsyncClient(
            event_hooks={"request": [on_request], "response": [on_response]},
            auth=Signed(),
            headers={"X-Team": "payments", "Authorization": "theirs"},
            cookies={"sticky": "node-7"},
            params={"tenant": "t1"},
        ) as client:
            await transport_over(client).exchange(
                POST, {"Authorization": "ours"}, QUICK, SendGuard()
            )
    request = route.calls.last.request
    assert asked == [("POST", b'{"a":1}')]
    assert answered == [201]
    assert request.headers["x-signature"] == "7"
    assert request.headers["x-team"] == "payments"
    assert request.headers["cookie"] == "sticky=node-7"
    assert request.url.params["tenant"] == "t1"
    assert request.headers["authorization"] == "ours"


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("theirs", "sent"),
    [
        ({}, b"amount=10.00&note=a%20b"),
        ({"tenant": "t1"}, b"amount=10.00&note=a%20b&tenant=t1"),
        (
            {"amount": "99.00", "orderNumber": "A-9", "tenant": "t 1"},
            b"amount=10.00&note=a%20b&tenant=t+1",
        ),
    ],
)
async def test_no_parameter_of_the_users_client_takes_the_place_of_ours(
    library: Any, theirs: dict[str, str], sent: bytes
) -> None:
    """Httpx itself drops the whole query, and a capture without `amount` takes all there is."""
    seen: list[bytes] = []

    def answer(request: Any) -> Any:
        seen.append(request.url.query)
        return library.Response(200)

    capture = SentRequest("POST", "/api/v2/payment/ref/capture?amount=10.00&note=a%20b")
    whole = SentRequest("POST", "/api/v2/payment/ref/capture")
    client = library.AsyncClient(transport=library.MockTransport(answer), params=theirs)
    async with client:
        await transport_over(client).exchange(capture, {}, QUICK, SendGuard())
        await transport_over(client).exchange(whole, {}, QUICK, SendGuard())
    assert seen == [sent, sent.removeprefix(b"amount=10.00&note=a%20b").removeprefix(b"&")]


async def test_a_hook_that_raises_for_status_leaves_the_status_to_be_judged() -> None:
    async def strict(response: httpx.Response) -> None:
        response.raise_for_status()

    with respx.mock:
        respx.get("https://service.test/api/v2/config").respond(401, json={"message": "no"})
        async with httpx.AsyncClient(event_hooks={"response": [strict]}) as client:
            response = await transport_over(client).exchange(GET, {}, QUICK, SendGuard())
    assert (response.status_code, response.body) == (401, b"")


async def test_a_response_hook_whose_own_request_fails_does_not_make_ours_unsent() -> None:
    async def report(_response: httpx.Response) -> None:
        async with httpx.AsyncClient() as other:
            await other.post("https://log.test/")

    with respx.mock:
        respx.post("https://service.test/api/v2/chat-2-pay").respond(201)
        log = respx.post("https://log.test/").mock(side_effect=httpx.ConnectError)
        async with httpx.AsyncClient(event_hooks={"response": [report]}) as client:
            with pytest.raises(ExchangeError) as caught:
                await transport_over(client).exchange(POST, {}, QUICK, SendGuard())
    assert log.call_count == 1
    assert (caught.value.proof, caught.value.reason) == (Proof.UNKNOWN, "ConnectError")


async def test_the_status_of_a_response_hooks_own_request_is_not_taken_for_ours() -> None:
    async def report(_response: httpx.Response) -> None:
        async with httpx.AsyncClient() as other:
            (await other.post("https://log.test/")).raise_for_status()

    with respx.mock:
        respx.post("https://service.test/api/v2/chat-2-pay").respond(201)
        log = respx.post("https://log.test/").respond(429)
        async with httpx.AsyncClient(event_hooks={"response": [report]}) as client:
            with pytest.raises(ExchangeError) as caught:
                await transport_over(client).exchange(POST, {}, QUICK, SendGuard())
    assert log.call_count == 1
    assert (caught.value.proof, caught.value.reason) == (Proof.UNKNOWN, "HTTPStatusError")


async def test_a_client_of_the_users_that_is_closed_says_so_before_anything_is_sent() -> None:
    client = httpx.AsyncClient()
    await client.aclose()
    with pytest.raises(ConfigurationError, match="http_client of this client is closed"):
        await transport_over(client).exchange(GET, {}, QUICK, SendGuard())


async def test_only_a_client_of_our_own_is_closed() -> None:
    theirs = httpx.AsyncClient()
    await transport_for("https://a.test", transport=None, http_client=theirs).aclose()
    assert not theirs.is_closed
    await theirs.aclose()

    closed = []

    class Theirs(httpx.MockTransport):
        async def aclose(self) -> None:
            closed.append(True)

    transport = Theirs(lambda _request: httpx.Response(200))
    await transport_for("https://a.test", transport=transport).aclose()
    assert closed == [True]


def test_a_synchronous_transport_is_refused() -> None:
    with (
        httpx.HTTPTransport() as transport,
        pytest.raises(ConfigurationError, match=r"AsyncBaseTransport, .* not HTTPTransport"),
    ):
        transport_for("https://a.test", transport=cast("Any", transport))


def test_a_client_and_a_transport_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        transport_for(
            "https://a.test",
            transport=httpx.MockTransport(lambda _request: httpx.Response(200)),
            http_client=httpx.AsyncClient(),
        )


def test_a_synchronous_client_is_refused() -> None:
    with httpx.Client() as client, pytest.raises(ConfigurationError, match="AsyncClient"):
        transport_for(
            "https://a.test",
            transport=None,
            http_client=client,  # type: ignore[arg-type]
        )


# Real sockets, where what breaks is not made up --------------------------------------------------


async def exchange_with(url: str, limits: Timeout = PATIENT) -> ExchangeError:
    """Return what an exchange ends with: over our own connections as over httpx's."""
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(ExchangeError) as theirs:
            await transport_over(client, base_url=url).exchange(POST, {}, limits, SendGuard())
    async with own_transport(url) as transport:
        with pytest.raises(ExchangeError) as ours:
            await transport.exchange(POST, {}, limits, SendGuard())
    assert (ours.value.proof, ours.value.timed_out) == (theirs.value.proof, theirs.value.timed_out)
    return ours.value


@contextlib.asynccontextmanager
async def own_transport(url: str, **settings: Any) -> AsyncIterator[Transport]:
    transport = transport_for(url, **settings)
    try:
        yield transport
    finally:
        await transport.aclose()


async def test_nobody_listening_is_not_sent() -> None:
    error = await exchange_with(nobody_listening())
    assert (error.proof, error.reason) == (Proof.NOT_SENT, "ConnectError")


async def test_a_name_that_does_not_resolve_is_not_sent() -> None:
    error = await exchange_with("http://no-such-host.invalid")
    assert error.proof is Proof.NOT_SENT


async def test_a_tls_handshake_that_fails_is_not_sent() -> None:
    async def plain(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(plain) as url:
        error = await exchange_with(url.replace("http", "https"))
    assert error.proof is Proof.NOT_SENT


async def test_a_connection_that_ends_after_the_request_leaves_the_outcome_unknown() -> None:
    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)

    async with listening(hang_up) as url:
        error = await exchange_with(url)
    assert (error.proof, error.timed_out) == (Proof.UNKNOWN, False)


async def test_a_reset_after_the_request_leaves_the_outcome_unknown() -> None:
    async def break_off(stream: anyio.abc.SocketStream) -> None:
        await read_request(stream)
        await reset(stream)

    async with listening(break_off) as url:
        error = await exchange_with(url)
    assert error.proof is Proof.UNKNOWN


async def test_silence_after_the_request_is_a_timeout_with_unknown_outcome() -> None:
    async with listening(silent) as url:
        error = await exchange_with(url, attrs.evolve(PATIENT, read=QUICK.read))
    assert (error.proof, error.timed_out) == (Proof.UNKNOWN, True)


async def test_a_request_that_would_leave_too_late_is_kept_back() -> None:
    async with listening(silent) as url, own_transport(url) as transport:
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, PATIENT, SendGuard(latest=anyio.current_time() - 1))
    assert (caught.value.proof, caught.value.reason) == (Proof.NOT_SENT, "TooLate")


async def test_a_transport_that_asks_whether_it_is_too_late_is_told() -> None:
    def late(request: httpx.Request) -> httpx.Response:
        request.extensions["first_byte"]()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(late)) as client:
        guard = SendGuard(latest=anyio.current_time() - 1)
        with pytest.raises(ExchangeError) as caught:
            await transport_over(client).exchange(POST, {}, PATIENT, guard)
    assert (caught.value.proof, caught.value.reason) == (Proof.NOT_SENT, "TooLate")


async def cancelled_guard(transport: Transport, *, before: bool) -> SendGuard:
    """Return what is known of a request that is cancelled, before its first byte left or after."""
    left = anyio.Event()

    class Watched(SendGuard):
        def __call__(self) -> None:
            left.set()

    guard = Watched()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.exchange, POST, {}, Timeout(), guard)
        if before:
            await anyio.wait_all_tasks_blocked()
        else:
            await left.wait()
            await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert left.is_set() is not before
    return guard


async def test_a_request_that_is_cancelled_after_its_first_byte_may_have_arrived() -> None:
    async with listening(silent) as url, own_transport(url) as transport:
        guard = await cancelled_guard(transport, before=False)
    assert guard.may_have_been_sent


async def test_a_request_that_is_cancelled_while_its_answer_comes_may_have_arrived() -> None:
    answered = anyio.Event()

    async def half(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)
            await stream.send(b'HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"pay')
            answered.set()
            await anyio.sleep_forever()

    guard = SendGuard()
    async with (
        listening(half) as url,
        own_transport(url) as transport,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(transport.exchange, POST, {}, PATIENT, guard)
        await answered.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert guard.may_have_been_sent


async def test_a_request_that_is_cancelled_before_its_first_byte_certainly_never_left() -> None:
    async with listening(silent) as url, own_transport(url.replace("http", "https")) as transport:
        guard = await cancelled_guard(transport, before=True)
    assert not guard.may_have_been_sent


async def test_over_another_transport_a_request_that_is_cancelled_may_always_have_left() -> None:
    class Connecting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
            await anyio.sleep_forever()
            raise AssertionError

    async with own_transport("http://a.test", transport=Connecting()) as transport:
        guard = await cancelled_guard(transport, before=True)
    assert guard.may_have_been_sent


async def test_our_own_connections_go_through_the_proxy_that_is_given() -> None:
    seen: list[bytes] = []

    async def proxy(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            seen.append(await stream.receive())
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with (
        listening(proxy) as url,
        own_transport("http://service.invalid", proxy=url) as transport,
    ):
        answer = await transport.exchange(GET, {}, PATIENT, SendGuard())
    assert answer.status_code == 200
    assert seen[0].startswith(b"GET http://service.invalid/api/v2/config HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "setting",
    [
        {"proxy": "http://proxy.test"},
        {"http2": True},
        {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},
    ],
    ids=lambda setting: next(iter(setting)),
)
@pytest.mark.parametrize("given", ["transport", "http_client"])
def test_a_proxy_and_http2_belong_to_our_own_connections(
    setting: dict[str, Any], given: str
) -> None:
    theirs: Any = (
        httpx.AsyncHTTPTransport() if given == "transport" else httpx.AsyncClient(trust_env=False)
    )
    with pytest.raises(ConfigurationError, match="set them on the http_client or transport"):
        transport_for("https://a.test", **{given: theirs}, **setting)


async def test_an_answer_cut_short_leaves_the_outcome_unknown() -> None:
    async def cut(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)
            await stream.send(b'HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"pay')

    async with listening(cut) as url:
        error = await exchange_with(url)
    assert error.proof is Proof.UNKNOWN


# httpx leaves the generators that read a body to the collector when decoding fails; trio warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_answer_whose_compression_is_broken_leaves_the_outcome_unknown() -> None:
    async def garbled(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await read_request(stream)
            head = b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
            await stream.send(head + b"junk")

    async with listening(garbled) as url:
        error = await exchange_with(url)
    assert (error.proof, error.reason) == (Proof.UNKNOWN, "DecodingError")


# What else a user's client may do in one exchange ------------------------------------------------


@attrs.define
class Service:
    """Answers each request with the next of its replies; an empty one ends the connection."""

    replies: list[bytes]
    requests: list[bytes] = attrs.field(factory=list)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                while True:
                    self.requests.append(await whole(stream))
                    reply = self.replies.pop(0)
                    if not reply:
                        return
                    await stream.send(reply)


async def whole(stream: anyio.abc.SocketStream) -> bytes:
    seen = b""
    while not seen.endswith((b"\r\n\r\n", b'{"a":1}')) or seen.endswith(b"Length: 7\r\n\r\n"):
        seen += await stream.receive()
    return seen


OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
CHALLENGE = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\n<html>"
LAST_CHALLENGE = CHALLENGE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


class Audited(httpx.AsyncBaseTransport):
    """Reports each response to an audit service, which cannot be reached."""

    def __init__(self) -> None:
        self.inner: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self.inner.handle_async_request(request)
        await response.aclose()
        async with httpx.AsyncClient(trust_env=False) as audit:
            await audit.post(nobody_listening())
        raise AssertionError

    async def aclose(self) -> None:
        await self.inner.aclose()


class Retrying(Audited):
    """Sends what was lost again; by then, nobody listens."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with contextlib.suppress(httpx.ReadError, httpx.RemoteProtocolError):
            return await self.inner.handle_async_request(request)
        request.url = httpx.URL(nobody_listening())
        return await self.inner.handle_async_request(request)


class Telling(Audited):
    """Does nothing of its own."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)


class Silent(Audited):
    """Keeps httpcore from telling what it does, and may do anything."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {}
        return await self.inner.handle_async_request(request)


class Answering(httpx.Auth):
    """Sends a request again when it is challenged."""

    def __init__(self, elsewhere: str | None = None) -> None:
        self._elsewhere = elsewhere

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        response = yield request
        assert response.status_code == 401
        if self._elsewhere is not None:
            request.url = httpx.URL(self._elsewhere)
        yield request


async def failing(
    client: httpx.AsyncClient, url: str, guard: SendGuard | None = None
) -> ExchangeError:
    """Return what a POST over a client of the user's ends with."""
    async with client:
        with pytest.raises(ExchangeError) as caught:
            await transport_over(client, base_url=url).exchange(
                POST, {}, PATIENT, guard or SendGuard()
            )
    return caught.value


@pytest.mark.parametrize(
    ("reply", "client"),
    [
        (OK, lambda: httpx.AsyncClient(transport=Audited())),
        (b"", lambda: httpx.AsyncClient(transport=Retrying())),
        (
            LAST_CHALLENGE,
            lambda: httpx.AsyncClient(auth=Answering(nobody_listening()), trust_env=False),
        ),
    ],
    ids=["audit", "retry", "auth"],
)
async def test_a_connection_that_is_refused_after_the_request_left_takes_nothing_back(
    reply: bytes, client: Callable[[], httpx.AsyncClient]
) -> None:
    service, guard = Service([reply]), SendGuard()
    async with listening(service.serve) as url:
        error = await failing(client(), url, guard)
    assert (error.proof, error.reason, len(service.requests)) == (Proof.UNKNOWN, "ConnectError", 1)
    assert guard.may_have_been_sent


async def test_over_our_connections_no_request_is_written_twice_in_one_exchange() -> None:
    service, guard = Service([LAST_CHALLENGE]), SendGuard()
    async with listening(service.serve) as url:
        client = httpx.AsyncClient(
            transport=PooledTransport(url, trust_env=False), auth=Answering()
        )
        error = await failing(client, url, guard)
    assert (error.proof, error.reason) == (Proof.UNKNOWN, "RequestRepeated")
    assert len(service.requests) == 1
    assert guard.may_have_been_sent


class Refusing(httpx.AsyncBaseTransport):
    """As a mock has it: it says nothing but this."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("kind", "proof"),
    [
        (Telling, Proof.NOT_SENT),
        (Refusing, Proof.NOT_SENT),
        (httpx.AsyncHTTPTransport, Proof.NOT_SENT),
        (Silent, Proof.UNKNOWN),
    ],
)
async def test_a_refused_connection_is_believed_unless_the_transport_hides_what_it_does(
    kind: type[httpx.AsyncBaseTransport], proof: Proof
) -> None:
    """One that hides it may have sent the request, and then something else."""
    error = await failing(httpx.AsyncClient(transport=kind()), nobody_listening())
    assert (error.proof, error.reason) == (proof, "ConnectError")


class Failover(Telling):
    """Sends what could not be sent another way, which tells nothing, and then waits."""

    def __init__(self, first: httpx.AsyncBaseTransport, *, tries_again: bool = False) -> None:
        self.first = first
        self.waits = anyio.Event()
        self._tries_again = tries_again

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self.first.handle_async_request(request)
        except Exception:  # noqa: BLE001 - whatever it is: such a transport asks no more
            self.waits.set()
            if self._tries_again:
                return await self.first.handle_async_request(request)
            await anyio.sleep_forever()
            raise AssertionError from None

    async def aclose(self) -> None:
        await self.first.aclose()


async def proxy_that_refuses(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")


def over_httpcore(_url: str, _proxy: str) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(trust_env=False)


def over_a_proxy(_url: str, proxy: str) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(trust_env=False, proxy=proxy)


def over_our_connections(url: str, _proxy: str) -> httpx.AsyncBaseTransport:
    return PooledTransport(url, trust_env=False)


@pytest.mark.parametrize(
    ("first", "scheme", "late"),
    [
        (over_httpcore, "http", False),
        (over_httpcore, "https", False),
        (over_a_proxy, "https", False),
        (over_our_connections, "http", False),
        (over_our_connections, "http", True),
        (over_httpcore, "http", True),
    ],
    ids=["refused", "refused for tls", "proxy", "pool", "pool, late", "late"],
)
async def test_a_request_that_may_go_another_way_may_have_been_sent_when_one_failed(
    first: Callable[[str, str], httpx.AsyncBaseTransport],
    scheme: str,
    late: bool,  # noqa: FBT001 - pytest names it
) -> None:
    guard = SendGuard()
    async with listening(proxy_that_refuses) as proxy, listening(silent) as url:
        target = (url if late else nobody_listening()).replace("http", scheme)
        transport = Failover(first(target, proxy))
        async with (
            httpx.AsyncClient(transport=transport) as client,
            anyio.create_task_group() as tasks,
        ):
            over = transport_over(client, base_url=target)
            if late:  # by the time at which the first way would write it
                guard = Late()
            tasks.start_soon(over.exchange, POST, {}, PATIENT, guard)
            await transport.waits.wait()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert guard.was_too_late is late
    assert not guard.was_written
    assert guard.may_have_been_sent


class Late(SendGuard):
    """A guard that finds it too late only when it is asked right before the first byte."""

    def __call__(self) -> None:
        self.latest = -math.inf
        super().__call__()


async def test_another_connection_after_one_that_failed_takes_nothing_back() -> None:
    guard = SendGuard()
    connections = itertools.count()

    async def refuse_once(stream: anyio.abc.SocketStream) -> None:
        await (silent if next(connections) else proxy_that_refuses)(stream)

    async with listening(refuse_once) as proxy:
        transport = Failover(over_a_proxy("", proxy), tries_again=True)
        async with (
            httpx.AsyncClient(transport=transport) as client,
            anyio.create_task_group() as tasks,
        ):
            over = transport_over(client, base_url="https://a.test")
            tasks.start_soon(over.exchange, POST, {}, PATIENT, guard)
            await transport.waits.wait()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert next(connections) == 2, "it was connecting again"
    assert guard.may_have_been_sent, "something else may have sent it in between"


async def test_a_request_that_is_cancelled_while_a_wrapped_transport_connects_never_left() -> None:
    guard = SendGuard()
    async with listening(silent) as proxy:
        transport = Telling()
        transport.inner = over_a_proxy("", proxy)
        async with (
            httpx.AsyncClient(transport=transport) as client,
            anyio.create_task_group() as tasks,
        ):
            over = transport_over(client, base_url="https://a.test")
            tasks.start_soon(over.exchange, POST, {}, PATIENT, guard)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert not guard.may_have_been_sent


async def test_a_hook_that_watches_httpcore_in_our_place_leaves_the_outcome_unknown() -> None:
    async def watch(request: httpx.Request) -> None:
        async def ignore(_name: str, _info: object) -> None: ...

        request.extensions["trace"] = ignore

    client = httpx.AsyncClient(event_hooks={"request": [watch]}, trust_env=False)
    assert (await failing(client, nobody_listening())).proof is Proof.UNKNOWN


async def test_a_request_to_another_origin_than_our_connections_is_not_sent() -> None:
    async def ignore(_request: httpx.Request) -> None: ...

    client = http_client_for("https://a.test", event_hooks={"request": [ignore]})
    error = await failing(client, "https://b.test")
    assert (error.proof, error.reason) == (Proof.NOT_SENT, "UnsupportedProtocol")


@pytest.mark.parametrize(
    "client",
    [http_client_for, lambda _url, **settings: httpx.AsyncClient(**settings)],
    ids=["http_client_for", "httpx"],
)
async def test_an_auth_flow_cannot_send_a_post_twice(
    client: Callable[..., httpx.AsyncClient],
) -> None:
    """Whoever stands between may have answered 401 when the service had acted."""
    service = Service([CHALLENGE, OK])
    async with listening(service.serve) as url:
        error = await failing(client(url, auth=Answering()), url)
    assert (error.proof, error.reason) == (Proof.UNKNOWN, "RequestRepeated")
    assert len(service.requests) == 1


async def test_a_transport_that_swallows_the_reason_does_not_hide_it() -> None:
    class Stubborn(Retrying):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            for _ in range(2):
                with contextlib.suppress(Exception):
                    return await self.inner.handle_async_request(request)
            raise httpx.ConnectError("gave up", request=request)

    service = Service([b"", OK])
    async with listening(service.serve) as url:
        error = await failing(httpx.AsyncClient(transport=Stubborn()), url)
    assert (error.proof, error.reason) == (Proof.UNKNOWN, "RequestRepeated")
    assert len(service.requests) == 1


async def test_a_second_request_of_an_auth_flow_is_not_called_too_late() -> None:
    class Slow(Answering):
        async def async_auth_flow(
            self, request: httpx.Request
        ) -> AsyncGenerator[httpx.Request, httpx.Response]:
            yield request
            guard.latest = anyio.current_time() - 1  # a token takes its time
            yield request

    service, guard = Service([CHALLENGE, OK]), SendGuard()
    async with listening(service.serve) as url:
        error = await failing(httpx.AsyncClient(auth=Slow(), trust_env=False), url, guard)
    assert (error.proof, error.reason) == (Proof.UNKNOWN, "RequestRepeated")
    assert (guard.was_too_late, guard.may_have_been_sent) == (False, True)


async def test_a_read_may_answer_a_challenge() -> None:
    service = Service([CHALLENGE, OK])
    async with (
        listening(service.serve) as url,
        httpx.AsyncClient(auth=Answering(), trust_env=False) as client,
    ):
        response = await transport_over(client, base_url=url).exchange(
            GET, {}, PATIENT, SendGuard()
        )
    assert (response.status_code, len(service.requests)) == (201, 2)


async def shutting_down(stream: anyio.abc.SocketStream) -> None:
    """Refuse the first request over HTTP/2; at the second one, say that only the first was seen."""
    config = pytest.importorskip("h2.config").H2Configuration(client_side=False)
    http = pytest.importorskip("h2.connection").H2Connection(config)
    http.initiate_connection()
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        async with stream:
            while True:
                for event in http.receive_data(await stream.receive()):
                    if type(event).__name__ == "StreamEnded" and event.stream_id == 1:
                        http.send_headers(1, [(":status", "404")], end_stream=True)
                    elif type(event).__name__ == "StreamEnded":
                        http.close_connection(last_stream_id=1)
                await stream.send(http.data_to_send())


async def test_httpx_does_not_send_a_post_again_when_http2_is_shut_down() -> None:
    """The word of whoever shuts down, that nobody saw it, is not taken for it.

    Its connection outlives a refusal: HTTP/2 tells responses apart.
    """
    async with (
        listening(shutting_down) as url,
        httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client,
    ):
        transport = transport_over(client, base_url=url)
        assert (await transport.exchange(POST, {}, PATIENT, SendGuard())).status_code == 404
        with pytest.raises(ExchangeError) as caught:
            await transport.exchange(POST, {}, PATIENT, SendGuard())
    assert (caught.value.proof, caught.value.reason) == (Proof.UNKNOWN, "RequestRepeated")


async def ignoring(_request: object) -> None:
    """A hook of the user's."""


class Subclass(httpx.AsyncClient):
    """May do anything."""


@pytest.mark.parametrize(
    ("settings", "may_have_been_sent"),
    [
        ({}, False),
        ({"mounts": {"https://a.test": None}}, False),
        ({"mounts": {"https://a.test": Silent()}}, True),
        ({"event_hooks": {"request": [ignoring]}}, True),
        ({"auth": Answering()}, True),
        ({"kind": Subclass}, True),
    ],
    ids=["plain", "no mount", "mount", "hook", "auth", "subclass"],
)
async def test_a_request_that_waits_for_a_connection_of_a_users_pool_was_not_sent(
    settings: dict[str, Any],
    may_have_been_sent: bool,  # noqa: FBT001 - pytest names it
) -> None:
    """Holds where nothing but the pool can have sent it."""
    guard = SendGuard()
    only_one, given = httpx.Limits(max_connections=1), dict(settings)
    kind = given.pop("kind", httpx.AsyncClient)
    async with (
        listening(silent) as url,
        kind(limits=only_one, trust_env=False, **given) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.get, url)
        await anyio.wait_all_tasks_blocked()
        transport = transport_over(client, base_url=url)
        tasks.start_soon(transport.exchange, POST, {}, PATIENT, guard)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert guard.may_have_been_sent is may_have_been_sent
