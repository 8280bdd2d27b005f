"""The guides' examples are run as their readers would run them, and print what the text says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import xlsxwriter
from commandline import served
from pasted import run_as_file

from chat2pay_async import ConfigurationError
from chat2pay_async._config import check_reach
from chat2pay_async._reach import limited_to_loopback
from chat2pay_async.cli import main
from chat2pay_async.sandbox import Sandbox

pytest_plugins = ["pytester"]

TEST = "def test_"
GUIDES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


def blocks_of(guide: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), flags=re.DOTALL)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


def test_there_are_guides_with_examples() -> None:
    assert sum(len(blocks_of(guide)) for guide in GUIDES) >= 5


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guides_examples_print_what_it_says(
    guide: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    text = " ".join(guide.read_text("utf-8").split())
    programs = [block for block in blocks_of(guide) if TEST not in block]
    outputs = [run_as_file(program, sandbox, tmp_path) for program in programs]
    promised = re.findall(r"\bprints `([^`]+)`", text)
    printed = [line for output in outputs for line in output.splitlines()]
    assert [line for line in printed if line in promised] == promised
    assert not sandbox.ledger.twice("link_created") or "second link" in text


def test_the_tests_of_the_guide_to_testing_pass(pytester: pytest.Pytester) -> None:
    blocks = blocks_of(GUIDES[0].parent / "testing.md")
    assert [block.count(TEST) for block in blocks] == [1] * 7
    pytester.makepyfile(**{f"test_{number}": block for number, block in enumerate(blocks)})
    pytester.makeini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:trio", "-p", "no:cacheprovider")
    # All but one run on two loops; one is for an account.
    result.assert_outcomes(passed=11, skipped=2)


def test_the_guide_to_testing_quotes_the_refusal() -> None:
    text = (GUIDES[0].parent / "testing.md").read_text("utf-8")
    quoted = " ".join(re.findall(r"^> (.*)$", text, flags=re.MULTILINE))
    with limited_to_loopback(limited=True), pytest.raises(ConfigurationError) as caught:
        check_reach("chat2pay-service.clickatell.com")
    assert quoted == str(caught.value)


def workbook(path: Path) -> None:
    """Write the orders that the guide shows, and those of its rows alone."""
    text = (GUIDES[0].parent / "from-workbook-to-report.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        money = book.add_format({"num_format": "0.00"})
        for number, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                if number and column == rows[0].index("Amount due"):
                    sheet.write_number(number, column, float(cell), money)
                else:
                    sheet.write_string(number, column, cell)


def test_a_workbook_is_sent_captured_reconciled_and_reported_by_the_guides_commands(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (GUIDES[0].parent / "from-workbook-to-report.md").read_text("utf-8")
    blocks = re.findall(r"```console\n(.*?)```", guide, flags=re.DOTALL)
    commands = [shlex.split(line) for line in "".join(blocks).splitlines()]
    workbook(tmp_path / "spring.xlsx")
    printed: list[str] = []
    for program, *arguments in commands:
        if arguments[0] == "captures":
            for link in sandbox.links():
                sandbox.pay(str(link["paymentLinkRef"]))
        assert (program, main(arguments)) == ("chat2pay", 0), capsys.readouterr().err
        printed.append(capsys.readouterr().out)
    done = {kind: sandbox.ledger.count(kind) for kind in ("link_created", "paid", "captured")}
    assert done == {"link_created": 2, "paid": 2, "captured": 2}
    assert "001001" in printed[-1]
    assert (tmp_path / "spring-report.xlsx").stat().st_size > 1000
