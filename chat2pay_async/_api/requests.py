"""What is sent: frozen values, checked against the contract's limits when they are built.

Every fault of a request is reported at once:

    >>> PaymentLinkRequest(
    ...     channel="sms", to="27831234567", order_number=" ", currency="ZAR", total_amount="-1")
    Traceback (most recent call last):
      ...
    chat2pay_async.errors.RequestValidationError: PaymentLinkRequest: order_number: must not be \
blank; total_amount: must be greater than 0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs

from chat2pay_async._api.enums import Channel, IntegrationStatus, TransactionType
from chat2pay_async._api.plain import (
    is_plain_amount,
    is_plain_data,
    is_plain_moment,
    is_plain_text,
)
from chat2pay_async._api.redaction import redact
from chat2pay_async._api.validation import (
    INT32_MAX,
    Faults,
    adds_up,
    amount,
    is_phone,
    member,
    phone_digits,
    snapshot,
    unit_of,
)

__all__ = [
    "Capture",
    "ConfigurationQuery",
    "IntegrationRequest",
    "LineItem",
    "LinkReference",
    "PaymentLinkRequest",
    "ReceiptRequest",
    "TransactionQuery",
    "extra_fields",
    "keys_only",
    "masked",
    "redacted",
]


ORDER_NUMBER, RECONCILIATION_ID, NAME = 32, 60, 255
"""The most characters of each."""
_CHANNELS = tuple(Channel)
_TRANSACTION_TYPES = (TransactionType.AUTHORIZATION, TransactionType.SALE)
_PLAIN_TYPES = (None, *reversed(_TRANSACTION_TYPES))
_INTEGRATION_STATUSES = tuple(IntegrationStatus)


def masked(value: object) -> str:
    """A `repr` that tells only whether there is a value."""
    return "None" if value is None else "'***'"


def redacted(value: object) -> str:
    """A `repr` of somebody else's words, without numbers that could be a phone's or a card's."""
    return repr(redact(value) if isinstance(value, str) else value)


def keys_only(value: object) -> str:
    """A `repr` of a mapping that leaves its values out."""
    return f"<keys {sorted(map(str, value))}>" if isinstance(value, Mapping) else masked(value)


def extra_fields() -> Any:
    """The field `extra`: what an answer had beside the fields that are known or readable."""
    return attrs.field(factory=dict, hash=False, repr=keys_only)


def _upper(value: str) -> Any:
    given: object = value
    return given.upper() if isinstance(given, str) and given.isascii() else given


def _channel(value: Channel | str) -> Any:
    return member(Channel, value)


def _transaction_type(value: TransactionType | str | None) -> Any:
    return member(TransactionType, value)


def _integration_status(value: IntegrationStatus | str) -> Any:
    return member(IntegrationStatus, value)


def _items(value: Iterable[LineItem]) -> Any:
    given: object = value
    if type(given) is tuple:
        return given
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else given


@attrs.frozen(kw_only=True)
class LineItem:
    """One line of an order; its limits are checked with the request that it is part of."""

    name: str | None
    """At most 255 characters."""
    unit_price: Decimal | None = attrs.field(converter=amount)
    """Greater than 0."""
    code: str | None = None
    """At most 255 characters."""
    quantity: int | None = None
    """At least 1."""
    sku: str | None = None
    """At most 255 characters."""
    tax_amount: Decimal | None = attrs.field(default=None, converter=amount)
    """Greater than 0, where given."""
    extra: dict[str, Any] = extra_fields()
    """What an answer's line item had beside these; never sent."""


def _are_plain_items(items: Any, unit: Decimal) -> bool:
    """Whether each line item has a form in which a check would find no fault."""
    for item in items if type(items) is tuple else (None,):
        if type(item) is not LineItem or not is_plain_amount(item.unit_price, unit):
            return False
        if item.tax_amount is not None and not is_plain_amount(item.tax_amount, unit):
            return False
        quantity: object = item.quantity
        if quantity is not None and (type(quantity) is not int or not 1 <= quantity <= INT32_MAX):
            return False
        if not is_plain_text(item.name, NAME):
            return False
        for text in (item.code, item.sku):
            if text is not None and not is_plain_text(text, NAME):
                return False
    return True


@attrs.frozen(kw_only=True)
class PaymentLinkRequest:
    """A payment link to be made, and sent over `channel` (contract: PayByLinkRequest).

    The order number is the identity of the link: reusing one weakens what can be known when an
    answer is lost.

    Raises:
        RequestValidationError: With every fault of the request in `.faults`.
        TypeError: An amount is a float, or no number at all.
    """

    channel: Channel = attrs.field(converter=_channel)
    """A `Channel`, or its name in any case."""
    to: str = attrs.field(converter=phone_digits, repr=masked)
    """The customer's phone number: 7 to 15 digits, country code first."""
    order_number: str
    """1 to 32 characters, not blank."""
    currency: str = attrs.field(converter=_upper)
    """An ISO 4217 code; it decides how many decimals the amounts may have."""
    total_amount: Decimal = attrs.field(converter=amount)
    """Greater than 0; `sub_total_amount` plus `tax_amount`, where both are given."""
    timestamp: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    """When the order was made; now, unless given. The service keeps milliseconds."""
    from_: str | None = attrs.field(default=None, repr=masked)
    """The sender that the customer sees."""
    tax_amount: Decimal | None = attrs.field(default=None, converter=amount)
    """At least 0."""
    sub_total_amount: Decimal | None = attrs.field(default=None, converter=amount)
    """Greater than 0."""
    payment_gateway_settings_id: str | None = None
    additional_data: Any = attrs.field(default=None, converter=snapshot, hash=False, repr=keys_only)
    """Any JSON, stored with the record; status answers and callbacks return it."""
    return_payment_link: bool | None = None
    """Whether the answer carries the link's URL."""
    application_id: str | None = None
    payment_review_auto_reversal: bool | None = None
    """Whether a payment left in review is reversed by itself."""
    transaction_type: TransactionType | None = attrs.field(
        default=None, converter=_transaction_type
    )
    """`SALE` or `AUTHORIZATION`."""
    order_line_items: tuple[LineItem, ...] = attrs.field(default=(), converter=_items)
    reconciliation_id: str | None = None
    """At most 60 characters; status answers echo it."""
    merchant_descriptor: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self._is_plain():
            self._check()

    def _is_plain(self) -> bool:
        """Whether each field has a form in which `_check` would find no fault."""
        currency: object = self.currency
        unit = unit_of(currency) if type(currency) is str else None
        return (
            unit is not None
            and type(self.channel) is Channel
            and self.transaction_type in _PLAIN_TYPES
            and is_phone(self.to)
            and is_plain_moment(self.timestamp)
            and is_plain_data(self.additional_data)
            and self._has_plain_texts()
            and self._has_plain_amounts(unit)
            and _are_plain_items(self.order_line_items, unit)
        )

    def _has_plain_texts(self) -> bool:
        flags: tuple[object, ...] = (self.return_payment_link, self.payment_review_auto_reversal)
        for flag in flags:
            if flag is not None and type(flag) is not bool:
                return False
        number, reconciliation = self.order_number, self.reconciliation_id
        if not is_plain_text(number, ORDER_NUMBER) or not number.strip():
            return False
        if reconciliation is not None and not is_plain_text(reconciliation, RECONCILIATION_ID):
            return False
        settings = self.payment_gateway_settings_id
        for text in (self.from_, settings, self.application_id, self.merchant_descriptor):
            if text is not None and not is_plain_text(text):
                return False
        return True

    def _has_plain_amounts(self, unit: Decimal) -> bool:
        total, sub_total, tax = self.total_amount, self.sub_total_amount, self.tax_amount
        return (
            is_plain_amount(total, unit)
            and (sub_total is None or is_plain_amount(sub_total, unit))
            and (tax is None or is_plain_amount(tax, unit))
            and (sub_total is None or tax is None or adds_up(total, sub_total, tax))
        )

    def _check(self) -> None:
        """Check everything at once: attrs' own validators would stop at the first fault."""
        faults = Faults()
        faults.choice("channel", self.channel or "", _CHANNELS)
        faults.phone("to", self.to)
        faults.text("order_number", self.order_number, required=True, longest=ORDER_NUMBER)
        faults.moment("timestamp", self.timestamp)
        faults.text("from_", self.from_)
        faults.text("payment_gateway_settings_id", self.payment_gateway_settings_id)
        faults.json("additional_data", self.additional_data)
        faults.flag("return_payment_link", self.return_payment_link)
        faults.text("application_id", self.application_id)
        faults.flag("payment_review_auto_reversal", self.payment_review_auto_reversal)
        faults.choice("transaction_type", self.transaction_type, _TRANSACTION_TYPES)
        faults.text("reconciliation_id", self.reconciliation_id, longest=RECONCILIATION_ID)
        faults.text("merchant_descriptor", self.merchant_descriptor)
        currency = faults.currency("currency", self.currency)
        self._check_amounts(faults, currency)
        self._check_items(faults, currency)
        faults.raise_if_any("PaymentLinkRequest")

    def _check_amounts(self, faults: Faults, currency: str | None) -> None:
        total = faults.money("total_amount", self.total_amount, currency=currency, required=True)
        sub_total = faults.money("sub_total_amount", self.sub_total_amount, currency=currency)
        tax = faults.money("tax_amount", self.tax_amount, currency=currency, zero=True)
        if total is None or sub_total is None or tax is None:
            return
        # The service answers 400 to this, in these words.
        if not adds_up(total, sub_total, tax):
            faults.add("total_amount", "is not equal to the sum of tax and sub-total")

    def _check_items(self, faults: Faults, currency: str | None) -> None:
        items: object = self.order_line_items
        if not isinstance(items, tuple):
            faults.add("order_line_items", "must be a sequence of LineItem")
            return
        for index, item in enumerate(items):
            if not isinstance(item, LineItem):
                faults.add(f"order_line_items[{index}]", "must be a LineItem")
                continue
            line = faults.below(f"order_line_items[{index}]")
            line.name("name", item.name, longest=NAME, required=True)
            line.money("unit_price", item.unit_price, currency=currency, required=True)
            line.name("code", item.code, longest=NAME)
            line.count("quantity", item.quantity)
            line.name("sku", item.sku, longest=NAME)
            line.money("tax_amount", item.tax_amount, currency=currency)


@attrs.frozen(kw_only=True)
class LinkReference:
    """The link to cancel, or the payment to reverse."""

    payment_link_ref: str

    def __attrs_post_init__(self) -> None:
        faults = Faults()
        faults.reference("payment_link_ref", self.payment_link_ref)
        faults.raise_if_any(type(self).__name__)


@attrs.frozen
class Capture:
    """The authorization to capture, and how much of it: all, where no amount is given."""

    payment_link_ref: str
    amount: Decimal | None = attrs.field(default=None, converter=amount)

    def __attrs_post_init__(self) -> None:
        faults = Faults()
        faults.reference("payment_link_ref", self.payment_link_ref)
        faults.money("amount", self.amount)
        faults.raise_if_any("Capture")


@attrs.frozen(kw_only=True)
class ReceiptRequest:
    """The receipt to send (contract: PaymentReceiptRequest)."""

    payment_link_ref: str
    receipt_link: str = attrs.field(repr=masked)
    timestamp: datetime = attrs.field(factory=lambda: datetime.now(UTC))

    def __attrs_post_init__(self) -> None:
        faults = Faults()
        faults.text("payment_link_ref", self.payment_link_ref, required=True)
        faults.text("receipt_link", self.receipt_link, required=True)
        faults.moment("timestamp", self.timestamp)
        faults.raise_if_any("ReceiptRequest")


@attrs.frozen(kw_only=True)
class TransactionQuery:
    """What to look a transaction up by: at least one."""

    order_number: str | None = None
    payment_link_ref: str | None = None
    receipt_link_ref: str | None = None

    def __attrs_post_init__(self) -> None:
        faults = Faults()
        given = attrs.asdict(self)
        if all(value is None for value in given.values()):
            faults.add("order_number", "pass this, payment_link_ref or receipt_link_ref")
        for field, value in given.items():
            if value is not None:
                faults.text(field, value, required=True)
        faults.raise_if_any("TransactionQuery")


@attrs.frozen(kw_only=True)
class ConfigurationQuery:
    """Nothing to say: the key tells whose configuration it is."""


@attrs.frozen(kw_only=True)
class IntegrationRequest:
    """What to make of an integration (contract: IntegrationStatusRequest)."""

    application_uuid: str
    status: IntegrationStatus = attrs.field(converter=_integration_status)

    def __attrs_post_init__(self) -> None:
        faults = Faults()
        faults.text("application_uuid", self.application_uuid, required=True)
        faults.choice("status", self.status or "", _INTEGRATION_STATUSES)
        faults.raise_if_any("IntegrationRequest")
