"""Runs that are killed: nothing twice, nothing lost, by the sandbox's own ledger.

Real processes and a real `kill -9`.
"""

from __future__ import annotations

import signal
import sqlite3
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import kill
import pytest

KILLS, FEW = 6, 60

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")


def play(scenario: str, orders: int, seed: int, kills: int = 0) -> kill.Report:
    """Play a scenario, print its figures, and see that its promise was kept."""
    report = kill.play(scenario, orders, seed, kills)
    print(report)
    assert report.broken == []
    assert (report.twice, report.lost) == (0, 0)
    return report


@pytest.mark.parametrize(("scenario", "orders"), [("links", 1500), ("captures", 600)])
def test_a_run_that_is_killed_again_and_again_does_each_order_once(
    scenario: str, orders: int, scale: int, seed: int
) -> None:
    report = play(scenario, orders * scale, seed, KILLS * scale)
    assert report.kills >= 5 * scale
    assert len(report.pending) == report.runs - 2, "one before each resume but the last run's"
    assert 0 < max(report.pending) <= kill.CONCURRENCY
    assert report.faults.total() >= orders * scale // 5
    if scenario == "links":
        # The fewer captures may miss the kinds that are rare.
        assert kill.unseen(report) == set()


@pytest.mark.parametrize("scenario", ["edited", "removed"])
def test_three_orders_pending_are_settled_though_their_rows_changed(
    scenario: str, seed: int
) -> None:
    report = play(scenario, FEW, seed)
    assert (report.kills, report.pending) == (1, [3])


@pytest.mark.parametrize("scenario", ["down", "full"])
def test_a_run_that_could_not_work_is_done_by_the_next(scenario: str, seed: int) -> None:
    assert play(scenario, FEW, seed).runs >= 3


def test_two_processes_with_the_same_rows_send_each_once(seed: int) -> None:
    report = play("together", 4 * FEW, seed)
    assert report.runs >= 3
    assert report.faults.total() >= FEW // 2


# A check that can't fail would show nothing -------------------------------------------------------


def ledger(*effects: tuple[str, str]) -> Any:
    told = [{"kind": kind, "orderNumber": name, "paymentLinkRef": name} for kind, name in effects]
    return kill.Ledger({"effects": told, "faults": {}, "requests": {}})


CREATED = "link_created"
JUDGED: list[tuple[list[tuple[str, str]], set[str], str]] = [
    ([(CREATED, "a"), (CREATED, "b"), (CREATED, "b")], set(), "1 twice"),
    ([(CREATED, "a")], set(), "1 lost"),
    ([(CREATED, "a"), (CREATED, "b")], {"b"}, "never done"),
    ([(CREATED, "a"), (CREATED, "b"), (CREATED, "c")], set(), "never asked for"),
]


@pytest.mark.parametrize(("effects", "left", "said"), JUDGED)
def test_a_broken_promise_is_noticed(
    effects: list[tuple[str, str]], left: set[str], said: str
) -> None:
    report = kill.Report("links", 2)
    report.judge(ledger(*effects), kill.Job("create_payment_link", "", ""), ["a", "b"], left)
    assert any(fault.startswith(said) for fault in report.broken)


def test_a_kept_promise_is_not_called_broken() -> None:
    report = kill.Report("links", 2)
    effects = ledger((CREATED, "a"), (CREATED, "b"))
    report.judge(effects, kill.Job("create_payment_link", "", ""), ["a", "b"], set())
    assert report.broken == []


def test_the_moments_are_a_seeds_and_of_both_sorts() -> None:
    first, again, other = (list(kill.moments(seed, 10, 1000)) for seed in (1, 1, 2))
    assert first == again != other
    assert [bool(moment.outcomes) for moment in first] == [True, False] * 5


def test_rows_are_read_from_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE item (key TEXT, state TEXT)")
    db.execute("INSERT INTO item VALUES ('a', 'sent')")
    log = Path(f"{path}-wal")
    before = log.read_bytes()
    assert kill.rows(str(path)) == {"a": "sent"}
    assert log.read_bytes() == before
    db.close()


def test_amounts_differ_so_that_a_changed_one_shows() -> None:
    amounts = [Decimal(kill.amount(number)) for number in range(1000)]
    assert len(set(amounts)) == 400
    assert all(one != other for one, other in pairwise(amounts))


def test_the_killing_is_real() -> None:
    assert kill.Reported(code=-signal.SIGKILL).killed
    assert not kill.Reported(code=0).killed
