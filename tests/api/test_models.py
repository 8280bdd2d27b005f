"""Responses are values that can be kept, compared, pickled and shown."""

from __future__ import annotations

import itertools
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest

from chat2pay_async import models
from chat2pay_async._api.codec import structure
from chat2pay_async._api.models import link_ended
from chat2pay_async.models import (
    Cancellation,
    Configuration,
    Currency,
    GatewayResult,
    IntegrationUpdate,
    Integrator,
    LineItem,
    PaymentLink,
    PaymentStatus,
    PaymentStatusEntry,
    Receipt,
    ThirdPartyError,
    Transaction,
    TransactionStatus,
    TransactionStatusEntry,
    TransactionType,
)

NOW = datetime(2021, 4, 27, 17, 35, 58, tzinfo=UTC)
CARD = {"cardType": "VISA", "maskedCardNumber": "411111xxxxxx1111", "cardExpiryDate": "12/29"}
GATEWAY = CARD | {"transactionType": "Sale", "totalAmount": Decimal("199.90")}
RESPONSES: dict[type[Any], dict[str, Any]] = {
    PaymentLink: {
        "paymentLinkRef": "8a1f",
        "transactionStatus": "PAYMENT_LINK_SENT",
        "paymentLink": "https://pay.example/8a1f",
        "error": {"code": 7, "description": "no route"},
        "to": "27831234567",
    },
    Cancellation: {"paymentLinkRef": "8a1f", "additionalData": '{"customer": "Thandi"}'},
    GatewayResult: GATEWAY | {"paymentStatus": "SUCCESS"},
    PaymentStatusEntry: GATEWAY,
    Receipt: {"receiptLinkRef": "r1", "timestamp": "2021-04-27T17:35:58.000+0000"},
    TransactionStatusEntry: {"transactionStatusId": 2, "transactionStatusName": "NEW"},
    Integrator: {"applicationId": "c0ffee", "name": "Shop"},
    ThirdPartyError: {"code": 7},
    Transaction: {
        "orderNumber": "A-1001",
        "additionalData": {"customer": "Thandi"},
        "paymentStatuses": [GATEWAY],
        "transactionStatuses": [{"created": 1619544958000}],
        "orderLineItems": [{"name": "Tea", "unitPrice": Decimal("9.90")}],
        "integrator": {"name": "Shop"},
        "from": "27115550000",
    },
    Currency: {"id": 1, "iso": "ZAR", "isDefault": True},
    Configuration: {"apiKey": "sk-secret", "integrators": [{"name": "Shop"}], "cardNetworks": []},
    IntegrationUpdate: {"updateTime": "2021-04-27T17:35:58Z"},
    LineItem: {"name": "Tea", "unitPrice": Decimal("9.90"), "colour": "green"},
}


def example(kind: type[Any]) -> Any:
    return structure(kind, RESPONSES[kind])


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_model_survives_pickling(kind: type[Any]) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copied = pickle.loads(pickle.dumps(example(kind), protocol))  # noqa: S301 - our own bytes
        assert copied == example(kind)
        assert type(copied) is kind
        assert copied.extra == example(kind).extra


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_model_is_immutable_and_takes_no_new_attributes(kind: type[Any]) -> None:
    model = example(kind)
    for name in [*(field.name for field in attrs.fields(kind)), "brand_new"]:
        with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
            setattr(model, name, None)
    assert model == example(kind)


@pytest.mark.parametrize("kind", RESPONSES)
def test_equal_models_hash_alike(kind: type[Any]) -> None:
    assert len({example(kind), example(kind)}) == 1


@pytest.mark.parametrize("kind", RESPONSES)
def test_extra_tells_models_apart_and_is_left_out_of_the_hash(kind: type[Any]) -> None:
    other = attrs.evolve(example(kind), extra={"unhashable": []})
    assert other != example(kind)
    assert hash(other) == hash(example(kind))


@pytest.mark.parametrize("kind", RESPONSES)
def test_the_repr_shows_the_keys_of_extra_and_no_value_of_it(kind: type[Any]) -> None:
    shown = repr(attrs.evolve(example(kind), extra={"msisdn": "27831234567", "b": {"c": 1}}))
    assert "extra=<keys ['b', 'msisdn']>" in shown
    assert "27831234567" not in shown


@pytest.mark.parametrize("kind", RESPONSES)
def test_no_repr_shows_a_key_a_card_a_url_a_phone_or_the_callers_data(kind: type[Any]) -> None:
    shown = repr(example(kind))
    secrets = ("sk-secret", "VISA", "1111", "12/29", "pay.example", "Thandi", "27831234567",
               "27115550000")  # fmt: skip
    assert [secret for secret in secrets if secret in shown] == []


def test_words_of_others_are_shown_without_long_numbers() -> None:
    said = ThirdPartyError(code=7, description="no message to 27831234567")
    assert repr(said) == (
        "ThirdPartyError(code=7, description='no message to ***', extra=<keys []>)"
    )
    step = TransactionStatusEntry(response_code_description="4111 1111 1111 1111 declined")
    assert "response_code_description='*** declined'" in repr(step)
    assert "description=None" in repr(ThirdPartyError())


def test_a_masked_field_tells_whether_there_is_a_value() -> None:
    assert "payment_link='***'" in repr(PaymentLink(payment_link="https://pay.example"))
    assert "payment_link=None" in repr(PaymentLink())
    assert "api_key='***'" in repr(Configuration(api_key="sk"))
    assert "additional_data='***'" in repr(Cancellation(additional_data="{}"))
    assert "additional_data=<keys ['a']>" in repr(Transaction(additional_data={"a": 1}))


def test_every_response_can_be_empty() -> None:
    for kind in RESPONSES.keys() - {LineItem}:
        model = kind()
        values = set(attrs.asdict(model, filter=lambda field, _: field.name != "extra").values())
        assert values <= {None, (), False}
        assert model.extra == {}


def test_every_model_is_tried_here() -> None:
    exported = {getattr(models, name) for name in models.__all__}
    responses = {
        kind for kind in exported if attrs.has(kind) and "extra" in attrs.fields_dict(kind)
    }
    assert responses == RESPONSES.keys()


# Has the customer got it? ------------------------------------------------------------------------

NOT_DELIVERED = {
    TransactionStatus.PAYMENT_LINK_REQUEST_FAILED,
    TransactionStatus.PAYMENT_LINK_SENT_FAILED,
    TransactionStatus.PAYMENT_LINK_DELIVERY_FAILED,
}
DELIVERED = {TransactionStatus.PAYMENT_LINK_SENT, TransactionStatus.PAYMENT_LINK_DELIVERED}


@pytest.mark.parametrize("status", TransactionStatus)
def test_a_links_status_tells_whether_its_message_went_out(status: TransactionStatus) -> None:
    delivered = PaymentLink(transaction_status=status).delivered
    if status in NOT_DELIVERED:
        assert delivered is False
    elif status in DELIVERED:
        assert delivered is True
    else:
        assert delivered is None


@pytest.mark.parametrize("status", [None, "", "PAYMENT_LINK_FAXED"])
def test_a_status_that_is_not_known_tells_nothing(status: str | None) -> None:
    assert PaymentLink(transaction_status=status).delivered is None


# Has the gateway agreed? -------------------------------------------------------------------------

ACCEPTED = ["ACCEPT", "ACCEPTED", "APPROVE", "APPROVED", "SUCCESS", "SUCCESSFUL", " accept "]
DECLINED = ["DECLINE", "DECLINED", "REJECT", "REJECTED", "ERROR", "FAIL", "FAILED", "FAILURE",
            "CANCEL", "CANCELLED", "Declined "]  # fmt: skip
ABSENT = [None, "", " "]
OPEN = ["REVIEW", "PENDING", "AUTHORIZED_PENDING_REVIEW", "?"]
NO_ERROR = [*ABSENT, "SUCCESS", "accept"]
AN_ERROR = ["DECLINED", "PROCESSOR_TIMEOUT"]
SUCCESS_CODE, OTHER_CODES = 100, [0, 101, 481, -100]

VERDICTS: list[tuple[bool | None, list[Any], list[Any], list[Any]]] = [
    (True, ACCEPTED, NO_ERROR, [SUCCESS_CODE, None]),
    (None, ACCEPTED, NO_ERROR, OTHER_CODES),
    (None, ACCEPTED, AN_ERROR, [SUCCESS_CODE, None, *OTHER_CODES]),
    (False, DECLINED, NO_ERROR + AN_ERROR, [None, *OTHER_CODES]),
    (None, DECLINED, NO_ERROR + AN_ERROR, [SUCCESS_CODE]),
    (False, ABSENT, AN_ERROR, [None, *OTHER_CODES]),
    (None, ABSENT, AN_ERROR, [SUCCESS_CODE]),
    (True, ABSENT, NO_ERROR, [SUCCESS_CODE]),
    (None, ABSENT, NO_ERROR, [None, *OTHER_CODES]),
    (None, OPEN, NO_ERROR + AN_ERROR, [SUCCESS_CODE, None, *OTHER_CODES]),
]


@pytest.mark.parametrize(("verdict", "decisions", "error_decisions", "codes"), VERDICTS)
@pytest.mark.parametrize("kind", [GatewayResult, PaymentStatusEntry])
def test_a_gateway_result_succeeded_only_if_nothing_in_it_disagrees(
    kind: type[GatewayResult],
    verdict: bool | None,  # noqa: FBT001 - a column of the table
    decisions: list[str | None],
    error_decisions: list[str | None],
    codes: list[int | None],
) -> None:
    for decision, error, code in itertools.product(decisions, error_decisions, codes):
        result = kind(
            payment_gateway_decision=decision,
            payment_gateway_error_decision=error,
            payment_gateway_response_code=code,
        )
        assert result.succeeded is verdict, (decision, error, code)


@pytest.mark.parametrize("status", PaymentStatus)
def test_a_reversal_that_was_read_back_succeeded_if_the_payment_is_undone(
    status: PaymentStatus,
) -> None:
    undone = status in {PaymentStatus.REVERSED, PaymentStatus.VOIDED} or None
    read_back = GatewayResult(
        transaction_type=TransactionType.VOID, payment_status=status, recovered=True
    )
    assert read_back.succeeded is undone
    # A word of the gateway's counts for more, and a response of its own must have one.
    said = attrs.evolve(read_back, payment_gateway_decision="DECLINE")
    assert said.succeeded is False
    assert attrs.evolve(read_back, recovered=False).succeeded is None
    assert attrs.evolve(read_back, payment_gateway_response_code=200).succeeded is None
    assert attrs.evolve(read_back, transaction_type=TransactionType.CAPTURE).succeeded is None


def test_the_table_of_verdicts_leaves_no_combination_out() -> None:
    columns = (ACCEPTED + DECLINED + ABSENT + OPEN, NO_ERROR + AN_ERROR)
    every = set(itertools.product(*columns, [SUCCESS_CODE, None, *OTHER_CODES]))
    listed = [row for _, *lists in VERDICTS for row in itertools.product(*lists)]
    assert set(listed) == every
    assert len(listed) == len(every)


# The caller's own data ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ('"text"', "text"),
        ("null", None),
        ({"a": 1}, {"a": 1}),
        ([1], [1]),
        (None, None),
        ("not JSON", "not JSON"),
        ("", ""),
        ("1e99999999999999999999", "1e99999999999999999999"),
        ("[" * 100_000, "[" * 100_000),
        ("9" * 5000, "9" * 5000),
    ],
    ids=range(11),
)
def test_additional_data_is_read_back_where_it_is_json_and_kept_where_not(
    raw: object, read: object
) -> None:
    assert Transaction(additional_data=raw).parsed_additional_data == read


def test_the_decimals_of_additional_data_are_exact() -> None:
    read = Transaction(additional_data='{"price": 199.90}').parsed_additional_data
    assert str(read["price"]) == "199.90"


@pytest.mark.parametrize(
    ("names", "ended"),
    [
        ((), False),
        (("PAYMENT_LINK_SENT", None, "BRAND_NEW"), False),
        (("PAYMENT_LINK_SENT", "PAYMENT_LINK_CANCELLED"), True),
        (("PAYMENT_URL_EXPIRED", "PAYMENT_STATUS_RECEIVED"), True),
    ],
)
def test_a_link_ends_when_it_is_cancelled_or_expires(
    names: tuple[str | None, ...], *, ended: bool
) -> None:
    history = [{"transactionStatusName": name} for name in names]
    assert link_ended(structure(Transaction, {"transactionStatuses": history})) is ended
