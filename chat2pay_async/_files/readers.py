"""Readers of files: lines with their numbers, and their cells by column.

| Ending | Read as |
|---|---|
| `.csv` | UTF-8 text, its cells separated by commas (or by `;` or tabs, as Excel often writes) |
| `.tsv` | the same, separated by tabs |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.xlsx`, `.xls`, `.xlsb`, `.ods` | the first sheet of a workbook (extra `excel`) |

In a table the first line names the columns, and every line has a cell for each of them.
Blank lines are skipped, and blank cells count as absent. A text file is read line by line, so its
size does not matter; a sheet of Excel is read as a whole.

A fault of the file as a whole is a `ConfigurationError`. So is broken quoting in a CSV file: nobody
knows where the cell ends.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import attrs

from chat2pay_async._files.cells import CellError, exact, read_json
from chat2pay_async._files.tables import without_guards
from chat2pay_async.errors import ConfigurationError

__all__ = ["Line", "Sheet", "open_sheet"]

_JSON = frozenset({".jsonl", ".ndjson"})
_TEXT = frozenset({".csv", ".tsv"})
_EXCEL = frozenset({".xlsx", ".xls", ".xlsb", ".ods"})

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
    hides_errors: bool = False
    """True if a cell with an error, or a formula without a result, may read as blank (Excel)."""


@contextmanager
def open_sheet(path: Path) -> Generator[Sheet, None, None]:
    """Open a file of the kind that its name says.

    Raises:
        ConfigurationError: The file can't be read. Raised while its lines are read as well.
    """
    ending = path.suffix.lower()
    if ending not in _JSON | _TEXT | _EXCEL:
        *others, last = sorted(_JSON | _TEXT | _EXCEL)
        known = f"{', '.join(others)} or {last}"
        raise ConfigurationError(f"{path}: unknown kind of file; the name must end in {known}")
    try:
        if ending in _EXCEL:
            yield _excel(path)
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                if ending in _JSON:
                    yield Sheet(None, _objects(path, file))
                else:
                    delimiter = "\t" if ending == ".tsv" else _delimiter(file)
                    file.seek(0)
                    yield _table(path, without_guards(_csv_rows(path, file, delimiter)))
    except UnicodeDecodeError:
        line = _first_undecodable(path)
        raise ConfigurationError(
            f"{path}, line {line}: is not UTF-8; save the file as UTF-8 (in Excel: CSV UTF-8)"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from error


def _first_undecodable(path: Path) -> int:
    """Find the line, which a decoder does not know: it works by blocks."""
    with path.open("rb") as file:
        return next(
            number
            for number, line in enumerate(file, 1)
            if line != line.decode(errors="ignore").encode()
        )


# Tables with a header ----------------------------------------------------------------------------


def _table(
    path: Path, rows: Iterator[tuple[int, Sequence[Any]]], *, hides_errors: bool = False
) -> Sheet:
    """Take the first row that is not blank for the header."""
    for _, cells in rows:
        columns = tuple("" if _blank(cell) else str(cell).strip() for cell in cells)
        if any(columns):
            return Sheet(columns, _lines(columns, rows), hides_errors)
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


def _delimiter(file: TextIO) -> str:
    header = next((line for line in file if line.strip(" ,;\t\r\n")), "")
    return next((one for one in ",;\t" if one in header), ",")


def _csv_rows(path: Path, file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise ConfigurationError(
            f"{path}, line {start}: is not valid CSV ({error}); look for a quotation mark that is "
            "not closed, or not doubled"
        ) from None


# JSON lines --------------------------------------------------------------------------------------


def _objects(path: Path, file: TextIO) -> Iterator[Line]:
    anything = False
    for number, line in enumerate(file, 1):
        if not line.isspace():
            anything = True
            yield _object(number, line)
    if not anything:
        raise ConfigurationError(f"{path}: is empty; every line must be a JSON object")


def _object(number: int, line: str) -> Line:
    try:
        given = read_json(line.strip())
    except CellError as error:
        return Line(number, {}, str(error))
    if not isinstance(given, dict):
        return Line(number, {}, "must be a JSON object, in braces")
    return Line(number, {name: value for name, value in given.items() if value is not None})


# Excel -------------------------------------------------------------------------------------------


def _excel(path: Path) -> Sheet:
    if importlib.util.find_spec("python_calamine") is None:
        raise ConfigurationError(
            f'{path}: to read Excel files: pip install "chat2pay-async[excel]"'
            " (or save the file as CSV UTF-8)"
        )
    from python_calamine import (  # noqa: PLC0415 - an extra, which only such files need
        CalamineError,
        CalamineWorkbook,
    )

    try:
        with (
            path.open("rb") as file,
            CalamineWorkbook.from_filelike(file) as workbook,
        ):
            rows = workbook.get_sheet_by_index(0).iter_rows()
    except CalamineError as error:
        raise ConfigurationError(
            f"{path}: can't be read as an Excel file ({error}): save it again as .xlsx, or as CSV"
        ) from None
    typed = ([exact(cell) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return _table(path, enumerate(typed, 1), hides_errors=True)
