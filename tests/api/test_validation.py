"""The pieces that requests are checked with, where a request does not show them whole."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat2pay_async._api.enums import Channel, IntegratorType, PaymentStatus, TransactionStatus
from chat2pay_async._api.validation import (
    Faults,
    amount,
    exact_sum,
    exponent_of,
    member,
    minor_units,
    snapshot,
    unit_of,
)
from chat2pay_async.errors import Fault, RequestValidationError

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
amounts = st.decimals(
    min_value=0, max_value=Decimal("1e20"), allow_nan=False, allow_infinity=False, places=9
)


def test_amounts_are_added_without_rounding() -> None:
    assert exact_sum(Decimal("9" * 30), Decimal("1E-29")) == Decimal(
        "9" * 30 + "." + "0" * 28 + "1"
    )
    assert exact_sum() == 0


def test_the_callers_own_decimal_context_rounds_nothing() -> None:
    with localcontext(Context(prec=2)):
        assert exact_sum(Decimal("199.90"), Decimal("0.05")) == Decimal("199.95")
        assert str(amount(Decimal("199.90"))) == "199.90"
        assert str(amount("1.2345E+3")) == "1234.5"
        assert str(amount("1.2E+3")) == "1200"


@unhurried
@given(st.lists(amounts, max_size=8))
def test_a_sum_is_exact_in_whatever_order(values: list[Decimal]) -> None:
    total = exact_sum(*values)
    assert total == exact_sum(*reversed(values))
    assert Fraction(total) == sum(map(Fraction, values))


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("ZAR", 2), ("zar", 2), ("???", 2), ("JPY", 0), ("jpy", 0), ("KWD", 3), ("CLF", 4)],
)
def test_a_currency_whose_minor_unit_is_not_known_has_hundredths(
    currency: str, decimals: int
) -> None:
    assert minor_units(currency) == decimals


@pytest.mark.parametrize(
    "value",
    ["0", "1", "0.00", "1.5", "199.90", "1E+5", "1.50E-7", "-0.01", "9" * 30, "NaN", "-Infinity"],
)
def test_an_exponent_is_the_one_of_the_tuple(value: str) -> None:
    exponent = Decimal(value).as_tuple().exponent
    assert exponent_of(Decimal(value)) == (exponent if isinstance(exponent, int) else None)


@pytest.mark.parametrize(
    ("currency", "unit"), [("ZAR", "0.01"), ("jpy", "1"), ("KWD", "0.001"), ("CLF", "0.0001")]
)
def test_the_unit_of_a_currency_has_its_decimals_and_no_more(currency: str, unit: str) -> None:
    assert str(unit_of(currency)) == unit


@pytest.mark.parametrize("currency", ["", "ZA", "ZARR", "Z4R", "\u0131dr", "ZA\n"])
def test_what_is_no_currency_has_no_unit(currency: str) -> None:
    assert unit_of(currency) is None


@pytest.mark.parametrize("kind", [Channel, PaymentStatus, IntegratorType, TransactionStatus])
def test_a_member_is_found_by_its_name_its_words_or_its_leaked_form(kind: type[Channel]) -> None:
    for one in kind:
        words = one.name.replace("_", " ")
        leaked = f"{kind.__name__}.{one.name}(name={one.name}, id=1)"
        for text in (one.name, one.value, words, words.title(), leaked, leaked.lower()):
            assert member(kind, text) is one
            assert member(kind, f" {text}\n") is one
        assert member(kind, one) is one


@pytest.mark.parametrize(
    "value", ["", "pigeon", "Channel.SMS", "Channel.PIGEON(id=9)", None, 1, []]
)
def test_what_names_no_member_is_handed_back_as_it_is(value: str | None) -> None:
    assert member(Channel, value) is value


def test_a_snapshot_copies_every_container_and_shares_nothing() -> None:
    inner: list[object] = [1]
    outer = {"list": inner, "tuple": (inner,)}
    copied = snapshot(outer)
    assert copied == {"list": [1], "tuple": [[1]]}
    inner.append(2)
    assert copied == {"list": [1], "tuple": [[1]]}


@pytest.mark.parametrize("flat", [{}, {"a": 1}, {"a": 1.5, "b": None}, {1: "a"}, {"a": [2]}])
def test_a_snapshot_of_an_object_is_another_object(flat: dict[object, object]) -> None:
    copied = snapshot(flat)
    assert copied == flat
    assert copied is not flat


def test_a_snapshot_of_what_is_too_deep_to_send_is_the_thing_itself() -> None:
    circle: list[object] = []
    circle.append(circle)
    assert snapshot(circle) is circle


def test_nothing_found_raises_nothing() -> None:
    faults = Faults()
    faults.text("name", "Tea", required=True, longest=3)
    faults.below("item").count("quantity", 1)
    faults.raise_if_any("Order")
    assert faults.money("amount", None) is None


def test_faults_of_a_part_are_told_with_the_path_to_it() -> None:
    faults = Faults()
    faults.below("order").below("items[2]").text("name", None, required=True)
    with pytest.raises(RequestValidationError) as caught:
        faults.raise_if_any("Order")
    assert caught.value.faults == (Fault("order.items[2].name", "is required"),)
    assert str(caught.value) == "Order: order.items[2].name: is required"


@pytest.mark.parametrize(
    "check",
    [
        lambda faults: faults.text("x", None),
        lambda faults: faults.name("x", None, longest=3),
        lambda faults: faults.flag("x", None),
        lambda faults: faults.count("x", None),
        lambda faults: faults.choice("x", None, ()),
        lambda faults: faults.money("x", None),
        lambda faults: faults.json("x", None),
    ],
)
def test_what_need_not_be_given_is_no_fault_when_it_is_not(
    check: Callable[[Faults], object],
) -> None:
    faults = Faults()
    check(faults)
    assert faults.raise_if_any("Order") is None  # type: ignore[func-returns-value]


def test_an_amount_without_a_currency_may_have_any_decimals() -> None:
    value = Decimal("0.000000001")
    assert Faults().money("amount", value) == value
