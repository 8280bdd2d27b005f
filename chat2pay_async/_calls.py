"""A single call on the command line; an error or an interruption says what came of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

import anyio

from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._options import Service, told
from chat2pay_async._output import OutputError
from chat2pay_async._plan import FAILED, STOPPED, Plan, client_of
from chat2pay_async._printing import Printer
from chat2pay_async.events import Event, OutcomeUnknown

__all__ = ["Work", "make_call"]

Work: TypeAlias = Callable[[AsyncChat2Pay, Printer], Coroutine[Any, Any, int]]


def make_call(service: Service, work: Work, shown_by: str | None = None) -> int:
    """Make calls with a client.

    Args:
        service: Where, and how the result is printed.
        work: Makes them and prints what they return; gives the exit code.
        shown_by: The command that shows what became of it; None where nothing is changed.

    Returns:
        The exit code.
    """
    doubts: list[OutcomeUnknown] = []

    def listen(event: Event) -> None:
        if isinstance(event, OutcomeUnknown):
            doubts.append(event)

    async def main() -> int:
        async with client_of(Plan(base_url=service.base_url), [listen]) as client:
            return await _unless_terminated(work(client, Printer(as_json=service.json)))

    def call() -> int:
        try:
            return anyio.run(main)
        except OutputError as error:
            if shown_by is None:
                raise
            _tell(f"{error}; but it took effect: chat2pay {shown_by} shows it")
            return FAILED

    code = told(call)
    if code == STOPPED and doubts:
        _tell(f"It may have been applied before it was interrupted: chat2pay {shown_by} shows it")
    return code


def _tell(text: str) -> None:
    print(f"chat2pay: {text}", file=sys.stderr)  # noqa: T201 - a command's output


async def _unless_terminated(work: Coroutine[Any, Any, int]) -> int:
    """Do it; `STOPPED` if SIGTERM comes first. Ctrl-C is the event loop's own to deal with."""
    code, failure = STOPPED, None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, tasks.cancel_scope)
        try:
            code = await work
        except Exception as error:  # noqa: BLE001 - raised below, and in no group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return code


async def _listen(everything: anyio.CancelScope) -> None:
    with (
        suppress(NotImplementedError),  # Windows ends a process without asking it
        anyio.open_signal_receiver(signal.SIGTERM) as signals,
    ):
        await anext(signals)
        everything.cancel()
