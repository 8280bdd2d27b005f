"""Number formats: when a number is shown as it is stored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._workbooks.formats import (
    A_DATE,
    Odd,
    contradictions,
    format_of,
    number_of,
)

WHOLE = st.integers(-(10**15) + 1, 10**15 - 1)
CENTS = st.integers(1, 10**13 - 1).map(lambda cents: Decimal(cents) / 100)


def manners(code: str, value: int | str) -> tuple[str, str]:
    """The ways in which a number is shown, as a text and as an amount; '' where it is as it is."""
    read = format_of(code).read(value if isinstance(value, int) else Decimal(value))
    if not isinstance(read, Odd):
        assert str(read) == str(value)
        return "", ""
    return tuple(
        problem.removeprefix("is a number that is shown ").partition(":")[0]
        for problem in (read.text_problem, read.amount_problem)
    )  # type: ignore[return-value]


# What was typed ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (199.9, Decimal("199.9")),
        (1001.0, 1001),
        (-0.0, 0),
        (27831234567.0, 27831234567),
        (999999999999999.0, 999999999999999),
        (0.1 + 0.2, Decimal("0.3")),
        (0.615 * 100, Decimal("61.5")),
        (1.1 * 3, Decimal("3.3")),
        (199.99999999999997, 200),
        (0.00001, Decimal("0.00001")),
    ],
)
def test_stored_number_is_what_excel_shows_of_it(stored: float, shown: Any) -> None:
    assert number_of(stored) == shown
    assert type(number_of(stored)) is type(shown)


@pytest.mark.parametrize("stored", [1e15, 1234567890123456.0, -1e300, float("inf"), float("nan")])
def test_number_with_more_digits_than_excel_keeps_is_refused(stored: float) -> None:
    read = number_of(stored)
    assert isinstance(read, Odd)
    assert read.text_problem == read.amount_problem
    assert read.text_problem.startswith("has more digits than the 15 that a workbook keeps")


@given(CENTS)
def test_amount_of_cents_is_read_as_it_was_typed(typed: Decimal) -> None:
    assert number_of(float(typed)) == typed


@pytest.mark.parametrize("stored", ["", "x", "1_0", "1,5"])
def test_stored_number_that_is_none_is_refused(stored: str) -> None:
    read = format_of("General").read_stored(stored)
    assert (
        read.text_problem
        == read.amount_problem
        == ("is a number that can't be read: write it again")
    )


# Digits that are shown ---------------------------------------------------------------------------


@given(WHOLE)
def test_general_and_text_formats_show_every_whole_number_by_its_digits(value: int) -> None:
    for code in ("General", "@", "", "GENERAL", "General;-General"):
        read = format_of(code).read(value)
        assert read == value or (value < 0 and ";" in code)


@pytest.mark.parametrize("code", ["0", "#", "0;-0", "[Red]0", "0_)", "[$-409]0", "###0", "#0*-"])
def test_number_that_is_shown_by_its_digits_is_read(code: str) -> None:
    assert manners(code, 123) == ("", "")


@pytest.mark.parametrize(
    ("code", "value", "text", "amount"),
    [
        ("000000", 123, "with leading zeros", ""),
        ("000", 123, "", ""),
        ("0.00", 123, "with decimals", ""),
        ("0.##", 123, "with decimals", ""),
        ("#,##0", 1234, "with separators", ""),
        ("0,", 123000, "in thousands", "in thousands"),
        ("0.0,,", 1230000, "in thousands", "in thousands"),
        ("0%", 1, "as a percentage", "as a percentage"),
        ("0.00%", "0.5", "as a percentage", "as a percentage"),
        ('0.00"%"', "0.5", "with other characters", "with words or signs"),
        ("0.00E+00", 123, "in scientific notation", "in scientific notation"),
        ("##0.0e+0", 123, "in scientific notation", "in scientific notation"),
        ("# ?/?", "0.5", "as a fraction", "as a fraction"),
        ("0", "199.90", "rounded", "rounded"),
        ("0.00", "199.905", "with decimals", "rounded"),
        ("0.00", "199.9", "with decimals", ""),
        ("#", 0, "rounded", ""),
        ("(###) ###-####", 831234567, "with other characters", "in another form"),
        ("00-00", 1234, "with other characters", "in another form"),
        ('"A-"0', 1, "with other characters", "with words or signs"),
        ('"27"0', 831234567, "with other characters", "with digits that it does not have"),
        ("5", 1, "not at all", "with digits that it does not have"),
        ("*00", 123, "with other characters", "with digits that it does not have"),
        ('0" kg"', 12, "with other characters", "with words or signs"),
        ('0.00"m"', 5, "with other characters", "with words or signs"),
        ("\\K0", 5, "with other characters", "with words or signs"),
        ("-0", 5, "with other characters", "as a negative number"),
        ("(0.00)", 5, "with other characters", "as a negative number"),
        ("0;(0)", -5, "with other characters", ""),
        ("0;0", -5, "with other characters", ""),
        ("0.00 ", 5, "with decimals", ""),
        ("000_ 000", 123456, "with other characters", ""),
        ("000\\ 000", 123456, "with other characters", ""),
        (";;;", 5, "not at all", "not at all"),
        ("0;-0;;@", 0, "not at all", "not at all"),
        ('0;-0;"none"', 0, "not at all", "with words or signs"),
        ("[>100]0;[<50]0", 75, "not at all", "not at all"),
        ("[>=100]0.0;0", 75, "", ""),
        ("[>=100]0.0;0", 100, "with decimals", ""),
        ("[<=1]0.0;[<>5]0;0%", 5, "as a percentage", "as a percentage"),
        ("[=1]0.0;[<1]0%;0", 2, "", ""),
        ("[DBNum1]0", 5, "with other characters", "with other characters"),
        ('General" x"', 5, "with other characters", "with words or signs"),
        ("General_)", 5, "", ""),
        ("General;-General", "0.5", "", ""),
    ],
)
def test_number_that_is_shown_otherwise_is_refused_where_that_matters(
    code: str, value: Any, text: str, amount: str
) -> None:
    assert manners(code, value) == (text, amount)


@pytest.mark.parametrize(
    "code", ["yyyy-mm-dd", "[h]:mm", "[mm]:ss", "d", "h:mm AM/PM", "[$-F800]dddd\\, mmmm", "ggge"]
)
def test_number_with_a_date_format_is_a_date(code: str) -> None:
    assert format_of(code).read(44313) is A_DATE


@given(CENTS)
def test_amounts_with_two_decimals_are_read_from_every_usual_format(typed: Decimal) -> None:
    for code in ("0.00", "#,##0.00", '_-"R"* #,##0.00_-;-"R"* #,##0.00_-;_-"R"* "-"??_-;_-@_-'):
        read = format_of(code).read(typed)
        assert (read.value, read.amount_problem) == (typed, "")
        assert read.text_problem


@given(st.text('0#?.,;%E+-/@[]$"\\_*<>=1GeneralydR €', max_size=12), WHOLE)
def test_any_code_is_read_as_some_format(code: str, value: int) -> None:
    read = format_of(code).read(value)
    assert read is A_DATE or isinstance(read, Odd) or read == value


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("General", ""),
        ("0;0;0;@", ""),
        ("0;-0", ""),
        ('"00"@', "is shown with other characters"),
        ('0;0;0;"+"@', "is shown with other characters"),
        (";;;", "is shown not at all"),
        ("@_)", ""),
    ],
)
def test_text_must_be_shown_as_it_is(code: str, problem: str) -> None:
    assert format_of(code).text_problem.partition(":")[0] == problem
    read = format_of(code).read_text("7")
    assert read == "7" or read.text_problem.startswith(f"is a text that {problem}")
    assert format_of(code).read_text(" ") is None


def test_the_value_of_a_cell_is_not_in_its_repr() -> None:
    assert "2783" not in repr(format_of("0.00").read(27831234567))


# Currencies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "symbol", "fitting", "other"),
    [
        ("[$R-1C09]#,##0.00", "R-1C09", ("ZAR", "zar "), ("USD", "EUR")),
        ('"R" #,##0.00', "R", ("ZAR",), ("USD",)),
        ('"ZAR" 0.00', "ZAR", ("ZAR",), ("USD", "XYZ")),
        ("[$USD] 0.00", "USD", ("USD",), ("ZAR",)),
        ("[$€-2] 0.00", "€-2", ("EUR",), ("ZAR",)),
        ("0.00 €", "€", ("EUR",), ("ZAR",)),
        ("$0.00", "$", ("USD", "NAD", "AUD"), ("ZAR", "EUR")),
        ('"$"0.00', "$", ("USD", "NAD"), ("ZAR",)),
        ("[$$-409]0.00", "$-409", ("USD",), ("AUD", "ZAR")),
        ("[$$-en-AU]0.00", "$-en-AU", ("AUD",), ("USD",)),
        ("[$$-1234]0.00", "$-1234", ("AUD", "USD"), ("ZAR",)),
        ("[$£-809]0.00", "£-809", ("GBP",), ("EGP",)),
        ("[$¥-804]0.00", "¥-804", ("CNY",), ("JPY",)),
        ("[$\u20a1-140A]0.00", "\u20a1-140A", ("CRC",), ("ZAR", "USD")),
        ("0.00", "", ("ZAR", "USD"), ()),
    ],
)
def test_currency_in_a_format_must_be_that_of_the_row(
    code: str, symbol: str, fitting: tuple[str, ...], other: tuple[str, ...]
) -> None:
    cell = format_of(code).read(Decimal("199.90"))
    assert (cell.symbol, cell.amount_problem) == (symbol, "")
    for currency in fitting:
        assert contradictions({"currency": currency, "total_amount": cell}) == {}
    for currency in other:
        assert list(contradictions({"currency": currency, "total_amount": cell})) == [
            "total_amount"
        ]


def test_currency_of_a_line_item_must_be_that_of_the_row() -> None:
    cell = format_of("[$EUR] 0.00").read(5)
    fields = {"currency": "ZAR", "order_line_items": {0: {"name": "Mug", "unit_price": cell}}}
    assert contradictions(fields) == {
        "order_line_items.0.unit_price": (
            "is shown in another currency than the one in the column currency: correct one of them"
        )
    }


@pytest.mark.parametrize("currency", [None, 5, Odd()])
def test_row_without_a_currency_contradicts_none(currency: Any) -> None:
    cell = format_of("[$EUR] 0.00").read(5)
    assert contradictions({"currency": currency, "amount": cell}) == {}
