"""What really took place, and how often: the sandbox's memory that tests read."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal
from types import MappingProxyType
from typing import Final, Literal, get_args

EffectKind = Literal[
    "link_created",
    "link_clicked",
    "link_cancelled",
    "message_sent",
    "message_failed",
    "paid",
    "payment_declined",
    "payment_in_review",
    "captured",
    "capture_declined",
    "reversed",
    "reverse_declined",
    "receipt_created",
    "receipt_sent",
    "receipt_failed",
    "integration_updated",
]
"""What can take place. `reversed` counts every void, so one payment may have two of them."""

EFFECT_KINDS: Final[tuple[EffectKind, ...]] = get_args(EffectKind)

# A payment link is its order's: a second one for the same order is what "twice" means. Whatever
# follows belongs to one link.
_COUNTED_BY_ORDER: Final = frozenset({"link_created", "message_sent", "message_failed"})

_EXACT: Final = Context(prec=120)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that took place."""

    kind: EffectKind
    order_number: str | None
    payment_link_ref: str | None
    amount: Decimal | None
    currency: str | None
    at: datetime


@dataclass(slots=True)
class _Sums:
    """Amounts of one kind in one currency, each with the sum up to it."""

    positions: list[int] = field(default_factory=list[int])
    sums: list[Decimal] = field(default_factory=list[Decimal])

    def add(self, position: int, amount: Decimal) -> None:
        self.positions.append(position)
        self.sums.append(_EXACT.add(self.sums[-1] if self.sums else Decimal(0), amount))

    def until(self, length: int) -> Decimal:
        index = bisect_left(self.positions, length)
        return self.sums[index - 1] if index else Decimal(0)


class Log:
    """The growing list of effects, and its indexes.

    Everything here is only ever appended to. So a snapshot is this object and a length: it costs
    nothing, however long the log, and stays true while the log grows.
    """

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.kinds: defaultdict[EffectKind, list[int]] = defaultdict(list)
        self.orders: defaultdict[str, list[int]] = defaultdict(list)
        self.links: defaultdict[str, list[int]] = defaultdict(list)
        self.sums: defaultdict[tuple[EffectKind, str], _Sums] = defaultdict(_Sums)
        self.requests: Counter[tuple[str, int]] = Counter()
        self.faults: Counter[tuple[str, str]] = Counter()

    def append(self, effect: Effect) -> None:
        """Note an effect."""
        position = len(self.effects)
        self.kinds[effect.kind].append(position)
        if effect.order_number is not None:
            self.orders[effect.order_number].append(position)
        if effect.payment_link_ref is not None:
            self.links[effect.payment_link_ref].append(position)
        if effect.amount is not None and effect.currency is not None:
            self.sums[effect.kind, effect.currency].add(position, effect.amount)
        # Last: whoever reads the log from another thread never finds a position without effect.
        self.effects.append(effect)

    def snapshot(self) -> "Ledger":
        """Return what has been noted until now."""
        requests, faults = dict(self.requests), dict(self.faults)
        return Ledger(self, len(self.effects), MappingProxyType(requests), MappingProxyType(faults))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Ledger:
    """What had taken place when it was read; it does not change afterwards.

    Attributes:
        requests: How many requests each `(operation, answered status)` had; the status is the one
            that was sent, whatever the request did. What got no status is in `faults` alone.
        faults: How often each `(operation, kind of fault)` happened.
    """

    _log: Log
    _length: int
    requests: Mapping[tuple[str, int], int]
    faults: Mapping[tuple[str, str], int]

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind}={count}" for kind, count in self.counts.items())
        return f"Ledger({counts})"

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Every effect, in the order in which they took place."""
        return tuple(self._log.effects[: self._length])

    @property
    def counts(self) -> dict[EffectKind, int]:
        """How many effects there are of each kind that occurs."""
        return {kind: count for kind in EFFECT_KINDS if (count := self.count(kind))}

    @property
    def totals(self) -> dict[EffectKind, dict[str, Decimal]]:
        """The sum of amounts of each kind, by currency."""
        totals: dict[EffectKind, dict[str, Decimal]] = {}
        for kind, currency in sorted(self._log.sums.copy()):
            if total := self.total(kind, currency):
                totals.setdefault(kind, {})[currency] = total
        return totals

    def count(
        self,
        kind: EffectKind,
        *,
        order_number: str | None = None,
        payment_link_ref: str | None = None,
    ) -> int:
        """Return how many effects of a kind there are, of one order or link if one is named."""
        _check(kind)
        if order_number is None and payment_link_ref is None:
            return bisect_left(self._log.kinds.get(kind, ()), self._length)
        return sum(
            effect.kind == kind and order_number in {None, effect.order_number}
            for effect in self._of(order_number, payment_link_ref)
        )

    def total(self, kind: EffectKind, currency: str) -> Decimal:
        """Return the exact sum of the amounts of a kind in a currency."""
        _check(kind)
        sums = self._log.sums.get((kind, currency))
        return sums.until(self._length) if sums else Decimal(0)

    def twice(self, kind: EffectKind) -> tuple[str, ...]:
        """Return what had more than one effect of a kind.

        That is order numbers for `link_created`, `message_sent` and `message_failed`, payment link
        references otherwise, in the order of their first effect.
        """
        _check(kind)
        positions = self._log.kinds.get(kind, [])[: self.count(kind)]
        effects = map(self._log.effects.__getitem__, positions)
        by_order = kind in _COUNTED_BY_ORDER
        keys = Counter(e.order_number if by_order else e.payment_link_ref for e in effects)
        return tuple(key for key, count in keys.items() if key is not None and count > 1)

    def answered(self, operation: str | None = None, status: int | None = None) -> int:
        """Return how many requests were answered, of one operation or with one status if named."""
        return sum(
            count
            for (its_operation, its_status), count in self.requests.items()
            if operation in {None, its_operation} and status in {None, its_status}
        )

    def faulted(self, operation: str | None = None, kind: str | None = None) -> int:
        """Return how many faults happened, to one operation or of one kind if named."""
        return sum(
            count
            for (its_operation, its_kind), count in self.faults.items()
            if operation in {None, its_operation} and kind in {None, its_kind}
        )

    def _of(self, order_number: str | None, payment_link_ref: str | None) -> Iterable[Effect]:
        if payment_link_ref is not None:
            positions = self._log.links.get(payment_link_ref, [])
        else:
            positions = self._log.orders.get(order_number or "", [])
        return map(self._log.effects.__getitem__, positions[: bisect_left(positions, self._length)])


def _check(kind: str) -> None:
    # A misspelt kind would count nothing, and a test for "nothing" would pass.
    if kind not in EFFECT_KINDS:
        raise ValueError(f"{kind!r} is no kind of effect; there are {', '.join(EFFECT_KINDS)}")
