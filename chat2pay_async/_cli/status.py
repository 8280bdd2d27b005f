"""The status of payments: looked up once, or again and again; selected, and held against runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

import anyio
import attrs
import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from chat2pay_async import bulk
from chat2pay_async._api import models
from chat2pay_async._api.validation import exact_sum, written
from chat2pay_async._bulk.outcomes import Outcome, State, outcome_of, request_of_row
from chat2pay_async._bulk.records import FILTERS, matches, state_word, status_record, status_table
from chat2pay_async._bulk.summary import Totals, in_words
from chat2pay_async._cli.journal import open_store
from chat2pay_async._cli.options import ExitCode, JournalOptions, SourceOptions, UsageError
from chat2pay_async._cli.printing import Printer, faults_of, fields_of_outcome, shown
from chat2pay_async._cli.report import find_run, rows_of, title_of, write_tables
from chat2pay_async._cli.single_call import client_of, make_call, reading_of
from chat2pay_async._cli.stdout import print_error
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async._files.rows import QUERIES
from chat2pay_async._files.tables import Table as Sheet
from chat2pay_async._journal.store import RowState
from chat2pay_async._polling import payment_has_ended
from chat2pay_async.errors import ConfigurationError

__all__ = ["Named", "Watch", "expired_links", "reconcile", "references", "status", "table_of"]

Found = Outcome[bulk.TransactionQuery, models.Transaction]

_HEADINGS: Final = ("order", "reference", "amount", "payment", "link", "since", "error")
_REFERENCE: Final = 36
"""The length of a reference, which is never broken."""
_APPLIED: Final = frozenset({RowState.APPLIED})


@attrs.frozen
class Watch:
    """The way in which payments are shown."""

    every: float | None = None
    """Seconds between two look-ups, until all payments have ended; None looks up once."""
    only: str | None = None
    csv: Path | None = None
    xlsx: Path | None = None

    def picks(self, found: Found) -> bool:
        """Tell whether a payment is shown; one that could not be looked up always is."""
        return self.only is None or found.result is None or _is(found.result, self.only)


@attrs.frozen
class Named:
    """The payments that are to be looked up."""

    refs: tuple[str, ...]
    order_numbers: tuple[str, ...]
    file: Path | None
    run: str | None


def status(named: Named, how: Watch, source: SourceOptions, options: JournalOptions) -> int:
    """Show the status of links and payments.

    Returns:
        The exit code.
    """

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        queries = [
            *(bulk.TransactionQuery(payment_link_ref=one) for one in named.refs),
            *(bulk.TransactionQuery(order_number=one) for one in named.order_numbers),
            *(_queries_in(named.file, source) if named.file else ()),
        ]
        if named.run is not None:
            async for _row, query in _links_of(options, named.run):
                queries.append(query)
        return await show_statuses(client, printer, queries, how)

    return make_call(options, work, with_journal=False)


def _queries_in(path: Path, source: SourceOptions) -> Iterable[bulk.TransactionQuery]:
    with CampaignFile(path, QUERIES, reading_of(source), source.skip_bad_rows) as file:
        check = file.check()
        if check.bad and not source.skip_bad_rows:
            raise ConfigurationError("\n".join(faults_of(path, check)))
        yield from file.requests()


async def _links_of(
    options: JournalOptions, run: str
) -> AsyncIterator[tuple[Any, bulk.TransactionQuery]]:
    """Read the links that a run has made, each with its row."""
    async with open_store(options) as store:
        await find_run(store, run)
        async for row, _line in rows_of(store, run, _APPLIED):
            found = outcome_of(row, request_of_row(row))
            reference = getattr(found.result, "payment_link_ref", None) or (
                None if row.operation == "create_payment_link" else row.identity
            )
            query = (
                bulk.TransactionQuery(order_number=row.identity)
                if reference is None
                else bulk.TransactionQuery(payment_link_ref=reference)
            )
            yield row, query


def _is(found: models.Transaction, only: str) -> bool:
    """Tell whether a payment is of a kind; not if that can't be known."""
    return matches(found, only) is True


async def show_statuses(
    client: AsyncChat2Pay, printer: Printer, queries: Sequence[bulk.TransactionQuery], how: Watch
) -> int:
    """Look up payments and print them.

    Returns:
        The exit code.

    Raises:
        UsageError: There is nothing to look up.
    """
    if not queries:
        raise UsageError("pass payment link references, --order-number, --file or a run")
    queries = list(dict.fromkeys(queries))
    printed: dict[str, object] = {}
    on_screen = printer.is_terminal and not printer.as_json
    with printer.drawing(again=on_screen and how.every is not None) as draw:
        while True:
            all_found = await _look_up(client, queries)
            found = [one for one in all_found if how.picks(one)]
            if how.csv or how.xlsx:
                _write(found, how)
            elif printer.as_json:
                for one in found:
                    fields = fields_of_outcome(one)
                    if printed.get(one.key) != fields:  # only what has changed
                        printed[one.key] = fields
                        printer.json(fields)
            elif on_screen:
                draw(table_of(map(_cells, found)))
            else:  # with tabs, for other tools
                printer.text("\n".join(map("\t".join, (_HEADINGS, *map(_cells, found)))))
            if how.every is None or all(map(_has_ended, all_found)):
                return _end_of(all_found, how)
            await anyio.sleep(how.every)


def _end_of(found: Sequence[Found], how: Watch) -> ExitCode:
    unclear = [
        one
        for one in found
        if how.only and one.result is not None and matches(one.result, how.only) is None
    ]
    if unclear:
        print_error(
            f"{len(unclear):,} payments are not shown, since it can't be known whether they are "
            f"{how.only} ({FILTERS[how.only or '']})"
        )
    applied = all(one.state is State.APPLIED for one in found)
    return ExitCode.DONE if applied and not unclear else ExitCode.PROBLEMS


def _write(found: Sequence[Found], how: Watch) -> None:
    counts: Counter[str] = Counter()

    def records() -> Iterator[Any]:
        for one in found:
            problem = None if one.error is None else " ".join(str(one.error).split())
            record = status_record(one.result, query=one.request, problem=problem)
            counts[record.state] += 1
            yield record

    summary = Sheet(("state", "items"), _late(counts))
    write_tables(status_table(records()), summary, csv=how.csv, xlsx=how.xlsx)


def _late(counts: Counter[str]) -> Iterator[tuple[str, int]]:
    """Read the counts once they are complete."""
    yield from sorted(counts.items())


async def _look_up(client: AsyncChat2Pay, queries: Sequence[bulk.TransactionQuery]) -> list[Found]:
    positions = {id(query): position for position, query in enumerate(queries)}
    async with bulk.get_transactions(client, queries) as run:
        found = [outcome async for outcome in run]
    return sorted(found, key=lambda outcome: positions[id(outcome.request)])


def _has_ended(found: Found) -> bool:
    if found.result is None:
        return found.state is State.REJECTED  # there is no such payment; what failed may work yet
    return payment_has_ended(found.result)


def _cells(found: Found) -> tuple[str, ...]:
    one, query = found.result, found.request
    if one is None:
        names = (query.order_number, query.payment_link_ref, None, None, None, None)
        return *map(shown, names), " ".join(str(found.error).split())
    last = one.transaction_statuses[-1] if one.transaction_statuses else None
    since = one.payment_status_timestamp or (None if last is None else last.created)
    amount = None if one.total_amount is None else written(one.total_amount, one.currency)
    amount = " ".join(filter(None, (one.currency, amount)))
    link = None if last is None else last.transaction_status_name
    when = None if since is None else since.replace(microsecond=0)
    cells = (one.order_number, one.payment_link_ref, amount, state_word(one), link, when, None)
    return tuple(map(shown, cells))


def table_of(payments: Iterable[Sequence[str]]) -> Table:
    """Lay payments out for a terminal of 80 columns: what has no room stands below the reference.

    Args:
        payments: The cells of each.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in _HEADINGS[:4]:
        is_reference = heading == "reference"
        table.add_column(heading, overflow="fold", min_width=_REFERENCE if is_reference else None)
    for order, reference, amount, payment, link, since, error in payments:
        below = ", since ".join(filter(None, (link, since)))
        lines = "\n".join(filter(None, (reference, below, error)))
        table.add_row(*map(Text, (order, lines, amount, payment)))
    return table


# Selections --------------------------------------------------------------------------------------


@attrs.define
class Selection:
    """Numbers of what was selected of a run."""

    only: str
    taken: int = 0
    others: int = 0
    unclear: int = 0
    """Payments of which it can't be known, or that could not be looked up; they are not taken."""

    def __str__(self) -> str:
        text = f"{self.taken:,} of {self.taken + self.others + self.unclear:,} are {self.only}"
        return f"{text}, {self.unclear:,} are not known to be" if self.unclear else text


def references(only: str, *, with_amounts: bool = False) -> Callable[..., Any]:
    """Return a function that writes the references of a run's payments that are of a kind.

    Args:
        only: The kind, one of `FILTERS`.
        with_amounts: Whether to write what is authorized, so that its sums are known beforehand,
            and that another amount is noticed.
    """

    def line(_row: Any, found: models.Transaction) -> dict[str, Any]:
        fields: dict[str, Any] = {"payment_link_ref": found.payment_link_ref}
        if with_amounts and found.authorized_amount is not None and found.currency is not None:
            fields |= {"amount": found.authorized_amount, "currency": found.currency}
        return fields

    return _selecting(only, line)


def expired_links(run: str) -> Callable[..., Any]:
    """Return a function that writes a run's expired links anew, each under a key of the new run."""

    def line(row: Any, _found: models.Transaction) -> dict[str, Any]:
        request = request_of_row(row)
        if request is None:
            raise ConfigurationError(
                "the journal keeps no requests (keep results), so that their links can't be made "
                "anew from it: use the file"
            )
        fields = {name: value for name, value in request.to_dict().items() if value is not None}
        fields.pop("timestamp", None)
        return fields | {"idempotency_key": f"{row.key} ({run})"}

    return _selecting("expired", line)


def _selecting(only: str, line: Callable[[Any, models.Transaction], Any]) -> Callable[..., Any]:
    async def select(options: JournalOptions, run: str, file: TextIO) -> Selection:
        counts = Selection(only)
        rows = [pair async for pair in _links_of(options, run)]
        async with client_of(options, with_journal=False) as client:
            queries = {query: row for row, query in rows}
            async with bulk.get_transactions(client, list(queries)) as found:
                async for one in found:
                    verdict = None if one.result is None else matches(one.result, only)
                    counts.taken += verdict is True
                    counts.others += verdict is False
                    counts.unclear += verdict is None
                    if verdict and one.result is not None:
                        fields = line(queries[one.request], one.result)
                        file.write(_line_of_json(fields))
        return counts

    return select


def _line_of_json(fields: Any) -> str:
    return msgspec.json.encode(fields, enc_hook=str).decode() + "\n"


# Reconciling -------------------------------------------------------------------------------------


def reconcile(run: str | None, csv: Path | None, options: JournalOptions) -> int:
    """Compare the journal with what the service knows of each item.

    Returns:
        The exit code.
    """

    async def work(client: AsyncChat2Pay, printer: Printer) -> int:
        async with bulk.reconcile(client, run=run) as found:
            balance = _Balance()
            if csv is None:
                async for one in found:
                    balance.add(one)
                    _show(printer, one)
            else:
                await _write_reconciled(csv, found)
            counts = found.counts
        if csv is None:
            balance.print(printer, counts)
        problems, unknown = counts.get("problems", 0), counts.get("unknown", 0)
        if problems > unknown:
            return ExitCode.PROBLEMS
        return ExitCode.UNKNOWN if unknown else ExitCode.DONE

    return make_call(options, work)


class _Balance:
    """The rows that were reconciled, counted and summed by operation and status.

    A captured payment has two rows in the journal, its link's and its capture's.
    """

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Totals] = {}

    def add(self, one: bulk.Reconciled) -> None:
        totals = self._totals.setdefault((title_of(one.operation), one.status), Totals())
        totals.items += 1
        # A partial capture has taken less than the order's amount.
        name = "paid_amount" if one.status in _TAKEN else "total_amount"
        amount = getattr(one.transaction, name, None)
        currency = getattr(one.transaction, "currency", None)
        if amount is not None and currency is not None:
            totals.amounts[currency] = exact_sum(totals.amounts.get(currency, Decimal(0)), amount)

    def print(self, printer: Printer, counts: Mapping[str, int]) -> None:
        if printer.as_json:
            printer.json(counts)
            return
        rows: list[tuple[object, ...]] = [
            (title, status, f"{totals.items:,}", in_words(totals.amounts))
            for (title, status), totals in sorted(self._totals.items())
        ]
        rows.append(("problems", "", f"{counts.get('problems', 0):,}", ""))
        printer.table("Journal and service", ("", "", "items", "amounts"), rows)


_TAKEN: Final = frozenset({"captured", "paid"})


def _show(printer: Printer, one: bulk.Reconciled) -> None:
    if printer.as_json:
        fields = attrs.asdict(one, recurse=False)
        found = one.transaction
        printer.json(fields | {"transaction": None if found is None else found.to_dict()})
    elif one.problem is not None:
        print_error(f"{one.key}: {one.problem}")


async def _write_reconciled(csv: Path, found: bulk.Reconciliation) -> None:
    records: list[Any] = []
    async for one in found:
        name = "order_number" if one.operation == "create_payment_link" else "payment_link_ref"
        query = bulk.TransactionQuery(**{name: one.key})
        record = status_record(one.transaction, query=query, row=one.line, problem=one.problem)
        records.append(attrs.evolve(record, operation=one.operation))
    write_tables(status_table(records, operations=True), Sheet((), ()), csv=csv, xlsx=None)
