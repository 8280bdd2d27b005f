"""The rules and converters of requests, beyond what whole requests show."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat2pay_async._api.enums import Channel, IntegratorType, PaymentStatus, TransactionStatus
from chat2pay_async._api.validation import (
    amount,
    amount_rule,
    currency_problem,
    exact_sum,
    exponent_of,
    faults_of,
    identity_problem,
    json_faults,
    member,
    minor_units,
    reference_problem,
    refuse,
    snapshot,
    written,
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
        assert str(amount(Decimal("1.2345E+3"))) == "1234.5"
        assert str(amount(Decimal("1.2E+3"))) == "1200"
        assert amount_rule("ZAR")(Decimal("1234567.9000")) is None
        assert amount_rule("ZAR")(Decimal("1234567.9010")) == (
            "has 4 decimals; ZAR has 2: round it"
        )


@unhurried
@given(st.lists(amounts, max_size=8))
def test_a_sum_is_exact_in_whatever_order(values: list[Decimal]) -> None:
    total = exact_sum(*values)
    assert total == exact_sum(*reversed(values))
    assert Fraction(total) == sum(map(Fraction, values))


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("101.1", "ZAR", "101.10"),
        ("1199", "ZAR", "1199.00"),
        ("0.125", "ZAR", "0.125"),
        ("5.00", "JPY", "5"),
        ("1.5", "KWD", "1.500"),
        ("101.1", None, "101.1"),
        ("101.10", "", "101.10"),
        (f"{10**40}.1", "ZAR", f"{10**40}.10"),
    ],
)
def test_an_amount_is_written_with_the_decimals_of_its_currency(
    amount: str, currency: str | None, text: str
) -> None:
    assert written(Decimal(amount), currency) == text
    assert written(Decimal(amount), currency, ",").replace(",", "") == text


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


@pytest.mark.parametrize("currency", ["", "ZA", "ZARR", "Z4R", "\u0131dr", "ZA\n", None, 7, []])
def test_only_three_latin_letters_are_a_currency(currency: object) -> None:
    assert currency_problem(currency) == "must be a three-letter ISO 4217 code, such as ZAR"
    assert currency_problem("zar") is None


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
def test_a_value_that_names_no_member_is_unchanged(value: str | None) -> None:
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


def test_a_value_too_deep_to_send_is_not_copied() -> None:
    circle: list[object] = []
    circle.append(circle)
    assert snapshot(circle) is circle


def test_a_request_without_problems_is_not_refused() -> None:
    refuse("Order", {"name": None, "quantity": None})
    refuse("Order", {})


def test_the_problems_of_a_request_are_raised_at_once() -> None:
    with pytest.raises(RequestValidationError) as caught:
        refuse("Order", {"name": "is required", "sku": None, "quantity": "must be from 1 to 9"})
    assert caught.value.faults == (
        Fault("name", "is required"),
        Fault("quantity", "must be from 1 to 9"),
    )
    assert str(caught.value) == "Order: name: is required; quantity: must be from 1 to 9"


def test_faults_of_a_part_are_reported_with_the_path_to_it() -> None:
    problems = {"name": "is required", "sku": None}
    assert faults_of(problems.items(), "items[2].") == [Fault("items[2].name", "is required")]


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"a": [1, {"b": {1}}]}, ["data.a[1].b"]),
        ({1: b"", "1": b""}, ["data", "data.1", "data.1"]),
        ([b"", [b""]], ["data[0]", "data[1][0]"]),
        (b"", ["data"]),
        ({"27831234567": b""}, ["data.***"]),
    ],
)
def test_a_fault_in_json_has_the_path_to_it(value: object, paths: list[str]) -> None:
    assert [fault.field for fault in json_faults("data", value)] == paths


def test_faults_before_the_deepest_level_are_reported_with_it() -> None:
    deep: list[object] = []
    for _ in range(65):
        deep = [deep]
    assert [fault.problem for fault in json_faults("data", [b"", deep])] == [
        "can't be written as JSON: bytes",
        "is nested more than 64 levels deep",
    ]


@pytest.mark.parametrize("leaf", [None, True, "a", 1, 1.5, [], {}])
@pytest.mark.parametrize(("levels", "faults"), [(64, 0), (65, 1)])
def test_the_deepest_level_is_the_same_for_every_leaf(
    leaf: object, levels: int, faults: int
) -> None:
    value = leaf
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    assert len(json_faults("data", value)) == faults


def test_an_amount_without_a_currency_may_have_any_decimals() -> None:
    assert amount_rule(None)(Decimal("0.000000001")) is None
    assert amount_rule(None)(Decimal("1E-29")) is None
    assert amount_rule(None)(Decimal("1E-30")) == "has more than 30 digits"


@pytest.mark.parametrize("text", [" A-1", "A-1 ", "\u3000A-1", "A-1\xa0"])
def test_blanks_around_a_name_are_refused_since_the_service_may_trim_them(text: str) -> None:
    for problem_of in (identity_problem, reference_problem):
        assert problem_of(text) == "must not begin or end with a blank; take it off"


def test_a_name_has_the_problem_that_is_plainest() -> None:
    for problem_of in (identity_problem, reference_problem):
        assert problem_of("A 1") is None
        assert problem_of(" ") == "must not be blank"
        assert problem_of("A-1\n") == "has control characters; take them out"
        assert problem_of(None) == "is required"
