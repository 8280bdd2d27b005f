"""Workbooks of OpenDocument, as LibreOffice, other programs and hands write them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odf.number import CurrencyStyle, CurrencySymbol, Number
from odf.opendocument import OpenDocumentSpreadsheet
from odf.style import Style
from odf.table import Table, TableCell, TableColumn, TableRow
from odf.text import P
from spreadsheets import SPACES, write_ods

from chat2pay_async._workbooks.formats import A_DATE
from chat2pay_async._workbooks.grid import AN_ERROR, NO_RESULT, UNKNOWN, ZERO_OF_FORMULA
from chat2pay_async._workbooks.workbook import open_workbook
from chat2pay_async.errors import ConfigurationError

HEADER = (
    "<table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
    "<table:table-cell><text:p>b</text:p></table:table-cell></table:table-row>"
)


def table(rows: str, name: str = "May", attributes: str = "") -> str:
    return f'<table:table table:name="{name}" {attributes}>{rows}</table:table>'


def row(*cells: str, attributes: str = "") -> str:
    return f"<table:table-row {attributes}>{''.join(cells)}</table:table-row>"


def text(content: str, attributes: str = "") -> str:
    return (
        f'<table:table-cell office:value-type="string" {attributes}><text:p>{content}</text:p>'
        "</table:table-cell>"
    )


def number(value: str, attributes: str = "", kind: str = "float") -> str:
    return (
        f'<table:table-cell office:value-type="{kind}" office:value="{value}" {attributes}>'
        f"<text:p>{value}</text:p></table:table-cell>"
    )


def shown(text: str, value: str, kind: str = "float") -> str:
    """A number that is shown by another text."""
    return (
        f'<table:table-cell table:formula="of:=X" office:value-type="{kind}" '
        f'office:value="{value}"><text:p>{text}</text:p></table:table-cell>'
    )


def read(path: Path, **options: Any) -> dict[int, dict[str, Any]]:
    with open_workbook(path, **options) as found:
        return dict(found.rows)


def cell(folder: Path, xml: str, automatic: str = "", **parts: str) -> Any:
    """The content of a cell by its XML, below the header `a`; None for a blank one."""
    path = write_ods(folder / "t.ods", table(HEADER + row(xml)), automatic, **parts)
    return read(path).get(2, {}).get("a")


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(path, **options)
    return str(caught.value).removeprefix(str(path))


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "value"),
    [
        (text("A-1"), "A-1"),
        (text("a<text:s text:c='2'/>b<text:tab/>c<text:line-break/>d<text:s/>"), "a  b\tc\nd "),
        (text("a<text:span>b</text:span></text:p><text:p>c"), "ab\nc"),
        (text("shown", 'office:string-value="stored"'), "stored"),
        ("<table:table-cell><text:p>A-1</text:p></table:table-cell>", "A-1"),
        (number("1001"), 1001),
        (number("0.30000000000000004"), Decimal("0.3")),
        (number("2", 'table:formula="of:=1+1"'), 2),
        ('<table:table-cell office:value-type="boolean" office:boolean-value="true"/>', True),
        ('<table:table-cell office:value-type="boolean" office:boolean-value="false"/>', False),
        ('<table:table-cell office:value-type="boolean"/>', UNKNOWN),
        ('<table:table-cell office:value-type="date" office:date-value="2021-04-27"/>', A_DATE),
        ('<table:table-cell office:value-type="time" office:time-value="PT1H"/>', A_DATE),
        ('<table:table-cell office:value-type="void" table:formula="of:=A"/>', UNKNOWN),
        ('<table:table-cell office:value-type="string" table:formula="of:=&quot;&quot;"/>', None),
        ('<table:table-cell table:formula="of:=1+1"/>', NO_RESULT),
        (text("#N/A", 'calcext:value-type="error"'), AN_ERROR),
        (number("0", 'calcext:value-type="error" table:formula="of:=1/0"'), AN_ERROR),
        (text("#REF!", 'table:formula="of:=#REF!"'), AN_ERROR),
        (text("Err:508", 'table:formula="of:=("'), AN_ERROR),
        (text("#NAME?", 'table:formula="of:=x"'), AN_ERROR),
        ("<table:table-cell/>", None),
        (text(" "), None),
        ('<table:table-cell table:formula="of:=&quot;&quot;"><text:p/></table:table-cell>', None),
        (number("0", 'table:formula="of:=B9"'), ZERO_OF_FORMULA),
        (shown("12,5", "12.5"), Decimal("12.5")),
        (shown("0.333333333", "0.333333333333333"), Decimal("0.333333333333333")),
        (shown("###", "1001"), 1001),
        (shown("1E+14", "100000000000000"), 10**14),
    ],
)
def test_cell_is_read_by_its_type(tmp_path: Path, xml: str, value: Any) -> None:
    found = cell(tmp_path, xml)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("TRUE", "1"), ("12/01/26", "46357"), ("01.12.26", "46357"), ("2", "1.99"), ("50%", "50")],
)
def test_formula_that_shows_no_number_is_refused(tmp_path: Path, text: str, value: str) -> None:
    problem = "is a formula whose result is shown otherwise than it is stored"
    assert cell(tmp_path, shown(text, value)).amount_problem.startswith(problem)


def test_currency_without_a_symbol_is_the_one_that_is_shown(tmp_path: Path) -> None:
    assert cell(tmp_path, shown("$1,199.90", "1199.9", "currency")).symbol == "$"
    assert cell(tmp_path, shown("1 199,90 R", "1199.9", "currency")).symbol == "R"


@pytest.mark.parametrize("value", ["", "x", "1_0"])
def test_number_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    assert cell(tmp_path, number(value)).text_problem.startswith("is a number that can't be read")


@pytest.mark.parametrize(
    "aside",
    [
        "<office:annotation><text:p>call 2783</text:p></office:annotation><text:p>A-1</text:p>",
        "<text:p>A-1<draw:frame><text:p>a<text:s/>picture</text:p></draw:frame></text:p>",
        f"<text:p>A-1</text:p><draw:frame>{table(HEADER)}</draw:frame>",
    ],
)
def test_notes_and_pictures_are_not_read(tmp_path: Path, aside: str) -> None:
    xml = f'<table:table-cell office:value-type="string">{aside}</table:table-cell>'
    assert cell(tmp_path, xml) == "A-1"


def test_text_longer_than_any_cell_is_refused(tmp_path: Path) -> None:
    path = write_ods(tmp_path / "t.ods", table(row(text("x" * 70_000))))
    assert refusal(path).startswith(": has a cell with more text than a cell can hold")
    path = write_ods(tmp_path / "t.ods", table(row(text("<text:s text:c='99999999999'/>" * 2))))
    assert refusal(path).startswith(": has a cell with more text than a cell can hold")


ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=9
).map("x".__add__)


@given(ANY_TEXT)
def test_any_text_is_read_as_it_was_written(tmp_path_factory: Any, written: str) -> None:
    folder = tmp_path_factory.mktemp("text")
    assert cell(folder, text(escape(written))) == written


# Formats -----------------------------------------------------------------------------------------


def styled(inner: str, kind: str = "number") -> str:
    return (
        f'<number:{kind}-style style:name="N1">{inner}</number:{kind}-style>'
        '<style:style style:name="ce1" style:family="table-cell" style:data-style-name="N1"/>'
    )


NUMBER = "<number:number {}/>"
DECIMALS = 'number:decimal-places="2" number:min-integer-digits="1"'
PLAIN = 'number:decimal-places="0" number:min-integer-digits="1"'


@pytest.mark.parametrize(
    ("style", "value", "shown", "amount"),
    [
        (styled(NUMBER.format('number:min-integer-digits="1"')), "123", "", ""),
        (styled(NUMBER.format(PLAIN)), "123", "", ""),
        (styled("<number:text-content/>", "text"), "123", "", ""),
        (styled(NUMBER.format('number:min-integer-digits="6"')), "123", "with leading zeros", ""),
        (styled(NUMBER.format(DECIMALS)), "123", "with decimals", ""),
        (styled(NUMBER.format(DECIMALS)), "199.905", "with decimals", "rounded"),
        (styled(NUMBER.format(PLAIN)), "199.9", "rounded", "rounded"),
        (
            styled(NUMBER.format(DECIMALS + ' number:grouping="true"')),
            *("1234", "with separators", ""),
        ),
        (
            styled(NUMBER.format(PLAIN + ' number:display-factor="1000"')),
            *("1000", "in thousands", "in thousands"),
        ),
        (
            styled(NUMBER.format(DECIMALS) + "<number:text>%</number:text>", "percentage"),
            *("0.5", "as a percentage", "as a percentage"),
        ),
        (
            styled('<number:scientific-number number:min-integer-digits="1"/>'),
            *("5", "in scientific notation", "in scientific notation"),
        ),
        (
            styled("<number:fraction/>"),
            *("0.5", "as a fraction", "as a fraction"),
        ),
        (
            styled(NUMBER.format(PLAIN) + "<number:text> kg</number:text><number:text/>"),
            *("5", "with other characters", "with words or signs"),
        ),
        (
            styled(
                f'<number:number {PLAIN}><number:embedded-text number:position="3">.'
                "</number:embedded-text></number:number>"
            ),
            *("5000", "with other characters", "with words or signs"),
        ),
        (
            styled(
                f'<number:number {PLAIN}><number:embedded-text number:position="3"> '
                "</number:embedded-text></number:number>"
            ),
            *("5000", "with other characters", ""),
        ),
        (styled(f"{NUMBER.format(PLAIN)}<number:text> </number:text>"), "123", "", ""),
        (styled("<number:boolean/>", "boolean"), "1", "not at all", "with words or signs"),
        (styled(""), "1", "not at all", "not at all"),
        (
            styled(NUMBER.format('number:min-integer-digits="900"')),
            *("1", "not at all", "with words or signs"),
        ),
        (
            styled(NUMBER.format(PLAIN)).replace("N1", "N0", 1)
            + styled(
                NUMBER.format(DECIMALS)
                + '<style:map style:condition="value()&gt;=100" style:apply-style-name="N0"/>'
                '<style:map style:condition="value()!=7" style:apply-style-name="N7"/>'
            ),
            *("100", "", ""),
        ),
    ],
)
def test_number_is_read_with_its_format(
    tmp_path: Path, style: str, value: str, shown: str, amount: str
) -> None:
    found = cell(tmp_path, number(value, 'table:style-name="ce1"'), style)
    problems = [
        getattr(found, f"{kind}_problem", "")
        .removeprefix("is a number that is shown ")
        .partition(":")[0]
        for kind in ("text", "amount")
    ]
    assert problems == [shown, amount]


def test_number_is_refused_where_a_condition_may_show_another(tmp_path: Path) -> None:
    condition = (
        '<style:map style:condition="cell-content()&gt;5" style:apply-style-name="{}"/>'
        "</style:style>"
    )
    plain = '<style:style style:name="ce2" style:family="table-cell"/>'
    styles = styled(NUMBER.format('number:min-integer-digits="6"')) + plain
    cells = '<style:style style:name="ce9" style:family="table-cell">'
    xml = number("123", 'table:style-name="ce9"')
    found = cell(tmp_path, xml, styles + cells + condition.format("ce1"))
    assert found.text_problem.startswith("is a number that is shown with leading zeros")
    assert cell(tmp_path, xml, styles + cells + condition.format("ce2")) == 123


@pytest.mark.parametrize("factor", ["x", "Infinity"])
def test_style_that_is_none_is_damage(tmp_path: Path, factor: str) -> None:
    style = styled(NUMBER.format(f'{PLAIN} number:display-factor="{factor}"'))
    path = write_ods(tmp_path / "t.ods", table(HEADER), style)
    message = refusal(path)
    assert message.startswith(": is damaged or incomplete")


def test_styles_may_be_indented_and_have_odd_parts(tmp_path: Path) -> None:
    inner = f"\n <number:fill-character>-</number:fill-character>\n {NUMBER.format(PLAIN)}\n"
    style = "<number:number/>\n" + styled(inner)
    assert cell(tmp_path, number("5", 'table:style-name="ce1"'), style) == 5


def test_number_with_a_date_format_is_a_date(tmp_path: Path) -> None:
    for kind in ("date", "time"):
        style = styled("<number:year/>", kind)
        assert cell(tmp_path, number("5", 'table:style-name="ce1"'), style) is A_DATE


def test_percentage_is_one_whatever_its_format(tmp_path: Path) -> None:
    for value in ("0.5", "1"):
        found = cell(tmp_path, number(value, kind="percentage"))
        assert "as a percentage" in found.amount_problem
    style = styled(NUMBER.format(DECIMALS) + "<number:text>%</number:text>", "percentage")
    found = cell(tmp_path, number("0.5", 'table:style-name="ce1"', kind="percentage"), style)
    assert "as a percentage" in found.amount_problem


def test_format_may_be_inherited_or_that_of_row_or_column(tmp_path: Path) -> None:
    style = styled(NUMBER.format('number:min-integer-digits="6"'))
    heir = (
        '<style:style style:name="heir" style:family="table-cell" '
        'style:parent-style-name="ce1"/><style:style style:name="loop" '
        'style:family="table-cell" style:parent-style-name="loop"/>'
    )
    zeros = "is a number that is shown with leading zeros"
    found = cell(tmp_path, number("5", 'table:style-name="heir"'), style + heir)
    assert found.text_problem.startswith(zeros)
    assert cell(tmp_path, number("5", 'table:style-name="loop"'), style + heir) == 5
    office = f"<office:document-styles {SPACES}><office:styles>{style}</office:styles>"
    common = f"{office}<office:body/></office:document-styles>"
    found = cell(tmp_path, number("5", 'table:style-name="heir"'), heir, styles=common)
    assert found.text_problem.startswith(zeros)
    columns = (
        '<table:table-column/><table:table-column table:default-cell-style-name="ce1" '
        'table:number-columns-repeated="2"/>'
    )
    by_row = 'table:default-cell-style-name="ce1"'
    rows = HEADER + row(number("5"), number("5")) + row(number("5"), attributes=by_row)
    found = read(write_ods(tmp_path / "t.ods", table(columns + rows), style))
    assert found[2]["a"] == 5
    assert found[2]["b"].text_problem.startswith(zeros)
    assert found[3]["a"].text_problem.startswith(zeros)


def test_text_is_read_with_its_format(tmp_path: Path) -> None:
    style = styled("<number:text>00</number:text><number:text-content/>", "text")
    found = cell(tmp_path, text("5", 'table:style-name="ce1"'), style)
    assert found.text_problem.startswith("is a text that is shown with other characters")


def test_currency_is_that_of_the_format_or_else_of_the_cell(tmp_path: Path) -> None:
    symbol = (
        '<number:currency-symbol number:language="en" number:country="ZA">R'
        "</number:currency-symbol>"
    )
    style = styled(symbol + NUMBER.format(DECIMALS), "currency")
    euro = 'office:currency="EUR"'
    found = cell(tmp_path, number("5", f'table:style-name="ce1" {euro}', "currency"), style)
    assert (found.value, found.symbol, found.amount_problem) == (5, "R-en-ZA", "")
    style = styled("<number:currency-symbol>R</number:currency-symbol>" + NUMBER.format(PLAIN))
    found = cell(tmp_path, number("5", 'table:style-name="ce1"', "currency"), style)
    assert found.symbol == "R"
    found = cell(tmp_path, number("5", euro, "currency"))
    assert (found.value, found.symbol, found.text_problem) == (5, "EUR", "")
    style = styled(NUMBER.format(DECIMALS))
    found = cell(tmp_path, number("5", f'table:style-name="ce1" {euro}', "currency"), style)
    assert (found.symbol, found.amount_problem) == ("EUR", "")
    style = styled("<number:year/>", "date")
    assert cell(tmp_path, number("5", f'table:style-name="ce1" {euro}'), style) is A_DATE


# Rows and columns --------------------------------------------------------------------------------


def test_repeated_cells_and_rows_are_read_as_often(tmp_path: Path) -> None:
    wide = 'table:number-columns-repeated="{}"'
    rows = (
        HEADER
        + row(text("x", wide.format(2)), f"<table:table-cell {wide.format(16382)}/>")
        + row(text("y"), attributes='table:number-rows-repeated="2"')
        + row(
            f"<table:table-cell {wide.format(16384)}/>",
            attributes='table:number-rows-repeated="1000000"',
        )
        + row("<table:table-cell/>", text("z"))
    )
    assert read(write_ods(tmp_path / "t.ods", table(rows))) == {
        2: {"a": "x", "b": "x"},
        3: {"a": "y"},
        4: {"a": "y"},
        1_000_005: {"b": "z"},
    }


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (row(text("x", 'table:number-columns-repeated="16385"')), "has more columns than"),
        (row(text("x"), attributes='table:number-rows-repeated="1048577"'), "has more rows than"),
    ],
)
def test_sheet_beyond_the_size_of_sheets_is_refused(
    tmp_path: Path, rows: str, problem: str
) -> None:
    assert refusal(write_ods(tmp_path / "t.ods", table(rows))).startswith(f": {problem}")


@pytest.mark.parametrize("how", ["filter", "collapse"])
def test_hidden_rows_and_columns_are_refused(tmp_path: Path, how: str) -> None:
    hidden = f'table:visibility="{how}"'
    columns = f"<table:table-column/><table:table-column {hidden}/>"
    rows = HEADER + row(text("x"), text("y")) + row(text("x"), attributes=hidden)
    path = write_ods(tmp_path / "t.ods", table(columns + rows))
    message = refusal(path)
    assert "has 1 hidden row with content (by a filter, by hand or in a group), first 3" in message
    assert "has 1 hidden column with content, first B" in message
    assert len(read(path, include_hidden=True)) == 2


def test_rows_and_columns_in_a_closed_group_are_hidden(tmp_path: Path) -> None:
    groups = "<table:table-{0}-group table:display='{1}'>{2}</table:table-{0}-group>"
    open_row = groups.format("row", "true", row(text("x")))
    closed_row = groups.format("row", "false", row(text("x"), text("y")))
    column = groups.format("column", "false", "<table:table-column/>")
    rows = f"<table:table-header-rows>{HEADER}</table:table-header-rows>{open_row}{closed_row}"
    path = write_ods(tmp_path / "t.ods", table(f"<table:table-column/>{column}{rows}"))
    assert "has 1 hidden row with content" in refusal(path)
    assert "first 3: show" in refusal(path)
    assert "has 1 hidden column with content, first B" in refusal(path)


def test_large_sheet_is_read_piece_by_piece(tmp_path: Path) -> None:
    rows = "".join(row(text(f"x{number}")) for number in range(10_000))
    path = write_ods(tmp_path / "t.ods", table(HEADER + rows) + table(HEADER, "Next"))
    assert list(read(path, sheet="May")) == list(range(2, 10_002))


def test_cells_under_merged_ones_are_refused(tmp_path: Path) -> None:
    covered = "<table:covered-table-cell><text:p>under</text:p></table:covered-table-cell>"
    merged = row(text("x", 'table:number-rows-spanned="2"'), text("y"))
    path = write_ods(tmp_path / "t.ods", table(HEADER + merged + row(covered, text("z"))))
    assert "has 1 merged cell over several rows or columns of data, first A2:A3" in refusal(path)
    wide = row(text("x", 'table:number-columns-spanned="2"'), covered)
    assert "first A2:B2" in refusal(write_ods(tmp_path / "t.ods", table(HEADER + wide)))


# Sheets ------------------------------------------------------------------------------------------


def test_sheets_are_chosen_by_name_and_visibility(tmp_path: Path) -> None:
    style = (
        '<style:style style:name="ta1" style:family="table"><style:table-properties '
        'table:display="false"/></style:style><style:style style:name="ta2" '
        'style:family="table"><style:table-properties/></style:style>'
    )
    old = table(HEADER + row(text("old")), "Old", 'table:style-name="ta1"')
    may = table(HEADER + row(text("x")), attributes='table:style-name="ta2"')
    path = write_ods(tmp_path / "t.ods", old + may, style)
    assert "those with rows are 'Old' (hidden), 'May'" in refusal(path)
    assert read(path, sheet="May") == {2: {"a": "x"}}
    assert read(path, sheet="Old") == {2: {"a": "old"}}


def test_protected_workbook_is_told_as_such(tmp_path: Path) -> None:
    manifest = (
        f"<manifest:manifest {SPACES}><manifest:file-entry><manifest:encryption-data/>"
        "</manifest:file-entry></manifest:manifest>"
    )
    parts = {"META-INF/manifest": manifest}
    path = write_ods(tmp_path / "t.ods", "", **parts)
    assert refusal(path) == ": is protected by a password: save it without one"


def test_workbook_of_odfpy_is_read(tmp_path: Path) -> None:
    book = OpenDocumentSpreadsheet()
    money = CurrencyStyle(name="N9")
    money.addElement(CurrencySymbol(language="en", country="ZA", text="R"))
    money.addElement(Number(decimalplaces=2, minintegerdigits=1, grouping="true"))
    style = Style(name="ce9", family="table-cell", datastylename="N9")
    for one in (money, style):
        book.automaticstyles.addElement(one)
    sheet = Table(name="May")
    sheet.addElement(TableColumn(numbercolumnsrepeated=2))
    amount = TableCell(valuetype="currency", value="12.5", stylename=style)
    texts = [TableCell(valuetype="string") for _ in range(3)]
    for cells in (texts[:2], [texts[2], amount]):
        line = TableRow()
        for place, one in enumerate(cells):
            one.addElement(P(text="ab"[place]))
            line.addElement(one)
        sheet.addElement(line)
    book.spreadsheet.addElement(sheet)
    book.save(tmp_path / "t.ods")
    found = read(tmp_path / "t.ods")
    assert found[2]["a"] == "a"
    assert (found[2]["b"].value, found[2]["b"].symbol) == (Decimal("12.5"), "R-en-ZA")
