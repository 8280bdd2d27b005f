"""Numbers of workbooks, and what their number formats show of them.

A cell holds a number and a format, and people read what the format shows: 123 as 000123, 0.5 as
50%, 199.905 as 199.91. A number is read only where both say the same. Format codes are those of
Excel (ECMA-376, part 1, 18.8.31); those of OpenDocument are translated to them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeAlias

import attrs

__all__ = [
    "A_DATE",
    "Format",
    "Number",
    "Odd",
    "combined",
    "contradictions",
    "format_of",
    "number_of",
    "refused",
]

Number: TypeAlias = int | Decimal

A_DATE: Final = timedelta()
"""Any date or time of a workbook: no column takes one, since it has no UTC offset."""

# Excel keeps 15 significant digits: https://learn.microsoft.com/office/troubleshoot/excel/last-digits-changed-to-zeros
_DIGITS = 15
_AS_TEXT = "format the column as text and write the value as it should be"
_AS_AMOUNT = "write the amount as a plain number in the format 0.00, or as text"


@attrs.frozen
class Odd:
    """A cell of a workbook that not every column can take as it is."""

    value: Number = attrs.field(default=0, repr=False)  # it could be a phone number
    """The number that it holds."""
    text_problem: str = ""
    """The reason why its digits are not what is shown; empty if they are."""
    amount_problem: str = ""
    """The reason why the number is not what is shown; empty if it is."""
    symbol: str = ""
    """The currency in its format: a code, or a symbol and perhaps a locale (`$-409`, `R-en-ZA`)."""


def refused(problem: str) -> Odd:
    """Return a cell that no column takes."""
    return Odd(0, problem, problem)


def number_of(value: float) -> Number | Odd:
    """Return the number that Excel shows for a stored one: its first 15 digits."""
    if not abs(value) < 10**_DIGITS:  # NaN is not, either
        return refused("has more digits than the 15 that a workbook keeps: write it as text")
    if value.is_integer():
        return int(value)
    shown = Decimal(f"{value:.{_DIGITS}g}")
    return int(shown) if shown == int(shown) else shown


_UNKNOWN = refused("is a number that can't be read: write it again")


def combined(readings: Sequence[Any]) -> Any:
    """Return a cell as it is where it may be shown in any of several formats.

    Args:
        readings: The cell, read by its own format and by those of conditions.
    """
    first = readings[0]
    if all(one == first for one in readings):
        return first
    odd = [one if isinstance(one, Odd) else Odd(one) for one in readings]
    symbols = {one.symbol for one in odd}
    if len(symbols) > 1 or not all(isinstance(one.value, (int, Decimal)) for one in odd):
        return refused("may be shown otherwise by a conditional format: delete its rule")
    return Odd(
        odd[0].value,
        next((one.text_problem for one in odd if one.text_problem), ""),
        next((one.amount_problem for one in odd if one.amount_problem), ""),
        odd[0].symbol,
    )


# Currencies --------------------------------------------------------------------------------------

_DOLLARS = frozenset(
    {
        *("ARS", "AUD", "BBD", "BMD", "BND", "BSD", "BZD", "CAD", "CLP", "COP", "CUP", "DOP"),
        *("FJD", "GYD", "HKD", "JMD", "KYD", "LRD", "MXN", "NAD", "NZD", "SBD", "SGD", "SRD"),
        *("TTD", "TWD", "USD", "UYU", "XCD", "ZWL"),
    }
)
_POUNDS = frozenset({"EGP", "FKP", "GBP", "GIP", "LBP", "SDG", "SHP", "SSP", "SYP"})
_RUPEES = frozenset({"INR", "LKR", "MUR", "NPR", "PKR", "SCR"})
_SYMBOLS: Mapping[str, frozenset[str]] = {
    "$": _DOLLARS,
    "£": _POUNDS,
    "¥": frozenset({"CNY", "JPY"}),
    "kr": frozenset({"DKK", "ISK", "NOK", "SEK"}),
    "Rs": _RUPEES,
    "₨": _RUPEES,
    **{
        symbol: frozenset({code})
        for symbol, code in (
            *(("R", "ZAR"), ("€", "EUR"), ("₦", "NGN"), ("KSh", "KES"), ("Ksh", "KES")),
            *(("P", "BWP"), ("N$", "NAD"), ("GH₵", "GHS"), ("₵", "GHS"), ("TSh", "TZS")),
            *(("USh", "UGX"), ("FRw", "RWF"), ("MTn", "MZN"), ("ZK", "ZMW"), ("Br", "ETB")),
            *(("US$", "USD"), ("A$", "AUD"), ("C$", "CAD"), ("NZ$", "NZD"), ("S$", "SGD")),
            *(("HK$", "HKD"), ("NT$", "TWD"), ("R$", "BRL"), ("Z$", "ZWL"), ("Fr.", "CHF")),
            *(("₹", "INR"), ("₽", "RUB"), ("₩", "KRW"), ("₪", "ILS"), ("₫", "VND")),
            *(("₱", "PHP"), ("₺", "TRY"), ("₴", "UAH"), ("฿", "THB"), ("zł", "PLN")),
            *(("Kč", "CZK"), ("Ft", "HUF"), ("lei", "RON"), ("RM", "MYR"), ("Rp", "IDR")),
            *(("SFr.", "CHF"), ("元", "CNY"), ("円", "JPY"), ("￥", "JPY")),
        )
    },
}
_KNOWN = frozenset[str]().union(*_SYMBOLS.values())
# The locales that tell apart who shares a symbol: Windows language identifiers, and regions.
_LOCALES: Mapping[str, str] = {
    "409": "USD",
    "540A": "USD",
    "C09": "AUD",
    "1009": "CAD",
    "C0C": "CAD",
    "1409": "NZD",
    "4809": "SGD",
    "C04": "HKD",
    "80A": "MXN",
    "2C0A": "ARS",
    "340A": "CLP",
    "240A": "COP",
    "809": "GBP",
    "452": "GBP",
    "C01": "EGP",
    "411": "JPY",
    "804": "CNY",
    "404": "TWD",
    "406": "DKK",
    "40F": "ISK",
    "414": "NOK",
    "814": "NOK",
    "41D": "SEK",
    "US": "USD",
    "AU": "AUD",
    "CA": "CAD",
    "NZ": "NZD",
    "SG": "SGD",
    "HK": "HKD",
    "MX": "MXN",
    "NA": "NAD",
    "GB": "GBP",
    "EG": "EGP",
    "JP": "JPY",
    "CN": "CNY",
    "TW": "TWD",
    "DK": "DKK",
    "IS": "ISK",
    "NO": "NOK",
    "SE": "SEK",
    "IN": "INR",
    "MU": "MUR",
}
_CODE = re.compile(r"[A-Z]{3}")


def contradictions(fields: Mapping[Any, Any], currency: Any = None) -> dict[str, str]:
    """Find the amounts whose format shows another currency than their row.

    Args:
        fields: The fields of a row, before they are converted; nested ones as mappings.
        currency: The currency of the row. Default: that in the fields.
    """
    if currency is None:
        currency = fields.get("currency")
    found: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            inner = contradictions(value, currency)
            found |= {f"{name}.{path}": problem for path, problem in inner.items()}
        elif isinstance(value, Odd) and not _fits(value.symbol, currency):
            found[str(name)] = _OTHER_CURRENCY
    return found


_OTHER_CURRENCY = (
    "is shown in another currency than the one in the column currency: correct one of them"
)


def _fits(shown: str, currency: Any) -> bool:
    if not shown or not isinstance(currency, str):
        return True
    code = currency.strip().upper()
    symbol, _, locale = shown.partition("-")
    if _CODE.fullmatch(symbol):
        return symbol == code
    possible = _SYMBOLS.get(symbol)
    if possible is None:
        return code not in _KNOWN  # of those, the symbols are known
    local = _LOCALES.get(locale.rpartition("-")[2].upper().lstrip("0"))
    return code == local if local in possible else code in possible


# Format codes ------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|_(?P<space>.)|\*(?P<fill>.)|\[(?P<bracket>[^\]]*)\]'
    r"|(?P<general>General|Standard)|(?P<exponent>E[+-])|(?P<date>AM/PM|A/P|[ymdhsbge]+)"
    r"|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[0-9]+(?:\.[0-9]+)?)")
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)
_HOLDS: Mapping[str, Callable[[Number, Decimal], bool]] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "=": lambda value, bound: value == bound,
    "<>": lambda value, bound: value != bound,
}


@attrs.define
class _Section:
    """A section of a format code, taken apart."""

    pattern: str = ""
    """The placeholders `0 # ?` with their points and commas; literals as `x`, blank ones as they
    are."""
    literals: str = ""
    symbol: str = ""
    manner: str = ""
    """The way in which it shows numbers, if that is not by their digits."""
    condition: tuple[str, Decimal] | None = None
    date: bool = False
    general: bool = False
    text: bool = False

    def add_literal(self, literal: str) -> None:
        self.literals += literal
        self.pattern += "x" if literal.strip() else " " * bool(literal)

    def add_symbol(self, symbol: str) -> None:
        self.symbol = self.symbol or symbol
        self.pattern += "x"


def _section(code: str) -> _Section:
    found = _Section()
    for token in _TOKEN.finditer(code):
        kind = token.lastgroup or ""
        text = token[kind]
        match kind:
            case "quoted" | "escaped":
                _add_words(found, text)
            case "space":
                found.add_literal(" ")
            case "fill":
                found.add_literal(text if text.isdigit() else "")
            case "bracket":
                _add_bracket(found, text)
            case "general":
                found.general = True
            case "date":
                found.date = True
            case "exponent":
                found.manner = "in scientific notation"
            case _:
                _add_sign(found, text)
    return found


def _add_words(found: _Section, text: str) -> None:
    word = text.strip().strip("\u00a0\u202f")
    if word in _SYMBOLS or _CODE.fullmatch(word):
        found.add_symbol(word)
    else:
        found.add_literal(text)


def _add_bracket(found: _Section, text: str) -> None:
    if text.startswith("$"):
        symbol, _, locale = text[1:].partition("-")
        if symbol.strip():
            found.add_symbol(f"{symbol.strip()}-{locale}".removesuffix("-"))
    elif condition := _CONDITION.fullmatch(text):
        found.condition = (condition[1], Decimal(condition[2]))
    elif _ELAPSED.fullmatch(text):
        found.date = True
    elif text.upper().startswith("DBNUM"):
        found.manner = _CHARACTERS


def _add_sign(found: _Section, text: str) -> None:
    if text in "0#?.,":
        found.pattern += text
    elif text == "%":
        found.manner = "as a percentage"
    elif text == "/" and found.pattern:
        found.manner = found.manner or "as a fraction"
    elif text == "@":
        found.text = True
    elif unicodedata.category(text) == "Sc":
        found.add_symbol(text)
    else:
        found.add_literal(text)


_PATTERN = re.compile(r"x*([0#?][0#?,]*|)(\.[0#?]*)?(,*)x*")
_CHARACTERS = "with other characters"
_HARMLESS = frozenset(" \u00a0\u202f+-\u2212\u2013()'")
"""Literals that leave an amount what it is."""
_MINUS = frozenset("-(\u2212\u2013")


@attrs.frozen
class _Shape:
    """The way in which a section of a format shows numbers."""

    text: str = ""
    """The way in which it shows any whole number, if that is not by its digits."""
    amount: str = ""
    """The way in which it shows any amount, if that is another one."""
    symbol: str = ""
    condition: tuple[str, Decimal] | None = None
    date: bool = False
    zeros: int = 1
    """The number of digits that it shows at least."""
    decimals: int | None = None
    """The number of decimals that it shows at most; None for as many as there are."""
    minus: bool = False
    """True if it shows a sign of its own."""

    def text_manner(self, value: Number) -> str:
        """Say in which other way than by its digits a whole number is shown."""
        if self.text or self.decimals is None:
            return self.text
        if self.zeros > len(str(abs(int(value)))):
            return "with leading zeros"
        return "" if value == int(value) and (value or self.zeros) else "rounded"

    def amount_manner(self, value: Number) -> str:
        """Say in which way another amount is shown than the number itself."""
        if self.amount:
            return self.amount
        if self.minus and value >= 0:
            return "as a negative number"
        if self.decimals is None:
            return ""
        exponent = Decimal(value).normalize().as_tuple().exponent
        return "rounded" if -int(exponent) > self.decimals else ""


_UNSHOWN = _Shape("not at all", "not at all")


def _shape(section: _Section) -> _Shape:
    literals, digits = section.literals, section.general or section.text
    pattern = section.pattern.strip()  # blanks around a value make no difference
    found = _PATTERN.fullmatch(pattern.replace(" ", ""))
    nothing = not pattern.strip("x ")
    whole, point, scaled = ("", "", "") if found is None else found.groups(default="")
    grouped = whole.rstrip(",")
    scaled = scaled or whole[len(grouped) :]
    text = section.manner or _first(
        (digits and bool(literals.strip() or section.symbol), _CHARACTERS),
        (digits, ""),
        (nothing, "not at all"),
        (bool(scaled), "in thousands"),
        (not {"x", " "}.isdisjoint(pattern) or found is None, _CHARACTERS),
        ("," in grouped, "with separators"),
        (bool(point), "with decimals"),
    )
    amount = section.manner or _first(
        (any(one.isdigit() for one in literals), "with digits that it does not have"),
        (not _HARMLESS.issuperset(literals), "with words or signs"),
        (digits, ""),
        (nothing, "not at all"),
        (bool(scaled), "in thousands"),
        (found is None, "in another form"),
    )
    return _Shape(
        text,
        amount,
        section.symbol,
        section.condition,
        section.date,
        zeros=whole.count("0"),
        decimals=None if digits else max(len(point) - 1, 0),
        minus=not _MINUS.isdisjoint(literals),
    )


def _first(*reasons: tuple[bool, str]) -> str:
    return next((reason for holds, reason in reasons if holds), "")


@attrs.frozen
class Format:
    """A number format: up to three sections for numbers, and one for text."""

    shapes: tuple[_Shape, ...]
    text_problem: str = ""
    """The reason why a text is not shown as it is; empty if it is."""
    plain: bool = False
    """True for General and for text: every number is shown by its digits."""

    def read_text(self, text: str) -> Any:
        """Return a text as it is shown, None for a blank one, or an `Odd`."""
        if not text or text.isspace():
            return None
        return refused(f"is a text that {self.text_problem}") if self.text_problem else text

    def read_stored(self, stored: str | float) -> Any:
        """Return a number by its stored form, as `read` does."""
        try:
            number = _UNKNOWN if "_" in str(stored) else number_of(float(stored))
        except ValueError:
            number = _UNKNOWN
        return number if isinstance(number, Odd) else self.read(number)

    def read(self, value: Number) -> Any:
        """Return a number, or an `Odd` where the format shows something else."""
        if self.plain:
            return value
        shape = self._shape_for(value)
        if shape.date:
            return A_DATE
        text = shape.text_manner(value)
        if value < 0 and shape is not self.shapes[0]:
            text = text or _CHARACTERS
        if not text:
            return value  # then the amount is shown as it is, too
        amount = shape.amount_manner(value)
        return Odd(
            value,
            f"is a number that is shown {text}: {_AS_TEXT}",
            f"is a number that is shown {amount}: {_AS_AMOUNT}" if amount else "",
            shape.symbol,
        )

    def _shape_for(self, value: Number) -> _Shape:
        shapes = self.shapes
        if any(one.condition for one in shapes):
            for one in shapes:
                if one.condition is None or _HOLDS[one.condition[0]](value, one.condition[1]):
                    return one
            return _UNSHOWN  # Excel shows ###
        if value < 0:
            return shapes[:2][-1]
        return shapes[0] if value or len(shapes) < _WITH_ZERO else shapes[-1]


_WITH_ZERO = 3
"""The number of sections of a format that has one for zero."""


@lru_cache(maxsize=4096)
def format_of(code: str) -> Format:
    """Return the format of a code such as `#,##0.00;[Red]-#,##0.00`."""
    sections = [_section(one) for one in _split(code)]
    texts = sections[3:4] or [one for one in sections if one.text][-1:]
    shown = not sections[3:4] or sections[3].text
    problem = f"is shown {_CHARACTERS if shown else 'not at all'}: {_AS_TEXT}"
    odd = not shown or any(one.literals.strip() or one.symbol for one in texts)
    shapes = tuple(map(_shape, sections[:3]))
    plain = len(sections) == 1 and (sections[0].general or sections[0].text)
    return Format(shapes, problem if odd else "", plain and not shapes[0].text)


def _split(code: str) -> list[str]:
    """Split a code at the semicolons that are no literals."""
    sections = [""]
    for token in _TOKEN.finditer(code or "General"):
        if token[0] == ";":
            sections.append("")
        else:
            sections[-1] += token[0]
    return sections
