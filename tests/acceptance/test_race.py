"""Processes that race for the same keys do everything once, whatever becomes of them."""

from __future__ import annotations

import os
import sys

import pytest
import race
from race import Key, Report

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")

EACH, KILLS = 60, 16


def test_processes_that_race_are_killed_and_frozen_do_each_call_once(scale: int, seed: int) -> None:
    report = race.play(EACH * scale, seed, KILLS * min(scale, 7))
    print(report)
    assert (report.twice, report.lost, report.contradicting) == ([], [], [])
    assert report.open == []
    assert report.errors == []
    assert report.calls >= report.keys * 3
    assert report.kills >= KILLS
    assert report.freezes >= KILLS // 2
    assert report.faults.total() >= report.keys // 4


# A check that can't fail would show nothing -------------------------------------------------------

ONE: Key = ("capture_payment", "ref-1")
NOTED: list[tuple[set[str], str, int, str]] = [
    ({"done True"}, "applied", 2, "twice"),
    ({"done True"}, "applied", 0, "lost"),
    ({"failed"}, "failed", 1, "lost"),
    ({"done True"}, "failed", 1, "lost"),
    ({"done True", "done False"}, "applied", 1, "contradicting"),
    ({"unknown"}, "unknown", 0, "open"),
    (set(), "sent", 0, "open"),
]


@pytest.mark.parametrize(("told", "state", "effects", "noted"), NOTED)
def test_what_is_broken_is_noted(told: set[str], state: str, effects: int, noted: str) -> None:
    report = Report(1)
    race.compare(report, [ONE], {ONE: told}, {ONE: state}, {ONE: effects})
    assert getattr(report, noted)


def test_what_holds_is_not_called_broken() -> None:
    report, other = Report(2), ("create_payment_link", "A-1")
    states = {ONE: "applied", other: "failed"}
    told = {ONE: {"done True", "unknown"}, other: {"failed x"}}
    race.compare(report, [ONE, other], told, states, {ONE: 1})
    assert report == Report(2, not_applied=1)


def test_calls_are_waited_for_until_they_have_ended_or_nothing_happens() -> None:
    ticking, ticks = os.pipe()
    os.write(ticks, b"." * 5)
    race.wait_for_calls(ticking, 3)
    assert os.read(ticking, 10) == b".."
    race.wait_for_calls(ticking, 1)
    os.close(ticking)
    os.close(ticks)
