"""`chat2pay`, the command line; it needs the extra `cli`.

    export CHAT2PAY_API_KEY=...
    chat2pay links send spring.csv               # a campaign: one payment link for each row
    chat2pay captures captures.csv               # and likewise reversals, cancellations, receipts
    chat2pay resume spring.csv.links.journal     # continue what was interrupted
    chat2pay report spring.csv.links.journal     # show the results

A file is checked as a whole before anything is sent: the first 20 problems are reported with line
and column, and all bad rows are counted (`--skip-bad-rows` sends the others). `--dry-run` stops
there, and shows what would be sent, who would get more than one link, and how long it would take.
The columns of a file are the fields of its requests (see `chat2pay_async.models`): CSV, JSON lines,
or a workbook (`.xlsx`, `.ods`; `.xls` with the extra `excel`). A workbook is read as people see it:
what is hidden, or shown otherwise than it is stored, is refused.

# Journals

The journal lies beside the file, as `spring.csv.links.journal`. Every request is written to it
before it is sent. Run the same command again, whatever has happened: it continues where it ended,
and sends nothing twice. Ctrl-C lets what is in progress end; a second Ctrl-C stops at once, and
loses nothing either. `--journal` puts the journal somewhere else; a second journal for the same
file needs `--force`, since each journal protects only from what it knows itself.

# For programs

`--json` prints one JSON object per line for each item, and one for the summary, in UTF-8. A status
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

`chat2pay sandbox` runs a Chat 2 Pay service on your machine (extra `sandbox`). Put what it prints
into CHAT2PAY_BASE_URL and CHAT2PAY_API_KEY, and try all of this without an account.
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
