"""The two ways to serve a sandbox: for a block, and as a command."""

import os
import shlex
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from threading import Event
from typing import Final

import anyio
import anyio.to_thread

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._faults.plan_json import plan_argument, read_object
from chat2pay_async.sandbox._sandbox import Sandbox
from chat2pay_async.sandbox._server.deliveries import deliver
from chat2pay_async.sandbox._server.server import KEEP_ALIVE, start_server
from chat2pay_async.sandbox._service.records import Environment
from chat2pay_async.sandbox._service.wire_forms import WireForms

LOOPBACK: Final = "127.0.0.1"
KEY: Final = "sandbox-key"
_WARNING: Final = """\
WARNING: it listens on {host}, in plain http, for whoever can reach this machine.
  It is for containers and CI services. Never give it a real API key, real numbers or real payments.
  {controls}"""
_OPEN: Final = "Its controls (/sandbox) are open: anybody can pay, and read all that it has."
_CLOSED: Final = "Its controls (/sandbox) answer this machine only; --open-controls opens them."
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of the command.

    Attributes:
        host: The address to listen on; one that is no loopback address is warned of.
        port: The port; 0 takes any free one.
        api_key: The keys that open it, each with data of its own.
        environment: The kind of configuration of each.
        faults: What the command line takes for a plan by which things go wrong: a preset's name,
            JSON, or the path of a file with JSON.
        seed: Makes references and faults repeatable; a plan's own seed comes first.
        state: The file that keeps what happens for the next start.
        forward_to: The URLs that callbacks are posted to.
        wire: JSON of the forms in which values are written.
        open_controls: Other machines may play the customer, too.
    """

    host: str = LOOPBACK
    port: int = 0
    api_key: tuple[str, ...] = (KEY,)
    environment: Environment = "sandbox"
    faults: str | None = None
    seed: int | None = None
    state: str | os.PathLike[str] | None = None
    forward_to: tuple[str, ...] = ()
    wire: str | None = None
    open_controls: bool = False

    def sandbox(self) -> Sandbox:
        """Make the sandbox."""
        plan = None if self.faults is None else plan_argument(self.faults)
        forms = WireForms()
        if self.wire is not None:
            forms = read_object(self.wire.encode(), WireForms, "wire")
        first, *others = self.api_key or (KEY,)
        sandbox = Sandbox(
            first,
            environment=self.environment,
            seed=self.seed,
            faults=plan,
            wire_forms=forms,
            state=self.state,
        )
        sandbox.has_open_controls = self.open_controls
        try:
            for key in others:
                sandbox.add_account(key, environment=self.environment)
            for account in sandbox.accounts:
                for url in self.forward_to:
                    account.callbacks.send_to(url)
        except BaseException:
            sandbox.close()
            raise
        return sandbox


def run(
    settings: Settings,
    say: Callable[[str], None] = lambda line: print(line, flush=True),  # noqa: T201 - a command
) -> int:
    """Serve a sandbox until SIGINT or SIGTERM, from the main thread.

    Args:
        settings: Its settings.
        say: Prints where it is, and how it is used.

    Returns:
        The exit code.
    """
    address = _address(settings.host, settings.port, anywhere=True)
    with closing(settings.sandbox()) as sandbox, _stop_signals() as stopped:
        sandbox.url, stop = start_server(sandbox.app, address, beside=partial(deliver, sandbox))
        try:
            if not ip_address(address[0]).is_loopback:
                # An address that means all of them leads nowhere.
                sandbox.url = f"http://{LOOPBACK}:{sandbox.url.rpartition(':')[2]}"
            say("\n".join(_greeting(sandbox, settings)))
            stopped.wait()
        finally:
            stop()
    return 0


def _greeting(sandbox: Sandbox, settings: Settings) -> Generator[str]:
    yield f"Chat 2 Pay sandbox on {sandbox.url} (API key: {sandbox.api_key})"
    yield f"export CHAT2PAY_BASE_URL={sandbox.url}"
    yield f"export CHAT2PAY_API_KEY={shlex.quote(sandbox.api_key)}"
    yield "A customer pays: chat2pay trigger paid ORDER"
    yield f"  or without it: curl -X POST {sandbox.url}/sandbox/orders/ORDER/paid"
    for url in settings.forward_to:
        yield f"Callbacks go to {url}"
    if not ip_address(_address(settings.host, 0, anywhere=True)[0]).is_loopback:
        controls = _OPEN if settings.open_controls else _CLOSED
        yield _WARNING.format(host=settings.host, controls=controls)


class Serving(AbstractContextManager[Sandbox], AbstractAsyncContextManager[Sandbox]):
    """The block in which a sandbox is served."""

    def __init__(self, sandbox: Sandbox, address: tuple[str, int], keep_alive: int) -> None:
        self._sandbox = sandbox
        self._address = address
        self._keep_alive = keep_alive

    def __enter__(self) -> Sandbox:
        sandbox = self._sandbox
        sandbox.url, self._stop = start_server(
            sandbox.app, self._address, self._keep_alive, partial(deliver, sandbox)
        )
        return sandbox

    def __exit__(self, *_error: object) -> None:
        self._stop()

    async def __aenter__(self) -> Sandbox:
        return self.__enter__()

    async def __aexit__(self, *_error: object) -> None:
        # The thread has to end even if the block was cancelled.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._stop)


def _address(host: str, port: int, *, anywhere: bool = False) -> tuple[str, int]:
    name = LOOPBACK if host == "localhost" else host
    try:
        is_allowed = ip_address(name).is_loopback or anywhere
    except ValueError:
        is_allowed = False
    if not is_allowed:
        what = "an IP address" if anywhere else "a loopback address"
        raise SandboxError(f"The sandbox is for this machine only: {host!r} is not {what}")
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
