"""Standard output, which takes every character; what it can't take is an error in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

__all__ = ["Output", "OutputError", "print_error", "set_up", "writing"]


class OutputError(OSError):
    """Standard output can't be written. There is no text where its reader has closed it."""


def print_error(text: str) -> None:
    """Write a line to standard error."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def set_up(*, for_programs: bool) -> None:
    """Let standard output take every character, whatever encoding the environment wants.

    Args:
        for_programs: Whether programs read it: they get UTF-8, as in JSON and our CSV files. A
            person's terminal keeps its encoding, and shows as an escape what that lacks.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is None:  # another program has put its own stream there
        return
    if for_programs:
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
    else:
        reconfigure(errors="backslashreplace")


@contextmanager
def writing(console: Console | None = None) -> Generator[None]:
    """Guard what writes to standard output: after the first failure, nothing more is written.

    Args:
        console: Silenced after a failure.

    Raises:
        OutputError: Standard output can't be written.
    """
    try:
        yield
    except OSError as error:
        if console is not None:
            console.quiet = True
        # Python would try to write what is left when the process ends, and change the exit code.
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(null, sys.stdout.fileno())
            finally:
                os.close(null)
        if isinstance(error, BrokenPipeError):
            raise OutputError from None
        raise OutputError(f"standard output can't be written: {error.strerror or error}") from None


class Output(Console):
    """Standard output, as rich writes to it."""

    def __init__(self, *, for_programs: bool) -> None:
        """Set it up.

        Args:
            for_programs: Whether programs read it.
        """
        set_up(for_programs=for_programs)
        super().__init__()

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, or raise an `OutputError`."""
        with writing(self):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Let what is in progress end properly, instead of exiting at once as rich does.

        Raises:
            BrokenPipeError: In any case.
        """
        raise BrokenPipeError
