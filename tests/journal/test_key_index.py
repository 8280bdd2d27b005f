"""A set of texts in a temporary file says what a plain set would say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat2pay_async._journal.key_index import Seen, Sieve, marks
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


@settings(deadline=None)
@given(st.lists(st.lists(texts, max_size=8), max_size=6))
def test_what_is_put_is_there_as_if_it_were_added(batches: list[list[str]]) -> None:
    seen, known = Seen(), set[str]()
    try:
        for batch in batches:
            seen.put(batch)
            known.update(batch)
            assert seen.has([*batch, "b-1"]) == known & {*batch, "b-1"}
            assert all(seen.add(batch))
    finally:
        seen.close()


# The sieve ----------------------------------------------------------------------------------------


@given(st.lists(texts))
def test_of_no_text_that_was_added_before_a_sieve_says_that_it_is_new(given: list[str]) -> None:
    sieve, known = Sieve(), set[str]()
    for text in given:
        assert not (sieve.add(text) and text in known)
        known.add(text)


def test_nearly_every_new_text_is_told_to_be_new_and_a_sieve_does_not_grow() -> None:
    sieve = Sieve()
    size = len(sieve._bits)
    told = sum(sieve.add(f"A-{number}") for number in range(100_000))
    assert told > 99_900
    assert not any(sieve.add(f"A-{number}") for number in range(100_000))
    assert len(sieve._bits) == size == 2 * 2**20


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 1, 2**63 - 1])
def test_any_hash_has_a_place(number: int) -> None:
    class Text(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return number

    sieve = Sieve()
    assert sieve.add(Text("a"))
    assert not sieve.add(Text("a"))


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
    for add in (seen.add, seen.put):
        with pytest.raises(JournalError, match="SQLITE_TMPDIR"):
            add([f"{number:0100}" for number in range(1000)])
    seen.close()
