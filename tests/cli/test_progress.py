"""The progress of a run on the screen, on a clock that the test moves."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console
from rich.text import Text

from chat2pay_async._cli.progress import EVERY, Display
from chat2pay_async.errors import Attempt, Proof
from chat2pay_async.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    ItemFinished,
    LookedUp,
    Paused,
    RetryScheduled,
    Target,
    Unreachable,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TARGET = Target("POST", "/api/v2/chat-2-pay", "s.test", 443)


class Screen:
    """A display, what it drew, and its clock."""

    def __init__(self, total: int | None, *, terminal: bool, width: int = 150) -> None:
        self.now = 0.0
        self.drawn = io.StringIO()
        console = Console(
            file=self.drawn, force_terminal=terminal, width=width, color_system=None, _environ={}
        )
        self.display = Display("payment links", total, console, lambda: self.now)

    def finish(self, count: int = 1, state: str = "applied", *, recovered: bool = False) -> None:
        for number in range(count):
            key = f"A-{number}"
            self.display(ItemFinished("r1", "create_payment_link", key, state, recovered))

    def pause(self, seconds: float) -> None:
        self.display(Paused("c1", "create_payment_link", seconds))

    def lose_connection(self, lasted: float, delay: float | None) -> None:
        reason = "could not connect to s.test:443: connection refused"
        self.display(Unreachable("", "create_payment_link", lasted, delay, reason))

    def start(self, *calls: str) -> None:
        for call in calls:
            self.display(CallStarted(call, "create_payment_link"))

    def lose(self, *calls: str) -> None:
        """Let their responses get lost."""
        for call in calls:
            self.attempt(call, Proof.UNKNOWN)

    def attempt(self, call: str, proof: Proof) -> None:
        attempt = Attempt(NOW, 0.5, proof)
        self.display(AttemptFinished(call, "create_payment_link", 1, attempt, TARGET))

    def end(self, call: str) -> None:
        self.display(CallFinished(call, "create_payment_link", 1.0, (), None, recovered=False))
        self.finish()

    @property
    def picture(self) -> str:
        """The last picture on a terminal."""
        return [line for line in self.lines if "payment links" in line][-1]

    @property
    def lines(self) -> list[str]:
        return self.drawn.getvalue().splitlines()


# On a terminal ------------------------------------------------------------------------------------


def test_bar_shows_share_speed_and_time_left() -> None:
    screen = Screen(100, terminal=True)
    with screen.display:
        for _ in range(5):
            screen.now += 1
            screen.finish(10)
    picture = screen.picture
    assert "payment links" in picture
    assert "50/100 50% 12/s 0:00:05 left 0:00:05" in picture, "the speed counts from the first item"


@pytest.mark.parametrize(("done", "shown"), [(1, " 0%"), (998, " 99%"), (1000, " 100%")])
def test_share_is_100_percent_only_when_all_is_done(done: int, shown: str) -> None:
    screen = Screen(1000, terminal=True)
    with screen.display:
        screen.finish(done)
    assert shown in screen.picture


def test_unknown_total_shows_no_share_and_no_time_left() -> None:
    screen = Screen(None, terminal=True)
    with screen.display:
        for _ in range(5):
            screen.now += 1
            screen.finish(300)
    assert "1,500" in screen.picture
    assert not {"%", "/1", "left"} & set(screen.picture.split())


def visible(line: str) -> str:
    """Return what is seen of a line: no controls, and nothing that was drawn over."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rpartition("\r")[2].rstrip()


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminal_shows_two_lines(width: int) -> None:
    screen = Screen(1_000_000, terminal=True, width=width)
    with screen.display:
        screen.pause(30)
        for state in ("rejected", "failed", "unknown", "skipped"):
            screen.now += 1
            screen.finish(1002, state)
        screen.finish(1002, recovered=True)
        screen.drawn.truncate(0)
        screen.display._live.refresh()
        bar, notes = (visible(line) for line in screen.lines[-2:])
    assert bar.split()[-1].count(":") == 2, "the time is shown to the second"
    assert "4,008/1,000,000 0%" in bar
    assert len(bar) <= width
    assert notes.startswith(" paused by the service, 26 s , 1,002 recovered, ")
    assert notes.endswith("…")
    assert len(notes) <= width - 4, "there is room for the ^C of a terminal"


def test_no_time_left_is_shown_while_only_lost_responses_are_looked_up() -> None:
    screen = Screen(10, terminal=True)
    with screen.display:
        for number in range(7):
            screen.now += 1
            screen.start(str(number))
            screen.end(str(number))
        screen.start("a", "b", "c")
        screen.attempt("a", Proof.NOT_SENT)
        screen.lose("b", "c")
        assert screen.display.notes == "", "one of them was not lost"
        screen.display._live.refresh()
        assert "left 0:00:0" in screen.picture
        screen.display(
            LookedUp(
                "a", "create_payment_link", "absent", "404 {}", TARGET, NOW, 0.1, 404, None, None
            )
        )
        assert "looking up 3 with a lost response" in screen.display.notes
        screen.display._live.refresh()
        assert "left" not in screen.picture
        screen.end("b")
        assert "looking up 2 with a lost response" in screen.display.notes
        screen.end("a")
        screen.end("c")
    assert screen.display.notes == ""
    assert screen.lines[-2] == screen.picture, "nothing but the cursor comes after it"


def test_stopping_run_shows_calls_in_progress() -> None:
    screen = Screen(100, terminal=True)
    with screen.display:
        for number in range(10):
            screen.now += 1
            screen.start(str(number), f"slow {number}")
            screen.end(str(number))
        assert screen.display.in_progress == 10
        screen.display.stop("the disk is full")
        assert "Stopping: the disk is full; 10 in progress" in screen.drawn.getvalue()
        assert "stopping, 10 in progress" in screen.display.notes
        screen.display._live.refresh()
        assert "left" not in screen.picture
        for number in range(10):
            screen.end(f"slow {number}")
    assert screen.display.notes == ""


def test_notes_count_the_other_outcomes() -> None:
    screen = Screen(2000, terminal=True)
    with screen.display:
        screen.finish(1002, recovered=True)
        for state, count in (("rejected", 2), ("failed", 3), ("unknown", 4), ("skipped", 5)):
            screen.finish(count, state)
    assert Text.from_markup(screen.display.notes).plain == (
        "1,002 recovered, 5 skipped, 2 rejected, 3 failed, 4 unknown"
    )
    assert "1,011/2,000" in screen.drawn.getvalue()
    assert "1,002" in screen.drawn.getvalue()


def test_skipped_item_is_not_counted_as_recovered() -> None:
    screen = Screen(1, terminal=True)
    screen.finish(1, "skipped", recovered=True)
    assert "recovered" not in screen.display.notes


def test_pause_is_shown_until_it_is_over() -> None:
    screen = Screen(10, terminal=True)
    with screen.display:
        screen.pause(30)
        screen.pause(5)
        assert "paused by the service, 30 s" in screen.display.notes
        screen.display._live.refresh()
        screen.now += 29
        assert "paused by the service, 1 s" in screen.display.notes
        screen.now += 1
        assert screen.display.notes == ""
    assert "paused" in screen.drawn.getvalue()
    assert "paused" not in screen.picture, "the last picture is of now"


def test_other_events_print_nothing() -> None:
    screen = Screen(10, terminal=False)
    screen.now += 2 * EVERY
    screen.start("c1")
    screen.display(RetryScheduled("c1", "create_payment_link", 1, 0.5, Proof.NOT_SENT))
    assert screen.lines == []


# Without one --------------------------------------------------------------------------------------


def test_line_is_printed_now_and_then_without_a_terminal() -> None:
    screen = Screen(3000, terminal=False)
    with screen.display:
        for _ in range(30):
            screen.finish(99)
            screen.now += 1
            screen.finish()
    assert screen.lines == [
        "payment links: 1,000 of 3,000, 100/s",
        "payment links: 2,000 of 3,000, 100/s",
        "payment links: 3,000 of 3,000, 100/s",
        "payment links: 3,000 of 3,000, 100/s",
    ]


def test_line_has_the_notes_and_no_unknown_total() -> None:
    screen = Screen(None, terminal=False)
    with screen.display:
        screen.finish(1, recovered=True)
        screen.finish(2, "rejected")
        screen.finish(3, "unknown")
        screen.now += EVERY
        screen.pause(7)
    numbers, counts = screen.lines[-1].split(" paused by the service, 7 s ")
    assert numbers == "payment links: 6, 1/s, "
    assert counts == ", 1 recovered, 2 rejected, 3 unknown"


def test_line_is_printed_without_markup() -> None:
    screen = Screen(None, terminal=False)
    text = f"[red]A-1[/red] [/]: {Decimal('1.0')} " + "x" * 200
    screen.display.print(text)
    assert screen.lines == [text]


def test_run_that_stops_without_a_reason_prints_no_line() -> None:
    screen = Screen(None, terminal=False)
    screen.start("c1")
    screen.display.stop("")
    assert screen.lines == []
    assert "stopping, 1 in progress" in screen.display.notes


# Without a connection -----------------------------------------------------------------------------


def test_an_outage_is_shown_with_its_reason_until_it_ends() -> None:
    screen = Screen(100, terminal=False)
    screen.lose_connection(4.0, 8.0)
    assert screen.lines == [
        "No connection, waiting: could not connect to s.test:443: connection refused"
    ]
    screen.now += 2
    assert "no connection, next try in 6 s" in screen.display.notes
    screen.lose_connection(12.0, 16.0)
    assert len(screen.lines) == 1
    screen.now += 20
    assert "no connection, next try in 0 s" in screen.display.notes
    screen.lose_connection(65.0, None)
    assert "Connected again after 0:01:05" in screen.lines
    assert screen.display.notes == ""
