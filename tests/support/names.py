"""Names in `.test` that stand for ports of this machine, on every loop, and look-ups counted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest

from chat2pay_async import _eventloop as clock

__all__ = ["Resolver", "at", "patient"]


async def _at_once() -> None: ...


def at(port: int, host: str = "127.0.0.1") -> Any:
    """An address, as a look-up returns it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


@attrs.define
class Resolver:
    """Looks names up in the system's place."""

    found: list[Any]
    """Addresses that each name stands for; an exception among them is raised."""
    wait: Callable[[], Awaitable[object]] = _at_once
    look_ups: int = 0

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for the running loop's own."""
        loop: Any = clock.current_loop()
        place: Any = loop if isinstance(loop, asyncio.AbstractEventLoop) else anyio
        real = place.getaddrinfo

        async def look_up(host: str, *arguments: Any, **named: Any) -> Any:
            if not host.endswith(".test"):  # uvloop looks up each address once more
                return await real(host, *arguments, **named)
            self.look_ups += 1
            await self.wait()
            for one in self.found:
                if isinstance(one, Exception):
                    raise one
            return list(self.found)

        monkeypatch.setattr(place, "getaddrinfo", look_up)


def patient(seconds: float) -> Callable[[], Awaitable[object]]:
    """Take so long for each look-up."""
    return lambda: anyio.sleep(seconds)
