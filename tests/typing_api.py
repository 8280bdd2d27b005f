"""The public API as its users type it: checked by mypy and pyright, never run."""

from __future__ import annotations

import pickle
import ssl
from collections.abc import AsyncIterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_type

import httpx

import chat2pay_async as c2p
from chat2pay_async import bulk, callbacks, events
from chat2pay_async.pytest_plugin import SandboxFixture
from chat2pay_async.sandbox import Sandbox, serve_sandbox


def hook(event: c2p.Event) -> None:
    if isinstance(event, events.OutcomeUnknown):
        assert_type(event.pending, c2p.Pending)
    if isinstance(event, events.AttemptFinished):
        assert_type(event.attempt, c2p.Attempt)


async def rotated_key() -> str:
    return "key"


async def clients() -> None:
    async with c2p.AsyncChat2Pay() as client:
        assert_type(client, c2p.AsyncChat2Pay)
    c2p.AsyncChat2Pay("key", base_url="https://c2p.example", timeout=10, max_connections=20)
    c2p.AsyncChat2Pay(
        api_key="key",
        timeout=c2p.Timeout(connect=1, read=2.5, total=30),
        retry=c2p.RetryPolicy(max_attempts=2),
        hooks=[hook, print],
    )
    c2p.AsyncChat2Pay("key", http_client=httpx.AsyncClient())
    c2p.AsyncChat2Pay("key", transport=httpx.ASGITransport(app=Sandbox().app))
    c2p.AsyncChat2Pay(
        rotated_key,
        ssl_context=ssl.create_default_context(),
        default_headers={"X-Gateway": "g"},
        app_info={"name": "shop", "version": "1"},
    )
    c2p.AsyncChat2Pay(lambda: "key", transport="fast")
    raw = await client.request("POST", "/api/v2/new", params={"a": 1}, json={"b": [1]})
    assert_type(raw, c2p.RawResponse[Any])
    c2p.AsyncChat2Pay(lambda: 1)  # type: ignore[arg-type, return-value] # pyright: ignore[reportArgumentType]
    c2p.AsyncChat2Pay("key", timeout="10")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def requests() -> c2p.PaymentLinkRequest:
    c2p.PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number="A-1",
        currency="ZAR",
        total_amount=1.5,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    )
    return c2p.PaymentLinkRequest(
        channel=c2p.Channel.WHATSAPP,
        to="27831234567",
        order_number="A-1",
        currency="ZAR",
        total_amount=Decimal("115.00"),
        sub_total_amount="100.00",
        tax_amount=15,
        timestamp=datetime.now(UTC),
        additional_data={"cart": ["a", 1, 2.5]},
        transaction_type="authorization",
        order_line_items=[c2p.LineItem(name="Mug", unit_price="100.00", quantity=1)],
    )


async def operations(client: c2p.AsyncChat2Pay) -> None:
    link = await client.create_payment_link(requests())
    assert_type(link, c2p.PaymentLink)
    assert_type(link.payment_link_ref, str)
    assert_type(link.transaction_status, c2p.TransactionStatus | str | None)
    assert_type(link.delivered, bool | None)
    assert_type(await client.cancel_payment_link("ref"), c2p.Cancellation)
    result = await client.capture_payment("ref", amount="100.00")
    assert_type(result, c2p.GatewayResult)
    assert_type(result.succeeded, bool | None)
    assert_type(result.total_amount, Decimal | None)
    assert_type(await client.reverse_payment("ref"), c2p.GatewayResult)
    assert_type(await client.create_receipt("ref", "https://r.example"), c2p.Receipt)
    transaction = await client.get_transaction(order_number="A-1")
    assert_type(transaction, c2p.Transaction)
    assert_type(transaction.payment_statuses, tuple[c2p.PaymentStatusEntry, ...])
    assert_type(await client.get_configuration(), c2p.Configuration)
    assert_type(await client.update_integration("uuid", "deactivated"), c2p.IntegrationUpdate)
    assert_type(await client.wait_for_payment("ref", timeout=60), c2p.Transaction)
    await client.get_transaction("A-1")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def a_link_by_keywords(client: c2p.AsyncChat2Pay) -> None:
    link = await client.create_payment_link(
        channel="sms", to="27831234567", order_number="A-1", currency="ZAR", total_amount="199.90"
    )
    assert_type(link, c2p.PaymentLink)
    raw = await client.with_raw_response.create_payment_link(
        channel=c2p.Channel.SMS,
        to=27831234567,
        order_number="A-1",
        currency="ZAR",
        total_amount=Decimal("115.00"),
        transaction_type="Authorization",
        order_line_items=[c2p.LineItem(name="Mug", unit_price="100.00")],
        idempotency_key="second",
    )
    assert_type(raw, c2p.RawResponse[c2p.PaymentLink])
    fields: c2p.PaymentLinkFields = {
        "channel": "whatsapp",
        "to": "27831234567",
        "order_number": "A-1",
        "currency": "ZAR",
        "total_amount": 5,
    }
    await client.create_payment_link(**fields)
    row: dict[str, Any] = {}
    await client.create_payment_link(**row)
    await client.update_integration("uuid", c2p.IntegrationStatus.DELETED)
    await client.update_integration("uuid", "deletd")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    misspelt: c2p.PaymentLinkFields = {
        "channel": "smss",  # type: ignore[typeddict-item] # pyright: ignore[reportAssignmentType]
        "to": "27831234567",
        "order_number": "A-1",
        "currency": "ZAR",
        "total_amount": "1.00",
    }
    await client.create_payment_link(requests(), **misspelt)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.create_payment_link(  # type: ignore[call-overload]
        channel="smss",  # pyright: ignore[reportArgumentType]
        to="27831234567",
        order_number="A-1",
        currency="ZAR",
        total_amount="1.00",
    )
    await client.with_raw_response.create_payment_link(  # type: ignore[call-overload]
        channel="sms",
        to="27831234567",
        order_number="A-1",
        currency="ZAR",
        total_amount=1.5,  # pyright: ignore[reportArgumentType]
    )
    await client.create_payment_link(channel="sms")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.create_payment_link(requests(), "key")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


async def matched(client: c2p.AsyncChat2Pay) -> str | None:
    match await client.capture_payment("ref"):
        case c2p.GatewayResult(succeeded=True, total_amount=Decimal() as amount):
            return str(assert_type(amount, Decimal))
        case c2p.GatewayResult(succeeded=False, payment_gateway_error_decision=why):
            return assert_type(why, str | None)
        case _:
            return None


async def views(client: c2p.AsyncChat2Pay) -> None:
    quick = client.with_options(timeout=2, retry=c2p.RetryPolicy(max_attempts=1))
    assert_type(quick, c2p.AsyncChat2Pay)
    raw = await quick.with_raw_response.get_transaction(payment_link_ref="ref")
    assert_type(raw, c2p.RawResponse[c2p.Transaction])
    assert_type(raw.parsed, c2p.Transaction)
    assert_type(raw.headers, Mapping[str, str])
    assert_type(raw.attempts, tuple[c2p.Attempt, ...])
    await client.aclose()


async def runs(client: c2p.AsyncChat2Pay, requests: list[c2p.PaymentLinkRequest]) -> None:
    async with bulk.create_payment_links(
        client, requests, run="spring", concurrency=64, check_existing=True
    ) as run:
        async for outcome in run:
            assert_type(outcome, bulk.Outcome[c2p.PaymentLinkRequest, c2p.PaymentLink])
            assert_type(outcome.state, bulk.State)
            assert_type(outcome.result, c2p.PaymentLink | None)
            assert_type(outcome.error, c2p.Chat2PayError | None)
    assert_type(run.summary, bulk.Summary)
    assert_type(run.forecast, bulk.Forecast | None)
    assert_type(run.undelivered, list[bulk.Outcome[c2p.PaymentLinkRequest, c2p.PaymentLink]])
    captures = (bulk.Capture(ref, "1.00") for ref in ("a", "b"))
    job = bulk.capture_payments(client, captures, run="captures", dry_run=True)
    assert_type(job, bulk.Run[bulk.Capture, c2p.GatewayResult])
    bulk.reverse_payments(client, ["ref"], stop_at_failure_rate=0.2)
    bulk.get_transactions(client, ["ref", bulk.TransactionQuery(order_number="A-1")])
    bulk.get_transactions(client, ["ref"], journal="no.db")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    bulk.capture_payments(client, ["ref"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


async def posted(client: c2p.AsyncChat2Pay, parts: AsyncIterable[bytes]) -> None:
    waiter = callbacks.CallbackWaiter(rate=10)
    router = callbacks.Router(waiter=waiter)

    @router.on(callbacks.PaymentStatusCallback, c2p.PaymentStatus.SUCCESS, "reversed")
    async def paid(callback: callbacks.PaymentStatusCallback) -> None:
        assert_type(await callbacks.confirm(client, callback), c2p.Transaction)
        assert_type(callback.payment_status, c2p.PaymentStatus | str | None)

    @router.on(callbacks.TransactionStatusCallback)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    async def other(callback: callbacks.PaymentStatusCallback) -> None: ...

    @router.default
    async def default(callback: callbacks.Callback) -> None:
        assert_type(callback.deduplication_key, str)
        assert_type(callbacks.progress(callback), int)

    callback = callbacks.parse(b"{}", {"Content-Type": "application/json"})
    assert_type(callback, callbacks.Callback)
    match callback:
        case callbacks.TransactionStatusCallback(payment_link_ref=str(ref)):
            assert_type(await client.wait_for_payment(ref, waiter=waiter), c2p.Transaction)
        case callbacks.ConfigurationCallback():
            assert_type(await callbacks.confirm(client, callback), c2p.Configuration)
        case _:
            waiter.notify(callback)
    assert_type(await router.respond(parts, {}), int)
    await paid(callback)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def errors(client: c2p.AsyncChat2Pay) -> None:
    try:
        await client.capture_payment("ref")
    except c2p.OutcomeUnknownError as error:
        assert_type(error.pending, c2p.Pending)
        pickle.dumps(error.pending)
    except c2p.RateLimitedError as error:
        assert_type(error.retry_after, float | None)
    except c2p.ApiError as error:
        assert_type(error.status_code, int)
        assert_type(error.errors, tuple[str, ...])
    except c2p.RequestValidationError as error:
        assert_type(error.faults, tuple[c2p.Fault, ...])
    except c2p.Chat2PayError as error:
        assert_type(error.attempts, tuple[c2p.Attempt, ...])


def in_a_test(chat2pay_sandbox: SandboxFixture) -> None:
    assert_type(chat2pay_sandbox.client(max_connections=2), c2p.AsyncChat2Pay)
    assert_type(chat2pay_sandbox.url, str)
    chat2pay_sandbox.customer.pays("ref")
    chat2pay_sandbox.faults(create_payment_link=["drop_after", None])
    chat2pay_sandbox.faults("harsh")
    chat2pay_sandbox.faults(create_payment_link=["drop_aftr"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    assert_type(chat2pay_sandbox.ledger.count("captured"), int)
    assert_type(chat2pay_sandbox.killed(["worker"]).returncode, int)


async def sandbox() -> None:
    with serve_sandbox() as sandbox:
        assert_type(sandbox, Sandbox)
    async with serve_sandbox() as served:
        assert_type(served, Sandbox)
        assert_type(served.ledger.total("captured", "ZAR"), Decimal)
