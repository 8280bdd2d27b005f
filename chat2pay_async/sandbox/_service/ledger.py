"""The ledger of what really took place, and how often, for tests to read."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from types import MappingProxyType
from typing import Final, Literal, TypeVar, get_args

_K = TypeVar("_K", str, int)

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
"""The kinds of effects. `reversed` counts every void, so one payment may have two of them."""

EFFECT_KINDS: Final[tuple[EffectKind, ...]] = get_args(EffectKind)
"""All of them."""

# "Twice" means a second link for the same order; all later effects belong to one link.
_COUNTED_BY_ORDER: Final = frozenset({"link_created", "message_sent", "message_failed"})

_EXACT: Final = Context(prec=120)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that took place.

    Attributes:
        kind: The kind, one of `EFFECT_KINDS`.
        order_number: The link's order number; None for an integration.
        payment_link_ref: The link's reference; None for an integration.
        amount: The amount of a link, a payment, a capture or a reversal, declined ones included;
            None for all else.
        currency: The link's currency; None for an integration.
        at: The time, on the sandbox's clock.
    """

    kind: EffectKind
    order_number: str | None
    payment_link_ref: str | None
    amount: Decimal | None
    currency: str | None
    at: datetime


class Log:
    """The growing list of effects, and its indexes.

    Everything here is only ever appended to. So a snapshot is this object and a length: it costs
    nothing, however long the log, and stays true while the log grows.
    """

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.positions: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
        self.requests: Counter[tuple[str, int]] = Counter()
        self.faults: Counter[tuple[str, str]] = Counter()

    def append(self, effect: Effect) -> None:
        """Add an effect."""
        position = len(self.effects)
        for name in ("kind", "order_number", "payment_link_ref"):
            self.positions[name, getattr(effect, name)].append(position)
        # Last: a reader in another thread never finds a position without its effect.
        self.effects.append(effect)

    def snapshot(self) -> "Ledger":
        """Return the ledger as it is now."""
        requests, faults = dict(self.requests), dict(self.faults)
        return Ledger(self, len(self.effects), MappingProxyType(requests), MappingProxyType(faults))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Ledger:
    """The effects until the ledger was read; it does not change afterwards.

    Attributes:
        requests: The number of requests by `(operation, status)`; the status is the one that was
            sent, whatever the request did. A request that got no status is in `faults` alone.
        faults: The number of faults by `(operation, kind of fault)`.
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
        """The number of effects of each kind that occurs."""
        return {kind: count for kind in EFFECT_KINDS if (count := self.count(kind))}

    @property
    def totals(self) -> dict[EffectKind, dict[str, Decimal]]:
        """The exact sum of amounts of each kind, by currency."""
        totals: dict[EffectKind, dict[str, Decimal]] = {}
        for effect in self.effects:
            if effect.amount is not None and effect.currency is not None:
                sums = totals.setdefault(effect.kind, {})
                total = sums.get(effect.currency, Decimal(0))
                sums[effect.currency] = _EXACT.add(total, effect.amount)
        return totals

    def count(
        self,
        kind: EffectKind,
        *,
        order_number: str | None = None,
        payment_link_ref: str | None = None,
    ) -> int:
        """Return how many effects of a kind there are, of one order or link if one is named.

        Raises:
            ValueError: There is no such kind.
        """
        _check(kind)
        if payment_link_ref is not None:
            positions = self._log.positions.get(("payment_link_ref", payment_link_ref), [])
        elif order_number is not None:
            positions = self._log.positions.get(("order_number", order_number), [])
        else:
            return bisect_left(self._log.positions.get(("kind", kind), []), self._length)
        here = positions[: bisect_left(positions, self._length)]
        return sum(
            effect.kind == kind and order_number in {None, effect.order_number}
            for effect in map(self._log.effects.__getitem__, here)
        )

    def total(self, kind: EffectKind, currency: str) -> Decimal:
        """Return the exact sum of the amounts of a kind in a currency.

        Raises:
            ValueError: There is no such kind.
        """
        _check(kind)
        return self.totals.get(kind, {}).get(currency, Decimal(0))

    def twice(self, kind: EffectKind) -> tuple[str, ...]:
        """Return those with more than one effect of a kind, in the order of their first effect.

        They are order numbers for `link_created`, `message_sent` and `message_failed`, and payment
        link references otherwise.

        Raises:
            ValueError: There is no such kind.
        """
        positions = self._log.positions.get(("kind", kind), [])[: self.count(kind)]
        effects = map(self._log.effects.__getitem__, positions)
        by_order = kind in _COUNTED_BY_ORDER
        keys = Counter(e.order_number if by_order else e.payment_link_ref for e in effects)
        return tuple(key for key, count in keys.items() if key is not None and count > 1)

    def answered(self, operation: str | None = None, status: int | None = None) -> int:
        """Return how many requests were answered, of one operation or with one status if named."""
        return _sum(self.requests, operation, status)

    def faulted(self, operation: str | None = None, kind: str | None = None) -> int:
        """Return how many faults happened, to one operation or of one kind if named."""
        return _sum(self.faults, operation, kind)


def _sum(counts: Mapping[tuple[str, _K], int], operation: str | None, name: _K | None) -> int:
    return sum(
        count
        for (its_operation, its_name), count in counts.items()
        if operation in {None, its_operation} and name in {None, its_name}
    )


def _check(kind: str) -> None:
    # A misspelt kind would count nothing, and a test for "nothing" would pass.
    if kind not in EFFECT_KINDS:
        raise ValueError(f"{kind!r} is not a kind of effect; there are {', '.join(EFFECT_KINDS)}")
