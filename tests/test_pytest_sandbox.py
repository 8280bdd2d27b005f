"""The fixture `chat2pay_sandbox`, in tests of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async import AsyncChat2Pay, PaymentStatus, Timeout
from chat2pay_async.pytest_plugin import SandboxFixture
from chat2pay_async.sandbox import FaultPlan, InjectedFault, SandboxError


async def link_of(client: AsyncChat2Pay, order_number: str = "A-1") -> str:
    link = await client.create_payment_link(
        channel="sms",
        to="27831234567",
        order_number=order_number,
        currency="ZAR",
        total_amount="199.90",
        transaction_type="authorization",
    )
    return link.payment_link_ref


@pytest.mark.anyio
async def test_a_client_of_the_sandbox_makes_links_that_its_customer_pays(
    chat2pay_sandbox: SandboxFixture,
) -> None:
    customer = chat2pay_sandbox.customer
    async with chat2pay_sandbox.client() as client:
        paid, declined = await link_of(client), await link_of(client, "A-2")
        reviewed, opened = await link_of(client, "A-3"), await link_of(client, "A-4")
        customer.pays(paid)
        customer.is_declined(declined)
        customer.is_reviewed(reviewed)
        customer.opens(opened)
        found = [
            (await client.get_transaction(payment_link_ref=ref)).payment_status
            for ref in (paid, declined, reviewed)
        ]
    assert found == [PaymentStatus.SUCCESS, PaymentStatus.FAILED, PaymentStatus.REVIEW]
    with pytest.raises(SandboxError):
        customer.pays(paid)
    ledger = chat2pay_sandbox.ledger
    assert (ledger.count("paid"), ledger.count("payment_declined")) == (1, 1)
    assert ledger.count("link_clicked", payment_link_ref=opened) == 1


@pytest.mark.anyio
async def test_a_test_sees_the_callbacks_and_what_became_of_them(
    chat2pay_sandbox: SandboxFixture,
) -> None:
    chat2pay_sandbox.callbacks.send_to(f"{chat2pay_sandbox.url}/hook", "transaction_status")
    async with chat2pay_sandbox.client() as client:
        ref = await link_of(client)
    (callback,) = chat2pay_sandbox.callbacks.made
    assert callback.payment_link_ref == ref


@pytest.mark.anyio
async def test_clients_of_the_code_under_test_are_led_there_by_the_environment(
    chat2pay_sandbox: SandboxFixture,
) -> None:
    async with AsyncChat2Pay() as client:
        await link_of(client)
    assert chat2pay_sandbox.ledger.count("link_created") == 1
    assert chat2pay_sandbox.url.startswith("http://127.0.0.1:")
    assert repr(chat2pay_sandbox) == f"SandboxFixture(url={chat2pay_sandbox.url!r})"


@pytest.mark.anyio
async def test_a_tests_settings_come_before_those_of_the_fixture(
    chat2pay_sandbox: SandboxFixture,
) -> None:
    timeout = Timeout(read=7.0)
    async with chat2pay_sandbox.client(timeout=timeout, max_connections=1) as client:
        assert repr(timeout) in repr(client)
        assert "settle=0.2" in repr(client)


def test_every_test_has_a_sandbox_of_its_own(chat2pay_sandbox: SandboxFixture) -> None:
    assert len(chat2pay_sandbox.ledger) == 0
    assert os.environ["CHAT2PAY_BASE_URL"] == chat2pay_sandbox.url
    assert os.environ["CHAT2PAY_API_KEY"] == chat2pay_sandbox.api_key


# Things go wrong ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_next_requests_go_wrong_exactly_as_told(
    chat2pay_sandbox: SandboxFixture,
) -> None:
    chat2pay_sandbox.faults(
        create_payment_link=["drop_after", None], get_transaction=["error_500_before"]
    )
    async with chat2pay_sandbox.client() as client:
        await link_of(client)
        await link_of(client, "A-2")
    ledger = chat2pay_sandbox.ledger
    assert dict(ledger.faults) == {
        ("create_payment_link", "drop_after"): 1,
        ("get_transaction", "error_500_before"): 1,
    }
    assert ledger.twice("link_created") == ()
    assert ledger.count("link_created") == 2


@pytest.mark.anyio
async def test_what_was_lost_before_it_arrived_is_sent_again_without_a_long_wait(
    chat2pay_sandbox: SandboxFixture,
) -> None:
    chat2pay_sandbox.faults(create_payment_link=["drop_before"])
    async with chat2pay_sandbox.client(timeout=Timeout(read=0.3)) as client:
        await link_of(client)
    assert chat2pay_sandbox.ledger.faulted("create_payment_link", "drop_before") == 1
    assert chat2pay_sandbox.ledger.count("link_created") == 1


@pytest.mark.anyio
async def test_things_go_wrong_by_a_plan_until_it_is_taken_back(
    chat2pay_sandbox: SandboxFixture,
) -> None:
    always = FaultPlan((InjectedFault("drop_after", 1.0, operations=("create_payment_link",)),))
    async with chat2pay_sandbox.client() as client:
        chat2pay_sandbox.faults(always)
        await link_of(client)
        chat2pay_sandbox.faults()
        await link_of(client, "A-2")
        chat2pay_sandbox.faults(always, cancel_payment_link=["throttle"])
        await link_of(client, "A-3")
    assert chat2pay_sandbox.ledger.faulted("create_payment_link") == 2
    chat2pay_sandbox.faults("mild")
    assert chat2pay_sandbox.sandbox.faults is not None
    with pytest.raises(SandboxError):
        chat2pay_sandbox.faults(no_operation=["throttle"])


# Processes ----------------------------------------------------------------------------------------

WORKER = """
import anyio
from chat2pay_async import AsyncChat2Pay, RetryPolicy, Timeout

async def main():
    quick = {"timeout": Timeout(read=2.0), "retry": RetryPolicy(settle=0.5)}
    async with AsyncChat2Pay(journal="payments.db", **quick) as client:
        await client.recover()
        for number in range(100):
            await client.create_payment_link(
                channel="sms", to="27831234567", order_number=f"A-{number}", currency="ZAR",
                total_amount="1.00",
            )
        print("made all")

anyio.run(main)
"""


@pytest.fixture
def worker(tmp_path: Path) -> list[str]:
    """The command of a program that makes 100 links by its journal."""
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    return [sys.executable, "worker.py"]


def test_a_process_is_killed_at_a_random_moment_and_its_next_run_makes_up_for_it(
    chat2pay_sandbox: SandboxFixture, worker: list[str], tmp_path: Path
) -> None:
    killed = [chat2pay_sandbox.killed(worker, within=0.05, cwd=tmp_path) for _ in range(2)]
    assert [one.returncode for one in killed] == [-signal.SIGKILL] * 2
    assert 1 <= chat2pay_sandbox.ledger.count("link_created") < 100
    # A moment that is most certainly after its end.
    last = chat2pay_sandbox.killed(worker, within=1_000_000, cwd=tmp_path)
    assert (last.returncode, last.args) == (0, worker), last.stdout
    assert last.stdout == "made all\n"
    assert chat2pay_sandbox.ledger.count("link_created") == 100
    assert chat2pay_sandbox.ledger.twice("link_created") == ()


def test_a_process_that_ends_by_itself_is_not_killed(
    chat2pay_sandbox: SandboxFixture, tmp_path: Path
) -> None:
    program = "import os, sys; print(os.environ['MINE'], os.getcwd()); sys.exit(3)"
    ended = chat2pay_sandbox.killed(
        [sys.executable, "-c", program], env={"MINE": "mine"}, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout) == (3, f"mine {tmp_path}\n")


def test_a_process_that_makes_no_request_is_killed_in_the_end(
    chat2pay_sandbox: SandboxFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*arguments: Any, **named: Any) -> subprocess.Popen[bytes]:
        made.append(real(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(TimeoutError, match=r"the process made no request in 0\.1 s"):
        chat2pay_sandbox.killed(sleeper, timeout=0.1)
    assert [one.returncode for one in made] == [-signal.SIGKILL]
