"""Evidence: what one status response shows about a call whose own response was lost. No I/O.

A response shows that the effect is there and is ours, that there is explicitly no such effect, that
there is something which may not be ours, or nothing at all. Only the first two settle anything.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import attrs

from chat2pay_async._api import models, operations
from chat2pay_async._api.codec import STAMP, structure
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.requests import TransactionQuery
from chat2pay_async._api.validation import exact_sum, minor_units
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import SentRequest

__all__ = ["Case", "Evidence", "Shows", "case_of", "is_final", "link_shown", "read_evidence"]

_NOT_FOUND = 404
_SUCCESS = range(200, 300)
_NO_SUCH = r"(?:there is )?no such transaction with (?:order ?number|(?:transaction )?reference):?"
_CLOCK_ERROR = timedelta(seconds=2)
_NO_DATE_ERROR = timedelta(minutes=5)
_GATEWAY_ERROR = timedelta(minutes=15)

_Status = models.TransactionStatus
_Type = models.TransactionType


@attrs.frozen
class Case:
    """A call that may have been applied, and what its effect would look like."""

    operation: str
    identity: str
    sent: dict[str, Any]
    """The body's fields, by their names on the wire."""
    amount: Decimal | None
    """The amount that a capture asked for."""
    request_id: str | None
    first_at: datetime
    """The first attempt's time, on this machine's clock."""
    known: Container[str] = ()
    """References (of links, and of gateway responses) that other calls of this client returned."""

    @property
    def query(self) -> TransactionQuery:
        """The look-up's own request."""
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


class Shows(enum.Enum):
    """The four things that a response can show."""

    OURS = "the effect, and it is ours"
    ABSENT = "explicitly no such effect"
    OTHER = "something that may not be ours"
    NOTHING = "nothing that counts"


@attrs.frozen
class Evidence:
    """A look-up's response, judged."""

    shows: Shows
    result: Any = None
    """The operation's result, where the effect is ours."""
    response: WireResponse | None = attrs.field(default=None, eq=False, repr=False)
    """The response itself; None where there was none."""


def is_final(result: Any) -> bool:
    """Tell whether a result leaves nothing open of the same requests before it.

    A gateway may accept later what it refused, or what it did not say that it accepted.
    """
    return getattr(result, "succeeded", True) is True


def read_evidence(case: Case, response: WireResponse, at: datetime) -> Evidence:
    """Judge the response to a look-up.

    Args:
        case: What is looked for.
        response: The status endpoint's.
        at: When it came, on this machine's clock.
    """
    return attrs.evolve(_judged(case, response, at), response=response)


def _judged(case: Case, response: WireResponse, at: datetime) -> Evidence:
    data = decode_object(response.body)
    if response.status_code == _NOT_FOUND:
        return Evidence(Shows.ABSENT if _says_no_such_order(case, data) else Shows.NOTHING)
    if response.status_code not in _SUCCESS or not data:
        return Evidence(Shows.NOTHING)
    found = structure(models.Transaction, data)
    creating = case.operation == operations.CREATE_PAYMENT_LINK.name
    named = found.order_number if creating else found.payment_link_ref
    if named != case.identity or not found.payment_link_ref:
        return Evidence(Shows.NOTHING)  # it is about another
    return _READERS[case.operation](case, found, _first_moment(case, response, at))


def _says_no_such_order(case: Case, data: dict[str, Any] | None) -> bool:
    """Tell the one form of a 404 that is explicit from a lost gateway's.

    `{"status": "NOT_FOUND", …, "errors": ["There is no such transaction with … {order number}"]}`
    """
    if case.operation != operations.CREATE_PAYMENT_LINK.name or data is None:
        return False  # for a link that exists, a 404 is never an absence
    said = data.get("errors")
    order = re.escape(case.identity)
    # The whole sentence: our order number may be a part of another's.
    form = rf"(?i:{_NO_SUCH}) (?:{order}|'{order}'\.?|\"{order}\"\.?)"
    return isinstance(said, list) and any(
        isinstance(text, str) and re.fullmatch(form, text.strip()) for text in said
    )


def _first_moment(case: Case, response: WireResponse, at: datetime) -> datetime:
    """Return the first attempt's time on the service's clock, less that clock's error."""
    try:
        date = parsedate_to_datetime(response.headers.get("date", ""))
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return case.first_at + (date - at) - _CLOCK_ERROR
    except (ValueError, OverflowError):  # a year or an offset of twenty digits overflows
        return case.first_at - _NO_DATE_ERROR


def _not_older(moment: datetime | None, since: datetime) -> bool:
    return moment is not None and moment >= since


# create ------------------------------------------------------------------------------------------


def _read_created(case: Case, found: models.Transaction, since: datetime) -> Evidence:
    stamp = _stamp_of(found.parsed_additional_data)
    own = case.request_id or _stamp_of(case.sent.get("additionalData"))
    if stamp is not None and stamp != own:
        return Evidence(Shows.OTHER)
    is_certain = stamp is not None and stamp == case.request_id
    if not is_certain and not _agrees(case, found, since):
        return Evidence(Shows.OTHER)
    return Evidence(Shows.OURS, link_shown(found))


def link_shown(found: models.Transaction) -> models.PaymentLink:
    """Return the link that a status response shows; such responses never carry its URL."""
    last = found.transaction_statuses[-1] if found.transaction_statuses else None
    return models.PaymentLink(
        payment_link_ref=cast("str", found.payment_link_ref),  # else it is no record of it
        transaction_status=None if last is None else last.transaction_status_name,
        transaction_status_id=None if last is None else last.transaction_status_id,
        timestamp=_created_at(found),
        recovered=True,
    )


def _stamp_of(data: Any) -> Any:
    fields: dict[str, Any] = data if isinstance(data, dict) else {}
    return fields.get(STAMP)


def _created_at(found: models.Transaction) -> datetime | None:
    return min((one.created for one in found.transaction_statuses if one.created), default=None)


def _agrees(case: Case, found: models.Transaction, since: datetime) -> bool:
    """Tell whether all that was sent comes back: the last resort where no stamp is echoed."""
    sent = case.sent
    wanted = sent.get("transactionType")
    return (
        (found.payment_link_ref or "") not in case.known
        and (wanted is None or found.transaction_type == _Type(wanted))
        and sent.get("reconciliationId") in {None, found.reconciliation_id}
        and found.currency == sent.get("currency")
        and found.channel_name == sent.get("channel")
        and found.total_amount == Decimal(sent.get("totalAmount", 0))
        and _is_new(found, since)
    )


def _is_new(found: models.Transaction, since: datetime) -> bool:
    """Tell whether no step is older than the first attempt: each must say when it was."""
    steps = found.transaction_statuses
    return bool(steps) and all(_not_older(entry.created, since) for entry in steps)


# capture and reverse -----------------------------------------------------------------------------


def _gateway_result(entry: models.PaymentStatusEntry, found: models.Transaction) -> Any:
    return models.GatewayResult(
        **attrs.asdict(entry, recurse=False),
        payment_status=found.payment_status,
        payment_status_id=found.payment_status_id,
        recovered=True,
    )


def _entries(found: models.Transaction, kind: models.TransactionType) -> list[Any]:
    return [entry for entry in found.payment_statuses if entry.transaction_type == kind]


def _all_readable(found: models.Transaction) -> bool:
    """Tell whether the kind of every entry was recognised."""
    return "paymentStatuses" not in found.extra and all(
        isinstance(entry.transaction_type, _Type) for entry in found.payment_statuses
    )


def _fits(case: Case, found: models.Transaction, entry: models.PaymentStatusEntry) -> bool:
    """Tell whether an entry's amount is what was asked for; a refusal need not say."""
    if case.amount is None or entry.total_amount is None:
        return case.amount is None or entry.succeeded is False
    decimals = minor_units(found.currency or "CLF")  # without a currency: no unit is finer
    half = Decimal((0, (5,), -decimals - 1))
    return exact_sum(entry.total_amount, case.amount.copy_negate()).copy_abs() < half


def _gateway_response(
    case: Case,
    found: models.Transaction,
    kind: models.TransactionType,
    since: datetime,
    *,
    accepted: bool,
) -> Evidence | None:
    """Find the gateway's response to the operation: one that accepted, or one that declined."""
    entries = _entries(found, kind)
    if accepted:
        since -= _GATEWAY_ERROR  # its clock is its own, and its times may be cut to seconds
    elif not _all_readable(found) or any(entry.succeeded is not False for entry in entries):
        return None  # another entry could be the one that accepted
    # A refusal has no such allowance: an older one must not pass for ours.
    for entry in reversed(entries):
        if (
            entry.succeeded is accepted
            and entry.payment_gateway_req_reference_number not in case.known
            and _not_older(entry.payment_gateway_response_timestamp, since)
            and _fits(case, found, entry)
        ):
            return Evidence(Shows.OURS, _gateway_result(entry, found))
    return None


def _read_captured(case: Case, found: models.Transaction, since: datetime) -> Evidence:
    own = _gateway_response(case, found, _Type.CAPTURE, since, accepted=True)
    own = own or _gateway_response(case, found, _Type.CAPTURE, since, accepted=False)
    if own is not None:
        return own
    untouched = not _entries(found, _Type.CAPTURE) and _all_readable(found)
    return Evidence(Shows.ABSENT if untouched else Shows.OTHER)


def _read_reversed(case: Case, found: models.Transaction, since: datetime) -> Evidence:
    own = _gateway_response(case, found, _Type.VOID, since, accepted=True)
    if own is not None:
        return own
    status, when = found.payment_status, found.payment_status_timestamp
    undone = status in {models.PaymentStatus.REVERSED, models.PaymentStatus.VOIDED}
    if undone and _not_older(when, since):
        result = models.GatewayResult(
            transaction_type=_Type.VOID,
            payment_status=status,
            payment_status_id=found.payment_status_id,
            recovered=True,
        )
        return Evidence(Shows.OURS, result)
    recognised = status is None or isinstance(status, models.PaymentStatus)
    if "paymentStatus" in found.extra or not recognised or (undone and when is None):
        return Evidence(Shows.OTHER)  # it may say that it was reversed, and just now
    own = _gateway_response(case, found, _Type.VOID, since, accepted=False)
    if own is not None:
        return own
    # A captured payment is never reversed again on a guess: voiding twice could void two things.
    kinds = {entry.transaction_type for entry in found.payment_statuses}
    untouched = not undone and kinds == {_Type.AUTHORIZATION}
    return Evidence(Shows.ABSENT if untouched else Shows.OTHER)


# cancel and receipt ------------------------------------------------------------------------------


def _names_readable(found: models.Transaction) -> bool:
    """Tell whether there is a history, and every step of it was recognised."""
    steps = found.transaction_statuses
    return bool(steps) and all(isinstance(one.transaction_status_name, _Status) for one in steps)


def _read_cancelled(case: Case, found: models.Transaction, _since: datetime) -> Evidence:
    for entry in found.transaction_statuses:
        if entry.transaction_status_name == _Status.PAYMENT_LINK_CANCELLED:
            result = models.Cancellation(
                payment_link_ref=found.payment_link_ref or case.identity,
                transaction_status=_Status.PAYMENT_LINK_CANCELLED,
                transaction_status_id=entry.transaction_status_id,
                additional_data=found.additional_data,
                timestamp=entry.created,
                recovered=True,
            )
            return Evidence(Shows.OURS, result)
    return Evidence(Shows.ABSENT if _names_readable(found) else Shows.NOTHING)


def _read_receipt(_case: Case, found: models.Transaction, since: datetime) -> Evidence:
    receipts = [
        entry
        for entry in found.transaction_statuses
        if (entry.transaction_status_name or "").strip().upper().startswith("RECEIPT")
    ]
    new = [
        (entry.created, number, entry)
        for number, entry in enumerate(receipts)
        if entry.created is not None and entry.created >= since
    ]
    if new:
        created, _, last = max(new)
        result = models.Receipt(
            receipt_link_ref=found.receipt_link_ref,
            order_number=found.order_number,
            timestamp=created,
            transaction_status=last.transaction_status_name,
            transaction_status_id=last.transaction_status_id,
            recovered=True,
        )
        return Evidence(Shows.OURS, result)
    if receipts:
        return Evidence(Shows.OTHER)
    return Evidence(Shows.ABSENT if _names_readable(found) else Shows.NOTHING)


_READERS: dict[str, Callable[[Case, models.Transaction, datetime], Evidence]] = {
    operations.CREATE_PAYMENT_LINK.name: _read_created,
    operations.CAPTURE_PAYMENT.name: _read_captured,
    operations.REVERSE_PAYMENT.name: _read_reversed,
    operations.CANCEL_PAYMENT_LINK.name: _read_cancelled,
    operations.CREATE_RECEIPT.name: _read_receipt,
}
