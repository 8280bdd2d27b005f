"""The service is asked for what a callback claims, and its answer settles what is open."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from posted import CONFIGURATION, CUSTOMER, payment, posted
from shop import inline_writers

from chat2pay_async import (
    AsyncChat2Pay,
    AuthenticationError,
    CallbackError,
    Configuration,
    JournalError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentLinkRequest,
    ReceiptNotSentError,
    ResponseDecodeError,
    RetryPolicy,
    ServerError,
    Timeout,
    Transaction,
    TransactionStatus,
)
from chat2pay_async._client import inner
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._send.flights import Flights
from chat2pay_async.callbacks import confirm, parse
from chat2pay_async.sandbox import Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

KEY = "sandbox-key"
RECEIPT = "https://shop.example/r/1"
SETTLE = 10.0
Call = Callable[[AsyncChat2Pay, str], Any]


class Wire(httpx.AsyncBaseTransport):
    """The sandbox, or what a test puts in its place; it counts what is asked of it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._inner = httpx.ASGITransport(app=sandbox.app)
        self.posts = list[str]()
        self.looks = list[httpx.Request]()
        self.shown = list[httpx.Response]()
        """Answers to the next look-ups."""
        self.loses: str | None = None
        """Of the next POST: `request` or `response`."""
        self.opens: anyio.Event | None = None
        """Set to let answers to POSTs through; None: they are not held."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.looks.append(request)
            if self.shown:
                return self.shown.pop(0)
            return await self._inner.handle_async_request(request)
        self.posts.append(request.url.path)
        lost, self.loses = self.loses, None
        if lost == "request":
            raise httpx.ReadError("cut")
        response = await self._inner.handle_async_request(request)
        if lost == "response":
            raise httpx.ReadError("cut")
        if self.opens is not None:
            await self.opens.wait()
        return response


@pytest.fixture(autouse=True)
def _inline() -> Iterator[None]:
    """Let journals do their work at once: threads know nothing of virtual time."""
    with inline_writers():
        yield


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(api_key=KEY, seed=1)


@pytest.fixture
def wire(sandbox: Sandbox) -> Wire:
    return Wire(sandbox)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "payments.db"


@asynccontextmanager
async def client_of(
    wire: Wire, journal: Path | None = None, key: str = KEY, *, apart: bool = False, **retry: Any
) -> AsyncIterator[AsyncChat2Pay]:
    """Make a client; one that is apart shares no flights, as one of another process."""
    policy = RetryPolicy(**({"settle": SETTLE, "max_attempts": 1} | retry))
    async with AsyncChat2Pay(
        key,
        base_url="http://localhost",
        transport=wire,
        timeout=Timeout(read=1.0),
        retry=policy,
        journal=journal,
    ) as client:
        if apart:
            inner(client)[0].flights = Flights(object())
        yield client


def order(number: str = "A-1", **fields: Any) -> PaymentLinkRequest:
    values: dict[str, Any] = {
        "channel": "sms",
        "to": CUSTOMER,
        "order_number": number,
        "currency": "ZAR",
        "total_amount": "199.90",
        "transaction_type": "authorization",
    }
    return PaymentLinkRequest(**(values | fields))


async def made(wire: Wire, number: str = "A-1") -> str:
    async with client_of(wire) as client:
        ref = (await client.create_payment_link(order(number))).payment_link_ref
    wire.posts.clear()
    return ref


async def confirmed(client: AsyncChat2Pay, body: bytes) -> Transaction:
    found = await confirm(client, parse(body))
    assert isinstance(found, Transaction)
    return found


def states(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT operation, state FROM item ORDER BY id").fetchall()
    return dict(found)


def shown(fields: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, content=json.dumps(fields), headers=named)


# What it returns ----------------------------------------------------------------------------------


async def test_the_service_says_what_is_true(wire: Wire, sandbox: Sandbox) -> None:
    ref = await made(wire)
    sandbox.pay(ref)
    async with client_of(wire) as client:
        found = await confirmed(client, payment(paymentLinkRef=ref, totalAmount=1))
        raw = await client.with_raw_response.get_transaction(payment_link_ref=ref)
        again = await confirmed(client, raw.body)
        by_order = await confirmed(client, payment(paymentLinkRef=None))
        unknown = await confirmed(client, posted({"paymentLinkRef": ref, "event": "NEW"}))
    assert str(found.total_amount) == "199.90"
    assert found.is_authorized
    assert found == again == by_order == unknown == raw.parsed


async def test_no_cache_may_answer_for_the_service(wire: Wire) -> None:
    ref = await made(wire)
    async with client_of(wire) as client:
        await confirmed(client, payment(paymentLinkRef=ref, paymentStatus="PENDING"))
        assert wire.looks[-1].headers["cache-control"] == "no-cache"
        wire.shown = [shown({"orderNumber": "A-1", "paymentLinkRef": ref}, Age="3")]
        with pytest.raises(ResponseDecodeError, match="cache"):
            await confirmed(client, payment(paymentLinkRef=ref))


async def test_a_forged_success_is_not_believed(wire: Wire) -> None:
    ref = await made(wire)
    began = anyio.current_time()
    async with client_of(wire) as client:
        found = await confirmed(client, payment(paymentLinkRef=ref))
    assert (found.is_paid, found.is_open) == (False, True)
    # The service may not show it yet: it is asked until it must.
    assert anyio.current_time() - began == pytest.approx(SETTLE)
    assert len(wire.looks) == 5


@pytest.mark.parametrize("times", [1, 3])
async def test_a_callback_that_is_ahead_of_the_status_endpoint_is_waited_for(
    wire: Wire, sandbox: Sandbox, times: int
) -> None:
    ref = await made(wire)
    async with client_of(wire) as client:
        raw = await client.with_raw_response.get_transaction(payment_link_ref=ref)
        sandbox.pay(ref)
        wire.looks.clear()
        wire.shown = [shown(json.loads(raw.body)) for _ in range(times)]
        began = anyio.current_time()
        found = await confirmed(client, payment(paymentLinkRef=ref))
    assert found.is_authorized
    assert len(wire.looks) == times + 1
    assert anyio.current_time() - began == pytest.approx(2**times - 1)


@pytest.mark.parametrize("status", ["PENDING", "REVIEW", "SOMETHING_NEW"])
async def test_what_is_no_end_is_not_waited_for(wire: Wire, status: str) -> None:
    ref = await made(wire)
    async with client_of(wire) as client:
        await confirmed(client, payment(paymentLinkRef=ref, paymentStatus=status))
    assert len(wire.looks) == 1


async def test_a_late_callback_is_confirmed_by_what_came_after_it(
    wire: Wire, sandbox: Sandbox
) -> None:
    ref = await made(wire)
    sandbox.pay(ref)
    async with client_of(wire) as client:
        await client.reverse_payment(ref)
        found = await confirmed(client, payment(paymentLinkRef=ref))
    assert found.is_reversed
    assert len(wire.looks) == 1


async def test_a_changed_configuration_is_confirmed_by_the_configuration(wire: Wire) -> None:
    async with client_of(wire) as client:
        found = await confirm(client, parse(posted(CONFIGURATION)))
    assert isinstance(found, Configuration)
    assert found.api_key == KEY


# What it refuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"orderNumber": " ", "to": CUSTOMER},
        {"orderNumber": "000", "paymentLinkRef": "-", "to": CUSTOMER},
        {"orderNumber": "A" * 256, "to": CUSTOMER},
        {"paymentLinkRef": " ref-1", "to": CUSTOMER},
        {"event": "NEW"},
    ],
)
async def test_what_names_nothing_can_not_be_confirmed(wire: Wire, fields: dict[str, str]) -> None:
    async with client_of(wire) as client:
        with pytest.raises(CallbackError, match="names no payment link or order") as caught:
            await confirmed(client, posted(fields))
    assert wire.looks == []
    assert CUSTOMER not in str(caught.value)


async def test_a_link_of_another_order_is_refused(wire: Wire, sandbox: Sandbox, path: Path) -> None:
    ref = await made(wire, "A-2")
    sandbox.pay(ref)
    async with client_of(wire, path) as client:
        with pytest.raises(CallbackError, match="another order's"):
            await confirmed(client, payment(paymentLinkRef=ref))


async def test_whoever_has_another_key_or_asks_for_nobodys_link_is_refused(wire: Wire) -> None:
    ref = await made(wire)
    callback = parse(payment(paymentLinkRef=ref))
    async with client_of(wire, key="wrong") as client:
        with pytest.raises(AuthenticationError):
            await confirm(client, callback)
    async with client_of(wire) as client:
        with pytest.raises(NotFoundError):
            await confirmed(client, payment(paymentLinkRef="nobodys"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, text="<html>"), ResponseDecodeError),
        (shown({"orderNumber": "A-9", "paymentLinkRef": "ref-9"}), ResponseDecodeError),
        (httpx.Response(502), ServerError),
    ],
    ids=["a page", "another link", "an outage"],
)
async def test_foreign_answers_are_not_believed(
    wire: Wire, answer: httpx.Response, error: type[Exception]
) -> None:
    wire.shown = [answer]
    async with client_of(wire) as client:
        with pytest.raises(error):
            await confirmed(client, payment(paymentLinkRef="ref-1"))


# The journal --------------------------------------------------------------------------------------


async def pay(client: AsyncChat2Pay, sandbox: Sandbox) -> str:
    ref = (await client.create_payment_link(order())).payment_link_ref
    sandbox.pay(ref)
    return ref


CALLS: dict[str, Call] = {
    "capture_payment": lambda client, ref: client.capture_payment(ref),
    "reverse_payment": lambda client, ref: client.reverse_payment(ref),
    "cancel_payment_link": lambda client, ref: client.cancel_payment_link(ref),
    "create_receipt": lambda client, ref: client.create_receipt(ref, RECEIPT),
}


async def left_open(
    wire: Wire, path: Path, call: Callable[[AsyncChat2Pay], Any], loses: str, **retry: Any
) -> None:
    """Make a call whose POST, or its response, is lost, and whose look-ups fail."""
    async with client_of(wire, path, **retry) as client:
        wire.loses = loses
        wire.shown = [httpx.Response(502) for _ in range(99)]
        with pytest.raises(OutcomeUnknownError):
            await call(client)
    wire.shown.clear()
    wire.looks.clear()
    wire.posts.clear()


async def test_a_creation_that_was_left_open_is_settled(wire: Wire, path: Path) -> None:
    await left_open(wire, path, lambda client: client.create_payment_link(order()), "response")
    assert states(path) == {"create_payment_link": "unknown"}
    async with client_of(wire, path) as client:
        found = await confirmed(client, payment(paymentLinkRef=None, paymentStatus="PENDING"))
        assert states(path) == {"create_payment_link": "applied"}
        link = await client.create_payment_link(order())
    assert (link.payment_link_ref, link.replayed) == (found.payment_link_ref, True)
    assert (len(wire.looks), wire.posts) == (1, [])


@pytest.mark.parametrize("name", CALLS)
async def test_whatever_was_left_open_of_a_link_is_settled_by_its_reference(
    wire: Wire, sandbox: Sandbox, path: Path, name: str
) -> None:
    ref = await made(wire)
    if name != "cancel_payment_link":
        sandbox.pay(ref)
    await left_open(wire, path, lambda client: CALLS[name](client, ref), "response")
    async with client_of(wire, path) as client:
        await confirmed(client, payment(paymentLinkRef=ref, paymentStatus="PENDING"))
        assert states(path) == {name: "applied"}
        assert (await CALLS[name](client, ref)).replayed
    assert (len(wire.looks), wire.posts) == (1, [])


async def test_a_receipt_whose_message_was_not_sent_is_settled_as_its_call_would_have_ended(
    wire: Wire, sandbox: Sandbox, path: Path
) -> None:
    ref = await made(wire)
    sandbox.pay(ref)
    sandbox.fail_receipt(ref)
    await left_open(wire, path, lambda client: client.create_receipt(ref, RECEIPT), "response")
    async with client_of(wire, path) as client:
        await confirmed(client, payment(paymentLinkRef=ref, paymentStatus="PENDING"))
        assert states(path) == {"create_receipt": "applied"}
        with pytest.raises(ReceiptNotSentError):
            await client.create_receipt(ref, RECEIPT)


async def test_a_link_that_may_be_anothers_settles_nothing(wire: Wire, path: Path) -> None:
    await left_open(
        wire, path, lambda client: client.create_payment_link(order(total_amount="5.00")), "request"
    )
    async with client_of(wire) as client:
        await client.create_payment_link(order())
    async with client_of(wire, path) as client:
        for _ in range(3):
            await confirmed(client, payment(paymentLinkRef=None, paymentStatus="PENDING"))
            await anyio.sleep(60)
    assert states(path) == {"create_payment_link": "unknown"}


async def test_the_reference_of_another_key_is_not_taken_for_this_ones(
    wire: Wire, path: Path
) -> None:
    async with client_of(wire, path, stamp=False) as client:
        await client.create_payment_link(order(), idempotency_key="first")
    await left_open(
        wire, path, lambda client: client.create_payment_link(order()), "request", stamp=False
    )
    async with client_of(wire, path, stamp=False) as client:
        await confirmed(client, payment(paymentLinkRef=None, paymentStatus="PENDING"))
        found = await client._calls.store.find("create_payment_link", "A-1")  # type: ignore[union-attr]
    assert found is not None
    assert found.row is not None
    assert found.row.state == "unknown"


async def test_an_absence_counts_only_when_the_window_has_passed(
    wire: Wire, sandbox: Sandbox, path: Path
) -> None:
    ref = await made(wire)
    sandbox.pay(ref)
    await left_open(wire, path, lambda client: client.capture_payment(ref), "request")
    callback = parse(payment(paymentLinkRef=ref))
    async with client_of(wire, path) as client:
        await confirm(client, callback)
        await anyio.sleep(1.0 + SETTLE - 0.1)
        await confirm(client, callback)
        assert states(path) == {"capture_payment": "unknown"}
        await anyio.sleep(0.2)
        await confirm(client, callback)
        assert states(path) == {"capture_payment": "failed"}
        assert not (await client.capture_payment(ref)).replayed
    assert sandbox.ledger.count("captured") == 1


async def test_an_absence_is_none_for_whoever_can_not_assume_it(
    wire: Wire, sandbox: Sandbox, path: Path
) -> None:
    ref = await made(wire)
    sandbox.pay(ref)
    await left_open(
        wire, path, lambda client: client.capture_payment(ref), "request", resend_when_absent=False
    )
    async with client_of(wire, path) as client:
        for _ in range(2):
            await confirmed(client, payment(paymentLinkRef=ref))
            await anyio.sleep(60)
    assert states(path) == {"capture_payment": "unknown"}


async def test_what_somebody_alive_works_on_is_left_to_it(wire: Wire, path: Path) -> None:
    wire.opens = anyio.Event()
    async with (
        client_of(wire, path) as one,
        client_of(wire, path, apart=True) as other,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(one.create_payment_link, order())
        await anyio.sleep(0.3)
        callback = payment(paymentLinkRef=None, paymentStatus="PENDING")
        for client in (other, one):
            assert (await confirmed(client, callback)).order_number == "A-1"
            assert states(path) == {"create_payment_link": "sent"}
        wire.opens.set()
    assert states(path) == {"create_payment_link": "applied"}
    assert len(wire.posts) == 1


async def test_what_is_finished_or_not_kept_is_left_as_it_is(
    wire: Wire, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = list[str]()

    async def record(_store: SQLiteStore, row: Any, _end: Any) -> bool:
        written.append(row.operation)
        return True

    monkeypatch.setattr(SQLiteStore, "end_open", record)
    async with client_of(wire, path) as client:
        ref = await pay(client, sandbox)
        await client.capture_payment(ref)
        found = await confirmed(client, payment(paymentLinkRef=ref))
    assert found.is_captured
    assert written == []


async def test_a_journal_that_can_not_be_used_is_no_confirmation(wire: Wire, path: Path) -> None:
    ref = await made(wire)
    await anyio.Path(path).write_text("no journal")
    async with client_of(wire, path) as client:
        with pytest.raises(JournalError):
            await confirmed(client, payment(paymentLinkRef=ref, paymentStatus="PENDING"))


async def test_a_link_that_expired_is_an_end_too(wire: Wire, sandbox: Sandbox) -> None:
    ref = await made(wire)
    sandbox.expire(ref)
    steps = [{"transactionStatusName": TransactionStatus.PAYMENT_URL_EXPIRED}]
    body = posted({"paymentLinkRef": ref, "transactionStatuses": steps})
    async with client_of(wire) as client:
        assert (await confirmed(client, body)).is_expired
    assert len(wire.looks) == 1
