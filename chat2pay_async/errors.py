"""The errors of calls, and what each one proves.

    Chat2PayError
    ├── ConfigurationError            no key, a bad base URL, plain http to another machine, …
    ├── RequestValidationError        it breaks the contract and was not sent (a ValueError)
    ├── FileFaultsError               rows of a file have faults; nothing was sent (a ValueError)
    ├── TransportError                no usable response; not applied, or harmless to repeat
    │   ├── ConnectionFailedError     no connection, or one that broke
    │   └── RequestTimeoutError       a phase of the exchange, or the total deadline, ran out
    ├── ApiError                      the service responded with a refusal
    │   ├── BadRequestError           400
    │   │   └── ReceiptNotSentError   a receipt was made, but its message was not sent
    │   ├── AuthenticationError       401
    │   ├── PermissionDeniedError     403
    │   ├── NotFoundError             404
    │   ├── ConflictError             409
    │   ├── RateLimitedError          429
    │   └── ServerError               5xx
    ├── ResponseDecodeError           a 2xx about something else
    ├── IdempotencyConflictError      its key is known, with another content; not sent
    ├── JournalError                  the journal can't be used, or can't be written any more
    ├── RunStoppedError               a run stopped itself: too much of it failed, or no connection
    ├── CallbackError                 what was posted is no callback, or is about something else
    └── OutcomeUnknownError           it may have been applied: `client.resolve` it, don't repeat it

Each error says which operation failed (`operation`) and what every attempt at it proved
(`attempts`), survives pickling, and shows no key, phone number or card number. One that is rebuilt
from its class and its text alone, as Celery does it where results are JSON, keeps both; what else
it had is lost.

A money-moving call that raises another `Chat2PayError` than `OutcomeUnknownError` moved nothing (a
`ReceiptNotSentError` has its receipt). So this keeps "failed" and "unknown" apart:

    try:
        link = await client.create_payment_link(request)
    except OutcomeUnknownError as error:
        save_for_later(error.pending)      # and `client.resolve(pending)` before it is sent again
    except Chat2PayError:
        ...                                # certain: no link was made

A call that is cancelled from outside (`asyncio.timeout`, a client that disconnects) can't raise an
error of ours. Where it may have been applied, the journal has it, or `client.unsettled`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import attrs
import msgspec

__all__ = [
    "ApiError",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "CallbackError",
    "Chat2PayError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "Fault",
    "FileFaultsError",
    "IdempotencyConflictError",
    "JournalError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Pending",
    "PermissionDeniedError",
    "Proof",
    "RateLimitedError",
    "ReceiptNotSentError",
    "RequestTimeoutError",
    "RequestValidationError",
    "ResponseDecodeError",
    "RunStoppedError",
    "SentRequest",
    "ServerError",
    "TransportError",
]


class Proof(enum.StrEnum):
    """The proof that one attempt gives of its effect; it alone decides what may happen next."""

    NOT_SENT = "not sent"
    """Nothing reached the service: no connection, no handshake, no permission to send yet."""
    THROTTLED = "throttled"
    """The service refused to look at it for now (429)."""
    REJECTED = "rejected"
    """The service looked at it and refused."""
    APPLIED = "applied"
    """The response carries the field that only an applied request has."""
    UNKNOWN = "unknown"
    """Anything else: it may have been applied."""


@attrs.frozen
class Attempt:
    """One try at a call."""

    started_at: datetime
    """Time at which it began, by this machine's clock, in UTC."""
    elapsed: float
    """Duration in seconds."""
    proof: Proof
    status_code: int | None = None
    """The status of the response; None if none came."""
    error: str | None = None
    """The name of the HTTP library's exception, if there was one."""


_DIGITS = re.compile(r"(?<![0-9a-f-])[0-9]{7,15}(?![0-9a-f-])")
"""A phone number in the path of an endpoint that this version does not know."""


@attrs.frozen
class SentRequest:
    """A request exactly as it is written to the connection, by every attempt of a call."""

    method: str
    target: str = attrs.field(repr=lambda target: _DIGITS.sub("***", target.partition("?")[0]))
    """Path and query, percent-encoded, below the base URL."""
    body: bytes | None = attrs.field(
        default=None, repr=lambda body: "None" if body is None else f"<{len(body)} bytes>"
    )
    """The JSON of the body; None where there is none."""


@attrs.frozen
class Pending:
    """A call whose outcome is unknown: all that is needed to resolve it, on any machine, later.

    A plain value: it pickles, and `to_json` and `from_json` carry it through a database or a queue.
    The request in it holds personal data (a phone number), which `repr` leaves out.
    """

    operation: str
    """The method that was called, such as `create_payment_link`."""
    identity: str
    """The order number (of a link) or the payment link reference (of everything else).

    Empty for `client.request`."""
    request: SentRequest
    """The request that may have been applied."""
    base_url: str
    key_fingerprint: str
    """A fingerprint of the API key of the latest attempt, which does not show it."""
    request_id: str | None
    """The minted id that the request carries, where it carries one."""
    first_attempt: Attempt
    """The first that may have been applied."""
    last_attempt: Attempt
    """The latest that may have been applied."""
    service_time: datetime | None = None
    """The beginning of the first attempt, on the service's clock; None where that was not known."""
    settle: float = 10.0
    """The call's `RetryPolicy.settle`, in seconds."""
    read_timeout: float = 30.0
    """The call's `Timeout.read`, in seconds."""
    resend_when_absent: bool = True
    """The call's `RetryPolicy.resend_when_absent`."""
    idempotency_key: str | None = attrs.field(default=None, repr=False)
    """The call's key, where its caller gave it one of its own."""

    def to_json(self) -> str:
        """Write it as JSON. It holds personal data: keep it as you keep phone numbers."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Pending:
        """Read what `to_json` wrote; fields of later versions are ignored.

        Raises:
            ValueError: It is something else.
        """
        pending, problem = None, ""
        try:
            pending = msgspec.json.decode(text, type=cls)
        except (TypeError, ValueError) as error:
            problem = str(error)  # it names a field, but the error may hold the text
        del text  # no tool shows it
        if pending is None:
            raise ValueError(f"this is not what Pending.to_json wrote: {problem}")
        first, last = pending.first_attempt.started_at, pending.last_attempt.started_at
        if any(
            moment is not None and not moment.tzinfo
            for moment in (first, last, pending.service_time)
        ):
            raise ValueError("this is not what Pending.to_json wrote: a time has no offset")
        return pending


@attrs.frozen
class Fault:
    """One problem of a request."""

    field: str
    """The field's path, such as `order_line_items[2].unit_price`."""
    problem: str
    """The problem, and what to pass instead."""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


def _rebuild(
    kind: type[Chat2PayError], args: tuple[Any, ...], state: dict[str, Any]
) -> Chat2PayError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Chat2PayError(Exception):
    """The base of all errors that this package raises on purpose.

    Attributes:
        operation: The method that was called, such as `capture_payment`; None outside a call.
        attempts: What each attempt at the call proved, in order.
    """

    def __init__(
        self,
        message: str = "",
        *,
        operation: str | None = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.attempts = attempts

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild without calling `__init__`, whose keyword arguments pickle does not know."""
        return _rebuild, (type(self), self.args, self.__dict__)


class ConfigurationError(Chat2PayError):
    """The client can't work as it was set up or used; the message says what to change."""


class RequestValidationError(Chat2PayError, ValueError):
    """A request breaks the contract; it was not sent.

    Attributes:
        faults: Everything that is wrong with it, all at once.
    """

    def __init__(self, subject: str = "", faults: tuple[Fault, ...] = ()) -> None:
        problems = "; ".join(map(str, faults))
        super().__init__(f"{subject}: {problems}" if faults else subject)
        self.faults = faults


class FileFaultsError(Chat2PayError, ValueError):
    """Rows of a file have faults; nothing of it was given away.

    Attributes:
        faults: Everything that is wrong with the file, grouped by column and problem.
    """

    def __init__(self, subject: str = "", faults: tuple[object, ...] = ()) -> None:
        super().__init__("; ".join((subject, *map(str, faults))))
        self.faults = faults


class TransportError(Chat2PayError):
    """No usable response came, and nothing was applied (or it is harmless to repeat)."""


class ConnectionFailedError(TransportError):
    """No connection could be made, or it broke."""


class RequestTimeoutError(TransportError):
    """A phase of the exchange, or the total deadline, ran out.

    Nothing was applied, or it is harmless to repeat.
    """


class ApiError(Chat2PayError):
    """The service responded with a refusal.

    Attributes:
        status_code: The HTTP status; 0 where only the error's text is left, and its class does not
            tell.
        message: The service's own words (long digit runs such as phone numbers are masked).
        errors: Its list of reasons, masked likewise.
        reason_code: Its reason code, where it gave one.
        headers: The response's headers, names in lower case.
        body: The response's bytes as received, personal data included.
    """

    _usual_status = 0

    def __init__(  # noqa: PLR0913 - a response has this many parts, and each is a plain value
        self,
        text: str = "",
        *,
        status_code: int | None = None,
        message: str | None = None,
        errors: tuple[str, ...] = (),
        reason_code: str | int | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes = b"",
    ) -> None:
        super().__init__(text)
        self.status_code: int = self._usual_status if status_code is None else status_code
        self.message = message
        self.errors = errors
        self.reason_code = reason_code
        self.headers: dict[str, str] = dict(headers)
        self.body = body


class BadRequestError(ApiError):
    """400: the request, or the state of what it is about, does not allow it."""

    _usual_status = 400


class ReceiptNotSentError(BadRequestError):
    """A receipt that was created, but whose message could not be sent: a 400, or a look-up says so.

    Attributes:
        receipt: The `Receipt`, with its reference, and its error where the response has one.
    """

    receipt: Any = None


class AuthenticationError(ApiError):
    """401: the API key is missing, wrong or no longer valid."""

    _usual_status = 401


class PermissionDeniedError(ApiError):
    """403: the API key may not do this."""

    _usual_status = 403


class NotFoundError(ApiError):
    """404: nothing there under this reference."""

    _usual_status = 404


class ConflictError(ApiError):
    """409: the state of what the request is about does not allow it."""

    _usual_status = 409


class RateLimitedError(ApiError):
    """429: the service wants fewer requests.

    Attributes:
        retry_after: How long it asks to wait, in seconds; None if it did not say.
    """

    _usual_status = 429
    retry_after: float | None = None


class ServerError(ApiError):
    """5xx in the last attempt. Nothing was applied, or it is harmless to repeat."""


class ResponseDecodeError(Chat2PayError):
    """A 2xx that is not about what was asked, or no JSON object.

    A POST raises it only after a look-up showed that nothing was applied.

    Attributes:
        status_code: The HTTP status; 0 where only the error's text is left.
        body: The response's bytes as received.
    """

    def __init__(self, text: str = "", *, status_code: int = 0, body: bytes = b"") -> None:
        super().__init__(text)
        self.status_code = status_code
        self.body = body


class IdempotencyConflictError(Chat2PayError):
    """The idempotency key is known, and what was sent with it is something else. It was not sent.

    Correct the request, or pass another `idempotency_key` if both are meant.

    Attributes:
        key: The idempotency key: the order number, a reference, or the caller's own.
        differences: The names of the fields that differ, such as `total_amount`.
    """

    def __init__(self, text: str = "", *, key: str = "", differences: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.key = key
        self.differences = differences


class JournalError(Chat2PayError):
    """A journal can't be used, or can't be written any more; the message says why.

    Nothing is sent that is not in the journal, and nothing that is in it is lost.
    """


class RunStoppedError(Chat2PayError):
    """A run stopped itself; the message says why.

    A larger share of it failed than `stop_at_failure_rate` allows, nothing could be sent for
    `give_up_after` seconds, or somebody who is not the service answers in its place.
    """


class CallbackError(Chat2PayError):
    """A posted body is no callback, or names nothing, or another order than its link has."""


class OutcomeUnknownError(Chat2PayError):
    """The request may have been applied: do not send it again, resolve it.

    Attributes:
        is_foreign: True where the call, and its look-up, were refused by somebody who is not the
            service: a block page, or a wrong base URL.
    """

    is_foreign: bool = False

    def __init__(self, text: str = "", *, pending: Pending | None = None) -> None:
        super().__init__(text)
        self._pending = pending

    @property
    def pending(self) -> Pending:
        """The call, with all that is needed to settle it later.

        Raises:
            AttributeError: The error was rebuilt from its text alone, as Celery does it where
                results are JSON. Store `pending.to_json()` where the call is made.
        """
        if self._pending is None:
            raise AttributeError(
                "only the text of this error is left: it went through JSON. Store "
                "`error.pending.to_json()` where the call is made"
            )
        return self._pending
