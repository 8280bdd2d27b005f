"""Numbers of a run: its outcomes counted and summed, and the share of failures that stops it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

import attrs

from chat2pay_async import errors
from chat2pay_async._api.requests import Capture, PaymentLinkRequest
from chat2pay_async._api.validation import exact_sum, written
from chat2pay_async._bulk.outcomes import Outcome, State

__all__ = ["Forecast", "Guard", "Summary", "Tally", "Totals", "in_words"]


@attrs.frozen
class Summary:
    """Numbers of a run so far: `applied` to `skipped` are the outcomes of each `State`."""

    applied: int = 0
    rejected: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    recovered: int = 0
    """Of the applied: those whose result was read back after a response was lost."""
    not_delivered: int = 0
    """Of the applied: those whose message to the customer was not sent."""
    without_url: int = 0
    """Of the recovered: links whose payment URL was asked for, and went with a lost response."""
    declined: int = 0
    """Of the rejected: those that the gateway declined."""
    replayed: int = 0
    """Of the skipped: those that another run, or a single call, had finished."""
    gone: int = 0
    """Rows of the run that its source has no more; counted once the source was read to its end."""
    amounts: Mapping[str, Decimal] = attrs.field(factory=dict[str, Decimal], hash=False)
    """Sums of the applied links and captures by currency. It is empty for a capture whose request
    names none."""
    elapsed: float = 0.0
    """Seconds."""

    @property
    def counts(self) -> dict[State, int]:
        """The number of items in each state."""
        return {state: getattr(self, state.value) for state in State}

    @property
    def total(self) -> int:
        """The number of items that have an outcome."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        parts = {
            "applied": [
                (self.recovered, "recovered"),
                (self.not_delivered, "not delivered"),
                (self.without_url, "without URL"),
            ],
            "rejected": [(self.declined, "declined")],
        }
        shown: list[str] = []
        for state, count in self.counts.items():
            notes = ", ".join(f"{n} {what}" for n, what in parts.get(state.value, []) if n)
            if count:
                shown.append(f"{count} {state.value}" + (f" ({notes})" if notes else ""))
        if self.gone:
            shown.append(f"{self.gone} gone from the source")
        return _as_line(shown, self.amounts, f"{self.elapsed:.1f} s")


def _as_line(counts: list[str], amounts: Mapping[str, Decimal], time: str) -> str:
    money = ", ".join(in_words(amounts))
    return "; ".join([", ".join(counts) or "nothing", *filter(None, [money]), time])


def in_words(amounts: Mapping[str, Decimal]) -> list[str]:
    """Write sums by currency, such as `ZAR 1,199.90`."""
    return [
        f"{code} {written(total, code, ',')}" if code else f"{total:,f} without currency"
        for code, total in sorted(amounts.items())
    ]


@attrs.frozen
class Forecast:
    """Forecast of a run: `run.forecast`, while and after its dry run is read."""

    to_send: int = 0
    """Items that would be sent."""
    to_look_up: int = 0
    """Items whose request an earlier process left unresolved; they would be looked up first."""
    final: int = 0
    """Items that are done: their result is in the journal."""
    refused: int = 0
    """Items that would not be sent: they are repeated, changed or look like another one."""
    new: int = 0
    """Of those to send: the number that nobody has sent before."""
    changed: int = 0
    """Of the refused: those that differ from what was sent."""
    rejected: int = 0
    """Of the final: those that were rejected; `retry_rejected=True` sends them again."""
    repeated: int = 0
    """Of the refused: those whose key an earlier item has."""
    lookalikes: int = 0
    """New items that look like known ones, or like ones that are gone."""
    lookalike_keys: tuple[tuple[str, str], ...] = ()
    """The keys of the first of these, each with the one that it looks like."""
    gone: int = 0
    """Rows of the run that the source has no more."""
    moved: Mapping[str, str] = attrs.field(factory=dict[str, str], hash=False, repr=False)
    """Of the gone: those whose recipient and amount a new item has; for the run that sends."""
    recipients: int = 0
    """Of those to send: the number of different recipients."""
    same_recipient: int = 0
    """Of those to send: the number whose recipient an earlier item has."""
    same_recipient_keys: tuple[str, ...] = ()
    """The keys of the first of these."""
    countries: Mapping[str, int] = attrs.field(factory=dict[str, int], hash=False)
    """Those to send by the country code of their recipient, such as `27`."""
    channels: Mapping[str, int] = attrs.field(factory=dict[str, int], hash=False)
    """Those to send by channel."""
    amounts: Mapping[str, Decimal] = attrs.field(factory=dict[str, Decimal], hash=False)
    """Sums of those to send by currency: of links, and of captures that name their amount."""
    seconds: float = 0.0
    """Estimated seconds, from the client's `rate_limit` or `CALL_SECONDS` for each call."""

    CALL_SECONDS: ClassVar = 0.5
    """Assumed duration of a call."""
    SHOWN: ClassVar = 20
    """The most keys that are listed of a kind."""

    def __str__(self) -> str:
        note = f" ({self.same_recipient} same recipient)" if self.same_recipient else ""
        parts = {
            f"to send{note}": self.to_send,
            "to look up": self.to_look_up,
            "final": self.final,
            "refused": self.refused,
            "gone": self.gone,
        }
        shown = [f"{count} {what}" for what, count in parts.items() if count]
        return _as_line(shown, self.amounts, f"about {self.seconds:.1f} s")


def mark_of(request: object) -> str | None:
    """Return a digest of a link's recipient and amount; None where it is no link."""
    if not isinstance(request, PaymentLinkRequest):
        return None
    amount = format(request.total_amount.normalize(), "f")
    text = f"{request.to} {amount} {request.currency}"
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


_ZERO: Final = Decimal(0)


@attrs.define
class Totals:
    """A number of items, and the sums of their amounts."""

    items: int = 0
    recovered: int = 0
    not_delivered: int = 0
    without_url: int = 0
    declined: int = 0
    replayed: int = 0
    amounts: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    """By currency; of links and captures. Captures of everything count with what was captured."""

    def add(self, request: object, result: object = None, currency: str | None = None) -> None:
        """Count one more, and its amount.

        Args:
            request: The request.
            result: Its result, of which a capture of everything takes its amount.
            currency: The currency of a capture that names none.
        """
        self.items += 1
        amount: Decimal | None = None
        code = currency or ""
        if isinstance(request, PaymentLinkRequest):
            amount, code = request.total_amount, request.currency
        elif isinstance(request, Capture):
            amount, code = request.amount, request.currency or code
            amount = getattr(result, "total_amount", None) if amount is None else amount
        if amount is not None:
            self.amounts[code] = exact_sum(self.amounts.get(code, _ZERO), amount)


class Tally:
    """Counts outcomes as they come.

    Attributes:
        totals: The outcomes so far, by state.
        gone: Rows of the run that its source has no more.
    """

    def __init__(self) -> None:
        self.totals: Final = {state: Totals() for state in State}
        self.gone = 0

    def add(self, outcome: Outcome[Any, Any], currency: str | None = None) -> None:
        """Count one more.

        Args:
            outcome: The outcome.
            currency: The currency of a capture that names none.
        """
        totals = self.totals[outcome.state]
        totals.add(outcome.request, outcome.result, currency)
        totals.not_delivered += outcome.delivered is False
        totals.declined += outcome.declined
        totals.replayed += outcome.by is not None
        if outcome.recovered:
            totals.recovered += 1
            totals.without_url += outcome.without_url

    def summary(self, elapsed: float) -> Summary:
        """Sum them up."""
        applied = self.totals[State.APPLIED]
        return Summary(
            **{state.value: totals.items for state, totals in self.totals.items()},
            recovered=applied.recovered,
            not_delivered=applied.not_delivered,
            without_url=applied.without_url,
            declined=self.totals[State.REJECTED].declined,
            replayed=self.totals[State.SKIPPED].replayed,
            gone=self.gone,
            amounts=dict(applied.amounts),
            elapsed=elapsed,
        )


class Guard:
    """Stops a run when too many of its latest outcomes failed; skipped ones do not count.

    The first few count as if there were more, so that one failure among three stops nothing.
    """

    LATEST: Final = 500
    FEW: Final = 20

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._latest: deque[bool] = deque(maxlen=self.LATEST)

    def notice(self, state: State) -> errors.RunStoppedError | None:
        """Count a state; return the error that stops the run, if too many failed."""
        if self._rate is None or state is State.SKIPPED:
            return None
        self._latest.append(state is not State.APPLIED)
        failed, judged = sum(self._latest), len(self._latest)
        if failed <= self._rate * max(judged, self.FEW):
            return None
        return errors.RunStoppedError(
            f"{failed} of the latest {judged} items were rejected, failed or are unknown, and "
            f"stop_at_failure_rate={self._rate:g} allows fewer. Find out why before you go on"
        )
