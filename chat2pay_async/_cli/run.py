"""The jobs, and a run from its start to its end, as somebody at the keyboard sees and stops it."""

from __future__ import annotations

import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, ClassVar, Final

import anyio
import attrs

from chat2pay_async import bulk
from chat2pay_async._api.models import PaymentLinkRequest
from chat2pay_async._api.operations import RESOLVED
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.run import Run
from chat2pay_async._bulk.summary import Summary, in_words
from chat2pay_async._cli.journal import path_of
from chat2pay_async._cli.options import ExitCode, JobOptions
from chat2pay_async._cli.printing import Printer
from chat2pay_async._cli.progress import Display
from chat2pay_async._cli.single_call import client_of, has_key
from chat2pay_async._cli.stdout import OutputError, print_error
from chat2pay_async._config import DEFAULT_BASE_URL, base_url_of
from chat2pay_async._files.check import Check
from chat2pay_async._files.columns import Kind
from chat2pay_async._files.rows import CAPTURES, LINKS, RECEIPTS, REFERENCES
from chat2pay_async.errors import Chat2PayError, RunStoppedError

__all__ = ["JOBS", "Job", "Plan", "RunController", "compared"]


@attrs.frozen
class Job:
    """A bulk operation as a command."""

    name: str
    """The command's name."""
    operation: str
    title: str
    kind: Kind[Any]
    start: Callable[..., Run[Any, Any]]
    only: str = ""
    """The payments of another run that it is for, by `records.FILTERS`."""


JOBS: Final = {
    job.name: job
    for job in (
        Job("links", "create_payment_link", "payment links", LINKS, bulk.create_payment_links),
        Job(
            *("captures", "capture_payment", "captures", CAPTURES, bulk.capture_payments),
            only="authorized",
        ),
        Job(
            *("reversals", "reverse_payment", "reversals", REFERENCES, bulk.reverse_payments),
            only="authorized",
        ),
        Job(
            *("cancellations", "cancel_payment_link", "cancellations"),
            *(REFERENCES, bulk.cancel_payment_links),
            only="open",
        ),
        Job("receipts", "create_receipt", "receipts", RECEIPTS, bulk.create_receipts),
    )
}

_NOT_COMPARED: Final = "Not compared with the journal, since CHAT2PAY_API_KEY is not set."


@attrs.frozen
class Plan:
    """A run that is about to begin."""

    run: str
    """Its name."""
    settings: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Texts that are kept with it."""
    check: Check = attrs.field(factory=Check)
    """The check of its file."""
    check_existing: bool = False
    done: ExitCode = ExitCode.DONE
    """The exit code where all goes well."""
    resume: str = ""
    """The arguments of `resume` that continue it. Default: its name."""
    is_selection: bool = False
    """True if its items are selected anew each time: it does not matter what is gone."""
    is_again: bool = False
    """True if customers get a second message, which is always asked about."""


@attrs.define(eq=False, repr=False, slots=False)
class RunController:
    """A run from its start to its end: comparison, progress, Ctrl-C, results, and the exit code."""

    SHOWN: ClassVar = 20
    """The number of problems that are shown one by one."""
    MOST_KEPT: ClassVar = 1_000
    """The number of outcomes that a dry run may keep until its file was checked."""
    _job: Job
    """The work that is done with the items."""
    _plan: Plan
    """The run."""
    _options: JobOptions
    """The way in which it is done."""

    def __attrs_post_init__(self) -> None:
        self._display = Display(self._job.title, None)
        self._printer = Printer(as_json=self._options.json)
        self._is_comparing = False
        self._interrupts = 0
        self._stops = False
        self._failure: Chat2PayError | OSError | None = None
        self._problems = self._earlier_problems = 0
        self._unsent: Counter[State] = Counter()
        self._summary = Summary()
        self._forecast: bulk.Forecast | None = None
        self._compared: bulk.Forecast | None = None
        self._kept: list[Outcome[Any, Any]] | None = None
        """The outcomes that wait for the end of the file."""

    def compare(self, items: Iterable[Any]) -> bool:
        """Compare a file with the journal while it is checked, for a dry run: `end` tells of it.

        Returns:
            False where it failed, or has much to tell: then it is done anew once the file was
            checked, and has told nothing so far.
        """
        self._is_comparing, self._kept = True, []
        try:
            anyio.run(self._run, items)
        except (Chat2PayError, OSError):
            return False
        return self._failure is None

    def end(self, plan: Plan) -> int:
        """Tell what `compare` found.

        Args:
            plan: The run, by what is known of its file now.

        Returns:
            The exit code.
        """
        self._plan, kept, self._kept = plan, self._kept or [], None
        if not has_key():
            print_error(_NOT_COMPARED)
        with self._printing():
            for outcome in kept:
                self._take(outcome)
        return self._end()

    def run_checked(self, items: Callable[[], Iterable[Any]]) -> int:
        """Compare a file with the journal, ask, and send what is new.

        Args:
            items: Reads the items, each time from the start.

        Returns:
            The exit code.
        """
        self._is_comparing = True
        return self._run_compared(anyio.run(self._run, items()), items)

    def _run_compared(
        self, forecast: bulk.Forecast | None, items: Callable[[], Iterable[Any]]
    ) -> int:
        self._is_comparing = False
        if self._options.dry_run or self._interrupts or self._failure or forecast is None:
            return self._end()
        if refusal := self._refusal(forecast):
            print_error(refusal)
            return ExitCode.FAILED
        self._announce(forecast)
        if not self._may_send():
            print_error("Nothing was sent.")
            return ExitCode.FAILED
        self._compared, self._forecast = forecast, None
        self._problems = self._earlier_problems = 0
        total = forecast.to_send + forecast.to_look_up + forecast.refused
        self._display = Display(self._job.title, total)
        return self.run(items())

    def run(self, source: Iterable[Any]) -> int:
        """Run it, print its end, and say how to continue.

        Returns:
            The exit code.
        """
        anyio.run(self._run, source)
        return self._end()

    def _refusal(self, forecast: bulk.Forecast) -> str:
        if not forecast.lookalikes or self._options.allow_lookalikes:
            return ""
        lines = [f"{key}: looks like {other}" for key, other in forecast.lookalike_keys]
        if forecast.lookalikes > len(lines):
            lines.append(f"… and {forecast.lookalikes - len(lines):,} more")
        lines.append(
            f"Nothing was sent. {forecast.lookalikes:,} rows look like orders that the journal "
            "knows already, or that are gone from this run: has a spreadsheet rewritten them? "
            "Correct them; or pass --allow-lookalikes to send them as new orders, or --run NAME "
            "if this is a new campaign."
        )
        return "\n".join(lines)

    def _announce(self, forecast: bulk.Forecast) -> None:
        """Say what goes where."""
        sheet = self._plan.check.sheet
        what = f"{forecast.to_send:,} {self._job.title}" + (f" of sheet {sheet}" if sheet else "")
        what = ", ".join([what, *in_words(forecast.amounts)])
        base_url, journal = base_url_of(self._options.base_url), path_of(self._options)
        kind = "production" if self._is_production else "not production"
        print_error(
            f"Sending {what}, to {base_url} ({kind}), run {self._plan.run}, journal {journal}"
        )
        if line := compared(forecast, gone=not self._plan.is_selection):
            print_error(line)

    @property
    def _is_production(self) -> bool:
        return base_url_of(self._options.base_url) == DEFAULT_BASE_URL.rstrip("/")

    def _may_send(self) -> bool:
        """Ask somebody at a terminal; scripts are not asked."""
        if self._options.yes or not (self._is_production or self._plan.is_again):
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return True
        sys.stderr.write("Send? [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _options_of_run(self, *, is_dry: bool, has_journal: bool) -> dict[str, Any]:
        options = self._options
        shared: dict[str, Any] = {
            "concurrency": options.concurrency,
            "stop_at_failure_rate": options.stop_at_failure_rate,
            "give_up_after": options.give_up_after,
            "dry_run": is_dry,
        }
        if has_journal:
            shared |= {
                "run": self._plan.run,
                "settings": self._plan.settings,
                "retry_rejected": options.retry_rejected,
                "allow_lookalikes": options.allow_lookalikes,
                "compare": self._compared,
            }
        return shared | ({"check_existing": True} if self._plan.check_existing else {})

    async def _run(self, source: Iterable[Any]) -> bulk.Forecast | None:
        is_dry = self._is_comparing
        # Without a key there is no account to compare with, and a dry run needs none.
        has_journal = has_key() or not self._options.dry_run
        if not has_journal:
            if self._kept is None:
                print_error(_NOT_COMPARED)
        elif self._options.dry_run:
            has_journal = path_of(self._options).exists()
        options = self._options_of_run(is_dry=is_dry, has_journal=has_journal)
        hooks = [] if is_dry else [self._display]
        async with client_of(
            self._options, hooks, with_journal=has_journal, needs_key=has_journal
        ) as client:
            run = self._job.start(client, self._watched(source), **options)
            async with anyio.create_task_group() as tasks:
                if not is_dry:  # there is nothing in progress that Ctrl-C could cut off
                    tasks.start_soon(self._listen, run, tasks.cancel_scope)
                try:
                    with nullcontext() if is_dry else self._display:
                        await self._read(run)
                except (Chat2PayError, OSError) as failure:
                    self._failure = failure
                finally:
                    self._summary, self._forecast = run.summary, run.forecast
                    with self._printing():
                        for outcome in run.undelivered:
                            self._take(outcome)
                tasks.cancel_scope.cancel()
        return self._forecast

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
                if self._kept is not None and len(self._kept) > self.MOST_KEPT:
                    self._failure = RunStoppedError("it has more to tell than is kept")
                    return

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
        if self._is_comparing and not self._options.dry_run:
            return  # the run itself will say it
        if self._kept is not None:
            self._kept.append(outcome)
            return
        self._printer.outcome(outcome)
        if not outcome.attempts:  # nothing left for it
            self._unsent[outcome.state] += 1
        problem = problem_of(outcome)
        if problem is None:
            return
        self._earlier_problems += outcome.state is State.SKIPPED
        self._problems += 1
        if self._problems <= self.SHOWN:
            receipt = getattr(outcome.request, "receipt_link", "")  # a payment may have several
            self._display.print(f"{f'{outcome.key} {receipt}'.rstrip()}: {problem}")
        elif self._problems == self.SHOWN + 1:
            more = "" if self._is_comparing else f" `chat2pay report {self._name}` has all of them."
            self._display.print(f"… and more.{more}")

    @contextmanager
    def _printing(self) -> Generator[None]:
        try:
            yield
        except OutputError as failure:
            self._failure = self._failure or failure

    # When it has ended ---------------------------------------------------------------------------

    def _end(self) -> int:
        # Half a forecast would mislead.
        nothing = self._failure is not None and (self._is_dry or not self._summary.total)
        unfinished = (
            self._code() in {ExitCode.INTERRUPTED, ExitCode.FAILED}
            or self._summary.failed
            or self._summary.unknown
        )
        if not nothing:
            with self._printing():
                if self._forecast is None:
                    self._printer.summary(self._job.title, self._summary, self._accounts())
                else:
                    self._printer.forecast(self._job.title, self._forecast, self._plan.check)
        if self._failure is not None and str(self._failure):
            print_error(f"chat2pay: {_text_of(self._failure)}")
        if not (self._is_dry or nothing):
            if unfinished:
                how = self._plan.resume or self._name
                print_error(f"To continue: chat2pay resume {how}")
            elif self._failure is not None or not self._options.json:
                print_error(f"Results: chat2pay report {self._name}")
        return self._code()

    @property
    def _name(self) -> str:
        """The run for a shell, with its journal and service where they are not the default."""
        named = {"--journal": self._options.journal, "--base-url": self._options.base_url}
        given = (f"{option} {shlex.quote(str(value))}" for option, value in named.items() if value)
        return " ".join([shlex.quote(self._plan.run), *given])

    @property
    def _is_dry(self) -> bool:
        """True if nothing was to be sent, or it did not come to that."""
        return self._options.dry_run or self._forecast is not None

    def _accounts(self) -> dict[str, int]:
        """Say what became of every row of the file."""
        check, found = self._plan.check, self._summary
        of_file = found.total - found.gone
        refused, failed = self._unsent[State.REJECTED], self._unsent[State.FAILED]
        return {
            "rows": check.rows,
            "sent": max(0, of_file - found.skipped - refused - failed),
            "done_before": found.skipped,
            "refused": refused,
            "not_reached": max(0, check.good - of_file) + failed,
            "bad": check.bad,
            "gone": 0 if self._plan.is_selection else found.gone,
        }

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
        return ExitCode.PROBLEMS if problems + refused else self._plan.done


def problem_of(outcome: Outcome[Any, Any]) -> str | None:
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


def compared(forecast: bulk.Forecast, *, gone: bool) -> str:
    """Say how a file compares with what its run has done before; empty if there is nothing."""
    parts = {
        "done": forecast.final,
        "to look up": forecast.to_look_up,
        "changed": forecast.changed,
        "repeated": forecast.repeated,
        "gone from the file": forecast.gone if gone else 0,
    }
    told = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
    return f"Not sent again: {told}" if told else ""
