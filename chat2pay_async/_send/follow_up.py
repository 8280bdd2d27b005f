"""Calls that are made on behalf of another: they find out, or undo, what a lost answer left behind.

Each runs down the same path as its caller's (`_send/sender.py`), within that one's options and
deadline.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors
from chat2pay_async._api import models, operations, requests
from chat2pay_async._api.operations import Operation
from chat2pay_async._api.responses import Answer, RawResponse
from chat2pay_async._send.call import Call, Step
from chat2pay_async._send.evidence import was_opened
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Chat2PayError, Proof

__all__ = ["MakeCall", "cancelled", "read_back"]

Q = TypeVar("Q")
R = TypeVar("R")


class MakeCall(Protocol):
    """Makes a call: `Sender`'s own way."""

    def __call__(self, call: Call[Q, R], /) -> Awaitable[RawResponse[R]]:
        """Make it."""
        ...


def _within(call: Call[Any, Any], operation: Operation[Q, R], request: Q) -> Call[Q, R]:
    log = None if call.log is None else call.log.aside()
    return Call(operation, request, call.options, clock.now(), call.listening, log, call.call_id)


async def cancelled(make: MakeCall, call: Call[Any, Any], ref: str) -> bool:
    """Cancel a link, or see that it ended unopened; False where its customer was faster.

    Raises:
        Chat2PayError: It may be gone or not.
    """
    try:
        return await _is_gone(make, call, ref)
    except Chat2PayError as error:
        # An earlier process may have cancelled it, and have been killed before it said so.
        if call.earlier or isinstance(error, errors.OutcomeUnknownError):
            raise
        return False


async def _is_gone(make: MakeCall, call: Call[Any, Any], ref: str) -> bool:
    reference = requests.LinkReference(payment_link_ref=ref)
    try:
        await make(_within(call, operations.CANCEL_PAYMENT_LINK, reference))
    except errors.BadRequestError:
        # Clicked, or expired. If that can't be told, the link is taken for alive.
        query = requests.TransactionQuery(payment_link_ref=ref)
        looked = await make(_within(call, operations.GET_TRANSACTION, query))
        return models.link_ended(looked.parsed) and not was_opened(looked.parsed)
    return True


async def read_back(make: MakeCall, call: Call[Q, R], step: Step[R]) -> Step[R]:
    """Read an integration's status back; a refusal of a repeated update is judged by it too."""
    if step.answer.error is None or step.answer.proof not in {Proof.UNKNOWN, Proof.REJECTED}:
        return step
    assert isinstance(call.request, requests.IntegrationRequest)  # noqa: S101 - the only PUT
    query = requests.ConfigurationQuery()
    try:
        raw = await make(_within(call, operations.GET_CONFIGURATION, query))
    except Chat2PayError:
        return step
    if not _holds(raw.parsed, call.request):
        return step
    result: Any = models.IntegrationUpdate(update_time=raw.parsed.update_time, recovered=True)
    response = WireResponse(raw.status_code, raw.headers, raw.body)
    return Step(Answer(Proof.APPLIED, result), response, settled=True)


def _holds(configuration: models.Configuration, request: requests.IntegrationRequest) -> bool:
    found = [
        one for one in configuration.integrators if one.application_id == request.application_uuid
    ]
    if not found:
        # One whose id could not be read may be this one.
        told = configuration.integrators
        are_all_known = "integrators" not in configuration.extra and all(
            one.application_id for one in told
        )
        return are_all_known and request.status is models.IntegrationStatus.DELETED
    return found[0].status is request.status
