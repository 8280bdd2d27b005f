"""Settling of what a client, or a process that died, left open."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

import anyio
import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors
from chat2pay_async._api import models
from chat2pay_async._api.operations import CREATE_PAYMENT_LINK, OPERATIONS, Safety
from chat2pay_async._journal.store import OPEN, Answer, Claimed, Store
from chat2pay_async._send.call import ClaimLog, Options
from chat2pay_async._send.idempotency import KeyedCalls, account_of, released
from chat2pay_async._send.reconciliation import Resolution, Verdict
from chat2pay_async._send.references import owner_in
from chat2pay_async._send.stored import (
    Prior,
    claim_again,
    end_after,
    prior_of,
    result_of,
    results_of,
)
from chat2pay_async._tracebacks import hiding_arguments
from chat2pay_async._transport.base import WireResponse
from chat2pay_async.errors import Pending

__all__ = ["Recovered", "Recovery", "settle_shown"]

_AT_ONCE: Final = 16
"""Rows that are settled side by side."""


@attrs.frozen
class Recovered:
    """End of the calls that dead processes left: `client.recover`'s result."""

    applied: int = 0
    """Calls that had taken effect; their results are in the journal now."""
    absent: int = 0
    """Calls that had no effect; they may be made again."""
    undetermined: tuple[Pending, ...] = ()
    """Calls whose outcome is still unknown; they stay open in the journal."""


class Recovery:
    """The part of `AsyncChat2Pay` that settles calls whose outcome is unknown."""

    _calls: KeyedCalls
    _options: Options

    @hiding_arguments
    async def resolve(self, pending: errors.Pending, *, another_key: bool = False) -> Resolution:
        """Settle a call that ended in `OutcomeUnknownError`: now, or later in another process.

        It looks the call up until it is settled, and sends nothing else. *Absent* counts once the
        call's window has passed: `Timeout.read` and `RetryPolicy.settle` seconds after its last
        attempt ended, or, where another process made the call, after this client first hears of it.
        The longer of the client's own settings and the call's count. Look-ups that fail stretch the
        window by up to three times `settle`; `timeout.total` ends it.

        Args:
            pending: The error's `.pending`, or one of `unsettled`; it may have been stored in
                between (`Pending.to_json`).
            another_key: Settle it although it was made with another API key, since the account's
                key was changed.

        Returns:
            The verdict. APPLIED comes with the result that the call would have had, ABSENT means
            that it can be made again, UNDETERMINED that its outcome is still unknown (as an absence
            is with `resend_when_absent=False`, this client's or the call's).

        Raises:
            ConfigurationError: The call was made with another base URL or API key.
        """
        given: object = pending
        if not isinstance(given, errors.Pending):
            raise TypeError(f"resolve takes an error's `.pending`, not {type(given).__name__}")
        resolution = await _resolve(self._calls, pending, self._options, another_key=another_key)
        self._calls.sender.forget_settled({pending: resolution})
        return resolution

    @property
    def unsettled(self) -> tuple[errors.Pending, ...]:
        """The calls of this client that were cancelled while they may have been applied.

        A cancellation (`asyncio.timeout`, `wait_for`, a task group that ends, a web client that
        disconnects) can't be an error of ours, so nothing else tells their caller. The latest 1 000
        are kept, the latest last, and leave once they are settled; those that a journal has are in
        the journal. Store what is left before the process ends: `Pending.to_json`.
        """
        return self._calls.sender.unsettled

    async def resolve_all(self) -> dict[errors.Pending, Resolution]:
        """Settle all that is `unsettled`, side by side; see `resolve`.

        Returns:
            The resolution of each. Those that are UNDETERMINED stay `unsettled`, and where this is
            cancelled or fails, all of them do.
        """
        resolutions: dict[errors.Pending, Resolution] = {}
        failures: list[Exception] = []

        async def settle(pending: errors.Pending) -> None:
            try:
                resolutions[pending] = await _resolve(self._calls, pending, self._options)
            except Exception as error:  # noqa: BLE001 - raised below: a group would wrap it
                failures.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for pending in self.unsettled:
                group.start_soon(settle, pending)
        if failures:
            raise failures[0]
        self._calls.sender.forget_settled(resolutions)
        return resolutions

    async def recover(self) -> Recovered:
        """Settle what processes that died left in the journal: at start-up, and now and then.

        Each of their calls is looked up, for `Timeout.read` and `RetryPolicy.settle` seconds from
        now on, since what a dead process sent may still arrive; nothing is sent. What others that
        are alive work on is left to them. Several processes may call it at a time.

        Returns:
            The numbers of calls that were applied and absent, and those that are still unknown.

        Raises:
            ConfigurationError: The client has no journal.
            JournalError: It can't be used.
        """
        return await _recover(self._calls, self._options)


async def _recover(calls: KeyedCalls, options: Options) -> Recovered:
    """Settle what dead processes left in the journal, side by side.

    Raises:
        ConfigurationError: There is no journal.
    """
    store = await calls.opened()
    if store is None:
        raise errors.ConfigurationError(
            "recover settles what a journal has: make the client with journal="
        )
    verdicts: list[tuple[Verdict, Pending]] = []
    failures: list[Exception] = []

    async def settle(claimed: Claimed) -> None:
        assert claimed.row is not None  # noqa: S101 - only rows are taken over
        assert claimed.token is not None  # noqa: S101 - likewise
        try:
            prior = prior_of(claimed.row, account)
            assert prior is not None  # noqa: S101 - open rows are kept whole
            log = ClaimLog(store, claim_again(claimed.row), claimed.token)
            verdicts.append((await calls.settle(store, log, prior, options), prior.pending))
        except Exception as error:  # noqa: BLE001 - raised below: a group would wrap it
            failures.append(error)
            group.cancel_scope.cancel()

    after, account = 0, account_of(store)
    while page := await store.take_over(_AT_ONCE, after=after):  # none waits while it is held
        async with anyio.create_task_group() as group:
            for claimed in page:
                group.start_soon(settle, claimed)
        if failures:
            raise failures[0]
        after = max(claimed.row.id for claimed in page if claimed.row is not None)
    return Recovered(
        applied=sum(verdict is Verdict.APPLIED for verdict, _ in verdicts),
        absent=sum(verdict is Verdict.ABSENT for verdict, _ in verdicts),
        undetermined=tuple(
            pending for verdict, pending in verdicts if verdict is Verdict.UNDETERMINED
        ),
    )


async def settle_shown(
    calls: KeyedCalls,
    found: models.Transaction,
    response: WireResponse,
    started: float,
    options: Options,
) -> None:
    """Settle the open rows of a link's calls, as far as one look-up settles them.

    What nobody alive works on is ended where the rules of `Reconciler.resolve` let this look-up end
    it: an effect that is there and ours, or what is said once the window has passed. All else stays
    open.

    Args:
        calls: The client's.
        found: The link.
        response: The status endpoint's response that shows it.
        started: The time at which that was asked.
        options: The look-up's.
    """
    store = await calls.opened()
    if store is None:
        return
    account = account_of(store)
    for operation in OPERATIONS:
        if operation.safety is not Safety.ONCE:
            continue
        is_create = operation is CREATE_PAYMENT_LINK
        identity = found.order_number if is_create else found.payment_link_ref
        rows = await store.rows_of_identity(operation.name, identity or "")
        for row in rows:
            prior = prior_of(row, account) if row.state in OPEN else None
            if prior is None:
                continue
            calls.sender.note_others(prior.pending, results_of(rows, besides=row.key))
            resolution = calls.sender.judge(prior.pending, response, started, options)
            if resolution.verdict is not Verdict.UNDETERMINED:
                await store.end_open(row, end_after(resolution, prior))


async def _resolve(
    calls: KeyedCalls, pending: Pending, options: Options, *, another_key: bool = False
) -> Resolution:
    """Settle a pending call; see `Reconciler.resolve`. The journal is told the verdict."""
    key = owner_in(pending)[-1]
    with calls.flights.watch(pending.operation, key) as watch:
        resolution = await _settle(calls, pending, key, options, another_key=another_key)
        is_absent = resolution.verdict is Verdict.ABSENT
        is_others = is_absent and (await _is_held(calls, pending, key) or watch.has_begun)
    if is_others:
        # Whoever took it up meanwhile may send it again.
        return Resolution(Verdict.UNDETERMINED)
    return resolution


async def _is_held(calls: KeyedCalls, pending: Pending, key: str) -> bool:
    found = None if calls.store is None else await calls.store.find(pending.operation, key)
    return found is not None and found.answer is Answer.HELD


async def _settle(
    calls: KeyedCalls, pending: Pending, key: str, options: Options, *, another_key: bool
) -> Resolution:
    flight = calls.flights.find(pending.operation, key)
    if flight is not None and not await _in_time(flight.ended(), options):
        return Resolution(Verdict.UNDETERMINED)
    store = await calls.opened() if key else None
    found = None if store is None else await _found(store, pending, key, options)
    if store is None or found is None or found.row is None:
        return await calls.sender.resolve(pending, options, another_key=another_key)
    row = found.row
    if found.answer is Answer.HELD:
        return Resolution(Verdict.UNDETERMINED)
    if row.state not in OPEN and (result := result_of(row)[0]) is not None:
        return Resolution(Verdict.APPLIED, result)
    others = await store.rows_of_identity(pending.operation, pending.identity)
    calls.sender.note_others(pending, results_of(others, besides=key))
    resolution = await calls.sender.resolve(pending, options, another_key=another_key)
    if resolution.verdict is not Verdict.UNDETERMINED:
        end = end_after(resolution, Prior(pending, is_unresolved=True))
        is_written = await store.end_open(row, end)
        if resolution.verdict is Verdict.ABSENT and row.state in OPEN and not is_written:
            return Resolution(Verdict.UNDETERMINED)  # somebody took it up meanwhile
    return resolution


async def _found(store: Store, pending: Pending, key: str, options: Options) -> Claimed | None:
    """Read the row that a pending call has, once nobody alive works on it any more."""
    found = await store.find(pending.operation, key)
    if found is not None and found.answer is Answer.HELD:
        await _in_time(released(store, pending.operation, key), options)
        found = await store.find(pending.operation, key)
    if found is None or found.row is None:
        return None
    # What somebody alive works on may still be sent, also where it is another request.
    is_its = found.answer is Answer.HELD or found.row.sent == pending.request
    return found if is_its else None


async def _in_time(awaitable: Awaitable[object], options: Options) -> bool:
    """Await something for as long as a call may take; return whether it has ended."""
    total = options.timeout.total
    try:
        await (awaitable if total is None else clock.within(total, awaitable))
    except clock.DeadlinePassed:
        return False
    return True
