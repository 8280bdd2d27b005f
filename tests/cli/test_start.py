"""Campaigns and jobs on the command line: what is checked, sent, kept, told and gone on with."""

from __future__ import annotations

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
from chat2pay_async._cli import run as _course
from chat2pay_async._cli.job import Plan, client_of
from chat2pay_async.sandbox import FaultPlan, InjectedFault, Sandbox

JOURNAL = "spring.csv.links.journal"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


# A campaign ---------------------------------------------------------------------------------------


def test_a_campaign_makes_a_link_for_each_row(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_csv(tmp_path / "spring.csv", 3)
    ran = run("links", "send", "spring.csv")
    assert ran.code == 0
    assert sandbox.ledger.count("link_created") == 3
    assert "Applied in this run: ZAR 599.70" in ran.out
    assert f"chat2pay report {JOURNAL}" in ran.err
    assert "payment links: 3 of 3" in ran.err
    assert states_in(JOURNAL) == {"A-1": "applied", "A-2": "applied", "A-3": "applied"}


def test_for_programs_every_line_of_output_is_json(
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


def test_the_same_command_again_sends_nothing_twice(
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


def test_a_spreadsheet_is_a_campaign_too(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    rows = [HEADER.split(","), ["X-1", "sms", f"{PHONE}1", "ZAR", "12.50"]]
    write_xlsx(tmp_path / "spring.xlsx", rows)
    ran = run("links", "send", "spring.xlsx")
    assert ran.code == 0
    assert sandbox.ledger.total("link_created", "ZAR") == Decimal("12.50")
    assert (tmp_path / "spring.xlsx.links.journal").exists()


def test_without_its_extra_a_spreadsheet_says_what_to_install(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    path = write_xlsx(tmp_path / "spring.xlsx", [HEADER.split(",")])
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


def test_bad_rows_are_named_and_then_nothing_is_sent(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    ran = run("links", "send", bad_campaign(tmp_path), "--journal", "elsewhere.db")
    assert ran.code == 1
    assert "line 3, total_amount: " in ran.err
    assert "line 4, to: " in ran.err
    assert "2 bad rows, 1 good ones" in ran.err
    assert "--skip-bad-rows" in ran.err
    assert not ran.out
    assert not sandbox.ledger.requests
    assert [path.name for path in tmp_path.iterdir()] == ["spring.csv"]


def test_the_good_rows_of_a_bad_file_are_sent_on_request(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    ran = run("links", "send", bad_campaign(tmp_path), "--skip-bad-rows")
    assert ran.code == 3
    assert "line 3, total_amount: " in ran.err
    assert sandbox.ledger.count("link_created") == 1


def test_a_column_that_means_nothing_has_to_be_said_to(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "spring.csv", f"{HEADER},note", f"A-1,sms,{PHONE}1,ZAR,1.00,hello")
    assert run("links", "send", path).code == 1
    assert run("links", "send", path, "--ignore", "note").code == 0
    assert sandbox.ledger.count("link_created") == 1
    resumed = run("resume", JOURNAL)
    assert (resumed.code, sandbox.ledger.count("link_created")) == (0, 1)


# Dry runs -----------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_sent_and_leaves_nothing_behind(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    row = f"A-2,sms,{PHONE}1,ZAR,0.10"
    path = lines_to(tmp_path / "spring.csv", HEADER, f"A-1,sms,{PHONE}1,ZAR,199.90", row)
    ran = run("links", "send", path, "--dry-run", "--journal", "elsewhere.db")
    assert ran.code == 0
    assert "a dry run, nothing was sent" in ran.out
    assert "To send in all: ZAR 200.00" in ran.out
    assert "A-2" in ran.out, "who would get more than one"
    assert not ran.err
    assert not sandbox.ledger.requests
    assert [path.name for path in tmp_path.iterdir()] == ["spring.csv"]


def test_a_dry_run_tells_programs_as_well(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    ran = run("links", "send", path, "--dry-run", "--json", "--rate-limit", "4")
    assert ran.lines[-1]["forecast"]["amounts"] == {"ZAR": Decimal("399.80")}
    assert ran.lines[-1]["forecast"]["seconds"] == Decimal("0.5")
    assert not sandbox.ledger.requests


def test_a_dry_run_notices_a_key_that_occurs_twice(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "spring.csv", HEADER, *[f"A-1,sms,{PHONE}1,ZAR,1.00"] * 2)
    ran = run("links", "send", path, "--dry-run")
    assert ran.code == 3
    assert "A-1: rejected: " in ran.err
    assert not sandbox.ledger.requests

    assert "occurs twice in this run, and is sent once" in ran.err


def test_a_dry_run_of_a_new_job_needs_no_key(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    ran = run("links", "send", path, "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert "To send in all: ZAR 399.80" in ran.out
    monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
    run("links", "send", path)
    assert run("links", "send", path, "--dry-run").code == 0
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    known = run("links", "send", path, "--dry-run")
    assert (known.code, known.out) == (1, "")
    assert "CHAT2PAY_API_KEY" in known.err, "a journal is of one key"
    assert sandbox.ledger.count("link_created") == 2


def test_a_dry_run_that_can_not_begin_forecasts_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    (tmp_path / JOURNAL).write_text("no journal, but something of somebody's")
    ran = run("links", "send", path, "--dry-run")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("chat2pay: the journal ")
    assert not sandbox.ledger.requests


def test_a_dry_run_of_something_without_amounts_sums_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "back.csv", "payment_link_ref", "ref-1")
    ran = run("reversals", path, "--dry-run")
    assert ran.code == 0
    assert "To send in all" not in ran.out
    assert not sandbox.ledger.requests


# Where the journal is -----------------------------------------------------------------------------


def test_a_journal_can_be_elsewhere_and_the_usual_place_leads_there(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    (tmp_path / "safe").mkdir()
    assert run("links", "send", path, "--journal", "safe/a.db").code == 0
    assert (tmp_path / JOURNAL).resolve() == tmp_path / "safe" / "a.db"
    again = run("links", "send", path, "--json")
    assert again.outcomes()["A-1"]["state"] == "skipped"
    assert sandbox.ledger.count("link_created") == 1


def test_a_second_journal_for_the_same_source_is_refused_unless_forced(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    run("links", "send", path)
    refused = run("links", "send", path, "--journal", "second.db")
    assert refused.code == 1
    assert "--force" in refused.err
    assert sandbox.ledger.count("link_created") == 1
    forced = run("links", "send", path, "--journal", "second.db", "--force", "--check-existing")
    assert "skipped" in forced.out, "without --check-existing it would have gone again"
    assert sandbox.ledger.count("link_created") == 1


# Going on -----------------------------------------------------------------------------------------


def test_what_was_interrupted_goes_on_from_its_journal(
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


def test_without_its_source_only_what_is_in_doubt_is_settled(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    blind = InjectedFault("error_503_before", 1.0, operations=("get_transaction",))
    sandbox.set_faults(FaultPlan((blind,)))
    sandbox.next_faults("create_payment_link", ["drop_before"])
    doubtful = run("links", "send", path, "--settle", "0.2")
    assert doubtful.code == 4
    assert f"chat2pay resume {JOURNAL}" in doubtful.err
    assert "A-1: unknown: " in doubtful.err
    path.unlink()
    sandbox.set_faults(None)
    resumed = run("resume", JOURNAL, "--settle", "0.2")
    assert f"its source {path} is gone" in resumed.err
    # It may have had more, so this is no success.
    assert (resumed.code, sandbox.ledger.count("link_created")) == (1, 1)


def test_what_was_never_to_be_sent_again_is_not_without_its_source_either(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    assert run("links", "send", path, "--never-resend", "--settle", "0.2").code == 4
    path.unlink()
    assert run("resume", JOURNAL).code == 4
    assert sandbox.ledger.count("link_created") == 0


def test_what_protects_from_sending_twice_holds_when_it_is_gone_on_with(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    run("links", "send", path)
    (tmp_path / JOURNAL).unlink()
    sandbox.next_faults("get_transaction", [InjectedFault("denied", form="401")])
    options = ("--concurrency", "1", "--check-existing", "--never-resend", "--settle", "0.2")
    assert run("links", "send", path, *options).code == 1
    assert not sandbox.ledger.twice("link_created")
    resumed = run("resume", JOURNAL, "--json")
    assert {one["state"] for one in resumed.outcomes().values()} == {"skipped"}
    assert not sandbox.ledger.twice("link_created")


@pytest.mark.parametrize(
    "settles", [("30", None, 30.0), ("30", "10", 10.0), (None, None, 10.0), (None, "5", 5.0)]
)
def test_the_time_to_settle_is_remembered_unless_another_is_given(
    sandbox: Sandbox,
    run: Terminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settles: tuple[str | None, str | None, float],
) -> None:
    begun, resumed, settle = settles
    plans: list[Plan] = []

    def given(seconds: str | None) -> tuple[str, ...]:
        return () if seconds is None else ("--settle", seconds)

    def noted(plan: Plan, *more: Any, **others: Any) -> Any:
        plans.append(plan)
        return client_of(plan, *more, **others)

    monkeypatch.setattr(_course, "client_of", noted)
    assert run("links", "send", links_csv(tmp_path / "spring.csv", 1), *given(begun)).code == 0
    assert run("resume", JOURNAL, *given(resumed)).code == 0
    assert plans[-1].settle == settle
    assert sandbox.ledger.count("link_created") == 1


def test_never_resend_is_remembered(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    assert run("links", "send", path, "--never-resend", "--settle", "0.2").code == 4
    assert run("resume", JOURNAL).code == 4
    assert sandbox.ledger.count("link_created") == 0


@pytest.mark.parametrize("notes", [{}, {"source": "a table of ours"}])
def test_a_program_s_own_journal_names_no_source(
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
    assert "it names no source" in resumed.err
    assert sandbox.ledger.count("link_created") == 1


def test_there_is_nothing_to_go_on_with_where_there_is_no_journal(
    sandbox: Sandbox, run: Terminal
) -> None:
    ran = run("resume", "none.journal")
    assert ran.code == 1
    assert ran.err.startswith("chat2pay: ")
    assert not sandbox.ledger.requests
