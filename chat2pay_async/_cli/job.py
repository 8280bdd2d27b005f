"""The jobs that the command line can run, their client, and the exit codes of commands."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from chat2pay_async import bulk
from chat2pay_async._bulk.run import Run
from chat2pay_async._cli.options import JobOptions
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import RetryPolicy, Timeout
from chat2pay_async._files.columns import Kind
from chat2pay_async._files.rows import CAPTURES, LINKS, RECEIPTS, REFERENCES
from chat2pay_async._send.limits import RateLimit
from chat2pay_async.errors import ConfigurationError

__all__ = ["DEFAULT_SETTLE", "LINK_JOB", "OTHER_JOBS", "ExitCode", "Job", "client_of"]

DEFAULT_SETTLE: Final = RetryPolicy().settle
TIMEOUT: Final = Timeout()


class ExitCode(enum.IntEnum):
    """The end of a command."""

    DONE = 0
    """Everything was applied."""
    FAILED = 1
    """The command failed, or stopped before its end."""
    WRONG_USE = 2
    """An argument is wrong."""
    PROBLEMS = 3
    """Items were rejected, failed, or did not reach the customer."""
    UNKNOWN = 4
    """The outcome of some items is unknown."""
    INTERRUPTED = 130


def client_of(
    options: JobOptions, hooks: Iterable[Any] = (), *, needs_key: bool = True
) -> AsyncChat2Pay:
    """Make a client. Its key comes from the environment, since arguments show up in `ps`.

    Args:
        options: Its settings.
        hooks: Called with every event.
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
    settle = DEFAULT_SETTLE if options.settle is None else options.settle
    return AsyncChat2Pay(
        key or "none",
        base_url=options.base_url,
        timeout=TIMEOUT,
        retry=RetryPolicy(settle=settle, resend_when_absent=not options.never_resend),
        rate_limit=None if options.rate_limit is None else RateLimit(options.rate_limit),
        max_connections=max(100, options.concurrency),
        hooks=hooks,
    )


@attrs.frozen
class Job:
    """A bulk operation as a command."""

    name: str
    """The command's name."""
    operation: str
    title: str
    kind: Kind[Any]
    start: Callable[..., Run[Any, Any]]
    help: str = ""


LINK_JOB: Final = Job(
    "links", "create_payment_link", "payment links", LINKS, bulk.create_payment_links
)
OTHER_JOBS: Final = (
    Job(
        *("captures", "capture_payment", "captures", CAPTURES, bulk.capture_payments),
        "Capture authorized payments. Columns: payment_link_ref; amount (optional, for a partial "
        "capture).",
    ),
    Job(
        *("reversals", "reverse_payment", "reversals", REFERENCES, bulk.reverse_payments),
        "Reverse authorizations, or captures that are not settled yet. Column: payment_link_ref.",
    ),
    Job(
        *("cancellations", "cancel_payment_link", "cancellations"),
        *(REFERENCES, bulk.cancel_payment_links),
        "Cancel links that were not clicked yet. Column: payment_link_ref.",
    ),
    Job(
        *("receipts", "create_receipt", "receipts", RECEIPTS, bulk.create_receipts),
        "Send receipts to customers. Columns: payment_link_ref; receipt_link; timestamp (optional; "
        "default: now).",
    ),
)
