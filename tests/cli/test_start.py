"""Jobs on the command line: checked, sent, kept in a journal, continued."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from commandline import HEADER, PHONE, Terminal, lines_to, links_csv, served, states_in
from spreadsheets import write_xlsx

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, bulk
from chat2pay_async._cli import run as run_module
from chat2pay_async._cli.single_call import client_of
from chat2pay_async._cli.options import JobOptions
from chat2pay_async._files import campaign, rows
from chat2pay_async.sandbox import FaultPlan, InjectedFault, Sandbox

JOURNAL = "spring.csv.links.journal"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


# A campaign ---------------------------------------------------------------------------------------


def test_campaign_creates_a_link_for_each_row(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_csv(tmp_path / "spring.csv", 3)
    ran = run("links", "send", "spring.csv")
    assert ran.code == 0
    assert sandbox.ledger.count("link_created") == 3
    assert "ZAR 599.70" in ran.out
    assert "chat2pay report spring" in ran.err
    assert "payment links: 3 of 3" in ran.err
    assert states_in("spring") == {"A-1": "applied", "A-2": "applied", "A-3": "applied"}


def test_json_output_has_one_object_per_line(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_csv(tmp_path / "spring.csv", 2)
    ran = run("links", "create", "spring.csv", "--json")
    assert set(ran.outcomes()) == {"A-1", "A-2"}
    assert ran.outcomes()["A-1"]["result"]["payment_link_ref"] == sandbox.ref_of("A-1")
    summary = ran.lines[-1]["summary"]
    assert (summary["applied"], summary["total"]) == (2, 2)
    assert summary["amounts"]["ZAR"] == Decimal("399.80")
    assert isinstance(summary["amounts"]["ZAR"], Decimal)
    assert JOURNAL not in ran.err


def test_repeated_command_sends_nothing_twice(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    run("links", "send", path)
    links_csv(path, 3)
    again = run("links", "send", path, "--json")
    assert again.code == 0
    assert {key: one["state"] for key, one in again.outcomes().items()} == {
        "A-1": "skipped",
        "A-2": "skipped",
        "A-3": "applied",
    }
    assert sandbox.ledger.count("link_created") == 3


def test_workbook_is_sent_like_a_csv_file(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    rows = [HEADER.split(","), ["X-1", "sms", f"{PHONE}1", "ZAR", "12.50"]]
    write_xlsx(tmp_path / "spring.xlsx", rows)
    ran = run("links", "send", "spring.xlsx")
    assert ran.code == 0
    assert sandbox.ledger.total("link_created", "ZAR") == Decimal("12.50")
    assert (tmp_path / "spring.xlsx.links.journal").exists()


def test_workbook_without_the_extra_says_what_to_install(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xlrd", None)
    path = tmp_path / "spring.xls"
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1"))
    ran = run("links", "send", path)
    assert (ran.code, ran.out) == (1, "")
    assert "chat2pay-async[excel]" in ran.err
    assert not sandbox.ledger.requests


# Bad rows -----------------------------------------------------------------------------------------


def bad_campaign(tmp_path: Path) -> Path:
    good = f"A-1,sms,{PHONE}1,ZAR,199.90"
    return lines_to(
        tmp_path / "spring.csv", HEADER, good, f"A-2,sms,{PHONE}2,ZAR,much", "A-3,sms,,ZAR,1"
    )


def test_bad_rows_are_reported_and_nothing_is_sent(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    ran = run("links", "send", bad_campaign(tmp_path), "--journal", "elsewhere.db")
    assert ran.code == 1
    assert "line 3, total_amount: " in ran.err
    assert "line 4, to: " in ran.err
    assert "2 bad and 1 valid rows" in ran.err
    assert "--skip-bad-rows" in ran.err
    assert not ran.out
    assert not sandbox.ledger.requests
    assert [path.name for path in tmp_path.iterdir()] == ["spring.csv"]


def test_skip_bad_rows_sends_the_valid_rows(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    ran = run("links", "send", bad_campaign(tmp_path), "--skip-bad-rows")
    assert ran.code == 3
    assert "line 3, total_amount: " in ran.err
    assert sandbox.ledger.count("link_created") == 1


def test_unknown_column_must_be_ignored_explicitly(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "spring.csv", f"{HEADER},note", f"A-1,sms,{PHONE}1,ZAR,1.00,hello")
    assert run("links", "send", path).code == 1
    assert run("links", "send", path, "--ignore", "note").code == 0
    assert sandbox.ledger.count("link_created") == 1
    resumed = run("resume", JOURNAL)
    assert (resumed.code, sandbox.ledger.count("link_created")) == (0, 1)


# Dry runs -----------------------------------------------------------------------------------------


def test_dry_run_shows_what_would_be_sent_and_writes_no_file(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    row = f"A-2,sms,{PHONE}1,ZAR,0.10"
    path = lines_to(tmp_path / "spring.csv", HEADER, f"A-1,sms,{PHONE}1,ZAR,199.90", row)
    ran = run("links", "send", path, "--dry-run", "--journal", "elsewhere.db")
    assert ran.code == 0
    assert "dry run, nothing was sent" in ran.out
    assert "ZAR 200.00" in ran.out
    assert "get more than one link: A-2\n" in ran.out
    assert not ran.err
    assert not sandbox.ledger.requests
    assert [path.name for path in tmp_path.iterdir()] == ["spring.csv"]


def test_dry_run_reads_the_file_once(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_read, readings = rows.read_rows, []

    def read(*arguments: Any, **options: Any) -> Any:
        readings.append(arguments)
        return really_read(*arguments, **options)

    monkeypatch.setattr(campaign, "read_rows", read)
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 2), "--dry-run")
    assert (ran.code, len(readings)) == (0, 1)
    assert not sandbox.ledger.requests


def test_file_that_is_replaced_during_its_run_is_sent_as_it_was_checked(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 3)
    really_read = campaign.CampaignFile.requests

    def read(file: campaign.CampaignFile[Any]) -> Iterator[Any]:
        links_csv(path, 9)
        yield from really_read(file)

    monkeypatch.setattr(campaign.CampaignFile, "requests", read)
    ran = run("links", "send", path)
    assert ran.code == 0
    assert f"{path} was changed or replaced after it was checked." in ran.err.replace("\n", " ")
    assert sandbox.ledger.count("link_created") == 3


def test_named_pipe_is_refused_at_once(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    pipe = tmp_path / "spring.csv"
    os.mkfifo(pipe)
    ran = run("links", "send", pipe)
    assert ran.code == 1
    assert "is a pipe, not a file" in ran.err
    assert not sandbox.ledger.requests


@pytest.mark.parametrize("skipped", [True, False])
def test_dry_run_reports_bad_rows(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, *, skipped: bool
) -> None:
    rows = (f"A-1,sms,{PHONE}1,ZAR,1.00", f"A-2,sms,{PHONE}1,ZAR,", f"A-3,sms,{PHONE}3,ZAR,1.00")
    path = lines_to(tmp_path / "spring.csv", HEADER, *rows)
    ran = run("links", "send", path, "--dry-run", *["--skip-bad-rows"] * skipped)
    assert ran.code == (3 if skipped else 1)
    assert "line 3, total_amount: is required" in ran.err
    assert "1 bad and 2 valid rows" in ran.err
    assert ("Nothing was sent. Fix these rows" in ran.err) is not skipped
    assert ("ZAR 2.00" in ran.out) is skipped
    assert not sandbox.ledger.requests


def test_dry_run_prints_json(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    ran = run("links", "send", path, "--dry-run", "--json", "--rate-limit", "4")
    assert ran.lines[-1]["forecast"]["amounts"] == {"ZAR": Decimal("399.80")}
    assert ran.lines[-1]["forecast"]["seconds"] == Decimal("0.5")
    assert not sandbox.ledger.requests


def test_dry_run_rejects_a_key_that_occurs_twice(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "spring.csv", HEADER, *[f"A-1,sms,{PHONE}1,ZAR,1.00"] * 2)
    ran = run("links", "send", path, "--dry-run")
    assert ran.code == 3
    assert "A-1: rejected: " in ran.err
    assert not sandbox.ledger.requests
    assert "occurs twice in this run, and is sent once" in ran.err


def test_dry_run_of_a_new_job_needs_no_api_key(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    ran = run("links", "send", path, "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert "ZAR 399.80" in ran.out
    monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
    run("links", "send", path)
    assert run("links", "send", path, "--dry-run").code == 0
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    known = run("links", "send", path, "--dry-run")
    assert (known.code, known.out) == (1, "")
    assert "CHAT2PAY_API_KEY" in known.err, "a journal is of one key"
    assert sandbox.ledger.count("link_created") == 2


def test_failed_dry_run_prints_no_forecast(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    (tmp_path / JOURNAL).write_text("no journal, but something of somebody's")
    ran = run("links", "send", path, "--dry-run")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("chat2pay: the journal ")
    assert not sandbox.ledger.requests


def test_dry_run_without_amounts_prints_no_sum(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "back.csv", "payment_link_ref", "ref-1")
    ran = run("reversals", path, "--dry-run")
    assert ran.code == 0
    assert ran.out.splitlines()[2:] == ["to send  1"]
    assert not sandbox.ledger.requests


# Where the journal is -----------------------------------------------------------------------------


def test_journal_elsewhere_is_found_again_from_the_usual_place(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    (tmp_path / "safe").mkdir()
    assert run("links", "send", path, "--journal", "safe/a.db").code == 0
    assert (tmp_path / JOURNAL).resolve() == tmp_path / "safe" / "a.db"
    again = run("links", "send", path, "--json")
    assert again.outcomes()["A-1"]["state"] == "skipped"
    assert sandbox.ledger.count("link_created") == 1


def test_second_journal_is_refused_unless_forced(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    run("links", "send", path)
    refused = run("links", "send", path, "--journal", "second.db")
    assert refused.code == 1
    assert "--force" in refused.err
    assert sandbox.ledger.count("link_created") == 1
    forced = run("links", "send", path, "--journal", "second.db", "--force", "--check-existing")
    assert "skipped" in forced.out, "without --check-existing it would have been sent again"
    assert sandbox.ledger.count("link_created") == 1


# Resume -----------------------------------------------------------------------------------------


def test_interrupted_job_is_resumed_from_its_journal(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 3)
    sandbox.next_faults("create_payment_link", [InjectedFault("denied", form="401")])
    stopped = run("links", "send", path, "--concurrency", "1")
    assert stopped.code == 1
    assert f"chat2pay resume {JOURNAL}" in stopped.err
    resumed = run("resume", JOURNAL)
    assert resumed.code == 0
    assert sandbox.ledger.count("link_created") == 3
    assert not sandbox.ledger.twice("link_created")


def test_resume_without_source_only_looks_up_unknown_outcomes(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    blind = InjectedFault("error_503_before", 1.0, operations=("get_transaction",))
    sandbox.set_faults(FaultPlan((blind,)))
    sandbox.next_faults("create_payment_link", ["drop_before"])
    unknown = run("links", "send", path, "--settle", "0.2")
    assert unknown.code == 4
    assert f"chat2pay resume {JOURNAL}" in unknown.err
    assert "A-1: unknown: " in unknown.err
    path.unlink()
    sandbox.set_faults(None)
    resumed = run("resume", JOURNAL, "--settle", "0.2")
    assert f"The source file {path} is gone." in resumed.err
    # It may have had more, so this is no success.
    assert (resumed.code, sandbox.ledger.count("link_created")) == (1, 1)


def test_never_resend_holds_in_a_resume_without_source(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    assert run("links", "send", path, "--never-resend", "--settle", "0.2").code == 4
    path.unlink()
    assert run("resume", JOURNAL).code == 4
    assert sandbox.ledger.count("link_created") == 0


def test_check_existing_holds_in_a_resume(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    run("links", "send", path)
    (tmp_path / JOURNAL).unlink()
    sandbox.next_faults("get_transaction", [InjectedFault("denied", form="401")] * 100)
    options = ("--concurrency", "1", "--check-existing", "--never-resend", "--settle", "0.2")
    assert run("links", "send", path, *options).code == 1
    sandbox.set_faults(None)
    assert not sandbox.ledger.twice("link_created")
    resumed = run("resume", JOURNAL, "--json")
    assert {one["state"] for one in resumed.outcomes().values()} == {"skipped"}
    assert not sandbox.ledger.twice("link_created")


@pytest.mark.parametrize(
    "settles", [("30", None, 30.0), ("30", "10", 10.0), (None, None, 10.0), (None, "5", 5.0)]
)
def test_settle_is_remembered_unless_another_is_given(
    sandbox: Sandbox,
    run: Terminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settles: tuple[str | None, str | None, float],
) -> None:
    begun, resumed, settle = settles
    used: list[JobOptions] = []

    def given(seconds: str | None) -> tuple[str, ...]:
        return () if seconds is None else ("--settle", seconds)

    def noted(options: JobOptions, *more: Any, **others: Any) -> Any:
        used.append(options)
        return client_of(options, *more, **others)

    monkeypatch.setattr(run_module, "client_of", noted)
    assert run("links", "send", links_csv(tmp_path / "spring.csv", 1), *given(begun)).code == 0
    assert run("resume", JOURNAL, *given(resumed)).code == 0
    assert used[-1].settle == settle
    assert sandbox.ledger.count("link_created") == 1


def test_never_resend_holds_in_a_resume(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    assert run("links", "send", path, "--never-resend", "--settle", "0.2").code == 4
    assert run("resume", JOURNAL).code == 4
    assert sandbox.ledger.count("link_created") == 0


@pytest.mark.parametrize("notes", [{}, {"source": "a table of ours"}])
def test_journal_of_a_program_names_no_source(
    sandbox: Sandbox, run: Terminal, notes: dict[str, str]
) -> None:
    async def campaign() -> None:
        request = PaymentLinkRequest(
            channel="sms", to=f"{PHONE}1", order_number="P-1", currency="ZAR", total_amount=1
        )
        journal = bulk.Journal("own.db", notes=notes)
        async with (
            AsyncChat2Pay() as client,
            bulk.create_payment_links(client, [request], journal=journal) as started,
        ):
            assert [outcome.key async for outcome in started] == ["P-1"]

    anyio.run(campaign)
    resumed = run("resume", "own.db")
    assert resumed.code == 0
    assert "own.db names no source file." in resumed.err
    assert sandbox.ledger.count("link_created") == 1


def test_resume_without_a_journal_is_an_error(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("resume", "none.journal")
    assert ran.code == 1
    assert ran.err.startswith("chat2pay: ")
    assert not sandbox.ledger.requests
