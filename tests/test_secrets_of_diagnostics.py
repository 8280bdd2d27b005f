"""No key and no personal data in logs, traces, warnings, and printed values."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import pickle
import pprint
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.abc
import churn
import httpx
import pytest
import rich.pretty
import structlog
import uvloop
from observers import CARD, KEY, PAGE, PHONE, RECEIPT, SECRETS, leaks
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sockets import listening, silent

from chat2pay_async import (
    AsyncChat2Pay,
    Attempt,
    OutcomeUnknownError,
    PaymentLink,
    PaymentLinkRequest,
    Pending,
    Proof,
    RetryPolicy,
    SentRequest,
    Timeout,
    bulk,
)
from chat2pay_async.errors import Chat2PayError, ConnectionFailedError

TIGHT = Timeout(connect=2.0, read=0.05, write=0.05, total=2.0)
ONCE = RetryPolicy(max_attempts=1, settle=0.01)
ORDER = PaymentLinkRequest(
    channel="sms",
    to=PHONE,
    from_=PHONE,
    order_number="A-1",
    currency="ZAR",
    total_amount="1.00",
    additional_data={"card": CARD},
)
BODY = json.dumps({"paymentLinkRef": "r-1", "to": PHONE, "paymentLink": PAGE}).encode()


def client_of(url: str, **settings: Any) -> AsyncChat2Pay:
    return AsyncChat2Pay(KEY, base_url=url, timeout=TIGHT, retry=ONCE, **settings)


def found_in(text: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret in text]


# HTTP/2 -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_logging() -> Iterator[None]:
    """The server's own h2 logs what it decodes: that is not the client's."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class Http2Server:
    """A server that answers the first request of a connection, and hangs up at the second."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        config = pytest.importorskip("h2.config").H2Configuration(client_side=False)
        connection = pytest.importorskip("h2.connection").H2Connection(config)
        connection.initiate_connection()
        await stream.send(connection.data_to_send())
        requests = 0
        while True:
            received = await stream.receive()
            with no_logging():
                heard = connection.receive_data(received)
            for event in heard:
                if type(event).__name__ == "RequestReceived":
                    requests += 1
                    self.keys.append(dict(event.headers)[b"authorization"].decode())
                elif type(event).__name__ == "StreamEnded":
                    if requests > 1:
                        return
                    with no_logging():
                        connection.send_headers(event.stream_id, [(":status", "201")])
                        connection.send_data(event.stream_id, BODY, end_stream=True)
            await stream.send(connection.data_to_send())


@pytest.mark.anyio
async def test_no_log_of_an_http2_call_shows_a_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("h2")
    caplog.set_level(1)
    certificates = churn.Certificates.issue()
    certificates.server.set_alpn_protocols(["h2", "http/1.1"])
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: certificates.client)
    server = Http2Server()
    async with (
        churn.served("TLS", certificates, server.serve) as (url, _),
        client_of(url, http2=True) as client,
    ):
        assert (await client.create_payment_link(ORDER)).payment_link_ref == "r-1"
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.create_payment_link(ORDER)
    assert set(server.keys) == {KEY}
    logged = [f"{record.getMessage()} {record.args}" for record in caplog.records]
    core = httpx.__name__.replace("httpx", "httpcore")  # in httpx2's place too
    loggers = {"hpack.hpack", f"{core}.http2", httpx.__name__}
    assert loggers <= {one.name for one in caplog.records}
    assert leaks(caught.value, "\n".join(logged)) == []


# Tracing ------------------------------------------------------------------------------------------


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


RESPONSES = {
    "a created link": b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "a refusal": b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "a garbled status line": b"HTTP/1.1 2OO " + BODY + b"\r\n\r\n",
    "a garbled header": b"HTTP/1.1 201 Created\r\n" + BODY + b"\r\n\r\n",
    "a garbled chunk": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
    + BODY
    + b"\r\n",
    "no response": b"",
}


@pytest.mark.anyio
@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_no_span_of_opentelemetry_shows_a_secret(
    response: bytes, spans: InMemorySpanExporter
) -> None:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(response)

    async with listening(serve) as url, client_of(url) as client:
        for call in (client.create_payment_link(ORDER), client.create_receipt("r-1", RECEIPT)):
            with contextlib.suppress(Chat2PayError):
                await call
    shown = [span.to_json() for span in spans.get_finished_spans()]
    assert len(shown) >= 2
    assert found_in("".join(shown)) == []


# What an event loop and the interpreter say -------------------------------------------------------


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("settings", [{}, {"transport": "fast"}], ids=str)
def test_no_report_of_an_event_loop_in_debug_mode_shows_a_secret(
    settings: dict[str, Any],
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither of slow callbacks, nor of what was never awaited or retrieved."""
    caplog.set_level(1)
    reports: list[str] = []
    leaked: list[list[str]] = []
    monkeypatch.setattr("sys.unraisablehook", lambda report: reports.append(repr(report)))

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        reports.append(repr(context))
        if "exception" in context:
            leaked.append(leaks(context["exception"]))

    async def misuse() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.0
        loop.set_exception_handler(note)
        async with listening(silent) as url, client_of(url, **settings) as client:
            reports.append(repr(client.create_payment_link(ORDER)))  # never awaited
            calls = client.create_payment_link(ORDER), client.create_receipt("r-1", RECEIPT)
            tasks = [asyncio.ensure_future(call) for call in calls]
            await asyncio.sleep(0.01)
            reports.extend(map(repr, asyncio.all_tasks()))
            await asyncio.wait(tasks)
            reports.extend(map(repr, tasks))
            tasks.clear()  # never retrieved
            gc.collect()

    tracemalloc.start()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
            runner.run(misuse())
    tracemalloc.stop()
    reports += [f"{one.getMessage()} {one.args} {one.exc_text}" for one in caplog.records]
    reports += [warnings.formatwarning(w.message, w.category, w.filename, w.lineno) for w in warned]
    reported = "".join(reports)
    assert all(what in reported for what in ("never awaited", "never retrieved", "Executing <"))
    assert (found_in(reported), leaked) == ([], [[], []])


# Values -------------------------------------------------------------------------------------------


ATTEMPT = Attempt(datetime.now(UTC), 0.1, Proof.UNKNOWN)
SENT = SentRequest("POST", f"/api/v2/chat-2-pay?to={PHONE}", BODY)
PENDING = Pending(
    "create_payment_link", "A-1", SENT, "https://s.test", "0" * 16, None, ATTEMPT, ATTEMPT
)
UNKNOWN = OutcomeUnknownError("create_payment_link: no response", pending=PENDING)
LINK = PaymentLink(payment_link_ref="r-1", payment_link=PAGE, extra={"to": PHONE})
VALUES: dict[str, Any] = {
    "a client": AsyncChat2Pay(KEY, base_url="https://s.test"),
    "a link's request": ORDER,
    "a link": LINK,
    "a receipt's request": bulk.ReceiptRequest(payment_link_ref="r-1", receipt_link=RECEIPT),
    "what was sent": SENT,
    "a pending call": PENDING,
    "an unknown outcome": UNKNOWN,
    "its attributes": vars(UNKNOWN),
    "an outcome": bulk.Outcome("A-1", ORDER, bulk.State.UNKNOWN, LINK, UNKNOWN),
    "a run": bulk.create_payment_links(AsyncChat2Pay(KEY, base_url="https://s.test"), [ORDER]),
}
PRINTERS: dict[str, Callable[[Any], str]] = {
    "str": str,
    "repr": repr,
    "pprint": pprint.pformat,
    "rich": rich.pretty.pretty_repr,
    "json": lambda value: json.dumps(value, default=repr),
    "structlog": lambda value: str(structlog.processors.JSONRenderer()(None, "", {"value": value})),
    "key-value": lambda value: str(
        structlog.processors.KeyValueRenderer()(None, "", {"value": value})
    ),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_no_printer_shows_a_secret_of_a_value(value: object) -> None:
    assert {name: found_in(show([value])) for name, show in PRINTERS.items()} == {
        name: [] for name in PRINTERS
    }


@pytest.mark.parametrize(
    "value", [UNKNOWN, PENDING, ConnectionFailedError("no")], ids=lambda value: type(value).__name__
)
def test_a_pickle_has_no_key(value: object) -> None:
    assert KEY.encode() not in pickle.dumps(value)
    assert repr(pickle.loads(pickle.dumps(value))) == repr(value)  # noqa: S301 - it is ours
