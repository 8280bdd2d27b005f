"""The pace that is learnt: its curve, and many rows behind services that limit their rate."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import LINK, answer

from chat2pay_async import RateLimit, RetryPolicy, SentRequest, Timeout, events
from chat2pay_async._api.operations import CREATE_PAYMENT_LINK
from chat2pay_async._config import ApiKey, HeaderFields
from chat2pay_async._send.call import Options
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import Pace, RateLimiter, Slots
from chat2pay_async._send.sender import Sender
from chat2pay_async._transport.base import SendGuard, WireResponse
from chat2pay_async.errors import Chat2PayError

# The curve ----------------------------------------------------------------------------------------


def pace_of(*, accepted: int, ceiling: float = math.inf, within: float = 1.0) -> Pace:
    """A pace after a throttle, before which so many requests were accepted within so long."""
    pace = Pace(ceiling)
    for number in range(accepted):
        pace.note_accepted(within * number / accepted)
    pace.lower(within, math.inf)
    return pace


def settled_at(rate: int) -> Pace:
    """A pace that searched, and found that about so much is allowed."""
    pace = pace_of(accepted=rate)
    # One second after the pause it is at four times as much, and as much as ever was accepted.
    for number in range(10 * rate):
        pace.use(number / (10 * rate))
    for number in range(rate):
        pace.note_accepted(10 + number / rate)
    pace.lower(11, 1.0)
    return pace


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1e9, math.inf])
def test_before_any_throttle_the_rate_is_the_setting_or_unlimited(seconds: float) -> None:
    assert Pace(40).after(seconds) == 40
    assert not Pace(40).is_unlimited
    assert Pace().after(seconds) == math.inf
    assert Pace().is_unlimited


@pytest.mark.parametrize(("accepted", "start"), [(0, 1), (1, 1), (20, 20), (300, 300)])
def test_the_first_throttle_teaches_what_was_accepted_in_the_last_second(
    accepted: int, start: float
) -> None:
    pace = pace_of(accepted=accepted)
    assert not pace.is_unlimited
    assert pace.after(0.0) == pytest.approx(start)


def test_what_was_accepted_is_counted_over_a_second_or_the_last_ten() -> None:
    assert pace_of(accepted=1000, within=10.0).after(0.0) == pytest.approx(100, abs=1)
    assert pace_of(accepted=30, within=6.0).after(0.0) == pytest.approx(5, abs=0.1)
    pace = Pace()
    for _ in range(500):
        pace.note_accepted(0.0)
    pace.lower(60.0, math.inf)
    assert pace.after(0.0) == 1.0, "what was accepted a minute ago says nothing about now"


def test_a_search_doubles_the_rate_twice_a_second() -> None:
    pace = pace_of(accepted=100)
    rates = [pace.use(number / 1000) for number in range(2001)]
    assert rates[0] == pytest.approx(100)
    assert rates[500] == pytest.approx(200)
    assert rates[2000] == pytest.approx(1600)


def test_a_search_with_few_requests_rises_by_a_tenth_with_each_at_most() -> None:
    pace = pace_of(accepted=1)
    assert [pace.use(10.0 * number) for number in range(4)] == pytest.approx([1, 1.1, 1.21, 1.331])


def test_after_an_hour_a_search_is_still_a_number() -> None:
    assert pace_of(accepted=1).after(3600.0) == pytest.approx(1.1 * 1 / 1.1)


def test_a_search_ends_just_below_what_was_accepted() -> None:
    pace = settled_at(100)
    assert pace.after(0.0) == pytest.approx(95)
    assert pace.after(3.0) == pytest.approx(95)


def test_a_search_that_went_far_too_fast_ends_just_below_what_was_accepted_as_well() -> None:
    pace = pace_of(accepted=100)
    for number in range(1000):
        pace.use(number / 500)
    for number in range(50):
        pace.note_accepted(10 + number / 50)
    pace.lower(11, 2.0)  # at 1 600 a second
    assert pace.after(0.0) == pace.after(3.0) == pytest.approx(0.95 * 50)


def test_the_rate_falls_to_seven_tenths_and_rises_to_a_plateau_and_slowly_beyond() -> None:
    pace = settled_at(100)
    for number in range(110):
        pace.note_accepted(20 + number / 110)
    pace.lower(21, 10.0)
    was = settled_at(100).after(10.0)
    assert was == pytest.approx(114, abs=1)
    assert pace.after(0.0) == pytest.approx(0.7 * was)
    plateau = 0.95 * 110
    assert pace.after(1.0) == pytest.approx(plateau - (plateau - 0.7 * was) * 8 / 27)
    assert pace.after(3.0) == pytest.approx(plateau)
    assert pace.after(7.0) == pytest.approx(plateau * (1 + 0.3 / 8))
    assert pace.after(11.0) == pytest.approx(plateau * 1.3)
    assert pace.after(27.0) == pytest.approx(plateau * (1 + 0.3 * 27))


def test_what_is_accepted_within_a_moment_takes_no_more_of_a_plateau_than_a_throttle_does() -> None:
    pace = settled_at(100)
    for number in range(20):
        pace.note_accepted(20 + number / 100)
    pace.lower(20.2, 0.2)  # 20 in a fifth of a second, and then one throttle
    assert pace.after(3.0) == pytest.approx(0.7 * 95, 1e-3)
    pace.lower(21.2, 0.0)
    pace.lower(22.2, 0.0)
    assert pace.after(3.0) == pytest.approx(0.7 * 95, 1e-3), "throttles in a row say no more"
    assert pace.after(0.0) == pytest.approx(0.7**3 * 95)


def test_throttles_in_a_row_lower_a_search_to_seven_tenths_each() -> None:
    pace = pace_of(accepted=100)
    pace.lower(2.0, 0.0)
    pace.lower(3.0, 0.0)
    assert pace.after(0.0) == pytest.approx(49)
    for number in range(20):
        pace.lower(4.0 + number, 0.0)
    assert pace.after(0.0) == 1.0


def test_a_low_rate_rises_beyond_its_plateau_by_a_cube_of_the_seconds() -> None:
    pace = settled_at(10)
    assert pace.after(3.0) == pytest.approx(9.5)
    assert pace.after(8.0) == pytest.approx(9.5 + 0.05 * 125)
    assert pace.after(13.0) == pytest.approx(9.5 + 0.05 * 1000)


def test_where_the_client_sent_less_than_it_might_have_a_throttle_begins_a_new_search() -> None:
    pace = settled_at(100)
    for number in range(20):
        pace.note_accepted(20 + number / 20)
    pace.lower(21, 5.0)  # at 95 a second, 20 were accepted
    assert pace.after(0.0) == pytest.approx(20)
    assert pace.use(0.0) < pace.use(0.1) < pace.use(0.2)
    again = settled_at(100)
    again.note_accepted(20)
    again.lower(21, 5.0)
    assert again.after(0.0) == 1.0, "one request a second is known to be harmless"


def test_where_nothing_is_accepted_the_plateau_is_remembered() -> None:
    pace = settled_at(100)
    for number in range(20):
        pace.lower(20 + number, 0.0)
    assert pace.after(0.0) == pytest.approx(0.05 * 95)
    assert pace.after(6.0) == pytest.approx(95, rel=0.01)
    idle = settled_at(100)
    idle.lower(1e4, 1e4)  # grown beyond all measure in the meantime
    assert idle.after(0.0) == pytest.approx(0.7 * 95)


def test_a_set_rate_falls_by_seven_tenths_however_little_was_sent() -> None:
    pace = pace_of(accepted=1, ceiling=100)
    assert pace.after(0.0) == pytest.approx(70)
    assert pace.after(3.0) == pytest.approx(100)


def test_a_set_rate_above_what_is_allowed_learns_what_is() -> None:
    pace = pace_of(accepted=100, ceiling=300)
    assert pace.after(0.0) == pytest.approx(95)
    assert pace.after(3.0) == pytest.approx(95)
    assert pace.after(1e6) == 300


def test_a_set_rate_never_falls_below_a_twentieth_later_either() -> None:
    pace = Pace(100)
    for second in range(20):
        pace.lower(second, 0.0)
    for number in range(2):
        pace.note_accepted(20 + number / 2)
    pace.lower(21, 0.0)  # at 5 a second, 2 were accepted
    assert pace.after(0.0) == pace.after(3.0) == pytest.approx(5)


@given(
    ceiling=st.just(math.inf) | st.floats(0.01, 1e6),
    steps=st.lists(
        st.tuples(st.floats(0, 1e5), st.integers(0, 200), st.sampled_from([0.0, 0.1, 5, 1e4])),
        max_size=20,
    ),
)
def test_the_rate_stays_between_its_bounds_and_never_falls_by_itself(
    ceiling: float, steps: list[tuple[float, int, float]]
) -> None:
    pace, now = Pace(ceiling), 0.0
    for seconds, accepted, span in steps:
        rates = [pace.use(share * seconds / 5) for share in range(6)]
        assert rates == sorted(rates)
        now += seconds
        for number in range(accepted):
            pace.note_accepted(now + number * span / 200)
        now += span
        was = pace.after(seconds)
        pace.lower(now, seconds)
        lowest = min(ceiling, 0.1 if ceiling == math.inf else max(0.1, 0.05 * ceiling))
        assert lowest <= pace.after(0.0) <= max(0.7 * was, 1.0, lowest) * (1 + 1e-9)
        assert pace.after(0.0) < math.inf


# Behind a limiter ---------------------------------------------------------------------------------

Allows = Callable[[float], bool]


def bucket(rate: Callable[[float], float] | float, burst: int) -> Allows:
    """A token bucket, whose rate may change with time."""
    tokens, latest = float(burst), 0.0

    def allows(now: float) -> bool:
        nonlocal tokens, latest
        current = rate(now) if callable(rate) else rate
        tokens, latest = min(burst, tokens + (now - latest) * current), now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return allows


def fixed_window(most: int, per: float = 1.0) -> Allows:
    counts: dict[float, int] = {}

    def allows(now: float) -> bool:
        window = now // per
        allowed = counts.get(window, 0) < most
        counts[window] = counts.get(window, 0) + allowed
        return allowed

    return allows


def sliding_window(most: int, per: float = 1.0) -> Allows:
    times: deque[float] = deque()

    def allows(now: float) -> bool:
        while times and times[0] <= now - per:
            times.popleft()
        allowed = len(times) < most
        if allowed:
            times.append(now)
        return allowed

    return allows


@attrs.define
class Service:
    """A service behind a limiter: half of its latency passes before the limiter, half after it."""

    allows: Allows
    latency: float = 0.05
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    jitter: random.Random = attrs.field(factory=lambda: random.Random(14))  # noqa: S311
    applied: list[float] = attrs.field(factory=list)
    throttled: int = 0
    began: float = math.nan

    async def exchange(
        self, request: SentRequest, headers: HeaderFields, limits: Timeout, guard: SendGuard
    ) -> WireResponse:
        del request, headers, limits, guard
        if math.isnan(self.began):
            self.began = anyio.current_time()
        half = self.latency * self.jitter.uniform(0.9, 1.1) / 2
        await anyio.sleep(half)
        now = anyio.current_time() - self.began
        allowed = self.allows(now)
        if allowed:
            self.applied.append(now)
            response = answer(201, b'{"paymentLinkRef": "ref-%d"}' % len(self.applied))
        else:
            self.throttled += 1
            response = WireResponse(429, dict(self.headers), b"{}")
        await anyio.sleep(half)
        return response

    async def aclose(self) -> None:
        """Do nothing."""

    def rate_between(self, begin: float, end: float) -> float:
        return sum(begin <= time < end for time in self.applied) / (end - begin)


async def send_rows(
    service: Service, rows: int, *, workers: int = 64, limit: RateLimit | None = None
) -> float:
    """Create so many links, as a run does; return how many a second. None may fail."""
    key = ApiKey("secret-key")
    transport = LimitedTransport(service, Slots(100), RateLimiter(limit), key.reveal())
    sender = Sender(transport, events.Hooks([]), key, "https://s.test")
    options = Options(Timeout(total=None), RetryPolicy())
    numbers, failed = iter(range(rows)), list[Chat2PayError]()

    async def work() -> None:
        for number in numbers:
            link = attrs.evolve(LINK, order_number=f"A-{number}")
            try:
                await sender.send(CREATE_PAYMENT_LINK, link, options)
            except Chat2PayError as error:
                failed.append(error)

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(work)
    assert failed == []
    assert len(service.applied) == rows
    return rows / (anyio.current_time() - began)


@pytest.fixture(autouse=True)
def _same_jitter_each_time() -> Iterator[None]:
    """The back-off's randomness is that of `random`."""
    state = random.getstate()
    random.seed(14)
    yield
    random.setstate(state)


behind_a_limiter = [pytest.mark.anyio, pytest.mark.virtual_time, pytest.mark.one_loop]


class TestRows:
    """Rows behind a limiter, where no rate is set."""

    pytestmark = behind_a_limiter

    @pytest.mark.parametrize("latency", [0.01, 0.05, 0.1])
    async def test_of_100_a_second_at_least_80_get_through_and_no_row_fails(
        self, latency: float
    ) -> None:
        service = Service(bucket(100, burst=20), latency)
        assert await send_rows(service, 1500) >= 80
        assert service.throttled < 100, "most of them at the very first"

    @pytest.mark.parametrize(
        ("allows", "rows", "least"),
        [
            (lambda: bucket(5, burst=5), 100, 4.5),
            (lambda: bucket(1000, burst=100), 4000, 600),
            (lambda: fixed_window(100), 1500, 80),
            (lambda: sliding_window(100), 1500, 80),
            (lambda: sliding_window(50, per=10.0), 150, 3.0),
        ],
        ids=["5-a-second", "1000-a-second", "fixed-window", "sliding-window", "long-window"],
    )
    async def test_most_of_what_is_allowed_gets_through(
        self, allows: Callable[[], Allows], rows: int, least: float
    ) -> None:
        assert await send_rows(Service(allows()), rows) >= least

    async def test_the_pace_follows_a_limit_that_falls_and_rises(self) -> None:
        service = Service(bucket(lambda now: 20 if 10 <= now < 25 else 100, burst=20))
        await send_rows(service, 2600)
        assert service.rate_between(4, 10) >= 75
        assert service.rate_between(12, 25) >= 15
        assert service.rate_between(40, 48) >= 75
        assert service.throttled < 150

    @pytest.mark.parametrize("seed", range(3))
    async def test_throttles_by_chance_leave_a_pace_at_which_calls_can_be_looked_up(
        self, seed: int
    ) -> None:
        chance = random.Random(seed)  # noqa: S311 - throttles that a seed can repeat
        storm = 0

        def allows(_now: float) -> bool:
            nonlocal storm
            if chance.random() < 0.01:
                storm = chance.randint(1, 5)
            storm -= 1
            return storm < 0

        service = Service(allows)
        assert await send_rows(service, 1500) >= 12
        assert service.throttled >= 30
        ends = range(10, int(service.applied[-1]), 5)
        assert min(service.rate_between(end - 10, end) for end in ends) >= 2

    async def test_after_20_seconds_in_which_all_is_throttled_the_pace_is_soon_back(self) -> None:
        regular = bucket(100, burst=20)
        service = Service(lambda now: not 8 <= now < 28 and regular(now))
        await send_rows(service, 1500)
        assert service.rate_between(4, 8) >= 75
        assert service.rate_between(31, 35) >= 75

    async def test_a_rate_that_is_set_too_high_comes_down_to_what_is_allowed(self) -> None:
        service = Service(bucket(100, burst=20))
        assert await send_rows(service, 1500, limit=RateLimit(300)) >= 55
        assert service.rate_between(15, 20) >= 75

    @pytest.mark.parametrize("headers", [{"retry-after": "0"}, {"retry-after-ms": "1"}])
    async def test_no_pause_is_asked_for_and_the_client_makes_one(
        self, headers: Mapping[str, str]
    ) -> None:
        service = Service(bucket(100, burst=20), headers=headers)
        assert await send_rows(service, 300) >= 50
        assert service.throttled < 100

    async def test_one_throttle_of_a_client_that_sends_little_hardly_slows_it(self) -> None:
        asked = 0

        def allows(_now: float) -> bool:
            nonlocal asked
            asked += 1
            return asked != 5

        service = Service(allows)
        transport = LimitedTransport(service, Slots(10), RateLimiter(), "secret-key")
        sender = Sender(transport, events.Hooks([]), ApiKey("secret-key"), "https://s.test")
        took: list[float] = []
        for number in range(10):
            began = anyio.current_time()
            link = attrs.evolve(LINK, order_number=f"A-{number}")
            await sender.send(CREATE_PAYMENT_LINK, link, Options())
            took.append(anyio.current_time() - began)
            await anyio.sleep(5.0)
        assert service.throttled == 1
        assert max(took[:4] + took[5:]) < 0.06
        assert 1.0 < took[4] < 2.0


@attrs.define
class LateThrottles:
    """Throttles two requests that were sent at once, the second one after 1.6 s."""

    delays: list[float] = attrs.field(factory=lambda: [0.1, 1.6])

    async def exchange(
        self, request: SentRequest, headers: HeaderFields, limits: Timeout, guard: SendGuard
    ) -> WireResponse:
        del request, headers, limits, guard
        await anyio.sleep(self.delays.pop(0) if self.delays else math.inf)
        return answer(429)

    async def aclose(self) -> None:
        """Do nothing."""


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("looks_up", [False, True])
async def test_two_requests_that_were_on_the_wire_at_once_lower_the_rate_once(
    *, looks_up: bool
) -> None:
    limiter = RateLimiter(RateLimit(10, burst=2))
    transport = LimitedTransport(LateThrottles(), Slots(10), limiter, "secret-key")
    sender = Sender(transport, events.Hooks([]), ApiKey("secret-key"), "https://s.test")

    async def call() -> None:
        if looks_up:
            await sender.look_for(CREATE_PAYMENT_LINK, LINK, Options(), math.inf)
        else:
            await sender.send(CREATE_PAYMENT_LINK, LINK, Options())

    with anyio.move_on_after(1.7):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            tasks.start_soon(call)
    await anyio.sleep(0.9)  # the pause that the late one began ends
    began = anyio.current_time()
    for _ in range(3):
        await limiter.acquire()
    assert anyio.current_time() - began == pytest.approx(2 * 0.1 / 0.7 - 0.1, rel=0.05)
