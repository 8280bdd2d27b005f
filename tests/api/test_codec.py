"""Every form that the service was seen to send is read; one form is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, localcontext
from typing import Any, cast

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chat2pay_async import models
from chat2pay_async._api.codec import (
    UnreadableError,
    encode,
    read_timestamp,
    reader_for,
    structure,
    wire_name,
    write_timestamp,
)
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.requests import (
    Capture,
    IntegrationRequest,
    LineItem,
    PaymentLinkRequest,
    ReceiptRequest,
)
from chat2pay_async.models import (
    Channel,
    IntegrationStatus,
    PaymentLink,
    PaymentStatus,
    Transaction,
    TransactionStatus,
    TransactionType,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOON = datetime(2021, 4, 27, 17, 35, 58, tzinfo=UTC)
LINK: dict[str, Any] = {
    "channel": "sms",
    "to": "27831234567",
    "order_number": "A-1001",
    "currency": "ZAR",
    "total_amount": "199.90",
    "timestamp": NOON,
}
ANSWERS: list[type[Any]] = [
    kind
    for kind in (getattr(models, name) for name in models.__all__)
    if attrs.has(kind) and "extra" in attrs.fields_dict(kind)
]


def transaction(**fields: Any) -> Transaction:
    return structure(Transaction, fields)


def read_body(kind: type[Any], body: str) -> Any:
    data = decode_object(body.encode())
    assert data is not None
    return structure(kind, data)


# Enums -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ident", [0, 1, 2, 99])
@pytest.mark.parametrize("one", TransactionType)
def test_a_leaked_java_enum_is_read(one: TransactionType, ident: int) -> None:
    leaked = f"TransactionType.{one.name}(name={one.value}, id={ident})"
    for form in (leaked, leaked.lower(), leaked.upper(), one.name, one.value, one.value.lower()):
        assert transaction(transactionType=form).transaction_type is one


@pytest.mark.parametrize("one", Channel)
def test_a_channel_is_read_in_any_form_and_case(one: Channel) -> None:
    leaked = f"ChannelType.{one.name}(name={one.name}, id=1)"
    for form in (leaked, leaked.lower(), one.name, one.value, one.value.title()):
        assert transaction(channelName=form).channel_name is one


@pytest.mark.parametrize("one", TransactionStatus)
def test_a_status_is_read_from_its_name_and_from_its_words(one: TransactionStatus) -> None:
    words = one.name.replace("_", " ")
    for form in (one.name, one.name.lower(), words.title(), words.lower(), words.replace(" ", "-")):
        link = structure(PaymentLink, {"transactionStatus": form})
        assert link.transaction_status is one


def test_the_words_in_a_cancellation_response_are_its_status() -> None:
    cancelled = structure(
        models.Cancellation, {"transactionStatus": "Payment Link Cancelled"}
    ).transaction_status
    assert cancelled is TransactionStatus.PAYMENT_LINK_CANCELLED


@pytest.mark.parametrize("text", ["PAYMENT_LINK_FAXED", "", "Zahlung läuft", "X.Y(z)"])
def test_an_enum_value_that_is_not_known_stays_the_text_it_was(text: str) -> None:
    read = transaction(paymentStatus=text, transactionType=text, channelName=text)
    assert (read.payment_status, read.transaction_type, read.channel_name) == (text,) * 3
    assert type(read.payment_status) is str
    assert read.extra == {}


# Timestamps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        "2021-04-27T17:35:58.000+0000",
        "2021-04-27T17:35:58.000+00:00",
        "2021-04-27T19:35:58.000+0200",
        "2021-04-27T19:35:58+02:00",
        "2021-04-27T12:05:58-05:30",
        "2021-04-27T17:35:58Z",
        "2021-04-27t17:35:58z",
        "2021-04-27 17:35:58+00",
        "2021-04-27T17:35:58",
        " 2021-04-27T17:35:58.000 ",
        "1619544958000",
        1619544958000,
        Decimal("1619544958000.0"),
        Decimal("1.619544958E+12"),
    ],
)
def test_a_timestamp_is_read_in_every_form_that_was_seen(form: object) -> None:
    read = transaction(paymentStatusTimestamp=form).payment_status_timestamp
    assert read == NOON
    assert read.tzinfo is not None


@pytest.mark.parametrize("offset", ["", "Z", "+0000", "+00:00"])
@pytest.mark.parametrize("length", range(10))
def test_a_fraction_of_a_second_has_any_length(length: int, offset: str) -> None:
    fraction = "." + "123456789"[:length] if length else ""
    read = transaction(paymentStatusTimestamp=f"2021-04-27T17:35:58{fraction}{offset}")
    micros = int("123456789"[:length].ljust(6, "0")[:6])
    assert read.payment_status_timestamp == NOON.replace(microsecond=micros)


@pytest.mark.parametrize(
    "form",
    [
        *(
            "soon",
            "",
            "27/04/2021",
            "2021-13-01T00:00:00Z",
            True,
            [],
            {},
            10**17,
            "9" * 20,
            10**400,
        ),
        *(0, "0", -1, "-1619544958", -1619544958000, 1619544958 * 10, 946_684_799, 4_102_444_800),
        *("2021-04-27", "20210427", 20210427, "2021-W17-2", [2021, 4, 27], "20211327173558"),
        *([2021, 4, 27, 17, 35, 58, 123], [2021, 4, 27, 17, 35, 58, 0, 0], ["2021", 4, 27, 17, 35]),
        *([2021, 4, 27, True, 35], [2021, 4, 31, 17, 35], [10**400, 1, 1, 1, 1]),
    ],
    ids=lambda form: repr(form)[:24],
)
def test_an_unreadable_timestamp_is_none_and_kept_raw(form: object) -> None:
    read = transaction(paymentStatusTimestamp=form, orderNumber="A-1001")
    assert read.payment_status_timestamp is None
    assert read.extra == {"paymentStatusTimestamp": form}
    assert read.order_number == "A-1001"


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (NOON, "2021-04-27T17:35:58.000Z"),
        (NOON.replace(microsecond=123999), "2021-04-27T17:35:58.123Z"),
        (NOON.astimezone(timezone(timedelta(hours=2))), "2021-04-27T17:35:58.000Z"),
        (datetime(33, 4, 3, tzinfo=UTC), "0033-04-03T00:00:00.000Z"),
    ],
)
def test_a_timestamp_is_written_in_utc_with_milliseconds(moment: datetime, written: str) -> None:
    assert write_timestamp(moment) == written


class Moment(datetime):
    """As pandas' and freezegun's are."""


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=2, microseconds=1500))])
@pytest.mark.parametrize("microsecond", [0, 999, 1000, 999_999])
def test_a_moment_of_a_derived_class_is_written_like_any_other(
    zone: timezone, microsecond: int
) -> None:
    parts = (2021, 4, 27, 17, 35, 58, microsecond, zone)
    plain = datetime(*parts)  # noqa: DTZ001 - the last of its parts is the zone
    assert write_timestamp(Moment(*parts)) == write_timestamp(plain)


moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the offset
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001 - the same
    timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)


@unhurried
@given(moments)
@example(NOON.replace(tzinfo=timezone(timedelta(microseconds=1))))
@example(NOON.replace(microsecond=1, tzinfo=timezone(timedelta(microseconds=1))))
def test_a_timestamp_is_written_as_the_standard_library_writes_it(moment: datetime) -> None:
    standard = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    assert write_timestamp(moment) == standard.replace("+00:00", "Z")


@unhurried
@given(moments)
def test_a_timestamp_comes_back_to_the_millisecond(moment: datetime) -> None:
    read = read_timestamp(write_timestamp(moment))
    assert read == moment - timedelta(microseconds=moment.astimezone(UTC).microsecond % 1000)
    assert moment - read < timedelta(milliseconds=1)


@unhurried
@given(
    st.integers(946_684_800 * 10**6, 4_102_444_800 * 10**6 - 1),
    st.sampled_from([1, 10**3, 10**6, 10**9]),
)
def test_time_since_the_epoch_is_read_in_the_unit_that_its_size_tells(
    microseconds: int, unit: int
) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    with localcontext(Context(prec=40)):
        number = Decimal(microseconds) * unit / 10**6
    with localcontext(Context(prec=2)):  # the caller's own rounds nothing
        assert read_timestamp(number) == read_timestamp(f"{number:f}") == expected


@pytest.mark.parametrize(
    "form",
    [
        1619544958,
        "1619544958",
        Decimal("1619544958.000"),
        Decimal("1619544958.0000009"),
        1619544958000000,
        "1619544958000000000",
        "20210427173558",
        20210427173558,
        "20210427T173558Z",
        "20210427T173558.000+0000",
        [2021, 4, 27, 17, 35, 58],
        [2021, 4, 27, 17, 35, 58, 0],
    ],
)
def test_a_timestamp_of_other_writers_is_read(form: object) -> None:
    assert transaction(paymentStatusTimestamp=form).payment_status_timestamp == NOON


def test_a_timestamp_without_its_seconds_is_the_full_minute() -> None:
    minute = NOON.replace(second=0)
    assert read_timestamp("202104271735") == read_timestamp([2021, 4, 27, 17, 35]) == minute
    nanoseconds = [2021, 4, 27, 17, 35, 0, 123_456_789]
    assert read_timestamp(nanoseconds) == minute.replace(microsecond=123_456)


# Numbers, ids, flags, texts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("json_text", "digits"),
    [
        ("199.90", "199.90"),
        ('"199.90"', "199.90"),
        ('" 199.90 "', "199.90"),
        ("100.0", "100.0"),
        ("100", "100"),
        ('"100"', "100"),
        ("0.1", "0.1"),
        ("-5.00", "-5.00"),
        ("1E+2", "1E+2"),
        ("12345678901234567890123456789.5", "12345678901234567890123456789.5"),
    ],
)
def test_an_amount_is_a_number_or_a_quoted_number_with_its_digits_kept(
    json_text: str, digits: str
) -> None:
    read = read_body(Transaction, f'{{"totalAmount": {json_text}}}')
    assert str(read.total_amount) == digits
    assert read.extra == {}


@pytest.mark.parametrize(
    "json_text",
    ["1e31", '"1e31"', "1e-31", '"1E-31"', "1e999999999999999999999", "1e-999999999999999999999",
     "1" + "0" * 31, '"1' + "0" * 31 + '"', '"NaN"', '"Infinity"', '"1,5"', '""', "true", "[]",
     "{}"],
)  # fmt: skip
def test_an_unreadable_amount_is_none_and_kept_raw(json_text: str) -> None:
    read = read_body(Transaction, f'{{"totalAmount": {json_text}, "orderNumber": "A-1001"}}')
    assert read.total_amount is None
    assert read.extra.keys() == {"totalAmount"}
    assert read.order_number == "A-1001"


@pytest.mark.parametrize("json_text", ["1e30", "1e-30", "1" + "0" * 30, '"1e30"'])
def test_thirty_is_the_largest_exponent_that_is_read(json_text: str) -> None:
    read = read_body(Transaction, f'{{"totalAmount": {json_text}}}')
    assert read.total_amount == Decimal(json_text.strip('"'))


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), Decimal("Infinity"), 1.5])
def test_a_value_that_json_does_not_have_is_not_an_amount(value: object) -> None:
    assert transaction(totalAmount=value).total_amount is None


@pytest.mark.parametrize("json_text", ["5", "5.0", "5.00", '"5"', '"5.0"', "5e0", "0.5e1"])
def test_a_whole_number_is_an_int_however_it_is_written(json_text: str) -> None:
    read = read_body(PaymentLink, f'{{"paymentLinkTTL": {json_text}}}')
    assert read.payment_link_ttl == 5
    assert type(read.payment_link_ttl) is int


@pytest.mark.parametrize("json_text", ["5.5", '"5.5"', '"five"', "true", "[5]", "1e31"])
def test_an_unreadable_integer_is_none_and_kept_raw(json_text: str) -> None:
    read = read_body(PaymentLink, f'{{"paymentLinkTTL": {json_text}, "paymentPageTTL": 15}}')
    assert read.payment_link_ttl is None
    assert read.extra.keys() == {"paymentLinkTTL"}
    assert read.payment_page_ttl == 15


@pytest.mark.parametrize(
    ("json_text", "ident"), [("2", 2), ('"2"', "2"), ("2.0", 2), ('"PL-2"', "PL-2")]
)
def test_an_id_keeps_its_type(json_text: str, ident: object) -> None:
    for kind in (PaymentLink, models.Cancellation, models.TransactionStatusEntry):
        read = read_body(kind, f'{{"transactionStatusId": {json_text}}}').transaction_status_id
        assert read == ident
        assert type(read) is type(ident)


def test_a_reference_that_comes_as_a_number_is_a_text() -> None:
    read = transaction(orderNumber=1001, paymentLinkRef=2**70)
    assert (read.order_number, read.payment_link_ref) == ("1001", str(2**70))


@pytest.mark.parametrize("value", [Decimal("1.5"), True, [], {}])
def test_an_unreadable_text_is_none_and_kept_raw(value: object) -> None:
    read = transaction(orderNumber=value)
    assert read.order_number is None
    assert read.extra == {"orderNumber": value}


@pytest.mark.parametrize(
    ("form", "flag"), [(True, True), (False, False), ("true", True), (" FALSE ", False)]
)
def test_a_flag_is_read_quoted_or_not(form: object, flag: bool) -> None:  # noqa: FBT001 - a column
    assert transaction(paymentReviewAutoReversal=form).payment_review_auto_reversal is flag


@pytest.mark.parametrize("form", ["yes", "", 1, 0, [], {}])
def test_an_unreadable_flag_is_none_and_kept_raw(form: object) -> None:
    read = transaction(paymentReviewAutoReversal=form)
    assert read.payment_review_auto_reversal is None
    assert read.extra == {"paymentReviewAutoReversal": form}


@pytest.mark.parametrize("form", ["{}", '{"a":1}', {"a": [1]}, [1], 7, False, ""])
def test_additional_data_is_kept_as_it_comes(form: object) -> None:
    assert transaction(additionalData=form).additional_data == form
    assert transaction(additionalData=form).extra == {}


@pytest.mark.parametrize("form", [1, True, [], {}])
def test_an_enum_that_comes_as_no_text_is_none_and_kept_raw(form: object) -> None:
    read = transaction(paymentStatus=form, transactionType="Sale")
    assert read.payment_status is None
    assert read.extra == {"paymentStatus": form}
    assert read.transaction_type is TransactionType.SALE


# Objects -----------------------------------------------------------------------------------------


def test_fields_that_are_not_known_are_kept_in_extra_as_they_came() -> None:
    read = structure(
        models.Configuration, {"cardNetworks": ["VISA"], "environment": "SANDBOX", "extra": 1}
    )
    assert read.environment == "SANDBOX"
    assert read.extra == {"cardNetworks": ["VISA"], "extra": 1}


def test_recovered_is_never_read_from_the_wire() -> None:
    read = structure(PaymentLink, {"recovered": True, "payment_link_ref": "8a1f"})
    assert read.recovered is False
    assert attrs.asdict(read)["payment_link_ref"] is None
    assert read.extra == {"recovered": True, "payment_link_ref": "8a1f"}


def test_null_is_nothing_everywhere() -> None:
    for kind in ANSWERS:
        attributes = [field.name for field in attrs.fields(kind)]
        attributes = [name for name in attributes if name not in {"extra", "recovered", "replayed"}]
        read = structure(kind, {wire_name(name): None for name in attributes})
        assert {getattr(read, name) for name in attributes} <= {None, ()}
        assert read.extra == {}


def test_an_empty_response_is_read() -> None:
    for kind in ANSWERS:
        assert structure(kind, {}).extra == {}


def test_an_unreadable_field_of_a_part_costs_only_itself() -> None:
    read = transaction(
        orderNumber="A-1001",
        integrator={"name": "Shop", "applicationId": []},
        transactionStatuses=[{"created": "soon", "responseCode": "00"}, {"created": 1619544958000}],
        paymentStatuses=[{"totalAmount": "many", "transactionType": "Sale"}],
        orderLineItems=[{"name": "Tea"}, {"unitPrice": 5, "quantity": "two", "colour": "green"}],
    )
    assert read.extra == {}
    assert read.integrator == models.Integrator(name="Shop", extra={"applicationId": []})
    assert read.transaction_statuses == (
        models.TransactionStatusEntry(response_code="00", extra={"created": "soon"}),
        models.TransactionStatusEntry(created=NOON),
    )
    assert read.payment_statuses[0].transaction_type is TransactionType.SALE
    assert read.payment_statuses[0].extra == {"totalAmount": "many"}
    assert read.order_line_items == (
        LineItem(name="Tea", unit_price=None),
        LineItem(name=None, unit_price=5, extra={"quantity": "two", "colour": "green"}),
    )


@pytest.mark.parametrize("raw", ["none", 1, {}, [1], [{}, None], [[]]])
def test_a_list_that_is_no_list_of_objects_is_empty_and_kept_raw(raw: object) -> None:
    read = transaction(transactionStatuses=raw, orderNumber="A-1001")
    assert read.transaction_statuses == ()
    assert read.extra == {"transactionStatuses": raw}
    assert read.order_number == "A-1001"


@pytest.mark.parametrize("raw", ["none", 1, [], True])
def test_an_object_that_is_none_is_none_and_kept_raw(raw: object) -> None:
    read = structure(PaymentLink, {"error": raw, "paymentLinkRef": "8a1f"})
    assert read.error is None
    assert read.extra == {"error": raw}
    assert read.payment_link_ref == "8a1f"


def test_known_unreadable_and_unknown_fields_keep_apart_in_one_response() -> None:
    read = transaction(
        orderNumber="A-1001", totalAmount="many", brandNew=[1], paymentStatus="VOIDED"
    )
    assert read.order_number == "A-1001"
    assert read.payment_status is PaymentStatus.VOIDED
    assert read.extra == {"totalAmount": "many", "brandNew": [1]}


def test_an_attribute_type_without_a_reader_is_an_error_of_the_model() -> None:
    with pytest.raises(ValueError, match="unpack"):
        reader_for(int | bytes | None)


def test_an_unreadable_value_is_a_value_error() -> None:
    with pytest.raises(UnreadableError):
        reader_for(bool)("maybe")


# What is sent ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class CampaignRequest(PaymentLinkRequest):
    """A caller's own, with a field that is none of the service's."""

    campaign: str = "secret"


@attrs.frozen(kw_only=True)
class StockItem(LineItem):
    """Another."""

    shelf: str = "secret"


def test_own_fields_of_a_callers_subclass_are_not_sent() -> None:
    plain, own = PaymentLinkRequest(**LINK), CampaignRequest(**LINK)
    own = attrs.evolve(own, timestamp=plain.timestamp)
    assert encode(own) == encode(plain)
    item = StockItem(name="Tea", unit_price="9.90")
    assert b"secret" not in encode(attrs.evolve(plain, order_line_items=(item,)))


def test_the_least_that_a_link_request_says() -> None:
    assert encode(PaymentLinkRequest(**LINK)) == (
        b'{"channel":"sms","to":"27831234567","orderNumber":"A-1001","currency":"ZAR",'
        b'"totalAmount":199.90,"timestamp":"2021-04-27T17:35:58.000Z"}'
    )


def test_the_most_that_a_link_request_says() -> None:
    item = LineItem(
        name="Tea",
        unit_price="9.90",
        code="t",
        quantity=2,
        sku="T-1",
        tax_amount="1",
        extra={"never": "sent"},
    )
    request = PaymentLinkRequest(
        **LINK,
        from_="27115550000",
        tax_amount="19.90",
        sub_total_amount="180.00",
        payment_gateway_settings_id="pg",
        additional_data={"a": 1.5},
        return_payment_link=True,
        application_id="app",
        payment_review_auto_reversal=False,
        transaction_type="sale",
        order_line_items=[item, LineItem(name="", unit_price=1)],
        reconciliation_id="rec",
        merchant_descriptor="Shop",
    )
    written = encode(request)
    assert json.loads(written, parse_float=str) == {
        "channel": "sms",
        "to": "27831234567",
        "orderNumber": "A-1001",
        "currency": "ZAR",
        "totalAmount": "199.90",
        "timestamp": "2021-04-27T17:35:58.000Z",
        "from": "27115550000",
        "taxAmount": "19.90",
        "subTotalAmount": "180.00",
        "paymentGatewaySettingsId": "pg",
        "additionalData": {"a": "1.5"},
        "returnPaymentLink": True,
        "applicationId": "app",
        "paymentReviewAutoReversal": False,
        "transactionType": "Sale",
        "orderLineItems": [
            {"name": "Tea", "unitPrice": "9.90", "code": "t", "quantity": 2, "sku": "T-1",
             "taxAmount": 1},
            {"name": "", "unitPrice": 1},
        ],
        "reconciliationId": "rec",
        "merchantDescriptor": "Shop",
    }  # fmt: skip


@pytest.mark.parametrize("one", Channel)
def test_a_channel_is_sent_in_lower_case(one: Channel) -> None:
    written = decode_object(encode(PaymentLinkRequest(**LINK | {"channel": one.name})))
    assert written is not None
    assert written["channel"] == one.name.lower()


@pytest.mark.parametrize("kind", ["Authorization", "Sale"])
def test_a_transaction_type_is_sent_capitalised(kind: str) -> None:
    request = PaymentLinkRequest(**LINK, transaction_type=kind.upper())
    assert f'"transactionType":"{kind}"'.encode() in encode(request)


def test_a_receipt_and_an_integration_are_sent_with_the_contracts_names() -> None:
    receipt = ReceiptRequest(payment_link_ref="8a1f", receipt_link="https://r", timestamp=NOON)
    assert encode(receipt) == (
        b'{"paymentLinkRef":"8a1f","receiptLink":"https://r",'
        b'"timestamp":"2021-04-27T17:35:58.000Z"}'
    )
    update = IntegrationRequest(application_uuid="c0ffee", status=IntegrationStatus.DELETED)
    assert encode(update) == b'{"applicationUuid":"c0ffee","status":"DELETED"}'


class Text(str):
    __slots__ = ()


class Price(Decimal):
    __slots__ = ()


class Count(int):
    __slots__ = ()


def test_values_of_derived_classes_are_sent_as_their_base_class() -> None:
    data = [Text("a"), Price("1.50"), Count(3), True]
    request = PaymentLinkRequest(**LINK | {"order_number": Text("A-1")}, additional_data=data)
    written = encode(request)
    assert b'"orderNumber":"A-1"' in written
    assert written.endswith(b'"additionalData":["a",1.50,3,true]}')


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("from_", "from"),
        ("payment_link_ttl", "paymentLinkTTL"),
        ("payment_page_ttl", "paymentPageTTL"),
        ("to", "to"),
        ("order_number", "orderNumber"),
        ("payment_gateway_req_reference_number", "paymentGatewayReqReferenceNumber"),
    ],
)
def test_an_attribute_is_the_snake_case_of_its_name_on_the_wire(attribute: str, name: str) -> None:
    assert wire_name(attribute) == name


# Laws --------------------------------------------------------------------------------------------


@st.composite
def thirty_digits(draw: st.DrawFn) -> str:
    """An amount in its one form: up to thirty digits, none of them lost at the end."""
    digits = draw(st.integers(1, 10**30 - 1).map(str))
    places = draw(st.integers(0, 29))
    padded = digits.rjust(places + 1, "0")[-30:]
    text = padded[: len(padded) - places] + ("." + padded[len(padded) - places :]) * bool(places)
    return str(Decimal(text)) if "E" not in str(Decimal(text)) else f"{Decimal(text):f}"


@unhurried
@given(thirty_digits().filter(lambda text: Decimal(text) > 0))
@example("199.90")
@example("0." + "0" * 28 + "1")
@example("9" * 30)
def test_no_digit_of_an_amount_is_lost_on_the_way_out_or_back(text: str) -> None:
    amount = Capture(payment_link_ref="8a1f", amount=text, currency="XXX").amount
    price = PaymentLinkRequest(**LINK, additional_data={"price": Decimal(text)})
    written = decode_object(encode(price))
    assert written is not None
    assert f"{amount:f}" == text
    assert f"{Decimal(written['additionalData']['price']):f}" == text
    for body in (f'{{"totalAmount":{text}}}', f'{{"totalAmount":"{text}"}}'):
        assert f"{read_body(Transaction, body).total_amount:f}" == text


@unhurried
@given(st.decimals(Decimal("0.01"), Decimal("9" * 28), places=2))
def test_no_digit_of_a_total_is_lost_on_the_way_out(total: Decimal) -> None:
    body = encode(PaymentLinkRequest(**LINK | {"total_amount": total}))
    assert f'"totalAmount":{total},'.encode() in body


WIRE_NAMES = sorted({wire_name(field.name) for kind in ANSWERS for field in attrs.fields(kind)})
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["Sale", "SUCCESS", "true", "1.5", "2021-04-27T17:35:58.000+0000", "1e99"])
)
names = st.sampled_from(WIRE_NAMES) | st.text(max_size=10)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(names, json_values, max_size=8)


def lost(kind: type[Any], data: dict[str, Any], read: Any) -> list[str]:
    """The fields that are neither read nor kept raw, or both."""
    attributes = {
        wire_name(field.name): field.name
        for field in attrs.fields(kind)
        if field.name not in {"extra", "recovered", "replayed"}
    }
    missing = [name for name in read.extra if name not in data]
    for name, raw in data.items():
        value = getattr(read, attributes[name]) if name in attributes else None
        empty = name in attributes and (raw is None or (raw == [] and value == ()))
        is_read = empty or value not in (None, ())
        is_kept = name in read.extra and read.extra[name] is raw
        missing += [name] * (is_read == is_kept)
    return missing


@pytest.mark.parametrize("kind", ANSWERS)
@unhurried
@given(data=json_objects)
def test_any_object_is_read_as_any_response_without_loss(
    kind: type[Any], data: dict[str, Any]
) -> None:
    read = structure(kind, data)
    assert type(read) is kind
    assert lost(kind, data, read) == []
    assert isinstance(hash(read), int)
    assert repr(read).startswith(kind.__name__)


@unhurried
@given(json_objects)
def test_reading_does_not_change_its_input(data: dict[str, Any]) -> None:
    before = repr(data)
    structure(Transaction, data)
    assert repr(data) == before


optional_texts = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]))
link_requests = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(Channel),
        "timestamp": moments,
        "from_": optional_texts,
        "application_id": optional_texts,
        "merchant_descriptor": optional_texts,
        "return_payment_link": st.none() | st.booleans(),
        "transaction_type": st.sampled_from([None, "sale", "authorization"]),
        "additional_data": st.none()
        | st.dictionaries(st.text(max_size=5).filter(str.isascii), st.integers()),
    }
)


@unhurried
@given(link_requests)
def test_a_request_is_written_under_the_contracts_names_and_nothing_else(
    fields: dict[str, Any],
) -> None:
    request = PaymentLinkRequest(**LINK | fields)
    written = decode_object(encode(request))
    given_names = {wire_name(name) for name, value in (LINK | fields).items() if value is not None}
    assert written is not None
    assert written.keys() == given_names
    assert cast("str", written["channel"]) in {"sms", "whatsapp", "none"}
    assert written.get("transactionType") in {None, "Authorization", "Sale"}
    assert written.get("from") == fields["from_"]
    assert written.get("additionalData") == fields["additional_data"]
    assert read_timestamp(written["timestamp"]) <= fields["timestamp"]
