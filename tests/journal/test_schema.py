"""File of a journal: what is no journal is refused in plain words, and left as it is."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from chat2pay_async._journal import schema
from chat2pay_async._journal.schema import connect, explanation, guarded, make_file
from chat2pay_async.errors import JournalError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "payments.db"


def refusal(path: Path) -> str:
    with pytest.raises(JournalError) as caught, guarded(path), closing(connect(path)):
        pass
    return str(caught.value)


def execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(script)


def test_a_journal_is_private_and_durable(path: Path) -> None:
    make_file(path, {"a": "b"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(connect(path)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("SELECT * FROM note").fetchall() == [("a", "b")]
        db.execute("INSERT INTO note VALUES ('c', 'd')")
        for end in ("-wal", "-shm"):
            assert stat.S_IMODE(path.with_name(path.name + end).stat().st_mode) == 0o600


def test_a_journal_that_was_made_meanwhile_is_kept(path: Path) -> None:
    make_file(path, {"a": "first"})
    make_file(path, {"a": "second"})
    with closing(connect(path)) as db:
        assert db.execute("SELECT value FROM note").fetchall() == [("first",)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_other_files_are_refused_and_left_as_they_are(path: Path) -> None:
    path.write_text("order,amount\n" * 100)
    assert "is not a journal" in refusal(path)
    assert path.read_text() == "order,amount\n" * 100
    path.unlink()
    execute(path, "CREATE TABLE a (b)")
    before = path.read_bytes()
    assert "is not a journal of this package" in refusal(path)
    assert path.read_bytes() == before
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    path.unlink()
    assert "can't be used: No such file" in refusal(path)


@pytest.mark.parametrize("version", [2, 4])
def test_another_version_is_refused(path: Path, version: int) -> None:
    make_file(path, {})
    execute(path, f"PRAGMA user_version = {version}")
    assert f"has version {version}" in refusal(path)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_truncated_journal_is_damaged(path: Path, share: float) -> None:
    make_file(path, {})
    os.truncate(path, int(path.stat().st_size * share))
    assert "is damaged. Restore it" in refusal(path)


def test_a_journal_with_bytes_changed_is_damaged(path: Path) -> None:
    make_file(path, {str(number): "x" * 100 for number in range(200)})
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)
    assert "is damaged" in refusal(path)


def test_a_network_disk_is_refused_before_anything_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise JournalError(f"{path} is on a network")

    monkeypatch.setattr(schema, "check_local", refuse)
    assert "on a network" in refusal(path)
    with pytest.raises(JournalError, match="on a network"):
        make_file(path, {})
    assert not list(path.parent.iterdir())


def test_every_error_of_sqlite_says_what_to_do_or_what_it_is(path: Path) -> None:
    error = sqlite3.OperationalError("something")
    assert explanation(error) == "can't be used: something"
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_LOCK
    assert "can't be locked" in explanation(error)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    assert "Check both" in explanation(error)
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
    with pytest.raises(JournalError, match=r"payments\.db can't be written"), guarded(path):
        raise error


def test_a_system_that_opens_no_folders_is_no_obstacle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    schema.sync_folder(path.parent)
