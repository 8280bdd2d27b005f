"""From status, headers and bytes to a result or an error, and to what it proves. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import MAXYEAR, UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import urlsplit

import attrs
import msgspec

from chat2pay_async import errors
from chat2pay_async._api import models
from chat2pay_async._api.codec import structure
from chat2pay_async._api.json import decode_any, decode_object, decode_response
from chat2pay_async._api.operations import CREATE_RECEIPT, Operation, Safety
from chat2pay_async._api.redaction import redact, shortened, stated_in, stated_in_text
from chat2pay_async._api.requests import keys_only
from chat2pay_async._config import ApiKey
from chat2pay_async._transport.base import ExchangeError, WireResponse
from chat2pay_async._values import Value
from chat2pay_async.errors import ApiError, Attempt, Chat2PayError, Proof

__all__ = [
    "RECEIPT_NOT_SENT",
    "REFUSALS",
    "Outcome",
    "RawResponse",
    "date_of",
    "failed_outcome",
    "foreign_text",
    "form_of",
    "is_cached",
    "is_own_refusal",
    "is_refusal",
    "may_be_the_services",
    "read_response",
    "recovered_outcome",
    "retry_after",
    "unproven_outcome",
]

R = TypeVar("R")
T = TypeVar("T")


def _shown(parsed: object) -> str:
    """Show a result; of JSON that no model redacts, at most the names."""
    return repr(parsed) if attrs.has(type(parsed)) else keys_only(parsed)


@attrs.frozen(eq=False, repr=False)
class RawResponse(Value, Generic[T]):
    """A result of `client.with_raw_response`, with all of its HTTP exchange.

    The body may hold personal data and the payment page's URL, so `repr` leaves it out.
    """

    parsed: T = attrs.field(repr=_shown)
    """The result, as `AsyncChat2Pay`'s method of the same name returns it."""
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
    replayed: bool = False
    """True if it is what the journal has of an earlier call. Its status is 200, without headers."""


_NONE: Any = None


class Outcome(msgspec.Struct, Generic[R], frozen=True):
    """One attempt's end, or what look-ups made of it."""

    proof: Proof
    result: R = _NONE
    """None where it was not applied."""
    error: Chat2PayError | None = None
    response: WireResponse | None = None
    """The response that it was read from: its own, or the look-up's."""
    retry_after: float | None = None
    """Seconds that the service asks to wait."""
    reason: str | None = None
    """The name of what ended it without a response."""
    recovered: bool = False
    """True where it was read back by a look-up."""
    replayed: bool = False
    """True where it is an earlier call's, which had the same key."""
    is_final: bool = False
    """True where the same again would end alike: nobody could be reached, for a reason that stays;
    or, of a POST, for a refusal in a form that is not the service's own. It may have been applied.
    If it was not, it is not retried."""

    @property
    def is_foreign(self) -> bool:
        """True for a block page or the like: somebody who is not the service refused it."""
        response = self.response
        return self.is_final and response is not None and response.status_code in REFUSALS


_BY_STATUS: dict[int, type[ApiError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    429: errors.RateLimitedError,
}
RECEIPT_NOT_SENT: Final = "the receipt was created, but its message was not sent"
_SERVER_ERRORS = range(500, 600)
_SUCCESS = range(200, 300)
_UNAUTHORIZED, _PROXY_WANTS_USER = 401, 407
_REDIRECTS = range(300, 400)
_ELSEWHERE: Final = frozenset({_PROXY_WANTS_USER, *_REDIRECTS})
"""Statuses that the service has no use for."""
REFUSALS: Final = frozenset({401, 403, 404})
"""The statuses of a block page, or of a wrong base URL."""
_CLIENT_ERRORS = range(400, 500)
_TOO_EARLY, _TOO_MANY = 425, 429
_BETWEEN: Final = frozenset({408, 409, 423, 424, 444, 460, 499})
"""4xx that come from whoever stands between, who may speak after the service has acted."""
_BEFORE_AN_OBJECT: Final = b"\xef\xbb\xbf \t\r\n"
# Python 3.11 takes 0.4 µs to find a member in its enum, each time.
_APPLIED, _UNKNOWN = Proof.APPLIED, Proof.UNKNOWN


def is_own_refusal(
    status_code: int, data: Mapping[str, Any] | None, proof_fields: Iterable[str] = ()
) -> bool:
    """Tell whether a 4xx is the service's own word: then it looked at the request, and refused.

    It is a JSON object with a list of `errors`, or with a `status` that names the HTTP status
    (`401`, `NOT_FOUND`, `404 NOT_FOUND`). A lone `message` is anybody's.

    Args:
        status_code: The HTTP status.
        data: The body's JSON object; None where it is none.
        proof_fields: Fields that only an applied request has.
    """
    if data is None or status_code not in _CLIENT_ERRORS or status_code in _BETWEEN:
        return False
    if any(data.get(field) is not None for field in proof_fields):
        return False
    return isinstance(data.get("errors"), list) or _names(data.get("status"), status_code)


def is_refusal(status_code: int | None) -> bool:
    """Tell whether a status refuses a request, whoever says it; None: there was no response."""
    return status_code in _CLIENT_ERRORS and status_code not in _BETWEEN


def _names(status: object, status_code: int) -> bool:
    """Tell whether a body's `status` names an HTTP status."""
    if isinstance(status, bool) or not isinstance(status, int | str):
        return False
    code = str(status_code)
    name = str(status).strip().upper().replace(" ", "_").removeprefix(f"{code}_")
    # The members have a status' old names too: which one is its own depends on Python's version.
    return name == code or HTTPStatus.__members__.get(name) == status_code


def _proof_of_refusal(status_code: int, *, is_own: bool) -> Proof:
    """Return what a response that is no 2xx proves."""
    if status_code == _TOO_EARLY:
        return Proof.NOT_SENT
    if status_code == _TOO_MANY:
        return Proof.THROTTLED
    # Every 5xx is unknown, a 503 with Retry-After too: a proxy says it while the back end works.
    return Proof.REJECTED if is_own else _UNKNOWN


def is_cached(headers: Mapping[str, str]) -> bool:
    """Tell a cache's copy: it shows the past. RFC 9111 gives it an `Age`.

    Each proxy on the way may add one: `0, 0`.
    """
    ages = headers.get("age")
    return ages is not None and any(age.strip().strip("0") for age in ages.split(","))


def may_be_the_services(response: WireResponse) -> bool:
    """Tell whether the service itself may have sent a response, and just now.

    The time of a cache, or of a block page, is not the service's time.
    """
    if is_cached(response.headers):
        return False
    if response.status_code in _CLIENT_ERRORS:
        return is_own_refusal(response.status_code, decode_object(response.body))
    return response.body.lstrip(_BEFORE_AN_OBJECT).startswith(b"{")


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """Return the time on the clock of whoever sent a response; None where it does not say."""
    moment = _read_date(headers.get("date", ""))
    # Nothing can be added to a time in the calendar's last year: it may not be a date any more.
    return None if moment is None or moment.year == MAXYEAR else moment


@lru_cache(maxsize=16)  # a date stays the same for a second, and hundreds of responses have it
def _read_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # a year or an offset of twenty digits overflows
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a response asks to wait; None where it does not say intelligibly.

    A date is compared with the response's own `Date`: no clock of this machine is asked.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    until, now = _read_date(text), date_of(headers)
    if until is None or now is None:
        return None
    return max(0.0, (until - now).total_seconds())


def _number(text: str) -> float | None:
    text = text.strip()
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    number = float(text) if whole and digits.isascii() and digits.isdigit() else math.inf
    return number if math.isfinite(number) else None  # one of 400 digits is not


def read_response(
    operation: Operation[Any, R],
    request: Any,
    response: WireResponse,
    key: ApiKey | None = None,
    host: str = "the base URL",
) -> Outcome[R]:
    """Judge the response to a request.

    Args:
        operation: What was called.
        request: The request.
        response: The response.
        key: Shown in no error, even if the service repeats it.
        host: Who should have sent it.
    """
    status = response.status_code
    data = decode_response(response.body)
    if status in _SUCCESS:
        if data is None and operation.has_look_up:
            kind = _media_type(response.headers)
            return unproven_outcome(operation, response, f"no JSON object ({kind}, from {host})")
        if operation.safety is not Safety.READ and is_cached(response.headers):
            return unproven_outcome(operation, response, "the response to an earlier request")
        result = operation.read(response.body, data or {})
        # A page that answers a write is somebody else's; an empty body may well be the service's.
        is_read = operation.safety is Safety.READ
        is_json = is_read or result is not None or not response.body.strip()
        if is_json and operation.is_proven_by(request, result, data or {}):
            return Outcome(_APPLIED, result, response=response)
        return unproven_outcome(operation, response, "no proof that it was applied")
    receipt = _unsent_receipt(operation, request, status, data or {})
    error = _api_error(operation, request, response, data, key, receipt, host)
    if receipt is not None:
        return Outcome(_APPLIED, cast("R", receipt), error, response)
    is_own = is_own_refusal(status, data, operation.proof_fields)
    proof = _proof_of_refusal(status, is_own=is_own)
    is_final = proof is _UNKNOWN and is_refusal(status) and operation.safety is Safety.ONCE
    asked = retry_after(response.headers)
    return Outcome(proof, error=error, response=response, retry_after=asked, is_final=is_final)


def unproven_outcome(
    operation: Operation[Any, Any], response: WireResponse, what: str
) -> Outcome[Any]:
    """Return the outcome of a 2xx that proves nothing about the request; it carries `what`."""
    error = errors.ResponseDecodeError(
        f"{operation.name}: the response {response.status_code} carries {what}",
        status_code=response.status_code,
        body=response.body,
    )
    return Outcome(_UNKNOWN, error=error, response=response)


_MEDIA_TYPE: Final = re.compile(r"\s*([A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+-]{1,60})")


def _media_type(headers: Mapping[str, str]) -> str:
    found = _MEDIA_TYPE.match(headers.get("content-type", ""))
    return found[1] if found else "no content type"


def foreign_text(host: str, status_code: int, headers: Mapping[str, str]) -> str:
    """Describe a response of somebody who is not the service; of a redirect, the host alone."""
    why = ""
    if status_code in _REDIRECTS:
        why = f"it redirects to {_target_of(headers)}; "
    elif status_code == _PROXY_WANTS_USER:
        why = "it is a proxy that wants a user name and a password, or others; "
    return (
        f"what answers at {host} does not look like Chat 2 Pay "
        f"({status_code}, {_media_type(headers)}): {why}check the base URL, and what stands in "
        "between"
    )


def _target_of(headers: Mapping[str, str]) -> str:
    try:
        host = urlsplit(headers.get("location", "")).hostname or ""
    except ValueError:
        host = ""
    is_shown = host.isascii() and host.replace(".", "").replace("-", "").isalnum()
    return redact(host) if is_shown else "another path"


def failed_outcome(
    operation: Operation[Any, Any], failure: ExchangeError, host: str
) -> Outcome[Any]:
    """Return the outcome of an exchange that brought no response from a host."""
    kind = errors.RequestTimeoutError if failure.timed_out else errors.ConnectionFailedError
    what = "no response from"
    if failure.proof is Proof.NOT_SENT and failure.words:
        what = "could not connect to"
    through = f" through the proxy {failure.proxy}" if failure.proxy else ""
    words = f": {failure.words}" if failure.words else ""
    error: Chat2PayError | None = failure.setting
    if error is None:
        error = kind(f"{operation.name}: {what} {host}{through}{words or f' ({failure.reason})'}")
        error.__cause__ = failure.__cause__
    is_final = failure.is_permanent
    return Outcome(failure.proof, error=error, reason=failure.reason, is_final=is_final)


_RECEIPT_FAILED: Final = frozenset(
    {
        models.TransactionStatus.RECEIPT_LINK_SENT_FAILED,
        models.TransactionStatus.RECEIPT_LINK_REQUEST_FAILED,
    }
)


def recovered_outcome(
    operation: Operation[Any, R], result: R, response: WireResponse
) -> Outcome[R]:
    """Return the outcome of a call that a look-up showed to be applied."""
    error = None
    if isinstance(result, models.Receipt) and result.transaction_status in _RECEIPT_FAILED:
        error = errors.ReceiptNotSentError(
            f"{operation.name}: {RECEIPT_NOT_SENT}",
            status_code=response.status_code,
            headers=response.headers,
            body=response.body,
        )
        error.receipt = result
    return Outcome(_APPLIED, result, error, response, recovered=True)


def _api_error(  # noqa: PLR0913, PLR0917 - what an error is made of
    operation: Operation[Any, Any],
    request: Any,
    response: WireResponse,
    found: dict[str, Any] | None,
    key: ApiKey | None,
    receipt: models.Receipt | None,
    host: str,
) -> ApiError:
    status, data = response.status_code, found or {}
    identity = operation.identity(request)

    def shown(text: str) -> str:
        return shortened(redact(text if key is None else key.masked_in(text), identity))

    message, stated = stated_in(decode_any(response.body) if found is None else found)
    if message is None and found is None:
        message = stated_in_text(response.body, _media_type(response.headers))
    message = None if message is None else shown(message)
    reasons = tuple(map(shown, stated))
    kind = _BY_STATUS.get(status)
    kind = kind or (errors.ServerError if status in _SERVER_ERRORS else ApiError)
    given = "; ".join(dict.fromkeys(filter(None, (message, *reasons))))
    if receipt:
        why = receipt.error and receipt.error.description
        given = RECEIPT_NOT_SENT + (f" ({shown(why)})" if why else "")
    elif found is None or status in _ELSEWHERE:
        foreign = foreign_text(host, status, response.headers)
        given = f"{given}; {foreign}" if given else foreign
    if status == _UNAUTHORIZED:
        given = f"{given or 'no reason given'}; check the API key (CHAT2PAY_API_KEY)"
    code = data.get("reasonCode")
    error = (errors.ReceiptNotSentError if receipt else kind)(
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


def _unsent_receipt(
    operation: Operation[Any, Any], request: Any, status: int, data: dict[str, Any]
) -> models.Receipt | None:
    """Read the receipt in a 400: by the contract, it was created but not sent."""
    if operation is not CREATE_RECEIPT or _BY_STATUS.get(status) is not errors.BadRequestError:
        return None
    receipt = structure(models.Receipt, data)
    return receipt if operation.is_proven_by(request, receipt, data) else None


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
