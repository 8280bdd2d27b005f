"""The commands: links, reports, status look-ups, the account, the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from commandline import PHONE, Terminal, begun, full_output, lines_to, links_csv, served

from chat2pay_async.sandbox import InjectedFault, Sandbox, SandboxError, _serve

LINK = ("link", "--to", f"{PHONE}1", "--order-number", "B-1", "--currency", "ZAR")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


# A link -------------------------------------------------------------------------------------------


def test_link_is_created_and_shown(sandbox: Sandbox, run: Terminal) -> None:
    ran = run(*LINK, "--total-amount", "1.50", "--return-payment-link")
    assert (ran.code, ran.err) == (0, "")
    assert sandbox.ref_of("B-1") in ran.out
    assert f"{sandbox.url}/pay/" in ran.out
    assert sandbox.ledger.total("link_created", "ZAR") == Decimal("1.50")


def test_link_is_created_with_every_option(sandbox: Sandbox, run: Terminal) -> None:
    more = ("--channel", "whatsapp", "--transaction-type", "authorization")
    words = ("--reconciliation-id", "rec-1", "--merchant-descriptor", "Mugs")
    ran = run(*LINK, "--total-amount", "1.50", *more, *words, "--json")
    assert ran.lines[0]["payment_link_ref"] == sandbox.ref_of("B-1")
    status = run("status", "--order-number", "B-1", "--json").lines[0]["result"]
    assert status["reconciliation_id"] == "rec-1"
    assert status["total_amount"] == Decimal("1.50")


def test_undelivered_link_has_the_exit_code_of_a_problem(sandbox: Sandbox, run: Terminal) -> None:
    sandbox.fail_delivery("B-1")
    assert run(*LINK, "--total-amount", "1.50").code == 3
    assert sandbox.ledger.count("link_created") == 1


def test_invalid_link_is_refused_before_it_is_sent(sandbox: Sandbox, run: Terminal) -> None:
    ran = run(*LINK, "--total-amount", "1.505")
    assert ran.code == 2
    assert ran.err == "chat2pay: total_amount: has 3 decimals; ZAR has 2: round it\n"
    assert not ran.out
    assert not sandbox.ledger.requests


@pytest.mark.parametrize(
    "amount", ["199,90", "1_000", "1e3", "nan", "Infinity", "\u0661\u0662", ""]
)
def test_amount_that_is_no_plain_number_is_a_wrong_argument(
    sandbox: Sandbox, run: Terminal, amount: str
) -> None:
    ran = run(*LINK, f"--total-amount={amount}")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("chat2pay: total_amount: is not a number; write it with digits and")
    assert ran.err.count("\n") == 1
    assert not sandbox.ledger.requests


def test_value_that_a_program_wrote_for_nothing_is_a_wrong_argument(
    sandbox: Sandbox, run: Terminal
) -> None:
    money = ("--currency", "ZAR", "--total-amount", "5.00")
    ran = run("link", "--to", "null", "--order-number", "None", *money)
    assert (ran.code, ran.out, ran.err.count("is what a program writes for nothing")) == (2, "", 2)
    assert "order_number: " in ran.err
    assert not sandbox.ledger.requests


def test_local_phone_number_is_read_with_its_country(sandbox: Sandbox, run: Terminal) -> None:
    order = ("--order-number", "A-1", "--currency", "ZAR", "--total-amount", "5.00")
    assert run("link", "--to", "083 123 4567", "--country", "ZA", *order).code == 0
    assert sandbox.ledger.count("link_created") == 1
    for country in ("South Africa", "ZZ", ""):
        ran = run("link", "--to", "083 123 4567", "--country", country, *order)
        assert ran.code == 2
        assert "Invalid value" in ran.err
    assert sandbox.ledger.count("link_created") == 1


def test_phone_number_without_its_country_is_a_wrong_argument(
    sandbox: Sandbox, run: Terminal
) -> None:
    words = ("--order-number", "B-1", "--currency", "ZAR", "--total-amount", "1.50")
    ran = run("link", "--to", "0831234567", *words)
    assert ran.code == 2
    assert "to: begins with 0, as no country code does" in ran.err
    assert not sandbox.ledger.requests
    assert run("link", "--to", "+27 (83) 123-4567", *words).code == 0


def test_link_that_was_made_is_shown_and_not_made_again(sandbox: Sandbox, run: Terminal) -> None:
    first = run(*LINK, "--total-amount", "1.50", "--json")
    again = run(*LINK, "--total-amount", "1.5", "--json")
    assert (again.code, sandbox.ledger.count("link_created")) == (0, 1)
    assert again.err.startswith("Already made at ")
    assert again.err.endswith(" (replayed): nothing was sent.\n")
    assert again.lines[0]["payment_link_ref"] == first.lines[0]["payment_link_ref"]
    changed = run(*LINK, "--total-amount", "2.50")
    assert (changed.code, "another total_amount" in changed.err) == (1, True)
    second = run(*LINK, "--total-amount", "1.50", "--idempotency-key", "B-1 again")
    assert (second.code, sandbox.ledger.count("link_created")) == (0, 2)


# Other calls --------------------------------------------------------------------------------------


def test_link_is_cancelled(sandbox: Sandbox, run: Terminal) -> None:
    run(*LINK, "--total-amount", "1.50")
    ref = sandbox.ref_of("B-1")
    ran = run("cancel", ref, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines[0]["payment_link_ref"] == ref
    assert sandbox.ledger.count("link_cancelled") == 1
    again = run("cancel", ref)
    assert (again.code, "(replayed): nothing was sent." in again.err) == (0, True)
    assert sandbox.ledger.count("link_cancelled") == 1


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_account_is_shown_without_its_key(
    sandbox: Sandbox, run: Terminal, form: tuple[str, ...]
) -> None:
    ran = run("config", *form)
    assert ran.code == 0
    assert "ZAR" in ran.out
    assert sandbox.api_key not in ran.out + ran.err
    assert "api_key" not in ran.out


def test_wrong_key_is_reported_and_not_shown(
    sandbox: Sandbox, run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_API_KEY", "wrong-key")
    ran = run("config")
    assert (ran.code, ran.out) == (1, "")
    assert "401" in ran.err
    assert "wrong-key" not in ran.err
    assert sandbox.ledger.answered("get_configuration", 401) == 1


def test_missing_key_sends_nothing(
    sandbox: Sandbox, run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHAT2PAY_API_KEY")
    ran = run("config")
    assert ran.code == 1
    assert "set the environment variable CHAT2PAY_API_KEY" in ran.err
    assert not sandbox.ledger.requests


def test_base_url_can_be_an_option(
    sandbox: Sandbox, run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_BASE_URL", "http://127.0.0.1:9")
    assert run("config", "--base-url", sandbox.url).code == 0


def test_payment_is_captured_reversed_and_receipted_once(sandbox: Sandbox, run: Terminal) -> None:
    run(*LINK, "--total-amount", "1.50", "--transaction-type", "authorization")
    ref = sandbox.ref_of("B-1")
    sandbox.pay(ref)
    for _ in range(2):
        assert run("capture", ref, "--amount", "1.00", "--currency", "ZAR").code == 0
        assert run("receipt", ref, "https://shop.test/r/1").code == 0
        assert run("reverse", ref).code == 0
    counts = sandbox.ledger.counts
    assert (counts["captured"], counts["reversed"]) == (1, 1)


def test_declined_capture_has_the_exit_code_of_a_problem(sandbox: Sandbox, run: Terminal) -> None:
    run(*LINK, "--total-amount", "1.50", "--transaction-type", "authorization")
    ref = sandbox.ref_of("B-1")
    sandbox.pay(ref)
    sandbox.decline_capture(ref)
    assert run("capture", ref).code == 3
    assert sandbox.ledger.count("captured") == 0


def test_receipt_without_its_message_has_the_exit_code_of_a_problem(
    sandbox: Sandbox, run: Terminal
) -> None:
    run(*LINK, "--total-amount", "1.50")
    ref = sandbox.ref_of("B-1")
    sandbox.pay(ref)
    sandbox.fail_receipt(ref)
    ran = run("receipt", ref, "https://shop.test/r/1")
    assert (ran.code, ran.err.count("\n")) == (3, 1)


def test_nothing_is_left_open_to_recover(sandbox: Sandbox, run: Terminal) -> None:
    run(*LINK, "--total-amount", "1.50")
    ran = run("recover", "--json")
    assert (ran.code, ran.lines) == (0, [{"applied": 0, "absent": 0, "undetermined": 0}])
    assert sandbox.ledger.count("link_created") == 1


# The sandbox --------------------------------------------------------------------------------------


def test_sandbox_takes_every_option(monkeypatch: pytest.MonkeyPatch, run: Terminal) -> None:
    served_at: list[Any] = []

    def serve(settings: _serve.Settings, say: Callable[[str], None]) -> int:
        say("it is served")
        served_at.append(settings)
        return 0

    monkeypatch.setattr(_serve, "run", serve)
    ran = run("sandbox")
    assert (ran.code, ran.out) == (0, "it is served\n")
    options: tuple[str, ...] = (
        "--host",
        "::1",
        "--port",
        "8123",
        "--api-key",
        "k",
        "--faults",
        "mild",
    )
    options += ("--seed", "7", "--api-key", "l", "--state", "s.db", "--open-controls")
    options += (
        "--wire",
        "{}",
        "--environment",
        "production",
        "--forward-to",
        "http://a",
        "--forward-to",
        "http://b",
    )
    assert run("sandbox", *options).code == 0
    assert served_at == [
        _serve.Settings(),
        _serve.Settings(
            host="::1",
            port=8123,
            api_key=("k", "l"),
            environment="production",
            faults="mild",
            seed=7,
            state=Path("s.db"),
            forward_to=("http://a", "http://b"),
            wire="{}",
            open_controls=True,
        ),
    ]


@pytest.mark.parametrize(
    ("event", "stage"),
    [
        ("paid", "SOLD"),
        ("declined", "DECLINED"),
        ("review", "IN_REVIEW"),
        ("expired", "EXPIRED"),
        ("cancelled", "CANCELLED"),
    ],
)
def test_trigger_lets_something_happen_to_an_order(
    sandbox: Sandbox, run: Terminal, event: str, stage: str
) -> None:
    run(*LINK, "--total-amount", "1.50")
    ran = run("trigger", event, "B-1")
    assert (ran.code, ran.out) == (0, f"B-1: {event}\n")
    assert [link["stage"] for link in sandbox.links()] == [stage]


def test_trigger_says_what_can_not_happen(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("trigger", "paid", "no/such?")
    assert (ran.code, ran.out) == (1, "")
    assert (
        ran.err == "chat2pay: no/such?: There is no such transaction with order number no/such?\n"
    )
    run(*LINK, "--total-amount", "1.50")
    sandbox.expire(sandbox.ref_of("B-1"))
    ran = run("trigger", "paid", "B-1", "--base-url", sandbox.url)
    assert (ran.code, ran.err) == (1, "chat2pay: B-1: Payment link has expired\n")


def test_trigger_is_for_sandboxes_alone(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("trigger", "paid", "B-1", "--base-url", "https://chat2pay.example")
    assert (ran.code, "only a sandbox has customers" in ran.err) == (1, True)
    ran = run("trigger", "paid", "B-1", "--base-url", f"{sandbox.url}/elsewhere")
    assert (ran.code, ran.err) == (1, "chat2pay: B-1: this is no sandbox\n")
    assert run("trigger", "refunded", "B-1").code == 2


def test_sandbox_that_can_not_start_reports_the_reason(
    monkeypatch: pytest.MonkeyPatch, run: Terminal
) -> None:
    def serve(*_place: object, **_more: object) -> int:
        raise SandboxError("this machine only")

    monkeypatch.setattr(_serve, "run", serve)
    ran = run("sandbox")
    assert (ran.code, ran.err) == (1, "chat2pay: this machine only\n")


@full_output
def test_sandbox_ends_if_it_can_not_print_its_address(tmp_path: Path) -> None:
    with begun(["sandbox"], tmp_path, output="/dev/full") as process:
        ran = process.ends()
    assert ran.code == 1
    assert ran.err == "chat2pay: standard output can't be written: No space left on device\n"


# Status -------------------------------------------------------------------------------------------


def test_status_is_looked_up_by_reference(sandbox: Sandbox, run: Terminal) -> None:
    run(*LINK, "--total-amount", "1.50")
    ref = sandbox.ref_of("B-1")
    sandbox.pay(ref)
    ran = run("status", ref)
    assert (ran.code, ran.err) == (0, "")
    assert [ref in ran.out, "B-1" in ran.out, "1.50" in ran.out, "paid" in ran.out] == [True] * 4


def test_statuses_are_looked_up_once_and_keep_their_order(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run("links", "send", links_csv(tmp_path / "spring.csv", 3))
    sandbox.next_faults("get_transaction", [InjectedFault("answer_late", seconds=(0.1, 0.1))])
    lines_to(tmp_path / "orders.csv", "order_number", "A-3", "A-2")
    names = (sandbox.ref_of("A-1"), "--order-number", "A-2", "--file", "orders.csv")
    ran = run("status", *names, "--json")
    assert ran.code == 0
    assert [line["result"]["order_number"] for line in ran.lines] == ["A-1", "A-2", "A-3"]


def test_status_file_may_have_an_ignored_column(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    run(*LINK, "--total-amount", "1.50")
    lines_to(tmp_path / "orders.csv", "order_number,colour", "B-1,red")
    ran = run("status", "--file", "orders.csv")
    assert (ran.code, ran.out) == (1, "")
    assert "--ignore NAME" in ran.err
    assert run("status", "--file", "orders.csv", "--ignore", "colour").code == 0
    assert sandbox.ledger.answered("get_transaction", 200) == 1


def test_missing_transaction_has_the_exit_code_of_a_problem(
    sandbox: Sandbox, run: Terminal
) -> None:
    ran = run("status", "--order-number", "none")
    assert ran.code == 3
    assert "404" in ran.out
    assert sandbox.ledger.answered("get_transaction", 404) == 1


def test_status_without_arguments_is_an_error(sandbox: Sandbox, run: Terminal) -> None:
    ran = run("status")
    assert (ran.code, ran.out) == (2, "")
    assert "--order-number" in ran.err
    assert not sandbox.ledger.requests


def test_bad_row_of_a_status_file_sends_nothing(
    sandbox: Sandbox, run: Terminal, tmp_path: Path
) -> None:
    path = lines_to(tmp_path / "orders.jsonl", '{"order_number": "A-1"}', "{}", "{}")
    ran = run("status", "--file", path)
    assert (ran.code, ran.out) == (1, "")
    assert "2 rows: order_number: " in ran.err
    assert "; rows 2, 3\n" in ran.err
    assert "2 bad and 1 valid rows" in ran.err
    assert not sandbox.ledger.requests
