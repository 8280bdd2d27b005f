"""The journal of an account on the command line: its place, its care, and what it is held against.

The default place is a file in the user's data directory for each base URL and API key. Its name has
a fingerprint of the key, never the key.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import anyio
from cyclopts import Parameter, Token

from chat2pay_async._cli.options import ExitCode, JournalOptions
from chat2pay_async._config import base_url_of, key_of
from chat2pay_async._journal.schema import read_account
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async.errors import ConfigurationError, JournalError

__all__ = ["backup", "check", "open_store", "path", "path_of", "prune"]

_FOLDER: Final = "journals"


def path_of(options: JournalOptions) -> Path:
    """Find the journal of the account: the one that is named, or the default one.

    Raises:
        ConfigurationError: It is not clear which one it is.
    """
    named = options.journal or os.environ.get("CHAT2PAY_JOURNAL", "").strip()
    if named:
        return Path(named).absolute()
    base_url = base_url_of(options.base_url)
    key = os.environ.get("CHAT2PAY_API_KEY", "").strip()
    fingerprint = key_of(key).fingerprint if key else None
    folder = _folder()
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", base_url.partition("://")[2])
    known = list(_known(folder, host))
    mine = [one.path for one in known if one.fingerprint == fingerprint]
    # A first attempt with a wrong key binds nothing.
    mine += [one.path for one in known if not one.is_used]
    used = sorted(one.path for one in known if one.is_used)
    if fingerprint is None:
        if len(known) == 1:
            return known[0].path
        why = "there are several" if known else "there is none yet"
        raise ConfigurationError(
            f"it is not known which journal is meant ({why}): set CHAT2PAY_API_KEY, or pass "
            "--journal"
        )
    if mine:
        return mine[0]
    if not used or options.new_account:
        return folder / f"{host}_{fingerprint}.db"
    if options.new_key and len(used) == 1:
        return used[0]
    raise ConfigurationError(_ask_whose(base_url, used))


class _Known(NamedTuple):
    path: Path
    fingerprint: str
    is_used: bool


def _folder() -> Path:
    import platformdirs  # noqa: PLC0415 - only the default place needs it

    folder = platformdirs.user_data_path("chat2pay", appauthor=False) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _known(folder: Path, host: str) -> Iterator[_Known]:
    """Find the journals of a host, each with the fingerprint of the key that it was used with."""
    for path in sorted(folder.glob(f"{host}_*.db")):
        try:
            account, is_used = read_account(path)
        except JournalError:  # whoever it belongs to is told when it is opened
            yield _Known(path, path.stem.rpartition("_")[2], is_used=True)
        else:
            yield _Known(path, account.key_fingerprint, is_used)


def _ask_whose(base_url: str, known: Sequence[Path]) -> str:
    paths = ", ".join(map(str, known))
    which = "" if len(known) == 1 else " --journal PATH"
    return (
        f"this API key was not used with {base_url} before, but another key was ({paths}). If the "
        f"key of that account was changed, pass --new-key{which}: what was sent with the old key "
        "is then not sent again. If this is another account, pass --new-account"
    )


@asynccontextmanager
async def open_store(options: JournalOptions) -> AsyncGenerator[SQLiteStore]:
    """Open a journal that is there, for whoever it belongs to; no key is needed.

    Raises:
        JournalError: There is none, or it can't be used.
    """
    place = path_of(options)
    account, _is_used = read_account(place)
    store = SQLiteStore(place, accept_loss=options.accept_loss)
    await store.open(account)
    try:
        yield store
    finally:
        await store.aclose()


def _with_store(
    options: JournalOptions, work: Callable[[SQLiteStore], Coroutine[Any, Any, int]]
) -> int:
    async def main() -> int:
        async with open_store(options) as store:
            return await work(store)

    return anyio.run(main)


# Care --------------------------------------------------------------------------------------------


def path(*, options: JournalOptions = JournalOptions()) -> int:
    """Print the path of the journal."""
    from chat2pay_async._cli.printing import Printer  # noqa: PLC0415 - rich takes a while

    place = path_of(options)
    printer = Printer(as_json=options.json)
    if options.json:
        printer.json({"journal": str(place), "exists": place.exists()})
    else:
        printer.text(str(place))
    return ExitCode.DONE


def backup(destination: Path, /, *, options: JournalOptions = JournalOptions()) -> int:
    """Copy the journal, also while it is in use.

    A backup that is used in the place of its journal lacks what came after it, and is only taken
    with --accept-loss.

    Parameters
    ----------
    destination
        New file.
    """

    async def work(store: SQLiteStore) -> int:
        await store.backup(destination)
        return ExitCode.DONE

    return _with_store(options, work)


def check(*, trust: bool = False, options: JournalOptions = JournalOptions()) -> int:
    """Look for damage, and count what is open.

    The exit code is 3 if the journal is damaged, or lacks a part that was accepted as lost.

    Parameters
    ----------
    trust
        Trust a journal again of which a part was lost: items that it does not know are sent without
        a look-up.
    """
    from chat2pay_async._cli.printing import Printer  # noqa: PLC0415 - rich takes a while

    async def work(store: SQLiteStore) -> int:
        if trust:
            await store.clear_loss()
        found = await store.check()
        printer = Printer(as_json=options.json)
        printer.fields(
            f"Journal {store.path}",
            {
                "journal": str(store.path),
                "sound": found.is_sound,
                "lossy": found.is_lossy,
                "rows": found.rows,
                "open_rows": found.open_rows,
                "other_sessions": found.sessions - 1,
            },
        )
        return ExitCode.DONE if found.is_sound and not found.is_lossy else ExitCode.PROBLEMS

    return _with_store(options, work)


def _days(_kind: object, tokens: Sequence[Token]) -> timedelta:
    """Read a number of days, such as 400d."""
    found = re.fullmatch(r"([0-9]{1,5})d", tokens[0].value)
    if found is None or not int(found[1]):
        raise ValueError("Must be a number of days, such as 400d.")
    return timedelta(days=int(found[1]))


def prune(
    *,
    older_than: Annotated[timedelta, Parameter(converter=_days)],
    options: JournalOptions = JournalOptions(),
) -> int:
    """Delete what ended long ago.

    Open items stay. What is deleted is not known any more: the same order would be sent again.

    Parameters
    ----------
    older_than
        Age, such as 400d.
    """
    from chat2pay_async._cli.printing import Printer  # noqa: PLC0415 - rich takes a while

    async def work(store: SQLiteStore) -> int:
        printer = Printer(as_json=options.json)
        gone = await store.prune(older_than)
        if options.json:
            printer.json({"pruned": gone})
        else:
            printer.text(f"{gone:,} items deleted")
        return ExitCode.DONE

    return _with_store(options, work)
