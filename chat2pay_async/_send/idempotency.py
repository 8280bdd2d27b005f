"""Idempotency keys: who may send at all, for an API that has none.

A key is claimed before anything is sent. Whoever comes with a key that is known gets what the first
call with it came to, waits for it, or settles it:

| The journal has | Same content | Other content |
|---|---|---|
| nothing | claim it, send | |
| applied | the stored result, `replayed` | the conflict |
| held by somebody alive | wait for its end, then as the other lines | the conflict, at once |
| open, and nobody works on it | settle it, then as applied or as no effect | the same |
| no effect (rejected, declined, failed) | sent again | sent |

Without a journal the same holds of calls of this process that are under way (`_send/flights.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors, events
from chat2pay_async._api.operations import Operation, Safety, key_of
from chat2pay_async._api.responses import Outcome, RawResponse, recovered_outcome
from chat2pay_async._journal.content import differences
from chat2pay_async._journal.store import (
    Account,
    Answer,
    Claim,
    Claimed,
    End,
    RowState,
    Store,
)
from chat2pay_async._send.call import Call, ClaimLog, Options, about, raw_response
from chat2pay_async._send.evidence import Evidence, Shows
from chat2pay_async._send.flights import Flight, Flights, as_replayed
from chat2pay_async._send.reconciliation import Finding, Verdict
from chat2pay_async._send.sender import Sender
from chat2pay_async._send.stored import (
    Prior,
    changed_in,
    claim_of,
    conflict,
    content_in,
    end_after,
    end_of,
    prior_of,
    state_after,
    state_of,
    stored_outcome,
)
from chat2pay_async.errors import Chat2PayError, JournalError, Pending, Proof

__all__ = ["KeyedCalls", "account_of", "checked_key", "released"]

Q = TypeVar("Q")
R = TypeVar("R")

LONGEST_KEY: Final = 255
_FIRST_GAP, _LONGEST_GAP = 0.02, 0.5
"""Seconds between two looks at a key that another process holds."""
_NO_TIME = 1e-6


def checked_key(operation: str, key: object) -> str | None:
    """Check an idempotency key that a caller gave.

    Raises:
        RequestValidationError: It can't be one.
    """
    if key is None:
        return None
    problem = None
    if not isinstance(key, str):
        problem = "must be a text"
    elif not 0 < len(key) <= LONGEST_KEY:
        problem = f"must have 1 to {LONGEST_KEY} characters"
    elif not key.isprintable() or key != key.strip():
        problem = "must be printable, without blanks at its ends"
    if problem is None:
        return str(key)
    raise errors.RequestValidationError(operation, (errors.Fault("idempotency_key", problem),))


class KeyedCalls:
    """The calls of a client and of its views, each with a key."""

    def __init__(self, sender: Sender, store: Store | None, place: Hashable) -> None:
        """Combine a client's parts.

        Args:
            sender: Makes the calls.
            store: The journal; None: only calls that are under way are known.
            place: Names what calls with the same keys share.
        """
        self.sender = sender
        self._store = store
        self.flights: Flights = Flights(place)
        self._opened_at: float | None = None

    @property
    def store(self) -> Store | None:
        """The journal; runs open it by themselves."""
        return self._store

    # Calls ----------------------------------------------------------------------------------------

    async def send(
        self,
        operation: Operation[Q, R],
        request: Q,
        options: Options,
        idempotency_key: str | None = None,
    ) -> RawResponse[R]:
        """Make a call as `make` does, and return all of it."""
        call = Call(operation, request, options, clock.now())
        return raw_response(call, await self.make(call, idempotency_key))

    async def make(self, call: Call[Q, R], idempotency_key: str | None = None) -> Outcome[R]:
        """Make a call, unless its key is known.

        Raises:
            Chat2PayError: Any of the tree.
        """
        name, own = call.operation.name, key_of(call.operation, call.request)
        if call.operation.safety is not Safety.ONCE or not own:
            return await self.sender.make(call)
        key = checked_key(name, idempotency_key) or own
        call.idempotency_key = None if key == own else key
        prior: Pending | None = None
        while True:
            flight, is_first = self.flights.join(name, key, call)
            if is_first:
                if flight.before is not None:
                    prior = self.sender.pending(flight.before)
                made = await self._fly(call, key, prior)
                if made.replayed:
                    self._emit_replayed(call)
                return made
            self._compare(call, key, content_in(flight.call), content_in(call))
            await self._wait_for(call, flight.ended(), partial(self._pending_in, flight))
            if flight.outcome is not None:
                self._emit_replayed(call)
                return replayed(flight.outcome)
            prior = flight.pending or prior

    async def _fly(self, call: Call[Q, R], key: str, prior: Pending | None) -> Outcome[R]:
        """Make a call that no other of this process has under way."""
        outcome: Outcome[R] | None = None
        try:
            self.sender.check_open()
            store = await self.opened(call)
            if store is None:
                made = await self.sender.make(call, prior, unresolved=prior is not None)
            else:
                made = await self._claim(store, call, key)
            outcome = made
        except errors.ReceiptNotSentError as error:  # it exists: nobody makes it again
            outcome = Outcome(Proof.APPLIED, error.receipt, error)
            raise
        finally:
            pending = None
            if outcome is None and self._store is None:
                # What was absent once may arrive still: whoever waits looks it up before it sends.
                may_arrive = call.is_unresolved or call.was_unknown
                pending = self.sender.pending(call) if may_arrive else prior
            self.flights.leave(call.operation.name, key, outcome, pending)
        return made

    def _emit_replayed(self, call: Call[Any, Any]) -> None:
        if hooks := self.sender.hooks:
            hooks.emit(events.CallReplayed(call.call_id, call.operation.name))

    def _compare(self, call: Call[Any, Any], key: str, stored: bytes, given: bytes) -> None:
        """Compare what was sent with a key, or is about to be, with a call.

        Raises:
            IdempotencyConflictError: They differ.
        """
        changed = differences(stored, given)
        if changed:
            raise about(conflict(call.operation.name, key, changed), call)

    async def _wait_for(
        self, call: Call[Any, Any], ended: Awaitable[None], other: Callable[[], Awaitable[Pending]]
    ) -> None:
        """Wait for another call with the same key, within this one's deadline.

        Args:
            call: This one.
            ended: The end of the other one.
            other: Returns what is needed to settle the other one.

        Raises:
            OutcomeUnknownError: The time is over, and the other one goes on.
        """
        total = call.options.timeout.total
        if total is None:
            await ended
            return
        try:
            await clock.within(total, ended, since=call.started)
        except clock.DeadlinePassed:
            error = errors.OutcomeUnknownError(
                f"{call.operation.name}: another call with the same key is under way and has not "
                f"ended within {total} s. This one sent nothing, but the other one may be applied; "
                f"{call.operation.advice}",
                pending=await other(),
            )
            raise about(error, call) from None

    async def _pending_in(self, flight: Flight) -> Pending:
        """Return what settles a call that is under way, as it is now."""
        return self.sender.pending(flight.call)

    async def _pending_of(self, call: Call[Any, Any], store: Store, key: str) -> Pending:
        """Return what settles a call with a key: as it left, as far as the journal knows it."""
        found = await store.find(call.operation.name, key)
        row = None if found is None else found.row
        if row is None or row.sent is None:
            return self.sender.pending(call)
        return row.pending(account_of(store))

    # The journal ----------------------------------------------------------------------------------

    async def opened(self, call: Call[Any, Any] | None = None) -> Store | None:
        """Return the journal, open; None where there is none.

        Raises:
            JournalError: It can't be used.
            TransportError: The key, by which it knows the account, can't be had.
        """
        store = self._store
        if store is None:
            return None
        options = Options() if call is None else call.options
        ask = self.sender.asking(options)
        if store.account is not None:
            fingerprint = store.account.key_fingerprint
        else:
            fingerprint = self.sender.key_fingerprint if ask is None else await ask()
        await store.open(Account(self.sender.base_url, fingerprint))
        if self._opened_at is None:
            self._opened_at = clock.now()
        return store

    async def _claim(self, store: Store, call: Call[Q, R], key: str) -> Outcome[R]:
        """Claim a key of the journal, and do what its row says."""
        claim = claim_of(call.operation, call.request, key)
        while True:
            claimed = await store.claim(claim)
            if claimed.token is not None:
                outcome = await self._with(store, call, claim, claimed)
                if outcome is not None:
                    return outcome
                call.begin_anew()
                continue
            assert claimed.row is not None  # noqa: S101 - it is somebody's
            self._compare(call, key, claimed.row.content, claim.content)
            if claimed.answer is Answer.ENDED:
                return stored_outcome(claimed.row)
            ended = released(store, claim.operation, claim.key)
            await self._wait_for(call, ended, partial(self._pending_of, call, store, key))

    async def _with(
        self, store: Store, call: Call[Q, R], claim: Claim, claimed: Claimed
    ) -> Outcome[R] | None:
        """Make a call whose key is claimed, and write down how it ends.

        Returns:
            Its outcome; None where the claim was lost.
        """
        assert claimed.token is not None  # noqa: S101 - asked before
        log = call.log = ClaimLog(store, claim, claimed.token)
        row, prior = claimed.row, None
        try:
            if row is not None:
                prior = prior_of(row, account_of(store))
            if row is not None and prior is not None and prior.is_unresolved:
                changed = differences(row.content, claim.content)
                if changed:
                    await self._settle_other(store, call, log, prior, changed)
                    call.begin_after(prior.pending)
                    prior = None
                    outcome = await self.sender.make(call)
                else:
                    outcome = await self.sender.make(call, prior.pending, unresolved=True)
            else:
                if store.is_lossy:
                    existing = await self._existing(store, call, claim, log)
                    if existing is not None:
                        return existing
                outcome = await self.sender.make(call)
        except BaseException as error:
            if log.is_lost and isinstance(error, Exception):
                return None
            with anyio.CancelScope(shield=True):
                await self._end_failed(store, call, log, error, prior)
            raise
        response = None if outcome.recovered else outcome.response
        end = end_of(state_after(outcome.result), outcome.result, None, call.attempts, response)
        with anyio.CancelScope(shield=True):
            await self._end(store, call, log, end)
        return outcome

    async def _settle_other(
        self,
        store: Store,
        call: Call[Any, Any],
        log: ClaimLog,
        prior: Prior,
        changed: tuple[str, ...],
    ) -> None:
        """Settle what was sent with the key before, and is something else than this call.

        Where it had no effect, the claim is kept.

        Raises:
            IdempotencyConflictError: It was applied.
            OutcomeUnknownError: It may have been.
        """
        options = _with_what_is_left(call)
        verdict = await self.settle(store, log, prior, options, keeps_absent=True)
        if verdict is Verdict.APPLIED:
            raise about(conflict(call.operation.name, log.key, changed), call)
        if verdict is Verdict.UNDETERMINED:
            error = errors.OutcomeUnknownError(
                f"{call.operation.name}: an earlier call with the same key may have been applied, "
                f"so this one was not sent; {call.operation.advice}",
                pending=prior.pending,
            )
            raise about(error, call)

    async def settle(
        self,
        store: Store,
        log: ClaimLog,
        prior: Prior,
        options: Options,
        *,
        keeps_absent: bool = False,
    ) -> Verdict:
        """Look up what a row sent; write the verdict, and give the claim back.

        Args:
            store: The journal.
            log: The row's.
            prior: What it sent.
            options: The look-up's.
            keeps_absent: Write nothing, and keep the claim, where it had no effect.
        """
        pending = prior.pending
        try:
            self.sender.note_others(pending, await log.others(pending))
            found = await self.sender.resolve(pending, options)
        except BaseException:
            log.is_settled = True
            with anyio.CancelScope(shield=True):
                await self._give_back(store, log)
            raise
        if found.verdict is Verdict.ABSENT and keeps_absent:
            return found.verdict
        log.is_settled = True  # whether that can be written or not
        if found.verdict is Verdict.UNDETERMINED:
            await store.release(log.token)
        else:
            await store.record_end(log.token, end_after(found, prior))
        return found.verdict

    async def _existing(
        self, store: Store, call: Call[Q, R], claim: Claim, log: ClaimLog
    ) -> Outcome[R] | None:
        """Look for an effect that a journal which lost commits may have known of.

        Raises:
            Chat2PayError: It can't be told whether there is one; nothing was sent.
            IdempotencyConflictError: There is one, of something else.
        """
        options = _with_what_is_left(call)
        found = Finding(Verdict.UNDETERMINED, Evidence(Shows.NOTHING))
        with anyio.move_on_after(options.timeout.total):
            window_ends = self.window_ends(options)
            found = await self.sender.look_for(call.operation, call.request, options, window_ends)
        if found.verdict is Verdict.ABSENT:
            return None
        changed = changed_in(call.request, found.evidence.result, found.response)
        if found.verdict is Verdict.UNDETERMINED or changed is None or found.response is None:
            raise about(
                Chat2PayError(
                    f"{call.operation.name}: the journal lacks its latest commits, and a look-up "
                    "does not say whether this took effect before. It was not sent"
                ),
                call,
            )
        if changed:
            raise about(conflict(call.operation.name, claim.key, changed), call)
        result = found.evidence.result
        end = end_of(state_after(result), result, is_found=True)
        await store.record_end(log.token, end)
        return replayed(recovered_outcome(call.operation, result, found.response))

    def window_ends(self, options: Options) -> float:
        """Return the time from which it counts that nothing is shown of what others sent before."""
        opened_at = clock.now() if self._opened_at is None else self._opened_at
        return opened_at + options.timeout.read + options.retry.settle

    # Ends -----------------------------------------------------------------------------------------

    async def _end_failed(
        self,
        store: Store,
        call: Call[Any, Any],
        log: ClaimLog,
        error: BaseException,
        prior: Prior | None,
    ) -> None:
        """Write how a call ended that has no outcome, or give its claim back."""
        if log.is_settled:
            return
        was_taken_up = prior is not None and prior.is_unresolved and call.earlier
        if log.sent is None and (call.is_unresolved or not was_taken_up):
            await self._give_back(store, log)  # as it was
        elif isinstance(error, Chat2PayError):
            receipt = getattr(error, "receipt", None)
            state = RowState.UNKNOWN if call.is_unresolved else state_of(error)
            end = end_of(state, receipt, error, call.attempts, log.response)
            await self._end(store, call, log, end)
        elif call.is_unresolved:
            await self._give_back(store, log)  # it stays open
        else:
            end = end_of(RowState.FAILED, None, None, call.attempts, log.response)
            await self._end(store, call, log, end)

    async def _give_back(self, store: Store, log: ClaimLog) -> None:
        with suppress(JournalError):  # it is given back once the journal can be written
            await store.release(log.token)

    async def _end(self, store: Store, call: Call[Any, Any], log: ClaimLog, end: End) -> None:
        """Write how a call ended; where that fails, its caller is told all the same."""
        try:
            await store.record_end(log.token, end)
        except JournalError as error:
            hooks, name = self.sender.hooks, call.operation.name
            hooks.emit(events.JournalBehind(call.call_id, name, str(error)))

    async def aclose(self) -> None:
        """Close the journal."""
        if self._store is not None:
            await self._store.aclose()


def replayed(outcome: Outcome[R]) -> Outcome[R]:
    """Return an outcome as whoever waited for it gets it.

    Raises:
        ReceiptNotSentError: Its receipt was made, and its message was not sent.
    """
    replay = as_replayed(outcome)
    if isinstance(replay.error, errors.ReceiptNotSentError):
        raise replay.error
    return replay


def _with_what_is_left(call: Call[Any, Any]) -> Options:
    """Return a call's options, with what is left of its time as their total."""
    timeout = call.options.timeout
    if timeout.total is None:
        return call.options
    left = max(call.deadline - clock.now(), _NO_TIME)
    return attrs.evolve(call.options, timeout=attrs.evolve(timeout, total=left))


def account_of(store: Store) -> Account:
    """Return the account of a journal that is open."""
    assert store.account is not None  # noqa: S101 - it was opened with one
    return store.account


async def released(store: Store, operation: str, key: str) -> None:
    """Wait until nobody alive holds a key."""
    gap = _FIRST_GAP
    while True:
        await anyio.sleep(gap)
        found = await store.find(operation, key)
        if found is None or found.answer is not Answer.HELD:
            return
        gap = min(2 * gap, _LONGEST_GAP)
