"""What a journal says: in numbers, and row by row. Plain values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from chat2pay_async._api import models
from chat2pay_async._api.operations import OPERATIONS, Operation
from chat2pay_async._api.rebuild import request_of
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.serialization import outcome_of
from chat2pay_async._bulk.summary import Tally, Totals
from chat2pay_async._journal.sqlite import Journal, Row
from chat2pay_async.errors import JournalError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["COLUMNS", "Line", "Report", "operation_of"]

COLUMNS: Final = (
    *("key", "state", "payment_link_ref", "payment_link", "status", "amount", "currency"),
    *("recovered", "delivered", "declined", "posts", "first_sent", "last_sent", "error"),
)
"""The columns of a report as CSV."""


def operation_of(journal: Journal) -> Operation[Any, Any]:
    """The operation that an open journal is about.

    Raises:
        JournalError: It is one that this version does not know.
    """
    name = journal.notes.get("operation")
    for operation in OPERATIONS:
        if operation.name == name:
            return operation
    raise JournalError(f"the journal {journal.path} is about {name}, which is not known here")


@attrs.frozen
class Line:
    """One item."""

    row: Row
    outcome: Outcome[Any, Any]

    @property
    def state(self) -> str:
        """The outcome's state; `unknown` too, if the run ended before it was known."""
        return self.outcome.state.value

    @property
    def amount(self) -> tuple[Decimal, str] | None:
        """What it is about, and in which currency; that stands in links only."""
        request = self.outcome.request
        if isinstance(request, models.PaymentLinkRequest):
            return request.total_amount, request.currency
        return None

    @property
    def cells(self) -> tuple[object, ...]:
        """The item as a row of `COLUMNS`."""
        outcome, row = self.outcome, self.row
        result = outcome.result
        reference = getattr(result, "payment_link_ref", None)
        if reference is None and hasattr(outcome.request, "payment_link_ref"):
            reference = row.key
        amount, currency = self.amount or (getattr(result, "total_amount", None), None)
        status = getattr(result, "transaction_status", None) or getattr(
            result, "payment_gateway_decision", None
        )
        return (
            *(row.key, self.state, reference, getattr(result, "payment_link", None), status),
            *(amount, currency, outcome.recovered, outcome.delivered, outcome.declined),
            *(row.posts, _time(row.first_at), _time(row.last_at)),
            None if outcome.error is None else str(outcome.error),
        )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class Report:
    """An open journal, to be read: a context manager."""

    def __init__(self, path: Path) -> None:
        """Name the journal.

        Args:
            path: Where it is.
        """
        self._journal = Journal(path)

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            JournalError: There is none, it is damaged, or a run uses it.
        """
        self._journal.open_to_read()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._journal.close()

    @property
    def notes(self) -> dict[str, str]:
        """What it belongs to."""
        return self._journal.notes

    @property
    def operation(self) -> Operation[Any, Any]:
        """What it is about."""
        return operation_of(self._journal)

    def lines(self) -> Iterator[Line]:
        """Its items, in the order in which they were first sent."""
        operation, after = self.operation, 0
        while page := self._journal.page(after, open_only=False):
            for number, row in page:
                after = number
                request = request_of(operation, row.sent, row.request_id)
                yield Line(row, outcome_of(operation, request, row))

    def totals(self) -> dict[str, Totals]:
        """Count its items by state."""
        tally = Tally()
        for line in self.lines():
            tally.add(line.outcome)
        skipped = State.SKIPPED  # by a run; a journal has no such item
        return {state.value: one for state, one in tally.totals.items() if state is not skipped}
