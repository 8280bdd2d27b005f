"""The commands of `chat2pay`: their names and places. A command is imported only when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cyclopts import App, Parameter

from chat2pay_async._cli.options import STANDARD_INPUT, ExitCode, UsageError
from chat2pay_async._cli.stdout import Output, print_error
from chat2pay_async._config import __version__
from chat2pay_async.errors import Chat2PayError, OutcomeUnknownError, RequestValidationError

__all__ = ["run"]

_HELP = """Chat 2 Pay on the command line: payment links, captures, reversals and receipts.

The API key is in the environment variable CHAT2PAY_API_KEY. CHAT2PAY_BASE_URL is the API base \
URL; default: production. CHAT2PAY_JOURNAL is the journal of the account; default: a file in your \
data directory (chat2pay journal path).

Exit codes:
0: everything was applied
1: the command failed, or stopped before its end
2: an argument is wrong
3: items were rejected, failed, or did not reach the customer
4: the outcome of some items is unknown
130: interrupted"""


def _apps(arguments: Sequence[str]) -> App:
    shared = Parameter(negative=(), show_default=False)
    app = App(
        name="chat2pay",
        version=__version__,
        help=_HELP,
        help_format="plaintext",
        default_parameter=shared,
        suppress_keyboard_interrupt=False,
    )
    apps = {"": app} | {name: App(name=name, help=brief) for name, brief in _GROUPS.items()}
    for name in _GROUPS:
        app.command(apps[name])
    chosen = " ".join(arguments[:2])
    for names, place, help_text in _COMMANDS:
        target = apps[names[0].rpartition(" ")[0]]
        own = [name.rpartition(" ")[2] for name in names]
        # The help of a command itself is its docstring, for which it has to be imported.
        is_chosen = any(f"{chosen} ".startswith(f"{name} ") for name in names)
        brief = {} if is_chosen else {"help": help_text}
        target.command(f"chat2pay_async._cli.{place}", name=own, **brief)
    return app


_GROUPS = {
    "links": "Create payment links from a file.",
    "journal": "The journal of an account: which requests were sent, and what became of them.",
}

_COMMANDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("links create", "links send"),
        "commands:links_create",
        "Create a payment link for each row of a file, and send it to the customer.",
    ),
    (
        ("links resend",),
        "commands:links_resend",
        "Create links anew for orders of a run whose links have expired.",
    ),
    (("captures",), "commands:captures", "Capture authorized payments."),
    (
        ("reversals",),
        "commands:reversals",
        "Reverse authorizations, or captures that are not settled yet.",
    ),
    (("cancellations",), "commands:cancellations", "Cancel links that were not clicked yet."),
    (("receipts",), "commands:receipts", "Send receipts to customers."),
    (("runs",), "report:runs", "List the runs of the journal."),
    (
        ("resume",),
        "commands:resume",
        "Continue an interrupted run: look up unknown outcomes, then send the rest.",
    ),
    (("report",), "report:report", "Show the results of a run."),
    (("recover",), "commands:recover", "Settle what processes that have died left open."),
    (
        ("reconcile",),
        "commands:reconcile",
        "Compare the journal with what the service knows of each item.",
    ),
    (("status",), "commands:status", "Show the status of links and payments."),
    (("link",), "commands:link", "Create one payment link, and send it to the customer."),
    (("capture",), "commands:capture", "Capture one authorized payment."),
    (("reverse",), "commands:reverse", "Reverse one authorization or capture."),
    (("cancel",), "commands:cancel", "Cancel one link that was not clicked yet."),
    (("receipt",), "commands:receipt", "Send one receipt to the customer."),
    (("config",), "commands:config", "Show the settings of the account."),
    (("journal path",), "journal:path", "Print the path of the journal."),
    (("journal backup",), "journal:backup", "Copy the journal, also while it is in use."),
    (("journal check",), "journal:check", "Look for damage, and count what is open."),
    (("journal prune",), "journal:prune", "Delete what ended long ago."),
    (
        ("sandbox",),
        "commands:sandbox",
        "Run a Chat 2 Pay service on this machine, for tests. No message is sent, no money moves.",
    ),
    (
        ("trigger",),
        "commands:trigger",
        "Let something happen to an order of the sandbox: its customer pays, its link expires.",
    ),
)


def run(arguments: Sequence[str]) -> int:
    """Run a command; report errors in one line, without a traceback.

    Returns:
        The exit code.
    """
    try:
        app = _apps(arguments)
        code = app(
            list(_with_standard_input(arguments)),
            console=Output(for_programs=False),
            result_action="return_value",
        )
    except SystemExit as stop:
        return ExitCode.WRONG_USE if stop.code else ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (RequestValidationError, UsageError) as error:
        faults = map(str, error.faults) if isinstance(error, RequestValidationError) else [error]
        print_error(f"chat2pay: {'; '.join(map(str, faults))}")
        return ExitCode.WRONG_USE
    except (Chat2PayError, TypeError, OSError) as error:
        if str(error):  # otherwise nobody reads standard output any more
            print_error(f"chat2pay: {error}")
        is_unknown = isinstance(error, OutcomeUnknownError)
        return ExitCode.UNKNOWN if is_unknown else ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.DONE


def _with_standard_input(arguments: Sequence[str]) -> Iterator[str]:
    """Name standard input, since cyclopts takes a hyphen alone for an option.

    One that follows an option is its value.
    """
    before = ""
    for one in arguments:
        yield STANDARD_INPUT if one == "-" and not before.startswith("--") else one
        before = one
