"""The cells of a sheet, whatever the kind of its workbook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import attrs

from chat2pay_async._workbooks.formats import Odd, refused

__all__ = [
    "AN_ERROR",
    "MOST_COLUMNS",
    "MOST_ROWS",
    "NO_RESULT",
    "TWO_VALUES",
    "UNKNOWN",
    "ZERO_OF_FORMULA",
    "Area",
    "Book",
    "Cells",
    "Grid",
    "RawRow",
    "WorkbookError",
]

# https://support.microsoft.com/office/excel-specifications-and-limits; LibreOffice has the same.
MOST_ROWS: Final = 1_048_576
MOST_COLUMNS: Final = 16_384

_RESAVE = "open the workbook in Excel or LibreOffice and save it, or write the value itself"
AN_ERROR: Final = refused("is an error, such as #N/A: correct its formula, or write the value")
NO_RESULT: Final = refused(f"is a formula without a stored result: {_RESAVE}")
ZERO_OF_FORMULA: Final = Odd(
    0,
    "is 0, which a formula gives for an empty cell, too: write the value itself, or clear the cell",
)
TWO_VALUES: Final = refused(f"has two values in the file: {_RESAVE}")
UNKNOWN: Final = refused(f"has a value that can't be read: {_RESAVE}")

Cells: TypeAlias = dict[int, Any]
"""Column, counted from 0 → content; blank cells are left out."""


class WorkbookError(Exception):
    """A workbook can't be read; the message says why, and what to do."""


class RawRow(NamedTuple):
    """A row of a sheet."""

    number: int
    """Counted from 1, as the workbook shows it."""
    cells: Cells
    hidden: bool


class Area(NamedTuple):
    """Merged cells. Rows are counted from 1, columns from 0; both ends belong to it."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int


@attrs.frozen
class Grid:
    """A sheet."""

    rows: Callable[[], Iterator[RawRow]]
    """Reads its rows from the first; those without cells may be left out."""
    hidden_columns: set[int] = attrs.field(factory=set)
    """Filled while rows are read."""
    merged: list[Area] = attrs.field(factory=list)
    """Filled while rows are read."""
    may_hide: Callable[[], bool] = lambda: True
    """Looks, more quickly than by reading all rows, for rows and columns that may be hidden, and
    for merged cells."""


class Book(Protocol):
    """An open workbook."""

    @property
    def sheets(self) -> Mapping[str, bool]:
        """The names of its sheets, in order; True for a hidden one."""
        ...

    def grid(self, name: str) -> Grid:
        """Return one of its sheets."""
        ...
