"""Readers of text files: CSV, TSV and JSON lines.

They are read line by line, so that their size does not matter.

A table is UTF-8, or UTF-16 with a byte order mark, as Excel writes "Unicode text". Its cells are
separated by commas, semicolons, tabs or bars, as its header shows, or by what a first line `sep=;`
names. Broken quoting in it is a fault of the file as a whole: nobody knows where the cell ends.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from chat2pay_async._files.cells import CellError, read_json
from chat2pay_async._files.sheet import Line, Sheet, table
from chat2pay_async._files.source import Source
from chat2pay_async._files.tables import without_guards
from chat2pay_async.errors import ConfigurationError

__all__ = ["ENDINGS", "disguise", "open_text"]

_JSON = frozenset({".jsonl", ".ndjson"})
ENDINGS: Final = _JSON | {".csv", ".tsv", ".txt"}
"""Endings of the names of text files."""
_DELIMITERS: Final = ",;\t|"
_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_HEAD = 4096
_PAIRS = 16  # a header begins with a few letters of ASCII
_LONGEST_LINE = 2**20
_MOST_HEADER_LINES = 100
_BOM = "\ufeff"
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")
_SEPARATOR = re.compile(r'"?sep=([^\w"\r\n])"?[,;\t|]*\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_HTML = re.compile(
    rb"\s*<(?:!doctype|!--|\?xml|html|head|meta|body|table|style|div)\b", re.IGNORECASE
)
_DISGUISES: Final = (
    (
        b"PK\x03\x04",
        "is a workbook or a zip archive: give its name its ending, such as .xlsx",
    ),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook: give its name the ending .xls"),
    (b"\x1f\x8b", "is compressed: give its name the ending .gz as well"),
    (b"%PDF", "is a PDF: ask for the data as CSV UTF-8"),
    (b"\xff\xfe\0\0", "is UTF-32: save the file as UTF-8 (in Excel: CSV UTF-8)"),
)


def disguise(head: bytes) -> str:
    """Say what the beginning of a file shows it to be, if that is no text table; else empty."""
    for magic, problem in _DISGUISES:
        if head.startswith(magic):
            return problem
    if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "is a web page or XML: open it in a spreadsheet program, and save it as CSV UTF-8"
    return ""


@contextmanager
def open_text(source: Source, *, last_line_is_complete: bool = False) -> Generator[Sheet]:
    """Open a text file.

    Args:
        source: The file.
        last_line_is_complete: Whether the last line of a table may lack its line end.

    Raises:
        ConfigurationError: The file can't be read. Raised while its lines are read as well.
    """
    encoding = _encoding(source)
    is_json = source.ending in _JSON
    if not is_json and not last_line_is_complete:
        _refuse_cut_end(source, encoding)
    try:
        with io.TextIOWrapper(source.open(), encoding, newline="") as file:
            if is_json:
                yield Sheet(None, _objects(source, _lines(source, file)))
            else:
                delimiter, skipped = _delimiter(source, file)
                file.seek(0)
                rows = without_guards(_csv_rows(source, _lines(source, file), delimiter, skipped))
                yield table(source, rows, delimiter)
    except UnicodeDecodeError:
        if encoding == "utf-16":
            raise ConfigurationError(
                f"{source}: is not valid UTF-16, or is cut off; save the file as UTF-8 (in Excel: "
                "CSV UTF-8)"
            ) from None
        line = _first_undecodable(source)
        raise ConfigurationError(
            f"{source}, line {line}: is not UTF-8; save the file as UTF-8 (in Excel: CSV UTF-8)"
        ) from None


def _encoding(source: Source) -> str:
    with source.open() as file:
        head = file.read(_HEAD)
    if problem := disguise(head):
        raise ConfigurationError(f"{source}: {problem}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if len(head) > 1 and not (any(head[0:_PAIRS:2]) and any(head[1:_PAIRS:2])):
        raise ConfigurationError(
            f"{source}: seems to be UTF-16 without a byte order mark; save the file as UTF-8 (in "
            "Excel: CSV UTF-8)"
        )
    return "utf-8-sig"


def _refuse_cut_end(source: Source, encoding: str) -> None:
    """Refuse a table whose last line has no end: 199.90 may have become 19."""
    with source.open() as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(max(0, end - _HEAD))  # an even number, as UTF-16 needs it
        tail = file.read()
        if encoding == "utf-16":
            file.seek(0)
            order = "utf-16-le" if file.read(2) == b"\xff\xfe" else "utf-16-be"
            tail = tail.decode(order, "replace").encode()
    last = _LINE_ENDS.split(tail)[-1]
    if last.replace(_BOM.encode(), b"").strip():
        raise ConfigurationError(
            f"{source}: the last line has no line end, so the file may be cut off, and an amount "
            "in it as well. Compare the last row with the original; if it is whole, add a line "
            "end, or pass --last-line-is-complete"
        )


def _first_undecodable(source: Source) -> int:
    """Find the line, which a decoder does not know: it works by blocks."""
    number = 1
    with source.open() as file:
        while True:
            line = file.readline()
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return number + len(_LINE_ENDS.findall(line[: error.start]))
            number += len(_LINE_ENDS.findall(line))


def _lines(source: Source, file: TextIO) -> Iterator[str]:
    """Read line by line, the first one without byte order marks, of which some files have two."""
    number = 1
    line = file.readline(_LONGEST_LINE).lstrip(_BOM)
    while line:
        if len(line) >= _LONGEST_LINE:
            raise ConfigurationError(
                f"{source}, line {number}: has more than a million characters; no row is that long"
            )
        yield line
        line = file.readline(_LONGEST_LINE)
        number += 1


# Tables -------------------------------------------------------------------------------------------


def _delimiter(source: Source, file: TextIO) -> tuple[str, int]:
    """Return what separates the cells, and the number of lines before the table."""
    lines = _lines(source, file)
    first = next(lines, "")
    if declared := _SEPARATOR.fullmatch(first):
        return declared[1], 1
    if source.ending == ".tsv":
        return "\t", 0
    header = first
    while not header.strip(f" \r\n{_DELIMITERS}") and (line := next(lines, "")):
        header = line
    for _ in range(_MOST_HEADER_LINES):  # a name in quotation marks may have line breaks
        if header.count('"') % 2 == 0:
            break
        header += next(lines, "")
    found = [one for one in _DELIMITERS if one in _QUOTED.sub("", header)]
    if len(found) > 1:
        names = " and ".join(_NAMES[one] for one in found)
        raise ConfigurationError(
            f"{source}: its header has {names}, so that its columns can't be told apart: write the "
            "names that contain them in quotation marks, or a first line such as sep=;"
        )
    return (found or ",")[0], 0


def _csv_rows(
    source: Source, lines: Iterator[str], delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str]]]:
    for _ in range(skipped):
        next(lines)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1 + skipped
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1 + skipped
    except csv.Error as error:
        raise ConfigurationError(
            f"{source}, line {start}: is not valid CSV ({error}); look for a quotation mark that "
            "is not closed, or not doubled"
        ) from None


# JSON lines --------------------------------------------------------------------------------------


def _objects(source: Source, lines: Iterable[str]) -> Iterator[Line]:
    anything = False
    for number, line in enumerate(lines, 1):
        if line.isspace():
            yield Line(number, {}, is_blank=True)
        else:
            anything = True
            yield _object(number, line)
    if not anything:
        raise ConfigurationError(f"{source}: is empty; every line must be a JSON object")


def _object(number: int, line: str) -> Line:
    try:
        given = read_json(line.strip())
    except CellError as error:
        return Line(number, {}, str(error))
    if not isinstance(given, dict):
        return Line(number, {}, "must be a JSON object, in braces")
    return Line(number, {name: value for name, value in given.items() if value is not None})
