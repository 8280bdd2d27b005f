"""The line: what is waited for before a request leaves, what it carries, and when it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import anyio
import anyio.abc
import pytest

from chat2pay_async import __version__
from chat2pay_async._config import Timeout
from chat2pay_async._send.limited_transport import Line
from chat2pay_async._send.limits import Gate, Limiter, Pace, RateLimit
from chat2pay_async._transport.base import WireResponse
from chat2pay_async._transport.httpx import SendGuard
from chat2pay_async.errors import ConfigurationError, SentRequest

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SECRET = "Zx9-secret-key=="
READ = SentRequest("GET", "/api/v2/config")
WRITE = SentRequest("POST", "/api/v2/chat-2-pay", b"{}")
NO_BODY = SentRequest("POST", "/api/v2/cancel/ref-1")
ANSWER = WireResponse(200, {}, b"{}")


class Wire:
    """An engine that notes what it is to send."""

    def __init__(self) -> None:
        self.exchanges: list[tuple[SentRequest, Mapping[str, str], Timeout]] = []
        self.line: Line | None = None
        self.closed = 0

    async def exchange(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        assert guard == SendGuard()
        self.exchanges.append((request, headers, limits))
        return ANSWER

    async def aclose(self) -> None:
        self.closed += 1
        if self.line is not None:
            with pytest.raises(ConfigurationError):
                self.line.check_open()


class OwnLimiter:
    """A limiter as a user might write one: it knows nothing of look-ups."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def acquire(self) -> None:
        await anyio.sleep(1.0)
        self.told.append("acquire")

    def throttled(self, retry_after: float | None) -> None:
        self.told.append(retry_after)


def line_to(wire: Wire, *, places: int = 10, pace: Pace | Limiter | None = None) -> Line:
    return Line(wire, Gate(places), Pace() if pace is None else pace, SECRET)


# What leaves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [READ, WRITE, NO_BODY])
async def test_a_request_goes_out_as_it_is_with_the_keys_headers(request_: SentRequest) -> None:
    wire, limits = Wire(), Timeout(read=7.0)
    assert await line_to(wire).exchange(request_, limits) is ANSWER
    ((sent, headers, within),) = wire.exchanges
    assert (sent, within) == (request_, limits)
    typed = {} if request_.body is None else {"Content-Type": "application/json"}
    assert headers == {
        "Authorization": SECRET,
        "Accept": "application/json",
        "User-Agent": f"chat2pay-async/{__version__}",
        **typed,
    }
    assert SECRET not in repr(headers)


async def test_the_line_knows_this_machines_time() -> None:
    before = datetime.now(UTC)
    now = line_to(Wire()).now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


# Places and turns ---------------------------------------------------------------------------------


async def stay(line: Line, ahead: bool, *, task_status: anyio.abc.TaskStatus[None]) -> None:  # noqa: FBT001 - `start` passes no keywords
    async with line.place_ahead if ahead else line.place:
        task_status.started()
        await anyio.sleep_forever()


async def room_for_one(line: Line, *, ahead: bool) -> bool:
    with anyio.move_on_after(1.0):
        async with line.place_ahead if ahead else line.place:
            return True
    return False


async def test_look_ups_have_a_place_where_calls_have_none() -> None:
    line = line_to(Wire(), places=10)
    async with anyio.create_task_group() as tasks:
        for _ in range(9):
            assert await room_for_one(line, ahead=False)
            await tasks.start(stay, line, False)  # noqa: FBT003 - the same
        assert not await room_for_one(line, ahead=False)
        assert await room_for_one(line, ahead=True)
        await tasks.start(stay, line, True)  # noqa: FBT003 - the same
        assert not await room_for_one(line, ahead=True)
        tasks.cancel_scope.cancel()


async def order_of_turns(line: Line) -> list[str]:
    """In which order two calls and a look-up that comes after them have their turns."""
    turns: list[str] = []

    async def call(name: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        await (line.turn_ahead() if name == "look-up" else line.turn())
        turns.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("first", "second", "look-up"):
            await tasks.start(call, name)
    return turns


async def test_look_ups_have_their_turn_before_calls() -> None:
    pace = Pace(RateLimit(1))
    await pace.acquire()
    assert await order_of_turns(line_to(Wire(), pace=pace)) == ["look-up", "first", "second"]


async def test_a_429_pauses_calls_and_look_ups() -> None:
    line = line_to(Wire())
    began = anyio.current_time()
    line.throttled(30.0)
    assert await order_of_turns(line) == ["look-up", "first", "second"]
    assert anyio.current_time() - began == pytest.approx(30.0)


@pytest.mark.parametrize("asked", [None, 0.0, 120.0])
async def test_a_limiter_of_the_users_own_is_asked_for_look_ups_too(asked: float | None) -> None:
    limiter = OwnLimiter()
    line = line_to(Wire(), pace=limiter)
    began = anyio.current_time()
    await line.turn()
    assert limiter.told == ["acquire"]
    await line.turn_ahead()
    assert limiter.told == ["acquire", "acquire"]
    assert anyio.current_time() - began == pytest.approx(2.0)
    line.throttled(asked)
    assert limiter.told == ["acquire", "acquire", asked]


async def test_a_line_says_how_long_it_pauses() -> None:
    line = line_to(Wire())
    assert [line.throttled(asked) for asked in (None, 2.5, 60.0, 3600.0)] == [1.0, 2.5, 60.0, 60.0]


async def test_a_line_tells_the_time_between_two_requests_where_it_is_known() -> None:
    assert line_to(Wire(), pace=Pace(RateLimit(5, per=2))).interval == pytest.approx(0.4)
    assert line_to(Wire(), pace=Pace()).interval == 0
    assert line_to(Wire(), pace=OwnLimiter()).interval == 0


# Closed -------------------------------------------------------------------------------------------


async def test_a_closed_line_refuses_to_be_used() -> None:
    wire = Wire()
    line = wire.line = line_to(wire)
    line.check_open()
    await line.aclose()
    assert wire.closed == 1
    with pytest.raises(ConfigurationError, match="this client is closed"):
        line.check_open()


async def test_what_waited_for_its_turn_does_not_leave_once_the_line_is_closed() -> None:
    wire = Wire()
    line = line_to(wire)
    await line.turn()
    await line.aclose()
    with pytest.raises(ConfigurationError, match="this client is closed"):
        await line.exchange(NO_BODY, Timeout())
    assert wire.exchanges == []


async def test_a_line_may_be_closed_twice() -> None:
    wire = Wire()
    line = line_to(wire)
    await line.aclose()
    await line.aclose()
    with pytest.raises(ConfigurationError):
        line.check_open()
