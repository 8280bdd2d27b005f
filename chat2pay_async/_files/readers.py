"""Readers of files: lines with their numbers, and their cells by column.

| Ending | Read as |
|---|---|
| `.csv` | UTF-8 text, its cells separated by commas (or by `;` or tabs, as Excel often writes) |
| `.tsv` | the same, separated by tabs |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.xlsx`, `.xlsm`, `.ods` | the sheet of a workbook that has rows, or the one that is asked for |
| `.xls` | the same (extra `excel`) |

A fault of the file as a whole is a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from chat2pay_async._files import text
from chat2pay_async._files.sheet import Line, Sheet
from chat2pay_async._files.text import open_text
from chat2pay_async._workbooks import workbook
from chat2pay_async._workbooks.workbook import open_workbook
from chat2pay_async.errors import ConfigurationError

__all__ = ["open_sheet"]

_NAMELESS = "has a value in a column without a name"


@contextmanager
def open_sheet(
    path: Path,
    *,
    sheet: str | None = None,
    include_hidden: bool = False,
    ignore: Collection[str] = (),
) -> Generator[Sheet, None, None]:
    """Open a file of the kind that its name says.

    Args:
        path: The file.
        sheet: The sheet of a workbook. Default: the only visible one that has rows.
        include_hidden: Whether hidden rows and columns of a workbook are read like others.
        ignore: Columns that are not read, and may be hidden.

    Raises:
        ConfigurationError: The file can't be read, or it is not clear what is to be read. Raised
            while its lines are read as well.
    """
    ending = path.suffix.lower()
    try:
        if ending in workbook.ENDINGS:
            with open_workbook(
                path, sheet=sheet, include_hidden=include_hidden, ignore=ignore
            ) as table:
                lines = (
                    Line(number, cells, _NAMELESS if "" in cells else "")
                    for number, cells in table.rows
                )
                yield Sheet(table.columns, lines, table.name)
        elif ending not in text.ENDINGS:
            *others, last = sorted(text.ENDINGS | workbook.ENDINGS)
            known = f"{', '.join(others)} or {last}"
            raise ConfigurationError(f"{path}: unknown kind of file; the name must end in {known}")
        elif sheet is not None:
            raise ConfigurationError(f"{path}: has no sheets: leave --sheet out")
        else:
            with open_text(path) as found:
                yield found
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from error
