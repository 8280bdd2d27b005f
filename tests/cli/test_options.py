"""The options that several commands share, and the report of errors."""

from __future__ import annotations

from typing import Any

import pytest

from chat2pay_async import Chat2PayError, OutcomeUnknownError
from chat2pay_async._cli import single_call
from chat2pay_async._cli.options import finite
from chat2pay_async._cli.stdout import OutputError
from chat2pay_async.cli import main

PENDING: Any = object()


def config_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def make_call(*_arguments: object) -> int:
        raise error

    monkeypatch.setattr(single_call, "make_call", make_call)
    return main(["config"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Chat2PayError("no"), 1, "chat2pay: no\n"),
        (TypeError("amounts are Decimal"), 1, "chat2pay: amounts are Decimal\n"),
        (OSError("disk full"), 1, "chat2pay: disk full\n"),
        (OutputError("full"), 1, "chat2pay: full\n"),
        (OutputError(), 1, ""),
        (OutcomeUnknownError("who knows", pending=PENDING), 4, "chat2pay: who knows\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_error_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    assert config_that_raises(monkeypatch, error) == code
    assert capsys.readouterr() == ("", said)


def test_bug_of_the_package_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        config_that_raises(monkeypatch, ZeroDivisionError())


def test_missing_file_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["links", "send", "no-such.csv"]) == 1
    assert capsys.readouterr().err.startswith("chat2pay: no-such.csv: ")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--concurrency", "0"),
        ("--rate-limit", "0"),
        ("--rate-limit", "9" * 400),
        ("--stop-at-failure-rate", "5"),
        ("--stop-at-failure-rate", "-0.1"),
        ("--give-up-after", "-1"),
        ("--settle", "-1"),
    ],
)
def test_number_out_of_range_is_reported_with_its_option(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["links", "send", "spring.csv"], ["resume", "spring.csv.links.journal"]):
        assert main([*command, option, value]) == 2
        streams = capsys.readouterr()
        assert f"for {option}." in streams.err
        assert not streams.out


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--concurrency", one) for one in ("1_000", "1e3", "0x10", "2.0", "2.7", "\u0662", "")),
        *(("--rate-limit", one) for one in ("nan", "inf", "1_0", "1e3", "1,5", "\u0662", ".", "")),
        *((one, "nan") for one in ("--settle", "--give-up-after", "--stop-at-failure-rate")),
        *((one, "Infinity") for one in ("--settle", "--give-up-after", "--stop-at-failure-rate")),
    ],
)
def test_number_in_another_form_than_digits_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["links", "send", "no-such.csv", f"{option}={value}"]) == 2
    assert f"for {option}: Must be a" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "ref", "--watch", "--every", "1e3"],
        ["sandbox", "--port", "80_80"],
        ["sandbox", "--seed", "1.5"],
    ],
)
def test_number_of_another_command_is_written_with_digits_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert f"for {arguments[-2]}: Must be a" in capsys.readouterr().err


@pytest.mark.parametrize("value", [".5", "1.", "+2", "0.25"])
def test_number_may_have_a_point_anywhere(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["links", "send", "no-such.csv", "--settle", value]) == 1
    assert capsys.readouterr().err.startswith("chat2pay: no-such.csv: ")


@pytest.mark.parametrize(
    "option", ["--rate-limit", "--settle", "--stop-at-failure-rate", "--give-up-after"]
)
def test_number_at_its_limit_is_accepted(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["links", "send", "no-such.csv", option, "1", "--concurrency", "1"]) == 1
    assert capsys.readouterr().err.startswith("chat2pay: no-such.csv: ")


def test_missing_number_is_accepted() -> None:
    finite(float, None)
