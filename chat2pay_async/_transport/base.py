"""A transport: it carries out one exchange, and says what it proves if there is no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async._config import Timeout
from chat2pay_async.errors import Proof, SentRequest

__all__ = ["ExchangeError", "SendGuard", "Transport", "WireResponse"]


@attrs.frozen
class WireResponse:
    """A response as it came over the wire."""

    status_code: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Names in lower case."""
    body: bytes = attrs.field(repr=False)


class ExchangeError(Exception):
    """An exchange that brought no answer; its cause is the library's own exception, if any."""

    def __init__(self, reason: str, *, proof: Proof, timed_out: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.proof = proof
        self.timed_out = timed_out


@attrs.define
class SendGuard:
    """When a request leaves: our own pool calls it right before the first byte is written.

    Other transports do not: there a request that is cancelled may always have left.
    """

    latest: float | None = None
    """When it must have left, on the event loop's clock; None: whenever."""
    may_have_been_sent: bool = True
    """False only where it certainly was not sent."""

    def __call__(self) -> None:
        """Let it leave.

        Raises:
            ExchangeError: It is too late: what allowed it to leave was seen too long ago.
        """
        if self.latest is not None and clock.now() > self.latest:
            raise ExchangeError("StaleVerdict", proof=Proof.NOT_SENT, timed_out=False)


class Transport(Protocol):
    """Carries out exchanges."""

    async def exchange(
        self,
        request: SentRequest,
        headers: Mapping[str, str],
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
