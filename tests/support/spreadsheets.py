"""Files of Excel, as small as they can be: a zip with a few XML files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

OFFICE = "http://schemas.openxmlformats.org"
MAIN = f'xmlns="{OFFICE}/spreadsheetml/2006/main"'
DATE_STYLE = 1


class Formula(str):
    """A formula whose result was never computed, as programs write it that only write."""

    __slots__ = ()


class Typed(str):
    """A cell's XML as it stands: its attributes, a bar, its content."""

    __slots__ = ()


NO_RESULT = Typed('t="e"|<v>#N/A</v>')
A_DATE = Typed(f's="{DATE_STYLE}"|<v>44313.733</v>')
TRUE = Typed('t="b"|<v>1</v>')


def _relation(kind: str, target: str) -> str:
    return (
        f'<Relationships xmlns="{OFFICE}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{OFFICE}/officeDocument/2006/relationships/{kind}" Target="{target}"/>'
        "</Relationships>"
    )


def _cell(value: str | float | None) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, Typed):
        attributes, _, content = value.partition("|")
        return f"<c {attributes}>{content}</c>"
    if isinstance(value, Formula):
        return f"<c><f>{escape(value)}</f></c>"
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    return f"<c><v>{value!r}</v></c>"


def write_xlsx(path: Path, rows: Sequence[Sequence[str | float | None]]) -> Path:
    """Write a workbook of one sheet."""
    body = "".join(f"<row>{''.join(map(_cell, cells))}</row>" for cells in rows)
    files = {
        "[Content_Types].xml": f'<Types xmlns="{OFFICE}/package/2006/content-types"/>',
        "_rels/.rels": _relation("officeDocument", "xl/workbook.xml"),
        "xl/_rels/workbook.xml.rels": _relation("worksheet", "worksheets/sheet1.xml"),
        "xl/workbook.xml": (
            f'<workbook {MAIN} xmlns:r="{OFFICE}/officeDocument/2006/relationships"><sheets>'
            '<sheet name="Campaign" sheetId="1" r:id="r1"/></sheets></workbook>'
        ),
        "xl/styles.xml": (
            f'<styleSheet {MAIN}><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
            "</styleSheet>"
        ),
        "xl/worksheets/sheet1.xml": (
            f"<worksheet {MAIN}><sheetData>{body}</sheetData></worksheet>"
        ),
    }
    with zipfile.ZipFile(path, "w") as book:
        for name, content in files.items():
            book.writestr(name, content)
    return path
