"""Options that many commands have, and how what went wrong is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async import Chat2PayError, OutcomeUnknownError
from chat2pay_async._cli.job import Plan
from chat2pay_async._cli.options import FromFile, Running, finite, told
from chat2pay_async._cli.stdout import OutputError
from chat2pay_async.cli import main

PENDING: Any = object()


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Chat2PayError("no"), 1, "chat2pay: no\n"),
        (TypeError("amounts are Decimal"), 1, "chat2pay: amounts are Decimal\n"),
        (OSError("disk full"), 1, "chat2pay: disk full\n"),
        (OutputError("full"), 1, "chat2pay: full; let it go elsewhere, and say it again\n"),
        (OutcomeUnknownError("who knows", pending=PENDING), 4, "chat2pay: who knows\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_cannot_be_done_is_a_line_and_an_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(raising(error)) == code
    assert capsys.readouterr() == ("", said)


def test_what_goes_well_has_its_own_exit_code() -> None:
    assert told(lambda: 3) == 3


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        told(raising(ZeroDivisionError()))


def test_options_become_the_plan_of_a_job() -> None:
    assert Running().plan() == Plan()
    given = Running(never_resend=True, json=True, rate_limit=5, dry_run=True, settle=3)
    assert given.plan(check_existing=True) == Plan(
        resend_when_absent=False,
        as_json=True,
        rate_limit=5,
        dry_run=True,
        settle=3,
        check_existing=True,
    )


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert FromFile().start("links", Path("no-such.csv")) == 1
    assert capsys.readouterr().err.startswith("chat2pay: no-such.csv: ")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--concurrency", "0"),
        ("--rate-limit", "0"),
        ("--rate-limit", "nan"),
        ("--rate-limit", "inf"),
        ("--stop-at-failure-rate", "5"),
        ("--stop-at-failure-rate", "-0.1"),
        ("--stop-at-failure-rate", "nan"),
        ("--settle", "-1"),
        ("--settle", "inf"),
    ],
)
def test_a_number_that_cannot_work_is_told_by_the_name_of_its_option(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["links", "send", "spring.csv"], ["resume", "spring.csv.links.journal"]):
        assert main([*command, option, value]) == 2
        streams = capsys.readouterr()
        assert f"for {option}." in streams.err
        assert not streams.out


@pytest.mark.parametrize("option", ["--rate-limit", "--settle", "--stop-at-failure-rate"])
def test_a_number_at_its_limit_works(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["links", "send", "no-such.csv", option, "1", "--concurrency", "1"]) == 1
    assert capsys.readouterr().err.startswith("chat2pay: no-such.csv: ")


def test_a_validator_lets_alone_what_is_not_given() -> None:
    finite(float, None)
