"""Items of runs without a journal, and calls of this process with their keys: they are one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest
from gate import KEY, Gate, client_of, ends_of, order
from shop import Inline

from chat2pay_async import (
    AsyncChat2Pay,
    ConnectionFailedError,
    IdempotencyConflictError,
    OutcomeUnknownError,
    PaymentLinkRequest,
    ReceiptNotSentError,
    RetryPolicy,
    Timeout,
    Verdict,
    bulk,
)
from chat2pay_async._bulk import store
from chat2pay_async.bulk import Outcome, ReceiptRequest, State
from chat2pay_async.sandbox import Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

RECEIPT = "https://shop.example/r/1"


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index keys at once: threads know nothing of virtual time."""
    monkeypatch.setattr(store, "GroupCommit", Inline)


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(api_key=KEY, seed=1)


@pytest.fixture
def gate(sandbox: Sandbox) -> Gate:
    return Gate(sandbox)


def run_of(
    client: AsyncChat2Pay, *requests: PaymentLinkRequest, **options: Any
) -> Callable[[], Any]:
    """Make a function that makes the links of a run, and returns its outcomes."""

    async def run() -> list[Outcome[Any, Any]]:
        async with bulk.create_payment_links(client, requests, **options) as made:
            return [outcome async for outcome in made]

    return run


def states_of(outcomes: Sequence[Outcome[Any, Any]]) -> list[State]:
    return [outcome.state for outcome in outcomes]


# Who comes second ---------------------------------------------------------------------------------


async def test_a_single_call_during_a_run_gets_the_result_of_its_item(
    gate: Gate, sandbox: Sandbox
) -> None:
    async with client_of(gate) as client:
        run, link = await ends_of(
            gate, run_of(client, order()), lambda: client.create_payment_link(order())
        )
    assert states_of(run) == [State.APPLIED]
    assert link.replayed
    assert link.payment_link_ref == run[0].result.payment_link_ref
    assert sandbox.ledger.count("link_created") == gate.posts == 1


async def test_the_response_of_an_item_reaches_a_single_call_that_asks_for_it(gate: Gate) -> None:
    async with client_of(gate) as client:
        run, raw = await ends_of(
            gate,
            run_of(client, order()),
            lambda: client.with_raw_response.create_payment_link(order()),
        )
    assert raw.status_code == 201
    assert raw.parsed.payment_link_ref == run[0].result.payment_link_ref


async def test_an_item_with_the_key_of_a_single_call_is_skipped_and_says_when(
    gate: Gate, sandbox: Sandbox
) -> None:
    async with client_of(gate) as client:
        link, run = await ends_of(
            gate, lambda: client.create_payment_link(order()), run_of(client, order())
        )
    (outcome,) = run
    assert outcome.state is State.SKIPPED
    assert outcome.by == "call"
    assert outcome.at is not None
    assert outcome.result.replayed
    assert outcome.result.payment_link_ref == link.payment_link_ref
    assert sandbox.ledger.count("link_created") == gate.posts == 1


async def test_two_runs_at_a_time_make_each_link_once(gate: Gate, sandbox: Sandbox) -> None:
    orders = [order(f"A-{number}") for number in range(20)]
    async with client_of(gate) as one, client_of_the_same(gate) as two:
        runs = await ends_of(
            gate,
            run_of(one, *orders, concurrency=20),
            run_of(two, *reversed(orders), concurrency=20),
        )
    done = [state for run in runs for state in states_of(run)]
    assert (done.count(State.APPLIED), done.count(State.SKIPPED)) == (20, 20)
    assert sandbox.ledger.count("link_created") == gate.posts == 20


def client_of_the_same(gate: Gate) -> AsyncChat2Pay:
    return AsyncChat2Pay(KEY, base_url="http://localhost", transport=gate)


async def test_an_item_with_a_key_of_its_own_is_another_call(gate: Gate, sandbox: Sandbox) -> None:
    async with client_of(gate) as client:
        again: Any = bulk.Keyed(order(), idempotency_key="second")
        link, run = await ends_of(
            gate, lambda: client.create_payment_link(order()), run_of(client, again)
        )
    assert not link.replayed
    assert states_of(run) == [State.APPLIED]
    assert sandbox.ledger.count("link_created") == 2


async def test_another_content_is_a_conflict_at_once(gate: Gate) -> None:
    other = order(additional_data={"a": 1})
    async with client_of(gate) as client:
        run, single, second = await ends_of(
            gate,
            run_of(client, order()),
            lambda: client.create_payment_link(other),
            run_of(client, other),
        )
    assert states_of(run) == [State.APPLIED]
    assert isinstance(single, IdempotencyConflictError)
    assert states_of(second) == [State.REJECTED]
    assert isinstance(second[0].error, IdempotencyConflictError)
    assert second[0].error.differences == single.differences == ("additional_data",)
    assert gate.posts == 1


# Ends of the first --------------------------------------------------------------------------------


async def test_what_could_not_be_sent_is_sent_by_the_item_that_waited(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.fails = [httpx.ConnectError("refused")]
    async with client_of(gate, retry=RetryPolicy(settle=1.0, max_attempts=1)) as client:
        single, run = await ends_of(
            gate, lambda: client.create_payment_link(order()), run_of(client, order())
        )
    assert isinstance(single, ConnectionFailedError)
    assert states_of(run) == [State.APPLIED]
    assert gate.posts == 2
    assert sandbox.ledger.count("link_created") == 1


@pytest.mark.parametrize("arrives", [True, False])
async def test_what_may_have_had_an_effect_is_looked_up_by_the_item_that_waited(
    gate: Gate, sandbox: Sandbox, *, arrives: bool
) -> None:
    gate.fails = [] if arrives else [httpx.ReadError("cut")]
    if arrives:
        sandbox.next_faults("create_payment_link", ["drop_after"])
    sandbox.next_faults("get_transaction", ["garbage"] * 3)
    async with client_of(gate, timeout=Timeout(read=1.0, total=0.5)) as client:
        single, run = await ends_of(
            gate, lambda: client.create_payment_link(order()), run_of(client, order())
        )
    assert isinstance(single, OutcomeUnknownError)
    assert states_of(run) == [State.APPLIED]
    assert run[0].recovered is arrives
    assert gate.posts == 2 - arrives
    assert sandbox.ledger.count("link_created") == 1


async def test_an_item_that_is_stopped_while_it_waits_is_unknown(
    gate: Gate, sandbox: Sandbox
) -> None:
    async with client_of(gate) as client:
        gate.opens, made = anyio.Event(), list[Outcome[Any, Any]]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.create_payment_link, order())
            await anyio.sleep(0.1)
            async with bulk.create_payment_links(client, [order()]) as run:
                with anyio.move_on_after(0.1):
                    made = [outcome async for outcome in run]
                run.stop()
                made = [outcome async for outcome in run]
            gate.opens.set()
        assert states_of(made) == [State.UNKNOWN]
        assert isinstance(made[0].error, OutcomeUnknownError)
        assert (await client.resolve(made[0].error.pending)).verdict is Verdict.APPLIED
    assert gate.posts == sandbox.ledger.count("link_created") == 1


async def test_an_item_that_is_stopped_before_it_settles_anothers_call_is_unknown(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    sandbox.next_faults("get_transaction", ["garbage"] * 50)
    async with (
        client_of(gate, timeout=Timeout(read=1.0, total=0.5)) as client,
        anyio.create_task_group() as tasks,
    ):

        async def single() -> None:
            with pytest.raises(OutcomeUnknownError):
                await client.create_payment_link(order())

        tasks.start_soon(single)
        await anyio.sleep(0.1)
        async with bulk.create_payment_links(client, [order()]) as run:
            with anyio.move_on_after(1.0):
                _ = [outcome async for outcome in run]
            run.stop()
            made = [outcome async for outcome in run]
    assert states_of(made) == [State.UNKNOWN]
    assert isinstance(made[0].error, OutcomeUnknownError)
    assert made[0].error.pending.request_id is not None
    assert gate.posts == 1


async def test_a_run_that_is_cancelled_lets_a_single_call_settle_its_item(
    gate: Gate, sandbox: Sandbox
) -> None:
    sandbox.next_faults("create_payment_link", ["drop_after"])
    sandbox.next_faults("get_transaction", ["garbage"] * 50)
    links: list[Any] = []
    async with client_of(gate) as client, anyio.create_task_group() as tasks:

        async def single() -> None:
            await anyio.sleep(0.1)
            links.append(await client.create_payment_link(order()))

        with anyio.move_on_after(0.3) as run:
            async with bulk.create_payment_links(client, [order()]) as made:
                tasks.start_soon(single)
                _ = [outcome async for outcome in made]
        sandbox.set_faults(None)
    assert run.cancelled_caught
    assert states_of(made.undelivered) == [State.UNKNOWN]
    (link,) = links
    assert link.recovered
    assert gate.posts == sandbox.ledger.count("link_created") == 1


async def test_a_receipt_of_a_run_whose_message_was_not_sent_is_made_once(
    gate: Gate, sandbox: Sandbox
) -> None:
    async with client_of(gate) as client:
        ref = (await client.create_payment_link(order())).payment_link_ref or ""
        sandbox.pay(ref)
        sandbox.fail_receipt(ref)
        gate.posts = 0

        async def run() -> list[Outcome[Any, Any]]:
            receipts = [ReceiptRequest(payment_link_ref=ref, receipt_link=RECEIPT)]
            async with bulk.create_receipts(client, receipts) as made:
                return [outcome async for outcome in made]

        first, single, last = await ends_of(
            gate, run, lambda: client.create_receipt(ref, RECEIPT), run
        )
    assert states_of(first) == [State.APPLIED]
    assert states_of(last) == [State.SKIPPED]
    assert isinstance(single, ReceiptNotSentError)
    assert (first[0].delivered, last[0].delivered) == (False, False)
    assert single.receipt.replayed
    assert last[0].error.receipt.replayed
    assert gate.posts == 1


async def test_an_order_that_is_found_to_exist_is_the_result_of_a_single_call(
    gate: Gate, sandbox: Sandbox
) -> None:
    async with client_of(gate) as client:
        await client.create_payment_link(order())
        sandbox.next_faults("get_transaction", ["garbage"] * 4)
        run, link = await ends_of(
            gate,
            run_of(client, order(), check_existing=True),
            lambda: client.create_payment_link(order()),
        )
    assert states_of(run) == [State.SKIPPED]
    assert link.recovered
    assert link.replayed
    assert gate.posts == sandbox.ledger.count("link_created") == 1


class Late(Gate):
    """A gate after which the first POST arrives seconds later, and its response never comes."""

    def __init__(self, sandbox: Sandbox, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__(sandbox)
        self._tasks = tasks
        self.requests: list[tuple[float, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((anyio.current_time(), request.method))
        if request.method == "POST" and len(self.requests) == 1:
            self._tasks.start_soon(self._deliver, request)
            raise httpx.ReadError("cut")
        return await super().handle_async_request(request)

    async def _deliver(self, request: httpx.Request) -> None:
        await anyio.sleep(3.2)
        await super().handle_async_request(request)


@pytest.mark.usefixtures("full_back_off")
@pytest.mark.parametrize("first_is_run", [False, True], ids=["call first", "run first"])
@pytest.mark.parametrize("second_is_run", [False, True], ids=["then a call", "then a run"])
async def test_what_was_absent_once_is_looked_up_before_a_waiter_sends_it(
    sandbox: Sandbox, *, first_is_run: bool, second_is_run: bool
) -> None:
    patient = {
        "timeout": Timeout(read=1.0, total=None),
        "retry": RetryPolicy(settle=1.0, initial=30.0, maximum=30.0),
    }
    async with anyio.create_task_group() as tasks:
        gate = Late(sandbox, tasks)
        async with client_of(gate, **patient) as client:

            async def make(scope: anyio.CancelScope, *, is_run: bool) -> None:
                with scope:
                    if is_run:
                        assert states_of(await run_of(client, order())()) == [State.APPLIED]
                    else:
                        await client.create_payment_link(order())

            async with anyio.create_task_group() as calls:
                first = anyio.CancelScope()
                calls.start_soon(lambda: make(first, is_run=first_is_run))
                await anyio.sleep(0.1)
                calls.start_soon(lambda: make(anyio.CancelScope(), is_run=second_is_run))
                await anyio.sleep(4.0)
                assert gate.requests[-1][0] < anyio.current_time() - 1, "it is in its back-off"
                first.cancel()
    assert sandbox.ledger.count("link_created") == 1
    assert [method for _, method in gate.requests].count("POST") == 1


async def test_a_capture_that_is_undecided_is_unknown_to_whoever_waited() -> None:
    opens = anyio.Event()
    pending = b'{"transactionType": "CAPTURE", "paymentGatewayDecision": "PENDING"}'

    async def undecided(_: httpx.Request) -> httpx.Response:
        await opens.wait()
        return httpx.Response(200, content=pending, headers={"content-type": "application/json"})

    async def run() -> None:
        async with bulk.capture_payments(client, [bulk.Capture("ref-1")]) as made:
            outcomes.extend([outcome async for outcome in made])

    outcomes: list[Outcome[Any, Any]] = []
    transport: Any = httpx.MockTransport(undecided)
    async with client_of(transport) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        tasks.start_soon(run)
        await anyio.sleep(0.1)
        opens.set()
    assert states_of(outcomes) == [State.UNKNOWN] * 2


# What is said of an item that is under way --------------------------------------------------------


async def test_what_a_waiter_is_told_of_an_item_settles_it_later(
    gate: Gate, sandbox: Sandbox
) -> None:
    found: list[Any] = []
    async with client_of(gate) as client:
        hasty = client.with_options(timeout=Timeout(read=1.0, total=0.3))
        gate.fails = [httpx.ConnectError("refused")]

        async def resolve() -> None:
            with pytest.raises(OutcomeUnknownError) as told:
                await hasty.create_payment_link(order())
            assert gate.opens is not None
            found.append(await hasty.resolve(told.value.pending))
            gate.opens.set()
            found.append(await client.resolve(told.value.pending))

        (run, _) = await ends_of_slow(gate, run_of(client, order()), resolve)
    assert states_of(run) == [State.APPLIED]
    assert [one.verdict for one in found] == [Verdict.UNDETERMINED, Verdict.APPLIED]
    assert found[1].result.payment_link_ref == run[0].result.payment_link_ref
    assert sandbox.ledger.count("link_created") == 1


async def ends_of_slow(gate: Gate, *calls: Callable[[], Any]) -> list[Any]:
    """Make calls in this order, and let the last one open the gate; return how they end."""
    gate.opens = anyio.Event()
    ends: list[Any] = [None] * len(calls)

    async def make(place: int, call: Callable[[], Any]) -> None:
        ends[place] = await call()

    async with anyio.create_task_group() as tasks:
        for place, call in enumerate(calls):
            tasks.start_soon(make, place, call)
            await anyio.sleep(0.1)
    return ends


async def test_what_a_waiter_is_told_during_an_outage_settles_what_is_sent_after_it(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.fails = [httpx.ConnectError("refused")]
    ends: list[Any] = []
    async with client_of(gate, retry=RetryPolicy(settle=1.0, max_attempts=1)) as client:
        hasty = client.with_options(timeout=Timeout(read=1.0, total=0.3))
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                ends.extend(await run_of(client, order())())

            tasks.start_soon(run)
            await anyio.sleep(0.1)
            with pytest.raises(OutcomeUnknownError) as told:
                await hasty.create_payment_link(order())
            assert (gate.posts, ends) == (1, []), "the run waits for the outage to end"
        found = await client.resolve(told.value.pending)
    assert states_of(ends) == [State.APPLIED]
    assert told.value.pending.request.body == gate.bodies[-1]
    assert found.verdict is Verdict.APPLIED
    assert found.result.payment_link_ref == ends[0].result.payment_link_ref
    assert sandbox.ledger.count("link_created") == 1
