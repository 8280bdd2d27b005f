"""The commands of `chat2pay` as cyclopts reads them: options, and the text of their help.

What a command does is imported when it runs: the help of none needs the client.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from chat2pay_async._cli.options import (
    STANDARD_INPUT,
    CallOptions,
    FileOptions,
    JobOptions,
    JournalOptions,
    SandboxOptions,
    ServiceOptions,
    SourceOptions,
    UsageError,
    finite,
    number,
)
from chat2pay_async._cli.options import (
    country as is_country,
)

__all__ = [
    "cancel",
    "cancellations",
    "capture",
    "captures",
    "config",
    "link",
    "links_create",
    "links_resend",
    "receipt",
    "receipts",
    "reconcile",
    "recover",
    "resume",
    "reversals",
    "reverse",
    "sandbox",
    "status",
    "trigger",
]

Only = Literal[
    "authorized",
    "captured",
    "paid",
    "unpaid",
    "declined",
    "expired",
    "cancelled",
    "reversed",
    "open",
]
Event = Literal["paid", "declined", "review", "expired", "cancelled"]


# Runs --------------------------------------------------------------------------------------------


def links_create(
    file: Path, /, *, check_existing: bool = False, options: FileOptions = FileOptions()
) -> int:
    """Create a payment link for each row of a file, and send it to the customer.

    Required columns: channel, to, order_number, currency, total_amount.

        channel,to,order_number,currency,total_amount
        sms,27831234567,A-1001,ZAR,199.90
        whatsapp,27837654321,A-1002,ZAR,50.00

    Optional columns: the other fields of a payment link, such as transaction_type,
    reconciliation_id or additional_data.customer, and idempotency_key. An unknown column is an
    error, which lists all columns. The journal of the account records what was sent: run the same
    command again, and it continues. Nothing is sent twice.

    Parameters
    ----------
    file
        CSV, JSON lines or workbook (Excel, LibreOffice); `-` is standard input.
    check_existing
        Look up each order before it is sent, and skip those that exist. Use it if the journal is
        lost.
    """
    from chat2pay_async._cli import start

    return start.start_file(start.JOBS["links"], file, options, check_existing=check_existing)


def links_resend(
    *, from_run: str, expired: bool = False, options: FileOptions = FileOptions()
) -> int:
    """Create links anew for orders of a run whose links have expired.

    Each order gets a second link on purpose, under a new idempotency key. The run is called
    RUN-resend; the same command again sends nothing twice. For a third link, pass --run NAME.

    Parameters
    ----------
    from_run
        Name of the run that made the links.
    expired
        Confirms that it is about links that have expired. Required.
    """
    from chat2pay_async._cli import start

    if not expired:
        raise UsageError("pass --expired: only links that have expired are made again")
    run = options.run or f"{from_run}-resend"
    return start.start_from(start.JOBS["links"], from_run, replace(options, run=run))


def captures(
    file: Path | None = None,
    /,
    *,
    from_run: str | None = None,
    options: FileOptions = FileOptions(),
) -> int:
    """Capture authorized payments.

    Columns: payment_link_ref; amount (optional, for a partial capture); currency (optional, for an
    amount with more than two decimals).

    Parameters
    ----------
    file
        CSV, JSON lines or workbook (Excel, LibreOffice); `-` is standard input.
    from_run
        Capture what customers have authorized of the links of this run.
    """
    from chat2pay_async._cli import start

    return start.start_either(start.JOBS["captures"], file, from_run, options)


def reversals(
    file: Path | None = None,
    /,
    *,
    from_run: str | None = None,
    options: FileOptions = FileOptions(),
) -> int:
    """Reverse authorizations, or captures that are not settled yet.

    Column: payment_link_ref.

    Parameters
    ----------
    file
        CSV, JSON lines or workbook (Excel, LibreOffice); `-` is standard input.
    from_run
        Reverse what customers have authorized of the links of this run, and was not captured.
    """
    from chat2pay_async._cli import start

    return start.start_either(start.JOBS["reversals"], file, from_run, options)


def cancellations(
    file: Path | None = None,
    /,
    *,
    from_run: str | None = None,
    options: FileOptions = FileOptions(),
) -> int:
    """Cancel links that were not clicked yet.

    Column: payment_link_ref.

    Parameters
    ----------
    file
        CSV, JSON lines or workbook (Excel, LibreOffice); `-` is standard input.
    from_run
        Cancel the links of this run that may still be paid.
    """
    from chat2pay_async._cli import start

    return start.start_either(start.JOBS["cancellations"], file, from_run, options)


def receipts(file: Path, /, *, options: FileOptions = FileOptions()) -> int:
    """Send receipts to customers.

    Columns: payment_link_ref; receipt_link; timestamp (optional; default: now).

    Parameters
    ----------
    file
        CSV, JSON lines or workbook (Excel, LibreOffice); `-` is standard input.
    """
    from chat2pay_async._cli import start

    return start.start_file(start.JOBS["receipts"], file, options)


def resume(run: str, file: Path | None = None, /, *, options: JobOptions = JobOptions()) -> int:
    """Continue an interrupted run: look up unknown outcomes, then send the rest.

    The run keeps how its file was read.

    Parameters
    ----------
    run
        Name of the run: see `chat2pay runs`.
    file
        Its file, if that was moved.
    """
    from chat2pay_async._cli import start

    return start.resume(run, file, options)


# Single calls ------------------------------------------------------------------------------------


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
    country: Annotated[str | None, Parameter(validator=is_country)] = None,
    options: CallOptions = CallOptions(),
) -> int:
    """Create one payment link, and send it to the customer.

    The same command again sends nothing, and shows the link that was made.

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
    country
        Country of a phone number that is written without a country code, such as ZA.
    """
    from chat2pay_async._cli import single_call

    fields = {
        "channel": channel,
        "to": to,
        "order_number": order_number,
        "currency": currency,
        "total_amount": total_amount,
        "transaction_type": transaction_type,
        "reconciliation_id": reconciliation_id,
        "merchant_descriptor": merchant_descriptor,
        "return_payment_link": return_payment_link,
    }
    return single_call.link(fields, country, options)


def capture(
    payment_link_ref: str,
    /,
    *,
    amount: str | None = None,
    currency: str | None = None,
    options: CallOptions = CallOptions(),
) -> int:
    """Capture one authorized payment.

    Parameters
    ----------
    payment_link_ref
        Reference of the link.
    amount
        Amount of a partial capture. Default: all of it.
    currency
        Currency of the amount, which tells how many decimals it may have.
    """
    from chat2pay_async._cli import single_call

    return single_call.capture(payment_link_ref, amount, currency, options)


def reverse(payment_link_ref: str, /, *, options: CallOptions = CallOptions()) -> int:
    """Reverse one authorization, or a capture that is not settled yet.

    Parameters
    ----------
    payment_link_ref
        Reference of the link.
    """
    from chat2pay_async._cli import single_call

    return single_call.reverse(payment_link_ref, options)


def cancel(payment_link_ref: str, /, *, options: CallOptions = CallOptions()) -> int:
    """Cancel one link that was not clicked yet.

    Parameters
    ----------
    payment_link_ref
        Reference of the link.
    """
    from chat2pay_async._cli import single_call

    return single_call.cancel(payment_link_ref, options)


def receipt(
    payment_link_ref: str, receipt_link: str, /, *, options: CallOptions = CallOptions()
) -> int:
    """Send one receipt to the customer.

    Parameters
    ----------
    payment_link_ref
        Reference of the link that was paid.
    receipt_link
        URL of the receipt.
    """
    from chat2pay_async._cli import single_call

    return single_call.receipt(payment_link_ref, receipt_link, options)


def recover(*, options: JournalOptions = JournalOptions()) -> int:
    """Settle what processes that have died left open.

    Each is looked up: it was applied, or it was not. Nothing is sent again. The exit code is 4 if
    some stay unknown.
    """
    from chat2pay_async._cli import single_call

    return single_call.recover(options)


def config(*, service: ServiceOptions = ServiceOptions()) -> int:
    """Show the settings of the account."""
    from chat2pay_async._cli import single_call

    return single_call.config(service)


def sandbox(*, options: SandboxOptions = SandboxOptions()) -> int:
    """Run a Chat 2 Pay service on this machine, for tests. No message is sent, no money moves.

    It prints its URL, and its key as lines for a shell. Somebody has to be the customer: see
    `chat2pay trigger`.
    """
    from chat2pay_async._cli import single_call

    return single_call.sandbox(options)


def trigger(event: Event, order: str, /, *, base_url: str | None = None) -> int:
    """Let something happen to an order of the sandbox: its customer pays, its link expires.

    Parameters
    ----------
    event
        What happens to the latest link of the order.
    order
        Order number, or reference of the link.
    base_url
        URL of the sandbox. Default: CHAT2PAY_BASE_URL.
    """
    from chat2pay_async._cli import single_call

    return single_call.trigger(event, order, base_url)


# Look-ups ----------------------------------------------------------------------------------------


def status(  # noqa: PLR0913 - each is an option
    *payment_link_refs: str,
    order_number: tuple[str, ...] = (),
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    from_run: str | None = None,
    only: Only | None = None,
    csv: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    xlsx: Path | None = None,
    watch: bool = False,
    every: Annotated[float, Parameter(converter=number, validator=(finite, Number(gt=0)))] = 5.0,
    source: SourceOptions = SourceOptions(),
    options: JournalOptions = JournalOptions(),
) -> int:
    """Show the status of links and payments.

    Parameters
    ----------
    payment_link_refs
        References of the links; or one file that lists them, such as a report.
    order_number
        Look up by order number instead. Can be repeated.
    file
        Look up what a file lists. Columns: payment_link_ref or order_number.
    from_run
        Look up the links of this run.
    only
        Show only payments that are authorized, captured, paid, unpaid, declined, expired,
        cancelled, reversed or open.
    csv
        Write them as CSV to this file. `-` is standard output.
    xlsx
        Write them as a workbook.
    watch
        Look up again and again, until all payments have ended.
    every
        Seconds between two look-ups. Default: 5.
    """
    from chat2pay_async._cli import status as looking_up

    how = looking_up.Watch(every if watch else None, only, csv, xlsx)
    refs = payment_link_refs
    if file is None and len(refs) == 1 and (refs[0] == STANDARD_INPUT or Path(refs[0]).is_file()):
        file, refs = Path(refs[0]), ()
    named = looking_up.Named(refs, order_number, file, from_run)
    return looking_up.status(named, how, source, options)


def reconcile(
    run: str | None = None,
    /,
    *,
    csv: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    options: JournalOptions = JournalOptions(),
) -> int:
    """Compare the journal with what the service knows of each item.

    Each item that was applied is looked up: is it still there, with the same amount and currency,
    and only once? The exit code is 3 if something differs.

    Parameters
    ----------
    run
        Name of a run. Default: everything in the journal.
    csv
        Write all items as CSV to this file. `-` is standard output.
    """
    from chat2pay_async._cli import status as looking_up

    return looking_up.reconcile(run, csv, options)
