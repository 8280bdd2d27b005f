"""The content of a journal, summed up and row by row."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from commandline import PHONE, Terminal, lines_to, links_csv, served

from chat2pay_async import JournalError, bulk
from chat2pay_async._cli.report import COLUMNS, Report
from chat2pay_async.sandbox import Sandbox

JOURNAL = Path("spring.csv.links.journal")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def rows_of(run: Terminal, journal: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run("report", journal, "--csv", "-").out)))


def change(journal: Path, statement: str) -> None:
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute(statement)


def test_link_is_reported_with_amount_and_delivery(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    sandbox.fail_delivery("A-2")
    columns = "order_number,channel,to,currency,total_amount,return_payment_link"
    rows = [f"A-{n},sms,{PHONE}{n},ZAR,{n}.10,yes" for n in (1, 2)]
    run("links", "send", lines_to(tmp_path / "spring.csv", columns, *rows), "--concurrency", "1")
    first, second = rows_of(run, JOURNAL)
    assert tuple(first) == COLUMNS
    ref = sandbox.ref_of("A-1")
    assert (first["key"], first["state"], first["payment_link_ref"]) == ("A-1", "applied", ref)
    assert first["payment_link"] == f"{sandbox.url}/pay/{ref}"
    assert (first["amount"], first["currency"], first["posts"]) == ("1.10", "ZAR", "1")
    assert (first["delivered"], second["delivered"]) == ("yes", "no")
    with Report(JOURNAL) as report:
        totals = report.totals()
    assert (totals[bulk.State.APPLIED].items, totals[bulk.State.APPLIED].not_delivered) == (2, 1)
    assert totals[bulk.State.APPLIED].amounts == {"ZAR": Decimal("3.20")}


def test_item_without_a_recorded_end_is_unknown(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 2), "--concurrency", "1")
    change(JOURNAL, "UPDATE item SET state = 'sent', response = NULL WHERE key = 'A-2'")
    assert [row["state"] for row in rows_of(run, JOURNAL)] == ["applied", "unknown"]
    with Report(JOURNAL) as report:
        counts = {state.value: totals.items for state, totals in report.totals().items()}
    assert counts == {"applied": 1, "rejected": 0, "failed": 0, "unknown": 1}
    assert sandbox.ledger.count("link_created") == 2


def test_rejected_item_is_reported_with_its_reason(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "refs.csv", "payment_link_ref", "no-such")
    assert run("cancellations", path).code == 3
    (row,) = rows_of(run, Path("refs.csv.cancellations.journal"))
    assert (row["key"], row["state"], row["payment_link_ref"]) == (
        "no-such",
        "rejected",
        "no-such",
    )
    assert "404" in row["error"]
    assert row["amount"] == row["currency"] == ""
    assert not sandbox.ledger.counts


def test_capture_is_reported_by_its_reference(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    columns = "order_number,channel,to,currency,total_amount,transaction_type"
    order = f"A-1,sms,{PHONE}1,ZAR,9.90,authorization"
    run("links", "send", lines_to(tmp_path / "spring.csv", columns, order))
    ref = sandbox.ref_of("A-1")
    sandbox.pay(ref)
    run("captures", lines_to(tmp_path / "refs.csv", "payment_link_ref", ref))
    (row,) = rows_of(run, Path("refs.csv.captures.journal"))
    assert (row["payment_link_ref"], row["status"], row["declined"]) == (ref, "ACCEPT", "no")
    with Report(Path("refs.csv.captures.journal")) as report:
        assert report.totals()[bulk.State.APPLIED].amounts == {}, "its currency is not in it"


def test_journal_of_a_later_version_is_an_error(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 1))
    change(JOURNAL, "UPDATE note SET value = 'create_refund' WHERE name = 'operation'")
    with Report(JOURNAL) as report, pytest.raises(JournalError, match="create_refund"):
        report.totals()
    assert run("resume", JOURNAL).code == 1
    assert sandbox.ledger.count("link_created") == 1
