"""No personal data, and no key, of refused arguments in other people's tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from observers import CARD, KEY, PHONE, RECEIPT, leaks

from chat2pay_async import (
    AsyncChat2Pay,
    PaymentLinkRequest,
    Pending,
    bulk,
    http_client_for,
)
from chat2pay_async._files.rows import LINKS, read_rows
from chat2pay_async.errors import ConfigurationError

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

FIELDS: dict[str, Any] = {
    "channel": "sms",
    "to": PHONE,
    "order_number": "A-1",
    "currency": "ZAR",
    "total_amount": "1.00",
    "additional_data": {"card": CARD},
}
STORED = f'{{"request": {{"target": "{RECEIPT}"}}, "to": "{PHONE}'

REFUSALS = (TypeError, ValueError, ZeroDivisionError, ConfigurationError)


def link(**fields: Any) -> PaymentLinkRequest:
    return PaymentLinkRequest(**FIELDS | fields)


def broken() -> Iterator[Any]:
    yield from ()
    raise ZeroDivisionError


MADE: dict[str, Callable[[], object]] = {
    "a phone number with letters": lambda: link(to=f"{PHONE} x"),
    "an order number that is blank": lambda: link(order_number=" "),
    "an amount that is a float": lambda: link(total_amount=1.0),
    "additional data that is no JSON": lambda: link(additional_data={"card": CARD, "x": object()}),
    "a field that a link does not have": lambda: link(phone=PHONE),
    "line items that can not be read": lambda: link(order_line_items=broken()),
    "a receipt without a reference": lambda: bulk.ReceiptRequest(
        payment_link_ref=" ", receipt_link=RECEIPT
    ),
    "a stored call that is cut off": lambda: Pending.from_json(STORED),
    "a stored call that is another object": lambda: Pending.from_json(STORED + '"}'),
    "a stored call that is no text": lambda: Pending.from_json({"to": PHONE}),  # type: ignore[arg-type]
    "a stored call with lone surrogates": lambda: Pending.from_json(STORED + "\ud800"),
    "a client of a proxy that is none": lambda: http_client_for(
        "https://s.test", proxy=f"gopher://user:{KEY}@p.test"
    ),
    "a client of a base URL with a password": lambda: http_client_for(f"https://u:{KEY}@s.test"),
}
MISUSED: dict[str, Callable[[AsyncChat2Pay], Any]] = {
    "a link that is a dict": lambda client: client.create_payment_link(FIELDS),  # type: ignore[call-overload]
    "a link of a raw call that is a dict": lambda client: (
        client.with_raw_response.create_payment_link(FIELDS)  # type: ignore[call-overload]
    ),
    "a receipt's time that is none": lambda client: client.create_receipt("r", RECEIPT, "now"),  # type: ignore[arg-type]
    "a receipt of a raw call": lambda client: client.with_raw_response.create_receipt(" ", RECEIPT),
    "a pending call that is still JSON": lambda client: client.resolve(STORED),  # type: ignore[arg-type]
    "an option of a run": lambda client: bulk.create_payment_links(client, [FIELDS], journl="x"),  # type: ignore[list-item, call-arg]
    "a run of dicts": lambda client: first(bulk.create_payment_links(client, [FIELDS])),  # type: ignore[list-item]
    "a run of a text": lambda client: first(bulk.create_payment_links(client, PHONE)),  # type: ignore[arg-type]
    "a run of receipts that are dicts": lambda client: first(
        bulk.create_receipts(client, [{"receipt_link": RECEIPT}])  # type: ignore[list-item]
    ),
    "a run whose source fails": lambda client: first(bulk.create_payment_links(client, broken())),
}


HEADER = "channel,to,order_number,currency,total_amount"
GOOD_ROW = f"sms,{PHONE},A-1,ZAR,1.00\n"
TABLES = {
    "a quotation mark that is not closed": f'{HEADER}\n{GOOD_ROW}sms,"{PHONE},A-2,ZAR,1.00\n',
    "no header": GOOD_ROW,
}


async def first(run: bulk.Run[Any, Any]) -> bulk.Outcome[Any, Any]:
    async with run:
        return await anext(run)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_no_tool_shows_the_arguments_of_a_refused_value(make: Callable[[], object]) -> None:
    with pytest.raises(REFUSALS) as caught:
        make()
    assert leaks(caught.value) == []


@pytest.mark.parametrize("misuse", MISUSED.values(), ids=MISUSED)
async def test_no_tool_shows_the_arguments_of_a_refused_call(
    misuse: Callable[[AsyncChat2Pay], Any],
) -> None:
    async with AsyncChat2Pay(KEY, base_url="http://127.0.0.1:9") as client:
        with pytest.raises(REFUSALS) as caught:
            await misuse(client)
    assert leaks(caught.value) == []


@pytest.mark.parametrize("make", [bulk.cancel_payment_links, bulk.get_transactions])
async def test_no_tool_shows_an_item_of_a_run_that_is_no_reference(make: Any) -> None:
    async with AsyncChat2Pay(KEY, base_url="http://127.0.0.1:9") as client:
        outcome = await first(make(client, [FIELDS]))
    assert (outcome.key, outcome.state) == ("<dict>", bulk.State.REJECTED)
    assert outcome.error is not None
    assert leaks(outcome.error) == []


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_tool_shows_the_cells_of_a_table_that_can_not_be_read(
    table: str, tmp_path: Path
) -> None:
    path = tmp_path / "spring.csv"
    path.write_text(table)
    with pytest.raises(ConfigurationError) as caught:
        list(read_rows(path, LINKS))
    assert leaks(caught.value) == []
