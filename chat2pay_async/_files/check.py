"""The result of a reading: every row is counted, and faults are grouped by their kind."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar, Final, TextIO

import attrs

from chat2pay_async._api.requests import Capture, PaymentLinkRequest
from chat2pay_async._api.validation import exact_sum
from chat2pay_async._files.columns import KEY
from chat2pay_async._files.rows import Row, RowFault
from chat2pay_async._phones import country_prefix
from chat2pay_async._texts import alike_number

__all__ = ["Check", "Comparison", "FaultGroup", "faults_to_csv"]

_FIRST_ROWS: Final = 3
_MOST_GROUPS: Final = 500
_REST: Final = "has another problem; there are too many kinds of them to list"
_WITH_OTHER_VALUES: Final = (
    "is in another row, too, with other values: keep the row that is right, and delete the other"
)
_ALIKE: Final = (
    "differs from another row's in nothing but case, blanks, hyphens, zeros at its begin or "
    "invisible characters: if they are one, delete a row; if they are two, pass --allow-alike"
)
_REPEATED: Final = "is in another row, too, with the same values: it is sent once"
_BITS: Final = 32
_MASK: Final = 2**_BITS - 1
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@attrs.define
class FaultGroup:
    """All rows with one problem in one column."""

    column: str
    """Its name in the file; empty for faults of the whole row."""
    problem: str
    """The problem, and what to write instead."""
    count: int = 0
    """Number of rows."""
    first: tuple[tuple[int, int], ...] = ()
    """The lines of the first rows, each with the line that it contradicts, or 0."""

    def add(self, line: int, other: int) -> None:
        """Count a row."""
        self.count += 1
        if len(self.first) < _FIRST_ROWS:
            self.first += ((line, other),)

    def __str__(self) -> str:
        what = f"{self.column}: {self.problem}" if self.column else self.problem
        lines = [f"{line} (and {other})" if other else str(line) for line, other in self.first]
        if self.count == 1:
            return f"line {lines[0]}: {what}"
        which = "rows" if self.count <= len(lines) else "first rows"
        return f"{self.count:,} rows: {what}; {which} {', '.join(lines)}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        lines = [{"row": line, "other": other or None} for line, other in self.first]
        return {
            "column": self.column,
            "problem": self.problem,
            "rows": self.count,
            "first": lines,
        }


@attrs.define
class Check:
    """The result of a reading of a file, so far."""

    SHOWN: ClassVar = 20
    good: int = 0
    """Number of rows that are requests."""
    bad: int = 0
    """Number of rows with a fault."""
    faults: tuple[RowFault, ...] = ()
    """The first faults."""
    blank: int = 0
    """Number of rows without a value."""
    repeated: FaultGroup = attrs.field(factory=lambda: FaultGroup("", _REPEATED))
    """Good rows that another row repeats in full."""
    amounts: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    """Sum of the good rows for each currency; captures without a currency have an empty one."""
    channels: Counter[str] = attrs.field(factory=Counter[str])
    """Number of good rows for each channel."""
    recipients: Counter[str] = attrs.field(factory=Counter[str])
    """Number of good rows for each country prefix of the recipient."""
    sheet: str = ""
    """The sheet of a workbook that was read."""
    _groups: dict[tuple[str, str], FaultGroup] = attrs.field(
        factory=dict[tuple[str, str], FaultGroup], init=False
    )

    @property
    def rows(self) -> int:
        """Number of rows that are not blank."""
        return self.good + self.bad

    @property
    def groups(self) -> tuple[FaultGroup, ...]:
        """The faults of all rows, grouped by column and problem; the most frequent first."""
        return tuple(sorted(self._groups.values(), key=lambda group: -group.count))

    def add(self, row: Row[Any]) -> None:
        """Count a row."""
        if row.request is not None:
            self.good += 1
            self._total(row.request)
        elif row.faults:
            self.bad += 1
            for fault in row.faults:
                self._group(fault).add(fault.line, fault.other)
            if len(self.faults) < self.SHOWN:
                self.faults += row.faults[: self.SHOWN - len(self.faults)]
        else:
            self.blank += 1

    def _group(self, fault: RowFault) -> FaultGroup:
        key = (fault.column, fault.problem)
        if key not in self._groups and len(self._groups) >= _MOST_GROUPS:
            key = ("", _REST)
        return self._groups.setdefault(key, FaultGroup(*key))

    def _total(self, request: object) -> None:
        if isinstance(request, PaymentLinkRequest):
            self._add(request.total_amount, request.currency)
            self.channels[f"{request.channel}"] += 1
            self.recipients[country_prefix(request.to) or ""] += 1
        elif isinstance(request, Capture) and request.amount is not None:
            self._add(request.amount, request.currency or "")

    def _add(self, amount: Decimal, currency: str) -> None:
        total = self.amounts.get(currency)
        self.amounts[currency] = amount if total is None else exact_sum(total, amount)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "sheet": self.sheet or None,
            "rows": self.rows,
            "good": self.good,
            "bad": self.bad,
            "blank": self.blank,
            "repeated": self.repeated.to_dict(),
            "faults": [group.to_dict() for group in self.groups],
            "amounts": dict(self.amounts),
            "channels": dict(self.channels),
            "recipients": dict(self.recipients),
        }


@attrs.frozen
class Comparison:
    """A comparison of each row with those before it.

    An order is sent once, and none is mistaken for another.

    It keeps about a hundred bytes for each row.
    """

    identity: tuple[str, ...]
    allow_alike: bool
    # Hash of the identity → line, hash of how it is written, hash of the row.
    _seen: dict[int, int] = attrs.field(factory=dict[int, int], init=False)

    def compared(self, row: Row[Any], check: Check) -> Row[Any]:
        """Return the row, or one with a fault in its place.

        Args:
            row: The next row.
            check: Counts rows that are repeated in full.
        """
        if row.request is None or not self.identity:
            return row
        key = row.idempotency_key
        values = [getattr(row.request, column) for column in self.identity]
        name = "\n".join(values) if key is None else key
        # A link is no name: its case counts.
        is_exact = self.allow_alike or (key is None and len(values) > 1)
        folded = hash(name if is_exact else alike_number(name))
        written, content = hash(name) & _MASK, row.content & _MASK
        mine = (row.line << 2 * _BITS) | (written << _BITS) | content
        first = self._seen.setdefault(folded, mine)
        line = first >> 2 * _BITS
        if line == row.line:
            return row
        if (first ^ mine) & (_MASK << _BITS | _MASK) == 0:
            check.repeated.add(row.line, line)
            return row
        problem = _ALIKE if (first ^ mine) >> _BITS & _MASK else _WITH_OTHER_VALUES
        column = self.identity[-1] if key is None else KEY
        fault = RowFault(row.line, column, problem, line)
        return attrs.evolve(row, request=None, faults=(fault,))


def faults_to_csv(file: TextIO) -> Callable[[RowFault], None]:
    """Return a function that writes faults as CSV, one a row, which spreadsheets open safely.

    Args:
        file: A text file that was opened with `newline=""` and UTF-8.
    """
    file.write("\ufeff")
    writer = csv.writer(file)
    writer.writerow(("row", "column", "problem", "other_row"))

    def write(fault: RowFault) -> None:
        texts = (_safe(fault.column), _safe(fault.problem))
        writer.writerow((fault.line, *texts, fault.other or ""))

    return write


def _safe(text: str) -> str:
    """Keep a spreadsheet program from taking text for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
