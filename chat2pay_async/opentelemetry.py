"""Traces and metrics by OpenTelemetry; it needs the extra `otel`, which is its API alone.

    from chat2pay_async.opentelemetry import Telemetry

    client = AsyncChat2Pay(hooks=[Telemetry()])

`Telemetry` is a hook: whatever fails in it, in an exporter or in a processor, is logged, and takes
no result away. It uses the providers that the program has set, or those that it is given. One may
serve any number of clients.

# Spans

| Span | Kind | From, to |
|---|---|---|
| `chat2pay.capture_payment`, … | INTERNAL | a call, from its first wait to its end |
| `POST /api/v2/payment/{payment_link_ref}/capture`, … | CLIENT | an attempt of a call |
| `GET /api/v2/chat-2-pay/transaction-status` | CLIENT | a look-up of an unknown outcome |
| `chat2pay.resolve` | INTERNAL | the look-ups of `resolve`, `recover`, or an item of a run |

An attempt's span is the current one while its request is sent, so that the spans of an
`http_client` that is instrumented lie below it, and log lines name it. Attributes follow the HTTP
conventions: `http.request.method`, `url.template`, `server.address`, `server.port`,
`http.response.status_code`, `http.request.resend_count`, `error.type`. No URL with a reference in
it, no key, no phone number and no text of a response is among them. Further ones are
`chat2pay.operation`, `chat2pay.call_id` (the same in every event and log line), `chat2pay.outcome`,
`chat2pay.attempts`, `chat2pay.recovered`; `chat2pay.proof` and `chat2pay.queue.duration` of an
attempt; `chat2pay.shows` and `chat2pay.verdict` of look-ups. Retries, pauses and unknown outcomes
are events of the call's span.

# Metrics

| Metric | | Attributes, besides `chat2pay.operation` |
|---|---|---|
| `http.client.request.duration` | histogram, s | the conventional ones and `url.template` instead |
| `http.client.active_requests` | up-down counter | the same, as far as they are known before |
| `chat2pay.calls.active` | up-down counter | |
| `chat2pay.call.duration` | histogram, s | `chat2pay.outcome` |
| `chat2pay.outcomes` | counter | `chat2pay.outcome`, `chat2pay.recovered`, `error.type` |
| `chat2pay.attempts` | counter | `chat2pay.proof` |
| `chat2pay.look_ups` | counter | `chat2pay.shows` |
| `chat2pay.verdicts` | counter | `chat2pay.verdict`: applied, absent, undetermined |
| `chat2pay.queue.duration` | histogram, s | an attempt's wait for a connection and the rate |
| `chat2pay.pause.duration` | histogram, s | the pauses that the service asked for |
| `chat2pay.journal.duration` | histogram, s | the write that a POST waits for |
| `chat2pay.journal.behind` | counter | ends that could not be written |
| `chat2pay.items` | counter | `chat2pay.state`, `chat2pay.recovered`, of runs' items |

`chat2pay.outcome` is `applied`, `rejected`, `failed` (nothing was applied), `unknown`, `cancelled`
(before anything was applied), or `replayed` (a known key's first result; nothing was sent).
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from chat2pay_async import events
from chat2pay_async._config import __version__
from chat2pay_async._send.evidence import Shows
from chat2pay_async.errors import Proof, ReceiptNotSentError

try:
    from opentelemetry import context, metrics, trace
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        'chat2pay_async.opentelemetry needs its extra: pip install "chat2pay-async[otel]"'
    ) from _missing

__all__ = ["Telemetry"]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds of the HTTP conventions."""
_MORE_SECONDS: Final = (*_SECONDS, 30, 60, 120)
_LOWEST_ERROR: Final = 400
_CURRENT: Final = context.create_key("chat2pay_async")
_CANCELLED: Final = frozenset({"CancelledError", "Cancelled"})
"""Names of asyncio's and of trio's."""
_APPLIED: Final = frozenset({None, ReceiptNotSentError.__name__})
"""Errors of calls that took effect; a look-up may have shown it, and no attempt."""
_REQUESTS: Final = events.AttemptStarted, events.LookUpStarted
_CALLS: Final = events.CallStarted, events.ResolutionStarted


class Telemetry:
    """A hook that makes spans and metrics: `AsyncChat2Pay(hooks=[Telemetry()])`."""

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        http: bool = True,
    ) -> None:
        """Make a hook.

        Args:
            tracer_provider: Default: the global one.
            meter_provider: Default: the global one.
            http: Make a span of each request, and measure it. Pass False where the HTTP client is
                instrumented, and does so itself: its spans then lie directly below the call's, and
                `http.client.request.duration` is not recorded twice.
        """
        ours = "chat2pay_async", __version__
        self._tracer = trace.get_tracer(*ours, tracer_provider, _SCHEMA)
        self._meters = _Meters(metrics.get_meter(*ours, meter_provider, _SCHEMA))
        self._http = http

    def around(self, started: events.Event, /) -> AbstractContextManager[object]:
        """Return the span of a call, an attempt or a look-up: the current one while it lasts."""
        given: dict[str, Any] = _named(started)
        if started.call_id:
            given["chat2pay.call_id"] = started.call_id
        if not isinstance(started, _REQUESTS):
            is_call = isinstance(started, events.CallStarted)
            span = f"chat2pay.{started.operation if is_call else 'resolve'}", given
            active = (self._meters.active_calls, _named(started)) if is_call else None
            return _Scope(self._tracer, started, span, active)
        if not self._http:
            return nullcontext()
        target = _attributes_of(started.target)
        if isinstance(started, events.AttemptStarted):
            given["chat2pay.queue.duration"] = started.waited
            if started.number > 1:
                given["http.request.resend_count"] = started.number - 1
        name = f"{started.target.method} {started.target.url_template}".rstrip()
        active = self._meters.active_requests, target
        return _Scope(self._tracer, started, (name, given | target), active)

    def __call__(self, event: events.Event, /) -> None:
        """Take an event: what it says belongs to the innermost span that it is about."""
        meters, named = self._meters, _named(event)
        match event:
            case events.AttemptStarted() | events.AttemptFinished():
                self._take_attempt(event)
            case events.LookedUp():
                self._take_look_up(event)
            case events.RetryScheduled() | events.Paused() | events.OutcomeUnknown():
                self._take_note(event)
            case events.JournalBehind():
                meters.behind.add(1, named)
            case events.CallFinished():
                self._finish_call(event)
            case events.CallReplayed():
                self._take_replay(event)
            case events.ItemFinished():
                state = {"chat2pay.state": event.state, "chat2pay.recovered": event.recovered}
                meters.items.add(1, named | state)
            case _:
                pass  # the others have a log line

    def _take_note(
        self, event: events.RetryScheduled | events.Paused | events.OutcomeUnknown
    ) -> None:
        """Add an event to the span of its call."""
        name, fields = "outcome_unknown", dict[str, Any]()
        if isinstance(event, events.RetryScheduled):
            name, fields = "retry", {"delay": event.delay, "proof": event.proof.value}
        elif isinstance(event, events.Paused):
            self._meters.pause.record(event.seconds, _named(event))
            name, fields = "pause", {"seconds": event.seconds}
        scope = _scope_of(event, _CALLS)
        if scope is not None:
            scope.note(f"chat2pay.{name}", {f"chat2pay.{key}": it for key, it in fields.items()})
            scope.is_unknown = scope.is_unknown or isinstance(event, events.OutcomeUnknown)

    def _take_attempt(self, event: events.AttemptStarted | events.AttemptFinished) -> None:
        meters, named = self._meters, _named(event)
        if isinstance(event, events.AttemptStarted):
            meters.queue.record(event.waited, named)
            if event.journaled is not None:
                meters.journal.record(event.journaled, named)
            return
        attempt = event.attempt
        proof = {"chat2pay.proof": attempt.proof.value}
        meters.attempts.add(1, named | proof)
        result = _result_of(attempt.status_code, attempt.error)
        self._finish_request(event, event.target, attempt.elapsed, result, proof)

    def _take_look_up(self, event: events.LookedUp) -> None:
        shows, named = {"chat2pay.shows": event.shows}, _named(event)
        self._meters.look_ups.add(1, named | shows)
        if event.verdict is not None:
            verdict = {"chat2pay.verdict": event.verdict}
            self._meters.verdicts.add(1, named | verdict)
            shows |= verdict
            resolution = _scope_of(event, (events.ResolutionStarted,))
            if resolution is not None:
                resolution.finish(verdict)
        result = _result_of(event.status_code, event.error)
        if event.shows == Shows.ABSENT.value:
            result.pop("error.type", None)  # the 404 is what was asked for
        self._finish_request(event, event.target, event.elapsed, result, shows)

    def _finish_request(
        self,
        event: events.Event,
        target: events.Target,
        elapsed: float,
        result: dict[str, Any],
        more: dict[str, Any],
    ) -> None:
        """Finish the span of a request; there is none where no key was had, or `http` is False."""
        scope = _scope_of(event, _REQUESTS)
        if scope is not None:
            scope.finish(result | more)
            self._meters.request.record(elapsed, _attributes_of(target) | result)

    def _finish_call(self, event: events.CallFinished) -> None:
        scope, named = _scope_of(event, _CALLS), _named(event)
        is_unknown = scope is not None and scope.is_unknown
        outcome: dict[str, Any] = {"chat2pay.outcome": _outcome_of(event, is_unknown=is_unknown)}
        self._meters.call.record(event.elapsed, named | outcome)
        outcome["chat2pay.recovered"] = event.recovered
        if event.error is not None:
            outcome["error.type"] = event.error
        self._meters.outcomes.add(1, named | outcome)
        if scope is not None:
            scope.finish(outcome | {"chat2pay.attempts": len(event.attempts)})

    def _take_replay(self, event: events.CallReplayed) -> None:
        """Make a span of its end alone: how long it waited for the first call is not known."""
        outcome: dict[str, Any] = {"chat2pay.outcome": "replayed", "chat2pay.recovered": False}
        self._meters.outcomes.add(1, _named(event) | outcome)
        attributes = _named(event) | {"chat2pay.call_id": event.call_id} | outcome
        self._tracer.start_span(f"chat2pay.{event.operation}", attributes=attributes).end()


class _Meters:
    """The instruments; each is described at the top of this module."""

    def __init__(self, meter: metrics.Meter) -> None:
        def seconds(name: str, bounds: tuple[float, ...] = _MORE_SECONDS) -> metrics.Histogram:
            return meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=bounds)

        self.request = seconds("http.client.request.duration", _SECONDS)
        self.active_requests = meter.create_up_down_counter(
            "http.client.active_requests", "{request}"
        )
        self.call = seconds("chat2pay.call.duration")
        self.active_calls = meter.create_up_down_counter("chat2pay.calls.active", "{call}")
        self.outcomes = meter.create_counter("chat2pay.outcomes", "{call}")
        self.attempts = meter.create_counter("chat2pay.attempts", "{attempt}")
        self.look_ups = meter.create_counter("chat2pay.look_ups", "{look_up}")
        self.verdicts = meter.create_counter("chat2pay.verdicts", "{call}")
        self.queue = seconds("chat2pay.queue.duration")
        self.pause = seconds("chat2pay.pause.duration")
        self.journal = seconds("chat2pay.journal.duration", _SECONDS)
        self.behind = meter.create_counter("chat2pay.journal.behind", "{call}")
        self.items = meter.create_counter("chat2pay.items", "{item}")


class _Scope(AbstractContextManager[None]):
    """The span of a call, an attempt or a look-up, which is the current one while it lasts."""

    def __init__(
        self,
        tracer: trace.Tracer,
        started: events.Event,
        span: tuple[str, dict[str, Any]],
        active: tuple[metrics.UpDownCounter, dict[str, Any]] | None,
    ) -> None:
        """Prepare it.

        Args:
            tracer: Makes the span.
            started: The event that begins it.
            span: Its name, and its attributes.
            active: The counter of what is active, with the attributes that it is counted by.
        """
        self.started = started
        self.outer: _Scope | None = None
        self.is_unknown = False
        self._tracer = tracer
        self._given = span
        self._active = active
        self._is_finished = False

    def __enter__(self) -> None:
        found: Any = context.get_value(_CURRENT)
        self.outer = found
        # What is being handled already is none of what ends it.
        self._handled = sys.exception()
        is_request = isinstance(self.started, _REQUESTS)
        kind = trace.SpanKind.CLIENT if is_request else trace.SpanKind.INTERNAL
        name, attributes = self._given
        self._span = self._tracer.start_span(name, kind=kind, attributes=attributes)
        within = trace.set_span_in_context(self._span)
        self._count(1)
        # The last step: what fails before it leaves nothing behind.
        self._token = context.attach(context.set_value(_CURRENT, self, within))

    def note(self, name: str, fields: dict[str, Any]) -> None:
        """Add an event to the span."""
        self._span.add_event(name, fields)

    def finish(self, result: dict[str, Any]) -> None:
        """Set what became of it."""
        self._is_finished = True
        self._span.set_attributes(result)
        if "error.type" in result:
            self._span.set_status(trace.StatusCode.ERROR)

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)
        self._count(-1)
        error = sys.exception()
        if not self._is_finished and error is not None and error is not self._handled:
            self.finish({"error.type": type(error).__name__})
        self._span.end()

    def _count(self, change: int) -> None:
        if self._active is not None:
            counter, attributes = self._active
            counter.add(change, attributes)


def _scope_of(event: events.Event, kinds: tuple[type[events.Event], ...]) -> _Scope | None:
    """Return the innermost scope of this task that is of such a kind, and of the same call."""
    found: Any = context.get_value(_CURRENT)
    scope: _Scope | None = found
    while scope is not None:
        if isinstance(scope.started, kinds) and scope.started.call_id == event.call_id:
            return scope
        scope = scope.outer
    return None


def _named(event: events.Event) -> dict[str, Any]:
    return {"chat2pay.operation": event.operation}


def _attributes_of(target: events.Target) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "http.request.method": target.method,
        "server.address": target.server_address,
        "server.port": target.server_port,
    }
    if target.url_template:
        attributes["url.template"] = target.url_template
    return attributes


def _result_of(status_code: int | None, error: str | None) -> dict[str, Any]:
    """Return what an exchange came to, by the HTTP conventions."""
    result: dict[str, Any] = {}
    if status_code is not None:
        result["http.response.status_code"] = status_code
        if status_code >= _LOWEST_ERROR:
            error = str(status_code)
    if error is not None:
        result["error.type"] = error
    return result


def _outcome_of(event: events.CallFinished, *, is_unknown: bool) -> str:
    """Return what is known of a call's effect at its end."""
    proof = event.attempts[-1].proof if event.attempts else None
    if is_unknown:
        return "unknown"
    if event.error in _APPLIED or proof is Proof.APPLIED:
        return "applied"
    if event.error in _CANCELLED:
        return "cancelled"
    return "rejected" if proof is Proof.REJECTED else "failed"
