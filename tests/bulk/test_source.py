"""Source of a run: any iterable or async iterable."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

import anyio
import pytest

from chat2pay_async import ConfigurationError
from chat2pay_async._bulk.source import read

pytestmark = pytest.mark.anyio


class Pages:
    """Iterable that makes a generator for each reading."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(3):
                self.given += 1
                yield number
        finally:
            self.closed = True


class AsyncPages:
    """Async iterable that waits between its items, and when it is closed."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> AsyncGenerator[int]:
        try:
            for number in range(3):
                await anyio.lowlevel.checkpoint()
                self.given += 1
                yield number
        finally:
            await anyio.lowlevel.checkpoint()
            self.closed = True


class Cursor:
    """Async iterator that has nothing to close."""

    def __init__(self) -> None:
        self.left = [0, 1, 2]

    def __aiter__(self) -> AsyncIterator[int]:
        return Counter(self.left)


class Counter:
    def __init__(self, left: list[int]) -> None:
        self.left = left

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


def generator() -> Generator[int]:
    yield from range(3)


async def async_generator() -> AsyncGenerator[int]:
    for number in range(3):
        yield number


@pytest.mark.parametrize(
    "make",
    [
        lambda: [0, 1, 2],
        lambda: (0, 1, 2),
        lambda: range(3),
        lambda: dict.fromkeys(range(3)),
        generator,
        lambda: map(int, "012"),
        Pages,
        async_generator,
        AsyncPages,
        Cursor,
        lambda: Counter([0, 1, 2]),
    ],
)
async def test_a_source_is_any_iterable_or_async_iterable(make: Any) -> None:
    assert [item async for item in read(make())] == [0, 1, 2]


@pytest.mark.parametrize("source", [None, 3, "A-1", b"A-1", object(), AsyncPages, lambda: [1]])
async def test_a_source_that_is_not_iterable_is_refused_by_its_type(source: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await anext(read(source))
    assert str(caught.value) == (
        f"a run's items come from an iterable or an async one, not from {type(source).__name__}"
    )


@pytest.mark.parametrize("kind", [Pages, AsyncPages])
async def test_a_source_is_read_one_at_a_time_and_closed_with_the_reading(kind: Any) -> None:
    pages = kind()
    async with aclosing(read(pages)) as items:
        assert pages.given == 0
        assert await anext(items) == 0
        assert (pages.given, pages.closed) == (1, False)
    assert (pages.given, pages.closed) == (1, True)


async def test_a_source_is_closed_completely_in_a_cancelled_task() -> None:
    pages = AsyncPages()
    with anyio.CancelScope() as scope:
        async with aclosing(read(pages)) as items:
            await anext(items)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert pages.closed


async def test_a_callers_generator_is_not_closed() -> None:
    with closing(generator()) as given:
        async with aclosing(read(given)) as items:
            assert await anext(items) == 0
        assert next(given) == 1


async def test_a_callers_async_generator_is_not_closed() -> None:
    async with aclosing(async_generator()) as given:
        async with aclosing(read(given)) as items:
            assert await anext(items) == 0
        assert await anext(given) == 1


async def test_an_error_of_the_source_is_raised_unchanged() -> None:
    broken = ZeroDivisionError("row 7")

    def failing() -> Generator[int]:
        yield 0
        raise broken

    with pytest.raises(ZeroDivisionError) as caught:
        [item async for item in read(failing())]
    assert caught.value is broken
