"""What the columns of a table stand for, and what a table with other columns is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat2pay_async._files.columns import Header, Kind, layout
from chat2pay_async._files.rows import CAPTURES, LINKS, QUERIES, RECEIPTS, REFERENCES
from chat2pay_async.errors import ConfigurationError

PATH = Path("campaign.csv")
REQUIRED = ("channel", "to", "order_number", "currency", "total_amount")


def refusal(*columns: str, kind: Kind[Any] = LINKS, ignore: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigurationError) as caught:
        layout(PATH, kind, columns, ignore)
    return str(caught.value)


@pytest.mark.parametrize("kind", [LINKS, CAPTURES, REFERENCES, RECEIPTS, QUERIES])
def test_a_table_may_have_every_column_of_its_kind(kind: Kind[Any]) -> None:
    assert isinstance(layout(PATH, kind, kind.columns, ()), Header)
    assert isinstance(layout(PATH, kind, kind.required, ()), Header)


@pytest.mark.parametrize(
    "column",
    [
        "from",
        "additional_data.customer",
        "additional_data.Order Number.0",
        "order_line_items.0.name",
        "order_line_items.9999.tax_amount",
    ],
)
def test_links_have_columns_of_other_names_too(column: str) -> None:
    assert isinstance(layout(PATH, LINKS, (*REQUIRED, column), ()), Header)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("totl_amount", "total_amount"),
        ("Order Number", "order_number"),
        ("orderNumber", "order_number"),
        ("TO", "to"),
        ("order_line_items.3.unitPrice", "order_line_items.3.unit_price"),
        ("order_line_items.01.name", "order_line_items.1.name"),
        ("order_line_items[2].name", "order_line_items.2.name"),
        ("additional_data.", "additional_data"),
        ("additional_data.a..b", "additional_data"),
    ],
)
def test_an_unknown_column_is_an_error_that_tells_which_one_may_be_meant(
    column: str, meant: str
) -> None:
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
def test_any_other_column_is_an_error_that_tells_which_ones_there_are(
    column: str, kind: Kind[Any]
) -> None:
    told = refusal(*kind.required, column, kind=kind)
    assert told.startswith(
        f"campaign.csv: column {column} is unknown; the columns of {kind.name} are "
    )
    assert ", ".join(kind.columns) in told
    assert "--ignore NAME" in told


def test_a_column_is_ignored_only_if_that_is_asked_for() -> None:
    columns = (*REQUIRED, "colour", "colour")
    assert isinstance(layout(PATH, LINKS, columns, ("colour",)), Header)
    assert "column size is unknown" in refusal(*REQUIRED, "colour", "size", ignore=("colour",))


def test_everything_that_is_wrong_with_a_header_is_told_at_once() -> None:
    told = refusal("to", "to", "colour", "from", "from_", "", "")
    assert "column colour is unknown" in told
    assert "column to is there 2 times" in told
    assert "column from_ is there 2 times" in told
    assert told.endswith(
        "payment links need the columns channel, order_number, currency, total_amount, "
        "named in the first line"
    )


def test_a_required_column_can_not_be_ignored() -> None:
    assert "need the columns to" in refusal(*REQUIRED, ignore=("to",))


def test_a_text_has_no_text_inside() -> None:
    told = refusal(*REQUIRED, "additional_data.a.b", "additional_data.a", "additional_data.ab")
    assert told == (
        "campaign.csv: column additional_data.a.b is within another column, which is a text"
    )


def test_a_file_without_a_header_shows_no_phone_number() -> None:
    assert "7831234567" not in refusal("sms", "+27831234567", "A-1001")


# JSON lines --------------------------------------------------------------------------------------


def test_the_keys_of_a_json_line_are_told_one_by_one() -> None:
    keys = layout(PATH, LINKS, None, ("colour",))
    problems: dict[str, str] = {}
    given = {"colour": 1, "from_": "a", "from": "b", "orderNumber": "c", "additional_data.a": "d"}
    assert keys.fields(given, problems) == {"from_": "a"}
    assert problems == {
        "from": "is there twice, as from and as from_",
        "orderNumber": "is unknown (did you mean order_number?): rename or --ignore it",
        "additional_data.a": "is unknown (did you mean additional_data?): rename or --ignore it",
    }
