"""A single call on the command line, its errors and its interruption."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

import anyio

from chat2pay_async._api.operations import RESOLVED
from chat2pay_async._cli.job import ExitCode, client_of
from chat2pay_async._cli.options import JobOptions, ServiceOptions
from chat2pay_async._cli.printing import Printer, print_error
from chat2pay_async._cli.stdout import OutputError
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async.errors import OutcomeUnknownError, RequestValidationError
from chat2pay_async.events import Event, OutcomeUnknown

__all__ = ["Work", "make_call"]

Work: TypeAlias = Callable[[AsyncChat2Pay, Printer], Coroutine[Any, Any, int]]


def make_call(service: ServiceOptions, work: Work, check: str | None = None) -> int:
    """Make calls with a client.

    Args:
        service: The service, and the form of the output.
        work: Makes the calls and prints what they return; gives the exit code.
        check: The command that shows what was applied; None where nothing is changed.

    Returns:
        The exit code.
    """
    unknown: list[OutcomeUnknown] = []

    def hook(event: Event) -> None:
        if isinstance(event, OutcomeUnknown):
            unknown.append(event)

    async def main() -> int:
        async with client_of(JobOptions(base_url=service.base_url), [hook]) as client:
            return await _checked(work(client, Printer(as_json=service.json)))

    if check is not None and service.base_url is not None:
        check += f" --base-url {shlex.quote(service.base_url)}"
    with _sigterm_as_ctrl_c():
        try:
            return anyio.run(main)
        except OutcomeUnknownError as error:
            text = str(error).replace(RESOLVED, f"you have seen what was applied: chat2pay {check}")
            print_error(f"chat2pay: {text}")
            return ExitCode.UNKNOWN
        except OutputError as error:
            if check is None:
                raise
            why = str(error) or "standard output was closed"
            raise OutputError(
                f"{why}, but the request was applied. To see it: chat2pay {check}"
            ) from None
        except KeyboardInterrupt:
            if unknown:
                print_error(f"The request may have been applied. To check: chat2pay {check}")
            raise


async def _checked(call: Coroutine[Any, Any, int]) -> int:
    """Make a call; an argument that the contract does not allow is wrong use."""
    try:
        return await call
    except RequestValidationError as error:
        print_error(f"chat2pay: {'; '.join(map(str, error.faults))}")
        return ExitCode.WRONG_USE


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
    # A shell lets what it starts in the background ignore Ctrl-C, but SIGTERM was meant for us.
    (handler if callable(handler) else signal.default_int_handler)(number, frame)
