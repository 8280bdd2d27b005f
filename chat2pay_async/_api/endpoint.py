"""Requests to an endpoint that this version does not know: `client.request`.

Nothing is known of what proves that such a request was applied, nor of where that would show. So a
2xx is believed, unless it answers a write with something else than JSON. Where the outcome of
anything but a read is unknown, it stays so: it is neither looked up nor sent again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

import attrs

from chat2pay_async._api.codec import encode_json
from chat2pay_async._api.json import decode_any
from chat2pay_async._api.operations import Operation, Safety
from chat2pay_async._api.validation import json_faults, snapshot
from chat2pay_async.errors import Fault, RequestValidationError, SentRequest

__all__ = ["ENDPOINT", "Endpoint", "endpoint_for"]

ENDPOINT: Final = "request"
"""The name of the operation."""
_READS: Final = ("GET", "HEAD")
_METHODS: Final = (*_READS, "POST", "PUT", "PATCH", "DELETE")
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")


def _safety_of(endpoint: Any) -> Safety:
    return Safety.READ if endpoint.method in _READS else Safety.ONCE


@attrs.frozen(eq=False, repr=False)
class Endpoint(Operation[SentRequest, Any]):
    """The operation that an endpoint stands for; the request is what is sent."""

    safety: Safety = attrs.field(init=False, default=attrs.Factory(_safety_of, takes_self=True))
    """A read, or what may not be sent twice."""
    has_look_up = False
    advice = "do not send it again before you found out: this version has no look-up for it"

    def read(self, body: bytes, data: dict[str, Any]) -> Any:  # noqa: ARG002 - it may be no object
        """Read a 2xx: whatever JSON it is."""
        return decode_any(body)

    def is_proven_by(self, request: SentRequest, result: Any, data: Mapping[str, Any]) -> bool:
        """Believe any 2xx: it may name whatever it likes."""
        return self.proves(request, result, data)


def endpoint_for(
    method: str, path: str, params: Mapping[str, Any] | None, json: Any
) -> tuple[Endpoint, SentRequest]:
    """Return an endpoint's operation, and the request to it.

    Args:
        method: The HTTP method.
        path: The path below the base URL, percent-encoded.
        params: The query.
        json: The body.

    Raises:
        RequestValidationError: They can't be sent.
    """
    given: object = method
    method = given.upper() if isinstance(given, str) else ""
    problems = {
        "method": None if method in _METHODS else f"must be one of {', '.join(_METHODS)}",
        "path": _path_problem(path),
    }
    faults = [Fault(name, problem) for name, problem in problems.items() if problem]
    faults += _param_faults(params)
    if json is not None:
        is_read = method in _READS
        faults += [Fault("json", "is not sent with GET or HEAD: pass params")] * is_read
        faults += json_faults("json", json)
    if faults:
        raise RequestValidationError(ENDPOINT, tuple(faults))
    query = urlencode(
        {name: _text(value) for name, value in (params or {}).items() if value is not None},
        quote_via=quote,
    )
    body = None if json is None else encode_json(snapshot(json))
    sent = SentRequest(method, f"{path}?{query}" if query else path, body)
    return Endpoint(ENDPOINT, "", method, path, SentRequest, object, _believe), sent


def _believe(*_: object) -> bool:
    return True


def _path_problem(path: object) -> str | None:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        return "must begin with / and be percent-encoded; a query goes into params"
    segments = [unquote(segment) for segment in path.split("/")[1:]]
    if not {".", ".."}.isdisjoint(segments) or "" in segments[:-1]:
        return "must have no empty segments, and none that lead upwards"
    return None


def _param_faults(params: object) -> list[Fault]:
    if params is None:
        return []
    if not isinstance(params, Mapping):
        return [Fault("params", "must be a dict of names and values")]
    given: Mapping[Any, Any] = params
    kinds = (str, int, Decimal)
    return [
        Fault(f"params[{number}]", "must have a str as its name, and a str, int or Decimal")
        for number, (name, value) in enumerate(given.items())
        if not isinstance(name, str) or not (value is None or isinstance(value, kinds))
    ]


def _text(value: str | int | Decimal) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
