"""Cancellation at every suspension of every operation, in virtual time and over real sockets."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path

import anyio
import pytest
from cancellation import STORIES, every_journalled_step, every_step
from moody_service import CALLS
from stepping import CancelledAt

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, RetryPolicy, Timeout, Verdict
from chat2pay_async.sandbox import Sandbox, serve_sandbox
from chat2pay_async.sandbox._service.ledger import EffectKind

LEAST = 1_700
"""Cases on one loop, and with one way to get a slot: in all more than 5 000."""
LEAST_WITH_JOURNAL = 100
"""Cases of one operation, on one loop, with one way to cancel."""
LEAST_OVER_SOCKETS = {"asyncio": 3, "trio": 5}
"""Cases of one operation in a lap: as many as a call suspends, and one that comes to its end."""
LAPS, HANG = 4, 60.0
EVENTS: dict[str, EffectKind] = {
    "create": "link_created",
    "cancel": "link_cancelled",
    "capture": "captured",
    "reverse": "reversed",
    "receipt": "receipt_created",
}


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.usefixtures("full_back_off")
@pytest.mark.parametrize("is_contended", [False, True], ids=["free", "contended"])
async def test_calls_cancelled_at_every_suspension_are_not_sent_or_kept(
    *, is_contended: bool
) -> None:
    cases = 0
    for kind in CALLS:
        for story in STORIES:
            cases += len(await every_step(kind, story, is_contended=is_contended))
    print(cases, "cases")
    assert cases >= LEAST


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.usefixtures("full_back_off")
@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("is_native", [False, True], ids=["scope", "task"])
async def test_the_journal_of_calls_cancelled_at_every_suspension_contradicts_nobody(
    kind: str, tmp_path: Path, anyio_backend_name: str, *, is_native: bool
) -> None:
    if is_native and anyio_backend_name != "asyncio":
        pytest.skip("trio has no such way to cancel")
    cases = [
        case
        for number, story in enumerate(STORIES)
        for case in await every_journalled_step(
            kind, story, tmp_path / f"{number}.db", is_native=is_native
        )
    ]
    unknown = sum(case.is_unknown for case in cases)
    print(kind, len(cases), "cases,", unknown, "stay unknown")
    assert len(cases) >= LEAST_WITH_JOURNAL
    assert unknown <= (0 if kind == "create" else len(cases) // 2)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", EVENTS)
async def test_no_connection_is_lost_over_real_sockets_and_everything_is_settled(
    kind: str, scale: int, anyio_backend_name: str
) -> None:
    laps = LAPS * scale
    with anyio.fail_after(HANG * scale):
        cases, kept = await cancel_at_every_step(kind, laps)
    print(kind, cases, "cases,", kept, "kept")
    assert cases >= LEAST_OVER_SOCKETS[anyio_backend_name] * laps
    assert kept >= laps


async def cancel_at_every_step(kind: str, laps: int) -> tuple[int, int]:
    """Cancel calls, and settle them; return the number of cases, and of calls that were kept."""
    async with (
        serve_sandbox(Sandbox(api_key="k")) as sandbox,
        AsyncChat2Pay(
            "k",
            base_url=sandbox.url,
            max_connections=2,
            timeout=Timeout(read=1.0, total=None),
            retry=RetryPolicy(settle=0.5),
        ) as client,
    ):
        cases, kept = 0, 0
        for lap in range(laps):
            step, was_cancelled = 0, True
            while was_cancelled:
                step += 1
                cases += 1
                order = f"A-{lap}-{step}"
                before = set(client.unsettled)
                was_cancelled = await cancel_one(client, sandbox, kind, order, step)
                new = [one for one in client.unsettled if one not in before]
                kept += len(new)
                if was_cancelled and not new:
                    assert sandbox.ledger.count(EVENTS[kind], order_number=order) == 0
        pending = client.unsettled
        resolutions = await client.resolve_all()
        assert client.unsettled == ()
        for one in pending:
            order = one.identity if kind == "create" else orders[one.identity]
            effects = sandbox.ledger.count(EVENTS[kind], order_number=order)
            is_applied = resolutions[one].verdict is Verdict.APPLIED
            assert effects == is_applied, (one, resolutions[one])
        # All connections serve again: two at a time, and no more.
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.get_configuration)
    return cases, kept


orders: dict[str, str] = {}
"""The order number of each link."""


async def cancel_one(
    client: AsyncChat2Pay, sandbox: Sandbox, kind: str, order: str, step: int
) -> bool:
    """Make one call, cancelled at a step; tell whether it was."""
    request = PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number=order,
        currency="ZAR",
        total_amount="199.90",
        transaction_type="authorization",
    )
    call: Awaitable[object]
    if kind == "create":
        call = client.create_payment_link(request)
    else:
        ref = (await client.create_payment_link(request)).payment_link_ref or ""
        orders[ref] = order
        if kind != "cancel":
            sandbox.pay(ref)
        match kind:
            case "cancel":
                call = client.cancel_payment_link(ref)
            case "capture":
                call = client.capture_payment(ref)
            case "reverse":
                call = client.reverse_payment(ref)
            case _:
                call = client.create_receipt(ref, "https://r.example")
    with anyio.CancelScope() as scope:
        await CancelledAt(call, scope, step)
    return scope.cancelled_caught
