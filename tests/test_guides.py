"""The guides' examples are run as their readers would run them, and print what the text says."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import xlsxwriter
from commandline import served
from pasted import run_as_file

from chat2pay_async import ConfigurationError, events, opentelemetry
from chat2pay_async._config import check_reach
from chat2pay_async._reach import limited_to_loopback
from chat2pay_async.cli import main
from chat2pay_async.sandbox import Sandbox

pytest_plugins = ["pytester"]

TEST = "def test_"
GUIDES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
MONITORING = Path(__file__).parent.parent / "docs" / "monitoring.md"
PACKAGE = Path(events.__file__).parent


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


def printed_by_monitoring(number: int, sandbox: Sandbox, folder: Path) -> list[str]:
    """Run one of the monitoring guide's examples; return its lines."""
    block = blocks_of(MONITORING)[number]
    return run_as_file(block, sandbox, folder).splitlines()


def test_the_spans_of_the_monitoring_guides_example_are_those_that_it_shows(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    shown = re.findall(r"```text\n(.*?)```", MONITORING.read_text("utf-8"), flags=re.DOTALL)
    assert printed_by_monitoring(0, sandbox, tmp_path) == shown[0].splitlines()


def test_the_monitoring_guides_structlog_example_writes_each_event_as_json(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in printed_by_monitoring(1, sandbox, tmp_path)]
    assert [line["event"] for line in lines] == [
        "CallStarted",
        "AttemptStarted",
        "AttemptFinished",
        "CallFinished",
    ]
    assert len({line["call_id"] for line in lines}) == 1
    shown = re.search(r"```json\n(.*?)```", MONITORING.read_text("utf-8"), flags=re.DOTALL)
    assert shown is not None
    assert list(lines[-1]) == list(json.loads(shown[1]))


def test_the_monitoring_guide_has_every_event_at_its_level_and_every_logger() -> None:
    text = MONITORING.read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z]+) \|", text, flags=re.MULTILINE)
    kinds = {
        name
        for name in events.__all__
        if isinstance(kind := getattr(events, name), type) and issubclass(kind, events.Event)
    }
    assert {name for name, _ in rows} == kinds - {"Event"}
    levels = {kind.__name__: logging.getLevelName(level) for kind, level in events._LEVELS.items()}
    assert dict(rows) == dict.fromkeys(kinds - {"Event"}, "DEBUG") | levels
    sources = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    loggers = set(re.findall(r'getLogger\("(chat2pay_async\.\w+)"\)', sources))
    assert set(re.findall(r"^\| `(chat2pay_async\.\w+)` \|", text, re.MULTILINE)) == loggers


def test_the_metrics_that_the_monitoring_guide_names_are_there() -> None:
    named = set(re.findall(r"`((?:chat2pay|http)\.[\w.]+)[=`]", MONITORING.read_text("utf-8")))
    documented = opentelemetry.__doc__ or ""
    assert {name for name in named if f"`{name}`" not in documented} <= {"http.client"}


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
