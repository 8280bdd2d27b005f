"""Workbooks of Excel 97 to 2003 (.xls), read as a whole by xlrd: at most 65 536 rows a sheet."""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from chat2pay_async._workbooks.formats import A_DATE, format_of, refused
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


_NO_RESULT = refused(
    "is a formula without a stored result: save the workbook as .xlsx, or write the value itself"
)


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
        self._book, self._all, self._zeros = _opened(content)
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
        return Grid(lambda: self._rows(sheet, self._zeros[name]), hidden, merged)

    def _rows(self, sheet: Any, zeros: set[tuple[int, int]]) -> Iterator[RawRow]:
        for index in range(sheet.nrows):
            cells: Cells = {}
            for column in range(sheet.row_len(index)):
                cell = sheet.cell(index, column)
                value = _NO_RESULT if (index, column) in zeros else self._value(cell)
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


def _opened(content: bytes) -> tuple[Any, dict[str, Any], dict[str, set[tuple[int, int]]]]:
    """Return a book, its sheets by their names, and for each the cells of `_formulas_of_zero`."""
    try:
        xlrd = importlib.import_module("xlrd")
    except ImportError:
        raise WorkbookError(
            'is a workbook of Excel 97 to 2003: to read it: pip install "chat2pay-async[excel]" '
            "(or save it as .xlsx)"
        ) from None
    try:
        book = xlrd.open_workbook(
            file_contents=content, formatting_info=True, logfile=io.StringIO(), on_demand=True
        )
        names: list[str] = book.sheet_names()
        sheets = {name: book.sheet_by_name(name) for name in names}
        zeros = {
            name: _formulas_of_zero(book.mem, place)
            for name, place in zip(names, book._sh_abs_posn, strict=True)  # noqa: SLF001 - xlrd is finished, and has no other way
        }
    except Exception as error:  # noqa: BLE001 - of a damaged file, xlrd raises whatever it meets
        if "encrypted" in str(error):
            raise WorkbookError("is protected by a password: save it without one") from None
        raise WorkbookError("can't be read as a workbook: save it again as .xlsx") from None
    return book, sheets, zeros


# Records of BIFF ([MS-XLS], 2.3), each a type, a length and its data.
_HEAD = struct.Struct("<HH")
_PLACE = struct.Struct("<HH")
_BOF, _EOF, _FORMULA = frozenset({0x809, 0x409, 0x209, 0x009}), 0x00A, frozenset({6, 0x206, 0x406})


def _formulas_of_zero(memory: bytes, place: int) -> set[tuple[int, int]]:
    """Find the rows and columns of the formulas of a sheet whose result is stored as 0.

    LibreOffice stores 0 for every text that a formula returns, and xlwt for whatever it returns:
    only who opens the workbook in a spreadsheet program sees the result.
    """
    found, depth = set[tuple[int, int]](), 0
    while True:
        kind, size = _HEAD.unpack_from(memory, place)
        place += _HEAD.size
        depth += (kind in _BOF) - (kind == _EOF)  # a chart in a sheet is a part of its own
        if not depth:
            return found
        if kind in _FORMULA and depth == 1 and not any(memory[place + 6 : place + 14]):
            found.add(_PLACE.unpack_from(memory, place))
        place += size
