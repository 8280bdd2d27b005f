"""Records of outcomes and of payments: the rows of a report, by which a shop reconciles its books.

A report is a valid file of `status`, `captures`, `reversals` and `receipts`. So an identity has the
name of the request's field, and an amount has not: `asked_amount` of an authorization must not
become the amount of a capture. The one exception is `amount`, which a report of captures has: what
each of them asked for, so that a partial capture stays one if its row is sent again.

Card data is part of no record. Phone numbers and payment URLs are part of a table only where they
are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import attrs

from chat2pay_async._api import models
from chat2pay_async._api.redaction import redact
from chat2pay_async._api.requests import Capture, TransactionQuery
from chat2pay_async._api.validation import exact_sum
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._files.tables import Cell, Table

__all__ = [
    "FILTERS",
    "Record",
    "StatusRecord",
    "Sums",
    "matches",
    "record_of",
    "record_table",
    "state_word",
    "status_record",
    "status_table",
]


@attrs.frozen(kw_only=True)
class Record:
    """One item, as a report shows it: its fields are the columns, in this order."""

    row: int | None = None
    """The row of the file that it came from."""
    operation: str | None = None
    state: str
    order_number: str | None = None
    payment_link_ref: str | None = None
    idempotency_key: str | None = None
    """The item's key, where that is neither of the two."""
    reconciliation_id: str | None = None
    channel: str | None = None
    transaction_type: str | None = None
    currency: str | None = None
    asked_amount: Decimal | None = None
    """The amount of the request; None for all of an authorization."""
    amount: Decimal | None = None
    """The same for captures, and None for all else."""
    answered_amount: Decimal | None = None
    """The amount of the response."""
    receipt_link_ref: str | None = None
    link_status: str | None = None
    decision: str | None = None
    """The gateway's."""
    gateway_code: int | None = None
    gateway_reference: str | None = None
    gateway_reconciliation_reference: str | None = None
    payment_status: str | None = None
    recovered: bool = False
    replayed: bool = False
    """True if the result is an earlier run's or call's."""
    delivered: bool | None = None
    attempts: int = 0
    by: str | None = None
    """The run or call that sent it."""
    at_utc: datetime | None = None
    problem: str | None = None
    """The reason for which it needs a look."""
    to: str | None = attrs.field(default=None, repr=False)
    payment_link: str | None = attrs.field(default=None, repr=False)


def record_of(  # noqa: PLR0913 - all but the outcome have names
    outcome: Outcome[Any, Any],
    *,
    row: int | None = None,
    operation: str | None = None,
    by: str | None = None,
    at: datetime | None = None,
    currency: str | None = None,
    attempts: int | None = None,
    replayed: bool | None = None,
) -> Record:
    """Make the record of an outcome, of whatever operation.

    Args:
        outcome: The outcome.
        row: The row of the file that it came from.
        operation: The operation's name.
        by: The run or call that sent it.
        at: The time of its end. Default: when its last attempt began.
        currency: The currency, where the request names none: a capture's, for example.
        attempts: The number of attempts. Default: those of the outcome.
        replayed: Whether the result is an earlier one. Default: whether the item was skipped.
    """
    request, result = outcome.request, outcome.result
    order_number = _first("order_number", request, result)
    reference = _first("payment_link_ref", request, result)
    last = outcome.attempts[-1].started_at if outcome.attempts else None
    asked = _first("total_amount", request) or _first("amount", request)
    return Record(
        row=row,
        operation=operation,
        state=outcome.state.value,
        order_number=order_number,
        payment_link_ref=reference,
        idempotency_key=None if outcome.key in {order_number, reference} else outcome.key,
        reconciliation_id=_first("reconciliation_id", request, result),
        channel=_text(_first("channel", request)),
        transaction_type=_text(_first("transaction_type", request, result)),
        currency=_first("currency", request, result) or currency,
        asked_amount=asked,
        amount=request.amount if isinstance(request, Capture) else None,
        answered_amount=_first("total_amount", result),
        receipt_link_ref=_first("receipt_link_ref", result),
        link_status=_text(_first("transaction_status", result)),
        decision=_first("payment_gateway_decision", result),
        gateway_code=_first("payment_gateway_response_code", result),
        gateway_reference=_first("payment_gateway_req_reference_number", result),
        gateway_reconciliation_reference=_first(
            "payment_gateway_auth_reconciliation_reference_number", result
        ),
        payment_status=_text(_first("payment_status", result)),
        recovered=outcome.recovered,
        replayed=outcome.state is State.SKIPPED if replayed is None else replayed,
        delivered=outcome.delivered,
        attempts=len(outcome.attempts) if attempts is None else attempts,
        by=by,
        at_utc=last if at is None else at,
        problem=_problem(outcome),
        to=_first("to", request),
        payment_link=_first("payment_link", result),
    )


def _first(name: str, *values: object) -> Any:
    """Return the first value that an attribute has."""
    found = (getattr(value, name, None) for value in values)
    return next((value for value in found if value is not None), None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _problem(outcome: Outcome[Any, Any]) -> str | None:
    """Say what needs a look: an error, or a success that is none."""
    result = outcome.result
    problems: list[str] = []
    if outcome.error is not None:
        problems.append(str(outcome.error))
    elif outcome.delivered is False:
        reason = _first("description", _first("error", result))
        problems.append(_because("its message was not sent", reason))
    elif isinstance(result, models.GatewayResult) and result.succeeded is not True:
        fact = "declined it" if outcome.declined else "has not decided"
        reason = result.payment_gateway_error_decision or result.payment_gateway_decision
        problems.append(_because(f"the gateway {fact}", reason))
    if outcome.without_url:
        problems.append("its payment URL went with a lost response")
    return " ".join("; ".join(problems).split()) or None


def _because(fact: str, reason: str | None) -> str:
    return f"{fact}: {redact(reason)}" if reason else fact


# Tables of records -------------------------------------------------------------------------------

_ON_DEMAND: Final = ("amount", "to", "payment_link")


def record_table(
    records: Iterable[Record],
    *,
    captures: bool = False,
    with_recipients: bool = False,
    with_urls: bool = False,
) -> Table:
    """Make a table of records.

    Args:
        records: Are read as the table is written.
        captures: Whether captures may be among them: adds `amount`.
        with_recipients: Whether to show phone numbers, in `to`.
        with_urls: Whether to show payment URLs, in `payment_link`.
    """
    wanted: dict[str, bool] = dict(
        zip(_ON_DEMAND, (captures, with_recipients, with_urls), strict=True)
    )
    columns = tuple(name for name in _names(Record) if wanted.get(name, True))
    return _table(columns, records)


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))


def _table(columns: tuple[str, ...], values: Iterable[object]) -> Table:
    rows: Iterator[tuple[Cell, ...]] = (
        tuple(getattr(value, name) for name in columns) for value in values
    )
    return Table(columns, rows)


@attrs.define
class _Sum:
    items: int = 0
    asked_items: int = 0
    asked_amount: Decimal = Decimal(0)
    answered_items: int = 0
    answered_amount: Decimal = Decimal(0)


@attrs.frozen
class Sums:
    """Sums of records by operation, state and currency.

    Not every item has both amounts: a capture of all of an authorization asks for none, and a link
    is answered with none. So each sum has the number of items that it is the sum of.
    """

    _sums: dict[tuple[str, str, str], _Sum] = attrs.field(factory=dict, init=False)

    def add(self, record: Record) -> None:
        """Add one more."""
        key = (record.operation or "", record.state, record.currency or "")
        so_far = self._sums.setdefault(key, _Sum())
        so_far.items += 1
        if record.asked_amount is not None:
            so_far.asked_items += 1
            so_far.asked_amount = exact_sum(so_far.asked_amount, record.asked_amount)
        if record.answered_amount is not None:
            so_far.answered_items += 1
            so_far.answered_amount = exact_sum(so_far.answered_amount, record.answered_amount)

    def adding(self, records: Iterable[Record]) -> Iterator[Record]:
        """Add records as they pass by."""
        for record in records:
            self.add(record)
            yield record

    def table(self) -> Table:
        """Make a table of the sums. It is read late, so that it has what was added by then."""
        return Table(("operation", "state", "currency", *_names(_Sum)), self._rows())

    def _rows(self) -> Iterator[tuple[Cell, ...]]:
        for key, sums in sorted(self._sums.items(), key=lambda pair: pair[0]):
            yield (*key, *(getattr(sums, name) for name in _names(_Sum)))


# Status reports ----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class StatusRecord:
    """One payment, as a status report shows it: its fields are the columns, in this order."""

    row: int | None = None
    operation: str | None = None
    """Of a row of the journal: what it did."""
    state: str
    """One word, by `state_word`."""
    order_number: str | None = None
    payment_link_ref: str | None = None
    reconciliation_id: str | None = None
    channel: str | None = None
    transaction_type: str | None = None
    currency: str | None = None
    order_amount: Decimal | None = None
    authorized_amount: Decimal | None = None
    captured_amount: Decimal | None = None
    paid_amount: Decimal | None = None
    is_authorized: bool | None = None
    is_captured: bool | None = None
    is_paid: bool | None = None
    is_reversed: bool | None = None
    is_declined: bool | None = None
    is_expired: bool | None = None
    is_cancelled: bool | None = None
    is_open: bool | None = None
    payment_status: str | None = None
    link_status: str | None = None
    receipt_link_ref: str | None = None
    created_at_utc: datetime | None = None
    at_utc: datetime | None = None
    """The time of the payment's last change, or else of the link's."""
    problem: str | None = None


_PROPERTIES: Final = tuple(
    name
    for name in _names(StatusRecord)
    if isinstance(getattr(models.Transaction, name, 0), property)
)
_SAME: Final = ("reconciliation_id", "currency", "receipt_link_ref")


def status_record(
    found: models.Transaction | None,
    *,
    query: TransactionQuery | None = None,
    row: int | None = None,
    problem: str | None = None,
) -> StatusRecord:
    """Make the record of a payment that was looked up.

    Args:
        found: What was found; None if that failed.
        query: What was looked up; its identities stand in for missing ones.
        row: The row of the file that it came from.
        problem: Why it was not found.
    """
    identities = {name: _first(name, found, query) for name in ("order_number", "payment_link_ref")}
    if found is None:
        receipt = _first("receipt_link_ref", query)
        return StatusRecord(
            row=row, state="unknown", problem=problem, receipt_link_ref=receipt, **identities
        )
    steps = found.transaction_statuses
    last = steps[-1] if steps else None
    taken: dict[str, Any] = {name: getattr(found, name) for name in (*_PROPERTIES, *_SAME)}
    return StatusRecord(
        row=row,
        state=state_word(found),
        channel=_text(found.channel_name),
        transaction_type=_text(found.transaction_type),
        order_amount=found.total_amount,
        payment_status=_text(found.payment_status),
        link_status=_text(_first("transaction_status_name", last)),
        created_at_utc=steps[0].created if steps else None,
        at_utc=found.payment_status_timestamp or _first("created", last),
        problem=problem,
        **identities,
        **taken,
    )


def status_table(records: Iterable[StatusRecord], *, operations: bool = False) -> Table:
    """Make a table of payments.

    Args:
        records: Are read as the table is written.
        operations: Whether they are of rows of a journal, of which a payment may have several.
    """
    names = _names(StatusRecord)
    return _table(tuple(one for one in names if operations or one != "operation"), records)


_WORDS: Final = ("captured", "paid", "authorized", "reversed", "declined", "expired", "cancelled")


def state_word(found: models.Transaction) -> str:
    """Describe a payment in one word.

    Where only a part of what happened is known, the word is `unknown`: a payment that was captured
    and reversed, for example, but whose record does not tell which of the two steps was undone.
    """
    if found.is_reversed and found.is_paid is None:
        return "unknown"
    true = (word for word in (*_WORDS, "open") if getattr(found, f"is_{word}") is True)
    in_review = found.payment_status == models.PaymentStatus.REVIEW and found.is_paid is False
    return next(true, "in review" if in_review else "unknown")


FILTERS: Final[Mapping[str, str]] = {
    "authorized": "held on the card, to be captured or reversed",
    "captured": "captured, and not undone",
    "paid": "taken by a sale or a capture, and not undone",
    "unpaid": "neither taken nor held nor reversed: open, in review, declined, expired, cancelled",
    "declined": "declined by the gateway",
    "expired": "expired before anybody paid",
    "cancelled": "cancelled before anybody paid",
    "reversed": "an authorization or a capture that was undone",
    "open": "may still be paid",
}
"""The kinds of payments that `matches` knows, and what they mean."""


def matches(found: models.Transaction, only: str) -> bool | None:
    """Tell whether a payment is of a kind in `FILTERS`; None where that can't be known."""
    if only != "unpaid":
        found_to_be: bool | None = getattr(found, f"is_{only}")
        return found_to_be
    facts = (found.is_paid, found.is_authorized, found.is_reversed)
    if True in facts:
        return False
    return None if None in facts else True
