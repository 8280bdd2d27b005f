"""The eight operations as eight rows: their paths, their types, and what proves that they worked.

`prepare` turns a row and a request into the exact bytes to send. `request_of` is the way back: a
journal keeps bytes, and after a crash they are all that is left of a request whose source is gone.
None of it does I/O.
"""

from __future__ import annotations

import enum
import json
import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import attrs

from chat2pay_async._api import codec, models, requests
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.validation import NO_CURRENCY, capture_problem, exact_sum
from chat2pay_async._journal.content import one_form
from chat2pay_async._values import Value
from chat2pay_async.errors import Fault, RequestValidationError, SentRequest

__all__ = [
    "CANCEL_PAYMENT_LINK",
    "CAPTURE_PAYMENT",
    "CREATE_PAYMENT_LINK",
    "CREATE_RECEIPT",
    "GET_CONFIGURATION",
    "GET_TRANSACTION",
    "OPERATIONS",
    "PARAMETERS",
    "RESOLVED",
    "REVERSE_PAYMENT",
    "UPDATE_INTEGRATION",
    "Operation",
    "Safety",
    "check_unchanged",
    "content_of",
    "is_reference",
    "key_of",
    "mint",
    "prepare",
    "receipt_key",
    "request_of",
]

Q = TypeVar("Q")
R = TypeVar("R")


class Safety(enum.Enum):
    """The effect of sending an operation a second time."""

    READ = "changes nothing"
    REPEATABLE = "leaves the same state behind"
    ONCE = "may move money, or send a message, a second time"


RESOLVED: Final = "`client.resolve(error.pending)` has settled it"
"""The end that a program is told to wait for; the command line says it in its own way."""

_SAFETY = {"GET": Safety.READ, "PUT": Safety.REPEATABLE, "POST": Safety.ONCE}


def _safety_of(operation: Any) -> Safety:
    return _SAFETY[operation.method]


def _has_body(operation: Any) -> bool:
    return operation.method != "GET" and "{" not in operation.path


@attrs.frozen(eq=False, repr=False)
class Operation(Value, Generic[Q, R]):
    """One row of the table."""

    name: str
    """The client's method, and the name in errors and events."""
    contract_id: str
    method: str
    path: str
    request: type[Q]
    result: type[R]
    proves: Callable[[Q, R, Mapping[str, Any]], bool]
    """Tells from a 2xx's object, as read and as received, that the request was applied."""
    query: tuple[str, ...] = ()
    """The request's attributes that travel in the query."""
    proof_fields: tuple[str, ...] = ()
    """The fields on the wire that only a request that was applied has."""
    safety: Safety = attrs.field(init=False, default=attrs.Factory(_safety_of, takes_self=True))
    """Follows from the method: the API has no idempotency keys."""
    has_body: bool = attrs.field(init=False, default=attrs.Factory(_has_body, takes_self=True))
    """True where the request itself is the body, rather than path and query."""

    has_look_up: ClassVar[bool] = True
    """True where it can be found out whether a request was applied."""
    advice: ClassVar[str] = f"do not send it again before {RESOLVED}"
    """The next step where that is unknown."""

    def read(self, body: bytes, data: dict[str, Any]) -> R:  # noqa: ARG002 - for others
        """Read a 2xx: its body, and the object in it."""
        return codec.structure(self.result, data)

    def is_proven_by(self, request: Q, result: R, data: Mapping[str, Any]) -> bool:
        """Tell whether a 2xx's object proves that this very request was applied.

        Args:
            request: The request.
            result: The object, as read.
            data: The same, by the names on the wire.
        """
        return not _is_anothers(self, request, data) and self.proves(request, result, data)

    def identity(self, request: Q) -> str:
        """Return the number or reference by which a person would look the request up."""
        for name in _IDENTITIES:
            found: str | None = getattr(request, name, None)
            if found:
                return found
        return ""

    def of(self, **fields: Any) -> Q:
        """Build its request from the arguments of a method.

        Raises:
            RequestValidationError: With the operation's name.
        """
        try:
            return self.request(**fields)
        except RequestValidationError as error:
            error.operation = self.name
            raise

    def check(self, request: object) -> None:
        """Check that a request is of its class.

        Raises:
            TypeError: It is something else.
        """
        if not isinstance(request, self.request):
            raise TypeError(
                f"{self.name} takes a {self.request.__name__}, not {type(request).__name__}"
            )


_IDENTITIES: Final = ("order_number", "payment_link_ref", "receipt_link_ref", "application_uuid")
_NAMING: Final = re.compile(r"[^\W_0]")
"""A letter, or a digit that is not 0."""


def is_reference(value: object) -> bool:
    """Tell whether a value can name one thing: blanks, dashes and zeros stand for no reference."""
    return value is not None and _is_naming(str(value))


@lru_cache(maxsize=16)  # it is asked of each reference several times in a row
def _is_naming(text: str) -> bool:
    return _NAMING.search(text) is not None


_NAMES: Final = tuple(
    (name, codec.wire_name(name)) for name in ("order_number", "payment_link_ref")
)


def _is_anothers(operation: Operation[Any, Any], request: object, data: Mapping[str, Any]) -> bool:
    """Tell whether a response is about something else: a copy of another request's.

    It names another link or order, or it is another endpoint's: only a transaction has histories,
    and only it has no status of its own.
    """
    for attribute, name in _NAMES:
        got = data.get(name)
        wanted = getattr(request, attribute, None) if got else None
        if wanted and str(got) != wanted:
            return True
    histories = data.get("transactionStatuses"), data.get("paymentStatuses")
    is_transaction = histories != (None, None)
    has_status = data.get("transactionStatus") is not None
    if operation.safety is Safety.ONCE:
        return is_transaction and not has_status
    return has_status and not is_transaction


_HALF_OF_THE_SMALLEST_UNIT: Final = Decimal("0.00005")


def _is_captured(
    request: requests.Capture, result: models.GatewayResult, _data: Mapping[str, Any]
) -> bool:
    if request.amount is not None and "totalAmount" in result.extra:
        return False  # it can't be read: it may be another amount
    if request.amount is not None and result.total_amount is not None:
        difference = exact_sum(request.amount, result.total_amount.copy_negate())
        if difference.copy_abs() >= _HALF_OF_THE_SMALLEST_UNIT:
            return False
    return _is_decision(result, models.TransactionType.CAPTURE)


def _is_decision(result: models.GatewayResult, kind: models.TransactionType) -> bool:
    """Tell whether it is a decision on this kind of step: another kind is another step's."""
    if result.transaction_type is None:
        return bool(result.payment_gateway_decision) and "transactionType" not in result.extra
    return result.transaction_type == kind


def _is_about(
    request: requests.TransactionQuery, result: models.Transaction, _data: Mapping[str, Any]
) -> bool:
    """Tell whether a transaction has a name by which it was asked for.

    Asked by a receipt alone, it has to show that very receipt: one that shows another can't be told
    from another link's, although it may be the right link with a later receipt.
    """
    if not (request.order_number or request.payment_link_ref):
        is_named = bool(result.order_number or result.payment_link_ref)
        return is_named and result.receipt_link_ref == request.receipt_link_ref
    # Names that disagree were refused before. A link may have a later receipt than this one.
    by_order = bool(request.order_number and result.order_number)
    return by_order or bool(request.payment_link_ref and result.payment_link_ref)


def _is_configuration(_request: object, _result: object, data: Mapping[str, Any]) -> bool:
    """Tell whether it has fields of the contract's; an error in a 200 has none.

    An update's response has one of them, and a transaction another.
    """
    names = {codec.wire_name(field.name) for field in attrs.fields(models.Configuration)}
    is_transaction = data.get("orderNumber") or data.get("paymentLinkRef")
    given = {name for name in names if data.get(name) is not None}
    return not is_transaction and bool(given - {"updateTime", "extra"})


_GATEWAY_FIELDS: Final = ("paymentGatewayDecision", "transactionType")

CREATE_PAYMENT_LINK = Operation(
    "create_payment_link",
    "createPayByLinkTransactionLog",
    "POST",
    "/api/v2/chat-2-pay",
    requests.PaymentLinkRequest,
    models.PaymentLink,
    lambda _request, link, _data: is_reference(link.payment_link_ref),
    proof_fields=("paymentLinkRef",),
)
CANCEL_PAYMENT_LINK = Operation(
    "cancel_payment_link",
    "cancelLink",
    "POST",
    "/api/v2/cancel/{payment_link_ref}",
    requests.LinkReference,
    models.Cancellation,
    lambda request, result, _data: (
        result.payment_link_ref == request.payment_link_ref
        and result.transaction_status == models.TransactionStatus.PAYMENT_LINK_CANCELLED
    ),
    proof_fields=("transactionStatus",),
)
CAPTURE_PAYMENT = Operation(
    "capture_payment",
    "capturePayment",
    "POST",
    "/api/v2/payment/{payment_link_ref}/capture",
    requests.Capture,
    models.GatewayResult,
    _is_captured,
    query=("amount",),
    proof_fields=_GATEWAY_FIELDS,
)
REVERSE_PAYMENT = Operation(
    "reverse_payment",
    "reverseTransaction",
    "POST",
    "/api/v2/payment/{payment_link_ref}/reverse",
    requests.LinkReference,
    models.GatewayResult,
    lambda _request, result, _data: _is_decision(result, models.TransactionType.VOID),
    proof_fields=_GATEWAY_FIELDS,
)
CREATE_RECEIPT = Operation(
    "create_receipt",
    "createPaymentReceipt",
    "POST",
    "/api/v2/order-receipt",
    requests.ReceiptRequest,
    models.Receipt,
    lambda _request, receipt, _data: is_reference(receipt.receipt_link_ref),
    proof_fields=("receiptLinkRef",),
)
GET_TRANSACTION = Operation(
    "get_transaction",
    "getTransactionStatus",
    "GET",
    "/api/v2/chat-2-pay/transaction-status",
    requests.TransactionQuery,
    models.Transaction,
    _is_about,
    query=("order_number", "payment_link_ref", "receipt_link_ref"),
)
GET_CONFIGURATION = Operation(
    "get_configuration",
    "getConfigSettings",
    "GET",
    "/api/v2/config",
    requests.ConfigurationQuery,
    models.Configuration,
    _is_configuration,
)
UPDATE_INTEGRATION = Operation(
    "update_integration",
    "updateIntegrationStatus",
    "PUT",
    "/api/v2/integration",
    requests.IntegrationRequest,
    models.IntegrationUpdate,
    # A configuration has one, too: that of the latest update.
    lambda _request, _result, data: bool(data.get("updateTime")) and "integrators" not in data,
    proof_fields=("updateTime",),
)

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    CREATE_PAYMENT_LINK,
    CANCEL_PAYMENT_LINK,
    CAPTURE_PAYMENT,
    REVERSE_PAYMENT,
    CREATE_RECEIPT,
    GET_TRANSACTION,
    GET_CONFIGURATION,
    UPDATE_INTEGRATION,
)
PARAMETERS: Final = frozenset(codec.wire_name(name) for row in OPERATIONS for name in row.query)
"""The names, on the wire, of all query parameters."""


def mint(operation: Operation[Any, Any], request: Any) -> str | None:
    """Make the id for a new link by which it is recognised after a lost response."""
    if operation is not CREATE_PAYMENT_LINK or not codec.takes_stamp(request):
        return None
    return os.urandom(16).hex()


def prepare(operation: Operation[Q, Any], request: Q, request_id: str | None = None) -> SentRequest:
    """Write a request out, once: every attempt of a call sends these bytes."""
    if isinstance(request, SentRequest):  # to an endpoint that this version does not know
        return request
    if operation.has_body:
        body = codec.encode(request, request_id)
        return SentRequest(operation.method, operation.path, body)
    target = operation.path
    if "{" in target:
        # Everything is quoted, so that no reference can reach another endpoint.
        reference = quote(operation.identity(request), safe="")
        target = target.replace("{payment_link_ref}", reference)
    given = {
        codec.wire_name(name): f"{value:f}" if name == "amount" else value
        for name in operation.query
        if (value := getattr(request, name)) is not None
    }
    if given:
        target += "?" + urlencode(given, quote_via=quote)
    return SentRequest(operation.method, target)


# From the bytes back to the request --------------------------------------------------------------

_REFERENCE: Final = 4
"""The place of a reference in a path: `/api/v2/cancel/{it}`, `/api/v2/payment/{it}/capture`."""


def request_of(operation: Operation[Any, Any], sent: SentRequest, request_id: str | None) -> Any:
    """Build the request that was written out as `sent`, without the id that was minted for it."""
    fields = _fields_of(sent, request_id)
    if operation is CAPTURE_PAYMENT:  # its currency was not sent, but the amount checked with it
        given = fields.get("amount")
        if given is not None and capture_problem(given, None):
            fields["currency"] = NO_CURRENCY
    return codec.structure(operation.request, fields)


def check_unchanged(
    operation: Operation[Any, Any], request: Any, sent: SentRequest, request_id: str | None
) -> None:
    """Check that a request still says what was sent for it; its timestamp does not count.

    The timestamp's default is the time when the request is built, which each run does again.

    Raises:
        RequestValidationError: It does not; the faults name what differs, without its values.
    """
    # Other data than then may have no place for the id.
    has_place = operation is CREATE_PAYMENT_LINK and codec.takes_stamp(request)
    stamp = request_id if has_place else None
    again = prepare(operation, request, stamp)
    if again.target == sent.target and _untimed(again.body) == _untimed(sent.body):
        return  # to the byte, as nearly all are: nothing has to be read
    now, then = _fields_of(again, stamp), _fields_of(sent, request_id)
    names = {codec.wire_name(field.name): field.name for field in attrs.fields(operation.request)}
    changed = [name for name in names if now.get(name) != then.get(name) and name != "timestamp"]
    if changed:
        problem = "is not what an earlier run sent; undo the change, or make it another order"
        faults = tuple(Fault(names[name], problem) for name in changed)
        raise RequestValidationError(operation.name, faults)


def _untimed(body: bytes | None) -> bytes | None:
    """Leave the request's own timestamp out: only texts and amounts are written before it."""
    if body is None:
        return None
    before, _, after = body.partition(b'"timestamp":')
    return before + after.partition(b",")[2]


def _fields_of(sent: SentRequest, request_id: str | None) -> dict[str, Any]:
    """Read what was sent, by its names on the wire."""
    if sent.body is None:
        parts = urlsplit(sent.target)
        reference = unquote(parts.path.split("/")[_REFERENCE])
        # A capture's amount: 100 and 100.00 are the same one.
        query = {name: codec.read_amount(text) for name, text in parse_qsl(parts.query)}
        return {"paymentLinkRef": reference} | query
    return _unstamped(decode_object(sent.body) or {}, request_id)


def _unstamped(fields: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    """Leave out the id that was minted for a request."""
    data = fields.get("additionalData")
    if request_id is not None and isinstance(data, dict):
        fields["additionalData"] = {k: v for k, v in data.items() if k != codec.STAMP}
    if fields.get("additionalData") == {}:  # a minted id stood alone, beside no data
        del fields["additionalData"]
    return fields


# Idempotency keys --------------------------------------------------------------------------------


def key_of(operation: Operation[Q, Any], request: Q) -> str:
    """Return the idempotency key of a request whose caller gave it none."""
    identity = operation.identity(request)
    if isinstance(request, requests.ReceiptRequest):
        return receipt_key(identity, request.receipt_link)
    return identity


def receipt_key(payment_link_ref: str, receipt_link: str) -> str:
    """Return the key of a receipt: a link may have several, each with its own URL."""
    return json.dumps([payment_link_ref, receipt_link])


@cache
def _names_in(kind: Any) -> dict[str, str]:
    """Return the names of a request's fields, by those on the wire."""
    return {codec.wire_name(field.name): field.name for field in attrs.fields(kind)}


def content_of(operation: Operation[Q, Any], request: Q) -> dict[str, str]:
    """Return what a request would send, each field in the one form of all values that are equal.

    A timestamp that defaults to now is no part of it: each try has another one.
    """
    if operation.has_body:
        fields = _unstamped(codec.fields_of(request), None)
    else:
        fields = _fields_of(prepare(operation, request), None)
    kind: Any = operation.request
    names = _names_in(kind)
    content = {
        names.get(name, name): one_form(value)
        for name, value in fields.items()
        if value is not None
    }
    moment = getattr(request, "timestamp", None)
    if moment is not None and requests.is_default_time(moment):
        del content["timestamp"]
    return content
