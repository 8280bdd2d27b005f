"""Status look-ups, repeated until every payment has ended."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from commandline import HEADER, PHONE, Terminal, lines_to, links_csv, served
from rich.console import Console

from chat2pay_async._cli import single_call, status
from chat2pay_async._cli.printing import Printer
from chat2pay_async._cli.status import table_of
from chat2pay_async.sandbox import InjectedFault, Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


class Customers:
    """Actions of customers, one at each wait; no time passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *acts: object) -> None:
        self.waits: list[float] = []
        self._acts = iter(acts)
        monkeypatch.setattr(anyio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        if seconds == 7.0:
            self.waits.append(seconds)
            act = next(self._acts)
            assert callable(act)
            act()


def test_watch_ends_when_every_payment_has_ended(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 2))
    refs = [sandbox.ref_of(order) for order in ("A-1", "A-2")]
    customers = Customers(
        monkeypatch, lambda: sandbox.pay(refs[0]), lambda: None, lambda: sandbox.expire(refs[1])
    )
    ran = run("status", *refs, "--watch", "--every", "7", "--json")
    assert (ran.code, ran.err) == (0, "")
    printed = [(line["key"], line["result"]["payment_status"]) for line in ran.lines]
    assert printed[:3] == [(refs[0], "PENDING"), (refs[1], "PENDING"), (refs[0], "SUCCESS")]
    assert printed[3][0] == refs[1]
    assert len(printed) == 4, "only what has changed is printed again"
    assert customers.waits == [7.0] * 3


def test_watch_on_a_terminal_draws_the_table_in_its_place(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 1))
    ref = sandbox.ref_of("A-1")
    Customers(monkeypatch, lambda: sandbox.pay(ref))
    screen = Console(file=io.StringIO(), force_terminal=True, width=150)
    monkeypatch.setattr(
        single_call, "Printer", lambda *, as_json: Printer(as_json=as_json, console=screen)
    )
    assert run("status", ref, "--watch", "--every", "7").code == 0
    drawn = screen.file
    assert isinstance(drawn, io.StringIO)
    assert "open" in drawn.getvalue()
    assert "paid" in drawn.getvalue()
    assert "\x1b[1A" in drawn.getvalue(), "the cursor goes up, to draw over the last one"


REF = "b5b4b8c6-4f7e-4a34-8a7f-1de4ba5f4b4a"
SENT = ("A-1", REF, "199.90 ZAR", "open", "PAYMENT_LINK_SENT", "2026-03-01T00:00:00Z", "")
ABSENT = ("A-10", "", "", "", "", "", "404: there is no such transaction")


@pytest.mark.parametrize("width", [80, 150])
def test_terminal_of_80_columns_has_room_for_a_payment(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width, color_system=None, _environ={})
    with screen.capture() as captured:
        screen.print(table_of([SENT, ABSENT]))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert lines[0].split() == ["order", "reference", "amount", "payment"]
    assert lines[2:] == [
        f"A-1     {REF}            199.90 ZAR   open",
        "        PAYMENT_LINK_SENT, since 2026-03-01T00:00:00Z",
        "A-10    404: there is no such transaction",
    ]


@pytest.mark.parametrize("order", ["A-1", "A" * 60])
def test_reference_is_never_broken(order: str) -> None:
    screen = Console(file=io.StringIO(), width=80, color_system=None, _environ={})
    with screen.capture() as captured:
        screen.print(table_of([(order, *SENT[1:])]))
    assert REF in captured.get()
    assert "199.90 ZAR" in captured.get()


def test_piped_status_has_tabs_between_columns(sandbox: Sandbox, run: Terminal) -> None:
    run(
        "link",
        "--to",
        "27831234567",
        "--order-number",
        "A-1",
        "--currency",
        "ZAR",
        "--total-amount",
        "199.90",
    )
    lines = run("status", "--order-number", "A-1").out.splitlines()
    cells = dict(zip(*(line.split("\t") for line in lines), strict=True))
    assert (cells["order"], cells["amount"]) == ("A-1", "ZAR 199.90")
    assert cells["reference"] == sandbox.ref_of("A-1")


def test_unknown_fields_are_blank_between_tabs(sandbox: Sandbox, run: Terminal) -> None:
    hollow = InjectedFault("hollow_200_before", form="object")
    sandbox.next_faults("get_transaction", [hollow] * 4)
    ran = run("status", "--order-number", "A-1")
    assert ran.code == 3
    assert ran.out.splitlines()[1].startswith("A-1\t\t\t\t\t\tget_transaction: the response 200 ")
    absent = run("status", "--order-number", "A-1").out.splitlines()[1]
    assert absent.startswith("A-1\t\t\t\t\t\tget_transaction: 404: ")


def test_failed_look_up_does_not_end_the_watch(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 1))
    ref = sandbox.ref_of("A-1")
    sandbox.next_faults("get_transaction", [InjectedFault("denied", form="403")])
    Customers(monkeypatch, lambda: sandbox.pay(ref))
    ran = run("status", ref, "--watch", "--every", "7", "--json")
    assert [line["state"] for line in ran.lines] == ["failed", "applied"]
    assert ran.code == 0


def test_missing_payment_ends_the_watch(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("status", "no-such-reference", "--watch")
    assert ran.code == 3
    assert sandbox.ledger.answered("get_transaction") == 1


# Of a run, of a kind ------------------------------------------------------------------------------


def links_of_a_run(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> list[str]:
    """Make three links: one is paid, one has expired, one is open."""
    run("links", "create", links_csv(tmp_path / "spring.csv", 3))
    refs = [sandbox.ref_of(f"A-{number}") for number in (1, 2, 3)]
    sandbox.pay(refs[0])
    sandbox.expire(refs[1])
    return refs


@pytest.mark.parametrize(
    ("only", "orders"),
    [
        ("paid", ["A-1"]),
        ("expired", ["A-2"]),
        ("open", ["A-3"]),
        ("unpaid", ["A-2", "A-3"]),
        ("authorized", []),
    ],
)
def test_links_of_a_run_are_shown_by_kind(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, only: str, orders: list[str]
) -> None:
    links_of_a_run(sandbox, run, tmp_path)
    ran = run("status", "--from-run", "spring", "--only", only, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [line["result"]["order_number"] for line in ran.lines] == orders


def test_report_is_a_file_of_look_ups_and_so_is_a_status(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    links_of_a_run(sandbox, run, tmp_path)
    run("report", "spring", "--csv", "report.csv")
    assert run("status", "report.csv", "--csv", "status.csv").code == 0
    assert run("status", "report.csv", "--xlsx", "status.xlsx").code == 0
    with Path("status.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["paid", "expired", "open"]
    again = run("status", "status.csv", "--only", "paid", "--csv", "-")
    (row,) = csv.DictReader(io.StringIO(again.out))
    assert (row["order_number"], row["paid_amount"], row["currency"]) == ("A-1", "199.90", "ZAR")


def test_payment_that_can_not_be_judged_is_told_and_not_shown(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links_of_a_run(sandbox, run, tmp_path)
    monkeypatch.setattr(status, "matches", lambda _found, _only: None)
    ran = run("status", "--from-run", "spring", "--only", "paid", "--json")
    assert (ran.code, ran.out) == (3, "")
    assert "3 payments are not shown, since it can't be known whether they are paid" in ran.err


# Against the journal ------------------------------------------------------------------------------


def test_journal_that_agrees_is_reconciled(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    links_of_a_run(sandbox, run, tmp_path)
    ran = run("reconcile")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "Journal and service"
    *items, counts = run("reconcile", "spring", "--json").lines
    assert sorted(one["status"] for one in items) == ["expired", "open", "paid"]
    assert {one["problem"] for one in items} == {None}
    assert counts["problems"] == 0


def test_reconciled_rows_are_summed_by_operation(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    order = f"A-1,sms,{PHONE}1,ZAR,9.90,authorization"
    run("links", "create", lines_to(tmp_path / "a.csv", f"{HEADER},transaction_type", order))
    ref = sandbox.ref_of("A-1")
    sandbox.pay(ref)
    refs = lines_to(tmp_path / "refs.csv", "payment_link_ref,amount", f"{ref},4.90")
    assert run("captures", refs).code == 0
    ran = run("reconcile")
    assert [line.split() for line in ran.out.splitlines()[2:]] == [
        ["capture", "payment", "captured", "1", "ZAR", "4.90"],
        ["create", "payment", "link", "captured", "1", "ZAR", "4.90"],
        ["problems", "0"],
    ]
    run("reconcile", "--csv", "found.csv")
    rows = list(csv.DictReader(io.StringIO(Path("found.csv").read_text("utf-8-sig"))))
    assert sorted(row["operation"] for row in rows) == ["capture_payment", "create_payment_link"]
    assert {row["captured_amount"] for row in rows} == {"4.90"}


def test_link_that_the_service_does_not_know_is_a_problem(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 1))
    sandbox.next_faults("get_transaction", [InjectedFault("not_found", form="json")] * 4)
    ran = run("reconcile", "spring")
    assert (ran.code, ran.err) == (3, "A-1: the service does not know it\n")
    assert run("reconcile", "spring", "--csv", "found.csv").code == 3
    (row,) = csv.DictReader(io.StringIO(Path("found.csv").read_text("utf-8-sig")))
    assert (row["row"], row["order_number"]) == ("2", "A-1")
    assert row["problem"] == "the service does not know it"
