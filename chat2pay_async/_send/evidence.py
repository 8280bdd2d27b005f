"""The evidence in one status response about a call whose own response was lost. No I/O.

A response shows that the effect is there and is ours, that the gateway declined it, that there is
explicitly no such effect, something that may not be ours, or nothing that counts.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import attrs

from chat2pay_async._api import models, operations
from chat2pay_async._api.codec import STAMP, structure
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import is_reference
from chat2pay_async._api.requests import TransactionQuery
from chat2pay_async._api.responses import REFUSALS, date_of, is_cached, is_own_refusal
from chat2pay_async._api.validation import member
from chat2pay_async._send.payment_history import (
    accounts_for_itself,
    amount_of,
    entries_of,
    is_readable,
    is_same_amount,
    may_be_captured,
    undoes_the_capture,
)
from chat2pay_async._send.references import References, owner_in
from chat2pay_async._transport.base import WireResponse
from chat2pay_async._values import Value
from chat2pay_async.errors import Pending

__all__ = ["Evidence", "Shows", "Since", "query_for", "read_evidence"]

_NO_SUCH = r"(?:there is )?no such transaction with (?:order ?number|(?:transaction )?reference):?"
_CLOCK_ERROR: Final = timedelta(seconds=2)
_NO_DATE_ERROR: Final = timedelta(minutes=5)
_GATEWAY_ERROR: Final = timedelta(minutes=15)
_NOT_FOUND: Final = 404
_SUCCESS: Final = range(200, 300)

_Status = models.TransactionStatus
_Type = models.TransactionType


class Shows(enum.Enum):
    """The kinds of evidence."""

    OURS = "the effect, and it is ours"
    DECLINED = "the gateway declined it"
    ABSENT = "explicitly no such effect"
    OTHER = "something that may not be ours"
    NOTHING = "nothing that counts"
    FOREIGN = "a refusal that is not the service's own"


@attrs.frozen(eq=False, repr=False)
class Evidence(Value):
    """A response to a look-up, judged."""

    shows: Shows
    result: Any = None
    """The operation's result, where the effect is ours or was declined; the link, where there is
    one that may be another's."""


@attrs.frozen(eq=False, repr=False)
class Since(Value):
    """The time of a call's first attempt, as far as it is known: older effects are another's.

    Within one process, the look-up's own `Date` places it, less the time that has passed. Across
    processes the service's time counts, as it was known when the request was sent. This machine's
    wall clock is asked only where the service never said its time.
    """

    started_at: datetime
    """On the wall clock of the machine that sent it."""
    ago: float | None = None
    """Seconds from the first attempt to the start of the look-up; None: another process sent it."""
    service_time: datetime | None = None
    """On the service's clock, where that was known when it was sent."""

    def on_service_clock(self, response: WireResponse) -> datetime:
        """The earliest time, on the service's clock, that an effect of the call can have."""
        date = date_of(response.headers)
        if self.ago is not None and date is not None:
            return date - timedelta(seconds=self.ago) - _CLOCK_ERROR
        if self.service_time is not None:
            return self.service_time - _CLOCK_ERROR
        return self.started_at - _NO_DATE_ERROR


def query_for(operation: str, identity: str) -> TransactionQuery:
    """Return the query that looks a call up: by its order number, or by its link's reference."""
    if operation == operations.CREATE_PAYMENT_LINK.name:
        return TransactionQuery(order_number=identity)
    return TransactionQuery(payment_link_ref=identity)


def read_evidence(
    pending: Pending,
    response: WireResponse,
    since: Since,
    known: References,
) -> Evidence:
    """Judge the response to a look-up.

    Args:
        pending: The call that is looked for.
        response: The status endpoint's response.
        since: The time of the call's first attempt.
        known: The references that calls of this client received.
    """
    if is_cached(response.headers):
        return Evidence(Shows.NOTHING)
    data = decode_object(response.body)
    if response.status_code in REFUSALS and not is_own_refusal(response.status_code, data):
        return Evidence(Shows.FOREIGN)
    if response.status_code == _NOT_FOUND:
        return Evidence(Shows.ABSENT if _says_no_such_order(pending, data) else Shows.NOTHING)
    if response.status_code not in _SUCCESS or not data:
        return Evidence(Shows.NOTHING)
    found = structure(models.Transaction, data)
    if not _is_about(pending, found, data):
        return Evidence(Shows.NOTHING)
    search = _Search(pending, data, found, since.on_service_clock(response), known)
    return _READERS[pending.operation](search)


def _says_no_such_order(pending: Pending, data: dict[str, Any] | None) -> bool:
    """Recognise the one form of a 404 that is explicit; a gateway that lost its way has others.

    `{"status": "NOT_FOUND", …, "errors": ["There is no such transaction with … {order number}"]}`
    """
    if pending.operation != operations.CREATE_PAYMENT_LINK.name or data is None:
        return False  # for a link that exists, a 404 is never an absence
    if any(data.get(name) for name in _RECORD):
        return False  # whoever shows the link contradicts himself
    reasons = data.get("errors")
    order = re.escape(pending.identity)
    # The whole sentence: our order number may be a part of another's.
    form = rf"(?i:{_NO_SUCH}) (?:{order}|'{order}'\.?|\"{order}\"\.?)"
    return isinstance(reasons, list) and any(
        isinstance(text, str) and re.fullmatch(form, text.strip()) for text in reasons
    )


def _is_about(pending: Pending, found: models.Transaction, data: dict[str, Any]) -> bool:
    """Tell whether it is the transaction that was asked for, and of a link that exists."""
    query = query_for(pending.operation, pending.identity)
    is_found = operations.GET_TRANSACTION.is_proven_by(query, found, data)
    return is_found and is_reference(found.payment_link_ref)


@attrs.frozen(eq=False, repr=False)
class _Search(Value):
    """One readable status response, and the call that is looked for in it."""

    pending: Pending
    data: dict[str, Any]
    """The response as it came."""
    found: models.Transaction
    since: datetime
    known: References

    def is_of_another(self, reference: str | None) -> bool:
        """Tell whether another call received a reference."""
        owner = owner_in(self.pending)
        return self.known.is_of_another(reference, owner, is_read_back=True)

    @property
    def sent(self) -> dict[str, Any]:
        """The request's body, by the names on the wire."""
        return decode_object(self.pending.request.body or b"{}") or {}

    @property
    def amount(self) -> Decimal | None:
        """The amount that a capture asked for; None: the whole."""
        amounts = parse_qs(urlsplit(self.pending.request.target).query).get("amount")
        return Decimal(amounts[0]) if amounts else None

    def is_new(self, when: datetime | None, raw: Mapping[str, Any], field: str) -> bool:
        """Tell whether a time is certainly no older than our first attempt.

        Args:
            when: The time, as read.
            raw: The object that it came in: without its offset from UTC it is any zone's.
            field: Its name there.
        """
        return when is not None and when >= self.since and _has_offset(raw[field])


def _has_offset(time: Any) -> bool:
    return not isinstance(time, str) or _OFFSET.search(time.strip()) is not None


# Milliseconds since 1970, quoted or not, are in no zone.
_OFFSET: Final = re.compile(r"(?i)(?:z|[+-]\d\d:?\d\d)$|^-?\d+$")
_RECORD: Final = ("paymentLinkRef", "receiptLinkRef", "transactionStatuses", "paymentStatuses")
"""Fields that only an existing link has."""


# create ------------------------------------------------------------------------------------------


def _read_created(search: _Search) -> Evidence:
    found, sent = search.found, search.sent
    stamp = _stamp_of(found.parsed_additional_data)
    own = search.pending.request_id or _stamp_of(sent.get("additionalData"))
    is_ours = stamp is not None and stamp == search.pending.request_id
    is_anothers = stamp is not None and stamp != own
    if not is_ours and (is_anothers or not _agrees(search, sent)):
        return Evidence(Shows.OTHER, _link_shown(found))
    return Evidence(Shows.OURS, _link_shown(found))


def _link_shown(found: models.Transaction) -> models.PaymentLink:
    """Return the link that a status response shows; such responses never carry its URL."""
    last = found.transaction_statuses[-1] if found.transaction_statuses else None
    created = (one.created for one in found.transaction_statuses if one.created)
    return models.PaymentLink(
        payment_link_ref=cast("str", found.payment_link_ref),  # else it is no record of it
        transaction_status=None if last is None else last.transaction_status_name,
        transaction_status_id=None if last is None else last.transaction_status_id,
        timestamp=min(created, default=None),
        recovered=True,
    )


def _stamp_of(data: Any) -> Any:
    fields: dict[str, Any] = data if isinstance(data, dict) else {}
    return fields.get(STAMP)


def _agrees(search: _Search, sent: dict[str, Any]) -> bool:
    """Compare everything that was sent: all that is left where no stamp is echoed."""
    found = search.found
    wanted = sent.get("transactionType")
    return (
        not search.is_of_another(found.payment_link_ref)
        and (wanted is None or found.transaction_type == _Type(wanted))
        and sent.get("reconciliationId") in {None, found.reconciliation_id}
        and found.currency == sent.get("currency")
        and found.channel_name == sent.get("channel")
        and found.total_amount == Decimal(sent.get("totalAmount", 0))
        and _is_new(search)
    )


def _is_new(search: _Search) -> bool:
    """Tell whether no step of a link is older than our first attempt: each must say when."""
    steps = search.found.transaction_statuses
    return bool(steps) and all(
        search.is_new(step.created, raw, "created")
        for step, raw in zip(steps, search.data["transactionStatuses"], strict=True)
    )


# capture and reverse -----------------------------------------------------------------------------


def _gateway_result(entry: models.PaymentStatusEntry, found: models.Transaction) -> Any:
    fields = attrs.asdict(entry, recurse=False)
    status, status_id = found.payment_status, found.payment_status_id
    return models.GatewayResult(
        **fields, payment_status=status, payment_status_id=status_id, recovered=True
    )


def _recent(
    search: _Search, kind: models.TransactionType, *, accepted: bool
) -> Iterator[models.PaymentStatusEntry]:
    """Find the gateway's decisions on the operation that are no older than our first attempt.

    The gateway's clock is its own. An acceptance gets an allowance, and its time may lack the
    offset. A decline gets neither: an older one must not pass for ours.
    """
    earliest = search.since - _GATEWAY_ERROR
    for number, entry in enumerate(search.found.payment_statuses):
        when = entry.payment_gateway_response_timestamp
        if (
            entry.transaction_type == kind
            and entry.succeeded is accepted
            and when is not None
            and when >= earliest
            and not search.is_of_another(entry.payment_gateway_req_reference_number)
            and (
                accepted
                or search.is_new(when, search.data["paymentStatuses"][number], _GATEWAY_TIME)
            )
        ):
            yield entry


_GATEWAY_TIME: Final = "paymentGatewayResponseTimestamp"


def _declined(
    search: _Search,
    kind: models.TransactionType,
    fits: Callable[[models.PaymentStatusEntry], bool] = lambda _entry: True,
) -> Any:
    """The latest decline that may be ours, if no entry can be the acceptance; else None."""
    entries = entries_of(search.found, kind)
    if not is_readable(search.found) or any(one.succeeded is not False for one in entries):
        return None
    declines = [entry for entry in _recent(search, kind, accepted=False) if fits(entry)]
    return _gateway_result(declines[-1], search.found) if declines else None


def _has_captured_amount(search: _Search, entry: models.PaymentStatusEntry) -> bool:
    """Tell whether a capture is of the amount that was asked for: by default the authorization's.

    A decline need not repeat it.
    """
    wanted = search.amount
    if wanted is None:
        wanted = amount_of(search.found, _Type.AUTHORIZATION)
    if entry.total_amount is None or wanted is None:
        return entry.succeeded is False and "totalAmount" not in entry.extra
    return is_same_amount(search.found, entry.total_amount, wanted)


def _read_captured(search: _Search) -> Evidence:
    found = search.found
    fits = partial(_has_captured_amount, search)
    own = [entry for entry in _recent(search, _Type.CAPTURE, accepted=True) if fits(entry)]
    if len(own) == 1:
        return Evidence(Shows.OURS, _gateway_result(own[0], found))
    declined = _declined(search, _Type.CAPTURE, fits)
    if declined is not None:
        return Evidence(Shows.DECLINED, declined)
    untouched = entries_of(found, _Type.AUTHORIZATION) and not entries_of(found, _Type.CAPTURE)
    return Evidence(Shows.ABSENT if untouched and accounts_for_itself(found) else Shows.OTHER)


_UNDONE: Final = frozenset({models.PaymentStatus.REVERSED, models.PaymentStatus.VOIDED})


def _read_reversed(search: _Search) -> Evidence:
    found, captured = search.found, may_be_captured(search.found)
    voids = list(_recent(search, _Type.VOID, accepted=True))
    if len(voids) == 1 and (not captured or undoes_the_capture(found, voids[0])):
        return Evidence(Shows.OURS, _gateway_result(voids[0], found))
    status, when = found.payment_status, found.payment_status_timestamp
    undone = status in _UNDONE
    explained = any(
        entry.succeeded for entry in entries_of(found, _Type.VOID)
    )  # an older void, say
    is_new = search.is_new(when, search.data, "paymentStatusTimestamp")
    if undone and not explained and not captured and is_new:
        result = models.GatewayResult(
            transaction_type=_Type.VOID,
            payment_status=status,
            payment_status_id=found.payment_status_id,
            recovered=True,
        )
        return Evidence(Shows.OURS, result)
    unreadable = "paymentStatus" in found.extra or not isinstance(
        status, models.PaymentStatus | None
    )
    if voids or undone or unreadable:
        return Evidence(Shows.OTHER)
    declined = _declined(search, _Type.VOID)
    if declined is not None:
        return Evidence(Shows.DECLINED, declined)
    # A captured payment is never reversed again on a guess: voiding twice could void two things.
    kinds = {entry.transaction_type for entry in found.payment_statuses}
    untouched = kinds == {_Type.AUTHORIZATION} and accounts_for_itself(found)
    return Evidence(Shows.ABSENT if untouched else Shows.OTHER)


# cancel and receipt ------------------------------------------------------------------------------


def _absent_from_steps(search: _Search, statuses: Container[Any]) -> Evidence:
    """Judge a history that shows no step of ours.

    It is an absence if it is there, if no step of it is one that is not recognised, and if the
    record's own status, which the contract does not have, does not say otherwise.
    """
    found = search.found
    steps = [one.transaction_status_name for one in found.transaction_statuses]
    status = member(_Status, search.data.get("transactionStatus"))
    if isinstance(status, _Status) and status in statuses:
        return Evidence(Shows.OTHER)
    is_readable = "transactionStatuses" not in found.extra and isinstance(status, _Status | None)
    if steps and is_readable and all(isinstance(one, _Status) for one in steps):
        return Evidence(Shows.ABSENT)
    return Evidence(Shows.NOTHING)


def _read_cancelled(search: _Search) -> Evidence:
    found = search.found
    for entry in found.transaction_statuses:
        if entry.transaction_status_name == _Status.PAYMENT_LINK_CANCELLED:
            result = models.Cancellation(
                payment_link_ref=search.pending.identity,
                transaction_status=_Status.PAYMENT_LINK_CANCELLED,
                transaction_status_id=entry.transaction_status_id,
                additional_data=found.additional_data,
                timestamp=entry.created,
                recovered=True,
            )
            return Evidence(Shows.OURS, result)
    return _absent_from_steps(search, {_Status.PAYMENT_LINK_CANCELLED})


_SENT_RECEIPTS: Final = frozenset(
    {
        _Status.RECEIPT_LINK_REQUEST_RECEIVED,
        _Status.RECEIPT_LINK_SENT,
        _Status.RECEIPT_LINK_REQUEST_FAILED,
        _Status.RECEIPT_LINK_SENT_FAILED,
    }
)
"""The steps that a request for a receipt leaves behind. A delivery report may be an earlier's."""


def _read_receipt(search: _Search) -> Evidence:
    found = search.found
    own = [
        (entry.created, number)
        for number, entry in enumerate(found.transaction_statuses)
        if entry.transaction_status_name in _SENT_RECEIPTS
        and entry.created is not None
        and search.is_new(entry.created, search.data["transactionStatuses"][number], "created")
    ]
    reference = found.receipt_link_ref
    if own and is_reference(reference) and not search.is_of_another(reference):
        created, number = max(own)
        last = found.transaction_statuses[number]
        result = models.Receipt(
            receipt_link_ref=reference,
            order_number=found.order_number,
            timestamp=created,
            transaction_status=last.transaction_status_name,
            transaction_status_id=last.transaction_status_id,
            recovered=True,
        )
        return Evidence(Shows.OURS, result)
    names = [str(entry.transaction_status_name or "") for entry in found.transaction_statuses]
    if any(name.strip().upper().startswith("RECEIPT") for name in names):
        return Evidence(Shows.OTHER)
    if search.data.get("receiptLinkRef"):  # of a receipt whose steps it does not show
        return Evidence(Shows.OTHER)
    return _absent_from_steps(search, _RECEIPTS)


_RECEIPTS: Final = frozenset(one for one in _Status if one.name.startswith("RECEIPT"))

_READERS: dict[str, Callable[[_Search], Evidence]] = {
    operations.CREATE_PAYMENT_LINK.name: _read_created,
    operations.CAPTURE_PAYMENT.name: _read_captured,
    operations.REVERSE_PAYMENT.name: _read_reversed,
    operations.CANCEL_PAYMENT_LINK.name: _read_cancelled,
    operations.CREATE_RECEIPT.name: _read_receipt,
}
