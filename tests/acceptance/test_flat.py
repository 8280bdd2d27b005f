"""A campaign in slices, in small: it does each row once, and tells of every slice what it took."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("httptools", reason="the benchmarks' server needs it")
pytest.importorskip("uvloop", reason="the benchmarks' server needs it")

FLAT = Path(__file__).parent.parent.parent / "benchmarks" / "flat.py"
ROWS, SLICES = 303, 4
"""Slices that are of one size only nearly."""


def run(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Return what it found, and what it printed."""
    given = [f"--rows={ROWS}", f"--slices={SLICES}", f"--output={folder}", *options]
    command = [sys.executable, str(FLAT), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "flat.json").read_text(encoding="utf-8")), done.stdout


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("sequential", lambda row: f"SPRING-{row:08}"),
        ("random", lambda row: uuid.uuid5(uuid.NAMESPACE_OID, str(row)).hex),
    ],
)
def test_every_row_is_done_once_by_the_count_of_the_server_and_of_the_journal(
    tmp_path: Path, keys: str, key: Callable[[int], str]
) -> None:
    journal = tmp_path / "kept.db"
    found, _ = run(tmp_path, f"--keys={keys}", f"--journal={journal}")
    assert found["served"]["posts"] == ROWS
    assert found["journal"] == {"rows": ROWS, "applied": ROWS, "posts": ROWS}
    with closing(sqlite3.connect(journal)) as db:
        rows = db.execute("SELECT key, state, posts FROM item ORDER BY key").fetchall()
    assert rows == sorted((key(row), "applied", 1) for row in range(ROWS))


def test_each_slice_has_its_figures_in_numbers_in_a_table_and_in_a_picture(tmp_path: Path) -> None:
    found, printed = run(tmp_path, "--concurrency=10")
    assert (found["rows"], found["concurrency"]) == (ROWS, 10)
    assert found["served"]["connections"] <= 10
    assert [one["done"] for one in found["slices"]] == [75, 151, 227, 303]
    for one in found["slices"]:
        assert all(one[name] > 0 for name in ("rate", "cpu", "peak", "journal"))
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in table[2:]] == ["75", "151", "227", "303"]
    picture = ET.fromstring((tmp_path / "flat.svg").read_text(encoding="utf-8"))  # noqa: S314 - it was just written
    lines = [part for part in picture.iter() if part.get("fill") == "none"]
    assert [line.get("d", "").count("L") for line in lines] == [2 * SLICES - 1] * 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["flat.json", "flat.svg"]


def test_there_are_no_more_slices_than_rows(tmp_path: Path) -> None:
    found, _ = run(tmp_path, "--rows=3", "--slices=50")
    assert [one["done"] for one in found["slices"]] == [1, 2, 3]
