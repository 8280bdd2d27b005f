"""The replies that the client gets to see: bytes, and the fate of the connection."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from http import HTTPStatus
from typing import Any, Final, Literal

from chat2pay_async.sandbox._faults import foreign
from chat2pay_async.sandbox._faults.lottery import Drawn
from chat2pay_async.sandbox._faults.plan import TRAITS, UnknownOrder
from chat2pay_async.sandbox._service import json as _json
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.service import ApiRequest, ApiResponse

# Longer than any client waits, and yet an end.
_SILENCE: Final = 300.0
MOVED: Final = "/moved"
_HOLLOW: Final[Mapping[str, bytes]] = {"object": b"{}", "null": b"null", "empty": b""}
# 444 and 499 are nginx's, 460 is that of AWS's load balancer.
_PHRASES: Final = {int(one): one.phrase for one in HTTPStatus} | {
    444: "No Response",
    460: "Client Closed Connection",
    499: "Client Closed Request",
}
_MIB: Final = 1024 * 1024
_BOMB: Final = 64

End = Literal["whole", "drop", "reset", "half"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A response in bytes."""

    status: int
    content: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Delivery:
    """A reply, and the way in which it is sent.

    Attributes:
        reply: The reply, if any is sent.
        at: The service's time, for `Date`; None leaves it out.
        delay: Seconds until the first byte.
        is_processing: A 102 is sent each second of the delay.
        share: The share of the body that is sent.
        drip: Seconds over which the first bytes of the body come one by one.
        drops: The number of these bytes.
        end: The end of the connection.
        afterwards: What is sent after it, on the same connection; the reply's `Date` applies.
        after: Seconds until then.
    """

    reply: Reply | None
    at: datetime | None = None
    delay: float = 0.0
    is_processing: bool = False
    share: float = 1.0
    drip: float = 0.0
    drops: int = 20
    end: End = "whole"
    afterwards: Reply | bytes = b""
    after: float = 0.0


def json_reply(status: int, body: serialization.Body) -> Reply:
    """Write a response as it should be."""
    return Reply(status, _json.dumps(body).encode(errors="replace"))


def http_date(at: datetime) -> str:
    """Write a time as HTTP headers do."""
    return format_datetime(at.astimezone(UTC), usegmt=True)


def spoil(drawn: Drawn, request: ApiRequest, now: datetime, true: Reply | None) -> Delivery:
    """Return the delivery that a fault makes of a reply.

    Args:
        drawn: The fault.
        request: The request.
        now: The service's time.
        true: The service's own reply, if the fault lets the request reach it.
    """
    match drawn.kind.partition("_")[0], drawn.form:
        case ("drop", _) | ("apply" | "foreign", "drop"):
            return Delivery(None, end="drop")
        case ("reset", _) | ("apply", "reset"):
            return Delivery(None, end="reset")
        case "half", _:
            return Delivery(None, end="half")
        case ("silence" | "processing", _) | ("apply" | "foreign", "silence"):
            is_processing = drawn.kind.startswith("processing")
            return Delivery(None, delay=_SILENCE, is_processing=is_processing, end="drop")
        case _:
            return _delivery(drawn, _spoilt_reply(drawn, request, now, true), now)


def _delivery(drawn: Drawn, reply: Reply | None, now: datetime) -> Delivery:
    wrong = timedelta(seconds=drawn.seconds)
    dates = {"ahead": now + wrong, "behind": now - wrong}
    changes: Mapping[str, Callable[[], Mapping[str, Any]]] = {
        "answer_late": lambda: {"delay": drawn.seconds},
        "truncated": lambda: {"share": 0.5, "end": "drop"},
        "drip": lambda: {"drip": drawn.seconds},
        "endless_drip": lambda: {"drip": _SILENCE, "drops": int(_SILENCE)},
        "repeated": lambda: {"afterwards": reply, "after": drawn.seconds},
        "unasked": lambda: {"afterwards": _unasked(drawn), "after": drawn.seconds},
        "wrong_date": lambda: {"at": dates.get(drawn.form)},
        "cached": lambda: {"at": None},
    }
    change = changes.get(drawn.kind, dict)
    return replace(Delivery(reply, now), **change())


def unknown(form: UnknownOrder, response: ApiResponse, path: str) -> Reply:
    """Answer a look-up of what does not exist, in the form that a plan asks for."""
    match form:
        case "empty":
            return Reply(200, _HOLLOW["object"])
        case "null":
            return Reply(200, _HOLLOW["null"])
        case "bad_request":
            body = {"message": "Request failed", "errors": response.body["errors"]}
            return json_reply(400, body)
        case "foreign_404":
            return foreign_404(path)
        case "html":
            return page(404)
        case _:
            return json_reply(response.status, response.body)


def _spoilt_reply(  # noqa: C901, PLR0911 - a case for each kind
    drawn: Drawn, request: ApiRequest, now: datetime, true: Reply | None
) -> Reply | None:
    status, path = TRAITS[drawn.kind].status, request.path
    match drawn.kind.partition("_")[0], drawn.form:
        case (("throttle" | "storm"), form):
            later = now + timedelta(seconds=drawn.retry_after)
            value = http_date(later) if form == "date" else str(drawn.retry_after)
            headers = {} if form == "bare" else {"retry-after": value}
            return replace(error(429, now, path), headers=headers)
        case "error", form:
            reply = error(status, now, path) if form.startswith("json") else page(status)
            patient = form.endswith("retry_after")
            headers = {"retry-after": str(drawn.retry_after)} if patient else {}
            return replace(reply, headers=headers)
        case "redirect", _:
            return replace(page(status), headers={"location": f"{MOVED}{path}"})
        case "hollow" | "not", "html":
            return page(status)
        case "hollow", form:
            return Reply(status, _HOLLOW[form])
        case ("apply", code):
            return page(int(code))
        case "denied", code:
            return error(int(code), now, path)
        case "not", "spring":
            return error(status, now, path)
        case "not", _:
            return foreign_404(path)
        case "intermediary", form:
            return refusal(form, now, path)
        case (("misdirected" | "wrong"), _) if status:
            return json_reply(status, _wrong_body(drawn, request, now))
        case _:
            return None if true is None else _altered(drawn, true)


def _altered(drawn: Drawn, true: Reply) -> Reply:  # noqa: PLR0911 - a case for each kind
    """Alter the reply of a service that was asked."""
    match drawn.kind, drawn.form:
        case "html", _:
            return page(true.status)
        case "garbage", _:
            return replace(true, content=drawn.noise)
        case "gzip_bomb", _:
            return replace(true, content=gzip_bomb(), headers={"content-encoding": "gzip"})
        case "refused_link", _:
            return replace(true, status=TRAITS[drawn.kind].status)
        case "no_payments", form:
            return replace(true, content=_without_payments(true.content, form))
        case "wrong_date", "garbage":
            return replace(true, headers={"date": "yesterday"})
        case _:
            return true


def _without_payments(content: bytes, form: str) -> bytes:
    body = _json.loads(content)
    if not isinstance(body, dict):
        return content
    fields: dict[str, object] = {name: body[name] for name in body if name != "paymentStatuses"}
    if form != "missing":
        fields["paymentStatuses"] = [] if form == "list" else None
    return _json.dumps(fields).encode(errors="replace")


def _wrong_body(drawn: Drawn, request: ApiRequest, now: datetime) -> Mapping[str, object]:
    match drawn.kind.rpartition("_")[0], drawn.form:
        case "wrong_type", form:
            return foreign.wrong_step(request, now, form)
        case "wrong_amount", _:
            return foreign.wrong_amount(request, now)
        case "wrong_link", form:
            return foreign.wrong_cancellation(request, now, form)
        case _, "transaction":
            link = foreign.foreign_link(foreign.ANOTHER_ORDER, now, "bare")
            return serialization.status(link, None)
        case _:
            return serialization.http_error(now, 500, "Internal Server Error", request.path)


def _unasked(drawn: Drawn) -> Reply | bytes:
    match drawn.form:
        case "408":
            return replace(page(408), headers={"connection": "close"})
        case "200":
            return Reply(200, _HOLLOW["object"])
        case _:
            return drawn.noise


# Whoever stands between: proxies, firewalls, balancers --------------------------------------------


def page(status: int) -> Reply:
    """Return a page in HTML."""
    title = f"{status} {_PHRASES[status]}"
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Reply(status, text.encode(), "text/html")


def error(status: int, now: datetime, path: str) -> Reply:
    """Return an error in the form of Spring, which is the service's too."""
    return json_reply(status, serialization.http_error(now, status, _PHRASES[status], path))


def foreign_404(path: str) -> Reply:
    """Return a 404 that does not name what was looked for."""
    return json_reply(404, serialization.not_found(path, "The requested resource is not there"))


def refusal(form: str, now: datetime, path: str) -> Reply:
    """Return a 4xx in a form such as `499_page`."""
    code, _, look = form.partition("_")
    status = int(code)
    match look:
        case "page":
            return page(status)
        case "json":
            return error(status, now, path)
        case "message":
            return json_reply(status, {"message": _PHRASES[status]})
        case _:
            return Reply(status, b"", "text/plain")


@cache
def gzip_bomb() -> bytes:
    """Return 64 MiB of spaces in 64 KiB of gzip."""
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join([*(gzip.compress(b" " * _MIB) for _ in range(_BOMB)), gzip.flush()])
