"""Ends of calls in a journal: results, errors and attempts as JSON, and back.

A result is stored as the service's own response where there was one. A result that look-ups read
back is written in the same form, and read in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

import attrs
import msgspec

from chat2pay_async import errors
from chat2pay_async._api import codec, models
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import OPERATIONS, Operation, content_of
from chat2pay_async._api.responses import Outcome, recovered_outcome
from chat2pay_async._journal.content import write_content
from chat2pay_async._journal.store import OPEN, Account, Claim, End, Row, RowState
from chat2pay_async._texts import alike_number
from chat2pay_async._transport.base import WireResponse
from chat2pay_async._values import Value
from chat2pay_async.errors import Attempt, Chat2PayError, Pending, Proof

__all__ = [
    "Detail",
    "Prior",
    "changed_in",
    "claim_again",
    "claim_of",
    "conflict",
    "content_in",
    "end_after",
    "end_of",
    "operation_of",
    "prior_of",
    "read_detail",
    "result_of",
    "results_of",
    "state_after",
    "state_of",
    "stored_outcome",
]

_encoder = msgspec.json.Encoder(decimal_format="number")
_OWN = frozenset({"extra", "recovered", "replayed"})
"""Fields of a model that are no fields of a response."""
_BY_NAME = {operation.name: operation for operation in OPERATIONS}
_PROOFS = {proof.value: proof for proof in Proof}
_OK: Final = 200

Q = TypeVar("Q")


# Claims ------------------------------------------------------------------------------------------


def claim_of(  # noqa: PLR0913 - the parts of a claim
    operation: Operation[Q, Any],
    request: Q,
    key: str,
    run: str | None = None,
    line: int | None = None,
    *,
    takes_rejected: bool = True,
) -> Claim:
    """Return the question whether a request may be sent with a key."""
    return Claim(
        operation=operation.name,
        key=key,
        identity=operation.identity(request),
        content=write_content(content_of(operation, request)),
        run=run,
        line=line,
        folded=alike_number(key),
        takes_rejected=takes_rejected,
    )


def claim_again(row: Row) -> Claim:
    """Return the claim that a row was made with."""
    return Claim(row.operation, row.key, row.identity, row.content)


def content_in(call: Any) -> bytes:
    """Return the content of a call."""
    return write_content(content_of(call.operation, call.request))


def conflict(operation: str, key: str, changed: tuple[str, ...]) -> errors.IdempotencyConflictError:
    """Return the error of a call whose key is known with another content."""
    return errors.IdempotencyConflictError(
        f"{operation}: not sent: its idempotency key was used before with another "
        f"{', '.join(changed)}. Undo the change; or, if both are meant, pass another "
        "idempotency_key",
        key=key,
        differences=changed,
    )


_SHOWN: Final = ("total_amount", "currency", "channel", "transaction_type")
"""Fields of a request that a transaction shows, under these names or their own."""


def changed_in(
    request: object, found: object, response: WireResponse | None
) -> tuple[str, ...] | None:
    """Compare a request with what a look-up found in its place, by somebody unknown.

    Args:
        request: The request.
        found: What was read of it; a link's own values are few.
        response: The look-up's response, which shows more.

    Returns:
        The names of the fields that differ, as far as it shows them; None where nothing was read.
    """
    if found is None:
        return None
    if isinstance(found, models.PaymentLink) and response is not None:
        data = decode_object(response.body)
        found = found if data is None else codec.structure(models.Transaction, data)
    changed: list[str] = []
    for name in _SHOWN:
        asked = getattr(request, name, None)
        shown = getattr(found, name, None) or getattr(found, f"{name}_name", None)
        if asked is not None and shown is not None and asked != shown:
            changed.append(name)
    return tuple(changed)


def operation_of(name: str) -> Operation[Any, Any]:
    """Return an operation by the name that the journal has."""
    return _BY_NAME[name]


# States ------------------------------------------------------------------------------------------

_NOT_FINAL = frozenset({401, 403})


def state_after(result: object) -> RowState:
    """Return the state after a call that returned: a gateway's response may be no success."""
    if isinstance(result, models.GatewayResult) and result.succeeded is not True:
        return RowState.UNKNOWN if result.succeeded is None else RowState.REJECTED
    return RowState.APPLIED


def state_of(error: Chat2PayError) -> RowState:
    """Return the state after a call that raised."""
    if isinstance(error, errors.OutcomeUnknownError):
        return RowState.UNKNOWN
    if isinstance(error, errors.ReceiptNotSentError):
        return RowState.APPLIED  # the receipt exists without its message
    if isinstance(error, (errors.RequestValidationError, errors.IdempotencyConflictError)):
        return RowState.REJECTED
    if isinstance(error, errors.ApiError) and error.status_code not in _NOT_FINAL:
        # 408, 425, 429 and 5xx prove something else.
        refused = bool(error.attempts) and error.attempts[-1].proof is Proof.REJECTED
        return RowState.REJECTED if refused else RowState.FAILED
    return RowState.FAILED


# Writing -----------------------------------------------------------------------------------------


def end_of(  # noqa: PLR0913 - the parts of an end
    state: RowState,
    result: object = None,
    error: Chat2PayError | None = None,
    attempts: Sequence[Attempt] = (),
    response: WireResponse | None = None,
    *,
    is_found: bool = False,
) -> End:
    """Return the journal's note of a call's end.

    Args:
        state: The row's state from now.
        result: The result.
        error: The error.
        attempts: The attempts.
        response: The last response to a POST.
        is_found: True: this is what was found in its place, and nothing was sent.
    """
    recovered = bool(getattr(result, "recovered", False))
    return End(
        state=state,
        response=None if response is None else response.body,
        result=_encoder.encode(_plain(result)) if recovered else None,
        detail=_write_detail(error, attempts, recovered=recovered),
        is_found=is_found,
    )


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        fields = {name: getattr(value, name) for name in attrs.fields_dict(type(value))}
        known = {
            codec.wire_name(name): _plain(inner)
            for name, inner in fields.items()
            if name not in _OWN and inner is not None
        }
        return known | fields["extra"]
    if isinstance(value, StrEnum):
        return value.value
    return value.isoformat() if isinstance(value, datetime) else value


def _write_detail(
    error: Chat2PayError | None, attempts: Sequence[Attempt], *, recovered: bool
) -> bytes:
    detail: dict[str, Any] = {
        "attempts": [
            [one.started_at, one.elapsed, one.proof, one.status_code, one.error] for one in attempts
        ]
    }
    if recovered:
        detail["recovered"] = True
    if error is not None:
        names = _API_FIELDS if isinstance(error, errors.ApiError) else ()
        detail["error"] = {"type": type(error).__name__, "text": str(error)} | {
            name: getattr(error, name) for name in names
        }
    return _encoder.encode(detail)


_API_FIELDS = ("status_code", "message", "errors", "reason_code")


# Reading -----------------------------------------------------------------------------------------


@attrs.frozen(eq=False, repr=False)
class Detail(Value):
    """Attempts and error of a call's end."""

    attempts: tuple[Attempt, ...] = ()
    recovered: bool = False
    error: Chat2PayError | None = None


def read_detail(text: bytes | None) -> Detail:
    """Read a row's detail, if it has one."""
    if text is None:
        return Detail()
    data = msgspec.json.decode(text)
    attempts = tuple(
        Attempt(datetime.fromisoformat(at), elapsed, _PROOFS[proof], status, error)
        for at, elapsed, proof, status, error in data["attempts"]
    )
    fields = data.get("error")
    error = None if fields is None else _error_of(fields)
    if error is not None:
        error.attempts = attempts
    return Detail(attempts, data.get("recovered", False), error)


def _error_of(stored: dict[str, Any]) -> Chat2PayError:
    """Rebuild an error; a plain one with its text, where it can't be made of the text alone."""
    kind, text = getattr(errors, stored["type"], Chat2PayError), stored["text"]
    if issubclass(kind, errors.ApiError):
        fields: dict[str, Any] = {name: stored[name] for name in _API_FIELDS}
        fields["errors"] = tuple(fields["errors"])
        return kind(text, **fields)
    return Chat2PayError(text) if issubclass(kind, _MORE_THAN_TEXT) else kind(text)


_MORE_THAN_TEXT = (
    errors.RequestValidationError,
    errors.ResponseDecodeError,
    errors.OutcomeUnknownError,
    errors.IdempotencyConflictError,
)


def result_of(row: Row) -> tuple[Any, Chat2PayError | None, tuple[Attempt, ...]]:
    """Read the result and the error of a row, and its attempts."""
    operation, detail = operation_of(row.operation), read_detail(row.detail)
    error, result = detail.error, None
    body = row.result or row.response
    unsent = isinstance(error, errors.ReceiptNotSentError)
    if body is not None and row.detail is not None and (error is None or unsent):
        data = decode_object(body)
        if data is not None:
            kind: Any = operation.result
            result = codec.structure(kind, data, recovered=detail.recovered, replayed=True)
    if error is not None:
        error.operation = row.operation
    if isinstance(error, errors.ReceiptNotSentError):
        error.receipt = result
    return result, error, detail.attempts


class Prior(NamedTuple):
    """An earlier process's part of a call."""

    pending: Pending
    is_unresolved: bool
    """True if it may have been applied; then it is looked up before anything else."""


def prior_of(row: Row, account: Account) -> Prior | None:
    """Return what was sent for a row; None where nothing was, or it is not kept."""
    is_kept = row.body is not None or not operation_of(row.operation).has_body
    if row.target is None or not is_kept:
        return None
    # All of them are of this very request: to write its intent drops what was there before.
    seen = read_detail(row.detail).attempts
    proofs = {attempt.proof for attempt in seen}
    # An attempt that was explicitly absent may have arrived since.
    is_unresolved = row.state in OPEN or Proof.UNKNOWN in proofs
    pending = row.pending(account, seen)
    if Proof.APPLIED in proofs:
        # It was answered, and only its result is open: no look-up shows that it is absent.
        pending = attrs.evolve(pending, resend_when_absent=False)
    return Prior(pending, is_unresolved)


def results_of(rows: Iterable[Row], *, besides: str) -> list[tuple[str, Any]]:
    """Return the keys of rows, but one, each with its result."""
    return [(row.key, result_of(row)[0]) for row in rows if row.key != besides]


def stored_outcome(row: Row) -> Outcome[Any]:
    """Return the outcome that a row has; it was applied.

    Raises:
        ReceiptNotSentError: Its receipt was made, and its message was not sent.
    """
    result, error, _attempts = result_of(row)
    response = WireResponse(_OK, {}, row.result or row.response or b"{}")
    recovered = bool(getattr(result, "recovered", False))
    if error is None and recovered:  # a look-up settled it, for nobody who could be told
        error = recovered_outcome(operation_of(row.operation), result, response).error
    if error is not None:
        raise error
    return Outcome(Proof.APPLIED, result, None, response, recovered=recovered, replayed=True)


def end_after(resolution: Any, prior: Prior) -> End:
    """Return the end of a call that look-ups settled.

    Args:
        resolution: The verdict, which is no UNDETERMINED.
        prior: What was sent.
    """
    attempts = tuple(dict.fromkeys((prior.pending.first_attempt, prior.pending.last_attempt)))
    result = resolution.result
    state = RowState.FAILED if result is None else state_after(result)
    return end_of(state, result, None, attempts)
