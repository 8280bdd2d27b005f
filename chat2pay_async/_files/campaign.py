"""A file as the source of a run: checked whole before anything is sent, then read again.

It also knows which journal belongs to a file, so that the same command goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import attrs

from chat2pay_async._files.rows import Kind, RowFault, read_rows
from chat2pay_async.errors import ConfigurationError

__all__ = ["CampaignFile", "Check", "journal_for"]

Q = TypeVar("Q")


@attrs.frozen
class Check:
    """What the first reading of a file found."""

    good: int
    """Rows that are requests."""
    bad: int
    """Rows that are none."""
    faults: tuple[RowFault, ...]
    """What is wrong with the first of these."""


@attrs.frozen
class CampaignFile(Generic[Q]):
    """A file of rows."""

    SHOWN: ClassVar = 20
    path: Path
    kind: Kind[Q]
    ignore: tuple[str, ...] = ()
    """Columns that may be there and mean nothing."""
    skip_bad_rows: bool = False

    def check(self) -> Check:
        """Read it all once.

        Raises:
            ConfigurationError: The file as a whole can't be used.
        """
        good = bad = 0
        faults: list[RowFault] = []
        for row in read_rows(self.path, self.kind, self.ignore):
            if row.request is not None:
                good += 1
                continue
            bad += 1
            faults += row.faults[: self.SHOWN - len(faults)]
        return Check(good, bad, tuple(faults))

    def requests(self) -> Iterator[Q]:
        """Read its requests, as a run takes them.

        Raises:
            ConfigurationError: A row is none, and bad rows are not to be skipped: the file was
                changed since it was checked.
        """
        for row in read_rows(self.path, self.kind, self.ignore):
            if row.request is not None:
                yield row.request
            elif not self.skip_bad_rows:
                raise ConfigurationError(
                    f"{self.path} was changed while it was being sent: {row.faults[0]}"
                )


def journal_for(
    source: Path, what: str, given: Path | None, *, force: bool, look_only: bool = False
) -> Path:
    """The journal of a source: one beside it, or the given one.

    The place beside the source leads to a journal that is elsewhere, so that the same source is
    not sent again with another one.

    Args:
        source: The file with the items.
        what: What is done with them, such as `links`.
        given: A journal that was asked for.
        force: Whether a second journal for the same source is allowed.
        look_only: Whether nothing is to be left behind, since nothing will be sent.

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
        _lead(usual, journal)
    elif usual.resolve() != journal:
        if not force:
            raise ConfigurationError(
                f"{source} has a journal already, {usual.resolve()}: go on with that one, or say "
                "--force if everything in the file may be sent again. Across journals nothing "
                "protects from sending twice"
            )
        if usual.is_symlink():
            usual.unlink()
            _lead(usual, journal)
    return journal


def _lead(usual: Path, journal: Path) -> None:
    with suppress(OSError):  # a read-only folder, or a system without links
        usual.symlink_to(journal)
