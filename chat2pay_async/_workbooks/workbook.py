"""A workbook as one table: the sheet that is meant, its header, and what is hidden in it.

People look at a workbook before they send it. So what they can't see is not read unless they ask
for it: hidden sheets, rows and columns, and cells under merged ones.
"""

from __future__ import annotations

import zipfile
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Literal, Protocol

import attrs

from chat2pay_async._workbooks.formats import A_DATE, Odd
from chat2pay_async._workbooks.grid import Area, Book, Cells, Grid, WorkbookError
from chat2pay_async._workbooks.ods import OdsBook
from chat2pay_async._workbooks.package import Package
from chat2pay_async._workbooks.xls import XlsBook
from chat2pay_async._workbooks.xlsx import XlsxBook
from chat2pay_async.errors import ConfigurationError

__all__ = ["ENDINGS", "Table", "open_workbook"]

ENDINGS: Final = frozenset({".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"})
"""Endings of the names of workbooks."""

_ZIP, _OLE = b"PK", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Workbooks of Excel 2 to 4 are no compound files, and begin with a record of their own.
_OLD = tuple(bytes([9, version]) for version in (0, 2, 4, 8))
_TEXT = tuple(one.encode() for one in ("<", "\ufeff<", "\ufeff"))
_SHOWN = 3
_EMPTY = "is empty; its first line must name the columns"


@attrs.frozen
class Table:
    """The sheet that is read."""

    name: str
    columns: tuple[str, ...]
    """The names in its header; blank for a column without one."""
    rows: Iterator[tuple[int, dict[str, Any]]]
    """The rows below it that are not blank: number, and content by column; what stands in columns
    without a name comes under a blank name."""


class Openable(Protocol):
    """A file, or a copy of one."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Begin a reading."""
        ...


@contextmanager
def open_workbook(
    path: Openable,
    *,
    sheet: str | None = None,
    include_hidden: bool = False,
    ignore: Collection[str] = (),
) -> Generator[Table, None, None]:
    """Open a sheet of a workbook, whatever the ending of its name says.

    Args:
        path: The workbook.
        sheet: The name of the sheet. Default: the only visible one that has rows.
        include_hidden: Whether hidden rows and columns are read like others.
        ignore: Columns that are not read, and may be hidden.

    Raises:
        ConfigurationError: It can't be read, it is not clear which sheet is meant, or rows are
            hidden or merged. Raised while its rows are read as well.
    """
    try:
        with path.open("rb") as file, _opened(file) as book:
            name = _chosen(path, book, sheet)
            grid = book.grid(name)
            reader = _Reader(f"{path}, sheet {name!r}", grid, frozenset(ignore))
            if grid.may_hide():
                reader.refuse_what_is_not_seen(include_hidden=include_hidden)
            yield reader.table(name)
    except WorkbookError as error:
        raise ConfigurationError(f"{path}: {error}") from None


# The kind of the file ----------------------------------------------------------------------------


@contextmanager
def _opened(file: BinaryIO) -> Generator[Book, None, None]:
    start = file.read(len(_OLE))
    if start.startswith(_ZIP):
        try:
            zipped = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise WorkbookError(
                "is damaged or incomplete: fetch it again, or open it in Excel or LibreOffice and "
                "save it"
            ) from None
        with zipped:
            yield _book(Package(zipped))
    elif start == _OLE or start.startswith(_OLD):
        if start == _OLE and _is_encrypted(file):
            raise WorkbookError("is protected by a password: save it without one")
        file.seek(0)
        yield XlsBook(file.read())
    elif start.lstrip().startswith(_TEXT):
        raise WorkbookError(
            "is no workbook but a web page or XML with the ending of one, as many programs export "
            "it: open it in Excel and save it as .xlsx"
        )
    else:
        raise WorkbookError(
            "is no workbook, whatever its name says: if it is text, give it the ending .csv or "
            ".tsv; else save it again as .xlsx"
        )


def _is_encrypted(file: BinaryIO) -> bool:
    return "EncryptedPackage".encode("utf-16-le") in file.read()


def _book(package: Package) -> Book:
    if "xl/workbook.bin" in package:
        raise WorkbookError("is a binary workbook (.xlsb): save it as .xlsx")
    if "[Content_Types].xml" in package:
        return XlsxBook(package)
    if "content.xml" in package:
        return OdsBook(package)
    raise WorkbookError("is a zip file but no workbook: save it as .xlsx or .ods")


# The sheet ---------------------------------------------------------------------------------------


_OF_A_REPORT = ["report", "summary"]
"""The sheets of our own reports, of which the second is made from the first."""


def _chosen(path: Openable, book: Book, asked: str | None) -> str:
    if asked is not None:
        if asked in book.sheets:
            return asked
        raise ConfigurationError(f"{path}: has no sheet {asked!r}; it has {_listed(book)}")
    filled = [name for name in book.sheets if any(row.cells for row in book.grid(name).rows())]
    visible = [name for name in filled if not book.sheets[name]]
    if visible == filled == _OF_A_REPORT:
        return filled[0]
    if not filled:
        raise WorkbookError(_EMPTY)
    if len(visible) == 1 and filled[0] == visible[0]:
        return visible[0]
    raise ConfigurationError(
        f"{path}: it is not clear which sheet is meant: pass --sheet NAME; those with rows are "
        f"{_listed(book, filled)}"
    )


def _listed(book: Book, names: Collection[str] = ()) -> str:
    return ", ".join(
        f"{name!r} (hidden)" if book.sheets[name] else repr(name) for name in names or book.sheets
    )


# Its rows ----------------------------------------------------------------------------------------


def _letters(column: int) -> str:
    """Return A for 0, AA for 26."""
    before, last = divmod(column, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + last)


@attrs.define
class _Reader:
    """The rows of a sheet below its header."""

    place: str
    grid: Grid
    ignore: frozenset[str]

    def table(self, name: str) -> Table:
        rows = self.grid.rows()
        number, header = next(((row.number, row.cells) for row in rows if row.cells), (0, {}))
        if not header:
            raise WorkbookError(_EMPTY)
        names = {column: self._name(number, column, cell) for column, cell in header.items()}
        width = max(names) + 1
        columns = tuple(names.get(column, "") for column in range(width))
        named = ((number, cells) for number, cells, _ in rows if cells)
        return Table(
            name,
            columns,
            (
                (number, {names.get(column, ""): cell for column, cell in cells.items()})
                for number, cells in named
            ),
        )

    def _name(self, number: int, column: int, cell: Any) -> str:
        if isinstance(cell, Odd):
            problem = cell.text_problem
        elif cell is A_DATE:
            problem = "must be text, not a date or a time: write it as text"
        else:
            return str(cell).strip()
        raise ConfigurationError(
            f"{self.place}, row {number}, column {_letters(column)}: {problem}"
        )

    def refuse_what_is_not_seen(self, *, include_hidden: bool) -> None:
        """Read all rows, to refuse what people who look at the sheet do not see as it is read."""
        header: Cells = {}
        numbers, hidden, filled = list[int](), list[int](), set[int]()
        for number, cells, is_hidden in self.grid.rows():
            if not cells:
                continue
            numbers.append(number)
            if is_hidden:
                hidden.append(number)
            if not header:
                header = cells
            elif self.grid.hidden_columns:
                filled |= cells.keys() & self.grid.hidden_columns
        columns = sorted(
            column for column, name in header.items() if str(name).strip() not in self.ignore
        )
        problems: list[str] = []
        if not include_hidden:
            problems = _hidden(hidden, sorted(filled.intersection(columns)))
        merged = [area for area in self.grid.merged if _covers(area, numbers, columns)]
        if merged:
            first = ", ".join(map(_area, merged[:_SHOWN]))
            problems.append(
                f"{_counted(len(merged), 'merged cell')} over several rows or columns of data, "
                f"first {first}: unmerge them and fill in every cell"
            )
        if problems:
            raise ConfigurationError(f"{self.place}: {'; '.join(problems)}")


def _hidden(rows: list[int], columns: list[int]) -> list[str]:
    problems: list[str] = []
    if rows:
        first = ", ".join(map(str, rows[:_SHOWN]))
        problems.append(
            f"{_counted(len(rows), 'hidden row')} with content (by a filter, by hand or in a "
            f"group), first {first}: show or delete them, or pass --include-hidden"
        )
    if columns:
        first = ", ".join(map(_letters, columns[:_SHOWN]))
        problems.append(
            f"{_counted(len(columns), 'hidden column')} with content, first {first}: show or "
            "delete them, pass --ignore NAME, or pass --include-hidden"
        )
    return problems


def _counted(count: int, what: str) -> str:
    return f"has {count} {what}{'' if count == 1 else 's'}"


def _covers(area: Area, numbers: list[int], columns: list[int]) -> bool:
    """Return whether merged cells cover several cells of data."""
    high = bisect_right(numbers, area.last_row) - bisect_left(numbers, area.first_row)
    wide = bisect_right(columns, area.last_column) - bisect_left(columns, area.first_column)
    return high * wide > 1


def _area(area: Area) -> str:
    return (
        f"{_letters(area.first_column)}{area.first_row}:{_letters(area.last_column)}{area.last_row}"
    )
