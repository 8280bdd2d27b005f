"""Currency symbols of number formats, and the currencies that they may stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["CODE", "SYMBOLS", "fits"]

_DOLLARS = frozenset(
    {
        *("ARS", "AUD", "BBD", "BMD", "BND", "BSD", "BZD", "CAD", "CLP", "COP", "CUP", "DOP"),
        *("FJD", "GYD", "HKD", "JMD", "KYD", "LRD", "MXN", "NAD", "NZD", "SBD", "SGD", "SRD"),
        *("TTD", "TWD", "USD", "UYU", "XCD", "ZWL"),
    }
)
_POUNDS = frozenset({"EGP", "FKP", "GBP", "GIP", "LBP", "SDG", "SHP", "SSP", "SYP"})
_RUPEES = frozenset({"INR", "LKR", "MUR", "NPR", "PKR", "SCR"})
SYMBOLS: Mapping[str, frozenset[str]] = {
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
_KNOWN = frozenset[str]().union(*SYMBOLS.values())
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
CODE = re.compile(r"[A-Z]{3}")


def fits(shown: str, currency: object) -> bool:
    """Tell whether a symbol may be that of a currency.

    Args:
        shown: A code, or a symbol and perhaps a locale (`$-409`, `R-en-ZA`); empty if
            there is none.
        currency: An ISO 4217 code in any case. Everything fits what is none.
    """
    if not shown or not isinstance(currency, str):
        return True
    code = currency.strip().upper()
    symbol, _, locale = shown.partition("-")
    if CODE.fullmatch(symbol):
        return symbol == code
    possible = SYMBOLS.get(symbol)
    if possible is None:
        return code not in _KNOWN  # of those, the symbols are known
    local = _LOCALES.get(locale.rpartition("-")[2].upper().lstrip("0"))
    return code == local if local in possible else code in possible
