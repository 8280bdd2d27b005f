"""The two ways to serve a sandbox on this machine: for a block, and as a command."""

import signal
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from ipaddress import ip_address
from threading import Event
from typing import Final

import anyio
import anyio.to_thread

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._faults.plan import FaultPlan
from chat2pay_async.sandbox._faults.plan_json import plan_argument
from chat2pay_async.sandbox._sandbox import Sandbox
from chat2pay_async.sandbox._server.server import KEEP_ALIVE, start_server

LOOPBACK: Final = "127.0.0.1"
_HIGHEST_PORT: Final = 65_535


def serve_sandbox(
    sandbox: Sandbox | None = None,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    keep_alive: int = KEEP_ALIVE,
) -> "Serving":
    """Serve a sandbox over HTTP on this machine, for as long as the block lasts.

    The server runs in its own thread on its own event loop. So it makes no difference whether the
    block runs on asyncio, uvloop or trio, or how busy that loop is.

        async with serve_sandbox() as sandbox:
            client = AsyncChat2Pay(api_key=sandbox.api_key, base_url=sandbox.url)

    Code that is not async uses a plain `with`.

    Args:
        sandbox: The sandbox to serve. Default: a new one.
        host: A loopback address.
        port: The port; 0 takes any free one.
        keep_alive: Seconds after which an idle connection is closed.

    Returns:
        A context manager, async or plain, that gives the sandbox; its `url` is where it is served.

    Raises:
        SandboxError: The host is not this machine, or there is no such port.
        OSError: On entering the block: the port is in use.
    """
    return Serving(sandbox or Sandbox(), _address(host, port), keep_alive)


def run(  # noqa: PLR0913 - the options of the command
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
        port: The port; 0 takes any free one.
        api_key: The only key that opens it.
        faults: The plan by which things go wrong, or what the command line takes for one: a
            preset's name, JSON, or the path of a file with JSON.
        seed: Makes references and faults repeatable; a plan's own seed comes first.
        say: Prints the line with the URL.

    Returns:
        The exit code.
    """
    plan = plan_argument(faults) if isinstance(faults, str) else faults
    sandbox = Sandbox(api_key, seed=seed, faults=plan)
    address = _address(host, port)
    with _stop_signals() as stopped:
        sandbox.url, stop = start_server(sandbox.app, address)
        try:
            say(f"Chat 2 Pay sandbox on {sandbox.url} (API key: {api_key})")
            stopped.wait()
        finally:
            stop()
    return 0


class Serving(AbstractContextManager[Sandbox], AbstractAsyncContextManager[Sandbox]):
    """The block in which a sandbox is served."""

    def __init__(self, sandbox: Sandbox, address: tuple[str, int], keep_alive: int) -> None:
        self._sandbox = sandbox
        self._address = address
        self._keep_alive = keep_alive

    def __enter__(self) -> Sandbox:
        sandbox = self._sandbox
        sandbox.url, self._stop = start_server(sandbox.app, self._address, self._keep_alive)
        return sandbox

    def __exit__(self, *_error: object) -> None:
        self._stop()

    async def __aenter__(self) -> Sandbox:
        return self.__enter__()

    async def __aexit__(self, *_error: object) -> None:
        # The thread has to end even if the block was cancelled.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._stop)


def _address(host: str, port: int) -> tuple[str, int]:
    name = LOOPBACK if host == "localhost" else host
    try:
        local = ip_address(name).is_loopback
    except ValueError:
        local = False
    if not local:
        raise SandboxError(
            f"The sandbox is for this machine only: {host!r} is not a loopback address"
        )
    # The standard library would find out only after opening a socket, and not close it.
    if not 0 <= port <= _HIGHEST_PORT:
        raise SandboxError(f"There is no port {port}: pass one from 0 to {_HIGHEST_PORT}")
    return name, port


@contextmanager
def _stop_signals() -> Generator[Event]:
    stopped = Event()
    before = {
        number: signal.signal(number, lambda _number, _frame: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
