"""The read-back of an integration update, by what the configuration shows."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from scripted import INTEGRATION, options

from chat2pay_async import (
    BadRequestError,
    Chat2PayError,
    Configuration,
    ConnectionFailedError,
    IntegrationStatus,
    IntegrationUpdate,
    Integrator,
    Proof,
    RawResponse,
)
from chat2pay_async._api.operations import UPDATE_INTEGRATION, Operation
from chat2pay_async._api.requests import ConfigurationQuery
from chat2pay_async._api.responses import ParsedResponse
from chat2pay_async._send.call import Call, Outcome
from chat2pay_async._send.follow_up import read_back
from chat2pay_async._transport.base import WireResponse

pytestmark = pytest.mark.anyio

REFUSED = BadRequestError("the link was clicked", status_code=400)
BROKEN = ConnectionFailedError("no answer")


@attrs.define
class Caller:
    """Makes calls by giving back what it is told to, in turn; errors are raised."""

    ends: list[object]
    made: list[Call[Any, Any]] = attrs.field(factory=list)

    async def __call__(self, call: Call[Any, Any], /) -> RawResponse[Any]:
        self.made.append(call)
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return RawResponse(end, 200, {"x": "y"}, b"{}", (), 0.0)

    @property
    def story(self) -> list[tuple[str, object]]:
        return [(call.operation.name, call.request) for call in self.made]


def call(operation: Operation[Any, Any], request: Any, **fields: Any) -> Call[Any, Any]:
    return Call(operation, request, options(total=9.0), 0.0, has_hooks=True, **fields)


LOST: Outcome[Any] = Outcome(ParsedResponse(Proof.UNKNOWN, error=BROKEN), None)
ACTIVE = Integrator(application_id="u-1", status=IntegrationStatus.ACTIVATED)
IDLE = Integrator(application_id="u-1", status=IntegrationStatus.DEACTIVATED)
ANOTHER = Integrator(application_id="u-2", status=IntegrationStatus.ACTIVATED)
DELETION = attrs.evolve(INTEGRATION, status=IntegrationStatus.DELETED)


@pytest.mark.parametrize("proof", [Proof.UNKNOWN, Proof.REJECTED])
@pytest.mark.parametrize(
    ("request_", "integrators"), [(INTEGRATION, (ANOTHER, ACTIVE)), (DELETION, (ANOTHER,))]
)
async def test_an_update_that_the_configuration_shows_took_place(
    proof: Proof, request_: Any, integrators: tuple[Integrator, ...]
) -> None:
    run = Caller([Configuration(integrators=integrators)])
    outcome: Outcome[Any] = Outcome(ParsedResponse(proof, error=REFUSED), None)
    this = call(UPDATE_INTEGRATION, request_)
    back = await read_back(run, this, outcome)
    assert run.story == [("get_configuration", ConfigurationQuery())]
    (made,) = run.made
    assert (made.options, made.call_id, made.has_hooks) == (this.options, this.call_id, True)
    assert back.parsed == ParsedResponse(Proof.APPLIED, IntegrationUpdate(recovered=True))
    assert back.response == WireResponse(200, {"x": "y"}, b"{}")
    assert back.looked_up


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (INTEGRATION, Configuration(integrators=(IDLE, ANOTHER))),
        (INTEGRATION, Configuration(integrators=(ANOTHER,))),
        (DELETION, Configuration(integrators=(ACTIVE,))),
        (DELETION, Configuration(integrators=(ANOTHER, Integrator(status=ACTIVE.status)))),
        (DELETION, Configuration(extra={"integrators": "…"})),
        (INTEGRATION, BROKEN),
    ],
)
async def test_an_update_that_the_configuration_does_not_show_stays_what_it_was(
    request_: Any, found: object
) -> None:
    assert await read_back(Caller([found]), call(UPDATE_INTEGRATION, request_), LOST) is LOST


@pytest.mark.parametrize(
    "answer",
    [
        ParsedResponse(Proof.APPLIED, IntegrationUpdate()),
        ParsedResponse(Proof.NOT_SENT, error=BROKEN),
        ParsedResponse(Proof.THROTTLED, error=Chat2PayError("slower")),
    ],
)
async def test_an_update_of_certain_outcome_is_not_read_back(
    answer: ParsedResponse[IntegrationUpdate],
) -> None:
    run, outcome = Caller([]), Outcome(answer, None)
    assert await read_back(run, call(UPDATE_INTEGRATION, INTEGRATION), outcome) is outcome
    assert not run.made
