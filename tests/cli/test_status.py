"""Looking again and again, until every payment has come to its end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from commandline import Terminal, links_csv, served
from rich.console import Console

from chat2pay_async._cli import single_call
from chat2pay_async._cli.printing import Printer
from chat2pay_async._cli.status import lines_of
from chat2pay_async.sandbox import InjectedFault, Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


class Customers:
    """Something happens whenever the watching waits; the time itself does not pass."""

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


def test_it_goes_on_until_every_payment_has_ended(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 2))
    refs = [sandbox.ref_of(order) for order in ("A-1", "A-2")]
    customers = Customers(
        monkeypatch, lambda: sandbox.pay(refs[0]), lambda: None, lambda: sandbox.expire(refs[1])
    )
    ran = run("status", *refs, "--watch", "--every", "7", "--json")
    assert (ran.code, ran.err) == (0, "")
    told = [(line["key"], line["result"]["payment_status"]) for line in ran.lines]
    assert told[:3] == [(refs[0], "PENDING"), (refs[1], "PENDING"), (refs[0], "SUCCESS")]
    assert told[3][0] == refs[1]
    assert len(told) == 4, "only what has changed is told again"
    assert customers.waits == [7.0] * 3


def test_for_a_person_the_table_is_drawn_anew_in_its_place(
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
    assert "PENDING" in drawn.getvalue()
    assert "SUCCESS" in drawn.getvalue()
    assert "\x1b[1A" in drawn.getvalue(), "the cursor goes up, to draw over the last one"


REF = "b5b4b8c6-4f7e-4a34-8a7f-1de4ba5f4b4a"
SENT = ("A-1", REF, "199.90 ZAR", "PENDING", "PAYMENT_LINK_SENT", "2026-03-01T00:00:00Z", "")
ABSENT = ("A-10", "", "", "", "", "", "404: there is no such transaction")


def test_on_a_terminal_of_80_columns_no_reference_is_broken() -> None:
    assert lines_of([SENT, ABSENT], 80) == [
        "order  reference                             amount      payment",
        f"A-1    {REF}  199.90 ZAR  PENDING",
        "  PAYMENT_LINK_SENT, since 2026-03-01T00:00:00Z",
        "A-10",
        "  404: there is no such transaction",
    ]


def test_on_a_wide_one_a_payment_is_a_line() -> None:
    lines = lines_of([SENT, ABSENT], 105)
    assert lines[1] == f"A-1    {'  '.join(SENT[1:-1])}"
    assert max(map(len, lines)) == 105
    assert lines[2:] == ["A-10", "  404: there is no such transaction"]
    assert len(lines_of([SENT], 104)) == 3, "not if it has no room"


def test_where_it_is_piped_other_tools_can_cut_it() -> None:
    lines = lines_of([SENT, ABSENT], None)
    assert [line.split("\t") for line in lines[1:]] == [list(SENT), list(ABSENT)]
    assert lines[0].split("\t")[0] == "order"


def test_what_is_unknown_of_a_payment_is_left_blank(sandbox: Sandbox, run: Terminal) -> None:
    hollow = InjectedFault("hollow_200_before", form="object")
    sandbox.next_faults("get_transaction", [hollow])
    ran = run("status", "--order-number", "A-1")
    assert (ran.code, ran.out.splitlines()[1]) == (0, "\t" * 6)
    absent = run("status", "--order-number", "A-1").out.splitlines()[1]
    assert absent.startswith("A-1\t\t\t\t\t\tget_transaction: 404: ")


def test_a_look_that_fails_is_no_end(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 1))
    ref = sandbox.ref_of("A-1")
    sandbox.next_faults("get_transaction", [InjectedFault("denied", form="403")])
    Customers(monkeypatch, lambda: sandbox.pay(ref))
    ran = run("status", ref, "--watch", "--every", "7", "--json")
    assert [line["state"] for line in ran.lines] == ["failed", "applied"]
    assert ran.code == 0


def test_what_is_not_there_is_not_waited_for(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("status", "no-such-reference", "--watch")
    assert ran.code == 3
    assert sandbox.ledger.answered("get_transaction") == 1
