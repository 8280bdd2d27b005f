"""An application as users write it: a web app that holds a client, and its tests by pytest-asyncio.

Everything else runs under anyio's plugin; this runs as most users' own tests do, on asyncio and
on uvloop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chat2pay_async import (
    AsyncChat2Pay,
    ConfigurationError,
    Event,
    PaymentLinkRequest,
    RequestValidationError,
    RetryPolicy,
    Timeout,
    Verdict,
)
from chat2pay_async.events import OutcomeUnknown
from chat2pay_async.sandbox import Sandbox, serve_sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")


def request_for(order: str) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms", to="27831234567", order_number=order, currency="ZAR", total_amount="10.00"
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with serve_sandbox() as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncChat2Pay]:
    async with AsyncChat2Pay(sandbox.api_key, base_url=sandbox.url) as shared:
        yield shared


# A client for all tests of a module ---------------------------------------------------------------


@pytest.mark.parametrize("order", ["M-1", "M-2", "M-3"])
async def test_a_client_is_shared_by_the_tests_of_a_module(
    client: AsyncChat2Pay, sandbox: Sandbox, order: str
) -> None:
    created = await client.create_payment_link(request_for(order))
    assert created.payment_link_ref
    assert sandbox.ledger.count("link_created", order_number=order) >= 1


async def test_calls_are_gathered(client: AsyncChat2Pay) -> None:
    orders = [f"G-{number}" for number in range(20)]
    links = await asyncio.gather(*map(client.create_payment_link, map(request_for, orders)))
    assert len({link.payment_link_ref for link in links}) == 20


# A web application that holds a client ------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Hold one client for as long as the application runs, and let its jobs end before it."""
    app.state.unknown = []

    def remember(event: Event) -> None:
        if isinstance(event, OutcomeUnknown):
            app.state.unknown.append(event.pending)

    sandbox: Sandbox = app.state.sandbox
    quick = RetryPolicy(settle=0.2, initial=0.05)
    # A POST whose outcome is unknown is absent at the earliest when its time to read is over.
    limits = Timeout(read=2.0)
    async with AsyncChat2Pay(
        sandbox.api_key, base_url=sandbox.url, timeout=limits, retry=quick, hooks=[remember]
    ) as app.state.client:
        app.state.jobs = set()
        yield
        await asyncio.gather(*app.state.jobs)


async def create(request: Request) -> Response:
    try:
        order = request_for(request.path_params["order"])
    except RequestValidationError as error:
        return JSONResponse({"detail": str(error)}, status_code=422)
    link = await request.app.state.client.create_payment_link(order)
    return JSONResponse({"ref": link.payment_link_ref})


async def create_later(request: Request) -> Response:
    order = request_for(request.path_params["order"])
    task = BackgroundTask(request.app.state.client.create_payment_link, order)
    return Response(status_code=202, background=task)


async def start_job(request: Request) -> Response:
    order = request_for(request.path_params["order"])
    work = request.app.state.client.create_payment_link(order)
    request.app.state.jobs.add(asyncio.create_task(work))
    return Response(status_code=202)


def application(sandbox: Sandbox) -> Starlette:
    routes = [
        Route("/orders/{order}", create, methods=["POST"]),
        Route("/orders/{order}/later", create_later, methods=["POST"]),
        Route("/orders/{order}/job", start_job, methods=["POST"]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.sandbox = sandbox
    return app


@asynccontextmanager
async def started(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application, and be its browser."""
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app.test") as browser,
    ):
        yield browser


async def until(so: Callable[[], bool]) -> None:
    while not so():  # noqa: ASYNC110 - the sandbox reports its effects by no event
        await asyncio.sleep(0)


async def test_an_application_holds_a_client_for_its_lifespan(sandbox: Sandbox) -> None:
    app = application(sandbox)
    async with started(app) as browser:
        responses = [(await browser.post(f"/orders/W-{number}")) for number in range(3)]
        refused = await browser.post("/orders/" + "x" * 300)
    assert all(response.json()["ref"] for response in responses)
    assert (refused.status_code, "order_number" in refused.text) == (422, True)
    with pytest.raises(ConfigurationError, match="closed"):
        await app.state.client.get_configuration()


async def test_a_background_task_makes_its_link_after_the_response(sandbox: Sandbox) -> None:
    before = sandbox.ledger.count("link_created", order_number="B-1")
    async with started(application(sandbox)) as browser:
        assert (await browser.post("/orders/B-1/later")).status_code == 202
    assert sandbox.ledger.count("link_created", order_number="B-1") == before + 1


async def test_a_job_in_progress_is_done_before_the_client_is_closed(sandbox: Sandbox) -> None:
    before = sandbox.ledger.count("link_created", order_number="J-1")
    sandbox.next_faults("create_payment_link", ["error_503_before"])
    async with started(application(sandbox)) as browser:
        assert (await browser.post("/orders/J-1/job")).status_code == 202
    assert sandbox.ledger.count("link_created", order_number="J-1") == before + 1


async def test_a_job_that_a_shutdown_cancels_is_resolved_after_the_restart(
    sandbox: Sandbox,
) -> None:
    before = sandbox.ledger.count("link_created", order_number="J-2")
    app = application(sandbox)
    sandbox.next_faults("create_payment_link", ["silence_after"])
    async with started(app) as browser:
        await browser.post("/orders/J-2/job")
        await until(lambda: sandbox.ledger.count("link_created", order_number="J-2") > before)
        (job,) = app.state.jobs
        job.cancel()
        app.state.jobs.clear()
        with pytest.raises(asyncio.CancelledError):
            await job
    (pending,) = app.state.unknown
    async with started(app):
        resolution = await app.state.client.resolve(pending)
    assert resolution.verdict is Verdict.APPLIED
    assert sandbox.ledger.count("link_created", order_number="J-2") == before + 1


@pytest.mark.parametrize("number", [1, 2])
async def test_a_new_application_starts_after_another_in_one_loop(
    sandbox: Sandbox, number: int
) -> None:
    async with started(application(sandbox)) as browser:
        assert (await browser.post(f"/orders/R-{number}")).status_code == 200
