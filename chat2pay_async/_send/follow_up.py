"""The read-back of an integration update: the configuration shows what became of a lost answer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from chat2pay_async import _eventloop as clock
from chat2pay_async._api import models, operations, requests
from chat2pay_async._api.responses import Answer, RawResponse
from chat2pay_async._send.call import Call, Step
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Chat2PayError, Proof

__all__ = ["MakeCall", "read_back"]

Q = TypeVar("Q")
R = TypeVar("R")


class MakeCall(Protocol):
    """Makes a call: `Sender`'s own way."""

    def __call__(self, call: Call[Q, R], /) -> Awaitable[RawResponse[R]]:
        """Make it."""
        ...


async def read_back(make: MakeCall, call: Call[Q, R], step: Step[R]) -> Step[R]:
    """Read an integration's status back; a refusal of a repeated update is judged by it too."""
    if step.answer.error is None or step.answer.proof not in {Proof.UNKNOWN, Proof.REJECTED}:
        return step
    assert isinstance(call.request, requests.IntegrationRequest)  # noqa: S101 - the only PUT
    # A nested call: it goes down the same path, within its caller's options and deadline.
    nested = Call(
        operations.GET_CONFIGURATION,
        requests.ConfigurationQuery(),
        call.options,
        clock.now(),
        call.listening,
        known_id=call.call_id,
    )
    try:
        raw = await make(nested)
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
