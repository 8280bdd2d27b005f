"""A run on the screen: a hook like any other, that draws what it hears. It needs the extra `cli`.

On a terminal it is a bar that moves, elsewhere a line now and then. It writes to standard error, so
that standard output is the result's alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

from chat2pay_async.errors import Proof
from chat2pay_async.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    Event,
    ItemFinished,
    LookedUp,
    Paused,
)

if TYPE_CHECKING:
    from typing import Self

    from rich.progress import Task

__all__ = ["Display"]

EVERY: Final = 10.0
"""Seconds between two lines where there is no terminal."""

_COLOURS: Final = {
    "recovered": "cyan",
    "skipped": "dim",
    "rejected": "yellow",
    "failed": "red",
    "unknown": "magenta",
}
"""What is told of a run beside how far it is."""
_ECHO: Final = 4
"""Columns at the end of the last line that stay free for the `^C` that a terminal writes there: on
a line of its own, it would not be drawn over."""


class _Told(ProgressColumn):
    """A text that is never broken: only the bar gives way where there is little room."""

    def __init__(self, tell: Callable[[Task], str], style: str) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._tell = tell
        self._style = style

    def render(self, task: Task) -> Text:
        """Draw it."""
        return Text(self._tell(task), self._style)


class _Line:
    """One line, however long it is."""

    def __init__(self, markup: str) -> None:
        self._text = Text.from_markup(markup)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self._text.truncate(options.max_width - _ECHO, overflow="ellipsis")
        yield self._text


class _Bar(Progress):
    """The bar, and the notes on a line below it, which is cut where it is too long."""

    ended = False

    def __init__(self, notes: Callable[[], str], *columns: ProgressColumn, **more: Any) -> None:
        self._notes = notes
        super().__init__(*columns, **more)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw it."""
        yield self.make_tasks_table(self.tasks)
        notes = self._notes()
        if notes or not self.ended:
            yield _Line(notes)


def _count(task: Task) -> str:
    return f"{task.completed:,.0f}" + ("" if task.total is None else f"/{task.total:,.0f}")


def _percentage(task: Task) -> str:
    # Rounded, it would say 100 % of what is not yet done.
    return "" if not task.total else f"{100 * task.completed // task.total:.0f}%"


def _speed(task: Task) -> str:
    return f"{task.finished_speed or task.speed or 0.0:,.0f}/s"


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


class Display:
    """Shows a run while it goes on: pass it as a hook, and enter it around the run."""

    def __init__(
        self,
        title: str,
        total: int | None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Get ready to show a run.

        Args:
            title: What it does.
            total: How many items there are; None where that is not known.
            console: Where to draw; standard error, unless given.
            clock: Tells the time in seconds.
        """
        self._console = console or Console(stderr=True)
        self._title = title
        self._total = total
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._done = 0
        self._paused_until = 0.0
        self._begun = self._said = clock()
        self._calls: set[str] = set()
        self._looked_up: set[str] = set()
        """Of these: whose answer was lost."""
        self._stops = False
        self._bar = _Bar(
            lambda: self.notes,
            SpinnerColumn(table_column=Column(no_wrap=True)),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            _Told(_count, "progress.download"),
            _Told(_percentage, "progress.percentage"),
            _Told(_speed, "progress.data.speed"),
            _Told(lambda task: _clock_time(task.elapsed or 0.0), "progress.elapsed"),
            _Told(self._left, "progress.remaining"),
            console=self._console,
            get_time=clock,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.ended = True
            self._bar.stop()
        else:
            self._say()

    def __call__(self, event: Event, /) -> None:
        """Hear what a client tells."""
        match event:
            case ItemFinished():
                self._done += 1
                self._counts[event.state] += 1
                self._counts["recovered"] += event.recovered and event.state == "applied"
                self._bar.advance(self._task)
            case Paused():
                self._paused_until = max(self._paused_until, self._clock() + event.seconds)
            case _:
                self._follow(event)
                return
        self._show()

    def _follow(self, event: Event) -> None:
        """Know which calls are under way, and which of them wait for look-ups only."""
        match event:
            case CallStarted():
                self._calls.add(event.call_id)
            case CallFinished():
                self._calls.discard(event.call_id)
                self._looked_up.discard(event.call_id)
            case LookedUp():
                self._looked_up.add(event.call_id)
            case AttemptFinished() if event.attempt.proof is Proof.UNKNOWN:
                self._looked_up.add(event.call_id)
            case _:
                pass

    @property
    def under_way(self) -> int:
        """How many calls are."""
        return len(self._calls)

    @property
    def _only_looks_up(self) -> bool:
        """Whether nothing else is left to do; how long that takes is not a matter of speed."""
        return self._total is not None and 0 < self._total - self._done <= len(self._looked_up)

    def _left(self, task: Task) -> str:
        left = task.time_remaining
        if not left or self._stops or self._only_looks_up:
            return ""
        return f"left {_clock_time(left)}"

    @property
    def notes(self) -> str:
        """What there is to tell beside how far it is; what matters now comes first."""
        parts: list[str] = []
        if self._stops and self._calls:
            parts.append(f"[bold]stopping, {self.under_way:,} under way[/]")
        elif self._only_looks_up:
            parts.append(f"[bold]looking up {len(self._looked_up):,} whose answer was lost[/]")
        paused = self._paused_until - self._clock()
        if paused > 0:
            parts.append(f"[reverse] paused by the service, {paused:.0f} s [/]")
        parts += [
            f"[{colour}]{self._counts[word]:,} {word}[/]"
            for word, colour in _COLOURS.items()
            if self._counts[word]
        ]
        return ", ".join(parts)

    def stop(self, why: str) -> None:
        """Say why it stops before its end; from now on nothing tells when that would have been."""
        self._stops = True
        self.say(f"Stopping: {why}; {self.under_way:,} under way")

    def say(self, text: str) -> None:
        """Write a line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        if not self._console.is_terminal and self._clock() - self._said >= EVERY:
            self._said = self._clock()
            self._say()

    def _say(self) -> None:
        of = "" if self._total is None else f" of {self._total:,}"
        seconds = max(self._clock() - self._begun, 1e-9)
        told = f"{self._title}: {self._done:,}{of}, {self._done / seconds:,.0f}/s"
        notes = Text.from_markup(self.notes).plain
        self.say(", ".join(filter(None, [told, notes])))
