"""What the command line runs: a campaign or a job, from a file to its summary and exit code."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import anyio
import attrs
from rich.console import Console

from chat2pay_async import bulk
from chat2pay_async._campaign_file import CampaignFile, journal_for
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._config import RetryPolicy
from chat2pay_async._display import Display
from chat2pay_async._journal import Journal
from chat2pay_async._limits import RateLimit
from chat2pay_async._outcomes import Outcome, State, Summary
from chat2pay_async._printing import Printer, faults_of
from chat2pay_async._report import Report
from chat2pay_async._run import Run
from chat2pay_async._tables import CAPTURES, LINKS, RECEIPTS, REFERENCES, Kind
from chat2pay_async.errors import Chat2PayError

__all__ = [
    "DONE",
    "DOUBT",
    "FAILED",
    "JOBS",
    "PROBLEMS",
    "STOPPED",
    "Job",
    "Plan",
    "client_of",
    "resume_job",
    "start_job",
]

DONE: Final = 0
"""Everything took effect."""
FAILED: Final = 1
"""It could not be done, or not to the end."""
PROBLEMS: Final = 3
"""It was done, but some items were refused, failed, or did not reach the customer."""
DOUBT: Final = 4
"""It was done, but of some items it is not known whether they took effect."""
STOPPED: Final = 130
"""It was interrupted."""


@attrs.frozen
class Plan:
    """How a job is to be run."""

    base_url: str | None = None
    rate_limit: float | None = None
    """Requests a second."""
    settle: float = RetryPolicy().settle
    resend_when_absent: bool = True
    concurrency: int = 64
    stop_at_failure_rate: float | None = None
    check_existing: bool = False
    dry_run: bool = False
    as_json: bool = False


def client_of(plan: Plan, hooks: Iterable[Any] = ()) -> AsyncChat2Pay:
    """A client as the plan wants it. Its key is in the environment: arguments show up in `ps`."""
    return AsyncChat2Pay(
        base_url=plan.base_url,
        retry=RetryPolicy(settle=plan.settle, resend_when_absent=plan.resend_when_absent),
        rate_limit=None if plan.rate_limit is None else RateLimit(plan.rate_limit),
        max_connections=max(100, plan.concurrency),
        hooks=hooks,
    )


@attrs.frozen
class Job:
    """One kind of run."""

    name: str
    """What it is called on the command line."""
    title: str
    kind: Kind[Any]
    start: Callable[..., Run[Any, Any]]

    def run_of(
        self, client: AsyncChat2Pay, source: Iterable[Any], journal: Journal | None, plan: Plan
    ) -> Run[Any, Any]:
        """A run of it."""
        more = {"check_existing": True} if plan.check_existing else {}
        return self.start(
            client,
            source,
            journal=journal,
            concurrency=plan.concurrency,
            stop_at_failure_rate=plan.stop_at_failure_rate,
            dry_run=plan.dry_run,
            **more,
        )


JOBS: Final[Mapping[str, Job]] = MappingProxyType(
    {
        job.name: job
        for job in (
            Job("links", "payment links", LINKS, bulk.create_payment_links),
            Job("captures", "captures", CAPTURES, bulk.capture_payments),
            Job("reversals", "reversals", REFERENCES, bulk.reverse_payments),
            Job("cancellations", "cancellations", REFERENCES, bulk.cancel_payment_links),
            Job("receipts", "receipts", RECEIPTS, bulk.create_receipts),
        )
    }
)
_SOURCE: Final = ("ignore", "skip_bad_rows")
"""What a journal says of how its source is read, and ..."""
_KEPT: Final = ("check_existing", "resend_when_absent", "settle")
"""... of how it is sent: what protects from sending twice must hold to the end."""
_BY_OPERATION: Final = {
    "create_payment_link": "links",
    "capture_payment": "captures",
    "reverse_payment": "reversals",
    "cancel_payment_link": "cancellations",
    "create_receipt": "receipts",
}


# From a file, or from a journal -------------------------------------------------------------------


def start_job(
    job: Job,
    file: CampaignFile[Any],
    plan: Plan,
    *,
    journal: Path | None = None,
    force: bool = False,
) -> int:
    """Check a file, and send what is in it.

    Returns:
        The exit code.

    Raises:
        Chat2PayError: It can't be begun.
    """
    notes = {
        "source": str(file.path.resolve()),
        "ignore": json.dumps(file.ignore),
        "skip_bad_rows": json.dumps(file.skip_bad_rows),
        **{name: json.dumps(getattr(plan, name)) for name in _KEPT},
    }

    def kept() -> Journal:
        place = journal_for(file.path, job.name, journal, force=force, look_only=plan.dry_run)
        return Journal(place, notes=notes)

    return _check_and_send(job, file, kept, plan)


def resume_job(path: Path, plan: Plan) -> int:
    """Go on with the job that a journal belongs to.

    Returns:
        The exit code.

    Raises:
        Chat2PayError: It can't go on.
    """
    with Report(path) as report:
        notes, operation = report.notes, report.operation
    job = JOBS[_BY_OPERATION[operation.name]]
    plan = attrs.evolve(plan, base_url=plan.base_url or notes["base_url"])
    # A program's own journal may have notes of its own, that mean something else.
    if not all(f"user {name}" in notes for name in ("source", *_SOURCE, *_KEPT)):
        _tell(f"{path}: it names no source, so only what was left in doubt is settled")
        return _send(job, (), None, Journal(path), plan)
    source = Path(notes["user source"])
    ignore, skip_bad_rows, check_existing, resend, settle = (
        json.loads(notes[f"user {name}"]) for name in (*_SOURCE, *_KEPT)
    )
    plan = attrs.evolve(
        plan,
        check_existing=check_existing,
        resend_when_absent=plan.resend_when_absent and resend,
        settle=settle if plan.settle == Plan().settle else plan.settle,
    )
    if not source.exists():
        _tell(f"{path}: its source {source} is gone, so only what was left in doubt is settled")
        # What the file still had to be sent is not known, so this is never all of it.
        return _send(job, (), None, Journal(path), plan, done=FAILED)
    file = CampaignFile(source, job.kind, tuple(ignore), skip_bad_rows)
    return _check_and_send(job, file, lambda: Journal(path), plan)


def _check_and_send(
    job: Job, file: CampaignFile[Any], kept: Callable[[], Journal], plan: Plan
) -> int:
    check = file.check()
    for line in faults_of(file.path, check):
        _tell(line)
    if check.bad and not file.skip_bad_rows:
        _tell("Nothing was sent: mend these rows, or say --skip-bad-rows to send the others.")
        return FAILED
    done = PROBLEMS if check.bad else DONE
    return _send(job, file.requests(), check.good, kept(), plan, done=done)


def _tell(text: str) -> None:
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _send(  # noqa: PLR0913 - what is sent, how, and what it comes to
    job: Job,
    source: Iterable[Any],
    total: int | None,
    journal: Journal,
    plan: Plan,
    *,
    done: int = DONE,
) -> int:
    course = _Course(Display(job.title, total), Printer(as_json=plan.as_json), done)
    anyio.run(course.follow, job, source, journal, plan)
    return course.end(job, journal, plan)


# While it runs ------------------------------------------------------------------------------------


class _Course:
    """A run from beginning to end, as somebody at the keyboard sees and stops it."""

    SHOWN: Final = 20
    """How many items that did not go well are told one by one."""

    def __init__(self, display: Display, printer: Printer, done: int) -> None:
        self._done = done
        self._display = display
        self._printer = printer
        self._interrupts = 0
        self._failure: Chat2PayError | OSError | None = None
        self._problems = self._earlier_problems = 0
        self._summary = Summary()
        self._forecast: bulk.Forecast | None = None

    async def follow(self, job: Job, source: Iterable[Any], journal: Journal, plan: Plan) -> None:
        """Run it."""
        shown = nullcontext() if plan.dry_run else self._display
        async with client_of(plan, [self._display]) as client:
            run = job.run_of(client, source, journal, plan)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, run, tasks.cancel_scope)
                try:
                    with shown:
                        await self._read(run)
                # Among these: whoever read standard output has gone.
                except (Chat2PayError, OSError) as failure:
                    self._failure = failure
                finally:
                    for outcome in run.undelivered:
                        self._note(outcome)
                    self._summary, self._forecast = run.summary, run.forecast
                tasks.cancel_scope.cancel()

    async def _read(self, run: Run[Any, Any]) -> None:
        async with run:
            if self._interrupts:  # before there was anything to stop
                run.stop()
            async for outcome in run:
                self._note(outcome)

    async def _listen(self, run: Run[Any, Any], everything: anyio.CancelScope) -> None:
        with (
            suppress(NotImplementedError),  # Windows: there Ctrl-C stops at once
            anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        ):
            async for _signal in signals:
                self._interrupts += 1
                if self._interrupts > 1:
                    everything.cancel()
                    return
                run.stop()
                self._display.say(
                    "Stopping: what is under way comes to its end. Ctrl-C again stops at once"
                )

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
        nothing = self._failure is not None and not self._summary.total
        if self._forecast is not None:
            self._printer.forecast(job.title, self._forecast)
        elif not nothing:
            self._printer.summary(job.title, self._summary)
        if self._failure is not None:
            _tell(f"chat2pay: {self._failure}")
        code = self._code()
        unfinished = code in {STOPPED, FAILED} or self._summary.failed or self._summary.unknown
        if plan.dry_run or nothing or not journal.path.exists():
            return code
        if unfinished:
            _tell(f"To go on: chat2pay resume {_quoted(journal.path)}")
        elif not plan.as_json:
            _tell(f"What became of it: chat2pay report {_quoted(journal.path)}")
        return code

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
    """What did not go well with an item."""
    if outcome.error is not None:
        return f"{outcome.state.value}: {' '.join(str(outcome.error).split())}"
    if outcome.declined:
        return f"{outcome.state.value}: declined by the gateway"
    if outcome.delivered is False:
        return f"{outcome.state.value}, but its message to the customer was not sent"
    if outcome.state is State.UNKNOWN:
        return f"{outcome.state.value}: the gateway has not decided"
    return None


def _quoted(path: Path) -> str:
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
