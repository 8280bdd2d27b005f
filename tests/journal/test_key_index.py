"""Key index and Bloom filter: they behave as plain sets do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat2pay_async._journal.key_index import BloomFilter, KeyIndex, marks
from chat2pay_async.errors import JournalError

texts = st.text(max_size=3) | st.sampled_from(["A-1", "a-1", "A-1 ", "Ä", "\x00", "'", "?"])


@pytest.fixture
def index() -> Iterator[KeyIndex]:
    index = KeyIndex()
    yield index
    index.close()


def plainly_added(known: set[str], batch: Sequence[str]) -> list[bool]:
    """Add texts to a plain set, and return which were there."""
    found: list[bool] = []
    for text in batch:
        found.append(text in known)
        known.add(text)
    return found


@settings(deadline=None)
@given(st.lists(st.lists(texts, max_size=8), max_size=6), st.lists(texts, max_size=8))
@example([["A-1", "A-1"], ["a-1"]], ["A-1", "a-1", "b-1"])
def test_an_index_equals_a_plain_set(batches: list[list[str]], asked: list[str]) -> None:
    index, known = KeyIndex(), set[str]()
    try:
        for batch in batches:
            assert index.has(batch) == known & set(batch)
            assert index.add(batch) == plainly_added(known, batch)
        assert index.has(asked) == known & set(asked)
    finally:
        index.close()


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000, 1001, 2500])
def test_any_number_of_texts_is_added_at_once(index: KeyIndex, count: int) -> None:
    batch = [f"A-{number}" for number in range(count)]
    assert index.add(batch) == [False] * count
    assert index.has(["B-0", *batch, "B-1"]) == set(batch)
    assert index.add([*batch, "B-0"]) == [True] * count + [False]


def test_the_second_of_two_equal_texts_in_a_batch_was_there_before(index: KeyIndex) -> None:
    far = [f"A-{number}" for number in range(700)]
    assert index.add(["x", *far, "x"]) == [False] * 701 + [True]


def test_has_adds_nothing(index: KeyIndex) -> None:
    assert index.has(["A-1"]) == set()
    assert index.add(["A-1"]) == [False]


def test_two_indexes_are_independent(index: KeyIndex) -> None:
    index.add(["A-1"])
    other = KeyIndex()
    assert other.has(["A-1"]) == set()
    other.close()


def temporary_files() -> int:
    """Count the files that this process has open and that are in no folder."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own, which is closed by now
            count += str(link.readlink()).endswith(" (deleted)")
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files are open")
def test_many_texts_are_kept_in_an_unlinked_file_until_close(
    index: KeyIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    before = temporary_files()
    large = ["x" * 1000 + str(number) for number in range(5000)]
    assert not any(index.add(large))
    assert temporary_files() == before + 1
    assert list(tmp_path.iterdir()) == []
    assert all(index.add(large))
    index.close()
    assert temporary_files() == before


@settings(deadline=None)
@given(st.lists(st.lists(texts, max_size=8), max_size=6))
def test_put_texts_are_found_like_added_ones(batches: list[list[str]]) -> None:
    index, known = KeyIndex(), set[str]()
    try:
        for batch in batches:
            index.put(batch)
            known.update(batch)
            assert index.has([*batch, "b-1"]) == known & {*batch, "b-1"}
            assert all(index.add(batch))
    finally:
        index.close()


# The Bloom filter ---------------------------------------------------------------------------------


@given(st.lists(texts))
def test_a_known_text_is_never_reported_as_new(given: list[str]) -> None:
    bloom, known = BloomFilter(), set[str]()
    for text in given:
        assert not (bloom.add(text) and text in known)
        known.add(text)


def test_nearly_all_new_texts_are_recognized_in_constant_memory() -> None:
    bloom = BloomFilter()
    size = len(bloom._bits)
    recognized = sum(bloom.add(f"A-{number}") for number in range(100_000))
    assert recognized > 99_900
    assert not any(bloom.add(f"A-{number}") for number in range(100_000))
    assert len(bloom._bits) == size == 2 * 2**20


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 1, 2**63 - 1])
def test_every_hash_is_accepted(number: int) -> None:
    class Text(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return number

    bloom = BloomFilter()
    assert bloom.add(Text("a"))
    assert not bloom.add(Text("a"))


@pytest.mark.parametrize(
    ("count", "columns", "written"),
    [(1, 1, "(?)"), (3, 1, "(?), (?), (?)"), (1, 3, "(?, ?, ?)"), (2, 2, "(?, ?), (?, ?)")],
)
def test_marks_are_written_in_rows(count: int, columns: int, written: str) -> None:
    assert marks(count, columns) == written


def test_a_full_disk_is_reported_with_a_remedy() -> None:
    index = KeyIndex()
    pages = index._db.execute("PRAGMA page_count").fetchone()[0]
    index._db.execute(f"PRAGMA max_page_count = {pages}")
    for add in (index.add, index.put):
        with pytest.raises(JournalError, match="SQLITE_TMPDIR"):
            add([f"{number:0100}" for number in range(1000)])
    index.close()
