"""Output for people and for programs."""

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
from chat2pay_async._bulk.summary import Forecast, Summary
from chat2pay_async._cli.printing import Printer, accounted, faults_of, shown
from chat2pay_async._files.campaign import Check
from chat2pay_async._files.rows import Row, RowFault


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
def test_value_in_a_cell(value: object, text: str) -> None:
    assert shown(value) == text


def test_json_object_is_one_line_with_exact_amounts() -> None:
    screen = Screen(as_json=True)
    fields = {"key": "[red]\n" + "x" * 300, "amount": Decimal("10000000000000000000.10")}
    screen.printer.json(fields)
    (line,) = screen.drawn.getvalue().splitlines()
    assert msgspec.json.Decoder(float_hook=Decimal).decode(line) == fields


def test_summary_explains_states_and_leaves_out_empty_ones() -> None:
    screen = Screen()
    screen.printer.summary(
        "captures",
        Summary(
            applied=1500,
            rejected=3,
            unknown=1,
            recovered=2,
            not_delivered=4,
            without_url=1,
            declined=1,
            amounts={"ZAR": Decimal("1234567.80"), "JPY": Decimal(5)},
            elapsed=12.34,
        ),
        {"rows": 0},
    )
    assert screen.lines == [
        "captures in 12.3 s",
        "          items  amounts",
        "applied   1,500  JPY 5; ZAR 1,234,567.80  2 recovered, 4 not delivered, 1 without URL",
        "rejected  3                               1 declined",
        f"unknown   1{' ' * 31}may have been applied; the next run looks it up first",
    ]


def test_amounts_are_not_broken_on_a_narrow_terminal() -> None:
    screen = Screen(terminal=60)
    amounts = {"ZAR": Decimal("1234567.80"), "JPY": Decimal(5)}
    screen.printer.summary(
        "captures", Summary(applied=7, not_delivered=123, amounts=amounts), {"rows": 0}
    )
    assert [line for line in screen.lines if "JPY 5 " in line]
    assert [line for line in screen.lines if "ZAR 1,234,567.80" in line]


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


def test_account_is_shown_in_words() -> None:
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


def test_long_address_is_not_broken_on_a_terminal() -> None:
    screen = Screen(terminal=80)
    url = f"https://pay.test/{'x' * 100}"
    screen.printer.model(models.PaymentLink(payment_link_ref="ref-1", payment_link=url))
    assert url in screen.drawn.getvalue()


def test_error_within_a_result_is_shown_in_words() -> None:
    screen = Screen()
    error = models.ThirdPartyError(code=7, description="no credit")
    screen.printer.model(models.PaymentLink(payment_link_ref="ref-1", error=error))
    assert screen.lines[2:] == [
        "error             7, no credit",
        "recovered         no",
        "replayed          no",
    ]


@pytest.mark.parametrize("terminal", [None, 80])
def test_data_is_not_markup(terminal: int | None) -> None:
    screen = Screen(terminal=terminal)
    screen.printer.table("[t]", ("[h]", ""), [("[red]A-1[/]", "[/x]")])
    drawn = screen.drawn.getvalue()
    assert "[red]A-1[/]" in drawn
    assert "[/x]" in drawn


def test_forecast_shows_what_would_be_sent_and_leaves_out_zeros() -> None:
    screen = Screen()
    amounts = {"ZAR": Decimal("1.50")}
    found = Forecast(to_send=1200, amounts=amounts, seconds=9.4)
    screen.printer.forecast("payment links", found, Check())
    title = "payment links: dry run, nothing was sent; a run takes about 9 s"
    assert screen.lines == [title, "         items  amounts", "to send  1,200  ZAR 1.50"]
    keys = tuple(f"A-{number}" for number in range(Forecast.SHOWN))
    found = Forecast(
        to_send=1,
        to_look_up=2,
        final=7,
        rejected=4,
        changed=5,
        repeated=6,
        lookalikes=21,
        lookalike_keys=(("1001", "001001"),),
        gone=7,
        same_recipient=21,
        same_recipient_keys=keys,
        channels={"sms": 8, "none": 9},
        countries={"27": 10, "": 11},
    )
    screen.printer.forecast("links", found, Check())
    shown_keys = ", ".join(keys)
    assert screen.lines[5:] == [
        "to send              1",
        "to look up           2               outcome unknown after an earlier run",
        "finished             3               by an earlier run or call",
        "rejected before      4               --retry-rejected sends them again",
        "changed              5               differ from what was sent, and are not sent",
        "repeated             6               are in the file more than once, and sent once",
        "look-alikes          21              look like known orders: 1001 like 001001, …",
        "gone                 7               in the run, and not in the file any more",
        f"repeated recipients  21              get more than one link: {shown_keys}, …",
        "channel              9               none",
        "channel              8               sms",
        "country prefix       11              not known",
        "country prefix       10              +27",
    ]


def test_piped_table_breaks_no_reference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reference = "b5b4b8c6-4f7e-4a34-8a7f-1de4ba5f4b4a"
    Printer(as_json=False).table("t", ("",) * 4, [(reference,) * 4])
    assert capsys.readouterr().out.count(reference) == 4


def checked(*faults: RowFault, good: int = 0) -> Check:
    check = Check(good)
    for fault in faults:
        check.add(Row(fault.line, None, (fault,)))
    return check


def test_faults_of_a_file_are_one_line_for_each_kind_and_a_count() -> None:
    faults = [RowFault(line, "to", "is required") for line in (3, 7, 9, 12)]
    check = checked(RowFault(4, "", "is cut off"), *faults, good=1200)
    assert faults_of(Path("a.csv"), check) == [
        "a.csv: 4 rows: to: is required; first rows 3, 7, 9",
        "a.csv: line 4: is cut off",
        "a.csv: 5 bad and 1,200 valid rows",
    ]
    assert faults_of(Path("a.csv"), checked(good=1)) == []


def test_hidden_kinds_of_problems_of_a_file_are_mentioned() -> None:
    faults = [RowFault(line, f"column{line}", "is required") for line in range(2, 24)]
    *_, mention, counts = faults_of(Path("a.csv"), checked(*faults))
    assert mention == "a.csv: and 2 more kinds of problems; --faults FILE writes all"
    assert counts == "a.csv: 22 bad and 0 valid rows"


def test_every_row_of_a_file_is_accounted_for() -> None:
    rows = {"rows": 2000, "sent": 128, "done_before": 0, "not_reached": 1872, "bad": 0, "gone": 0}
    assert accounted(rows) == "of 2,000 rows: 128 sent, 1,872 not reached"
