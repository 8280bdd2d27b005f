"""Calls of endpoints that this version does not know: money's rules hold for them too."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from scripted import THROTTLED, answer, bench, forever, lost, not_sent, options

from chat2pay_async import (
    NotFoundError,
    OutcomeUnknownError,
    Proof,
    Resolution,
    SentRequest,
    ServerError,
    Timeout,
    Verdict,
    events,
)
from chat2pay_async._api.endpoint import Endpoint, endpoint_for
from chat2pay_async._config import RetryPolicy
from chat2pay_async._send.call import Options

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

WRITES = ("POST", "PUT", "PATCH", "DELETE")
DONE = answer(200, b'{"done": true}')
UNKNOWN: tuple[Any, ...] = (
    *(lost(), answer(503), answer(302), answer(404, b"<html>"), answer(200, b"{}", age="5")),
)


def request_with(method: str) -> tuple[Endpoint, SentRequest]:
    return endpoint_for(method, "/api/v9/new", None, None)


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("end", UNKNOWN, ids=["lost", "503", "302", "foreign 404", "cached"])
async def test_a_write_whose_outcome_is_unknown_is_never_sent_again_nor_looked_up(
    method: str, end: Any
) -> None:
    this = bench(end, DONE, look_ups=[DONE])
    with pytest.raises(OutcomeUnknownError) as caught:
        await this.sender.send(*request_with(method), options())
    assert str(caught.value).endswith(
        "; it may have been applied; do not send it again before you found out: this version has "
        "no look-up for it"
    )
    assert [one.method for one in this.engine.sent] == [method]
    assert this.engine.looked == []
    pending = caught.value.pending
    assert (pending.operation, pending.request.target) == ("request", "/api/v9/new")
    assert [one.pending for one in this.heard_of(events.OutcomeUnknown)] == [pending]
    resolution = await this.sender.resolve(pending, options())
    assert (resolution, this.engine.looked) == (Resolution(Verdict.UNDETERMINED), [])


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_that_was_certainly_not_sent_is_retried(method: str) -> None:
    this = bench(not_sent(), THROTTLED, answer(425), DONE)
    raw = await this.sender.send(*request_with(method), options())
    assert (raw.parsed, len(raw.attempts), raw.recovered) == ({"done": True}, 4, False)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_is_retried_after_anything(method: str) -> None:
    this = bench(lost(), answer(503), not_sent(), answer(204, b""))
    raw = await this.sender.send(*request_with(method), options())
    assert (raw.parsed, raw.body, raw.status_code, len(raw.attempts)) == (None, b"", 204, 4)


async def test_its_errors_are_those_of_all_calls() -> None:
    refusal = answer(404, b'{"status": 404, "errors": ["no such thing"]}')
    this = bench(refusal, *[answer(500)] * 4)
    with pytest.raises(NotFoundError, match="request: 404: no such thing"):
        await this.sender.send(*request_with("POST"), options())
    with pytest.raises(ServerError) as caught:
        await this.sender.send(*request_with("GET"), options())
    assert [one.proof for one in caught.value.attempts] == [Proof.UNKNOWN] * 4


async def test_a_write_that_is_cancelled_stays_unsettled() -> None:
    this = bench(forever)
    with anyio.move_on_after(1.0):
        await this.sender.send(*request_with("POST"), options())
    (pending,) = this.sender.unsettled
    assert pending.request.method == "POST"


async def test_a_write_that_a_deadline_ends_is_unknown() -> None:
    this = bench(forever)
    with pytest.raises(OutcomeUnknownError):
        await this.sender.send(*request_with("PUT"), Options(Timeout(total=3.0), RetryPolicy()))
