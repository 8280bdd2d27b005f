"""Waiting for a payment is patient with what passes, and no longer."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from chat2pay_async import (
    BadRequestError,
    NotFoundError,
    PaymentStatus,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
    Transaction,
    TransportError,
)
from chat2pay_async._polling import MOST_FAILURES, wait_for_payment

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

PAID = Transaction(payment_status=PaymentStatus.SUCCESS)
OPEN = Transaction(payment_status=PaymentStatus.PENDING)
Seen = Transaction | Exception


def unavailable() -> ServerError:
    return ServerError("503", status_code=503)


def missing() -> NotFoundError:
    return NotFoundError("404", status_code=404)


async def waited(
    *seen: Seen, settle: float = 10.0, within: float | None = None
) -> tuple[Transaction, list[float]]:
    """Wait, with one thing seen at each look; the last again and again."""
    looks: list[float] = []
    script = list(seen)
    started = anyio.current_time()

    async def look() -> Transaction:
        looks.append(anyio.current_time() - started)
        act = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(act, Exception):
            raise act
        return act

    found = await wait_for_payment(look, settle=settle, timeout=within, initial=1.0, maximum=4.0)
    return found, looks


async def test_look_ups_back_off() -> None:
    found, looks = await waited(OPEN, OPEN, OPEN, OPEN, OPEN, OPEN, PAID)
    assert found is PAID
    assert looks == pytest.approx([0, 1, 2.5, 4.75, 8.125, 12.125, 16.125])


async def test_a_new_link_may_not_be_shown_yet() -> None:
    found, looks = await waited(missing(), missing(), OPEN, PAID)
    assert (found, len(looks)) == (PAID, 4)


async def test_a_link_that_is_not_shown_in_time_does_not_exist() -> None:
    with pytest.raises(NotFoundError):
        await waited(missing(), settle=10.0, within=60)
    assert anyio.current_time() > 10


async def test_a_link_that_is_never_shown_within_the_time_to_wait_does_not_exist() -> None:
    with pytest.raises(NotFoundError):
        await waited(missing(), settle=10.0, within=5)
    assert anyio.current_time() < 10


async def test_a_link_that_was_shown_and_is_no_more_does_not_exist() -> None:
    with pytest.raises(NotFoundError):
        await waited(OPEN, missing(), PAID)


@pytest.mark.parametrize(
    "failure",
    [
        unavailable,
        lambda: TransportError("no answer"),
        lambda: ResponseDecodeError("another link's", status_code=200, body=b"{}"),
        lambda: RateLimitedError("429", status_code=429),
    ],
)
async def test_a_passing_failure_does_not_end_the_polling(failure: Callable[[], Exception]) -> None:
    failures = [failure() for _ in range(MOST_FAILURES - 1)]
    found, looks = await waited(OPEN, *failures, OPEN, *failures, PAID)
    assert found is PAID
    assert len(looks) == 2 * MOST_FAILURES + 1


async def test_a_failure_that_does_not_pass_ends_the_polling() -> None:
    with pytest.raises(ServerError):
        await waited(OPEN, *[unavailable() for _ in range(MOST_FAILURES)], PAID)


async def test_any_other_refusal_ends_the_polling_at_once() -> None:
    with pytest.raises(BadRequestError):
        await waited(BadRequestError("400", status_code=400), PAID)


async def test_the_last_failed_look_up_is_the_cause_of_the_timeout() -> None:
    with pytest.raises(RequestTimeoutError) as caught:
        await waited(unavailable(), within=3)
    assert isinstance(caught.value.__cause__, ServerError)
    with pytest.raises(RequestTimeoutError) as caught:
        await waited(unavailable(), OPEN, within=3)
    assert caught.value.__cause__ is None
