"""The events of a client at work: frozen values, passed to hooks.

A hook is any callable that takes one event. It is called synchronously, in the task that makes
the call, so it must be quick; what it raises is logged and goes no further. `KeyboardInterrupt`,
`SystemExit` and cancellations are no mistakes of a hook's: they are raised once every hook was
called. What a logger's filters and handlers raise goes no further either.

    >>> def print_retries(event):
    ...     if isinstance(event, RetryScheduled):
    ...         print(f"{event.operation} is retried in {event.delay:.1f} s ({event.proof})")
    >>> print_retries(RetryScheduled("c1", "get_transaction", 1, 0.5, Proof.NOT_SENT))
    get_transaction is retried in 0.5 s (not sent)

Pass it as `AsyncChat2Pay(hooks=[print_retries])`. The same events go to the logger
`chat2pay_async.calls`, as fields too (`log_event`): retries and pauses at INFO, unknown outcomes
and outages at WARNING, `JournalBehind` at ERROR, everything else at DEBUG. No event's `repr` shows
a key, a phone number or card data; the request of a `Pending` holds what was sent. The logger
`chat2pay_async.settings` warns of what a client does not understand in the environment, and does
not need.

A hook may also have a method `around` (`ScopedHook`): it returns a context manager for a call, an
attempt or a look-up, which is entered in the task that makes it. `chat2pay_async.opentelemetry` has
such a hook, for traces and metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import Any, Protocol, cast

import attrs

from chat2pay_async._values import Value
from chat2pay_async.errors import Attempt, ConfigurationError, Pending, Proof

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "CallFinished",
    "CallReplayed",
    "CallStarted",
    "Event",
    "Hook",
    "Hooks",
    "ItemFinished",
    "JournalBehind",
    "LookUpStarted",
    "LookedUp",
    "OutcomeUnknown",
    "Paused",
    "ResolutionStarted",
    "RetryScheduled",
    "Scope",
    "ScopedHook",
    "Target",
    "Unreachable",
    "log_event",
]

_logger = logging.getLogger("chat2pay_async.calls")


@attrs.frozen(eq=False, repr=False)
class Event(Value):
    """Something that happened in a call, or in a run."""

    call_id: str
    """The same in every event of one call, and in no other's.

    An `ItemFinished` has the id of its run. It is empty in events of `resolve`, of a run's look for
    an order that exists, and of a run that waits.
    """
    operation: str
    """The method that was called, such as `capture_payment`."""

    def to_dict(self) -> dict[str, Any]:
        """Return its fields as what JSON has, with its class's name as `event`.

        Of a `Pending` it has the identity alone: neither the request nor anything of a person's.
        """
        kind: Any = type(self)
        names = (field.name for field in attrs.fields(kind))
        return {"event": kind.__name__} | {name: _plain(getattr(self, name)) for name in names}


def _plain(value: Any) -> Any:
    match value:
        case Pending():
            return value.identity
        case Attempt() | Target():
            return {
                field.name: _plain(getattr(value, field.name))
                for field in attrs.fields(type(value))
            }
        case tuple():
            return [_plain(one) for one in value]
        case Proof():
            return value.value
        case datetime():
            return value.isoformat()
        case _:
            return value


@attrs.frozen(eq=False, repr=False)
class Target(Value):
    """Endpoint that a request goes to: no reference, no query, nothing of a person's."""

    method: str
    url_template: str
    """The path, with the names of its parameters. Empty where the caller named the path
    (`client.request`): it may hold references."""
    server_address: str
    server_port: int


@attrs.frozen(eq=False, repr=False)
class CallStarted(Event):
    """A call was made; it may have to wait for a connection."""


@attrs.frozen(eq=False, repr=False)
class AttemptStarted(Event):
    """One attempt has all that it waits for, and begins to send its request.

    An attempt for which the `api_key` callable had no key never comes to it.
    """

    number: int
    """Counted from 1."""
    target: Target
    waited: float
    """Seconds for which it waited for a free connection and for the rate, pauses included."""
    journaled: float | None
    """Seconds that the journal took to write it down; None where that was not done."""


@attrs.frozen(eq=False, repr=False)
class AttemptFinished(Event):
    """One attempt came to its end, whatever it was."""

    number: int
    """Counted from 1."""
    attempt: Attempt
    target: Target


@attrs.frozen(eq=False, repr=False)
class RetryScheduled(Event):
    """The call is retried after a delay."""

    number: int
    """The attempt that failed, counted from 1."""
    delay: float
    """Seconds until the next one."""
    proof: Proof
    """The proof of the failed attempt."""


@attrs.frozen(eq=False, repr=False)
class Paused(Event):
    """The service wants fewer requests (429): all of this client's calls wait.

    With a `Limiter` of your own it is this call alone.
    """

    seconds: float
    """Length of the pause, from now."""


@attrs.frozen(eq=False, repr=False)
class Unreachable(Event):
    """A run (`chat2pay_async.bulk`) waits, since nothing can be sent; or it goes on."""

    lasted: float
    """Seconds since the first call began that could not be sent."""
    delay: float | None
    """Seconds until one item is tried; None: the service can be reached again."""
    reason: str
    """The latest of these calls' errors."""


@attrs.frozen(eq=False, repr=False)
class ResolutionStarted(Event):
    """Look-ups begin that are no part of a call: of `resolve`, `recover`, or an item of a run."""


@attrs.frozen(eq=False, repr=False)
class LookUpStarted(Event):
    """A look-up has all that it waits for, and begins to send its request."""

    target: Target


@attrs.frozen(eq=False, repr=False)
class LookedUp(Event):
    """A call whose outcome is unknown was looked up through the status endpoint."""

    shows: str
    """The look-up's finding, in words."""
    form: str
    """The response's form without its values, such as `404 {errors: [str], message: str}`."""
    target: Target
    started_at: datetime
    elapsed: float
    """Seconds that it took."""
    status_code: int | None
    """None where there was no response."""
    error: str | None
    """The reason why there was none, such as `ReadTimeout`."""
    verdict: str | None
    """The verdict that all look-ups so far come to, such as `absent`; None: they go on."""


@attrs.frozen(eq=False, repr=False)
class OutcomeUnknown(Event):
    """A call ends (or was cancelled) while it may have been applied."""

    pending: Pending
    """The call, for `client.resolve`."""


@attrs.frozen(eq=False, repr=False)
class JournalBehind(Event):
    """A call has ended, and its end could not be written to the journal.

    The call's caller has its result. The journal has it as open: whoever comes next with its key
    looks it up, and sends nothing before.
    """

    reason: str
    """The error, in words."""


@attrs.frozen(eq=False, repr=False)
class CallFinished(Event):
    """A call came to its end."""

    elapsed: float
    """Seconds since it started, waiting included."""
    attempts: tuple[Attempt, ...]
    """Every attempt, in order."""
    error: str | None
    """The error's class name; None for a success."""
    recovered: bool
    """True if the result was read back, after a response was lost."""


@attrs.frozen(eq=False, repr=False)
class CallReplayed(Event):
    """A call's key was known: it has the first call's result. Nothing was sent; no other event."""


@attrs.frozen(eq=False, repr=False)
class ItemFinished(Event):
    """An item of a run (`chat2pay_async.bulk`) came to its end; `call_id` is the run's."""

    key: str
    """Order number, or payment link reference, of the item."""
    state: str
    """State of the outcome, such as `applied`."""
    recovered: bool
    """True if its result was read back, after a response was lost."""


class Hook(Protocol):
    """A callable that takes every event."""

    def __call__(self, event: Event, /) -> object:
        """Take an event. What it returns is ignored; what it raises is logged."""
        ...


class ScopedHook(Hook, Protocol):
    """A hook that has something to do around calls, attempts and look-ups, such as open a span."""

    def around(self, started: Event, /) -> AbstractContextManager[object]:
        """Return what is entered before a call, an attempt, a look-up or a series of them.

        It is entered before hooks are passed the event that begins it, and left after the one that
        ends it, in the task that makes the call: what it sets in a `ContextVar` holds in between.
        It is left without an exception whatever happened, and what it raises is logged.

        Args:
            started: A `CallStarted`, `AttemptStarted`, `LookUpStarted` or `ResolutionStarted`.
        """
        ...


_LEVELS: dict[type[Event], int] = {
    JournalBehind: logging.ERROR,
    OutcomeUnknown: logging.WARNING,
    Paused: logging.INFO,
    RetryScheduled: logging.INFO,
    Unreachable: logging.WARNING,
}


def log_event(event: Event) -> None:
    """Write an event to the logger `chat2pay_async.calls`; every client does so.

    The record's attribute `chat2pay` has it as `Event.to_dict`, for structured logs.
    """
    level = _LEVELS.get(type(event), logging.DEBUG)
    if _logger.isEnabledFor(level):
        _logger.log(level, "%s", event, extra={"chat2pay": event.to_dict()})


class Hooks:
    """A client's hooks; false where nothing needs the events of a call that goes well."""

    __slots__ = ("_hooks", "_scoped")

    def __init__(self, hooks: Iterable[Hook]) -> None:
        given: object = hooks
        if not isinstance(given, Iterable):
            raise ConfigurationError("hooks are given as a list: hooks=[print]")
        self._hooks: tuple[Any, ...] = tuple(given)
        for hook in self._hooks:
            if not callable(hook) or any(
                inspect.iscoroutinefunction(one) for one in (hook, type(hook).__call__)
            ):
                raise ConfigurationError(
                    "a hook is a plain function of one event; it is not awaited, so it must not be "
                    "an async one"
                )
        self._scoped = tuple(
            hook for hook in self._hooks if callable(getattr(hook, "around", None))
        )

    def __bool__(self) -> bool:
        if self._hooks:
            return True
        try:
            return _logger.isEnabledFor(logging.DEBUG)
        except Exception:  # noqa: BLE001 - likewise, it only watches
            return False

    def emit(self, event: Event) -> None:
        """Log an event and pass it to every hook: they watch, and decide nothing.

        Raises:
            BaseException: A hook stopped the program, or the task; all others were called.
        """
        _observe(event, (log_event, *self._hooks))

    def around(self, started: Event) -> Scope:
        """Return what emits an event when it is begun, within all that hooks have around it."""
        return Scope(self, self._scoped, started)


class Scope(AbstractContextManager[None]):
    """The context managers that hooks have around a call, an attempt or a look-up."""

    __slots__ = ("_entered", "_hooks", "_scoped", "_started")

    def __init__(self, hooks: Hooks, scoped: tuple[Any, ...], started: Event) -> None:
        self._hooks = hooks
        self._scoped = scoped
        self._started = started
        self._entered: list[AbstractContextManager[object]] = []

    def begin(self) -> None:
        """Enter them, and emit the event that begins it.

        Raises:
            BaseException: A hook stopped the program, or the task; nothing stays entered.
        """
        try:
            _observe(self._started, [partial(self._enter, hook) for hook in self._scoped])
            self._hooks.emit(self._started)
        except BaseException:
            self.end()
            raise

    def _enter(self, hook: Any, started: Event) -> None:
        manager = hook.around(started)
        manager.__enter__()
        self._entered.append(manager)

    def finish(self, finished: Event) -> None:
        """Emit the event that ends it, and leave them.

        Raises:
            BaseException: A hook stopped the program, or the task.
        """
        self._hooks.emit(finished)
        self.end()

    def end(self) -> None:
        """Leave them; a second time there is nothing to leave.

        Raises:
            BaseException: A hook stopped the program, or the task; all were left.
        """
        entered, self._entered = self._entered[::-1], []
        _observe(self._started, [partial(_leave, manager) for manager in entered])

    __enter__ = begin

    def __exit__(self, *_: object) -> None:
        self.end()


def _leave(entered: AbstractContextManager[object], _: Event) -> None:
    entered.__exit__(None, None, None)


def _observe(event: Event, observers: Iterable[Callable[[Event], object]]) -> None:
    """Let all of them observe an event, and log what goes wrong.

    Raises:
        BaseException: The first that ends the program, or the task.
    """
    stopped_by: BaseException | None = None
    for observer in observers:
        try:
            observer(event)
        except BaseException as error:  # noqa: BLE001 - a payment's fate is not a hook's to decide
            if _stops(error):
                stopped_by = stopped_by or error
            elif observer is not log_event:
                log_failure(f"a hook failed on {type(event).__name__}", error)
    if stopped_by is not None:
        raise stopped_by


def _stops(error: BaseException) -> bool:
    """Tell whether an exception ends the program or the task, and is no mistake of a hook's."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(map(_stops, group.exceptions))
    # trio's cancellation is told by its name: it need not be installed.
    return isinstance(error, (KeyboardInterrupt, SystemExit, asyncio.CancelledError)) or (
        type(error).__name__ == "Cancelled"
    )


def log_failure(text: str, error: BaseException) -> None:
    """Log that something of the user's failed, which decides nothing."""
    with contextlib.suppress(Exception):  # the logger may be what fails
        _logger.error(text, exc_info=error)
