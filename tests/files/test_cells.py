"""Cells converted to values, and the problems of cells that can't be."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chat2pay_async._api.requests import LineItem, PaymentLinkRequest
from chat2pay_async._files.cells import (
    CellError,
    amount,
    converters,
    decimal_mark,
    phone,
    plain_text,
    read_json,
    shown,
)
from chat2pay_async._workbooks.formats import Odd
from chat2pay_async.errors import ConfigurationError

LINK = converters(PaymentLinkRequest)
ITEM = converters(LineItem)
text = LINK["order_number"]
flag = LINK["return_payment_link"]
moment = LINK["timestamp"]
whole = ITEM["quantity"]


def refusal(read: Any, value: Any) -> str:
    with pytest.raises(CellError) as caught:
        read(value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *(("007", "007"), (7, "7"), (2**80, str(2**80)), ("12E5", "12E5"), ("v1.0", "v1.0")),
        *(("", ""), (" ", ""), (" x ", "x"), ("\xa0x\u200b", "x"), ("\ufeff007\t", "007")),
        *(
            ("A-1 001", "A-1 001"),
            ("#123", "#123"),
            ("#", "#"),
            ("#NA1", "#NA1"),
            ("Nulls", "Nulls"),
            ("1.001", "1.001"),
        ),
    ],
)
def test_text_is_kept_but_for_blanks_around_it(value: Any, read: str) -> None:
    for name in ("order_number", "channel", "transaction_type", "currency", "from_"):
        assert LINK[name](value) == read
    assert plain_text(value) == read


NOTHINGS = [
    *("None", "none", "NONE", "NULL", "null", "Null", "(null)", "<null>", "nil", "<nil>", "[NULL]"),
    *("nan", "NaN", "NAN", "-nan", "-NaN", "1.#QNAN", "-1.#IND", "NaT", "<NA>", "NA", "N/A", "n/a"),
    *("(blank)", "Empty", "inf", "-inf", "Infinity", "[object Object]"),
    *("undefined", "\\N", "-", "--", "\u2013", "\u2014", "\u2212", ".", "...", "?", "_", " None "),
]
ERRORS = [
    *("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"),
    *(
        "#GETTING_DATA",
        "#NV",
        "#BEZUG!",
        "#N/D",
        "#\u00a1REF!",
        "#####",
        "#\u041d/\u0414",
        "#I/T",
        "Err:502",
        "#ERROR!",
    ),
]


@pytest.mark.parametrize("value", NOTHINGS)
def test_text_that_a_program_wrote_for_nothing_is_refused(value: str) -> None:
    message = "is what a program writes for nothing: leave the cell blank, or write the value"
    for name in ("order_number", "reconciliation_id", "merchant_descriptor", "from_", "currency"):
        assert refusal(LINK[name], value) == message
    for name in ("name", "code", "sku"):
        assert refusal(ITEM[name], value) == message
    assert refusal(phone, value) == message
    assert plain_text(value) == value.strip()  # a person may be named Null


@pytest.mark.parametrize(
    "value", ["{{ order.number }}", "A-${id}", "<<Order>>", "\u00abOrder\u00bb", "%ORDER_NO%"]
)
def test_placeholder_that_was_not_filled_in_is_refused(value: str) -> None:
    message = "has a placeholder that a program did not fill in: write the value"
    for name in ("order_number", "merchant_descriptor"):
        assert refusal(LINK[name], value) == message


@pytest.mark.parametrize("value", ["01-Mar", "1-Mar", "3-Jan-2026", "03-Jan-26"])
def test_date_that_a_spreadsheet_made_of_an_identity_is_refused(value: str) -> None:
    message = "is a spreadsheet's picture of a date: write the value as text"
    assert refusal(LINK["order_number"], value) == message
    assert LINK["merchant_descriptor"](value) == value


@pytest.mark.parametrize("value", ["A-100%", "50% off", "MAR-1", "Mar-21", "1-March", "{A}", "<A>"])
def test_other_texts_are_no_placeholders_and_no_dates(value: str) -> None:
    assert LINK["order_number"](value) == value


@pytest.mark.parametrize("value", ERRORS)
def test_error_of_a_spreadsheet_is_refused_in_every_text(value: str) -> None:
    message = "is an error of a spreadsheet: correct it, or leave the cell blank"
    for convert in (*(LINK[name] for name in ("order_number", "from_", "channel")), phone):
        assert refusal(convert, value) == message
    assert refusal(plain_text, value) == message


def test_channel_none_is_a_channel_unless_it_is_pythons_nothing() -> None:
    assert LINK["channel"](" none ") == "none"
    assert LINK["channel"]("NONE") == "NONE"
    assert "is none" in refusal(LINK["channel"], "None")
    assert "for nothing" in refusal(LINK["channel"], "null")


@pytest.mark.parametrize("value", ['="001"', "=A1", "=1+1", "'001", "'=A1", "'-5", "'+27831234567"])
def test_formula_and_text_mark_of_a_spreadsheet_are_refused(value: str) -> None:
    for convert in (text, LINK["from_"], ITEM["name"], phone):
        assert refusal(convert, value) == (
            "is a formula, or marked as text for a spreadsheet: write its value alone"
        )


@pytest.mark.parametrize("value", ["1.23457E+15", "1,00123E+15", "1E+15", "1.0E15", "-1.5e-07"])
def test_picture_of_a_number_is_refused_as_text(value: str) -> None:
    for convert in (text, LINK["from_"], ITEM["sku"], phone):
        assert "picture of a number, which lost its digits" in refusal(convert, value)


@pytest.mark.parametrize("value", ["1001.0", "1001.", "1001,00", "0001.0", "-5.0"])
def test_number_with_an_empty_fraction_is_refused_as_an_identity(value: str) -> None:
    assert "is a number with an empty fraction, such as 1001.0" in refusal(text, value)
    assert ITEM["sku"](value) == value


@pytest.mark.parametrize("value", ["'A1", '"001"', '""'])
def test_quotation_marks_are_refused_around_an_identity(value: str) -> None:
    assert "is in quotation marks, or begins with one" in refusal(text, value)
    assert ITEM["name"]("'s-Hertogenbosch") == "'s-Hertogenbosch"


def test_character_that_nobody_sees_is_refused_within_an_identity() -> None:
    assert refusal(text, "A\u200b1") == (
        "has a character that nobody sees (U+200B ZERO WIDTH SPACE): remove it"
    )
    assert ITEM["name"]("A\u200d1") == "A\u200d1"


# Phone numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["+27 83 123 4567", "0027831234567", 27831234567])
def test_phone_number_is_read_as_people_write_it(value: Any) -> None:
    assert phone(value) == LINK["to"](value) == "27831234567"


def test_local_phone_number_is_read_with_its_country() -> None:
    assert phone("083 123 4567", "ZA") == phone(831234567, "ZA") == "27831234567"
    assert "begins with 0" in refusal(phone, "083 123 4567")
    assert "is no phone number of ZA" in refusal(lambda value: phone(value, "ZA"), "0999")
    with pytest.raises(ConfigurationError):
        phone("083 123 4567", "XX")


@pytest.mark.parametrize("value", [1.5, True, [], Decimal("2.5"), date(2021, 4, 27)])
def test_other_values_are_no_phone_number(value: Any) -> None:
    assert "must be text, not " in refusal(phone, value)


# Amounts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (True, "true or false"),
        (Decimal("1.0"), "a number with decimals or too many digits"),
        ([], "a list"),
        ({}, "an object"),
        (date(2021, 4, 27), "a date or a time"),
        (time(17), "a date or a time"),
    ],
)
def test_other_values_are_not_text(value: Any, named: str) -> None:
    assert refusal(text, value) == f"must be text, not {named}: write it as text"
    assert refusal(plain_text, value) == f"must be text, not {named}: write it as text"


@pytest.mark.parametrize("value", ["199.90", "1,5", "1.23E+03", "", 199, Decimal("1.50")])
def test_amount_keeps_every_digit(value: Any) -> None:
    for name in ("total_amount", "tax_amount", "sub_total_amount"):
        assert LINK[name](value) == value
        assert type(LINK[name](value)) is type(value)
    assert ITEM["unit_price"](value) == value


def test_amount_loses_blanks_around_it() -> None:
    assert amount("\xa0199.90 \u202f") == "199.90"


@pytest.mark.parametrize(
    ("value", "read"),
    [("199,90", "199.90"), (" 5,0\xa0", "5.0"), ("1,000", "1.000"), ("7", "7"), (7, 7)],
)
def test_amount_with_a_decimal_comma_is_read_where_the_file_has_them(value: Any, read: Any) -> None:
    assert amount(value, decimal=",") == read
    assert amount(Decimal("1.5"), decimal=",") == Decimal("1.5")


@pytest.mark.parametrize(
    "value", ["199.90", "1.234,56", "1,234.56", "1 234,56", "1,2,3", ",5", "", "x"]
)
def test_amount_that_is_grouped_or_has_a_point_is_refused_among_decimal_commas(value: str) -> None:
    assert refusal(lambda cell: amount(cell, decimal=","), value) == (
        "is not a number with a decimal comma, as this file has: write it as 199,90"
    )


@pytest.mark.parametrize(
    ("value", "mark"),
    [
        *(("199,90", ","), (" 199,90\xa0", ","), ("1,000", ","), ("199.90", "."), (".5", ".")),
        *(("199", None), ("1.234,56", None), ("x", None), ("", None), (199, None), (1.5, None)),
    ],
)
def test_decimal_mark_of_an_amount_is_told(value: Any, mark: str | None) -> None:
    assert decimal_mark(value) == mark


@pytest.mark.parametrize("value", [True, [], {}, timedelta(1)])
def test_amount_must_be_a_number(value: Any) -> None:
    assert "must be a number, not " in refusal(amount, value)


@pytest.mark.parametrize("value", ["true", " TRUE ", "True", "yes", "YES", "1", 1, True])
def test_flag_is_true_in_many_forms(value: Any) -> None:
    assert flag(value) is True


@pytest.mark.parametrize("value", ["false", "FALSE", "no", "0", 0, False])
def test_flag_is_false_in_many_forms(value: Any) -> None:
    assert flag(value) is False


@pytest.mark.parametrize("value", ["", "ja", "t", 2, -1, Decimal(1), 1.0, [], None])
def test_other_values_are_not_a_flag(value: Any) -> None:
    assert refusal(flag, value) == "must be true or false (or yes, no, 1, 0)"


@pytest.mark.parametrize(("value", "read"), [(2, 2), ("2", 2), (" 02 ", 2), ("-1", -1), ("+1", 1)])
def test_whole_number_is_written_with_digits(value: Any, read: int) -> None:
    assert whole(value) == read


@pytest.mark.parametrize("value", ["", "2.0", "1e3", "1_0", "\u0662", "9" * 31, True, 2.5, [2]])
def test_other_values_are_not_a_whole_number(value: Any) -> None:
    assert refusal(whole, value) == "must be a whole number"


@pytest.mark.parametrize(
    "value",
    [
        "2021-04-27T15:35:58Z",
        " 2021-04-27t15:35:58z ",
        "2021-04-27 17:35:58+02:00",
        "20210427T173558+0200",
        "2021-W17-2T15:35:58+00:00",
    ],
)
def test_timestamp_is_iso_8601_with_an_offset(value: str) -> None:
    assert moment(value) == datetime(2021, 4, 27, 15, 35, 58, tzinfo=UTC)


@pytest.mark.parametrize("value", ["2021-04-27T17:35:58", "2021-04-27"])
def test_timestamp_without_offset_is_refused(value: str) -> None:
    assert refusal(moment, value) == (
        "has no UTC offset: add one, such as 2021-04-27T17:35:58+02:00"
    )


@pytest.mark.parametrize(
    "value",
    [date(2021, 4, 27), datetime(2021, 4, 27), time(17), timedelta(1)],  # noqa: DTZ001
)
def test_excel_date_is_refused_as_a_timestamp(value: Any) -> None:
    assert "is an Excel date, which has no UTC offset: write it as text" in refusal(moment, value)


@pytest.mark.parametrize("value", ["", "now", "27/04/2021", 1619544958000, True, [], Decimal(1)])
def test_other_values_are_not_a_timestamp(value: Any) -> None:
    assert "must be a timestamp in ISO 8601" in refusal(moment, value)


# Numbers of workbooks ----------------------------------------------------------------------------

SHOWN_OTHERWISE = Odd(123, "is shown otherwise")
ROUNDED = Odd(Decimal("0.5"), "is shown otherwise", "is rounded")
SHOWN_AS_IT_IS = Odd(1, symbol="ZAR")


def test_number_that_is_shown_otherwise_is_refused_where_its_digits_count() -> None:
    for read in (text, plain_text, flag, moment):
        assert refusal(read, SHOWN_OTHERWISE) == "is shown otherwise"
    assert amount(SHOWN_OTHERWISE) == whole(SHOWN_OTHERWISE) == 123


def test_number_that_is_shown_as_another_is_no_amount() -> None:
    for read in (amount, whole):
        assert refusal(read, ROUNDED) == "is rounded"


def test_number_that_is_shown_as_it_is_is_read_whatever_its_currency() -> None:
    assert text(SHOWN_AS_IT_IS) == plain_text(SHOWN_AS_IT_IS) == "1"
    assert amount(SHOWN_AS_IT_IS) == whole(SHOWN_AS_IT_IS) == 1
    assert flag(SHOWN_AS_IT_IS) is True
    assert "must be a timestamp in ISO 8601" in refusal(moment, SHOWN_AS_IT_IS)


# JSON --------------------------------------------------------------------------------------------


def test_json_keeps_every_digit() -> None:
    read = read_json(' {"a": [0.10, 1e2, 12345678901234567890.123456789, 7, null, true]} ')
    assert list(map(str, read["a"])) == [
        "0.10", "1E+2", "12345678901234567890.123456789", "7", "None", "True",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", "is not valid JSON: expecting value at character 1"),
        ("Thandi", "is not valid JSON: expecting value at character 1"),
        ('{"a": 1,', "is not valid JSON: expecting property name"),
        ("{} {}", "is not valid JSON: extra data at character 4"),
        ('"\x00"', "is not valid JSON: invalid control character at character 2"),
        ("[NaN]", "contains NaN, which is not valid in JSON"),
        ("[-Infinity]", "contains -Infinity, which is not valid in JSON"),
        ("1e9999999999999999999999", "contains a number that is too long"),
        ("9" * 5000, "contains a number that is too long"),
        ('{"b": 1, "a": 1, "a": 1}', "has the key a twice"),
        ('{"27831234567": 1, "27831234567": 1}', "has the key *** twice"),
        ("[" * 100_000, "is nested too deeply"),
    ],
    ids=lambda value: value[:20],
)
def test_invalid_json_is_refused(written: str, problem: str) -> None:
    assert refusal(read_json, written).startswith(problem)


# Names -------------------------------------------------------------------------------------------


def test_column_name_is_shown_without_phone_numbers() -> None:
    assert shown("order_number") == "order_number"
    assert shown("+27 83 123-4567 x") == "*** x"
    assert shown("x" * 100) == "x" * 60 + "…"
    assert shown("\ud800") == "\\ud800"
