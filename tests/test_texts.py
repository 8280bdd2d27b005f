"""Texts that look alike to a person, and what makes them differ to a program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._texts import (
    alike,
    alike_number,
    invisible_in,
    stripped,
    with_plain_hyphens,
    without_marks,
)

BLANKS = [
    "",
    " ",
    "\t\r\n",
    "\xa0",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\u202a \u202c",
    "\xad",
    "\u2060",
]


@pytest.mark.parametrize("before", BLANKS)
@pytest.mark.parametrize("after", BLANKS)
def test_blanks_and_invisible_characters_are_taken_off_both_ends(before: str, after: str) -> None:
    assert stripped(f"{before}A \u200b1{after}") == "A \u200b1"
    assert stripped(before + after) == ""


@given(st.text())
def test_a_stripped_text_is_part_of_the_text_and_stays_as_it_is(text: str) -> None:
    assert stripped(text) in text
    assert stripped(stripped(text)) == stripped(text)
    assert stripped(text) == stripped(text).strip()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A-1", None),
        ("Zoë 你", None),
        ("A\u200b1", "U+200B ZERO WIDTH SPACE"),
        ("A\xa01\u200b", "U+00A0 NO-BREAK SPACE"),
        ("\ufeffA", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("A\ufe0f", "U+FE0F VARIATION SELECTOR-16"),
        ("A\u3164", "U+3164 HANGUL FILLER"),
        ("A\x85é", "U+0085 control character"),
    ],
)
def test_the_first_invisible_character_is_named(text: str, named: str | None) -> None:
    assert invisible_in(text) == named


def test_invisible_characters_are_left_out_and_visible_ones_stay() -> None:
    assert without_marks("\u2066A\xad 1\u2069é") == "A 1é"
    assert without_marks("A 1") == "A 1"


def test_hyphens_of_all_kinds_are_written_as_one() -> None:
    assert with_plain_hyphens("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0dé") == "-" * 8 + "é"
    assert with_plain_hyphens("a-b") == "a-b"


@pytest.mark.parametrize(
    "other",
    [
        "a-1001",
        "A1001",
        "A 10 01",
        "A\u20111001",
        "A-\u200b1001",
        "\uff21-\uff11001",
        "A\u22121001",
    ],
)
def test_order_numbers_that_look_alike_are_equal_when_folded(other: str) -> None:
    assert alike(other) == alike("A-1001") == "a1001"


@pytest.mark.parametrize("other", ["A-1002", "B-1001", "A-01001", "A_1001", "A/1001", "A-1001.0"])
def test_order_numbers_that_look_different_are_not(other: str) -> None:
    assert alike(other) != alike("A-1001")


@pytest.mark.parametrize("other", ["000123", "123", "123.0", "123.", "0123.00", "00-123", " 123"])
def test_a_number_is_alike_whatever_a_spreadsheet_made_of_it(other: str) -> None:
    assert alike_number(other) == "123"


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("A-007", "a007"),
        ("00A7", "a7"),
        ("0", "0"),
        ("000", "0"),
        ("0.0", "0"),
        ("100", "100"),
        ("1.5", "1.5"),
        ("123.01", "123.01"),
        ("", ""),
    ],
)
def test_zeros_that_count_stay(text: str, folded: str) -> None:
    assert alike_number(text) == folded


@given(
    st.lists(st.sampled_from("aB09zé"), min_size=1),
    st.lists(st.sampled_from(["", " ", "-", "\u2011", "\u200b", "\xa0", "\xad"]), min_size=30),
)
def test_whatever_is_between_its_characters_an_identity_is_alike(
    characters: list[str], between: list[str]
) -> None:
    plain = "".join(characters)
    other = "".join(a + b for a, b in zip(characters, between * len(characters), strict=False))
    assert alike(other) == alike(plain.upper()) == plain.casefold()
    assert alike_number(other) == alike_number(plain)
