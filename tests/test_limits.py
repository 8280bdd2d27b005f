"""The gate: how many at a time, in which order, and on which event loop."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.abc
import pytest

from chat2pay_async._limits import Gate
from chat2pay_async.errors import ConfigurationError

anyio_test = pytest.mark.anyio


class Visitors:
    """Tasks that pass a gate, and stay inside until they are let go."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.arrived: list[int] = []
        self.inside = 0
        self.most = 0
        self.leave = anyio.Event()

    async def visit(self, number: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        # Between `started` and the gate is no checkpoint: whoever has started stands in the queue.
        task_status.started()
        async with self.gate:
            self.arrived.append(number)
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await self.leave.wait()
            finally:
                self.inside -= 1


async def is_free(gate: Gate) -> bool:
    """Whether a place is free at this moment."""
    visitors = Visitors(gate)
    async with anyio.create_task_group() as tasks:
        await tasks.start(visitors.visit, 0)
        tasks.cancel_scope.cancel()
    return visitors.arrived == [0]


@anyio_test
@pytest.mark.parametrize("size", [1, 3, 7])
async def test_no_more_pass_than_there_are_places(size: int) -> None:
    visitors = Visitors(Gate(size))
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            await tasks.start(visitors.visit, number)
        assert visitors.inside == size
        visitors.leave.set()
    assert visitors.most == size
    assert visitors.inside == 0
    assert sorted(visitors.arrived) == list(range(20))


@anyio_test
async def test_first_come_is_first_served() -> None:
    visitors = Visitors(Gate(1))
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            await tasks.start(visitors.visit, number)
        visitors.leave.set()
    assert visitors.arrived == list(range(50))


@anyio_test
async def test_a_place_is_free_again_after_an_error() -> None:
    gate = Gate(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with gate:
                raise ZeroDivisionError
    assert await is_free(gate)


@anyio_test
async def test_a_place_is_free_again_after_a_cancellation_inside() -> None:
    gate = Gate(1)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Visitors(gate).visit, 1)
        assert not await is_free(gate)
        tasks.cancel_scope.cancel()
    assert await is_free(gate)


@anyio_test
async def test_whoever_is_cancelled_in_the_queue_takes_no_place_with_them() -> None:
    visitors = Visitors(Gate(1))
    async with anyio.create_task_group() as tasks:
        await tasks.start(visitors.visit, 1)
        async with anyio.create_task_group() as impatient:
            for number in (2, 3, 4):
                await impatient.start(visitors.visit, number)
            impatient.cancel_scope.cancel()
        await tasks.start(visitors.visit, 5)
        visitors.leave.set()
    assert visitors.arrived == [1, 5]
    assert await is_free(visitors.gate)


@anyio_test
async def test_a_gate_serves_any_number_of_visitors_one_after_another() -> None:
    gate = Gate(2)
    passed = 0
    for _ in range(100):
        async with gate:
            passed += 1
    assert passed == 100


async def _pass(gate: Gate) -> None:
    async with gate:
        pass


@pytest.mark.parametrize("first", ["asyncio", "trio"])
@pytest.mark.parametrize("second", ["asyncio", "trio"])
def test_a_second_event_loop_is_told_so(first: str, second: str) -> None:
    gate = Gate(1)
    anyio.run(_pass, gate, backend=first)
    with pytest.raises(ConfigurationError, match=r"another event loop.*one client for each loop"):
        anyio.run(_pass, gate, backend=second)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_gate_is_made_outside_any_loop_and_used_by_the_first(backend: str) -> None:
    async def twice(gate: Gate) -> bool:
        await _pass(gate)
        await _pass(gate)
        return await is_free(gate)

    assert anyio.run(twice, Gate(1), backend=backend)


def test_a_refused_loop_takes_no_place() -> None:
    gate = Gate(1)

    async def refused_then_used() -> bool:
        await _pass(gate)
        with pytest.raises(ConfigurationError):
            await anyio.to_thread.run_sync(anyio.run, _pass, gate)
        return await is_free(gate)

    assert anyio.run(refused_then_used)


@pytest.mark.parametrize("size", [0, -1, True, False, 1.0, "10", None, float("inf")], ids=repr)
def test_a_gate_without_places_is_refused(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_connections must be an int, 1 or more"):
        Gate(size)
