"""Sessions and loss: who is alive is known, and a journal that lacks commits is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from journals import ACCOUNT, claim, intent, opened, state_of

from chat2pay_async._journal import sessions, sqlite_store
from chat2pay_async._journal.sessions import Sessions
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import Account, Answer, End, RowState
from chat2pay_async.errors import JournalError

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

STRICT = "import warnings; warnings.simplefilter('error')\n"

WRITER = """
import anyio, sys, os
sys.path.insert(0, {support!r})
from journals import *
from chat2pay_async._journal.store import End
async def main(path, name):
    store = SQLiteStore(path)
    await store.open(ACCOUNT)
    n = 0
    while True:
        key = f"{{name}}-{{n}}"
        token = (await store.claim(claim(key))).token
        print(json.dumps([key, "claimed"]), flush=True)
        await store.record_intent(token, intent(key))
        print(json.dumps([key, "sent"]), flush=True)
        if n % 2:
            await store.record_end(token, End(RowState.APPLIED))
            print(json.dumps([key, "applied"]), flush=True)
        n += 1
import json
anyio.run(main, sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "payments.db"


def run(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Run Python code in a process of its own."""
    support = str(Path(__file__).parents[1] / "support")
    return subprocess.Popen(  # noqa: S603 - code of this module
        [sys.executable, "-c", STRICT + code.format(support=support), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@contextmanager
def writer(path: Path, name: str, lines: int) -> Iterator[tuple[Any, list[list[str]]]]:
    """Have another process write, until it has been told so many times what is durable."""
    process = run(WRITER, path, name)
    with process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(lines)]
        try:
            yield process, told
        finally:
            process.kill()


def killed(path: Path, lines: int = 30, name: str = "K") -> dict[str, str]:
    """Let a process write, kill it, and return what it was told of each key."""
    with writer(path, name, lines) as (process, told):
        process.kill()
        assert process.stdout is not None
        rest = [json.loads(line) for line in process.stdout if line.endswith("\n")]
    return dict(map(tuple, [*told, *rest]))


def saved(path: Path) -> dict[Path, bytes]:
    """Read all files of a journal."""
    return {file: file.read_bytes() for file in path.parent.rglob("payments*") if file.is_file()}


async def refused(path: Path, account: Account = ACCOUNT, **options: Any) -> str:
    store = SQLiteStore(path, **options)
    with pytest.raises(JournalError) as caught:
        await store.open(account)
    return str(caught.value)


async def make(path: Path) -> None:
    async with opened(path) as store:
        token = (await store.claim(claim())).token
        await store.record_intent(token, intent())
        await store.record_end(token, End(RowState.APPLIED))


# Life and death -----------------------------------------------------------------------------------


async def test_a_killed_process_loses_nothing_that_it_was_told(path: Path) -> None:
    told = killed(path)
    async with opened(path) as store:
        for key, what in told.items():
            answer = (await store.claim(claim(key))).answer
            allowed = {
                "claimed": {Answer.NEW, Answer.OPEN},
                "sent": {Answer.OPEN, Answer.ENDED},
                "applied": {Answer.ENDED},
            }
            assert answer in allowed[what], (key, what)
        assert (await store.check()).sessions == 1
    assert not list(path.with_name("payments.db-sessions").iterdir())


FROZEN = """
import anyio, sys
sys.path.insert(0, {support!r})
from journals import *
async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open(ACCOUNT)
    token = (await store.claim(claim())).token
    await store.record_intent(token, intent())
    print("ready", flush=True)
    sys.stdin.readline()
    assert await store.record_end(token, End(RowState.APPLIED))
    await store.aclose()
from chat2pay_async._journal.store import End
anyio.run(main)
"""


async def test_a_frozen_process_holds_its_claims(path: Path) -> None:
    with run(FROZEN, path, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)  # noqa: ASYNC222 - at once
        async with opened(path) as store:
            assert (await store.claim(claim())).answer is Answer.HELD
            assert await store.take_over(5) == []
            process.send_signal(signal.SIGCONT)
            _out, errors = process.communicate("go on\n", timeout=30)
            assert (process.returncode, errors) == (0, "")
            assert (await store.claim(claim())).answer is Answer.ENDED


async def test_reading_and_copying_the_journal_does_not_end_the_session(
    path: Path, tmp_path: Path
) -> None:
    async with opened(path) as one, opened(path) as two:
        await one.claim(claim())
        for file in saved(path):
            file.read_bytes()
            shutil.copy(file, tmp_path / "copy")
        assert (await two.claim(claim())).answer is Answer.HELD


def test_two_who_ask_at_a_time_whether_a_session_lives_agree(path: Path) -> None:
    import fcntl  # noqa: PLC0415 - not on Windows

    listed = Sessions(path)
    session = listed.begin()
    assert listed.is_alive(session.id)
    assert listed.names() == [session.id]
    session.drop()
    session.drop()
    with (path.with_name("payments.db-sessions") / session.id).open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not listed.is_alive(session.id)
    session.close()
    assert not listed.is_alive(session.id)
    assert listed.names() == []
    session.close()


def test_a_forked_child_leaves_the_lock_to_its_parent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Sessions(path)
    session = listed.begin()
    parents = os.dup(session._file)
    monkeypatch.setattr(sessions, "_open", {session})
    sessions._leave_to_the_parent()
    assert not session.is_open
    assert listed.is_alive(session.id)
    os.close(parents)
    assert not listed.is_alive(session.id)


async def test_a_store_that_was_opened_before_a_fork_begins_a_session_of_its_own(
    path: Path,
) -> None:
    store = SQLiteStore(path)
    await store.open(ACCOUNT)
    await store.claim(claim())
    parents = store._writer
    assert parents is not None
    store._process = -1
    sqlite_store._stop_in(-1, parents)
    await store.aclose()
    sqlite_store._leave_to_the_parent()
    assert parents in sqlite_store._inherited
    sqlite_store._inherited.clear()
    store._writer = parents
    assert (await store.claim(claim())).answer is Answer.HELD
    assert (await store.check()).sessions == 2
    await store.aclose()
    parents.stop()


def test_a_system_without_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat2pay_async._journal.sessions.fcntl", None)
    with pytest.raises(JournalError, match="needs a system with flock"):
        Sessions(path).begin()


FORK = """
import anyio, os, sys
sys.path.insert(0, {support!r})
from journals import *
async def child(path):
    store = STORE
    async with anyio.create_task_group():
        held = await store.claim(claim("parent's"))
        mine = await store.claim(claim("child's"))
        assert (held.answer.value, mine.answer.value) == ("held", "new"), (held, mine)
async def main(path):
    global STORE
    STORE = SQLiteStore(path)
    await STORE.open(ACCOUNT)
    await STORE.claim(claim("parent's"))
    await STORE.claim(claim("mine"))
async def after(path):
    assert (await STORE.claim(claim("parent's"))).answer.value == "held"
    async with opened(path) as other:
        assert (await other.claim(claim("parent's"))).answer.value == "held"
        assert (await other.claim(claim("child's"))).answer.value == "new"
    await STORE.aclose()
path = sys.argv[1]
warnings.filterwarnings("ignore", message=".*fork.*")
anyio.run(main, path)
pid = os.fork()
if not pid:
    try:
        anyio.run(child, path)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
pid = os.fork()
if not pid:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
anyio.run(after, path)
"""


def finished(process: subprocess.Popen[str]) -> None:
    _out, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_a_forked_child_has_a_session_of_its_own(path: Path) -> None:
    finished(run(FORK, path))


def test_an_interpreter_that_ends_with_an_open_journal_ends_cleanly(path: Path) -> None:
    finished(
        run(
            "import anyio, sys; sys.path.insert(0, {support!r}); from journals import *\n"
            "async def main():\n"
            "    global store; store = SQLiteStore(sys.argv[1]); await store.open(ACCOUNT)\n"
            "    await store.claim(claim())\n"
            "anyio.run(main)\n",
            path,
        )
    )
    assert not list(path.with_name("payments.db-sessions").iterdir())
    assert not path.with_name("payments.db-wal").exists()


# Loss ---------------------------------------------------------------------------------------------


def _unlink(path: Path, _older: bytes) -> None:
    path.unlink()


def _halve(path: Path, _older: bytes) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path, _older: bytes) -> None:
    os.truncate(path, 0)


def _replace(path: Path, older: bytes) -> None:
    path.write_bytes(older)


@pytest.mark.parametrize("damage", [_unlink, _halve, _empty, _replace])
async def test_a_log_that_lacks_commits_is_noticed_until_that_is_cleared(
    path: Path, damage: Any
) -> None:
    log = path.with_name("payments.db-wal")
    with writer(path, "K", 4) as (process, _):
        older = log.read_bytes()
        assert process.stdout is not None
        for _ in range(40):
            process.stdout.readline()
        while log.read_bytes() == older:  # the lines may be older than it
            process.stdout.readline()
    damage(log, older)
    assert "lacks its latest commits" in await refused(path)
    assert "lacks its latest commits" in await refused(path)
    async with opened(path, accept_loss=True) as store:
        assert store.is_lossy
    async with opened(path) as store:
        assert store.is_lossy
        assert (await store.check()).is_lossy
        await store.clear_loss()
    async with opened(path) as store:
        assert not store.is_lossy


async def test_an_older_journal_in_its_place_is_noticed(path: Path) -> None:
    await make(path)
    older = path.read_bytes()  # noqa: ASYNC240 - at once
    async with opened(path) as store:
        await store.claim(claim("B"))
    path.write_bytes(older)  # noqa: ASYNC240 - at once
    assert "lacks its latest commits" in await refused(path)
    async with opened(path, accept_loss=True) as store:
        assert store.is_lossy
        assert await state_of(store) is RowState.APPLIED


async def test_a_missing_counter_is_noticed(path: Path) -> None:
    await make(path)
    path.with_name("payments.db-counter").unlink()
    assert "-counter" in await refused(path)
    async with opened(path, accept_loss=True) as store:
        assert store.is_lossy
    async with opened(path):
        pass


async def test_a_missing_journal_is_noticed(path: Path) -> None:
    killed(path)
    path.unlink()  # noqa: ASYNC240 - at once
    assert "is missing, but files beside it" in await refused(path)
    assert not path.exists()  # noqa: ASYNC240 - at once
    async with opened(path, accept_loss=True) as store:
        assert store.is_lossy
        assert await store.rows() == []
    assert path.with_name("payments.db-lost").exists()
    async with opened(path) as store:
        assert store.is_lossy


async def test_a_log_without_its_journal_is_not_taken_for_a_new_ones(path: Path) -> None:
    path.with_name("payments.db-wal").write_bytes(b"log")
    assert "a part of it is left" in await refused(path)


def test_no_process_is_refused_whenever_others_were_killed(path: Path) -> None:
    path.parent.joinpath("one").mkdir()
    support = Path(__file__).parents[1] / "support"
    process = subprocess.run(  # noqa: S603 - a script of these tests
        [sys.executable, support / "kill_rounds.py", path.parent / "one" / path.name, "15", "7"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    assert ", 0 keys told" not in process.stdout


async def test_a_process_killed_while_it_makes_the_journal_leaves_it_usable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (
        "chat2pay_async._journal.opening.make_file",
        "chat2pay_async._journal.opening.connect",
        "chat2pay_async._journal.opening._check_commits",
    ):
        with monkeypatch.context() as patch:

            def die(*_: object, **__: object) -> None:
                raise OSError(5, "Input/output error")

            patch.setattr(place, die)
            assert "Input/output error" in await refused(path)
    await make(path)


# Whose it is --------------------------------------------------------------------------------------


async def test_a_journal_belongs_to_its_account_once_something_was_sent(path: Path) -> None:
    elsewhere, rotated = Account("https://other", "f00d"), Account(ACCOUNT.base_url, "beef")
    async with opened(path) as store:
        await store.claim(claim())
        assert "belongs to https://api.example" in await refused(path, elsewhere)
        assert "another API key" in await refused(path, rotated)
    for account in (elsewhere, rotated, ACCOUNT):  # nothing was sent
        async with opened(path, account):
            pass
    await make(path)
    assert "belongs to https://api.example" in await refused(path, elsewhere, new_key=True)
    assert "another API key" in await refused(path, rotated)
    async with opened(path, rotated, new_key=True):
        pass
    async with opened(path, rotated) as store:
        assert (await store.claim(claim())).answer is Answer.ENDED
    assert "another API key" in await refused(path)


async def test_a_folder_that_takes_no_sessions_is_refused(path: Path) -> None:
    folder = path.with_name("payments.db-sessions")
    folder.write_text("")
    assert "can't be used" in await refused(path)
    folder.unlink()
    await make(path)
    folder.rmdir()
    folder.write_text("")
    assert "can't be used" in await refused(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_cannot_be_written_is_refused(path: Path) -> None:
    path.parent.chmod(0o500)
    assert "can't be used: Permission denied" in await refused(path)
    path.parent.chmod(0o700)


FULL = """
import anyio, resource, signal, sys
sys.path.insert(0, {support!r})
from journals import *
from chat2pay_async._journal.store import End
from chat2pay_async.errors import JournalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
async def main(path):
    async with opened(path) as store, opened(path) as other:
        await other.open_run("r", LINK, {{}})
        token = (await store.claim(claim())).token
        await store.record_intent(token, intent())
        limit(4096)
        for call in (
            lambda: store.claim(claim("B")),
            lambda: store.record_intent(token, intent(posts=1)),
            lambda: store.record_end(token, End(RowState.APPLIED)),
            lambda: store.claim_all([claim("C"), claim("D")]),
            lambda: store.open_run("q", LINK, {{}}),
        ):
            try:
                await call()
            except JournalError as error:
                print("Check both" in str(error), flush=True)
        limit(resource.RLIM_INFINITY)
        await store.claim(claim("E"))
        taken = await other.claim(claim())
        print(taken.answer.value, await other.find(LINK, "B"), await other.find(LINK, "C"))
anyio.run(main, sys.argv[1])
"""


def test_every_write_to_a_full_disk_is_told_and_the_store_goes_on(path: Path) -> None:
    process = run(FULL, path)
    told, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert told.split() == [*["True"] * 5, "open", "None", "None"]


async def test_what_could_not_be_opened_leaves_no_session(path: Path) -> None:
    await make(path)
    await refused(path, Account(ACCOUNT.base_url, "beef"))
    assert not list(path.with_name("payments.db-sessions").iterdir())
