"""A transport: it carries out one exchange, and says what it proves if there is no answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final, NamedTuple, Protocol, Self, TypeAlias, cast

import anyio
import attrs
import msgspec

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import HeaderFields, Timeout
from chat2pay_async.errors import ConfigurationError, Proof, SentRequest

__all__ = [
    "BODILESS",
    "HAPPY_EYEBALLS_DELAY",
    "LAST_WORDS",
    "RESET_ON_CLOSE",
    "TOO_LATE",
    "AddressInfo",
    "ExchangeError",
    "Lease",
    "Limits",
    "Names",
    "Outgoing",
    "SendGuard",
    "Transport",
    "WireResponse",
    "in_turns",
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


HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until a host's next address is tried beside the ones before (RFC 8305)."""

AddressInfo: TypeAlias = tuple[Any, Any, int, str, tuple[Any, ...]]
"""Family, kind, protocol, name and address of a socket."""


@attrs.define
class _LookUp:
    """A look-up in progress."""

    ended: anyio.Event = attrs.field(factory=anyio.Event)
    error: Exception | None = None


class Names:
    """The addresses of one host, looked up once for all the connections that need them.

    A look-up takes one of the few threads that a loop has for it. A hundred connections that are
    made at a time would wait for each other's until they are out of time.
    """

    KEPT: Final = 10.0
    """Seconds for which addresses are used again."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._found: list[AddressInfo] = []
        self._good_until = -math.inf
        self._look_up: _LookUp | None = None

    async def addresses(self) -> list[AddressInfo]:
        """Return the addresses of the host.

        Raises:
            OSError: There are none.
            UnicodeError: It can't be a name.
        """
        while clock.now() >= self._good_until:
            look_up = self._look_up
            if look_up is None:
                await self._lead()
                continue
            await look_up.ended.wait()
            if look_up.error is not None:
                raise type(look_up.error)(*look_up.error.args)
        return self._found

    async def _lead(self) -> None:
        """Look them up; whoever waits does it instead where this is cancelled."""
        self._look_up = look_up = _LookUp()
        try:
            self._found = await _found(self._host, self._port)
            self._good_until = clock.now() + self.KEPT
        except Exception as error:
            look_up.error = error
            raise
        finally:
            self._look_up = None
            look_up.ended.set()

    def forget(self) -> None:
        """Look them up anew for the next connection, since none of them answers."""
        self._good_until = -math.inf


async def _found(host: str, port: int) -> list[AddressInfo]:
    loop: Any = clock.current_loop()
    with contextlib.suppress(OSError):  # it is a name
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    look_up = loop.getaddrinfo if isinstance(loop, asyncio.AbstractEventLoop) else anyio.getaddrinfo
    found: list[AddressInfo] = await look_up(host, port, type=socket.SOCK_STREAM)
    return found


def in_turns(found: list[AddressInfo]) -> list[AddressInfo]:
    """Order addresses so that IPv4 and IPv6 take turns."""
    first = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    return [one for turn in zip_longest(first, others) for one in turn if one is not None]


class WireResponse(msgspec.Struct, frozen=True):
    """A response as it came over the wire."""

    status_code: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def __repr__(self) -> str:
        return f"WireResponse(status_code={self.status_code})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show rich no more than `repr` shows."""
        return [("status_code", self.status_code)]


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

    proxy: str = ""
    """Host and port of the proxy that the request was to go through, where there is one."""
    outer: BaseException | None = None
    """The exception that was being handled when the exchange began: it is none of its causes."""

    def __init__(self, reason: str, *, proof: Proof, timed_out: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.proof = proof
        self.timed_out = timed_out

    @property
    def words(self) -> str:
        """The reason in words, which name no person: the innermost error says it best."""
        said = [words for error in self._causes() if (words := _words_of(error))]
        own = _OF_ITS_REASON.get(self.reason)
        return said[-1] if said else f"{own} ({self.reason})" if own else ""

    @property
    def is_permanent(self) -> bool:
        """True where the same again ends alike: somebody has to change something first."""
        return any(map(_is_permanent, self._causes()))

    @property
    def setting(self) -> ConfigurationError | None:
        """The error of a setting that can't be used, where that is the reason."""
        found = (error for error in self._causes() if isinstance(error, ConfigurationError))
        return next(found, None) if self.proof is Proof.NOT_SENT else None

    def _causes(self) -> Iterator[BaseException]:
        error = self.__cause__
        while error is not None and error is not self.outer:
            yield error
            if isinstance(error, BaseExceptionGroup):  # of trio: one for each address
                error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
            else:  # httpcore's pool raises `from None`
                error = error.__cause__ or error.__context__


_OF_ITS_REASON: Final = {
    "ConnectTimeout": "no connection in time",
    "PoolTimeout": "the http_client had no connection free in time",
    "ReadError": "the connection broke",
    "ReadTimeout": "no complete response in time",
    "RemoteProtocolError": "the connection was closed, or what came is no HTTP",
    "RequestRepeated": "something on the way sent it twice",
    "ResponseTooLong": "the response is too long",
    "WriteError": "the connection broke",
    "WriteTimeout": "the request was not taken in time",
}
_HINTS: Final = {
    "WRONG_VERSION_NUMBER": " (is it plain http there?)",
    "RECORD_LAYER_FAILURE": " (is it plain http there?)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": " (does it demand a client certificate?)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": ": it demands a client certificate; load one into the "
    "context of httpx.AsyncClient(verify=…), and pass that as `http_client`",
}
_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})
"""OpenSSL's X509_V_ERR_… codes for it."""
_REFUSALS_OF_TLS: Final = re.compile(
    r"ALERT_(ACCESS_DENIED|HANDSHAKE_FAILURE|INSUFFICIENT_SECURITY|PROTOCOL_VERSION|UNKNOWN_CA"
    r"|\w*CERTIFICATE\w*)$|RECORD_LAYER_FAILURE|UNSUPPORTED_PROTOCOL|WRONG_VERSION_NUMBER"
)
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)})
"""Unlike EAI_AGAIN: the name server could not be asked."""
_REFUSALS: Final = range(400, 500)
_PASSING_REFUSALS: Final = frozenset({408, 429})
_WANTS_USER: Final = 407


def _words_of(error: BaseException) -> str:
    """Put one exception in words; empty where it has none that are the system's."""
    if isinstance(error, ssl.SSLError):
        reason: str = getattr(error, "reason", None) or ""
        words: str = getattr(error, "verify_message", None) or reason.replace("_", " ")
        is_unknown = getattr(error, "verify_code", 0) in _UNKNOWN_AUTHORITY
        hint = " (SSL_CERT_FILE or SSL_CERT_DIR names the authorities to trust)"
        return words.lower() + (hint if is_unknown else _HINTS.get(reason, ""))
    if isinstance(error, socket.gaierror):
        return (error.strerror or "").lower()
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if type(error).__name__ == "ProxyError":
        status = _status_of(error)
        wants = ": it wants a user name and a password, or others" if status == _WANTS_USER else ""
        return f"the proxy answered {status}{wants}" if status else "the proxy refused"
    return ""


def _is_permanent(error: BaseException) -> bool:
    if isinstance(error, ssl.SSLError):
        reason: str = getattr(error, "reason", None) or ""
        return isinstance(error, ssl.SSLCertVerificationError) or bool(
            _REFUSALS_OF_TLS.search(reason)
        )
    if isinstance(error, socket.gaierror):
        return error.errno in _NO_SUCH_NAME
    if type(error).__name__ == "ProxyError":
        return _status_of(error) in _REFUSALS and _status_of(error) not in _PASSING_REFUSALS
    return isinstance(error, ConfigurationError) or type(error).__name__ == "UnsupportedProtocol"


def _status_of(error: BaseException) -> int:
    """Return the status with which a proxy refused; 0 where it did not speak HTTP."""
    found = re.match(r"[1-9]\d\d\b", str(error))  # httpcore puts it nowhere else
    return int(found[0]) if found else 0


class Lease(msgspec.Struct):
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


class SendGuard(msgspec.Struct):
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


BODILESS: Final = frozenset({"GET", "HEAD"})
"""Methods whose requests say nothing of a body; with the others an empty one has its length."""

TOO_LATE: Final = "TooLate"
"""The reason of a request that its guard kept back."""


def repeated() -> ExchangeError:
    """Return the failure of a request that was to be written twice in one exchange.

    An auth flow, a transport that retries, or httpcore's pool after a GOAWAY: the first one may
    have been applied, whatever was answered.
    """
    return ExchangeError("RequestRepeated", proof=Proof.UNKNOWN, timed_out=False)


LAST_WORDS: Final = _REFUSALS
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
