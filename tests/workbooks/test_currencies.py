"""Currency symbols, and the currencies that they may stand for."""

from __future__ import annotations

import pytest

from chat2pay_async._workbooks.currencies import CODE, SYMBOLS, fits


@pytest.mark.parametrize("symbol", sorted(SYMBOLS))
def test_symbol_fits_its_currencies_and_no_other(symbol: str) -> None:
    assert SYMBOLS[symbol]
    for code in SYMBOLS[symbol]:
        assert CODE.fullmatch(code)
        assert fits(symbol, f" {code.lower()} ")
    assert not fits(symbol, "XTS")


@pytest.mark.parametrize("currency", [None, 5])
def test_everything_fits_what_is_no_currency(currency: object) -> None:
    assert fits("R", currency)


def test_no_symbol_fits_every_currency() -> None:
    assert fits("", "ZAR")
