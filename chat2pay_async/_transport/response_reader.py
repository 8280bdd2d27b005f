"""Bytes of a connection to the one response that they hold. No I/O, no clock.

A response that came whole and plain, as nearly all do, is read at a glance. Whatever is odd goes to
h11, which reads the connections of httpcore too: there are no two opinions of the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import h11
import httpcore

from chat2pay_async._transport.decoding import LONGEST_FRAMING, LONGEST_RESPONSE, unreadable

__all__ = ["Frames", "Received", "ResponseReader", "named", "refuse_by_head", "refuse_framing"]

_PLAIN: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [ -~]*)?\r\n"
    rb"((?:[A-Za-z0-9-]+: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)
"""A head without anything odd: no folded lines, no bare line feeds, no empty values."""
_FRAMING: Final = re.compile(
    rb"^(?:content-length: ([0-9]{1,8})"
    rb"|(?:transfer-encoding|content-length|connection|upgrade): .*)\r$",
    re.IGNORECASE | re.MULTILINE,
)
"""The headers that say how a body is framed, and whether the connection goes on after it."""
_DIGITS: Final = 20
"""More than any length has; int() refuses thousands."""
_FRAME_HEAD: Final = 9
"""Bytes of an HTTP/2 frame's head: its length in three, its kind, its flags, its stream in four."""
_GOAWAY: Final = 7
_LONGEST_GOAWAY: Final = 16_384
"""Bytes; nobody was allowed more in a frame."""
_LAST_STREAM, _ERROR_CODE = slice(9, 13), slice(13, 17)
_STREAM_ID: Final = 0x7FFF_FFFF
_NO_ERROR: Final = bytes(4)
_BODILESS: Final = (204, 304)
_BODILESS_METHODS: Final = (b"HEAD", b"CONNECT")


class Received(NamedTuple):
    """A response that came as a whole."""

    status: int
    fields: list[tuple[bytes, bytes]]
    """Names and values, as they came."""
    body: bytes
    """Not decoded."""
    is_last: bool
    """True where nothing else may be asked on its connection."""
    http_version: bytes = b"HTTP/1.1"


def named(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Name a response's fields in lower case, and join those of one name, as httpx does."""
    found = list(fields)
    try:
        texts = [(name.decode(), value.decode()) for name, value in found]
    except UnicodeDecodeError:
        texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found]
    joined: dict[str, str] = {}
    for name, value in texts:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def refuse_by_head(method: bytes, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a response whose head says that its body is too long, or in two ways how long it is.

    What stands in between may have gone by the other one, and taken the rest for another response.

    Raises:
        httpcore.RemoteProtocolError: It says it in two ways.
        ExchangeError: It is too long.
    """
    held = {name.lower(): value for name, value in fields}
    length = held.get(b"content-length", b"0")
    if b"content-length" in held and b"transfer-encoding" in held:
        raise httpcore.RemoteProtocolError("the response has a length, and a transfer encoding")
    is_bodiless = status in _BODILESS or method in _BODILESS_METHODS
    if not is_bodiless and length.isdigit() and int(length[:_DIGITS]) > LONGEST_RESPONSE:
        raise unreadable("ResponseTooLong")


def refuse_framing(size: int) -> None:
    """Refuse a response of which so many bytes, beside its body, are too many.

    Raises:
        ExchangeError: They are.
    """
    if size > LONGEST_FRAMING:
        raise unreadable("ResponseTooLong")


class ResponseReader:
    """Reads the response to one request."""

    def __init__(self, method: bytes) -> None:
        self._method = method
        self._plain: Received | None = None
        """A plain response, as much as came of it."""
        self._missing = 0
        self._pieces: list[bytes] = []
        self._parser: h11.Connection | None = None
        self._status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._fed = 0
        self._size = 0

    def feed(self, data: bytes) -> Received | None:
        """Take what came in; an empty piece is the end.

        Returns:
            The response, once it is complete.

        Raises:
            httpcore.RemoteProtocolError: It is no response of HTTP/1.1.
            ExchangeError: It is too long.
        """
        if self._parser is not None:
            return self._feed_parser(data)
        if self._plain is None:
            begun = self._begun(data)
            if begun is None:
                self._parser = _parser_for(self._method)
                return self._feed_parser(data)
            data = data[begun:]
        elif not data:
            raise httpcore.RemoteProtocolError("the connection ended before the response did")
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return None
        assert self._plain is not None  # noqa: S101 - it has begun
        body = data if len(self._pieces) == 1 else b"".join(self._pieces)
        if self._missing:  # nobody asked for what follows it
            return self._plain._replace(body=body[: self._missing], is_last=True)
        return self._plain._replace(body=body)

    def _begun(self, data: bytes) -> int | None:
        """Read the head of a plain response: its length, or None for whatever is odd."""
        plain = _PLAIN.match(data)
        if plain is None or plain.end() > LONGEST_FRAMING:
            return None
        framing = _FRAMING.findall(data, 0, plain.end())
        status = int(plain[1])
        is_bodiless = status in _BODILESS or self._method in _BODILESS_METHODS
        if is_bodiless or len(framing) != 1 or not framing[0]:
            return None
        lines = [line.partition(b": ") for line in plain[2].split(b"\r\n")]
        fields = [(name, value) for name, colon, value in lines if colon]
        self._missing = int(framing[0])
        if self._missing > LONGEST_RESPONSE:
            raise unreadable("ResponseTooLong")
        self._plain = Received(status, fields, b"", is_last=False)
        return plain.end()

    def _feed_parser(self, data: bytes) -> Received | None:
        parser = self._parser
        assert parser is not None  # noqa: S101 - the response is odd
        self._fed += len(data)
        try:
            parser.receive_data(data)
            while (event := parser.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._status = event.status_code
                    self._fields = list(event.headers.raw_items())
                    refuse_by_head(self._method, self._status, self._fields)
                elif isinstance(event, h11.Data):
                    self._pieces.append(bytes(event.data))
                    self._size += len(event.data)
                    if self._size > LONGEST_RESPONSE:
                        raise unreadable("ResponseTooLong")
                elif isinstance(event, h11.EndOfMessage):
                    return self._ended(parser)
                elif not isinstance(event, h11.InformationalResponse):
                    raise httpcore.RemoteProtocolError("the server speaks something else now")
        except h11.RemoteProtocolError as error:
            raise httpcore.RemoteProtocolError(str(error)) from None
        # Not by what comes at once: a response is the same in whatever pieces it comes.
        refuse_framing(self._fed - self._size)
        return None

    def _ended(self, parser: h11.Connection) -> Received:
        surplus, _ = parser.trailing_data
        refuse_framing(self._fed - len(surplus) - self._size)
        is_last = parser.their_state is not h11.DONE or parser.trailing_data != (b"", False)
        return Received(self._status, self._fields, b"".join(self._pieces), is_last)


def _parser_for(method: bytes) -> h11.Connection:
    """Make a parser of h11's that waits for the response to a request."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_FRAMING)
    parser.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"host")]))
    parser.send(h11.EndOfMessage())
    return parser


class Frames:
    """The frames of HTTP/2 that come in, without the GOAWAY of a server that ends in good order.

    With it a server names the last stream that it works on (RFC 9113, 6.8), perhaps before it has
    responded there. h2 takes nothing in that follows, and httpcore gives the request up. So where
    that stream is ours, they are not shown it: the response is still to come.

    Attributes:
        requests: How many were made; each has a stream: 1, 3, 5, ….
        are_ending: True once a GOAWAY came.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.are_ending = False
        self._held: bytes = b""
        """The beginning of a frame."""
        self._missing = 0
        """Bytes of a frame that were not seen yet, and are passed on."""

    def pass_on(self, data: bytes) -> bytes:
        """Take what came in, and return what may be shown of it."""
        shown = [data[: self._missing]]
        data = self._held + data[self._missing :]
        self._missing -= len(shown[0])
        while len(data) >= _FRAME_HEAD:
            size = _FRAME_HEAD + int.from_bytes(data[:3], "big")
            is_goaway = data[3] == _GOAWAY and size <= _LONGEST_GOAWAY
            if is_goaway and len(data) < size:
                break
            if not (is_goaway and self._is_orderly(data[:size])):
                shown.append(data[:size])
            self._missing = max(0, size - len(data))
            data = data[size:]
        self._held = data
        return b"".join(shown)

    def _is_orderly(self, goaway: bytes) -> bool:
        self.are_ending = True
        last = int.from_bytes(goaway[_LAST_STREAM], "big") & _STREAM_ID
        return goaway[_ERROR_CODE] == _NO_ERROR and last >= 2 * self.requests - 1
