"""Findings in a file: every row is counted, and faults are grouped."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from commandline import lines_to

from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async._files.check import Check, FaultGroup, faults_to_csv
from chat2pay_async._files.columns import Kind, Reading
from chat2pay_async._files.rows import CAPTURES, LINKS, QUERIES, RECEIPTS, Row, RowFault

HEADER = "channel,to,order_number,currency,total_amount"


def check_of(
    path: Path, kind: Kind[Any] = LINKS, reading: Reading | None = None
) -> tuple[Check, list[RowFault]]:
    faults: list[RowFault] = []
    with CampaignFile(path, kind, reading or Reading()) as file:
        return file.check(faults.append), faults


def link(order: str = "A-1", **changed: str) -> str:
    cells = {
        "channel": "sms",
        "to": "27831234567",
        "order": order,
        "currency": "ZAR",
        "sum": "1.10",
    }
    return ",".join((cells | changed).values())


def test_every_row_is_counted(tmp_path: Path) -> None:
    rows = (link("A-1"), "", ",,,,", link("A-2", to="x"), link("A-3"), link("A-3"))
    check, faults = check_of(lines_to(tmp_path / "t.csv", HEADER, *rows))
    assert (check.rows, check.good, check.bad, check.blank) == (4, 3, 1, 2)
    assert [fault.line for fault in faults] == [5]
    assert (check.repeated.count, check.repeated.first) == (1, ((7, 6),))


def test_faults_are_grouped_with_their_count_and_first_rows(tmp_path: Path) -> None:
    rows = [link(f"A-{n}", to="x", sum="0" if n % 2 else "1") for n in range(1000)]
    check, faults = check_of(lines_to(tmp_path / "t.csv", HEADER, *rows))
    assert len(faults) == 1500
    by_phone, by_amount = check.groups
    assert str(by_phone).startswith("1,000 rows: to: ")
    assert str(by_phone).endswith("; first rows 2, 3, 4")
    assert str(by_amount) == ("500 rows: total_amount: must be greater than 0; first rows 3, 5, 7")
    assert len(check.faults) == Check.SHOWN


def test_group_reads_as_a_sentence() -> None:
    group = FaultGroup("to", "is required")
    group.add(7, 0)
    assert str(group) == "line 7: to: is required"
    group.add(9, 4)
    assert str(group) == "2 rows: to: is required; rows 7, 9 (and 4)"
    assert str(FaultGroup("", "is too long", 4, ((1, 0),))) == "4 rows: is too long; first rows 1"


def test_groups_of_a_file_with_endless_kinds_of_faults_are_bounded() -> None:
    check = Check()
    for n in range(2, 2000):
        check.add(Row(n, None, (RowFault(n, "", f"problem {n}"),)))
    assert len(check.groups) == 501
    assert sum(group.count for group in check.groups) == check.bad == 1998


def test_good_rows_are_summed_by_currency_channel_and_country(tmp_path: Path) -> None:
    rows = (
        link("A-1"),
        link("A-2", to="447700900123", channel="whatsapp", currency="GBP"),
        link("A-3", sum="2"),
        link("A-4", to="x"),
    )
    check, _ = check_of(lines_to(tmp_path / "t.csv", HEADER, *rows))
    assert check.amounts == {"ZAR": Decimal("3.10"), "GBP": Decimal("1.10")}
    assert check.channels == {"sms": 2, "whatsapp": 1}
    assert check.recipients == {"27": 2, "44": 1}


def test_captures_are_summed_by_currency(tmp_path: Path) -> None:
    rows = ("8a,1.10,", "8b,,", "8c,2,", "8d,3.125,KWD")
    path = lines_to(tmp_path / "t.csv", "payment_link_ref,amount,currency", *rows)
    check, _ = check_of(path, CAPTURES)
    assert check.amounts == {"": Decimal("3.10"), "KWD": Decimal("3.125")}


def test_check_is_plain_json(tmp_path: Path) -> None:
    path = lines_to(tmp_path / "t.csv", HEADER, link("A-1"), link("A-1"), link("A-2", to=""))
    found = json.loads(json.dumps(check_of(path)[0].to_dict(), default=str))
    assert (found["rows"], found["good"], found["bad"], found["blank"]) == (3, 2, 1, 0)
    assert found["repeated"]["first"] == [{"row": 3, "other": 2}]
    assert found["faults"] == [
        {
            "column": "to",
            "problem": "is required",
            "rows": 1,
            "first": [{"row": 4, "other": None}],
        }
    ]
    assert found["amounts"] == {"ZAR": "2.20"}


def test_faults_are_written_as_csv_that_a_spreadsheet_opens_safely() -> None:
    file = io.StringIO(newline="")
    write = faults_to_csv(file)
    write(RowFault(7, "=cmd()", "is, in short, wrong"))
    write(RowFault(9, "to", "is alike", 7))
    assert file.getvalue()[0] == "\ufeff"
    assert list(csv.reader(io.StringIO(file.getvalue()[1:]))) == [
        ["row", "column", "problem", "other_row"],
        ["7", "'=cmd()", "is, in short, wrong", ""],
        ["9", "to", "is alike", "7"],
    ]


# Rows that contradict each other ------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    ["a-1", "A 1", "A1", "A\u20111", "A\u00ad-1", "A-\u00a01", "\uff21-1", "0A-1", "00A1"],
)
def test_order_numbers_that_look_alike_are_told_with_both_rows(tmp_path: Path, other: str) -> None:
    path = lines_to(tmp_path / "t.csv", HEADER, link("B"), link("A-1"), link(other, sum="2"))
    check, faults = check_of(path)
    assert (check.good, check.bad) == (2, 1)
    (fault,) = faults
    assert fault.line == 4
    assert fault.other in (0, 3)


def test_orders_that_look_alike_may_be_allowed(tmp_path: Path) -> None:
    path = lines_to(tmp_path / "t.csv", HEADER, link("A-1"), link("a-1"), link("a-1"))
    check, _ = check_of(path, reading=Reading(allow_alike=True))
    assert (check.good, check.bad, check.repeated.first) == (3, 0, ((4, 3),))


def test_row_that_repeats_another_with_other_values_is_a_fault(tmp_path: Path) -> None:
    path = lines_to(tmp_path / "t.csv", HEADER, link("A-1"), link("A-1", sum="2"))
    _, (fault,) = check_of(path)
    assert (fault.line, fault.column, fault.other) == (3, "order_number", 2)
    assert "with other values: keep the row that is right" in str(fault)
    assert str(fault).endswith("(line 2)")


def test_json_line_repeats_another_whatever_the_order_of_its_keys(tmp_path: Path) -> None:
    first: Mapping[str, Any] = {
        "channel": "sms",
        "to": "27831234567",
        "order_number": "A-1",
        "currency": "ZAR",
        "total_amount": 1,
        "additional_data": {"a": [1]},
    }
    second = dict(reversed(list(first.items())))
    path = lines_to(tmp_path / "t.jsonl", json.dumps(first), json.dumps(second))
    assert check_of(path)[0].repeated.first == ((2, 1),)


def test_second_link_for_an_order_has_a_key_of_its_own(tmp_path: Path) -> None:
    header = f"{HEADER},idempotency_key"
    rows = (f"{link()},", f"{link()},again", f"{link()},again", f"{link('B')},Again")
    check, (fault,) = check_of(lines_to(tmp_path / "t.csv", header, *rows))
    assert (check.good, check.repeated.first) == (3, ((4, 3),))
    assert (fault.line, fault.column, fault.other) == (5, "idempotency_key", 3)


def test_receipts_of_one_payment_are_told_apart_by_their_links(tmp_path: Path) -> None:
    rows = ("8a,https://shop.test/r/a-1", "8a,https://shop.test/r/A-1", "8a,https://shop.test/r/A1")
    path = lines_to(tmp_path / "t.csv", "payment_link_ref,receipt_link", *rows)
    assert check_of(path, RECEIPTS)[0].good == 3


def test_two_captures_of_one_payment_are_a_fault_and_two_queries_are_not(tmp_path: Path) -> None:
    path = lines_to(tmp_path / "t.csv", "payment_link_ref,amount", "8a,1", "8a,2")
    assert check_of(path, CAPTURES)[0].bad == 1
    path = lines_to(tmp_path / "t.csv", "order_number", "A-1", "a-1")
    assert check_of(path, QUERIES)[0].good == 2


def test_row_that_is_refused_for_another_is_left_out_when_bad_rows_are_skipped(
    tmp_path: Path,
) -> None:
    rows = (link("A-1"), link("a-1"), link("A-2"), link("A-2", sum="9"), link("A-3"))
    path = lines_to(tmp_path / "t.csv", HEADER, *rows)
    with CampaignFile(path, LINKS, skip_bad_rows=True) as file:
        assert [one.order_number for one in file.requests()] == ["A-1", "A-2", "A-3"]
