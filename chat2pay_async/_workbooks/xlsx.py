"""Workbooks of Excel (.xlsx, .xlsm), read row by row (ECMA-376, part 1, 18.3)."""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from chat2pay_async._workbooks.formats import A_DATE, Format, combined, format_of
from chat2pay_async._workbooks.grid import (
    AN_ERROR,
    MOST_COLUMNS,
    MOST_ROWS,
    NO_RESULT,
    TWO_VALUES,
    UNKNOWN,
    ZERO_OF_FORMULA,
    Area,
    Cells,
    Grid,
    RawRow,
    WorkbookError,
)
from chat2pay_async._workbooks.package import Attributes, Package, xml_parser

__all__ = ["XlsxBook"]

# ECMA-376, part 1, 18.8.30; where the currency depends on the reader's locale, it is left out.
_BUILT_IN: Mapping[int, str] = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    12: "# ?/?",
    13: "# ??/??",
    48: "##0.0E+0",
    49: "@",
    **dict.fromkeys((5, 6, 37, 38, 41, 42), "#,##0;-#,##0"),
    **dict.fromkeys((7, 8, 39, 40, 43, 44), "#,##0.00;-#,##0.00"),
    **dict.fromkeys((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)), "d"),
}
_GENERAL = format_of("General")
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})(?::([A-Z]{1,3})([0-9]{1,7}))?")
_WHOLE_DIGITS = 15
_FLAGS: Mapping[str, bool] = {"1": True, "0": False, "true": True, "false": False}
_TEXTS = frozenset({"v", "t", "rPh"})
_LONGEST_TEXT = 1 << 20
"""Far more than Excel's 32 767 characters, since pieces of other elements may be among them."""
# Of whatever hides rows or columns or merges cells, the bytes without which it can't be written.
_TRACES = (
    *(b"hidden", b"mergeCell"),
    *(b' ht="0', b" ht='0", b' width="0', b" width='0"),
)


class _Names(dict[str, str]):
    """The local names of elements, by their full names."""

    def __missing__(self, full: str) -> str:
        local = self[full] = full.rpartition(":")[2]
        return local


_NAMES = _Names()


class XlsxBook:
    """A workbook of Excel."""

    def __init__(self, package: Package) -> None:
        self._package = package
        main = _targets(package, "").get("officeDocument", ["xl/workbook.xml"])[0]
        targets = _targets(package, main)
        self._paths = dict[str, str]()
        self.sheets = dict[str, bool]()
        self._computed = True
        self._read_workbook(main, targets)
        self._formats, self._conditional = _styles(package, targets.get("styles", []))
        self._texts = _shared_strings(package, targets.get("sharedStrings", []))

    def _read_workbook(self, main: str, targets: Mapping[str, list[str]]) -> None:
        def start(tag: str, attributes: Attributes) -> None:
            if _NAMES[tag] == "sheet":
                relation = next((v for k, v in attributes.items() if k.endswith(":id")), "")
                path = targets[f"#{relation}"][0]
                if path in targets.get("worksheet", []):  # no chart
                    self._paths[attributes["name"]] = path
                    hidden = attributes.get("state", "visible") != "visible"
                    self.sheets[attributes["name"]] = hidden
            elif _NAMES[tag] == "calcPr":
                self._computed = not _true(attributes.get("fullCalcOnLoad"))

        self._package.read(main, xml_parser(start, namespaces=False))

    def grid(self, name: str) -> Grid:
        """Return one of its sheets."""
        path = self._paths[name]
        hidden_columns, merged = set[int](), list[Area]()
        found = list[tuple[Area, Format]]()  # conditional formats, which come after the rows

        def rows() -> Iterator[RawRow]:
            sheet = _Sheet(self._texts, self._formats, hidden_columns, merged)
            sheet.conditional, sheet.conditions = self._conditional, tuple(found)
            sheet.is_computed = self._computed
            for _ in self._package.parse(path, sheet.parser):
                yield from sheet.ready
                sheet.ready.clear()
                sheet.text.check()
            found[:] = sheet.found

        traces = (*_TRACES, b"dxfId") if self._conditional else _TRACES
        return Grid(rows, hidden_columns, merged, lambda: self._package.mentions(path, traces))


def _true(value: str | None) -> bool:
    return value in {"1", "true", "on"}


def _targets(package: Package, source: str) -> dict[str, list[str]]:
    """Return the parts that a part is related to, by the kind of the relation and by `#` its id."""
    folder, name = posixpath.split(source)
    found: dict[str, list[str]] = {}

    def start(tag: str, attributes: Attributes) -> None:
        if _NAMES[tag] == "Relationship" and attributes.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/", folder, attributes["Target"]))
            for key in (attributes["Type"].rpartition("/")[2], f"#{attributes['Id']}"):
                found.setdefault(key, []).append(target.lstrip("/"))

    part = posixpath.join(folder, "_rels", f"{name}.rels")
    if part in package:
        package.read(part, xml_parser(start, namespaces=False))
    return found


def _styles(
    package: Package, parts: list[str]
) -> tuple[dict[str | None, Format], dict[str, Format]]:
    """Return the number format of each style, and of each style of conditional formats.

    That of cells without a style is under None. Conditional formats without one are left out.
    """
    codes, formats, in_cells = dict(_BUILT_IN), list[int](), False
    conditional, number = dict[str, Format](), -1

    def start(tag: str, attributes: Attributes) -> None:
        nonlocal in_cells, number
        match _NAMES[tag]:
            case "dxf":
                number += 1
            case "numFmt" if number >= 0:
                conditional[str(number)] = format_of(attributes["formatCode"])
            case "numFmt":
                codes.setdefault(int(attributes["numFmtId"]), attributes["formatCode"])
            case "xf" if in_cells:
                formats.append(int(attributes.get("numFmtId", 0)))
            case "cellXfs" | "cellStyles" | "dxfs" as group:
                in_cells = group == "cellXfs"
            case _:
                pass

    for part in parts:
        package.read(part, xml_parser(start, namespaces=False))
    found: dict[str | None, Format] = {
        str(index): format_of(codes.get(one, "General")) for index, one in enumerate(formats)
    }
    found[None] = found.get("0", _GENERAL)
    return found, conditional


class _Text:
    """Text in runs, without the phonetic reading that may go with it."""

    def __init__(self, parser: Any) -> None:
        self.stored = False
        self._pieces: list[str] = []
        self._kept = 0
        self._phonetic = False
        parser.CharacterDataHandler = self._pieces.append

    def start(self, name: str) -> None:
        if name == "rPh":
            self._phonetic = True
        else:  # what came before is blanks between elements, or a formula
            del self._pieces[self._kept :]
            self.stored = True

    def end(self, name: str) -> None:
        if name == "rPh":
            self._phonetic = False
        elif not self._phonetic:
            self._kept = len(self._pieces)

    def take(self) -> str:
        text = "".join(self._pieces[: self._kept])
        self._pieces.clear()
        self._kept = 0
        self.stored = False
        return text

    def check(self) -> None:
        """Refuse what is longer than any cell, before it fills the memory."""
        if sum(map(len, self._pieces)) > _LONGEST_TEXT:
            raise WorkbookError("has a cell with more text than a cell can hold: save it again")


def _unescaped(text: str) -> str:
    """Replace `_x000D_` and its like (ECMA-376, part 1, 22.9.2.19)."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _shared_strings(package: Package, parts: list[str]) -> list[str]:
    found: list[str] = []

    def start(tag: str, _: Attributes) -> None:
        if _NAMES[tag] in _TEXTS:
            text.start(_NAMES[tag])

    def end(tag: str) -> None:
        name = _NAMES[tag]
        if name in _TEXTS:
            text.end(name)
        elif name == "si":
            found.append(_unescaped(text.take()))

    for part in parts:
        parser = xml_parser(start, end, namespaces=False)
        text = _Text(parser)
        for _ in package.parse(part, parser, in_memory=True):
            text.check()
    return found


def _column(letters: str) -> int:
    """Return 0 for A, 26 for AA."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


class _Columns(dict[str, int]):
    """The columns, counted from 0, by their letters."""

    def __missing__(self, letters: str) -> int:
        if not letters.isascii() or not letters.isalpha() or _column(letters) >= MOST_COLUMNS:
            raise WorkbookError("has a cell outside its row: save it again in Excel or LibreOffice")
        column = self[letters] = _column(letters)
        return column


_COLUMNS = _Columns()


def _areas(references: str) -> Iterator[Area]:
    """Read references such as `A1:B9 D1`; those of whole columns are left out."""
    for one in references.split():
        if found := _REFERENCE.fullmatch(one):
            left, top, right, bottom = found.groups()
            yield Area(int(top), int(bottom or top), _COLUMNS[left], _COLUMNS[right or left])


class _Sheet:
    """A parser's handlers for the part of one sheet."""

    def __init__(
        self,
        texts: list[str],
        formats: Mapping[str | None, Format],
        hidden_columns: set[int],
        merged: list[Area],
    ) -> None:
        self.is_computed = True
        self.conditional: Mapping[str, Format] = {}
        self.conditions: tuple[tuple[Area, Format], ...] = ()
        self.found = list[tuple[Area, Format]]()
        self._areas = ""
        self.ready = deque[RawRow]()
        self.parser = xml_parser(self._start, self._end, namespaces=False)
        self.text = _Text(self.parser)
        self._texts, self._formats = texts, formats
        self._hidden_columns, self._merged = hidden_columns, merged
        merged.clear()
        self._number, self._row, self._hidden = 0, "0", False
        self._column = -1
        self._cell: Attributes = {}
        self._cells: Cells = {}
        self._formula = False

    def _start(self, tag: str, attributes: Attributes) -> None:
        name = _NAMES[tag]
        if name == "c":
            self._cell = attributes
            reference = attributes.get("r")
            if reference is None:
                self._column += 1
            else:  # of another row, it has digits left
                self._column = _COLUMNS[reference.removesuffix(self._row)]
            self._formula = False
        elif name in _TEXTS:
            self.text.start(name)
        elif name == "f":
            self._formula = True
        elif name == "row":
            self._start_row(attributes)
        else:
            self._start_other(name, attributes)

    def _start_other(self, name: str, attributes: Attributes) -> None:
        """Take what stands before or after the rows."""
        if name == "col":
            if _true(attributes.get("hidden")) or float(attributes.get("width", 1)) == 0:
                last = min(int(attributes["max"]), MOST_COLUMNS)
                self._hidden_columns.update(range(int(attributes["min"]) - 1, last))
        elif name == "mergeCell":
            self._merged += _areas(attributes["ref"])
        elif name == "conditionalFormatting":
            self._areas = attributes.get("sqref", "")
        elif name == "cfRule" and (shown := self.conditional.get(attributes.get("dxfId", ""))):
            self.found += [(area, shown) for area in _areas(self._areas)]

    def _start_row(self, attributes: Attributes) -> None:
        number = int(attributes.get("r", self._number + 1))
        if not self._number < number <= MOST_ROWS:
            raise WorkbookError(
                f"has rows that are not in order (row {number} after row {self._number}): open "
                "it in Excel or LibreOffice and save it again"
            )
        self._number, self._row, self._column = number, str(number), -1
        self._hidden = _true(attributes.get("hidden")) or float(attributes.get("ht", 1)) == 0
        self._cells = {}

    def _end(self, tag: str) -> None:
        name = _NAMES[tag]
        if name in _TEXTS:
            self.text.end(name)
        elif name == "c":
            value = self._value()
            if value is not None:
                taken = self._column in self._cells
                self._cells[self._column] = TWO_VALUES if taken else value
        elif name == "row":
            self.ready.append(RawRow(self._number, self._cells, self._hidden))

    def _value(self) -> Any:
        """Return the content of the cell that ends; None for a blank one."""
        stored, raw = self.text.stored, self.text.take()
        kind = self._cell.get("t", "n")
        if kind == "e":
            return AN_ERROR
        if not raw:
            computed = stored and kind == "str"  # a formula may return an empty text
            return NO_RESULT if self._formula and not computed else None
        known = self._formats.get(self._cell.get("s"), _GENERAL)
        if not self.conditions:
            return self._read(kind, raw, known)
        others = [
            one
            for area, one in self.conditions
            if area.first_row <= self._number <= area.last_row
            and area.first_column <= self._column <= area.last_column
        ]
        return combined([self._read(kind, raw, one) for one in (known, *others)])

    def _read(self, kind: str, raw: str, known: Format) -> Any:
        match kind:
            case "n":
                return self._read_number(raw, known)
            case "s" if raw.isdecimal():
                return known.read_text(self._texts[int(raw)])
            case "str" | "inlineStr":
                return known.read_text(_unescaped(raw))
            case _:
                return A_DATE if kind == "d" else _FLAGS.get(raw, UNKNOWN)

    def _read_number(self, raw: str, known: Format) -> Any:
        if self._formula and raw == "0":
            # XlsxWriter stores 0, and has it computed when Excel opens the file.
            return ZERO_OF_FORMULA if self.is_computed else NO_RESULT
        if len(raw) <= _WHOLE_DIGITS and raw.isdecimal() and raw.isascii():
            return int(raw) if known.plain else known.read(int(raw))
        return known.read_stored(raw)
