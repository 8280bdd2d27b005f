"""Bulk runs: one operation for thousands of items, which survive `kill -9`.

    from chat2pay_async import AsyncChat2Pay, bulk

    async with AsyncChat2Pay() as client:
        async with bulk.create_payment_links(client, requests, journal="spring.db") as run:
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
- `SKIPPED`: an earlier run had finished the item.

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

You may leave the loop at any time. Then nothing more is taken from the source, the items in
progress (at most `concurrency`) may finish for up to `drain` seconds, and `run.undelivered` has the
outcomes that you did not take. What waits for the end of an outage is `FAILED` then, at once. After
`run.stop()`, or when a run stops itself, the loop goes on with the items in progress, as long as
they take; leave the loop to wait no longer than `drain`. A run that is cancelled does not wait: its
items in progress are `UNKNOWN`, or `FAILED` if they were not sent yet.

A generator that you pass is yours: a run that stops early does not close it. If an async generator
holds something open, wrap it in `aclosing`.

# Resuming

With a journal, every POST is on the disk before it is sent, and every outcome before you see it. If
the process dies, start the same run again, with the same journal. Unresolved items are looked up
first, for `Timeout.read` and `RetryPolicy.settle` seconds from now on (what the dead process sent
may still arrive), and sent again only if they are explicitly absent then. Finished items are
`SKIPPED`, with their results. The other items are sent. Nothing is sent twice, and nothing is lost.

- A journal belongs to one operation, one base URL and one API key, and to one run at a time. Where
  the client asks for its key (`api_key` is a callable), that is the key when the run began; later
  ones may be others within a run, and not for the run that resumes it.
- An item that differs from what was sent is rejected, and its error names the fields. Undo the
  change, or give the new version its own order number. An item that `FAILED` may be changed.
- Unresolved items are looked up even if the source has them no more.
- A journal is an SQLite file, with a second one beside it (`-wal`) while it is in use: keep them
  together. It must be on a local disk, and it holds personal data.
- Two journals do not know each other. If you have lost a journal, `check_existing=True` looks each
  order up before it is sent for the first time, at the price of one more request for each. What the
  lost run sent last may still be on its way, so the first orders wait for `Timeout.read` and
  `RetryPolicy.settle`.

Without a journal, a run can't be resumed. All else holds.

# Dry runs

`dry_run=True` reads the whole source, sends nothing, and yields only the outcomes of items that
would not be sent. `run.forecast` then has the number of items that would be sent, the sums for each
currency, the recipients that would get more than one link, and the time that it would take.

    async with bulk.create_payment_links(client, requests, dry_run=True) as run:
        problems = [outcome async for outcome in run]
    print(run.forecast)

# Captures, reversals, receipts

    async with bulk.capture_payments(
        client, [bulk.Capture(ref) for ref in refs], journal="captures.db"
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
