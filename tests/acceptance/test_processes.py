"""Every process collects the same tests in the same order, whatever its hashes are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def collected(seed: str) -> list[str]:
    """Collect in a process whose sets are in another order."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_every_process_collects_the_same_tests_in_the_same_order() -> None:
    first, second = map(collected, ("1", "2"))
    assert len(first) > 5000
    assert first == second
