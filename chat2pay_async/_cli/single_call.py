"""A single call on the command line; an error or an interruption says what came of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

import anyio

from chat2pay_async._cli.job import FAILED, STOPPED, Plan, client_of
from chat2pay_async._cli.options import Service, told
from chat2pay_async._cli.printing import Printer
from chat2pay_async._cli.stdout import OutputError
from chat2pay_async._client import AsyncChat2Pay
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
            return await work(client, Printer(as_json=service.json))

    def call() -> int:
        try:
            return anyio.run(main)
        except OutputError as error:
            if shown_by is None:
                raise
            _tell(f"{error}; but it took effect: chat2pay {shown_by} shows it")
            return FAILED

    with _sigterm_as_ctrl_c():
        code = told(call)
    if code == STOPPED and doubts:
        _tell(f"It may have been applied before it was interrupted: chat2pay {shown_by} shows it")
    return code


def _tell(text: str) -> None:
    print(f"chat2pay: {text}", file=sys.stderr)  # noqa: T201 - a command's output


@contextmanager
def _sigterm_as_ctrl_c() -> Generator[None]:
    try:
        before = signal.signal(signal.SIGTERM, _interrupt)
    except ValueError:  # in a thread, which gets no signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Asked when it comes, since the event loop has a handler of its own while it runs.
    handler = signal.getsignal(signal.SIGINT)
    # A shell has what it starts in the background ignore Ctrl-C, but this was meant for us.
    (handler if callable(handler) else signal.default_int_handler)(number, frame)
