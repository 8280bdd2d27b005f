"""The sandbox as a real server, in a thread with an event loop of its own."""

import asyncio
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from ipaddress import ip_address
from threading import Event, Thread
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from chat2pay_async.sandbox._errors import SandboxError, extra_required
from chat2pay_async.sandbox._faults.plan import FaultPlan
from chat2pay_async.sandbox._faults.plan_json import plan_argument
from chat2pay_async.sandbox._sandbox import Sandbox

if TYPE_CHECKING:
    from uvicorn import Server

LOOPBACK: Final = "127.0.0.1"
_HIGHEST_PORT: Final = 65_535
_KEEP_ALIVE: Final = 5
# Enough for answers that are under way; a client that went silent must not hold up the end.
_GRACE: Final = 3


def serve_sandbox(
    sandbox: Sandbox | None = None,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    keep_alive: int = _KEEP_ALIVE,
) -> AbstractAsyncContextManager[Sandbox]:
    """Serve a sandbox over HTTP on this machine, for as long as the block lasts.

    The server runs in its own thread on its own event loop. So it makes no difference whether the
    block runs on asyncio, uvloop or trio, or how busy that loop is.

        async with serve_sandbox() as sandbox:
            client = AsyncChat2Pay(api_key=sandbox.api_key, base_url=sandbox.url)

    Args:
        sandbox: What to serve; a new one if none is given.
        host: A loopback address.
        port: The port; 0 takes any that is free.
        keep_alive: Seconds after which an idle connection is closed.

    Returns:
        A context manager that gives the sandbox, with `url` saying where it is served.
    """
    return _Serving(_Runner(sandbox or Sandbox(), host, port, keep_alive))


def run(  # noqa: PLR0913 - what is seldom needed has names
    host: str = LOOPBACK,
    port: int = 0,
    api_key: str = "sandbox-key",
    *,
    faults: FaultPlan | str | None = None,
    seed: int | None = None,
    say: Callable[[str], None] = lambda line: print(line, flush=True),  # noqa: T201 - a command
) -> int:
    """Serve a new sandbox until SIGINT or SIGTERM, from the main thread.

    Args:
        host: A loopback address.
        port: The port; 0 takes any that is free.
        api_key: The only key that opens it.
        faults: What goes wrong: a plan, or what the command line takes for one (a preset's name,
            JSON, or the path of a file with JSON).
        seed: Makes references and faults repeatable; a plan's own seed comes first.
        say: Prints the line that says where it is.

    Returns:
        The exit code.
    """
    plan = plan_argument(faults) if isinstance(faults, str) else faults
    runner = _Runner(Sandbox(api_key, seed=seed, faults=plan), host, port, _KEEP_ALIVE)
    with _stop_signals() as stopped:
        stop = runner.start()
        try:
            say(f"Chat 2 Pay sandbox on {runner.sandbox.url} (API key: {api_key})")
            stopped.wait()
        finally:
            stop()
    return 0


class _Runner:
    """Starts the thread that serves."""

    def __init__(self, sandbox: Sandbox, host: str, port: int, keep_alive: int) -> None:
        self.sandbox = sandbox
        self._address = _loopback(host), _port(port)
        self._keep_alive = keep_alive

    def start(self) -> Callable[[], None]:
        """Serve: connections are accepted from here on.

        Returns:
            What stops it: answers what is under way, closes, and waits until the thread has ended.
        """
        server = _make_server(self.sandbox, self._keep_alive)
        listener = _listen(*self._address)
        host, port = listener.getsockname()[:2]
        self.sandbox.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        thread = Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), name="chat2pay-sandbox"
        )
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join()

        return stop


class _Serving(AbstractAsyncContextManager[Sandbox]):
    def __init__(self, runner: _Runner) -> None:
        self._runner = runner

    async def __aenter__(self) -> Sandbox:
        self._stop = self._runner.start()
        return self._runner.sandbox

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The thread has to end even if the block was cancelled.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._stop)


def _make_server(sandbox: Sandbox, keep_alive: int) -> "Server":
    with extra_required():
        import uvicorn  # noqa: PLC0415 - needs the extra

        from chat2pay_async.sandbox._server.uvicorn_protocol import make_protocol  # noqa: PLC0415 - the same
    config = uvicorn.Config(
        sandbox.app,
        http=make_protocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        # The sandbox dates its answers itself, by its own clock.
        date_header=False,
        server_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _loopback(host: str) -> str:
    name = LOOPBACK if host == "localhost" else host
    try:
        local = ip_address(name).is_loopback
    except ValueError:
        local = False
    if not local:
        raise SandboxError(f"The sandbox is for this machine only: {host!r} is no loopback address")
    return name


def _port(port: int) -> int:
    # The standard library would find out only after opening a socket, and not close it.
    if not 0 <= port <= _HIGHEST_PORT:
        raise SandboxError(f"There is no port {port}")
    return port


@contextmanager
def _stop_signals() -> Generator[Event]:
    stopped = Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
