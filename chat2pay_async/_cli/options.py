"""What many commands can be told, and how they tell what went wrong."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from chat2pay_async._cli.job import DOUBT, FAILED, JOBS, STOPPED, Plan
from chat2pay_async._cli.start import start_job
from chat2pay_async._cli.stdout import OutputError
from chat2pay_async._files.campaign import CampaignFile
from chat2pay_async.errors import Chat2PayError, OutcomeUnknownError

__all__ = ["FromFile", "Running", "Service", "finite", "told"]


def finite(_kind: object, value: float | None) -> None:
    """A validator of cyclopts: no number is out of nan's range.

    Raises:
        ValueError: It is infinite, or no number.
    """
    if value is not None and not math.isfinite(value):
        raise ValueError("Must be a finite number.")


@Parameter(name="*")
@dataclass(frozen=True)
class Service:
    """Where the service is, and how the result is printed. The API key is in CHAT2PAY_API_KEY."""

    base_url: str | None = None
    """Where the service is; CHAT2PAY_BASE_URL, or the vendor's own, unless given."""
    json: bool = False
    """Print JSON, one object a line, for programs."""


@Parameter(name="*")
@dataclass(frozen=True)
class Running(Service):
    """How a job is run."""

    concurrency: Annotated[int, Parameter(validator=Number(gte=1))] = 64
    """How many items may be under way at a time."""
    rate_limit: Annotated[float | None, Parameter(validator=(finite, Number(gt=0)))] = None
    """How many requests may leave in a second."""
    stop_at_failure_rate: Annotated[
        float | None, Parameter(validator=(finite, Number(gte=0, lte=1)))
    ] = None
    """Stop, once more than this share of the latest items (0 to 1) did not take effect."""
    settle: Annotated[float | None, Parameter(validator=(finite, Number(gte=0)))] = None
    """Seconds in which the service is assumed to apply, and show, what it was sent: 10, or what the
    job was begun with, unless given."""
    never_resend: bool = False
    """Never send again what a look-up showed to be absent."""
    dry_run: bool = False
    """Check everything, say what would be sent, and send nothing."""

    def plan(self, *, check_existing: bool = False) -> Plan:
        """The same, as jobs take it."""
        return Plan(
            base_url=self.base_url,
            rate_limit=self.rate_limit,
            settle=self.settle,
            resend_when_absent=not self.never_resend,
            concurrency=self.concurrency,
            stop_at_failure_rate=self.stop_at_failure_rate,
            check_existing=check_existing,
            dry_run=self.dry_run,
            as_json=self.json,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class FromFile(Running):
    """How a file is read, and where its journal is."""

    journal: Path | None = None
    """Where the journal is; beside the file, unless given."""
    force: bool = False
    """Allow a second journal for the same file: everything in it may be sent again."""
    skip_bad_rows: bool = False
    """Send the good rows of a file that has bad ones."""
    ignore: tuple[str, ...] = ()
    """A column that may be there and means nothing; can be given more than once."""

    def start(self, name: str, path: Path, *, check_existing: bool = False) -> int:
        """Start a job."""
        job = JOBS[name]
        file = CampaignFile(path, job.kind, self.ignore, self.skip_bad_rows)
        plan = self.plan(check_existing=check_existing)
        return told(lambda: start_job(job, file, plan, journal=self.journal, force=self.force))


def told(work: Callable[[], int]) -> int:
    """Do it; what can't be done is told in a line, not in a traceback."""
    try:
        return work()
    except OutcomeUnknownError as error:
        print(f"chat2pay: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return DOUBT
    except OutputError as error:
        hint = "let it go elsewhere, and say it again"
        print(f"chat2pay: {error}; {hint}", file=sys.stderr)  # noqa: T201 - the same
        return FAILED
    except (Chat2PayError, TypeError, OSError) as error:
        print(f"chat2pay: {error}", file=sys.stderr)  # noqa: T201 - the same
        return FAILED
    except KeyboardInterrupt:
        return STOPPED
