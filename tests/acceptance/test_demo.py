"""The demo must notice when its sums do not agree: a check that can't fail would show nothing."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chat2pay_async._files.rows import CAPTURES, LINKS, read_rows

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
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
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def test_the_campaign_is_a_thousand_different_orders() -> None:
    rows = [row.request for row in read_rows(CAMPAIGN, LINKS) if row.request]
    assert len({request.order_number for request in rows}) == 1000
    assert {request.currency for request in rows} > {"ZAR", "JPY", "KWD"}
    assert {str(request.channel) for request in rows} == {"sms", "whatsapp", "none"}


def test_a_partial_capture_is_valid_in_each_of_the_campaigns_currencies(tmp_path: Path) -> None:
    links = [row.request for row in read_rows(CAMPAIGN, LINKS) if row.request]
    halves = [
        (f"ref-{number}", f"{(link.total_amount / 2).quantize(link.total_amount)}", link.currency)
        for number, link in enumerate(links)
    ]
    demo.write_captures(tmp_path / "captures.csv", halves)
    rows = list(read_rows(tmp_path / "captures.csv", CAPTURES))
    assert [fault for row in rows for fault in row.faults] == []
    assert {row.request.currency for row in rows if row.request} > {"ZAR", "JPY", "KWD"}


def test_a_run_that_is_killed_and_resumed_agrees_with_the_ledger(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "demo.py"), str(short_campaign(tmp_path, 120))]
    done = subprocess.run(  # noqa: S603 - our own command
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "120 links" in done.stdout
    assert "Every sum agrees" in done.stdout
    assert "kill -9" in done.stderr
    assert set(re.findall(r"chat2pay report (\S+)", done.stderr)) == {"campaign", "captures"}
    (folder,) = tmp_path.glob("chat2pay-demo-*")
    known = chat2pay("runs", "--json", "--journal", str(folder / "payments.db"))
    names = {json.loads(line)["run"] for line in known.splitlines()}
    assert names == {"campaign", "captures"}, "what it says can be done afterwards"


def chat2pay(*arguments: str) -> str:
    command = demo.chat2pay(*arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


def test_what_happened_is_told_in_words() -> None:
    done = Counter(pay=860, click=20, captured=532) | Counter({"capture declined": 8})
    sums = demo.Sums(Counter(), {}, {}, done)
    assert list(demo.in_words(sums, AGREED)) == [
        "Customers: 860 paid, 20 only looked at it.",
        "Captures: 532 accepted, 8 declined by the gateway.",
        (
            "On the way: 1 requests or their responses were lost, broken, late or throttled, "
            "and one process was killed with kill -9."
        ),
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_killed_process_has_drawn_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr(demo, "progress", Console(file=drawn, force_terminal=terminal))
    demo.leave_the_bar()
    assert drawn.getvalue() == ("\x1b[?25h\n" if terminal else "")


LINK = {
    "order_number": "A-1",
    "payment_link_ref": "ref-1",
    "asked_amount": "2349.684",
    "currency": "KWD",
}
CAPTURE = {"payment_link_ref": "ref-1", "answered_amount": "2349.684", "state": "applied"}
AGREED: dict[str, Any] = {
    "counts": {"link_created": 1, "paid": 1, "captured": 1},
    "totals": {
        "link_created": {"KWD": Decimal("2349.684")},
        "captured": {"KWD": Decimal("2349.684")},
    },
    "twice": {"link_created": []},
    "faults": {"create_payment_link": {"drop_after": 1}},
    "effects": [{"kind": "captured", "paymentLinkRef": "ref-1"}],
}


def sums_of_one() -> Any:
    return demo.add_up([LINK], [CAPTURE], Counter(pay=1))


def test_a_run_that_agrees_has_no_disagreements() -> None:
    assert list(demo.disagreements(sums_of_one(), AGREED, 1)) == []


DECLINED = {"kind": "capture_declined", "paymentLinkRef": "ref-1"}


def test_a_capture_that_was_declined_and_then_accepted_was_not_declined_for_good() -> None:
    again = AGREED | {"effects": [DECLINED, *AGREED["effects"]]}
    assert list(demo.disagreements(sums_of_one(), again, 1)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"effects": [DECLINED]}, "declined captures"),
        ({"counts": {"link_created": 2, "paid": 1, "captured": 1}}, "links created"),
        ({"counts": {"link_created": 1, "captured": 1}}, "payments"),
        ({"counts": {"link_created": 1, "paid": 1, "captured": 2}}, "captures"),
        ({"totals": {}}, "value of links"),
        ({"twice": {"captured": ["ref-1"]}}, "twice"),
        ({"faults": {}}, "no request met a fault"),
    ],
)
def test_a_ledger_that_says_otherwise_is_noticed(change: dict[str, Any], said: str) -> None:
    found = list(demo.disagreements(sums_of_one(), AGREED | change, 1))
    assert any(fault.startswith(said) for fault in found)


def test_fewer_links_than_rows_are_noticed() -> None:
    assert any("2 rows" in fault for fault in demo.disagreements(sums_of_one(), AGREED, 2))
