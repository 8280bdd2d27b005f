"""Outcomes in a journal: results, errors and attempts as JSON, and back.

A result is stored as the service's own response where there was one. A result that look-ups read
back is written in the same form, and read in the same way.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs
import msgspec

from chat2pay_async import errors
from chat2pay_async._api import codec
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import Operation
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._journal.base import SENT, Row
from chat2pay_async.errors import Attempt, Chat2PayError, Proof

__all__ = ["Detail", "outcome_of", "read_detail", "read_result", "write_detail", "write_result"]

_encoder = msgspec.json.Encoder(decimal_format="number")
_OWN = frozenset({"extra", "recovered"})
"""Fields of a model that are no fields of a response."""


def write_result(result: Any) -> bytes:
    """Write a model as a response that it could have been read from."""
    return _encoder.encode(_plain(result))


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        fields = {name: getattr(value, name) for name in attrs.fields_dict(type(value))}
        known = {
            codec.wire_name(name): _plain(inner)
            for name, inner in fields.items()
            if name not in _OWN and inner is not None
        }
        return known | fields["extra"]
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, StrEnum):
        return value.value
    return value.isoformat() if isinstance(value, datetime) else value


def read_result(operation: Operation[Any, Any], body: bytes, *, recovered: bool) -> Any:
    """Read a model from a response, or from the text of `write_result`."""
    data = decode_object(body)
    if data is None:
        return None
    result = codec.structure(operation.result, data)
    return attrs.evolve(result, recovered=True) if recovered else result


def outcome_of(
    operation: Operation[Any, Any], request: Any, row: Row, state: State | None = None
) -> Outcome[Any, Any]:
    """Read the outcome of a row; unknown if it has none.

    Args:
        operation: The operation.
        request: The request.
        row: The row.
        state: Takes the place of the row's own.
    """
    detail = read_detail(row.detail)
    error, result = detail.error, None
    body = row.result or row.response
    unsent = isinstance(error, errors.ReceiptNotSentError)
    if body is not None and row.detail is not None and (error is None or unsent):
        result = read_result(operation, body, recovered=detail.recovered)
    if error is not None:
        error.operation = operation.name
    if isinstance(error, errors.ReceiptNotSentError):
        error.receipt = result
    if state is None:
        state = State.UNKNOWN if row.state == SENT else State(row.state)
    return Outcome(row.key, request, state, result, error, detail.attempts)


def write_detail(outcome: Outcome[Any, Any]) -> bytes:
    """Write the attempts and the error of an outcome."""
    detail: dict[str, Any] = {
        "attempts": [
            [one.started_at.isoformat(), one.elapsed, one.proof, one.status_code, one.error]
            for one in outcome.attempts
        ]
    }
    if outcome.recovered:
        detail["recovered"] = True
    error = outcome.error
    if error is not None:
        names = _API_FIELDS if isinstance(error, errors.ApiError) else ()
        detail["error"] = {"type": type(error).__name__, "text": str(error)} | {
            name: getattr(error, name) for name in names
        }
    return _encoder.encode(detail)


_API_FIELDS = ("status_code", "message", "errors", "reason_code")


@attrs.frozen
class Detail:
    """Attempts and error of an outcome."""

    attempts: tuple[Attempt, ...] = ()
    recovered: bool = False
    error: Chat2PayError | None = None


def read_detail(text: bytes | None) -> Detail:
    """Read the text of `write_detail`, if there is one."""
    if text is None:
        return Detail()
    data = msgspec.json.decode(text)
    attempts = tuple(
        Attempt(datetime.fromisoformat(at), elapsed, Proof(proof), status, error)
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
)
