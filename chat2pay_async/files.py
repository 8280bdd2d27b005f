r"""Files of requests for programs: every fault first, then the requests.

    from chat2pay_async import AsyncChat2Pay, bulk, files

    with files.read_payment_links("spring.csv", mapping={"Amount due": "total_amount"}) as links:
        for group in links.faults:
            print(group)                        # 160 rows: to: …; first rows 12, 40, 77
        if not links.faults:
            async with AsyncChat2Pay(journal="payments.db") as client:
                async with bulk.create_payment_links(client, links, run="spring") as run:
                    ...

A file is CSV, TSV, JSON lines or a workbook, by the ending of its name, perhaps with `.gz` behind
it; `-` is standard input. It is copied and read to its end when it is opened, so that every fault
is known before anything is sent, and so that what was checked is what is sent, even if somebody
replaces the file meanwhile (`links.change()` says so). That takes a while for a million rows: call
it in a thread, by `anyio.to_thread.run_sync`, where the event loop has other work.

What is unambiguous is accepted; what could be read in two ways is a fault with its row, its column
and what to write. Nothing is guessed.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder, "captures.csv")
...     _ = path.write_text("Payment link ref,Amount\n8a1f,100.00\n8a20,1e\n")
...     with read_captures(path) as captures:
...         print(captures.check.good, captures.check.bad, captures.check.amounts)
1 1 {'': Decimal('100.00')}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from chat2pay_async._api.requests import (
    Capture,
    LinkReference,
    PaymentLinkRequest,
    ReceiptRequest,
    TransactionQuery,
)
from chat2pay_async._files.campaign import CampaignFile, RequestFile
from chat2pay_async._files.check import Check, FaultGroup, faults_to_csv
from chat2pay_async._files.columns import Kind, Reading
from chat2pay_async._files.rows import (
    CAPTURES,
    LINKS,
    QUERIES,
    RECEIPTS,
    REFERENCES,
    Row,
    RowFault,
)

__all__ = [
    "Check",
    "FaultGroup",
    "FileOptions",
    "RequestFile",
    "Row",
    "RowFault",
    "faults_to_csv",
    "read_captures",
    "read_payment_links",
    "read_queries",
    "read_receipts",
    "read_references",
]

Q = TypeVar("Q")


class FileOptions(TypedDict, total=False):
    """Options of every file."""

    ignore: tuple[str, ...]
    """Columns that are not part of a request."""
    mapping: Mapping[str, str]
    """Column of the file → column of the request, such as `{"Amount due": "total_amount"}`."""
    constants: Mapping[str, str]
    """Column → its value in every row, such as `{"channel": "sms"}`."""
    sheet: str | None
    """The sheet of a workbook. Default: the only one with rows."""
    include_hidden: bool
    """Read hidden rows and columns of a workbook, too. Default: False."""
    country: str | None
    """The country of phone numbers without a country code, such as `ZA`. Default: None."""
    last_line_is_complete: bool
    """Take a text table whose last line lacks its line end. Default: False, since such a
    file may be cut off."""
    allow_alike: bool
    """Allow order numbers that differ in nothing but case, blanks, hyphens, zeros at their begin
    or invisible characters. Default: False."""
    skip_bad_rows: bool
    """Leave out rows with faults. Default: False, no request is given away then."""


def read_payment_links(
    path: str | Path, **options: Unpack[FileOptions]
) -> RequestFile[PaymentLinkRequest]:
    """Check a file of payment links.

    Raises:
        ConfigurationError: The file as a whole can't be used.
    """
    return _read(path, LINKS, options)


def read_captures(path: str | Path, **options: Unpack[FileOptions]) -> RequestFile[Capture]:
    """Check a file of captures.

    Raises:
        ConfigurationError: The file as a whole can't be used.
    """
    return _read(path, CAPTURES, options)


def read_references(path: str | Path, **options: Unpack[FileOptions]) -> RequestFile[LinkReference]:
    """Check a file of payments to reverse, or of links to cancel.

    Raises:
        ConfigurationError: The file as a whole can't be used.
    """
    return _read(path, REFERENCES, options)


def read_receipts(path: str | Path, **options: Unpack[FileOptions]) -> RequestFile[ReceiptRequest]:
    """Check a file of receipts.

    Raises:
        ConfigurationError: The file as a whole can't be used.
    """
    return _read(path, RECEIPTS, options)


def read_queries(path: str | Path, **options: Unpack[FileOptions]) -> RequestFile[TransactionQuery]:
    """Check a file of transactions to look up.

    Raises:
        ConfigurationError: The file as a whole can't be used.
    """
    return _read(path, QUERIES, options)


def _read(path: str | Path, kind: Kind[Q], options: FileOptions) -> RequestFile[Q]:
    choices: dict[str, Any] = {**options}
    skip_bad_rows = choices.pop("skip_bad_rows", False)
    return RequestFile(CampaignFile(Path(path), kind, Reading(**choices), skip_bad_rows))
