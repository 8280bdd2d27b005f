"""A file as a source: checked as a whole, and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import lines_to

from chat2pay_async import ConfigurationError, FileFaultsError
from chat2pay_async._api.requests import Capture
from chat2pay_async._files import campaign
from chat2pay_async._files.campaign import CampaignFile
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
