"""Posted bytes are one of four kinds of callback, or a `CallbackError` and nothing else."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posted import (
    CONFIGURATION,
    CUSTOMER,
    PAYMENT,
    TRANSACTION,
    is_usable,
    payment,
    posted,
    transaction,
)

from chat2pay_async import (
    CallbackError,
    Channel,
    Configuration,
    PaymentStatus,
    Transaction,
    TransactionStatus,
    TransactionType,
)
from chat2pay_async.callbacks import (
    ConfigurationCallback,
    PaymentStatusCallback,
    TransactionStatusCallback,
    UnknownCallback,
    parse,
)


def test_a_payments_new_status_is_read() -> None:
    callback = parse(posted(PAYMENT))
    assert isinstance(callback, PaymentStatusCallback)
    assert (callback.order_number, callback.payment_link_ref) == ("A-1", "ref-1")
    assert (callback.from_, callback.to) == ("27110000000", CUSTOMER)
    assert callback.payment_status is PaymentStatus.SUCCESS
    assert callback.total_amount == Decimal("199.9")
    assert (callback.currency, callback.succeeded, callback.extra) == ("ZAR", True, {})


def test_a_links_new_status_is_read_in_the_forms_of_the_status_endpoint() -> None:
    callback = parse(posted(TRANSACTION))
    assert isinstance(callback, TransactionStatusCallback)
    (step,) = callback.transaction_statuses
    assert step.transaction_status_name is TransactionStatus.PAYMENT_LINK_SENT
    assert step.created == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert (callback.channel_name, callback.transaction_type) == (
        Channel.SMS,
        TransactionType.SALE,
    )
    assert callback.total_amount == Decimal("199.90")


def test_a_changed_configuration_is_read() -> None:
    callback = parse(posted(CONFIGURATION))
    assert isinstance(callback, ConfigurationCallback)
    assert callback.supported_currencies[0].iso == "ZAR"
    assert (callback.api_key, callback.sms_channel_enabled) == ("new-key", True)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"orderNumber": "A-1", "paymentStatus": "FAILED"}, PaymentStatusCallback),
        ({"orderNumber": "A-1", "newPaymentStatus": "FAILED"}, PaymentStatusCallback),
        ({"paymentLinkRef": "r", "to": CUSTOMER}, PaymentStatusCallback),
        ({"paymentLinkRef": "r", "cardType": "VISA", "environment": "X"}, PaymentStatusCallback),
        ({"orderNumber": "A-1", "paymentStatuses": [], "to": "1"}, TransactionStatusCallback),
        ({"orderNumber": "A-1", "transactionStatus": "NEW"}, TransactionStatusCallback),
        (
            {"orderNumber": "A-1", "paymentStatus": "FAILED", "channelName": "sms"},
            TransactionStatusCallback,
        ),
        ({"whatsappChannelEnabled": False}, ConfigurationCallback),
        ({"orderNumber": "A-1"}, UnknownCallback),
        ({"orderNumber": None, "apiKey": "k"}, ConfigurationCallback),
        ({"environment": "SANDBOX"}, UnknownCallback),
        ({"paymentStatus": "SUCCESS"}, UnknownCallback),
        ({}, UnknownCallback),
    ],
)
def test_the_kind_is_told_by_the_content(fields: dict[str, Any], kind: type[Any]) -> None:
    assert type(parse(posted(fields))) is kind


def test_a_callback_is_never_taken_for_what_the_service_confirmed() -> None:
    for body in (posted(TRANSACTION), posted(CONFIGURATION)):
        assert not isinstance(parse(body), (Transaction, Configuration))
    assert not hasattr(parse(posted(TRANSACTION)), "is_paid")


def test_the_new_status_has_one_name_whatever_it_is_called() -> None:
    callback = parse(payment(paymentStatus=None, newPaymentStatus="Reversed", newPaymentStatusId=6))
    assert isinstance(callback, PaymentStatusCallback)
    assert callback.payment_status is PaymentStatus.REVERSED
    assert callback.payment_status_id == 1


def test_unknown_fields_and_unreadable_values_are_kept() -> None:
    callback = parse(payment(campaign={"a": [1]}, totalAmount="much"))
    assert isinstance(callback, PaymentStatusCallback)
    assert callback.extra == {"campaign": {"a": [1]}, "totalAmount": "much"}
    assert callback.total_amount is None
    unknown = parse('{"event": "NEW_KIND", "orderNumber": "A-1"}')
    assert isinstance(unknown, UnknownCallback)
    assert (unknown.order_number, unknown.extra) == ("A-1", {"event": "NEW_KIND"})


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode])
def test_the_body_may_be_of_any_kind_of_bytes_or_a_text(kind: Any) -> None:
    assert parse(kind(posted(PAYMENT))) == parse(posted(PAYMENT))


MALFORMED = {
    "empty": b"",
    "no JSON": b"order=A-1&status=SUCCESS",
    "a page": b"<html>",
    "cut": posted(PAYMENT)[:-2],
    "two objects": b"{}{}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "UTF-16": "{}".encode("utf-16"),
    "a damaged name": b'{"order\xffNumber": "A-1"}',
    "endless nesting": b'{"a":' * 50_000,
    "endless lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep": b'{"a":' * 129 + b"1" + b"}" * 129,
    "long": posted({"note": "x" * 262_144}),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_whatever_is_malformed_is_refused(body: bytes) -> None:
    with pytest.raises(CallbackError, match="this is no callback"):
        parse(body)


def test_what_is_just_short_and_just_flat_enough_is_read() -> None:
    padded = posted({"note": ""})
    whole = posted({"note": "x" * (262_144 - len(padded))})
    assert len(whole) == 262_144
    assert parse(whole).extra
    assert is_usable(b'{"a":' * 128 + b"1" + b"}" * 128)


def test_half_a_character_costs_only_its_own_field() -> None:
    body = posted(PAYMENT).replace(b'"ZAR"', b'"\xff"').decode(errors="surrogateescape")
    callback = parse(posted(PAYMENT).replace(b'"ZAR"', b'"\xff"'))
    assert isinstance(callback, PaymentStatusCallback)
    assert (callback.currency, callback.to) == (None, CUSTOMER)
    assert parse(body).to_dict()["currency"] is None


def test_a_body_that_is_compressed_is_refused_and_other_headers_do_not_matter() -> None:
    with pytest.raises(CallbackError, match="compressed"):
        parse(posted(PAYMENT), {"content-Encoding": "gzip"})
    headers = {"Content-Encoding": "Identity", "Content-Type": "text/plain", "X-Signature": "?"}
    assert parse(posted(PAYMENT), headers) == parse(posted(PAYMENT))


@pytest.mark.parametrize("body", [None, 1, {"orderNumber": "A-1"}, ["{}"]])
def test_what_is_no_body_is_a_mistake_of_the_callers(body: Any) -> None:
    with pytest.raises(TypeError, match="posted bytes"):
        parse(body)


def test_personal_data_is_in_no_error_and_no_repr() -> None:
    with pytest.raises(CallbackError) as caught:
        parse(posted(PAYMENT)[:-1])
    text = "".join(traceback.format_exception(caught.value))
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert CUSTOMER not in text
    assert not {"parse", "_object_in"} & set(frames)
    for body in (posted(PAYMENT), payment(orderNumber=None, paymentLinkRef=None)):
        assert CUSTOMER not in repr(parse(body))
    assert "411111" not in repr(parse(posted(PAYMENT)))
    assert "new-key" not in repr(parse(posted(CONFIGURATION)))


def test_a_callback_is_written_as_every_model_is() -> None:
    callback = parse(payment(campaign="x"))
    assert callback.to_dict()["to"] == CUSTOMER
    assert json.loads(callback.to_json())["extra"] == {"campaign": "x"}
    assert "api_key" not in parse(posted(CONFIGURATION)).to_dict()


# Whatever is posted -------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [*PAYMENT, *TRANSACTION, *CONFIGURATION, "paymentStatuses", "newPaymentStatus"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*PAYMENT.values(), *CONFIGURATION.values(), "2026-03-01", "1e999", "FAILED"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary() | st.text())
def test_any_bytes_and_any_text_are_read_or_refused(body: bytes | str) -> None:
    assert is_usable(body) in {True, False}


@given(st.dictionaries(NAMES | st.text(), VALUES), st.booleans())
def test_any_object_is_read(fields: dict[str, Any], as_text: bool) -> None:  # noqa: FBT001 - hypothesis fills it in
    body = json.dumps(fields)
    is_nameless = any(not name.isprintable() for name in names_in(fields))
    assert is_usable(body if as_text else body.encode()) or is_nameless


def names_in(value: Any) -> list[str]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = list(value) if isinstance(value, dict) else []
    return own + [name for one in inner for name in names_in(one)]


@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_body_that_is_damaged_anywhere_is_read_or_refused(at: int, by: bytes) -> None:
    body = transaction("PAYMENT_LINK_SENT", additionalData='{"a": 1}')
    assert is_usable(body[:at] + by + body[at + len(by) :]) in {True, False}
