"""Any request that is written to a file reads back equal, whatever it says."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat2pay_async._api.enums import Channel, TransactionType
from chat2pay_async._api.requests import LineItem, PaymentLinkRequest
from chat2pay_async._files.cells import CellError
from chat2pay_async._files.rows import CAPTURES, LINKS, Row, read_rows

unhurried = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

encode = msgspec.json.Encoder(decimal_format="number").encode


def is_kept(text: str) -> bool:
    """Tell whether a cell keeps a text: it has no blanks around it, and stands for itself."""
    try:
        return bool(LINKS.fields["order_number"](text) == text != "")
    except CellError:
        return False


texts = st.text(
    st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=30
).filter(is_kept)
cents = st.decimals("0.01", "999999999.99", places=2)
data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.decimals(allow_nan=False, allow_infinity=False, places=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=6,
)
items = st.builds(
    LineItem,
    name=texts | st.just(""),
    unit_price=cents,
    code=st.none() | texts,
    quantity=st.none() | st.integers(1, 2**31 - 1),
    sku=st.none() | texts,
    tax_amount=st.none() | cents,
)
moments = st.datetimes(datetime(2, 1, 2), datetime(9998, 1, 1)).flatmap(  # noqa: DTZ001 - given below
    lambda moment: st.integers(-1439, 1439).map(
        lambda minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    )
)
requests = st.builds(
    PaymentLinkRequest,
    channel=st.sampled_from([one for one in Channel if one is not Channel.NONE]),
    to=st.from_regex(r"27[1-9][0-9]{4,12}", fullmatch=True),
    order_number=texts | st.from_regex(r"0[0-9]{4}", fullmatch=True),
    currency=st.just("ZAR"),
    total_amount=cents,
    timestamp=moments,
    from_=st.none() | texts,
    sub_total_amount=st.none() | cents,
    payment_gateway_settings_id=st.none() | texts,
    additional_data=data,
    return_payment_link=st.none() | st.booleans(),
    application_id=st.none() | texts,
    payment_review_auto_reversal=st.none() | st.booleans(),
    transaction_type=st.sampled_from([None, TransactionType.SALE, TransactionType.AUTHORIZATION]),
    order_line_items=st.lists(items, max_size=3),
    reconciliation_id=st.none() | texts,
    merchant_descriptor=st.none() | texts,
)


def as_json_value(value: Any) -> Any:
    if isinstance(value, LineItem):
        return attrs.asdict(value, filter=lambda field, _: field.name != "extra")
    return value.isoformat() if isinstance(value, datetime) else value


def fields_of(request: PaymentLinkRequest) -> dict[str, Any]:
    values = {field.name: getattr(request, field.name) for field in attrs.fields(type(request))}
    values["order_line_items"] = [as_json_value(item) for item in request.order_line_items]
    return {name: as_json_value(value) for name, value in values.items() if value is not None}


@unhurried
@given(requests)
def test_request_written_as_a_json_line_reads_back_equal(
    tmp_path: Path, request_: PaymentLinkRequest
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(encode(fields_of(request_)))
    assert list(read_rows(path, LINKS)) == [Row(1, request_)]


@unhurried
@given(requests, st.sampled_from(",;\t"))
def test_request_written_as_a_row_reads_back_equal(
    tmp_path: Path, request_: PaymentLinkRequest, delimiter: str
) -> None:
    cells = {
        name: encode(value).decode() if name in {"additional_data", "order_line_items"} else value
        for name, value in fields_of(request_).items()
    }
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([cells, cells.values()])
    assert list(read_rows(path, LINKS)) == [Row(2, request_)]


@unhurried
@given(st.lists(st.lists(st.text(max_size=8), max_size=4), max_size=4))
def test_row_with_any_cells_is_a_request_or_has_faults(
    tmp_path: Path, rows: list[list[str]]
) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        csv.writer(file).writerows([CAPTURES.fields, ["8a1f", "1"], *rows])
    for row in read_rows(path, CAPTURES):
        assert (row.request is None) == bool(row.faults)
