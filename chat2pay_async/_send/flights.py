"""Flights: calls of this process that are under way, by their keys, so that two of them are one.

The clients, threads and event loops of a process share them: what one has under way is known to all
that send to the same place with the same key.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from typing import Any, Final

from chat2pay_async import _eventloop as clock
from chat2pay_async._api.responses import Outcome
from chat2pay_async._send.call import Call
from chat2pay_async.errors import Pending, ReceiptNotSentError

__all__ = ["Flight", "Flights"]


class _Registry:
    """All flights of this process, and the lock on them."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget a parent's flights; another thread of it may have had the lock."""
        self.lock = threading.Lock()
        self.flights: dict[Hashable, Flight] = {}


_all: Final = _Registry()
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_all.begin_anew)


class Flight:
    """A call that is under way, and those that wait for it."""

    def __init__(self, call: Call[Any, Any]) -> None:
        self.call = call
        self.outcome: Outcome[Any] | None = None
        """Its outcome; None where it had no effect, or may have had one."""
        self.pending: Pending | None = None
        """The call, where it has ended and may have had an effect."""
        self.error: ReceiptNotSentError | None = None
        """The error, where it had its effect all the same."""
        self._has_ended = False
        self._waiting: list[tuple[clock.Event, clock.Wake]] = []

    async def ended(self) -> None:
        """Wait until the call has ended."""
        with _all.lock:
            if self._has_ended:
                return
            event = clock.Event()
            self._waiting.append((event, clock.wake_of_this_loop()))
        await event.wait()

    def end(
        self,
        outcome: Outcome[Any] | None,
        pending: Pending | None,
        error: ReceiptNotSentError | None,
    ) -> None:
        """Wake those that wait."""
        self.outcome, self.pending, self.error = outcome, pending, error
        with _all.lock:
            self._has_ended = True
            waiting, self._waiting = self._waiting, []
        for event, wake in waiting:
            wake(event.set)


class Flights:
    """The calls of this process that are under way to one place."""

    def __init__(self, place: Hashable) -> None:
        """Name the place: those of the same name share their flights."""
        self._place = place

    def join(self, operation: str, key: str, call: Call[Any, Any]) -> tuple[Flight, bool]:
        """Return the flight with a key, and whether it is this call's own, which begins now."""
        with _all.lock:
            flight = _all.flights.get((self._place, operation, key))
            if flight is not None:
                return flight, False
            flight = _all.flights[self._place, operation, key] = Flight(call)
        return flight, True

    def leave(
        self,
        operation: str,
        key: str,
        outcome: Outcome[Any] | None = None,
        pending: Pending | None = None,
        error: ReceiptNotSentError | None = None,
    ) -> None:
        """End a flight of one's own."""
        with _all.lock:
            # A child of a fork has none of its parent's.
            flight = _all.flights.pop((self._place, operation, key), None)
        if flight is not None:
            flight.end(outcome, pending, error)

    def find(self, operation: str, key: str) -> Flight | None:
        """Return the flight with a key, if one is under way."""
        return _all.flights.get((self._place, operation, key))
