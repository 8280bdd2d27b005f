"""The progress of a run on the screen, drawn by a hook. It needs the extra `cli`.

On a terminal it is a bar that moves, elsewhere a line now and then. It writes to standard error, so
that standard output has results only.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

from chat2pay_async.errors import Attempt, Proof
from chat2pay_async.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    Event,
    ItemFinished,
    LookedUp,
    Paused,
    Unreachable,
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
_ECHO: Final = (0, 4, 0, 0)
"""Columns at the end of the last line stay free for the `^C` that a terminal writes there: on a
line of its own, it would not be drawn over."""


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


class _Numbers(ProgressColumn):
    """The numbers of a run in one text, which is never broken: only the bar gives way.

    rich's own columns round 99.9 % up to 100 %.
    """

    def __init__(self, time_left: Callable[[Task], str]) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._time_left = time_left

    def render(self, task: Task) -> Text:
        """Draw them."""
        total = "" if task.total is None else f"/{task.total:,.0f}"
        share = f"{100 * task.completed // task.total:.0f}%" if task.total else ""
        parts = (
            (f"{task.completed:,.0f}{total}", "progress.download"),
            (share, "progress.percentage"),
            (f"{task.finished_speed or task.speed or 0.0:,.0f}/s", "progress.data.speed"),
            (_clock_time(task.elapsed or 0.0), "progress.elapsed"),
            (self._time_left(task), "progress.remaining"),
        )
        return Text(" ").join(Text(text, style) for text, style in parts if text)


@attrs.define(eq=False, repr=False, slots=False)
class Display:
    """The progress of a run: pass it as a hook, and enter it around the run."""

    _title: str
    """A title, such as the name of a command."""
    _total: int | None
    """The number of items; None where that is not known."""
    _console: Console = attrs.field(factory=lambda: Console(stderr=True))
    """Draws. Default: standard error."""
    _clock: Callable[[], float] = time.monotonic
    """Returns the time in seconds."""

    def __attrs_post_init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._done = 0
        self._paused_until = 0.0
        self._next_try: float | None = None
        """The time at which a run without a connection tries again; None while it has one."""
        self._started = self._printed = self._clock()
        self._calls: set[str] = set()
        self._looked_up: set[str] = set()
        """Of these: whose response was lost."""
        self._stops = self._ended = False
        self._bar = Progress(
            SpinnerColumn(table_column=Column(no_wrap=True)),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            _Numbers(self._time_left),
            get_time=self._clock,
        )
        self._task = self._bar.add_task(self._title, total=self._total)
        self._live = Live(console=self._console, get_renderable=self._draw)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_raised: object) -> None:
        self._ended = True
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._print_line()

    def __call__(self, event: Event, /) -> None:
        """Take a client's event."""
        match event:
            case ItemFinished(state="skipped"):
                self._counts[event.state] += 1  # nothing was sent
            case ItemFinished():
                self._done += 1
                self._counts[event.state] += 1
                self._counts["recovered"] += event.recovered and event.state == "applied"
                self._bar.advance(self._task)
            case Paused():
                self._paused_until = max(self._paused_until, self._clock() + event.seconds)
            case Unreachable():
                self._take_outage(event)
            case CallStarted():
                self._calls.add(event.call_id)
                return
            case CallFinished():
                self._calls.discard(event.call_id)
                self._looked_up.discard(event.call_id)
                return
            case LookedUp() | AttemptFinished(attempt=Attempt(proof=Proof.UNKNOWN)):
                self._looked_up.add(event.call_id)
                return
            case _:
                return
        if not self._console.is_terminal and self._clock() - self._printed >= EVERY:
            self._printed = self._clock()
            self._print_line()

    def _take_outage(self, event: Unreachable) -> None:
        if event.delay is None:
            self._next_try = None
            self.print(f"Connected again after {_clock_time(event.lasted)}")
            return
        if self._next_try is None:
            self.print(f"No connection, waiting: {event.reason}")
        self._next_try = self._clock() + event.delay

    @property
    def in_progress(self) -> int:
        """The number of calls that have not ended."""
        return len(self._calls)

    @property
    def _only_looks_up(self) -> bool:
        """True if nothing else is left to do; that takes as long as it takes, at any speed."""
        return self._total is not None and 0 < self._total - self._done <= len(self._looked_up)

    def _time_left(self, task: Task) -> str:
        left = task.time_remaining
        if not left or self._stops or self._only_looks_up:
            return ""
        return f"left {_clock_time(left)}"

    @property
    def notes(self) -> str:
        """The text below the bar; the most urgent part comes first."""
        parts: list[str] = []
        if self._stops and self._calls:
            parts.append(f"[bold]stopping, {self.in_progress:,} in progress[/]")
        elif self._only_looks_up:
            parts.append(f"[bold]looking up {len(self._looked_up):,} with a lost response[/]")
        if self._next_try is not None:
            left = max(0.0, self._next_try - self._clock())
            parts.append(f"[reverse] no connection, next try in {left:.0f} s [/]")
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
        """Say why the run stops before its end; from now on no time is promised.

        Args:
            why: The reason. Nothing is said where it is empty.
        """
        self._stops = True
        if why:
            self.print(f"Stopping: {why}; {self.in_progress:,} in progress")

    def print(self, text: str) -> None:
        """Print a line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> RenderableType:
        table = self._bar.make_tasks_table(self._bar.tasks)
        notes = Text.from_markup(self.notes, overflow="ellipsis")
        notes.no_wrap = True
        if self._ended and not notes:
            return table
        return Group(table, Padding(notes, _ECHO, expand=False))

    def _print_line(self) -> None:
        of = "" if self._total is None else f" of {self._total:,}"
        seconds = max(self._clock() - self._started, 1e-9)
        numbers = f"{self._title}: {self._done:,}{of}, {self._done / seconds:,.0f}/s"
        notes = Text.from_markup(self.notes).plain
        self.print(", ".join(filter(None, [numbers, notes])))
