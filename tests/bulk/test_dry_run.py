"""Dry runs: their forecasts, and that they send nothing."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from chat2pay_async import (
    AsyncChat2Pay,
    PaymentLinkRequest,
    RateLimit,
    RequestValidationError,
    RetryPolicy,
    Timeout,
    bulk,
)
from chat2pay_async.bulk import Forecast, Run, State

pytestmark = pytest.mark.anyio


class Service(httpx.AsyncBaseTransport):
    """Service with scripted responses that counts its requests."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.asked = 0
        self.answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.lowlevel.checkpoint()
        self.asked += 1
        assert self.answer is not None, "a dry run sends nothing"
        return self.answer(request)


def client_of(service: Service, **settings: Any) -> AsyncChat2Pay:
    retry = RetryPolicy(max_attempts=1, initial=0.0, settle=0.0, resend_when_absent=False)
    given: dict[str, Any] = {"retry": retry, "timeout": Timeout(read=0.2)} | settings
    return AsyncChat2Pay("k", base_url="http://localhost", transport=service, **given)


def request_for(number: object, **fields: Any) -> PaymentLinkRequest:
    given = {
        "channel": "sms",
        "to": f"2783123{number:0>4}",
        "order_number": f"A-{number}",
        "currency": "ZAR",
        "total_amount": "10.10",
    }
    return PaymentLinkRequest(**(given | fields))


async def read(run: Run[Any, Any]) -> list[Any]:
    async with run:
        return [outcome async for outcome in run]


async def dry_run_of(
    source: Any, make: Any = bulk.create_payment_links, **options: Any
) -> tuple[Forecast, list[Any]]:
    service = Service()
    settings = {name: options.pop(name, None) for name in ("rate_limit", "journal")}
    async with client_of(service, **settings) as client:
        run = make(client, source, dry_run=True, **options)
        outcomes = await read(run)
    assert service.asked == 0
    assert run.forecast is not None
    assert run.summary.applied == 0
    return run.forecast, outcomes


async def test_a_forecast_has_the_number_and_the_amounts_to_send() -> None:
    source = [request_for(1), request_for(2), request_for(3, currency="JPY", total_amount=500)]
    forecast, outcomes = await dry_run_of(source)
    assert outcomes == []
    assert (forecast.to_send, forecast.to_look_up, forecast.final, forecast.refused) == (3, 0, 0, 0)
    assert forecast.amounts == {"ZAR": Decimal("20.20"), "JPY": Decimal(500)}
    assert (forecast.same_recipient, forecast.same_recipient_keys) == (0, ())


async def test_a_dry_run_reads_more_items_than_its_concurrency() -> None:
    forecast, _ = await dry_run_of(map(request_for, range(50)), concurrency=2)
    assert forecast.to_send == 50


async def test_the_new_keys_of_a_dry_run_that_wait_in_memory_are_bounded() -> None:
    waiting: list[int] = []

    def source() -> Iterator[PaymentLinkRequest]:
        for number in range(1200):
            waiting.append(len(run._store._unindexed))
            yield request_for(number)

    async with client_of(Service()) as client:
        run = bulk.create_payment_links(client, source(), dry_run=True)
        assert await read(run) == []
    assert max(waiting) == 498  # each has a recipient, too
    assert run.forecast is not None
    assert run.forecast.to_send == 1200


async def test_a_dry_run_finds_repeated_orders() -> None:
    source = [request_for(1), request_for(2), request_for(1, total_amount="5.00")]
    forecast, (outcome,) = await dry_run_of(source, concurrency=1)
    assert (forecast.to_send, forecast.refused) == (2, 1)
    assert forecast.amounts == {"ZAR": Decimal("20.20")}
    assert (outcome.key, outcome.state) == ("A-1", State.REJECTED)
    assert isinstance(outcome.error, RequestValidationError)
    assert "occurs twice" in str(outcome.error)


async def test_a_dry_run_finds_repeated_recipients() -> None:
    source = [request_for(number, to="27830000001") for number in range(30)]
    forecast, outcomes = await dry_run_of([*source, request_for(99)], concurrency=1)
    assert outcomes == []
    assert (forecast.to_send, forecast.same_recipient) == (31, 29)
    assert forecast.same_recipient_keys == tuple(f"A-{number}" for number in range(1, 21))


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"concurrency": 1}, 5.0),
        ({"concurrency": 20}, 0.25),
        ({"rate_limit": RateLimit(2)}, 5.0),
        ({"rate_limit": RateLimit(2), "concurrency": 1}, 5.0),
        ({"rate_limit": RateLimit(1, per=60)}, 600.0),
        ({"rate_limit": RateLimit(1000), "concurrency": 2}, 2.5),
    ],
)
async def test_a_forecast_has_the_time(options: dict[str, Any], seconds: float) -> None:
    forecast, _ = await dry_run_of([request_for(number) for number in range(10)], **options)
    assert forecast.seconds == pytest.approx(seconds)


async def test_a_dry_run_rejects_invalid_items() -> None:
    forecast, (outcome,) = await dry_run_of(["ref-1", " ", "ref-2"], bulk.cancel_payment_links)
    assert forecast.to_send == 2
    assert (outcome.key, outcome.state) == (" ", State.REJECTED)
    with pytest.raises(TypeError, match="items of Capture"):
        await dry_run_of(["ref-1"], bulk.capture_payments)


async def test_a_forecast_sums_captures_that_name_their_amount() -> None:
    captures = [
        bulk.Capture("ref-1", "5.00", "ZAR"),
        bulk.Capture("ref-2", "1.00", "ZAR"),
        bulk.Capture("ref-3", "2.00"),
        bulk.Capture("ref-4"),
    ]
    forecast, _ = await dry_run_of(captures, bulk.capture_payments)
    assert (forecast.to_send, forecast.amounts) == (4, {"ZAR": Decimal(6), "": Decimal(2)})


async def test_a_dry_run_looks_nothing_up() -> None:
    forecast, _ = await dry_run_of([request_for(1)], check_existing=True)
    assert forecast.to_send == 1


async def test_a_forecast_grows_while_the_source_is_read() -> None:
    async with client_of(Service()) as client:
        source = [request_for(1), request_for(1), request_for(2)]
        run = bulk.create_payment_links(client, source, dry_run=True, concurrency=1)
        assert run.forecast == Forecast()
        async with run:
            await anext(run)
            assert run.forecast is not None
            assert (run.forecast.to_send, run.forecast.refused) == (1, 1)


async def test_a_plain_run_has_no_forecast() -> None:
    async with client_of(Service()) as client:
        assert bulk.create_payment_links(client, [], dry_run=False).forecast is None


# With a journal -----------------------------------------------------------------------------------


def by_order(request: httpx.Request) -> httpx.Response:
    """Apply A-1 and A-5, reject A-2, deny A-3, and leave A-4 unknown."""
    if request.method == "GET":
        return httpx.Response(500)
    if b'"A-2"' in request.content:
        return httpx.Response(400, json={"status": 400, "errors": ["currency"]})
    if b'"A-3"' in request.content:
        return httpx.Response(403, json={"status": 403, "errors": ["not allowed"]})
    if b'"A-4"' in request.content:
        return httpx.Response(500)
    reference = json.loads(request.content)["orderNumber"]
    link = {"paymentLinkRef": reference, "paymentLink": "https://pay.test/1"}
    return httpx.Response(201, json=link)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def content_of(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return [
            *db.execute("SELECT * FROM item ORDER BY id"),
            *db.execute("SELECT * FROM history ORDER BY id"),
        ]


async def test_a_dry_run_reads_a_journal_without_changing_it(tmp_path: Path) -> None:
    path = tmp_path / "spring.db"
    source = [request_for(number) for number in range(1, 6)]
    async with client_of(Service(by_order), journal=path) as client:
        done = await read(bulk.create_payment_links(client, source, run="spring"))
    assert Counter(outcome.state for outcome in done) == {
        State.APPLIED: 2,
        State.REJECTED: 1,
        State.FAILED: 1,
        State.UNKNOWN: 1,
    }
    before = content_of(path)
    changed = request_for(5, total_amount="1.00")
    forecast, outcomes = await dry_run_of(
        [*source[:4], changed, request_for(6)], journal=path, run="spring", concurrency=1
    )
    assert (forecast.to_send, forecast.to_look_up) == (2, 1)
    assert (forecast.final, forecast.refused) == (2, 1)
    assert forecast.amounts == {"ZAR": Decimal("20.20")}
    assert forecast.seconds == pytest.approx(1.5)
    assert {outcome.key: outcome.state for outcome in outcomes} == {
        "A-1": State.SKIPPED,
        "A-2": State.SKIPPED,
        "A-5": State.REJECTED,
    }
    assert outcomes[0].result.payment_link == "https://pay.test/1"
    assert content_of(path) == before


async def test_a_forecast_tells_new_done_changed_gone_and_alike_apart(tmp_path: Path) -> None:
    path = tmp_path / "payments.db"
    source = [request_for(number) for number in range(10, 16)]
    async with client_of(Service(by_order), journal=path) as client:
        await read(bulk.create_payment_links(client, source, run="spring"))
    new = [
        request_for(10),
        request_for(11, total_amount="1.00"),
        request_for(11),
        request_for(99, order_number="a 12"),
        request_for(98, order_number="new", to=source[3].to),
        request_for(97, to="4915112345678", channel="whatsapp"),
    ]
    forecast, outcomes = await dry_run_of(new, journal=path, run="spring", concurrency=1)
    assert (forecast.final, forecast.changed, forecast.repeated) == (1, 1, 1)
    assert (forecast.new, forecast.to_send, forecast.gone) == (2, 2, 4)
    assert forecast.lookalikes == 2
    assert forecast.lookalike_keys == (("a 12", "A-12"), ("new", "A-13"))
    assert list(forecast.moved.values()) == ["A-13"]
    assert forecast.recipients == 2
    assert forecast.countries == {"27": 1, "49": 1}
    assert forecast.channels == {"sms": 1, "whatsapp": 1}
    assert len(outcomes) == 4
    assert str(forecast).startswith("2 to send, 1 final, 3 refused, 4 gone; ZAR 20.20; about")


async def test_what_a_dry_run_took_for_a_rewritten_row_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "payments.db"
    before, now = [request_for(10)], [request_for(1, to=request_for(10).to)]
    async with client_of(Service(by_order), journal=path) as client:
        await read(bulk.create_payment_links(client, before, run="spring"))
        run = bulk.create_payment_links(client, now, run="spring", dry_run=True)
        await read(run)
        (outcome,) = await read(
            bulk.create_payment_links(client, now, run="spring", compare=run.forecast)
        )
        assert outcome.state is State.REJECTED
        assert "'A-1'" in str(outcome.error)
        assert "'A-10'" in str(outcome.error)
        # Next month has the same customers, and a name of its own.
        monthly = bulk.create_payment_links(client, now, run="summer", dry_run=True)
        assert await read(monthly) == []
        assert monthly.forecast is not None
        assert monthly.forecast.lookalikes == 0
        options: Any = {"compare": monthly.forecast}
        (outcome,) = await read(bulk.create_payment_links(client, now, run="summer", **options))
        assert outcome.state is State.APPLIED
