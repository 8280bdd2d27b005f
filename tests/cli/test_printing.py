"""What is printed for a person, and what for a program."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from chat2pay_async import models
from chat2pay_async._bulk.outcomes import State
from chat2pay_async._bulk.summary import Summary
from chat2pay_async._cli.printing import Printer, faults_of, shown
from chat2pay_async._files.campaign import Check
from chat2pay_async._files.rows import RowFault


class Screen:
    def __init__(self, *, as_json: bool = False, terminal: int | None = None) -> None:
        self.drawn = io.StringIO()
        console = Console(
            file=self.drawn,
            force_terminal=terminal is not None,
            width=terminal or 20,
            color_system=None,
            _environ={},
        )
        self.printer = Printer(as_json=as_json, console=console)

    @property
    def lines(self) -> list[str]:
        return self.drawn.getvalue().splitlines()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        ("[bold]", "[bold]"),
        (7, "7"),
        (Decimal("10.00"), "10.00"),
        (State.APPLIED, "applied"),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00Z"),
        ({"a": Decimal("0.10")}, '{"a":0.10}'),
    ],
)
def test_a_value_in_a_cell(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_line_of_json_is_one_line_with_exact_amounts_whatever_is_in_it() -> None:
    screen = Screen(as_json=True)
    fields = {"key": "[red]\n" + "x" * 300, "amount": Decimal("10000000000000000000.10")}
    screen.printer.line(fields)
    (line,) = screen.drawn.getvalue().splitlines()
    assert msgspec.json.Decoder(float_hook=Decimal).decode(line) == fields


def test_a_summary_tells_what_each_state_means_and_leaves_out_what_is_not_there() -> None:
    screen = Screen()
    screen.printer.summary(
        "captures",
        Summary(
            applied=1500,
            rejected=3,
            unknown=1,
            recovered=2,
            not_delivered=4,
            declined=1,
            amounts={"ZAR": Decimal("1234567.80"), "JPY": Decimal(5)},
            elapsed=12.34,
        ),
    )
    assert screen.lines == [
        "captures in 12.3 s",
        "          items",
        "applied   1,500  2 recovered, 4 not delivered",
        "rejected  3      1 declined",
        "unknown   1      may have been applied; looked up first with the next run",
        "Applied in this run: JPY 5, ZAR 1,234,567.80",
    ]


@pytest.mark.parametrize(
    ("terminal", "shown_as"),
    [
        (None, ["Applied in this run: JPY 5, ZAR 1,234,567.80"]),
        (44, ["Applied in this run: JPY 5, ZAR 1,234,567.80"]),
        (43, ["Applied in this run:", "  JPY 5", "  ZAR 1,234,567.80"]),
    ],
)
def test_a_sum_is_not_broken_where_there_is_little_room(
    terminal: int | None, shown_as: list[str]
) -> None:
    screen = Screen(terminal=terminal)
    amounts = {"ZAR": Decimal("1234567.80"), "JPY": Decimal(5)}
    screen.printer.summary("captures", Summary(amounts=amounts))
    assert screen.lines[-len(shown_as) :] == shown_as


CONFIGURATION = models.Configuration(
    sms_channel_enabled=True,
    whatsapp_channel_enabled=False,
    api_key="secret",
    supported_currencies=(
        models.Currency(id=1, iso="ZAR", name="Rand", symbol="R", is_default=True),
        models.Currency(id=2, iso="JPY", name="Yen", is_default=False),
    ),
    extra={"cards": ["VISA"]},
)


def test_an_account_is_told_in_words() -> None:
    screen = Screen()
    screen.printer.model(CONFIGURATION)
    assert screen.lines == [
        "Configuration",
        "whatsapp_channel_enabled  no",
        "sms_channel_enabled       yes",
        "supported_currencies      ZAR, Rand, R, default; JPY, Yen",
        'extra                     {"cards":["VISA"]}',
    ]
    on_terminal = Screen(terminal=80)
    on_terminal.printer.model(CONFIGURATION)
    assert [line.split() for line in on_terminal.lines if "ZAR" in line or "JPY" in line] == [
        ["supported_currencies", "ZAR,", "Rand,", "R,", "default"],
        ["JPY,", "Yen"],
    ]


def test_an_error_within_a_result_is_told_in_words_too() -> None:
    screen = Screen()
    error = models.ThirdPartyError(code=7, description="no credit")
    screen.printer.model(models.PaymentLink(payment_link_ref="ref-1", error=error))
    assert screen.lines[2:] == ["error             7, no credit", "recovered         no"]


@pytest.mark.parametrize("terminal", [None, 80])
def test_data_is_not_taken_for_markup(terminal: int | None) -> None:
    screen = Screen(terminal=terminal)
    screen.printer.table("[t]", ("[h]", ""), [("[red]A-1[/]", "[/x]")])
    drawn = screen.drawn.getvalue()
    assert "[red]A-1[/]" in drawn
    assert "[/x]" in drawn


def test_live_lines_are_printed_below_the_last_where_there_is_no_terminal() -> None:
    screen = Screen()
    with screen.printer.live() as show:
        show("first\nof two")
        show("second " * 10)
    assert screen.lines == ["first", "of two", "second " * 10]


def test_where_it_is_piped_a_reference_is_not_cut_in_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reference = "b5b4b8c6-4f7e-4a34-8a7f-1de4ba5f4b4a"
    Printer(as_json=False).table("t", ("",) * 4, [(reference,) * 4])
    assert capsys.readouterr().out.count(reference) == 4


def test_what_is_wrong_with_a_file_is_a_line_each_and_a_sum() -> None:
    check = Check(1200, 2, (RowFault(3, "to", "is required"), RowFault(4, "", "is cut off")))
    assert faults_of(Path("a.csv"), check) == [
        "a.csv: line 3, to: is required",
        "a.csv: line 4: is cut off",
        "a.csv: 2 bad rows, 1,200 good ones",
    ]
    assert faults_of(Path("a.csv"), Check(1, 0, ())) == []
