"""A real server for the app, in a thread with an event loop of its own."""

import asyncio
import socket
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Final

from chat2pay_async.sandbox._errors import extra_required

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

KEEP_ALIVE: Final = 5
# Enough for responses in progress; a client that went silent must not hold up the end.
_GRACE: Final = 3


def start_server(
    app: "ASGIApp", address: tuple[str, int], keep_alive: int = KEEP_ALIVE
) -> tuple[str, Callable[[], None]]:
    """Serve an app in a thread of its own; it accepts connections from here on.

    Returns:
        The URL, and a function that stops the server: it finishes the responses in progress,
        closes the connections, and waits until the thread has ended.
    """
    server = make_server(app, keep_alive)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.create_server(address, family=family, backlog=2048)
    host, port = listener.getsockname()[:2]
    thread = Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), name="chat2pay-sandbox"
    )
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return f"http://{f'[{host}]' if ':' in host else host}:{port}", stop


def make_server(app: "ASGIApp", keep_alive: int) -> "Server":
    """Return a uvicorn server for the app of a sandbox."""
    with extra_required():
        import uvicorn  # noqa: PLC0415 - needs the extra

        from chat2pay_async.sandbox._server.uvicorn_protocol import make_protocol  # noqa: PLC0415 - the same
    config = uvicorn.Config(
        app,
        http=make_protocol,
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
