"""`chat2pay`, the command line; it needs the extra `cli`.

    export CHAT2PAY_API_KEY=...
    chat2pay links send spring.csv               # a campaign: one payment link for each row
    chat2pay captures captures.csv               # and likewise reversals, cancellations, receipts
    chat2pay resume spring.csv.links.journal     # go on with what was interrupted
    chat2pay report spring.csv.links.journal     # what became of it

A campaign is checked whole before anything is sent: every bad row is told with its line and column
(`--skip-bad-rows` sends the others). `--dry-run` goes no further than that, and says what would be
sent, who would get more than one link, and how long it would take. The columns of a file are the
fields of its requests (see `chat2pay_async.models`): CSV, JSON lines, or Excel (extra `excel`).

# Journals

Beside the file comes a journal, `spring.csv.links.journal`, in which every request is written down
before it leaves. The same command again, after whatever has happened, goes on where it ended, and
sends nothing twice. Ctrl-C lets what is under way come to its end; a second one stops at once, and
loses nothing either. `--journal` puts the journal somewhere else; a second journal for the same
file needs `--force`, since across journals nothing protects.

# For programs

`--json` prints a JSON object a line for each item, and one for the summary, in UTF-8. A status that
is piped has tabs between its columns. Progress and messages are on standard error, and nothing is
coloured where it is piped.

| Exit code | Meaning |
|---|---|
| 0 | everything took effect |
| 1 | it could not be done, or stopped before its end; standard error says why |
| 2 | an argument is wrong, or the extra `cli` is missing |
| 3 | it was done, but items were rejected, failed, or did not reach their customer |
| 4 | it was done, but of some items it is not known whether they took effect |
| 130 | it was interrupted |

`chat2pay sandbox` serves a Chat 2 Pay of your own (extra `sandbox`); with what it prints in
CHAT2PAY_BASE_URL and CHAT2PAY_API_KEY all of this can be tried without an account.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

__all__ = ["main"]

_FAILED = 1
_WRONG_USE = 2
_SILENT = logging.NullHandler()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; the process's where they are not given.

    Returns:
        The exit code.
    """
    try:
        from chat2pay_async._cli.app import app  # noqa: PLC0415 - it needs the extra
        from chat2pay_async._cli.stdout import OutputError, set_up, writing  # noqa: PLC0415 - the same
    except ImportError:
        hint = 'chat2pay needs its extra: pip install "chat2pay-async[cli]"'
        print(hint, file=sys.stderr)  # noqa: T201 - a command's output
        return _WRONG_USE
    # What a run's log would warn of is told in the command's own words.
    logging.getLogger("chat2pay_async").addHandler(_SILENT)
    set_up(for_programs=False)
    try:
        with writing():
            code = app(sys.argv[1:] if argv is None else argv, result_action="return_value")
    except SystemExit as stop:
        return _WRONG_USE if stop.code else 0
    except OutputError as error:  # of a help text: commands deal with their own
        print(f"chat2pay: {error}", file=sys.stderr)  # noqa: T201 - the same
        return _FAILED
    return code if isinstance(code, int) else 0
