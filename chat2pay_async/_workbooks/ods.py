"""Workbooks of LibreOffice and others (.ods), read row by row (OpenDocument 1.3, part 3, 9)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import repeat
from typing import Any

import attrs

from chat2pay_async._workbooks.formats import (
    A_DATE,
    Format,
    Odd,
    combined,
    format_of,
    refused,
)
from chat2pay_async._workbooks.grid import (
    AN_ERROR,
    MOST_COLUMNS,
    MOST_ROWS,
    NO_RESULT,
    UNKNOWN,
    ZERO_OF_FORMULA,
    Area,
    Cells,
    Grid,
    RawRow,
    WorkbookError,
)
from chat2pay_async._workbooks.package import Attributes, Package, xml_parser

__all__ = ["OdsBook"]

_CONTENT, _STYLES, _MANIFEST = "content.xml", "styles.xml", "META-INF/manifest.xml"
_GENERAL = format_of("General")
_DIGITS = re.compile(r"(.*?)([#0.,]*)", re.DOTALL)
_HIDDEN = frozenset({"collapse", "filter"})
_ERROR = re.compile(r"Err:[0-9]+|#[A-Z0-9/]+[!?]?")
_LONGEST_TEXT = 2 * 32_767
_LARGEST_NUMBER = 99
# Of whatever hides rows or columns or merges cells, the bytes without which it can't be written.
_TRACES = (b"visibility", b"display", b"-spanned")


# Namespaces end in `:table:1.0`; these have another usual prefix.
_PREFIXES: Mapping[str, str] = {"datastyle": "number", "drawing": "draw"}


class _Names(dict[str, str]):
    """Names with their usual prefixes, by their full names: `table:table-cell`."""

    def __missing__(self, full: str) -> str:
        namespace, _, local = full.rpartition(" ")
        kind = namespace.split(":")[-2:][0]
        name = self[full] = f"{_PREFIXES.get(kind, kind)}:{local}"
        return name


_NAMES = _Names()


def _named(attributes: Attributes) -> dict[str, str]:
    return {_NAMES[name]: value for name, value in attributes.items()}


class OdsBook:
    """A workbook of OpenDocument."""

    def __init__(self, package: Package) -> None:
        if _MANIFEST in package:
            package.read(_MANIFEST, xml_parser(_refuse_encryption))
        self._package = package
        self._styles = _Styles()
        if _STYLES in package:
            package.read(_STYLES, self._styles.parser())
        sheets = dict[str, str]()
        depth = 0

        def start(tag: str, attributes: Attributes) -> None:
            nonlocal depth
            if _NAMES[tag] == "table:table":
                depth += 1
                if depth == 1:
                    sheets[attributes[_NAME]] = attributes.get(_STYLE, "")

        def end(tag: str) -> None:
            nonlocal depth
            depth -= _NAMES[tag] == "table:table"

        def begin_body() -> None:
            parser.StartElementHandler, parser.EndElementHandler = start, end
            parser.CharacterDataHandler = None

        parser = self._styles.parser(begin_body)
        for _ in package.parse(_CONTENT, parser):
            pass
        self.sheets = {name: style in self._styles.hidden_tables for name, style in sheets.items()}

    def grid(self, name: str) -> Grid:
        """Return one of its sheets."""
        hidden_columns, merged = set[int](), list[Area]()

        def rows() -> Iterator[RawRow]:
            sheet = _Sheet(name, self._styles, hidden_columns, merged)
            for _ in self._package.parse(_CONTENT, sheet.parser):
                for row, times in sheet.ready:
                    for number in range(row.number, row.number + times):
                        yield row._replace(number=number)
                sheet.ready.clear()
                if sheet.finished:
                    return

        return Grid(rows, hidden_columns, merged, lambda: self._package.mentions(_CONTENT, _TRACES))


def _refuse_encryption(tag: str, _: Attributes) -> None:
    if _NAMES[tag].endswith("encryption-data"):
        raise WorkbookError("is protected by a password: save it without one")


# Styles ------------------------------------------------------------------------------------------

_DATA_STYLES = {
    f"number:{kind}-style"
    for kind in ("number", "currency", "percentage", "date", "time", "boolean", "text")
}


@attrs.define
class _DataStyle:
    """A number format in the making, as a code of Excel."""

    code: str = ""
    maps: list[tuple[str, str]] = attrs.field(factory=list)
    """Condition and name of the style that then applies."""


class _Styles:
    """The styles of cells, by their names."""

    def __init__(self) -> None:
        self.hidden_tables = set[str]()
        self._cells = dict[str, tuple[str, str]]()
        self._data = dict[str, _DataStyle]()
        self._open: _DataStyle | None = None
        self._style = ""
        self._literal: str | None = None
        self._suffix = ""
        self._conditions = dict[str, list[str]]()
        self._formats = dict[str, tuple[Format, ...]]()

    def parser(self, begin_body: Callable[[], None] = lambda: None) -> Any:
        """Return a parser that reads styles, up to the body of a document."""
        parser = xml_parser(self._start, self._end)
        parser.CharacterDataHandler = self._text
        self._begin_body = begin_body
        return parser

    def _start(self, tag: str, attributes: Attributes) -> None:
        name = _NAMES[tag]
        if name == "office:body":
            self._begin_body()
        elif name.startswith("number:"):
            self._start_number(name, _named(attributes))
        elif name == "style:style":
            given = _named(attributes)
            self._style = given.get("style:name", "")
            if given.get("style:family") == "table-cell":
                parent = given.get("style:parent-style-name", "")
                self._cells[self._style] = (given.get("style:data-style-name", ""), parent)
        elif name == "style:table-properties":
            if _named(attributes).get("table:display") == "false":
                self.hidden_tables.add(self._style)
        elif name == "style:map" and self._open is None:
            applied = _named(attributes).get("style:apply-style-name", "")
            self._conditions.setdefault(self._style, []).append(applied)
        elif name == "style:map" and self._open is not None:
            given = _named(attributes)
            condition = given.get("style:condition", "").replace("value()", "").replace("!=", "<>")
            self._open.maps.append((condition, given.get("style:apply-style-name", "")))

    def _start_number(self, name: str, given: Mapping[str, str]) -> None:
        if name in _DATA_STYLES:
            self._open = self._data[given.get("style:name", "")] = _DataStyle()
            self._suffix = ""
            if name in {"number:date-style", "number:time-style", "number:boolean-style"}:
                self._open.code = '"?"' if name == "number:boolean-style" else "d"
        elif self._open is None:
            return
        elif name in {"number:text", "number:currency-symbol", "number:embedded-text"}:
            self._literal = ""
            self._suffix = _locale(given) if name == "number:currency-symbol" else ""
        elif name in {"number:number", "number:scientific-number"}:
            code = _placeholders(given)
            self._open.code += f"{code}E+00" if name.endswith("scientific-number") else code
        elif name == "number:fraction":
            self._open.code += "# ?/?"
        elif name == "number:text-content":
            self._open.code += "@"

    def _text(self, piece: str) -> None:
        if self._literal is not None:
            self._literal += piece

    def _end(self, tag: str) -> None:
        name = _NAMES[tag]
        if not name.startswith("number:") or self._open is None:
            return
        if name in _DATA_STYLES:
            self._open = None
        elif self._literal is not None:
            literal, self._literal = self._literal, None
            if name == "number:currency-symbol":
                self._open.code += f"[${literal}{self._suffix}]"
            elif name == "number:text" and literal.strip() == "%":
                self._open.code += "%"
            elif literal:
                quoted = '"' + literal.replace('"', "") + '"'
                if name == "number:embedded-text":  # among the digits, wherever
                    before, digits = _DIGITS.fullmatch(self._open.code).groups()  # type: ignore[union-attr]
                    self._open.code = f"{before}#{quoted}{digits}"
                else:
                    self._open.code += quoted

    def formats_of(self, style: str) -> tuple[Format, ...]:
        """Return the number format of a cell's style, and those that conditions may put there."""
        known = self._formats.get(style)
        if known is None:
            others = map(self._format_of, self._conditions.get(style, ()))
            own = self._format_of(style) or _GENERAL
            known = self._formats[style] = (own, *filter(None, others))
        return known

    def _format_of(self, style: str) -> Format | None:
        name, seen = style, set[str]()
        while name in self._cells and name not in seen and not self._cells[name][0]:
            seen.add(name)
            name = self._cells[name][1]
        data = self._data.get(self._cells.get(name, ("", ""))[0])
        return format_of(self._code(data)) if data else None

    def _code(self, style: _DataStyle) -> str:
        others = [
            f"[{condition}]{self._data[name].code}"
            for condition, name in style.maps
            if name in self._data
        ]
        return ";".join([*others, style.code or '""'])


def _locale(given: Mapping[str, str]) -> str:
    country = given.get("number:country", "")
    return f"-{given.get('number:language', '')}-{country}" if country else ""


def _placeholders(given: Mapping[str, str]) -> str:
    """Return the placeholders of a number, such as `#,##0.00`."""
    zeros = int(given.get("number:min-integer-digits", 0))
    places = given.get("number:decimal-places")
    if places is None and zeros <= 1 and "number:grouping" not in given:
        return "General"
    decimals = int(places or 0)
    if not 0 <= zeros <= _LARGEST_NUMBER or not 0 <= decimals <= _LARGEST_NUMBER:
        return '"?"'
    code = "0" * zeros or "#"
    if given.get("number:grouping") == "true":
        code = "#,##" + code
    if decimals:
        code += "." + "0" * decimals
    factor = Decimal(given.get("number:display-factor", "1"))
    return code + "," * (int(factor.log10()) // 3) if factor > 1 else code


# Cells -------------------------------------------------------------------------------------------

_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
_CALC = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"
_TYPE, _VALUE, _CURRENCY = (f"{_OFFICE} {one}" for one in ("value-type", "value", "currency"))
_BOOLEAN, _STRING = (f"{_OFFICE} {one}" for one in ("boolean-value", "string-value"))
_STYLE, _FORMULA, _NAME = (f"{_TABLE} {one}" for one in ("style-name", "formula", "name"))
_DEFAULT, _VISIBILITY, _DISPLAY = (
    f"{_TABLE} {one}" for one in ("default-cell-style-name", "visibility", "display")
)
_REPEATED, _ROWS_REPEATED, _COLUMNS_SPANNED, _ROWS_SPANNED = (
    f"{_TABLE} number-{one}"
    for one in ("columns-repeated", "rows-repeated", "columns-spanned", "rows-spanned")
)
_CALC_TYPE = f"{_CALC} value-type"
_PERCENT = format_of("0%")
_FLAGS: Mapping[str, bool] = {"true": True, "false": False}
_NUMERIC = re.compile(r"[\d\s.,'\u2019()#+\-\u2212]")
_SHOWN_OTHERWISE = refused(
    "is a formula whose result is shown otherwise than it is stored: write the value itself"
)
_GROUPS = frozenset({"table:table-row-group", "table:table-column-group"})
_ASIDE = frozenset({"office:annotation", "table:shapes", "table:detective", "draw:frame"})
_BREAKS: Mapping[str, str] = {"text:s": " ", "text:tab": "\t", "text:line-break": "\n"}


def _shows(text: str, value: Any) -> bool:
    """Tell whether a text can be a number without a format.

    LibreOffice keeps no format for the true or false, or the date, of a formula.
    """
    digits = re.sub(r"\D", "", text)
    if not text or isinstance(value, Odd) or re.fullmatch(r"#+|.*\dE[+-]?\d+", text):
        return True  # a column may be too narrow for all digits
    whole = str(abs(int(value)))
    is_alike = digits == whole if value == int(value) else digits.startswith(whole)
    return is_alike and not _NUMERIC.sub("", text)


def _count(attributes: Attributes, name: str, most: int) -> int:
    """Return a number of repetitions, as far as a sheet goes."""
    return min(max(int(attributes.get(name, 1)), 1), most)


class _Sheet:
    """A parser's handlers for one table of the content."""

    def __init__(
        self, name: str, styles: _Styles, hidden_columns: set[int], merged: list[Area]
    ) -> None:
        self.ready = deque[tuple[RawRow, int]]()
        self.finished = False
        self.parser = xml_parser(self._start, self._end)
        self._name, self._styles = name, styles
        self._hidden_columns, self._merged = hidden_columns, merged
        merged.clear()
        self._depth = 0
        self._aside = 0
        self._closed: list[bool] = []
        self._defaults: list[tuple[int, str]] = []
        self._next_row, self._column = 1, 0
        self._row: Attributes = {}
        self._cell: Attributes = {}
        self._cells: Cells = {}
        self._paragraphs: list[str] = []
        self._length = 0

    def _start(self, tag: str, attributes: Attributes) -> None:
        name = _NAMES[tag]
        if name == "table:table":
            if self._depth or (not self.finished and attributes.get(_NAME) == self._name):
                self._depth += 1
        elif name in _ASIDE:
            self._aside += self._depth == 1
        elif self._depth != 1 or self._aside:
            return  # another table, or one within a cell
        elif name in {"table:table-cell", "table:covered-table-cell"}:
            self._cell = attributes
            self._paragraphs, self._length = [], 0
        elif name == "table:table-row":
            self._row, self._cells, self._column = attributes, {}, 0
        elif name == "table:table-column":
            self._add_column(attributes)
        elif name in _GROUPS:
            self._closed.append(attributes.get(_DISPLAY) == "false")
        elif name.startswith("text:"):
            self._start_text(name, _named(attributes))

    def _start_text(self, name: str, given: Mapping[str, str]) -> None:
        if name == "text:p":
            self._paragraphs.append("")
            self.parser.CharacterDataHandler = self._add
        elif name in _BREAKS:
            self._add(_BREAKS[name] * _count(given, "text:c", _LONGEST_TEXT))

    def _add(self, piece: str) -> None:
        if self._aside:
            return
        self._length += len(piece)
        if self._length > _LONGEST_TEXT:
            raise WorkbookError("has a cell with more text than a cell can hold: save it again")
        self._paragraphs[-1] += piece

    def _add_column(self, attributes: Attributes) -> None:
        first = self._defaults[-1][0] if self._defaults else 0
        end = first + _count(attributes, _REPEATED, MOST_COLUMNS)
        self._defaults.append((end, attributes.get(_DEFAULT, "")))
        if attributes.get(_VISIBILITY) in _HIDDEN or any(self._closed):
            self._hidden_columns.update(range(first, min(end, MOST_COLUMNS)))

    def _end(self, tag: str) -> None:
        name = _NAMES[tag]
        if name == "table:table":
            self.finished = self.finished or self._depth == 1
            self._depth = max(self._depth - 1, 0)
        elif name in _ASIDE:
            self._aside -= self._depth == 1
        elif self._depth != 1 or self._aside:
            return
        elif name == "text:p":
            self.parser.CharacterDataHandler = None
        elif name in _GROUPS:
            self._closed.pop()
        elif name in {"table:table-cell", "table:covered-table-cell"}:
            self._end_cell(covered=name != "table:table-cell")
        elif name == "table:table-row":
            self._end_row()

    def _end_row(self) -> None:
        times = _count(self._row, _ROWS_REPEATED, 1 << 31)
        if self._cells:
            if self._next_row + times - 1 > MOST_ROWS:
                raise WorkbookError("has more rows than a sheet can have: save it again")
            hidden = self._row.get(_VISIBILITY) in _HIDDEN or any(self._closed)
            self.ready.append((RawRow(self._next_row, self._cells, hidden), times))
        self._next_row += times

    def _end_cell(self, *, covered: bool) -> None:
        cell, first = self._cell, self._column
        self._column += _count(cell, _REPEATED, 1 << 31)
        wide, high = _count(cell, _COLUMNS_SPANNED, 1 << 31), _count(cell, _ROWS_SPANNED, 1 << 31)
        if wide > 1 or high > 1:
            last = min(first + wide, MOST_COLUMNS) - 1
            self._merged.append(Area(self._next_row, self._next_row + high - 1, first, last))
        value = None if covered else self._value(cell, first)
        if value is None:
            return
        if self._column > MOST_COLUMNS:
            raise WorkbookError("has more columns than a sheet can have: save it again")
        self._cells.update(zip(range(first, self._column), repeat(value)))

    def _value(self, cell: Attributes, column: int) -> Any:
        kind, text = cell.get(_TYPE), "\n".join(self._paragraphs)
        formula = _FORMULA in cell
        if cell.get(_CALC_TYPE) == "error" or (formula and _ERROR.fullmatch(text)):
            return AN_ERROR
        if formula and kind is None:
            # LibreOffice shows an empty text, where other programs show nothing at all.
            return None if self._paragraphs == [""] else NO_RESULT
        match kind:
            case "float" | "currency" | "percentage":
                return self._number(cell, column, text)
            case "boolean":
                return _FLAGS.get(cell.get(_BOOLEAN, ""), UNKNOWN)
            case "string" | None:
                given = cell.get(_STRING, text)
                return combined([one.read_text(given) for one in self._formats(cell, column)])
            case _:
                return A_DATE if kind in {"date", "time"} else UNKNOWN

    def _number(self, cell: Attributes, column: int, shown: str) -> Any:
        formats = self._formats(cell, column)
        value = combined([one.read_stored(cell.get(_VALUE, "")) for one in formats])
        if cell[_TYPE] == "percentage" and not isinstance(value, Odd):
            return _PERCENT.read_stored(cell.get(_VALUE, ""))
        if cell[_TYPE] == "float" and formats[0].plain and not _shows(shown, value):
            return _SHOWN_OTHERWISE
        if value == 0 and _FORMULA in cell:
            return ZERO_OF_FORMULA
        code = cell.get(_CURRENCY, "")
        if cell[_TYPE] == "currency" and not code:
            code = _NUMERIC.sub("", shown)
        if isinstance(value, Odd):
            return attrs.evolve(value, symbol=value.symbol or code)
        return Odd(value, symbol=code) if code and value is not A_DATE else value

    def _formats(self, cell: Attributes, column: int) -> tuple[Format, ...]:
        style = cell.get(_STYLE) or self._row.get(_DEFAULT)
        if not style:
            found = (default for end, default in self._defaults if column < end)
            style = next(found, "")
        return self._styles.formats_of(style)
