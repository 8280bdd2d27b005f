"""Responses that arrive twice: a copy of one is never the response to the next request."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from chat2pay_async import (
    AsyncChat2Pay,
    BadRequestError,
    NotFoundError,
    PaymentLinkRequest,
    RetryPolicy,
    Timeout,
)
from chat2pay_async.sandbox import InjectedFault, Sandbox, serve_sandbox

TRANSPORTS: list[Any] = [None, "fast"]
COPY = InjectedFault("repeated", seconds=(0.02, 0.02))


def request_for(order: str) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms", to="27000000001", order_number=order, currency="ZAR", total_amount="10.00"
    )


def client_of(sandbox: Sandbox, transport: Any) -> AsyncChat2Pay:
    """A client with one connection, which every request has to use."""
    return AsyncChat2Pay(
        sandbox.api_key,
        base_url=sandbox.url,
        transport=transport,
        max_connections=1,
        retry=RetryPolicy(settle=0.1, initial=0.001),
        timeout=Timeout(read=0.1),
    )


async def refused(sandbox: Sandbox, client: AsyncChat2Pay) -> None:
    link = await client.create_payment_link(request_for("A-1"))
    await client.cancel_payment_link(link.payment_link_ref or "")
    sandbox.next_faults("cancel_payment_link", [COPY])
    with pytest.raises(BadRequestError, match="already cancelled"):
        await client.cancel_payment_link(link.payment_link_ref or "")


async def not_found(sandbox: Sandbox, client: AsyncChat2Pay) -> None:
    sandbox.next_faults("get_transaction", [COPY])
    with pytest.raises(NotFoundError):
        await client.get_transaction(order_number="A-1")


async def read(sandbox: Sandbox, client: AsyncChat2Pay) -> None:
    sandbox.next_faults("get_configuration", [COPY])
    await client.get_configuration()


async def created(sandbox: Sandbox, client: AsyncChat2Pay) -> None:
    sandbox.next_faults("create_payment_link", [COPY])
    await client.create_payment_link(request_for("A-1"))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("first", [refused, not_found, read, created])
def test_a_copy_is_no_response_to_the_next_request(first: Any, transport: Any) -> None:
    async def create_after() -> None:
        async with serve_sandbox() as sandbox, client_of(sandbox, transport) as client:
            await first(sandbox, client)
            link = await client.create_payment_link(request_for("B-1"))
            assert link.payment_link_ref == sandbox.ref_of("B-1")
            assert sandbox.ledger.count("link_created", order_number="B-1") == 1
            copies = [kind for _operation, kind in sandbox.ledger.faults]
            assert copies == ["repeated"]

    anyio.run(create_after)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("first", ["update_integration", "get_configuration"])
def test_a_copy_is_no_response_to_the_next_update(first: Any, transport: Any) -> None:
    async def update_after() -> None:
        async with serve_sandbox() as sandbox, client_of(sandbox, transport) as client:
            one, another, _ = (await client.get_configuration()).integrators
            sandbox.next_faults(first, [COPY])
            if first == "update_integration":
                await client.update_integration(one.application_id or "", "DEACTIVATED")
            else:
                await client.get_configuration()
            # Refused: were the copy believed, it would have been done.
            sandbox.next_faults("update_integration", ["error_500_before"])
            await client.update_integration(another.application_id or "", "DEACTIVATED")
            status = {
                each.application_id: each for each in (await client.get_configuration()).integrators
            }
            assert status[another.application_id].status == "DEACTIVATED"
            fired = [kind for _operation, kind in sandbox.ledger.faults]
            assert fired == ["repeated", "error_500_before"]

    anyio.run(update_after)
