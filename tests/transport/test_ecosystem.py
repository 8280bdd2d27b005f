"""Tools that mock, record and trace httpx see the default client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import anyio.abc
import httpx
import pytest
import respx
import sentry_sdk
import vcr
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from sentry_sdk.integrations.httpx import HttpxIntegration
from sockets import listening

from chat2pay_async import AsyncChat2Pay, ConnectionFailedError, RetryPolicy

pytestmark = pytest.mark.anyio

KEY = "key-that-tools-may-see"
URL = "https://service.test"
ANSWER: dict[str, Any] = {"environment": "played", "integrators": []}
AT_ONCE = RetryPolicy(initial=0, maximum=0)


def client_of(url: str = URL) -> AsyncChat2Pay:
    return AsyncChat2Pay(KEY, base_url=url, retry=AT_ONCE)


async def environment(url: str = URL) -> str | None:
    """Return what the default client is answered."""
    async with client_of(url) as client:
        return (await client.get_configuration()).environment


@asynccontextmanager
async def answering(*statuses: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers with one status after the other, and keeps what it was sent."""
    heads: list[bytes] = []
    left = iter(statuses)

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            while True:
                try:
                    heads.append(await stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                body = json.dumps(ANSWER).encode()
                head = f"HTTP/1.1 {next(left)} X\r\nContent-Length: {len(body)}\r\n\r\n"
                await stream.send(head.encode() + body)

    async with listening(serve) as url:
        yield url, heads


# Mocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx_answers_the_default_client(using: str) -> None:
    with respx.mock(using=using) as router:
        route = router.get(url__startswith=URL).respond(json=ANSWER)
        assert await environment() == "played"
    assert route.call_count == 1
    assert route.calls.last.request.headers["authorization"] == KEY


async def test_pytest_httpx_answers_the_default_client(httpx_mock: Any) -> None:
    httpx_mock.add_exception(httpx.ReadTimeout("lost"))
    httpx_mock.add_response(json=ANSWER)
    assert await environment() == "played"
    assert [request.url.host for request in httpx_mock.get_requests()] == ["service.test"] * 2


async def test_vcrpy_records_the_default_client_and_plays_it_back(tmp_path: Path) -> None:
    recorder = vcr.VCR(filter_headers=["authorization"])
    cassette = str(tmp_path / "cassette.yaml")
    async with answering(200) as (url, heads):
        with recorder.use_cassette(cassette):
            assert await environment(url) == "played"
    assert KEY not in await anyio.Path(cassette).read_text("utf-8")
    with recorder.use_cassette(cassette, record_mode="none") as played:
        assert await environment(url) == "played"
    assert (len(heads), played.play_count) == (1, 1)


@pytest.mark.parametrize(
    "patch",
    [
        lambda given: mock.patch("httpx.AsyncClient.send", autospec=True, **given),
        lambda given: mock.patch("httpx.AsyncClient.send", mock.AsyncMock(**given)),
    ],
    ids=["autospec", "AsyncMock"],
)
async def test_a_patched_send_answers_the_default_client(patch: Callable[..., Any]) -> None:
    with patch({"return_value": httpx.Response(200, json=ANSWER)}) as send:
        assert await environment() == "played"
    assert send.call_count == 1
    request: httpx.Request = send.call_args.args[-1]
    assert (request.url.host, request.headers["authorization"]) == ("service.test", KEY)


async def test_a_patched_transport_answers_the_default_client() -> None:
    async def handle(_self: object, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", handle),
        pytest.raises(ConnectionFailedError) as caught,
    ):
        await environment()
    assert len(caught.value.attempts) == RetryPolicy().max_attempts


# Tracing ------------------------------------------------------------------------------------------


@pytest.fixture
def spans() -> Any:
    """The spans that OpenTelemetry's instrumentation makes."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


async def test_opentelemetry_sees_one_client_span_for_each_attempt(
    spans: InMemorySpanExporter,
) -> None:
    async with answering(503, 200) as (url, heads):
        assert await environment(url) == "played"
    found: tuple[ReadableSpan, ...] = spans.get_finished_spans()
    assert [span.kind for span in found] == [SpanKind.CLIENT] * 2
    parents = [
        f"traceparent: 00-{span.context.trace_id:032x}-{span.context.span_id:016x}".encode()
        for span in found
        if span.context is not None
    ]
    assert len(parents) == len(heads) == 2
    assert all(parent in head.lower() for parent, head in zip(parents, heads, strict=True))


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Collect what Sentry would report."""
    for kind in (httpx.Client, httpx.AsyncClient):
        monkeypatch.setattr(kind, "send", kind.send)  # Sentry patches it for good
    found: list[Any] = []

    class Transport(sentry_sdk.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            found.extend(item.payload.json for item in envelope.items)

    with sentry_sdk.isolation_scope():
        sentry_sdk.init(
            dsn="http://key@sentry.test/1",
            transport=Transport,
            traces_sample_rate=1.0,
            default_integrations=False,
            integrations=[HttpxIntegration()],
        )
        if httpx.AsyncClient.send.__module__.startswith(
            "httpx"
        ):  # it was patched for a test before
            HttpxIntegration.setup_once()
        yield found
        sentry_sdk.get_client().close()
        # An `init()` without arguments would patch logging, loguru and more, for good.
        sentry_sdk.get_global_scope().set_client(None)


async def test_sentry_sees_each_attempt_and_is_sent_on(transactions: list[Any]) -> None:
    async with answering(503, 200) as (url, heads):
        with sentry_sdk.start_transaction(name="checkout"):
            assert await environment(url) == "played"
    (transaction,) = transactions
    spans = [span for span in transaction["spans"] if span["op"] == "http.client"]
    assert [span["data"]["http.response.status_code"] for span in spans] == [503, 200]
    assert all(b"sentry-trace: " in head.lower() for head in heads)
    assert KEY not in json.dumps(transactions)
