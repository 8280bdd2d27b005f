"""Limits: how many at a time, how fast, when not at all; in which order, on which event loop."""

from __future__ import annotations

import asyncio
import math
import pickle
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat2pay_async._send.limits import RateLimit, RateLimiter, Slots
from chat2pay_async.errors import ConfigurationError

anyio_test = pytest.mark.anyio


class Visitors:
    """Tasks that pass the slots, and stay inside until they are let go."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.arrived: list[int] = []
        self.inside = 0
        self.most = 0
        self.leave = anyio.Event()

    async def visit(self, number: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        # Between `started` and the slots is no checkpoint: whoever has started stands in the queue.
        task_status.started()
        async with self.slots:
            self.arrived.append(number)
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await self.leave.wait()
            finally:
                self.inside -= 1


async def is_free(slots: Slots) -> bool:
    """Tell whether a slot is free at this moment."""
    visitors = Visitors(slots)
    async with anyio.create_task_group() as tasks:
        await tasks.start(visitors.visit, 0)
        tasks.cancel_scope.cancel()
    return visitors.arrived == [0]


@anyio_test
@pytest.mark.parametrize("size", [1, 3, 7])
async def test_no_more_tasks_are_inside_than_there_are_slots_for_calls(size: int) -> None:
    visitors = Visitors(Slots(size))
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            await tasks.start(visitors.visit, number)
        assert visitors.inside == max(1, size - 1)
        visitors.leave.set()
    assert visitors.most == max(1, size - 1)
    assert visitors.inside == 0
    assert sorted(visitors.arrived) == list(range(20))


@anyio_test
async def test_slots_are_first_come_first_served() -> None:
    visitors = Visitors(Slots(1))
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            await tasks.start(visitors.visit, number)
        visitors.leave.set()
    assert visitors.arrived == list(range(50))


@anyio_test
async def test_a_slot_is_free_again_after_an_error() -> None:
    slots = Slots(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with slots:
                raise ZeroDivisionError
    assert await is_free(slots)


@anyio_test
async def test_a_slot_is_taken_at_once_only_where_one_is_free_and_nobody_waits() -> None:
    slots = Slots(1)
    assert slots.take()
    assert not slots.take()
    async with crowd_at(slots) as crowd:
        await crowd.come(1)
        slots.release()
        await anyio.wait_all_tasks_blocked()
        assert crowd.inside == [1]
        assert not slots.take()


@anyio_test
async def test_a_slot_is_free_again_after_a_cancellation_inside() -> None:
    slots = Slots(1)
    async with anyio.create_task_group() as tasks:
        await tasks.start(Visitors(slots).visit, 1)
        assert not await is_free(slots)
        tasks.cancel_scope.cancel()
    assert await is_free(slots)


@anyio_test
async def test_a_task_cancelled_in_the_queue_keeps_no_slot() -> None:
    visitors = Visitors(Slots(1))
    async with anyio.create_task_group() as tasks:
        await tasks.start(visitors.visit, 1)
        async with anyio.create_task_group() as impatient:
            for number in (2, 3, 4):
                await impatient.start(visitors.visit, number)
            impatient.cancel_scope.cancel()
        await tasks.start(visitors.visit, 5)
        visitors.leave.set()
    assert visitors.arrived == [1, 5]
    assert await is_free(visitors.slots)


@anyio_test
async def test_slots_serve_any_number_of_tasks_one_after_another() -> None:
    slots = Slots(2)
    passed = 0
    for _ in range(100):
        async with slots:
            passed += 1
    assert passed == 100


async def _pass(slots: Slots) -> None:
    async with slots:
        pass


@pytest.mark.parametrize("first", ["asyncio", "trio"])
@pytest.mark.parametrize("second", ["asyncio", "trio"])
def test_a_second_event_loop_is_refused(first: str, second: str) -> None:
    slots = Slots(1)
    anyio.run(_pass, slots, backend=first)
    with pytest.raises(ConfigurationError, match=r"another event loop.*one client for each loop"):
        anyio.run(_pass, slots, backend=second)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_slots_are_made_outside_any_loop_and_used_by_the_first(backend: str) -> None:
    async def twice(slots: Slots) -> bool:
        await _pass(slots)
        await _pass(slots)
        return await is_free(slots)

    assert anyio.run(twice, Slots(1), backend=backend)


def test_a_refused_loop_takes_no_slot() -> None:
    slots = Slots(1)

    async def refused_then_used() -> bool:
        await _pass(slots)
        with pytest.raises(ConfigurationError):
            await anyio.to_thread.run_sync(anyio.run, _pass, slots)
        return await is_free(slots)

    assert anyio.run(refused_then_used)


@pytest.mark.parametrize("size", [0, -1, True, False, 1.0, "10", None, float("inf")], ids=repr)
def test_zero_slots_are_refused(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_connections must be an int, 1 or more"):
        Slots(size)


# Places: a tenth is for look-ups ------------------------------------------------------------------


class Crowd:
    """Tasks before the slots and inside, each of which can be told to leave, or be cancelled."""

    def __init__(self, slots: Slots, tasks: anyio.abc.TaskGroup) -> None:
        self.slots = slots
        self.inside: list[int] = []
        self.most = 0
        self._tasks = tasks
        self._exits: dict[int, anyio.Event] = {}
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._then: dict[int, int] = {}

    async def come(self, number: int, *, priority: bool = False) -> None:
        self._exits[number] = anyio.Event()
        self._scopes[number] = anyio.CancelScope()
        await self._tasks.start(self._visit, number, priority)
        await anyio.wait_all_tasks_blocked()

    async def leave(self, number: int, *, cancelling: int | None = None) -> None:
        """Let one leave, and cancel another in the very moment in which the place is given on."""
        if cancelling is not None:
            self._then[number] = cancelling
        self._exits[number].set()
        await anyio.wait_all_tasks_blocked()

    async def cancel(self, *numbers: int) -> None:
        for number in numbers:
            self._scopes[number].cancel()
        await anyio.wait_all_tasks_blocked()

    async def _visit(
        self,
        number: int,
        priority: bool,  # noqa: FBT001 - `start` passes no keywords
        *,
        task_status: anyio.abc.TaskStatus[None],
    ) -> None:
        with self._scopes[number]:
            task_status.started()
            async with self.slots.first() if priority else self.slots:
                self.inside.append(number)
                self.most = max(self.most, len(self.inside))
                try:
                    await self._exits[number].wait()
                finally:
                    self.inside.remove(number)
        if number in self._then:
            self._scopes[self._then[number]].cancel()


@asynccontextmanager
async def crowd_at(slots: Slots) -> AsyncIterator[Crowd]:
    async with anyio.create_task_group() as tasks:
        yield Crowd(slots, tasks)
        tasks.cancel_scope.cancel()


async def slots_of(slots: Slots, size: int) -> tuple[int, int]:
    """Count how many may be inside: calls, and look-ups on top of them."""
    async with crowd_at(slots) as crowd:
        for number in range(size + 1):
            await crowd.come(number)
        calls = len(crowd.inside)
        for number in range(size + 1, 2 * size + 3):
            await crowd.come(number, priority=True)
        return calls, len(crowd.inside) - calls


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("size", "places"),
    [
        (1, (1, 0)),
        (2, (1, 1)),
        (3, (2, 1)),
        (9, (8, 1)),
        (10, (9, 1)),
        (19, (18, 1)),
        (20, (18, 2)),
        (50, (45, 5)),
    ],
)
async def test_a_tenth_of_the_slots_and_from_two_on_at_least_one_is_for_look_ups_only(
    size: int, places: tuple[int, int]
) -> None:
    assert await slots_of(Slots(size), size) == places


@anyio_test
@pytest.mark.virtual_time
async def test_look_ups_may_take_every_slot() -> None:
    async with crowd_at(Slots(20)) as crowd:
        for number in range(25):
            await crowd.come(number, priority=True)
        assert crowd.inside == list(range(20))


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("size", [1, 5, 10])
async def test_look_ups_pass_before_all_that_wait(size: int) -> None:
    async with crowd_at(Slots(size)) as crowd:
        for number in range(size):
            await crowd.come(number, priority=True)
        await crowd.come(100)
        await crowd.come(101)
        await crowd.come(200, priority=True)
        await crowd.come(201, priority=True)
        for number in range(size):
            await crowd.leave(number)
        assert crowd.inside[:2] == [200, 201][: len(crowd.inside)]
        await crowd.leave(200)
        assert 201 in crowd.inside


@anyio_test
@pytest.mark.virtual_time
async def test_a_free_reserved_slot_is_given_to_no_call() -> None:
    async with crowd_at(Slots(10)) as crowd:
        for number in range(9):
            await crowd.come(number)
        await crowd.come(9)
        await crowd.come(100, priority=True)
        assert crowd.inside == [*range(9), 100]
        await crowd.leave(100)
        assert 9 not in crowd.inside, "the reserved place came free, and a call took it"
        await crowd.leave(0)
        assert 9 in crowd.inside


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("priority", [False, True])
async def test_a_task_cancelled_as_its_slot_comes_passes_it_on(*, priority: bool) -> None:
    slots = Slots(1)
    async with crowd_at(slots) as crowd:
        await crowd.come(1)
        await crowd.come(2, priority=priority)
        await crowd.come(3)
        await crowd.leave(1, cancelling=2)
        assert crowd.inside == [3]
    assert await is_free(slots)


@pytest.mark.parametrize("priority", [False, True])
def test_a_task_that_asyncio_cancels_as_its_slot_comes_passes_it_on(*, priority: bool) -> None:
    # Task.cancel() reaches a task that was woken already, which no cancel scope does.
    async def scene() -> bool:
        slots = Slots(1)
        await slots.acquire()
        first = asyncio.create_task(slots.acquire(priority=priority))
        second = asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        slots.release()
        first.cancel()
        await asyncio.wait_for(second, 5)
        slots.release()
        return first.cancelled() and await is_free(slots)

    assert asyncio.run(scene())


class Places:
    """The plain model of slots: who is inside, whoever comes, leaves or is cancelled."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.for_calls = size - max(size // 10, 1 if size > 1 else 0)
        self.inside: list[int] = []
        self.priority: list[int] = []
        self.queue: list[int] = []

    def come(self, number: int, *, priority: bool) -> None:
        (self.priority if priority else self.queue).append(number)
        self._admit()

    def remove(self, number: int) -> None:
        for group in (self.inside, self.priority, self.queue):
            if number in group:
                group.remove(number)
        self._admit()

    def _admit(self) -> None:
        while self.priority and len(self.inside) < self.size:
            self.inside.append(self.priority.pop(0))
        while self.queue and len(self.inside) < self.for_calls:
            self.inside.append(self.queue.pop(0))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "call", "look-up", "leave", "cancel", "both"]),
        st.integers(0, 99),
        st.integers(0, 99),
    ),
    max_size=40,
)


@anyio_test
@pytest.mark.virtual_time
@settings(deadline=None, max_examples=60)
@given(size=st.sampled_from([1, 2, 3, 9, 10, 11, 20]), steps=STEPS)
async def test_slots_are_given_in_order_and_none_is_lost(
    size: int, steps: list[tuple[str, int, int]]
) -> None:
    slots, model = Slots(size), Places(size)
    async with crowd_at(slots) as crowd:
        for number in range(size - 1):
            model.come(number, priority=False)
            await crowd.come(number)
        for number, (step, one, other) in enumerate(steps, start=100):
            present = model.inside + model.priority + model.queue
            if step in {"call", "look-up"}:
                model.come(number, priority=step == "look-up")
                await crowd.come(number, priority=step == "look-up")
            elif step == "cancel" and present:
                model.remove(present[one % len(present)])
                await crowd.cancel(present[one % len(present)])
            elif model.inside:
                leaver = model.inside[one % len(model.inside)]
                waiting = model.priority + model.queue
                victim = waiting[other % 3 % len(waiting)] if step == "both" and waiting else None
                model.remove(leaver)
                if victim is not None:
                    model.remove(victim)
                await crowd.leave(leaver, cancelling=victim)
            assert sorted(crowd.inside) == sorted(model.inside)
        assert crowd.most <= size
    assert await slots_of(slots, size) == (model.for_calls, size - model.for_calls)


# The rate ----------------------------------------------------------------------------------------


@attrs.frozen
class Visit:
    """One request that wants to leave."""

    number: int
    at: float = 0.0
    priority: bool = False
    patience: float = math.inf
    """Seconds until it is cancelled."""


class Road:
    """Tasks that pass a limiter, and when they did."""

    def __init__(self, limiter: RateLimiter) -> None:
        self.limiter = limiter
        self.began = anyio.current_time()
        self.passed: list[tuple[int, float]] = []

    @property
    def now(self) -> float:
        return round(anyio.current_time() - self.began, 6)

    @property
    def order(self) -> list[int]:
        return [number for number, _ in self.passed]

    @property
    def times(self) -> list[float]:
        return [time for _, time in self.passed]

    async def visit(
        self,
        visit: Visit,
        *,
        task_status: anyio.abc.TaskStatus[anyio.CancelScope] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        if visit.at:
            await anyio.sleep_until(self.began + visit.at)
        with anyio.move_on_after(visit.patience) as scope:
            # Between `started` and the limiter is no checkpoint: who has started is in the queue.
            task_status.started(scope)
            await self.limiter.acquire(priority=visit.priority)
            self.passed.append((visit.number, self.now))


async def travel(limiter: RateLimiter, *visits: Visit) -> Road:
    """Let all visits be made, in their order where they come at the same time."""
    road = Road(limiter)
    async with anyio.create_task_group() as tasks:
        for visit in visits:
            if visit.at:
                tasks.start_soon(road.visit, visit)
            else:
                await tasks.start(road.visit, visit)
    return road


def expected(limit: RateLimit, visits: Sequence[Visit]) -> list[tuple[int, float]]:
    """Tell who passes when: first come first served, look-ups first, who gave up costs nothing."""
    interval = limit.per / limit.requests
    due, now = -math.inf, -math.inf
    waiting, passed = list(visits), list[tuple[int, float]]()
    while waiting:
        earliest = min(visit.at for visit in waiting)
        now = max(now, earliest, due - (limit.burst - 1) * interval)
        there = [one for one in waiting if one.at <= now < one.at + one.patience]
        if not there:
            waiting = [one for one in waiting if one.at > now]
            continue
        first = min(there, key=lambda one: (not one.priority, one.at, one.number))
        waiting.remove(first)
        passed.append((first.number, round(now, 6)))
        due = max(due, now) + interval
    return passed


def most_within(times: Sequence[float], seconds: float) -> int:
    """The most of them in any window of so many seconds, both ends included."""
    return max((sum(0 <= later - time <= seconds for later in times) for time in times), default=0)


SIXTEENTHS = st.integers(0, 64).map(lambda number: number / 16)
LIMITS = st.builds(
    RateLimit,
    requests=st.sampled_from([0.5, 1, 2, 4, 8, 16]),
    per=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    burst=st.integers(1, 5),
)


@st.composite
def journeys(draw: st.DrawFn) -> list[Visit]:
    """Arrivals and cancellations in any order, no two of which fall on the same moment."""
    visits: list[Visit] = []
    for number in range(draw(st.integers(1, 25))):
        at = draw(SIXTEENTHS) + (number + 1) * 2.0**-14
        patience = draw(st.just(math.inf) | SIXTEENTHS) + 2.0**-20
        visits.append(Visit(number, at, draw(st.integers(0, 3)) == 0, patience))
    return sorted(visits, key=lambda visit: visit.at)


@anyio_test
@pytest.mark.virtual_time
@settings(deadline=None)
@given(limit=LIMITS, visits=journeys())
async def test_requests_pass_in_order_and_as_early_as_the_limit_allows(
    limit: RateLimit, visits: list[Visit]
) -> None:
    road = await travel(RateLimiter(limit), *visits)
    assert road.passed == expected(limit, visits)
    assert most_within(road.times, limit.per) <= limit.requests + limit.burst


@anyio_test
@pytest.mark.virtual_time
@settings(deadline=None)
@given(
    limit=st.builds(
        RateLimit,
        requests=st.integers(1, 20) | st.floats(0.3, 20),
        per=st.floats(0.1, 10),
        burst=st.integers(1, 5),
    ),
    visits=st.lists(
        st.tuples(st.floats(0, 5), st.booleans(), st.just(math.inf) | st.floats(0, 5)), max_size=40
    ),
    throttles=st.lists(st.tuples(st.floats(0, 5), st.none() | st.floats(0, 3)), max_size=4),
)
async def test_no_window_has_more_than_the_limit_and_its_burst(
    limit: RateLimit,
    visits: list[tuple[float, bool, float]],
    throttles: list[tuple[float, float | None]],
) -> None:
    pauses: list[tuple[float, float]] = []

    async def throttle(at: float, asked: float | None) -> None:
        await anyio.sleep_until(road.began + at)
        road.limiter.throttled(asked)
        pauses.append((road.now, road.now + max(1.0, asked or 0.0)))

    road = Road(RateLimiter(limit))
    async with anyio.create_task_group() as tasks:
        for number, visit in enumerate(visits):
            tasks.start_soon(road.visit, Visit(number, *visit))
        for pause in throttles:
            tasks.start_soon(throttle, *pause)
    assert most_within(road.times, limit.per) <= limit.requests + limit.burst
    for begin, end in pauses:
        assert not [time for time in road.times if begin + 1e-5 < time < end - 1e-5]
    patient = {number for number, (*_, patience) in enumerate(visits) if patience == math.inf}
    assert patient <= set(road.order)


@anyio_test
@pytest.mark.virtual_time
async def test_a_burst_leaves_at_once_and_the_rest_evenly() -> None:
    limit = RateLimit(2, per=1.0, burst=3)
    road = await travel(RateLimiter(limit), *(Visit(number) for number in range(7)))
    assert road.passed == list(enumerate([0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0]))


@anyio_test
@pytest.mark.virtual_time
async def test_idle_time_saves_up_no_more_than_the_burst() -> None:
    limiter = RateLimiter(RateLimit(1, burst=2))
    await travel(limiter, Visit(0), Visit(1))
    await anyio.sleep(1000)
    road = await travel(limiter, *(Visit(number) for number in range(4)))
    assert road.times == [0.0, 0.0, 1.0, 2.0]


@anyio_test
@pytest.mark.virtual_time
async def test_the_rate_is_first_come_first_served() -> None:
    road = await travel(RateLimiter(RateLimit(100)), *(Visit(number) for number in range(50)))
    assert road.order == list(range(50))


@anyio_test
@pytest.mark.virtual_time
async def test_look_ups_overtake_all_calls_and_a_sleeping_first_one() -> None:
    road = await travel(
        RateLimiter(RateLimit(1)),
        *(Visit(number) for number in range(4)),
        Visit(10, at=0.5, priority=True),
        Visit(11, at=0.6, priority=True),
        Visit(12, at=3.5, priority=True),
    )
    assert road.order == [0, 10, 11, 1, 12, 2, 3]
    assert road.times == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("given_up", [{1}, {2}, {4}, {1, 2}, {2, 3}, {1, 2, 3, 4}], ids=repr)
@pytest.mark.parametrize("at", [0.5, 1.0])
async def test_a_task_that_gives_up_delays_no_other(given_up: set[int], at: float) -> None:
    # After 1.0 s, they give up in the very moment in which the first of them would pass.
    visits = [Visit(n, patience=at if n in given_up else math.inf) for n in range(6)]
    road = await travel(RateLimiter(RateLimit(1)), *visits)
    left = [number for number in range(6) if number not in given_up]
    assert road.passed == [(number, float(turn)) for turn, number in enumerate(left)]


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("cancelled", [(1,), (2,), (1, 2), (2, 1), (1, 2, 3)], ids=repr)
async def test_a_task_cancelled_while_it_is_woken_wakes_the_next(cancelled: Sequence[int]) -> None:
    road = Road(RateLimiter(RateLimit(1)))
    async with anyio.create_task_group() as tasks:
        scopes = [await tasks.start(road.visit, Visit(number)) for number in range(5)]
        await anyio.sleep(0.25)
        for number in cancelled:
            scopes[number].cancel()
    left = [number for number in range(5) if number not in cancelled]
    assert road.passed == [(number, float(turn)) for turn, number in enumerate(left)]


@anyio_test
@pytest.mark.virtual_time
async def test_a_look_up_that_gives_up_lets_the_next_sleep_on() -> None:
    road = await travel(
        RateLimiter(RateLimit(1)),
        Visit(0),
        Visit(1),
        Visit(2),
        Visit(10, at=0.25, priority=True, patience=0.25),
    )
    assert road.passed == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_task_that_asyncio_cancels_as_it_is_woken_wakes_the_next() -> None:
    async def scene() -> list[bool]:
        limiter = RateLimiter()
        limiter.throttled(0.05)
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)  # now the second is told that it is the first
        waiting[1].cancel()
        await asyncio.wait_for(asyncio.gather(*waiting[2:]), 5)
        return [task.cancelled() for task in waiting]

    assert asyncio.run(scene()) == [True, True, False, False]


@anyio_test
@pytest.mark.virtual_time
async def test_ten_minutes_of_waiting_take_no_time_here() -> None:
    began = time.perf_counter()
    road = await travel(
        RateLimiter(RateLimit(1, per=10.0)), *(Visit(number) for number in range(64))
    )
    assert road.times[-1] == 630.0
    assert time.perf_counter() - began < 1.0


def test_without_a_limit_a_request_waits_for_nothing() -> None:
    limiter = RateLimiter()
    assert limiter.free
    # No event loop runs here: it does not even ask for the time.
    for priority in (False, True):
        with pytest.raises(StopIteration):
            limiter.acquire(priority=priority).send(None)


def test_a_limit_is_not_free() -> None:
    assert not RateLimiter(RateLimit(1000)).free


# Pause: not at all --------------------------------------------------------------------------------


ALL_AT_ONCE = RateLimit(1000, burst=1000)


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("limit", [None, ALL_AT_ONCE])
@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (None, 1.0),
        (0.0, 1.0),
        (0.5, 1.0),
        (1.5, 1.5),
        (7, 7.0),
        (60, 60.0),
        (61, 60.0),
        (math.inf, 60.0),
    ],
)
async def test_a_throttle_pauses_all_requests_for_a_second_at_least_and_a_minute_at_most(
    limit: RateLimit | None, asked: float | None, pause: float
) -> None:
    limiter = RateLimiter(limit)
    limiter.throttled(asked)
    road = await travel(limiter, *(Visit(number, priority=number > 5) for number in range(10)))
    assert road.times[0] == pause
    assert road.order == [*range(6, 10), *range(6)]


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("pauses", "end"),
    [
        ([(0, 30), (10, 5)], 30.0),
        ([(0, 5), (1, 30)], 31.0),
        ([(0, 5), (1, None), (2, 0)], 5.0),
        ([(0, 1.5), (1, 0)], 2.0),
        ([(0, 60), (50, 60)], 110.0),
    ],
)
@pytest.mark.parametrize("from_the_start", [True, False])
async def test_of_several_pauses_the_one_that_ends_last_counts(
    pauses: list[tuple[float, float | None]], end: float, *, from_the_start: bool
) -> None:
    limiter = RateLimiter(ALL_AT_ONCE)
    limiter.throttled(pauses[0][1])
    road = Road(limiter)
    async with anyio.create_task_group() as tasks:
        for number in range(2 if from_the_start else 0):
            await tasks.start(road.visit, Visit(number))
        for at, asked in pauses[1:]:
            await anyio.sleep_until(road.began + at)
            limiter.throttled(asked)
        for number in range(2 if from_the_start else 0, 3):
            await tasks.start(road.visit, Visit(number))
    assert road.passed == [(number, end) for number in range(3)]


@anyio_test
@pytest.mark.virtual_time
async def test_a_pause_holds_requests_that_wait_already() -> None:
    road = Road(RateLimiter(RateLimit(1)))
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            await tasks.start(road.visit, Visit(number))
        await anyio.sleep(0.5)
        road.limiter.throttled(20)
        await tasks.start(road.visit, Visit(10, priority=True))
    assert road.order == [0, 10, 1, 2]
    assert road.times[1] == 20.5


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("priority", [False, True])
async def test_a_task_that_comes_again_waits_behind_the_others(*, priority: bool) -> None:
    road = Road(RateLimiter())
    road.limiter.throttled(1.0)

    async def twice(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        await road.visit(Visit(0, priority=priority))
        await road.visit(Visit(9, priority=priority))

    async with anyio.create_task_group() as tasks:
        await tasks.start(twice)
        for number in range(1, 5):
            await tasks.start(road.visit, Visit(number, priority=priority))
    assert road.order == [0, 1, 2, 3, 4, 9]


@anyio_test
@pytest.mark.virtual_time
async def test_after_a_pause_no_request_waits() -> None:
    limiter = RateLimiter(ALL_AT_ONCE)
    limiter.throttled(3)
    assert not limiter.free
    await anyio.sleep(3)
    road = await travel(limiter, *(Visit(number) for number in range(10)))
    assert set(road.times) == {0.0}


# Slower, and faster again -------------------------------------------------------------------------


async def throttle(limiter: RateLimiter, times: int) -> None:
    """Let it be throttled so many times, each right after the pause of the one before."""
    for _ in range(times):
        limiter.throttled(None)
        await anyio.sleep(1)


async def gap(limiter: RateLimiter) -> float:
    """Seconds between two requests, as the rate is now."""
    await limiter.acquire()
    began = anyio.current_time()
    await limiter.acquire()
    return anyio.current_time() - began


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("throttles", [0, 1, 2, 3, 8, 9, 50])
async def test_every_throttle_slows_down_to_seven_tenths(throttles: int) -> None:
    limiter = RateLimiter(RateLimit(100))
    await throttle(limiter, throttles)
    assert await gap(limiter) == pytest.approx(0.01 / max(0.05, 0.7**throttles))


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("per", "slowest"),
    [(0.001, 0.02), (0.1, 2.0), (0.5, 10.0), (1.0, 10.0), (5.0, 10.0), (10.0, 10.0), (20.0, 20.0)],
)
async def test_a_twentieth_of_the_rate_and_a_request_in_ten_seconds_are_left(
    per: float, slowest: float
) -> None:
    limiter = RateLimiter(RateLimit(1, per=per))
    await throttle(limiter, 100)
    assert await gap(limiter) == pytest.approx(slowest)


@anyio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("throttles", "seconds", "share"),
    [(1, 1, 0.911), (1, 2, 0.989), (1, 3, 1.0), (1, 1000, 1.0), (50, 1, 0.2), (50, 5, 1.0)],
)
async def test_the_rate_rises_again_by_itself_up_to_the_setting(
    throttles: int, seconds: float, share: float
) -> None:
    limiter = RateLimiter(RateLimit(100))
    await throttle(limiter, throttles)
    await anyio.sleep(seconds)
    assert await gap(limiter) == pytest.approx(0.01 / share, rel=0.001)


@anyio_test
@pytest.mark.virtual_time
async def test_a_throttle_lowers_the_rate_that_has_risen_since_the_last() -> None:
    limiter = RateLimiter(RateLimit(100))
    await throttle(limiter, 1)
    await anyio.sleep(1)
    await throttle(limiter, 1)
    assert await gap(limiter) == pytest.approx(0.01 / (0.911 * 0.7), rel=0.001)
    await anyio.sleep(1000)
    await throttle(limiter, 1)
    assert await gap(limiter) == pytest.approx(0.01 / 0.7)


@anyio_test
@pytest.mark.virtual_time
async def test_throttles_of_what_was_on_the_wire_at_once_lower_the_rate_once() -> None:
    limiter = RateLimiter(RateLimit(100))
    for late in range(50):  # all were sent at the same time; the last answer takes 5 s
        limiter.throttled(None, ago=late / 10)
        await anyio.sleep(0.1)
    await anyio.sleep(0.9)
    assert await gap(limiter) == pytest.approx(0.01 / 0.7)
    limiter.throttled(None, ago=0.01)  # this one was sent at the lowered rate
    await anyio.sleep(1)
    assert await gap(limiter) == pytest.approx(0.01 / 0.49, rel=0.01)


@anyio_test
@pytest.mark.virtual_time
async def test_what_is_accepted_while_the_client_pauses_says_nothing_of_the_rate_after_it() -> None:
    limiter = RateLimiter()
    limiter.throttled(None)
    for _ in range(50):
        limiter.accepted(anyio.current_time())
    await anyio.sleep(1)
    limiter.throttled(None)
    assert await gap(limiter) == pytest.approx(1.0)


@anyio_test
@pytest.mark.virtual_time
async def test_where_no_rate_is_set_one_is_learnt_from_what_was_accepted() -> None:
    limiter = RateLimiter()
    for _ in range(40):
        await limiter.acquire()
        limiter.accepted(anyio.current_time())
    limiter.throttled(None, ago=0.05)
    assert not limiter.free
    assert await gap(limiter) == pytest.approx(1 / 40)


# Settings -----------------------------------------------------------------------------------------


def test_a_limit_is_per_second_and_without_a_burst_by_default() -> None:
    assert RateLimit(5) == RateLimit(requests=5, per=1.0, burst=1)


@pytest.mark.parametrize("name", ["requests", "per"])
@pytest.mark.parametrize(
    "value",
    [0, -1, math.inf, math.nan, True, "5", None, pytest.param(10**400, id="larger than a float")],
)
def test_a_rate_that_is_no_positive_number_is_refused(name: str, value: Any) -> None:
    given_: dict[str, Any] = {"requests": 5, name: value}
    with pytest.raises(ConfigurationError, match=rf"RateLimit\({name}=…\) must be a number great"):
        RateLimit(**given_)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, math.inf, True, "5", None], ids=repr)
def test_a_burst_is_counted_from_one(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"RateLimit\(burst=…\) must be an int, 1 or more"):
        RateLimit(5, burst=value)


def test_a_limit_is_frozen_and_travels() -> None:
    limit = RateLimit(0.5, per=2, burst=3)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        limit.requests = 7  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(limit)) == limit  # noqa: S301 - our own bytes
