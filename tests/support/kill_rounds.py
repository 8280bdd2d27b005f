"""Processes that write to a journal and are killed: nothing that they were told may be missing.

    python tests/support/kill_rounds.py JOURNAL ROUNDS SEED

In each round two processes write and are killed with -9 at random moments; a third opens the
journal, which must not be refused, and finds what they were told. Then the log of a copy is
removed: the copy must be refused if it lacks what somebody was told.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from journals import ACCOUNT, LINK, claim, intent, opened

from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import End, RowState
from chat2pay_async.errors import JournalError


async def write(path: Path, name: str, pipe: int) -> None:
    """Write for ever, and tell what is durable."""
    store = SQLiteStore(path)
    await store.open(ACCOUNT)

    async def work(task: int) -> None:
        number = 0
        while True:
            key = f"{name}-{task}-{number}"
            token = (await store.claim(claim(key))).token
            assert token is not None
            await store.record_intent(token, intent(key))
            os.write(pipe, json.dumps([key, "sent"]).encode() + b"\n")
            if number % 2:
                await store.record_end(token, End(RowState.APPLIED))
                os.write(pipe, json.dumps([key, "applied"]).encode() + b"\n")
            number += 1

    async with anyio.create_task_group() as group:
        for task in range(3):
            group.start_soon(work, task)


async def look(path: Path, told: dict[str, str]) -> None:
    """Open the journal, and find what was told."""
    async with opened(path) as store:
        assert not store.is_lossy
        rows = await store.find_all(LINK, list(told))
        for key, what in told.items():
            assert what == rows[key].state or (what == "sent" and rows[key].posts), key


async def lose(path: Path, told: dict[str, str]) -> bool:
    """Open a journal whose log is gone; True: it was refused."""
    store = SQLiteStore(path)
    try:
        await store.open(ACCOUNT)
    except JournalError:
        return True
    rows = await store.find_all(LINK, list(told))
    await store.aclose()
    assert all(key in rows and rows[key].state in {what, "applied"} for key, what in told.items())
    return False


def child(work: Callable[..., Any], *arguments: Any) -> int:
    """Do something in a process of its own."""
    pid = os.fork()
    if pid:
        return pid
    try:
        result = anyio.run(work, *arguments)
    except BaseException:  # noqa: BLE001 - it is shown
        traceback.print_exc()
        os._exit(1)
    os._exit(3 if result else 0)


def main(path: Path, rounds: int, seed: int) -> None:
    """Kill, open, and compare."""
    chance, told, refused = random.Random(seed), dict[str, str](), 0  # noqa: S311 - no secret
    for number in range(rounds):
        reading, writing = os.pipe()
        pids = [child(write, path, f"{number}{name}", writing) for name in "AB"]
        os.close(writing)
        for pid in chance.sample(pids, 2):
            time.sleep(chance.uniform(0.0, 0.08))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        with os.fdopen(reading) as lines:
            told |= dict(json.loads(line) for line in lines)
        copy = path.with_name(f"copy-{number}")
        shutil.copytree(path.parent, copy, ignore=shutil.ignore_patterns("copy-*", "*-shm"))
        for log in copy.glob("*-wal"):
            log.unlink()
        if path.exists():
            status = os.waitstatus_to_exitcode(
                os.waitpid(child(lose, copy / path.name, told), 0)[1]
            )
            assert status in {0, 3}, status
            refused += status == 3
        shutil.rmtree(copy)
        assert os.waitpid(child(look, path, told), 0)[1] == 0, number
    print(f"{rounds} rounds, {len(told)} keys told, {refused} losses refused")  # noqa: T201 - its report


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
