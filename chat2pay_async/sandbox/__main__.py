"""`python -m chat2pay_async.sandbox`: a sandbox in a process of its own."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._serve import Settings, run


def main(argv: Sequence[str] | None = None) -> int:
    """Serve a sandbox until SIGINT or SIGTERM.

    Args:
        argv: The arguments. Default: those of the command line.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m chat2pay_async.sandbox",
        description="A Chat 2 Pay of your own: nothing is sent, and no money moves.",
    )
    usual = Settings()
    parser.add_argument("--host", default=usual.host, help="an IP address (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one (default)")
    parser.add_argument(
        "--api-key", action="append", default=[], help=f"can be repeated ({usual.api_key[0]})"
    )
    parser.add_argument(
        "--environment", choices=("sandbox", "production"), default=usual.environment
    )
    parser.add_argument(
        "--faults", metavar="PLAN", help="fault plan: mild, harsh, lossy, JSON or a JSON file"
    )
    parser.add_argument("--seed", type=int, help="makes references and faults repeatable")
    parser.add_argument("--state", metavar="FILE", help="keeps what happens for the next start")
    parser.add_argument(
        "--forward-to", metavar="URL", action="append", default=[], help="posts callbacks there"
    )
    parser.add_argument("--wire", metavar="JSON", help="the forms in which values are written")
    parser.add_argument(
        "--open-controls", action="store_true", help="lets other machines play the customer, too"
    )
    options: dict[str, Any] = vars(parser.parse_args(argv))
    for name in ("api_key", "forward_to"):
        options[name] = tuple(options[name])
    try:
        return run(Settings(**options))
    except (SandboxError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
