"""The recipes for task queues and notebooks, run by the queues and the notebook themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from commandline import served

from chat2pay_async.sandbox import Sandbox

GUIDE = (Path(__file__).parent.parent / "docs" / "task-queues.md").read_text("utf-8")
CELERY, TASKIQ = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
CELLS = re.findall(r"```python3\n(.*?)```", GUIDE, flags=re.DOTALL)

DRIVE_CELERY = """
import json, warnings
from celery.contrib.testing.worker import start_worker
from chat2pay_async.events import OutcomeUnknown

import shop_tasks
from shop_tasks import Worker, app, send_link

app.conf.update(broker_url="memory://", result_backend="cache+memory://")
send_link.retry_backoff = False
with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
    Worker.start()  # a pool of one process, which is this one, tells of no other
    results = [send_link.delay("Q-1", "27831234567", "199.90") for _ in range(2)]
    print(json.dumps([result.get(timeout=60) for result in results]))
    Worker.stop()
"""
DRIVE_TASKIQ = """
import asyncio, json
from links import broker, send_link

async def main():
    await broker.startup()
    tasks = [await send_link.kiq("Q-1", "27831234567", "199.90") for _ in range(2)]
    results = [await task.wait_result(timeout=60) for task in tasks]
    for result in results:
        result.raise_for_error()
    print(json.dumps([result.return_value for result in results]))
    await broker.shutdown()

asyncio.run(main())
"""


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


def run(source: str, folder: Path) -> list[str]:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", source],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("module", "recipe", "driver"),
    [("shop_tasks", CELERY, DRIVE_CELERY), ("links", TASKIQ, DRIVE_TASKIQ)],
    ids=["celery", "taskiq"],
)
def test_a_task_that_is_delivered_twice_makes_one_link(
    module: str, recipe: str, driver: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    tmp_path.joinpath(f"{module}.py").write_text(recipe, "utf-8")
    sandbox.next_faults("create_payment_link", ["drop_after"])
    first, second = run(driver, tmp_path)
    assert first == second
    assert [link["paymentLinkRef"] for link in sandbox.links()] == [first]
    assert sandbox.ledger.faults["create_payment_link", "drop_after"] == 1


def test_a_cell_that_is_run_again_sends_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    opening, link, campaign, closing = CELLS
    cells = [opening, link, link, campaign, campaign, closing]
    made: Any = nbformat.v4
    book = made.new_notebook(cells=[made.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=60, resources=resources).execute()
    shown = [
        output["data"]["text/plain"]
        for cell in book.cells
        for output in cell.outputs
        if output["output_type"] == "execute_result"
    ]
    assert shown == [
        "(True, False)",
        "(True, True)",
        "Counter({'applied': 2})",
        "Counter({'skipped': 2})",
    ]
    for quoted in shown[:2]:
        assert f"`{quoted}`" in GUIDE
    assert sandbox.ledger.count("link_created") == 3
