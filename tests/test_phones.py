"""Phone numbers: what is international is sent as digits, and nothing else is guessed."""

from __future__ import annotations

import re
import sys
from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._phones import (
    check_country,
    country_prefix,
    international,
    phone_digits,
    phone_problem,
)
from chat2pay_async.errors import ConfigurationError

DIGITS = "27831234567"


@pytest.mark.parametrize(
    "written",
    [
        "27831234567",
        "+27831234567",
        "0027831234567",
        "+27 83 123 4567",
        "+27 (83) 123-4567",
        "(+27) 83 123 4567",
        "+(27) 83 123 4567",
        "00 27 83 123 4567",
        "+ 27.83.123.4567",
        "+27.831234567",
        "tel:+27-83-123-4567",
        "27 83 123 4567",
        " 27831234567\n",
        "+27\xa083\u202f123\u20074567",
        "\u202a+27831234567\u202c",
        "\u2066+27\u200b831234567\u2069\ufeff",
        "+27\u201083\u2011123\u20134567",
        "27831234567\xad",
        27831234567,
    ],
)
def test_an_international_number_is_brought_to_its_digits(written: Any) -> None:
    assert phone_digits(written) == DIGITS
    assert phone_problem(DIGITS) is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("0831234567", "begins with 0, as no country code does"),
        ("083 123 4567", "begins with 0, as no country code does"),
        ("(083) 123 4567", "begins with 0, as no country code does"),
        ("+0831234567", "begins with 0, as no country code does"),
        ("00831234567", "begins with no country's code"),
        ("000831234567", "begins with 0, as no country code does"),
        ("0000000000", "begins with 0, as no country code does"),
        ("831234567", "begins with no country's code"),
        ("+9991234567", "begins with no country's code"),
        ("+27 (0)83 123 4567", "has a 0 in brackets"),
        ("+27 083 123 4567", "has a 0 after its country code"),
        ("270831234567", "has a 0 after its country code"),
        ("(0)831234567", "has a 0 in brackets"),
        ("27831234567.0", "is a number with decimals"),
        ("+27831234567.0", "is a number with decimals"),
        ("2783.1234567", "is a number with decimals"),
        ("27831234567.", "is a number with decimals"),
        ("2.7831234567E+10", "has an extension or letters"),
        ("27831234567 x12", "has an extension or letters"),
        ("27831234567 ext. 12", "has an extension or letters"),
        ("tel:+27831234567;ext=12", "has an extension or letters"),
        ("27831234567#12", "has an extension or letters"),
        ("\u0662\u0667\u0668\u0663\u0661\u0662\u0663", "has digits other than 0 to 9"),
        ("\uff12\uff17831234567", "has digits other than 0 to 9"),
        ("27831234567/27837654321", "holds several numbers"),
        ("27831234567, 27837654321", "holds several numbers"),
        ("27831234567;27837654321", "holds several numbers"),
        ("5551234\n5551235", "holds several numbers"),
        ("5551234\t5551235", "holds several numbers"),
        ("+27831234567 +27837654321", "holds several numbers"),
        ("-27831234567", "holds several numbers"),
        ("++27831234567", "holds several numbers"),
        ("(27831234567", "holds several numbers"),
        ("((27) 83) 1234567", "holds several numbers"),
        ("27831234567 27837654321", "must be 7 to 15 digits"),
        ("123456", "must be 7 to 15 digits"),
        ("", "must be 7 to 15 digits"),
        ("call me", "must be 7 to 15 digits"),
        ("tel:", "must be 7 to 15 digits"),
        ("1 " * 40, "holds several numbers"),
        (None, "must be 7 to 15 digits"),
        (0, "must be 7 to 15 digits"),
        (-27831234567, "must be 7 to 15 digits"),
        (831234567, "must be 7 to 15 digits"),
        (10**5000, "must be 7 to 15 digits"),
        (True, "must be text or a whole number, not bool"),
        (27831234567.0, "must be text or a whole number, not float"),
        (b"27831234567", "must be text or a whole number, not bytes"),
    ],
    ids=lambda value: repr(value)[:32] if not isinstance(value, int) else "",
)
def test_whatever_else_is_refused_with_what_to_write(written: Any, problem: str) -> None:
    assert phone_digits(written) is written
    assert str(phone_problem(written)).startswith(problem)
    assert "7831234" not in str(phone_problem(written))


@given(st.one_of(st.text("0123456789+-. ()\xa0\u200b", max_size=20), st.integers(), st.text()))
def test_a_number_has_one_form_and_what_has_none_has_a_problem(written: Any) -> None:
    digits = phone_digits(written)
    if phone_problem(digits) is None:
        assert digits.isascii()
        assert digits.isdecimal()
        assert 7 <= len(digits) <= 15
        assert digits[0] != "0"
        assert phone_digits(digits) == phone_digits(f"+{digits}") == digits
    else:
        assert digits is written


# Countries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digits", "prefix"),
    [("27831234567", "27"), ("12125551234", "1"), ("26771234567", "267"), ("77011234567", "7")],
)
def test_a_number_begins_with_the_code_of_its_country(digits: str, prefix: str) -> None:
    assert country_prefix(digits) == prefix


@pytest.mark.parametrize("digits", ["", "0", "2", "21", "831234567", "999"])
def test_no_country_has_such_a_code(digits: str) -> None:
    assert country_prefix(digits) is None


def test_the_country_codes_are_those_of_the_numbering_plans() -> None:
    known = {str(code) for code in range(1, 1000) if country_prefix(str(code)) == str(code)}
    # The library counts the Vatican among Italy's numbers; its own code 379 is not used yet.
    assert known == {str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE} | {"379"}
    assert not any(a != b and b.startswith(a) for a in known for b in known)


# With a country ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("0831234567", "ZA"),
        ("083 123-4567", "za"),
        ("(0)83 123 4567", "ZA"),
        ("831234567", "ZA"),
        (831234567, "ZA"),
        ("+27 83 123 4567", "ZA"),
        ("27831234567", "ZA"),
        (27831234567, "US"),
        ("0027831234567", "US"),
        ("+27 (0)83 123 4567", None),
        ("+27831234567", None),
    ],
)
def test_a_number_is_read_in_its_country(number: Any, country: str | None) -> None:
    assert international(number, country) == DIGITS


def test_a_number_of_a_country_that_shares_its_code_is_read() -> None:
    assert international("7911 123456", "GB") == "447911123456"
    assert international("(212) 555-1234", "CA") == "12125551234"
    assert international("+39 (0)6 1234 5678", "ZA") == "390612345678"


@pytest.mark.parametrize(
    ("number", "country", "problem"),
    [
        ("0831234567", None, "begins with 0"),
        ("831234567", None, "begins with no country's code"),
        ("0831234567", "US", "is no phone number of US"),
        ("123", "ZA", "is no phone number of ZA"),
        ("+0831234567", "ZA", "begins with 0"),
        ("+831234567", "ZA", "begins with no country's code"),
        ("+2783123456789", "ZA", "has too few or too many digits for its country"),
        ("+3791234567", None, "has too few or too many digits for its country"),
        ("1212555123", None, "has too few or too many digits for its country"),
        ("270831234567", "ZA", "has a 0 after its country code"),
        ("+270831234567", "ZA", "has a 0 after its country code"),
        ("+44 07911 123456", "ZA", "has a 0 after its country code"),
        ("0831234567 x12", "ZA", "has an extension or letters"),
        ("+27 (0)0 000", "ZA", "has a 0 in brackets"),
        # The library takes South African numbers with a digit too few.
        ("083 123 456", "ZA", "is no phone number of ZA"),
        ("+27 83 123 456", "ZA", "has too few or too many digits for its country"),
        # Egypt has such numbers, and an American would write one so.
        ("202 555 0143", "ZA", "is no phone number of ZA"),
        ("+999 (0)831234567", "ZA", "has a 0 in brackets"),
        ("", "ZA", "must be 7 to 15 digits"),
        (10**5000, "ZA", "must be 7 to 15 digits"),
    ],
    ids=lambda value: repr(value)[:32] if not isinstance(value, int) else "",
)
def test_a_number_of_no_plan_is_refused(number: Any, country: str | None, problem: str) -> None:
    with pytest.raises(ValueError, match="^" + problem) as caught:
        international(number, country)
    assert not re.search("[0-9]{5}", str(caught.value).replace("27825550100", ""))


def test_a_number_that_lost_its_zero_and_is_also_anothers_is_refused() -> None:
    both = "431222078"
    for text, country in ((both, "ZA"), (f"+{both}", None)):
        assert phonenumbers.is_valid_number(phonenumbers.parse(text, country))
    with pytest.raises(ValueError, match="may be a local number or another country's"):
        international(both, "ZA")
    assert international(f"+{both}", "ZA") == both
    assert international(f"0{both}", "ZA") == f"27{both}"


def test_a_zero_that_no_country_wants_makes_no_second_reading() -> None:
    assert international("430120000", "ZA") == "27430120000"


@pytest.mark.parametrize("country", ["", "Z", "ZAF", "27", "XX", "South Africa"])
def test_a_country_has_two_letters(country: str) -> None:
    with pytest.raises(ConfigurationError, match="two-letter ISO 3166 code, such as ZA"):
        international("0831234567", country)


def test_a_country_is_read_in_any_case() -> None:
    assert check_country(" za ") == "ZA"


def test_without_its_extra_a_country_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'chat2pay-async\[phone\]'"):
        international("0831234567", "ZA")
    assert phone_digits("+27 83 123 4567") == DIGITS
