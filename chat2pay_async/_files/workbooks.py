"""Readers of workbooks. A sheet is read as a whole."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from chat2pay_async._files.cells import exact
from chat2pay_async._files.sheet import Sheet, table
from chat2pay_async._files.source import Source
from chat2pay_async.errors import ConfigurationError

__all__ = ["ENDINGS", "open_workbook"]

ENDINGS: Final = frozenset({".xlsx", ".xls", ".xlsb", ".ods"})
"""Endings of the names of workbooks."""


@contextmanager
def open_workbook(source: Source) -> Generator[Sheet, None, None]:
    """Open the first sheet of a workbook.

    Raises:
        ConfigurationError: The file can't be read. Raised while its lines are read as well.
    """
    yield _excel(source)


def _excel(source: Source) -> Sheet:
    if importlib.util.find_spec("python_calamine") is None:
        raise ConfigurationError(
            f'{source}: to read Excel files: pip install "chat2pay-async[excel]"'
            " (or save the file as CSV UTF-8)"
        )
    from python_calamine import (  # noqa: PLC0415 - an extra, which only such files need
        CalamineError,
        CalamineWorkbook,
    )

    try:
        with (
            source.open() as file,
            CalamineWorkbook.from_filelike(file) as workbook,
        ):
            rows = workbook.get_sheet_by_index(0).iter_rows()
    except CalamineError as error:
        raise ConfigurationError(
            f"{source}: can't be read as an Excel file ({error}): save it again as .xlsx, or as CSV"
        ) from None
    typed = ([exact(cell) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return table(source, enumerate(typed, 1), hides_errors=True)
