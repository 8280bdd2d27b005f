"""The pace that a service allows: learnt from its 429s, and probed again. No I/O, no clock."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

__all__ = ["Pace"]


class Pace:
    """The rate at which a service lets requests through, as far as its 429s have shown it.

    A throttle lowers it to 0.7 of what it was, and to what was accepted lately. Then it follows a
    cubic curve, as TCP CUBIC and the adaptive mode of AWS's SDKs do: in three seconds up to a
    plateau, which lies a little below the rate that was accepted; along it for some seconds; and
    beyond it, faster and faster, since the service may allow more by now. Where it is not known
    what is allowed, the rate doubles twice a second until the next throttle shows it. Throttles
    that come by chance, or several in a row, leave a rate at which calls can still be looked up.

    All of it is counted in requests a second. It knows no clock.
    """

    SLOWER: Final = 0.7
    LOWEST_SHARE: Final = 0.05
    LOWEST_RATE: Final = 0.1
    PLATEAU: Final = 0.95
    """Of the rate that was accepted: to go along just below it pays, since a throttle costs more
    than a second."""
    TO_PLATEAU: Final = 3.0
    """Seconds."""
    BEYOND: Final = 8.0
    """Seconds that it takes from the plateau to 1.3 times as much."""
    GROWTH: Final = 0.05
    """A low rate rises beyond the plateau by this, times the cube of the seconds."""
    DOUBLING: Final = 0.5
    """Seconds."""
    STEP: Final = 1.1
    """The most by which the rate grows from one request to the next, while it doubles: slow
    responses, or too few requests, would come too late to show that it is too fast."""
    SEARCH_FROM: Final = 1.0
    """The lowest rate at which it begins to double."""
    BUSY: Final = 0.25
    """Of the rate: where less than this was accepted, the client sent less than it might have."""
    FEWEST: Final = 10
    """The number of accepted requests that are looked at, even if that was long ago."""

    def __init__(self, ceiling: float = math.inf) -> None:
        self._ceiling = ceiling
        share = self.LOWEST_SHARE * ceiling if ceiling < math.inf else 0.0
        self._lowest = min(ceiling, max(share, self.LOWEST_RATE))
        self._start = self._plateau = ceiling
        self._latest = math.inf
        self._accepted: deque[float] = deque()

    @property
    def is_unlimited(self) -> bool:
        """True where there is no ceiling, and never was a throttle."""
        return self._start == math.inf

    def after(self, seconds: float) -> float:
        """Return the rate so many seconds after the latest pause."""
        if self._plateau == math.inf:
            doubled = self._start * 2 ** min(seconds / self.DOUBLING, 64.0)
            return min(doubled, self._latest * self.STEP)
        rate, low = self._start, self.SLOWER * self._plateau
        if rate < low:
            climb = self.DOUBLING * math.log2(low / rate)
            if seconds < climb:
                return float(rate * 2 ** (seconds / self.DOUBLING))
            rate, seconds = low, seconds - climb
        if seconds < self.TO_PLATEAU:
            return self._plateau - (self._plateau - rate) * (1 - seconds / self.TO_PLATEAU) ** 3
        beyond = (seconds - self.TO_PLATEAU) ** 3
        risen = max((1 - self.SLOWER) * self._plateau / self.BEYOND**3, self.GROWTH) * beyond
        return min(self._ceiling, self._plateau + risen)

    def use(self, seconds: float) -> float:
        """Return the rate, for a request that leaves so many seconds after the latest pause."""
        self._latest = self.after(seconds)
        return self._latest

    def note_accepted(self, now: float) -> None:
        """Note a response that is no 429."""
        self._accepted.append(now)
        self._forget(now)

    def _forget(self, now: float) -> None:
        while len(self._accepted) > self.FEWEST and self._accepted[0] < now - 1:
            self._accepted.popleft()

    def _accepted_rate(self, now: float, least: float = 1.0) -> float:
        """Return how much was accepted a second, in the latest second, or in `least` seconds."""
        self._forget(now)
        count = len(self._accepted)
        span = max(least, now - self._accepted[0]) if count else 0.0
        return count / span if span else 0.0

    def lower(self, now: float, seconds: float) -> None:
        """Go slower after a throttle, so many seconds after the latest pause."""
        rate, accepted = self.after(seconds), self._accepted_rate(now)
        was_busy = self._accepted_rate(now, min(1.0, seconds)) >= self.BUSY * rate
        self._accepted.clear()
        is_known = self._plateau < math.inf
        fallen = self.SLOWER * rate if rate < math.inf else accepted
        if accepted and rate < math.inf and (was_busy or not is_known):
            # Where the pause ended less than a second ago, what was accepted shows little.
            kept = min(rate, self.SLOWER * self._plateau) if is_known and seconds < 1 else 0.0
            self._plateau = max(self.PLATEAU * min(rate, accepted), kept)
            fallen = min(fallen, self._plateau)
        elif self._ceiling == math.inf and (accepted or not is_known):
            self._plateau = math.inf
            fallen = max(min(fallen, accepted or fallen), self.SEARCH_FROM)
        else:
            # Where nothing at all is accepted, that says nothing about the rate.
            self._plateau = min(self._plateau, rate) if accepted else self._plateau
            fallen = min(fallen, self.SLOWER * self._plateau)
            fallen = max(fallen, self.LOWEST_SHARE * self._plateau)
        self._start = max(fallen, self._lowest)
        self._plateau = max(self._plateau, self._start)
        self._latest = self._start / self.STEP
