"""Somebody else's transaction that happens to have the same order number."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from chat2pay_async.sandbox._service import json, transitions
from chat2pay_async.sandbox._service.records import Channel, Order, Transaction

_TTL: Final = timedelta(minutes=5)
_CENTS: Final = 100_000


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
