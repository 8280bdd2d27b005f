"""Log lines of httpx and httpcore: whatever a filter or handler raises, they take nothing away.

Both log in the middle of an exchange, httpx right after the response has come. A filter that raises
there would lose a response: logging catches what a handler's `emit` raises, but not what a filter
does.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from contextvars import ContextVar
from typing import Final

__all__ = ["contain_log_lines", "contained_log_lines"]

_LOGGERS: Final = [
    logging.getLogger(name + version + part)
    for version in ("", "2")
    for name, parts in (
        ("httpx", ("",)),
        ("httpcore", (".connection", ".http11", ".http2", ".proxy", ".socks")),
    )
    for part in parts
] + [logging.getLogger("hpack.hpack"), logging.getLogger("hpack.table")]

_logger = logging.getLogger("chat2pay_async.calls")
_exchanging: ContextVar[bool] = ContextVar("exchanging", default=False)


class _Contain(logging.Filter):
    """Handles an exchange's log lines itself; those of anybody else pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not _exchanging.get():
            return True
        _exchanging.set(False)
        try:
            logging.getLogger(record.name).handle(record)  # once more, and now it passes
        except Exception:  # a payment's fate is not a log line's to decide
            with contextlib.suppress(Exception):  # our own logger may fail likewise
                _logger.exception("a log line of %s failed", record.name)
        finally:
            _exchanging.set(True)
        return False


_CONTAIN: Final = _Contain()


def contain_log_lines() -> None:
    """Make ready: put the filter before all others, which may be what raises."""
    for logger in _LOGGERS:
        logger.removeFilter(_CONTAIN)
        logger.filters.insert(0, _CONTAIN)


@contextlib.contextmanager
def contained_log_lines() -> Generator[None]:
    """Contain what the log lines of an exchange raise, in this task."""
    before = _exchanging.get()
    _exchanging.set(True)
    try:
        yield
    finally:
        _exchanging.set(before)
