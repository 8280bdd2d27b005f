"""Where payments stand: once, or again and again until all have come to their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio

from chat2pay_async import bulk, models
from chat2pay_async._client import AsyncChat2Pay, payment_has_ended
from chat2pay_async._outcomes import Outcome, State
from chat2pay_async._plan import DONE, PROBLEMS
from chat2pay_async._printing import Printer, fields_of_outcome
from chat2pay_async.errors import ConfigurationError

__all__ = ["show_statuses"]

Found = Outcome[bulk.TransactionQuery, models.Transaction]

_HEADINGS: Final = ("order", "reference", "amount", "", "link", "payment", "since")


async def show_statuses(
    client: AsyncChat2Pay,
    printer: Printer,
    queries: Sequence[bulk.TransactionQuery],
    every: float | None,
) -> int:
    """Look them up and show them.

    Args:
        client: Asks.
        printer: Prints.
        queries: What to look up.
        every: Seconds between two looks, until all have ended; None looks once.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: There is nothing to look up.
    """
    if not queries:
        raise ConfigurationError("name payment link references, --order-number or --file")
    queries = list(dict.fromkeys(queries))
    told: dict[str, object] = {}
    with printer.live() as show:
        while True:
            found = await _look(client, queries)
            if printer.as_json:
                _print_news(printer, found, told)
            else:
                show("payments", _HEADINGS, [_cells(one) for one in found])
            if every is None or all(map(_has_ended, found)):
                return DONE if all(one.state is State.APPLIED for one in found) else PROBLEMS
            await anyio.sleep(every)


async def _look(client: AsyncChat2Pay, queries: Sequence[bulk.TransactionQuery]) -> list[Found]:
    places = {id(query): place for place, query in enumerate(queries)}
    async with bulk.get_transactions(client, queries) as run:
        found = [outcome async for outcome in run]
    return sorted(found, key=lambda outcome: places[id(outcome.request)])


def _print_news(printer: Printer, found: Sequence[Found], told: dict[str, object]) -> None:
    """Print what has changed since it was printed last."""
    for one in found:
        fields = fields_of_outcome(one)
        if told.get(one.key) != fields:
            told[one.key] = fields
            printer.line(fields)


def _has_ended(found: Found) -> bool:
    if found.result is None:
        return found.state is State.REJECTED  # there is no such payment; what failed may work yet
    return payment_has_ended(found.result)


def _cells(found: Found) -> tuple[Any, ...]:
    one = found.result
    if one is None:
        return found.key, "", "", "", "", str(found.error), ""
    last = one.transaction_statuses[-1] if one.transaction_statuses else None
    return (
        one.order_number,
        one.payment_link_ref,
        one.total_amount,
        one.currency,
        None if last is None else last.transaction_status_name,
        one.payment_status,
        one.payment_status_timestamp or (None if last is None else last.created),
    )
