"""A call that is cancelled, wherever it is: nothing was sent, or it is kept and can be settled."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import anyio
import attrs
from moody_service import CALLS, Service
from scripted import WINDOW, options
from shop import ACCOUNT, opened, rows_in
from stepping import CancelledAt

from chat2pay_async import Chat2PayError, OutcomeUnknownError, Proof, RateLimit, Verdict, events
from chat2pay_async._config import ApiKey
from chat2pay_async._journal.sqlite_store import SQLiteStore
from chat2pay_async._journal.store import OPEN, RowState
from chat2pay_async._recovery import _recover
from chat2pay_async._send.idempotency import KeyedCalls
from chat2pay_async._send.limited_transport import LimitedTransport
from chat2pay_async._send.limits import RateLimiter, Slots
from chat2pay_async._send.sender import Sender
from chat2pay_async.errors import Pending

STORIES: dict[str, tuple[list[tuple[str, float | None]], list[Any]]] = {
    "applied": ([("ok", 0.0)], []),
    "not sent, then applied": ([("not sent", None), ("ok", 0.0)], []),
    "throttled, then applied": ([("throttled", None), ("ok", 0.0)], []),
    "lost, and found late": ([("lost", 0.8 * WINDOW)], ["500", "null"]),
    "lost, absent, then applied": ([("lost", None), ("ok", 0.0)], ["429"]),
    "lost, absent, lost, then found": ([("lost", None), ("500", 3.0)], []),
    "blocked, and found": ([("403 page", 5.0)], []),
    "refused": ([("refused", None)], []),
}


@attrs.define
class Case:
    """One call, cancelled when it suspends for the n-th time."""

    kind: str
    story: str
    step: int
    is_contended: bool = False
    """It has to wait for a slot, and for the rate."""
    steps: int = 0
    was_cancelled: bool = False
    is_kept: bool = False

    async def run(self) -> None:
        """Make the call, and check what it leaves behind."""
        posts, looks = STORIES[self.story]
        service = Service(self.kind, list(posts), list(looks), 0.0)
        heard: list[events.Event] = []
        slots, limiter = Slots(2), RateLimiter(RateLimit(2))
        key = ApiKey("k")
        sender = Sender(
            LimitedTransport(service, slots, limiter, "k"),
            events.Hooks([heard.append]),
            key,
            "https://s.test",
        )
        operation, request = CALLS[self.kind]
        async with anyio.create_task_group() as others:
            if self.is_contended:
                others.start_soon(contend, slots, limiter)
                await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                stepping = CancelledAt(sender.send(operation, request, options()), scope, self.step)
                with contextlib.suppress(Chat2PayError):  # which tells the caller itself
                    await stepping
        self.steps, self.was_cancelled = stepping.steps, scope.cancelled_caught
        # Nothing of it is left where others have to wait.
        assert slots._free == 2
        assert not any([slots._first, slots._others, limiter._first, limiter._others])
        if not self.was_cancelled:
            assert sender.unsettled == ()
            return
        proofs = [one.attempt.proof for one in heard if isinstance(one, events.AttemptFinished)]
        (finished,) = [one for one in heard if isinstance(one, events.CallFinished)]
        assert finished.error in {"CancelledError", "Cancelled"}
        self.is_kept = bool(sender.unsettled)
        told = [one.pending for one in heard if isinstance(one, events.OutcomeUnknown)]
        assert tuple(told) == sender.unsettled, "the event tells the same"
        if not self.is_kept:
            assert service.effects == [], (service.log, proofs)
            return
        assert Proof.UNKNOWN in proofs
        (pending,) = sender.unsettled
        await self.settle(sender, pending, service)

    async def settle(self, sender: Sender, pending: Pending, service: Service) -> None:
        """Settle what is left, as the client does."""
        service.looks.clear()
        resolution = await sender.resolve(pending, options())
        expected = Verdict.APPLIED if service.effects else Verdict.ABSENT
        assert resolution.verdict is expected, service.log
        sender.forget_settled({pending: resolution})
        assert sender.unsettled == ()
        assert len(service.effects) <= 1


async def contend(slots: Slots, limiter: RateLimiter) -> None:
    """Hold all slots for a while, and use up the rate."""
    for _ in range(2):
        await slots.acquire(priority=True)
    for _ in range(4):
        await limiter.acquire()
    await anyio.sleep(1)
    for _ in range(2):
        slots.release()


async def every_step(kind: str, story: str, *, is_contended: bool = False) -> list[Case]:
    """Cancel a call at its first suspension, at its second, …, until it ends before that."""
    cases: list[Case] = []
    while not cases or cases[-1].was_cancelled:
        cases.append(Case(kind, story, len(cases) + 1, is_contended))
        await cases[-1].run()
        assert len(cases) < 1000, "it never ends"
    assert cases[-1].steps == len(cases) - 1
    assert any(case.is_kept for case in cases)
    return cases


class _Native:
    """A cancellation of asyncio's own, in the place of a scope's."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.was_cancelled = False

    async def run(self, step: int, call: Awaitable[Any]) -> tuple[Any, int]:
        """Await a call in a task that is cancelled at a step."""
        scope: Any = self
        stepping = CancelledAt(call, scope, step)

        async def stepped() -> Any:
            return await stepping

        self.task = asyncio.ensure_future(stepped())
        await asyncio.wait([self.task])
        self.was_cancelled = self.task.cancelled()
        return None if self.was_cancelled else self.task.result(), stepping.steps

    def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()


@attrs.define
class JournalledCase:
    """One call with a journal, cancelled when it suspends for the n-th time."""

    kind: str
    story: str
    step: int
    store: SQLiteStore
    is_native: bool
    steps: int = 0
    was_cancelled: bool = False
    state: RowState | None = None
    """Its row's state in the journal then; None: it has none."""
    is_unknown: bool = False
    """True if it stays unknown: nothing it shows has a stamp, or told of the service's time."""

    async def run(self) -> None:
        """Make the call, and compare what it leaves behind with what the service did."""
        posts, looks = STORIES[self.story]
        service = Service(self.kind, list(posts), list(looks), 0.0)
        told = await self._cancelled(self._calls(service))
        rows = rows_in(self.store.path)
        self.state = rows[0].state if rows else None
        assert not self._is_held(), "whoever is cancelled holds nothing"
        self._check(told, service)
        service.looks.clear()
        service.posts.clear()
        calls = self._calls(service)
        await _recover(calls, options())
        self.is_unknown = any(row.state in OPEN for row in rows_in(self.store.path))
        again = await self._made(calls)
        assert len(service.effects) == 1, service.log
        assert self.is_unknown or not isinstance(again, OutcomeUnknownError)
        if told is not None and not isinstance(told, Chat2PayError):
            assert again.replayed

    def _check(self, told: Any, service: Service) -> None:
        """Compare what its caller was told, the journal, and the truth."""
        may_be_applied = self.state in OPEN or self.state is RowState.APPLIED
        assert may_be_applied or service.effects == [], service.log
        if isinstance(told, OutcomeUnknownError):
            assert self.state in OPEN
        elif isinstance(told, Chat2PayError):
            assert not may_be_applied
        elif told is not None:
            assert self.state is RowState.APPLIED
        elif self.state is RowState.APPLIED:
            assert len(service.effects) == 1

    def _is_held(self) -> bool:
        with contextlib.closing(sqlite3.connect(self.store.path)) as db:
            (held,) = db.execute("SELECT count(*) FROM item WHERE token IS NOT NULL").fetchone()
        return bool(held)

    def _calls(self, service: Service) -> KeyedCalls:
        limited = LimitedTransport(service, Slots(2), RateLimiter(RateLimit(2)), "secret-key")
        sender = Sender(limited, events.Hooks([]), ApiKey("secret-key"), ACCOUNT.base_url)
        return KeyedCalls(sender, self.store, object())

    async def _made(self, calls: KeyedCalls) -> Any:
        operation, request = CALLS[self.kind]
        try:
            return (await calls.send(operation, request, options())).parsed
        except Chat2PayError as error:
            return error

    async def _cancelled(self, calls: KeyedCalls) -> Any:
        """Return the call's result or error; None where it was cancelled."""
        if self.is_native:
            native = _Native()
            told, self.steps = await native.run(self.step, self._made(calls))
            self.was_cancelled = native.was_cancelled
            return told
        told = None
        with anyio.CancelScope() as scope:
            stepping = CancelledAt(self._made(calls), scope, self.step)
            told = await stepping
        self.steps, self.was_cancelled = stepping.steps, scope.cancelled_caught
        return told


async def every_journalled_step(
    kind: str, story: str, path: Path, *, is_native: bool
) -> list[JournalledCase]:
    """Cancel a call with a journal at its first suspension, at its second, …"""
    cases: list[JournalledCase] = []
    with opened(path) as store, contextlib.closing(sqlite3.connect(path)) as db:
        while not cases or cases[-1].was_cancelled:
            with db:  # a new journal for each takes longer than its case
                db.execute("DELETE FROM history")
                db.execute("DELETE FROM item")
            cases.append(JournalledCase(kind, story, len(cases) + 1, store, is_native))
            await cases[-1].run()
            assert len(cases) < 1000, "it never ends"
    return cases
