"""A file as a source: checked as a whole, read again, with one journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import lines_to

from chat2pay_async import ConfigurationError, FileFaultsError
from chat2pay_async._api.requests import Capture
from chat2pay_async._files import campaign
from chat2pay_async._files.campaign import CampaignFile, journal_for
from chat2pay_async._files.rows import CAPTURES, Row


def captures(path: Path, *rows: str) -> Path:
    return lines_to(path, "payment_link_ref,amount", *rows)


def test_check_reads_all_rows_and_keeps_the_first_faults(tmp_path: Path) -> None:
    path = captures(tmp_path / "c.csv", "ref-0,1", *[f"ref-{n},x" for n in range(1, 31)])
    with CampaignFile(path, CAPTURES) as file:
        check = file.check()
    assert (check.good, check.bad) == (1, 30)
    assert [fault.line for fault in check.faults] == list(range(3, 3 + CampaignFile.SHOWN))


def test_file_with_faults_gives_nothing_away_unless_bad_rows_are_skipped(tmp_path: Path) -> None:
    path = captures(tmp_path / "c.csv", "ref-1,1", "ref-2,x", "ref-3,")
    with (
        CampaignFile(path, CAPTURES) as file,
        pytest.raises(FileFaultsError, match="1 rows have faults; line 3: amount: ") as caught,
    ):
        next(file.requests())
    (group,) = caught.value.faults
    assert str(group).startswith("line 3: amount: ")
    with CampaignFile(path, CAPTURES, skip_bad_rows=True) as file:
        found = [(row.line, row.request) for row in file.rows()]
        assert found == [(2, Capture("ref-1", 1)), (4, Capture("ref-3"))]
        assert file.taken == 2


def test_file_that_is_replaced_after_its_check_is_read_as_it_was_checked(tmp_path: Path) -> None:
    path = captures(tmp_path / "c.csv", "ref-1,1", "ref-2,2")
    with CampaignFile(path, CAPTURES) as file:
        assert file.check().good == 2
        assert file.change() == ""
        requests = file.requests()
        assert next(requests) == Capture("ref-1", 1)
        captures(path, "ref-1,100", "ref-2,200", "ref-3,300")
        assert list(requests) == [Capture("ref-2", 2)]
        assert file.change() == (
            f"{path} was changed or replaced after it was checked. The version that was checked "
            "was used; the changes were not"
        )


def test_counts_of_check_and_reading_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = captures(tmp_path / "c.csv", "ref-1,1", "ref-2,2")
    with CampaignFile(path, CAPTURES) as file:
        file.check()
        with monkeypatch.context() as damaged:
            damaged.setattr(campaign, "read_rows", lambda *_: iter([Row(2, Capture("ref-1", 1))]))
            with pytest.raises(ConfigurationError, match="2 rows were checked, and 1 were read"):
                list(file.requests())


def test_closed_file_is_copied_and_checked_anew(tmp_path: Path) -> None:
    path = captures(tmp_path / "c.csv", "ref-1,1")
    with CampaignFile(path, CAPTURES) as file:
        assert list(file.requests()) == [Capture("ref-1", 1)]
    file.close()
    assert file.change() == ""
    captures(path, "ref-9,9")
    with file:
        assert list(file.requests()) == [Capture("ref-9", 9)]


# Its journal --------------------------------------------------------------------------------------


def test_journal_is_named_after_file_and_job(tmp_path: Path) -> None:
    found = journal_for(tmp_path / "a.csv", "links", None, force=False)
    assert found == tmp_path / "a.csv.links.journal"
    assert not list(tmp_path.iterdir())


def test_alias_of_a_file_has_the_same_journal(tmp_path: Path) -> None:
    (tmp_path / "real.csv").touch()
    (tmp_path / "alias.csv").symlink_to(tmp_path / "real.csv")
    found = journal_for(tmp_path / "alias.csv", "links", None, force=False)
    assert found == tmp_path / "real.csv.links.journal"


def test_usual_place_links_to_a_journal_elsewhere(tmp_path: Path) -> None:
    source, other = tmp_path / "a.csv", tmp_path / "other.db"
    assert journal_for(source, "links", other, force=False) == other
    assert journal_for(source, "links", None, force=False) == other
    assert journal_for(source, "links", other, force=False) == other, "the same one again"


def test_look_only_writes_no_link(tmp_path: Path) -> None:
    source, other = tmp_path / "a.csv", tmp_path / "other.db"
    assert journal_for(source, "links", other, force=False, look_only=True) == other
    assert not list(tmp_path.iterdir())


def test_another_journal_must_be_forced_and_is_then_linked(tmp_path: Path) -> None:
    source, other, third = (tmp_path / name for name in ("a.csv", "other.db", "third.db"))
    journal_for(source, "links", other, force=False)
    with pytest.raises(ConfigurationError, match=r"other\.db.*--force"):
        journal_for(source, "links", third, force=False)
    assert journal_for(source, "links", third, force=True) == third
    assert journal_for(source, "links", None, force=False) == third


def test_journal_in_the_usual_place_stays_there(tmp_path: Path) -> None:
    usual = tmp_path / "a.csv.links.journal"
    usual.write_text("a journal", encoding="utf-8")
    other = tmp_path / "other.db"
    assert journal_for(tmp_path / "a.csv", "links", other, force=True) == other
    assert usual.read_text(encoding="utf-8") == "a journal"


def test_journal_elsewhere_is_used_where_no_link_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError("a read-only folder")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    other = tmp_path / "other.db"
    assert journal_for(tmp_path / "a.csv", "links", other, force=False) == other
