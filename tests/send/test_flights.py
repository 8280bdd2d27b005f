"""Calls of one process that are under way, by their keys."""

from __future__ import annotations

import os
import threading
from typing import Any

import anyio
import pytest

from chat2pay_async._send.flights import Flights

CALL: Any = object()


@pytest.mark.anyio
async def test_whoever_comes_after_its_end_does_not_wait() -> None:
    flights = Flights("here")
    flight, is_first = flights.join("capture_payment", "ref-1", CALL)
    assert is_first
    flights.leave("capture_payment", "ref-1")
    await flight.ended()
    assert flights.find("capture_payment", "ref-1") is None


@pytest.mark.anyio
async def test_a_flight_that_another_has_ended_is_left_alone() -> None:
    flights = Flights("here")
    flights.leave("capture_payment", "ref-1")
    assert flights.join("capture_payment", "ref-1", CALL)[1]
    flights.leave("capture_payment", "ref-1")


def test_places_operations_and_keys_are_apart() -> None:
    flights, others = Flights("here"), Flights("there")
    joined = [
        flights.join("capture_payment", "ref-1", CALL)[1],
        flights.join("capture_payment", "ref-2", CALL)[1],
        flights.join("reverse_payment", "ref-1", CALL)[1],
        others.join("capture_payment", "ref-1", CALL)[1],
        Flights("here").join("capture_payment", "ref-1", CALL)[1],
    ]
    assert joined == [True, True, True, True, False]
    flights.leave("capture_payment", "ref-1")
    flights.leave("capture_payment", "ref-2")
    flights.leave("reverse_payment", "ref-1")
    others.leave("capture_payment", "ref-1")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_of_another_thread_is_woken(backend: str) -> None:
    flights, joined, woken = Flights("threads"), threading.Event(), list[str]()
    flight, _ = flights.join("capture_payment", "ref-1", CALL)

    async def wait() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flight.ended)
            await anyio.wait_all_tasks_blocked()
            joined.set()
        woken.append(backend)

    thread = threading.Thread(target=lambda: anyio.run(wait, backend=backend))
    thread.start()
    joined.wait()
    flights.leave("capture_payment", "ref-1")
    thread.join()
    assert woken == [backend]


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="it can't fork")
def test_what_a_loop_that_has_ended_waited_for_wakes_nobody() -> None:
    flights = Flights("ended")
    flight, _ = flights.join("capture_payment", "ref-1", CALL)

    async def leave() -> None:
        with anyio.move_on_after(0.01):
            await flight.ended()

    anyio.run(leave)
    flights.leave("capture_payment", "ref-1")
    assert flights.find("capture_payment", "ref-1") is None
