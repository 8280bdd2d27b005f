"""Reading of posted bytes. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import attrs

from chat2pay_async._api.codec import structure, wire_name
from chat2pay_async._api.json import decode_response
from chat2pay_async._api.models import ConfigurationRecord, GatewayAnswer
from chat2pay_async._api.validation import MAX_DEPTH
from chat2pay_async._callbacks.models import (
    Callback,
    ConfigurationCallback,
    PaymentStatusCallback,
    TransactionStatusCallback,
    UnknownCallback,
)
from chat2pay_async._journal.content import one_form
from chat2pay_async._tracebacks import hiding_arguments
from chat2pay_async.errors import CallbackError

__all__ = ["MOST_BYTES", "parse"]

MOST_BYTES: Final = 256 * 1024
"""The longest body that is read; the service's have a few KiB."""
_DEEPEST: Final = 2 * MAX_DEPTH
"""The most levels of lists and objects: a request's additional data may come back."""
_KEY: Final = 32
"""Hexadecimal digits of a deduplication key."""


def _names_of(kind: Any) -> frozenset[str]:
    return frozenset(wire_name(field.name) for field in attrs.fields(kind)) - {"extra"}


_NEW: Final = {"newPaymentStatus": "paymentStatus", "newPaymentStatusId": "paymentStatusId"}
"""Names of the new status by its description, and those by which every other record has it."""
_LINK: Final = frozenset({"orderNumber", "paymentLinkRef"})
_HISTORIES: Final = frozenset({"transactionStatuses", "paymentStatuses"})
_RECORD: Final = _names_of(TransactionStatusCallback) - _names_of(PaymentStatusCallback)
_PAYMENT: Final = _names_of(GatewayAnswer) - _names_of(TransactionStatusCallback) | {"from", "to"}
_CONFIGURATION: Final = _names_of(ConfigurationRecord) - {"environment"}


@hiding_arguments
def parse(body: bytes | str, headers: Mapping[str, str] | None = None) -> Callback:
    """Read what was posted to a callback's URL.

    Nothing of it is proven: the service signs nothing, and whoever knows the URL can post to it.
    `confirm` asks the service. To store a callback first, store its body and parse it again, or
    store its `to_json()`.

    Its kind is told by its content, so that one URL can serve for all. It is read as leniently as
    responses are: unknown fields, and values that can't be read, are in `extra`.

    Args:
        body: The body, as it was posted.
        headers: The request's headers, names in any case. There is no signature among them; a body
            that they call compressed is refused.

    Raises:
        CallbackError: It is no JSON object, has more than 256 KiB, or is nested too deeply. The
            text quotes nothing of it.
        TypeError: The body is neither bytes nor a text.
    """
    data = _object_in(body, headers or {})
    key = hashlib.sha256(one_form(data).encode()).hexdigest()[:_KEY]
    for given, name in _NEW.items():
        if given in data:
            data.setdefault(name, data.pop(given))
    callback: Callback = attrs.evolve(structure(_kind_of(data), data), deduplication_key=key)
    return callback


def _object_in(body: bytes | str, headers: Mapping[str, str]) -> dict[str, Any]:
    given: object = body
    if isinstance(given, str):
        given = given.encode(errors="surrogatepass")
    if not isinstance(given, (bytes, bytearray, memoryview)):
        raise TypeError(f"parse takes the posted bytes, not {type(given).__name__}")
    encodings = (value for name, value in headers.items() if name.lower() == "content-encoding")
    if any(value.strip().lower() not in {"", "identity"} for value in encodings):
        raise CallbackError("this is no callback: it is compressed, as the service sends none")
    if len(given) > MOST_BYTES:
        raise CallbackError(f"this is no callback: it has more than {MOST_BYTES} bytes")
    data = decode_response(bytes(given))
    if data is None:
        raise CallbackError("this is no callback: it is no JSON object")
    if _is_deeper(data, _DEEPEST):
        raise CallbackError(f"this is no callback: it is nested more than {_DEEPEST} levels deep")
    return data


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def _kind_of(data: Mapping[str, Any]) -> type[Any]:
    """Tell a callback's kind by the names that only one kind has."""
    names = {name for name, value in data.items() if value is not None}
    if names.isdisjoint(_LINK):
        return UnknownCallback if names.isdisjoint(_CONFIGURATION) else ConfigurationCallback
    if not names.isdisjoint(_HISTORIES):
        return TransactionStatusCallback
    if not names.isdisjoint(_PAYMENT):
        return PaymentStatusCallback
    if not names.isdisjoint(_RECORD):
        return TransactionStatusCallback
    return PaymentStatusCallback if "paymentStatus" in names else UnknownCallback
