"""An asyncio event loop whose time jumps instead of passing."""

from __future__ import annotations

import asyncio
import selectors

__all__ = ["VirtualLoop"]


class JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: where the loop would sleep until a timer, time jumps to that timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Report what is ready; if nothing is, let `timeout` seconds have passed."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(
            None if timeout is None else 0
        )
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time, as trio's MockClock gives to trio."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._jumping.now
