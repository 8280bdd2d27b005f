"""What is printed for a person, and what for a program."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from chat2pay_async._campaign_file import Check
from chat2pay_async._outcomes import State, Summary
from chat2pay_async._printing import Printer, faults_of, shown
from chat2pay_async._tables import RowFault


class Screen:
    def __init__(self, *, as_json: bool = False) -> None:
        self.drawn = io.StringIO()
        self.printer = Printer(as_json=as_json, console=Console(file=self.drawn, width=120))


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
    lines = [" ".join(line.split()) for line in screen.drawn.getvalue().splitlines()]
    assert "captures in 12.3 s" in lines
    assert "applied 1,500 2 recovered, 4 not delivered" in lines
    assert "refused 3 1 declined" in lines
    assert "in doubt 1 may have been applied; looked up first with the next run" in lines
    assert "Applied in all: JPY 5, ZAR 1,234,567.80" in lines
    assert not any(line.startswith(("failed", "skipped")) for line in lines)


def test_data_is_not_taken_for_markup() -> None:
    screen = Screen()
    screen.printer.table("[t]", ("[h]", ""), [("[red]A-1[/]", "[/x]")])
    drawn = screen.drawn.getvalue()
    assert "[red]A-1[/]" in drawn
    assert "[/x]" in drawn


def test_a_live_table_is_printed_below_the_last_where_there_is_no_terminal() -> None:
    screen = Screen()
    with screen.printer.live() as show:
        show("first", ("a",), [(1,)])
        show("second", ("a",), [(2,)])
    assert "first" in screen.drawn.getvalue()
    assert "second" in screen.drawn.getvalue()


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
