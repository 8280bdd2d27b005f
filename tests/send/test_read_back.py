"""The read-back of an integration update, by what the configuration shows."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat2pay_async import (
    BadRequestError,
    Chat2PayError,
    Configuration,
    ConnectionFailedError,
    IntegrationUpdate,
    Proof,
)
from chat2pay_async._api.codec import structure
from chat2pay_async._api.enums import IntegrationStatus
from chat2pay_async._api.requests import IntegrationRequest
from chat2pay_async._api.responses import Outcome
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.reconciliation import Finding, Verdict
from chat2pay_async._send.retry import read_back
from chat2pay_async._transport.base import WireResponse

pytestmark = pytest.mark.anyio

TIME = "2026-05-04T03:02:01Z"
ID = "5A1c"
ACTIVATION = IntegrationRequest(application_uuid=ID, status=IntegrationStatus.ACTIVATED)
DELETION = attrs.evolve(ACTIVATION, status=IntegrationStatus.DELETED)

ACTIVE = {"applicationId": ID, "status": "ACTIVATED"}
IDLE = {"applicationId": ID, "status": "DEACTIVATED"}
DELETED = {"applicationId": ID, "status": "DELETED"}
ANOTHER = {"applicationId": "u-2", "status": "ACTIVATED"}


async def look(request: object, body: Any, headers: dict[str, str] | None = None) -> Finding:
    """Read an update back from a configuration; an error is raised."""

    async def configuration() -> Outcome[Configuration]:
        if isinstance(body, Exception):
            raise body
        response = WireResponse(200, headers or {}, json.dumps(body).encode())
        return Outcome(Proof.APPLIED, structure(Configuration, body), response=response)

    return await read_back(configuration(), request)


NOT_YET = Finding(Verdict.ABSENT, Evidence(Shows.ABSENT))


@pytest.mark.parametrize(
    ("request_", "integrators"),
    [
        (ACTIVATION, [ANOTHER, ACTIVE]),
        (ACTIVATION, [ACTIVE, ACTIVE]),
        (ACTIVATION, [ACTIVE | {"applicationId": "5a1C"}]),
        (DELETION, [ANOTHER]),
        (DELETION, []),
        (DELETION, [ANOTHER, DELETED]),
    ],
)
async def test_an_update_that_the_configuration_shows_took_place(
    request_: object, integrators: list[Any]
) -> None:
    body = {"updateTime": TIME, "integrators": integrators}
    finding = await look(request_, body, {"x": "y"})
    updated = structure(IntegrationUpdate, body).update_time
    assert finding.verdict is Verdict.APPLIED
    assert finding.evidence == Evidence(
        Shows.OURS, IntegrationUpdate(update_time=updated, recovered=True)
    )
    assert finding.response == WireResponse(200, {"x": "y"}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("request_", "integrators"),
    [
        (ACTIVATION, []),
        (ACTIVATION, [ANOTHER]),
        (ACTIVATION, [IDLE, ANOTHER]),
        (ACTIVATION, [ACTIVE, IDLE]),
        (ACTIVATION, [{"applicationId": ID}]),
        (DELETION, [ACTIVE]),
        (DELETION, [IDLE, DELETED]),
        (DELETION, [ACTIVE | {"applicationId": "5a1C"}]),
        # One whose id could not be read may be this one.
        (DELETION, [ANOTHER, {"status": "ACTIVATED"}]),
        (DELETION, [ANOTHER, {"applicationId": ""}]),
        (DELETION, [ANOTHER, "unreadable"]),
    ],
)
async def test_an_update_that_the_configuration_does_not_show_may_be_repeated(
    request_: object, integrators: list[Any]
) -> None:
    assert await look(request_, {"updateTime": TIME, "integrators": integrators}) == NOT_YET


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"integrators": None},
        {"integrators": {}},
        {"integrators": "none"},
        {"environment": "Sandbox"},
        {"message": "no", "errors": ["no"]},
    ],
    ids=repr,
)
async def test_a_configuration_without_its_list_is_no_deletion(body: dict[str, Any]) -> None:
    assert await look(DELETION, body) == NOT_YET


@pytest.mark.parametrize("age", ["1", "soon"])
async def test_a_configuration_from_a_cache_shows_the_past(age: str) -> None:
    assert await look(DELETION, {"integrators": []}, {"age": age}) == NOT_YET
    assert await look(ACTIVATION, {"integrators": [ACTIVE]}, {"age": age}) == NOT_YET
    finding = await look(ACTIVATION, {"integrators": [ACTIVE]}, {"age": "0"})
    assert finding.verdict is Verdict.APPLIED


@pytest.mark.parametrize(
    "error", [ConnectionFailedError("broken"), BadRequestError("no", status_code=400)]
)
async def test_a_configuration_that_cannot_be_read_shows_nothing(error: Chat2PayError) -> None:
    finding = await look(DELETION, error)
    assert finding == Finding(Verdict.ABSENT, Evidence(Shows.NOTHING))


async def test_what_is_no_error_of_ours_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        await look(DELETION, ZeroDivisionError())


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "applicationId": st.sampled_from([ID, ID.lower(), "u-2", "", None, 7]),
        "status": st.sampled_from(["ACTIVATED", "Deactivated", "DELETED", "NEW", None]),
    },
)


@given(entries=st.none() | st.lists(ENTRIES, max_size=4))
async def test_nothing_is_deleted_that_is_shown_in_another_state(entries: Any) -> None:
    finding = await look(DELETION, {"integrators": entries})
    if finding.verdict is Verdict.APPLIED:
        own = [one for one in entries if str(one.get("applicationId")).casefold() == ID.casefold()]
        assert all(one.get("status") == "DELETED" for one in own)
