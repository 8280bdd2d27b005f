"""Calls whose key is asked for: before each attempt, and before each look-up."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from scripted import BY_ORDER, CREATED, LINK, THROTTLED, WINDOW, Bench, answer, bench, lost, options
from scripted import not_sent as no_connection

from chat2pay_async import (
    AuthenticationError,
    ConfigurationError,
    OutcomeUnknownError,
    Pending,
    Proof,
    TransportError,
    Verdict,
)
from chat2pay_async._api.operations import (
    CREATE_PAYMENT_LINK,
    GET_CONFIGURATION,
    GET_TRANSACTION,
)
from chat2pay_async._api.requests import ConfigurationQuery
from chat2pay_async._config import ApiKey

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ABSENT = answer(
    404,
    b'{"status": "NOT_FOUND", "errors": ["There is no such transaction with orderNumber A-1"]}',
)
CONFIGURATION = answer(200, b'{"integrators": [], "environment": "x"}')


class Rotating:
    """Returns another key each time; raises what it is told to."""

    def __init__(self, **raises: Exception) -> None:
        self.asked = 0
        self._raises = raises

    async def __call__(self) -> str:
        self.asked += 1
        key = f"key-{self.asked}"
        if (error := self._raises.get(f"at_{self.asked}")) is not None:
            raise error
        return key


def fingerprint(number: int) -> str:
    return ApiKey(f"key-{number}").fingerprint


def keys_of(this: Bench) -> list[str]:
    """The keys of what was sent."""
    return [headers["Authorization"] for headers in this.engine.headers]


class Log:
    """A row of a journal that keeps the fingerprints of what is about to leave."""

    def __init__(self) -> None:
        self.intents = list[str]()
        self.pending: Pending | None = None

    async def record_intent(self, pending: Pending) -> None:
        self.intents.append(pending.key_fingerprint)

    def record_attempt(self, *_: Any) -> None: ...

    async def others(self, _pending: Pending) -> list[tuple[str, Any]]:
        return []

    def record_pending(self, pending: Pending) -> None:
        self.pending = pending


async def test_each_attempt_asks_for_its_key() -> None:
    ask = Rotating()
    this = bench(no_connection(), THROTTLED, CREATED, ask=ask)
    raw = await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert raw.parsed.payment_link_ref == "ref-1"
    assert (keys_of(this), ask.asked) == (["key-1", "key-2", "key-3"], 3)


async def test_the_rate_is_waited_for_with_the_key_in_hand() -> None:
    order = list[str]()

    class Watched:
        async def acquire(self) -> None:
            order.append("rate")

        def throttled(self, retry_after: float | None) -> None: ...

    async def ask() -> str:
        order.append("key")
        return "key-1"

    this = bench(lost(), CREATED, look_ups=[ABSENT], ask=ask, limiter=Watched())
    await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    requests = len(this.engine.sent) + len(this.engine.looked)
    # The second POST's own: it follows the look-up that lets it leave.
    assert order[:2] == ["key", "rate"]
    assert order == ["key", "rate"] * requests


async def test_a_plain_function_may_be_asked_and_its_key_stays() -> None:
    this = bench(CREATED, CONFIGURATION, ask=lambda: "same")
    await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    await this.sender.send(GET_CONFIGURATION, ConfigurationQuery(), options())
    assert keys_of(this) == ["same", "same"]


async def test_calls_at_a_time_have_each_their_own_key() -> None:
    ask = Rotating()
    this = bench(*[CONFIGURATION] * 20, ask=ask, size=5)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(this.sender.send, GET_CONFIGURATION, ConfigurationQuery(), options())
    assert set(keys_of(this)) == {f"key-{number}" for number in range(1, 21)}


async def test_each_look_up_asks_for_its_key_and_one_that_fails_does_not_count() -> None:
    ask = Rotating(at_2=OSError("no vault"))
    this = bench(lost(), CREATED, look_ups=[ABSENT], ask=ask)
    raw = await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert raw.parsed.payment_link_ref == "ref-1"
    assert ask.asked == 1 + 1 + len(this.engine.looked) + 1
    assert "no response (ApiKeyUnavailable)" in [
        getattr(event, "form", None) for event in this.heard
    ]


async def test_a_callable_that_fails_is_retried_and_nothing_was_sent() -> None:
    ask = Rotating(at_1=OSError("secret words"), at_2=OSError("secret words"))
    this = bench(CREATED, ask=ask)
    raw = await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert [attempt.proof for attempt in raw.attempts] == [
        *(Proof.NOT_SENT, Proof.NOT_SENT, Proof.APPLIED)
    ]
    assert len(this.engine.sent) == 1


async def test_a_callable_that_fails_for_good_says_so_with_its_own_error_as_the_cause() -> None:
    failures = {f"at_{number}": LookupError("secret words") for number in range(1, 5)}
    this = bench(ask=Rotating(**failures))
    with pytest.raises(TransportError) as caught:
        await this.sender.send(CREATE_PAYMENT_LINK, LINK, options(max_attempts=4))
    assert str(caught.value) == (
        "create_payment_link: not sent: the api_key callable raised LookupError"
    )
    assert isinstance(caught.value.__cause__, LookupError)
    assert type(caught.value) is TransportError
    assert [attempt.error for attempt in caught.value.attempts] == ["ApiKeyUnavailable"] * 4
    assert this.engine.sent == []


async def test_a_callable_that_takes_too_long_is_a_failure_as_well() -> None:
    async def never() -> str:
        await anyio.sleep_forever()
        raise AssertionError

    this = bench(ask=never)
    began = anyio.current_time()
    with pytest.raises(TransportError, match=r"the api_key callable took longer than 30 s"):
        await this.sender.send(CREATE_PAYMENT_LINK, LINK, options(max_attempts=1))
    assert anyio.current_time() - began == pytest.approx(30.0)


async def test_a_callable_that_returns_no_key_is_a_mistake_and_not_retried() -> None:
    asked = list[None]()
    this = bench(ask=lambda: asked.append(None))  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="must return a key, not NoneType"):
        await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert (len(asked), this.engine.sent) == (1, [])


async def test_after_an_unknown_attempt_a_callable_that_fails_changes_nothing_of_it() -> None:
    failures = {f"at_{number}": OSError() for number in range(2, 200)}
    this = bench(lost(), ask=Rotating(**failures))
    with pytest.raises(OutcomeUnknownError) as caught:
        await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert caught.value.pending.key_fingerprint == fingerprint(1)
    assert len(this.engine.sent) == 1


async def test_what_is_written_down_of_an_attempt_has_its_keys_fingerprint() -> None:
    log = Log()
    this = bench(no_connection(), lost(), look_ups=[answer(500)], ask=Rotating())
    with pytest.raises(OutcomeUnknownError) as caught:
        await this.sender.send(CREATE_PAYMENT_LINK, LINK, options(), log)
    assert log.intents == [fingerprint(1), fingerprint(2)]
    assert log.pending is not None
    assert log.pending.key_fingerprint == caught.value.pending.key_fingerprint == fingerprint(2)


async def test_what_an_older_key_of_this_client_sent_is_resolved_with_the_latest() -> None:
    this = bench(lost(), look_ups=[answer(500)], ask=Rotating())
    with pytest.raises(OutcomeUnknownError) as caught:
        await this.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    this.engine.look_ups = [ABSENT]
    resolution = await this.sender.resolve(caught.value.pending, options())
    assert resolution.verdict is Verdict.ABSENT


@pytest.mark.parametrize("asked_before", [False, True])
async def test_another_process_needs_to_be_told_that_a_key_was_changed(
    asked_before: bool,  # noqa: FBT001
) -> None:
    first = bench(lost(), look_ups=[answer(500)], ask=lambda: "key-old")
    with pytest.raises(OutcomeUnknownError) as caught:
        await first.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    pending = Pending.from_json(json.dumps(json.loads(caught.value.pending.to_json())))
    new, same = (
        bench(CONFIGURATION, look_ups=[ABSENT], ask=ask)
        for ask in (lambda: "key-new", lambda: "key-old")
    )
    if asked_before:
        new.engine.look_ups = []
        await new.sender.send(GET_CONFIGURATION, ConfigurationQuery(), options())
        new.engine.look_ups = [ABSENT]
    with pytest.raises(ConfigurationError, match="another_key=True"):
        await new.sender.resolve(pending, options())
    for one, another in ((new, True), (same, False)):
        began = anyio.current_time()
        resolution = await one.sender.resolve(pending, options(), another_key=another)
        assert resolution.verdict is Verdict.ABSENT
        assert anyio.current_time() - began == pytest.approx(WINDOW)


async def test_a_pending_call_is_of_another_key_where_the_present_one_cant_be_had() -> None:
    first = bench(lost(), look_ups=[answer(500)], ask=lambda: "key-old")
    with pytest.raises(OutcomeUnknownError) as caught:
        await first.sender.send(CREATE_PAYMENT_LINK, LINK, options())
    this = bench(ask=Rotating(at_1=OSError()))
    with pytest.raises(ConfigurationError, match="another_key=True"):
        await this.sender.resolve(caught.value.pending, options())


async def test_the_key_of_an_attempt_is_masked_in_what_the_service_says() -> None:
    refusal = answer(401, b'{"status": 401, "message": "key-2 is revoked"}')
    this = bench(no_connection(), refusal, ask=Rotating())
    with pytest.raises(AuthenticationError) as caught:
        await this.sender.send(GET_TRANSACTION, BY_ORDER, options())
    assert "key-2" not in str(caught.value)
    assert "*** is revoked" in str(caught.value)


async def test_the_present_fingerprint_is_asked_for() -> None:
    this = bench(ask=Rotating(at_2=LookupError()))
    assert this.sender.key_fingerprint == ""
    ask = this.sender.asking(options())
    assert ask is not None
    assert await ask() == fingerprint(1)
    with pytest.raises(TransportError, match="api_key callable raised LookupError"):
        await ask()
    assert this.sender.key_fingerprint == fingerprint(1)
    assert bench().sender.asking(options()) is None
