"""The values that a request takes, and the faults that it reports for all others."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat2pay_async._api import codec
from chat2pay_async._api.enums import (
    Channel,
    ChannelName,
    IntegrationStatus,
    IntegrationStatusName,
    TransactionType,
    TransactionTypeName,
)
from chat2pay_async._api.requests import (
    Capture,
    ConfigurationQuery,
    IntegrationRequest,
    LineItem,
    LinkReference,
    PaymentLinkFields,
    PaymentLinkRequest,
    ReceiptRequest,
    TransactionQuery,
    delivery_problem,
)
from chat2pay_async._api.validation import member
from chat2pay_async.errors import Chat2PayError, RequestValidationError

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PHONE = "27831234567"
NOW = datetime(2021, 4, 27, 17, 35, 58, 123456, tzinfo=UTC)

LINK: dict[str, Any] = {
    "channel": "sms",
    "to": PHONE,
    "order_number": "A-1001",
    "currency": "ZAR",
    "total_amount": "199.90",
    "timestamp": NOW,
}
ITEM: dict[str, Any] = {"name": "Tea", "unit_price": "9.90"}


def link(**given: Any) -> PaymentLinkRequest:
    return PaymentLinkRequest(**LINK | given)


def link_with_item(**given: Any) -> PaymentLinkRequest:
    return link(order_line_items=[LineItem(**ITEM | given)])


def refusal(build: Callable[..., Any], **given: Any) -> RequestValidationError:
    """The error of a request that must be refused."""
    with pytest.raises(RequestValidationError) as caught:
        build(**given)
    return caught.value


def problems(build: Callable[..., Any], **given: Any) -> dict[str, str]:
    """Field → what is wrong with it."""
    return {fault.field: fault.problem for fault in refusal(build, **given).faults}


# All at once -------------------------------------------------------------------------------------


def test_every_fault_of_a_request_is_reported_in_one_error() -> None:
    faults = problems(
        PaymentLinkRequest,
        channel="pigeon",
        to="call me",
        order_number="",
        currency="RAND",
        total_amount="free",
        timestamp="yesterday",
        from_=7,
        tax_amount=-1,
        sub_total_amount=0,
        payment_gateway_settings_id=b"x",
        additional_data={"a": object()},
        return_payment_link="yes",
        application_id="a\nb",
        payment_review_auto_reversal=1,
        transaction_type="VOID",
        order_line_items=[LineItem(name=None, unit_price=None, quantity=0), "tea"],
        reconciliation_id="x" * 61,
        merchant_descriptor="\ud800",
    )
    assert faults == {
        "channel": "must be one of 'sms', 'whatsapp', 'none'",
        "to": "must be 7 to 15 digits, country code first, such as 27825550100",
        "order_number": "must not be blank",
        "currency": "must be a three-letter ISO 4217 code, such as ZAR",
        "total_amount": 'is not a number; write it with digits and a point, such as "199.90"',
        "timestamp": "must be a datetime, not str",
        "from_": "must be a str, not int",
        "tax_amount": "must not be negative",
        "sub_total_amount": "must be greater than 0",
        "payment_gateway_settings_id": "must be a str, not bytes",
        "additional_data.a": "can't be written as JSON: object",
        "return_payment_link": "must be a bool, not str",
        "application_id": "has control characters; take them out",
        "payment_review_auto_reversal": "must be a bool, not int",
        "transaction_type": "must be one of 'Authorization', 'Sale'",
        "order_line_items[0].name": "is required",
        "order_line_items[0].unit_price": "is required",
        "order_line_items[0].quantity": "must be from 1 to 2147483647",
        "order_line_items[1]": "must be a LineItem",
        "reconciliation_id": "has 61 characters; at most 60 are allowed",
        "merchant_descriptor": "has lone surrogates, which UTF-8 can't carry; take them out",
    }


def test_a_refusal_is_a_value_error_of_this_package_and_names_the_request() -> None:
    error = refusal(link, order_number=" ", total_amount=0)
    assert isinstance(error, ValueError)
    assert isinstance(error, Chat2PayError)
    assert str(error) == (
        "PaymentLinkRequest: order_number: must not be blank; total_amount: must be greater than 0"
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda number: link(to=number + "x"),
        lambda number: link(to=f"+{number}/1"),
        lambda number: link(to=f"0{number}"),
        lambda number: link(to=f"+27 (0)83 {number[4:]}"),
        lambda number: link(to=-int(number)),
        lambda number: link(to=number, from_=number + "\n", order_number=number * 3),
        lambda number: link(channel=number, transaction_type=number, currency=number),
        lambda number: link(total_amount="+" + number + "x", timestamp=number),
        lambda number: link(additional_data={number: float("nan")}),
        lambda number: link(additional_data={"a": {f"+{number[:4]} {number[4:]}": {1}}}),
        lambda number: link(additional_data={int(number): 1}),
        lambda number: link(order_line_items=[number], return_payment_link=number),
        lambda number: link_with_item(name=number * 30, quantity=number, sku=number + "\0"),
        lambda number: ReceiptRequest(payment_link_ref="", receipt_link=number + "\0"),
        lambda number: TransactionQuery(order_number=number + "\x00"),
        lambda number: IntegrationRequest(application_uuid=number + "\n", status=number),
        lambda number: Capture(payment_link_ref=number + "\n", amount=number + "?"),
    ],
)
def test_no_fault_repeats_a_phone_number(build: Callable[[str], object]) -> None:
    with pytest.raises(RequestValidationError) as caught:
        build("27839876543")
    shown = str(caught.value) + repr(caught.value) + repr(caught.value.faults)
    assert "9876543" not in shown
    assert "27839876" not in shown


# Odd values --------------------------------------------------------------------------------------

COMMON: dict[str, Any] = LINK | {
    "from_": "27115550000",
    "tax_amount": "26.07",
    "sub_total_amount": "173.83",
    "payment_gateway_settings_id": "pg",
    "additional_data": {"campaign": "spring", "tags": ["a", 1, True, None], "more": {"deep": "é"}},
    "return_payment_link": True,
    "application_id": "app",
    "payment_review_auto_reversal": False,
    "transaction_type": "sale",
    "order_line_items": (LineItem(name="Tea", unit_price="9.90", code="t", quantity=2, sku="T"),),
    "reconciliation_id": "rec",
    "merchant_descriptor": "Shop",
}
ODD: list[Any] = [
    None, "", " ", "a", "x" * 32, "x" * 33, "x" * 60, "x" * 61, "x" * 255, "x" * 256, "x\n",
    "\xa0", "\x85", "\ud800", "ZAR", "JPY", "ZA1", "1234567", "123456", "1" * 15, "1" * 16,
    "\u0661" * 8, "+27831234567", "void", "sale", "none", True, 0, 1, -1, 2**31 - 1, 2**31,
    2**4096, b"x", object(), "0.00", "-0.01", "0.01", "1.5", "1.234", "1E+5", "1E-30", 10**14,
    Decimal(10**15).quantize(Decimal("0.01")), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"),
    Decimal("-199.90"), NOW, NOW.replace(tzinfo=None), NOW.replace(year=1), NOW.replace(year=9999),
    NOW.replace(tzinfo=timezone(timedelta(hours=2))), TransactionType.VOID, Channel.SMS, (), [],
    {}, [[[[[[[[[[1]]]]]]]]]], {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}},
    {"é": 1}, {"\ud800": 1}, {1: 1}, {"a": "\ud800"}, {"a": "\x00"}, {"a": Decimal("NaN")},
    {"a": b""}, {"a": [object()]}, {"a": {"b": {1}}}, ["\ud800"], ["tea"],
]  # fmt: skip


AMOUNTS = {"total_amount", "sub_total_amount", "tax_amount", "order_line_items"}
"""Fields that are judged together, and by the currency."""


def built(build: Callable[..., Any], **given: Any) -> PaymentLinkRequest | set[str]:
    """A request that can be sent, or the fields that its faults name."""
    try:
        request = build(**given)
    except RequestValidationError as refused:
        return {re.split(r"[.\[]", fault.field)[0] for fault in refused.faults}
    except TypeError:  # an amount of a type that holds no exact number
        return {field for field in given if field.endswith(("_amount", "_price"))}
    assert isinstance(request, PaymentLinkRequest)
    assert codec.encode(request).decode()
    return request


@pytest.mark.parametrize("field", COMMON)
def test_an_odd_value_is_either_sent_or_a_fault_of_its_field(field: str) -> None:
    for value in ODD:
        found = built(PaymentLinkRequest, **COMMON | {field: value})
        assert isinstance(found, PaymentLinkRequest) or field in found or found <= AMOUNTS


@pytest.mark.parametrize("field", ["name", "unit_price", "code", "quantity", "sku", "tax_amount"])
def test_an_odd_value_of_a_line_item_is_either_sent_or_a_fault(field: str) -> None:
    for value in ODD:
        found = built(link_with_item, **{field: value})
        assert isinstance(found, PaymentLinkRequest) or found in ({"order_line_items"}, {field})


@unhurried
@given(
    st.dictionaries(st.sampled_from(sorted(COMMON)), st.sampled_from(ODD), max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "total_amount": st.decimals(-1, 10**16, places=2),
            "sub_total_amount": st.decimals(-1, 10**16, places=2),
            "tax_amount": st.decimals(-1, 10, places=2),
            "order_number": st.text(max_size=40),
            "reconciliation_id": st.text(max_size=70),
            "to": st.text("0123456789+\u0661", max_size=18),
            "currency": st.text("ZARJPKWD1\u0131", min_size=2, max_size=4),
            "timestamp": st.datetimes(timezones=st.none() | st.just(UTC)),
            "additional_data": st.recursive(
                st.none() | st.text(max_size=3) | st.integers() | st.floats() | st.decimals(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
                max_leaves=5,
            ),
        },
    ),
)
def test_whatever_is_accepted_can_be_sent(odd: dict[str, Any], drawn: dict[str, Any]) -> None:
    given = COMMON | odd | drawn
    found = built(PaymentLinkRequest, **given)
    assert isinstance(found, PaymentLinkRequest) or found <= given.keys()


def test_an_order_like_any_other_is_accepted() -> None:
    assert isinstance(built(PaymentLinkRequest, **COMMON), PaymentLinkRequest)
    assert isinstance(built(PaymentLinkRequest, **LINK), PaymentLinkRequest)
    assert isinstance(built(link_with_item), PaymentLinkRequest)


# Amounts -----------------------------------------------------------------------------------------

AMOUNT_FIELDS: list[tuple[Callable[..., Any], str]] = [
    (link, "total_amount"),
    (link, "tax_amount"),
    (link, "sub_total_amount"),
    (link_with_item, "unit_price"),
    (link_with_item, "tax_amount"),
    (lambda **given: Capture(payment_link_ref="8a1f", **given), "amount"),
]


@pytest.mark.parametrize(("build", "field"), AMOUNT_FIELDS)
@pytest.mark.parametrize("value", [199.9, float("nan"), True, Fraction(1, 2), b"1", [], object()])
def test_an_inexact_amount_is_a_type_error_that_says_what_to_pass(
    build: Callable[..., Any], field: str, value: object
) -> None:
    with pytest.raises(TypeError, match=r'pass Decimal\("199.90"\) or "199.90"') as caught:
        build(**{field: value})
    assert type(value).__name__ in str(caught.value)


@pytest.mark.parametrize(("build", "field"), AMOUNT_FIELDS)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is not a number"),
        ("1,5", "is not a number"),
        ("1 000", "is not a number"),
        (" 1", "is not a number"),
        ("1_000", "is not a number"),
        ("0x1F", "is not a number"),
        ("\u0661", "is not a number"),
        ("NaN", "is not a number"),
        ("Infinity", "is not a number"),
        ("1e9999999999", "is not a number"),
        (Decimal("NaN"), "must be a finite number"),
        (Decimal("sNaN"), "must be a finite number"),
        (Decimal("-Infinity"), "must be a finite number"),
        ("1e3", "is not a number"),
        ("1.23E+03", "is not a number"),
        ("\uff11\uff12", "is not a number"),
        (10**30, "has more than 30 digits"),
        (Decimal("1E+31"), "has more than 30 digits"),
        (Decimal("1E+999999999"), "has more than 30 digits"),
        (Decimal("1E-30"), "has more than 30 digits"),
        (Decimal("1E-999999999"), "has more than 30 digits"),
        pytest.param(10**5000, "has more than 30 digits", id="10**5000"),
    ],
)
def test_an_amount_that_is_no_sane_number_is_a_fault(
    build: Callable[..., Any], field: str, value: object, problem: str
) -> None:
    faults = problems(build, **{field: value})
    assert [name.rpartition(".")[2] for name in faults] == [field]
    assert problem in next(iter(faults.values()))


@pytest.mark.parametrize(("build", "field"), AMOUNT_FIELDS)
def test_an_amount_is_never_negative_and_zero_only_as_an_orders_tax(
    build: Callable[..., Any], field: str
) -> None:
    is_tax = (build, field) == (link, "tax_amount")
    rule = "must not be negative" if is_tax else "must be greater than 0"
    assert list(problems(build, **{field: "-0.01"}).values()) == [rule]
    assert build(**{field: "0.01"})
    if is_tax:
        assert link(tax_amount="0").tax_amount == 0
    else:
        assert list(problems(build, **{field: "0.00"}).values()) == [rule]


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        (Decimal("199.90"), "199.90"),
        ("199.90", "199.90"),
        ("199.9", "199.9"),
        (199, "199"),
        (Decimal("1E+2"), "100"),
        (Decimal("1.5E+1"), "15"),
        (Decimal("2.5E-1"), "0.25"),
        ("+5", "5"),
        ("5.", "5"),
        (".5", "0.5"),
        ("007.50", "7.50"),
        (Decimal("1E+29"), "1" + "0" * 29),
        ("9" * 30, "9" * 30),
    ],
)
def test_an_amount_is_brought_to_its_one_form_without_changing_its_digits(
    value: Decimal | int | str, normal: str
) -> None:
    capture = Capture(payment_link_ref="8a1f", amount=value)
    assert str(capture.amount) == normal


@pytest.mark.parametrize(
    ("value", "normal"), [("-0", "0"), ("-0.00", "0.00"), (Decimal("-0E+2"), "0"), ("0", "0")]
)
def test_there_is_no_negative_zero(value: Decimal | str, normal: str) -> None:
    assert str(link(tax_amount=value).tax_amount) == normal


def test_thirty_digits_are_the_most_an_amount_may_have() -> None:
    for text in ("9" * 30, "0." + "0" * 28 + "1"):
        capture = Capture(payment_link_ref="8a1f", amount=text, currency="XXX")
        assert capture.amount == Decimal(text)
    faults = problems(Capture, payment_link_ref="8a1f", amount="9" * 29 + ".99")
    assert faults == {"amount": "has more than 30 digits"}


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("ZAR", 2), ("USD", 2), ("XYZ", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("kwd", 3)],
)
@pytest.mark.parametrize(("build", "field"), AMOUNT_FIELDS[:5])
def test_an_amount_has_at_most_the_decimals_of_its_currency(
    build: Callable[..., Any], field: str, currency: str, decimals: int
) -> None:
    valid = {"total_amount": 1, "currency": currency}
    if build is link_with_item:
        valid = {}

    def built(text: str) -> PaymentLinkRequest:
        if build is link:
            return link(**valid | {field: text})
        item = LineItem(**ITEM | {"unit_price": 1, field: text})
        return link(total_amount=1, currency=currency, order_line_items=[item])

    finest = "1" if decimals == 0 else "1." + "1" * decimals
    assert built(finest).currency == currency.upper()
    faults = problems(lambda: built("1." + "1" * (decimals + 1)))
    assert list(faults.values()) == [
        f"has {decimals + 1} decimals; {currency.upper()} has {decimals}: round it"
    ]


@pytest.mark.parametrize(
    ("currency", "value"),
    [("JPY", "100.00"), ("ZAR", "199.9000"), ("ZAR", "5.0000"), ("KWD", "1.0")],
)
def test_zeros_beyond_the_decimals_of_a_currency_change_nothing(currency: str, value: str) -> None:
    assert str(link(currency=currency, total_amount=value).total_amount) == value


@pytest.mark.parametrize("currency", ["ZAR", "JPY"])
def test_three_decimals_may_be_thousands_even_if_they_are_zeros(currency: str) -> None:
    faults = problems(link, currency=currency, total_amount="1.000")
    assert list(faults) == ["total_amount"]
    assert link(currency="KWD", total_amount="1.000").total_amount == 1


@pytest.mark.parametrize("value", ["1.000", "99.999", "5.0000000001", Decimal("1.250"), "0.0001"])
def test_a_capture_of_many_decimals_needs_its_currency(value: Decimal | str) -> None:
    assert problems(Capture, payment_link_ref="8a1f", amount=value) == {
        "amount": "has more than 2 decimals, or may be thousands: pass its currency, too"
    }


def test_the_currency_of_a_capture_decides_its_decimals() -> None:
    capture = Capture(payment_link_ref="8a1f", amount="1.250", currency="kwd")
    assert (capture.amount, capture.currency) == (Decimal("1.250"), "KWD")
    assert problems(Capture, payment_link_ref="8a1f", amount="1.250", currency="ZAR") == {
        "amount": "has 3 decimals; ZAR has 2: round it"
    }
    assert problems(Capture, payment_link_ref="8a1f", amount="1.5", currency="JPY") == {
        "amount": "has 1 decimals; JPY has 0: round it"
    }


@pytest.mark.parametrize("currency", ["", "rand", 7])
def test_a_wrong_currency_of_a_capture_is_its_one_fault(currency: Any) -> None:
    faults = problems(Capture, payment_link_ref="8a1f", amount="1.250", currency=currency)
    assert faults == {"currency": "must be a three-letter ISO 4217 code, such as ZAR"}


def test_captures_that_send_the_same_are_equal() -> None:
    plain = Capture(payment_link_ref="8a1f", amount="1.25")
    assert plain == Capture(payment_link_ref="8a1f", amount="1.25", currency="USD")
    assert hash(plain) == hash(Capture(payment_link_ref="8a1f", amount="1.25", currency="USD"))


def test_where_the_currency_is_wrong_only_the_currency_is_a_fault() -> None:
    assert list(problems(link, currency="?", total_amount="1.2345")) == ["currency"]


@pytest.mark.parametrize(
    "currency", ["", "ZA", "ZARR", "Z4R", " ZAR", "\u0131dr", "\xdfd", 710, None]
)
def test_a_currency_is_three_latin_letters(currency: object) -> None:
    assert list(problems(link, currency=currency)) == ["currency"]


def test_a_currency_in_any_case_is_sent_in_capitals() -> None:
    assert link(currency="zar").currency == "ZAR"


# The amount rule ---------------------------------------------------------------------------------


def test_sub_total_and_tax_that_do_not_add_up_to_the_total_are_a_fault() -> None:
    faults = problems(link, total_amount="115.01", sub_total_amount=100, tax_amount=15)
    assert faults == {"total_amount": "is not equal to the sum of tax and sub-total"}


@pytest.mark.parametrize(
    ("total", "sub_total", "tax"),
    [
        ("115", "100", "15"),
        ("115.00", "100.0", "15"),
        ("100", "100", "0"),
        ("9" * 28 + ".99", "9" * 28 + ".98", "0.01"),
    ],
)
def test_sub_total_and_tax_that_add_up_exactly_pass(total: str, sub_total: str, tax: str) -> None:
    request = link(total_amount=total, sub_total_amount=sub_total, tax_amount=tax)
    assert request.total_amount == Decimal(total)


@pytest.mark.parametrize("given", [{"tax_amount": "500"}, {"sub_total_amount": "1"}])
def test_one_of_sub_total_and_tax_alone_is_not_held_against_the_total(given: Any) -> None:
    assert link(**given).total_amount == Decimal("199.90")


# Texts -------------------------------------------------------------------------------------------

TEXT_FIELDS: list[tuple[Callable[..., Any], str]] = [
    (link, "order_number"),
    (link, "from_"),
    (link, "payment_gateway_settings_id"),
    (link, "application_id"),
    (link, "reconciliation_id"),
    (link, "merchant_descriptor"),
    (link_with_item, "name"),
    (link_with_item, "code"),
    (link_with_item, "sku"),
    (LinkReference, "payment_link_ref"),
    (Capture, "payment_link_ref"),
    (lambda **given: ReceiptRequest(**{"receipt_link": "x"} | given), "payment_link_ref"),
    (lambda **given: ReceiptRequest(**{"payment_link_ref": "x"} | given), "receipt_link"),
    (TransactionQuery, "order_number"),
    (TransactionQuery, "payment_link_ref"),
    (TransactionQuery, "receipt_link_ref"),
    (lambda **given: IntegrationRequest(status="DELETED", **given), "application_uuid"),
]
OPTIONAL = {"from_", "payment_gateway_settings_id", "application_id", "reconciliation_id",
            "merchant_descriptor", "name", "code", "sku"}  # fmt: skip
IDENTITIES = {field for _, field in TEXT_FIELDS} - OPTIONAL
"""The texts that responses are compared with: the service may trim blanks around them."""


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize("character", ["\x00", "\n", "\r", "\x1f", "\x7f", "\x85", "\u2028"])
def test_no_text_has_control_characters(
    build: Callable[..., Any], field: str, character: str
) -> None:
    faults = problems(build, **{field: f"a{character}b"})
    assert list(faults.values()) == ["has control characters; take them out"]


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
def test_no_text_has_lone_surrogates(build: Callable[..., Any], field: str) -> None:
    faults = problems(build, **{field: "a\udc80"})
    assert "lone surrogates" in next(iter(faults.values()))


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize("value", [1, b"x", [], {}, object()])
def test_a_text_is_a_str(build: Callable[..., Any], field: str, value: object) -> None:
    faults = problems(build, **{field: value})
    assert list(faults.values()) == [f"must be a str, not {type(value).__name__}"]


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
def test_any_other_text_is_kept_as_it_is(build: Callable[..., Any], field: str) -> None:
    text = "Café 日本 💳" if field in IDENTITIES else " Café 日本 💳 "
    built = build(**{field: text})
    kept = built.order_line_items[0] if build is link_with_item else built
    assert getattr(kept, field) == text


@pytest.mark.parametrize(("build", "field"), [one for one in TEXT_FIELDS if one[1] in IDENTITIES])
@pytest.mark.parametrize("text", ["A-1 ", " A-1", "\u3000A-1", "A-1\xa0"])
def test_an_identity_has_no_blanks_around_it(
    build: Callable[..., Any], field: str, text: str
) -> None:
    faults = problems(build, **{field: text})
    assert list(faults.values()) == ["must not begin or end with a blank; take it off"]


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize("blank", ["", " ", "\u3000"])
def test_an_identity_is_never_blank(build: Callable[..., Any], field: str, blank: str) -> None:
    if field in OPTIONAL:
        assert build(**{field: blank})
    else:
        assert list(problems(build, **{field: blank}).values()) == ["must not be blank"]


@pytest.mark.parametrize(
    ("build", "field", "longest"),
    [
        (link, "order_number", 32),
        (link, "reconciliation_id", 60),
        (link_with_item, "name", 255),
        (link_with_item, "code", 255),
        (link_with_item, "sku", 255),
    ],
)
def test_a_text_is_as_long_as_the_contract_allows(
    build: Callable[..., Any], field: str, longest: int
) -> None:
    assert build(**{field: "é" * longest})
    faults = problems(build, **{field: "é" * (longest + 1)})
    assert list(faults.values()) == [f"has {longest + 1} characters; at most {longest} are allowed"]


@pytest.mark.parametrize("kind", [LinkReference, Capture])
@pytest.mark.parametrize("reference", [".", ".."])
def test_a_reference_can_not_step_out_of_its_path(kind: type[Any], reference: str) -> None:
    assert problems(kind, payment_link_ref=reference) == {
        "payment_link_ref": "is not a reference: pass a link's payment_link_ref"
    }


@pytest.mark.parametrize("reference", ["...", "8a1f", "a/b", "a%2Fb", "é", "?", "#"])
def test_any_other_reference_passes(reference: str) -> None:
    assert LinkReference(payment_link_ref=reference).payment_link_ref == reference


@pytest.mark.parametrize("phone", ["1234567", PHONE, "123456789012345", "+" + PHONE])
def test_a_phone_number_has_seven_to_fifteen_digits_and_loses_its_plus(phone: str) -> None:
    assert link(to=phone).to == phone.removeprefix("+")


@pytest.mark.parametrize("phone", ["+27 83 123-4567", "0027831234567", int(PHONE)])
def test_a_phone_number_as_people_write_it_is_sent_as_digits(phone: Any) -> None:
    assert link(to=phone).to == PHONE


@pytest.mark.parametrize(
    "phone",
    ["", "123456", "1234567890123456", "++27831234567", "27 83 12", "027-831-2345", "2783123456x",
     "\u0662\u0667\u0668\u0663\u0661\u0662\u0663", None, True, 27831234567.0, ["1"]],
)  # fmt: skip
def test_anything_else_is_no_phone_number(phone: object) -> None:
    assert list(problems(link, to=phone)) == ["to"]


# Enums -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "channel"),
    [
        (Channel.SMS, Channel.SMS),
        ("sms", Channel.SMS),
        ("SMS", Channel.SMS),
        (" WhatsApp ", Channel.WHATSAPP),
        ("None", Channel.NONE),
        ("ChannelType.WHATSAPP(name=WHATSAPP, id=2)", Channel.WHATSAPP),
        ("channeltype.none(name=none, id=0)", Channel.NONE),
    ],
)
def test_a_channel_is_a_member_or_its_name_in_any_case(given: str, channel: Channel) -> None:
    assert link(channel=given).channel is channel


@pytest.mark.parametrize("channel", [None, "", "pigeon", "sms!", 1, [], TransactionType.SALE])
def test_there_is_no_other_channel(channel: object) -> None:
    assert list(problems(link, channel=channel)) == ["channel"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (TransactionType.SALE, TransactionType.SALE),
        ("sale", TransactionType.SALE),
        ("AUTHORIZATION", TransactionType.AUTHORIZATION),
        ("TransactionType.SALE(name=Sale, id=2)", TransactionType.SALE),
        (None, None),
    ],
)
def test_a_transaction_type_is_given_likewise(
    given: str | None, kind: TransactionType | None
) -> None:
    assert link(transaction_type=given).transaction_type is kind


@pytest.mark.parametrize(
    "given",
    [TransactionType.VOID, TransactionType.CAPTURE, "void", "Capture", "", "gift", 2,
     "TransactionType.VOID(name=Void, id=3)"],
)  # fmt: skip
def test_a_link_is_for_a_sale_or_an_authorization_and_nothing_else(given: object) -> None:
    faults = problems(link, transaction_type=given)
    assert faults == {"transaction_type": "must be one of 'Authorization', 'Sale'"}


@pytest.mark.parametrize("status", list(IntegrationStatus))
def test_an_integration_status_is_given_in_any_case(status: IntegrationStatus) -> None:
    for name in (status, status.value, status.value.lower(), status.value.title()):
        request = IntegrationRequest(application_uuid="c0ffee", status=name)
        assert request.status is status


@pytest.mark.parametrize("status", [None, "", "PAUSED", 1])
def test_there_is_no_other_integration_status(status: object) -> None:
    faults = problems(IntegrationRequest, application_uuid="c0ffee", status=status)
    assert faults == {"status": "must be one of 'ACTIVATED', 'DEACTIVATED', 'DELETED'"}


# Flags, quantities, moments ----------------------------------------------------------------------


@pytest.mark.parametrize("field", ["return_payment_link", "payment_review_auto_reversal"])
def test_a_flag_is_a_bool_or_not_given(field: str) -> None:
    for flag in (True, False, None):
        assert getattr(link(**{field: flag}), field) is flag
    assert problems(link, **{field: "true"}) == {field: "must be a bool, not str"}


@pytest.mark.parametrize("quantity", [1, 2, 2**31 - 1, None])
def test_a_quantity_is_a_positive_32_bit_number(quantity: int | None) -> None:
    assert link_with_item(quantity=quantity).order_line_items[0].quantity == quantity


@pytest.mark.parametrize(
    ("quantity", "problem"),
    [
        (0, "must be from 1 to 2147483647"),
        (-1, "must be from 1 to 2147483647"),
        (2**31, "must be from 1 to 2147483647"),
        (True, "must be an int, not bool"),
        (1.0, "must be an int, not float"),
        ("1", "must be an int, not str"),
    ],
)
def test_any_other_quantity_is_a_fault(quantity: object, problem: str) -> None:
    assert problems(link_with_item, quantity=quantity) == {"order_line_items[0].quantity": problem}


def receipt(**given: Any) -> ReceiptRequest:
    return ReceiptRequest(payment_link_ref="8a1f", receipt_link="x", **given)


@pytest.mark.parametrize("build", [link, receipt])
@pytest.mark.parametrize(
    ("moment", "problem"),
    [
        (NOW.replace(tzinfo=None), "must be an aware datetime, such as datetime.now(UTC)"),
        (NOW.date(), "must be a datetime, not date"),
        (1619544958000, "must be a datetime, not int"),
        (None, "must be a datetime, not NoneType"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "is out of range"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), "is out of range"),
    ],
)
def test_a_timestamp_is_an_aware_datetime(
    build: Callable[..., Any], moment: object, problem: str
) -> None:
    assert problems(build, timestamp=moment) == {"timestamp": problem}


@pytest.mark.parametrize("year", [2, 9998])
@pytest.mark.parametrize("hours", [-23, 23])
def test_every_other_moment_can_be_written(year: int, hours: int) -> None:
    moment = datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=hours)))
    assert b'"timestamp"' in codec.encode(link(timestamp=moment))


def test_a_timestamp_that_is_not_given_is_now_fixed_once() -> None:
    before = datetime.now(UTC)
    given = {name: value for name, value in LINK.items() if name != "timestamp"}
    request = PaymentLinkRequest(**given)
    later = receipt()
    assert before <= request.timestamp <= later.timestamp <= datetime.now(UTC)
    assert codec.encode(request) == codec.encode(request)


# Additional data ---------------------------------------------------------------------------------


class Text(str):
    """As numpy's texts are: a str by inheritance."""

    __slots__ = ()


class Number(float):
    """As numpy's floats are."""

    __slots__ = ()


class Size(IntEnum):
    SMALL = 1


class Colour(str, Enum):  # noqa: UP042 - such enums are what this is about
    RED = "red"


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ("text", b'"text"'),
        (0, b"0"),
        (False, b"false"),
        ([], b"[]"),
        ({}, b"{}"),
        ((1, (2,)), b"[1,[2]]"),
        ({"a": 1.5, "b": None, "c": [True]}, b'{"a":1.5,"b":null,"c":[true]}'),
        ({"exact": Decimal("199.90")}, b'{"exact":199.90}'),
        ({"big": 2**64}, b'{"big":18446744073709551616}'),
        ({"\n": "\x00"}, b'{"\\n":"\\u0000"}'),
        ({Text("a"): [Text("b"), Number(2.5), Size.SMALL, Colour.RED]}, b'{"a":["b",2.5,1,"red"]}'),
    ],
)
def test_additional_data_is_any_json(data: Any, written: bytes) -> None:
    assert codec.encode(link(additional_data=data)).endswith(b'"additionalData":' + written + b"}")


@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        (float("nan"), "additional_data", "must be a finite number"),
        ([float("inf")], "additional_data[0]", "must be a finite number"),
        ({"a": Decimal("-Infinity")}, "additional_data.a", "must be a finite number"),
        ({"a": Decimal("sNaN")}, "additional_data.a", "must be a finite number"),
        ({"a": {1, 2}}, "additional_data.a", "can't be written as JSON: set"),
        ({"a": b"x"}, "additional_data.a", "can't be written as JSON: bytes"),
        ({"a": [NOW]}, "additional_data.a[0]", "can't be written as JSON: datetime"),
        ({1: 2}, "additional_data", "has a key that is not a str, or that UTF-8 can't carry"),
        (
            {"\ud800": 2},
            "additional_data",
            "has a key that is not a str, or that UTF-8 can't carry",
        ),
        (
            ["\ud800"],
            "additional_data[0]",
            "has lone surrogates, which UTF-8 can't carry; take them out",
        ),
        pytest.param(
            1 << 20_000,
            "additional_data",
            "is an int of more than 4096 bits; pass it as a str",
            id="1 << 20000",
        ),
    ],
)
def test_additional_data_that_json_can_not_say_is_a_fault(
    data: object, field: str, problem: str
) -> None:
    assert problems(link, additional_data=data) == {field: problem}


def test_a_fault_in_additional_data_can_be_printed_whatever_the_key_is() -> None:
    error = refusal(link, additional_data={"\ud800" * 50: object()})
    assert str(error).encode()
    assert len(error.faults[-1].field) < 300


def nested(levels: int) -> Any:
    data: Any = "core"
    for _ in range(levels):
        data = [data]
    return data


def test_additional_data_may_be_sixty_four_levels_deep() -> None:
    assert link(additional_data=nested(64)).additional_data == nested(64)


@pytest.mark.parametrize("levels", [65, 100_000])
def test_additional_data_that_is_deeper_is_a_fault(levels: int) -> None:
    faults = problems(link, additional_data=nested(levels))
    assert faults == {"additional_data": "is nested more than 64 levels deep"}


def test_additional_data_that_contains_itself_is_a_fault_and_not_an_endless_loop() -> None:
    circle: dict[str, Any] = {}
    circle["left"] = circle["right"] = [circle, circle]
    faults = problems(link, additional_data=circle)
    assert faults == {"additional_data": "is nested more than 64 levels deep"}


def test_changing_additional_data_afterwards_does_not_change_the_request() -> None:
    data: dict[str, Any] = {"basket": [{"tea": 1}]}
    request = link(additional_data=data)
    before = codec.encode(request)
    data["basket"][0]["tea"] = object()
    data["basket"].append(float("nan"))
    data.clear()
    assert codec.encode(request) == before
    assert request.additional_data == {"basket": [{"tea": 1}]}


# Line items --------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [None, "tea", 7])
def test_line_items_are_a_sequence(items: object) -> None:
    faults = problems(link, order_line_items=items)
    assert faults == {"order_line_items": "must be a sequence of LineItem"}


@pytest.mark.parametrize("make", [list, tuple, iter])
def test_line_items_are_kept_in_a_tuple_in_their_order(make: Callable[[Any], Any]) -> None:
    items = [LineItem(name=name, unit_price=Decimal(1)) for name in ("a", "b", "a")]
    assert link(order_line_items=make(items)).order_line_items == tuple(items)


def test_the_faults_of_each_line_item_are_reported_with_its_index() -> None:
    items = [LineItem(**ITEM), LineItem(**ITEM, tax_amount=Decimal(0)), {"name": "Tea"}]
    assert problems(link, order_line_items=items) == {
        "order_line_items[1].tax_amount": "must be greater than 0",
        "order_line_items[2]": "must be a LineItem",
    }


# Queries -----------------------------------------------------------------------------------------


def test_a_transaction_is_looked_up_by_at_least_one_thing() -> None:
    faults = problems(TransactionQuery)
    assert faults == {"order_number": "pass this, payment_link_ref or receipt_link_ref"}
    assert TransactionQuery(receipt_link_ref="x").receipt_link_ref == "x"


def test_a_configuration_query_says_nothing() -> None:
    assert attrs.asdict(ConfigurationQuery()) == {}


# Values ------------------------------------------------------------------------------------------

VALUES = [
    lambda: link(additional_data={"a": [1]}, order_line_items=[LineItem(**ITEM)]),
    lambda: LineItem(**ITEM),
    lambda: LinkReference(payment_link_ref="8a1f"),
    lambda: Capture(payment_link_ref="8a1f", amount=Decimal(1)),
    lambda: ReceiptRequest(payment_link_ref="8a1f", receipt_link="x", timestamp=NOW),
    lambda: TransactionQuery(order_number="A-1001"),
    ConfigurationQuery,
    lambda: IntegrationRequest(application_uuid="c0ffee", status=IntegrationStatus.DELETED),
]


@pytest.mark.parametrize("make", VALUES)
def test_equal_requests_are_equal_and_hash_alike(make: Callable[[], Any]) -> None:
    assert make() == make()
    assert len({make(), make()}) == 1


@pytest.mark.parametrize("make", VALUES)
def test_a_request_is_frozen(make: Callable[[], Any]) -> None:
    request = make()
    for name in [*(field.name for field in attrs.fields(type(request))), "brand_new"]:
        with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
            setattr(request, name, "changed")
    assert request == make()


def test_requests_that_differ_only_in_additional_data_are_not_equal() -> None:
    assert link(additional_data={"a": 1}) != link(additional_data={"a": 2})


def test_the_repr_of_a_link_request_masks_phones_and_shows_only_the_keys_of_data() -> None:
    shown = repr(link(from_="27115550000", additional_data={"customer": "Thandi"}))
    assert "to='***'" in shown
    assert "from_='***'" in shown
    assert "additional_data=<keys ['customer']>" in shown
    assert "order_number='A-1001'" in shown
    assert all(secret not in shown for secret in (PHONE, "27115550000", "Thandi"))


def test_the_repr_tells_that_there_is_no_sender_and_no_data() -> None:
    shown = repr(link())
    assert "from_=None" in shown
    assert "additional_data=None" in shown
    assert "additional_data='***'" in repr(link(additional_data=["Thandi"]))


def test_the_repr_of_a_receipt_masks_its_url() -> None:
    shown = repr(ReceiptRequest(payment_link_ref="8a1f", receipt_link="https://shop.example/r/1"))
    assert "receipt_link='***'" in shown
    assert "shop.example" not in shown


@unhurried
@given(
    st.decimals(min_value=0, allow_nan=False, allow_infinity=False, places=2)
    | st.decimals(allow_nan=True, allow_infinity=True)
    | st.integers()
    | st.text(alphabet="0123456789.eE+-_ x", max_size=40)
)
def test_an_amount_either_passes_in_its_one_form_or_is_refused_as_a_fault(value: Any) -> None:
    try:
        kept = Capture(payment_link_ref="8a1f", amount=value).amount
    except RequestValidationError as refused:
        fields = [fault.field for fault in refused.faults]
    else:
        fields = []
        assert kept == Decimal(value)
        assert set(str(kept)) <= set("0123456789.E-")
        assert len(Decimal(value).as_tuple().digits) <= 30
    assert fields in ([], ["amount"])


# Delivery ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shows_link", [None, False])
def test_a_link_that_nobody_would_get_has_a_problem(shows_link: bool | None) -> None:  # noqa: FBT001 - a field
    request = link(channel="none", return_payment_link=shows_link)
    assert str(delivery_problem(request)).endswith(
        "nobody would get the link; set it, or write sms or whatsapp"
    )


def test_a_link_that_is_sent_or_returned_has_none() -> None:
    assert delivery_problem(link(channel="none", return_payment_link=True)) is None
    assert delivery_problem(link(channel="sms")) is None
    assert delivery_problem(link(channel="whatsapp", return_payment_link=False)) is None


# Fields as keywords -------------------------------------------------------------------------------

NAMED = {"channel": Channel | str, "transaction_type": TransactionType | str | None}
"""The fields whose texts type checkers know as keywords; a request may be built of any text."""


def test_the_keywords_of_a_link_are_the_parameters_of_its_request() -> None:
    parameters = inspect.signature(PaymentLinkRequest).parameters
    types = typing.get_type_hints(PaymentLinkFields)
    assert set(types) == set(parameters)
    required = {name for name, one in parameters.items() if one.default is one.empty}
    assert PaymentLinkFields.__required_keys__ == required
    taken = typing.get_type_hints(PaymentLinkRequest.__init__)
    for name, kind in types.items():
        # Converters take None, which is refused later where a field is required.
        assert taken[name] in {NAMED.get(name, kind), NAMED.get(name, kind) | None}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Channel, ChannelName),
        (TransactionType, TransactionTypeName),
        (IntegrationStatus, IntegrationStatusName),
    ],
)
def test_every_name_that_type_checkers_know_is_taken(kind: type[StrEnum], names: Any) -> None:
    members = {member(kind, name) for name in typing.get_args(names)}
    assert all(isinstance(one, kind) for one in members)
    sent = {TransactionType.SALE, TransactionType.AUTHORIZATION}
    assert members == (sent if kind is TransactionType else set(kind))
    assert {one.value for one in members} <= set(typing.get_args(names))
