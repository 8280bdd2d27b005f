"""How a job is run: what becomes of the command line's words, and of the environment's."""

from __future__ import annotations

from typing import Any

import pytest

from chat2pay_async import ConfigurationError, RateLimit, RetryPolicy
from chat2pay_async._cli import job as _plan
from chat2pay_async._cli.job import JOBS, Plan, client_of


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How clients are made."""
    clients: list[dict[str, Any]] = []
    monkeypatch.setattr(
        _plan, "AsyncChat2Pay", lambda key, **settings: clients.append({"key": key, **settings})
    )
    monkeypatch.setenv("CHAT2PAY_API_KEY", " a key ")
    return clients


def test_a_plan_without_wishes_is_a_client_as_it_is_made_by_itself(
    made: list[dict[str, Any]],
) -> None:
    client_of(Plan())
    assert made == [
        {
            "key": "a key",
            "base_url": None,
            "retry": RetryPolicy(),
            "rate_limit": None,
            "max_connections": 100,
            "hooks": (),
        }
    ]


def test_the_wishes_of_a_plan_are_the_client_s(made: list[dict[str, Any]]) -> None:
    client_of(Plan(rate_limit=5, settle=3, resend_when_absent=False), [print])
    (client,) = made
    assert client["retry"] == RetryPolicy(settle=3, resend_when_absent=False)
    assert (client["rate_limit"], client["hooks"]) == (RateLimit(5), [print])


@pytest.mark.parametrize(("concurrency", "connections"), [(1, 100), (100, 100), (101, 101)])
def test_no_item_that_is_under_way_waits_for_a_connection(
    made: list[dict[str, Any]], concurrency: int, connections: int
) -> None:
    client_of(Plan(concurrency=concurrency))
    assert made[0]["max_connections"] == connections


@pytest.mark.parametrize("key", [None, "", " "])
def test_a_key_that_is_missing_is_asked_for_where_a_command_finds_it(
    monkeypatch: pytest.MonkeyPatch, made: list[dict[str, Any]], key: str | None
) -> None:
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    if key is not None:
        monkeypatch.setenv("CHAT2PAY_API_KEY", key)
    with pytest.raises(ConfigurationError) as raised:
        client_of(Plan())
    assert "the environment variable CHAT2PAY_API_KEY" in str(raised.value)
    assert "AsyncChat2Pay" not in str(raised.value), "nobody writes Python here"
    client_of(Plan(), needs_key=False)
    assert len(made) == 1


def test_a_job_is_named_as_its_command() -> None:
    assert list(JOBS) == ["links", "captures", "reversals", "cancellations", "receipts"]
    assert all(job.name == name for name, job in JOBS.items())
