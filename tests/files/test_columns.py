"""The columns of a file, and the errors about other columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat2pay_async._files.columns import Header, Keys, Kind, Reading, layout
from chat2pay_async._files.rows import CAPTURES, LINKS, QUERIES, RECEIPTS, REFERENCES
from chat2pay_async.errors import ConfigurationError

PATH = Path("campaign.csv")
REQUIRED = ("channel", "to", "order_number", "currency", "total_amount")


def refusal(*columns: str, kind: Kind[Any] = LINKS, ignore: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigurationError) as caught:
        layout(PATH, kind, columns, Reading(ignore=ignore))
    return str(caught.value)


@pytest.mark.parametrize("kind", [LINKS, CAPTURES, REFERENCES, RECEIPTS, QUERIES])
def test_table_may_have_every_column_of_its_kind(kind: Kind[Any]) -> None:
    assert isinstance(layout(PATH, kind, tuple(kind.fields), Reading()), Header)
    assert isinstance(layout(PATH, kind, kind.required, Reading()), Header)


@pytest.mark.parametrize(
    "column",
    [
        "from",
        "additional_data.customer",
        "additional_data.Order Number.0",
        "order_line_items.0.name",
        "order_line_items.9999.tax_amount",
        "Order line items.0.Unit Price",
        "Additional-data.Order Number",
        "Idempotency Key",
    ],
)
def test_links_may_have_nested_columns(column: str) -> None:
    assert isinstance(layout(PATH, LINKS, (*REQUIRED, column), Reading()), Header)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("totl_amount", "total_amount"),
        ("Order Number:", "order_number"),
        ("Order", "order_number"),
        ("Invoice No", "order_number"),
        ("Amount", "total_amount"),
        ("Phone", "to"),
        ("Mobile number", "to"),
        ("order_line_items.3.unitPrise", "order_line_items.3.unit_price"),
        ("order_line_items.01.name", "order_line_items.1.name"),
        ("order_line_items[2].name", "order_line_items.2.name"),
        ("additional_data.", "additional_data"),
        ("additional_data.a..b", "additional_data"),
    ],
)
def test_misspelled_column_is_an_error_with_a_suggestion(column: str, meant: str) -> None:
    assert f"column {column} is unknown (did you mean {meant}?)" in refusal(*REQUIRED, column)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("colour", LINKS),
        ("order_line_items.10000.name", QUERIES),
        ("additional_data.a", CAPTURES),
        ("from", RECEIPTS),
    ],
)
def test_unknown_column_is_an_error_with_the_known_columns(column: str, kind: Kind[Any]) -> None:
    message = refusal(*kind.required, column, kind=kind)
    assert message.startswith(
        f"campaign.csv: column {column} is unknown; the columns of {kind.name} are "
    )
    assert ", ".join(kind.columns) in message
    assert "--ignore NAME" in message


@pytest.mark.parametrize(("number", "rest"), [(20, ""), (21, "; and 1 more")])
def test_unknown_columns_are_listed_up_to_twenty(number: int, rest: str) -> None:
    message = refusal(*REQUIRED, *(f"c{one}" for one in range(number)))
    assert message.count("is unknown") == 20
    assert f"column c19 is unknown{rest}; the columns of payment links are" in message


@pytest.mark.parametrize("sign", [",", ";", "|", "^", "~", ":"])
def test_header_that_is_one_name_is_told_how_to_say_what_separates_it(sign: str) -> None:
    hint = f"(several names in one: if {sign} stands between them, begin with sep={sign})"
    assert hint in refusal(sign.join(REQUIRED))
    assert hint not in refusal(*REQUIRED, f"to{sign}me")


def test_column_is_ignored_only_on_request() -> None:
    columns = (*REQUIRED, "colour", "colour")
    assert isinstance(layout(PATH, LINKS, columns, Reading(ignore=("colour",))), Header)
    assert "column size is unknown" in refusal(*REQUIRED, "colour", "size", ignore=("colour",))


def test_all_problems_of_a_header_are_reported_at_once() -> None:
    message = refusal("to", "to", "colour", "from", "from_", "", "")
    assert "column colour is unknown" in message
    assert "column to occurs 2 times" in message
    assert "column from_ occurs 2 times" in message
    assert message.endswith(
        "required columns are missing: channel, order_number, currency, total_amount "
        "(the first line must name the columns of payment links)"
    )


@pytest.mark.parametrize("nested", [(), ("additional_data.a",)])
def test_cells_of_an_ignored_column_are_left_out(nested: tuple[str, ...]) -> None:
    columns = (*REQUIRED, "colour", *nested)
    found = layout(PATH, LINKS, columns, Reading(ignore=("colour",)))
    fields = found.fields(dict.fromkeys(columns, "x"), {})
    assert fields.keys() == {*REQUIRED, *(["additional_data"] if nested else [])}


def test_required_column_can_not_be_ignored() -> None:
    assert "required columns are missing: to (" in refusal(*REQUIRED, ignore=("to",))


def test_text_column_has_no_columns_inside() -> None:
    message = refusal(*REQUIRED, "additional_data.a.b", "additional_data.a", "additional_data.ab")
    assert message == (
        "campaign.csv: column additional_data.a.b is inside another column, which holds text"
    )


def test_missing_header_shows_no_phone_number() -> None:
    assert "7831234567" not in refusal("sms", "+27831234567", "A-1001")


# Names as people write them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("Order Number", "ORDER_NUMBER", "order-number", "OrderNumber", "ordernumber"),
        *("order\u00a0number", "Order\u2011Number", "\ufefforder_number", "order\u200b_number"),
        "\uff2frder number",
    ],
)
def test_case_blanks_hyphens_and_invisible_characters_in_a_name_make_no_difference(
    name: str,
) -> None:
    columns = tuple(name if one == "order_number" else one for one in REQUIRED)
    found = layout(PATH, LINKS, columns, Reading())
    assert found.fields({name: "A-1"}, {}) == {"order_number": "A-1"}
    assert found.column("order_number", {}) == (name, "")


def test_two_names_of_one_column_are_an_error_with_both() -> None:
    message = refusal(*REQUIRED, "Order Number")
    assert "column order_number occurs 2 times (order_number, Order Number)" in message


def test_unknown_name_with_an_invisible_character_is_told_with_the_character() -> None:
    message = refusal(*REQUIRED, "colo\u200bur", "additional_data.a\u00a0b")
    assert "it contains U+200B ZERO WIDTH SPACE, which nobody sees: take it out" in message
    assert "it contains U+00A0 NO-BREAK SPACE, which nobody sees: take it out" in message


def test_ignored_names_are_matched_like_columns() -> None:
    found = layout(PATH, LINKS, (*REQUIRED, "My Colour"), Reading(ignore=("my colour",)))
    assert found.fields({"My Colour": "red", "to": "1"}, {}) == {"to": "1"}


def test_mapped_name_is_taken_for_its_column() -> None:
    columns = ("channel", "to", "order_number", "currency", "Amount due", "note")
    reading = Reading(
        mapping={"amount DUE": "total_amount", "note": "additional_data.note"}, ignore=["colour"]
    )
    found = layout(PATH, LINKS, columns, reading)
    assert found.fields({"Amount due": "1", "note": "x"}, {}) == {
        "total_amount": "1",
        "additional_data": {"note": "x"},
    }
    assert found.column("total_amount", {}) == ("Amount due", "")


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (
            {"Amount due": "total"},
            "Amount due can't be mapped to total: payment links have no such",
        ),
        ({"Amount due": "tax_amount"}, "column Amount due, which is mapped, is not in the file"),
        ({"to": "order_number"}, "column order_number occurs 2 times (to, order_number)"),
    ],
)
def test_mapping_must_fit_the_file(mapping: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        layout(PATH, LINKS, REQUIRED, Reading(mapping=mapping))
    assert said in str(caught.value)


def test_constant_is_the_value_of_every_row() -> None:
    reading = Reading(constants={"Channel": "sms", "additional_data.shop": "1"})
    found = layout(PATH, LINKS, REQUIRED[1:], reading)
    assert found.fields({"to": "1"}, {}) == {
        "to": "1",
        "channel": "sms",
        "additional_data": {"shop": "1"},
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Channel", "column Channel is in the file, and is set for all rows as well"),
        ("colour", "colour can't be set for all rows: payment links have no such column"),
        ("order_number", "order_number can't be set for all rows: each row needs its own"),
        ("idempotency_key", "idempotency_key can't be set for all rows: each row needs its own"),
    ],
)
def test_constant_must_fit_the_file(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        layout(PATH, LINKS, REQUIRED, Reading(constants={name: "sms"}))
    assert said in str(caught.value)


# JSON lines --------------------------------------------------------------------------------------


def test_problems_of_json_keys_are_reported_one_by_one() -> None:
    keys = layout(PATH, LINKS, None, Reading(ignore=("colour",)))
    problems: dict[str, str] = {}
    given = {"colour": 1, "from_": "a", "from": "b", "orderNo": "c", "additional_data.a": "d"}
    assert keys.fields({**given, "Order Number": "e"}, problems) == {
        "from_": "a",
        "order_number": "e",
    }
    assert problems == {
        "from": "is given twice, as from_ and as from",
        "orderNo": (
            "is unknown (did you mean order_number?): rename it, or pass --map or --ignore NAME"
        ),
        "additional_data.a": (
            "is unknown (did you mean additional_data?): rename it, or pass --map or --ignore NAME"
        ),
    }


def test_json_keys_may_be_mapped_and_constants_set() -> None:
    reading = Reading(mapping={"due": "total_amount"}, constants={"channel": "sms"})
    keys = layout(PATH, LINKS, None, reading)
    problems: dict[str, str] = {}
    assert keys.fields({"due": 1, "to": " 27831234567\u200b"}, problems) == {
        "total_amount": 1,
        "to": "27831234567",
        "channel": "sms",
    }
    assert problems == {}
    keys.fields({"Channel": "sms"}, problems)
    assert problems == {"channel": "is in the line, and is set for all rows as well"}
    assert keys.column("total_amount", {"to": 1, "due": 1}) == ("due", "")
    assert keys.column("order_line_items.0.name", {"Order line items": []}) == (
        "Order line items.0.name",
        "",
    )


def test_endless_kinds_of_json_keys_are_not_all_kept() -> None:
    keys = layout(PATH, LINKS, None, Reading())
    for n in range(3000):
        keys.fields({f"k{n}": 1}, {})
    assert isinstance(keys, Keys)
    assert len(keys.known) <= 1001
