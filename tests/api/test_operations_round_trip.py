"""From the exact bytes of a POST back to the request that they were written from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from chat2pay_async import RequestValidationError
from chat2pay_async._api import operations, requests
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import Operation, check_unchanged, mint, prepare, request_of

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOON = datetime(2021, 4, 27, 12, 30, 15, 123456, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
POSTS = [one for one in operations.OPERATIONS if one.method == "POST"]
UNCHANGED = "is not what an earlier run sent; undo the change, or make it another order"

LINK = requests.PaymentLinkRequest(
    channel="sms",
    to="27831234567",
    from_="27115550000",
    order_number="A-1",
    currency="ZAR",
    total_amount="199.90",
    sub_total_amount="180.00",
    tax_amount="19.90",
    timestamp=NOON,
    payment_gateway_settings_id="pg",
    additional_data={"shop": "Main Street"},
    return_payment_link=True,
    application_id="app",
    payment_review_auto_reversal=False,
    transaction_type="sale",
    order_line_items=[requests.LineItem(name="Tea", unit_price="9.90", quantity=2)],
    reconciliation_id="rec",
    merchant_descriptor="Shop",
)

# Every valid request -----------------------------------------------------------------------------

MOMENTS = st.datetimes(
    min_value=datetime(2, 1, 2),  # noqa: DTZ001 - hypothesis adds the offset
    max_value=datetime(9998, 12, 30),  # noqa: DTZ001 - the same
    timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
UNICODE = st.characters(codec="utf-8")
PRINTABLE = st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp"))


def words(least: int = 0, most: int = 12) -> st.SearchStrategy[str]:
    return st.text(PRINTABLE, min_size=least, max_size=most)


def not_blank(most: int = 12) -> st.SearchStrategy[str]:
    odd = st.sampled_from(["/", "a/../b", "?amount=1", "#", "%2F", "..%2f", "a b", "ä", "[x]", "1"])
    return (words(1, most) | odd).map(str.strip).filter(lambda text: text not in {"", ".", ".."})


def amounts(places: int, least: str = "0.01") -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(least), Decimal("9" * 20), places=places)


JSON_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.decimals(-(10**9), 10**9, places=3)
    | st.text(UNICODE, max_size=8)
)
JSON_KEYS = st.text(UNICODE, max_size=6)
JSON = st.recursive(
    JSON_SCALARS | st.just("sdkRequestId"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(JSON_KEYS | st.just("sdkRequestId"), inner, max_size=3)
    ),
    max_leaves=8,
)
LINE_ITEMS = st.builds(
    requests.LineItem,
    name=words(),
    unit_price=amounts(2),
    code=st.none() | words(),
    quantity=st.none() | st.integers(1, 2**31 - 1),
    sku=st.none() | words(),
    tax_amount=st.none() | amounts(2),
)


@st.composite
def links(draw: st.DrawFn) -> requests.PaymentLinkRequest:
    """A valid link request of any kind."""
    currency = draw(st.sampled_from(["ZAR", "usd", "EUR"]))
    sub_total, tax = draw(amounts(2)), draw(amounts(2, "0.00"))
    return requests.PaymentLinkRequest(
        channel=draw(st.sampled_from(["sms", "WhatsApp", "none"])),
        to=draw(st.text("0123456789", min_size=4, max_size=12).map("278".__add__)),
        order_number=draw(not_blank(32)),
        currency=currency,
        total_amount=sub_total + tax,
        timestamp=draw(MOMENTS),
        from_=draw(st.none() | words()),
        tax_amount=draw(st.sampled_from([None, tax])),
        sub_total_amount=draw(st.sampled_from([None, sub_total])),
        payment_gateway_settings_id=draw(st.none() | words()),
        additional_data=draw(JSON),
        return_payment_link=draw(st.sampled_from([None, True, False])),
        application_id=draw(st.none() | words()),
        payment_review_auto_reversal=draw(st.sampled_from([None, True, False])),
        transaction_type=draw(st.sampled_from([None, "SALE", "Authorization"])),
        order_line_items=draw(st.lists(LINE_ITEMS, max_size=3)),
        reconciliation_id=draw(st.none() | words()),
        merchant_descriptor=draw(st.none() | words()),
    )


REFERENCES = st.builds(requests.LinkReference, payment_link_ref=not_blank())
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "create_payment_link": links(),
    "cancel_payment_link": REFERENCES,
    "reverse_payment": REFERENCES,
    "capture_payment": st.builds(
        requests.Capture,
        payment_link_ref=not_blank(),
        amount=st.none() | st.integers(0, 5).flatmap(lambda places: amounts(places, "1")),
        currency=st.just("XXX"),
    ),
    "create_receipt": st.builds(
        requests.ReceiptRequest,
        payment_link_ref=not_blank(),
        receipt_link=not_blank(),
        timestamp=MOMENTS,
    ),
}


def test_there_is_a_request_for_every_post() -> None:
    assert STRATEGIES.keys() == {operation.name for operation in POSTS}


@pytest.mark.parametrize("operation", POSTS, ids=lambda one: str(one.name))
@unhurried
@given(data=st.data(), stamped=st.booleans())
def test_the_request_that_comes_back_is_written_out_as_the_same_bytes(
    operation: Operation[Any, Any], data: st.DataObject, *, stamped: bool
) -> None:
    request = data.draw(STRATEGIES[operation.name])
    assume(getattr(request, "additional_data", None) != {})  # it comes back as none; see below
    request_id = mint(operation, request) if stamped else None
    sent = prepare(operation, request, request_id)
    back = request_of(operation, sent, request_id)
    assert type(back) is operation.request
    assert operation.identity(back) == operation.identity(request)
    assert prepare(operation, back, request_id) == sent
    check_unchanged(operation, request, sent, request_id)
    check_unchanged(operation, back, sent, request_id)


@unhurried
@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e22)
@example(5e-324)
@example(-0.0)
def test_a_float_of_the_callers_own_comes_back_as_the_same_number(number: float) -> None:
    request = attrs.evolve(LINK, additional_data={"number": number})
    operation = operations.CREATE_PAYMENT_LINK
    sent = prepare(operation, request, "id-1")
    back = prepare(operation, request_of(operation, sent, "id-1"), "id-1")
    assert decode_object(back.body or b"") == decode_object(sent.body or b"")
    check_unchanged(operation, request, sent, "id-1")


def test_the_minted_id_is_no_part_of_the_request() -> None:
    operation = operations.CREATE_PAYMENT_LINK
    for data in ({"shop": 1}, None):
        request = attrs.evolve(LINK, additional_data=data)
        back = request_of(operation, prepare(operation, request, "id-1"), "id-1")
        assert back.additional_data == data


def test_a_capture_comes_back_although_its_currency_was_not_sent() -> None:
    operation = operations.CAPTURE_PAYMENT
    for amount, known in (("1.250", "XXX"), ("1.25", None), (None, None)):
        request = requests.Capture("ref-1", amount, "KWD")
        back = request_of(operation, prepare(operation, request), None)
        assert (back, back.currency) == (request, known)


def test_an_id_of_the_callers_own_is_part_of_the_request() -> None:
    operation = operations.CREATE_PAYMENT_LINK
    request = attrs.evolve(LINK, additional_data={"sdkRequestId": "mine"})
    back = request_of(operation, prepare(operation, request), None)
    assert back.additional_data == {"sdkRequestId": "mine"}


def test_empty_additional_data_is_none_at_all() -> None:
    operation = operations.CREATE_PAYMENT_LINK
    empty = attrs.evolve(LINK, additional_data={})
    nothing = attrs.evolve(LINK, additional_data=None)
    for request_id in ("id-1", None):
        sent = prepare(operation, empty, request_id)
        assert request_of(operation, sent, request_id).additional_data is None
        check_unchanged(operation, empty, sent, request_id)
        check_unchanged(operation, nothing, sent, request_id)


# What has changed --------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "channel": "whatsapp",
    "to": "27830000000",
    "order_number": "A-2",
    "currency": "USD",
    "from_": "27110000000",
    "payment_gateway_settings_id": "Zebra-9",
    "additional_data": {"shop": "Side Street"},
    "return_payment_link": False,
    "application_id": "Zebra-9",
    "payment_review_auto_reversal": True,
    "transaction_type": "authorization",
    "order_line_items": [requests.LineItem(name="Tea", unit_price="9.91", quantity=2)],
    "reconciliation_id": "Zebra-9",
    "merchant_descriptor": "Zebra-9",
}


def changed_fields(
    operation: Operation[Any, Any], now: Any, then: Any, request_id: str | None = None
) -> list[str]:
    """Return the fields that differ from what was sent; check the rest of the error."""
    sent = prepare(operation, then, request_id)
    with pytest.raises(RequestValidationError) as caught:
        check_unchanged(operation, now, sent, request_id)
    assert {fault.problem for fault in caught.value.faults} == {UNCHANGED}
    assert str(caught.value).startswith(f"{operation.name}: ")
    changed = str(caught.value)
    for value in ("Zebra", "Street", "whatsapp", "2783", "2711", "199.9", "100.0", "ref-", "http"):
        assert value not in changed
    return [fault.field for fault in caught.value.faults]


@pytest.mark.parametrize("request_id", [None, "id-1"])
@pytest.mark.parametrize("field", CHANGES)
def test_a_field_that_was_changed_is_named_and_no_other_nor_any_value(
    field: str, request_id: str | None
) -> None:
    now = attrs.evolve(LINK, **{field: CHANGES[field]}, timestamp=LATER)
    assert changed_fields(operations.CREATE_PAYMENT_LINK, now, LINK, request_id) == [field]


@pytest.mark.parametrize("field", [name for name in CHANGES if attrs.fields_dict(
    requests.PaymentLinkRequest)[name].default is not attrs.NOTHING])  # fmt: skip
def test_a_field_that_was_taken_out_or_added_is_named(field: str) -> None:
    nothing: Any = () if field == "order_line_items" else None
    without = attrs.evolve(LINK, **{field: nothing})
    assert changed_fields(operations.CREATE_PAYMENT_LINK, without, LINK, "id-1") == [field]
    assert changed_fields(operations.CREATE_PAYMENT_LINK, LINK, without, "id-1") == [field]


@pytest.mark.parametrize("data", [["a"], "a", 1, {"sdkRequestId": "the shop's own"}])
def test_data_that_was_changed_to_what_takes_no_id_is_named(data: Any) -> None:
    now = attrs.evolve(LINK, additional_data=data)
    create = operations.CREATE_PAYMENT_LINK
    assert changed_fields(create, now, LINK, "id-1") == ["additional_data"]


def test_all_changed_fields_are_named_at_once() -> None:
    now = attrs.evolve(LINK, total_amount="200", sub_total_amount="180.10", to="27830000000")
    changed = changed_fields(operations.CREATE_PAYMENT_LINK, now, LINK)
    assert changed == ["to", "total_amount", "sub_total_amount"]


def test_an_amount_that_is_written_otherwise_is_the_same_amount() -> None:
    now = attrs.evolve(LINK, total_amount="199.9", sub_total_amount="180", tax_amount="19.9")
    create, capture = operations.CREATE_PAYMENT_LINK, operations.CAPTURE_PAYMENT
    check_unchanged(create, now, prepare(create, LINK, "id-1"), "id-1")
    sent = prepare(capture, requests.Capture("ref-1", "100"))
    check_unchanged(capture, requests.Capture("ref-1", "100.00"), sent, None)


@pytest.mark.parametrize("request_id", [None, "id-1"])
def test_another_timestamp_is_no_change(request_id: str | None) -> None:
    create, receipt = operations.CREATE_PAYMENT_LINK, operations.CREATE_RECEIPT
    sent = prepare(create, LINK, request_id)
    check_unchanged(create, attrs.evolve(LINK, timestamp=LATER), sent, request_id)
    then = requests.ReceiptRequest(payment_link_ref="r", receipt_link="https://r", timestamp=NOON)
    check_unchanged(
        receipt, attrs.evolve(then, timestamp=LATER), prepare(receipt, then), request_id
    )


@pytest.mark.parametrize(
    ("operation", "then", "now", "fields"),
    [
        (
            operations.CAPTURE_PAYMENT,
            requests.Capture("ref-1", "100.00"),
            requests.Capture("ref-1", "100.01"),
            ["amount"],
        ),
        (
            operations.CAPTURE_PAYMENT,
            requests.Capture("ref-1", "100.00"),
            requests.Capture("ref-1"),
            ["amount"],
        ),
        (
            operations.CAPTURE_PAYMENT,
            requests.Capture("ref-1"),
            requests.Capture("ref-2", "100.00"),
            ["payment_link_ref", "amount"],
        ),
        (
            operations.CANCEL_PAYMENT_LINK,
            requests.LinkReference(payment_link_ref="ref-1"),
            requests.LinkReference(payment_link_ref="ref-2"),
            ["payment_link_ref"],
        ),
        (
            operations.REVERSE_PAYMENT,
            requests.LinkReference(payment_link_ref="a/b"),
            requests.LinkReference(payment_link_ref="a"),
            ["payment_link_ref"],
        ),
        (
            operations.CREATE_RECEIPT,
            requests.ReceiptRequest(payment_link_ref="r", receipt_link="https://r.example"),
            requests.ReceiptRequest(payment_link_ref="r", receipt_link="https://s.example"),
            ["receipt_link"],
        ),
    ],
)
def test_a_change_is_found_in_every_kind_of_request(
    operation: Operation[Any, Any], then: Any, now: Any, fields: list[str]
) -> None:
    assert changed_fields(operation, now, then) == fields
