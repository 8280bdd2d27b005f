"""The entry point: help, exit codes, and the missing extra."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from commandline import FullDisk, begun, full_output

from chat2pay_async import __version__
from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async._files.rows import LINKS
from chat2pay_async.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--version"], __version__), (["--help"], "sandbox"), ([], "sandbox")],
)
def test_version_and_help_are_printed(
    arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    streams = capsys.readouterr()
    assert said in streams.out
    assert "\x1b" not in streams.out
    assert not streams.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "CHAT2PAY_API_KEY"),
        ([], "CHAT2PAY_BASE_URL"),
        ([], "130: interrupted"),
        (["links", "send"], "channel, to, order_number, currency, total_amount"),
        (["links", "send"], "sms,27831234567,A-1001,ZAR,199.90"),
        (["captures"], "payment_link_ref"),
    ],
)
def test_help_says_what_a_command_needs(
    arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--help"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_example_in_the_help_is_a_valid_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["links", "send", "--help"])
    lines = (line.strip() for line in capsys.readouterr().out.splitlines())
    example = [line for line in lines if line.count(",") == 4 and " " not in line]
    (tmp_path / "spring.csv").write_text("\n".join([*example, ""]))
    with CampaignFile(tmp_path / "spring.csv", LINKS) as file:
        check = file.check()
    assert (check.good, check.faults) == (2, ())
    assert example[0].split(",") == list(LINKS.required), "in this order the help names them, too"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such"],
        ["--odd"],
        ["sandbox", "--port", "x"],
        ["links", "send"],
        ["links", "send", "spring.csv", "--concurrency", "many"],
        ["link", "--to", "1"],
        ["sandbox", "--port", "99999"],
        ["status", "a-reference", "--watch", "--every", "-1"],
        ["status", "a-reference", "--watch", "--every", "0"],
        ["status", "a-reference", "--watch", "--every", "nan"],
    ],
)
def test_wrong_argument_has_its_own_exit_code(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert "Error" in streams.err
    assert not streams.out


def test_missing_extra_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "chat2pay_async._cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert main(["config"]) == 2
    streams = capsys.readouterr()
    assert 'pip install "chat2pay-async[cli]"' in streams.err
    assert not streams.out


@full_output
def test_help_on_a_full_disk_is_an_error_in_one_line(tmp_path: Path) -> None:
    with begun(["--help"], tmp_path, output="/dev/full") as process:
        ran = process.ends()
    assert ran.code == 1
    assert ran.err == "chat2pay: standard output can't be written: No space left on device\n"


def test_help_that_can_not_be_printed_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", FullDisk())
    assert main(["--help"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_help_ends_quietly_where_nobody_reads_it(tmp_path: Path) -> None:
    with begun(["--help"], tmp_path, reads=False) as process:
        ran = process.ends()
    assert (ran.code, ran.err) == (1, "")


def test_log_handler_is_added_once() -> None:
    main(["--version"])
    main(["--version"])
    handlers = logging.getLogger("chat2pay_async").handlers
    assert len([one for one in handlers if isinstance(one, logging.NullHandler)]) == 1


def test_module_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "chat2pay_async", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this very package
    assert __version__ in ran.stdout


def test_import_of_the_module_runs_nothing() -> None:
    module = importlib.import_module("chat2pay_async.__main__")
    assert module.main is main
