"""The options that several commands share, as cyclopts reads them."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from chat2pay_async.errors import ConfigurationError

__all__ = [
    "STANDARD_INPUT",
    "CallOptions",
    "ExitCode",
    "FileOptions",
    "JobOptions",
    "JournalOptions",
    "SandboxOptions",
    "ServiceOptions",
    "SourceOptions",
    "UsageError",
    "country",
    "finite",
    "number",
    "pairs",
    "whole",
]


STANDARD_INPUT = "/dev/stdin"
"""The name of standard input, which is `-` on the command line."""


class UsageError(ConfigurationError):
    """Arguments are missing, or do not fit together."""


class ExitCode(enum.IntEnum):
    """The end of a command."""

    DONE = 0
    """Everything was applied."""
    FAILED = 1
    """The command failed, or stopped before its end."""
    WRONG_USE = 2
    """An argument is wrong."""
    PROBLEMS = 3
    """Items were rejected, failed, or did not reach the customer."""
    UNKNOWN = 4
    """The outcome of some items is unknown."""
    INTERRUPTED = 130


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


def country(_kind: object, value: str | None) -> None:
    """Validate a country for cyclopts.

    Raises:
        ValueError: There is no such country, or the extra `phone` is missing.
    """
    if value is None:
        return
    from chat2pay_async._phones import check_country  # noqa: PLC0415 - few commands need it

    try:
        check_country(value)
    except ConfigurationError as error:
        problem = str(error)
        raise ValueError(f"{problem[0].upper()}{problem[1:]}.") from None


def pairs(_kind: object, values: tuple[str, ...]) -> None:
    """Validate texts such as `Amount due=total_amount` for cyclopts.

    Raises:
        ValueError: One of them has no equals sign, or nothing before or after it.
    """
    for value in values:
        name, _, meaning = value.rpartition("=")
        if not name.strip() or not meaning.strip():
            raise ValueError('Must be written as "NAME=VALUE".')


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
class JournalOptions(ServiceOptions):
    """The journal of the account."""

    journal: Path | None = None
    """Path of the journal. Default: CHAT2PAY_JOURNAL, else a file in your data directory."""
    new_key: bool = False
    """Continue the journal with another API key of the same account."""
    new_account: bool = False
    """Begin a journal of its own for this API key: it is another account's."""
    accept_loss: bool = False
    """Continue a journal of which the latest part is lost. Everything is then looked up before it
    is sent."""


@Parameter(name="*")
@dataclass(frozen=True)
class CallOptions(JournalOptions):
    """One call."""

    idempotency_key: str | None = None
    """Name of this request: a request is sent once under one name. Default: the order number, or
    the reference. Pass another name to send it a second time on purpose."""


@Parameter(name="*")
@dataclass(frozen=True)
class JobOptions(JournalOptions):
    """The way in which a run is done."""

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
    which the run was started."""
    never_resend: bool = False
    """Never send a request again, even if a look-up shows that it was not applied. A run keeps
    this."""
    retry_rejected: bool = False
    """Send again what was rejected or declined before."""
    allow_lookalikes: bool = False
    """Send also new orders that look like known ones."""
    dry_run: bool = False
    """Check everything, compare it with the journal, and show what would be sent. Send nothing."""
    yes: bool = False
    """Do not ask before production is used."""


@Parameter(name="*")
@dataclass(frozen=True)
class SourceOptions:
    """The way in which a file is read. A run keeps these."""

    skip_bad_rows: bool = False
    """Send the valid rows of a file that also has bad rows."""
    ignore: tuple[str, ...] = ()
    """Name of a column to ignore. Can be repeated."""
    map: Annotated[tuple[str, ...], Parameter(validator=pairs)] = ()
    """Meaning of a column, such as "Amount due=total_amount". Can be repeated."""
    set: Annotated[tuple[str, ...], Parameter(validator=pairs)] = ()
    """Value of a column for all rows, such as channel=sms. Can be repeated."""
    sheet: str | None = None
    """Sheet of a workbook. Default: the only one with rows."""
    include_hidden: bool = False
    """Read hidden rows and columns of a workbook, too."""
    country: Annotated[str | None, Parameter(validator=country)] = None
    """Country of phone numbers that are written without a country code, such as ZA."""
    last_line_is_complete: bool = False
    """Read a file whose last line has no line end."""
    allow_alike: bool = False
    """Take orders of the file for different ones that differ only in case, blanks, hyphens or zeros
    at their begin."""
    faults: Path | None = None
    """Write the faults of all rows as CSV to this file."""


@Parameter(name="*")
@dataclass(frozen=True)
class FileOptions(JobOptions):
    """A run from a file."""

    run: str | None = None
    """Name of the run. Default: the name of the file, without its ending, or of the run that the
    payments are taken from; what is done with them is added (`spring-captures`)."""
    source: SourceOptions = SourceOptions()


@Parameter(name="*")
@dataclass(frozen=True)
class SandboxOptions:
    """A sandbox."""

    host: str = "127.0.0.1"
    """IP address to listen on. Default: 127.0.0.1. With 0.0.0.0, for containers and CI services,
    whoever can reach this machine can use it."""
    port: Annotated[int, Parameter(converter=whole, validator=Number(gte=0, lte=65535))] = 0
    """Port to listen on. Default: a free one."""
    api_key: tuple[str, ...] = ("sandbox-key",)
    """API key that clients must send. Can be repeated: each key has data of its own. Default:
    sandbox-key."""
    environment: Literal["sandbox", "production"] = "sandbox"
    """Kind of configuration that it is. Default: sandbox."""
    faults: str | None = None
    """Simulated faults: mild, harsh, lossy, a plan as JSON, or a file with one."""
    seed: Annotated[int | None, Parameter(converter=whole)] = None
    """Number that makes references and faults repeatable."""
    state: Path | None = None
    """File that keeps what happens for the next start. Default: all is forgotten."""
    forward_to: tuple[str, ...] = ()
    """URL that callbacks are posted to. Can be repeated."""
    wire: str | None = None
    """Forms of the values in responses, as JSON, such as {"timestamps": "rfc3339"}."""
    open_controls: bool = False
    """Let other machines play the customer and the gateway, too."""
