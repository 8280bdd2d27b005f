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
import xlsxwriter
from spreadsheets import A_DATE, NO_RESULT, TRUE, Formula, write_xlsx

from chat2pay_async._api.requests import (
    Capture,
    LineItem,
    LinkReference,
    PaymentLinkRequest,
    ReceiptRequest,
    TransactionQuery,
)
from chat2pay_async._files.columns import Kind, Reading
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
from chat2pay_async.errors import ConfigurationError

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
    path.write_text("payment_link_ref,amount\n8a1f,0\n\n8a2f,1,2\n8a3f,1\n")
    assert list(read_rows(path, CAPTURES)) == [
        Row(2, None, (RowFault(2, "amount", "must be greater than 0"),)),
        Row(
            4,
            None,
            (
                RowFault(
                    4,
                    "",
                    "has 3 cells; the header has 2: put values with separators in quotation marks",
                ),
            ),
        ),
        Row(5, Capture(payment_link_ref="8a3f", amount=Decimal(1))),
    ]


def test_unreadable_cell_is_only_one_fault(tmp_path: Path) -> None:
    path = as_json(tmp_path / "t.jsonl", receipt_link_ref=True)
    assert problems(only(read_rows(path, QUERIES))) == {
        "receipt_link_ref": "must be text, not true or false: write it as text"
    }


def test_query_for_nothing_is_a_fault(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "t.csv", order_number="", mine="x")
    assert problems(only(read_rows(path, QUERIES, Reading(ignore=("mine",))))) == {
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


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\t", "\u200b", "\ufeff \u2060"])
def test_blanks_around_a_value_are_left_out_in_every_kind_of_file(
    tmp_path: Path, blank: str
) -> None:
    given = {"order_number": f"{blank}A-1{blank}", "total_amount": f"{blank}199.90{blank}"}
    for row_of in (csv_row, json_row, excel_row):
        assert row_of(tmp_path, **given).request == changed(order_number="A-1")


# Commas and cells ---------------------------------------------------------------------------------


def links_of(folder: Path, *lines: str, kind: Kind[Any] = LINKS) -> list[Row[Any]]:
    path = folder / "t.csv"
    path.write_text("\n".join((*lines, "")), "utf-8")
    return list(read_rows(path, kind))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_amounts_with_decimal_commas_are_read_where_cells_are_not_separated_by_commas(
    tmp_path: Path, delimiter: str
) -> None:
    rows = ("payment_link_ref;amount", "8a;199,90", "8b;5", "8c;0,500", "8d;1234,500")
    found = links_of(tmp_path, *(row.replace(";", delimiter) for row in rows), kind=CAPTURES)
    assert [row.request and str(row.request.amount) for row in found[:2]] == ["199.90", "5"]


def test_decimal_comma_and_point_in_one_file_are_a_fault_with_both_rows(tmp_path: Path) -> None:
    rows = ("payment_link_ref;amount", "8a;199,90", "8b;199.90", "8c;199,95")
    good, bad, other = links_of(tmp_path, *rows, kind=CAPTURES)
    assert (good.faults, other.faults) == ((), ())
    assert str(bad.faults[0]) == (
        "line 3, amount: has a decimal point, and another row has a decimal comma: write all "
        "amounts alike (line 2)"
    )
    _, bad = links_of(tmp_path, "payment_link_ref;amount", "8a;199.90", "8b;199,90", kind=CAPTURES)
    assert "has a decimal comma, and another row has a decimal point" in bad.faults[0].problem


@pytest.mark.parametrize("cell", ["1,234", "1.234", "-12,345"])
def test_amount_that_may_be_thousands_is_a_fault_until_the_decimal_mark_is_known(
    tmp_path: Path, cell: str
) -> None:
    (row,) = links_of(tmp_path, "payment_link_ref;amount", f"8a;{cell}", kind=CAPTURES)
    assert row.faults[0].problem.startswith("may be thousands or a fraction")


@pytest.mark.parametrize("cell", ["1.234,56", "1,234.56", "1 234,56", "199,9x"])
def test_amount_with_thousands_is_a_fault(tmp_path: Path, cell: str) -> None:
    (row,) = links_of(tmp_path, "payment_link_ref;amount", f"8a;{cell}", kind=CAPTURES)
    assert [fault.column for fault in row.faults] == ["amount"]


def test_decimal_comma_between_commas_is_a_fault(tmp_path: Path) -> None:
    assert list(problems(csv_row(tmp_path, total_amount="199,90"))) == ["total_amount"]


ORDERS = "channel,to,currency,order_number,total_amount"


def amounts_of(folder: Path, after: str, *cells: str) -> list[Any]:
    """The amounts, or the problems with them, of orders whose last cells are given."""
    lines = (f"sms,{PHONE},ZAR,A-{number},{one}" for number, one in enumerate(cells))
    rows = links_of(folder, f"{ORDERS},{after}", *lines)
    return [
        problems(row)["total_amount"] if row.request is None else row.request.total_amount
        for row in rows
    ]


@pytest.mark.parametrize("cut", ["199,90", "199,9", "1,234", "1,234.56"])
def test_amount_that_may_be_cut_at_a_comma_is_a_fault(tmp_path: Path, cut: str) -> None:
    (problem,) = amounts_of(tmp_path, "reconciliation_id,merchant_descriptor", cut)
    assert problem.startswith(
        "may be cut in two at a comma, with its rest in the column reconciliation_id"
    )


def test_amount_that_is_cut_at_no_comma_is_read(tmp_path: Path) -> None:
    text = "reconciliation_id"
    assert amounts_of(tmp_path, text, "5.00,", "199,90", "1,234") == [5, 199, 1]
    assert amounts_of(tmp_path, text, "199,9001", "199,R90", "199,") == [199, 199, 199]
    assert amounts_of(tmp_path, "tax_amount", "199,90") == [199]
    assert amounts_of(tmp_path, "additional_data.note", "199,90")[0].startswith("may be cut")
    items = "order_line_items.0.unit_price,order_line_items.0.quantity,order_line_items.0.name"
    assert amounts_of(tmp_path, items, "199.00,9,12,mug") == [199]


def test_decimal_commas_of_line_items_are_read(tmp_path: Path) -> None:
    header = ";".join((*LINK, "order_line_items.0.name", "order_line_items.0.unit_price"))
    cells = [*(LINK | {"total_amount": "9,90"}).values(), "Tea", "9,90"]
    (row,) = links_of(tmp_path, header, ";".join(cells))
    assert row.request is not None
    assert row.request.order_line_items[0].unit_price == Decimal("9.90")


def test_row_may_leave_off_the_commas_of_optional_columns_only(tmp_path: Path) -> None:
    short, shorter = links_of(tmp_path, "payment_link_ref,amount", "8a", "8b,1", kind=CAPTURES)
    assert short.request == Capture("8a")
    assert shorter.request == Capture("8b", Decimal(1))
    (row,) = links_of(tmp_path, "payment_link_ref,receipt_link", "8a", kind=RECEIPTS)
    assert problems(row) == {"receipt_link": "is required"}


def test_comma_after_the_last_column_may_have_moved_the_cells(tmp_path: Path) -> None:
    (row,) = links_of(tmp_path, "payment_link_ref,amount", "8a,1,", kind=CAPTURES)
    assert row.faults[0].problem.startswith("has more cells than the header, so that an unquoted")
    lines = ("payment_link_ref,receipt_link", "8a,https://shop.test/1,,")
    assert links_of(tmp_path, *lines, kind=RECEIPTS)[0].faults == (), "the last one is never blank"
    rows = ("payment_link_ref,amount,,", "8a,1,,", "8b,2,,,")
    assert [row.faults for row in links_of(tmp_path, *rows, kind=CAPTURES)] == [(), ()]


def test_file_with_a_header_alone_is_an_error(tmp_path: Path) -> None:
    for text in ("payment_link_ref\n", "payment_link_ref,\n,\n\n"):
        with pytest.raises(ConfigurationError, match="has a header, and no rows"):
            links_of(tmp_path, text, kind=REFERENCES)


def test_blank_rows_are_given_on_request(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("payment_link_ref\n8a\n\n8b\n")
    rows = list(read_rows(path, REFERENCES, with_blank=True))
    assert [(row.line, row.is_blank) for row in rows] == [(2, False), (3, True), (4, False)]
    assert [row.line for row in read_rows(path, REFERENCES)] == [2, 4]


# Keys, channels and countries ---------------------------------------------------------------------


def test_idempotency_key_is_carried_beside_the_request(tmp_path: Path) -> None:
    row = csv_row(tmp_path, **{"Idempotency Key": "again"})
    assert (row.idempotency_key, row.request) == ("again", REQUEST)
    assert csv_row(tmp_path, idempotency_key="").idempotency_key is None
    row = json_row(tmp_path, idempotency_key="")
    assert problems(row) == {"idempotency_key": "must not be blank"}
    assert list(problems(csv_row(tmp_path, idempotency_key="1001.0"))) == ["idempotency_key"]


def test_link_that_nobody_could_deliver_is_a_fault(tmp_path: Path) -> None:
    for returned in ("", "false"):
        row = csv_row(tmp_path, channel="none", return_payment_link=returned)
        assert problems(row) == {
            "return_payment_link": "must be true where channel is none: otherwise nobody gets "
            "the link"
        }
    assert csv_row(tmp_path, channel="none", return_payment_link="yes").request is not None


def test_local_number_is_read_with_its_country(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "t.csv", **LINK | {"to": "083 123 4567"})
    assert only(read_rows(path, LINKS, Reading(country="ZA"))).request == REQUEST
    assert list(problems(only(read_rows(path, LINKS)))) == ["to"]
    path = as_csv(tmp_path / "t.csv", **LINK | {"to": "083"})
    assert list(problems(only(read_rows(path, LINKS, Reading(country="ZA"))))) == ["to"]


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


def test_excel_value_that_is_not_what_a_field_takes_is_a_fault(tmp_path: Path) -> None:
    row = excel_row(
        tmp_path,
        order_number=1234567890123456,
        total_amount=199.905,
        timestamp=A_DATE,
        from_=TRUE,
        reconciliation_id=NO_RESULT,
        **{"additional_data.a": 0.5, "additional_data.b": A_DATE},
    )
    assert problems(row) == {
        "order_number": "has more digits than the 15 that a workbook keeps: write it as text",
        "total_amount": "has 3 decimals; ZAR has 2: round it",
        "timestamp": (
            "is an Excel date, which has no UTC offset: write it as text, "
            "such as 2021-04-27T17:35:58+02:00"
        ),
        "from_": "must be text, not true or false: write it as text",
        "reconciliation_id": "is an error, such as #N/A: correct its formula, or write the value",
        "additional_data.a": (
            "must be text, not a number with decimals or too many digits: write it as text"
        ),
        "additional_data.b": "must be text, not a date or a time: write it as text",
    }


def test_amount_that_excel_computed_has_the_digits_that_it_shows(tmp_path: Path) -> None:
    row = excel_row(tmp_path, total_amount=0.615 * 100, tax_amount=0.1 + 0.2)
    assert row.request is not None
    assert (row.request.total_amount, row.request.tax_amount) == (Decimal("61.5"), Decimal("0.3"))


@pytest.mark.parametrize("odd", [NO_RESULT, Formula("B2*2")])
@pytest.mark.parametrize(
    "column",
    [
        *("transaction_type", "payment_gateway_settings_id", "tax_amount", "return_payment_link"),
        *("timestamp", "additional_data", "additional_data.a", "order_line_items"),
        *("order_line_items.0.unit_price", "order_line_items.0.quantity"),
    ],
)
def test_cell_that_only_looks_blank_in_excel_is_a_fault(
    tmp_path: Path, column: str, odd: str
) -> None:
    cells = {"order_line_items.0.name": "Mug", column: odd} if ".0." in column else {column: odd}
    problem = problems(excel_row(tmp_path, **cells))[column]
    assert problem.startswith(("is an error", "is a formula without a stored result"))


def test_cell_that_only_looks_blank_is_no_matter_in_an_ignored_column(tmp_path: Path) -> None:
    path = as_excel(tmp_path / "t.xlsx", payment_link_ref="8a", mine=NO_RESULT)
    assert only(read_rows(path, CAPTURES, Reading(ignore=("mine",)))).request == Capture("8a")


def test_amount_left_blank_in_excel_captures_all(tmp_path: Path) -> None:
    path = as_excel(tmp_path / "t.xlsx", payment_link_ref="8a", amount=None)
    assert only(read_rows(path, CAPTURES)).request == Capture("8a")


def test_amount_that_is_shown_in_another_currency_is_a_fault(tmp_path: Path) -> None:
    book = xlsxwriter.Workbook(str(tmp_path / "t.xlsx"))
    sheet = book.add_worksheet()
    euros = book.add_format({"num_format": "[$€-2] #,##0.00"})
    cells = LINK | {"order_line_items.0.name": "Mug", "order_line_items.0.unit_price": ""}
    sheet.write_row(0, 0, cells)
    sheet.write_row(1, 0, [str(value) for value in cells.values()])
    for column, name in enumerate(cells):
        if name in {"total_amount", "order_line_items.0.unit_price"}:
            sheet.write_number(1, column, 199.9, euros)
    book.close()
    (row,) = read_rows(tmp_path / "t.xlsx", LINKS)
    problem = (
        "is shown in another currency than the one in the column currency: correct one of them"
    )
    assert problems(row) == {"total_amount": problem, "order_line_items.0.unit_price": problem}


def test_sheet_and_hidden_rows_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    book = xlsxwriter.Workbook(str(tmp_path / "t.xlsx"))
    for name in ("May", "June"):
        sheet = book.add_worksheet(name)
        sheet.write_column(0, 0, ["payment_link_ref", f"{name}-1", f"{name}-2"])
        sheet.set_row(2, None, None, {"hidden": True})
    book.close()
    rows = read_rows(tmp_path / "t.xlsx", REFERENCES, Reading(sheet="June", include_hidden=True))
    assert [row.request and row.request.payment_link_ref for row in rows] == ["June-1", "June-2"]
    with pytest.raises(ConfigurationError, match="--include-hidden"):
        list(read_rows(tmp_path / "t.xlsx", REFERENCES, Reading(sheet="June")))


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
