"""The sandbox's own paths: who may use them, what they refuse, and the limits of a request."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from sandbox_http import HttpWorld, order, read

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]
ALL = [
    *(("GET", path) for path in ("ledger", "links", "faults", "clock", "wire", "callbacks")),
    *(("PUT", path) for path in ("faults", "wire", "currencies")),
    *(("DELETE", path) for path in ("faults", "wire", "callbacks")),
    *(("POST", path) for path in ("faults/next", "apply-late", "clock", "callbacks", "accounts")),
    *(("POST", path) for path in ("links/r/pay", "orders/A-1/paid", "orders/A-1/fail-delivery")),
]


@pytest.fixture
def world() -> HttpWorld:
    return HttpWorld()


async def from_elsewhere(world: HttpWorld, method: str, path: str) -> int:
    transport = httpx.ASGITransport(app=world.sandbox.app, client=("192.0.2.1", 1))
    request = httpx.Request(method, f"http://localhost{path}")
    return (await transport.handle_async_request(request)).status_code


@pytest.mark.parametrize(("method", "path"), ALL)
async def test_controls_are_for_this_machine_unless_they_are_opened(
    world: HttpWorld, method: str, path: str
) -> None:
    assert await from_elsewhere(world, method, f"/sandbox/{path}") == 403
    world.sandbox.has_open_controls = True
    assert await from_elsewhere(world, method, f"/sandbox/{path}") in {200, 400, 404}


@pytest.mark.parametrize(("method", "path"), ALL)
async def test_a_page_of_another_site_plays_nobody(
    world: HttpWorld, method: str, path: str
) -> None:
    """A browser sends its requests from this machine, whoever has written the page."""
    transport = httpx.ASGITransport(app=world.sandbox.app)
    for origin, is_refused in {
        "http://evil.example": True,
        "http://localhost:1": True,
        "null": True,
        "http://localhost": False,
    }.items():
        headers = {"Origin": origin, "Host": "localhost"}
        request = httpx.Request(method, f"http://localhost/sandbox/{path}", headers=headers)
        response = await transport.handle_async_request(request)
        assert (response.status_code == 403) is is_refused


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "1", "null", '{"x": 1}', '"x"', "\udcff", "[[[[" * 999]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "clock"),
        ("PUT", "wire"),
        ("POST", "callbacks"),
        ("POST", "accounts"),
        ("PUT", "currencies"),
        ("PUT", "faults"),
        ("POST", "faults/next"),
    ],
)
async def test_what_a_control_can_not_read_is_refused_with_a_message(
    world: HttpWorld, method: str, path: str, body: str
) -> None:
    content = body.encode("utf-8", "surrogateescape")
    response = await world.ask(method, f"/sandbox/{path}", content)
    assert response.status_code == 400
    assert list(read(response)) == ["message"]


# httpx does not close a body of its own that an application stops reading.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
@pytest.mark.parametrize("path", ["/api/v2/chat-2-pay", "/sandbox/clock"])
async def test_a_body_of_more_than_a_mebibyte_is_refused(world: HttpWorld, path: str) -> None:
    response = await world.ask("POST", path, b" " * (1024 * 1024 + 1))
    assert response.status_code == 413
    assert read(response) == {
        "timestamp": "2026-03-01T12:00:00.000+0000",
        "status": 413,
        "error": "Payload Too Large",
        "path": path,
    }
    assert not world.sandbox.ledger.requests


async def test_a_body_of_a_mebibyte_is_read(world: HttpWorld) -> None:
    text = order()
    content = text.encode() + b" " * (1024 * 1024 - len(text))
    assert (await world.ask("POST", "/api/v2/chat-2-pay", content)).status_code == 201


# Wire forms


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ({}, {"timestamp": "2026-03-01T12:00:00.000+0000", "transactionStatusId": 2}),
        ({"timestamps": "rfc3339"}, {"timestamp": "2026-03-01T12:00:00.000Z"}),
        ({"timestamps": "epoch_seconds"}, {"timestamp": 1772366400}),
        ({"timestamps": "epoch_milliseconds"}, {"timestamp": 1772366400000}),
        ({"enums": "words"}, {"transactionStatus": "Payment Link Sent"}),
        ({"enums": "names"}, {"transactionStatus": "PAYMENT_LINK_SENT"}),
        (
            {"enums": "leaked"},
            {
                "transactionStatus": (
                    "TransactionStatus.PAYMENT_LINK_SENT(name=Payment Link Sent, id=2)"
                )
            },
        ),
        ({"numbers": "strings"}, {"transactionStatusId": "2", "paymentLinkTTL": "5"}),
        (
            {"timestamps": "epoch_seconds", "numbers": "strings"},
            {"timestamp": "1772366400", "transactionStatusId": "2"},
        ),
        (
            {"unknown_fields": True},
            {"fieldOfTomorrow": {"values": [1, "two", None]}, "transactionStatusId": 2},
        ),
    ],
)
async def test_values_are_written_in_the_forms_that_are_chosen(
    world: HttpWorld, forms: dict[str, Any], expected: dict[str, Any]
) -> None:
    set_ = await world.ask("PUT", "/sandbox/wire", json.dumps(forms))
    usual = {"timestamps": "jackson", "enums": "usual", "numbers": "numbers"}
    assert read(set_) == {**usual, "unknown_fields": False, **forms}
    assert read(await world.ask("GET", "/sandbox/wire")) == read(set_)
    body = read(await world.ask("POST", "/api/v2/chat-2-pay", order()))
    assert {name: body[name] for name in expected} == expected
    reset = await world.ask("DELETE", "/sandbox/wire")
    assert read(reset) == {**usual, "unknown_fields": False}


@pytest.mark.parametrize(
    ("enums", "expected"),
    [
        (
            "usual",
            ("SMS", "TransactionType.SALE(name=Sale, id=2)", "PAYMENT_LINK_SENT", "SUCCESS"),
        ),
        ("names", ("SMS", "SALE", "PAYMENT_LINK_SENT", "SUCCESS")),
        ("words", ("Sms", "Sale", "Payment Link Sent", "Success")),
        (
            "leaked",
            (
                "ChannelType.SMS(name=Sms, id=1)",
                "TransactionType.SALE(name=Sale, id=2)",
                "TransactionStatus.PAYMENT_LINK_SENT(name=Payment Link Sent, id=2)",
                "PaymentStatus.SUCCESS(name=Success, id=1)",
            ),
        ),
    ],
)
async def test_enums_are_written_alike_at_every_depth(
    world: HttpWorld, enums: Any, expected: tuple[str, ...]
) -> None:
    ref = await world.create()
    world.sandbox.pay(ref)
    await world.ask("PUT", "/sandbox/wire", f'{{"enums": "{enums}", "unknown_fields": true}}')
    body = read(
        await world.ask("GET", f"/api/v2/chat-2-pay/transaction-status?paymentLinkRef={ref}")
    )
    step = body["transactionStatuses"][1]
    assert (
        body["channelName"],
        body["paymentStatuses"][0]["transactionType"],
        step["transactionStatusName"],
        body["paymentStatus"],
    ) == expected
    assert "fieldOfTomorrow" in step


async def test_a_cancellation_and_an_error_are_written_in_the_forms_too(world: HttpWorld) -> None:
    ref = await world.create()
    await world.ask("PUT", "/sandbox/wire", '{"enums": "names", "timestamps": "rfc3339"}')
    body = read(await world.ask("POST", f"/api/v2/cancel/{ref}"))
    assert body["transactionStatus"] == "PAYMENT_LINK_CANCELLED"
    assert body["timestamp"] == "2026-03-01T12:00:00.000Z"


@pytest.mark.parametrize(
    "forms", [{"timestamps": "iso"}, {"enums": "ids"}, {"numbers": "floats"}, {"more": 1}]
)
async def test_an_unknown_form_is_refused(world: HttpWorld, forms: dict[str, Any]) -> None:
    response = await world.ask("PUT", "/sandbox/wire", json.dumps(forms))
    assert response.status_code == 400
    assert next(iter(forms)) in read(response)["message"]


# Callbacks


async def test_callbacks_are_set_and_listed_over_http(world: HttpWorld) -> None:
    target = {
        "url": "http://shop.example/hook",
        "kinds": ["payment_status", "configuration"],
        "copies": 2,
        "shuffle": 1.5,
    }
    body = read(await world.ask("POST", "/sandbox/callbacks", json.dumps(target)))
    urls = {"payment_status": [target["url"]], "configuration": [target["url"]]}
    assert body == {"urls": urls, "copies": 2, "pending": 0, "deliveries": []}
    callbacks = world.sandbox.callbacks
    assert (callbacks.copies, callbacks.shuffle) == (2, 1.5)
    world.sandbox.pay(await world.create())
    world.sandbox.advance(2)
    first, _ = world.sandbox.due_callbacks()
    callbacks.ended(first, 503, "", world.sandbox.now())
    body = read(await world.ask("GET", "/sandbox/callbacks"))
    assert body["pending"] == 2
    assert body["deliveries"] == [
        {
            "kind": "payment_status",
            "orderNumber": "A-1",
            "paymentLinkRef": world.sandbox.ref_of("A-1"),
            "url": target["url"],
            "attempt": 1,
            "status": 503,
            "error": "",
            "at": "2026-03-01T12:00:02.000+0000",
        }
    ]
    stopped = read(await world.ask("DELETE", "/sandbox/callbacks"))
    assert (stopped["urls"], stopped["pending"]) == ({}, 1)


async def test_a_url_that_is_none_is_refused_over_http(world: HttpWorld) -> None:
    response = await world.ask("POST", "/sandbox/callbacks", '{"url": "nowhere"}')
    assert response.status_code == 400
