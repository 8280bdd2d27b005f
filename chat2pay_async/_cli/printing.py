"""What the command line prints: for a person as tables, for a program as one JSON object a line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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

from chat2pay_async._api import models
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.summary import Forecast, Summary, Totals
from chat2pay_async._cli.report import COLUMNS, Report
from chat2pay_async._cli.stdout import Output, writing
from chat2pay_async._files.campaign import Check

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
        self._put(_encoder.encode(fields).decode())

    def _put(self, text: str) -> None:
        """Print it as it is: rich would make blanks of tabs."""
        if not self._console.quiet:
            with writing(self._console):
                self._console.file.write(f"{text}\n")
                self._console.file.flush()

    @property
    def width(self) -> int | None:
        """How many columns the terminal has; None where it is piped."""
        return self._console.width if self._console.is_terminal else None

    def text(self, text: str) -> None:
        """Print lines for a person; a terminal may break them, but a copy of them is whole."""
        if self.width is None:
            self._put(text)
            return
        with writing(self._console):
            self._console.print(Text(text), soft_wrap=True)

    def table(self, title: str, headings: Sequence[str], rows: Rows) -> None:
        """Print a table."""
        if self.width is None:
            self.text("\n".join([title, *_plain_lines(headings, rows)]))
            return
        with writing(self._console):
            self._console.print(_table_of(title, headings, rows))

    @contextmanager
    def live(self) -> Generator[Callable[[str], None]]:
        """Lines that are drawn anew in their place; below each other, where that can't be done."""
        if self.width is None:
            yield self.text
            return
        with Live(console=self._console, auto_refresh=False) as live:

            def draw(text: str) -> None:
                lines = Text(text, no_wrap=True, overflow="ellipsis")
                with writing(self._console):
                    # Ctrl-C shows as ^C after the last line: on a full one it would begin another.
                    live.update(Group(lines, Text()), refresh=True)

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
            (state.value, f"{count:,}", notes.get(state) or _MEANINGS[state])
            for state, count in summary.counts.items()
            if count or state is State.APPLIED
        ]
        self.table(f"{title} in {summary.elapsed:.1f} s", ("", "items", ""), rows)
        self._money("Applied in this run", summary.amounts)

    def _money(self, title: str, amounts: Mapping[str, Decimal]) -> None:
        """Sums by currency; no number is broken in its middle."""
        told = _money_of(amounts)
        line = f"{title}: {', '.join(told)}"
        if self.width is not None and len(line) > self.width:
            line = "\n  ".join([f"{title}:", *told])
        if told:
            self.text(line)

    def forecast(self, title: str, forecast: Forecast) -> None:
        """What a dry run found."""
        if self.as_json:
            self.line({"forecast": attrs.asdict(forecast)})
            return
        rows = [
            ("to send", f"{forecast.to_send:,}", ""),
            ("to look up", f"{forecast.to_look_up:,}", "an earlier run left them in doubt"),
            ("final", f"{forecast.final:,}", "finished by an earlier run"),
            ("rejected", f"{forecast.refused:,}", "a key occurs twice, or a row was changed"),
            (
                "same recipient",
                f"{forecast.same_recipient:,}",
                ", ".join(forecast.same_recipient_keys) or "nobody gets more than one",
            ),
            ("time", f"{forecast.seconds:,.0f} s", "at this concurrency and rate limit"),
        ]
        self.table(f"{title}: a dry run, nothing was sent", ("", "", ""), rows)
        self._money("To send in all", forecast.amounts)

    def report(self, report: Report) -> None:
        """What a journal says."""
        totals = report.totals()
        if self.as_json:
            told = {state: attrs.asdict(one) for state, one in totals.items()}
            self.line({"journal": report.notes, "totals": told})
            return
        rows = [
            (state, f"{one.items:,}", _notes_of(one), _money_of(one.amounts))
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
            told = [
                (name, _in_words(name, inner))
                for name, inner in fields.items()
                if inner not in (None, {}, ())
            ]
            self.table(type(value).__name__, ("", ""), told)


def _table_of(title: str, headings: Sequence[str], rows: Rows) -> Group:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=not number)
    for row in rows:
        table.add_row(*(Text("\n".join(_lines_of(cell))) for cell in row))  # no markup: it is data
    return Group(Text(title, style="bold"), table)  # a table's own title is as narrow as it is


def _plain_lines(headings: Sequence[str], rows: Rows) -> Iterator[str]:
    """A table without a terminal: nothing is broken or cut, and no line ends in blanks."""
    cells = [["; ".join(_lines_of(cell)) for cell in row] for row in rows]
    if any(headings):
        cells.insert(0, list(headings))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _lines_of(cell: object) -> list[str]:
    return cell if isinstance(cell, list) else [shown(cell)]


def _in_words(name: str, value: object) -> object:
    """A field of a model, without the syntax of JSON where that is possible."""
    if isinstance(value, tuple):
        return [_brief(one) for one in value]
    return _brief(value) if isinstance(value, dict) and name != "extra" else value


def _brief(fields: dict[str, object]) -> str:
    """What a model within another says: values, and the names of what is true."""
    told = (
        name.removeprefix("is_") if value is True else shown(value)
        for name, value in fields.items()
        if value not in (None, False, {}, ()) and name != "id"
    )
    return ", ".join(told)


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


def _money_of(amounts: Mapping[str, Decimal]) -> list[str]:
    return [f"{code} {amount:,f}" for code, amount in sorted(amounts.items())]


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
