"""The sandbox over HTTP: the paths of the API, and those that play the customer."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from chat2pay_async.sandbox._errors import SandboxError, UnknownReferenceError
from chat2pay_async.sandbox._faults.replies import MOVED, Delivery, json_reply
from chat2pay_async.sandbox._server import asgi
from chat2pay_async.sandbox._server.controls import CONTROLS, Control, Sandbox
from chat2pay_async.sandbox._server.openapi import document
from chat2pay_async.sandbox._service import serialization
from chat2pay_async.sandbox._service.serialization import Body
from chat2pay_async.sandbox._service.service import ApiRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


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
_MOST_BYTES: Final = 1024 * 1024
"""The longest body of a request."""


def build_app(
    sandbox: Sandbox, actions: Mapping[str, Callable[[str], None]], triggers: Iterable[str]
) -> "ASGIApp":
    """Return the sandbox as an ASGI application.

    Args:
        sandbox: The sandbox that responds.
        actions: The customer's and the gateway's actions on a link, by their names in the path.
        triggers: What can be let happen to an order.
    """
    plays = [
        *(
            (f"links/{{name}}/{name}", _action(partial(_play, act)), 409)
            for name, act in actions.items()
        ),
        *(
            (f"orders/{{name}}/{event}", _action(partial(_trigger, event)), 409)
            for event in triggers
        ),
        (
            "orders/{name}/fail-delivery",
            _action(lambda owner, name: owner.fail_delivery(name)),
            400,
        ),
    ]
    own = [(method, path) for method, path, _ in CONTROLS] + [("POST", path) for path, *_ in plays]
    described = document(_OPERATIONS, ((method, f"/sandbox/{path}") for method, path in own))
    app = Starlette(
        routes=[
            Route("/openapi.json", partial(_described, sandbox, described)),
            *(_operation(sandbox, *operation) for operation in _OPERATIONS),
            *(_control(sandbox, *control) for control in CONTROLS),
            *(_control(sandbox, "POST", *play) for play in plays),
        ],
        exception_handlers={
            HTTPException: lambda request, error: _http_error(sandbox, request, error),
            # The client left before its request was complete: nothing to do, nobody to answer.
            ClientDisconnect: lambda _request, _error: _reply(sandbox, 400, {}),
        },
    )
    app.router.redirect_slashes = False
    return _with_raw_path(asgi.cutting(app))


async def _described(sandbox: Sandbox, document: Body, _request: Request) -> Response:
    return _reply(sandbox, 200, document)


def _play(act: Callable[[str], None], _sandbox: Sandbox, ref: str) -> None:
    act(ref)


def _trigger(event: str, sandbox: Sandbox, order_number: str) -> None:
    sandbox.trigger(event, order_number)


def _with_raw_path(app: "ASGIApp") -> "ASGIApp":
    # A quoted slash belongs to its segment: routes are found on the path as it was sent.
    async def routed(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            # A client that follows a redirect makes the same request once more.
            path = scope["raw_path"].decode("latin-1").removeprefix(MOVED)
            scope = {**scope, "path": path}
        await app(scope, receive, send)

    return routed


def _operation(sandbox: Sandbox, method: str, path: str, name: str) -> Route:
    async def endpoint(request: Request) -> Response:
        api_request = ApiRequest(
            operation=name,
            key=request.headers.get("authorization", ""),
            path=request.scope["path"],
            ref=unquote(request.path_params.get("ref", "")),
            query=request.query_params,
            body=await _body(request),
            has_length="content-length" in request.headers,
        )
        return asgi.DeliveredResponse(sandbox.exchange(api_request))

    return Route(path, endpoint, methods=[method])


def _control(
    sandbox: Sandbox, method: str, path: str, control: Control, refused: int = 400
) -> Route:
    async def endpoint(request: Request) -> Response:
        # These need no key, so they are for the same machine only, wherever the app is mounted.
        is_near = request.client is not None and request.client.host in _LOOPBACK
        if not (is_near or sandbox.has_open_controls):
            return _reply(sandbox, 403, {"message": "Only for the machine it runs on"})
        if _is_of_another_site(request):
            return _reply(sandbox, 403, {"message": "Not for the pages of other sites"})
        account = sandbox.account(request.headers.get("authorization", "")) or sandbox
        try:
            return _reply(sandbox, 200, control(account, request, await _body(request)))
        except UnknownReferenceError as error:
            return _reply(sandbox, 404, {"message": str(error)})
        except SandboxError as error:
            return _reply(sandbox, refused, {"message": str(error)})

    return Route(f"/sandbox/{path}", endpoint, methods=[method])


def _is_of_another_site(request: Request) -> bool:
    """Tell whether a page of another site asks: a browser on this machine opens those, too."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def _action(action: Callable[[Sandbox, str], None]) -> Control:
    def control(sandbox: Sandbox, request: Request, _body: bytes) -> Body:
        action(sandbox, unquote(request.path_params["name"]))
        return {"message": "Done"}

    return control


async def _body(request: Request) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            body += part
            if len(body) > _MOST_BYTES:
                # Spring's name for it; Python's is another one in each version.
                raise HTTPException(413, "Payload Too Large")
    return bytes(body)


def _http_error(sandbox: Sandbox, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for just these
    status, phrase = error.status_code, error.detail
    body = serialization.http_error(sandbox.now(), status, phrase, request.scope["path"])
    return _reply(sandbox, status, body, error.headers)


def _reply(
    sandbox: Sandbox, status: int, body: Body, headers: Mapping[str, str] | None = None
) -> Response:
    reply = replace(json_reply(status, body), headers=headers or {})
    return asgi.DeliveredResponse(Delivery(reply, sandbox.now()))
