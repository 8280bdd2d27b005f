"""Records show what a bookkeeper reconciles by, and a report is a file of requests again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from chat2pay_async import bulk
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.records import (
    FILTERS,
    Record,
    StatusRecord,
    Sums,
    matches,
    record_of,
    record_table,
    state_word,
    status_record,
    status_table,
)
from chat2pay_async._files.rows import CAPTURES, LINKS, QUERIES, RECEIPTS, REFERENCES, read_rows
from chat2pay_async._files.tables import REPORT_COLUMNS, Table, is_report, write_csv, write_xlsx
from chat2pay_async._send.stored import state_after
from chat2pay_async.errors import (
    Attempt,
    ConfigurationError,
    NotFoundError,
    Proof,
    ReceiptNotSentError,
)
from chat2pay_async.models import (
    Cancellation,
    GatewayResult,
    PaymentLink,
    PaymentLinkRequest,
    PaymentStatus,
    PaymentStatusEntry,
    Receipt,
    ThirdPartyError,
    Transaction,
    TransactionStatus,
    TransactionStatusEntry,
    TransactionType,
)

AT = datetime(2026, 12, 1, 1, 0, 5, tzinfo=UTC)
TRY = Attempt(AT, 0.1, Proof.APPLIED)
PHONE = "27831234567"
LINK = PaymentLinkRequest(
    channel="sms",
    to=PHONE,
    order_number="000123",
    currency="ZAR",
    total_amount="199.90",
    transaction_type="Authorization",
    reconciliation_id="R-1",
)
MADE = PaymentLink(
    payment_link_ref="8a1f",
    transaction_status=TransactionStatus.PAYMENT_LINK_SENT,
    payment_link="https://pay.example/8a1f",
)
CARD: dict[str, Any] = {
    "card_type": "VISA",
    "masked_card_number": "411111******1111",
    "card_expiry_date": "12-31",
}


def gateway(decision: str = "ACCEPT", amount: str = "40.00", **fields: Any) -> GatewayResult:
    return GatewayResult(
        transaction_type=TransactionType.CAPTURE,
        total_amount=Decimal(amount),
        payment_gateway_decision=decision,
        payment_gateway_req_reference_number="G-2",
        payment_gateway_auth_reconciliation_reference_number="G-1",
        payment_gateway_response_code=100 if decision == "ACCEPT" else 203,
        payment_status=PaymentStatus.SUCCESS,
        **CARD,
        **fields,
    )


def outcome(key: str, request: Any, result: Any = None, **fields: Any) -> Outcome[Any, Any]:
    state = fields.pop("state", None) or State(
        State.FAILED if result is None else state_after(result)
    )
    return Outcome(key, request, state, result, attempts=(TRY, TRY), **fields)


def captured(amount: str | None = "40.00", result: Any = None, **fields: Any) -> Record:
    request = bulk.Capture("8a1f", amount)
    return record_of(outcome("8a1f", request, result or gateway()), **fields)


# Records -----------------------------------------------------------------------------------------


def test_a_link_is_recorded_under_its_own_names() -> None:
    record = record_of(
        outcome("000123", LINK, MADE), row=7, operation="create_payment_link", by="spring"
    )
    assert record == Record(
        row=7,
        operation="create_payment_link",
        state="applied",
        order_number="000123",
        payment_link_ref="8a1f",
        reconciliation_id="R-1",
        channel="sms",
        transaction_type="Authorization",
        currency="ZAR",
        asked_amount=Decimal("199.90"),
        link_status="PAYMENT_LINK_SENT",
        delivered=True,
        attempts=2,
        by="spring",
        at_utc=AT,
        to=PHONE,
        payment_link="https://pay.example/8a1f",
    )


def test_a_capture_is_recorded_with_both_amounts_and_the_gateways_references() -> None:
    record = captured(currency="ZAR", attempts=5, at=datetime(2026, 12, 2, tzinfo=UTC))
    assert (record.payment_link_ref, record.order_number) == ("8a1f", None)
    assert (record.asked_amount, record.amount, record.answered_amount) == (Decimal("40.00"),) * 3
    assert (record.transaction_type, record.decision, record.gateway_code) == (
        *("Capture", "ACCEPT", 100),
    )
    assert (record.gateway_reference, record.gateway_reconciliation_reference) == ("G-2", "G-1")
    assert (record.currency, record.payment_status) == ("ZAR", "SUCCESS")
    assert (record.attempts, record.at_utc) == (5, datetime(2026, 12, 2, tzinfo=UTC))
    assert record.problem is None


def test_reversals_cancellations_and_receipts_are_recorded_too() -> None:
    reference = bulk.LinkReference(payment_link_ref="8a1f")
    assert record_of(outcome("8a1f", reference, gateway())).payment_link_ref == "8a1f"
    cancelled = Cancellation(
        payment_link_ref="8a1f", transaction_status=TransactionStatus.PAYMENT_LINK_CANCELLED
    )
    record = record_of(outcome("8a1f", reference, cancelled))
    assert (record.state, record.link_status) == ("applied", "PAYMENT_LINK_CANCELLED")
    request = bulk.ReceiptRequest(payment_link_ref="8a1f", receipt_link="https://shop.example/r")
    receipt = Receipt(receipt_link_ref="r1", order_number="000123")
    record = record_of(outcome("8a1f", request, receipt))
    assert (record.receipt_link_ref, record.order_number, record.payment_link_ref) == (
        *("r1", "000123", "8a1f"),
    )


def test_a_key_that_is_no_identity_has_its_own_column() -> None:
    assert record_of(outcome("000123", LINK, MADE)).idempotency_key is None
    assert captured().idempotency_key is None
    assert record_of(outcome("retry-2", LINK, MADE)).idempotency_key == "retry-2"


def test_a_skipped_item_is_a_replayed_one_unless_the_caller_knows_better() -> None:
    skipped = outcome("000123", LINK, MADE, state=State.SKIPPED)
    assert record_of(skipped).replayed
    assert not record_of(skipped, replayed=False).replayed
    assert not record_of(outcome("000123", LINK, MADE)).replayed


def test_an_item_that_was_never_tried_has_no_time() -> None:
    assert record_of(Outcome("000123", LINK, State.FAILED)).at_utc is None


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (outcome("000123", LINK, MADE), None),
        (outcome("000123", LINK, error=ConfigurationError("a\n b")), "a b"),
        (
            outcome(
                "000123",
                LINK,
                attrs.evolve(
                    MADE,
                    transaction_status=TransactionStatus.PAYMENT_LINK_SENT_FAILED,
                    error=ThirdPartyError(description=f"no route to {PHONE}"),
                ),
            ),
            "its message was not sent: no route to ***",
        ),
        (
            outcome(
                "000123",
                LINK,
                PaymentLink(transaction_status=TransactionStatus.PAYMENT_LINK_SENT_FAILED),
            ),
            "its message was not sent",
        ),
        (
            outcome("8a1f", bulk.Capture("8a1f"), gateway("DECLINE")),
            "the gateway declined it: DECLINE",
        ),
        (
            outcome(
                "8a1f",
                bulk.Capture("8a1f"),
                gateway("DECLINE", payment_gateway_error_decision="PROCESSOR_DECLINED"),
            ),
            "the gateway declined it: PROCESSOR_DECLINED",
        ),
        (
            outcome("8a1f", bulk.Capture("8a1f"), gateway("REVIEW")),
            "the gateway has not decided: REVIEW",
        ),
        (
            outcome(
                "000123",
                attrs.evolve(LINK, return_payment_link=True),
                PaymentLink(payment_link_ref="8a1f", recovered=True),
            ),
            "its payment URL went with a lost response",
        ),
    ],
)
def test_what_needs_a_look_is_said_in_words(item: Outcome[Any, Any], problem: str | None) -> None:
    assert record_of(item).problem == problem


def test_a_receipt_without_its_message_shows_its_error() -> None:
    request = bulk.ReceiptRequest(payment_link_ref="8a1f", receipt_link="https://shop.example/r")
    error = ReceiptNotSentError("the receipt was not sent", status_code=400)
    error.receipt = Receipt(receipt_link_ref="r1")
    item = outcome("8a1f", request, error.receipt, error=error)
    record = record_of(item)
    assert (record.problem, record.delivered) == ("the receipt was not sent", False)


def test_no_table_has_card_data_and_phones_and_urls_only_on_demand() -> None:
    records = [record_of(outcome("000123", LINK, MADE)), captured()]
    hidden = str([record_table(records).columns, *record_table(records).rows])
    assert not [text for text in (PHONE, "pay.example", "VISA", "411111") if text in hidden]
    shown = record_table(records, with_recipients=True, with_urls=True)
    assert shown.columns[-2:] == ("to", "payment_link")
    assert next(iter(shown.rows))[-2:] == (PHONE, "https://pay.example/8a1f")
    assert PHONE not in repr(records)
    assert "pay.example" not in repr(records)


# Sums --------------------------------------------------------------------------------------------


def test_amounts_are_summed_by_operation_state_and_currency() -> None:
    sums = Sums()
    table = sums.table()
    records = [
        captured(currency="ZAR", operation="capture_payment"),
        captured(None, currency="ZAR", operation="capture_payment"),
        captured("5", gateway("DECLINE", "5"), currency="ZAR", operation="capture_payment"),
        captured("7", gateway(amount="7"), currency="USD", operation="capture_payment"),
        record_of(outcome("000123", LINK), operation="create_payment_link"),
        record_of(outcome("8a1f", bulk.LinkReference(payment_link_ref="8a1f"))),
    ]
    assert list(sums.adding(records)) == records
    assert table.columns == (
        *("operation", "state", "currency", "items"),
        *("asked_items", "asked_amount", "answered_items", "answered_amount"),
    )
    assert list(table.rows) == [
        ("", "failed", "", 1, 0, Decimal(0), 0, Decimal(0)),
        ("capture_payment", "applied", "USD", 1, 1, Decimal(7), 1, Decimal(7)),
        ("capture_payment", "applied", "ZAR", 2, 1, Decimal("40.00"), 2, Decimal("80.00")),
        ("capture_payment", "rejected", "ZAR", 1, 1, Decimal(5), 1, Decimal(5)),
        ("create_payment_link", "failed", "ZAR", 1, 1, Decimal("199.90"), 0, Decimal(0)),
    ]


def test_a_sum_loses_no_digit() -> None:
    sums = Sums()
    for amount in ("9999999999999999999999999999.99", "0.01"):
        sums.add(Record(state="applied", asked_amount=Decimal(amount)))
    ((*_, asked, _, _),) = sums.table().rows
    assert asked == Decimal("10000000000000000000000000000.00")


# Reports as files of requests --------------------------------------------------------------------


def as_csv(path: Path, table: Table) -> Path:
    path = path / "report.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, table)
    return path


def as_xlsx(path: Path, table: Table) -> Path:
    path = path / "report.xlsx"
    with path.open("wb") as file:
        write_xlsx(file, table, Sums().table())
    return path


both = pytest.mark.parametrize("write", [as_csv, as_xlsx], ids=["csv", "xlsx"])
Writer = Callable[[Path, Table], Path]


def requests_in(path: Path, kind: Any) -> list[Any]:
    rows = list(read_rows(path, kind))
    assert [fault for row in rows for fault in row.faults] == []
    return [row.request for row in rows]


def a_record(order_number: str = "000123") -> Record:
    request = attrs.evolve(LINK, order_number=order_number)
    return record_of(outcome(order_number, request, MADE), row=2)


@both
def test_a_report_of_links_is_a_file_of_captures_reversals_and_queries(
    tmp_path: Path, write: Writer
) -> None:
    path = write(tmp_path, record_table([a_record()], with_recipients=True, with_urls=True))
    # The amount that was asked for is not the amount of a partial capture.
    assert requests_in(path, CAPTURES) == [bulk.Capture("8a1f")]
    assert requests_in(path, REFERENCES) == [bulk.LinkReference(payment_link_ref="8a1f")]
    query = bulk.TransactionQuery(order_number="000123", payment_link_ref="8a1f")
    assert requests_in(path, QUERIES) == [query]


@both
def test_a_report_with_a_column_of_receipts_is_a_file_of_receipts(
    tmp_path: Path, write: Writer
) -> None:
    table = record_table([a_record()])
    rows = [(*row, "https://shop.example/r") for row in table.rows]
    path = write(tmp_path, Table((*table.columns, "receipt_link"), rows))
    (request,) = requests_in(path, RECEIPTS)
    assert request.receipt_link == "https://shop.example/r"


@both
def test_a_report_of_captures_repeats_each_amount(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path, record_table([captured("40.00")], captures=True))
    assert requests_in(path, CAPTURES) == [bulk.Capture("8a1f", Decimal("40.00"))]
    assert requests_in(path, REFERENCES) == [bulk.LinkReference(payment_link_ref="8a1f")]


@both
@pytest.mark.parametrize("order", ["000123", "+27", "-7", "@a", "1234567890123456"])
def test_an_order_number_reads_back_whatever_it_looks_like(
    tmp_path: Path, write: Writer, order: str
) -> None:
    path = write(tmp_path, record_table([a_record(order)]))
    (query,) = requests_in(path, QUERIES)
    assert query.order_number == order


@both
def test_a_report_is_no_file_of_links(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path, record_table([a_record()], with_recipients=True))
    with pytest.raises(ConfigurationError, match="total_amount"):
        list(read_rows(path, LINKS))


@both
def test_a_row_of_a_report_without_a_reference_is_no_row_of_a_file_of_captures(
    tmp_path: Path, write: Writer
) -> None:
    failed = record_of(outcome("000124", LINK, error=ConfigurationError("no")))
    path = write(tmp_path, record_table([a_record(), failed]))
    (row,) = read_rows(path, CAPTURES)
    assert row.request == bulk.Capture("8a1f")


@both
def test_a_status_report_is_a_file_of_captures_and_queries(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path, status_table([status_record(FOUND)]))
    assert requests_in(path, CAPTURES) == [bulk.Capture("8a1f")]
    query = bulk.TransactionQuery(order_number="000123", payment_link_ref="8a1f")
    assert requests_in(path, QUERIES) == [query]


def test_an_unknown_column_of_a_report_is_still_an_error(tmp_path: Path) -> None:
    table = record_table([a_record()])
    path = as_csv(tmp_path, Table((*table.columns, "mine"), [(*row, "x") for row in table.rows]))
    with pytest.raises(ConfigurationError, match="column mine is unknown"):
        list(read_rows(path, CAPTURES))


def test_every_column_of_a_report_is_a_known_one() -> None:
    tables = [
        record_table([], captures=True, with_recipients=True, with_urls=True),
        status_table([]),
    ]
    assert set().union(*(table.columns for table in tables)) == REPORT_COLUMNS
    assert all(is_report(table.columns) for table in [record_table([]), *tables])
    assert not any(is_report(kind.fields) for kind in (LINKS, CAPTURES, RECEIPTS, QUERIES))


# Status reports ----------------------------------------------------------------------------------


def accepted(kind: TransactionType, amount: str = "100") -> PaymentStatusEntry:
    return PaymentStatusEntry(
        transaction_type=kind, total_amount=Decimal(amount), payment_gateway_decision="ACCEPT"
    )


def found(
    status: PaymentStatus, *entries: PaymentStatusEntry, steps: tuple[str, ...] = ()
) -> Transaction:
    names = ("PAYMENT_LINK_SENT", *steps)
    return Transaction(
        order_number="000123",
        payment_link_ref="8a1f",
        payment_status=status,
        payment_statuses=entries,
        transaction_statuses=tuple(
            TransactionStatusEntry(transaction_status_name=TransactionStatus(name), created=AT)
            for name in names
        ),
        total_amount=Decimal(100),
        currency="ZAR",
        channel_name="sms",
        transaction_type=TransactionType.AUTHORIZATION,
        reconciliation_id="R-1",
    )


HELD, TAKEN = accepted(TransactionType.AUTHORIZATION), accepted(TransactionType.CAPTURE, "40")
UNDONE = accepted(TransactionType.VOID)
FOUND = found(PaymentStatus.SUCCESS, HELD, TAKEN)
EXPIRED = found(PaymentStatus.PENDING, steps=("PAYMENT_URL_EXPIRED",))


def test_a_payment_is_recorded_with_its_amounts_and_times() -> None:
    assert status_record(FOUND, row=3) == StatusRecord(
        row=3,
        state="captured",
        order_number="000123",
        payment_link_ref="8a1f",
        reconciliation_id="R-1",
        channel="sms",
        transaction_type="Authorization",
        currency="ZAR",
        order_amount=Decimal(100),
        authorized_amount=Decimal(100),
        captured_amount=Decimal(40),
        paid_amount=Decimal(40),
        is_authorized=False,
        is_captured=True,
        is_paid=True,
        is_reversed=False,
        is_declined=False,
        is_expired=False,
        is_cancelled=False,
        is_open=False,
        payment_status="SUCCESS",
        link_status="PAYMENT_LINK_SENT",
        created_at_utc=AT,
        at_utc=AT,
    )


def test_the_time_of_a_payment_is_its_own_where_it_has_one() -> None:
    later = datetime(2026, 12, 3, tzinfo=UTC)
    record = status_record(attrs.evolve(FOUND, payment_status_timestamp=later))
    assert record.at_utc == later


def test_a_record_without_a_history_is_unknown_and_has_no_times() -> None:
    record = status_record(Transaction(payment_link_ref="8a1f"))
    assert (record.state, record.created_at_utc, record.at_utc) == ("unknown", None, None)


def test_a_payment_that_was_not_found_is_in_the_report_with_the_reason() -> None:
    query = bulk.TransactionQuery(order_number="000124")
    error = NotFoundError("there is no such payment", status_code=404)
    record = status_record(None, query=query, row=4, problem=str(error))
    assert record == StatusRecord(row=4, state="unknown", order_number="000124", problem=str(error))


@pytest.mark.parametrize(
    ("payment", "word", "kinds"),
    [
        (found(PaymentStatus.PENDING), "open", {"open", "unpaid"}),
        (found(PaymentStatus.SUCCESS, HELD), "authorized", {"authorized"}),
        (FOUND, "captured", {"captured", "paid"}),
        (found(PaymentStatus.SUCCESS, accepted(TransactionType.SALE)), "paid", {"paid"}),
        (found(PaymentStatus.REVERSED, HELD, UNDONE), "reversed", {"reversed"}),
        (found(PaymentStatus.FAILED), "declined", {"declined", "unpaid"}),
        (EXPIRED, "expired", {"expired", "unpaid"}),
        (
            found(PaymentStatus.PENDING, steps=("PAYMENT_LINK_CANCELLED",)),
            "cancelled",
            {"cancelled", "unpaid"},
        ),
        (found(PaymentStatus.REVIEW), "in review", {"unpaid"}),
    ],
)
def test_a_payment_has_one_word_and_is_found_by_what_it_is(
    payment: Transaction, word: str, kinds: set[str]
) -> None:
    assert state_word(payment) == word
    assert {only: matches(payment, only) for only in FILTERS} == {
        only: only in kinds for only in FILTERS
    }


def test_where_the_record_can_not_tell_neither_does_a_filter() -> None:
    assert state_word(Transaction()) == "unknown"
    assert {matches(Transaction(), only) for only in FILTERS} == {None}
    either = found(PaymentStatus.SUCCESS, HELD, accepted(TransactionType.CAPTURE), UNDONE)
    assert state_word(either) == "unknown"
    assert (matches(either, "reversed"), matches(either, "paid")) == (True, None)
