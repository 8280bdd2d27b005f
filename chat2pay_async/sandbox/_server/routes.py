"""The sandbox over HTTP: the paths of the API, and those that play the customer."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._faults.injector import Script
from chat2pay_async.sandbox._faults.plan import FaultPlan
from chat2pay_async.sandbox._faults.plan_json import plan_body, read_plan, read_script
from chat2pay_async.sandbox._faults.replies import MOVED, Delivery, json_reply
from chat2pay_async.sandbox._server import asgi
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.ledger import Ledger
from chat2pay_async.sandbox._service.serialization import Body
from chat2pay_async.sandbox._service.service import ApiRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class _Sandbox(Protocol):
    """The part of a sandbox that its paths use."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def faults(self) -> FaultPlan | None: ...
    def now(self) -> datetime: ...
    def exchange(self, request: ApiRequest) -> Delivery: ...
    def links(self) -> tuple[Body, ...]: ...
    def set_faults(self, plan: FaultPlan | str | None) -> None: ...
    def next_faults(self, operation: str, faults: Script) -> None: ...
    def apply_late(self) -> int: ...
    def fail_delivery(self, order_number_or_to: str) -> None: ...


_Control = Callable[[_Sandbox, Request, bytes], Body]

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


def build_app(sandbox: _Sandbox, actions: Mapping[str, Callable[[str], None]]) -> "ASGIApp":
    """Return the sandbox as an ASGI application.

    Args:
        sandbox: The sandbox that responds.
        actions: The customer's and the gateway's actions on a link, by their names in the path.
    """
    app = Starlette(
        routes=[
            *(_operation(sandbox, *operation) for operation in _OPERATIONS),
            *(_control(sandbox, *control) for control in _CONTROLS),
            *(
                _control(sandbox, "POST", f"links/{{name}}/{name}", _action(action), 409)
                for name, action in actions.items()
            ),
            _control(
                sandbox, "POST", "orders/{name}/fail-delivery", _action(sandbox.fail_delivery)
            ),
        ],
        exception_handlers={
            HTTPException: lambda request, error: _http_error(sandbox, request, error),
            # The client left before its request was complete: nothing to do, nobody to answer.
            ClientDisconnect: lambda _request, _error: _reply(sandbox, 400, {}),
        },
    )
    app.router.redirect_slashes = False
    return _with_raw_path(asgi.cutting(app))


def _with_raw_path(app: "ASGIApp") -> "ASGIApp":
    # A quoted slash belongs to its segment: routes are found on the path as it was sent.
    async def routed(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            # A client that follows a redirect makes the same request once more.
            path = scope["raw_path"].decode("latin-1").removeprefix(MOVED)
            scope = {**scope, "path": path}
        await app(scope, receive, send)

    return routed


def _operation(sandbox: _Sandbox, method: str, path: str, name: str) -> Route:
    async def endpoint(request: Request) -> Response:
        api_request = ApiRequest(
            operation=name,
            key=request.headers.get("authorization", ""),
            path=request.scope["path"],
            ref=unquote(request.path_params.get("ref", "")),
            query=request.query_params,
            body=await request.body(),
            has_length="content-length" in request.headers,
        )
        return asgi.DeliveredResponse(sandbox.exchange(api_request))

    return Route(path, endpoint, methods=[method])


def _control(
    sandbox: _Sandbox, method: str, path: str, control: _Control, refused: int = 400
) -> Route:
    async def endpoint(request: Request) -> Response:
        # These need no key, so they are for the same machine only, wherever the app is mounted.
        if request.client is None or request.client.host not in _LOOPBACK:
            return _reply(sandbox, 403, {"message": "Only for the machine it runs on"})
        try:
            return _reply(sandbox, 200, control(sandbox, request, await request.body()))
        except UnknownReferenceError as error:
            return _reply(sandbox, 404, {"message": str(error)})
        except SandboxError as error:
            return _reply(sandbox, refused, {"message": str(error)})

    return Route(f"/sandbox/{path}", endpoint, methods=[method])


def _action(action: Callable[[str], None]) -> _Control:
    def control(_sandbox: _Sandbox, request: Request, _body: bytes) -> Body:
        action(unquote(request.path_params["name"]))
        return {"message": "Done"}

    return control


def _ledger(sandbox: _Sandbox, request: Request, _body: bytes) -> Body:
    effects = request.query_params.get("effects", "0") not in {"", "0"}
    return serialization.ledger_summary(sandbox.ledger, effects=effects)


def _faults(sandbox: _Sandbox, request: Request, body: bytes) -> Body:
    if request.method != "GET":
        sandbox.set_faults(read_plan(body) if request.method == "PUT" else None)
    return {"plan": sandbox.faults and plan_body(sandbox.faults)}


def _next_faults(sandbox: _Sandbox, _request: Request, body: bytes) -> Body:
    sandbox.next_faults(*read_script(body))
    return {"message": "Done"}


_CONTROLS: Final[tuple[tuple[str, str, _Control], ...]] = (
    ("GET", "ledger", _ledger),
    ("GET", "links", lambda sandbox, _request, _body: {"links": sandbox.links()}),
    ("GET", "faults", _faults),
    ("PUT", "faults", _faults),
    ("DELETE", "faults", _faults),
    ("POST", "faults/next", _next_faults),
    ("POST", "apply-late", lambda sandbox, _request, _body: {"applied": sandbox.apply_late()}),
)


def _http_error(sandbox: _Sandbox, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for just these
    phrase = HTTPStatus(error.status_code).phrase
    body = serialization.http_error(sandbox.now(), error.status_code, phrase, request.scope["path"])
    return _reply(sandbox, error.status_code, body, error.headers)


def _reply(
    sandbox: _Sandbox, status: int, body: Body, headers: Mapping[str, str] | None = None
) -> Response:
    reply = replace(json_reply(status, body), headers=headers or {})
    return asgi.DeliveredResponse(Delivery(reply, sandbox.now()))
