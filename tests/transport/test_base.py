"""When a request may leave, and what an exchange without an answer says."""

from __future__ import annotations

import anyio
import pytest

from chat2pay_async import Proof
from chat2pay_async._transport.base import ExchangeError, SendGuard

pytestmark = pytest.mark.anyio


async def test_a_request_may_leave_whenever_unless_it_must_leave_by_a_time() -> None:
    SendGuard()()


@pytest.mark.virtual_time
async def test_a_request_that_must_leave_by_a_time_may_leave_until_then_and_no_later() -> None:
    latest = anyio.current_time() + 1.0
    SendGuard(latest=latest)()
    await anyio.sleep(0.9)
    SendGuard(latest=latest)()
    await anyio.sleep(0.2)
    guard = SendGuard(latest=latest)
    with pytest.raises(ExchangeError, match="TooLate") as caught:
        guard()
    assert (caught.value.proof, caught.value.timed_out) == (Proof.NOT_SENT, False)
    assert (guard.was_too_late, guard.may_have_been_sent, guard.was_written) == (True, False, False)


@pytest.mark.virtual_time
async def test_a_request_that_has_left_is_not_called_too_late_afterwards() -> None:
    guard = SendGuard(latest=anyio.current_time() + 1.0)
    guard()
    await anyio.sleep(1.1)
    guard()
    assert (guard.was_too_late, guard.may_have_been_sent, guard.was_written) == (False, True, True)


def test_a_request_may_have_left_until_the_contrary_is_certain() -> None:
    assert SendGuard().may_have_been_sent


def test_an_exchange_without_an_answer_says_why_and_what_that_proves() -> None:
    error = ExchangeError("ReadTimeout", proof=Proof.UNKNOWN, timed_out=True)
    assert (str(error), error.reason) == ("ReadTimeout", "ReadTimeout")
    assert (error.proof, error.timed_out) == (Proof.UNKNOWN, True)
