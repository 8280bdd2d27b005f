"""Zip files that are damaged, protected or made to do harm."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from spreadsheets import MAIN, write_ods, write_sheet, write_xlsx, write_zip

from chat2pay_async._workbooks.workbook import open_workbook
from chat2pay_async.errors import ConfigurationError

SHEET = "xl/worksheets/sheet1.xml"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught, open_workbook(path) as table:
        list(table.rows)
    return str(caught.value).removeprefix(str(path))


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("part", ["strings", "styles", "workbook", "worksheets/sheet1"])
def test_document_type_is_refused_before_any_entity_is_read(tmp_path: Path, part: str) -> None:
    text = f"{BOMB}<sst {MAIN}><si><t>&b;</t></si></sst>"
    path = write_sheet(tmp_path / "t.xlsx", "<sheetData/>", **{part: text})
    assert refusal(path).startswith(": declares a document type (DTD), which no workbook needs")


def test_document_type_is_refused_in_open_document_too(tmp_path: Path) -> None:
    path = write_ods(tmp_path / "t.ods", "", content=f"{BOMB}<x>&b;</x>")
    assert refusal(path).startswith(": declares a document type (DTD)")


@pytest.mark.parametrize("part", ["strings", "worksheets/sheet1"])
def test_part_that_unpacks_to_far_more_than_it_weighs_is_refused(tmp_path: Path, part: str) -> None:
    text = f"<sst {MAIN}>{' ' * 70_000_000}</sst>"
    path = write_sheet(tmp_path / "t.xlsx", "<sheetData/>", **{part: text})
    assert path.stat().st_size < 200_000
    assert refusal(path).startswith(": unpacks to far more than a workbook holds")


def test_part_that_is_larger_than_any_sheet_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat2pay_async._workbooks.package._LARGEST_SHEET", 1000)
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], *[["x"]] * 100])
    assert refusal(path).startswith(": unpacks to far more than a workbook holds")


def damaged(path: Path, part: str) -> None:
    """Overwrite what a part holds."""
    with zipfile.ZipFile(path) as book:
        info = book.getinfo(part)
    content = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(part)
    content[start : start + info.compress_size] = b"\xff" * info.compress_size
    path.write_bytes(content)


@pytest.mark.parametrize("part", [SHEET, "xl/workbook.xml", "_rels/.rels"])
def test_damaged_part_is_refused(tmp_path: Path, part: str) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    damaged(path, part)
    assert refusal(path).startswith(": is damaged or incomplete: fetch it again")


def test_workbook_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], *[[f"x{n}"] for n in range(1000)]])
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path).startswith(": is damaged or incomplete: fetch it again")


def test_name_that_is_not_utf_8_is_damage(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "t.xlsx", {"é": "x"})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xf0("))
    assert refusal(path).startswith(": is damaged or incomplete: fetch it again")


def test_missing_part_is_damage(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    whole = path.read_bytes().replace(b"worksheets/sheet1.xml", b"worksheets/sheet9.xml")
    path.write_bytes(whole)
    assert refusal(path).startswith(": is damaged or incomplete: fetch it again")


def test_sheet_without_a_part_is_damage(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    path.write_bytes(path.read_bytes().replace(b"/workbook.xml.rels", b"/workbook.xml.odds"))
    assert refusal(path).startswith(": is damaged or incomplete: fetch it again")


def test_protected_part_is_told_as_such(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    content = bytearray(path.read_bytes())
    start = -1
    while (start := content.find(b"PK\1\2", start + 1)) >= 0:
        content[start + 8] |= 1  # the flag of encryption, in the directory
    path.write_bytes(content)
    assert refusal(path) == ": is protected by a password: save it without one"


def test_names_of_parts_are_found_in_any_case(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    whole = path.read_bytes().replace(b"xl/strings.xml", b"xl\\Strings.XML")
    path.write_bytes(whole)
    with open_workbook(path) as table:
        assert list(table.rows) == [(2, {"a": "x"})]


def test_workbook_without_relations_has_its_usual_parts(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    path.write_bytes(path.read_bytes().replace(b"_rels/.rels", b"_odds/.rels"))
    with open_workbook(path) as table:
        assert list(table.rows) == [(2, {"a": "x"})]
