"""Reconciliation: unknown outcome → look-ups → verdict.

The API has no idempotency keys, so a POST whose response was lost is looked up through the status
endpoint before anything else happens. The rules are a generator without I/O (`look_up`), which
says when to look and is sent what was seen; `Reconciler` does the waiting and the asking.

**Window.** The service is assumed to apply a request, and to show it, within `settle` seconds of
our giving up. Look-ups start at once and back off; the first that shows the effect ends them.
*Absent* counts only from a look-up that started when the window had passed. Look-ups that fail do
not count; the window then stretches, to three times its length at most, until one does.

**Verdicts.** *Applied*: the effect is there and is ours. *Absent*: explicitly, no such effect.
*Undetermined*: anything else, an effect that may not be ours included.

**Captures** are retried on an early *absent*, since the service refuses a second one. It does not
after one that the gateway declined: of several captures that may have arrived, one that was not
accepted says nothing about the others until the window has passed.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors
from chat2pay_async._api import models, operations
from chat2pay_async._api.responses import RECEIPT_NOT_SENT, ParsedResponse, form_of, retry_after
from chat2pay_async._config import ApiKey
from chat2pay_async._send.call import Call, Options, Outcome, about, ended_at
from chat2pay_async._send.evidence import Case, Evidence, Shows, case_of, is_final, read_evidence
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._transport.base import ExchangeError
from chat2pay_async.errors import Pending, Proof
from chat2pay_async.events import Hooks, LookedUp, Paused

__all__ = ["FRESH", "Finding", "Reconciler", "Resolution", "Verdict", "look_up"]

Q = TypeVar("Q")
R = TypeVar("R")

STRETCH: Final = 3
"""The most windows that may pass until a look-up counts."""
FRESH: Final = 1.0
"""Seconds that an *absent* may be old when a POST follows it."""
SIGHTINGS: Final = 3
"""Look-ups in a row that show something which may be another's, before that settles it: a single
one can be misled."""
FIRST_GAP: Final = 0.25
LONGEST_GAP: Final = 2.5


class Verdict(enum.Enum):
    """The three ends of look-ups."""

    APPLIED = "applied"
    """The effect is there, and it is ours."""
    ABSENT = "absent"
    """There is no such effect."""
    UNDETERMINED = "undetermined"
    """Look-ups can't tell."""


@attrs.frozen
class Resolution:
    """The end of a pending call: `client.resolve`'s result."""

    verdict: Verdict
    result: Any = None
    """The call's own result, where it was applied."""


@attrs.frozen
class Finding:
    """A verdict, with the evidence that it rests on."""

    verdict: Verdict
    evidence: Evidence
    waited: bool = True
    """True where the window had passed, so that nothing more is to come."""

    @property
    def result(self) -> Any:
        """The call's own result; None where it was not applied."""
        return self.evidence.result if self.verdict is Verdict.APPLIED else None


LookUps: TypeAlias = Generator[float, tuple[float, Evidence], Finding]
"""Yields when to look next; is sent when that look-up started, and what it showed."""

# The service itself refuses a second capture, and a second cancellation; but not a capture after
# one that the gateway declined.
_REFUSED_TWICE = frozenset({operations.CAPTURE_PAYMENT.name, operations.CANCEL_PAYMENT_LINK.name})
_RECEIPT_FAILED = frozenset(
    {
        models.TransactionStatus.RECEIPT_LINK_SENT_FAILED,
        models.TransactionStatus.RECEIPT_LINK_REQUEST_FAILED,
    }
)
_THROTTLED = 429


def look_up(  # noqa: PLR0913 - what there is to know of a lost call
    operation: str,
    lost_at: float,
    settle: float,
    now: float,
    *,
    patient: bool = False,
    several: bool = False,
) -> LookUps:
    """Settle a call whose last attempt ended without a response at `lost_at`.

    Args:
        operation: The operation's name.
        lost_at: When that was; taken for now if it lies in the future.
        settle: The window's length, in seconds.
        now: The time.
        patient: *Absent* is to be the last word. A capture may be retried before the window has
            passed, since the service refuses a second one; but before that it did not fail.
        several: More than one of the call's requests may have arrived. Then a refusal by the
            gateway may be the response to one, and another, still on its way, be accepted.

    Yields:
        When to look next; expects what was seen.

    Returns:
        The verdict, with the evidence that it rests on.
    """
    opened = min(lost_at, now)
    # Where the window has passed already, look-ups that fail still get as long.
    closes, latest = opened + settle, max(opened, now - settle) + STRETCH * settle
    gap, at, sightings = FIRST_GAP, now, 0
    while True:
        started, evidence = yield at
        shows, waited = evidence.shows, started >= closes
        early = several and operation in _REFUSED_TWICE and not waited
        if shows is Shows.OURS and (is_final(evidence.result) or not early):
            return Finding(Verdict.APPLIED, evidence)
        if shows is Shows.ABSENT and (waited or (operation in _REFUSED_TWICE and not patient)):
            return Finding(Verdict.ABSENT, evidence, waited)
        sightings = sightings + 1 if waited and shows is Shows.OTHER else 0
        if sightings == SIGHTINGS or started >= latest:
            return Finding(Verdict.UNDETERMINED, evidence)
        if sightings == 1:
            gap = FIRST_GAP
        # One look falls on the window's end exactly, and one on the latest moment.
        edge = closes if not waited else latest
        at = min(max(started + gap, at), edge)
        gap = min(2 * gap, LONGEST_GAP)


class _KnownReferences:
    """The latest references that calls returned, so that none is taken for another call's."""

    SIZE = 10_000

    def __init__(self) -> None:
        self._references: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, reference: object) -> bool:
        return reference in self._references

    def add(self, result: object) -> None:
        for name in ("payment_link_ref", "payment_gateway_req_reference_number"):
            reference = getattr(result, name, None)
            if reference is not None:
                self._references[reference] = None
        while len(self._references) > self.SIZE:
            self._references.popitem(last=False)


class Reconciler:
    """The look-ups of a client, and what is said of calls that they can't settle."""

    def __init__(
        self, transport: LimitedTransport, hooks: Hooks, key: ApiKey, base_url: str
    ) -> None:
        self._transport = transport
        self._hooks = hooks
        self._key_fingerprint = key.fingerprint
        self._base_url = base_url
        self.known = _KnownReferences()
        """References that calls of this client returned."""

    async def look_up(
        self, call: Call[Any, Any], *, has_slot: bool = False, patient: bool = False
    ) -> Finding:
        """Look a call up until there is a verdict, and let the call note it.

        Args:
            call: A call whose last attempt was lost.
            has_slot: It holds a slot, which the look-ups then use.
            patient: *Absent* is to be the last word; see `look_up`.
        """
        assert call.lost_at is not None  # noqa: S101 - only a lost attempt is looked up
        case, retry = self._case(self.pending(call)), call.options.retry
        several = call.arrived > 1
        look_ups = look_up(
            case.operation,
            call.lost_at,
            retry.settle,
            clock.now(),
            patient=patient,
            several=several,
        )
        finding = await self._drive(look_ups, case, call.options, call.call_id, has_slot=has_slot)
        absent = finding.verdict is Verdict.ABSENT
        call.conclude(applied=finding.verdict is Verdict.APPLIED, final=absent and finding.waited)
        return finding

    async def resolve(self, pending: Pending, options: Options) -> Resolution:
        """Settle a call that ended unresolved, in this process or another; send no POST.

        Raises:
            ConfigurationError: It was made with another base URL or key.
            TypeError: It is no `Pending`.
        """
        given: object = pending
        if not isinstance(given, Pending):
            raise TypeError(f"resolve takes an error's `.pending`, not {type(given).__name__}")
        mine = (self._base_url, self._key_fingerprint)
        if (pending.base_url, pending.key_fingerprint) != mine:
            raise errors.ConfigurationError(
                "this call was made with another base URL or API key, so it can't be settled here: "
                f"use a client for {pending.base_url} with the key {pending.key_fingerprint}"
            )
        ago = (self._transport.now() - ended_at(pending.last_attempt)).total_seconds()
        with anyio.move_on_after(options.timeout.total):
            now = clock.now()
            look_ups = look_up(
                pending.operation,
                now - max(0.0, ago),
                options.retry.settle,
                now,
                patient=True,
                several=pending.first_attempt != pending.last_attempt,
            )
            finding = await self._drive(look_ups, self._case(pending), options, "")
            return Resolution(finding.verdict, finding.result)
        return Resolution(Verdict.UNDETERMINED)

    def _case(self, pending: Pending) -> Case:
        return case_of(
            pending.operation,
            pending.identity,
            pending.request,
            pending.request_id,
            pending.first_attempt.started_at,
            self.known,
        )

    async def _drive(
        self,
        look_ups: LookUps,
        case: Case,
        options: Options,
        call_id: str,
        *,
        has_slot: bool = False,
    ) -> Finding:
        """Wait and look whenever `look_ups` say so, until they have a verdict."""
        at = next(look_ups)
        while True:
            await anyio.sleep(max(0.0, at - clock.now()))
            slot: AbstractAsyncContextManager[None] = (
                nullcontext() if has_slot else self._transport.slot(priority=True)
            )
            async with slot:
                await self._transport.wait_for_rate(priority=True)
                started = clock.now()
                evidence = await self._look(case, options, call_id)
            try:
                at = look_ups.send((started, evidence))
            except StopIteration as end:
                finding: Finding = end.value
                return finding

    async def _look(self, case: Case, options: Options, call_id: str) -> Evidence:
        request = operations.prepare(operations.GET_TRANSACTION, case.query)
        try:
            response = await self._transport.exchange(request, options.timeout)
        except ExchangeError as failure:
            evidence, form = Evidence(Shows.NOTHING), f"no response ({failure.reason})"
        else:
            if response.status_code == _THROTTLED:
                seconds = self._transport.throttled(retry_after(response.headers))
                self._hooks.emit(Paused(call_id, case.operation, seconds))
            evidence = read_evidence(case, response, self._transport.now())
            form = form_of(response)
        self._hooks.emit(LookedUp(call_id, case.operation, evidence.shows.value, form))
        return evidence

    def outcome_after(self, call: Call[Q, R], finding: Finding) -> Outcome[R]:
        """Return the outcome of a call that look-ups showed to be applied, or can't settle."""
        if call.unresolved:
            return Outcome(
                ParsedResponse(Proof.UNKNOWN, error=call.last_error), None, looked_up=True
            )
        result, response = finding.result, finding.evidence.response
        if (
            call.operation.name != operations.CREATE_RECEIPT.name
            or result.transaction_status not in _RECEIPT_FAILED
        ):
            return Outcome(ParsedResponse(Proof.APPLIED, result), response, looked_up=True)
        assert response is not None  # noqa: S101 - a receipt was read from it
        error = errors.ReceiptNotSentError(
            f"{call.operation.name}: {RECEIPT_NOT_SENT}",
            status_code=response.status_code,
            headers=response.headers,
            body=response.body,
        )
        error.receipt = result
        return Outcome(ParsedResponse(Proof.APPLIED, result, error), response, looked_up=True)

    def outcome_unknown(self, call: Call[Any, Any]) -> errors.OutcomeUnknownError:
        """Return the error of a call that may have been applied."""
        error = errors.OutcomeUnknownError(
            f"{call.operation.name}: it may have been applied; do not send it again before "
            "`client.resolve(error.pending)` has settled it",
            pending=self.pending(call),
        )
        error.__cause__ = call.last_error
        return about(error, call)

    def pending(self, call: Call[Any, Any]) -> Pending:
        """Return what is needed to settle a call later."""
        return call.pending(self._base_url, self._key_fingerprint)
