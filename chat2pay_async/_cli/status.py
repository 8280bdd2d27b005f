"""Where payments stand: once, or again and again until all have come to their end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Final

import anyio

from chat2pay_async import bulk
from chat2pay_async._api import models
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._cli.job import DONE, PROBLEMS
from chat2pay_async._cli.printing import Printer, fields_of_outcome, shown
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._send.polling import payment_has_ended
from chat2pay_async.errors import ConfigurationError

__all__ = ["lines_of", "show_statuses"]

Found = Outcome[bulk.TransactionQuery, models.Transaction]

_HEADINGS: Final = ("order", "reference", "amount", "payment", "link", "since", "error")
_FIRST: Final = 4
"""How many of these stand on a line where not all have room; the others follow below."""


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
    # What is drawn but once is printed, so that nothing of it is cut.
    with nullcontext(printer.text) if every is None else printer.live() as show:
        while True:
            found = await _look(client, queries)
            if printer.as_json:
                _print_news(printer, found, told)
            else:
                show("\n".join(lines_of([_cells(one) for one in found], printer.width)))
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


def lines_of(payments: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Payments as lines, in which no reference is broken.

    Args:
        payments: The cells of each.
        width: How many columns there are; None puts tabs between the cells, for other tools.
    """
    if width is None:
        return ["\t".join(cells) for cells in (_HEADINGS, *payments)]
    *placed, _error = zip(*(cells for cells in (_HEADINGS, *payments)), strict=True)
    widths = [max(map(len, column)) for column in placed]
    # Between two columns there are two blanks.
    fit = len(placed) if sum(widths) + 2 * (len(widths) - 1) <= width else _FIRST
    lines = ["  ".join(map(str.ljust, _HEADINGS[:fit], widths)).rstrip()]
    for cells in payments:
        lines.append("  ".join(map(str.ljust, cells[:fit], widths)).rstrip())
        below = ", since ".join(filter(None, cells[fit:-1]))
        lines += [f"  {line}" for line in (below, cells[-1]) if line]
    return lines
