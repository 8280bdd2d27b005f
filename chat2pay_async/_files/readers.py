"""Readers of files: lines with their numbers, and their cells by column.

| Ending | Read as |
|---|---|
| `.csv`, `.txt` | UTF-8 text, its cells separated by commas, semicolons, tabs or bars |
| `.tsv` | the same, separated by tabs |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.xlsx`, `.xlsm`, `.ods` | the sheet of a workbook that has rows, or the one that is asked for |
| `.xls` | the same (extra `excel`) |

Each of them may be compressed by gzip, such as `.csv.gz`. Standard input, `-`, is a table or JSON
lines. A fault of the file as a whole is a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager

from chat2pay_async._files import text
from chat2pay_async._files.sheet import Line, Sheet
from chat2pay_async._files.source import Source
from chat2pay_async._files.text import open_text
from chat2pay_async._workbooks import workbook
from chat2pay_async._workbooks.workbook import open_workbook
from chat2pay_async.errors import ConfigurationError

__all__ = ["open_sheet"]

_NAMELESS = "has a value in a column without a name"


@contextmanager
def open_sheet(
    source: Source,
    *,
    sheet: str | None = None,
    include_hidden: bool = False,
    ignore: Collection[str] = (),
    last_line_is_complete: bool = False,
) -> Generator[Sheet, None, None]:
    """Open a file of the kind that its name says.

    Args:
        source: The file.
        sheet: The sheet of a workbook. Default: the only visible one that has rows.
        include_hidden: Whether hidden rows and columns of a workbook are read like others.
        ignore: Columns that are not read, and may be hidden.
        last_line_is_complete: Whether the last line of a text table may lack its line end.

    Raises:
        ConfigurationError: The file can't be read, or it is not clear what is to be read. Raised
            while its lines are read as well.
    """
    ending = source.ending
    try:
        if ending in workbook.ENDINGS:
            with open_workbook(
                source, sheet=sheet, include_hidden=include_hidden, ignore=ignore
            ) as table:
                lines = (
                    Line(number, cells, _NAMELESS if "" in cells else "")
                    for number, cells in table.rows
                )
                yield Sheet(table.columns, lines, name=table.name)
        elif ending not in text.ENDINGS:
            *others, last = sorted(text.ENDINGS | workbook.ENDINGS)
            known = f"{', '.join(others)} or {last}"
            raise ConfigurationError(
                f"{source}: unknown kind of file; the name must end in {known}"
            )
        elif sheet is not None:
            raise ConfigurationError(f"{source}: has no sheets: leave --sheet out")
        else:
            with open_text(source, last_line_is_complete=last_line_is_complete) as found:
                yield found
    except OSError as error:
        raise ConfigurationError(f"{source}: can't be read: {error.strerror}") from error
