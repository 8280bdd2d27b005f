"""The guide's endpoints, each in its framework: what is posted to them reaches the service."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import httpx
import pytest
from aiohttp.test_utils import TestClient, TestServer
from commandline import served
from posted import payment

from chat2pay_async import AsyncChat2Pay
from chat2pay_async.sandbox import Sandbox

GUIDE = Path(__file__).parents[2] / "docs" / "callbacks.md"
URL = "/callbacks/5f0c1d"
Post: TypeAlias = Callable[[bytes], Awaitable[int]]


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def recipe(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path
) -> Iterator[ModuleType]:
    """Import the program that the guide has for a framework, as it is used once pasted."""
    del sandbox  # the client's settings
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.DOTALL)
    (source,) = (block for block in blocks if f"from {request.param}" in block)
    name = f"callbacks_of_{request.param}"
    program = tmp_path / f"{name}.py"
    program.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, program)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


@asynccontextmanager
async def running(recipe: ModuleType) -> AsyncIterator[Post]:
    """Serve a program's app, and post to it."""
    app: Any = recipe.app
    match recipe.__name__.removeprefix("callbacks_of_"):
        case "flask":
            client = app.test_client()

            async def post_to_flask(body: bytes) -> int:
                response = await anyio.to_thread.run_sync(lambda: client.post(URL, data=body))
                return int(response.status_code)

            yield post_to_flask
            return
        case "aiohttp":
            async with TestClient(TestServer(app)) as aiohttp_client:

                async def post_to_aiohttp(body: bytes) -> int:
                    async with aiohttp_client.post(URL, data=body) as response:
                        return response.status

                yield post_to_aiohttp
            return
        case "fastapi":
            lifespan = app.router.lifespan_context(app)
        case "litestar":
            lifespan = app.lifespan()
        case _:
            lifespan = recipe.client
    transport = httpx.ASGITransport(app=app)
    async with lifespan, httpx.AsyncClient(transport=transport, base_url="http://shop") as shop:

        async def post(body: bytes) -> int:
            return (await shop.post(URL, content=body)).status_code

        yield post


async def link_of(order: str) -> str:
    async with AsyncChat2Pay() as client:
        link = await client.create_payment_link(
            channel="none", to="27831234567", order_number=order, currency="ZAR", total_amount=1
        )
    return link.payment_link_ref


ASYNC = ("fastapi", "aiohttp", "litestar", "django")


async def deliver(recipe: ModuleType, sandbox: Sandbox) -> None:
    """Post what the service posts, and what others do."""
    ref = await link_of("A-1")
    sandbox.pay(ref)
    async with running(recipe) as post:
        assert await post(payment(paymentLinkRef=ref)) == 200
        assert await post(payment(paymentLinkRef=ref)) == 200
        assert recipe.paid_orders == {"A-1"}
        assert await post(b"<html>") == 400
        assert await post(b"x" * 300_000) == 400
        # A forged one: there is no such link, and so no payment.
        assert await post(payment(paymentLinkRef="nobodys", orderNumber="A-2")) == 500


# On asyncio: that is what these frameworks run on.


@pytest.mark.parametrize("recipe", ASYNC, indirect=True)
def test_an_endpoint_answers_as_the_service_needs_it(
    recipe: ModuleType, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    anyio.run(deliver, recipe, sandbox)
    assert recipe.paid_orders == {"A-1"}
    assert "NotFoundError" in caplog.text
    assert sandbox.ledger.count("paid") == 1


async def store_and_work_off(recipe: ModuleType, sandbox: Sandbox) -> None:
    ref = await link_of("A-1")
    sandbox.pay(ref)
    async with running(recipe) as post:
        for _ in range(2):
            assert await post(payment(paymentLinkRef=ref)) == 200
        assert await post(b"<html>") == 400
        assert await post(b"x" * 300_000) == 413
    assert recipe.paid_orders == set()
    await recipe.work_off()


@pytest.mark.parametrize("recipe", ["flask"], indirect=True)
def test_what_is_stored_first_is_worked_off_once(
    recipe: ModuleType, sandbox: Sandbox, tmp_path: Path
) -> None:
    anyio.run(store_and_work_off, recipe, sandbox)
    assert recipe.paid_orders == {"A-1"}
    with sqlite3.connect(tmp_path / "inbox.db") as db:
        assert db.execute("SELECT count(*), sum(done) FROM inbox").fetchone() == (1, 1)
    db.close()
