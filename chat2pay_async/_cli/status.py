"""The status of payments: once, or again and again until all of them have ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import anyio
from rich import box
from rich.table import Table
from rich.text import Text

from chat2pay_async import bulk
from chat2pay_async._api import models
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._cli.job import ExitCode
from chat2pay_async._cli.printing import Printer, fields_of_outcome, shown
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._polling import payment_has_ended
from chat2pay_async.errors import ConfigurationError

__all__ = ["show_statuses", "table_of"]

Found = Outcome[bulk.TransactionQuery, models.Transaction]

_HEADINGS: Final = ("order", "reference", "amount", "payment", "link", "since", "error")
_REFERENCE: Final = 36
"""The length of a reference, which is never broken."""


async def show_statuses(
    client: AsyncChat2Pay,
    printer: Printer,
    queries: Sequence[bulk.TransactionQuery],
    every: float | None,
) -> int:
    """Look up payments and print them.

    Args:
        client: Looks them up.
        printer: Prints them.
        queries: The payments.
        every: Seconds between two look-ups, until all payments have ended; None looks up once.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: There is nothing to look up.
    """
    if not queries:
        raise ConfigurationError("pass payment link references, --order-number or --file")
    queries = list(dict.fromkeys(queries))
    printed: dict[str, object] = {}
    on_screen = printer.is_terminal and not printer.as_json
    with printer.drawing(again=on_screen and every is not None) as draw:
        while True:
            found = await _look_up(client, queries)
            if printer.as_json:
                for one in found:
                    fields = fields_of_outcome(one)
                    if printed.get(one.key) != fields:  # only what has changed
                        printed[one.key] = fields
                        printer.json(fields)
            elif on_screen:
                draw(table_of(map(_cells, found)))
            else:  # with tabs, for other tools
                printer.text("\n".join(map("\t".join, (_HEADINGS, *map(_cells, found)))))
            if every is None or all(map(_has_ended, found)):
                applied = all(one.state is State.APPLIED for one in found)
                return ExitCode.DONE if applied else ExitCode.PROBLEMS
            await anyio.sleep(every)


async def _look_up(client: AsyncChat2Pay, queries: Sequence[bulk.TransactionQuery]) -> list[Found]:
    positions = {id(query): position for position, query in enumerate(queries)}
    async with bulk.get_transactions(client, queries) as run:
        found = [outcome async for outcome in run]
    return sorted(found, key=lambda outcome: positions[id(outcome.request)])


def _has_ended(found: Found) -> bool:
    if found.result is None:
        return found.state is State.REJECTED  # there is no such payment; what failed may work yet
    return payment_has_ended(found.result)


def _cells(found: Found) -> tuple[str, ...]:
    one, query = found.result, found.request
    if one is None:
        names = (query.order_number, query.payment_link_ref, None, None, None, None)
        return *map(shown, names), " ".join(str(found.error).split())
    last = one.transaction_statuses[-1] if one.transaction_statuses else None
    since = one.payment_status_timestamp or (None if last is None else last.created)
    amount = " ".join(filter(None, (shown(one.total_amount), one.currency)))
    link = None if last is None else last.transaction_status_name
    when = None if since is None else since.replace(microsecond=0)
    cells = (one.order_number, one.payment_link_ref, amount, one.payment_status, link, when, None)
    return tuple(map(shown, cells))


def table_of(payments: Iterable[Sequence[str]]) -> Table:
    """Lay payments out for a terminal of 80 columns: what has no room stands below the reference.

    Args:
        payments: The cells of each.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in _HEADINGS[:4]:
        is_reference = heading == "reference"
        table.add_column(heading, overflow="fold", min_width=_REFERENCE if is_reference else None)
    for order, reference, amount, payment, link, since, error in payments:
        below = ", since ".join(filter(None, (link, since)))
        lines = "\n".join(filter(None, (reference, below, error)))
        table.add_row(*map(Text, (order, lines, amount, payment)))
    return table
