"""Bodies become a JSON object, whatever its values are, or None; never an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._api.codec import structure, wire_name
from chat2pay_async._api.json import decode_object, decode_response
from chat2pay_async.models import (
    Cancellation,
    Configuration,
    GatewayResult,
    PaymentLink,
    Receipt,
    Transaction,
)

Decode = Callable[[bytes], dict[str, Any] | None]


NO_OBJECTS = [
    b"", b" ", b"null", b"true", b"1", b'"text"', b"[]", b"[{}]", b"{", b'{"a":', b'{"a" 1}',
    b"{'a': 1}", b'{"a": nan}', b'{"a": 1} {"b": 2}', b"<html>502</html>", b"\xff",
    b'{"\xc3\x28": 1}', b'{"a\tb": NaN}', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf",
    b'{"a":' + b"[" * 100_000, b'{"a":' * 100_000,
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a": [{"\\ud83d": 1}]}', b"\x1f\x8b\x08\x00", b"NaN", b"[NaN]",
]  # fmt: skip
ODD_VALUES = [
    (b"NaN", ["NaN"]),
    (b"-Infinity", ["-Infinity"]),
    (b'"Caf\xc3"', ["Caf\ufffd"]),
    (b'"Caf\xe9 1"', ["Caf\ufffd 1"]),
    (b'"Caf\\ud83d"', ["Caf\ufffd"]),
    (b'["a", "\\ud83d\\ude00 \\ude00"]', ["a", ["\U0001f600 \ufffd"]]),
    (b'{"b": [{"c": NaN}]}', {"b": [{"c": ["NaN"]}]}),
    (b'"a\tb"', "a\tb"),
    (b"9" * 5000, ["9" * 5000]),
]


@pytest.mark.parametrize("decode", [decode_object, decode_response])
@pytest.mark.parametrize("body", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_a_body_that_is_no_json_object_is_none_and_never_an_error(
    body: bytes, decode: Decode
) -> None:
    assert decode(body) is None


@pytest.mark.parametrize(("odd", "read"), ODD_VALUES, ids=range(len(ODD_VALUES)))
def test_an_odd_value_costs_a_response_nothing_but_itself(odd: bytes, read: object) -> None:
    """A 2xx with its proof must not become an unknown outcome over a merchant's name."""
    body = b'{"paymentLinkRef": "p1", "amount": 1e2, "odd": %s, "count": 3}' % odd
    assert decode_response(body) == {
        "paymentLinkRef": "p1",
        "amount": Decimal(100),
        "odd": read,
        "count": 3,
    }
    assert decode_object(body) is None, "nothing is sent again on the word of such a body"


ATTRIBUTES = [
    (kind, wire_name(field.name), field.name)
    for kind in (PaymentLink, Cancellation, GatewayResult, Receipt, Transaction, Configuration)
    for field in attrs.fields(kind)
    if field.name not in {"extra", "recovered", "additional_data"}
]


@pytest.mark.parametrize(("kind", "name", "attribute"), ATTRIBUTES)
@pytest.mark.parametrize("odd", [b"NaN", b'"\xff"', b'"PAYMENT_LINK_SENT\\ud83d"', b"9" * 5000])
def test_no_attribute_takes_an_odd_value(
    kind: type[Any], name: str, attribute: str, odd: bytes
) -> None:
    data = decode_response(b'{"%s": %s}' % (name.encode(), odd))
    assert data is not None
    read = structure(kind, data)
    assert getattr(read, attribute) == getattr(structure(kind, {}), attribute)
    assert list(read.extra) == [name]


def test_a_leading_byte_order_mark_is_skipped() -> None:
    assert decode_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    assert decode_object(b'{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}


def test_numbers_come_without_passing_through_a_float() -> None:
    data = decode_object(b'{"a": 0.1, "b": 100.00, "c": 7, "d": 123456789012345678901234567890}')
    assert data == {"a": Decimal("0.1"), "b": Decimal(100), "c": 7, "d": int("1234567890" * 3)}
    assert str(data["b"]) == "100.00"


def test_a_number_beyond_all_exponents_costs_the_body_nothing_but_itself() -> None:
    assert decode_object(b'{"a": 1e999999999999999999999, "b": [1.50]}') == {
        "a": "1e999999999999999999999",
        "b": [Decimal("1.50")],
    }


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.text(), st.text() | st.floats() | st.lists(st.text() | st.integers())).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_bytes_are_an_object_or_none(body: bytes) -> None:
    strict, patient = decode_object(body), decode_response(body)
    assert isinstance(patient, dict | None)
    assert strict is None or patient == strict
