"""Journal: POSTs with their exact bytes before they are sent, then their responses and results."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async._journal.base import Intent, Response, Result, Row
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async.errors import Attempt, JournalError, Pending, Proof, SentRequest

OWNER = ("create_payment_link", "https://api.example", "f00d")
BINDING = Binding(*OWNER)
NOON = datetime(2021, 4, 27, 12, tzinfo=UTC)
TARGET = "/api/v2/chat-2-pay"
ODD = bytes(range(256))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "spring.db")
    journal.open(BINDING)
    yield journal
    journal.close()


def attempt(at: datetime) -> Attempt:
    return Attempt(at, 0.0, Proof.UNKNOWN, error="Interrupted")


def pending(body: bytes | None = b"{}", **fields: Any) -> Pending:
    at = fields.pop("at", NOON)
    first = fields.pop("first_at", at)
    given: dict[str, Any] = {
        "operation": BINDING.operation,
        "identity": "A-1",
        "request": SentRequest("POST", TARGET, body),
        "base_url": BINDING.base_url,
        "key_fingerprint": BINDING.key_fingerprint,
        "request_id": "id-1",
        "first_attempt": attempt(first),
        "last_attempt": attempt(at),
    }
    return Pending(**given | fields)


def intent(
    key: str = "A-1", body: bytes | None = b"{}", *, again: bool = False, **fields: Any
) -> Intent:
    return Intent(key, pending(body, **{"identity": key} | fields), again)


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


# Intents ------------------------------------------------------------------------------------------


def test_an_intent_makes_a_row_with_the_exact_bytes(journal: Journal) -> None:
    journal.write([intent(body=ODD)])
    assert row_of(journal) == Row(
        key="A-1",
        state="sent",
        target=TARGET,
        body=ODD,
        request_id="id-1",
        first_at=NOON.timestamp(),
        last_at=NOON.timestamp(),
        service_at=None,
        settle=10.0,
        read_timeout=30.0,
        resend_when_absent=1,
        posts=1,
        response=None,
        result=None,
        detail=None,
    )
    assert row_of(journal).sent == SentRequest("POST", TARGET, ODD)


def test_an_intent_may_have_no_body(journal: Journal) -> None:
    journal.write([intent(body=None, request_id=None)])
    assert row_of(journal).sent == SentRequest("POST", TARGET, None)
    assert row_of(journal).request_id is None


def test_repeated_intents_are_counted_and_kept_with_their_bytes(journal: Journal) -> None:
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


def test_an_intent_with_a_new_identity_replaces_the_former(journal: Journal) -> None:
    later = NOON + timedelta(seconds=5)
    journal.write([intent()])
    journal.write([intent(body=ODD, request_id="id-2", at=later, again=True)])
    row = row_of(journal)
    assert (row.body, row.request_id, row.posts) == (ODD, "id-2", 2)
    assert row.first_at == row.last_at == later.timestamp()
    assert history(journal) == [("A-1", NOON.timestamp(), f"POST {TARGET}", None, b"{}")]


def test_an_intent_makes_a_failed_row_unresolved_again(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([ended(state="failed", result=b"{}")])
    journal.write([intent(again=True)])
    row = row_of(journal)
    assert (row.state, row.response, row.result, row.detail) == ("sent", None, None, None)
    assert row.posts == 2


def test_a_repeated_intent_keeps_the_former_request_and_response(journal: Journal) -> None:
    journal.write([intent(body=b"first")])
    journal.write([ended(state="failed", response=b"401 and its text")])
    journal.write([intent(body=b"second", at=NOON + timedelta(days=1), again=True)])
    assert history(journal) == [
        ("A-1", NOON.timestamp(), f"POST {TARGET}", None, b"first"),
        ("A-1", NOON.timestamp(), "response", None, b"401 and its text"),
    ]


# Responses and results ----------------------------------------------------------------------------


def test_a_response_is_kept_unchanged(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([Response("A-1", NOON, 503, ODD)])
    assert history(journal) == [("A-1", NOON.timestamp(), "response", 503, ODD)]
    assert row_of(journal).state == "sent"


def test_a_result_is_kept_with_its_response_unchanged(journal: Journal) -> None:
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


def test_a_result_without_a_response_keeps_the_former(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([ended(state="unknown", response=b"<html>")])
    journal.write([ended(response=None, result=b"{}")])
    assert (row_of(journal).response, row_of(journal).state) == (b"<html>", "applied")


def test_an_open_journal_is_not_opened_again(journal: Journal) -> None:
    with pytest.raises(JournalError, match="in use by another run of this program"):
        journal.open(BINDING)
    journal.write([intent()])


def test_a_result_may_have_no_response(journal: Journal) -> None:
    journal.write([intent()])
    journal.write([ended(state="unknown", response=None)])
    row = row_of(journal)
    assert (row.state, row.response, row.result) == ("unknown", None, None)


def test_a_result_without_an_intent_makes_no_row(journal: Journal) -> None:
    journal.write([ended("A-9")])
    assert journal.rows(["A-9"]) == {}


def test_entries_of_all_kinds_are_written_in_their_natural_order(
    journal: Journal,
) -> None:
    journal.write([ended(), Response("A-1", NOON, 429, b""), intent()])
    assert row_of(journal).state == "applied"
    assert len(history(journal)) == 1


# All or nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_any_number_of_entries_is_written_at_once(journal: Journal, count: int) -> None:
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
    reported = history(journal)
    assert {key: body for key, _, what, _, body in reported if what == "response"} == bodies
    assert {key: body for key, _, what, _, body in reported if what != "response"} == bodies
    assert len(reported) == 2 * count


def test_a_failing_batch_writes_nothing(journal: Journal) -> None:
    journal.write([intent("A-0")])
    before = journal._opened().execute("SELECT * FROM note").fetchall()
    for wrong in (intent("A-2", body={"no": "bytes"}), Response("A-1", NOON, 200, object())):  # type: ignore[arg-type]
        with pytest.raises(JournalError):
            journal.write([intent("A-1"), ended("A-0"), wrong])
    assert journal.rows(["A-1", "A-2"]) == {}
    assert row_of(journal, "A-0").state == "sent"
    assert history(journal) == []
    assert journal._opened().execute("SELECT * FROM note").fetchall() == before
    journal.write([intent("A-1"), ended("A-0")])
    assert row_of(journal, "A-0").state == "applied"


def test_a_full_disk_writes_nothing_and_all_once_there_is_space(
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


# Rows of an earlier run ---------------------------------------------------------------------------


def test_a_page_of_unresolved_rows_has_no_others(journal: Journal) -> None:
    states = ["sent", "unknown", "applied", "rejected", "failed"]
    journal.write([intent(state) for state in states])
    journal.write([ended(state, state) for state in states if state != "sent"])
    assert keys(journal.page(0, unresolved_only=True)) == ["sent", "unknown"]
    assert keys(journal.page(0, unresolved_only=False)) == states


@pytest.mark.parametrize("unresolved_only", [True, False])
def test_rows_come_in_pages_in_their_order(
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
    reported = [key for page in pages for key in page]
    assert reported == (numbers if unresolved_only else ["B-0", "B-1", "B-2", *numbers])


def test_rows_are_found_by_their_exact_keys(journal: Journal) -> None:
    journal.write([intent("A-1"), intent("a-1"), intent("Ä'1\x00?")])
    assert journal.rows(["A-1", "A-2", "Ä'1\x00?"]).keys() == {"A-1", "Ä'1\x00?"}
    assert journal.rows([]) == {}


def test_all_keys_has_rows_of_every_state(journal: Journal) -> None:
    assert list(journal.all_keys()) == []
    journal.write([intent("A-1"), intent("a-1"), intent("Ä'1\x00?")])
    journal.write([ended("a-1")])
    assert sorted(journal.all_keys()) == ["A-1", "a-1", "Ä'1\x00?"]


def test_all_keys_raises_in_plain_words(journal: Journal) -> None:
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


def test_a_row_is_a_pending_call_with_a_state(journal: Journal) -> None:
    written = pending(
        ODD,
        first_at=NOON,
        at=NOON + timedelta(seconds=5),
        service_time=NOON - timedelta(hours=1),
        settle=2.5,
        read_timeout=7.0,
        resend_when_absent=False,
    )
    journal.write([Intent("A-1", written)])
    row = row_of(journal)
    assert row.pending(*OWNER) == written
    assert row.state == "sent"


def test_a_row_without_the_services_time_makes_up_none(journal: Journal) -> None:
    journal.write([intent()])
    assert row_of(journal).pending(*OWNER).service_time is None


def test_a_pending_call_shows_the_attempts_whose_end_was_seen(journal: Journal) -> None:
    journal.write([intent()])
    refused = Attempt(NOON, 0.5, Proof.UNKNOWN, 503)
    last = Attempt(NOON + timedelta(seconds=5), 0.5, Proof.NOT_SENT)
    found = row_of(journal).pending(*OWNER, (refused, last))
    assert (found.first_attempt, found.last_attempt) == (refused, last)


# Opening and closing ------------------------------------------------------------------------------


def test_notes_of_the_user_are_kept_apart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "spring.db", notes={"operation": "mine", "source": "a.csv"})
    journal.open(BINDING)
    journal.close()
    again = Journal(tmp_path / "spring.db", notes={"source": "b.csv"})
    again.open(BINDING)
    again.close()
    assert again.notes["operation"] == "create_payment_link"
    assert again.notes["user operation"] == "mine"
    assert again.notes["user source"] == "a.csv"


def test_a_journal_can_be_read_without_a_run(journal: Journal) -> None:
    journal.write([intent()])
    journal.close()
    journal.open_to_read()
    assert keys(journal.page(0, unresolved_only=False)) == ["A-1"]
    assert journal.notes["base_url"] == "https://api.example"


def test_a_journal_is_unlocked_after_reading(journal: Journal) -> None:
    journal.close()
    journal.open_to_read()
    journal.close()
    journal.open(BINDING)


def test_a_journal_may_be_closed_twice(journal: Journal) -> None:
    journal.close()
    journal.close()
    assert journal._db is None
