"""A single call on the command line, and what is said where its end is not as it should be."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from commandline import PHONE, FullDisk, Terminal, begun, full_output, served, until

from chat2pay_async._cli import single_call
from chat2pay_async._cli.job import Plan
from chat2pay_async.sandbox import Sandbox

LINK = ("link", "--to", f"{PHONE}1", "--order-number", "B-1", "--currency", "ZAR")
SHOWN = "chat2pay status --order-number B-1 shows it"
DOUBT = f"It may have been applied before it was interrupted: {SHOWN}"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_a_link_of_which_nothing_is_known_is_in_doubt(
    sandbox: Sandbox, run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_call, "Plan", partial(Plan, settle=0.1, resend_when_absent=False))
    sandbox.next_faults("create_payment_link", ["drop_before"])
    ran = run(*LINK, "--total-amount", "1.50")
    assert ran.code == 4
    assert ran.err.startswith("chat2pay: create_payment_link: ")
    assert not ran.out


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_a_link_is_made_says_that_it_may_be_there(
    sandbox: Sandbox, tmp_path: Path, sent: signal.Signals
) -> None:
    sandbox.next_faults("create_payment_link", ["silence_after"])
    with begun([*LINK, "--total-amount", "1.50"], tmp_path) as process:
        until(lambda: sandbox.ledger.faulted() == 1, "for a request without an answer")
        process.running.send_signal(sent)
        ran = process.ends()
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == f"chat2pay: {DOUBT}\n"


def test_that_is_said_only_of_what_may_have_left(
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
def test_sigterm_is_as_ctrl_c_even_where_that_is_ignored(
    monkeypatch: pytest.MonkeyPatch, run: Terminal, ctrl_c: Any
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "getsignal", lambda _number: ctrl_c)
    monkeypatch.setattr(anyio, "run", lambda _main: signal.raise_signal(signal.SIGTERM))
    ran = run("config")
    monkeypatch.undo()
    assert (ran.code, ran.out, ran.err) == (130, "", "")
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_a_thread_which_gets_no_signals_it_goes_without(sandbox: Sandbox, run: Terminal) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run("config").code))
    thread.start()
    thread.join()
    assert codes == [0]
    assert sandbox.ledger.answered("get_configuration", 200) == 1


# A full disk --------------------------------------------------------------------------------------


@full_output
def test_a_link_whose_result_can_not_be_printed_was_made_all_the_same(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with begun([*LINK, "--total-amount", "1.50"], tmp_path, output="/dev/full") as process:
        ran = process.ends()
    assert ran.code == 1
    assert ran.err == (
        "chat2pay: standard output can't be written: No space left on device; "
        f"but it took effect: {SHOWN}\n"
    )
    assert sandbox.ledger.count("link_created") == 1


def test_what_can_not_be_printed_is_told_with_the_way_to_see_it(
    sandbox: Sandbox, run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", FullDisk())
    made = run(*LINK, "--total-amount", "1.50")
    looked = run("config")
    cancelled = run("cancel", sandbox.ref_of("B-1"))
    assert (made.code, looked.code, cancelled.code) == (1, 1, 1)
    assert made.err.endswith(f"; but it took effect: {SHOWN}\n")
    assert looked.err.endswith("; let it go elsewhere, and say it again\n")
    assert cancelled.err.endswith(f"chat2pay status {sandbox.ref_of('B-1')} shows it\n")
    assert sandbox.ledger.count("link_cancelled") == 1


@full_output
def test_a_look_that_can_not_be_printed_can_be_repeated(sandbox: Sandbox, tmp_path: Path) -> None:
    with begun(["config"], tmp_path, output="/dev/full") as process:
        ran = process.ends()
    assert (ran.code, sandbox.ledger.answered("get_configuration")) == (1, 1)
    assert ran.err == (
        "chat2pay: standard output can't be written: No space left on device; "
        "let it go elsewhere, and say it again\n"
    )
