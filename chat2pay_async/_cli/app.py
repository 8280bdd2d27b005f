"""The commands of `chat2pay`, as cyclopts reads them: their words, options and help texts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from chat2pay_async._api import models, requests
from chat2pay_async._cli.job import LINK_JOB, OTHER_JOBS, ExitCode, Job
from chat2pay_async._cli.options import (
    FileOptions,
    JobOptions,
    ServiceOptions,
    finite,
    number,
    whole,
)
from chat2pay_async._cli.printing import Printer, faults_of, print_error, write_csv
from chat2pay_async._cli.report import Report
from chat2pay_async._cli.single_call import make_call
from chat2pay_async._cli.start import resume_job, start_job
from chat2pay_async._cli.status import show_statuses
from chat2pay_async._cli.stdout import Output, set_up, writing
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import __version__
from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async._files.columns import Reading
from chat2pay_async._files.rows import QUERIES
from chat2pay_async.errors import Chat2PayError, ConfigurationError, OutcomeUnknownError

__all__ = ["run"]

_HELP = """Chat 2 Pay on the command line: payment links, captures, reversals and receipts.

All commands except `sandbox`, `report` and a first `--dry-run` need the API key in the environment
variable CHAT2PAY_API_KEY. CHAT2PAY_BASE_URL is the API base URL; default: production.

Exit codes:

- 0: everything was applied
- 1: the command failed, or stopped before its end
- 2: an argument is wrong
- 3: items were rejected, failed, or did not reach the customer
- 4: the outcome of some items is unknown
- 130: interrupted"""


app = App(
    name="chat2pay",
    version=__version__,
    help=_HELP,
    default_parameter=Parameter(negative=(), show_default=False),
    suppress_keyboard_interrupt=False,
)
links = App(name="links", help="Create payment links from a file.")
app.command(links)


def run(arguments: Sequence[str]) -> int:
    """Run a command; report errors in one line, without a traceback.

    Returns:
        The exit code.
    """
    try:
        output = Output(for_programs=False)
        code = app(arguments, console=output, result_action="return_value")
    except SystemExit as stop:
        return ExitCode.WRONG_USE if stop.code else ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (Chat2PayError, TypeError, OSError) as error:
        if str(error):  # otherwise nobody reads standard output any more
            print_error(f"chat2pay: {error}")
        is_unknown = isinstance(error, OutcomeUnknownError)
        return ExitCode.UNKNOWN if is_unknown else ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.DONE


# Files and jobs -----------------------------------------------------------------------------------


@links.command(name=["create", "send"])
def links_send(
    file: Path, /, *, check_existing: bool = False, options: FileOptions = FileOptions()
) -> int:
    """Create a payment link for each row of a file, and send it to the customer.

    Required columns: channel, to, order_number, currency, total_amount.

        channel,to,order_number,currency,total_amount
        sms,27831234567,A-1001,ZAR,199.90
        whatsapp,27837654321,A-1002,ZAR,50.00

    Optional columns: the other fields of a payment link, such as transaction_type,
    reconciliation_id or additional_data.customer. An unknown column is an error, which lists all
    columns. The journal beside the file records what was sent: run the same command again, and it
    continues. Nothing is sent twice.

    Parameters
    ----------
    file
        CSV, JSON lines or Excel file.
    check_existing
        Look up each order before it is sent, and skip those that exist. Use it if the journal is
        lost.
    """
    return start_job(LINK_JOB, file, replace(options, check_existing=check_existing))


def _add_job_command(job: Job) -> None:
    def command(
        file: Annotated[Path, Parameter(help="CSV, JSON lines or Excel file.")],
        /,
        *,
        options: FileOptions = FileOptions(),
    ) -> int:
        return start_job(job, file, options)

    app.command(command, name=job.name, help=job.help)


for _job in OTHER_JOBS:
    _add_job_command(_job)


@app.command
def resume(journal: Path, /, *, options: JobOptions = JobOptions()) -> int:
    """Continue an interrupted job: look up unknown outcomes, then send the rest.

    Parameters
    ----------
    journal
        The job's journal.
    """
    return resume_job(journal, options)


@app.command
def report(
    journal: Path,
    /,
    *,
    csv: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    json: bool = False,
) -> int:
    """Show the results of a job.

    Parameters
    ----------
    journal
        The job's journal.
    csv
        Write all items as CSV to this file. `-` is standard output.
    json
        Print JSON, for programs.
    """
    with Report(journal) as found:
        if csv is None:
            Printer(as_json=json).report(found)
        elif str(csv) == "-":
            set_up(for_programs=True)
            with writing():
                write_csv(found, sys.stdout)
                sys.stdout.flush()
        else:
            with csv.open("w", encoding="utf-8", newline="") as file:
                write_csv(found, file)
    return ExitCode.DONE


# Single calls -------------------------------------------------------------------------------------


@app.command
def link(  # noqa: PLR0913 - a link has this many fields
    *,
    to: str,
    order_number: str,
    currency: str,
    total_amount: str,
    channel: str = "sms",
    transaction_type: str | None = None,
    reconciliation_id: str | None = None,
    merchant_descriptor: str | None = None,
    return_payment_link: bool = False,
    service: ServiceOptions = ServiceOptions(),
) -> int:
    """Create one payment link, and send it to the customer.

    Parameters
    ----------
    to
        Phone number of the customer, country code first, such as 27831234567.
    order_number
        Unique number of the order.
    currency
        ISO 4217 code, such as ZAR.
    total_amount
        Amount to pay, such as 199.90.
    channel
        sms, whatsapp, or none (no message is sent: use --return-payment-link and deliver the link
        yourself). Default: sms.
    transaction_type
        sale or authorization.
    reconciliation_id
        Your own reference, which status look-ups return.
    merchant_descriptor
        Text on the customer's card statement.
    return_payment_link
        Print the URL of the payment page.
    """

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        made = await client.create_payment_link(
            models.PaymentLinkRequest(
                channel=channel,
                to=to,
                order_number=order_number,
                currency=currency,
                total_amount=total_amount,
                transaction_type=transaction_type,
                reconciliation_id=reconciliation_id,
                merchant_descriptor=merchant_descriptor,
                return_payment_link=return_payment_link,
            )
        )
        printer.model(made)
        return ExitCode.PROBLEMS if made.delivered is False else ExitCode.DONE

    return make_call(service, work, f"status --order-number {shlex.quote(order_number)}")


@app.command
def cancel(payment_link_ref: str, /, *, service: ServiceOptions = ServiceOptions()) -> int:
    """Cancel one link that was not clicked yet.

    Parameters
    ----------
    payment_link_ref
        Reference of the link.
    """

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        printer.model(await client.cancel_payment_link(payment_link_ref))
        return ExitCode.DONE

    return make_call(service, work, f"status {shlex.quote(payment_link_ref)}")


@app.command
def config(*, service: ServiceOptions = ServiceOptions()) -> int:
    """Show the settings of the account."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        printer.model(await client.get_configuration())
        return ExitCode.DONE

    return make_call(service, work)


def _queries_in(path: Path, ignore: tuple[str, ...]) -> Iterable[requests.TransactionQuery]:
    with CampaignFile(path, QUERIES, Reading(ignore=ignore)) as file:
        faults = faults_of(path, file.check())
        if faults:
            raise ConfigurationError("\n".join(faults))
        yield from file.requests()


@app.command
def status(  # noqa: PLR0913 - each is an option
    *payment_link_refs: str,
    order_number: tuple[str, ...] = (),
    file: Path | None = None,
    watch: bool = False,
    ignore: tuple[str, ...] = (),
    every: Annotated[float, Parameter(converter=number, validator=(finite, Number(gt=0)))] = 5.0,
    service: ServiceOptions = ServiceOptions(),
) -> int:
    """Show the status of links and payments.

    Parameters
    ----------
    payment_link_refs
        References of the links.
    order_number
        Look up by order number instead. Can be repeated.
    file
        Look up what a file lists. Columns: payment_link_ref or order_number.
    ignore
        Name of a column of the file to ignore. Can be repeated.
    watch
        Look up again and again, until all payments have ended.
    every
        Seconds between two look-ups. Default: 5.
    """

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        queries = [
            *(requests.TransactionQuery(payment_link_ref=one) for one in payment_link_refs),
            *(requests.TransactionQuery(order_number=one) for one in order_number),
            *(_queries_in(file, ignore) if file else ()),
        ]
        return await show_statuses(client, printer, queries, every if watch else None)

    return make_call(service, work)


@app.command
def sandbox(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(converter=whole, validator=Number(gte=0, lte=65535))] = 0,
    api_key: str = "sandbox-key",
    faults: str | None = None,
    seed: Annotated[int | None, Parameter(converter=whole)] = None,
) -> int:
    """Run a Chat 2 Pay service on this machine, for tests. No message is sent, no money moves.

    Parameters
    ----------
    host
        Loopback address to listen on. Default: 127.0.0.1.
    port
        Port to listen on. Default: a free one.
    api_key
        API key that clients must send. Default: sandbox-key.
    faults
        Simulated faults: mild, harsh, lossy, a plan as JSON, or a file with one.
    seed
        Number that makes references and faults repeatable.
    """
    from chat2pay_async.sandbox import SandboxError, _serve  # noqa: PLC0415 - it needs an extra

    try:
        say = Printer(as_json=False).text
        return _serve.run(host, port, api_key, faults=faults, seed=seed, say=say)
    except (SandboxError, ImportError, OverflowError) as error:
        raise ConfigurationError(str(error)) from error
