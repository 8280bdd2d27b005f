"""The requests and responses: frozen values, named as the contract names them.

An attribute is the snake_case of its field on the wire (`paymentLinkTTL` is `payment_link_ttl`,
`from` is `from_`). Amounts are exact `Decimal`s, timestamps aware `datetime`s, lists tuples.

Requests are checked when they are built (`PaymentLinkRequest`). Responses are read leniently, since
a 2xx must never become a failure over a cosmetic field: a missing or unreadable field is None,
unknown fields and unreadable raw values are in `extra`, and an unknown enum value stays a string.

`to_dict()` and `to_json()` write any of them out by attribute, with personal data and what `repr`
masks. `Transaction.is_paid` and its like say what became of a payment.

    >>> link = PaymentLink(payment_link_ref="8a1f", payment_link="https://pay.example/8a1f")
    >>> link.transaction_status is None, link.delivered is None
    (True, True)
    >>> "pay.example" in repr(link)      # whoever has the URL can open the payment page
    False
"""

from chat2pay_async._api.models import *
from chat2pay_async._api.models import __all__ as __all__  # noqa: PLC0414 - exports it
