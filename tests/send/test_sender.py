"""The path of a call: attempts, retries, deadline, cancellation, events."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import math
import pickle
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from scripted import (
    BY_ORDER,
    CREATED,
    INTEGRATION,
    LINK,
    REFERENCE,
    THROTTLED,
    WINDOW,
    Act,
    Bench,
    Connecting,
    answer,
    bench,
    forever,
    lost,
    not_sent,
    options,
)
from virtual_time import jump

from chat2pay_async import (
    ApiError,
    Attempt,
    BadRequestError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    OutcomeUnknownError,
    Pending,
    Proof,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
    events,
)
from chat2pay_async import _eventloop as clock
from chat2pay_async._api import operations, requests
from chat2pay_async._api.responses import RawResponse
from chat2pay_async._config import ApiKey
from chat2pay_async._send.limits import Slots
from chat2pay_async._send.reconciliation import FRESH
from chat2pay_async._send.sender import TRIES, Sender
from chat2pay_async._transport.base import ExchangeError, WireResponse

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.virtual_time,
    pytest.mark.usefixtures("full_back_off"),
]

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


async def test_headers_carry_key_agent_and_body_type() -> None:
    made = bench(CREATED, SHOWN)
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    post, get = made.engine.headers
    assert post["Authorization"] == get["Authorization"] == "secret-key"
    assert post["User-Agent"].startswith("chat2pay-async/")
    assert post["Content-Type"] == "application/json"
    assert "Content-Type" not in get


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
    assert made.engine.looked[-1] - made.engine.looked[0] == pytest.approx(WINDOW + 30)
    error = caught.value
    assert error.operation == operation.name
    assert [attempt.proof for attempt in error.attempts] == [Proof.UNKNOWN]
    assert error.pending.operation == operation.name
    assert error.pending.request == made.engine.sent[0]
    assert error.pending.identity in {"A-1", "ref-1"}
    assert error.pending.first_attempt is error.pending.last_attempt is error.attempts[0]
    assert (error.pending.settle, error.pending.read_timeout) == (10, 30)
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


SHOWN = answer(200, b'{"orderNumber": "A-1", "paymentLinkRef": "ref-9", "currency": "ZAR"}')
PROOFS = {
    "create_payment_link": CREATED,
    "cancel_payment_link": answer(
        200, b'{"paymentLinkRef": "ref-1", "transactionStatus": "Payment Link Cancelled"}'
    ),
    "capture_payment": answer(200, b'{"paymentGatewayDecision": "ACCEPT"}'),
    "reverse_payment": answer(200, b'{"paymentGatewayDecision": "DECLINE"}'),
    "create_receipt": answer(201, b'{"receiptLinkRef": "rec-1"}'),
    "get_transaction": SHOWN,
    "get_configuration": answer(200, b'{"environment": "TEST", "integrators": []}'),
    "update_integration": answer(200, b'{"updateTime": "2026-01-01T00:00:00Z"}'),
}


@pytest.mark.parametrize(("operation", "request_"), REPEATABLE, ids=lambda row: str(row)[:0])
@pytest.mark.parametrize("failure", [lost(), answer(500), answer(302), answer(200, b"[]")], ids=str)
async def test_reads_and_integration_updates_are_retried_after_an_unknown_outcome(
    operation: operations.Operation[Any, Any], request_: Any, failure: Act
) -> None:
    look_ups = [answer(500)] if operation is operations.UPDATE_INTEGRATION else []
    made = bench(failure, PROOFS[operation.name], look_ups=look_ups)
    raw = await made.sender.send(operation, request_, options())
    assert [attempt.proof for attempt in raw.attempts] == [Proof.UNKNOWN, Proof.APPLIED]
    assert not made.heard_of(events.OutcomeUnknown)


@pytest.mark.parametrize(
    ("operation", "request_"), POSTS + REPEATABLE, ids=lambda row: getattr(row, "name", "")
)
async def test_a_refusal_is_raised_at_once(
    operation: operations.Operation[Any, Any], request_: Any
) -> None:
    made = bench(answer(404, b'{"status": 404, "message": "no such thing"}'))
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
    pending = caught.value.pending
    assert pending.first_attempt is pending.last_attempt is caught.value.attempts[-1]


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
        (answer(200, b"<html>"), ResponseDecodeError),
        (answer(200, b'{"orderNumber": "A-2"}'), ResponseDecodeError),
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


NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_ANSWER_YET = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize(
    ("cause", "attempts"), [(NO_SUCH_NAME, 1), (NO_ANSWER_YET, 4)], ids=["unknown", "temporary"]
)
async def test_what_stays_is_not_repeated(cause: OSError, attempts: int) -> None:
    calls: list[tuple[operations.Operation[Any, Any], Any]] = [
        (operations.CREATE_PAYMENT_LINK, LINK),
        (operations.GET_TRANSACTION, BY_ORDER),
        (operations.UPDATE_INTEGRATION, INTEGRATION),
    ]
    for operation, request in calls:
        made = bench(*[chained(cause)] * 4)
        with pytest.raises(ConnectionFailedError) as caught:
            await made.sender.send(operation, request, options())
        assert len(caught.value.attempts) == len(made.engine.sent) == attempts
        assert str(cause.strerror).lower() in str(caught.value)


async def test_what_stays_is_looked_up_where_it_may_have_been_applied() -> None:
    failure = lost(timed_out=False)
    failure.__cause__ = tls_error(reason="TLSV13_ALERT_CERTIFICATE_REQUIRED")
    made = bench(failure, look_ups=[ABSENT])
    with pytest.raises(ConnectionFailedError, match="demands a client certificate") as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert [attempt.proof for attempt in caught.value.attempts] == [Proof.UNKNOWN]
    assert len(made.heard_of(events.LookedUp)) > 0


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


async def test_a_deadline_alone_ends_the_wait_for_a_service_that_throttles() -> None:
    made = bench(*[answer(429, retry_after="50")] * 99)
    with pytest.raises(RequestTimeoutError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=400))
    assert made.engine.times[-1] - made.engine.times[0] == pytest.approx(350)


async def test_a_pause_of_more_than_a_minute_is_raised_to_the_caller() -> None:
    made = bench(answer(429, retry_after="61"))
    with pytest.raises(RateLimitedError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert caught.value.retry_after == 61
    assert len(made.engine.sent) == 1


async def test_a_read_waits_as_long_as_a_failing_server_asks() -> None:
    made = bench(answer(503, retry_after="20"), SHOWN)
    await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    assert made.engine.times[1] - made.engine.times[0] == pytest.approx(20)


async def test_a_call_holds_no_slot_between_two_attempts() -> None:
    made = bench(answer(503, retry_after="20"), CREATED, SHOWN, size=1)

    async def create() -> None:
        await anyio.sleep(1)
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
        assert anyio.current_time() - started == pytest.approx(1)

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(create)
        await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    assert [sent.method for sent in made.engine.sent] == ["GET", "POST", "GET"]


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
    assert str(caught.value).startswith(
        "create_payment_link: no result within 7 s; it may have been applied; do not send it again"
    )
    assert made.sender.unsettled == (), "its error tells its caller"


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


async def test_a_deadline_over_look_ups_has_the_lost_attempts_own_error_as_its_cause() -> None:
    made = bench(lost(), look_ups=[answer(503)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=7))
    deadline = caught.value.__cause__
    assert isinstance(deadline, RequestTimeoutError)
    assert str(caught.value).startswith(f"{deadline.__cause__}; it may have been applied; do not ")
    assert str(deadline.__cause__).endswith(
        "no response from s.test:443: no complete response in time (ReadTimeout)"
    )


@pytest.mark.parametrize(
    ("operation", "request_"),
    [(operations.GET_TRANSACTION, BY_ORDER), (operations.CREATE_PAYMENT_LINK, LINK)],
    ids=["read", "post"],
)
async def test_a_deadline_that_passes_before_the_first_byte_sends_nothing(
    operation: operations.Operation[Any, Any], request_: Any
) -> None:
    made = bench(Connecting(9, CREATED))
    with pytest.raises(RequestTimeoutError) as caught:
        await made.sender.send(operation, request_, options(total=7))
    assert made.engine.sent == []
    assert [attempt.proof for attempt in caught.value.attempts] == [Proof.NOT_SENT]
    assert not made.heard_of(events.OutcomeUnknown)


async def test_a_deadline_that_passes_where_nothing_awaits_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = bench(CREATED)
    log = Log([])
    now = clock.now
    # Another task, or a hook, blocks the loop right before the first byte: no timer has its turn.
    monkeypatch.setattr(clock, "now", lambda: now() + (8 if log.told else 0))
    with pytest.raises((RequestTimeoutError, ConnectionFailedError)):
        await made.sender.send(
            operations.CREATE_PAYMENT_LINK, LINK, options(total=7, max_attempts=1), log
        )
    (guard,) = made.engine.guards
    assert guard.was_too_late
    assert made.engine.sent == []
    assert not made.heard_of(events.OutcomeUnknown)


async def test_a_deadline_holds_for_a_repeated_post_whose_verdict_is_fresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = bench(lost(), *[CREATED] * TRIES, look_ups=[ABSENT])
    now, engine = clock.now, made.engine

    def is_blocked() -> bool:
        """Tell whether a POST is about to leave that follows a look-up."""
        return bool(engine.looked) and engine.guards[-1].latest < math.inf

    # 0.5 s are left of the call then, and 1 s of the verdict.
    monkeypatch.setattr(clock, "now", lambda: now() + (0.7 if is_blocked() else 0))
    with pytest.raises((RequestTimeoutError, ConnectionFailedError)):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=WINDOW + 1))
    assert len(engine.sent) == 1
    assert any(guard.was_too_late for guard in engine.guards)
    assert not made.heard_of(events.OutcomeUnknown)


async def test_a_call_that_ends_in_time_is_not_touched_by_its_deadline() -> None:
    made = bench(CREATED)
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(total=7))
    assert raw.parsed.payment_link_ref == "ref-1"


# Cancellation ------------------------------------------------------------------------------------


async def test_cancelling_a_post_in_flight_is_prompt_and_keeps_it_unsettled() -> None:
    made = bench(forever)
    started = anyio.current_time()
    with anyio.move_on_after(2) as scope:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    assert anyio.current_time() - started == pytest.approx(2)
    (told,) = made.heard_of(events.OutcomeUnknown)
    assert told.pending.identity == "A-1"
    assert told.pending.last_attempt.proof is Proof.UNKNOWN
    assert made.sender.unsettled == (told.pending,)
    (finished,) = made.heard_of(events.CallFinished)
    assert finished.error in {"CancelledError", "Cancelled"}
    assert len(made.engine.sent) == 1


async def test_only_the_latest_cancelled_calls_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Sender.MOST_UNSETTLED == 1_000
    monkeypatch.setattr(Sender, "MOST_UNSETTLED", 3)
    made = bench(*[forever] * 5)
    for number in range(5):
        request = attrs.evolve(LINK, order_number=f"A-{number}")
        with anyio.move_on_after(2):
            await made.sender.send(operations.CREATE_PAYMENT_LINK, request, options())
    assert [one.identity for one in made.sender.unsettled] == ["A-2", "A-3", "A-4"]


class Log:
    """A row of a journal that keeps what it is told, in order, with what the hooks are told."""

    def __init__(self, told: list[Any], *, seconds: float = 0.0) -> None:
        self.told = told
        self.seconds = seconds

    async def record_intent(self, pending: Pending) -> None:
        if self.seconds:  # else nothing awaits: a cancellation does not arrive here
            await anyio.sleep(self.seconds)
        self.told.append(("intent", pending))

    def record_attempt(self, attempt: Attempt, response: WireResponse | None) -> None:
        del response
        self.told.append(("attempt", attempt))

    async def others(self, _pending: Pending) -> list[tuple[str, Any]]:
        return []

    def record_pending(self, pending: Pending) -> None:
        self.told.append(("pending", pending))


async def test_a_cancelled_call_is_in_its_journal_before_any_hook_hears_of_it() -> None:
    made = bench(forever)
    log = Log(made.heard)
    with anyio.move_on_after(2):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(), log)
    assert made.sender.unsettled == ()
    kinds = [one[0] if isinstance(one, tuple) else type(one).__name__ for one in log.told]
    assert kinds == [
        "CallStarted",
        "intent",
        "AttemptStarted",
        "attempt",
        "AttemptFinished",
        "pending",
        "OutcomeUnknown",
        "CallFinished",
    ]


@pytest.mark.parametrize(("operation", "request_"), POSTS, ids=lambda row: getattr(row, "name", ""))
async def test_a_scope_that_was_cancelled_before_sends_nothing_and_writes_no_intent(
    operation: operations.Operation[Any, Any], request_: Any
) -> None:
    made = bench(CREATED)
    log = Log(made.heard)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await made.sender.send(operation, request_, options(), log)
    assert scope.cancelled_caught
    with anyio.move_on_after(0):
        await made.sender.send(operation, request_, options(), log)
    assert made.engine.guards == []
    assert made.sender.unsettled == ()
    assert {type(one).__name__ for one in log.told} == {"CallStarted", "CallFinished"}


async def test_cancelling_a_post_that_was_certainly_not_sent_leaves_nothing_unresolved() -> None:
    made = bench(Connecting(5, CREATED))
    with anyio.move_on_after(2) as scope:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    assert not made.heard_of(events.OutcomeUnknown)
    assert made.sender.unsettled == ()
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
    assert told.pending.first_attempt.proof is Proof.UNKNOWN
    assert made.sender.unsettled == (told.pending,)


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
    made = bench(not_sent(), CREATED, answer(400, b'{"errors": []}'))
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    with pytest.raises(BadRequestError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    first, second = made.heard[:7], made.heard[7:]
    assert [type(event).__name__ for event in first] == [
        "CallStarted",
        "AttemptStarted",
        "AttemptFinished",
        "RetryScheduled",
        "AttemptStarted",
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


async def test_a_post_that_waits_for_a_slot_is_not_written_down_once_its_client_is_closed() -> None:
    made, told = bench(forever, size=1), list[Any]()
    create, log = operations.CREATE_PAYMENT_LINK, Log(told)

    async def wait() -> None:
        with pytest.raises(ConfigurationError, match="this client is closed"):
            await made.sender.send(create, LINK, options(), log)

    async with anyio.create_task_group() as tasks:
        first = anyio.CancelScope()

        async def hold() -> None:
            with first:
                await made.sender.send(create, LINK, options())

        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await made.sender.aclose()
        first.cancel()
    assert told == [], "a row of the journal that the next run would have to look up"


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


# The order of an attempt --------------------------------------------------------------------------

ABSENT = answer(
    404,
    b'{"status": "NOT_FOUND", "message": "URL /x",'
    b' "errors": ["There is no such transaction with order number A-1"]}',
)


async def test_an_attempt_waits_for_slot_rate_journal_and_a_fresh_look_up_in_this_order() -> None:
    """Each of these may take long, and a verdict goes stale in a second."""
    told: list[Any] = []

    class Limiter:
        async def acquire(self) -> None:
            told.append("rate")
            await anyio.sleep(5)

        def throttled(self, retry_after: float | None) -> None: ...

    class Named(Slots):
        def take(self, *, priority: bool = False) -> bool:
            told.append("slot")
            jump(5)
            return super().take(priority=priority)

    made = bench(lost(), CREATED, look_ups=[ABSENT], slots=Named(10), limiter=Limiter())
    log = Log(told, seconds=5)
    started = anyio.current_time()
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(), log)
    kinds = [one[0] if isinstance(one, tuple) else one for one in told]
    first = ["slot", "rate", "intent", "attempt"]
    second = ["slot", "rate", "intent", "rate", "attempt"]  # a look-up is a request as well
    assert kinds[:4] == first
    assert kinds[-5:] == second
    looked, posted = made.engine.looked[-1], made.engine.times[-1]
    assert posted == looked, "nothing comes between"
    assert posted - started > WINDOW


@pytest.mark.parametrize(("seconds", "looks"), [(0.9, 1), (1.1, 2)])
async def test_a_verdict_that_is_a_second_old_at_the_first_byte_is_made_again(
    seconds: float, looks: int
) -> None:
    made = bench(lost(), Connecting(seconds, CREATED), CREATED, look_ups=[ABSENT])
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    absent = [at for at in made.engine.looked if at > made.engine.times[0] + WINDOW]
    assert len(absent) == looks
    assert made.engine.times[-1] - absent[-1] <= FRESH
    assert len(made.engine.sent) == 2
    assert [attempt.proof for attempt in raw.attempts] == [Proof.UNKNOWN, Proof.APPLIED]


async def test_a_hook_that_takes_long_makes_no_verdict_fresh() -> None:
    made = bench(lost(), CREATED, CREATED, look_ups=[ABSENT])
    answered: list[float] = []

    def slow(event: Any) -> None:
        if isinstance(event, events.LookedUp):
            answered.append(anyio.current_time())
            # One that ends the window, and then the one that the POST is to follow.
            if sum(at >= made.engine.times[0] + WINDOW for at in answered) == 2:
                jump(20.0)

    made.sender.hooks = events.Hooks([slow])
    made.sender._reconciler._hooks = made.sender.hooks
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert answered[-1] - answered[-2] == pytest.approx(20.0)
    assert made.engine.times[-1] - answered[-1] <= FRESH
    assert len(made.engine.sent) == 2


async def test_a_post_that_follows_its_look_up_leaves_by_the_same_connection() -> None:
    made = bench(lost(), CREATED, look_ups=[ABSENT])
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    first, *looks, direct, again = made.engine.guards
    assert again.lease is direct.lease is not None
    assert (direct.is_held, again.is_held) == (True, False)
    assert all(guard.lease is None for guard in looks), "these hold no slot, and no connection"
    assert first.lease is not again.lease


async def test_a_connection_that_no_post_follows_on_is_closed() -> None:
    async def close() -> None:
        await anyio.lowlevel.checkpoint()
        closed.append(made.engine.guards[-1].lease)

    async def absent() -> WireResponse:
        lease = made.engine.guards[-1].lease
        if lease is not None:
            lease.hold("a connection", close)
            sent = made.engine.sent[0].body or b"{}"
            stamp = json.dumps(json.loads(sent)["additionalData"])
            body = {"orderNumber": "A-1", "paymentLinkRef": "ref-1", "additionalData": stamp}
            return answer(200, json.dumps(body).encode())
        return ABSENT

    closed: list[Any] = []
    made = bench(lost(), look_ups=[absent])
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert raw.recovered
    assert closed == [made.engine.guards[-1].lease]


async def test_a_verdict_is_as_old_as_its_answer_not_as_its_question() -> None:
    async def slow() -> WireResponse:
        await anyio.sleep(20)
        return ABSENT

    made = bench(lost(), Connecting(0.9, CREATED), look_ups=[slow])
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert made.engine.times[-1] - made.engine.looked[-1] == pytest.approx(20.9)


async def test_what_was_too_late_and_may_have_gone_another_way_is_an_attempt_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A transport of the user's may do so, where one of its ways is too late."""
    made = bench(lost(), CREATED, look_ups=[ABSENT])
    exchange, other_way = made.engine.exchange, list[float]()

    async def over_two(request: Any, headers: Any, limits: Any, guard: Any, **kind: Any) -> Any:
        if request.method == "POST" and made.engine.sent and not other_way:
            guard.was_too_late = True
            other_way.append(anyio.current_time())
            raise lost()
        return await exchange(request, headers, limits, guard, **kind)

    monkeypatch.setattr(type(made.engine), "exchange", staticmethod(over_two))
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert [one.proof for one in raw.attempts] == [Proof.UNKNOWN, Proof.UNKNOWN, Proof.APPLIED]
    assert made.engine.times[-1] - other_way[0] >= WINDOW, "it has a window of its own"


async def test_an_attempt_whose_verdicts_are_all_too_old_was_not_sent() -> None:
    late = [Connecting(1.1, CREATED)] * TRIES
    made = bench(lost(), *late, look_ups=[ABSENT])
    with pytest.raises(ConnectionFailedError, match="TooLate") as caught:
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=2))
    assert len(made.engine.sent) == 1
    assert [one.proof for one in caught.value.attempts] == [Proof.UNKNOWN, Proof.NOT_SENT]


@pytest.mark.parametrize(
    "act", [not_sent(), THROTTLED, answer(425)], ids=["not sent", "429", "425"]
)
async def test_every_post_after_an_unknown_outcome_directly_follows_an_absent_look_up(
    act: Act,
) -> None:
    made = bench(lost(), act, act, CREATED, look_ups=[ABSENT])
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert len(raw.attempts) == 4
    assert set(made.engine.times[1:]) <= set(made.engine.looked)


async def test_a_first_post_and_a_read_need_no_look_up() -> None:
    made = bench(not_sent(), THROTTLED, CREATED, look_ups=[ABSENT])
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert made.engine.looked == []


async def test_an_intent_has_the_services_time_when_its_first_post_leaves() -> None:
    dated = answer(404, ABSENT.body, date="Thu, 01 Jan 2026 12:00:00 GMT")
    made, log = bench(CREATED, CREATED, look_ups=[dated]), Log([])
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(), log)
    with pytest.raises(NotFoundError):
        await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    await anyio.sleep(90)
    other = attrs.evolve(LINK, order_number="A-2")
    made.engine.script = [lost(), answer(201, b'{"paymentLinkRef": "ref-2"}')]
    nowhere = ABSENT.body.replace(b"A-1", b"A-2")
    made.engine.look_ups = [answer(404, nowhere, date="Thu, 01 Jan 2026 18:00:00 GMT")]
    await made.sender.send(operations.CREATE_PAYMENT_LINK, other, options(), log)
    times = [one.service_time for kind, one in log.told if kind == "intent"]
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert times == [None, *[noon + timedelta(seconds=90)] * 2], "later ones keep the first"


# What is answered to another ----------------------------------------------------------------------


async def test_a_copy_of_another_calls_response_proves_nothing() -> None:
    second = attrs.evolve(LINK, order_number="A-2")
    absent = answer(404, ABSENT.body.replace(b"A-1", b"A-2"))
    made = bench(CREATED, CREATED, answer(201, b'{"paymentLinkRef": "ref-2"}'), look_ups=[absent])
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    raw = await made.sender.send(operations.CREATE_PAYMENT_LINK, second, options())
    assert raw.parsed.payment_link_ref == "ref-2"
    assert [one.proof for one in raw.attempts] == [Proof.UNKNOWN, Proof.APPLIED]
    assert len(made.engine.looked) > 1


async def test_another_links_object_is_asked_for_again() -> None:
    made = bench(answer(200, b'{"orderNumber": "A-2", "paymentLinkRef": "ref-2"}'), SHOWN)
    raw = await made.sender.send(operations.GET_TRANSACTION, BY_ORDER, options())
    assert raw.parsed.order_number == "A-1"


# The quota ----------------------------------------------------------------------------------------


def tokens(made: Bench) -> int:
    return made.sender._quota._tokens


def spend_all(made: Bench) -> None:
    while made.sender._quota.spend():
        pass


async def test_the_quota_runs_out_and_fills_again_with_success() -> None:
    links = [answer(201, b'{"paymentLinkRef": "ref-%d"}' % number) for number in range(21)]
    made = bench(*[not_sent()] * 71, *links[1:], not_sent(), links[0])
    for attempts in [2] * 35 + [1]:
        with pytest.raises(ConnectionFailedError) as caught:
            await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=2))
        assert len(caught.value.attempts) == attempts
    for attempts in [1] * 20 + [2]:
        raw = await made.sender.send(
            operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=2, stamp=False)
        )
        assert len(raw.attempts) == attempts


async def test_a_throttle_costs_nothing_and_needs_no_quota() -> None:
    made = bench(*[THROTTLED] * 8, CREATED)
    spend_all(made)
    left = tokens(made)
    await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert tokens(made) == left + 1, "a success that spent nothing gives one"


@pytest.mark.parametrize("end", ["applied", "deadline", "cancelled", "unknown", "closed"])
async def test_what_a_call_spent_is_given_back_unless_its_last_attempt_failed(end: str) -> None:
    acts: dict[str, Act] = {"applied": CREATED, "unknown": lost()}
    made = bench(not_sent(), not_sent(), acts.get(end, forever), look_ups=[answer(500)])
    total = 7 if end == "deadline" else None
    send = made.sender.send
    with anyio.move_on_after(9 if end == "cancelled" else 900):
        try:
            if end == "closed":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(close_soon, made)
                    with pytest.raises(ConfigurationError):
                        await send(operations.CREATE_PAYMENT_LINK, LINK, options())
            else:
                await send(operations.CREATE_PAYMENT_LINK, LINK, options(total=total))
        except OutcomeUnknownError:
            assert end in {"deadline", "unknown"}
    assert tokens(made) == 500

    made = bench(not_sent(), not_sent(), not_sent())
    with pytest.raises(ConnectionFailedError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=3))
    assert tokens(made) == 500 - 2 * 14


async def close_soon(made: Bench) -> None:
    await anyio.sleep(1)
    await made.sender.aclose()


async def test_look_ups_cost_no_quota() -> None:
    made = bench(lost(), look_ups=[answer(500)])
    with pytest.raises(OutcomeUnknownError):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options(max_attempts=1))
    assert tokens(made) == 500
    made = bench(lost(), PROOFS["update_integration"], look_ups=[answer(500)])
    await made.sender.send(operations.UPDATE_INTEGRATION, INTEGRATION, options())
    assert tokens(made) == 500


async def test_a_resend_that_the_quota_refuses_ends_as_the_attempt_did() -> None:
    made = bench(lost(), look_ups=[ABSENT])
    spend_all(made)
    with pytest.raises(RequestTimeoutError, match="no response from"):
        await made.sender.send(operations.CREATE_PAYMENT_LINK, LINK, options())
    assert len(made.engine.sent) == 1
    assert not made.heard_of(events.OutcomeUnknown)
