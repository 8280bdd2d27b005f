"""Replies of whoever stands between a client and the service: proxies, firewalls, balancers."""

import zlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from chat2pay_async.sandbox._service import json as _json
from chat2pay_async.sandbox._service import serialization

if TYPE_CHECKING:
    from collections.abc import Mapping

# 444 and 499 are nginx's, 460 is that of AWS's load balancer.
_PHRASES: Final = {int(one): one.phrase for one in HTTPStatus} | {
    444: "No Response",
    460: "Client Closed Connection",
    499: "Client Closed Request",
}
_MIB: Final = 1024 * 1024
_BOMB: Final = 64


@dataclass(frozen=True, slots=True)
class Reply:
    """A response in bytes."""

    status: int
    content: bytes
    media_type: str = "application/json"
    headers: "Mapping[str, str]" = field(default_factory=dict[str, str])


def page(status: int) -> Reply:
    """Return a page in HTML."""
    title = f"{status} {_PHRASES[status]}"
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Reply(status, text.encode(), "text/html")


def error(status: int, now: datetime, path: str) -> Reply:
    """Return an error in the form of Spring, which is the service's too."""
    return _json_reply(status, serialization.http_error(now, status, _PHRASES[status], path))


def foreign_404(path: str) -> Reply:
    """Return a 404 that does not name what was looked for."""
    return _json_reply(404, serialization.not_found(path, "The requested resource is not there"))


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
            return _json_reply(status, {"message": _PHRASES[status]})
        case _:
            return Reply(status, b"", "text/plain")


@cache
def gzip_bomb() -> bytes:
    """Return 64 MiB of spaces in 64 KiB of gzip."""
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join([*(gzip.compress(b" " * _MIB) for _ in range(_BOMB)), gzip.flush()])


def _json_reply(status: int, body: serialization.Body) -> Reply:
    return Reply(status, _json.dumps(body).encode(errors="replace"))
