"""The replies that the client gets to see: bytes, and the fate of the connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Literal

from chat2pay_async.sandbox._faults.lottery import Drawn
from chat2pay_async.sandbox._faults.plan import TRAITS, UnknownOrder
from chat2pay_async.sandbox._service import json as _json
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.service import ApiResponse

# Longer than any client waits, and yet an end.
_SILENCE: Final = 300.0
MOVED: Final = "/moved"
_HOLLOW: Final = MappingProxyType({"object": b"{}", "null": b"null", "empty": b""})

End = Literal["whole", "drop", "reset"]


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
        share: The share of the body that is sent.
        drip: Seconds over which the first bytes of the body come one by one.
        end: The end of the connection.
    """

    reply: Reply | None
    at: datetime | None = None
    delay: float = 0.0
    share: float = 1.0
    drip: float = 0.0
    end: End = "whole"


@dataclass(frozen=True, slots=True)
class Scene:
    """The circumstances of a fault.

    Attributes:
        path: The path of the request.
        now: The service's time.
        true: The service's own reply, if the fault lets the request reach it.
    """

    path: str
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
        case ("drop", _) | ("apply", "drop"):
            return Delivery(None, end="drop")
        case ("reset", _) | ("apply", "reset"):
            return Delivery(None, end="reset")
        case ("silence", _) | ("apply", "silence"):
            return Delivery(None, delay=_SILENCE, end="drop")
        case _:
            return Delivery(
                _spoilt_reply(drawn, scene),
                scene.now,
                delay=drawn.seconds if drawn.kind == "answer_late" else 0,
                share=0.5 if drawn.kind == "truncated" else 1,
                drip=drawn.seconds if drawn.kind == "drip" else 0,
                end="drop" if drawn.kind == "truncated" else "whole",
            )


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
            return _foreign_404(path)
        case "html":
            return _page(404)
        case _:
            return json_reply(response)


def _spoilt_reply(drawn: Drawn, scene: Scene) -> Reply | None:  # noqa: C901, PLR0911 - a case for each kind
    status = TRAITS[drawn.kind].status
    match drawn.kind.partition("_")[0], drawn.form:
        case (("throttle" | "storm"), form):
            later = scene.now + timedelta(seconds=drawn.retry_after)
            value = http_date(later) if form == "date" else str(drawn.retry_after)
            headers = {} if form == "bare" else {"retry-after": value}
            return replace(_error(429, scene), headers=headers)
        case "error", form:
            reply = _error(status, scene) if form.startswith("json") else _page(status)
            patient = form.endswith("retry_after")
            return replace(
                reply, headers={"retry-after": str(drawn.retry_after)} if patient else {}
            )
        case "redirect", _:
            return replace(_page(status), headers={"location": f"{MOVED}{scene.path}"})
        case "hollow", form if form != "html":
            return Reply(status, _HOLLOW[form])
        case "hollow", _:
            return _page(status)
        case ("apply", code):
            return _page(int(code))
        case "denied", code:
            return _error(int(code), scene)
        case "not", "html":
            return _page(404)
        case "not", "spring":
            return _error(404, scene)
        case "not", _:
            return _foreign_404(scene.path)
        case (("html" | "garbage"), _):
            assert scene.true is not None  # noqa: S101 - the service was asked: `Trait.when`
            garbage = replace(scene.true, content=drawn.noise)
            return garbage if drawn.kind == "garbage" else _page(scene.true.status)
        case _:
            return scene.true


def _page(status: int) -> Reply:
    title = f"{status} {HTTPStatus(status).phrase}"
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Reply(status, text.encode(), "text/html")


def _error(status: int, scene: Scene) -> Reply:
    phrase = HTTPStatus(status).phrase
    body = serialization.http_error(scene.now, status, phrase, scene.path)
    return json_reply(ApiResponse(status, body))


def _foreign_404(path: str) -> Reply:
    body = serialization.not_found(path, "The requested resource is not there")
    return json_reply(ApiResponse(404, body))
