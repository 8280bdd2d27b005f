"""The operations with everything that their exchange told."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import httpx
import pytest

from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, RawChat2Pay, RawResponse
from chat2pay_async._api.operations import OPERATIONS
from chat2pay_async.sandbox import Sandbox

KEY = "k-5f3c9b7e21"
RECEIPT = "https://shop.test/receipts/1"


def request_for(order_number: str) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number=order_number,
        currency="ZAR",
        total_amount="199.90",
        transaction_type="authorization",
    )


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(api_key=KEY)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncChat2Pay]:
    transport = httpx.ASGITransport(app=sandbox.app)
    async with AsyncChat2Pay(KEY, base_url="http://localhost", transport=transport) as client:
        yield client


@pytest.mark.anyio
async def test_each_operation_has_a_raw_response_with_its_whole_exchange(
    client: AsyncChat2Pay, sandbox: Sandbox
) -> None:
    raw = client.with_raw_response
    created = await raw.create_payment_link(request_for("A-1"))
    assert (created.status_code, len(created.attempts)) == (201, 1)
    assert created.headers["content-type"].startswith("application/json")
    assert b"paymentLinkRef" in created.body
    ref = created.parsed.payment_link_ref or ""
    sandbox.pay(ref)
    assert (await raw.capture_payment(ref, 100)).parsed.succeeded
    assert (await raw.create_receipt(ref, RECEIPT)).status_code == 201
    assert (await raw.reverse_payment(ref)).parsed.succeeded
    assert (await raw.get_transaction(payment_link_ref=ref)).parsed.order_number == "A-1"
    configuration = (await raw.get_configuration()).parsed
    application = configuration.integrators[0].application_id or ""
    assert (await raw.update_integration(application, "ACTIVATED")).status_code == 200
    other = (await raw.create_payment_link(request_for("A-2"))).parsed.payment_link_ref or ""
    assert (await raw.cancel_payment_link(other)).parsed.payment_link_ref == other


@pytest.mark.anyio
async def test_an_endpoint_that_is_not_known_has_one_too(client: AsyncChat2Pay) -> None:
    raw = client.with_raw_response
    assert (await raw.request("GET", "/api/v2/config")).parsed["environment"]
    assert inspect.signature(raw.request) == inspect.signature(client.request)


@pytest.mark.parametrize("name", [operation.name for operation in OPERATIONS])
def test_a_raw_operation_takes_what_the_clients_own_takes(name: str) -> None:
    raw, own = (inspect.signature(getattr(of, name)) for of in (RawChat2Pay, AsyncChat2Pay))
    assert raw.parameters == own.parameters
    assert raw.return_annotation == f"{RawResponse.__name__}[{own.return_annotation}]"


def test_it_has_the_operations_and_nothing_else() -> None:
    names = {name for name in vars(RawChat2Pay) if not name.startswith("_")}
    assert names == {operation.name for operation in OPERATIONS} | {"request"}
