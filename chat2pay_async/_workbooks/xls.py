"""Workbooks of Excel 97 to 2003 (.xls), read as a whole by xlrd: at most 65 536 rows a sheet."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from chat2pay_async._workbooks.formats import A_DATE, format_of
from chat2pay_async._workbooks.grid import (
    AN_ERROR,
    UNKNOWN,
    Area,
    Cells,
    Grid,
    RawRow,
    WorkbookError,
)

__all__ = ["XlsBook"]


class _Kind(IntEnum):
    """Types of cells (xlrd.biffh)."""

    EMPTY = 0
    TEXT = 1
    NUMBER = 2
    DATE = 3
    BOOLEAN = 4
    ERROR = 5
    BLANK = 6


class XlsBook:
    """A workbook of Excel 97 to 2003."""

    def __init__(self, content: bytes) -> None:
        self._book = _opened(content)
        names: list[str] = self._book.sheet_names()
        self._all = {name: self._book.sheet_by_name(name) for name in names}
        self.sheets = {name: sheet.visibility != 0 for name, sheet in self._all.items()}

    def grid(self, name: str) -> Grid:
        """Return one of its sheets."""
        sheet = self._all[name]
        hidden = {
            column for column, info in sheet.colinfo_map.items() if info.hidden or not info.width
        }
        merged = [
            Area(top + 1, bottom, left, right - 1)
            for top, bottom, left, right in sheet.merged_cells
        ]
        return Grid(lambda: self._rows(sheet), hidden, merged)

    def _rows(self, sheet: Any) -> Iterator[RawRow]:
        for index in range(sheet.nrows):
            cells: Cells = {}
            for column in range(sheet.row_len(index)):
                value = self._value(sheet.cell(index, column))
                if value is not None:
                    cells[column] = value
            info = sheet.rowinfo_map.get(index)
            hidden = info is not None and bool(info.hidden or info.height == 0)
            yield RawRow(index + 1, cells, hidden)

    def _value(self, cell: Any) -> Any:
        kind, value = cell.ctype, cell.value
        try:
            style = self._book.xf_list[cell.xf_index]
            known = format_of(self._book.format_map[style.format_key].format_str)
        except LookupError:
            return UNKNOWN
        match kind:
            case _Kind.EMPTY | _Kind.BLANK:
                return None
            case _Kind.TEXT:
                return known.read_text(value)
            case _Kind.NUMBER:
                return known.read_stored(value)
            case _Kind.BOOLEAN:
                return bool(value)
            case _:
                return A_DATE if kind == _Kind.DATE else AN_ERROR


def _opened(content: bytes) -> Any:
    try:
        xlrd = importlib.import_module("xlrd")
    except ImportError:
        raise WorkbookError(
            'is a workbook of Excel 97 to 2003: to read it: pip install "chat2pay-async[excel]" '
            "(or save it as .xlsx)"
        ) from None
    try:
        return xlrd.open_workbook(
            file_contents=content, formatting_info=True, logfile=io.StringIO()
        )
    except Exception as error:  # noqa: BLE001 - of a damaged file, xlrd raises whatever it meets
        if "encrypted" in str(error):
            raise WorkbookError("is protected by a password: save it without one") from None
        raise WorkbookError("can't be read as a workbook: save it again as .xlsx") from None
