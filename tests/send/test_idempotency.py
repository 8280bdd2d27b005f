"""Calls that come with a key that is known: with a journal, and without."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from shop import Inline, inline_writers

from chat2pay_async import (
    AsyncChat2Pay,
    BadRequestError,
    Chat2PayError,
    ConfigurationError,
    ConnectionFailedError,
    Event,
    IdempotencyConflictError,
    Journal,
    JournalError,
    OutcomeUnknownError,
    PaymentLinkRequest,
    Pending,
    Proof,
    ReceiptNotSentError,
    RequestTimeoutError,
    RequestValidationError,
    RetryPolicy,
    Timeout,
    Verdict,
    bulk,
)
from chat2pay_async._api.operations import CREATE_PAYMENT_LINK
from chat2pay_async._bulk import store as bulk_store
from chat2pay_async._client import inner
from chat2pay_async._config import ApiKey
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Account
from chat2pay_async._send.flights import Flights
from chat2pay_async._send.stored import claim_of
from chat2pay_async.events import AttemptFinished, CallFinished, JournalBehind, OutcomeUnknown
from chat2pay_async.sandbox import Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

KEY = "sandbox-key"
RECEIPT = "https://shop.example/r/1"
Call = Callable[[AsyncChat2Pay], Any]


def order(number: str = "A-1", amount: str = "199.90", **fields: Any) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number=number,
        currency="ZAR",
        total_amount=amount,
        transaction_type="authorization",
        **fields,
    )


class Gate(httpx.AsyncBaseTransport):
    """The sandbox behind a gate, which counts POSTs, and may hold them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._inner = httpx.ASGITransport(app=sandbox.app)
        self.posts: list[str] = []
        self.sent: list[httpx.Request] = []
        self.times: list[float] = []
        self.gets = 0
        self.opens: anyio.Event | None = None
        """Set to let POSTs through; None: they are not held."""
        self.fails: list[Exception] = []
        """Raised instead of the next POSTs."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.posts.append(request.url.path)
            self.sent.append(request)
            self.times.append(anyio.current_time())
            if self.fails:
                raise self.fails.pop(0)
            if self.opens is not None:
                await self.opens.wait()
        else:
            self.gets += 1
        return await self._inner.handle_async_request(request)


class Through(httpx.AsyncBaseTransport):
    """Another way through a gate: clients over the same connections share what they know."""

    def __init__(self, gate: httpx.AsyncBaseTransport) -> None:
        self._gate = gate

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._gate.handle_async_request(request)


@pytest.fixture(autouse=True)
def _inline() -> Iterator[None]:
    """Let journals do their work at once: threads know nothing of virtual time."""
    with inline_writers():
        yield


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(api_key=KEY, seed=1)


@pytest.fixture
def gate(sandbox: Sandbox) -> Gate:
    return Gate(sandbox)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "payments.db"


@asynccontextmanager
async def client_of(
    gate: httpx.AsyncBaseTransport,
    journal: Any = None,
    *,
    apart: bool = False,
    total: float | None = 90.0,
    **more: Any,
) -> AsyncIterator[AsyncChat2Pay]:
    """Make a client; one that is apart knows nothing of others, as one of another process."""
    settings: dict[str, Any] = {
        "base_url": "http://localhost",
        "transport": Through(gate) if apart else gate,
        "timeout": Timeout(read=1.0, total=total),
        "retry": RetryPolicy(settle=1.0, initial=0.1, maximum=0.2),
    }
    async with AsyncChat2Pay(KEY, journal=journal, **(settings | more)) as client:
        if apart:
            inner(client)[0].flights = Flights(object())
        yield client


def rows(path: Path) -> dict[tuple[str, str], str]:
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT operation, key, state FROM item").fetchall()
    return {(operation, key): state for operation, key, state in found}


def held(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (count,) = db.execute("SELECT count(*) FROM item WHERE token IS NOT NULL").fetchone()
    return int(count)


async def paid(gate: Gate, sandbox: Sandbox, number: str = "P-1") -> str:
    async with client_of(gate) as client:
        ref = (await client.create_payment_link(order(number))).payment_link_ref or ""
    sandbox.pay(ref)
    gate.posts.clear()
    return ref


@contextmanager
def unreadable(sandbox: Sandbox) -> Iterator[None]:
    """Let look-ups be of no use."""
    sandbox.next_faults("get_transaction", ["garbage"] * 500)
    yield
    sandbox.set_faults(None)


async def leave_open(gate: Gate, sandbox: Sandbox, path: Path, *faults: Any) -> None:
    """Leave rows whose POSTs left, as a process does that dies."""
    sandbox.next_faults("create_payment_link", list(faults))
    with unreadable(sandbox):
        async with client_of(gate, path, apart=True) as dying, anyio.create_task_group() as tasks:
            for number in range(1, len(faults) + 1):
                tasks.start_soon(dying.create_payment_link, order(f"A-{number}"))
                await anyio.sleep(0.1)  # so that the faults come in this order
            await anyio.sleep(0.5)
            tasks.cancel_scope.cancel()
    assert list(rows(path).values()) == ["sent"] * len(faults)
    assert held(path) == 0


# Nothing, and applied -----------------------------------------------------------------------------


async def test_a_repeated_call_gets_the_first_result_and_sends_nothing(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    async with client_of(gate, path) as client:
        first = await client.create_payment_link(order())
        again = await client.create_payment_link(order(amount="199.9"))
    async with client_of(gate, path) as client:
        later = await client.with_raw_response.create_payment_link(order())
    assert (first.replayed, again.replayed, later.parsed.replayed) == (False, True, True)
    assert (later.replayed, later.status_code, later.attempts) == (True, 200, ())
    refs = {first.payment_link_ref, again.payment_link_ref, later.parsed.payment_link_ref}
    assert len(refs) == 1
    assert len(gate.posts) == sandbox.ledger.count("link_created") == 1


async def test_each_operation_has_its_key(gate: Gate, sandbox: Sandbox, path: Path) -> None:
    first, other = await paid(gate, sandbox), await paid(gate, sandbox, "P-2")
    async with client_of(gate) as client:
        unpaid = (await client.create_payment_link(order("P-3"))).payment_link_ref or ""
    gate.posts.clear()
    calls: list[Call] = [
        lambda client: client.capture_payment(first, "10.00"),
        lambda client: client.reverse_payment(other),
        lambda client: client.create_receipt(first, RECEIPT),
        lambda client: client.cancel_payment_link(unpaid),
    ]
    async with client_of(gate, path) as client:
        results = [(await call(client), await call(client)) for call in calls]
    assert [(one.replayed, two.replayed) for one, two in results] == [(False, True)] * 4
    assert len(gate.posts) == 4
    assert set(rows(path).values()) == {"applied"}


async def test_another_content_is_a_conflict_that_names_fields_and_no_values(
    gate: Gate, path: Path
) -> None:
    async with client_of(gate, path) as client:
        await client.create_payment_link(order())
        with pytest.raises(IdempotencyConflictError, match="total_amount") as caught:
            await client.create_payment_link(order(amount="98.76"))
    assert (caught.value.key, caught.value.differences) == ("A-1", ("total_amount",))
    assert "98.76" not in str(caught.value)
    assert len(gate.posts) == 1


async def test_a_timestamp_that_was_given_is_content_and_the_default_is_none(
    gate: Gate, path: Path
) -> None:
    given = order().timestamp.replace(fold=0, year=2026)
    async with client_of(gate, path) as client:
        await client.create_payment_link(order())
        assert (await client.create_payment_link(order())).replayed
        with pytest.raises(IdempotencyConflictError, match="timestamp"):
            await client.create_payment_link(order(timestamp=given))


async def test_a_second_link_for_one_order_has_a_key_of_its_own(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    async with client_of(gate, path) as client:
        first = await client.create_payment_link(order())
        second = await client.create_payment_link(order(), idempotency_key="A-1 again")
        again = await client.create_payment_link(order(), idempotency_key="A-1 again")
        same = await client.create_payment_link(order(), idempotency_key="A-1")
    assert (second.replayed, again.replayed, same.replayed) == (False, True, True)
    assert second.payment_link_ref == again.payment_link_ref != first.payment_link_ref
    assert sandbox.ledger.count("link_created") == 2


async def test_a_lost_second_link_is_not_taken_for_the_first(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    async with client_of(gate, path, retry=RetryPolicy(settle=1.0, stamp=False)) as client:
        first = await client.create_payment_link(order())
    sandbox.next_faults("create_payment_link", ["drop_before"])
    async with client_of(gate, path, retry=RetryPolicy(settle=1.0, stamp=False)) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.create_payment_link(order(), idempotency_key="second")
    assert first.payment_link_ref
    assert rows(path)["create_payment_link", "second"] == "unknown"


@pytest.mark.parametrize("key", ["", " a", "a\n", "x" * 256, 7])
async def test_a_key_that_can_not_be_one_is_refused(gate: Gate, key: Any) -> None:
    async with client_of(gate) as client:
        with pytest.raises(RequestValidationError, match="idempotency_key"):
            await client.create_payment_link(order(), idempotency_key=key)
    assert gate.posts == []


async def test_a_link_may_be_made_of_its_fields(gate: Gate) -> None:
    fields: dict[str, Any] = {
        "channel": "sms",
        "to": "27831234567",
        "currency": "ZAR",
        "total_amount": "1.00",
    }
    async with client_of(gate) as client:
        made = await client.create_payment_link(order_number="A-1", **fields)
        with pytest.raises(TypeError, match="not both"):
            await client.create_payment_link(order(), order_number="A-1")  # type: ignore[call-overload]
    assert made.payment_link_ref


async def test_a_receipt_that_was_not_sent_is_raised_again_as_it_was(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    ref = await paid(gate, sandbox)
    sandbox.fail_receipt(ref)
    caught: list[ReceiptNotSentError] = []
    async with client_of(gate, path) as client:
        for _ in range(2):
            with pytest.raises(ReceiptNotSentError) as raised:
                await client.create_receipt(ref, RECEIPT)
            caught.append(raised.value)
    assert caught[0].receipt.receipt_link_ref == caught[1].receipt.receipt_link_ref
    assert (caught[0].receipt.replayed, caught[1].receipt.replayed) == (False, True)
    assert len(gate.posts) == 1


@pytest.mark.parametrize("kind", [AttemptFinished, CallFinished])
@pytest.mark.parametrize("is_journaled", [True, False])
async def test_a_receipt_that_exists_is_known_where_a_hook_keeps_its_error_back(
    gate: Gate, sandbox: Sandbox, path: Path, kind: type[Event], *, is_journaled: bool
) -> None:
    ref = await paid(gate, sandbox)
    sandbox.fail_receipt(ref)
    kept: list[Event] = []

    def stop(event: Event) -> None:
        if isinstance(event, kind):
            kept.append(event)
            raise KeyboardInterrupt

    journal = path if is_journaled else None
    async with client_of(gate, journal, hooks=[stop]) as client:
        with pytest.raises(KeyboardInterrupt):
            await client.create_receipt(ref, RECEIPT)
        assert len(client.unsettled) == (not is_journaled)
    assert kept
    if is_journaled:
        assert set(rows(path).values()) == {"sent"}
        async with client_of(gate, path) as client:
            with pytest.raises(ReceiptNotSentError):
                await client.create_receipt(ref, RECEIPT)
    assert len(gate.posts) == sandbox.ledger.count("receipt_created") == 1


async def test_a_receipt_that_was_settled_as_not_sent_is_raised_to_its_next_caller(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    ref = await paid(gate, sandbox)
    sandbox.fail_receipt(ref)
    sandbox.next_faults("create_receipt", ["drop_after"])
    with unreadable(sandbox):
        async with client_of(gate, path, apart=True) as dying:
            with anyio.move_on_after(0.5):
                await dying.create_receipt(ref, RECEIPT)
    assert set(rows(path).values()) == {"sent"}
    async with client_of(gate, path) as client:
        assert (await client.recover()).applied == 1
        with pytest.raises(ReceiptNotSentError) as raised:
            await client.create_receipt(ref, RECEIPT)
    assert (raised.value.receipt.recovered, raised.value.receipt.replayed) == (True, True)
    assert len(gate.posts) == 1


# No effect ----------------------------------------------------------------------------------------


async def test_what_was_declined_or_refused_is_sent_again_with_other_content_too(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    ref = await paid(gate, sandbox)
    async with client_of(gate, path) as client:
        with pytest.raises(BadRequestError):
            await client.cancel_payment_link(ref)
        with pytest.raises(BadRequestError):
            await client.cancel_payment_link(ref)
        sandbox.decline_capture(ref)
        declined = await client.capture_payment(ref, "10.00")
        taken = await client.capture_payment(ref, "11.00")
        with pytest.raises(IdempotencyConflictError, match="amount"):
            await client.capture_payment(ref, "10.00")
    assert (declined.succeeded, taken.succeeded, taken.replayed) == (False, True, False)
    assert len(gate.posts) == 4
    assert rows(path)["cancel_payment_link", ref] == "rejected"


async def test_what_could_not_be_sent_leaves_no_row(gate: Gate, path: Path) -> None:
    gate.fails = [httpx.ConnectError("refused")] * 9
    async with client_of(gate, path, retry=RetryPolicy(max_attempts=1)) as client:
        with pytest.raises(Chat2PayError):
            await client.create_payment_link(order())
        assert set(rows(path).values()) <= {"failed"}
        gate.fails = []
        assert not (await client.create_payment_link(order())).replayed


async def test_what_was_lost_once_and_absent_is_looked_up_before_it_is_sent_again(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    async with client_of(gate, path, retry=RetryPolicy(settle=1.0, max_attempts=1)) as client:
        with pytest.raises(Chat2PayError) as caught:
            await client.create_payment_link(order())
        assert not isinstance(caught.value, OutcomeUnknownError)
        assert rows(path) == {("create_payment_link", "A-1"): "failed"}
        before = gate.gets
        assert (await client.create_payment_link(order())).payment_link_ref
    assert gate.gets > before
    assert sandbox.ledger.count("link_created") == 1


# Open ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrived", [True, False])
async def test_an_open_row_is_settled_by_whoever_comes_next(
    gate: Gate, sandbox: Sandbox, path: Path, *, arrived: bool
) -> None:
    await leave_open(gate, sandbox, path, "drop_after" if arrived else "drop_before")
    async with client_of(gate, path, apart=True) as client:
        link = await client.create_payment_link(order())
    assert link.recovered is arrived
    assert sandbox.ledger.count("link_created") == 1
    assert set(rows(path).values()) == {"applied"}


@pytest.mark.parametrize("arrived", [True, False])
async def test_an_open_row_of_other_content_is_settled_before_the_new_one(
    gate: Gate, sandbox: Sandbox, path: Path, *, arrived: bool
) -> None:
    await leave_open(gate, sandbox, path, "drop_after" if arrived else "drop_before")
    async with client_of(gate, path, apart=True, total=None) as client:
        if arrived:
            with pytest.raises(IdempotencyConflictError, match="total_amount"):
                await client.create_payment_link(order(amount="5.00"))
        else:
            assert not (await client.create_payment_link(order(amount="5.00"))).recovered
            assert amounts(gate) == [199.9, 5.0]
    assert sandbox.ledger.count("link_created") == 1
    assert set(rows(path).values()) == {"applied"}


def amounts(gate: Gate) -> list[float]:
    return [json.loads(request.content)["totalAmount"] for request in gate.sent]


ONCE = RetryPolicy(settle=1.0, max_attempts=1)


async def leave_absent(gate: Gate, path: Path) -> None:
    """Leave a row whose POST was lost, and whose look-ups showed no effect."""
    gate.fails = [httpx.ReadError("cut")]
    async with client_of(gate, path, retry=ONCE) as client:
        with pytest.raises(ConnectionFailedError):
            await client.create_payment_link(order())
    assert set(rows(path).values()) == {"failed"}


async def arrives_late(gate: Gate, sandbox: Sandbox) -> None:
    """Let the first POST, which was given up as lost, be applied after all."""
    (lost,) = gate.sent
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=sandbox.app)) as network:
        arrived = await network.post(lost.url, content=lost.content, headers=lost.headers)
        assert arrived.is_success


@pytest.mark.parametrize("recovers", [True, False])
async def test_a_corrected_call_sends_its_own_amount_after_an_absent_one(
    gate: Gate, sandbox: Sandbox, path: Path, *, recovers: bool
) -> None:
    if recovers:
        await leave_open(gate, sandbox, path, "drop_before")
        async with client_of(gate, path, apart=True) as client:
            assert (await client.recover()).absent == 1
    else:
        await leave_absent(gate, path)
    async with client_of(gate, path, apart=True) as client:
        gets = gate.gets
        await client.create_payment_link(order(amount="5.00"))
        assert gate.gets > gets
        assert amounts(gate) == [199.9, 5.0]
        assert (await client.create_payment_link(order(amount="5.00"))).replayed
        with pytest.raises(IdempotencyConflictError):
            await client.create_payment_link(order())
    assert len(gate.posts) == 2


async def test_a_corrected_capture_captures_its_own_amount(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    ref = await paid(gate, sandbox)
    gate.sent.clear()
    gate.fails = [httpx.ReadError("cut")]
    async with client_of(gate, path, retry=ONCE) as client:
        with pytest.raises(ConnectionFailedError):
            await client.capture_payment(ref, "100.00")
        assert (await client.capture_payment(ref, "10.00")).succeeded
    assert [request.url.params["amount"] for request in gate.sent] == ["100.00", "10.00"]


async def test_what_came_late_is_a_conflict_for_every_corrected_call(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_absent(gate, path)
    await arrives_late(gate, sandbox)
    async with client_of(gate, path) as client:
        for _ in range(2):
            with pytest.raises(IdempotencyConflictError):
                await client.create_payment_link(order(amount="5.00"))
        assert (await client.create_payment_link(order())).replayed
    assert amounts(gate) == [199.9]


async def test_a_corrected_item_of_a_run_that_stays_unknown_changes_nothing_of_what_was_sent(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_absent(gate, path)
    with unreadable(sandbox):
        async with (
            client_of(gate, path) as client,
            bulk.create_payment_links(client, [order(amount="5.00")], run="spring") as run,
        ):
            assert [outcome.state async for outcome in run] == [bulk.State.UNKNOWN]
    async with client_of(gate, path) as client:
        await client.create_payment_link(order(amount="5.00"))
    assert amounts(gate) == [199.9, 5.0]


async def test_a_corrected_call_that_can_not_be_sent_leaves_the_row_as_it_was(
    gate: Gate, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave_open(gate, sandbox, path, "drop_before")
    async with client_of(gate, path, apart=True) as client:
        with monkeypatch.context() as patch:
            refuse(patch, "record_intent")
            with pytest.raises(JournalError):
                await client.create_payment_link(order(amount="5.00"))
        assert (set(rows(path).values()), held(path)) == ({"sent"}, 0)
        await client.create_payment_link(order())
    assert amounts(gate) == [199.9, 199.9]


async def test_a_key_that_is_used_for_another_order_belongs_to_that_order(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    with unreadable(sandbox):
        async with client_of(gate, path, apart=True) as client:
            with pytest.raises(OutcomeUnknownError):
                await client.create_payment_link(order(), idempotency_key="basket-1")
    async with client_of(gate, path, apart=True) as client:
        await client.create_payment_link(order("B-1"), idempotency_key="basket-1")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT key, identity FROM item").fetchall() == [("basket-1", "B-1")]


async def test_an_open_row_that_stays_unknown_keeps_other_content_back(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_open(gate, sandbox, path, "drop_after")
    sandbox.next_faults("get_transaction", ["garbage"] * 200)
    posts = len(gate.posts)
    async with client_of(gate, path, apart=True) as client:
        with pytest.raises(OutcomeUnknownError, match="so this one was not sent"):
            await client.create_payment_link(order(amount="5.00"))
        with pytest.raises(OutcomeUnknownError):
            await client.create_payment_link(order())
    assert len(gate.posts) == posts
    assert set(rows(path).values()) <= {"sent", "unknown"}
    assert held(path) == 0


async def undecided_capture(gate: Gate, sandbox: Sandbox, path: Path) -> str:
    """Capture a payment, of which the gateway says that it has not decided; return its link."""
    ref = await paid(gate, sandbox)
    pending = b'{"transactionType": "CAPTURE", "paymentGatewayDecision": "PENDING"}'

    async def undecided(request: httpx.Request) -> httpx.Response:
        gate.posts.append(request.url.path)
        return httpx.Response(200, content=pending, headers={"content-type": "application/json"})

    async with client_of(gate, path, transport=httpx.MockTransport(undecided)) as client:
        assert (await client.capture_payment(ref)).succeeded is None
    assert set(rows(path).values()) == {"unknown"}
    return ref


@pytest.mark.parametrize("amount", [None, "5.00"], ids=["the same", "another amount"])
@pytest.mark.parametrize("recovers", [False, True], ids=["", "recover"])
async def test_a_pending_result_is_looked_up_again_and_never_sent(
    gate: Gate, sandbox: Sandbox, path: Path, amount: str | None, *, recovers: bool
) -> None:
    ref = await undecided_capture(gate, sandbox, path)
    async with client_of(gate, path) as client:
        if recovers:
            assert len((await client.recover()).undetermined) == 1
        with pytest.raises(OutcomeUnknownError):
            await client.capture_payment(ref, amount)
    assert set(rows(path).values()) == {"unknown"}
    assert len(gate.posts) == 1


async def test_resolve_says_no_absence_of_a_pending_result_that_a_run_tells_of(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    ref = await undecided_capture(gate, sandbox, path)
    captures = [bulk.Capture(ref)]
    for _ in range(2):
        async with client_of(gate, path) as client:
            async with bulk.capture_payments(client, captures, run="spring") as run:
                (outcome,) = [outcome async for outcome in run]
            assert isinstance(outcome.error, OutcomeUnknownError)
            resolution = await client.resolve(outcome.error.pending)
            assert resolution.verdict is Verdict.UNDETERMINED
    assert len(gate.posts) == 1


# Held ---------------------------------------------------------------------------------------------


async def test_whoever_comes_while_another_process_sends_waits_for_its_result(
    gate: Gate, path: Path
) -> None:
    gate.opens = anyio.Event()
    links: list[Any] = []
    async with client_of(gate, path) as one, client_of(gate, path, apart=True) as other:

        async def make(client: AsyncChat2Pay) -> None:
            links.append(await client.create_payment_link(order()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make, one)
            await anyio.sleep(0.3)
            tasks.start_soon(make, other)
            await anyio.sleep(0.3)
            with pytest.raises(IdempotencyConflictError):
                await other.create_payment_link(order(amount="2.00"), idempotency_key="A-1")
            gate.opens.set()
    assert sorted(link.replayed for link in links) == [False, True]
    assert len(gate.posts) == 1


async def test_whoever_waits_too_long_for_another_process_is_told_that_it_is_unknown(
    gate: Gate, path: Path
) -> None:
    gate.opens = anyio.Event()
    async with (
        client_of(gate, path, total=None, timeout=Timeout(read=500.0, total=None)) as one,
        client_of(gate, path, apart=True, total=5.0) as other,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(one.create_payment_link, order())
        await anyio.sleep(0.3)
        with pytest.raises(OutcomeUnknownError, match="another call with the same key") as caught:
            await other.create_payment_link(order())
        assert (await other.resolve(caught.value.pending)).verdict is Verdict.UNDETERMINED
        gate.opens.set()
    assert len(gate.posts) == 1
    assert set(rows(path).values()) == {"applied"}


@asynccontextmanager
async def claimed_elsewhere(path: Path) -> AsyncIterator[SQLiteStore]:
    """Let another process hold the key of the order, and send nothing yet."""
    store = SQLiteStore(path)
    await store.open(Account("http://localhost", ApiKey(KEY).fingerprint))
    await store.claim(claim_of(CREATE_PAYMENT_LINK, order(), "A-1"))
    yield store
    await store.aclose()


async def test_whoever_waits_too_long_for_a_claim_is_told_that_it_is_unknown(
    gate: Gate, path: Path
) -> None:
    async with client_of(gate, path, total=5.0) as client, claimed_elsewhere(path):
        with pytest.raises(OutcomeUnknownError, match="another call with the same key") as caught:
            await client.create_payment_link(order())
        assert (await client.resolve(caught.value.pending)).verdict is Verdict.UNDETERMINED
    assert gate.posts == []


@pytest.mark.parametrize("is_sent", [True, False])
async def test_an_item_that_waits_and_is_stopped_says_what_its_key_has_come_to(
    gate: Gate, path: Path, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    monkeypatch.setattr(bulk_store, "GroupCommit", Inline)
    gate.opens = anyio.Event()
    async with (
        client_of(gate, path) as client,
        client_of(gate, path, apart=True) as sender,
        claimed_elsewhere(path) as other,
        anyio.create_task_group() as tasks,
        bulk.create_payment_links(client, [order()], run="spring") as run,
    ):
        with anyio.move_on_after(2.0):
            _ = [outcome async for outcome in run]
        if is_sent:
            await other.aclose()
            tasks.start_soon(sender.create_payment_link, order())
            await anyio.sleep(0.1)
            assert len(gate.posts) == 1
        run.stop()
        (outcome,) = [outcome async for outcome in run]
        gate.opens.set()
    assert outcome.state is (bulk.State.UNKNOWN if is_sent else bulk.State.FAILED)


async def test_a_claim_that_was_lost_sends_nothing_and_its_caller_waits(
    gate: Gate, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, calls = SQLiteStore.record_intent, list[str]()

    async def taken(store: SQLiteStore, token: str, intent: Any) -> bool:
        calls.append(token)
        if len(calls) == 1:
            await store.release(token)
            return False
        return await really(store, token, intent)

    monkeypatch.setattr(SQLiteStore, "record_intent", taken)
    async with client_of(gate, path) as client:
        link = await client.create_payment_link(order())
    assert link.payment_link_ref
    assert (len(calls), len(gate.posts)) == (2, 1)


async def test_a_claim_that_was_lost_between_two_attempts_is_begun_anew(
    gate: Gate, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, calls = SQLiteStore.record_intent, list[str]()

    async def taken(store: SQLiteStore, token: str, intent: Any) -> bool:
        calls.append(token)
        if len(calls) == 2:
            await store.release(token)
        return await really(store, token, intent)

    monkeypatch.setattr(SQLiteStore, "record_intent", taken)
    gate.fails = [httpx.ReadError("cut")]
    async with client_of(gate, path) as client:
        made = await client.with_raw_response.create_payment_link(order())
    assert [attempt.proof for attempt in made.attempts] == [Proof.UNKNOWN, Proof.APPLIED]
    assert len(gate.posts) == 2
    assert sandbox.ledger.count("link_created") == 1


# What the disk does -------------------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a method of the journal fail, as on a full disk."""

    async def fail(*_: Any, **__: Any) -> Any:
        raise JournalError("the disk is full")

    monkeypatch.setattr(SQLiteStore, name, fail)


@pytest.mark.parametrize("name", ["claim", "record_intent"])
async def test_what_can_not_be_written_down_is_not_sent(
    gate: Gate, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with client_of(gate, path) as client:
        await client.create_payment_link(order("A-0"))
        with monkeypatch.context() as full:
            refuse(full, name)
            with pytest.raises(JournalError, match="disk is full"):
                await client.create_payment_link(order())
        assert len(gate.posts) == 1
        assert not (await client.create_payment_link(order())).replayed
    assert held(path) == 0


async def test_a_result_that_can_not_be_written_is_returned_and_the_event_says_so(
    gate: Gate, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Event] = []
    async with client_of(gate, path, hooks=[seen.append]) as client:
        with monkeypatch.context() as full:
            refuse(full, "record_end")
            link = await client.create_payment_link(order())
    assert link.payment_link_ref
    assert [event.reason for event in seen if isinstance(event, JournalBehind)] == [
        "the disk is full"
    ]
    assert set(rows(path).values()) == {"sent"}
    async with client_of(gate, path) as client:
        again = await client.create_payment_link(order())
    assert (again.payment_link_ref, again.recovered) == (link.payment_link_ref, True)
    assert len(gate.posts) == 1


async def test_a_failure_that_can_not_be_written_is_raised_all_the_same(
    gate: Gate, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await paid(gate, sandbox)
    seen: list[Event] = []
    async with client_of(gate, path, hooks=[seen.append]) as client:
        refuse(monkeypatch, "record_end")
        refuse(monkeypatch, "release")
        with pytest.raises(BadRequestError):
            await client.cancel_payment_link(ref)
        gate.fails = [httpx.ConnectError("refused")] * 9
        with pytest.raises(Chat2PayError):
            await client.reverse_payment(ref)
    assert any(isinstance(event, JournalBehind) for event in seen)


async def test_a_journal_that_lost_commits_has_everything_looked_up_first(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    ref = await paid(gate, sandbox, "A-1")
    fresh = await paid(gate, sandbox, "A-3")
    async with client_of(gate) as client:
        await client.capture_payment(ref)
    gate.posts.clear()
    async with client_of(gate, Journal(path, accept_loss=True)) as client:
        existing = await client.create_payment_link(order())
        assert (existing.payment_link_ref, existing.replayed) == (ref, True)
        with pytest.raises(IdempotencyConflictError, match="total_amount"):
            await client.create_payment_link(order("A-3", "5.00"))
        assert gate.posts == []
        assert (await client.create_payment_link(order("A-2"))).payment_link_ref
        assert (await client.capture_payment(fresh)).succeeded
        sandbox.next_faults("get_transaction", ["garbage"] * 200)
        with pytest.raises(Chat2PayError, match="lacks its latest commits"):
            await client.reverse_payment(ref)
    assert len(gate.posts) == 2
    assert held(path) == 0


async def lose_the_latest_link(gate: Gate, path: Path) -> None:
    """Leave a journal that knows of a call that was not sent, and not of its repetition."""
    gate.fails = [httpx.ConnectError("refused")]
    async with client_of(gate, path, retry=ONCE) as client:
        with pytest.raises(ConnectionFailedError):
            await client.create_payment_link(order())
    copy = path.with_name("older.db")
    shutil.copyfile(path, copy)
    async with client_of(gate, path) as client:
        await client.create_payment_link(order())
    copy.replace(path)
    gate.sent.clear()


@pytest.mark.parametrize("is_run", [True, False])
async def test_a_journal_that_lost_commits_has_known_failures_looked_up_too(
    gate: Gate, sandbox: Sandbox, path: Path, *, is_run: bool
) -> None:
    await lose_the_latest_link(gate, path)
    async with client_of(gate, Journal(path, accept_loss=True)) as client:
        if is_run:
            async with bulk.create_payment_links(client, [order()], run="spring") as run:
                assert [outcome.state async for outcome in run] == [bulk.State.SKIPPED]
        else:
            assert (await client.create_payment_link(order())).replayed
    assert gate.sent == []
    assert sandbox.ledger.count("link_created") == 1


async def test_what_is_found_in_place_of_a_failure_has_the_content_of_its_finder(
    gate: Gate, path: Path
) -> None:
    await lose_the_latest_link(gate, path)
    async with client_of(gate) as client:
        await client.create_payment_link(order("A-2", "5.00"))
    async with client_of(gate, path.with_name("more.db")) as client:
        gate.fails = [httpx.ConnectError("refused")] * 9
        with pytest.raises(ConnectionFailedError):
            await client.create_payment_link(order("A-2"))
        gate.fails.clear()
    shutil.copyfile(path.with_name("more.db"), path)
    gate.sent.clear()
    async with client_of(gate, Journal(path, accept_loss=True)) as client:
        for _ in range(2):
            assert (await client.create_payment_link(order("A-2", "5.00"))).replayed
        with pytest.raises(IdempotencyConflictError):
            await client.create_payment_link(order("A-2"))
    assert gate.sent == []


async def test_absence_counts_once_what_a_lost_commit_sent_would_show(
    gate: Gate, path: Path
) -> None:
    began = anyio.current_time()
    async with client_of(
        gate,
        Journal(path, accept_loss=True),
        retry=RetryPolicy(settle=7.0),
        timeout=Timeout(read=2.0),
    ) as client:
        await client.create_payment_link(order())
    assert gate.times[0] - began >= 9.0


async def test_looking_for_what_a_journal_lost_ends_with_the_calls_time(
    gate: Gate, path: Path
) -> None:
    patient = Timeout(read=30.0, total=5.0)
    async with client_of(gate, Journal(path, accept_loss=True), timeout=patient) as client:
        began = anyio.current_time()
        with pytest.raises(Chat2PayError, match="lacks its latest commits"):
            await client.create_payment_link(order())
        assert anyio.current_time() - began < 5.5
    assert gate.posts == []
    assert held(path) == 0


async def test_settling_what_was_sent_before_ends_with_the_calls_time(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_open(gate, sandbox, path, "drop_before")
    gate.opens = anyio.Event()
    async with client_of(gate, path, apart=True, total=1.0) as client:
        began = anyio.current_time()
        with pytest.raises(OutcomeUnknownError, match="so this one was not sent"):
            await client.create_payment_link(order(amount="5.00"))
        assert anyio.current_time() - began < 1.5
    assert (set(rows(path).values()), held(path)) == ({"sent"}, 0)


async def test_an_interruption_is_passed_on_where_the_claim_was_lost(
    gate: Gate, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, calls = SQLiteStore.record_intent, list[str]()

    async def taken(store: SQLiteStore, token: str, intent: Any) -> bool:
        calls.append(token)
        if len(calls) != 2:
            return await really(store, token, intent)
        await store.release(token)
        return False

    def stop(event: Event) -> None:
        if isinstance(event, CallFinished):
            raise KeyboardInterrupt

    monkeypatch.setattr(SQLiteStore, "record_intent", taken)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    async with client_of(gate, path, hooks=[stop]) as client:
        with pytest.raises(KeyboardInterrupt):
            await client.create_payment_link(order())
    assert len(gate.posts) == 1
    assert held(path) == 0


async def test_results_alone_are_kept_where_that_is_asked_for(gate: Gate, path: Path) -> None:
    async with client_of(gate, Journal(path, keep="results")) as client:
        await client.create_payment_link(order())
        assert (await client.create_payment_link(order())).replayed
        with pytest.raises(IdempotencyConflictError, match="total_amount"):
            await client.create_payment_link(order(amount="5.00"))
    assert b"27831234567" not in path.read_bytes()  # noqa: ASYNC240 - nothing else runs


# Cancelled ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.0, 0.2])
async def test_a_call_that_is_cancelled_holds_nothing_and_is_open_only_if_it_left(
    gate: Gate, path: Path, after: float
) -> None:
    gate.opens = anyio.Event()
    seen: list[Event] = []
    async with client_of(gate, path, hooks=[seen.append]) as client:
        with anyio.move_on_after(after):
            await client.create_payment_link(order())
        left = bool(gate.posts)
        assert [*rows(path).values()] == (["sent"] if left else [])
        assert any(isinstance(event, OutcomeUnknown) for event in seen) is left
        assert client.unsettled == (), "the journal has it"
        assert held(path) == 0


async def test_a_deadline_that_passes_before_anything_was_sent_leaves_no_row(
    gate: Gate, path: Path
) -> None:
    gate.opens = anyio.Event()
    async with (
        client_of(gate, path, max_connections=1, timeout=Timeout(read=500.0, total=None)) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.create_payment_link, order("A-0"))
        await anyio.sleep(0.1)
        with pytest.raises(RequestTimeoutError, match="nothing was applied"):
            await client.with_options(timeout=Timeout(total=2.0)).create_payment_link(order())
        gate.opens.set()
    assert list(rows(path)) == [("create_payment_link", "A-0")]


async def test_a_call_that_is_cancelled_between_two_attempts_has_failed(
    gate: Gate, path: Path
) -> None:
    gate.fails = [httpx.ConnectError("refused")] * 9
    async with client_of(gate, path, retry=RetryPolicy(initial=50.0, maximum=50.0)) as client:
        with anyio.move_on_after(1.0):
            await client.create_payment_link(order())
    assert list(rows(path).values()) == ["failed"]


async def test_whoever_has_no_deadline_waits_until_the_other_has_ended(
    gate: Gate, path: Path
) -> None:
    gate.opens = anyio.Event()
    timeout = Timeout(read=500.0, total=None)
    async with (
        client_of(gate, path, timeout=timeout) as one,
        client_of(gate, path, apart=True, timeout=timeout) as other,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(one.create_payment_link, order())
        await anyio.sleep(0.3)
        tasks.start_soon(other.create_payment_link, order())
        await anyio.sleep(300.0)
        gate.opens.set()
    assert len(gate.posts) == 1


# Without a journal --------------------------------------------------------------------------------


async def gathered(count: int, client: AsyncChat2Pay, *requests: PaymentLinkRequest) -> list[Any]:
    ends: list[Any] = []

    async def make(request: PaymentLinkRequest) -> None:
        try:
            ends.append(await client.create_payment_link(request))
        except Chat2PayError as error:
            ends.append(error)

    async with anyio.create_task_group() as tasks:
        for request in requests * count:
            tasks.start_soon(make, request)
    return ends


async def test_calls_of_one_process_with_one_key_are_one(gate: Gate, sandbox: Sandbox) -> None:
    async with client_of(gate) as client, client_of(gate) as other:
        links = await gathered(5, client, order())
        again = await gathered(1, other, order())
    assert sorted(link.replayed for link in links) == [False, True, True, True, True]
    assert not again[0].replayed, "it came when all was over, and there is no journal"
    assert sandbox.ledger.count("link_created") == 2


async def test_two_clients_of_one_account_share_what_is_under_way(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.opens = anyio.Event()
    links: list[Any] = []
    async with client_of(gate) as one, client_of(gate) as other:

        async def make(client: AsyncChat2Pay) -> None:
            links.append(await client.create_payment_link(order()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make, one)
            await anyio.sleep(0.1)
            tasks.start_soon(make, other)
            await anyio.sleep(0.1)
            with pytest.raises(IdempotencyConflictError):
                await other.create_payment_link(order(amount="2.00"))
            gate.opens.set()
    assert sandbox.ledger.count("link_created") == len(gate.posts) == 1


async def test_whoever_waited_for_a_call_that_had_no_effect_makes_it(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.fails = [httpx.ConnectError("refused")]
    async with client_of(gate, retry=RetryPolicy(max_attempts=1)) as client:
        ends = await gathered(3, client, order())
    assert sum(isinstance(end, Chat2PayError) for end in ends) == 1
    assert sandbox.ledger.count("link_created") == 1


async def test_whoever_waited_for_a_call_of_unknown_outcome_looks_it_up_first(
    gate: Gate, sandbox: Sandbox
) -> None:
    sandbox.next_faults("create_payment_link", ["drop_after"])
    ends: list[Any] = []
    async with client_of(gate, total=3.0) as client, anyio.create_task_group() as tasks:
        patient = client.with_options(timeout=Timeout(read=1.0, total=90.0))

        async def second() -> None:
            ends.append(await patient.create_payment_link(order()))

        with unreadable(sandbox):
            tasks.start_soon(gathered, 1, client, order())
            await anyio.sleep(0.1)
            tasks.start_soon(second)
            await anyio.sleep(2.95)
    assert ends[0].recovered
    assert len(gate.posts) == sandbox.ledger.count("link_created") == 1


async def test_a_waiter_takes_up_what_a_cancelled_call_left(gate: Gate, sandbox: Sandbox) -> None:
    sandbox.next_faults("create_payment_link", ["answer_late"])
    links: list[Any] = []
    async with client_of(gate) as client, anyio.create_task_group() as tasks:
        gate.opens = anyio.Event()

        async def cancelled() -> None:
            with anyio.move_on_after(0.3):
                await client.create_payment_link(order())

        async def waiting() -> None:
            links.append(await client.create_payment_link(order()))

        tasks.start_soon(cancelled)
        await anyio.sleep(0.1)
        tasks.start_soon(waiting)
        await anyio.sleep(0.1)
        gate.opens.set()
    assert len(links) == 1
    assert sandbox.ledger.count("link_created") == 1


@pytest.mark.parametrize("journaled", [True, False])
async def test_a_waiter_gives_what_it_takes_over_its_whole_window(
    gate: Gate, sandbox: Sandbox, path: Path, *, journaled: bool
) -> None:
    gate.opens = anyio.Event()
    timeout, links = Timeout(read=1.0, total=None), list[Any]()
    async with (
        client_of(gate, path if journaled else None, timeout=timeout, max_connections=4) as client,
        anyio.create_task_group() as tasks,
    ):
        cut = anyio.CancelScope()

        async def first() -> None:
            with cut:
                slow = client.with_options(timeout=Timeout(read=500.0, total=None))
                await slow.create_payment_link(order())

        async def second() -> None:
            links.append(await client.create_payment_link(order()))

        tasks.start_soon(first)
        await anyio.sleep(0.1)
        tasks.start_soon(second)
        await anyio.sleep(60.0)
        cut.cancel()
        gate.opens.set()
    assert len(links) == sandbox.ledger.count("link_created") == 1
    assert gate.times[1] - gate.times[0] >= 60.0 + 500.0, "as long as its server may work on it"


async def test_a_waiter_is_told_that_a_receipt_was_made_and_not_sent(
    gate: Gate, sandbox: Sandbox
) -> None:
    ref = await paid(gate, sandbox)
    sandbox.fail_receipt(ref)
    told: list[ReceiptNotSentError] = []
    async with client_of(gate) as client:

        async def send() -> None:
            with pytest.raises(ReceiptNotSentError) as caught:
                await client.create_receipt(ref, RECEIPT)
            told.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(send)
    assert sorted(error.receipt.replayed for error in told) == [False, True, True]
    assert len({error.receipt.receipt_link_ref for error in told}) == 1
    assert len(gate.posts) == 1


async def test_a_call_on_a_closed_client_leaves_an_open_row_as_it_is(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_open(gate, sandbox, path, "drop_after")
    async with client_of(gate, path) as client:
        await client.aclose()
        with pytest.raises(ConfigurationError, match="closed"):
            await client.create_payment_link(order())
    assert (list(rows(path).values()), held(path)) == (["sent"], 0)


@pytest.mark.parametrize("name", ["record_end", "release"])
async def test_a_verdict_that_can_not_be_written_leaves_the_row_open(
    gate: Gate, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await leave_open(gate, sandbox, path, "drop_after")
    if name == "release":
        sandbox.next_faults("get_transaction", ["garbage"] * 500)
    async with client_of(gate, path) as client:
        with monkeypatch.context() as full:
            refuse(full, name)
            with pytest.raises(JournalError):
                await client.create_payment_link(order(amount="5.00"))
    assert list(rows(path).values()) == ["sent"]


async def test_a_recovery_that_is_cancelled_gives_everything_back(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_open(gate, sandbox, path, *["drop_after"] * 20)
    sandbox.next_faults("get_transaction", ["garbage"] * 5000)
    async with client_of(gate, path) as client:
        with anyio.move_on_after(1.0):
            await client.recover()
        assert held(path) == 0
        sandbox.set_faults(None)
        assert (await client.recover()).applied == 20


async def test_resolve_waits_for_the_call_that_is_under_way(gate: Gate) -> None:
    gate.opens = anyio.Event()
    async with client_of(gate, timeout=Timeout(read=500.0, total=None)) as client:
        hasty = client.with_options(timeout=Timeout(read=500.0, total=1.0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.create_payment_link, order())
            await anyio.sleep(0.1)
            with pytest.raises(OutcomeUnknownError) as caught:
                await hasty.create_payment_link(order())
            pending = caught.value.pending
            assert (await hasty.resolve(pending)).verdict is Verdict.UNDETERMINED
            gate.opens.set()
            assert (await client.resolve(pending)).verdict is Verdict.APPLIED


# What others left ---------------------------------------------------------------------------------


async def test_recover_settles_what_dead_processes_left(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_open(gate, sandbox, path, "drop_after", "drop_before")
    async with client_of(gate, path) as client:
        found = await client.recover()
        assert (found.applied, found.absent, found.undetermined) == (1, 1, ())
        assert await client.recover() == type(found)()
        assert (await client.create_payment_link(order("A-1"))).recovered
    assert sorted(rows(path).values()) == ["applied", "failed"]
    assert held(path) == 0


async def test_recover_tells_of_what_stays_unknown_and_leaves_it_open(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    await leave_open(gate, sandbox, path, "drop_after")
    sandbox.next_faults("get_transaction", ["garbage"] * 200)
    async with client_of(gate, path) as client:
        found = await client.recover()
    assert [pending.identity for pending in found.undetermined] == ["A-1"]
    assert (set(rows(path).values()), held(path)) == ({"sent"}, 0)


async def test_a_recovery_that_fails_gives_everything_back(
    gate: Gate, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave_open(gate, sandbox, path, "drop_after")
    async with client_of(gate, path) as client:
        calls = inner(client)[0]

        async def breaking(*_: Any, **__: Any) -> Any:
            raise ConfigurationError("a limiter of the user's is broken")

        with monkeypatch.context() as broken:
            broken.setattr(calls.sender, "resolve", breaking)
            with pytest.raises(ConfigurationError, match="a limiter"):
                await client.recover()
        assert held(path) == 0
        assert (await client.recover()).applied == 1


async def test_what_is_sent_again_is_of_the_run_that_sends_it(
    gate: Gate, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_store, "GroupCommit", Inline)
    await leave_open(gate, sandbox, path, "drop_before")
    outcomes: list[Any] = []
    for name in ("spring", "summer"):
        async with (
            client_of(gate, path, apart=True) as client,
            bulk.create_payment_links(client, [order()], run=name) as run,
        ):
            outcomes += [outcome async for outcome in run]
    assert [outcome.state for outcome in outcomes] == [bulk.State.APPLIED, bulk.State.SKIPPED]
    assert outcomes[1].by == "spring"
    assert sandbox.ledger.count("link_created") == 1


async def test_recover_needs_a_journal(gate: Gate) -> None:
    async with client_of(gate) as client:
        with pytest.raises(ConfigurationError, match="journal="):
            await client.recover()


async def pending_of(gate: Gate, sandbox: Sandbox, path: Path) -> Pending:
    sandbox.next_faults("create_payment_link", ["drop_after"])
    with unreadable(sandbox):
        async with client_of(gate, path) as client:
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.create_payment_link(order())
    return caught.value.pending


async def test_resolve_writes_its_verdict_to_the_journal(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    pending = await pending_of(gate, sandbox, path)
    assert set(rows(path).values()) == {"unknown"}
    async with client_of(gate, path) as client:
        assert (await client.resolve(pending)).verdict is Verdict.APPLIED
        assert set(rows(path).values()) == {"applied"}
        gets = gate.gets
        again = await client.resolve(pending)
        assert (again.verdict, again.result.recovered) == (Verdict.APPLIED, True)
        assert gate.gets == gets, "the journal knows it"


async def test_resolve_takes_no_result_of_another_request_with_its_key(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    with unreadable(sandbox):
        async with client_of(gate, path) as client:
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.create_payment_link(order(), idempotency_key="basket-1")
    async with client_of(gate, path) as client:
        await client.create_payment_link(order("B-1"), idempotency_key="basket-1")
        assert (await client.resolve(caught.value.pending)).verdict is Verdict.ABSENT


async def test_resolve_says_no_absence_of_what_another_process_has_applied_meanwhile(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    with unreadable(sandbox):
        async with client_of(gate, path) as client:
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.create_payment_link(order())
    slow = SlowAnswers(gate)
    async with (
        client_of(slow, path, apart=True, timeout=Timeout(read=20.0, total=90.0)) as one,
        client_of(gate, path, apart=True) as other,
        anyio.create_task_group() as tasks,
    ):
        verdicts: list[Verdict] = []

        async def resolve() -> None:
            verdicts.append((await one.resolve(caught.value.pending)).verdict)

        tasks.start_soon(resolve)
        await anyio.sleep(20.9)
        slow.passes = anyio.Event()
        await slow.answered.wait()
        await other.create_payment_link(order())
        slow.passes.set()
    assert verdicts == [Verdict.UNDETERMINED]
    assert sandbox.ledger.count("link_created") == 1


class SlowAnswers(httpx.AsyncBaseTransport):
    """A network on which answers may wait."""

    def __init__(self, inner: Gate) -> None:
        self._inner = inner
        self.answered = anyio.Event()
        self.passes: anyio.Event | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if self.passes is not None:
            content = await response.aread()
            response = httpx.Response(
                response.status_code, headers=response.headers, content=content
            )
            self.answered.set()
            await self.passes.wait()
        return response


async def test_recover_takes_no_effect_of_another_key_for_a_calls_own(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    blind = RetryPolicy(settle=1.0, stamp=False)
    gate.fails = [httpx.ReadError("cut")]
    async with client_of(gate, path, apart=True, retry=blind) as client:
        with unreadable(sandbox), anyio.move_on_after(0.05):
            await client.create_payment_link(order())
        await client.create_payment_link(order(), idempotency_key="second")
    assert rows(path)["create_payment_link", "A-1"] == "sent"
    async with client_of(gate, path, apart=True, retry=blind) as client:
        assert (await client.recover()).applied == 0
    assert sandbox.ledger.count("link_created") == 1


async def test_resolve_of_a_call_that_the_journal_does_not_have_asks_the_service(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    pending = await pending_of(gate, sandbox, path)
    async with client_of(gate, path.with_name("another.db")) as client:
        assert (await client.resolve(pending)).verdict is Verdict.APPLIED


async def test_resolve_of_what_stays_unknown_leaves_the_row_open(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    pending = await pending_of(gate, sandbox, path)
    sandbox.next_faults("get_transaction", ["garbage"] * 200)
    async with client_of(gate, path) as client:
        assert (await client.resolve(pending)).verdict is Verdict.UNDETERMINED
    assert set(rows(path).values()) == {"unknown"}


async def test_resolve_says_no_absence_where_another_process_took_the_call_up_meanwhile(
    gate: Gate, sandbox: Sandbox, path: Path
) -> None:
    sandbox.next_faults("create_payment_link", ["drop_before"])
    with unreadable(sandbox):
        async with client_of(gate, path) as client:
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.create_payment_link(order())
    verdicts: list[Verdict] = []
    gate.opens = anyio.Event()
    slow = Timeout(read=60.0, total=None)
    async with (
        client_of(gate, path, apart=True) as one,
        client_of(gate, path, apart=True, timeout=slow) as other,
        anyio.create_task_group() as tasks,
    ):

        async def resolve() -> None:
            verdicts.append((await one.resolve(caught.value.pending)).verdict)

        tasks.start_soon(resolve)
        await anyio.sleep(0.1)
        tasks.start_soon(other.create_payment_link, order())
        await anyio.sleep(30.0)
        assert verdicts == [Verdict.UNDETERMINED]
        gate.opens.set()
    assert sandbox.ledger.count("link_created") == 1


async def test_a_journal_knows_the_account_of_a_key_that_is_asked_for(
    gate: Gate, path: Path
) -> None:
    settings: dict[str, Any] = {"base_url": "http://localhost", "transport": gate}
    async with AsyncChat2Pay(lambda: KEY, journal=path, **settings) as client:
        await client.create_payment_link(order())
    async with AsyncChat2Pay(KEY, journal=path, **settings) as client:
        assert (await client.create_payment_link(order())).replayed
    async with AsyncChat2Pay("another-key", journal=path, **settings) as client:
        with pytest.raises(JournalError, match="another API key"):
            await client.create_payment_link(order())


@pytest.mark.parametrize("journal", ["postgresql://db/payments", 7, ""])
async def test_a_journal_that_can_not_be_one_is_refused(journal: Any) -> None:
    with pytest.raises(ConfigurationError, match="journal"):
        AsyncChat2Pay(KEY, journal=journal)
    keep: Any = "some"
    with pytest.raises(ConfigurationError, match="keep must be"):
        Journal("a.db", keep=keep)
