"""Campaigns and jobs on the command line: what is checked, sent, kept, told and gone on with."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Self

import anyio
import anyio.to_thread
import pytest
from commandline import HEADER, PHONE, Ran, Terminal, begun, lines_to, links_csv, served, until
from spreadsheets import write_xlsx

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, bulk
from chat2pay_async._jobs import _Course
from chat2pay_async._report import Report
from chat2pay_async.sandbox import Fault, FaultPlan, Sandbox

JOURNAL = "spring.csv.links.journal"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def states_in(journal: Path | str) -> dict[str, str]:
    with Report(Path(journal)) as report:
        return {line.row.key: line.state for line in report.lines()}


# A campaign ---------------------------------------------------------------------------------------


def test_a_campaign_makes_a_link_for_each_row(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_csv(tmp_path / "spring.csv", 3)
    ran = run("links", "send", "spring.csv")
    assert ran.code == 0
    assert sandbox.ledger.count("link_created") == 3
    assert "Applied in all: ZAR 599.70" in ran.out
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
    sandbox.next_faults("create_payment_link", [Fault("denied", form="401")])
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
    blind = Fault("error_503_before", 1.0, operations=("get_transaction",))
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
    sandbox.next_faults("get_transaction", [Fault("denied", form="401")])
    options = ("--concurrency", "1", "--check-existing", "--never-resend", "--settle", "0.2")
    assert run("links", "send", path, *options).code == 1
    assert not sandbox.ledger.twice("link_created")
    resumed = run("resume", JOURNAL, "--json")
    assert {one["state"] for one in resumed.outcomes().values()} == {"skipped"}
    assert not sandbox.ledger.twice("link_created")


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


# How it ends --------------------------------------------------------------------------------------


def test_what_did_not_go_well_is_told_item_by_item(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    sandbox.fail_delivery("A-1")
    sandbox.next_faults("create_payment_link", [Fault("denied", form="403")])
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 2), "--concurrency", "1")
    assert ran.code == 3
    assert "A-1: failed: " in ran.err
    assert f"chat2pay resume {JOURNAL}" in ran.err
    again = run("resume", JOURNAL)
    assert again.code == 3
    assert "A-1: applied, but its message to the customer was not sent" in again.err
    assert f"chat2pay report {JOURNAL}" in again.err
    assert run("resume", JOURNAL).code == 3, "what was not delivered then is not delivered now"


def test_of_very_many_only_the_first_are_told(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    for number in range(1, 23):
        sandbox.fail_delivery(f"A-{number}")
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 22))
    assert ran.code == 3
    assert ran.err.count("its message to the customer was not sent") == _Course.SHOWN
    assert ran.err.count("the journal has them all") == 1


def paid(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> str:
    path = lines_to(
        tmp_path / "one.csv",
        f"{HEADER},transaction_type",
        f"A-1,sms,{PHONE}1,ZAR,9.90,authorization",
    )
    run("links", "send", path)
    ref = sandbox.ref_of("A-1")
    sandbox.pay(ref)
    return ref


def test_a_capture_that_the_gateway_declines_is_refused(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    ref = paid(sandbox, run, tmp_path)
    sandbox.decline_capture(ref)
    path = lines_to(tmp_path / "captures.csv", "payment_link_ref,amount", f"{ref},9.90")
    ran = run("captures", path)
    assert ran.code == 3
    assert f"{ref}: rejected: declined by the gateway" in ran.err
    assert "1 declined" in ran.out


def test_a_capture_that_is_undecided_is_in_doubt(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat2pay_async import _item  # noqa: PLC0415 - for this test alone

    monkeypatch.setattr(_item, "state_after", lambda _result: bulk.State.UNKNOWN)
    ref = paid(sandbox, run, tmp_path)
    path = lines_to(tmp_path / "captures.csv", "payment_link_ref,amount", f"{ref},9.90")
    ran = run("captures", path)
    assert ran.code == 4
    assert f"{ref}: unknown: the gateway has not decided" in ran.err


def test_payments_are_captured_receipted_and_given_back(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    ref = paid(sandbox, run, tmp_path)
    columns = "payment_link_ref,receipt_link"
    receipts = lines_to(tmp_path / "receipts.csv", columns, f"{ref},https://shop.test/r/1")
    only_refs = lines_to(tmp_path / "refs.csv", "payment_link_ref", ref)
    codes = [
        run("captures", only_refs).code,
        run("receipts", receipts).code,
        run("reversals", only_refs).code,
    ]
    assert codes == [0, 0, 0]
    counts = sandbox.ledger.counts
    assert counts["captured"] == 1
    assert counts["reversed"] == 1
    assert run("resume", "refs.csv.captures.journal").code == 0


def test_links_that_nobody_clicked_are_cancelled(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 1))
    refs = lines_to(tmp_path / "refs.csv", "payment_link_ref", sandbox.ref_of("A-1"))
    assert run("cancellations", refs).code == 0
    assert sandbox.ledger.count("link_cancelled") == 1


def test_a_wrong_key_stops_at_once_and_says_so(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_API_KEY", "wrong-key")
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 3), "--concurrency", "1")
    assert ran.code == 1
    assert "401" in ran.err
    assert "wrong-key" not in ran.out + ran.err
    assert not sandbox.ledger.counts


def test_too_many_failures_stop_it(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    sandbox.faults = FaultPlan((Fault("denied", 1.0, form="403"),))
    path = links_csv(tmp_path / "spring.csv", 30)
    ran = run("links", "send", path, "--stop-at-failure-rate", "0.1", "--concurrency", "2")
    assert ran.code == 1
    assert "stop_at_failure_rate" in ran.err


@pytest.mark.parametrize(
    "options", [("--concurrency", "0"), ("--rate-limit", "0"), ("--stop-at-failure-rate", "2")]
)
def test_an_option_that_cannot_work_is_told_before_anything_is_sent(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, options: tuple[str, ...]
) -> None:
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 1), *options)
    assert ran.code == 1
    assert ran.err.startswith("chat2pay: ")
    assert "resume" not in ran.err
    assert not sandbox.ledger.requests


def test_a_journal_in_use_is_left_alone(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    run("links", "send", path)
    with Report(tmp_path / JOURNAL):
        ran = run("links", "send", links_csv(path, 2))
    assert ran.code == 1
    assert "is in use by process" in ran.err
    assert sandbox.ledger.count("link_created") == 1


# Ctrl-C -------------------------------------------------------------------------------------------


def test_ctrl_c_lets_what_is_under_way_come_to_its_end(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_csv(tmp_path / "spring.csv", 60)
    sandbox.faults = FaultPlan((Fault("answer_late", 1.0, seconds=(0.5, 0.5)),))
    with begun(["links", "send", "spring.csv", "--concurrency", "2"], tmp_path) as process:
        until(lambda: sandbox.ledger.count("link_created") >= 2, "for the first links")
        process.running.send_signal(signal.SIGINT)
        ran = process.ends()
    assert ran.code == 130
    assert "Stopping: " in ran.err
    assert ran.err.endswith(f"To go on: chat2pay resume {JOURNAL}\n")
    made = sandbox.ledger.count("link_created")
    assert 2 <= made < 60
    assert list(states_in(tmp_path / JOURNAL).values()) == ["applied"] * made
    sandbox.faults = None
    assert run("resume", JOURNAL).code == 0
    assert_each_order_once(sandbox, 60)


def test_a_second_ctrl_c_stops_at_once_and_loses_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_csv(tmp_path / "spring.csv", 5)
    sandbox.next_faults("create_payment_link", ["silence_after", "silence_before"])
    options = ("--concurrency", "2", "--settle", "0.2")
    with begun(["links", "send", "spring.csv", *options], tmp_path) as process:
        until(lambda: sandbox.ledger.faulted() == 2, "for two requests without an answer")
        process.running.send_signal(signal.SIGINT)
        until(lambda: any("Stopping" in line for line in process.told), "for it to listen")
        process.running.send_signal(signal.SIGINT)
        ran = process.ends()
    assert ran.code == 130
    assert f"chat2pay resume {JOURNAL}" in ran.err
    assert PHONE not in ran.err
    assert set(states_in(tmp_path / JOURNAL).values()) <= {"unknown", "in doubt"}
    resumed = run("resume", JOURNAL)
    assert (resumed.code, "1 recovered" in resumed.out) == (0, True)
    assert_each_order_once(sandbox, 5)


def assert_each_order_once(sandbox: Sandbox, count: int) -> None:
    assert sandbox.ledger.count("link_created") == count
    assert not sandbox.ledger.twice("link_created")


def test_when_nobody_reads_its_output_it_stops_properly(sandbox: Sandbox, tmp_path: Path) -> None:
    links_csv(tmp_path / "spring.csv", 60)
    sandbox.faults = FaultPlan((Fault("answer_late", 1.0, seconds=(0.2, 0.2)),))
    options = ("--json", "--concurrency", "2")
    with begun(["links", "send", "spring.csv", *options], tmp_path, reads=False) as process:
        ran = process.ends()
    assert ran.code == 1
    assert "nobody reads standard output any more" in ran.err
    assert "Traceback" not in ran.err
    assert f"chat2pay resume {JOURNAL}" in ran.err
    assert set(states_in(tmp_path / JOURNAL).values()) == {"applied"}


class Signals:
    """Ctrl-C, as anyio would hear it."""

    def __init__(
        self, *, supported: bool = True, left: int = 0, when: Callable[[], object] = lambda: True
    ) -> None:
        self.supported = supported
        self.left = left
        self.when = when

    def __call__(self, *_signals: signal.Signals) -> Signals:
        return self

    def __enter__(self) -> Self:
        if not self.supported:
            raise NotImplementedError
        return self

    def __exit__(self, *_raised: object) -> None:
        pass

    def __aiter__(self) -> Signals:
        return self

    async def __anext__(self) -> signal.Signals:
        self.left -= 1
        if self.left < 0:
            await anyio.sleep_forever()
        await anyio.to_thread.run_sync(until, self.when, "Ctrl-C")
        return signal.SIGINT


def stopped_by(
    signals: Signals, monkeypatch: pytest.MonkeyPatch, run: Terminal, *arguments: object
) -> Ran:
    with monkeypatch.context() as patch:
        patch.setattr(anyio, "open_signal_receiver", signals)
        return run(*arguments)


def test_without_signals_it_goes_without(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    ran = stopped_by(Signals(supported=False), monkeypatch, run, "links", "send", path)
    assert (ran.code, sandbox.ledger.count("link_created")) == (0, 2)


def test_ctrl_c_before_it_has_begun_sends_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    early = Signals(left=1)
    ran = stopped_by(early, monkeypatch, run, "links", "send", path)
    assert (ran.code, sandbox.ledger.count("link_created")) == (130, 0)
    assert f"chat2pay resume {JOURNAL}" in ran.err
    assert (run("resume", JOURNAL).code, sandbox.ledger.count("link_created")) == (0, 2)


def test_ctrl_c_twice_before_it_has_begun_sends_nothing_either(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    early = Signals(left=2)
    ran = stopped_by(early, monkeypatch, run, "links", "send", path)
    assert (ran.code, sandbox.ledger.count("link_created")) == (130, 0)


def test_what_a_second_ctrl_c_cuts_off_is_told_as_in_doubt(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 5)
    sandbox.next_faults("create_payment_link", ["silence_after", "silence_before"])
    late = Signals(left=2, when=lambda: sandbox.ledger.faulted() == 2)
    options = ("--concurrency", "2", "--json")
    ran = stopped_by(late, monkeypatch, run, "links", "send", path, *options)
    assert ran.code == 130
    assert [one["state"] for one in ran.outcomes().values()] == ["unknown", "unknown"]
    assert ran.lines[-1]["summary"]["unknown"] == 2
