"""A call that is cancelled at one of its suspensions: whatever comes between two of them."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

import anyio
import attrs

__all__ = ["CancelledAt"]

T = TypeVar("T")


@attrs.define
class CancelledAt(Generic[T]):
    """Awaits something, and cancels a scope when it suspends for the n-th time."""

    awaitable: Awaitable[T]
    scope: anyio.CancelScope
    step: int
    steps: int = 0
    """Number of times that it has suspended."""

    def __await__(self) -> Generator[Any, Any, T]:
        """Pass on what the loop sends and throws."""
        inner: Any = self.awaitable.__await__()
        sent, error = None, None
        while True:
            try:
                trap = inner.send(sent) if error is None else inner.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            self.steps += 1
            if self.steps == self.step:
                self.scope.cancel()
            sent, error = None, None
            try:
                sent = yield trap
            except BaseException as thrown:  # noqa: BLE001 - it is passed on
                error = thrown
