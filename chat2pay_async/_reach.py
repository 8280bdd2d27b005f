"""The hosts that clients may reach: all of them, or while tests run this machine alone.

`chat2pay_async.pytest_plugin` decides it. Every start of pytest imports this, so it needs nothing
but a little of the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["LOOPBACK_ONLY", "limited_to_loopback", "reach"]

LOOPBACK_ONLY: Final = "CHAT2PAY_LOOPBACK_ONLY"
"""The environment's variable that processes inherit."""


class Reach:
    """The hosts that this process's clients may reach."""

    def __init__(self) -> None:
        # Kept here, too: tests empty the environment.
        self.is_loopback_only = os.environ.get(LOOPBACK_ONLY, "0") not in {"", "0"}


reach: Final = Reach()


@contextmanager
def limited_to_loopback(*, limited: bool) -> Generator[None]:
    """Let this process's clients, and those of processes that it starts, reach this machine alone.

    Args:
        limited: False to let them reach every host.
    """
    before, inherited = reach.is_loopback_only, os.environ.get(LOOPBACK_ONLY)
    _set("1" if limited else None, limited=limited)
    try:
        yield
    finally:
        _set(inherited, limited=before)


def _set(inherited: str | None, *, limited: bool) -> None:
    reach.is_loopback_only = limited
    os.environ.pop(LOOPBACK_ONLY, None)
    if inherited is not None:
        os.environ[LOOPBACK_ONLY] = inherited
