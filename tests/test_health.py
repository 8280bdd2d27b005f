"""`client.health()` says which part can't be used, and why, and raises for none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from chat2pay_async import (
    AsyncChat2Pay,
    ConfigurationError,
    Health,
    HealthPart,
    Journal,
    RateLimit,
    Timeout,
)
from chat2pay_async.sandbox import Sandbox

pytestmark = pytest.mark.anyio

KEY = "an-api-key"
USABLE = HealthPart(is_usable=True)
UNKNOWN_KEY = HealthPart(None, "not checked: the service did not say")
REFUSED = {"status": 401, "error": "Unauthorized", "path": "/api/v2/config"}


def client_of(answer: Callable[[httpx.Request], Any], **settings: Any) -> AsyncChat2Pay:
    given: dict[str, Any] = {"api_key": KEY, "base_url": "https://pay.test"}
    return AsyncChat2Pay(**(given | settings), transport=httpx.MockTransport(answer))


def answering(status: int, **content: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, **content)


fine = answering(200, json={"environment": "played", "integrators": []})


async def health_of(answer: Callable[[httpx.Request], Any], **settings: Any) -> Health:
    async with client_of(answer, **settings) as client:
        return await client.health()


async def test_a_client_that_can_work_is_healthy_and_has_sent_one_read(tmp_path: Path) -> None:
    sandbox = Sandbox(api_key=KEY)
    sent: list[str] = []

    async def ask(request: httpx.Request) -> httpx.Response:
        sent.append(f"{request.method} {request.url.path}")
        return await inner.handle_async_request(request)

    inner = httpx.ASGITransport(app=sandbox.app)
    path = tmp_path / "journal"
    health = await health_of(ask, base_url="http://localhost", journal=path)
    assert health == Health(USABLE, USABLE, USABLE)
    assert health.is_healthy
    assert sent == ["GET /api/v2/config"]
    assert sandbox.ledger.count("link_created") == 0
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM item").fetchone() == (0,)


async def test_without_a_journal_there_is_nothing_to_say_of_one() -> None:
    health = await health_of(fine)
    assert health == Health(USABLE, USABLE, None)
    assert health.is_healthy


async def test_a_key_that_is_not_accepted_is_told_from_a_service_that_does_not_answer() -> None:
    health = await health_of(answering(401, json=REFUSED))
    assert not health.is_healthy
    assert health.service == USABLE
    assert health.key == HealthPart(
        is_usable=False, reason="401: Unauthorized; check the API key (CHAT2PAY_API_KEY)"
    )


async def test_a_page_that_refuses_in_the_services_place_says_nothing_of_the_key() -> None:
    page = answering(403, text="<html>blocked</html>", headers={"content-type": "text/html"})
    health = await health_of(page)
    assert health.key == UNKNOWN_KEY
    assert health.service.is_usable is False
    assert "pay.test:443 does not look like Chat 2 Pay (403, text/html)" in health.service.reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answering(503), "503: what answers at pay.test:443 does not look like Chat 2 Pay"),
        (answering(200, json={}), "the response 200 carries no proof that it was applied"),
        (
            answering(404, json={"status": 404, "message": "no such path"}),
            "404: no such path",
        ),
    ],
)
async def test_a_service_that_can_not_be_used_is_asked_once_and_says_why(
    answer: Callable[[httpx.Request], httpx.Response], reason: str
) -> None:
    asked: list[httpx.Request] = []

    def ask(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer(request)

    health = await health_of(ask)
    assert not health.is_healthy
    assert health.service.is_usable is False
    assert health.service.reason.startswith(reason)
    assert health.key == UNKNOWN_KEY
    assert len(asked) == 1


async def test_a_service_out_of_reach_is_named_with_its_host() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    health = await health_of(refuse)
    assert health.service == HealthPart(
        is_usable=False, reason="no response from pay.test:443 (ConnectError)"
    )


@pytest.mark.virtual_time
@pytest.mark.parametrize("after", ["1", "600"])
async def test_a_service_that_throttles_is_there(after: str) -> None:
    health = await health_of(answering(429, headers={"retry-after": after}))
    assert health == Health(
        HealthPart(is_usable=True, reason="it throttles requests (429)"), UNKNOWN_KEY, None
    )
    assert health.is_healthy


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (Timeout(connect=1, read=2, write=3), 6),
        (Timeout(connect=1, read=2, write=3, total=4), 4),
        (Timeout(connect=1, read=2, write=3, total=None), 6),
    ],
)
async def test_it_takes_no_longer_than_one_request_may(limits: Timeout, seconds: float) -> None:
    async with client_of(fine, rate_limit=RateLimit(1, per=1000)) as client:
        await client.get_configuration()
        began = anyio.current_time()
        health = await client.with_options(timeout=limits).health()
    assert anyio.current_time() - began == pytest.approx(seconds)
    assert health.service == HealthPart(is_usable=False, reason=f"no result within {seconds} s")


def no_key() -> str:
    raise OSError(KEY)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (no_key, "the api_key callable raised OSError"),
        (lambda: "", "the api_key callable must return a key"),
    ],
)
async def test_a_callable_that_has_no_key_is_named_and_nothing_is_sent(
    source: Callable[[], str], reason: str, tmp_path: Path
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request)

    health = await health_of(refuse, api_key=source, journal=tmp_path / "journal")
    assert health.service == HealthPart(None, "not asked: there is no key")
    assert health.key.is_usable is False
    assert reason in health.key.reason
    assert health.journal is not None
    assert health.journal.is_usable is not True
    assert not health.is_healthy


async def test_a_callable_that_has_the_key_is_as_good_as_a_key(tmp_path: Path) -> None:
    health = await health_of(fine, api_key=lambda: KEY, journal=tmp_path / "journal")
    assert health == Health(USABLE, USABLE, USABLE)


# The journal --------------------------------------------------------------------------------------


async def test_a_journal_that_can_not_be_used_says_why_and_leaves_the_rest_usable(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    path.write_text("this is no database", encoding="utf-8")
    health = await health_of(fine, journal=path)
    assert (health.service, health.key) == (USABLE, USABLE)
    assert health.journal is not None
    assert health.journal.is_usable is False
    assert str(path) in health.journal.reason
    assert not health.is_healthy


async def test_a_journal_that_breaks_later_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with client_of(fine, journal=path) as client:
        assert (await client.health()).is_healthy
        with closing(sqlite3.connect(path)) as db:
            db.execute("DROP TABLE item")
            db.commit()
        health = await client.health()
    assert health.journal is not None
    assert health.journal.is_usable is False
    assert health.journal.reason


async def test_a_journal_that_lost_commits_is_usable_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await health_of(fine, journal=path)
    path.unlink()
    health = await health_of(fine, journal=Journal(path, accept_loss=True))
    assert health.journal == HealthPart(
        is_usable=True,
        reason="its latest commits are lost, so everything is looked up before it is sent",
    )


async def test_a_journal_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(fine, journal=tmp_path / "journal") as client:

        async def hang(*_: object) -> None:
            await anyio.sleep_forever()

        store = client._calls.store
        monkeypatch.setattr(store, "find", hang)
        health = await client.with_options(timeout=Timeout(total=0.05)).health()
    assert health.journal == HealthPart(is_usable=False, reason="it did not answer within 0.05 s")


# Beside it ----------------------------------------------------------------------------------------


async def test_a_client_that_is_closed_is_a_mistake_of_the_callers() -> None:
    client = client_of(fine)
    await client.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await client.health()


async def test_a_result_is_frozen_and_shows_no_key() -> None:
    health = await health_of(answering(401, json=REFUSED | {"message": f"bad key {KEY}"}))
    with pytest.raises(AttributeError):
        health.key.reason = ""  # type: ignore[misc]
    assert KEY not in repr(health)
    assert json.dumps(health.key.reason)
