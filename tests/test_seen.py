"""A set of texts in a temporary file says what a plain set would say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat2pay_async._seen import Seen, marks
from chat2pay_async.errors import JournalError

texts = st.text(max_size=3) | st.sampled_from(["A-1", "a-1", "A-1 ", "Ä", "\x00", "'", "?"])


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    yield seen
    seen.close()


def plainly_added(known: set[str], batch: Sequence[str]) -> list[bool]:
    """What a plain set says of the same."""
    answers: list[bool] = []
    for text in batch:
        answers.append(text in known)
        known.add(text)
    return answers


@settings(deadline=None)
@given(st.lists(st.lists(texts, max_size=8), max_size=6), st.lists(texts, max_size=8))
@example([["A-1", "A-1"], ["a-1"]], ["A-1", "a-1", "b-1"])
def test_it_says_what_a_plain_set_says(batches: list[list[str]], asked: list[str]) -> None:
    seen, known = Seen(), set[str]()
    try:
        for batch in batches:
            assert seen.has(batch) == known & set(batch)
            assert seen.add(batch) == plainly_added(known, batch)
        assert seen.has(asked) == known & set(asked)
    finally:
        seen.close()


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000, 1001, 2500])
def test_any_number_of_texts_is_asked_for_at_once(seen: Seen, count: int) -> None:
    batch = [f"A-{number}" for number in range(count)]
    assert seen.add(batch) == [False] * count
    assert seen.has(["B-0", *batch, "B-1"]) == set(batch)
    assert seen.add([*batch, "B-0"]) == [True] * count + [False]


def test_of_a_text_that_stands_twice_in_a_batch_the_second_was_there_before(seen: Seen) -> None:
    far = [f"A-{number}" for number in range(700)]
    assert seen.add(["x", *far, "x"]) == [False] * 701 + [True]


def test_asking_adds_nothing(seen: Seen) -> None:
    assert seen.has(["A-1"]) == set()
    assert seen.add(["A-1"]) == [False]


def test_two_sets_know_nothing_of_each_other(seen: Seen) -> None:
    seen.add(["A-1"])
    other = Seen()
    assert other.has(["A-1"]) == set()
    other.close()


def temporary_files() -> int:
    """How many files this process has open that stand in no folder."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own, which is closed by now
            count += str(link.readlink()).endswith(" (deleted)")
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files are open")
def test_many_texts_go_to_a_file_that_stands_in_no_folder_and_ends_with_the_set(
    seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    before = temporary_files()
    large = ["x" * 1000 + str(number) for number in range(5000)]
    assert not any(seen.add(large))
    assert temporary_files() == before + 1
    assert list(tmp_path.iterdir()) == []
    assert all(seen.add(large))
    seen.close()
    assert temporary_files() == before


@pytest.mark.parametrize(
    ("count", "columns", "written"),
    [(1, 1, "(?)"), (3, 1, "(?), (?), (?)"), (1, 3, "(?, ?, ?)"), (2, 2, "(?, ?), (?, ?)")],
)
def test_placeholders_stand_in_rows(count: int, columns: int, written: str) -> None:
    assert marks(count, columns) == written


def test_a_disk_that_is_full_is_told_with_what_to_do() -> None:
    seen = Seen()
    pages = seen._db.execute("PRAGMA page_count").fetchone()[0]
    seen._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match="SQLITE_TMPDIR"):
        seen.add([f"{number:0100}" for number in range(1000)])
    seen.close()
