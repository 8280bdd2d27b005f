"""A run from its start to its end, as somebody at the keyboard sees and stops it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, ClassVar

import anyio
import attrs

from chat2pay_async import bulk
from chat2pay_async._api.models import PaymentLinkRequest
from chat2pay_async._api.operations import RESOLVED
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.run import Run
from chat2pay_async._bulk.summary import Summary
from chat2pay_async._cli.job import ExitCode, Job, client_of
from chat2pay_async._cli.options import JobOptions
from chat2pay_async._cli.printing import Printer, print_error
from chat2pay_async._cli.progress import Display
from chat2pay_async._cli.stdout import OutputError
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async.errors import Chat2PayError

__all__ = ["RunController"]


@attrs.define(eq=False, repr=False, slots=False)
class RunController:
    """A run from its start to its end: progress, Ctrl-C, what is printed, and the exit code."""

    SHOWN: ClassVar = 20
    """The number of problems that are shown one by one."""
    _job: Job
    """The work that is done with the items."""
    _journal: Journal
    """The place where that is written down."""
    _options: JobOptions
    """The way in which it is done."""
    _total: int | None = attrs.field(default=None, kw_only=True, alias="total")
    """The number of items. Default: not known."""
    done: ExitCode = attrs.field(default=ExitCode.DONE, kw_only=True)
    """The exit code where all goes well."""

    def __attrs_post_init__(self) -> None:
        self._display = Display(self._job.title, self._total)
        self._printer = Printer(as_json=self._options.json)
        self._interrupts = 0
        self._stops = False
        self._failure: Chat2PayError | OSError | None = None
        self._problems = self._earlier_problems = 0
        self._summary = Summary()
        self._forecast: bulk.Forecast | None = None

    def run(self, source: Iterable[Any]) -> int:
        """Run it, print its end, and say how to continue.

        Returns:
            The exit code.
        """
        anyio.run(self._run, source)
        return self._end()

    async def _run(self, source: Iterable[Any]) -> None:
        options = self._options
        # A journal is of one key; without a journal, a dry run has nothing to compare the key with.
        needs_key = not options.dry_run or self._journal.path.exists()
        async with client_of(options, [self._display], needs_key=needs_key) as client:
            run = self._job.start(
                client,
                self._watched(source),
                journal=self._journal,
                concurrency=options.concurrency,
                stop_at_failure_rate=options.stop_at_failure_rate,
                dry_run=options.dry_run,
                give_up_after=options.give_up_after,
                **({"check_existing": True} if options.check_existing else {}),
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, run, tasks.cancel_scope)
                try:
                    with nullcontext() if options.dry_run else self._display:
                        await self._read(run)
                except (Chat2PayError, OSError) as failure:
                    self._failure = failure
                finally:
                    self._summary, self._forecast = run.summary, run.forecast
                    with self._printing():
                        for outcome in run.undelivered:
                            self._take(outcome)
                tasks.cancel_scope.cancel()

    async def _read(self, run: Run[Any, Any]) -> None:
        async with run:
            if self._interrupts:  # before there was anything to stop
                run.stop()
            async for outcome in run:
                try:
                    self._take(outcome)
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

    def _stops_itself(self, why: Exception) -> None:
        """Say so at once, where the end has to wait for what is in progress."""
        if self._display.in_progress and not self._stops:
            self._display.stop(_text_of(why))
        self._stops = True

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
                self._display.stop("interrupted (press Ctrl-C again to stop at once)")

    def _take(self, outcome: Outcome[Any, Any]) -> None:
        self._printer.outcome(outcome)
        problem = _problem_of(outcome)
        if problem is None:
            return
        self._earlier_problems += outcome.state is State.SKIPPED
        self._problems += 1
        if self._problems <= self.SHOWN:
            self._display.print(f"{outcome.key}: {problem}")
        elif self._problems == self.SHOWN + 1:
            self._display.print("… and more. `chat2pay report --csv` lists all of them.")

    @contextmanager
    def _printing(self) -> Generator[None]:
        try:
            yield
        except OutputError as failure:
            self._failure = self._failure or failure

    # When it has ended ---------------------------------------------------------------------------

    def _end(self) -> int:
        # Half a forecast would mislead.
        nothing = self._failure is not None and (self._options.dry_run or not self._summary.total)
        unfinished = (
            self._code() in {ExitCode.INTERRUPTED, ExitCode.FAILED}
            or self._summary.failed
            or self._summary.unknown
        )
        if not nothing:
            with self._printing():
                if self._forecast is None:
                    self._printer.summary(self._job.title, self._summary)
                else:
                    self._printer.forecast(self._job.title, self._forecast)
        if self._failure is not None and str(self._failure):
            print_error(f"chat2pay: {_text_of(self._failure)}")
        if not (self._options.dry_run or nothing) and self._journal.path.exists():
            if unfinished:
                print_error(f"To continue: chat2pay resume {_quoted(self._journal.path)}")
            elif self._failure is not None or not self._options.json:
                print_error(f"Results: chat2pay report {_quoted(self._journal.path)}")
        return self._code()

    def _code(self) -> ExitCode:
        found = self._summary
        if self._failure is not None:
            return ExitCode.FAILED
        if self._interrupts:
            return ExitCode.INTERRUPTED
        if found.unknown:
            return ExitCode.UNKNOWN
        refused = 0 if self._forecast is None else self._forecast.refused
        problems = found.rejected + found.failed + found.not_delivered + found.without_url
        problems += self._earlier_problems
        return ExitCode.PROBLEMS if problems + refused else self.done


def _problem_of(outcome: Outcome[Any, Any]) -> str | None:
    """Describe what did not go well with an item, in this run or an earlier one."""
    before = outcome.state is State.SKIPPED
    earlier = " by an earlier run" if before else ""
    why = "" if outcome.error is None else f": {' '.join(str(outcome.error).split())}"
    why = why.replace(RESOLVED, "the next run has looked it up")
    if outcome.delivered is False:
        return f"applied{earlier}, but the message to the customer was not sent{why}"
    if outcome.without_url:
        return (
            f"applied{earlier}, but its payment URL was lost with the response; to get one, cancel "
            "this link, and create another under a new order number"
        )
    if outcome.declined:
        why = ": declined by the gateway"
    if not why:
        undecided = outcome.state is State.UNKNOWN
        return f"{outcome.state.value}: the gateway has not decided yet" if undecided else None
    if not before:
        return f"{outcome.state.value}{why}"
    is_link = isinstance(outcome.request, PaymentLinkRequest)
    again = "; to try again, use a new order number" if is_link else ""
    return f"rejected{earlier}{why}{again}"


def _text_of(failure: Exception) -> str:
    """Describe an error by the name of the option that a run's errors mention."""
    text = str(failure).replace("stop_at_failure_rate=", "--stop-at-failure-rate ")
    return text.replace("give_up_after=", "--give-up-after ")


def _quoted(path: Path) -> str:
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
