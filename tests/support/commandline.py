"""The command line as a person or a script uses it: its output and its exit codes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread
import attrs
import msgspec
import pytest

from chat2pay_async import Timeout
from chat2pay_async._cli import single_call
from chat2pay_async._journal.schema import read_account
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async.cli import main
from chat2pay_async.sandbox import Sandbox
from chat2pay_async.sandbox._server import server

PHONE = "2783123456"
JOURNAL = "payments.db"
"""The journal of the account, in the folder of a test."""
HEADER = "order_number,channel,to,currency,total_amount"
_read_json = msgspec.json.Decoder(float_hook=Decimal).decode


@attrs.frozen
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its standard output, which is JSON and nothing else."""
        return [_read_json(line) for line in self.out.splitlines()]

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """Return its JSON lines about items, by key."""
        return {line["key"]: line for line in self.lines if "key" in line}


def served(monkeypatch: pytest.MonkeyPatch, where: Path) -> Iterator[Sandbox]:
    """Serve a sandbox while a plain test runs in a folder of its own, as if it were the service."""
    sandbox = Sandbox(seed=7)
    monkeypatch.chdir(where)
    monkeypatch.setenv("CHAT2PAY_API_KEY", sandbox.api_key)
    # What was lost is looked up until it would have timed out by itself.
    monkeypatch.setattr(single_call, "TIMEOUT", Timeout(read=1.0))
    monkeypatch.setenv("CHAT2PAY_JOURNAL", str(where / JOURNAL))
    sandbox.url, stop = server.start_server(sandbox.app, ("127.0.0.1", 0))
    monkeypatch.setenv("CHAT2PAY_BASE_URL", sandbox.url)
    try:
        yield sandbox
    finally:
        stop()


def links_csv(path: Path, count: int, prefix: str = "A") -> Path:
    """Write a campaign of links of 199.90 each."""
    rows = [f"{prefix}-{n},sms,{PHONE}{n},ZAR,199.90" for n in range(1, count + 1)]
    return lines_to(path, HEADER, *rows)


def lines_to(path: Path, *lines: str) -> Path:
    path.write_text("\n".join((*lines, "")), encoding="utf-8")
    return path


@attrs.frozen
class Terminal:
    """Runs commands in this process, and checks what is true of all of them."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        ran = Ran(code, *self.capsys.readouterr())
        assert "\x1b" not in ran.out + ran.err, "colours, though nothing here is a terminal"
        assert PHONE not in ran.err
        assert "/pay/" not in ran.err
        assert "Traceback" not in ran.err
        return ran


def states_in(run: str, journal: Path | str = JOURNAL) -> dict[str, str]:
    """Return the states of a run's rows, by key."""

    async def read() -> dict[str, str]:
        store = SQLiteStore(journal)
        await store.open(read_account(Path(journal))[0])
        try:
            return {row.key: row.state.value for row, _line in await store.rows(run=run)}
        finally:
            await store.aclose()

    return anyio.run(read)


class FullDisk(io.StringIO):
    """A standard output that is always full."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


# In a process of its own --------------------------------------------------------------------------

PATIENCE = 30.0
"""Seconds that anything may take, on a machine that has other things to do."""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


# A shell lets what it starts in the background, and its children, ignore Ctrl-C.
_INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from chat2pay_async import Timeout
from chat2pay_async._cli import single_call
single_call.TIMEOUT = Timeout(read=1.0)
from chat2pay_async.cli import main
sys.exit(main())
"""


@attrs.define
class Process:
    """A command that runs, and its output so far."""

    running: subprocess.Popen[str]
    errors: list[str] = attrs.field(factory=list[str])
    printed: list[str] = attrs.field(factory=list[str])
    readers: list[threading.Thread] = attrs.field(factory=list[threading.Thread])

    def ends(self) -> Ran:
        """Wait until it has ended by itself."""
        code = self.running.wait(PATIENCE)
        for reader in self.readers:
            reader.join(PATIENCE)
        return Ran(code, "".join(self.printed), "".join(self.errors))


full_output = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no file that is always full"
)


@contextmanager
def begun(
    arguments: Sequence[object],
    where: Path,
    *,
    reads: bool = True,
    output: str | None = None,
    **environment: str,
) -> Iterator[Process]:
    """Start a command, which has ended after the block in any case.

    Args:
        arguments: The command's.
        where: The folder to run it in.
        reads: Whether its standard output is read, or closed on it.
        output: The file that its standard output goes to, where it is not to be read.
        environment: More environment variables.
    """
    command = [sys.executable, "-c", _INTERRUPTIBLE, *map(str, arguments)]
    ours = {"PYTHONPATH": str(Path(__file__).parent.parent.parent), "PYTHONWARNINGS": ""}
    with Path(output).open("w") if output else nullcontext() as file:
        running = subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=where,
            stdout=subprocess.PIPE if file is None else file,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **ours, **environment},
        )
    process = Process(running)
    streams = ((running.stdout, process.printed), (running.stderr, process.errors))
    pairs = [(stream, lines) for stream, lines in streams if stream is not None]
    for stream, lines in pairs:
        if stream is running.stdout and not reads:
            stream.close()
            continue
        reader = threading.Thread(target=lines.extend, args=(stream,))
        reader.start()
        process.readers.append(reader)
    try:
        yield process
    finally:
        running.kill()
        running.wait()
        for reader in process.readers:
            reader.join()
        for stream, _lines in pairs:
            stream.close()


class Signals:
    """Ctrl-C, as anyio would receive it."""

    def __init__(
        self, *, supported: bool = True, left: int = 0, when: Callable[[], object] = lambda: True
    ) -> None:
        self.supported = supported
        self.left = left
        self.when = when

    def __call__(self, *_signals: signal.Signals) -> Signals:
        return self

    def __enter__(self) -> Self:
        if not self.supported:
            raise NotImplementedError
        return self

    def __exit__(self, *_raised: object) -> None:
        pass

    def __aiter__(self) -> Signals:
        return self

    async def __anext__(self) -> signal.Signals:
        self.left -= 1
        if self.left < 0:
            await anyio.sleep_forever()
        await anyio.to_thread.run_sync(until, self.when, "Ctrl-C")
        return signal.SIGINT
