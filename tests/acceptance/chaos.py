"""Thousands of calls against a sandbox in which everything goes wrong, judged by its own ledger.

Each plan runs in virtual time: over httpx in process, on asyncio and on trio; over each of the
client's own two transports on real sockets, on asyncio (`chaos_world.py`). More than 30 % of the
requests meet a fault, look-ups included; every kind of fault happens, counted by the sandbox; and
the clients' wall clock is set to another time again and again. What the client reported is then
held against what took place, after everything late has arrived (`chaos_verdict.py` says how).
"""

from __future__ import annotations

import functools
import pickle
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any

import anyio
import attrs
from chaos_verdict import EFFECTS, Report, Reported, judge
from chaos_world import CONCURRENCY, Access, VirtualClock, spread

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    IntegrationStatus,
    OutcomeUnknownError,
    PaymentLinkRequest,
    Pending,
    ReceiptNotSentError,
    RetryPolicy,
    Timeout,
)
from chat2pay_async.sandbox import FAULT_KINDS, POSTS, FaultPlan, InjectedFault, Sandbox
from chat2pay_async.sandbox._faults.plan import TRAITS

OPERATIONS = TRAITS["drop_before"].operations
UPDATE = "update_integration"
CHANNELS = (*["sms", "whatsapp"] * 10, "none")
SETTLE = 10.0
READ_TIMEOUT = 3.0
HASTE = 30.0
SHARE = 0.0065
"""Of the requests, for each kind of fault."""
RARE = 8 * SHARE
"""The same for what befalls only some POSTs, of their requests."""
RECEIPT = "https://r.example"
AMOUNTS = (None, "199.90", "100.00")


# Plans -------------------------------------------------------------------------------------------


def everything(longest: float, seed: int, **switches: Any) -> FaultPlan:
    """Every kind of fault; delays and lags up to `longest` seconds, half of it each."""
    times = {
        "apply_late": (0.1, longest / 2),
        "lag": (0.1, longest / 2),
        # After the window a decline counts, whoever asked for what was declined.
        "foreign_decline": (0.1, 0.45 * SETTLE),
    }
    shares = {"storm": SHARE / 2, "foreign": 10 * SHARE, "lag": 12 * SHARE, "denied": 1.5 * SHARE}
    shares |= {"cached": 3 * SHARE, "no_payments": 2 * SHARE}
    # Of one operation's POSTs, and often there is nothing to be wrong.
    seldom = [
        *("refused_link", "wrong_amount_before", "wrong_amount_after"),
        *("wrong_link_before", "wrong_link_after"),
    ]
    shares |= dict.fromkeys(seldom, 2 * RARE)
    # An update that arrives once more after a later one is beyond what is assumed.
    only = {"lag": POSTS, "apply_late": tuple(one for one in OPERATIONS if one != UPDATE)}
    faults = tuple(
        InjectedFault(
            kind,
            shares.get(kind, SHARE if TRAITS[kind].operations == OPERATIONS else RARE),
            seconds=times.get(kind),
            operations=only.get(kind, ()),
            requests=(2, 6),
        )
        for kind in FAULT_KINDS
    )
    return FaultPlan(faults, seed=seed, length_required=True, **switches)


@attrs.frozen
class Plan:
    """Plan of what goes wrong, and of what the client assumes."""

    name: str
    longest: float
    retry: RetryPolicy
    switches: dict[str, Any] = attrs.field(factory=dict)
    haste: float = 0.0
    """The share of calls that are cancelled, and the share that have a deadline, up to HASTE."""


_FORMS = ("empty", "null", "bad_request", "foreign_404", "html")
PLANS = {
    "A": Plan("A", 0.9 * SETTLE, RetryPolicy(settle=SETTLE)),
    "B": Plan("B", 5 * SETTLE, RetryPolicy(settle=SETTLE, resend_when_absent=False)),
    "E": Plan("E", 0.9 * SETTLE, RetryPolicy(settle=SETTLE), haste=0.5),
    **{
        f"D {form}": Plan(
            f"D {form}", 0.9 * SETTLE, RetryPolicy(settle=SETTLE), {"unknown_order": form}
        )
        for form in _FORMS
    },
}


# One run -----------------------------------------------------------------------------------------


@attrs.define
class Chaos:
    """A sandbox in which everything goes wrong, and a client that has to live with it."""

    plan: Plan
    seed: int
    access: Access
    random: random.Random
    reported: dict[str, list[Reported]] = attrs.field(
        factory=lambda: {name: [] for name in OPERATIONS}
    )
    unknown: dict[tuple[str, str], Pending] = attrs.field(factory=dict)
    """Pendings of the hook's events, by operation and identity."""

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox in which it all takes place."""
        return self.access.sandbox

    def client(self, retry: RetryPolicy, hooks: Iterable[Any] = ()) -> AsyncChat2Pay:
        """A new client."""
        return AsyncChat2Pay(
            self.sandbox.api_key,
            base_url=self.access.base_url,
            transport=self.access.transport,
            timeout=Timeout(read=READ_TIMEOUT),
            retry=retry,
            max_connections=CONCURRENCY,
            hooks=hooks,
        )

    def remember(self, event: Any) -> None:
        """Remember, as a hook, whose outcome is unknown."""
        if type(event).__name__ == "OutcomeUnknown":
            self.unknown[event.operation, event.pending.identity] = event.pending

    async def prepare(self, operations: int) -> dict[str, list[str]]:
        """Links that are paid, or not, for the operations that need one; nothing goes wrong yet."""
        refs: dict[str, list[str]] = {name: [] for name in EFFECTS}
        async with self.client(RetryPolicy()) as client:

            async def link(name: str, number: int) -> None:
                made = await client.create_payment_link(self.request(f"{name[:3]}-{number}"))
                ref = made.payment_link_ref or ""
                if name != "cancel_payment_link":
                    self.sandbox.pay(ref)
                if name == "capture_payment" and number % 50 == 0:
                    self.sandbox.decline_capture(ref)
                refs[name].append(ref)

            names = [name for name in EFFECTS if name != "create_payment_link"]
            await spread([(link, (name, n)) for name in names for n in range(operations)])
        return refs

    def request(self, order: str, channel: str = "sms") -> PaymentLinkRequest:
        """An order."""
        return PaymentLinkRequest(
            channel=channel,
            to="27000000001",
            order_number=order,
            currency="ZAR",
            total_amount="199.90",
            transaction_type="authorization",
            return_payment_link=True,
        )

    def haste(self) -> float | None:
        """Draw how long a call may take; None: as long as it needs."""
        hasty = self.random.random() < self.plan.haste
        return self.random.uniform(0, HASTE) if hasty else None

    def hurried(self, client: AsyncChat2Pay) -> AsyncChat2Pay:
        """A view with a deadline, perhaps."""
        total = self.haste()
        return client.with_options(timeout=Timeout(read=READ_TIMEOUT, total=total))

    async def call(self, name: str, key: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Make one call, and note what its caller is told."""
        reported = Reported(key, "cancelled")
        patience = self.haste()
        with anyio.move_on_after(patience):
            try:
                result = await work()
            except OutcomeUnknownError as error:
                reported = Reported(key, "unknown", pending=pickle.dumps(error.pending))
            except ReceiptNotSentError as error:
                reported = Reported(key, "applied", error.receipt.receipt_link_ref)
            except Chat2PayError as error:
                reported = Reported(key, "failed", told=f"{error!r}, after {error.attempts}")
            else:
                fine = getattr(result, "succeeded", True) is not False
                reference = getattr(result, "payment_link_ref", None)
                outcome = "applied" if fine else "declined"
                recovered = getattr(result, "recovered", False)
                is_wrong = not self.is_about(name, key, result)
                reported = Reported(
                    key, outcome, reference, recovered, is_wrong=is_wrong, told=repr(result)
                )
        if reported.outcome == "cancelled" and (name, key) in self.unknown:
            reported = Reported(key, "unknown", pending=pickle.dumps(self.unknown[name, key]))
        self.reported[name].append(reported)

    def is_about(self, name: str, key: str, result: Any) -> bool:
        """Check what a read or an update returned against the sandbox itself."""
        service = self.sandbox._service
        if name == "get_transaction":
            order = service.store.get(key).order.order_number
            return bool((result.payment_link_ref, result.order_number) == (key, order))
        known = {one.application_id: one.status for one in service.integrators.values()}
        if name == "get_configuration":
            return {one.application_id for one in result.integrators} == known.keys()
        if name == UPDATE:
            application, status = key.split()
            return known[application] == status
        return True

    async def updates(self, client: AsyncChat2Pay, application: str, number: int) -> None:
        """Switch an integration on and off: one at a time, or nobody could tell who was right."""
        for count in range(number):
            status = (IntegrationStatus.DEACTIVATED, IntegrationStatus.ACTIVATED)[count % 2]
            update = self.hurried(client).update_integration
            # Virtual time stands still meanwhile, and an update is known by its moment.
            await anyio.sleep(self.random.uniform(0.001, 1))
            work = functools.partial(update, application, status)
            await self.call(UPDATE, f"{application} {status}", work)

    async def calls(self, client: AsyncChat2Pay, operations: int) -> None:
        """All of them, in random order."""
        refs = await self.prepare(operations)
        # From here on the client knows the service's time: until then another process has nothing
        # but its wall clock to tell an older effect by.
        await client.get_configuration()
        self.sandbox.set_faults(everything(self.plan.longest, self.seed, **self.plan.switches))
        jobs: list[Any] = []
        for number in range(operations):
            order = self.request(f"new-{number}", CHANNELS[number % len(CHANNELS)])
            ref = {name: made[number] for name, made in refs.items() if made}
            read = self.random.choice([*ref.values()])
            amount = AMOUNTS[number % len(AMOUNTS)]
            todo: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = [
                ("create_payment_link", order.order_number, (order,), {}),
                ("capture_payment", ref["capture_payment"], (), {"amount": amount}),
                ("create_receipt", ref["create_receipt"], (RECEIPT,), {}),
                ("cancel_payment_link", ref["cancel_payment_link"], (), {}),
                ("reverse_payment", ref["reverse_payment"], (), {}),
                ("get_transaction", read, (), {"payment_link_ref": read}),
                ("get_configuration", "", (), {}),
            ]
            for name, key, args, options in todo:
                method = getattr(self.hurried(client), name)
                given = (key, *args) if name in ref else args
                work = functools.partial(method, *given, **options)
                jobs.append((self.call, (name, key, work)))
        self.random.shuffle(jobs)
        service = self.sandbox._service
        async with anyio.create_task_group() as tasks:
            every = tuple(service.integrators.values())
            for first, one in enumerate(every):
                number = len(range(first, operations, len(every)))
                tasks.start_soon(self.updates, client, one.application_id, number)
            await spread(jobs)


async def run(plan: Plan, engine: str, loop: str, seed: int, operations: int) -> Report:
    """Run a plan, and judge it by the ledger."""
    clock = VirtualClock()
    report = Report(plan.name, engine, loop, seed)
    day = timedelta(days=1)
    access = Access(engine, Sandbox(clock=clock, seed=seed, link_ttl=day, page_ttl=day))
    chance = random.Random(seed)  # noqa: S311 - faults that a seed can repeat
    chaos = Chaos(plan, seed, access, chance)
    with clock.for_clients(chance):
        async with access.open():
            async with chaos.client(plan.retry, [chaos.remember]) as client:
                started = time.perf_counter()
                await chaos.calls(client, operations)
                report.seconds = time.perf_counter() - started
            await end(chaos, report)
    report.steps = clock.steps
    return report


async def end(chaos: Chaos, report: Report) -> None:
    """Let everything late arrive, and judge."""
    sandbox = chaos.sandbox
    for (_operation, kind), count in sandbox.ledger.faults.items():
        report.faults[kind] += count
    report.without_length = sandbox.ledger.answered(status=411)
    report.requests = chaos.access.requests
    report.connections = chaos.access.connections
    report.by_fast = chaos.access.by_fast
    sandbox.set_faults(None)
    sandbox.apply_late()
    await anyio.sleep(chaos.plan.longest + 5 * SETTLE)
    async with chaos.client(chaos.plan.retry) as client:
        await judge(sandbox.ledger, chaos.reported, client, report)
