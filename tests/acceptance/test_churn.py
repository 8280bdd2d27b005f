"""Random cancellations lose no connection of the pool (`tests/support/churn.py`)."""

from __future__ import annotations

import random

import anyio
import httpx
import pytest
from churn import (
    CONNECTIONS,
    LEAST,
    LONGEST_ANSWER,
    PATIENCE,
    WAYS,
    Certificates,
    Slotted,
    Spy,
    churn,
    served,
    slow_server,
    succeed,
)

from chat2pay_async._eventloop import current_loop
from chat2pay_async._transport.pool import PooledTransport

SECONDS = 1.5
HANG = 60.0
CALLS_AFTERWARDS = 200


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("way", WAYS)
def test_cancelled_calls_lose_no_connection(way: str, loop: str, scale: int, seed: int) -> None:
    anyio.run(lose_none, way, scale, seed, backend=loop)


async def lose_none(way: str, scale: int, seed: int) -> None:
    """Churn, then make calls over what is left of the pool."""
    certificates = Certificates.issue()
    server = slow_server(random.Random(seed), LONGEST_ANSWER)  # noqa: S311 - a load
    async with served(way, certificates, server) as (url, proxy):
        pool = PooledTransport(
            url,
            ssl_context=certificates.client,
            proxy=proxy,
            trust_env=False,
        )
        transport = Slotted(pool, CONNECTIONS)
        with Spy(pool) as spy:
            async with httpx.AsyncClient(transport=transport, timeout=10.0) as client:
                with anyio.fail_after(HANG * scale):
                    counts = await churn(
                        client,
                        url,
                        seconds=SECONDS * scale,
                        patience=PATIENCE[way],
                        seed=seed,
                    )
                good = await succeed(client, url, CALLS_AFTERWARDS)
        left = spy.open
    print(way, current_loop(), counts, spy.connected)
    assert min(counts["answered"], counts["cancelled"]) >= LEAST * SECONDS * scale
    assert good == CALLS_AFTERWARDS
    assert 0 < spy.most_open <= CONNECTIONS
    assert left == 0
