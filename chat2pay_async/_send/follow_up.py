"""The read-back of an integration update, whose effect the configuration shows."""

from __future__ import annotations

from collections.abc import Awaitable

from chat2pay_async._api import models, requests
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.responses import Outcome, is_cached
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.reconciliation import Finding, Verdict
from chat2pay_async.errors import Chat2PayError

__all__ = ["read_back"]


async def read_back(
    configuration: Awaitable[Outcome[models.Configuration]], request: object
) -> Finding:
    """Read an integration's status back: applied, or (also where that can't be told) not yet.

    An update may be repeated, so nothing is lost by making it again.
    """
    assert isinstance(request, requests.IntegrationRequest)  # noqa: S101 - the only PUT
    try:
        outcome = await configuration
    except Chat2PayError:
        return Finding(Verdict.ABSENT, Evidence(Shows.NOTHING))
    found, response = outcome.result, outcome.response
    assert response is not None  # noqa: S101 - it was read from one
    data = decode_object(response.body) or {}
    # A configuration without its list is none: `{}` must not pass for a deletion.
    is_readable = isinstance(data.get("integrators"), list) and not is_cached(response.headers)
    if not is_readable or not _holds(found, request):
        return Finding(Verdict.ABSENT, Evidence(Shows.ABSENT))
    result = models.IntegrationUpdate(update_time=found.update_time, recovered=True)
    return Finding(Verdict.APPLIED, Evidence(Shows.OURS, result), response)


def _holds(configuration: models.Configuration, request: requests.IntegrationRequest) -> bool:
    """Tell whether a configuration shows what an update asked for."""
    wanted = request.application_uuid.casefold()  # a UUID is the same in either case
    found = [
        one for one in configuration.integrators if (one.application_id or "").casefold() == wanted
    ]
    if found:
        return all(one.status is request.status for one in found)
    # One whose id could not be read may be this one.
    are_all_known = "integrators" not in configuration.extra and all(
        one.application_id for one in configuration.integrators
    )
    return are_all_known and request.status is models.IntegrationStatus.DELETED
