"""Nothing twice, nothing lost, nothing wrong, in worlds of several processes; see `simulation`.

The acceptance suite runs thousands of them.
"""

from __future__ import annotations

from collections import Counter

import anyio.lowlevel
import pytest
import simulation
from simulated_service import Network
from simulation import FATES, LOOPS, run

SEEDS, SEEDS_OF_BROKEN = range(75), range(25)


@pytest.mark.parametrize("loop", LOOPS)
def test_every_call_ends_and_is_applied_once_at_most(loop: str) -> None:
    assert simulation.failures(SEEDS, loop) == []


@pytest.mark.parametrize("loop", LOOPS)
def test_where_requests_arrive_later_or_twice_nothing_is_reported_that_is_not_there(
    loop: str,
) -> None:
    assert simulation.failures(SEEDS_OF_BROKEN, loop, keeps_assumption=False) == []


@pytest.mark.parametrize("loop", LOOPS)
def test_a_seed_replays_exactly(loop: str) -> None:
    first, again, other = (run(seed, loop) for seed in (7, 7, 8))
    assert first == again
    assert first.trace != other.trace


def test_a_fate_that_never_comes_true_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "_fate", lambda *_, **_rest: "well")
    monkeypatch.setattr(Network, "_connect", lambda *_: anyio.lowlevel.checkpoint())
    found = simulation.failures(range(20), "asyncio")
    by_others = {"cancelled", "killed", "declined"}
    assert {f"{fate}: 0 times" for fate in FATES.keys() - by_others} <= set(found)


def test_calls_come_to_every_end() -> None:
    """A world in which nothing goes wrong would show nothing."""
    ends = sum((run(seed, "asyncio").ends for seed in range(30)), Counter[str]())
    told = {end.partition(" ")[2] for end in ends}
    assert told == {"done", "failed", "unknown", "absent", "lost"}
    assert ends["create done"] > ends.total() / 5
