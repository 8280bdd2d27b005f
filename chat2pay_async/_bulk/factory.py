"""Functions that make runs, one for each operation. `chat2pay_async.bulk` is the guide to them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack

import attrs

from chat2pay_async._api import models, operations
from chat2pay_async._api.operations import Operation, Safety
from chat2pay_async._api.requests import Capture, LinkReference, ReceiptRequest, TransactionQuery
from chat2pay_async._bulk.dry_run import DryRun
from chat2pay_async._bulk.item import Items
from chat2pay_async._bulk.known import GIVE_UP_AFTER, Choices
from chat2pay_async._bulk.run import Run, Setup
from chat2pay_async._bulk.source import Keyed
from chat2pay_async._bulk.store import Name, RunStore
from chat2pay_async._bulk.summary import Forecast
from chat2pay_async._client import AsyncChat2Pay, inner
from chat2pay_async._config import is_number
from chat2pay_async._journal.store import Account, Store
from chat2pay_async._send.call import next_id
from chat2pay_async._tracebacks import hiding_arguments
from chat2pay_async.errors import ConfigurationError

__all__ = [
    "ReadOptions",
    "RunOptions",
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

Source: TypeAlias = Iterable[T | Keyed[T]] | AsyncIterable[T | Keyed[T]]


class ReadOptions(TypedDict, total=False):
    """Options of every run."""

    concurrency: int
    """The number of items in progress at a time. Default: 64."""
    drain: float
    """Seconds that items in progress may take when the block is left early. Default: 30."""
    stop_at_failure_rate: float | None
    """The share of outcomes that are not applied, 0 to 1, above which the run stops itself.
    Default: None, it does not."""
    give_up_after: float
    """Seconds of an outage, in which no request can be sent at all, after which the run stops
    itself. Until then it waits, and tries one item now and then. Default: 600."""
    dry_run: bool
    """Send nothing, and forecast what would be sent. Default: False."""


class RunOptions(ReadOptions, TypedDict, total=False):
    """Options of a run that changes something."""

    run: str | None
    """The run's name in the client's journal, by which it is resumed. Default: a new one."""
    settings: Mapping[str, str] | None
    """Texts that are kept with the run, such as where its items come from."""
    retry_rejected: bool
    """Send again what was rejected or declined before. Default: False, it is skipped."""
    allow_lookalikes: bool
    """Send new keys that look like known ones, too. Default: False."""
    compare: Forecast | None
    """The forecast of a dry run of the same source: what looks like a row that is gone from it is
    not sent. Default: None."""


@hiding_arguments
def create_payment_links(
    client: AsyncChat2Pay,
    requests: Source[models.PaymentLinkRequest],
    *,
    check_existing: bool = False,
    **options: Unpack[RunOptions],
) -> Run[models.PaymentLinkRequest, models.PaymentLink]:
    """Create a payment link for each request: a campaign.

    Args:
        client: Makes the calls, with its own retry policy, rate limit and timeouts, all but
            `Timeout.total`: a run has no deadline.
        requests: The links; the key of an item is its order number.
        check_existing: Look each order up before it is sent for the first time, and skip it
            (`SKIPPED`) if it exists: for those who have lost their journal.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option is invalid.
    """
    expected = _expect(models.PaymentLinkRequest)
    operation = operations.CREATE_PAYMENT_LINK
    return _run(client, operation, requests, expected, options, check_existing=check_existing)


@hiding_arguments
def capture_payments(
    client: AsyncChat2Pay, captures: Source[Capture], **options: Unpack[RunOptions]
) -> Run[Capture, models.GatewayResult]:
    """Capture authorized payments, each in full or in part.

    Args:
        client: Makes the calls.
        captures: The captures; the key of an item is its payment link reference.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option is invalid.
    """
    return _run(client, operations.CAPTURE_PAYMENT, captures, _expect(Capture), options)


@hiding_arguments
def reverse_payments(
    client: AsyncChat2Pay, payment_link_refs: Source[str], **options: Unpack[RunOptions]
) -> Run[LinkReference, models.GatewayResult]:
    """Reverse authorizations, or captures that are not settled yet.

    Args:
        client: Makes the calls.
        payment_link_refs: The payments; each reference is the key of its item.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option is invalid.
    """
    return _run(client, operations.REVERSE_PAYMENT, payment_link_refs, _reference, options)


@hiding_arguments
def cancel_payment_links(
    client: AsyncChat2Pay, payment_link_refs: Source[str], **options: Unpack[RunOptions]
) -> Run[LinkReference, models.Cancellation]:
    """Cancel payment links that were not clicked yet.

    Args:
        client: Makes the calls.
        payment_link_refs: The links; each reference is the key of its item.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option is invalid.
    """
    return _run(client, operations.CANCEL_PAYMENT_LINK, payment_link_refs, _reference, options)


@hiding_arguments
def create_receipts(
    client: AsyncChat2Pay, receipts: Source[ReceiptRequest], **options: Unpack[RunOptions]
) -> Run[ReceiptRequest, models.Receipt]:
    """Send customers links to their receipts.

    A receipt whose message could not be sent exists all the same: it is `APPLIED`, with
    `delivered` False and a `ReceiptNotSentError`.

    Args:
        client: Makes the calls.
        receipts: The receipts; the key of an item is its payment link reference and its URL.
        **options: See `RunOptions`.

    Raises:
        ConfigurationError: An option is invalid.
    """
    return _run(client, operations.CREATE_RECEIPT, receipts, _expect(ReceiptRequest), options)


@hiding_arguments
def get_transactions(
    client: AsyncChat2Pay, queries: Source[TransactionQuery | str], **options: Unpack[ReadOptions]
) -> Run[TransactionQuery, models.Transaction]:
    """Look up the status of many links.

    Args:
        client: Makes the calls.
        queries: The queries; a text is a payment link reference.
        **options: See `ReadOptions`.

    Raises:
        ConfigurationError: An option is invalid.
    """
    return _run(client, operations.GET_TRANSACTION, queries, _query, options)


def _run(  # noqa: PLR0913 - an operation, its items, and the options
    client: AsyncChat2Pay,
    operation: Operation[Q, R],
    source: Source[Any],
    read: Callable[[Any], Q],
    options: Mapping[str, Any],
    *,
    check_existing: bool = False,
) -> Run[Q, R]:
    takes = ReadOptions if operation.safety is Safety.READ else RunOptions
    if "journal" in options:
        raise ConfigurationError("pass journal= to the client, and the run's name as run= here")
    unknown = sorted(options.keys() - takes.__optional_keys__)
    if unknown:  # without this, a misspelt run would be no run
        known = ", ".join(sorted(takes.__optional_keys__))
        raise ConfigurationError(f"unknown options: {', '.join(unknown)}; this run takes {known}")
    calls, call_options = inner(client)
    sender = calls.sender
    journal = None if operation.safety is Safety.READ else calls.store
    dry_run = options.get("dry_run", False)
    name = _name(journal, operation, options)
    concurrency = options.get("concurrency", 64)
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError("concurrency must be an int, 1 or more")
    rate = options.get("stop_at_failure_rate")
    setup = Setup(
        source=source,
        read=read,
        operation=operation.name,
        account=Account(sender.base_url, sender.key_fingerprint),
        ask_fingerprint=None if journal is None else sender.asking(call_options),
        concurrency=concurrency,
        drain=_checked("drain", options.get("drain", 30.0), math.inf),
        stop_at_failure_rate=None if rate is None else _checked("stop_at_failure_rate", rate, 1.0),
    )
    choices = _choices(options, check_existing=check_existing)
    # A run takes as long as it takes: the deadline of a single call would fail its items.
    timeout = attrs.evolve(call_options.timeout, total=None)
    call_options = attrs.evolve(call_options, timeout=timeout)
    store = RunStore(
        *(journal, name),
        claims=not dry_run,
        finds_lookalikes=operation.safety is not Safety.READ and not choices.allow_lookalikes,
    )
    kind = DryRun if dry_run else Items
    items = kind(operation, calls, call_options, store, choices, concurrency=concurrency)
    return Run(setup, store, items, sender.hooks)


def _choices(options: Mapping[str, Any], *, check_existing: bool) -> Choices:
    give_up_after = _checked("give_up_after", options.get("give_up_after", GIVE_UP_AFTER), math.inf)
    compared = options.get("compare")
    return Choices(
        check_existing=check_existing,
        retry_rejected=options.get("retry_rejected", False),
        allow_lookalikes=options.get("allow_lookalikes", False),
        moved={} if compared is None else compared.moved,
        give_up_after=give_up_after,
    )


def _name(
    journal: Store | None, operation: Operation[Any, Any], options: Mapping[str, Any]
) -> Name | None:
    """Return the run's name; a new one where none is given."""
    run, settings = options.get("run"), options.get("settings") or {}
    if journal is None:
        if run is not None:
            raise ConfigurationError(
                "run= names a run in the client's journal: pass journal= to the client"
            )
        return None
    if run is None:
        if options.get("dry_run", False):
            return None
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        run = f"{operation.name} {now} {next_id()[:6]}"
    if not isinstance(run, str) or not run.strip() or not run.isprintable():
        raise ConfigurationError("run must be a name: a text of printable characters")
    return Name(run, operation.name, settings)


def _checked(name: str, value: object, most: float) -> float:
    if value == math.inf == most:
        return most
    if not is_number(value) or not 0 <= value <= most:
        limit = "0 or more" if math.isinf(most) else f"from 0 to {most:g}"
        raise ConfigurationError(f"{name} must be a number, {limit}")
    return float(value)


def _expect(kind: type[Q]) -> Callable[[Any], Q]:
    """Make a function that accepts items of a kind only."""

    def read(given: Any) -> Q:
        if isinstance(given, kind):
            return given
        raise TypeError(f"this run takes items of {kind.__name__}, not of {type(given).__name__}")

    return read


def _reference(given: str | LinkReference) -> LinkReference:
    return given if isinstance(given, LinkReference) else LinkReference(payment_link_ref=given)


def _query(given: str | TransactionQuery) -> TransactionQuery:
    if isinstance(given, TransactionQuery):
        return given
    return TransactionQuery(payment_link_ref=given)
