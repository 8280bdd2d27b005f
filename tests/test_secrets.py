"""No key, phone number, receipt link, card or payment page in other people's tools."""

from __future__ import annotations

import contextlib
import logging
import runpy
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import attrs
import httpx
import pytest
from observers import CARD, KEY, PAGE, PHONE, RECEIPT, SECRETS, TOOLS, leaks
from sockets import Serve, listening, nobody_listening, reset, silent

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, RetryPolicy, Timeout, bulk
from chat2pay_async.errors import (
    ConfigurationError,
    JournalError,
    OutcomeUnknownError,
    RequestValidationError,
)

pytestmark = [
    pytest.mark.anyio,
    # httpx's own body is a generator, and trio complains of one that is not read to its end.
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Call = Callable[[AsyncChat2Pay], Awaitable[object]]


def order(**data: Any) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms",
        to=PHONE,
        order_number="A-1",
        currency="ZAR",
        total_amount="1.00",
        return_payment_link=True,
        additional_data={"card": CARD, **data},
    )


async def create(client: AsyncChat2Pay) -> object:
    return await client.create_payment_link(order())


async def create_large(client: AsyncChat2Pay) -> object:
    return await client.create_payment_link(order(note="x" * 6_000_000))


async def receipt(client: AsyncChat2Pay) -> object:
    return await client.create_receipt("ref-1", RECEIPT)


async def look(client: AsyncChat2Pay) -> object:
    return await client.get_transaction(order_number="A-1")


CALLS = {"create": create, "receipt": receipt, "look": look}
TRANSPORTS = ("default", "fast", "http_client", "transport", "asked for its key")
TIGHT = Timeout(connect=2.0, read=0.05, write=0.05, total=2.0)
ONCE = RetryPolicy(max_attempts=1, settle=0.01)


async def asked() -> str:
    return KEY


@contextlib.asynccontextmanager
async def client_of(kind: str, url: str, limits: Timeout = TIGHT) -> AsyncIterator[AsyncChat2Pay]:
    async with contextlib.AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if kind == "fast":
            settings = {"transport": "fast"}
        elif kind == "http_client":
            own = httpx.AsyncClient(trust_env=False)
            settings = {"http_client": await stack.enter_async_context(own)}
        elif kind == "transport":
            settings = {"transport": httpx.AsyncHTTPTransport()}
        elif kind == "asked for its key":
            settings = {"default_headers": {"X-Gateway": CARD}}
        key: Any = asked if "default_headers" in settings else KEY
        client = AsyncChat2Pay(key, base_url=url, timeout=limits, retry=ONCE, **settings)
        yield await stack.enter_async_context(client)


def saying(response: bytes) -> Serve:
    """Respond to whatever comes with the same bytes, then close."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                seen = b""
                while b"\r\n\r\n" not in seen:
                    seen += await stream.receive()
                await stream.send(response)

    return serve


async def speaking(stream: anyio.abc.SocketStream) -> None:
    """Speak first, and no TLS."""
    async with stream:
        with contextlib.suppress(anyio.BrokenResourceError):
            await stream.send(PAGE.encode())


async def resetting(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        # On a busy machine the client may have given up by then.
        with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            await stream.receive()
        await reset(stream)


def response(status: str, body: str, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    return (head + body).encode()


TOLD = f'"to": "{PHONE}", "paymentLink": "{PAGE}", "card": "{CARD}", "receiptLink": "{RECEIPT}"'
SERVERS: dict[str, Serve] = {
    "a read timeout": silent,
    "a reset": resetting,
    "no response": saying(b""),
    "a garbled status line": saying(f"HTTP/1.1 2OO {PAGE} {PHONE}\r\n\r\n".encode()),
    "a garbled header": saying(f"HTTP/1.1 201 Created\r\n{PAGE} {PHONE}\r\n\r\n".encode()),
    "a garbled chunk": saying(
        f"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n{PAGE}\r\n{PHONE}".encode()
    ),
    "a garbled encoding": saying(
        f"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: {len(PAGE)}\r\n\r\n"
        f"{PAGE}".encode()
    ),
    "a cut body": saying(response("201 Created", f"{{{TOLD}}}", length=10_000)),
    "a 201 without proof": saying(response("201 Created", f"{{{TOLD}}}")),
    "a 200 without an object": saying(response("200 OK", f'["{PAGE}", "{PHONE}"]')),
    "a 400": saying(
        response("400 Bad Request", f'{{"errors": ["{PHONE} of {KEY}, {CARD}"], {TOLD}}}')
    ),
    "a 401": saying(response("401 Unauthorized", f'{{"status": 401, "message": "{KEY}"}}')),
    "a 404 page": saying(response("404 Not Found", f"<html>{PAGE}</html>")),
    "a 500": saying(response("500 Oops", f"{{{TOLD}}}")),
    "a redirect": saying(
        f"HTTP/1.1 307 Go\r\nLocation: {PAGE}\r\nContent-Length: 0\r\n\r\n".encode()
    ),
}


@contextlib.contextmanager
def never_reading() -> Iterator[tuple[str, socket.socket]]:
    """A server whose system takes connections, and as many bytes as fit into its buffers."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        yield f"http://127.0.0.1:{deaf.getsockname()[1]}", deaf


async def written_to(deaf: socket.socket) -> socket.socket:
    """Wait for the first bytes on the first connection, and return it."""
    with anyio.fail_after(60):
        await anyio.wait_readable(deaf)
        connected, _ = deaf.accept()
        await anyio.wait_readable(connected)
    return connected


def as_logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return what all loggers said; httpcore quotes what it can't parse, which is documented."""
    return "\n".join(
        KEY * (KEY in line) if record.name.startswith("httpcore") else line
        for record in caplog.records
        for line in [record.getMessage()]
    )


async def error_of(call: Call, client: AsyncChat2Pay) -> BaseException:
    try:
        await call(client)
    except BaseException as error:
        if not isinstance(error, Exception):
            raise
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("failure", SERVERS)
@pytest.mark.parametrize("kind", TRANSPORTS)
async def test_no_tool_shows_a_secret_of_a_failed_call(
    kind: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors: dict[str, BaseException] = {}

    async def fail(name: str) -> None:
        errors[name] = await error_of(CALLS[name], client)

    async with (
        listening(SERVERS[failure]) as url,
        client_of(kind, url) as client,
        anyio.create_task_group() as group,  # side by side: most of the time they wait
    ):
        for name in CALLS:
            group.start_soon(fail, name)
    logged = as_logged(caplog)
    assert {name: leaks(errors[name], logged) for name in CALLS} == {name: [] for name in CALLS}


@pytest.mark.parametrize("given", [f"{KEY}\r\n{KEY}", f"é{KEY}", [KEY], KEY.encode()])
async def test_no_tool_shows_what_a_callable_returned_that_is_no_key(
    given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with AsyncChat2Pay(lambda: given, base_url=nobody_listening()) as client:
        assert leaks(await error_of(create, client), as_logged(caplog)) == []


async def test_no_tool_shows_a_secret_of_headers_that_are_refused() -> None:
    refused = (
        *({"X-Gateway": f"{CARD}\n"}, {"Authorization": CARD}),
        *({f"{CARD} x": CARD}, {CARD: "\n"}, {KEY: "\n"}, {KEY: CARD, KEY.upper(): CARD}),
    )
    for headers in refused:
        with pytest.raises(ConfigurationError) as caught:
            AsyncChat2Pay(KEY, default_headers=headers)
        assert leaks(caught.value) == []


@pytest.mark.parametrize("kind", TRANSPORTS)
async def test_no_tool_shows_a_secret_where_there_is_no_connection(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with client_of(kind, nobody_listening()) as client:
        assert leaks(await error_of(create, client), as_logged(caplog)) == []
    async with (
        listening(speaking) as url,
        client_of(kind, url.replace("http:", "https:")) as client,
    ):
        assert leaks(await error_of(create, client), as_logged(caplog)) == []
    # Closed by now.
    assert leaks(await error_of(receipt, client)) == []


@pytest.mark.parametrize("kind", TRANSPORTS)
async def test_no_tool_shows_a_secret_of_a_request_that_can_not_be_written(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    patient = attrs.evolve(TIGHT, read=0.15)  # the time to write ends first
    with never_reading() as (url, _):
        async with client_of(kind, url, patient) as client:
            error = await error_of(create_large, client)
            assert leaks(error, as_logged(caplog)) == []
    assert isinstance(error, OutcomeUnknownError)
    assert "WriteTimeout" in str(error.__cause__)


# While httpx and httpcore read, none of their frames shows a byte of what they wrote.
CANCELLED = [(kind, create_large) for kind in TRANSPORTS]
CANCELLED += [(kind, create) for kind in TRANSPORTS[:2]]


@pytest.mark.parametrize(("kind", "call"), CANCELLED)
async def test_no_tool_shows_a_secret_of_a_cancelled_call(kind: str, call: Call) -> None:
    patient = Timeout(connect=60.0, read=60.0, write=60.0)
    seen: list[BaseException] = []

    async def be_cancelled() -> None:
        try:
            await call(client)
        except BaseException as error:
            seen.append(error)
            raise

    with never_reading() as (url, deaf):
        async with client_of(kind, url, patient) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(be_cancelled)
                with await written_to(deaf):
                    group.cancel_scope.cancel()
            (pending,) = client.unsettled
    assert leaks(seen[0]) == []
    assert not any(secret in repr(pending) for secret in SECRETS.values())


BAD = "\n"
SETTINGS: dict[str, dict[str, Any]] = {
    "a key that no header carries": {"api_key": KEY + BAD + KEY},
    "a key of another type": {"api_key": KEY.encode()},
    "a base URL with a password": {"base_url": f"https://user:{KEY}@s.test/"},
    "a base URL that is none": {"base_url": f"https://[{KEY}"},
    "a proxy that is none": {"proxy": f"gopher://user:{KEY}@p.test"},
    "a proxy beside a client": {"proxy": f"http://user:{KEY}@p.test", "transport": object()},
    "a proxy of the fast transport that is none": {
        "proxy": f"gopher://user:{KEY}@p.test",
        "transport": "fast",
    },
    "a timeout that is none": {"timeout": "soon"},
    "hooks that are none": {"hooks": 5},
}


def test_a_client_that_was_not_set_up_has_a_repr() -> None:
    assert repr(object.__new__(AsyncChat2Pay)) == "<AsyncChat2Pay that was not set up>"


@pytest.mark.one_loop
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
async def test_no_tool_shows_a_refused_setting(settings: dict[str, Any]) -> None:
    async def call(_client: Any) -> object:
        return AsyncChat2Pay(**{"api_key": KEY, "base_url": "https://s.test", **settings})

    assert leaks(await error_of(call, None)) == []  # type: ignore[arg-type] # there is none


async def test_no_tool_shows_a_refused_receipt_link() -> None:
    async def call(client: AsyncChat2Pay) -> object:
        return await client.create_receipt(" ", RECEIPT + "\n" + "x" * 100_000)

    async with client_of("default", nobody_listening()) as client:
        error = await error_of(call, client)
    assert isinstance(error, RequestValidationError)
    assert leaks(error) == []


# Where the table is gone, an empty journal's first read fails, whose frames hold no secrets yet.
REFUSED = (
    "CREATE TRIGGER refuse BEFORE INSERT ON item "
    "BEGIN SELECT RAISE(ABORT, 'intents are refused'); END"
)


@pytest.mark.one_loop
async def test_no_tool_shows_a_secret_of_a_journal_that_can_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def call(client: AsyncChat2Pay) -> object:
        async with bulk.create_payment_links(client, [order()], run="spring") as run:
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute(REFUSED)
            return await anext(run)

    settings: dict[str, Any] = {"base_url": nobody_listening(), "timeout": TIGHT, "retry": ONCE}
    async with AsyncChat2Pay(KEY, journal=path, **settings) as client:
        error = await error_of(call, client)
    assert isinstance(error, JournalError)
    assert "intents are refused" in str(error)
    assert leaks(error) == []


@pytest.mark.one_loop
async def test_no_tool_shows_a_secret_of_a_run() -> None:
    async with (
        listening(silent) as url,
        client_of("default", url) as client,
        bulk.create_payment_links(client, [order()]) as run,
    ):
        outcome = await anext(run)
    assert outcome.error is not None
    assert leaks(outcome.error) == []


def test_each_tool_shows_a_local_variable_that_is_not_hidden(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(f"def fail():\n    key = {KEY!r}\n    raise ValueError(len(key))\n")
    with pytest.raises(ValueError, match="17") as caught:
        runpy.run_path(str(path))["fail"]()
    assert {f"{tool}: key" for tool in TOOLS} <= set(leaks(caught.value))
