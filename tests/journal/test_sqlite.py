"""Every POST is in the journal before it leaves, with its exact bytes; every answer follows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async._journal import sqlite as room
from chat2pay_async._journal.base import Intent, Response, Result, Row
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async.errors import JournalError, Proof, SentRequest

BINDING = Binding("create_payment_link", "https://api.example", "f00d")
NOON = datetime(2021, 4, 27, 12, tzinfo=UTC)
TARGET = "/api/v2/chat-2-pay"
ODD = bytes(range(256))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "spring.db")
    journal.open(BINDING)
    yield journal
    journal.close()


def intent(key: str = "A-1", body: bytes | None = b"{}", **fields: Any) -> Intent:
    at = fields.pop("at", NOON)
    request_id, first_at = fields.pop("request_id", "id-1"), fields.pop("first_at", at)
    return Intent(key, SentRequest("POST", TARGET, body), request_id, first_at, at, **fields)


def ended(key: str = "A-1", state: str = "applied", **fields: Any) -> Result:
    given = {"response": b'{"paymentLinkRef": "ref-1"}', "result": None, "detail": b"{}"} | fields
    return Result(key, state, **given)


def row_of(journal: Journal, key: str = "A-1") -> Row:
    return journal.rows([key])[key]


def history(journal: Journal) -> list[tuple[Any, ...]]:
    query = "SELECT key, at, what, status, body FROM history ORDER BY id"
    return list(journal._opened().execute(query))


def keys(page: list[tuple[int, Row]]) -> list[str]:
    return [row.key for _number, row in page]


# What leaves --------------------------------------------------------------------------------------


def test_a_post_that_leaves_is_in_doubt_with_its_exact_bytes(journal: Journal) -> None:
    journal.write([intent(body=ODD)])
    assert row_of(journal) == Row(
        key="A-1",
        state="sent",
        target=TARGET,
        body=ODD,
        request_id="id-1",
        first_at=NOON.timestamp(),
        last_at=NOON.timestamp(),
        posts=1,
        response=None,
        result=None,
        detail=None,
    )
    assert row_of(journal).sent == SentRequest("POST", TARGET, ODD)


def test_a_post_without_a_body_has_none(journal: Journal) -> None:
    journal.write([intent(body=None, request_id=None)])
    assert row_of(journal).sent == SentRequest("POST", TARGET, None)
    assert row_of(journal).request_id is None


def test_every_further_post_is_counted_and_written_down_with_its_bytes(journal: Journal) -> None:
    later = NOON + timedelta(seconds=5)
    last = NOON + timedelta(seconds=9)
    journal.write([intent(body=ODD)])
    journal.write([intent(body=ODD, first_at=NOON, at=later, again=True)])
    journal.write([intent(body=ODD, first_at=NOON, at=last, again=True)])
    row = row_of(journal)
    assert (row.posts, row.first_at, row.last_at) == (3, NOON.timestamp(), last.timestamp())
    assert history(journal) == [
        ("A-1", NOON.timestamp(), f"POST {TARGET}", None, ODD),
        ("A-1", later.timestamp(), f"POST {TARGET}", None, ODD),
    ]


def test_a_new_identity_takes_the_place_of_the_one_that_was_undone(journal: Journal) -> None:
    later = NOON + timedelta(seconds=5)
    journal.write([intent()])
    journal.write([intent(body=ODD, request_id="id-2", at=later, again=True)])
    row = row_of(journal)
    assert (row.body, row.request_id, row.posts) == (ODD, "id-2", 2)
    assert row.first_at == row.last_at == later.timestamp()
    assert history(journal) == [("A-1", NOON.timestamp(), f"POST {TARGET}", None, b"{}")]


def test_an_item_that_failed_is_in_doubt_again_when_it_goes_again(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([ended(state="failed", result=b"{}")])
    journal.write([intent(again=True)])
    row = row_of(journal)
    assert (row.state, row.response, row.result, row.detail) == ("sent", None, None, None)
    assert row.posts == 2


def test_what_was_sent_and_answered_before_an_item_goes_again_is_kept(journal: Journal) -> None:
    journal.write([intent(body=b"first")])
    journal.write([ended(state="failed", response=b"401 and its words")])
    journal.write([intent(body=b"second", at=NOON + timedelta(days=1), again=True)])
    assert history(journal) == [
        ("A-1", NOON.timestamp(), f"POST {TARGET}", None, b"first"),
        ("A-1", NOON.timestamp(), "response", None, b"401 and its words"),
    ]


# What is answered ---------------------------------------------------------------------------------


def test_an_answer_that_is_not_the_last_word_is_kept_as_it_came(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([Response("A-1", NOON, 503, ODD)])
    assert history(journal) == [("A-1", NOON.timestamp(), "response", 503, ODD)]
    assert row_of(journal).state == "sent"


def test_an_end_is_kept_with_the_answer_as_it_came(journal: Journal) -> None:
    journal.write([intent("A-1"), intent("A-2")])
    journal.write([ended(response=ODD, result=b'{"a":1}', detail=b'{"attempts":[]}')])
    row = row_of(journal)
    assert (row.state, row.response, row.result, row.detail) == (
        "applied",
        ODD,
        b'{"a":1}',
        b'{"attempts":[]}',
    )
    assert row.sent == SentRequest("POST", TARGET, b"{}")
    assert row_of(journal, "A-2").state == "sent"


def test_an_end_without_an_answer_keeps_the_one_of_before(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([ended(state="unknown", response=b"<html>")])
    journal.write([ended(response=None, result=b"{}")])
    assert (row_of(journal).response, row_of(journal).state) == (b"<html>", "applied")


def test_a_journal_that_is_open_is_not_opened_again(journal: Journal) -> None:
    with pytest.raises(JournalError, match="in use by another run of this program"):
        journal.open(BINDING)
    journal.write([intent()])


def test_an_end_without_an_answer_has_none(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([ended(state="unknown", response=None)])
    row = row_of(journal)
    assert (row.state, row.response, row.result) == ("unknown", None, None)


def test_the_end_of_what_never_left_makes_no_row(journal: Journal) -> None:
    journal.write([ended("A-9")])
    assert journal.rows(["A-9"]) == {}


def test_all_kinds_are_written_together_in_the_order_in_which_they_happen(
    journal: Journal,
) -> None:
    journal.write([ended(), Response("A-1", NOON, 429, b""), intent()])
    assert row_of(journal).state == "applied"
    assert len(history(journal)) == 1


# All or nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_any_number_is_written_at_once(journal: Journal, count: int) -> None:
    numbers = [f"A-{number}" for number in range(count)]
    bodies = {key: b"body of " + key.encode() for key in numbers}
    journal.write([intent(key, body) for key, body in bodies.items()])
    journal.write([intent(key, body, again=True) for key, body in bodies.items()])
    journal.write([Response(key, NOON, 429, body) for key, body in bodies.items()])
    journal.write([ended(key, response=body) for key, body in bodies.items()])
    rows = journal.rows(numbers)
    assert {key: row.body for key, row in rows.items()} == bodies
    assert {key: row.response for key, row in rows.items()} == bodies
    assert {(row.state, row.posts) for row in rows.values()} == {("applied", 2)}
    told = history(journal)
    assert {key: body for key, _, what, _, body in told if what == "response"} == bodies
    assert {key: body for key, _, what, _, body in told if what != "response"} == bodies
    assert len(told) == 2 * count


def test_of_a_batch_that_fails_nothing_is_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write([intent("A-0")])
    before = journal._opened().execute("SELECT * FROM note").fetchall()
    for wrong in (intent("A-2", body={"no": "bytes"}), Response("A-1", NOON, 200, object())):  # type: ignore[arg-type]
        with pytest.raises(JournalError):
            journal.write([intent("A-1"), ended("A-0"), wrong])
    with monkeypatch.context() as patch:
        patch.setattr(room, "_ALIVE", "INSERT INTO nowhere VALUES (?)")
        with pytest.raises(JournalError, match="no such table: nowhere"):
            journal.write([intent("A-1"), ended("A-0")])
    assert journal.rows(["A-1", "A-2"]) == {}
    assert row_of(journal, "A-0").state == "sent"
    assert history(journal) == []
    assert journal._opened().execute("SELECT * FROM note").fetchall() == before
    journal.write([intent("A-1"), ended("A-0")])
    assert row_of(journal, "A-0").state == "applied"


def test_on_a_full_disk_nothing_is_written_and_once_there_is_room_all_is(
    journal: Journal,
) -> None:
    db = journal._opened()
    batch = [intent(f"A-{number}", b"x" * 1000) for number in range(250)]
    journal.write([intent("A-0")])
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(
        JournalError, match=r"can't grow: the disk is full\. Free disk space"
    ) as caught:
        journal.write([ended("A-0"), *batch])
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert keys(journal.page(0, unresolved_only=False)) == ["A-0"]
    assert row_of(journal, "A-0").state == "sent"
    db.execute("PRAGMA max_page_count = 1000000")
    journal.write(batch)
    assert len(journal.rows([f"A-{number}" for number in range(250)])) == 250


# What an earlier run left -------------------------------------------------------------------------


def test_only_rows_in_doubt_are_open(journal: Journal) -> None:
    states = ["sent", "unknown", "applied", "rejected", "failed"]
    journal.write([intent(state) for state in states])
    journal.write([ended(state, state) for state in states if state != "sent"])
    assert keys(journal.page(0, unresolved_only=True)) == ["sent", "unknown"]
    assert keys(journal.page(0, unresolved_only=False)) == states


@pytest.mark.parametrize("unresolved_only", [True, False])
def test_rows_come_in_pages_in_the_order_in_which_they_came(
    journal: Journal,
    unresolved_only: bool,  # noqa: FBT001 - a column
) -> None:
    journal.write([intent(f"B-{number}") for number in range(3)])
    journal.write([ended(f"B-{number}") for number in range(3)])
    numbers = [f"A-{number}" for number in range(250)]
    journal.write([intent(key) for key in numbers])
    journal.write([intent("A-7", again=True)])  # keeps its place
    after, pages = 0, list[list[str]]()
    while page := journal.page(after, unresolved_only=unresolved_only):
        after = page[-1][0]
        pages.append(keys(page))
    assert max(len(page) for page in pages) == 100
    told = [key for page in pages for key in page]
    assert told == (numbers if unresolved_only else ["B-0", "B-1", "B-2", *numbers])


def test_rows_are_found_by_their_keys_and_by_nothing_else(journal: Journal) -> None:
    journal.write([intent("A-1"), intent("a-1"), intent("Ä'1\x00?")])
    assert journal.rows(["A-1", "A-2", "Ä'1\x00?"]).keys() == {"A-1", "Ä'1\x00?"}
    assert journal.rows([]) == {}


def test_all_keys_are_told_whatever_their_state(journal: Journal) -> None:
    assert list(journal.all_keys()) == []
    journal.write([intent("A-1"), intent("a-1"), intent("Ä'1\x00?")])
    journal.write([ended("a-1")])
    assert sorted(journal.all_keys()) == ["A-1", "a-1", "Ä'1\x00?"]


def test_keys_that_can_not_be_read_are_told_in_plain_words(journal: Journal) -> None:
    journal._opened().execute("DROP TABLE item")
    with pytest.raises(JournalError, match="no such table: item"):
        list(journal.all_keys())


def test_a_journal_outlives_its_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "spring.db")
    journal.open(BINDING)
    journal.write([intent(body=ODD)])
    journal.close()
    for again in (Journal(tmp_path / "spring.db"), Journal(str(tmp_path / "spring.db"))):
        again.open(BINDING)
        assert row_of(again).body == ODD
        again.close()


def test_a_new_process_is_told_of_what_left_and_when(journal: Journal) -> None:
    first, last = NOON, NOON + timedelta(seconds=5)
    journal.write([intent(body=ODD, first_at=first, at=last)])
    alive = last + timedelta(seconds=2)
    prior = row_of(journal).prior_attempts(alive.timestamp())
    assert prior.sent == SentRequest("POST", TARGET, ODD)
    assert (prior.request_id, prior.first_at, prior.last_at) == ("id-1", first, last)
    assert prior.alive_at == alive
    assert prior.unresolved
    assert [one.proof for one in prior.attempts] == [Proof.UNKNOWN] * 2
    assert [one.elapsed for one in prior.attempts] == [0.0, 2.0]
    # A clock that was set back does not make the process end before its last attempt.
    assert row_of(journal).prior_attempts(0.0).alive_at == last


@pytest.mark.parametrize(
    ("state", "unresolved"),
    [("unknown", True), ("failed", False), ("applied", False), ("rejected", False)],
)
def test_whether_it_is_in_doubt_follows_from_its_state(
    journal: Journal,
    state: str,
    unresolved: bool,  # noqa: FBT001 - a column
) -> None:
    journal.write([intent()])
    journal.write([ended(state=state)])
    assert row_of(journal).prior_attempts(0.0).unresolved is unresolved


def test_each_commit_says_that_the_run_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in (1000.5, 2000.25):
        journal = Journal(tmp_path / "spring.db")
        journal.open(BINDING)
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        journal.write([Response("A-1", NOON, 200, b"")])
        journal.close()
        journal.open(BINDING)
        assert journal.alive_at == moment
        journal.close()


def test_of_a_new_journal_no_run_was_ever_at_work(journal: Journal) -> None:
    assert journal.alive_at == 0.0


# Opening and closing ------------------------------------------------------------------------------


def test_own_notes_are_kept_apart_from_those_of_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "spring.db", notes={"operation": "mine", "source": "a.csv"})
    journal.open(BINDING)
    journal.close()
    again = Journal(tmp_path / "spring.db", notes={"source": "b.csv"})
    again.open(BINDING)
    again.close()
    assert again.notes["operation"] == "create_payment_link"
    assert again.notes["user operation"] == "mine"
    assert again.notes["user source"] == "a.csv"


def test_a_journal_can_be_looked_into_without_a_run(journal: Journal) -> None:
    journal.write([intent()])
    journal.close()
    journal.open_to_read()
    assert keys(journal.page(0, unresolved_only=False)) == ["A-1"]
    assert journal.notes["base_url"] == "https://api.example"


def test_a_look_locks_nobody_out_once_it_is_over(journal: Journal) -> None:
    journal.close()
    journal.open_to_read()
    journal.close()
    journal.open(BINDING)


def test_a_journal_is_closed_once(journal: Journal) -> None:
    journal.close()
    journal.close()
    assert journal._db is None
