"""Settings of a journal, as a client takes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import attrs

from chat2pay_async._journal.store import Store
from chat2pay_async.errors import ConfigurationError

__all__ = ["Journal", "as_journal", "store_of"]

_KEEPS = ("all", "results")


def _path(value: Any) -> Path:
    if isinstance(value, str) and "://" in value:
        raise ConfigurationError(
            "a journal is a file of this machine: pass its path. Databases are not known to this "
            "version"
        )
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise ConfigurationError("journal must be a path, or a Journal")
    return Path(value).absolute()


@attrs.frozen
class Journal:
    """A journal, where more than its path matters: `AsyncChat2Pay(journal=Journal("payments.db"))`.

    Raises:
        ConfigurationError: A setting can't work.
    """

    path: Path = attrs.field(converter=_path)
    """An SQLite file on a local disk, which is made if it is not there."""
    keep: Literal["all", "results"] = attrs.field(default="all", kw_only=True)
    """`"results"` replaces a finished call's request, with its phone number, by digests."""
    new_key: bool = attrs.field(default=False, kw_only=True)
    """Take a journal that was used with another API key: the account's key was changed."""
    accept_loss: bool = attrs.field(default=False, kw_only=True)
    """Take a journal whose latest commits are lost, or begin anew in the place of one that is lost:
    then everything is looked up before it is sent, until `chat2pay journal check --trust`."""

    def __attrs_post_init__(self) -> None:
        if self.keep not in _KEEPS:
            raise ConfigurationError(f"keep must be one of {', '.join(_KEEPS)}")


def store_of(journal: Journal) -> Store:
    """Make the store of a journal, which is still to be opened."""
    # SQLite is loaded where there is a journal.
    from chat2pay_async._journal.sqlite_store import SQLiteStore  # noqa: PLC0415

    return SQLiteStore(
        journal.path,
        keep=journal.keep,
        new_key=journal.new_key,
        accept_loss=journal.accept_loss,
    )


def as_journal(journal: object) -> Journal | None:
    """Read what a client was given.

    Raises:
        ConfigurationError: It can't be a journal.
    """
    if journal is None or isinstance(journal, Journal):
        return journal
    return Journal(_path(journal))
