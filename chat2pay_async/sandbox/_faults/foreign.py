"""Responses about something else than what was asked for."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from chat2pay_async.sandbox._service import json, serialization, transitions
from chat2pay_async.sandbox._service.records import (
    Channel,
    Decision,
    LinkStatus,
    Order,
    PaymentStatus,
    StatusEntry,
    Transaction,
    TransactionType,
)
from chat2pay_async.sandbox._service.serialization import Body
from chat2pay_async.sandbox._service.service import STEPS, ApiRequest

_TTL: Final = timedelta(minutes=5)
_CENTS: Final = 100_000
ANOTHER_ORDER: Final = "somebody-elses"
_WRONG_AMOUNT: Final = Decimal("999.00")


def foreign_link(order_number: str, now: datetime, form: str) -> Transaction:
    """Make the transaction up: always the same one for an order, as if just created.

    Args:
        order_number: The order number that it shares.
        now: When it was created.
        form: `stamped` if its `additionalData` names another request, `bare` if it has none.
    """
    made_up = uuid5(NAMESPACE_URL, order_number)
    stamp = json.dumps({"sdkRequestId": str(uuid5(made_up, "stamp"))})
    order = Order(
        channel=Channel.SMS,
        to="27820000000",
        order_number=order_number,
        currency="ZAR",
        total=Decimal(1 + made_up.int % _CENTS).scaleb(-2),
        additional_data=stamp if form == "stamped" else None,
    )
    return transitions.open_link(order, str(made_up), now, _TTL, delivered=True).after


def wrong_step(request: ApiRequest, now: datetime, form: str) -> Body:
    """Return another step's success to a capture or reverse: the opposite one's, or a sale's."""
    opposite = next(kind for name, kind in STEPS.items() if name != request.operation)
    return wrong_amount(request, now, TransactionType.SALE if form == "sale" else opposite)


def wrong_cancellation(request: ApiRequest, now: datetime, form: str) -> Body:
    """Return another link's cancellation, or another status of the link's."""
    is_other = form == "link"
    ref = str(uuid5(NAMESPACE_URL, request.ref)) if is_other else request.ref
    status = LinkStatus.PAYMENT_LINK_CANCELLED if is_other else LinkStatus.PAYMENT_LINK_SENT
    link = foreign_link(ANOTHER_ORDER, now, "bare")
    return serialization.cancelled(replace(link, ref=ref, steps=(StatusEntry(status, now),)))


def wrong_amount(
    request: ApiRequest, now: datetime, kind: TransactionType = TransactionType.CAPTURE
) -> Body:
    """Return a step's success with an amount that nobody asked for."""
    return {
        "transactionType": serialization.leaked(kind),
        "totalAmount": _WRONG_AMOUNT,
        "paymentGatewayDecision": Decision.ACCEPT.name,
        "paymentGatewayReqReferenceNumber": str(uuid5(NAMESPACE_URL, request.ref).int),
        "paymentGatewayResponseTimestamp": serialization.moment(now),
        "paymentGatewayResponseCode": Decision.ACCEPT.value,
        "paymentStatus": PaymentStatus.SUCCESS.name,
        "paymentStatusId": str(PaymentStatus.SUCCESS.value),
    }
