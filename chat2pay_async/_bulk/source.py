"""Source of a run: any iterable or async iterable, read by one task, one item at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any, Generic, TypeVar

import anyio
import attrs

from chat2pay_async.errors import ConfigurationError

__all__ = ["Keyed", "read"]

T = TypeVar("T")


@attrs.frozen
class Keyed(Generic[T]):
    """Item of a run with a key or a line of its own.

    A key of its own is for what is done twice on purpose, such as a second link for one order.
    """

    request: T
    """A request, or a reference, as the run takes it."""
    idempotency_key: str | None = None
    """The key; None: that of the request."""
    line: int | None = None
    """The row of the file that it comes from, for reports."""


async def read(source: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T]:
    """Read a source to its end, or until this generator is closed.

    An iterator that the source makes for this reading is closed with it; one that the caller made
    is left open.

    Raises:
        ConfigurationError: The source is not iterable.
    """
    given: object = source
    if isinstance(given, AsyncIterable):
        items: Any = aiter(given)
        try:
            async for item in items:
                yield item
        finally:
            if items is not given and hasattr(items, "aclose"):
                with anyio.CancelScope(shield=True):
                    await items.aclose()
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        iterator: Any = iter(given)
        try:
            for item in iterator:
                yield item
        finally:
            if iterator is not given and hasattr(iterator, "close"):
                iterator.close()
    else:
        raise ConfigurationError(
            f"a run's items come from an iterable or an async one, not from {type(given).__name__}"
        )
