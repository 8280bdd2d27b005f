"""The requests: frozen values, checked against the contract's limits when they are built.

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
from typing import Any, TypeAlias, TypedDict

import attrs

from chat2pay_async._api.enums import (
    Channel,
    ChannelName,
    IntegrationStatus,
    TransactionType,
    TransactionTypeName,
)
from chat2pay_async._api.redaction import redact
from chat2pay_async._api.validation import (
    NO_CURRENCY,
    amount,
    amount_rule,
    capture_problem,
    choice_problem,
    count_problem,
    currency_problem,
    exact_sum,
    faults_of,
    flag_problem,
    identity_problem,
    json_faults,
    member,
    moment_problem,
    reference_problem,
    refuse,
    snapshot,
    text_problem,
)
from chat2pay_async._phones import phone_digits, phone_problem
from chat2pay_async._tracebacks import hiding_fields
from chat2pay_async._values import Plain
from chat2pay_async.errors import Fault, RequestValidationError

__all__ = [
    "Capture",
    "ConfigurationQuery",
    "IntegrationRequest",
    "LineItem",
    "LinkReference",
    "PaymentLinkFields",
    "PaymentLinkRequest",
    "ReceiptRequest",
    "TransactionQuery",
    "delivery_problem",
    "extra_fields",
    "is_default_time",
    "keys_only",
    "masked",
    "redacted",
]


ORDER_NUMBER, RECONCILIATION_ID, NAME = 32, 60, 255
"""The most characters of each."""
_CHANNELS = tuple(Channel)
_TRANSACTION_TYPES = (TransactionType.AUTHORIZATION, TransactionType.SALE)
_INTEGRATION_STATUSES = tuple(IntegrationStatus)


def masked(value: object) -> str:
    """Show only whether there is a value."""
    return "None" if value is None else "'***'"


def redacted(value: object) -> str:
    """Show a text of the service without numbers that could be a phone's or a card's."""
    return repr(redact(value) if isinstance(value, str) else value)


def keys_only(value: object) -> str:
    """Show the keys of a mapping, without its values."""
    return f"<keys {sorted(map(str, value))}>" if isinstance(value, Mapping) else masked(value)


def extra_fields() -> Any:
    """Make the field `extra`: the fields of a response that are unknown or unreadable."""
    return attrs.field(factory=dict, hash=False, repr=keys_only)


def _default_time() -> datetime:
    # In UTC `fold` means nothing, so it can tell the default from a time that was given. `replace`
    # takes twice as long.
    now = datetime.now(UTC)
    time = (now.hour, now.minute, now.second, now.microsecond)
    return datetime(now.year, now.month, now.day, *time, tzinfo=UTC, fold=1)


def is_default_time(moment: datetime) -> bool:
    """Tell whether a request's timestamp is the default, and not one that its caller gave."""
    return moment.fold == 1 and moment.tzinfo is UTC


def _upper(value: str | None) -> Any:
    given: object = value
    return given.upper() if isinstance(given, str) and given.isascii() else given


def _channel(value: Channel | str) -> Any:
    return member(Channel, value)


def _transaction_type(value: TransactionType | str | None) -> Any:
    return None if value is None else member(TransactionType, value)


def _integration_status(value: IntegrationStatus | str) -> Any:
    return member(IntegrationStatus, value)


def _items(value: Iterable[LineItem]) -> Any:
    given: object = value
    if type(given) is tuple:
        return given
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else given


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LineItem(Plain):
    """One line of an order; its limits are checked with the request that it is part of.

    Raises:
        TypeError: An amount is a float, or of another type that is not a number.
    """

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
    """Other fields of a line item in a response; never sent."""


_ITEM_FIELDS = ("name", "unit_price", "code", "quantity", "sku", "tax_amount")
_SOUND_ITEM = (None,) * len(_ITEM_FIELDS)


def _item_faults(items: object, currency: str | None) -> list[Fault]:
    """Check an order's line items, each fault with the item's place."""
    if not isinstance(items, tuple):
        return [Fault("order_line_items", "must be a sequence of LineItem")]
    faults: list[Fault] = []
    amount_problem = amount_rule(currency)
    for index, item in enumerate(items):
        if not isinstance(item, LineItem):
            faults.append(Fault(f"order_line_items[{index}]", "must be a LineItem"))
            continue
        problems = (
            text_problem(item.name, NAME),
            amount_problem(item.unit_price),
            None if item.code is None else text_problem(item.code, NAME),
            None if item.quantity is None else count_problem(item.quantity),
            None if item.sku is None else text_problem(item.sku, NAME),
            None if item.tax_amount is None else amount_problem(item.tax_amount),
        )
        if problems != _SOUND_ITEM:
            found = zip(_ITEM_FIELDS, problems, strict=True)
            faults += faults_of(found, f"order_line_items[{index}].")
    return faults


_LINK_FIELDS = (
    *("channel", "to", "order_number", "currency", "timestamp", "from_"),
    *("payment_gateway_settings_id", "application_id", "merchant_descriptor", "reconciliation_id"),
    *("return_payment_link", "payment_review_auto_reversal", "transaction_type"),
    *("total_amount", "sub_total_amount", "tax_amount"),
)
_SOUND_LINK = (None,) * len(_LINK_FIELDS)


@hiding_fields
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PaymentLinkRequest(Plain):
    """A payment link to be made, and sent over `channel` (contract: PayByLinkRequest).

    The order number is the identity of the link: reuse one, and less can be known after a lost
    response.

    Raises:
        RequestValidationError: With every fault of the request in `.faults`.
        TypeError: An amount is a float, or of another type that is not a number.
    """

    channel: Channel = attrs.field(converter=_channel)
    """A `Channel`, or its name in any case."""
    to: str = attrs.field(converter=phone_digits, repr=masked)
    """The customer's phone number, country code first: `27831234567`, `+27 83 123 4567`, or an int.
    It is kept as 7 to 15 digits."""
    order_number: str
    """1 to 32 characters, not blank, and no blanks around them."""
    currency: str = attrs.field(converter=_upper)
    """An ISO 4217 code; it decides how many decimals the amounts may have."""
    total_amount: Decimal = attrs.field(converter=amount)
    """Greater than 0; `sub_total_amount` plus `tax_amount`, where both are given."""
    timestamp: datetime = attrs.field(factory=_default_time)
    """The time of the order. Default: now. The service keeps milliseconds."""
    from_: str | None = attrs.field(default=None, repr=masked)
    """The sender that the customer sees."""
    tax_amount: Decimal | None = attrs.field(default=None, converter=amount)
    """At least 0."""
    sub_total_amount: Decimal | None = attrs.field(default=None, converter=amount)
    """Greater than 0."""
    payment_gateway_settings_id: str | None = None
    additional_data: Any = attrs.field(default=None, converter=snapshot, hash=False, repr=keys_only)
    """Any JSON, stored with the record; status look-ups and callbacks return it."""
    return_payment_link: bool | None = None
    """True to get the link's URL in the response."""
    application_id: str | None = None
    """The integration that makes the link (`Integrator.application_id`): callbacks go to it."""
    payment_review_auto_reversal: bool | None = None
    """True to have the service reverse a payment that is left in review."""
    transaction_type: TransactionType | None = attrs.field(
        default=None, converter=_transaction_type
    )
    """`SALE` or `AUTHORIZATION`."""
    order_line_items: tuple[LineItem, ...] = attrs.field(default=(), converter=_items)
    """The items of the order, which the payment page may show."""
    reconciliation_id: str | None = None
    """At most 60 characters; status look-ups return it."""
    merchant_descriptor: str | None = None
    """The merchant's name, as the customer's card statement shows it."""

    def __attrs_post_init__(self) -> None:
        """Check everything at once: attrs' own validators would stop at the first fault."""
        wrong_currency = currency_problem(self.currency)
        currency = None if wrong_currency else self.currency
        settings, descriptor = self.payment_gateway_settings_id, self.merchant_descriptor
        reconciliation, kind = self.reconciliation_id, self.transaction_type
        shows_link, reverses = self.return_payment_link, self.payment_review_auto_reversal
        # No call for a field without a value, and no dict: they would cost a third of all this.
        problems = (
            choice_problem(self.channel, _CHANNELS),
            phone_problem(self.to),
            identity_problem(self.order_number, ORDER_NUMBER),
            wrong_currency,
            moment_problem(self.timestamp),
            None if self.from_ is None else text_problem(self.from_),
            None if settings is None else text_problem(settings),
            None if self.application_id is None else text_problem(self.application_id),
            None if descriptor is None else text_problem(descriptor),
            None if reconciliation is None else text_problem(reconciliation, RECONCILIATION_ID),
            None if shows_link is None else flag_problem(shows_link),
            None if reverses is None else flag_problem(reverses),
            None if kind is None else choice_problem(kind, _TRANSACTION_TYPES),
            *self._amount_problems(currency),
        )
        nested: list[Fault] = []
        if self.additional_data is not None:
            nested += json_faults("additional_data", self.additional_data)
        if self.order_line_items != ():
            nested += _item_faults(self.order_line_items, currency)
        if nested or problems != _SOUND_LINK:
            faults = faults_of(zip(_LINK_FIELDS, problems, strict=True))
            raise RequestValidationError("PaymentLinkRequest", (*faults, *nested))

    def _amount_problems(self, currency: str | None) -> tuple[str | None, str | None, str | None]:
        total, sub_total, tax = self.total_amount, self.sub_total_amount, self.tax_amount
        problem_of = amount_rule(currency)
        wrong_total = problem_of(total)
        wrong_sub_total = None if sub_total is None else problem_of(sub_total)
        wrong_tax = None if tax is None else amount_rule(currency, zero=True)(tax)
        if (
            (sub_total is not None and tax is not None)
            and not (wrong_total or wrong_sub_total or wrong_tax)
            and exact_sum(sub_total, tax) != total
        ):
            # The service answers 400 to this, in these words.
            wrong_total = "is not equal to the sum of tax and sub-total"
        return wrong_total, wrong_sub_total, wrong_tax


Amount: TypeAlias = Decimal | int | str


class _RequiredLinkFields(TypedDict):
    channel: Channel | ChannelName
    to: str | int
    order_number: str
    currency: str
    total_amount: Amount


class PaymentLinkFields(_RequiredLinkFields, TypedDict, total=False):
    """The fields of a `PaymentLinkRequest` as keywords of `create_payment_link`.

    Type checkers know the names of channels and transaction types, and find a misspelt one.
    """

    timestamp: datetime
    from_: str | None
    tax_amount: Amount | None
    sub_total_amount: Amount | None
    payment_gateway_settings_id: str | None
    additional_data: Any
    return_payment_link: bool | None
    application_id: str | None
    payment_review_auto_reversal: bool | None
    transaction_type: TransactionType | TransactionTypeName | None
    order_line_items: Iterable[LineItem]
    reconciliation_id: str | None
    merchant_descriptor: str | None


def delivery_problem(request: PaymentLinkRequest) -> str | None:
    """Demand that somebody gets the link; a program's single call may have its own reasons."""
    if request.channel is not Channel.NONE or request.return_payment_link:
        return None
    return (
        "is none, over which no message is sent, and return_payment_link is not true: nobody would "
        "get the link; set it, or write sms or whatsapp"
    )


@hiding_fields
@attrs.frozen(kw_only=True, eq=False, repr=False)
class LinkReference(Plain):
    """The link to cancel, or the payment to reverse.

    Raises:
        RequestValidationError: The reference is blank, or has blanks around it.
    """

    payment_link_ref: str
    """The link's reference: `PaymentLink.payment_link_ref`."""

    def __attrs_post_init__(self) -> None:
        name = type(self).__name__
        refuse(name, {"payment_link_ref": reference_problem(self.payment_link_ref)})


@attrs.frozen(eq=False, repr=False)
class Capture(Plain):
    """The authorization to capture, and how much of it.

    Raises:
        RequestValidationError: With every fault of the capture in `.faults`.
        TypeError: The amount is a float, or of another type that is not a number.
    """

    payment_link_ref: str
    """The paid link's reference."""
    amount: Decimal | None = attrs.field(default=None, converter=amount)
    """In the link's currency, greater than 0. Default: all of it."""
    currency: str | None = attrs.field(default=None, converter=_upper, eq=False)
    """The link's currency, which decides how many decimals the amount may have. It is not sent.
    Default: not known; then an amount has at most 2 decimals. `XXX`: it may have any."""

    def __attrs_post_init__(self) -> None:
        given, currency = self.amount, self.currency
        wrong_currency = None if currency is None else currency_problem(currency)
        known = NO_CURRENCY if wrong_currency else currency  # one fault is enough
        problems = {
            "payment_link_ref": reference_problem(self.payment_link_ref),
            "amount": None if given is None else capture_problem(given, known),
            "currency": wrong_currency,
        }
        refuse("Capture", problems)


@hiding_fields
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReceiptRequest(Plain):
    """The receipt to send (contract: PaymentReceiptRequest).

    Raises:
        RequestValidationError: With every fault of the receipt in `.faults`.
    """

    payment_link_ref: str
    """The paid link's reference."""
    receipt_link: str = attrs.field(repr=masked)
    """The receipt's URL, which the customer gets."""
    timestamp: datetime = attrs.field(factory=_default_time)
    """The receipt's time. Default: now."""

    def __attrs_post_init__(self) -> None:
        problems = {
            "payment_link_ref": identity_problem(self.payment_link_ref),
            "receipt_link": identity_problem(self.receipt_link),
            "timestamp": moment_problem(self.timestamp),
        }
        refuse("ReceiptRequest", problems)


@hiding_fields
@attrs.frozen(kw_only=True, eq=False, repr=False)
class TransactionQuery(Plain):
    """The identities to look a transaction up by: at least one.

    Raises:
        RequestValidationError: None is given, or one is blank or has blanks around it.
    """

    order_number: str | None = None
    """The order's number. Of two links that share one, either may be found."""
    payment_link_ref: str | None = None
    """The link's reference."""
    receipt_link_ref: str | None = None
    """The reference of its receipt. A record names one receipt: where the link may have a later
    one, pass `payment_link_ref`, too."""

    def __attrs_post_init__(self) -> None:
        given = {name: value for name, value in attrs.asdict(self).items() if value is not None}
        problem = "pass this, payment_link_ref or receipt_link_ref"
        problems = {name: identity_problem(value) for name, value in given.items()}
        refuse("TransactionQuery", problems if given else {"order_number": problem})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConfigurationQuery(Plain):
    """An empty request: the key says which account's configuration."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IntegrationRequest(Plain):
    """A new status for an integration (contract: IntegrationStatusRequest)."""

    application_uuid: str
    status: IntegrationStatus = attrs.field(converter=_integration_status)

    def __attrs_post_init__(self) -> None:
        problems = {
            "application_uuid": identity_problem(self.application_uuid),
            "status": choice_problem(self.status, _INTEGRATION_STATUSES),
        }
        refuse("IntegrationRequest", problems)
