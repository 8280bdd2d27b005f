"""Files of Excel, as small as they can be: a zip with a few XML files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
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


def _relations(**targets: str) -> str:
    inner = "".join(
        f'<Relationship Id="{kind}" Type="{OFFICE}/officeDocument/2006/relationships/{kind}" '
        f'Target="{target}"/>'
        for kind, target in targets.items()
    )
    return f'<Relationships xmlns="{OFFICE}/package/2006/relationships">{inner}</Relationships>'


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
    return write_sheet(path, f"<sheetData>{body}</sheetData>")


def write_sheet(path: Path, inner: str, **parts: str) -> Path:
    """Write a workbook of one sheet by the XML within it; other parts by name, such as `styles`."""
    return write_zip(
        path,
        {
            "[Content_Types].xml": f'<Types xmlns="{OFFICE}/package/2006/content-types"/>',
            "_rels/.rels": _relations(officeDocument="xl/workbook.xml"),
            "xl/_rels/workbook.xml.rels": _relations(
                worksheet="worksheets/sheet1.xml", styles="styles.xml", sharedStrings="strings.xml"
            ),
            "xl/workbook.xml": (
                f'<workbook {MAIN} xmlns:r="{OFFICE}/officeDocument/2006/relationships"><sheets>'
                '<sheet name="Campaign" sheetId="1" r:id="worksheet"/></sheets></workbook>'
            ),
            "xl/styles.xml": (
                f'<styleSheet {MAIN}><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
                "</styleSheet>"
            ),
            "xl/strings.xml": f"<sst {MAIN}/>",
            "xl/worksheets/sheet1.xml": f"<worksheet {MAIN}>{inner}</worksheet>",
            **{f"xl/{name}.xml": content for name, content in parts.items()},
        },
    )


def write_zip(path: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in files.items():
            book.writestr(name, content)
    return path


SPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in {
        **{one: one for one in ("office", "table", "text", "style", "manifest")},
        "number": "datastyle",
        "draw": "drawing",
    }.items()
)
CALC = 'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'


def write_ods(path: Path, tables: str, automatic: str = "", **parts: str) -> Path:
    """Write a workbook of OpenDocument by the XML of its tables and automatic styles."""
    content = (
        f"<office:document-content {SPACES} {CALC}><office:automatic-styles>{automatic}"
        f"</office:automatic-styles><office:body><office:spreadsheet>{tables}"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    return write_zip(
        path,
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": content,
            **{f"{name}.xml": text for name, text in parts.items()},
        },
    )
