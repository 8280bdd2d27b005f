"""Jobs from a file or a journal to their exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from chat2pay_async._cli.job import DEFAULT_SETTLE, LINK_JOB, OTHER_JOBS, ExitCode, Job
from chat2pay_async._cli.options import FileOptions, JobOptions
from chat2pay_async._cli.printing import faults_of, print_error
from chat2pay_async._cli.report import Report
from chat2pay_async._cli.run import RunController
from chat2pay_async._files.campaign import CampaignFile, Check, journal_for
from chat2pay_async._files.columns import Reading
from chat2pay_async._journal.sqlite import Journal
from chat2pay_async.errors import ConfigurationError

__all__ = ["resume_job", "start_job"]

_NOTES: Final = ("ignore", "skip_bad_rows", "check_existing", "resend_when_absent", "settle")
"""The settings that a journal keeps. What protects from sending twice must hold to the end."""


def start_job(job: Job, path: Path, options: FileOptions) -> int:
    """Check a file, and send what is in it.

    Returns:
        The exit code.

    Raises:
        Chat2PayError: The job can't be started.
    """
    settle = DEFAULT_SETTLE if options.settle is None else options.settle
    file = CampaignFile(path, job.kind, Reading(ignore=options.ignore), options.skip_bad_rows)
    values = (
        *(options.ignore, file.skip_bad_rows),
        *(options.check_existing, not options.never_resend, settle),
    )
    notes = {name: json.dumps(value) for name, value in zip(_NOTES, values, strict=True)}

    def journal() -> Journal:
        place = journal_for(
            path, job.name, options.journal, force=options.force, look_only=options.dry_run
        )
        return Journal(place, notes={"source": str(path.resolve()), **notes})

    with file:
        return _check_and_send(job, file, journal, options)


def resume_job(path: Path, options: JobOptions) -> int:
    """Continue the job that a journal belongs to.

    Returns:
        The exit code.

    Raises:
        Chat2PayError: The job can't be continued.
    """
    with Report(path) as report:
        notes, operation = report.notes, report.operation
    job = next(job for job in (LINK_JOB, *OTHER_JOBS) if job.operation == operation.name)
    options = replace(options, base_url=options.base_url or notes["base_url"])
    # A program's own journal may have notes of its own, which mean something else.
    if not all(f"user {name}" in notes for name in ("source", *_NOTES)):
        print_error(f"{path} names no source file. Only unknown outcomes are looked up.")
        return RunController(job, Journal(path), options).run(())
    source = Path(notes["user source"])
    ignore, skip_bad_rows, check_existing, resend, settle = (
        json.loads(notes[f"user {name}"]) for name in _NOTES
    )
    options = replace(
        options,
        check_existing=check_existing,
        never_resend=options.never_resend or not resend,
        settle=settle if options.settle is None else options.settle,
    )
    if not source.exists():
        print_error(f"The source file {source} is gone. Only unknown outcomes are looked up.")
        # What the file still had to be sent is not known, so this is never all of it.
        return RunController(job, Journal(path), options, done=ExitCode.FAILED).run(())
    with CampaignFile(source, job.kind, Reading(ignore=ignore), skip_bad_rows) as file:
        return _check_and_send(job, file, lambda: Journal(path), options)


def _check_and_send(
    job: Job, file: CampaignFile[Any], journal: Callable[[], Journal], options: JobOptions
) -> int:
    if options.dry_run:
        return _forecast(job, file, journal(), options)
    check = file.check()
    if not _is_sendable(file, check):
        return ExitCode.FAILED
    done = _end_of(check)
    controller = RunController(job, journal(), options, total=check.good, done=done)
    code = controller.run(file.requests())
    if change := file.change():
        print_error(change)
    return code


def _forecast(job: Job, file: CampaignFile[Any], journal: Journal, options: JobOptions) -> int:
    """Check a file and forecast its run, in one reading: a million rows take a while."""
    check, controller = Check(), RunController(job, journal, options)

    def requests() -> Iterator[Any]:
        yield from file.checked(check)
        if not _is_sendable(file, check):
            raise ConfigurationError("")  # all is said
        controller.done = _end_of(check)

    return controller.run(requests())


def _is_sendable(file: CampaignFile[Any], check: Check) -> bool:
    """Print the faults of a file; return False if it can't be sent for them."""
    for line in faults_of(file.path, check):
        print_error(line)
    if check.bad and not file.skip_bad_rows:
        print_error(
            "Nothing was sent. Fix these rows, or pass --skip-bad-rows to send the valid ones."
        )
        return False
    return True


def _end_of(check: Check) -> ExitCode:
    return ExitCode.PROBLEMS if check.bad else ExitCode.DONE
