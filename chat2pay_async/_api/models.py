"""The responses: frozen values, which `chat2pay_async.models` explains."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from chat2pay_async._api.enums import (
    Channel,
    IntegrationStatus,
    IntegratorType,
    PaymentStatus,
    TransactionStatus,
    TransactionType,
)
from chat2pay_async._api.payments import PaymentState, state_of_payment
from chat2pay_async._api.requests import (
    LineItem,
    PaymentLinkFields,
    PaymentLinkRequest,
    extra_fields,
    keys_only,
    masked,
    redacted,
)
from chat2pay_async._values import CREDENTIAL, Plain

__all__ = [
    "Cancellation",
    "Channel",
    "Configuration",
    "Currency",
    "GatewayAnswer",
    "GatewayResult",
    "IntegrationStatus",
    "IntegrationUpdate",
    "Integrator",
    "IntegratorType",
    "LineItem",
    "PaymentLink",
    "PaymentLinkFields",
    "PaymentLinkRequest",
    "PaymentStatus",
    "PaymentStatusEntry",
    "Receipt",
    "ThirdPartyError",
    "Transaction",
    "TransactionStatus",
    "TransactionStatusEntry",
    "TransactionType",
]

Identifier: TypeAlias = int | str
"""An id as received: the contract has the same one as an integer here and as a string there."""


# Every result of a call has its reference: a response without one proves nothing, and is not
# returned. So the type is not optional, although a response that is merely read may lack it.
_GIVEN: Any = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ThirdPartyError(Plain):
    """An error from a system behind the service."""

    code: int | None = None
    description: str | None = attrs.field(default=None, repr=redacted)
    extra: dict[str, Any] = extra_fields()


_UNDELIVERED = frozenset(
    {
        TransactionStatus.PAYMENT_LINK_REQUEST_FAILED,
        TransactionStatus.PAYMENT_LINK_SENT_FAILED,
        TransactionStatus.PAYMENT_LINK_DELIVERY_FAILED,
    }
)
_DELIVERED = frozenset(
    {TransactionStatus.PAYMENT_LINK_SENT, TransactionStatus.PAYMENT_LINK_DELIVERED}
)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PaymentLink(Plain):
    """A payment link that exists (contract: PayByLinkTransactionLogResponse)."""

    payment_link_ref: str = _GIVEN
    """The link's reference: every later operation is about this."""
    transaction_status: TransactionStatus | str | None = None
    """The link's state; `delivered` reads it."""
    transaction_status_id: Identifier | None = None
    timestamp: datetime | None = None
    error: ThirdPartyError | None = None
    payment_link: str | None = attrs.field(default=None, repr=masked)
    """The payment page's URL, if `return_payment_link` asked for it."""
    payment_link_ttl: int | None = None
    """Minutes until an unclicked link expires."""
    payment_page_ttl: int | None = None
    """Minutes that the page lives once the link is clicked."""
    recovered: bool = False
    """True if this was read back from the status endpoint, after a response was lost."""
    replayed: bool = False
    """True if this is the result of an earlier call with the same idempotency key."""
    extra: dict[str, Any] = extra_fields()

    @property
    def delivered(self) -> bool | None:
        """Tell whether the message to the customer went out.

        False: the link exists, but nobody has it. None: no delivery was asked for (channel
        `none`), or the status does not say.
        """
        if self.transaction_status in _UNDELIVERED:
            return False
        # Every other status is reached without a message, too.
        return True if self.transaction_status in _DELIVERED else None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Cancellation(Plain):
    """A link that can no longer be paid (contract: PaymentCancellationResponse)."""

    payment_link_ref: str = _GIVEN
    transaction_status: TransactionStatus | str | None = None
    transaction_status_id: Identifier | None = None
    additional_data: Any = attrs.field(default=None, hash=False, repr=keys_only)
    """A JSON text or an object, as received."""
    timestamp: datetime | None = None
    recovered: bool = False
    """True if this was read back from the status endpoint, after a response was lost."""
    replayed: bool = False
    """True if this is the result of an earlier call with the same idempotency key."""
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GatewayAnswer(Plain):
    """A card gateway's decision, in `GatewayResult` and `PaymentStatusEntry`: ask `succeeded`.

    `repr` masks the fields of the card.
    """

    transaction_type: TransactionType | str | None = None
    """The step that was decided: an authorization, a sale, a capture or a void."""
    total_amount: Decimal | None = None
    """The step's amount, in the link's currency."""
    payment_gateway_decision: str | None = None
    """A word such as ACCEPT or DECLINE; the contract lists none."""
    payment_gateway_req_reference_number: str | None = None
    """The gateway's reference of the step; each step has its own."""
    payment_gateway_response_timestamp: datetime | None = None
    """The time of the gateway's response."""
    payment_gateway_response_code: int | None = None
    """The gateway's code; 100 is a success."""
    payment_gateway_error_decision: str | None = None
    """The gateway's description of an error, if there was one."""
    payment_gateway_auth_reconciliation_reference_number: str | None = None
    """The gateway's number of the transaction, to reconcile by."""
    card_type: str | None = attrs.field(default=None, repr=masked)
    """The kind of card, such as VISA."""
    masked_card_number: str | None = attrs.field(default=None, repr=masked)
    """The card's number, as the gateway masks it."""
    card_expiry_date: str | None = attrs.field(default=None, repr=masked)
    """A text; the contract gives it no form."""

    @property
    def succeeded(self) -> bool | None:
        """True: accepted. False: declined or in error. None: pending, in review or unreadable."""
        return _gateway_verdict(
            self.payment_gateway_decision,
            self.payment_gateway_error_decision,
            self.payment_gateway_response_code,
        )


# The contract gives no list of decisions. These are the words of card gateways' decision fields;
# a word that stands in neither set decides nothing.
_ACCEPTED = frozenset({"ACCEPT", "ACCEPTED", "APPROVE", "APPROVED", "SUCCESS", "SUCCESSFUL"})
_DECLINED = frozenset(
    {"DECLINE", "DECLINED", "REJECT", "REJECTED", "ERROR", "FAIL", "FAILED", "FAILURE", "CANCEL"}
    | {"CANCELLED"}
)
_ACCEPTED_CODE = 100


def _gateway_verdict(decision: str | None, error: str | None, code: int | None) -> bool | None:
    """Read decision, error decision and response code in one table.

    | decision          | error decision | code        | verdict |
    | accepted          | none           | 100 or none | True    |
    | declined          | any            | not 100     | False   |
    | none              | given          | not 100     | False   |
    | none              | none           | 100         | True    |
    | anything else, contradictions included        | None    |
    """
    word = (decision or "").strip().upper()
    failing = bool((error or "").strip()) and (error or "").strip().upper() not in _ACCEPTED
    accepting_code = code == _ACCEPTED_CODE
    if word in _DECLINED or (not word and failing):
        return None if accepting_code else False
    if failing or word not in _ACCEPTED | {""}:
        return None
    if word:
        return True if accepting_code or code is None else None
    return True if accepting_code else None


_UNDONE = frozenset({PaymentStatus.REVERSED, PaymentStatus.VOIDED})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GatewayResult(GatewayAnswer):
    """A gateway's decision on a capture or a reversal: not yet a success, ask `succeeded`.

    Contract: PaymentGatewayOperationResultResponse.
    """

    payment_status: PaymentStatus | str | None = None
    """The payment's new status, if it was changed."""
    payment_status_id: Identifier | None = None
    recovered: bool = False
    """True if this was read back from the status endpoint, after a response was lost."""
    replayed: bool = False
    """True if this is the result of an earlier call with the same idempotency key."""
    extra: dict[str, Any] = extra_fields()

    @property
    def succeeded(self) -> bool | None:
        """True: accepted. False: declined or in error. None: pending, in review or unreadable.

        A reversal that was read back may lack a gateway's decision: there the payment's status
        says that it is undone.
        """
        words = (self.payment_gateway_decision, self.payment_gateway_error_decision)
        code = self.payment_gateway_response_code
        undecided = words == (None, None) and code is None
        if self.recovered and undecided and self.transaction_type == TransactionType.VOID:
            return True if self.payment_status in _UNDONE else None
        return _gateway_verdict(*words, code)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PaymentStatusEntry(GatewayAnswer):
    """One step in a payment's history (contract: PaymentStatusLogResponse)."""

    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Receipt(Plain):
    """A receipt that exists (contract: PaymentReceiptResponse)."""

    receipt_link_ref: str | None = None
    """The receipt's reference; `get_transaction` finds its link by it."""
    order_number: str | None = None
    timestamp: datetime | None = None
    transaction_status: TransactionStatus | str | None = None
    transaction_status_id: Identifier | None = None
    error: ThirdPartyError | None = None
    """The reason for which its message was not sent, in a `ReceiptNotSentError`."""
    recovered: bool = False
    """True if this was read back from the status endpoint, after a response was lost."""
    replayed: bool = False
    """True if this is the result of an earlier call with the same idempotency key."""
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TransactionStatusEntry(Plain):
    """One step in a link's history (contract: TransactionStatusEntryResponse)."""

    transaction_status_id: Identifier | None = None
    transaction_status_name: TransactionStatus | str | None = None
    created: datetime | None = None
    http_response_code: int | None = None
    response_code: str | None = None
    response_code_description: str | None = attrs.field(default=None, repr=redacted)
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Integrator(Plain):
    """A program that is connected to the account.

    Contract: IntegratorStatusResponse in a configuration; IntegratorResponse, which has neither
    `status` nor `type`, in a transaction.
    """

    application_id: str | None = None
    """The id that `update_integration` and `PaymentLinkRequest.application_id` take."""
    name: str | None = None
    status: IntegrationStatus | str | None = None
    type: IntegratorType | str | None = None
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TransactionRecord(Plain):
    """The fields of a link's full record, in `Transaction` and in a callback.

    Fields that `PaymentLinkRequest` has, too, are explained there.
    """

    order_number: str | None = None
    payment_link_ref: str | None = None
    transaction_statuses: tuple[TransactionStatusEntry, ...] = ()
    """The history of the link and its receipts."""
    payment_statuses: tuple[PaymentStatusEntry, ...] = ()
    """The history of the payment: each decision of the gateway."""
    payment_status: PaymentStatus | str | None = None
    """The payment's state now."""
    payment_status_id: Identifier | None = None
    payment_status_timestamp: datetime | None = None
    total_amount: Decimal | None = None
    receipt_link_ref: str | None = None
    """The reference of a receipt; a link may have several, and the record names one."""
    channel_name: Channel | str | None = None
    currency: str | None = None
    tax_amount: Decimal | None = None
    sub_total_amount: Decimal | None = None
    additional_data: Any = attrs.field(default=None, hash=False, repr=keys_only)
    """A JSON text or an object, as received; `parsed_additional_data` reads either."""
    payment_status_conversion_time: datetime | None = None
    integrator: Integrator | None = None
    """The integration that made the link."""
    payment_review_auto_reversal: bool | None = None
    transaction_type: TransactionType | str | None = None
    environment: str | None = None
    reconciliation_id: str | None = None
    merchant_descriptor: str | None = None
    order_line_items: tuple[LineItem, ...] = ()
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Transaction(TransactionRecord):
    """The full record of a link (contract: TransactionStatusEndpointResponse).

    The payment page's URL is never part of it.

    A payment status of SUCCESS is shown for a payment that is authorized, captured or sold alike:
    ask `is_authorized`, `is_captured` and `is_paid`. Each is None where the record can't tell: its
    history is unreadable, contradicts its status, or has a step that the gateway has not decided.
    """

    @property
    def _state(self) -> PaymentState:
        return state_of_payment(self)

    @property
    def is_authorized(self) -> bool | None:
        """True while the amount is held on the card: neither captured nor reversed yet."""
        return self._state.authorized

    @property
    def is_captured(self) -> bool | None:
        """True if an authorization was captured, in whole or in part, and that was not undone."""
        return self._state.captured

    @property
    def is_paid(self) -> bool | None:
        """True if the money was taken, by a sale or a capture, and that was not undone."""
        return self._state.paid

    @property
    def is_reversed(self) -> bool | None:
        """True if a reversal took effect: of the authorization, or of its capture."""
        return self._state.reversed

    @property
    def is_declined(self) -> bool | None:
        """True if the payment itself was declined; a declined capture or reversal is none."""
        return self._state.declined

    @property
    def is_expired(self) -> bool | None:
        """True if the link expired before anybody paid."""
        return self._state.expired

    @property
    def is_cancelled(self) -> bool | None:
        """True if the link was cancelled before anybody paid."""
        return self._state.cancelled

    @property
    def is_open(self) -> bool | None:
        """True while the customer may still pay."""
        return self._state.open

    @property
    def authorized_amount(self) -> Decimal | None:
        """The amount that was authorized, also after a capture or reversal; 0 if none was."""
        return self._state.authorized_amount

    @property
    def captured_amount(self) -> Decimal | None:
        """The amount that was captured and not undone; 0 if none is."""
        return self._state.captured_amount

    @property
    def paid_amount(self) -> Decimal | None:
        """The amount that was taken, by a sale or a capture, and not undone; 0 if none is."""
        return self._state.paid_amount

    @property
    def parsed_additional_data(self) -> Any:
        """Read the JSON text in `additional_data` (decimals exact); anything else is unchanged."""
        if not isinstance(self.additional_data, str):
            return self.additional_data
        try:
            return json.loads(self.additional_data, parse_float=Decimal)
        except (ValueError, ArithmeticError, RecursionError):
            return self.additional_data


_LINK_ENDED = frozenset(
    {TransactionStatus.PAYMENT_LINK_CANCELLED, TransactionStatus.PAYMENT_URL_EXPIRED}
)


def link_ended(transaction: Transaction) -> bool:
    """Tell whether a link was cancelled or has expired, so that nobody can open it any more."""
    names = (entry.transaction_status_name for entry in transaction.transaction_statuses)
    return not _LINK_ENDED.isdisjoint(name for name in names if name is not None)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Currency(Plain):
    """A currency that the account can charge (contract: CurrencyResponse)."""

    id: int | None = None
    iso: str | None = None
    """The ISO 4217 code, such as ZAR."""
    name: str | None = None
    symbol: str | None = None
    is_default: bool | None = None
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConfigurationRecord(Plain):
    """The fields of an account's settings, in `Configuration` and in a callback."""

    update_time: datetime | None = None
    whatsapp_channel_enabled: bool | None = None
    sms_channel_enabled: bool | None = None
    integrators: tuple[Integrator, ...] = ()
    api_key: str | None = attrs.field(default=None, repr=masked, metadata={CREDENTIAL: True})
    """The account's key, which the service repeats; `repr` masks it, `to_dict` leaves it out."""
    supported_currencies: tuple[Currency, ...] = ()
    environment: str | None = None
    extra: dict[str, Any] = extra_fields()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Configuration(ConfigurationRecord):
    """The settings of the account (contract: DetailedWidgetConfigResponse)."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IntegrationUpdate(Plain):
    """The confirmation that an integration's status was set (contract: EntityUpdatedResponse)."""

    update_time: datetime | None = None
    """The time of the change."""
    recovered: bool = False
    """True if this was read back from the configuration, after a response was lost."""
    extra: dict[str, Any] = extra_fields()
