"""A call in progress: the one request that it sends, and what it knows of its effect."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import BY_ORDER, INTEGRATION, LINK, answer

from chat2pay_async import (
    Attempt,
    Chat2PayError,
    ConnectionFailedError,
    NotFoundError,
    Pending,
    Proof,
    RequestTimeoutError,
    RetryPolicy,
    SentRequest,
    Timeout,
)
from chat2pay_async._api.operations import (
    CREATE_PAYMENT_LINK,
    GET_TRANSACTION,
    UPDATE_INTEGRATION,
    Operation,
    prepare,
)
from chat2pay_async._api.responses import Outcome
from chat2pay_async._send.call import Call, Options, about, reason_in

NOON = datetime(2021, 4, 27, 12, tzinfo=UTC)
SENT = SentRequest("POST", "/api/v2/chat-2-pay", b'{"orderNumber":"A-1"}')


def call(
    operation: Operation[Any, Any] = CREATE_PAYMENT_LINK,
    request: Any = LINK,
    read: float = 30.0,
    **retry: Any,
) -> Call[Any, Any]:
    return Call(operation, request, Options(Timeout(read=read), RetryPolicy(**retry)), 0.0)


def attempt(proof: Proof, after: float = 0.0) -> Attempt:
    return Attempt(NOON + timedelta(seconds=after), 0.5, proof)


def record(  # noqa: PLR0913 - whatever can be different
    this: Call[Any, Any],
    proof: Proof,
    *,
    began: float | None = 0.0,
    last_byte: float = 0.0,
    now: float = 0.0,
    error: Chat2PayError | None = None,
) -> Attempt:
    """Let a call note an attempt that ended."""
    made = attempt(proof, after=now)
    outcome: Outcome[Any] = Outcome(proof, error=error)
    this.record(made, outcome, began=began, last_byte=last_byte, now=now)
    return made


def prior(**fields: Any) -> Pending:
    """Return what an earlier process left of a call: its first attempt, and its last one."""
    pending = Pending(
        operation="create_payment_link",
        identity="A-1",
        request=SENT,
        base_url="https://s.test",
        key_fingerprint="f00d",
        request_id="id-1",
        first_attempt=attempt(Proof.UNKNOWN),
        last_attempt=attempt(Proof.UNKNOWN, after=10),
        service_time=NOON + timedelta(hours=1),
    )
    return attrs.evolve(pending, **fields)


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


# What it knows of its effect ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "request_", "is_looked_up", "is_unresolved"),
    [
        (CREATE_PAYMENT_LINK, LINK, True, True),
        (UPDATE_INTEGRATION, INTEGRATION, True, False),
        (GET_TRANSACTION, BY_ORDER, False, False),
    ],
)
def test_an_unknown_outcome_leaves_unresolved_what_may_not_be_repeated(
    operation: Operation[Any, Any], request_: Any, *, is_looked_up: bool, is_unresolved: bool
) -> None:
    this = call(operation, request_)
    record(this, Proof.NOT_SENT)
    before = this.may_have_been_applied, this.is_unresolved
    assert before == (False, False)
    record(this, Proof.UNKNOWN)
    assert (this.may_have_been_applied, this.is_unresolved) == (is_looked_up, is_unresolved)


def test_an_applied_call_stays_unresolved_until_its_caller_has_the_result() -> None:
    this = call()
    record(this, Proof.APPLIED, now=5.0)
    assert this.is_unresolved
    assert (this.was_unknown, this.window_ends) == (False, 5.0 + this.options.retry.settle)
    this.conclude(may_have_been_applied=False)
    assert not this.is_unresolved


@pytest.mark.parametrize("proof", [Proof.NOT_SENT, Proof.THROTTLED, Proof.REJECTED])
def test_what_was_certainly_not_lost_opens_no_window(proof: Proof) -> None:
    this = call()
    record(this, proof, now=5.0)
    assert not this.may_have_been_applied
    assert not this.was_unknown
    assert this.window_ends == -math.inf


@pytest.mark.parametrize(
    ("last_byte", "given_up", "ends"),
    [
        (0.0, 0.1, 30 + 10),  # a reset, or a 502: the back end may still work on it
        (0.0, 30.0, 30 + 10),  # the read timed out
        (0.0, 45.0, 45 + 10),  # by a transport that waits for each piece anew
        (7.0, 7.5, 37 + 10),  # the request took its time to leave
    ],
)
def test_the_window_starts_when_an_attempt_was_given_up_or_would_have_timed_out(
    last_byte: float, given_up: float, ends: float
) -> None:
    this = call()
    record(this, Proof.UNKNOWN, last_byte=last_byte, now=given_up)
    assert this.window_ends == ends


@given(
    st.lists(st.tuples(st.sampled_from(Proof), *[st.integers(0, 100).map(float)] * 3), max_size=8)
)
def test_no_attempt_shortens_the_window_of_another(
    attempts: list[tuple[Proof, float, float, float]],
) -> None:
    this = call()
    now = 0.0
    for proof, before, last_byte, took in attempts:
        now += before
        ended = now + last_byte + took
        known = this.window_ends
        record(this, proof, began=now, last_byte=now + last_byte, now=ended)
        assert this.window_ends >= known
        if proof is Proof.UNKNOWN:
            assert this.window_ends >= max(ended, now + last_byte + 30.0) + 10.0
        now = ended


def test_a_refusal_of_a_post_whose_earlier_attempt_was_unknown_may_be_about_that_one() -> None:
    this = call()
    record(this, Proof.UNKNOWN)
    this.conclude(may_have_been_applied=False)
    record(this, Proof.REJECTED, now=100.0)
    assert this.is_unresolved
    assert this.window_ends == 110.0


def test_once_its_outcome_was_unknown_it_stays_a_call_whose_posts_follow_look_ups() -> None:
    this = call()
    record(this, Proof.UNKNOWN)
    this.conclude(may_have_been_applied=False)
    record(this, Proof.NOT_SENT)
    assert this.was_unknown
    assert not this.is_unresolved


def test_a_call_is_as_old_as_its_first_attempt_of_unknown_outcome() -> None:
    this = call()
    record(this, Proof.NOT_SENT, began=1.0)
    assert this.sent_at is None
    record(this, Proof.UNKNOWN, began=5.0)
    record(this, Proof.UNKNOWN, began=60.0)
    assert this.sent_at == 5.0


def test_a_foreign_refusal_is_known_as_one_until_the_next_response() -> None:
    this = call()
    block_page: Outcome[Any] = Outcome(
        Proof.UNKNOWN,
        error=NotFoundError("404", status_code=404),
        response=answer(404, b"<html>"),
        is_final=True,
    )
    this.record(attempt(Proof.UNKNOWN), block_page, began=0.0, last_byte=0.0, now=0.0)
    assert this.is_foreign
    record(this, Proof.UNKNOWN)
    assert not this.is_foreign


# What is needed to settle it later ---------------------------------------------------------------


def test_a_pending_holds_the_exact_request_and_the_attempts_that_may_have_been_applied() -> None:
    this = call(read=5, settle=60, resend_when_absent=False)
    this.service_time = NOON
    sent = this.write_out()
    record(this, Proof.NOT_SENT)
    first = record(this, Proof.UNKNOWN, now=5.0)
    last = record(this, Proof.UNKNOWN, now=50.0)
    record(this, Proof.THROTTLED, now=60.0)
    pending = this.pending("https://s.test", "f00d")
    assert (pending.operation, pending.identity) == ("create_payment_link", "A-1")
    assert (pending.request, pending.request_id) == (sent, this.request_id)
    assert (pending.first_attempt, pending.last_attempt) == (first, last)
    assert (pending.base_url, pending.key_fingerprint) == ("https://s.test", "f00d")
    assert pending.service_time == NOON
    assert (pending.settle, pending.read_timeout) == (60, 5)
    assert pending.resend_when_absent is False


def test_an_intent_is_pending_from_the_attempt_that_is_about_to_be_made() -> None:
    this = call()
    record(this, Proof.NOT_SENT)
    intent = attempt(Proof.UNKNOWN, after=9)
    pending = this.pending("https://s.test", "f00d", intent)
    assert pending.first_attempt is pending.last_attempt is intent


def test_an_error_names_its_call_and_its_attempts() -> None:
    this = call()
    record(this, Proof.NOT_SENT)
    error = about(RequestTimeoutError("too late"), this)
    assert (error.operation, error.attempts) == ("create_payment_link", tuple(this.attempts))


def test_every_call_has_an_id_of_its_own_and_keeps_it() -> None:
    calls = [call() for _ in range(100)]
    assert len({one.call_id for one in calls}) == 100
    assert calls[0].call_id == calls[0].call_id


FORK = """
import ctypes
import os
from chat2pay_async._send.call import next_id
from chat2pay_async._config import RetryPolicy
from chat2pay_async._send.retry import back_off

next_id(), back_off(RetryPolicy(), 9)
if {fork}:
    os.wait()
print(next_id(), back_off(RetryPolicy(), 9), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_process_has_ids_and_jitter_of_its_own() -> None:
    done = subprocess.run(  # noqa: S603 - a program of this test's own
        [sys.executable, "-c", FORK.format(fork="os.fork()")],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    child, parent = (line.split() for line in done.stdout.splitlines())
    assert parent[0] != child[0]
    assert parent[1] != child[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_copy_of_a_process_that_python_knows_nothing_of_has_ids_of_its_own() -> None:
    # As one that was stored after its imports, and is started several times.
    program = FORK.format(fork="ctypes.PyDLL(None).fork()")
    done = subprocess.run(  # noqa: S603 - a program of this test's own
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    child, parent = (line.split() for line in done.stdout.splitlines())
    assert parent[0] != child[0]


# What an earlier process left --------------------------------------------------------------------


def test_a_resumed_call_sends_the_same_to_the_byte() -> None:
    this = call()
    assert this.resume(prior(), unresolved=False) is None
    assert (this.write_out(), this.request_id) == (SENT, "id-1")
    assert (this.attempts, this.is_unresolved, this.last_error) == ([], False, None)


def test_a_resumed_call_begins_with_an_attempt_of_unknown_outcome() -> None:
    this = call()
    outcome = this.resume(prior(), unresolved=True)
    assert outcome is not None
    assert outcome.proof is Proof.UNKNOWN
    assert this.is_unresolved
    assert this.was_unknown
    assert (len(this.attempts), this.earlier) == (2, 2)
    assert isinstance(outcome.error, ConnectionFailedError)
    assert this.last_error is outcome.error
    assert (this.sent_at, this.service_time) == (None, NOON + timedelta(hours=1))


def test_an_only_attempt_is_resumed_once() -> None:
    this = call()
    this.resume(prior(last_attempt=attempt(Proof.UNKNOWN)), unresolved=True)
    assert this.earlier == 1


@pytest.mark.parametrize("years", [-1, 0, 1])
def test_the_window_of_another_process_starts_when_this_one_takes_it_up(years: int) -> None:
    when = NOON + timedelta(days=365 * years)
    this = call()
    this.started = 100.0
    this.resume(prior(last_attempt=Attempt(when, 0.5, Proof.UNKNOWN)), unresolved=True)
    assert this.window_ends == 100.0 + 30.0 + 10.0


@pytest.mark.parametrize(
    ("own", "others", "window"),
    [
        ({"read": 30.0}, {"read_timeout": 60.0}, 60 + 10),
        ({"read": 90.0}, {"read_timeout": 60.0}, 90 + 10),
        ({"settle": 5.0}, {"settle": 20.0}, 30 + 20),
        ({"settle": 40.0}, {"settle": 20.0}, 30 + 40),
    ],
)
def test_a_resumed_call_has_the_longer_window_of_two(
    own: dict[str, Any], others: dict[str, Any], window: float
) -> None:
    this = call(**own)
    this.resume(prior(**others), unresolved=True)
    assert this.window_ends == window
    later = this.pending("https://s.test", "f00d")
    assert later.read_timeout + later.settle == window, "and passes it on"


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("others", [True, False])
def test_a_resumed_call_is_resent_only_if_both_processes_allow_it(
    *, own: bool, others: bool
) -> None:
    this = call(resend_when_absent=own)
    this.resume(prior(resend_when_absent=others), unresolved=True)
    assert this.options.retry.resend_when_absent is (own and others)


def test_the_reason_of_an_unknown_outcome_is_told_in_our_own_words_alone() -> None:
    ours = ConnectionFailedError("capture_payment: no response from s.test:443")
    cut = RequestTimeoutError("capture_payment: no result within 7 s, and it may have been applied")
    told = {
        "no response from s.test:443": ours,
        "no result within 7 s": cut,
        "ValueError": ValueError("27831234567"),
        "no usable response": None,
    }
    assert {reason_in(error, "capture_payment"): error for error in told.values()} == told
