"""Jobs from a file, another run, or the journal: checked, compared with the journal, and sent."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import anyio
import msgspec

from chat2pay_async import bulk
from chat2pay_async._cli.journal import open_store, path_of
from chat2pay_async._cli.options import (
    STANDARD_INPUT,
    ExitCode,
    FileOptions,
    JobOptions,
    SourceOptions,
    UsageError,
)
from chat2pay_async._cli.printing import Printer, faults_of
from chat2pay_async._cli.report import find_run
from chat2pay_async._cli.run import JOBS, Job, Plan, RunController
from chat2pay_async._cli.single_call import DEFAULT_SETTLE, reading_of
from chat2pay_async._cli.status import Selection, expired_links, references
from chat2pay_async._cli.stdout import print_error
from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async._files.check import Check, faults_to_csv
from chat2pay_async._files.rows import CAPTURES, Row, RowFault
from chat2pay_async._journal.schema import read_run_settings
from chat2pay_async._journal.store import RunRecord
from chat2pay_async.errors import JournalError

__all__ = ["JOBS", "resume", "run_name", "start_either", "start_file", "start_from"]

AnyOptions = TypeVar("AnyOptions", bound=JobOptions)

_MOST_FAULTS: Final = 1000
"""The most bad rows that a run keeps for its report; `--faults` writes all of them."""


# Commands ----------------------------------------------------------------------------------------


def resume(run: str, file: Path | None, options: JobOptions) -> int:
    """Continue a run.

    Args:
        run: Its name.
        file: Its file, if that was moved.
        options: The way in which it is done.

    Returns:
        The exit code.
    """
    record = anyio.run(_find, run, options)
    job = next(job for job in JOBS.values() if job.operation == record.operation)
    kept = record.settings
    if "never_resend" not in kept:  # a program began it
        print_error(f"Run {run} was not begun from a file. Only unknown outcomes are looked up.")
        return RunController(job, Plan(run), options).run(())
    chosen, check_existing = _restored(run, kept, options)
    if kept.get("from_run") and file is None:
        return start_from(job, kept["from_run"], chosen)
    source = Path(kept["source"]) if file is None else file
    if file is None and not source.exists():
        print_error(
            f"The file {source} is gone: if it was moved, pass `chat2pay resume {run} FILE`. Only "
            "unknown outcomes are looked up."
        )
        # What the file still had to be sent is not known, so this is never all of it.
        plan = Plan(run, settings=kept, done=ExitCode.FAILED, resume=f"{run} FILE")
        return RunController(job, plan, chosen).run(())
    return start_file(job, source, chosen, check_existing=check_existing, digest=kept.get("digest"))


async def _find(run: str, options: JobOptions) -> RunRecord:
    async with open_store(options) as store:
        return await find_run(store, run)


# From a source to a run --------------------------------------------------------------------------


def start_either(job: Job, file: Path | None, from_run: str | None, options: FileOptions) -> int:
    """Do a job with what a file lists, or with payments of another run, as `start_file` does."""
    if (file is None) == (from_run is None):
        raise UsageError("pass a file, or --from-run RUN")
    if from_run is not None:
        name = options.run or f"{from_run}-{job.name}"
        return start_from(job, from_run, replace(options, run=name))
    assert file is not None  # noqa: S101 - one of the two is given
    return start_file(job, file, options)


def start_from(job: Job, from_run: str, options: FileOptions) -> int:
    """Select payments of another run, and do the job with them as if they were a file."""
    is_resend = job.name == "links"
    assert options.run is not None  # noqa: S101 - every caller names it
    if is_resend and not (options.yes or options.dry_run or sys.stdin.isatty()):
        raise UsageError("customers would get a second link: pass --yes to confirm it")
    select = (
        expired_links(options.run)
        if is_resend
        else references(job.only, with_amounts=job.kind is CAPTURES)
    )
    with TemporaryDirectory(prefix="chat2pay-") as folder:
        path = Path(folder, f"{from_run}.jsonl")
        with path.open("w", encoding="utf-8") as file:
            counts = anyio.run(select, options, from_run, file)
        print_error(f"run {from_run}: {counts}")
        if counts.taken:
            return _code_of(counts, start_file(job, path, options, from_run=from_run))
        # What an earlier attempt has left open is looked up.
        run = options.run
        options, check_existing = _as_begun(run, options, check_existing=False)
        settings = _settings(options, check_existing=check_existing) | {"from_run": from_run}
        plan = Plan(run, settings=settings, is_selection=True)
        return _code_of(counts, RunController(job, plan, options).run(()))


def _code_of(counts: Selection, code: int) -> int:
    return ExitCode.PROBLEMS if counts.unclear and not code else code


def run_name(path: Path, job: Job) -> str:
    """Name the run of a file: `spring` for links of `spring.csv`, `spring-captures` for captures.

    Raises:
        UsageError: Standard input has no name.
    """
    if str(path) in {"-", STANDARD_INPUT}:
        raise UsageError("name the run: pass --run NAME, since standard input has no name")
    stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    return stem if job.name == "links" or stem.endswith(job.name) else f"{stem}-{job.name}"


def start_file(  # noqa: PLR0913 - the last three are of special cases
    job: Job,
    path: Path,
    options: FileOptions,
    *,
    check_existing: bool = False,
    from_run: str = "",
    digest: str | None = None,
) -> int:
    """Check a file, compare it with the journal, and send what is in it.

    Returns:
        The exit code.

    Raises:
        Chat2PayError: The job can't be started.
    """
    run = options.run or run_name(path, job)
    source = options.source
    with CampaignFile(path, job.kind, reading_of(source), source.skip_bad_rows) as file:
        controller = RunController(job, Plan(run, check_existing=check_existing), options)
        compare = controller.compare if options.dry_run else _read_only
        check, kept, is_compared = _checked(file, source.faults, compare)
        _print_faults(path, check, options)
        if check.bad and not source.skip_bad_rows:
            print_error(
                "Nothing was sent. Fix these rows, or pass --skip-bad-rows to send the valid ones."
            )
            return ExitCode.FAILED
        options, check_existing = _as_begun(run, options, check_existing=check_existing)
        settings = _settings(options, check_existing=check_existing) | {
            "source": "" if from_run else str(path.absolute()),
            "from_run": from_run,
            "digest": file.digest(),
            "counts": _text({"good": check.good, "bad": check.bad, "blank": check.blank}),
            "faults": _text([(one.line, one.column, one.problem) for one in kept]),
        }
        if digest not in (None, "", settings["digest"]):
            print_error(f"{path} has changed since run {run} was begun.")
        plan = Plan(
            run,
            settings=settings,
            check=check,
            check_existing=check_existing,
            done=ExitCode.PROBLEMS if check.bad else ExitCode.DONE,
            is_selection=bool(from_run),
            is_again=bool(from_run) and job.name == "links",
        )
        if is_compared:
            code = controller.end(plan)
        else:
            code = RunController(job, plan, options).run_checked(lambda: _items(file))
        _report_change(file)
        return code


def _report_change(file: CampaignFile[Any]) -> None:
    if change := file.change():
        print_error(change)


def _items(file: CampaignFile[Any]) -> Iterator[bulk.Keyed[Any]]:
    return map(keyed, file.rows())


def keyed(row: Row[Any]) -> bulk.Keyed[Any]:
    """Make an item of a row."""
    return bulk.Keyed(row.request, row.idempotency_key, line=row.line)


def _print_faults(path: Path, check: Check, options: FileOptions) -> None:
    for line in faults_of(path, check):
        print_error(line)
    has_forecast = options.dry_run and options.source.skip_bad_rows  # which shows the check, too
    if check.bad and options.json and not has_forecast:
        Printer(as_json=True).json({"check": check.to_dict()})


def _read_only(items: Iterable[Any]) -> bool:
    deque(items, maxlen=0)
    return False


def _checked(
    file: CampaignFile[Any], faults: Path | None, compare: Callable[[Iterable[Any]], bool]
) -> tuple[Check, list[RowFault], bool]:
    """Check a file, and compare it with the journal in the same reading where that succeeds."""
    check, kept = Check(), list[RowFault]()
    with ExitStack() as stack:
        sinks: list[Callable[[RowFault], object]] = []
        if faults is not None:
            opened = stack.enter_context(faults.open("w", encoding="utf-8", newline=""))
            sinks.append(faults_to_csv(opened))

        def sink(fault: RowFault) -> None:
            if len(kept) < _MOST_FAULTS:
                kept.append(fault)
            for one in sinks:
                one(fault)

        is_compared = compare(map(keyed, file.checked_rows(check, sink)))
    if not is_compared and compare is not _read_only:
        return _checked(file, faults, _read_only)
    return check, kept, is_compared


# What a run keeps --------------------------------------------------------------------------------


_KEPT: Final = tuple(field.name for field in fields(SourceOptions) if field.name != "faults")


def _settings(options: FileOptions, *, check_existing: bool) -> dict[str, str]:
    settle = DEFAULT_SETTLE if options.settle is None else options.settle
    return {
        "options": _text({name: getattr(options.source, name) for name in _KEPT}),
        "check_existing": _text(check_existing),
        "never_resend": _text(options.never_resend),
        "settle": _text(settle),
    }


def _as_begun(run: str, options: FileOptions, *, check_existing: bool) -> tuple[FileOptions, bool]:
    """Keep what protects from sending twice as a run began with it, if the journal has the run."""
    kept: Mapping[str, str] = {}
    with suppress(JournalError):  # it is reported when the journal is opened
        kept = read_run_settings(path_of(options), run)
    if "never_resend" not in kept:  # a program began it, and may name its settings as it likes
        return options, check_existing
    return _protected(kept, options), check_existing or msgspec.json.decode(kept["check_existing"])


def _protected(kept: Mapping[str, str], options: AnyOptions) -> AnyOptions:
    """Keep what protects from sending twice: it holds to the end of a run."""
    settle = msgspec.json.decode(kept["settle"]) if options.settle is None else options.settle
    never_resend = options.never_resend or msgspec.json.decode(kept["never_resend"])
    return replace(options, settle=settle, never_resend=never_resend)


def _restored(run: str, kept: Mapping[str, str], options: JobOptions) -> tuple[FileOptions, bool]:
    """Join the options that a run has kept with those of now."""
    options = _protected(kept, options)
    source: dict[str, Any] = msgspec.json.decode(kept["options"])
    for name in ("ignore", "map", "set"):
        source[name] = tuple(source[name])
    given = {field.name: getattr(options, field.name) for field in fields(JobOptions)}
    chosen = FileOptions(**given, run=run, source=SourceOptions(**source))
    return chosen, msgspec.json.decode(kept["check_existing"])


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
