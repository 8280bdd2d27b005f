"""`python -m chat2pay_async.sandbox`: a sandbox in a process of its own."""

import argparse
import sys
from collections.abc import Sequence

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._serve import LOOPBACK, run


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
    parser.add_argument("--host", default=LOOPBACK, help="a loopback address (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one (default)")
    parser.add_argument("--api-key", default="sandbox-key", help="its API key (%(default)s)")
    parser.add_argument(
        "--faults", metavar="PLAN", help="fault plan: mild, harsh, lossy, JSON or a JSON file"
    )
    parser.add_argument("--seed", type=int, help="makes references and faults repeatable")
    options = parser.parse_args(argv)
    try:
        return run(**vars(options))
    except (SandboxError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
