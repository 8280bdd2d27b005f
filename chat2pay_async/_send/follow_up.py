"""The read-back of an integration update, whose effect the configuration shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from chat2pay_async import _eventloop as clock
from chat2pay_async._api import models, operations, requests
from chat2pay_async._api.responses import ParsedResponse, RawResponse
from chat2pay_async._send.call import Call, Outcome
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Chat2PayError, Proof

__all__ = ["MakeCall", "read_back"]

R = TypeVar("R")


MakeCall: TypeAlias = Callable[
    [Call[requests.ConfigurationQuery, models.Configuration]],
    Awaitable[RawResponse[models.Configuration]],
]
"""The sender's own way to make a call."""


async def read_back(make: MakeCall, call: Call[Any, R], outcome: Outcome[R]) -> Outcome[R]:
    """Read an integration's status back; a refusal of a repeated update is judged by it too."""
    if outcome.parsed.error is None or outcome.parsed.proof not in {Proof.UNKNOWN, Proof.REJECTED}:
        return outcome
    assert isinstance(call.request, requests.IntegrationRequest)  # noqa: S101 - the only PUT
    # A nested call: it goes down the same path, within its caller's options and deadline.
    nested = Call(
        operations.GET_CONFIGURATION,
        requests.ConfigurationQuery(),
        call.options,
        clock.now(),
        call.has_hooks,
        known_id=call.call_id,
    )
    try:
        raw = await make(nested)
    except Chat2PayError:
        return outcome
    if not _holds(raw.parsed, call.request):
        return outcome
    result: Any = models.IntegrationUpdate(update_time=raw.parsed.update_time, recovered=True)
    response = WireResponse(raw.status_code, raw.headers, raw.body)
    return Outcome(ParsedResponse(Proof.APPLIED, result), response, looked_up=True)


def _holds(configuration: models.Configuration, request: requests.IntegrationRequest) -> bool:
    found = [
        one for one in configuration.integrators if one.application_id == request.application_uuid
    ]
    if not found:
        # One whose id could not be read may be this one.
        are_all_known = "integrators" not in configuration.extra and all(
            one.application_id for one in configuration.integrators
        )
        return are_all_known and request.status is models.IntegrationStatus.DELETED
    return found[0].status is request.status
