"""Runs of a journal: their list, and their results summed up and row by row."""

from __future__ import annotations

import sqlite3
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs
import msgspec
from cyclopts import Parameter

from chat2pay_async._api.operations import CAPTURE_PAYMENT, CREATE_PAYMENT_LINK
from chat2pay_async._bulk.outcomes import Outcome, State, outcome_of, request_of_row
from chat2pay_async._bulk.records import Record, Sums, record_of, record_table
from chat2pay_async._bulk.summary import Tally, Totals
from chat2pay_async._cli.journal import open_store
from chat2pay_async._cli.options import ExitCode, JournalOptions, UsageError
from chat2pay_async._cli.printing import Printer, accounted
from chat2pay_async._cli.stdout import set_up, writing
from chat2pay_async._files.tables import Table, write_csv, write_xlsx
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Row, RowState, RunRecord
from chat2pay_async.errors import JournalError

__all__ = ["Report", "find_run", "report", "rows_of", "runs", "title_of", "write_tables"]

_PAGE: Final = 500
_APPLIED: Final = frozenset({RowState.APPLIED})
_STATES: Final = {
    RowState.CLAIMED: State.FAILED,
    RowState.SENT: State.UNKNOWN,
    RowState.APPLIED: State.APPLIED,
    RowState.REJECTED: State.REJECTED,
    RowState.FAILED: State.FAILED,
    RowState.UNKNOWN: State.UNKNOWN,
}


async def find_run(store: SQLiteStore, name: str) -> RunRecord:
    """Find a run by its name.

    Raises:
        JournalError: The journal has no such run.
    """
    known = await store.runs()
    for one in known:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in known[:10]) or "none"
    raise JournalError(f"the journal {store.path} has no run {name!r}; its latest runs: {names}")


async def rows_of(
    store: SQLiteStore, run: str, states: frozenset[RowState] | None = None
) -> AsyncGenerator[tuple[Row, int | None]]:
    """Read the rows of a run, each with its line in the source."""
    after = 0
    while page := await store.rows(run=run, states=states, after=after, limit=_PAGE):
        for row, line in page:
            yield row, line
        after = page[-1][0].id


def title_of(operation: str) -> str:
    """Write the name of an operation in words."""
    return operation.replace("_", " ")


def record_in(row: Row, line: int | None, outcome: Outcome[Any, Any]) -> Record:
    """Make the record of a row."""
    by = row.claimed_by
    record = record_of(
        outcome,
        row=line,
        operation=row.operation,
        by=by.run or "call",
        at=row.ended_at or by.at,
        attempts=row.posts,
        replayed=False,
    )
    name = "order_number" if row.operation == CREATE_PAYMENT_LINK.name else "payment_link_ref"
    if getattr(record, name) is None:
        identity: dict[str, Any] = {name: row.identity}
        record = attrs.evolve(record, **identity)
    named = {record.order_number, record.payment_link_ref}
    return attrs.evolve(record, idempotency_key=None if row.key in named else row.key)


class Orders:
    """The orders of the journal's links, by which captures and receipts are told apart.

    They are kept in a temporary file, since they need not fit into memory.
    """

    def __init__(self) -> None:
        """Make an empty one."""
        self._db = sqlite3.connect("")
        self._db.execute(
            "CREATE TABLE link (reference TEXT PRIMARY KEY, order_number TEXT, "
            "reconciliation_id TEXT, channel TEXT, currency TEXT) WITHOUT ROWID"
        )

    def add(self, rows: Iterable[tuple[Row, int | None]]) -> None:
        """Add links; a link that is known stays as it is."""
        records = (record_in(row, None, outcome_of(row, request_of_row(row))) for row, _ in rows)
        self._db.executemany(
            "INSERT OR IGNORE INTO link VALUES (?, ?, ?, ?, ?)",
            [
                (one.payment_link_ref, *(getattr(one, name) for name in _OF_ORDER))
                for one in records
            ],
        )

    def with_order(self, record: Record) -> Record:
        """Return a record with what it lacks of its order."""
        order = self._db.execute(
            "SELECT order_number, reconciliation_id, channel, currency FROM link "
            "WHERE reference = ?",
            (record.payment_link_ref,),
        ).fetchone()
        known = dict(zip(_OF_ORDER, order or (), strict=False))
        return attrs.evolve(
            record,
            **{name: one for name, one in known.items() if getattr(record, name) is None},
        )

    def close(self) -> None:
        """Delete the file."""
        self._db.close()


_OF_ORDER: Final = ("order_number", "reconciliation_id", "channel", "currency")

Page: TypeAlias = Callable[[int], Sequence[tuple[Row, int | None]]]


@attrs.define
class Report:
    """The results of a run: read its records once, then its numbers."""

    run: RunRecord
    orders: Orders | None = None
    """The orders of links, for what is not about making them."""
    tally: Tally = attrs.field(factory=Tally)
    sums: Sums = attrs.field(factory=Sums)
    in_journal: int = 0

    def records(self, page: Page) -> Iterator[Record]:
        """Read the records, in the order in which the items were first claimed.

        Rows of the file that were refused come last.

        Args:
            page: Reads the rows after an id.
        """
        after = 0
        while rows := page(after):
            for row, line in rows:
                outcome = outcome_of(row, request_of_row(row), _STATES[row.state])
                # A selection of another run's payments has no rows that anybody knows.
                line = None if self.run.settings.get("from_run") else line  # noqa: PLW2901
                record = record_in(row, line, outcome)
                if self.orders is not None:
                    record = self.orders.with_order(record)
                self.in_journal += 1
                self.tally.add(outcome, record.currency)
                self.sums.add(record)
                yield record
            after = rows[-1][0].id
        for line, column, problem in self._faults():
            what = f"{column}: {problem}" if column else problem
            yield Record(
                row=line, operation=self.run.operation, state="bad", by=self.run.name, problem=what
            )

    @property
    def totals(self) -> dict[State, Totals]:
        """The numbers by state."""
        return {state: one for state, one in self.tally.totals.items() if state != State.SKIPPED}

    @property
    def source(self) -> dict[str, int]:
        """The rows of the file: how many it had, and what of them is not in the journal."""
        counts: dict[str, int] = msgspec.json.decode(self.run.settings.get("counts", "{}"))
        if not counts:
            return {}
        return {
            "rows": counts["good"] + counts["bad"],
            "sent": self.in_journal,
            "not_reached": max(0, counts["good"] - self.in_journal),
            "bad": counts["bad"],
        }

    def _faults(self) -> Iterator[tuple[int, str, str]]:
        faults: list[tuple[int, str, str]] = msgspec.json.decode(
            self.run.settings.get("faults", "[]")
        )
        yield from faults


# Commands ----------------------------------------------------------------------------------------


def runs(*, options: JournalOptions = JournalOptions()) -> int:
    """List the runs of the journal, the latest first."""

    async def main() -> list[RunRecord]:
        async with open_store(options) as store:
            return await store.runs()

    found = anyio.run(main)
    printer = Printer(as_json=options.json)
    if options.json:
        for one in found:
            printer.json(_fields_of(one))
        return ExitCode.DONE
    rows = [
        (
            one.name,
            title_of(one.operation),
            f"{sum(one.counts.values()):,}",
            ", ".join(f"{count:,} {state}" for state, count in one.counts.items() if count),
            one.last_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        )
        for one in found
    ]
    printer.table("Runs", ("run", "operation", "items", "", "last opened"), rows)
    return ExitCode.DONE


def _fields_of(run: RunRecord) -> dict[str, Any]:
    return {
        "run": run.name,
        "operation": run.operation,
        "begun_at": run.begun_at,
        "last_at": run.last_at,
        "counts": {state.value: count for state, count in run.counts.items()},
    }


def report(  # noqa: PLR0913 - each is an option
    run: str,
    /,
    *,
    csv: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    xlsx: Path | None = None,
    with_recipients: bool = False,
    with_urls: bool = False,
    options: JournalOptions = JournalOptions(),
) -> int:
    """Show the results of a run.

    The files that it writes can be passed to `status`, `captures`, `reversals` and `receipts`.

    Parameters
    ----------
    run
        Name of the run: see `chat2pay runs`.
    csv
        Write all items as CSV to this file. `-` is standard output.
    xlsx
        Write all items, and their sums, as a workbook.
    with_recipients
        Write phone numbers, too.
    with_urls
        Write the URLs of payment pages, too.
    """
    if csv is not None and xlsx is not None:
        raise UsageError("pass --csv or --xlsx, not both")
    shown = {"with_recipients": with_recipients, "with_urls": with_urls}

    def work(found: Report, page: Page, links: Page) -> None:
        captures = found.run.operation == CAPTURE_PAYMENT.name
        with closing(Orders()) as orders:
            if found.run.operation != CREATE_PAYMENT_LINK.name:
                found.orders = orders
                fill(orders, links)
            table = record_table(found.records(page), captures=captures, **shown)
            write_tables(table, found.sums.table(), csv=csv, xlsx=xlsx)

    found = anyio.run(_with_run, options, run, work)
    if csv is None:
        _print(Printer(as_json=options.json), found)
    return ExitCode.DONE


def fill(orders: Orders, links: Page) -> None:
    """Read all links of a journal."""
    after = 0
    while rows := links(after):
        orders.add(rows)
        after = rows[-1][0].id


async def _with_run(
    options: JournalOptions, name: str, work: Callable[[Report, Page, Page], None]
) -> Report:
    """Let a thread read the rows of a run page by page: they need not fit into memory."""
    async with open_store(options) as store:
        found = Report(await find_run(store, name))

        async def read(after: int) -> list[tuple[Row, int | None]]:
            return await store.rows(run=name, after=after, limit=_PAGE)

        async def read_links(after: int) -> list[tuple[Row, int | None]]:
            return await store.rows(
                operation=CREATE_PAYMENT_LINK.name, states=_APPLIED, after=after, limit=_PAGE
            )

        def page(after: int) -> list[tuple[Row, int | None]]:
            return anyio.from_thread.run(read, after)

        def links(after: int) -> list[tuple[Row, int | None]]:
            return anyio.from_thread.run(read_links, after)

        await anyio.to_thread.run_sync(work, found, page, links)
    return found


def write_tables(table: Table, summary: Table, *, csv: Path | None, xlsx: Path | None) -> None:
    """Write a table to the file that was asked for, if one was; `-` is standard output."""
    if xlsx is not None:
        with xlsx.open("wb") as book:
            write_xlsx(book, table, summary)
    elif csv is not None and str(csv) == "-":
        set_up(for_programs=True)
        with writing():
            write_csv(sys.stdout, table, bom=False)
            sys.stdout.flush()
    elif csv is not None:
        with csv.open("w", encoding="utf-8", newline="") as file:
            write_csv(file, table)
    else:
        deque(table.rows, maxlen=0)


def _print(printer: Printer, found: Report) -> None:
    run, source = found.run, found.source
    if printer.as_json:
        totals = {state.value: attrs.asdict(one) for state, one in found.totals.items()}
        sums = [dict(zip(found.sums.table().columns, row, strict=True)) for row in _sums(found)]
        printer.json({**_fields_of(run), "source": source, "totals": totals, "sums": sums})
        return
    printer.totals(f"{run.name}: {title_of(run.operation)}", found.totals)
    if source:
        printer.text(accounted(source))


def _sums(found: Report) -> Iterator[Any]:
    yield from found.sums.table().rows
