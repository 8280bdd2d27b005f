"""Runs that are killed, in small: nothing twice, nothing lost, by the sandbox's own ledger.

Real processes and a real `kill -9`; `benchmarks/kill.py` is the same with more orders.
"""

from __future__ import annotations

import importlib.util
import signal
import sqlite3
import sys
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parent.parent.parent / "benchmarks" / "kill.py"
ORDERS, SEED, KILLS, FEW = 1500, 1, 6, 60

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")


def load_kill() -> Any:
    spec = importlib.util.spec_from_file_location("kill", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill"] = module
    spec.loader.exec_module(module)
    return module


kill = load_kill()


@pytest.fixture(scope="module")
def reports() -> Mapping[str, Any]:
    """Every scenario, played once."""
    names = [*kill.SCENARIOS]
    return dict(zip(names, kill.perform(names, ORDERS, SEED, KILLS, FEW), strict=True))


@pytest.mark.parametrize("scenario", kill.SCENARIOS)
def test_the_promise_is_kept(reports: Mapping[str, Any], scenario: str) -> None:
    report = reports[scenario]
    assert report.broken == []
    assert (report.twice, report.lost) == (0, 0)


@pytest.mark.parametrize(("scenario", "orders"), [("links", ORDERS), ("captures", 600)])
def test_runs_were_killed_in_the_middle_and_left_a_bounded_doubt(
    reports: Mapping[str, Any], scenario: str, orders: int
) -> None:
    report = reports[scenario]
    assert report.orders == orders
    assert report.kills >= 5
    assert len(report.in_doubt) == report.runs - 2, "one before each resume but the last run's"
    assert 0 < max(report.in_doubt) <= kill.CONCURRENCY


@pytest.mark.parametrize("scenario", ["edited", "removed"])
def test_three_rows_were_in_doubt_when_their_source_changed(
    reports: Mapping[str, Any], scenario: str
) -> None:
    assert (reports[scenario].kills, reports[scenario].in_doubt) == (1, [3])


def test_every_kind_of_fault_happened(reports: Mapping[str, Any]) -> None:
    assert kill.unseen(list(reports.values())) == set()


def test_links_that_stay_in_doubt_are_few(reports: Mapping[str, Any]) -> None:
    assert sum(report.replaced for report in reports.values()) <= 5


# A check that can't fail would show nothing -------------------------------------------------------


def ledger(*effects: tuple[str, str]) -> Any:
    told = [{"kind": kind, "orderNumber": name, "paymentLinkRef": name} for kind, name in effects]
    return kill.Ledger({"effects": told, "faults": {}, "requests": {}})


CREATED, CANCELLED = "link_created", "link_cancelled"
JUDGED: list[tuple[list[tuple[str, str]], set[str], str]] = [
    ([(CREATED, "a"), (CREATED, "b"), (CREATED, "b")], set(), "1 twice"),
    ([(CREATED, "a")], set(), "1 lost"),
    ([(CREATED, "a")], {"b"}, "still in doubt"),
    ([(CREATED, "a"), (CREATED, "b"), (CREATED, "c")], set(), "never asked for"),
    ([(CREATED, "a"), (CREATED, "b"), (CANCELLED, "b")], set(), "1 lost"),
]


@pytest.mark.parametrize(("effects", "doubted", "said"), JUDGED)
def test_a_broken_promise_is_noticed(
    effects: list[tuple[str, str]], doubted: set[str], said: str
) -> None:
    report = kill.Report("links", 2)
    report.judge(ledger(*effects), kill.Job("create_payment_link", "", ""), ["a", "b"], doubted)
    assert any(fault.startswith(said) for fault in report.broken)


@pytest.mark.parametrize(
    ("effects", "doubted"),
    [
        ([(CREATED, "a"), (CREATED, "b")], set()),
        ([(CREATED, "a"), (CREATED, "b"), (CANCELLED, "b"), (CREATED, "b")], set()),
        ([(CREATED, "a"), (CREATED, "b"), (CANCELLED, "b")], {"b"}),
    ],
)
def test_a_link_that_was_made_anew_is_none_too_many(
    effects: list[tuple[str, str]], doubted: set[str]
) -> None:
    report = kill.Report("links", 2)
    report.judge(ledger(*effects), kill.Job("create_payment_link", "", ""), ["a", "b"], doubted)
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
    assert kill.Told(code=-signal.SIGKILL).killed
    assert not kill.Told(code=0).killed
