"""The journal of an account: its place, and its care."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import pytest
from commandline import JOURNAL, PHONE, Ran, Terminal, links_csv, served, states_in

from chat2pay_async.sandbox import Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, tmp_path: Path) -> Path:
    """The folder of the default journals."""
    assert sandbox.url
    monkeypatch.delenv("CHAT2PAY_JOURNAL")
    place = tmp_path / "data"
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_name, **_options: place)
    return place / "journals"


def make_link(run: Terminal, order: str, *options: str) -> Ran:
    words = ("--to", f"{PHONE}1", "--currency", "ZAR", "--total-amount", "1.50")
    return run("link", "--order-number", order, *words, *options)


# Its place ----------------------------------------------------------------------------------------


def test_default_journal_is_named_by_the_service_and_a_fingerprint_of_the_key(
    sandbox: Sandbox, run: Terminal, data: Path
) -> None:
    path = Path(run("journal", "path").out.strip())
    host = urlsplit(sandbox.url).netloc.replace(":", "-")
    assert (path.parent, path.suffix) == (data, ".db")
    assert path.name.startswith(f"{host}_")
    assert sandbox.api_key not in path.name
    assert not path.exists()
    assert make_link(run, "B-1").code == 0
    assert path.exists()
    shown = run("journal", "path", "--json").lines
    assert shown == [{"journal": str(path), "exists": True}]


def test_option_wins_over_the_environment(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    assert run("journal", "path").out == f"{tmp_path / JOURNAL}\n"
    assert run("journal", "path", "--journal", "own.db").out == f"{tmp_path / 'own.db'}\n"
    assert not sandbox.ledger.requests


def test_other_key_is_asked_about(
    sandbox: Sandbox, run: Terminal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_link(run, "B-1")
    first = run("journal", "path").out
    monkeypatch.setenv("CHAT2PAY_API_KEY", "rotated")
    refused = make_link(run, "B-1")
    assert (refused.code, refused.out) == (1, "")
    assert "pass --new-key: " in refused.err
    assert "pass --new-account" in refused.err
    assert run("journal", "path", "--new-key").out == first
    assert run("journal", "path", "--new-account").out != first
    assert len(list(data.glob("*.db"))) == 1
    assert sandbox.ledger.count("link_created") == 1


def test_rotated_key_continues_the_journal(
    sandbox: Sandbox, run: Terminal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_link(run, "B-1")
    path = run("journal", "path").out
    monkeypatch.setenv("CHAT2PAY_API_KEY", "rotated")
    assert make_link(run, "B-1", "--new-key").code == 0
    assert run("journal", "path").out == path, "from now on it is this key's"
    assert data.exists()
    assert sandbox.ledger.count("link_created") == 1


def test_wrong_key_on_the_first_use_binds_nothing(
    sandbox: Sandbox, run: Terminal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_API_KEY", "wrong-key")
    assert make_link(run, "B-1").code == 1
    monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
    assert make_link(run, "B-1").code == 0
    assert len(list(data.glob("*.db"))) == 1
    assert sandbox.ledger.count("link_created") == 1


def test_journal_is_found_without_a_key_where_there_is_one(
    sandbox: Sandbox, run: Terminal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    none = run("runs")
    assert (none.code, "there is none yet" in none.err) == (1, True)
    monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
    make_link(run, "B-1")
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    assert run("runs").code == 0
    (only,) = data.glob("*.db")
    (data / f"{only.stem.rpartition('_')[0]}_damaged.db").write_text("nothing of ours")
    several = run("runs")
    assert (several.code, "there are several" in several.err) == (1, True)


# Its care -----------------------------------------------------------------------------------------


def test_journal_is_backed_up_and_the_backup_is_not_taken_for_it(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = links_csv(tmp_path / "spring.csv", 2)
    run("links", "create", path)
    assert run("journal", "backup", "copy.db").code == 0
    again = run("journal", "backup", "copy.db")
    assert (again.code, "exists already" in again.err) == (1, True)
    refused = run("links", "create", path, "--journal", "copy.db")
    assert (refused.code, "--accept-loss" in refused.err) == (1, True)
    taken = run("links", "create", path, "--journal", "copy.db", "--accept-loss")
    assert (taken.code, sandbox.ledger.count("link_created")) == (0, 2)
    checked = run("journal", "check", "--journal", "copy.db", "--json")
    assert (checked.code, checked.lines[0]["lossy"]) == (3, True)
    assert run("journal", "check", "--journal", "copy.db", "--trust").code == 0


def test_sound_journal_is_checked(sandbox: Sandbox, run: Terminal) -> None:
    make_link(run, "B-1")
    checked = run("journal", "check", "--json")
    assert checked.code == 0
    found = checked.lines[0]
    assert (found["sound"], found["rows"], found["open_rows"]) == (True, 1, 0)
    assert "other sessions  0" in run("journal", "check").out
    assert sandbox.ledger.count("link_created") == 1


def test_missing_journal_is_an_error(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("journal", "check")
    assert (ran.code, "there is no journal" in ran.err) == (1, True)
    assert not Path(JOURNAL).exists()
    assert not sandbox.ledger.requests


def test_what_ended_long_ago_is_pruned(sandbox: Sandbox, run: Terminal, tmp_path: Path) -> None:
    run("links", "create", links_csv(tmp_path / "spring.csv", 2))
    assert run("journal", "prune", "--older-than", "1d").out == "0 items deleted\n"
    assert run("journal", "prune", "--older-than", "1d", "--json").lines == [{"pruned": 0}]
    assert len(states_in("spring")) == 2
    assert sandbox.ledger.count("link_created") == 2


@pytest.mark.parametrize("age", ["400", "0d", "-1d", "1.5d", "d"])
def test_age_is_a_number_of_days(sandbox: Sandbox, run: Terminal, age: str) -> None:
    ran = run("journal", "prune", f"--older-than={age}")
    assert (ran.code, "such as 400d" in ran.err) == (2, True)
    assert not sandbox.ledger.requests
