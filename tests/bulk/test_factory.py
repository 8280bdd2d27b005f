"""Runs of every operation against a sandbox, whose ledger counts the real effects."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest
from shop import copy_journal as copy
from shop import rows_in

from chat2pay_async import (
    AsyncChat2Pay,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    Event,
    IdempotencyConflictError,
    JournalError,
    OutcomeUnknownError,
    PaymentLinkRequest,
    RateLimit,
    ReceiptNotSentError,
    RequestTimeoutError,
    RequestValidationError,
    RetryPolicy,
    RunStoppedError,
    Timeout,
    TransportError,
    Verdict,
    bulk,
)
from chat2pay_async._bulk.store import RunStore
from chat2pay_async.bulk import Run, State
from chat2pay_async.events import ItemFinished
from chat2pay_async.sandbox import FaultKind, Sandbox

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(initial=0.001, maximum=0.002, settle=0.02)
CREATE = "create_payment_link"


def request_for(number: object, **fields: Any) -> PaymentLinkRequest:
    given = {
        "channel": "sms",
        "to": "27831234567",
        "order_number": f"A-{number}",
        "currency": "ZAR",
        "total_amount": "10.00",
    }
    return PaymentLinkRequest(**(given | fields))


def requests_for(count: int, **fields: Any) -> list[PaymentLinkRequest]:
    return [request_for(number, **fields) for number in range(count)]


async def never() -> httpx.Response:
    await anyio.sleep_forever()
    raise AssertionError


class Wire(httpx.AsyncBaseTransport):
    """Transport to the sandbox that keeps the requests, and can be scripted."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.inner = httpx.ASGITransport(app=sandbox.app)
        self.passed: list[tuple[str, str, bytes]] = []
        self.post: Callable[[httpx.Request], Awaitable[httpx.Response]] = self.pass_on

    @property
    def posts(self) -> list[bytes]:
        return [body for method, _, body in self.passed if method == "POST"]

    async def pass_on(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        self.passed.append((request.method, request.url.raw_path.decode(), body))
        if request.method == "POST":
            return await self.post(request)
        return await self.pass_on(request)


@attrs.define
class World:
    """Sandbox and its clients."""

    sandbox: Sandbox = attrs.field(factory=lambda: Sandbox(seed=3))

    def client(self, wire: Wire | None = None, **settings: Any) -> AsyncChat2Pay:
        given: dict[str, Any] = {
            "api_key": self.sandbox.api_key,
            "base_url": "http://localhost",
            "transport": Wire(self.sandbox) if wire is None else wire,
            "retry": QUICK,
            # A window begins when the request would have timed out by itself.
            "timeout": Timeout(read=0.5),
        }
        return AsyncChat2Pay(**(given | settings))

    @property
    def created(self) -> Counter[str | None]:
        """Count the links of each order."""
        return Counter(
            effect.order_number
            for effect in self.sandbox.ledger.effects
            if effect.kind == "link_created"
        )

    async def links(self, count: int, **fields: Any) -> list[str]:
        """Create links, and return their references."""
        async with self.client() as client:
            requests = requests_for(count, **fields)
            made = [await client.create_payment_link(request) for request in requests]
        return [str(link.payment_link_ref) for link in made]

    async def authorizations(self, count: int) -> list[str]:
        references = await self.links(count, transaction_type="authorization")
        for reference in references:
            self.sandbox.pay(reference)
        return references


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spring.db"


def each_once(count: int) -> Counter[str | None]:
    return Counter(f"A-{number}" for number in range(count))


async def read(run: Run[Any, Any]) -> dict[str, Any]:
    async with run:
        outcomes = [outcome async for outcome in run]
    assert len({outcome.key for outcome in outcomes}) == len(outcomes)
    return {outcome.key: outcome for outcome in outcomes}


def states(outcomes: dict[str, Any]) -> Counter[str]:
    return Counter(outcome.state.name for outcome in outcomes.values())


def rows_of(path: Path) -> dict[str, Any]:
    return {row.key: row for row in rows_in(path)}


def there_is(path: Path) -> bool:
    return path.exists()


# Campaigns ----------------------------------------------------------------------------------------


class Pages:
    async def __aiter__(self) -> AsyncGenerator[PaymentLinkRequest]:
        for request in requests_for(20):
            await anyio.lowlevel.checkpoint()
            yield request


async def pages() -> AsyncGenerator[PaymentLinkRequest]:
    async for request in Pages():
        yield request


@pytest.mark.parametrize(
    "source",
    [lambda: requests_for(20), lambda: iter(requests_for(20)), pages, Pages],
    ids=["list", "iterator", "async generator", "async iterable"],
)
@pytest.mark.parametrize("journalled", [True, False])
async def test_a_campaign_creates_each_link_once(
    world: World, path: Path, source: Callable[[], Any], *, journalled: bool
) -> None:
    async with world.client(journal=path if journalled else None) as client:
        run = bulk.create_payment_links(
            client, source(), concurrency=7, run="spring" if journalled else None
        )
        outcomes = await read(run)
    assert world.created == each_once(20)
    assert states(outcomes) == {"APPLIED": 20}
    for outcome in outcomes.values():
        assert outcome.request.order_number == outcome.key
        assert outcome.result.payment_link_ref == world.sandbox.ref_of(outcome.key)
        assert outcome.delivered
    assert run.summary.amounts == {"ZAR": Decimal("200.00")}
    assert str(run.summary).startswith("20 applied; ZAR 200.00; ")
    assert run.forecast is None
    assert there_is(path) is journalled


async def test_lost_responses_are_looked_up_and_nothing_is_created_twice(
    world: World, path: Path
) -> None:
    faults: list[FaultKind] = ["drop_after", "drop_before", "error_502_after", "hollow_201_before"]
    world.sandbox.next_faults(CREATE, faults)
    async with world.client(journal=path) as client:
        run = bulk.create_payment_links(client, requests_for(12), run="spring", concurrency=4)
        outcomes = await read(run)
    assert {kind: world.sandbox.ledger.faults[CREATE, kind] for kind in faults} == dict.fromkeys(
        faults, 1
    )
    assert states(outcomes) == {"APPLIED": 12}
    assert world.created == each_once(12)
    assert run.summary.recovered == 2
    assert {row.state for row in rows_of(path).values()} == {"applied"}


async def test_a_campaigns_summary_counts_recovered_and_undelivered_links(world: World) -> None:
    world.sandbox.fail_delivery("A-1")
    source = [
        *requests_for(3),
        request_for(1),
        request_for("rand", currency="CHF"),
        request_for("yen", currency="JPY", total_amount=500),
    ]
    async with world.client() as client:
        run = bulk.create_payment_links(client, source, concurrency=1)
        async with run:
            outcomes = [outcome async for outcome in run]
    assert run.summary.counts == {
        State.APPLIED: 4,
        State.REJECTED: 2,
        State.FAILED: 0,
        State.UNKNOWN: 0,
        State.SKIPPED: 0,
    }
    assert run.summary.not_delivered == 1
    assert run.summary.amounts == {"ZAR": Decimal("30.00"), "JPY": Decimal(500)}
    assert [type(one.error) for one in outcomes if one.state is State.REJECTED] == [
        RequestValidationError,
        BadRequestError,
    ]
    assert world.created["A-1"] == 1


async def test_hooks_of_the_client_receive_every_item(world: World) -> None:
    received: list[Event] = []
    async with world.client(hooks=[received.append]) as client:
        await read(bulk.create_payment_links(client, requests_for(3)))
    reported = [event for event in received if isinstance(event, ItemFinished)]
    assert {(event.key, event.state) for event in reported} == {
        (f"A-{number}", "applied") for number in range(3)
    }
    assert len({event.call_id for event in reported}) == 1


async def test_a_run_uses_the_settings_of_a_view(world: World) -> None:
    world.sandbox.next_faults(CREATE, ["drop_before"] * 3)
    async with world.client() as client:
        view = client.with_options(retry=attrs.evolve(QUICK, resend_when_absent=False))
        outcomes = await read(bulk.create_payment_links(view, requests_for(3)))
    assert states(outcomes) == {"UNKNOWN": 3}
    assert world.sandbox.ledger.faulted(CREATE, "drop_before") == 3


async def test_a_run_has_no_deadline_whatever_its_client_has(world: World) -> None:
    async with world.client(timeout=Timeout(read=0.5, total=7.0)) as client:
        for run in (
            bulk.create_payment_links(client, []),
            bulk.get_transactions(client, []),
            bulk.create_payment_links(client.with_options(timeout=Timeout(read=0.5)), []),
        ):
            assert run._items._options.timeout == Timeout(read=0.5, total=None)


# Leaving early ------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [0, 1, 9])
async def test_delivered_and_undelivered_outcomes_are_all_that_the_service_did(
    world: World, taken: int
) -> None:
    pulled: list[str] = []

    def source() -> Iterator[PaymentLinkRequest]:
        for request in requests_for(1000):
            pulled.append(request.order_number)
            yield request

    delivered: list[str] = []
    async with (
        world.client() as client,
        bulk.create_payment_links(client, source(), concurrency=5) as run,
    ):
        while len(delivered) < taken:
            delivered.append((await anext(run)).key)
    undelivered = [outcome.key for outcome in run.undelivered]
    assert {outcome.state for outcome in run.undelivered} <= {State.APPLIED}
    assert Counter(delivered + undelivered) == world.created == Counter(pulled)
    assert len(pulled) <= taken + 5
    assert run.summary.applied == len(pulled)


async def test_items_in_progress_are_unknown_without_drain_and_can_be_resolved(
    world: World,
) -> None:
    wire, under_way = Wire(world.sandbox), anyio.Event()

    async def silent(request: httpx.Request) -> httpx.Response:
        answer = await wire.pass_on(request)
        if b'"A-0"' in request.content:
            return answer
        under_way.set()
        return await never()

    wire.post = silent
    async with world.client(wire) as client:
        source = requests_for(2)
        async with bulk.create_payment_links(client, source, concurrency=2, drain=0) as run:
            assert (await anext(run)).key == "A-0"
            await under_way.wait()
        (left,) = run.undelivered
        assert (left.key, left.state) == ("A-1", State.UNKNOWN)
        assert isinstance(left.error, OutcomeUnknownError)
        resolution = await client.resolve(left.error.pending)
    assert resolution.verdict is Verdict.APPLIED
    assert resolution.result.payment_link_ref == world.sandbox.ref_of("A-1")


async def test_rows_that_an_earlier_run_finished_do_not_pass_for_unsent_in_one_that_is_left(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_held = anyio.Event()

    async def hold(_store: RunStore, _asked: object) -> None:
        is_held.set()
        await never()

    async with world.client(journal=path) as client:
        await read(bulk.create_payment_links(client, requests_for(3), run="spring"))
        monkeypatch.setattr(RunStore, "look_up", hold)
        run = bulk.create_payment_links(client, requests_for(3), run="spring", drain=0)
        async with run, anyio.create_task_group() as tasks:
            tasks.start_soon(anext, run)
            await is_held.wait()
            tasks.cancel_scope.cancel()
    assert states({one.key: one for one in run.undelivered}) == {"SKIPPED": 3}
    refs = {one.key: one.result.payment_link_ref for one in run.undelivered if one.result}
    assert refs == {order: world.sandbox.ref_of(order) for order in ("A-0", "A-1", "A-2")}


async def test_a_cancelled_run_reports_unknown_items(world: World, path: Path) -> None:
    wire = Wire(world.sandbox)

    async def stop(_request: httpx.Request) -> httpx.Response:
        if len(wire.posts) == 2:
            scope.cancel()
        return await never()

    wire.post = stop
    async with world.client(wire, journal=path, max_connections=3) as client:
        with anyio.CancelScope() as scope:
            run = bulk.create_payment_links(client, requests_for(9), concurrency=4, run="spring")
            async with run:
                await anext(run)
    assert scope.cancelled_caught
    reported: dict[str, Any] = {outcome.key: outcome for outcome in run.undelivered}
    assert states(reported) == {"UNKNOWN": 2, "FAILED": 2}
    assert {type(one.error) for one in reported.values()} == {
        OutcomeUnknownError,
        RequestTimeoutError,
    }
    sent = {key for key, one in reported.items() if one.state is State.UNKNOWN}
    assert set(rows_of(path)) == sent
    async with world.client(journal=path) as client:
        outcomes = await read(bulk.create_payment_links(client, requests_for(9), run="spring"))
    assert states(outcomes) == {"APPLIED": 9}
    assert world.created == each_once(9)


# Errors that stop a run ---------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_wrong_key_stops_a_campaign(world: World, concurrency: int) -> None:
    wire = Wire(world.sandbox)
    async with world.client(wire, api_key="wrong") as client:
        run = bulk.create_payment_links(client, requests_for(100), concurrency=concurrency)
        with pytest.raises(AuthenticationError):
            await read(run)
    assert len(wire.posts) <= concurrency + 1
    assert len(wire.posts) <= run.summary.failed <= concurrency


async def test_a_campaign_with_too_many_failures_stops_itself(world: World) -> None:
    wire = Wire(world.sandbox)
    source = requests_for(100, currency="CHF")
    async with world.client(wire) as client:
        run = bulk.create_payment_links(client, source, concurrency=1, stop_at_failure_rate=0.2)
        with pytest.raises(RunStoppedError):
            await read(run)
    assert len(wire.posts) == run.summary.rejected == 5


async def test_a_closed_client_stops_a_run(world: World) -> None:
    client = world.client()
    await client.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await read(bulk.create_payment_links(client, requests_for(3)))


# Other operations ---------------------------------------------------------------------------------


async def test_captures_are_applied_or_declined(world: World, path: Path) -> None:
    refs = await world.authorizations(3)
    world.sandbox.decline_capture(refs[1])
    world.sandbox.next_faults("capture_payment", ["drop_after"])
    source = [bulk.Capture(refs[0]), bulk.Capture(refs[1]), bulk.Capture(refs[2], amount="4.00")]
    async with world.client(journal=path) as client:
        run = bulk.capture_payments(client, source, run="spring", concurrency=1)
        outcomes = await read(run)
        again = await read(bulk.capture_payments(client, source, run="spring"))
    assert [outcomes[ref].state for ref in refs] == [
        State.APPLIED,
        State.REJECTED,
        State.APPLIED,
    ]
    assert outcomes[refs[1]].declined
    assert (run.summary.declined, run.summary.recovered) == (1, 1)
    assert run.summary.amounts == {"": Decimal("14.00")}, "a capture names no currency"
    ledger = world.sandbox.ledger
    assert ledger.total("captured", "ZAR") == Decimal("14.00")
    assert ledger.faulted("capture_payment", "drop_after") == 1
    assert states(again) == {"SKIPPED": 3}
    assert again[refs[1]].declined
    assert again[refs[2]].result.total_amount == Decimal(4)


@pytest.mark.parametrize("as_text", [True, False])
async def test_payments_are_reversed(world: World, path: Path, *, as_text: bool) -> None:
    refs = await world.authorizations(2)
    source: Any = refs if as_text else [bulk.LinkReference(payment_link_ref=ref) for ref in refs]
    async with world.client(journal=path) as client:
        outcomes = await read(bulk.reverse_payments(client, source, run="spring"))
    assert states(outcomes) == {"APPLIED": 2}
    assert world.sandbox.ledger.count("reversed") == 2
    assert outcomes[refs[0]].request == bulk.LinkReference(payment_link_ref=refs[0])


async def test_links_are_cancelled(world: World, path: Path) -> None:
    refs = await world.links(3)
    world.sandbox.click(refs[1])
    async with world.client(journal=path) as client:
        run = bulk.cancel_payment_links(client, [*refs, " "], run="spring")
        outcomes = await read(run)
    assert states(outcomes) == {"APPLIED": 2, "REJECTED": 2}
    assert isinstance(outcomes[refs[1]].error, BadRequestError)
    assert isinstance(outcomes[" "].error, RequestValidationError)
    assert world.sandbox.ledger.count("link_cancelled") == 2


async def test_receipts_are_delivered_or_not(world: World, path: Path) -> None:
    refs = await world.links(2)
    for ref in refs:
        world.sandbox.pay(ref)
    world.sandbox.fail_receipt(refs[1])
    source = [
        bulk.ReceiptRequest(payment_link_ref=ref, receipt_link="https://shop.test/1")
        for ref in refs
    ]
    async with world.client(journal=path) as client:
        run = bulk.create_receipts(client, source, run="spring")
        outcomes = await read(run)
    assert states(outcomes) == {"APPLIED": 2}
    assert outcomes[refs[0]].error is None
    assert outcomes[refs[1]].delivered is False
    assert isinstance(outcomes[refs[1]].error, ReceiptNotSentError)
    assert run.summary.not_delivered == 1
    assert world.sandbox.ledger.count("receipt_created") == 2


@pytest.mark.parametrize("is_journaled", [True, False])
async def test_a_lost_receipt_that_is_found_undelivered_is_not_looked_up_again(
    world: World, path: Path, *, is_journaled: bool
) -> None:
    """Its attempt was unknown, as one is that is tried again; but by now its end is known."""
    (ref,) = await world.links(1)
    world.sandbox.pay(ref)
    world.sandbox.fail_receipt(ref)
    world.sandbox.next_faults("create_receipt", ["drop_after"])
    source = [bulk.ReceiptRequest(payment_link_ref=ref, receipt_link="https://shop.test/1")]
    journal = path if is_journaled else None
    with anyio.fail_after(2):
        async with world.client(journal=journal) as client:
            outcomes = await read(bulk.create_receipts(client, source))
    assert states(outcomes) == {"APPLIED": 1}
    assert isinstance(outcomes[ref].error, ReceiptNotSentError)
    assert outcomes[ref].recovered
    assert world.sandbox.ledger.count("receipt_created") == 1


async def test_links_are_looked_up_by_reference_or_by_any_query(world: World) -> None:
    (ref,) = await world.links(1)
    queries: list[Any] = [ref, bulk.TransactionQuery(order_number="A-0"), "nothing", ""]
    async with world.client() as client:
        outcomes = await read(bulk.get_transactions(client, queries))
    assert states(outcomes) == {"APPLIED": 2, "REJECTED": 2}
    assert outcomes[ref].result.order_number == outcomes["A-0"].result.order_number == "A-0"


async def test_items_of_another_type_stop_a_run_unsent(world: World) -> None:
    wire = Wire(world.sandbox)
    captures: Any = ["ref-1"]
    async with world.client(wire) as client:
        with pytest.raises(TypeError, match="items of Capture, not of str"):
            await read(bulk.capture_payments(client, captures))
        with pytest.raises(TypeError, match="items of PaymentLinkRequest, not of str"):
            await read(bulk.create_payment_links(client, captures))
        with pytest.raises(TypeError, match="items of ReceiptRequest, not of str"):
            await read(bulk.create_receipts(client, captures))
    assert wire.passed == []


# Options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"concurrency": 0}, "concurrency must be an int, 1 or more"),
        ({"concurrency": True}, "concurrency must be an int, 1 or more"),
        ({"concurrency": 2.0}, "concurrency must be an int, 1 or more"),
        ({"drain": -1}, "drain must be a number, 0 or more"),
        ({"drain": float("nan")}, "drain must be a number, 0 or more"),
        ({"drain": None}, "drain must be a number, 0 or more"),
        ({"stop_at_failure_rate": 1.5}, "stop_at_failure_rate must be a number, from 0 to 1"),
        ({"stop_at_failure_rate": True}, "stop_at_failure_rate must be a number, from 0 to 1"),
        ({"stop_at_failure_rate": "20%"}, "stop_at_failure_rate must be a number, from 0 to 1"),
        ({"give_up_after": -1}, "give_up_after must be a number, 0 or more"),
        ({"give_up_after": 10**400}, "give_up_after must be a number, 0 or more"),
        (
            {"journal": "spring.db"},
            "pass journal= to the client, and the run's name as run= here",
        ),
        (
            {"run": "spring"},
            "run= names a run in the client's journal: pass journal= to the client",
        ),
        (
            {"jornal": "spring.db"},
            (
                "unknown options: jornal; this run takes allow_lookalikes, compare, concurrency, "
                "drain, dry_run, give_up_after, retry_rejected, run, settings, "
                "stop_at_failure_rate"
            ),
        ),
    ],
)
async def test_invalid_options_are_refused(
    world: World, options: dict[str, Any], problem: str
) -> None:
    async with world.client() as client:
        with pytest.raises(ConfigurationError) as caught:
            bulk.create_payment_links(client, [], **options)
    assert str(caught.value) == problem


async def test_a_run_that_only_reads_takes_no_name(world: World) -> None:
    options: Any = {"run": "spring"}
    async with world.client() as client:
        with pytest.raises(ConfigurationError, match="unknown options: run; this run takes"):
            bulk.get_transactions(client, [], **options)


async def test_drain_may_be_infinite(world: World) -> None:
    async with world.client() as client:
        run = bulk.create_payment_links(
            client, requests_for(3), concurrency=3, drain=float("inf"), stop_at_failure_rate=0
        )
        async with run:
            await anext(run)
    assert len(run.undelivered) == 2


# Existing orders ----------------------------------------------------------------------------------


async def test_check_existing_replaces_a_lost_journal(world: World, path: Path) -> None:
    await world.links(3)
    wire = Wire(world.sandbox)
    async with world.client(wire, journal=path) as client:
        run = bulk.create_payment_links(client, requests_for(5), run="spring", check_existing=True)
        outcomes = await read(run)
    assert states(outcomes) == {"SKIPPED": 3, "APPLIED": 2}
    assert outcomes["A-0"].result.payment_link_ref == world.sandbox.ref_of("A-0")
    assert world.created == each_once(5)
    # Absent orders are looked up twice: the dead process may have left them on their way.
    assert (len(wire.passed), len(wire.posts)) == (9, 2)
    assert {row.state for row in rows_of(path).values()} == {"applied"}
    assert sorted(key for key, row in rows_of(path).items() if row.posts) == ["A-3", "A-4"]


# Journals -----------------------------------------------------------------------------------------


async def test_a_resumed_run_skips_finished_items_with_their_results(
    world: World, path: Path
) -> None:
    source = [
        *requests_for(3, channel="none", return_payment_link=True),
        request_for("franc", currency="CHF"),
    ]
    async with world.client(journal=path) as client:
        first = await read(bulk.create_payment_links(client, source, run="spring"))
    wire = Wire(world.sandbox)
    async with world.client(wire, journal=path) as client:
        run = bulk.create_payment_links(client, source, run="spring")
        second = await read(run)
    assert states(second) == {"SKIPPED": 4}
    for key, outcome in second.items():
        result = first[key].result
        assert outcome.result == (result and attrs.evolve(result, replayed=True))
        assert (outcome.result is None) == (key == "A-franc")
    assert second["A-0"].result.payment_link.startswith("https://")
    assert isinstance(second["A-franc"].error, BadRequestError)
    assert str(second["A-franc"].error) == str(first["A-franc"].error)
    assert wire.passed == []
    assert run.summary.amounts == {}


async def test_a_resumed_run_tells_finished_new_repeated_and_changed_items_apart(
    world: World, path: Path
) -> None:
    async with world.client(journal=path) as client:
        await read(bulk.create_payment_links(client, requests_for(3), run="spring"))
    done, new = requests_for(3), request_for("new")
    changed = attrs.evolve(done[2], total_amount="99.00")
    source = [done[0], done[1], new, done[0], changed, new, done[1]]
    wire = Wire(world.sandbox)
    async with (
        world.client(wire, journal=path) as client,
        bulk.create_payment_links(client, source, run="spring") as run,
    ):
        outcomes = [outcome async for outcome in run]
    reported = sorted((outcome.key, outcome.state.name) for outcome in outcomes)
    assert reported == [
        ("A-0", "REJECTED"),
        ("A-0", "SKIPPED"),
        ("A-1", "REJECTED"),
        ("A-1", "SKIPPED"),
        ("A-2", "REJECTED"),
        ("A-new", "APPLIED"),
        ("A-new", "REJECTED"),
    ]
    of_journal = [outcome.key for outcome in outcomes if outcome.state is State.SKIPPED]
    assert of_journal == ["A-0", "A-1"]
    assert len(wire.posts) == 1


@pytest.mark.parametrize("other", ["operation", "key", "base URL"])
# Killed processes ---------------------------------------------------------------------------------


@attrs.define
class Death:
    """Transport that kills a run at one of its POSTs, before the service has it or after."""

    wire: Wire
    path: Path
    left: Path
    at: int
    after: bool
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)

    async def post(self, request: httpx.Request) -> httpx.Response:
        number = len(self.wire.posts)
        if number < self.at:
            return await self.wire.pass_on(request)
        if number == self.at:
            if self.after:
                await self.wire.pass_on(request)
            copy(self.path, self.left)
            self.scope.cancel()
        return await never()


async def killed(
    world: World, path: Path, source: list[PaymentLinkRequest], at: int, *, after: bool, **how: Any
) -> tuple[Path, Wire]:
    """Copy the files of a campaign that died, and return what it had sent."""
    wire = Wire(world.sandbox)
    death = Death(wire, path, path.with_name("left.db"), at, after)
    wire.post = death.post
    async with world.client(wire, journal=path) as client:
        with death.scope:
            await read(bulk.create_payment_links(client, source, run="spring", **how))
    assert death.scope.cancelled_caught
    return death.left, wire


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("at", [1, 6, 12])
async def test_a_resumed_run_does_the_rest_once_wherever_the_process_died(
    world: World, path: Path, at: int, *, after: bool
) -> None:
    source = requests_for(12)
    left, before = await killed(world, path, source, at, after=after, concurrency=4)
    on_disk = rows_of(left)
    assert set(before.posts) <= {row.body for row in on_disk.values()}
    unknown = {key for key, row in on_disk.items() if row.state == "sent"}
    assert 1 <= len(unknown) <= 4
    wire = Wire(world.sandbox)
    async with world.client(wire, journal=left) as client:
        outcomes = await read(
            bulk.create_payment_links(client, iter(source), run="spring", concurrency=4)
        )
    assert world.created == each_once(12)
    assert outcomes.keys() == {request.order_number for request in source}
    final = {key for key, row in on_disk.items() if row.state == "applied"}
    assert {key for key, one in outcomes.items() if one.state is State.SKIPPED} == final
    assert states(outcomes)["APPLIED"] == 12 - len(final)
    # What is sent again is what the journal has, and what was final does not go.
    bodies = {row.body for row in on_disk.values()}
    again = [body for body in wire.posts if body in bodies]
    assert set(again) <= {on_disk[key].body for key in unknown}
    assert len(set(wire.posts)) == len(wire.posts)
    assert {row.state for row in rows_of(left).values()} == {"applied"}


async def test_unresolved_items_are_looked_up_before_anything_is_sent(
    world: World, path: Path
) -> None:
    source = requests_for(8)
    left, _ = await killed(world, path, source, 3, after=False, concurrency=3)
    unknown = {key for key, row in rows_of(left).items() if row.state == "sent"}
    assert unknown
    wire = Wire(world.sandbox)
    async with world.client(wire, journal=left) as client:
        await read(bulk.create_payment_links(client, source, run="spring", concurrency=8))
    first_post = [method for method, _, _ in wire.passed].index("POST")
    looked_up = {target.rpartition("=")[2] for _, target, _ in wire.passed[:first_post]}
    assert looked_up == unknown
    assert world.created == each_once(8)


async def test_changed_items_are_rejected(world: World, path: Path) -> None:
    left, before = await killed(world, path, requests_for(3), 2, after=True, concurrency=1)
    source = requests_for(3, total_amount="99.00")
    wire = Wire(world.sandbox)
    async with (
        world.client(wire, journal=left) as client,
        bulk.create_payment_links(client, source, run="spring") as run,
    ):
        outcomes = [outcome async for outcome in run]
    reported = Counter((outcome.key, outcome.state) for outcome in outcomes)
    assert reported == {
        ("A-0", State.REJECTED): 1,
        ("A-1", State.APPLIED): 1,
        ("A-1", State.REJECTED): 1,
        ("A-2", State.APPLIED): 1,
    }
    for outcome in outcomes:
        if outcome.state is State.REJECTED:
            assert isinstance(outcome.error, IdempotencyConflictError)
            assert outcome.error.differences == ("total_amount",)
    assert not set(wire.posts) & set(before.posts)
    assert world.created == each_once(3)
    assert world.sandbox.ledger.total("link_created", "ZAR") == Decimal("119.00")


async def test_failed_items_are_sent_by_the_next_run(world: World, path: Path) -> None:
    once = attrs.evolve(QUICK, max_attempts=1)
    wire, all_came = Wire(world.sandbox), anyio.Event()

    async def unreachable(_request: httpx.Request) -> httpx.Response:
        if len(wire.posts) == 3:  # the first that fails stops those that are not on their way
            all_came.set()
        await all_came.wait()
        raise httpx.ConnectError("refused")

    wire.post = unreachable
    source = requests_for(3)
    async with world.client(wire, journal=path, retry=once) as client:
        run = bulk.create_payment_links(client, source, run="spring", give_up_after=0)
        with pytest.raises(RunStoppedError, match="nothing could be sent for 0 s"):
            await read(run)
    assert run.summary.counts[State.FAILED] == run.summary.total == 3
    later = Wire(world.sandbox)
    async with world.client(later, journal=path) as client:
        changed = [*source[:2], attrs.evolve(source[2], total_amount="5.00")]
        second = await read(bulk.create_payment_links(client, changed, run="spring"))
    assert states(second) == {"APPLIED": 3}
    assert len(set(later.posts) & set(wire.posts)) == 2
    assert b'"totalAmount":5' in b"".join(set(later.posts) - set(wire.posts))
    assert world.created == each_once(3)


@pytest.mark.virtual_time
async def test_a_run_waits_for_ten_minutes_of_outage_by_default(world: World) -> None:
    wire = Wire(world.sandbox)

    async def unreachable(_request: httpx.Request) -> httpx.Response:
        await anyio.lowlevel.checkpoint()
        raise httpx.ConnectError("refused")

    wire.post = unreachable
    began = anyio.current_time()
    async with world.client(wire) as client:
        with pytest.raises(RunStoppedError, match="nothing could be sent for 600 s"):
            await read(bulk.create_payment_links(client, requests_for(3)))
    assert anyio.current_time() - began == pytest.approx(600, abs=5)


async def test_undetermined_items_are_reported_again_and_never_sent_on_a_guess(
    world: World, path: Path
) -> None:
    source = requests_for(1)
    left, _ = await killed(world, path, source, 1, after=True)
    never = attrs.evolve(QUICK, resend_when_absent=False)
    world.sandbox.next_faults("get_transaction", ["html"] * 50)
    wire = Wire(world.sandbox)
    async with world.client(wire, journal=left, retry=never) as client:
        outcomes = await read(bulk.create_payment_links(client, source, run="spring"))
        assert states(outcomes) == {"UNKNOWN": 1}
        assert world.sandbox.ledger.faulted("get_transaction", "html") > 0
        world.sandbox.set_faults(None)
        pending = outcomes["A-0"].error.pending
        assert (await client.resolve(pending)).verdict is Verdict.APPLIED
        outcomes = await read(bulk.create_payment_links(client, source, run="spring"))
        assert states(outcomes) == {"SKIPPED": 1}  # the journal was told
    assert wire.posts == []


async def test_a_callers_own_generator_is_left_open(world: World) -> None:
    async with world.client() as client, aclosing(pages()) as source:
        async with bulk.create_payment_links(client, source, concurrency=1) as run:
            await anext(run)
        rest = [request.order_number async for request in source]
    assert 18 <= len(rest) <= 19


async def test_a_run_without_a_journal_asks_for_no_key_before_it_sends() -> None:
    async def ask() -> str:
        raise AssertionError

    async with AsyncChat2Pay(ask, base_url="http://127.0.0.1:9") as client:
        assert await read(bulk.create_payment_links(client, [])) == {}


async def test_a_run_whose_key_cant_be_had_says_so_before_it_takes_anything(path: Path) -> None:
    async def ask() -> str:
        raise LookupError

    async with AsyncChat2Pay(ask, base_url="http://127.0.0.1:9", journal=path) as client:
        with pytest.raises(TransportError, match=r"nothing was sent.*raised LookupError"):
            await read(bulk.create_payment_links(client, requests_for(1), run="spring"))
    assert not await anyio.Path(path).exists()


# Several runs, calls and sessions of one journal --------------------------------------------------


async def test_two_runs_with_overlapping_keys_create_each_link_once(
    world: World, path: Path
) -> None:
    found: dict[str, dict[str, Any]] = {}
    world.sandbox.next_faults(CREATE, ["drop_after", "drop_before", "error_502_after"])

    async def send(name: str, numbers: range) -> None:
        async with world.client(journal=path) as client:
            source = [request_for(number) for number in numbers]
            run = bulk.create_payment_links(client, source, run=name, concurrency=5)
            found[name] = await read(run)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, "spring", range(30))
        tasks.start_soon(send, "summer", range(10, 40))
    assert world.created == each_once(40)
    both = found["spring"], found["summer"]
    assert sum(len(outcomes) for outcomes in both) == 60
    for key in (f"A-{number}" for number in range(10, 30)):
        ended = {outcomes[key].state for outcomes in both}
        assert ended == {State.APPLIED, State.SKIPPED}
        refs = {outcomes[key].result.payment_link_ref for outcomes in both}
        assert refs == {world.sandbox.ref_of(key)}
    skipped = {one.by for outcomes in both for one in outcomes.values() if one.by}
    assert skipped <= {"spring", "summer"}


async def test_a_run_and_a_call_know_each_other(world: World, path: Path) -> None:
    async with world.client(journal=path) as client:
        made = await client.create_payment_link(request_for(0))
        outcomes = await read(bulk.create_payment_links(client, requests_for(2), run="spring"))
        again = await client.create_payment_link(request_for(1))
    assert (outcomes["A-0"].state, outcomes["A-0"].by) == (State.SKIPPED, "call")
    assert outcomes["A-0"].result.payment_link_ref == made.payment_link_ref
    assert again.replayed
    assert world.created == each_once(2)


async def test_a_run_without_a_name_gets_one(world: World, path: Path) -> None:
    async with world.client(journal=path) as client:
        runs = [bulk.create_payment_links(client, requests_for(1)) for _ in range(2)]
        for run in runs:
            await read(run)
    assert len({run.name for run in runs}) == 2
    assert all(str(run.name).startswith("create_payment_link 2") for run in runs)
    async with world.client() as client:
        assert bulk.create_payment_links(client, []).name is None


@pytest.mark.parametrize("name", ["", " ", "a\nb", 7])
async def test_a_name_is_a_printable_text(world: World, path: Path, name: Any) -> None:
    async with world.client(journal=path) as client:
        with pytest.raises(ConfigurationError, match="run must be a name"):
            bulk.create_payment_links(client, [], run=name)


async def test_a_run_belongs_to_one_operation(world: World, path: Path) -> None:
    async with world.client(journal=path) as client:
        await read(bulk.create_payment_links(client, requests_for(1), run="spring"))
        with pytest.raises(JournalError, match="spring"):
            await read(bulk.cancel_payment_links(client, ["ref"], run="spring"))


async def test_rows_that_are_gone_are_settled_counted_and_reported(
    world: World, path: Path
) -> None:
    left, _ = await killed(world, path, requests_for(4), 2, after=False, concurrency=1)
    async with world.client(journal=left) as client:
        run = bulk.create_payment_links(client, [request_for(7)], run="spring")
        outcomes = await read(run)
    assert run.summary.gone == 2
    assert outcomes["A-1"].state is State.FAILED
    assert "had no effect" in str(outcomes["A-1"].error)
    assert outcomes["A-1"].request.order_number == "A-1"
    assert outcomes["A-7"].state is State.APPLIED
    assert world.created == Counter(["A-0", "A-7"])
    assert "2 gone from the source" in str(run.summary)


async def test_a_second_link_for_an_order_is_made_on_purpose(world: World, path: Path) -> None:
    async with world.client(journal=path) as client:
        await read(bulk.create_payment_links(client, requests_for(1), run="spring"))
        keyed = [bulk.Keyed(request_for(0), "A-0 again", line=2)]
        for state in (State.APPLIED, State.SKIPPED):
            outcomes = await read(bulk.create_payment_links(client, keyed, run="again"))
            assert outcomes["A-0 again"].state is state
        (outcome,) = (
            await read(bulk.create_payment_links(client, [bulk.Keyed(request_for(5), " ")]))
        ).values()
    assert outcome.state is State.REJECTED
    assert world.created["A-0"] == 2


async def test_a_run_that_is_cancelled_gives_its_claims_back(world: World, path: Path) -> None:
    wire = Wire(world.sandbox)

    async def stop(_request: httpx.Request) -> httpx.Response:
        scope.cancel()
        return await never()

    wire.post = stop
    async with world.client(wire, journal=path, max_connections=3) as client:
        with anyio.CancelScope() as scope:
            async with bulk.create_payment_links(client, requests_for(9), run="spring") as run:
                await anext(run)
        wire.post = wire.pass_on
        outcomes = await read(bulk.create_payment_links(client, requests_for(9), run="spring"))
    assert states(outcomes) == {"APPLIED": 9}
    assert world.created == each_once(9)


# Stopping -----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("way", ["rate", "slot", "pause", "outage"])
async def test_a_stopped_run_sends_nothing_that_is_not_on_the_wire(world: World, way: str) -> None:
    wire = Wire(world.sandbox)
    settings: dict[str, Any] = {}
    if way == "rate":
        settings["rate_limit"] = RateLimit(1)
    elif way == "slot":
        settings["max_connections"] = 2

    async def slowly(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(3)
        if way == "pause" and len(wire.posts) < 6:
            return httpx.Response(429, headers={"Retry-After": "50"})
        if way == "outage":
            raise httpx.ConnectError("refused")
        return await wire.pass_on(request)

    wire.post = slowly
    async with world.client(wire, **settings) as client:
        run = bulk.create_payment_links(client, requests_for(50), concurrency=16)
        outcomes: list[Any] = []
        async with run, anyio.create_task_group() as tasks:

            async def receive() -> None:
                outcomes.extend([outcome async for outcome in run])

            tasks.start_soon(receive)
            await anyio.sleep(4.5)
            sent, began = len(wire.posts), anyio.current_time()
            run.stop()
        assert anyio.current_time() - began <= 3
    assert len(wire.posts) == sent
    assert 16 <= len(outcomes) < 50
    by_state = Counter(outcome.state for outcome in outcomes)
    assert by_state[State.APPLIED] == sum(world.created.values())
    assert by_state.keys() <= {State.APPLIED, State.FAILED}
    assert by_state[State.FAILED] >= (0 if way == "pause" else 10)


# Reconciling --------------------------------------------------------------------------------------


async def test_a_journal_is_held_against_the_service(world: World, path: Path) -> None:
    async with world.client(journal=path) as client:
        source = requests_for(5, transaction_type="authorization")
        made = await read(bulk.create_payment_links(client, source, run="spring"))
        refs = [str(made[f"A-{number}"].result.payment_link_ref) for number in range(5)]
        for ref in refs[:3]:
            world.sandbox.pay(ref)
        await read(bulk.capture_payments(client, [bulk.Capture(refs[0])], run="captures"))
        await read(bulk.reverse_payments(client, [refs[1]], run="reversals"))
        await read(bulk.cancel_payment_links(client, [refs[3]], run="cancellations"))
        async with bulk.reconcile(client) as reconciliation:
            found = [one async for one in reconciliation]
        assert reconciliation.counts == {
            "captured": 2,
            "reversed": 2,
            "authorized": 1,
            "cancelled": 2,
            "open": 1,
            "problems": 0,
        }
        assert {one.by for one in found} == {"spring", "captures", "reversals", "cancellations"}
        async with bulk.reconcile(client, run="spring", operation=CREATE) as reconciliation:
            assert sorted([one.key async for one in reconciliation]) == sorted(made)
        async with bulk.reconcile(client) as reconciliation:
            await anext(reconciliation)
            reconciliation.stop()


async def test_reconciling_needs_a_journal(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(ConfigurationError, match="make the client with journal="):
            bulk.reconcile(client)


async def test_links_that_are_missing_or_can_not_be_looked_up_are_problems(
    world: World, path: Path
) -> None:
    async with world.client(journal=path) as client:
        await read(bulk.create_payment_links(client, requests_for(2), run="spring"))
    other = World(Sandbox(seed=4))
    async with (
        other.client(journal=path, api_key=world.sandbox.api_key) as client,
        bulk.reconcile(client) as reconciliation,
    ):
        found = [one async for one in reconciliation]
    assert {(one.status, one.problem) for one in found} == {
        ("missing", "the service does not know it")
    }
