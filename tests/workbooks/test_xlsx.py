"""Workbooks of Excel, as Excel, other programs and hands write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from spreadsheets import MAIN, write_sheet, write_xlsx

from chat2pay_async._workbooks.formats import A_DATE, Odd
from chat2pay_async._workbooks.grid import (
    AN_ERROR,
    NO_RESULT,
    TWO_VALUES,
    UNKNOWN,
    ZERO_OF_FORMULA,
)
from chat2pay_async._workbooks.workbook import open_workbook
from chat2pay_async.errors import ConfigurationError

XML = "<?xml version='1.0' encoding='UTF-8'?>"


def read(path: Path, **options: Any) -> dict[int, dict[str, Any]]:
    """Row → its cells."""
    with open_workbook(path, **options) as table:
        return dict(table.rows)


def cell(folder: Path, xml: str, **parts: str) -> Any:
    """The content of a cell by its XML, below the header `a`; None for a blank one."""
    inner = (
        '<sheetData><row r="1"><c r="A1" t="str"><v>a</v></c></row>'
        f'<row r="2">{xml}</row></sheetData>'
    )
    return read(write_sheet(folder / "t.xlsx", inner, **parts)).get(2, {}).get("a")


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    return str(caught.value).removeprefix(str(path))


def by_xlsxwriter(path: Path, fill: Callable[[Any, Any], object]) -> Path:
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet("May")
    sheet.write_row(0, 0, ["a", "b"])
    fill(book, sheet)
    book.close()
    return path


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "value"),
    [
        ('<c r="A2" t="str"><f>B1</f><v>x</v></c>', "x"),
        ('<c r="A2" t="inlineStr"><is><t xml:space="preserve"> x </t></is></c>', " x "),
        ('<c r="A2" t="inlineStr"><is>\n <r><t>x</t></r>\n <r>\n<t>y</t></r></is></c>', "xy"),
        ('<c r="A2" t="inlineStr"><is><t>x</t><rPh><t>ecks</t></rPh><t>z</t></is></c>', "xz"),
        ('<c r="A2" t="str"><v>a_x000D_b_x005F_x0009_</v></c>', "a\rb_x0009_"),
        ('<c r="A2" t="str"><v>&lt;1 &amp; 2></v></c>', "<1 & 2>"),
        ("<c><v>1001</v></c>", 1001),
        ('<c r="A2" t="n"><v>1.5E2</v></c>', 150),
        ('<c r="A2"><v>0.30000000000000004</v></c>', Decimal("0.3")),
        ('<c r="A2"><f>1+1</f><v>2</v></c>', 2),
        ('<c r="A2"><f>B9</f><v>0</v></c>', ZERO_OF_FORMULA),
        ('<c r="A2" t="b"><v>1</v></c>', True),
        ('<c r="A2" t="b"><v>false</v></c>', False),
        ('<c r="A2" s="1"><v>44313.733</v></c>', A_DATE),
        ('<c r="A2" t="d"><v>2021-04-27T17:35:58</v></c>', A_DATE),
        ('<c r="A2"/>', None),
        ('<c r="A2" s="1"><v></v></c>', None),
        ('<c r="A2" t="str"><v> </v></c>', None),
        ('<c r="A2" t="s"/>', None),
        ('<c r="A2" t="str"><f>IF(1,"","")</f><v></v></c>', None),
        ('<c r="A2" t="str"><f>IF(1,"","")</f><v/></c>', None),
        ('<c r="A2"><f>B1*2</f></c>', NO_RESULT),
        ('<c r="A2"><f>B1*2</f><v/></c>', NO_RESULT),
        ('<c r="A2" t="str"><f>B1</f></c>', NO_RESULT),
        ('<c r="A2" t="b"><f>B1</f><v></v></c>', NO_RESULT),
        ('<c r="A2" t="e"><v>#N/A</v></c>', AN_ERROR),
        ('<c r="A2" t="e"><f>1/0</f><v>#DIV/0!</v></c>', AN_ERROR),
        ('<c r="A2" t="e"><f>1/0</f></c>', AN_ERROR),
        ('<c r="A2" t="b"><v>maybe</v></c>', UNKNOWN),
        ('<c r="A2" t="odd"><v>x</v></c>', UNKNOWN),
        ('<c r="A2" t="s"><v>-1</v></c>', UNKNOWN),
        ('<c r="A2"><v>1</v></c><c r="A2"><v>2</v></c>', TWO_VALUES),
    ],
)
def test_cell_is_read_by_its_type(tmp_path: Path, xml: str, value: Any) -> None:
    found = cell(tmp_path, xml)
    assert found == value
    assert type(found) is type(value)


ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), max_size=9
).map("x".__add__)


@given(ANY_TEXT, st.sampled_from([{}, {"constant_memory": True}]))
def test_any_text_is_read_as_it_was_written(
    tmp_path_factory: Any, text: str, options: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("text") / "t.xlsx"
    book = xlsxwriter.Workbook(str(path), options)
    book.add_worksheet().write_column(0, 0, ["a", text])
    book.close()
    assert read(path) == {2: {"a": text}}


def test_shared_text_is_read_without_its_phonetic_part(tmp_path: Path) -> None:
    strings = (
        f"{XML}<sst {MAIN}><si><t>no</t></si>"
        '<si>\n<r><t xml:space="preserve">a </t></r><r><rPr/><t>b</t></r>'
        '<rPh sb="0" eb="1"><t>phonetic</t></rPh><phoneticPr fontId="1"/></si></sst>'
    )
    assert cell(tmp_path, '<c r="A2" t="s"><v>1</v></c>', strings=strings) == "a b"


def test_missing_shared_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    inner = (
        '<sheetData><row><c t="str"><v>a</v></c></row><row><c t="s"><v>7</v></c></row></sheetData>'
    )
    assert refusal(write_sheet(path, inner)).startswith(": is damaged or incomplete")


STYLES = (
    f'<styleSheet {MAIN}><numFmts><numFmt numFmtId="164" formatCode="000000"/>'
    '<numFmt numFmtId="165" formatCode="&quot;00&quot;@"/>'
    '<numFmt numFmtId="166" formatCode="[$R-1C09]\\ #,##0.00"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="9"/></cellStyleXfs><cellXfs><xf/><xf numFmtId="164"/>'
    '<xf numFmtId="165"/><xf numFmtId="166"/><xf numFmtId="9"/><xf numFmtId="14"/>'
    '<xf numFmtId="30"/><xf numFmtId="49"/><xf numFmtId="44"/><xf numFmtId="1"/></cellXfs>'
    '<cellStyles/><dxfs><dxf><numFmt numFmtId="164" formatCode="0%"/></dxf></dxfs></styleSheet>'
)


@pytest.mark.parametrize(
    ("style", "shown", "symbol"),
    [
        (0, "", ""),
        (1, "is a number that is shown with leading zeros", ""),
        (3, "is a number that is shown with other characters", "R-1C09"),
        (4, "is a number that is shown as a percentage", ""),
        (7, "", ""),
        (8, "is a number that is shown with separators", ""),
        (9, "", ""),
    ],
)
def test_number_is_read_with_its_format(
    tmp_path: Path, style: int, shown: str, symbol: str
) -> None:
    found = cell(tmp_path, f'<c r="A2" s="{style}"><v>123</v></c>', styles=STYLES)
    assert getattr(found, "value", found) == 123
    assert getattr(found, "text_problem", "").partition(":")[0] == shown
    assert getattr(found, "symbol", "") == symbol


@pytest.mark.parametrize("style", [5, 6])
def test_number_with_a_date_format_is_a_date(tmp_path: Path, style: int) -> None:
    assert cell(tmp_path, f'<c r="A2" s="{style}"><v>1</v></c>', styles=STYLES) is A_DATE


def test_text_is_read_with_its_format(tmp_path: Path) -> None:
    found = cell(tmp_path, '<c r="A2" s="2" t="str"><v>123</v></c>', styles=STYLES)
    assert found.text_problem.startswith("is a text that is shown with other characters")


# Rows and columns --------------------------------------------------------------------------------


def test_rows_and_cells_may_lack_their_places(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [[], ["a", " b ", None], [1.0, "x"], [], [" ", 0.5]])
    with open_workbook(path) as table:
        assert table.columns == ("a", "b")
        assert dict(table.rows) == {3: {"a": 1, "b": "x"}, 5: {"b": Decimal("0.5")}}


def test_cells_are_placed_by_their_references(tmp_path: Path) -> None:
    inner = (
        '<sheetData><row r="2"><c r="AA2"><v>2021</v></c><c r="B2" t="str"><v>b</v></c></row>'
        '<row r="10"><c r="B10"><v>1</v></c><c><v>2</v></c><c r="AA10"><v>3</v></c></row>'
        '<row><c r="B11"><v>4</v></c></row></sheetData>'
    )
    with open_workbook(write_sheet(tmp_path / "t.xlsx", inner)) as table:
        assert table.columns == ("", "b", *[""] * 24, "2021")
        assert dict(table.rows) == {10: {"b": 1, "": 2, "2021": 3}, 11: {"b": 4}}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ('<row r="3"/><row r="2"/>', "has rows that are not in order (row 2 after row 3)"),
        ('<row r="3"/><row r="3"/>', "has rows that are not in order (row 3 after row 3)"),
        ('<row r="0"/>', "has rows that are not in order (row 0 after row 0)"),
        ('<row r="1048577"/>', "has rows that are not in order"),
        ('<row r="2"><c r="A3"/></row>', "has a cell outside its row"),
        ('<row r="2"><c r="2"/></row>', "has a cell outside its row"),
        ('<row r="2"><c r="É2"/></row>', "has a cell outside its row"),
        ('<row r="2"><c r="XFE2"/></row>', "has a cell outside its row"),
        ('<row r="two"/>', "is damaged or incomplete"),
        ("<row>", "is damaged or incomplete"),
    ],
)
def test_misplaced_rows_and_cells_are_refused(tmp_path: Path, rows: str, problem: str) -> None:
    path = write_sheet(tmp_path / "t.xlsx", f"<sheetData>{rows}</sheetData>")
    assert refusal(path).startswith(f": {problem}")


def test_names_may_have_a_prefix(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "t.xlsx", [["a"], ["x"]])
    sheet = (
        f'{XML}<x:worksheet xmlns:x="{MAIN[7:-1]}"><x:sheetData><x:row><x:c t="str"><x:v>a</x:v>'
        "</x:c></x:row><x:row><x:c><x:v>5</x:v></x:c></x:row></x:sheetData></x:worksheet>"
    )
    write_sheet(path, "", **{"worksheets/sheet1": sheet})
    assert read(path) == {2: {"a": 5}}


def test_text_longer_than_any_cell_is_refused(tmp_path: Path) -> None:
    long = f'<sheetData><row><c t="str"><v>{"x" * 2_000_000}</v></c></row></sheetData>'
    problem = ": has a cell with more text than a cell can hold"
    assert refusal(write_sheet(tmp_path / "t.xlsx", long)).startswith(problem)
    strings = f"<sst {MAIN}><si><t>{'x' * 2_000_000}</t></si></sst>"
    path = write_sheet(tmp_path / "u.xlsx", "<sheetData/>", strings=strings)
    assert refusal(path).startswith(problem)


# What programs write -----------------------------------------------------------------------------


def test_workbook_of_xlsxwriter_is_read(tmp_path: Path) -> None:
    def fill(book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ["A-1", 199.9])
        sheet.write_rich_string(2, 0, "a", book.add_format({"bold": True}), "b", "c")
        sheet.write_formula(2, 1, "=1+1", None, 2)
        sheet.write_formula(3, 0, "=A2", None, "A-1")
        sheet.write_formula(3, 1, "=1+1")
        sheet.write_formula(4, 0, "=NA()", None, "#N/A")
        sheet.write_datetime(4, 1, datetime(2021, 4, 27), book.add_format({"num_format": 14}))  # noqa: DTZ001
        sheet.write_blank(5, 0, None, book.add_format({"bold": True}))
        sheet.write_boolean(5, 1, False)  # noqa: FBT003 - a cell

    assert read(by_xlsxwriter(tmp_path / "t.xlsx", fill)) == {
        2: {"a": "A-1", "b": Decimal("199.9")},
        3: {"a": "abc", "b": 2},
        4: {"a": "A-1", "b": NO_RESULT},
        5: {"a": AN_ERROR, "b": A_DATE},
        6: {"b": False},
    }


def test_workbook_of_openpyxl_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["a", "b"])
    sheet.append(["A-1", "=1+1"])
    sheet.append([date(2021, 4, 27), 12.5])
    sheet["B3"].number_format = '"R"#,##0.00'
    book.save(tmp_path / "t.xlsx")
    found = read(tmp_path / "t.xlsx")
    assert found[2] == {"a": "A-1", "b": NO_RESULT}
    assert found[3]["a"] is A_DATE
    amount = found[3]["b"]
    assert isinstance(amount, Odd)
    assert (amount.value, amount.symbol, amount.amount_problem) == (Decimal("12.5"), "R", "")


def test_dates_since_1904_are_dates_too(tmp_path: Path) -> None:
    book = xlsxwriter.Workbook(str(tmp_path / "t.xlsx"), {"date_1904": True})
    sheet = book.add_worksheet()
    sheet.write(0, 0, "a")
    moment = datetime(2021, 4, 27, tzinfo=UTC).replace(tzinfo=None)
    sheet.write_datetime(1, 0, moment, book.add_format({"num_format": "d mmm"}))
    book.close()
    assert read(tmp_path / "t.xlsx") == {2: {"a": A_DATE}}


# Conditional formats -----------------------------------------------------------------------------


def conditional(folder: Path, number: Any, *codes: str, own: str = "General") -> Any:
    """The cell A3, of a number or a text, under conditional formats."""

    def fill(book: Any, sheet: Any) -> None:
        sheet.write(1, 0, "x")
        sheet.write(2, 0, number, book.add_format({"num_format": own}))
        for code in codes:
            look = {"num_format": code} if code else {"bold": True}
            rule = {"type": "cell", "criteria": ">", "value": 5, "format": book.add_format(look)}
            sheet.conditional_format("A3:A9", rule)

    return read(by_xlsxwriter(folder / "t.xlsx", fill))[3]["a"]


def test_number_is_refused_where_a_conditional_format_may_show_another(tmp_path: Path) -> None:
    found = conditional(tmp_path, 123, "000000")
    assert found.text_problem.startswith("is a number that is shown with leading zeros")
    assert (found.value, found.amount_problem) == (123, "")
    found = conditional(tmp_path, 1.5, "#,##0.00", "0", own="0.00")
    assert found.amount_problem.startswith("is a number that is shown rounded")
    for codes in (["yyyy"], ["[$R-1C09] 0.00", "[$$-409]0.00"]):
        found = conditional(tmp_path, 123, *codes)
        assert found.amount_problem.startswith("may be shown otherwise by a conditional format")
    found = conditional(tmp_path, "A-1", ";;;")
    assert found.text_problem.startswith("may be shown otherwise by a conditional format")


def test_number_is_read_where_conditional_formats_show_it_as_it_is(tmp_path: Path) -> None:
    assert conditional(tmp_path, 123, "0", "") == 123
    assert conditional(tmp_path, "A-1", "0") == "A-1"
    assert conditional(tmp_path, 123, "") == 123
    assert conditional(tmp_path, True, "000") is True  # noqa: FBT003 - the value of the cell


def test_conditional_formats_of_other_cells_are_no_matter(tmp_path: Path) -> None:
    def fill(book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, [1, 2])
        rule = {"type": "no_blanks", "format": book.add_format({"num_format": "000"})}
        for area in ("B2:B9", "A3:A9", "C1:C9"):
            sheet.conditional_format(area, rule)

    cells = read(by_xlsxwriter(tmp_path / "t.xlsx", fill))[2]
    assert cells["a"] == 1
    assert cells["b"].value == 2
