"""The delivery of callbacks over real sockets, while the sandbox is served."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from chat2pay_async.sandbox import Sandbox, serve_sandbox

ORDER = {
    "channel": "sms",
    "to": "27831234567",
    "orderNumber": "A-1",
    "currency": "ZAR",
    "totalAmount": 1,
    "timestamp": "2026-03-01T12:00:00Z",
}


class Shop:
    """A shop's server, which answers with the statuses that it is told, and then with 200."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.statuses: list[int] = []
        self.answers = threading.Event()
        self.answers.set()
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                shop.posted.append((self.headers["content-type"], json.loads(body)))
                shop.answers.wait(30)
                self.send_response(shop.statuses.pop(0) if shop.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.close()


def create(sandbox: Sandbox) -> str:
    url, headers = f"{sandbox.url}/api/v2/chat-2-pay", {"authorization": sandbox.api_key}
    response = httpx.post(url, json=ORDER, headers=headers, trust_env=False)
    assert response.status_code == 201
    return str(response.json()["paymentLinkRef"])


def test_callbacks_are_posted_in_order_as_json(shop: Shop) -> None:
    with serve_sandbox() as sandbox:
        sandbox.callbacks.send_to(shop.url)
        sandbox.pay(create(sandbox))
        sandbox.callbacks.wait()
    assert {kind for kind, _ in shop.posted} == {"application/json"}
    assert [body.get("paymentStatus") for _, body in shop.posted] == [
        "PENDING",
        "SUCCESS",
        "SUCCESS",
    ]
    assert [each.status for each in sandbox.callbacks.deliveries] == [200] * 3


def test_a_refused_callback_is_delivered_again_when_the_clock_says_so(shop: Shop) -> None:
    shop.statuses = [500, 204]
    with serve_sandbox() as sandbox:
        sandbox.callbacks.send_to(shop.url, "transaction_status")
        create(sandbox)
        for attempts in (1, 2):
            while len(sandbox.callbacks.deliveries) < attempts:
                threading.Event().wait(0.005)
            sandbox.advance(60)
        sandbox.callbacks.wait()
    deliveries = sandbox.callbacks.deliveries
    assert [(each.attempt, each.status) for each in deliveries] == [(1, 500), (2, 204), (3, 200)]
    assert shop.posted[0] == shop.posted[1] == shop.posted[2]


def test_a_shop_that_is_down_gets_its_callbacks_when_the_sandbox_is_served_again(
    shop: Shop,
) -> None:
    sandbox = Sandbox()
    with serve_sandbox(sandbox):
        sandbox.callbacks.send_to("http://127.0.0.1:9/hook", "transaction_status")
        create(sandbox)
        while not sandbox.callbacks.deliveries:
            threading.Event().wait(0.005)
    (failed,) = sandbox.callbacks.deliveries
    assert (failed.status, failed.error) == (None, "ConnectError")
    assert sandbox.callbacks.pending == 1
    sandbox.callbacks.stop()
    sandbox.callbacks.send_to(shop.url)
    sandbox.change_currencies("USD")
    assert sandbox.callbacks.pending == 1
    with serve_sandbox(sandbox):
        sandbox.callbacks.wait()
    assert len(shop.posted) == 1


def test_what_a_stopped_sandbox_was_about_to_post_is_still_to_come(shop: Shop) -> None:
    shop.answers.clear()
    with serve_sandbox() as sandbox:
        sandbox.callbacks.send_to(shop.url, "transaction_status")
        create(sandbox)
        while not shop.posted:
            threading.Event().wait(0.005)
    assert sandbox.callbacks.deliveries == ()
    assert [posting.attempt for posting in sandbox.due_callbacks()] == [1]
    shop.answers.set()


def test_each_account_has_callbacks_of_its_own(shop: Shop) -> None:
    with serve_sandbox() as sandbox:
        other = sandbox.add_account("another-key")
        other.callbacks.send_to(shop.url)
        create(sandbox)
        create(other)
        other.callbacks.wait()
    assert len(shop.posted) == 1
    assert sandbox.callbacks.made == ()
