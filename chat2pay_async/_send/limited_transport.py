"""The line to the service: every request, look-ups included, leaves through here.

It has as many places as there are connections, one pace and one pause for all of a client's tasks.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from chat2pay_async._config import Headers, Timeout, __version__
from chat2pay_async._send.limits import Gate, Limiter, Pace, pause_after
from chat2pay_async._transport.base import SendGuard, Transport, WireResponse
from chat2pay_async.errors import ConfigurationError, SentRequest

__all__ = ["Line"]


def wall_clock() -> datetime:
    """This machine's time, in UTC."""
    return datetime.now(UTC)


class Line:
    """A client's connections, with what must be waited for before one may be used."""

    def __init__(self, transport: Transport, gate: Gate, pace: Pace | Limiter, key: str) -> None:
        self._transport = transport
        self._gate = gate
        self._pace = pace
        self._closed = False
        self._headers = Headers(
            {
                "Authorization": key,
                "Accept": "application/json",
                "User-Agent": f"chat2pay-async/{__version__}",
            }
        )
        self._body_headers = Headers(self._headers | {"Content-Type": "application/json"})

    def check_open(self) -> None:
        """Refuse to be used once closed.

        Raises:
            ConfigurationError: It is closed.
        """
        if self._closed:
            raise ConfigurationError(
                "this client is closed: make calls inside its `async with`, or before `aclose()`"
            )

    @property
    def place(self) -> AbstractAsyncContextManager[None]:
        """A connection's turn; enter it before anything is written out."""
        return self._gate

    def turn(self) -> Awaitable[None]:
        """Wait, in a place, for the pause to end and for the pace.

        Raises:
            ConfigurationError: It was closed in the meantime.
        """
        self.check_open()
        return self._pace.acquire()

    @property
    def place_ahead(self) -> AbstractAsyncContextManager[None]:
        """A connection's turn for a look-up: ahead of everything that is none."""
        return self._gate.ahead

    def turn_ahead(self) -> Awaitable[None]:
        """Wait, in a place, as a look-up does: ahead of everything that is none.

        Raises:
            ConfigurationError: It was closed in the meantime.
        """
        self.check_open()
        if isinstance(self._pace, Pace):
            return self._pace.acquire(ahead=True)
        return self._pace.acquire()

    def exchange(
        self, request: SentRequest, limits: Timeout, guard: SendGuard | None = None
    ) -> Awaitable[WireResponse]:
        """Send a request once; see `Transport.exchange`."""
        self.check_open()  # again: the pace may have taken long
        headers = self._headers if request.body is None else self._body_headers
        return self._transport.exchange(request, headers, limits, guard or SendGuard())

    def now(self) -> datetime:
        """This machine's time: look-ups compare it with the service's."""
        return wall_clock()

    @property
    def interval(self) -> float:
        """Seconds between two requests at its full pace; 0 where that is not known."""
        return self._pace.interval if isinstance(self._pace, Pace) else 0.0

    def throttled(self, retry_after: float | None) -> float:
        """The service said 429: pause everyone, for the seconds that are returned."""
        self._pace.throttled(retry_after)
        return pause_after(retry_after)

    async def aclose(self) -> None:
        """Close the connections; later calls are refused."""
        self._closed = True
        await self._transport.aclose()
