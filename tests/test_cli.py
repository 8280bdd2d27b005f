from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

import pytest

from chat2pay_async import __version__
from chat2pay_async.cli import main
from chat2pay_async.sandbox import SandboxError
from chat2pay_async.sandbox import _server as server


def test_the_sandbox_command_serves_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, int, str]] = []

    def run(host: str, port: int, api_key: str) -> int:
        served.append((host, port, api_key))
        return 0

    monkeypatch.setattr(server, "run", run)
    assert main(["sandbox"]) == 0
    assert main(["sandbox", "--host", "::1", "--port", "8123", "--api-key", "k"]) == 0
    assert served == [("127.0.0.1", 0, "sandbox-key"), ("::1", 8123, "k")]


def test_a_sandbox_that_cannot_start_says_why_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_arguments: object) -> int:
        raise SandboxError("this machine only")

    monkeypatch.setattr(server, "run", run)
    assert main(["sandbox"]) == 1
    assert capsys.readouterr().err == "chat2pay sandbox: this machine only\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--version"], __version__), (["--help"], "sandbox"), ([], "sandbox")],
)
def test_it_tells_its_version_and_how_to_use_it(
    arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["no-such"], ["sandbox", "--port", "x"], ["--odd"]])
def test_wrong_use_is_told_apart_by_its_exit_code(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert "Error" in streams.out + streams.err


def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert main(["sandbox"]) == 2
    assert 'pip install "chat2pay-async[cli]"' in capsys.readouterr().err


def test_the_module_runs_as_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["chat2pay", "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("chat2pay_async", run_name="__main__")
    assert stop.value.code == 0
    assert __version__ in capsys.readouterr().out
