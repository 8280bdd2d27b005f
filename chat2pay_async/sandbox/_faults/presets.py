"""Fault plans with a name."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from chat2pay_async.sandbox._faults.plan import FAULT_KINDS, FaultKind, FaultPlan, InjectedFault

# The others get no equal share: one storm is many faults, and one lag is a fault of a change.
_ALL_EVENLY: Final[tuple[FaultKind, ...]] = tuple(
    kind for kind in FAULT_KINDS if kind not in {"foreign", "lag", "storm"}
)


def _evenly(rate: float, *kinds: FaultKind) -> Iterator[InjectedFault]:
    return (InjectedFault(kind, rate / len(kinds)) for kind in kinds)


def _everything(rate: float) -> tuple[InjectedFault, ...]:
    return (
        *_evenly(rate, *_ALL_EVENLY),
        InjectedFault("storm", rate / 100),
        InjectedFault("foreign", rate / 100),
        InjectedFault("lag", rate),
    )


PRESETS: Final[Mapping[str, FaultPlan]] = MappingProxyType(
    {
        "mild": FaultPlan(_everything(0.03)),
        "harsh": FaultPlan(_everything(0.3)),
        "lossy": FaultPlan(
            tuple(_evenly(0.2, "drop_before", "drop_after", "reset_before", "reset_after"))
        ),
    }
)
"""A few faults of every kind, many of every kind, and many connections that break off.

In none of them it takes more than 6 seconds until a request is applied and shown.
"""
