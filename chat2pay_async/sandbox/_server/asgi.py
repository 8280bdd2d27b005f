"""Deliveries over ASGI: late, in parts, or with the connection cut."""

import os
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

import anyio
from starlette.responses import Response

from chat2pay_async.sandbox._faults.replies import Delivery, Reply, http_date

if TYPE_CHECKING:
    from asyncio import Transport

    from starlette.types import ASGIApp, Receive, Scope, Send

# The key of the connection that a request came on; in process there is none.
TRANSPORT: Final = "chat2pay.sandbox.transport"
_END: Final = "chat2pay.sandbox.end"
# The most bytes that come one by one.
_DRIPS: Final = 20
_RESET_ON_CLOSE: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


def cutting(app: "ASGIApp") -> "ASGIApp":
    """Let an app cut the connection after what it has sent."""

    async def cut(scope: "Scope", receive: "Receive", send: "Send") -> None:
        await app(scope, receive, send)
        if end := scope.get(_END):
            await _cut(end, scope, receive)

    return cut


class DeliveredResponse(Response):
    """A response that enacts a delivery: it may come late, in parts, or not at all."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        delivery = self._delivery
        if delivery.delay:
            await _wait(delivery.delay, receive)
        if delivery.end != "whole":
            scope[_END] = delivery.end
        if delivery.reply is not None:
            await self._send(delivery.reply, receive, send)

    async def _send(self, reply: Reply, receive: "Receive", send: "Send") -> None:
        delivery, body = self._delivery, reply.content
        # The client reads the service's clock from Date: it has to be this sandbox's clock.
        date = {} if delivery.at is None else {"date": http_date(delivery.at)}
        head = Response(body, reply.status, {**reply.headers, **date}, reply.media_type)
        await send(
            {
                "type": "http.response.start",
                "status": head.status_code,
                "headers": head.raw_headers,
            }
        )
        if delivery.drip:
            for drop in body[:_DRIPS]:
                await send(_part(bytes([drop]), more=True))
                await _wait(delivery.drip / _DRIPS, receive)
            body = body[_DRIPS:]
        more = delivery.end != "whole"
        await send(_part(body[: round(len(body) * delivery.share)], more=more))


def _part(body: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _wait(seconds: float, receive: "Receive") -> None:
    # Once the client has gone, there is nobody to wait for.
    with anyio.move_on_after(seconds):
        await _gone(receive)


async def _gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(end: str, scope: "Scope", receive: "Receive") -> None:
    transport = cast("Transport | None", scope.get("extensions", {}).get(TRANSPORT))
    if transport is None:
        raise (ConnectionResetError if end == "reset" else ConnectionAbortedError)(
            "The sandbox cut the connection"
        )
    if end == "reset":
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    else:
        transport.close()
    # The server must learn that the client is gone, or it would send a response after all.
    await _gone(receive)
