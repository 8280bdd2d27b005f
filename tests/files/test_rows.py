"""Rows as checked requests, or as faults."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec
import pytest
from spreadsheets import A_DATE, NO_RESULT, TRUE, Formula, write_xlsx

from chat2pay_async._api.requests import (
    Capture,
    LineItem,
    LinkReference,
    PaymentLinkRequest,
    ReceiptRequest,
    TransactionQuery,
)
from chat2pay_async._files.columns import Kind
from chat2pay_async._files.rows import (
    CAPTURES,
    LINKS,
    QUERIES,
    RECEIPTS,
    REFERENCES,
    Row,
    RowFault,
    read_rows,
)

Q = TypeVar("Q")
PHONE = "27831234567"
NOW = "2021-04-27T17:35:58.123456+02:00"
MOMENT = datetime.fromisoformat(NOW)
LINK: dict[str, Any] = {
    "channel": "sms",
    "to": PHONE,
    "order_number": "A-1001",
    "currency": "ZAR",
    "total_amount": "199.90",
    "timestamp": NOW,
}
REQUEST = PaymentLinkRequest(**LINK | {"timestamp": MOMENT})


def as_csv(path: Path, **cells: str) -> Path:
    """A file of one row."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([cells, cells.values()])
    path.write_text(text.getvalue(), "utf-8", newline="")
    return path


def as_json(path: Path, **values: Any) -> Path:
    path.write_bytes(msgspec.json.Encoder(decimal_format="number").encode(values) + b"\n")
    return path


def as_excel(path: Path, **cells: Any) -> Path:
    return write_xlsx(path, [list(cells), list(cells.values())])


def csv_row(folder: Path, **cells: str) -> Row[PaymentLinkRequest]:
    return only(read_rows(as_csv(folder / "t.csv", **LINK | cells), LINKS))


def json_row(folder: Path, **values: Any) -> Row[PaymentLinkRequest]:
    return only(read_rows(as_json(folder / "t.jsonl", **LINK | values), LINKS))


def excel_row(folder: Path, **cells: Any) -> Row[PaymentLinkRequest]:
    return only(read_rows(as_excel(folder / "t.xlsx", **LINK | cells), LINKS))


def only(rows: Iterable[Row[Q]]) -> Row[Q]:
    (row,) = rows
    return row


def problems(row: Row[Any]) -> dict[str, str]:
    """Column → what is wrong with it."""
    assert row.request is None
    return {fault.column: fault.problem for fault in row.faults}


def changed(**fields: Any) -> PaymentLinkRequest:
    return attrs.evolve(REQUEST, **fields)


# Kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "columns", "required"),
    [
        (CAPTURES, ("payment_link_ref", "amount", "currency"), ("payment_link_ref",)),
        (REFERENCES, ("payment_link_ref",), ("payment_link_ref",)),
        (
            RECEIPTS,
            ("payment_link_ref", "receipt_link", "timestamp"),
            ("payment_link_ref", "receipt_link"),
        ),
        (QUERIES, ("order_number", "payment_link_ref", "receipt_link_ref"), ()),
        (
            LINKS,
            tuple(field.name for field in attrs.fields(PaymentLinkRequest)),
            ("channel", "to", "order_number", "currency", "total_amount"),
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
def test_kind_has_a_column_for_every_field_of_its_request(
    kind: Kind[Any], columns: tuple[str, ...], required: tuple[str, ...]
) -> None:
    assert tuple(kind.fields) == columns
    assert kind.required == required


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        (CAPTURES, Capture(payment_link_ref="007", amount=Decimal("1.50"))),
        (REFERENCES, LinkReference(payment_link_ref="007")),
        (RECEIPTS, ReceiptRequest(payment_link_ref="007", receipt_link="x", timestamp=MOMENT)),
        (QUERIES, TransactionQuery(receipt_link_ref="007")),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
def test_row_is_a_request_of_its_kind(tmp_path: Path, kind: Kind[Any], request_: Any) -> None:
    given = {name: str(value) for name, value in attrs.asdict(request_).items() if value}
    for path in (
        as_csv(tmp_path / "t.csv", **given),
        as_json(tmp_path / "t.jsonl", **given),
        as_excel(tmp_path / "t.xlsx", **given),
    ):
        assert list(read_rows(path, kind)) == [Row(1 if path.suffix == ".jsonl" else 2, request_)]


# Faults ------------------------------------------------------------------------------------------


def test_all_faults_of_a_row_are_reported_at_once(tmp_path: Path) -> None:
    row = csv_row(
        tmp_path,
        to="",
        total_amount="-1",
        timestamp="yesterday",
        return_payment_link="maybe",
        transaction_type="void",
        reconciliation_id="x" * 61,
        **{
            "from": "a\nb",
            "additional_data": "Thandi",
            "order_line_items.0.name": "",
            "order_line_items.1.name": "Mug",
            "order_line_items.1.quantity": "two",
            "order_line_items.1.unit_price": "0",
        },
    )
    assert problems(row) == {
        "to": "is required",
        "total_amount": "must be greater than 0",
        "timestamp": "must be a timestamp in ISO 8601, such as 2021-04-27T17:35:58+02:00",
        "return_payment_link": "must be true or false (or yes, no, 1, 0)",
        "transaction_type": "must be one of 'Authorization', 'Sale'",
        "reconciliation_id": "has 61 characters; at most 60 are allowed",
        "from": "has control characters; take them out",
        "additional_data": (
            "is not valid JSON: expecting value at character 1; text needs quotation marks"
        ),
        "order_line_items.1.quantity": "must be a whole number",
        "order_line_items.1.unit_price": "must be greater than 0",
    }
    assert {fault.line for fault in row.faults} == {2}


def test_fault_reads_as_a_sentence() -> None:
    assert str(RowFault(7, "total_amount", "must be greater than 0")) == (
        "line 7, total_amount: must be greater than 0"
    )
    assert str(RowFault(7, "", "is not valid JSON")) == "line 7: is not valid JSON"


def test_row_after_a_faulty_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("payment_link_ref,amount\n8a1f,0\n\n8a2f,1,\n8a3f,1\n")
    assert list(read_rows(path, CAPTURES)) == [
        Row(2, None, (RowFault(2, "amount", "must be greater than 0"),)),
        Row(4, None, (RowFault(4, "", "has 3 cells; the header has 2"),)),
        Row(5, Capture(payment_link_ref="8a3f", amount=Decimal(1))),
    ]


def test_unreadable_cell_is_only_one_fault(tmp_path: Path) -> None:
    path = as_json(tmp_path / "t.jsonl", receipt_link_ref=True)
    assert problems(only(read_rows(path, QUERIES))) == {
        "receipt_link_ref": "must be text, not true or false: write it as text"
    }


def test_query_for_nothing_is_a_fault(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "t.csv", order_number="", mine="x")
    assert problems(only(read_rows(path, QUERIES, ignore=("mine",)))) == {
        "order_number": "pass this, payment_link_ref or receipt_link_ref"
    }


@pytest.mark.parametrize("name", list(LINKS.fields))
@pytest.mark.parametrize("cell", ["{}\n", '{{"{}": [1}}', "+{} \0", '"{}', "[{}]", '[["{}"]]'])
def test_fault_does_not_repeat_the_cell(tmp_path: Path, name: str, cell: str) -> None:
    row = csv_row(tmp_path, **{name: cell.format("27839876543")})
    assert "9876543" not in repr(row.faults) + "".join(map(str, row.faults))
    row = json_row(tmp_path, **{name: {"27839876543": [cell, 27839876543, {}]}})
    assert "9876543" not in repr(row.faults)


# Line items --------------------------------------------------------------------------------------


def test_line_items_are_read_from_separate_columns(tmp_path: Path) -> None:
    row = csv_row(
        tmp_path,
        **{
            "order_line_items.2.name": "Tea",
            "order_line_items.2.unit_price": "9.90",
            "order_line_items.2.tax_amount": "",
            "order_line_items.1.name": " ",
            "order_line_items.0.name": "Mug",
            "order_line_items.0.unit_price": "100",
            "order_line_items.0.quantity": " 2 ",
            "order_line_items.0.sku": "007",
        },
    )
    mug = LineItem(name="Mug", unit_price=Decimal(100), quantity=2, sku="007")
    tea = LineItem(name="Tea", unit_price=Decimal("9.90"))
    assert row.request == changed(order_line_items=(mug, tea))


ITEMS = [
    {"name": "Tea", "unit_price": Decimal("9.90"), "quantity": 1, "code": None},
    {"unit_price": True, "nme": "Mug"},
    "Mug",
    {"name": "", "unit_price": 0, "quantity": "1.5"},
]
ITEM_PROBLEMS = {
    "1.nme": "is unknown; a line item has name, unit_price, code, quantity, sku, tax_amount",
    "1.unit_price": "must be a number, not true or false: write it as 199.90",
    "1.name": "is required",
    "2": "must be an object",
    "3.unit_price": "must be greater than 0",
    "3.quantity": "must be a whole number",
}


def test_faults_of_line_items_in_json_lines_have_their_path(tmp_path: Path) -> None:
    row = json_row(tmp_path, order_line_items=ITEMS)
    assert problems(row) == {
        f"order_line_items.{path}": problem for path, problem in ITEM_PROBLEMS.items()
    }


def test_faults_of_line_items_in_a_json_column_name_that_column(tmp_path: Path) -> None:
    row = csv_row(tmp_path, order_line_items=json.dumps(ITEMS, default=float))
    assert {(fault.column, fault.problem) for fault in row.faults} == {
        ("order_line_items", f"{path}: {problem}") for path, problem in ITEM_PROBLEMS.items()
    }


def test_line_item_keeps_its_index_if_others_are_left_out(tmp_path: Path) -> None:
    name = "order_line_items.7.name"
    row = csv_row(tmp_path, **{name: "a\nb", "order_line_items.7.unit_price": "1"})
    assert problems(row) == {name: "has control characters; take them out"}


@pytest.mark.parametrize("items", [{"name": "Tea"}, "Tea", 7, True])
def test_line_items_must_be_a_list(tmp_path: Path, items: Any) -> None:
    expected = {"order_line_items": "must be a list of line items"}
    assert problems(json_row(tmp_path, order_line_items=items)) == expected
    assert problems(csv_row(tmp_path, order_line_items=json.dumps(items))) == expected


# Additional data ---------------------------------------------------------------------------------


def test_additional_data_in_separate_columns_is_text(tmp_path: Path) -> None:
    columns = {"additional_data.a.b": "1", "additional_data.a.c": " x\ny ", "additional_data.d": ""}
    row = csv_row(tmp_path, **columns)
    assert row.request == changed(additional_data={"a": {"b": "1", "c": "x\ny"}})


@pytest.mark.parametrize("data", ["text", 7, [1, [2]], {"a": {"b": None}}, Decimal("1.50"), False])
def test_additional_data_in_one_column_is_any_json(tmp_path: Path, data: Any) -> None:
    written = msgspec.json.Encoder(decimal_format="number").encode(data).decode()
    for row in (
        csv_row(tmp_path, additional_data=written),
        excel_row(tmp_path, additional_data=written),
        json_row(tmp_path, additional_data=data),
    ):
        assert row.request == changed(additional_data=data)


def test_fault_in_a_json_column_has_its_path(tmp_path: Path) -> None:
    row = csv_row(tmp_path, additional_data='{"a": ["\\ud800"]}')
    assert problems(row) == {
        "additional_data": ("a[0]: has lone surrogates, which UTF-8 can't carry; take them out")
    }


def test_additional_data_must_not_contain_nul(tmp_path: Path) -> None:
    row = csv_row(tmp_path, **{"additional_data.a": "x\0"})
    assert problems(row) == {"additional_data.a": "contains NUL characters; remove them"}


@pytest.mark.parametrize(
    ("field", "column"),
    [("additional_data", "additional_data.a"), ("order_line_items", "order_line_items.0.name")],
)
@pytest.mark.parametrize("value", ["[]", "?"])
def test_field_in_both_json_and_separate_columns_is_a_fault(
    tmp_path: Path, field: str, column: str, value: str
) -> None:
    row = csv_row(tmp_path, **{field: value, column: "x"})
    assert problems(row) == {
        field: "is given both as JSON and in separate columns; use one of them"
    }
    assert csv_row(tmp_path, **{field: "[]", column: ""}).request is not None


# JSON lines --------------------------------------------------------------------------------------


def test_null_counts_as_absent(tmp_path: Path) -> None:
    row = json_row(tmp_path, to=None, from_=None, additional_data=None)
    assert problems(row) == {"to": "is required"}


def test_empty_json_text_is_checked(tmp_path: Path) -> None:
    assert problems(json_row(tmp_path, order_number="")) == {"order_number": "must not be blank"}


def test_blanks_around_a_value_are_left_out_in_every_kind_of_file(tmp_path: Path) -> None:
    for row_of in (csv_row, json_row, excel_row):
        row = row_of(tmp_path, order_number="\u00a0A-1 ", to=" +27 83 123 4567\u200b")
        assert row.request == changed(order_number="A-1", to="27831234567")


# Excel -------------------------------------------------------------------------------------------


def test_excel_numbers_are_what_was_typed(tmp_path: Path) -> None:
    row = excel_row(
        tmp_path,
        to=27831234567,
        order_number=1001.0,
        total_amount=199.9,
        return_payment_link=TRUE,
        payment_review_auto_reversal=0,
        **{
            "additional_data.table": 7,
            "order_line_items.0.name": "Mug",
            "order_line_items.0.quantity": 2,
            "order_line_items.0.unit_price": 0.1,
        },
    )
    mug = LineItem(name="Mug", quantity=2, unit_price=Decimal("0.1"))
    assert row.request == changed(
        order_number="1001",
        return_payment_link=True,
        payment_review_auto_reversal=False,
        additional_data={"table": "7"},
        order_line_items=(mug,),
    )


def test_excel_value_that_is_not_stored_exactly_is_a_fault(tmp_path: Path) -> None:
    row = excel_row(
        tmp_path,
        order_number=1234567890123456,
        total_amount=1234567890123456.5,
        timestamp=A_DATE,
        from_=TRUE,
        **{"additional_data.a": 0.5, "additional_data.b": A_DATE},
    )
    decimals = "must be text, not a number with decimals or too many digits: write it as text"
    assert problems(row) == {
        "order_number": decimals,
        "total_amount": "is a number that Excel stores inexactly: round it, or write it as text",
        "timestamp": (
            "is an Excel date, which has no UTC offset: write it as text, "
            "such as 2021-04-27T17:35:58+02:00"
        ),
        "from_": "must be text, not true or false: write it as text",
        "additional_data.a": decimals,
        "additional_data.b": "must be text, not a date or a time: write it as text",
    }


@pytest.mark.parametrize("blank", [NO_RESULT, Formula("B2*2"), None, "", " "])
def test_blank_amount_in_excel_is_a_fault_since_it_may_hide_an_error(
    tmp_path: Path, blank: Any
) -> None:
    row = only(
        read_rows(as_excel(tmp_path / "t.xlsx", payment_link_ref="8a", amount=blank), CAPTURES)
    )
    assert list(problems(row)) == ["amount"]
    assert "formula without a result" in row.faults[0].problem


def test_captures_without_an_amount_column_capture_all(tmp_path: Path) -> None:
    everything = Capture(payment_link_ref="8a")
    excel = as_excel(tmp_path / "t.xlsx", payment_link_ref="8a")
    assert only(read_rows(excel, CAPTURES)).request == everything
    text = as_csv(tmp_path / "t.csv", payment_link_ref="8a", amount="")
    assert only(read_rows(text, CAPTURES)).request == everything


# Size --------------------------------------------------------------------------------------------


def test_file_is_read_only_as_far_as_needed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"payment_link_ref\n" + b"8a1f\n" * 100_000 + b"\xff\n")
    rows = read_rows(path, REFERENCES)
    assert [row.line for row in islice(rows, 3)] == [2, 3, 4]
    rows.close()
