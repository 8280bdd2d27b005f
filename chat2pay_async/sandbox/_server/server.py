"""A real server for the app, in a thread with an event loop of its own."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import TYPE_CHECKING, Final, cast

import anyio

from chat2pay_async.sandbox._errors import extra_required

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

KEEP_ALIVE: Final = 5
_BACKLOG: Final = 2048
# Enough for responses in progress; a client that went silent must not hold up the end.
_GRACE: Final = 3


def start_server(
    app: "ASGIApp",
    address: tuple[str, int],
    keep_alive: int = KEEP_ALIVE,
    beside: Callable[[], Awaitable[None]] = anyio.sleep_forever,
) -> tuple[str, Callable[[], None]]:
    """Serve an app in a thread of its own; it accepts connections from here on.

    Args:
        app: The app.
        address: The host and the port.
        keep_alive: Seconds after which an idle connection is closed.
        beside: Runs beside the server, and is cancelled at its end.

    Returns:
        The URL, and a function that stops the server: it finishes the responses in progress,
        closes the connections, and waits until the thread has ended.
    """
    server = make_server(app, keep_alive)
    listener = _listener(address)
    host, port = listener.getsockname()[:2]

    async def serve() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_run, beside)
            await server.serve(sockets=[listener])
            tasks.cancel_scope.cancel()

    thread = Thread(target=lambda: asyncio.run(serve()), name="chat2pay-sandbox")
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return f"http://{f'[{host}]' if ':' in host else host}:{port}", stop


async def _run(beside: Callable[[], Awaitable[None]]) -> None:
    await beside()


def _listener(address: tuple[str, int]) -> socket.socket:
    # Only where the protocol is named does asyncio send each piece at once. The second piece of a
    # response would else wait up to 40 ms for the first to be acknowledged.
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # pragma: no branch - on Windows it would let others in
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def make_server(app: "ASGIApp", keep_alive: int) -> "Server":
    """Return a uvicorn server for the app of a sandbox."""
    with extra_required():
        import uvicorn  # noqa: PLC0415 - needs the extra

        from chat2pay_async.sandbox._server.uvicorn_protocol import make_protocol  # noqa: PLC0415 - the same
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", make_protocol),  # uvicorn only calls it
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        # The sandbox dates its responses itself, by its own clock.
        date_header=False,
        server_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)
