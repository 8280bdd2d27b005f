"""From status, headers and bytes to a result or an error, and to what it proves. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

import attrs

from chat2pay_async import errors
from chat2pay_async._api import models
from chat2pay_async._api.codec import structure
from chat2pay_async._api.json import decode_object, decode_response
from chat2pay_async._api.operations import CREATE_RECEIPT, Operation
from chat2pay_async._api.redaction import redact
from chat2pay_async._config import ApiKey
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import ApiError, Attempt, Chat2PayError, Proof

__all__ = [
    "RECEIPT_NOT_SENT",
    "ParsedResponse",
    "RawResponse",
    "form_of",
    "proof_of",
    "read_response",
    "retry_after",
]

R = TypeVar("R")
T = TypeVar("T")


@attrs.frozen
class RawResponse(Generic[T]):
    """A result of `client.with_raw_response`, with all of its HTTP exchange.

    The body may hold personal data and the payment page's URL, so `repr` leaves it out.
    """

    parsed: T
    status_code: int
    """Status of the response that `parsed` was read from; see `recovered`."""
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    """Names in lower case."""
    body: bytes = attrs.field(repr=False)
    """The bytes as received."""
    attempts: tuple[Attempt, ...]
    """Every attempt, the successful one last."""
    elapsed: float
    """Seconds, waiting included."""
    recovered: bool = False
    """True if the response is a look-up's, since the operation's own was lost."""


class ParsedResponse(NamedTuple, Generic[R]):
    """The proof, and the result or the error, in one response."""

    proof: Proof
    result: R | None = None
    error: Chat2PayError | None = None
    retry_after: float | None = None
    """Seconds that the service asks to wait."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    429: errors.RateLimitedError,
}
RECEIPT_NOT_SENT: Final = "the receipt was created, but its message was not sent"
_SUCCESSES, _CLIENT_ERRORS, _SERVER_ERRORS = range(200, 300), range(400, 500), range(500, 600)
# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_APPLIED = Proof.APPLIED
_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429


def proof_of(status_code: int, *, applied: bool) -> Proof:
    """Decide what a response proves.

    Args:
        status_code: Its HTTP status.
        applied: True if its body carries the operation's proof.
    """
    if status_code in _SUCCESSES:
        return _APPLIED if applied else Proof.UNKNOWN
    if status_code == _TOO_EARLY:
        return Proof.NOT_SENT
    if status_code == _TOO_MANY:
        return Proof.THROTTLED
    if status_code in _CLIENT_ERRORS and status_code != _REQUEST_TIMEOUT:
        return Proof.REJECTED
    # Every 5xx, a 503 with Retry-After too: a proxy says it while the back end still works.
    return Proof.UNKNOWN


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read how many seconds a response asks to wait; None if it does not say, or unreadably."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year or an offset of twenty digits overflows
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _number(text: str) -> float | None:
    text = text.strip()
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    return float(text) if whole and digits.isascii() and digits.isdigit() else None


def read_response(
    operation: Operation[Any, R], request: Any, response: WireResponse, key: ApiKey | None = None
) -> ParsedResponse[R]:
    """Judge the response to a request.

    Args:
        operation: What was called.
        request: The request.
        response: The response.
        key: Shown in no error, even if the service repeats it.
    """
    status = response.status_code
    data = decode_response(response.body)
    if status not in _SUCCESSES:
        error = _api_error(operation, request, response, data or {}, key)
        pause = retry_after(response.headers)
        return ParsedResponse(proof_of(status, applied=False), error=error, retry_after=pause)
    result = None if data is None else structure(operation.result, data)
    if result is not None and operation.proves(request, result):
        return ParsedResponse(proof_of(status, applied=True), result=result)
    what = "no JSON object" if result is None else "no proof that it was applied"
    unproved = errors.ResponseDecodeError(
        f"{operation.name}: the response {status} carries {what}",
        status_code=status,
        body=response.body,
    )
    return ParsedResponse(proof_of(status, applied=False), error=unproved)


def _api_error(
    operation: Operation[Any, Any],
    request: Any,
    response: WireResponse,
    data: dict[str, Any],
    key: ApiKey | None,
) -> ApiError:
    status = response.status_code
    identity = operation.identity(request)

    def shown(text: str) -> str:
        return redact(text if key is None else key.masked_in(text), identity)

    messages = (_texts(data.get(name)) for name in ("message", "error", "reason"))
    message = next((shown(text) for texts in messages for text in texts), None)
    reasons = tuple(map(shown, _texts(data.get("errors"))))
    kind = _BY_STATUS.get(status, errors.ServerError if status in _SERVER_ERRORS else ApiError)
    given = "; ".join(dict.fromkeys(filter(None, (message, *reasons))))
    receipt = None
    if operation is CREATE_RECEIPT and kind is errors.BadRequestError:
        # The contract declares the success schema for this 400: created, but not sent.
        receipt = structure(models.Receipt, data)
    if receipt and receipt.receipt_link_ref:
        kind = errors.ReceiptNotSentError
        why = receipt.error and receipt.error.description
        given = RECEIPT_NOT_SENT + (f" ({shown(why)})" if why else "")
    code = data.get("reasonCode")
    error = kind(
        f"{operation.name}: {status}: {given or 'no reason given'}",
        status_code=status,
        message=message,
        errors=reasons,
        reason_code=code if isinstance(code, (int, str)) else None,
        headers=response.headers,
        body=response.body,
    )
    if isinstance(error, errors.RateLimitedError):
        error.retry_after = retry_after(response.headers)
    if isinstance(error, errors.ReceiptNotSentError):
        error.receipt = receipt
    return error


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text.strip()]


def form_of(response: WireResponse) -> str:
    """Describe a response without its values, such as `404 {errors: [str], message: str}`."""
    data = decode_object(response.body)
    return f"{response.status_code} {'no JSON object' if data is None else _form(data)}"


_DEEPEST = 8
"""Levels of a response that its form shows."""


def _form(value: Any, depth: int = _DEEPEST) -> str:
    if not isinstance(value, (dict, list)):
        return type(value).__name__
    if not depth:
        return "…"
    if isinstance(value, dict):
        # A key may be the caller's own, and a phone number.
        shown = (f"{redact(key)}: {_form(one, depth - 1)}" for key, one in value.items())
        return "{" + ", ".join(shown) + "}"
    return "[" + ", ".join(dict.fromkeys(_form(one, depth - 1) for one in value)) + "]"
