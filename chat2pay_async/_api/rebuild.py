"""The way back from the exact bytes of a POST to the request that they were written from.

A journal keeps bytes. After a crash they are all that is left of a request whose source is gone,
and what a source's row is held against if it is still there.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from chat2pay_async._api import codec
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import Operation, prepare
from chat2pay_async.errors import Fault, RequestValidationError, SentRequest

__all__ = ["check_unchanged", "request_of"]

_REFERENCE: Final = 4
"""Where a reference stands in a path: `/api/v2/cancel/{it}`, `/api/v2/payment/{it}/capture`."""


def request_of(operation: Operation[Any, Any], sent: SentRequest, request_id: str | None) -> Any:
    """The request that was written out as `sent`, without the id that was minted for it."""
    return codec.structure(operation.request, _fields_of(sent, request_id))


def check_unchanged(
    operation: Operation[Any, Any], request: Any, sent: SentRequest, request_id: str | None
) -> None:
    """See that a request still says what was sent for it; its timestamp does not count.

    A timestamp that is not given is the time when the request is built, which each run does anew.

    Raises:
        RequestValidationError: It does not; the faults name what differs, without its values.
    """
    now, then = _fields_of(prepare(operation, request), None), _fields_of(sent, request_id)
    names = {codec.wire_name(field.name): field.name for field in attrs.fields(operation.request)}
    changed = [name for name in names if now.get(name) != then.get(name) and name != "timestamp"]
    if changed:
        problem = "is not what an earlier run sent; undo the change, or make it another order"
        faults = tuple(Fault(names[name], problem) for name in changed)
        raise RequestValidationError(operation.name, faults)


def _fields_of(sent: SentRequest, request_id: str | None) -> dict[str, Any]:
    """What was sent, by its names on the wire."""
    fields = decode_object(sent.body or b"{}") or {}
    parts = urlsplit(sent.target)
    if sent.body is None:
        fields["paymentLinkRef"] = unquote(parts.path.split("/")[_REFERENCE])
    # A capture's amount: 100 and 100.00 are the same one.
    fields |= {name: codec.read_amount(text) for name, text in parse_qsl(parts.query)}
    data = fields.get("additionalData")
    if request_id is not None and isinstance(data, dict):
        fields["additionalData"] = {k: v for k, v in data.items() if k != codec.STAMP}
    if fields.get("additionalData") == {}:  # where nothing was given, a minted id stood alone
        del fields["additionalData"]
    return fields
