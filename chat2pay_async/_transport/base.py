"""A transport: it carries out one exchange, and says what it proves if there is no answer."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, Self

import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import HeaderFields, Timeout
from chat2pay_async.errors import Proof, SentRequest

__all__ = [
    "LAST_WORDS",
    "RESET_ON_CLOSE",
    "TOO_LATE",
    "ExchangeError",
    "Lease",
    "Limits",
    "Outgoing",
    "SendGuard",
    "Transport",
    "WireResponse",
    "repeated",
    "reset_on_close",
]

_LINGER: Final = "hh" if sys.platform == "win32" else "ii"
RESET_ON_CLOSE: Final = struct.pack(_LINGER, 1, 0)
"""`SO_LINGER`, on and 0 seconds: closing resets the connection, and drops what was not sent.

Otherwise the system goes on sending for about 100 seconds, after the process's end as well: a
network that heals in that time delivers a POST that was given up long ago.
"""
_IN_GOOD_ORDER: Final = struct.pack(_LINGER, 0, 0)


def reset_on_close(connected: Any, *, reset: bool) -> None:
    """Let the closing of a socket reset its connection, or end it in good order."""
    linger = RESET_ON_CLOSE if reset else _IN_GOOD_ORDER
    with contextlib.suppress(OSError):  # it is closed already
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@attrs.frozen
class WireResponse:
    """A response as it came over the wire."""

    status_code: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Names in lower case."""
    body: bytes = attrs.field(repr=False)


class Limits(NamedTuple):
    """The limits of one exchange, in seconds."""

    connect: float = math.inf
    read: float = math.inf
    write: float = math.inf


class Outgoing(NamedTuple):
    """A request, as a connection sends it."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"<{self.method.decode('latin-1')} request>"  # the key is in its fields


class ExchangeError(Exception):
    """An exchange that brought no answer; its cause is the library's own exception, if any."""

    def __init__(self, reason: str, *, proof: Proof, timed_out: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.proof = proof
        self.timed_out = timed_out

    @property
    def words(self) -> str:
        """The reason of a failed connection, in the system's words, which name no person."""
        words, error = "", self.__cause__
        while error is not None:  # the innermost error says it best
            if isinstance(error, ssl.SSLError):
                reason: str | None = getattr(error, "reason", None)
                words = getattr(error, "verify_message", None) or (reason or words).replace(
                    "_", " "
                )
            elif isinstance(error, socket.gaierror):
                words = error.strerror or words
            elif isinstance(error, OSError) and error.errno is not None and error.errno > 0:
                words = os.strerror(error.errno)
            error = error.__cause__ or error.__context__
        return words.lower()


@attrs.define
class Lease:
    """A connection that is held between two requests of one call, for no other call's.

    A POST that goes again follows its look-up within a second, and a new connection may take
    longer than that. An async context manager: what is still held at its end is closed.
    """

    held: Any = None
    _close: Callable[[], Awaitable[None]] | None = None

    def hold(self, connection: object, close: Callable[[], Awaitable[None]]) -> None:
        """Hold a connection, which `close` closes."""
        self.held, self._close = connection, close

    def take(self) -> Any:
        """Take the connection, for the next request; None where none is held."""
        held, self.held, self._close = self.held, None, None
        return held

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        close, self.held, self._close = self._close, None, None
        if close is not None:
            await close()


@attrs.define
class SendGuard:
    """Lets a request leave, or not: our own connections call it right before the first byte.

    Where a user's transport is not built on httpcore, nothing calls it: there a request that is
    cancelled may always have been sent.
    """

    latest: float = math.inf
    """The time by which its first byte has to be written, on the event loop's clock."""
    may_have_been_sent: bool = True
    """False only where it is certain that no byte was written."""
    was_written: bool = False
    """True from the first byte on. Never unset: what a user's auth or transport does afterwards
    in the same exchange, such as a second request that is refused, takes nothing back."""
    was_too_late: bool = False
    """True where it kept the request back."""
    last_byte: float | None = None
    """The time at which its last byte was written; None where that is not known."""
    lease: Lease | None = None
    """Holds the connection that the request is to leave by, where one is held."""
    is_held: bool = False
    """True where its connection is held for the next request with this lease."""
    has_other_ways: bool = False
    """True where a user's transport may send it another way once this one failed, and not tell."""
    _has_failed: bool = False

    def begin(self) -> None:
        """Note that one way to send it has not written a byte so far."""
        self.may_have_been_sent = self.was_written or (self._has_failed and self.has_other_ways)

    def fail(self) -> None:
        """Note that one way to send it failed; another may be tried."""
        self._has_failed = True
        self.may_have_been_sent = self.may_have_been_sent or self.has_other_ways

    def __call__(self) -> None:
        """Let it leave; once it has left, there is nothing more to decide.

        Raises:
            ExchangeError: It is too late.
        """
        if self.was_written:
            return
        if clock.now() > self.latest:
            self.was_too_late = True
            self.begin()
            self.fail()
            raise ExchangeError(TOO_LATE, proof=Proof.NOT_SENT, timed_out=False)
        self.was_written = self.may_have_been_sent = True


TOO_LATE: Final = "TooLate"
"""The reason of a request that its guard kept back."""


def repeated() -> ExchangeError:
    """Return the failure of a request that was to be written twice in one exchange.

    An auth flow, a transport that retries, or httpcore's pool after a GOAWAY: the first one may
    have been applied, whatever was answered.
    """
    return ExchangeError("RequestRepeated", proof=Proof.UNKNOWN, timed_out=False)


LAST_WORDS: Final = range(400, 500)
"""Statuses after which a connection is not used again.

A proxy may repeat a response. A copy of a success has no proof about the next request; a copy of a
refusal, or of a 429, would be believed. A user's transport that is not httpcore's keeps its own.
"""


class Transport(Protocol):
    """Carries out exchanges."""

    async def exchange(
        self,
        request: SentRequest,
        headers: HeaderFields,
        limits: Timeout,
        guard: SendGuard,
    ) -> WireResponse:
        """Send a request once and read its answer; redirects are not followed.

        Raises:
            ExchangeError: There was no answer.
        """
        ...

    async def aclose(self) -> None:
        """Close what is this transport's own."""
        ...
