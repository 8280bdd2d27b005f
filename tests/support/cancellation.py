"""A call that is cancelled, wherever it is: nothing was sent, or it is kept and can be settled."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import attrs
from moody_service import CALLS, Service
from scripted import WINDOW, options
from stepping import CancelledAt

from chat2pay_async import Chat2PayError, Proof, RateLimit, Verdict, events
from chat2pay_async._config import ApiKey
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
