"""Hooks and loggers receive events, and can't disturb a call."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from scripted import CREATED, LINK, Act, ScriptedTransport, answer, forever, lost, options
from virtual_time import jump

from chat2pay_async import events
from chat2pay_async._api.operations import CREATE_PAYMENT_LINK
from chat2pay_async._config import ApiKey
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import RateLimiter, Slots
from chat2pay_async._send.sender import Sender
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import (
    Attempt,
    ConfigurationError,
    OutcomeUnknownError,
    Pending,
    Proof,
    RequestTimeoutError,
    SentRequest,
)
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
TARGET = events.Target("POST", "/api/v2/chat-2-pay", "chat2pay.example", 443)
LOOKED_UP = events.LookedUp(
    "c1",
    "create_payment_link",
    "nothing",
    "404 {errors: [str], message: str}",
    TARGET,
    datetime(2026, 5, 4, tzinfo=UTC),
    0.25,
    404,
    None,
    None,
)
STORY: tuple[Event, ...] = (
    events.CallStarted("c1", "create_payment_link"),
    events.AttemptStarted("c1", "create_payment_link", 1, TARGET, 0.5, None),
    events.AttemptFinished("c1", "create_payment_link", 1, ATTEMPT, TARGET),
    events.RetryScheduled("c1", "create_payment_link", 1, 0.5, Proof.NOT_SENT),
    events.Paused("c1", "create_payment_link", 2.0),
    events.JournalBehind("c1", "create_payment_link", "the disk is full"),
    events.Unreachable("c1", "create_payment_link", 4.0, 2.0, "could not connect to s.test:443"),
    events.ResolutionStarted("c1", "create_payment_link"),
    events.LookUpStarted("c1", "create_payment_link", TARGET),
    LOOKED_UP,
    events.OutcomeUnknown("c1", "create_payment_link", PENDING),
    events.CallFinished(
        "c1", "create_payment_link", 1.5, (ATTEMPT,), "OutcomeUnknownError", recovered=False
    ),
    events.CallReplayed("c1", "create_payment_link"),
    events.ItemFinished("c1", "create_payment_link", "A-1001", "unknown", recovered=False),
)
"""One event of each kind."""

LEVELS = {
    events.CallStarted: logging.DEBUG,
    events.AttemptStarted: logging.DEBUG,
    events.ResolutionStarted: logging.DEBUG,
    events.LookUpStarted: logging.DEBUG,
    events.AttemptFinished: logging.DEBUG,
    events.RetryScheduled: logging.INFO,
    events.Paused: logging.INFO,
    events.JournalBehind: logging.ERROR,
    events.Unreachable: logging.WARNING,
    events.LookedUp: logging.DEBUG,
    events.OutcomeUnknown: logging.WARNING,
    events.CallFinished: logging.DEBUG,
    events.CallReplayed: logging.DEBUG,
    events.ItemFinished: logging.DEBUG,
}


def kinds() -> Iterator[type[Event]]:
    for name in events.__all__:
        one = getattr(events, name)
        if isinstance(one, type) and issubclass(one, Event) and one is not Event:
            yield one


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


class OddError(BaseException):
    """An error that is no `Exception`."""


class Cancelled(BaseException):
    """Named as trio's."""


def raising(error: BaseException) -> events.Hook:
    def hook(_event: Event) -> None:
        raise error

    return hook


MISTAKES = (
    WatchingError("broken"),
    OddError("broken"),
    GeneratorExit(),
    MemoryError(),
    ExceptionGroup("broken", [WatchingError()]),
    BaseExceptionGroup("broken", [OddError()]),
)
STOPS = (
    KeyboardInterrupt(),
    SystemExit(1),
    asyncio.CancelledError(),
    Cancelled(),
    BaseExceptionGroup("stop", [OddError(), KeyboardInterrupt()]),
)


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
def test_whatever_a_hook_raises_goes_no_further(error: BaseException) -> None:
    received: list[Event] = []
    Hooks([raising(error), received.append]).emit(STORY[0])
    assert received == [STORY[0]]


@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
def test_what_ends_the_program_or_the_task_is_raised_once_every_hook_was_called(
    error: BaseException,
) -> None:
    received: list[Event] = []
    with pytest.raises(type(error)) as raised:
        Hooks([raising(error), raising(SystemExit(2)), received.append]).emit(STORY[0])
    assert raised.value is error
    assert received == [STORY[0]]


def test_what_a_hook_returns_is_not_looked_at() -> None:
    class Odd:
        def __bool__(self) -> bool:
            raise WatchingError

        def __len__(self) -> int:
            raise WatchingError

        def __call__(self, _event: Event) -> Odd:
            return self

    hooks = Hooks([Odd()])
    assert hooks
    hooks.emit(STORY[0])


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
    assert [record.levelname for record in caplog.records] == [
        "INFO",
        "INFO",
        "ERROR",
        "WARNING",
        "WARNING",
    ]


def test_no_event_shows_the_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    for event in STORY:
        Hooks([]).emit(event)
    assert len(caplog.records) == len(STORY)
    assert "27831234567" not in caplog.text


# Structured logs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", STORY, ids=lambda event: type(event).__name__)
def test_a_record_has_its_event_as_fields_that_json_holds(
    event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    log_event(event)
    fields: dict[str, Any] = vars(caplog.records[0])["chat2pay"]
    assert fields == event.to_dict() == json.loads(json.dumps(fields))
    assert fields["event"] == type(event).__name__
    assert fields.keys() == {"event"} | {field.name for field in attrs.fields(type(event))}


def test_the_fields_of_an_event_are_plain_values_and_nothing_of_a_request() -> None:
    attempt = {
        "started_at": "2026-05-04T00:00:00+00:00",
        "elapsed": 0.25,
        "proof": "unknown",
        "status_code": 502,
        "error": None,
    }
    by_kind = {type(event): event.to_dict() for event in STORY}
    assert by_kind[events.CallFinished]["attempts"] == [attempt]
    assert by_kind[events.OutcomeUnknown]["pending"] == "A-1001"
    assert by_kind[events.RetryScheduled]["proof"] == "not sent"
    assert by_kind[events.LookedUp]["started_at"] == "2026-05-04T00:00:00+00:00"
    assert by_kind[events.AttemptFinished]["target"] == {
        "method": "POST",
        "url_template": "/api/v2/chat-2-pay",
        "server_address": "chat2pay.example",
        "server_port": 443,
    }


def test_what_no_logger_wants_is_not_made_plain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=LOGGER)
    monkeypatch.setattr(Event, "to_dict", refuse)
    log_event(STORY[0])
    assert caplog.records == []


# Scopes -------------------------------------------------------------------------------------------


class Scoped:
    """A hook that has something around calls and attempts, and writes down what happens."""

    def __init__(self, lines: list[str], name: str = "") -> None:
        self._lines = lines
        self._name = name

    def __call__(self, event: Event) -> None:
        self._lines.append(f"{self._name}{type(event).__name__}")

    @contextmanager
    def around(self, started: Event) -> Iterator[None]:
        self._lines.append(f"{self._name}into {type(started).__name__}")
        yield
        self._lines.append(f"{self._name}out of {type(started).__name__}")


def test_a_scope_is_entered_before_its_event_is_emitted_and_left_in_turn() -> None:
    lines: list[Any] = []
    hooks = Hooks([Scoped(lines, "a "), lines.append, Scoped(lines, "b ")])
    with hooks.around(STORY[0]):
        lines.append("within")
    assert lines == [
        "a into CallStarted",
        "b into CallStarted",
        "a CallStarted",
        STORY[0],
        "b CallStarted",
        "within",
        "b out of CallStarted",
        "a out of CallStarted",
    ]


def test_a_scope_is_left_once_and_without_an_exception() -> None:
    lines: list[str] = []
    scope = Hooks([Scoped(lines)]).around(STORY[0])
    with pytest.raises(WatchingError), scope:
        raise WatchingError
    scope.end()
    assert lines == ["into CallStarted", "CallStarted", "out of CallStarted"]


class Around:
    """A hook whose scope fails."""

    def __init__(self, error: BaseException, *, at_the_end: bool, of: type[Event] = Event) -> None:
        self._error = error
        self._at_the_end = at_the_end
        self._of = of

    def __call__(self, event: Event) -> None: ...

    @contextmanager
    def around(self, started: Event) -> Iterator[None]:
        if isinstance(started, self._of) and not self._at_the_end:
            raise self._error
        yield
        if isinstance(started, self._of):
            raise self._error


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_scope_that_fails_goes_no_further_and_leaves_the_others(
    error: BaseException, caplog: pytest.LogCaptureFixture, *, at_the_end: bool
) -> None:
    lines: list[str] = []
    hooks = Hooks([Scoped(lines, "a "), Around(error, at_the_end=at_the_end), Scoped(lines, "b ")])
    with hooks.around(STORY[0]):
        pass
    assert len(lines) == 6
    assert "a hook failed on CallStarted" in caplog.messages


@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_scope_that_ends_the_program_leaves_all_others(
    error: BaseException, *, at_the_end: bool
) -> None:
    lines: list[str] = []
    hooks = Hooks([Scoped(lines, "a "), Around(error, at_the_end=at_the_end), Scoped(lines, "b ")])
    with pytest.raises(type(error)) as raised, hooks.around(STORY[0]):
        pass
    assert raised.value is error
    assert lines[-2:] == ["b out of CallStarted", "a out of CallStarted"]


def test_an_event_that_ends_the_program_leaves_the_scopes_that_it_is_in() -> None:
    lines: list[str] = []
    hooks = Hooks([Scoped(lines), raising(SystemExit())])
    with pytest.raises(SystemExit), hooks.around(STORY[0]):
        lines.append("within")
    assert lines == ["into CallStarted", "CallStarted", "out of CallStarted"]


def test_a_hook_whose_around_is_no_method_is_a_plain_hook() -> None:
    class Odd:
        around = "the world"

        def __call__(self, event: Event) -> None:
            received.append(event)

    received: list[Event] = []
    with Hooks([Odd()]).around(STORY[0]):
        assert received == [STORY[0]]


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


# Loggers that fail --------------------------------------------------------------------------------


class FailingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise WatchingError(record.name)


class FailingHandler(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise WatchingError(record.name)


class Unprintable(logging.Handler):
    """Formats at once, and lets what `str` raises through."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        raise WatchingError


def refuse(*_: object) -> Any:
    raise WatchingError


def with_filter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logging.getLogger(LOGGER), "filters", [FailingFilter()])


def with_handler(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logging.getLogger(LOGGER), "handlers", [FailingHandler()])


def with_unprintable_events(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logging.getLogger(LOGGER), "handlers", [Unprintable()])
    for kind in kinds():
        patch.setattr(kind, "__repr__", refuse)
        patch.setattr(kind, "__str__", refuse)


def with_levels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logging.getLogger(LOGGER), "isEnabledFor", refuse)


FAILING_LOGGERS = (with_filter, with_handler, with_unprintable_events, with_levels)


@pytest.mark.parametrize("fail", FAILING_LOGGERS)
def test_a_logger_that_fails_stops_no_hook(
    fail: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    fail(monkeypatch)
    received: list[Event] = []
    for event in STORY:
        Hooks([failing, received.append]).emit(event)
    assert received == list(STORY)


def test_a_logger_that_fails_does_not_want_events(monkeypatch: pytest.MonkeyPatch) -> None:
    with_levels(monkeypatch)
    assert not Hooks([])


# Calls under observers that fail ------------------------------------------------------------------

LOST = (lost(), answer(503))
"""A POST whose outcome stays unknown: its response is lost, and look-ups get none that counts."""


def sender_of(*hooks: events.Hook, script: tuple[Act, ...], transport: Any = None) -> Sender:
    engine = transport or ScriptedTransport([script[0]], list(script[1:]))
    key = ApiKey("secret-key")
    limited = LimitedTransport(engine, Slots(10), RateLimiter(None), key.reveal())
    return Sender(limited, Hooks(hooks), key, "https://s.test")


class Log:
    """A journal's row that writes its lines beside those of a hook."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    async def record_intent(self, pending: Pending) -> None:
        self._lines.append(f"intent {pending.identity}")

    def record_attempt(self, attempt: Attempt, _response: WireResponse | None) -> None:
        self._lines.append(f"attempt {attempt.proof}")

    async def others(self, _pending: Pending) -> list[tuple[str, Any]]:
        return []

    def record_pending(self, pending: Pending) -> None:
        self._lines.append(f"pending {pending.identity}")


def at(kind: type[Event], act: Callable[[], object]) -> events.Hook:
    """A hook that acts at one kind of event."""

    def hook(event: Event) -> None:
        if isinstance(event, kind):
            act()

    return hook


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
async def test_a_hook_that_fails_takes_no_result_and_no_pending_call_away(
    error: BaseException,
) -> None:
    made = sender_of(raising(error), script=(CREATED,))
    assert (await made.send(CREATE_PAYMENT_LINK, LINK, options())).parsed.payment_link_ref
    unsure = sender_of(raising(error), script=LOST)
    with pytest.raises(OutcomeUnknownError):
        await unsure.send(CREATE_PAYMENT_LINK, LINK, options())


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("fail", FAILING_LOGGERS)
async def test_a_logger_that_fails_takes_no_result_and_no_pending_call_away(
    fail: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    fail(monkeypatch)
    made = sender_of(failing, script=(CREATED,))
    assert (await made.send(CREATE_PAYMENT_LINK, LINK, options())).parsed.payment_link_ref
    unsure = sender_of(failing, script=LOST)
    with pytest.raises(OutcomeUnknownError):
        await unsure.send(CREATE_PAYMENT_LINK, LINK, options())


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_logger_that_fails_swallows_no_cancellation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    with_filter(monkeypatch)
    sender = sender_of(script=(forever,))
    with anyio.move_on_after(5) as scope:
        await sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    (pending,) = sender.unsettled
    assert pending.identity == LINK.order_number


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("script", [(CREATED,), LOST], ids=["applied", "unknown"])
@pytest.mark.parametrize("kind", [events.AttemptFinished, events.CallFinished])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=repr)
async def test_a_call_that_a_hook_ends_stays_known(
    error: BaseException, kind: type[Event], script: tuple[Act, ...]
) -> None:
    def stop() -> None:
        raise error

    sender = sender_of(at(kind, stop), script=script)
    with suppress(KeyboardInterrupt, SystemExit):
        await sender.send(CREATE_PAYMENT_LINK, LINK, options())
    (pending,) = sender.unsettled
    assert pending.identity == LINK.order_number


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_call_whose_error_says_so_is_not_kept_beside_it() -> None:
    sender = sender_of(failing, script=LOST)
    with pytest.raises(OutcomeUnknownError):
        await sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert sender.unsettled == ()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [events.AttemptFinished, events.CallFinished])
async def test_a_hook_that_cancels_the_scope_takes_no_result_away(kind: type[Event]) -> None:
    with anyio.CancelScope() as scope:
        sender = sender_of(at(kind, scope.cancel), script=(CREATED,))
        response = await sender.send(CREATE_PAYMENT_LINK, LINK, options())
        assert response.parsed.payment_link_ref == "ref-1"
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [events.AttemptFinished, events.CallFinished])
async def test_a_hook_that_cancels_the_task_takes_no_result_away(kind: type[Event]) -> None:
    refs: list[str | None] = []

    async def paying() -> None:
        task = asyncio.current_task()
        assert task is not None
        sender = sender_of(at(kind, task.cancel), script=(CREATED,))
        refs.append(
            (await sender.send(CREATE_PAYMENT_LINK, LINK, options())).parsed.payment_link_ref
        )
        await asyncio.sleep(0)
        refs.append("went on")

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(paying())
    assert refs == ["ref-1"]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_hook_that_cancels_while_the_outcome_is_unknown_leaves_it_known() -> None:
    with anyio.CancelScope() as scope:
        sender = sender_of(at(events.AttemptFinished, scope.cancel), script=LOST)
        await sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert scope.cancelled_caught
    (pending,) = sender.unsettled
    assert pending.identity == LINK.order_number


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("script", [(CREATED,), LOST], ids=["applied", "unknown"])
@pytest.mark.parametrize("kind", [events.CallStarted, events.AttemptStarted])
async def test_a_call_stays_known_whose_scope_ends_the_program(
    script: tuple[Act, ...], kind: type[Event]
) -> None:
    sender = sender_of(Around(SystemExit(), at_the_end=True, of=kind), script=script)
    with pytest.raises(SystemExit):
        await sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert [one.identity for one in sender.unsettled] == [LINK.order_number]


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("kind", [events.CallStarted, events.AttemptStarted])
async def test_nothing_leaves_after_a_scope_that_ends_the_program_at_once(
    kind: type[Event],
) -> None:
    engine = ScriptedTransport([CREATED])
    hook = Around(SystemExit(), at_the_end=False, of=kind)
    sender = sender_of(hook, script=(), transport=engine)
    with pytest.raises(SystemExit):
        await sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert (engine.sent, sender.unsettled) == ([], ())


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_calls_attempts_and_look_ups_have_scopes_within_each_other() -> None:
    lines: list[str] = []
    sender = sender_of(Scoped(lines), script=LOST)
    with pytest.raises(OutcomeUnknownError):
        await sender.send(CREATE_PAYMENT_LINK, LINK, options())
    assert [line for line, _ in groupby(lines)][:10] == [
        "into CallStarted",
        "CallStarted",
        "into AttemptStarted",
        "AttemptStarted",
        "AttemptFinished",
        "out of AttemptStarted",
        "into LookUpStarted",
        "LookUpStarted",
        "LookedUp",
        "out of LookUpStarted",
    ]
    assert lines[-3:] == ["OutcomeUnknown", "CallFinished", "out of CallStarted"]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_the_journal_is_told_before_any_hook() -> None:
    lines: list[str] = []
    sender = sender_of(lambda event: lines.append(type(event).__name__), script=LOST)
    with pytest.raises(OutcomeUnknownError):
        await sender.send(CREATE_PAYMENT_LINK, LINK, options(), Log(lines))
    order = [line for line in lines if not line.startswith("Look")]
    assert order == [
        "CallStarted",
        "intent A-1",
        "AttemptStarted",
        "attempt unknown",
        "AttemptFinished",
        "pending A-1",
        "OutcomeUnknown",
        "CallFinished",
    ]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_hook_that_takes_all_the_time_there_is_keeps_the_request_from_leaving() -> None:
    engine = ScriptedTransport([CREATED] * 5)
    sender = sender_of(at(events.CallStarted, lambda: jump(100)), script=(), transport=engine)
    with pytest.raises(RequestTimeoutError):
        await sender.send(CREATE_PAYMENT_LINK, LINK, options(total=10.0))
    assert engine.sent == []
    assert sender.unsettled == ()
