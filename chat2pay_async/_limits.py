"""How much may happen at once: the gate in front of the connections."""

from __future__ import annotations

from types import TracebackType

import anyio
import anyio.lowlevel

from chat2pay_async.errors import ConfigurationError

__all__ = ["Gate"]


class Gate:
    """As many requests at a time as there are connections, first come first served.

    Waiting here costs a call next to nothing. In httpx a call that waits for a connection costs
    11 KB, every pool event walks all that wait, and one cancelled there can leak a connection.
    """

    __slots__ = ("_loop", "_places", "_size")

    def __init__(self, size: int) -> None:
        given: object = size
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise ConfigurationError("max_connections must be an int, 1 or more")
        self._size = size
        # Made on first use: a client may be made outside a running loop.
        self._places: anyio.Semaphore | None = None
        self._loop: object = None

    async def __aenter__(self) -> None:
        loop = anyio.lowlevel.current_token()
        if self._places is None:
            self._loop = loop
            self._places = anyio.Semaphore(self._size, fast_acquire=True)
        elif self._loop != loop:
            raise ConfigurationError(
                "this client already works on another event loop, and its connections belong to "
                "that one: make one client for each loop (each asyncio.run, each thread)"
            )
        await self._places.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._places is not None  # noqa: S101 - __aenter__ made it
        self._places.release()
