"""While tests run, whatever would really leave for another machine is refused, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import anyio.abc
import attrs
import httpcore
import httpx
import httpx2
import pook
import pytest
import respx
import vcr
from aioresponses import aioresponses
from names import Resolver, at
from sockets import GET, PATIENT, POST, listening

from chat2pay_async import (
    AsyncChat2Pay,
    ConfigurationError,
    PaymentLinkRequest,
    RetryPolicy,
    bulk,
)
from chat2pay_async._reach import LOOPBACK_ONLY, Reach, limited_to_loopback, reach
from chat2pay_async._transport.base import ExchangeError, SendGuard, Transport
from chat2pay_async._transport.factory import transport_for
from chat2pay_async._transport.pool import PooledTransport
from chat2pay_async.errors import Proof

pytestmark = pytest.mark.anyio

FAR = "http://service.test"
ANSWER: dict[str, Any] = {"environment": "played", "integrators": []}
REFUSAL = "not sent to service.test, since tests reach this machine alone"


@pytest.fixture
def limited() -> Iterator[None]:
    """Limit all clients of a test to this machine."""
    with limited_to_loopback(limited=True):
        yield


while_limited = pytest.mark.usefixtures("limited")


@attrs.define
class Server:
    """Answers every request, also one that a proxy is asked to pass on."""

    connections: int = 0
    requests: int = 0

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                while True:
                    await stream.receive()
                    self.requests += 1
                    body = json.dumps(ANSWER).encode()
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                    await stream.send(head.encode() + body)


def patient_client(library: Any, url: str) -> Any:
    return library.AsyncClient(proxy=url, trust_env=False)


KINDS: dict[str, Callable[[str, str], Transport]] = {
    "default": lambda far, _proxy: transport_for(far),
    "fast": lambda far, _proxy: transport_for(far, transport="fast"),
    "default, through a proxy": lambda far, proxy: transport_for(far, proxy=proxy),
    "fast, through a proxy": lambda far, proxy: transport_for(far, proxy=proxy, transport="fast"),
    "httpx.AsyncClient": lambda far, proxy: transport_for(
        far, http_client=patient_client(httpx, proxy)
    ),
    "httpx2.AsyncClient": lambda far, proxy: transport_for(
        far, http_client=patient_client(httpx2, proxy)
    ),
    "http_client_for": lambda far, proxy: transport_for(
        far, http_client=httpx.AsyncClient(transport=PooledTransport(far, proxy=proxy))
    ),
    "httpx.AsyncHTTPTransport": lambda far, proxy: transport_for(
        far, transport=httpx.AsyncHTTPTransport(proxy=proxy)
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@contextlib.asynccontextmanager
async def far_away(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Transport, Server]]:
    """A transport to another machine, which is a port of this one: by its name, or a proxy."""
    server = Server()
    async with listening(server.serve) as url:
        port = int(url.rpartition(":")[2])
        Resolver([at(port)]).put_in_place(monkeypatch)
        transport = KINDS[kind](f"{FAR}:{port}", url)
        try:
            yield transport, server
        finally:
            await transport.aclose()
            client = getattr(transport, "_client", None)
            if client is not None:
                await client.aclose()


async def refused(transport: Transport, request: Any = POST) -> None:
    """Try to send a request, and see it refused before anything of it left."""
    with pytest.raises(ExchangeError) as caught:
        await transport.exchange(request, {}, PATIENT, SendGuard())
    assert caught.value.proof is Proof.NOT_SENT
    assert caught.value.is_permanent
    assert REFUSAL in str(caught.value.setting)


@kinds
@while_limited
async def test_nothing_is_connected_to_another_machine(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with far_away(kind, monkeypatch) as (transport, server):
        await refused(transport)
        await refused(transport, GET)
    assert server.connections == 0


@kinds
async def test_nothing_is_sent_over_a_connection_that_was_kept(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with far_away(kind, monkeypatch) as (transport, server):
        assert (await transport.exchange(GET, {}, PATIENT, SendGuard())).status_code == 200
        with limited_to_loopback(limited=True):
            await refused(transport)
        assert (await transport.exchange(GET, {}, PATIENT, SendGuard())).status_code == 200
    assert server.requests == 2


async def test_nothing_is_sent_over_a_kept_connection_that_a_mock_lets_requests_through_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = httpcore.AsyncHTTPConnection.handle_async_request

    async def through(connection: Any, request: httpcore.Request) -> httpcore.Response:
        return await real(connection, request)

    with mock.patch.object(httpcore.AsyncHTTPConnection, "handle_async_request", through):
        async with far_away("default", monkeypatch) as (transport, server):
            await transport.exchange(GET, {}, PATIENT, SendGuard())
            with limited_to_loopback(limited=True):
                await refused(transport)
    assert (server.connections, server.requests) == (1, 1)


@pytest.mark.parametrize("kind", ["httpx.AsyncClient", "default"])
@while_limited
async def test_a_hook_that_leads_a_request_elsewhere_is_seen(kind: str) -> None:
    async def redirect(request: Any) -> None:
        request.url = httpx.URL(f"{FAR}/api/v2/config")

    server = Server()
    async with listening(server.serve) as url:
        hooks: Any = {"event_hooks": {"request": [redirect]}, "trust_env": False}
        carries = None if kind == "httpx.AsyncClient" else PooledTransport(FAR, proxy=url)
        hooks |= {"proxy": url} if carries is None else {"transport": carries}
        async with httpx.AsyncClient(**hooks) as client:
            await refused(transport_for("http://127.0.0.1:1", http_client=client))
    assert server.connections == 0


@pytest.mark.parametrize("transport", [None, "fast"])
@while_limited
async def test_this_machine_is_reached_by_any_of_its_names(transport: Any) -> None:
    server = Server()
    async with listening(server.serve) as url:
        for base_url in (url, url.replace("127.0.0.1", "localhost")):
            async with AsyncChat2Pay("key", base_url=base_url, transport=transport) as client:
                assert (await client.get_configuration()).environment == "played"
    assert server.requests == 2


# What a caller sees -------------------------------------------------------------------------------

LINK = PaymentLinkRequest(
    channel="sms", to="27831234567", order_number="A-1", currency="ZAR", total_amount="199.90"
)


@pytest.mark.parametrize("transport", [None, "fast"])
@while_limited
async def test_a_call_is_refused_at_once_and_says_what_to_do(transport: Any) -> None:
    async with AsyncChat2Pay("key", transport=transport) as client:
        with pytest.raises(ConfigurationError) as caught:
            await client.create_payment_link(LINK)
    assert str(caught.value) == (
        "not sent to chat2pay-service.clickatell.com, since tests reach this machine alone "
        "(CHAT2PAY_LOOPBACK_ONLY): use the fixture chat2pay_sandbox, mock the request, or mark the "
        "test chat2pay_live (or pass --chat2pay-live) to send it for real"
    )
    assert [attempt.proof for attempt in caught.value.attempts] == [Proof.NOT_SENT]


async def all_of(run: bulk.Run[Any, Any]) -> list[bulk.Outcome[Any, Any]]:
    async with run:
        return [outcome async for outcome in run]


@pytest.mark.virtual_time
@while_limited
async def test_a_run_stops_at_once_and_sends_nothing() -> None:
    async with AsyncChat2Pay("key", transport="fast") as client:
        run = bulk.create_payment_links(client, [LINK])
        with pytest.raises(ConfigurationError, match="tests reach this machine alone"):
            await all_of(run)
    assert run.summary.applied == 0


# Mocks --------------------------------------------------------------------------------------------


async def environment(**settings: Any) -> str | None:
    """Return what a client of production is answered."""
    settings = {"retry": RetryPolicy(max_attempts=1)} | settings
    async with AsyncChat2Pay("key", **settings) as client:
        return (await client.get_configuration()).environment


PRODUCTION = "https://chat2pay-service.clickatell.com"


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
@while_limited
async def test_respx_answers_and_lets_nothing_through(using: str) -> None:
    with respx.mock(using=using) as router:
        router.get(url__startswith=PRODUCTION).respond(json=ANSWER)
        assert await environment() == "played"
        router.clear()
        router.route().pass_through()
        with pytest.raises(ConfigurationError, match="tests reach this machine alone"):
            await environment()
        async with httpx.AsyncClient() as theirs:
            with pytest.raises(ConfigurationError, match="tests reach this machine alone"):
                await environment(http_client=theirs)


@while_limited
async def test_pytest_httpx_answers(httpx_mock: Any) -> None:
    httpx_mock.add_response(json=ANSWER)
    assert await environment() == "played"


@while_limited
async def test_vcrpy_records_nothing_from_another_machine_and_plays_what_it_has(
    tmp_path: Path,
) -> None:
    cassette = tmp_path / "cassette.yaml"
    with (
        vcr.use_cassette(cassette),
        pytest.raises(ConfigurationError, match="tests reach this machine alone"),
    ):
        await environment()
    assert not cassette.exists()
    with played_by_vcrpy(tmp_path):
        assert await environment() == "played"


async def answering(_request: object) -> Any:
    return httpx.Response(200, json=ANSWER)


async def answering2(_request: object) -> Any:
    return httpx2.Response(200, json=ANSWER)


class Own(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=ANSWER, request=request)


@pytest.mark.parametrize(
    "transport",
    [httpx.MockTransport(answering), httpx2.MockTransport(answering2), Own()],
    ids=["MockTransport", "MockTransport of httpx2", "a class of the test's own"],
)
@while_limited
async def test_a_transport_of_the_tests_own_answers(transport: Any) -> None:
    assert await environment(transport=transport) == "played"
    library = httpx2 if isinstance(transport, httpx2.MockTransport) else httpx
    async with library.AsyncClient(transport=transport) as theirs:
        assert await environment(http_client=theirs) == "played"


@while_limited
async def test_a_patched_client_answers() -> None:
    answer = httpx.Response(200, json=ANSWER)
    with mock.patch("httpx.AsyncClient.send", mock.AsyncMock(return_value=answer)):
        assert await environment() == "played"


@while_limited
async def test_a_patched_httpcore_answers() -> None:
    answer = httpcore.Response(200, content=json.dumps(ANSWER).encode())
    patched = mock.AsyncMock(return_value=answer)
    with mock.patch.object(httpcore.AsyncHTTPConnection, "handle_async_request", patched):
        assert await environment() == "played"


@contextlib.contextmanager
def played_by_vcrpy(folder: Path) -> Iterator[None]:
    cassette = folder / "cassette.yaml"
    request = {"method": "GET", "uri": f"{PRODUCTION}/api/v2/config", "body": "", "headers": {}}
    response = {"status": {"code": 200, "message": "OK"}, "headers": {}}
    response["body"] = {"string": json.dumps(ANSWER)}
    recorded = {"version": 1, "interactions": [{"request": request, "response": response}]}
    cassette.write_text(json.dumps(recorded), encoding="utf-8")
    with vcr.use_cassette(cassette, record_mode="none"):
        yield


@contextlib.contextmanager
def answered_by_respx(_folder: Path) -> Iterator[None]:
    with respx.mock(assert_all_called=False) as router:
        router.get(url__startswith=PRODUCTION).respond(json=ANSWER)
        yield


@contextlib.contextmanager
def answered_by_pook(_folder: Path) -> Iterator[None]:
    with pook.use():
        pook.get(f"{PRODUCTION}/api/v2/config").reply(200).json(ANSWER)
        yield


@contextlib.contextmanager
def answered_by_aioresponses(_folder: Path) -> Iterator[None]:
    with aioresponses() as mocked:
        mocked.get(f"{PRODUCTION}/api/v2/config", payload=ANSWER)
        yield


CLIENTS = {"default": None, "httpx.AsyncClient": httpx, "httpx2.AsyncClient": httpx2}
SEEN = {
    answered_by_respx: {"default", "httpx.AsyncClient"},
    answered_by_pook: {"default", "httpx.AsyncClient"},
    played_by_vcrpy: set(CLIENTS),
    answered_by_aioresponses: set[str](),
}
"""The clients whose requests each tool sees, as the guide to testing has it."""


@while_limited
@pytest.mark.parametrize("of", CLIENTS)
@pytest.mark.parametrize("tool", SEEN)
async def test_a_tool_answers_what_it_sees_and_all_else_is_refused(
    tool: Callable[[Path], Any], of: str, tmp_path: Path
) -> None:
    library: Any = CLIENTS[of]
    with tool(tmp_path):
        settings = {} if library is None else {"http_client": library.AsyncClient()}
        if of in SEEN[tool]:
            assert await environment(**settings) == "played"
        else:
            with pytest.raises(ConfigurationError, match="tests reach this machine alone"):
                await environment(**settings)
        for client in settings.values():
            await client.aclose()


# The limit itself ---------------------------------------------------------------------------------


def test_the_limit_holds_for_the_block_and_for_processes_that_are_started_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(LOOPBACK_ONLY, raising=False)
    with limited_to_loopback(limited=True):
        assert (reach.is_loopback_only, os.environ[LOOPBACK_ONLY]) == (True, "1")
        with limited_to_loopback(limited=False):
            assert (reach.is_loopback_only, LOOPBACK_ONLY in os.environ) == (False, False)
        assert (reach.is_loopback_only, os.environ[LOOPBACK_ONLY]) == (True, "1")
        with mock.patch.dict(os.environ, clear=True):
            assert reach.is_loopback_only
    assert (reach.is_loopback_only, LOOPBACK_ONLY in os.environ) == (False, False)


@pytest.mark.parametrize(("given", "is_limited"), [("1", True), ("0", False), ("", False)])
def test_a_process_begins_with_the_limit_that_it_inherits(
    given: str, is_limited: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOOPBACK_ONLY, given)
    assert Reach().is_loopback_only is is_limited
