"""A file as the source of a run: checked as a whole before anything is sent, then read again.

It also knows which journal belongs to a file, so that the same command continues where it ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import attrs

from chat2pay_async._files.columns import Kind
from chat2pay_async._files.rows import RowFault, read_rows
from chat2pay_async.errors import ConfigurationError

__all__ = ["CampaignFile", "Check", "journal_for"]

Q = TypeVar("Q")


@attrs.define
class Check:
    """The result of a reading of a file, so far."""

    good: int = 0
    """Number of rows that are requests."""
    bad: int = 0
    """Number of rows with a fault."""
    faults: tuple[RowFault, ...] = ()
    """The first faults."""


@attrs.frozen
class CampaignFile(Generic[Q]):
    """A file of rows."""

    SHOWN: ClassVar = 20
    path: Path
    kind: Kind[Q]
    ignore: tuple[str, ...] = ()
    """Columns that are not part of a request."""
    skip_bad_rows: bool = False

    def check(self) -> Check:
        """Read the whole file once.

        Raises:
            ConfigurationError: The file as a whole can't be used.
        """
        check = Check()
        deque(self.checked(check), maxlen=0)
        return check

    def checked(self, check: Check) -> Iterator[Q]:
        """Read its requests to the end, and note what is found: faults end no reading.

        Raises:
            ConfigurationError: The file as a whole can't be used.
        """
        for row in read_rows(self.path, self.kind, self.ignore):
            if row.request is not None:
                check.good += 1
                yield row.request
            else:
                check.bad += 1
                check.faults += row.faults[: self.SHOWN - len(check.faults)]

    def requests(self) -> Iterator[Q]:
        """Read its requests, as a run takes them.

        Raises:
            ConfigurationError: A row has a fault, and bad rows are not to be skipped: the file
                was changed since it was checked.
        """
        for row in read_rows(self.path, self.kind, self.ignore):
            if row.request is not None:
                yield row.request
            elif not self.skip_bad_rows:
                raise ConfigurationError(
                    f"{self.path} was changed while it was being sent: {row.faults[0]}. Fix this "
                    "row, then run the same command again"
                )


def journal_for(
    source: Path, what: str, given: Path | None, *, force: bool, look_only: bool = False
) -> Path:
    """Find the journal of a source: one beside it, or the given one.

    A link beside the source leads to a journal that is elsewhere, so that the same source is not
    sent again with another one.

    Args:
        source: The file with the items.
        what: The job, such as `links`.
        given: A journal that was asked for.
        force: Whether a second journal for the same source is allowed.
        look_only: Whether to write no link, since nothing will be sent.

    Raises:
        ConfigurationError: The source has another journal already.
    """
    source = source.resolve()  # by whatever name it is called, it is the same source
    usual = source.with_name(f"{source.name}.{what}.journal")
    if given is None:
        return usual.resolve()
    journal = given.resolve()
    if look_only:
        return journal
    if not usual.is_symlink() and not usual.exists():
        _link(usual, journal)
    elif usual.resolve() != journal:
        if not force:
            raise ConfigurationError(
                f"{source} already has a journal, {usual.resolve()}. Use that one; a new journal "
                "does not know what was sent. If everything in the file may be sent again, pass "
                "--force"
            )
        if usual.is_symlink():
            usual.unlink()
            _link(usual, journal)
    return journal


def _link(usual: Path, journal: Path) -> None:
    with suppress(OSError):  # a read-only folder, or a system without links
        usual.symlink_to(journal)
