"""A sandbox behind a gate that holds POSTs, and calls that are made while it is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    PaymentLinkRequest,
    RetryPolicy,
    Timeout,
)
from chat2pay_async._send import flights
from chat2pay_async.sandbox import Sandbox

KEY = "sandbox-key"


def order(number: str = "A-1", **fields: Any) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number=number,
        currency="ZAR",
        total_amount="199.90",
        **fields,
    )


class Gate(httpx.AsyncBaseTransport):
    """The sandbox behind a gate that may hold POSTs, and lose them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._inner = httpx.ASGITransport(app=sandbox.app)
        self.posts = 0
        self.bodies: list[bytes] = []
        self.opens: anyio.Event | None = None
        self.fails: list[Exception] = []
        """Raised instead of the next POSTs, which never arrive."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.posts += 1
            self.bodies.append(request.content)
            if self.opens is not None:
                await self.opens.wait()
            if self.fails:
                raise self.fails.pop(0)
        return await self._inner.handle_async_request(request)


@asynccontextmanager
async def client_of(gate: httpx.AsyncBaseTransport, **more: Any) -> AsyncIterator[AsyncChat2Pay]:
    settings: dict[str, Any] = {
        "base_url": "http://localhost",
        "transport": gate,
        "timeout": Timeout(read=1.0, total=90.0),
        "retry": RetryPolicy(settle=1.0, initial=0.1, maximum=0.2),
    }
    async with AsyncChat2Pay(KEY, **(settings | more)) as client:
        yield client
    assert flights._all == {}, "a flight goes with its call"


async def ends_of(gate: Gate, *calls: Callable[[], Any]) -> list[Any]:
    """Make calls in this order while the gate is closed, then open it; return how they end."""
    gate.opens = anyio.Event()
    ends: list[Any] = [None] * len(calls)

    async def make(place: int, call: Callable[[], Any]) -> None:
        try:
            ends[place] = await call()
        except Chat2PayError as error:
            ends[place] = error

    async with anyio.create_task_group() as tasks:
        for place, call in enumerate(calls):
            tasks.start_soon(make, place, call)
            await anyio.sleep(0.1)
        gate.opens.set()
    return ends
