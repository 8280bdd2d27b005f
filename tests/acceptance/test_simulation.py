"""Thousands of worlds of several processes, a service, a network and clocks; see `simulation`.

`--scale` times as many; `--seed` is the first one's.
"""

from __future__ import annotations

import pytest
import simulation
from simulation import LOOPS

WORLDS = 2000


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("keeps_assumption", [True, False])
def test_no_promise_is_broken_in_thousands_of_worlds(
    loop: str, scale: int, seed: int, *, keeps_assumption: bool
) -> None:
    first = seed * 1_000_000
    seeds = range(first, first + WORLDS * scale)
    assert simulation.failures(seeds, loop, keeps_assumption=keeps_assumption) == []
