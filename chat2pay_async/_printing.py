"""What the command line prints: for a person as tables, for a program as one JSON object a line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import attrs
import msgspec
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chat2pay_async import models
from chat2pay_async._campaign_file import Check
from chat2pay_async._outcomes import Forecast, Outcome, State, Summary
from chat2pay_async._output import Output, writing
from chat2pay_async._report import COLUMNS, Report, Totals

Rows: TypeAlias = Iterable[Iterable[object]]

__all__ = ["Printer", "write_csv"]

_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)

_MEANINGS: Final = {
    State.APPLIED: "",
    State.REJECTED: "will not go again",
    State.FAILED: "nothing was applied; goes again with the next run",
    State.UNKNOWN: "may have been applied; looked up first with the next run",
    State.SKIPPED: "finished by an earlier run",
}


class Printer:
    """Prints results to standard output."""

    def __init__(self, *, as_json: bool, console: Console | None = None) -> None:
        """Choose a form.

        Args:
            as_json: Whether to print JSON lines.
            console: Where to; standard output, unless given. It colours nothing when it is piped.
        """
        self.as_json = as_json
        self._console = console or Output(for_programs=as_json)

    def line(self, fields: Any) -> None:
        """Print a JSON object on a line of its own."""
        with writing(self._console):
            self._console.out(_encoder.encode(fields).decode(), highlight=False)

    def text(self, text: str) -> None:
        """Print a line for a person."""
        with writing(self._console):
            self._console.print(Text(text), soft_wrap=True)

    def table(self, title: str, headings: Sequence[str], rows: Rows) -> None:
        """Print a table."""
        with writing(self._console):
            self._console.print(_table_of(title, headings, rows))

    @contextmanager
    def live(self) -> Generator[Callable[[str, Sequence[str], Rows], None]]:
        """A table that is drawn anew in its place; below each other, where that can't be done."""
        if not self._console.is_terminal:
            yield self.table
            return
        with Live(console=self._console, auto_refresh=False) as live:

            def draw(title: str, headings: Sequence[str], rows: Rows) -> None:
                with writing(self._console):
                    live.update(_table_of(title, headings, rows), refresh=True)

            yield draw

    # What there is to print ----------------------------------------------------------------------

    def outcome(self, outcome: Outcome[Any, Any]) -> None:
        """An item's end, for programs."""
        if self.as_json:
            self.line(fields_of_outcome(outcome))

    def summary(self, title: str, summary: Summary) -> None:
        """A run's end."""
        if self.as_json:
            self.line({"summary": attrs.asdict(summary) | {"total": summary.total}})
            return
        notes = {
            State.APPLIED: _counted(
                recovered=summary.recovered, not_delivered=summary.not_delivered
            ),
            State.REJECTED: _counted(declined=summary.declined),
        }
        rows = [
            (_NAMES.get(state, state.value), f"{count:,}", notes.get(state) or _MEANINGS[state])
            for state, count in summary.counts.items()
            if count or state is State.APPLIED
        ]
        self.table(f"{title} in {summary.elapsed:.1f} s", ("", "items", ""), rows)
        self.money(summary.amounts)

    def money(self, amounts: Any) -> None:
        """Sums by currency, for a person."""
        if amounts:
            told = ", ".join(f"{code} {amount:,f}" for code, amount in sorted(amounts.items()))
            self.text(f"Applied in all: {told}")

    def forecast(self, title: str, forecast: Forecast) -> None:
        """What a dry run found."""
        if self.as_json:
            self.line({"forecast": attrs.asdict(forecast)})
            return
        rows = [
            ("to send", f"{forecast.to_send:,}", ""),
            ("to look up", f"{forecast.to_look_up:,}", "an earlier run left them in doubt"),
            ("final", f"{forecast.final:,}", "finished by an earlier run"),
            ("refused", f"{forecast.refused:,}", "a key occurs twice, or a row was changed"),
            (
                "same recipient",
                f"{forecast.same_recipient:,}",
                ", ".join(forecast.same_recipient_keys) or "nobody gets more than one",
            ),
            ("time", f"{forecast.seconds:,.0f} s", "at this concurrency and rate limit"),
        ]
        self.table(f"{title}: a dry run, nothing was sent", ("", "", ""), rows)
        if forecast.amounts:
            told = (f"{code} {amount:,f}" for code, amount in sorted(forecast.amounts.items()))
            self.text("To send in all: " + ", ".join(told))

    def report(self, report: Report) -> None:
        """What a journal says."""
        totals = report.totals()
        if self.as_json:
            told = {state: attrs.asdict(one) for state, one in totals.items()}
            self.line({"journal": report.notes, "totals": told})
            return
        rows = [
            (state, f"{one.items:,}", _notes_of(one), _money_of(one))
            for state, one in totals.items()
        ]
        title = f"{report.operation.name} at {report.notes['base_url']}"
        self.table(title, ("", "items", "", "amounts"), rows)

    def model(self, value: Any) -> None:
        """A model, field by field."""
        fields = fields_of(value)
        if self.as_json:
            self.line(fields)
        else:
            told = [(name, inner) for name, inner in fields.items() if inner not in (None, {}, ())]
            self.table(type(value).__name__, ("", ""), told)


_NAMES: Final = {State.REJECTED: "refused", State.UNKNOWN: "in doubt"}


def _table_of(title: str, headings: Sequence[str], rows: Rows) -> Group:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=not number)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))  # no markup: it is data
    return Group(Text(title, style="bold"), table)  # a table's own title is as narrow as it is


def shown(value: object) -> str:
    """A value in a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int, Decimal)):
        return str(value)
    return _encoder.encode(value).decode().strip('"')


def _counted(**counts: int) -> str:
    return ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count
    )


def _notes_of(totals: Totals) -> str:
    return _counted(
        recovered=totals.recovered, not_delivered=totals.not_delivered, declined=totals.declined
    )


def _money_of(totals: Totals) -> str:
    return ", ".join(f"{code} {amount:,f}" for code, amount in sorted(totals.amounts.items()))


def fields_of(value: Any) -> dict[str, Any]:
    """A model as plain values by attribute; the API key stays out."""
    fields: dict[str, Any] = attrs.asdict(value)
    if isinstance(value, models.Configuration):
        del fields["api_key"]
    return fields


def fields_of_outcome(outcome: Outcome[Any, Any]) -> dict[str, Any]:
    """An outcome as plain values."""
    error = outcome.error
    return {
        "key": outcome.key,
        "state": outcome.state.value,
        "recovered": outcome.recovered,
        "delivered": outcome.delivered,
        "declined": outcome.declined,
        "result": None if outcome.result is None else fields_of(outcome.result),
        "error": None if error is None else {"type": type(error).__name__, "text": str(error)},
    }


def write_csv(report: Report, file: TextIO) -> None:
    """Write a journal's items as CSV; `COLUMNS` are its columns."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for line in report.lines():
        writer.writerow([shown(cell) for cell in line.cells])


def faults_of(path: Path, check: Check) -> list[str]:
    """What is wrong with a file, a line for each fault that is shown."""
    lines = [f"{path}: {fault}" for fault in check.faults]
    more = f"{path}: {check.bad:,} bad rows, {check.good:,} good ones"
    return [*lines, more] if check.bad else []
