"""A sandbox in this process, spoken to over HTTP in JSON written by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from chat2pay_async.sandbox import Sandbox

STATUS = "/api/v2/chat-2-pay/transaction-status"
ORDER = {
    "channel": '"sms"',
    "to": '"27831234567"',
    "orderNumber": '"A-1"',
    "timestamp": '"2026-03-01T12:00:00.000Z"',
    "currency": '"ZAR"',
    "totalAmount": "199.90",
}


class HttpWorld:
    """A sandbox in this process, its clock, and a way to talk to it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.sandbox = Sandbox(clock=lambda: self.now, seed=1)
        self._transport = httpx.ASGITransport(app=self.sandbox.app)

    async def ask(
        self, method: str, path: str, body: str | bytes = b"", key: str = "sandbox-key"
    ) -> httpx.Response:
        headers = [(b"Authorization", key.encode())] if key else []
        url = f"http://localhost{path}"
        request = httpx.Request(method, url, content=body, headers=headers)
        response = await self._transport.handle_async_request(request)
        await response.aread()
        return response

    async def create(self, **changes: str) -> str:
        response = await self.ask("POST", "/api/v2/chat-2-pay", order(**changes))
        assert response.status_code == 201
        return str(response.json()["paymentLinkRef"])


def order(**changes: str) -> str:
    """Write a create request; a change is JSON text, and an empty one leaves the field out."""
    fields = {**ORDER, **changes}
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items() if text) + "}"


def read(response: httpx.Response) -> Any:
    return json.loads(response.content, parse_float=Decimal)


def receipt(ref: str) -> str:
    link = '"https://shop.example/r/1"'
    return f'{{"paymentLinkRef":"{ref}","receiptLink":{link},"timestamp":{ORDER["timestamp"]}}}'
