"""The demo must notice when its sums do not agree: a check that can't fail would show nothing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
CAMPAIGN = BENCHMARKS / "campaign.csv"


def load_demo() -> Any:
    spec = importlib.util.spec_from_file_location("demo", BENCHMARKS / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


demo = load_demo()


def short_campaign(tmp_path: Path, rows: int) -> Path:
    path = tmp_path / "campaign.csv"
    lines = CAMPAIGN.read_text(encoding="utf-8").splitlines()[: rows + 1]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_campaign_is_a_thousand_different_orders() -> None:
    requests = demo.read_requests(CAMPAIGN)
    assert len({request.order_number for request in requests}) == 1000
    assert {request.currency for request in requests} > {"ZAR", "JPY", "KWD"}
    assert {str(request.channel) for request in requests} == {"sms", "whatsapp", "none"}


def test_a_run_over_real_sockets_agrees_with_the_ledger(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "demo.py"), str(short_campaign(tmp_path, 40))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 links" in done.stdout
    assert "Every sum agrees" in done.stdout


def test_a_bad_row_is_reported_with_its_line_and_nothing_is_sent(tmp_path: Path) -> None:
    path = short_campaign(tmp_path, 3)
    path.write_text(path.read_text(encoding="utf-8").replace("sms", "fax"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"nothing was sent:\nline 2: .*channel"):
        demo.read_requests(path)


AGREED: dict[str, Any] = {
    "counts": {"link_created": 1, "paid": 1, "captured": 1},
    "totals": {
        "link_created": {"KWD": Decimal("2349.684")},
        "captured": {"KWD": Decimal("2349.684")},
    },
    "twice": {"link_created": []},
}


def run_of_one() -> Any:
    (request,) = demo.read_requests(CAMPAIGN)[:1]
    run = demo.Run()
    run.created["ref-1"] = (request, None)
    run.done.update({"pay": 1, "captured": 1})
    run.captured["KWD"] += Decimal("2349.684")
    return run


def test_a_run_that_agrees_has_no_disagreements() -> None:
    assert list(demo.disagreements(run_of_one(), AGREED, 1)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"counts": {"link_created": 2, "paid": 1, "captured": 1}}, "links created"),
        ({"counts": {"link_created": 1, "captured": 1}}, "payments"),
        ({"counts": {"link_created": 1, "paid": 1, "captured": 2}}, "captures"),
        ({"totals": {}}, "value of links"),
        ({"twice": {"captured": ["ref-1"]}}, "twice"),
    ],
)
def test_a_ledger_that_says_otherwise_is_noticed(change: dict[str, Any], said: str) -> None:
    found = list(demo.disagreements(run_of_one(), AGREED | change, 1))
    assert any(fault.startswith(said) for fault in found)


def test_fewer_links_than_rows_are_noticed() -> None:
    assert any("2 rows" in fault for fault in demo.disagreements(run_of_one(), AGREED, 2))
