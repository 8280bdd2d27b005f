"""Bulk runs: one operation for thousands of items, which survive `kill -9`.

    from chat2pay_async import AsyncChat2Pay, bulk

    async with AsyncChat2Pay(journal="payments.db") as client:
        async with bulk.create_payment_links(client, requests, run="spring") as run:
            async for outcome in run:
                if outcome.state is bulk.State.APPLIED:
                    print(outcome.key, outcome.result.payment_link_ref)
        print(run.summary)

# Items and outcomes

The items come from any iterable or async iterable. A run takes an item only when it has a free
slot, so a generator over a file of a million rows needs no more memory than one over a hundred.
Outcomes come as they finish, in any order. A slow reader slows the run down, and loses nothing.

>>> [state.name for state in State]
['APPLIED', 'REJECTED', 'FAILED', 'UNKNOWN', 'SKIPPED']

- `APPLIED` and `REJECTED` are final.
- `FAILED`: nothing was applied. The next run sends the item again.
- `UNKNOWN`: the item may have been applied. The next run looks it up first, and so does
  `client.resolve(outcome.error.pending)`. Without an error, a gateway has not decided yet.
- `SKIPPED`: another run, or a single call, had finished the item: `outcome.by` and `outcome.at`
  say who, and when.

Some outcomes need a look even so: a link whose message was not sent (`outcome.delivered is False`),
a link whose payment URL was asked for and went with a lost response (`outcome.without_url`), or a
capture that the gateway declined (`outcome.declined`, state `REJECTED`). `run.summary` counts all
of these.

An order number, or a payment link reference, may occur once in a run: a second one is rejected, and
not sent. A wrong API key stops the run. `stop_at_failure_rate=0.2` stops it when more than a fifth
of the latest 500 outcomes are not `APPLIED` (skipped ones do not count). A run also stops itself
where somebody who is not the service answers its calls and their look-ups: a block page, or a wrong
base URL. The error that stops a run is raised by the iterator, after the last outcome.

# Outages

Where nothing can be sent (a refused connection, no route, no name), a run waits. It tries one item
after 1 s, then less and less often, at least once a minute, and goes on when that gets through; the
event `Unreachable` tells of it. After `give_up_after=600` seconds the run stops itself, and what
was not sent is `FAILED`.

A run has no deadline: `Timeout.total` is for single calls.

# Leaving early, and stopping

`run.stop()` sends nothing more that is not on the wire: items that wait for the rate, for a slot,
or for the end of a pause or an outage are `FAILED` at once, and the next run sends them. What is on
the wire comes to its end, and its look-ups, too; then the loop ends. A run that stops itself does
the same.

You may leave the loop at any time. Then the run is stopped, what is on the wire may finish for up
to `drain` seconds, and `run.undelivered` has the outcomes that you did not take. A run that is
cancelled does not wait: what is on the wire is `UNKNOWN`, all else `FAILED`.

A generator that you pass is yours: a run that stops early does not close it. If an async generator
holds something open, wrap it in `aclosing`.

# Journals

A client with a journal writes every POST to the disk before it is sent, and every outcome before
you see it. A run is a name in that journal: a set of keys with their outcomes. If the process dies,
make the same run again. What was left unresolved is looked up first, for `Timeout.read` and
`RetryPolicy.settle` seconds from now on (what the dead process sent may still arrive), and sent
again only if it is explicitly absent then. What is finished, by whatever run or call, is `SKIPPED`,
with its result. The other items are sent. Nothing is sent twice, and nothing is lost.

- The key of an item is its order number, its payment link reference, or the reference and the URL
  of a receipt. `bulk.Keyed(request, "another key")` names another one: so a second link for an
  order is made on purpose.
- What was applied and is another one now is rejected (`IdempotencyConflictError` names the fields).
  What was rejected, and is another one now, is sent. `retry_rejected=True` sends all of the
  rejected again, declined captures included.
- A new key that differs from a known one only in case, blanks, hyphens, invisible characters,
  leading zeros or a trailing `.0` is not sent: a spreadsheet rewrites such keys. If both are meant,
  pass `allow_lookalikes=True`.
- What another process works on is waited for; the other items go on meanwhile.
- Rows of the run that the source has no more are settled all the same, and counted:
  `run.summary.gone`.
- If you have lost your journal, `check_existing=True` looks each order up before it is sent for the
  first time, at the price of one more request for each. What the lost run sent last may still be on
  its way, so the first orders wait for `Timeout.read` and `RetryPolicy.settle`. An order that
  exists with another amount, currency or channel is rejected.

Without a journal, a run can't be resumed. All else holds.

`bulk.reconcile(client)` looks each applied row of the journal up, and says what disagrees:

    async with bulk.reconcile(client, run="spring") as reconciliation:
        async for row in reconciliation:
            if row.problem:
                print(row.key, row.status, row.problem)

# Dry runs

`dry_run=True` reads the whole source, sends nothing, and yields only the outcomes of items that
would not be sent. `run.forecast` then has the number of items that would be sent, the sums for each
currency, the recipients that would get more than one link, and the time that it would take. With a
journal it also says what is done, changed or gone, and what looks like known rows; passed to the
run that sends (`compare=run.forecast`), it keeps back new orders that have the recipient and the
amount of one that is gone.

    async with bulk.create_payment_links(client, requests, dry_run=True) as run:
        problems = [outcome async for outcome in run]
    print(run.forecast)

# Captures, reversals, receipts

    async with bulk.capture_payments(
        client, [bulk.Capture(ref) for ref in refs], run="captures"
    ) as run:
        async for outcome in run:
            if outcome.declined:
                print(outcome.key, outcome.result.payment_gateway_error_decision)

A capture is `APPLIED` if the gateway accepted it, `REJECTED` if it declined, and `UNKNOWN` while it
has not decided.
"""

from chat2pay_async._api.requests import Capture, LinkReference, ReceiptRequest, TransactionQuery
from chat2pay_async._bulk.factory import (
    ReadOptions,
    RunOptions,
    cancel_payment_links,
    capture_payments,
    create_payment_links,
    create_receipts,
    get_transactions,
    reverse_payments,
)
from chat2pay_async._bulk.outcomes import Outcome, State
from chat2pay_async._bulk.reconcile import Reconciled, Reconciliation, reconcile
from chat2pay_async._bulk.run import Run
from chat2pay_async._bulk.source import Keyed
from chat2pay_async._bulk.summary import Forecast, Summary

__all__ = [
    "Capture",
    "Forecast",
    "Keyed",
    "LinkReference",
    "Outcome",
    "ReadOptions",
    "ReceiptRequest",
    "Reconciled",
    "Reconciliation",
    "Run",
    "RunOptions",
    "State",
    "Summary",
    "TransactionQuery",
    "cancel_payment_links",
    "capture_payments",
    "create_payment_links",
    "create_receipts",
    "get_transactions",
    "reconcile",
    "reverse_payments",
]
