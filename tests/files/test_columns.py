"""The columns of a file, and the errors about other columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat2pay_async._files.columns import Header, Kind, Reading, layout
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
