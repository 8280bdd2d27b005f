"""Compares what callers were told with what took place, by the sandbox's ledger.

- wrong: a success without an effect, or with somebody else's; or a call of unknown outcome that a
  later `resolve()`, on a new client and after pickling, resolved wrongly;
- lost: an effect whose caller was told that it had failed;
- twice: an effect that took place more than once;
- unresolved: calls of unknown outcome that such a `resolve()` did not resolve.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from chaos_world import ENGINES, spread

from chat2pay_async import AsyncChat2Pay, Resolution, Verdict
from chat2pay_async.sandbox import FAULT_KINDS

EFFECTS = {
    "create_payment_link": "link_created",
    "cancel_payment_link": "link_cancelled",
    "capture_payment": "captured",
    "reverse_payment": "reversed",
    "create_receipt": "receipt_created",
}
READS = ("get_transaction", "get_configuration", "update_integration")
"""Operations that are checked when they return: their effects are none, or may be repeated."""
CUTS = ("reset_before", "reset_after", "drop_before", "drop_after", "truncated")
"""Faults that end the connection, where there is one."""
FAULTY, EACH, LONG = 0.3, 0.0025, 20_000
"""The least share of faults, that of each kind, and how many requests show the latter.

55 kinds share a third of the requests: 0.6 % each. The rarest have 0.36 %, which is 72 of 20 000,
and 50 is less than that by 2.6 standard deviations.
"""
SHORT, UNSEEN = 1_500, 5
"""Requests in which so many kinds of faults may happen not to occur.

Of 700 requests a kind has 4, the rarest 2.5, and stays away with a chance of 2 %, or 8 %: one kind
does, on average. Of 1 500 the rarest has 5.4, and 0.5 %.
"""
HURRIED = 1 / 15
"""The least share of calls that haste must leave unknown, where there is haste."""


@attrs.define
class Tally:
    """Counts of one operation's calls."""

    calls: int = 0
    applied: int = 0
    recovered: int = 0
    failed: int = 0
    undetermined: int = 0
    cancelled: int = 0
    twice: int = 0
    lost: int = 0
    wrong: int = 0
    unresolved: int = 0


@attrs.frozen
class Reported:
    """A call's outcome, as its caller was told."""

    key: str
    outcome: str
    """`applied`, `declined`, `failed`, `unknown` or `cancelled`."""
    reference: str | None = None
    recovered: bool = False
    pending: bytes | None = None
    is_wrong: bool = False
    """A read or an update that returned what is not so."""
    told: str = ""
    """The result, or the error."""


@attrs.frozen
class Truth:
    """Everything in the ledger about one key that a verdict can be checked by."""

    effects: int
    declined: bool
    """A gateway refused a capture."""

    @classmethod
    def of(cls, ledger: Any, name: str, key: str) -> Truth:
        """Read the ledger."""
        return cls(
            effects_of(ledger, name, key),
            bool(ledger.count("capture_declined", payment_link_ref=key)),
        )

    def bears_out(self, resolution: Resolution) -> bool:
        """Check that a verdict is true; one that leaves it open always is."""
        if resolution.verdict is Verdict.APPLIED:
            refused = getattr(resolution.result, "succeeded", None) is False
            return self.declined if refused else self.effects > 0
        return resolution.verdict is Verdict.UNDETERMINED or not (self.effects or self.declined)


async def judge(
    ledger: Any,
    reports: Mapping[str, Sequence[Reported]],
    client: AsyncChat2Pay,
    report: Report,
) -> None:
    """Count every call, and resolve those of unknown outcome."""
    work = []
    for name, every in reports.items():
        tally = report.tallies[name]
        for reported in every:
            # What is checked when it returns has no effects to be counted.
            effects = None if name in READS else effects_of(ledger, name, reported.key)
            if note(tally, reported, effects):
                report.broken.append(f"{name} {reported}")
            if reported.pending is not None:
                truth = Truth.of(ledger, name, reported.key)
                work.append((check_resolution, (client, report, name, reported, truth)))
    await spread(work)
    known = references_of(ledger)
    for reported in reports["create_payment_link"]:
        if reported.outcome == "applied" and reported.reference not in known.get(reported.key, ()):
            report.broken.append(f"create_payment_link {reported}")
            report.tallies["create_payment_link"].wrong += 1


def references_of(ledger: Any) -> dict[str, set[str]]:
    """Every order's links."""
    known: dict[str, set[str]] = {}
    for effect in ledger.effects:
        if effect.kind == "link_created":
            known.setdefault(effect.order_number, set()).add(effect.payment_link_ref)
    return known


def effects_of(ledger: Any, name: str, key: str) -> int:
    """Count how often an effect took place."""
    by = "order_number" if name == "create_payment_link" else "payment_link_ref"
    return int(ledger.count(EFFECTS[name], **{by: key}))


def note(tally: Tally, report: Reported, effects: int | None) -> bool:
    """Count a call, and tell whether its report is false.

    Args:
        tally: Where it is counted.
        report: What its caller was told.
        effects: How often its effect took place; None for what has none to be counted.
    """
    tally.calls += 1
    tally.applied += report.outcome == "applied"
    tally.recovered += report.recovered
    tally.failed += report.outcome in {"failed", "declined"}
    tally.undetermined += report.outcome == "unknown"
    tally.cancelled += report.outcome == "cancelled"
    count = effects or 0
    is_wrong = report.is_wrong or (effects == 0 and report.outcome == "applied")
    is_lost = count > 0 and report.outcome in {"failed", "declined", "cancelled"}
    tally.twice += count > 1
    tally.wrong += is_wrong
    tally.lost += is_lost
    return is_wrong or is_lost or count > 1


async def check_resolution(
    client: AsyncChat2Pay, report: Report, name: str, reported: Reported, truth: Truth
) -> None:
    """Resolve a call of unknown outcome, as another process would."""
    pending = pickle.loads(reported.pending or b"")  # noqa: S301 - our own
    resolution = await client.resolve(pending)
    tally, is_true = report.tallies[name], truth.bears_out(resolution)
    is_open = resolution.verdict is Verdict.UNDETERMINED
    if not (pending.resend_when_absent or truth.effects or truth.declined):
        is_open = False  # who does not trust an absence is not told of one
    tally.unresolved += is_open
    tally.wrong += not is_true
    if is_open or not is_true:
        report.broken.append(f"{name} {resolution}, but {truth}: {pending}")


# The figures --------------------------------------------------------------------------------------


def _tallies() -> dict[str, Tally]:
    return {name: Tally() for name in (*EFFECTS, *READS)}


@attrs.define
class Report:
    """A run's figures."""

    plan: str
    engine: str
    loop: str
    seed: int
    tallies: dict[str, Tally] = attrs.field(factory=_tallies)
    faults: Counter[str] = attrs.field(factory=Counter)
    requests: int = 0
    connections: int = 0
    by_fast: int = 0
    """See `Access`."""
    seconds: float = 0.0
    steps: int = 0
    """Number of times that the clients' clock was set to another time."""
    broken: list[str] = attrs.field(factory=list[str])
    """The calls that were reported falsely, or took effect twice."""
    without_length: int = 0
    """Requests that a front end answers 411."""

    def total(self, what: str) -> int:
        """A figure summed up over the operations."""
        return sum(getattr(tally, what) for tally in self.tallies.values())

    @property
    def faulty(self) -> float:
        """The share of the requests that met a fault."""
        return (self.faults.total() - self.faults["lag"]) / self.requests

    @property
    def hurried(self) -> int:
        """Calls that were ended before they could be resolved."""
        return self.total("cancelled") + self.total("undetermined")

    @property
    def cuts(self) -> int:
        """Connections that a fault must have ended, each its own."""
        return sum(self.faults[kind] for kind in CUTS)

    @property
    def astray(self) -> list[str]:
        """Signs that the calls went another way than the engine's."""
        found = {
            f"{self.connections} connections for {self.cuts} cuts": self.engine != ENGINES[0]
            and self.connections < self.cuts,
            f"{self.without_length} requests without a length": self.without_length > 0,
            "the fast transport took no part": (self.engine == "fast") != (self.by_fast > 0),
        }
        return [what for what, true in found.items() if true]

    @property
    def too_calm(self) -> list[str]:
        """Faults that were too rare for the rest to mean much."""
        least = EACH * self.requests if self.requests >= LONG else 1
        calm: list[str] = [kind for kind in FAULT_KINDS if self.faults[kind] < least]
        if self.requests < SHORT and len(calm) <= UNSEEN:
            calm = []
        calm += ["clock steps"] * (not self.steps)
        calm += ["haste"] * (self.plan == "E" and self.hurried < HURRIED * self.total("calls"))
        return calm if self.faulty >= FAULTY else ["all of it", *calm]


COLUMNS = [field.name for field in attrs.fields(Tally)]


def table(report: Report) -> str:
    """A report as text."""
    lines = [
        (
            f"plan {report.plan}, seed {report.seed}, {report.engine}, {report.loop}: "
            f"{report.requests} requests, {report.connections} connections, "
            f"{report.faulty:.1%} faulty, {report.steps} clock steps, {report.seconds:.0f} s"
        ),
        f"{'':20}" + "".join(f"{column:>13}" for column in COLUMNS),
    ]
    lines += [
        f"{name:20}" + "".join(f"{getattr(tally, column):13}" for column in COLUMNS)
        for name, tally in report.tallies.items()
    ]
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(report.faults.items()))
    return "\n".join([*lines, f"faults: {faults}", *report.broken])
