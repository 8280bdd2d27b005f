"""The guide to the sandbox: its examples in every language, and its container."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from chat2pay_async.cli import main
from chat2pay_async.sandbox import _serve, serve_sandbox

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "sandbox.md").read_text("utf-8")
CONTAINER = (ROOT / ".ci" / "Containerfile").read_text("utf-8")
PROGRAMS = {
    "bash": ("bash", "-euo", "pipefail", "-c"),
    "js": ("node", "--no-warnings", "-e"),  # Node 18 calls its `fetch` experimental
    "php": ("php", "-r"),
}


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)
    return str(found)


def printed(command: Sequence[str], url: str, key: str) -> str:
    """Run a program as a reader does who has set what the sandbox printed."""
    without_proxies = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    env = {**without_proxies, "CHAT2PAY_BASE_URL": url, "CHAT2PAY_API_KEY": key}
    done = subprocess.run(  # noqa: S603 - a program of the guide's
        command, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("language", PROGRAMS)
def test_an_example_makes_a_link_that_is_paid(language: str) -> None:
    program = PROGRAMS[language]
    if missing := [name for name in (program[0], "curl") if not shutil.which(name)]:
        pytest.skip(f"{missing[0]} is not here")
    with serve_sandbox() as sandbox:
        text = printed(
            [*program, block(language).removeprefix("<?php")], sandbox.url, sandbox.api_key
        )
        assert "SUCCESS" in text
        assert sandbox.ref_of("A-1") in text
        assert sandbox.ledger.counts == {
            "link_created": 1,
            "link_clicked": 1,
            "message_sent": 1,
            "paid": 1,
        }


def test_the_ten_lines_of_python_are_a_test_that_passes(pytester: pytest.Pytester) -> None:
    text = block("python")
    test = text[text.index("@pytest") :].strip()
    assert len(test.splitlines()) <= 10
    pytester.makepyfile(text)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    result = pytester.runpytest_subprocess("-p", "no:trio", "-p", "no:asyncio")
    result.assert_outcomes(passed=2)  # on two loops


def test_the_paths_of_the_guide_are_there() -> None:
    with serve_sandbox() as sandbox:
        paths = block_of_paths()
        described = httpx.get(f"{sandbox.url}/openapi.json", trust_env=False).text
        missing = [path for path in paths if f'"/sandbox/{path}"' not in described]
    assert len(paths) >= 20
    assert missing == []


def block_of_paths() -> list[str]:
    """Return every path of the guide's table, in the form of the OpenAPI document."""
    paths: list[str] = []
    for line in re.findall(r"^\| (`(?:GET|POST|PUT).*?) \|", GUIDE, flags=re.MULTILINE):
        folder = ""
        for quoted in re.findall(r"`([^`]+)`", line):
            method, _, path = quoted.rpartition(" ")
            if method in {"GET", "POST", "PUT"}:
                folder = path.rpartition("/")[0]
                paths.append(path)
            elif re.fullmatch(r"[a-z-]+", quoted):
                paths.append(f"{folder}/{quoted}")
    return [re.sub(r"\{(order|ref)\}", "{name}", path) for path in paths]


def test_the_container_is_made_of_files_that_are_there_and_runs_a_command_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied = [line.split()[1:-1] for line in CONTAINER.splitlines() if line.startswith("COPY ")]
    assert copied
    assert all((ROOT / name).exists() for names in copied for name in names)
    entry = re.search(r"^ENTRYPOINT \[(.*)\]$", CONTAINER, flags=re.MULTILINE)
    assert entry is not None
    program, *arguments = shlex.split(entry[1].replace(",", " "))
    served: list[_serve.Settings] = []

    def run(settings: _serve.Settings, _say: object) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr(_serve, "run", run)
    assert (program, main([*arguments, "--state", "/data/state.db"])) == ("chat2pay", 0)
    (settings,) = served
    assert (settings.host, settings.open_controls) == ("0.0.0.0", True)  # noqa: S104 - a container's
    assert f"EXPOSE {settings.port}" in CONTAINER
