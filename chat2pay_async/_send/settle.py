"""Settling a call that may have been applied: drives look-ups until there is a verdict."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors
from chat2pay_async._api import models
from chat2pay_async._api.operations import CREATE_RECEIPT, GET_TRANSACTION, prepare
from chat2pay_async._api.responses import RECEIPT_NOT_SENT, Answer, form_of, retry_after
from chat2pay_async._config import ApiKey
from chat2pay_async._send.call import Call, Options, Step, about, ended_at
from chat2pay_async._send.case import Case, case_of
from chat2pay_async._send.evidence import Evidence, Shows, read_evidence
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.reconciliation import Finding, Lookups, Resolution, Seen, Verdict, look_up
from chat2pay_async._transport.base import ExchangeError, WireResponse
from chat2pay_async.errors import Chat2PayError, Pending, Proof
from chat2pay_async.events import Hooks, LookedUp, Paused

__all__ = ["Reconciler", "Settlement"]

Q = TypeVar("Q")
R = TypeVar("R")

_THROTTLED = 429


@attrs.frozen
class Settlement:
    """A verdict, with the answer that it rests on."""

    verdict: Verdict
    evidence: Evidence
    response: WireResponse | None
    """The look-up's answer; None where it had none."""
    waited: bool
    """Whether the window had passed, so that nothing more is to come."""

    @property
    def result(self) -> Any:
        """What the call would have returned; None where it was not applied."""
        return self.evidence.result if self.verdict is Verdict.APPLIED else None


_RECEIPT_FAILED = frozenset(
    {
        models.TransactionStatus.RECEIPT_LINK_SENT_FAILED,
        models.TransactionStatus.RECEIPT_LINK_REQUEST_FAILED,
    }
)


class _Known:
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
    """Settles a client's calls, and says of those that it can't settle what is known of them."""

    def __init__(self, line: LimitedTransport, hooks: Hooks, key: ApiKey, base_url: str) -> None:
        self._transport = line
        self._hooks = hooks
        self._key = key
        self._base_url = base_url
        self.known = _Known()
        """References that calls of this client returned."""

    async def look_up(
        self, call: Call[Any, Any], *, placed: bool = False, patient: bool = False
    ) -> Settlement:
        """Look a call up until it is settled.

        Args:
            call: A call whose last attempt was lost.
            placed: Whether it holds a place on the line, which the look-ups then use.
            patient: Whether *absent* is to be the last word; see `_recovery.look_up`.
        """
        assert call.lost_at is not None  # noqa: S101 - only a lost attempt is looked up
        case = call.case(self.known)
        now = clock.now()
        look_ups = look_up(
            case.operation,
            call.lost_at,
            call.options.retry.settle,
            now,
            patient=patient,
            several=call.arrived > 1,
        )
        return await self._settle(case, look_ups, call.options, call.call_id, placed=placed)

    async def resolve(self, pending: Pending, options: Options) -> Resolution:
        """Settle a call that ended in doubt, in this process or another; sends no POST.

        Raises:
            ConfigurationError: It was made with another base URL or key.
            TypeError: It is no `Pending`.
        """
        given: object = pending
        if not isinstance(given, Pending):
            raise TypeError(f"resolve takes an error's `.pending`, not {type(given).__name__}")
        if pending.base_url != self._base_url or pending.key_fingerprint != self._key.fingerprint:
            raise errors.ConfigurationError(
                "this call was made with another base URL or API key, so it can't be settled here: "
                f"use a client for {pending.base_url} with the key {pending.key_fingerprint}"
            )
        ago = (self._transport.now() - ended_at(pending.last_attempt)).total_seconds()
        case = case_of(
            pending.operation,
            pending.identity,
            pending.request,
            pending.request_id,
            pending.first_attempt.started_at,
            self.known,
        )
        with anyio.move_on_after(options.timeout.total):
            now = clock.now()
            lost_at = now - max(0.0, ago)
            settle = options.retry.settle
            several = pending.first_attempt != pending.last_attempt
            look_ups = look_up(case.operation, lost_at, settle, now, patient=True, several=several)
            settlement = await self._settle(case, look_ups, options, "")
            return Resolution(settlement.verdict, settlement.result)
        return Resolution(Verdict.UNDETERMINED)

    async def _settle(
        self,
        case: Case,
        look_ups: Lookups,
        options: Options,
        call_id: str,
        *,
        placed: bool = False,
    ) -> Settlement:
        look = next(look_ups)
        while True:
            await anyio.sleep(max(0.0, look.at - clock.now()))
            place: AbstractAsyncContextManager[None] = (
                nullcontext() if placed else self._transport.slot(priority=True)
            )
            async with place:
                await self._transport.wait_for_rate(priority=True)
                started = clock.now()
                evidence, response = await self._look(case, options, call_id)
            try:
                look = look_ups.send(Seen(started, evidence))
            except StopIteration as end:
                finding: Finding = end.value
                return Settlement(finding.verdict, finding.evidence, response, finding.waited)

    async def _look(
        self, case: Case, options: Options, call_id: str
    ) -> tuple[Evidence, WireResponse | None]:
        request = prepare(GET_TRANSACTION, case.query)
        response: WireResponse | None = None
        try:
            response = await self._transport.exchange(request, options.timeout)
        except ExchangeError as failure:
            evidence, form = Evidence(Shows.NOTHING), f"no answer ({failure.reason})"
        else:
            if response.status_code == _THROTTLED:
                seconds = self._transport.throttled(retry_after(response.headers))
                self._hooks.emit(Paused(call_id, case.operation, seconds))
            evidence = read_evidence(case, response, self._transport.now())
            form = form_of(response)
        self._hooks.emit(LookedUp(call_id, case.operation, evidence.shows.value, form))
        return evidence, response

    def ended(self, call: Call[Q, R], settlement: Settlement, step: Step[R] | None) -> Step[R]:
        """The call's end, by a verdict on an attempt, or on what keeps one from being made."""
        if settlement.verdict is Verdict.APPLIED:
            call.doubt = False
            return self._recovered(call, settlement)
        believed = call.options.retry.resend_when_absent
        call.doubt = not (settlement.verdict is Verdict.ABSENT and believed)
        if call.doubt or step is None:
            return Step(Answer(Proof.UNKNOWN, error=call.last_error), None, settled=True)
        return step

    def _recovered(self, call: Call[Q, R], settlement: Settlement) -> Step[R]:
        """The call's end, as a look-up showed it."""
        result: Any = settlement.result
        error: Chat2PayError | None = None
        if (
            call.operation.name == CREATE_RECEIPT.name
            and result.transaction_status in _RECEIPT_FAILED
        ):
            error = _receipt_not_sent(call, result, settlement.response)
        return Step(Answer(Proof.APPLIED, result, error), settlement.response, settled=True)

    def outcome_unknown(self, call: Call[Any, Any]) -> errors.OutcomeUnknownError:
        """The error of a call that may have been applied."""
        error = errors.OutcomeUnknownError(
            f"{call.operation.name}: it may have been applied; do not send it again before "
            "`client.resolve(error.pending)` has settled it",
            pending=self.pending(call),
        )
        error.__cause__ = call.last_error
        return about(error, call)

    def pending(self, call: Call[Any, Any]) -> Pending:
        """What is needed to settle a call later."""
        return call.pending(self._base_url, self._key.fingerprint)


def _receipt_not_sent(
    call: Call[Any, Any], receipt: models.Receipt, response: WireResponse | None
) -> errors.ReceiptNotSentError:
    error = errors.ReceiptNotSentError(
        f"{call.operation.name}: {RECEIPT_NOT_SENT}",
        status_code=response.status_code if response else 0,
        headers=response.headers if response else {},
        body=response.body if response else b"",
    )
    error.receipt = receipt
    return error
