"""Items, to their outcomes: over a scripted transport, a real journal, and virtual time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import msgspec
import pytest
from scripted import (
    BY_ORDER,
    CREATED,
    LINK,
    REFERENCE,
    THROTTLED,
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
from shop import Shop, copy_journal, rows_in, shop

from chat2pay_async import (
    AuthenticationError,
    BadRequestError,
    Chat2PayError,
    ConfigurationError,
    ConnectionFailedError,
    IdempotencyConflictError,
    JournalError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentLinkRequest,
    RateLimitedError,
    ReceiptNotSentError,
    RequestTimeoutError,
    RequestValidationError,
    RunStoppedError,
    TransactionStatus,
    Verdict,
    events,
)
from chat2pay_async._api import operations, requests
from chat2pay_async._bulk import store
from chat2pay_async._bulk.known import Item
from chat2pay_async._bulk.outcomes import State
from chat2pay_async._journal.database import Database
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import RowState
from chat2pay_async._send.stored import end_of
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Attempt, Fault, Proof

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.virtual_time,
    pytest.mark.usefixtures("full_back_off"),
]

CREATE = operations.CREATE_PAYMENT_LINK
CAPTURE = requests.Capture(payment_link_ref="ref-1")
RECEIPT = requests.ReceiptRequest(payment_link_ref="ref-1", receipt_link="https://r.example")
READ, SETTLE = 30.0, 10.0
"""Seconds that `Timeout` and `RetryPolicy` have by default."""
WITH_URL = answer(201, b'{"paymentLinkRef": "ref-1", "paymentLink": "https://pay.test/1"}')
WRONG_KEY = answer(401, b'{"status": 401, "errors": ["no such key"]}')
REFUSED = answer(400, b'{"message": "no such currency", "errors": ["currency"]}')
NOWHERE = answer(
    404,
    b'{"status": "NOT_FOUND", "message": "URL /x",'
    b' "errors": ["There is no such transaction with order number A-1"]}',
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spring.db"


rows_of = rows_in


def row_of(path: Path) -> Any:
    (row,) = rows_of(path)
    return row


def history_of(path: Path) -> list[tuple[str, int | None]]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.execute("SELECT what, status FROM history ORDER BY at, id"))


@contextmanager
def editing(path: Path) -> Iterator[sqlite3.Connection]:
    """Change a journal by hand."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def crash_at(path: Path, act: Act, *left: Path) -> Act:
    """Copy the files as a crash right before an act leaves them, and perform the act."""
    places = list(left)

    async def performed() -> WireResponse:
        await anyio.lowlevel.checkpoint()
        copy(path, places.pop(0))
        if isinstance(act, Exception):
            raise act
        assert not isinstance(act, Connecting)
        return act if isinstance(act, WireResponse) else await act()

    return performed


copy = copy_journal


async def crashed(
    path: Path,
    tmp_path: Path,
    request: Any = LINK,
    operation: operations.Operation[Any, Any] = CREATE,
    **retry: Any,
) -> tuple[Path, Bench]:
    """Make the journal of a crash while the item's POST was in progress."""
    left = tmp_path / "left.db"
    made = bench(crash_at(path, answer(400), left))
    with shop(made, path, operation, **retry) as first:
        await first.finish(request)
    return left, made


def now(ahead: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()


def shown(sent: Bench | None = None, **fields: Any) -> WireResponse:
    """Make a status response about `A-1`, which is `ref-1`; with the stamp that was sent."""
    entry = {"transactionStatusName": "PAYMENT_LINK_SENT", "created": now()}
    body: dict[str, Any] = {
        "orderNumber": "A-1",
        "paymentLinkRef": "ref-1",
        "transactionStatuses": [entry],
    }
    if sent is not None:
        reported = json.loads(sent.engine.sent[-1].body or b"{}")
        body["additionalData"] = json.dumps(reported["additionalData"])
    date = format_datetime(datetime.now(UTC), usegmt=True)
    return answer(200, json.dumps(body | fields).encode(), date=date)


def payments(*entries: dict[str, Any], **fields: Any) -> WireResponse:
    return shown(currency="ZAR", paymentStatuses=list(entries), **fields)


AUTHORIZED = {
    "transactionType": "AUTHORIZATION",
    "totalAmount": "100.00",
    "paymentGatewayDecision": "ACCEPT",
}


def captured(decision: str = "ACCEPT") -> dict[str, Any]:
    return {
        "transactionType": "CAPTURE",
        "totalAmount": "100.00",
        "paymentGatewayDecision": decision,
        "paymentGatewayResponseTimestamp": now(),
    }


# Outcomes -----------------------------------------------------------------------------------------


async def test_an_applied_item_has_the_result_and_the_attempts_of_its_call() -> None:
    with shop(bench(CREATED)) as one:
        outcome = await one.finish()
    assert (outcome.key, outcome.request, outcome.state) == ("A-1", LINK, State.APPLIED)
    assert outcome.result.payment_link_ref == "ref-1"
    assert outcome.error is None
    assert [attempt.status_code for attempt in outcome.attempts] == [201]


@pytest.mark.parametrize(
    ("script", "look_ups", "state", "kind"),
    [
        ([REFUSED], [], State.REJECTED, BadRequestError),
        ([WRONG_KEY], [], State.FAILED, AuthenticationError),
        ([not_sent()] * 4, [], State.FAILED, ConnectionFailedError),
        ([lost()] * 4, [NOWHERE], State.FAILED, RequestTimeoutError),
        ([THROTTLED] * 200, [], State.FAILED, RateLimitedError),
        ([answer(429, retry_after="60")] * 200, [], State.FAILED, RateLimitedError),
        ([lost()], [answer(500)], State.UNKNOWN, OutcomeUnknownError),
    ],
)
async def test_an_item_that_is_not_applied_has_its_error(
    script: list[Act], look_ups: list[Act], state: State, kind: type[Chat2PayError], path: Path
) -> None:
    with shop(bench(*script, look_ups=look_ups), path) as one:
        outcome = await one.finish()
    assert outcome.state is state
    assert type(outcome.error) is kind
    assert outcome.result is None
    assert outcome.attempts == outcome.error.attempts != ()
    assert row_of(path).state == state.value


@pytest.mark.parametrize(
    ("decision", "state"),
    [("ACCEPT", State.APPLIED), ("DECLINE", State.REJECTED), ("REVIEW", State.UNKNOWN)],
)
async def test_a_gateways_decision_sets_the_state(decision: str, state: State, path: Path) -> None:
    body = json.dumps({"transactionType": "CAPTURE", "paymentGatewayDecision": decision})
    with shop(bench(answer(200, body.encode())), path, operations.CAPTURE_PAYMENT) as one:
        outcome = await one.finish(CAPTURE)
    assert outcome.state is state
    assert outcome.result.payment_gateway_decision == decision
    assert outcome.declined is (decision == "DECLINE")
    assert outcome.error is None
    assert row_of(path).state == state.value


async def test_a_receipt_whose_message_failed_is_applied_and_not_delivered(path: Path) -> None:
    body = b'{"receiptLinkRef": "rec-1", "error": {"code": 7}}'
    with shop(bench(answer(400, body)), path, operations.CREATE_RECEIPT) as one:
        outcome = await one.finish(RECEIPT)
    assert (outcome.state, outcome.delivered) == (State.APPLIED, False)
    assert outcome.result.receipt_link_ref == "rec-1"
    assert isinstance(outcome.error, ReceiptNotSentError)
    assert row_of(path).state == "applied"
    with shop(bench(), path, operations.CREATE_RECEIPT) as one:
        again = await one.finish(RECEIPT)
    assert (again.state, again.delivered) == (State.SKIPPED, False)
    assert again.result.receipt_link_ref == again.error.receipt.receipt_link_ref == "rec-1"
    assert again.error.operation == "create_receipt"


async def test_a_link_whose_message_failed_is_applied_and_not_delivered() -> None:
    body = b'{"paymentLinkRef": "ref-1", "transactionStatus": "PAYMENT_LINK_SENT_FAILED"}'
    with shop(bench(answer(201, body))) as one:
        outcome = await one.finish()
    assert (outcome.state, outcome.delivered) == (State.APPLIED, False)
    assert len(one.made.engine.sent) == 1


# The journal --------------------------------------------------------------------------------------


async def test_a_post_is_in_the_journal_to_the_byte_before_it_is_sent(
    path: Path, tmp_path: Path
) -> None:
    left = tmp_path / "left.db"
    made = bench(crash_at(path, CREATED, left))
    before = datetime.now(UTC).timestamp()
    with shop(made, path) as one:
        await one.finish()
    row = row_of(left)
    assert (row.key, row.state, row.posts) == ("A-1", "sent", 1)
    assert row.sent == made.engine.sent[0]
    assert row.request_id is not None
    assert row.request_id in str(made.engine.sent[0].body)
    assert before <= row.first_at == row.last_at <= datetime.now(UTC).timestamp()
    assert row.detail is None


async def test_a_repeated_post_is_in_the_journal_with_the_responses_before_it(
    path: Path, tmp_path: Path
) -> None:
    first, second, third = (tmp_path / f"left-{number}.db" for number in range(3))
    made = bench(
        crash_at(path, not_sent(), first),
        crash_at(path, THROTTLED, second),
        crash_at(path, CREATED, third),
    )
    with shop(made, path) as one:
        await one.finish()
    assert [row_of(left).posts for left in (first, second, third)] == [1, 2, 3]
    assert [row_of(left).state for left in (first, second, third)] == ["sent"] * 3
    post = ("request", None)
    assert history_of(first) == []
    assert history_of(second) == [post]
    assert history_of(third) == [post, post, ("response", 429)]
    # What was certainly not sent is no part of what a look-up has to find.
    assert row_of(third).first_at == row_of(third).last_at >= row_of(second).last_at
    assert len({sent.body for sent in made.engine.sent}) == 1


async def test_an_outcome_is_returned_once_it_is_on_the_disk(path: Path, tmp_path: Path) -> None:
    left = tmp_path / "left.db"
    with shop(bench(WITH_URL), path) as one:
        await one.finish()
        copy(path, left)
    row = row_of(left)
    assert (row.state, row.response) == ("applied", WITH_URL.body)


async def test_an_outcome_that_can_not_be_written_leaves_the_row_unresolved(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop(bench(CREATED), path) as one:

        def full(*_notes: Any) -> None:
            raise JournalError("full")

        async def created() -> WireResponse:
            await anyio.lowlevel.checkpoint()
            monkeypatch.setattr(Database, "record_ends", full)
            return CREATED

        one.made.engine.script[:] = [created]
        item = one.items.new(LINK)
        await one.items.look_up([item])
        with pytest.raises(JournalError, match="full"):
            await one.items.finish(item)
        assert one.items.stopped(item).state is State.APPLIED
    assert row_of(path).state == "sent"


async def test_a_post_that_can_not_be_written_is_not_sent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_notes: Any) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(Database, "record_intents", full)
    with shop(bench(CREATED), path) as one:
        item = one.items.new(LINK)
        await one.items.look_up([item])
        with pytest.raises(JournalError, match="the disk is full"):
            await one.items.finish(item)
        assert one.items.stopped(item).state is State.FAILED
        await one.items.release([item])
    assert one.made.engine.sent == []
    assert rows_of(path) == []


@pytest.mark.parametrize("unresolved", [True, False])
async def test_a_closed_client_raises_and_leaves_the_row_unresolved(
    path: Path, tmp_path: Path, *, unresolved: bool
) -> None:
    left, _ = await crashed(path, tmp_path)
    with shop(bench(), left if unresolved else None) as one:
        await one.made.sender.aclose()
        with pytest.raises(ConfigurationError, match="closed"):
            await (one.resume_row() if unresolved else one.finish())
    assert row_of(left).state == "sent"


async def test_an_item_has_its_outcome_without_a_journal() -> None:
    with shop(bench(not_sent(), CREATED)) as one:
        outcome = await one.finish()
    assert (outcome.state, len(outcome.attempts)) == (State.APPLIED, 2)


# Long throttles -----------------------------------------------------------------------------------


async def test_a_long_throttle_is_emitted_and_waited_out_and_the_same_bytes_are_sent(
    path: Path,
) -> None:
    made = bench(answer(429, retry_after="90"), CREATED)
    started = anyio.current_time()
    with shop(made, path) as one:
        outcome = await one.finish()
    assert outcome.state is State.APPLIED
    assert made.engine.times[1] - started == pytest.approx(90, abs=1)
    assert made.engine.sent[0] == made.engine.sent[1]
    assert made.heard_of(events.Paused)[-1] == events.Paused("", "create_payment_link", 90.0)
    assert row_of(path).posts == 2
    assert ("response", 429) in history_of(path)


async def test_every_long_throttle_is_waited_out() -> None:
    made = bench(*[answer(429, retry_after="3600")] * 5, CREATED)
    started = anyio.current_time()
    with shop(made) as one:
        outcome = await one.finish()
    assert outcome.state is State.APPLIED
    assert anyio.current_time() - started == pytest.approx(5 * 3600, abs=5)
    assert len({sent.body for sent in made.engine.sent}) == 1


@pytest.mark.parametrize("waits", [1, 3])
async def test_a_lost_attempt_is_looked_up_again_after_a_long_throttle(waits: int) -> None:
    made = bench(lost(), *[answer(429, retry_after="90")] * waits, CREATED, look_ups=[NOWHERE])
    with shop(made) as one:
        outcome = await one.finish()
    assert outcome.state is State.APPLIED
    for at in made.engine.times[1:]:
        assert any(0 <= at - looked <= 1 for looked in made.engine.looked)
    assert len(made.engine.times) == waits + 2
    assert len({sent.body for sent in made.engine.sent}) == 1


async def test_an_item_applied_during_a_long_throttle_is_not_sent_again() -> None:
    made = bench(lost(), answer(429, retry_after="90"), look_ups=[NOWHERE])
    with shop(made) as one, anyio.fail_after(300):
        async with anyio.create_task_group() as tasks:
            outcomes: list[Any] = []

            async def finish() -> None:
                outcomes.append(await one.finish())

            tasks.start_soon(finish)
            await anyio.sleep(60)
            made.engine.look_ups[:] = [shown(made)]
    assert len(made.engine.sent) == 2
    assert (outcomes[0].state, outcomes[0].recovered) == (State.APPLIED, True)


async def test_all_items_wait_for_the_longest_throttle() -> None:
    links = [answer(201, b'{"paymentLinkRef": "ref-%d"}' % number) for number in range(3)]
    made = bench(answer(429, retry_after="600"), answer(429, retry_after="61"), *links)
    started = anyio.current_time()
    with shop(made) as one:
        async with anyio.create_task_group() as tasks:
            for number in range(2):
                tasks.start_soon(one.finish, attrs.evolve(LINK, order_number=f"B-{number}"))
            await anyio.sleep(300)
            assert len(made.engine.sent) == 2
            tasks.start_soon(one.finish, attrs.evolve(LINK, order_number="B-2"))
    assert all(at - started == pytest.approx(600, abs=2) for at in made.engine.times[2:])
    assert len(made.engine.sent) == 5


# Existing orders ----------------------------------------------------------------------------------


async def test_check_existing_sends_an_order_that_is_absent_when_its_window_has_ended() -> None:
    made = bench(CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with shop(made, choices={"check_existing": True}) as one:
        outcome = await one.finish()
    assert outcome.state is State.APPLIED
    assert [at - started for at in made.engine.looked] == pytest.approx([0, READ + SETTLE])
    assert made.engine.times[0] - started == pytest.approx(READ + SETTLE)


async def test_check_existing_finds_what_a_dead_process_still_has_on_its_way() -> None:
    made = bench(look_ups=[NOWHERE, shown()])
    with shop(made, choices={"check_existing": True}) as one:
        outcome = await one.finish()
    assert outcome.state is State.SKIPPED
    assert made.engine.sent == []


async def test_check_existing_waits_for_its_window_once_in_a_run() -> None:
    made = bench(CREATED, answer(201, b'{"paymentLinkRef": "ref-2"}'), look_ups=[NOWHERE])
    other = NOWHERE.body.replace(b"A-1", b"A-2")
    with shop(made, choices={"check_existing": True}) as one:
        await one.finish()
        made.engine.look_ups[:] = [answer(404, other)]
        then = anyio.current_time()
        outcome = await one.finish(attrs.evolve(LINK, order_number="A-2"))
    assert outcome.state is State.APPLIED
    assert anyio.current_time() == then
    assert len(made.engine.looked) == 3


async def test_check_existing_skips_an_existing_order_whoever_made_it(path: Path) -> None:
    made = bench(look_ups=[shown(additionalData='{"sdkRequestId": "another\'s"}')])
    with shop(made, path, choices={"check_existing": True}) as one:
        outcome = await one.finish()
    assert outcome.state is State.SKIPPED
    assert outcome.result.payment_link_ref == "ref-1"
    assert outcome.result.transaction_status is TransactionStatus.PAYMENT_LINK_SENT
    assert made.engine.sent == []
    assert (row_of(path).state, row_of(path).posts) == ("applied", 0)


@pytest.mark.parametrize(
    "looked_up",
    [
        answer(404, b'{"status": 404, "error": "Not Found"}'),
        answer(404, NOWHERE.body.replace(b"A-1", b"A-10")),
        answer(400, b'{"errors": ["no such order"]}'),
        answer(200, b"{}"),
        answer(200, b'{"orderNumber": "A-2", "paymentLinkRef": "r"}'),
        answer(200, b"null"),
        answer(200, b""),
        answer(503),
        msgspec.structs.replace(NOWHERE, headers={"age": "7"}),
    ],
)
async def test_check_existing_does_not_send_an_order_that_may_exist(looked_up: Act) -> None:
    made = bench(look_ups=[looked_up])
    started = anyio.current_time()
    with shop(made, choices={"check_existing": True}) as one:
        outcome = await one.finish()
    assert outcome.state is State.FAILED
    assert type(outcome.error) is Chat2PayError
    assert "does not say whether the order exists" in str(outcome.error)
    assert outcome.error.operation == "create_payment_link"
    assert made.engine.sent == []
    assert anyio.current_time() - started == pytest.approx(READ + 4 * SETTLE)


async def test_check_existing_reports_a_wrong_key_as_such() -> None:
    with shop(bench(look_ups=[WRONG_KEY]), choices={"check_existing": True}) as one:
        outcome = await one.finish()
    assert outcome.state is State.FAILED
    assert type(outcome.error) is AuthenticationError
    assert one.items.reason_to_stop(outcome) is outcome.error


async def test_check_existing_stops_the_run_where_somebody_else_answers() -> None:
    page = answer(403, b"<html>", content_type="text/html")
    with shop(bench(look_ups=[page]), choices={"check_existing": True}) as one:
        outcome = await one.finish()
    assert outcome.state is State.FAILED
    reason = one.items.reason_to_stop(outcome)
    assert isinstance(reason, RunStoppedError)
    assert "s.test does not look like Chat 2 Pay (403, text/html)" in str(reason)


async def test_check_existing_waits_out_an_outage() -> None:
    made = bench(CREATED, look_ups=[not_sent()])
    with shop(made, choices={"check_existing": True}, give_up_after=600.0) as one:
        async with anyio.create_task_group() as tasks:
            outcomes: list[Any] = []

            async def finish() -> None:
                outcomes.append(await one.finish())

            tasks.start_soon(finish)
            await anyio.sleep(300)
            made.engine.look_ups[:] = [NOWHERE]
    assert [outcome.state for outcome in outcomes] == [State.APPLIED]


async def test_check_existing_looks_up_before_the_first_post_only(path: Path) -> None:
    made = bench(*[not_sent()] * 4, look_ups=[NOWHERE])
    with shop(made, path, choices={"check_existing": True}) as one:
        assert (await one.finish()).state is State.FAILED
    again = bench(CREATED)
    with shop(again, path, choices={"check_existing": True}) as one:
        assert (await one.finish()).state is State.APPLIED


async def test_no_order_is_looked_up_without_check_existing() -> None:
    made = bench(CREATED)
    with shop(made) as one:
        await one.finish()
    assert [sent.method for sent in made.engine.sent] == ["POST"]


# Repeated keys ------------------------------------------------------------------------------------


class Order(PaymentLinkRequest):
    """Request of a caller's own class."""


@pytest.mark.parametrize("journalled", [True, False])
@pytest.mark.parametrize(
    ("operation", "request_", "field"),
    [
        (CREATE, LINK, "order_number"),
        (operations.CAPTURE_PAYMENT, CAPTURE, "payment_link_ref"),
        (operations.CANCEL_PAYMENT_LINK, REFERENCE, "payment_link_ref"),
        (operations.CREATE_RECEIPT, RECEIPT, "payment_link_ref"),
    ],
)
async def test_a_repeated_key_is_sent_once(
    operation: operations.Operation[Any, Any],
    request_: Any,
    field: str,
    path: Path,
    *,
    journalled: bool,
) -> None:
    made = bench(REFUSED)
    with shop(made, path if journalled else None, operation) as one:
        await one.finish(request_)
        outcome = await one.finish(request_)
    assert len(made.engine.sent) == 1
    assert outcome.state is State.REJECTED
    assert isinstance(outcome.error, RequestValidationError)
    assert outcome.error.operation == operation.name
    assert outcome.error.faults == (Fault(field, "occurs twice in this run, and is sent once"),)
    if journalled:
        assert row_of(path).state == "rejected"


async def test_a_repeated_query_is_rejected_by_its_own_field() -> None:
    by_reference = requests.TransactionQuery(payment_link_ref="ref-1")
    by_receipt = requests.TransactionQuery(receipt_link_ref="rec-1")
    found = b'{"orderNumber": "A-1", "paymentLinkRef": "ref-1", "receiptLinkRef": "rec-1"}'
    with shop(bench(*[answer(200, found)] * 3), None, operations.GET_TRANSACTION) as one:
        fields: list[str] = []
        for query in (BY_ORDER, by_reference, by_receipt):
            assert (await one.finish(query)).state is State.APPLIED
            fields.append((await one.finish(query)).error.faults[0].field)
    assert fields == ["order_number", "payment_link_ref", "receipt_link_ref"]


async def test_a_repeated_request_of_a_subclass_is_rejected() -> None:
    own = Order(**attrs.asdict(LINK, recurse=False))
    with shop(bench(CREATED)) as one:
        assert (await one.finish(own)).state is State.APPLIED
        assert (await one.finish(own)).state is State.REJECTED


async def test_an_item_waits_until_the_new_keys_are_indexed_if_many_are_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "_UNINDEXED", 4)
    made = [answer(201, b'{"paymentLinkRef": "ref-%d"}' % number) for number in range(4)]
    with shop(bench(*made)) as one:
        waiting: list[int] = []
        for number in range(4):
            await one.finish(attrs.evolve(LINK, order_number=f"A-{number}"))
            waiting.append(len(one.store._unindexed))
    assert waiting == [2, 0, 2, 0]


# The next run: finished items ---------------------------------------------------------------------


async def test_an_applied_item_is_skipped_with_its_result(path: Path) -> None:
    with shop(bench(not_sent(), WITH_URL), path) as one:
        then = await one.finish()
    made = bench()
    with shop(made, path) as one:
        outcome = await one.finish()
    assert outcome.attempts == then.attempts
    assert (outcome.state, outcome.by) == (State.SKIPPED, "spring")
    assert outcome.result == attrs.evolve(then.result, replayed=True)
    assert then.at is None
    assert outcome.at is not None
    assert outcome.result.payment_link == "https://pay.test/1"
    assert made.engine.sent == []


async def test_a_rejected_item_is_skipped_with_its_error(path: Path) -> None:
    with shop(bench(REFUSED), path) as one:
        then = await one.finish()
    made = bench()
    with shop(made, path) as one:
        outcome = await one.finish()
    assert (outcome.state, outcome.result) == (State.SKIPPED, None)
    assert type(outcome.error) is BadRequestError
    assert str(outcome.error) == str(then.error)
    assert outcome.error.errors == ("currency",)
    assert outcome.error.operation == "create_payment_link"
    assert outcome.attempts == outcome.error.attempts == then.attempts
    assert made.engine.sent == []


async def test_a_declined_item_is_skipped_as_declined(path: Path) -> None:
    body = b'{"transactionType": "CAPTURE", "paymentGatewayDecision": "DECLINE"}'
    with shop(bench(answer(200, body)), path, operations.CAPTURE_PAYMENT) as one:
        await one.finish(CAPTURE)
    with shop(bench(), path, operations.CAPTURE_PAYMENT) as one:
        outcome = await one.finish(CAPTURE)
    assert (outcome.state, outcome.declined) == (State.SKIPPED, True)


async def test_a_recovered_item_is_skipped_as_recovered(path: Path) -> None:
    made = bench(lost())
    made.engine.look_ups.append(stamped(made))
    with shop(made, path) as one:
        then = await one.finish()
    assert (then.state, then.recovered) == (State.APPLIED, True)
    with shop(bench(), path) as one:
        outcome = await one.finish()
    assert (outcome.state, outcome.recovered) == (State.SKIPPED, True)
    assert outcome.result == attrs.evolve(then.result, replayed=True)


def stamped(made: Bench, **fields: Any) -> Act:
    """Make the stamped status response on demand: only then the stamp is known."""

    async def answering() -> WireResponse:
        await anyio.lowlevel.checkpoint()
        return shown(made, **fields)

    return answering


# The next run: failed items -----------------------------------------------------------------------


async def test_a_failed_item_is_sent_again_to_the_byte(path: Path) -> None:
    made = bench(*[not_sent()] * 4)
    with shop(made, path) as one:
        assert (await one.finish()).state is State.FAILED
    again = bench(CREATED)
    with shop(again, path) as one:
        outcome = await one.finish()
    assert outcome.state is State.APPLIED
    assert again.engine.sent == [made.engine.sent[0]]
    assert row_of(path).posts == 5


async def test_a_failed_item_that_changed_is_sent_as_it_is_now(path: Path) -> None:
    made = bench(*[not_sent()] * 4)
    with shop(made, path) as one:
        await one.finish()
    again = bench(CREATED)
    with shop(again, path) as one:
        outcome = await one.finish(attrs.evolve(LINK, total_amount="5.00"))
    assert outcome.state is State.APPLIED
    then, now_ = (json.loads(one.engine.sent[0].body or b"") for one in (made, again))
    assert (then["totalAmount"], now_["totalAmount"]) == (199.9, 5)
    assert then["additionalData"] != now_["additionalData"]
    assert row_of(path).sent == again.engine.sent[0]


# The next run: unresolved items -------------------------------------------------------------------


async def test_an_unresolved_item_that_was_applied_is_read_back(path: Path, tmp_path: Path) -> None:
    left, before = await crashed(path, tmp_path)
    made = bench(look_ups=[shown(before)])
    with shop(made, left) as one:
        (outcome,) = await one.settle_rows()
        assert await one.finish() is None  # the source has it too: it is not reported twice
    assert (outcome.state, outcome.recovered) == (State.APPLIED, True)
    assert made.engine.sent == []
    assert row_of(left).state == "applied"


async def test_an_unresolved_item_that_is_absent_is_sent_to_the_byte(
    path: Path, tmp_path: Path
) -> None:
    left, before = await crashed(path, tmp_path)
    made = bench(CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with shop(made, left) as one:
        outcome = await one.resume_row()
    assert outcome.state is State.APPLIED
    assert made.engine.sent == before.engine.sent
    assert made.engine.looked[0] - started == pytest.approx(0)
    assert made.engine.times[0] - started == pytest.approx(READ + SETTLE, abs=1)
    assert row_of(left).posts == 2


@pytest.mark.parametrize("ended", [-100_000.0, -7.0, 3_600.0])
@pytest.mark.parametrize("state", ["sent", "unknown"])
async def test_the_window_of_an_earlier_run_starts_now_whatever_time_was_written_down(
    path: Path, tmp_path: Path, state: str, ended: float
) -> None:
    left, _ = await crashed(path, tmp_path)
    at = datetime.now(UTC) + timedelta(seconds=ended)
    attempt = Attempt(at, 5.0, Proof.UNKNOWN)
    end = end_of(RowState.UNKNOWN, None, None, (attempt,))
    detail = end.detail if state == "unknown" else None
    with editing(left) as db:
        query = "UPDATE item SET state = ?, first_at = ?, last_at = ?, detail = ?"
        db.execute(query, (state, at.timestamp(), at.timestamp(), detail))
    made = bench(CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with shop(made, left) as one:
        assert (await one.resume_row()).state is State.APPLIED
    assert made.engine.times[0] - started == pytest.approx(READ + SETTLE, abs=1)


async def test_the_longer_settle_and_read_timeout_of_two_runs_count(
    path: Path, tmp_path: Path
) -> None:
    left, _ = await crashed(path, tmp_path, settle=25.0)
    with editing(left) as db:
        db.execute("UPDATE item SET read_timeout = 50")
    made = bench(CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with shop(made, left) as one:
        assert (await one.resume_row()).state is State.APPLIED
    assert made.engine.times[0] - started == pytest.approx(50 + 25, abs=1)


async def test_resend_when_absent_false_of_the_earlier_run_holds(
    path: Path, tmp_path: Path
) -> None:
    left, _ = await crashed(path, tmp_path, resend_when_absent=False)
    made = bench(look_ups=[NOWHERE])
    with shop(made, left) as one:
        assert (await one.resume_row()).state is State.UNKNOWN
    assert made.engine.sent == []


async def test_an_unresolved_item_is_looked_up_by_its_first_attempts_time(
    path: Path, tmp_path: Path
) -> None:
    left, _ = await crashed(path, tmp_path, operation=operations.CAPTURE_PAYMENT, request=CAPTURE)
    with editing(left) as db:
        db.execute("UPDATE item SET first_at = first_at - 7200")
    entry = captured() | {"paymentGatewayResponseTimestamp": now(-3600)}
    made = bench(look_ups=[payments(AUTHORIZED, entry)])
    with shop(made, left, operations.CAPTURE_PAYMENT) as one:
        outcome = await one.resume_row()
    assert outcome.state is State.APPLIED
    assert made.engine.sent == []


@attrs.define
class LateService:
    """A service that a killed process's POST reaches late: the kernel goes on sending it."""

    arrives: float
    """On the event loop's clock."""
    before: Bench
    created: int = 0

    async def answered(self) -> WireResponse:
        await anyio.lowlevel.checkpoint()
        return shown(self.before) if anyio.current_time() >= self.arrives else NOWHERE

    async def create(self) -> WireResponse:
        await anyio.lowlevel.checkpoint()
        self.created += 1
        return CREATED


@pytest.mark.parametrize("resumed_after", [0.0, 1.0, 25.0])
@pytest.mark.parametrize("delivered_after", [0.0, 5.0, 15.0, 29.0, 39.0])
async def test_what_arrives_after_the_kill_and_the_resume_is_found_and_not_sent_again(
    path: Path, tmp_path: Path, resumed_after: float, delivered_after: float
) -> None:
    killed = anyio.current_time()
    left, before = await crashed(path, tmp_path)
    await anyio.sleep(resumed_after)
    service = LateService(killed + resumed_after + delivered_after, before)
    made = bench(service.create, look_ups=[service.answered])
    with shop(made, left) as one:
        outcome = await one.resume_row()
    assert (outcome.state, outcome.recovered, service.created) == (State.APPLIED, True, 0)


async def test_a_campaign_stopped_and_killed_in_a_hole_of_the_network_is_sent_once(
    path: Path, tmp_path: Path
) -> None:
    left = tmp_path / "left.db"
    made = bench(forever)

    async def departing() -> WireResponse:
        copy(path, left)
        return await forever()

    made.engine.script[:] = [departing]
    with shop(made, path) as one:
        item = one.items.new(LINK)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stopped_or_ended, one, item)
            await anyio.sleep(5)
            one.items.stop()  # the first Ctrl-C
            await anyio.sleep(5)
            tasks.cancel_scope.cancel()  # the second
        assert one.items.stopped(item).state is State.UNKNOWN
    service = LateService(anyio.current_time() + 30, made)
    again = bench(service.create, look_ups=[service.answered])
    with shop(again, left) as one:
        outcome = await one.resume_row()
    assert (outcome.state, outcome.recovered, service.created) == (State.APPLIED, True, 0)


async def test_resuming_needs_no_quota(path: Path, tmp_path: Path) -> None:
    left, _ = await crashed(path, tmp_path)
    made = bench(CREATED, look_ups=[NOWHERE])
    while made.sender._quota.spend():
        pass
    with shop(made, left) as one:
        assert (await one.resume_row()).state is State.APPLIED
    assert len(made.engine.sent) == 1


async def test_an_undetermined_item_is_reported_again_with_its_pending(
    path: Path, tmp_path: Path
) -> None:
    left, before = await crashed(path, tmp_path)
    first_at = row_of(left).first_at
    for _ in range(2):
        made = bench(look_ups=[answer(500)])
        with shop(made, left) as one:
            outcome = await one.resume_row()
        assert outcome.state is State.UNKNOWN
        assert made.engine.sent == []
        pending = outcome.error.pending
        assert pending.request == before.engine.sent[0]
        assert pending.request_id == row_of(left).request_id
        assert pending.first_attempt.started_at.timestamp() == pytest.approx(first_at)
        assert row_of(left).state == "unknown"
        made.engine.look_ups[:] = [shown(before)]
        resolution = await made.sender.resolve(pending, options())
        assert resolution.verdict is Verdict.APPLIED


async def test_resend_when_absent_false_holds_in_the_next_run(path: Path, tmp_path: Path) -> None:
    left, _ = await crashed(path, tmp_path)
    made = bench(look_ups=[NOWHERE])
    with shop(made, left, resend_when_absent=False) as one:
        (outcome,) = await one.settle_rows()
        assert await one.finish() is None
    assert outcome.state is State.UNKNOWN
    assert made.engine.sent == []
    assert row_of(left).state == "unknown"


async def test_an_undecided_item_is_looked_up_until_the_gateway_has_decided(
    path: Path,
) -> None:
    body = b'{"transactionType": "CAPTURE", "paymentGatewayDecision": "REVIEW"}'
    with shop(bench(answer(200, body)), path, operations.CAPTURE_PAYMENT) as one:
        assert (await one.finish(CAPTURE)).state is State.UNKNOWN
    made = bench(look_ups=[payments(AUTHORIZED, captured("REVIEW"))])
    with shop(made, path, operations.CAPTURE_PAYMENT) as one:
        outcome = await one.resume_row()
    assert (outcome.state, outcome.error.pending.identity) == (State.UNKNOWN, "ref-1")
    made = bench(look_ups=[payments(AUTHORIZED, captured())])
    with shop(made, path, operations.CAPTURE_PAYMENT) as one:
        outcome = await one.resume_row()
    assert (outcome.state, outcome.result.succeeded) == (State.APPLIED, True)
    assert made.engine.sent == []


async def test_an_absent_item_that_is_then_rejected_is_rejected(path: Path, tmp_path: Path) -> None:
    left, _ = await crashed(path, tmp_path, request=CAPTURE, operation=operations.CAPTURE_PAYMENT)
    made = bench(REFUSED, look_ups=[payments(AUTHORIZED)])
    with shop(made, left, operations.CAPTURE_PAYMENT) as one:
        outcome = await one.resume_row()
    assert outcome.state is State.REJECTED
    assert len(made.engine.sent) == 1


async def test_a_row_without_effect_is_sent_once_its_source_comes_to_it(
    path: Path, tmp_path: Path
) -> None:
    left, before = await crashed(path, tmp_path)
    made = bench(CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with shop(made, left) as one:
        assert await one.settle_rows() == [None]
        assert row_of(left).state == "failed"
        outcome = await one.finish()
        assert (await one.finish()).state is State.REJECTED  # the source has it twice
    assert outcome.state is State.APPLIED
    assert made.engine.sent == before.engine.sent
    # The window is over: one more look-up is enough.
    assert made.engine.times[0] - started == pytest.approx(READ + SETTLE, abs=1)
    assert 0 <= made.engine.times[0] - made.engine.looked[-1] <= 1


# The next run: changed items ----------------------------------------------------------------------


CHANGED = attrs.evolve(LINK, total_amount="5.00", to="27000000001")


async def test_what_was_applied_with_other_content_is_a_conflict(path: Path) -> None:
    with shop(bench(CREATED), path) as one:
        await one.finish()
    with shop(bench(), path) as one:
        outcome = await one.finish(CHANGED)
    assert outcome.state is State.REJECTED
    assert isinstance(outcome.error, IdempotencyConflictError)
    assert outcome.error.differences == ("to", "total_amount")
    assert outcome.error.operation == "create_payment_link"
    assert "27000000001" not in str(outcome.error)
    assert row_of(path).state == "applied"


async def test_what_was_rejected_may_be_corrected(path: Path) -> None:
    with shop(bench(REFUSED), path) as one:
        await one.finish()
    made = bench(CREATED)
    with shop(made, path) as one:
        outcome = await one.finish(CHANGED)
    assert outcome.state is State.APPLIED
    assert b"27000000001" in (made.engine.sent[0].body or b"")
    assert row_of(path).state == "applied"


@pytest.mark.parametrize("operation", ["create", "capture"])
async def test_what_was_rejected_is_sent_again_if_that_is_asked_for(
    path: Path, operation: str
) -> None:
    kind: Any = operations.CREATE_PAYMENT_LINK
    request: Any = LINK
    script: list[Act] = [REFUSED, CREATED]
    if operation == "capture":
        kind, request = operations.CAPTURE_PAYMENT, CAPTURE
        script = [
            answer(
                200, f'{{"transactionType": "CAPTURE", "paymentGatewayDecision": "{one}"}}'.encode()
            )
            for one in ("DECLINE", "ACCEPT")
        ]
    with shop(bench(script[0]), path, kind) as one:
        assert (await one.finish(request)).state is State.REJECTED
    with shop(bench(script[1]), path, kind, choices={"retry_rejected": True}) as one:
        assert (await one.finish(request)).state is State.APPLIED
    assert (row_of(path).state, row_of(path).posts) == ("applied", 2)


async def test_an_open_row_of_other_content_that_was_applied_is_a_conflict(
    path: Path, tmp_path: Path
) -> None:
    left, before = await crashed(path, tmp_path)
    made = bench(look_ups=[shown(before, totalAmount="199.90", currency="ZAR")])
    with shop(made, left) as one:
        outcome = await one.finish(CHANGED)
    assert outcome.state is State.REJECTED
    assert outcome.error.differences == ("to", "total_amount")
    assert made.engine.sent == []
    assert row_of(left).state == "applied"


async def test_an_open_row_of_other_content_that_is_absent_gives_way_to_the_new_content(
    path: Path, tmp_path: Path
) -> None:
    left, _ = await crashed(path, tmp_path)
    made = bench(CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with shop(made, left) as one:
        outcome = await one.finish(CHANGED)
    assert outcome.state is State.APPLIED
    assert b"27000000001" in (made.engine.sent[0].body or b"")
    assert made.engine.times[0] - started == pytest.approx(READ + SETTLE, abs=1)
    assert 0 <= made.engine.times[0] - made.engine.looked[-1] <= 1
    assert row_of(left).sent == made.engine.sent[0]


async def test_an_open_row_of_other_content_that_stays_unknown_keeps_the_new_one_back(
    path: Path, tmp_path: Path
) -> None:
    left, before = await crashed(path, tmp_path)
    made = bench(look_ups=[answer(500)])
    with shop(made, left) as one:
        outcome = await one.finish(CHANGED)
    assert outcome.state is State.UNKNOWN
    assert outcome.error.pending.request == before.engine.sent[0]
    assert made.engine.sent == []
    assert row_of(left).sent == before.engine.sent[0]


async def test_a_default_timestamp_is_no_content(path: Path) -> None:
    with shop(bench(CREATED), path) as one:
        await one.finish(PaymentLinkRequest(**ASKED))
    with shop(bench(), path) as one:
        assert (await one.finish(PaymentLinkRequest(**ASKED))).state is State.SKIPPED


ASKED: Any = {
    "order_number": "A-1",
    "to": "27825550100",
    "channel": "sms",
    "currency": "ZAR",
    "total_amount": "10",
}


# Keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["a-1", "A 1", "A\u20111", "A1", "A-1\u200b"])
async def test_a_new_key_that_looks_like_a_known_one_is_not_sent(path: Path, other: str) -> None:
    with shop(bench(CREATED), path, run="winter") as one:
        await one.finish()
    made = bench(answer(201, b'{"paymentLinkRef": "ref-2"}'))
    with shop(made, path) as one:
        outcome = await one.finish(attrs.evolve(LINK, order_number=other))
    assert outcome.state is State.REJECTED
    (fault,) = outcome.error.faults
    assert repr(other) in fault.problem
    assert "'A-1'" in fault.problem
    assert [row.key for row in rows_of(path)] == ["A-1"]
    with shop(made, path, choices={"allow_lookalikes": True}) as one:
        outcome = await one.finish(attrs.evolve(LINK, order_number=other))
    assert outcome.state is State.APPLIED


@pytest.mark.parametrize("journalled", [True, False])
async def test_of_two_keys_of_a_run_that_look_alike_the_second_is_not_sent(
    path: Path, *, journalled: bool
) -> None:
    with shop(bench(CREATED), path if journalled else None) as one:
        items = [
            one.items.new(attrs.evolve(LINK, order_number=order)) for order in ("001", "1.0", "2")
        ]
        if journalled:
            assert await one.items.look_up(items) == [False, True, False]
        else:
            assert [one.items.register(item) for item in items] == [True, False, True]
            assert await one.items.look_up([items[1]]) == [True]
        assert items[1].outcome is not None
        assert "'001'" in str(items[1].outcome.error)


async def test_a_second_link_for_one_order_has_a_key_of_its_own(path: Path) -> None:
    made = bench(CREATED, answer(201, b'{"paymentLinkRef": "ref-2"}'))
    with shop(made, path) as one:
        assert (await one.finish()).state is State.APPLIED
        outcome = await one.finish(LINK, "second link")
    assert (outcome.state, outcome.key) == (State.APPLIED, "second link")
    assert [(row.key, row.identity) for row in rows_of(path)] == [
        ("A-1", "A-1"),
        ("second link", "A-1"),
    ]


async def test_a_key_that_another_session_holds_is_waited_for(
    path: Path,
) -> None:
    slow = bench(CREATED)

    async def slowly() -> WireResponse:
        await anyio.sleep(5)
        return CREATED

    slow.engine.script[:] = [slowly]
    fast = bench()
    with shop(slow, path, run="winter") as one, shop(fast, path) as other:
        outcomes: list[Any] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.finish)
            await anyio.sleep(1)
            changed = await other.finish(CHANGED, "A-1")
            outcomes.append(changed)
    assert changed.state is State.REJECTED
    assert isinstance(changed.error, IdempotencyConflictError)


async def test_a_held_key_of_the_same_content_ends_as_its_holder_did(path: Path) -> None:
    slow = bench(CREATED)

    async def slowly() -> WireResponse:
        await anyio.sleep(5)
        return CREATED

    slow.engine.script[:] = [slowly]
    with shop(slow, path, run="winter") as one, shop(bench(), path) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.finish)
            await anyio.sleep(1)
            outcome = await other.finish()
    assert (outcome.state, outcome.by) == (State.SKIPPED, "winter")


async def test_a_held_key_whose_holder_failed_is_sent(path: Path) -> None:
    slow = bench()

    async def slowly() -> WireResponse:
        await anyio.sleep(5)
        return WRONG_KEY

    slow.engine.script[:] = [slowly]
    with shop(slow, path, run="winter") as one, shop(bench(CREATED), path) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.finish)
            await anyio.sleep(1)
            outcome = await other.finish()
    assert outcome.state is State.APPLIED


@pytest.mark.parametrize(
    ("fields", "differences"),
    [
        ({"totalAmount": "199.90", "currency": "ZAR"}, None),
        ({"totalAmount": "5.00", "currency": "ZAR"}, ("total_amount",)),
        ({"currency": "USD"}, ("currency",)),
        ({"channelName": "whatsapp"}, ("channel",)),
    ],
)
async def test_an_order_that_exists_as_another_is_a_conflict(
    path: Path, fields: dict[str, Any], differences: tuple[str, ...] | None
) -> None:
    made = bench(look_ups=[shown(**fields)])
    with shop(made, path, choices={"check_existing": True}) as one:
        outcome = await one.finish()
    assert made.engine.sent == []
    if differences is None:
        assert (outcome.state, outcome.recovered) == (State.SKIPPED, True)
    else:
        assert outcome.state is State.REJECTED
        assert outcome.error.differences == differences
        assert rows_of(path) == []


# Recovered links ----------------------------------------------------------------------------------


async def test_a_recovered_link_is_applied_without_its_url_and_nothing_else_is_sent(
    path: Path,
) -> None:
    made = bench(lost())
    made.engine.look_ups.append(stamped(made))
    with shop(made, path) as one:
        silent = attrs.evolve(LINK, channel="none", return_payment_link=True)
        outcome = await one.finish(silent)
    assert (outcome.state, outcome.recovered) == (State.APPLIED, True)
    assert outcome.result.payment_link is None
    assert outcome.without_url
    assert len(made.engine.sent) == 1
    assert (row_of(path).posts, history_of(path)) == (1, [])


# Failed items that may have been applied for a while ----------------------------------------------


async def failed_after_unknown(path: Path) -> Bench:
    """Make a journal with an item that was lost, found absent, and not sent again."""
    made = bench(lost(), *[not_sent()] * 3, look_ups=[NOWHERE])
    with shop(made, path) as one:
        assert (await one.finish()).state is State.FAILED
    return made


async def test_a_lost_and_absent_item_is_looked_up_again_by_the_next_run(path: Path) -> None:
    before = await failed_after_unknown(path)
    again = bench(look_ups=[shown(before)])
    with shop(again, path) as one:
        outcome = await one.finish()
    assert (outcome.state, outcome.recovered) == (State.APPLIED, True)
    assert again.engine.sent == []


async def test_an_item_that_is_still_absent_is_sent_again_to_the_byte(path: Path) -> None:
    before = await failed_after_unknown(path)
    again = bench(CREATED, look_ups=[NOWHERE])
    with shop(again, path) as one:
        assert (await one.finish()).state is State.APPLIED
    assert again.engine.looked
    assert again.engine.sent == before.engine.sent[:1]


async def test_an_item_that_was_lost_once_is_looked_up_before_it_is_sent_as_it_is_now(
    path: Path,
) -> None:
    await failed_after_unknown(path)
    again = bench(CREATED, look_ups=[NOWHERE])
    started = anyio.current_time()
    with shop(again, path) as one:
        outcome = await one.finish(attrs.evolve(LINK, total_amount="1.00"))
    assert outcome.state is State.APPLIED
    assert again.engine.times[0] - started == pytest.approx(READ + SETTLE, abs=1)


async def test_an_answered_item_is_never_sent_again(path: Path) -> None:
    review = answer(200, b'{"transactionType": "Void", "paymentGatewayDecision": "REVIEW"}')
    with shop(bench(review), path, operations.REVERSE_PAYMENT) as one:
        assert (await one.finish(REFERENCE)).state is State.UNKNOWN
    for _ in range(2):
        again = bench(look_ups=[payments(AUTHORIZED)])
        with shop(again, path, operations.REVERSE_PAYMENT) as one:
            assert (await one.resume_row()).state is State.UNKNOWN
        assert again.engine.sent == []
        assert again.engine.looked
    assert row_of(path).response == review.body


@pytest.mark.parametrize("step", [0.05, 86_400])
async def test_a_clock_that_was_set_back_makes_a_row_forget_no_attempt(
    path: Path, step: float
) -> None:
    # The intent's time was read, then the clock was set, then the attempt's was read.
    await failed_after_unknown(path)
    with editing(path) as db:
        db.execute("UPDATE item SET first_at = first_at + ?, last_at = last_at + ?", (step, step))
    again = bench(CREATED, look_ups=[NOWHERE])
    with shop(again, path) as one:
        assert (await one.finish()).state is State.APPLIED
    assert again.engine.looked, "it was looked up before it was sent again"


@pytest.mark.parametrize("step", [0.05, 86_400])
async def test_an_answered_item_is_never_sent_again_whatever_the_clock_was_set_to(
    path: Path, step: float
) -> None:
    review = answer(200, b'{"transactionType": "Void", "paymentGatewayDecision": "REVIEW"}')
    with shop(bench(review), path, operations.REVERSE_PAYMENT) as one:
        assert (await one.finish(REFERENCE)).state is State.UNKNOWN
    with editing(path) as db:
        db.execute("UPDATE item SET first_at = first_at + ?, last_at = last_at + ?", (step, step))
    again = bench(look_ups=[payments(AUTHORIZED)])
    with shop(again, path, operations.REVERSE_PAYMENT) as one:
        assert (await one.resume_row()).state is State.UNKNOWN
    assert again.engine.sent == []


async def test_the_request_that_a_changed_item_replaces_is_kept(path: Path) -> None:
    with shop(bench(WRONG_KEY), path) as one:
        await one.finish()
    first = row_of(path).body
    with shop(bench(CREATED), path) as one:
        assert (await one.finish(attrs.evolve(LINK, total_amount="1.00"))).state is State.APPLIED
    with editing(path) as db:
        kept = db.execute("SELECT what, body FROM history ORDER BY id").fetchall()
    refusal = b'{"status": 401, "errors": ["no such key"]}'
    assert kept == [("request", first), ("response", refusal)]


# Hooks --------------------------------------------------------------------------------------------


async def test_the_journal_knows_of_an_unknown_outcome_before_any_hook(path: Path) -> None:
    """A hook may end the process: what it hears of is written down, or kept to be."""
    told: list[tuple[str, bool]] = []
    with shop(bench(lost(), look_ups=[answer(500)]), path) as one:
        item = one.items.new(LINK)
        await one.items.look_up([item])

        def hook(event: events.Event) -> None:
            if not isinstance(event, events.OutcomeUnknown):
                return
            assert one.journal is not None
            assert item.log is not None
            told.append((row_of(path).state, item.log.pending is not None))
            raise KeyboardInterrupt

        one.made.sender.hooks._hooks = (hook,)
        with pytest.raises(KeyboardInterrupt):
            await one.items.finish(item)
        assert one.items.stopped(item).state is State.UNKNOWN
    assert told == [("sent", True)]
    assert row_of(path).state == "sent"


# Stopped items ------------------------------------------------------------------------------------


async def stopped_or_ended(one: Shop, item: Item[Any, Any]) -> None:
    await one.items.look_up([item])
    await one.items.finish(item)


async def stopped(one: Shop, item: Item[Any, Any], after: float = 1.0) -> Any:
    if item.claimed is None and not one.items.register(item):
        await one.items.look_up([item])
    with anyio.move_on_after(after) as scope:
        await one.items.finish(item)
    assert scope.cancelled_caught
    return one.items.stopped(item)


async def test_a_stopped_item_whose_post_was_in_progress_is_unknown(path: Path) -> None:
    made = bench(forever)

    async def departing() -> WireResponse:
        made.engine.guards[-1]()
        return await forever()

    made.engine.script[:] = [departing]
    with shop(made, path) as one:
        outcome = await stopped(one, one.items.new(LINK))
    assert outcome.state is State.UNKNOWN
    assert isinstance(outcome.error, OutcomeUnknownError)
    assert outcome.error.operation == "create_payment_link"
    assert outcome.error.pending.request == made.engine.sent[0]
    assert outcome.attempts == (outcome.error.pending.last_attempt,)
    assert row_of(path).state == "sent"
    before = bench()
    before.engine.sent.append(made.engine.sent[0])
    made.engine.look_ups.append(shown(before))
    resolution = await made.sender.resolve(outcome.error.pending, options())
    assert resolution.verdict is Verdict.APPLIED


async def test_a_stopped_item_that_was_not_sent_has_failed(path: Path) -> None:
    made = bench(forever, size=1)
    with shop(made, path) as one:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.finish, attrs.evolve(LINK, order_number="first"))
            await anyio.sleep(0.5)
            outcome = await stopped(one, one.items.new(LINK))
            tasks.cancel_scope.cancel()
    assert outcome.state is State.FAILED
    assert isinstance(outcome.error, RequestTimeoutError)
    assert outcome.error.operation == "create_payment_link"
    assert "before it was sent" in str(outcome.error)
    assert outcome.attempts == ()
    assert [row.key for row in rows_of(path)] == ["first"]


async def test_a_stopped_item_that_an_earlier_run_left_unresolved_is_unknown(
    path: Path, tmp_path: Path
) -> None:
    left, before = await crashed(path, tmp_path)
    with shop(bench(), left) as one:
        item, other = (
            one.items.new(attrs.evolve(LINK, order_number=order)) for order in ("A-1", "A-2")
        )
        await one.items.find_rows([item, other])
        outcome: Any = one.items.stopped(item)
        assert one.items.stopped(other).state is State.FAILED
    assert isinstance(outcome.error, OutcomeUnknownError)
    assert outcome.error.pending.request == before.engine.sent[0]


async def test_a_stopped_item_that_an_earlier_run_did_not_send_has_failed(path: Path) -> None:
    with shop(bench(not_sent(), not_sent(), not_sent(), not_sent()), path) as one:
        assert (await one.finish()).state is State.FAILED
    with shop(bench(), path) as one:
        item = one.items.new(LINK)
        await one.items.find_rows([item])
        assert item.row is not None
        assert one.items.stopped(item).state is State.FAILED


async def test_a_stopped_item_that_was_not_begun_has_failed() -> None:
    with shop(bench()) as one:
        assert one.items.stopped(one.items.new(LINK)).state is State.FAILED


async def test_a_stopped_item_that_waits_out_a_throttle_has_failed(path: Path) -> None:
    with shop(bench(answer(429, retry_after="90")), path) as one:
        outcome = await stopped(one, one.items.new(LINK))
    assert outcome.state is State.FAILED


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stopped_item_of_an_earlier_run_is_unknown_until_it_is_looked_up(
    path: Path, tmp_path: Path, *, begun: bool
) -> None:
    left, before = await crashed(path, tmp_path)
    with shop(bench(look_ups=[forever]), left) as one:
        (claimed,) = [claimed async for claimed in one.store.left_open()]
        row, item = claimed.row, one.items.resume(claimed)
        assert row is not None
        one.items._paused_until = anyio.current_time() + 3600
        outcome: Any = await stopped(one, item) if begun else one.items.stopped(item)
    assert outcome.state is State.UNKNOWN
    pending = outcome.error.pending
    assert pending.request == before.engine.sent[0]
    assert (pending.identity, pending.request_id) == ("A-1", row.request_id)
    assert pending.first_attempt.started_at.timestamp() == pytest.approx(row.first_at)
    one.made.engine.look_ups[:] = [shown(before)]
    resolution = await one.made.sender.resolve(pending, options())
    assert resolution.verdict is Verdict.APPLIED
    assert row_of(left).state == "sent"


async def test_a_stopped_item_of_an_earlier_run_is_unknown_during_its_look_up(
    path: Path, tmp_path: Path
) -> None:
    left, before = await crashed(path, tmp_path)
    with shop(bench(look_ups=[forever]), left) as one:
        (claimed,) = [claimed async for claimed in one.store.left_open()]
        outcome = await stopped(one, one.items.resume(claimed))
    assert outcome.state is State.UNKNOWN
    assert outcome.error.pending.request == before.engine.sent[0]


async def test_a_stopped_item_of_an_earlier_run_that_was_throttled_has_failed(
    path: Path, tmp_path: Path
) -> None:
    left, _ = await crashed(path, tmp_path)
    made = bench(answer(429, retry_after="90"), look_ups=[NOWHERE])
    with shop(made, left) as one:
        outcome = await stopped(one, one.items.new(LINK), after=60)
    assert len(made.engine.sent) == 1
    assert outcome.state is State.FAILED


async def test_a_stopped_item_keeps_a_known_outcome() -> None:
    with shop(bench(CREATED)) as one:
        item = one.items.new(LINK)
        await one.items.finish(item)
        assert one.items.stopped(item) is item.outcome


async def test_a_stopped_read_has_failed() -> None:
    with shop(bench(forever), None, operations.GET_TRANSACTION) as one:
        outcome = await stopped(one, one.items.new(BY_ORDER))
    assert outcome.state is State.FAILED


async def test_items_have_no_forecast() -> None:
    with shop(bench()) as one:
        assert one.items.forecast is None


async def test_a_query_that_finds_nothing_is_rejected() -> None:
    with shop(bench(NOWHERE), None, operations.GET_TRANSACTION) as one:
        outcome = await one.finish(BY_ORDER)
    assert (outcome.state, type(outcome.error)) == (State.REJECTED, NotFoundError)


async def test_an_item_that_is_stopped_while_its_intent_is_written_is_not_left_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, written, go_on = bench(CREATED), anyio.Event(), anyio.Event()
    really = SQLiteStore.record_intent

    async def slowly(journal: SQLiteStore, token: str, intent: Any) -> bool:
        is_mine = await really(journal, token, intent)
        written.set()
        await go_on.wait()
        return is_mine

    monkeypatch.setattr(SQLiteStore, "record_intent", slowly)
    with shop(made, path) as one:
        outcomes: list[Any] = []

        async def finish() -> None:
            outcomes.append(await one.finish())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish)
            await written.wait()
            assert [row.state for row in rows_of(path)] == ["sent"]
            assert made.engine.sent == []
            one.items.stop()
            go_on.set()
    assert [outcome.state for outcome in outcomes] == [State.FAILED]
    assert made.engine.sent == []
    assert row_of(path).state == "failed"


async def test_an_item_that_is_stopped_before_it_is_begun_has_no_row(path: Path) -> None:
    with shop(bench(), path) as one:
        one.items.stop()
        assert (await one.finish()).state is State.FAILED
    assert rows_of(path) == []


async def test_what_became_unknown_is_looked_up_after_a_stop_and_not_sent_again() -> None:
    made = bench(lost(), CREATED, look_ups=[NOWHERE])
    with shop(made) as one:
        outcomes: list[Any] = []

        async def finish() -> None:
            outcomes.append(await one.finish())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish)
            await anyio.sleep(5)
            one.items.stop()
    assert [outcome.state for outcome in outcomes] == [State.FAILED]
    assert len(made.engine.sent) == 1
