"""Everything goes wrong, and the sandbox's ledger is the judge: a short version of `nox -s chaos`.

The faults are counted, so that a test whose faults never fired would fail.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    OutcomeUnknownError,
    PaymentLink,
    PaymentLinkRequest,
    RetryPolicy,
    Timeout,
    Verdict,
)
from chat2pay_async.sandbox import (
    FAULT_KINDS,
    POSTS,
    FaultKind,
    FaultPlan,
    InjectedFault,
    Sandbox,
    serve_sandbox,
)

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def load_chaos() -> Any:
    spec = importlib.util.spec_from_file_location("chaos", BENCHMARKS / "chaos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module  # attrs looks its classes' module up
    sys.path.append(str(BENCHMARKS))  # where its other rooms are
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


chaos = load_chaos()
LOOPS = ["asyncio", "trio"]
WAYS = [*(("httpx", loop) for loop in LOOPS), ("aiohttp", "asyncio"), ("default", "asyncio")]
"""In process, and over sockets."""


def report_of(plan: str, engine: str, loop: str, operations: int) -> Any:
    return chaos.virtually(loop, lambda: chaos.run(chaos.PLANS[plan], engine, loop, 7, operations))


def assert_promise_kept(report: Any) -> None:
    told = chaos.table(report)
    assert report.too_calm == [], told
    assert report.astray == [], told
    assert report.total("wrong") == 0, told
    assert report.total("lost") == 0, told
    assert report.total("twice") == 0, told
    assert report.total("unsettled") == 0, told


@pytest.mark.parametrize(("engine", "loop"), WAYS)
def test_within_the_assumption_nothing_is_twice_lost_or_wrong(engine: str, loop: str) -> None:
    report = report_of("A", engine, loop, 120)
    assert_promise_kept(report)
    told = chaos.table(report)
    assert report.total("calls") == 600
    assert report.total("recovered") >= 60, told
    assert report.total("undetermined") <= 9, told
    for kind in FAULT_KINDS:
        assert report.faults[kind] >= 3, (kind, told)


@pytest.mark.parametrize("loop", LOOPS)
def test_beyond_the_assumption_nothing_is_twice_if_nothing_is_sent_again(loop: str) -> None:
    report = report_of("B", "httpx", loop, 50)
    assert_promise_kept(report)
    assert report.total("undetermined") > 0


def test_unknown_forms_of_absence_let_nothing_be_sent_again() -> None:
    for form in ("empty", "null", "bad_request", "foreign_404", "html"):
        report = report_of(f"D {form}", "httpx", "asyncio", 80)
        assert_promise_kept(report)
        create = report.tallies["create_payment_link"]
        assert create.undetermined > 0, chaos.table(report)


@pytest.mark.parametrize(("engine", "loop"), WAYS)
def test_deadlines_and_cancellations_leave_no_effect_untold(engine: str, loop: str) -> None:
    # Over sockets the order of requests is no seed's, and chance needs more room.
    operations, hurried = (120, 40) if engine == "httpx" else (180, 60)
    report = report_of("E", engine, loop, operations)
    assert_promise_kept(report)
    told = chaos.table(report)
    assert report.total("calls") == 5 * operations
    assert report.hurried >= hurried, told


def request_for(order: str) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms", to="27000000001", order_number=order, currency="ZAR", total_amount="10.00"
    )


def test_two_clients_racing_on_one_order_number_never_get_each_others_link() -> None:
    async def race() -> None:
        clock = chaos.VirtualClock()
        sandbox = Sandbox(clock=clock, seed=3)
        faults = (
            InjectedFault("drop_after", 0.3, operations=POSTS),
            InjectedFault("drop_before", 0.3, operations=POSTS),
        )
        sandbox.set_faults(FaultPlan(faults, seed=3))
        results: list[PaymentLink] = []
        unknown = 0

        async def create(client: AsyncChat2Pay, order: str) -> None:
            nonlocal unknown
            try:
                results.append(await client.create_payment_link(request_for(order)))
            except OutcomeUnknownError:
                unknown += 1

        with clock.for_clients():
            async with (
                chaos_client(sandbox) as one,
                chaos_client(sandbox) as two,
                anyio.create_task_group() as tasks,
            ):
                for number in range(100):
                    for client in (one, two):
                        tasks.start_soon(create, client, f"A-{number}")
        references = [link.payment_link_ref for link in results]
        assert len(references) == len(set(references))
        assert len(references) + unknown == 200
        assert sum(link.recovered for link in results) >= 20
        assert sandbox.ledger.faults["create_payment_link", "drop_after"] >= 40
        assert sandbox.ledger.count("link_created") >= len(references)

    for loop in LOOPS:
        chaos.virtually(loop, race)


def chaos_client(sandbox: Sandbox) -> AsyncChat2Pay:
    return AsyncChat2Pay(
        sandbox.api_key,
        base_url="http://localhost",
        transport=chaos.Access("httpx", sandbox).transport,
        timeout=Timeout(read=3),
    )


async def break_connections(transport: Literal["aiohttp"] | None) -> None:
    kinds: tuple[FaultKind, ...] = (
        "reset_after",
        "reset_before",
        "drop_after",
        "drop_before",
        "truncated",
        "html",
    )
    plan = FaultPlan(tuple(InjectedFault(kind, 0.1, operations=POSTS) for kind in kinds), seed=5)
    settle = 1.0
    async with (
        serve_sandbox(Sandbox(faults=plan)) as sandbox,
        AsyncChat2Pay(
            sandbox.api_key,
            base_url=sandbox.url,
            transport=transport,
            retry=RetryPolicy(settle=settle, initial=0.01),
        ) as client,
    ):
        told: dict[str, str] = {}

        async def create(order: str) -> None:
            try:
                link = await client.create_payment_link(request_for(order))
            except OutcomeUnknownError as error:
                verdict = (await client.resolve(error.pending)).verdict
                told[order] = "made" if verdict is Verdict.APPLIED else "not made"
            except Chat2PayError:
                told[order] = "not made"
            else:
                told[order] = "made"
                assert link.payment_link_ref

        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(create, f"A-{number}")
        ledger = sandbox.ledger
    effects = {order: ledger.count("link_created", order_number=order) for order in told}
    assert len(told) == 60
    assert {order: "made" if count else "not made" for order, count in effects.items()} == told
    assert max(effects.values()) == 1
    fired = {kind for (_operation, kind), count in ledger.faults.items() if count}
    assert fired == set(kinds)


@pytest.mark.anyio
async def test_real_connections_that_break_lose_nothing_and_repeat_nothing() -> None:
    await break_connections(None)


def test_connections_of_aiohttp_that_break_lose_nothing_and_repeat_nothing() -> None:
    anyio.run(break_connections, "aiohttp")
