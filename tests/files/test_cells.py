"""Cells converted to values, and the problems of cells that can't be."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chat2pay_async._api.requests import LineItem, PaymentLinkRequest
from chat2pay_async._files.cells import CellError, converters, plain_text, read_json, shown
from chat2pay_async._workbooks.formats import Odd

LINK = converters(PaymentLinkRequest)
ITEM = converters(LineItem)
text = LINK["order_number"]
amount = LINK["total_amount"]
flag = LINK["return_payment_link"]
moment = LINK["timestamp"]
whole = ITEM["quantity"]


def refusal(read: Any, value: Any) -> str:
    with pytest.raises(CellError) as caught:
        read(value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "read"), [("007", "007"), (" x ", " x "), ("", ""), (7, "7"), (2**80, str(2**80))]
)
def test_text_is_kept_as_it_is(value: Any, read: str) -> None:
    for name in ("order_number", "to", "channel", "transaction_type", "currency"):
        assert LINK[name](value) == read
    assert plain_text(value) == read


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


@pytest.mark.parametrize("value", ["199.90", "1,5", "", 199, Decimal("1.50")])
def test_amount_keeps_every_digit(value: Any) -> None:
    for name in ("total_amount", "tax_amount", "sub_total_amount"):
        assert LINK[name](value) is value
    assert ITEM["unit_price"](value) is value


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
