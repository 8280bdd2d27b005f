"""Texts that could be a phone or card number are masked; a call's own order number stays."""

from __future__ import annotations

import pytest

from chat2pay_async._api.redaction import redact

PHONE = "27831234567"


@pytest.mark.parametrize(
    ("identity", "text", "shown"),
    [
        ("A-1001", "order A-1001 not found", "order A-1001 not found"),
        ("100200300", "order 100200300 not found", "order 100200300 not found"),
        ("100200300", "100200300", "100200300"),
        ("100200300", "order +100200300", "order +100200300"),
        ("100200300", f"order 100200300, to {PHONE}", "order 100200300, to ***"),
        ("100200300", f"{PHONE}: order 100200300", "***: order 100200300"),
        ("100200300", "order 100200300100200300", "order ***"),
        ("100200300", "order 100200301", "order ***"),
        ("A-27831234567", "A-27831234567 and 27831234567", "A-27831234567 and ***"),
        ("2023-11-22-0001", "order 2023-11-22-0001 twice", "order 2023-11-22-0001 twice"),
        ("a.c", "abc a.c", "abc a.c"),
        ("", f"to {PHONE}", "to ***"),
        ("", "order 123456", "order 123456"),
        ("", "order 1234567", "order ***"),
        ("", "card 4111.1111.1111.1111", "card ***"),
        ("", "card 4111  1111  1111  1111", "card ***"),
        ("", "call 083/123/4567 or +27 (83) 123-4567", "call *** or ***"),
        ("100200300", "order 100200300. 2 items", "order 100200300. 2 items"),
        ("100200300", "order 100200300 (2 items)", "order 100200300 (2 items)"),
        ("", "12345.67 exceeds 10000.00", "12345.67 exceeds 10000.00"),
        ("", "on 2026/11/25", "on 2026/11/25"),
    ],
)
def test_the_calls_own_order_number_stays(identity: str, text: str, shown: str) -> None:
    assert redact(text, identity) == shown


@pytest.mark.parametrize("identity", ["2", "27", "278312", "4567", "3123", "27831", "1234567"])
@pytest.mark.parametrize("number", [PHONE, f"+{PHONE}", "27 831 234 567", "27831-234567"])
def test_an_order_number_that_occurs_within_a_phone_number_uncovers_none_of_it(
    identity: str, number: str
) -> None:
    assert redact(f"order {identity}, to {number}!", identity) == f"order {identity}, to ***!"
