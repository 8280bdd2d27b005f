"""Workbooks of Excel 97 to 2003: one that was written by xlwt, with cells of all kinds."""

from __future__ import annotations

import struct
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async._workbooks.formats import A_DATE
from chat2pay_async._workbooks.grid import AN_ERROR, UNKNOWN
from chat2pay_async._workbooks.workbook import open_workbook
from chat2pay_async.errors import ConfigurationError

SHEETS = Path(__file__).parent.parent / "data" / "sheets.xls"


def rows_of(sheet: str | None, **options: Any) -> dict[int, dict[str, Any]]:
    with open_workbook(SHEETS, sheet=sheet, **options) as table:
        return dict(table.rows)


def refusal(sheet: str | None, path: Path = SHEETS) -> str:
    with pytest.raises(ConfigurationError) as caught, open_workbook(path, sheet=sheet):
        pass
    return str(caught.value).removeprefix(str(path))


def test_cells_are_read_with_their_types_and_formats() -> None:
    rows = rows_of("Plain")
    assert rows[2]["order_number"] == "A-1"
    assert (rows[2]["amount"].value, rows[2]["amount"].amount_problem) == (Decimal("199.9"), "")
    assert rows[2]["note"] is True
    assert "with leading zeros" in rows[3]["order_number"].text_problem
    assert "as a percentage" in rows[3]["amount"].amount_problem
    assert rows[3]["note"] is A_DATE
    assert rows[5] == {"order_number": AN_ERROR, "amount": Decimal("0.3")}
    assert rows[6]["order_number"].text_problem.startswith("is a text that is shown with other")
    assert rows[6]["note"].text_problem.startswith("has more digits than the 15")
    assert list(rows) == [2, 3, 5, 6]


def test_cell_whose_format_is_missing_is_not_read(tmp_path: Path) -> None:
    content = bytearray(SHEETS.read_bytes())
    place = content.index(struct.pack("<HHHH", 0xFD, 10, 1, 0)) + 8  # a text in A2
    content[place : place + 2] = b"\x7f\x7f"
    path = tmp_path / "t.xls"
    path.write_bytes(content)
    with open_workbook(path, sheet="Plain") as table:
        assert dict(table.rows)[2]["order_number"] == UNKNOWN


def test_hidden_sheets_are_known() -> None:
    assert refusal(None).endswith("'Plain', 'Filtered', 'Merged', 'Old' (hidden), 'Older' (hidden)")


def test_hidden_rows_and_columns_are_known() -> None:
    message = refusal("Filtered")
    assert "has 2 hidden rows" in message
    assert "has 1 hidden column with content, first B" in message
    assert len(rows_of("Filtered", include_hidden=True)) == 4


def test_merged_cells_are_known() -> None:
    assert "has 1 merged cell over several rows or columns of data, first A2:A3" in refusal(
        "Merged"
    )


def test_protected_workbook_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    class Protected:
        @staticmethod
        def open_workbook(**_: Any) -> None:
            raise ValueError("Workbook is encrypted")  # as xlrd says it, in a class of its own

    monkeypatch.setitem(sys.modules, "xlrd", Protected)
    assert refusal("Plain") == ": is protected by a password: save it without one"


def test_missing_extra_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "xlrd", None)
    assert 'pip install "chat2pay-async[excel]"' in refusal("Plain")
