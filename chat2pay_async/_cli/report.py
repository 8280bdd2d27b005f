"""The content of a journal, summed up and row by row, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from chat2pay_async._api import models
from chat2pay_async._api.operations import OPERATIONS, Operation, request_of
from chat2pay_async._bulk.outcomes import Outcome, State, outcome_of
from chat2pay_async._bulk.summary import Tally, Totals
from chat2pay_async._journal.base import Row
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async.errors import JournalError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["COLUMNS", "Line", "Report"]

COLUMNS: Final = (
    *("key", "state", "payment_link_ref", "payment_link", "status", "amount", "currency"),
    *("recovered", "delivered", "without_url", "declined"),
    *("posts", "first_sent", "last_sent", "error"),
)
"""The columns of a report as CSV."""


@attrs.frozen
class Line:
    """One item."""

    row: Row
    outcome: Outcome[Any, Any]

    @property
    def cells(self) -> tuple[object, ...]:
        """The item as a row of `COLUMNS`."""
        outcome, row = self.outcome, self.row
        request, result = outcome.request, outcome.result
        reference = getattr(result, "payment_link_ref", None)
        if reference is None and hasattr(request, "payment_link_ref"):
            reference = row.key
        amount, currency = getattr(result, "total_amount", None), None
        if isinstance(request, models.PaymentLinkRequest):
            amount, currency = request.total_amount, request.currency
        status = getattr(result, "transaction_status", None) or getattr(
            result, "payment_gateway_decision", None
        )
        return (
            *(row.key, outcome.state, reference, getattr(result, "payment_link", None), status),
            *(amount, currency, outcome.recovered, outcome.delivered, outcome.without_url),
            *(outcome.declined, row.posts, _time(row.first_at), _time(row.last_at)),
            None if outcome.error is None else str(outcome.error),
        )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@attrs.frozen
class Report:
    """A journal that is open to be read: a context manager. It is made from the journal's path."""

    _journal: Journal = attrs.field(converter=Journal)

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            JournalError: It is missing, damaged, or in use by a run.
        """
        self._journal.open_to_read()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._journal.close()

    @property
    def notes(self) -> dict[str, str]:
        """The job that it belongs to."""
        return self._journal.notes

    @property
    def operation(self) -> Operation[Any, Any]:
        """The operation of its items.

        Raises:
            JournalError: This version does not know the operation.
        """
        name = self.notes.get("operation")
        for operation in OPERATIONS:
            if operation.name == name:
                return operation
        raise JournalError(
            f"the journal {self._journal.path} is of the operation {name}, "
            "which this version does not know: use the version that made it"
        )

    def lines(self) -> Iterator[Line]:
        """Read its items, in the order in which they were first sent."""
        operation, after = self.operation, 0
        while page := self._journal.page(after, unresolved_only=False):
            for number, row in page:
                after = number
                request = request_of(operation, row.sent, row.request_id)
                yield Line(row, outcome_of(cast("Any", row), request))

    def totals(self) -> dict[State, Totals]:
        """Count its items by state."""
        tally = Tally()
        for line in self.lines():
            tally.add(line.outcome)
        del tally.totals[State.SKIPPED]  # by a run; a journal has no such item
        return tally.totals
