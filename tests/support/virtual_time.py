"""An asyncio event loop whose time jumps instead of passing.

With sockets open, time jumps only if nothing has arrived for `GRACE` seconds, which pass on real
clocks. What is sent over loopback has arrived when `send` returns, so nothing is on its way.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from typing import Any, cast

import sniffio
import trio.lowlevel
import trio.testing

__all__ = ["VirtualLoop", "jump"]

GRACE = 0.001


class JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: where the loop would sleep until a timer, time jumps to that timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Report what is ready; if nothing is, let `timeout` seconds have passed."""
        if timeout is None:
            return self._ready(None)
        ready = self._ready(0)
        if not ready and timeout > 0:
            # The loop itself has one file open, by which other threads wake it.
            ready = self._ready(GRACE) if len(self.get_map()) > 1 else []
            self.now += 0 if ready else timeout
        return ready

    def _ready(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time, as trio's MockClock gives to trio."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._jumping.now

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        """Look it up at once: time would jump while another thread does it."""
        return socket.getaddrinfo(*args, **options)


def jump(seconds: float) -> None:
    """Let time pass on the running virtual loop, as it does while something blocks the loop."""
    if sniffio.current_async_library() == "trio":
        cast("trio.testing.MockClock", trio.lowlevel.current_clock()).jump(seconds)
    else:
        cast("VirtualLoop", asyncio.get_running_loop())._jumping.now += seconds
