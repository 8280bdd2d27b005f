"""Deliveries over ASGI: late, in parts, or with the connection cut."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import anyio
from starlette.responses import Response

from chat2pay_async.sandbox._faults.replies import Delivery, Reply, http_date

if TYPE_CHECKING:
    from asyncio import Transport

    from starlette.types import ASGIApp, Receive, Scope, Send

# The key of the connection that a request came on; in process there is none.
CONNECTION: Final = "chat2pay.sandbox.connection"
_END: Final = "chat2pay.sandbox.end"
_PROCESSING: Final = b"HTTP/1.1 102 Processing\r\n\r\n"
# Longer than any client keeps half a connection.
_HALF: Final = 300
_RESET_ON_CLOSE: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Connection:
    """The connection of some requests, on which a server may send what it likes."""

    def __init__(self, transport: "Transport") -> None:
        self.transport = transport
        self._waiting: list[bytes] = []

    def send_after(self, seconds: float, data: bytes) -> None:
        """Send something later, but before the response to the next request."""
        self._waiting.append(data)
        asyncio.get_running_loop().call_later(seconds, self.flush)

    def flush(self) -> None:
        """Send what is waiting."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        if data and not self.transport.is_closing():
            self.transport.write(data)


def cutting(app: "ASGIApp") -> "ASGIApp":
    """Let an app cut the connection after what it has sent."""

    async def cut(scope: "Scope", receive: "Receive", send: "Send") -> None:
        connection = _connection_of(scope)
        if connection is not None:
            connection.flush()
        await app(scope, receive, send)
        if end := scope.get(_END):
            await _cut(end, scope, receive)

    return cut


class DeliveredResponse(Response):
    """A response that enacts a delivery: it may come late, in parts, or not at all."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        delivery, connection = self._delivery, _connection_of(scope)
        if delivery.is_processing and connection is not None:
            await _wait(delivery.delay, receive, lambda: connection.transport.write(_PROCESSING))
        elif delivery.delay:
            await _wait(delivery.delay, receive)
        if delivery.end != "whole":
            scope[_END] = delivery.end
        if delivery.reply is not None:
            await self._send(delivery.reply, receive, send)
        if delivery.afterwards and connection is not None:
            connection.send_after(delivery.after, self._afterwards)

    async def _send(self, reply: Reply, receive: "Receive", send: "Send") -> None:
        delivery, body = self._delivery, reply.content
        head = self._head(reply)
        await send(
            {
                "type": "http.response.start",
                "status": head.status_code,
                "headers": head.raw_headers,
            }
        )
        if delivery.drip:
            for drop in body[: delivery.drops]:
                await send(_part(bytes([drop]), more=True))
                await _wait(delivery.drip / delivery.drops, receive)
            body = body[delivery.drops :]
        more = delivery.end != "whole"
        await send(_part(body[: round(len(body) * delivery.share)], more=more))

    def _head(self, reply: Reply) -> Response:
        # The client reads the service's clock from Date: it has to be this sandbox's clock.
        at = self._delivery.at
        date = {} if at is None else {"date": http_date(at)}
        return Response(reply.content, reply.status, {**reply.headers, **date}, reply.media_type)

    @property
    def _afterwards(self) -> bytes:
        what = self._delivery.afterwards
        if isinstance(what, bytes):
            return what
        head = self._head(what)
        lines = (b"%b: %b" % header for header in head.raw_headers)
        start = f"HTTP/1.1 {what.status} \r\n".encode()
        return start + b"\r\n".join([*lines, b"", b""]) + what.content


def _part(body: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _wait(
    seconds: float, receive: "Receive", each_second: Callable[[], None] | None = None
) -> None:
    # Once the client has gone, there is nobody to wait for.
    step = seconds if each_second is None else 1.0
    for _ in range(round(seconds / step)):
        if each_second is not None:
            each_second()
        with anyio.move_on_after(step):
            await _gone(receive)
            return


async def _gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(end: str, scope: "Scope", receive: "Receive") -> None:
    connection = _connection_of(scope)
    if connection is None:
        raise (ConnectionResetError if end == "reset" else ConnectionAbortedError)(
            "The sandbox cut the connection"
        )
    transport = connection.transport
    if end == "half":
        transport.write_eof()
        await _wait(_HALF, receive)
    if end == "reset":
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    else:
        transport.close()
    # The server must learn that the client is gone, or it would send a response after all.
    await _gone(receive)


def _connection_of(scope: "Scope") -> Connection | None:
    return cast("Connection | None", scope.get("extensions", {}).get(CONNECTION))
