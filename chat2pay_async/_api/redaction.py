"""Texts that are not ours: the reasons that a refusal states, and masking of long numbers.

>>> stated_in({"title": "Bad Request", "errors": {"to": ["is blocked"]}})
('Bad Request', ['to: is blocked'])
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

__all__ = ["redact", "shortened", "stated_in", "stated_in_text"]

# A phone number has 7 digits or more, a card number at least 12, in groups of whatever kind. A
# point or slash before two digits is rather an amount's, or a date's.
_BETWEEN = r"(?: ?\((?=\d{2,4}\))|\) ?|[ -]{1,2}|[./](?=\d{3}))?"
_NUMBER = rf"\+?\d(?:{_BETWEEN}\d){{6,}}+"


def redact(text: str, identity: str = "") -> str:
    """Mask long numbers; a call's own order number or reference, its `identity`, stays."""
    # Order number 27 must not cut 27831234567 into pieces that are too short to be masked.
    own = rf"{re.escape(identity)}(?!{_BETWEEN}\d)|" if identity else ""
    return re.sub(
        own + _NUMBER,
        lambda found: found[0] if found[0] in {identity, f"+{identity}"} else "***",
        text,
    )


# What a refusal states ---------------------------------------------------------------------------

# Spring's, Jackson's and ASP.NET's names, those of OAuth 2 (RFC 6749), problem details (RFC 9457),
# FastAPI, JSON:API and API gateways; without case, `_` and `-`.
_MESSAGES: Final = (
    *("message", "detail", "errordescription", "errormessage", "description"),
    *("statusmessage", "responsemessage", "resultmessage", "usermessage", "developermessage"),
    *("error", "reason", "failurereason", "title", "fault", "faultstring", "msg"),
)
_REASONS: Final = (
    *("errors", "details", "violations", "fielderrors", "validationerrors", "suberrors"),
    *("errormessages", "errordetails", "errorlist", "messages", "invalidparams"),
)
# What some services put around all of it, beside a code of their own.
_ENVELOPES: Final = (
    *("data", "result", "response", "body", "payload", "content", "status", "meta", "results"),
    *("responsedata", "exception", "cause", "responsestatus", "problem", "failure"),
)
_SAID: Final = ("defaultmessage", "msg", "faultstring", *_MESSAGES)
_FIELDS: Final = ("field", "path", "propertypath", "property", "parameter", "param", "pointer")
_PLACES: Final = (*_FIELDS, "loc", "source", "name")
_DEEPEST, _MOST, _LONGEST, _LONGEST_READ = 6, 20, 300, 4000
_ELEMENT: Final = re.compile(r"<(?:\w+:)?(\w+)[^<>]*>([^<>]+)<")


def shortened(text: str) -> str:
    """Cut a text that an error shows; do so after masking, which must see what it masks."""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def stated_in(data: object, depth: int = _DEEPEST) -> tuple[str | None, list[str]]:
    """Find the message in a refusal's JSON, and the reasons beside it, each as one line.

    A map of fields and a list of objects are read too: `to: is blocked`.

    Args:
        data: The JSON.
        depth: The levels within `data`, `result` and the like that are read.
    """
    fields = _named(data) if isinstance(data, Mapping) else {"message": data}
    found = (list(_texts(fields.get(name))) for name in _MESSAGES)
    message, *more = next(filter(None, found), [None])
    reasons = (text for name in _REASONS for text in _texts(fields.get(name)))
    stated = [*filter(None, more), *islice(reasons, _MOST)]
    for inner in _within(fields) if depth else ():
        said, others = stated_in(inner, depth - 1)
        inside = [*filter(None, (said,)), *others]
        if message is None and inside:
            message, *inside = inside
        stated += inside
    return message, stated[:_MOST]


def _within(fields: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Find the objects that an object is an envelope of."""
    for name in _ENVELOPES:
        value = fields.get(name)
        inner = value[:_MOST] if isinstance(value, list) else [value]
        yield from (one for one in inner if isinstance(one, Mapping))


def stated_in_text(body: bytes, media_type: str) -> str | None:
    """Find the message in a refusal that is plain text or XML; None in a page for a browser."""
    text = body[:_LONGEST_READ].decode(errors="replace")
    if media_type == "text/plain":
        return _line(text) or None
    if not media_type.endswith(("/xml", "+xml")) or "html" in media_type:
        return None
    found = {name.lower(): _line(html.unescape(inner)) for name, inner in _ELEMENT.findall(text)}
    return next((found[name] for name in _SAID if found.get(name)), None)


def _named(data: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"[-_]", "", name).lower(): value for name, value in data.items()}


def _line(text: str) -> str:
    """Write a text as one line, without control characters."""
    text = text[:_LONGEST_READ]
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _texts(value: Any, depth: int = _DEEPEST) -> Iterator[str]:
    if isinstance(value, str):
        if line := _line(value):
            yield line
    elif isinstance(value, list) and depth:
        for inner in value:
            yield from _texts(inner, depth - 1)
    elif isinstance(value, Mapping) and depth:
        fields = _named(value)
        said = next(filter(None, (list(_texts(fields.get(one), depth - 1)) for one in _SAID)), None)
        if said is not None:
            place = next(filter(None, (_place(fields.get(one)) for one in _PLACES)), "")
            yield from (f"{place}: {text}" if place else text for text in said)
            return
        for name, inner in value.items():
            yield from (f"{_line(name)}: {text}" for text in _texts(inner, depth - 1))


def _place(value: Any) -> str:
    """Write the name of a field, or the path to it."""
    if isinstance(value, Mapping):
        return next(filter(None, map(_place, value.values())), "")
    if isinstance(value, list):
        return ".".join(_line(str(one)) for one in value if isinstance(one, (str, int)))
    return _line(value) if isinstance(value, str) else ""
