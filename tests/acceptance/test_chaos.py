"""Everything goes wrong, and the sandbox's ledger is the judge.

The faults are counted, so that a test whose faults never fired would fail.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Literal

import anyio
import attrs
import chaos
import pytest
from chaos_verdict import Report, table
from chaos_world import Access, VirtualClock, virtually

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    OutcomeUnknownError,
    PaymentLink,
    PaymentLinkRequest,
    RetryPolicy,
    Timeout,
    TransportError,
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

LOOPS = ["asyncio", "trio"]
WAYS = [*(("httpx", loop) for loop in LOOPS), ("fast", "asyncio"), ("default", "asyncio")]
"""In process, and over sockets."""


@attrs.frozen
class Judge:
    """Runs plans at the size and with the seed that were asked for."""

    scale: int
    seed: int

    def report(self, plan: str, engine: str, loop: str, operations: int) -> Report:
        """Run a plan, print its figures, and see that the promise was kept and tried."""
        work = functools.partial(
            chaos.run, chaos.PLANS[plan], engine, loop, self.seed, operations * self.scale
        )
        report: Report = virtually(loop, work)
        print(table(report))
        assert report.too_calm == []
        assert report.astray == []
        broken = {what: report.total(what) for what in ("wrong", "lost", "twice", "unresolved")}
        assert not any(broken.values()), broken
        assert report.total("calls") == 8 * operations * self.scale
        return report


@pytest.fixture
def judge(scale: int, seed: int) -> Judge:
    return Judge(scale, seed)


@pytest.mark.parametrize(("engine", "loop"), WAYS)
def test_nothing_is_twice_lost_or_wrong_within_the_assumption(
    judge: Judge, engine: str, loop: str
) -> None:
    report = judge.report("A", engine, loop, 240)
    assert report.total("recovered") >= 120 * judge.scale
    assert report.total("undetermined") <= 0.005 * report.total("calls")
    # The rarest kinds have 20 on average: fewer than 3 are not to be expected in 100 000 runs.
    assert [kind for kind in FAULT_KINDS if report.faults[kind] < 3 * judge.scale] == []


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_twice_beyond_the_assumption_if_nothing_is_sent_again(
    judge: Judge, loop: str
) -> None:
    assert judge.report("B", "httpx", loop, 50).total("undetermined") > 0


@pytest.mark.parametrize("form", ["empty", "null", "bad_request", "foreign_404", "html"])
def test_an_unknown_form_of_absence_lets_nothing_be_sent_again(judge: Judge, form: str) -> None:
    report = judge.report(f"D {form}", "httpx", "asyncio", 80)
    assert report.tallies["create_payment_link"].undetermined > 0


@pytest.mark.parametrize(("engine", "loop"), WAYS)
def test_deadlines_and_cancellations_leave_no_effect_unreported(
    judge: Judge, engine: str, loop: str
) -> None:
    # Over sockets the order of requests is no seed's, and chance needs more room.
    operations, hurried = (120, 40) if engine == "httpx" else (180, 60)
    report = judge.report("E", engine, loop, operations)
    assert report.hurried >= hurried * judge.scale


def request_for(order: str) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms", to="27000000001", order_number=order, currency="ZAR", total_amount="10.00"
    )


@pytest.mark.parametrize("loop", LOOPS)
def test_two_clients_racing_on_one_order_number_never_get_each_others_link(loop: str) -> None:
    async def race() -> None:
        clock = VirtualClock()
        sandbox = Sandbox(clock=clock, seed=3)
        faults = (
            InjectedFault("drop_after", 0.3, operations=POSTS),
            InjectedFault("drop_before", 0.3, operations=POSTS),
        )
        sandbox.set_faults(FaultPlan(faults, seed=3))
        results: list[PaymentLink] = []
        made, unknown, failed = Counter[str](), Counter[str](), Counter[str]()

        async def create(client: AsyncChat2Pay, order: str, key: str) -> None:
            request = request_for(order)
            try:
                results.append(await client.create_payment_link(request, idempotency_key=key))
            except OutcomeUnknownError:
                unknown[order] += 1
            except TransportError:
                failed[order] += 1
            else:
                made[order] += 1

        with clock.for_clients():
            async with (
                chaos_client(sandbox) as one,
                chaos_client(sandbox) as two,
                anyio.create_task_group() as tasks,
            ):
                for number in range(100):
                    for client in (one, two):  # both are meant, so each has a key of its own
                        key = f"{number} of {id(client)}"
                        tasks.start_soon(create, client, f"A-{number}", key)
        references = [link.payment_link_ref for link in results]
        assert len(references) == len(set(references))
        assert len(references) + unknown.total() + failed.total() == 200
        assert sum(link.recovered for link in results) >= 20
        assert sandbox.ledger.faults["create_payment_link", "drop_after"] >= 40
        for number in range(100):
            order = f"A-{number}"
            links = sandbox.ledger.count("link_created", order_number=order)
            assert made[order] <= links <= made[order] + unknown[order]

    virtually(loop, race)


def chaos_client(sandbox: Sandbox) -> AsyncChat2Pay:
    return AsyncChat2Pay(
        sandbox.api_key,
        base_url="http://localhost",
        transport=Access("httpx", sandbox).transport,
        timeout=Timeout(read=3),
    )


async def break_connections(transport: Literal["fast"] | None) -> None:
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
        reported: dict[str, str] = {}

        async def create(order: str) -> None:
            try:
                link = await client.create_payment_link(request_for(order))
            except OutcomeUnknownError as error:
                verdict = (await client.resolve(error.pending)).verdict
                reported[order] = "made" if verdict is Verdict.APPLIED else "not made"
            except Chat2PayError:
                reported[order] = "not made"
            else:
                reported[order] = "made"
                assert link.payment_link_ref

        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(create, f"A-{number}")
        ledger = sandbox.ledger
    effects = {order: ledger.count("link_created", order_number=order) for order in reported}
    assert len(reported) == 60
    assert {order: "made" if count else "not made" for order, count in effects.items()} == reported
    assert max(effects.values()) == 1
    fired = {kind for (_operation, kind), count in ledger.faults.items() if count}
    assert fired == set(kinds)


@pytest.mark.anyio
@pytest.mark.parametrize("transport", [None, "fast"])
async def test_real_connections_that_break_lose_nothing_and_repeat_nothing(
    transport: Literal["fast"] | None,
) -> None:
    await break_connections(transport)
