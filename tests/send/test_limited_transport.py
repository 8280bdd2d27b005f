"""The limited transport: what comes before a request leaves, and what the request carries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import anyio.abc
import pytest
from scripted import fields_of

from chat2pay_async import __version__
from chat2pay_async._config import HeaderFields, Timeout
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import Limiter, RateLimit, RateLimiter, Slots
from chat2pay_async._transport.base import SendGuard, WireResponse
from chat2pay_async.errors import ConfigurationError, SentRequest

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SECRET = "Zx9-secret-key=="
READ = SentRequest("GET", "/api/v2/config")
WRITE = SentRequest("POST", "/api/v2/chat-2-pay", b"{}")
NO_BODY = SentRequest("POST", "/api/v2/cancel/ref-1")
ANSWER = WireResponse(200, {}, b"{}")


class Recorder:
    """An engine that notes what it is to send."""

    def __init__(self) -> None:
        self.exchanges: list[tuple[SentRequest, HeaderFields, Timeout]] = []
        self.limited: LimitedTransport | None = None
        self.closed = 0

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        assert guard == SendGuard()
        self.exchanges.append((request, headers, limits))
        return ANSWER

    async def aclose(self) -> None:
        self.closed += 1
        if self.limited is not None:
            with pytest.raises(ConfigurationError):
                self.limited.check_open()


class OwnLimiter:
    """A limiter as a user might write one: it knows nothing of look-ups."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def acquire(self) -> None:
        await anyio.sleep(1.0)
        self.told.append("acquire")

    def throttled(self, retry_after: float | None) -> None:
        self.told.append(retry_after)


def limited_by(
    recorder: Recorder, *, slots: int = 10, limiter: RateLimiter | Limiter | None = None
) -> LimitedTransport:
    return LimitedTransport(
        recorder, Slots(slots), RateLimiter() if limiter is None else limiter, SECRET
    )


# What leaves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [READ, WRITE, NO_BODY])
async def test_a_request_goes_out_as_it_is_with_the_keys_headers(request_: SentRequest) -> None:
    recorder, limits = Recorder(), Timeout(read=7.0)
    assert await limited_by(recorder).exchange(request_, limits) is ANSWER
    ((sent, headers, within),) = recorder.exchanges
    assert (sent, within) == (request_, limits)
    typed = {} if request_.body is None else {"Content-Type": "application/json"}
    assert fields_of(headers) == {
        "Authorization": SECRET,
        "Accept": "application/json",
        "User-Agent": f"chat2pay-async/{__version__}",
        **typed,
    }
    assert SECRET not in repr(headers)


async def test_it_knows_this_machines_time() -> None:
    before = datetime.now(UTC)
    now = limited_by(Recorder()).now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


# Slots and rate ----------------------------------------------------------------------------------


async def stay(
    limited: LimitedTransport,
    priority: bool,  # noqa: FBT001 - `start` passes no keywords
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    async with limited.slot(priority=priority):
        task_status.started()
        await anyio.sleep_forever()


async def room_for_one(limited: LimitedTransport, *, priority: bool) -> bool:
    with anyio.move_on_after(1.0):
        async with limited.slot(priority=priority):
            return True
    return False


async def test_look_ups_have_a_slot_where_calls_have_none() -> None:
    limited = limited_by(Recorder(), slots=10)
    async with anyio.create_task_group() as tasks:
        for _ in range(9):
            assert await room_for_one(limited, priority=False)
            await tasks.start(stay, limited, False)  # noqa: FBT003 - the same
        assert not await room_for_one(limited, priority=False)
        assert await room_for_one(limited, priority=True)
        await tasks.start(stay, limited, True)  # noqa: FBT003 - the same
        assert not await room_for_one(limited, priority=True)
        tasks.cancel_scope.cancel()


async def order_of_passing(limited: LimitedTransport) -> list[str]:
    """The order in which two calls and a look-up that comes after them pass."""
    passed: list[str] = []

    async def call(name: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        await limited.wait_for_rate(priority=name == "look-up")
        passed.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("first", "second", "look-up"):
            await tasks.start(call, name)
    return passed


async def test_look_ups_pass_the_rate_before_calls() -> None:
    limiter = RateLimiter(RateLimit(1))
    await limiter.acquire()
    assert await order_of_passing(limited_by(Recorder(), limiter=limiter)) == [
        "look-up",
        "first",
        "second",
    ]


async def test_a_429_pauses_calls_and_look_ups() -> None:
    limited = limited_by(Recorder())
    limited.throttled(30.0, 0.1)
    assert await order_of_passing(limited) == ["look-up", "first", "second"]


@pytest.mark.parametrize("priority", [True, False])
async def test_a_429_pauses_as_long_as_it_says(*, priority: bool) -> None:
    limited = limited_by(Recorder())
    began = anyio.current_time()
    limited.throttled(30.0, 0.1)
    await limited.wait_for_rate(priority=priority)
    assert anyio.current_time() - began == pytest.approx(30.0)


@pytest.mark.parametrize("asked", [None, 0.0, 120.0])
async def test_a_limiter_of_the_users_own_is_asked_for_look_ups_too(asked: float | None) -> None:
    limiter = OwnLimiter()
    limited = limited_by(Recorder(), limiter=limiter)
    began = anyio.current_time()
    await limited.wait_for_rate()
    assert limiter.told == ["acquire"]
    await limited.wait_for_rate(priority=True)
    assert limiter.told == ["acquire", "acquire"]
    assert anyio.current_time() - began == pytest.approx(2.0)
    limited.throttled(asked, 0.1)
    assert limiter.told == ["acquire", "acquire", asked]


async def test_a_limiter_that_fails_when_it_is_told_of_a_throttle_decides_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(OwnLimiter):
        def throttled(self, retry_after: float | None) -> None:
            raise RuntimeError(retry_after)

    assert limited_by(Recorder(), limiter=Broken()).throttled(2.5, 0.1) == 2.5
    assert [record.getMessage() for record in caplog.records] == ["a limiter's `throttled` failed"]


async def test_throttled_returns_the_pause() -> None:
    limited = limited_by(Recorder())
    asked = (None, 0.0, 0.999, 2.5, 60.0, 3600.0)
    assert [limited.throttled(each, 0.1) for each in asked] == [1.0, 1.0, 1.0, 2.5, 60.0, 60.0]


async def seconds_for_one_more(limited: LimitedTransport) -> float:
    """Seconds between two requests, after a pause of a second."""
    await anyio.sleep(1.0)
    await limited.wait_for_rate()
    began = anyio.current_time()
    await limited.wait_for_rate()
    return anyio.current_time() - began


async def test_responses_other_than_429_teach_what_rate_is_allowed() -> None:
    limited = limited_by(Recorder())
    for status in [200, 201, 404, 503] * 10 + [429] * 30:
        limited.note(WireResponse(status, {}, b"{}"))
    limited.throttled(None, 0.1)
    assert await seconds_for_one_more(limited) == pytest.approx(1 / 40)


async def test_a_late_throttle_of_what_was_sent_before_a_pause_lowers_the_rate_no_more() -> None:
    limited = limited_by(Recorder(), limiter=RateLimiter(RateLimit(10)))
    limited.throttled(None, 0.1)
    await anyio.sleep(1.3)
    limited.throttled(None, 1.5)
    assert await seconds_for_one_more(limited) == pytest.approx(0.1 / 0.7)
    limited.throttled(None, 0.1)
    assert await seconds_for_one_more(limited) == pytest.approx(0.1 / 0.49, rel=0.1)


async def test_a_limiter_of_the_users_own_is_told_of_throttles_only() -> None:
    limiter = OwnLimiter()
    limited = limited_by(Recorder(), limiter=limiter)
    limited.note(ANSWER)
    assert limiter.told == []


# The service's time -------------------------------------------------------------------------------

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
LATE = {"date": "Mon, 04 May 2026 23:00:00 GMT"}
BLOCK_PAGE = b"<html>Access denied</html>"


def noting(*responses: WireResponse) -> LimitedTransport:
    """A transport that noted a response of noon, and then others."""
    limited = limited_by(Recorder())
    for response in (
        WireResponse(200, {"date": "Mon, 04 May 2026 12:00:00 GMT"}, b"{}"),
        *responses,
    ):
        limited.note(response)
    return limited


async def test_the_services_time_is_that_of_its_latest_response_and_goes_on() -> None:
    assert limited_by(Recorder()).service_time() is None
    limited = noting()
    await anyio.sleep(90)
    assert limited.service_time() == NOON + timedelta(seconds=90)
    limited.note(WireResponse(200, LATE, b"{}"))
    assert limited.service_time() == NOON + timedelta(hours=11)


@pytest.mark.parametrize(
    "response",
    [
        WireResponse(200, LATE | {"age": "1"}, b"{}"),
        WireResponse(403, LATE, BLOCK_PAGE),
        WireResponse(403, LATE, b'{"message": "Forbidden"}'),
        WireResponse(200, LATE, BLOCK_PAGE),
        WireResponse(502, LATE, b""),
    ],
    ids=["cache", "block page", "message", "page", "empty"],
)
async def test_the_time_of_a_cache_or_of_somebody_else_is_not_the_services(
    response: WireResponse,
) -> None:
    assert noting(response).service_time() == NOON


async def test_the_interval_of_two_requests_is_known_for_our_own_limiter() -> None:
    assert limited_by(
        Recorder(), limiter=RateLimiter(RateLimit(5, per=2))
    ).interval == pytest.approx(0.4)
    assert limited_by(Recorder(), limiter=RateLimiter()).interval == 0
    assert limited_by(Recorder(), limiter=OwnLimiter()).interval == 0


# Closed -------------------------------------------------------------------------------------------


async def test_a_closed_transport_refuses_to_be_used() -> None:
    recorder = Recorder()
    limited = recorder.limited = limited_by(recorder)
    limited.check_open()
    await limited.aclose()
    assert recorder.closed == 1
    with pytest.raises(ConfigurationError, match="this client is closed"):
        limited.check_open()


async def test_a_request_that_waited_is_not_sent_once_the_transport_is_closed() -> None:
    recorder = Recorder()
    limited = limited_by(recorder)
    await limited.wait_for_rate()
    await limited.aclose()
    with pytest.raises(ConfigurationError, match="this client is closed"):
        await limited.exchange(NO_BODY, Timeout())
    assert recorder.exchanges == []


async def test_a_limited_transport_may_be_closed_twice() -> None:
    recorder = Recorder()
    limited = limited_by(recorder)
    await limited.aclose()
    await limited.aclose()
    with pytest.raises(ConfigurationError):
        limited.check_open()
