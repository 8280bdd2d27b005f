"""File of a journal: made completely or not at all, one writer, refused when damaged."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from chat2pay_async._journal import sqlite_file as module
from chat2pay_async._journal.sqlite_file import (
    Binding,
    close_file,
    guarded,
    open_file,
    open_to_read,
)
from chat2pay_async.errors import JournalError

BINDING = Binding("create_payment_link", "https://api.example", "f00d")
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spring.db"


@contextmanager
def opened(path: Path, **notes: str) -> Iterator[sqlite3.Connection]:
    db, _found = open_file(path, BINDING, notes)
    try:
        yield db
    finally:
        close_file(db, path)


def make(path: Path, *, items: int = 0) -> Path:
    """Make a journal that was used and closed."""
    with opened(path) as db:
        rows = [(f"A-{number}", "/api/v2/chat-2-pay", b"x" * 200) for number in range(items)]
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO item (key, state, target, body, first_at, last_at, settle, read_timeout,"
            " resend_when_absent, posts) VALUES (?, 'sent', ?, ?, 0, 0, 10, 30, 1, 1)",
            rows,
        )
        db.execute("COMMIT")
    return path


def refusal(path: Path, binding: Binding = BINDING) -> str:
    """Return the error of a journal that is refused."""
    with pytest.raises(JournalError) as caught:
        open_file(path, binding, {})
    assert str(path) in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# Making a journal ---------------------------------------------------------------------------------


def test_a_journal_is_made_where_there_is_none(path: Path) -> None:
    with opened(path, colour="green") as db:
        assert db.execute("SELECT count(*) FROM item").fetchone() == (0,)
        notes = dict(db.execute("SELECT name, value FROM note"))
    assert notes.items() >= (attrs.asdict(BINDING) | {"colour": "green"}).items()
    assert names(path.parent) == {"spring.db"}


def test_an_existing_journal_keeps_its_own_notes(path: Path) -> None:
    with opened(path, colour="green"):
        pass
    db, notes = open_file(path, BINDING, {"colour": "blue"})
    close_file(db, path)
    assert notes["colour"] == "green"


def test_commits_are_synced_to_the_disk_through_a_write_ahead_log(path: Path) -> None:
    for _times in ("made", "opened again"):
        with opened(path) as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert db.execute("PRAGMA locking_mode").fetchone() == ("exclusive",)


def test_the_folder_of_a_new_journal_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    with opened(path):
        pass
    assert path.parent.stat().st_ino in synced


def test_a_journal_is_made_on_a_system_that_opens_no_folders(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, refused = os.open, list[object]()

    def refuse(place: Any, *args: Any, **more: Any) -> int:
        if place == path.parent:
            refused.append(place)
            raise PermissionError
        return plain(place, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    with opened(path):
        assert refused == [path.parent]


def test_a_journal_that_can_not_be_linked_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[set[str]] = []

    def refuse(new: Path, _place: Path) -> None:
        during.append(names(path.parent))
        assert new.stat().st_size > 0
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert "can't be used: Operation not permitted" in refusal(path)
    # In the meantime there was only a hidden folder.
    ((name,),) = during
    assert name.startswith(".spring.db.")
    assert names(path.parent) == set()


def test_a_journal_that_can_not_be_written_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SCHEMA", module._SCHEMA + "CREATE TABLE note (again);")
    assert "table note already exists" in refusal(path)
    assert names(path.parent) == set()


def test_a_journal_made_in_the_meantime_is_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(new: Path, place: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        with opened(path, maker="the other one"):
            pass
        link(new, place)

    monkeypatch.setattr(os, "link", late)
    db, notes = open_file(path, BINDING, {"maker": "this one"})
    close_file(db, path)
    assert notes["maker"] == "the other one"
    assert names(path.parent) == {"spring.db"}


def test_a_log_without_its_journal_is_refused(path: Path) -> None:
    left = path.with_name("spring.db-wal")
    left.write_bytes(b"what was sent")
    message = refusal(path)
    assert "is missing, but a part of it is left, spring.db-wal" in message
    assert names(path.parent) == {"spring.db-wal"}
    assert left.read_bytes() == b"what was sent"


def copy_of_a_crash(path: Path, place: Path) -> Path:
    """Copy what a process that died leaves: the file, and the log beside it."""
    place.mkdir()
    with opened(path) as db:
        db.execute("INSERT INTO note VALUES ('last', 'words')")
        for part in (path, path.with_name("spring.db-wal")):
            (place / part.name).write_bytes(part.read_bytes())
    return place / path.name


@pytest.mark.parametrize("open_it", [lambda path: open_file(path, BINDING, {}), open_to_read])
def test_a_crashed_journal_without_its_log_is_refused_every_time(
    path: Path, open_it: Callable[[Path], tuple[sqlite3.Connection, dict[str, str]]]
) -> None:
    crashed = copy_of_a_crash(path, path.parent / "crashed")
    log = crashed.with_name("spring.db-wal")
    words = log.read_bytes()
    log.unlink()
    for _ in range(2):
        with pytest.raises(JournalError, match=r"its file spring\.db-wal is missing"):
            open_it(crashed)
        log.unlink(missing_ok=True)
    log.write_bytes(words)
    with pytest.raises(JournalError):
        open_file(crashed, attrs.evolve(BINDING, operation="another"), {})
    db, notes = open_it(crashed)
    db.close()
    assert notes["last"] == "words"


def test_a_journal_that_was_closed_or_read_needs_no_log(path: Path) -> None:
    crashed = copy_of_a_crash(path, path.parent / "crashed")
    open_to_read(crashed)[0].close()
    assert names(crashed.parent) == {"spring.db"}
    with opened(crashed):
        pass
    with opened(crashed) as db:
        assert db.execute("SELECT value FROM note WHERE name = 'last'").fetchone() == ("words",)


def test_a_journal_that_can_not_be_marked_as_closed_opens_again(path: Path) -> None:
    db, _ = open_file(path, BINDING, {})
    db.execute("PRAGMA query_only = ON")  # it acts as a full disk does
    with pytest.raises(sqlite3.Error):
        close_file(db, path)
    with opened(path):
        pass


def test_a_journal_is_readable_by_its_owner_only(path: Path) -> None:
    with opened(path) as db:
        db.execute("INSERT INTO note VALUES ('last', 'words')")
        assert {entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()} == {0o600}


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    assert "No such file or directory" in refusal(tmp_path / "nowhere" / "spring.db")


# Binding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "reported"),
    [
        (
            {"operation": "capture_payment"},
            "operation 'create_payment_link' instead of 'capture_payment'",
        ),
        (
            {"base_url": "https://x.example"},
            "base url 'https://api.example' instead of 'https://x.example'",
        ),
        ({"key_fingerprint": "beef"}, "key fingerprint 'f00d' instead of 'beef'"),
    ],
)
def test_the_journal_of_another_run_is_refused_with_the_difference(
    path: Path, other: dict[str, str], reported: str
) -> None:
    make(path)
    assert f"belongs to another run ({reported})" in refusal(path, attrs.evolve(BINDING, **other))
    make(path)  # its own run can still use it


def test_all_differences_are_reported_at_once(path: Path) -> None:
    make(path)
    message = refusal(path, Binding("capture_payment", "https://x.example", "beef"))
    assert message.count("instead of") == 3


def test_a_journal_that_lacks_a_note_is_refused(path: Path) -> None:
    with opened(path) as db:
        db.execute("DELETE FROM note WHERE name = 'base_url'")
    assert "base url None instead of" in refusal(path)


# Damaged and foreign files ------------------------------------------------------------------------


def test_an_empty_file_is_refused(path: Path) -> None:
    path.touch()
    assert "is empty, so it was truncated" in refusal(path)
    assert path.stat().st_size == 0


@pytest.mark.parametrize("open_it", [lambda path: open_file(path, BINDING, {}), open_to_read])
def test_a_truncated_journal_is_refused_wherever_it_was_cut(
    path: Path, open_it: Callable[[Path], Any]
) -> None:
    whole = make(path, items=1000).read_bytes()
    cuts = {1, 15, 16, 60, 99, 100, 511, 512, 4095, 4096, 4097, 8192, len(whole) // 2}
    cuts |= {len(whole) - 4097, len(whole) - 4096, len(whole) - 1}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        with pytest.raises(
            JournalError, match=r"is damaged\. Restore it|is not a journal"
        ) as reported:
            open_it(path)
        assert str(path) in str(reported.value)
    path.write_bytes(whole)
    open_it(path)[0].close()


def test_a_damaged_page_is_detected(path: Path) -> None:
    whole = bytearray(make(path, items=1000).read_bytes())
    page = 4096 * (len(whole) // 4096 // 2)
    whole[page : page + 4096] = os.urandom(8) * 512
    path.write_bytes(whole)
    message = refusal(path)
    assert "is damaged. Restore it from a backup, with the file beside it" in message
    assert "Do not start again without it" in message


def test_a_file_that_is_not_a_database_is_refused(path: Path) -> None:
    path.write_bytes(b"order_number,total_amount\nA-1,199.90\n" * 100)
    assert "is not a journal. Name another file" in refusal(path)
    assert path.read_bytes().startswith(b"order_number")


def test_the_database_of_another_application_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE note (name, value)")
    before = path.read_bytes()
    assert "is not a journal of this package. Name another file" in refusal(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_later_version_is_refused(path: Path) -> None:
    with opened(path) as db:
        db.execute("PRAGMA user_version = 3")
    assert "has version 3, and this package knows 2" in refusal(path)


def test_a_folder_at_its_path_is_refused(path: Path) -> None:
    path.mkdir()
    assert "can't be opened. Check that its folder exists and is writable" in refusal(path)


# Opening to read ----------------------------------------------------------------------------------


def test_open_to_read_accepts_the_journal_of_any_run(path: Path) -> None:
    make(path, items=3)
    db, notes = open_to_read(path)
    with closing(db):
        assert db.execute("SELECT count(*) FROM item").fetchone() == (3,)
    assert notes["key_fingerprint"] == "f00d"


def test_open_to_read_makes_no_journal(path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        open_to_read(path)
    assert names(path.parent) == set()


def test_open_to_read_refuses_a_journal_in_use(path: Path) -> None:
    with opened(path), pytest.raises(JournalError, match="is in use by process"):
        open_to_read(path)


@pytest.mark.parametrize("open_it", [lambda path: open_file(path, BINDING, {}), open_to_read])
def test_a_journal_without_notes_is_refused_and_unlocked(
    path: Path, open_it: Callable[[Path], Any]
) -> None:
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE note")
    for _again in range(2):
        with pytest.raises(JournalError, match="no such table: note"):
            open_it(path)


# One writer ---------------------------------------------------------------------------------------


HOLD = """
import sys
from pathlib import Path
from chat2pay_async._journal.sqlite_file import Binding, open_file
from chat2pay_async.errors import JournalError
try:
    db, notes = open_file(Path(sys.argv[1]), Binding(*sys.argv[2:]), {})
except JournalError as error:
    print(error, flush=True)
    sys.exit(1)
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(program: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program in another process, which is killed at the end."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, args)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603 - our own
        try:
            yield process
        finally:
            process.kill()


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_writer_in_one_process_is_refused_with_the_owner(
    path: Path,
) -> None:
    with opened(path):
        message = refusal(path)
    owner = f"by process {os.getpid()} on {socket.gethostname()}"
    assert f"is in use {owner}. Wait for that run to end, or stop it" in message


def test_a_closed_journal_can_be_opened_again(path: Path) -> None:
    for _times in range(3):
        make(path)


def test_a_refused_writer_leaves_the_lock_to_the_first(path: Path) -> None:
    with opened(path) as db:
        refusal(path)
        with another_process(HOLD, path, *attrs.astuple(BINDING)) as other:
            assert f"is in use by process {os.getpid()} on {socket.gethostname()}" in said_by(other)
        db.execute("INSERT INTO note VALUES ('still', 'writable')")


def test_a_writer_in_another_process_is_reported_until_it_is_killed(path: Path) -> None:
    with another_process(HOLD, path, *attrs.astuple(BINDING)) as other:
        assert said_by(other) == "open"
        assert f"is in use by process {other.pid} on {socket.gethostname()}" in refusal(path)
        other.kill()
        other.wait()
        with opened(path) as db:
            notes = dict(db.execute("SELECT name, value FROM note"))
    assert notes["pid"] == str(os.getpid())


def test_an_owner_that_can_not_be_read_is_left_out(path: Path) -> None:
    with opened(path) as db:
        db.execute("DELETE FROM note WHERE name = 'pid'")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert "is in use. Wait for that run to end" in refusal(path)
        db.execute("ALTER TABLE note RENAME TO hidden")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert "is in use. Wait for that run to end" in refusal(path)
        db.execute("ALTER TABLE hidden RENAME TO note")


# Permissions --------------------------------------------------------------------------------------


@pytest.fixture
def restricted_folder() -> Iterator[Path]:
    """Make a folder, and be a user who needs permissions, which root does not."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has other permissions")
    with tempfile.TemporaryDirectory() as made:
        folder, user = Path(made), os.geteuid()
        if user == 0:
            os.chown(folder, NOBODY, -1)
            try:
                os.seteuid(NOBODY)
            except OSError as error:
                pytest.skip(f"root can't become another user here: {error}")
        try:
            yield folder
        finally:
            os.seteuid(user)
            with suppress(FileNotFoundError):
                folder.chmod(stat.S_IRWXU)


def test_a_read_only_file_is_refused(restricted_folder: Path) -> None:
    path = make(restricted_folder / "spring.db")
    path.chmod(stat.S_IRUSR)
    assert "can't be locked. Make it writable" in refusal(path)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    make(path)


def test_an_unreadable_file_is_refused(restricted_folder: Path) -> None:
    path = make(restricted_folder / "spring.db")
    path.chmod(0)
    assert "can't be opened. Check that its folder exists and is writable" in refusal(path)


def test_a_read_only_folder_gets_no_journal(restricted_folder: Path) -> None:
    restricted_folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "can't be used: Permission denied" in refusal(restricted_folder / "spring.db")


def test_a_journal_in_a_read_only_folder_is_refused(
    restricted_folder: Path,
) -> None:
    path = make(restricted_folder / "spring.db")
    restricted_folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "can't be written. Make the file and its folder writable" in refusal(path)


# Limits -------------------------------------------------------------------------------------------


def test_a_full_disk_is_reported_as_such(path: Path) -> None:
    with opened(path) as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        with (
            pytest.raises(JournalError, match=r"the disk is full\. Free disk space"),
            guarded(path),
        ):
            db.execute("INSERT INTO note VALUES ('large', ?)", ("x" * 100_000,))


LIMITED = """
import resource, sys
from pathlib import Path
from chat2pay_async._journal.sqlite_file import Binding, guarded, open_file
from chat2pay_async.errors import JournalError
path = Path(sys.argv[1])
db, notes = open_file(path, Binding(*sys.argv[2:]), {})
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with guarded(path):
        db.execute("INSERT INTO note VALUES ('large', ?)", ("x" * 100_000,))
except JournalError as error:
    print(error, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limits there")
def test_a_file_size_limit_is_reported_differently_from_a_full_disk(path: Path) -> None:
    with another_process(LIMITED, path, *attrs.astuple(BINDING)) as other:
        assert "can't be written: the disk, or a limit on file sizes, refused" in said_by(other)
    with opened(path) as db:
        assert db.execute("SELECT count(*) FROM note WHERE name = 'large'").fetchone() == (0,)


def test_an_unknown_error_keeps_its_own_text() -> None:
    with (
        pytest.raises(JournalError, match=r"x\.db can't be used: what a day"),
        guarded(Path("x.db")),
    ):
        raise sqlite3.ProgrammingError("what a day")


def test_an_error_of_another_kind_is_not_wrapped() -> None:
    with pytest.raises(ZeroDivisionError), guarded(Path("x.db")):
        raise ZeroDivisionError


# Durability ---------------------------------------------------------------------------------------


KILLED = """
import sys
from datetime import UTC, datetime
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async._journal.base import Intent
from chat2pay_async._journal.sqlite_file import Binding
from chat2pay_async.errors import Attempt, Pending, Proof, SentRequest
journal = Journal(sys.argv[1])
operation, base_url, key = sys.argv[2:]
journal.open(Binding(operation, base_url, key))
now = Attempt(datetime.now(UTC), 0.0, Proof.UNKNOWN)
for number in range(3):
    sent = SentRequest("POST", "/api/v2/chat-2-pay", b"bytes %d" % number)
    pending = Pending(operation, f"A-{number}", sent, base_url, key, "id", now, now)
    journal.write([Intent(f"A-{number}", pending)])
    print("written", number, flush=True)
sys.stdin.read()
"""


def test_commits_survive_the_kill_of_their_writer(path: Path) -> None:
    with another_process(KILLED, path, *attrs.astuple(BINDING)) as other:
        assert [said_by(other) for _ in range(3)] == ["written 0", "written 1", "written 2"]
        other.kill()
        assert other.wait() in {-signal.SIGKILL, 1}
    with opened(path) as db:
        rows = db.execute("SELECT key, state, body FROM item ORDER BY id").fetchall()
    assert rows == [(f"A-{n}", "sent", b"bytes %d" % n) for n in range(3)]


# Local disks --------------------------------------------------------------------------------------


def test_a_journal_is_neither_made_nor_opened_on_a_network(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise JournalError(f"{path} is on a network")

    before = make(path).read_bytes()
    monkeypatch.setattr(module, "check_local", refuse)
    assert "on a network" in refusal(path)
    assert path.read_bytes() == before
    path.unlink()
    assert "on a network" in refusal(path)
    assert not path.exists()
