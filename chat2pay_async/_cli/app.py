"""The commands of `chat2pay`, as cyclopts reads them: their words, options and help texts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from chat2pay_async._api import models, requests
from chat2pay_async._cli.job import DONE, FAILED, PROBLEMS
from chat2pay_async._cli.options import FromFile, Running, Service, finite, told
from chat2pay_async._cli.printing import Printer, faults_of, write_csv
from chat2pay_async._cli.report import Report
from chat2pay_async._cli.single_call import make_call
from chat2pay_async._cli.start import resume_job
from chat2pay_async._cli.status import show_statuses
from chat2pay_async._cli.stdout import set_up, writing
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import __version__
from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async._files.rows import QUERIES
from chat2pay_async.errors import ConfigurationError

__all__ = ["app"]

_HELP = """Chat 2 Pay on the command line: payment links, captures, reversals and receipts.

Every command but `sandbox`, `report` and a first `--dry-run` needs the API key, in the environment
variable CHAT2PAY_API_KEY. CHAT2PAY_BASE_URL names another service than the vendor's own.

Exit codes: 0 everything took effect; 1 it could not be done, or not to its end; 2 an argument is
wrong; 3 items were rejected, failed, or did not reach their customer; 4 of some items it is not
known whether they took effect; 130 it was interrupted."""

app = App(
    name="chat2pay",
    version=__version__,
    help=_HELP,
    default_parameter=Parameter(negative=()),
)
links = App(name="links", help="Campaigns: many payment links from a file.")
app.command(links)


# Campaigns and jobs -------------------------------------------------------------------------------


@links.command(name=["create", "send"])
def links_send(
    file: Path, /, *, check_existing: bool = False, options: FromFile = FromFile()
) -> int:
    """Make a payment link for each row of a file, and have it sent.

    The file needs the columns channel, to, order_number, currency and total_amount:

        channel,to,order_number,currency,total_amount
        sms,27831234567,A-1001,ZAR,199.90
        whatsapp,27837654321,A-1002,ZAR,50.00

    Others are optional, such as transaction_type, reconciliation_id or additional_data.customer; a
    column that is none of them is an error that lists them all. The journal beside the file knows
    what was sent: the same command again goes on, and sends nothing twice.

    Parameters
    ----------
    file
        CSV, JSON lines or Excel; its columns are the fields of a payment link.
    check_existing
        Look each order up first, and skip those that there are already: if the journal is lost.
    """
    return options.start("links", file, check_existing=check_existing)


@app.command
def captures(file: Path, /, *, options: FromFile = FromFile()) -> int:
    """Take the money of authorizations: payment_link_ref and, where it is not all, amount.

    Parameters
    ----------
    file
        CSV, JSON lines or Excel.
    """
    return options.start("captures", file)


@app.command
def reversals(file: Path, /, *, options: FromFile = FromFile()) -> int:
    """Give back authorizations, or captures that are not settled yet: payment_link_ref.

    Parameters
    ----------
    file
        CSV, JSON lines or Excel.
    """
    return options.start("reversals", file)


@app.command
def cancellations(file: Path, /, *, options: FromFile = FromFile()) -> int:
    """Cancel links that were not clicked yet: payment_link_ref.

    Parameters
    ----------
    file
        CSV, JSON lines or Excel.
    """
    return options.start("cancellations", file)


@app.command
def receipts(file: Path, /, *, options: FromFile = FromFile()) -> int:
    """Send customers their receipts: payment_link_ref, receipt_link and, if not now, timestamp.

    Parameters
    ----------
    file
        CSV, JSON lines or Excel.
    """
    return options.start("receipts", file)


@app.command
def resume(journal: Path, /, *, options: Running = Running()) -> int:
    """Go on with an interrupted job: settle what is in doubt, then send the rest.

    Parameters
    ----------
    journal
        The job's journal.
    """
    return told(lambda: resume_job(journal, options.plan()))


@app.command
def report(
    journal: Path,
    /,
    *,
    csv: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    json: bool = False,
) -> int:
    """Say what became of a job.

    Parameters
    ----------
    journal
        The job's journal.
    csv
        Write every item to this file, as CSV; `-` is standard output.
    json
        Print JSON, for programs.
    """

    def work() -> int:
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
        return DONE

    return told(work)


# Single calls -------------------------------------------------------------------------------------


@app.command
def link(  # noqa: PLR0913 - a link has this many fields
    *,
    to: str,
    order_number: str,
    currency: str,
    total_amount: Decimal,
    channel: str = "sms",
    transaction_type: str | None = None,
    reconciliation_id: str | None = None,
    merchant_descriptor: str | None = None,
    return_payment_link: bool = False,
    service: Service = Service(),
) -> int:
    """Make one payment link, and have it sent.

    Parameters
    ----------
    to
        The customer's phone number: digits, country code first.
    order_number
        Its identity: never used before.
    currency
        An ISO 4217 code, such as ZAR.
    total_amount
        What is to be paid.
    channel
        sms, whatsapp, or none (which sends no message: ask for the link and deliver it yourself).
    transaction_type
        sale or authorization.
    reconciliation_id
        Your own reference; status answers echo it.
    merchant_descriptor
        What the customer's statement says.
    return_payment_link
        Print the payment page's URL.
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
        return PROBLEMS if made.delivered is False else DONE

    return make_call(service, work, f"status --order-number {shlex.quote(order_number)}")


@app.command
def cancel(payment_link_ref: str, /, *, service: Service = Service()) -> int:
    """Cancel a link that was not clicked yet.

    Parameters
    ----------
    payment_link_ref
        The link's reference.
    """

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        printer.model(await client.cancel_payment_link(payment_link_ref))
        return DONE

    return make_call(service, work, f"status {shlex.quote(payment_link_ref)}")


@app.command
def config(*, service: Service = Service()) -> int:
    """Show how the account is set up."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        printer.model(await client.get_configuration())
        return DONE

    return make_call(service, work)


def _queries_in(path: Path, ignore: tuple[str, ...]) -> Iterable[requests.TransactionQuery]:
    file = CampaignFile(path, QUERIES, ignore)
    faults = faults_of(path, file.check())
    if faults:
        raise ConfigurationError("\n".join(faults))
    return file.requests()


@app.command
def status(  # noqa: PLR0913 - the same
    *payment_link_refs: str,
    order_number: tuple[str, ...] = (),
    file: Path | None = None,
    watch: bool = False,
    ignore: tuple[str, ...] = (),
    every: Annotated[float, Parameter(validator=(finite, Number(gt=0)))] = 5.0,
    service: Service = Service(),
) -> int:
    """Show where links and payments stand.

    Parameters
    ----------
    payment_link_refs
        The links' references.
    order_number
        An order's number instead; can be given more than once.
    file
        Take more of them from a file with the columns payment_link_ref or order_number.
    ignore
        A column of the file that means nothing; can be given more than once.
    watch
        Go on until every payment has come to its end.
    every
        Seconds between two looks.
    """

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        queries = [
            *(requests.TransactionQuery(payment_link_ref=one) for one in payment_link_refs),
            *(requests.TransactionQuery(order_number=one) for one in order_number),
            *(_queries_in(file, ignore) if file else ()),
        ]
        return await show_statuses(client, printer, queries, every if watch else None)

    return make_call(service, work)


def _say(line: str) -> None:
    with writing():
        print(line, flush=True)  # noqa: T201 - a command's output


@app.command
def sandbox(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    api_key: str = "sandbox-key",
    faults: str | None = None,
    seed: int | None = None,
) -> int:
    """Serve a Chat 2 Pay of your own: nothing is sent, and no money moves.

    Parameters
    ----------
    host
        A loopback address.
    port
        The port; 0 takes any that is free.
    api_key
        The key that its clients must send.
    faults
        What goes wrong: mild, harsh, lossy, a plan as JSON, or a file with one.
    seed
        Makes references and faults repeatable.
    """
    from chat2pay_async.sandbox import SandboxError  # noqa: PLC0415 - not for other commands
    from chat2pay_async.sandbox._serve import run  # noqa: PLC0415 - the same

    try:
        return run(host, port, api_key, faults=faults, seed=seed, say=_say)
    except (SandboxError, ImportError, OSError, OverflowError) as error:
        print(f"chat2pay sandbox: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return FAILED
