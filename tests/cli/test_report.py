"""Runs of a journal: their list, and their results summed up and row by row."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from commandline import HEADER, JOURNAL, PHONE, Terminal, begun, lines_to, links_csv, served, until

from chat2pay_async._bulk.records import Record
from chat2pay_async.sandbox import InjectedFault, Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def rows_of(run: Terminal, name: str, *options: str) -> list[dict[str, str]]:
    ran = run("report", name, "--csv", "-", *options)
    assert ran.code == 0
    return list(csv.DictReader(io.StringIO(ran.out)))


def change(statement: str) -> None:
    with closing(sqlite3.connect(JOURNAL)) as db, db:
        db.execute(statement)


def test_link_is_reported_as_bookkeepers_need_it(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    sandbox.fail_delivery("A-2")
    rows = [f"A-{n},sms,{PHONE}{n},ZAR,{n}.10,yes,rec-{n}" for n in (1, 2)]
    header = f"{HEADER},return_payment_link,reconciliation_id"
    path = lines_to(tmp_path / "spring.csv", header, *rows)
    run("links", "create", path, "--concurrency", "1")
    first, second = rows_of(run, "spring")
    assert set(first) < {field.name for field in Record.__attrs_attrs__}
    assert {name: first[name] for name in ("row", "state", "order_number", "by", "currency")} == {
        "row": "2",
        "state": "applied",
        "order_number": "A-1",
        "by": "spring",
        "currency": "ZAR",
    }
    assert first["payment_link_ref"] == sandbox.ref_of("A-1")
    assert (first["asked_amount"], first["attempts"], first["replayed"]) == ("1.10", "1", "no")
    assert (first["reconciliation_id"], first["idempotency_key"]) == ("rec-1", "")
    assert (first["delivered"], second["delivered"]) == ("yes", "no")
    assert not {"to", "payment_link"} & first.keys()
    shown, _ = rows_of(run, "spring", "--with-recipients", "--with-urls")
    assert (shown["to"], "/pay/" in shown["payment_link"]) == (f"{PHONE}1", True)


def test_report_is_a_table_or_json(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 2))
    table = run("report", "spring")
    assert (table.code, table.err) == (0, "")
    assert table.out.splitlines()[0] == "spring: create payment link"
    assert "ZAR 399.80" in table.out
    assert table.out.endswith("of 2 rows: 2 sent\n")
    assert sandbox.ledger.count("link_created") == 2
    (fields,) = run("report", "spring", "--json").lines
    assert fields["totals"]["applied"]["amounts"] == {"ZAR": Decimal("399.80")}
    assert fields["source"] == {"rows": 2, "sent": 2, "not_reached": 0, "bad": 0}
    assert fields["sums"][0]["asked_amount"] == Decimal("399.80")


def test_bad_rows_and_rows_that_were_not_reached_are_reported(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    good = [f"A-{n},sms,{PHONE}{n},ZAR,1.00" for n in range(1, 5)]
    path = lines_to(tmp_path / "spring.csv", HEADER, *good, f"A-9,sms,{PHONE}9,ZAR,much")
    sandbox.next_faults("create_payment_link", [InjectedFault("denied", form="401")])
    assert run("links", "create", path, "--skip-bad-rows", "--concurrency", "1").code == 1
    *_, bad = rows_of(run, "spring")
    assert (bad["row"], bad["state"]) == ("6", "bad")
    assert bad["problem"].startswith("total_amount: is not a number")
    (fields,) = run("report", "spring", "--json").lines
    source = fields["source"]
    assert (source["rows"], source["bad"]) == (5, 1)
    assert source["sent"] + source["not_reached"] == 4
    assert source["not_reached"] >= 2
    assert not sandbox.ledger.counts


def test_report_is_written_for_spreadsheets(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", lines_to(tmp_path / "a.csv", HEADER, f"0012,sms,{PHONE}1,ZAR,1.50"))
    assert run("report", "a", "--csv", "report.csv").code == 0
    assert Path("report.csv").read_bytes().startswith(b"\xef\xbb\xbfrow,operation,state,")
    assert run("report", "a", "--xlsx", "report.xlsx").code == 0
    book = openpyxl.load_workbook("report.xlsx")
    assert book.sheetnames == ["report", "summary"]
    names, cells = book["report"].iter_rows(values_only=True)
    found = dict(zip(names, cells, strict=True))
    assert (found["order_number"], found["asked_amount"]) == ("0012", 1.5)
    book.close()
    assert sandbox.ledger.count("link_created") == 1


def test_csv_and_workbook_are_not_written_at_once(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("report", "a", "--csv", "a.csv", "--xlsx", "a.xlsx")
    assert (ran.code, ran.err) == (2, "chat2pay: pass --csv or --xlsx, not both\n")
    assert not sandbox.ledger.requests


def test_item_without_a_recorded_end_is_unknown(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 2), "--concurrency", "1")
    change("UPDATE item SET state = 'sent', response = NULL, detail = NULL WHERE key = 'A-2'")
    assert [row["state"] for row in rows_of(run, "spring")] == ["applied", "unknown"]
    assert sandbox.ledger.count("link_created") == 2


def test_item_whose_request_is_not_kept_is_reported_by_its_identity(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 1))
    change("UPDATE item SET target = NULL, body = NULL")
    (row,) = rows_of(run, "spring")
    assert (row["order_number"], row["payment_link_ref"]) == ("A-1", sandbox.ref_of("A-1"))
    assert row["asked_amount"] == ""


def test_rejected_item_is_reported_with_its_reason(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "refs.csv", "payment_link_ref", "no-such")
    assert run("cancellations", path).code == 3
    (row,) = rows_of(run, "refs-cancellations")
    assert (row["state"], row["payment_link_ref"]) == ("rejected", "no-such")
    assert "404" in row["problem"]
    assert not sandbox.ledger.counts


def test_capture_is_reported_with_the_amount_that_was_answered(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    order = f"A-1,sms,{PHONE}1,ZAR,9.90,authorization"
    run("links", "create", lines_to(tmp_path / "a.csv", f"{HEADER},transaction_type", order))
    ref = sandbox.ref_of("A-1")
    sandbox.pay(ref)
    run("captures", lines_to(tmp_path / "refs.csv", "payment_link_ref", ref))
    (row,) = rows_of(run, "refs-captures")
    assert (row["payment_link_ref"], row["decision"], row["amount"]) == (ref, "ACCEPT", "")
    assert row["answered_amount"] == "9.90"


def test_capture_is_reported_with_the_order_that_the_journal_knows(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    header = f"{HEADER},transaction_type,reconciliation_id"
    orders = [f"A-{n},sms,{PHONE}{n},ZAR,9.9{n},authorization,rec-{n}" for n in (1, 2)]
    run("links", "create", lines_to(tmp_path / "a.csv", header, *orders))
    refs = [sandbox.ref_of(f"A-{n}") for n in (1, 2)]
    for ref in refs:
        sandbox.pay(ref)
    run("captures", lines_to(tmp_path / "refs.csv", "payment_link_ref", *refs[1:], "no-such"))
    known, unknown = rows_of(run, "refs-captures")
    names = ("order_number", "reconciliation_id", "channel", "currency")
    assert [known[name] for name in names] == ["A-2", "rec-2", "sms", "ZAR"]
    assert [unknown[name] for name in names] == [""] * 4
    assert "applied   1      ZAR 9.92" in run("report", "refs-captures").out


def test_runs_are_listed_with_their_states(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 2))
    run("links", "create", links_csv(tmp_path / "june.csv", 1, prefix="J"))
    table = run("runs")
    assert [line.split()[0] for line in table.out.splitlines()[2:]] == ["june", "spring"]
    assert "2 applied" in table.out
    found = run("runs", "--json").lines
    assert [(one["run"], one["counts"]) for one in found] == [
        ("june", {"applied": 1}),
        ("spring", {"applied": 2}),
    ]
    assert sandbox.ledger.count("link_created") == 3


def test_journal_is_reported_without_a_key_and_while_it_is_in_use(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links_csv(tmp_path / "spring.csv", 3)
    sandbox.next_faults("create_payment_link", ["silence_after"])
    with begun(["links", "create", "spring.csv"], tmp_path):
        until(lambda: sandbox.ledger.count("link_created") == 3, "for a run that goes on")
        monkeypatch.delenv("CHAT2PAY_API_KEY")
        states = [row["state"] for row in rows_of(run, "spring")]
    assert len(states) == 3
    assert "unknown" in states


@pytest.mark.parametrize("csv", [(), ("--csv", "no-such-folder/report.csv")])
def test_failed_report_is_an_error_in_one_line(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, csv: tuple[str, ...]
) -> None:
    if csv:
        run("links", "create", links_csv(tmp_path / "spring.csv", 1))
    ran = run("report", "spring", *csv)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert sandbox.ledger.count("link_created") == len(csv[1:])
