"""Every error has its place in the tree, pickles, and hides secrets."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chat2pay_async
from chat2pay_async import errors, models
from chat2pay_async.errors import (
    Attempt,
    Chat2PayError,
    Fault,
    Pending,
    Proof,
    RequestValidationError,
    SentRequest,
)

ATTEMPT = Attempt(
    datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC), 0.25, Proof.UNKNOWN, 502, "RemoteProtocolError"
)
REQUEST = SentRequest("POST", "/api/v2/chat-2-pay?to=27831234567", b'{"to":"27831234567"}')
PENDING = Pending(
    operation="create_payment_link",
    identity="A-1001",
    request=REQUEST,
    base_url="https://chat2pay.example",
    key_fingerprint="0123456789abcdef",
    request_id=None,
    first_attempt=ATTEMPT,
    last_attempt=ATTEMPT,
)

SAMPLES: dict[str, Any] = {
    "message": "It says so.",
    "text": "capture_payment: 409: it says so",
    "subject": "PaymentLinkRequest",
    "operation": "capture_payment",
    "attempts": (ATTEMPT, attrs.evolve(ATTEMPT, proof=Proof.NOT_SENT)),
    "faults": (Fault("to", "is required"), Fault("currency", "is no currency")),
    "status_code": 409,
    "errors": ("already captured", "try nothing"),
    "reason_code": "R-7",
    "headers": {"date": "Mon, 04 May 2026 03:02:01 GMT"},
    "body": b'{"message":"Request failed"}',
    "receipt": models.Receipt(receipt_link_ref="rcpt-1", extra={"new": 1}),
    "retry_after": 2.5,
    "key": "A-1",
    "differences": ("currency", "total_amount"),
    "pending": PENDING,
    "is_foreign": True,
}
"""A value for each parameter and attribute that an error has; a new one needs a row here."""


def every_error(kind: type[Chat2PayError] = Chat2PayError) -> Iterator[type[Chat2PayError]]:
    if kind.__module__.partition(".")[0] == chat2pay_async.__name__:
        yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


def attributes_of(kind: type[Chat2PayError]) -> set[str]:
    """Everything an instance has of its own, from constructors and from annotations."""
    names: set[str] = set()
    for base in kind.__mro__:
        if issubclass(base, Chat2PayError):
            names |= set(inspect.get_annotations(base)) | set(inspect.signature(base).parameters)
    # These make the error's own text; `message` is kept where the service has said it.
    made_into_text = {"text", "subject"}
    if not issubclass(kind, errors.ApiError):
        made_into_text.add("message")
    return names - made_into_text


def make(kind: type[Chat2PayError]) -> Chat2PayError:
    parameters = inspect.signature(kind).parameters
    error = kind(**{name: SAMPLES[name] for name in parameters})
    for name in attributes_of(kind) - set(parameters):
        setattr(error, name, SAMPLES[name])
    return error


def pickled(error: Chat2PayError, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes


COPIES: dict[str, Callable[[Chat2PayError], Any]] = {
    **{
        f"pickle protocol {number}": lambda error, number=number: pickled(error, number)  # type: ignore[misc]
        for number in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
}


def rebuilt(error: Chat2PayError) -> Any:
    """An error after JSON, as Celery's `exception_to_python` rebuilds it."""
    written = {"module": type(error).__module__, "name": type(error).__name__, "args": error.args}
    read = json.loads(json.dumps(written))
    return getattr(sys.modules[read["module"]], read["name"])(*read["args"])


def tree_in_the_docstring() -> dict[str, str | None]:
    """Class → parent, as drawn at the top of the file."""
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    for indented in (errors.__doc__ or "").splitlines():
        line = indented.removeprefix("    ")
        branch = re.match(r"((?:│   |    )*)(?:├── |└── )(\w+)", line)
        if branch is None and line != "Chat2PayError":
            continue
        depth, name = (len(branch[1]) // 4 + 1, branch[2]) if branch else (0, line)
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else None
    return drawn


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    real = {
        kind.__name__: None if kind is Chat2PayError else kind.__bases__[0].__name__
        for kind in every_error()
        if kind.__module__ == errors.__name__
    }
    assert tree_in_the_docstring() == real


def test_the_tree_is_the_published_one() -> None:
    assert tree_in_the_docstring() == {
        "Chat2PayError": None,
        "ConfigurationError": "Chat2PayError",
        "RequestValidationError": "Chat2PayError",
        "TransportError": "Chat2PayError",
        "ConnectionFailedError": "TransportError",
        "RequestTimeoutError": "TransportError",
        "ApiError": "Chat2PayError",
        "BadRequestError": "ApiError",
        "ReceiptNotSentError": "BadRequestError",
        "AuthenticationError": "ApiError",
        "PermissionDeniedError": "ApiError",
        "NotFoundError": "ApiError",
        "ConflictError": "ApiError",
        "RateLimitedError": "ApiError",
        "ServerError": "ApiError",
        "ResponseDecodeError": "Chat2PayError",
        "FileFaultsError": "Chat2PayError",
        "IdempotencyConflictError": "Chat2PayError",
        "JournalError": "Chat2PayError",
        "RunStoppedError": "Chat2PayError",
        "CallbackError": "Chat2PayError",
        "OutcomeUnknownError": "Chat2PayError",
    }


def test_only_what_is_wrong_with_a_value_is_a_builtin_error_as_well() -> None:
    also = {kind.__name__ for kind in every_error() if issubclass(kind, (ValueError, OSError))}
    assert also == {"RequestValidationError", "FileFaultsError"}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_survives_being_copied(
    kind: type[Chat2PayError], duplicate: Callable[[Chat2PayError], Any]
) -> None:
    error = make(kind)
    twin = duplicate(error)
    assert twin is not error
    assert type(twin) is kind
    assert twin.args == error.args
    assert str(twin) == str(error)
    assert {name: getattr(twin, name) for name in attributes_of(kind)} == {
        name: SAMPLES[name] for name in attributes_of(kind)
    }
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_an_operation_and_attempts_from_the_start(
    kind: type[Chat2PayError],
) -> None:
    fresh = kind(
        **{
            name: SAMPLES[name]
            for name in inspect.signature(kind).parameters
            if name not in {"operation", "attempts"}
        }
    )
    assert (fresh.operation, fresh.attempts) == (None, ())
    assert {"operation", "attempts"} <= attributes_of(kind)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_is_rebuilt_from_its_class_and_its_text(kind: type[Chat2PayError]) -> None:
    error = make(kind)
    twin = rebuilt(error)
    assert type(twin) is kind
    assert (str(twin), twin.args) == (str(error), error.args)
    assert (twin.operation, twin.attempts) == (None, ())
    assert str(rebuilt(twin)) == str(error)
    assert pickled(twin).args == error.args


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_needs_no_argument(kind: type[Chat2PayError]) -> None:
    assert str(kind()) == ""


def test_a_rebuilt_api_error_has_the_status_of_its_class() -> None:
    statuses = {kind: rebuilt(make(kind)).status_code for kind in every_error(errors.ApiError)}
    assert statuses == {
        errors.ApiError: 0,
        errors.BadRequestError: 400,
        errors.ReceiptNotSentError: 400,
        errors.AuthenticationError: 401,
        errors.PermissionDeniedError: 403,
        errors.NotFoundError: 404,
        errors.ConflictError: 409,
        errors.RateLimitedError: 429,
        errors.ServerError: 0,
    }


def test_a_rebuilt_error_of_unknown_outcome_says_where_to_take_the_pending_call_from() -> None:
    twin = rebuilt(errors.OutcomeUnknownError("it may have been applied", pending=PENDING))
    with pytest.raises(AttributeError, match=r"went through JSON.*pending\.to_json\(\)"):
        _ = twin.pending
    assert not hasattr(twin, "pending")


def test_a_bare_subclass_of_a_user_survives_too() -> None:
    error = copy.copy(_UsersOwnError("no", reason="because"))
    assert (str(error), error.reason, error.operation) == ("no", "because", None)


class _UsersOwnError(Chat2PayError):
    def __init__(self, text: str, *, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


def test_notes_that_were_added_to_an_error_travel_with_it() -> None:
    error = errors.ConnectionFailedError("gone")
    error.add_note("row 17 of spring.csv")
    assert pickled(error).__notes__ == ["row 17 of spring.csv"]


def test_a_copy_has_its_own_attributes() -> None:
    error = errors.ConnectionFailedError("gone")
    twin = copy.copy(error)
    twin.operation = "get_transaction"
    assert error.operation is None


def test_an_api_error_keeps_headers_of_its_own() -> None:
    headers = {"date": "now"}
    error = errors.ApiError("no", status_code=418, headers=headers)
    headers.clear()
    assert error.headers == {"date": "now"}


def test_an_api_error_needs_no_more_than_its_status() -> None:
    error = errors.ApiError("no", status_code=418)
    assert (error.message, error.errors, error.reason_code, error.headers, error.body) == (
        None,
        (),
        None,
        {},
        b"",
    )


def test_parts_that_only_some_responses_have_are_none_by_default() -> None:
    assert errors.ReceiptNotSentError("no", status_code=400).receipt is None
    assert errors.RateLimitedError("no", status_code=429).retry_after is None


def test_a_fault_reads_as_field_and_problem() -> None:
    fault = Fault("order_line_items[2].unit_price", "must be greater than 0")
    assert str(fault) == "order_line_items[2].unit_price: must be greater than 0"


def test_a_validation_error_lists_every_fault() -> None:
    error = RequestValidationError("PaymentLinkRequest", SAMPLES["faults"])
    assert str(error) == "PaymentLinkRequest: to: is required; currency: is no currency"
    assert error.faults == SAMPLES["faults"]
    with pytest.raises(ValueError, match="to: is required"):
        raise error


@pytest.mark.parametrize("shown", [repr(REQUEST), repr(PENDING), str(PENDING)])
def test_a_pending_call_shows_neither_body_nor_query(shown: str) -> None:
    assert "27831234567" not in shown
    assert "to=" not in shown
    assert "/api/v2/chat-2-pay" in shown
    assert f"<{len(REQUEST.body or b'')} bytes>" in shown


def test_a_request_without_body_says_so() -> None:
    path = "/api/v2/customers/27831234567/links/0a1b2c3d-0000-4000-8000-123456789012"
    assert "target=/api/v2/customers/***/links/0a1b2c3d-0000-4000-8000-123456789012" in (
        repr(SentRequest("GET", path))
    )
    assert repr(SentRequest("GET", "/api/v2/config")) == (
        "SentRequest(method='GET', target=/api/v2/config, body=None)"
    )


def test_a_pending_call_survives_pickling_with_every_byte() -> None:
    twin = pickle.loads(pickle.dumps(PENDING))  # noqa: S301 - our own bytes
    assert twin == PENDING
    assert (twin.request.body, twin.request.target) == (REQUEST.body, REQUEST.target)


INSTANTS = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])
)
# What UTF-8 can't carry is refused when a request is built.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SECONDS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
ATTEMPTS = st.builds(
    Attempt,
    started_at=INSTANTS,
    elapsed=SECONDS,
    proof=st.sampled_from(Proof),
    status_code=st.none() | st.integers(100, 599),
    error=st.none() | TEXTS,
)
PENDINGS = st.builds(
    Pending,
    operation=TEXTS,
    identity=TEXTS,
    request=st.builds(SentRequest, method=TEXTS, target=TEXTS, body=st.none() | st.binary()),
    base_url=TEXTS,
    key_fingerprint=TEXTS,
    request_id=st.none() | TEXTS,
    first_attempt=ATTEMPTS,
    last_attempt=ATTEMPTS,
    service_time=st.none() | INSTANTS,
    settle=SECONDS,
    read_timeout=SECONDS,
    resend_when_absent=st.booleans(),
)


@given(PENDINGS)
def test_a_pending_call_survives_json_and_pickling(pending: Pending) -> None:
    text = pending.to_json()
    twins = [Pending.from_json(text), Pending.from_json(text.encode()), _pickled(pending)]
    for twin in twins:
        assert twin == pending
        assert hash(twin) == hash(pending)  # by which a client knows it again
        assert twin.request.body == pending.request.body


def _pickled(pending: Pending) -> Pending:
    twin: Pending = pickle.loads(pickle.dumps(pending))  # noqa: S301 - our own bytes
    return twin


def test_a_pending_call_as_json_is_read_by_later_and_earlier_versions() -> None:
    data = json.loads(PENDING.to_json())
    assert set(data) == {field.name for field in attrs.fields(Pending)}
    later = data | {"new": 1, "request": data["request"] | {"new": 1}}
    assert Pending.from_json(json.dumps(later)) == PENDING
    optional = {"service_time", "settle", "read_timeout", "resend_when_absent"}
    earlier = {name: value for name, value in data.items() if name not in optional}
    assert Pending.from_json(json.dumps(earlier)) == PENDING


DATA: dict[str, Any] = json.loads(PENDING.to_json())
REQUIRED = [field.name for field in attrs.fields(Pending) if field.default is attrs.NOTHING]
NAIVE = "2026-05-04T03:02:01"


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "null", "[]", "{}", "1", '"27831234567"', '{"to": "27831234567"}'),
        *(json.dumps(DATA | {name: {}}) for name in DATA),
        *(json.dumps({k: v for k, v in DATA.items() if k != name}) for name in REQUIRED),
        json.dumps(DATA | {"settle": "27831234567"}),
        json.dumps(DATA | {"settle": float("nan")}),
        json.dumps(DATA | {"service_time": NAIVE}),
        json.dumps(DATA | {"first_attempt": DATA["first_attempt"] | {"started_at": NAIVE}}),
        json.dumps(DATA | {"last_attempt": DATA["last_attempt"] | {"started_at": NAIVE}}),
        json.dumps(DATA | {"request": DATA["request"] | {"body": '{"to":"27831234567"}'}}),
    ],
)
def test_what_is_no_pending_call_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"this is not what Pending\.to_json wrote") as caught:
        Pending.from_json(text)
    assert "27831234567" not in "".join(traceback.format_exception(caught.value))


def test_an_attempt_shows_what_happened_and_when() -> None:
    assert repr(Attempt(ATTEMPT.started_at, 0.25, Proof.REJECTED, 404)) == (
        "Attempt(started_at=datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.timezone.utc), "
        "elapsed=0.25, proof=<Proof.REJECTED: 'rejected'>, status_code=404, error=None)"
    )


@pytest.mark.parametrize("value", [ATTEMPT, REQUEST, PENDING, Fault("to", "is required")])
def test_the_plain_values_are_frozen(value: object) -> None:
    field = attrs.fields(type(value))[0].name  # type: ignore[arg-type]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, field, "other")


def test_there_are_five_proofs_and_no_more() -> None:
    assert [str(proof) for proof in Proof] == [
        "not sent",
        "throttled",
        "rejected",
        "applied",
        "unknown",
    ]
