"""Each callback goes to one handler, and the service delivers again what that did not finish."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from posted import CONFIGURATION, CUSTOMER, payment, posted, transaction

from chat2pay_async import CallbackError, ConfigurationError, PaymentStatus, TransactionStatus
from chat2pay_async.callbacks import (
    Callback,
    ConfigurationCallback,
    PaymentStatusCallback,
    Router,
    TransactionStatusCallback,
    UnknownCallback,
    parse,
)

pytestmark = pytest.mark.anyio

LOGGER = "chat2pay_async.callbacks"


class Handled(list[tuple[str, Callback]]):
    """Handlers that note what they were called with."""

    def by(self, name: str) -> Any:
        async def handler(callback: Callback) -> None:
            await anyio.lowlevel.checkpoint()
            self.append((name, callback))

        return handler

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self]


@pytest.fixture
def handled() -> Handled:
    return Handled()


@pytest.fixture
def router(handled: Handled) -> Router:
    """Route as a shop does."""
    made = Router()
    made.on(PaymentStatusCallback, PaymentStatus.SUCCESS, "reversed")(handled.by("paid"))
    made.on(PaymentStatusCallback)(handled.by("payment"))
    made.on(TransactionStatusCallback, "payment_link_clicked")(handled.by("clicked"))
    made.on(TransactionStatusCallback, PaymentStatus.FAILED)(handled.by("declined"))
    made.on(ConfigurationCallback)(handled.by("configuration"))
    made.default(handled.by("default"))
    return made


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (payment(), "paid"),
        (payment(paymentStatus="Reversed"), "paid"),
        (payment(paymentStatus="FAILED"), "payment"),
        (payment(paymentStatus="NEW"), "payment"),
        (payment(paymentStatus=None), "payment"),
        (transaction("PAYMENT_LINK_SENT", "PAYMENT_LINK_CLICKED"), "clicked"),
        (transaction("PAYMENT_LINK_CLICKED", "PAYMENT_URL_EXPIRED"), "default"),
        (transaction(transactionStatus="Payment Link Clicked"), "clicked"),
        (transaction("PAYMENT_STATUS_RECEIVED", paymentStatus="FAILED"), "declined"),
        (transaction("PAYMENT_LINK_CLICKED", paymentStatus="FAILED"), "clicked"),
        (transaction(), "default"),
        (posted(CONFIGURATION), "configuration"),
        (b'{"event": "NEW"}', "default"),
    ],
)
async def test_a_callback_goes_to_the_handler_of_its_kind_and_status(
    router: Router, handled: Handled, body: bytes, name: str
) -> None:
    assert await router.respond(body) == 200
    assert handled == [(name, parse(body))]


async def test_what_has_no_handler_is_logged_and_not_delivered_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        assert await Router().respond(payment()) == 200
    key = parse(payment()).deduplication_key
    assert caplog.messages == [f"no handler for PaymentStatusCallback {key}"]


async def test_a_handler_that_raises_has_the_callback_delivered_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router, tried = Router(), list[str]()

    @router.on(PaymentStatusCallback)
    async def fails_once(callback: PaymentStatusCallback) -> None:
        tried.append(callback.deduplication_key)
        if len(tried) == 1:
            raise RuntimeError("the database is locked")

    assert [await router.respond(payment()) for _ in range(2)] == [500, 200]
    assert len(set(tried)) == 1
    (record,) = caplog.records
    assert (record.name, record.levelname) == (LOGGER, "ERROR")
    assert "the database is locked" in caplog.text
    assert CUSTOMER not in caplog.text


async def test_the_log_shows_the_handlers_own_frames_and_none_that_hold_the_body(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = Router()

    @router.default
    async def fails(_callback: Callback) -> None:
        raise RuntimeError

    await router.respond(payment())
    assert caplog.records[0].exc_info is not None
    trace, frames = caplog.records[0].exc_info[2], list[str]()
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert frames == ["fails"]


async def test_dispatch_raises_what_the_handler_raises() -> None:
    router = Router()

    @router.default
    async def fails(_callback: Callback) -> None:
        raise KeyError("A-1")

    with pytest.raises(KeyError):
        await router.dispatch(parse(payment()))


async def test_a_cancellation_is_no_answer() -> None:
    router, began = Router(), anyio.Event()

    @router.default
    async def slow(_callback: Callback) -> None:
        began.set()
        await anyio.sleep_forever()

    answers = list[int]()

    async def ask() -> None:
        answers.append(await router.respond(payment()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await began.wait()
        tasks.cancel_scope.cancel()
    assert answers == []


async def test_what_is_no_callback_reaches_no_handler(
    router: Router, handled: Handled, caplog: pytest.LogCaptureFixture
) -> None:
    broken = payment()[:-1]
    assert [await router.respond(body) for body in (broken, b"", "[]")] == [400] * 3
    assert await router.respond(payment(), {"content-encoding": "br"}) == 400
    assert handled == []
    assert len(caplog.records) == 4
    assert CUSTOMER not in caplog.text


# Bodies that come in parts ------------------------------------------------------------------------


class Parts:
    """A body that comes in parts, without an end."""

    def __init__(self, part: bytes) -> None:
        self.part, self.taken, self.closed = part, 0, False

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> bytes:
        self.taken += 1
        return self.part


class ClosedParts(Parts):
    async def aclose(self) -> None:
        self.closed = True


async def parts_of(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 7):
        yield body[start : start + 7]


async def test_a_body_may_come_in_parts(router: Router, handled: Handled) -> None:
    assert await router.respond(parts_of(payment())) == 200
    assert handled.names == ["paid"]


@pytest.mark.parametrize("kind", [Parts, ClosedParts])
async def test_no_more_of_a_body_is_read_than_a_callback_may_have(
    router: Router, kind: type[Parts]
) -> None:
    body = kind(b"x" * 65_536)
    assert await router.respond(body) == 400
    assert body.taken == 5
    assert body.closed is (kind is ClosedParts)


# Handlers that can't be ---------------------------------------------------------------------------


def test_two_handlers_for_the_same_are_refused(router: Router, handled: Handled) -> None:
    for register in (
        router.on(PaymentStatusCallback, "SUCCESS"),
        router.on(PaymentStatusCallback),
        router.default,
    ):
        with pytest.raises(ConfigurationError, match="two handlers"):
            register(handled.by("again"))
    router.on(UnknownCallback)(handled.by("unknown"))


@pytest.mark.parametrize("status", ["SUCESS", "", 1, None])
def test_a_status_that_nobody_knows_is_refused(router: Router, status: Any) -> None:
    with pytest.raises(ConfigurationError, match="status"):
        router.on(PaymentStatusCallback, status)


def test_a_handler_is_async() -> None:
    def plain(_callback: Callback) -> None: ...

    class Called:
        async def __call__(self, callback: Callback) -> None: ...

    router: Any = Router()
    with pytest.raises(ConfigurationError, match="async function"):
        router.default(plain)
    with pytest.raises(ConfigurationError, match="async function"):
        router.on(PaymentStatusCallback)(plain)
    router.default(Called())


def test_a_decorator_returns_its_handler(router: Router, handled: Handled) -> None:
    handler = handled.by("x")
    assert Router().default(handler) is handler
    assert router.on(TransactionStatusCallback, TransactionStatus.PAYMENT_LINK_SENT)(handler) is (
        handler
    )


async def test_an_error_of_a_handler_may_be_one_of_a_confirmation() -> None:
    router = Router()

    @router.default
    async def refuses(_callback: Callback) -> None:
        raise CallbackError("not confirmed")

    assert await router.respond(payment()) == 500
