"""The output of commands: tables for people, one JSON object per line for programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chat2pay_async._api import models
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.summary import Forecast, Summary, Totals, in_words
from chat2pay_async._cli.stdout import Output, print_error, writing

if TYPE_CHECKING:
    from chat2pay_async._files.check import Check

__all__ = ["Printer", "accounted", "faults_of", "fields_of_outcome", "print_error", "shown"]

_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)

_MEANINGS: Final = {
    State.APPLIED: "",
    State.REJECTED: "final, is not retried",
    State.FAILED: "nothing was applied; is retried by the next run",
    State.UNKNOWN: "may have been applied; the next run looks it up first",
    State.SKIPPED: "finished by an earlier run",
}
_AS_WIDE_AS_NEEDED: Final = 1_000_000


class Printer:
    """Prints results to standard output."""

    def __init__(self, *, as_json: bool, console: Console | None = None) -> None:
        """Choose a form.

        Args:
            as_json: Whether to print JSON lines.
            console: Prints. Default: standard output, without colours where it is piped.
        """
        self.as_json = as_json
        self._console = console or Output(for_programs=as_json)

    @property
    def is_terminal(self) -> bool:
        """True where a person reads it, False where it is piped."""
        return self._console.is_terminal

    def json(self, fields: Any) -> None:
        """Print a JSON object on a line of its own."""
        self.text(_encoder.encode(fields).decode())

    def text(self, text: str) -> None:
        """Print text as it is: rich would make blanks of tabs."""
        if not self._console.quiet:
            with writing(self._console):
                self._console.file.write(f"{text}\n")
                self._console.file.flush()

    def table(self, title: str, headings: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
        """Print a table. Where it is piped or has no headings, nothing in it is broken."""
        is_drawn = self.is_terminal and any(headings)
        table = Table(
            box=box.SIMPLE_HEAD if is_drawn else None,
            show_edge=False,
            pad_edge=False,
            show_header=any(headings),
        )
        for number, heading in enumerate(headings):
            table.add_column(heading, overflow="fold", no_wrap=not number)
        between = "\n" if self.is_terminal else "; "
        for row in rows:
            cells = (cell if isinstance(cell, list) else [shown(cell)] for cell in row)
            table.add_row(*(Text(between.join(cell)) for cell in cells))  # no markup: it is data
        if is_drawn:
            # A title of the table itself would be as narrow as the table.
            self._console.print(Group(Text(title, style="bold"), table))
            return
        paper = Console(file=io.StringIO(), width=_AS_WIDE_AS_NEEDED, color_system=None)
        with paper.capture() as captured:
            paper.print(table)
        self.text("\n".join([title, *map(str.rstrip, captured.get().splitlines())]))

    @contextmanager
    def drawing(self, *, again: bool) -> Generator[Callable[[RenderableType], None]]:
        """Draw on a terminal.

        Args:
            again: Whether to draw again and again, in the same place.
        """
        if not again:
            yield self._console.print
            return
        with Live(console=self._console, auto_refresh=False) as live:
            # Ctrl-C shows as ^C after the last line: on a full one it would begin another.
            yield lambda drawn: live.update(Group(drawn, Text()), refresh=True)

    # What there is to print ----------------------------------------------------------------------

    def outcome(self, outcome: Outcome[Any, Any]) -> None:
        """Print an outcome, for programs."""
        if self.as_json:
            self.json(fields_of_outcome(outcome))

    def summary(self, title: str, summary: Summary, rows: Mapping[str, int]) -> None:
        """Print the end of a run, and what became of every row of its file."""
        if self.as_json:
            self.json({"summary": attrs.asdict(summary) | {"total": summary.total}, "rows": rows})
            return
        totals = {state: Totals(count) for state, count in summary.counts.items()}
        totals[State.APPLIED] = Totals(
            summary.applied,
            summary.recovered,
            summary.not_delivered,
            summary.without_url,
            amounts=dict(summary.amounts),
        )
        totals[State.REJECTED].declined = summary.declined
        self.totals(f"{title} in {summary.elapsed:.1f} s", totals)
        if rows["rows"]:  # it was begun from a file
            self.text(accounted(rows))

    def fields(self, title: str, fields: Mapping[str, object]) -> None:
        """Print a few values, each with its name."""
        if self.as_json:
            self.json(fields)
            return
        rows = [(name.replace("_", " "), value) for name, value in fields.items()]
        self.table(title, ("", ""), rows)

    def totals(self, title: str, totals: Mapping[State, Totals]) -> None:
        """Print numbers by state."""
        rows = [
            (
                state.value,
                f"{one.items:,}",
                in_words(one.amounts),
                _counted(
                    recovered=one.recovered,
                    not_delivered=one.not_delivered,
                    without_URL=one.without_url,
                    declined=one.declined,
                )
                or _MEANINGS[state],
            )
            for state, one in totals.items()
            if one.items or state is State.APPLIED
        ]
        self.table(title, ("", "items", "amounts", ""), rows)

    def forecast(self, title: str, forecast: Forecast, check: Check) -> None:
        """Print what a dry run found."""
        if self.as_json:
            self.json({"forecast": attrs.asdict(forecast), "check": check.to_dict()})
            return
        keys = ", ".join(forecast.same_recipient_keys)
        more = ", …" if forecast.same_recipient > len(forecast.same_recipient_keys) else ""
        rows = [
            ("to send", forecast.to_send, in_words(forecast.amounts), ""),
            ("to look up", forecast.to_look_up, "", "outcome unknown after an earlier run"),
            ("finished", forecast.final - forecast.rejected, "", "by an earlier run or call"),
            ("rejected before", forecast.rejected, "", "--retry-rejected sends them again"),
            ("changed", forecast.changed, "", "differ from what was sent, and are not sent"),
            ("repeated", forecast.repeated, "", "are in the file more than once, and sent once"),
            (
                *("look-alikes", forecast.lookalikes, ""),
                f"look like known orders: {_pairs(forecast)}",
            ),
            ("gone", forecast.gone, "", "in the run, and not in the file any more"),
            (
                *("repeated recipients", forecast.same_recipient, ""),
                f"get more than one link: {keys}{more}",
            ),
            *(("channel", count, "", name) for name, count in sorted(forecast.channels.items())),
            *(
                ("country prefix", count, "", f"+{prefix}" if prefix else "not known")
                for prefix, count in sorted(forecast.countries.items())
            ),
        ]
        seconds = max(forecast.seconds, 1)
        title += f" of sheet {check.sheet}" if check.sheet else ""
        self.table(
            f"{title}: dry run, nothing was sent; a run takes about {seconds:,.0f} s",
            ("", "items", "amounts", ""),
            [
                (name, f"{count:,}", *others)
                for name, count, *others in rows
                if count or name == "to send"
            ],
        )

    def model(self, value: Any) -> None:
        """Print a model, field by field."""
        fields = fields_of(value)
        if self.as_json:
            self.json(fields)
            return
        rows = [
            (name, _in_words(name, inner))
            for name, inner in fields.items()
            if inner not in (None, {}, ())
        ]
        self.table(type(value).__name__, ("", ""), rows)


def _in_words(name: str, value: object) -> object:
    """Write a field of a model without the syntax of JSON, where that is possible."""
    if isinstance(value, tuple):
        return [_brief(one) for one in value]
    return _brief(value) if isinstance(value, dict) and name != "extra" else value


def _brief(fields: dict[str, object]) -> str:
    """Write a model within another: its values, and the names of what is true."""
    words = (
        name.removeprefix("is_") if value is True else shown(value)
        for name, value in fields.items()
        if value not in (None, False, {}, ()) and name != "id"
    )
    return ", ".join(words)


def shown(value: object) -> str:
    """Write a value in a cell of a table."""
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


def fields_of(value: Any) -> dict[str, Any]:
    """Return a model as plain values by attribute; the API key stays out."""
    fields: dict[str, Any] = attrs.asdict(value)
    if isinstance(value, models.Configuration):
        del fields["api_key"]
    return fields


def fields_of_outcome(outcome: Outcome[Any, Any]) -> dict[str, Any]:
    """Return an outcome as plain values."""
    error, receipt = outcome.error, getattr(outcome.request, "receipt_link", None)
    return {
        "key": outcome.key,
        # A payment may have several receipts.
        **({} if receipt is None else {"receipt_link": receipt}),
        "state": outcome.state.value,
        "recovered": outcome.recovered,
        "delivered": outcome.delivered,
        "without_url": outcome.without_url,
        "declined": outcome.declined,
        "result": None if outcome.result is None else fields_of(outcome.result),
        "error": None if error is None else {"type": type(error).__name__, "text": str(error)},
    }


def _pairs(forecast: Forecast) -> str:
    found = [f"{key} like {other}" for key, other in forecast.lookalike_keys]
    return ", ".join(found + ["…"] * (forecast.lookalikes > len(found)))


def accounted(rows: Mapping[str, int]) -> str:
    """Say what became of every row of a file."""
    told = ", ".join(
        f"{count:,} {what.replace('_', ' ')}"
        for what, count in rows.items()
        if what != "rows" and (count or what == "sent")
    )
    return f"of {rows['rows']:,} rows: {told}"


def faults_of(path: Path, check: Check) -> list[str]:
    """Describe what is wrong with a file, one line for each kind of fault that is shown."""
    if not check.bad:
        return []
    groups = check.groups
    lines = [f"{path}: {group}" for group in groups[: check.SHOWN]]
    if len(groups) > len(lines):
        more = len(groups) - len(lines)
        lines.append(f"{path}: and {more:,} more kinds of problems; --faults FILE writes all")
    return [*lines, f"{path}: {check.bad:,} bad and {check.good:,} valid rows"]
