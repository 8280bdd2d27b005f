"""A run on the screen, on a clock that goes when it is told to."""

from __future__ import annotations

import io
from decimal import Decimal

from rich.console import Console
from rich.text import Text

from chat2pay_async._display import EVERY, Display
from chat2pay_async.events import CallStarted, ItemFinished, Paused


class Screen:
    """A display, what it drew, and its clock."""

    def __init__(self, total: int | None, *, terminal: bool) -> None:
        self.now = 0.0
        self.drawn = io.StringIO()
        console = Console(
            file=self.drawn, force_terminal=terminal, width=150, color_system=None, _environ={}
        )
        self.display = Display("payment links", total, console, lambda: self.now)

    def finish(self, count: int = 1, state: str = "applied", *, recovered: bool = False) -> None:
        for number in range(count):
            key = f"A-{number}"
            self.display(ItemFinished("r1", "create_payment_link", key, state, recovered))

    def pause(self, seconds: float) -> None:
        self.display(Paused("c1", "create_payment_link", seconds))

    @property
    def picture(self) -> str:
        """What a terminal shows last."""
        return [line for line in self.lines if "payment links" in line][-1]

    @property
    def lines(self) -> list[str]:
        return self.drawn.getvalue().splitlines()


# On a terminal ------------------------------------------------------------------------------------


def test_a_person_sees_how_far_it_is_how_fast_and_how_long_it_takes() -> None:
    screen = Screen(100, terminal=True)
    with screen.display:
        for _ in range(5):
            screen.now += 1
            screen.finish(10)
    picture = screen.picture
    assert "payment links" in picture
    assert "50/100" in picture
    assert "50%" in picture
    assert "12/s 0:00:05 left 0:00:05" in picture, "the speed counts from the first item"


def test_a_person_sees_what_did_not_simply_go_well() -> None:
    screen = Screen(2000, terminal=True)
    with screen.display:
        screen.finish(1002, recovered=True)
        for state, count in (("rejected", 2), ("failed", 3), ("unknown", 4), ("skipped", 5)):
            screen.finish(count, state)
    assert Text.from_markup(screen.display.notes).plain == (
        "1,002 recovered, 5 skipped, 2 refused, 3 failed, 4 in doubt"
    )
    assert "1016/2000" in screen.drawn.getvalue()
    assert "1,002" in screen.drawn.getvalue()


def test_a_skipped_item_that_was_recovered_then_is_not_recovered_now() -> None:
    screen = Screen(1, terminal=True)
    screen.finish(1, "skipped", recovered=True)
    assert "recovered" not in screen.display.notes


def test_a_pause_is_shown_as_such_until_it_is_over() -> None:
    screen = Screen(10, terminal=True)
    with screen.display:
        screen.pause(30)
        screen.pause(5)
        assert "paused by the service, 30 s" in screen.display.notes
        screen.display._bar.refresh()
        screen.now += 29
        assert "paused by the service, 1 s" in screen.display.notes
        screen.now += 1
        assert screen.display.notes == ""
    assert "paused" in screen.drawn.getvalue()
    assert "paused" not in screen.picture, "the last picture is of now"


def test_what_other_events_tell_is_not_for_the_screen() -> None:
    screen = Screen(10, terminal=False)
    screen.now += 2 * EVERY
    screen.display(CallStarted("c1", "create_payment_link"))
    assert screen.lines == []


# Without one --------------------------------------------------------------------------------------


def test_elsewhere_it_is_a_line_now_and_then() -> None:
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


def test_with_the_notes_and_no_more_than_is_known() -> None:
    screen = Screen(None, terminal=False)
    with screen.display:
        screen.finish(1, recovered=True)
        screen.finish(2, "rejected")
        screen.finish(3, "unknown")
        screen.now += EVERY
        screen.pause(7)
    line = "payment links: 6, 1/s, 1 recovered, 2 refused, 3 in doubt, "
    assert screen.lines[-1].startswith(line)
    assert "paused by the service, 7 s" in screen.lines[-1]


def test_a_line_that_is_said_is_printed_as_it_is() -> None:
    screen = Screen(None, terminal=False)
    text = f"[red]A-1[/red] [/]: {Decimal('1.0')} " + "x" * 200
    screen.display.say(text)
    assert screen.lines == [text]
