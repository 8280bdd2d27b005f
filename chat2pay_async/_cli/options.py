"""The options that several commands share, as cyclopts reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token
from cyclopts.validators import Number

__all__ = ["FileOptions", "JobOptions", "ServiceOptions", "finite", "number", "whole"]


def whole(_kind: object, tokens: Sequence[Token]) -> int:
    """Read a whole number for cyclopts, whose own reading rounds 2.7, and takes 1_000 and 0x10.

    Raises:
        ValueError: It is not written with the digits 0 to 9.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", tokens[0].value):
        raise ValueError("Must be a whole number, written with digits.")
    return int(tokens[0].value)


def number(_kind: object, tokens: Sequence[Token]) -> float:
    """Read a number for cyclopts, which would also take 1_000 and 1e3.

    Raises:
        ValueError: It is not written with the digits 0 to 9 and a point.
    """
    if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", tokens[0].value):
        raise ValueError("Must be a number, written with digits and a point.")
    return float(tokens[0].value)


def finite(_kind: object, value: float | None) -> None:
    """Validate a number for cyclopts, whose ranges let nan through.

    Raises:
        ValueError: It is infinite or nan.
    """
    if value is not None and not math.isfinite(value):
        raise ValueError("Must be a finite number.")


@Parameter(name="*")
@dataclass(frozen=True)
class ServiceOptions:
    """The service, and the form of the output. The API key comes from the environment."""

    base_url: str | None = None
    """API base URL. Default: CHAT2PAY_BASE_URL, else production."""
    json: bool = False
    """Print JSON for programs, one object per line."""


@Parameter(name="*")
@dataclass(frozen=True)
class JobOptions(ServiceOptions):
    """The way in which a job is run."""

    concurrency: Annotated[int, Parameter(converter=whole, validator=Number(gte=1))] = 64
    """Number of items that may be in progress at a time. Default: 64."""
    rate_limit: Annotated[
        float | None, Parameter(converter=number, validator=(finite, Number(gt=0)))
    ] = None
    """Maximum number of requests per second. Default: none until a 429 teaches one."""
    stop_at_failure_rate: Annotated[
        float | None, Parameter(converter=number, validator=(finite, Number(gte=0, lte=1)))
    ] = None
    """Stop when more than this share (0 to 1) of the latest items was not applied. Default: never
    stop."""
    give_up_after: Annotated[
        float, Parameter(converter=number, validator=(finite, Number(gte=0)))
    ] = 600.0
    """Seconds without any connection after which the run stops; until then it waits. Default:
    600."""
    settle: Annotated[
        float | None, Parameter(converter=number, validator=(finite, Number(gte=0)))
    ] = None
    """Seconds that a request may take to show in status look-ups. Default: 10, or the value with
    which the job was started."""
    never_resend: bool = False
    """Never send a request again, even if a look-up shows that it was not applied."""
    dry_run: bool = False
    """Check everything and show what would be sent. Send nothing."""
    check_existing: Annotated[bool, Parameter(parse=False)] = False
    """An option of links alone, which a journal remembers."""


@Parameter(name="*")
@dataclass(frozen=True)
class FileOptions(JobOptions):
    """The way in which a file is read, and the place of its journal."""

    journal: Path | None = None
    """Path of the journal. Default: beside the file."""
    force: bool = False
    """Allow a second journal for the same file. Everything in the file may be sent again."""
    skip_bad_rows: bool = False
    """Send the valid rows of a file that also has bad rows."""
    ignore: tuple[str, ...] = ()
    """Name of a column to ignore. Can be repeated."""
