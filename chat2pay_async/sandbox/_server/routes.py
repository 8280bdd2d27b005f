"""The sandbox over HTTP: the paths of the API, and those that play the customer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._faults.plan_json import plan_body, read_plan, read_script
from chat2pay_async.sandbox._faults.replies import MOVED, Delivery, json_reply
from chat2pay_async.sandbox._server import asgi
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.service import Answer, Call

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from chat2pay_async.sandbox._sandbox import Sandbox

_Endpoint = Callable[[Request], Awaitable[Response]]

_OPERATIONS: Final = (
    ("POST", "/api/v2/chat-2-pay", "create_payment_link"),
    ("GET", "/api/v2/chat-2-pay/transaction-status", "get_transaction"),
    ("POST", "/api/v2/cancel/{ref}", "cancel_payment_link"),
    ("POST", "/api/v2/payment/{ref}/capture", "capture_payment"),
    ("POST", "/api/v2/payment/{ref}/reverse", "reverse_payment"),
    ("POST", "/api/v2/order-receipt", "create_receipt"),
    ("GET", "/api/v2/config", "get_configuration"),
    ("PUT", "/api/v2/integration", "update_integration"),
)
_LOOPBACK: Final = ("127.0.0.1", "::1")


def build_app(sandbox: "Sandbox") -> "ASGIApp":
    """Return the sandbox as an ASGI application."""
    operations = [
        Route(path, _operation(sandbox, name), methods=[method])
        for method, path, name in _OPERATIONS
    ]
    controls = [
        *(
            Route(f"/sandbox/links/{{name}}/{verb}", _play(sandbox, play), methods=["POST"])
            for verb, play in _plays(sandbox).items()
        ),
        Route(
            "/sandbox/orders/{name}/fail-delivery",
            _play(sandbox, sandbox.fail_delivery),
            methods=["POST"],
        ),
        Route("/sandbox/ledger", _local(sandbox, _ledger(sandbox)), methods=["GET"]),
        Route("/sandbox/links", _local(sandbox, _links(sandbox)), methods=["GET"]),
        *(
            Route(path, _local(sandbox, _refusable(sandbox, control)), methods=[method])
            for method, path, control in _FAULT_CONTROLS
        ),
    ]
    app = Starlette(
        routes=[*operations, *controls],
        exception_handlers={
            HTTPException: _no_such_place(sandbox),
            # Gone before its request was complete: nothing to do, and nobody to answer.
            ClientDisconnect: lambda _request, _error: _reply(sandbox.now(), 400, {}),
        },
    )
    app.router.redirect_slashes = False
    return _with_raw_path(asgi.cutting(app))


def _plays(sandbox: "Sandbox") -> Mapping[str, Callable[[str], None]]:
    return {
        "click": sandbox.click,
        "pay": sandbox.pay,
        "decline": sandbox.decline,
        "review": sandbox.review,
        "expire": sandbox.expire,
        "decline-capture": sandbox.decline_capture,
        "decline-reverse": sandbox.decline_reverse,
        "fail-receipt": sandbox.fail_receipt,
    }


def _with_raw_path(app: "ASGIApp") -> "ASGIApp":
    # A quoted slash belongs to its segment: routes are found on the path as it was sent.
    async def routed(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            # Where redirects lead to is the same: who follows one does it once more.
            path = scope["raw_path"].decode("latin-1").removeprefix(MOVED)
            scope = {**scope, "path": path}
        await app(scope, receive, send)

    return routed


def _operation(sandbox: "Sandbox", name: str) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        call = Call(
            operation=name,
            key=request.headers.get("authorization", ""),
            path=request.scope["path"],
            ref=unquote(request.path_params.get("ref", "")),
            query=request.query_params,
            body=await request.body(),
        )
        return asgi.respond(sandbox.exchange(call))

    return endpoint


def _play(sandbox: "Sandbox", play: Callable[[str], None]) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            play(unquote(request.path_params["name"]))
        except UnknownReferenceError as error:
            return _reply(sandbox.now(), 404, {"message": str(error)})
        except SandboxError as error:
            return _reply(sandbox.now(), 409, {"message": str(error)})
        return _reply(sandbox.now(), 200, {"message": "Done"})

    return _local(sandbox, endpoint)


def _ledger(sandbox: "Sandbox") -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        effects = request.query_params.get("effects", "0") not in {"", "0"}
        body = serialization.ledger_summary(sandbox.ledger, effects=effects)
        return _reply(sandbox.now(), 200, body)

    return endpoint


def _links(sandbox: "Sandbox") -> _Endpoint:
    async def endpoint(_request: Request) -> Response:
        return _reply(sandbox.now(), 200, {"links": sandbox.links()})

    return endpoint


def _read_faults(sandbox: "Sandbox", _body: bytes) -> serialization.Body:
    return {"plan": sandbox.faults and plan_body(sandbox.faults)}


def _set_faults(sandbox: "Sandbox", body: bytes) -> serialization.Body:
    sandbox.set_faults(read_plan(body))
    return _read_faults(sandbox, body)


def _end_faults(sandbox: "Sandbox", body: bytes) -> serialization.Body:
    sandbox.set_faults(None)
    return _read_faults(sandbox, body)


def _next_faults(sandbox: "Sandbox", body: bytes) -> serialization.Body:
    sandbox.next_faults(*read_script(body))
    return {"message": "Done"}


def _apply_late(sandbox: "Sandbox", _body: bytes) -> serialization.Body:
    return {"applied": sandbox.apply_late()}


_FAULT_CONTROLS: Final = (
    ("GET", "/sandbox/faults", _read_faults),
    ("PUT", "/sandbox/faults", _set_faults),
    ("DELETE", "/sandbox/faults", _end_faults),
    ("POST", "/sandbox/faults/next", _next_faults),
    ("POST", "/sandbox/apply-late", _apply_late),
)


def _refusable(
    sandbox: "Sandbox", control: Callable[["Sandbox", bytes], serialization.Body]
) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            return _reply(sandbox.now(), 200, control(sandbox, await request.body()))
        except SandboxError as error:
            return _reply(sandbox.now(), 400, {"message": str(error)})

    return endpoint


def _local(sandbox: "Sandbox", endpoint: _Endpoint) -> _Endpoint:
    # These need no key, so they are for the same machine only, wherever the app is mounted.
    async def guarded(request: Request) -> Response:
        if request.client is None or request.client.host not in _LOOPBACK:
            return _reply(sandbox.now(), 403, {"message": "Only for the machine it runs on"})
        return await endpoint(request)

    return guarded


def _no_such_place(sandbox: "Sandbox") -> Callable[[Request, Exception], Response]:
    def handler(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for just these
        now = sandbox.now()
        phrase = HTTPStatus(error.status_code).phrase
        body = serialization.http_error(now, error.status_code, phrase, request.scope["path"])
        return _reply(now, error.status_code, body, error.headers)

    return handler


def _reply(
    at: datetime, status: int, body: serialization.Body, headers: Mapping[str, str] | None = None
) -> Response:
    reply = json_reply(Answer(status, body))
    return asgi.respond(Delivery(replace(reply, headers=headers or {}), at))
