"""Knowledge that this process has of its calls: of those under way, and of those left unknown.

Flights are calls that are under way, by their keys, so that two of them are one. The clients,
threads and event loops of a process share them: what one has under way is known to all that send to
the same place with the same key.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections import OrderedDict
from collections.abc import Generator, Hashable
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import attrs
import msgspec

from chat2pay_async import _eventloop as clock
from chat2pay_async._api.responses import Outcome
from chat2pay_async._send.call import Call
from chat2pay_async._send.evidence import Shows
from chat2pay_async.errors import Attempt, Pending, ReceiptNotSentError, SentRequest

__all__ = ["SIGHTINGS", "Flight", "Flights", "Known", "Memory", "Sightings", "as_replayed"]

R = TypeVar("R")

# No lock: a child of a fork would find it held, and a call that is collected as garbage ends in the
# middle of whatever its thread does. Each step on a dict or a list is one of its own.
_all: Final[dict[Hashable, Flight]] = {}
_watches: Final[dict[Hashable, list[Watch]]] = {}
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_all.clear)
    os.register_at_fork(after_in_child=_watches.clear)


class Watch:
    """Notice of the calls that begin with a key."""

    def __init__(self) -> None:
        self.has_begun = False
        """True once one did, whether it is still under way or not."""


class Flight:
    """A call that is under way, and those that wait for it."""

    def __init__(self, call: Call[Any, Any]) -> None:
        self.call = call
        self.outcome: Outcome[Any] | None = None
        """Its outcome; None where it had no effect, or may have had one."""
        self.pending: Pending | None = None
        """The call, where it has ended and may have had an effect."""
        self.before: Call[Any, Any] | None = None
        """The call that had the key, and whose event loop was closed in the middle of it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):  # trio's loops end no task without its knowledge
            self._loop = asyncio.get_running_loop()
        self._has_ended = False
        self._waiting: list[tuple[clock.Event, clock.Wake]] = []

    @property
    def is_abandoned(self) -> bool:
        """True if its event loop was closed: then nobody goes on with it."""
        return self._loop is not None and self._loop.is_closed()

    async def ended(self) -> None:
        """Wait until the call has ended."""
        event = clock.Event()
        self._waiting.append((event, clock.wake_of_this_loop()))
        if not self._has_ended:  # asked last: from now on its end wakes this task
            await event.wait()

    def end(self, outcome: Outcome[Any] | None, pending: Pending | None) -> None:
        """Wake those that wait."""
        self.outcome, self.pending = outcome, pending
        self._has_ended = True
        while self._waiting:
            event, wake = self._waiting.pop(0)
            wake(event.set)


class Flights:
    """The calls of this process that are under way to one place."""

    def __init__(self, place: Hashable) -> None:
        """Name the place: those of the same name share their flights."""
        self._place = place

    def join(self, operation: str, key: str, call: Call[Any, Any]) -> tuple[Flight, bool]:
        """Return the flight with a key, and whether it is this call's own, which begins now."""
        at, mine = (self._place, operation, key), Flight(call)
        flight = _all.setdefault(at, mine)
        if flight.is_abandoned and _all.pop(at, None) is flight:
            mine.before = flight.call
            flight = _all.setdefault(at, mine)
        for watch in _watches.get(at, ()):
            watch.has_begun = True
        return flight, flight is mine

    def leave(
        self,
        operation: str,
        key: str,
        outcome: Outcome[Any] | None = None,
        pending: Pending | None = None,
    ) -> None:
        """End a flight of one's own."""
        # A child of a fork has none of its parent's.
        flight = _all.pop((self._place, operation, key), None)
        if flight is not None:
            flight.end(outcome, pending)

    @contextmanager
    def watch(self, operation: str, key: str) -> Generator[Watch]:
        """Notice calls that begin with a key."""
        at, watch = (self._place, operation, key), Watch()
        _watches.setdefault(at, []).append(watch)
        try:
            yield watch
        finally:
            others = _watches[at]
            others.remove(watch)
            if not others:
                del _watches[at]

    def find(self, operation: str, key: str) -> Flight | None:
        """Return the flight with a key, if one is under way."""
        flight = _all.get((self._place, operation, key))
        return None if flight is None or flight.is_abandoned else flight


def as_replayed(outcome: Outcome[R]) -> Outcome[R]:
    """Return an outcome as whoever waited for it gets it."""
    result: Any = outcome.result
    result = attrs.evolve(result, replayed=True)
    error = outcome.error
    if isinstance(error, ReceiptNotSentError):
        error = copy.copy(error)
        error.receipt = result
    return msgspec.structs.replace(outcome, result=result, error=error, replayed=True)


# Those whose outcome is unknown -------------------------------------------------------------------


SIGHTINGS: Final = 3
"""The number of look-ups in a row that have to see what may be another's before that settles it: a
look-up can be misled."""


@attrs.define
class Sightings:
    """The look-ups of one call that showed what may be its effect, counted in a row.

    After it, *absent* is a contradiction: a replica may lag, or the look-up before was misled. Seen
    once or twice, it takes two absences in a row to outweigh it; seen more often, nothing does.
    """

    longest: int = 0
    has_any: bool = False
    """True where one of the latest series showed what may be its effect, or is."""
    _run: int = 0
    _absences: int = 0

    def add(self, shows: Shows, *, waited: bool) -> Shows:
        """Note what a look-up showed; return what it counts as."""
        self.has_any = self.has_any or shows in {Shows.OURS, Shows.OTHER, Shows.DECLINED}
        if shows in {Shows.OTHER, Shows.DECLINED}:
            self._run, self._absences = self._run + 1, 0
            self.longest = max(self.longest, self._run)
        elif shows is Shows.ABSENT:
            self._run, self._absences = 0, self._absences + waited
            if self.longest >= SIGHTINGS:
                return Shows.OTHER
            if self.longest and self._absences == 1:
                return Shows.NOTHING
        return shows


@attrs.define
class Known:
    """The knowledge that this process has of a call that may have been applied."""

    window_ends: float
    sent_at: float | None = None
    """None: by another process."""
    seen: Sightings = attrs.field(factory=Sightings)


class Memory:
    """The pending calls that this process has known: it need not start their windows anew."""

    SIZE: Final = 10_000

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[SentRequest, Attempt], Known] = OrderedDict()

    def of(self, pending: Pending) -> Known:
        """Return what is known of a call; what is new here was sent by another process."""
        key = pending.request, pending.first_attempt  # the same, however often it is tried
        if key not in self._known:
            ends = clock.now() + pending.read_timeout + pending.settle
            self._known[key] = Known(ends)
        if len(self._known) > self.SIZE:
            self._known.popitem(last=False)
        return self._known[key]
