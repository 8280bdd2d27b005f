"""An open file, whatever its kind: a header, and lines whose cells go by column.

In a table the first line names the columns, and every line has a cell for each of them.
Blank lines are skipped, and blank cells count as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from chat2pay_async.errors import ConfigurationError

__all__ = ["Line", "Sheet", "table"]

_NAMELESS = "has a value in a column without a name"


@attrs.frozen
class Line:
    """One line that is not blank."""

    number: int
    """Counted from 1; where the line begins, if a cell of it has line breaks."""
    cells: dict[str, Any]
    """Column → content; blank cells are left out."""
    problem: str = ""
    """The fault of the line as a whole, if there is one."""


@attrs.frozen
class Sheet:
    """An open file."""

    columns: tuple[str, ...] | None
    """The names in the header; None where each line names its own (JSON lines)."""
    lines: Iterator[Line]
    name: str = ""
    """The name of the sheet, in a workbook."""


def table(path: Path, rows: Iterator[tuple[int, Sequence[Any]]]) -> Sheet:
    """Take the first row that is not blank for the header."""
    for _, cells in rows:
        columns = tuple("" if _blank(cell) else str(cell).strip() for cell in cells)
        if any(columns):
            return Sheet(columns, _lines(columns, rows))
    raise ConfigurationError(f"{path}: is empty; its first line must name the columns")


def _lines(columns: tuple[str, ...], rows: Iterable[tuple[int, Sequence[Any]]]) -> Iterator[Line]:
    width = len(columns)
    for number, cells in rows:
        given = {
            column: cell
            for column, cell in zip(columns, cells, strict=False)
            # `_blank`, without a call for every cell of a campaign
            if not isinstance(cell, str) or (cell and not cell.isspace())
        }
        if len(cells) != width and not all(map(_blank, cells)):
            # Even if cells are blank: an extra comma has moved cells, and a missing one may mean
            # that the file is cut off.
            yield Line(number, given, f"has {len(cells)} cells; the header has {width}")
        elif given:
            yield Line(number, given, _NAMELESS if "" in given else "")


def _blank(cell: Any) -> bool:
    return isinstance(cell, str) and not cell.strip()
