"""A run from its start to its end, as somebody at the keyboard sees and stops it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import pytest
from commandline import (
    HEADER,
    PHONE,
    FullDisk,
    Ran,
    Signals,
    Terminal,
    begun,
    full_output,
    lines_to,
    links_csv,
    served,
    states_in,
    until,
)

from chat2pay_async import ConfigurationError, bulk
from chat2pay_async._cli.run import RunController
from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async.sandbox import FaultPlan, InjectedFault, Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


# How it ends --------------------------------------------------------------------------------------


def test_problems_are_reported_item_by_item(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    sandbox.fail_delivery("A-1")
    sandbox.next_faults("create_payment_link", [InjectedFault("denied", form="403")])
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 2), "--concurrency", "1")
    assert ran.code == 3
    assert "A-1: failed: " in ran.err
    assert "chat2pay resume spring" in ran.err
    again = run("resume", "spring")
    assert again.code == 3
    assert "A-1: applied, but the message to the customer was not sent" in again.err
    assert "chat2pay report spring" in again.err
    assert run("resume", "spring").code == 3, "what was not delivered then is not delivered now"


def test_rejection_by_an_earlier_run_is_reported_with_a_hint(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 1)
    sandbox.next_faults("create_payment_link", [InjectedFault("not_found", form="json")])
    first = run("links", "send", path)
    assert "A-1: rejected: create_payment_link: 404: " in first.err
    again = run("resume", "spring")
    assert (again.code, "1 rejected" in first.err) == (3, True)
    assert "A-1: rejected by an earlier run: create_payment_link: 404: " in again.err
    assert "; to try again, use a new order number\n" in again.err
    assert sandbox.ledger.count("link_created") == 0


def test_message_that_an_earlier_run_did_not_send_is_reported(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    sandbox.fail_delivery("A-1")
    path = links_csv(tmp_path / "spring.csv", 1)
    run("links", "send", path)
    again = run("links", "send", path)
    not_sent = "A-1: applied by an earlier run, but the message to the customer was not sent\n"
    assert (again.code, not_sent in again.err) == (3, True)
    assert sandbox.ledger.count("link_created") == 1


def test_only_the_first_problems_are_reported(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    for number in range(1, 23):
        sandbox.fail_delivery(f"A-{number}")
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 22))
    assert ran.code == 3
    assert ran.err.count("the message to the customer was not sent") == RunController.SHOWN
    assert ran.err.count("`chat2pay report spring` has all of them") == 1


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


def test_declined_capture_is_rejected(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    ref = paid(sandbox, run, tmp_path)
    sandbox.decline_capture(ref)
    path = lines_to(tmp_path / "captures.csv", "payment_link_ref,amount", f"{ref},9.90")
    ran = run("captures", path)
    assert ran.code == 3
    assert f"{ref}: rejected: declined by the gateway\n" in ran.err
    assert "1 declined" in ran.out
    again = run("captures", path)
    assert f"{ref}: rejected by an earlier run: declined by the gateway\n" in again.err


def test_undecided_capture_is_unknown(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat2pay_async._bulk import item  # noqa: PLC0415 - for this test alone

    monkeypatch.setattr(item, "state_after", lambda _result: bulk.State.UNKNOWN)
    ref = paid(sandbox, run, tmp_path)
    path = lines_to(tmp_path / "captures.csv", "payment_link_ref,amount", f"{ref},9.90")
    ran = run("captures", path)
    assert ran.code == 4
    assert f"{ref}: unknown: the gateway has not decided" in ran.err


def test_payments_are_captured_receipted_and_reversed(
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
    assert run("resume", "refs-captures").code == 0


def test_receipt_is_named_by_its_link_too(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    ref = paid(sandbox, run, tmp_path)
    rows = [f"{ref},https://shop.test/r/{number}" for number in (1, 2)]
    path = lines_to(tmp_path / "receipts.csv", "payment_link_ref,receipt_link", *rows)
    sandbox.fail_receipt(ref)
    ran = run("receipts", path, "--concurrency", "1")
    assert ran.err.count(f"{ref} https://shop.test/r/1: applied, but the message") == 1
    outcomes = run("receipts", path, "--json").lines[:-1]
    assert [(one["key"], one["receipt_link"]) for one in outcomes] == [
        (ref, f"https://shop.test/r/{number}") for number in (1, 2)
    ]


def test_links_are_cancelled(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 1))
    refs = lines_to(tmp_path / "refs.csv", "payment_link_ref", sandbox.ref_of("A-1"))
    assert run("cancellations", refs).code == 0
    assert sandbox.ledger.count("link_cancelled") == 1


def test_wrong_key_stops_the_run_and_is_reported(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_API_KEY", "wrong-key")
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 3), "--concurrency", "1")
    assert ran.code == 1
    assert "401" in ran.err
    assert "wrong-key" not in ran.out + ran.err
    assert not sandbox.ledger.counts


def test_link_without_its_url_is_counted_and_explained(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    header, row = f"{HEADER},return_payment_link", f"A-1,none,{PHONE}1,ZAR,199.90,true"
    sandbox.next_faults("create_payment_link", ["drop_after"])
    ran = run("links", "send", lines_to(tmp_path / "spring.csv", header, row))
    assert ran.code == 3
    assert "1 recovered, 1 without URL" in ran.out
    assert "A-1: applied, but its payment URL was lost with the response" in ran.err
    again = run("resume", "spring")
    assert again.code == 3
    assert "A-1: applied by an earlier run, but its payment URL was lost" in again.err


def test_outage_that_is_too_long_stops_the_run(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 3)
    options = ("--base-url", "http://127.0.0.1:1", "--give-up-after", "0")
    ran = run("links", "send", path, *options)
    assert ran.code == 1
    assert ": failed: create_payment_link: could not connect to 127.0.0.1:1" in ran.err
    assert "--give-up-after 0 allows no more" in ran.err
    assert "give_up_after" not in ran.err
    assert not sandbox.ledger.counts


def test_somebody_elses_page_stops_the_run(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    page = [InjectedFault("intermediary_before", form="403_page")] * 100
    for operation in ("create_payment_link", "get_transaction"):
        sandbox.next_faults(operation, page)
    path = links_csv(tmp_path / "spring.csv", 30)
    ran = run("links", "send", path, "--concurrency", "1")
    assert ran.code == 1
    assert "does not look like Chat 2 Pay (403, text/html" in ran.err
    assert sandbox.ledger.faulted("create_payment_link") == 1


def test_failure_rate_stops_the_run(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    sandbox.faults = FaultPlan((InjectedFault("denied", 1.0, form="403"),))
    path = links_csv(tmp_path / "spring.csv", 30)
    ran = run("links", "send", path, "--stop-at-failure-rate", "0.1", "--concurrency", "2")
    assert ran.code == 1
    assert "--stop-at-failure-rate 0.1 allows fewer" in ran.err
    assert "stop_at_failure_rate" not in ran.err


# When it stops by itself --------------------------------------------------------------------------


def test_reason_to_stop_is_printed_while_items_are_in_progress(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    slow = InjectedFault("answer_late", seconds=(1.0, 1.0))
    sandbox.next_faults("create_payment_link", [slow, InjectedFault("denied", form="401")])
    path = links_csv(tmp_path / "spring.csv", 9)
    with begun(["links", "send", path, "--concurrency", "2"], tmp_path) as process:
        until(lambda: any("Stopping" in line for line in process.errors), "for it to say so")
        assert "payment links: " not in "".join(process.errors), "that comes with the end"
        ran = process.ends()
    assert ran.code == 1
    assert_said_once(ran, "Stopping: create_payment_link: 401: ", "; 1 in progress")
    assert run("resume", "spring").code == 0
    assert_each_order_once(sandbox, 9)


def assert_said_once(ran: Ran, start: str, end: str) -> None:
    (said,) = [line for line in ran.err.splitlines() if line.startswith("Stopping")]
    assert said.startswith(start)
    assert said.endswith(end)


def test_failure_rate_is_reported_while_items_are_in_progress(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    refused = [InjectedFault("denied", form="403")] * 4
    sandbox.next_faults(
        "create_payment_link", [InjectedFault("answer_late", seconds=(1.5, 1.5)), *refused]
    )
    path = links_csv(tmp_path / "spring.csv", 9)
    ran = run("links", "send", path, "--stop-at-failure-rate", "0.1", "--concurrency", "2")
    assert ran.code == 1
    assert_said_once(ran, "Stopping: 3 of the latest 3 items were ", "; 1 in progress")


def test_failed_source_is_reported_while_items_are_in_progress(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_read = CampaignFile.rows
    readings: list[int] = []

    def read(file: CampaignFile[Any]) -> Iterator[Any]:
        readings.append(1)
        if len(readings) % 2:  # the comparison with the journal
            yield from really_read(file)
        else:
            yield from islice(really_read(file), 2)
            raise ConfigurationError("it was changed while it was being sent")

    monkeypatch.setattr(CampaignFile, "rows", read)
    at_once, slow = (InjectedFault("answer_late", seconds=(late, late)) for late in (0.0, 1.0))
    sandbox.next_faults("create_payment_link", [at_once, slow])
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 3), "--concurrency", "2")
    assert ran.code == 1
    assert_said_once(ran, "Stopping: it was changed while it was being sent", "; 1 in progress")
    assert "chat2pay: it was changed" in ran.err
    assert sandbox.ledger.count("link_created") == 2


def test_reason_to_stop_is_printed_once_if_nothing_is_in_progress(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    sandbox.next_faults("create_payment_link", [InjectedFault("denied", form="401")])
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 3), "--concurrency", "1")
    assert ran.code == 1
    assert "Stopping" not in ran.err
    assert ran.err.count("chat2pay: create_payment_link: 401: ") == 1


# Ctrl-C -------------------------------------------------------------------------------------------


def test_ctrl_c_lets_items_in_progress_end(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    links_csv(tmp_path / "spring.csv", 60)
    sandbox.faults = FaultPlan((InjectedFault("answer_late", 1.0, seconds=(0.5, 0.5)),))
    with begun(["links", "send", "spring.csv", "--concurrency", "2"], tmp_path) as process:
        until(lambda: sandbox.ledger.count("link_created") >= 2, "for the first links")
        process.running.send_signal(signal.SIGINT)
        ran = process.ends()
    assert ran.code == 130
    assert "Stopping: " in ran.err
    assert ran.err.endswith("To continue: chat2pay resume spring\n")
    made = sandbox.ledger.count("link_created")
    assert 2 <= made < 60
    assert list(states_in("spring").values()) == ["applied"] * made
    sandbox.faults = None
    assert run("resume", "spring").code == 0
    assert_each_order_once(sandbox, 60)


def test_second_ctrl_c_stops_at_once_and_loses_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_csv(tmp_path / "spring.csv", 5)
    sandbox.next_faults("create_payment_link", ["silence_after", "silence_before"])
    options = ("--concurrency", "2", "--settle", "0.2")
    with begun(["links", "send", "spring.csv", *options], tmp_path) as process:
        until(lambda: sandbox.ledger.faulted() == 2, "for two requests without an answer")
        process.running.send_signal(signal.SIGINT)
        until(lambda: any("Stopping" in line for line in process.errors), "for it to listen")
        process.running.send_signal(signal.SIGINT)
        ran = process.ends()
    assert ran.code == 130
    assert "chat2pay resume spring" in ran.err
    assert PHONE not in ran.err
    assert set(states_in("spring").values()) <= {"sent", "unknown"}
    resumed = run("resume", "spring")
    assert (resumed.code, "1 recovered" in resumed.out) == (0, True)
    assert_each_order_once(sandbox, 5)


def assert_each_order_once(sandbox: Sandbox, count: int) -> None:
    assert sandbox.ledger.count("link_created") == count
    assert not sandbox.ledger.twice("link_created")


def test_closed_output_stops_the_run_quietly(sandbox: Sandbox, tmp_path: Path) -> None:
    links_csv(tmp_path / "spring.csv", 60)
    sandbox.faults = FaultPlan((InjectedFault("answer_late", 1.0, seconds=(0.2, 0.2)),))
    options = ("--json", "--concurrency", "2")
    with begun(["links", "send", "spring.csv", *options], tmp_path, reads=False) as process:
        ran = process.ends()
    assert ran.code == 1
    assert "Stopping" not in ran.err
    announced, progress, hint = ran.err.splitlines()
    assert announced.startswith("Sending 60 payment links, ZAR 11,994.00, to ")
    assert progress.startswith("payment links: ")
    assert hint == "To continue: chat2pay resume spring"
    assert set(states_in("spring").values()) == {"applied"}


# Where standard output is full --------------------------------------------------------------------

FULL = "chat2pay: standard output can't be written: No space left on device\n"


@full_output
@pytest.mark.parametrize("form", ["links send spring.csv --json", "links send spring.csv"])
def test_full_disk_stops_the_run_and_loses_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, form: str
) -> None:
    links_csv(tmp_path / "spring.csv", 60)
    options = ("--concurrency", "2")
    with begun([*form.split(), *options], tmp_path, output="/dev/full") as process:
        ran = process.ends()
    assert ran.code == 1
    assert FULL in ran.err
    assert "Traceback" not in ran.err
    made = sandbox.ledger.count("link_created")
    assert list(states_in("spring").values()) == ["applied"] * made
    if "--json" in form:
        assert made < 60
        assert ran.err.endswith("To continue: chat2pay resume spring\n")
        assert run("resume", "spring").code == 0
    else:  # only its summary could not be printed
        assert ran.err.endswith("Results: chat2pay report spring\n")
    assert_each_order_once(sandbox, 60)


def test_full_disk_lets_items_in_progress_end(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 9)
    # The first response comes when all three are on the wire: what is not yet is not sent.
    first = InjectedFault("answer_late", seconds=(0.5, 0.5))
    slow = [InjectedFault("answer_late", seconds=(1.0, 1.0))] * 2
    sandbox.next_faults("create_payment_link", [first, *slow])
    monkeypatch.setattr(sys, "stdout", FullDisk())
    ran = run("links", "send", path, "--json", "--concurrency", "3")
    assert ran.code == 1
    assert_said_once(ran, "Stopping: standard output can't be written", "; 2 in progress")
    assert ran.err.endswith(f"{FULL}To continue: chat2pay resume spring\n")
    assert states_in("spring") == dict.fromkeys(("A-1", "A-2", "A-3"), "applied")
    assert sandbox.ledger.count("link_created") == 3


def test_undelivered_outcomes_are_in_the_journal_if_the_disk_is_full(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 5)
    sandbox.next_faults("create_payment_link", ["silence_after"] * 2)
    late = Signals(left=2, when=lambda: sandbox.ledger.faulted() == 2)
    monkeypatch.setattr(sys, "stdout", FullDisk())
    options = ("--concurrency", "2", "--json")
    ran = stopped_by(late, monkeypatch, run, "links", "send", path, *options)
    assert ran.code == 1
    assert ran.err.endswith(f"{FULL}To continue: chat2pay resume spring\n")
    assert len(states_in("spring")) == 2


def test_unprinted_summary_points_to_the_report(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", FullDisk())
    ran = run("links", "send", links_csv(tmp_path / "spring.csv", 2))
    assert ran.code == 1
    assert ran.err.endswith(f"{FULL}Results: chat2pay report spring\n")
    assert sandbox.ledger.count("link_created") == 2


@full_output
def test_full_disk_and_two_ctrl_c_end_in_one_error(sandbox: Sandbox, tmp_path: Path) -> None:
    links_csv(tmp_path / "spring.csv", 5)
    sandbox.next_faults("create_payment_link", ["silence_after"] * 2)
    options = ("--json", "--concurrency", "2")
    with begun(["links", "send", "spring.csv", *options], tmp_path, output="/dev/full") as process:
        until(lambda: sandbox.ledger.faulted() == 2, "for two requests without an answer")
        process.running.send_signal(signal.SIGINT)
        until(lambda: any("Stopping" in line for line in process.errors), "for it to listen")
        process.running.send_signal(signal.SIGINT)
        ran = process.ends()
    assert ran.code == 1
    assert ran.err.endswith(f"{FULL}To continue: chat2pay resume spring\n")
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_order_number_in_any_script_is_printed_for_programs(
    sandbox: Sandbox, tmp_path: Path, encoding: str
) -> None:
    links_csv(tmp_path / "spring.csv", 1, prefix="Ж")
    command = ["links", "send", "spring.csv", "--json"]
    with begun(command, tmp_path, PYTHONIOENCODING=encoding) as process:
        ran = process.ends()
    assert (ran.code, set(ran.outcomes())) == (0, {"Ж-1"})
    assert sandbox.ledger.count("link_created") == 1
    with begun(["report", "spring", "--csv", "-"], tmp_path, PYTHONIOENCODING=encoding) as process:
        assert ",applied,Ж-1," in process.ends().out


# Signals in this process --------------------------------------------------------------------------


def stopped_by(
    signals: Signals, monkeypatch: pytest.MonkeyPatch, run: Terminal, *arguments: object
) -> Ran:
    with monkeypatch.context() as patch:
        patch.setattr(anyio, "open_signal_receiver", signals)
        return run(*arguments)


def test_run_works_without_signals(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    ran = stopped_by(Signals(supported=False), monkeypatch, run, "links", "send", path)
    assert (ran.code, sandbox.ledger.count("link_created")) == (0, 2)


def test_ctrl_c_before_the_start_sends_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    early = Signals(left=1)
    ran = stopped_by(early, monkeypatch, run, "links", "send", path)
    assert (ran.code, sandbox.ledger.count("link_created")) == (130, 0)
    assert "chat2pay resume spring" in ran.err
    assert (run("resume", "spring").code, sandbox.ledger.count("link_created")) == (0, 2)


def test_two_ctrl_c_before_the_start_send_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    early = Signals(left=2)
    ran = stopped_by(early, monkeypatch, run, "links", "send", path)
    assert (ran.code, sandbox.ledger.count("link_created")) == (130, 0)


def test_items_cut_off_by_a_second_ctrl_c_are_unknown(
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
