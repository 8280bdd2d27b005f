"""What to look for when the answer to a call was lost: what its effect would look like."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from chat2pay_async._api import operations
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.requests import TransactionQuery
from chat2pay_async.errors import SentRequest

__all__ = ["Case", "case_of"]


@attrs.frozen
class Case:
    """A call that may have been applied, with what its effect would look like."""

    operation: str
    identity: str
    sent: dict[str, Any]
    """The body's fields, by their names on the wire."""
    amount: Decimal | None
    """What a capture asked for."""
    request_id: str | None
    first_at: datetime
    """When the first attempt left, on this machine's clock."""
    known: Container[str] = ()
    """References (of links, and of gateway answers) that other calls of this client returned."""

    @property
    def query(self) -> TransactionQuery:
        """What to look up."""
        if self.operation == operations.CREATE_PAYMENT_LINK.name:
            return TransactionQuery(order_number=self.identity)
        return TransactionQuery(payment_link_ref=self.identity)


def case_of(  # noqa: PLR0913, PLR0917 - a case has this many parts
    operation: str,
    identity: str,
    request: SentRequest,
    request_id: str | None,
    first_at: datetime,
    known: Container[str] = (),
) -> Case:
    """Read the case from the exact request, which is all that another process has of it."""
    amounts = parse_qs(urlsplit(request.target).query).get("amount")
    return Case(
        operation=operation,
        identity=identity,
        sent=decode_object(request.body or b"{}") or {},
        amount=Decimal(amounts[0]) if amounts else None,
        request_id=request_id,
        first_at=first_at,
        known=known,
    )
