"""Hooks and loggers receive events, and can't disturb a call."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from chat2pay_async import events
from chat2pay_async.errors import Attempt, ConfigurationError, Pending, Proof, SentRequest
from chat2pay_async.events import Event, Hooks, log_event

LOGGER = "chat2pay_async.calls"
ATTEMPT = Attempt(datetime(2026, 5, 4, tzinfo=UTC), 0.25, Proof.UNKNOWN, 502)
PENDING = Pending(
    operation="create_payment_link",
    identity="A-1001",
    request=SentRequest("POST", "/api/v2/chat-2-pay", b'{"to":"27831234567"}'),
    base_url="https://chat2pay.example",
    key_fingerprint="0123456789abcdef",
    request_id=None,
    first_attempt=ATTEMPT,
    last_attempt=ATTEMPT,
)
STORY: tuple[Event, ...] = (
    events.CallStarted("c1", "create_payment_link"),
    events.AttemptFinished("c1", "create_payment_link", 1, ATTEMPT),
    events.RetryScheduled("c1", "create_payment_link", 1, 0.5, Proof.NOT_SENT),
    events.Paused("c1", "create_payment_link", 2.0),
    events.LookedUp("c1", "create_payment_link", "nothing", "404 {errors: [str], message: str}"),
    events.OutcomeUnknown("c1", "create_payment_link", PENDING),
    events.CallFinished(
        "c1", "create_payment_link", 1.5, (ATTEMPT,), "OutcomeUnknownError", recovered=False
    ),
    events.ItemFinished("c1", "create_payment_link", "A-1001", "unknown", recovered=False),
)
"""One event of each kind."""

LEVELS = {
    events.CallStarted: logging.DEBUG,
    events.AttemptFinished: logging.DEBUG,
    events.RetryScheduled: logging.INFO,
    events.Paused: logging.INFO,
    events.LookedUp: logging.DEBUG,
    events.OutcomeUnknown: logging.WARNING,
    events.CallFinished: logging.DEBUG,
    events.ItemFinished: logging.DEBUG,
}


def kinds(kind: type[Event] = Event) -> Iterator[type[Event]]:
    for below in kind.__subclasses__():
        yield below
        yield from kinds(below)


class WatchingError(Exception):
    """An error that a hook in these tests raises."""


def failing(_event: Event) -> None:
    raise WatchingError("the hook is broken")


def test_the_story_has_every_kind_of_event() -> None:
    assert {type(event) for event in STORY} == set(kinds()) == set(LEVELS)


def test_hooks_receive_every_event_in_order() -> None:
    received: list[Event] = []
    hooks = Hooks([received.append])
    for event in STORY:
        hooks.emit(event)
    assert received == list(STORY)


def test_hooks_are_called_in_the_order_in_which_they_were_given() -> None:
    received: list[str] = []
    hooks = Hooks([lambda _: received.append("first"), lambda _: received.append("second")])
    hooks.emit(STORY[0])
    assert received == ["first", "second"]


def test_hooks_may_come_from_an_iterator() -> None:
    received: list[Event] = []
    hooks = Hooks(iter([received.append]))
    hooks.emit(STORY[0])
    hooks.emit(STORY[1])
    assert received == [STORY[0], STORY[1]]


@pytest.mark.parametrize("event", STORY, ids=lambda event: type(event).__name__)
def test_events_are_frozen(event: Event) -> None:
    for field in attrs.fields(type(event)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(event, field.name, None)


@pytest.mark.parametrize("event", STORY, ids=lambda event: type(event).__name__)
def test_every_event_says_which_call_it_belongs_to(event: Event) -> None:
    assert (event.call_id, event.operation) == ("c1", "create_payment_link")


def test_a_hook_that_raises_is_logged_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    received: list[Event] = []
    Hooks([failing, received.append]).emit(STORY[0])
    assert received == [STORY[0]]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.name, record.getMessage()) == (LOGGER, "a hook failed on CallStarted")
    assert record.exc_info is not None
    assert record.exc_info[0] is WatchingError


def test_an_exception_that_is_not_a_hooks_mistake_is_raised() -> None:
    def interrupted(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Hooks([interrupted]).emit(STORY[0])


@pytest.mark.parametrize(
    ("level", "listens"),
    [(logging.DEBUG, True), (logging.INFO, False), (logging.WARNING, False)],
)
def test_without_hooks_events_are_emitted_only_to_a_debug_logger(
    caplog: pytest.LogCaptureFixture, level: int, *, listens: bool
) -> None:
    caplog.set_level(level, logger=LOGGER)
    assert bool(Hooks([])) is listens


def test_with_a_hook_events_are_always_emitted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger=LOGGER)
    assert Hooks([failing])


@pytest.mark.parametrize("event", STORY, ids=lambda event: type(event).__name__)
def test_every_event_is_logged_at_its_level(event: Event, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    log_event(event)
    (record,) = caplog.records
    assert (record.name, record.levelno) == (LOGGER, LEVELS[type(event)])
    assert record.getMessage() == str(event)


def test_events_are_logged_with_no_hook_at_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOGGER)
    for event in STORY:
        Hooks([]).emit(event)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]


def test_no_event_shows_the_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    for event in STORY:
        Hooks([]).emit(event)
    assert len(caplog.records) == len(STORY)
    assert "27831234567" not in caplog.text


async def asynchronous(_event: Event) -> None: ...


class Asynchronous:
    async def __call__(self, event: Event) -> None: ...


@pytest.mark.parametrize("hook", [asynchronous, Asynchronous(), "print"])
def test_a_hook_that_would_never_be_heard_is_refused(hook: Any) -> None:
    with pytest.raises(ConfigurationError, match="plain function of one event"):
        Hooks([hook])


@pytest.mark.parametrize("hooks", [print, None, 5])
def test_hooks_that_are_no_list_are_refused(hooks: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"hooks=\[print\]"):
        Hooks(hooks)
