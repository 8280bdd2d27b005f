"""Partitions of the network: what was given up is never delivered when the network heals."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("partition.py")
# The first process is killed with `unshare`, and all others with the first.
NAMESPACE = ("unshare", "-rn", "--fork", "--pid", "--kill-child")
RULES = "add table inet p; add chain inet p i { type filter hook input priority 0; }"


def missing() -> list[str]:
    """Name the programs that split a network and are not here."""
    return [tool for tool in ("unshare", "ip", "nft") if shutil.which(tool) is None]


def why_not() -> str:
    """Say why no network can be split here; empty where one can, and where one has to be.

    `.ci/run` installs the programs: with its `CHAT2PAY_CI`, one that is missing is a failure.
    """
    if missing():
        is_to_be_there = os.environ.get("CHAT2PAY_CI")
        return "" if is_to_be_there else f"{', '.join(missing())} is not installed"
    words = [*NAMESPACE, "nft", RULES]
    tried = subprocess.run(words, capture_output=True, check=False)  # noqa: S603 - our own words
    if tried.returncode == 0:
        return ""
    return f"this machine allows no network namespace of one's own: {tried.stderr.decode().strip()}"


WHY_NOT = why_not()


@contextmanager
def started(transport: str, *how: str) -> Iterator[subprocess.Popen[str]]:
    """Start it in a namespace, which is gone after the block in any case."""
    words = [*NAMESPACE, sys.executable, str(PROGRAM), transport, *how]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own words
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "it can be split")
@pytest.mark.parametrize("transport", ["asyncio", "uvloop", "trio", "fast"])
def test_a_post_that_was_given_up_in_a_partition_is_sent_again_and_arrives_once(
    transport: str,
) -> None:
    assert missing() == []
    with started(transport) as given_up, started(transport, "kill") as killed:
        told = [one.communicate(timeout=120)[0].splitlines()[-1:] for one in (given_up, killed)]
    assert told == [["APPLIED 1"], ["APPLIED 1"]]


@pytest.mark.parametrize(
    ("is_ci", "reason"), [("1", ""), ("", "unshare, ip, nft is not installed")]
)
def test_a_program_that_is_missing_is_a_reason_to_skip_only_outside_ci(
    is_ci: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_CI", is_ci)
    monkeypatch.setenv("PATH", "/nowhere")
    assert why_not() == reason
