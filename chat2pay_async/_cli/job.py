"""The jobs that the command line can run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from chat2pay_async import bulk
from chat2pay_async._bulk.run import Run
from chat2pay_async._cli.options import SourceOptions
from chat2pay_async._files.columns import Kind, Reading
from chat2pay_async._files.rows import CAPTURES, LINKS, RECEIPTS, REFERENCES

__all__ = ["JOBS", "Job", "reading_of"]


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
