"""Readers of files: lines with their numbers, and their cells by column.

| Ending | Read as |
|---|---|
| `.csv`, `.txt` | UTF-8 text, its cells separated by commas, semicolons, tabs or bars |
| `.tsv` | the same, separated by tabs |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.xlsx`, `.xls`, `.xlsb`, `.ods` | the first sheet of a workbook (extra `excel`) |

Each of them may be compressed by gzip, such as `.csv.gz`. Standard input, `-`, is a table or JSON
lines. A fault of the file as a whole is a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from chat2pay_async._files import text, workbooks
from chat2pay_async._files.sheet import Sheet
from chat2pay_async._files.source import Source
from chat2pay_async._files.text import open_text
from chat2pay_async._files.workbooks import open_workbook
from chat2pay_async.errors import ConfigurationError

__all__ = ["open_sheet"]


@contextmanager
def open_sheet(source: Source, *, last_line_is_complete: bool = False) -> Generator[Sheet]:
    """Open a file of the kind that its name says.

    Raises:
        ConfigurationError: The file can't be read. Raised while its lines are read as well.
    """
    ending = source.ending
    if ending not in text.ENDINGS | workbooks.ENDINGS:
        *others, last = sorted(text.ENDINGS | workbooks.ENDINGS)
        known = f"{', '.join(others)} or {last}"
        raise ConfigurationError(f"{source}: unknown kind of file; the name must end in {known}")
    if ending in workbooks.ENDINGS:
        opened = open_workbook(source)
    else:
        opened = open_text(source, last_line_is_complete=last_line_is_complete)
    try:
        with opened as sheet:
            yield sheet
    except OSError as error:
        raise ConfigurationError(f"{source}: can't be read: {error.strerror}") from error
