"""The contract's rules about requests: every error in a request is found and named."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Context, Decimal
from typing import Final, TypeVar, cast

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._service import json
from chat2pay_async.sandbox._service.records import Channel, Order, TransactionType

_T = TypeVar("_T")

_CHANNELS: Final[Mapping[str, Channel]] = {each.name.lower(): each for each in Channel}
_TYPES: Final[Mapping[str, TransactionType]] = {
    "authorization": TransactionType.AUTHORIZATION,
    "sale": TransactionType.SALE,
}
_INTEGRATION_STATUSES: Final = ("ACTIVATED", "DEACTIVATED", "DELETED")

_CURRENCY: Final = re.compile(r"[A-Za-z]{3}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
# The colon in the offset may be missing, as it is in the service's own timestamps.
_TIMESTAMP: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)", re.ASCII
)
# No payment needs more digits; without a limit, sums would not stay exact.
_MOST_DIGITS: Final = 40
_EXACT: Final = Context(prec=2 * _MOST_DIGITS)


class InvalidRequestError(SandboxError):
    """A request breaks rules of the contract; its arguments are a message for each."""


def read_order(body: bytes, currencies: Collection[str]) -> Order:
    """Read a create request.

    Raises:
        InvalidRequestError: It breaks rules.
    """
    fields = _fields(body)
    currency = fields.text("currency", required=True, pattern=_CURRENCY).upper()
    if currency.isalpha() and currency not in currencies:
        fields.refuse(f"currency {currency} is not supported")
    fields.timestamp("timestamp")
    for name in ("from", "paymentGatewaySettingsId"):
        fields.text(name)
    order = Order(
        channel=fields.choice("channel", _CHANNELS),
        to=fields.text("to", required=True),
        order_number=fields.text("orderNumber", required=True, longest=32),
        currency=currency,
        total=fields.amount("totalAmount", required=True) or Decimal(0),
        tax=fields.amount("taxAmount", zero=True),
        sub_total=fields.amount("subTotalAmount"),
        transaction_type=fields.choice("transactionType", _TYPES, TransactionType.SALE),
        return_payment_link=fields.flag("returnPaymentLink"),
        review_auto_reversal=fields.flag("paymentReviewAutoReversal"),
        application_id=fields.text("applicationId") or None,
        additional_data=fields.json_object("additionalData"),
        reconciliation_id=fields.text("reconciliationId", longest=60) or None,
        merchant_descriptor=fields.text("merchantDescriptor") or None,
        line_items=fields.items("orderLineItems", _read_line_item),
    )
    fields.done()
    tax, sub_total = order.tax, order.sub_total
    if tax is not None and sub_total is not None and _EXACT.add(sub_total, tax) != order.total:
        raise InvalidRequestError("Total amount is not equal to the sum of tax and subtotal")
    return order


def read_receipt(body: bytes) -> str:
    """Read a receipt request, and return its payment link reference.

    Raises:
        InvalidRequestError: It breaks rules.
    """
    fields = _fields(body)
    ref = fields.text("paymentLinkRef", required=True)
    fields.text("receiptLink", required=True)
    fields.timestamp("timestamp")
    fields.done()
    return ref


def read_integration(body: bytes) -> tuple[str, str]:
    """Read an integration update, and return the application's UUID and its new status.

    Raises:
        InvalidRequestError: It breaks rules.
    """
    fields = _fields(body)
    application_uuid = fields.text("applicationUuid", required=True)
    status = fields.text("status", required=True)
    if status and status not in _INTEGRATION_STATUSES:
        fields.refuse(f"status must be one of {', '.join(_INTEGRATION_STATUSES)}")
    fields.done()
    return application_uuid, status


def read_amount(text: str) -> Decimal:
    """Read the amount of a capture.

    Raises:
        InvalidRequestError: It is not a number.
    """
    amount = _number(text)
    if amount is None:
        raise InvalidRequestError("amount must be a number")
    return amount


def _fields(body: bytes) -> "_Fields":
    try:
        value = json.loads(body)
    except ValueError:
        raise InvalidRequestError("The request body is not readable JSON") from None
    if not isinstance(value, dict):
        raise InvalidRequestError("The request body must be a JSON object")
    return _Fields(cast("Mapping[str, object]", value))


def _read_line_item(fields: "_Fields") -> Mapping[str, object]:
    item = {
        "code": fields.text("code", longest=255) or None,
        "name": fields.text("name", required=True, longest=255),
        "quantity": fields.whole("quantity"),
        "sku": fields.text("sku", longest=255) or None,
        "unitPrice": fields.amount("unitPrice", required=True),
        "taxAmount": fields.amount("taxAmount"),
    }
    return {name: value for name, value in item.items() if value is not None}


def _number(value: object) -> Decimal | None:
    # The service accepts a quoted number too.
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    number = Decimal(value)
    fits = len(number.as_tuple().digits) <= _MOST_DIGITS and abs(number.adjusted()) < _MOST_DIGITS
    return number if fits else None


def _whole(text: str) -> str:
    # JSON can write half a character, UTF-8 can't: what can't be sent back is not kept.
    return text if text.isascii() else text.encode(errors="replace").decode()


class _Fields:
    """A reader of a request's fields, which collects the errors in them.

    Each method returns something of the right type whatever it found, so that all errors are found
    before `done` raises them.
    """

    def __init__(self, values: Mapping[str, object], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix
        self._errors: list[str] = []

    def refuse(self, message: str) -> None:
        self._errors.append(f"{self._prefix}{message}")

    def done(self) -> None:
        if self._errors:
            raise InvalidRequestError(*self._errors)

    def text(
        self,
        name: str,
        *,
        required: bool = False,
        longest: int | None = None,
        pattern: re.Pattern[str] | None = None,
    ) -> str:
        value = self._typed(name, str, "a string", required=required)
        if value is None:
            return ""
        if required and not value.strip():
            self.refuse(f"{name} must not be blank")
        elif longest is not None and len(value) > longest:
            self.refuse(f"{name} must have at most {longest} characters")
        elif pattern is not None and not pattern.fullmatch(value):
            self.refuse(f"{name} must match {pattern.pattern}")
        else:
            return _whole(value)
        return ""

    def amount(self, name: str, *, required: bool = False, zero: bool = False) -> Decimal | None:
        value = self._value(name, required=required)
        if value is None:
            return None
        number = _number(value)
        if number is None:
            self.refuse(f"{name} must be a number")
        elif number < 0 or (number == 0 and not zero):
            self.refuse(f"{name} must be greater than {'or equal to ' if zero else ''}0")
        return number

    def whole(self, name: str) -> int | None:
        expected = "a whole number of at least 1"
        value = self._typed(name, int, expected)
        if value is not None and value < 1:
            self.refuse(f"{name} must be {expected}")
        return value

    def flag(self, name: str) -> bool:
        return self._typed(name, bool, "true or false") is True

    def choice(self, name: str, choices: Mapping[str, _T], default: _T | None = None) -> _T:
        value = self._value(name, required=default is None)
        if value is None and default is not None:
            return default
        chosen = choices.get(value.lower()) if isinstance(value, str) else None
        if chosen is None and value is not None:
            self.refuse(f"{name} must be one of {', '.join(choices)}")
        return next(iter(choices.values())) if chosen is None else chosen

    def timestamp(self, name: str) -> None:
        text = self.text(name, required=True)
        if not text:
            return
        try:
            datetime.fromisoformat(text)
            valid = _TIMESTAMP.fullmatch(text) is not None
        except ValueError:
            valid = False
        if not valid:
            self.refuse(f"{name} must be a date and time with an offset (RFC 3339)")

    def json_object(self, name: str) -> str | None:
        value = self._typed(name, dict, "a JSON object")
        if value is None:
            return None
        try:
            return _whole(json.dumps(value))
        except ValueError as error:
            self.refuse(f"{name} is {error}")
            return None

    def items(self, name: str, read: Callable[["_Fields"], _T]) -> tuple[_T, ...] | None:
        value = self._typed(name, list, "a list")
        if value is None:
            return None
        return tuple(self._item(f"{name}[{index}]", item, read) for index, item in enumerate(value))

    def _item(self, where: str, value: object, read: Callable[["_Fields"], _T]) -> _T:
        if isinstance(value, dict):
            inner = _Fields(cast("Mapping[str, object]", value), f"{where}.")
            item = read(inner)
            self._errors.extend(inner._errors)
            return item
        self.refuse(f"{where} must be an object")
        return read(_Fields({}))

    def _typed(
        self, name: str, kind: type[_T], expected: str, *, required: bool = False
    ) -> _T | None:
        value = self._value(name, required=required)
        # A bool is an int to Python, but no number in JSON.
        if value is None or type(value) is kind:
            return value
        self.refuse(f"{name} must be {expected}")
        return None

    def _value(self, name: str, *, required: bool = False) -> object:
        value = self._values.get(name)
        if value is None and required:
            self.refuse(f"{name} is required")
        return value
