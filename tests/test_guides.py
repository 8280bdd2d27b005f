"""The guides' examples are run as their readers would run them, and print what the text says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import served
from pasted import run_as_file

from chat2pay_async.sandbox import Sandbox

GUIDES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


def blocks_of(guide: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), flags=re.DOTALL)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


def test_there_are_guides_with_examples() -> None:
    assert sum(len(blocks_of(guide)) for guide in GUIDES) >= 5


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guides_examples_print_what_it_says(
    guide: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    text = " ".join(guide.read_text("utf-8").split())
    printed = [run_as_file(block, sandbox, tmp_path) for block in blocks_of(guide)]
    promised = re.findall(r"It prints `([^`]+)`", text)
    assert [line for line in printed if line.strip() in promised] == [
        f"{one}\n" for one in promised
    ]
    assert not sandbox.ledger.twice("link_created") or "second link" in text
