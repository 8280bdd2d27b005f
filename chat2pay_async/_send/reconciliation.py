"""Unknown outcome, look-ups, verdict.

The API has no idempotency keys, so a POST whose outcome is unknown is looked up through the status
endpoint before anything else happens. `look_up` decides when to look and when the evidence is
enough; it does no I/O. `Reconciler` drives it.

**Window.** The service is assumed to apply a request, and to show it, within `settle` seconds of
the moment when the attempt was given up, or would have timed out by itself. Look-ups start at once
and back off; a positive one ends them. *Absent* and *declined* count only from a look-up that
started when the window had passed. Look-ups that fail do not count; then the window stretches, by
three times `settle` at most, until one counts. All of it is measured on the event loop's clock. The
window of a request that another process sent starts when this process first takes it up. Where
something was seen that may be the effect, *absent* contradicts it: `Sightings` weighs the two.

**Verdicts.** *Applied*: the effect is there and is ours. *Absent*: explicitly, no such effect.
*Undetermined*: anything else, an effect that may not be ours included.

Assumptions: the service does apply, and show, a request within that window; whoever answers 429 has
not applied it (a proxy that repeats POSTs by itself can make this false); and without an echoed
stamp two processes that create one order in the same minute can't be told apart.
`RetryPolicy(resend_when_absent=False)` is for those who can't assume it: *absent* is then
*undetermined*.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Generator, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors
from chat2pay_async._api.headers import KeySource
from chat2pay_async._api.operations import GET_TRANSACTION, Operation, Safety, prepare
from chat2pay_async._api.responses import form_of, retry_after
from chat2pay_async._config import ApiKey
from chat2pay_async._send.call import Call, Options, target_of
from chat2pay_async._send.evidence import Evidence, Shows, Since, query_for, read_evidence
from chat2pay_async._send.flights import SIGHTINGS, Memory, Sightings
from chat2pay_async._send.limited_transport import KeyUnavailableError, LimitedTransport
from chat2pay_async._send.references import References, owner_by, owner_in, owner_of, reference_in
from chat2pay_async._transport.base import ExchangeError, Lease, SendGuard, WireResponse
from chat2pay_async._values import Value
from chat2pay_async.errors import Attempt, Pending, Proof
from chat2pay_async.events import Hooks, LookedUp, LookUpStarted, Paused, ResolutionStarted

__all__ = [
    "FRESH",
    "Finding",
    "Reconciler",
    "Resolution",
    "Seen",
    "Verdict",
    "look_for",
    "look_up",
]

Q = TypeVar("Q")

FRESH: Final = 1.0
"""Seconds that an *absent* may be old when a POST follows it."""
STRETCH: Final = 3
"""The most that the window stretches until a look-up counts, in times of `settle`."""
FIRST_GAP: Final = 0.25
LONGEST_GAP: Final = 2.5

_THROTTLED = 429


class Verdict(enum.Enum):
    """The end of look-ups."""

    APPLIED = "applied"
    """The effect is there, and it is ours."""
    ABSENT = "absent"
    """There is no such effect."""
    UNDETERMINED = "undetermined"
    """It can't be told."""


@attrs.frozen(eq=False, repr=False)
class Resolution(Value):
    """The end of a pending call: `client.resolve`'s result."""

    verdict: Verdict
    """`ABSENT`: the call can be made again. `UNDETERMINED`: its outcome is still unknown."""
    result: Any = None
    """The result that the call would have returned, where it was applied."""


# When to look, and when it is enough -------------------------------------------------------------


class Seen(NamedTuple):
    """One look-up: when it started, and what it showed."""

    started: float
    evidence: Evidence


class Finding(NamedTuple):
    """A verdict, with the evidence and the response that it rests on."""

    verdict: Verdict
    evidence: Evidence
    response: WireResponse | None = None
    answered: float = -math.inf
    """The time of the response to the look-up that it rests on."""


class _Look(NamedTuple):
    """A look-up that was made."""

    at: datetime
    """Its start by this machine's clock; all else is measured on the loop's."""
    started: float
    answered: float
    evidence: Evidence
    response: WireResponse | None
    failure: str | None
    """The reason why there was no response."""


LookUps: TypeAlias = Generator[float, Seen, Finding]


def look_up(  # noqa: PLR0913 - what there is to know before the first look
    window_ends: float,
    settle: float,
    now: float,
    *,
    is_foreign: bool = False,
    seen: Sightings | None = None,
    resend_when_absent: bool = True,
) -> LookUps:
    """Decide when to look a call up, and what the look-ups come to.

    Args:
        window_ends: The time at which *absent* begins to count.
        settle: `RetryPolicy.settle`, in seconds.
        now: The time, on the same clock.
        is_foreign: The call itself was refused by somebody who is not the service. A look-up that
            is refused likewise then ends it: there is nobody to ask.
        seen: What earlier look-ups of the call showed.
        resend_when_absent: False: *absent* is *undetermined*, to who can't assume what it rests on.

    Yields:
        When to look next; expects what was seen.

    Returns:
        The verdict, with the evidence that it rests on.
    """
    # Where the window has passed already, look-ups that fail still get as long.
    latest = max(window_ends, now) + STRETCH * settle
    gap, at, sightings = FIRST_GAP, now, 0
    seen = Sightings() if seen is None else seen
    absent = Verdict.ABSENT if resend_when_absent else Verdict.UNDETERMINED
    while True:
        started, evidence = yield at
        waited = started >= window_ends
        shows = seen.add(evidence.shows, waited=waited)
        if shows is Shows.OURS or (shows is Shows.DECLINED and waited):
            return Finding(Verdict.APPLIED, evidence)
        if shows is Shows.ABSENT and waited:
            return Finding(absent, evidence)
        sightings = sightings + 1 if waited and shows is Shows.OTHER else 0
        hopeless = is_foreign and shows is Shows.FOREIGN
        if sightings == SIGHTINGS or hopeless or started >= latest:
            return Finding(Verdict.UNDETERMINED, evidence)
        if sightings == 1 or (waited and evidence.shows is Shows.ABSENT):
            gap = FIRST_GAP
        # One look falls on the window's end exactly, and one on the latest moment.
        at = min(max(started + gap, at), latest if waited else window_ends)
        gap = min(2 * gap, LONGEST_GAP)


def look_for(window_ends: float, settle: float, now: float) -> LookUps:
    """Decide when to look for a link that anybody may have made; see `look_up`.

    What another process sent may still be on its way until `window_ends`.
    """
    latest = max(window_ends, now) + STRETCH * settle
    gap, at = FIRST_GAP, now
    while True:
        started, evidence = yield at
        shows, waited = evidence.shows, started >= window_ends
        if shows in {Shows.OURS, Shows.OTHER}:
            return Finding(Verdict.APPLIED, evidence)
        if shows is Shows.ABSENT and waited:
            return Finding(Verdict.ABSENT, evidence)
        if started >= latest:
            return Finding(Verdict.UNDETERMINED, evidence)
        # Whoever is absent now is looked for once more, when the window has passed.
        soon = window_ends if shows is Shows.ABSENT else started + gap
        at = min(max(soon, at), latest)
        gap = min(2 * gap, LONGEST_GAP)


# Looking ------------------------------------------------------------------------------------------


class Reconciler:
    """The look-ups of a client, and what it knows of calls that they may have to settle."""

    def __init__(
        self,
        transport: LimitedTransport,
        hooks: Hooks,
        key: ApiKey | KeySource,
        base_url: str,
        known: References | None = None,
    ) -> None:
        self._transport = transport
        self._hooks = hooks
        self._key_fingerprint = key.fingerprint
        self._base_url = base_url
        self._target = target_of(GET_TRANSACTION, base_url)
        self._memory = Memory()
        self.known = References() if known is None else known
        """The references that calls over these connections received."""

    def pending(self, call: Call[Any, Any]) -> Pending:
        """Return what is needed to settle a call later, in this process or in another."""
        now = self._transport.service_time()
        if call.service_time is None and now is not None and call.sent_at is not None:
            # When the first request of a client left, it was not known.
            call.service_time = now - timedelta(seconds=clock.now() - call.sent_at)
        pending = call.pending(self._base_url, self._key_fingerprint)
        known = self._memory.of(pending)
        known.sent_at, known.window_ends = call.sent_at, call.window_ends
        return pending

    async def look_up(self, call: Call[Any, Any], lease: Lease | None = None) -> Finding:
        """Look a call up until there is a verdict, and let the call note it.

        Args:
            call: A call that may have been applied.
            lease: Holds the connection for the POST that may follow at once: the call has a slot.
        """
        retry = call.options.retry
        pending = call.pending(self._base_url, self._key_fingerprint)
        if call.log is not None:
            self.note_others(pending, await call.log.others(pending))
        known = self._memory.of(pending)
        known.seen.has_any = False
        look_ups = look_up(
            call.window_ends,
            retry.settle,
            clock.now(),
            is_foreign=call.is_foreign,
            seen=known.seen,
            resend_when_absent=retry.resend_when_absent,
        )
        try:
            finding = await self._drive(
                look_ups, pending, call.sent_at, call.options, call.call_id, lease=lease
            )
        except BaseException:
            if known.seen.has_any:  # it contradicts the *absent* of the look-ups before
                call.conclude(may_have_been_applied=True)
            raise
        call.conclude(may_have_been_applied=finding.verdict is not Verdict.ABSENT)
        return finding

    async def look_for(
        self, operation: Operation[Q, Any], request: Q, options: Options, window_ends: float
    ) -> Finding:
        """Look for a link that anybody may have made under a request's order number."""
        now = Attempt(self._transport.now(), 0.0, Proof.NOT_SENT)
        pending = Pending(
            operation=operation.name,
            identity=operation.identity(request),
            request=prepare(operation, request),
            base_url=self._base_url,
            key_fingerprint=self._key_fingerprint,
            request_id=None,
            first_attempt=now,
            last_attempt=now,
        )
        with self._hooks.around(ResolutionStarted("", operation.name)):
            look_ups = look_for(window_ends, options.retry.settle, clock.now())
            return await self._drive(look_ups, pending, clock.now(), options, "")

    async def resolve(
        self, pending: Pending, options: Options, *, another_key: bool = False
    ) -> Resolution:
        """Settle a call that ended with its outcome unknown; sends no POST.

        Raises:
            ConfigurationError: It was made with another base URL, or another key.
            TypeError: It is no `Pending`.
        """
        await self._check(pending, options, another_key=another_key)
        known = self._memory.of(pending)
        with (
            self._hooks.around(ResolutionStarted("", pending.operation)),
            anyio.move_on_after(options.timeout.total),
        ):
            look_ups = self._look_ups(pending, options, clock.now())
            finding = await self._drive(look_ups, pending, known.sent_at, options, "")
            return _resolution(finding)
        return Resolution(Verdict.UNDETERMINED)

    def judge(
        self, pending: Pending, response: WireResponse, started: float, options: Options
    ) -> Resolution:
        """Return what one look-up comes to, which was made already; see `resolve`.

        Args:
            pending: The call.
            response: The status endpoint's response.
            started: The time at which that was asked.
            options: As for `resolve`.
        """
        look_ups = self._look_ups(pending, options, started)
        next(look_ups)
        since = _since(pending, self._memory.of(pending).sent_at, started)
        _, finding = _next(look_ups, Seen(started, self._read(pending, response, since)))
        return _resolution(finding)

    def _look_ups(self, pending: Pending, options: Options, now: float) -> LookUps:
        """Begin the look-ups of a pending call, by the more cautious of its settings and ours."""
        settle = max(pending.settle, options.retry.settle)
        read = max(pending.read_timeout, options.timeout.read)
        known = self._memory.of(pending)
        longer = (read - pending.read_timeout) + (settle - pending.settle)
        return look_up(
            known.window_ends + longer,
            settle,
            now,
            seen=known.seen,
            resend_when_absent=options.retry.resend_when_absent and pending.resend_when_absent,
        )

    def note_others(self, pending: Pending, others: Iterable[tuple[str, Any]]) -> None:
        """Keep the references of other calls for the same identity: they are not this one's."""
        name, identity = pending.operation, pending.identity
        for key, result in others:
            self.known.add(reference_in(name, result), owner_by(name, identity, key))

    def claim(self, call: Call[Any, Any], result: Any) -> bool:
        """Keep the reference that a call received; False where another call received it before."""
        name, identity = call.operation.name, call.operation.identity(call.request)
        if call.operation.safety is Safety.REPEATABLE:  # each update has a moment of its own
            identity = call.call_id
        owner = owner_of(name, identity, call.write_out(), call.idempotency_key)
        return self.known.claim(owner, call.request, result)

    async def _check(self, pending: Pending, options: Options, *, another_key: bool) -> None:
        if pending.base_url != self._base_url:
            raise errors.ConfigurationError(
                f"this call was made at {pending.base_url}: use a client with that base URL"
            )
        found, seconds = pending.key_fingerprint, options.timeout.read
        if not (another_key or await self._transport.has_had_key(found, seconds)):
            raise errors.ConfigurationError(
                "this call was made with another API key (fingerprint "
                f"{found}): use a client with that key, or pass another_key=True "
                "if the account is the same and its key was changed"
            )

    async def _drive(  # noqa: PLR0913 - what there is to know of a call that is looked up
        self,
        look_ups: LookUps,
        pending: Pending,
        sent_at: float | None,
        options: Options,
        call_id: str,
        *,
        lease: Lease | None = None,
    ) -> Finding:
        at = next(look_ups)
        while True:
            await anyio.sleep(max(0.0, at - clock.now()))
            slot: AbstractAsyncContextManager[None] = (
                nullcontext() if lease is not None else self._transport.slot(priority=True)
            )
            async with slot:
                key = await self._transport.key_or_failure(options.timeout.read)
                await self._transport.wait_for_rate(priority=True)
                started = LookUpStarted(call_id, pending.operation, self._target)
                with self._hooks.around(started):
                    found = await self._look(pending, sent_at, options, call_id, lease, key)
                    at, finding = _next(look_ups, Seen(found.started, found.evidence))
                    # Not before it is noted: a hook may end the program, or the task.
                    self._emit(started, found, finding)
            if finding is not None:
                return finding._replace(response=found.response, answered=found.answered)

    async def _look(  # noqa: PLR0913, PLR0917 - the same
        self,
        pending: Pending,
        sent_at: float | None,
        options: Options,
        call_id: str,
        lease: Lease | None,
        key: ApiKey | KeyUnavailableError | None,
    ) -> _Look:
        request = prepare(GET_TRANSACTION, query_for(pending.operation, pending.identity))
        response, reason, evidence = None, None, Evidence(Shows.NOTHING)
        at, started = self._transport.now(), clock.now()
        since = _since(pending, sent_at, started)
        guard = SendGuard(lease=lease, is_held=lease is not None)
        try:
            response = await self._transport.exchange(
                request, options.timeout, guard, is_look_up=True, key=key
            )
        except ExchangeError as failure:
            reason = failure.reason
        # Before a hook, or the reading of a long body, takes its time.
        answered = clock.now()
        if response is not None:
            self._transport.note(response)
            if response.status_code == _THROTTLED:
                ago = answered - started
                seconds = self._transport.throttled(retry_after(response.headers), ago)
                self._hooks.emit(Paused(call_id, pending.operation, seconds))
            evidence = self._read(pending, response, since)
        return _Look(at, started, answered, evidence, response, reason)

    def _emit(self, started: LookUpStarted, found: _Look, finding: Finding | None) -> None:
        response = found.response
        self._hooks.emit(
            LookedUp(
                started.call_id,
                started.operation,
                shows=found.evidence.shows.value,
                form=f"no response ({found.failure})" if response is None else form_of(response),
                target=started.target,
                started_at=found.at,
                elapsed=found.answered - found.started,
                status_code=None if response is None else response.status_code,
                error=found.failure,
                verdict=None if finding is None else finding.verdict.value,
            )
        )

    def _read(self, pending: Pending, response: WireResponse, since: Since) -> Evidence:
        evidence = read_evidence(pending, response, since, self.known)
        if evidence.shows is Shows.OURS:  # at once: another call may be looking, too
            self.known.add(reference_in(pending.operation, evidence.result), owner_in(pending))
        return evidence


def _since(pending: Pending, sent_at: float | None, started: float) -> Since:
    """Return the time of a call's first attempt, for a look-up that starts now."""
    ago = None if sent_at is None else started - sent_at
    return Since(pending.first_attempt.started_at, ago, pending.service_time)


def _next(look_ups: LookUps, seen: Seen) -> tuple[float, Finding | None]:
    """Return when to look next, or what look-ups came to."""
    try:
        return look_ups.send(seen), None
    except StopIteration as end:
        return math.inf, end.value


def _resolution(finding: Finding | None) -> Resolution:
    """Return the end of a pending call's look-ups; None: they have not come to one."""
    if finding is None:
        return Resolution(Verdict.UNDETERMINED)
    is_applied = finding.verdict is Verdict.APPLIED
    return Resolution(finding.verdict, finding.evidence.result if is_applied else None)
