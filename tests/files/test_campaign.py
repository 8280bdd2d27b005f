"""A file as a source: checked as a whole, read again, with one journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import lines_to

from chat2pay_async import ConfigurationError
from chat2pay_async._files.campaign import CampaignFile, journal_for
from chat2pay_async._files.rows import CAPTURES


def captures(path: Path, *rows: str) -> Path:
    return lines_to(path, "payment_link_ref,amount", *rows)


def test_check_reads_all_rows_and_keeps_the_first_faults(tmp_path: Path) -> None:
    path = captures(tmp_path / "c.csv", "ref-0,1", *[f"ref-{n},x" for n in range(1, 31)])
    check = CampaignFile(path, CAPTURES).check()
    assert (check.good, check.bad) == (1, 30)
    assert [fault.line for fault in check.faults] == list(range(3, 3 + CampaignFile.SHOWN))


def test_row_changed_since_the_check_stops_the_source(tmp_path: Path) -> None:
    path = captures(tmp_path / "c.csv", "ref-1,1", "ref-2,x")
    requests = CampaignFile(path, CAPTURES).requests()
    assert next(requests).payment_link_ref == "ref-1"
    with pytest.raises(ConfigurationError, match="line 3, amount"):
        next(requests)


def test_row_changed_since_the_check_is_skipped_like_bad_rows(tmp_path: Path) -> None:
    path = captures(tmp_path / "c.csv", "ref-1,1", "ref-2,x", "ref-3,")
    found = CampaignFile(path, CAPTURES, skip_bad_rows=True).requests()
    assert [request.payment_link_ref for request in found] == ["ref-1", "ref-3"]


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
