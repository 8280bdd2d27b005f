"""Who holds which connection. Everything is decided here at once, nothing is awaited.

There are as many places as there may be connections. A call holds a place alone; a place that
nobody holds may keep an idle connection. Whoever holds a place also closes what is in it, so a
connection counts until it is closed, and there are never more connections than places.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs

from chat2pay_async import _eventloop as clock

__all__ = ["Place", "Places", "Waiter"]

L = TypeVar("L")


@attrs.define(eq=False)
class Place(Generic[L]):
    """Room for one connection."""

    link: L | None = None
    """The connection, if there is one."""
    key: Hashable = None
    """Where the connection leads."""
    idle_since: float = 0.0


@attrs.define(eq=False)
class Waiter(Generic[L]):
    """A call that waits for a place."""

    bell: clock.Event = attrs.field(factory=clock.Event)
    """Rung when there is a place."""
    place: Place[L] | None = None


class Places(Generic[L]):
    """Hands out places: the connection used last first, to the call that waits longest.

    Every step costs the same, however many places and waiters there are.
    """

    def __init__(self, size: int, *, max_idle: int, expiry: float) -> None:
        self._size = size
        self._max_idle = max_idle
        self._expiry = expiry
        self._all: list[Place[L]] = []
        self._empty: list[Place[L]] = []
        # The longest idle first, in all and for each key. Nobody waits while anything is idle.
        self._idle: OrderedDict[Place[L], None] = OrderedDict()
        self._idle_by_key: dict[Hashable, OrderedDict[Place[L], None]] = {}
        self._waiters: OrderedDict[Waiter[L], None] = OrderedDict()

    def everyone(self) -> tuple[Place[L], ...]:
        """All places, held or not."""
        return tuple(self._all)

    def take(self, key: Hashable) -> Place[L] | None:
        """A place to hold: with a connection to `key`, or empty, or with another connection.

        The holder closes a connection that is of no use to it. None: one has to wait.
        """
        if key in self._idle_by_key:
            return self._take_idle(next(reversed(self._idle_by_key[key])))
        if self._empty:
            return self._empty.pop()
        if len(self._all) < self._size:
            place: Place[L] = Place()
            self._all.append(place)
            return place
        return self._take_idle(next(iter(self._idle))) if self._idle else None

    def queue(self) -> Waiter[L]:
        """Wait for a place, after all who wait already."""
        waiter: Waiter[L] = Waiter()
        self._waiters[waiter] = None
        return waiter

    def leave(self, waiter: Waiter[L], now: float) -> None:
        """Wait no more. A place that was granted in the meantime goes to the next."""
        if waiter.place is None:
            del self._waiters[waiter]
        else:
            self.release(waiter.place, now)

    def release(self, place: Place[L], now: float) -> None:
        """A holder is done: the place goes to who waits longest, or is idle, or empty."""
        place.idle_since = now
        if self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            waiter.place = place
            waiter.bell.set()
        elif place.link is None:
            self._empty.append(place)
        else:
            self._idle[place] = None
            self._idle_by_key.setdefault(place.key, OrderedDict())[place] = None

    def has_expired(self, place: Place[L], now: float) -> bool:
        """Whether its connection was idle for too long to be used."""
        return now - place.idle_since >= self._expiry

    def overdue(self, now: float) -> Place[L] | None:
        """A place to hold whose connection must be closed: idle for too long, or one too many."""
        if self._idle:
            oldest = next(iter(self._idle))
            if len(self._idle) > self._max_idle or self.has_expired(oldest, now):
                return self._take_idle(oldest)
        return None

    def _take_idle(self, place: Place[L]) -> Place[L]:
        same = self._idle_by_key[place.key]
        del self._idle[place]
        del same[place]
        if not same:
            del self._idle_by_key[place.key]
        return place
