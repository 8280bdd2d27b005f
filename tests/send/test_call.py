"""A call under way: the one request that it sends, and what it knows of its attempts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from scripted import BY_ORDER, INTEGRATION, LINK, options

from chat2pay_async import Attempt, Chat2PayError, Proof, RequestTimeoutError, SentRequest
from chat2pay_async._api.operations import (
    CREATE_PAYMENT_LINK,
    GET_TRANSACTION,
    UPDATE_INTEGRATION,
    Operation,
    prepare,
)
from chat2pay_async._journal.base import PriorAttempts
from chat2pay_async._send.call import Call, about, ended_at

NOON = datetime(2021, 4, 27, 12, tzinfo=UTC)
SENT = SentRequest("POST", "/api/v2/chat-2-pay", b'{"orderNumber":"A-1"}')


def call(
    operation: Operation[Any, Any] = CREATE_PAYMENT_LINK, request: Any = LINK, **retry: Any
) -> Call[Any, Any]:
    return Call(operation, request, options(**retry), 0.0)


def attempt(proof: Proof, after: float = 0.0, elapsed: float = 0.5) -> Attempt:
    return Attempt(NOON + timedelta(seconds=after), elapsed, proof)


def prior(**fields: Any) -> PriorAttempts:
    first, last, alive = (NOON + timedelta(seconds=after) for after in (0, 10, 15))
    return attrs.evolve(PriorAttempts(SENT, "id-1", first, last, alive, unresolved=True), **fields)


def data_sent(sent: SentRequest) -> Any:
    return json.loads(sent.body or b"")["additionalData"]


# What it sends -----------------------------------------------------------------------------------


def test_a_call_carries_one_minted_id_in_all_its_attempts() -> None:
    this = call()
    sent = this.write_out()
    assert this.request_id is not None
    assert data_sent(sent) == {"sdkRequestId": this.request_id}
    assert this.write_out() is sent
    assert call().write_out() != sent


@pytest.mark.parametrize("data", [None, {"a": 1}])
def test_the_minted_id_can_be_switched_off(data: Any) -> None:
    request = attrs.evolve(LINK, additional_data=data)
    this = call(request=request, stamp=False)
    assert this.write_out() == prepare(CREATE_PAYMENT_LINK, request)
    assert this.request_id is None
    assert b"sdkRequestId" not in (this.write_out().body or b"")


# What it knows of its attempts -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "request_", "is_looked_up", "doubt"),
    [
        (CREATE_PAYMENT_LINK, LINK, True, True),
        (UPDATE_INTEGRATION, INTEGRATION, True, False),
        (GET_TRANSACTION, BY_ORDER, False, False),
    ],
)
def test_a_lost_response_leaves_unresolved_what_may_not_be_repeated(
    operation: Operation[Any, Any], request_: Any, *, is_looked_up: bool, doubt: bool
) -> None:
    this = call(operation, request_)
    this.record(attempt(Proof.NOT_SENT), 1.0)
    assert (this.lost_at, this.unresolved) == (None, False)
    this.record(attempt(Proof.UNKNOWN), 2.0)
    assert (this.lost_at, this.unresolved) == (2.0 if is_looked_up else None, doubt)


def test_applied_and_lost_attempts_may_have_arrived() -> None:
    this = call()
    for proof in (Proof.NOT_SENT, Proof.UNKNOWN, Proof.THROTTLED, Proof.REJECTED, Proof.APPLIED):
        this.record(attempt(proof), 0.0)
    assert this.arrived == 2


def test_a_call_left_first_with_its_first_attempt() -> None:
    this, later = call(), NOON + timedelta(minutes=1)
    assert this.first_at(NOON) == NOON
    this.record(attempt(Proof.NOT_SENT), 0.0)
    this.record(attempt(Proof.UNKNOWN, after=5), 5.0)
    assert this.first_at(later) == NOON


def test_a_pending_holds_the_exact_request_and_its_first_and_last_attempt() -> None:
    this = call()
    sent = this.write_out()
    first, last = attempt(Proof.NOT_SENT), attempt(Proof.UNKNOWN, after=5)
    for one in (first, attempt(Proof.THROTTLED), last):
        this.record(one, 0.0)
    pending = this.pending("https://s.test", "f00d")
    assert (pending.operation, pending.identity) == ("create_payment_link", "A-1")
    assert (pending.request, pending.request_id) == (sent, this.request_id)
    assert (pending.first_attempt, pending.last_attempt) == (first, last)
    assert (pending.base_url, pending.key_fingerprint) == ("https://s.test", "f00d")


def test_an_error_names_its_call_and_its_attempts() -> None:
    this = call()
    this.record(attempt(Proof.NOT_SENT), 0.0)
    error = about(RequestTimeoutError("too late"), this)
    assert (error.operation, error.attempts) == ("create_payment_link", tuple(this.attempts))


def test_every_call_has_an_id_of_its_own_and_keeps_it() -> None:
    calls = [call() for _ in range(100)]
    assert len({one.call_id for one in calls}) == 100
    assert calls[0].call_id == calls[0].call_id


# What an earlier process left --------------------------------------------------------------------


def test_a_resumed_call_sends_the_same_to_the_byte() -> None:
    this = call()
    this.resume(prior(unresolved=False), 0.0, NOON)
    assert (this.write_out(), this.request_id) == (SENT, "id-1")
    assert (this.attempts, this.unresolved, this.last_error) == ([], False, None)


def test_an_unresolved_calls_window_begins_at_the_last_sign_of_life() -> None:
    this = call()
    this.resume(prior(), 100.0, NOON + timedelta(seconds=45))
    assert (this.lost_at, this.unresolved, this.earlier) == (100.0 - 30.0, True, 2)
    assert isinstance(this.last_error, Chat2PayError)


def test_a_clock_that_was_put_back_makes_no_window_that_opens_later() -> None:
    this = call()
    this.resume(prior(), 100.0, NOON - timedelta(hours=1))
    assert this.lost_at == 100.0


def test_the_first_and_last_attempt_of_a_dead_process_are_known() -> None:
    first, last = prior().attempts
    assert (first.started_at, last.started_at) == (NOON, NOON + timedelta(seconds=10))
    assert (first.proof, last.proof) == (Proof.UNKNOWN, Proof.UNKNOWN)
    assert ended_at(last) == NOON + timedelta(seconds=15)


def test_an_only_attempt_is_the_first_and_the_last() -> None:
    (only,) = prior(last_at=NOON).attempts
    assert (only.started_at, ended_at(only)) == (NOON, NOON + timedelta(seconds=15))


def test_attempts_whose_end_was_seen_are_the_known_ones() -> None:
    seen = (attempt(Proof.NOT_SENT), attempt(Proof.UNKNOWN, after=3))
    assert prior(seen=seen).attempts == list(seen)


def test_an_attempt_never_takes_less_than_no_time() -> None:
    (only,) = prior(last_at=NOON, alive_at=NOON - timedelta(seconds=1)).attempts
    assert only.elapsed == 0.0
