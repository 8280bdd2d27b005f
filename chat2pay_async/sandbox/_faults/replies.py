"""What the client gets to see of an answer: bytes, and what becomes of them on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Literal

from chat2pay_async.sandbox._faults.lottery import Drawn
from chat2pay_async.sandbox._faults.plan import TRAITS, FaultKind, UnknownOrder
from chat2pay_async.sandbox._service import json as _json
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.service import Answer

_JSON: Final = "application/json"
_HTML: Final = "text/html"
# Longer than any client waits, and yet an end.
SILENCE: Final = 300.0
MOVED: Final = "/moved"

End = Literal["whole", "drop", "reset"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A response in bytes."""

    status: int
    content: bytes
    media_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Delivery:
    """A response, and what becomes of it.

    Attributes:
        reply: What is sent, if anything is.
        at: The service's time, for `Date`; None leaves it out.
        delay: Seconds until the first byte.
        share: How much of the body is sent.
        drip: Seconds over which the first bytes of the body come one by one.
        end: What the connection comes to.
    """

    reply: Reply | None
    at: datetime | None = None
    delay: float = 0.0
    share: float = 1.0
    drip: float = 0.0
    end: End = "whole"

    @property
    def plain(self) -> bool:
        """Whether it is sent as any response is."""
        return self.end == "whole" and not self.delay and not self.drip


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault happens to: the path, the time, and what the service said if it was asked."""

    path: str
    now: datetime
    true: Reply | None


def json_reply(answer: Answer) -> Reply:
    """Write an answer as it should be."""
    return Reply(answer.status, _json.dumps(answer.body).encode(errors="replace"))


def http_date(at: datetime) -> str:
    """Write a time as HTTP headers do."""
    return format_datetime(at.astimezone(UTC), usegmt=True)


def spoil(drawn: Drawn, scene: Scene) -> Delivery:
    """Return what a fault makes of an answer."""
    return _SPOILERS[drawn.kind](drawn, scene)


def unknown(form: UnknownOrder, answer: Answer, path: str) -> Reply:
    """Answer a look-up of what does not exist, in a form that is not the usual one."""
    match form:
        case "empty":
            return Reply(200, b"{}")
        case "null":
            return Reply(200, b"null")
        case "bad_request":
            body = {"message": "Request failed", "errors": answer.body["errors"]}
            return json_reply(Answer(400, body))
        case "foreign_404":
            return _foreign_404(path)
        case "html":
            return _page(404)
        case _:
            return json_reply(answer)


def _page(status: int) -> Reply:
    phrase = HTTPStatus(status).phrase
    title = f"{status} {phrase}"
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Reply(status, text.encode(), _HTML)


def _error(status: int, scene: Scene) -> Reply:
    phrase = HTTPStatus(status).phrase
    return json_reply(
        Answer(status, serialization.http_error(scene.now, status, phrase, scene.path))
    )


def _foreign_404(path: str) -> Reply:
    return json_reply(
        Answer(404, serialization.not_found(path, "The requested resource is not there"))
    )


def _hang_up(end: End) -> Callable[[Drawn, Scene], Delivery]:
    return lambda _drawn, _scene: Delivery(None, end=end)


def _silent(_drawn: Drawn, _scene: Scene) -> Delivery:
    return Delivery(None, delay=SILENCE, end="drop")


def _answered_late(drawn: Drawn, scene: Scene) -> Delivery:
    return Delivery(scene.true, scene.now, delay=drawn.seconds)


def _applied_late(drawn: Drawn, scene: Scene) -> Delivery:
    match drawn.form:
        case "502" | "504":
            return Delivery(_page(int(drawn.form)), scene.now)
        case "silence":
            return _silent(drawn, scene)
        case "reset":
            return Delivery(None, end="reset")
        case _:
            return Delivery(None, end="drop")


def _throttled(drawn: Drawn, scene: Scene) -> Delivery:
    reply = _error(429, scene)
    if drawn.form != "bare":
        reply = _retry_after(reply, drawn, scene)
    return Delivery(reply, scene.now)


def _failed(drawn: Drawn, scene: Scene) -> Delivery:
    status = TRAITS[drawn.kind].status
    form, _, patience = drawn.form.partition("_")
    reply = _error(status, scene) if form == "json" else _page(status)
    return Delivery(_retry_after(reply, drawn, scene) if patience else reply, scene.now)


def _retry_after(reply: Reply, drawn: Drawn, scene: Scene) -> Reply:
    later = scene.now + timedelta(seconds=drawn.retry_after)
    value = http_date(later) if drawn.form == "date" else str(drawn.retry_after)
    return replace(reply, headers={"retry-after": value})


def _hollow(drawn: Drawn, scene: Scene) -> Delivery:
    status = TRAITS[drawn.kind].status
    if drawn.form == "html":
        return Delivery(_page(status), scene.now)
    content = {"object": b"{}", "null": b"null"}.get(drawn.form, b"")
    return Delivery(Reply(status, content), scene.now)


def _redirected(drawn: Drawn, scene: Scene) -> Delivery:
    reply = _page(TRAITS[drawn.kind].status)
    headers = {"location": f"{MOVED}{scene.path}"}
    return Delivery(replace(reply, headers=headers), scene.now)


def _truncated(_drawn: Drawn, scene: Scene) -> Delivery:
    return Delivery(scene.true, scene.now, share=0.5, end="drop")


def _as_page(_drawn: Drawn, scene: Scene) -> Delivery:
    return Delivery(_page(_true(scene).status), scene.now)


def _garbled(drawn: Drawn, scene: Scene) -> Delivery:
    return Delivery(replace(_true(scene), content=drawn.noise), scene.now)


def _dripping(drawn: Drawn, scene: Scene) -> Delivery:
    return Delivery(scene.true, scene.now, drip=drawn.seconds)


def _misrouted(drawn: Drawn, scene: Scene) -> Delivery:
    match drawn.form:
        case "html":
            return Delivery(_page(404), scene.now)
        case "spring":
            return Delivery(_error(404, scene), scene.now)
        case _:
            return Delivery(_foreign_404(scene.path), scene.now)


def _denied(drawn: Drawn, scene: Scene) -> Delivery:
    return Delivery(_error(int(drawn.form), scene), scene.now)


def _foreign(_drawn: Drawn, scene: Scene) -> Delivery:
    return Delivery(scene.true, scene.now)


def _true(scene: Scene) -> Reply:
    assert scene.true is not None  # noqa: S101 - the service was asked: `Trait.when`
    return scene.true


_SPOILERS: Final[Mapping[FaultKind, Callable[[Drawn, Scene], Delivery]]] = MappingProxyType(
    {
        "drop_before": _hang_up("drop"),
        "drop_after": _hang_up("drop"),
        "reset_before": _hang_up("reset"),
        "reset_after": _hang_up("reset"),
        "silence_before": _silent,
        "silence_after": _silent,
        "answer_late": _answered_late,
        "apply_late": _applied_late,
        "throttle": _throttled,
        "storm": _throttled,
        **dict.fromkeys((kind for kind in TRAITS if kind.startswith("error_")), _failed),
        **dict.fromkeys((kind for kind in TRAITS if kind.startswith("hollow_")), _hollow),
        **dict.fromkeys((kind for kind in TRAITS if kind.startswith("redirect_")), _redirected),
        "truncated": _truncated,
        "html": _as_page,
        "garbage": _garbled,
        "drip": _dripping,
        "not_found": _misrouted,
        "denied": _denied,
        "foreign": _foreign,
    }
)
