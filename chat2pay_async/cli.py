"""`chat2pay`, the command line; it needs the extra `cli`.

    export CHAT2PAY_API_KEY=...
    chat2pay links create spring.csv             # a campaign: one payment link for each row
    chat2pay resume spring                       # continue what was interrupted
    chat2pay status --from-run spring --only paid
    chat2pay captures --from-run spring          # what is authorized, and not captured
    chat2pay report spring --xlsx spring.xlsx    # the results, for bookkeepers
    chat2pay reconcile                           # hold the journal against the service

A file is checked as a whole before anything is sent: its faults are reported by kind, with their
rows, and `--faults` writes all of them (`--skip-bad-rows` sends the other rows). Then it is
compared with the journal: what is new, done, changed, gone, or looks like a known order; a first
line says what goes where. `--dry-run` stops there. The columns of a file are the fields of its
requests (see `chat2pay_async.models`), and `idempotency_key`; `--map "Amount due=total_amount"` and
`--set channel=sms` help where they are not. It may be CSV, JSON lines, or a workbook. A report is a
file of `status`, `captures`, `reversals` and `cancellations`, too.

# The journal

There is one journal an account (`chat2pay journal path`, `--journal`, CHAT2PAY_JOURNAL), whatever
the files are called and wherever they lie. Every request is written to it before it is sent, those
of single commands such as `chat2pay link` included. Run the same command again, whatever has
happened: it continues where it ended, and sends nothing twice. To send something a second time on
purpose, give it another `--idempotency-key`. A run is named by its file (`spring.csv` is `spring`,
and its captures `spring-captures`), or by `--run`.

Ctrl-C sends nothing that is not on its way, and lets that end; a second Ctrl-C stops at once, and
loses nothing either. At a terminal, production is asked about once (`--yes`).

# For programs

`--json` prints one JSON object per line for each item, and one for the summary, in UTF-8. Where a
file has faults, another one has its `check`: all kinds of them, with their first rows. A status
that is piped has tabs between its columns. Progress and messages go to standard error, and nothing
is coloured where it is piped.

| Exit code | Meaning |
|---|---|
| 0 | everything was applied |
| 1 | the command failed, or stopped before its end; standard error says why |
| 2 | an argument is wrong, or the extra `cli` is missing |
| 3 | done, but items were rejected, failed, or did not reach the customer |
| 4 | done, but the outcome of some items is unknown |
| 130 | interrupted |

Where nobody reads standard output any more (`| head`), a command ends with 1 and says nothing.

`chat2pay sandbox` runs a Chat 2 Pay service on your machine (extra `sandbox`). Run the `export`
lines that it prints, and try all of this without an account; `chat2pay trigger paid ORDER` is the
customer.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

__all__ = ["main"]

_WRONG_USE = 2
_SILENT = logging.NullHandler()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments. Default: the process's own.

    Returns:
        The exit code.
    """
    try:
        from chat2pay_async._cli.app import run  # noqa: PLC0415 - it needs the extra
    except ImportError:
        hint = 'chat2pay needs its extra: pip install "chat2pay-async[cli]"'
        print(hint, file=sys.stderr)  # noqa: T201 - a command's output
        return _WRONG_USE
    # Commands report in their own words what the log would warn of.
    logging.getLogger("chat2pay_async").addHandler(_SILENT)
    return run(sys.argv[1:] if argv is None else argv)
