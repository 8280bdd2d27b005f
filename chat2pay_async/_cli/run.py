"""A run from beginning to end, as somebody at the keyboard sees and stops it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import anyio
from rich.console import Console

from chat2pay_async import bulk
from chat2pay_async._api.models import PaymentLinkRequest
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.run import Run
from chat2pay_async._bulk.summary import Summary
from chat2pay_async._cli.job import DOUBT, FAILED, PROBLEMS, STOPPED, Job, Plan, client_of
from chat2pay_async._cli.printing import Printer
from chat2pay_async._cli.progress import Display
from chat2pay_async._cli.stdout import OutputError
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async.errors import Chat2PayError

__all__ = ["Course", "tell"]


def tell(text: str) -> None:
    """Write a line to standard error."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


class Course:
    """A run from beginning to end, as somebody at the keyboard sees and stops it."""

    SHOWN: Final = 20
    """How many items that did not go well are told one by one."""

    def __init__(self, display: Display, printer: Printer, done: int) -> None:
        self._done = done
        self._display = display
        self._printer = printer
        self._interrupts = 0
        self._stops = False
        self._failure: Chat2PayError | OSError | None = None
        self._problems = self._earlier_problems = 0
        self._summary = Summary()
        self._forecast: bulk.Forecast | None = None

    async def follow(self, job: Job, source: Iterable[Any], journal: Journal, plan: Plan) -> None:
        """Run it."""
        shown = nullcontext() if plan.dry_run else self._display
        # A journal is of one key; without one, a dry run has nothing to hold it against.
        needs_key = not plan.dry_run or journal.path.exists()
        async with client_of(plan, [self._display], needs_key=needs_key) as client:
            run = job.run_of(client, self._watched(source), journal, plan)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, run, tasks.cancel_scope)
                try:
                    with shown:
                        await self._read(run)
                except (Chat2PayError, OSError) as failure:
                    self._failure = failure
                finally:
                    self._take_leave(run)
                tasks.cancel_scope.cancel()

    async def _read(self, run: Run[Any, Any]) -> None:
        async with run:
            if self._interrupts:  # before there was anything to stop
                run.stop()
            async for outcome in run:
                try:
                    self._note(outcome)
                except OutputError as failure:
                    self._stops_itself(failure)
                    raise
                if run.stopped_by is not None:  # raised only when nothing is in progress
                    self._stops_itself(run.stopped_by)

    def _watched(self, source: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from source
        except Exception as failure:
            self._stops_itself(failure)
            raise

    def _stops_itself(self, why: object) -> None:
        """Say so at once, where the end has to wait for what is under way."""
        if self._display.under_way and not self._stops:
            self._display.stop(_told(why))
        self._stops = True

    def _take_leave(self, run: Run[Any, Any]) -> None:
        self._summary, self._forecast = run.summary, run.forecast
        try:
            for outcome in run.undelivered:
                self._note(outcome)
        except OutputError as failure:
            self._failure = self._failure or failure

    async def _listen(self, run: Run[Any, Any], everything: anyio.CancelScope) -> None:
        with (
            suppress(NotImplementedError),  # Windows: there Ctrl-C stops at once
            anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        ):
            async for _signal in signals:
                self._interrupts += 1
                self._stops = True
                if self._interrupts > 1:
                    everything.cancel()
                    return
                run.stop()
                self._display.stop("interrupted (Ctrl-C again stops at once)")

    def _note(self, outcome: Outcome[Any, Any]) -> None:
        self._printer.outcome(outcome)
        problem = _problem_of(outcome)
        if problem is None:
            return
        self._earlier_problems += outcome.state is State.SKIPPED
        self._problems += 1
        if self._problems <= self.SHOWN:
            self._display.say(f"{outcome.key}: {problem}")
        elif self._problems == self.SHOWN + 1:
            self._display.say("… and more like this; the journal has them all")

    # When it has ended ---------------------------------------------------------------------------

    def end(self, job: Job, journal: Journal, plan: Plan) -> int:
        """Say what came of it, and how to go on; the exit code."""
        # Half a forecast would mislead.
        nothing = self._failure is not None and (plan.dry_run or not self._summary.total)
        unfinished = (
            self._code() in {STOPPED, FAILED} or self._summary.failed or self._summary.unknown
        )
        if not nothing:
            self._print_end(job)
        if self._failure is not None:
            tell(f"chat2pay: {_told(self._failure)}")
        if plan.dry_run or nothing or not journal.path.exists():
            return self._code()
        if unfinished:
            tell(f"To go on: chat2pay resume {_quoted(journal.path)}")
        elif self._failure is not None or not plan.as_json:
            tell(f"What became of it: chat2pay report {_quoted(journal.path)}")
        return self._code()

    def _print_end(self, job: Job) -> None:
        try:
            if self._forecast is None:
                self._printer.summary(job.title, self._summary)
            else:
                self._printer.forecast(job.title, self._forecast)
        except OutputError as failure:
            self._failure = self._failure or failure

    def _code(self) -> int:
        found = self._summary
        if self._failure is not None:
            return FAILED
        if self._interrupts:
            return STOPPED
        if found.unknown:
            return DOUBT
        refused = 0 if self._forecast is None else self._forecast.refused
        problems = found.rejected + found.failed + found.not_delivered + self._earlier_problems
        return PROBLEMS if problems + refused else self._done


def _problem_of(outcome: Outcome[Any, Any]) -> str | None:
    """What did not go well with an item, in this run or an earlier one."""
    before = outcome.state is State.SKIPPED
    earlier = " by an earlier run" if before else ""
    why = "" if outcome.error is None else f": {' '.join(str(outcome.error).split())}"
    if outcome.delivered is False:
        return f"applied{earlier}, but its message to the customer was not sent{why}"
    if outcome.declined:
        why = ": declined by the gateway"
    if not why:
        undecided = outcome.state is State.UNKNOWN
        return f"{outcome.state.value}: the gateway has not decided" if undecided else None
    if not before:
        return f"{outcome.state.value}{why}"
    is_link = isinstance(outcome.request, PaymentLinkRequest)
    again = "; give it a new order number to try again" if is_link else ""
    return f"rejected{earlier}{why}{again}"


def _told(failure: object) -> str:
    """An error in the words of the command line: it has one option that a run's errors name."""
    return str(failure).replace("stop_at_failure_rate=", "--stop-at-failure-rate ")


def _quoted(path: Path) -> str:
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
