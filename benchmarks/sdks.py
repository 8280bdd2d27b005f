"""Measured peers, second part: SDKs, which write and read JSON in their own way, and ours."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
from payload import (
    API_KEY,
    HEADERS,
    PATH,
    SUB_TOTAL,
    TAX,
    TOTAL,
    TTL,
    BadAnswerError,
    encode,
    numbers,
    order,
)
from peers import LIMIT, Call, Target, load, peer

from chat2pay_async import AsyncChat2Pay, LineItem, PaymentLinkRequest, SentRequest, Timeout

# stripe and openai: pointed at our server ---------------------------------------------------------

TEXTS = (str(TOTAL), str(SUB_TOTAL), str(TAX))
"""Amounts for the SDKs that can't write a `Decimal` as a JSON number."""


async def _stripe(target: Target, name: str) -> AsyncIterator[Call]:
    library = load("stripe")
    # It trusts its own list of authorities, and no other.
    library.ca_bundle_path = os.environ.get("SSL_CERT_FILE", library.ca_bundle_path)
    http_client = getattr(library, name)()
    client = library.StripeClient(
        "sk_test_key", http_client=http_client, base_addresses={"api": target.url}
    )

    async def call() -> object:
        answer = await client.raw_request_async("post", "/v2/links", **order(*TEXTS))
        return client.deserialize(answer, api_mode="V2")

    yield call
    await http_client.close_async()


@peer("stripe (httpx)", "raw_request of v2 and its object; stock")
async def stripe_httpx(target: Target) -> AsyncIterator[Call]:
    """The default of its async client."""
    async for call in _stripe(target, "HTTPXClient"):
        yield call


@peer("stripe (aiohttp)", "the same over aiohttp")
async def stripe_aiohttp(target: Target) -> AsyncIterator[Call]:
    """Its other one."""
    async for call in _stripe(target, "AIOHTTPClient"):
        yield call


def _openai_model() -> Any:
    """The answer, as openai's generated models look."""
    fields = {
        "paymentLinkRef": str,
        "transactionStatus": str,
        "transactionStatusId": int,
        "timestamp": datetime,
        "paymentLink": str,
        "paymentLinkTTL": int,
        "paymentPageTTL": int,
    }
    return type("Link", (load("openai").BaseModel,), {"__annotations__": fields})


async def _openai(target: Target, http_client: Any = None) -> AsyncIterator[Call]:
    made = load("openai").AsyncOpenAI(api_key=API_KEY, base_url=target.url, http_client=http_client)
    model = _openai_model()
    async with made as client:

        async def call() -> object:
            return await client.post(PATH, body=order(*TEXTS), cast_to=model)

        yield call


@peer("openai", "client.post() into a model; its own limits: 1 000 connections, 100 kept")
async def openai(target: Target) -> AsyncIterator[Call]:
    """Its default."""
    async for call in _openai(target):
        yield call


@peer("openai (aiohttp)", "the same over httpx-aiohttp")
async def openai_aiohttp(target: Target) -> AsyncIterator[Call]:
    """Its other one."""
    async for call in _openai(target, load("openai").DefaultAioHttpClient()):
        yield call


# What one writes in an afternoon ------------------------------------------------------------------


@attrs.define
class Item:
    """A line of an order."""

    name: str
    unitPrice: Decimal  # noqa: N815 - as on the wire
    quantity: int
    sku: str


@attrs.define
class Order:
    """The order that is sent, named as on the wire, as one does in an afternoon."""

    channel: str
    to: str
    orderNumber: str  # noqa: N815 - as on the wire, here and below
    currency: str
    totalAmount: Decimal  # noqa: N815
    taxAmount: Decimal  # noqa: N815
    subTotalAmount: Decimal  # noqa: N815
    timestamp: datetime
    returnPaymentLink: bool  # noqa: N815
    transactionType: str  # noqa: N815
    reconciliationId: str  # noqa: N815
    orderLineItems: list[Item]  # noqa: N815
    additionalData: dict[str, str]  # noqa: N815


@attrs.define
class Link:
    """The link that comes back."""

    paymentLinkRef: str  # noqa: N815
    transactionStatus: str  # noqa: N815
    transactionStatusId: int  # noqa: N815
    timestamp: datetime
    paymentLink: str  # noqa: N815
    paymentLinkTTL: int  # noqa: N815
    paymentPageTTL: int  # noqa: N815


ADDITIONAL = {"campaign": "spring", "requestId": "9a7b330aa0c5d2e14f68b1c7d9e0f2a3"}
RECONCILIATION = "5f0c8a1e-77b2-4c39-9d54-0e6b1f2a3c4d"


def handmade_order() -> Order:
    """An order of `payload`'s, as values."""
    return Order(
        channel="sms",
        to="27831234567",
        orderNumber=f"SPRING-{next(numbers):08}",
        currency="ZAR",
        totalAmount=TOTAL,
        taxAmount=TAX,
        subTotalAmount=SUB_TOTAL,
        timestamp=datetime.now(UTC),
        returnPaymentLink=True,
        transactionType="Sale",
        reconciliationId=RECONCILIATION,
        orderLineItems=[Item("Running shoes", SUB_TOTAL, 1, "RS-42")],
        additionalData=ADDITIONAL,
    )


def handmade_converter() -> Any:
    """Exact amounts, and the service's kind of timestamps."""
    converter = load("cattrs").Converter()
    converter.register_structure_hook(
        datetime,
        lambda text, _: datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z"),
    )
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    return converter


@peer("handmade", "an afternoon's httpx (stock), attrs, cattrs and tenacity")
async def handmade(target: Target) -> AsyncIterator[Call]:
    """With the retries of tenacity's own documentation."""
    json, tenacity = load("msgspec").json, load("tenacity")
    encoder = json.Encoder(decimal_format="number")
    decoder = json.Decoder(float_hook=Decimal)
    converter = handmade_converter()
    library = load("httpx")
    async with library.AsyncClient(base_url=target.url, headers=HEADERS, timeout=30) as client:
        retrying = tenacity.retry(
            retry=tenacity.retry_if_exception_type(library.ConnectError),
            wait=tenacity.wait_random_exponential(max=8),
            stop=tenacity.stop_after_attempt(4),
            reraise=True,
        )

        async def post(body: bytes) -> Any:
            answer = await client.post(PATH, content=body)
            answer.raise_for_status()
            return answer

        patient_post = retrying(post)

        async def call() -> object:
            answer = await patient_post(encoder.encode(converter.unstructure(handmade_order())))
            return converter.structure(decoder.decode(answer.content), Link)

        yield call


# Ours ---------------------------------------------------------------------------------------------


def our_order() -> PaymentLinkRequest:
    """An order of `payload`'s, checked; the SDK adds a minted id to its additional data."""
    return PaymentLinkRequest(
        channel="sms",
        to="27831234567",
        order_number=f"SPRING-{next(numbers):08}",
        currency="ZAR",
        total_amount=TOTAL,
        tax_amount=TAX,
        sub_total_amount=SUB_TOTAL,
        return_payment_link=True,
        transaction_type="Sale",
        reconciliation_id=RECONCILIATION,
        order_line_items=(
            LineItem(name="Running shoes", unit_price=SUB_TOTAL, quantity=1, sku="RS-42"),
        ),
        additional_data={"campaign": "spring"},
    )


async def _ours(target: Target, **settings: Any) -> AsyncIterator[Call]:
    made = AsyncChat2Pay(API_KEY, base_url=target.url, max_connections=LIMIT, **settings)
    async with made as client:

        async def call() -> object:
            return await client.create_payment_link(our_order())

        yield call


@peer("chat2pay_async", "stock: 100 connections", http2=True)
async def ours(target: Target) -> AsyncIterator[Call]:
    """As users have it."""
    async for call in _ours(target, http2=target.http2):
        yield call


@peer("chat2pay_async (fast)", 'transport="fast"')
async def ours_fast(target: Target) -> AsyncIterator[Call]:
    """The fast transport."""
    async for call in _ours(target, transport="fast"):
        yield call


async def _transport_alone(target: Target, **settings: Any) -> AsyncIterator[Call]:
    # Nobody's to use, and free to change: then only these lines of the tables are missing.
    transport = load("chat2pay_async._transport.factory").transport_for(target.url, **settings)
    guard = load("chat2pay_async._transport.base").SendGuard
    sent = HEADERS | {"User-Agent": "chat2pay-async/0"}
    headers = load("chat2pay_async._config").Headers(sent)
    request, limits = SentRequest("POST", PATH, encode(order())), Timeout()
    decode = load("msgspec").json.Decoder(float_hook=Decimal).decode

    async def call() -> object:
        answer = await transport.exchange(request, headers, limits, guard())
        parsed = decode(answer.body)
        if parsed["paymentPageTTL"] != TTL:
            raise BadAnswerError(answer.status_code)
        return parsed

    yield call
    await transport.aclose()


@peer(
    "chat2pay_async transport alone",
    "the same bytes again and again; the answer is parsed, as the SDK does it, and no more",
    http2=True,
)
async def transport_alone(target: Target) -> AsyncIterator[Call]:
    """Yield what the SDK itself comes on top of."""
    async for call in _transport_alone(target, http2=target.http2):
        yield call


@peer("chat2pay_async (fast) transport alone", "the same without an httpx object on the way")
async def transport_alone_fast(target: Target) -> AsyncIterator[Call]:
    """The fast transport."""
    async for call in _transport_alone(target, transport="fast"):
        yield call
