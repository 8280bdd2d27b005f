"""Sessions: each store that is open holds a lock on a file of its own, beside the journal.

The system drops the lock when the process dies, however it dies, and keeps it while the process is
frozen. It is a lock of the open file (`flock`): nothing else that the process does with the journal
takes it away, as it would a POSIX lock.

The file also has the number of the latest commit that its process was told to be durable. So a
journal whose write-ahead log is missing, cut or older is noticed: it has fewer commits.
"""

from __future__ import annotations

import os
import secrets
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from weakref import WeakSet

from chat2pay_async._journal.schema import sync_folder
from chat2pay_async.errors import JournalError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no such lock
    fcntl = None  # type: ignore[assignment]

__all__ = ["Session", "Sessions"]

_DIGITS: Final = 20
_open: WeakSet[Session] = WeakSet()


class Session:
    """One store's use of a journal, from now until it is closed or the process dies."""

    def __init__(self, path: Path) -> None:
        """Begin a session with its file.

        Raises:
            OSError: The file can't be made.
        """
        assert fcntl is not None  # noqa: S101 - `Sessions` has seen to it
        self.id = path.name
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # whoever asks for it now lets go at once
        _open.add(self)

    @property
    def is_open(self) -> bool:
        """True until it is closed."""
        return self._file >= 0

    def note(self, commit: int) -> None:
        """Note the number of a commit that is durable."""
        os.pwrite(self._file, f"{commit:0{_DIGITS}}".encode(), 0)

    def close(self) -> None:
        """End the session; its file goes."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        self.drop()

    def drop(self) -> None:
        """Let go of the lock, as the process's death would."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _leave_to_the_parent() -> None:
    """Close a child's copies of the files: the lock would outlive the parent."""
    for session in list(_open):
        session.drop()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_leave_to_the_parent)


class Sessions:
    """The files of all sessions of a journal."""

    def __init__(self, journal: Path) -> None:
        self._folder = journal.with_name(f"{journal.name}-sessions")
        self._base = journal.with_name(f"{journal.name}-counter")

    def begin(self) -> Session:
        """Begin a session.

        Raises:
            JournalError: The system has no locks of open files.
            OSError: Its file can't be made.
        """
        if fcntl is None:
            raise JournalError(
                "a journal needs a system with flock (Linux, macOS, BSD): without it nobody could "
                "tell which processes are alive"
            )
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return Session(self._folder / secrets.token_hex(8))

    def is_alive(self, name: str) -> bool:
        """Tell whether a session's process lives, and has not closed it."""
        try:
            file = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        assert fcntl is not None  # noqa: S101 - there are no sessions without it
        try:
            # Shared, so that two who ask don't take each other for its owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def names(self) -> list[str]:
        """List the sessions that have a file."""
        try:
            return sorted(path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return []

    def clean(self) -> None:
        """Remove the files of dead sessions. What they noted is in the base by then."""
        for name in self.names():
            if not self.is_alive(name):
                with suppress(FileNotFoundError):
                    (self._folder / name).unlink()

    # Commits ---------------------------------------------------------------------------------

    @property
    def has_base(self) -> bool:
        """True if the file with the least number of commits is there."""
        return self._base.exists()

    def noted(self) -> int:
        """Return the greatest number of commits that any session noted."""
        files = [self._base, *(self._folder / name for name in self.names())]
        return max(_number_in(file) for file in files)

    def begin_base(self) -> None:
        """Make the file of the least number, unless it is there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with suppress(FileExistsError):
            os.close(os.open(self._base, flags, 0o600))
            sync_folder(self._base.parent)

    def raise_base(self, commit: int) -> None:
        """Note a number that outlives the sessions."""
        new = self._base.with_name(f"{self._base.name}.{secrets.token_hex(4)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with closing(os.fdopen(descriptor, "w")) as file:
            file.write(f"{commit:0{_DIGITS}}")
        new.replace(self._base)


def _number_in(file: Path) -> int:
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0
