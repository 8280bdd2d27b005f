"""Confirmation: the service itself is asked what a callback claims."""

from __future__ import annotations

from typing import Any, Final, overload

import anyio

from chat2pay_async import _eventloop as clock
from chat2pay_async._api import models
from chat2pay_async._api.operations import GET_TRANSACTION, is_reference
from chat2pay_async._api.requests import TransactionQuery
from chat2pay_async._api.responses import is_cached
from chat2pay_async._callbacks.models import (
    ENDED,
    Callback,
    ConfigurationCallback,
    PaymentStatusCallback,
    TransactionStatusCallback,
    UnknownCallback,
    stage_of,
)
from chat2pay_async._client import AsyncChat2Pay, inner
from chat2pay_async._recovery import settle_shown
from chat2pay_async._send.call import Call
from chat2pay_async._tracebacks import hiding_arguments
from chat2pay_async.errors import CallbackError, RequestValidationError, ResponseDecodeError

__all__ = ["confirm"]

_FIRST_GAP: Final = 1.0
"""Seconds between the first two look-ups; each gap is twice the one before."""
_LONGEST: Final = 255
"""The most characters of a name that is put in a URL."""


@overload
async def confirm(
    client: AsyncChat2Pay, callback: ConfigurationCallback
) -> models.Configuration: ...
@overload
async def confirm(
    client: AsyncChat2Pay,
    callback: TransactionStatusCallback | PaymentStatusCallback | UnknownCallback,
) -> models.Transaction: ...
@hiding_arguments
async def confirm(
    client: AsyncChat2Pay, callback: Callback
) -> models.Transaction | models.Configuration:
    """Ask the service what a callback is about, and return what it says.

    Act on what this returns, and not on the callback: nothing in that is proven.

    A callback may be ahead of the status endpoint. Where it tells an end (paid, declined, reversed,
    expired, cancelled) that the endpoint does not show yet, the endpoint is asked again until it
    does, for `RetryPolicy.settle` seconds at most. By then it shows whatever the service knows, and
    so does the result, whatever the callback claims.

    With a journal, what is still open of the link's calls (its creation, capture, reversal,
    cancellation and receipts) is settled where this look-up settles it, by the rules of `resolve`.
    What another process, or another task, still works on is left to it.

    Args:
        client: The client of the account that the callback is for.
        callback: What `parse` returned.

    Returns:
        The link's `Transaction`; for a `ConfigurationCallback` the account's `Configuration`.

    Raises:
        CallbackError: It names nothing that can be looked up, or its link is another order's.
        NotFoundError: The account has no such link, or does not show it yet.
        AuthenticationError: The client's key is wrong.
        ResponseDecodeError: The response is about another link, or comes from a cache.
        JournalError: The journal can't be used.
        TransportError, ServerError, RateLimitedError: No usable response.
    """
    if isinstance(callback, ConfigurationCallback):
        return await client.get_configuration()
    query, (calls, options) = _query_for(callback), inner(client)
    until, gap = clock.now() + options.retry.settle, _FIRST_GAP
    while True:
        started = clock.now()
        call = Call(GET_TRANSACTION, query, options, started)
        call.is_look_up = True
        outcome = await calls.make(call)
        found, response = outcome.result, outcome.response
        assert response is not None  # noqa: S101 - the result was read from it
        if is_cached(response.headers):
            text = f"{GET_TRANSACTION.name}: the response is a cache's copy of an earlier one"
            raise ResponseDecodeError(text, status_code=response.status_code, body=response.body)
        if None not in {callback.order_number, found.order_number} and (
            callback.order_number != found.order_number
        ):
            raise CallbackError("not confirmed: its payment link is another order's")
        await settle_shown(calls, found, response, started, options)
        shown, claimed = stage_of(found), stage_of(callback)
        if shown >= claimed or claimed < ENDED or started >= until:
            return found
        await anyio.sleep(min(gap, max(0.0, until - clock.now())))
        gap *= 2


def _query_for(callback: Any) -> TransactionQuery:
    """Return the query that looks a callback's link up.

    Raises:
        CallbackError: It names nothing that the service could have.
    """
    names = {"payment_link_ref": callback.payment_link_ref, "order_number": callback.order_number}
    given = {name: value for name, value in names.items() if is_reference(value)}
    name = next(iter(given), None)
    if name is not None and len(given[name]) <= _LONGEST:
        try:
            return TransactionQuery(**{name: given[name]})
        except RequestValidationError:
            pass  # below: the fault is the poster's, not the caller's
    raise CallbackError("not confirmed: it names no payment link or order that could be looked up")
