"""A run on the screen: a hook like any other, that draws what it hears. It needs the extra `cli`.

On a terminal it is a bar that moves, elsewhere a line now and then. It writes to standard error, so
that standard output is the result's alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from chat2pay_async.events import Event, ItemFinished, Paused

if TYPE_CHECKING:
    from typing import Self

    from rich.progress import Task

__all__ = ["Display"]

EVERY: Final = 10.0
"""Seconds between two lines where there is no terminal."""

_WORDS: Final = {
    "recovered": ("recovered", "cyan"),
    "skipped": ("skipped", "dim"),
    "rejected": ("refused", "yellow"),
    "failed": ("failed", "red"),
    "unknown": ("in doubt", "magenta"),
}
"""What is told of a run beside how far it is, and in which colour."""


class _Rate(ProgressColumn):
    """Items a second, over the last half minute or so."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        speed = task.finished_speed or task.speed or 0.0
        return Text(f"{speed:,.0f}/s", style="progress.data.speed")


class _Notes(ProgressColumn):
    """What there is to tell besides; it is asked anew for every picture, since a pause goes by."""

    def __init__(self, notes: Callable[[], str]) -> None:
        super().__init__()
        self._notes = notes

    def render(self, task: Task) -> Text:  # noqa: ARG002 - there is one task
        """Draw it."""
        return Text.from_markup(self._notes())


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
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            _Notes(lambda: self.notes),
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
                return
        self._show()

    @property
    def notes(self) -> str:
        """What there is to tell beside how far it is."""
        parts = [
            f"[{colour}]{self._counts[state]:,} {word}[/]"
            for state, (word, colour) in _WORDS.items()
            if self._counts[state]
        ]
        paused = self._paused_until - self._clock()
        if paused > 0:
            parts.append(f"[reverse] paused by the service, {paused:.0f} s [/]")
        return ", ".join(parts)

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
