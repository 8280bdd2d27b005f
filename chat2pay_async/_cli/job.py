"""What jobs the command line has, how one can be run, and with which exit code it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from chat2pay_async import bulk
from chat2pay_async._bulk.run import Run
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import RetryPolicy
from chat2pay_async._files.rows import CAPTURES, LINKS, RECEIPTS, REFERENCES, Kind
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._send.limits import RateLimit
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "DEFAULT_SETTLE",
    "DONE",
    "DOUBT",
    "FAILED",
    "JOBS",
    "PROBLEMS",
    "STOPPED",
    "Job",
    "Plan",
    "client_of",
]

DONE: Final = 0
"""Everything took effect."""
FAILED: Final = 1
"""It could not be done, or not to the end."""
PROBLEMS: Final = 3
"""It was done, but some items were refused, failed, or did not reach the customer."""
DOUBT: Final = 4
"""It was done, but of some items it is not known whether they took effect."""
STOPPED: Final = 130
"""It was interrupted."""
DEFAULT_SETTLE: Final = RetryPolicy().settle


@attrs.frozen
class Plan:
    """How a job is to be run."""

    base_url: str | None = None
    rate_limit: float | None = None
    """Requests a second."""
    settle: float | None = None
    """Seconds; None for what the journal says, or else what a client has of itself."""
    resend_when_absent: bool = True
    concurrency: int = 64
    stop_at_failure_rate: float | None = None
    check_existing: bool = False
    dry_run: bool = False
    as_json: bool = False


def client_of(plan: Plan, hooks: Iterable[Any] = (), *, needs_key: bool = True) -> AsyncChat2Pay:
    """A client as the plan wants it. Its key is in the environment: arguments show up in `ps`.

    Args:
        plan: How it is to be set up.
        hooks: Told every event.
        needs_key: Whether anything is sent or compared, for which the key must be there.

    Raises:
        ConfigurationError: It is not there, or something else can't work.
    """
    key = os.environ.get("CHAT2PAY_API_KEY", "").strip()
    if not key and needs_key:
        raise ConfigurationError(
            "no API key: put it into the environment variable CHAT2PAY_API_KEY. There is no option "
            "for it, since what stands on a command line can be seen by others"
        )
    settle = DEFAULT_SETTLE if plan.settle is None else plan.settle
    return AsyncChat2Pay(
        key or "none",
        base_url=plan.base_url,
        retry=RetryPolicy(settle=settle, resend_when_absent=plan.resend_when_absent),
        rate_limit=None if plan.rate_limit is None else RateLimit(plan.rate_limit),
        max_connections=max(100, plan.concurrency),
        hooks=hooks,
    )


@attrs.frozen
class Job:
    """One kind of run."""

    name: str
    """What it is called on the command line."""
    title: str
    kind: Kind[Any]
    start: Callable[..., Run[Any, Any]]

    def run_of(
        self, client: AsyncChat2Pay, source: Iterable[Any], journal: Journal | None, plan: Plan
    ) -> Run[Any, Any]:
        """A run of it."""
        more = {"check_existing": True} if plan.check_existing else {}
        return self.start(
            client,
            source,
            journal=journal,
            concurrency=plan.concurrency,
            stop_at_failure_rate=plan.stop_at_failure_rate,
            dry_run=plan.dry_run,
            **more,
        )


JOBS: Final[Mapping[str, Job]] = MappingProxyType(
    {
        job.name: job
        for job in (
            Job("links", "payment links", LINKS, bulk.create_payment_links),
            Job("captures", "captures", CAPTURES, bulk.capture_payments),
            Job("reversals", "reversals", REFERENCES, bulk.reverse_payments),
            Job("cancellations", "cancellations", REFERENCES, bulk.cancel_payment_links),
            Job("receipts", "receipts", RECEIPTS, bulk.create_receipts),
        )
    }
)
