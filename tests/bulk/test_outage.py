"""Outages: what can't be sent waits, one item tries, and only a long outage ends a run."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from scripted import (
    BY_ORDER,
    CREATED,
    LINK,
    WINDOW,
    Act,
    Bench,
    Connecting,
    answer,
    bench,
    lost,
    not_sent,
)
from shop import Shop, rows_in, shop

from chat2pay_async import (
    BadRequestError,
    ConnectionFailedError,
    OutcomeUnknownError,
    Proof,
    RunStoppedError,
    events,
)
from chat2pay_async._api import operations
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._send.sender import TRIES
from chat2pay_async._transport.base import WireResponse

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.virtual_time,
    pytest.mark.usefixtures("full_back_off"),
]

NOWHERE = (
    b'{"status": "NOT_FOUND", "message": "URL /x",'
    b' "errors": ["There is no such transaction with order number %s"]}'
)


class Network:
    """A service behind a network that is away for a while; it counts what it creates."""

    def __init__(self, made: Bench, *, away_until: float, away_from: float = 0.0) -> None:
        self.made = made
        self.began = anyio.current_time()
        self.away = away_from, away_until
        self.refused: list[float] = []
        self.created: Counter[str] = Counter()

    @property
    def now(self) -> float:
        return anyio.current_time() - self.began

    async def exchange(self, request: Any, _headers: Any, _limits: Any, guard: Any) -> WireResponse:
        guard.may_have_been_sent = False
        await anyio.sleep(0.01)
        if self.away[0] <= self.now < self.away[1]:
            self.refused.append(self.now)
            raise not_sent()
        guard()
        guard.may_have_been_sent = True
        body = request.body or b"{}"
        order = body.partition(b'"orderNumber":"')[2].partition(b'"')[0].decode()
        if request.method == "GET":
            name = request.target.rpartition("=")[2]
            return answer(404, NOWHERE % name.encode())
        self.created[order] += 1
        return answer(201, b'{"paymentLinkRef": "ref of %s"}' % order.encode())


def links(count: int) -> list[Any]:
    return [attrs.evolve(LINK, order_number=f"B-{number}") for number in range(count)]


async def all_of(one: Shop, requests: list[Any], concurrency: int = 64) -> list[Any]:
    """Finish all items, so many at a time."""
    outcomes: list[Any] = []
    slots = anyio.Semaphore(concurrency)

    async def finish(request: Any) -> None:
        outcomes.append(await one.finish(request))
        slots.release()

    async with anyio.create_task_group() as tasks:
        for request in requests:
            await slots.acquire()
            tasks.start_soon(finish, request)
    return outcomes


@asynccontextmanager
async def outage(
    until: float, path: Path | None = None, *, give_up_after: float = 600.0, **times: float
) -> AsyncIterator[tuple[Shop, Network]]:
    made = bench(size=64)
    network = Network(made, away_until=until, **times)
    made.sender._transport._transport = network  # type: ignore[assignment]
    with shop(made, path, give_up_after=give_up_after) as one:
        yield one, network


def states(outcomes: list[Outcome[Any, Any]]) -> Counter[State]:
    return Counter(outcome.state for outcome in outcomes)


async def test_a_post_that_was_too_late_after_its_look_up_is_no_outage() -> None:
    too_late = [Connecting(1.1, CREATED)] * TRIES
    made = bench(lost(), *too_late, *too_late, CREATED, look_ups=[answer(404, NOWHERE % b"A-1")])
    with shop(made, None) as one:
        outcome = await one.finish()
    assert outcome.state is State.APPLIED
    assert not [event for event in made.heard if isinstance(event, events.Unreachable)]
    assert len(made.engine.sent) == 2


@pytest.mark.one_loop
async def test_an_outage_of_six_seconds_fails_none_of_ten_thousand_rows() -> None:
    async with outage(6.5, away_from=0.5) as (one, network):
        outcomes = await all_of(one, links(10_000))
    assert states(outcomes) == {State.APPLIED: 10_000}
    assert set(network.created.values()) == {1}
    assert network.refused


async def test_one_item_tries_from_1_s_to_60_s_apart() -> None:
    async with outage(500.0) as (one, network):
        outcomes = await all_of(one, links(20))
    assert states(outcomes) == {State.APPLIED: 20}
    tries = [at for at in network.refused if at > 5]
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert all(gap == pytest.approx(60, abs=0.1) for gap in gaps[4:])
    assert gaps[:4] == pytest.approx([8, 16, 32, 60], abs=0.1)


async def test_items_that_wait_go_on_at_once_when_the_try_gets_through() -> None:
    async with outage(30.0) as (one, network):
        await all_of(one, links(20))
        assert network.now < 30 + 32 + 1


async def test_the_try_does_not_wait_once_anything_else_gets_through() -> None:
    async with outage(200.0) as (one, network), anyio.create_task_group() as tasks:
        outcomes: list[Any] = []

        async def finish() -> None:
            outcomes.append(await one.finish())

        tasks.start_soon(finish)
        await anyio.sleep(201 - network.now)
        one.items._outage.note_response()  # of a call that was made before the outage
        await anyio.sleep(1)
        assert states(outcomes) == {State.APPLIED: 1}


async def test_a_run_gives_up_after_an_outage_that_is_too_long(path: Path) -> None:
    async with outage(10_000.0, path) as (one, network):
        outcomes = await all_of(one, links(20))
        lasted = network.now
    assert states(outcomes) == {State.FAILED: 20}
    assert lasted == pytest.approx(600, abs=1)
    assert {type(outcome.error) for outcome in outcomes} == {ConnectionFailedError}
    reason = one.items.reason_to_stop(outcomes[0])
    assert isinstance(reason, RunStoppedError)
    assert "nothing could be sent for 600 s, and give_up_after=600 allows no more" in str(reason)
    assert "no response from s.test:443" in str(reason)
    assert set(states_in(path)) == {"failed"}


async def test_what_was_not_begun_is_not_sent_after_giving_up(path: Path) -> None:
    async with outage(50.0, path, give_up_after=20.0) as (one, network):
        assert states(await all_of(one, links(3))) == {State.FAILED: 3}
        await anyio.sleep(60)
        outcome = await one.finish(attrs.evolve(LINK, order_number="C-1"))
    assert (outcome.state, outcome.attempts) == (State.FAILED, ())
    assert network.created == {}


async def test_what_an_outage_failed_is_sent_by_the_next_run(path: Path) -> None:
    async with outage(10_000.0, path, give_up_after=5.0) as (one, _):
        assert states(await all_of(one, links(3))) == {State.FAILED: 3}
    async with outage(0.0, path) as (one, network):
        assert states(await all_of(one, links(3))) == {State.APPLIED: 3}
    assert set(network.created.values()) == {1}


async def test_an_outage_is_reported_with_its_reason_and_its_end() -> None:
    async with outage(9.0) as (one, _):
        await all_of(one, links(2))
    heard = one.made.heard_of(events.Unreachable)
    assert [event.delay for event in heard] == [1.0, 2.0, 4.0, None]
    assert {event.operation for event in heard} == {"create_payment_link"}
    assert all("no response from s.test:443" in event.reason for event in heard)
    assert heard[-1].lasted == pytest.approx(9, abs=2.5)


async def test_an_item_that_alone_can_not_be_sent_fails_at_last() -> None:
    made = bench()
    network = Network(made, away_until=math.inf)
    made.sender._transport._transport = network  # type: ignore[assignment]
    with shop(made, give_up_after=30.0) as one:
        async with anyio.create_task_group() as tasks:
            outcomes: list[Any] = []

            async def finish() -> None:
                outcomes.append(await one.finish())

            async def others() -> None:
                while not outcomes:
                    await anyio.sleep(2)
                    one.items._outage.note_response()

            tasks.start_soon(finish)
            tasks.start_soon(others)
    assert states(outcomes) == {State.FAILED: 1}
    assert one.items.reason_to_stop(outcomes[0]) is None


async def test_a_lost_item_is_looked_up_again_before_it_is_sent_after_an_outage() -> None:
    absent = answer(404, NOWHERE % b"A-1")
    made = bench(lost(), *[not_sent()] * 3, CREATED, look_ups=[absent])
    with shop(made, give_up_after=600.0) as one:
        outcome = await one.finish()
    assert outcome.state is State.APPLIED
    last = made.engine.times[-1]
    assert any(0 <= last - looked <= 1 for looked in made.engine.looked)
    assert len({sent.body for sent in made.engine.sent}) == 1


async def test_an_outcome_that_can_not_be_told_is_no_outage() -> None:
    """Though the last of its attempts was certainly not sent."""
    absent = [answer(404, NOWHERE % b"A-1")] * 21
    made = bench(lost(), not_sent(), CREATED, look_ups=[*absent, answer(500)])
    with shop(made, give_up_after=600.0) as one:
        outcome = await one.finish()
    assert outcome.state is State.UNKNOWN
    assert isinstance(outcome.error, OutcomeUnknownError)
    assert outcome.error.attempts[-1].proof is Proof.NOT_SENT
    assert not made.heard_of(events.Unreachable)
    assert len(made.heard_of(events.OutcomeUnknown)) == 1


@pytest.mark.parametrize(
    "failure",
    [lost(), answer(500), answer(408), answer(409), answer(302), answer(201), answer(425)],
    ids=["lost", "500", "408", "409", "302", "unproven", "425"],
)
async def test_the_clients_quota_fails_no_item(failure: Act) -> None:
    absent = answer(404, NOWHERE % b"A-1")
    made = bench(failure, CREATED, look_ups=[absent])
    while made.sender._quota.spend():
        pass
    with shop(made) as one:
        outcome = await one.finish()
    assert (outcome.state, len(made.engine.sent)) == (State.APPLIED, 2)


@pytest.mark.parametrize("failure", [lost(), answer(403), answer(500), answer(200)])
async def test_the_clients_quota_fails_no_read(failure: Act) -> None:
    made = bench(failure, failure, answer(200, b'{"orderNumber": "A-1"}'))
    while made.sender._quota.spend():
        pass
    with shop(made, None, operations.GET_TRANSACTION) as one:
        outcome = await one.finish(BY_ORDER)
    assert (outcome.state, len(made.engine.sent)) == (State.APPLIED, 3)


@pytest.mark.parametrize("quota", [500, 0])
async def test_a_refusal_of_a_form_that_is_not_the_services_is_not_repeated(quota: int) -> None:
    refusal = answer(400, b'{"message": "no"}')
    made = bench(refusal, CREATED, look_ups=[answer(404, NOWHERE % b"A-1")])
    made.sender._quota._tokens = quota
    with shop(made) as one:
        outcome = await one.finish()
    assert type(outcome.error) is BadRequestError
    assert len(made.engine.sent) == 1


async def test_an_outcome_that_stays_unknown_is_not_repeated_by_the_same_run() -> None:
    made = bench(lost(), CREATED, look_ups=[answer(500)])
    with shop(made) as one, anyio.fail_after(WINDOW + 30 + 1):
        outcome = await one.finish()
    assert (outcome.state, len(made.engine.sent)) == (State.UNKNOWN, 1)


async def test_an_item_has_as_many_attempts_as_its_client_allows_without_a_quota() -> None:
    absent = answer(404, NOWHERE % b"A-1")
    made = bench(*[lost()] * 4, look_ups=[absent])
    while made.sender._quota.spend():
        pass
    with shop(made) as one:
        outcome = await one.finish()
    assert (outcome.state, len(made.engine.sent)) == (State.FAILED, 4)


async def test_a_run_that_is_stopped_waits_for_no_outage(path: Path) -> None:
    async with outage(10_000.0, path) as (one, network):
        async with anyio.create_task_group() as tasks:
            outcomes: list[Any] = []

            async def finish() -> None:
                outcomes.extend(await all_of(one, links(5)))

            tasks.start_soon(finish)
            await anyio.sleep(50)
            one.items.stop()
            stopped = network.now
        assert network.now - stopped < 1
    assert states(outcomes) == {State.FAILED: 5}
    assert one.items.reason_to_stop(outcomes[0]) is None


async def test_an_outage_that_begins_after_the_stop_is_not_waited_out() -> None:
    async with outage(10_000.0) as (one, network):
        one.items.stop()
        outcome = await one.finish()
        assert network.now < 10
    assert outcome.state is State.FAILED
    assert one.items.reason_to_stop(outcome) is None


async def test_a_foreign_refusal_stops_the_run() -> None:
    page = answer(403, b"<html>", content_type="text/html")
    with shop(bench(page, look_ups=[page])) as one:
        outcome = await one.finish()
    assert outcome.state is State.UNKNOWN
    assert isinstance(outcome.error, OutcomeUnknownError)
    reason = one.items.reason_to_stop(outcome)
    assert isinstance(reason, RunStoppedError)
    assert "s.test does not look like Chat 2 Pay (403, text/html)" in str(reason)


async def test_an_unknown_outcome_of_another_kind_stops_no_run() -> None:
    with shop(bench(lost(), look_ups=[answer(500)])) as one:
        outcome = await one.finish()
    assert outcome.state is State.UNKNOWN
    assert one.items.reason_to_stop(outcome) is None


def states_in(path: Path) -> list[str]:
    return [row.state.value for row in rows_in(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spring.db"
