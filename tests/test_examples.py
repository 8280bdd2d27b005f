"""The examples of the README and of the docstrings are run, as their readers would run them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from commandline import served
from pasted import run_as_file

import chat2pay_async
from chat2pay_async import AsyncChat2Pay, PaymentLinkRequest, bulk
from chat2pay_async.cli import main
from chat2pay_async.sandbox import Sandbox, serve_sandbox

ROOT = Path(__file__).parent.parent
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(chat2pay_async.__path__, "chat2pay_async.")
    if not found.name.endswith("__main__")
]


def blocks_in(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_of_a_module_give_what_they_say(module: ModuleType) -> None:
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [test for module in MODULES for test in finder.find(module) if test.examples]
    assert len(examples) >= 4


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


def test_the_readmes_example_makes_a_link(sandbox: Sandbox, tmp_path: Path) -> None:
    (single,) = blocks_in("README.md", "python")
    assert re.fullmatch(r"[0-9a-f-]{36} True False\n", run_as_file(single, sandbox, tmp_path))
    assert re.fullmatch(r"[0-9a-f-]{36} True True\n", run_as_file(single, sandbox, tmp_path))
    assert sandbox.ledger.count("link_created") == 1


def test_the_guides_campaign_sends_nothing_twice_when_it_is_run_again(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    campaign = blocks_in("docs/payment-links.md", "python")[-1]
    first, again = (run_as_file(campaign, sandbox, tmp_path) for _ in range(2))
    assert sorted(first.splitlines()[:-1]) == ["B-1 applied", "B-2 applied"]
    assert sorted(again.splitlines()[:-1]) == ["B-1 skipped", "B-2 skipped"]
    assert first.splitlines()[-1].startswith("2 applied; ZAR 249.80; ")
    assert sandbox.ledger.count("link_created") == 2


def test_the_readmes_file_is_sent_by_the_commands_below_it(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table,) = blocks_in("README.md", "csv")
    (tmp_path / "spring.csv").write_text(table, encoding="utf-8")
    lines = "".join(blocks_in("README.md", "console")).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("chat2pay")]
    counts: list[int] = []
    for program, *arguments in commands:
        assert (program, main(arguments)) == ("chat2pay", 0)
        counts.append(sandbox.ledger.count("link_created"))
    assert counts == [0, 2, 2, 2]
    assert not sandbox.ledger.twice("link_created")
    assert capsys.readouterr().err


def test_the_packages_first_example_makes_a_link(sandbox: Sandbox, tmp_path: Path) -> None:
    text = chat2pay_async.__doc__ or ""
    source = textwrap.dedent(text[text.index("    import asyncio") : text.index("- `Async")])
    assert run_as_file(source, sandbox, tmp_path).startswith("http")


def blocks_of(text: str) -> list[str]:
    """The indented blocks of code in a docstring."""
    found = re.findall(r"(?:^ {4}\S.*\n(?:^(?: {4}.*)?\n)*)", text, flags=re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def orders(count: int, kind: str = "sale") -> list[PaymentLinkRequest]:
    return [
        PaymentLinkRequest(
            channel="sms",
            to=f"2783123000{number}",
            order_number=f"A-{number}-{kind}",
            currency="ZAR",
            total_amount="10.00",
            transaction_type=kind,
        )
        for number in range(count)
    ]


@pytest.mark.anyio
async def test_the_guides_of_bulk_runs_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign, reconcile, dry_run, captures = blocks_of(bulk.__doc__ or "")
    monkeypatch.chdir(tmp_path)
    async with serve_sandbox() as sandbox:
        monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
        monkeypatch.setenv("CHAT2PAY_BASE_URL", sandbox.url)
        async with AsyncChat2Pay(journal="payments.db") as client:
            paid = orders(3, "authorization")
            refs = [(await client.create_payment_link(one)).payment_link_ref for one in paid]
            for ref in refs:
                sandbox.pay(ref or "")
            sandbox.decline_capture(refs[0] or "")
            names = {"client": client, "refs": refs, "requests": orders(5), "bulk": bulk}
            sources = (dry_run, campaign, captures)
            runs = [await run_of(source, names) for source in sources]
            await run_of(reconcile, names | {"run": None})
        counts = sandbox.ledger.counts
    assert runs[0].forecast.to_send == 5
    assert [runs[1].summary.applied, runs[2].summary.applied, runs[2].summary.declined] == [5, 2, 1]
    assert (counts["link_created"], counts["captured"], counts["capture_declined"]) == (8, 2, 1)


async def run_of(source: str, names: dict[str, object]) -> Any:
    """Run an example as the body of a coroutine; the run that it made."""
    body = textwrap.indent(source, "    ")
    exec(f"async def example():\n{body}\n    return run", names)  # noqa: S102 - as a user would
    example: Any = names["example"]
    return await example()


def test_the_readmes_two_commands_stand_as_they_are_run() -> None:
    commands = "".join(blocks_in("README.md", "console")).splitlines()
    setup = "python3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s"
    assert f"{setup} demo" in commands
    assert f"{setup} tests" in commands
