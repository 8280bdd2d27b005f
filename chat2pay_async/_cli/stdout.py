"""Standard output: it takes every text, and what it can't take at all is an error in a line."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

from rich.console import Console

__all__ = ["Output", "OutputError", "set_up", "writing"]


class OutputError(OSError):
    """Standard output takes nothing any more: its disk is full, or whoever read it has gone."""


def set_up(*, for_programs: bool) -> None:
    """Let standard output take every character, whatever encoding the environment wants.

    Args:
        for_programs: Whether programs read it: they get UTF-8, as JSON and our CSV files are. A
            person's terminal keeps its encoding, and shows as an escape what that lacks.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is None:  # it is somebody else's
        return
    if for_programs:
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
    else:
        reconfigure(errors="backslashreplace")


@contextmanager
def writing(console: Console | None = None) -> Generator[None]:
    """Around what writes to standard output: after the first failure, nothing is written any more.

    Args:
        console: What writes to it.

    Raises:
        OutputError: It takes nothing any more.
    """
    try:
        yield
    except BrokenPipeError:
        _give_up(console)
        raise OutputError("nobody reads standard output any more") from None
    except OSError as error:
        _give_up(console)
        raise OutputError(f"standard output can't be written: {error.strerror or error}") from None


def _give_up(console: Console | None) -> None:
    if console is not None:
        console.quiet = True
    # What it still holds would be tried again when the process ends, and change its exit code.
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, sys.stdout.fileno())
        finally:
            os.close(nowhere)


class Output(Console):
    """Standard output, as rich writes to it."""

    def __init__(self, *, for_programs: bool) -> None:
        """Set it up.

        Args:
            for_programs: Whether programs read it.
        """
        set_up(for_programs=for_programs)
        super().__init__()

    def on_broken_pipe(self) -> None:
        """Whoever read it has gone: let what is under way end properly.

        Raises:
            BrokenPipeError: Instead of the exit at once that rich would make of it.
        """
        raise BrokenPipeError
