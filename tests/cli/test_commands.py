"""The jobs of the command line, and their client."""

from __future__ import annotations

from typing import Any

import pytest

from chat2pay_async import ConfigurationError, RateLimit, RetryPolicy, Timeout
from chat2pay_async._api.operations import OPERATIONS
from chat2pay_async._cli import single_call
from chat2pay_async._cli.options import JobOptions, ServiceOptions
from chat2pay_async._cli.run import JOBS
from chat2pay_async._cli.single_call import client_of
from chat2pay_async._journal.settings import Journal


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of the clients that were made."""
    clients: list[dict[str, Any]] = []
    monkeypatch.setattr(
        single_call,
        "AsyncChat2Pay",
        lambda key, **settings: clients.append({"key": key, **settings}),
    )
    monkeypatch.setenv("CHAT2PAY_API_KEY", " a key ")
    monkeypatch.setenv("CHAT2PAY_JOURNAL", "/somewhere/payments.db")
    return clients


def test_default_options_make_the_default_client(
    made: list[dict[str, Any]],
) -> None:
    client_of(JobOptions())
    assert made == [
        {
            "key": "a key",
            "base_url": None,
            "timeout": Timeout(),
            "retry": RetryPolicy(),
            "rate_limit": None,
            "max_connections": 100,
            "journal": Journal("/somewhere/payments.db"),
            "hooks": (),
        }
    ]


def test_options_become_settings_of_the_client(made: list[dict[str, Any]]) -> None:
    client_of(JobOptions(rate_limit=5, settle=3, never_resend=True), [print])
    (client,) = made
    assert client["retry"] == RetryPolicy(settle=3, resend_when_absent=False)
    assert (client["rate_limit"], client["hooks"]) == (RateLimit(5), [print])


def test_commands_that_change_nothing_have_no_journal(made: list[dict[str, Any]]) -> None:
    client_of(ServiceOptions())
    client_of(JobOptions(), with_journal=False)
    assert [one["journal"] for one in made] == [None, None]


@pytest.mark.parametrize(("concurrency", "connections"), [(1, 100), (100, 100), (101, 101)])
def test_every_item_in_progress_has_a_connection(
    made: list[dict[str, Any]], concurrency: int, connections: int
) -> None:
    client_of(JobOptions(concurrency=concurrency))
    assert made[0]["max_connections"] == connections


@pytest.mark.parametrize("key", [None, "", " "])
def test_missing_key_is_an_error_that_names_the_environment_variable(
    monkeypatch: pytest.MonkeyPatch, made: list[dict[str, Any]], key: str | None
) -> None:
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    if key is not None:
        monkeypatch.setenv("CHAT2PAY_API_KEY", key)
    with pytest.raises(ConfigurationError) as raised:
        client_of(JobOptions())
    assert "the environment variable CHAT2PAY_API_KEY" in str(raised.value)
    assert "AsyncChat2Pay" not in str(raised.value), "nobody writes Python here"
    client_of(JobOptions(), needs_key=False)
    assert len(made) == 1


def test_every_job_has_an_operation_that_journals_know() -> None:
    known = {operation.name for operation in OPERATIONS}
    assert {one.operation for one in JOBS.values()} <= known
