"""`chat2pay`, the command line; it needs the extra `cli`.

    chat2pay sandbox [--host 127.0.0.1] [--port 0] [--api-key KEY]

serves a Chat 2 Pay of your own until it is interrupted (extra `sandbox`).
Exit codes: 0 done, 1 it could not be done (the reason is on standard error), 2 a missing extra or
a wrong argument.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chat2pay_async._config import __version__

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["main"]

_FAILED, _WRONG_USE = 1, 2


def _sandbox(*, host: str = "127.0.0.1", port: int = 0, api_key: str = "sandbox-key") -> int:
    """Serve a Chat 2 Pay of your own: nothing is sent, and no money moves.

    Parameters
    ----------
    host
        A loopback address.
    port
        The port; 0 takes any that is free.
    api_key
        The key that its clients must send.
    """
    from chat2pay_async.sandbox import SandboxError  # noqa: PLC0415 - not for other commands
    from chat2pay_async.sandbox._server import run  # noqa: PLC0415 - the same

    try:
        return run(host, port, api_key)
    except (SandboxError, ImportError, OSError, OverflowError) as error:
        print(f"chat2pay sandbox: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return _FAILED


def _app() -> App:
    from cyclopts import App  # noqa: PLC0415 - an extra, and asked for only by this command

    app = App(name="chat2pay", version=__version__, help="Chat 2 Pay on the command line.")
    app.command(_sandbox, name="sandbox")
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; the process's where they are not given.

    Returns:
        The exit code.
    """
    try:
        app = _app()
    except ImportError:
        hint = 'chat2pay needs its extra: pip install "chat2pay-async[cli]"'
        print(hint, file=sys.stderr)  # noqa: T201 - a command's output
        return _WRONG_USE
    try:
        code = app(sys.argv[1:] if argv is None else argv, result_action="return_value")
    except SystemExit as stop:
        return _WRONG_USE if stop.code else 0
    return code if isinstance(code, int) else 0
