"""Phone numbers: one form for each, and nothing guessed.

An international number may be written as people write it, and is sent as digits:

    >>> phone_digits("+27 (83) 123-4567"), phone_digits("0027831234567")
    ('27831234567', '27831234567')
    >>> phone_problem(phone_digits("0831234567"))
    'begins with 0, as no country code does: write it with its country code, such as 27825550100'

A local number needs its country, and the extra `phone`, which knows the numbers of each:

    >>> international("083 123 4567", "ZA")
    '27831234567'
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from chat2pay_async._texts import stripped, with_plain_hyphens, without_marks
from chat2pay_async.errors import ConfigurationError

if TYPE_CHECKING:
    import phonenumbers

__all__ = ["check_country", "country_prefix", "international", "phone_digits", "phone_problem"]

_LENGTHS = range(7, 16)  # E.164 allows 15 digits
_LONGEST_TEXT = 60
_A_NUMBER = "write it with its country code, such as 27825550100"
_RULE = "must be 7 to 15 digits, country code first, such as 27825550100"
_LEADING_ZERO = f"begins with 0, as no country code does: {_A_NUMBER}"
_OTHER_DIGITS = "has digits other than 0 to 9: write it with those, such as 27825550100"
_TRUNK_ZERO = f"has a 0 in brackets, which is dialled only within the country: {_A_NUMBER}"
_EXTENSION = "has an extension or letters, which no message can reach: leave them out"
_FRACTION = f"is a number with decimals: {_A_NUMBER}"
_SEVERAL = "holds several numbers, or one with odd characters: write one, such as 27825550100"
_TWO_WAYS = "may be a local number or another country's: write + and the country code before it"
_FURTHER_ZERO = f"has a 0 after its country code, which is no part of it: {_A_NUMBER}"
_LENGTH = f"has too few or too many digits for its country: {_A_NUMBER}"
_NO_COUNTRY = f"begins with no country's code: {_A_NUMBER}"

# A number as it is written: a plus sign or 00, perhaps in brackets with the country code, then
# digits in groups. A slash or a comma is rather between two numbers.
_WRITTEN = re.compile(r"(?:tel:(?=\+))?\(?(\+|00)? ?\(?[0-9](?:[0-9 .()-]*[0-9)])?")
# A program's 27831234567.0, which is no group of one digit. RFC 5733 writes +27.831234567.
_DECIMALS = re.compile(r"[0-9]+\.[0-9]*|\+[0-9]+\.0*")
# South African numbers have nine digits after 27, of which the first is no 0 (ICASA, Numbering Plan
# Regulations): +27 083 123 4567 has one too many. The phone library takes shorter ones, too.
_SOUTH_AFRICAN = re.compile(r"27[1-9][0-9]{8}")
_WITH_TRUNK_ZERO = re.compile(r"270[1-9][0-9]{8}")
_ZERO_IN_BRACKETS = re.compile(r"\( ?0 ?\)")
_LETTER = re.compile(r"[^\W\d_]|[#*]")

# ITU-T E.164, list of assigned country codes: https://www.itu.int/pub/T-SP-E.164D. 1 and 7 are of
# several countries.
_CODES: Final = (
    *(1, 7, 20, 27, *range(30, 35), 36, 39, 40, 41, *range(43, 50), *range(51, 59)),
    *(*range(60, 67), 81, 82, 84, 86, *range(90, 96), 98, *range(211, 214), 216, 218),
    *(*range(220, 259), *range(260, 270), 290, 291, *range(297, 300), *range(350, 360)),
    *(*range(370, 384), 385, 386, 387, 389, 420, 421, 423, *range(500, 510), *range(590, 600)),
    *(670, *range(672, 684), *range(685, 693), 800, 808, 850, 852, 853, 855, 856, 870, 878),
    *(*range(880, 884), 886, 888, *range(960, 969), *range(970, 978), 979, *range(992, 997), 998),
)
_PREFIXES: Final = frozenset(map(str, _CODES))


@lru_cache(maxsize=16)  # the next one likewise: of a number as many as four times in a row
def country_prefix(digits: str) -> str | None:
    """Return the country code that international digits begin with; None if there is none."""
    for length in (2, 3, 1):  # no code is the beginning of another
        if digits[:length] in _PREFIXES:
            return digits[:length]
    return None


def phone_digits(value: str | int) -> Any:
    """Bring an international number to its digits; leave what is none of them as it is.

    Blanks, hyphens, dots, brackets and invisible characters between its digits are left out, and so
    are the plus sign or `00` before them.
    """
    if isinstance(value, str) and _is_international(value):
        return value
    digits = _digits(value)
    return digits if digits is not None and _is_international(digits) else value


def phone_problem(value: Any) -> str | None:
    """Demand a phone number in international digits."""
    if isinstance(value, str):
        return None if _is_international(value) else _problem_of(value)
    if isinstance(value, int) and not isinstance(value, bool):
        digits = _digits(value)
        return None if digits is not None and _is_international(digits) else _RULE
    if value is None:
        return _RULE
    return f"must be text or a whole number, not {type(value).__name__}: {_A_NUMBER}"


@lru_cache(maxsize=16)
def _is_international(digits: str) -> bool:
    return (
        len(digits) in _LENGTHS
        and digits.isascii()
        and digits.isdecimal()
        and country_prefix(digits) is not None
        and not _WITH_TRUNK_ZERO.fullmatch(digits)
    )


def _digits(value: object) -> str | None:
    """Return the digits after the plus sign or `00`; None if it is no number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 < value < 10 ** (_LENGTHS.stop - 1) else None
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        return None
    text = _plain(value)
    found = _WRITTEN.fullmatch(text)
    if found is None or _ZERO_IN_BRACKETS.search(text) or not _is_balanced(text):
        return None
    if _DECIMALS.fullmatch(text):
        return None
    digits = re.sub(r"[^0-9]", "", text)
    return digits.removeprefix("00") if found[1] == "00" else digits


def _plain(value: str) -> str:
    """Write a number with one kind of blanks, and without hyphens and invisible characters."""
    # A tab or a line break is not between two groups, but between two numbers.
    text = with_plain_hyphens(without_marks(stripped(str.__str__(value))))
    return re.sub(r"[^\S\x09-\x0d\x1c-\x1f\x85\u2028\u2029]", " ", text)


def _is_balanced(text: str) -> bool:
    """Tell whether each bracket that opens closes before the next one opens."""
    brackets = re.sub(r"[^()]", "", text)
    return brackets == "()" * (len(brackets) // 2)


def _problem_of(value: str) -> str:
    text = _plain(value)
    has_digits = re.search(r"[0-9]", text) is not None
    digits = _digits(value)
    problems = (
        (any(one.isdecimal() and not one.isascii() for one in text), _OTHER_DIGITS),
        (not has_digits, _RULE),
        (_ZERO_IN_BRACKETS.search(text), _TRUNK_ZERO),
        (_LETTER.search(text.removeprefix("tel:")), _EXTENSION),
        (_DECIMALS.fullmatch(text), _FRACTION),
        (digits is None, _SEVERAL),
        (digits is not None and digits.startswith("0"), _LEADING_ZERO),
        (digits is not None and len(digits) not in _LENGTHS, _RULE),
        (digits is not None and _WITH_TRUNK_ZERO.fullmatch(digits), _FURTHER_ZERO),
    )
    return next((problem for is_so, problem in problems if is_so), _NO_COUNTRY)


# With the extra `phone` --------------------------------------------------------------------------


def _library() -> Any:
    try:
        import phonenumbers  # noqa: PLC0415 - of an extra, and it takes a while
    except ImportError as error:
        raise ConfigurationError(
            "a country needs the extra phone: pip install 'chat2pay-async[phone]'"
        ) from error
    return phonenumbers


@lru_cache(maxsize=8)
def check_country(country: str) -> str:
    """Return a country's ISO 3166 code in capitals.

    Args:
        country: Two letters in any case, such as `ZA`.

    Raises:
        ConfigurationError: It is none, or the extra `phone` is not installed.
    """
    code = country.strip().upper()
    if code not in _library().SUPPORTED_REGIONS:
        raise ConfigurationError("a country is a two-letter ISO 3166 code, such as ZA")
    return code


def international(number: str | int, country: str | None) -> str:
    """Return the international digits of a number, checked against the numbering plans.

    A local number (`0831234567`) is read in its country. Digits that lost their 0 in a spreadsheet
    (`831234567`) are, too, unless they are also a number of another country.

    Args:
        number: A phone number, international or local.
        country: The ISO 3166 code of local numbers. None: every number is international.

    Raises:
        ValueError: It is neither, or both; the message says what to write, without the number.
        ConfigurationError: The extra `phone` is not installed, or there is no such country.
    """
    library = _library()
    region = None if country is None else check_country(country)
    text, digits = _plain(number) if isinstance(number, str) else "", _digits(number)
    if digits is None:
        if not _ZERO_IN_BRACKETS.search(text):
            raise ValueError(phone_problem(number))
        return _without_trunk_zero(library, text, region)
    if _WITH_TRUNK_ZERO.fullmatch(digits):
        raise ValueError(_FURTHER_ZERO)
    has_code = re.match(r"\(?(?:\+|00|tel:)", text) is not None
    local = None if has_code or region is None else _local(library, digits, region)
    problem = phone_problem(digits)
    found = None if problem else _parsed(library, f"+{digits}", None)
    abroad = None if found is None else _e164(library, found)
    if local is not None and local not in {digits, abroad}:
        if abroad == digits and library.is_valid_number(found):
            raise ValueError(_TWO_WAYS)
        return local
    if problem is not None:
        raise ValueError(problem if has_code or region is None else _not_of(region))
    if found is None or not library.is_possible_number(found) or _is_short(digits):
        raise ValueError(_LENGTH)
    if abroad != digits:
        raise ValueError(_FURTHER_ZERO)
    if not (has_code or region is None or library.is_valid_number(found)):
        raise ValueError(_not_of(region))  # its country would be a guess
    return digits


def _is_short(digits: str) -> bool:
    return digits.startswith("27") and not _SOUTH_AFRICAN.fullmatch(digits)


def _not_of(region: str) -> str:
    return f"is no phone number of {region}: check it, or {_A_NUMBER}"


def _local(library: Any, digits: str, region: str) -> str | None:
    """Return a local number's international digits; None if it is none of the country's."""
    found = _parsed(library, digits, region)
    # Not the region itself: Guernsey and Canada share the codes of others.
    code = library.country_code_for_region(region)
    is_its = found is not None and found.country_code == code and library.is_valid_number(found)
    number = _e164(library, found) if found is not None and is_its else None
    return None if number is None or _is_short(number) else number


def _without_trunk_zero(library: Any, text: str, region: str | None) -> str:
    found = _parsed(library, text, region)
    if found is None or not library.is_valid_number(found):
        raise ValueError(_TRUNK_ZERO)
    return _e164(library, found)


def _parsed(library: Any, text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        found: phonenumbers.PhoneNumber = library.parse(text, region)
    except library.NumberParseException:
        return None
    return found


def _e164(library: Any, found: phonenumbers.PhoneNumber) -> str:
    written: str = library.format_number(found, library.PhoneNumberFormat.E164)
    return written.removeprefix("+")
