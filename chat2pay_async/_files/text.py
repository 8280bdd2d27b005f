"""Readers of text files: CSV, TSV and JSON lines.

They are read line by line, so that their size does not matter.

Broken quoting in a CSV file is a fault of the file as a whole: nobody knows where the cell ends.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from chat2pay_async._files.cells import CellError, read_json
from chat2pay_async._files.sheet import Line, Sheet, table
from chat2pay_async.errors import ConfigurationError

__all__ = ["ENDINGS", "open_text"]

_JSON = frozenset({".jsonl", ".ndjson"})
ENDINGS: Final = _JSON | {".csv", ".tsv"}
"""Endings of the names of text files."""


@contextmanager
def open_text(path: Path) -> Generator[Sheet, None, None]:
    """Open a text file.

    Raises:
        ConfigurationError: The file can't be read. Raised while its lines are read as well.
    """
    ending = path.suffix.lower()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if ending in _JSON:
                yield Sheet(None, _objects(path, file))
            else:
                delimiter = "\t" if ending == ".tsv" else _delimiter(file)
                file.seek(0)
                yield table(path, _csv_rows(path, file, delimiter))
    except UnicodeDecodeError:
        line = _first_undecodable(path)
        raise ConfigurationError(
            f"{path}, line {line}: is not UTF-8; save the file as UTF-8 (in Excel: CSV UTF-8)"
        ) from None


def _first_undecodable(path: Path) -> int:
    """Find the line, which a decoder does not know: it works by blocks."""
    with path.open("rb") as file:
        return next(
            number
            for number, line in enumerate(file, 1)
            if line != line.decode(errors="ignore").encode()
        )


# Tables -------------------------------------------------------------------------------------------


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
