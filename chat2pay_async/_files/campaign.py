"""A file as the source of a run: checked as a whole before anything is sent, then read again.

Both readings are of one private copy. It also knows which journal belongs to a file, so that the
same command continues where it ended.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, cast

import attrs

from chat2pay_async._files.check import Check, Comparison
from chat2pay_async._files.columns import Kind, Reading
from chat2pay_async._files.rows import Row, RowFault, read_rows
from chat2pay_async._files.sheet import Sheet
from chat2pay_async._files.source import Source, pin
from chat2pay_async.errors import ConfigurationError, FileFaultsError

__all__ = ["CampaignFile", "Check", "RequestFile"]

_BLOCK: Final = 1 << 20

Q = TypeVar("Q")


@attrs.define(eq=False)
class CampaignFile(Generic[Q]):
    """A file of rows, as it was when it was first read."""

    SHOWN: ClassVar = Check.SHOWN
    path: Path
    kind: Kind[Q]
    reading: Reading = attrs.field(factory=Reading)
    skip_bad_rows: bool = False
    taken: int = attrs.field(default=0, init=False)
    """Number of requests that the latest reading gave away."""
    _source: Source | None = attrs.field(default=None, init=False)
    _check: Check | None = attrs.field(default=None, init=False)
    # The lines that are requests, and refused for what other lines say.
    _refused: array[int] = attrs.field(factory=lambda: array("Q"), init=False)

    def check(self, sink: Callable[[RowFault], object] | None = None) -> Check:
        """Read the whole file once.

        Args:
            sink: Called with every fault.

        Raises:
            ConfigurationError: The file as a whole can't be used.
        """
        check = Check()
        deque(self.checked_rows(check, sink), maxlen=0)
        return check

    def checked(
        self, check: Check, sink: Callable[[RowFault], object] | None = None
    ) -> Iterator[Q]:
        """Read its requests as `checked_rows` does."""
        for row in self.checked_rows(check, sink):
            yield cast("Q", row.request)

    def checked_rows(
        self, check: Check, sink: Callable[[RowFault], object] | None = None
    ) -> Iterator[Row[Q]]:
        """Read its rows that are requests to the end, and note what is found.

        Faults end no reading.

        Args:
            check: The notes, which are complete at the end.
            sink: Called with every fault.

        Raises:
            ConfigurationError: The file as a whole can't be used.
        """
        self._refused = array("Q")
        comparison = Comparison(self.kind.identity, allow_alike=self.reading.allow_alike)

        def name_sheet(sheet: Sheet) -> None:
            check.sheet = sheet.name

        for read in read_rows(
            self._pinned(), self.kind, self.reading, with_blank=True, on_open=name_sheet
        ):
            row = comparison.compared(read, check)
            if row is not read:
                self._refused.append(row.line)
            check.add(row)
            if sink is not None:
                for fault in row.faults:
                    sink(fault)
            if row.request is not None:
                yield row
        self._check = check

    def requests(self) -> Iterator[Q]:
        """Read its requests, as a run takes them.

        Raises:
            FileFaultsError: Rows have faults, and bad rows are not to be skipped.
            ConfigurationError: The file as a whole can't be used.
        """
        for row in self.rows():
            yield cast("Q", row.request)

    def rows(self) -> Iterator[Row[Q]]:
        """Read its rows that are requests, with their lines and keys.

        Raises:
            FileFaultsError: Rows have faults, and bad rows are not to be skipped.
            ConfigurationError: The file as a whole can't be used.
        """
        self._pinned()
        check = self.check() if self._check is None else self._check
        if check.bad and not self.skip_bad_rows:
            raise FileFaultsError(f"{self.path}: {check.bad:,} rows have faults", check.groups)
        self.taken = 0
        refused = iter(self._refused)
        next_refused = next(refused, 0)
        for row in read_rows(self._pinned(), self.kind, self.reading):
            if row.line == next_refused:
                next_refused = next(refused, 0)
            elif row.request is not None:
                self.taken += 1
                yield row
        if self.taken != check.good:
            raise ConfigurationError(
                f"{self.path}: {check.good:,} rows were checked, and {self.taken:,} were read "
                "afterwards: the copy in the temporary folder was damaged. Run the same command "
                "again"
            )

    def change(self) -> str:
        """Describe a change of the file since it was first read; empty if there was none."""
        return "" if self._source is None else self._source.change()

    def digest(self) -> str:
        """Return a digest of the file as it was first read."""
        digest = hashlib.sha256()
        with self._pinned().open() as copy:
            while block := copy.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def close(self) -> None:
        """Delete the copy."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _pinned(self) -> Source:
        if self._source is None:
            self._source, self._check = pin(self.path), None
        return self._source


class RequestFile(Generic[Q]):
    """A file that was read to its end and checked; iterate over it for its requests.

    It has a private copy of the file: use it as a context manager, or close it.
    """

    def __init__(self, file: CampaignFile[Q]) -> None:
        """Check a file."""
        self._file = file
        try:
            self.check: Check = file.check()
            """The number of good, bad, blank and repeated rows, and the sums of the good ones."""
        except BaseException:
            file.close()
            raise

    @property
    def faults(self) -> tuple[Any, ...]:
        """The faults of all rows, grouped by column and problem."""
        return self.check.groups

    def __iter__(self) -> Iterator[Q]:
        """Read the requests.

        Raises:
            FileFaultsError: Rows have faults, and `skip_bad_rows` is not set.
        """
        return self._file.requests()

    def rows(self) -> Iterator[Row[Q]]:
        """Read the requests with their lines and idempotency keys.

        Raises:
            FileFaultsError: Rows have faults, and `skip_bad_rows` is not set.
        """
        return self._file.rows()

    def each_fault(self) -> Iterator[RowFault]:
        """Read the faults one by one, in the order of their rows."""
        found = deque[RowFault]()
        for _ in self._file.checked(Check(), found.append):
            while found:
                yield found.popleft()
        yield from found

    def change(self) -> str:
        """Describe a change of the file since it was checked; empty if there was none."""
        return self._file.change()

    def close(self) -> None:
        """Delete the private copy."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
