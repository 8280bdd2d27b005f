"""What the command line runs: a campaign or a job, from a file or a journal to its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from chat2pay_async._cli.job import DEFAULT_SETTLE, DONE, FAILED, JOBS, PROBLEMS, Job, Plan
from chat2pay_async._cli.printing import Printer, faults_of
from chat2pay_async._cli.progress import Display
from chat2pay_async._cli.report import Report
from chat2pay_async._cli.run import Course, tell
from chat2pay_async._files.campaign import CampaignFile, journal_for
from chat2pay_async._journal.sqlite import Journal

__all__ = ["resume_job", "start_job"]

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
    settle = DEFAULT_SETTLE if plan.settle is None else plan.settle
    plan = attrs.evolve(plan, settle=settle)
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
        tell(f"{path}: it names no source, so only what was left in doubt is settled")
        return _send(job, (), None, Journal(path), plan)
    source = Path(notes["user source"])
    ignore, skip_bad_rows, check_existing, resend, settle = (
        json.loads(notes[f"user {name}"]) for name in (*_SOURCE, *_KEPT)
    )
    plan = attrs.evolve(
        plan,
        check_existing=check_existing,
        resend_when_absent=plan.resend_when_absent and resend,
        settle=settle if plan.settle is None else plan.settle,
    )
    if not source.exists():
        tell(f"{path}: its source {source} is gone, so only what was left in doubt is settled")
        # What the file still had to be sent is not known, so this is never all of it.
        return _send(job, (), None, Journal(path), plan, done=FAILED)
    file = CampaignFile(source, job.kind, tuple(ignore), skip_bad_rows)
    return _check_and_send(job, file, lambda: Journal(path), plan)


def _check_and_send(
    job: Job, file: CampaignFile[Any], kept: Callable[[], Journal], plan: Plan
) -> int:
    check = file.check()
    for line in faults_of(file.path, check):
        tell(line)
    if check.bad and not file.skip_bad_rows:
        tell("Nothing was sent: mend these rows, or say --skip-bad-rows to send the others.")
        return FAILED
    done = PROBLEMS if check.bad else DONE
    return _send(job, file.requests(), check.good, kept(), plan, done=done)


def _send(  # noqa: PLR0913 - what is sent, how, and what it comes to
    job: Job,
    source: Iterable[Any],
    total: int | None,
    journal: Journal,
    plan: Plan,
    *,
    done: int = DONE,
) -> int:
    course = Course(Display(job.title, total), Printer(as_json=plan.as_json), done)
    anyio.run(course.follow, job, source, journal, plan)
    return course.end(job, journal, plan)
