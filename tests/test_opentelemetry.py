"""Spans and metrics of calls, as OpenTelemetry's SDK, logfire and Sentry are given them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import logfire
import pytest
import sentry_sdk
from gate import order
from opentelemetry import context, trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scripted import (
    CREATED,
    INTEGRATION,
    LINK,
    THROTTLED,
    Act,
    Bench,
    answer,
    bench,
    forever,
    lost,
    not_sent,
    options,
)
from sentry_sdk.integrations.opentelemetry import SentrySpanProcessor
from traces import Traces, drawn
from virtual_time import jump

from chat2pay_async import (
    AsyncChat2Pay,
    Attempt,
    Chat2PayError,
    Event,
    OutcomeUnknownError,
    Pending,
    Proof,
    RateLimit,
    RetryPolicy,
    TransportError,
    Verdict,
    bulk,
    events,
)
from chat2pay_async._api.operations import (
    CREATE_PAYMENT_LINK,
    UPDATE_INTEGRATION,
)
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Intent
from chat2pay_async._send.limits import Slots
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.opentelemetry import Telemetry
from chat2pay_async.sandbox import Sandbox

pytestmark = pytest.mark.anyio

KEY = "an-api-key"
CALL = "chat2pay.create_payment_link INTERNAL"
POST = "POST /api/v2/chat-2-pay CLIENT"
GET = "GET /api/v2/chat-2-pay/transaction-status CLIENT"
CONFIGURATION: dict[str, Any] = {"environment": "played", "integrators": []}
REFUSED = answer(400, b'{"message": "Request failed", "errors": ["no"]}')
NOWHERE = answer(
    404,
    b'{"status": "NOT_FOUND", "errors": ["There is no such transaction with order number A-1"]}',
)


async def create(made: Bench, **retry: Any) -> Any:
    return await made.sender.send(CREATE_PAYMENT_LINK, LINK, options(**retry))


async def tree_of(*script: Act, look_ups: Sequence[Act] = ()) -> str:
    """Make a link, and draw its spans."""
    traces = Traces()
    made = bench(*script, look_ups=look_ups, hooks=[traces.hook])
    with suppress(Chat2PayError), anyio.move_on_after(100):
        await create(made)
    return traces.tree()


async def pending_call() -> Pending:
    made = bench(lost(), look_ups=[answer(503)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(made)
    return caught.value.pending


def ours(made: Bench) -> Act:
    """The status of the link that was asked for, with its stamp."""

    async def show() -> WireResponse:
        sent = json.loads(made.engine.sent[0].body or b"{}")
        body = {
            "orderNumber": "A-1",
            "paymentLinkRef": "ref-1",
            "additionalData": sent["additionalData"],
            "transactionStatuses": [{"transactionStatusName": "PAYMENT_LINK_SENT"}],
        }
        return answer(200, json.dumps(body).encode())

    return show


# Span trees ---------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_success_is_one_attempt() -> None:
    assert await tree_of(CREATED) == (
        f"{CALL} outcome=applied recovered=False attempts=1\n  {POST} status=201 proof=applied"
    )


@pytest.mark.virtual_time
async def test_a_refusal_is_an_error_of_both() -> None:
    assert await tree_of(REFUSED) == (
        f"{CALL} outcome=rejected recovered=False error=BadRequestError attempts=1 !\n"
        f"  {POST} status=400 error=400 proof=rejected !"
    )


@pytest.mark.virtual_time
async def test_a_retry_is_an_attempt_beside_the_first() -> None:
    assert await tree_of(not_sent(), CREATED) == (
        f"{CALL} outcome=applied recovered=False attempts=2 +retry\n"
        f"  {POST} error=ConnectError proof=not sent !\n"
        f"  {POST} resend=1 status=201 proof=applied"
    )


@pytest.mark.virtual_time
async def test_a_throttle_pauses_the_call_between_two_attempts() -> None:
    assert await tree_of(THROTTLED, CREATED) == (
        f"{CALL} outcome=applied recovered=False attempts=2 +pause +retry\n"
        f"  {POST} status=429 error=429 proof=throttled !\n"
        f"  {POST} resend=1 status=201 proof=applied"
    )


@pytest.mark.virtual_time
async def test_a_lost_response_is_looked_up_and_read_back() -> None:
    traces = Traces()
    made = bench(lost(), look_ups=[answer(503), answer(503)], hooks=[traces.hook])
    made.engine.look_ups[1] = ours(made)
    assert (await create(made)).parsed.recovered
    assert traces.tree() == (
        f"{CALL} outcome=applied recovered=True attempts=1\n"
        f"  {POST} error=ReadTimeout proof=unknown !\n"
        f"  {GET} status=503 error=503 shows=nothing that counts !\n"
        f"  {GET} status=200 shows=the effect, and it is ours verdict=applied"
    )


@pytest.mark.virtual_time
async def test_what_is_absent_is_sent_again_after_look_ups_whose_404_is_no_error() -> None:
    assert await tree_of(lost(), CREATED, look_ups=(NOWHERE,)) == (
        f"{CALL} outcome=applied recovered=False attempts=2 +retry\n"
        f"  {POST} error=ReadTimeout proof=unknown !\n"
        f"  {GET} status=404 shows=explicitly no such effect x19\n"
        f"  {GET} status=404 shows=explicitly no such effect verdict=absent x2\n"
        f"  {POST} resend=1 status=201 proof=applied"
    )


@pytest.mark.virtual_time
async def test_an_outcome_that_stays_unknown_is_an_error_and_says_so() -> None:
    assert await tree_of(lost(), look_ups=(answer(503),)) == (
        f"{CALL} outcome=unknown recovered=False error=OutcomeUnknownError attempts=1 !"
        " +outcome_unknown\n"
        f"  {POST} error=ReadTimeout proof=unknown !\n"
        f"  {GET} status=503 error=503 shows=nothing that counts ! x31\n"
        f"  {GET} status=503 error=503 shows=nothing that counts verdict=undetermined !"
    )


@pytest.mark.virtual_time
async def test_a_cancelled_attempt_and_its_call_end_with_the_cancellation() -> None:
    tree = (await tree_of(forever)).replace("CancelledError", "Cancelled")
    assert tree == (
        f"{CALL} outcome=unknown recovered=False error=Cancelled attempts=1 ! +outcome_unknown\n"
        f"  {POST} error=Cancelled proof=unknown !"
    )


@pytest.mark.virtual_time
async def test_a_call_that_is_cancelled_in_a_look_up_ends_that_too() -> None:
    tree = (await tree_of(lost(), look_ups=(forever,))).replace("CancelledError", "Cancelled")
    assert tree == (
        f"{CALL} outcome=unknown recovered=False error=Cancelled attempts=1 ! +outcome_unknown\n"
        f"  {POST} error=ReadTimeout proof=unknown !\n"
        f"  {GET} error=Cancelled !"
    )


@pytest.mark.virtual_time
async def test_a_call_that_is_cancelled_before_it_leaves_is_cancelled_and_nothing_more() -> None:
    traces, slots = Traces(), Slots(1)
    made = bench(hooks=[traces.hook], slots=slots)
    async with slots:
        with anyio.move_on_after(2):
            await create(made)
    tree = traces.tree().replace("CancelledError", "Cancelled")
    assert tree == f"{CALL} outcome=cancelled recovered=False error=Cancelled attempts=0 !"


@pytest.mark.virtual_time
async def test_an_attempt_without_a_key_sends_nothing_and_has_no_span() -> None:
    def ask() -> str:
        raise OSError

    traces = Traces()
    made = bench(hooks=[traces.hook], ask=ask)
    with pytest.raises(TransportError):
        await create(made, max_attempts=2)
    assert traces.tree() == (
        f"{CALL} outcome=failed recovered=False error=TransportError attempts=2 ! +retry"
    )
    assert traces.counts("chat2pay.attempts", "chat2pay.proof") == {("not sent",): 2}
    assert "http.client.request.duration" not in traces.metrics()


@pytest.mark.virtual_time
async def test_an_update_is_read_back_within_its_call() -> None:
    shown = b'{"integrators": [{"applicationId": "u-1", "status": "ACTIVATED"}]}'
    traces = Traces()
    made = bench(lost(), look_ups=[answer(200, shown)], hooks=[traces.hook])
    await made.sender.send(UPDATE_INTEGRATION, INTEGRATION, options())
    assert traces.tree() == (
        "chat2pay.update_integration INTERNAL outcome=applied recovered=True attempts=1\n"
        "  PUT /api/v2/integration CLIENT error=ReadTimeout proof=unknown !\n"
        "  GET /api/v2/config CLIENT status=200 proof=applied"
    )


@pytest.mark.virtual_time
async def test_a_pending_call_is_resolved_in_a_span_of_its_own() -> None:
    traces = Traces()
    pending = await pending_call()
    made = bench(look_ups=[NOWHERE], hooks=[traces.hook])
    resolution = await made.sender.resolve(pending, options())
    assert resolution.verdict is Verdict.ABSENT
    assert traces.tree() == (
        "chat2pay.resolve INTERNAL verdict=absent\n"
        f"  {GET} status=404 shows=explicitly no such effect x19\n"
        f"  {GET} status=404 shows=explicitly no such effect verdict=absent"
    )


@pytest.mark.virtual_time
async def test_a_resolution_that_runs_out_of_time_has_no_verdict() -> None:
    traces = Traces()
    pending = await pending_call()
    made = bench(look_ups=[answer(503)], hooks=[traces.hook])
    resolution = await made.sender.resolve(pending, options(total=1.0))
    assert resolution.verdict is Verdict.UNDETERMINED
    assert traces.tree() == (
        f"chat2pay.resolve INTERNAL\n  {GET} status=503 error=503 shows=nothing that counts ! x3"
    )


@pytest.mark.virtual_time
async def test_a_resolution_that_is_broken_off_is_an_error() -> None:
    def stop(event: Event) -> None:
        if isinstance(event, events.LookUpStarted):
            raise SystemExit

    traces = Traces()
    pending = await pending_call()
    made = bench(look_ups=[answer(503)], hooks=[traces.hook, stop])
    with pytest.raises(SystemExit):
        await made.sender.resolve(pending, options())
    assert (
        traces.tree() == f"chat2pay.resolve INTERNAL error=SystemExit !\n  {GET} error=SystemExit !"
    )


@pytest.mark.virtual_time
async def test_an_order_that_may_exist_is_looked_for_in_a_span_of_its_own() -> None:
    traces = Traces()
    made = bench(look_ups=[NOWHERE], hooks=[traces.hook])
    await made.sender.look_for(CREATE_PAYMENT_LINK, LINK, options(), 0.0)
    assert traces.tree() == (
        "chat2pay.resolve INTERNAL verdict=absent\n"
        f"  {GET} status=404 shows=explicitly no such effect verdict=absent"
    )


@pytest.mark.virtual_time
async def test_a_verdict_that_went_stale_lets_nothing_leave_and_is_asked_for_again() -> None:
    def dawdle(event: Event) -> None:
        if isinstance(event, events.AttemptStarted) and event.number == 2 and not dawdled:
            dawdled.append(event)
            jump(2)

    traces, dawdled = Traces(), list[Event]()
    made = bench(lost(), CREATED, CREATED, look_ups=[NOWHERE], hooks=[traces.hook, dawdle])
    await create(made)
    assert traces.tree().splitlines()[-4:] == [
        f"  {GET} status=404 shows=explicitly no such effect verdict=absent x2",
        f"  {POST} resend=1",
        f"  {GET} status=404 shows=explicitly no such effect verdict=absent",
        f"  {POST} resend=1 status=201 proof=applied",
    ]


# Attributes ---------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_an_attempt_has_the_conventional_attributes_and_its_calls_id() -> None:
    traces = Traces()
    made = bench(not_sent(), CREATED, hooks=[traces.hook])
    await create(made)
    (call_id,) = {event.call_id for event in made.heard}
    assert dict(traces.spans[1].attributes or {}) == {
        "http.request.method": "POST",
        "http.request.resend_count": 1,
        "http.response.status_code": 201,
        "server.address": "s.test",
        "server.port": 443,
        "url.template": "/api/v2/chat-2-pay",
        "chat2pay.call_id": call_id,
        "chat2pay.operation": "create_payment_link",
        "chat2pay.proof": "applied",
        "chat2pay.queue.duration": 0.0,
    }
    (delay,) = (event.delay for event in made.heard_of(events.RetryScheduled))
    (retry,) = traces.spans[2].events
    assert (retry.name, dict(retry.attributes or {})) == (
        "chat2pay.retry",
        {"chat2pay.delay": delay, "chat2pay.proof": "not sent"},
    )


@pytest.mark.parametrize(
    ("base_url", "server", "template"),
    [
        ("https://pay.test", ("pay.test", 443), "/api/v2/config"),
        ("https://pay.test:8443/c2p", ("pay.test", 8443), "/c2p/api/v2/config"),
        ("http://[::1]:80", ("::1", 80), "/api/v2/config"),
    ],
)
async def test_the_server_and_the_path_are_those_of_the_base_url(
    base_url: str, server: tuple[str, int], template: str
) -> None:
    traces = Traces()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=CONFIGURATION))
    async with AsyncChat2Pay(
        KEY, base_url=base_url, transport=transport, hooks=[traces.hook]
    ) as client:
        await client.get_configuration()
    given = traces.spans[0].attributes or {}
    assert (given["server.address"], given["server.port"]) == server
    assert given["url.template"] == template


async def test_an_endpoint_that_a_caller_names_is_not_shown() -> None:
    traces = Traces()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    async with AsyncChat2Pay(
        KEY, base_url="https://pay.test", transport=transport, hooks=[traces.hook]
    ) as client:
        await client.request("GET", "/api/v2/customers/27831234567")
    assert traces.tree() == (
        "chat2pay.request INTERNAL outcome=applied recovered=False attempts=1\n"
        "  GET CLIENT status=200 proof=applied"
    )
    assert "27831234567" not in everything(traces)


def everything(traces: Traces) -> str:
    """Return all that leaves the process."""
    return "".join(span.to_json() for span in traces.spans) + json.dumps(traces.metrics())


@pytest.mark.virtual_time
@pytest.mark.parametrize("script", [(CREATED,), (REFUSED,), (lost(), CREATED), (forever,)])
async def test_nothing_of_a_person_no_key_and_no_reference_leaves_the_process(
    script: tuple[Act, ...],
) -> None:
    traces = Traces()
    made = bench(*script, look_ups=[NOWHERE], hooks=[traces.hook])
    with suppress(Chat2PayError), anyio.move_on_after(100):
        await create(made)
    sent = everything(traces)
    assert "chat2pay.create_payment_link" in sent
    for secret in ("secret-key", LINK.to, LINK.order_number, "ref-1", "199.90"):
        assert secret not in sent


# Context ------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("script", [(CREATED,), (REFUSED,), (lost(), CREATED), (forever,)])
async def test_after_a_call_the_current_span_is_the_one_of_before(script: tuple[Act, ...]) -> None:
    traces = Traces()
    made = bench(*script, look_ups=[NOWHERE], hooks=[traces.hook])
    before = context.get_current()
    with suppress(Chat2PayError), anyio.move_on_after(100):
        await create(made)
    assert context.get_current() == before


async def test_a_call_is_below_the_span_that_its_caller_is_in() -> None:
    traces = Traces()
    tracer = traces.tracers.get_tracer("shop")
    made = bench(CREATED, hooks=[traces.hook])
    with tracer.start_as_current_span("checkout"):
        await create(made)
    assert traces.tree() == (
        "checkout INTERNAL\n"
        f"  {CALL} outcome=applied recovered=False attempts=1\n"
        f"    {POST} status=201 proof=applied"
    )


@pytest.mark.virtual_time
async def test_an_error_that_its_caller_is_handling_is_none_of_a_spans() -> None:
    traces = Traces()
    pending = await pending_call()
    made = bench(look_ups=[answer(503)], hooks=[traces.hook])
    try:
        json.loads("")
    except ValueError:
        await made.sender.resolve(pending, options(total=1.0))
    assert traces.tree().splitlines()[0] == "chat2pay.resolve INTERNAL"


@pytest.mark.virtual_time
async def test_log_lines_of_events_are_written_within_the_span() -> None:
    traces, spans = Traces(), dict[str, int]()

    def note(event: Event) -> None:
        spans[type(event).__name__] = trace.get_current_span().get_span_context().span_id

    made = bench(CREATED, hooks=[note, traces.hook])
    await create(made)
    attempt, call = (span.context.span_id for span in traces.spans)
    assert spans == {
        "CallStarted": call,
        "AttemptStarted": attempt,
        "AttemptFinished": attempt,
        "CallFinished": call,
    }


# Metrics ------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_call_is_counted_and_measured() -> None:
    async def slowly() -> WireResponse:
        await anyio.sleep(0.5)
        return CREATED

    traces = Traces()
    made = bench(not_sent(), slowly, hooks=[traces.hook])
    await create(made)
    target = {
        "http.request.method": "POST",
        "server.address": "s.test",
        "server.port": 443,
        "url.template": "/api/v2/chat-2-pay",
    }
    operation = {"chat2pay.operation": "create_payment_link"}
    applied = operation | {"chat2pay.outcome": "applied"}
    found = traces.metrics()
    (duration,) = found.pop("chat2pay.call.duration")
    assert duration[0] == applied
    (finished,) = made.heard_of(events.CallFinished)
    assert duration[1] == (1, pytest.approx(finished.elapsed, abs=0.001))
    assert found == {
        "http.client.request.duration": [
            (target | {"error.type": "ConnectError"}, (1, 0.0)),
            (target | {"http.response.status_code": 201}, (1, 0.5)),
        ],
        "http.client.active_requests": [(target, 0)],
        "chat2pay.calls.active": [(operation, 0)],
        "chat2pay.outcomes": [(applied | {"chat2pay.recovered": False}, 1)],
        "chat2pay.attempts": [
            (operation | {"chat2pay.proof": "not sent"}, 1),
            (operation | {"chat2pay.proof": "applied"}, 1),
        ],
        "chat2pay.queue.duration": [(operation, (2, 0.0))],
    }


@pytest.mark.virtual_time
async def test_look_ups_and_their_verdicts_are_counted() -> None:
    traces = Traces()
    made = bench(lost(), CREATED, look_ups=[answer(503), NOWHERE], hooks=[traces.hook])
    await create(made)
    assert traces.counts("chat2pay.look_ups", "chat2pay.shows") == {
        ("nothing that counts",): 1,
        ("explicitly no such effect",): 20,
    }
    assert traces.counts("chat2pay.verdicts", "chat2pay.verdict") == {("absent",): 2}


@pytest.mark.virtual_time
async def test_a_look_up_is_measured() -> None:
    async def slowly() -> WireResponse:
        await anyio.sleep(0.5)
        return NOWHERE

    traces = Traces()
    made = bench(look_ups=[slowly], hooks=[traces.hook])
    await made.sender.look_for(CREATE_PAYMENT_LINK, LINK, options(), 0.0)
    (looked_up,) = made.heard_of(events.LookedUp)
    assert (looked_up.elapsed, looked_up.status_code, looked_up.error) == (0.5, 404, None)
    assert datetime.now(UTC) - looked_up.started_at < timedelta(minutes=1)
    (duration,) = traces.metrics()["http.client.request.duration"]
    assert duration[1] == (1, 0.5)


@pytest.mark.virtual_time
async def test_what_is_active_is_counted_while_it_lasts() -> None:
    seen = list[tuple[Any, Any]]()

    async def look() -> WireResponse:
        found = traces.metrics()
        seen.append((found["chat2pay.calls.active"], found["http.client.active_requests"]))
        return CREATED

    traces = Traces()
    await create(bench(look, hooks=[traces.hook]))
    ((calls, requests),) = seen
    assert [value for _, value in calls] == [value for _, value in requests] == [1]


@pytest.mark.virtual_time
async def test_the_wait_for_a_connection_and_for_a_pause_is_measured() -> None:
    async def slowly() -> WireResponse:
        await anyio.sleep(3)
        return CREATED

    traces = Traces()
    made = bench(slowly, THROTTLED, CREATED, hooks=[traces.hook], slots=Slots(1))
    async with anyio.create_task_group() as group:
        group.start_soon(create, made)
        await anyio.sleep(1)
        group.start_soon(create, made)
    waits = [event.waited for event in made.heard_of(events.AttemptStarted)]
    assert waits[:2] == [0.0, 2.0]
    (queue,) = traces.metrics()["chat2pay.queue.duration"]
    assert queue[1] == (3, pytest.approx(sum(waits), abs=0.001))
    assert traces.metrics()["chat2pay.pause.duration"] == [
        ({"chat2pay.operation": "create_payment_link"}, (1, 2.0))
    ]


@pytest.mark.virtual_time
async def test_each_attempt_has_the_wait_of_its_own() -> None:
    async def slowly() -> WireResponse:
        await anyio.sleep(3)
        return CREATED

    traces = Traces()
    made = bench(slowly, not_sent(), CREATED, hooks=[traces.hook], slots=Slots(1))
    async with anyio.create_task_group() as group:
        group.start_soon(create, made)
        await anyio.sleep(1)
        group.start_soon(create, made)
    assert [event.waited for event in made.heard_of(events.AttemptStarted)] == [0.0, 2.0, 0.0]


@pytest.mark.virtual_time
async def test_the_wait_for_the_rate_is_measured() -> None:
    traces = Traces()
    made = bench(CREATED, CREATED, hooks=[traces.hook], limit=RateLimit(1, per=5.0))
    await create(made)
    await create(made)
    waits = [event.waited for event in made.heard_of(events.AttemptStarted)]
    assert waits == [0.0, pytest.approx(5.0)]


@pytest.mark.virtual_time
async def test_durations_have_the_conventional_bounds() -> None:
    traces = Traces()
    await create(bench(CREATED, hooks=[traces.hook]))
    assert traces.bounds("http.client.request.duration") == (
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    )
    assert traces.bounds("chat2pay.call.duration")[-3:] == (30, 60, 120)


@pytest.mark.virtual_time
async def test_an_event_of_another_call_changes_no_span_but_its_own() -> None:
    traces = Traces()
    with traces.hook.around(events.CallStarted("c1", "create_payment_link")):
        traces.hook(events.OutcomeUnknown("c2", "create_payment_link", await pending_call()))
        traces.hook(events.CallFinished("c2", "capture_payment", 0.1, (), None, recovered=False))
    assert traces.tree() == CALL


async def test_a_journal_is_measured_and_what_it_could_not_write_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_intent = SQLiteStore.record_intent

    async def slowly(store: SQLiteStore, token: str, intent: Intent) -> bool:
        began = anyio.current_time()
        while anyio.current_time() == began:  # uvloop's clock counts milliseconds
            await anyio.lowlevel.checkpoint()
        return await record_intent(store, token, intent)

    monkeypatch.setattr(SQLiteStore, "record_intent", slowly)
    traces = Traces()
    async with client_of(Sandbox(api_key=KEY), traces, journal=tmp_path / "journal") as client:
        await client.create_payment_link(order("A-1"))
        await client.get_configuration()
    ((operation, (count, seconds)),) = traces.metrics()["chat2pay.journal.duration"]
    assert (operation, count) == ({"chat2pay.operation": "create_payment_link"}, 1)
    assert seconds > 0
    traces.hook(events.JournalBehind("c1", "create_payment_link", "the disk is full"))
    assert traces.counts("chat2pay.journal.behind") == {(): 1}


@pytest.mark.parametrize(
    ("error", "proof", "outcome"),
    [
        (None, Proof.APPLIED, "applied"),
        ("ReceiptNotSentError", Proof.APPLIED, "applied"),
        ("ReceiptNotSentError", Proof.UNKNOWN, "applied"),
        ("BadRequestError", Proof.REJECTED, "rejected"),
        ("ConnectionFailedError", Proof.NOT_SENT, "failed"),
        ("RequestTimeoutError", None, "failed"),
        ("Cancelled", Proof.NOT_SENT, "cancelled"),
    ],
)
async def test_an_outcome_says_what_was_applied(
    error: str | None, proof: Proof | None, outcome: str
) -> None:
    traces = Traces()
    made = () if proof is None else (Attempt(datetime.now(UTC), 0.1, proof),)
    traces.hook(events.CallFinished("c1", "create_receipt", 0.1, made, error, recovered=False))
    assert traces.counts("chat2pay.outcomes", "chat2pay.outcome", "error.type") == {
        (outcome, error): 1
    }


@pytest.mark.parametrize("has_journal", [True, False])
async def test_a_call_whose_key_is_known_is_a_span_without_an_attempt(
    tmp_path: Path, *, has_journal: bool
) -> None:
    traces = Traces()
    journal = tmp_path / "journal" if has_journal else None
    async with client_of(Sandbox(api_key=KEY), traces, journal=journal) as client:
        async with anyio.create_task_group() as group:  # the second one waits for the first
            for _ in range(2):
                group.start_soon(client.create_payment_link, order("fine-1"))
        if has_journal:
            await client.create_payment_link(order("fine-1"))
    replayed = ["chat2pay.create_payment_link INTERNAL outcome=replayed recovered=False"]
    if has_journal:
        replayed[0] += " x2"
    assert traces.tree().splitlines() == OF_AN_ORDER["fine"] + replayed
    assert traces.counts("chat2pay.outcomes", "chat2pay.outcome") == {
        ("applied",): 1,
        ("replayed",): 1 + has_journal,
    }


# Failures of its own ------------------------------------------------------------------------------


class FailingProcessor(SpanProcessor):
    """A processor of the user's that fails whenever it is asked."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError(span.name, parent_context)

    def on_end(self, span: Any) -> None:
        raise RuntimeError(span.name)


class FailingAtTheEnd(SpanProcessor):
    def on_end(self, span: Any) -> None:
        raise RuntimeError(span.name)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("processor", "failures"), [(FailingProcessor(), 2), (FailingAtTheEnd(), 2)]
)
async def test_a_processor_that_fails_takes_no_result_and_leaves_the_context_as_it_was(
    processor: SpanProcessor, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    traces = Traces()
    traces.tracers.add_span_processor(processor)
    made = bench(CREATED, hooks=[traces.hook])
    before = context.get_current()
    assert (await create(made)).parsed.payment_link_ref == "ref-1"
    assert context.get_current() == before
    failed = [line for line in caplog.messages if line.startswith("a hook failed on ")]
    assert len(failed) == failures
    active = traces.metrics().get("chat2pay.calls.active", [({}, 0)])
    assert [value for _, value in active] == [0]


@pytest.mark.virtual_time
async def test_without_its_span_an_unknown_outcome_is_counted_all_the_same() -> None:
    traces = Traces()
    traces.tracers.add_span_processor(FailingProcessor())
    made = bench(lost(), look_ups=[THROTTLED, answer(503)], hooks=[traces.hook])
    with pytest.raises(OutcomeUnknownError):
        await create(made)
    assert traces.spans == ()
    assert traces.counts("chat2pay.outcomes", "error.type") == {("OutcomeUnknownError",): 1}
    (pause,) = traces.metrics()["chat2pay.pause.duration"]
    assert pause[1][0] == 1


@pytest.mark.virtual_time
async def test_a_call_that_another_hook_ends_ends_its_span_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, events.CallFinished):
            raise SystemExit

    traces = Traces()
    made = bench(CREATED, hooks=[traces.hook, stop])
    before = context.get_current()
    with pytest.raises(SystemExit):
        await create(made)
    assert context.get_current() == before
    assert [span.name for span in traces.spans] == [
        POST.removesuffix(" CLIENT"),
        CALL.removesuffix(" INTERNAL"),
    ]
    assert "hook" not in caplog.text


# Many at a time -----------------------------------------------------------------------------------


class Shaky(httpx.AsyncBaseTransport):
    """A way to the sandbox on which a link's first POST ends as its order number says."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._inner = httpx.ASGITransport(app=sandbox.app)
        self._known: set[str] = set()
        self.parents = list[str]()
        """Each request's `traceparent`."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.parents.append(request.headers.get("traceparent", ""))
        number = json.loads(request.content)["orderNumber"] if request.method == "POST" else ""
        is_first, what = number not in self._known, number.partition("-")[0]
        self._known.add(number)
        await anyio.sleep(len(self._known) % 7 / 100)
        if is_first and what == "refused":
            raise httpx.ConnectError("refused", request=request)
        if what == "cancelled":
            await anyio.sleep_forever()
        if is_first and what == "throttled":
            return httpx.Response(429, headers={"retry-after": "1"}, request=request)
        response = await self._inner.handle_async_request(request)
        if is_first and what == "lost":
            await response.aread()
            raise httpx.ReadError("reset", request=request)
        return response


@asynccontextmanager
async def client_of(
    sandbox: Sandbox, traces: Traces, **settings: Any
) -> AsyncIterator[AsyncChat2Pay]:
    if "http_client" not in settings:
        settings["transport"] = Shaky(sandbox)
    retry = RetryPolicy(initial=0.01, maximum=0.02)
    async with AsyncChat2Pay(
        KEY, base_url="http://localhost", retry=retry, hooks=[traces.hook], **settings
    ) as client:
        yield client


MADE = "outcome=applied recovered=False"
OF_AN_ORDER = {
    "fine": [f"{CALL} {MADE} attempts=1", f"  {POST} status=201 proof=applied"],
    "refused": [
        f"{CALL} {MADE} attempts=2 +retry",
        f"  {POST} error=ConnectError proof=not sent !",
        f"  {POST} resend=1 status=201 proof=applied",
    ],
    "throttled": [
        f"{CALL} {MADE} attempts=2 +pause +retry",
        f"  {POST} status=429 error=429 proof=throttled !",
        f"  {POST} resend=1 status=201 proof=applied",
    ],
    "lost": [
        f"{CALL} outcome=applied recovered=True attempts=1",
        f"  {POST} error=ReadError proof=unknown !",
        f"  {GET} status=200 shows=the effect, and it is ours verdict=applied",
    ],
    "cancelled": [
        f"{CALL} outcome=unknown recovered=False error=Cancelled attempts=1 ! +outcome_unknown",
        f"  {POST} error=Cancelled proof=unknown !",
    ],
}
"""The spans of a link, by the first word of its order number."""


def tree_below(traces: Traces, name: str) -> list[str]:
    """Draw what lies below one handler's span."""
    (trace_id,) = {span.context.trace_id for span in traces.spans if span.name == name}
    tree = drawn([span for span in traces.spans if span.context.trace_id == trace_id])
    first, *others = tree.replace("CancelledError", "Cancelled").splitlines()
    assert first == f"{name} SERVER"
    return [line.removeprefix("  ") for line in others]


@pytest.mark.virtual_time
async def test_25_handlers_at_a_time_have_each_their_own_spans() -> None:
    traces, sandbox = Traces(), Sandbox(api_key=KEY)
    tracer = traces.tracers.get_tracer("shop")

    async def handle(client: AsyncChat2Pay, number: str) -> None:
        with tracer.start_as_current_span(f"handle {number}", kind=trace.SpanKind.SERVER) as span:
            with anyio.move_on_after(20 if number.startswith("cancelled") else None):
                await client.create_payment_link(order(number))
            assert trace.get_current_span() is span

    numbers = [f"{what}-{n}" for n in range(5) for what in OF_AN_ORDER]
    assert len(numbers) == 25
    async with client_of(sandbox, traces) as client, anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(handle, client, number)
    found = {number: tree_below(traces, f"handle {number}") for number in numbers}
    assert found == {number: OF_AN_ORDER[number.partition("-")[0]] for number in numbers}
    assert traces.counts("chat2pay.outcomes", "chat2pay.outcome", "chat2pay.recovered") == {
        ("applied", False): 15,
        ("applied", True): 5,
        ("unknown", False): 5,
    }


@pytest.mark.virtual_time
async def test_the_items_of_a_run_are_calls_side_by_side() -> None:
    traces, sandbox = Traces(), Sandbox(api_key=KEY)
    tracer = traces.tracers.get_tracer("shop")
    names = ("fine", "refused", "throttled", "lost")
    numbers = [f"{what}-{n}" for n in range(3) for what in names]
    async with client_of(sandbox, traces) as client:
        with tracer.start_as_current_span("campaign"):
            async with bulk.create_payment_links(client, map(order, numbers), concurrency=4) as run:
                outcomes = [outcome async for outcome in run]
    assert {outcome.state for outcome in outcomes} == {bulk.State.APPLIED}
    root, *others = traces.tree().splitlines()
    assert root == "campaign INTERNAL"
    calls = "\n".join(others).replace("\n    ", "|    ").splitlines()
    expected = ["|".join(f"  {line}" for line in OF_AN_ORDER[what]) for what in names]
    assert sorted(calls) == sorted(expected * 3)
    assert traces.counts("chat2pay.items", "chat2pay.state", "chat2pay.recovered") == {
        ("applied", False): 9,
        ("applied", True): 3,
    }


# Beside others ------------------------------------------------------------------------------------


@asynccontextmanager
async def instrumented(traces: Traces, shaky: Shaky) -> AsyncIterator[httpx.AsyncClient]:
    """An `httpx.AsyncClient` of the user's, instrumented by OpenTelemetry's own package."""
    async with httpx.AsyncClient(transport=shaky) as http:
        HTTPXClientInstrumentor.instrument_client(http, tracer_provider=traces.tracers)
        yield http


INNER = {"POST": "POST CLIENT", "GET": "GET CLIENT"}


@pytest.mark.virtual_time
@pytest.mark.parametrize("what", ["fine", "refused", "throttled", "lost"])
async def test_the_spans_of_an_instrumented_client_lie_below_the_attempts(what: str) -> None:
    traces, shaky = Traces(), Shaky(Sandbox(api_key=KEY))
    async with (
        instrumented(traces, shaky) as http,
        client_of(Sandbox(), traces, http_client=http) as client,
    ):
        await client.create_payment_link(order(f"{what}-1"))
    by_id = {span.context.span_id: span for span in traces.spans}
    theirs = [span for span in traces.spans if span.name in {"POST", "GET"}]
    assert [parent.split("-")[2] for parent in shaky.parents] == [
        f"{span.context.span_id:016x}" for span in theirs
    ]
    above = [by_id[span.parent.span_id].name for span in theirs if span.parent is not None]
    requests = [line.strip() for line in OF_AN_ORDER[what][1:]]
    assert [f"{name} CLIENT" for name in above] == [" ".join(line.split()[:3]) for line in requests]
    assert len(traces.spans) == 1 + 2 * len(requests)


@pytest.mark.virtual_time
async def test_without_http_the_spans_of_an_instrumented_client_lie_below_the_call() -> None:
    traces, shaky = Traces(http=False), Shaky(Sandbox(api_key=KEY))
    async with (
        instrumented(traces, shaky) as http,
        client_of(Sandbox(), traces, http_client=http) as client,
    ):
        await client.create_payment_link(order("lost-1"))
    call = traces.spans[-1]
    assert call.name == "chat2pay.create_payment_link"
    assert [(span.name, span.parent) for span in traces.spans[:-1]] == [
        ("POST", call.context),
        ("GET", call.context),
    ]
    found = traces.metrics()
    assert {"http.client.request.duration", "http.client.active_requests"}.isdisjoint(found)
    assert traces.counts("chat2pay.attempts", "chat2pay.proof") == {("unknown",): 1}
    assert traces.counts("chat2pay.verdicts", "chat2pay.verdict") == {("applied",): 1}


@pytest.mark.virtual_time
async def test_logfire_shows_the_same_spans() -> None:
    exporter, shaky = InMemorySpanExporter(), Shaky(Sandbox(api_key=KEY))
    fire = logfire.configure(
        local=True,
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(exporter)],
    )
    hook = Telemetry(
        tracer_provider=fire.config.get_tracer_provider(),
        meter_provider=fire.config.get_meter_provider(),
        http=False,
    )
    async with httpx.AsyncClient(transport=shaky) as http:
        fire.instrument_httpx(http)
        async with AsyncChat2Pay(
            KEY, base_url="http://localhost", http_client=http, hooks=[hook]
        ) as client:
            with fire.span("checkout"):
                await client.create_payment_link(order("lost-1"))
    found = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in found}
    assert [(span.name, span.parent and names[span.parent.span_id]) for span in found] == [
        ("POST", "chat2pay.create_payment_link"),
        ("GET", "chat2pay.create_payment_link"),
        ("chat2pay.create_payment_link", "checkout"),
        ("checkout", None),
    ]


@pytest.fixture
def transactions() -> Iterator[list[Any]]:
    """Collect what Sentry would report of OpenTelemetry's spans."""
    found: list[Any] = []

    class Transport(sentry_sdk.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            found.extend(item.payload.json for item in envelope.items)

    with sentry_sdk.isolation_scope():
        sentry_sdk.init(
            dsn="http://key@sentry.test/1",
            transport=Transport,
            traces_sample_rate=1.0,
            instrumenter="otel",
            default_integrations=False,
        )
        yield found
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)


@pytest.mark.virtual_time
async def test_sentry_makes_one_transaction_of_a_handlers_spans(transactions: list[Any]) -> None:
    traces = Traces()
    traces.tracers.add_span_processor(SentrySpanProcessor())
    async with client_of(Sandbox(api_key=KEY), traces) as client:
        with traces.tracers.get_tracer("shop").start_as_current_span("checkout"):
            await client.create_payment_link(order("lost-1"))
    (transaction,) = transactions
    root = transaction["contexts"]["trace"]["span_id"]
    ids = {root: "checkout"} | {one["span_id"]: one["op"] for one in transaction["spans"]}
    assert [(one["op"], ids[one["parent_span_id"]]) for one in transaction["spans"]] == [
        ("chat2pay.create_payment_link", "checkout"),
        (POST.removesuffix(" CLIENT"), "chat2pay.create_payment_link"),
        (GET.removesuffix(" CLIENT"), "chat2pay.create_payment_link"),
    ]
    shown = json.dumps(transactions)
    assert KEY not in shown
    assert "27831234567" not in shown


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "chat2pay_async.opentelemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ModuleNotFoundError, match=r"chat2pay-async\[otel\]"):
        import_module("chat2pay_async.opentelemetry")
