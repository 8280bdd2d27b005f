"""An open file, whatever its kind: a header, and lines whose cells go by column.

In a table the first line names the columns. Blank cells count as absent, and blanks and invisible
characters around a value are left out, in every column alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from chat2pay_async._files.source import Source
from chat2pay_async._texts import stripped
from chat2pay_async.errors import ConfigurationError

__all__ = ["Line", "Sheet", "table"]

_NAMELESS = "has a value in a column without a name"
_LONGER = "has {} cells; the header has {}: put values with separators in quotation marks"


@attrs.define
class Line:
    """One line."""

    number: int
    """Counted from 1; where the line begins, if a cell of it has line breaks."""
    cells: dict[str, Any]
    """Column → content; blank cells are left out."""
    problem: str = ""
    """The fault of the line as a whole, if there is one."""
    surplus: int = 0
    """Number of blank cells after the last column."""
    is_blank: bool = False
    """True if it has nothing: no row."""


@attrs.frozen
class Sheet:
    """An open file."""

    columns: tuple[str, ...] | None
    """The names in the header; None where each line names its own (JSON lines)."""
    lines: Iterator[Line]
    delimiter: str = ""
    """The separator of the cells; empty if the file is no text table."""
    name: str = ""
    """The name of the sheet, in a workbook."""


def table(source: Source, rows: Iterator[tuple[int, Sequence[str]]], delimiter: str) -> Sheet:
    """Take the first row that is not blank for the header."""
    for _, cells in rows:
        columns = tuple(map(stripped, cells))
        if any(columns):
            return Sheet(columns, _lines(columns, rows), delimiter)
    raise ConfigurationError(f"{source}: is empty; its first line must name the columns")


def _lines(columns: tuple[str, ...], rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[Line]:
    width = len(columns)
    nameless = "" in columns
    for number, cells in rows:
        given: dict[str, Any] = {}
        for column, cell in zip(columns, cells, strict=False):
            # `stripped`, mostly without a call for every cell of a campaign
            text = cell.strip() if cell.isascii() else stripped(cell)
            if text:
                given[column] = text
        surplus = len(cells) - width
        if surplus > 0 and any(map(stripped, cells[width:])):
            yield Line(number, given, _LONGER.format(len(cells), width))
        elif not given:
            yield Line(number, given, is_blank=True)
        else:
            problem = _NAMELESS if nameless and "" in given else ""
            yield Line(number, given, problem, max(surplus, 0))
