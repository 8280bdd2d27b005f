"""The fast transport refuses where a mock would not see it, and works on beside tracing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import anyio
import httpcore
import httpx
import pook
import pytest
import respx
import vcr
import wrapt
from aioresponses import aioresponses
from sockets import GET, PATIENT, listening, nobody_listening

from chat2pay_async import ConfigurationError
from chat2pay_async._transport.base import SendGuard
from chat2pay_async._transport.factory import transport_for
from chat2pay_async._transport.mocks import patched_places, refuse_mocks

Patch = Callable[[], AbstractContextManager[object]]
SEND = "httpx.AsyncClient.send"


def traced(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """As Sentry wraps: the function is in the closure alone."""

    async def send(*arguments: Any, **named: Any) -> Any:
        return await function(*arguments, **named)

    return send


def wrapped(function: Callable[..., Awaitable[Any]]) -> Any:
    """As OpenTelemetry, Elastic and New Relic wrap."""

    async def wrapper(inner: Any, _instance: Any, arguments: Any, named: Any) -> Any:
        return await inner(*arguments, **named)

    return wrapt.FunctionWrapper(function, wrapper)


def copied(function: Callable[..., Awaitable[Any]]) -> Any:
    """As a decorator wraps that copies names."""
    return functools.wraps(function)(traced(function))


WRAPPERS = [traced, wrapped, copied]
MOCKS: dict[str, Patch] = {
    "aioresponses": aioresponses,
    "respx": lambda: respx.mock,
    "respx over httpx": lambda: respx.mock(using="httpx", assert_all_called=False),
    "vcrpy": lambda: vcr.VCR().use_cassette("unused.yaml", record_mode="none"),
    "pook": pook.use,
    "a mock": lambda: mock.patch(SEND),
    "a mock with a specification": lambda: mock.patch(SEND, autospec=True),
    "an async mock": lambda: mock.patch(SEND, new=mock.AsyncMock()),
    "a mock of aiohttp": lambda: mock.patch("aiohttp.ClientSession._request"),
    "a mock of a class": lambda: mock.patch("httpx.AsyncClient"),
    "a mock of aiohttp's class": lambda: mock.patch("aiohttp.ClientSession"),
    "a mock of httpcore": lambda: mock.patch.object(
        httpcore.AsyncConnectionPool, "handle_async_request", autospec=True
    ),
    "a mock of a transport": lambda: mock.patch.object(
        httpx.AsyncHTTPTransport, "handle_async_request"
    ),
}
mocks = pytest.mark.parametrize("patch", MOCKS.values(), ids=MOCKS)
wrappers = pytest.mark.parametrize("wrap", WRAPPERS, ids=["plain", "wrapt", "functools.wraps"])


@contextlib.contextmanager
def wrapping(wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Tracing around all that is patched at this moment."""
    with contextlib.ExitStack() as stack:
        for owner, name in (
            (aiohttp.ClientSession, "_request"),
            (httpx.AsyncClient, "send"),
            (httpx.AsyncHTTPTransport, "handle_async_request"),
        ):
            now = vars(owner)[name]
            stack.enter_context(mock.patch.object(owner, name, wrap(now)))
        yield


@mocks
def test_a_mock_is_refused_as_long_as_it_is_there(patch: Patch) -> None:
    refuse_mocks(patched_places())
    with patch(), pytest.raises(ConfigurationError, match="leave the transport out"):
        refuse_mocks(patched_places())
    refuse_mocks(patched_places())


def test_pytest_httpx_is_refused(httpx_mock: Any) -> None:
    assert httpx_mock
    with pytest.raises(
        ConfigurationError,
        match=r"httpx\.AsyncHTTPTransport\.handle_async_request is patched by pytest_httpx",
    ):
        refuse_mocks(patched_places())


@wrappers
def test_what_wraps_for_tracing_is_no_mock(wrap: Callable[[Any], Any]) -> None:
    with wrapping(wrap):
        refuse_mocks(patched_places())
        with wrapping(wrap):
            refuse_mocks(patched_places())


ON_WRAPPED_PLACES = ["aioresponses", "vcrpy", "a mock", "a mock with a specification"]


@wrappers
@pytest.mark.parametrize("name", ON_WRAPPED_PLACES)
def test_a_mock_below_tracing_is_refused(name: str, wrap: Callable[[Any], Any]) -> None:
    with MOCKS[name](), wrapping(wrap), pytest.raises(ConfigurationError):
        refuse_mocks(patched_places())


@wrappers
@pytest.mark.parametrize("name", ON_WRAPPED_PLACES)
def test_a_mock_above_tracing_is_refused(name: str, wrap: Callable[[Any], Any]) -> None:
    with wrapping(wrap), MOCKS[name](), pytest.raises(ConfigurationError):
        refuse_mocks(patched_places())


def test_a_wrapper_whose_closure_is_still_empty_is_no_mock() -> None:
    async def send() -> None:
        later()

    with mock.patch.object(httpx.AsyncClient, "send", send):
        refuse_mocks(patched_places())

    def later() -> None: ...


async def answer(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


async def exchange() -> int:
    async with listening(answer) as url:
        transport = transport_for(url, transport="fast")
        try:
            return (await transport.exchange(GET, {}, PATIENT, SendGuard())).status_code
        finally:
            await transport.aclose()


def test_an_exchange_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    cassette = tmp_path / "none.yaml"

    async def refused() -> None:
        transport = transport_for(nobody_listening(), transport="fast")
        with pytest.raises(ConfigurationError, match=r"patched by vcr\."):
            await transport.exchange(GET, {}, PATIENT, SendGuard())
        await transport.aclose()

    with vcr.VCR().use_cassette(cassette):
        anyio.run(refused)
    assert not cassette.exists()


@wrappers
def test_an_exchange_works_on_beside_tracing(wrap: Callable[[Any], Any]) -> None:
    with wrapping(wrap):
        assert anyio.run(exchange) == 200


def test_a_mock_that_comes_after_the_client_is_noticed() -> None:
    async def twice() -> None:
        async with listening(answer) as url:
            transport = transport_for(url, transport="fast")
            assert (await transport.exchange(GET, {}, PATIENT, SendGuard())).status_code == 200
            with mock.patch(SEND), pytest.raises(ConfigurationError, match="unittest"):
                await transport.exchange(GET, {}, PATIENT, SendGuard())
            await transport.aclose()

    anyio.run(twice)
