"""The eight operations as eight rows: where they go, what they carry, what proves that they worked.

`prepare` turns a row and a request into the exact bytes to send; it does no I/O.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

import attrs

from chat2pay_async._api import codec, models, requests
from chat2pay_async.errors import RequestValidationError, SentRequest

__all__ = [
    "CANCEL_PAYMENT_LINK",
    "CAPTURE_PAYMENT",
    "CREATE_PAYMENT_LINK",
    "CREATE_RECEIPT",
    "GET_CONFIGURATION",
    "GET_TRANSACTION",
    "OPERATIONS",
    "PARAMETERS",
    "REVERSE_PAYMENT",
    "UPDATE_INTEGRATION",
    "Operation",
    "Safety",
    "mint",
    "prepare",
]

Q = TypeVar("Q")
R = TypeVar("R")


class Safety(enum.Enum):
    """What sending an operation a second time would do."""

    READ = "changes nothing"
    REPEATABLE = "leaves the same state behind"
    ONCE = "may move money, or send a message, a second time"


_SAFETY = {"GET": Safety.READ, "PUT": Safety.REPEATABLE, "POST": Safety.ONCE}


def _safety_of(operation: Operation[Any, Any]) -> Safety:
    return _SAFETY[operation.method]


def _has_body(operation: Operation[Any, Any]) -> bool:
    return operation.method != "GET" and "{" not in operation.path


@attrs.frozen
class Operation(Generic[Q, R]):
    """One row of the table."""

    name: str
    """The client's method, and what errors and events call it."""
    contract_id: str
    method: str
    path: str
    request: type[Q]
    result: type[R]
    proves: Callable[[Q, R], bool]
    """Whether a 2xx's object shows that the request was applied."""
    identity: Callable[[Q], str]
    """What a person would look it up by."""
    query: tuple[str, ...] = ()
    """The request's attributes that travel in the query."""

    safety: Safety = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_safety_of, takes_self=True)
    )
    """Follows from the method: the API has no idempotency keys."""
    has_body: bool = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_has_body, takes_self=True)
    )
    """Whether the request itself is the body, rather than path and query."""

    def of(self, **fields: Any) -> Q:
        """Its request, made of what a method was given.

        Raises:
            RequestValidationError: With the operation's name.
        """
        try:
            return self.request(**fields)
        except RequestValidationError as error:
            error.operation = self.name
            raise

    def check(self, request: object) -> None:
        """Refuse what is no request of its own.

        Raises:
            TypeError: It is something else.
        """
        if not isinstance(request, self.request):
            raise TypeError(
                f"{self.name} takes a {self.request.__name__}, not {type(request).__name__}"
            )


def _is_object(_request: Any, _result: Any) -> bool:
    return True


def _link_exists(_request: Any, result: models.PaymentLink) -> bool:
    return bool(result.payment_link_ref)


def _receipt_exists(_request: Any, result: models.Receipt) -> bool:
    return bool(result.receipt_link_ref)


def _is_cancelled(request: requests.LinkReference, result: models.Cancellation) -> bool:
    return (
        result.payment_link_ref == request.payment_link_ref
        and result.transaction_status == models.TransactionStatus.PAYMENT_LINK_CANCELLED
    )


def _gateway_answered(_request: Any, result: models.GatewayResult) -> bool:
    return bool(result.transaction_type or result.payment_gateway_decision)


def _order_number(request: requests.PaymentLinkRequest) -> str:
    return request.order_number


def _link_ref(
    request: requests.LinkReference | requests.Capture | requests.ReceiptRequest,
) -> str:
    return request.payment_link_ref


def _looked_up(request: requests.TransactionQuery) -> str:
    return request.order_number or request.payment_link_ref or request.receipt_link_ref or ""


def _application(request: requests.IntegrationRequest) -> str:
    return request.application_uuid


CREATE_PAYMENT_LINK = Operation(
    "create_payment_link",
    "createPayByLinkTransactionLog",
    "POST",
    "/api/v2/chat-2-pay",
    requests.PaymentLinkRequest,
    models.PaymentLink,
    _link_exists,
    _order_number,
)
CANCEL_PAYMENT_LINK = Operation(
    "cancel_payment_link",
    "cancelLink",
    "POST",
    "/api/v2/cancel/{payment_link_ref}",
    requests.LinkReference,
    models.Cancellation,
    _is_cancelled,
    _link_ref,
)
CAPTURE_PAYMENT = Operation(
    "capture_payment",
    "capturePayment",
    "POST",
    "/api/v2/payment/{payment_link_ref}/capture",
    requests.Capture,
    models.GatewayResult,
    _gateway_answered,
    _link_ref,
    query=("amount",),
)
REVERSE_PAYMENT = Operation(
    "reverse_payment",
    "reverseTransaction",
    "POST",
    "/api/v2/payment/{payment_link_ref}/reverse",
    requests.LinkReference,
    models.GatewayResult,
    _gateway_answered,
    _link_ref,
)
CREATE_RECEIPT = Operation(
    "create_receipt",
    "createPaymentReceipt",
    "POST",
    "/api/v2/order-receipt",
    requests.ReceiptRequest,
    models.Receipt,
    _receipt_exists,
    _link_ref,
)
GET_TRANSACTION = Operation(
    "get_transaction",
    "getTransactionStatus",
    "GET",
    "/api/v2/chat-2-pay/transaction-status",
    requests.TransactionQuery,
    models.Transaction,
    _is_object,
    _looked_up,
    query=("order_number", "payment_link_ref", "receipt_link_ref"),
)
GET_CONFIGURATION = Operation(
    "get_configuration",
    "getConfigSettings",
    "GET",
    "/api/v2/config",
    requests.ConfigurationQuery,
    models.Configuration,
    _is_object,
    lambda _request: "",
)
UPDATE_INTEGRATION = Operation(
    "update_integration",
    "updateIntegrationStatus",
    "PUT",
    "/api/v2/integration",
    requests.IntegrationRequest,
    models.IntegrationUpdate,
    _is_object,
    _application,
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
"""What stands in the query of any of them, by its name on the wire."""


def mint(operation: Operation[Any, Any], request: Any) -> str | None:
    """A new id for a new link, by which it is recognised after a lost answer."""
    if operation is not CREATE_PAYMENT_LINK or not codec.takes_stamp(request):
        return None
    return os.urandom(16).hex()


def prepare(operation: Operation[Q, Any], request: Q, request_id: str | None = None) -> SentRequest:
    """Write a request out, once: every attempt of a call sends these bytes."""
    target = operation.path
    if "{" in target:
        # Everything is quoted, so that no reference can reach another endpoint.
        reference = quote(operation.identity(request), safe="")
        target = target.replace("{payment_link_ref}", reference)
    if operation.query:
        target += _query(operation, request)
    body = codec.encode(request, request_id) if operation.has_body else None
    return SentRequest(operation.method, target, body)


def _query(operation: Operation[Q, Any], request: Q) -> str:
    given = {
        codec.wire_name(name): f"{value:f}" if name == "amount" else value
        for name in operation.query
        if (value := getattr(request, name)) is not None
    }
    return "?" + urlencode(given, quote_via=quote) if given else ""
