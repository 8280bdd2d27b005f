"""One attempt: when it is made, what it proves, and when the next may follow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from scripted import (
    BY_ORDER,
    CREATED,
    LINK,
    THROTTLED,
    Act,
    Bench,
    answer,
    bench,
    forever,
    lost,
    not_sent,
    options,
)

from chat2pay_async import Attempt, Proof, events
from chat2pay_async._api import operations
from chat2pay_async._send.call import Call, Step
from chat2pay_async._send.reconciliation import FRESH

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SHOWN = answer(200, b'{"orderNumber": "A-1", "paymentLinkRef": "ref-9", "currency": "ZAR"}')
ABSENT = answer(
    404,
    b'{"status": "NOT_FOUND", "message": "URL /x",'
    b' "errors": ["There is no such transaction with order number A-1"]}',
)


def creating(*, listening: bool = True, **retry: Any) -> Call[Any, Any]:
    started = anyio.current_time()
    return Call(operations.CREATE_PAYMENT_LINK, LINK, options(**retry), started, listening)


def already_lost(**retry: Any) -> Call[Any, Any]:
    """A call whose first attempt may have been applied, a minute ago."""
    call = creating(**retry)
    call.write_out()
    call.record(Attempt(datetime.now(UTC), 0.0, Proof.UNKNOWN), anyio.current_time() - 60)
    return call


async def made(on: Bench, call: Call[Any, Any]) -> Step[Any]:
    return await on.sender._attempts.make(call)


@pytest.mark.parametrize(
    ("act", "proof", "goes_again"),
    [
        (CREATED, Proof.APPLIED, False),
        (not_sent(), Proof.NOT_SENT, True),
        (answer(425), Proof.NOT_SENT, True),
        (THROTTLED, Proof.THROTTLED, True),
        (answer(400), Proof.REJECTED, False),
        (lost(), Proof.UNKNOWN, False),
        (answer(503), Proof.UNKNOWN, False),
        (answer(201), Proof.UNKNOWN, False),
    ],
)
async def test_what_an_attempt_proves_decides_whether_the_next_may_follow_at_once(
    act: Act, proof: Proof, *, goes_again: bool
) -> None:
    call = creating()
    step = await made(bench(act), call)
    assert [attempt.proof for attempt in call.attempts] == [step.answer.proof] == [proof]
    assert (step.delay is not None) is goes_again
    assert call.doubt is (proof is Proof.UNKNOWN)


async def test_an_attempt_that_is_cancelled_is_on_record_with_what_it_proves() -> None:
    on, call = bench(forever), creating()
    with anyio.move_on_after(3):
        await made(on, call)
    (attempt,) = call.attempts
    assert attempt.proof is Proof.UNKNOWN
    assert attempt.elapsed == pytest.approx(3)
    assert call.doubt
    assert len(on.heard_of(events.AttemptFinished)) == 1


async def test_after_a_lost_one_a_post_leaves_right_behind_a_look_up_of_nothing() -> None:
    on, call = bench(CREATED, look_ups=[ABSENT]), already_lost()
    step = await made(on, call)
    assert step.answer.proof is Proof.APPLIED
    assert len(on.engine.looked) == 1
    (post,) = [one for one in on.engine.guards if one.latest is not None]
    assert post.latest == pytest.approx(on.engine.looked[0] + FRESH)


async def test_after_a_lost_one_a_post_does_not_leave_if_a_look_up_shows_any_link() -> None:
    on, call = bench(look_ups=[SHOWN]), already_lost()
    step = await made(on, call)
    assert on.engine.sent == []
    assert step.settled
    assert call.doubt, "the link that is there need not be ours"


async def test_a_read_needs_no_look_up() -> None:
    call = Call(operations.GET_TRANSACTION, BY_ORDER, options(), anyio.current_time())
    on = bench(answer(503), answer(200, b'{"orderNumber": "A-1"}'))
    assert (await made(on, call)).delay is not None
    assert (await made(on, call)).answer.proof is Proof.APPLIED
    assert len(on.engine.sent) == 2


async def test_who_does_not_listen_is_told_of_no_attempt() -> None:
    on = bench(CREATED)
    await made(on, creating(listening=False))
    assert on.heard == []


async def test_a_quota_that_is_spent_lets_nothing_follow() -> None:
    on, call = bench(not_sent(), not_sent()), creating()
    assert (await made(on, call)).delay is not None
    while on.sender._attempts.quota.spend(Proof.UNKNOWN):
        pass
    assert (await made(on, call)).delay is None
