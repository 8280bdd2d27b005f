"""Calls of one process that are under way with the same key: they are one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from gate import KEY, Gate, client_of, ends_of, order
from virtual_time import VirtualLoop

from chat2pay_async import (
    AsyncChat2Pay,
    ConfigurationError,
    IdempotencyConflictError,
    LineItem,
    ReceiptNotSentError,
    Timeout,
    Verdict,
    bulk,
)
from chat2pay_async._send import flights
from chat2pay_async._send.flights import Flight, Flights
from chat2pay_async._send.sender import Sender
from chat2pay_async.events import OutcomeUnknown
from chat2pay_async.sandbox import Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

RECEIPT = "https://shop.example/r/1"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(api_key=KEY, seed=1)


@pytest.fixture
def gate(sandbox: Sandbox) -> Gate:
    return Gate(sandbox)


# Equal, or not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        ({"additional_data": {"a": True}}, {"additional_data": {"a": 1}}, "additional_data"),
        (
            {"additional_data": {"a": [1, {"b": "1"}]}},
            {"additional_data": {"a": [1, {"b": 1}]}},
            "additional_data",
        ),
        (
            {"order_line_items": (LineItem(name="x", unit_price="199.90", quantity=1),)},
            {"order_line_items": (LineItem(name="x", unit_price="199.90"),)},
            "order_line_items",
        ),
    ],
)
async def test_values_that_are_sent_in_another_form_are_a_conflict(
    gate: Gate, first: dict[str, Any], second: dict[str, Any], field: str
) -> None:
    async with client_of(gate) as client:
        ends = await ends_of(
            gate,
            lambda: client.create_payment_link(order(**first)),
            lambda: client.create_payment_link(order(**second)),
        )
    assert isinstance(ends[1], IdempotencyConflictError)
    assert ends[1].differences == (field,)
    assert gate.posts == 1


async def test_what_is_not_sent_is_no_difference(gate: Gate) -> None:
    def items(**extra: Any) -> tuple[LineItem, ...]:
        return (LineItem(name="x", unit_price="199.90", extra=extra),)

    async with client_of(gate) as client:
        ends = await ends_of(
            gate,
            lambda: client.create_payment_link(order(order_line_items=items(seen=1))),
            lambda: client.create_payment_link(order(order_line_items=items())),
        )
    assert [end.replayed for end in ends] == [False, True]


async def test_a_view_and_the_default_key_in_words_name_the_same_call(gate: Gate) -> None:
    async with client_of(gate) as client:
        view = client.with_options(timeout=Timeout(read=1.0, total=30.0))
        ends = await ends_of(
            gate,
            lambda: client.create_payment_link(order()),
            lambda: view.create_payment_link(order(), idempotency_key="A-1"),
            lambda: view.create_payment_link(order(), idempotency_key="another"),
        )
    assert [end.replayed for end in ends] == [False, True, False]
    assert gate.posts == 2


async def test_a_call_without_a_deadline_waits_for_as_long_as_the_other_takes(gate: Gate) -> None:
    async with client_of(gate, timeout=Timeout(read=500.0, total=None)) as client:
        ends = await ends_of(gate, *[lambda: client.create_payment_link(order())] * 2)
    assert [end.replayed for end in ends] == [False, True]


# Ends of the first --------------------------------------------------------------------------------


async def test_a_receipt_whose_message_was_not_sent_is_made_once(
    gate: Gate, sandbox: Sandbox
) -> None:
    async with client_of(gate) as client:
        ref = (await client.create_payment_link(order())).payment_link_ref or ""
        sandbox.pay(ref)
        sandbox.fail_receipt(ref)
        gate.posts = 0
        one, two = await ends_of(gate, *[lambda: client.create_receipt(ref, RECEIPT)] * 2)
    assert isinstance(one, ReceiptNotSentError)
    assert isinstance(two, ReceiptNotSentError)
    assert one is not two
    assert one.receipt.receipt_link_ref == two.receipt.receipt_link_ref
    assert (one.receipt.replayed, two.receipt.replayed) == (False, True)
    assert gate.posts == 1


async def test_a_hook_that_breaks_a_call_off_lets_the_next_one_settle_it(
    gate: Gate, sandbox: Sandbox
) -> None:
    def stop(event: object) -> None:
        if isinstance(event, OutcomeUnknown):
            raise KeyboardInterrupt

    sandbox.next_faults("create_payment_link", ["drop_after"])
    sandbox.next_faults("get_transaction", ["garbage"] * 50)
    links: list[Any] = []
    async with client_of(gate) as client, client_of(gate, hooks=[stop], timeout=1.0) as broken:

        async def first() -> None:
            with pytest.raises(KeyboardInterrupt):
                await broken.create_payment_link(order())
            sandbox.set_faults(None)

        async def second() -> None:
            links.append(await client.create_payment_link(order()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await anyio.sleep(0.1)
            tasks.start_soon(second)
    assert [link.recovered for link in links] == [True]
    assert gate.posts == sandbox.ledger.count("link_created") == 1


async def test_a_waiter_that_is_cancelled_as_it_wakes_leaves_the_others_their_result(
    gate: Gate,
) -> None:
    gate.opens, links = anyio.Event(), list[Any]()
    async with client_of(gate) as client, anyio.create_task_group() as tasks:

        async def make() -> None:
            links.append(await client.create_payment_link(order()))

        cancelled = anyio.CancelScope()

        async def stopped() -> None:
            with cancelled:
                await make()

        tasks.start_soon(make)
        await anyio.sleep(0.1)
        tasks.start_soon(stopped)
        tasks.start_soon(make)
        await anyio.sleep(0.1)
        gate.opens.set()
        while not links:
            await anyio.lowlevel.checkpoint()
        cancelled.cancel()
    assert 2 <= len(links) <= 3
    assert gate.posts == 1


async def test_a_waiter_that_can_send_nothing_passes_on_what_may_be_applied(
    gate: Gate, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a call of another thread, which has joined it by then."""
    sandbox.next_faults("create_payment_link", ["drop_after"])
    sandbox.next_faults("get_transaction", ["garbage"] * 3)
    check, joined = Sender.check_open, list[Flight]()

    def check_open(sender: Sender) -> None:
        joined.extend(flights._all.values())
        check(sender)

    monkeypatch.setattr(Sender, "check_open", check_open)
    async with client_of(gate) as client, client_of(gate) as closed:

        async def first() -> None:
            with anyio.move_on_after(0.5):
                await client.create_payment_link(order())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await anyio.sleep(0.1)
            tasks.start_soon(closed.aclose)
            with pytest.raises(ConfigurationError):
                await closed.create_payment_link(order())
    lost, passed_on = [flight.pending for flight in joined]
    assert lost is not None
    assert passed_on == lost
    assert gate.posts == sandbox.ledger.count("link_created") == 1


# Resolving what is under way ----------------------------------------------------------------------


async def test_resolve_says_no_absence_while_a_waiter_may_still_send(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    sandbox.next_faults("get_transaction", ["garbage"] * 2)
    resolved: list[Verdict] = []
    links: list[Any] = []

    async with client_of(gate) as client, anyio.create_task_group() as tasks:

        async def first() -> None:
            with anyio.move_on_after(0.5):
                await client.create_payment_link(order())

        async def second() -> None:
            links.append(await client.create_payment_link(order()))

        async def resolve() -> None:
            (pending,) = client.unsettled
            resolved.append((await client.resolve(pending)).verdict)

        tasks.start_soon(first)
        await anyio.sleep(0.1)
        tasks.start_soon(second)
        await anyio.sleep(0.5)
        tasks.start_soon(resolve)
    assert len(links) == sandbox.ledger.count("link_created") == 1
    assert resolved == [Verdict.APPLIED]


async def test_resolve_says_no_absence_where_a_call_began_meanwhile(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    verdicts: list[Verdict] = []
    async with client_of(gate) as client:
        with anyio.move_on_after(0.2):
            await client.create_payment_link(order())
        (pending,) = client.unsettled
        gate.opens = anyio.Event()
        slow = client.with_options(timeout=Timeout(read=60.0, total=None))
        async with anyio.create_task_group() as tasks:

            async def resolve() -> None:
                verdicts.append((await client.resolve(pending)).verdict)

            tasks.start_soon(resolve)
            await anyio.sleep(0.5)
            tasks.start_soon(slow.create_payment_link, order())
            await anyio.sleep(20.0)
            assert verdicts == [Verdict.UNDETERMINED]
            gate.opens.set()
    assert sandbox.ledger.count("link_created") == 1


async def test_resolve_says_no_absence_where_a_call_began_and_ended_meanwhile(
    gate: Gate, sandbox: Sandbox
) -> None:
    gate.fails = [httpx.ReadError("cut")]
    async with client_of(gate) as client:
        with anyio.move_on_after(0.05):
            await client.create_payment_link(order())
        (pending,) = client.unsettled
        await anyio.sleep(5.0)
        verdicts: list[Verdict] = []
        looks = SlowLooks(gate)
        async with client_of(looks) as other, anyio.create_task_group() as tasks:

            async def resolve() -> None:
                verdicts.append((await other.resolve(pending)).verdict)

            tasks.start_soon(resolve)
            await anyio.sleep(0.1)
            assert looks.held, "what the look-up has read is on its way"
            await client.create_payment_link(order())
            looks.opens.set()
    assert verdicts[0] is not Verdict.ABSENT
    assert sandbox.ledger.count("link_created") == 1


class SlowLooks(httpx.AsyncBaseTransport):
    """A way on which what a look-up has read takes its time."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.opens = anyio.Event()
        self.held = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._gate.handle_async_request(request)
        if not self.opens.is_set():
            await response.aread()
            self.held += 1
            await self.opens.wait()
        return response


async def test_clients_that_ask_one_callable_for_their_key_share_what_is_under_way(
    gate: Gate,
) -> None:
    def key() -> str:
        return KEY

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> str:
            return KEY

    for source in (key, Unhashable()):
        gate.posts = 0
        settings: Any = {"base_url": "http://localhost", "transport": gate}
        async with (
            AsyncChat2Pay(source, **settings) as one,
            AsyncChat2Pay(source, **settings) as two,
        ):
            ends = await ends_of(
                gate, *[lambda c=c: c.create_payment_link(order()) for c in (one, two)]
            )
        assert [end.replayed for end in ends] == [False, True]
        assert gate.posts == 1


# Threads, forks, what is left behind --------------------------------------------------------------


async def test_a_flight_that_ends_while_another_begins_in_the_same_thread_blocks_nobody() -> None:
    # Garbage is collected anywhere: a call whose loop is gone ends in the middle of another's join.
    class Ending(str):
        __slots__ = ()

        def __hash__(self) -> int:
            others.leave("create_payment_link", "old")
            return super().__hash__()

        __eq__ = str.__eq__

    others = Flights("place")
    call: Any = None
    old, _ = others.join("create_payment_link", "old", call)
    done: list[bool] = []

    def begin() -> None:
        done.append(others.join("create_payment_link", Ending("new"), call)[1])

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    thread.join(5.0)
    assert done == [True]
    await old.ended()
    others.leave("create_payment_link", "new")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_a_fork_has_no_flights() -> None:
    call: Any = None
    mine = Flights("fork")
    mine.join("create_payment_link", "A-1", call)
    child = os.fork()
    if not child:
        os._exit(0 if mine.join("create_payment_link", "A-1", call)[1] else 1)
    _, status = os.waitpid(child, 0)
    mine.leave("create_payment_link", "A-1")
    assert os.waitstatus_to_exitcode(status) == 0


class Slow(httpx.AsyncBaseTransport):
    """A service that takes a moment, for loops of any library."""

    def __init__(self, begun: threading.Event, goes: threading.Event) -> None:
        self.begun, self.goes = begun, goes
        self.posts = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.posts += 1
        self.begun.set()
        await anyio.to_thread.run_sync(self.goes.wait)
        return httpx.Response(201, json={"paymentLinkRef": "ref-1"}, request=request)


@pytest.mark.parametrize("backends", [("asyncio", "trio"), ("trio", "asyncio")])
def test_calls_of_two_loops_in_two_threads_are_one(backends: tuple[str, str]) -> None:
    begun, goes, waits = threading.Event(), threading.Event(), threading.Event()
    slow = Slow(begun, goes)
    links: dict[str, Any] = {}

    def run(backend: str, hook: Callable[[object], None]) -> None:
        async def make() -> None:
            async with (
                AsyncChat2Pay(
                    KEY, base_url="http://localhost", transport=slow, hooks=[hook]
                ) as client,
                anyio.create_task_group() as tasks,
            ):

                async def call() -> None:
                    links[backend] = await client.create_payment_link(order())

                tasks.start_soon(call)
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
                waits.set()

        anyio.run(make, backend=backend)

    first = threading.Thread(target=run, args=(backends[0], lambda _: None))
    first.start()
    assert begun.wait(20)
    waits.clear()
    second = threading.Thread(target=run, args=(backends[1], lambda _: None))
    second.start()
    assert waits.wait(20)
    goes.set()
    first.join(20)
    second.join(20)
    assert [links[backend].replayed for backend in backends] == [False, True]
    assert slow.posts == 1


class Unread(Gate):
    """The sandbox behind a gate that lets POSTs in, and no response to them out."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.method == "POST":
            await anyio.sleep_forever()
        return response


@pytest.mark.parametrize("has_arrived", [False, True])
@pytest.mark.parametrize("is_run", [False, True], ids=["call", "run"])
def test_a_call_of_a_loop_that_was_closed_is_settled_by_whoever_comes_next(
    sandbox: Sandbox, *, is_run: bool, has_arrived: bool
) -> None:
    begun: list[Gate] = []

    async def first() -> None:
        begun.append(Unread(sandbox) if has_arrived else Gate(sandbox))
        if not has_arrived:
            begun[0].opens = anyio.Event()
        settings: Any = {"base_url": "http://localhost", "transport": begun[0]}
        await AsyncChat2Pay(KEY, timeout=9.0, **settings).create_payment_link(order())

    async def second() -> None:
        begun.append(Gate(sandbox))
        async with client_of(begun[1]) as client:
            if is_run:
                async with bulk.create_payment_links(client, [order()]) as run:
                    assert [outcome.state async for outcome in run] == [bulk.State.APPLIED]
            else:
                assert (await client.create_payment_link(order())).payment_link_ref

    loop = asyncio.new_event_loop()
    task = loop.create_task(first())
    loop.call_later(0.1, loop.stop)
    loop.run_forever()
    loop.close()
    assert begun[0].posts == 1
    anyio.run(second, backend_options={"loop_factory": VirtualLoop})
    assert begun[1].posts == (0 if has_arrived else 1)
    assert sandbox.ledger.count("link_created") == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined]
