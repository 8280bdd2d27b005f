"""A single call on the command line, its errors and its interruption."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from commandline import PHONE, FullDisk, Terminal, begun, full_output, served, until

from chat2pay_async import RetryPolicy
from chat2pay_async._cli import single_call
from chat2pay_async.sandbox import Sandbox

LINK = ("link", "--to", f"{PHONE}1", "--order-number", "B-1", "--currency", "ZAR")
CHECK = "chat2pay status --order-number B-1"
UNKNOWN = f"The request may have been applied. To check: {CHECK}\n"
APPLIED = f", but the request was applied. To see it: {CHECK}\n"
FULL = "chat2pay: standard output can't be written: No space left on device"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_link_with_unknown_outcome_has_its_own_exit_code(
    sandbox: Sandbox, run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RetryPolicy(settle=0.1, resend_when_absent=False)
    monkeypatch.setattr(single_call, "RetryPolicy", lambda **_settings: policy)
    sandbox.next_faults("create_payment_link", ["drop_before"] * 2)
    url = os.environ["CHAT2PAY_BASE_URL"]
    for option, also in (((), ""), (("--base-url", url), f" --base-url {url}")):
        monkeypatch.setenv("CHAT2PAY_JOURNAL", str(tmp_path / f"{len(option)}.db"))
        ran = run(*LINK, "--total-amount", "1.50", *option)
        assert (ran.code, ran.out) == (4, "")
        assert ran.err == (
            f"chat2pay: create_payment_link: no response from {url[7:]}: the connection was "
            "closed, or what came is no HTTP (RemoteProtocolError); it may have been applied; do "
            f"not send it again before you have seen what was applied: {CHECK}{also}\n"
        )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_link_is_reported_as_possibly_applied(
    sandbox: Sandbox, tmp_path: Path, sent: signal.Signals
) -> None:
    sandbox.next_faults("create_payment_link", ["silence_after"])
    with begun([*LINK, "--total-amount", "1.50"], tmp_path) as process:
        until(lambda: sandbox.ledger.faulted() == 1, "for a request without an answer")
        process.running.send_signal(sent)
        ran = process.ends()
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == UNKNOWN


def test_interrupted_look_up_is_not_reported_as_possibly_applied(
    sandbox: Sandbox, run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_run = anyio.run

    async def cut(main: Callable[[], Coroutine[Any, Any, int]]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(main)
            await anyio.to_thread.run_sync(until, lambda: sandbox.ledger.faulted() > 0, "a request")
            tasks.cancel_scope.cancel()

    def interrupted(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
        # On Python 3.11 a thread in which a loop was cut off is not traced any more for a while.
        thread = threading.Thread(target=really_run, args=(cut, main))
        thread.start()
        thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", interrupted)
    sandbox.next_faults("create_payment_link", ["silence_after"])
    made = run(*LINK, "--total-amount", "1.50")
    sandbox.next_faults("get_configuration", ["silence_before"])
    looked = run("config")
    assert (made.code, looked.code) == (130, 130)
    assert "may have been applied" in made.err
    assert "may have been applied" not in looked.err


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_interrupts_even_if_ctrl_c_is_ignored(
    monkeypatch: pytest.MonkeyPatch, run: Terminal, ctrl_c: Any
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "getsignal", lambda _number: ctrl_c)
    monkeypatch.setattr(anyio, "run", lambda _main: signal.raise_signal(signal.SIGTERM))
    ran = run("config")
    monkeypatch.undo()
    assert (ran.code, ran.out, ran.err) == (130, "", "")
    assert signal.getsignal(signal.SIGTERM) == before


def test_call_works_in_a_thread_which_gets_no_signals(sandbox: Sandbox, run: Terminal) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run("config").code))
    thread.start()
    thread.join()
    assert codes == [0]
    assert sandbox.ledger.answered("get_configuration", 200) == 1


# A full disk --------------------------------------------------------------------------------------


@full_output
def test_full_disk_says_that_the_link_was_created(sandbox: Sandbox, tmp_path: Path) -> None:
    with begun([*LINK, "--total-amount", "1.50"], tmp_path, output="/dev/full") as process:
        ran = process.ends()
    assert ran.code == 1
    assert ran.err == FULL + APPLIED
    assert sandbox.ledger.count("link_created") == 1


def test_unprinted_result_is_reported_with_the_command_that_shows_it(
    sandbox: Sandbox, run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", FullDisk())
    made = run(*LINK, "--total-amount", "1.50")
    looked = run("config")
    cancelled = run("cancel", sandbox.ref_of("B-1"))
    assert (made.code, looked.code, cancelled.code) == (1, 1, 1)
    assert made.err.endswith(APPLIED)
    assert looked.err == f"{FULL}\n"
    assert cancelled.err.endswith(f"To see it: chat2pay status {sandbox.ref_of('B-1')}\n")
    assert sandbox.ledger.count("link_cancelled") == 1


@full_output
def test_unprinted_look_up_is_an_error_in_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    with begun(["config"], tmp_path, output="/dev/full") as process:
        ran = process.ends()
    assert (ran.code, sandbox.ledger.answered("get_configuration")) == (1, 1)
    assert ran.err == f"{FULL}\n"


def test_closed_output_is_quiet_unless_a_request_was_applied(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with begun(["config"], tmp_path, reads=False) as process:
        looked = process.ends()
    with begun([*LINK, "--total-amount", "1.50"], tmp_path, reads=False) as process:
        made = process.ends()
    assert (looked.code, looked.err) == (1, "")
    assert (made.code, made.err) == (1, f"chat2pay: standard output was closed{APPLIED}")
    assert sandbox.ledger.count("link_created") == 1
