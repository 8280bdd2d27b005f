"""A private copy of a file: what is checked is what is sent, whatever happens to the file.

A file that another program writes anew during a run would otherwise be read half in its old version
and half in its new one. Standard input is copied, too, since it can be read only once.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import tempfile
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Literal, Self

import attrs

from chat2pay_async.errors import ConfigurationError

__all__ = ["Source", "pin"]

MOST_BYTES: Final = 2 * 2**30
"""The most that a compressed file, or standard input, may have: it is copied to the disk."""
_IN_MEMORY = 2**20
_BLOCK = 2**20
_STANDARD_INPUT = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_COMPRESSED = frozenset(
    {".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".lz4", ".lzma", ".tar", ".tgz", ".br", ".z"}
)


@attrs.frozen(eq=False, repr=False)
class Source:
    """A private copy of a file. It has no name, and is gone when it is closed."""

    path: Path
    """The file that was copied."""
    ending: str
    """The ending of its name that says its kind, such as `.csv` of `spring.csv.gz`."""
    _copy: IO[bytes]
    _seen: tuple[int, ...] = ()
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __str__(self) -> str:
        return str(self.path)

    def open(self, _mode: Literal["rb"] = "rb", /) -> BinaryIO:
        """Begin a reading of its own, from the first byte."""
        return io.BufferedReader(_Reading(self._copy, self._lock), _BLOCK)

    def change(self) -> str:
        """Describe a change of the file since it was copied; empty if there was none."""
        if not self._seen or _identity_of(self.path) == self._seen:
            return ""
        return (
            f"{self.path} was changed or replaced after it was checked. The version that was "
            "checked was used; the changes were not"
        )

    def close(self) -> None:
        """Delete the copy."""
        self._copy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def pin(path: Path) -> Source:
    """Copy a file, or standard input if the path is `-`.

    Raises:
        ConfigurationError: It is no regular file, can't be read or unpacked, or was changed while
            it was copied.
    """
    if str(path) in _STANDARD_INPUT:
        return _standard_input()
    name = path.name.lower()
    is_packed = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    if Path(name).suffix in _COMPRESSED:
        raise ConfigurationError(
            f"{path}: is compressed: unpack it and pass the file that is in it (only .gz is "
            "unpacked here)"
        )
    with _explained(path), _regular(path) as file:
        seen = _identity(os.fstat(file.fileno()))
        if is_packed:
            with gzip.GzipFile(fileobj=file) as opened:
                unpacked: Any = opened
                copy = _copied(path, unpacked, MOST_BYTES)
        else:
            copy = _copied(path, file, None)
        try:
            _refuse_if_changed(path, seen, None if is_packed else copy.tell())
        except BaseException:
            copy.close()
            raise
    return Source(path, ending, copy, seen)


def _standard_input() -> Source:
    path = Path("-")
    stream: Any = sys.stdin
    if stream is None or stream.isatty():
        raise ConfigurationError(
            "-: standard input is not redirected: pass a file, or pipe one into this command"
        )
    with _explained(path):
        copy = _copied(path, stream.buffer, MOST_BYTES)
    copy.seek(0)
    # No column of a table begins with a brace.
    is_json = copy.read(_BLOCK).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    return Source(path, ".jsonl" if is_json else ".csv", copy)


@contextmanager
def _explained(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise ConfigurationError(
            f"{path}: is damaged or cut off, and can't be unpacked: get a new copy of it"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror or error}") from error


@contextmanager
def _regular(path: Path) -> Generator[IO[bytes], None, None]:
    """Open a file, unless that could block for ever, or have effects."""
    _refuse_odd_kinds(path, path.stat().st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _refuse_odd_kinds(path, os.fstat(file.fileno()).st_mode)  # it may have been replaced
        yield file


def _refuse_odd_kinds(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ConfigurationError(f"{path}: is a folder: pass one file")
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise ConfigurationError(
            f"{path}: is {kind}, not a file: save its content in a file, or pass - and pipe it "
            "into standard input"
        )


def _copied(path: Path, file: IO[bytes], limit: int | None) -> IO[bytes]:
    copy: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - Source closes it
    try:
        while block := file.read(_BLOCK):
            copy.write(block)
            _refuse_if_large(path, copy.tell(), limit)
    except BaseException:
        copy.close()
        raise
    return copy


def _refuse_if_large(path: Path, size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise ConfigurationError(f"{path}: has more than {limit / 2**30:g} GiB: split it")


def _refuse_if_changed(path: Path, seen: tuple[int, ...], copied: int | None) -> None:
    if _identity_of(path) != seen or copied not in (None, seen[2]):
        raise ConfigurationError(
            f"{path}: was changed while it was read: wait until the program that writes it has "
            "finished, then run the same command again"
        )


def _identity_of(path: Path) -> tuple[int, ...]:
    try:
        return _identity(path.stat())
    except OSError:
        return ()


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Reading(io.RawIOBase):
    """A reading of a file that others read at the same time, each at a place of its own."""

    def __init__(self, file: IO[bytes], lock: threading.Lock) -> None:
        self._file, self._lock, self._place = file, lock, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._lock:
            self._file.seek(self._place)
            block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._place += len(block)
        return len(block)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._lock:
            end = self._file.seek(0, os.SEEK_END)
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: end}[whence]
        self._place = start + offset
        return self._place
