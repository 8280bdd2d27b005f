"""The jobs that the command line can run, and their client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from chat2pay_async import bulk
from chat2pay_async._bulk.run import Run
from chat2pay_async._cli.journal import path_of
from chat2pay_async._cli.options import JobOptions, JournalOptions, ServiceOptions
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import Journal, RetryPolicy, Timeout
from chat2pay_async._files.columns import Kind
from chat2pay_async._files.rows import CAPTURES, LINKS, RECEIPTS, REFERENCES
from chat2pay_async._send.limits import RateLimit
from chat2pay_async.errors import ConfigurationError

__all__ = ["DEFAULT_SETTLE", "JOBS", "Job", "client_of", "has_key"]

DEFAULT_SETTLE: Final = RetryPolicy().settle
TIMEOUT: Final = Timeout()


def has_key() -> bool:
    """Tell whether there is an API key."""
    return bool(os.environ.get("CHAT2PAY_API_KEY", "").strip())


def client_of(
    options: ServiceOptions, hooks: Iterable[Any] = (), *, with_journal: bool = True
) -> AsyncChat2Pay:
    """Make a client. Its key comes from the environment, since arguments show up in `ps`.

    Args:
        options: Its settings.
        hooks: Called with every event.
        with_journal: Whether it has the account's journal, for which the key must be there.

    Raises:
        ConfigurationError: The key is missing, or a setting can't work.
    """
    key = os.environ.get("CHAT2PAY_API_KEY", "").strip()
    if not key and with_journal:
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


def _journal(options: ServiceOptions) -> Journal | None:
    if not isinstance(options, JournalOptions):
        return None
    return Journal(path_of(options), new_key=options.new_key, accept_loss=options.accept_loss)


@attrs.frozen
class Job:
    """A bulk operation as a command."""

    name: str
    """The command's name."""
    operation: str
    title: str
    kind: Kind[Any]
    start: Callable[..., Run[Any, Any]]
    only: str = ""
    """The payments of another run that it is for, by `records.FILTERS`."""


JOBS: Final = {
    job.name: job
    for job in (
        Job("links", "create_payment_link", "payment links", LINKS, bulk.create_payment_links),
        Job(
            *("captures", "capture_payment", "captures", CAPTURES, bulk.capture_payments),
            only="authorized",
        ),
        Job(
            *("reversals", "reverse_payment", "reversals", REFERENCES, bulk.reverse_payments),
            only="authorized",
        ),
        Job(
            *("cancellations", "cancel_payment_link", "cancellations"),
            *(REFERENCES, bulk.cancel_payment_links),
            only="open",
        ),
        Job("receipts", "create_receipt", "receipts", RECEIPTS, bulk.create_receipts),
    )
}
