"""Jobs on the command line: checked, sent, kept in a journal, continued."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from commandline import HEADER, JOURNAL, PHONE, Terminal, lines_to, links_csv, served, states_in
from spreadsheets import write_xlsx

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, bulk
from chat2pay_async._cli import run as run_module
from chat2pay_async._cli import start
from chat2pay_async._cli.options import JobOptions
from chat2pay_async._cli.run import JOBS
from chat2pay_async._cli.single_call import client_of
from chat2pay_async._files import campaign
from chat2pay_async._files.rows import read_rows
from chat2pay_async._journal.schema import read_run_settings
from chat2pay_async.sandbox import FaultPlan, InjectedFault, Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


AGAIN = [["resume", "spring"], ["links", "send", "spring.csv"]]
"""Commands that go on with a run."""


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
    assert "chat2pay report" not in ran.err


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
    dry = run("links", "send", "spring.xlsx", "--dry-run")
    assert dry.out.startswith("payment links of sheet Campaign: dry run, nothing was sent")
    ran = run("links", "send", "spring.xlsx")
    assert ran.code == 0
    assert ran.err.startswith("Sending 1 payment links of sheet Campaign, ZAR 12.50, to http")
    assert sandbox.ledger.total("link_created", "ZAR") == Decimal("12.50")


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
    assert "line 3: total_amount: " in ran.err
    assert "line 4: to: " in ran.err
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
    assert "line 3: total_amount: " in ran.err
    assert sandbox.ledger.count("link_created") == 1


def test_unknown_column_must_be_ignored_explicitly(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "spring.csv", f"{HEADER},note", f"A-1,sms,{PHONE}1,ZAR,1.00,hello")
    assert run("links", "send", path).code == 1
    assert run("links", "send", path, "--ignore", "note").code == 0
    assert sandbox.ledger.count("link_created") == 1
    resumed = run("resume", "spring")
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


def test_file_that_is_replaced_during_its_run_is_sent_as_it_was_checked(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 3)
    really_read = campaign.CampaignFile.rows

    def read(file: campaign.CampaignFile[Any]) -> Iterator[Any]:
        links_csv(path, 9)
        yield from really_read(file)

    monkeypatch.setattr(campaign.CampaignFile, "rows", read)
    ran = run("links", "create", path)
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
    assert "line 3: total_amount: is required" in ran.err
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


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize("skipping", [(), ("--skip-bad-rows",)])
def test_json_has_the_faults_of_a_file_once(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, dry: tuple[str, ...], skipping: tuple[str, ...]
) -> None:
    rows = [f"A-1,sms,{PHONE}1,ZAR,1.00", "A-2,sms,083,ZAR,1.00"]
    path = lines_to(tmp_path / "spring.csv", HEADER, *rows)
    ran = run("links", "create", path, "--json", *dry, *skipping)
    (check,) = (line["check"] for line in ran.lines if "check" in line)
    assert (check["good"], check["bad"]) == (1, 1)
    assert [(one["column"], one["first"][0]["row"]) for one in check["faults"]] == [("to", 3)]
    assert sandbox.ledger.count("link_created") == (1 if skipping and not dry else 0)


def test_dry_run_rejects_a_key_that_occurs_twice(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "spring.csv", HEADER, *[f"A-1,sms,{PHONE}1,ZAR,1.00"] * 2)
    ran = run("links", "send", path, "--dry-run")
    assert ran.code == 3
    assert "A-1: rejected: " in ran.err
    assert not sandbox.ledger.requests
    assert "occurs twice in this run, and is sent once" in ran.err


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The readings of a file, by what they read."""
    begun: list[Any] = []

    def read(source: Any, *arguments: Any, **named: Any) -> Any:
        begun.append(source)
        return read_rows(source, *arguments, **named)

    monkeypatch.setattr(campaign, "read_rows", read)
    return begun


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("keeps_all", [True, False])
def test_dry_run_reads_a_file_once_unless_it_has_much_to_tell(
    run: Terminal, readings: list[Any], monkeypatch: pytest.MonkeyPatch, *, keeps_all: bool
) -> None:
    monkeypatch.setattr(run_module.RunController, "MOST_KEPT", 2 if keeps_all else 1)
    path = lines_to(Path("spring.csv"), HEADER, *[f"A-1,sms,{PHONE}1,ZAR,1.00"] * 3)
    ran = run("links", "send", path, "--dry-run", "--json")
    assert ran.code == 3
    assert [line["state"] for line in ran.lines[:-1]] == ["rejected"] * 2
    assert ran.lines[-1]["forecast"]["repeated"] == 2
    assert ran.lines[-1]["check"]["good"] == 3
    assert ran.err.count("A-1: rejected: ") == 2
    assert len(readings) == (1 if keeps_all else 3)


@pytest.mark.usefixtures("sandbox")
def test_dry_run_of_bad_rows_reads_them_once_and_tells_of_nothing_else(
    run: Terminal, readings: list[Any], tmp_path: Path
) -> None:
    rows = (*[f"A-1,sms,{PHONE}1,ZAR,1.00"] * 2, f"A-2,sms,{PHONE}1,ZAR,")
    path = lines_to(tmp_path / "spring.csv", HEADER, *rows)
    ran = run("links", "send", path, "--dry-run", "--json")
    assert (ran.code, len(readings)) == (1, 1)
    assert [line.keys() for line in ran.lines] == [{"check"}]
    assert "line 4: total_amount: is required" in ran.err
    assert "rejected" not in ran.err


@pytest.mark.usefixtures("sandbox")
def test_dry_run_says_first_what_is_wrong_with_the_file(run: Terminal, tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("no journal, but something of somebody's")
    path = lines_to(tmp_path / "spring.csv", HEADER, f"A-1,sms,{PHONE}1,ZAR,")
    ran = run("links", "send", path, "--dry-run")
    assert (ran.code, ran.out) == (1, "")
    assert "line 2: total_amount: is required" in ran.err
    assert "the journal" not in ran.err


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(("amount", "said"), [("", "is required"), ("1.00", "plain http")])
def test_dry_run_that_makes_no_client_says_so_after_it_has_checked_the_file(
    run: Terminal, tmp_path: Path, amount: str, said: str
) -> None:
    path = lines_to(tmp_path / "spring.csv", HEADER, f"A-1,sms,{PHONE}1,ZAR,{amount}")
    ran = run("links", "send", path, "--dry-run", "--base-url", "http://pay.example")
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert ran.err.count("plain http") == (said == "plain http")


@pytest.mark.usefixtures("sandbox")
def test_dry_run_with_much_to_tell_needs_no_api_key_either(
    run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module.RunController, "MOST_KEPT", 1)
    path = lines_to(tmp_path / "spring.csv", HEADER, *[f"A-1,sms,{PHONE}1,ZAR,1.00"] * 3)
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    ran = run("links", "send", path, "--dry-run")
    assert ran.err.count("Not compared with the journal") == 1
    assert ran.err.count("A-1: rejected: ") == 2


def test_dry_run_of_a_new_job_needs_no_api_key(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    ran = run("links", "send", path, "--dry-run")
    assert (ran.code, "ZAR 399.80" in ran.out) == (0, True)
    assert ran.err == "Not compared with the journal, since CHAT2PAY_API_KEY is not set.\n"
    monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
    run("links", "send", path)
    assert run("links", "send", path, "--dry-run").code == 0
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


# The journal of the account -----------------------------------------------------------------------


def test_copy_of_a_file_under_another_name_sends_nothing_twice(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 2))
    copy = run("links", "create", links_csv(tmp_path / "spring (1).csv", 2), "--json")
    assert {one["state"] for one in copy.outcomes().values()} == {"skipped"}
    assert sandbox.ledger.count("link_created") == 2


def test_first_line_says_what_goes_where(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    ran = run("links", "create", links_csv(tmp_path / "spring.csv", 3))
    assert ran.err.splitlines()[0] == (
        f"Sending 3 payment links, ZAR 599.70, to {sandbox.url} (not production), run spring, "
        f"journal {tmp_path / JOURNAL}"
    )


def test_last_line_names_what_is_not_the_default(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    options = ("--journal", "my own.db", "--base-url", sandbox.url)
    ran = run("links", "create", links_csv(tmp_path / "spring.csv", 1), *options)
    again = f"chat2pay report spring --journal 'my own.db' --base-url {sandbox.url}\n"
    assert ran.err.endswith(again)
    assert run("resume", "spring", *options).code == 0
    assert sandbox.ledger.count("link_created") == 1


def test_rewritten_order_numbers_are_refused_unless_allowed(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    row = f"sms,{PHONE}1,ZAR,1.00"
    run("links", "create", lines_to(tmp_path / "spring.csv", HEADER, f"001001,{row}"))
    path = lines_to(tmp_path / "again.csv", HEADER, f"1001,{row}")
    refused = run("links", "create", path)
    assert (refused.code, sandbox.ledger.count("link_created")) == (1, 1)
    assert "1001: looks like 001001" in refused.err
    assert "Nothing was sent. 1 rows look like orders" in refused.err
    allowed = run("links", "create", path, "--allow-lookalikes")
    assert (allowed.code, sandbox.ledger.count("link_created")) == (0, 2)


def test_many_look_alikes_are_counted(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 22, prefix="A"))
    refused = run("links", "create", links_csv(tmp_path / "again.csv", 22, prefix="a"))
    assert refused.err.count(": looks like A-") == 20
    assert "… and 2 more\n" in refused.err
    assert sandbox.ledger.count("link_created") == 22


def test_look_alike_of_a_known_order_and_of_one_that_is_gone_is_counted_once(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 3, prefix="A"))
    refused = run("links", "create", links_csv(tmp_path / "spring.csv", 3, prefix="a"))
    assert "Nothing was sent. 3 rows look like orders" in refused.err
    assert sandbox.ledger.count("link_created") == 3


def test_file_that_changes_meanwhile_is_told(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    monkeypatch.setattr(run_module, "compared", lambda *_found, **_options: str(links_csv(path, 2)))
    ran = run("links", "create", path)
    assert ran.code == 0
    assert "was changed or replaced after it was checked" in ran.err
    assert sandbox.ledger.count("link_created") == 1


def test_repeated_row_is_sent_once_and_accounted_for(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "spring.csv", HEADER, *[f"A-1,sms,{PHONE}1,ZAR,1.00"] * 2)
    ran = run("links", "create", path)
    assert (ran.code, sandbox.ledger.count("link_created")) == (3, 1)
    assert ran.out.endswith("of 2 rows: 1 sent, 1 refused\n")


def test_changed_and_gone_rows_are_told_and_not_sent(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 3)
    run("links", "create", path)
    lines_to(path, HEADER, f"A-1,sms,{PHONE}1,ZAR,199.90", f"A-2,sms,{PHONE}2,ZAR,2.00")
    again = run("links", "create", path)
    assert again.code == 3
    assert "Not sent again: 1 done, 1 changed, 1 gone from the file" in again.err
    assert "of 2 rows: " in again.out
    assert sandbox.ledger.count("link_created") == 3


def test_rejected_rows_are_sent_again_on_demand(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", [InjectedFault("not_found", form="json")])
    assert run("links", "create", path).code == 3
    assert run("links", "create", path).code == 3
    assert sandbox.ledger.count("link_created") == 0
    assert run("links", "create", path, "--retry-rejected").code == 0
    assert sandbox.ledger.count("link_created") == 1


def test_columns_are_mapped_and_set_and_the_run_keeps_it(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    rows = ("Order number;Cell;Amount due", "A-1;+27 83 123 4561;199,90")
    path = lines_to(tmp_path / "spring.csv", *rows)
    options = ("--map", "Cell=to", "--map", "Amount due=total_amount", "--set", "channel=sms")
    ran = run("links", "create", path, *options, "--set", "currency=ZAR")
    assert (ran.code, "ZAR 199.90" in ran.out) == (0, True)
    lines_to(path, *rows, "A-2;+27 83 123 4562;1,00")
    resumed = run("resume", "spring")
    assert (resumed.code, sandbox.ledger.count("link_created")) == (0, 2)
    assert f"{path} has changed since run spring was begun." in resumed.err


@pytest.mark.parametrize("option", ["--map", "--set"])
def test_pair_without_an_equals_sign_is_wrong_use(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, option: str
) -> None:
    ran = run("links", "create", links_csv(tmp_path / "spring.csv", 1), option, "channel")
    assert (ran.code, "NAME=VALUE" in ran.err) == (2, True)
    assert not sandbox.ledger.requests


def test_all_faults_are_written_to_a_file_and_the_first_ones_kept(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [f"A-{n},sms,{PHONE}{n},ZAR,much" for n in range(40)]
    path = lines_to(tmp_path / "spring.csv", HEADER, *bad)
    ran = run("links", "create", path, "--faults", "faults.csv")
    assert ran.code == 1
    assert "40 rows: total_amount: " in ran.err
    monkeypatch.setattr(start, "_MOST_FAULTS", 1)
    good = f"B-1,sms,{PHONE}1,ZAR,1.00"
    lines_to(path, HEADER, good, *bad)
    run("links", "create", path, "--skip-bad-rows")
    assert run("report", "spring", "--csv", "-").out.count(",bad,") == 1
    assert len((tmp_path / "faults.csv").read_text("utf-8-sig").splitlines()) == 41
    assert sandbox.ledger.count("link_created") == 1


def test_standard_input_needs_a_name(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("links", "create", "-")
    assert (ran.code, "--run NAME" in ran.err) == (2, True)
    assert not sandbox.ledger.requests


@pytest.mark.parametrize(
    ("name", "job", "expected"),
    [
        ("spring.csv", "links", "spring"),
        ("spring.csv.gz", "links", "spring"),
        ("spring", "links", "spring"),
        ("spring.csv", "captures", "spring-captures"),
        ("june-captures.xlsx", "captures", "june-captures"),
    ],
)
def test_run_is_named_by_its_file(name: str, job: str, expected: str) -> None:
    assert start.run_name(Path("somewhere", name), JOBS[job]) == expected


# Asking ------------------------------------------------------------------------------------------


class Keyboard(io.StringIO):
    """Standard input or error of a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "sent"), [("y\n", 1), ("Yes\n", 1), ("\n", 0), ("no\n", 0)])
def test_somebody_at_a_terminal_is_asked_once_before_production(  # noqa: PLR0913, PLR0917 - fixtures
    sandbox: Sandbox,
    run: Terminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    sent: int,
) -> None:
    monkeypatch.setattr(run_module, "DEFAULT_BASE_URL", f"{sandbox.url}/")
    monkeypatch.setattr(sys, "stdin", Keyboard(typed))
    shown = Keyboard()
    monkeypatch.setattr(sys, "stderr", shown)
    ran = run("links", "create", links_csv(tmp_path / "spring.csv", 1))
    assert (ran.code, sandbox.ledger.count("link_created")) == (0 if sent else 1, sent)
    assert shown.getvalue().count("Send? [y/N]") == 1
    assert "(production)" in shown.getvalue()
    assert ("Nothing was sent." in shown.getvalue()) is not sent


def test_nobody_is_asked_with_yes_or_without_a_terminal(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "DEFAULT_BASE_URL", f"{sandbox.url}/")
    assert run("links", "create", links_csv(tmp_path / "spring.csv", 1)).code == 0
    monkeypatch.setattr(sys, "stdin", Keyboard())
    assert run("links", "create", links_csv(tmp_path / "june.csv", 2), "--yes").code == 0
    assert sandbox.ledger.count("link_created") == 2


# From another run --------------------------------------------------------------------------------


def authorizations(sandbox: Sandbox, run: Terminal, tmp_path: Path, count: int) -> list[str]:
    """Make links of authorizations, of which the first one is paid; return their references."""
    rows = [f"A-{n},sms,{PHONE}{n},ZAR,9.90,authorization" for n in range(1, count + 1)]
    path = lines_to(tmp_path / "spring.csv", f"{HEADER},transaction_type", *rows)
    assert run("links", "create", path).code == 0
    refs = [sandbox.ref_of(f"A-{n}") for n in range(1, count + 1)]
    sandbox.pay(refs[0])
    return refs


def test_authorized_payments_of_a_run_are_captured_once(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    refs = authorizations(sandbox, run, tmp_path, 3)
    first = run("captures", "--from-run", "spring")
    assert (first.code, sandbox.ledger.count("captured")) == (0, 1)
    assert "run spring: 1 of 3 are authorized" in first.err
    assert "Sending 1 captures, ZAR " in first.err
    assert "applied  1      ZAR " in first.out
    (row,) = csv.DictReader(io.StringIO(run("report", "spring-captures", "--csv", "-").out))
    assert (row["row"], row["order_number"], row["currency"]) == ("", "A-1", "ZAR")
    sandbox.pay(refs[1])
    second = run("resume", "spring-captures")
    assert (second.code, sandbox.ledger.count("captured")) == (0, 2)
    third = run("captures", "--from-run", "spring")
    assert (third.code, "0 of 3 are authorized" in third.err) == (0, True)
    assert sandbox.ledger.count("captured") == 2


def test_a_selection_that_has_nothing_new_keeps_what_protects_its_run(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    authorizations(sandbox, run, tmp_path, 2)
    captures = "captures", "--from-run", "spring"
    assert run(*captures, "--never-resend", "--settle", "0.2").code == 0
    for _ in range(2):
        assert "0 of 2 are authorized" in run(*captures).err
        kept = read_run_settings(Path(JOURNAL), "spring-captures")
        assert (kept["never_resend"], kept["settle"]) == ("true", "0.2")


def test_open_links_of_a_run_are_cancelled(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    authorizations(sandbox, run, tmp_path, 2)
    assert run("cancellations", "--from-run", "spring").code == 0
    assert sandbox.ledger.count("link_cancelled") == 1


def test_authorizations_of_a_run_are_reversed(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    authorizations(sandbox, run, tmp_path, 2)
    assert run("reversals", "--from-run", "spring").code == 0
    assert sandbox.ledger.count("reversed") == 1


def test_expired_links_are_made_again_once(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 2))
    sandbox.expire(sandbox.ref_of("A-1"))
    command = ("links", "resend", "--expired", "--from-run", "spring", "--yes")
    dry = run(*command[:-1], "--dry-run")
    assert (dry.code, "to send" in dry.out, sandbox.ledger.count("link_created")) == (0, True, 2)
    assert run(*command).code == 0
    assert sandbox.ledger.count("link_created") == 3
    assert states_in("spring-resend") == {"A-1 (spring-resend)": "applied"}
    assert run(*command).code == 0
    assert sandbox.ledger.count("link_created") == 3


def test_links_whose_requests_are_not_kept_are_not_made_again(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 1))
    sandbox.expire(sandbox.ref_of("A-1"))
    with closing(sqlite3.connect(JOURNAL)) as db, db:
        db.execute("UPDATE item SET target = NULL, body = NULL")
    ran = run("links", "resend", "--expired", "--from-run", "spring", "--yes")
    assert (ran.code, "the journal keeps no requests" in ran.err) == (1, True)
    assert sandbox.ledger.count("link_created") == 1


def test_resending_is_confirmed_in_two_words(sandbox: Sandbox, run: Terminal) -> None:
    assert run("links", "resend", "--from-run", "spring", "--yes").code == 2
    assert run("links", "resend", "--from-run", "spring", "--expired").code == 2
    assert not sandbox.ledger.requests


@pytest.mark.parametrize("arguments", [(), ("a.csv", "--from-run", "spring")])
def test_captures_are_of_a_file_or_of_a_run(
    sandbox: Sandbox, run: Terminal, arguments: tuple[str, ...]
) -> None:
    ran = run("captures", *arguments)
    assert (ran.code, "pass a file, or --from-run RUN" in ran.err) == (2, True)
    assert not sandbox.ledger.requests


def test_report_is_a_file_of_captures(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    authorizations(sandbox, run, tmp_path, 1)
    run("report", "spring", "--csv", "report.csv")
    run("report", "spring", "--xlsx", "report.xlsx")
    assert run("captures", "report.csv").code == 0
    assert run("captures", "report.xlsx").code == 0
    assert sandbox.ledger.count("captured") == 1


# Resume -----------------------------------------------------------------------------------------


def test_interrupted_job_is_resumed_from_its_journal(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 3)
    sandbox.next_faults("create_payment_link", [InjectedFault("denied", form="401")])
    stopped = run("links", "send", path, "--concurrency", "1")
    assert stopped.code == 1
    assert "chat2pay resume spring" in stopped.err
    resumed = run("resume", "spring")
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
    assert "chat2pay resume spring" in unknown.err
    assert "A-1: unknown: " in unknown.err
    path.unlink()
    sandbox.set_faults(None)
    resumed = run("resume", "spring", "--settle", "0.2")
    assert f"The file {path} is gone" in resumed.err
    # It may have had more, so this is no success.
    assert (resumed.code, sandbox.ledger.count("link_created")) == (3, 0)
    assert "chat2pay resume spring FILE" in resumed.err
    moved = links_csv(tmp_path / "elsewhere.csv", 2)
    assert run("resume", "spring", moved).code == 0
    assert sandbox.ledger.count("link_created") == 2


def test_never_resend_holds_in_a_resume_without_source(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    assert run("links", "send", path, "--never-resend", "--settle", "0.2").code == 4
    path.unlink()
    assert run("resume", "spring").code == 4
    assert sandbox.ledger.count("link_created") == 0


@pytest.mark.parametrize("again", AGAIN)
def test_check_existing_holds_to_the_end_of_a_run(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, again: list[str]
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    run("links", "send", path)
    for part in tmp_path.glob(f"{JOURNAL}*"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    sandbox.next_faults("get_transaction", [InjectedFault("denied", form="401")] * 100)
    options = ("--concurrency", "1", "--check-existing", "--never-resend", "--settle", "0.2")
    assert run("links", "send", path, *options).code == 1
    sandbox.set_faults(None)
    assert not sandbox.ledger.twice("link_created")
    resumed = run(*again, "--json")
    assert {one["state"] for one in resumed.outcomes().values()} == {"skipped"}
    assert not sandbox.ledger.twice("link_created")


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize(
    "settles", [("30", None, 30.0), ("30", "10", 10.0), (None, None, 10.0), (None, "5", 5.0)]
)
def test_settle_is_remembered_unless_another_is_given(
    sandbox: Sandbox,
    run: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    settles: tuple[str | None, str | None, float],
    again: list[str],
) -> None:
    begun, resumed, settle = settles
    used: list[JobOptions] = []

    def given(seconds: str | None) -> tuple[str, ...]:
        return () if seconds is None else ("--settle", seconds)

    def noted(options: JobOptions, *more: Any, **others: Any) -> Any:
        used.append(options)
        return client_of(options, *more, **others)

    monkeypatch.setattr(run_module, "client_of", noted)
    assert run("links", "send", links_csv(Path("spring.csv"), 1), *given(begun)).code == 0
    assert run(*again, *given(resumed)).code == 0
    assert used[-1].settle == settle
    assert sandbox.ledger.count("link_created") == 1


@pytest.mark.parametrize("again", AGAIN)
def test_never_resend_holds_to_the_end_of_a_run(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, again: list[str]
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    assert run("links", "send", path, "--never-resend", "--settle", "0.2").code == 4
    links_csv(path, 2)
    sandbox.next_faults("create_payment_link", ["drop_before"])
    assert run(*again).code == 4
    assert sandbox.ledger.count("link_created") == 0


def test_run_of_a_program_names_no_source(sandbox: Sandbox, run: Terminal) -> None:
    async def campaign() -> None:
        request = PaymentLinkRequest(
            channel="sms", to=f"{PHONE}1", order_number="P-1", currency="ZAR", total_amount=1
        )
        async with (
            AsyncChat2Pay(journal=JOURNAL) as client,
            bulk.create_payment_links(client, [request], run="own") as started,
        ):
            assert [outcome.key async for outcome in started] == ["P-1"]

    anyio.run(campaign)
    report = run("report", "own")
    assert (report.code, " rows: " in report.out) == (0, False)
    resumed = run("resume", "own")
    assert "Run own was not begun from a file. Only unknown outcomes are looked up." in resumed.err
    assert sandbox.ledger.count("link_created") == 1


def test_unknown_run_is_an_error_that_names_the_known_ones(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 1))
    ran = run("resume", "sprung")
    assert ran.code == 1
    assert "has no run 'sprung'; its latest runs: spring" in ran.err
    assert sandbox.ledger.count("link_created") == 1
