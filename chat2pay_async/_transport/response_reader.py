"""Bytes of a connection to the one response that they hold. No I/O, no clock.

A response that came whole and plain, as nearly all do, is read at a glance. Whatever is odd goes to
h11, which reads the connections of httpcore too: there are no two opinions of the same bytes.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import h11
import httpcore

from chat2pay_async._transport.decoding import LONGEST_RESPONSE, unreadable

__all__ = ["Received", "ResponseReader"]

_PLAIN: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [ -~]*)?\r\n"
    rb"((?:[A-Za-z0-9-]+: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)
"""A head without anything odd: no folded lines, no bare line feeds, no empty values."""
_FRAMING: Final = re.compile(
    rb"^(?:(content-length): ([0-9]{1,8})|(?:transfer-encoding|content-length|connection|upgrade): .*)\r$",
    re.IGNORECASE | re.MULTILINE,
)
"""What says how a body is framed, and whether the connection goes on after it."""
_BODILESS: Final = (204, 304)
LONGEST_HEAD: Final = 100 * 1024
"""Bytes, as httpcore has it."""


class Received(NamedTuple):
    """A response that came as a whole."""

    status: int
    fields: list[tuple[bytes, bytes]]
    """Names and values, as they came."""
    body: bytes
    """Not decoded."""
    is_last: bool
    """True where nothing else may be asked on its connection."""


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
            plain = _PLAIN.match(data)
            framing = None if plain is None else _FRAMING.findall(data, 0, plain.end())
            if plain is None or not framing or len(framing) != 1 or not framing[0][0]:
                return self._feed_parser(data)
            status, length = int(plain[1]), int(framing[0][1])
            if status in _BODILESS or self._method == b"HEAD":
                return self._feed_parser(data)
            if length > LONGEST_RESPONSE:
                raise unreadable("ResponseTooLong")
            fields = [
                (name, value)
                for name, _, value in [
                    line.partition(b": ") for line in plain[2].split(b"\r\n") if line
                ]
            ]
            self._plain = Received(status, fields, b"", is_last=False)
            self._missing = length
            data = data[plain.end() :]
        if not data and self._missing:
            raise httpcore.RemoteProtocolError("the connection ended before the response did")
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return None
        body = data if len(self._pieces) == 1 else b"".join(self._pieces)
        if self._missing:  # nobody asked for what follows it
            return self._plain._replace(body=body[: self._missing], is_last=True)
        return self._plain._replace(body=body)

    def _feed_parser(self, data: bytes) -> Received | None:
        if self._parser is None:
            self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
            target = b"host:443" if self._method == b"CONNECT" else b"/"
            asked = h11.Request(method=self._method, target=target, headers=[(b"Host", b"host")])
            self._parser.send(asked)
            self._parser.send(h11.EndOfMessage())
        try:
            self._parser.receive_data(data)
            while True:
                event = self._parser.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.Response):
                    self._status = event.status_code
                    self._fields = list(event.headers.raw_items())
                elif isinstance(event, h11.Data):
                    self._pieces.append(bytes(event.data))
                    self._size += len(event.data)
                    if self._size > LONGEST_RESPONSE:
                        raise unreadable("ResponseTooLong")
                elif isinstance(event, h11.EndOfMessage):
                    return self._ended(self._parser)
                elif not isinstance(event, h11.InformationalResponse):
                    raise httpcore.RemoteProtocolError("the connection ended before the response")
        except h11.RemoteProtocolError as error:
            raise httpcore.RemoteProtocolError(str(error)) from None

    def _ended(self, parser: h11.Connection) -> Received:
        is_last = parser.their_state is not h11.DONE or parser.trailing_data != (b"", False)
        return Received(self._status, self._fields, b"".join(self._pieces), is_last)
