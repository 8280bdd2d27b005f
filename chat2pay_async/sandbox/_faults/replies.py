"""The replies that the client gets to see: bytes, and the fate of the connection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from chat2pay_async.sandbox._faults import foreign
from chat2pay_async.sandbox._faults.intermediaries import (
    Reply,
    error,
    foreign_404,
    gzip_bomb,
    page,
    refusal,
)
from chat2pay_async.sandbox._faults.lottery import Drawn
from chat2pay_async.sandbox._faults.plan import TRAITS, UnknownOrder
from chat2pay_async.sandbox._service import json as _json
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.service import ApiRequest, ApiResponse

__all__ = ["MOVED", "Delivery", "Reply", "Scene", "http_date", "json_reply", "spoil", "unknown"]

# Longer than any client waits, and yet an end.
_SILENCE: Final = 300.0
MOVED: Final = "/moved"
_HOLLOW: Final = MappingProxyType({"object": b"{}", "null": b"null", "empty": b""})

End = Literal["whole", "drop", "reset", "half"]


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


@dataclass(frozen=True, slots=True)
class Scene:
    """The circumstances of a fault.

    Attributes:
        request: The request.
        now: The service's time.
        true: The service's own reply, if the fault lets the request reach it.
    """

    request: ApiRequest
    now: datetime
    true: Reply | None


def json_reply(response: ApiResponse) -> Reply:
    """Write a response as it should be."""
    return Reply(response.status, _json.dumps(response.body).encode(errors="replace"))


def http_date(at: datetime) -> str:
    """Write a time as HTTP headers do."""
    return format_datetime(at.astimezone(UTC), usegmt=True)


def spoil(drawn: Drawn, scene: Scene) -> Delivery:
    """Return the delivery that a fault makes of a reply."""
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
            return _delivery(drawn, scene)


def _delivery(drawn: Drawn, scene: Scene) -> Delivery:
    reply, now = _spoilt_reply(drawn, scene), scene.now
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
            return json_reply(ApiResponse(400, body))
        case "foreign_404":
            return foreign_404(path)
        case "html":
            return page(404)
        case _:
            return json_reply(response)


def _spoilt_reply(drawn: Drawn, scene: Scene) -> Reply | None:  # noqa: C901, PLR0911, PLR0912 - a case for each kind
    status, now, path = TRAITS[drawn.kind].status, scene.now, scene.request.path
    match drawn.kind.partition("_")[0], drawn.form:
        case (("throttle" | "storm"), form):
            later = now + timedelta(seconds=drawn.retry_after)
            value = http_date(later) if form == "date" else str(drawn.retry_after)
            headers = {} if form == "bare" else {"retry-after": value}
            return replace(error(429, now, path), headers=headers)
        case "error", form:
            reply = error(status, now, path) if form.startswith("json") else page(status)
            patient = form.endswith("retry_after")
            return replace(
                reply, headers={"retry-after": str(drawn.retry_after)} if patient else {}
            )
        case "redirect", _:
            return replace(page(status), headers={"location": f"{MOVED}{path}"})
        case "hollow", form if form != "html":
            return Reply(status, _HOLLOW[form])
        case "hollow", _:
            return page(status)
        case ("apply", code):
            return page(int(code))
        case "denied", code:
            return error(int(code), now, path)
        case "not", "html":
            return page(404)
        case "not", "spring":
            return error(404, now, path)
        case "not", _:
            return foreign_404(path)
        case "intermediary", form:
            return refusal(form, now, path)
        case (("misdirected" | "wrong"), _) if status:
            return json_reply(ApiResponse(status, _wrong_body(drawn, scene)))
        case _:
            return None if scene.true is None else _altered(drawn, scene.true)


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


def _wrong_body(drawn: Drawn, scene: Scene) -> Mapping[str, object]:
    request, now = scene.request, scene.now
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
