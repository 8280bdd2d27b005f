"""Each look alone; that no request with a fault passes for plain is held in `test_requests.py`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from chat2pay_async._api.plain import (
    is_plain_amount,
    is_plain_data,
    is_plain_moment,
    is_plain_text,
)

NOON = datetime(2026, 4, 27, 12, 30, tzinfo=UTC)
CENT = Decimal("0.01")


def test_a_plain_text_is_short_and_printable() -> None:
    assert is_plain_text("Tea, 2 \u00e9")
    assert is_plain_text("x" * 32, 32)
    assert not is_plain_text("x" * 33, 32)
    for odd in (None, 1, b"x", "a\n", "\x85", "\ud800"):
        assert not is_plain_text(odd)


def test_a_plain_moment_is_in_utc_and_within_the_years_that_every_zone_has() -> None:
    assert is_plain_moment(NOON)
    for odd in (
        None,
        NOON.replace(tzinfo=None),
        NOON.replace(tzinfo=timezone(timedelta(hours=2))),
        NOON.replace(year=1),
        NOON.replace(year=9999),
    ):
        assert not is_plain_moment(odd)


@pytest.mark.parametrize(
    "odd", ["0.00", "-0.01", "1.5", "1", "1.234", "NaN", "Infinity", "1000000000000000.00"]
)
def test_a_plain_amount_is_positive_common_and_has_its_currencys_decimals(odd: str) -> None:
    assert is_plain_amount(Decimal("199.90"), CENT)
    assert is_plain_amount(Decimal(1500), Decimal(1))
    assert not is_plain_amount(Decimal(odd), CENT)
    assert not is_plain_amount(odd, CENT)


def test_plain_data_is_json_of_a_few_levels() -> None:
    assert is_plain_data({"campaign": "spring", "tags": ["a", 1, True, None], "more": {"a": {}}})
    deep: list[object] = []
    for _ in range(9):
        deep = [deep]
    for odd in (
        deep,
        {"a": deep},
        {1: 1},
        {"\u00e9": 1},
        {"a": "\x00"},
        {"a": 1.5},
        {"a": 2**31},
        [b"x"],
        (1,),
    ):
        assert not is_plain_data(odd)
