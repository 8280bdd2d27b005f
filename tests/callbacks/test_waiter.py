"""Waiting for payments by callbacks: thousands of them cost one paced poller."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from posted import CONFIGURATION, payment, posted, transaction

from chat2pay_async import AsyncChat2Pay, ConfigurationError, RequestTimeoutError, Transaction
from chat2pay_async.callbacks import CallbackWaiter, Router, parse
from chat2pay_async.sandbox import Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Links(httpx.AsyncBaseTransport):
    """Payment links that are open until they are paid; it counts the requests."""

    def __init__(self) -> None:
        self.paid = set[str]()
        self.times = list[float]()
        self.asked: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        ref = request.url.params["paymentLinkRef"]
        self.asked[ref] += 1
        self.times.append(anyio.current_time())
        status = "SUCCESS" if ref in self.paid else "PENDING"
        return httpx.Response(
            200, content=json.dumps({"paymentLinkRef": ref, "paymentStatus": status})
        )


@pytest.fixture
def links() -> Links:
    return Links()


@asynccontextmanager
async def client_of(transport: httpx.AsyncBaseTransport) -> AsyncIterator[AsyncChat2Pay]:
    async with AsyncChat2Pay("key", base_url="http://localhost", transport=transport) as client:
        yield client


def paid(ref: str) -> Any:
    return parse(payment(paymentLinkRef=ref))


async def test_waiting_for_10_000_links_costs_one_paced_poller(links: Links) -> None:
    waiter, found = CallbackWaiter(rate=5.0), list[Transaction]()

    async def wait(client: AsyncChat2Pay, ref: str) -> None:
        found.append(await client.wait_for_payment(ref, waiter=waiter))

    async with client_of(links) as client, anyio.create_task_group() as tasks:
        began = anyio.current_time()
        for number in range(10_000):
            tasks.start_soon(wait, client, f"ref-{number}")
        await anyio.sleep(599.9)
        # Each link by itself would have been looked at 45 times: 450 000 requests.
        assert len(links.times) == 5 * 600
        assert max(links.asked.values()) == 1
        gaps = [late - soon for soon, late in zip(links.times, links.times[1:], strict=False)]
        assert min(gaps) == pytest.approx(0.2)
        # Those that are never looked at otherwise: 1 000 callbacks cost 1 000 requests.
        for number in range(9_000, 10_000):
            links.paid.add(f"ref-{number}")
            waiter.notify(paid(f"ref-{number}"))
        await anyio.sleep(0.15)
        assert len(found) == 1_000
        assert len(links.times) == 5 * 600 + 1_000 + 1
        tasks.cancel_scope.cancel()
    assert anyio.current_time() - began < 601


async def test_without_a_waiter_each_payment_has_its_own_look_ups(links: Links) -> None:
    async with client_of(links) as client, anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(client.wait_for_payment, f"ref-{number}")
        await anyio.sleep(60)
        assert len(links.times) == 100 * 9
        tasks.cancel_scope.cancel()


async def test_the_payment_that_is_due_for_longest_comes_first(links: Links) -> None:
    waiter = CallbackWaiter(rate=1.0)
    async with client_of(links) as client, anyio.create_task_group() as tasks:
        for ref in "abcd":
            tasks.start_soon(
                lambda ref: client.wait_for_payment(ref, waiter=waiter, maximum=1.0), ref
            )
        await anyio.sleep(40.5)
        assert sorted(links.asked.values()) == [10, 10, 10, 11]
        tasks.cancel_scope.cancel()


async def test_a_callback_wakes_the_payment_that_it_is_about(links: Links) -> None:
    waiter = CallbackWaiter(rate=0.01)
    began = anyio.current_time()
    async with client_of(links) as client, anyio.create_task_group() as tasks:

        async def pay() -> None:
            await anyio.sleep(30)
            links.paid.add("ref-1")
            waiter.notify(paid("ref-1"))

        tasks.start_soon(pay)
        found = await client.wait_for_payment("ref-1", waiter=waiter)
    assert found.payment_link_ref == "ref-1"
    assert anyio.current_time() - began == 30
    assert links.asked == {"ref-1": 2}


async def test_a_callback_that_came_before_the_wait_is_not_lost(links: Links) -> None:
    waiter = CallbackWaiter(rate=0.01)
    links.paid.add("ref-1")
    waiter.notify(paid("ref-1"))
    async with client_of(links) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.wait_for_payment("ref-2", waiter=waiter))
        await anyio.sleep(1)
        began = anyio.current_time()
        await client.wait_for_payment("ref-1", waiter=waiter)
        assert anyio.current_time() == began
        tasks.cancel_scope.cancel()


async def test_a_callback_that_is_ahead_of_the_status_endpoint_is_asked_for_again_soon(
    links: Links,
) -> None:
    waiter = CallbackWaiter(rate=0.01)
    async with client_of(links) as client, anyio.create_task_group() as tasks:

        async def pay() -> None:
            await anyio.sleep(30)
            waiter.notify(paid("ref-1"))
            await anyio.sleep(7)
            links.paid.add("ref-1")

        tasks.start_soon(pay)
        await client.wait_for_payment("ref-1", waiter=waiter)
    assert [time - links.times[0] for time in links.times] == [*(0, 30, 31.5, 33.5, 35.5, 37.5)]


async def test_a_flood_of_forged_callbacks_costs_few_requests_and_is_not_believed(
    links: Links,
) -> None:
    waiter = CallbackWaiter(rate=0.01)

    async def forge() -> None:
        while True:
            waiter.notify(paid("ref-1"))
            waiter.notify(paid("nobodys"))
            await anyio.sleep(0.05)

    async with client_of(links) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(forge)
        with pytest.raises(RequestTimeoutError):
            await client.wait_for_payment("ref-1", waiter=waiter, timeout=60)
        tasks.cancel_scope.cancel()
    # Of 1 200: one every 2 s.
    assert links.asked == {"ref-1": 31}


@pytest.mark.parametrize(
    "body",
    [
        transaction("PAYMENT_LINK_CLICKED", paymentLinkRef="ref-1"),
        payment(paymentLinkRef="ref-1", paymentStatus="REVIEW"),
        payment(paymentLinkRef=None),
        posted(CONFIGURATION),
    ],
)
async def test_what_tells_no_end_wakes_nobody(links: Links, body: bytes) -> None:
    waiter = CallbackWaiter(rate=0.01)
    async with client_of(links) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.wait_for_payment("ref-1", waiter=waiter))
        await anyio.sleep(1)
        waiter.notify(parse(body))
        await anyio.sleep(1)
        assert links.asked == {"ref-1": 1}
        waiter.notify(parse(posted({"paymentLinkRef": "ref-1", "event": "NEW"})))
        await anyio.sleep(1)
        assert links.asked == {"ref-1": 2}
        tasks.cancel_scope.cancel()


async def test_a_router_tells_the_waiter_of_every_callback(links: Links) -> None:
    waiter = CallbackWaiter(rate=0.01)
    router = Router(waiter=waiter)
    async with client_of(links) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.wait_for_payment("ref-1", waiter=waiter))
        await anyio.sleep(1)
        links.paid.add("ref-1")
        assert await router.respond(payment(paymentLinkRef="ref-1")) == 200
    assert links.times[1] - links.times[0] == 1


async def test_several_may_wait_for_one_payment(links: Links) -> None:
    waiter = CallbackWaiter(rate=1.0)
    async with client_of(links) as client, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(lambda: client.wait_for_payment("ref-1", waiter=waiter))
        await anyio.sleep(10.5)
        links.paid.add("ref-1")
        waiter.notify(paid("ref-1"))
    assert links.asked == {"ref-1": 11 + 3}


async def test_whoever_waits_no_more_takes_no_turn(links: Links) -> None:
    waiter = CallbackWaiter(rate=0.1)
    async with client_of(links) as client:
        for ref in ("ref-1", "ref-2", "ref-3"):
            with pytest.raises(RequestTimeoutError):
                await client.wait_for_payment(ref, waiter=waiter, timeout=6)
    assert links.asked == {"ref-1": 1, "ref-2": 1}
    assert links.times[1] - links.times[0] == 10
    assert waiter._waiting == {}


async def test_a_payment_that_was_woken_in_vain_waits_for_its_turn_again(links: Links) -> None:
    waiter = CallbackWaiter(rate=0.1)
    async with client_of(links) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.wait_for_payment("ref-1", waiter=waiter, maximum=1.0))
        await anyio.sleep(0.5)
        waiter.notify(paid("ref-1"))
        await anyio.sleep(99)
        began = links.times[0]
        tasks.cancel_scope.cancel()
    # Every second for ten seconds from its callback on, then every ten seconds.
    assert [time - began for time in links.times] == [
        *(0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5),
        *(11.5, 21.5, 31.5, 41.5, 51.5, 61.5, 71.5, 81.5, 91.5),
    ]


async def test_each_turn_comes_when_it_is_due_and_not_when_anothers_was() -> None:
    waiter, ends = CallbackWaiter(rate=10), dict[str, float]()

    async def pause(name: str, seconds: float, within: float = 1_000) -> None:
        with anyio.move_on_after(within):
            await waiter.pause(name, seconds)
            ends[name] = anyio.current_time() - began

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for name, seconds, within in (("late", 100, 999), ("gone", 5, 1), ("soon", 7, 999)):
            tasks.start_soon(pause, name, seconds, within)
        await anyio.sleep(2)
        tasks.start_soon(pause, "later", 50)
    assert ends == {"soon": 7, "later": 52, "late": 100}


async def test_the_timer_may_come_for_nobody() -> None:
    waiter = CallbackWaiter(rate=10)
    with anyio.move_on_after(1):
        await waiter.pause("gone", 5)
    await anyio.sleep(10)
    began = anyio.current_time()
    await waiter.pause("next", 3)
    assert anyio.current_time() - began == 3


async def test_what_was_woken_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallbackWaiter, "MOST_WOKEN", 2)
    waiter = CallbackWaiter()
    for number in range(5):
        waiter.notify(paid(f"ref-{number}"))
    assert list(waiter._woken) == ["ref-3", "ref-4"]


@pytest.mark.parametrize("rate", [0, -1, "5", None, float("nan"), float("inf")])
def test_a_rate_is_a_number_above_0(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match="rate"):
        CallbackWaiter(rate=rate)


async def test_the_sandboxs_own_records_wake_and_end_a_wait() -> None:
    sandbox = Sandbox("key", seed=1)
    waiter = CallbackWaiter(rate=0.01)
    async with client_of(httpx.ASGITransport(app=sandbox.app)) as client:
        link = await client.create_payment_link(
            channel="sms", to="27831234567", order_number="A-1", currency="ZAR", total_amount="1"
        )
        ref, found = link.payment_link_ref, list[Transaction]()

        async def wait() -> None:
            found.append(await client.wait_for_payment(ref, waiter=waiter))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            sandbox.pay(ref)
            raw = await client.with_raw_response.get_transaction(payment_link_ref=ref)
            waiter.notify(parse(raw.body))
    assert found[0].is_paid
