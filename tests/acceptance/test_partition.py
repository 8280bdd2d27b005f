"""Partitions of the network: what was given up is never delivered when the network heals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("partition.py")
RULES = "add table inet p; add chain inet p i { type filter hook input priority 0; }"


def why_not() -> str:
    """Say why no network can be split here; empty where one can."""
    missing = [tool for tool in ("unshare", "ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    words = ["unshare", "-rn", "nft", RULES]
    tried = subprocess.run(words, capture_output=True, check=False)  # noqa: S603 - our own words
    return "" if tried.returncode == 0 else "this machine allows no network namespace of one's own"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be split")


def started(transport: str, *how: str) -> subprocess.Popen[str]:
    words = ["unshare", "-rn", sys.executable, str(PROGRAM), transport, *how]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own words


@pytest.mark.parametrize("transport", ["asyncio", "uvloop", "trio", "fast"])
def test_a_post_that_was_given_up_in_a_partition_is_sent_again_and_arrives_once(
    transport: str,
) -> None:
    given_up, killed = started(transport), started(transport, "kill")
    told = [process.communicate(timeout=120)[0].splitlines()[-1] for process in (given_up, killed)]
    assert told == ["APPLIED 1", "APPLIED 1"]
