"""Readers of files: lines with their numbers, and their cells by column.

| Ending | Read as |
|---|---|
| `.csv` | UTF-8 text, its cells separated by commas (or by `;` or tabs, as Excel often writes) |
| `.tsv` | the same, separated by tabs |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.xlsx`, `.xls`, `.xlsb`, `.ods` | the first sheet of a workbook (extra `excel`) |

A fault of the file as a whole is a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from chat2pay_async._files import text, workbooks
from chat2pay_async._files.sheet import Sheet
from chat2pay_async._files.text import open_text
from chat2pay_async._files.workbooks import open_workbook
from chat2pay_async.errors import ConfigurationError

__all__ = ["open_sheet"]


@contextmanager
def open_sheet(path: Path) -> Generator[Sheet, None, None]:
    """Open a file of the kind that its name says.

    Raises:
        ConfigurationError: The file can't be read. Raised while its lines are read as well.
    """
    ending = path.suffix.lower()
    if ending not in text.ENDINGS | workbooks.ENDINGS:
        *others, last = sorted(text.ENDINGS | workbooks.ENDINGS)
        known = f"{', '.join(others)} or {last}"
        raise ConfigurationError(f"{path}: unknown kind of file; the name must end in {known}")
    opened = open_workbook(path) if ending in workbooks.ENDINGS else open_text(path)
    try:
        with opened as sheet:
            yield sheet
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from error
