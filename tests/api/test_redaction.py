"""Texts that could be a phone or card number are masked; a call's own order number stays."""

from __future__ import annotations

from typing import Any

import pytest

from chat2pay_async._api.redaction import redact, shortened, stated_in, stated_in_text

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


# What a refusal states ---------------------------------------------------------------------------


def nested(name: str, levels: int) -> dict[str, Any]:
    """Put a message into envelopes."""
    data: dict[str, Any] = {"message": "deep"}
    for _ in range(levels):
        data = {name: data}
    return data


@pytest.mark.parametrize(
    ("data", "message", "reasons"),
    [
        ({"message": "no", "errors": ["a", "b"]}, "no", ["a", "b"]),
        ({"errors": {"to": "is blocked", "amount": ["is 0", "is odd"]}}, None, [
            "to: is blocked", "amount: is 0", "amount: is odd"]),
        ({"errors": [{"message": "a"}, {"field": "to", "defaultMessage": "b", "code": "X"}]},
            None, ["a", "to: b"]),
        ({"title": "Bad", "detail": "amount is 0", "type": "about:blank"}, "amount is 0", []),
        ({"detail": [{"loc": ["body", "to", 0], "msg": "required", "type": "x"}, {"msg": "odd"}]},
            "body.to.0: required", ["odd"]),
        ({"error": "invalid_client", "error_description": "key is off"}, "key is off", []),
        ({"error": {"code": 400, "message": "no", "status": "X"}}, "no", []),
        ({"fault": {"faultstring": "quota", "detail": {"errorcode": "q"}}}, "quota", []),
        ({"title": "Teapot", "status": 400}, "Teapot", []),
        ({"Message": "no", "ModelState": {"a": "b"}}, "no", []),
        ({"Title": "One or more", "Errors": {"To": ["is required"]}}, "One or more", [
            "To: is required"]),
        ({"invalid-params": [{"name": "to", "reason": "odd"}]}, None, ["to: odd"]),
        ({"errors": [{"title": "t", "detail": "d", "source": {"pointer": "/a"}}]}, None, ["/a: d"]),
        ({"violations": [{"propertyPath": "to", "message": "m"}]}, None, ["to: m"]),
        ({"errors": [{"field": 7, "source": {"x": None}, "message": "m"}]}, None, ["m"]),
        ({"data": {"message": "no", "code": 7}}, "no", []),
        ({"data": {"errors": {"to": ["is blocked"]}}}, "to: is blocked", []),
        ({"title": "Bad", "data": [{"message": "a"}, {"msg": "b"}, 7]}, "Bad", ["a", "b"]),
        ({"errors": ["a"], "result": {"message": "b", "errors": ["c"]}}, "b", ["a", "c"]),
        ({"Response": {"Status": {"status_message": "no"}}}, "no", []),
        ({"errorMessages": ["a", "b"], "error_details": [{"reason": "c"}]}, None, ["a", "b", "c"]),
        ({"data": {"to": "Thandi", "order": {"message": "kept"}}}, None, []),
        (nested("data", 6), "deep", []),
        (nested("data", 7), None, []),
        ({"data": [{"message": "x"}] * 50}, "x", ["x"] * 19),
        ({"message": "  two\r\n lines \x1b[31m "}, "two lines [31m", []),
        ({"errors": [[["deep"]]]}, None, ["deep"]),
        ({"errors": [[[[[[["too deep"]]]]]]]}, None, []),
        ({"message": " ", "errors": [None, 7, "", {"a": 1}, []]}, None, []),
        ({"errors": ["x"] * 50}, None, ["x"] * 20),
        ({}, None, []),
        (["in a list", {"message": "b"}], "in a list", ["b"]),
        ("text", "text", []),
        (7, None, []),
        (None, None, []),
    ],
)  # fmt: skip
def test_a_refusal_states_its_message_and_its_reasons(
    data: Any, message: str | None, reasons: list[str]
) -> None:
    assert stated_in(data) == (message, reasons)


XML = b'<?xml version="1.0"?><e:Error><code>7</code><%s a="b">no\n &amp; never</%s></e:Error>'


@pytest.mark.parametrize(
    ("body", "media_type", "message"),
    [
        (b" blocked\r\nby policy ", "text/plain", "blocked by policy"),
        (b" ", "text/plain", None),
        (b"\xff\x00", "text/plain", "\ufffd"),
        (XML % (b"Message", b"Message"), "application/xml", "no & never"),
        (XML % (b"soap:faultstring", b"soap:faultstring"), "text/xml", "no & never"),
        (XML % (b"detail", b"detail"), "application/problem+xml", "no & never"),
        (XML % (b"other", b"other"), "application/xml", None),
        (XML % (b"title", b"title"), "application/xhtml+xml", None),
        (b"<html><title>403</title></html>", "text/html", None),
        (b"blocked", "no content type", None),
    ],
)
def test_a_refusal_that_is_no_json_states_its_text(
    body: bytes, media_type: str, message: str | None
) -> None:
    assert stated_in_text(body, media_type) == message


def test_a_long_text_is_cut() -> None:
    assert shortened("x" * 300) == "x" * 300
    assert shortened("x" * 301) == "x" * 300 + "…"
    stated = stated_in({"message": "x" * 100_000})[0]
    assert stated is not None
    assert len(stated) < 10_000
