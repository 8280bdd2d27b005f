"""The uvicorn protocol that shows the app its connection, so that it can cut it."""

from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from chat2pay_async.sandbox._server.asgi import CONNECTION, Connection

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp, Receive, Scope, Send


def make_protocol(**options: Any) -> "asyncio.Protocol":
    """Make the protocol of one connection, as uvicorn calls for it."""
    # The better of uvicorn's two protocols is found at run time: it cannot be a base class here.
    protocol = cast("Any", AutoHTTPProtocol)(**options)
    app: ASGIApp = protocol.app
    connection: Connection | None = None

    async def connected(scope: "Scope", receive: "Receive", send: "Send") -> None:
        nonlocal connection
        connection = connection or Connection(protocol.transport)
        scope["extensions"] = {**scope.get("extensions", {}), CONNECTION: connection}
        await app(scope, receive, send)

    protocol.app = connected
    return cast("asyncio.Protocol", protocol)
