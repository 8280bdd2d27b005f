"""Single calls on the command line, their errors and their interruption."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from types import FrameType
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlsplit

import anyio

from chat2pay_async._api import models
from chat2pay_async._api.operations import RESOLVED
from chat2pay_async._cli.journal import path_of
from chat2pay_async._cli.options import (
    CallOptions,
    ExitCode,
    JobOptions,
    JournalOptions,
    SandboxOptions,
    ServiceOptions,
    SourceOptions,
    UsageError,
)
from chat2pay_async._cli.printing import Printer
from chat2pay_async._cli.stdout import OutputError, print_error
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import RetryPolicy, Timeout, base_url_of
from chat2pay_async._files.cells import CellError, phone
from chat2pay_async._files.columns import Reading
from chat2pay_async._files.rows import LINKS
from chat2pay_async._journal.settings import Journal
from chat2pay_async._send.limits import RateLimit
from chat2pay_async.errors import ConfigurationError, OutcomeUnknownError, ReceiptNotSentError
from chat2pay_async.events import Event, OutcomeUnknown

__all__ = [
    "DEFAULT_SETTLE",
    "Work",
    "cancel",
    "capture",
    "client_of",
    "config",
    "has_key",
    "link",
    "make_call",
    "reading_of",
    "receipt",
    "recover",
    "reverse",
    "sandbox",
    "trigger",
]

DEFAULT_SETTLE: Final = RetryPolicy().settle
TIMEOUT: Final = Timeout()


def has_key() -> bool:
    """Tell whether there is an API key."""
    return bool(os.environ.get("CHAT2PAY_API_KEY", "").strip())


def client_of(
    options: ServiceOptions,
    hooks: Iterable[Any] = (),
    *,
    with_journal: bool = True,
    needs_key: bool = True,
) -> AsyncChat2Pay:
    """Make a client. Its key comes from the environment, since arguments show up in `ps`.

    Args:
        options: Its settings.
        hooks: Called with every event.
        with_journal: Whether it has the account's journal.
        needs_key: Whether anything is sent or compared, for which the key must be there.

    Raises:
        ConfigurationError: The key is missing, or a setting can't work.
    """
    key = os.environ.get("CHAT2PAY_API_KEY", "").strip()
    if not key and needs_key:
        raise ConfigurationError(
            "no API key: set the environment variable CHAT2PAY_API_KEY. There is no option for "
            "it, because other users of this machine can see command lines"
        )
    job = options if isinstance(options, JobOptions) else JobOptions()
    settle = DEFAULT_SETTLE if job.settle is None else job.settle
    return AsyncChat2Pay(
        key or "none",
        base_url=options.base_url,
        timeout=TIMEOUT,
        retry=RetryPolicy(settle=settle, resend_when_absent=not job.never_resend),
        rate_limit=None if job.rate_limit is None else RateLimit(job.rate_limit),
        max_connections=max(100, job.concurrency),
        journal=_journal(options) if with_journal else None,
        hooks=hooks,
    )


def reading_of(source: SourceOptions) -> Reading:
    """Make the choices of a reading of options."""
    ignore: Any = source.ignore  # mypy can't tell what a converter takes
    return Reading(
        ignore=ignore,
        # A header may have an equals sign, and so may a value.
        mapping=dict(_pair(text.rpartition("=")) for text in source.map),
        constants=dict(_pair(text.partition("=")) for text in source.set),
        sheet=source.sheet,
        include_hidden=source.include_hidden,
        country=source.country,
        last_line_is_complete=source.last_line_is_complete,
        allow_alike=source.allow_alike,
    )


def _pair(parts: tuple[str, str, str]) -> tuple[str, str]:
    return parts[0].strip(), parts[2].strip()


def _journal(options: ServiceOptions) -> Journal | None:
    if not isinstance(options, JournalOptions):
        return None
    return Journal(path_of(options), new_key=options.new_key, accept_loss=options.accept_loss)


# Commands ----------------------------------------------------------------------------------------

Work: TypeAlias = Callable[[AsyncChat2Pay, Printer], Coroutine[Any, Any, int]]


def link(fields: Mapping[str, Any], country: str | None, options: CallOptions) -> int:
    """Create one payment link.

    Args:
        fields: The fields of its request, which are read as the cells of a file are.
        country: The country of a local phone number.
        options: The way in which it is done.

    Raises:
        UsageError: One of them is what a program writes for nothing, or is no phone number.
    """
    fields = _read(fields, country)

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        made = await client.create_payment_link(
            models.PaymentLinkRequest(**fields),
            idempotency_key=options.idempotency_key,
        )
        _show(printer, made)
        return ExitCode.PROBLEMS if made.delivered is False else ExitCode.DONE

    order_number = shlex.quote(fields["order_number"])
    return make_call(options, work, f"status --order-number {order_number}")


def _read(fields: Mapping[str, Any], country: str | None) -> dict[str, Any]:
    read: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in fields.items():
        try:
            if name == "to":
                read[name] = phone(value, country)
            else:
                read[name] = LINKS.fields[name](value) if isinstance(value, str) else value
        except CellError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise UsageError("; ".join(problems))
    return read


def _show(printer: Printer, result: Any) -> None:
    if result.replayed:
        at = getattr(result, "timestamp", None)
        when = "" if at is None else f" at {at.replace(microsecond=0).isoformat()}"
        print_error(f"Already made{when} (replayed): nothing was sent.")
    printer.model(result)


def capture(
    payment_link_ref: str, amount: str | None, currency: str | None, options: CallOptions
) -> int:
    """Capture one payment."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        done = await client.capture_payment(
            payment_link_ref,
            amount=amount,
            currency=currency,
            idempotency_key=options.idempotency_key,
        )
        return _gateway(printer, done)

    return make_call(options, work, f"status {shlex.quote(payment_link_ref)}")


def _gateway(printer: Printer, result: models.GatewayResult) -> int:
    _show(printer, result)
    codes = {True: ExitCode.DONE, False: ExitCode.PROBLEMS, None: ExitCode.UNKNOWN}
    return codes[result.succeeded]


def reverse(payment_link_ref: str, options: CallOptions) -> int:
    """Reverse one payment."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        key = options.idempotency_key
        return _gateway(
            printer, await client.reverse_payment(payment_link_ref, idempotency_key=key)
        )

    return make_call(options, work, f"status {shlex.quote(payment_link_ref)}")


def cancel(payment_link_ref: str, options: CallOptions) -> int:
    """Cancel one link."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        key = options.idempotency_key
        _show(printer, await client.cancel_payment_link(payment_link_ref, idempotency_key=key))
        return ExitCode.DONE

    return make_call(options, work, f"status {shlex.quote(payment_link_ref)}")


def receipt(payment_link_ref: str, receipt_link: str, options: CallOptions) -> int:
    """Send one receipt."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        key = options.idempotency_key
        try:
            made = await client.create_receipt(payment_link_ref, receipt_link, idempotency_key=key)
        except ReceiptNotSentError as error:
            print_error(f"chat2pay: {error}")
            return ExitCode.PROBLEMS
        _show(printer, made)
        return ExitCode.DONE

    return make_call(options, work, f"status {shlex.quote(payment_link_ref)}")


def recover(options: JournalOptions) -> int:
    """Settle what processes that have died left open."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        found = await client.recover()
        counts = {
            "applied": found.applied,
            "absent": found.absent,
            "undetermined": len(found.undetermined),
        }
        printer.fields("What was left open", counts)
        return ExitCode.UNKNOWN if counts["undetermined"] else ExitCode.DONE

    return make_call(options, work)


def config(service: ServiceOptions) -> int:
    """Show the settings of the account."""

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        printer.model(await client.get_configuration())
        return ExitCode.DONE

    return make_call(service, work)


def sandbox(options: SandboxOptions) -> int:
    """Run a sandbox."""
    from chat2pay_async.sandbox import SandboxError, _serve  # noqa: PLC0415 - it needs an extra

    try:
        settings = _serve.Settings(**vars(options))
        return _serve.run(settings, Printer(as_json=False).text)
    except (SandboxError, ImportError, OverflowError) as error:
        raise ConfigurationError(str(error)) from error


def trigger(event: str, order: str, base_url: str | None) -> int:
    """Let something happen to an order of a sandbox."""
    url = urlsplit(base_url_of(base_url))
    if url.scheme != "http":
        raise ConfigurationError(
            "only a sandbox has customers that do as they are told: set CHAT2PAY_BASE_URL to its "
            "URL, or pass --base-url"
        )
    service = HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT.read)
    path = f"{url.path}/sandbox/orders/{quote(order, safe='')}/{event}"
    with closing(service):
        service.request("POST", path, headers={"Content-Length": "0"})
        response = service.getresponse()
        try:
            message = str(json.loads(response.read())["message"])
        except (ValueError, TypeError, KeyError):
            message = "this is no sandbox"
    if response.status != HTTPStatus.OK:
        raise ConfigurationError(f"{order}: {message}")
    Printer(as_json=False).text(f"{order}: {event}")
    return ExitCode.DONE


# Making a call ------------------------------------------------------------------------------------


def make_call(
    service: ServiceOptions, work: Work, check: str | None = None, *, with_journal: bool = True
) -> int:
    """Make calls with a client.

    Args:
        service: The service, its journal, and the form of the output.
        work: Makes the calls and prints what they return; gives the exit code.
        check: The command that shows what was applied; None where nothing is changed.
        with_journal: Whether the client has the account's journal.

    Returns:
        The exit code.
    """
    unknown: list[OutcomeUnknown] = []

    def hook(event: Event) -> None:
        if isinstance(event, OutcomeUnknown):
            unknown.append(event)

    with_journal = with_journal and isinstance(service, JournalOptions)

    async def main() -> int:
        async with client_of(service, [hook], with_journal=with_journal) as client:
            return await work(client, Printer(as_json=service.json))

    if check is not None and service.base_url is not None:
        check += f" --base-url {shlex.quote(service.base_url)}"
    with _sigterm_as_ctrl_c():
        try:
            return anyio.run(main)
        except OutcomeUnknownError as error:
            text = str(error).replace(RESOLVED, f"you have seen what was applied: chat2pay {check}")
            print_error(f"chat2pay: {text}")
            return ExitCode.UNKNOWN
        except OutputError as error:
            if check is None:
                raise
            why = str(error) or "standard output was closed"
            raise OutputError(
                f"{why}, but the request was applied. To see it: chat2pay {check}"
            ) from None
        except KeyboardInterrupt:
            if unknown:
                print_error(f"The request may have been applied. To check: chat2pay {check}")
            raise


@contextmanager
def _sigterm_as_ctrl_c() -> Generator[None]:
    try:
        before = signal.signal(signal.SIGTERM, _interrupt)
    except ValueError:  # in a thread, which gets no signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Asked when it comes, since the event loop has a handler of its own while it runs.
    handler = signal.getsignal(signal.SIGINT)
    # A shell lets what it starts in the background ignore Ctrl-C, but SIGTERM was meant for us.
    (handler if callable(handler) else signal.default_int_handler)(number, frame)
