"""The path of a call: attempts, retries, deadline, cancellation, events."""

from __future__ import annotations

import errno
import itertools
import logging
import pickle
import socket
import ssl
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import tenacity
from scripted import (
    BY_ORDER,
    CREATED,
    INTEGRATION,
    LINK,
    REFERENCE,
    THROTTLED,
    Act,
    Bench,
    answer,
    bench,
    forever,
    lost,
    not_sent,
    options,
)

from chat2pay_async import (
    ApiError,
    Attempt,
    BadRequestError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    OutcomeUnknownError,
    Proof,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
    events,
)
from chat2pay_async._api import operations, requests
from chat2pay_async._api.responses import RawResponse
from chat2pay_async._config import ApiKey
from chat2pay_async._send.call import Call, Outcome
from chat2pay_async._send.reconciliation import FRESH
from chat2pay_async._transport.base import ExchangeError, WireResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

POSTS: list[tuple[operations.Operation[Any, Any], Any]] = [
    (operations.CREATE_PAYMENT_LINK, LINK),
    (operations.CANCEL_PAYMENT_LINK, REFERENCE),
    (operations.CAPTURE_PAYMENT, requests.Capture(payment_link_ref="ref-1")),
    (operations.REVERSE_PAYMENT, REFERENCE),
    (
        operations.CREATE_RECEIPT,
        requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link="https://r.example"),
    ),
]
REPEATABLE: list[tuple[operations.Operation[Any, Any], Any]] = [
    (operations.GET_TRANSACTION, BY_ORDER),
    (operations.GET_CONFIGURATION, requests.ConfigurationQuery()),
    (operations.UPDATE_INTEGRATION, INTEGRATION),
]


@pytest.fixture(autouse=True)
def full_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the jitter out: the back-off is always its ceiling."""
    monkeypatch.setattr("chat2pay_async._send.retry._jitter.uniform", lambda _low, high: high)


# What comes back ---------------------------------------------------------------------------------


async def test_a_result_comes_with_its_whole_exchange() -> None:
    async def slow() -> WireResponse:
        await anyio.sleep(1.5)
        return answer(201, b'{"paymentLinkRef": "ref-1"}', x_trace="t")

    raw = await bench(slow).sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert isinstance(raw, RawResponse)
    assert raw.parsed.payment_link_ref == "ref-1"
    assert (raw.status_code, raw.headers["x-trace"]) == (201, "t")
    assert raw.body == b'{"paymentLinkRef": "ref-1"}'
    assert raw.elapsed == pytest.approx(1.5)
    (attempt,) = raw.attempts
    assert (attempt.proof, attempt.status_code, attempt.error) == (Proof.APPLIED, 201, None)
    assert attempt.elapsed == pytest.approx(1.5)
    assert attempt.started_at.utcoffset() is not None
    assert not raw.recovered


async def test_headers_carry_key_agent_and_body_type_and_their_repr_hides_them() -> None:
    made = bench(CREATED, answer(200))
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    post, get = made.engine.headers
    assert post["Authorization"] == get["Authorization"] == "secret-key"
    assert post["User-Agent"].startswith("chat2pay-async/")
    assert post["Content-Type"] == "application/json"
    assert "Content-Type" not in get
    assert "secret-key" not in repr(post)


# Who may go again --------------------------------------------------------------------------------


@pytest.mark.parametrize(("operation", "request_"), POSTS, ids=lambda row: getattr(row, "name", ""))
@pytest.mark.parametrize(
    "failure",
    [
        lost(),
        lost(timed_out=False),
        answer(500),
        answer(502),
        answer(503, retry_after="1"),
        answer(408),
        answer(302),
        answer(200),
        answer(201, b"<html>"),
        answer(204, b""),
    ],
    ids=lambda act: act.reason if isinstance(act, ExchangeError) else f"{act.status_code}",
)
async def test_a_post_that_look_ups_cannot_settle_is_unresolved_and_never_sent_again(
    operation: operations.Operation[Any, Any], request_: Any, failure: Act
) -> None:
    made = bench(failure, look_ups=[answer(500)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operation, request_, options())
    assert len(made.engine.sent) == 1
    assert made.engine.looked[-1] - made.engine.looked[0] == pytest.approx(30)
    error = caught.value
    assert error.operation == operation.name
    assert [attempt.proof for attempt in error.attempts] == [Proof.UNKNOWN]
    assert error.pending.operation == operation.name
    assert error.pending.request == made.engine.sent[0]
    assert error.pending.identity in {"A-1", "ref-1"}
    assert error.pending.first_attempt is error.pending.last_attempt is error.attempts[0]
    assert error.pending.base_url == "https://s.test"
    assert error.pending.key_fingerprint == ApiKey("secret-key").fingerprint
    assert error.__cause__ is not None
    assert pickle.loads(pickle.dumps(error)).pending == error.pending  # noqa: S301 - our own
    (told,) = made.heard_of(events.OutcomeUnknown)
    assert told.pending == error.pending


@pytest.mark.parametrize(
    ("operation", "request_"), POSTS + REPEATABLE, ids=lambda row: getattr(row, "name", "")
)
@pytest.mark.parametrize("failure", [not_sent(), THROTTLED, answer(425)], ids=str)
async def test_a_request_that_was_not_sent_or_was_throttled_is_retried(
    operation: operations.Operation[Any, Any], request_: Any, failure: Act
) -> None:
    made = bench(failure, failure, PROOFS[operation.name])
    raw = await made.sender.send(operation, request_, options())
    assert len(raw.attempts) == 3
    assert raw.attempts[-1].proof is Proof.APPLIED


PROOFS = {
    "create_payment_link": CREATED,
    "cancel_payment_link": answer(
        200, b'{"paymentLinkRef": "ref-1", "transactionStatus": "Payment Link Cancelled"}'
    ),
    "capture_payment": answer(200, b'{"paymentGatewayDecision": "ACCEPT"}'),
    "reverse_payment": answer(200, b'{"paymentGatewayDecision": "DECLINE"}'),
    "create_receipt": answer(201, b'{"receiptLinkRef": "rec-1"}'),
    "get_transaction": answer(200),
    "get_configuration": answer(200),
    "update_integration": answer(200),
}


@pytest.mark.parametrize(("operation", "request_"), REPEATABLE, ids=lambda row: str(row)[:0])
@pytest.mark.parametrize("failure", [lost(), answer(500), answer(302), answer(200, b"[]")], ids=str)
async def test_reads_and_integration_updates_are_retried_after_an_unknown_outcome(
    operation: operations.Operation[Any, Any], request_: Any, failure: Act
) -> None:
    look_ups = [answer(500)] if operation is operations.UPDATE_INTEGRATION else []
    made = bench(failure, answer(200), look_ups=look_ups)
    raw = await made.sender.send(operation, request_, options())
    assert [attempt.proof for attempt in raw.attempts] == [Proof.UNKNOWN, Proof.APPLIED]
    assert not made.heard_of(events.OutcomeUnknown)


@pytest.mark.parametrize(
    ("operation", "request_"), POSTS + REPEATABLE, ids=lambda row: getattr(row, "name", "")
)
async def test_a_refusal_is_raised_at_once(
    operation: operations.Operation[Any, Any], request_: Any
) -> None:
    made = bench(answer(404, b'{"message": "no such thing"}'))
    with pytest.raises(NotFoundError, match="no such thing") as caught:
        await made.sender.send(operation, request_, options())
    assert len(made.engine.sent) == 1
    assert caught.value.operation == operation.name
    assert [attempt.proof for attempt in caught.value.attempts] == [Proof.REJECTED]


async def test_a_post_that_is_lost_after_an_attempt_that_was_not_sent_is_unresolved() -> None:
    made = bench(not_sent(), THROTTLED, lost(), look_ups=[answer(500)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    proofs = [attempt.proof for attempt in caught.value.attempts]
    assert proofs == [Proof.NOT_SENT, Proof.THROTTLED, Proof.UNKNOWN]
    assert caught.value.pending.first_attempt.proof is Proof.NOT_SENT


async def test_every_attempt_sends_the_same_bytes() -> None:
    made = bench(not_sent(), THROTTLED, not_sent(), CREATED)
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert len(made.engine.sent) == 4
    assert len({(sent.target, sent.body) for sent in made.engine.sent}) == 1


# How a call ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (not_sent(), ConnectionFailedError),
        (not_sent(timed_out=True), RequestTimeoutError),
        (answer(425), ApiError),
    ],
    ids=str,
)
async def test_a_post_that_was_never_sent_raises_the_error_that_kept_it(
    failure: Act, error: type[Exception]
) -> None:
    made = bench(*[failure] * 4)
    with pytest.raises(error) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert type(caught.value) is error
    assert len(made.engine.sent) == 4


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (lost(timed_out=False), ConnectionFailedError),
        (lost(), RequestTimeoutError),
        (answer(503), ServerError),
        (answer(302), ApiError),
        (answer(408), ApiError),
        (answer(200, b"<html>"), ResponseDecodeError),
    ],
    ids=str,
)
async def test_a_read_raises_its_last_attempts_error(failure: Act, error: type[Exception]) -> None:
    made = bench(*[failure] * 4)
    with pytest.raises(error) as caught:
        await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    assert type(caught.value) is error
    assert len(made.engine.sent) == 4


async def test_a_transport_error_names_its_cause_and_shows_none_of_its_words() -> None:
    made = bench(not_sent())
    with pytest.raises(
        ConnectionFailedError, match=r"no response from s\.test:443 \(ConnectError\)"
    ) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=1))
    assert isinstance(caught.value.__cause__, OSError)
    assert "refused" not in str(caught.value)


def tls_error(**fields: str) -> ssl.SSLError:
    """An error of TLS as the ssl module raises it: with fields that only it can set."""
    error = ssl.SSLError(1, "[SSL] (_ssl.c:1)")
    for name, value in fields.items():
        setattr(error, name, value)
    return error


def chained(*links: OSError) -> ExchangeError:
    """A failure to connect, with its causes from the outermost to the innermost."""
    failure: BaseException = not_sent()
    outermost = failure
    for link in links:
        failure.__cause__ = failure = link
    assert isinstance(outermost, ExchangeError)
    return outermost


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([OSError(errno.ECONNREFUSED, "to ('10.0.0.1', 443)")], "connection refused"),
        ([OSError("all failed"), OSError(errno.ECONNREFUSED, "x")], "connection refused"),
        ([OSError(-2, "?"), socket.gaierror(-2, "Name not known")], "name not known"),
        ([tls_error(reason="WRONG_VERSION_NUMBER")], "wrong version number"),
        ([tls_error(reason="X", verify_message="self-signed certificate")], "self-signed certif"),
    ],
    ids=["refused", "all refused", "name", "TLS", "certificate"],
)
async def test_a_failed_connection_is_explained_in_the_systems_words(
    links: list[OSError], words: str
) -> None:
    made = bench(chained(*links))
    with pytest.raises(ConnectionFailedError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=1))
    expected = f"create_payment_link: could not connect to s.test:443: {words}"
    assert str(caught.value).startswith(expected)


# When it goes again ------------------------------------------------------------------------------


async def test_the_back_off_doubles_up_to_its_maximum() -> None:
    made = bench(*[not_sent()] * 7, CREATED)
    await made.sender.send(
        operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=8, initial=0.5, maximum=8.0)
    )
    times = made.engine.times
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == pytest.approx([0.5, 1, 2, 4, 8, 8, 8])
    assert [event.delay for event in made.heard_of(events.RetryScheduled)] == pytest.approx(gaps)


async def test_throttles_use_up_no_attempt_and_wait_as_long_as_asked() -> None:
    made = bench(*[THROTTLED] * 6, CREATED)
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=1))
    assert len(raw.attempts) == 7
    times = made.engine.times
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == pytest.approx([2, 2, 2, 4, 8, 8])


async def test_a_call_spends_at_most_five_minutes_on_throttles() -> None:
    made = bench(*[answer(429, retry_after="50")] * 9)
    with pytest.raises(RateLimitedError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert caught.value.retry_after == 50
    assert made.engine.times[-1] - made.engine.times[0] == pytest.approx(300)


async def test_a_pause_of_more_than_a_minute_is_raised_to_the_caller() -> None:
    made = bench(answer(429, retry_after="61"))
    with pytest.raises(RateLimitedError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert caught.value.retry_after == 61
    assert len(made.engine.sent) == 1


async def test_a_read_waits_as_long_as_a_failing_server_asks() -> None:
    made = bench(answer(503, retry_after="20"), answer(200))
    await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    assert made.engine.times[1] - made.engine.times[0] == pytest.approx(20)


async def test_a_call_holds_no_slot_between_two_attempts() -> None:
    made = bench(answer(503, retry_after="20"), CREATED, answer(200), size=1)

    async def create() -> None:
        await anyio.sleep(1)
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
        assert anyio.current_time() - started == pytest.approx(1)

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(create)
        await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    assert [sent.method for sent in made.engine.sent] == ["GET", "POST", "GET"]


async def test_tenacity_is_not_entered_when_the_first_attempt_settles_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered = []

    class Watched(tenacity.AsyncRetrying):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            entered.append(True)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(tenacity, "AsyncRetrying", Watched)
    made = bench(CREATED, not_sent(), CREATED)
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert not entered
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert entered


# The deadline ------------------------------------------------------------------------------------


async def test_a_deadline_that_cuts_a_post_in_flight_leaves_it_unresolved() -> None:
    made = bench(forever)
    started = anyio.current_time()
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=7))
    assert anyio.current_time() - started == pytest.approx(7)
    (attempt,) = caught.value.attempts
    assert attempt.proof is Proof.UNKNOWN
    assert attempt.elapsed == pytest.approx(7)
    assert len(made.heard_of(events.OutcomeUnknown)) == 1
    cause = caught.value.__cause__
    assert isinstance(cause, RequestTimeoutError)
    assert "within 7 s, and it may have been applied" in str(cause)


async def test_a_deadline_that_cuts_a_read_is_a_timeout() -> None:
    made = bench(answer(503), forever)
    with pytest.raises(RequestTimeoutError, match="within 7 s") as caught:
        await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options(total=7))
    assert isinstance(caught.value.__cause__, ServerError)
    assert len(caught.value.attempts) == 2
    assert not made.heard_of(events.OutcomeUnknown)


async def test_a_deadline_covers_the_pauses_between_attempts() -> None:
    made = bench(*[THROTTLED] * 99)
    started = anyio.current_time()
    with pytest.raises(RequestTimeoutError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=7))
    assert anyio.current_time() - started == pytest.approx(7)
    assert isinstance(caught.value.__cause__, RateLimitedError)
    assert {attempt.proof for attempt in caught.value.attempts} == {Proof.THROTTLED}
    message = "create_payment_link: no result within 7 s, and nothing was applied"
    assert str(caught.value) == message


async def test_a_deadline_covers_the_wait_for_a_connection() -> None:
    made = bench(forever, size=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.sender.send, operations.GET_TRANSACTION, BY_ORDER, options())
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RequestTimeoutError) as caught:
            await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=3))
        tasks.cancel_scope.cancel()
    assert caught.value.attempts == ()
    assert [sent.method for sent in made.engine.sent] == ["GET"]


async def test_an_earlier_attempts_error_is_not_the_cause_of_a_later_unknown_outcome() -> None:
    made = bench(not_sent(), forever)
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=7))
    assert [one.proof for one in caught.value.attempts] == [Proof.NOT_SENT, Proof.UNKNOWN]
    assert isinstance(caught.value.__cause__, RequestTimeoutError)
    assert "it may have been applied" in str(caught.value.__cause__)


async def test_a_deadline_over_look_ups_leaves_the_lost_attempts_own_error_as_the_cause() -> None:
    made = bench(lost(), look_ups=[answer(503)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=7))
    assert str(caught.value.__cause__).startswith(
        "create_payment_link: no response from s.test:443 ("
    )


async def test_a_call_that_ends_in_time_is_not_touched_by_its_deadline() -> None:
    made = bench(CREATED)
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=7))
    assert raw.parsed.payment_link_ref == "ref-1"


# Cancellation ------------------------------------------------------------------------------------


async def test_cancelling_a_post_in_flight_is_prompt_and_emits_the_unknown_outcome() -> None:
    made = bench(forever)
    started = anyio.current_time()
    with anyio.move_on_after(2) as scope:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    assert anyio.current_time() - started == pytest.approx(2)
    (told,) = made.heard_of(events.OutcomeUnknown)
    assert told.pending.identity == "A-1"
    assert told.pending.last_attempt.proof is Proof.UNKNOWN
    (finished,) = made.heard_of(events.CallFinished)
    assert finished.error in {"CancelledError", "Cancelled"}
    assert len(made.engine.sent) == 1


async def test_cancelling_a_post_that_was_certainly_not_sent_leaves_nothing_unresolved() -> None:
    async def connecting() -> WireResponse:
        try:
            await anyio.sleep_forever()
        finally:
            made.engine.guards[-1].may_have_been_sent = False
        raise AssertionError

    made = bench(connecting)
    with anyio.move_on_after(2) as scope:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    assert not made.heard_of(events.OutcomeUnknown)
    (finished,) = made.heard_of(events.AttemptFinished)
    assert finished.attempt.proof is Proof.NOT_SENT


async def test_cancelling_a_post_between_two_attempts_leaves_nothing_unresolved() -> None:
    made = bench(THROTTLED, CREATED)
    with anyio.move_on_after(1) as scope:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    assert len(made.engine.sent) == 1
    assert not made.heard_of(events.OutcomeUnknown)


async def test_cancelling_the_second_attempt_of_a_post_leaves_it_unresolved() -> None:
    made = bench(THROTTLED, forever)
    with anyio.move_on_after(4) as scope:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    (told,) = made.heard_of(events.OutcomeUnknown)
    assert told.pending.first_attempt.proof is Proof.THROTTLED


async def test_cancelling_a_read_leaves_nothing_unresolved() -> None:
    made = bench(forever)
    with anyio.move_on_after(2) as scope:
        await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    assert scope.cancelled_caught
    assert not made.heard_of(events.OutcomeUnknown)


async def test_a_cancelled_call_frees_its_slot() -> None:
    made = bench(forever, CREATED, size=1)
    with anyio.move_on_after(2):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert raw.parsed.payment_link_ref == "ref-1"


# What is told ------------------------------------------------------------------------------------


async def test_the_events_of_a_call_share_its_id_and_come_in_order() -> None:
    made = bench(not_sent(), CREATED, answer(400))
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    with pytest.raises(BadRequestError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    first, second = made.heard[:5], made.heard[5:]
    assert [type(event).__name__ for event in first] == [
        "CallStarted",
        "AttemptFinished",
        "RetryScheduled",
        "AttemptFinished",
        "CallFinished",
    ]
    assert len({event.call_id for event in first}) == 1
    assert {event.call_id for event in first}.isdisjoint(event.call_id for event in second)
    assert [event.number for event in made.heard_of(events.AttemptFinished)] == [1, 2, 1]
    assert [event.error for event in made.heard_of(events.CallFinished)] == [
        None,
        "BadRequestError",
    ]


async def test_without_hooks_only_retries_and_unknown_outcomes_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="chat2pay_async")
    made = bench(not_sent(), lost(), look_ups=[answer(500)], has_hooks=False)
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    levels = [(record.levelname, record.message.partition("(")[0]) for record in caplog.records]
    assert levels == [("INFO", "RetryScheduled"), ("WARNING", "OutcomeUnknown")]


# Closing -----------------------------------------------------------------------------------------


async def test_a_read_is_not_retried_once_its_client_is_closed() -> None:
    made = bench(answer(503))
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(ConfigurationError, match="this client is closed") as caught:
                await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
            assert caught.value.operation == "get_transaction"
            assert len(caught.value.attempts) == 1

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await made.sender.aclose()
    assert len(made.engine.sent) == 1


async def test_an_unresolved_call_stays_unresolved_once_its_client_is_closed() -> None:
    made = bench(lost(), look_ups=[answer(503)])
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def create() -> None:
            with pytest.raises(OutcomeUnknownError):
                await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())

        tasks.start_soon(create)
        await anyio.wait_all_tasks_blocked()
        await made.sender.aclose()
    assert len(made.engine.looked) == 1
    assert anyio.current_time() - started < 2, "it does not look on for three times `settle`"


async def test_events_of_a_call_without_hooks_share_its_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = bench(lost(), lost(), look_ups=[answer(503)], has_hooks=False)
    caplog.set_level(logging.INFO, logger="chat2pay_async")
    for number in (1, 2):
        with pytest.raises(OutcomeUnknownError):
            await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
        assert len(caplog.records) == number
    told: list[Any] = [record.args for record in caplog.records]
    ids = {event.call_id for (event,) in told}
    assert len(ids) == 2
    assert "" not in ids


async def test_a_closed_sender_raises_and_sends_nothing() -> None:
    made = bench(CREATED)
    await made.sender.aclose()
    assert made.engine.closed
    with pytest.raises(ConfigurationError, match="this client is closed"):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert made.engine.sent == []


async def test_a_misused_transport_is_reported_as_it_is_and_nothing_is_unresolved() -> None:
    made = bench(ConfigurationError("the http_client of this client is closed"))
    with pytest.raises(ConfigurationError, match="http_client"):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert not made.heard_of(events.OutcomeUnknown)


# Pauses that others hear of ----------------------------------------------------------------------


async def test_a_throttle_emits_the_pause_of_all_calls() -> None:
    made = bench(THROTTLED, answer(429), CREATED)
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    told = made.heard_of(events.Paused)
    assert [(one.operation, one.seconds) for one in told] == [
        ("create_payment_link", 2.0),
        ("create_payment_link", 1.0),
    ]
    assert {one.call_id for one in told} == {made.heard[0].call_id}


async def test_a_throttled_look_up_emits_a_pause_too() -> None:
    made = bench(lost(), look_ups=[answer(429, retry_after="3"), answer(500)])
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert [one.seconds for one in made.heard_of(events.Paused)] == [3.0]


async def test_a_runs_longer_wait_is_emitted_to_the_same_hooks() -> None:
    made = bench()
    made.sender.emit_paused("create_payment_link", 90.0)
    assert made.heard == [events.Paused("", "create_payment_link", 90.0)]


# One attempt --------------------------------------------------------------------------------------


SHOWN = answer(200, b'{"orderNumber": "A-1", "paymentLinkRef": "ref-9", "currency": "ZAR"}')
ABSENT = answer(
    404,
    b'{"status": "NOT_FOUND", "message": "URL /x",'
    b' "errors": ["There is no such transaction with order number A-1"]}',
)


def creating(*, has_hooks: bool = True, **retry: Any) -> Call[Any, Any]:
    started = anyio.current_time()
    return Call(operations.CREATE_PAYMENT_LINK, LINK, options(**retry), started, has_hooks)


def already_lost(**retry: Any) -> Call[Any, Any]:
    """A call whose first attempt may have been applied, a minute ago."""
    call = creating(**retry)
    call.write_out()
    call.record(Attempt(datetime.now(UTC), 0.0, Proof.UNKNOWN), anyio.current_time() - 60)
    return call


async def attempted(on: Bench, call: Call[Any, Any]) -> Outcome[Any]:
    return await on.sender._attempt(call)


@pytest.mark.parametrize(
    ("act", "proof", "goes_again"),
    [
        (CREATED, Proof.APPLIED, False),
        (not_sent(), Proof.NOT_SENT, True),
        (answer(425), Proof.NOT_SENT, True),
        (THROTTLED, Proof.THROTTLED, True),
        (answer(400), Proof.REJECTED, False),
        (lost(), Proof.UNKNOWN, False),
        (answer(503), Proof.UNKNOWN, False),
        (answer(201), Proof.UNKNOWN, False),
    ],
)
async def test_an_attempts_proof_decides_if_the_next_may_follow_at_once(
    act: Act, proof: Proof, *, goes_again: bool
) -> None:
    call = creating()
    outcome = await attempted(bench(act), call)
    assert [attempt.proof for attempt in call.attempts] == [outcome.parsed.proof] == [proof]
    assert (outcome.delay is not None) is goes_again
    assert call.unresolved is (proof is Proof.UNKNOWN)


async def test_a_cancelled_attempt_is_recorded_with_its_proof() -> None:
    on, call = bench(forever), creating()
    with anyio.move_on_after(3):
        await attempted(on, call)
    (attempt,) = call.attempts
    assert attempt.proof is Proof.UNKNOWN
    assert attempt.elapsed == pytest.approx(3)
    assert call.unresolved
    assert len(on.heard_of(events.AttemptFinished)) == 1


async def test_after_a_lost_attempt_a_post_directly_follows_an_absent_look_up() -> None:
    on, call = bench(CREATED, look_ups=[ABSENT]), already_lost()
    outcome = await attempted(on, call)
    assert outcome.parsed.proof is Proof.APPLIED
    assert len(on.engine.looked) == 1
    (post,) = [one for one in on.engine.guards if one.latest is not None]
    assert post.latest == pytest.approx(on.engine.looked[0] + FRESH)


async def test_after_a_lost_attempt_a_post_is_not_sent_if_a_look_up_shows_any_link() -> None:
    on, call = bench(look_ups=[SHOWN]), already_lost()
    outcome = await attempted(on, call)
    assert on.engine.sent == []
    assert outcome.looked_up
    assert call.unresolved, "the link that is there need not be ours"


async def test_a_read_needs_no_look_up() -> None:
    call = Call(operations.GET_TRANSACTION, BY_ORDER, options(), anyio.current_time())
    on = bench(answer(503), answer(200, b'{"orderNumber": "A-1"}'))
    assert (await attempted(on, call)).delay is not None
    assert (await attempted(on, call)).parsed.proof is Proof.APPLIED
    assert len(on.engine.sent) == 2


async def test_attempt_events_are_emitted_only_to_hooks() -> None:
    on = bench(CREATED)
    await attempted(on, creating(has_hooks=False))
    assert on.heard == []


async def test_a_spent_quota_allows_no_retry() -> None:
    on, call = bench(not_sent(), not_sent()), creating()
    assert (await attempted(on, call)).delay is not None
    while on.sender._quota.spend(Proof.UNKNOWN):
        pass
    assert (await attempted(on, call)).delay is None
