"""The examples of the README and of the docstrings are run, as their readers would run them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import chat2pay_async
from chat2pay_async.sandbox import serve_sandbox

ROOT = Path(__file__).parent.parent
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(chat2pay_async.__path__, "chat2pay_async.")
    if not found.name.endswith("__main__")
]


def readme_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_of_a_module_give_what_they_say(module: ModuleType) -> None:
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [test for module in MODULES for test in finder.find(module) if test.examples]
    assert len(examples) >= 4


async def run_as_script(source: str) -> subprocess.CompletedProcess[str]:
    async with serve_sandbox() as sandbox:
        return subprocess.run(  # noqa: S603, ASYNC221 - the sandbox has a thread of its own
            [sys.executable, "-W", "error", "-c", source],
            env={"CHAT2PAY_API_KEY": sandbox.api_key, "CHAT2PAY_BASE_URL": sandbox.url},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.mark.anyio
async def test_the_readmes_example_makes_a_link() -> None:
    (source,) = readme_blocks("python")
    done = await run_as_script(source)
    assert done.stderr == ""
    assert re.fullmatch(r"[0-9a-f-]{36} https?://\S+\n", done.stdout)


@pytest.mark.anyio
async def test_the_packages_first_example_makes_a_link() -> None:
    text = chat2pay_async.__doc__ or ""
    source = textwrap.dedent(text[text.index("    import asyncio") : text.index("- `Async")])
    done = await run_as_script(source)
    assert done.stderr == ""
    assert done.stdout.startswith("http")


def test_the_readmes_two_commands_stand_as_they_are_run() -> None:
    commands = "".join(readme_blocks("console")).splitlines()
    setup = "python3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s"
    assert f"{setup} demo" in commands
    assert f"{setup} tests" in commands
