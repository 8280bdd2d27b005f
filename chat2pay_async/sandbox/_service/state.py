"""The state of a sandbox in an SQLite file, so that it survives a restart."""

import gc
import hashlib
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._service.ledger import Effect
from chat2pay_async.sandbox._service.records import Currency, Integrator, Transaction

_APPLICATION: Final = 0x63_32_70_73
"""Tells the file of a sandbox from any other of SQLite's: "c2ps"."""
_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, ref TEXT NOT NULL, record BLOB NOT NULL,
    UNIQUE (account, ref)
);
CREATE TABLE effects (id INTEGER PRIMARY KEY, account TEXT NOT NULL, record BLOB NOT NULL);
CREATE TABLE accounts (account TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE clock (ahead REAL NOT NULL);
INSERT INTO clock VALUES (0);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""  # noqa: S608 - two numbers, and ours
# No amount passes through a float.
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """The settings of an account, which are kept besides its transactions and effects.

    Attributes:
        currencies: Empty unless they were changed.
    """

    updated: datetime
    integrators: tuple[Integrator, ...]
    undeliverable: frozenset[str] = frozenset()
    currencies: tuple[Currency, ...] = ()


_read_transaction: Final = msgspec.json.Decoder(Transaction, float_hook=Decimal).decode
_read_effect: Final = msgspec.json.Decoder(Effect).decode
_read_account: Final = msgspec.json.Decoder(AccountRecord).decode


@contextmanager
def uncollected() -> Generator[None]:
    """Read many records in less than half the time: none of them is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class StateFile:
    """The file. One process has it at a time; it does not lock between threads.

    Args:
        path: The file, which is made if it is not there.

    Raises:
        SandboxError: Another process has it, or it is not the state of a sandbox.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except sqlite3.Error as error:
            self._db.close()
            raise SandboxError(f"{os.fspath(path)} can't be used as state: {error}") from error
        except SandboxError as error:
            self._db.close()
            raise SandboxError(f"{os.fspath(path)} {error}") from None

    def _open(self) -> None:
        # The lock is held until the file is closed; what was written outlives the process.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            self._db.execute(f"PRAGMA {pragma}")
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if not tables and not application:
            self._db.executescript(_SCHEMA)
        elif application != _APPLICATION:
            raise SandboxError("is another program's file, not the state of a sandbox")
        elif version != _VERSION:
            raise SandboxError(f"is of another version of the sandbox ({version})")

    @property
    def ahead(self) -> timedelta:
        """The time by which the clock was moved."""
        (seconds,) = self._db.execute("SELECT ahead FROM clock").fetchone()
        return timedelta(seconds=seconds)

    @ahead.setter
    def ahead(self, time: timedelta) -> None:
        self._db.execute("UPDATE clock SET ahead = ?", (time.total_seconds(),))

    def account(self, api_key: str) -> "AccountState":
        """Return the part of one account. The key itself is not written."""
        return AccountState(self._db, hashlib.sha256(api_key.encode()).hexdigest())

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class AccountState:
    """The part of one account in the file."""

    def __init__(self, db: sqlite3.Connection, account: str) -> None:
        self._db = db
        self._account = account

    def transactions(self) -> Iterator[Transaction]:
        """Read every transaction, oldest first."""
        return (_read_transaction(record) for record in self._records("transactions"))

    def effects(self) -> Iterator[Effect]:
        """Read every effect, oldest first."""
        return (_read_effect(record) for record in self._records("effects"))

    def _records(self, table: str) -> Iterator[bytes]:
        query = f"SELECT record FROM {table} WHERE account = ? ORDER BY id"  # noqa: S608 - ours
        for (record,) in self._db.execute(query, (self._account,)):
            yield record

    def record(self) -> AccountRecord | None:
        """Read the rest; None for a new account."""
        query = "SELECT record FROM accounts WHERE account = ?"
        found = self._db.execute(query, (self._account,)).fetchone()
        return None if found is None else _read_account(found[0])

    def keep(self, link: Transaction | None, effects: Iterable[Effect]) -> None:
        """Write a change, as a whole or not at all."""
        with self._db:  # commits, or rolls back
            self._db.execute("BEGIN")
            if link is not None:
                self._db.execute(
                    "INSERT INTO transactions (account, ref, record) VALUES (?, ?, ?) "
                    "ON CONFLICT (account, ref) DO UPDATE SET record = excluded.record",
                    (self._account, link.ref, _encode(link)),
                )
            self._db.executemany(
                "INSERT INTO effects (account, record) VALUES (?, ?)",
                [(self._account, _encode(effect)) for effect in effects],
            )

    def keep_record(self, record: AccountRecord) -> None:
        """Write the rest."""
        self._db.execute(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?)", (self._account, _encode(record))
        )
