"""The way of a callback to its handler, and of the handler's end to the service."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar, cast

from chat2pay_async._api.enums import PaymentStatus, TransactionStatus
from chat2pay_async._api.validation import member
from chat2pay_async._callbacks.models import Callback, statuses_of
from chat2pay_async._callbacks.parsing import MOST_BYTES, parse
from chat2pay_async._callbacks.waiter import CallbackWaiter
from chat2pay_async._tracebacks import hide_frames, hiding_arguments
from chat2pay_async.errors import CallbackError, ConfigurationError

__all__ = ["Router"]

C = TypeVar("C", bound=Callback)
Handler = Callable[[Any], Awaitable[object]]
H = TypeVar("H", bound=Handler)

_OK, _BAD_REQUEST, _SERVER_ERROR = 200, 400, 500
_logger: Final = logging.getLogger("chat2pay_async.callbacks")


class Router:
    """Brings each callback to its handler, by its kind and by the status that it tells.

        router = Router()

        @router.on(PaymentStatusCallback, PaymentStatus.SUCCESS)
        async def paid(callback: PaymentStatusCallback) -> None:
            transaction = await confirm(client, callback)

        @router.default
        async def other(callback: Callback) -> None: ...

        status = await router.respond(body, headers)      # in the endpoint of any framework

    One handler is called: that of the kind and status, else that of the kind, else the default one.
    Where there is none, the callback is logged, and delivered. A handler may be called several
    times for one callback: the service delivers again whatever was not answered with 200, and that
    answer may be lost.
    """

    def __init__(self, *, waiter: CallbackWaiter | None = None) -> None:
        """Begin without handlers.

        Args:
            waiter: Is told of every callback, before its handler is called.
        """
        self._handlers: dict[tuple[type[Any] | None, str | None], Handler] = {}
        self._waiter = waiter

    def on(
        self, kind: type[C], *statuses: TransactionStatus | PaymentStatus | str
    ) -> Callable[[Callable[[C], Awaitable[object]]], Callable[[C], Awaitable[object]]]:
        """Make an async function the handler of a kind of callback; used as a decorator.

        Args:
            kind: The class of the callbacks.
            *statuses: Only of those that tell one of these: a `TransactionStatus` or a
                `PaymentStatus`, or the name of one in any case. Default: of all that have no
                handler of their own.

        Raises:
            ConfigurationError: There is no such status, or it has a handler.
        """
        keys: list[str | None] = [_status(one) for one in statuses] or [None]

        def register(handler: Callable[[C], Awaitable[object]]) -> Callable[[C], Awaitable[object]]:
            for key in keys:
                self._register(kind, key, handler)
            return handler

        return register

    def default(self, handler: H) -> H:
        """Make an async function the handler of whatever has no other; used as a decorator.

        Raises:
            ConfigurationError: There is one.
        """
        self._register(None, None, handler)
        return handler

    def _register(self, kind: type[Any] | None, status: str | None, handler: Handler) -> None:
        if (kind, status) in self._handlers:
            what = "the default" if kind is None else kind.__name__ + (f" {status}" * bool(status))
            raise ConfigurationError(f"two handlers for one callback: {what}")
        if not any(map(inspect.iscoroutinefunction, (handler, type(handler).__call__))):
            raise ConfigurationError("a handler is an async function of one callback")
        self._handlers[kind, status] = handler

    async def dispatch(self, callback: Callback) -> None:
        """Call a callback's handler.

        Raises:
            Exception: Whatever the handler raises.
        """
        if self._waiter is not None:
            self._waiter.notify(callback)
        kind = type(callback)
        places = [*((kind, status) for status in statuses_of(callback)), (kind, None), (None, None)]
        for place in places:
            if (handler := self._handlers.get(place)) is not None:
                await handler(callback)
                return
        _logger.info("no handler for %s %s", kind.__name__, callback.deduplication_key)

    @hiding_arguments
    async def respond(
        self, body: bytes | str | AsyncIterable[bytes], headers: Mapping[str, str] | None = None
    ) -> int:
        """Take a request's body to its handler, and return the status to answer it with.

        The service delivers again what is not answered with 200.

        Args:
            body: The request's body, or its parts as they come: of these no more is read than a
                callback may have.
            headers: The request's headers; see `parse`.

        Returns:
            200; 400 for what is no callback; 500 where the handler raised, which the logger
            `chat2pay_async.callbacks` tells.
        """
        try:
            callback = parse(await _whole(body), headers)
        except CallbackError as error:
            _logger.warning("%s", error)
            return _BAD_REQUEST
        try:
            await self.dispatch(callback)
        except Exception as error:
            hide_frames(error)
            kind, key = type(callback).__name__, callback.deduplication_key
            _logger.exception("the handler of %s %s failed", kind, key, exc_info=error)
            return _SERVER_ERROR
        return _OK


def _status(given: str) -> str:
    for kind in (TransactionStatus, PaymentStatus):
        status: object = member(kind, given)
        if isinstance(status, kind):
            return status
    raise ConfigurationError("a status is one of TransactionStatus or PaymentStatus, or its name")


async def _whole(body: bytes | str | AsyncIterable[bytes]) -> bytes | str:
    if not isinstance(body, AsyncIterable):
        return body
    whole = bytearray()
    async with AsyncExitStack() as stack:
        if hasattr(body, "aclose"):  # a generator that is not read to its end
            stack.push_async_callback(cast("Any", body).aclose)
        async for part in body:
            whole += part
            if len(whole) > MOST_BYTES:
                break  # `parse` refuses it
    return bytes(whole)
