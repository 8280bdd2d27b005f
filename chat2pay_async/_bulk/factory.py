"""The operations, each for thousands of items. `chat2pay_async.bulk` explains them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack

from chat2pay_async._api import models, operations
from chat2pay_async._api.operations import Operation, Safety
from chat2pay_async._api.requests import Capture, LinkReference, ReceiptRequest, TransactionQuery
from chat2pay_async._bulk.dry_run import Rehearsal
from chat2pay_async._bulk.item import Items
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.run import Run, Setup
from chat2pay_async._bulk.store import Book
from chat2pay_async._bulk.summary import Forecast, Summary
from chat2pay_async._client import AsyncChat2Pay, inner
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "Capture",
    "Forecast",
    "Journal",
    "LinkReference",
    "Outcome",
    "ReadOptions",
    "ReceiptRequest",
    "Run",
    "RunOptions",
    "State",
    "Summary",
    "TransactionQuery",
    "cancel_payment_links",
    "capture_payments",
    "create_payment_links",
    "create_receipts",
    "get_transactions",
    "reverse_payments",
]

T = TypeVar("T")
Q = TypeVar("Q")
R = TypeVar("R")

Source: TypeAlias = Iterable[T] | AsyncIterable[T]


class ReadOptions(TypedDict, total=False):
    """What every run can be told."""

    concurrency: int
    """How many items may be under way at a time: 64, unless given."""
    drain: float
    """Seconds that what is under way may take when the block is left early: 30, unless given."""
    stop_at_failure_rate: float | None
    """The share of outcomes that are not applied, 0 to 1, above which the run stops itself; None,
    unless given: it does not."""
    dry_run: bool
    """Whether to send nothing, and say what would be sent."""


class RunOptions(ReadOptions, TypedDict, total=False):
    """What a run that changes something can be told besides."""

    journal: str | Path | Journal | None
    """Where it writes down what it sends; None, unless given: it can't be resumed."""


def create_payment_links(
    client: AsyncChat2Pay,
    requests: Source[models.PaymentLinkRequest],
    *,
    check_existing: bool = False,
    **options: Unpack[RunOptions],
) -> Run[models.PaymentLinkRequest, models.PaymentLink]:
    """Run a campaign: a payment link for each request.

    Args:
        client: Makes the calls, by its own retry policy, pace and deadline.
        requests: The links to be made; the order number is an item's key.
        check_existing: Whether each order is looked up before it is sent for the first time, and
            is `SKIPPED` if there is one already: for those who have lost their journal.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option that can't work.
    """
    given = _expecting(models.PaymentLinkRequest)
    return _run(
        client,
        operations.CREATE_PAYMENT_LINK,
        requests,
        given,
        options,
        options.get("journal"),
        check_existing=check_existing,
    )


def capture_payments(
    client: AsyncChat2Pay, captures: Source[Capture], **options: Unpack[RunOptions]
) -> Run[Capture, models.GatewayResult]:
    """Take the money of authorizations; a payment link reference is an item's key.

    Args:
        client: Makes the calls.
        captures: What to capture, and how much of it.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option that can't work.
    """
    return _run(
        client,
        operations.CAPTURE_PAYMENT,
        captures,
        _expecting(Capture),
        options,
        options.get("journal"),
    )


def reverse_payments(
    client: AsyncChat2Pay, payment_link_refs: Source[str], **options: Unpack[RunOptions]
) -> Run[LinkReference, models.GatewayResult]:
    """Give back authorizations, or captures that are not settled yet.

    Args:
        client: Makes the calls.
        payment_link_refs: The payments; each is an item's key.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option that can't work.
    """
    return _run(
        client,
        operations.REVERSE_PAYMENT,
        payment_link_refs,
        _reference,
        options,
        options.get("journal"),
    )


def cancel_payment_links(
    client: AsyncChat2Pay, payment_link_refs: Source[str], **options: Unpack[RunOptions]
) -> Run[LinkReference, models.Cancellation]:
    """Cancel links that were not clicked yet.

    Args:
        client: Makes the calls.
        payment_link_refs: The links; each is an item's key.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option that can't work.
    """
    return _run(
        client,
        operations.CANCEL_PAYMENT_LINK,
        payment_link_refs,
        _reference,
        options,
        options.get("journal"),
    )


def create_receipts(
    client: AsyncChat2Pay, receipts: Source[ReceiptRequest], **options: Unpack[RunOptions]
) -> Run[ReceiptRequest, models.Receipt]:
    """Send customers links to their receipts; a payment link reference is an item's key.

    A receipt whose message could not be sent exists all the same: it is `APPLIED`, with
    `delivered` False and a `ReceiptNotSentError`.

    Args:
        client: Makes the calls.
        receipts: One for each payment.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option that can't work.
    """
    return _run(
        client,
        operations.CREATE_RECEIPT,
        receipts,
        _expecting(ReceiptRequest),
        options,
        options.get("journal"),
    )


def get_transactions(
    client: AsyncChat2Pay,
    queries: Source[TransactionQuery | str],
    **options: Unpack[ReadOptions],
) -> Run[TransactionQuery, models.Transaction]:
    """Look up what became of many links.

    Args:
        client: Makes the calls.
        queries: What to look up by; a text is a payment link reference.
        **options: See `ReadOptions`.

    Raises:
        ConfigurationError: An option that can't work.
    """
    return _run(client, operations.GET_TRANSACTION, queries, _query, options, None)


# How a run is made --------------------------------------------------------------------------------


def _run(  # noqa: PLR0913, PLR0917 - an operation, what it is done to, and how
    client: AsyncChat2Pay,
    operation: Operation[Q, R],
    source: Source[Any],
    read: Callable[[Any], Q],
    options: ReadOptions,
    journal: object,
    *,
    check_existing: bool = False,
) -> Run[Q, R]:
    sender, call_options = inner(client)
    kept = _journal(journal)
    takes = ReadOptions if operation.safety is Safety.READ else RunOptions
    unknown = sorted(options.keys() - takes.__optional_keys__)
    if unknown:  # a misspelt journal would be none at all
        known = ", ".join(sorted(takes.__optional_keys__))
        raise ConfigurationError(f"no option of this run: {', '.join(unknown)}; it takes {known}")
    dry_run = options.get("dry_run", False)
    if dry_run and kept is not None and not kept.path.exists():
        kept = None
    setup = Setup(
        source=source,
        read=read,
        binding=Binding(operation.name, sender.base_url, sender.key_fingerprint),
        concurrency=_checked_concurrency(options.get("concurrency", 64)),
        drain=_checked("drain", options.get("drain", 30.0), math.inf),
        stop_at_failure_rate=_checked_rate(options.get("stop_at_failure_rate")),
    )
    kind = Rehearsal if dry_run else Items
    book = Book(kept)
    items = kind(
        operation,
        sender,
        call_options,
        book,
        concurrency=setup.concurrency,
        check_existing=check_existing,
    )
    return Run(setup, book, items, sender.hooks)


def _journal(given: object) -> Journal | None:
    if given is None or isinstance(given, Journal):
        return given
    if isinstance(given, (str, Path)):
        return Journal(given)
    raise ConfigurationError("journal must be a path or a bulk.Journal")


def _checked(name: str, value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        limit = "0 or more" if math.isinf(most) else f"from 0 to {most:g}"
        raise ConfigurationError(f"{name} must be a number, {limit}")
    return float(value)


def _checked_rate(value: float | None) -> float | None:
    return None if value is None else _checked("stop_at_failure_rate", value, 1.0)


def _checked_concurrency(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError("concurrency must be an int, 1 or more")
    return value


def _expecting(kind: type[Q]) -> Callable[[Any], Q]:
    """Takes items of a kind, and nothing else."""

    def read(given: Any) -> Q:
        if isinstance(given, kind):
            return given
        raise TypeError(f"this run takes items of {kind.__name__}, not of {type(given).__name__}")

    return read


def _reference(given: str | LinkReference) -> LinkReference:
    if isinstance(given, LinkReference):
        return given
    return LinkReference(payment_link_ref=given)


def _query(given: str | TransactionQuery) -> TransactionQuery:
    if isinstance(given, TransactionQuery):
        return given
    return TransactionQuery(payment_link_ref=given)
