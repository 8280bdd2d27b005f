"""The jobs that the command line can run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from chat2pay_async import bulk
from chat2pay_async._bulk.run import Run
from chat2pay_async._files.columns import Kind
from chat2pay_async._files.rows import CAPTURES, LINKS, RECEIPTS, REFERENCES

__all__ = ["JOBS", "Job"]


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
