"""Content: compared as values, whole or as digests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async._journal.content import differences, digested, write_content

VALUES = st.dictionaries(st.text(min_size=1).filter(lambda name: name != "#"), st.text())


@given(one=VALUES, other=VALUES)
def test_the_fields_that_differ_are_named_whether_digests_are_kept_or_not(
    one: dict[str, str], other: dict[str, str]
) -> None:
    expected = tuple(
        sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    )
    stored, given_ = write_content(one), write_content(other)
    assert differences(stored, given_) == expected
    assert differences(digested(stored, "salt"), given_) == expected


def test_digests_have_no_value_and_are_not_digested_again() -> None:
    content = digested(write_content({"to": "27840001234", "amount": "1"}), "salt")
    assert b"27840001234" not in content
    assert digested(content, "other") == content
    assert digested(write_content({"to": "27840001234"}), "other") != content


def test_the_order_of_fields_does_not_matter() -> None:
    assert write_content({"a": "1", "b": "2"}) == write_content({"b": "2", "a": "1"})
