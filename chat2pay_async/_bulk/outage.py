"""Outages: a run waits where nothing can be sent, tries one item now and then, and goes on.

A run holds up to `concurrency` items, and takes more only as these end. If each of them failed at
its first refused connection, a network that is away for seconds would fail a whole campaign.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

import anyio

from chat2pay_async import _eventloop as clock
from chat2pay_async._api.operations import Operation, Safety
from chat2pay_async._api.responses import is_refusal
from chat2pay_async._transport.base import TOO_LATE
from chat2pay_async.errors import (
    Chat2PayError,
    OutcomeUnknownError,
    Proof,
    ReceiptNotSentError,
    RunStoppedError,
)

__all__ = ["Outage", "Report", "is_retried_after", "was_not_sent"]

Report = Callable[[float, float | None, str], None]
"""Takes the seconds since an outage began, the seconds until the next try, and the reason; None: it
is over."""


def was_not_sent(error: Chat2PayError) -> bool:
    """Tell whether a call failed because nothing reached the service, or anybody in between."""
    if isinstance(error, OutcomeUnknownError):  # an earlier attempt may have
        return False
    last = error.attempts[-1] if error.attempts else None
    if last is None or last.error == TOO_LATE:  # its look-up was answered
        return False
    return last.proof is Proof.NOT_SENT and last.status_code is None


def is_retried_after(error: Chat2PayError, operation: Operation[Any, Any]) -> bool:
    """Tell whether a call's last attempt failed as one does that is followed by another."""
    # A receipt that exists without its message is an end, although its response may be lost.
    is_ended = isinstance(error, (OutcomeUnknownError, ReceiptNotSentError))
    if is_ended or not error.attempts:
        return False
    last = error.attempts[-1]
    is_final = operation.safety is Safety.ONCE and is_refusal(last.status_code)
    return last.proof is Proof.NOT_SENT or (last.proof is Proof.UNKNOWN and not is_final)


_NO_OUTAGE: Final = nullcontext(enter_result=False)


class Outage:
    """The outages of one run.

    Attributes:
        has_given_up: True once one has lasted for too long, or the run is stopped in one: then
            nothing is sent any more.
        reason: Why the run stops itself; None where it does not.
    """

    FIRST_GAP: Final = 1.0
    LONGEST_GAP: Final = 60.0
    """Seconds between two tries: the gap doubles from the one to the other."""

    def __init__(self, give_up_after: float, report: Report) -> None:
        self._give_up_after = give_up_after
        self._report = report
        self._began: float | None = None
        self._why = ""
        self._gap = self.FIRST_GAP
        self._is_stopped = False
        self.has_given_up = False
        self.reason: RunStoppedError | None = None

    def waited_out(self) -> AbstractAsyncContextManager[bool]:
        """Wait while there is an outage, or for one's turn to try whether it is over.

        Returns:
            A context manager. It gives True for a try: what is sent in its block is the only thing
            that the run sends.
        """
        return self._turns() if self._lasts else _NO_OUTAGE

    @asynccontextmanager
    async def _turns(self) -> AsyncGenerator[bool]:
        async with self._turn:
            await self._wait()
            if self._lasts:
                yield True
                return
        yield False

    @property
    def _lasts(self) -> bool:
        return self._began is not None

    async def _wait(self) -> None:
        if self._began is None or self.has_given_up:
            return
        lasted = clock.now() - self._began
        delay = min(self._gap, max(0.0, self._give_up_after - lasted))
        self._gap = min(2 * self._gap, self.LONGEST_GAP)
        self._report(lasted, delay, self._why)
        with anyio.move_on_after(delay):
            await self._over.wait()

    def note_failure(self, error: Chat2PayError, began: float) -> None:
        """Note a call that could not be sent.

        Args:
            error: Its error.
            began: When it began.
        """
        if self._began is None:
            self._began, self._over, self._turn = began, anyio.Event(), anyio.Lock()
        self._why = str(error)
        lasted = clock.now() - self._began
        if self._is_stopped:
            self.has_given_up = True
        elif lasted >= self._give_up_after and not self.has_given_up:
            self.has_given_up = True
            self.reason = RunStoppedError(
                f"nothing could be sent for {lasted:,.0f} s, and give_up_after="
                f"{self._give_up_after:g} allows no more ({error}). What was not sent has failed; "
                "start the run again when the service can be reached"
            )

    def note_response(self) -> None:
        """Note a response: the outage is over, if there was one."""
        if self._began is not None and not self.has_given_up:
            self._report(clock.now() - self._began, None, self._why)
            self._began, self._gap = None, self.FIRST_GAP
            self._over.set()

    def stop(self) -> None:
        """Wait for no outage any more: the run is stopped."""
        self._is_stopped = True
        if self._began is not None:
            self.has_given_up = True
            self._over.set()
